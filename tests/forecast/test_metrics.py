"""Tests of metrics against loops over single hours, and of their groups."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rnncore.forecast.metrics import (
    QUANTILES,
    Metrics,
    Missed,
    mean_metrics,
    metrics_by,
    missed_by_zone,
    reaches_zero,
)
from rnncore.forecast.series import Dataset, Series
from rnncore.forecast.windows import WindowConfig, Windows, make_windows

CONFIG = WindowConfig(lookback=5, horizon=3)


@pytest.fixture(scope="module")
def windows(make_series: Callable[..., Series]) -> Windows:
    return make_windows(Dataset("two", (make_series("A", hours=2600, seed=1), make_series("B", hours=2000, seed=2))), CONFIG)


@pytest.fixture(scope="module")
def forecasts_mw(windows: Windows) -> dict[str, np.ndarray]:
    """Loads with noise that grows with the lead."""
    found = {}
    for seed, zone in enumerate(windows.zones):
        actual_mw = windows.target_load_mw(windows.test_start[zone.test])
        noise = np.random.default_rng(seed).normal(size=actual_mw.shape)
        found[zone.name] = actual_mw + (10 * noise - 3) * np.arange(1, 4)
    return found


@pytest.fixture(scope="module")
def missed(forecasts_mw: dict[str, np.ndarray], windows: Windows) -> list[Missed]:
    return missed_by_zone(forecasts_mw, windows)


def _pairs(windows: Windows, forecasts_mw: dict[str, np.ndarray], zone: int) -> list[tuple[int, int, float, float]]:
    """Return hour of the day, lead, forecast and load of each tested hour of a zone, from its rows one by one."""
    one = windows.zones[zone]
    pairs = []
    for index, start in enumerate(windows.test_start[one.test].tolist()):
        for lead in range(3):
            row = start + 5 + lead
            hour = windows.time[row].astype(object).hour
            pairs.append((hour, lead, float(forecasts_mw[one.name][index, lead]), float(windows.load_mw[row])))
    return pairs


def _require_loops(found: Metrics, pairs: list[tuple[int, int, float, float]], naive_mw: float) -> None:
    errors = [abs(forecast - load) for _, _, forecast, load in pairs]
    assert found.mae_mw == pytest.approx(sum(errors) / len(errors), rel=1e-12)
    assert found.rmse_mw == pytest.approx(math.sqrt(sum(error**2 for error in errors) / len(errors)), rel=1e-12)
    assert found.wape_pct == pytest.approx(100 * sum(errors) / sum(abs(load) for *_, load in pairs), rel=1e-12)
    assert found.mase == pytest.approx(sum(errors) / len(errors) / naive_mw, rel=1e-12)
    shares = [200 * abs(forecast - load) / (abs(forecast) + abs(load)) for _, _, forecast, load in pairs]
    assert found.smape == pytest.approx(sum(shares) / len(shares), rel=1e-12)


def _naive_mw(windows: Windows, zone: int) -> float:
    one = windows.zones[zone]
    first = int(windows.test_start[one.test][0]) + 5
    errors = [abs(float(windows.load_mw[row] - windows.load_mw[row - 24])) for row in range(one.rows.start + 24, first)]
    return sum(errors) / len(errors)


def test_metrics_of_a_zone_are_those_of_loops(
    missed: list[Missed], forecasts_mw: dict[str, np.ndarray], windows: Windows
) -> None:
    found = metrics_by("zone", missed)
    assert [one.name for one in found] == ["A", "B"]
    for zone in range(2):
        _require_loops(found[zone], _pairs(windows, forecasts_mw, zone), _naive_mw(windows, zone))


def test_metrics_by_hour_and_lead_are_means_over_the_zones(
    missed: list[Missed], forecasts_mw: dict[str, np.ndarray], windows: Windows
) -> None:
    by_hour, by_lead = metrics_by("hour", missed), metrics_by("lead", missed)
    assert [one.name for one in by_hour] == [f"{hour:02}:00" for hour in range(24)]
    assert [one.name for one in by_lead] == ["1 h ahead", "2 h ahead", "3 h ahead"]
    assert by_lead[0].mae_mw < by_lead[1].mae_mw < by_lead[2].mae_mw
    for group, at, index in ((by_hour[7], 7, 0), (by_lead[2], 2, 1)):
        parts = []
        for zone in range(2):
            pairs = [pair for pair in _pairs(windows, forecasts_mw, zone) if pair[index] == at]
            parts.append(sum(abs(forecast - load) for _, _, forecast, load in pairs) / len(pairs))
        assert group.mae_mw == pytest.approx(sum(parts) / 2, rel=1e-12)


def test_bounds_and_quantiles_are_of_the_first_half_and_looked_at_in_the_second(missed: list[Missed]) -> None:
    for one in missed:
        half = len(one.held) // 2
        assert np.isnan(one.held[:half]).all()
        assert np.isnan(one.pinball_mw[:half]).all()
        assert set(np.unique(one.held[half:])) == {0.0, 1.0}
        assert 0.8 < one.held[half:].mean() < 0.98
    found = metrics_by("zone", missed)
    assert found[0].coverage_pct == pytest.approx(100 * np.nanmean(missed[0].held))


def test_an_hour_is_held_by_bounds_that_know_nothing_of_it_and_what_follows(
    missed: list[Missed], forecasts_mw: dict[str, np.ndarray], windows: Windows
) -> None:
    half = len(missed[0].held) // 2
    for after in (half, half + 30):
        changed = {zone: forecast_mw.copy() for zone, forecast_mw in forecasts_mw.items()}
        changed["A"][after + 1 :] += 1e6
        (found, _) = missed_by_zone(changed, windows)
        np.testing.assert_array_equal(found.held[: after + 1], missed[0].held[: after + 1])
        np.testing.assert_array_equal(found.pinball_mw[: after + 1], missed[0].pinball_mw[: after + 1])
        assert (found.pinball_mw[after + 1] > missed[0].pinball_mw[after + 1]).all()


def test_the_pinball_loss_of_a_known_normal_miss_is_near_its_least(windows: Windows) -> None:
    # Of exact quantiles the loss is the normal density there: 0.103, 0.318 and 0.399 of a deviation at 0.05, 0.25, 0.5.
    forecasts = {}
    for seed, zone in enumerate(windows.zones):
        actual_mw = windows.target_load_mw(windows.test_start[zone.test])
        forecasts[zone.name] = actual_mw + 10 * np.random.default_rng(seed).normal(size=actual_mw.shape)
    least_mw = 10 * (2 * 0.1031 + 2 * 0.3178 + 0.3989) / len(QUANTILES)
    for one in metrics_by("zone", missed_by_zone(forecasts, windows)):
        assert 0.8 * least_mw < (one.pinball_mw or 0) < 1.4 * least_mw


def test_a_measure_without_a_meaning_is_none_and_makes_no_mean(missed: list[Missed]) -> None:
    no_load = replace(missed[0], actual_mw=np.zeros_like(missed[0].actual_mw), naive_mae_mw=math.nan)
    (one,) = metrics_by("zone", [no_load])
    assert (one.wape_pct, one.mase) == (None, None)
    mean = mean_metrics("both", [one, *metrics_by("zone", missed[1:])])
    assert (mean.wape_pct, mean.mase) == (None, None)
    assert mean.mae_mw > 0


def test_a_zone_with_a_single_test_hour_has_no_bounds_to_look_at(make_series: Callable[..., Series]) -> None:
    windows = make_windows(Dataset("one", (make_series("A", hours=100),)), WindowConfig(lookback=5))
    assert len(windows.test_start) == 1
    (one,) = metrics_by("zone", missed_by_zone({"A": np.full((1, 1), 900.0)}, windows))
    assert (one.pinball_mw, one.coverage_pct) == (None, None)


@pytest.mark.parametrize(("shift_mw", "is_there"), [(0.0, False), (-1000.0, True), (-9000.0, False)])
def test_loads_of_both_signs_are_noticed(shift_mw: float, is_there: bool, missed: list[Missed]) -> None:
    assert reaches_zero([replace(one, actual_mw=one.actual_mw + shift_mw) for one in missed]) is is_there


def test_a_load_of_zero_is_noticed(missed: list[Missed]) -> None:
    assert reaches_zero([*missed[1:], replace(missed[0], actual_mw=np.maximum(missed[0].actual_mw - 1000, 0))])
