"""Tests of scenarios in reports: each way by what it is used for, the knee, the fastest, and rows that a sweep added."""

from pathlib import Path
from typing import Any

import pytest

from rnncore.report.page import write_report
from rnncore.report.sections.scenarios import scenarios_table, streaming_table
from rnncore.report.sections.throughput import fastest_table
from rnncore.report.table import Table
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record
from tests.run_files import benchmark, inference, make_run, run_content

SERVER = {"cell": "gru", "batch_size": 32, "p99_bound_s": 0.05, "validity": "valid"}


def _records(tmp_path: Path, *rows: dict[str, Any]) -> list[Record]:
    return list(read_run(make_run(tmp_path, run_content(list(rows)))).records)


def _row(table: Table, *first: str) -> list[str]:
    begins = f"| {' | '.join(first)} | "
    (line,) = (line for line in table.markdown().splitlines() if line.startswith(begins))
    return line.strip("| ").split(" | ")[len(first) :]


def test_the_knee_is_the_smallest_batch_with_nine_tenths_of_the_most(tmp_path: Path) -> None:
    times_s = {1: 10e-3, 8: 20e-3, 32: 46e-3, 128: 182e-3, 1024: 1.6}
    records = _records(tmp_path, *[inference("gru", "torch", size, seconds) for size, seconds in times_s.items()])
    single, offline, knee, *_ = _row(scenarios_table(records, []), "GRU", "PyTorch, CPU, fp32")
    assert single == "14.0 ms"
    assert offline.endswith("(batch 128)")
    # 32 windows in 46 ms are 696 per second, of 703.
    assert knee == "batch 32"


def test_a_swept_axis_changes_no_scenario(tmp_path: Path) -> None:
    usual = [inference("gru", "torch", size, size * 1e-3) for size in (1, 32, 1024)]
    swept = inference("gru", "torch", 32, 1e-5, hidden_size=32)
    swept["fullname"] += "-h32"
    tables = [scenarios_table(_records(tmp_path, *rows), []).texts for rows in (usual, [*usual, swept])]
    assert tables[0] == tables[1]
    assert _row(fastest_table(_records(tmp_path, *usual, swept)), "32", "GRU")[1] == "32.0 ms"


def test_a_server_has_its_rates_alone_and_together_or_says_that_it_has_none(tmp_path: Path) -> None:
    rows = [
        benchmark("serve", "test_serve[b32]", [0.01] * 9, 1, **SERVER, served_per_s=3704.4),
        benchmark("serve", "test_serve[b1]", [0.08] * 9, 1, **{**SERVER, "batch_size": 1}, served_per_s=None),
    ]
    records = _records(tmp_path, *rows)
    assert _row(scenarios_table([], records), "GRU", "PyTorch, CPU, fp32") == [
        *("–", "–", "–"),
        "none within 50 ms",
        "3,700 (p99 50 ms)",
    ]
    assert [record.windows_per_s for record in records] == [3704.4, 0.0]


def test_a_run_of_servers_alone_has_a_report(tmp_path: Path) -> None:
    row = benchmark("serve", "test_serve[b32]", [0.01] * 9, 1, **SERVER, served_per_s=3704.4)
    path = make_run(tmp_path, run_content([row]))
    report = write_report([path], tmp_path / "report").with_name("report.md").read_text("utf-8")
    assert "3,700 (p99 50 ms)" in report.split("## How many can be served?")[1].split("\n## ")[0]


@pytest.mark.parametrize(("smape", "shown"), [(0.6642, "0.664 %"), (None, "–")])
def test_a_stream_tells_its_saving_and_what_carrying_the_state_does(smape: float | None, shown: str, tmp_path: Path) -> None:
    facts = {"cell": "gru", "hidden_size": 64, "num_layers": 1, "lookback": 24, "batch_size": 1, "runtime": "rnncore"}
    row = benchmark(
        "stream", "test_next_hour[x]", [4e-6] * 5, 1, **facts, window_call_s=18e-6, smape=smape, smape_by_windows=0.6665
    )
    (record,) = _records(tmp_path, row)
    assert _row(streaming_table([record]), "GRU", "1 x 64, 24 hours", "1", "rnncore") == [
        *("4.00 µs", "18.0 µs", "4.5x", shown, "0.666 %"),
    ]


def test_a_stream_on_a_gpu_is_told_from_that_on_the_cpu_and_says_that_its_copies_count(tmp_path: Path) -> None:
    facts = {"cell": "gru", "hidden_size": 64, "num_layers": 1, "lookback": 24, "batch_size": 1, "window_call_s": 9e-4}
    on_gpu = benchmark("stream", "test_next_hour[y]", [3e-4] * 5, 1, **facts, device="cuda", clock="host")
    on_cpu = benchmark("stream", "test_next_hour[x]", [1e-4] * 5, 1, **facts)
    table = streaming_table(_records(tmp_path, on_gpu, on_cpu))
    shown = ("GRU", "1 x 64, 24 hours", "1")
    assert _row(table, *shown, "PyTorch")[0] == "100 µs"
    assert _row(table, *shown, "PyTorch, CUDA, fp32, with copies")[0] == "300 µs"
