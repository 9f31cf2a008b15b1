"""Tests of what is said beside `--benchmark-compare` and `--benchmark-compare-fail`: each line where it holds, once."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Imported here, so that a session that pytester runs inside this process does not load it a second time.
import scipy.stats  # noqa: F401

from rnncore.measure import rates
from rnncore.measure.advice import NOISE, Base, differences, dropped_gates, not_compared, set_aside_volatile
from rnncore.measure.fingerprint import fingerprint

pytest_plugins = ["pytester"]

# pytest-benchmark calls a base of another machine different, and prints all that it knows of it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest_benchmark.logger.PytestBenchmarkWarning")
DIFFERENT = "machine_info is different"

FOREIGN = """
import time


def test_one(benchmark):
    benchmark.pedantic(time.sleep, (0.001,), rounds=3)


def test_two(benchmark):
    benchmark.pedantic(int, rounds=3)
"""

OURS = """
import pytest

from rnncore.runfile.case import Case


@pytest.mark.rnn_cases(choose=lambda scale: [Case("infer", cell, 8, 1, 4, batch_size=1) for cell in ("gru", "lstm")])
def test_mine(rnn_case, rnn_benchmark):
    rnn_benchmark(lambda: sum(range(2000)), windows=1, group="mine")
    rnn_benchmark.record(validity="valid")
"""

SHORT_CEILINGS = {
    "MEASURED_S": 0.001,
    "CONFIRMED_WITHIN_S": 0.001,
    "PEAK_CALL_S": 1e-5,
    "SQUARE_SIZES": {"cpu": (64,), "gpu": (64,)},
    "COPIED_BYTES": {"cpu": 1 << 20, "gpu": 1 << 20},
}

QUICK = ("-p", "no:cacheprovider", "--tb=short", "--rnn-threads=1")
QUICK += ("--benchmark-max-time=0.01", "--benchmark-min-rounds=3", "--benchmark-warmup=off")
COMPARE = (*QUICK, "--benchmark-compare=0001")

# Of benchmarks of other suites only where facts are wanted.
WITH_FACTS = "--rnn-facts"
NOT_COMPARED, DROPPING = "Not compared", "Only the last --benchmark-compare-fail"

MACHINE, SETTINGS = "on another machine", "with other settings or software"
# What some line of ours says, and pytest-benchmark does not.
SIGNS = (MACHINE, SETTINGS, NOT_COMPARED, "One process per side", DROPPING)

CPU = {"brand_raw": "Made CPU", "count": 2}


@pytest.fixture
def foreign(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a user's own benchmarks and their base 0001."""
    monkeypatch.setattr("pytest_benchmark.plugin.get_cpu_info", lambda: dict(CPU))
    pytester.makepyfile(test_it=FOREIGN)
    pytester.runpytest_inprocess(*QUICK, "--benchmark-save=base").assert_outcomes(passed=2)
    return pytester


@pytest.fixture
def ours(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with benchmarks of rnncore and their base 0001."""
    for name, value in SHORT_CEILINGS.items():
        monkeypatch.setattr(rates, name, value)
    monkeypatch.setattr("rnncore.measure.row.WARM_UP_S", 0.02)
    monkeypatch.setattr("pytest_benchmark.plugin.get_cpu_info", lambda: dict(CPU))
    pytester.makepyfile(test_it=OURS)
    pytester.runpytest_inprocess(*QUICK, "--benchmark-save=base").assert_outcomes(passed=2)
    return pytester


def _change_base(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the base 0001 as *change* does."""
    (path,) = folder.glob(".benchmarks/*/0001_base.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _hundred_times_faster(content: dict[str, Any]) -> None:
    for entry in content["benchmarks"]:
        for figure in ("min", "max", "mean", "median"):
            entry["stats"][figure] /= 100


def _said(result: pytest.RunResult, *signs: str) -> list[str]:
    """Return the lines of the screen that hold any of the signs, by default any of ours."""
    return [line for line in result.outlines if any(sign in line for sign in signs or SIGNS)]


# A session without our plugin.
OFF = ("-p", "no:rnncore")


def _run(folder: Path, *args: str) -> tuple[int, str]:
    """Return exit code and screen, both streams as they mix, of a session in a process of its own."""
    command = [sys.executable, "-u", "-m", "pytest", "-p", "no:cacheprovider", *args]
    both = subprocess.STDOUT
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=both, text=True, timeout=100, check=False)
    return done.returncode, done.stdout


# ------------------------------------------------------------------------------------------------ where nothing is said


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--benchmark-compare=0001",),
        ("--benchmark-compare=0001", "--benchmark-compare-fail=min:100000%"),
        ("--benchmark-compare=0001", "--benchmark-disable", "-k", "one"),
        ("--benchmark-compare=0001", "--benchmark-skip"),
        ("--benchmark-compare=0001", "--collect-only"),
    ],
    ids=["plain", "alike", "gated", "disabled", "skipped", "collected"],
)
def test_nothing_is_said_where_nothing_misleads(args: tuple[str, ...], foreign: pytest.Pytester) -> None:
    assert _said(foreign.runpytest_inprocess(*QUICK, *args)) == []


@pytest.mark.parametrize("gate", [(), ("--benchmark-compare-fail=min:5%", "--benchmark-compare-fail=mean:100000%")])
def test_nothing_is_said_of_other_suites_that_want_no_facts(gate: tuple[str, ...], foreign: pytest.Pytester) -> None:
    _change_base(foreign.path, lambda content: content["machine_info"]["cpu"].update(brand_raw="Other CPU", count=64))
    assert _said(foreign.runpytest_inprocess(*COMPARE, "-k", "one", *gate)) == []


@pytest.mark.parametrize("args", [(), ("--benchmark-compare=0001", "--benchmark-disable")], ids=["plain", "disabled"])
def test_nothing_is_said_of_our_benchmarks_without_a_comparison(args: tuple[str, ...], ours: pytest.Pytester) -> None:
    _change_base(ours.path, lambda content: content["rnncore"]["fingerprint"].update(cpu="Other CPU"))
    assert _said(ours.runpytest_inprocess(*QUICK, *args)) == []


@pytest.mark.parametrize("gate", [(), ("--benchmark-compare-fail=min:5%",)], ids=["shown", "gated"])
def test_a_base_that_is_not_there_is_left_to_pytest_benchmark(gate: tuple[str, ...], foreign: pytest.Pytester) -> None:
    code, screen = _run(foreign.path, "--benchmark-compare=0009", *gate)
    code_without, _ = _run(foreign.path, "--benchmark-compare=0009", *gate, *OFF)
    assert code == code_without
    assert not any(sign in screen for sign in SIGNS)
    assert re.search("Can't compare. No benchmark files in .* match '0009'", screen)


def test_a_session_without_pytest_benchmark_has_nothing_to_say(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_plain():\n    pass\n")
    result = pytester.runpytest_subprocess("-p", "no:benchmark", "-p", "no:cacheprovider")
    assert (result.ret, _said(result)) == (0, [])


# -------------------------------------------------------------------------------- pytest-benchmark's own comparison

OTHER_CLOCK = f"""
import pytest_benchmark.plugin

hz = __import__("time").time_ns()
pytest_benchmark.plugin.get_cpu_info = lambda: dict({CPU!r}, hz_actual=[hz, 0], hz_actual_friendly=f"{{hz}} Hz")
"""
# Of ours alone: others load no torch.
SHORT = f"""
from rnncore.measure import rates
from rnncore.measure import row as benchmark

benchmark.WARM_UP_S = 0.02
for name, value in {SHORT_CEILINGS!r}.items():
    setattr(rates, name, value)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a session of ours saved, on a machine whose clock is another at each look."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "conftest.py").write_text(OTHER_CLOCK + SHORT)
    (folder / "test_it.py").write_text(OURS)
    code, screen = _run(folder, *QUICK, "--benchmark-save=base")
    assert code == 0, screen
    (path,) = folder.glob(".benchmarks/*/0001_base.json")
    return path.read_text(encoding="utf-8")


def _as_0_1_wrote(content: dict[str, Any]) -> None:
    for fact in ("fingerprint", "conditions", "ceilings"):
        content["machine_info"][fact] = content["rnncore"].pop(fact)


def _other_brand(content: dict[str, Any]) -> None:
    content["machine_info"]["cpu"]["brand_raw"] = "Other CPU"


def _as_it_is(content: dict[str, Any]) -> None:
    pass


@pytest.fixture
def compared(base: str, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """A function that runs a session that is compared with the base, changed, and returns exit code and screen."""

    def run(tests: str, change: Callable[[dict[str, Any]], None], *args: str) -> tuple[int, str]:
        (tmp_path / "conftest.py").write_text(OTHER_CLOCK + (SHORT if tests == OURS else ""))
        (tmp_path / "test_it.py").write_text(tests)
        (tmp_path / ".benchmarks").mkdir()
        content = json.loads(base)
        change(content)
        (tmp_path / ".benchmarks" / "0001_base.json").write_text(json.dumps(content))
        return _run(tmp_path, *COMPARE, *args)

    return run


@pytest.mark.parametrize("change", [_as_it_is, _as_0_1_wrote], ids=["of now", "of rnncore 0.1"])
@pytest.mark.parametrize("tests", [OURS, FOREIGN], ids=["ours", "others"])
@pytest.mark.parametrize("args", [(), ("-W", "error")], ids=["plain", "warnings are errors"])
def test_on_the_same_machine_pytest_benchmark_finds_no_other(
    change: Callable[[dict[str, Any]], None], tests: str, args: tuple[str, ...], compared: Callable[..., tuple[int, str]]
) -> None:
    code, screen = compared(tests, change, *args)
    assert DIFFERENT not in screen
    assert code == 0, screen
    assert "2 passed" in screen


@pytest.mark.parametrize("tests", [OURS, FOREIGN], ids=["ours", "others"])
def test_another_machine_is_still_called_different(tests: str, compared: Callable[..., tuple[int, str]]) -> None:
    _, screen = compared(tests, _other_brand)
    assert DIFFERENT in screen


def test_what_is_set_aside_of_a_base_is_what_changes_by_the_minute_and_bases_of_others_are_left_alone() -> None:
    here = {"node": "a", "cpu": {"brand_raw": "A", "hz_actual": [2, 0]}}
    facts = {"fingerprint": {"cpu": "A"}, "ceilings": None}
    machine = {"node": "b", "cpu": {"brand_raw": "A", "hz_actual": [1, 0]}, **facts}
    ours = {"machine_info": machine, "rnncore": {"scale": "full"}}
    set_aside_volatile(here, ours)
    assert ours == {
        "machine_info": {"node": "b", "cpu": {"brand_raw": "A", "hz_actual": [2, 0]}},
        "rnncore": {"scale": "full", **facts},
    }
    of_others = {"machine_info": {"cpu": {"hz_actual": [1, 0]}, "ceilings": "of a user"}}
    before = copy.deepcopy(of_others)
    set_aside_volatile(here, of_others)
    assert of_others == before


# ------------------------------------------------------------------------------------- first, and nothing else changes


def _titles(screen: str) -> list[str]:
    """Return the lines of the table that hold no time."""
    return [line.strip("- ") for line in screen.splitlines() if line.startswith(("---", "Name (time"))]


@pytest.mark.parametrize("load", [(), ("-p", "rnncore")], ids=["after pytest-benchmark", "before it"])
def test_the_lines_come_before_the_table_and_before_a_regression_is_raised(
    load: tuple[str, ...], foreign: pytest.Pytester
) -> None:
    _change_base(foreign.path, _hundred_times_faster)
    gates = ("--benchmark-compare-fail", "min:5%", "--benchmark-compare-fail", "mean:10%")
    args = ("--benchmark-compare=0001", "-k", "one", "--benchmark-columns=min", *gates)
    code, screen = _run(foreign.path, *load, WITH_FACTS, *args)
    code_without, screen_without = _run(foreign.path, *args, *OFF)
    assert code == code_without == 1
    assert _titles(screen) == _titles(screen_without) != []
    order = ["Only the last --benchmark-compare-fail", "Not compared, and passed silently: ", "Name (time in ", "regressed"]
    order += ["PerformanceRegression: "]
    assert [screen.count(text) for text in order[:2]] == [1, 1]
    assert [screen_without.count(text) for text in order[:2]] == [0, 0]
    places = [screen.index(text) for text in order]
    assert places == sorted(places)


def test_a_session_that_passes_says_the_same_and_passes(foreign: pytest.Pytester) -> None:
    gates = ("--benchmark-compare-fail", "min:100000%", "--benchmark-compare-fail", "mean:100000%")
    result = foreign.runpytest_inprocess(*COMPARE, WITH_FACTS, "-k", "one", *gates)
    assert (result.ret, len(_said(result, NOT_COMPARED, DROPPING))) == (0, 2)
    result.stdout.fnmatch_lines(["Only the last *", "Not compared, *", "*Name (time in *"])


# ---------------------------------------------------------------------------------------------------- another machine


def test_other_hardware_is_named_with_the_facts_that_pytest_benchmark_knows(foreign: pytest.Pytester) -> None:
    _change_base(foreign.path, lambda content: content["machine_info"]["cpu"].update(brand_raw="Other CPU", count=64))
    assert _said(foreign.runpytest_inprocess(*COMPARE, WITH_FACTS), MACHINE, SETTINGS) == [
        "The base 0001 was measured on another machine (cpu: Other CPU, here Made CPU; cpus: 64, here 2): "
        "its ratios compare hardware, not code."
    ]


def test_machines_of_which_nothing_is_known_are_not_called_different(foreign: pytest.Pytester) -> None:
    _change_base(foreign.path, lambda content: content["machine_info"].update(cpu={}))
    assert _said(foreign.runpytest_inprocess(*COMPARE, WITH_FACTS), MACHINE, SETTINGS) == []


def test_hardware_is_not_spoken_of_where_nothing_is_compared(foreign: pytest.Pytester) -> None:
    def change(content: dict[str, Any]) -> None:
        content["machine_info"]["cpu"]["count"] = 64
        del content["benchmarks"][1]

    _change_base(foreign.path, change)
    assert _said(foreign.runpytest_inprocess(*COMPARE, WITH_FACTS, "-k", "two"), MACHINE) == []


def test_the_fingerprint_tells_other_hardware_and_the_command_names_both_runs(ours: pytest.Pytester) -> None:
    (here,) = {fingerprint(1)["cpu"]}
    _change_base(ours.path, lambda content: content["rnncore"]["fingerprint"].update(cpu="Other CPU", threads=8))
    assert _said(ours.runpytest_inprocess(*COMPARE, "--benchmark-autosave"), MACHINE, SETTINGS) == [
        f"The base 0001 was measured on another machine (cpu: Other CPU, here {here}): its ratios compare hardware, "
        "not code. Use 'rnncore compare 0001 0002' to see all that differs."
    ]


def test_other_settings_are_not_called_another_machine_and_a_run_that_is_not_saved_has_no_number(
    ours: pytest.Pytester,
) -> None:
    _change_base(ours.path, lambda content: content["rnncore"]["fingerprint"].update(threads=8))
    assert _said(ours.runpytest_inprocess(*COMPARE), MACHINE, SETTINGS) == [
        "The base 0001 was measured with other settings or software (threads: 8, here 1): its ratios compare these too, "
        "not code alone. Use 'rnncore compare 0001 RUN' (RUN is this run, saved with --benchmark-autosave) to see all that "
        "differs."
    ]


def test_a_base_without_a_fingerprint_is_judged_by_its_cpu_and_gets_no_command_that_cannot_read_it(
    ours: pytest.Pytester,
) -> None:
    def change(content: dict[str, Any]) -> None:
        del content["rnncore"]
        content["machine_info"]["cpu"]["count"] = 64

    _change_base(ours.path, change)
    assert _said(ours.runpytest_inprocess(*COMPARE, "--benchmark-autosave"), MACHINE, SETTINGS) == [
        "The base 0001 was measured on another machine (cpus: 64, here 2): its ratios compare hardware, not code."
    ]


def test_runs_outside_the_usual_storage_are_named_by_their_files(ours: pytest.Pytester) -> None:
    _change_base(ours.path, lambda content: content["rnncore"]["fingerprint"].update(cpu="Other CPU"))
    (ours.path / ".benchmarks").rename(ours.path / "kept")
    (file,) = ours.path.glob("kept/*/0001_base.json")
    result = ours.runpytest_inprocess(*COMPARE, "--benchmark-storage=kept", "--benchmark-json=head.json")
    (line,) = _said(result, MACHINE)
    assert line.endswith(f" Use 'rnncore compare {file.relative_to(ours.path)} head.json' to see all that differs.")


FACTS: dict[str, Any] = {
    "cpu": "A",
    "cpus": 2,
    "memory_bytes": 64 * 2**30,
    "packages": {"torch": "2.11.0", "openvino": None},
    "isa": {"avx2": True},
    "governor": None,
    "governor_why": "cannot be read",
    "gpu": {"name": "G", "memory_bytes": 80 * 2**30, "driver": "570", "count": 1},
}


def _facts(**changes: Any) -> dict[str, Any]:
    facts = copy.deepcopy(FACTS)
    for name, value in changes.items():
        if isinstance(value, dict):
            facts[name] |= value
        else:
            facts[name] = value
    return facts


@pytest.mark.parametrize(
    ("changes", "machine", "others"),
    [
        ({}, [], []),
        ({"cpus": 4, "cpu": "B"}, ["cpu: A, here B", "cpus: 2, here 4"], []),
        ({"gpu": {"name": "H", "driver": "580"}}, ["gpu: G, here H"], ["gpu driver: 570, here 580"]),
        ({"gpu": {"memory_bytes": 40 * 2**30}}, ["gpu memory: 80.0 GiB, here 40.0 GiB"], []),
        ({"gpu": {"count": 2}}, ["gpu count: 1, here 2"], []),
        ({"gpu": None, "gpu_why": "no CUDA device"}, ["gpu: G, here none"], []),
        ({"memory_bytes": 64 * 2**30 - 4096}, [], []),
        ({"memory_bytes": 32 * 2**30}, ["memory: 64.0 GiB, here 32.0 GiB"], []),
        ({"isa": {"avx2": False}}, ["isa avx2: yes, here no"], []),
        ({"packages": {"torch": "2.12.0"}}, [], ["torch: 2.11.0, here 2.12.0"]),
        ({"packages": {"openvino": "2025.4"}}, [], ["openvino: none, here 2025.4"]),
        ({"governor": "powersave"}, [], ["governor: none, here powersave"]),
        ({"governor_why": "some other reason"}, [], []),
        ({"fact_of_a_later_version": 1}, [], []),
    ],
)
def test_facts_that_differ_are_told_as_machine_or_as_settings(
    changes: dict[str, Any], machine: list[str], others: list[str]
) -> None:
    assert differences(FACTS, _facts(**changes)) == (machine, others)


def test_this_machine_does_not_differ_from_what_a_file_says_of_it() -> None:
    assert differences(json.loads(json.dumps(fingerprint(1))), fingerprint(1)) == ([], [])


# ------------------------------------------------------------------------------------------------- what is left out


def test_deleted_new_and_deselected_benchmarks_are_counted_and_named(foreign: pytest.Pytester) -> None:
    def change(content: dict[str, Any]) -> None:
        content["benchmarks"][0]["fullname"] = "test_it.py::test_deleted"

    _change_base(foreign.path, change)
    assert _said(foreign.runpytest_inprocess(*COMPARE, WITH_FACTS, "-k", "one")) == [
        "Not compared: 2 benchmarks of the base 0001 that were not timed here (test_deleted, test_two; 1 not run, "
        "1 deselected); 1 benchmark that the base 0001 lacks (test_one)."
    ]


def test_failed_and_skipped_benchmarks_are_told_as_such(foreign: pytest.Pytester) -> None:
    foreign.makepyfile(
        test_it="import pytest\n\n\ndef test_one(benchmark):\n    assert False\n\n\n"
        "def test_two(benchmark):\n    pytest.skip('not today')\n"
    )
    assert _said(foreign.runpytest_inprocess(*COMPARE, WITH_FACTS, "--benchmark-compare-fail=min:5%")) == [
        "Not compared, and passed silently: 2 benchmarks of the base 0001 that were not timed here "
        "(test_one, test_two; 1 failed, 1 skipped)."
    ]


def test_a_gate_that_times_nothing_of_the_base_says_so(foreign: pytest.Pytester) -> None:
    foreign.makepyfile(test_it="def test_plain():\n    pass\n")
    result = foreign.runpytest_inprocess(*COMPARE, WITH_FACTS, "--benchmark-compare-fail=min:5%")
    assert result.ret == 0
    (line,) = _said(result)
    assert line.startswith("Not compared, and passed silently: 2 benchmarks of the base 0001 that were not timed here (")


def test_the_command_lists_what_our_own_runs_do_not_share(ours: pytest.Pytester) -> None:
    result = ours.runpytest_inprocess(*COMPARE, "--benchmark-autosave", "-k", "gru")
    assert _said(result, "Not compared") == [
        "Not compared: 1 benchmark of the base 0001 that was not timed here (test_mine[lstm-torch-cpu-fp32-b1-h8-l1-t4]; "
        "1 deselected). 'rnncore compare 0001 0002' lists them."
    ]


def _base(name: str, *benchmarks: str) -> Base:
    content = {"benchmarks": [{"fullname": f"test_it.py::{benchmark}"} for benchmark in benchmarks]}
    return Base(name, None, content, {})


def _timed(*names: str) -> list[str]:
    return [f"test_it.py::{name}" for name in names]


def test_a_benchmark_that_one_of_several_bases_has_is_compared() -> None:
    bases = [_base("0006", "a"), _base("0007", "b")]
    assert not_compared(bases, _timed("a", "b"), {}, False, None) is None
    line = not_compared(bases, _timed("c"), {}, False, None)
    assert line == (
        "Not compared: 2 benchmarks of the bases 0006 and 0007 that were not timed here (a, b; 2 not run); "
        "1 benchmark that the bases 0006 and 0007 lack (c)."
    )


def test_of_many_benchmarks_the_first_are_named() -> None:
    line = not_compared([_base("0001", "a", "b", "c", "d", "e")], _timed("e"), {}, False, None)
    assert line == "Not compared: 4 benchmarks of the base 0001 that were not timed here (a, b, c, 1 more; 4 not run)."


# -------------------------------------------------------------------------------------------------- gates and noise

DROPPED = (
    "Only the last --benchmark-compare-fail counts (mean:100000%), dropped: min:5%. "
    "Give all after one: --benchmark-compare-fail min:5% mean:100000%"
)


@pytest.mark.parametrize("source", ["command", "ini", "environment"])
def test_a_threshold_that_a_later_one_replaced_is_named_wherever_it_came_from(
    source: str, foreign: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = "--benchmark-compare-fail=min:5%"
    if source == "ini":
        foreign.makeini(f"[pytest]\naddopts = {first}")
    if source == "environment":
        monkeypatch.setenv("PYTEST_ADDOPTS", first)
    args = [first] if source == "command" else []
    _change_base(foreign.path, _hundred_times_faster)
    result = foreign.runpytest_inprocess(*COMPARE, WITH_FACTS, *args, "--benchmark-compare-fail", "mean:100000%")
    assert result.ret == 0
    assert _said(result, DROPPING) == [DROPPED]


def test_thresholds_after_one_option_all_count(foreign: pytest.Pytester) -> None:
    result = foreign.runpytest_inprocess(*COMPARE, WITH_FACTS, "--benchmark-compare-fail", "min:100000%", "mean:100000%")
    assert (result.ret, _said(result, DROPPING)) == (0, [])


GATE = "--benchmark-compare-fail"


@pytest.mark.parametrize(
    ("arguments", "counted", "dropped"),
    [
        ([], None, None),
        ([GATE, "min:5%"], None, None),
        ([GATE, "min:5%", GATE, "min:5%"], None, None),
        ([GATE, "min:5%", GATE, "mean:5%", "min:5%"], None, None),
        ([GATE, "min:5%", "max:9%", "-k", "max", GATE, "mean:5%", "--", "bench"], "mean:5%", "min:5% max:9%"),
        (["bench", f"{GATE}=min:5%", "bench", f"{GATE}=mean:5%", "bench"], "mean:5%", "min:5%"),
        ([GATE, "min:5%", GATE, "max:0.1", f"{GATE}=mean:5%"], "mean:5%", "min:5% max:0.1"),
    ],
)
def test_only_thresholds_that_do_not_count_are_called_dropped(
    arguments: list[str], counted: str | None, dropped: str | None
) -> None:
    fields = ["mean", "min"] if "mean:5%" in arguments and counted is None else ["mean"] if counted else ["min"]
    line = dropped_gates(arguments, fields)
    if counted is None:
        assert line is None
    else:
        assert line == (
            f"Only the last {GATE} counts ({counted}), dropped: {dropped}. Give all after one: {GATE} {dropped} {counted}"
        )


def test_arguments_that_are_not_what_pytest_benchmark_checks_prove_nothing() -> None:
    assert dropped_gates([GATE, "min:5%", GATE, "mean:5%"], ["max"]) is None


@pytest.mark.parametrize("gate", [(), ("--benchmark-compare-fail=min:100000%",)], ids=["shown", "gated"])
def test_one_process_per_side_is_said_once_with_the_gate_to_use(gate: tuple[str, ...], ours: pytest.Pytester) -> None:
    result = ours.runpytest_inprocess(*COMPARE, *gate)
    assert (result.ret, _said(result)) == (0, [NOISE.format(revision="REV")])
    assert "\n" not in NOISE


@pytest.mark.parametrize(
    ("commit", "revision"),
    [
        ({"id": "0123456789abcdef", "dirty": False}, "0123456789ab"),
        ({"id": "0123456789abcdef", "dirty": True}, "REV"),
        ({"id": "unversioned", "dirty": False}, "REV"),
        ({"id": "unknown"}, "REV"),
        (None, "REV"),
    ],
)
def test_the_gate_names_the_commit_of_the_base_where_it_can_be_measured_again(
    commit: dict[str, Any] | None, revision: str
) -> None:
    assert Base("0001", None, {"benchmarks": [], "commit_info": commit}, {}).revision == revision


def test_what_was_measured_of_noise_is_told_with_where_it_was() -> None:
    assert NOISE.format(revision="REV") == (
        "One process per side: how far apart processes of identical code lie is not measured here. On a shared 2-core host, "
        "mean:5% raised a false alarm on 14 to 35 % of single benchmarks of identical code. "
        "Use 'rnncore gate --base REV', which measures both revisions interleaved."
    )
