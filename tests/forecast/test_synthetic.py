"""Tests of the synthetic zones: repeatable, faulty as the PJM files are, and as hard to forecast."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from rnncore.errors import ConfigError
from rnncore.forecast.baselines import BASELINES
from rnncore.forecast.linear import WEEK_H
from rnncore.forecast.scoring import score_forecasts
from rnncore.forecast.series import HOUR, Dataset, Series
from rnncore.forecast.synthetic import MAX_STRAY_GAPS, synthetic_dataset
from rnncore.forecast.windows import WindowConfig, Windows, make_windows

# Mean sMAPE of the twelve PJM files by the article's split, in percent.
PJM_PERSISTENCE_PCT = 3.29
PJM_AR_90_PCT = 1.02
PJM_NAIVE_PCT = {"seasonal_naive_24": 7.29, "seasonal_naive_168": 10.62}
TOLERANCE = 0.25

SPRING_FORWARD = ("2014-03-09T03", "2015-03-08T03", "2016-03-13T03", "2017-03-12T03")
FALL_BACK = ("2014-11-02T02", "2015-11-01T02", "2016-11-06T02", "2017-11-05T02")
# As in NI and PJM_Load, which drop both rows of the repeated hour.
ZONES_WITHOUT_DUPLICATES = ("SYN09", "SYN12")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return synthetic_dataset()


@pytest.fixture(scope="module")
def windows(dataset: Dataset) -> Windows:
    return make_windows(dataset, WindowConfig())


def _mean_smape_pct(baseline: str, windows: Windows) -> float:
    forecasts_mw = {zone.name: BASELINES[baseline](windows, zone) for zone in windows.zones}
    return score_forecasts(baseline, forecasts_mw, windows).mean.smape


def _stamps(texts: tuple[str, ...], series: Series) -> set[pd.Timestamp]:
    """Return the stamps that lie within the series."""
    return {stamp for stamp in map(pd.Timestamp, texts) if series.time[0] <= stamp.to_datetime64() <= series.time[-1]}


def _repeated(series: Series) -> list[pd.Timestamp]:
    return list(pd.DatetimeIndex(series.time[1:][np.diff(series.time) == np.timedelta64(0, "s")]))


def _missing(series: Series) -> set[pd.Timestamp]:
    every_hour = np.arange(series.time[0], series.time[-1] + HOUR, HOUR)
    return set(pd.DatetimeIndex(np.setdiff1d(every_hour, series.time)))


def _autocorrelation(series: Series, lag_h: int) -> float:
    return float(np.corrcoef(series.load_mw[lag_h:], series.load_mw[:-lag_h])[0, 1])


def _mean_mw(series: Series, months: tuple[int, ...]) -> float:
    return float(series.load_mw[np.isin(pd.DatetimeIndex(series.time).month, months)].mean())


def test_same_seed_gives_the_same_digest(dataset: Dataset) -> None:
    again = synthetic_dataset(seed=2018)
    assert again.digest == dataset.digest
    assert all(np.array_equal(a.load_mw, b.load_mw) for a, b in zip(again.series, dataset.series, strict=True))


def test_another_seed_changes_the_load_of_every_zone(dataset: Dataset) -> None:
    other = synthetic_dataset(seed=2019)
    assert all(a.digest != b.digest for a, b in zip(other.series, dataset.series, strict=True))
    shortest = [min(len(a.time), len(b.time)) for a, b in zip(other.series, dataset.series, strict=True)]
    for a, b, rows in zip(other.series, dataset.series, shortest, strict=True):
        assert np.mean(a.load_mw[:rows] != b.load_mw[:rows]) > 0.9


def test_digest_covers_seconds_and_megawatts_as_little_endian_numbers(dataset: Dataset) -> None:
    for series in dataset.series:
        seconds = (series.time - np.datetime64("1970-01-01T00:00:00")) // np.timedelta64(1, "s")
        values = seconds.astype("<i8").tobytes() + series.load_mw.astype("<f8").tobytes()
        assert series.digest == hashlib.sha256(values).hexdigest()


def test_twelve_zones_are_sorted_positive_finite_and_in_whole_megawatts(dataset: Dataset) -> None:
    assert dataset.name == "synthetic"
    assert [series.name for series in dataset.series] == [f"SYN{number:02}" for number in range(1, 13)]
    for series in dataset.series:
        assert series.time.dtype == np.dtype("datetime64[s]")
        assert series.load_mw.dtype == np.float64
        assert len(series.time) == len(series.load_mw)
        assert np.all(np.diff(series.time) >= np.timedelta64(0, "s"))
        assert np.all(series.time.astype(np.int64) % 3600 == 0)
        assert np.all(np.isfinite(series.load_mw))
        assert np.all(series.load_mw > 0)
        assert np.array_equal(series.load_mw, np.rint(series.load_mw))


def test_zones_differ_in_size_as_those_of_pjm(dataset: Dataset) -> None:
    means_mw = [float(series.load_mw.mean()) for series in dataset.series]
    assert 1400 < min(means_mw) < 1700
    assert 28000 < max(means_mw) < 35000
    assert len({round(mean_mw) for mean_mw in means_mw}) == 12


def test_zones_differ_in_length_but_cover_two_years(dataset: Dataset) -> None:
    assert 350_000 < sum(len(series.time) for series in dataset.series) < 450_000
    assert all(series.time[-1] - series.time[0] >= np.timedelta64(2 * 365, "D") for series in dataset.series)
    assert len({series.time[0] for series in dataset.series}) >= 3
    assert len({series.time[-1] for series in dataset.series}) >= 3


def test_years_sets_the_length() -> None:
    two_years = synthetic_dataset(years=2)
    assert all(17_500 < len(series.time) < 17_520 for series in two_years.series)
    with pytest.raises(ConfigError, match="years is 0"):
        synthetic_dataset(years=0)


def test_hours_repeat_at_two_on_fall_back_sundays_only(dataset: Dataset) -> None:
    for series in dataset.series:
        expected = set() if series.name in ZONES_WITHOUT_DUPLICATES else _stamps(FALL_BACK, series)
        repeated = _repeated(series)
        assert set(repeated) == expected, series.name
        assert len(repeated) == len(expected), series.name
        assert series.duplicates == len(expected), series.name


def test_hours_are_missing_at_three_on_spring_forward_days_and_at_a_few_other_times(dataset: Dataset) -> None:
    for series in dataset.series:
        expected = _stamps(SPRING_FORWARD, series)
        if series.name in ZONES_WITHOUT_DUPLICATES:
            expected |= _stamps(FALL_BACK, series)
        missing = _missing(series)
        assert expected <= missing, series.name
        assert 1 <= len(missing - expected) <= MAX_STRAY_GAPS, series.name
        assert series.missing_hours == len(missing), series.name


def test_stray_gaps_differ_between_zones(dataset: Dataset) -> None:
    assert len({frozenset(_missing(series)) for series in dataset.series}) == 12


def test_load_follows_the_day(dataset: Dataset) -> None:
    for series in dataset.series:
        assert _autocorrelation(series, 24) > _autocorrelation(series, 12) + 0.3, series.name


def test_load_follows_the_week(dataset: Dataset) -> None:
    for series in dataset.series:
        is_weekend = pd.DatetimeIndex(series.time).day_of_week >= 5
        weekend_mw, weekday_mw = series.load_mw[is_weekend].mean(), series.load_mw[~is_weekend].mean()
        assert 0.85 < weekend_mw / weekday_mw < 0.97, series.name


def test_load_follows_the_year(dataset: Dataset) -> None:
    for series in dataset.series:
        spring_mw = _mean_mw(series, (4, 5))
        assert _mean_mw(series, (1, 2)) > 1.05 * spring_mw, series.name
        assert _mean_mw(series, (7, 8)) > 1.05 * spring_mw, series.name


def test_weather_is_shared_but_not_the_same(dataset: Dataset) -> None:
    one, other = (series.cleaned() for series in dataset.series[:2])
    _, rows, other_rows = np.intersect1d(one.time, other.time, return_indices=True)
    change, other_change = (
        np.log(load_mw[WEEK_H:] / load_mw[:-WEEK_H]) for load_mw in (one.load_mw[rows], other.load_mw[other_rows])
    )
    # The same weather in both would give 0.96, independent weather 0.
    assert 0.7 < np.corrcoef(change, other_change)[0, 1] < 0.93


def test_persistence_scores_as_on_pjm(windows: Windows) -> None:
    assert _mean_smape_pct("persistence", windows) == pytest.approx(PJM_PERSISTENCE_PCT, rel=TOLERANCE)


def test_ar_90_scores_as_on_pjm(windows: Windows) -> None:
    assert _mean_smape_pct("ar_90", windows) == pytest.approx(PJM_AR_90_PCT, rel=TOLERANCE)


@pytest.mark.parametrize("baseline", PJM_NAIVE_PCT)
def test_seasonal_naive_scores_as_on_pjm(windows: Windows, baseline: str) -> None:
    assert _mean_smape_pct(baseline, windows) == pytest.approx(PJM_NAIVE_PCT[baseline], rel=TOLERANCE)


def test_knowing_the_hour_beats_ar_90_as_on_pjm(dataset: Dataset) -> None:
    two_zones = make_windows(replace(dataset, series=dataset.series[:2]), WindowConfig())
    assert _mean_smape_pct("per_hour_regressions", two_zones) < 0.9 * _mean_smape_pct("ar_90", two_zones)


def test_date_split_leaves_zones_that_end_early_untested(dataset: Dataset) -> None:
    tested = {
        zone.name for zone in make_windows(dataset, WindowConfig(split="date")).zones if zone.test.stop > zone.test.start
    }
    assert 6 <= len(tested) < 12
