"""Tests of a comparison as text, JSON, Markdown, JUnit XML and annotations: golden files, and text that stays text."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rnncore.compare.verdict import Comparison, GroupRatio, Judgement
from rnncore.report.figure import SLOWER
from rnncore.report.fold import without_folded
from rnncore.report.verdict.github import github_annotations
from rnncore.report.verdict.json import verdict_json
from rnncore.report.verdict.junit import verdict_junit
from rnncore.report.verdict.markdown import verdict_markdown
from rnncore.report.verdict.page import write_verdict_page
from rnncore.report.verdict.text import MOST_ROWS, verdict_tables
from rnncore.report.verdict.words import ratio_text, whole_verdict
from tests.report_text import as_text, broken_rows, require_golden

MIB = 2**20

# What a text could break: a table row, the page, a code span, a workflow command, a document.
EVIL = (
    "<script>alert('x')</script> | \\| `b` [a](http://x) ![i](http://x) *e* __e__ $e$\r\nEVIL ::error::x\x00\x1b[2J\ud800]]>"
)

INFER = "bench/bench_inference.py::test_forecast[%s-b1]"
TRAIN = "bench/bench_training.py::test_train_step[%s-b1024]"
SCORE = "bench/bench_accuracy.py::test_score[%s]"


def _judged(fullname: str, verdict: Any, *numbers: float | None, measure: Any = "time", **facts: Any) -> Judgement:
    """Return a judgement of ten processes a side; *numbers* are base, head, ratio, low and high, as many as there are."""
    group = {"bench/bench_inference.py": "inference", "bench/bench_training.py": "training"}.get(fullname.split("::")[0])
    keys = ("base", "head", "ratio", "low", "high")
    return Judgement(
        **{
            "fullname": fullname,
            "group": group or "accuracy",
            "measure": measure,
            "verdict": verdict,
            "reason": "the interval lies within 3 %",
            "base_processes": 10,
            "head_processes": 10,
            **dict(zip(keys, numbers, strict=False)),
            **facts,
        }
    )


JUDGEMENTS = (
    _judged(INFER % "gru-torch", "same", 10.1e-3, 10.15e-3, 1.004, 0.991, 1.018, p_value=1.0),
    _judged(INFER % "gru-torch", "same", 640 * MIB, 641 * MIB, 1.0016, 0.998, 1.004, measure="memory"),
    _judged(
        INFER % "lstm-torch",
        "slower",
        4.0e-3,
        5.32e-3,
        1.33,
        1.21,
        1.46,
        reason="the interval lies above the threshold of 3 %",
        p_value=0.0004,
        grown="aten::addmm +1.3 ms of +1.32 ms",
    ),
    _judged(INFER % "lstm-torch", "same", 640 * MIB, 640 * MIB, 1.0, 1.0, 1.0, measure="memory"),
    _judged(INFER % "gru-onnx", "faster", 3.08e-3, 2.566e-3, 0.833, 0.8, 0.87, reason="the interval lies below 1"),
    _judged(
        INFER % "lstm-onnx",
        "unclear",
        1.82e-3,
        1.87e-3,
        1.027,
        0.95,
        1.11,
        reason="the interval holds both 1 and the threshold of 3 %; more processes would tell",
        base_processes=3,
        head_processes=2,
    ),
    _judged(
        INFER % "gru-openvino",
        "invalid",
        3.3e-3,
        reason="outputs differ from float64 by 2.5e-01; rounding explains 1.0e-05",
    ),
    _judged(INFER % "lstm-openvino", "missing", 2.9e-3, reason="not in the head", head_processes=0),
    _judged(TRAIN % "gru", "same", 2.2, 2.21, 1.0045, 0.99, 1.02),
    _judged(
        TRAIN % "gru",
        "slower",
        900 * MIB,
        1350 * MIB,
        1.5,
        1.49,
        1.51,
        measure="memory",
        reason="1.50x the memory, allowed is 1.05x",
    ),
    _judged(TRAIN % "lstm", "new", None, 2.926, reason="not in the base", base_processes=0),
    _judged(SCORE % "gru", "same", 0.76, 0.758, 0.9974, 0.98, 1.01),
    _judged(SCORE % "gru", "faster", 1.0562, 1.002, 0.9487, measure="smape", reason="lower by more than 2 %"),
    _judged(SCORE % "lstm", "same", 0.525, 0.525, 1.0, 0.999, 1.001),
    _judged(SCORE % "lstm", "same", 0.9871, 0.9871, 1.0, measure="smape"),
)
COMPARISON = Comparison(
    base="128f4f796c4e",
    head="3b9a78c9c132 with uncommitted changes",
    judgements=JUDGEMENTS,
    groups=(GroupRatio("inference", 1.0391, 4), GroupRatio("training", 1.0045, 1), GroupRatio("accuracy", 0.9987, 2)),
    confidence=0.99,
    family_error=0.01,
    notes=("Another process took 12 % of the CPU in 2 of 20 processes.",),
)
ELSEWHERE = Comparison(
    base="laptop.json",
    head="server.json",
    judgements=(
        _judged(
            INFER % "gru-torch", "incomparable", 10.1e-3, 5.05e-3, 0.5, 0.49, 0.51, reason="the machines are not the same"
        ),
    ),
    groups=(GroupRatio("inference", 0.5, 1),),
    confidence=0.99,
    family_error=0.01,
    notes=("One process per side.",),
    differences=(("cpu", "Made CPU", "Other CPU"), ("threads", "2", "16")),
)
EMPTY = Comparison("a", "b", (), (), 0.99, 0.01)


def _screen(comparison: Comparison) -> str:
    """Return the tables as text, as wide as their cells."""
    lines = []
    for text, rows in as_text(verdict_tables(comparison)):
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += [text, *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows), ""]
    return "\n".join(lines)


def _parsed(xml: str) -> ElementTree.Element:
    return ElementTree.fromstring(xml.encode("utf-8"))  # noqa: S314 (our own)


def _evil_comparison(text: str) -> Comparison:
    """Return a comparison in which everything that comes from a file is *text*."""
    judgements = [
        replace(judgement, fullname=f"{text}::{text}{index}", reason=text, grown=text, group=text)
        for index, judgement in enumerate((*JUDGEMENTS, *ELSEWHERE.judgements))
    ]
    return Comparison(text, text, tuple(judgements), (GroupRatio(text, 1.1, 1),), 0.99, 0.01, (text,), ((text, text, text),))


# -------------------------------------------------------------------------------------------------------- golden files


@pytest.mark.parametrize(("name", "comparison"), [("verdicts", COMPARISON), ("verdicts-elsewhere", ELSEWHERE)])
def test_a_comparison_reads_as_the_golden_files(name: str, comparison: Comparison, tmp_path: Path) -> None:
    require_golden(f"{name}.txt", _screen(comparison), tmp_path)
    require_golden(f"{name}.md", verdict_markdown(comparison), tmp_path)
    require_golden(f"{name}.xml", verdict_junit(comparison), tmp_path)
    require_golden(f"{name}.json", json.dumps(verdict_json(comparison), indent=2) + "\n", tmp_path)
    require_golden(f"{name}.annotations.txt", "\n".join(github_annotations(comparison)) + "\n", tmp_path)


def test_nothing_compared_is_said_everywhere() -> None:
    assert whole_verdict(EMPTY) == "no benchmark was compared: unclear (exit code 3)"
    assert as_text(verdict_tables(EMPTY))[-1] == (whole_verdict(EMPTY), [])
    assert verdict_markdown(EMPTY).startswith("## Unclear: no benchmark was compared\n")
    assert _parsed(verdict_junit(EMPTY)).get("tests") == "0"
    assert github_annotations(EMPTY) == []
    assert verdict_json(EMPTY)["benchmarks"] == []


# --------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("ratio", "low", "high", "expected"),
    [
        (1.33, 1.21, 1.46, "1.33x slower (1.21 to 1.46)"),
        (1 / 1.33, 1 / 1.46, 1 / 1.21, "1.33x faster (1.21 to 1.46)"),
        (1.03, 0.9985, 1.06, "1.03x slower (1.00 to 1.06)"),
        (0.97, 0.94, 1.0015, "1.03x faster (1.00 to 1.06)"),
        (1.03, 0.95, 1.1, "1.03x slower (1.05x faster to 1.10x slower)"),
        (0.97, 0.9, 1.1, "1.03x faster (1.10x slower to 1.11x faster)"),
        (1.0, 0.95, 1.1, "equal (1.05x faster to 1.10x slower)"),
        (1.0, 0.999, 1.1, "equal (up to 1.10x slower)"),
        (1.0, 0.9, 1.001, "equal (up to 1.11x faster)"),
        (1.0, 0.999, 1.001, "equal (to within 0.5 %)"),
        (1.33, None, None, "1.33x slower"),
        (1.33, 1.2, None, "1.33x slower"),
        (1.33, 0.0, math.inf, "1.33x slower"),
        (None, None, None, "–"),
        (math.nan, 1.0, 1.0, "–"),
        (0.0, 0.0, 0.0, "–"),
    ],
)
def test_a_ratio_reads_in_words_with_its_interval(
    ratio: float | None, low: float | None, high: float | None, expected: str
) -> None:
    assert ratio_text(_judged(INFER, "same", None, None, ratio, low, high)) == expected


def test_times_below_a_microsecond_are_in_nanoseconds_and_those_too_far_apart_each_in_its_own_unit() -> None:
    short, long = (_judged(f"a.py::test_{base_s}", "unclear", base_s, 1.1 * base_s, 1.1) for base_s in (44e-9, 2.0))
    (_, alone), *_ = as_text(verdict_tables(replace(EMPTY, judgements=(short,))))
    assert [row[3:5] for row in alone] == [["base ns", "head ns"], ["44.0", "48.4"]]
    (_, both), *_ = as_text(verdict_tables(replace(EMPTY, judgements=(short, long))))
    assert [row[3:5] for row in both] == [["base", "head"], ["44.0 ns", "48.4 ns"], ["2.00 s", "2.20 s"]]


def test_memory_is_larger_or_smaller_and_smape_higher_or_lower() -> None:
    both = [_judged(INFER, "slower", 1, 2, 2.0, 0.5, 4.0, measure=measure) for measure in ("memory", "smape")]
    assert list(map(ratio_text, both)) == [
        "2.00x larger (2.00x smaller to 4.00x larger)",
        "2.00x higher (2.00x lower to 4.00x higher)",
    ]


@given(st.floats(1e-3, 1e3), st.floats(1, 10), st.floats(1, 10))
@example(1.005, 1.0, 1.0)
@example(0.995, 1.0, 1.0)
def test_nothing_is_called_slower_or_faster_by_1_00_and_no_percentage_is_signed(
    ratio: float, below: float, above: float
) -> None:
    text = ratio_text(_judged(INFER, "same", 1, 1, ratio, ratio / below, ratio * above))
    assert "1.00x" not in text
    assert not re.search(r"[+-]\d", text)


@given(st.floats(1.006, 1e3), st.floats(1, 5))
def test_the_other_way_round_the_same_numbers_read_faster(ratio: float, above: float) -> None:
    slower = ratio_text(_judged(INFER, "slower", 1, 1, ratio, ratio, ratio * above))
    faster = ratio_text(_judged(INFER, "faster", 1, 1, 1 / ratio, 1 / (ratio * above), 1 / ratio))
    numbers = [list(map(float, re.findall(r"[\d.]+", text))) for text in (slower, faster)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.0101)
    assert "slower" in slower
    assert "faster" in faster


def test_the_whole_verdict_counts_each_benchmark_once_by_its_gravest() -> None:
    assert whole_verdict(COMPARISON) == (
        "1 of 10 slower, 1 worse in peak memory, 1 invalid, 1 missing, 1 unclear, 1 faster, 1 better in sMAPE, 1 new, "
        "2 same: slower (exit code 1)"
    )
    assert whole_verdict(ELSEWHERE) == "1 of 1 incomparable (exit code 4)"


# -------------------------------------------------------------------------------------------------------------- screen


def test_what_a_reader_must_know_comes_first_and_the_whole_verdict_last() -> None:
    tables = as_text(verdict_tables(COMPARISON))
    assert tables[0][0].splitlines()[:3] == [
        "Base: 128f4f796c4e",
        "Head: 3b9a78c9c132 with uncommitted changes",
        "Another process took 12 % of the CPU in 2 of 20 processes.",
    ]
    assert tables[-1] == (whole_verdict(COMPARISON), [])


def test_the_gravest_comes_first_and_equals_stay_in_the_order_of_the_suites() -> None:
    rows = as_text(verdict_tables(COMPARISON))[0][1][1:]
    assert [row[1] for row in rows] == ["slower", "invalid", "missing", "unclear", "faster", "new", *["same"] * 4]
    assert [row[0] for row in rows[-4:]] == [
        "test_forecast[gru-torch-b1]",
        "test_train_step[gru-b1024]",
        "test_score[gru]",
        "test_score[lstm]",
    ]


def test_memory_and_smape_have_rows_only_where_they_are_not_the_same() -> None:
    tables = dict(as_text(verdict_tables(COMPARISON)))
    assert [row[0] for row in tables["Peak memory: 1 worse, 2 same"]] == ["Benchmark", "test_train_step[gru-b1024]"]
    assert [row[1] for row in tables["sMAPE: 1 better, 1 same"]] == ["verdict", "better"]
    same = replace(COMPARISON, judgements=JUDGEMENTS[:2])
    assert dict(as_text(verdict_tables(same)))["Peak memory: 1 same"] == []


def test_a_parameter_that_holds_colons_stays_whole() -> None:
    judgement = _judged("bench/b.py::TestIt::test_op[aten::addmm]", "slower", 1, 2, 2.0)
    comparison = replace(EMPTY, judgements=(judgement,))
    assert as_text(verdict_tables(comparison))[0][1][1][0] == "TestIt::test_op[aten::addmm]"
    case = _parsed(verdict_junit(comparison)).find(".//testcase")
    assert case is not None
    assert (case.get("classname"), case.get("name")) == ("bench.b", "TestIt::test_op[aten::addmm]")


# ---------------------------------------------------------------------------------------------------------------- JSON


def test_a_benchmark_has_the_gravest_of_its_verdicts_and_a_reason_that_says_of_what() -> None:
    entries = {entry["fullname"]: entry for entry in verdict_json(COMPARISON)["benchmarks"]}
    assert len(entries) == 10
    memory = entries[TRAIN % "gru"]
    assert (memory["verdict"], memory["reason"]) == ("slower", "peak memory: 1.50x the memory, allowed is 1.05x")
    assert memory["ratio"] == 1.0045
    assert memory["time"]["verdict"] == "same"
    assert memory["memory"]["ratio"] == 1.5
    assert (entries[SCORE % "gru"]["verdict"], entries[SCORE % "gru"]["reason"]) == (
        "faster",
        "sMAPE: lower by more than 2 %",
    )
    time = entries[INFER % "lstm-torch"]
    assert (time["verdict"], time["reason"]) == ("slower", "the interval lies above the threshold of 3 %")
    assert (time["grown"], time["grown_why"]) == ("aten::addmm +1.3 ms of +1.32 ms", None)
    assert (memory["grown"], memory["grown_why"]) == (None, "only a gate looks for it, in what became slower")


def test_where_it_is_not_known_what_grew_every_form_says_why() -> None:
    why = "benchmarks of other suites are not profiled"
    comparison = replace(EMPTY, judgements=(_judged("b.py::test_a", "slower", 1.0, 1.2, 1.2, 1.1, 1.3, grown_why=why),))
    (entry,) = verdict_json(comparison)["benchmarks"]
    assert (entry["grown"], entry["grown_why"]) == (None, why)
    for text in (_screen(comparison), verdict_markdown(comparison), verdict_junit(comparison)):
        assert f"what grew is not known: {why}" in text


def test_measures_that_decide_together_are_both_told() -> None:
    pair = (_judged(INFER, "slower", reason="a"), _judged(INFER, "slower", measure="memory", reason="b"))
    (entry,) = verdict_json(replace(EMPTY, judgements=pair))["benchmarks"]
    assert entry["reason"] == "a; peak memory: b"


def test_json_holds_no_number_that_json_has_not() -> None:
    wrong = _judged(INFER, "unclear", math.nan, math.inf, math.nan, -math.inf, math.inf, p_value=math.nan)
    pair = (wrong, replace(wrong, measure="memory"))
    comparison = Comparison("a", "b", pair, (GroupRatio("g", math.nan, 0),), math.nan, math.nan)
    content = json.loads(json.dumps(verdict_json(comparison), allow_nan=False))
    (entry,) = content["benchmarks"]
    assert entry["ratio"] is None
    assert entry["memory"]["head_bytes"] is None
    for text in (_screen(comparison), verdict_markdown(comparison), verdict_junit(comparison)):
        assert not re.search(r"\bnan\b.*x |\binf\b", text)


# ------------------------------------------------------------------------------------------------------------ Markdown


def test_no_text_breaks_the_page_or_becomes_markup() -> None:
    text = verdict_markdown(_evil_comparison(EVIL))
    assert broken_rows(text) == []
    assert "<script" not in text
    assert not re.search(r"(?m)^EVIL", text)
    html = MarkdownIt("gfm-like", {"linkify": False}).render(text)
    for tag in ("<a ", "<img", "<em>", "<code>", "<script"):
        assert tag not in html, tag
    # Only our own verdict words are bold.
    assert set(re.findall(r"<strong>(.*?)</strong>", html)) <= {
        "slower",
        "worse",
        "faster",
        "better",
        "unclear",
        "invalid",
        "missing",
        "new",
        "incomparable",
    }
    assert html.count("&lt;script&gt;alert('x')&lt;/script&gt; | \\| `b` [a](http://x) ![i](http://x) *e* __e__ $e$") > 10


@given(st.text(st.sampled_from("ab\\|`*_[]()<>&~$!#-\n\r "), max_size=12))
@example("\\|")
@example("__a__")
@example("\\")
def test_any_text_stays_in_its_cell_and_reads_as_itself(text: str) -> None:
    judgement = _judged("bench/b.py::test_it", "slower", 1.0, 2.0, 2.0, reason=f"x{text}x")
    page = verdict_markdown(replace(EMPTY, judgements=(judgement,)))
    assert broken_rows(page) == []
    html = MarkdownIt("gfm-like", {"linkify": False}).render(page)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)
    assert len(cells) == 8
    shown = cells[3].replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
    assert shown == re.sub(r"\s+", " ", f"x{text}x")


def test_what_is_the_same_is_folded_away_below_what_is_not() -> None:
    text = verdict_markdown(COMPARISON)
    changed, same, *_ = text.split("<details>")
    assert changed.count("| **") == 8
    assert "| same |" not in changed
    assert same.split("</details>")[0].count("| same |") == 7
    assert "The same" not in verdict_markdown(ELSEWHERE)


@pytest.mark.parametrize(
    ("judgements", "answer"),
    [
        ([_judged(INFER % index, "same", 1, 1, 1.0) for index in range(28)], "Pass: 28 of 28 same"),
        ([_judged(INFER % index, "unclear", 1, 1, 1.0) for index in range(35)], "Unclear: 35 of 35 unclear"),
        ([_judged(INFER % index, "new", None, 1) for index in range(9)], "Unclear: 9 of 9 new"),
        ([_judged(INFER % index, "faster" if index else "same", 1, 1, 1.0) for index in range(5)], "Pass: 4 of 5"),
    ],
    ids=["same", "unclear", "new", "faster"],
)
def test_where_nothing_is_slower_at_most_25_lines_are_unfolded_the_first_with_the_answer(
    judgements: list[Judgement], answer: str
) -> None:
    notes = tuple(f"note {index}" for index in range(9))
    text = verdict_markdown(replace(COMPARISON, judgements=tuple(judgements), notes=notes))
    assert text.startswith(f"## {answer}")
    # Of what is folded a line is seen.
    assert len(without_folded(text).splitlines()) + text.count("<summary>") <= 25
    for judgement in judgements:
        assert f"| {judgement.short_name} |" in text
    assert all(f"- {note}\n" in text for note in notes)


def test_what_fails_is_unfolded_however_much_it_is_and_what_changed_most_comes_first() -> None:
    slower = [_judged(INFER % index, "slower", 1, 1, 1 + index / 100) for index in range(1, 31)]
    others = [_judged(INFER % f"unclear-{index}", "unclear", 1, 1, 1.0) for index in range(5)]
    text = verdict_markdown(replace(COMPARISON, judgements=(*slower, *others)))
    shown = [line.split(" | ")[0] for line in without_folded(text).splitlines() if line.startswith("| test_")]
    assert shown == [f"| {judgement.short_name}" for judgement in reversed(slower)]
    assert text.startswith("## Fail: 30 of 35 slower, 5 unclear\n")
    assert "<summary>5 unclear<" in text


def test_the_page_of_a_verdict_begins_with_the_answer_and_draws_what_changed_around_1(tmp_path: Path) -> None:
    page = write_verdict_page(COMPARISON, tmp_path, ("verdict.json",)).read_text(encoding="utf-8")
    assert re.search(r"<h1[^>]*>Fail: 1 of 10 slower, ", page)
    assert page.count("<h1") == 1
    assert '<figure id="figure-ratios"' in page
    assert page.index("test_forecast[lstm-torch-b1]<") < page.index("<figure") < page.index("<details>")
    assert '<a href="verdict.json">' in page
    evil = write_verdict_page(_evil_comparison(EVIL.replace("\ud800", "")), tmp_path).read_text(encoding="utf-8")
    assert evil.count("<script") == 1
    assert "<img" not in evil


def test_the_figure_of_a_verdict_colours_what_it_calls_slower_and_nothing_that_is_the_same(tmp_path: Path) -> None:
    for verdict, is_coloured in (("slower", True), ("same", False), ("unclear", False)):
        judged = [_judged(INFER % "gru-torch", verdict, 1.0, 1.02, 1.02, 1.01, 1.03)]
        page = write_verdict_page(replace(COMPARISON, judgements=tuple(judged)), tmp_path).read_text(encoding="utf-8")
        picture = page[page.index("<svg") : page.index("</svg>")]
        assert (SLOWER.lower() in picture.lower()) == is_coloured


def test_tests_of_one_name_in_two_files_are_two_rows_of_the_figure(tmp_path: Path) -> None:
    judged = [_judged(f"bench/{file}.py::test_x", "slower", 1.0, by, by, by, by) for file, by in (("a", 1.2), ("b", 1.5))]
    page = write_verdict_page(replace(COMPARISON, judgements=tuple(judged)), tmp_path).read_text(encoding="utf-8")
    picture = page[page.index("<svg") : page.index("</svg>")]
    assert "bench/a.py::test_x<" in picture
    assert "bench/b.py::test_x<" in picture


# --------------------------------------------------------------------------------------------------------------- JUnit


def test_each_verdict_has_its_element_and_the_counts_are_right() -> None:
    suites = _parsed(verdict_junit(replace(COMPARISON, judgements=(*JUDGEMENTS, *ELSEWHERE.judgements))))
    (suite,) = suites.findall("testsuite")
    found = {case.get("name"): case[0].tag for case in suite.findall("testcase")}
    assert found["test_forecast[lstm-torch-b1]"] == "failure"
    assert found["test_forecast[gru-openvino-b1]"] == "failure"
    assert found["test_forecast[lstm-openvino-b1]"] == "error"
    assert found["test_forecast[lstm-onnx-b1]"] == "skipped"
    assert found["test_train_step[gru-b1024], peak memory"] == "failure"
    assert found["test_train_step[lstm-b1024]"] == "system-out"
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "16", "failures": "3", "errors": "2", "skipped": "1"}
    assert [suites.get(name) for name in ("tests", "failures", "errors")] == ["16", "3", "2"]


def test_the_failure_of_a_slower_benchmark_has_the_numbers_and_what_grew() -> None:
    failure = _parsed(verdict_junit(COMPARISON)).find(".//failure")
    assert failure is not None
    assert failure.text == (
        "1.33x slower (1.21 to 1.46), 4.00 ms to 5.32 ms, processes 10, 10: the interval lies above the threshold of 3 %; "
        "grew: aten::addmm +1.3 ms of +1.32 ms"
    )


def test_times_are_plain_decimals_of_which_the_suite_has_the_sum() -> None:
    suites = _parsed(verdict_junit(COMPARISON))
    times = [str(case.get("time")) for case in suites.iter("testcase")]
    assert all(re.fullmatch(r"\d+\.\d{9}", time) for time in times)
    assert float(str(suites.get("time"))) == pytest.approx(sum(map(float, times)))
    assert float(times[0]) == 0.01015
    assert float(times[1]) == 0


@given(st.text(max_size=20))
@example(EVIL)
@example("\x00\x0b\ufffe\uffff\ud800 <![CDATA[x]]> &")
def test_any_text_gives_xml_that_is_read_back_without_what_xml_cannot_hold(text: str) -> None:
    comparison = replace(EMPTY, judgements=(_judged(f"bench/b.py::t[{text}]", "slower", 1.0, 2.0, 2.0, reason=text),))
    case = _parsed(verdict_junit(comparison)).find(".//testcase")
    assert case is not None
    held = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)
    assert case.get("name") == f"t[{held}]"


# -------------------------------------------------------------------------------------------------------- annotations


def _read_command(line: str) -> tuple[str, dict[str, str], str]:
    """Read a workflow command as GitHub's runner does (actions/runner, src/Runner.Common/ActionCommand.cs, TryParseV2)."""
    assert line.startswith("::")
    head, found, data = line[2:].partition("::")
    assert found
    command, _, listed = head.partition(" ")
    properties = dict(item.split("=", 1) for item in listed.split(",") if item)
    for escaped, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        properties = {key: value.replace(escaped, character) for key, value in properties.items()}
        data = data.replace(escaped, character) if escaped not in ("%3A", "%2C") else data
    return command, properties, data


def test_annotations_name_the_file_and_what_is_wrong() -> None:
    commands = list(map(_read_command, github_annotations(COMPARISON)))
    assert [command for command, _, _ in commands] == ["error"] * 4 + ["warning"]
    assert commands[0][1] == {
        "file": "bench/bench_inference.py",
        "title": "slower: test_forecast[lstm-torch-b1]",
    }
    assert commands[1][1]["title"] == "worse in peak memory: test_train_step[gru-b1024]"
    assert [command for command, _, _ in map(_read_command, github_annotations(ELSEWHERE))] == ["warning"]


@given(st.text(st.sampled_from("a:,%=\r\n[] 0AD25;"), max_size=15), st.text(st.sampled_from("a:,%\r\n 0AD25"), max_size=15))
@example("a::error file=x::y", "%0A::error::x\n::error::y")
def test_any_text_in_an_annotation_is_read_back_as_it_was(name: str, reason: str) -> None:
    judgement = _judged(f"bench/b.py::t[{name}]", "unclear", reason=reason)
    (line,) = github_annotations(replace(EMPTY, judgements=(judgement,)))
    assert "\n" not in line
    assert "\r" not in line
    command, properties, data = _read_command(line)
    assert command == "warning"
    assert properties == {"file": "bench/b.py", "title": f"unclear: t[{name}]"}
    assert data == f"unclear, processes 10, 10: {reason}"


def test_github_shows_ten_of_each_so_the_tenth_counts_the_rest() -> None:
    eleven = tuple(_judged(INFER % index, "slower", 1, 2, 2.0) for index in range(11))
    lines = github_annotations(replace(EMPTY, judgements=eleven))
    assert len(lines) == 10
    assert lines[-1] == "::error title=rnncore::2 more are slower, invalid or missing; the job's summary has all of them"
    assert len(github_annotations(replace(EMPTY, judgements=eleven[:10]))) == 10


# ---------------------------------------------------------------------------------------------------------- everywhere


def test_text_from_a_file_leaves_every_form_whole(tmp_path: Path) -> None:
    comparison = _evil_comparison(EVIL)
    screen = _screen(comparison)
    assert not re.search(r"(?m)^EVIL|[\x00\x1b\ud800]", screen)
    _parsed(verdict_junit(comparison))
    for line in github_annotations(comparison):
        _read_command(line)
    json.loads(json.dumps(verdict_json(comparison), allow_nan=False))
    for text in (screen, verdict_markdown(comparison), verdict_junit(comparison), *github_annotations(comparison)):
        (tmp_path / "text").write_text(text, encoding="utf-8")


def test_every_field_of_a_judgement_is_shown_somewhere() -> None:
    # A field that is added to Judgement should be added to the JSON too.
    shown = {"fullname", "group", "measure", "verdict", "reason", "base", "head", "ratio", "low", "high", "p_value"}
    shown |= {"base_processes", "head_processes", "grown", "grown_why"}
    assert {field.name for field in fields(Judgement)} == shown


def test_equal_comparisons_give_equal_bytes() -> None:
    again = replace(COMPARISON, judgements=tuple(replace(judgement) for judgement in JUDGEMENTS))
    for render in (_screen, verdict_markdown, verdict_junit, github_annotations):
        assert render(COMPARISON) == render(again)


def test_on_the_screen_what_was_not_measured_as_it_is_the_same_has_no_row() -> None:
    unmeasured = _judged(
        INFER % "lstm-rnncore", "same", reason="runs none of what changed", base_processes=0, head_processes=0
    )
    comparison = replace(COMPARISON, judgements=(JUDGEMENTS[0], unmeasured))
    text = str(as_text(verdict_tables(comparison)))
    assert "gru-torch" in text
    assert "lstm-rnncore" not in text
    assert "2 of 2 same" in text
    # For other programs and on a page it is there.
    assert "lstm-rnncore" in verdict_markdown(comparison)
    assert [one["fullname"] for one in verdict_json(comparison)["benchmarks"]] == [
        JUDGEMENTS[0].fullname,
        unmeasured.fullname,
    ]


def test_on_a_screen_a_table_has_the_gravest_rows_up_to_a_number_and_says_what_has_all() -> None:
    same = [Judgement(f"a.py::test_{number}", "g", "time", "same", "", 1.0, 1.0, 1.0) for number in range(MOST_ROWS)]
    slower = Judgement("a.py::test_slow", "g", "time", "slower", "", 1.0, 2.0, 2.0)
    for judgements, said in ((same, False), ([*same, slower], True)):
        (notes, table), *_ = verdict_tables(Comparison("a", "b", tuple(judgements), (), 0.99, 0.01))
        assert table is not None
        assert len(table.rows) == MOST_ROWS
        assert ("Shown are the 300 gravest of 301; --json and --markdown have all." in notes) == said
    assert table.rows[0][0] == "test_slow"
