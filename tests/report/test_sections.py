"""Tests of the reports: the whole text for runs made by hand, and text from files that stays text."""

import copy
import json
import math
import re
import struct
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from rnncore.errors import RunFileError
from rnncore.report.figure import QUIET, SLOWER
from rnncore.report.fold import without_folded
from rnncore.report.page import figures, render, write_report
from rnncore.report.reproduction import render_reproduction, write_reproduction
from rnncore.report.rows import beside
from rnncore.report.sections.answers import answers_table, compared_ways
from rnncore.report.sections.latency import _quickest_first
from rnncore.report.sections.throughput import inference_table
from rnncore.report.table import Table, words
from rnncore.report.words import bytes_text, half_interval, significant, times
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Summary
from tests.report_text import PUBLISHED, broken_rows, require_golden
from tests.run_files import (
    ARTICLE,
    GPU,
    SECTIONS,
    accuracy,
    benchmark,
    disturbance,
    inference,
    make_run,
    old_run_content,
    percentiles,
    run_content,
    training,
)

TRUST, LATENCY = "## Can it be trusted?", "## Which runtime for one forecast at a time?"
LIMIT = "## How far from the hardware's limit?"
NOT_MEASURED = "## What was not measured?"

# What a text could break: a table row, the page, a code span.
EVIL = "<script>alert('x')</script> | `b`\nEVIL"

RECORD: dict[str, Any] = {
    "cells": {
        "gru": {
            "training": {"seconds": 2280.25, "steps": 4785, "planned_steps": 4785, "windows_per_s": 2148.9},
            "evaluation_s": 52.1,
            "score": {"name": "gru", "smape": 1.1234, "smape_article": 0.28085, "mae_mw": 104.25},
        },
        "lstm": {
            "training": {"seconds": 2011.5, "steps": 4785, "planned_steps": 4785, "windows_per_s": 2436.0},
            "evaluation_s": 41.07,
            "score": {"name": "lstm", "smape": 1.0805, "smape_article": 0.270125, "mae_mw": 99.9},
        },
    },
    "article": {
        "gru": {"training_s": 390.0, "evaluation_s": 1.98, "smape_article": 0.2808},
        "lstm": {"training_s": 462.0, "evaluation_s": 2.60, "smape_article": 0.2701},
    },
    "baselines": [
        {"name": "persistence", "smape": 3.291, "smape_article": 0.82275, "mae_mw": 310.0},
        {"name": "per_hour_regressions", "smape": 0.7585, "smape_article": 0.189625, "mae_mw": 71.25},
    ],
    "data": {"name": "pjm", "digest": "0123456789abcdef" * 4},
    "windows": {"train": 979_983, "test": 108_902},
    "config": {
        "epochs": 5,
        "max_steps": None,
        "seed": 0,
        "batch_size": 1024,
        "device": "cpu",
        "precision": "fp32",
    },
    "machine": run_content()["machine_info"]["fingerprint"],
    "panels": [
        {
            "zone": zone,
            "hours": [1, 2, 3],
            "actual_mw": [100.0, 110.0, 105.0],
            "forecast_mw": {"GRU": [101.0, 109.0, 104.0], "LSTM": [99.0, 111.0, 106.0]},
        }
        for zone in ("AEP", "COMED")
    ],
}

REPRODUCTION_TABLE = """\
| Cell | training CPU s, article | training s, ours | windows/s, ours | evaluation CPU s, article | evaluation s, ours \
| printed sMAPE %, article | same formula, ours | true sMAPE %, article | true sMAPE %, ours |
| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |
| GRU | 390 | 2,280 | 2,150 | 1.98 | 52.1 | 0.2808 | 0.2808 | 1.123 | 1.123 |
| LSTM | 462 | 2,010 | 2,440 | 2.60 | 41.1 | 0.2701 | 0.2701 | 1.080 | 1.081 |
"""


def _section(text: str, heading: str) -> str:
    """Return the lines from a heading to the next of its level or above, or those folded under a line that begins so."""
    lines = text.splitlines()
    fold = f"<details><summary>{heading}"
    if not heading.startswith("#"):
        first = next(index for index, line in enumerate(lines) if line.startswith(fold))
        return "\n".join(lines[first : lines.index("</details>", first)])
    first = lines.index(heading)
    level = heading.split()[0]
    last = next(
        (index for index, line in enumerate(lines[first + 1 :], first + 1) if re.match(rf"#{{1,{len(level)}}} ", line)),
        len(lines),
    )
    return "\n".join(lines[first:last])


def _row(text: str, heading: str, name: str, table: int = 0) -> dict[str, str]:
    """Return a row of a table below a heading by the names of its columns."""
    lines = _section(text, heading).splitlines()
    head = [line for line, below in pairwise(lines) if below.startswith("| --")][table]
    rows = lines[lines.index(head) + 2 :]
    row = next(line for line in rows if line.startswith(f"| {name}"))
    return dict(zip(*([cell.strip() for cell in line.strip("|").split(" | ")] for line in (head, row)), strict=True))


def _text_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where a text stands in JSON values."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _text_paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _text_paths(inner, (*path, index))


def _with_text(content: Any, path: tuple[Any, ...], text: str) -> Any:
    content = copy.deepcopy(content)
    target = content
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = text
    return content


def _faults(text: str) -> list[str]:
    faults = [f"broken row: {row}" for row in broken_rows(text)]
    faults += ["raw <script"] if "<script" in text.lower() else []
    # A line that a newline inside a text has begun.
    faults += ["line broken by a text"] if re.search(r"(?m)^EVIL", text) else []
    return faults


# ---------------------------------------------------------------------------------------------------------- one run


def test_the_report_of_a_run_is_the_golden_text(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path))
    require_golden("report.md", render([run], figures([run])), tmp_path)


def test_equal_runs_give_equal_bytes_and_an_equal_picture(tmp_path: Path) -> None:
    run_file = make_run(tmp_path)
    first, second = (write_report([run_file], tmp_path / name) for name in ("a", "b"))
    assert first == tmp_path / "a" / "index.html"
    drawn = [f"{name}.{kind}" for name in ("throughput", "latency", "accuracy") for kind in ("svg", "png")]
    for name in ("index.html", "report.md", "results.csv", "results.parquet", *drawn):
        assert (first.parent / name).read_bytes() == (second.parent / name).read_bytes()


def test_the_order_of_the_benchmarks_does_not_change_who_is_fastest(tmp_path: Path) -> None:
    content = run_content()
    content["benchmarks"].reverse()
    forth, back = (render([read_run(make_run(tmp_path, one))]) for one in (None, content))
    read, again = (without_folded(text).split(TRUST)[0] for text in (forth, back))
    assert read == again


def test_a_wrong_result_is_not_ranked_however_fast_and_its_reason_is_told(tmp_path: Path) -> None:
    text = render([read_run(make_run(tmp_path))])
    ranked, _ = text.split(TRUST)
    assert "OpenVINO, CPU" not in ranked
    assert "openvino" not in ranked
    assert _row(text, TRUST, "test_forecast[gru-openvino-")["result"] == "**invalid**"
    assert _row(text, TRUST, "test_forecast[gru-torch-")["result"] == "valid"
    left_out = _section(text, NOT_MEASURED)
    assert (
        "| test_forecast[gru-openvino-cpu-fp32-b1] | invalid: outputs differ from float64 by 2.5e-01; rounding explains "
        "1.0e-05 |"
    ) in left_out


def test_skipped_benchmarks_are_counted_by_reason(tmp_path: Path) -> None:
    left_out = _section(render([read_run(make_run(tmp_path))]), NOT_MEASURED)
    assert (
        "| 2 benchmarks, such as test_forecast[gru-torch-cuda-fp32-b1] | skipped: no CUDA device: a CPU build. |" in left_out
    )
    assert "skipped: OpenVINO is not installed. |" in left_out


def test_benchmarks_without_a_result_are_listed_with_how_they_ended_and_why(tmp_path: Path) -> None:
    rows = _section(render([read_run(make_run(tmp_path))]), NOT_MEASURED).splitlines()
    assert "| test_forecast[lstm-openvino-cpu-fp32-b1] | error: RuntimeError: no such node |" in rows
    assert (
        "| test_train_step[lstm-torch-cpu-fp32-b4096] | out of memory: RuntimeError: DefaultCPUAllocator: can't allocate "
        "memory |"
    ) in rows
    assert (
        "| test_train_step[gru-torch-cpu-fp32-b4096] | timed out: CaseTimeout: took longer than 60 s (--rnn-case-timeout) |"
    ) in rows


def test_a_benchmark_whose_process_died_is_listed(tmp_path: Path) -> None:
    content = run_content([inference("gru", "torch", 1, 0.1)])
    content["rnncore"]["failed"] = [{"fullname": "bench/b.py::test_big[x]", "outcome": "died", "reason": "killed"}]
    rows = _section(render([read_run(make_run(tmp_path, content))]), NOT_MEASURED).splitlines()
    assert "| test_big[x] | died: killed |" in rows


def test_a_run_in_which_all_was_measured_says_so(tmp_path: Path) -> None:
    content = run_content([inference("gru", "torch", 1, 0.1)])
    content["rnncore"] |= {"skipped": [], "ceilings": None}
    text = render([read_run(make_run(tmp_path, content))])
    assert "All 1 benchmarks that were asked for were measured." in text
    assert "Everything that was asked for was measured" in _section(text, NOT_MEASURED)


def test_the_verdict_counts_what_was_not_measured_with_its_reasons(tmp_path: Path) -> None:
    assert (
        "- 14 benchmarks were measured; 1 wrong and not ranked (outputs differ from float64 by 2.5e-01), 3 without a result "
        "(error), 3 skipped (no CUDA device, OpenVINO is not installed): see the end.\n"
    ) in render([read_run(make_run(tmp_path))])


def test_a_section_without_rows_is_not_there_and_its_reason_is_a_line_of_what_was_not_measured(tmp_path: Path) -> None:
    content = run_content([benchmark("data", "test_mine", [0.1], 8)])
    text = render([read_run(make_run(tmp_path, content))])
    assert re.findall(r"(?m)^## (.*)$", text) == ["Verdict", *SECTIONS[-5:]]
    reasons = [line for line in _section(text, NOT_MEASURED).splitlines() if line.startswith("- ")]
    assert reasons == [
        "- No valid row of `bench/bench_inference.py` is in this run.",
        "- No valid row of `bench/bench_accuracy.py` is in this run.",
        "- No valid row of `bench/bench_accuracy.py` is in this run with its forecasts.",
        "- No valid row of `bench/bench_training.py` is in this run.",
        "- No valid row of `bench/bench_accuracy.py` is in this run with a curve of its training.",
        "- No valid row of this run tells its operations and the bytes they need.",
        "- No row was profiled: run with `--rnn-profile`.",
    ]


def test_the_markdown_has_no_line_of_what_is_folded_and_the_page_all(tmp_path: Path) -> None:
    page = write_report([make_run(tmp_path)], tmp_path / "out")
    brief, whole = page.with_name("report.md").read_text(encoding="utf-8"), render([read_run(make_run(tmp_path))])
    assert "<details>" not in brief
    assert "<details>" in whole
    rows = "| test_forecast[gru-torch-cpu-fp32-b32] | valid | ATen loop |"
    assert rows in whole
    assert rows not in brief
    assert "test_forecast[gru-torch-cpu-fp32-b32]</td>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["2026-11-24-xeon-2cpu", "2026-11-24-xeon-2cpu-runtimes"])
def test_the_markdown_of_a_default_run_has_at_most_150_lines(name: str) -> None:
    run = read_run(PUBLISHED / name / "run.json")
    assert len(without_folded(render([run], figures([run]))).splitlines()) <= 150


def test_the_answers_come_first_each_with_its_figure_what_reaches_it_and_how_it_compares(tmp_path: Path) -> None:
    rows = [inference("gru", "torch", 1, 10e-3), inference("gru", "onnxruntime", 1, 1e-3)]
    rows += [inference("gru", "torch", 32, 0.032)]
    run = read_run(make_run(tmp_path, run_content([*rows, accuracy("gru", "torch", 0.5, 0.7)])))
    first, *_ = without_folded(render([run])).split("\n## Which")
    what = "4 benchmarks on Made CPU (family 6, model 143), 2 CPUs, 2 threads; ONNX Runtime, PyTorch; "
    assert first.splitlines()[4].startswith(what)
    answers = dict(line.strip("| ").split(" | ", 1) for line in first.splitlines() if line.startswith("| "))
    assert answers["Lowest latency"].startswith("1.00 ms | GRU in ONNX Runtime, CPU, fp32, batch 1 | 10.0x faster")
    assert answers["Highest throughput"].startswith("1,000 /s | GRU in ")
    assert answers["Cheapest"].startswith("1,000 s /million | GRU in ")
    assert answers["Most accurate"] == (
        "0.700 % | GRU fast in PyTorch, CPU, fp32 | sMAPE, 1.08x lower than the best simple rule, 24 per-hour regressions "
        "with 0.758 %; one training, seed 0"
    )
    priced = render([run], prices={"A": 3.6})
    assert "| Cheapest | 1.00 /million | GRU in " in priced


def test_the_chart_beside_the_answers_is_of_the_models_that_the_lowest_latency_is_of(tmp_path: Path) -> None:
    fast = {"recipe": "fast", "hidden_size": 64, "num_layers": 1, "lookback": 24, "features": 37}
    rows = [inference("gru", "torch", 1, 10e-3), inference("gru", "onnxruntime", 1, 8e-3)]
    rows += [inference("gru", runtime, 1, seconds, **fast) for runtime, seconds in (("torch", 2e-3), ("onnxruntime", 3e-3))]
    for number, row in enumerate(rows):
        row["fullname"] = f"{row['fullname']}[{number}]"
    run = read_run(make_run(tmp_path, run_content(rows)))
    assert [alone.median_s for alone, _ in compared_ways(run)] == [2e-3, 3e-3]
    assert {alone.recipe for alone, _ in compared_ways(run)} == {"fast"}


def test_whether_a_run_can_be_trusted_is_a_line_with_its_reasons(tmp_path: Path) -> None:
    right = inference("gru", "torch", 1, 0.1, steady=True)
    wrong = inference("lstm", "torch", 1, 0.1, steady=False, validity="outputs differ")
    noisy = inference("gru", "torch", 1, 0.1, steady=True, **disturbance([0.09, 0.1, 0.11], CPU_steal=2))
    said = "Can it be trusted? "
    assert f"{said}**Yes**: 0 % of 3 rounds disturbed; the machine kept its speed; no row is wrong." in _rendered(
        tmp_path, right, steady=True
    )
    assert f"{said}**With care**: 1 of 2 rows wrong, and not ranked; 1 of 2 rows not steady; 0 % of 6 rounds" in _rendered(
        tmp_path, right, wrong, steady=True
    )
    assert f"{said}**With care**: 67 % of 3 rounds disturbed; " in _rendered(tmp_path, noisy, steady=True)
    assert f"{said}**With care**: the machine did not keep its speed (the second half" in _rendered(tmp_path, right)
    old = render([read_run(make_run(tmp_path, old_run_content()))])
    why = "1 of 15 rows wrong, and not ranked; the file does not say what disturbed the rounds."
    assert f"{said}**Not known**: {why}" in old


def test_a_precision_stands_beside_fp32_in_the_same_runtime_with_its_error_and_smape(tmp_path: Path) -> None:
    rows = [inference("gru", "torch", 1, 10e-3), _in_bf16(inference("gru", "torch", 1, 5e-3, parity_max_abs=2e-3))]
    rows += [inference("gru", "onnxruntime", 1, 1e-3)]
    scored = _in_bf16(accuracy("gru", "torch", 0.5, 0.712))
    scored["extra_info"]["smape_torch_fp32"] = 0.7
    text = _rendered(tmp_path, *rows, scored)
    row = _row(text, "## What does a precision cost?", "GRU in PyTorch, CPU, bf16")
    assert [*row.values()][1:] == ["2.00x faster", "2e-03"]
    assert "**GRU in PyTorch, CPU, bf16** is 2.00x faster" in text
    cost = "the sMAPE of a trained model changes by +0.012 (GRU fast in PyTorch, CPU, bf16)."
    assert f"What it costs at most: answers are off by 2e-03, {cost}" in text
    assert "What does a precision cost" not in _rendered(tmp_path, rows[0], rows[2])


def _in_bf16(row: dict[str, Any]) -> dict[str, Any]:
    row["extra_info"]["precision"] = "bf16"
    return {**row, "fullname": row["fullname"].replace("fp32", "bf16")}


def test_where_no_lower_precision_gains_the_page_says_so_and_what_is_not_sure_is_grey(tmp_path: Path) -> None:
    rounds_s = [1e-3 * (1 + index % 7 / 100) for index in range(21)]
    row, slower, close = inference("gru", "torch", 1, 1e-3), *(_in_bf16(inference("gru", "torch", 1, 1e-3)) for _ in "ab")
    for one, by in ((row, 1), (slower, 2), (close, 1.001)):
        one["stats"]["data"] = [by * seconds for seconds in rounds_s]
    text = _rendered(tmp_path, row, slower)
    assert "No lower precision gains anything; the best of them: **GRU in PyTorch, CPU, bf16** is 2.00x slower" in text
    colours = []
    for one in (slower, close):
        run = read_run(make_run(tmp_path, run_content([row, one])))
        (drawn,) = [figure for figure in figures([run]) if figure.name == "precisions"]
        colours += [value["colour"] for values in drawn.spec["datasets"].values() for value in values if "colour" in value]
    assert colours == [SLOWER, QUIET]


def test_the_next_is_never_one_that_another_is_before(tmp_path: Path) -> None:
    medians_s = {"onnxruntime": 1e-3, "torch": 1.2e-3, "third": 3e-3}
    rows = []
    for title, median_s in medians_s.items():
        row = inference("gru", "torch" if title == "third" else title, 1, median_s, runtime_title=title)
        rows.append({**row, "fullname": f"{row['fullname']}{title}"})
    rows[2]["extra_info"]["runtime"] = "third"
    answers = answers_table(read_run(make_run(tmp_path, run_content(rows))), {}).texts[0]
    assert answers[3].startswith("1.20x faster")
    assert "third" not in answers[3]
    del rows[1]
    (lowest, *_) = answers_table(read_run(make_run(tmp_path, run_content(rows))), {}).texts
    assert lowest[3] == "the next, GRU in third, CPU, fp32, is 3.00x slower"


def test_equal_times_are_equal_to_one_another_in_words(tmp_path: Path) -> None:
    rows = [inference("gru", "torch", 1, 1e-3), inference("gru", "onnxruntime", 1, 0.999e-3)]
    text = _rendered(tmp_path, *rows, training("gru", 2.0), training("lstm", 1.999))
    assert "equal to GRU in PyTorch, CPU, fp32" in text
    assert "equal than" not in text
    assert not re.search(r"equal \([^)]*\) than", text)


def test_a_row_of_wide_quartiles_alone_has_an_interval_of_times_that_are_possible(tmp_path: Path) -> None:
    row = inference("gru", "torch", 1, 1e-3)
    row["stats"] = {"min": 4e-4, "q1": 5e-4, "median": 1e-3, "q3": 2e-3, "max": 3e-3, "rounds": 3}
    run = read_run(make_run(tmp_path, run_content([row])))
    (latency,) = [figure for figure in figures([run]) if figure.name == "latency"]
    (value,) = [one for values in latency.spec["datasets"].values() for one in values]
    # In milliseconds: the quickest round, and the median with half of the interval.
    assert (value["low"], value["high"]) == pytest.approx((0.4, 2.577), rel=1e-3)


def test_profiled_rows_of_one_way_have_bars_of_their_own(tmp_path: Path) -> None:
    profile = {"wall_s": 0.01, "shares_pct": {"pointwise": 100.0}, "ops": []}
    rows = [inference("gru", "torch", 1, 1e-3, profile=profile, threads=threads) for threads in (1, 2)]
    for threads, row in enumerate(rows, 1):
        row["fullname"] = row["fullname"].replace("]", f"-threads{threads}]")
    run = read_run(make_run(tmp_path, run_content(rows)))
    (drawn,) = [figure for figure in figures([run]) if figure.name == "profiles"]
    bars = [one["row"] for values in drawn.spec["datasets"].values() for one in values]
    assert bars == [f"test_forecast[gru-torch-cpu-fp32-b1-threads{threads}]" for threads in (1, 2)]


def test_what_a_row_is_held_against_is_alike_in_all_but_one_axis(tmp_path: Path) -> None:
    rows = [inference("gru", "torch", 1, 1e-3), inference("lstm", "torch", 1, 1e-3), inference("lstm", "torch", 32, 1e-3)]
    rows.append(_in_bf16(inference("lstm", "torch", 1, 1e-3)))
    gru, lstm, larger, lower = read_run(make_run(tmp_path, run_content(rows))).records
    records = [gru, lstm, larger, lower]
    assert beside(records, "cell", "gru") == {lstm.fullname: gru}
    assert beside(records, "precision", "fp32") == {lower.fullname: lstm}
    assert beside([lower], "precision", "fp32") == {}


@pytest.mark.parametrize("half_width", [0.3, 0.09, 0.004, 0.0004, 0.0])
def test_a_time_has_three_significant_digits_however_sure_it_is(half_width: float, tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 0.012346)
    entry["stats"]["data"] = [0.012346 * (1 + side * half_width) for side in (-1, 0, 1)]
    assert _row(_rendered(tmp_path, entry), "Batch of 1", "PyTorch")["median ms"] == "12.3"


def test_the_interval_of_a_median_narrows_with_the_rounds() -> None:
    rounds_s = tuple(1 + 0.1 * ((7 * index) % 101 - 50) / 50 for index in range(101))
    assert half_interval(Record("a", "a", (0.9, 1.0, 1.1), {})) == pytest.approx(0.1)
    # Ranks 41 and 61 of 101 evenly spaced values.
    assert half_interval(Record("a", "a", rounds_s, {})) == pytest.approx(0.02)


def test_of_quartiles_alone_the_interval_is_that_of_normal_rounds_with_them() -> None:
    quartile = NormalDist(100.0, 1.0).inv_cdf(0.25)
    summary = Summary(97.0, quartile, 100.0, 200.0 - quartile, 103.0, rounds=400)
    # The standard error of a median is 1.2533 times that of a mean.
    assert half_interval(Record("a", "a", (), {}, summary)) == pytest.approx(1.96 * 1.2533 / 20 / 100, rel=1e-3)


def test_the_change_of_smape_by_a_runtime_is_told(tmp_path: Path) -> None:
    same = accuracy("gru", "torch", 0.5, 1.0)
    worse = accuracy("gru", "onnxruntime", 0.4, 1.02, smape_torch_fp32=1.0)
    assert "A runtime changes the sMAPE by +0.020 at most: GRU fast in ONNX Runtime, CPU, fp32." in _rendered(
        tmp_path, same, worse
    )
    assert "No runtime changes the sMAPE of a model in its third decimal." in _rendered(tmp_path, same)


def _of_fast(runtime: str, batch_size: int, median_s: float) -> dict[str, Any]:
    row = inference("gru", runtime, batch_size, median_s, recipe="fast", hidden_size=64, num_layers=1, lookback=24)
    row["fullname"] = row["fullname"].replace("]", "-fast]")
    return row


def test_two_recipes_are_told_apart_by_name_and_never_held_against_each_other(tmp_path: Path) -> None:
    rows = [inference("gru", "torch", 1, 10e-3), inference("gru", "onnxruntime", 1, 3e-3)]
    rows += [_of_fast("torch", 1, 1e-3), _of_fast("onnxruntime", 1, 5e-4)]
    run = read_run(make_run(tmp_path, run_content(rows)))
    text = render([run], figures([run]))
    verdict = without_folded(text)
    assert "by models of the recipe article, **GRU in ONNX Runtime, CPU, fp32** is fastest" in verdict
    assert "by models of the recipe fast, **GRU fast in ONNX Runtime, CPU, fp32** is fastest" in verdict
    assert "2.00x faster than GRU fast in PyTorch" in verdict
    assert "| 1 | GRU | ONNX Runtime, CPU, fp32 | 3.00 ms | 333 | PyTorch, CPU, fp32: 3.33x slower |" in text
    assert "| 1 | GRU fast | ONNX Runtime, CPU, fp32 | 500" in text
    assert "<summary>Batch of 1, article: all 2<" in text
    assert "<summary>Batch of 1, fast: all 2<" in text
    for figure in figures([run]):
        if figure.name in ("throughput", "latency"):
            assert "GRU fast" in json.dumps(figure.spec)


def test_the_front_of_speed_and_accuracy_names_each_recipe(tmp_path: Path) -> None:
    article = accuracy("gru", "torch", 5.0, 1.78, **ARTICLE)
    article["fullname"] += "-article"
    run = read_run(make_run(tmp_path, run_content([accuracy("gru", "torch", 0.5, 0.667), article])))
    (chart,) = (figure for figure in figures([run]) if figure.name == "accuracy")
    assert "GRU fast in PyTorch, CPU, fp32" in json.dumps(chart.spec)
    assert '"GRU in PyTorch, CPU, fp32"' in json.dumps(chart.spec)
    text = render([run], figures([run]))
    assert "The `article` model after" in text
    assert "The `fast` model after" in text


def test_the_smape_of_a_model_that_was_never_trained_stands_in_no_table(tmp_path: Path) -> None:
    text = _rendered(tmp_path, _of_fast("torch", 1, 1e-3))
    assert "69.5" not in _section(text, "## All results")


def test_time_to_a_target_is_that_of_the_first_point_at_or_below_it(tmp_path: Path) -> None:
    points = [(10, 1.5, 0.4, 2.1), (20, 3.0, 0.2, 1.08), (30, 4.5, 0.1, 1.09), (40, 6.25, 0.1, 0.95)]
    curve = [dict(zip(("step", "seconds", "loss", "score"), point, strict=True)) for point in points]
    training = {"steps": 40, "seconds": 6.25, "seed": 0, "curve": curve}
    row = _row(_rendered(tmp_path, accuracy("gru", "torch", 0.5, 0.95, training=training)), "Time to a target", "GRU fast")
    assert (row["s to 1.5 %"], row["s to 1.12 %"], row["s to 1.08 %"]) == ("3.00", "3.00", "3.00")
    assert (row["s to 1 %"], row["s to 0.9 %"]) == ("6.25", "–")
    assert row["s to AR(90)'s 1.017 %"] == "6.25"
    assert (row["at the end, sMAPE %"], row["after s"]) == ("0.950", "6.25")


def test_what_else_a_point_of_a_curve_holds_is_left_alone(tmp_path: Path) -> None:
    row = accuracy("gru", "torch", 0.5, 0.95)
    for point in row["extra_info"]["training"]["curve"]:
        point["name"] = "mine"
    drawn = {figure.name: figure for figure in figures([read_run(make_run(tmp_path, run_content([row])))])}
    assert "mine" not in json.dumps(drawn["learning"].spec)


@pytest.mark.parametrize("phase", ["infer", "train", "accuracy", "data"])
def test_a_run_of_one_phase_alone_is_reported(phase: str, tmp_path: Path) -> None:
    entries = [entry for entry in run_content()["benchmarks"] if entry["extra_info"]["phase"] == phase]
    text = (
        write_report([make_run(tmp_path, run_content(entries))], tmp_path / "out")
        .with_name("report.md")
        .read_text(encoding="utf-8")
    )
    assert broken_rows(text) == []
    assert (tmp_path / "out" / "throughput.png").exists() == (phase == "infer")
    assert ("throughput.png" in text) == (phase == "infer")


def test_a_run_whose_every_result_is_wrong_is_reported_without_a_winner(tmp_path: Path) -> None:
    content = run_content([inference("gru", "torch", 1, 0.1, validity="outputs differ")])
    text = write_report([make_run(tmp_path, content)], tmp_path / "out").with_name("report.md").read_text(encoding="utf-8")
    assert "fastest:" not in text
    assert "invalid: outputs differ" in text


def test_a_run_without_our_benchmarks_is_reported_as_that_of_another_project(tmp_path: Path) -> None:
    content = run_content([{**inference("gru", "torch", 1, 0.1), "extra_info": {}}])
    text = write_report([make_run(tmp_path, content)], tmp_path / "out").with_name("report.md").read_text(encoding="utf-8")
    assert text.startswith("# Benchmarks: how long each takes here\n")


@pytest.mark.parametrize(
    "entry",
    [
        benchmark("infer", "test_mine", [0.1], 8),
        benchmark("infer", "test_mine", [0.1], 8, cell="gru"),
        benchmark("train", "test_mine", [0.1], 8, cell="gru"),
        benchmark("accuracy", "test_mine", [0.1], 8, cell="gru"),
        benchmark("data", "test_mine", [0.1], 8),
    ],
    ids=["infer, no cell or batch", "infer, no batch", "train, no batch", "accuracy, no score", "data"],
)
def test_a_users_benchmark_that_leaves_axes_or_facts_out_is_reported_or_refused_by_name(
    entry: dict[str, Any], tmp_path: Path
) -> None:
    try:
        text = (
            write_report([make_run(tmp_path, run_content([entry]))], tmp_path / "out")
            .with_name("report.md")
            .read_text(encoding="utf-8")
        )
    except RunFileError as error:
        assert "test_mine" in str(error)  # noqa: PT017 (either outcome is right)
    else:
        assert broken_rows(text) == []


# ----------------------------------------------------------------------------------------------- what figures rest on


def _rendered(folder: Path, *entries: dict[str, Any], **session: Any) -> str:
    content = run_content(list(entries))
    content["rnncore"].update(session)
    return render([read_run(make_run(folder, content))])


def test_an_old_run_file_without_the_new_facts_gives_a_report_of_what_it_has(tmp_path: Path) -> None:
    old, new = (make_run(tmp_path, content, name) for content, name in ((old_run_content(), "old.json"), (None, "new.json")))
    write_report([old], tmp_path / "out")
    text = render([read_run(old)])
    assert _faults(text) == []
    assert "| ceiling" not in text.lower()
    assert "did not look for disturbances" in _section(text, NOT_MEASURED)
    ours = _row(text, "Batch of 1", "ONNX Runtime, CPU, fp32 | LSTM")
    assert (ours["Kernel"], ours["median ms"], ours["GFLOP/s (of ceiling)"]) == ("–", "1.82", "58.8")
    assert _row(text, "## Machine and data", "Governor")["this run"] == "–"
    verdict, now = (_section(one, "## Verdict") for one in (text, render([read_run(new)])))
    # What failed was not kept then, memory was that of the session so far, and nothing looked for noise.
    left_out = ("Lowest memory", "Can it be trusted?")
    told, tells = (
        [line for line in one.splitlines() if not line.strip("| ").startswith(left_out)] for one in (verdict, now)
    )
    assert told == [line.replace("3 without a result (error), ", "") for line in tells]
    for pair in ([old, new], [new, old]):
        assert _faults(render([read_run(path) for path in pair])) == []


def test_what_ran_and_what_holds_it_back_stand_in_words(tmp_path: Path) -> None:
    entries = [
        inference("gru", "torch", size, 0.1, bound=bound)
        for size, bound in ((1, "latency"), (2, "cache"), (8, "compute"), (64, "bandwidth"), (512, None))
    ]
    text = _rendered(tmp_path, *entries)
    rows = [_row(text, TRUST, f"test_forecast[gru-torch-cpu-fp32-b{size}]") for size in (1, 2, 8, 64, 512)]
    words = ["waiting for the step before", "reading the weights again", "arithmetic", "memory bandwidth", "–"]
    assert [row["held back by"] for row in rows] == words
    assert {row["Kernel"] for row in rows} == {"ATen loop"}


def test_shares_steps_errors_and_energy_stand_beside_each_other_and_what_is_unknown_is_a_dash(tmp_path: Path) -> None:
    known = {
        "gemm_ceiling_pct": 20.89,
        "recurrent_ceiling_pct": 84.37,
        "cache_ceiling_pct": 61.5,
        "bandwidth_ceiling_pct": 5.02,
        "us_per_step": 31.5175,
        "parity_max_abs": 3.26e-9,
        "joules_per_1000": 71.25,
    }
    text = _rendered(
        tmp_path,
        inference("gru", "torch", 1, 0.1, **known),
        inference("lstm", "torch", 1, 0.1, **dict.fromkeys(known), peak_rss_bytes=None, model_rss_bytes=None),
    )
    columns = ("of product", "of chain", "of cache", "of copy", "µs per step", "error to float64", "J per 1,000 windows")
    columns += ("peak memory", "model's share")
    rows = [_row(text, TRUST, f"test_forecast[{cell}-") for cell in ("gru", "lstm")]
    assert [rows[0][name] for name in columns] == [
        "21 %",
        "84 %",
        "62 %",
        "5 %",
        "31.5",
        "3.3e-09",
        "71.2",
        "640 MiB",
        "40 MiB",
    ]
    assert [rows[1][name] for name in columns] == ["–"] * 9


@pytest.mark.parametrize(
    ("share_pct", "spread_pct", "shown"),
    [
        (100.4, 0.0, "100 %"),
        (104.0, 6.0, "104 %, chance explains 11 %"),
        (111.0, 6.0, "111 %, chance explains 11 %"),
        (112.0, 6.0, "112 %: above its ceiling"),
        (106.0, None, "106 %: above its ceiling"),
        (140.0, 6.0, "140 %: above its ceiling"),
        (140.0, None, "140 %: above its ceiling"),
    ],
)
@pytest.mark.parametrize(("ceiling", "column"), [("gemm", "of product"), ("recurrent", "of chain"), ("cache", "of cache")])
def test_a_share_above_100_pct_is_never_shown_as_if_it_were_one(
    ceiling: str, column: str, share_pct: float, spread_pct: float | None, shown: str, tmp_path: Path
) -> None:
    spreads = {} if spread_pct is None else {"ceiling_spreads_pct": {f"{ceiling}_ceiling_pct": spread_pct}}
    # The middle half of its rounds is within 5 % of the median.
    entry = inference("gru", "torch", 1, 0.1, **{f"{ceiling}_ceiling_pct": share_pct}, **spreads)
    text = _rendered(tmp_path, entry, inference("lstm", "torch", 1, 0.1))
    assert _row(text, TRUST, "test_forecast[gru-")[column] == shown
    assert ("1 row above a ceiling of the machine" in text) == ("above" in shown)


def test_the_middle_half_of_the_rounds_is_noise_of_a_share_as_the_looks_at_the_ceiling_are(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 0.1, recurrent_ceiling_pct=106.0)
    (record,) = read_run(make_run(tmp_path, run_content([entry]))).records
    assert record.ceiling_noise_pct("recurrent") == pytest.approx(5.0)
    assert record.above_ceilings == ["recurrent"]
    entry["extra_info"]["ceiling_spreads_pct"] = {"recurrent_ceiling_pct": 2.0}
    (record,) = read_run(make_run(tmp_path, run_content([entry]))).records
    assert record.above_ceilings == []


def test_the_looks_at_a_ceiling_stand_beside_it(tmp_path: Path) -> None:
    content = run_content([inference("gru", "torch", 1, 0.1)])
    chain, *others = content["machine_info"]["ceilings"]["recurrent"]
    content["machine_info"]["ceilings"] = {
        **content["machine_info"]["ceilings"],
        "recurrent": [{**chain, "looks": 5, "lowest_per_s": 101.2e9}, *others],
    }
    rows = _section(render([read_run(make_run(tmp_path, content))]), LIMIT).splitlines()
    assert any(row.endswith("| ONNX Runtime | 129 GFLOP/s (5 looks, from 101) |") for row in rows)


def test_the_lowest_memory_is_that_of_a_process_with_the_models_share_beside_it(tmp_path: Path) -> None:
    mib = 1 << 20
    large = inference("gru", "torch", 1, 0.1, peak_rss_bytes=236 * mib, model_rss_bytes=12 * mib)
    small = inference("lstm", "onnxruntime", 1, 0.1, peak_rss_bytes=71 * mib, model_rss_bytes=17 * mib)
    unknown = inference("lstm", "torch", 1, 0.1, peak_rss_bytes=None, model_rss_bytes=None)
    row = _row(_rendered(tmp_path, large, small, unknown), "## Verdict", "Lowest memory", table=1)
    assert [*row.values()][1:] == [
        "LSTM in ONNX Runtime, CPU, fp32, batch 1",
        "71 MiB, 17 MiB of it the model's",
        "GRU in PyTorch, CPU, fp32, batch 1: 236 MiB, 12 MiB of it the model's",
    ]


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"process_device_bytes": 512 * 2**20}, "1,536 MiB"),
        ({"process_device_bytes": None}, "96 MiB by torch"),
        ({"peak_rss_bytes": None, "process_device_bytes": 512 * 2**20}, "96 MiB by torch"),
    ],
)
def test_the_memory_of_a_gpu_benchmark_is_that_of_its_process_on_both_or_what_torch_held_of_the_gpu(
    facts: dict[str, Any], shown: str, tmp_path: Path
) -> None:
    of_host = {"peak_rss_bytes": 1024 * 2**20, "model_rss_bytes": 2**20, "peak_device_bytes": 96 * 2**20}
    entry = inference("gru", "torch", 1, 0.1, device="cuda", **{**of_host, **facts})
    assert _row(_rendered(tmp_path, entry), TRUST, "test_forecast[gru-")["peak memory"] == shown


def test_on_a_gpu_rows_with_the_copies_are_ranked_and_those_without_are_shown(tmp_path: Path) -> None:
    def of_gpu(clock: str, median_s: float) -> dict[str, Any]:
        entry = inference("gru", "torch", 1, median_s, device="cuda", clock=clock)
        entry["fullname"] = entry["fullname"].replace("-cpu-", f"-cuda-{clock}-")
        return entry

    rendered = _rendered(tmp_path, of_gpu("device", 0.1), of_gpu("host", 0.3), inference("gru", "torch", 1, 0.2))
    verdict, one_at_a_time = (
        rendered.split(f"## {title}")[1].split("\n## ")[0] for title in ("Verdict", "Which runtime for")
    )
    best = _row(rendered, "## Verdict", "Lowest latency")
    assert [*best.values()][1:] == [
        "200 ms",
        "GRU in PyTorch, CPU, fp32, batch 1",
        "the next, GRU in PyTorch, CUDA, fp32, with copies, is 1.50x slower",
    ]
    assert "without copies" not in verdict
    assert "**GRU in PyTorch, CPU, fp32** is fastest: 200 ms" in one_at_a_time
    assert [line.split(" | ")[-1] for line in one_at_a_time.splitlines() if line.startswith("| GRU in")] == [
        "– |",
        "1.50x slower |",
        "– |",
    ]
    assert "without copies" in one_at_a_time
    against = {
        row["Runtime"]: row["against PyTorch, CPU, fp32, GRU"]
        for row in (
            _row(rendered, "Batch of 1", f"PyTorch, {how}, fp32{copies}")
            for how, copies in (("CPU", ""), ("CUDA", ", with copies"), ("CUDA", ", without copies"))
        )
    }
    assert [*against.values()] == ["–", "1.50x slower", "–"]


def test_the_lowest_memory_counts_the_gpus_for_a_process_that_uses_one(tmp_path: Path) -> None:
    mib = 1 << 20
    on_cpu = inference("gru", "torch", 1, 0.1, peak_rss_bytes=236 * mib, model_rss_bytes=12 * mib)
    of_gpu = {"device": "cuda", "clock": "host", "peak_rss_bytes": 200 * mib, "model_rss_bytes": 1 * mib}
    on_gpu = inference("lstm", "torch", 1, 0.1, **of_gpu, process_device_bytes=500 * mib, peak_device_bytes=1 * mib)
    unknown = inference("lstm", "onnxruntime", 1, 0.1, **of_gpu)
    row = _row(_rendered(tmp_path, on_cpu, on_gpu, unknown), "## Verdict", "Lowest memory")
    assert [*row.values()][2:] == [
        "236 MiB, 12 MiB of it the model's",
        "LSTM in PyTorch, CUDA, fp32, with copies, batch 1: 700 MiB, 500 MiB of it on the GPU",
    ]


def test_disturbed_rounds_are_counted_by_cause_beside_both_medians(tmp_path: Path) -> None:
    rounds_s = [0.1, 0.1, 0.1, 0.3, 0.4]
    entry = inference("gru", "torch", 1, 0.1, first_call_s=0.75, **disturbance(rounds_s, CPU_steal=2, own_threads=1))
    entry["stats"]["data"] = rounds_s
    row = _row(_rendered(tmp_path, entry), TRUST, "test_forecast[gru-", table=1)
    assert row["Disturbed by"] == "2 × CPU steal, 1 × own threads"
    assert (row["rounds"], row["disturbed"]) == ("5", "2")
    assert (row["median of all"], row["of the undisturbed"], row["first call"]) == ("100 ms", "100 ms", "750 ms")


def test_where_every_round_was_disturbed_there_is_no_median_of_the_others(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 0.1, **disturbance([0.09, 0.1, 0.11], CPU_steal=3))
    row = _row(_rendered(tmp_path, entry), TRUST, "test_forecast[gru-", table=1)
    assert (row["rounds"], row["disturbed"], row["median of all"], row["of the undisturbed"]) == ("3", "3", "100 ms", "–")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"steady": True}, "yes"),
        ({"steady": False, "steady_why": "the second half is 1.38x slower"}, "not steady: the second half is 1.38x slower"),
        ({"steady": None, "steady_why": "n=3 is too few"}, "–"),
    ],
)
def test_a_row_says_whether_its_halves_agree(facts: dict[str, Any], expected: str, tmp_path: Path) -> None:
    text = _rendered(tmp_path, inference("gru", "torch", 1, 0.1, **facts))
    assert _row(text, TRUST, "test_forecast[gru-", table=1)["steady"] == expected


def test_tails_stand_with_their_intervals_or_with_why_there_are_none(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 0.01, percentiles=percentiles(0.01, known=("p50", "p90")))
    row = _row(_rendered(tmp_path, entry), LATENCY, "test_forecast[gru-", table=1)
    assert row["unit"] == "ms"
    assert (row["p50"], row["p90"]) == ("10.0 (9.80 to 10.6)", "14.0 (13.7 to 14.8)")
    assert (row["p95"], row["p99"]) == ("n=129 is too few for p95, 130 needed", "n=661 is too few for p99, 662 needed")


def test_a_session_that_was_not_steady_is_told_with_how_much_it_changed(tmp_path: Path) -> None:
    text = _rendered(tmp_path, inference("gru", "torch", 1, 0.1), steady=False, steady_why="the second half is 1.25x slower")
    assert "**The session is not steady**: of a small fixed piece of work, the second half is 1.25x slower;" in text


def test_a_steady_session_is_told_and_one_too_short_to_tell_is_not(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 0.1)
    sentence = "A small fixed piece of work took equally long in both halves of the session."
    assert sentence in _rendered(tmp_path, entry, steady=True)
    text = _rendered(tmp_path, entry, steady=None, steady_why="n=2 is too few to compare halves, 10 needed")
    assert sentence not in text
    assert "not steady" not in text


def test_what_the_session_cost_beside_the_timed_rounds_is_told_part_by_part_from_one_second_on(tmp_path: Path) -> None:
    assert (
        "Of the session's 84 s, 42 s were timed rounds, 0 s timed trainings and 43 s overhead: 21 s exports, 13 s "
        "collection and the rest of pytest, 5 s ceilings, 3 s evidence of the path.\n"
    ) in _rendered(tmp_path, inference("gru", "torch", 1, 0.1))


def test_ceilings_stand_with_what_reached_them_and_those_that_nobody_computes_as_a_line_with_why(tmp_path: Path) -> None:
    text = _rendered(tmp_path, inference("gru", "torch", 1, 0.1))
    rows = _section(text, LIMIT).splitlines()
    assert "| square product of a library, fp32 | CPU, 2 threads | ONNX Runtime, 256 x 256 | 178 GFLOP/s |" in rows
    assert "bf16" not in _section(text, LIMIT)
    assert "| 1 ceiling | not measured: no library here computes it |" in _section(text, NOT_MEASURED)
    assert "| chain of products (1,024, 256) x (256, 3 x 256), fp32 | CPU, 2 threads | ONNX Runtime | 129 GFLOP/s |" in rows
    assert "| copying memory | CPU, 2 threads | torch, 128 MiB | 26.2 GB/s |" in rows


def test_the_peak_is_shown_once_and_chains_and_reads_are_folded(tmp_path: Path) -> None:
    content = run_content([inference("gru", "torch", 1, 0.1)])
    alike = {"device": "cpu", "threads": 2}
    unknown = {"per_s": None, "per_s_why": "no library here computes it"}
    ceilings = content["machine_info"]["ceilings"]
    content["machine_info"]["ceilings"] = {
        **ceilings,
        "peak": [
            {**alike, "precision": "fp32", "per_s": 538e9, "by": "AVX-512 multiply-adds"},
            {**alike, "precision": "int8", "per_s": 2150e9, "by": "AVX512-VNNI dot products"},
        ],
        "recurrent": [
            *ceilings["recurrent"],
            *(
                {**alike, "precision": precision, "batch_size": 1, "hidden_size": 256, "gates": 3, **unknown}
                for precision in ("bf16", "int8")
            ),
        ],
        "read": [{**alike, "bytes": 786_432, "per_s": 260e9, "by": "loads"}],
    }
    text = render([read_run(make_run(tmp_path, content))])
    rows = _section(text, "All ceilings").splitlines()
    (peak,) = (row for row in rows if "registers alone, fp32" in row)
    assert peak == "| products in registers alone, fp32 | CPU, 2 threads | AVX-512 multiply-adds | 538 GFLOP/s |"
    assert "| products in registers alone, int8 | CPU, 2 threads | AVX512-VNNI dot products | 2,150 GOP/s |" in rows
    assert "| reading 768 KiB again and again | CPU, 2 threads | loads | 260 GB/s |" in rows
    assert sum("chain of products" in row for row in rows) == len(ceilings["recurrent"])
    shown = _section(without_folded(text), LIMIT).splitlines()
    assert [row.split(" | ")[0] for row in shown if row.startswith("| ")][2:] == [
        "| products in registers alone, fp32",
        "| products in registers alone, int8",
        "| copying memory",
    ]
    assert "| 3 ceilings | not measured: no library here computes it |" in text


# ------------------------------------------------------------------------------------------------------- side by side


def _two_runs(tmp_path: Path) -> list[Path]:
    one = [inference("gru", "torch", 1, 0.010), inference("lstm", "torch", 1, 0.004), training("gru", 2.0)]
    other = [inference("gru", "torch", 1, 0.0133), inference("lstm", "torch", 1, 0.003), accuracy("gru", "torch", 0.5, 1.0)]
    contents = run_content(one), run_content(other, cpu="Other CPU", cpus=16, gpu=GPU)
    contents[1]["commit_info"]["dirty"] = False
    return [make_run(tmp_path, content, f"000{index}_made.json") for index, content in enumerate(contents, 1)]


def test_two_runs_are_put_side_by_side_with_ratios_in_words(tmp_path: Path) -> None:
    rows = _section(render([read_run(path) for path in _two_runs(tmp_path)]), "## What changed, and why?").splitlines()
    assert "| Benchmark | A | B | B against A | Why |" in rows
    why = "its products are equal; its memory is equal, but each step waits for the one before |"
    assert f"| test_forecast[gru-torch-cpu-fp32-b1] | 10.0 ms | 13.3 ms | 1.33x slower | {why}" in rows
    assert f"| test_forecast[lstm-torch-cpu-fp32-b1] | 4.00 ms | 3.00 ms | 1.33x faster | {why}" in rows


def test_a_benchmark_that_one_run_lacks_has_a_dash_and_no_ratio(tmp_path: Path) -> None:
    rows = _section(render([read_run(path) for path in _two_runs(tmp_path)]), "## What changed, and why?").splitlines()
    assert "| test_train_step[gru-torch-cpu-fp32-b1024] | 2.00 s | – | – | – |" in rows
    assert "| test_score[gru-torch-cpu-fp32-b2048-fast] | – | 500 ms | – | – |" in rows


def test_facts_that_differ_between_machines_are_bold_and_the_others_are_not(tmp_path: Path) -> None:
    rows = _section(render([read_run(path) for path in _two_runs(tmp_path)]), "## Machines and data").splitlines()
    assert "| Fact | A: Made CPU (family 6, model 143) | B: Other CPU, Made GPU |" in rows
    assert "| CPU | **Made CPU (family 6, model 143)** | **Other CPU** |" in rows
    assert "| CPUs, threads used | **2, 2** | **16, 2** |" in rows
    assert "| GPU | **none** | **Made GPU, 81,920 MiB, CUDA 13.0, cuDNN 91300** |" in rows
    assert "| System | Linux x86_64, Python 3.11.7 | Linux x86_64, Python 3.11.7 |" in rows
    assert "| Commit | **128f4f796c4e with uncommitted changes** | **128f4f796c4e** |" in rows


def test_a_wrong_result_has_no_time_beside_the_other_run(tmp_path: Path) -> None:
    contents = [run_content([inference("gru", "torch", 1, 0.01), inference("lstm", "torch", 1, 0.01)]) for _ in range(2)]
    contents[1]["benchmarks"][0]["extra_info"]["validity"] = "outputs differ"
    paths = [make_run(tmp_path, content, f"{index}.json") for index, content in enumerate(contents)]
    text = render([read_run(path) for path in paths])
    assert "| test_forecast[gru-torch-cpu-fp32-b1] | 10.0 ms | – | – |" in text
    assert "outputs differ" in text


def test_three_runs_are_each_set_against_the_first(tmp_path: Path) -> None:
    paths = [
        make_run(tmp_path, run_content([inference("gru", "torch", 1, median_s)]), f"{index}.json")
        for index, median_s in enumerate((0.01, 0.02, 0.01))
    ]
    text = render([read_run(path) for path in paths])
    assert "| Benchmark | A | B | C | B against A | C against A |" in text
    assert "| 10.0 ms | 20.0 ms | 10.0 ms | 2.00x slower | equal |" in text


# ------------------------------------------------------------------------------------------------- text that stays text


def test_no_text_of_a_run_file_breaks_a_row_or_reaches_the_page_as_html(tmp_path: Path) -> None:
    content = hostile = run_content()
    other = read_run(make_run(tmp_path, content, "other.json"))
    faults = {}
    for path in _text_paths(content):
        # A run with a phase or a time that is none is refused.
        if path[-1] in ("phase", "datetime"):
            continue
        hostile = _with_text(hostile, path, EVIL)
        run = read_run(make_run(tmp_path, _with_text(content, path, EVIL)))
        found = _faults(render([run])) + _faults(render([run, other])) + _faults(render([other, run]))
        if found:
            faults["/".join(map(str, path))] = found[0]
    assert faults == {}
    # Figures take seconds: once, with all of it.
    run = read_run(make_run(tmp_path, hostile))
    assert _faults(render([run], figures([run]))) == []


def test_no_name_in_a_run_file_breaks_a_row_or_reaches_the_page_as_html(tmp_path: Path) -> None:
    content = run_content()
    content["machine_info"]["fingerprint"]["packages"] = {EVIL: "1.0"}
    content["machine_info"]["fingerprint"]["isa"] = {EVIL: True}
    content["rnncore"]["overhead"]["parts_s"] = {EVIL: 12.0}
    for entry in content["benchmarks"]:
        entry["extra_info"]["disturbance"]["causes"] = {EVIL: 2}
        if entry["extra_info"]["phase"] == "accuracy":
            entry["extra_info"]["baselines_smape"] = {EVIL: 0.5}
    run = read_run(make_run(tmp_path, content))
    assert _faults(render([run])) == []
    assert _faults(render([run, run])) == []


def test_a_file_name_does_not_break_a_row(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, name="a|b<script>c.json"))
    assert _faults(render([run])) == []
    assert _faults(render([run, run])) == []


def test_a_cell_keeps_its_text_on_one_line_in_one_cell() -> None:
    table = Table(words("a", "b"), [["x|y", "<b>\r\n&"]]).markdown()
    assert table.splitlines()[2] == "| x\\|y | &lt;b>  &amp; |"


@pytest.mark.parametrize(
    ("device", "gpu", "said"), [("cuda", "emulated GPU", 1), ("cuda", "H100", 0), ("cpu", "emulated GPU", 0)]
)
def test_a_reproduction_on_an_emulated_device_says_that_it_is_no_measurement(device: str, gpu: str, said: int) -> None:
    config, machine = {**RECORD["config"], "device": device}, {**RECORD["machine"], "gpu": {**GPU, "name": gpu}}
    page = render_reproduction({**RECORD, "config": config, "machine": machine})
    assert page.count("**Emulated: the device was made by tests, and its times are no measurement.**") == said


def test_no_text_of_a_reproduction_breaks_a_row_or_reaches_the_page_as_html() -> None:
    record = {**RECORD, "machine": {**RECORD["machine"], "gpu": GPU}}
    faults = {}
    for path in _text_paths({key: value for key, value in record.items() if key != "panels"}):
        if found := _faults(render_reproduction(_with_text(record, path, EVIL))):
            faults["/".join(map(str, path))] = found[0]
    assert faults == {}


# ------------------------------------------------------------------------------------------------------------ numbers


@given(st.floats(1e-12, 1e12), st.integers(1, 6), st.sampled_from([1, -1]))
@example(999.9999999, 3, 1)
@example(9.995, 3, 1)
@example(0.09995, 3, -1)
def test_a_number_is_read_back_within_half_a_unit_of_its_last_digit(size: float, digits: int, sign: int) -> None:
    text = significant(sign * size, digits)
    unit = Decimal(10) ** (Decimal(size).adjusted() - digits + 1)
    assert abs(Decimal(text.replace(",", "")) - Decimal(sign * size)) <= unit / 2 * (1 + Decimal("1e-9"))
    assert re.fullmatch(r"-?\d{1,3}(,\d{3})*(\.\d+)?", text)


@given(st.floats(1e-12, 999.0), st.integers(3, 6))
def test_a_number_below_a_thousand_shows_its_digits_and_at_most_one_more_where_it_rounds_up(
    size: float, digits: int
) -> None:
    shown = significant(size, digits).replace(".", "").lstrip("0")
    assert len(shown) == digits or (len(shown) == digits + 1 and shown.strip("0") == "1")


def test_numbers_have_thousands_apart_and_no_exponent() -> None:
    expected = {0: "0", 1234567: "1,230,000", 0.000012345: "0.0000123", 99.96: "100.0", 12.3: "12.3", 550.4: "550"}
    assert {value: significant(value) for value in expected} == expected


@given(st.floats(1.006, 1e6))
def test_a_ratio_reads_slower_one_way_and_faster_the_other(ratio: float) -> None:
    slower, faster = times(ratio), times(1 / ratio)
    assert slower.endswith("x slower")
    assert faster == slower.replace("slower", "faster") or abs(ratio * 100 % 1 - 0.5) < 1e-6
    # Half of the third digit.
    shown = float(slower.split("x")[0].replace(",", ""))
    assert abs(shown - ratio) <= 0.5 * 10.0 ** (math.floor(math.log10(ratio)) - 2) * (1 + 1e-9)


@pytest.mark.parametrize("ratio", [0.995, 0.9950001, 0.999, 1.0, 1.001, 1.0049999, 1.005, 1.0050001])
def test_nothing_is_called_slower_or_faster_by_1_00(ratio: float) -> None:
    assert times(ratio) == "equal" or "1.00x" not in times(ratio)


def test_bytes_are_given_in_mebibytes_and_a_missing_number_as_a_dash() -> None:
    assert (bytes_text(1536 * 2**20), bytes_text(None), bytes_text(0)) == ("1,536 MiB", "–", "0 MiB")


# ------------------------------------------------------------------------------------------------------------- charts


def _png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def test_the_throughput_chart_is_a_picture_of_a_size_that_fits_a_page(tmp_path: Path) -> None:
    write_report([make_run(tmp_path)], tmp_path / "out")
    picture = tmp_path / "out" / "throughput.png"
    width, height = _png_size(picture)
    assert 1000 < width < 2500
    assert 500 < height < 1500
    assert 5_000 < picture.stat().st_size < 500_000


def test_a_chart_is_drawn_of_a_single_point(tmp_path: Path) -> None:
    write_report([make_run(tmp_path, run_content([inference("gru", "torch", 1, 0.1)]))], tmp_path / "out")
    assert _png_size(tmp_path / "out" / "throughput.png")[0] > 1000


# ------------------------------------------------------------------------------------------------------- reproduction


def test_the_reproduction_page_is_the_golden_text(tmp_path: Path) -> None:
    require_golden("reproduction.md", render_reproduction(RECORD), tmp_path)


def test_the_articles_figures_stand_beside_ours() -> None:
    assert REPRODUCTION_TABLE in render_reproduction(RECORD)


def _cut_short(cells: Callable[[str], bool]) -> dict[str, Any]:
    record = copy.deepcopy(RECORD)
    for cell, ours in record["cells"].items():
        if cells(cell):
            ours["training"]["steps"] = 60
    return record


def test_a_training_that_was_cut_short_is_told_at_the_top_and_a_whole_one_is_not() -> None:
    assert "Cut short" not in render_reproduction(RECORD)
    text = render_reproduction(_cut_short(lambda cell: True))
    wording = "**Cut short after 60 of 4,785 steps: the sMAPE is not that of the article's training.**"
    assert text.index(wording) < text.index("| Cell |")


def test_a_cut_of_either_cells_training_is_told() -> None:
    assert "Cut short" in render_reproduction(_cut_short(lambda cell: cell == "gru"))
    assert "Cut short" in render_reproduction(_cut_short(lambda cell: cell == "lstm"))


def test_record_page_and_figure_are_written_and_the_page_can_be_made_again_from_the_record(tmp_path: Path) -> None:
    page = write_reproduction(RECORD, tmp_path / "out")
    assert sorted(path.name for path in page.parent.iterdir()) == ["forecasts.png", "reproduction.json", "reproduction.md"]
    again = json.loads((page.parent / "reproduction.json").read_text(encoding="utf-8"))
    assert again == RECORD
    assert page.read_text(encoding="utf-8") == render_reproduction(again)
    width, height = _png_size(page.parent / "forecasts.png")
    assert 1500 < width < 2500
    assert 400 < height < 1500


@pytest.mark.parametrize(
    ("text", "cell"), [("a|b", r"a\|b"), (r"a\|b", r"a\\\|b"), (r"a\\|b", r"a\\\\\|b"), ("a\\b", r"a\\b")]
)
def test_a_bar_after_a_backslash_does_not_end_its_cell(text: str, cell: str) -> None:
    table = Table(words("x"), [[text]]).markdown()
    assert table.splitlines()[2] == f"| {cell} |"
    assert f"<td>{text}</td>" in MarkdownIt("commonmark").enable("table").render(table)


def test_times_with_copies_that_no_program_has_are_not_the_quickest_and_are_held_against_nothing(tmp_path: Path) -> None:
    """Copies from page-locked memory are quicker than a user's, as no copies at all are."""
    times_s = {"host": 0.003, "pinned": 0.002, "device": 0.001}
    entries = [inference("gru", "torch", 1, one_s, device="cuda", clock=clock) for clock, one_s in times_s.items()]
    for entry, clock in zip(entries, times_s, strict=True):
        entry["fullname"] += f"-{clock}"
    records = list(read_run(make_run(tmp_path, run_content(entries))).records)
    assert [one.clock for one in _quickest_first(records)] == ["host", "device", "pinned"]
    rows = inference_table(records).rows
    assert len(rows) == 3
    assert [row[-2] for row in rows] == [None, None, None]
