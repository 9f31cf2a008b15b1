"""Tests of benchmarks of other suites in the slots of a gate: what is called, how often, and what a run file says of it."""

import json
import os
import textwrap
from pathlib import Path
from random import Random

import pytest

from rnncore.drive.pairs import Pair, Plan, run_pair
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree

PLAN = Plan(slots=3, slot_s=0.005)
SUITES = Suites(("benchmarks",))


def _pair(folder: Path, suite: str, settings: str = "[pytest]\n", suites: Suites = SUITES, **files: str) -> Pair:
    """Measure two equal projects, which know nothing of rnncore."""
    trees = [Tree(folder / side, side) for side in ("base", "head")]
    for tree in trees:
        (tree.path / "benchmarks").mkdir(parents=True)
        (tree.path / "pytest.ini").write_text(settings, encoding="utf-8")
        for name, text in {"benchmarks/test_it.py": suite, **files}.items():
            (tree.path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    run_files = [folder / "out" / f"{tree.name}.json" for tree in trees]
    return run_pair(trees, suites, run_files, PLAN, 0, Random(0))  # noqa: S311 (an order, no secret)


def test_what_a_benchmark_gives_to_the_fixture_is_timed_in_slots(tmp_path: Path) -> None:
    pair = _pair(
        tmp_path,
        """
        import pytest

        @pytest.mark.parametrize("count", [10, 20])
        def test_sum(benchmark, count):
            benchmark.extra_info["count"] = count
            assert benchmark(sum, range(count)) == count * (count - 1) / 2

        def test_of_no_benchmark():
            raise SystemExit("ran")
        """,
    )
    for run in (pair.base, pair.head):
        assert [record.short_name for record in run.records] == ["test_sum[10]", "test_sum[20]"]
        assert (run.pair, run.failed, run.skipped) == (0, (), ())
        for record, count in zip(run.records, (10, 20), strict=True):
            assert not record.has_case
            assert len(record.slots_s) == PLAN.slots
            # A round is as long as makes it worth reading the clock twice.
            assert 2e-8 < record.median_s < 1e-4
            assert record.numbers == {"count": count}
            assert record.group == "benchmarks/test_it.py"


def test_what_is_prepared_for_a_call_is_prepared_for_each_and_not_timed(tmp_path: Path) -> None:
    pair = _pair(
        tmp_path,
        """
        import time

        def test_pop(benchmark):
            events = []

            def setup():
                events.append("setup")
                time.sleep(0.002)
                return ([1],), {"at": 0}

            def pop(values, at):
                # Each call has a list of its own: a second call on one would fail.
                assert events.pop() == "setup"
                return values.pop(at)

            def teardown(values, at):
                assert values == []

            assert benchmark.pedantic(pop, setup=setup, teardown=teardown, rounds=3) == 1
            assert events == []
        """,
    )
    for run in (pair.base, pair.head):
        assert run.failed == ()
        (record,) = run.records
        assert record.is_valid
        assert record.median_s < 0.002
        assert all(len(slot) >= 2 for slot in record.slots_s)


def test_options_of_everyday_tests_do_not_keep_from_measuring(tmp_path: Path) -> None:
    settings = """[pytest]
addopts = --benchmark-skip --maxfail=1 --benchmark-autosave -p no:cacheprovider
filterwarnings = error
"""
    pair = _pair(
        tmp_path,
        """
        def test_fails(benchmark):
            benchmark(lambda: 1 / 0)

        def test_sum(benchmark):
            benchmark(sum, range(10))
        """,
        settings,
    )
    for run in (pair.base, pair.head):
        assert [record.short_name for record in run.records] == ["test_sum"]
        assert [(name.split("::")[1], outcome) for name, outcome, _ in run.failed] == [("test_fails", "error")]
    assert not list((tmp_path / "base").glob(".benchmarks/*/*.json"))


@pytest.mark.parametrize("wanted", [True, False])
def test_the_garbage_collector_runs_unless_the_benchmark_keeps_it_out(wanted: bool, tmp_path: Path) -> None:
    pair = _pair(
        tmp_path,
        f"""
        import gc
        import pytest

        @pytest.mark.benchmark(disable_gc={not wanted})
        def test_collected(benchmark):
            states = set()
            benchmark(lambda: states.add(gc.isenabled()))
            assert states == {{{wanted}}}
            assert gc.isenabled()
        """,
    )
    assert pair.base.failed == pair.head.failed == ()


def test_what_follows_each_line_is_kept_out_of_the_times(tmp_path: Path) -> None:
    pair = _pair(
        tmp_path,
        """
        import sys

        def test_traced(benchmark):
            lines = []
            tracer = lambda *event: lines.append(event)
            before = sys.gettrace()
            sys.settrace(tracer)
            try:
                benchmark(lambda: len(lines))
                assert sys.gettrace() is tracer
            finally:
                sys.settrace(before)
            assert not any("benchmarks" in str(frame.f_code.co_filename) for frame, event, _ in lines if event == "line")
        """,
    )
    assert pair.base.failed == pair.head.failed == ()


def test_one_that_gives_the_fixture_two_calls_has_failed(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "def test_sum(benchmark):\n    benchmark(sum, [1])\n    benchmark(sum, [2])\n")
    for run in (pair.base, pair.head):
        assert run.records == ()
        ((name, outcome, reason),) = run.failed
        assert (name, outcome) == ("benchmarks/test_it.py::test_sum", "error")
        assert reason.startswith("FixtureAlreadyUsed")


def test_one_that_is_expected_to_fail_is_skipped(tmp_path: Path) -> None:
    suite = """
        import pytest

        @pytest.mark.xfail(reason="not yet")
        def test_sum(benchmark):
            assert benchmark(sum, [1]) == 2

        @pytest.mark.xfail
        def test_raises(benchmark):
            benchmark(lambda: 1 / 0)
    """
    pair = _pair(tmp_path, suite)
    for run in (pair.base, pair.head):
        assert (run.records, run.failed) == ((), ())
        assert [reason for _, reason in run.skipped] == ["expected to fail: not yet", "expected to fail: xfail"]


def test_a_result_that_is_wrong_makes_the_benchmark_invalid(tmp_path: Path) -> None:
    suite = "def test_sum(benchmark):\n    benchmark.extra_info['validity'] = 3\n    assert benchmark(sum, [1]) == 2\n"
    pair = _pair(tmp_path, suite)
    for run in (pair.base, pair.head):
        (record,) = run.records
        assert record.validity.startswith("failed after it was timed: AssertionError")
        assert record.numbers == {"validity": 3}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not bind threads to CPUs")
def test_both_sides_are_on_the_same_cpu_in_a_slot_unless_other_threads_work_too(tmp_path: Path) -> None:
    suite = """
        import json
        import os
        from pathlib import Path
        from threading import Thread

        # Of each benchmark the CPUs that its calls could be on, as often as they changed.
        changes = {}

        def note(name):
            cpus, seen = sorted(os.sched_getaffinity(0)), changes.setdefault(name, [])
            if seen[-1:] != [cpus]:
                seen.append(cpus)
            Path("cpus.json").write_text(json.dumps(changes), encoding="utf-8")

        def test_alone(benchmark):
            benchmark(lambda: note("alone"))

        def test_several(benchmark):
            def call():
                note("several")
                other = Thread(target=sum, args=(range(200_000),))
                other.start()
                other.join()

            benchmark(call)
    """
    _pair(tmp_path, suite)
    base, head = (json.loads((tmp_path / side / "cpus.json").read_text(encoding="utf-8")) for side in ("base", "head"))
    usable = sorted(os.sched_getaffinity(0))
    assert base["several"] == head["several"] == [usable]
    assert base["alone"] == head["alone"]
    # Before its slots each is where it wants to be.
    first, *later = base["alone"]
    assert first == usable
    assert {len(cpus) for cpus in later} == ({1} if len(usable) > 1 else set())


def _delaying_the_head(delay_pct: float) -> dict[str, str]:
    """Return a conftest that plants a delay into the head."""
    hook = f"""
        from pathlib import Path

        def pytest_rnn_delay_pct(fullname):
            return {delay_pct} if Path(__file__).parent.name == "head" else None
    """
    return {"conftest.py": hook}


def test_a_planted_delay_is_in_each_round_and_said(tmp_path: Path) -> None:
    suite = """
        from time import perf_counter

        def test_sum(benchmark):
            own_s = []

            def call():
                start_s = perf_counter()
                sum(range(100_000))
                own_s.append(perf_counter() - start_s)

            benchmark(call)
            rounds = len(benchmark.stats.stats.data)
            benchmark.extra_info["own_s"] = min(own_s)
            benchmark.extra_info["own_of_rounds_s"] = min(own_s[-rounds:])
    """
    pair = _pair(tmp_path, suite, **_delaying_the_head(50.0))
    (base,), (head,) = pair.base.records, pair.head.records
    assert (base.injected_delay_pct, head.injected_delay_pct) == (None, 50.0)
    # Against what the calls themselves took, whatever else ran on the machine in that time.
    assert head.quickest_s > 1.45 * head.numbers["own_s"]
    assert base.quickest_s < 1.2 * base.numbers["own_of_rounds_s"]


def test_a_planted_delay_is_as_small_as_asked_however_short_the_calls(tmp_path: Path) -> None:
    suite = """
        from rnncore.measure import delay

        def test_count(benchmark, monkeypatch):
            now_s, reads, calls = delay.now_s, [], []

            def read():
                reads.append(None)
                return now_s()

            monkeypatch.setattr(delay, "now_s", read)
            benchmark(calls.append, None)
            benchmark.extra_info["reads_per_call"] = len(reads) / len(calls)
    """
    pair = _pair(tmp_path, suite, **_delaying_the_head(30.0))
    (base,), (head,) = pair.base.records, pair.head.records
    # Reading the clock takes as long as the call: a delay of each call would read it twice.
    assert (base.numbers["reads_per_call"], head.injected_delay_pct) == (0, 30.0)
    assert 0 < head.numbers["reads_per_call"] < 1


def test_each_round_is_torn_down(tmp_path: Path) -> None:
    suite = """
        def test_add(benchmark):
            added, sizes = [], set()

            def teardown(*given):
                sizes.add(len(added))
                added.clear()

            benchmark.pedantic(added.append, args=(1,), teardown=teardown)
            # That of a call alone, and that of a round.
            assert added == [] and len(sizes) <= 2, sizes
    """
    pair = _pair(tmp_path, suite)
    for run in (pair.base, pair.head):
        assert [record.validity for record in run.records] == ["valid"], run.failed


def test_a_fixture_around_pytest_benchmark_s_is_timed(tmp_path: Path) -> None:
    fixture = """
        import pytest

        @pytest.fixture
        def timed(benchmark):
            benchmark.group = "by the project"
            return lambda call: benchmark.pedantic(call, rounds=2, iterations=5)
    """
    pair = _pair(tmp_path, "def test_sum(timed):\n    timed(lambda: sum(range(10)))\n", **{"conftest.py": fixture})
    assert [(record.group, len(record.slots_s)) for record in pair.head.records] == [("by the project", PLAN.slots)]
