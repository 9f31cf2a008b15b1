"""Tests of what a look at a series shows: planted faults are found, in any unit, and a plain series has none."""

from dataclasses import replace

import numpy as np
import pytest

from rnncore.forecast.faults import FLAT_HOURS, differing, faults_of
from rnncore.forecast.series import HOUR, Series

HOURS = 2000
NONE = {"gaps": 0, "contradicting": 0, "spikes": 0, "jumps": 0, "flat_stretches": 0, "first_spike": None}


def _series(scale: float = 1.0, level: float = 1000.0) -> Series:
    hour = np.arange(HOURS)
    noise = np.random.default_rng(3).normal(size=HOURS)
    load_mw = scale * (level + 300 * np.sin(2 * np.pi * hour / 24) + 5 * noise)
    return Series("A", np.datetime64("2021-03-01T00:00:00") + hour * HOUR, load_mw, "")


def _changed(series: Series, hour: int | slice, load_mw: float) -> Series:
    changed = series.load_mw.copy()
    changed[hour] = load_mw
    return replace(series, load_mw=changed)


def _found(series: Series, **expected: object) -> None:
    faults = faults_of(series)
    assert {name: getattr(faults, name) for name in (NONE | expected)} == NONE | expected


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6, -1.0])
def test_a_plain_series_has_none_and_a_planted_spike_is_found_in_any_unit(scale: float) -> None:
    series = _series(scale)
    _found(series)
    _found(_changed(series, 500, scale * 1e12), spikes=1, first_spike=str(series.time[500]))
    _found(_changed(series, 500, 0.0), spikes=1, first_spike=str(series.time[500]))


def test_a_load_of_both_signs_and_one_of_zero_at_night_have_none() -> None:
    _found(_series(level=0.0))
    sun = _series(level=0.0)
    _found(replace(sun, load_mw=np.maximum(sun.load_mw, 0)))


def test_a_level_that_stays_is_a_jump_and_no_spike() -> None:
    series = _series()
    _found(replace(series, load_mw=series.load_mw + 2000.0 * (np.arange(HOURS) >= 700)), jumps=1)


def test_flat_stretches_are_counted_from_a_day_and_a_half_on() -> None:
    series = _series()
    _found(
        _changed(series, slice(600, 600 + FLAT_HOURS), float(series.load_mw[600])),
        flat_stretches=1,
        longest_flat_hours=FLAT_HOURS,
    )
    _found(_changed(series, slice(600, 599 + FLAT_HOURS), float(series.load_mw[600])))


def test_gaps_and_ends_are_shown() -> None:
    series = _series()
    keep = np.delete(np.arange(HOURS), [100, 300, 301, 302])
    series = replace(series, time=series.time[keep], load_mw=series.load_mw[keep])
    _found(
        series,
        gaps=2,
        longest_gap_hours=3,
        minimum_mw=series.load_mw.min(),
        maximum_hour=str(series.time[series.load_mw.argmax()]),
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_repeated_rows_that_are_far_apart_contradict_and_alike_ones_do_not(scale: float) -> None:
    series = _series(scale)
    time = np.insert(series.time, 501, series.time[500])
    for again_mw, rows in ((series.load_mw[500] * 1.02, []), (0.0, [501])):
        load_mw = np.insert(series.load_mw, 501, again_mw)
        np.testing.assert_array_equal(differing(time, load_mw), rows)


def test_zeros_beside_each_midnight_do_not_hide_themselves() -> None:
    series = _series()
    days = np.arange(0, HOURS, 24)
    time, load_mw = np.insert(series.time, days + 1, series.time[days]), np.insert(series.load_mw, days + 1, 0.0)
    assert len(differing(time, load_mw)) == len(days)
