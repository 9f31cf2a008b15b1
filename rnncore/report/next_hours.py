"""A picture of forecasts: the last week, the next hours and their bounds, a panel for each zone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair
import vl_convert

from rnncore.amounts import power_unit
from rnncore.files import whole_file, write_text
from rnncore.report.figure import PALETTE, QUIET, SCALE

WIDTH, HEIGHT = 720, 180

# What a picture may be, by the suffix of its file.
SUFFIXES = (".png", ".svg")


def next_hours_chart(past: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> altair.VConcatChart:
    """Draw loads and forecasts.

    Args:
        past: Entries of `zone`, `time` and `load_mw`, in order of time.
        rows: The same of the hours that are forecast, with bounds: pairs of keys that begin with `low` and `high`, in
            the order of their levels.
    """
    scale_mw, unit = power_unit(row["load_mw"] for row in rows)
    zones = list(dict.fromkeys(row["zone"] for row in rows))
    return altair.vconcat(
        *(
            _panel(
                zone,
                [row for row in past if row["zone"] == zone],
                [row for row in rows if row["zone"] == zone],
                scale_mw,
                unit,
            )
            for zone in zones
        )
    )


def write_picture(chart: altair.VConcatChart, path: Path) -> None:
    """Draw a chart to a PNG or SVG file, by its suffix, whole or not at all."""
    if path.suffix == ".svg":
        write_text(path, str(vl_convert.vegalite_to_svg(chart.to_json())))
        return
    png = vl_convert.vegalite_to_png(chart.to_json(), scale=SCALE)
    with whole_file(path) as temporary:
        temporary.write_bytes(png)


def _panel(
    zone: str, past: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], scale_mw: float, unit: str
) -> altair.LayerChart:
    x = altair.X("time:T", scale=altair.Scale(type="utc"), title=None)
    bands = []
    for low, high in [(name, name.replace("low", "high", 1)) for name in rows[0] if name.startswith("low")]:
        held = [
            {"time": _stamp(row), "low": row[low] / scale_mw, "high": row[high] / scale_mw}
            for row in rows
            if row[low] is not None and row[high] is not None
        ]
        if held:
            band = altair.Chart(altair.InlineData(held)).mark_area(opacity=0.25, color=PALETTE[1], line=False)
            # Of a single hour an area is nothing to see.
            rule = altair.Chart(altair.InlineData(held)).mark_rule(opacity=0.4, color=PALETTE[1], strokeWidth=3)
            bands += [one.encode(x=x, y=altair.Y("low:Q"), y2="high:Q") for one in (band, rule)]
    return altair.layer(
        *bands,
        _line(past, x, zone, scale_mw, unit).mark_line(color=QUIET),
        _line([*past[-1:], *rows], x, zone, scale_mw, unit).mark_line(color=PALETTE[1]),
    ).properties(width=WIDTH, height=HEIGHT, title=zone)


def _line(rows: Sequence[Mapping[str, Any]], x: altair.X, zone: str, scale_mw: float, unit: str) -> altair.Chart:
    points = [{"time": _stamp(row), "load": row["load_mw"] / scale_mw} for row in rows]
    title = f"{zone}, {unit}"
    return altair.Chart(altair.InlineData(points)).encode(x=x, y=altair.Y("load:Q", title=title, scale=altair.Scale(zero=False)))


def _stamp(row: Mapping[str, Any]) -> str:
    """Return a local time as one that no time zone of this machine moves."""
    return f"{str(row['time']).replace(' ', 'T')}Z"
