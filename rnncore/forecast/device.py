"""Where models run: one place that turns a name into a device and sets the threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from rnncore.errors import ConfigError, Unavailable

DEVICES = ("cpu", "cuda")

# Where Linux tells a container how much CPU time it gets: "max", or microseconds, per period.
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def resolve_device(name: str) -> torch.device:
    """Turn `cpu`, `cuda` or `auto` into a device of this machine.

    Args:
        name: `auto` takes CUDA where there is a GPU that works, else the CPU.

    Raises:
        Unavailable: If `cuda` is asked for and there is none.
        ConfigError: If the name is another one.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in DEVICES:
        raise ConfigError(f"device is {name!r}; allowed: auto, {', '.join(DEVICES)}.")
    if name == "cuda" and not torch.cuda.is_available():
        built_for = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        raise Unavailable(
            f"no CUDA device: torch {torch.__version__} is {built_for} and sees no GPU. "
            "Install a CUDA build of torch and the NVIDIA driver, or use the CPU."
        )
    return torch.device(name)


@contextmanager
def cudnn_precision(precision: str) -> Iterator[None]:
    """Let cuDNN's recurrent kernels use TF32 inside the block, or not; the CPU knows no such choice.

    Args:
        precision: `tf32` rounds the factors of products to 10 bits, any other name does not.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def synchronize(device: torch.device) -> None:
    """Wait until all work queued on *device* is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def default_threads() -> int:
    """Return how many CPUs this process may use: its affinity, or a container's quota where that is less."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return usable
    return usable if quota == "max" else max(1, min(usable, int(quota) // int(period)))
