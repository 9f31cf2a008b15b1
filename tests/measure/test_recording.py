"""Tests of `--rnn-facts`: what benchmarks of any suite have beside their times, and that they are measured as without it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from rnncore.measure.disturbance import open_sources
from rnncore.runfile.journal import newest_journal, recover
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Run
from rnncore.runfile.slots import ENVIRONMENT, IMPORTS, MEMORY, ORDER, PAIR, SLOT_S
from tests.measure.test_harness import FOREIGN_FIXTURE
from tests.measure.test_plugin import PROJECT as OURS
from tests.run_files import content_of

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).parents[2]

QUICK = ("-p", "no:cacheprovider", "--tb=short", "--benchmark-max-time=0.01", "--benchmark-min-rounds=12")

SUITE = """
import time

import pytest
from packaging.requirements import Requirement


class Odd:
    def __repr__(self):
        return "Odd()"


def test_sum(benchmark):
    assert benchmark(sum, range(10)) == 45


@pytest.mark.parametrize("count", [10, 20])
class TestOfAClass:
    def test_sorted(self, benchmark, count):
        benchmark.group = "sorting"
        benchmark.extra_info["count"] = count
        assert benchmark(sorted, range(count)) == [*range(count)]


def test_prepared(benchmark):
    events = []

    def setup():
        events.append("setup")
        return ([1],), {"at": 0}

    def pop(values, at):
        events.append("call")
        return values.pop(at)

    def teardown(values, at):
        events.append("teardown")

    assert benchmark.pedantic(pop, setup=setup, teardown=teardown, rounds=70, warmup_rounds=2) == 1
    assert events == ["setup", "call", "teardown"] * 72
    assert len(benchmark.stats.stats.data) == 70


def test_together(benchmark):
    calls = []
    benchmark.pedantic(calls.append, (1,), rounds=12, iterations=10)
    assert len(calls) == 121


def test_slow_at_first(benchmark):
    calls = []

    def run():
        calls.append(None)
        time.sleep(0.2 if len(calls) == 1 else 0.001)

    benchmark(run)


def test_records(benchmark):
    benchmark.extra_info.update(rnncore="a word", phase="infer", validity="odd", steady=3, odd=Odd(), nan=float("nan"))
    benchmark(int)
    assert list(benchmark.extra_info) == ["rnncore", "phase", "validity", "steady", "odd", "nan"]


@pytest.mark.benchmark(disable_gc=True, min_rounds=14, timer=time.process_time)
def test_with_options_of_its_own(benchmark):
    benchmark(int)


def test_asks_as_it_runs(request):
    request.getfixturevalue("benchmark")(int)


def test_delayed(benchmark):
    assert benchmark(sum, range(10_000)) == 49995000


def test_raises(benchmark):
    benchmark(lambda: 1 / 0)


def test_wrong(benchmark):
    assert benchmark(int) == 1


def test_takes_too_long(benchmark):
    benchmark(time.sleep, 60)


def test_skipped(benchmark):
    pytest.skip("not today")


def test_unused(benchmark):
    pass


def test_plain():
    pass
"""

needs_alarm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no SIGALRM here")

# py-cpuinfo takes seconds.
CONFTEST = "import pytest_benchmark.plugin\n\npytest_benchmark.plugin.get_cpu_info = dict\n"


def _pytest(folder: Path, *args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *QUICK, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False, env=env)


def _project(folder: Path, suite: str) -> Path:
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "test_it.py").write_text(suite, encoding="utf-8")
    return folder


def _run_file(folder: Path) -> Path:
    (path,) = folder.glob(".benchmarks/*/0*.json")
    return path


def _journals(folder: Path) -> list[Path]:
    return list(folder.glob(".benchmarks/journal/*"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a session with facts saved of a suite that knows nothing of rnncore."""
    folder = _project(tmp_path_factory.mktemp("suite"), SUITE)
    args = ("--rnn-facts", "--benchmark-autosave", "--rnn-case-timeout=5", "--rnn-delay=50:*test_delayed")
    done = _pytest(folder, *args)
    assert done.returncode == 1, done.stdout + done.stderr
    path = _run_file(folder)
    return {"run": read_run(path), "content": content_of(path), "output": done.stdout, "folder": folder}


def _record(run: Run, name: str) -> Record:
    (record,) = (record for record in run.records if record.short_name == name)
    return record


def _entry(saved: dict[str, Any], name: str) -> dict[str, Any]:
    (entry,) = (entry for entry in saved["content"]["benchmarks"] if entry["name"] == name)
    return dict(entry)


MEASURED = (
    *("test_sum", "TestOfAClass::test_sorted[10]", "TestOfAClass::test_sorted[20]", "test_prepared", "test_together"),
    *("test_slow_at_first", "test_records", "test_with_options_of_its_own", "test_asks_as_it_runs", "test_delayed"),
)

# What is seen of every benchmark, or the reason why not.
SEEN = ("first_call_s", "disturbed_rounds", "disturbance", "steady", "percentiles")


def test_every_benchmark_of_the_suite_is_in_the_file_with_facts_and_none_has_a_case(saved) -> None:
    assert [record.short_name for record in saved["run"].records] == [*MEASURED, "test_wrong"]
    for record in saved["run"].records:
        assert not record.has_case
        for key in SEEN:
            assert record.facts.get(key) is not None or record.why(key), f"{record.short_name} is silent on {key}"


def test_an_autosaved_file_holds_every_raw_round(saved) -> None:
    for entry in saved["content"]["benchmarks"]:
        rounds_s = entry["stats"]["data"]
        assert (len(rounds_s), min(rounds_s), max(rounds_s)) == (
            entry["stats"]["rounds"],
            entry["stats"]["min"],
            entry["stats"]["max"],
        )


def test_what_the_suite_records_stays_as_pytest_benchmark_writes_it(saved) -> None:
    entry = _entry(saved, "test_records")
    theirs = entry["extra_info"]
    assert list(theirs) == ["rnncore", "phase", "validity", "steady", "odd", "nan"]
    assert theirs["rnncore"] == "a word"
    assert theirs["odd"] == "UNSERIALIZABLE[Odd()]"
    assert theirs["nan"] != theirs["nan"]
    assert _entry(saved, "test_sorted[10]")["extra_info"]["count"] == 10


def test_words_of_the_suite_s_own_are_not_taken_for_facts(saved) -> None:
    record = _record(saved["run"], "test_records")
    assert (record.phase, record.is_valid, record.numbers) == (None, True, {"steady": 3.0})
    assert record.disturbed_rounds is not None


def test_the_options_of_pytest_benchmark_are_those_of_the_suite(saved) -> None:
    options = _entry(saved, "test_with_options_of_its_own")["options"]
    assert (options["disable_gc"], options["min_rounds"], options["timer"]) == (True, 14, "process_time")
    assert _entry(saved, "test_sum")["options"]["timer"] == "perf_counter"
    assert _record(saved["run"], "TestOfAClass::test_sorted[10]").group == "sorting"


def test_disturbed_rounds_are_counted_by_cause(saved) -> None:
    looked_for, missing = open_sources("cpu")
    for source in looked_for:
        source.close()
    for record in saved["run"].records:
        found = record.disturbance
        assert found is not None
        assert found["not_looked_for"].keys() == missing.keys()
        assert found["causes"].keys() <= {source.cause for source in looked_for}
        flagged = [index for first, last in found["spans"] for index in range(first, last + 1)]
        assert record.disturbed_rounds == len(flagged) <= record.rounds


def test_the_first_call_is_the_first_that_pytest_benchmark_makes(saved) -> None:
    record = _record(saved["run"], "test_slow_at_first")
    assert record.first_call_s is not None
    assert record.first_call_s >= 0.2 > record.median_s
    together = _record(saved["run"], "test_together")
    assert (together.first_call_s, together.why("first_call_s")) == (None, "the first call was timed together with others")


def test_percentiles_are_those_of_single_calls_alone(saved) -> None:
    single, together = _record(saved["run"], "test_prepared").percentiles, _record(saved["run"], "test_together").percentiles
    assert single is not None
    assert single["p90"]["s"] >= single["p50"]["s"] > 0
    assert single["p99_why"] == "n=70 is too few for p99, 662 needed"
    assert together is not None
    assert together["p50_why"] == "a round is the mean of 10 calls, and hides the slow ones"


def test_a_delay_is_in_the_calls_and_said_and_the_result_is_the_function_s(saved) -> None:
    assert _record(saved["run"], "test_delayed").injected_delay_pct == 50.0
    assert _record(saved["run"], "test_sum").injected_delay_pct is None


@needs_alarm
def test_what_has_no_result_is_listed_with_the_reason(saved) -> None:
    assert {name.split("::")[-1]: (outcome, why) for name, outcome, why in saved["run"].failed} == {
        "test_raises": ("error", "ZeroDivisionError: division by zero"),
        "test_takes_too_long": ("timed out", "CaseTimeout: took longer than 5 s (--rnn-case-timeout)"),
    }
    assert {name.split("::")[-1]: why for name, why in saved["run"].skipped} == {
        "test_skipped": "not today",
        "test_unused": "it timed nothing",
    }


def test_a_benchmark_that_fails_after_it_was_timed_is_wrong(saved) -> None:
    record = _record(saved["run"], "test_wrong")
    assert (record.is_valid, record.validity) == (False, "failed after it was timed: AssertionError: assert 0 == 1")


def test_the_file_tells_the_machine_its_load_and_the_command(saved) -> None:
    run = saved["run"]
    assert {"cpu", "cpus", "memory_bytes", "isa", "governor", "affinity"} <= run.fingerprint.keys()
    assert run.fingerprint["packages"]["pytest-benchmark"] == metadata.version("pytest-benchmark")
    assert {"load_1min", "cpu_pressure_pct"} <= run.session["conditions"].keys()
    assert run.command[:2] == ("pytest", "-p")
    assert run.session["overhead"]["timed_s"] > 0


def test_the_session_says_what_it_cost_and_leaves_no_journal(saved) -> None:
    assert " s were timed rounds and " in saved["output"]
    assert "trainings" not in saved["output"]
    assert _journals(saved["folder"]) == []


def test_an_error_in_a_benchmark_is_shown_without_a_line_of_rnncore(saved) -> None:
    assert "ZeroDivisionError: division by zero" in saved["output"]
    assert "rnncore/measure" not in saved["output"].replace("rnncore/measure/timeout.py", "")


def test_the_setting_does_the_same_as_the_option(pytester: pytest.Pytester) -> None:
    _project(pytester.path, "def test_sum(benchmark):\n    benchmark(sum, range(10))\n")
    pytester.makeini("[pytest]\nrnn_facts = true\n")
    pytester.runpytest_inprocess(*QUICK, "--benchmark-autosave").assert_outcomes(passed=1)
    (record,) = read_run(_run_file(pytester.path)).records
    assert record.disturbed_rounds is not None


@pytest.mark.parametrize(
    "args", [("--benchmark-disable",), ("--benchmark-skip",), ("--collect-only",), ("-p", "no:benchmark")]
)
def test_where_nothing_is_timed_the_option_changes_nothing(args: tuple[str, ...], pytester: pytest.Pytester) -> None:
    _project(pytester.path, "def test_sum(benchmark):\n    benchmark(sum, range(10))\n\n\ndef test_plain():\n    pass\n")
    outcomes = [
        pytester.runpytest_inprocess("-p", "no:cacheprovider", *args, *facts).parseoutcomes()
        for facts in ((), ("--rnn-facts",))
    ]
    assert outcomes[0] == outcomes[1]
    assert not (pytester.path / ".benchmarks" / "journal").exists()


def test_benchmarks_of_ours_in_the_same_session_have_their_own_facts(project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=OURS, test_it="def test_sum(benchmark):\n    benchmark(sum, range(10))\n")
    args = (*QUICK, "--rnn-threads=1", "--rnn-device=cpu", "--rnn-facts", "--benchmark-autosave")
    project.runpytest_inprocess(*args).assert_outcomes(passed=5)
    run = read_run(_run_file(project.path))
    assert [record.has_case for record in run.records] == [False, True, True, True, True]
    assert all(record.disturbed_rounds is not None for record in run.records)
    assert run.fingerprint["threads"] == 1


def test_a_fixture_that_a_project_puts_around_is_watched_once(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "import pytest\n\n\n@pytest.fixture\ndef benchmark(benchmark):\n    benchmark.group = 'ours'\n    return benchmark\n"
    )
    pytester.makepyfile("def test_sum(benchmark):\n    assert benchmark(sum, range(10)) == 45\n")
    pytester.runpytest_inprocess(*QUICK, "--rnn-facts", "--benchmark-autosave").assert_outcomes(passed=1)
    (record,) = read_run(_run_file(pytester.path)).records
    assert (record.group, record.disturbed_rounds is None) == ("ours", False)


def test_a_fixture_of_another_plugin_in_its_place_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(FOREIGN_FIXTURE)
    pytester.makepyfile("def test_sum(benchmark):\n    assert benchmark(sum, range(10)) == 45\n")
    pytester.runpytest_inprocess(*QUICK, "--rnn-facts", "--benchmark-autosave").assert_outcomes(passed=1)


def test_a_project_that_copies_what_its_benchmarks_record_keeps_them_and_their_facts(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        "def pytest_benchmark_update_json(config, benchmarks, output_json):\n"
        "    for entry in output_json['benchmarks']:\n"
        "        entry['extra_info'] = {**entry['extra_info'], 'host': 'mine'}\n"
    )
    pytester.makepyfile("def test_sum(benchmark):\n    benchmark(sum, range(10))\n")
    pytester.runpytest_inprocess(*QUICK, "--rnn-facts", "--benchmark-autosave").assert_outcomes(passed=1)
    (entry,) = content_of(_run_file(pytester.path))["benchmarks"]
    assert entry["extra_info"]["host"] == "mine"
    assert entry["extra_info"]["rnncore"]["disturbed_rounds"] >= 0
    assert len(entry["stats"]["data"]) == entry["stats"]["rounds"]


# --------------------------------------------------------------------------------------------------- broken-off runs

# A session that ends in the middle of its third benchmark, in which BAD_END is how. JSON has no key that is a tuple.
BROKEN_OFF = """
import os, signal, time

import pytest
from packaging.requirements import Requirement


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_mine(benchmark, number):
    benchmark.extra_info.update({"number": number, "validity": "odd"})
    if number == 2:
        benchmark.extra_info[(1, 2)] = "a tuple"

    def run():
        time.sleep(0.001)
        if number == 3:
            BAD_END

    benchmark(run)
    benchmark.extra_info.pop((1, 2), None) if os.environ.get("POP") else None
"""
FINISHED = ["test_it.py::test_mine[1]", "test_it.py::test_mine[2]"]


@pytest.fixture
def broken_off(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the session in the temporary folder."""

    def run(bad_end: str, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        _project(tmp_path, BROKEN_OFF.replace("BAD_END", bad_end))
        return _pytest(tmp_path, "--rnn-facts", *args, env={**os.environ, **variables})

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_session_is_recovered_with_what_was_seen_even_of_what_json_cannot_hold(broken_off, tmp_path: Path) -> None:
    done = broken_off("os.kill(os.getpid(), signal.SIGKILL)", "--benchmark-autosave")
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    recovered = recover(newest_journal(tmp_path / ".benchmarks" / "journal"))
    assert recovered.failed == (("test_it.py::test_mine[3]", "died"),)
    run = read_run(recovered.path)
    assert [record.fullname for record in run.records] == FINISHED
    assert [record.numbers for record in run.records] == [{"number": 1.0}, {"number": 2.0}]
    assert all(record.disturbed_rounds is not None and len(record.rounds_s) >= 12 for record in run.records)


def test_an_interrupted_session_is_resumed_where_it_was_cut_off(broken_off, tmp_path: Path) -> None:
    assert broken_off("raise KeyboardInterrupt").returncode == pytest.ExitCode.INTERRUPTED
    done = broken_off("pass", "--rnn-resume", "--benchmark-autosave", POP="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Resumed: 2 benchmarks were finished before." in done.stdout
    assert "2 passed, 2 deselected" in done.stdout
    run = read_run(_run_file(tmp_path))
    assert [record.numbers["number"] for record in run.records] == [1.0, 2.0, 3.0, 4.0]
    assert all(record.disturbed_rounds is not None for record in run.records)
    assert _journals(tmp_path) == []


# A session whose benchmarks are finished when it is broken off; in the next one the last of them cannot be begun again.
ALL_FINISHED = """
import os

import pytest


@pytest.fixture
def place():
    if "SKIP" in os.environ:
        pytest.skip("no place here")


def test_begin():
    assert "FAIL" not in os.environ
    if "STOP" in os.environ:
        raise KeyboardInterrupt


@pytest.mark.parametrize("number", [1, 2])
def test_mine(benchmark, number):
    benchmark(len, "text")


def test_unlike(benchmark, place):
    if "BREAK" in os.environ:
        raise KeyboardInterrupt
    benchmark(len, "text")


def test_end():
    pass
"""
ALL = ["test_it.py::test_mine[1]", "test_it.py::test_mine[2]"]


@pytest.fixture(scope="module")
def broken_off_at_the_last(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of a session that was broken off after its first two benchmarks."""
    folder = _project(tmp_path_factory.mktemp("finished"), ALL_FINISHED)
    done = _pytest(folder, "--rnn-facts", env={**os.environ, "BREAK": "1"})
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    return folder


@pytest.fixture
def all_finished(broken_off_at_the_last: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that goes on with such a session in the temporary folder."""
    # Compiled tests would name the files of the other folder.
    shutil.copytree(broken_off_at_the_last, tmp_path, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)

    def run(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return _pytest(tmp_path, "--rnn-facts", "--rnn-resume", *args, env={**os.environ, **variables})

    return run


@pytest.mark.parametrize("chosen", [("-k", "mine"), ("-k", "mine or end"), (*ALL,)], ids=["none left", "a test", "named"])
def test_a_session_of_which_all_was_finished_is_saved_and_ends_well(
    chosen: tuple[str, ...], all_finished, tmp_path: Path
) -> None:
    done = all_finished("--benchmark-autosave", "--benchmark-json=run.json", *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Resumed: 2 benchmarks were finished before, and none was left." in done.stdout
    assert "Not saving anything" not in done.stdout + done.stderr
    for path in (_run_file(tmp_path), tmp_path / "run.json"):
        run = read_run(path)
        assert [record.fullname for record in run.records] == ALL
        assert all(len(record.rounds_s) >= 12 and record.disturbed_rounds is not None for record in run.records)
        assert run.session["resumed"]["benchmarks"] == 2
        assert run.fingerprint["cpu"]
    assert _journals(tmp_path) == []


def test_a_session_of_which_all_was_finished_and_that_is_not_to_be_saved_says_where_it_is(
    all_finished, tmp_path: Path
) -> None:
    (journal,) = _journals(tmp_path)
    done = all_finished("-k", "mine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"No run file was asked for; 'rnncore recover .*{re.escape(journal.name)}' makes one\.", done.stdout)
    assert [record.fullname for record in read_run(recover(journal).path).records] == ALL


def test_where_what_is_left_times_nothing_what_was_finished_before_is_saved_all_the_same(
    all_finished, tmp_path: Path
) -> None:
    done = all_finished("--benchmark-autosave", SKIP="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Resumed: 2 benchmarks were finished before.\n" in done.stdout
    run = read_run(_run_file(tmp_path))
    assert [record.fullname for record in run.records] == ALL
    assert run.skipped == (("test_it.py::test_unlike", "no place here"),)


@pytest.mark.parametrize("limit", ["-x", "--maxfail=1"])
def test_a_session_that_ends_at_a_failure_before_what_is_left_can_still_be_resumed(
    limit: str, all_finished, tmp_path: Path
) -> None:
    done = all_finished("--benchmark-autosave", limit, FAIL="1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert len(_journals(tmp_path)) == 1
    assert "Resumed: 2 benchmarks were finished before.\n" in done.stdout
    done = all_finished("--benchmark-autosave", limit)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [record.fullname for record in read_run(_run_file(tmp_path)).records] == [*ALL, "test_it.py::test_unlike"]


@pytest.mark.parametrize("way", ["--collect-only", "--benchmark-skip", "--benchmark-disable", ""])
def test_a_session_that_did_not_try_what_is_left_does_not_say_that_none_was(way: str, all_finished, tmp_path: Path) -> None:
    done = all_finished(way, "--benchmark-autosave") if way else all_finished(STOP="1")
    assert "Resumed: 2 benchmarks were finished before.\n" in done.stdout, done.stdout + done.stderr
    assert "No run file was asked for" not in done.stdout
    assert len(_journals(tmp_path)) == 1


def test_a_choice_of_nothing_is_not_taken_for_all_finished(all_finished, tmp_path: Path) -> None:
    done = all_finished("--benchmark-autosave", "-k", "nothing")
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    assert len(_journals(tmp_path)) == 1


def test_a_session_that_would_record_nothing_is_not_resumed(broken_off, tmp_path: Path) -> None:
    broken_off("raise KeyboardInterrupt")
    done = _pytest(tmp_path, "--rnn-resume")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--rnn-resume: no benchmark of this session would be recorded. Give --rnn-facts too." in done.stderr
    assert len(_journals(tmp_path)) == 1


# After the first call and the calibration.
IN_A_ROUND = "run.calls = getattr(run, 'calls', 0) + 1; _ = run.calls > 8 and (_ for _ in ()).throw(KeyboardInterrupt)"


def test_a_benchmark_that_broke_off_is_listed_as_such_and_not_taken_for_one_with_few_rounds(
    broken_off, tmp_path: Path
) -> None:
    done = broken_off(IN_A_ROUND, "--benchmark-autosave", POP="1")
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    run = read_run(_run_file(tmp_path))
    assert [record.fullname for record in run.records] == FINISHED
    assert [outcome for _, outcome, _ in run.failed] == ["error"]


# ------------------------------------------------------------------------------------------------------ two of one name


def test_two_benchmarks_of_one_name_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
        (tmp_path / part / "test_a.py").write_text("def test_b(benchmark):\n    benchmark(int)\n", encoding="utf-8")
    done = _pytest(tmp_path, "--rnn-facts", "--benchmark-json=run.json", "one", "two")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert f"test_a.py::test_b: two benchmarks have this name, in {tmp_path / 'one' / 'test_a.py'} and in" in done.stderr
    assert not (tmp_path / "run.json").exists()
    # Of the root that the message names each has a name of its own; one that is there twice is one benchmark.
    again = ("--keep-duplicates", "--rootdir=.", "--import-mode=importlib")
    done = _pytest(tmp_path, "--rnn-facts", "--benchmark-json=run.json", "one", "two", "one", *again)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(record.fullname for record in read_run(tmp_path / "run.json").records) == [
        "one/test_a.py::test_b",
        "two/test_a.py::test_b",
    ]


# ------------------------------------------------------------------------------------------------------- an empty room


def _needed_by(name: str) -> set[str]:
    """Return a distribution and all that it needs here."""
    found, waiting = set(), [name]
    while waiting:
        found.add(one := waiting.pop())
        needed = [Requirement(text) for text in metadata.requires(one) or ()]
        waiting += [need.name for need in needed if not need.marker or need.marker.evaluate({"extra": ""})]
    return found


LOADED = """
import json, sys


def pytest_unconfigure():
    with open("loaded.json", "w") as file:
        json.dump(sorted(sys.modules), file)
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that has pytest and pytest-benchmark alone."""
    folder = tmp_path_factory.mktemp("bare")
    for name in _needed_by("pytest-benchmark"):
        for file in metadata.files(name) or ():
            top = file.parts[0]
            if top != ".." and not (folder / top).exists():
                (folder / top).symlink_to(Path(str(metadata.distribution(name).locate_file(top))))
    return folder


def _in_bare(
    bare: Path, folder: Path, *args: str, pass_fds: tuple[int, ...] = (), **variables: str
) -> subprocess.CompletedProcess[str]:
    (folder / "sources").mkdir(exist_ok=True)
    if not (folder / "sources" / "rnncore").exists():
        (folder / "sources" / "rnncore").symlink_to(REPOSITORY / "rnncore")
    # Without what is installed beside this interpreter.
    command = [sys.executable, "-S", "-m", "pytest", "-p", "rnncore.measure.plugin", *QUICK, *args]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder / "sources", bare))), **variables}
    limits: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 100, "check": False}
    return subprocess.run(command, cwd=folder, env=env, pass_fds=pass_fds, **limits)


HEAVY = {"torch", "numpy", "scipy", "pandas", "onnxruntime", "pynvml", "orjson", "rich", "typer"}


def test_pytest_and_pytest_benchmark_are_all_that_facts_need(bare: Path, tmp_path: Path) -> None:
    _project(tmp_path, SUITE.split("def test_raises")[0])
    (tmp_path / "conftest.py").write_text(CONFTEST + LOADED, encoding="utf-8")
    done = _in_bare(bare, tmp_path, "--rnn-facts", "--benchmark-autosave", "-W", "error")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not HEAVY & set(json.loads((tmp_path / "loaded.json").read_text(encoding="utf-8")))
    run = read_run(_run_file(tmp_path))
    assert [record.short_name for record in run.records] == [*MEASURED]
    assert all(record.steady is not None or record.why("steady") for record in run.records)
    assert run.session["conditions"]["gpu_why"].startswith("no nvidia-ml-py")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows hands no pipes on")
def test_pytest_and_pytest_benchmark_are_all_that_slots_need(bare: Path, tmp_path: Path) -> None:
    _project(tmp_path, "def test_sum(benchmark):\n    assert benchmark(sum, range(10)) == 45\n")
    (tmp_path / "conftest.py").write_text(CONFTEST + LOADED, encoding="utf-8")
    (asked, asks), (heard, answers) = os.pipe(), os.pipe()
    # All that a process that drives this one would say: import nothing, time one benchmark in one slot, and end.
    told = [{IMPORTS: []}, {ORDER: ["test_it.py::test_sum"], PAIR: 0, MEMORY: False}, {SLOT_S: 0.001}, {}]
    os.write(asks, "".join(json.dumps(line) + "\n" for line in told).encode())
    variables = {ENVIRONMENT: f"{asked},{answers}"}
    done = _in_bare(bare, tmp_path, "--benchmark-json=run.json", pass_fds=(asked, answers), **variables)
    for pipe in (asked, asks, heard, answers):
        os.close(pipe)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not HEAVY & set(json.loads((tmp_path / "loaded.json").read_text(encoding="utf-8")))
    (record,) = read_run(tmp_path / "run.json").records
    assert len(record.slots_s) == 1


def test_facts_load_nothing_heavy_where_it_is_installed(tmp_path: Path) -> None:
    _project(tmp_path, "def test_sum(benchmark):\n    benchmark(sum, range(10))\n")
    (tmp_path / "conftest.py").write_text(CONFTEST + LOADED, encoding="utf-8")
    done = _pytest(tmp_path, "--rnn-facts", "--benchmark-autosave", "-p", "no:hypothesispytest")
    assert done.returncode == 0, done.stdout + done.stderr
    # What asks the driver of a GPU is there to be asked.
    assert not (HEAVY - {"pynvml"}) & set(json.loads((tmp_path / "loaded.json").read_text(encoding="utf-8")))
