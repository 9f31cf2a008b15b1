"""Tests of the page of profiles: what takes the time against its limit, counters with their reasons, and what changed."""

import re
from pathlib import Path
from typing import Any

import pytest

from rnncore.errors import RunFileError
from rnncore.report.profile_page import MOST_DRAWN, PAGE_NAME, counters_table, kinds_table, limits_s, write_profile_page
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from tests.run_files import inference, make_run, run_content

MS = 1e-3

# Batch 32, 90 hours, 2 layers of 256, 3 gates: products of the recurrence in one call.
RECURRENT_FLOP = 2 * 32 * 90 * 2 * 3 * 256 * 256


def _profiled(cell: str = "gru", scale: float = 1.0, **facts: Any) -> dict[str, Any]:
    shares = {"input GEMM": 20.0, "recurrent GEMM": 60.0, "pointwise": 20.0, "optimiser": 0.0}
    ops = [
        {"op": kind, "where": "cpu", "shapes": "", "category": kind, "calls": 1.0, "self_s": scale * share * 0.1 * MS}
        for kind, share in shares.items()
        if share
    ]
    profile = {"wall_s": scale * 10 * MS, "shares_pct": shares, "ops": ops, "trace": "traces/one.json"}
    return inference(cell, "torch", 32, 10 * MS, profile=profile, **facts)


def _run(folder: Path, *rows: dict[str, Any], name: str = "run.json") -> Run:
    return read_run(make_run(folder, run_content(list(rows)), name))


def test_limits_are_the_seconds_of_the_products_at_the_rates_of_the_session(tmp_path: Path) -> None:
    # 200 and 50 GFLOP/s: free products, and the chain of the recurrence.
    flop, free, chain = 1.25 * RECURRENT_FLOP, 200e9, 50e9
    chain_s = RECURRENT_FLOP / chain + (flop - RECURRENT_FLOP) / free
    facts = {
        "gflop_per_s": flop / (10 * MS) / 1e9,
        "gemm_ceiling_pct": 100 * flop / free / (10 * MS),
        "recurrent_ceiling_pct": 100 * chain_s / (10 * MS),
    }
    (record,) = _run(tmp_path, _profiled(**facts)).records
    assert limits_s(record) == pytest.approx(
        {"input GEMM": 0.25 * RECURRENT_FLOP / free, "recurrent GEMM": RECURRENT_FLOP / chain}
    )
    rows = {row[0]: row[1:] for row in kinds_table(record).rows}
    time, share, limit, of_limit, to_win = rows["recurrent GEMM"]
    assert (time, share) == pytest.approx((6.0, 60.0))
    assert limit == pytest.approx(1e3 * RECURRENT_FLOP / chain)
    assert of_limit == pytest.approx(100 * limit / 6.0)
    assert to_win == pytest.approx(6.0 - limit)
    assert rows["pointwise"][2:] == [None, None, None]


def test_counts_are_by_window_and_a_missing_one_has_its_reason(tmp_path: Path) -> None:
    known = {"instructions_per_call": 3.2e6, "cycles_per_call": None, "cache_misses_per_call": 640.0}
    (record,) = _run(tmp_path, _profiled(**known, cycles_per_call_why="not on this machine")).records
    assert counters_table(record).texts == [
        ["instructions", "100,000", "–"],
        ["cycles", "–", "not on this machine"],
        ["cache misses", "20.0", "–"],
    ]
    (record,) = _run(tmp_path, _profiled()).records
    assert all(row[1:] == ["–", "counted in a gate alone, of rows on one thread"] for row in counters_table(record).texts)


def test_the_page_has_a_flame_graph_for_each_row_and_says_what_is_to_be_won(tmp_path: Path) -> None:
    run = _run(tmp_path, _profiled("gru"), _profiled("lstm"), inference("gru", "onnxruntime", 1, MS))
    page = write_profile_page(run, None, "", tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    assert page == tmp_path / "out" / PAGE_NAME
    assert (text.count("<figure"), text.count("<h2")) == (2, 2)
    assert "Most is to be won in <strong>" in text
    assert "traces/one.json" in text
    assert "optimiser" not in text
    assert write_profile_page(run, None, "lstm", tmp_path / "lstm").read_text(encoding="utf-8").count("<figure") == 1


def test_of_many_rows_the_rest_is_a_folded_table(tmp_path: Path) -> None:
    rows = []
    for index in range(MOST_DRAWN + 3):
        row = _profiled()
        rows.append({**row, "fullname": f"{row['fullname']}-{index}"})
    text = write_profile_page(_run(tmp_path, *rows), None, "", tmp_path / "out").read_text(encoding="utf-8")
    assert text.count("<figure") == MOST_DRAWN
    assert "<summary>3 more rows: give -k TEXT" in text


def test_of_two_runs_the_page_names_what_grew_the_most_changed_first(tmp_path: Path) -> None:
    before = _run(tmp_path, _profiled("gru"), _profiled("lstm"), name="a.json")
    now = _run(tmp_path, _profiled("gru", 1.1), _profiled("lstm", 2.0), name="b.json")
    text = write_profile_page(before, now, "", tmp_path / "out").read_text(encoding="utf-8")
    assert text.index("lstm-torch-cpu-fp32-b32]</h2>") < text.index("gru-torch-cpu-fp32-b32]</h2>")
    assert "recurrent GEMM +6.0 ms" in text
    assert text.count("<figure") == 2


def test_a_profile_without_shares_has_its_operations_all_the_same(tmp_path: Path) -> None:
    rows = []
    for index in range(MOST_DRAWN + 1):
        row = _profiled()
        del row["extra_info"]["profile"]["shares_pct"]
        rows.append({**row, "fullname": f"{row['fullname']}-{index}"})
    text = write_profile_page(_run(tmp_path, *rows), None, "", tmp_path / "out").read_text(encoding="utf-8")
    assert text.count("<figure") == MOST_DRAWN
    assert "recurrent GEMM, 6.00 ms</span>" in text
    assert "Of one call: recurrent GEMM 60 %" in text


def test_a_page_of_profiles_needs_no_drawing_and_is_read_without_its_script(tmp_path: Path) -> None:
    text = write_profile_page(_run(tmp_path, _profiled()), None, "", tmp_path / "out").read_text(encoding="utf-8")
    assert "<svg" not in text
    body = text[text.index("<main") : text.index("<script>")]
    # What the script alone makes of boxes.
    assert not re.search(r"tabindex=\"-1|role=\"button|aria-pressed", body)
    assert body.count('class="flame" role="img" aria-label="One profiled call') == 1
    assert "recurrent GEMM, 6.00 ms</span>" in body


def test_without_a_profile_nothing_is_written(tmp_path: Path) -> None:
    run = _run(tmp_path, inference("gru", "torch", 1, MS))
    with pytest.raises(RunFileError, match="no profiles"):
        write_profile_page(run, None, "", tmp_path / "out")
    assert not (tmp_path / "out").exists()
