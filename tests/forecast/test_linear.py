"""Tests of the linear part of a load, against regressions solved one by one in float64."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rnncore.forecast import linear
from rnncore.forecast.features import ArticleScaling, LinearScaling, scaling_facts, scaling_from_facts
from rnncore.forecast.linear import FIRST_ROW, daily_change, fit_hourly_regressions, leads_of
from rnncore.forecast.series import Series

LAGS_H = {1: [*range(1, 74), *range(165, 172), *range(335, 338)], 3: [*range(1, 74), *range(163, 172), *range(333, 338)]}


def _naive_inputs(load_mw: np.ndarray, series: Series, row: int, level: float, spread: float, horizon: int) -> list[float]:
    stamp = series.time[row].astype(object)
    angle = 2 * np.pi * stamp.timetuple().tm_yday / 365.25
    lagged = [(load_mw[row - lag] - level) / spread for lag in LAGS_H[horizon]]
    return [*lagged, *(float(stamp.weekday() == day) for day in range(7)), np.sin(angle), np.cos(angle), 1.0]


@pytest.mark.parametrize("horizon", [1, 3])
@pytest.mark.parametrize("shrinkage", [1e-4, 1.0])
def test_forecasts_are_those_of_regressions_solved_one_by_one(
    horizon: int, shrinkage: float, make_series: Callable[..., Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "SHRINKAGES", (shrinkage,))
    series, fit_rows = make_series("A", hours=1500, seed=3), 1400
    found = fit_hourly_regressions(series.load_mw[:fit_rows], series.time[:fit_rows], horizon).forecast(
        series.load_mw, series.time
    )
    assert found.shape == (1501, horizon)
    load = series.load_mw
    level, spread = load[:fit_rows].mean(), load[:fit_rows].std()

    def rule(row: int, lead: int) -> float:
        return float(load[row - 1] + load[row + lead - 24] - load[row - 25])

    for hour in (0, 5, 23):
        rows = [row for row in range(FIRST_ROW, fit_rows - horizon + 1) if series.time[row].astype(object).hour == hour]
        inputs = np.array([_naive_inputs(load, series, row, level, spread, horizon) for row in rows])
        for lead in range(horizon):
            left = np.array([(load[row + lead] - rule(row, lead)) / spread for row in rows])
            # Ridge as least squares with rows of zeros that pull each coefficient down.
            more = np.sqrt(shrinkage * len(rows)) * np.eye(inputs.shape[1])
            solution = np.linalg.lstsq(np.vstack([inputs, more]), np.append(left, np.zeros(len(more))), rcond=None)[0]
            for row in (rows[0], rows[-1], rows[-1] + 24):
                expected = rule(row, lead) + spread * np.dot(
                    _naive_inputs(load, series, row, level, spread, horizon), solution
                )
                assert found[row, lead] == pytest.approx(expected, rel=1e-7)


def test_the_row_after_the_last_is_forecast_as_if_it_were_there(make_series: Callable[..., Series]) -> None:
    series = make_series("A", hours=800)
    regressions = fit_hourly_regressions(series.load_mw[:700], series.time[:700], 2)
    cut = replace(series, time=series.time[:750], load_mw=series.load_mw[:750])
    whole, short = (regressions.forecast(one.load_mw, one.time) for one in (series, cut))
    np.testing.assert_array_equal(short, whole[:751])


def test_a_rule_of_the_hour_is_found_and_beats_the_daily_change(make_series: Callable[..., Series]) -> None:
    series = make_series("A", hours=24 * 300)
    load_mw = np.random.default_rng(1).uniform(900, 1100, len(series.time))
    hour = np.arange(len(load_mw)) % 24
    for row in range(FIRST_ROW, len(load_mw)):
        if hour[row] == 12:
            load_mw[row] = 200 + 0.5 * load_mw[row - 2] + 0.3 * load_mw[row - 168]
    series = replace(series, load_mw=load_mw)
    regressions = fit_hourly_regressions(load_mw[: 24 * 280], series.time[: 24 * 280], 1)
    forecast_mw = regressions.forecast(load_mw, series.time)[:-1, 0]
    noon = np.flatnonzero((hour == 12) & (np.arange(len(load_mw)) >= 24 * 280))
    assert np.abs(forecast_mw[noon] - load_mw[noon]).max() < 10
    rule_mw = daily_change(load_mw, 1)[:-1, 0]
    assert np.abs(rule_mw[noon] - load_mw[noon]).mean() > 50


def test_a_short_series_of_noise_about_the_daily_change_is_left_to_the_daily_change(
    make_series: Callable[..., Series],
) -> None:
    series = make_series("A", hours=600)
    regressions = fit_hourly_regressions(series.load_mw[:500], series.time[:500], 1)
    forecast_mw = regressions.forecast(series.load_mw, series.time)[500:-1, 0]
    error_mw = np.abs(forecast_mw - series.load_mw[500:]).mean()
    rule_error_mw = np.abs(daily_change(series.load_mw, 1)[500:-1, 0] - series.load_mw[500:]).mean()
    assert error_mw < 1.05 * rule_error_mw


def test_leads_are_the_rows_that_follow() -> None:
    load_mw = np.array([1.0, 2.0, 4.0, 8.0])
    np.testing.assert_array_equal(leads_of(load_mw, 2), [[1, 2], [2, 4], [4, 8], [8, 8]])


def test_the_daily_change_is_yesterdays() -> None:
    load_mw = np.random.default_rng(0).uniform(1, 2, 60)
    found = daily_change(load_mw, 3)
    assert found.shape == (61, 3)
    for row in (30, 60):
        for lead in range(3):
            assert found[row, lead] == pytest.approx(load_mw[row - 1] + load_mw[row + lead - 24] - load_mw[row - 25])


@pytest.mark.parametrize("kind", ["article", "linear"])
def test_scalings_survive_being_written_as_json(kind: str, make_series: Callable[..., Series]) -> None:
    import json

    series = make_series("A", hours=700)
    made = {"article": ArticleScaling, "linear": LinearScaling}[kind].fit(series, slice(0, 600), 2)
    again = scaling_from_facts(kind, json.loads(json.dumps(scaling_facts(made))))  # type: ignore[arg-type]
    one, other = made.describe(series), again.describe(series)
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.offset_mw, other.offset_mw)
    assert made.scale_mw == again.scale_mw
