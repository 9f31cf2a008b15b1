"""Tests of the looks of a gate: when they come, what each may spend, and by simulation that all of them hold the error."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from rnncore.compare import looks, signs
from rnncore.compare.judge import FAMILY_ERROR, Key, Side
from rnncore.compare.looks import FIRST_ERROR, FIRST_PAIRS, LAST_LOOK, Looks
from rnncore.compare.signs import FloatArray, family_p_values, pairs_needed
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, Judgement

BENCHMARKS = 28


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The error that each look has spent; nothing is judged."""
    spent: list[float] = []

    def judge(base: Side, head: Side, thresholds: Thresholds, error: float, decided: dict[Key, Judgement]) -> Comparison:
        spent.append(error)
        return Comparison("base", "head", (), (), 0.99, error)

    monkeypatch.setattr(looks, "judge", judge)
    monkeypatch.setattr(looks, "settled", lambda *arguments: {})
    return spent


def _side(pairs: int) -> Side:
    made: tuple[None, ...] = (None,) * pairs
    return Side("side", made)  # type: ignore[arg-type] (nothing is judged)


def _pairs_of_looks(pairs: int, gate: Looks) -> Iterator[int]:
    """Take the looks of a gate of so many pairs; yield after which they came."""
    for ended in range(1, pairs + 1):
        # The pair that warms up is of the budget too.
        spent = (ended + 1) / (pairs + 1)
        if gate.is_due(ended, spent):
            gate.take(_side(ended), _side(ended), spent)
            yield ended


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [(28, [10, 14, 21, 28]), (40, [10, 20, 30, 40]), (100, [10, 50, 75, 100]), (20, [10, 15, 20]), (14, [7, 11, 14])],
)
def test_the_first_look_comes_after_ten_pairs_where_that_is_before_half_of_the_budget(
    pairs: int, expected: list[int], errors: list[float]
) -> None:
    assert list(_pairs_of_looks(pairs, Looks(Thresholds()))) == expected


def test_the_first_look_spends_what_the_test_reaches_then() -> None:
    assert pairs_needed(FIRST_ERROR) == FIRST_PAIRS
    assert FIRST_ERROR < 0.2 * FAMILY_ERROR


@pytest.mark.parametrize("pairs", [1, 2, 8, 9, 10, 14, 19, 20, 21, 22, 28, 40, 100])
def test_the_errors_of_all_looks_add_up_to_that_of_a_gate_however_many_pairs_it_has(pairs: int, errors: list[float]) -> None:
    taken = list(_pairs_of_looks(pairs, Looks(Thresholds())))
    assert math.fsum(errors) == pytest.approx(FAMILY_ERROR, rel=1e-12)
    assert all(error == 0 or seen >= pairs_needed(error) for seen, error in list(zip(taken, errors, strict=True))[:-1])
    paid = [
        error for seen, error in zip(taken, errors, strict=True) if error and not (seen == FIRST_PAIRS and seen < pairs / 2)
    ]
    assert all(earlier < later for earlier, later in pairwise(paid))
    assert paid[-1] >= FAMILY_ERROR * LAST_LOOK * (1 - 1e-12)


def test_a_look_between_two_looks_costs_nothing(errors: list[float]) -> None:
    gate = Looks(Thresholds())
    for ended in range(1, 29):
        gate.without_error(_side(ended), _side(ended))
    assert set(errors) == {0.0}
    del errors[:]
    assert list(_pairs_of_looks(28, gate)) == [10, 14, 21, 28]
    assert math.fsum(errors) == pytest.approx(FAMILY_ERROR)


# ------------------------------------------------------------------------------------------------------------ simulations


@pytest.fixture
def few_flips(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Draw fewer ways to flip signs than a gate does: as right, and quicker."""
    monkeypatch.setattr(signs, "DRAWN_FLIPS", 2000)
    signs._flips.cache_clear()
    yield
    signs._flips.cache_clear()


def _log_ratios(rng: np.random.Generator, pairs: int) -> FloatArray:
    """Return log ratios of identical code: half a percent to 2.5 of noise, and of 5 % of the pairs six times as much."""
    values: FloatArray = rng.normal(0, 1, (pairs, BENCHMARKS)) * rng.uniform(0.005, 0.025, BENCHMARKS)
    values[rng.random(values.shape) < 0.05] *= 6
    return values


def _found(values: FloatArray, seen: int, error: float) -> set[int]:
    p_values = family_p_values({one: values[:seen, one] for one in range(BENCHMARKS)})
    return {one for one, p_value in p_values.items() if p_value <= error}


@pytest.mark.usefixtures("few_flips")
def test_all_looks_together_raise_a_false_alarm_in_no_more_than_a_hundredth_of_gates(errors: list[float]) -> None:
    taken = list(_pairs_of_looks(28, Looks(Thresholds())))
    rng, gates = np.random.default_rng(0), 400
    alarms = 0
    for _ in range(gates):
        values = _log_ratios(rng, 28)
        alarms += any(_found(values, seen, error) for seen, error in zip(taken, errors, strict=True))
    # 4 of 400 are one in a hundred; of as many, 11 or more happen once in 350 times.
    assert alarms <= 10


def test_a_slowdown_by_half_of_one_of_many_is_found_at_the_first_look() -> None:
    rng, gates = np.random.default_rng(1), 200
    found = 0
    for gate in range(gates):
        values = _log_ratios(rng, FIRST_PAIRS)
        values[:, gate % BENCHMARKS] += math.log(1.5)
        found += _found(values, FIRST_PAIRS, FIRST_ERROR) == {gate % BENCHMARKS}
    assert found >= 0.98 * gates
