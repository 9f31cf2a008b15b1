"""Scores of forecasts: sMAPE by the right formula, the article's, and the mean absolute error in MW."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnncore.forecast.series import Float32Array, FloatArray
from rnncore.forecast.windows import RowArray, Windows

# Windows per call of a predictor: bounds the memory of scoring, however long a zone is.
CHUNK_WINDOWS = 2048

# A figure of forecasts beside the actual load shows this many zones, and of each this many of the last test hours.
PANEL_ZONES = 4
PANEL_HOURS = 100

Predict = Callable[[Float32Array], Float32Array]


@dataclass(frozen=True)
class Score:
    """How far forecasts were off.

    Attributes:
        name: Zone, or the method where the zones' mean is meant.
        smape: Mean of 200 |F - A| / (|F| + |A|), in percent.
        smape_article: The figure that the article's code prints, in percent: a quarter of `smape`.
        mae_mw: Mean absolute error in MW.
    """

    name: str
    smape: float
    smape_article: float
    mae_mw: float


@dataclass(frozen=True)
class Scores:
    """Scores per zone and their unweighted mean, as the article averages them."""

    mean: Score
    zones: tuple[Score, ...]


def smape_pct(forecast: FloatArray, actual: FloatArray) -> float:
    """Return the symmetric mean absolute percentage error, in percent.

    Args:
        forecast: Forecasts F. Shape (N,) or (N, L).
        actual: Actual values A, in the same unit. Shape (N,).

    Returns:
        Mean of 200 |F - A| / (|F| + |A|), where 0/0 counts as 0.

    Source:
        Makridakis, "Accuracy measures", Int. J. Forecasting 9 (1993), p. 529, with absolute values below.
    """
    size = np.abs(forecast) + np.abs(actual)
    error = np.abs(forecast - actual)
    return float(np.mean(200.0 * np.divide(error, size, out=np.zeros_like(error), where=size != 0)))


def smape_article_pct(forecast: FloatArray, actual: FloatArray) -> float:
    """Return what the article's code prints as sMAPE, in percent.

    It divides by 2 where the formula divides by one half, so for positive loads it is a quarter of `smape_pct`.

    Args:
        forecast: Forecasts F. Shape (N,) or (N, L).
        actual: Actual values A, in the same unit. Shape (N,).

    Returns:
        100 times the mean of |F - A| / (A + F) / 2, where 0/0 counts as 0.
    """
    size = actual + forecast
    error = np.abs(forecast - actual)
    return float(np.mean(100.0 * np.divide(error, size, out=np.zeros_like(error), where=size != 0) / 2))


def score(name: str, forecast_mw: FloatArray, actual_mw: FloatArray) -> Score:
    """Score the forecasts of one zone.

    Args:
        name: Zone name.
        forecast_mw: Forecasts. Shape (N, L).
        actual_mw: Actual loads. Shape (N, L).
    """
    return Score(
        name=name,
        smape=smape_pct(forecast_mw, actual_mw),
        smape_article=smape_article_pct(forecast_mw, actual_mw),
        mae_mw=float(np.mean(np.abs(forecast_mw - actual_mw))),
    )


def mean_score(name: str, zones: list[Score]) -> Scores:
    """Return the zones' scores with their unweighted mean under *name*."""
    return Scores(
        mean=Score(
            name=name,
            smape=float(np.mean([zone.smape for zone in zones])),
            smape_article=float(np.mean([zone.smape_article for zone in zones])),
            mae_mw=float(np.mean([zone.mae_mw for zone in zones])),
        ),
        zones=tuple(zones),
    )


def in_chunks(start: RowArray) -> list[RowArray]:
    """Return first rows of windows, in order, as many at a time as one call forecasts. Shapes (B,)."""
    return [start[at : at + CHUNK_WINDOWS] for at in range(0, len(start), CHUNK_WINDOWS)]


def forecasts_by_zone(outputs: Sequence[Float32Array], windows: Windows) -> dict[str, FloatArray]:
    """Return what a model forecasts for the test hours.

    Args:
        outputs: What it gave for each chunk of the test windows. Shapes (B, L).
        windows: The windows.

    Returns:
        Forecasts in MW by zone, in order of time; zones without test hours are left out. Shapes (N, L).
    """
    output = np.concatenate(outputs)
    return {
        zone.name: windows.to_mw(zone, windows.test_start[zone.test], output[zone.test])
        for zone in windows.zones
        if zone.test.start < zone.test.stop
    }


def forecast_test_hours(predict: Predict, windows: Windows) -> dict[str, FloatArray]:
    """Forecast every test hour, in chunks.

    Args:
        predict: From (B, T, F) float32 inputs to (B, L) float32 outputs.
        windows: The windows.

    Returns:
        As `forecasts_by_zone`.
    """
    return forecasts_by_zone([predict(windows.inputs(chunk)) for chunk in in_chunks(windows.test_start)], windows)


def score_forecasts(name: str, forecasts_mw: dict[str, FloatArray], windows: Windows) -> Scores:
    """Score forecasts of the test hours against the actual load.

    Args:
        name: What made them.
        forecasts_mw: Forecasts by zone, as `forecast_test_hours` gives them.
        windows: The windows that they were made from.
    """
    return mean_score(
        name,
        [
            score(zone.name, forecasts_mw[zone.name], load_of_tested_hours(windows, zone.name))
            for zone in windows.zones
            if zone.name in forecasts_mw
        ],
    )


def load_of_tested_hours(windows: Windows, zone_name: str) -> FloatArray:
    """Return the actual load of the test hours of one zone, and of those that follow, in order of time. Shape (N, L)."""
    zone = next(zone for zone in windows.zones if zone.name == zone_name)
    return windows.target_load_mw(windows.test_start[zone.test])


def forecast_panels(windows: Windows, forecasts_mw: Mapping[str, Mapping[str, FloatArray]]) -> list[dict[str, Any]]:
    """Return the last test hours of the first zones beside forecasts of the next hour, for a figure such as the article's.

    Args:
        windows: The windows.
        forecasts_mw: By name of what made them, forecasts by zone, as `forecast_test_hours` gives them.

    Returns:
        One entry per zone: `zone`, `hours` (1 and up), `actual_mw`, and `forecast_mw` by name.
    """
    first = next(iter(forecasts_mw.values()))
    panels = []
    for name in [zone.name for zone in windows.zones if zone.name in first][:PANEL_ZONES]:
        actual_mw = load_of_tested_hours(windows, name)
        shown = slice(max(0, len(actual_mw) - PANEL_HOURS), len(actual_mw))
        panels.append(
            {
                "zone": name,
                "hours": list(range(1, shown.stop - shown.start + 1)),
                "actual_mw": actual_mw[shown, 0].tolist(),
                "forecast_mw": {by: by_zone[name][shown, 0].tolist() for by, by_zone in forecasts_mw.items()},
            }
        )
    return panels


def smape_of_windows_pct(windows: Windows, start: RowArray, output: Float32Array) -> float:
    """Return the sMAPE of some windows, all counted alike, in percent.

    Args:
        windows: The windows.
        start: First rows of the windows that were forecast, of any zones. Shape (B,).
        output: What a model gave for them. Shape (B, L).
    """
    forecast_mw = np.empty(output.shape)
    for zone in windows.zones:
        inside = (start >= zone.rows.start) & (start < zone.rows.stop)
        forecast_mw[inside] = windows.to_mw(zone, start[inside], output[inside])
    return smape_pct(forecast_mw, windows.target_load_mw(start))
