"""Forecasts beside the actual load."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.report.figure import PALETTE, Chart, Figure
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.runfile.record import Run


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


def panels_of(run: Run) -> list[dict[str, Any]]:
    """Return the panels of all cells zone by zone; of a cell that several runtimes scored, the first."""
    by_zone: dict[str, dict[str, Any]] = {}
    for record in valid(run.phase("accuracy")):
        for panel in record.panels or ():
            joined = by_zone.setdefault(panel["zone"], {**panel, "forecast_mw": {}})
            if panel["hours"] == joined["hours"]:
                for name, forecast_mw in panel["forecast_mw"].items():
                    joined["forecast_mw"].setdefault(name, forecast_mw)
    return list(by_zone.values())


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return nothing: the figure is shown beside the scores of its models."""
    return []


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the last test hours."""
    return [Figure("forecasts", "Forecast beside actual load, last test hours", forecast_panel(panels_of(runs[0])))]


LACKING = no_row_of("bench/bench_accuracy.py", " with its forecasts")
SECTION = Section("", text, figures, panels_of, LACKING)
