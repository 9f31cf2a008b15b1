"""Charts as Altair specifications, drawn without a browser."""

from pathlib import Path
from typing import Any

import altair
import vl_convert

from rnncore.compare.runs import Record
from rnncore.files import whole_file
from rnncore.report.tables import cell_name, how

# Okabe and Ito's palette, told apart by colour-blind readers too.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
SCALE = 2.0

# Free space above and below the lines of a logarithmic axis.
ROOM = 1.3

Chart = altair.Chart | altair.LayerChart | altair.FacetChart


def throughput_chart(records: list[Record]) -> Chart:
    """Draw windows per second against batch size, one line per cell and runtime.

    Args:
        records: Records of the phase `infer`.
    """
    values = [
        {
            "batch": int(record.extra["batch_size"]),
            "windows_per_s": record.windows_per_s,
            "runtime": how(record),
            "cell": cell_name(record),
        }
        for record in records
    ]
    rates = [record.windows_per_s for record in records]
    base = altair.Chart(altair.InlineData(values)).encode(
        x=altair.X("batch:Q", scale=altair.Scale(type="log", base=2), title="Windows per call (batch size)"),
        y=altair.Y(
            "windows_per_s:Q",
            scale=altair.Scale(type="log", domain=[min(rates) / ROOM, max(rates) * ROOM], nice=False),
            axis=altair.Axis(format="~s"),
            title="Windows per second",
        ),
        color=altair.Color("runtime:N", scale=altair.Scale(range=PALETTE), title="Runtime"),
    )
    lines = base.mark_line().encode(strokeDash=altair.StrokeDash("cell:N", title="Cell"))
    points = base.mark_point(filled=True, size=70, opacity=1).encode(shape=altair.Shape("cell:N", legend=None))
    return altair.layer(lines, points).properties(width=560, height=320)


def forecast_panel(panels: list[dict[str, Any]]) -> Chart:
    """Draw forecasts against actual load, one panel per zone, two in a row, as the article's figure does.

    Args:
        panels: One entry per zone: `zone`, `hours` (1 and up), `actual_mw`, and `forecast_mw` by name.
    """
    values = []
    for panel in panels:
        lines = {"Actual": panel["actual_mw"], **panel["forecast_mw"]}
        values += [
            {"zone": panel["zone"], "hour": hour, "MW": mw, "Load": name}
            for name, line in lines.items()
            for hour, mw in zip(panel["hours"], line, strict=True)
        ]
    names = list(dict.fromkeys(value["Load"] for value in values))
    lines = (
        altair.Chart()
        .mark_line(strokeWidth=1.6)
        .encode(
            x=altair.X("hour:Q", title=f"Hour, of the last {len(panels[0]['hours'])} tested"),
            y=altair.Y("MW:Q", title="Load in MW", scale=altair.Scale(zero=False)),
            color=altair.Color("Load:N", sort=names, scale=altair.Scale(domain=names, range=PALETTE[: len(names)])),
            strokeDash=altair.StrokeDash("Load:N", sort=names, scale=altair.Scale(domain=names)),
        )
        .properties(width=380, height=220)
    )
    facet = altair.Facet("zone:N", title=None)
    figure = altair.FacetChart(data=altair.InlineData(values), spec=lines, facet=facet, columns=2)
    figure.resolve = altair.Resolve(scale=altair.ScaleResolveMap(y="independent"))
    return figure


def write_chart(chart: Chart, path: Path) -> None:
    """Draw a chart to a PNG file, whole or not at all."""
    png = vl_convert.vegalite_to_png(chart.to_json(), scale=SCALE)
    with whole_file(path) as temporary:
        temporary.write_bytes(png)
