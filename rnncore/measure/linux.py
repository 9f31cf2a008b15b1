"""What Linux says of machine and process in the files of /proc and /sys, or why it does not; and what it is asked for."""

import ctypes
import os
import re
import signal
from pathlib import Path

from rnncore.runfile.slots import LAYOUT, PARENT

PROC, SYS = Path("/proc"), Path("/sys")

# Of prctl(2): the signal that a process gets when the thread that started it ends.
_PR_SET_PDEATHSIG = 1

# Of pthread_attr_t: more than any system's has; and the stack of a thread where its limit is none, as glibc has it.
_ATTRIBUTES_BYTES, _UNLIMITED_BYTES = 256, 2 << 20


def text_of(path: Path) -> tuple[str | None, str | None]:
    """Return the text of a file and None, or None and why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(), None
    except OSError as error:
        return None, f"{path} cannot be read ({error.strerror})"


def cpu_pressure(word: str) -> tuple[float | None, str | None]:
    """Return how long some task of this machine was ready to run and had no CPU.

    Args:
        word: `avg10`, percent of the last 10 seconds, or `total`, microseconds since the start; the kernel renews both every
            2 s.

    Returns:
        The number and None, or None and why it is not known. In a container it is that of the whole host.
    """
    path = PROC / "pressure/cpu"
    text, why = text_of(path)
    found = re.search(rf"^some .*\b{word}=(\d[\d.]*)", text or "", re.MULTILINE)
    return (float(found[1]), None) if found else (None, why or f"{path} does not tell")


def status_bytes(fact: str) -> int | None:
    """Return a fact of this process's status file; None where it is not there.

    Args:
        fact: `VmRSS`, the resident memory of now, or `VmHWM`, the largest since the process started. Unlike `ru_maxrss`,
            that does not count the process that this one was started by.
    """
    found = re.search(rf"^{fact}:\s*(\d+) kB", text_of(PROC / "self/status")[0] or "", re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def end_with_parent() -> None:
    """Let this process end with the one that started it, where that named itself in the environment; see `end_with`."""
    # Processes that this one starts have another parent.
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        end_with(int(parent))


def end_with(parent: int) -> None:
    """Let Linux end this process when its parent ends, however that ends; at once if it is gone already.

    A process that is stopped while it waits to be asked would wait for ever. Other systems know no such request.

    Args:
        parent: Process id.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def be_as_usual() -> None:
    """Undo, for what this process starts from now on, what it was started with to lie in memory as another does."""
    given = os.environ.pop(LAYOUT, None)
    if given is None:
        return
    import resource

    usual, soft, _ = given.split(",")
    stack_bytes, system = int(soft), ctypes.CDLL(None)
    system.personality(int(usual))
    resource.setrlimit(resource.RLIMIT_STACK, (stack_bytes, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    # Stacks of threads are as large as the limit was when the process began.
    if hasattr(system, "pthread_setattr_default_np"):
        of_threads = _UNLIMITED_BYTES if stack_bytes == resource.RLIM_INFINITY else stack_bytes
        attributes = ctypes.create_string_buffer(_ATTRIBUTES_BYTES)
        system.pthread_getattr_default_np(attributes)
        system.pthread_attr_setstacksize(attributes, ctypes.c_size_t(of_threads))
        system.pthread_setattr_default_np(attributes)
        system.pthread_attr_destroy(attributes)
