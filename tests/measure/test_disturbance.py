"""Tests of disturbance: what a watch flags and what it costs, with planted counters, clocks and kernels."""

import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.errors import Unavailable
from rnncore.measure import disturbance as validity
from rnncore.measure.disturbance import (
    DISTURBED_SHARE,
    DISTURBED_SWITCHES,
    READING_SHARE,
    BusyGpu,
    InvoluntarySwitches,
    RoundWatch,
    SlowClock,
    Source,
    Steal,
    Waiting,
    WaitingThreads,
    disturbance_facts,
    open_sources,
)
from rnncore.measure.gpu import Gpu, GpuState

# Only for what never comes.
DEADLINE_S = 120


class Bench:
    """Rounds under a watch, on a clock that is still unless it is moved. Times are binary fractions: sums are exact."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.in_round = False
        self.ended = 0
        self.events = 0
        self.timed_s: list[float] = []
        self.watch: RoundWatch | None = None

    def clock(self) -> float:
        return self.now_s

    def begin(self, *sources: Source) -> None:
        self.watch = RoundWatch(sources)

    def round(self, seconds: float = 1.0, disturb: bool = False) -> float:
        """Time one round as pytest-benchmark does, and return its seconds."""
        assert self.watch is not None
        began_s = self.now_s
        self.in_round = True
        self.now_s += seconds
        self.events += disturb
        self.in_round = False
        self.ended += 1
        timed_s = self.now_s - began_s
        self.timed_s.append(timed_s)
        self.watch.round_ended(timed_s, 1)
        return timed_s

    def rounds(self, count: int, disturbed: set[int] = frozenset(), seconds: float = 1.0) -> list[float]:
        return [self.round(seconds, index in disturbed) for index in range(count)]

    def found(self, count: int) -> dict[str, set[int]]:
        assert self.watch is not None
        return self.watch.disturbed_rounds(self.timed_s[len(self.timed_s) - count :])


class Planted(Source):
    """Counts the events of a bench; a reading takes a while."""

    def __init__(self, bench: Bench, cost_s: float = 0.0, cause: str = "planted") -> None:
        self.bench = bench
        self.cost_s = cost_s
        self.cause = cause
        self.read_after: list[int] = []
        self.elapsed_s: list[float] = []
        self.closed = 0

    def read(self) -> int:
        assert not self.bench.in_round
        assert not self.closed
        self.bench.now_s += self.cost_s
        self.read_after.append(self.bench.ended)
        return self.bench.events

    def disturbed(self, before: int, after: int, elapsed_s: float) -> bool:
        self.elapsed_s.append(elapsed_s)
        return after > before

    def close(self) -> None:
        self.closed += 1


class Counted(Planted):
    """Knows of each event that it lies in one round."""

    def most_hit(self, before: int, after: int) -> int:
        return after - before


class Blind(Planted):
    """Sees no disturbance."""

    def disturbed(self, before: int, after: int, elapsed_s: float) -> bool:
        return False


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(validity, "time", SimpleNamespace(perf_counter=made.clock))
    return made


def test_what_a_reading_takes_is_in_no_round(bench: Bench) -> None:
    source = Planted(bench, cost_s=64.0)
    bench.begin(source)
    # So long that a reading is due after each round.
    assert bench.rounds(5, seconds=8192.0) == [8192.0] * 5
    assert bench.watch.reading_s == 5 * 64.0
    assert len(source.read_after) == 1 + 5


def test_the_first_round_is_the_first_call_if_it_is_one_call(bench: Bench) -> None:
    bench.begin()
    assert bench.watch.first_call_s is None
    assert [bench.round(seconds) for seconds in (0.25, 3.0)] == [0.25, 3.0]
    assert bench.watch.first_call_s == 0.25
    assert bench.found(2) == {}
    bench.begin()
    bench.watch.round_ended(5.0, 10)
    bench.watch.round_ended(0.5, 1)
    assert bench.watch.first_call_s is None


@pytest.mark.parametrize("disturbed", [set(), {0}, {4}, {9}, {0, 1, 2}, {3, 8}, set(range(10))])
def test_a_source_that_is_read_after_every_round_flags_exactly_the_disturbed_ones(disturbed: set[int], bench: Bench) -> None:
    bench.begin(Planted(bench))
    bench.rounds(10, disturbed)
    assert bench.found(10) == {"planted": disturbed}


def test_each_cause_has_its_own_rounds(bench: Bench) -> None:
    bench.begin(Planted(bench, cause="events"), Blind(bench, cause="nothing"))
    bench.rounds(4, {2})
    assert bench.found(4) == {"events": {2}, "nothing": set()}


def test_rounds_between_two_readings_share_a_verdict(bench: Bench) -> None:
    # After a reading of 1/64 s the next is due 0.78 s later: after seven rounds of 1/8 s.
    source = Planted(bench, cost_s=1 / 64)
    bench.begin(source)
    bench.rounds(21, {9}, seconds=1 / 8)
    assert source.read_after == [0, 7, 14, 21]
    assert bench.found(21) == {"planted": set(range(7, 14))}


def test_of_quick_rounds_between_two_readings_as_many_are_disturbed_as_were_hit_and_the_longest(bench: Bench) -> None:
    # A thousand rounds between two readings: three of the second thousand were hit, and one of the third.
    source = Counted(bench, cost_s=1.0)
    bench.begin(source)
    hit = {1001: 1.0, 1500: 0.5, 1999: 2.0, 2300: 0.25}
    for index in range(4000):
        bench.round(1 / 16 + hit.get(index, 0.0), disturb=index in hit)
    assert len(source.read_after) < 12
    assert bench.found(4000) == {"planted": set(hit)}


def test_rounds_that_are_fewer_than_what_was_counted_between_two_readings_are_all_disturbed(bench: Bench) -> None:
    source = Counted(bench, cost_s=1 / 64)
    bench.begin(source)
    bench.rounds(7, seconds=1 / 8)
    bench.events += 9
    bench.rounds(14, seconds=1 / 8)
    assert source.read_after == [0, 7, 14, 21]
    assert bench.found(21) == {"planted": set(range(7, 14))}


def test_a_round_alone_between_two_readings_is_judged_as_a_whole_whatever_its_length(bench: Bench) -> None:
    bench.begin(Counted(bench))
    for seconds, disturb in ((8.0, False), (1.0, True), (9.0, False)):
        bench.round(seconds, disturb)
    assert bench.found(3) == {"planted": {1}}


def test_what_was_counted_together_with_calibration_falls_on_the_longest_of_the_rounds_that_count(bench: Bench) -> None:
    bench.begin(Counted(bench, cost_s=1 / 64))
    bench.round(1 / 4, disturb=True)
    for seconds in (1 / 8, 1 / 8, 1 / 16, 3 / 16):
        bench.round(seconds)
    assert bench.found(4) == {"planted": {3}}


def test_the_last_reading_covers_the_rounds_after_the_one_before(bench: Bench) -> None:
    source = Planted(bench, cost_s=1 / 64)
    bench.begin(source)
    bench.rounds(10, {9}, seconds=1 / 8)
    assert source.read_after == [0, 7]
    assert bench.found(10) == {"planted": {7, 8, 9}}
    assert source.read_after == [0, 7, 10]


def test_a_source_is_told_the_time_between_the_ends_of_its_readings(bench: Bench) -> None:
    source = Planted(bench, cost_s=1 / 64)
    bench.begin(source)
    bench.rounds(10, seconds=1 / 8)
    bench.found(10)
    assert source.elapsed_s == [7 / 8 + 1 / 64, 3 / 8 + 1 / 64]


@pytest.mark.parametrize("round_s", [1 / 1024, 1 / 8, 4.0])
@pytest.mark.parametrize("cost_s", [1 / 4096, 1 / 8])
def test_reading_takes_no_more_than_its_share_of_the_time(cost_s: float, round_s: float, bench: Bench) -> None:
    bench.begin(Planted(bench, cost_s))
    began_s = bench.now_s
    bench.rounds(5000, seconds=round_s)
    assert bench.watch.reading_s <= READING_SHARE * (bench.now_s - began_s)


def test_a_costly_source_does_not_make_a_cheap_one_rare(bench: Bench) -> None:
    cheap, costly = Planted(bench), Planted(bench, cost_s=1 / 8, cause="costly")
    bench.begin(cheap, costly)
    bench.rounds(100, {60}, seconds=1 / 8)
    assert cheap.read_after == list(range(101))
    assert len(costly.read_after) < 5
    found = bench.found(100)
    assert found["planted"] == {60}
    assert found["costly"] > {60}


def test_calibration_and_warm_up_before_the_last_rounds_are_left_out(bench: Bench) -> None:
    bench.begin(Planted(bench))
    bench.rounds(7, {1, 6})
    bench.rounds(4, {0, 2})
    assert bench.found(4) == {"planted": {0, 2}}


def test_a_verdict_shared_with_calibration_falls_on_the_first_rounds(bench: Bench) -> None:
    bench.begin(Planted(bench, cost_s=1 / 64))
    bench.rounds(5, {1}, seconds=1 / 8)
    bench.rounds(5, seconds=1 / 8)
    assert bench.found(5) == {"planted": {0, 1}}


def test_the_end_of_the_watch_closes_every_source_once(bench: Bench) -> None:
    sources = [Planted(bench), Planted(bench, cost_s=8.0, cause="costly")]
    bench.begin(*sources)
    bench.rounds(3)
    assert [source.closed for source in sources] == [0, 0]
    bench.found(3)
    assert [source.closed for source in sources] == [0, 0]
    assert bench.watch is not None
    bench.watch.close()
    assert [source.closed for source in sources] == [1, 1]


@given(
    st.lists(st.tuples(st.sampled_from([1 / 64, 1 / 8, 2.0]), st.booleans()), min_size=1, max_size=60),
    st.sampled_from([0.0, 1 / 1024, 1 / 64, 1 / 2]),
    st.data(),
)
def test_flagged_are_all_rounds_between_readings_that_saw_a_disturbance(
    planned: list[tuple[float, bool]], cost_s: float, data: st.DataObject
) -> None:
    bench = Bench()
    source = Planted(bench, cost_s)
    count = data.draw(st.integers(0, len(planned)))
    with mock.patch.object(validity, "time", SimpleNamespace(perf_counter=bench.clock)):
        bench.begin(source)
        assert [bench.round(seconds, disturb) for seconds, disturb in planned] == [seconds for seconds, _ in planned]
        (found,) = bench.found(count).values()
    disturbed = {index for index, (_, disturb) in enumerate(planned) if disturb}
    expected: set[int] = set()
    for first, after_last in zip(source.read_after, source.read_after[1:], strict=False):
        between = set(range(first, after_last))
        expected |= between if between & disturbed else set()
    assert source.read_after[-1] == len(planned)
    assert expected >= disturbed
    assert found == {index - (len(planned) - count) for index in expected if index >= len(planned) - count}


# A project whose clock moves by 1 s in a call and by 1000 s in a reading, so that a reading in a round is seen in its time.
PROJECT = """
import time

import pytest

from rnncore.measure import disturbance as validity
from rnncore.measure.row import RnnBenchmark
from rnncore.runfile.case import Case
from rnncore.measure.session import Session


class Planted:
    def __init__(self, real_s):
        self.real_s, self.now_s = real_s, 0.0

    def clock(self):
        self.now_s += 2**-20
        return self.now_s

    def call(self):
        time.sleep(self.real_s)
        self.now_s += 1.0


class Slow(validity.Source):
    cause = "planted"

    def __init__(self, planted, is_disturbed):
        self.planted, self.is_disturbed = planted, is_disturbed

    def read(self):
        self.planted.now_s += 1000.0

    def disturbed(self, before, after, elapsed_s):
        return self.is_disturbed


# Calls that pytest-benchmark calibrates, and calls so long that it need not.
@pytest.fixture(params=[0.001, 0.07], ids=["short", "long"])
def timed(request, benchmark, monkeypatch):
    def time_it(is_disturbed):
        planted = Planted(request.param)
        monkeypatch.setattr(validity, "open_sources", lambda device: ([Slow(planted, is_disturbed)], {"other": "none here"}))
        monkeypatch.setattr(validity, "READING_SHARE", float("inf"))
        benchmark._timer = planted.clock
        case = Case("infer", "gru", 8, 1, 4, batch_size=1, device="cpu", runtime="torch", precision="fp32")
        RnnBenchmark(benchmark, Session(), case, 1, None, None)(planted.call, windows=1, group="made")
        return benchmark.stats.stats.data, benchmark.extra_info

    return time_it


def test_quiet(timed):
    rounds_s, extra = timed(is_disturbed=False)
    assert len(rounds_s) == 3
    assert max(rounds_s) < 2, rounds_s
    assert extra["disturbed_rounds"] == 0
    assert extra["disturbance"]["median_undisturbed_s"] < 2


def test_disturbed(timed):
    rounds_s, extra = timed(is_disturbed=True)
    assert len(rounds_s) == extra["disturbed_rounds"] == 3
    assert extra["disturbance"]["spans"] == [[0, 2]]
    assert extra["disturbance"]["causes"] == {"planted": 3}
    assert extra["disturbance"]["median_undisturbed_s"] is None
    assert extra["disturbance"]["not_looked_for"] == {"other": "none here"}
    assert extra["windows_per_s"] > 0
"""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a session said of how each of the project's benchmarks ended."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_project.py").write_text(PROJECT)
    options = ("-q", "-rA", "-p", "no:cacheprovider", "--benchmark-warmup=off")
    options += ("--benchmark-max-time=0.01", "--benchmark-min-rounds=3")
    command = [sys.executable, "-m", "pytest", *options, "test_project.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("calls", ["short", "long"])
@pytest.mark.parametrize(
    "name", ["quiet", "disturbed"], ids=["no reading is in a timed round", "disturbed rounds stay in the figures"]
)
def test_under_pytest_benchmark(name: str, calls: str, ended: str) -> None:
    assert f"PASSED test_project.py::test_{name}[{calls}]\n" in ended, ended


def test_facts_tell_the_median_without_disturbed_rounds_and_leave_the_rounds_as_they_are() -> None:
    rounds_s = [1.0, 9.0, 2.0, 9.0, 9.0]
    facts = disturbance_facts(rounds_s, {"steal": {1, 3}, "switches": {3, 4}, "clock": set()}, {"gpu": "no driver"})
    assert facts == {
        "disturbed_rounds": 3,
        "disturbance": {
            "causes": {"steal": 2, "switches": 2},
            "spans": [[1, 1], [3, 4]],
            "median_undisturbed_s": 1.5,
            "not_looked_for": {"gpu": "no driver"},
        },
    }
    assert rounds_s == [1.0, 9.0, 2.0, 9.0, 9.0]
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


# All that is done with the rounds of a row after they were timed, half of them disturbed by turns.
MANY_ROUNDS = """
import itertools, json

from rnncore.measure import disturbance as validity
from rnncore.measure.facts import make_writable
from rnncore.measure.percentiles import percentiles
from rnncore.measure.disturbance import RoundWatch, Source, disturbance_facts
from rnncore.measure.steadiness import steadiness

COUNT = 10**6


class EverySecond(Source):
    cause = "every second"

    def read(self):
        return next(readings)

    def disturbed(self, before, after, elapsed_s):
        return after % 2 == 0


validity.READING_SHARE, validity.READING_GAP_S = float("inf"), 0.0
readings = itertools.count()
watch = RoundWatch([EverySecond()])
for _ in range(COUNT):
    watch.round_ended(1.0, 1)
rounds_s = [1.0 + index % 997 / 1e4 for index in range(COUNT)]
facts = disturbance_facts(rounds_s, watch.disturbed_rounds(rounds_s), {})
facts["percentiles"] = percentiles(rounds_s)
facts["steady"] = steadiness(rounds_s)[0]
make_writable(facts)
json.dumps(facts)
print(facts["disturbed_rounds"], len(facts["disturbance"]["spans"]), facts["steady"])
"""


def test_a_million_rounds_half_of_them_disturbed_are_looked_through_once_and_not_once_for_each() -> None:
    # In seconds; where each round is held against all others, in days. The limit tells the two apart on any machine.
    done = subprocess.run(
        [sys.executable, "-c", MANY_ROUNDS], capture_output=True, text=True, timeout=20 * DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["500000", "500000", "True"]


def test_disturbed_rounds_that_follow_each_other_are_one_span() -> None:
    facts = disturbance_facts([1.0] * 1000, {"steal": set(range(10, 900)), "clock": {5, 900, 902}}, {})
    assert facts["disturbance"]["spans"] == [[5, 5], [10, 900], [902, 902]]
    assert facts["disturbed_rounds"] == 893


def test_of_rounds_that_were_all_disturbed_there_is_no_undisturbed_median() -> None:
    facts = disturbance_facts([1.0, 2.0], {"steal": {0}, "switches": {1}}, {})
    assert facts["disturbed_rounds"] == 2
    assert facts["disturbance"]["median_undisturbed_s"] is None


@pytest.mark.parametrize("disturbed", [{}, {"steal": set()}], ids=["nothing looked for", "nothing found"])
def test_of_rounds_that_were_not_disturbed_both_medians_are_the_same(disturbed: dict[str, set[int]]) -> None:
    rounds_s = [3.0, 1.0, 2.0, 5.0]
    facts = disturbance_facts(rounds_s, disturbed, {})
    assert facts["disturbed_rounds"] == 0
    assert facts["disturbance"]["causes"] == {}
    assert facts["disturbance"]["median_undisturbed_s"] == statistics.median(rounds_s)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The files that were opened by number and are not closed yet."""
    files: set[int] = set()
    os_open, os_close = os.open, os.close

    def open_file(*args: Any, **kwargs: Any) -> int:
        file = os_open(*args, **kwargs)
        files.add(file)
        return file

    def close_file(file: int) -> None:
        files.discard(file)
        os_close(file)

    monkeypatch.setattr(os, "open", open_file)
    monkeypatch.setattr(os, "close", close_file)
    return files


def _plant_thread(tasks: Path, thread: int, waited_ns: int, turns: int = 17) -> Path:
    schedstat = tasks / str(thread) / "schedstat"
    schedstat.parent.mkdir(parents=True, exist_ok=True)
    schedstat.write_text(f"{999_000_000 + thread} {waited_ns} {turns}\n")
    return schedstat


def test_the_waiting_of_all_threads_is_counted_in_seconds(tmp_path: Path, opened: set[int]) -> None:
    for thread, waited_ns in ((100, 2_000_000_000), (101, 250_000_000), (107, 0)):
        _plant_thread(tmp_path, thread, waited_ns)
    source = WaitingThreads(tmp_path)
    assert source.read().seconds == 2.25
    _plant_thread(tmp_path, 107, 500_000_000)
    assert source.read().seconds == 2.75
    source.close()
    assert opened == set()


def test_a_thread_that_has_ended_waits_no_more_and_the_others_are_counted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _plant_thread(tmp_path, 100, 2_000_000_000)
    ended = _plant_thread(tmp_path, 101, 1_000_000_000)
    source = WaitingThreads(tmp_path)
    pread = os.pread

    def read(file: int, size: int, offset: int) -> bytes:
        text = pread(file, size, offset)
        if text == b"ended":
            raise ProcessLookupError
        return text

    monkeypatch.setattr(os, "pread", read)
    assert source.read().seconds == 3.0
    ended.write_text("ended")
    after_end_s = source.read().seconds
    _plant_thread(tmp_path, 100, 2_500_000_000)
    assert source.read().seconds - after_end_s == 0.5
    source.close()


def test_waiting_can_be_read_on_while_real_threads_end() -> None:
    end = threading.Event()
    threads = [threading.Thread(target=end.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    tasks = [validity.TASKS / str(thread.native_id) for thread in threads]
    try:
        source = WaitingThreads(validity.TASKS)
    except Unavailable as error:
        pytest.skip(str(error))
    finally:
        end.set()
        for thread in threads:
            thread.join()
    deadline_s = time.monotonic() + DEADLINE_S
    while any(task.exists() for task in tasks):
        assert time.monotonic() < deadline_s, "threads that ended are still listed"
        time.sleep(0.001)
    assert min(source.read()) >= 0
    source.close()


def test_a_thread_that_ends_before_it_is_read_is_left_out(tmp_path: Path) -> None:
    for thread in range(100, 105):
        _plant_thread(tmp_path, thread, 2_000_000_000)
    (tmp_path / "103" / "schedstat").unlink()
    with closing(WaitingThreads(tmp_path)) as source:
        assert source.read().seconds == pytest.approx(8.0)


def test_threads_that_keep_no_count_are_unavailable_and_nothing_stays_open(tmp_path: Path, opened: set[int]) -> None:
    for thread in range(100, 105):
        (tmp_path / str(thread)).mkdir()
    with pytest.raises(Unavailable, match=rf"{tmp_path}/\*/schedstat cannot be read \(No such file or directory\)"):
        WaitingThreads(tmp_path)
    assert opened == set()


def test_a_system_without_a_list_of_threads_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"schedstat cannot be read \(no such file\)"):
        WaitingThreads(tmp_path / "nowhere")


def test_threads_that_waited_for_more_than_a_share_of_the_time_were_disturbed(tmp_path: Path) -> None:
    _plant_thread(tmp_path, 100, 0)
    source = WaitingThreads(tmp_path)
    before = Waiting(5.0, 100)
    assert not source.disturbed(before, Waiting(5.0 + 0.99 * DISTURBED_SHARE * 2, 900), 2.0)
    assert source.disturbed(before, Waiting(5.0 + 1.01 * DISTURBED_SHARE * 2, 101), 2.0)
    assert not source.disturbed(before, Waiting(4.0, 900), 2.0)


def test_threads_that_waited_hit_no_more_rounds_than_they_got_cores(tmp_path: Path) -> None:
    for thread, turns in ((100, 1000), (101, 50)):
        _plant_thread(tmp_path, thread, 1_000_000_000, turns)
    with closing(WaitingThreads(tmp_path)) as source:
        before = source.read()
        _plant_thread(tmp_path, 100, 1_500_000_000, 1003)
        _plant_thread(tmp_path, 101, 1_500_000_000, 51)
        assert source.most_hit(before, source.read()) == 4
        # Moved to another core while it waits: the time is counted before the turn.
        assert source.most_hit(before, before) == 1


BUSY = """
import os
parent = os.getppid()
while os.getppid() == parent:
    sum(range(1000))
"""


@pytest.mark.clock
def test_processes_that_compete_for_the_core_are_seen_in_waiting_and_in_switches() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("processes cannot be kept on one core here")
    try:
        waiting = WaitingThreads(validity.TASKS)
    except Unavailable as error:
        pytest.skip(str(error))
    switches = InvoluntarySwitches()
    cores = os.sched_getaffinity(0)
    # What is started from here on inherits the one core.
    os.sched_setaffinity(0, {min(cores)})
    busy: list[subprocess.Popen[bytes]] = []
    try:
        busy += [subprocess.Popen([sys.executable, "-S", "-c", BUSY]) for _ in range(3)]
        waited_s, switched, began_s = waiting.read(), switches.read(), time.monotonic()
        seen = {waiting.cause: False, switches.cause: False}
        while not all(seen.values()):
            sum(range(10_000))
            elapsed_s = time.monotonic() - began_s
            seen[waiting.cause] |= waiting.disturbed(waited_s, waiting.read(), elapsed_s)
            seen[switches.cause] |= switches.read() - switched >= DISTURBED_SWITCHES
            assert elapsed_s < DEADLINE_S, seen
    finally:
        for process in busy:
            process.kill()
            process.wait()
        os.sched_setaffinity(0, cores)
        waiting.close()


@pytest.mark.parametrize(
    ("switches", "elapsed_s", "disturbed"),
    [
        (0, 1e-6, False),
        (2, 1e-6, False),
        (3, 1e-6, True),
        (3, 0.06, True),
        (3, 0.07, False),
        (49, 1.0, False),
        (50, 1.0, True),
    ],
)
def test_a_few_switches_are_nothing_and_many_for_the_time_are_a_disturbance(
    switches: int, elapsed_s: float, disturbed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {resource.RUSAGE_SELF: 1000}
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_nivcsw=counts[who], ru_nvcsw=10**9))
    source = InvoluntarySwitches()
    before = source.read()
    counts[resource.RUSAGE_SELF] += switches
    assert source.disturbed(before, source.read(), elapsed_s) is disturbed
    assert source.most_hit(before, source.read()) == switches


TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _plant_stat(stat: Path, stolen_ticks: int) -> None:
    stat.write_text(f"cpu  101 102 103 104 105 106 107 {stolen_ticks} 109 110\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 4711\n")


def test_steal_is_that_of_all_cpus_in_seconds(tmp_path: Path, opened: set[int]) -> None:
    _plant_stat(tmp_path / "stat", 250)
    source = Steal(tmp_path / "stat")
    assert source.read() == pytest.approx(250 * TICK_S)
    _plant_stat(tmp_path / "stat", 1_000_250)
    assert source.read() == pytest.approx(1_000_250 * TICK_S)
    source.close()
    assert opened == set()


def test_more_than_a_share_of_the_time_of_all_cpus_is_a_disturbance(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    _plant_stat(tmp_path / "stat", 0)
    source = Steal(tmp_path / "stat")
    allowed_s = DISTURBED_SHARE * 2.0 * 8
    assert not source.disturbed(100.0, 100.0, 2.0)
    assert not source.disturbed(100.0, 100.0 + 0.99 * allowed_s, 2.0)
    assert source.disturbed(100.0, 100.0 + 1.01 * allowed_s, 2.0)
    # A round of a millisecond: one step of the counter is more than its share.
    assert source.disturbed(100.0, 100.0 + TICK_S, 0.001)
    source.close()


def test_a_system_without_statistics_of_steal_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=rf"{tmp_path}/stat cannot be read \(No such file or directory\)"):
        Steal(tmp_path / "stat")


def _plant_clocks(cpus: Path, *clocks_khz: int) -> None:
    for number, clock_khz in enumerate(clocks_khz):
        folder = cpus / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scaling_cur_freq").write_text(f"{clock_khz}\n")


def test_a_clock_is_slow_against_the_fastest_mean_of_the_cores_so_far(tmp_path: Path) -> None:
    (tmp_path / "cpuidle").mkdir()
    _plant_clocks(tmp_path, 2_000_000, 2_400_000)
    source = SlowClock(tmp_path)
    first = source.read()
    assert first == 2_200_000
    _plant_clocks(tmp_path, 3_000_000, 3_000_000)
    fast = source.read()
    assert not source.disturbed(first, fast, 1.0)
    _plant_clocks(tmp_path, 2_400_000, 3_010_000)
    assert not source.disturbed(fast, source.read(), 1.0)
    _plant_clocks(tmp_path, 2_400_000, 2_990_000)
    slow = source.read()
    assert source.disturbed(fast, slow, 1.0)
    assert source.disturbed(slow, source.read(), 1.0)


def test_a_clock_that_cannot_be_read_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "cpu0").mkdir()
    with pytest.raises(Unavailable, match=rf"{tmp_path}/cpu\*/cpufreq/scaling_cur_freq is not there"):
        SlowClock(tmp_path)


class PlantedGpu:
    """A GPU with planted states, one after another."""

    def __init__(self, *states: GpuState) -> None:
        self.states = list(states)
        self.closed = 0

    def state(self) -> GpuState:
        return self.states.pop(0)

    def close(self) -> None:
        self.closed += 1


def _state(throttle_reasons: tuple[str, ...] = (), foreign_pids: tuple[int, ...] = ()) -> GpuState:
    return GpuState(1500, 1980, 60, 300.0, throttle_reasons, foreign_pids)


@pytest.mark.parametrize(
    ("state", "disturbed"),
    [
        (_state(), False),
        (GpuState(None, None, None, None, (), ()), False),
        (_state(throttle_reasons=("power cap",)), False),
        (_state(throttle_reasons=("power cap", "thermal slowdown (hardware)")), True),
        (replace(_state(), sm_clock_mhz=1351), False),
        (replace(_state(throttle_reasons=("power cap",)), sm_clock_mhz=1349), True),
        (_state(foreign_pids=(4711,)), True),
        (_state(("power cap", "power brake"), (4711, 4712)), True),
    ],
    ids=["quiet", "silent driver", "at its limit of power", "too hot", "a little slower", "slower", "shared", "both"],
)
def test_a_gpu_that_is_throttled_or_shared_is_disturbed(state: GpuState, disturbed: bool) -> None:
    gpu = PlantedGpu(_state(), state)
    source = BusyGpu(gpu)
    assert source.disturbed(source.read(), source.read(), 1.0) is disturbed
    source.close()
    assert gpu.closed == 1


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plant a kernel that tells everything, and a driver that must not be asked."""
    _plant_thread(tmp_path / "task", 100, 1_000_000_000)
    _plant_stat(tmp_path / "stat", 100)
    _plant_clocks(tmp_path / "cpu", 2_000_000)
    monkeypatch.setattr(validity, "TASKS", tmp_path / "task")
    monkeypatch.setattr(validity, "STAT", tmp_path / "stat")
    monkeypatch.setattr(validity, "CPU_CLOCKS", tmp_path / "cpu")
    _plant_driver(monkeypatch, lambda device: pytest.fail("a benchmark of the CPU asked for the GPU"))
    return tmp_path


def _plant_driver(monkeypatch: pytest.MonkeyPatch, open_gpu: Callable[[str], Any]) -> None:
    monkeypatch.setattr(Gpu, "open", staticmethod(open_gpu))


ON_CPU = [WaitingThreads.cause, InvoluntarySwitches.cause, Steal.cause, SlowClock.cause]


def test_everything_that_can_be_read_is_a_source_and_nothing_is_missing(kernel: Path) -> None:
    sources, missing = open_sources("cpu")
    assert [source.cause for source in sources] == ON_CPU
    assert missing == {}
    for source in sources:
        reading = source.read()
        assert not source.disturbed(reading, reading, 1.0)
        source.close()


def test_only_a_benchmark_of_the_gpu_looks_at_it(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = PlantedGpu(_state())
    _plant_driver(monkeypatch, lambda device: gpu)
    sources, missing = open_sources("cuda")
    assert [source.cause for source in sources] == [*ON_CPU, BusyGpu.cause]
    assert missing == {}
    assert sources[-1].read() == _state()
    assert gpu.closed == 0
    for source in sources:
        source.close()
    assert gpu.closed == 1


def test_what_is_missing_is_named_with_the_reason_and_the_rest_stays_open(
    kernel: Path, monkeypatch: pytest.MonkeyPatch, opened: set[int]
) -> None:
    def fail(device: str) -> Gpu:
        raise Unavailable("no NVIDIA driver library. Install the NVIDIA driver.")

    _plant_driver(monkeypatch, fail)
    monkeypatch.setattr(validity, "STAT", kernel / "no-stat")
    monkeypatch.setattr(validity, "CPU_CLOCKS", kernel / "no-cpu")
    sources, missing = open_sources("cuda")
    assert missing == {
        Steal.cause: f"{kernel}/no-stat cannot be read (No such file or directory)",
        SlowClock.cause: f"{kernel}/no-cpu/cpu*/cpufreq/scaling_cur_freq is not there",
        BusyGpu.cause: "no NVIDIA driver library. Install the NVIDIA driver.",
    }
    assert [source.cause for source in sources] == [WaitingThreads.cause, InvoluntarySwitches.cause]
    assert len(opened) == 1
    assert sources[0].read() == (1.0, 17)
    for source in sources:
        source.close()
    assert opened == set()


def test_a_system_that_tells_nothing_still_counts_switches(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TASKS", "STAT", "CPU_CLOCKS"):
        monkeypatch.setattr(validity, name, kernel / "nowhere")
    sources, missing = open_sources("cpu")
    assert [source.cause for source in sources] == [InvoluntarySwitches.cause]
    assert list(missing) == [WaitingThreads.cause, Steal.cause, SlowClock.cause]


def test_this_machine_says_of_every_cause_that_it_is_read_or_why_not() -> None:
    sources, missing = open_sources("cpu")
    assert sorted([source.cause for source in sources] + list(missing)) == sorted(ON_CPU)
    assert all(missing.values())
    watch = RoundWatch(sources)
    for _ in range(20):
        watch.round_ended(1e-6, 10)
    assert set(watch.disturbed_rounds([1e-6] * 20)) == {source.cause for source in sources}
