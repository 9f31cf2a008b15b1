"""Tests of replayed gates: planted delays are found, none is made up, and what was not delayed is not found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.compare.replay import ASV_ROUNDS, Pool, Rate, Score, read_pool, score_rules
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import ConfigError
from rnncore.runfile.record import Record, Run
from tests.run_files import inference, make_run, run_content

NAMES = ("a.py::test_one", "a.py::test_two")
OURS, PYTEST_BENCHMARK, ASV = 0, 1, 2
PROCESS_S = 7.0


def _run(rng: np.random.Generator, delay_pct: float = 0.0, told_pct: float | None = None, noise: float = 0.005) -> Run:
    records = []
    for name in NAMES:
        quickest_s = 0.01 * (1 + delay_pct / 100) * np.exp(rng.normal(0, noise))
        rounds_s = tuple(quickest_s * (1 + rng.exponential(0.01, 10)))
        told = delay_pct if told_pct is None else told_pct
        extra: dict[str, Any] = {"injected_delay_pct": told} if told else {}
        records.append(Record(name, "made", (quickest_s, *rounds_s), extra))
    return Run(Path("a.json"), "2026-11-24", None, {}, None, (), (), (), None, {"scale": "gate"}, tuple(records), "")


def _pool(blocks: int = 44, delay_pct: float = 5.0, told_pct: float = 5.0, noise: float = 0.005) -> Pool:
    rng = np.random.default_rng(0)
    plain = tuple((_run(rng, noise=noise), _run(rng, noise=noise)) for _ in range(blocks))
    return Pool(plain, {told_pct: tuple(_run(rng, delay_pct, told_pct, noise) for _ in range(blocks))}, PROCESS_S)


def _scores(pool: Pool, gates: int = 30) -> tuple[list[Score], list[Score]]:
    """Return the scores of identical code, and of the delay, by rule."""
    scores = score_rules(pool, 600.0, Thresholds(), gates)
    return scores[:3], scores[3:]


def test_a_planted_delay_is_found_and_nothing_else_is_called() -> None:
    identical, delayed = _scores(_pool())
    assert identical[OURS].found is None
    assert identical[OURS].alarms == Rate(0, 30)
    assert delayed[OURS].found == Rate(30, 30)
    assert delayed[OURS].found_of == dict.fromkeys(NAMES, Rate(15, 15))
    assert delayed[OURS].alarms == Rate(0, 30)
    assert delayed[OURS].unclear == Rate(0, 30)


def test_a_delay_that_was_not_there_is_not_found() -> None:
    _, delayed = _scores(_pool(delay_pct=0.0))
    assert delayed[OURS].found == Rate(0, 30)


def test_what_noise_hides_is_left_unclear() -> None:
    identical, delayed = _scores(_pool(noise=0.5))
    assert identical[OURS].unclear == Rate(30, 30)
    assert delayed[OURS].found == Rate(0, 30)


def test_other_rules_err_on_noise_between_processes_where_ours_does_not() -> None:
    identical, _ = _scores(_pool(noise=0.04))
    assert identical[OURS].alarms.share == 0
    assert identical[PYTEST_BENCHMARK].alarms.share > 0.1
    assert identical[ASV].alarms.share > 0.02


def test_the_rules_are_named_for_what_they_are() -> None:
    identical, _ = _scores(_pool(), gates=2)
    assert [score.rule for score in identical] == [
        "rnncore gate",
        "one process a side, min:5% (pytest-benchmark)",
        "all rounds, Mann-Whitney p < 0.002 and 1.02x (asv)",
    ]


def test_calls_too_quick_for_the_delay_are_no_targets() -> None:
    pool = _pool()
    quick = tuple(_with_delay(run, NAMES[0], 6.1) for run in pool.delayed[5.0])
    _, delayed = _scores(Pool(pool.plain, {5.0: quick}, PROCESS_S))
    assert delayed[OURS].found_of == {NAMES[1]: Rate(30, 30)}


def _with_delay(run: Run, fullname: str, delay_pct: float) -> Run:
    for record in run.records:
        if record.fullname == fullname:
            record.facts["injected_delay_pct"] = delay_pct
    return run


def test_a_pool_smaller_than_a_gate_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 40 processes a side here, and the pool 39"):
        score_rules(_pool(blocks=39), 600.0, Thresholds(), 10)


def test_gates_are_counted_while_they_are_replayed() -> None:
    told: list[int] = []
    score_rules(_pool(), 600.0, Thresholds(), 3, told.append)
    assert told == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("happened", "tried", "low", "high"), [(0, 300, 0, 0.01222), (300, 300, 0.98778, 1), (8, 10, 0.4439, 0.9748)]
)
def test_the_interval_of_a_rate_is_clopper_and_pearsons(happened: int, tried: int, low: float, high: float) -> None:
    assert Rate(happened, tried).interval == pytest.approx((low, high), abs=1e-4)


def _write(folder: Path, name: str, second: int, delays_pct: Sequence[float] = (0.0, 0.0)) -> None:
    rows = [inference("gru", "torch", 1, 0.005), inference("lstm", "torch", 1, 0.003)]
    for row, delay_pct in zip(rows, delays_pct, strict=True):
        if delay_pct:
            row["extra_info"]["injected_delay_pct"] = delay_pct
    content = run_content(rows)
    content["datetime"] = f"2026-11-24T10:{second // 60:02}:{second % 60:02}+00:00"
    make_run(folder, content, name)


def test_a_pool_is_read_by_block_and_delay_without_warm_up_and_broken_blocks(tmp_path: Path) -> None:
    _write(tmp_path, "warm-up.json", 0)
    for block in range(3):
        second = 10 + 30 * block
        _write(tmp_path, f"{block:03}-0.json", second, (5.0, 5.4))
        _write(tmp_path, f"{block:03}-1.json", second + 10)
        if block < 2:
            _write(tmp_path, f"{block:03}-2.json", second + 20)
    pool = read_pool(tmp_path)
    plain = [[run.path.name for run in pair] for pair in pool.plain]
    assert plain == [["000-1.json", "000-2.json"], ["001-1.json", "001-2.json"]]
    assert list(pool.delayed) == [5.0]
    assert [run.path.name for run in pool.delayed[5.0]] == ["000-0.json", "001-0.json"]
    assert pool.process_s == 10


def test_a_folder_without_a_block_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no whole block of a self-test"):
        read_pool(tmp_path)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none: no such folder\. Give the folder 'processes'"):
        read_pool(tmp_path / "none")


def test_asv_is_given_at_most_so_many_rounds_of_a_process() -> None:
    from rnncore.compare.replay import _all_rounds_s

    record = Record(NAMES[0], "made", tuple(float(number) for number in range(1, 1051)), {})
    run = Run(Path("a.json"), "2026-11-24", None, {}, None, (), (), (), None, {}, (record,), "")
    assert 90 <= len(_all_rounds_s([run, run])[NAMES[0]]) / 2 <= ASV_ROUNDS
