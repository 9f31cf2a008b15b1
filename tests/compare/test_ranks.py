"""Tests of the rank test: against counting by hand, its error on noise, its interval, and what it is for."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from rnncore.compare.ranks import (
    Ratio,
    _null_distribution,
    compare_sides,
    p_value,
    processes_needed,
    smallest_p_value,
)

SIDE = st.lists(st.floats(0.5, 2.0, allow_nan=False), min_size=2, max_size=5)


def _p_value_by_listing(base: list[float], head: list[float]) -> float:
    """Return the two-sided p-value by listing every way to choose the head's processes."""
    values = [*base, *head]
    order = sorted(values)
    # Mean of the ranks that equal values share.
    rank = {value: (order.index(value) + 1 + len(order) - order[::-1].index(value)) / 2 for value in values}
    scores = [min(rank[value], (len(values) + 1) / 2) for value in values]
    totals = [sum(chosen) for chosen in itertools.combinations(scores, len(head))]
    seen = sum(scores[len(base) :])
    below = sum(total <= seen + 1e-9 for total in totals) / len(totals)
    above = sum(total >= seen - 1e-9 for total in totals) / len(totals)
    return min(1.0, 2 * min(below, above))


@given(SIDE, SIDE)
def test_the_p_value_is_that_of_listing_all_assignments(base: list[float], head: list[float]) -> None:
    assert p_value(np.array(base), np.array(head)) == pytest.approx(_p_value_by_listing(base, head), rel=1e-9)


@given(SIDE, SIDE, st.floats(1e-6, 1e3))
def test_units_do_not_matter(base: list[float], head: list[float], scale: float) -> None:
    result = compare_sides(base, head, 0.2)
    scaled = compare_sides([scale * value for value in base], [scale * value for value in head], 0.2)
    assert scaled.estimate == pytest.approx(result.estimate)


@given(SIDE, SIDE)
def test_swapped_sides_give_the_inverse(base: list[float], head: list[float]) -> None:
    one, other = compare_sides(base, head, 0.2), compare_sides(head, base, 0.2)
    assert one.estimate * other.estimate == pytest.approx(1)
    assert one.p_value == pytest.approx(other.p_value)


@given(SIDE, SIDE)
def test_the_estimate_lies_in_the_interval_and_among_the_ratios(base: list[float], head: list[float]) -> None:
    result = compare_sides(base, head, 0.2)
    assert (result.low or 0) <= result.estimate <= (result.high or math.inf)
    assert min(head) / max(base) * (1 - 1e-9) <= result.estimate <= max(head) / min(base) * (1 + 1e-9)


@pytest.mark.parametrize("processes", [7, 12, 30])
def test_identical_sides_are_called_different_no_more_often_than_allowed(processes: int) -> None:
    rng = np.random.default_rng(processes)
    trials = 400
    found = [p_value(*np.log(1 + rng.exponential(0.1, (2, processes)))) <= 0.05 for _ in range(trials)]
    # Three standard deviations of a binomial above 5 %.
    assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize("ratio", [0.9, 1.0, 1.05])
def test_the_interval_holds_the_true_ratio_as_often_as_it_says(ratio: float) -> None:
    rng = np.random.default_rng(3)
    trials, held = 300, 0
    for _ in range(trials):
        base, head = np.exp(rng.exponential(0.05, (2, 12)))
        result = compare_sides(base, ratio * head, 0.1)
        assert result.low is not None
        assert result.high is not None
        held += result.low <= ratio <= result.high
    assert held / trials >= 0.9 - 3 * math.sqrt(0.1 * 0.9 / trials)


def test_an_interval_excludes_one_exactly_where_the_test_rejects() -> None:
    rng = np.random.default_rng(5)
    verdicts = []
    for _ in range(200):
        base, head = np.exp(rng.exponential(0.05, (2, 10))) * np.array([[1.0], [1.03]])
        result = compare_sides(base, head, 0.05)
        assert result.low is not None
        assert result.high is not None
        rejected = result.p_value <= 0.05
        verdicts.append(rejected)
        assert rejected == (not result.low <= 1 <= result.high)
    assert 0 < sum(verdicts) < len(verdicts)


def test_slow_outliers_hide_a_change_from_the_usual_test_more_than_from_this_one() -> None:
    rng = np.random.default_rng(7)
    ours = usual = 0
    for _ in range(100):
        # Quick processes agree to 1 %; four of ten are slowed by other work, by up to double.
        values = np.exp(np.abs(rng.normal(0, 0.01, (2, 30))) + (rng.random((2, 30)) < 0.4) * rng.uniform(0, 0.7, (2, 30)))
        values[1] *= 1.03
        ours += p_value(*np.log(values)) < 0.001
        usual += mannwhitneyu(*values).pvalue < 0.001
    assert ours >= usual + 20


def test_too_few_processes_bound_nothing() -> None:
    result = compare_sides([1.0, 1.01], [1.2, 1.3], 0.01)
    assert (result.low, result.high) == (None, None)
    assert result.p_value == pytest.approx(2 / 6)


def test_sides_that_each_repeat_one_value_leave_nothing_to_chance() -> None:
    assert compare_sides([2.0, 2.0], [2.0, 2.0], 0.01).p_value == 1
    changed = compare_sides([2.0, 2.0], [3.0, 3.0], 0.01)
    assert (changed.low, changed.high, changed.p_value) == (pytest.approx(1.5), pytest.approx(1.5), 0)


def test_one_value_a_side_tells_a_ratio_and_nothing_else() -> None:
    result = compare_sides([2.0], [3.0], 0.01)
    assert result.estimate == pytest.approx(1.5)
    assert (result.low, result.high, result.p_value) == (None, None, 1)


def test_the_smallest_p_value_is_that_of_one_assignment_in_all() -> None:
    assert smallest_p_value(7, 7) == pytest.approx(2 / math.comb(14, 7))


def test_processes_needed_are_enough_and_one_less_is_not() -> None:
    needed = processes_needed(0.01 / 14)
    assert smallest_p_value(needed, needed) <= 0.01 / 14 < smallest_p_value(needed - 1, needed - 1)


@pytest.mark.parametrize(("base", "head"), [([], [1.0]), ([1.0], []), ([1.0, 0.0], [1.0]), ([1.0], [-1.0])])
def test_sides_without_positive_values_are_refused(base: list[float], head: list[float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        compare_sides(base, head, 0.01)


def test_where_all_ratios_are_near_one_their_ends_hold_the_interval() -> None:
    base, head = [1.0, 1.01, 1.02, 1.0, 1.015, 1.005], [1.002, 1.012, 1.02, 1.001, 1.014, 1.007]
    narrow, wide = compare_sides(base, head, 0.05), compare_sides(base, head, 0.05, near=0.05)
    assert wide.low == pytest.approx(1.001 / 1.02)
    assert wide.high == pytest.approx(1.02 / 1.0)
    assert narrow.low is not None
    assert narrow.high is not None
    assert wide.low <= narrow.low <= narrow.high <= wide.high
    assert (wide.estimate, wide.p_value) == (narrow.estimate, narrow.p_value)
    assert compare_sides(base, head, 0.05, near=0.01) == narrow


def test_comparisons_with_equal_values_do_not_fill_the_memory() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        p_value(*np.log(rng.integers(1, 30, (2, 20)).astype(np.float64)))
    kept = _null_distribution.cache_info()
    assert kept.maxsize is not None
    assert kept.currsize <= kept.maxsize <= 1000
    # A view would keep the whole table that it was counted in.
    assert _null_distribution(tuple(range(2, 42, 2)), 10).base is None


def test_the_inverse_of_a_ratio_has_its_ends_the_other_way_round() -> None:
    assert Ratio(2.0, 1.25, 4.0, 0.01).inverse == Ratio(0.5, 0.25, 0.8, 0.01)
    assert Ratio(2.0, None, 4.0, 0.01).inverse == Ratio(0.5, 0.25, None, 0.01)
