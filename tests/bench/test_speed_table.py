"""Tests of the table of interleaved speeds: who is held against whom, and what is left out."""

from pathlib import Path
from typing import Any

import pytest

from bench.studies.speed_table import main, speed_table
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from tests.run_files import inference, make_run, run_content

CALLS = 15


def _interleaved(runtime: str, precision: str, seconds: float, **extra: Any) -> dict[str, Any]:
    """Return a row whose rounds are as the machine's mood makes them, the same of all runtimes."""
    entry = inference("gru", "torch", 1, seconds, gemm_ceiling_pct=40.0)
    ours = {"phase": "interleaved", "runtime": runtime, "runtime_title": runtime, "precision": precision}
    entry["extra_info"] |= {**ours, **extra}
    entry["fullname"] = f"bench/bench_interleaved.py::test_forecast_interleaved[{runtime}-{precision}-{extra}]"
    entry["stats"]["data"] = [seconds * (1 + place / 10) for place in range(CALLS)]
    return entry


def _run(folder: Path, *entries: dict[str, Any]) -> Run:
    folder.mkdir(exist_ok=True)
    return read_run(make_run(folder, run_content(list(entries))))


def _cells(run: Run, before: Run | None = None) -> list[list[str]]:
    lines = speed_table(run, before).markdown().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| forecast")]


def test_each_runtime_is_beside_ours_in_fp32_and_our_quickest_round_by_round(tmp_path: Path) -> None:
    run = _run(
        tmp_path / "now",
        _interleaved("torch", "fp32", 0.4),
        _interleaved("rnncore", "fp32", 0.1),
        _interleaved("rnncore", "int8", 0.05),
    )
    found = [(cells[3].split(",")[0], cells[3].split(", ")[-1], *cells[4:7]) for cells in _cells(run)]
    assert found == [
        ("rnncore", "int8", "2.00x faster (2.00 to 2.00)", "–", "40 %"),
        ("rnncore", "fp32", "–", "2.00x slower (2.00 to 2.00)", "40 %"),
        ("torch", "fp32", "4.00x slower (4.00 to 4.00)", "8.00x slower (8.00 to 8.00)", "40 %"),
    ]


def test_what_was_before_stands_beside_the_same_row(tmp_path: Path) -> None:
    now = _run(tmp_path / "now", _interleaved("torch", "fp32", 0.4), _interleaved("rnncore", "fp32", 0.1))
    before = _run(tmp_path / "before", _interleaved("torch", "fp32", 0.3), _interleaved("rnncore", "fp32", 0.2))
    assert [cells[-1] for cells in _cells(now, before)] == ["–", "1.50x slower (1.50 to 1.50)"]


def test_groups_without_ours_in_fp32_and_wrong_rows_are_left_out(tmp_path: Path) -> None:
    run = _run(
        tmp_path / "now",
        _interleaved("torch", "fp32", 0.4),
        _interleaved("rnncore", "fp32", 0.1),
        _interleaved("torch", "fp32", 0.4, batch_size=32),
        _interleaved("onnxruntime", "fp32", 0.01, validity="outputs differ"),
    )
    assert [cells[2] for cells in _cells(run)] == ["1", "1"]


def test_a_run_without_interleaved_rows_says_what_to_do(tmp_path: Path) -> None:
    path = make_run(tmp_path, run_content([inference("gru", "torch", 1, 0.1)]))
    with pytest.raises(SystemExit, match="no valid interleaved row of rnncore in fp32"):
        main([str(path)])
