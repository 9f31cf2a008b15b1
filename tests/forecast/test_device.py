"""Tests of devices by name, how they round, how many threads this process may start, and how they wait for one another."""

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast import device
from rnncore.forecast.device import (
    CUDA,
    TYPES,
    Device,
    cpu_quota,
    cudnn_precision,
    default_threads,
    limited_threads,
    passive_waiting,
    resolve_device,
    waits_passively,
)
from rnncore.forecast.series import Series
from rnncore.runtimes.onnx import cpu_options

REPOSITORY = Path(__file__).parents[2]


OLD_DRIVER = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). Please update it. "
    "(Triggered internally at c10/cuda/CUDAFunctions.cpp:119.)"
)


def _plant_gpu(monkeypatch: pytest.MonkeyPatch, is_there: bool, said: str | None = None) -> None:
    """Plant what torch answers when it is asked for a GPU, and what it warns of meanwhile."""

    def is_available() -> bool:
        if said is not None:
            warnings.warn(said, UserWarning, stacklevel=2)
        return is_there

    monkeypatch.setattr(torch.cuda, "is_available", is_available)


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_a_gpu_has_its_number_so_that_it_is_what_its_tensors_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _plant_gpu(monkeypatch, is_there=True)
    assert resolve_device(name) == torch.device("cuda", 0)
    assert Device(CUDA).why_missing() is None


def test_without_a_gpu_the_cpu_is_taken_or_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _plant_gpu(monkeypatch, is_there=False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    wording = r"no CUDA device: torch \S+ is .* and sees no GPU\. Install a CUDA build of torch and the NVIDIA driver"
    with pytest.raises(Unavailable, match=wording):
        resolve_device("cuda")


def test_what_an_old_driver_makes_torch_warn_of_is_the_reason_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _plant_gpu(monkeypatch, is_there=False, said=OLD_DRIVER)
    # Warnings are errors in these tests.
    assert resolve_device("auto") == torch.device("cpu")
    with pytest.raises(
        Unavailable, match=r"sees no GPU\. CUDA initialization: .* too old .*Please update it\. Install"
    ) as caught:
        resolve_device("cuda")
    assert "Triggered" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "device", "again"),
    [
        ("cpu", Device("cpu"), "cpu"),
        ("cuda", Device("cuda"), "cuda"),
        ("cuda:0", Device("cuda"), "cuda"),
        ("cuda:1", Device("cuda", 1), "cuda:1"),
        ("xpu:11", Device("xpu", 11), "xpu:11"),
    ],
)
def test_a_device_has_one_name_the_first_of_a_type_without_its_number(name: str, device: Device, again: str) -> None:
    assert Device.known(name) == device
    assert device.name == again
    assert Device.of(device.in_torch) == device


@pytest.mark.parametrize("name", ["", "cuda:", "cuda:x", "CUDA", "cuda 1", "cuda:-1", ":1", "tpu", "auto:1", "cpu:1"])
def test_what_names_no_device_of_torchs_is_refused_and_what_does_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"device is '{name}'; allowed: {', '.join(TYPES)}, with a number .*cuda:1"):
        resolve_device(name)


def test_a_gpu_beyond_those_that_there_are_is_refused_and_the_others_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _plant_gpu(monkeypatch, is_there=True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(Unavailable, match=r"no CUDA device 2: torch sees 2\. Name one of: cuda, cuda:1\."):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["mps", "xpu"])
def test_a_device_that_this_torch_has_not_says_what_it_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getattr(torch, name), "is_available", lambda: False)
    wording = rf"no {name.upper()} device: torch \S+ is .* and sees no GPU\. .*{TYPES[name].install}, or use the CPU\."
    with pytest.raises(Unavailable, match=wording):
        resolve_device(name)


def _plant_accelerator(monkeypatch: pytest.MonkeyPatch, type_: str) -> None:
    """Plant that torch has a device of a type beside the CPU, which works."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(type_))
    monkeypatch.setattr(getattr(torch, type_), "is_available", lambda: True)


@pytest.mark.parametrize(("type_", "taken"), [("cuda", "cuda:0"), ("mps", "cpu"), ("xpu", "cpu")])
def test_a_device_that_runs_no_whole_layers_is_taken_by_name_alone(
    type_: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant_accelerator(monkeypatch, type_)
    assert resolve_device("auto") == torch.device(taken)
    assert resolve_device(type_) == torch.device(type_, 0)


def test_amds_gpus_have_torchs_name_of_nvidias_and_no_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(CUDA)
    assert (device.title, device.precisions) == ("CUDA", ("fp32", "tf32", "bf16", "fp16"))
    device.require("tf32")
    monkeypatch.setattr(torch.version, "hip", "7.2.53211")
    assert (device.name, device.title, device.precisions) == ("cuda", "ROCm", ("fp32", "bf16", "fp16"))
    assert device.software().keys() == {"rocm", "miopen"}
    with pytest.raises(Unavailable, match=r"no tf32 on ROCm\. Take one of: fp32, bf16, fp16\."):
        device.require("tf32")
    _plant_gpu(monkeypatch, is_there=False)
    assert "no ROCm device: " in str(device.why_missing())


def test_a_type_has_graphs_and_kernels_in_a_profile_by_names_that_torch_has() -> None:
    for name, kind in TYPES.items():
        assert kind.graphs is None or callable(getattr(getattr(torch, name), kind.graphs))
        assert len(Device(name).profiler_activities()) == 1 + (kind.profiled_as is not None)


def test_processes_speak_by_the_cpus_network_and_by_that_of_their_gpus() -> None:
    assert Device("cpu").backend() == "gloo"
    assert Device(CUDA, 1).backend() == "cpu:gloo,cuda:nccl"
    # A type that torch has a name for and nothing that connects it.
    with pytest.raises(Unavailable, match=r"nothing that connects VULKAN devices\. Train in one process"):
        Device("vulkan").backend()


@pytest.mark.parametrize("lacks", ["is_available", "is_gloo_available"])
def test_without_gloo_no_processes_are_connected(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, lacks, lambda: False)
    with pytest.raises(Unavailable, match=r"built without gloo"):
        Device("cpu").backend()


def test_where_torch_locks_no_memory_for_a_device_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(values: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("not for such a device")

    monkeypatch.setattr(torch.Tensor, "pin_memory", refuse)
    with pytest.raises(Unavailable, match=r"no page-locked memory for XPU: not for such a device\. .*clock 'host'"):
        Device("xpu").page_locked(torch.ones(3))


def _switches() -> dict[str, str]:
    backends = torch.backends
    return {
        "rnn": backends.cudnn.rnn.fp32_precision,
        "conv": backends.cudnn.conv.fp32_precision,
        "matmul": backends.cuda.matmul.fp32_precision,
    }


@pytest.fixture
def restored_switches() -> Iterator[None]:
    """Give back the wide switch and cuDNN's, which tests change."""
    before, of_cudnn = torch.backends.fp32_precision, _switches()
    yield
    torch.backends.fp32_precision = before
    torch.backends.cudnn.rnn.fp32_precision = of_cudnn["rnn"]
    torch.backends.cudnn.conv.fp32_precision = of_cudnn["conv"]


@pytest.mark.parametrize(("precision", "inside"), [("fp32", "ieee"), ("tf32", "tf32"), ("bf16", "ieee")])
@pytest.mark.parametrize("wide", ["none", "ieee", "tf32"])
def test_what_a_row_rounds_to_is_its_own_whatever_a_wider_switch_permits(
    precision: str, inside: str, wide: str, restored_switches: None
) -> None:
    torch.backends.fp32_precision = wide
    torch.backends.cudnn.rnn.fp32_precision = "none"
    before = _switches()
    with cudnn_precision(precision):
        assert _switches() == dict.fromkeys(("rnn", "conv", "matmul"), inside)
        # The CPU never rounds a row of fp32.
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    assert _switches() == before


def test_switches_of_cudnn_that_differ_are_no_hindrance(restored_switches: None) -> None:
    # torch's former switch cannot be read then.
    torch.backends.cudnn.rnn.fp32_precision = "ieee"
    before = _switches()
    with cudnn_precision("tf32"):
        assert _switches()["rnn"] == "tf32"
    assert _switches() == before


def test_switches_are_given_back_after_an_error(restored_switches: None) -> None:
    before = _switches()
    with pytest.raises(ZeroDivisionError), cudnn_precision("fp32"):
        raise ZeroDivisionError
    assert _switches() == before


class Machine:
    """Control groups in a folder, and eight CPUs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own(None)

    def own(self, text: str | None) -> None:
        if text is None:
            (self.folder / "own").unlink(missing_ok=True)
        else:
            (self.folder / "own").write_text(text)

    def v2(self, group: str, text: str) -> None:
        self._write(f"{group}/cpu.max", text)

    def v1(self, group: str, quota: str, period: str = "100000") -> None:
        self._write(f"{group}/cpu.cfs_quota_us", quota)
        self._write(f"{group}/cpu.cfs_period_us", period)

    def _write(self, path: str, text: str) -> None:
        file = self.folder / "cgroup" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(device, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(device, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    return Machine(tmp_path)


def test_without_limits_every_cpu_of_the_affinity_has_a_thread(machine: Machine) -> None:
    assert default_threads() == 8
    assert cpu_quota() == (None, f"no control group in {device.CGROUPS} tells a limit")


@pytest.mark.parametrize(
    ("text", "threads"),
    [("200000 100000", 2), ("350000 100000", 3), ("50000 100000", 1), ("max 100000", 8), ("1600000 100000", 8)],
)
def test_a_quota_of_version_2_limits_the_threads(machine: Machine, text: str, threads: int) -> None:
    machine.v2("", text)
    assert default_threads() == threads


@pytest.mark.parametrize(("quota", "threads"), [("200000", 2), ("350000", 3), ("50000", 1), ("-1", 8), ("1600000", 8)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1_limits_the_threads(machine: Machine, mount: str, quota: str, threads: int) -> None:
    machine.own(f"9:name=systemd:/\n4:memory:/made\n2:{mount}:/\n0::/\n")
    machine.v1(mount, quota)
    assert default_threads() == threads


def test_version_1_is_found_where_nothing_tells_the_own_group(machine: Machine) -> None:
    machine.v1("cpu", "300000")
    assert default_threads() == 3


def test_the_least_quota_of_the_groups_around_counts_in_both_versions(machine: Machine) -> None:
    machine.own("2:cpuacct:/other\n1:cpu:/docker/made/inner\n0::/system.slice/made.scope\n")
    machine.v1("cpu/docker/made/inner", "600000")
    machine.v1("cpu/docker/made", "500000")
    machine.v1("cpu/docker/another", "100000")
    machine.v1("cpuacct/other", "100000")
    assert default_threads() == 5
    machine.v2("unified/system.slice/made.scope", "max 100000")
    machine.v2("system.slice", "400000 100000")
    assert default_threads() == 4
    assert cpu_quota() == (4.0, None)


def test_a_path_that_is_the_hosts_leads_to_the_root_that_the_container_sees(machine: Machine) -> None:
    machine.own("1:cpu:/docker/0123\n0::/../0123\n")
    machine.v1("cpu", "200000")
    assert default_threads() == 2


@pytest.mark.parametrize("text", ["garbled", "", "100000 0", "max"])
def test_a_file_that_cannot_be_read_limits_nothing(machine: Machine, text: str) -> None:
    machine.v2("", text)
    assert default_threads() == 8
    assert cpu_quota()[0] is None


def test_no_limit_is_told_from_no_answer(machine: Machine) -> None:
    machine.v1("cpu", "-1")
    assert cpu_quota() == (None, "no limit")


@pytest.mark.parametrize(
    ("given", "threads"), [("1", 1), ("3", 3), ("5,2", 5), (" 2 ", 2), ("64", 8), ("0", 8), ("-1", 8), ("many", 8), ("", 8)]
)
def test_omp_num_threads_limits_the_threads(
    machine: Machine, given: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert default_threads() == threads
    assert limited_threads() == dict.fromkeys(("OMP_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"), str(threads))


@pytest.mark.parametrize(("policy", "passive"), [("passive", True), (" PASSIVE", True), ("active", False), ("", False)])
def test_onnx_runtime_waits_as_libgomp_is_told_to(policy: str, passive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    assert waits_passively() is passive
    key = "session.intra_op.allow_spinning"
    if passive:
        assert cpu_options(3).get_session_config_entry(key) == "0"
    else:
        with pytest.raises(RuntimeError, match=key):
            cpu_options(3).get_session_config_entry(key)
    assert (cpu_options(3).intra_op_num_threads, cpu_options(3).inter_op_num_threads) == (3, 1)


def test_what_the_user_chose_of_waiting_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.delenv("GOMP_SPINCOUNT")
    assert passive_waiting() == {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "100"}


# A verb in a process of its own with made control groups; at the end, how many threads each library may start.
VERB = """
import json, os, sys
from pathlib import Path

os.sched_getaffinity = lambda pid: set(range(8))
from rnncore.forecast import device

device.CGROUPS, device.OWN_CGROUPS = Path(sys.argv[1]), Path(sys.argv[1]) / "none"
sys.argv[:] = ["rnncore", *sys.argv[2:]]
from rnncore.cli import main

try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
import threadpoolctl, torch

pools = {pool["num_threads"] for pool in threadpoolctl.threadpool_info()} | {torch.get_num_threads()}
print(json.dumps(sorted(pools)))
print(os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.parametrize(
    ("quota", "omp", "most"),
    [("300000 100000", None, 3), ("max 100000", "1", 1)],
    ids=["quota", "OMP_NUM_THREADS"],
)
def test_a_verb_that_computes_lets_no_library_start_more_threads_than_it_may_use(
    machine: Machine, quota: str, omp: str | None, most: int, make_series: Callable[..., Series], tmp_path: Path
) -> None:
    machine.v2("", quota)
    make_series(hours=1000).to_csv(tmp_path / "zone.csv")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    env |= {"OMP_NUM_THREADS": omp} if omp else {}
    command = [sys.executable, "-c", VERB, str(device.CGROUPS), "train", "--data", str(tmp_path / "zone.csv")]
    command += ["--preset", "fast", "--max-steps", "2", "--device", "cpu", "--out", str(tmp_path / "model.safetensors")]
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    *_, pools, policy = done.stdout.splitlines()
    assert max(json.loads(pools)) == most
    assert policy == "passive"
