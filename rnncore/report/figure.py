"""Figures: charts as Altair specifications, drawn without a browser."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair
import vl_convert

from rnncore.files import whole_file, write_text
from rnncore.report.words import BASELINE_NAMES

# Okabe and Ito's palette, which colour-blind readers can distinguish too; then further colours, some of them of Paul Tol's
# muted scheme, for charts of more: the full grid has fifteen runtimes.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#6B3D00", "#F0E442", "#332288"]
PALETTE += ["#882255", "#117733", "#CC6677", "#44AA99", "#999933", "#AA4499"]

SCALE = 2.0

# Ceilings, baselines and roofs: there to be compared with, not looked at first.
QUIET = "#595959"

WIDTH, HEIGHT, ROW_HEIGHT = 560, 320, 24

# Of names of rows: pixels, and letters that are kept of the two ends of a long one.
_LABEL_WIDTH, _HEAD, _TAIL = 260, 17, 26

# Rows that a chart shows, at most; the tables have all.
SHOWN_ROWS = 16

# Baselines beyond this many times the worst model would squeeze the models together.
SHOWN_BASELINES = 2.0

Chart = altair.Chart | altair.LayerChart | altair.FacetChart


@dataclass(frozen=True)
class Figure:
    """A chart, with words in its place where it cannot be seen.

    Attributes:
        name: Stem of its files.
        alt: What it shows, in a sentence.
        chart: Its specification; as wide as its frame in a page.
    """

    name: str
    alt: str
    chart: Chart

    @property
    def spec(self) -> dict[str, Any]:
        """The specification as JSON values."""
        return dict(self.chart.to_dict())


def names_axis() -> altair.Axis:
    """Return the axis of rows by name; of a long one the middle is left out, as its ends tell benchmarks apart."""
    shortened = f"slice(datum.label, 0, {_HEAD}) + '…' + slice(datum.label, -{_TAIL})"
    return altair.Axis(
        labelLimit=_LABEL_WIDTH,
        labelExpr=f"length(datum.label) > {_HEAD + _TAIL + 1} ? {shortened} : datum.label",
    )


def rows_height(rows: int) -> int:
    """Return the height of a chart with a line for each row."""
    return max(60, ROW_HEIGHT * rows)


def baseline_layers(baselines_smape: Mapping[str, float], worst_smape: float, left: bool) -> list[altair.Chart]:
    """Draw baselines as lines with their names, unless they squeeze the models together.

    Args:
        baselines_smape: Their sMAPE in percent, by name.
        worst_smape: Of the models.
        left: Where the names are: at the left, else at the right.
    """
    lines = [
        {"name": BASELINE_NAMES.get(name, name), "smape": float(smape)}
        for name, smape in baselines_smape.items()
        if float(smape) <= SHOWN_BASELINES * worst_smape
    ]
    if not lines:
        return []
    rules = altair.Chart(altair.InlineData(lines)).encode(y=altair.Y("smape:Q"))
    names = rules.mark_text(align="left" if left else "right", baseline="bottom", dx=4 if left else -4, color=QUIET)
    at = altair.value(0) if left else altair.value("width")
    return [rules.mark_rule(strokeDash=[2, 3], color=QUIET), names.encode(x=at, text="name:N")]


def write_chart(chart: Chart | altair.VConcatChart, path: Path) -> None:
    """Draw a chart to an SVG file, or else to a PNG file, by the suffix of its name, whole or not at all."""
    if path.suffix == ".svg":
        write_text(path, str(vl_convert.vegalite_to_svg(chart.to_json())))
        return
    png = vl_convert.vegalite_to_png(chart.to_json(), scale=SCALE)
    with whole_file(path) as temporary:
        temporary.write_bytes(png)


def write_figure(figure: Figure, folder: Path) -> str:
    """Draw a figure to an SVG and a PNG file, whole or not at all; return the SVG."""
    svg = str(vl_convert.vegalite_to_svg(figure.chart.to_json()))
    write_text(folder / f"{figure.name}.svg", svg)
    with whole_file(folder / f"{figure.name}.png") as temporary:
        temporary.write_bytes(vl_convert.svg_to_png(svg, scale=SCALE))
    return svg
