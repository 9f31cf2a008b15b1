"""A process of a gate, and the end of all that it starts.

It leads a session and a group, which end with it. What it starts may leave both, as a daemon does. Such a process is known
by a mark in its environment, which it inherits, and which Linux shows (proc(5)). One that clears its environment too becomes
a child of ours once its own parent is gone, as Linux is asked for while a gate lasts (`adopting`). Other systems have
neither: there what leaves the group outlives the gate.

What became ours and has ended is waited for at once: it keeps its number until then, and a system has so many.
"""

import ctypes
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import IO
from weakref import WeakSet

# Holds a mark of each process of a gate that this one comes from: a gate may run in another's benchmark.
MARKS = "RNNCORE_MARKS"

_PROC = Path("/proc")

# Of prctl(2): orphans below a process become its children, not those of the first process.
_PR_SET_CHILD_SUBREAPER = 36

# For how long processes are killed that go on to start others, and how often.
_KILLING_S, _EVERY_S = 5.0, 0.01

# Looks in a row that find none. A process that forks after all were listed, and ends before it is looked at, leaves in one
# look nothing to be found.
_EMPTY_LOOKS = 2

# How often, while one process is waited for, others are that have ended.
_REAP_EVERY_S = 0.5


class Started(subprocess.Popen[bytes]):
    """A process that ends with all that it started.

    Args:
        command: Of the shell where it is text.
        folder: That it runs in.
        environment: Its variables.
        output: What it prints goes there.
        pass_fds: Descriptors that it inherits.
    """

    def __init__(
        self,
        command: str | Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        output: IO[bytes],
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._mark = secrets.token_hex(8)
        super().__init__(
            command,
            shell=isinstance(command, str),
            cwd=folder,
            env={**environment, MARKS: f"{os.environ.get(MARKS, '')}{self._mark} "},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        _STARTED.add(self)

    def poll(self) -> int | None:
        """Return its exit code, None while it runs; wait for what became ours and has ended."""
        code = super().poll()
        _reap()
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended, and wait meanwhile for what became ours and has ended.

        Args:
            timeout: Seconds.

        Raises:
            subprocess.TimeoutExpired: If it takes longer.
        """
        if timeout is None:
            return super().wait()
        until_s = time.monotonic() + timeout
        while True:
            with suppress(subprocess.TimeoutExpired):
                return super().wait(max(0.0, min(_REAP_EVERY_S, until_s - time.monotonic())))
            _reap()
            if time.monotonic() >= until_s:
                raise subprocess.TimeoutExpired(self.args, timeout)

    def end(self) -> None:
        """End it and what it started; also where it has ended itself."""
        # The number of a group that has members is nobody else's. A group without any has left it to another where a
        # process has it though ours was waited for.
        if self.returncode is None or not (_PROC / str(self.pid)).exists():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        _end_all(self._left)
        _reap()

    def _left(self) -> list[int]:
        """Return the processes that have its mark."""
        return _processes("environ", lambda text: self._mark.encode() in text)


# Those whose exit code may still be asked for.
_STARTED = WeakSet[Started]()

# Set while orphans become ours.
_ADOPTS = Event()


@contextmanager
def adopting() -> Iterator[None]:
    """Become the parent of what processes of the block leave behind, and end all that is left of it with the block.

    In it no other child may be started that is to stay. Nothing is done where others' processes might be among the children:
    where this process has some already, or is the first one of a container, which has those of all; nor on systems other
    than Linux.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None or os.getpid() == 1 or _children():
        yield
        return
    prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _ADOPTS.set()
    try:
        yield
    finally:
        _end_all(_children)
        _ADOPTS.clear()
        prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _reap() -> None:
    """Wait for what became ours and has ended; not for what we started ourselves, whose exit code somebody asks for."""
    # None has ended, there is none, or another thread was quicker.
    with suppress(ChildProcessError, ProcessLookupError):
        while _ADOPTS.is_set() and (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)):
            # The next call takes what comes behind one of ours, which is waited for by then.
            of_ours = {one.pid for one in _STARTED if one.returncode is None}
            if ended.si_pid in of_ours or os.getsid(ended.si_pid) == os.getsid(0):
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def _children() -> list[int]:
    """Return the children of this process."""
    own = str(os.getpid()).encode()
    # The name of a program comes before, and may hold blanks and brackets.
    return _processes("stat", lambda text: text.rpartition(b")")[2].split()[1:2] == [own])


def _processes(file: str, holds: Callable[[bytes], bool]) -> list[int]:
    """Return the processes of which what the system says in a file holds; none where it says nothing."""
    found = []
    for path in _PROC.glob(f"[0-9]*/{file}"):
        # Gone, or another user's.
        with suppress(OSError):
            if holds(path.read_bytes()):
                found.append(int(path.parent.name))
    return found


def _end_all(left: Callable[[], Sequence[int]]) -> None:
    """Kill processes until none is left: what they start meanwhile is found the next time."""
    until_s, empty = time.monotonic() + _KILLING_S, 0
    while empty < _EMPTY_LOOKS and time.monotonic() < until_s:
        found = left()
        empty = 0 if found else empty + 1
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            # Those that became ours; others are waited for by whoever has them.
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if found:
            time.sleep(_EVERY_S)
