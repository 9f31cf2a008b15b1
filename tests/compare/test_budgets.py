"""Tests of budgets: what may be set, and planted figures within, over and at a limit, on this machine and another."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.compare.budgets import judge_budgets, read_budgets
from rnncore.compare.judge import Side
from rnncore.compare.verdict import BudgetCheck, BudgetJudgement
from rnncore.errors import ConfigError
from rnncore.runfile.read import read_run
from tests.run_files import CPU, FAILED, SKIPPED, inference, make_run, plain_benchmark, plain_content, run_content

TEST = "perf/test_load.py::test_load[json]"

# A thousand calls of 1 to 2 ms: the median is 1.5 ms, and p99 1.99 ms.
ROUNDS_S = [0.001 + 1e-6 * index for index in range(1001)]

# Nobody's machine.
OTHER_CPU = "Other CPU \x1b[31m"

Check = Callable[..., BudgetCheck]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Return a function that holds contents of run files against a table of budgets."""

    def held(table: str, *contents: dict[str, Any], **more: Any) -> BudgetCheck:
        (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
        runs = [read_run(make_run(tmp_path, content, f"{index}.json")) for index, content in enumerate(contents)]
        return judge_budgets(read_budgets(tmp_path), Side("made", tuple(runs)), **more)

    return held


def _budget(limits: str, pattern: str = "*test_load*") -> str:
    return f'[tool.rnncore.budgets."{pattern}"]\n{limits}\n'


def _plain(rounds_s: list[float] | None = None, cpu: str = CPU, minute: int = 0, **extra: Any) -> dict[str, Any]:
    return plain_content([plain_benchmark(TEST, rounds_s or ROUNDS_S, **extra)], cpu, minute)


def _only(found: BudgetCheck) -> BudgetJudgement:
    (judgement,) = found.judgements
    return judgement


# ---------------------------------------------------------------------------------------------------------- settings


def test_a_project_without_the_table_sets_no_budget(tmp_path: Path) -> None:
    assert read_budgets(tmp_path) == ()
    (tmp_path / "pyproject.toml").write_text("[tool.rnncore.thresholds]\n", encoding="utf-8")
    assert read_budgets(tmp_path) == ()


def test_each_limit_is_a_budget_with_the_side_that_its_figure_has_or_the_project_gives(tmp_path: Path) -> None:
    table = _budget(
        'machine = "EPYC"\np99_ms = 2\n"p99.9_ms" = 5\nwindows_per_s = 10\n'
        "peak_memory_mib = { at_least = 1, at_most = 400 }\n"
        "numbers.rows_per_s = { at_least = -1.5 }\nfacts.first_call_s = { at_most = 0 }"
    )
    (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
    found = [(one.figure.name, one.limit, one.is_most, one.machine) for one in read_budgets(tmp_path)]
    assert found == [
        ("p99_ms", 2.0, True, "EPYC"),
        ("p99.9_ms", 5.0, True, "EPYC"),
        ("windows_per_s", 10.0, False, "EPYC"),
        ("peak_memory_mib", 1.0, False, "EPYC"),
        ("peak_memory_mib", 400.0, True, "EPYC"),
        ("numbers.rows_per_s", -1.5, False, "EPYC"),
        ("facts.first_call_s", 0.0, True, "EPYC"),
    ]


def test_a_pattern_may_have_several_tables_one_for_each_machine(tmp_path: Path) -> None:
    header = '[[tool.rnncore.budgets."*test_load*"]]'
    table = f'{header}\nmachine = "EPYC"\np99_ms = 2\n{header}\nmachine = "Xeon"\np99_ms = 3\n'
    (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
    assert [(one.machine, one.limit) for one in read_budgets(tmp_path)] == [("EPYC", 2.0), ("Xeon", 3.0)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("tool.rnncore.budgets = 3", "must be a table of patterns"),
        ("[tool.rnncore.budgets]\np99_ms = 2", '"p99_ms": is 2; it must be a table of limits'),
        ("[tool.rnncore.budgets]\n'*' = []", r'"\*": is \[\]; it must be a table of limits, .* or a list of such'),
        (_budget(""), "limits nothing. Give some of median_ms"),
        (_budget('machine = "EPYC"'), "limits nothing"),
        (_budget("p99ms = 2"), "p99ms is none of .* Did you mean p99_ms?"),
        (_budget("peak_memory_mb = 2"), "Did you mean peak_memory_mib?"),
        (_budget("p99.9_ms = 2"), "p99 is none of"),
        (_budget("facts.frist_call_s = { at_most = 2 }"), "facts.frist_call_s is none of"),
        (_budget('p99_ms = "2"'), "p99_ms is '2'; give a number, or at_most, at_least or both"),
        (_budget("p99_ms = true"), "give a number"),
        (_budget("p99_ms = nan"), "give a number"),
        (_budget("p99_ms = inf"), "give a number"),
        (_budget("p99_ms = {}"), "give a number"),
        (_budget("p99_ms = { atmost = 2 }"), "give a number, or at_most"),
        (_budget("p99_ms = { at_most = 2, below = 3 }"), "give a number, or at_most"),
        (_budget('p99_ms = { at_most = "2" }'), "give a number, or at_most"),
        (_budget("p99_ms = 0"), "p99_ms is 0; give a number above 0"),
        (_budget("p99_ms = { at_most = -2 }"), "p99_ms is -2; give a number above 0"),
        (_budget("p99_ms = { at_most = 2, at_least = 3 }"), "at least 3 and at most 2"),
        (_budget("numbers.rows = 3"), r"whether more of it is good is not known. Give \{ at_most = 3 \} or"),
        (_budget("numbers = 3"), r"numbers is 3; name one, such as numbers.NAME"),
        (_budget("machine = 3\np99_ms = 2"), "machine is 3; give a part of the name"),
        (_budget('machine = " "\np99_ms = 2'), "machine is ' '"),
    ],
)
def test_what_is_set_wrongly_is_named_with_what_is_allowed(table: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        read_budgets(tmp_path, "pyproject.toml of v1")
    assert str(caught.value).startswith("pyproject.toml of v1 [tool.rnncore.budgets]")


# ------------------------------------------------------------------------------------------------------ one process


@pytest.mark.parametrize(
    ("limits", "verdict", "code"),
    [
        ("p99_ms = 2.1", "within", 0),
        ("p99_ms = 1.9", "over", 1),
        ("p99_ms = 1.99", "cannot tell", 3),
        ("p50_ms = 1.6", "within", 0),
        ("median_ms = 1.4", "over", 1),
        ("median_us = 1500", "cannot tell", 3),
        ("calls_per_s = 600", "within", 0),
        ("calls_per_s = 700", "over", 1),
        ("calls_per_s = { at_most = 600 }", "over", 1),
        ("p99_s = { at_least = 0.0019 }", "within", 0),
        ("p99_s = { at_least = 0.0021 }", "over", 1),
    ],
)
def test_the_whole_interval_of_the_rounds_keeps_a_limit_or_is_beyond_it(
    limits: str, verdict: str, code: int, check: Check
) -> None:
    found = check(_budget(limits), _plain())
    judgement = _only(found)
    assert (judgement.verdict, found.verdict, found.exit_code) == (verdict, verdict, code)
    assert (judgement.fullname, judgement.machine, judgement.basis) == (TEST, CPU, "1,001 rounds")
    assert None not in (judgement.value, judgement.low, judgement.high)
    assert found.notes == ("One process: its rounds do not show by how much processes differ. More run files do.",)


def test_a_limit_within_the_interval_says_about_how_many_rounds_it_takes(check: Check) -> None:
    near, nearer = (_only(check(_budget(f"median_ms = {limit}"), _plain())).reason for limit in (1.51, 1.5))
    assert near == "the interval holds the limit: about 13,000 rounds would tell, if they are like these"
    assert nearer == "the interval holds the limit: even 1,000,000 rounds would not tell"
    tail = _only(check(_budget("p99_ms = 1.9925"), _plain()))
    assert tail.reason == "the interval holds the limit: about 14,000 rounds would tell, if they are like these"


def test_as_many_rounds_as_are_said_to_be_needed_tell_about_as_often_as_not(check: Check) -> None:
    rng = np.random.default_rng(3)
    table = _budget("median_ms = 1.55")
    verdicts = [_only(check(table, _plain(rng.uniform(0.001, 0.002, 550).tolist()))).verdict for _ in range(60)]
    assert "over" not in verdicts
    assert 15 <= verdicts.count("within") <= 45


def test_too_few_rounds_may_show_that_a_percentile_is_over_and_not_that_it_is_within(check: Check) -> None:
    few = [0.003 + 1e-6 * index for index in range(40)]
    over = _only(check(_budget("p99_ms = 2.9"), _plain(few)))
    assert (over.verdict, over.value, over.high) == ("over", None, None)
    unsure = _only(check(_budget("p99_ms = 99"), _plain(few)))
    why = (
        "40 rounds are too few for p99, 662 needed: run pytest with '--benchmark-min-rounds 662', "
        "or benchmark.pedantic with rounds=662"
    )
    assert (unsure.verdict, unsure.reason) == ("cannot tell", why)


@pytest.mark.parametrize(
    ("bound", "value", "verdict"),
    [("at_least", 12_000, "within"), ("at_least", 9_999, "over"), ("at_most", 0, "within"), ("at_most", 10_001, "over")],
)
def test_a_number_has_no_interval_and_is_judged_as_it_is(bound: str, value: float, verdict: str, check: Check) -> None:
    found = check(_budget(f"numbers.rows_per_s = {{ {bound} = 10000 }}"), _plain(rows_per_s=value))
    judgement = _only(found)
    assert judgement.verdict == verdict
    assert (judgement.value, judgement.low, judgement.high, judgement.basis) == (value, None, None, "1 value")
    assert "has no interval" in judgement.reason
    assert found.notes == ()


def test_memory_smape_and_windows_of_our_rows_are_judged(check: Check) -> None:
    entry = inference("gru", "torch", 32, 0.01)
    entry["stats"]["data"] = [0.009, 0.0095, 0.01, 0.01, 0.01, 0.0105, 0.011]
    table = _budget("peak_memory_mib = 600\nwindows_per_s = 2000\nsmape_pct = 70\nfacts.gflop_per_s = { at_least = 1 }", "*")
    found = check(table, run_content([entry]))
    assert [one.verdict for one in found.judgements] == ["over", "within", "within", "within"]


# -------------------------------------------------------------------------------------------------- several processes


def _processes(values_s: list[float]) -> list[dict[str, Any]]:
    """Return processes whose rounds are all alike, and which differ by far more."""
    return [_plain([value_s] * 20, minute=minute) for minute, value_s in enumerate(values_s)]


@pytest.mark.parametrize(
    ("limit", "verdict"), [(1.6, "within"), (0.9, "over"), (1.3, "cannot tell")], ids=["above", "below", "between"]
)
@pytest.mark.parametrize("count", [3, 7, 12])
def test_the_interval_over_processes_keeps_a_limit_or_is_beyond_it(
    count: int, limit: float, verdict: str, check: Check
) -> None:
    values_s = np.linspace(0.0011, 0.0015, count).tolist()
    found = check(_budget(f"median_ms = {limit}"), *_processes(values_s))
    judgement = _only(found)
    assert (judgement.verdict, judgement.basis) == (verdict, f"{count} processes")
    assert judgement.value == pytest.approx(1.3)
    assert found.notes == ()
    assert verdict != "cannot tell" or "processes would" in judgement.reason


def test_a_slow_process_among_many_does_not_put_the_median_one_over(check: Check) -> None:
    many = check(_budget("median_ms = 1.2"), *_processes([0.001] * 11 + [0.009]))
    few = check(_budget("median_ms = 1.2"), *_processes([0.001] * 2 + [0.009]))
    assert (_only(many).verdict, _only(few).verdict) == ("within", "cannot tell")
    assert "about 49 processes would tell" in _only(few).reason


def test_a_process_that_does_not_record_a_number_does_not_count(check: Check) -> None:
    table = _budget("numbers.rows_per_s = { at_least = 10 }")
    judgement = _only(check(table, _plain(rows_per_s=12), _plain(minute=1), _plain(minute=2, rows_per_s=14)))
    assert (judgement.verdict, judgement.basis, judgement.low) == ("within", "2 processes", 12)


# ---------------------------------------------------------------------------------------------------------- machines


def test_on_another_machine_a_budget_is_shown_and_not_judged(check: Check) -> None:
    found = check(_budget('machine = "EPYC"\nmedian_ms = 1'), _plain(cpu=OTHER_CPU))
    judgement = _only(found)
    assert (judgement.verdict, found.exit_code) == ("not judged", 0)
    assert judgement.value == pytest.approx(1.5)
    assert judgement.reason == f"it is for EPYC, and was measured on {OTHER_CPU}"


def test_a_budget_for_a_machine_that_no_run_is_of_is_not_judged_where_nothing_of_it_was_collected(check: Check) -> None:
    found = check(_budget('machine = "H100"\nmedian_ms = 1', "*cuda*"), _plain())
    assert (_only(found).verdict, found.exit_code) == ("not judged", 0)
    assert _only(found).reason == "it is for H100, and no run is of such a machine"
    # On its own machine it holds of nothing, which is a fault.
    of_both = check(_budget('machine = "H100"\nmedian_ms = 1', "*cuda*"), _plain(), _plain(cpu="H100", minute=1))
    assert (_only(of_both).verdict, of_both.exit_code) == ("missing", 5)


@pytest.mark.parametrize("machine", ["made cpu", "Made", "GPU h100"])
def test_a_part_of_the_name_of_cpu_or_gpu_is_enough_in_any_case(machine: str, check: Check) -> None:
    entry = inference("gru", "torch", 1, 0.01)
    content = run_content([entry], gpu={"name": "Some GPU H100 80GB"})
    found = check(_budget(f'machine = "{machine}"\npeak_memory_mib = 700', "*"), content)
    assert _only(found).verdict == "within"


def test_a_file_that_names_no_machine_is_on_another_one(check: Check) -> None:
    content = _plain()
    del content["machine_info"]["cpu"]
    found = check(_budget('machine = "Made"\nmedian_ms = 9'), content)
    assert _only(found).reason == "it is for Made, and was measured on an unknown machine"


def test_runs_of_two_machines_are_judged_apart(check: Check) -> None:
    quick, slow = _plain(), _plain([0.002 + 1e-6 * index for index in range(50)], "Other CPU", 1)
    found = check(_budget("median_ms = 1.8"), quick, slow)
    assert {one.machine: one.verdict for one in found.judgements} == {CPU: "within", "Other CPU": "over"}
    assert found.notes[0] == "The runs are of 2 machines or environments, each of which is judged by itself."
    assert found.verdict == "over"


# ------------------------------------------------------------------------------------------------- nothing to judge


def test_a_pattern_that_no_benchmark_matches_is_missing(check: Check) -> None:
    found = check(_budget("median_ms = 9", "*test_laod*"), _plain())
    judgement = _only(found)
    assert (judgement.verdict, judgement.fullname, found.exit_code) == ("missing", None, 5)
    assert judgement.reason == "no benchmark of these runs matches: correct the pattern, or take the budget out"


def test_brackets_of_a_pattern_are_explained_and_the_full_name_needs_none(check: Check) -> None:
    missing = _only(check(_budget("median_ms = 9", "*test_load[json]"), _plain()))
    assert '"[[]" is a bracket' in missing.reason
    for pattern in (TEST, "*test_load[[]json]", "*json]"):
        assert _only(check(_budget("median_ms = 9", pattern), _plain())).verdict == "within"


def test_a_figure_that_no_process_records_is_missing_with_the_reason(check: Check) -> None:
    ours = inference("gru", "torch", 1, 0.01, smape=None, smape_why="no test hours", peak_rss_bytes=None)
    found = check(_budget("smape_pct = 1\npeak_memory_mib = 1", "*"), run_content([ours]))
    assert [(one.verdict, one.reason) for one in found.judgements] == [
        ("missing", "smape_pct is not known: no test hours"),
        ("missing", "peak_memory_mib is not known: there is no figure of a process that only serves"),
    ]
    recorded_as_nan = check(_budget("numbers.rows = { at_least = 1 }"), _plain(rows=float("nan")))
    assert _only(recorded_as_nan).verdict == "missing"


def test_what_failed_or_is_wrong_is_invalid(check: Check) -> None:
    wrong = inference("gru", "torch", 1, 0.01, validity="off by 3")
    content = run_content([wrong])
    content["rnncore"]["failed"] = FAILED[:1]
    found = check(_budget("median_ms = 99", "*"), content)
    verdicts = {one.fullname: (one.verdict, one.reason) for one in found.judgements}
    assert verdicts == {
        wrong["fullname"]: ("invalid", "its result is wrong, or it failed: off by 3"),
        FAILED[0]["fullname"]: ("invalid", "its result is wrong, or it failed: error: RuntimeError: no such node"),
    }
    assert (found.verdict, found.exit_code) == ("invalid", 1)


def test_what_was_skipped_is_missing_where_nothing_else_matches(check: Check) -> None:
    content = run_content([inference("gru", "torch", 1, 0.01)])
    assert [one["fullname"] for one in SKIPPED][:2] == [one["fullname"] for one in content["rnncore"]["skipped"]][:2]
    skipped = check(_budget("median_ms = 99", "*cuda*"), content)
    assert (skipped.verdict, skipped.exit_code, len(skipped.judgements)) == ("missing", 5, 2)
    assert skipped.judgements[0].reason == "it was not measured: skipped: no CUDA device: a CPU build."
    beside_others = check(_budget("peak_memory_mib = 700", "*"), content)
    assert _only(beside_others).verdict == "within"


def test_what_was_left_out_on_purpose_is_not_judged(check: Check) -> None:
    table = _budget("median_ms = 1")
    found = check(table, unmeasured={TEST: "no time", "perf/test_other.py::test_a": "no time"})
    assert (_only(found).verdict, _only(found).fullname, found.exit_code) == ("not judged", TEST, 0)
    assert _only(found).reason == "it was not measured: no time"
    # What was measured nevertheless is.
    assert _only(check(table, _plain(), unmeasured={TEST: "no time"})).verdict == "over"


def test_where_the_user_chose_benchmarks_a_budget_for_none_of_them_is_no_fault(check: Check) -> None:
    found = check(_budget("median_ms = 1", "*test_other*"), _plain(), is_selection=True)
    assert (_only(found).verdict, found.exit_code) == ("not judged", 0)


def test_the_gravest_verdict_decides_and_where_all_is_well_it_is_within(check: Check) -> None:
    one = _only(check(_budget("median_ms = 9"), _plain()))

    def whole(*verdicts: Any) -> tuple[str, int]:
        found = BudgetCheck("made", tuple(replace(one, verdict=verdict) for verdict in verdicts))
        return found.verdict, found.exit_code

    assert whole("within", "not judged") == ("within", 0)
    assert whole("not judged") == ("not judged", 0)
    assert whole("within", "cannot tell") == ("cannot tell", 3)
    assert whole("cannot tell", "missing") == ("missing", 5)
    assert whole("missing", "over", "cannot tell") == ("over", 1)


def test_delays_that_were_planted_are_named(check: Check) -> None:
    found = check(_budget("median_ms = 99", "*"), run_content([inference("gru", "torch", 1, 0.01, injected_delay_pct=5.0)]))
    assert any("planted on purpose" in note for note in found.notes)
