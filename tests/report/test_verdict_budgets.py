"""Tests of budgets and of judged numbers as text, JSON, Markdown, JUnit XML and annotations: whole, and beside verdicts."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rnncore.compare.measures import number_measure
from rnncore.compare.verdict import BudgetCheck, BudgetJudgement, Comparison, Judgement
from rnncore.report.verdict.budgets import budget_tables, budgets_json, figure_and_reason
from rnncore.report.verdict.github import budget_annotations, github_annotations
from rnncore.report.verdict.json import verdict_json
from rnncore.report.verdict.junit import budgets_junit, verdict_junit
from rnncore.report.verdict.markdown import budgets_markdown, verdict_markdown
from rnncore.report.verdict.text import verdict_tables
from rnncore.report.verdict.words import whole_verdict
from tests.report_text import as_text, broken_rows

LOAD = "perf/test_load.py::test_load[%s]"
EVIL = (
    "<script>alert('x')</script> | \\| `b` [a](http://x) ![i](http://x) *e* __e__ $e$\r\nEVIL ::error::x\x00\x1b[2J\ud800]]>"
)

WITHIN = BudgetJudgement(
    *("*test_load*", "p99_ms", 2.0, True, LOAD % "json", "within", "the whole interval keeps it"),
    *(1.82, 1.7, 1.913, "700 rounds", "Made CPU"),
)
OVER = replace(
    WITHIN,
    fullname=LOAD % "csv",
    figure="numbers.rows_per_s",
    limit=10_000.0,
    is_most=False,
    verdict="over",
    reason="the value, which has no interval, is beyond it",
    value=9_000.5,
    low=None,
    high=None,
    basis="1 value",
)
UNSURE = replace(
    WITHIN,
    verdict="cannot tell",
    reason="40 rounds are too few for p99, 662 needed",
    value=None,
    low=1.5,
    high=None,
    basis="40 rounds",
)
MISSING = BudgetJudgement("*test_laod*", "median_ms", 1.0, True, None, "missing", "no benchmark of these runs matches")
ELSEWHERE = replace(WITHIN, verdict="not judged", reason="it is for EPYC, and was measured on Made CPU")
CHECK = BudgetCheck("0007", (WITHIN, ELSEWHERE, UNSURE, MISSING, OVER), ("One process.",))

NUMBER = Judgement(
    LOAD % "json", "load", number_measure("rows_per_s"), "slower", "significant, and beyond 5 %", 1e6, 9e5, 0.9, 0.88, 0.92
)
TIME = Judgement(LOAD % "json", "load", "time", "same", "the whole interval lies within 5 %", 1e-3, 1e-3, 1.0, 0.99, 1.01)
COMPARISON = Comparison("a", "b", (TIME, NUMBER), (), 0.99, 0.01)


def _parsed(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml.encode("utf-8"))  # noqa: S314 (our own)


def _evil(text: str) -> BudgetCheck:
    """Return verdicts in which everything that comes from a file is *text*."""
    judgements = [
        replace(
            one, pattern=text, figure=f"numbers.{text}", reason=text, machine=f"{text}{index}", fullname=f"{text}::{text}"
        )
        for index, one in enumerate(CHECK.judgements)
    ]
    return BudgetCheck(text, (*judgements, replace(MISSING, pattern=text, reason=text)), (text,))


# ------------------------------------------------------------------------------------------------------------- screen


def test_the_table_has_the_gravest_first_and_the_whole_verdict_last() -> None:
    (notes, rows), (last, _) = as_text(budget_tables(CHECK))
    assert notes == "Runs: 0007\nOne process."
    assert rows[0] == ["Benchmark", "verdict", "budget", "value", "interval", "of", "why"]
    assert [row[1] for row in rows[1:]] == ["over", "missing", "cannot tell", "not judged", "within"]
    assert rows[1][:6] == ["test_load[csv]", "over", "numbers.rows_per_s at least 10,000", "9,000", "–", "1 value"]
    assert rows[2][:6] == ["*test_laod*", "missing", "median_ms at most 1", "–", "–", "–"]
    assert rows[3][3:6] == ["–", "1.500 or more", "40 rounds"]
    assert rows[5][:6] == ["test_load[json]", "within", "p99_ms at most 2", "1.820", "1.700 to 1.913", "700 rounds"]
    assert last == "1 of 5 budgets over, 1 missing, 1 cannot tell, 1 not judged, 1 within: over (exit code 1)"


def test_where_all_hold_the_whole_verdict_says_it_once() -> None:
    assert as_text(budget_tables(BudgetCheck("a", (WITHIN,))))[-1][0] == "1 of 1 budget within (exit code 0)"


def test_machines_have_a_column_where_there_are_several() -> None:
    several = BudgetCheck("a", (WITHIN, replace(WITHIN, machine="Other CPU")))
    heading, first, _ = as_text(budget_tables(several))[0][1]
    assert (heading[-2:], first[-2]) == (["machine", "why"], "Made CPU")


# --------------------------------------------------------------------------------------------------------------- forms


def test_json_has_each_budget_with_its_limit_and_what_is_known() -> None:
    content = json.loads(json.dumps(budgets_json(CHECK), allow_nan=False))
    assert (content["verdict"], content["exit_code"], content["runs"]) == ("over", 1, "0007")
    within, *_, over = content["budgets"]
    assert within == {
        "pattern": "*test_load*",
        "fullname": LOAD % "json",
        "figure": "p99_ms",
        "at_most": 2.0,
        "verdict": "within",
        "reason": "the whole interval keeps it",
        "value": 1.82,
        "low": 1.7,
        "high": 1.913,
        "of": "700 rounds",
        "machine": "Made CPU",
    }
    assert (over["at_least"], over["low"]) == (10_000.0, None)
    wild = BudgetCheck("a", (replace(WITHIN, value=math.nan, low=-math.inf, high=math.inf),))
    assert json.loads(json.dumps(budgets_json(wild), allow_nan=False))["budgets"][0]["value"] is None


def test_each_verdict_has_its_element_of_junit() -> None:
    suites = _parsed(budgets_junit(CHECK))
    (suite,) = suites.findall("testsuite")
    found = {case.get("name"): (case.get("classname"), case[0].tag) for case in suite.findall("testcase")}
    assert found["test_load[csv], numbers.rows_per_s at least 10,000"] == ("perf.test_load", "failure")
    assert found["*test_laod*, median_ms at most 1"] == ("benchmarks", "error")
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }


def test_annotations_say_which_limit_and_by_how_much() -> None:
    over, missing, unsure = budget_annotations(CHECK)
    assert over == (
        "::error file=perf/test_load.py,title=over%2C numbers.rows_per_s at least 10%2C000%3A test_load[csv]::over, "
        "numbers.rows_per_s at least 10,000: 9,000, of 1 value: the value, which has no interval, is beyond it"
    )
    assert missing.startswith(
        "::error title=missing%2C median_ms at most 1%3A *test_laod*::missing, median_ms at most 1: no "
    )
    assert unsure.startswith("::warning file=perf/test_load.py,title=cannot tell%2C p99_ms at most 2%3A ")
    eleven = budget_annotations(BudgetCheck("a", (OVER,) * 11))
    assert len(eleven) == 10
    assert eleven[-1].endswith("::2 more are over, invalid or missing; the job's summary has all of them")


def test_the_sentence_of_a_budget_leaves_out_what_is_not_known() -> None:
    assert figure_and_reason(WITHIN) == (
        "within, p99_ms at most 2: 1.820, 1.700 to 1.913, of 700 rounds: the whole interval keeps it"
    )
    assert figure_and_reason(MISSING) == "missing, median_ms at most 1: no benchmark of these runs matches"


def test_markdown_has_the_whole_verdict_as_heading() -> None:
    text = budgets_markdown(CHECK)
    assert text.startswith("## Fail: 1 of 5 budgets over, 1 missing, 1 cannot tell, 1 not judged, 1 within\n")
    assert broken_rows(text) == []
    assert "- One process.\n" in text


def test_no_text_from_a_file_breaks_any_form() -> None:
    check = _evil(EVIL)
    screen = "\n".join("\n".join([text, *map(str, map("  ".join, rows))]) for text, rows in as_text(budget_tables(check)))
    assert not re.search(r"(?m)^EVIL|[\x00\x1b\ud800]", screen)
    _parsed(budgets_junit(check))
    for line in budget_annotations(check):
        assert not re.search(r"[\r\n\x00\x1b\ud800]", line)
    page = budgets_markdown(check)
    assert broken_rows(page) == []
    html = MarkdownIt("gfm-like", {"linkify": False}).render(page)
    for tag in ("<a ", "<img", "<em>", "<code>", "<script"):
        assert tag not in html, tag


# ----------------------------------------------------------------------------------------------- beside a comparison


def test_budgets_of_a_gate_come_after_its_verdicts_and_count_in_the_whole() -> None:
    both = replace(COMPARISON, judgements=(TIME,), budgets=CHECK)
    assert (both.verdict, both.exit_code) == ("over", 1)
    assert whole_verdict(both) == (
        "1 of 1 same; 1 of 5 budgets over, 1 missing, 1 cannot tell, 1 not judged, 1 within: over (exit code 1)"
    )
    tables = as_text(verdict_tables(both))
    assert tables[-2][0] == "Budgets, held against the head\nOne process."
    assert [row[1] for row in tables[-2][1][1:]] == ["over", "missing", "cannot tell", "not judged", "within"]
    assert verdict_json(both)["budgets"] == budgets_json(CHECK)
    assert len(_parsed(verdict_junit(both)).findall(".//testcase")) == 6
    assert github_annotations(both) == budget_annotations(CHECK)
    assert "### Budgets" in verdict_markdown(both)
    assert broken_rows(verdict_markdown(both)) == []


def test_a_change_for_the_worse_decides_before_what_cannot_be_known_of_a_budget() -> None:
    unsure = BudgetCheck("a", (UNSURE,))
    assert replace(COMPARISON, budgets=unsure).verdict == "slower"
    calm = replace(COMPARISON, judgements=(TIME,))
    assert replace(calm, budgets=unsure).exit_code == 3
    assert replace(calm, budgets=BudgetCheck("a", (WITHIN,))).exit_code == 0


def test_without_budgets_nothing_is_said_of_them() -> None:
    assert "budgets" not in verdict_json(COMPARISON)
    for text in (whole_verdict(COMPARISON), verdict_markdown(COMPARISON), str(as_text(verdict_tables(COMPARISON)))):
        assert "budget" not in text.lower()


# ------------------------------------------------------------------------------------------------------------ numbers


def test_a_number_is_worse_or_better_under_its_own_name() -> None:
    tables = dict(as_text(verdict_tables(COMPARISON)))
    (row,) = tables["rows_per_s: 1 worse"][1:]
    assert row[1:5] == ["worse", "1.11x lower (1.09 to 1.14)", "1,000,000", "900,000"]
    assert whole_verdict(COMPARISON) == "1 of 1 worse in rows_per_s: slower (exit code 1)"
    (entry,) = verdict_json(COMPARISON)["benchmarks"]
    assert entry["reason"] == "rows_per_s: significant, and beyond 5 %"
    assert (entry["numbers"]["rows_per_s"]["ratio"], entry["numbers"]["rows_per_s"]["head_value"]) == (0.9, 9e5)
    (line,) = github_annotations(COMPARISON)
    assert "title=worse in rows_per_s%3A test_load[json]::worse, 1.11x lower (1.09 to 1.14), 1,000,000 to 900,000, " in line
    names = [case.get("name") for case in _parsed(verdict_junit(COMPARISON)).iter("testcase")]
    assert names == ["test_load[json]", "test_load[json], rows_per_s"]
    assert "| rows_per_s | **worse** |" in verdict_markdown(COMPARISON)


@pytest.mark.parametrize("name", ["time", "memory", "x", "", "numbers.x"])
def test_any_name_of_a_number_is_apart_from_our_measures(name: str) -> None:
    comparison = replace(COMPARISON, judgements=(TIME, replace(NUMBER, measure=number_measure(name))))
    (entry,) = verdict_json(comparison)["benchmarks"]
    assert entry["time"]["verdict"] == "same"
    assert entry["numbers"][name]["verdict"] == "slower"
    assert [text for text, _ in as_text(verdict_tables(comparison))][1] == f"{name}: 1 worse"


@given(st.text(max_size=12))
@example(EVIL)
@example("|")
@example("")
def test_any_name_of_a_number_leaves_every_form_whole(name: str) -> None:
    number, same = (replace(NUMBER, measure=number_measure(name), verdict=verdict) for verdict in ("slower", "same"))
    comparison = replace(COMPARISON, judgements=(TIME, number, replace(same, fullname=LOAD % "csv")))
    page = verdict_markdown(comparison)
    assert broken_rows(page) == []
    assert not re.search(r"(?m)^EVIL|<script", page)
    screen = "\n".join(text for text, _ in as_text(verdict_tables(comparison)))
    assert not re.search(r"[\x00\x1b\ud800]", screen)
    _parsed(verdict_junit(comparison))
    assert all("\n" not in line and "\r" not in line for line in github_annotations(comparison))
    json.dumps(verdict_json(comparison))
