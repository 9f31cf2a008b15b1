"""Forecasts that any trained network has to beat: naive rules and least squares.

All of them forecast the test hours of `Windows`, and the leads after them, from rows of the same zone before the tested
hour, by position, as the article's windows do. The linear models are fitted on the hours before the tested ones, directly
for each lead.
"""

from collections.abc import Callable, Iterator

import numpy as np

from rnncore.errors import DataError
from rnncore.forecast.linear import DAY_H, WEEK_H
from rnncore.forecast.magnitude import believed_between, in_units, unit_of
from rnncore.forecast.scoring import Scores, score_forecasts
from rnncore.forecast.series import HOUR, FloatArray, TimeArray
from rnncore.forecast.windows import RowArray, Windows, ZoneWindows

# The forecasts of a zone in MW. Shape (test hours, L).
Baseline = Callable[[Windows, ZoneWindows], FloatArray]

AR_LAGS = 90
PER_HOUR_LAGS = 73

# Hours that the regressions need: for each hour of the day two rows per coefficient.
PER_HOUR_HISTORY = DAY_H * 2 * (PER_HOUR_LAGS + 7)

# Far below the squared loads it is added to, which are about 1 in their unit: only keeps the normal equations solvable when
# inputs repeat.
RIDGE = 1e-9

# Of gradient boosting: loads before the row, and the model's size.
BOOSTED_LAGS_H = (*range(1, 25), *range(47, 50), *range(71, 74), *range(143, 146), *range(167, 170), *range(335, 338))
BOOSTED_TREES, BOOSTED_RATE, BOOSTED_LEAVES = 400, 0.1, 31


def baseline_forecasts(windows: Windows, boosting: bool = False) -> Iterator[tuple[str, dict[str, FloatArray]]]:
    """Forecast the test hours by every baseline.

    Args:
        windows: The windows whose test hours are forecast.
        boosting: Forecast by gradient boosting too, which takes a minute for a lead of twelve zones of years.

    Yields:
        The name of a baseline and its forecasts by zone, in order of time: persistence, seasonal naive of a day and of a
        week, AR(90) and 24 per-hour regressions. Shapes (N, L).

    Raises:
        DataError: If a zone has too few rows before its test hours.
    """
    zones = [zone for zone in windows.zones if zone.test.stop > zone.test.start]
    for zone in zones:
        # The most that any of them needs: a series that is made longer must not be refused again by the next.
        _tested_rows(windows, zone, PER_HOUR_HISTORY)
    for name, forecast in (BASELINES | (SLOW_BASELINES if boosting else {})).items():
        yield name, {zone.name: forecast(windows, zone) for zone in zones}


def baseline_scores(windows: Windows, boosting: bool = False) -> list[Scores]:
    """Score every baseline on the test hours; arguments and errors as of `baseline_forecasts`, whose order is kept."""
    return [score_forecasts(name, forecasts, windows) for name, forecasts in baseline_forecasts(windows, boosting)]


def _tested_rows(windows: Windows, zone: ZoneWindows, needed: int) -> RowArray:
    """Return the tested rows of a zone, which has at least *needed* hours before them."""
    tested = windows.target_rows(windows.test_start[zone.test])
    have = int(tested[0]) - zone.rows.start
    if have < needed:
        raise DataError(
            f"{zone.name}: {have} hours lie before the first test hour, but the baselines need {needed}. "
            "Give a longer series, or score a model without them (--no-baselines)."
        )
    return tested


def _same_load_before(lag_h: int) -> Baseline:
    def forecast(windows: Windows, zone: ZoneWindows) -> FloatArray:
        tested = _tested_rows(windows, zone, lag_h)
        # A lead beyond the lag repeats what is known of it.
        lead = np.arange(windows.config.horizon)
        forecast_mw: FloatArray = windows.load_mw[tested[:, None] + lead % lag_h - lag_h]
        return forecast_mw

    return forecast


def _in_own_units(load_mw: FloatArray, first_tested: int) -> tuple[FloatArray, float]:
    """Return the loads of a zone in a unit of their own, as far as they are believed, and the unit in MW.

    Both are taken of the rows before the first that is tested.
    """
    unit_mw = unit_of(load_mw[:first_tested])
    load = in_units(load_mw, unit_mw)
    return np.clip(load, *believed_between(load[:first_tested])), unit_mw


def _fitted_until(first_tested: int, leads: int) -> int:
    """Return the row after the last that is fitted: all of its leads lie before the first tested row."""
    return first_tested - leads + 1


def _least_squares(lags: int, needed: int, is_per_hour: bool = False) -> Baseline:
    """Forecast from the last loads; per hour, by a model for each hour of the day, which knows the weekday too."""

    def forecast(windows: Windows, zone: ZoneWindows) -> FloatArray:
        from sklearn.linear_model import Ridge

        tested, leads = _tested_rows(windows, zone, needed) - zone.rows.start, np.arange(windows.config.horizon)
        load, unit_mw = _in_own_units(windows.load_mw[zone.rows], int(tested[0]))
        fitted = np.arange(lags, _fitted_until(int(tested[0]), len(leads)))
        hours = windows.time[zone.rows].astype("datetime64[h]").astype(np.int64)
        # 1970-01-01, day 0, was a Thursday.
        weekday = (hours // DAY_H + 3) % 7
        model_of_row = hours % DAY_H if is_per_hour else np.zeros_like(hours)

        def inputs(rows: RowArray) -> FloatArray:
            lagged = np.lib.stride_tricks.sliding_window_view(load, lags)[rows - lags]
            # Six dummies: the intercept is that of the seventh day.
            return np.hstack([lagged, weekday[rows, None] == np.arange(1, 7)]) if is_per_hour else lagged

        forecast_mw = np.empty((len(tested), len(leads)))
        for one in np.unique(model_of_row[tested]):
            fit_rows, here = fitted[model_of_row[fitted] == one], model_of_row[tested] == one
            # Least squares by the normal equations: five times faster than by SVD, and equal to 1e-7 % sMAPE on PJM.
            model = Ridge(alpha=RIDGE, solver="cholesky")
            model.fit(inputs(fit_rows), load[fit_rows[:, None] + leads])
            # Of a single lead, scikit-learn leaves out the column.
            forecast_mw[here] = unit_mw * model.predict(inputs(tested[here])).reshape(-1, len(leads))
        return forecast_mw

    return forecast


def _boosted(windows: Windows, zone: ZoneWindows) -> FloatArray:
    """Forecast by gradient boosting, a model per lead: what practitioners reach for.

    It sees a day of loads, those of earlier days and weeks at the hours around, means of a day and a week, and the calendar
    of the hour that is forecast, and learns the change from the last load, as trees forecast nothing beyond what they saw.

    Source:
        Ke, G. et al. (2017). LightGBM: a highly efficient gradient boosting decision tree. NeurIPS 30; scikit-learn's
        HistGradientBoostingRegressor follows it.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    tested = _tested_rows(windows, zone, PER_HOUR_HISTORY) - zone.rows.start
    load, unit_mw = _in_own_units(windows.load_mw[zone.rows], int(tested[0]))
    time, leads = windows.time[zone.rows], windows.config.horizon
    fitted = np.arange(BOOSTED_LAGS_H[-1], _fitted_until(int(tested[0]), leads))
    forecast_mw = np.empty((len(tested), leads))
    for lead in range(leads):
        model = HistGradientBoostingRegressor(
            max_iter=BOOSTED_TREES,
            learning_rate=BOOSTED_RATE,
            max_leaf_nodes=BOOSTED_LEAVES,
            early_stopping=False,
            random_state=0,
        )
        model.fit(_boosted_inputs(load, time, fitted, lead), load[fitted + lead] - load[fitted - 1])
        forecast_mw[:, lead] = unit_mw * (load[tested - 1] + model.predict(_boosted_inputs(load, time, tested, lead)))
    return forecast_mw


def _boosted_inputs(load: FloatArray, time: TimeArray, rows: RowArray, lead: int) -> FloatArray:
    """Return what the hours that lie a lead after some rows are forecast from, before these rows. Shape (rows, P)."""
    import pandas as pd

    total = np.concatenate([[0.0], np.cumsum(load)])
    means = [(total[rows] - total[rows - hours]) / hours for hours in (DAY_H, WEEK_H)]
    # The hour itself is at most a day ahead; its stamp is known, whatever hours are missing.
    calendar = pd.DatetimeIndex(time[rows] + lead * HOUR)
    fields = (calendar.hour, calendar.day_of_week, calendar.month, calendar.day_of_year)
    known = [np.asarray(field, dtype=np.float64) for field in fields]
    return np.column_stack([load[rows[:, None] - np.array(BOOSTED_LAGS_H)], *means, *known])


BASELINES: dict[str, Baseline] = {
    "persistence": _same_load_before(1),
    "seasonal_naive_24": _same_load_before(DAY_H),
    "seasonal_naive_168": _same_load_before(WEEK_H),
    "ar_90": _least_squares(AR_LAGS, 2 * AR_LAGS),
    "per_hour_regressions": _least_squares(PER_HOUR_LAGS, PER_HOUR_HISTORY, is_per_hour=True),
}

# Beside them where there is time.
SLOW_BASELINES: dict[str, Baseline] = {"gradient_boosting": _boosted}
