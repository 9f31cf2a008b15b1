"""Tests of numbers of other suites that a project wants to have judged: planted changes both ways, gaps, and zeros."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.compare.judge import Side, judge, log_ratios, settled
from rnncore.compare.measures import Bounds, number_measure
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.runfile.read import read_run
from tests.run_files import make_run, plain_benchmark, plain_content

LOAD, SORT = "perf/test_a.py::test_load", "perf/test_a.py::test_sort"
ROWS, ERROR = number_measure("rows_per_s"), number_measure("error")
RULES = {"rows_per_s": Bounds(0.05, 0.10, True, higher_is_better=True), "error": Bounds(0.02, 0.04, True)}
THRESHOLDS = Thresholds(numbers=(("*test_load*", RULES),), source="pyproject.toml")

Make = Callable[..., Side]


@pytest.fixture
def side(tmp_path: Path) -> Make:
    """Return a function that makes a side of processes that record two numbers with noise of a percent or less."""
    made = 0

    def make(
        first_minute: int = 0,
        rows: float = 1.0,
        error: float = 1.0,
        processes: int = 12,
        pairs: bool = False,
        change: Callable[[dict[str, Any], int], None] = lambda content, process: None,
    ) -> Side:
        nonlocal made
        rng = np.random.default_rng(made)
        made += 1
        runs = []
        for process in range(processes):
            # A process that others disturb takes longer, and reads fewer rows a second; both of a pair do.
            slowness = float(np.exp(rng.exponential(0.002) + 0.3 * (process % 4 == 0)))
            numbers = {"rows_per_s": 1e6 * rows / slowness, "error": 0.5 * error * float(np.exp(rng.normal(0, 0.002)))}
            entries = [plain_benchmark(name, [0.01 * slowness] * 3, **numbers) for name in (LOAD, SORT)]
            content = plain_content(entries, minute=first_minute + 2 * process)
            if pairs:
                content["rnncore"] = {
                    "pair": process,
                    "command": [],
                    "skipped": [],
                    "data": None,
                    "fingerprint": {"cpu": "A"},
                }
            change(content, process)
            runs.append(read_run(make_run(tmp_path, content, f"{made}-{process:03}.json")))
        return Side("made", tuple(runs))

    return make


def _of(comparison: Comparison, measure: str, fullname: str = LOAD) -> Judgement:
    (found,) = [one for one in comparison.judgements if (one.fullname, one.measure) == (fullname, measure)]
    return found


@pytest.mark.parametrize("pairs", [False, True], ids=["processes", "pairs"])
@pytest.mark.parametrize(
    ("factors", "verdicts"),
    [
        ({"rows": 0.9, "error": 1.0}, ("slower", "same")),
        ({"rows": 1.1, "error": 0.95}, ("faster", "faster")),
        ({"rows": 1.0, "error": 1.05}, ("same", "slower")),
        ({"rows": 1.02, "error": 1.01}, ("same", "same")),
    ],
    ids=["fewer rows", "better", "more error", "below the thresholds"],
)
def test_planted_changes_are_judged_by_the_way_that_is_better(
    factors: dict[str, float], verdicts: tuple[str, str], pairs: bool, side: Make
) -> None:
    comparison = judge(side(pairs=pairs), side(1, **factors, pairs=pairs), THRESHOLDS)
    rows, error = _of(comparison, ROWS), _of(comparison, ERROR)
    assert (rows.verdict, error.verdict) == verdicts
    assert rows.ratio == pytest.approx(factors["rows"], rel=0.02)
    # Typical is what undisturbed processes do: a quarter of them read a quarter fewer.
    assert rows.base == pytest.approx(1e6, rel=0.01)
    assert _of(comparison, "time").verdict == "same"
    assert comparison.exit_code == int("slower" in verdicts)


def test_numbers_without_a_rule_and_of_other_benchmarks_are_not_judged(side: Make) -> None:
    base, head = side(), side(1, rows=0.5, error=2.0)
    measures = {(one.fullname, one.measure) for one in judge(base, head, THRESHOLDS).judgements}
    assert measures == {(LOAD, "time"), (SORT, "time"), (LOAD, ROWS), (LOAD, ERROR)}
    assert {one.measure for one in judge(base, head, Thresholds()).judgements} == {"time"}


def test_numbers_are_tested_in_one_family_with_the_times(side: Make) -> None:
    base, head = side(pairs=True), side(1, pairs=True)
    assert set(log_ratios(base, head, THRESHOLDS)) == {(LOAD, "time"), (SORT, "time"), (LOAD, ROWS), (LOAD, ERROR)}
    of_processes = side(), side(1, rows=0.9)
    alone, beside = (judge(*of_processes, thresholds) for thresholds in (Thresholds(), THRESHOLDS))
    p_alone, p_beside = _of(alone, "time").p_value, _of(beside, "time").p_value
    assert p_alone is not None
    assert p_beside is not None
    # Holm's method pays for two more.
    assert p_beside > p_alone or p_alone == 1.0


def _set(name: str, value: Any, processes: Sequence[int]) -> Callable[[dict[str, Any], int], None]:
    def change(content: dict[str, Any], process: int) -> None:
        if process in processes:
            content["benchmarks"][0]["extra_info"][name] = value

    return change


@pytest.mark.parametrize("value", [0, 0.0, -3.5, 1e-320])
@pytest.mark.parametrize("is_head", [False, True], ids=["base", "head"])
@pytest.mark.parametrize("pairs", [False, True], ids=["processes", "pairs"])
def test_a_value_that_has_no_ratio_is_not_judged_and_says_so(value: float, is_head: bool, pairs: bool, side: Make) -> None:
    change = _set("error", value, [3])
    base = side(pairs=pairs, **({} if is_head else {"change": change}))
    head = side(1, pairs=pairs, **({"change": change} if is_head else {}))
    comparison = judge(base, head, THRESHOLDS)
    judgement = _of(comparison, ERROR)
    assert (judgement.verdict, judgement.ratio, judgement.p_value) == ("not judged", None, None)
    which = "head" if is_head else "base"
    assert judgement.reason == f"it is {value:g} in a process of the {which}: what is 0 or less has no ratio"
    assert comparison.exit_code == 0
    # More processes would change nothing.
    assert (LOAD, ERROR) in settled(comparison, base, head, THRESHOLDS)


@pytest.mark.parametrize(("is_head", "verdict", "code"), [(True, "missing", 5), (False, "new", 0)])
@pytest.mark.parametrize("value", [None, "text", float("nan")])
def test_a_number_that_one_side_alone_records_is_missing_or_new(
    value: object, is_head: bool, verdict: str, code: int, side: Make
) -> None:
    change = _set("error", value, range(12))
    base, head = side(**({} if is_head else {"change": change})), side(1, **({"change": change} if is_head else {}))
    comparison = judge(base, head, THRESHOLDS)
    assert (_of(comparison, ERROR).verdict, comparison.exit_code) == (verdict, code)


def test_a_number_that_nothing_records_is_named_in_a_note(side: Make) -> None:
    misspelt = replace(THRESHOLDS, numbers=(("*test_load*", {"row_per_s": Bounds(0.05, 0.1)}),))
    comparison = judge(side(), side(1), misspelt)
    (note,) = comparison.notes
    assert note == 'No benchmark measured here that matches "*test_load*" of pyproject.toml records numbers.row_per_s.'
    assert {one.measure for one in comparison.judgements} == {"time"}


def test_where_not_all_is_measured_a_number_of_what_was_left_out_is_no_mistake(side: Make) -> None:
    of_another = (("*test_left_out*", {"rows": Bounds(0.05, 0.1)}),)
    of_this = (("*test_load*", {"row_per_s": Bounds(0.05, 0.1)}),)
    numbered = [judge(side(), side(1), replace(THRESHOLDS, numbers=numbers)).notes for numbers in (of_another, of_this)]
    assert [len(notes) for notes in numbered] == [1, 1]
    chosen = replace(THRESHOLDS, is_of_all=False)
    numbered = [judge(side(), side(1), replace(chosen, numbers=numbers)).notes for numbers in (of_another, of_this)]
    assert [len(notes) for notes in numbered] == [0, 1]


def test_a_constant_number_that_changed_leaves_nothing_to_chance(side: Make) -> None:
    base, head = (
        side(minute, processes=2, change=_set("rows_per_s", value, range(2))) for minute, value in ((0, 1000), (1, 800))
    )
    judgement = _of(judge(base, head, THRESHOLDS), ROWS)
    assert (judgement.verdict, judgement.ratio) == ("slower", pytest.approx(0.8))


def test_benchmarks_that_failed_have_no_numbers(side: Make) -> None:
    def die(content: dict[str, Any], process: int) -> None:
        content["rnncore"]["failed"] = [{"fullname": LOAD, "outcome": "error", "reason": "x"}]

    comparison = judge(side(pairs=True), side(1, pairs=True, change=die), THRESHOLDS)
    assert [(one.measure, one.verdict) for one in comparison.judgements if one.fullname == LOAD] == [("time", "invalid")]
