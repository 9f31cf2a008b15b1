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

# Three days, a week ago and two weeks ago, each with the hours around.
LAGS_H = np.array([*range(1, 74), *range(165, 172), *range(335, 338)])
FIRST_ROW = int(LAGS_H[-1])

YEAR_DAYS = 365.25

# Rows of prior belief in the daily change, per fitted row; the choice is made once for all hours of a zone.
SHRINKAGES = (1e-6, 1e-4, 1e-2, 1.0, 100.0)

# Part of the fitted hours, at their end, on which it is made.
CHOOSING_SHARE = 0.1

# Twice this many fitted rows would tell an hour's regression something about each of its inputs.
_INPUTS = len(LAGS_H) + 7 + 2 + 1


@dataclass(frozen=True)
class HourlyRegressions:
    """Regressions of one zone.

    Attributes:
        level_mw: Mean load that inputs are centred by.
        spread_mw: Standard deviation that inputs and outputs are scaled by.
        coefficients: Of lags, weekdays, season and constant, by hour of the day. Shape (24, P).
    """

    level_mw: float
    spread_mw: float
    coefficients: FloatArray

    def forecast_mw(self, load_mw: FloatArray, time: TimeArray) -> FloatArray:
        """Forecast each row, and the one after the last, from the rows before it.

        Args:
            load_mw: Loads. Shape (N,).
            time: Their times. Shape (N,).

        Returns:
            Forecasts; those of the first rows, where lags reach before the series, say nothing. Shape (N + 1,).
        """
        rule_mw, every_time = daily_change_mw(load_mw), np.append(time, time[-1] + HOUR)
        forecast_mw = rule_mw.copy()
        for hour, rows in _rows_by_hour(every_time, np.arange(len(every_time))):
            inputs = _inputs(load_mw, every_time, rows, self.level_mw, self.spread_mw)
            forecast_mw[rows] += self.spread_mw * (inputs @ self.coefficients[hour])
        return forecast_mw


def daily_change_mw(load_mw: FloatArray) -> FloatArray:
    """Forecast each row, and the one after the last, by y[t-1] + (y[t-24] - y[t-25]). Shape (N + 1,)."""
    row = np.arange(len(load_mw) + 1)
    change = np.diff(load_mw, prepend=load_mw[:1])
    return load_mw[np.maximum(row - 1, 0)] + change[np.maximum(row - DAY_H, 0)]


def fit_hourly_regressions(series: Series, fit: slice) -> HourlyRegressions:
    """Fit the regressions of a zone.

    Args:
        series: The zone.
        fit: Rows that may be learnt from; none of later rows is looked at.

    Source:
        Hoerl, A. E. & Kennard, R. W. (1970). Ridge regression: biased estimation for nonorthogonal problems.
        Technometrics 12(1), 55-67.
    """
    load_mw, time = series.load_mw[fit], series.time[fit]
    level_mw, spread_mw = float(load_mw.mean()), float(load_mw.std()) or 1.0
    rest = (load_mw - daily_change_mw(load_mw)[:-1]) / spread_mw
    rows = np.arange(FIRST_ROW, len(load_mw))
    cut = len(load_mw) - int(CHOOSING_SHARE * len(rows))
    coefficients = np.zeros((24, _INPUTS))
    by_hour: list[tuple[int, FloatArray, FloatArray]] = []
    errors = np.zeros(len(SHRINKAGES))
    for hour, of_hour in _rows_by_hour(time, rows):
        inputs = _inputs(load_mw, time, of_hour, level_mw, spread_mw)
        by_hour.append((hour, inputs, rest[of_hour]))
        early = of_hour < cut
        solved = _Ridge(inputs[early], rest[of_hour][early])
        errors += [
            float(np.abs(rest[of_hour][~early] - inputs[~early] @ solution).sum()) for solution in map(solved, SHRINKAGES)
        ]
    chosen = SHRINKAGES[int(np.argmin(errors))]
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
        solution: FloatArray = self._vectors @ (self._projected / (np.maximum(self._values, 0) + shrinkage * self._rows))
        return solution


def _rows_by_hour(time: TimeArray, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    hours = (time[rows].astype("datetime64[h]").astype(np.int64)) % 24
    return ((hour, rows[hours == hour]) for hour in range(24) if (hours == hour).any())


def _inputs(
    load_mw: FloatArray, time: TimeArray, rows: npt.NDArray[np.int64], level_mw: float, spread_mw: float
) -> FloatArray:
    """Return what some rows are forecast from. Shape (rows, P)."""
    calendar = pd.DatetimeIndex(time[rows])
    angle = 2 * np.pi * np.asarray(calendar.day_of_year, dtype=np.float64) / YEAR_DAYS
    lagged = (load_mw[np.maximum(rows[:, None] - LAGS_H, 0)] - level_mw) / spread_mw
    weekday = np.asarray(calendar.day_of_week)[:, None] == np.arange(7)
    return np.hstack([lagged, weekday, np.sin(angle)[:, None], np.cos(angle)[:, None], np.ones((len(rows), 1))])
