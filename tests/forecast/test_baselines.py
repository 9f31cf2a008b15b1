"""Tests of the baselines: exact where the data follow their rule, and as measured on the real files."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rnncore.errors import DataError
from rnncore.forecast import baselines
from rnncore.forecast.baselines import BASELINES, SLOW_BASELINES, Baseline, baseline_forecasts, baseline_scores
from rnncore.forecast.series import Dataset, Series
from rnncore.forecast.windows import WindowConfig, Windows, make_windows

CONFIG = WindowConfig(lookback=5)
NAIVE_LAGS_H = {"persistence": 1, "seasonal_naive_24": 24, "seasonal_naive_168": 168}

# Mean sMAPE over the twelve real zones, in percent, each computed once by independent code.
PJM_SMAPE_PCT = {
    "persistence": 3.29,
    "seasonal_naive_24": 7.29,
    "seasonal_naive_168": 10.62,
    "ar_90": 1.02,
    "per_hour_regressions": 0.76,
}


EVERY = BASELINES | SLOW_BASELINES
FITTED = [name for name in EVERY if name not in NAIVE_LAGS_H]


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "BOOSTED_TREES", 8)


def _windows(*series: Series, config: WindowConfig = CONFIG) -> Windows:
    return make_windows(Dataset("made", series), config)


def _forecast(name: str, windows: Windows, zone: int = 0) -> np.ndarray:
    """Return the forecasts of one lead."""
    return EVERY[name](windows, windows.zones[zone])[:, 0]


@pytest.mark.parametrize(("name", "lag_h"), NAIVE_LAGS_H.items())
def test_a_naive_forecast_is_the_load_that_many_rows_before_in_every_zone(
    name: str, lag_h: int, small_dataset: Dataset
) -> None:
    windows = make_windows(small_dataset, CONFIG)
    for index, (series, tested) in enumerate(zip(small_dataset.series, (31, 24), strict=True)):
        rows = range(len(series.time) - tested, len(series.time))
        np.testing.assert_array_equal(_forecast(name, windows, index), [series.load_mw[row - lag_h] for row in rows])


@pytest.mark.parametrize(("name", "lag_h"), NAIVE_LAGS_H.items())
def test_a_naive_forecast_of_a_series_of_its_period_is_exact(
    name: str, lag_h: int, make_series: Callable[..., Series]
) -> None:
    if lag_h == 1:
        load_mw = np.repeat([100.0, 200.0], [50, 350])
    else:
        load_mw = np.tile(np.random.default_rng(1).uniform(100, 200, lag_h), 600 // lag_h + 1)
    windows = _windows(make_series("A", load_mw=load_mw))
    np.testing.assert_array_equal(_forecast(name, windows), load_mw[-len(windows.test_start) :])


def test_ar_90_recovers_a_linear_recurrence(make_series: Callable[..., Series]) -> None:
    # Each load mirrors the one 90 hours before about 1000 MW: an intercept, a weight of -1 and 89 weights of 0.
    load_mw = np.empty(1200)
    load_mw[:90] = np.random.default_rng(2).uniform(500, 1500, 90)
    for row in range(90, len(load_mw)):
        load_mw[row] = 2000 - load_mw[row - 90]
    windows = _windows(make_series("A", load_mw=load_mw))
    forecast_mw = _forecast("ar_90", windows)
    assert len(forecast_mw) == 111
    np.testing.assert_allclose(forecast_mw, load_mw[-111:], rtol=0, atol=1e-4)


def test_ar_90_is_fitted_on_the_hours_before_the_tested_ones_alone(make_series: Callable[..., Series]) -> None:
    series = make_series("A", hours=1000)
    load_mw = series.load_mw.copy()
    load_mw[-1] += 5000
    before, after = _windows(series), _windows(replace(series, load_mw=load_mw))
    np.testing.assert_array_equal(_forecast("ar_90", after), _forecast("ar_90", before))


def test_per_hour_regressions_recover_a_rule_of_their_hour_and_weekday(make_series: Callable[..., Series]) -> None:
    # Noise, but for noon: there a rule of the loads 1 and 73 hours before and of the weekday. Six in the evening has
    # another rule, which one model for all hours could not hold as well.
    hours = 24 * 400
    generator = np.random.default_rng(3)
    load_mw = generator.uniform(500, 1500, hours)
    series = make_series("A", load_mw=load_mw)
    hour = [stamp.hour for stamp in series.time.astype(object)]
    weekday = [stamp.weekday() for stamp in series.time.astype(object)]
    for row in range(73, hours):
        if hour[row] == 12:
            load_mw[row] = (
                100 + 0.5 * load_mw[row - 1] + 0.4 * load_mw[row - 73] + (50, 10, 0, -20, 30, 70, -60)[weekday[row]]
            )
        if hour[row] == 18:
            load_mw[row] = 900 - 0.3 * load_mw[row - 1] + 0.6 * load_mw[row - 73] + (5, 0, 40, 20, -30, 7, 60)[weekday[row]]
    windows = _windows(replace(series, load_mw=load_mw))
    forecast_mw = _forecast("per_hour_regressions", windows)
    error_mw = np.abs(forecast_mw - load_mw[-len(forecast_mw) :])
    tested_hour = np.array(hour[-len(forecast_mw) :])
    assert error_mw[np.isin(tested_hour, (12, 18))].max() < 1e-4
    assert error_mw[tested_hour == 13].mean() > 50


def test_baselines_are_scored_under_their_names(make_series: Callable[..., Series]) -> None:
    windows = _windows(make_series("A", hours=4500, seed=1), make_series("B", hours=4400, seed=2))
    scores = baseline_scores(windows)
    assert [one.mean.name for one in scores] == list(PJM_SMAPE_PCT)
    assert all([zone.name for zone in one.zones] == ["A", "B"] for one in scores)
    assert scores[3].mean.smape < scores[0].mean.smape


@pytest.mark.parametrize(
    ("name", "hours", "needed"),
    [("seasonal_naive_168", 150, 168), ("ar_90", 180, 180), ("per_hour_regressions", 1000, 3840)],
)
def test_too_little_history_is_told_with_what_is_there_and_what_is_needed(
    name: str, hours: int, needed: int, make_series: Callable[..., Series]
) -> None:
    windows = _windows(make_series("LONG", hours=500), make_series("SHORT", hours=hours))
    have = hours - (hours - 90) // 10
    with pytest.raises(
        DataError, match=f"SHORT: {have} hours lie before the first test hour.* need {needed}.*longer series"
    ):
        _forecast(name, windows, zone=1)


def test_what_the_most_demanding_baseline_needs_is_told_at_once(make_series: Callable[..., Series]) -> None:
    with pytest.raises(DataError, match=r"SHORT: .* the baselines need 3840.*\(--no-baselines\)"):
        baseline_scores(_windows(make_series("SHORT", hours=150)))


def test_a_zone_without_tested_hours_is_left_out(make_series: Callable[..., Series]) -> None:
    windows = _windows(
        make_series("LONG", hours=5000), make_series("ENDS", hours=200), config=WindowConfig(lookback=5, split="date")
    )
    assert all([zone.name for zone in one.zones] == ["LONG"] for one in baseline_scores(windows))


def test_the_real_files_score_as_measured(pjm_windows: Windows) -> None:
    scores = {one.mean.name: one.mean.smape for one in baseline_scores(pjm_windows)}
    assert scores == pytest.approx(PJM_SMAPE_PCT, abs=0.02)


def _scaled(series: Series, factor: float) -> Series:
    return replace(series, load_mw=series.load_mw * factor)


@pytest.fixture(scope="module")
def half_a_year(make_series: Callable[..., Series]) -> Dataset:
    """Two zones of loads with one decimal, as files have them, long enough for each baseline."""
    zones = (make_series("A", hours=4500, seed=1), make_series("B", hours=4400, seed=2))
    return Dataset("made", tuple(replace(one, load_mw=one.load_mw.round(1)) for one in zones))


@pytest.mark.parametrize("factor", [1e-6, 1e6, 1e-3])
@pytest.mark.parametrize("name", EVERY)
def test_forecasts_of_a_file_in_another_unit_are_the_same_amounts(name: str, factor: float, half_a_year: Dataset) -> None:
    other = replace(half_a_year, series=tuple(_scaled(one, factor) for one in half_a_year.series))
    config = replace(CONFIG, horizon=3)
    before, after = (make_windows(dataset, config) for dataset in (half_a_year, other))
    for zone in range(2):
        forecast_mw, scaled_mw = (EVERY[name](windows, windows.zones[zone]) for windows in (before, after))
        np.testing.assert_allclose(scaled_mw, factor * forecast_mw, rtol=1e-9)


@pytest.mark.parametrize("name", FITTED)
def test_a_wrong_value_of_a_million_hours_does_not_ruin_a_regression(name: str, half_a_year: Dataset) -> None:
    clean = half_a_year.series[0]
    load_mw = clean.load_mw.copy()
    load_mw[1000] = 1e12
    tested_mw = clean.load_mw[-441:]
    errors = []
    for series in (clean, replace(clean, load_mw=load_mw)):
        errors.append(np.abs(_forecast(name, _windows(series)) - tested_mw).mean())
    assert errors[1] < 1.5 * errors[0]


# The leak test: what comes after the first tested hour is shuffled.


def leaves_alone(forecast: Baseline, series: Series, config: WindowConfig) -> bool:
    """Return whether a baseline forecasts the first tested hour, and those that follow, the same whatever comes then."""
    before = _windows(series, config=config)
    first = int(before.target_rows(before.test_start[:1])[0])
    load_mw = series.load_mw.copy()
    load_mw[first:] = np.random.default_rng(9).permutation(load_mw[first:])
    after = _windows(replace(series, load_mw=load_mw), config=config)
    assert not np.array_equal(after.load_mw, before.load_mw)
    one, other = (forecast(windows, windows.zones[0])[0] for windows in (before, after))
    return np.array_equal(one, other)


@pytest.mark.parametrize("horizon", [1, 24])
@pytest.mark.parametrize("name", EVERY)
def test_loads_after_the_first_tested_hour_change_no_forecast_of_it(name: str, horizon: int, half_a_year: Dataset) -> None:
    assert leaves_alone(EVERY[name], half_a_year.series[0], replace(CONFIG, horizon=horizon))


@pytest.mark.parametrize("horizon", [1, 24])
@pytest.mark.parametrize("name", FITTED)
def test_a_fit_that_reaches_into_the_tested_hours_is_noticed(
    name: str, horizon: int, half_a_year: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the fitted rows ended later, by the horizon and two hours.
    monkeypatch.setattr(baselines, "_fitted_until", lambda first_tested, leads: first_tested + leads + 1)
    assert not leaves_alone(EVERY[name], half_a_year.series[0], replace(CONFIG, horizon=horizon))


# Gradient boosting.


def test_gradient_boosting_is_forecast_on_request_alone_and_last(half_a_year: Dataset) -> None:
    windows = make_windows(half_a_year, CONFIG)
    assert [name for name, _ in baseline_forecasts(windows)] == list(BASELINES)
    forecasts = dict(baseline_forecasts(windows, boosting=True))
    assert list(forecasts) == [*BASELINES, "gradient_boosting"]
    assert [len(of_zone) for of_zone in forecasts["gradient_boosting"].values()] == [
        zone.test.stop - zone.test.start for zone in windows.zones
    ]


def test_gradient_boosting_learns_what_no_regression_can(
    make_series: Callable[..., Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tent map: each load is made of the one before, by two lines of opposite slope.
    monkeypatch.setattr(baselines, "BOOSTED_TREES", 100)
    height = [0.3141]
    for _ in range(5999):
        height.append(0.9999 * (1 - 2 * abs(height[-1] - 0.5)))
    windows = _windows(make_series("A", load_mw=100 + 50 * np.array(height)))
    actual_mw = windows.target_load_mw(windows.test_start)[:, 0]
    errors = {name: np.abs(_forecast(name, windows) - actual_mw).mean() for name in ("gradient_boosting", "ar_90")}
    assert errors["gradient_boosting"] < 0.2 * errors["ar_90"]


def test_each_lead_is_boosted_by_a_model_of_its_own(
    make_series: Callable[..., Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of period 24 and known to a day of loads: each lead is as easy as the first, but the change to it is another.
    monkeypatch.setattr(baselines, "BOOSTED_TREES", 60)
    load_mw = np.tile(np.random.default_rng(1).uniform(100, 200, 24), 250)
    windows = _windows(make_series("A", load_mw=load_mw), config=replace(CONFIG, horizon=3))
    forecast_mw = EVERY["gradient_boosting"](windows, windows.zones[0])
    assert np.abs(forecast_mw - windows.target_load_mw(windows.test_start)).max() < 2
