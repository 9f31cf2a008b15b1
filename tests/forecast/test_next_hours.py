"""Tests of forecasts beyond a series: the same as those of a tested window, bounds that hold, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnncore.errors import DataError, ModelFileError
from rnncore.forecast.next_hours import (
    BOUND_HOURS,
    MOST_FILLED_HOURS,
    filled_rows,
    hourly_rows,
    known_zones,
    next_hours,
    write_hours,
    zone_facts,
    zones_from_facts,
)
from rnncore.forecast.series import Dataset, Float32Array, Series
from rnncore.forecast.windows import WindowConfig, Windows, make_windows

CONFIG = WindowConfig(features="linear", lookback=24, horizon=3, scale_on="train", zones=("A", "B"))


def _sum_of_inputs(inputs: Float32Array) -> Float32Array:
    """Stand in for a model: outputs that hang on every input of a window."""
    weights = np.linspace(-1, 1, inputs[0].size, dtype=np.float32).reshape(inputs[0].shape)
    first = (inputs * weights).sum(axis=(1, 2))
    return np.stack([first, 0.5 * first, -first], axis=1) / 10


@pytest.fixture(scope="module")
def dataset(make_series: Callable[..., Series]) -> Dataset:
    return Dataset("two", (make_series("A", hours=1500, seed=1), make_series("B", hours=1300, seed=2)))


@pytest.fixture(scope="module")
def windows(dataset: Dataset) -> Windows:
    return make_windows(dataset, CONFIG)


def _until(series: Series, end: np.datetime64) -> Series:
    rows = int(np.searchsorted(series.time, end))
    return replace(series, time=series.time[:rows], load_mw=series.load_mw[:rows])


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, features="article")])
@pytest.mark.parametrize("zone_index", [0, 1])
def test_the_hours_after_a_cut_series_are_forecast_as_its_tested_window_is(
    config: WindowConfig, zone_index: int, dataset: Dataset
) -> None:
    windows = make_windows(dataset, config)
    zone, series = windows.zones[zone_index], dataset.series[zone_index]
    known = known_zones(_sum_of_inputs, windows)
    for start in windows.test_start[zone.test][::17]:
        one = np.array([start])
        expected = windows.to_mw(zone, one, _sum_of_inputs(windows.inputs(one)))[0]
        rows = int(windows.target_rows(one)[0]) - zone.rows.start
        # All zones up to the same hour.
        cut = [_until(other, series.time[rows]) for other in dataset.series]
        found = next_hours(_sum_of_inputs, cut, config, known)[zone_index]
        np.testing.assert_allclose(found.load_mw, expected, rtol=1e-9)
        np.testing.assert_array_equal(found.time, series.time[rows : rows + 3])
        assert found.is_known


def test_bounds_hold_nine_in_ten_of_the_tested_hours_at_each_lead(windows: Windows, dataset: Dataset) -> None:
    known = known_zones(_sum_of_inputs, windows)["A"]
    zone = windows.zones[0]
    start = windows.test_start[zone.test]
    assert len(start) < BOUND_HOURS
    forecast_mw = windows.to_mw(zone, start, _sum_of_inputs(windows.inputs(start)))
    load_mw = windows.target_load_mw(start)
    assert known.low is not None
    assert known.high is not None
    inside = (load_mw >= forecast_mw * (1 + np.array(known.low))) & (load_mw <= forecast_mw * (1 + np.array(known.high)))
    np.testing.assert_allclose(inside.mean(axis=0), 0.9, atol=0.02)


def test_zones_survive_being_written_as_json(windows: Windows, dataset: Dataset) -> None:
    known = known_zones(_sum_of_inputs, windows)
    again = zones_from_facts("made", "linear", json.loads(json.dumps(zone_facts(known))))
    one, other = (next_hours(_sum_of_inputs, dataset.series[1:], CONFIG, zones)[0] for zones in (known, again))
    for values in ("load_mw", "low_mw", "high_mw"):
        np.testing.assert_array_equal(getattr(one, values), getattr(other, values))


@pytest.mark.parametrize("facts", [{"A": {}}, {"A": {"scaling": {"level_mw": 1}, "low": None, "high": None}}, {"A": 3}])
def test_damaged_zones_are_told(facts: dict[str, object]) -> None:
    with pytest.raises(ModelFileError, match=r"m\.onnx: its zones are not of this version .* Train the model again"):
        zones_from_facts("m.onnx", "linear", facts)


def test_a_zone_without_tested_hours_has_no_bounds(make_series: Callable[..., Series]) -> None:
    dataset = Dataset("two", (make_series("LONG", hours=2000), make_series("ENDS", hours=600)))
    config = replace(CONFIG, split="date", zones=("LONG", "ENDS"))
    known = known_zones(_sum_of_inputs, make_windows(dataset, config))
    assert known["LONG"].low is not None
    assert (known["ENDS"].low, known["ENDS"].high) == (None, None)
    (found,) = next_hours(_sum_of_inputs, dataset.series[1:], config, known)
    assert (found.low_mw, found.high_mw) == (None, None)


def test_a_zone_that_the_model_does_not_know_is_scaled_by_itself_and_has_no_bounds(
    windows: Windows, make_series: Callable[..., Series]
) -> None:
    series = make_series("NEW", hours=900, seed=5)
    (found,) = next_hours(_sum_of_inputs, [series], CONFIG, known_zones(_sum_of_inputs, windows))
    assert not found.is_known
    assert found.low_mw is None
    assert np.all(np.abs(found.load_mw - series.load_mw.mean()) < 500)


def test_too_short_a_series_is_told(windows: Windows, make_series: Callable[..., Series]) -> None:
    series = make_series("A", hours=360)
    with pytest.raises(DataError, match=r"A: has 360 hours, but a forecast needs the last 361\. Give a longer series\."):
        next_hours(_sum_of_inputs, [series], CONFIG, known_zones(_sum_of_inputs, windows))


def _without(series: Series, rows: slice) -> Series:
    return replace(series, time=np.delete(series.time, rows), load_mw=np.delete(series.load_mw, rows))


def test_a_long_gap_in_the_hours_that_are_needed_is_told_and_one_before_them_is_not(
    windows: Windows, dataset: Dataset
) -> None:
    known, series = known_zones(_sum_of_inputs, windows), dataset.series[0]
    long = MOST_FILLED_HOURS + 1
    with pytest.raises(DataError, match=rf"A: {long} hours are missing after 2017-07-.*, but a forecast needs the last"):
        next_hours(_sum_of_inputs, [_without(series, slice(1400, 1400 + long))], CONFIG, known)
    (found,) = next_hours(_sum_of_inputs, [_without(series, slice(1000, 1000 + long))], CONFIG, known)
    assert len(found.load_mw) == 3
    assert not len(found.filled)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, features="article")])
@pytest.mark.parametrize("gap", [slice(1490, 1491), slice(1484, 1484 + MOST_FILLED_HOURS), slice(1498, 1499)])
def test_a_short_gap_is_filled_and_named_and_hardly_changes_the_forecast(
    config: WindowConfig, gap: slice, dataset: Dataset
) -> None:
    series, known = dataset.series[0], known_zones(_sum_of_inputs, make_windows(dataset, config))
    (found,) = next_hours(_sum_of_inputs, [_without(series, gap)], config, known)
    np.testing.assert_array_equal(found.filled, series.time[gap])
    spread_mw = series.load_mw.std()
    assert np.abs(found.filled_mw - series.load_mw[gap]).max() < spread_mw
    assert [row["time"] for row in filled_rows([found])] == [str(time).replace("T", " ") for time in series.time[gap]]
    (whole,) = next_hours(_sum_of_inputs, [series], config, known)
    assert np.abs(found.load_mw - whole.load_mw).max() < spread_mw
    assert not len(whole.filled)


def test_a_missing_hour_is_what_the_regressions_forecast_of_the_hours_before_it(windows: Windows, dataset: Dataset) -> None:
    # The expected hour is worked out from a series that ends before the gap, where nothing after it can be seen.
    known, series = known_zones(_sum_of_inputs, windows), dataset.series[0]
    before = replace(series, time=series.time[:1400], load_mw=series.load_mw[:1400])
    (found,) = next_hours(_sum_of_inputs, [_without(series, slice(1400, 1401))], CONFIG, known)
    expected = windows.zones[0].scaling.describe(before).offset_mw[-1, 0]
    np.testing.assert_allclose(found.filled_mw, [expected], rtol=1e-9)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_forecast_that_is_no_number_is_refused(value: float, windows: Windows, dataset: Dataset) -> None:
    def predict(inputs: np.ndarray) -> np.ndarray:
        return np.full((len(inputs), 3), value, dtype=np.float32)

    with pytest.raises(DataError, match=r"A: 3 of 3 forecasts are NaN or infinite"):
        next_hours(predict, dataset.series[:1], CONFIG, known_zones(_sum_of_inputs, windows))


def test_the_lower_bound_of_a_load_below_zero_lies_below_it(windows: Windows, dataset: Dataset) -> None:
    known = known_zones(_sum_of_inputs, windows)["A"]
    zone = replace(known, low=(-0.1,) * 3, high=(0.2,) * 3)
    (found,) = next_hours(lambda inputs: np.full((len(inputs), 3), -1e4), dataset.series[:1], CONFIG, {"A": zone})
    assert (found.load_mw < 0).all()
    assert (found.low_mw < found.load_mw).all()
    assert (found.load_mw < found.high_mw).all()


def test_forecasts_of_zero_leave_no_bounds(windows: Windows) -> None:
    level = replace(windows, offset_mw=np.zeros_like(windows.offset_mw))
    known = known_zones(lambda inputs: np.zeros((len(inputs), CONFIG.horizon), dtype=np.float32), level)
    assert [(zone.low, zone.high) for zone in known.values()] == [(None, None)] * len(known)


def test_hours_are_written_as_a_csv_that_can_be_read(windows: Windows, dataset: Dataset, tmp_path: Path) -> None:
    (forecast,) = next_hours(_sum_of_inputs, dataset.series[:1], CONFIG, known_zones(_sum_of_inputs, windows))
    rows = hourly_rows([forecast])
    write_hours(tmp_path / "next.csv", rows)
    lines = (tmp_path / "next.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "zone,time,load_mw,low_mw,high_mw"
    assert [line.split(",")[0] for line in lines[1:]] == ["A"] * 3
    assert [float(line.split(",")[2]) for line in lines[1:]] == forecast.load_mw.tolist()
    assert [row["time"] for row in rows] == [str(time).replace("T", " ") for time in forecast.time]
