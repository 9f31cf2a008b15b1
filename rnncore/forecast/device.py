"""Where models run: one place that turns a name into a device, chooses the threads, and how they wait for one another.

torch is imported where it is used: what is chosen here by the environment must be there before torch is loaded.
"""

import math
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from rnncore.errors import ConfigError, Unavailable

if TYPE_CHECKING:
    import torch

DEVICES = ("cpu", "cuda")

# Calls of what is captured as a CUDA graph before it is; as torch's own examples have it.
CALLS_BEFORE_CAPTURE = 3

# Where Linux keeps control groups, and in which ones this process is.
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")

# What OpenMP, and with it torch, OpenBLAS and MKL, may start.
_THREADS_ENV = "OMP_NUM_THREADS"
# How many processes torch.compile may start.
_COMPILING_ENV = "TORCHINDUCTOR_COMPILE_THREADS"
_WAITING_ENV = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")

# How often a thread that waits for others looks again before it sleeps. Where it sleeps at once, every barrier costs a
# wake-up. Where it looks on for milliseconds, as libgomp's do when nothing is set, it holds the very core that the thread
# it waits for could run on: beside one busy process, two threads on two cores took a hundred times longer.
_LOOKS = "100"

# What libgomp does by itself; set, so that processes that are started from here know that it was chosen.
_LOOKS_BY_ITSELF = "300000"


def resolve_device(name: str) -> "torch.device":
    """Turn `cpu`, `cuda` or `auto` into a device of this machine.

    Args:
        name: `auto` takes CUDA where there is a GPU that works, else the CPU.

    Raises:
        Unavailable: If `cuda` is asked for and there is none.
        ConfigError: If the name is another one.
    """
    import torch

    if name == "auto":
        name = "cpu" if why_no_cuda() else "cuda"
    if name not in DEVICES:
        raise ConfigError(f"device is {name!r}; allowed: auto, {', '.join(DEVICES)}.")
    if name == "cuda":
        if why := why_no_cuda():
            raise Unavailable(why)
        # With its number it is equal to what tensors on it name.
        return torch.device("cuda", 0)
    return torch.device(name)


def why_no_cuda() -> str | None:
    """Return why torch has no GPU, with what the driver says of it and what to do; None where it has one."""
    import torch

    # Of an old driver torch only warns, which must neither be lost nor end a session in which warnings are errors.
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    built_for = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
    # Without where in torch's code it was said.
    words = [str(warning.message).split("(Triggered internally")[0].strip().rstrip(".") for warning in said]
    return " ".join(
        [
            f"no CUDA device: torch {torch.__version__} is {built_for} and sees no GPU.",
            *(f"{text}." for text in words),
            "Install a CUDA build of torch and the NVIDIA driver, or use the CPU.",
        ]
    )


@contextmanager
def cudnn_precision(precision: str) -> Iterator[None]:
    """Let products of fp32 be rounded to TF32 on CUDA inside the block, or not: those of cuDNN's layers and of matrices.

    On a CPU they are never rounded. Each of torch's switches is set by itself: one that is left open takes the value of a
    wider one, which may permit TF32. A switch that was open has after the block the value that it took.

    Args:
        precision: `tf32` rounds the factors of products to 10 bits, any other name does not.
    """
    switches = _fp32_switches()
    before = [switch.fp32_precision for switch in switches.values()]
    for name, switch in switches.items():
        switch.fp32_precision = "tf32" if precision == "tf32" and "mkldnn" not in name else "ieee"
    try:
        yield
    finally:
        for switch, value in zip(switches.values(), before, strict=True):
            switch.fp32_precision = value


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Let torch run recurrent layers hour by hour itself inside the block, also on a GPU that cuDNN has layers for."""
    import torch

    backends: Any = torch.backends
    before = backends.cudnn.enabled
    backends.cudnn.enabled = False
    try:
        yield
    finally:
        backends.cudnn.enabled = before


def require_bf16(device: "torch.device") -> None:
    """Refuse bf16 where the device has no instructions for it: on a CPU torch's layers give way to loops that convert.

    Raises:
        Unavailable: If it has none.
    """
    import torch

    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise Unavailable("this CPU has no instructions for bf16 (AVX-512 BF16 or AMX).")


def _fp32_switches() -> dict[str, Any]:
    """Return what torch rounds products of fp32 by, by name."""
    import torch

    backends: Any = torch.backends
    return {
        "cudnn.rnn": backends.cudnn.rnn,
        "cudnn.conv": backends.cudnn.conv,
        "cuda.matmul": backends.cuda.matmul,
        "mkldnn.rnn": backends.mkldnn.rnn,
        "mkldnn.matmul": backends.mkldnn.matmul,
    }


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use *count* CPU threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronize(device: "torch.device") -> None:
    """Wait until all work queued on *device* is done."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def captured(
    call: "Callable[[], torch.Tensor]", calls_before: int = CALLS_BEFORE_CAPTURE
) -> "tuple[torch.cuda.CUDAGraph, torch.Tensor]":
    """Capture a call as a CUDA graph, after some calls as they are: what libraries make ready at first must be there before.

    Args:
        call: Reads and writes tensors of the GPU, always the same ones, and waits for nothing.
        calls_before: How many; 0 where `on_side_stream` made them.

    Returns:
        The graph, whose replays call again, and the tensor that holds what the last of them returned.
    """
    import torch

    for _ in range(calls_before):
        on_side_stream(call)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        returned = call()
    return graph, returned


def on_side_stream(call: "Callable[[], torch.Tensor]") -> "torch.Tensor":
    """Make a call as it will be captured: on a stream of its own, between what was queued before and what will be after."""
    import torch

    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        returned = call()
    torch.cuda.current_stream().wait_stream(side)
    return returned


def default_threads() -> int:
    """Return how many CPUs this process may use: the smallest of its affinity, its quota and `OMP_NUM_THREADS`."""
    # A list is for threads within threads; its first number is for the outer ones.
    given = re.match(r"\s*(\d+)\s*(,|$)", os.environ.get(_THREADS_ENV, ""))
    threads = usable_threads()
    return min(threads, int(given[1])) if given and int(given[1]) else threads


def usable_threads() -> int:
    """Return how many threads find a CPU: the smaller of the process's affinity and its quota, at least 1."""
    cpus, (quota, _) = len(usable_cpus()), cpu_quota()
    return cpus if quota is None else max(1, min(cpus, int(quota)))


def usable_cpus() -> frozenset[int]:
    """Return the numbers of the CPUs that this process may run on."""
    return frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def cpu_quota() -> tuple[float | None, str | None]:
    """Return of how many CPUs the process may use the time, by its control groups and all around them.

    Returns:
        The smallest quota in CPUs, or None; and why there is none.
    """
    quotas = [quota for folder in _cgroup_folders() if (quota := _quota_of(folder)) is not None]
    smallest = min(quotas, default=math.inf)
    if smallest < math.inf:
        return smallest, None
    return None, "no limit" if quotas else f"no control group in {CGROUPS} tells a limit"


def _cgroup_folders() -> Iterator[Path]:
    """Yield the folders of the groups that this process is in and of all around them, in both versions.

    A container may see its own group as the root, under a path that leads nowhere there.
    """
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", "1:cpu:/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = [CGROUPS / controllers, CGROUPS / "cpu"] if controllers else [CGROUPS, CGROUPS / "unified"]
        group = PurePosixPath(path)
        for inside in (group, *group.parents):
            yield from (mount / inside.relative_to("/") for mount in mounts if ".." not in inside.parts)


def _quota_of(folder: Path) -> float | None:
    """Return the quota of one group in CPUs, in either version: infinite where it has none, None where it gives none."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        return math.inf if quota.strip() in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def limited_threads() -> dict[str, str]:
    """Return the environment in which no library starts more threads or compilers than this process may use."""
    return dict.fromkeys((_THREADS_ENV, _COMPILING_ENV), str(default_threads()))


def passive_waiting() -> dict[str, str]:
    """Return the environment in which threads that wait soon leave the CPU to others; what is set already stays."""
    policy, looks = _WAITING_ENV
    return {policy: os.environ.get(policy, "passive"), looks: os.environ.get(looks, _LOOKS)}


def spinning_waiting() -> dict[str, str]:
    """Return the environment in which threads wait as libgomp lets them by itself: they spin for milliseconds."""
    return {_WAITING_ENV[1]: _LOOKS_BY_ITSELF}


def waiting_is_chosen() -> bool:
    """Return whether the environment sets how threads wait."""
    return any(name in os.environ for name in _WAITING_ENV)


def waits_passively() -> bool:
    """Return whether the environment has libgomp's threads leave the CPU to others while they wait."""
    return os.environ.get(_WAITING_ENV[0], "").strip().lower() == "passive"
