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
