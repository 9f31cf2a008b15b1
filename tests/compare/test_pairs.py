"""Tests of ratios of turns: right on made turns, blind to what both sides share, and honest about few turns."""

import numpy as np
import pytest

from rnncore.compare.pairs import paired_ratio


def test_what_slows_both_sides_alike_leaves_the_ratio() -> None:
    mood = np.exp(np.random.default_rng(0).normal(0, 1, 31))
    found = paired_ratio(list(mood), list(1.25 * mood), 0.01)
    assert (found.estimate, found.low, found.high) == pytest.approx((1.25, 1.25, 1.25))


def test_the_interval_is_that_of_the_sign_test() -> None:
    # Of 15 turns, both ends may leave out 2: 2 * (1 + 15 + 105) / 2^15 = 0.0074, and with a third 0.035.
    found = paired_ratio([1.0] * 15, [float(turn) for turn in range(1, 16)], 0.01)
    assert (found.estimate, found.low, found.high) == (8.0, 3.0, 13.0)


def test_the_interval_holds_the_true_ratio_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        mood, noise = rng.lognormal(0, 0.5, 25), rng.lognormal(0, 0.1, (2, 25))
        found = paired_ratio(list(mood * noise[0]), list(1.1 * mood * noise[1]), 0.05)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.1 <= found.high
    # 95 % or more; a discrete test has some to spare.
    assert 0.945 <= held / 2000 <= 0.99


def test_few_turns_bound_nothing() -> None:
    found = paired_ratio([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 0.01)
    assert (found.estimate, found.low, found.high) == (2.0, None, None)


@pytest.mark.parametrize(("base", "head"), [([], []), ([1.0], [1.0, 2.0])])
def test_turns_that_cannot_be_paired_are_refused(base: list[float], head: list[float]) -> None:
    with pytest.raises(ValueError, match=f"{len(base)} and {len(head)} turns cannot be paired"):
        paired_ratio(base, head, 0.01)
