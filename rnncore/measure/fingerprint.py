"""What a run ran on: the facts that decide whether two runs may be compared, and those that change by the minute."""

import os
import platform
import re
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rnncore.errors import Unavailable
from rnncore.forecast.device import Device, accelerator_type, cpu_quota, waits_passively
from rnncore.measure import linux
from rnncore.measure.facts import Fact, json_value, with_reasons

if TYPE_CHECKING:
    from rnncore.measure.gpu import Gpu

# Beside those that the runtimes import.
PACKAGES = (
    "onnxruntime-gpu",
    "onnx",
    "onnxscript",
    "numpy",
    "pandas",
    "scikit-learn",
    "pytest-benchmark",
)

# Of the benchmarks of any suite.
HARNESS = ("pytest", "pytest-benchmark")

# Instructions that kernels are chosen by, as Linux names them.
ISA_X86 = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
ISA_ARM = ("asimd", "sve", "bf16")

# Too small for a normal float32.
_SUBNORMAL = 1e-40

# Where this system does not say.
_NO_WORD = "the system does not tell"

T = TypeVar("T")


def fingerprint(threads: int) -> dict[str, Any]:
    """Return the stable facts of this machine and its software, as JSON values.

    Args:
        threads: CPU threads that every runtime is given.

    Returns:
        Facts by name; beside each that is None there is `<name>_why`, what keeps it from being read.
    """
    import torch

    from rnncore.runtimes.catalog import runtime_kinds

    names = [*(name for kind in runtime_kinds().values() for name in kind.packages), *PACKAGES]
    facts: dict[str, Fact] = {
        **_host_facts(),
        "threads": (threads, None),
        # torch's metadata may leave out its build, `+cpu` or `+cu130`.
        "packages": ({**_versions(names), "torch": str(torch.__version__)}, None),
        "numerics": (_numerics(), None),
        "gpu": _gpu(),
    }
    if waits_passively():
        # Not what a session does on a quiet host: its rows are not to be held against those of one.
        facts["waiting"] = "passive", None
    return with_reasons(facts)


def host_fingerprint() -> dict[str, Any]:
    """Return the stable facts that hold for the benchmarks of any suite, as `fingerprint` does; imports nothing heavy."""
    return with_reasons({**_host_facts(), "packages": (_versions(HARNESS), None)})


def _versions(names: Iterable[str]) -> dict[str, str | None]:
    return {name: _tried(partial(metadata.version, name), metadata.PackageNotFoundError) for name in names}


def _host_facts() -> dict[str, Fact]:
    memory_bytes = _tried(
        lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), ValueError, OSError, AttributeError
    )
    affinity = _tried(lambda: sorted(os.sched_getaffinity(0)), AttributeError)
    return {
        **_facts_of_cpu(),
        "cpus": (os.cpu_count(), _NO_WORD),
        "memory_bytes": (memory_bytes, _NO_WORD),
        "system": (f"{platform.system()} {platform.machine()}", None),
        "python": (platform.python_version(), None),
        "governor": linux.text_of(linux.SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "affinity": (affinity, "this system does not bind processes to CPUs"),
        "cpu_quota": cpu_quota(),
    }


def conditions() -> dict[str, Any]:
    """Return the facts of this minute, as JSON values: they disturb a measurement, but do not make it another one.

    Returns:
        Facts by name; beside each that is None there is `<name>_why`. In a container, load, clock, temperature and pressure
        are those of the whole host. The clock is the mean of all CPUs, the temperature that of the hottest part that the
        board measures.
    """
    load_1min, load_5min = _tried(lambda: os.getloadavg()[:2], OSError, AttributeError) or (None, None)
    clocks_khz = _numbers((linux.SYS / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    clocks_mhz = [clock_khz / 1000 for clock_khz in clocks_khz]
    if not clocks_mhz:
        text = linux.text_of(linux.PROC / "cpuinfo")[0] or ""
        clocks_mhz = [float(clock) for clock in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text, re.MULTILINE)]
    thousandths = _numbers((linux.SYS / "class/thermal").glob("thermal_zone*/temp"))
    return with_reasons(
        {
            "load_1min": (load_1min, _NO_WORD),
            "load_5min": (load_5min, _NO_WORD),
            "cpu_mhz": (
                sum(clocks_mhz) / len(clocks_mhz) if clocks_mhz else None,
                "neither cpufreq nor cpuinfo tells the clock",
            ),
            "cpu_temperature_c": (max(thousandths) / 1000 if thousandths else None, "no thermal zone can be read"),
            "cpu_pressure_pct": linux.cpu_pressure("avg10"),
            "gpu": _asked_of_gpu(lambda gpu: json_value("gpu", asdict(gpu.state()))),
        }
    )


def _tried(ask: Callable[[], T], *refusals: type[Exception]) -> T | None:
    """Return what the system says; None where it refuses by one of these errors."""
    try:
        return ask()
    except refusals:
        return None


def _numbers(paths: Iterable[Path]) -> list[int]:
    """Return the numbers in those files that hold one: the file of a sleeping CPU or sensor cannot be read."""
    texts = (linux.text_of(path)[0] or "" for path in paths)
    return [int(text) for text in texts if re.fullmatch(r"-?\d+", text)]


def _facts_of_cpu() -> dict[str, Fact]:
    """Return what Linux says of the first CPU: its model, its instructions, and whether it is one of a virtual machine."""
    path = linux.PROC / "cpuinfo"
    text, unread = linux.text_of(path)
    lines = [line.split(":", 1) for line in reversed((text or "").splitlines()) if ":" in line]
    cpuinfo = {key.strip(): value.strip() for key, value in lines}
    name = cpuinfo.get("model name")
    if not cpuinfo:
        name = platform.processor() or None
    elif name is None and "CPU part" in cpuinfo:
        name = f"ARM (implementer {cpuinfo.get('CPU implementer')}, part {cpuinfo['CPU part']})"
    elif name and "cpu family" in cpuinfo:
        # Hosts that hide the model's name still tell its family and model number.
        name = f"{name} (family {cpuinfo['cpu family']}, model {cpuinfo['model']})"
    flags, features = (cpuinfo[key].split() if key in cpuinfo else None for key in ("flags", "Features"))
    present, known = (features, ISA_ARM) if flags is None else (flags, ISA_X86)
    isa = None if present is None else {instruction: instruction in present for instruction in known}
    return {
        "cpu": (name, unread or f"{path} names no model"),
        "isa": (isa, unread or f"{path} lists no instructions"),
        "virtual_machine": (None if flags is None else "hypervisor" in flags, unread or "only x86 CPUs tell"),
    }


def _numerics() -> dict[str, Any]:
    """Return how torch rounds: its switches for TF32 and subnormal numbers, and how cuDNN chooses its kernels."""
    import torch

    matmul_precision = _tried(torch.get_float32_matmul_precision, RuntimeError)
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return with_reasons(
        {
            "matmul_precision": (matmul_precision, "torch's old and new switches contradict each other"),
            # torch's former `allow_tf32` raises where the new switches are set.
            "cudnn_allow_tf32": (cudnn.rnn.fp32_precision == "tf32", None),  # type: ignore[attr-defined]
            "matmul_allow_tf32": (cuda.matmul.fp32_precision == "tf32", None),
            "cudnn_benchmark": (cudnn.benchmark, None),
            "cudnn_deterministic": (cudnn.deterministic, None),
            "flush_denormal": ((torch.full((1,), _SUBNORMAL) * 1).item() == 0, None),
        }
    )


def _gpu() -> Fact:
    first = Device(accelerator_type())
    if why_none := first.why_missing():
        return None, why_none
    devices = {one.name: one.identity() for one in (Device(first.type, index) for index in range(max(1, first.count())))}
    # Of the first what makes runs comparable; of each, which card it is.
    identity = {name: value for name, value in devices[first.name].items() if name != "uuid"}
    known, why = _asked_of_gpu(lambda gpu: (gpu.driver(), gpu.power_limit_w()))
    driver, power_limit_w = known or (None, None)
    facts = {**identity, **first.software(), "count": len(devices), "devices": devices}
    why = why or "the driver does not tell"
    return facts | with_reasons({"driver": (driver, why), "power_limit_w": (power_limit_w, why)}), None


def _asked_of_gpu(ask: "Callable[[Gpu], Any]") -> Fact:
    try:
        from rnncore.measure.gpu import Gpu

        with closing(Gpu.open()) as gpu:
            return ask(gpu), None
    except Unavailable as error:
        return None, str(error)
