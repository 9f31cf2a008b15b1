"""Tests of reports of other projects' run files: what every version of pytest-benchmark wrote is shown."""

import csv
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from rnncore.errors import ConfigError, RunFileError
from rnncore.measure.percentiles import percentiles
from rnncore.report.fold import without_folded
from rnncore.report.page import figures, render, write_report
from rnncore.report.rows import names_of
from rnncore.report.sections.ordinary import figures as ordinary_figures
from rnncore.report.sections.ordinary import groups, one_run
from rnncore.report.sections.ordinary.several_runs import _ratio_text
from rnncore.report.sections.ratios import MOST_DRAWN, CaseRatio, case_ratio
from rnncore.report.sections.several import _against_first
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Run, Summary
from tests.report_text import GOLDEN, broken_rows, require_golden
from tests.run_files import content_of, inference, make_run, run_content

INPUTS = sorted((GOLDEN / "ordinary").glob("*.json"))
AUTOSAVED, WITH_ROUNDS, ELSEWHERE = (
    GOLDEN / "ordinary" / name for name in ("autosaved-5.3.1.json", "json-5.3.1.json", "json-3.2.3.json")
)


def entry(name: str, median_s: float = 0.01, group: str | None = None, **extra: Any) -> dict[str, Any]:
    """Return a benchmark of another suite whose rounds lie 10 % around a median."""
    fullname = name if "::" in name else f"perf/test_a.py::{name}"
    stats = {
        **{"min": 0.9 * median_s, "q1": 0.95 * median_s, "median": median_s, "q3": 1.05 * median_s, "max": 1.5 * median_s},
        "rounds": 40,
    }
    return {"group": group, "name": name, "fullname": fullname, "params": None, "extra_info": extra, "stats": stats}


def with_rounds(one: dict[str, Any], *rounds_s: float) -> dict[str, Any]:
    """Return the same with its single rounds."""
    return {**one, "stats": {**one["stats"], "data": list(rounds_s)}}


def content(*entries: dict[str, Any], **machine: Any) -> dict[str, Any]:
    """Return what pytest-benchmark writes."""
    cpu = {"brand_raw": "Made CPU", "count": 8, "hz_actual_friendly": "3.1 GHz"}
    return {
        "machine_info": {"node": "runner", "system": "Linux", "machine": "x86_64", "cpu": cpu, "python_version": "3.12.4"}
        | machine,
        "commit_info": {"id": "0123456789abcdef", "dirty": False},
        "benchmarks": list(entries),
        "datetime": "2026-11-20T10:00:00.000000",
        "version": "5.3.1",
    }


def page_of(folder: Path, *contents: dict[str, Any]) -> str:
    """Return the report of run files of these contents."""
    return render([read_run(make_run(folder, one, f"{index}.json")) for index, one in enumerate(contents)])


def headings(text: str) -> list[str]:
    """Return the headings of level 2."""
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


def section(text: str, heading: str) -> str:
    """Return what is under a heading of level 2."""
    return re.split(r"^## ", text.split(f"## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


# ------------------------------------------------------------------------------------------------------- whole pages


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("ordinary-one.md", (WITH_ROUNDS,)),
        ("ordinary-autosaved.md", (AUTOSAVED,)),
        ("ordinary-two.md", (WITH_ROUNDS, AUTOSAVED)),
        ("ordinary-three.md", (AUTOSAVED, WITH_ROUNDS, ELSEWHERE)),
    ],
)
def test_the_page_of_other_projects_runs_is_the_golden_text(name: str, files: tuple[Path, ...], tmp_path: Path) -> None:
    runs = [read_run(path) for path in files]
    text = render(runs, figures(runs))
    assert broken_rows(text) == []
    require_golden(name, text, tmp_path)


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_the_file_of_every_version_has_a_page_alone_and_beside_another(path: Path, tmp_path: Path) -> None:
    for files in ([path], [path, WITH_ROUNDS], [AUTOSAVED, path]):
        page = write_report(files, tmp_path / "out")
        text = page.with_name("report.md").read_text(encoding="utf-8")
        assert broken_rows(text) == []
        assert headings(text)[0] == "Verdict"
        assert headings(text)[-2:] == ["What is not known", "How it was measured"]
        assert len(page.read_bytes()) < 3_000_000


def test_a_section_that_has_nothing_to_say_is_not_there(tmp_path: Path) -> None:
    bare = page_of(tmp_path, content(entry("test_a")))
    assert headings(bare) == ["Verdict", "Benchmarks", "Machine", "What is not known", "How it was measured"]
    nameless = {**content(entry("test_a")), "machine_info": {}}
    assert headings(page_of(tmp_path, nameless)) == ["Verdict", "Benchmarks", "What is not known", "How it was measured"]
    two = page_of(tmp_path, content(entry("test_a")), content(entry("test_a")))
    assert headings(two) == ["Verdict", "What changed?", "Machines", "What is not known", "How it was measured"]


def test_a_file_with_rows_of_ours_and_of_others_shows_both(tmp_path: Path) -> None:
    both = run_content([inference("gru", "torch", 1, 0.01), entry("test_sort", rows=12)])
    text = page_of(tmp_path, both)
    assert text.startswith("# GRU and LSTM load forecasters")
    assert "- 1 benchmark of other suites: see below.\n" in section(text, "Verdict")
    assert "| test_sort |" in section(text, "Benchmarks of other suites")
    assert "test_sort" not in section(text, "All results")
    assert "gru-torch" in section(text, "All results")
    alone = page_of(tmp_path, run_content([inference("gru", "torch", 1, 0.01)]))
    assert "Benchmarks of other suites" not in headings(alone)
    more = run_content([inference("gru", "torch", 1, 0.01), entry("test_sort", rows=13)])
    assert "| test_sort | rows | 12 | 13 |" in section(page_of(tmp_path, both, more), "What was recorded beside the times")


def test_a_run_of_ours_beside_one_of_another_project_says_what_is_not_known(tmp_path: Path) -> None:
    text = page_of(tmp_path, run_content([inference("gru", "torch", 1, 0.01)]), content(entry("test_a")))
    assert "has no benchmark in common with A" in section(text, "Verdict")
    assert "None" not in text
    assert "| CPUs, threads used | **2, 2** | **8, –** |" in section(text, "Machines and data")


def test_rows_of_ours_without_single_rounds_have_a_page(tmp_path: Path) -> None:
    row = inference("gru", "torch", 1, 0.01)
    row["stats"] = entry("test_a", 0.01)["stats"]
    run = read_run(make_run(tmp_path, run_content([row])))
    text = render([run], figures([run]))
    assert "gru-torch-cpu-fp32-b1] | infer | GRU |" in section(text, "All results")
    # The interval of the median is worked out from the quartiles.
    assert "latency.png" in text


# ------------------------------------------------------------------------------------------------------------ one run


def test_the_fastest_of_each_group_is_named_and_what_cannot_be_told_apart(tmp_path: Path) -> None:
    near = [0.010 * (1 + 0.001 * (index % 7)) for index in range(20)]
    text = page_of(
        tmp_path,
        content(
            with_rounds(entry("test_quick", 0.010, "sort"), *near),
            with_rounds(entry("test_slow", 0.030, "sort"), *(3 * one for one in near)),
            with_rounds(entry("test_last", 0.050, "sort"), *(5 * one for one in near)),
            with_rounds(entry("test_a", 0.010, "even"), *near),
            with_rounds(entry("test_b", 0.010, "even"), *reversed(near)),
            with_rounds(entry("test_few", 0.010, "few"), 0.010, 0.010),
            with_rounds(entry("test_fewer", 0.020, "few"), 0.020, 0.020),
            entry("test_alone", 5.0),
        ),
    )
    verdict = section(text, "Verdict")
    assert (
        "- Of *sort*, **test_quick** is fastest, 10.0 ms a call; the next, test_slow, is 3.00x slower; the last, "
        "test_last, is 5.00x slower.\n"
    ) in verdict
    assert (
        "- Of *even*, **test_a** has the lowest median, 10.0 ms a call; the rounds do not tell it from test_b.\n"
    ) in verdict
    assert "- Of *few*, **test_few** is fastest, 10.0 ms a call; the next, test_fewer, is 2.00x slower.\n" in verdict
    assert verdict.endswith("- 8 benchmarks were measured.\n\n")


def test_without_groups_the_longest_and_the_shortest_are_named(tmp_path: Path) -> None:
    text = page_of(tmp_path, content(entry("test_a", 0.2), entry("test_b", 3e-6), entry("test_c", 0.1)))
    verdict = section(text, "Verdict")
    assert "- The longest is **test_a**, 200 ms a call; the shortest test_b, 3.00 µs.\n" in verdict


def test_more_groups_than_a_verdict_names_are_counted(tmp_path: Path) -> None:
    made = [entry(f"test_{index}_{one}", 0.01, f"group {index}") for index in range(9) for one in "ab"]
    verdict = section(page_of(tmp_path, content(*made)), "Verdict")
    assert verdict.count("- Of *group ") == one_run.MOST_NAMED
    assert "- 3 further groups: below.\n" in verdict


def test_a_group_has_its_times_in_one_unit_and_the_fastest_first(tmp_path: Path) -> None:
    text = page_of(tmp_path, content(entry("test_b", 0.02, "sort"), entry("test_a", 0.01, "sort")))
    lines = section(text, "Benchmarks").splitlines()
    assert "### sort" in lines
    assert lines[-4:-1] == [
        "| --- | --: | --: | --: | --: | --: | --: |",
        "| test_a | 10.0 | 1.00 | 9.50–10.5 | 9.00 | 15.0 | 40 |",
        "| test_b | 20.0 | 2.00 | 19.0–21.0 | 18.0 | 30.0 | 40 |",
    ]
    # What lies in one file by chance is in its order, and not held against each other.
    lines = section(page_of(tmp_path, content(entry("test_b", 0.02), entry("test_a", 0.01))), "Benchmarks").splitlines()
    assert "### perf/test\\_a.py" not in lines
    assert "### perf/test_a.py" in lines
    assert [line.split(" | ")[0] for line in lines[-3:-1]] == ["| test_b", "| test_a"]
    assert "fastest" not in "".join(lines)


def test_times_below_a_microsecond_are_in_nanoseconds_and_those_far_apart_each_in_its_own_unit(tmp_path: Path) -> None:
    short = content(entry("test_a", 44e-9), entry("test_b", 61e-9))
    assert "| Benchmark | median ns | quartiles ns |" in page_of(tmp_path, short)
    mixed = content(entry("test_a", 44e-9), entry("test_b", 8e-6), entry("test_c", 9e-6))
    text = page_of(tmp_path, mixed)
    assert "| Benchmark | median | quartiles |" in text
    assert "| test_a | 44.0 ns | 41.8–46.2 ns | 39.6 ns | 66.0 ns |" in text
    assert "| test_b | 8.00 µs | 7.60–8.40 µs | 7.20 µs | 12.0 µs |" in text
    times = section(page_of(tmp_path, mixed, mixed), "What changed?")
    assert "| Benchmark | A | B |" in times
    assert "| test_a | 44.0 ns | 44.0 ns |" in times
    near = page_of(tmp_path, content(entry("test_a", 780e-9), entry("test_b", 5e-6), entry("test_c", 8e-6)))
    assert "| test_a | 780 ns |" in near
    assert "0.78" not in near


def _tailed(name: str, count: int, iterations: int = 1) -> dict[str, Any]:
    """Return a benchmark of so many rounds, evenly from 1 to 2 ms."""
    one = with_rounds(entry(name), *(0.001 + 0.001 * index / count for index in range(count)))
    return {**one, "stats": {**one["stats"], "rounds": count, "iterations": iterations}}


SLOWEST = "How slow are the slowest calls?"


def test_percentiles_of_single_rounds_are_on_the_page_and_those_that_are_not_known_are_counted(tmp_path: Path) -> None:
    few, many = _tailed("test_few", 100), _tailed("test_many", 1000)
    others = _tailed("test_fewer", 63), _tailed("test_means", 1000, iterations=20), entry("test_without")
    text = section(page_of(tmp_path, content(few, many, *others)), SLOWEST)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert rows[0] == ["| Benchmark", "median ms", "p90 ms", "p95 ms", "p99 ms |"]
    for row, name, measured in ((rows[2], "test_many", many), (rows[3], "test_few", few)):
        recorded = percentiles(measured["stats"]["data"])
        shown = [re.findall(r"[\d.]+", cell) for cell in row[2:]]
        expected = [
            [recorded[key][end] for end in ("s", "low_s", "high_s")] for key in ("p90", "p95", "p99") if recorded[key]
        ]
        assert row[0] == f"| {name}"
        assert [[float(one) for one in cell] for cell in shown if cell] == [
            pytest.approx([1e3 * end for end in ends], rel=5e-3) for ends in expected
        ]
    assert rows[3][-1] == "– |"
    assert "The longest tail has **test_many**: one call in a hundred is 1.33x slower than its median, or more." in text
    assert "3 benchmarks have too few of them." in text


def test_where_no_percentile_is_known_none_is_spoken_of(tmp_path: Path) -> None:
    assert SLOWEST not in headings(page_of(tmp_path, content(_tailed("test_fewer", 63), entry("test_without"))))


def test_percentiles_of_several_runs_are_side_by_side(tmp_path: Path) -> None:
    one, other = content(_tailed("test_a", 200)), content(_tailed("test_a", 70), _tailed("test_b", 90))
    text = section(page_of(tmp_path, one, other), SLOWEST)
    assert "| Benchmark | percentile | A | B |" in text
    # The one that both tell, though A tells a higher one too.
    assert re.search(
        r"^\| test_a \| p90 \| 1\.9. ms \(1\.8. to 1\.9.\) \| 1\.8. ms \(1\.\d+ to 1\.9.\) \|$", text, re.MULTILINE
    )
    assert re.search(r"^\| test_b \| p90 \| – \| 1\.\d+ ms \(", text, re.MULTILINE)


def test_percentiles_of_other_suites_beside_ours_are_under_a_heading_of_their_own(tmp_path: Path) -> None:
    both = run_content([inference("gru", "torch", 1, 0.01), _tailed("test_sort", 100)])
    assert "| test_sort |" in section(page_of(tmp_path, both), "How slow are the slowest calls of other suites?")


def test_groups_of_one_benchmark_share_a_table(tmp_path: Path) -> None:
    text = page_of(tmp_path, content(entry("test_a", 0.01, "one"), entry("test_b", 0.01, "two"), entry("c.py::test_c")))
    assert [line for line in text.splitlines() if line.startswith("### ")] == [f"### {groups.ALONE}"]
    assert "| test_b | two |" in text
    assert "### one" in page_of(tmp_path, content(entry("test_a", 0.01, "one")))


def test_recorded_numbers_are_columns_and_nothing_else_is(tmp_path: Path) -> None:
    one = entry("test_a", rows=123456, share=0.5, note="text", flag=True, list=[1], inner={"a": 1}, none=None)
    text = section(page_of(tmp_path, content(one, entry("test_b"))), "Benchmarks")
    head = next(line for line in text.splitlines() if line.startswith("| Benchmark"))
    assert head.endswith("| rounds | rows | share |")
    assert "| 40 | 123,456 | 0.5000 |" in text
    assert "| 40 | – | – |" in text


def test_what_a_round_is_and_where_columns_come_from_is_said_where_it_matters(tmp_path: Path) -> None:
    plain = section(page_of(tmp_path, content(entry("test_a"), entry("test_b"))), "Benchmarks")
    assert "calls a round" not in plain
    assert "extra_info" not in plain
    means = {**entry("test_a", rows=3), "stats": {**entry("test_a")["stats"], "iterations": 20}}
    text = section(page_of(tmp_path, content(means, entry("test_b"))), "Benchmarks")
    assert "| rounds | calls a round | rows |" in text
    assert "| 40 | 20 | 3 |" in text
    assert "| 40 | 1 | – |" in text
    assert "its time is their mean, so that min and max are not of single calls." in text
    assert "Columns to the right of these are what the benchmarks recorded in extra_info." in text


def test_of_many_recorded_numbers_a_table_shows_those_that_most_recorded(tmp_path: Path) -> None:
    many = {f"n{index}": index for index in range(10)}
    text = page_of(tmp_path, content(entry("test_a", **many), entry("test_b", n8=1, n9=1)))
    head = next(line for line in text.splitlines() if line.startswith("| Benchmark"))
    assert head.endswith("| rounds | n0 | n1 | n2 | n3 | n8 | n9 |")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (-3.0, "-3"), (123456789.0, "123,456,789"), (0.123456, "0.1235"), (1e17, "100,000,000,000,000,000")],
)
def test_a_whole_number_keeps_its_digits(value: float, shown: str) -> None:
    assert groups.number_text(value) == shown


def test_five_numbers_are_in_order_as_they_are_written(tmp_path: Path) -> None:
    close = with_rounds(entry("test_a"), *[0.0100, 0.01001, 0.010012, 0.01002, 0.0101])
    row = next(line for line in page_of(tmp_path, content(close)).splitlines() if line.startswith("| test_a"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    first, third = map(float, cells[2].split("–"))
    assert float(cells[3]) <= first <= float(cells[1]) <= third <= float(cells[4])


# ---------------------------------------------------------------------------------------------------- names from files


STRANGE = ["a*b*c", "__init__", "x|y", "<b>bold</b>", "`code`", "[y](javascript:x)", "a\x1b[31m\x00\u2028b", "$x$", "~~no~~"]


def test_names_stay_text(tmp_path: Path) -> None:
    made = [entry(f"test_n[{name}]", 0.01, f"group {name}", **{name: 1}) for name in STRANGE]
    made += [entry(f"test_m[{name}]", 0.02, f"group {name}") for name in STRANGE]
    # As a project's own hook may write it.
    machine = {"python_version": "3.12 *x* <b>"}
    for text in (page_of(tmp_path, content(*made, **machine)), page_of(tmp_path, *[content(*made, **machine)] * 2)):
        assert broken_rows(text) == []
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        inline = [child for token in tokens for child in token.children or ()]
        kinds = {child.type for child in inline}
        assert kinds <= {"text", "strong_open", "strong_close", "em_open", "em_close", "softbreak", "code_inline"}
        assert {child.content for child in inline if child.type == "code_inline"} <= {"rnncore compare", "rnncore gate"}
        shown = "\n".join("".join(child.content for child in token.children or ()) for token in tokens)
        for name in STRANGE[:-3]:
            assert name.replace("\x1b", " ").replace("\x00", " ").replace("\u2028", " ") in shown


def test_benchmarks_of_one_name_in_two_files_are_called_with_their_files(tmp_path: Path) -> None:
    made = [entry("a.py::test_x", 0.01, "g"), entry("b.py::test_x", 0.02, "g"), entry("b.py::test_y", 0.03, "g")]
    run = read_run(make_run(tmp_path, content(*made)))
    assert names_of(run.records) == {
        "a.py::test_x": "a.py::test_x",
        "b.py::test_x": "b.py::test_x",
        "b.py::test_y": "test_y",
    }
    (drawn,) = figures([run])
    (rows,) = drawn.spec["datasets"].values()
    assert [row["row"] for row in rows] == ["a.py::test_x", "b.py::test_x", "test_y"]
    assert "**a.py::test_x** is fastest" in render([run])
    ratios = render([run, run])
    assert "| a.py::test_x |" in ratios
    assert "| b.py::test_x |" in ratios


def test_a_benchmark_that_a_file_holds_twice_counts_as_its_last_attempt(tmp_path: Path) -> None:
    text = page_of(tmp_path, content(entry("test_a", 0.01), entry("test_b", 0.5), entry("test_a", 0.02)))
    assert "| test_a | 20.0 |" in text
    assert "- 2 benchmarks were measured.\n" in text
    assert "- Earlier attempts: of test_a, which the file has more than once, only the last counts.\n" in text


# ------------------------------------------------------------------------------------------------------------- figures


def test_each_group_of_several_has_a_figure_up_to_a_number(tmp_path: Path) -> None:
    made = [entry(f"test_{index}_{one}", 0.01, f"group {index}") for index in range(12) for one in "ab"]
    run = read_run(make_run(tmp_path, content(*made, entry("test_alone", 0.01, "alone"))))
    drawn = figures([run])
    assert [figure.name for figure in drawn] == [f"times-{index}" for index in range(1, 1 + ordinary_figures.MOST_FIGURES)]
    assert drawn[2].alt == "Time of a call, median and quartiles, of each in group 2"
    text = render([run], drawn)
    assert "### group 2\n\n![Time of a call, median and quartiles, of each in group 2](times-3.png)\n" in text


@pytest.mark.parametrize(("longest_s", "scale"), [(0.15, "linear"), (2.5, "log")])
def test_times_that_are_far_apart_are_on_a_logarithmic_scale(longest_s: float, scale: str, tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, content(entry("test_a", 0.01), entry("test_b", longest_s))))
    (drawn,) = figures([run])
    x = drawn.spec["layer"][0]["encoding"]["x"]
    assert x["scale"].get("type", "linear") == scale
    assert ("(logarithmic)" in x["title"]) == (scale == "log")


def test_five_thousand_benchmarks_have_a_page_of_bounded_size(tmp_path: Path) -> None:
    def many(factor: Callable[[int], float]) -> dict[str, Any]:
        made = []
        for index in range(5000):
            median_s = 1e-3 * (1 + index / 1000) * factor(index)
            made.append(entry(f"test_{index:04}", median_s, f"group {index // 50}", rows=factor(index)))
        return content(*made)

    slower = many(lambda index: 2.0 if index % 50 == 0 else 1.0)
    paths = [make_run(tmp_path, one, f"{name}.json") for name, one in (("a", many(lambda index: 1.0)), ("b", slower))]
    for files, note in (
        (paths[:1], "Shown are the 300 longest of 5,000 benchmarks; results.csv has all."),
        (paths, "Shown are the 300 of 5,000 benchmarks that differ most; results.csv has all."),
    ):
        page = write_report(files, tmp_path / "out")
        text = page.with_name("report.md").read_text(encoding="utf-8")
        assert note in text
        assert len([line for line in text.splitlines() if line.startswith("| test_")]) <= 2 * groups.MOST_ROWS
        assert len(page.read_bytes()) < 3_000_000
        with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
            assert len(list(csv.reader(file))) == 1 + 5000 * len(files)
    whole = page.read_text(encoding="utf-8")
    assert all(f"<td>test_{index:04}</td>" in whole for index in range(0, 5000, 50))
    shown = "the 24 of 5,000 benchmarks that changed or differ most"
    others = "the other 4,976, of which 76 changed, are 2.00x slower to equal"
    assert f"![Time of {shown} as a multiple of A's, the slowest first; {others}](ratios.png)" in text


def test_what_a_page_leaves_out_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST_ROWS", 2)
    made = [entry(f"test_{index}", 0.01 * (1 + index), "sort") for index in range(3)]
    made += [entry("test_tiny", 1e-3, "tiny"), entry("test_tinier", 5e-4, "tiny")]
    run = read_run(make_run(tmp_path, content(*made)))
    text = render([run], figures([run]))
    # The fastest of the group is not shown.
    assert [line.split(" | ")[:3] for line in text.splitlines() if line.startswith("| test_")] == [
        ["| test_1", "20.0", "2.00"],
        ["| test_2", "30.0", "3.00"],
    ]
    assert "of the 2 longest of 3 in sort](times-1.png)" in text
    verdict = section(text, "Verdict")
    assert (
        "- Of *sort*, **test_0** is fastest, 10.0 ms a call; the next, test_1, is 2.00x slower; the last, test_2, is 3.0"
        in verdict
    )
    assert "- 1 further group: below and in results.csv.\n" in verdict
    assert "- 5 benchmarks were measured.\n" in verdict
    # One of a group of three is not alone in it.
    monkeypatch.setattr(groups, "MOST_ROWS", 1)
    assert groups.ALONE not in render([run, run])
    assert "Shown are the 1 of 5 benchmarks that differ most" in render([run, run])


# -------------------------------------------------------------------------------------------------------- several runs


def _summed(median_s: float, spread: float, rounds: int) -> Record:
    low_s, high_s = median_s * (1 - spread), median_s * (1 + spread)
    return Record("a.py::test", "a.py", (), {}, Summary(low_s, low_s, median_s, high_s, high_s, rounds))


def test_of_quartiles_alone_a_ratio_has_the_interval_of_normal_rounds_with_them() -> None:
    ratio = case_ratio("B", _summed(1.0, 0.01, 30), _summed(2.0, 0.01, 30))
    # A standard error of 1.2533 sigma over the root of n on both sides.
    half = 2.576 * math.sqrt(2) * 1.2533 * (0.01 / 0.6745) / math.sqrt(30)
    assert ratio.ratio == 2.0
    assert (ratio.low, ratio.high) == pytest.approx((2 * math.exp(-half), 2 * math.exp(half)), rel=1e-3)


def test_thousands_of_rounds_in_one_process_do_not_narrow_the_interval_of_quartiles() -> None:
    few, many = (case_ratio("B", _summed(1.0, 0.01, rounds), _summed(2.0, 0.01, rounds)) for rounds in (40, 100_000))
    assert (many.low, many.high) == pytest.approx((few.low, few.high))


@pytest.mark.parametrize(("spread", "rounds"), [(0.01, 9), (0.0, 40)])
def test_too_few_rounds_or_quartiles_without_a_spread_give_no_interval(spread: float, rounds: int) -> None:
    ratio = case_ratio("B", _summed(1.0, spread, rounds), _summed(2.0, spread, 40))
    assert (ratio.ratio, ratio.low, ratio.high) == (2.0, None, None)


@pytest.mark.parametrize(("low", "is_sure"), [(1.002, False), (1.0049, False), (1.006, True), (None, False)])
def test_a_ratio_is_sure_only_where_its_interval_is_beyond_1_as_it_is_written(low: float | None, is_sure: bool) -> None:
    one = CaseRatio("test_a", "B", 1.01, low, 1.02)
    assert one.is_sure == is_sure
    interval = f" ({low:.2f} to 1.02)" if low is not None else ""
    assert _ratio_text(one) == ("**1.01x slower**" if is_sure else "1.01x slower") + interval
    assert ("1 slower (1.01x)" in _against_first("B", [one])) == is_sure


def test_ratios_and_what_changed_most_are_told_of_two_runs(tmp_path: Path) -> None:
    before = content(entry("test_a", 0.01), entry("test_b", 0.02), entry("test_c", 0.03), entry("test_gone"))
    after = content(entry("test_a", 0.02), entry("test_b", 0.01), entry("test_c", 0.03), entry("test_new"))
    text = page_of(tmp_path, before, after)
    verdict = section(text, "Verdict")
    assert (
        "- B against A, of 3 benchmarks in both: 1 faster (2.00x), 1 slower (2.00x), 1 within the interval of the "
        "rounds. B lacks 1 of A's rows (test_gone); A lacks 1 of B's rows (test_new).\n"
    ) in verdict
    assert "- Most changed in B: **test_a** is 2.00x slower, **test_b** is 2.00x faster.\n" in verdict
    assert "differ in" not in verdict
    times = section(text, "What changed?")
    rows = [line for line in times.splitlines() if line.startswith("| ")]
    assert rows[0] == "| Benchmark | A ms | B ms | B against A |"
    assert re.fullmatch(r"\| test_a \| 10\.0 \| 20\.0 \| \*\*2\.00x slower\*\* \(1\.[89]\d to 2\.\d\d\) \|", rows[2])
    assert re.fullmatch(r"\| test_b \| 20\.0 \| 10\.0 \| \*\*2\.00x faster\*\* \(1\.[89]\d to 2\.\d\d\) \|", rows[3])
    assert re.fullmatch(r"\| test_c \| 30\.0 \| 30\.0 \| equal \(.* faster to .* slower\) \|", rows[4])
    # What one run alone has is held against nothing.
    assert set(rows[5:]) == {"| test_gone | 10.0 | – | – |", "| test_new | – | 10.0 | – |"}


def test_runs_of_several_machines_say_in_what_they_differ(tmp_path: Path) -> None:
    one = entry("test_a")
    text = page_of(tmp_path, content(one), content(one), content(one, python_version="3.9"))
    verdict = section(text, "Verdict")
    assert "- **A and C differ in Python**: their ratios are not of the code alone.\n" in verdict
    assert "A and B differ" not in verdict
    assert "| Python | **3.12.4** | **3.12.4** | **3.9** |" in section(text, "Machines")
    assert "| CPUs | 8 | 8 | 8 |" in section(text, "Machines")


def test_recorded_numbers_are_put_side_by_side(tmp_path: Path) -> None:
    after = content(entry("test_a", rows=4, same=2), entry("test_b", rows=1), entry("test_c", rows=1))
    text = page_of(tmp_path, content(entry("test_a", rows=3, more=1, same=2), entry("test_c", rows=1)), after)
    recorded = section(text, "What was recorded beside the times")
    rows = [line for line in recorded.splitlines() if line.startswith("| test")]
    assert set(rows) == {"| test_a | rows | 3 | 4 |", "| test_a | more | 1 | – |", "| test_b | rows | – | 1 |"}
    assert len(rows) == 3
    alike = content(entry("test_a", rows=3))
    assert "What was recorded" not in page_of(tmp_path, alike, alike)


# ------------------------------------------------------------------------------------------------------ what is not known


def _unknown(folder: Path, *contents: dict[str, Any]) -> str:
    return section(page_of(folder, *contents), "What is not known")


def test_what_a_file_does_not_tell_is_said(tmp_path: Path) -> None:
    with_data, without = with_rounds(entry("test_a"), 0.01, 0.011), entry("test_a")
    assert "pytest-benchmark does not record them" in _unknown(tmp_path, content(with_data))
    assert "single rounds" not in _unknown(tmp_path, content(with_data))
    assert "- The single rounds: intervals are worked out" in _unknown(tmp_path, content(without))
    assert "- B: the single rounds: intervals" in _unknown(tmp_path, content(with_data), content(without))
    assert "- The CPU: the file does not name it." in _unknown(tmp_path, content(without, cpu={}))
    driven = run_content([without])
    known = _unknown(tmp_path, driven, content(without))
    assert "- B: memory, GPU and number of threads" in known
    assert "- B: what failed and what was skipped" in known


def test_a_session_of_the_plugin_tells_what_failed_and_what_disturbed_the_rounds(tmp_path: Path) -> None:
    driven = run_content([with_rounds(entry("test_a", rnncore={"slot_rounds": [2, 1]}), 0.01, 0.01, 0.011)])
    driven["rnncore"]["failed"] = [{"fullname": "perf/test_a.py::test_b", "outcome": "error", "reason": "ValueError: no"}]
    text = page_of(tmp_path, driven)
    assert "- 1 benchmark was measured; 1 without a result, 3 skipped.\n" in section(text, "Verdict")
    assert "| test_b | error: ValueError: no |" in section(text, "Not measured")
    assert "pytest-benchmark does not record" not in text
    assert "rnncore timed the calls in slots of a gate" in section(text, "How it was measured")
    assert "| Vector instructions | avx2, avx512f |" in section(text, "Machine")


def test_words_of_our_own_suites_are_not_on_the_page_of_another_project(tmp_path: Path) -> None:
    seen = {"disturbed_rounds": 1, "disturbance": {"causes": {"CPU steal": 1}}}
    driven = run_content([with_rounds(entry("test_a", rnncore=seen), 0.01, 0.01, 0.011)])
    driven["rnncore"]["skipped"] = []
    text = page_of(tmp_path, driven)
    assert "Of the session's 84 s, 42 s were timed rounds and 43 s overhead: " in section(text, "What disturbed the rounds")
    assert re.findall(r"(?i)\b(?:trainings?|forecasts?|smape|runtimes?|windows)\b", text) == []


@pytest.mark.parametrize(
    ("failed", "skipped", "said"),
    [
        (0, 0, "holds no benchmark: none ran to its end."),
        (2, 1, "2 benchmarks ended without a result, such as a.py::test_0 (error: ValueError: no)."),
        (0, 1, "1 benchmark skipped, such as a.py::test_s (no library)."),
    ],
)
def test_a_run_of_nothing_but_errors_is_refused_in_one_line(failed: int, skipped: int, said: str, tmp_path: Path) -> None:
    empty = content() if not failed and not skipped else run_content([])
    if "rnncore" in empty:
        error = {"outcome": "error", "reason": "ValueError: no"}
        empty["rnncore"]["failed"] = [{"fullname": f"a.py::test_{index}", **error} for index in range(failed)]
        empty["rnncore"]["skipped"] = [{"fullname": "a.py::test_s", "reason": "no library"}] * skipped
    with pytest.raises(RunFileError) as caught:
        write_report([make_run(tmp_path, empty)], tmp_path / "out")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_price_is_refused_where_there_is_no_choice_to_rank(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, content(entry("test_a"))))
    with pytest.raises(ConfigError, match=r"--price ranks choices of rnncore's suites, and no run has a row of them\."):
        render([run], prices={"A": 1.0})


# ---------------------------------------------------------------------------------------------------------- flat tables


def test_the_flat_tables_have_columns_for_recorded_numbers_and_none_for_what_only_ours_have(tmp_path: Path) -> None:
    write_report([make_run(tmp_path, content(entry("test_a", rows=3), entry("test_b", 0.02, "g")))], tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    times = ["rounds", "median_s", "min_s", "max_s"]
    assert list(rows[0]) == ["run", "datetime", "commit", "benchmark", "group", *times, "validity", "extra_info.rows"]
    assert [(row["benchmark"], row["group"], row["extra_info.rows"]) for row in rows] == [
        ("perf/test_a.py::test_a", "perf/test_a.py", "3"),
        ("perf/test_a.py::test_b", "g", ""),
    ]


def test_the_flat_tables_have_percentiles_where_single_rounds_tell_them(tmp_path: Path) -> None:
    entries = _tailed("test_a", 1000), _tailed("test_b", 100), _tailed("test_c", 1000, iterations=7)
    write_report([make_run(tmp_path, content(*entries))], tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["p99_s"] for row in rows][1:] == ["", ""]
    recorded = percentiles(entries[0]["stats"]["data"])
    assert [float(rows[0][f"{name}_s"]) for name in ("p90", "p95", "p99")] == [
        recorded[name]["s"] for name in ("p90", "p95", "p99")
    ]
    assert (rows[1]["p90_s"] != "", rows[2]["p90_s"]) == (True, "")


def test_the_flat_tables_of_our_suites_have_the_percentiles_that_were_recorded(tmp_path: Path) -> None:
    tail = {"s": 0.03, "low_s": 0.02, "high_s": 0.04}
    ours = inference("gru", "torch", 1, 0.01, percentiles={"p90": tail, "p99": None, "p99_why": "too few"})
    write_report([make_run(tmp_path, run_content([ours]))], tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert [row[f"{name}_s"] for name in ("p90", "p95", "p99")] == ["0.03", "", ""]


def test_the_copy_beside_the_page_is_the_file(tmp_path: Path) -> None:
    write_report([AUTOSAVED], tmp_path / "out")
    assert content_of(tmp_path / "out" / "run.json") == json.loads(AUTOSAVED.read_text(encoding="utf-8"))


def test_of_runs_every_one_is_named(tmp_path: Path) -> None:
    runs: list[Run] = [read_run(make_run(tmp_path, content(entry("test_a")), f"{name}.json")) for name in "xyz"]
    assert "| Fact | A: x.json | B: y.json | C: z.json |" in render(runs)


def test_of_many_benchmarks_those_that_changed_most_are_unfolded_and_the_slowest_is_drawn_first(tmp_path: Path) -> None:
    before = content(*[entry(f"test_{index:02}", 0.01, f"group {index % 3}") for index in range(30)])
    # None differs as much as another.
    factors = [2.0 ** (index - 10.3) for index in range(30)]
    after = content(*[entry(f"test_{index:02}", 0.01 * factors[index], f"group {index % 3}") for index in range(30)])
    runs = [read_run(make_run(tmp_path, one, f"{name}.json")) for name, one in (("a", before), ("b", after))]
    drawn = figures(runs)
    text = render(runs, drawn)
    shown = [line.split(" | ")[0].strip("| ") for line in without_folded(text).splitlines() if line.startswith("| test_")]
    assert shown == [f"test_{index:02}" for index in sorted(range(30), key=lambda index: -abs(index - 10.3))[:12]]
    folds = re.findall(r"<summary>(.*)</summary>", section(text, "What changed?"))
    assert sorted(folds) == [f"group {index}: 10 benchmarks" for index in range(3)]
    (figure,) = drawn
    rows = figure.spec["datasets"][figure.spec["layer"][1]["data"]["name"]]
    least = sorted(range(30), key=lambda index: abs(index - 10.3))[: 30 - MOST_DRAWN]
    assert [row["row"] for row in rows] == [f"test_{index:02}" for index in range(29, -1, -1) if index not in least]
    x = figure.spec["layer"][1]["encoding"]["x"]
    # Around 1, and above the rows where they are many.
    assert x["scale"]["domain"][0] == pytest.approx(1 / x["scale"]["domain"][1])
    assert x["axis"]["orient"] == "top"
