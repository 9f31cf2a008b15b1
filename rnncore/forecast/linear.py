"""The linear part of a load: 24 ridge regressions of a zone, one per hour of the day, on its earlier loads.

They forecast what is left over the daily change, y[t-1] + (y[t-24] - y[t-25]), and shrink to it: where a series is too short
to say more, that is what they forecast. How much they shrink is chosen on the last part of the fitted hours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from rnncore.forecast.series import HOUR, FloatArray, Series, TimeArray

DAY_H, WEEK_H = 24, 168

# The longest lag: two weeks and an hour.
FIRST_ROW = 337

YEAR_DAYS = 365.25

# Rows of prior belief in the daily change, per fitted row; the choice is made once for all hours of a zone.
SHRINKAGES = (1e-6, 1e-4, 1e-2, 1.0, 100.0)

# Part of the fitted hours, at their end, on which it is made.
CHOOSING_SHARE = 0.1


@dataclass(frozen=True)
class HourlyRegressions:
    """Regressions of one zone.

    Attributes:
        level_mw: Mean load that inputs are centred by.
        spread_mw: Standard deviation that inputs and outputs are scaled by.
        coefficients: Of lags, weekdays, season and constant, by hour of the day, for each lead. Shape (24, P, L).
    """

    level_mw: float
    spread_mw: float
    coefficients: FloatArray

    def forecast_mw(self, load_mw: FloatArray, time: TimeArray) -> FloatArray:
        """Forecast each row, and the one after the last, with the hours that follow, from the rows before it.

        Args:
            load_mw: Loads. Shape (N,).
            time: Their times. Shape (N,).

        Returns:
            Forecasts; those of the first rows, where lags reach before the series, say nothing. Shape (N + 1, L).
        """
        horizon = self.coefficients.shape[2]
        forecast_mw, every_time = daily_change_mw(load_mw, horizon), np.append(time, time[-1] + HOUR)
        for hour, rows in _rows_by_hour(every_time, np.arange(len(every_time))):
            inputs = _inputs(load_mw, every_time, rows, self.level_mw, self.spread_mw, horizon)
            forecast_mw[rows] += self.spread_mw * (inputs @ self.coefficients[hour])
        return forecast_mw


def daily_change_mw(load_mw: FloatArray, horizon: int) -> FloatArray:
    """Forecast each row, and the one after the last, with the hours that follow, by yesterday's change since the same hour.

    Args:
        load_mw: Loads. Shape (N,).
        horizon: Leads, L, at most a day.

    Returns:
        y[t-1] + (y[t+l-24] - y[t-25]) for row t and lead l from 0. Shape (N + 1, L).
    """
    row = np.arange(len(load_mw) + 1)[:, None]
    yesterday = load_mw[np.maximum(row + np.arange(horizon) - DAY_H, 0)]
    change: FloatArray = yesterday - load_mw[np.maximum(row - DAY_H - 1, 0)]
    return load_mw[np.maximum(row - 1, 0)] + change


def leads_mw(load_mw: FloatArray, horizon: int) -> FloatArray:
    """Return the load of each row and of the rows that follow; beyond the last row its own. Shape (N, L)."""
    row = np.arange(len(load_mw))[:, None]
    leads: FloatArray = load_mw[np.minimum(row + np.arange(horizon), len(load_mw) - 1)]
    return leads


def fit_hourly_regressions(series: Series, fit: slice, horizon: int) -> HourlyRegressions:
    """Fit the regressions of a zone.

    Args:
        series: The zone.
        fit: Rows that may be learnt from; none of later rows is looked at.
        horizon: Leads, L, at most a day.

    Source:
        Hoerl, A. E. & Kennard, R. W. (1970). Ridge regression: biased estimation for nonorthogonal problems.
        Technometrics 12(1), 55-67.
    """
    load_mw, time = series.load_mw[fit], series.time[fit]
    level_mw, spread_mw = float(load_mw.mean()), float(load_mw.std()) or 1.0
    rest = (leads_mw(load_mw, horizon) - daily_change_mw(load_mw, horizon)[:-1]) / spread_mw
    rows = np.arange(FIRST_ROW, len(load_mw) - horizon + 1)
    cut = len(load_mw) - int(CHOOSING_SHARE * len(rows))
    by_hour: list[tuple[int, FloatArray, FloatArray]] = []
    errors = np.zeros(len(SHRINKAGES))
    for hour, of_hour in _rows_by_hour(time, rows):
        inputs = _inputs(load_mw, time, of_hour, level_mw, spread_mw, horizon)
        by_hour.append((hour, inputs, rest[of_hour]))
        early = of_hour < cut
        solved = _Ridge(inputs[early], rest[of_hour][early])
        errors += [
            float(np.abs(rest[of_hour][~early] - inputs[~early] @ solution).sum()) for solution in map(solved, SHRINKAGES)
        ]
    chosen = SHRINKAGES[int(np.argmin(errors))]
    width = _inputs(load_mw, time, rows[:0], level_mw, spread_mw, horizon).shape[1]
    coefficients = np.zeros((24, width, horizon))
    for hour, inputs, left in by_hour:
        coefficients[hour] = _Ridge(inputs, left)(chosen)
    return HourlyRegressions(level_mw, spread_mw, coefficients)


class _Ridge:
    """The solutions of one regression by shrinkage."""

    def __init__(self, inputs: FloatArray, target: FloatArray) -> None:
        self._rows = max(1, len(inputs))
        self._values, self._vectors = np.linalg.eigh(inputs.T @ inputs)
        self._projected = self._vectors.T @ (inputs.T @ target)

    def __call__(self, shrinkage: float) -> FloatArray:
        shrunk = np.maximum(self._values, 0) + shrinkage * self._rows
        solution: FloatArray = self._vectors @ (self._projected / shrunk[:, None])
        return solution


def _rows_by_hour(time: TimeArray, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    hours = (time[rows].astype("datetime64[h]").astype(np.int64)) % 24
    return ((hour, rows[hours == hour]) for hour in range(24) if (hours == hour).any())


def _inputs(
    load_mw: FloatArray,
    time: TimeArray,
    rows: npt.NDArray[np.int64],
    level_mw: float,
    spread_mw: float,
    horizon: int,
) -> FloatArray:
    """Return what some rows, and the hours that follow, are forecast from. Shape (rows, P)."""
    # Three days, and the same hours a week and two weeks ago with those around.
    lags_h = np.array([*range(1, 74), *range(166 - horizon, 172), *range(336 - horizon, FIRST_ROW + 1)])
    calendar = pd.DatetimeIndex(time[rows])
    angle = 2 * np.pi * np.asarray(calendar.day_of_year, dtype=np.float64) / YEAR_DAYS
    lagged = (load_mw[np.maximum(rows[:, None] - lags_h, 0)] - level_mw) / spread_mw
    weekday = np.asarray(calendar.day_of_week)[:, None] == np.arange(7)
    return np.hstack([lagged, weekday, np.sin(angle)[:, None], np.cos(angle)[:, None], np.ones((len(rows), 1))])
