"""A picture of forecasts: the last week, the next hours and their bounds, a panel for each zone."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair

from rnncore.amounts import power_unit
from rnncore.report.figure import PALETTE, QUIET, Chart

WIDTH, HEIGHT = 720, 180

# Entries of `zone`, `time`, `load_mw` and, of a forecast, its bounds.
Rows = Sequence[Mapping[str, Any]]


def next_hours_chart(past: Rows, forecast: Rows, filled: Rows = ()) -> altair.VConcatChart:
    """Draw loads and forecasts, in the unit of the forecasts.

    Args:
        past: Entries of `zone`, `time` and `load_mw`, in order of time, filled hours among them.
        forecast: The same of the hours that follow, with bounds: pairs of keys that begin with `low` and `high`.
        filled: Those of the past that were filled, which get a dot.
    """
    scale_mw, unit = power_unit(row["load_mw"] for row in forecast)
    panels = [
        _panel(zone, unit, scale_mw, *([row for row in rows if row["zone"] == zone] for rows in (past, forecast, filled)))
        for zone in dict.fromkeys(row["zone"] for row in forecast)
    ]
    return altair.vconcat(*panels)


def _panel(zone: str, unit: str, scale_mw: float, past: Rows, forecast: Rows, filled: Rows) -> Chart:
    x = altair.X("time:T", scale=altair.Scale(type="utc"), title=None)
    y = altair.Y("load:Q", title=unit, scale=altair.Scale(zero=False))

    def loads(rows: Rows) -> altair.Chart:
        points = [{"time": _stamp(row), "load": row["load_mw"] / scale_mw} for row in rows]
        return altair.Chart(altair.InlineData(points)).encode(x=x, y=y)

    layers = []
    for low in (name for name in forecast[0] if name.startswith("low")):
        held = _held(forecast, low, low.replace("low", "high", 1), scale_mw)
        band = altair.Chart(altair.InlineData(held)).encode(x=x, y=altair.Y("low:Q"), y2="high:Q")
        # Of a single hour an area is nothing to see.
        layers += [band.mark_area(opacity=0.25, color=PALETTE[1]), band.mark_rule(opacity=0.4, color=PALETTE[1])]
    layers.append(loads(past).mark_line(color=QUIET))
    layers.append(loads([*past[-1:], *forecast]).mark_line(color=PALETTE[1]))
    layers.append(loads(filled).mark_point(color=PALETTE[0], filled=True, size=40))
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT, title=zone)


def _held(forecast: Rows, low: str, high: str, scale_mw: float) -> list[dict[str, Any]]:
    """Return the bounds of the hours that have some."""
    return [
        {"time": _stamp(row), "low": row[low] / scale_mw, "high": row[high] / scale_mw}
        for row in forecast
        if row[low] is not None
    ]


def _stamp(row: Mapping[str, Any]) -> str:
    """Return a local time as one that no time zone of this machine moves."""
    return f"{str(row['time']).replace(' ', 'T')}Z"
