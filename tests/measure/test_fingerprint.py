"""Tests of the facts of a machine: planted files, machines that tell nothing, and what is the same in two calls."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rnncore.errors import Unavailable
from rnncore.forecast import device
from rnncore.measure import linux
from rnncore.measure.fingerprint import conditions, fingerprint
from rnncore.measure.gpu import Gpu, GpuState

REPOSITORY = Path(__file__).parents[2]

SAPPHIRE_RAPIDS = """\
processor	: 0
vendor_id	: GenuineIntel
cpu family	: 6
model		: 143
model name	: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
cpu MHz		: 2700.000
flags		: fpu hypervisor avx avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8

processor	: 1
cpu family	: 6
model		: 143
model name	: another
cpu MHz		: 3100.000
flags		: fpu
"""
ZEN_3 = """\
processor	: 0
cpu family	: 25
model		: 1
model name	: AMD EPYC
flags		: fpu avx avx2
"""
GRAVITON_3 = """\
processor	: 0
BogoMIPS	: 2100.00
Features	: fp asimd evtstrm aes sve i8mm bf16
CPU implementer	: 0x41
CPU architecture: 8
CPU part	: 0xd40
"""
ISA_OF_SAPPHIRE_RAPIDS = dict.fromkeys(("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"), True)

STATE = GpuState(1755, 1980, 61, 412.5, ("power cap",), (7,))


class PlantedGpu:
    def __init__(self, power_limit_w: float | None = 700.0) -> None:
        self._power_limit_w = power_limit_w
        self.closed = False

    def driver(self) -> str:
        return "580.1"

    def power_limit_w(self) -> float | None:
        return self._power_limit_w

    def state(self) -> GpuState:
        return STATE

    def close(self) -> None:
        self.closed = True


class PlantedMachine:
    """A machine that tells nothing but what is written to its files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlantedMachine:
    def no_gpu() -> None:
        raise Unavailable("no made GPU: install its driver")

    monkeypatch.setattr(linux, "PROC", tmp_path / "proc")
    monkeypatch.setattr(linux, "SYS", tmp_path / "sys")
    monkeypatch.setattr(device, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(device, "OWN_CGROUPS", tmp_path / "own_cgroups")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Gpu, "open", no_gpu)
    return PlantedMachine(tmp_path)


@pytest.fixture
def silent(planted: PlantedMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take from the planted machine also what the system itself tells, as on a system other than Linux."""

    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(os, "sysconf", fail)
    monkeypatch.setattr(os, "getloadavg", fail)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)


def plant_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant two GPUs that torch can use."""

    def properties(index: int) -> SimpleNamespace:
        return SimpleNamespace(name="Made GPU", total_memory=1 << 30, major=9, minor=0, uuid=f"0a-{index}")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)


def reasons_missing(facts: dict[str, Any]) -> list[str]:
    """Return the facts that are None without a reason, and the reasons of facts that are not."""
    nulls = {name for name, value in facts.items() if value is None}
    reasons = {name.removesuffix("_why") for name, why in facts.items() if name.endswith("_why") and why}
    return sorted(nulls ^ reasons)


def test_every_fact_that_a_silent_machine_keeps_is_null_with_a_reason(silent: None) -> None:
    facts = fingerprint(3)
    told = {name for name, value in facts.items() if value is not None and not name.endswith("_why")}
    assert told == {"threads", "system", "python", "packages", "numerics"}
    assert reasons_missing(facts) == []
    assert {"cpu", "isa", "governor", "affinity", "cpu_quota", "virtual_machine", "gpu"} <= set(facts)


def test_every_condition_that_a_silent_machine_keeps_is_null_with_a_reason(silent: None) -> None:
    facts = conditions()
    assert {name for name, value in facts.items() if value is None} == {
        "load_1min",
        "load_5min",
        "cpu_mhz",
        "cpu_temperature_c",
        "cpu_pressure_pct",
        "gpu",
    }
    assert reasons_missing(facts) == []


def test_facts_of_this_machine_are_told_or_have_a_reason() -> None:
    assert reasons_missing(fingerprint(1)) == []
    assert reasons_missing(conditions()) == []


def test_an_unreadable_file_is_named_in_the_reason(planted: PlantedMachine) -> None:
    facts = fingerprint(1)
    missing = f"{planted.folder}/proc/cpuinfo cannot be read (No such file or directory)"
    assert (facts["isa_why"], facts["virtual_machine_why"]) == (missing, missing)
    assert facts["governor_why"].startswith(f"{planted.folder}/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    assert conditions()["cpu_pressure_pct_why"].startswith(f"{planted.folder}/proc/pressure/cpu cannot be read")


def test_stable_facts_are_the_same_in_two_calls_and_survive_a_run_file() -> None:
    facts = fingerprint(2)
    assert facts == fingerprint(2)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["threads"] == 2


def test_conditions_survive_a_run_file(planted: PlantedMachine, monkeypatch) -> None:
    monkeypatch.setattr(Gpu, "open", PlantedGpu)
    facts = conditions()
    assert json.loads(json.dumps(facts)) == facts


@pytest.mark.parametrize(
    ("cpuinfo", "model"),
    [
        (SAPPHIRE_RAPIDS, "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz (family 6, model 143)"),
        (ZEN_3, "AMD EPYC (family 25, model 1)"),
        (GRAVITON_3, "ARM (implementer 0x41, part 0xd40)"),
    ],
)
def test_a_cpu_is_told_by_its_model(cpuinfo: str, model: str, planted: PlantedMachine) -> None:
    planted.write("proc/cpuinfo", cpuinfo)
    assert fingerprint(1)["cpu"] == model


@pytest.mark.parametrize(
    ("cpuinfo", "isa"),
    [
        (SAPPHIRE_RAPIDS, ISA_OF_SAPPHIRE_RAPIDS),
        (ZEN_3, {name: name == "avx2" for name in ISA_OF_SAPPHIRE_RAPIDS}),
        (GRAVITON_3, {"asimd": True, "sve": True, "bf16": True}),
        (GRAVITON_3.replace("sve", "sve2"), {"asimd": True, "sve": False, "bf16": True}),
    ],
)
def test_instructions_are_those_that_the_cpu_lists(cpuinfo: str, isa: dict[str, bool], planted: PlantedMachine) -> None:
    planted.write("proc/cpuinfo", cpuinfo)
    assert fingerprint(1)["isa"] == isa


@pytest.mark.parametrize(("cpuinfo", "virtual"), [(SAPPHIRE_RAPIDS, True), (ZEN_3, False), (GRAVITON_3, None)])
def test_a_virtual_machine_is_told_by_its_hypervisor(cpuinfo: str, virtual: bool | None, planted: PlantedMachine) -> None:
    planted.write("proc/cpuinfo", cpuinfo)
    facts = fingerprint(1)
    assert facts["virtual_machine"] is virtual
    assert facts.get("virtual_machine_why") == (None if virtual is not None else "only x86 CPUs tell")


def test_the_governor_is_that_of_the_first_cpu(planted: PlantedMachine) -> None:
    planted.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    assert fingerprint(1)["governor"] == "powersave"


def test_affinity_lists_the_cpus_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {9, 0, 4}, raising=False)
    assert fingerprint(1)["affinity"] == [0, 4, 9]


@pytest.mark.parametrize(
    ("text", "quota", "why"),
    [
        ("150000 100000\n", 1.5, None),
        ("400000 100000\n", 4.0, None),
        ("max 100000\n", None, "no limit"),
        ("garbled\n", None, "cgroup tells a limit"),
    ],
)
def test_the_quota_of_a_container_is_in_cpus(text: str, quota: float | None, why: str | None, planted) -> None:
    planted.write("cgroup/cpu.max", text)
    facts = fingerprint(1)
    assert facts["cpu_quota"] == quota
    assert ("cpu_quota_why" in facts) == (why is not None)
    assert facts.get("cpu_quota_why", "").endswith(why or "")


def test_threads_that_wait_without_spinning_are_another_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    passive = fingerprint(1)
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert passive == {**fingerprint(1), "waiting": "passive"}


def test_versions_of_what_is_timed_and_what_times_are_told() -> None:
    packages = fingerprint(1)["packages"]
    assert packages["torch"] == torch.__version__
    assert {"scikit-learn", "pytest-benchmark", "numpy"} <= {name for name, version in packages.items() if version}


def test_switches_of_torch_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    numerics = fingerprint(1)["numerics"]
    assert (numerics["cudnn_benchmark"], numerics["cudnn_deterministic"]) == (True, False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    numerics = fingerprint(1)["numerics"]
    assert (numerics["cudnn_benchmark"], numerics["cudnn_deterministic"]) == (False, True)


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_of_recurrent_kernels_is_told(allowed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
    assert fingerprint(1)["numerics"]["cudnn_allow_tf32"] is allowed


def test_tf32_of_convolutions_is_not_that_of_recurrent_kernels() -> None:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
    try:
        assert fingerprint(1)["numerics"]["cudnn_allow_tf32"] is False
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("precision", "allowed"), [("highest", False), ("high", True)])
def test_tf32_of_products_is_told(precision: str, allowed: bool, restored_precision: None) -> None:
    torch.set_float32_matmul_precision(precision)
    numerics = fingerprint(1)["numerics"]
    assert (numerics["matmul_precision"], numerics["matmul_allow_tf32"]) == (precision, allowed)


def test_switches_that_contradict_each_other_are_null_with_a_reason(restored_precision: None) -> None:
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    numerics = fingerprint(1)["numerics"]
    assert (numerics["matmul_precision"], numerics["matmul_allow_tf32"]) == (None, True)
    assert "contradict" in numerics["matmul_precision_why"]


@pytest.fixture
def restored_precision():
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("flush", [True, False])
def test_lost_subnormal_numbers_are_told(flush: bool) -> None:
    if not torch.set_flush_denormal(flush):
        pytest.skip("this CPU cannot flush subnormal numbers")
    try:
        assert fingerprint(1)["numerics"]["flush_denormal"] is flush
    finally:
        torch.set_flush_denormal(False)


def test_without_a_gpu_the_reason_is_torchs(planted: PlantedMachine) -> None:
    facts = fingerprint(1)
    assert facts["gpu"] is None
    assert f"no CUDA device: torch {torch.__version__}" in facts["gpu_why"]


def test_a_gpu_is_told_by_torch_and_by_its_driver(planted: PlantedMachine, monkeypatch) -> None:
    plant_cuda(monkeypatch)
    gpu = PlantedGpu()
    monkeypatch.setattr(Gpu, "open", lambda: gpu)
    facts = fingerprint(1)["gpu"]
    assert {name: facts[name] for name in ("name", "memory_bytes", "compute_capability", "count")} == {
        "name": "Made GPU",
        "memory_bytes": 1 << 30,
        "compute_capability": "9.0",
        "count": 2,
    }
    assert {"cuda", "cudnn"} <= set(facts)
    card = {"name": "Made GPU", "memory_bytes": 1 << 30, "compute_capability": "9.0"}
    assert facts["devices"] == {"cuda": {**card, "uuid": "0a-0"}, "cuda:1": {**card, "uuid": "0a-1"}}
    assert (facts["driver"], facts["power_limit_w"]) == ("580.1", 700.0)
    assert gpu.closed


def test_what_the_driver_keeps_of_a_gpu_is_null_with_a_reason(planted: PlantedMachine, monkeypatch) -> None:
    plant_cuda(monkeypatch)
    facts = fingerprint(1)["gpu"]
    assert (facts["name"], facts["driver"], facts["power_limit_w"]) == ("Made GPU", None, None)
    assert facts["driver_why"] == facts["power_limit_w_why"] == "no made GPU: install its driver"
    monkeypatch.setattr(Gpu, "open", lambda: PlantedGpu(power_limit_w=None))
    facts = fingerprint(1)["gpu"]
    assert (facts["driver"], facts["power_limit_w"]) == ("580.1", None)
    assert facts["power_limit_w_why"] == "the driver does not tell"


def test_the_state_of_a_gpu_is_a_condition(planted: PlantedMachine, monkeypatch) -> None:
    gpu = PlantedGpu()
    monkeypatch.setattr(Gpu, "open", lambda: gpu)
    assert conditions()["gpu"] == {
        "sm_clock_mhz": 1755,
        "max_sm_clock_mhz": 1980,
        "temperature_c": 61,
        "power_w": 412.5,
        "throttle_reasons": ["power cap"],
        "foreign_pids": [7],
    }
    assert gpu.closed


def test_without_a_gpu_its_state_has_the_reason(planted: PlantedMachine) -> None:
    facts = conditions()
    assert (facts["gpu"], facts["gpu_why"]) == (None, "no made GPU: install its driver")


def test_load_is_that_of_the_last_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 0.75, 0.25))
    facts = conditions()
    assert (facts["load_1min"], facts["load_5min"]) == (1.5, 0.75)


def test_the_clock_is_the_mean_of_the_cpus_that_tell_it(planted: PlantedMachine) -> None:
    planted.write("proc/cpuinfo", SAPPHIRE_RAPIDS)
    assert conditions()["cpu_mhz"] == 2900.0
    planted.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "3500000\n")
    planted.write("sys/devices/system/cpu/cpu11/cpufreq/scaling_cur_freq", "2500000\n")
    planted.write("sys/devices/system/cpu/cpu12/cpufreq/scaling_cur_freq", "<unknown>\n")
    assert conditions()["cpu_mhz"] == 3000.0


def test_the_temperature_is_that_of_the_hottest_zone(planted: PlantedMachine) -> None:
    for zone, text in enumerate(("41000\n", "67500\n", "-274000\n", "")):
        planted.write(f"sys/class/thermal/thermal_zone{zone}/temp", text)
    assert conditions()["cpu_temperature_c"] == 67.5


def test_pressure_is_that_of_some_process_in_ten_seconds(planted: PlantedMachine) -> None:
    full = "full avg10=9.00 avg60=9.00 avg300=9.00 total=9\n"
    planted.write("proc/pressure/cpu", f"some avg10=12.34 avg60=5.00 avg300=1.00 total=77\n{full}")
    assert conditions()["cpu_pressure_pct"] == 12.34
    planted.write("proc/pressure/cpu", full)
    assert conditions()["cpu_pressure_pct_why"].endswith("proc/pressure/cpu does not tell")


@pytest.mark.parametrize("module", ["fingerprint", "gpu", "energy"])
def test_machines_are_looked_at_without_torch(module: str) -> None:
    code = f"import sys, rnncore.measure.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
