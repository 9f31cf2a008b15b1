"""Tests of the section on several processes: what was measured and what is predicted, by hand, each called what it is."""

from pathlib import Path
from typing import Any

import pytest

from rnncore.compare.scaling import Link
from rnncore.report.page import render, write_report
from rnncore.report.sections.scaling import measured_table, predicted_table, with_model
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record
from tests.run_files import ARTICLE, benchmark, make_run, run_content

# Two messages of 50 µs, and half of the bytes in each at 1 GB/s.
LINK = Link(50e-6, 1e9)


def _row(batch_size: int, devices: int = 2, together_s: float = 0.05, **extra: Any) -> dict[str, Any]:
    """Return a row of a GRU that takes 2 ms, and 1 ms for each window, and has a megabyte of gradients at the end."""
    part_s, whole_s = (2e-3 + 1e-3 * windows for windows in (batch_size // devices, batch_size))
    facts = {
        **{"cell": "gru", "runtime": "rnncore", "runtime_title": "rnncore", "threads": 1, "validity": "valid"},
        **{"part_alone_s": [part_s] * 15, "whole_alone_s": [whole_s] * 15, "threads_alone_s": [2 * together_s] * 15},
        "part_at_once_s": [1.25 * part_s] * 15,
        "gradients": [{"bytes": 4e5, "ready_share": 0.8}, {"bytes": 6e5, "ready_share": 0.9}],
        "all_reduces": [{"bytes": size, "seconds": LINK.all_reduce_s(size, devices)} for size in (4, 4096, 2**20, 2**24)],
        "communication_pct": 7.4,
    }
    name = f"test_train_step_scaling[gru-rnncore-cpu-fp32-b{batch_size}-1threads-{devices}devices]"
    return benchmark(
        "scaling",
        name,
        [together_s] * 15,
        batch_size,
        **{**ARTICLE, **facts, "batch_size": batch_size, "devices": devices, **extra},
    )


def _records(tmp_path: Path, *rows: dict[str, Any]) -> list[Record]:
    return list(read_run(make_run(tmp_path, run_content(list(rows)))).records)


def test_what_was_measured_is_a_ratio_of_neighbours_in_time(tmp_path: Path) -> None:
    # Alone 34 ms for 32 windows, 66 ms for 64; together 50 ms.
    (row,) = measured_table(with_model(_records(tmp_path, _row(64)))).texts
    assert row == [
        *("GRU in rnncore, CPU, fp32", "2", "64", "970", "1,280"),
        *("68 % (68 to 68)", "66 % (66 to 66)", "2.00x (2.00 to 2.00)", "7 % of a step"),
    ]


def test_what_is_predicted_is_the_part_alone_and_the_all_reduce_that_nothing_hides(tmp_path: Path) -> None:
    # A megabyte over the link between two takes 1.1 ms. Of 1,024 devices 2,046 messages take 102.3 ms, and twice the bytes
    # 2.0 ms; four times 104.3 ms are 417.2 ms, and so 416 windows.
    (row,) = predicted_table(with_model(_records(tmp_path, _row(64), _row(128))[:1])).texts
    assert row[:7] == ["GRU in rnncore, CPU, fp32", "2", "32", "50.0 ms", "35.1 ms", "-29.8 %", "+25.0 %"]
    # 8.5 ms may be added: 2.0 ms for the bytes, and 65 pairs of messages.
    assert row[7:] == ["66", "24.6 %", "416"]


def test_rows_of_several_batches_share_the_line_of_their_computing(tmp_path: Path) -> None:
    rows = with_model(_records(tmp_path, _row(64), _row(128, together_s=0.1)))
    assert rows[0].computing == rows[1].computing
    assert (rows[0].computing.fixed_s, rows[0].computing.window_s) == pytest.approx((2e-3, 1e-3))


def test_where_rounds_are_not_as_many_or_gradients_are_not_known_there_is_a_dash(tmp_path: Path) -> None:
    facts = {"part_alone_s": [0.03] * 3, "threads_alone_s": None, "gradients": None, "communication_pct": None}
    rows = with_model(_records(tmp_path, _row(64, **facts)))
    assert measured_table(rows).texts[0][5:] == ["–", "66 % (66 to 66)", "–", "–"]
    assert predicted_table(rows).texts == []
    report = render([read_run(make_run(tmp_path, run_content([_row(64, **facts)])))])
    assert "Predicted" not in report


def test_the_page_says_what_is_measured_and_what_is_predicted_and_names_the_knee(tmp_path: Path) -> None:
    path = make_run(tmp_path, run_content([_row(64), _row(128, together_s=0.1)]))
    report = write_report([path], tmp_path / "report").with_name("report.md").read_text(encoding="utf-8")
    section = report.split("## How does training scale?")[1].split("\n## ")[0]
    assert "**2 processes of GRU in rnncore, CPU, fp32** take 1.30 times the windows/s of one, at a batch of 128." in section
    assert "Measured on this machine" in section
    assert "**Predicted**, not measured, over a link as this: GRU, rnncore, 64 each, keeps 80 % weak efficiency" in section
    assert "1,024 keep it with 416 windows on each." in section
    assert (tmp_path / "report/scaling.svg").exists()


def test_a_run_without_such_rows_says_nothing_of_them(tmp_path: Path) -> None:
    assert "How does training scale?" not in render([read_run(make_run(tmp_path, run_content()))])
