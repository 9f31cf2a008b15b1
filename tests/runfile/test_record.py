"""Tests of what reads run files: whatever stands in one, a reader works, or says in one line what is wrong and where."""

import copy
import json
import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncore.compare.budgets import Budget, judge_budgets
from rnncore.compare.change_points import find_trends
from rnncore.compare.choices import Limits, recommend
from rnncore.compare.figures import figure_of
from rnncore.compare.history import read_history
from rnncore.compare.judge import Side, judge
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import ConfigError, RunFileError
from rnncore.report.page import figures, render, write_report
from rnncore.report.profile import profile_json, profile_tables
from rnncore.report.recommendation import recommendation_facts, recommendation_text
from rnncore.report.results import result_rows
from rnncore.report.sections.ratios import figures as ratio_figures
from rnncore.report.trackers import bencher_json, github_action_benchmark_json, tracker_text
from rnncore.report.trend import trend_json, trend_tables
from rnncore.report.verdict.budgets import budget_tables, budgets_json
from rnncore.report.verdict.github import budget_annotations, github_annotations
from rnncore.report.verdict.json import verdict_json
from rnncore.report.verdict.junit import budgets_junit, verdict_junit
from rnncore.report.verdict.markdown import budgets_markdown, verdict_markdown
from rnncore.report.verdict.text import verdict_tables
from rnncore.runfile.read import read_run
from rnncore.runfile.record import NUMERIC_FACTS, ROW, Run
from tests.run_files import benchmark, inference, make_run, run_content

PUBLISHED = sorted((Path(__file__).parents[2] / "reports/published").glob("*/run.json"))
GRU = "bench/bench_infer.py::test_forecast[gru-torch-cpu-fp32-b1]"
PROFILE = {
    "wall_s": 0.01,
    "shares_pct": {"recurrent products": 80.0, "other": 20.0},
    "ops": [
        {"op": "aten::mm", "where": "cpu", "self_s": 0.008, "calls": 3, "category": "recurrent products", "shapes": "[1, 2]"}
    ],
    "note": "of one call",
    "trace": None,
}
MODEL = {"cell": "gru", "hidden_size": 64, "num_layers": 1, "lookback": 24, "validity": "valid"}


def _content() -> dict[str, Any]:
    """Return a run with rows of every phase, and every kind of fact that a reader uses."""
    content = run_content()
    content["benchmarks"][0]["extra_info"] |= {"profile": PROFILE, "flops_per_byte": 3.5}
    stream = {**MODEL, "batch_size": 8, "window_call_s": 18e-6, "smape_by_windows": 0.67, "smape": 0.66}
    serve = {**MODEL, "batch_size": 32, "p99_bound_s": 0.05, "served_per_s": 3704.4}
    scaling = {
        **{**MODEL, "batch_size": 32, "devices": 2, "communication_pct": 3.0},
        **{"part_alone_s": [0.01, 0.011, 0.01], "whole_alone_s": [0.02] * 3, "threads_alone_s": [0.012] * 3},
        "part_at_once_s": [0.0105] * 3,
        "all_reduces": [{"bytes": 4, "seconds": 8e-5}, {"bytes": 4096, "seconds": 1e-4}],
        "gradients": [{"bytes": 4096, "ready_share": 0.5}, {"bytes": 1024, "ready_share": 0.9}],
    }
    content["benchmarks"] += [
        benchmark("scaling", "test_train_step_scaling[x]", [0.011, 0.012, 0.011], 32, **scaling),
        benchmark("stream", "test_next_hour[x]", [4e-6] * 5, 8, **stream),
        benchmark("serve", "test_serve[b32]", [0.01] * 9, 1, **serve),
        benchmark("interleaved", "test_interleaved[torch]", [0.01, 0.011, 0.012], 1, **MODEL, batch_size=1),
        benchmark(
            "interleaved", "test_interleaved[rnncore]", [0.02, 0.021, 0.022], 1, **MODEL, batch_size=1, runtime="rnncore"
        ),
    ]
    return content


Place = tuple[str | int, ...]


def _places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Yield the place of every value at every depth; of a long list its first ones."""
    yield place
    inside = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, one in inside:
        yield from _places(one, (*place, key))


def _with(content: Any, place: Place, value: Any) -> Any:
    if not place:
        return value
    changed = copy.deepcopy(content)
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return changed


CONTENT = _content()
PLACES = list(_places(CONTENT))
# Rows differ in what they hold, and not in how it is read: a place in any of them is one kind.
KINDS = sorted({tuple("*" if isinstance(key, int) else key for key in place) for place in PLACES}, key=str)
BY_KIND = {
    kind: [place for place in PLACES if tuple("*" if isinstance(key, int) else key for key in place) == kind]
    for kind in KINDS
}
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["UNSERIALIZABLE[1.5]", "0.5", -1, 0, 10**400, math.nan, math.inf, 1e308, 5e-324, "\ud800", "a\nb"]),
)
VALUES = st.one_of(
    LEAVES,
    st.lists(LEAVES, max_size=3),
    st.dictionaries(st.text(max_size=4), LEAVES, max_size=3),
    st.just([[]]),
    st.just({}),
)


FIGURES = ("median_ms", "p99_us", "windows_per_s", "calls_per_s", "peak_memory_mib", "smape_pct", "numbers.x")
FIGURES += tuple(f"facts.{name}" for name in NUMERIC_FACTS)
BUDGETS = [Budget("*", figure, 1.0, is_most, "Made") for figure in map(figure_of, FIGURES) for is_most in (True, False)]


def _use(run: Run, folder: Path) -> None:
    """Make everything of a run that a verb would, its pictures aside."""
    base = read_run(make_run(folder / "base", CONTENT))
    render([run], figures([run]))
    render([base, run], ratio_figures([base, run]))
    result_rows([run])
    comparison = judge(Side("base", (base,)), Side("head", (run,)), Thresholds())
    for write in (verdict_json, verdict_markdown, verdict_junit, verdict_tables, github_annotations):
        list(write(comparison))
    check = judge_budgets(BUDGETS, Side("head", (run,)))
    for write in (budgets_json, budgets_markdown, budgets_junit, budget_tables, budget_annotations):
        list(write(check))
    for use in (_recommend, _convert, _profile):
        assert "\n" not in _refusal(partial(use, run))


def _refusal(use: Callable[[], object]) -> str:
    """Return what is said against something, the empty text where it works; any other error is passed on."""
    try:
        use()
    except (RunFileError, ConfigError) as error:
        return str(error)
    return ""


def _recommend(run: Run) -> None:
    found = recommend(run, Limits(0.5, 10.0))
    recommendation_text(found)
    json.dumps(recommendation_facts(found), allow_nan=False)


def _convert(run: Run) -> None:
    tracker_text(bencher_json(run))
    tracker_text(github_action_benchmark_json(run, True))
    tracker_text(github_action_benchmark_json(run, False))


def _profile(run: Run) -> None:
    list(profile_tables(run, None, "", 5))
    list(profile_tables(run, run, "", 5))
    profile_json(run, None, "")


def _trend(folder: Path) -> None:
    history = read_history(folder)
    trends = find_trends(history)
    assert "\n" not in _refusal(lambda: (trend_json(history, trends), list(trend_tables(history, trends))))


def _mutated(data: st.DataObject, folder: Path) -> Path:
    place = data.draw(st.sampled_from(BY_KIND[data.draw(st.sampled_from(KINDS))]))
    return make_run(folder, _with(CONTENT, place, data.draw(VALUES)))


def _read(path: Path) -> Run | None:
    """Return the run, or None where it is refused as it should be."""
    refusal = _refusal(lambda: read_run(path))
    if not refusal:
        return read_run(path)
    assert refusal.startswith(f"{path}: ")
    assert "\n" not in refusal
    return None


@settings(max_examples=150)
@given(data=st.data())
def test_any_value_in_place_of_any_other_is_read_or_refused_in_one_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    path = _mutated(data, folder)
    _read(path)
    _trend(folder)


@settings(max_examples=25)
@given(data=st.data())
def test_whatever_is_read_every_verb_can_use(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mutated")
    if run := _read(_mutated(data, folder)):
        _use(run, folder)


def test_a_run_with_rows_of_every_phase_and_nothing_else_wrong_is_used_by_every_verb(tmp_path: Path) -> None:
    path = make_run(tmp_path, CONTENT)
    _use(read_run(path), tmp_path)
    assert write_report([path], tmp_path / "report").is_file()


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_published_runs_of_earlier_versions_are_read(path: Path) -> None:
    assert read_run(path).records


# What NumPy scalars become in a run file, and other values of a wrong kind, by key.
WRONG: list[tuple[str, Any, str]] = [
    ("parity_max_abs", "UNSERIALIZABLE[1.5]", "a number that is not negative, or null. JSON cannot hold what was recorded"),
    ("windows", "UNSERIALIZABLE[32]", "a number above 0. JSON cannot hold"),
    ("smape", "69.5", "a number that is not negative, or null"),
    ("smape", True, "a number that is not negative, or null"),
    ("gflop_per_s", math.nan, "a number that is not negative, or null"),
    ("batch_size", 1.5, "a whole number above 0, or null"),
    ("percentiles", [1], "an object, or null"),
    ("percentiles.p50.s", "1", "seconds"),
    ("profile", {"wall_s": 1.0, "ops": {}}, "a list"),
    ("training", {"steps": 3, "seconds": 1.0, "curve": [{"step": 1, "seconds": 1, "loss": 1, "score": None}]}, "a number"),
    ("panels", [{"zone": "A", "hours": [1, 2], "actual_mw": [1.0], "forecast_mw": {}}], "a list of 2 numbers"),
    ("disturbance", {"causes": 3}, "an object, or null"),
    ("validity", False, "a text, or null"),
]


@pytest.mark.parametrize(("key", "value", "allowed"), WRONG)
def test_one_line_names_file_benchmark_key_value_and_what_is_allowed(
    key: str, value: Any, allowed: str, tmp_path: Path
) -> None:
    content = run_content([inference("gru", "torch", 1, 0.1)])
    place = ("benchmarks", 0, "extra_info", *key.split("."))
    path = make_run(tmp_path, _with(content, place, value))
    with pytest.raises(RunFileError) as caught:
        read_run(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: {GRU}: {key}")
    assert f", and must be {allowed}" in text
    assert "\n" not in text


@pytest.mark.parametrize("wrong", [math.nan, math.inf, 0, 0.0, -1.0, True, "0.1", None, 1e300, 10**400])
def test_a_benchmark_with_a_round_that_is_no_time_has_no_times_and_the_others_are_read(wrong: Any, tmp_path: Path) -> None:
    rows = [inference("gru", "torch", 1, 0.1), inference("lstm", "torch", 1, 0.1)]
    run = read_run(make_run(tmp_path, _with(run_content(rows), ("benchmarks", 0, "stats", "data", 1), wrong)))
    assert [record.cell for record in run.records] == ["lstm"]
    ((name, outcome, reason),) = run.failed
    assert (name, outcome) == (rows[0]["fullname"], "no times")
    assert re.fullmatch(r"stats\.data\[1\] is .*, and must be seconds, a number from 1e-12 to 1e\+09", reason)


@pytest.mark.parametrize(("content", "found"), [([], "a list of 0"), ([1, 2], "a list of 2"), (3, "3"), ("x", "'x'")])
def test_what_is_no_object_at_all_is_told_as_such(content: Any, found: str, tmp_path: Path) -> None:
    with pytest.raises(
        RunFileError, match=rf"not a run file of pytest-benchmark \(it holds {found}, not an object\)\. Make"
    ):
        read_run(make_run(tmp_path, content))


def test_half_a_character_is_read_as_its_escape_and_a_whole_one_as_itself(tmp_path: Path) -> None:
    whole, half = (_with(CONTENT, ("rnncore", "version"), text) for text in ("\U0001f600", "\ud83d"))
    assert read_run(make_run(tmp_path, whole)).session["version"] == "\U0001f600"
    assert read_run(make_run(tmp_path, half)).session["version"] == "\\ud83d"


@pytest.mark.parametrize(("commit", "shown"), [(1234567, "1234567"), (12345678901234567890, "123456789012")])
def test_a_commit_that_is_a_number_is_read_as_a_text(commit: int, shown: str, tmp_path: Path) -> None:
    assert read_run(make_run(tmp_path, _with(CONTENT, ("commit_info",), {"id": commit}))).commit == shown


@pytest.mark.parametrize("commit", [True, 1.5, ["a"], {}])
def test_a_commit_of_another_kind_is_refused(commit: Any, tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"commit_info\.id is .*, and must be a text or a whole number, or null\."):
        read_run(make_run(tmp_path, _with(CONTENT, ("commit_info", "id"), commit)))


def test_a_row_whose_answers_were_not_finite_is_read_and_shown(tmp_path: Path) -> None:
    wrong = inference("gru", "torch", 1, 0.1, parity_max_abs=math.nan, smape=math.inf, gflop_per_s=math.inf, validity="NaN")
    run = read_run(make_run(tmp_path, run_content([wrong, inference("lstm", "torch", 1, 0.1)])))
    assert run.records[0].validity == "NaN"
    _use(run, tmp_path)


def test_keys_of_a_user_are_left_alone(tmp_path: Path) -> None:
    row = inference("gru", "torch", 1, 0.1, mine={"a": [math.nan]}, also=True)
    (record,) = read_run(make_run(tmp_path, run_content([row]))).records
    assert record.facts["also"] is True


def test_every_fact_that_a_reader_asks_a_row_for_is_in_the_table() -> None:
    folder = Path(__file__).parents[2] / "rnncore"
    files = [path for room in ("compare", "report", "drive", "cli") for path in (folder / room).rglob("*.py")]
    asked = {
        name
        for path in files
        for name in re.findall(r"extra(?:\.get\(|\[)\"([a-z0-9_]+)\"", path.read_text(encoding="utf-8"))
    }
    assert asked - ROW.keys() == set()


def test_facts_that_are_numbers_are_known_by_their_checks() -> None:
    assert {"first_call_s", "gflop_per_s", "smape", "peak_rss_bytes", "disturbed_rounds", "batch_size"} <= set(NUMERIC_FACTS)
    assert not {"kernel", "steady", "percentiles", "training", "zones", "phase", "validity"} & set(NUMERIC_FACTS)
