"""Tests of reports of several runs: each has a name of its own, and only what no run left out is compared."""

import csv
from pathlib import Path
from typing import Any

import pytest

from rnncore.errors import ConfigError
from rnncore.report.figure import QUIET, SLOWER
from rnncore.report.page import render, write_report
from rnncore.report.sections.cost import costs
from rnncore.report.sections.ratios import MOST_DRAWN, CaseRatio, ratio_figures
from rnncore.report.sections.ratios import figures as figures_of_runs
from rnncore.report.words import letter, machine_name, run_names
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from tests.run_files import GPU, inference, make_run, run_content


def _run(path: Path, *rows: dict[str, Any], skipped: tuple[str, ...] = (), **fingerprint: Any) -> Run:
    content = run_content(list(rows) or [inference("gru", "torch", 1, 0.01)], **fingerprint)
    content["rnncore"]["skipped"] = [{"fullname": name, "reason": "no such device"} for name in skipped]
    return read_run(make_run(path.parent, content, path.name))


def test_files_of_one_name_are_called_by_their_machines(tmp_path: Path) -> None:
    runs = [
        _run(tmp_path / "a" / "run.json"),
        _run(tmp_path / "b" / "run.json", cpu="Other CPU"),
        _run(tmp_path / "c" / "run.json", cpu="Other CPU", gpu=GPU),
    ]
    assert run_names(runs) == ["Made CPU (family 6, model 143)", "Other CPU", "Other CPU, Made GPU"]
    text = render(runs)
    assert "| Fact | A: Made CPU (family 6, model 143) | B: Other CPU | C: Other CPU, Made GPU |" in text
    assert "B against A, of 1 benchmark in both" in text


def test_files_of_one_name_and_one_machine_are_called_by_their_folders(tmp_path: Path) -> None:
    runs = [_run(tmp_path / folder / "made" / "run.json") for folder in ("a", "b")]
    assert run_names(runs) == ["a/made/run.json", "b/made/run.json"]
    assert run_names([runs[0], runs[0]]) == ["run.json (A)", "run.json (B)"]


def test_files_of_other_names_are_called_by_these(tmp_path: Path) -> None:
    assert run_names([_run(tmp_path / name) for name in ("0001_a.json", "0002_b.json")]) == ["0001_a.json", "0002_b.json"]


def test_runs_of_one_machine_say_which_it_is_and_those_of_others_in_what_they_differ(tmp_path: Path) -> None:
    one, other = (_run(tmp_path / f"{name}.json") for name in "ab")
    alike = render([one, other])
    assert "\nAll on Made CPU (family 6, model 143): A: a.json (2026-" in alike
    assert "differ in" not in alike
    apart = render([one, _run(tmp_path / "c.json", cpu="Other CPU", gpu=GPU)])
    assert "All on" not in apart
    assert "\n- **A and B differ in CPU, GPU**: their ratios are not of the code alone.\n" in apart


def test_letters_go_on_after_z() -> None:
    assert [letter(index) for index in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]


def test_every_row_of_the_results_tells_its_run(tmp_path: Path) -> None:
    for folder, cpu in (("a", "One CPU"), ("b", "Other CPU")):
        _run(tmp_path / folder / "run.json", cpu=cpu)
    write_report([tmp_path / "a" / "run.json", tmp_path / "b" / "run.json"], tmp_path / "report")
    with (tmp_path / "report" / "results.csv").open(encoding="utf-8", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["One CPU", "Other CPU"]


def test_a_price_of_a_name_that_several_runs_have_is_refused(tmp_path: Path) -> None:
    runs = [_run(tmp_path / folder / "run.json", cpu=f"{folder} CPU") for folder in ("a", "b")]
    assert {cost.price_per_hour for cost in costs(runs, {"a CPU": 1.0, "B": 2.0})} == {1.0, 2.0}
    with pytest.raises(ConfigError, match=r"--price run\.json=\.\.\.: several runs\. Name one of A, B, a CPU, b CPU\."):
        costs(runs, {"run.json": 1.0})


SLOW, QUICK = inference("gru", "torch", 1, 0.0858), inference("gru", "onnxruntime", 1, 0.01)


def test_a_run_that_only_lacks_a_row_is_not_called_slower(tmp_path: Path) -> None:
    runs = [_run(tmp_path / "whole.json", SLOW, QUICK), _run(tmp_path / "part.json", SLOW)]
    for ordered in (runs, runs[::-1]):
        verdict = render(ordered).split("## Machines and data")[0]
        assert "8.58x" not in verdict
        assert "; 1 row that only some runs have left out." in verdict
    assert "B lacks 1 of A's rows (test_forecast[gru-onnxruntime-cpu-fp32-b1])." in render(runs)
    assert "A lacks 1 of B's rows (test_forecast[gru-onnxruntime-cpu-fp32-b1])." in render(runs[::-1])


def test_runs_without_a_row_in_common_are_not_compared(tmp_path: Path) -> None:
    verdict = render([_run(tmp_path / "a.json", SLOW), _run(tmp_path / "b.json", QUICK)]).split("## Machines")[0]
    assert "For one window at a time, no row is in all runs: nothing is compared." in verdict
    assert "8.58x" not in verdict
    assert "B lacks 1 of A's rows" in verdict
    assert "A lacks 1 of B's rows" in verdict


def test_no_winner_is_named_where_one_run_alone_has_the_rows(tmp_path: Path) -> None:
    large = inference("gru", "torch", 32, 0.1)
    runs = [_run(tmp_path / "whole.json", SLOW, large), _run(tmp_path / "part.json", SLOW)]
    for ordered, name in ((runs, "A"), (runs[::-1], "B")):
        verdict = render(ordered).split("## Machines")[0]
        assert f"For 32 windows at a time, only {name} has rows: nothing is compared." in verdict
        assert "For one window at a time, **GRU in PyTorch, CPU, fp32 on " in verdict


def test_a_run_that_was_asked_for_none_of_the_rows_takes_no_part(tmp_path: Path) -> None:
    large, larger = (inference("gru", "torch", 32, median_s) for median_s in (0.1, 0.2))
    runs = [_run(tmp_path / f"{name}.json", *rows) for name, rows in (("a", (large,)), ("b", (SLOW,)), ("c", (larger,)))]
    verdict = render(runs).split("## Machines")[0]
    assert "on A** is fastest: 100 ms per call; the best on C, " in verdict
    assert "is 2.00x slower; B has none of these rows." in verdict


def test_what_a_machine_could_not_measure_still_counts_against_it(tmp_path: Path) -> None:
    cuda = inference("gru", "torch", 1, 0.001, device="cuda")
    cuda["fullname"] = cuda["fullname"].replace("-cpu-", "-cuda-")
    with_gpu = _run(tmp_path / "gpu.json", SLOW, cuda, gpu=GPU)
    for name, skipped in (("skipped.json", (cuda["fullname"],)), ("silent.json", ())):
        verdict = render([_run(tmp_path / name, SLOW, skipped=skipped), with_gpu]).split("## Machines")[0]
        assert "; B: Made CPU (family 6, model 143), Made GPU (2026-" in verdict
        assert "GRU in PyTorch, CUDA, fp32 on B** is fastest" in verdict
        assert "is 85.8x slower" in verdict
        assert "lacks" not in verdict


def test_costs_are_held_against_each_other_at_batch_sizes_that_both_measured(tmp_path: Path) -> None:
    small, large = inference("gru", "torch", 1, 0.01), inference("gru", "torch", 1024, 0.1)
    runs = [_run(tmp_path / "whole.json", small, large), _run(tmp_path / "part.json", small)]
    assert [cost.record.facts["batch_size"] for cost in costs(runs, {"A": 1.0, "B": 1.0})] == [1, 1]
    assert [cost.record.facts["batch_size"] for cost in costs(runs[:1], {"A": 1.0})] == [1024]


def test_joules_of_a_board_are_not_sorted_among_those_of_packages_and_it_says_whose_they_are(tmp_path: Path) -> None:
    rows = [
        inference("gru", "torch", 1, 0.1, device=device, joules_per_1000=joules, precision=precision)
        for device, precision, joules in (
            ("cpu", "fp32", 9.0),
            ("cuda", "fp32", 2.0),
            ("cpu", "bf16", 5.0),
            ("xpu", "fp32", 1.0),
        )
    ]
    for row in rows:
        row["fullname"] += f"[{row['extra_info']['device']}-{row['extra_info']['precision']}]"
    run = _run(tmp_path / "both.json", *rows)
    assert [cost.joules for cost in costs([run], {})] == [5000.0, 9000.0, 1000.0, 2000.0]
    section = render([run]).split("## What do a million forecasts cost?")[1].split("\n## ")[0]
    assert "are no one scale." in section
    kinds = [line.split("|")[-2].strip() for line in section.splitlines() if line.startswith("| GRU")]
    assert kinds == ["CPU packages", "CPU packages", "GPU board", "GPU board"]
    # Of a CPU alone there is nothing to tell apart.
    alone = render([_run(tmp_path / "cpu.json", rows[0])]).split("## What do a million forecasts cost?")[1]
    assert "GPU board" not in alone
    assert "no one scale" not in alone


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel Xeon"),
        ("Intel(R) Xeon(R) Processor (family 6, model 167)", "Intel Xeon (family 6, model 167)"),
        ("AMD EPYC 9V74 80-Core Processor", "AMD EPYC 9V74"),
        ("Processor", "Processor"),
        (None, "unknown CPU"),
    ],
)
def test_a_machine_is_called_as_people_call_its_cpu(cpu: str | None, name: str, tmp_path: Path) -> None:
    assert machine_name(_run(tmp_path / "a.json", cpu=cpu)) == name


def test_saved_runs_of_one_machine_are_called_by_number_and_commit(tmp_path: Path) -> None:
    saved = [f"{number:04}_{'ca84b6c6' * 5}_20261124_163856_uncommited-changes.json" for number in (1, 2)]
    assert run_names([_run(tmp_path / name) for name in saved]) == ["0001 (ca84b6c)", "0002 (ca84b6c)"]
    apart = [_run(tmp_path / saved[0]), _run(tmp_path / saved[1], cpu="Other CPU"), _run(tmp_path / "c.json")]
    made = "Made CPU (family 6, model 143)"
    assert run_names(apart) == [f"{made}, 0001 (ca84b6c)", "Other CPU", f"{made}, c.json"]


# ---------------------------------------------------------------------------------------------------- the figure of ratios


def _drawn(ratios: list[CaseRatio]) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """Return words, specification and values of the figure of ratios."""
    (figure,) = ratio_figures(ratios, "A's")
    return figure.alt, figure.spec, figure.spec["datasets"][figure.spec["layer"][1]["data"]["name"]]


def test_of_many_ratios_the_figure_shows_what_changed_first_and_counts_the_others() -> None:
    unclear = [CaseRatio(f"unclear {index}", "B", 1.3, 0.8, 2.1) for index in range(60)]
    changed = [CaseRatio(f"slower {index}", "B", 1.05 + index / 100, 1.03, 1.2) for index in range(5)]
    changed += [CaseRatio("faster", "B", 0.9, 0.88, 0.92)]
    alt, spec, values = _drawn(
        [*unclear, *changed, *[CaseRatio(f"equal {index}", "B", 1.0, 0.99, 1.01) for index in range(9)]]
    )
    rows = [one["row"] for one in values]
    assert len(rows) == MOST_DRAWN
    assert {one.benchmark for one in changed} <= set(rows)
    assert [one["ratio"] for one in values] == sorted((one["ratio"] for one in values), reverse=True)
    assert {one["row"] for one in values if one["colour"] != QUIET} == {one.benchmark for one in changed}
    assert spec["layer"][1]["encoding"]["y"]["sort"] == rows
    assert spec["layer"][1]["encoding"]["x"]["axis"]["orient"] == "top"
    assert alt == (
        f"Time of the {MOST_DRAWN} of 75 benchmarks that changed or differ most as a multiple of A's, the slowest first; "
        f"the other {75 - MOST_DRAWN} are 1.30x slower to equal"
    )


def test_where_more_changed_than_a_figure_has_lines_for_it_says_how_many() -> None:
    alt, _, values = _drawn(
        [CaseRatio(f"test {index}", "B", 1 + index / 100, 1 + index / 101, 2.0) for index in range(1, 41)]
    )
    assert [one["row"] for one in values] == [f"test {index}" for index in range(40, 40 - MOST_DRAWN, -1)]
    assert alt.endswith(
        f"; the other {40 - MOST_DRAWN}, of which {40 - MOST_DRAWN} changed, are 1.16x slower to 1.01x slower"
    )


def test_a_figure_of_several_runs_is_no_higher_than_one_of_two() -> None:
    heights = set()
    for runs in ("B", "BC", "BCDE"):
        every = [CaseRatio(f"test {index}", run, 1.1 + index / 50, 1.05, 2.0) for index in range(50) for run in runs]
        _, spec, values = _drawn(every)
        assert {one["Run"] for one in values} == set(runs)
        heights.add(spec["height"])
    assert len(heights) == 1


def test_runs_are_named_in_the_legend_by_their_machines(tmp_path: Path) -> None:
    runs = [_run(tmp_path / f"{name}.json", cpu=f"{name} CPU") for name in "abc"]
    (figure,) = figures_of_runs(runs)
    values = figure.spec["datasets"][figure.spec["layer"][1]["data"]["name"]]
    shape = figure.spec["layer"][2]["encoding"]["shape"]
    assert [one["Run"] for one in values] == shape["sort"] == ["B: b CPU", "C: c CPU"]
    assert shape["legend"]["orient"] == "top"


def test_one_wide_interval_does_not_press_all_others_together_and_the_figure_says_that_it_goes_on() -> None:
    usual = [CaseRatio(f"test {index}", "B", 1.02, 0.98, 1.06) for index in range(12)]
    alt, spec, values = _drawn([*usual, CaseRatio("wide", "B", 1.01, 0.2, 5.0)])
    low, high = spec["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert low * high == pytest.approx(1)
    assert 1.06 < high < 1.1
    (wide,) = [one for one in values if one["row"] == "wide"]
    assert (wide["low"], wide["high"]) == (low, high)
    assert "5.00x slower" in wide["tip"]
    assert alt.endswith("; an interval that ends in a triangle goes on")
    assert [layer["mark"].get("shape") for layer in spec["layer"][3:]] == ["triangle-left", "triangle-right"]
    # Nothing is cut where that is not needed, or where few rows are drawn.
    for ratios in (usual, [*usual[:8], CaseRatio("wide", "B", 1.01, 0.2, 5.0)]):
        alt, spec, values = _drawn(ratios)
        assert "triangle" not in alt
        assert len(spec["layer"]) == 3
        assert [(one["low"], one["high"]) for one in values] == [
            (one.low, one.high) for one in sorted(ratios, key=lambda one: -one.ratio)
        ]


def test_every_ratio_is_within_the_figure_however_far_it_is_from_1() -> None:
    ratios = [CaseRatio(f"test {index}", "B", 1.02, 0.98, 1.06) for index in range(20)]
    _, spec, _ = _drawn([*ratios, CaseRatio("far", "B", 0.1, None, None)])
    low, high = spec["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert low < 0.1
    assert high > 10


@pytest.mark.parametrize("ratio", [1.05, 1.5, 4.0, 50.0])
def test_the_axis_of_ratios_has_1_on_narrow_screens_too(ratio: float) -> None:
    (figure,) = ratio_figures([CaseRatio("test", "B", ratio, None, None)], "A's")
    for spec in (figure.spec, figure.narrow_spec):
        assert 1 in spec["layer"][1]["encoding"]["x"]["axis"]["values"]


def test_what_a_verdict_calls_the_same_or_unclear_has_no_colour_of_a_change() -> None:
    for counts, colour in ((True, SLOWER), (False, QUIET)):
        one = CaseRatio("test", "head", 1.02, 1.01, 1.03, counts)
        assert one.is_sure == counts
        assert one.colour == colour
