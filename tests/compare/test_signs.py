"""Tests of the test by signs: its level on every kind of noise, exactness against plain counting, and what it finds."""

import itertools
import math
import tracemalloc
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, wilcoxon

from rnncore.compare import signs
from rnncore.compare.signs import (
    COUNTED_PAIRS,
    DRAWN_FLIPS,
    FAR,
    SHARED_PAIRS,
    FloatArray,
    family_p_values,
    pairs_needed,
    ratio_of_pairs,
    visible_shifts,
)

LOGS = st.floats(-1.0, 1.0).map(lambda value: round(value, 3))


def _table(most_pairs: int = 6) -> st.SearchStrategy[list[list[float]]]:
    """Return tables of log ratios: a list of pairs for each of up to four benchmarks, NaN now and then."""
    return st.integers(1, most_pairs).flatmap(
        lambda pairs: st.lists(
            st.lists(LOGS | st.just(math.nan), min_size=pairs, max_size=pairs).filter(
                lambda logs: not all(map(math.isnan, logs))
            ),
            min_size=1,
            max_size=4,
        )
    )


def _near(logs: Sequence[float]) -> list[float]:
    """Return log ratios with far ones brought in, by plain Python."""
    sizes = sorted(abs(value) for value in logs if not math.isnan(value))
    middle = len(sizes) // 2
    median = sizes[middle] if len(sizes) % 2 else (sizes[middle - 1] + sizes[middle]) / 2
    return [0.0 if math.isnan(value) else min(FAR * median, max(-FAR * median, value)) for value in logs]


def _naive(table: Sequence[Sequence[float]]) -> list[float]:
    """Return the p-values of Westfall and Young by counting all flips, one after another."""
    pairs = len(table[0])
    near = [_near(logs) for logs in table]
    squares = [
        sum(value**2 for value in of_one) / sum(not math.isnan(value) for value in logs)
        for of_one, logs in zip(near, table, strict=True)
    ]
    shared = float(np.median(squares))
    scales = [math.sqrt(sum(value**2 for value in of_one) + SHARED_PAIRS * shared) for of_one in near]

    def stands_out(flips: Sequence[int]) -> list[float]:
        return [
            abs(sum(sign * value for sign, value in zip(flips, of_one, strict=True))) / scale if scale else 0.0
            for of_one, scale in zip(near, scales, strict=True)
        ]

    ours = stands_out([1] * pairs)
    worlds = [stands_out(flips) for flips in itertools.product((1, -1), repeat=pairs)]
    order = sorted(range(len(table)), key=lambda place: -ours[place])
    found, largest = [0.0] * len(table), 0.0
    for rank, place in enumerate(order):
        rest = order[rank:]
        share = sum(max(world[one] for one in rest) >= ours[place] - 1e-9 for world in worlds) / len(worlds)
        largest = max(largest, share)
        found[place] = largest
    return found


@given(_table())
@settings(max_examples=150, deadline=None)
def test_few_pairs_are_counted_as_plain_python_counts_them(table: list[list[float]]) -> None:
    found = family_p_values(dict(enumerate(table)))
    # Benchmarks that stand out alike, but for rounding, may come in either order: their p-values are the same then.
    assert sorted(found.values()) == pytest.approx(sorted(_naive(table)), abs=1e-12)


@given(_table(8))
@settings(max_examples=60, deadline=None)
def test_no_p_value_is_below_that_of_all_signs_alike(table: list[list[float]]) -> None:
    smallest = 2 / 2 ** len(table[0])
    assert all(smallest - 1e-12 <= one <= 1 for one in family_p_values(dict(enumerate(table))).values())


@given(_table(), st.data())
@settings(max_examples=60, deadline=None)
def test_which_pair_or_side_comes_first_makes_no_difference(table: list[list[float]], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(table[0]))))
    shuffled = [[-logs[place] for place in order] for logs in table]
    before, after = (family_p_values(dict(enumerate(one))) for one in (table, shuffled))
    assert list(after.values()) == pytest.approx(list(before.values()), abs=1e-12)


@given(st.floats(1e-6, 1e3), _table())
@settings(max_examples=60, deadline=None)
def test_noise_of_another_size_makes_no_difference(factor: float, table: list[list[float]]) -> None:
    before, after = (
        family_p_values({place: np.multiply(logs, size) for place, logs in enumerate(table)}) for size in (1, factor)
    )
    assert list(after.values()) == pytest.approx(list(before.values()), abs=1e-12)


def test_all_signs_alike_are_as_rare_as_chance_makes_them() -> None:
    for pairs in range(1, COUNTED_PAIRS + 1):
        assert family_p_values({"one": [0.1] * pairs}) == {"one": 2 / 2**pairs}
    drawn = family_p_values({"one": [0.1] * (COUNTED_PAIRS + 7)})["one"]
    assert 1 / DRAWN_FLIPS <= drawn <= 3 / DRAWN_FLIPS


def test_what_never_varies_is_not_significant() -> None:
    assert family_p_values({"one": [0.0] * 10, "two": [0.0] * 10}) == {"one": 1.0, "two": 1.0}


def test_no_benchmark_has_no_p_value() -> None:
    assert family_p_values({}) == {}


def test_pairs_are_flipped_as_wholes_so_that_what_benchmarks_have_in_common_costs_nothing() -> None:
    one = np.random.default_rng(0).normal(0.01, 0.01, 10)
    alone = family_p_values({0: one})[0]
    assert set(family_p_values(dict.fromkeys(range(30), one)).values()) == {alone}
    # Those that have nothing in common cost something.
    others = np.random.default_rng(1).normal(0.0, 0.01, (29, 10))
    assert family_p_values({0: one, **{place + 1: other for place, other in enumerate(others)}})[0] > alone


def test_what_is_significant_no_longer_burdens_the_rest() -> None:
    rng = np.random.default_rng(3)
    changed, weak = rng.normal(0.5, 0.001, 10), rng.normal(0.006, 0.01, 10)
    still = {f"still {place}": rng.normal(0.0, 0.01, 10) for place in range(5)}
    with_changed = family_p_values({"weak": weak, "changed": changed, **still})
    assert with_changed["changed"] == 2 / 2**10
    # As one of the rest by itself: one that stands out more is not counted against it.
    as_still = family_p_values({"weak": weak, "changed": weak, **still})
    assert with_changed["weak"] == pytest.approx(as_still["weak"], abs=0.02)


def test_a_planted_shift_is_found_and_the_rest_is_not() -> None:
    rng = np.random.default_rng(0)
    found = [family_p_values(dict(enumerate(rng.normal(0, 0.01, (20, 12)) + _shift(20, 3, 0.02)))) for _ in range(60)]
    assert np.mean([one[3] <= 0.01 for one in found]) >= 0.9
    # At most 1 of 100: more than 4 of 60 are no chance.
    assert sum(min(p for place, p in one.items() if place != 3) <= 0.01 for one in found) <= 4


def _shift(benchmarks: int, shifted: int, by: float) -> FloatArray:
    shift = np.zeros((benchmarks, 1))
    shift[shifted] = by
    return shift


def test_one_pair_in_another_mode_of_the_machine_counts_as_three_however_far_it_is() -> None:
    clean, with_three = (family_p_values({"one": [0.02] * 9 + [last]})["one"] for last in (0.02, -0.02 * FAR))
    assert clean < with_three < 1
    for far in (-0.1, -10.0):
        assert family_p_values({"one": [0.02] * 9 + [far]})["one"] == with_three
    # Without bringing it in, one such pair would be all that counts.
    assert family_p_values({"one": [0.02] * 12 + [-10.0]})["one"] < 0.1


# ---------------------------------------------------------------------------------------------- its level, by simulation


def _heavy_tails(rng: np.random.Generator, pairs: int) -> FloatArray:
    return rng.standard_t(1.5, (pairs, 8)) * 0.01


def _autocorrelated(rng: np.random.Generator, pairs: int) -> FloatArray:
    """The host is slow for several pairs: noise of both sides is large or small for a while."""
    size = np.exp(np.cumsum(rng.normal(0, 0.7, (pairs, 1)), axis=0))
    return rng.normal(0, 0.01, (pairs, 8)) * size


def _drifting(rng: np.random.Generator, pairs: int) -> FloatArray:
    """Whoever is second is slower, more with every pair."""
    return np.linspace(0, 0.05, pairs)[:, None] * rng.uniform(0.5, 1, 8) + rng.normal(0, 0.005, (pairs, 8))


def _modes(rng: np.random.Generator, pairs: int) -> FloatArray:
    """A process may have half the speed, for all its benchmarks."""
    modes = rng.integers(0, 2, (pairs, 2)) @ [-1.0, 1.0]
    return modes[:, None] * math.log(1.5) * rng.uniform(0.5, 1, 8) + rng.normal(0, 0.005, (pairs, 8))


def _equal_values(rng: np.random.Generator, pairs: int) -> FloatArray:
    return rng.integers(-1, 2, (pairs, 8)) * 0.01


def _missing(rng: np.random.Generator, pairs: int) -> FloatArray:
    values = rng.normal(0, 0.01, (pairs, 8))
    values[pairs // 2 :, :3] = math.nan
    return values


@pytest.mark.parametrize("pairs", [8, 11, COUNTED_PAIRS + 1])
@pytest.mark.parametrize("noise", [_heavy_tails, _autocorrelated, _drifting, _modes, _equal_values, _missing])
def test_identical_code_is_significant_no_more_often_than_it_may(
    noise: Callable[[np.random.Generator, int], FloatArray], pairs: int
) -> None:
    """Sides by chance in each pair: whatever the noise, at 10 % at most 10 % of trials find anything."""
    rng, trials, error = np.random.default_rng(0), 250 if pairs <= COUNTED_PAIRS else 60, 0.1
    alarms = 0
    for _ in range(trials):
        values = noise(rng, pairs) * rng.choice((-1, 1), (pairs, 1))
        alarms += min(family_p_values(dict(enumerate(values.T))).values()) <= error
    assert alarms <= binom.ppf(0.9999, trials, error)


def test_a_test_without_chance_between_sides_would_err_on_drift() -> None:
    """The planted fault of the one above: without sides by chance its noise is found to be a change, as it must."""
    rng = np.random.default_rng(0)
    alarms = [min(family_p_values(dict(enumerate(_drifting(rng, 11).T))).values()) <= 0.1 for _ in range(30)]
    assert np.mean(alarms) > 0.9


# -------------------------------------------------------------------------------------------------- estimate and interval


def _naive_ratio(logs: Sequence[float], error: float) -> tuple[float, float | None, float | None]:
    """Return estimate and interval: all shifts that Wilcoxon's signed ranks, all signs counted, would not reject."""
    means = sorted((one + other) / 2 for one, other in itertools.combinations_with_replacement(logs, 2))
    ranks = range(1, len(logs) + 1)
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(logs))]
    inside = [
        place
        for place in range(len(means))
        # As many means lie below this one as it has positive ranks: where that few are likely, it lies inside.
        if sum(one <= place for one in sums) / len(sums) > error / 2
        and sum(one <= len(means) - 1 - place for one in sums) / len(sums) > error / 2
    ]
    middle = float(np.median(means))
    if len(inside) == len(means):
        return middle, None, None
    # The means that bound it belong to it.
    return middle, means[inside[0] - 1], means[inside[-1] + 1]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9, unique=True), st.sampled_from([0.01, 0.05, 0.1, 0.3]))
@settings(max_examples=80, deadline=None)
def test_the_interval_is_what_wilcoxons_signed_ranks_do_not_reject(logs: list[float], error: float) -> None:
    found = ratio_of_pairs(logs, error)
    middle, low, high = _naive_ratio(logs, error)
    assert found.estimate == pytest.approx(math.exp(middle))
    assert (found.low is None, found.high is None) == (low is None, high is None)
    if low is not None and high is not None:
        assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))


@pytest.mark.parametrize("pairs", [8, 12, 20])
def test_scipys_test_rejects_just_outside_the_interval_and_not_just_inside(pairs: int) -> None:
    logs = np.random.default_rng(pairs).normal(0.01, 0.02, pairs)
    found = ratio_of_pairs(logs, 0.05)
    assert found.low is not None
    assert found.high is not None
    for end, outward in ((math.log(found.low), -1e-9), (math.log(found.high), 1e-9)):
        outside, inside = (float(wilcoxon(logs - end - shift, method="exact").pvalue) for shift in (outward, -outward))
        assert outside <= 0.05 < inside


@pytest.mark.parametrize("noise", [_heavy_tails, _modes])
def test_the_interval_holds_the_ratio_as_often_as_it_says(noise: Callable[[np.random.Generator, int], FloatArray]) -> None:
    rng, missed, trials = np.random.default_rng(1), 0, 250
    for _ in range(trials):
        values = noise(rng, 10)[:, 0] * rng.choice((-1, 1), 10) + math.log(1.1)
        found = ratio_of_pairs(values, 0.1)
        assert found.low is not None
        assert found.high is not None
        missed += not found.low <= 1.1 * (1 + 1e-12) or not found.high >= 1.1 * (1 - 1e-12)
    assert missed <= binom.ppf(0.9999, trials, 0.1)


def test_of_one_pair_there_is_a_ratio_and_no_interval() -> None:
    found = ratio_of_pairs([math.log(1.5)], 0.01)
    assert (found.estimate, found.low, found.high, found.p_value) == (pytest.approx(1.5), None, None, 1.0)


def test_of_no_pair_there_is_no_ratio() -> None:
    with pytest.raises(ValueError, match="there is no pair"):
        ratio_of_pairs([], 0.01)


# -------------------------------------------------------------------------------------------------- what can be seen at all


@pytest.mark.parametrize("error", [0.5, 0.1, 0.0100, 0.0075, 0.0025, 2 / 2**9])
def test_the_pairs_that_are_needed_are_the_fewest_that_can_reach_the_error(error: float) -> None:
    needed = pairs_needed(error)
    assert family_p_values({"one": [0.1] * needed})["one"] <= error
    assert needed == 2 or family_p_values({"one": [0.1] * (needed - 1)})["one"] > error


@pytest.mark.parametrize("pairs", [9, 12, COUNTED_PAIRS + 2])
def test_a_visible_shift_is_called_and_two_thirds_of_it_is_not(pairs: int) -> None:
    rng, shifts, error = np.random.default_rng(0), np.linspace(0.001, 0.2, 200).tolist(), 0.0075
    values = rng.standard_t(3, (pairs, 6)) * 0.01
    smallest = visible_shifts(values, error, shifts)
    assert np.isfinite(smallest).all()
    for place, shift in enumerate(smallest):
        p_values = [_of_shifted(values, place, part * shift)[place] for part in (1.05, 0.67)]
        # Of many pairs both draw flips, of which they share a part.
        assert p_values[0] <= error * (1 if pairs <= COUNTED_PAIRS else 1.5)
        assert p_values[1] > error


def _of_shifted(values: FloatArray, place: int, shift: float) -> Mapping[int, float]:
    shifted = values.copy()
    shifted[:, place] += shift
    return family_p_values(dict(enumerate(shifted.T)))


@pytest.mark.parametrize("held", [1, 7, 1 << 20])
def test_how_many_flips_are_held_at_once_makes_no_difference(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(0.004, 0.01, (9, 5))
    expected = _naive(values.T.tolist())
    shifts = np.linspace(0.001, 0.2, 50).tolist()
    smallest = visible_shifts(values, 0.02, shifts)
    monkeypatch.setattr(signs, "_HELD_VALUES", held)
    p_values = family_p_values(dict(enumerate(values.T)))
    assert [p_values[place] for place in range(5)] == pytest.approx(expected)
    np.testing.assert_array_equal(visible_shifts(values, 0.02, shifts), smallest)


@pytest.mark.parametrize("pairs", [COUNTED_PAIRS, COUNTED_PAIRS + 1])
def test_a_suite_of_thousands_takes_little_memory(pairs: int) -> None:
    values = np.random.default_rng(3).normal(0, 0.01, (pairs, 2000))
    family_p_values({"one": values[:, 0]})
    tracemalloc.start()
    try:
        p_values = family_p_values(dict(enumerate(values.T)))
        visible_shifts(values, 0.01, [0.01, 0.02])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(p_values) == 2000
    # All flips of all benchmarks at once are 130 and 320 MB.
    assert peak_bytes < 80e6


def test_too_few_pairs_see_nothing() -> None:
    values = np.random.default_rng(0).normal(0, 0.01, (pairs_needed(0.0075) - 1, 3))
    assert np.isinf(visible_shifts(values, 0.0075, [0.1, 0.5, 1.0])).all()


def test_of_more_noise_less_is_visible() -> None:
    values = np.random.default_rng(0).normal(0, 1, (12, 4)) * [0.005, 0.005, 0.005, 0.05]
    smallest = visible_shifts(values, 0.0075, np.linspace(0.001, 0.3, 300).tolist())
    assert smallest[3] > 2 * max(smallest[:3])


def test_a_kind_of_benchmarks_shares_the_noise_of_its_own_alone() -> None:
    """Bytes that hardly vary make times no quicker to stand out."""
    rng = np.random.default_rng(5)
    times = {("time", place): rng.normal(0, 0.02, 10) for place in range(6)}
    bytes_ = {("bytes", place): rng.normal(0, 1e-5, 10) for place in range(12)}
    together = family_p_values({**times, **bytes_}, lambda key: key[0])
    as_large = family_p_values({**times, **{key: 2000 * logs for key, logs in bytes_.items()}}, lambda key: key[0])
    assert together == pytest.approx(as_large)
    assert family_p_values({**times, **bytes_}) != pytest.approx(together)
