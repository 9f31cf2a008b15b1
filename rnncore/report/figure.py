"""Figures: charts as Altair specifications, drawn without a browser."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair
import vl_convert

from rnncore.files import whole_file, write_text

# Okabe and Ito's palette, told apart by colour-blind readers too; a grey and a brown for charts of more.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#6B3D00", "#F0E442", "#332288"]

SCALE = 2.0

# Ceilings, baselines and roofs: there to be compared with, not looked at first.
QUIET = "#595959"

WIDTH, HEIGHT, ROW_HEIGHT = 560, 320, 24

# Rows and calls that a chart shows, at most; the tables have all.
SHOWN_ROWS, SHOWN_CALLS = 16, 100

# Free space above and below the lines of a logarithmic axis.
ROOM = 1.3

Chart = altair.Chart | altair.LayerChart | altair.FacetChart


@dataclass(frozen=True)
class Figure:
    """A chart with what stands for it where it cannot be seen.

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


def evenly(values: list[float], most: int) -> list[float]:
    """Return the values, or where they are more than so many, evenly chosen ones with the first and the last."""
    if len(values) <= most:
        return values
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def write_chart(chart: Chart, path: Path) -> None:
    """Draw a chart to a PNG file, whole or not at all."""
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
