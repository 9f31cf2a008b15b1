"""Tests of windows against naive loops: features, scales, splits, and that no window knows what comes after it."""

import dataclasses
import datetime
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from rnncore.errors import ConfigError, DataError
from rnncore.forecast.linear import FIRST_ROW, WEEK_H, fit_hourly_regressions
from rnncore.forecast.series import HOUR, Dataset, Series
from rnncore.forecast.windows import ARTICLE_LOOKBACK, WindowConfig, Windows, ZoneWindows, make_windows

ARTICLE = WindowConfig(lookback=5)
LINEAR_ALONE = WindowConfig(features="linear", lookback=6, scale_on="train")
LINEAR = replace(LINEAR_ALONE, zones=("A", "B"))
A_DAY = replace(LINEAR, horizon=24)
HONEST = [replace(ARTICLE, scale_on="train"), LINEAR_ALONE, replace(LINEAR_ALONE, horizon=7), LINEAR, A_DAY]
CONFIGS = [ARTICLE, replace(ARTICLE, scale_on="train"), LINEAR_ALONE, replace(LINEAR_ALONE, scale_on="all")]


@dataclass
class NaiveZone:
    """What the windows of one zone should hold, by loops over its rows."""

    features: list[list[float]]
    target: list[float]
    offset_mw: list[float]
    scale_mw: float
    first_row: int
    first_tested: int


def _standard_deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def _naive_zone(series: Series, config: WindowConfig) -> NaiveZone:
    rows = len(series.time)
    first_tested = rows - int(config.test_fraction * (rows - ARTICLE_LOOKBACK))
    fit_rows = rows if config.scale_on == "all" else first_tested
    load, time = [float(load) for load in series.load_mw], list(series.time.astype(object))
    if config.features == "article":
        return _naive_article(load, time, fit_rows, first_tested)
    # The regressions have loops of their own, in the tests of `linear`.
    regressions = fit_hourly_regressions(series.load_mw[:fit_rows], series.time[:fit_rows], config.horizon)
    forecast_mw = regressions.forecast(series.load_mw, series.time)[:, 0].tolist()
    return _naive_linear(load, time, forecast_mw, fit_rows, first_tested)


def _naive_article(load: list[float], time: list[datetime.datetime], fit_rows: int, first_tested: int) -> NaiveZone:
    table = [
        [load[row], time[row].hour, time[row].weekday(), time[row].month, time[row].timetuple().tm_yday]
        for row in range(len(load))
    ]
    low = [min(table[row][column] for row in range(fit_rows)) for column in range(5)]
    span = [max(table[row][column] for row in range(fit_rows)) - low[column] for column in range(5)]
    features = [[(line[column] - low[column]) / (span[column] or 1) for column in range(5)] for line in table]
    return NaiveZone(features, [line[0] for line in features], [low[0]] * len(load), span[0], 0, first_tested)


def _naive_linear(
    load: list[float], time: list[datetime.datetime], forecast_mw: list[float], fit_rows: int, first_tested: int
) -> NaiveZone:
    rows = len(load)
    change = [load[row] - load[row - 1] if row else 0.0 for row in range(rows)]
    level, spread = sum(load[:fit_rows]) / fit_rows, _standard_deviation(load[:fit_rows])
    change_spread = _standard_deviation(change[:fit_rows])
    scale_mw = _standard_deviation([load[row] - forecast_mw[row] for row in range(FIRST_ROW, fit_rows)])
    features = []
    for row in range(rows):
        lagged = [max(row + 1 - lag, 0) for lag in (1, 24, 168)]
        coming = time[row] + datetime.timedelta(hours=1)
        angles = [
            2 * math.pi * coming.hour / 24,
            2 * math.pi * coming.weekday() / 7,
            2 * math.pi * coming.timetuple().tm_yday / 365.25,
        ]
        features.append(
            [(load[at] - level) / spread for at in lagged]
            + [change[at] / change_spread for at in lagged]
            + [wave(angle) for angle in angles for wave in (math.sin, math.cos)]
            + [(forecast_mw[row + 1] - load[row]) / change_spread, (load[row] - forecast_mw[row]) / scale_mw]
        )
    target = [(load[row] - forecast_mw[row]) / scale_mw for row in range(rows)]
    return NaiveZone(features, target, forecast_mw[:-1], scale_mw, FIRST_ROW, first_tested)


def _starts(windows: Windows, zone: ZoneWindows, part: str) -> np.ndarray:
    """Return the first rows of the zone's training or test windows, counted from the zone's first row."""
    return getattr(windows, f"{part}_start")[getattr(zone, part)] - zone.rows.start


def _with_load(dataset: Dataset, zone: int, row: int, change_mw: float, to_the_end: bool = False) -> Dataset:
    """Return the data set with another load at one row of one zone, or from there to its end."""
    load_mw = dataset.series[zone].load_mw.copy()
    load_mw[row : None if to_the_end else row + 1] += change_mw
    series = list(dataset.series)
    series[zone] = replace(series[zone], load_mw=load_mw)
    return replace(dataset, series=tuple(series))


def _without_rows(series: Series, rows: list[int]) -> Series:
    return replace(series, time=np.delete(series.time, rows), load_mw=np.delete(series.load_mw, rows))


@pytest.fixture(scope="module")
def longer_dataset(make_series: Callable[..., Series]) -> Dataset:
    """Two zones, long enough for lags of two weeks."""
    return Dataset("longer", (make_series("A", hours=900, seed=1), make_series("B", hours=800, seed=2)))


# Against the loops


@pytest.mark.parametrize("config", CONFIGS)
def test_inputs_targets_and_megawatts_are_those_of_the_loops(config: WindowConfig, longer_dataset: Dataset) -> None:
    windows = make_windows(longer_dataset, config)
    lookback = config.lookback
    for series, zone in zip(longer_dataset.series, windows.zones, strict=True):
        naive = _naive_zone(series, config)
        assert zone.name == series.name
        assert zone.scale_mw == pytest.approx(naive.scale_mw, rel=1e-12)
        expected_starts: dict[str, list[int]] = {"train": [], "test": []}
        for start in range(naive.first_row, len(series.time) - lookback):
            expected_starts["train" if start + lookback < naive.first_tested else "test"].append(start)
        for part in ("train", "test"):
            starts = _starts(windows, zone, part)
            assert starts.tolist() == expected_starts[part]
            in_all = starts + zone.rows.start
            inputs, rows = windows.inputs(in_all), windows.target_rows(in_all)
            assert inputs.dtype == np.float32
            expected = np.array([naive.features[start : start + lookback] for start in starts.tolist()])
            np.testing.assert_allclose(inputs, expected, rtol=0, atol=2e-6)
            np.testing.assert_allclose(
                windows.target[rows, 0], [naive.target[start + lookback] for start in starts.tolist()], rtol=0, atol=2e-6
            )
            output = np.linspace(-1, 1, len(starts), dtype=np.float32)
            megawatts = [
                naive.offset_mw[start + lookback] + naive.scale_mw * float(value)
                for start, value in zip(starts.tolist(), output, strict=True)
            ]
            np.testing.assert_allclose(windows.to_mw(zone, in_all, output[:, None])[:, 0], megawatts, rtol=1e-10)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_target_turned_into_megawatts_is_the_load(config: WindowConfig, longer_dataset: Dataset) -> None:
    windows = make_windows(longer_dataset, config)
    for zone in windows.zones:
        start = windows.test_start[zone.test]
        rows = windows.target_rows(start)
        # Float32 targets: seven digits of a range of a few hundred MW.
        np.testing.assert_allclose(
            windows.to_mw(zone, start, windows.target[rows])[:, 0], windows.load_mw[rows], rtol=0, atol=1e-3
        )


def test_rows_keep_load_and_time_of_their_zone(small_dataset: Dataset) -> None:
    windows = make_windows(small_dataset, ARTICLE)
    for series, zone in zip(small_dataset.series, windows.zones, strict=True):
        np.testing.assert_array_equal(windows.load_mw[zone.rows], series.load_mw)
        np.testing.assert_array_equal(windows.time[zone.rows], series.time)


def test_no_window_crosses_from_one_zone_into_the_next(small_dataset: Dataset) -> None:
    windows = make_windows(small_dataset, ARTICLE)
    for zone in windows.zones:
        starts = np.concatenate([windows.train_start[zone.train], windows.test_start[zone.test]])
        assert starts.min() >= zone.rows.start
        assert windows.target_rows(starts).max() < zone.rows.stop


def test_faults_and_digest_of_the_data_are_remembered(make_series: Callable[..., Series]) -> None:
    series = make_series("A", hours=300)
    doubled = replace(series, time=np.insert(series.time, 50, series.time[50]), load_mw=np.insert(series.load_mw, 50, 1.0))
    dataset = Dataset("mine", (_without_rows(doubled, [100, 101, 102]),))
    windows = make_windows(dataset, ARTICLE)
    assert (windows.zones[0].duplicates, windows.zones[0].missing_hours) == (1, 3)
    assert windows.dataset_digest == dataset.digest


def test_a_calendar_field_that_never_changes_becomes_zero(make_series: Callable[..., Series]) -> None:
    # Twelve days of one month: the month says nothing.
    windows = make_windows(Dataset("short", (make_series("A", hours=24 * 12),)), ARTICLE)
    assert np.all(windows.features[:, 3] == 0)


# What is known when


@pytest.mark.parametrize("zone_index", [0, 1])
@pytest.mark.parametrize("config", HONEST)
def test_a_tested_window_knows_nothing_of_its_targets_or_later(
    config: WindowConfig, zone_index: int, longer_dataset: Dataset
) -> None:
    before = make_windows(longer_dataset, config)
    zone = before.zones[zone_index]
    for start in before.test_start[zone.test][::13]:
        one = np.array([start])
        target_row = int(before.target_rows(one)[0])
        after = make_windows(
            _with_load(longer_dataset, zone_index, target_row - zone.rows.start, 500.0, to_the_end=True), config
        )
        np.testing.assert_array_equal(after.inputs(one), before.inputs(one))
        output = np.full((1, config.horizon), 0.25, dtype=np.float32)
        np.testing.assert_array_equal(after.to_mw(after.zones[zone_index], one, output), before.to_mw(zone, one, output))
        assert after.load_mw[target_row] == before.load_mw[target_row] + 500


@pytest.mark.parametrize("config", HONEST)
def test_shuffled_future_loads_change_nothing_that_a_test_sees(config: WindowConfig, longer_dataset: Dataset) -> None:
    before = make_windows(longer_dataset, config)
    zone = before.zones[0]
    start = before.test_start[zone.test][:1]
    row = int(before.target_rows(start)[0]) - zone.rows.start
    series = longer_dataset.series[0]
    load_mw = series.load_mw.copy()
    np.random.default_rng(0).shuffle(load_mw[row:])
    shuffled = replace(longer_dataset, series=(replace(series, load_mw=load_mw), longer_dataset.series[1]))
    after = make_windows(shuffled, config)
    np.testing.assert_array_equal(after.inputs(start), before.inputs(start))
    np.testing.assert_array_equal(after.offset_mw[before.target_rows(start)], before.offset_mw[before.target_rows(start)])
    assert not np.array_equal(after.load_mw, before.load_mw)


@pytest.mark.parametrize("config", HONEST)
def test_loads_of_all_zones_after_an_hour_change_nothing_that_is_known_at_it(
    config: WindowConfig, longer_dataset: Dataset
) -> None:
    before = make_windows(longer_dataset, config)
    zone = before.zones[1]
    start = before.test_start[zone.test][:1]
    hour = before.time[before.target_rows(start)[0]]
    shuffled = []
    for seed, series in enumerate(longer_dataset.series):
        load_mw = series.load_mw.copy()
        row = int(np.searchsorted(series.time, hour))
        load_mw[row:] = np.random.default_rng(seed).permutation(series.load_mw[row:])
        shuffled.append(replace(series, load_mw=load_mw))
    scalings = {one.name: one.scaling for one in before.zones}
    after = make_windows(replace(longer_dataset, series=tuple(shuffled)), config, scalings)
    np.testing.assert_array_equal(after.inputs(start), before.inputs(start))
    np.testing.assert_array_equal(after.offset_mw[before.target_rows(start)], before.offset_mw[before.target_rows(start)])


@pytest.mark.parametrize("config", HONEST)
def test_tested_hours_move_no_scale_and_no_training_window(config: WindowConfig, longer_dataset: Dataset) -> None:
    before = make_windows(longer_dataset, config)
    zone = before.zones[0]
    first_tested = int(before.target_rows(before.test_start[zone.test])[0]) - zone.rows.start
    after = make_windows(_with_load(longer_dataset, 0, first_tested, 5000.0, to_the_end=True), config)
    assert [one.scale_mw for one in after.zones] == [one.scale_mw for one in before.zones]
    np.testing.assert_array_equal(after.inputs(after.train_start), before.inputs(before.train_start))
    rows = before.target_rows(before.train_start)
    np.testing.assert_array_equal(after.target[rows], before.target[rows])
    np.testing.assert_array_equal(after.offset_mw[rows], before.offset_mw[rows])


def test_the_article_scales_on_tested_hours_too(small_dataset: Dataset) -> None:
    before = make_windows(small_dataset, ARTICLE)
    after = make_windows(_with_load(small_dataset, 0, len(small_dataset.series[0].time) - 1, 5000.0), ARTICLE)
    assert after.zones[0].scale_mw > 2 * before.zones[0].scale_mw
    assert not np.array_equal(after.inputs(after.train_start), before.inputs(before.train_start))


def test_a_zone_is_scaled_by_its_own_loads_alone(longer_dataset: Dataset) -> None:
    before = make_windows(longer_dataset, LINEAR_ALONE)
    after = make_windows(_with_load(longer_dataset, 0, 10, 5000.0), LINEAR_ALONE)
    rows = before.zones[1].rows
    np.testing.assert_array_equal(after.features[rows], before.features[rows])
    assert after.zones[1].scale_mw == before.zones[1].scale_mw


# Splits


@pytest.mark.parametrize("hours", [100, 109, 110, 333, 400])
def test_the_article_tests_the_last_tenth_of_its_windows_of_90_hours(hours: int, make_series: Callable[..., Series]) -> None:
    windows = make_windows(Dataset("one", (make_series("A", hours=hours),)), WindowConfig())
    tested = (hours - 90) // 10
    assert len(windows.test_start) == tested
    assert len(windows.train_start) == hours - 90 - tested
    assert windows.target_rows(windows.test_start).tolist() == list(range(hours - tested, hours))


@pytest.mark.parametrize("split", ["article", "date"])
def test_tested_hours_are_the_same_at_any_lookback_and_with_any_features(split: str, longer_dataset: Dataset) -> None:
    tested = [
        make_windows(longer_dataset, WindowConfig(features=features, lookback=lookback, split=split))
        for features, lookback in (("article", 1), ("article", 12), ("article", 90), ("linear", 24))
    ]
    rows = [windows.target_rows(windows.test_start).tolist() for windows in tested]
    assert rows[0]
    assert all(other == rows[0] for other in rows)


def test_the_date_split_tests_all_hours_from_one_date_on_and_trains_on_none_of_them(
    make_series: Callable[..., Series],
) -> None:
    dataset = Dataset(
        "three",
        (
            make_series("LONG", hours=500, first="2017-06-01T00:00:00"),
            make_series("LATE", hours=300, first="2017-06-11T07:00:00"),
            make_series("ENDS", hours=200, first="2017-06-01T00:00:00"),
        ),
    )
    windows = make_windows(dataset, replace(ARTICLE, split="date"))
    cut = windows.time[windows.target_rows(windows.test_start)].min()
    every_time = sorted(time for series in dataset.series for time in series.time)
    assert cut == every_time[900]
    assert np.all(windows.time[windows.target_rows(windows.train_start)] < cut)
    for series, zone in zip(dataset.series, windows.zones, strict=True):
        tested = windows.time[windows.target_rows(windows.test_start[zone.test])]
        np.testing.assert_array_equal(tested, series.time[series.time >= cut])
    assert windows.zones[2].test.start == windows.zones[2].test.stop
    assert windows.zones[1].test.stop > windows.zones[1].test.start


@pytest.mark.parametrize("scale_on", ["all", "train"])
@pytest.mark.parametrize("features", ["article", "linear"])
def test_a_zone_that_begins_after_the_tested_date_is_named(
    features: str, scale_on: str, make_series: Callable[..., Series]
) -> None:
    dataset = Dataset("two", (make_series("OLD", hours=900), make_series("NEW", hours=100, first="2019-01-01T00:00:00")))
    config = WindowConfig(features=features, lookback=5, split="date", scale_on=scale_on)
    with pytest.raises(DataError, match=r"NEW: no window ends before the first test hour.*Leave the zone out"):
        make_windows(dataset, config)


# Gaps


def _consecutive(time: np.ndarray, start: int, lookback: int) -> bool:
    return all(time[row + 1] - time[row] == HOUR for row in range(start, start + lookback))


@pytest.mark.parametrize(("config", "history_h"), [(ARTICLE, 0), (LINEAR_ALONE, FIRST_ROW)], ids=["article", "linear"])
def test_windows_that_straddle_a_gap_vanish_and_only_these(
    config: WindowConfig, history_h: int, make_series: Callable[..., Series]
) -> None:
    a, b = make_series("A", hours=1500), make_series("B", hours=1500)
    dataset = Dataset("gaps", (_without_rows(a, [500, 900, 901, 1480]), _without_rows(b, [650])))
    kept, every = make_windows(dataset, replace(config, drop_gaps=True)), make_windows(dataset, config)
    dropped = 0
    for series, zone, whole in zip(dataset.series, kept.zones, every.zones, strict=True):
        for part in ("train", "test"):
            starts = _starts(every, whole, part).tolist()
            # Regressions reach two weeks further back than the first hour of a window.
            expected = [
                start for start in starts if _consecutive(series.time, start - history_h, config.lookback + history_h)
            ]
            assert _starts(kept, zone, part).tolist() == expected
            dropped += len(starts) - len(expected)
    # Each of the four gaps lies within as many windows as there are hours in one, but for the last near the end.
    assert 3 * (config.lookback + history_h) < dropped <= 4 * (config.lookback + history_h)


def test_without_drop_gaps_every_row_with_a_full_window_before_it_is_forecast(small_dataset: Dataset) -> None:
    dataset = replace(small_dataset, series=(_without_rows(small_dataset.series[0], [200, 260]),))
    windows = make_windows(dataset, ARTICLE)
    assert len(windows.train_start) + len(windows.test_start) == 398 - ARTICLE.lookback


def test_a_repeated_hour_does_not_make_up_for_a_missing_one(small_dataset: Dataset) -> None:
    series = small_dataset.series[0]
    time = series.time.copy()
    time[200] = time[199]  # the hour of row 200 is missing, that of row 199 is there twice
    series = replace(series, time=time)
    windows = make_windows(Dataset("one", (series,)), replace(ARTICLE, drop_gaps=True))
    starts = np.concatenate([windows.train_start, windows.test_start]).tolist()
    assert starts == [start for start in range(395) if _consecutive(time, start, ARTICLE.lookback)]


# What is refused


@pytest.mark.parametrize(
    "config",
    [
        WindowConfig(lookback=5),
        WindowConfig(lookback=90),
        WindowConfig(lookback=120),
        WindowConfig(lookback=12, test_fraction=0.3),
        WindowConfig(lookback=100, test_fraction=0.5),
        WindowConfig(features="linear", lookback=24),
        WindowConfig(features="linear", lookback=24, scale_on="train", test_fraction=0.25),
        WindowConfig(lookback=5, test_fraction=0.02),
    ],
)
def test_a_series_that_is_too_short_is_told_exactly_how_many_rows_are_needed(
    config: WindowConfig, make_series: Callable[..., Series]
) -> None:
    def make(hours: int) -> Windows:
        return make_windows(Dataset("one", (make_series("AEP", hours=hours),)), config)

    with pytest.raises(DataError, match=r"AEP: 60 rows give \d+ training and 0 test.*Give a longer series") as caught:
        make(60)
    needed = int(re.search(r"at least (\d+) rows are needed", str(caught.value))[1])
    windows = make(needed)
    assert len(windows.train_start) >= 1
    assert len(windows.test_start) >= 1
    with pytest.raises(DataError, match=f"at least {needed} rows are needed"):
        make(needed - 1)


@pytest.mark.parametrize(("rows", "helps"), [(60, False), (99, False), (120, True), (150, True)])
def test_a_shorter_lookback_is_advised_where_it_helps_alone(
    rows: int, helps: bool, make_series: Callable[..., Series]
) -> None:
    dataset = Dataset("one", (make_series("AEP", hours=rows),))
    with pytest.raises(DataError, match=r"0 (training|test)") as caught:
        make_windows(dataset, WindowConfig(lookback=170))
    assert ("or a shorter lookback" in str(caught.value)) is helps
    if helps:
        assert len(make_windows(dataset, WindowConfig(lookback=5)).test_start)


def test_gaps_are_named_where_they_and_not_the_length_leave_no_window(make_series: Callable[..., Series]) -> None:
    whole = make_series("AEP", hours=1000)
    kept = np.arange(1000) % 20 > 0
    series = replace(whole, time=whole.time[kept], load_mw=whole.load_mw[kept])
    config = WindowConfig(lookback=24, drop_gaps=True)
    wording = r"AEP: 950 rows give 0 training.* takes 25 hours without a gap\. Fill gaps, or keep the windows across them"
    with pytest.raises(DataError, match=wording):
        make_windows(Dataset("one", (series,)), config)
    assert len(make_windows(Dataset("one", (whole,)), config).train_start)
    assert len(make_windows(Dataset("one", (series,)), replace(config, drop_gaps=False)).train_start)


def test_a_lone_zone_too_short_for_a_split_by_date_is_not_to_be_left_out(make_series: Callable[..., Series]) -> None:
    dataset = Dataset("one", (make_series("AEP", hours=60),))
    with pytest.raises(DataError, match=r"AEP: no window ends before the first test hour.*Give a longer series\.$"):
        make_windows(dataset, WindowConfig(split="date"))


def test_a_load_that_rules_explain_is_told_from_one_that_does_not_vary(make_series: Callable[..., Series]) -> None:
    load_mw = np.zeros(960)
    load_mw[10] = 1
    dataset = Dataset("spike", (make_series("SPIKE", load_mw=load_mw),))
    wording = r"SPIKE: what simple rules leave of the load.* does not vary.*train with the preset 'article'"
    with pytest.raises(DataError, match=wording):
        make_windows(dataset, WindowConfig(features="linear", lookback=24))
    assert len(make_windows(dataset, WindowConfig()).train_start)


def test_a_zone_whose_training_part_does_not_vary_is_named(make_series: Callable[..., Series]) -> None:
    load_mw = np.full(400, 100.0)
    load_mw[-1] = 200
    dataset = Dataset("flat", (make_series("FLAT", load_mw=load_mw),))
    for config in (replace(ARTICLE, scale_on="train"), LINEAR_ALONE):
        with pytest.raises(
            DataError, match=r"FLAT: the load does not vary in the training part.* Give a longer series, or one"
        ):
            make_windows(dataset, config)


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("features", "raw", "features is 'raw'; allowed: article, linear"),
        ("lookback", 0, "lookback is 0; give a number of hours of at least 1"),
        ("scale_on", "test", "scale_on is 'test'; allowed: all, train"),
        ("split", "random", "split is 'random'; allowed: article, date"),
        ("test_fraction", 0, "test_fraction is 0; give a number between 0 and 1"),
        ("test_fraction", 1.0, r"test_fraction is 1\.0; give a number between 0 and 1"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named_with_its_value_and_what_is_allowed(
    setting: str, value: object, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        WindowConfig(**{setting: value})


# Memory


def test_memory_grows_with_rows_and_not_with_the_lookback(small_dataset: Dataset) -> None:
    rows = sum(len(series.time) for series in small_dataset.series)
    for lookback in (5, 80):
        windows = make_windows(small_dataset, replace(ARTICLE, lookback=lookback))
        assert windows.features.nbytes == rows * 5 * 4
        arrays = [
            value for one in dataclasses.fields(windows) if isinstance(value := getattr(windows, one.name), np.ndarray)
        ]
        # What a view hangs on counts too.
        held = sum((array if array.base is None else array.base).nbytes for array in arrays)
        # Five float32 features, a float32 target, three arrays of eight bytes, and the windows' first rows.
        assert held <= rows * (5 * 4 + 4 + 3 * 8 + 8)


def test_a_batch_is_a_copy_of_its_own_rows_alone(small_dataset: Dataset) -> None:
    windows = make_windows(small_dataset, ARTICLE)
    batch = windows.inputs(windows.train_start[:3])
    assert batch.flags.c_contiguous
    assert batch.shape == (3, ARTICLE.lookback, 5)
    batch[:] = -1
    assert windows.features.min() >= 0


# The real files


def test_the_real_files_give_as_many_windows_as_the_article_has(pjm_windows: Windows) -> None:
    assert len(pjm_windows.zones) == 12
    assert len(pjm_windows.train_start) == 980_185
    assert len(pjm_windows.test_start) == 108_902
    assert WEEK_H > ARTICLE_LOOKBACK == pjm_windows.config.lookback


# Leads and zones


@pytest.mark.parametrize("config", [replace(LINEAR_ALONE, horizon=5), A_DAY, replace(ARTICLE, horizon=3)])
def test_targets_of_all_leads_turned_into_megawatts_are_the_loads_that_follow(
    config: WindowConfig, longer_dataset: Dataset
) -> None:
    windows = make_windows(longer_dataset, config)
    for series, zone in zip(longer_dataset.series, windows.zones, strict=True):
        for start in (windows.train_start[zone.train], windows.test_start[zone.test]):
            rows = windows.target_rows(start)
            expected = [
                [series.load_mw[row - zone.rows.start + lead] for lead in range(config.horizon)] for row in rows.tolist()
            ]
            np.testing.assert_array_equal(windows.target_load_mw(start), expected)
            np.testing.assert_allclose(windows.to_mw(zone, start, windows.target[rows]), expected, rtol=1e-5)


def test_no_lead_of_a_training_window_is_tested_and_none_of_a_tested_one_lies_beyond_the_end(
    longer_dataset: Dataset,
) -> None:
    windows = make_windows(longer_dataset, A_DAY)
    for series, zone in zip(longer_dataset.series, windows.zones, strict=True):
        tested = (len(series.time) - 90) // 10
        first_tested = zone.rows.start + len(series.time) - tested
        assert windows.target_rows(windows.train_start[zone.train]).max() + 24 == first_tested
        rows = windows.target_rows(windows.test_start[zone.test])
        assert (rows.min(), rows.max() + 24) == (first_tested, zone.rows.stop)


def test_a_zone_has_its_own_channel_and_an_unknown_one_has_none(longer_dataset: Dataset) -> None:
    windows = make_windows(longer_dataset, replace(LINEAR, zones=("B", "C")))
    channels = windows.features[:, -2:]
    assert windows.num_features == 14 + 3 + 2
    assert np.all(channels[windows.zones[0].rows] == 0)
    assert np.all(channels[windows.zones[1].rows] == [1, 0])


def test_windows_of_given_scalings_are_those_of_the_series_that_they_were_fitted_on(longer_dataset: Dataset) -> None:
    fitted = make_windows(longer_dataset, LINEAR)
    scalings = {zone.name: zone.scaling for zone in fitted.zones}
    # What follows from fewer hours would be other scales.
    shorter = replace(longer_dataset, series=tuple(_first_rows(series, 700) for series in longer_dataset.series))
    given, own = make_windows(shorter, LINEAR, scalings), make_windows(shorter, LINEAR)
    rows = given.zones[0].rows
    np.testing.assert_array_equal(given.features[rows], fitted.features[: rows.stop])
    assert not np.array_equal(own.features[rows], fitted.features[: rows.stop])


def _first_rows(series: Series, rows: int) -> Series:
    return replace(series, time=series.time[:rows], load_mw=series.load_mw[:rows])


@pytest.mark.parametrize("horizon", [0, 25])
def test_a_horizon_beyond_a_day_is_refused(horizon: int) -> None:
    with pytest.raises(ConfigError, match=f"horizon is {horizon}; give a number of hours from 1 to 24"):
        WindowConfig(horizon=horizon)


def test_a_row_is_told_the_mean_of_what_the_other_zones_know_at_its_hour(make_series: Callable[..., Series]) -> None:
    a, b = make_series("A", hours=900, seed=1), make_series("B", hours=800, seed=2, first="2017-06-03T00:00:00")
    # The third zone has an hour twice and lacks another.
    c = make_series("C", hours=850, seed=3)
    rows = np.array([*range(500), 499, *range(500, 600), *range(601, 850)])
    c = replace(c, time=c.time[rows], load_mw=c.load_mw[rows] + (np.arange(850) == 500) * 40)
    dataset = Dataset("three", (a, b, c))
    windows = make_windows(dataset, replace(LINEAR, zones=("A", "B", "C")))
    own = windows.features[:, 12:14].astype(np.float64)
    told = windows.features[:, 14:17]
    known: dict[tuple[str, object], np.ndarray] = {}
    for series, zone in zip(dataset.series, windows.zones, strict=True):
        for row, time in enumerate(series.time):
            if row >= 337:
                # Of an hour that is there twice the first row counts; one before the lags are there does not.
                known.setdefault((zone.name, time), own[zone.rows.start + row])
    checked = 0
    for series, zone in zip(dataset.series, windows.zones, strict=True):
        for row in range(0, len(series.time), 7):
            others = [
                known[other.name, series.time[row]]
                for other in windows.zones
                if other.name != zone.name and (other.name, series.time[row]) in known
            ]
            expected = [*(np.mean(others, axis=0) if others else (0, 0)), float(bool(others))]
            np.testing.assert_allclose(told[zone.rows.start + row], expected, atol=2e-5)
            checked += len(others)
    assert checked > 200


def test_a_zone_alone_is_told_nothing(longer_dataset: Dataset) -> None:
    alone = replace(longer_dataset, series=longer_dataset.series[:1])
    windows = make_windows(alone, LINEAR)
    assert np.all(windows.features[:, 14:17] == 0)
    assert make_windows(alone, replace(LINEAR, zones=())).num_features == 14
