"""The linear part of a load: 24 ridge regressions of a zone, one per hour of the day, on its earlier loads.

They forecast what is left over the daily change, y[t-1] + (y[t-24] - y[t-25]), and shrink to it: where a series is too short
to learn more, that is what they forecast. How much they shrink is chosen on the last part of the fitted hours.

Loads are in one unit throughout, whichever; so are forecasts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnncore.forecast.series import HOUR, FloatArray, TimeArray

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
        level: Mean load that inputs are centred by.
        spread: Standard deviation that inputs and outputs are scaled by.
        coefficients: Of lags, weekdays, season and constant, by hour of the day, for each lead. Shape (24, P, L).
        missed: Standard deviation of what they leave over on the rows that they were fitted on.
    """

    level: float
    spread: float
    coefficients: FloatArray
    missed: float

    def forecast(self, load: FloatArray, time: TimeArray) -> FloatArray:
        """Forecast each row, and the one after the last, with the hours that follow, from the rows before it.

        Args:
            load: Loads. Shape (N,).
            time: Their times. Shape (N,).

        Returns:
            Forecasts; those of the first rows, where lags reach before the series, mean nothing. Shape (N + 1, L).
        """
        horizon = self.coefficients.shape[2]
        forecast, every_time = daily_change(load, horizon), np.append(time, time[-1] + HOUR)
        for hour, rows in _rows_by_hour(every_time, np.arange(len(every_time))):
            inputs = _inputs(load, every_time, rows, self.level, self.spread, horizon)
            forecast[rows] += self.spread * (inputs @ self.coefficients[hour])
        return forecast


def daily_change(load: FloatArray, horizon: int) -> FloatArray:
    """Forecast each row, and the one after the last, with the hours that follow, by yesterday's change since the same hour.

    Args:
        load: Loads. Shape (N,).
        horizon: Leads, L, at most a day.

    Returns:
        y[t-1] + (y[t+l-24] - y[t-25]) for row t and lead l from 0. Shape (N + 1, L).
    """
    row = np.arange(len(load) + 1)[:, None]
    yesterday = load[np.maximum(row + np.arange(horizon) - DAY_H, 0)]
    change: FloatArray = yesterday - load[np.maximum(row - DAY_H - 1, 0)]
    return load[np.maximum(row - 1, 0)] + change


def leads_of(load: FloatArray, horizon: int) -> FloatArray:
    """Return the load of each row and of the rows that follow; beyond the last row its own. Shape (N, L)."""
    row = np.arange(len(load))[:, None]
    leads: FloatArray = load[np.minimum(row + np.arange(horizon), len(load) - 1)]
    return leads


def fit_hourly_regressions(load: FloatArray, time: TimeArray, horizon: int) -> HourlyRegressions:
    """Fit the regressions of a zone.

    Args:
        load: Loads that may be learnt from. Shape (N,).
        time: Their times. Shape (N,).
        horizon: Leads, L, at most a day.

    Source:
        Hoerl, A. E. & Kennard, R. W. (1970). Ridge regression: biased estimation for nonorthogonal problems.
        Technometrics 12(1), 55-67.
    """
    level, spread = float(load.mean()), float(load.std()) or 1.0
    rest = (leads_of(load, horizon) - daily_change(load, horizon)[:-1]) / spread
    rows = np.arange(FIRST_ROW, len(load) - horizon + 1)
    cut = len(load) - int(CHOOSING_SHARE * len(rows))
    by_hour: list[tuple[int, FloatArray, FloatArray, NormalEquations]] = []
    errors = np.zeros(len(SHRINKAGES))
    for hour, of_hour in _rows_by_hour(time, rows):
        inputs, left = _inputs(load, time, of_hour, level, spread, horizon), rest[of_hour]
        early = int(np.searchsorted(of_hour, cut))
        normal, late = NormalEquations.of(inputs, left), NormalEquations.of(inputs[early:], left[early:])
        by_hour.append((hour, inputs, left, normal))
        solutions = normal.without(late).solutions(SHRINKAGES)
        errors += [float(np.abs(left[early:] - inputs[early:] @ solution).sum()) for solution in solutions]
    chosen = SHRINKAGES[int(np.argmin(errors))]
    width = _inputs(load, time, rows[:0], level, spread, horizon).shape[1]
    coefficients = np.zeros((24, width, horizon))
    left_over: list[FloatArray] = []
    for hour, inputs, left, normal in by_hour:
        (coefficients[hour],) = normal.solutions([chosen])
        left_over.append(left - inputs @ coefficients[hour])
    missed = spread * float(np.concatenate(left_over).std()) if left_over else 0.0
    return HourlyRegressions(level, spread, coefficients, missed)


@dataclass(frozen=True)
class NormalEquations:
    """What a least-squares problem comes down to.

    Attributes:
        rows: Its rows.
        gram: Inputs by inputs. Shape (P, P).
        moment: Inputs by targets. Shape (P, L).
    """

    rows: int
    gram: FloatArray
    moment: FloatArray

    @classmethod
    def of(cls, inputs: FloatArray, target: FloatArray) -> "NormalEquations":
        """Return those of inputs, shape (rows, P), and targets, shape (rows, L)."""
        return cls(len(inputs), inputs.T @ inputs, inputs.T @ target)

    def without(self, some: "NormalEquations") -> "NormalEquations":
        """Return those of the rows that are not among some of them."""
        return NormalEquations(self.rows - some.rows, self.gram - some.gram, self.moment - some.moment)

    def solutions(self, shrinkages: Sequence[float]) -> list[FloatArray]:
        """Return the coefficients for each prior weight per row. Shapes (P, L)."""
        values, vectors = np.linalg.eigh(self.gram)
        projected = vectors.T @ self.moment
        # Rounding leaves values that are 0 a little below it.
        return [
            vectors @ (projected / (np.maximum(values, 0) + shrinkage * max(1, self.rows))[:, None])
            for shrinkage in shrinkages
        ]


def _rows_by_hour(time: TimeArray, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    hours = (time[rows].astype("datetime64[h]").astype(np.int64)) % 24
    return ((hour, rows[hours == hour]) for hour in range(24) if (hours == hour).any())


def _inputs(
    load: FloatArray,
    time: TimeArray,
    rows: npt.NDArray[np.int64],
    level: float,
    spread: float,
    horizon: int,
) -> FloatArray:
    """Return what some rows, and the hours that follow, are forecast from. Shape (rows, P)."""
    import pandas as pd

    # Three days, and the same hours a week and two weeks ago with those around.
    lags_h = np.array([*range(1, 74), *range(166 - horizon, 172), *range(336 - horizon, FIRST_ROW + 1)])
    calendar = pd.DatetimeIndex(time[rows])
    angle = 2 * np.pi * np.asarray(calendar.day_of_year, dtype=np.float64) / YEAR_DAYS
    lagged = (load[np.maximum(rows[:, None] - lags_h, 0)] - level) / spread
    weekday = np.asarray(calendar.day_of_week)[:, None] == np.arange(7)
    return np.hstack([lagged, weekday, np.sin(angle)[:, None], np.cos(angle)[:, None], np.ones((len(rows), 1))])
