"""Windows over hourly series: features, scaling and split, held as row indices and never as copies.

Shape letters, here and everywhere: R rows of all zones, B batch, T lookback, F features, H hidden, N layers, L leads.

Window `s` covers rows `s` to `s + T - 1` of one resident (R, F) float32 array and forecasts row `s + T`. A batch is a
gather by `s`; nothing of size windows x lookback is ever held.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from rnncore.errors import ConfigError, DataError
from rnncore.forecast.features import FEATURE_KINDS, SCALINGS, Described, FeatureKind, Scaling
from rnncore.forecast.series import HOUR, Dataset, Float32Array, FloatArray, Series, TimeArray

RowArray = npt.NDArray[np.int64]

# The article tests the last tenth of each file's windows of 90 hours. The test hours stay the same at any lookback,
# so that scores can be compared.
ARTICLE_LOOKBACK = 90

# What the regressions forecast: a day.
MAX_HORIZON = 24


@dataclass(frozen=True)
class WindowConfig:
    """How series become windows.

    Attributes:
        features: `article` (load, hour, weekday, month and day of year, min-max scaled), or `linear` (load now, a day and a
            week before the forecast hour, their differences, the calendar of the forecast hour, and what 24 regressions
            forecast: the model learns what they leave over).
        lookback: Hours in a window, T.
        horizon: Hours that are forecast from each, leads, L: the next, and those that follow.
        scale_on: Rows that scales are fitted on: `all` as the article does, which leaks the tested extremes into
            training, or `train`.
        split: `article` tests the last part of each zone, so that another zone's training part may cover the tested
            hours; `date` tests all hours after one date, the same for every zone.
        test_fraction: Part of the hours that is tested.
        drop_gaps: Leave out windows whose hours, or the lagged hours before them, are not consecutive.
        zones: Zones that have a channel each, 1 in their own rows and 0 elsewhere; rows of any other zone have none. With
            `linear` features, rows then also hold what the other zones' regressions forecast and missed at the same hour.
    """

    features: FeatureKind = "article"
    lookback: int = ARTICLE_LOOKBACK
    horizon: int = 1
    scale_on: Literal["all", "train"] = "all"
    split: Literal["article", "date"] = "article"
    test_fraction: float = 0.1
    drop_gaps: bool = False
    zones: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A file of JSON gives a list.
        object.__setattr__(self, "zones", tuple(self.zones))
        if self.features not in FEATURE_KINDS:
            raise ConfigError(f"features is {self.features!r}; allowed: {', '.join(FEATURE_KINDS)}.")
        if self.lookback < 1:
            raise ConfigError(f"lookback is {self.lookback}; give a number of hours of at least 1.")
        if not 1 <= self.horizon <= MAX_HORIZON:
            raise ConfigError(f"horizon is {self.horizon}; give a number of hours from 1 to {MAX_HORIZON}.")
        if self.scale_on not in ("all", "train"):
            raise ConfigError(f"scale_on is {self.scale_on!r}; allowed: all, train.")
        if self.split not in ("article", "date"):
            raise ConfigError(f"split is {self.split!r}; allowed: article, date.")
        if not 0 < self.test_fraction < 1:
            raise ConfigError(f"test_fraction is {self.test_fraction}; give a number between 0 and 1.")


@dataclass(frozen=True)
class ZoneWindows:
    """What belongs to one zone.

    Attributes:
        name: Zone name.
        rows: Its rows in the arrays of `Windows`.
        train: Its part of `Windows.train_start`.
        test: Its part of `Windows.test_start`; empty where the zone ends before the tested date.
        scaling: How its loads become inputs, and outputs MW.
        duplicates: Rows whose stamp an earlier row already has.
        missing_hours: Hours inside the series that no row has.
    """

    name: str
    rows: slice
    train: slice
    test: slice
    scaling: Scaling
    duplicates: int
    missing_hours: int

    @property
    def scale_mw(self) -> float:
        """MW per unit of model output."""
        return self.scaling.scale_mw


@dataclass(frozen=True)
class Windows:
    """All windows of a data set.

    Attributes:
        config: What they were made with.
        dataset_digest: Digest of the data set.
        features: Model inputs, zones one after another. Shape (N, F), float32.
        target: What the model learns for each row, as the first that is forecast, and those that follow, in units of
            `scale_mw` above `offset_mw`. Shape (N, L), float32.
        offset_mw: What model outputs of 0 mean there. Shape (N, L).
        load_mw: Actual load of each row. Shape (N,).
        time: Local time of each row. Shape (N,).
        train_start: First row of each training window.
        test_start: First row of each test window.
        zones: The zones in order.
    """

    config: WindowConfig
    dataset_digest: str
    features: Float32Array
    target: Float32Array
    offset_mw: FloatArray
    load_mw: FloatArray
    time: TimeArray
    train_start: RowArray
    test_start: RowArray
    zones: tuple[ZoneWindows, ...]

    @property
    def num_features(self) -> int:
        """Features per hour, F."""
        return int(self.features.shape[1])

    def inputs(self, start: RowArray) -> Float32Array:
        """Gather the windows that begin at rows *start*. Shape (B, T, F), float32."""
        # A window is T * F consecutive floats of the flat array: gathering it copies whole windows.
        length = self.config.lookback * self.num_features
        every_window = np.lib.stride_tricks.sliding_window_view(self.features.reshape(-1), length)
        flat: Float32Array = every_window[start * self.num_features]
        return flat.reshape(-1, self.config.lookback, self.num_features)

    def target_rows(self, start: RowArray) -> RowArray:
        """Return the first rows that the windows beginning at *start* forecast. Shape (B,)."""
        return start + self.config.lookback

    def target_load_mw(self, start: RowArray) -> FloatArray:
        """Return the actual load of the hours that windows forecast. Shape (B, L)."""
        load_mw: FloatArray = self.load_mw[self.target_rows(start)[:, None] + np.arange(self.config.horizon)]
        return load_mw

    def to_mw(self, zone: ZoneWindows, start: RowArray, output: Float32Array) -> FloatArray:
        """Turn model outputs of windows of one zone, shape (B, L), into MW. Shape (B, L)."""
        return self.offset_mw[self.target_rows(start)] + zone.scale_mw * output.astype(np.float64)


def make_windows(dataset: Dataset, config: WindowConfig, scalings: Mapping[str, Scaling] | None = None) -> Windows:
    """Make features, scales and the split of every zone.

    Args:
        dataset: The series.
        config: How to make them.
        scalings: By zone, those that a model was trained with; a zone that is not among them is fitted, as all are where
            None is given.

    Returns:
        The windows of all zones.

    Raises:
        DataError: If a series is too short to give one training and one test window.
    """
    first_tested = _first_tested_rows(dataset, config)
    all_described: list[Described] = []
    targets: list[Float32Array] = []
    zones: list[ZoneWindows] = []
    train_parts: list[RowArray] = []
    test_parts: list[RowArray] = []
    row = train_count = test_count = 0
    for series, tested in zip(dataset.series, first_tested, strict=True):
        train, test = _split(series, config, tested, len(dataset.series) == 1)
        fit_rows = slice(0, len(series.time) if config.scale_on == "all" else tested)
        scaling = (scalings or {}).get(series.name) or SCALINGS[config.features].fit(series, fit_rows, config.horizon)
        described = scaling.describe(series)
        zones.append(
            ZoneWindows(
                name=series.name,
                rows=slice(row, row + len(series.time)),
                train=slice(train_count, train_count + len(train)),
                test=slice(test_count, test_count + len(test)),
                scaling=scaling,
                duplicates=series.duplicates,
                missing_hours=series.missing_hours,
            )
        )
        train_parts.append(train + row)
        test_parts.append(test + row)
        row, train_count, test_count = row + len(series.time), train_count + len(train), test_count + len(test)
        all_described.append(described)
        targets.append(described.target)
    return Windows(
        config=config,
        dataset_digest=dataset.digest,
        features=np.concatenate(zone_features(dataset.series, all_described, config)),
        target=np.concatenate(targets),
        offset_mw=np.concatenate([described.offset_mw[:-1] for described in all_described]),
        load_mw=np.concatenate([series.load_mw for series in dataset.series]),
        time=np.concatenate([series.time for series in dataset.series]),
        train_start=np.concatenate(train_parts),
        test_start=np.concatenate(test_parts),
        zones=tuple(zones),
    )


def zone_features(series: Sequence[Series], described: Sequence[Described], config: WindowConfig) -> list[Float32Array]:
    """Return the model's inputs of each zone: its own channels, what the others share, and those that name it.

    Args:
        series: The zones.
        described: What each is by itself.
        config: How windows are made.

    Returns:
        One array per zone. Shapes (N, F).
    """
    parts = [[one.features] for one in described]
    shared = [one.shared for one in described if one.shared is not None]
    if config.zones and shared:
        by_others = _shared_by_others(series, shared, SCALINGS[config.features].first_row)
        for part, others in zip(parts, by_others, strict=True):
            part.append(others)
    for part, one in zip(parts, series, strict=True):
        named = np.zeros((len(one.time), len(config.zones)), dtype=np.float32)
        if one.name in config.zones:
            named[:, config.zones.index(one.name)] = 1
        part.append(named)
    return [np.hstack(part) for part in parts]


def _shared_by_others(series: Sequence[Series], shared: Sequence[Float32Array], first_row: int) -> list[Float32Array]:
    """Return, for each row, the mean of what the other zones share at its hour, and whether any does. Shapes (N, 3).

    Of an hour that a zone has twice, as in autumn, the first row counts: at the first rows of others the second is to come.
    What a zone has before its regressions have all their lags is left out.
    """
    every_hour = np.unique(np.concatenate([one.time for one in series]))
    totals, zones = np.zeros((len(every_hour), shared[0].shape[1])), np.zeros(len(every_hour))
    own: list[FloatArray] = []
    own_count: list[FloatArray] = []
    for one, values in zip(series, shared, strict=True):
        hours, first, back = np.unique(one.time, return_index=True, return_inverse=True)
        counts = (first >= first_row).astype(np.float64)
        place = np.searchsorted(every_hour, hours)
        known = values[first] * counts[:, None]
        totals[place] += known
        zones[place] += counts
        own.append(known[back])
        own_count.append(counts[back])
    made = []
    for one, own_known, count in zip(series, own, own_count, strict=True):
        place = np.searchsorted(every_hour, one.time)
        others = zones[place] - count
        mean = (totals[place] - own_known) / np.maximum(others, 1)[:, None]
        # What is left of a sum from which its only part was taken is rounding.
        mean[others == 0] = 0
        made.append(np.hstack([mean, (others > 0)[:, None]]).astype(np.float32))
    return made


def _first_tested_rows(dataset: Dataset, config: WindowConfig) -> list[int]:
    """Return, per zone, the first row whose load is tested."""
    if config.split == "article":
        lengths = [len(series.time) for series in dataset.series]
        return [length - int(config.test_fraction * max(0, length - ARTICLE_LOOKBACK)) for length in lengths]
    every_time = np.sort(np.concatenate([series.time for series in dataset.series]))
    cut = every_time[int((1 - config.test_fraction) * len(every_time))]
    return [int(np.searchsorted(series.time, cut)) for series in dataset.series]


def _split(series: Series, config: WindowConfig, first_tested: int, is_alone: bool) -> tuple[RowArray, RowArray]:
    """Return the first rows of the training and test windows of one zone.

    Raises:
        DataError: If there is no training window, or in the article's split no test window.
    """
    rows, first_row = len(series.time), SCALINGS[config.features].first_row
    # From a window's first row to the last that it forecasts.
    reach = config.lookback + config.horizon - 1
    start = np.arange(first_row, max(first_row, rows - reach), dtype=np.int64)
    if config.drop_gaps:
        # Faults before each row: equal at both ends of a window, and of the lags before it, where there is none between.
        faults = np.concatenate([[0], np.cumsum(np.diff(series.time) != HOUR)])
        start = start[faults[start + reach] == faults[start - first_row]]
    train, test = start[start + reach < first_tested], start[start + config.lookback >= first_tested]
    if config.split == "article" and (len(train) == 0 or len(test) == 0):
        raise _too_few_rows(series, config, first_row, len(train), len(test))
    if len(train) == 0:
        way_out = "Give a longer series" if is_alone else "Leave the zone out, or use the article split"
        raise DataError(f"{series.name}: no window ends before the first test hour of the date split. {way_out}.")
    return train, test


def _too_few_rows(series: Series, config: WindowConfig, first_row: int, train: int, test: int) -> DataError:
    rows, needed = len(series.time), _rows_needed(config, first_row)
    found = f"{series.name}: {rows} rows give {train} training and {test} test windows of {config.lookback} hours"
    if rows >= needed:
        reach = first_row + config.lookback + config.horizon
        return DataError(
            f"{found}: a window, with the hours that it looks back on and forecasts, takes {reach} hours without a gap. "
            "Fill gaps, or keep the windows across them (without --clean)."
        )
    # Windows of one hour, where they would do: some other lookback is then short enough.
    shorter = " or a shorter lookback" if rows >= _rows_needed(replace(config, lookback=1), first_row) else ""
    return DataError(f"{found}; at least {needed} rows are needed. Give a longer series{shorter}.")


def _rows_needed(config: WindowConfig, first_row: int) -> int:
    """Return the fewest rows that give one test hour and one training window."""
    rows = ARTICLE_LOOKBACK + int(np.ceil(config.horizon / config.test_fraction))
    while rows - int(config.test_fraction * (rows - ARTICLE_LOOKBACK)) <= first_row + config.lookback + config.horizon - 1:
        rows += 1
    return rows
