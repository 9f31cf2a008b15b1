"""Tests of steadiness: when the halves of a series are called different, and that the chance is the one of SciPy."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from rnncore.measure.steadiness import chance_of, steadiness, steadiness_facts

# Few distinct values, so that some are equal, and values of which hardly any are.
FEW = st.lists(st.integers(1, 9).map(float), min_size=5, max_size=40)
MANY = st.lists(st.floats(1e-9, 1e3), min_size=5, max_size=40)


@given(st.one_of(st.tuples(FEW, FEW), st.tuples(MANY, MANY)))
def test_the_chance_is_that_of_scipy_with_and_without_equal_values(samples: tuple[list[float], list[float]]) -> None:
    expected = mannwhitneyu(*samples).pvalue
    # Where all values are equal SciPy divides zero by zero.
    assert chance_of(*samples) == pytest.approx(1.0 if math.isnan(expected) else expected, abs=1e-12)


@pytest.mark.parametrize("count", [5, 6, 7, 8, 9, 500])
def test_the_chance_is_that_of_scipy_in_small_and_in_large_samples(count: int) -> None:
    chance = np.random.default_rng(count)
    first, second = chance.normal(size=count).tolist(), chance.normal(0.8, size=count).tolist()
    assert chance_of(first, second) == pytest.approx(mannwhitneyu(first, second).pvalue, rel=1e-9)


def test_a_series_that_is_not_steady_and_one_that_is_too_short_say_why() -> None:
    assert steadiness_facts([1.0] * 10) == {"steady": True}
    assert steadiness_facts([1.0] * 3) == {"steady": None, "steady_why": "n=3 is too few to compare halves, 10 needed"}
    assert steadiness_facts([1.0] * 20 + [2.0] * 20) == {
        "steady": False,
        "steady_why": "the second half is 2.00x slower than the first",
    }


def test_a_clock_that_stands_still_tells_nothing() -> None:
    assert steadiness([0.0] * 20) == (None, "the clock shows no time")


def _row(seed: int, count: int = 200, noise: float = 0.02) -> list[float]:
    """Return skewed times around 0.01 s, all of one distribution."""
    return (0.01 * np.exp(noise * np.random.default_rng(seed).exponential(size=count))).tolist()


@pytest.mark.parametrize("count", [0, 1, 9])
def test_halves_of_few_values_are_not_compared(count: int) -> None:
    assert steadiness(_row(0, count)) == (None, f"n={count} is too few to compare halves, 10 needed")


def test_ten_values_are_enough() -> None:
    assert steadiness([1.0] * 10) == (True, None)
    assert steadiness([1.0, 1.01, 1.02, 1.03, 1.04, 2.0, 2.01, 2.02, 2.03, 2.04])[0] is False


@pytest.mark.parametrize("seed", range(5))
def test_halves_of_one_distribution_are_steady(seed: int) -> None:
    assert steadiness(_row(seed)) == (True, None)


def test_wide_noise_that_moves_the_median_is_not_called_a_change() -> None:
    row = _row(3, count=24, noise=1.0)
    assert abs(statistics.median(row[12:]) / statistics.median(row[:12]) - 1) > 0.05
    assert steadiness(row) == (True, None)


def test_a_second_half_that_is_slower_or_faster_says_by_how_much() -> None:
    half = _row(0, count=100)
    slower = [1.1 * seconds for seconds in half]
    assert steadiness(half + slower) == (False, "the second half is 1.10x slower than the first")
    assert steadiness(slower + half) == (False, "the second half is 1.10x faster than the first")


def test_a_change_too_small_to_matter_is_steady_however_sure_it_is() -> None:
    half = _row(0, count=2000, noise=0.001)
    for change in (1.01, 0.99):
        assert steadiness(half + [change * seconds for seconds in half]) == (True, None)


def test_the_value_in_the_middle_of_an_odd_row_belongs_to_no_half() -> None:
    first, second = [1.0, 1.01, 1.02, 1.03, 1.04], [1.1, 1.11, 1.12, 1.13, 1.14]
    for middle in (0.001, 1000.0):
        assert steadiness([*first, middle, *second]) == (False, "the second half is 1.10x slower than the first")
