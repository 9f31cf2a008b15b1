"""Tests of forecasts beyond a series: the same as those of a tested window, bounds that hold, and what is refused."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnncore.errors import DataError, ModelFileError
from rnncore.forecast.bounds import bounds_of, quantile_of
from rnncore.forecast.next_hours import (
    BOUND_HOURS,
    MOST_FILLED_HOURS,
    filled_rows,
    hourly_rows,
    known_zones,
    next_hours,
    past_rows,
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


def test_bounds_hold_at_least_nine_in_ten_of_the_hours_that_they_are_made_of(windows: Windows) -> None:
    known = known_zones(_sum_of_inputs, windows)["A"]
    zone = windows.zones[0]
    start = windows.test_start[zone.test]
    assert len(start) < BOUND_HOURS
    forecast_mw = windows.to_mw(zone, start, _sum_of_inputs(windows.inputs(start)))
    load_mw = windows.target_load_mw(start)
    assert known.misses is not None
    low_mw, high_mw = bounds_of(known.misses, windows, zone, start, forecast_mw)
    inside = (load_mw >= low_mw) & (load_mw <= high_mw)
    # Of the hours that they are made of ranks leave in more than nine in ten; of unseen ones, as the tests of `bounds` show.
    assert ((inside.mean(axis=0) >= 0.9) & (inside.mean(axis=0) < 0.98)).all()


def test_bounds_of_the_next_hours_are_those_of_the_window_that_ends_there(windows: Windows, dataset: Dataset) -> None:
    known, zone = known_zones(_sum_of_inputs, windows), windows.zones[0]
    start = windows.test_start[zone.test][40:41]
    row = int(windows.target_rows(start)[0])
    misses = known["A"].misses
    assert misses is not None
    forecast_mw = windows.to_mw(zone, start, _sum_of_inputs(windows.inputs(start)))
    cut = [_until(other, windows.time[row]) for other in dataset.series]
    found = next_hours(_sum_of_inputs, cut, CONFIG, known)[0]
    for level in (0.5, 0.9):
        bounds_mw = found.bounds_mw(level)
        assert bounds_mw is not None
        for one, expected in zip(bounds_mw, bounds_of(misses, windows, zone, start, forecast_mw, level), strict=True):
            np.testing.assert_allclose(one, expected[0], rtol=1e-9)
    quantile_mw = quantile_of(misses, windows, zone, start, forecast_mw, 0.2)[0]
    np.testing.assert_allclose(found.quantile_mw(0.2), quantile_mw, rtol=1e-9)


def test_zones_survive_being_written_as_json(windows: Windows, dataset: Dataset) -> None:
    known = known_zones(_sum_of_inputs, windows)
    again = zones_from_facts("made", "linear", json.loads(json.dumps(zone_facts(known))))
    one, other = (next_hours(_sum_of_inputs, dataset.series[1:], CONFIG, zones)[0] for zones in (known, again))
    np.testing.assert_array_equal(one.load_mw, other.load_mw)
    np.testing.assert_array_equal(one.bounds_mw(0.8), other.bounds_mw(0.8))


def test_how_a_zone_was_read_survives_too_and_files_without_it_are_read(windows: Windows) -> None:
    known = known_zones(_sum_of_inputs, windows)
    zone = replace(known["A"], columns=("north", "south"), resample="1h-sum")
    facts = json.loads(json.dumps(zone_facts({"A": zone})))
    again = zones_from_facts("made", "linear", facts)["A"]
    assert (again.columns, again.resample) == (("north", "south"), "1h-sum")
    with pytest.raises(ModelFileError, match="Train the model again"):
        zones_from_facts("made", "linear", {"A": facts["A"] | {"resample": "2h"}})
    del facts["A"]["columns"], facts["A"]["resample"]
    earlier = zones_from_facts("made", "linear", facts)["A"]
    assert (earlier.columns, earlier.resample) == ((), None)


@pytest.mark.parametrize("facts", [{"A": {}}, {"A": {"scaling": {"level_mw": 1}, "low": None, "high": None}}, {"A": 3}])
def test_damaged_zones_are_told(facts: dict[str, object]) -> None:
    with pytest.raises(ModelFileError, match=r"m\.onnx: its zones are not of this version .* Train the model again"):
        zones_from_facts("m.onnx", "linear", facts)


def test_a_zone_without_tested_hours_has_no_bounds(make_series: Callable[..., Series]) -> None:
    dataset = Dataset("two", (make_series("LONG", hours=2000), make_series("ENDS", hours=600)))
    config = replace(CONFIG, split="date", zones=("LONG", "ENDS"))
    known = known_zones(_sum_of_inputs, make_windows(dataset, config))
    assert known["LONG"].misses is not None
    assert known["ENDS"].misses is None
    (found,) = next_hours(_sum_of_inputs, dataset.series[1:], config, known)
    assert (found.bounds_mw(), found.quantile_mw(0.5)) == (None, None)
    assert found.no_misses_why == "no hours of this zone were tested when the model was trained"


def test_a_zone_that_the_model_does_not_know_is_scaled_by_itself_and_has_no_bounds(
    windows: Windows, make_series: Callable[..., Series]
) -> None:
    series = make_series("NEW", hours=900, seed=5)
    (found,) = next_hours(_sum_of_inputs, [series], CONFIG, known_zones(_sum_of_inputs, windows))
    assert not found.is_known
    assert found.bounds_mw() is None
    assert found.no_misses_why is not None
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


def _with_level(series: Series, level_mw: float) -> Series:
    return replace(series, load_mw=series.load_mw - series.load_mw.mean() + level_mw)


@pytest.mark.parametrize("level_mw", [-900.0, 0.0, 30.0])
def test_bounds_hold_the_forecast_and_the_load_whatever_its_sign(level_mw: float, dataset: Dataset) -> None:
    moved = Dataset("moved", tuple(_with_level(one, level_mw) for one in dataset.series))
    windows = make_windows(moved, CONFIG)
    known, zone = known_zones(_sum_of_inputs, windows)["A"], windows.zones[0]
    start = windows.test_start[zone.test]
    forecast_mw = windows.to_mw(zone, start, _sum_of_inputs(windows.inputs(start)))
    assert known.misses is not None
    low_mw, high_mw = bounds_of(known.misses, windows, zone, start, forecast_mw)
    assert (low_mw <= forecast_mw).all()
    assert (forecast_mw <= high_mw).all()
    load_mw = windows.target_load_mw(start)
    assert ((load_mw >= low_mw) & (load_mw <= high_mw)).mean() > 0.88


def test_a_model_file_with_shares_of_the_forecast_has_no_bounds_and_says_why(windows: Windows, dataset: Dataset) -> None:
    facts = zone_facts(known_zones(_sum_of_inputs, windows))
    earlier = {name: {"scaling": zone["scaling"], "low": [-0.1] * 3, "high": [0.1] * 3} for name, zone in facts.items()}
    (found,) = next_hours(_sum_of_inputs, dataset.series[:1], CONFIG, zones_from_facts("earlier", "linear", earlier))
    assert found.is_known
    assert found.bounds_mw() is None
    assert found.no_misses_why is not None
    assert "train the model again for bounds" in found.no_misses_why


def test_hours_are_written_as_a_csv_that_can_be_read(windows: Windows, dataset: Dataset, tmp_path: Path) -> None:
    (forecast,) = next_hours(_sum_of_inputs, dataset.series[:1], CONFIG, known_zones(_sum_of_inputs, windows))
    rows = hourly_rows([forecast])
    write_hours(tmp_path / "next.csv", rows)
    lines = (tmp_path / "next.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "zone,time,load_mw,low_mw,high_mw,kind"
    assert [line.split(",")[-1] for line in lines[1:]] == ["forecast"] * 3
    assert [line.split(",")[0] for line in lines[1:]] == ["A"] * 3
    assert [float(line.split(",")[2]) for line in lines[1:]] == forecast.load_mw.tolist()
    assert [row["time"] for row in rows] == [str(time).replace("T", " ") for time in forecast.time]


def test_hours_that_were_filled_come_first_and_are_marked(windows: Windows, dataset: Dataset, tmp_path: Path) -> None:
    whole = dataset.series[0]
    kept = np.arange(len(whole.time)) != len(whole.time) - 30
    gap = replace(whole, time=whole.time[kept], load_mw=whole.load_mw[kept])
    forecasts = next_hours(_sum_of_inputs, [gap], CONFIG, known_zones(_sum_of_inputs, windows))
    write_hours(tmp_path / "next.csv", hourly_rows(forecasts), filled_rows(forecasts))
    rows = list(csv.DictReader((tmp_path / "next.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["kind"] for row in rows] == ["filled", "forecast", "forecast", "forecast"]
    assert rows[0]["time"] == str(whole.time[-30]).replace("T", " ")
    assert (rows[0]["low_mw"], rows[0]["high_mw"]) == ("", "")
    assert float(rows[0]["load_mw"]) == forecasts[0].filled_mw[0]
    past = past_rows([gap], forecasts, 48)
    assert [row["time"] for row in past] == [str(time).replace("T", " ") for time in whole.time[-48:]]
    assert past[-30]["load_mw"] == forecasts[0].filled_mw[0]


@pytest.mark.parametrize("factor", [1e-3, 0.01, 100.0, 1e3])
def test_loads_in_another_unit_than_those_of_the_training_are_refused(
    factor: float, windows: Windows, dataset: Dataset
) -> None:
    one = dataset.series[0]
    known = known_zones(_sum_of_inputs, windows)
    with pytest.raises(DataError, match=r"^A: loads are about .* MW, but the model was trained on about .*another unit"):
        next_hours(_sum_of_inputs, [replace(one, load_mw=one.load_mw * factor)], CONFIG, known)
    for usual in (0.2, 1.0, 5.0):
        next_hours(_sum_of_inputs, [replace(one, load_mw=one.load_mw * usual)], CONFIG, known)


def test_several_levels_and_quantiles_have_columns_of_their_own(windows: Windows, dataset: Dataset) -> None:
    (forecast,) = next_hours(_sum_of_inputs, dataset.series[:1], CONFIG, known_zones(_sum_of_inputs, windows))
    rows = hourly_rows([forecast], (0.5, 0.9), (0.1, 0.5))
    ends = ["low_50_mw", "high_50_mw", "low_90_mw", "high_90_mw"]
    assert list(rows[0]) == ["zone", "time", "load_mw", *ends, "q0.1_mw", "q0.5_mw"]
    for row in rows:
        assert row["low_90_mw"] < row["low_50_mw"] <= row["load_mw"] <= row["high_50_mw"] < row["high_90_mw"]
        assert row["q0.1_mw"] < row["q0.5_mw"]


def test_a_level_that_the_held_out_hours_are_too_few_for_has_no_bounds(windows: Windows, dataset: Dataset) -> None:
    (forecast,) = next_hours(_sum_of_inputs, dataset.series[:1], CONFIG, known_zones(_sum_of_inputs, windows))
    assert [(row["low_mw"], row["high_mw"]) for row in hourly_rows([forecast], (0.999,))] == [(None, None)] * 3
