"""Instructions and CPU cycles of a call, counted by the CPU itself, where Linux lets a process read them.

They are those of the calling thread outside the kernel, so neither other load nor the CPU's clock is in them. Threads that
wait for one another spin for as long as others let them, so that only what runs on one thread has counts.

Source:
    perf_event_open(2): the system call, the layout of its attributes, and what is read of a group of counters.
"""

import ctypes
import os
import platform
import struct
import sys
import time

from rnncore.measure.facts import Fact
from rnncore.runfile.record import Record

# Fact to kind and number of the event, as linux/perf_event.h has them. The first leads the group.
EVENTS = {Record.instructions_per_call.key: (0, 1), Record.cycles_per_call.key: (0, 0)}

# The call's number by what `platform.machine` says.
_SYSTEM_CALLS = {"x86_64": 298, "aarch64": 241}

_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
_READ_GROUP = 1 << 3
# Of a group that is always counted or not at all: shares of the time would have to be made up for by a guess.
_PINNED = 1 << 2
_EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1 << 5, 1 << 6

# Most of the process's CPU time that other threads may have taken.
OTHER_THREADS = 0.01


class CallCounters:
    """Counts the calls of the slots of one benchmark.

    Args:
        why_not: Why there is nothing to count; None where there is.
    """

    def __init__(self, why_not: str | None) -> None:
        self._why = why_not
        self._descriptors: list[int] = []
        self._before: tuple[int, ...] | None = None
        self._fewest: tuple[float, ...] | None = None
        self._process_s = self._thread_s = 0.0
        if why_not is None:
            self._open()

    def start(self) -> None:
        """Begin to count."""
        if self._descriptors:
            self._process_s -= time.process_time()
            self._thread_s -= time.thread_time()
            self._before = self._read()

    def stop(self, calls: int) -> None:
        """End what `start` began.

        Args:
            calls: How many there were in between.
        """
        if not self._descriptors:
            return
        now = self._read()
        self._process_s += time.process_time()
        self._thread_s += time.thread_time()
        if now is None or self._before is None:
            self._why = "the CPU's counters were in use by others"
            return
        per_call = tuple((after - before) / calls for before, after in zip(self._before, now, strict=True))
        self._fewest = tuple(map(min, per_call, self._fewest or per_call))

    def facts(self) -> dict[str, Fact]:
        """Return the fewest of each event that a call had in the mean of a slot, or why they are not known."""
        why = self._why
        if why is None and self._process_s - self._thread_s > OTHER_THREADS * self._process_s:
            why = "other threads of the process computed too"
        if why is not None or self._fewest is None:
            return dict.fromkeys(EVENTS, (None, why or "no slot was timed"))
        return {fact: (count or None, "nothing was counted") for fact, count in zip(EVENTS, self._fewest, strict=True)}

    def close(self) -> None:
        """Give the counters back."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def _open(self) -> None:
        for kind, number in EVENTS.values():
            leader = self._descriptors[0] if self._descriptors else -1
            try:
                self._descriptors.append(_opened(kind, number, leader))
            except OSError as error:
                self.close()
                self._why = f"this machine lets no process count them ({error.strerror})"
                return

    def _read(self) -> tuple[int, ...] | None:
        """Return the counts so far; None where the CPU does not count."""
        layout = struct.Struct(f"={1 + len(EVENTS)}Q")
        read = os.read(self._descriptors[0], layout.size)
        return layout.unpack(read)[1:] if len(read) == layout.size else None


def _opened(kind: int, number: int, leader: int) -> int:
    """Return the descriptor of a counter of this thread.

    Args:
        kind: Of the event.
        number: Of the event.
        leader: Descriptor of the first of its group; -1 for the first.

    Raises:
        OSError: If the system has none for this process.
    """
    system_call = _SYSTEM_CALLS.get(platform.machine())
    if sys.platform != "linux" or system_call is None:
        raise OSError(0, f"not known how on {sys.platform}, {platform.machine()}")
    flags = _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR | (_PINNED if leader == -1 else 0)
    attributes = _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, number, 0, 0, _READ_GROUP, flags, 0, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    # Of this thread, wherever it runs.
    descriptor = int(libc.syscall(system_call, ctypes.c_char_p(attributes), 0, -1, leader, 0))
    if descriptor == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.set_inheritable(descriptor, False)
    return descriptor
