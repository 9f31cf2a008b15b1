"""What a run ran on: the facts that decide whether two runs may be compared, and those that change by the minute."""

import os
import platform
import re
from collections.abc import Iterable
from contextlib import closing
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from rnncore.errors import Unavailable
from rnncore.forecast.device import cpu_quota, waits_passively
from rnncore.measure.gpu import Gpu
from rnncore.runtimes.catalog import runtime_kinds

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

# Instructions that kernels are chosen by, as Linux names them.
ISA_X86 = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
ISA_ARM = ("asimd", "sve", "bf16")

_PROC = Path("/proc")
_SYS = Path("/sys")

# Too small for a normal float32.
_SUBNORMAL = 1e-40

# A value, and why there is none where it is None.
Fact = tuple[Any, str | None]


def fingerprint(threads: int) -> dict[str, Any]:
    """Return the stable facts of this machine and its software, as JSON values.

    Args:
        threads: CPU threads that every runtime is given.

    Returns:
        Facts by name; beside each that is None there is `<name>_why`, what keeps it from being read.
    """
    cpuinfo, unread = _cpuinfo()
    packages = [*(name for kind in runtime_kinds().values() for name in kind.packages), *PACKAGES]
    facts: dict[str, Fact] = {
        "cpu": (_cpu_model(cpuinfo), unread or f"{_PROC}/cpuinfo names no model"),
        "cpus": (os.cpu_count(), "the system does not tell"),
        "threads": (threads, None),
        "memory_bytes": (_memory_bytes(), "the system does not tell"),
        "system": (f"{platform.system()} {platform.machine()}", None),
        "python": (platform.python_version(), None),
        "packages": ({**{name: _version(name) for name in packages}, "torch": _torch_version()}, None),
        "isa": (_isa(cpuinfo), unread or f"{_PROC}/cpuinfo lists no instructions"),
        "governor": _text(_SYS / "devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "affinity": _affinity(),
        "cpu_quota": cpu_quota(),
        "virtual_machine": (
            "hypervisor" in cpuinfo["flags"].split() if "flags" in cpuinfo else None,
            unread or "only x86 CPUs tell",
        ),
        "numerics": (_numerics(), None),
        "gpu": _gpu(),
    }
    if waits_passively():
        # Not what a session does on a quiet host: its rows are not to be held against those of one.
        facts["waiting"] = "passive", None
    return _with_reasons(facts)


def conditions() -> dict[str, Any]:
    """Return the facts of this minute, as JSON values: they disturb a measurement, but do not make it another one.

    Returns:
        Facts by name; beside each that is None there is `<name>_why`. In a container, load, clock, temperature and pressure
        are those of the whole host. The temperature is that of the hottest part that the board measures.
    """
    (load_1min, load_5min), no_load = _load()
    facts: dict[str, Fact] = {
        "load_1min": (load_1min, no_load),
        "load_5min": (load_5min, no_load),
        "cpu_mhz": (_cpu_mhz(), "neither cpufreq nor cpuinfo tells the clock"),
        "cpu_temperature_c": (_cpu_temperature_c(), "no thermal zone can be read"),
        "cpu_pressure_pct": _cpu_pressure_pct(),
        "gpu": _gpu_state(),
    }
    return _with_reasons(facts)


def _with_reasons(facts: dict[str, Fact]) -> dict[str, Any]:
    """Return the values by name, each that is None followed by `<name>_why`."""
    values: dict[str, Any] = {}
    for name, (value, why) in facts.items():
        values[name] = value
        if value is None:
            values[f"{name}_why"] = why
    return values


def _text(path: Path) -> tuple[str | None, str | None]:
    """Return the text of a file, or why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(), None
    except OSError as error:
        return None, f"{path} cannot be read ({error.strerror})"


def _numbers(paths: Iterable[Path]) -> list[int]:
    """Return the numbers in those files that hold one: the file of a sleeping CPU or sensor cannot be read."""
    texts = (_text(path)[0] or "" for path in paths)
    return [int(text) for text in texts if re.fullmatch(r"-?\d+", text)]


def _cpuinfo() -> tuple[dict[str, str], str | None]:
    """Return what Linux says of the first CPU, by name, and why where it says nothing."""
    text, why = _text(_PROC / "cpuinfo")
    lines = (text or "").splitlines()
    facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    return {key.strip(): value.strip() for key, value in facts.items()}, why


def _cpu_model(cpuinfo: dict[str, str]) -> str | None:
    if not cpuinfo:
        return platform.processor() or None
    if "CPU part" in cpuinfo and "model name" not in cpuinfo:
        return f"ARM (implementer {cpuinfo.get('CPU implementer')}, part {cpuinfo['CPU part']})"
    name = cpuinfo.get("model name")
    # Hosts that hide the model's name still tell its family and model number.
    return f"{name} (family {cpuinfo['cpu family']}, model {cpuinfo['model']})" if name and "cpu family" in cpuinfo else name


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _torch_version() -> str:
    """Return torch's version with its build, `+cpu` or `+cu130`, which the package's metadata may leave out."""
    import torch

    return str(torch.__version__)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _isa(cpuinfo: dict[str, str]) -> dict[str, bool] | None:
    for key, names in (("flags", ISA_X86), ("Features", ISA_ARM)):
        if key in cpuinfo:
            present = cpuinfo[key].split()
            return {name: name in present for name in names}
    return None


def _affinity() -> Fact:
    if not hasattr(os, "sched_getaffinity"):
        return None, "this system does not bind processes to CPUs"
    return sorted(os.sched_getaffinity(0)), None


def _numerics() -> dict[str, Any]:
    """Return how torch rounds: its switches for TF32 and subnormal numbers, and how cuDNN chooses its kernels."""
    import torch

    try:
        matmul_precision = torch.get_float32_matmul_precision()
    except RuntimeError:
        matmul_precision = None
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    return _with_reasons(
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
    import torch

    from rnncore.forecast.device import resolve_device

    try:
        resolve_device("cuda")
    except Unavailable as error:
        return None, str(error)
    properties = torch.cuda.get_device_properties(0)
    facts = {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "count": torch.cuda.device_count(),
    }
    return facts | _driver_facts(), None


def _driver_facts() -> dict[str, Any]:
    try:
        with closing(Gpu.open()) as gpu:
            driver, power_limit_w, why = gpu.driver(), gpu.power_limit_w(), "the driver does not tell"
    except Unavailable as error:
        driver, power_limit_w, why = None, None, str(error)
    return _with_reasons({"driver": (driver, why), "power_limit_w": (power_limit_w, why)})


def _gpu_state() -> Fact:
    try:
        with closing(Gpu.open()) as gpu:
            state = asdict(gpu.state())
    except Unavailable as error:
        return None, str(error)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in state.items()}, None


def _load() -> tuple[tuple[float | None, float | None], str | None]:
    try:
        return os.getloadavg()[:2], None
    except (OSError, AttributeError):
        return (None, None), "the system does not tell"


def _cpu_mhz() -> float | None:
    """Return the mean clock of the CPUs."""
    clocks_khz = _numbers((_SYS / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    clocks_mhz = [clock_khz / 1000 for clock_khz in clocks_khz]
    if not clocks_mhz:
        text = _text(_PROC / "cpuinfo")[0] or ""
        clocks_mhz = [float(clock) for clock in re.findall(r"^cpu MHz\s*:\s*([\d.]+)", text, re.MULTILINE)]
    return sum(clocks_mhz) / len(clocks_mhz) if clocks_mhz else None


def _cpu_temperature_c() -> float | None:
    thousandths = _numbers((_SYS / "class/thermal").glob("thermal_zone*/temp"))
    return max(thousandths) / 1000 if thousandths else None


def _cpu_pressure_pct() -> Fact:
    """Return the share of the last 10 seconds in which some process waited for a CPU."""
    path = _PROC / "pressure/cpu"
    text, why = _text(path)
    found = re.search(r"^some avg10=([\d.]+)", text or "", re.MULTILINE)
    return (float(found[1]), None) if found else (None, why or f"{path} does not tell")
