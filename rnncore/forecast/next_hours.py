"""The next hours of a series, by a trained model, with bounds from what it missed of hours that it was not trained on."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from rnncore.errors import DataError, ModelFileError
from rnncore.files import write_text
from rnncore.forecast.bounds import (
    LEVEL,
    Bounds,
    Misses,
    bounds_after,
    hour_of_day,
    misses_facts,
    misses_from_facts,
    misses_of,
    simple_forecasts_mw,
    unrest_mw,
)
from rnncore.forecast.features import (
    SCALINGS,
    Described,
    FeatureKind,
    LinearScaling,
    Scaling,
    scaling_facts,
    scaling_from_facts,
)
from rnncore.forecast.linear import FIRST_ROW, WEEK_H, leads_of
from rnncore.forecast.magnitude import SIZE_PCT
from rnncore.forecast.reading import Resample
from rnncore.forecast.scoring import Predict, in_chunks
from rnncore.forecast.series import HOUR, FloatArray, Series, TimeArray
from rnncore.forecast.windows import RowArray, WindowConfig, Windows, zone_features

BoolArray = npt.NDArray[np.bool_]

# Hours of the longest gap that is filled before a forecast.
MOST_FILLED_HOURS = 6

# Loads so many times as large as those of the training, or as small, are in another unit: no load grows so.
OTHER_UNIT = 50.0

# Test hours of a zone, its last, that the bounds are made from: a year, so that each season is there once.
BOUND_HOURS = 8760

# Hours before a forecast that are forecast too, as if each were the next: bounds follow what the model missed there. More
# change little (reports/LOG.md).
FOLLOWED_HOURS = 4 * WEEK_H

_NOT_TRAINED_ON = "the model was not trained on this zone: its scales are those of the file"
_NONE_TESTED = "no hours of this zone were tested when the model was trained"
_SHARES = "the model file is from before bounds were in MW, and has shares of the forecast: train the model again for bounds"


@dataclass(frozen=True)
class KnownZone:
    """What a model file keeps of a zone that it was trained on.

    Attributes:
        scaling: How its loads become inputs, and outputs MW.
        misses: What its model missed of test hours; None if it is not known.
        no_misses_why: The reason where it is not.
        held_out_from: The first hour that was tested: from there on nothing was trained on. None if it is not known.
        columns: Columns of loads that its file was read by, as in `ReadOptions`.
        resample: How hours were made of shorter steps, as there.
    """

    scaling: Scaling
    misses: Misses | None
    no_misses_why: str | None = None
    held_out_from: np.datetime64 | None = None
    columns: tuple[str, ...] = ()
    resample: Resample | None = None


@dataclass(frozen=True)
class NextHours:
    """A forecast.

    Attributes:
        zone: Its zone.
        time: The hours. Shape (L,).
        load_mw: Their loads. Shape (L,).
        bounds: Bounds and quantiles by what the model missed of test hours of the zone; None if it is not known.
        no_misses_why: The reason where it is not.
        is_known: Whether the model was trained on the zone; its scales are otherwise those of the series itself.
        filled: Hours that the forecast needed and the series lacked. Shape (M,).
        filled_mw: What they were filled with. Shape (M,).
    """

    zone: str
    time: TimeArray
    load_mw: FloatArray
    bounds: Bounds | None
    no_misses_why: str | None
    is_known: bool
    filled: TimeArray
    filled_mw: FloatArray


def known_zones(predict: Predict, windows: Windows) -> dict[str, KnownZone]:
    """Return what a model file should keep of the zones that its model was trained on.

    Args:
        predict: From (B, T, F) float32 inputs to (B, L) float32 outputs.
        windows: The windows that it was trained on, with the tested ones.
    """
    known = {}
    for zone in windows.zones:
        start = windows.test_start[zone.test][-BOUND_HOURS:]
        if len(start):
            output = np.concatenate([predict(windows.inputs(chunk)) for chunk in in_chunks(start)])
            forecast_mw = windows.to_mw(zone, start, output)
            first = windows.target_rows(windows.test_start[zone.test])[0]
            misses = misses_of(windows, zone, start, forecast_mw)
            known[zone.name] = KnownZone(zone.scaling, misses, held_out_from=windows.time[first])
        else:
            known[zone.name] = KnownZone(zone.scaling, None, _NONE_TESTED)
    return known


def zone_facts(zones: Mapping[str, KnownZone]) -> dict[str, Any]:
    """Return zones as JSON values."""
    return {
        name: {
            "scaling": scaling_facts(zone.scaling),
            "misses": misses_facts(zone.misses) if zone.misses else None,
            "no_misses_why": zone.no_misses_why,
            "held_out_from": None if zone.held_out_from is None else str(zone.held_out_from),
            "columns": list(zone.columns),
            "resample": zone.resample,
        }
        for name, zone in zones.items()
    }


def zones_from_facts(source: str, kind: FeatureKind, facts: Mapping[str, Any]) -> dict[str, KnownZone]:
    """Return the zones that `zone_facts` wrote.

    Args:
        source: The file they are from.
        kind: What features the model sees.
        facts: The facts.

    Raises:
        ModelFileError: If the facts are not such.
    """
    try:
        return {name: _known_zone(kind, zone) for name, zone in facts.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{source}: its zones are not of this version ({error!r}). Train the model again.") from error


def _known_zone(kind: FeatureKind, facts: Mapping[str, Any]) -> KnownZone:
    scaling = scaling_from_facts(kind, facts["scaling"])
    if "low" in facts and "high" in facts:
        return KnownZone(scaling, None, _SHARES)
    misses, resample, first = facts["misses"], facts.get("resample"), facts.get("held_out_from")
    if resample not in (None, *get_args(Resample)):
        raise ValueError(f"resample is {resample!r}")
    return KnownZone(
        scaling,
        misses_from_facts(misses) if misses else None,
        facts["no_misses_why"],
        np.datetime64(first, "s") if first else None,
        tuple(map(str, facts.get("columns", ()))),
        resample,
    )


def next_hours(
    predict: Predict, series: Sequence[Series], config: WindowConfig, zones: Mapping[str, KnownZone]
) -> list[NextHours]:
    """Forecast the hours after the last of each of some series.

    Gaps of up to `MOST_FILLED_HOURS` among the hours that are needed are filled first, hour by hour: by the regressions, or
    where the model has none, or their lags reach before the series, as `Series.filled` does. Bounds follow what was missed
    of earlier hours as far as the hours that those needed are there one after another, too.

    Args:
        predict: From (B, T, F) float32 inputs to (B, L) float32 outputs.
        series: The past of one or more zones, each hour once.
        config: How the model's windows are made.
        zones: What the model knows of its zones.

    Raises:
        DataError: If a series is too short, the hours that a forecast needs are not consecutive, it is of quite another size
            than what the model was trained on, or a forecast is NaN or infinite.
    """
    needed = SCALINGS[config.features].first_row + config.lookback
    for one in series:
        rows = len(one.time)
        if rows < needed:
            raise DataError(f"{one.name}: has {rows} hours, but a forecast needs the last {needed}. Give a longer series.")
    scalings = [
        zones[one.name].scaling
        if one.name in zones
        else SCALINGS[config.features].fit(one, slice(0, len(one.time)), config.horizon)
        for one in series
    ]
    for one, scaling in zip(series, scalings, strict=True):
        require_size_of_training(one, scaling)
    given = [one.time for one in series]
    series = [_whole(one, scaling, needed) for one, scaling in zip(series, scalings, strict=True)]
    described = [scaling.describe(one) for scaling, one in zip(scalings, series, strict=True)]
    found = []
    for one, times, scaling, own, features in zip(
        series, given, scalings, described, zone_features(series, described, config), strict=True
    ):
        output = predict(features[None, -config.lookback :])[0].astype(np.float64)
        load_mw, known = own.offset_mw[-1] + scaling.scale_mw * output, zones.get(one.name)
        require_finite_forecast(one.name, load_mw)
        time = one.time[-1] + HOUR * np.arange(1, config.horizon + 1)
        new = ~np.isin(one.time, times)
        bounds, why = None, known.no_misses_why if known else _NOT_TRAINED_ON
        if known and known.misses:
            row = _followed_rows(one, known, config)
            windows = (features[chunk[:, None] + np.arange(-config.lookback, 0)] for chunk in in_chunks(row))
            before = np.concatenate([np.empty((0, config.horizon)), *map(predict, windows)])
            forecast_mw = np.vstack([own.offset_mw[row] + scaling.scale_mw * before, load_mw])
            bounds = _bounds(known.misses, one, own, scaling, new, row, forecast_mw)
        filled = one.time[new], one.load_mw[new]
        found.append(NextHours(one.name, time, load_mw, bounds, why, known is not None, *filled))
    return found


def _followed_rows(series: Series, known: KnownZone, config: WindowConfig) -> RowArray:
    """Return the rows that are forecast again, so that bounds follow them: the last ones that were not trained on.

    Whatever one of them needs lies after the last gap, as does all that the forecast needs.
    """
    rows = len(series.time)
    first = _last_begin(series) + SCALINGS[config.features].first_row + config.lookback
    held_out = rows if known.held_out_from is None else int(np.searchsorted(series.time, known.held_out_from))
    return np.arange(max(first, held_out, rows - FOLLOWED_HOURS), rows)


def _last_begin(series: Series) -> int:
    """Return the first row of the hours, one after another, that a series ends with."""
    breaks = np.flatnonzero(np.diff(series.time) != HOUR)
    return int(breaks[-1]) + 1 if len(breaks) else 0


def _bounds(
    misses: Misses,
    series: Series,
    own: Described,
    scaling: Scaling,
    is_filled: BoolArray,
    row: RowArray,
    forecast_mw: FloatArray,
) -> Bounds:
    """Return the bounds of the hours after a series, which follow some of its rows.

    Args:
        misses: What the model missed of test hours.
        series: The series, of rows N.
        own: How the model sees it.
        scaling: By which scales.
        is_filled: Which rows were filled: what was missed there tells nothing. Shape (N,).
        row: The rows that are followed. Shape (B,).
        forecast_mw: Forecasts of these, and of the hours after the last row. Shape (B + 1, L).
    """
    leads, rows = forecast_mw.shape[1], len(series.time)
    row = np.append(row, rows)
    actual_mw = leads_of(np.where(is_filled, np.nan, series.load_mw), leads)[np.minimum(row, rows - 1)]
    actual_mw[row[:, None] + np.arange(leads) >= rows] = np.nan
    # Two weeks of lags of two weeks reach further back than the forecast does.
    begin = _last_begin(series)
    load_mw, offset_mw = series.load_mw[begin:], own.offset_mw[begin:-1]
    unrest = unrest_mw(load_mw, simple_forecasts_mw(scaling, load_mw, offset_mw))[row - begin]
    time = np.append(series.time, series.time[-1] + HOUR * np.arange(1, leads + 1))
    bounds = bounds_after(misses, row, forecast_mw, actual_mw, hour_of_day(time[row[:, None] + np.arange(leads)]), unrest)
    return replace(bounds, forecast_mw=bounds.forecast_mw[-1], hour=bounds.hour[-1], times=bounds.times[-1])


def _whole(series: Series, scaling: Scaling, needed: int) -> Series:
    """Return the series with its short gaps filled, as far as its last *needed* hours go.

    Raises:
        DataError: If a gap is too long, or an hour is there more than once.
    """
    while True:
        rows = len(series.time)
        gaps = np.flatnonzero(np.diff(series.time[-needed:]) != HOUR)
        if not len(gaps):
            return series
        before = rows - needed + int(gaps[0])
        missing = int((series.time[before + 1] - series.time[before]) / HOUR) - 1
        stamp = str(series.time[before]).replace("T", " ")
        if missing < 0:
            raise DataError(f"{series.name}: has {stamp} more than once. Merge its rows: Series.cleaned() takes their mean.")
        if missing > MOST_FILLED_HOURS:
            raise DataError(
                f"{series.name}: {missing} hours are missing after {stamp}, but a forecast needs the last {needed} hours "
                f"one after another, gaps of up to {MOST_FILLED_HOURS} hours apart. "
                "Fill the gap, for example with the hours of the day before."
            )
        if not isinstance(scaling, LinearScaling) or before + 1 < FIRST_ROW:
            until = replace(series, time=series.time[: before + 2], load_mw=series.load_mw[: before + 2])
            until = until.filled(MOST_FILLED_HOURS)
            series = replace(
                series,
                time=np.append(until.time, series.time[before + 2 :]),
                load_mw=np.append(until.load_mw, series.load_mw[before + 2 :]),
            )
            continue
        time = series.time[before] + HOUR
        past = slice(max(before + 1 - needed, 0), before + 1)
        head = replace(series, time=series.time[past], load_mw=series.load_mw[past])
        load_mw = scaling.describe(head).offset_mw[-1, 0]
        series = replace(
            series,
            time=np.insert(series.time, before + 1, time),
            load_mw=np.insert(series.load_mw, before + 1, load_mw),
        )


def require_size_of_training(series: Series, scaling: Scaling) -> None:
    """Refuse loads of quite another size than those that a model was trained on: their unit is likely to be another.

    Args:
        series: What is to be forecast.
        scaling: How the model sees the zone.

    Raises:
        DataError: If usual loads and the largest are `OTHER_UNIT` times as large or small, or more.
    """
    size_mw, largest_mw = map(float, np.percentile(np.abs(series.load_mw), (SIZE_PCT, 100.0)))
    # One wrong value is the size of the article's scales, which are ranges.
    alike = (1 / OTHER_UNIT < one_mw / scaling.size_mw < OTHER_UNIT for one_mw in (size_mw, largest_mw))
    if not size_mw or any(alike):
        return
    raise DataError(
        f"{series.name}: loads are about {size_mw:,.3g} MW, but the model was trained on about {scaling.size_mw:,.3g} MW: "
        "as it seems, in another unit. Give the loads in the unit of the training, or train a model on these."
    )


def require_finite_forecast(zone: str, forecast_mw: FloatArray) -> None:
    """Refuse forecasts that are no numbers.

    Args:
        zone: What they are of.
        forecast_mw: Forecasts. Shape (L,) or (N, L).

    Raises:
        DataError: If one is NaN or infinite.
    """
    bad = int(np.count_nonzero(~np.isfinite(forecast_mw)))
    if bad:
        raise DataError(
            f"{zone}: {bad} of {forecast_mw.size} forecasts are NaN or infinite: the model's arithmetic overflows on these "
            "loads. Compare their size with those that it was trained on, or train it again."
        )


def hourly_rows(
    forecasts: Sequence[NextHours], levels: Sequence[float] = (LEVEL,), quantiles: Sequence[float] = ()
) -> list[dict[str, Any]]:
    """Return one entry per zone and hour.

    Args:
        forecasts: The forecasts.
        levels: Levels of bounds.
        quantiles: Shares of quantiles.

    Returns:
        `zone`, `time`, `load_mw`, the bounds `low_mw` and `high_mw`, of several levels `low_50_mw` and so on, and quantiles
        such as `q0.1_mw`; None where the model knows none, or its misses are too few.
    """
    rows = []
    for one in forecasts:
        ends: dict[str, FloatArray | None] = {}
        for level in levels:
            low, high = one.bounds.between_mw(level) if one.bounds else (None, None)
            of_level = f"_{100 * level:g}" if len(levels) > 1 else ""
            ends |= {f"low{of_level}_mw": low, f"high{of_level}_mw": high}
        ends |= {f"q{share:g}_mw": one.bounds.quantile_mw(share) if one.bounds else None for share in quantiles}
        for lead, (time, load_mw) in enumerate(zip(one.time, one.load_mw.tolist(), strict=True)):
            at_lead = {name: None if end is None or np.isnan(end[lead]) else float(end[lead]) for name, end in ends.items()}
            rows.append({"zone": one.zone, "time": str(time).replace("T", " "), "load_mw": load_mw, **at_lead})
    return rows


def past_rows(series: Sequence[Series], forecasts: Sequence[NextHours], hours: int) -> list[dict[str, Any]]:
    """Return one entry per hour of the last of each series, those that were filled among them: `zone`, `time`, `load_mw`.

    Args:
        series: What was forecast, as it was given.
        forecasts: Its forecasts, in the same order.
        hours: How many hours before a forecast.
    """
    rows = []
    for one, of_zone in zip(series, forecasts, strict=True):
        time, load_mw = np.append(one.time, of_zone.filled), np.append(one.load_mw, of_zone.filled_mw)
        order = np.argsort(time, kind="stable")
        order = order[time[order] >= of_zone.time[0] - hours * HOUR]
        rows += _rows(one.name, time[order], load_mw[order])
    return rows


def filled_rows(forecasts: Sequence[NextHours]) -> list[dict[str, Any]]:
    """Return one entry per hour that was filled before forecasting: `zone`, `time`, `load_mw`."""
    return [row for one in forecasts for row in _rows(one.zone, one.filled, one.filled_mw)]


def _rows(zone: str, time: TimeArray, load_mw: FloatArray) -> list[dict[str, Any]]:
    return [
        {"zone": zone, "time": str(at).replace("T", " "), "load_mw": load}
        for at, load in zip(time, load_mw.tolist(), strict=True)
    ]


def write_hours(path: Path, rows: Sequence[Mapping[str, Any]], filled: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write rows of `hourly_rows`, at least one, to a CSV file, whole or not at all.

    Rows of `filled_rows` come first. The last column, `kind`, tells them apart: `filled` or `forecast`.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, [*rows[0], "kind"], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "kind": "filled"} for row in filled)
    writer.writerows({**row, "kind": "forecast"} for row in rows)
    write_text(path, text.getvalue())
