"""Figures: charts as Altair specifications, drawn without a browser, wide and narrow."""

import copy
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import altair
import vl_convert

from rnncore.files import whole_file, write_text
from rnncore.report.words import BASELINE_NAMES

# After Okabe and Ito's palette, which colour-blind readers can distinguish too; each is told from white and from black.
PALETTE = ["#0072B2", "#B07A00", "#009E73", "#B45A8E", "#D55E00", "#7A6FD0", "#8C6D46"]

# Of what is there to be compared with, and not looked at first: ceilings, baselines, roofs, and series beyond the palette.
QUIET, OTHERS = "#595959", "#a6a6a6"

# What became faster, and what became slower.
FASTER, SLOWER = PALETTE[0], PALETTE[4]

SCALE = 2.0

WIDTH, HEIGHT, ROW_HEIGHT = 560, 320, 24

# Pixels of the plot of a picture for narrow screens, beside names of rows and without.
_NARROW_BESIDE, _NARROW_ALONE = 140, 260

# Of names of rows: pixels, and letters that are kept of the two ends of a long one.
_LABEL_WIDTH, _HEAD, _TAIL = 340, 27, 28
_NARROW_LABEL, _NARROW_HEAD, _NARROW_TAIL = 195, 13, 17

# Letters of a line of a title of an axis on a narrow screen.
_NARROW_TITLE = 30

# Pixels from one line of labels to the next.
_LABEL_HEIGHT = 15

# Rows that a chart shows, at most; the tables have all.
SHOWN_ROWS = 16

# A chart of more rows has its axis at the top, where reading begins.
LONG_ROWS = 20

# Baselines beyond this many times the worst model would squeeze the models together.
SHOWN_BASELINES = 1.25

# Ticks of an axis, about.
FEW_TICKS = 5

# Ticks of a logarithmic axis per power of ten, by how many of these it spans.
_STEPS = (
    (0.1, (1, 1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.7, 2, 2.2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9, 9.5, 9.8)),
    (0.3, (1, 1.1, 1.2, 1.3, 1.5, 1.7, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)),
    (1.0, (1, 1.5, 2, 3, 5, 7)),
    (1.7, (1, 2, 5)),
    (2.7, (1, 3)),
)

# Letters of a text that is drawn, at most: the time to measure one grows with them.
DRAWN_LETTERS = 400

# What a picture is not given: what XML forbids, ends of lines, halves of signs, and signs that are two halves to Vega, which
# cuts between them. On each of these what draws ends the process or fails.
_NOT_DRAWN = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd]")
# Unicode's own in place of them.
_REPLACEMENT = "\ufffd"

# Ids of a picture are those of its page.
_ID = re.compile(r'(\bid="|url\(#)(?=clip|gradient)')

# What marks are to readers of screens, which have the figure in a sentence and its table; and what they say at the pointer.
_ROLE = re.compile(r' (?:role|aria-roledescription|aria-hidden)="[^"]*"')
_LABEL = re.compile(r' aria-label="')

# Where a specification has the values that it draws, by name.
_VALUES = "datasets"

# As page.css has it, with a paper of its own.
_HALO = "text { paint-order: stroke; stroke: white; stroke-width: 3px; stroke-linejoin: round; }"

_INK, _GRID = "#1a1a1a", "#dddddd"
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": "Arial, Liberation Sans, Helvetica, sans-serif",
    "axis": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": _INK,
        "titleColor": _INK,
        "gridColor": _GRID,
        "domainColor": OTHERS,
        "tickColor": OTHERS,
        "labelOverlap": "greedy",
        "labelSeparation": 12,
    },
    "legend": {
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelColor": _INK,
        "titleColor": _INK,
        "symbolBaseFillColor": QUIET,
        "symbolBaseStrokeColor": QUIET,
    },
    "header": {"labelFontSize": 13, "labelFontWeight": "bold", "labelColor": _INK, "titleColor": _INK},
    "text": {"fontSize": 12, "color": _INK},
    "view": {"stroke": None},
}

Chart = altair.Chart | altair.LayerChart | altair.FacetChart

# What a mark tells at the pointer, and its colour: fields of its values.
TIP = altair.Description("tip:N")
OWN_COLOUR = altair.Color("colour:N", scale=None, legend=None)


@dataclass(frozen=True)
class Figure:
    """A chart, with words in its place where it cannot be seen.

    Attributes:
        name: Stem of its files.
        alt: What it shows, in a sentence.
        chart: Its specification.
        narrow_chart: One of its own for narrow screens; None where the same serves, made slim.
    """

    name: str
    alt: str
    chart: Chart
    narrow_chart: Chart | None = None

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The specification as JSON values, in the style of all figures."""
        return _styled(self.chart)

    @property
    def narrow_spec(self) -> dict[str, Any]:
        """The same for narrow screens."""
        return _narrow(self.spec) if self.narrow_chart is None else _styled(self.narrow_chart)


def _styled(chart: Chart | altair.VConcatChart) -> dict[str, Any]:
    # Altair's own check of it takes half of the time; what is wrong in it does not draw.
    spec = drawable(chart.to_dict(validate=False))
    return {**spec, "config": {**spec.get("config", {}), **_CONFIG}}


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG.

    Attributes:
        wide: For a page on a desktop, and on paper.
        narrow: The same for a phone: less wide, its letters as large.
    """

    wide: str
    narrow: str


def tip_text(name: str, **known: float | int | str | None) -> str:
    """Return what a mark tells: its name, and facts by their names, numbers with four significant digits."""
    facts = {fact: f"{value:,.4g}" if isinstance(value, float) else value for fact, value in known.items()}
    return "; ".join([name, *[f"{fact}: {value}" for fact, value in facts.items() if value is not None]])


def names_axis() -> altair.Axis:
    """Return the axis of rows by name; of a long one the middle is left out, as its ends tell benchmarks apart."""
    return altair.Axis(labelLimit=_LABEL_WIDTH, labelExpr=_shortened(_HEAD, _TAIL), labelOverlap=False)


def named_rows(values: Sequence[Mapping[str, Any]]) -> altair.Chart:
    """Return the chart of values with a line for each name, their `row`, in the order in which they come."""
    names = list(dict.fromkeys(one["row"] for one in values))
    return altair.Chart(altair.InlineData(values)).encode(y=altair.Y("row:N", sort=names, title=None, axis=names_axis()))


def log_x(low: float, high: float, title: str, axis: altair.Axis | None = None) -> Callable[[str], altair.X]:
    """Return what places fields of values on one logarithmic axis.

    Args:
        low: Its lowest value.
        high: Its highest.
        title: What is on it.
        axis: None for that of `log_axis`.
    """
    scale = altair.Scale(type="log", domain=[low, high], nice=False)
    shown = log_axis(low, high) if axis is None else axis
    return lambda field: altair.X(f"{field}:Q", scale=scale, axis=shown, title=title)


def rows_height(rows: int) -> int:
    """Return the height of a chart with a line for each row."""
    return max(60, ROW_HEIGHT * rows)


def values_axis(rows: int, **of_axis: Any) -> altair.Axis:
    """Return the axis of values of a chart with a line for each row: on top where there are many."""
    return altair.Axis(**{"orient": "top" if rows > LONG_ROWS else "bottom", "tickCount": FEW_TICKS, **of_axis})


def log_axis(low: float, high: float, form: str = ",~g", **of_axis: Any) -> altair.Axis:
    """Return a logarithmic axis with few ticks, each labelled where there is room.

    Args:
        low: Its lowest value.
        high: Its highest.
        form: Of its labels.
        of_axis: What else is said of the axis.
    """
    return altair.Axis(values=log_ticks(low, high), format=form, **of_axis)


def log_ticks(low: float, high: float) -> list[float]:
    """Return round values between two positive ones, at most about twice `FEW_TICKS`: of a wide span powers of ten alone."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = next((steps for decades, steps in _STEPS if math.log10(high / low) <= decades), (1,))
    ticks = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def colours(names: Sequence[str]) -> altair.Scale:
    """Return the scale of colours of series, the most important first: beyond the palette all are grey."""
    rest = [OTHERS] * (len(names) - len(PALETTE))
    return altair.Scale(domain=list(names), range=[*PALETTE, *rest][: len(names)])


def baseline_layers(baselines_smape: Mapping[str, float], worst_smape: float) -> list[altair.Chart]:
    """Draw baselines as lines with their names at either end by turns, unless they squeeze the models together.

    Args:
        baselines_smape: Their sMAPE in percent, by name.
        worst_smape: Of the models.
    """
    shown = sorted(((float(smape), name) for name, smape in baselines_smape.items()), reverse=True)
    lines = [
        {"name": BASELINE_NAMES.get(name, name), "smape": smape, "is_left": index % 2 == 0}
        for index, (smape, name) in enumerate(shown)
        if smape <= SHOWN_BASELINES * worst_smape
    ]
    if not lines:
        return []
    rules = altair.Chart(altair.InlineData(lines)).encode(y=altair.Y("smape:Q"))
    left = rules.transform_filter("datum.is_left").mark_text(align="left", baseline="bottom", dx=4, color=QUIET)
    right = rules.transform_filter("!datum.is_left").mark_text(align="right", baseline="bottom", dx=-4, color=QUIET)
    return [
        rules.mark_rule(strokeDash=[2, 3], color=QUIET),
        left.encode(x=altair.value(0), text="name:N"),
        right.encode(x=altair.value("width"), text="name:N"),
    ]


def drawable(value: Any) -> Any:
    """Return JSON values whose every text can be drawn: signs that cannot are replaced, long ones lose their middle."""
    if isinstance(value, str):
        text = _NOT_DRAWN.sub(_REPLACEMENT, value)
        half = DRAWN_LETTERS // 2
        return text if len(text) <= DRAWN_LETTERS else f"{text[:half]}…{text[1 - half :]}"
    if isinstance(value, dict):
        return {drawable(key): drawable(inner) for key, inner in value.items()}
    return [drawable(inner) for inner in value] if isinstance(value, list | tuple) else value


def draw(figure: Figure) -> Drawing:
    """Draw a figure for a page."""
    specs = {"wide": figure.spec, "narrow": figure.narrow_spec}
    return Drawing(**{kind: _own_ids(_svg(spec), f"{figure.name}-{kind}-") for kind, spec in specs.items()})


def write_chart(chart: Chart | altair.VConcatChart, path: Path) -> None:
    """Draw a chart to an SVG file, or else to a PNG file, by the suffix of its name, whole or not at all."""
    _write_picture(_on_white(_svg(_styled(chart))), path)


def write_figure(figure: Figure, folder: Path) -> Drawing:
    """Draw a figure to an SVG and a PNG file, whole or not at all, and for a page."""
    drawing = draw(figure)
    for suffix in ("svg", "png"):
        _write_picture(_on_white(drawing.wide), folder / f"{figure.name}.{suffix}")
    return drawing


def _write_picture(svg: str, path: Path) -> None:
    if path.suffix == ".svg":
        write_text(path, svg)
        return
    with whole_file(path) as temporary:
        temporary.write_bytes(vl_convert.svg_to_png(svg, scale=SCALE))


def _shortened(head: int, tail: int) -> str:
    shortened = f"slice(datum.label, 0, {head}) + '…' + slice(datum.label, -{tail})"
    return f"length(datum.label) > {head + tail + 1} ? {shortened} : datum.label"


def _svg(spec: Mapping[str, Any]) -> str:
    svg = str(vl_convert.vegalite_to_svg(dict(spec)))
    return _LABEL.sub(' data-tip="', _ROLE.sub("", svg))


def _on_white(svg: str) -> str:
    """Return a picture on white paper, as a file may be shown in the dark; lines end around its letters."""
    opened = svg.index(">", svg.index("<svg")) + 1
    paper = '<rect width="100%" height="100%" fill="white"/>'
    return f"{svg[:opened]}<style>{_HALO}</style>{paper}{svg[opened:]}"


def _own_ids(svg: str, prefix: str) -> str:
    """Make the ids of a picture its own among those of a page."""
    return _ID.sub(rf"\g<1>{prefix}", svg)


def _narrow(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification for a narrow screen: a slim plot, short names, panels and legends below one another."""
    # Its values, of which there may be thousands, stay as they are.
    narrow = copy.deepcopy({name: part for name, part in spec.items() if name != _VALUES})
    of_panels = narrow.get("spec") if "facet" in narrow else narrow
    if isinstance(of_panels, dict):
        of_panels["width"] = _NARROW_BESIDE if _has_names(narrow) else _NARROW_ALONE
    if "facet" in narrow:
        narrow["columns"] = 1
    if _has_names(narrow) and "layer" in narrow:
        # Beside the names is no room for words at the left of a mark.
        narrow["layer"] = [layer for layer in narrow["layer"] if _align(layer) != "right"]
        for channel in _titled(narrow):
            if ticks := (channel.get("axis") or {}).get("values"):
                # With 1 among them, which ratios are around.
                channel["axis"]["values"] = ticks[ticks.index(1) % 2 if 1 in ticks else 0 :: 2]
    for channel in _titled(narrow):
        channel["title"] = textwrap.wrap(channel["title"], _NARROW_TITLE)
    for axis in _name_axes(narrow):
        axis.update(labelLimit=_NARROW_LABEL, labelExpr=_shortened(_NARROW_HEAD, _NARROW_TAIL))
    legend = {**narrow["config"]["legend"], "orient": "bottom", "columns": 1, "labelLimit": _NARROW_ALONE}
    narrow["config"] = {**narrow["config"], "legend": legend}
    return {**narrow, **{name: part for name, part in spec.items() if name == _VALUES}}


def _align(layer: Mapping[str, Any]) -> str | None:
    mark = layer.get("mark")
    return mark.get("align") if isinstance(mark, dict) else None


def _has_names(spec: Mapping[str, Any]) -> bool:
    return any(True for _ in _name_axes(spec))


def _titled(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the channels of a specification that have a title."""
    if isinstance(value, dict):
        if "field" in value and isinstance(value.get("title"), str):
            yield value
        for inner in value.values():
            yield from _titled(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _titled(inner)


def _name_axes(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the axes of rows by name of a specification."""
    if isinstance(value, dict):
        axis = value.get("axis")
        if isinstance(axis, dict) and axis.get("labelLimit") == _LABEL_WIDTH:
            yield axis
        for inner in value.values():
            yield from _name_axes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _name_axes(inner)


def apart(values: Sequence[float], low: float, high: float, height: int) -> list[float]:
    """Return where labels of values stand on a logarithmic axis: at them, or moved as little as it takes that no two touch.

    Args:
        values: What is labelled, in any order.
        low: Lowest value of the axis.
        high: Its highest value.
        height: Of the axis in pixels.

    Returns:
        A value of the axis for each.

    Source:
        Barlow, R. E. et al. (1972). Statistical inference under order restrictions: neighbours out of order are pooled.
    """
    px_of_log = height / math.log(high / low)
    order = sorted(range(len(values)), key=lambda index: values[index])
    # Less the heights of the labels below them, which leaves only their order to keep: labels that would touch share a mean.
    shared: list[tuple[float, int]] = []
    for place, index in enumerate(order):
        mean, count = math.log(values[index] / low) * px_of_log - place * _LABEL_HEIGHT, 1
        while shared and shared[-1][0] > mean:
            before, many = shared.pop()
            mean, count = (mean * count + before * many) / (count + many), count + many
        shared.append((mean, count))
    top = height - _LABEL_HEIGHT * (len(values) - 1)
    moved = [min(max(mean, 0.0), top) for mean, count in shared for _ in range(count)]
    found = [0.0] * len(values)
    for place, (index, at) in enumerate(zip(order, moved, strict=True)):
        found[index] = low * math.exp((at + place * _LABEL_HEIGHT) / px_of_log)
    return found
