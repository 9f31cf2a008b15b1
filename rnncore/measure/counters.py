"""Instructions, CPU cycles and cache misses of a call, counted by the CPU itself, where Linux lets a process read them.

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
from collections.abc import Mapping

from rnncore.measure.facts import Fact
from rnncore.runfile.record import Record

# Events by their facts: kind and number, as linux/perf_event.h has them.
Events = Mapping[str, tuple[int, int]]

# Groups of events, each counted as a whole or not at all; the first of a group leads it. Misses are apart: where a CPU has
# no counter for them, or none left, the others are known all the same.
GROUPS: tuple[Events, ...] = (
    {Record.instructions_per_call.key: (0, 1), Record.cycles_per_call.key: (0, 0)},
    {Record.cache_misses_per_call.key: (0, 3)},
)

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
        self._groups = [_Group(events, why_not) for events in GROUPS]
        self._process_s = self._thread_s = 0.0

    def start(self) -> None:
        """Begin to count."""
        self._process_s -= time.process_time()
        self._thread_s -= time.thread_time()
        # The first begins last and ends first: reading the others is no instruction of a call.
        for group in reversed(self._groups):
            group.start()

    def stop(self, calls: int) -> None:
        """End what `start` began.

        Args:
            calls: How many there were in between.
        """
        for group in self._groups:
            group.stop(calls)
        self._process_s += time.process_time()
        self._thread_s += time.thread_time()

    def facts(self) -> dict[str, Fact]:
        """Return the fewest of each event that a call had in the mean of a slot, or why they are not known."""
        others_s = self._process_s - self._thread_s
        why = "other threads of the process computed too" if others_s > OTHER_THREADS * self._process_s else None
        return {name: fact for group in self._groups for name, fact in group.facts(why).items()}

    def close(self) -> None:
        """Give the counters back."""
        for group in self._groups:
            group.close()


class _Group:
    """Counters that are read at once.

    Args:
        events: What they count.
        why_not: Why there is nothing to count; None where there is.
    """

    def __init__(self, events: Events, why_not: str | None) -> None:
        self._events, self._why = events, why_not
        self._layout = struct.Struct(f"={1 + len(events)}Q")
        self._descriptors: list[int] = []
        self._before: tuple[int, ...] | None = None
        self._fewest: tuple[float, ...] | None = None
        if why_not is None:
            self._open()

    def start(self) -> None:
        if self._descriptors:
            self._before = self._read()

    def stop(self, calls: int) -> None:
        if not self._descriptors:
            return
        now = self._read()
        if now is None or self._before is None:
            self._why = "the CPU's counters were in use by others"
            return
        per_call = tuple((after - before) / calls for before, after in zip(self._before, now, strict=True))
        self._fewest = tuple(map(min, per_call, self._fewest or per_call))

    def facts(self, why_not: str | None) -> dict[str, Fact]:
        """Return what was counted, or why that is not known, of the slots too."""
        why = self._why or why_not
        if why is not None or self._fewest is None:
            return dict.fromkeys(self._events, (None, why or "no slot was timed"))
        return {name: (count or None, "nothing was counted") for name, count in zip(self._events, self._fewest, strict=True)}

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def _open(self) -> None:
        for kind, number in self._events.values():
            leader = self._descriptors[0] if self._descriptors else -1
            try:
                self._descriptors.append(_opened(kind, number, leader))
            except OSError as error:
                self.close()
                self._why = f"this machine lets no process count them ({error.strerror})"
                return

    def _read(self) -> tuple[int, ...] | None:
        """Return the counts so far; None where the CPU does not count."""
        read = os.read(self._descriptors[0], self._layout.size)
        return self._layout.unpack(read)[1:] if len(read) == self._layout.size else None


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
