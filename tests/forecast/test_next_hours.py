"""Tests of forecasts beyond a series: the same as those of a tested window, bounds that hold, and what is refused."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rnncore.errors import DataError, ModelFileError
from rnncore.forecast import bounds
from rnncore.forecast import next_hours as next_hours_module
from rnncore.forecast.bounds import Bounds, Misses, bounds_after, bounds_of
from rnncore.forecast.next_hours import (
    BOUND_HOURS,
    FOLLOWED_HOURS,
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


def test_bounds_hold_at_least_nine_in_ten_of_the_hours_that_they_are_made_of(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As they were made: where they do not follow what was missed before.
    for step in ("WIDENING", "WIDENING_OF_HOUR"):
        monkeypatch.setattr(bounds, step, 0.0)
    known = known_zones(_sum_of_inputs, windows)["A"]
    zone = windows.zones[0]
    start = windows.test_start[zone.test]
    assert len(start) < BOUND_HOURS
    forecast_mw = windows.to_mw(zone, start, _sum_of_inputs(windows.inputs(start)))
    load_mw = windows.target_load_mw(start)
    assert known.misses is not None
    low_mw, high_mw = bounds_of(known.misses, windows, zone, start, forecast_mw).between_mw()
    inside = (load_mw >= low_mw) & (load_mw <= high_mw)
    # Of the hours that they are made of ranks leave in more than nine in ten; of unseen ones, as the tests of `bounds` show.
    assert ((inside.mean(axis=0) >= 0.9) & (inside.mean(axis=0) < 0.98)).all()


def test_bounds_of_the_next_hours_are_those_of_the_window_that_ends_there(windows: Windows, dataset: Dataset) -> None:
    known, zone = known_zones(_sum_of_inputs, windows), windows.zones[0]
    # Those before it in the tested part are followed.
    start = windows.test_start[zone.test][:41]
    row = int(windows.target_rows(start)[-1])
    misses = known["A"].misses
    assert misses is not None
    forecast_mw = windows.to_mw(zone, start, _sum_of_inputs(windows.inputs(start)))
    expected = bounds_of(misses, windows, zone, start, forecast_mw)
    cut = [_until(other, windows.time[row]) for other in dataset.series]
    found = next_hours(_sum_of_inputs, cut, CONFIG, known)[0].bounds
    assert found is not None
    for level in (0.5, 0.9):
        for one, of_windows in zip(found.between_mw(level), expected.between_mw(level), strict=True):
            np.testing.assert_allclose(one, of_windows[-1], rtol=1e-9)
    np.testing.assert_allclose(found.quantile_mw(0.2), expected.quantile_mw(0.2)[-1], rtol=1e-9)


def test_bounds_follow_no_hour_that_was_trained_on_and_of_a_file_of_before_none(windows: Windows, dataset: Dataset) -> None:
    known = known_zones(_sum_of_inputs, windows)
    assert known["A"].held_out_from == windows.time[windows.target_rows(windows.test_start[windows.zones[0].test])[0]]
    followed: list[int] = []

    def predict(inputs: Float32Array) -> Float32Array:
        followed.append(len(inputs))
        return _sum_of_inputs(inputs)

    (found,) = next_hours(predict, dataset.series[:1], CONFIG, known)
    # The hour itself, and the tested ones.
    assert sum(followed) == 1 + windows.zones[0].test.stop - windows.zones[0].test.start + CONFIG.horizon - 1
    followed.clear()
    earlier = {"A": replace(known["A"], held_out_from=None)}
    (still,) = next_hours(predict, dataset.series[:1], CONFIG, earlier)
    assert sum(followed) == 1
    assert found.bounds is not None
    assert still.bounds is not None
    assert (found.bounds.times != still.bounds.times).any()
    np.testing.assert_array_equal(found.load_mw, still.load_mw)


def test_no_more_hours_are_followed_than_weeks_ask_for(windows: Windows, make_series: Callable[..., Series]) -> None:
    known, series = known_zones(_sum_of_inputs, windows), make_series("A", hours=1500 + FOLLOWED_HOURS, seed=1)
    followed: list[int] = []

    def predict(inputs: Float32Array) -> Float32Array:
        followed.append(len(inputs))
        return _sum_of_inputs(inputs)

    next_hours(predict, [series], CONFIG, known)
    assert sum(followed) == 1 + FOLLOWED_HOURS


def test_zones_survive_being_written_as_json(windows: Windows, dataset: Dataset) -> None:
    known = known_zones(_sum_of_inputs, windows)
    again = zones_from_facts("made", "linear", json.loads(json.dumps(zone_facts(known))))
    one, other = (next_hours(_sum_of_inputs, dataset.series[1:], CONFIG, zones)[0] for zones in (known, again))
    np.testing.assert_array_equal(one.load_mw, other.load_mw)
    assert one.bounds is not None
    assert other.bounds is not None
    np.testing.assert_array_equal(one.bounds.between_mw(0.8), other.bounds.between_mw(0.8))
    assert (one.bounds.times != 1).any()


def test_how_a_zone_was_read_survives_too_and_files_without_it_are_read(windows: Windows) -> None:
    known = known_zones(_sum_of_inputs, windows)
    zone = replace(known["A"], columns=("north", "south"), resample="1h-sum")
    facts = json.loads(json.dumps(zone_facts({"A": zone})))
    again = zones_from_facts("made", "linear", facts)["A"]
    assert (again.columns, again.resample) == (("north", "south"), "1h-sum")
    with pytest.raises(ModelFileError, match="Train the model again"):
        zones_from_facts("made", "linear", {"A": facts["A"] | {"resample": "2h"}})
    del facts["A"]["columns"], facts["A"]["resample"], facts["A"]["held_out_from"]
    earlier = zones_from_facts("made", "linear", facts)["A"]
    assert (earlier.columns, earlier.resample, earlier.held_out_from) == ((), None, None)


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
    assert found.bounds is None
    assert found.no_misses_why == "no hours of this zone were tested when the model was trained"


def test_a_zone_that_the_model_does_not_know_is_scaled_by_itself_and_has_no_bounds(
    windows: Windows, make_series: Callable[..., Series]
) -> None:
    series = make_series("NEW", hours=900, seed=5)
    (found,) = next_hours(_sum_of_inputs, [series], CONFIG, known_zones(_sum_of_inputs, windows))
    assert not found.is_known
    assert found.bounds is None
    assert found.no_misses_why is not None
    assert np.all(np.abs(found.load_mw - series.load_mw.mean()) < 500)


def test_too_short_a_series_is_told(windows: Windows, make_series: Callable[..., Series]) -> None:
    series = make_series("A", hours=360)
    with pytest.raises(DataError, match=r"A: has 360 hours, but a forecast needs the last 361\. Give a longer series\."):
        next_hours(_sum_of_inputs, [series], CONFIG, known_zones(_sum_of_inputs, windows))


def test_an_hour_that_is_there_twice_is_told_and_does_not_fill_for_ever(windows: Windows, dataset: Dataset) -> None:
    series, known = dataset.series[0], known_zones(_sum_of_inputs, windows)
    twice = replace(
        series, time=np.insert(series.time, 1400, series.time[1400]), load_mw=np.insert(series.load_mw, 1400, 1.0)
    )
    with pytest.raises(DataError, match=r"A: has 2017-.* more than once\. Merge its rows: Series\.cleaned\(\) takes"):
        next_hours(_sum_of_inputs, [twice], CONFIG, known)


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
@pytest.mark.parametrize("gap", [slice(880, 890), slice(1050, 1050 + MOST_FILLED_HOURS + 1), slice(1130, 1131)])
def test_bounds_after_a_gap_that_the_forecast_does_not_reach_are_those_of_the_hours_since_then(
    config: WindowConfig, gap: slice, dataset: Dataset
) -> None:
    known, series = known_zones(_sum_of_inputs, make_windows(dataset, config)), dataset.series[0]
    since = replace(series, time=series.time[gap.stop :], load_mw=series.load_mw[gap.stop :])
    found, expected = (next_hours(_sum_of_inputs, [one], config, known)[0].bounds for one in (_without(series, gap), since))
    assert found is not None
    assert expected is not None
    np.testing.assert_allclose(found.times, expected.times, rtol=1e-9)
    np.testing.assert_allclose(found.between_mw(0.8), expected.between_mw(0.8), rtol=1e-9)


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


def test_an_hour_that_the_lags_of_the_regressions_do_not_reach_is_filled_from_the_hours_around_it(
    windows: Windows, dataset: Dataset
) -> None:
    known, series = known_zones(_sum_of_inputs, windows), dataset.series[0]
    short = replace(series, time=series.time[-370:], load_mw=series.load_mw[-370:])
    (found,) = next_hours(_sum_of_inputs, [_without(short, slice(60, 62))], CONFIG, known)
    np.testing.assert_array_equal(found.filled, short.time[60:62])
    np.testing.assert_allclose(found.filled_mw, _without(short, slice(60, 62)).filled(2).load_mw[60:62], rtol=1e-12)


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, features="article")])
def test_bounds_follow_no_hour_that_was_filled(
    config: WindowConfig, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = dataset.series[0]
    known = known_zones(_sum_of_inputs, make_windows(dataset, config))
    seen: list[np.ndarray] = []

    def noted(misses: Misses, row: np.ndarray, forecast_mw: np.ndarray, actual_mw: np.ndarray, *more: np.ndarray) -> Bounds:
        seen.append(actual_mw)
        return bounds_after(misses, row, forecast_mw, actual_mw, *more)

    monkeypatch.setattr(next_hours_module, "bounds_after", noted)
    next_hours(_sum_of_inputs, [_without(series, slice(1485, 1487))], config, known)
    (actual_mw,) = seen
    # By lead from the last row back: the hours after the series, and the two that were filled.
    for lead in range(3):
        unknown = np.flatnonzero(np.isnan(actual_mw[:, lead])) + lead - len(actual_mw) + 1
        assert unknown.tolist() == [-15, -14, *range(lead + 1)]


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
    low_mw, high_mw = bounds_of(known.misses, windows, zone, start, forecast_mw).between_mw()
    assert (low_mw <= forecast_mw).all()
    assert (forecast_mw <= high_mw).all()
    load_mw = windows.target_load_mw(start)
    assert ((load_mw >= low_mw) & (load_mw <= high_mw)).mean() > 0.88


def test_a_model_file_with_shares_of_the_forecast_has_no_bounds_and_says_why(windows: Windows, dataset: Dataset) -> None:
    facts = zone_facts(known_zones(_sum_of_inputs, windows))
    earlier = {name: {"scaling": zone["scaling"], "low": [-0.1] * 3, "high": [0.1] * 3} for name, zone in facts.items()}
    (found,) = next_hours(_sum_of_inputs, dataset.series[:1], CONFIG, zones_from_facts("earlier", "linear", earlier))
    assert found.is_known
    assert found.bounds is None
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


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, features="article")])
def test_a_wrong_value_in_the_file_of_the_training_does_not_make_it_one_of_another_unit(
    config: WindowConfig, dataset: Dataset
) -> None:
    load_mw = dataset.series[0].load_mw.copy()
    load_mw[700] = 1e9
    wrong = Dataset("wrong", (replace(dataset.series[0], load_mw=load_mw), dataset.series[1]))
    known = known_zones(_sum_of_inputs, make_windows(wrong, config))
    assert len(next_hours(_sum_of_inputs, wrong.series, config, known)) == 2
    with pytest.raises(DataError, match=r"^A: loads are about .*another unit"):
        next_hours(_sum_of_inputs, [replace(wrong.series[0], load_mw=load_mw * 1e3)], config, known)


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
