"""Tests of series and data sets: cleaning, and digests."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from rnncore.forecast.series import Dataset, Series

DAY = [f"2018-03-01 {hour:02}:00:00" for hour in range(24)]


def _times(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[s]")


def test_cleaning_merges_rows_of_equal_stamp_to_their_mean_and_fills_nothing() -> None:
    series = Series(
        "A", _times(DAY[0], DAY[1], DAY[1], DAY[2], DAY[5], DAY[5], DAY[5]), np.array([1.0, 2, 4, 5, 1, 2, 6]), ""
    )
    cleaned = series.cleaned()
    np.testing.assert_array_equal(cleaned.time, _times(DAY[0], DAY[1], DAY[2], DAY[5]))
    np.testing.assert_array_equal(cleaned.load_mw, [1, 3, 5, 3])
    assert (cleaned.duplicates, cleaned.missing_hours) == (0, 2)
    assert len(series.time) == 7


def _week() -> Series:
    hour = np.arange(168)
    return Series("A", np.datetime64(DAY[0], "s") + hour * np.timedelta64(1, "h"), 100 + 30 * np.sin(hour * np.pi / 12), "x")


def _without(series: Series, *hours: int) -> Series:
    return replace(series, time=np.delete(series.time, hours), load_mw=np.delete(series.load_mw, hours))


def test_a_short_gap_is_filled_with_the_bend_of_the_day_before_and_a_longer_one_is_left() -> None:
    series = _week()
    filled = _without(series, 50, 51, 52, 90, 91, 92, 93).filled(3)
    np.testing.assert_array_equal(filled.time, np.delete(series.time, [90, 91, 92, 93]))
    # The load is the same each day, so that the bend of the day before is the gap's own.
    np.testing.assert_allclose(filled.load_mw, np.delete(series.load_mw, [90, 91, 92, 93]), rtol=1e-12)
    assert filled.missing_hours == 4
    assert filled.digest != series.digest


def test_without_the_day_before_a_gap_is_filled_by_a_straight_line() -> None:
    series = _week()
    filled = _without(series, 10, 11).filled(2)
    np.testing.assert_allclose(filled.load_mw[9:13], np.linspace(series.load_mw[9], series.load_mw[12], 4))


def test_a_series_without_short_gaps_is_left_as_it_is() -> None:
    series = _without(_week(), 40, 41)
    assert series.filled(1) is series


def test_cleaning_a_data_set_cleans_every_zone() -> None:
    series = Series("A", _times(DAY[0], DAY[1], DAY[1]), np.array([1.0, 2, 4]), "")
    dataset = Dataset("two", (series, replace(series, name="B")))
    assert [one.duplicates for one in dataset.cleaned().series] == [0, 0]
    assert [one.name for one in dataset.cleaned().series] == ["A", "B"]


def test_the_digest_of_a_data_set_depends_on_zones_and_order_but_not_on_its_name(
    make_series: Callable[..., Series],
) -> None:
    a, b = make_series("A", seed=1), make_series("B", seed=2)
    digest = Dataset("x", (a, b)).digest
    assert Dataset("y", (a, b)).digest == digest
    assert (
        len({digest, Dataset("x", (a,)).digest, Dataset("x", (b, a)).digest, Dataset("x", (a, replace(b, name="C"))).digest})
        == 4
    )


def test_the_digest_of_cleaned_data_differs_where_rows_were_merged() -> None:
    one = Series("A", _times(DAY[0], DAY[1], DAY[1], DAY[2]), np.array([1.0, 2, 4, 3]), "")
    dataset = Dataset("one", (one,))
    assert dataset.cleaned().digest != dataset.digest
