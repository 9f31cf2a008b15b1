"""Tests of ratios of interleaved rounds: right on made ones, blind to what both sides share, and honest about few."""

import numpy as np
import pytest

from rnncore.compare.interleaved import interleaved_ratio


def test_what_slows_both_sides_alike_leaves_the_ratio() -> None:
    mood = np.exp(np.random.default_rng(0).normal(0, 1, 31))
    found = interleaved_ratio(list(mood), list(1.25 * mood), 0.01)
    assert (found.estimate, found.low, found.high) == pytest.approx((1.25, 1.25, 1.25))


def test_the_interval_is_that_of_the_sign_test() -> None:
    # Of 15 rounds, both ends may leave out 2: 2 * (1 + 15 + 105) / 2^15 = 0.0074, and with a third 0.035.
    found = interleaved_ratio([1.0] * 15, [float(number) for number in range(1, 16)], 0.01)
    assert (found.estimate, found.low, found.high) == (8.0, 3.0, 13.0)


def test_the_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        mood, noise = rng.lognormal(0, 0.5, 25), rng.lognormal(0, 0.1, (2, 25))
        found = interleaved_ratio(list(mood * noise[0]), list(1.1 * mood * noise[1]), 0.05)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.1 <= found.high
    # 95 % or more; a discrete test has some to spare.
    assert 0.945 <= held / 2000 <= 0.99


def test_few_rounds_bound_nothing() -> None:
    found = interleaved_ratio([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 0.01)
    assert (found.estimate, found.low, found.high) == (2.0, None, None)


@pytest.mark.parametrize(("base", "head"), [([], []), ([1.0], [1.0, 2.0])])
def test_rounds_that_are_not_equally_many_are_refused(base: list[float], head: list[float]) -> None:
    with pytest.raises(ValueError, match=f"{len(base)} and {len(head)} rounds have no ratio"):
        interleaved_ratio(base, head, 0.01)
