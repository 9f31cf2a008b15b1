"""Tests of intervals of percentiles: ranks against exact fractions, how often they hold the truth, and what it takes."""

import math
from fractions import Fraction

import numpy as np
import pytest

from rnncore.runfile.order_statistics import MISSED, NEEDED_FOR_MEDIAN, calls_needed, interval_ranks, values_needed
from tests.binomial import at_least, tightest_ranks

NEEDED = {50: 11, 90: 64, 95: 130, 99: 662}
COUNTS = [2, 6, 7, 8, 11, 40, 64, 130, 459, 662, 1000]


def _exact_coverage(count: int, percentile: int) -> Fraction:
    """Return how often the interval holds the percentile of a continuous distribution; an open end always does."""
    low, high = interval_ranks(percentile, count)
    shares = at_least(count, percentile)
    return shares[low or 0] - (Fraction(0) if high is None else shares[high])


@pytest.mark.parametrize(("percentile", "needed"), NEEDED.items())
def test_a_percentile_needs_the_calls_of_mlperf(percentile: int, needed: int) -> None:
    assert calls_needed(percentile) == needed


@pytest.mark.parametrize("percentile", NEEDED)
def test_the_calls_needed_are_the_fewest_of_which_the_second_largest_bounds_the_percentile(percentile: int) -> None:
    def second_largest_is_below(count: int) -> Fraction:
        return at_least(count, percentile)[count - 1]

    needed = calls_needed(percentile)
    assert second_largest_is_below(needed) <= Fraction(1, 100) < second_largest_is_below(needed - 1)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("percentile", [10, 50, 90, 99])
def test_ranks_are_the_tightest_that_exact_binomial_sums_allow_and_none_where_there_is_none(
    percentile: int, count: int
) -> None:
    assert interval_ranks(percentile, count) == tightest_ranks(count, percentile)


def test_no_values_have_no_interval() -> None:
    assert interval_ranks(50, 0) == (None, None)


def test_the_extremes_hold_the_median_from_as_many_values_as_are_said_to_be_needed() -> None:
    assert interval_ranks(50, NEEDED_FOR_MEDIAN) == (1, NEEDED_FOR_MEDIAN)
    assert interval_ranks(50, NEEDED_FOR_MEDIAN - 1) == (None, None)


@pytest.mark.parametrize("count", [7, 12, 40, 200, 700])
@pytest.mark.parametrize("percentile", [50, 90, 99])
def test_intervals_hold_the_truth_as_often_as_the_exact_binomial_says(percentile: int, count: int) -> None:
    exact = float(_exact_coverage(count, percentile))
    assert exact >= 1 - 2 * MISSED
    repetitions = 4000
    # Of the uniform distribution the percentile is known; ranks do not care for any other.
    drawn = np.sort(np.random.default_rng(20261127).random((repetitions, count)), axis=1)
    low, high = interval_ranks(percentile, count)
    is_above_low = drawn[:, low - 1] <= percentile / 100 if low else np.ones(repetitions, bool)
    is_below_high = percentile / 100 < drawn[:, high - 1] if high else np.ones(repetitions, bool)
    slack = 4 * math.sqrt(exact * (1 - exact) / repetitions)
    assert abs((is_above_low & is_below_high).mean() - exact) <= slack + 1e-9


@pytest.mark.parametrize(("percentile", "share"), [(50, 0.6), (50, 0.45), (90, 0.95), (90, 0.87), (99, 0.998), (99, 1.0)])
def test_as_many_values_as_are_said_to_be_needed_often_tell_and_four_times_as_many_nearly_always(
    percentile: int, share: float
) -> None:
    """A limit that *share* of all values keep is told from the percentile once the interval lies on one side of it."""
    needed = values_needed(percentile, 10_000, round(share * 10_000))
    rng = np.random.default_rng(7)
    told = {}
    for count in (needed, 4 * needed):
        low, high = interval_ranks(percentile, count)
        kept = rng.binomial(count, share, 2000)
        # As many values do not exceed the limit: so it lies above the n-th of them, and below the next.
        told[count] = float(((kept >= (high or count + 1)) | (kept < (low or 0))).mean())
    assert told[needed] >= 0.3
    assert told[4 * needed] >= 0.95
    assert share == 1.0 or told[needed] <= 0.8


def test_a_limit_that_lies_at_the_percentile_takes_more_the_more_values_say_so() -> None:
    few, many = values_needed(50, 10, 5), values_needed(50, 1000, 500)
    assert 100 < few < 1000
    assert many > 1_000_000
