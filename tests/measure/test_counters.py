"""Tests of what the CPU counts: what is worked out of counts, and each reason for which there are none."""

import ctypes
import errno
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from rnncore.measure import counters
from rnncore.measure.counters import GROUPS, CallCounters

# Of the first group, and of the second.
NAMES, (MISSES,) = map(tuple, GROUPS)

# Events that Linux counts by itself, so that machines without counters have them: nanoseconds of CPU time, page faults, and
# nanoseconds again.
SOFTWARE = ({"instructions_per_call": (1, 1), "cycles_per_call": (1, 2)}, {"cache_misses_per_call": (1, 1)})


class Kernel:
    """Counters whose descriptors are pipes: what is planted is what is read of the groups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[tuple[int, int, int]] = []
        self.refuses_from = sum(map(len, GROUPS))
        # Of the leaders.
        self._writes: list[int] = []
        self._others: list[int] = []
        monkeypatch.setattr(counters, "_opened", self._open)

    def _open(self, kind: int, number: int, leader: int) -> int:
        if len(self.opened) >= self.refuses_from:
            raise OSError(errno.EACCES, "Permission denied")
        read, write = os.pipe()
        (self._writes if leader == -1 else self._others).append(write)
        self.opened.append((kind, number, leader))
        return read

    def plant(self, *counts: int, misses: int = 0) -> None:
        for write, of_group in zip(self._writes, (counts, (misses,)), strict=False):
            os.write(write, struct.pack(f"={1 + len(of_group)}Q", len(of_group), *of_group))

    def end(self) -> None:
        for write in (*self._writes, *self._others):
            os.close(write)
        self._writes, self._others = [], []


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel(monkeypatch)
    yield made
    made.end()


@pytest.fixture
def cpu_s(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """CPU seconds of the process and of this thread, as a test has them."""
    spent = {"process_time": 1.0, "thread_time": 0.5}
    for name in spent:
        monkeypatch.setattr(counters.time, name, lambda name=name: spent[name])
    return spent


def _slot(counted: CallCounters, kernel: Kernel, before: tuple[int, int], after: tuple[int, int], calls: int) -> None:
    kernel.plant(*before)
    counted.start()
    kernel.plant(*after)
    counted.stop(calls)


@pytest.mark.usefixtures("cpu_s")
def test_counts_are_those_of_a_call_in_the_slot_that_had_the_fewest(kernel: Kernel) -> None:
    with closing(CallCounters(None)) as counted:
        # Counters run on between slots.
        _slot(counted, kernel, (1000, 500), (5000, 1300), 4)
        _slot(counted, kernel, (9000, 2000), (10800, 2420), 2)
        found = counted.facts()
    assert {name: found[name][0] for name in NAMES} == dict(zip(NAMES, (900.0, 200.0), strict=True))


@pytest.mark.usefixtures("cpu_s")
def test_misses_are_counted_beside(kernel: Kernel) -> None:
    with closing(CallCounters(None)) as counted:
        for before, after in ((100, 140), (200, 220)):
            kernel.plant(1000, 500, misses=before)
            counted.start()
            kernel.plant(5000, 1300, misses=after)
            counted.stop(4)
        found = counted.facts()
    assert {name: value for name, (value, _) in found.items()} == dict(zip((*NAMES, MISSES), (1000, 200, 5), strict=True))


@pytest.mark.usefixtures("cpu_s")
def test_a_cpu_without_a_counter_of_misses_counts_the_others(kernel: Kernel) -> None:
    kernel.refuses_from = len(NAMES)
    with closing(CallCounters(None)) as counted:
        _slot(counted, kernel, (1000, 500), (5000, 1300), 4)
        found = counted.facts()
    assert found.pop(MISSES) == (None, "this machine lets no process count them (Permission denied)")
    assert {name: value for name, (value, _) in found.items()} == dict(zip(NAMES, (1000.0, 200.0), strict=True))


@pytest.mark.usefixtures("cpu_s")
def test_instructions_and_cycles_are_one_group_and_misses_another(kernel: Kernel) -> None:
    with closing(CallCounters(None)) as counted:
        first = _descriptors(counted)[0]
        assert [leader for _, _, leader in kernel.opened] == [-1, first, -1]


def _descriptors(counted: CallCounters) -> list[int]:
    return [descriptor for group in counted._groups for descriptor in group._descriptors]


def _why(counted: CallCounters) -> str | None:
    found = counted.facts()
    assert [value for value, _ in found.values()] == [None, None, None]
    (why,) = {why for _, why in found.values()}
    return why


def test_what_cannot_be_counted_opens_nothing(kernel: Kernel) -> None:
    counted = CallCounters("2 threads spin")
    counted.start()
    counted.stop(1)
    assert (_why(counted), kernel.opened) == ("2 threads spin", [])


@pytest.mark.parametrize("refuses_from", [0, 1])
def test_a_system_that_refuses_is_named_and_keeps_no_descriptor(kernel: Kernel, refuses_from: int) -> None:
    kernel.refuses_from = refuses_from
    counted = CallCounters(None)
    counted.start()
    counted.stop(1)
    assert _why(counted) == "this machine lets no process count them (Permission denied)"
    assert _descriptors(counted) == []


@pytest.mark.usefixtures("cpu_s")
def test_counters_that_others_use_give_no_counts(kernel: Kernel) -> None:
    with closing(CallCounters(None)) as counted:
        _slot(counted, kernel, (1000, 500), (5000, 1300), 4)
        kernel.end()
        counted.start()
        counted.stop(1)
        assert _why(counted) == "the CPU's counters were in use by others"


@pytest.mark.parametrize(("others_s", "found"), [(0.009, 1000.0), (0.02, None)])
def test_work_of_other_threads_leaves_no_counts(
    kernel: Kernel, cpu_s: dict[str, float], others_s: float, found: float | None
) -> None:
    """The calling thread's instructions are then a part of the work, and which one may change."""
    with closing(CallCounters(None)) as counted:
        kernel.plant(1000, 500)
        counted.start()
        cpu_s["process_time"] += 1.0
        cpu_s["thread_time"] += 1.0 - others_s
        kernel.plant(5000, 1300)
        counted.stop(4)
        value, why = counted.facts()[NAMES[0]]
    assert value == found
    assert found or why == "other threads of the process computed too"


def test_without_a_slot_there_is_a_reason(kernel: Kernel) -> None:
    with closing(CallCounters(None)) as counted:
        assert _why(counted) == "no slot was timed"


def test_descriptors_are_given_back(kernel: Kernel) -> None:
    counted = CallCounters(None)
    descriptors = _descriptors(counted)
    assert len(descriptors) == 3
    counted.close()
    counted.close()
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


# ------------------------------------------------------------------------------------------------------- the system's own


class Libc:
    """A C library whose system call notes its arguments."""

    def __init__(self, answer: int, error: int = 0) -> None:
        self.arguments: list[Any] = []
        self._answer, self._error = answer, error

    def syscall(self, *arguments: Any) -> int:
        self.arguments.append(arguments)
        ctypes.set_errno(self._error)
        return self._answer


@pytest.fixture
def planted_libc(monkeypatch: pytest.MonkeyPatch) -> Callable[[Libc], Libc]:
    def plant(libc: Libc) -> Libc:
        monkeypatch.setattr(counters.ctypes, "CDLL", lambda name, use_errno: libc)
        monkeypatch.setattr(counters.sys, "platform", "linux")
        monkeypatch.setattr(counters.platform, "machine", lambda: "x86_64")
        return libc

    return plant


def test_a_counter_is_of_this_thread_outside_the_kernel(planted_libc: Callable[[Libc], Libc]) -> None:
    read, write = os.pipe()
    os.set_inheritable(read, True)
    libc = planted_libc(Libc(read))
    assert counters._opened(0, 1, -1) == read
    ((number, attributes, thread, cpu, leader, flags),) = libc.arguments
    assert (number, thread, cpu, leader, flags) == (298, 0, -1, -1, 0)
    kind, size, event, _, _, group, bits, *_ = struct.unpack("=IIQQQQQIIQ", ctypes.string_at(attributes, 64))
    assert (kind, size, event, group) == (0, 64, 1, 1 << 3)
    # Pinned, without kernel and hypervisor, and counting from the start.
    assert bits == 1 << 2 | 1 << 5 | 1 << 6
    assert not os.get_inheritable(read)
    for pipe in (read, write):
        os.close(pipe)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOSYS])
def test_what_the_system_call_refuses_is_the_reason(planted_libc: Callable[[Libc], Libc], number: int) -> None:
    planted_libc(Libc(-1, number))
    with closing(CallCounters(None)) as counted:
        assert _why(counted) == f"this machine lets no process count them ({os.strerror(number)})"


@pytest.mark.parametrize(("system", "machine"), [("darwin", "arm64"), ("linux", "riscv64"), ("win32", "AMD64")])
def test_a_system_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(counters.sys, "platform", system)
    monkeypatch.setattr(counters.platform, "machine", lambda: machine)
    with closing(CallCounters(None)) as counted:
        assert _why(counted) == f"this machine lets no process count them (not known how on {system}, {machine})"


# What a machine may refuse: it has no counters, or lets this process have none.
REFUSALS = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP)


def _skip_where_refused(counted: CallCounters) -> None:
    if not counted._groups[0]._descriptors:
        why = str(_why(counted))
        assert any(f"({os.strerror(number)})" in why for number in REFUSALS), why
        pytest.skip(why)


def _sum(numbers: int) -> int:
    return sum(range(numbers))


def _counts(counted: CallCounters, work: Callable[[], object]) -> tuple[float, str | None]:
    counted.start()
    work()
    counted.stop(1)
    value, why = counted.facts()[NAMES[0]]
    return value or 0.0, None if value else why


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone")
def test_a_group_of_events_that_linux_counts_by_itself_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system call, its attributes and the layout of what is read, on machines without counters too."""
    monkeypatch.setattr(counters, "GROUPS", SOFTWARE)
    with closing(CallCounters(None)) as counted:
        _skip_where_refused(counted)
        nanoseconds, _ = _counts(counted, lambda: _sum(1_000_000))
        assert nanoseconds / 1e9 == pytest.approx(counted._thread_s, rel=0.5)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone")
def test_twice_the_work_has_twice_the_instructions_and_the_same_work_as_many() -> None:
    def instructions(numbers: int) -> float:
        with closing(CallCounters(None)) as counted:
            _skip_where_refused(counted)
            found, why = _counts(counted, lambda: _sum(numbers))
            if why and "in use by others" in why:
                pytest.skip(why)
            assert why is None
            return found

    once = instructions(1_000_000)
    assert instructions(1_000_000) == pytest.approx(once, rel=0.005)
    assert instructions(2_000_000) == pytest.approx(2 * once, rel=0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone")
def test_another_thread_at_work_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "GROUPS", SOFTWARE)
    with closing(CallCounters(None)) as counted:
        _skip_where_refused(counted)

        def work() -> None:
            other = threading.Thread(target=_sum, args=(1_000_000,))
            other.start()
            other.join()

        assert _counts(counted, work)[1] == "other threads of the process computed too"
