"""Tests of replayed gates: planted delays are found, none is made up, and what was not delayed is not found."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.compare import replay
from rnncore.compare.judge import Side
from rnncore.compare.looks import FIRST_PAIRS, Looks
from rnncore.compare.replay import ASV_ROUNDS, Pool, Rate, Score, read_pool, score_rules
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison
from rnncore.errors import ConfigError
from rnncore.runfile.record import Record, Run
from tests.run_files import inference, make_run, run_content

NAMES = ("a.py::test_one", "a.py::test_two")
OURS, PYTEST_BENCHMARK, ASV = 0, 1, 2
PAIR_S = 7.0
# For 19 pairs.
BUDGET_S = 140.0


def _run(rng: np.random.Generator, delay_pct: float = 0.0, told_pct: float | None = None, noise: float = 0.005) -> Run:
    records = []
    for name in NAMES:
        quickest_s = 0.01 * (1 + delay_pct / 100) * np.exp(rng.normal(0, noise))
        rounds_s = tuple(quickest_s * (1 + rng.exponential(0.01, 10)))
        told = delay_pct if told_pct is None else told_pct
        extra: dict[str, Any] = {"injected_delay_pct": told} if told else {}
        records.append(Record(name, "made", (quickest_s, *rounds_s), extra))
    return Run(Path("a.json"), "2026-11-24", None, {}, None, (), (), (), None, {"scale": "gate"}, tuple(records), "")


def _pool(blocks: int = 24, delay_pct: float = 5.0, told_pct: float = 5.0, noise: float = 0.005) -> Pool:
    rng = np.random.default_rng(0)
    plain = tuple((_run(rng, noise=noise), _run(rng, noise=noise)) for _ in range(blocks))
    delayed = tuple((_run(rng, noise=noise), _run(rng, delay_pct, told_pct, noise)) for _ in range(blocks))
    return Pool(plain, {told_pct: delayed}, PAIR_S)


def _scores(pool: Pool, gates: int = 30) -> tuple[list[Score], list[Score]]:
    """Return the scores of identical code, and of the delay, by rule."""
    scores = score_rules(pool, BUDGET_S, Thresholds(), gates)
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
    # One benchmark of a hundred gates may be called by chance; more than two of 30 would be none.
    assert delayed[OURS].found is not None
    assert delayed[OURS].found.happened <= 2


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
    quick = tuple((base, _with_delay(head, NAMES[0], 6.1)) for base, head in pool.delayed[5.0])
    _, delayed = _scores(Pool(pool.plain, {5.0: quick}, PAIR_S))
    assert delayed[OURS].found_of == {NAMES[1]: Rate(30, 30)}


def _with_delay(run: Run, fullname: str, delay_pct: float) -> Run:
    for record in run.records:
        if record.fullname == fullname:
            record.facts["injected_delay_pct"] = delay_pct
    return run


def test_noise_that_both_processes_of_a_pair_have_in_common_hides_nothing() -> None:
    """A pair that is slow as a whole is slow on both sides; sides of other pairs would not be alike."""
    pool, rng = _pool(), np.random.default_rng(1)

    def slowed(pair: tuple[Run, Run]) -> tuple[Run, Run]:
        factor = float(np.exp(rng.normal(0, 0.3)))
        base, head = (
            replace(
                run,
                records=tuple(
                    replace(record, rounds_s=tuple(factor * one for one in record.rounds_s)) for record in run.records
                ),
            )
            for run in pair
        )
        return base, head

    noisy = Pool(tuple(map(slowed, pool.plain)), {5.0: tuple(map(slowed, pool.delayed[5.0]))}, PAIR_S)
    identical, delayed = _scores(noisy)
    assert identical[OURS].alarms == Rate(0, 30)
    assert delayed[OURS].found == Rate(30, 30)


def test_a_replayed_gate_looks_when_a_real_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Noting(Looks):
        def take(self, base: Side, head: Side, spent: float) -> Comparison:
            seen.append(len(base.runs))
            return super().take(base, head, spent)

    monkeypatch.setattr(replay, "Looks", Noting)
    score_rules(_pool(blocks=29, noise=0.5), 30 * PAIR_S, Thresholds(), 1)
    assert seen[: len(seen) // 2] == [FIRST_PAIRS, 14, 22, 29]


def test_a_pool_smaller_than_a_gate_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 19 pairs here, and the pool 18"):
        score_rules(_pool(blocks=18), BUDGET_S, Thresholds(), 10)


def test_gates_are_counted_while_they_are_replayed() -> None:
    told: list[int] = []
    score_rules(_pool(), BUDGET_S, Thresholds(), 3, told.append)
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
    for side in ("base", "head"):
        _write(tmp_path, f"warm-up-{side}.json", 0)
    for block in range(3):
        second = 10 + 20 * block
        for side in ("base", "head"):
            delays_pct = (5.0, 5.4) if side == "head" else (0.0, 0.0)
            _write(tmp_path, f"{block:03}-5-{side}.json", second, delays_pct)
            if block < 2 or side == "base":
                _write(tmp_path, f"{block:03}-0-{side}.json", second + 10)
    pool = read_pool(tmp_path)
    plain = [[run.path.name for run in pair] for pair in pool.plain]
    assert plain == [["000-0-base.json", "000-0-head.json"], ["001-0-base.json", "001-0-head.json"]]
    assert list(pool.delayed) == [5.0]
    delayed = [[run.path.name for run in pair] for pair in pool.delayed[5.0]]
    assert delayed == [["000-5-base.json", "000-5-head.json"], ["001-5-base.json", "001-5-head.json"]]
    assert pool.pair_s == 10


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
