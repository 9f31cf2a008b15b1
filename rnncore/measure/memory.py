"""Peak memory of a block. The kernel and torch keep the peak themselves, so watching it costs the block nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


@contextmanager
def peak_memory(device: str, runtime: str) -> Iterator[dict[str, int | str | None]]:
    """Yield a dict that says, once the block has ended, how much memory was held at most.

    Args:
        device: `cpu` or `cuda`.
        runtime: Who runs the block; only torch counts its own device memory.

    Yields:
        `peak_rss_bytes`, resident memory of the whole process, and `peak_device_bytes`; None with the reason under
        `..._why` where the system or the runtime does not tell.
    """
    facts: dict[str, int | str | None] = {}
    why_no_rss = _reset_process_peak()
    why_no_device = _reset_device_peak(device, runtime)
    yield facts
    if why_no_rss:
        facts.update(peak_rss_bytes=None, peak_rss_bytes_why=why_no_rss)
    else:
        facts.update(peak_rss_bytes=process_peak_rss_bytes())
    if facts["peak_rss_bytes"] is None:
        facts.setdefault("peak_rss_bytes_why", f"{_STATUS} tells no peak")
    if why_no_device:
        facts.update(peak_device_bytes=None, peak_device_bytes_why=why_no_device)
    else:
        import torch

        facts.update(peak_device_bytes=int(torch.cuda.max_memory_allocated()))


def process_peak_rss_bytes() -> int | None:
    """Return the largest resident memory of this process since it started, or since the peak was reset.

    Unlike `ru_maxrss`, it does not count the process that this one was forked from. None on systems other than Linux.
    """
    lines = _STATUS.read_text(encoding="utf-8").splitlines() if _STATUS.exists() else []
    peaks_kib = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return peaks_kib[0] * 1024 if peaks_kib else None


def _reset_process_peak() -> str | None:
    """Let the kernel count the peak anew; return why it cannot."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")
    except OSError as error:
        return f"the peak cannot be reset ({error.strerror})"
    return None


def _reset_device_peak(device: str, runtime: str) -> str | None:
    """Let torch count the peak anew; return why there is none."""
    if device != "cuda":
        return "runs on the CPU"
    if runtime != "torch":
        return f"{runtime} does not count its device memory"
    import torch

    torch.cuda.reset_peak_memory_stats()
    return None
