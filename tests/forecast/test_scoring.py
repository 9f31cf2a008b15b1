"""Tests of scores against naive loops."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.forecast import scoring
from rnncore.forecast.features import FeatureKind
from rnncore.forecast.scoring import (
    Score,
    forecast_test_hours,
    mean_score,
    score,
    score_forecasts,
    smape_article_pct,
    smape_of_windows_pct,
    smape_pct,
)
from rnncore.forecast.series import Dataset, Series
from rnncore.forecast.windows import WindowConfig, Windows, make_windows

LOADS = st.floats(0.5, 1e6)
ANY = st.one_of(st.just(0.0), st.floats(-1e6, 1e6, allow_subnormal=False))


def _arrays(pairs: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([forecast for forecast, _ in pairs]), np.array([actual for _, actual in pairs])


@given(st.lists(st.tuples(ANY, ANY), min_size=1, max_size=40))
def test_smape_is_the_formula(pairs: list[tuple[float, float]]) -> None:
    total = 0.0
    for forecast, actual in pairs:
        if forecast != 0 or actual != 0:
            total += 200 * abs(forecast - actual) / (abs(forecast) + abs(actual))
    smape = smape_pct(*_arrays(pairs))
    assert smape == pytest.approx(total / len(pairs), rel=1e-12)
    assert 0 <= smape <= 200 * (1 + 1e-12)


@given(st.lists(st.tuples(LOADS, LOADS), min_size=1, max_size=40))
def test_the_article_prints_a_quarter_for_positive_loads(pairs: list[tuple[float, float]]) -> None:
    assert smape_article_pct(*_arrays(pairs)) == pytest.approx(smape_pct(*_arrays(pairs)) / 4, rel=1e-12)


@given(st.lists(st.tuples(LOADS, LOADS), min_size=1, max_size=40))
def test_the_article_figure_is_its_code(pairs: list[tuple[float, float]]) -> None:
    total = sum(abs(forecast - actual) / (actual + forecast) / 2 for forecast, actual in pairs)
    assert smape_article_pct(*_arrays(pairs)) == pytest.approx(100 * total / len(pairs), rel=1e-12)


def test_zero_over_zero_counts_as_zero_and_as_an_hour() -> None:
    forecast, actual = np.array([0.0, 0.0, 3.0, 1.0]), np.array([0.0, 2.0, 1.0, 1.0])
    assert smape_pct(forecast, actual) == (0 + 200 + 100 + 0) / 4
    assert smape_article_pct(forecast, actual) == (0 + 50 + 25 + 0) / 4
    assert smape_pct(np.zeros(3), np.zeros(3)) == 0


def test_a_forecast_of_the_wrong_sign_counts_200() -> None:
    assert smape_pct(np.array([-5.0]), np.array([5.0])) == 200


@pytest.mark.parametrize("formula", [smape_pct, smape_article_pct])
def test_a_forecast_that_is_no_number_has_no_score(formula: Callable[..., float]) -> None:
    actual = np.array([5.0, 5.0])
    assert np.isnan(formula(np.array([5.0, np.nan]), actual))
    assert np.isnan(formula(np.array([np.nan, np.nan]), actual))


def test_the_score_of_a_zone_has_its_name_and_the_mean_absolute_error() -> None:
    one = score("AEP", np.array([90.0, 120.0]), np.array([110.0, 110.0]))
    assert one.name == "AEP"
    assert one.mae_mw == 15
    assert one.smape == pytest.approx((200 * 20 / 200 + 200 * 10 / 230) / 2)
    assert one.smape_article == pytest.approx(one.smape / 4)


def test_the_mean_weighs_every_zone_alike(make_series: Callable[..., Series]) -> None:
    # 500 and 120 rows: 41 and 3 test hours.
    dataset = Dataset("two", (make_series("LONG", hours=500), make_series("SHORT", hours=120)))
    windows = make_windows(dataset, WindowConfig(lookback=5))
    forecasts = {
        "LONG": scoring.load_of_tested_hours(windows, "LONG") * 1.01,
        "SHORT": scoring.load_of_tested_hours(windows, "SHORT") * 1.21,
    }
    scores = score_forecasts("mine", forecasts, windows)
    assert [zone.name for zone in scores.zones] == ["LONG", "SHORT"]
    assert [zone.smape for zone in scores.zones] == pytest.approx([200 * 0.01 / 2.01, 200 * 0.21 / 2.21])
    assert scores.mean.name == "mine"
    assert scores.mean.smape == pytest.approx((200 * 0.01 / 2.01 + 200 * 0.21 / 2.21) / 2)
    assert scores.mean.smape_article == pytest.approx(scores.mean.smape / 4)
    assert scores.mean.mae_mw == pytest.approx(sum(zone.mae_mw for zone in scores.zones) / 2)


def test_the_mean_of_scores_is_that_of_each_figure() -> None:
    scores = mean_score("all", [Score("A", 1.0, 2.0, 3.0), Score("B", 5.0, 4.0, 9.0)])
    assert scores.mean == Score("all", 3.0, 3.0, 6.0)


def test_tested_loads_are_the_last_of_each_zone_in_order_of_time(windows: Windows, small_dataset: Dataset) -> None:
    for series, tested in zip(small_dataset.series, (31, 24), strict=True):
        np.testing.assert_array_equal(scoring.load_of_tested_hours(windows, series.name)[:, 0], series.load_mw[-tested:])


def _weighted_sum(inputs: np.ndarray) -> np.ndarray:
    weights = np.arange(inputs[0].size, dtype=np.float32).reshape(inputs[0].shape)
    return np.array([[float((window * weights).sum())] for window in inputs], dtype=np.float32)


def test_forecasting_in_chunks_gives_what_one_call_gives(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def predict(inputs: np.ndarray) -> np.ndarray:
        sizes.append(len(inputs))
        return _weighted_sum(inputs)

    at_once = forecast_test_hours(predict, windows)
    assert sizes == [55]
    sizes.clear()
    monkeypatch.setattr(scoring, "CHUNK_WINDOWS", 12)
    in_chunks = forecast_test_hours(predict, windows)
    assert sizes == [12, 12, 12, 12, 7]
    assert list(in_chunks) == list(at_once) == ["A", "B"]
    for name, forecast_mw in at_once.items():
        np.testing.assert_array_equal(in_chunks[name], forecast_mw)


def test_a_model_that_repeats_the_last_load_forecasts_the_hour_before(windows: Windows) -> None:
    forecasts = forecast_test_hours(lambda inputs: inputs[:, -1, :1], windows)
    for zone in windows.zones:
        rows = windows.target_rows(windows.test_start[zone.test])
        np.testing.assert_allclose(forecasts[zone.name][:, 0], windows.load_mw[rows - 1], rtol=1e-6)


def test_a_zone_without_tested_hours_is_left_out(make_series: Callable[..., Series]) -> None:
    dataset = Dataset("two", (make_series("LONG", hours=600), make_series("ENDS", hours=200)))
    windows = make_windows(dataset, WindowConfig(lookback=5, split="date"))
    forecasts = forecast_test_hours(lambda inputs: inputs[:, -1, :1], windows)
    assert list(forecasts) == ["LONG"]
    assert [zone.name for zone in score_forecasts("mine", forecasts, windows).zones] == ["LONG"]


def _naive_smape_of_windows(windows: Windows, dataset: Dataset, start: np.ndarray, output: np.ndarray) -> float:
    """Go through windows one by one: find the zone, undo its min-max scale, and average over all."""
    total = 0.0
    for first, scaled in zip(start.tolist(), output[:, 0].tolist(), strict=True):
        row = first + windows.config.lookback
        for series in dataset.series:
            if row < len(series.load_mw):
                break
            row -= len(series.load_mw)
        low_mw, high_mw = min(series.load_mw), max(series.load_mw)
        forecast_mw = low_mw + (high_mw - low_mw) * scaled
        total += 200 * abs(forecast_mw - series.load_mw[row]) / (abs(forecast_mw) + abs(series.load_mw[row]))
    return total / len(start)


@pytest.mark.parametrize("seed", range(5))
def test_the_smape_of_windows_of_mixed_zones_counts_each_window_alike(
    seed: int, windows: Windows, small_dataset: Dataset
) -> None:
    rng = np.random.default_rng(seed)
    start = rng.permutation(np.concatenate([windows.train_start, windows.test_start]))[:57]
    output = rng.uniform(-0.2, 1.2, size=(len(start), 1)).astype(np.float32)
    # Windows of both zones, and not as many of one as of the other.
    in_first = int((start < len(small_dataset.series[0].load_mw)).sum())
    assert 0 < in_first < len(start) != 2 * in_first
    expected = _naive_smape_of_windows(windows, small_dataset, start, output)
    assert smape_of_windows_pct(windows, start, output) == pytest.approx(expected, rel=1e-6)


def test_the_smape_of_the_windows_of_a_zone_is_that_of_its_tested_hours(windows: Windows) -> None:
    zone = windows.zones[1]
    start = windows.test_start[zone.test]
    output = _weighted_sum(windows.inputs(start))
    forecast_mw = forecast_test_hours(_weighted_sum, windows)[zone.name]
    expected = smape_pct(forecast_mw, scoring.load_of_tested_hours(windows, zone.name))
    assert smape_of_windows_pct(windows, start, output) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("horizon", [1, 5])
@pytest.mark.parametrize("features", ["article", "linear"])
def test_the_smape_of_windows_of_a_perfect_model_is_rounding(
    features: FeatureKind, horizon: int, make_series: Callable[..., Series]
) -> None:
    dataset = Dataset("made", (make_series("A", hours=700, seed=1), make_series("B", hours=630, seed=2)))
    windows = make_windows(dataset, WindowConfig(features=features, lookback=5, horizon=horizon))
    start = windows.train_start[::-7]
    output = windows.target[windows.target_rows(start)]
    assert smape_of_windows_pct(windows, start, output) < 1e-4
