"""Was this round disturbed, and was the machine the same at the end as at the start?

Between rounds, never inside one, `RoundWatch` reads counters that show who else was at work. Disturbed rounds are flagged,
counted, and stay in the figures.

Of quick calls there may be thousands of rounds between two readings, and on a shared machine hardly any such batch without a
switch. What a switch takes lies in one round, which it makes longer. So where a source knows how often something was taken,
as many rounds are flagged, the longest of the batch; a round that is alone between its readings is judged as a whole.
"""

import heapq
import math
import os
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rnncore.errors import Unavailable
from rnncore.measure import harness
from rnncore.measure.linux import PROC, SYS, cpu_pressure

if TYPE_CHECKING:
    from rnncore.measure.gpu import Gpu, GpuState

# Part of a round that others may take before it counts as disturbed: no more than the smallest change worth a word.
DISTURBED_SHARE = 0.02
# One switch is nothing; a competitor on the same core takes turns every few milliseconds.
DISTURBED_SWITCHES = 3
DISTURBED_SWITCHES_PER_S = 50.0
# A clock, of the cores or of a GPU, below this part of the fastest seen while the same benchmark ran.
SLOW_CLOCK_SHARE = 0.9
# Part of the time that reading all sources may take.
READING_SHARE = 0.02
# The least time between two: after a call of the kernel the caches are not the benchmark's for a while.
READING_GAP_S = 1e-3

TASKS, STAT, CPU_CLOCKS = PROC / "self/task", PROC / "stat", SYS / "devices/system/cpu"


class Source(ABC):
    """Something that shows disturbance by a reading before and after.

    Attributes:
        cause: What a disturbed round is flagged with.
    """

    cause: str

    @abstractmethod
    def read(self) -> Any:
        """Return the reading of now."""

    @abstractmethod
    def disturbed(self, before: Any, after: Any, elapsed_s: float) -> bool:
        """Say whether the time between two readings was disturbed."""

    def most_hit(self, before: Any, after: Any) -> int | None:
        """Return how many rounds of a disturbed time were hit at most; None where that is not known."""
        return None

    def close(self) -> None:  # noqa: B027 (most have nothing to close)
        """Free what is held open."""


class Waiting(NamedTuple):
    """How long threads have waited for a core, in seconds, and how often they have got one."""

    seconds: float
    times: int


class WaitingThreads(Source):
    """Time that this process's threads were ready to run and had no core.

    Args:
        tasks: Folder of the threads.

    Raises:
        Unavailable: If the kernel keeps no such count.
    """

    cause = "own threads waited for a core"

    def __init__(self, tasks: Path) -> None:
        self._waited: dict[int, tuple[int, int]] = {}
        why = "no such file"
        for task in tasks.iterdir() if tasks.is_dir() else ():
            try:
                self._waited[os.open(task / "schedstat", os.O_RDONLY)] = 0, 0
            except OSError as error:  # the thread has just ended, or the kernel lists none
                why = str(error.strerror)
        if not self._waited:
            raise Unavailable(f"{tasks}/*/schedstat cannot be read ({why})")

    def read(self) -> Waiting:
        """Return what all threads have waited since each began; one that has ended keeps its own.

        Source: Documentation/scheduler/sched-stats.rst of Linux: nanoseconds on a core, those of waiting, turns on a core.
        """
        for file in self._waited:
            with suppress(ProcessLookupError):
                _, waited_ns, turns = os.pread(file, 64, 0).split()
                self._waited[file] = int(waited_ns), int(turns)
        every = self._waited.values()
        return Waiting(sum(waited_ns for waited_ns, _ in every) / 1e9, sum(turns for _, turns in every))

    def disturbed(self, before: Waiting, after: Waiting, elapsed_s: float) -> bool:
        """Say whether the threads together waited for more than a share of the time."""
        return after.seconds - before.seconds > DISTURBED_SHARE * elapsed_s

    def most_hit(self, before: Waiting, after: Waiting) -> int:
        """Return how often a thread got a core: each time that it waited ends so."""
        # Of one that is moved to another core while it waits, the turn may come after the reading.
        return max(1, after.times - before.times)

    def close(self) -> None:
        """Close the threads' files."""
        for file in self._waited:
            os.close(file)
        self._waited.clear()


class InvoluntarySwitches(Source):
    """Times that a thread of this process was made to leave its core."""

    cause = "involuntary context switches"

    def __init__(self) -> None:
        try:
            import resource
        except ImportError as error:
            raise Unavailable("this system does not count them") from error
        self._usage = partial(resource.getrusage, resource.RUSAGE_SELF)

    def read(self) -> int:
        """Return the count of the whole process."""
        return self._usage().ru_nivcsw

    def disturbed(self, before: int, after: int, elapsed_s: float) -> bool:
        """Say whether there were more than the kernel's own housekeeping makes."""
        return after - before >= max(DISTURBED_SWITCHES, DISTURBED_SWITCHES_PER_S * elapsed_s)

    def most_hit(self, before: int, after: int) -> int:
        """Return how many there were: each lies in one round."""
        return after - before


class Steal(Source):
    """Time that the host took from this virtual machine.

    Args:
        stat: The kernel's statistics.

    Raises:
        Unavailable: If they cannot be read.
    """

    cause = "CPU steal"

    def __init__(self, stat: Path) -> None:
        try:
            self._file = os.open(stat, os.O_RDONLY)
        except OSError as error:
            raise Unavailable(f"{stat} cannot be read ({error.strerror})") from error
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")
        self._cpus = os.cpu_count() or 1

    def read(self) -> float:
        """Return the seconds stolen from all CPUs."""
        return int(os.pread(self._file, 256, 0).split(b"\n", 1)[0].split()[8]) * self._tick_s

    def disturbed(self, before: float, after: float, elapsed_s: float) -> bool:
        """Say whether more than a share of the CPUs' time was stolen; the count grows in steps of 10 ms."""
        return after - before > DISTURBED_SHARE * elapsed_s * self._cpus

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class SlowClock(Source):
    """The cores' mean clock.

    Args:
        cpus: Folder of the CPUs.

    Raises:
        Unavailable: If the clock cannot be read, as in most virtual machines.
    """

    cause = "CPU clock below 90 % of the fastest in the same benchmark"

    def __init__(self, cpus: Path) -> None:
        self._files = sorted(cpus.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
        if not self._files:
            raise Unavailable(f"{cpus}/cpu*/cpufreq/scaling_cur_freq is not there")
        self._fastest_khz = 0.0

    def read(self) -> float:
        """Return the mean clock in kHz."""
        mean_khz = statistics.fmean(float(file.read_text(encoding="utf-8")) for file in self._files)
        self._fastest_khz = max(self._fastest_khz, mean_khz)
        return mean_khz

    def disturbed(self, before: float, after: float, elapsed_s: float) -> bool:
        """Say whether the clock was slow at the end of the time."""
        return after < SLOW_CLOCK_SHARE * self._fastest_khz


class BusyGpu(Source):
    """The GPU's throttling, and other processes on it.

    Args:
        gpu: The GPU.
    """

    cause = "GPU throttled or shared"

    def __init__(self, gpu: "Gpu") -> None:
        self._gpu = gpu
        self._fastest_mhz = 0

    def read(self) -> "GpuState":
        """Return the state of now."""
        state = self._gpu.state()
        self._fastest_mhz = max(self._fastest_mhz, state.sm_clock_mhz or 0)
        return state

    def disturbed(self, before: "GpuState", after: "GpuState", elapsed_s: float) -> bool:
        """Say whether the GPU was slowed down or shared at the end of the time.

        At the limit of power the clock is the GPU's own for such work: what counts is whether it stays that of the row.
        """
        is_slow = after.sm_clock_mhz is not None and after.sm_clock_mhz < SLOW_CLOCK_SHARE * self._fastest_mhz
        return is_slow or after.is_throttled or bool(after.foreign_pids)

    def close(self) -> None:
        """Let NVML go."""
        self._gpu.close()


def open_sources(device: str) -> tuple[list[Source], dict[str, str]]:
    """Return what can be read on this machine, and why the rest cannot, by cause.

    Args:
        device: A device's name; only a benchmark of a GPU looks at it.
    """
    made: list[tuple[str, Callable[[], Source]]] = [
        (WaitingThreads.cause, lambda: WaitingThreads(TASKS)),
        (InvoluntarySwitches.cause, InvoluntarySwitches),
        (Steal.cause, lambda: Steal(STAT)),
        (SlowClock.cause, lambda: SlowClock(CPU_CLOCKS)),
    ]
    if device != "cpu":
        made.append((BusyGpu.cause, lambda: BusyGpu(_open_gpu(device))))
    sources, missing = [], {}
    for cause, make in made:
        try:
            sources.append(make())
        except Unavailable as error:
            missing[cause] = str(error)
    return sources, missing


def _open_gpu(device: str) -> "Gpu":
    from rnncore.measure.gpu import Gpu

    return Gpu.open(device)


class _Log:
    """The readings of one source, which may take a share of the time, and after which round each was taken."""

    def __init__(self, source: Source, share: float) -> None:
        self.source = source
        self._share = share
        self.readings: list[tuple[int, float, Any]] = []
        self.due_s = 0.0

    def take(self, rounds: int, only_if_due: bool = True) -> None:
        began_s = time.perf_counter()
        if only_if_due and began_s < self.due_s:
            return
        reading = self.source.read()
        ended_s = time.perf_counter()
        self.readings.append((rounds, ended_s, reading))
        self.due_s = ended_s + max(READING_GAP_S, (ended_s - began_s) / self._share)

    def disturbed_rounds(self, rounds_s: Sequence[float]) -> set[int]:
        """Return which of the last rounds were disturbed, from 0, by the seconds of each."""
        disturbed: set[int] = set()
        earlier = self.readings[-1][0] - len(rounds_s)
        for (first, began_s, before), (after_last, ended_s, after) in zip(self.readings, self.readings[1:], strict=False):
            between = range(max(0, first - earlier), max(0, after_last - earlier))
            if between and self.source.disturbed(before, after, ended_s - began_s):
                most = self.source.most_hit(before, after)
                if most is None or most >= len(between):
                    disturbed.update(between)
                else:
                    disturbed.update(heapq.nlargest(most, between, key=rounds_s.__getitem__))
        return disturbed


class RoundWatch:
    """Looks at what disturbs after each round, so that what it reads is in none.

    Args:
        sources: What to read.

    Attributes:
        reading_s: Seconds spent on reading, between rounds.
        first_call_s: Seconds of the first round, where it was a single call; None before it, and where it was more.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._logs = [_Log(source, READING_SHARE / len(sources)) for source in sources]
        self._rounds = 0
        self._due_s = 0.0
        self.reading_s = 0.0
        self.first_call_s: float | None = None
        self._take()

    def round_ended(self, seconds: float, calls: int) -> None:
        """Look, where it is time to.

        Args:
            seconds: What the clock said of the round.
            calls: Calls of it.
        """
        if not self._rounds and calls == 1:
            self.first_call_s = seconds
        self._rounds += 1
        began_s = time.perf_counter()
        # One comparison for all sources: there may be a million rounds of a few microseconds.
        if began_s >= self._due_s:
            self._take()
            self.reading_s += time.perf_counter() - began_s

    def _take(self) -> None:
        for log in self._logs:
            log.take(self._rounds)
        self._due_s = min((log.due_s for log in self._logs), default=math.inf)

    def disturbed_rounds(self, rounds_s: Sequence[float]) -> dict[str, set[int]]:
        """Return the disturbed ones of the last rounds, from 0, by cause.

        Args:
            rounds_s: Seconds of each of them. Of a time that holds earlier rounds too, all that was taken counts as theirs.
        """
        found = {}
        for log in self._logs:
            log.take(self._rounds, only_if_due=False)
            found[log.source.cause] = log.disturbed_rounds(rounds_s)
        return found

    def close(self) -> None:
        """End the watch."""
        for log in self._logs:
            log.source.close()


class Watched:
    """What was seen of the rounds of a benchmark, once they are timed.

    Attributes:
        timed_s: Seconds of all of them.
        first_call_s: Seconds of the first call of all; None where it was timed together with others.
        facts: What to record.
    """

    def __init__(self) -> None:
        self.timed_s = 0.0
        self.first_call_s: float | None = None
        self.facts: dict[str, Any] = {}


@contextmanager
def watched_rounds(benchmark: Any, device: str) -> Iterator[Watched]:
    """Watch what disturbs while a fixture of pytest-benchmark times, in the block.

    Args:
        benchmark: The fixture.
        device: A device's name; only a benchmark of a GPU looks at it.

    Yields:
        What is known after the block.
    """
    seen = Watched()
    sources, missing = open_sources(device)
    (pressure_before_us, _), began_s = cpu_pressure("total"), time.perf_counter()
    with closing(RoundWatch(sources)) as watch:
        with harness.after_each_round(benchmark, watch.round_ended):
            yield seen
        rounds_s = benchmark.stats.stats.data
        disturbed = watch.disturbed_rounds(rounds_s)
    elapsed_s, (pressure_after_us, _) = time.perf_counter() - began_s, cpu_pressure("total")
    seen.timed_s = sum(rounds_s) * benchmark.stats.iterations
    seen.first_call_s = watch.first_call_s
    seen.facts = disturbance_facts(rounds_s, disturbed, missing)
    # A clock of the suite's own may stand still.
    seen.facts["disturbance"]["watching_pct"] = 100 * watch.reading_s / seen.timed_s if seen.timed_s else None
    seen.facts["disturbance"]["cpu_pressure_pct"] = (
        100 * (pressure_after_us - pressure_before_us) / 1e6 / elapsed_s
        if pressure_before_us is not None and pressure_after_us is not None
        else None
    )


def disturbance_facts(rounds_s: Sequence[float], disturbed: dict[str, set[int]], missing: dict[str, str]) -> dict[str, Any]:
    """Return what `extra_info` says of disturbed rounds: both figures, how many, and why.

    Args:
        rounds_s: Seconds of every round.
        disturbed: Rounds by cause.
        missing: Why a cause could not be looked for, by cause.
    """
    flagged = set().union(*disturbed.values())
    quiet_s = [seconds for index, seconds in enumerate(rounds_s) if index not in flagged]
    # The first and last of each run of consecutive rounds: of a million, far fewer than they are.
    spans: list[list[int]] = []
    for index in sorted(flagged):
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return {
        "disturbed_rounds": len(flagged),
        "disturbance": {
            "causes": {cause: len(rounds) for cause, rounds in disturbed.items() if rounds},
            "spans": spans,
            "median_undisturbed_s": statistics.median(quiet_s) if quiet_s else None,
            "not_looked_for": missing,
        },
    }
