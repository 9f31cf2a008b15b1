"""Peak memory of a call, taken in a round that nobody times."""

from collections.abc import Callable
from pathlib import Path

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def peak_rss_bytes(call: Callable[[], object]) -> tuple[int | None, str | None]:
    """Run *call* once and return the largest resident memory of the process while it ran.

    Args:
        call: What to run.

    Returns:
        The peak in bytes and None, or None and the reason where the system does not tell.
    """
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError as error:
        call()
        return None, f"the peak cannot be reset ({error.strerror})"
    call()
    return process_peak_rss_bytes(), None


def process_peak_rss_bytes() -> int | None:
    """Return the largest resident memory of this process since it started, or since the peak was reset.

    Unlike `ru_maxrss`, it does not count the process that this one was forked from. None on systems other than Linux.
    """
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def peak_device_bytes(call: Callable[[], object], device: str, runtime: str) -> tuple[int | None, str | None]:
    """Run *call* once and return the most device memory that torch held while it ran.

    Args:
        call: What to run.
        device: `cpu` or `cuda`.
        runtime: Who runs it; only torch counts its own memory.

    Returns:
        The peak in bytes and None, or None and the reason.
    """
    if device != "cuda":
        return None, "runs on the CPU"
    if runtime != "torch":
        return None, f"{runtime} does not count its device memory"
    import torch

    torch.cuda.reset_peak_memory_stats()
    call()
    return int(torch.cuda.max_memory_allocated()), None
