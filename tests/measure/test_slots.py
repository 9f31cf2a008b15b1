"""Tests of a process that times in slots: what it says and hears over its pipes, what it times, and its run file."""

import json
import math
import os
import resource
import select
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import pytest

# Imported here, so that a session that pytester runs inside this process does not load them a second time.
import scipy.stats  # noqa: F401
import torch  # noqa: F401

from rnncore.errors import ProcessError
from rnncore.measure import slots as slots_module
from rnncore.measure.company import Company
from rnncore.measure.counters import CallCounters
from rnncore.measure.slots import LONG_CALL_S, MIN_ROUND_S, SHORTEST_CALL_S, Slots, calls_of_a_round, rounds_of_a_slot
from rnncore.measure.timeout import case_timeout
from rnncore.runfile.read import read_run
from rnncore.runfile.slots import (
    COLLECTED,
    CPU,
    ENDED,
    ENVIRONMENT,
    IMPORTED,
    IMPORTS,
    MEMORY,
    ORDER,
    OUTSIDE,
    PAIR,
    READY,
    SLOT_S,
    TOKEN,
)

pytest_plugins = ["pytester"]

SUITE = """
import pytest
from rnncore.runfile.case import Case


def two(scale):
    return [Case("infer", cell, 8, 1, 4, batch_size=1, device="cpu", precision="fp32") for cell in ("gru", "lstm")]


@pytest.mark.rnn_cases(choose=two)
def test_made(rnn_case, rnn_benchmark):
    rnn_benchmark(lambda: sum(range(1000)), windows=1, group="made")
    rnn_benchmark.record(validity="valid")


def test_of_no_case():
    pass
"""


class Driver:
    """The other end of the pipes."""

    def __init__(self) -> None:
        self.asked, asks = os.pipe()
        answers, self.answers = os.pipe()
        self._asks: TextIO = os.fdopen(asks, "w", encoding="utf-8")
        self._answers: TextIO = os.fdopen(answers, encoding="utf-8")

    def say(self, **facts: object) -> None:
        self._asks.write(json.dumps(facts) + "\n")
        self._asks.flush()

    def heard(self) -> dict[str, Any]:
        return dict(json.loads(self.heard_line()))

    def heard_line(self) -> str:
        return self._answers.readline()

    def has_answer(self) -> bool:
        return bool(select.select([self._answers], [], [], 0.0)[0])

    def says_no_more(self) -> None:
        self._asks.close()

    def hears_no_more(self) -> None:
        self._answers.close()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    made = Driver()
    # As those that were passed to a process are.
    for pipe in (made.asked, made.answers):
        os.set_inheritable(pipe, True)
    monkeypatch.setenv(ENVIRONMENT, f"{made.asked},{made.answers}")
    yield made
    made.says_no_more()
    made.hears_no_more()


@pytest.fixture
def slots(driver: Driver) -> Iterator[Slots]:
    made = Slots.of_environment()
    assert made is not None
    yield made
    made.close()


def test_a_process_that_nobody_drives_has_no_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    assert Slots.of_environment() is None


def _pipes(slots: Slots) -> list[int]:
    return [slots._asked.fileno(), slots._answers.fileno()]


def test_processes_that_a_driven_one_starts_are_not_driven(slots: Slots) -> None:
    assert ENVIRONMENT not in os.environ
    # Nor do they hold the pipe open, whose end says that the process has ended.
    assert [os.get_inheritable(pipe) for pipe in _pipes(slots)] == [False, False]


def test_the_pipes_lie_where_a_loop_over_the_usual_descriptors_does_not_come(driver: Driver, slots: Slots) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert all(pipe >= min(limit, 1024) - 16 for pipe in _pipes(slots))
    for pipe in (driver.asked, driver.answers):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(pipe)


def test_answers_begin_with_the_token_that_the_driver_names(driver: Driver, slots: Slots) -> None:
    driver.say(**{IMPORTS: [], TOKEN: "t0ken"})
    driver.say(**{ORDER: ["a"], PAIR: 7, MEMORY: False})
    slots.order(["a"])
    driver.say()
    assert list(slots.of("a", Company())) == []
    collected, ready = driver.heard_line(), driver.heard_line()
    assert collected == f't0ken{{"{COLLECTED}": ["a"]}}\n'
    assert ready.startswith(f't0ken{{"{READY}": "a"')


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be copied here")
def test_a_copy_of_the_process_answers_nothing_and_ends(driver: Driver, slots: Slots) -> None:
    with warnings.catch_warnings():
        # Newer versions of Python warn of any thread. Those of a library that wait for work stay behind.
        warnings.simplefilter("ignore", DeprecationWarning)
        copy = os.fork()
    if copy == 0:
        try:
            slots.begins("a")
            slots.broke_off("b")
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) == 1
    assert not driver.has_answer()


def test_a_process_says_what_it_collected_and_takes_the_order(driver: Driver, slots: Slots) -> None:
    assert slots.pair is None
    driver.say(**{IMPORTS: []})
    driver.say(**{ORDER: ["b", "a"], PAIR: 7, MEMORY: False})
    assert slots.order(["a", "b", "c"]) == ["b", "a"]
    assert (slots.pair, slots.measures_memory) == (7, False)
    assert driver.heard() == {COLLECTED: ["a", "b", "c"]}


def _package(folder: Path, name: str, text: str = "") -> str:
    (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return name


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules to import, which are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_process_imports_what_it_is_told_before_it_says_what_it_collected(
    driver: Driver, slots: Slots, imported: Path
) -> None:
    fine, broken = _package(imported, "slots_fine"), _package(imported, "slots_broken", "raise RuntimeError('no')")
    loud = _package(imported, "slots_loud", "import warnings\nwarnings.warn('old', DeprecationWarning)")
    driver.say(**{IMPORTS: [broken, "slots_of_no_file", loud, fine]})
    driver.say(**{ORDER: [], PAIR: 0, MEMORY: True})
    slots.order([])
    assert {fine, loud} <= set(sys.modules)
    assert broken not in sys.modules


@pytest.mark.parametrize("leaves", ["the tree", "another folder", "one that is gone"])
def test_a_process_says_what_its_benchmarks_imported_from_outside_of_the_tree(
    driver: Driver, imported: Path, monkeypatch: pytest.MonkeyPatch, leaves: str
) -> None:
    tree, elsewhere = imported / "tree", imported / "elsewhere"
    for folder in (tree, elsewhere):
        folder.mkdir()
    monkeypatch.chdir(tree)
    slots = Slots.of_environment()
    assert slots is not None
    monkeypatch.syspath_prepend(tree)
    ahead, later = _package(imported, "slots_ahead"), _package(imported, "slots_later")
    own, early = _package(tree, "slots_own"), _package(imported, "slots_early")
    import_module(early)
    driver.say(**{IMPORTS: [ahead]})
    driver.say(**{ORDER: [], PAIR: 0, MEMORY: True})
    slots.order([])
    for name in (later, own):
        import_module(name)
    sys.modules["slots_made_up"] = ModuleType("slots_made_up")
    if leaves != "the tree":
        monkeypatch.chdir(elsewhere)
    if leaves == "one that is gone":
        elsewhere.rmdir()
    slots.ended()
    slots.close()
    driver.heard()
    # Those that were imported ahead too: the next process is told by this one. Not what collection loads in any case.
    heard = driver.heard()
    assert heard[IMPORTED] == [ahead, later]
    # Whatever was loaded from outside: those of before too, and nothing of the tree.
    outside = {name: file for name, file in heard[OUTSIDE].items() if name.startswith("slots_")}
    assert outside == {name: str(imported / f"{name}.py") for name in (early, ahead, later)}


def test_a_benchmark_has_the_slots_that_are_asked_for(driver: Driver, slots: Slots) -> None:
    for facts in ({SLOT_S: 0.25}, {SLOT_S: 0.5}, {}):
        driver.say(**facts)
    assert list(slots.of("a", Company())) == [0.25, 0.5]
    assert driver.heard()[READY] == "a"
    assert [driver.heard() for _ in range(2)] == [{ENDED: "a"}, {ENDED: "a"}]


# Which CPUs a process may be on is asked and told where the system lets it.
on_cpus = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind threads to CPUs")


@on_cpus
def test_in_a_slot_its_thread_is_on_the_cpu_that_it_is_told(driver: Driver, slots: Slots) -> None:
    usable = os.sched_getaffinity(0)
    for facts in (*({SLOT_S: 0.25, CPU: cpu} for cpu in usable), {SLOT_S: 0.25, CPU: None}, {}):
        driver.say(**facts)
    assert [os.sched_getaffinity(0) for _ in slots.of("a", Company())] == [*({cpu} for cpu in usable), usable]
    assert os.sched_getaffinity(0) == usable
    assert driver.heard()[CPU] in usable


@on_cpus
def test_a_benchmark_that_failed_in_its_slot_leaves_the_next_where_it_wants_to_be(driver: Driver, slots: Slots) -> None:
    usable = os.sched_getaffinity(0)
    driver.say(**{SLOT_S: 0.25, CPU: min(usable)})
    failed = slots.of("a", Company())
    next(failed)
    slots.begins("b")
    assert os.sched_getaffinity(0) == usable
    failed.close()


@on_cpus
def test_a_cpu_that_it_may_not_be_on_changes_nothing(driver: Driver, slots: Slots) -> None:
    usable = os.sched_getaffinity(0)
    for facts in ({SLOT_S: 0.25, CPU: 100_000}, {}):
        driver.say(**facts)
    assert [os.sched_getaffinity(0) for _ in slots.of("a", Company())] == [usable]


def test_where_other_threads_work_too_no_cpu_is_named(driver: Driver, slots: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.say()
    monkeypatch.setattr(Company, "is_none", False)
    assert list(slots.of("a", Company())) == []
    assert driver.heard() == {READY: "a", CPU: None}


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no SIGALRM")
def test_the_time_in_which_the_other_side_runs_is_not_in_the_limit_of_a_benchmark(driver: Driver, slots: Slots) -> None:
    def drive() -> None:
        for facts in ({SLOT_S: 0.25}, {SLOT_S: 0.5}, {}):
            time.sleep(0.4)
            driver.say(**facts)

    thread = threading.Thread(target=drive)
    thread.start()
    with case_timeout(0.3, lambda: None):
        assert list(slots.of("a", Company())) == [0.25, 0.5]
    thread.join()


def test_a_slot_is_said_to_have_ended_only_once_it_has(driver: Driver, slots: Slots) -> None:
    of_one = slots.of("a", Company())
    driver.say(**{SLOT_S: 0.25})
    next(of_one)
    assert driver.heard()[READY] == "a"
    assert not driver.has_answer()
    driver.say()
    assert list(of_one) == []
    assert driver.has_answer()


def test_a_driver_that_has_ended_is_an_error(driver: Driver, slots: Slots) -> None:
    driver.says_no_more()
    with pytest.raises(ProcessError, match="the process that drives this one has ended"):
        list(slots.of("a", Company()))


def test_pipes_can_be_closed_once_the_driver_has_ended(driver: Driver, slots: Slots) -> None:
    driver.hears_no_more()
    with pytest.raises(BrokenPipeError):
        list(slots.of("a", Company()))
    slots.close()


# ------------------------------------------------------------------------------------------------------- rounds of a slot


@pytest.mark.parametrize(
    ("call_s", "min_round_s", "calls"),
    [(1.0, 0.0, 1), (MIN_ROUND_S, 0.0, 1), (MIN_ROUND_S / 4, 0.0, 4), (3e-5, 0.0, 4), (1e-3, 0.01, 10), (1e-3, 0.0101, 11)],
)
def test_calls_that_are_short_make_up_a_round(call_s: float, min_round_s: float, calls: int) -> None:
    assert calls_of_a_round(call_s, min_round_s) == calls


def test_a_clock_that_shows_nothing_of_a_call_is_no_error() -> None:
    assert calls_of_a_round(0.0, 0.0) == math.ceil(MIN_ROUND_S / SHORTEST_CALL_S)


class Clock:
    """A clock that moves only by the calls that are timed."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls = 0

    def perf_counter(self) -> float:
        return self.now_s

    def taking(self, call_s: float) -> Callable[[], None]:
        def run() -> None:
            self.calls += 1
            self.now_s += call_s

        return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    with monkeypatch.context() as patched:
        patched.setattr(slots_module, "now_s", made.perf_counter)
        yield made


def test_a_slot_has_rounds_of_calls_until_it_is_over_after_one_that_fills_the_caches(clock: Clock) -> None:
    assert rounds_of_a_slot(clock.taking(0.25), 2.0, 2, 0.25) == [0.25] * 4
    assert clock.calls == 1 + 4 * 2


def test_a_round_that_has_begun_is_ended(clock: Clock) -> None:
    assert rounds_of_a_slot(clock.taking(0.75), 2.0, 1, 0.75) == [0.75] * 3


def test_calls_as_long_as_a_slot_fill_the_caches_themselves_and_have_two_rounds(clock: Clock) -> None:
    assert rounds_of_a_slot(clock.taking(LONG_CALL_S / 2), LONG_CALL_S / 4, 1, LONG_CALL_S / 2) == [LONG_CALL_S / 2] * 2
    assert clock.calls == 2


def test_a_call_that_takes_long_is_a_slot_by_itself(clock: Clock) -> None:
    assert rounds_of_a_slot(clock.taking(3.0), 1.0, 1, 3.0) == [3.0]
    assert clock.calls == 1


class Counted(CallCounters):
    """Notes how many calls were made by when it is asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("nothing is counted here")
        self._clock = clock
        self.heard: list[tuple[str, int]] = []

    def start(self) -> None:
        self.heard.append(("start", self._clock.calls))

    def stop(self, calls: int) -> None:
        self.heard.append((f"stop after {calls}", self._clock.calls))


def test_what_counts_is_asked_once_around_all_rounds_without_the_call_that_fills_the_caches(clock: Clock) -> None:
    counted = Counted(clock)
    rounds_of_a_slot(clock.taking(0.25), 2.0, 2, 0.25, counted)
    assert counted.heard == [("start", 1), ("stop after 8", 9)]


# ------------------------------------------------------------------------------------------------------ a session in slots


def _in_slots(
    pytester: pytest.Pytester, driver: Driver, order: Callable[[list[str]], list[str]], slots: int, *args: str
) -> tuple[pytest.RunResult, list[str]]:
    """Run a session that is driven: each benchmark has *slots* slots; return how it ended and what was ready, in order."""
    ready: list[str] = []

    def drive() -> None:
        driver.say(**{IMPORTS: []})
        driver.say(**{ORDER: (names := order(driver.heard()[COLLECTED])), PAIR: 3, MEMORY: True})
        for _ in names:
            ready.append(driver.heard()[READY])
            for _ in range(slots):
                driver.say(**{SLOT_S: 0.001})
                assert driver.heard() == {ENDED: ready[-1]}
            driver.say()
        assert list(driver.heard()) == [IMPORTED, OUTSIDE]

    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    pytester.makepyfile(test_suite=SUITE)
    options = ("-p", "no:cacheprovider", "--rnn-scale=gate", "--benchmark-json=run.json", "--benchmark-storage=kept")
    result = pytester.runpytest_inprocess(*options, *args)
    thread.join(30)
    assert not thread.is_alive()
    return result, ready


def test_benchmarks_run_in_the_order_that_is_asked_for(pytester: pytest.Pytester, driver: Driver) -> None:
    result, ready = _in_slots(pytester, driver, lambda names: names[::-1], 2)
    # What is no benchmark does not run.
    result.assert_outcomes(passed=2, deselected=1)
    assert [name.split("[")[1].split("-")[0] for name in ready] == ["lstm", "gru"]


def test_benchmarks_that_are_left_out_do_not_run(pytester: pytest.Pytester, driver: Driver) -> None:
    result, ready = _in_slots(pytester, driver, lambda names: names[1:], 2)
    result.assert_outcomes(passed=1, deselected=2)
    assert len(ready) == 1
    assert "lstm" in ready[0]


def test_the_run_file_has_the_pair_and_the_rounds_of_each_slot(pytester: pytest.Pytester, driver: Driver) -> None:
    _in_slots(pytester, driver, list, 3)
    run = read_run(Path(pytester.path) / "run.json")
    assert run.pair == 3
    assert len(run.records) == 2
    for record in run.records:
        assert record.slot_rounds is not None
        assert len(record.slot_rounds) == 3
        assert [len(slot) for slot in record.slots_s] == list(record.slot_rounds)
        assert sum(record.slot_rounds) == len(record.rounds_s)
        assert record.disturbed_rounds is None
        assert record.why("disturbed_rounds") == "timed in slots, beside a process of another revision"


def test_calls_on_one_thread_are_counted_where_the_machine_counts(
    pytester: pytest.Pytester, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = {"instructions_per_call": 2e6, "cycles_per_call": 1e6, "cache_misses_per_call": 50.0}
    monkeypatch.setattr(CallCounters, "facts", lambda self: {name: (count, None) for name, count in planted.items()})
    _in_slots(pytester, driver, list, 2, "--rnn-threads=1")
    for record in read_run(Path(pytester.path) / "run.json").records:
        assert {name: getattr(record, name) for name in planted} == planted


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--rnn-threads=2"], "2 threads spin while they wait for one another"),
        (["--rnn-threads=1", "--rnn-delay=5:*"], "the planted delay spins"),
    ],
)
def test_calls_of_which_a_count_would_say_nothing_have_the_reason(
    pytester: pytest.Pytester, driver: Driver, arguments: list[str], why: str
) -> None:
    _in_slots(pytester, driver, list, 2, *arguments)
    for record in read_run(Path(pytester.path) / "run.json").records:
        for name in ("instructions_per_call", "cycles_per_call", "cache_misses_per_call"):
            assert (getattr(record, name), record.why(name)) == (None, why)


def test_a_session_that_nobody_drives_has_no_pair_and_no_slots(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_suite=SUITE)
    options = ("-p", "no:cacheprovider", "--rnn-scale=gate", "--benchmark-json=run.json", "--benchmark-storage=kept")
    pytester.runpytest_inprocess(*options).assert_outcomes(passed=3)
    run = read_run(Path(pytester.path) / "run.json")
    assert run.pair is None
    assert all(record.slots_s == [] for record in run.records)


@pytest.mark.usefixtures("driver")
def test_a_session_that_only_collects_asks_nobody(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_suite=SUITE)
    assert pytester.runpytest_inprocess("-p", "no:cacheprovider", "--rnn-scale=gate", "--collect-only").ret == 0
