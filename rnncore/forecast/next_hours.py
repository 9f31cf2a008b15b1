"""The next hours of a series, by a trained model, with bounds from what it missed of hours that it was not trained on."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rnncore.errors import DataError, ModelFileError
from rnncore.files import write_text
from rnncore.forecast.features import SCALINGS, FeatureKind, LinearScaling, Scaling, scaling_facts, scaling_from_facts
from rnncore.forecast.scoring import Predict, in_chunks
from rnncore.forecast.series import HOUR, FloatArray, Series, TimeArray
from rnncore.forecast.windows import WindowConfig, Windows, zone_features

# What lies below and above the bounds, in equal parts.
OUTSIDE_PCT = 10.0

# Hours of the longest gap that is filled before a forecast.
MOST_FILLED_HOURS = 6

# Test hours of a zone, its last, that the bounds are made from.
BOUND_HOURS = 2000


@dataclass(frozen=True)
class KnownZone:
    """What a model file keeps of a zone that it was trained on.

    Attributes:
        scaling: How its loads become inputs, and outputs MW.
        low: By lead, how far below a forecast the load may lie, as a share of the forecast; None where no hours were tested,
            or forecasts of 0 leave no share.
        high: The same above.
    """

    scaling: Scaling
    low: tuple[float, ...] | None
    high: tuple[float, ...] | None


@dataclass(frozen=True)
class NextHours:
    """A forecast.

    Attributes:
        zone: Its zone.
        time: The hours. Shape (L,).
        load_mw: Their loads. Shape (L,).
        low_mw: Lower bounds; None where the model knows none for the zone. Shape (L,).
        high_mw: Upper bounds. Shape (L,).
        is_known: Whether the model was trained on the zone; its scales are otherwise those of the series itself.
        filled: Hours that the forecast needed and the series lacked. Shape (M,).
        filled_mw: What they were filled with. Shape (M,).
    """

    zone: str
    time: TimeArray
    load_mw: FloatArray
    low_mw: FloatArray | None
    high_mw: FloatArray | None
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
        low = high = None
        if len(start):
            output = np.concatenate([predict(windows.inputs(chunk)) for chunk in in_chunks(start)])
            forecast_mw = windows.to_mw(zone, start, output)
            with np.errstate(divide="ignore", invalid="ignore"):
                missed = (windows.target_load_mw(start) - forecast_mw) / forecast_mw
                ends = np.percentile(missed, [OUTSIDE_PCT / 2, 100 - OUTSIDE_PCT / 2], axis=0)
            if np.isfinite(ends).all():
                low, high = (tuple(map(float, end)) for end in ends)
        known[zone.name] = KnownZone(zone.scaling, low, high)
    return known


def zone_facts(zones: Mapping[str, KnownZone]) -> dict[str, Any]:
    """Return zones as JSON values."""
    return {
        name: {"scaling": scaling_facts(zone.scaling), "low": zone.low, "high": zone.high} for name, zone in zones.items()
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
        return {
            name: KnownZone(
                scaling_from_facts(kind, zone["scaling"]),
                *(None if zone[end] is None else tuple(map(float, zone[end])) for end in ("low", "high")),
            )
            for name, zone in facts.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{source}: its zones are not of this version ({error!r}). Train the model again.") from error


def next_hours(
    predict: Predict, series: Sequence[Series], config: WindowConfig, zones: Mapping[str, KnownZone]
) -> list[NextHours]:
    """Forecast the hours after the last of each of some series.

    Gaps of up to `MOST_FILLED_HOURS` among the hours that are needed are filled first, hour by hour: by the regressions, or
    where the model has none as `Series.filled` does.

    Args:
        predict: From (B, T, F) float32 inputs to (B, L) float32 outputs.
        series: The past of one or more zones, each hour once.
        config: How the model's windows are made.
        zones: What the model knows of its zones.

    Raises:
        DataError: If a series is too short, its last hours are not consecutive, or a forecast is NaN or infinite.
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
        low = high = None
        if known and known.low and known.high:
            # Of a load below 0 the larger share is the lower bound.
            low, high = np.sort([load_mw * (1 + np.array(end)) for end in (known.low, known.high)], axis=0)
        time = one.time[-1] + HOUR * np.arange(1, config.horizon + 1)
        new = ~np.isin(one.time, times)
        found.append(NextHours(one.name, time, load_mw, low, high, known is not None, one.time[new], one.load_mw[new]))
    return found


def _whole(series: Series, scaling: Scaling, needed: int) -> Series:
    """Return the series with its short gaps filled, as far as its last *needed* hours go.

    Raises:
        DataError: If a gap is too long.
    """
    while True:
        rows = len(series.time)
        gaps = np.flatnonzero(np.diff(series.time[-needed:]) != HOUR)
        if not len(gaps):
            return series
        before = rows - needed + int(gaps[0])
        missing = int((series.time[before + 1] - series.time[before]) / HOUR) - 1
        if missing > MOST_FILLED_HOURS:
            raise DataError(
                f"{series.name}: {missing} hours are missing after {str(series.time[before]).replace('T', ' ')}, but a "
                f"forecast needs the last {needed} hours one after another, gaps of up to {MOST_FILLED_HOURS} hours apart. "
                "Fill the gap, for example with the hours of the day before."
            )
        if not isinstance(scaling, LinearScaling):
            series = series.filled(MOST_FILLED_HOURS)
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


def hourly_rows(forecasts: Sequence[NextHours]) -> list[dict[str, Any]]:
    """Return one entry per zone and hour: `zone`, `time`, `load_mw`, and the bounds `low_mw` and `high_mw` or None."""
    rows = []
    for one in forecasts:
        for lead, (time, load_mw) in enumerate(zip(one.time, one.load_mw.tolist(), strict=True)):
            low_mw, high_mw = (None if end is None else float(end[lead]) for end in (one.low_mw, one.high_mw))
            stamp = str(time).replace("T", " ")
            rows.append({"zone": one.zone, "time": stamp, "load_mw": load_mw, "low_mw": low_mw, "high_mw": high_mw})
    return rows


def filled_rows(forecasts: Sequence[NextHours]) -> list[dict[str, Any]]:
    """Return one entry per hour that was filled before forecasting: `zone`, `time`, `load_mw`."""
    return [
        {"zone": one.zone, "time": str(time).replace("T", " "), "load_mw": load_mw}
        for one in forecasts
        for time, load_mw in zip(one.filled, one.filled_mw.tolist(), strict=True)
    ]


def write_hours(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of `hourly_rows` to a CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ("zone", "time", "load_mw", "low_mw", "high_mw"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
