"""Tests of bounds: ranks against loops, coverage of unseen misses, signs, zeros, restless weeks, what is followed."""

import itertools
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.errors import ConfigError
from rnncore.forecast import bounds
from rnncore.forecast.bounds import (
    FEWEST_MISSES,
    FEWEST_RESTLESS_HOURS,
    MOST_KEPT,
    MOST_RESTLESS,
    MOST_WIDENED,
    RESTLESS_HOURS,
    WIDENING,
    WIDENING_OF_HOUR,
    Bounds,
    Misses,
    bounds_after,
    hour_of_day,
    misses_facts,
    misses_from_facts,
    restlessness,
    simple_forecasts_mw,
    unrest_mw,
)
from rnncore.forecast.features import FEATURE_KINDS, SCALINGS
from rnncore.forecast.linear import DAY_H, FIRST_ROW
from rnncore.forecast.series import Series

AMOUNTS = st.one_of(st.just(0.0), st.floats(-1e6, 1e6, allow_subnormal=False))
LEVELS = (0.5, 0.8, 0.9, 0.95)


def _at_noon(missed_mw: np.ndarray) -> Misses:
    """Return misses of one lead, all at noon, of ordinary weeks."""
    count = len(missed_mw)
    return Misses.of(missed_mw[:, None], np.full((count, 1), 12.0), np.full((count, 1), np.nan))


def _many(seed: int, hours: int, leads: int = 1, scale_mw: float = 1.0, **changed: np.ndarray) -> Misses:
    missed_mw = scale_mw * np.random.default_rng(seed).normal(size=(hours, leads))
    hour = (np.arange(hours)[:, None] + np.arange(leads)) % DAY_H
    given = {"missed_mw": missed_mw, "hour": hour.astype(float), "unrest_mw": np.full((hours, leads), np.nan)}
    return Misses.of(**(given | changed))


@given(st.lists(AMOUNTS, min_size=1, max_size=MOST_KEPT), st.sampled_from(LEVELS))
def test_bounds_hold_the_forecast_and_the_share_of_misses_that_ranks_ask_for(missed: list[float], level: float) -> None:
    low, high = (float(end[0, 12]) for end in _at_noon(np.array(missed)).between_mw(level))
    left_out = math.floor((len(missed) + 1) * (1 - level) + 1e-9)
    if left_out < 2:
        assert math.isnan(low)
        assert math.isnan(high)
        return
    assert low <= 0 <= high
    # A range between two misses leaves out the places beyond them: one more than the misses there on each side.
    assert sum(low <= one <= high for one in missed) >= len(missed) + 1 - left_out


@given(st.integers(20, MOST_KEPT), st.sampled_from(LEVELS[:3]))
def test_of_misses_of_both_signs_equal_parts_are_left_out(count: int, level: float) -> None:
    missed = np.random.default_rng(count).permutation(np.linspace(-1, 1, count))
    low, high = (float(end[0, 12]) for end in _at_noon(missed).between_mw(level))
    below, above = int((missed < low - 1e-12).sum()), int((missed > high + 1e-12).sum())
    # The misses at the ends are in.
    assert below + above + 2 == math.floor((count + 1) * (1 - level) + 1e-9)
    assert 0 <= above - below <= 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_model_that_always_errs_to_one_side_has_bounds_on_that_side_alone(sign: int) -> None:
    missed = sign * np.arange(1.0, 100.0)
    low, high = (float(end[0, 12]) for end in _at_noon(missed).between_mw(0.9))
    # Ten of a hundred places: one below the least of all, which 0 takes in, and nine above.
    assert (low, high) == ((0.0, 91.0) if sign > 0 else (-91.0, 0.0))


def test_more_is_held_by_higher_levels_and_quantiles_ascend() -> None:
    misses = _many(1, 24 * 70, 3)
    ends = [misses.between_mw(level) for level in LEVELS]
    for (low, high), (lower, higher) in itertools.pairwise(ends):
        assert (lower <= low).all()
        assert (higher >= high).all()
    quantiles = [misses.quantile_mw(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]
    assert (np.diff(quantiles, axis=0) > 0).all()


def test_quantiles_are_misses_of_the_rank_that_errs_outwards() -> None:
    misses = _at_noon(np.random.default_rng(3).permutation(np.arange(1.0, 60.0)))
    assert [float(misses.quantile_mw(share)[0, 12]) for share in (0.1, 0.34, 0.5, 0.66, 0.9)] == [6, 20, 30, 40, 54]
    assert math.isnan(misses.quantile_mw(0.01)[0, 12])
    assert math.isnan(misses.quantile_mw(0.99)[0, 12])


@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("hours", [24 * 70, 24 * 365])
def test_unseen_misses_are_held_as_often_as_asked(hours: int, level: float) -> None:
    # Skewed, off 0, and ten times as large at noon as at midnight: of either a bound of its own.
    generator = np.random.default_rng(hours)
    hour = np.arange(hours + 24 * 2000) % DAY_H
    missed = (1 + 9 * (hour >= 12)) * (generator.exponential(size=len(hour)) - 0.8)
    misses = Misses.of(missed[:hours, None], hour[:hours, None].astype(float), np.full((hours, 1), np.nan))
    low, high = misses.between_mw(level)
    unseen, at = missed[hours:], hour[hours:]
    held = (unseen >= low[0, at]) & (unseen <= high[0, at])
    for half in (at < 12, at >= 12):
        assert level - 0.03 < held[half].mean() < level + 0.03


def test_an_hour_of_the_day_with_few_misses_takes_those_around_it() -> None:
    # 20 days: 20 of each hour, so that an hour and one on either side are the first to be enough.
    days = FEWEST_MISSES // 3
    hour = np.tile(np.arange(24.0), days)
    missed = 100 * hour + np.repeat(np.arange(days), 24)
    misses = Misses.of(missed[:, None], hour[:, None], np.full((len(hour), 1), np.nan))
    assert (misses.count == FEWEST_MISSES).all()
    for clock, around in ((12, (11, 12, 13)), (0, (0, 1, 23)), (23, (0, 22, 23))):
        expected = sorted(100 * one + day for one in around for day in range(days))
        np.testing.assert_array_equal(misses.ordered_mw[0, clock], expected)


def test_all_hours_together_may_still_be_too_few() -> None:
    misses = _many(0, 18)
    assert (misses.count == 18).all()
    assert np.isnan(misses.between_mw(0.9)).all()
    assert np.isfinite(misses.between_mw(0.8)).all()


def test_of_many_misses_those_that_are_kept_say_the_same() -> None:
    hours, hour = 24 * 365, np.arange(24 * 365) % 24
    missed = np.random.default_rng(5).normal(size=hours)
    misses = Misses.of(missed[:, None], hour[:, None].astype(float), np.full((hours, 1), np.nan))
    assert misses.ordered_mw.shape == (1, 24, MOST_KEPT)
    low, high = misses.between_mw(0.9)
    for clock in range(24):
        of_hour = np.sort(missed[hour == clock])
        # 36 of 366 places: 18 on each side, between the kept ranks around them.
        assert of_hour[18 - 1 - 4] <= low[0, clock] <= of_hour[18 - 1 + 4]
        assert of_hour[-18 - 4] <= high[0, clock] <= of_hour[-18 + 4]


def test_bounds_have_the_size_of_their_data() -> None:
    one, other = (_many(2, 2000, 4, scale_mw).between_mw(0.9) for scale_mw in (1.0, 1e6))
    np.testing.assert_allclose(other, 1e6 * np.array(one), rtol=1e-12)


def test_a_load_whose_nights_are_exact_has_no_width_at_night_and_holds_the_days() -> None:
    hours = 24 * 200
    hour = np.arange(hours) % 24
    missed = np.where((hour >= 6) & (hour < 18), np.random.default_rng(1).normal(size=hours), 0.0)
    misses = Misses.of(missed[:, None], hour[:, None].astype(float), np.full((hours, 1), np.nan))
    low, high = misses.between_mw(0.9)
    assert (low[0, :6] == 0).all()
    assert (high[0, :6] == 0).all()
    assert ((low[0, 6:18] < -1.1) & (high[0, 6:18] > 1.1)).all()


def test_unrest_is_the_mean_of_what_was_missed_in_the_two_weeks_that_are_known() -> None:
    rows, leads = FIRST_ROW + 400, 3
    generator = np.random.default_rng(4)
    load, simple = generator.uniform(-5, 5, rows), generator.uniform(-5, 5, (rows, leads))
    found = unrest_mw(load, simple)
    assert found.shape == (rows + 1, leads)
    for lead in range(leads):
        first = FIRST_ROW + FEWEST_RESTLESS_HOURS + lead
        assert np.isnan(found[:first, lead]).all()
        for row in (first, FIRST_ROW + 300, rows):
            # Of the rows whose forecast for the lead came true before this row.
            made = range(max(FIRST_ROW, row - lead - RESTLESS_HOURS), row - lead)
            missed = [abs(load[at + lead] - simple[at, lead]) for at in made]
            assert found[row, lead] == pytest.approx(sum(missed) / len(missed), rel=1e-12)
    assert np.isnan(unrest_mw(load[:FIRST_ROW], simple[:FIRST_ROW])).all()


def test_unrest_before_a_row_knows_nothing_of_it_and_what_follows() -> None:
    rows = FIRST_ROW + 400
    generator = np.random.default_rng(4)
    load, simple = generator.uniform(-5, 5, rows), generator.uniform(-5, 5, (rows, 3))
    changed, row = load.copy(), rows - 50
    changed[row:] = 1e9
    found, before = unrest_mw(changed, simple), unrest_mw(load, simple)
    np.testing.assert_array_equal(found[: row + 1], before[: row + 1])
    assert (found[row + 1] != before[row + 1]).all()


def test_unrest_is_by_the_regressions_or_else_by_yesterdays_change(make_series: Callable[..., Series]) -> None:
    series = make_series("A", hours=900, seed=1)
    for kind in FEATURE_KINDS:
        scaling = SCALINGS[kind].fit(series, slice(0, 800), 4)
        offset_mw = scaling.describe(series).offset_mw[:-1]
        simple_mw = simple_forecasts_mw(scaling, series.load_mw, offset_mw)
        assert simple_mw.shape == (900, 4)
        row, load_mw = 700, series.load_mw
        change_mw = [load_mw[row - 1] + load_mw[row + lead - 24] - load_mw[row - 25] for lead in range(4)]
        np.testing.assert_allclose(simple_mw[row], offset_mw[row] if kind == "linear" else change_mw, rtol=1e-12)


def test_restlessness_is_a_ratio_within_limits() -> None:
    unrest = np.array([[0.0, 0.6, 1.0], [1.5, 9.0, np.nan]]) * 7
    found = restlessness(unrest, np.array([7.0, 7.0, 7.0]))
    np.testing.assert_allclose(found, [[1 / MOST_RESTLESS, 0.6, 1], [1.5, MOST_RESTLESS, 1]])
    np.testing.assert_allclose(restlessness(unrest, np.array([0.0, 6.0, 7.0])), [[1, 0.7, 1], [1, MOST_RESTLESS, 1]])


def test_misses_of_restless_weeks_count_as_those_of_ordinary_ones() -> None:
    hours = 24 * 100
    unrest = np.where(np.arange(hours) < hours // 3, 15.0, 10.0)[:, None]
    missed = np.random.default_rng(0).normal(size=(hours, 1))
    calm, restless = (_many(0, hours, missed_mw=amount, unrest_mw=unrest) for amount in (missed, missed * unrest / 10))
    alike = _many(0, hours, missed_mw=missed)
    assert calm.usual_mw == 10
    np.testing.assert_allclose(restless.between_mw(0.9), alike.between_mw(0.9), rtol=1e-12)
    assert (calm.between_mw(0.9)[1] < restless.between_mw(0.9)[1]).any()


# What is followed: the misses since the bounds were made.


def _after(misses: Misses, missed_mw: np.ndarray, row: np.ndarray | None = None, scale_mw: float = 1.0) -> Bounds:
    """Return bounds around forecasts of 7, of ordinary weeks, that miss so much; row 0 is of midnight. Shape (B, L)."""
    row = np.arange(len(missed_mw)) if row is None else row
    forecast_mw = np.full(missed_mw.shape, 7.0) * scale_mw
    hour = (row[:, None] + np.arange(missed_mw.shape[1])) % DAY_H
    unknown = np.full(missed_mw.shape, np.nan)
    return bounds_after(misses, row, forecast_mw, forecast_mw + missed_mw, hour.astype(float), unknown)


def _held(found: Bounds, missed_mw: np.ndarray) -> np.ndarray:
    low_mw, high_mw = found.between_mw()
    return (found.forecast_mw + missed_mw >= low_mw) & (found.forecast_mw + missed_mw <= high_mw)


def test_bounds_follow_each_hour_that_is_known_and_no_other() -> None:
    # Worked out window by window and lead by lead from all that lie before; rows are missing here and there.
    generator = np.random.default_rng(6)
    row = np.flatnonzero(generator.random(250) > 0.2)
    misses, missed = _many(1, 24 * 70, 3), 2 * generator.normal(size=(len(row), 3))
    missed[generator.random(missed.shape) < 0.1] = np.nan
    lows, highs = misses.between_mw(0.9)
    limit, expected = math.log(MOST_WIDENED), np.ones(missed.shape)
    for lead in range(3):
        for at in range(len(row)):
            of_all, of_hour = 0.0, 0.0
            for before in range(at):
                clock, wide = (row[before] + lead) % 24, expected[before, lead]
                if row[before] + lead >= row[at] or np.isnan(missed[before, lead]):
                    continue
                is_held = wide * lows[lead, clock] <= missed[before, lead] <= wide * highs[lead, clock]
                step = -0.1 if is_held else 0.9
                of_all = float(np.clip(of_all + WIDENING * step, -limit, limit))
                if clock == (row[at] + lead) % 24:
                    of_hour = float(np.clip(of_hour + WIDENING_OF_HOUR * step, -limit, limit))
            expected[at, lead] = math.exp(of_all + of_hour)
    assert expected.min() < 1 < expected.max()
    np.testing.assert_allclose(_after(misses, missed, row).times, expected, rtol=1e-9)


@pytest.mark.parametrize("size", [0.5, 1.0, 2.0])
def test_what_became_larger_or_smaller_after_the_bounds_were_made_is_held_as_often_as_before(
    size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    misses, missed = _many(1, 24 * 365), size * np.random.default_rng(8).normal(size=(24 * 150, 1))
    assert 0.88 < _held(_after(misses, missed), missed).mean() < 0.92
    # Without following them the test would see it.
    for step in ("WIDENING", "WIDENING_OF_HOUR"):
        monkeypatch.setattr(bounds, step, 0.0)
    held = _held(_after(misses, missed), missed).mean()
    assert size == 1 or not 0.85 < held < 0.95


def test_bounds_know_nothing_of_their_own_hours_and_what_follows() -> None:
    misses, missed = _many(1, 24 * 70, 3), 2 * np.random.default_rng(9).normal(size=(200, 3))
    later = missed.copy()
    for lead in range(3):
        # What comes at row 150 and later.
        later[150 - lead :, lead] = 1e9
    one, other = (_after(misses, amounts).times for amounts in (missed, later))
    np.testing.assert_array_equal(other[:151], one[:151])
    assert (other[160:] > one[160:]).all()


def test_what_is_followed_has_no_unit() -> None:
    missed = 2 * np.random.default_rng(9).normal(size=(500, 2))
    one, other = (_after(_many(1, 2000, 2, size), size * missed, scale_mw=size) for size in (1.0, 1e-6))
    np.testing.assert_array_equal(other.times, one.times)


def test_bounds_grow_and_shrink_within_limits() -> None:
    misses = _many(1, 24 * 70)
    for missed_mw, limit in ((1e9, MOST_WIDENED**2), (0.0, MOST_WIDENED**-2)):
        times = _after(misses, np.full((24 * 150, 1), missed_mw)).times
        assert times[-1, 0] == pytest.approx(limit)
        assert times[0, 0] == 1


def test_an_hour_of_the_day_that_became_harder_is_held_and_the_others_stay() -> None:
    misses, missed = _many(1, 24 * 365), np.random.default_rng(8).normal(size=(24 * 200, 1))
    missed[12::24] *= 2
    held = _held(_after(misses, missed), missed)[:, 0].reshape(-1, 24)
    assert 0.86 < held[:, 12].mean() < 0.92
    assert 0.88 < np.delete(held, 12, axis=1).mean() < 0.92
    still = _held(Bounds(misses, np.zeros_like(missed), np.full(missed.shape, 12.0), np.ones_like(missed)), missed)
    assert still[12::24].mean() < 0.7


def test_hours_that_are_always_forecast_exactly_tell_nothing_until_they_are_not() -> None:
    exact = Misses.of(np.zeros((24 * 70, 1)), np.tile(np.arange(24.0), 70)[:, None], np.full((24 * 70, 1), np.nan))
    missed = np.zeros((60, 1))
    assert (_after(exact, missed).times == 1).all()
    missed[30] = 1e-3
    assert _after(exact, missed).times[-1, 0] > 1


def test_misses_survive_being_written_as_json_and_say_their_unit() -> None:
    misses = _many(7, 500, 2)
    facts = json.loads(json.dumps(misses_facts(misses)))
    assert facts["unit"] == "MW"
    again = misses_from_facts(facts)
    for share in (0.25, 0.5, 0.75):
        np.testing.assert_array_equal(again.quantile_mw(share), misses.quantile_mw(share))
    np.testing.assert_array_equal(again.usual_mw, misses.usual_mw)
    with pytest.raises(ValueError, match="its misses are in 'kW'"):
        misses_from_facts(facts | {"unit": "kW"})


@pytest.mark.parametrize("share", [0.0, 1.0, 1.5, -0.1, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    misses = _many(0, 100)
    for ask, what in ((misses.between_mw, "level"), (misses.quantile_mw, "quantile")):
        with pytest.raises(ConfigError, match=rf"^{what} is .*; give a share of the hours between 0 and 1"):
            ask(share)


def test_the_hour_of_the_day_is_that_of_the_clock() -> None:
    time = np.array(["2017-06-01T00:00:00", "2017-06-01T23:00:00", "1969-12-31T22:00:00"], dtype="datetime64[s]")
    assert hour_of_day(time).tolist() == [0, 23, 22]
