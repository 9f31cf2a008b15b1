"""Throughput: one forward pass by batch size, cell and runtime."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.amounts import time_unit
from rnncore.compare.choices import fastest_first, fastest_of_each, rankable
from rnncore.report.figure import HEIGHT, OTHERS, PALETTE, QUIET, TIP, Chart, Figure, apart, colours, log_axis, tip_text
from rnncore.report.fold import folded
from rnncore.report.rows import (
    base_of,
    beside,
    best_product_per_s,
    by_batch_size,
    by_recipe,
    is_beside,
    of_smallest_batch,
    of_usual_size,
    of_what,
    time_cells,
    valid,
)
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.sections.verdict import fastest, recipe_words
from rnncore.report.table import Table, numbers, paragraph, words
from rnncore.report.words import gflop_text, how, significant, time_text, times
from rnncore.runfile.record import Record, Run

# Free space above and below the lines, as a factor.
MARGIN = 1.5

# Pixels of a panel among others and of one alone, and the shares of it that are left of the first batch size, and for the
# names at the ends of lines.
_PANEL_WIDTH, _ALONE_WIDTH, _LEFT_SHARE, _NAMES_SHARE = 300, 480, 0.04, 0.45


def throughput_chart(records: Sequence[Record], run: Run) -> Chart:
    """Draw windows per second against batch size: a panel of one scale per model, a line per runtime, named at its end.

    The fastest runtimes have colours, the others are grey; what products at their best rate would allow is a shaded limit.

    Args:
        records: Records of the phase `infer`.
        run: Has the ceilings, if the session measured any.
    """
    devices, models = {record.device for record in records}, list(dict.fromkeys(record.model_name for record in records))
    names = [_series(record, devices) for record in fastest_of_each(fastest_first(records), how)]
    ceilings = window_ceilings(records, run)
    rates = [record.windows_per_s for record in records] + [float(one["windows_per_s"]) for one in ceilings]
    low, high = min(rates) / MARGIN, max(rates) * MARGIN
    values: list[dict[str, Any]] = [
        {
            "kind": "row",
            "batch": int(record.batch_size),
            "windows_per_s": record.windows_per_s,
            "runtime": _series(record, devices),
            "model": record.model_name,
            "tip": tip_text(
                f"{record.model_name} in {how(record)}",
                batch=record.batch_size,
                speed=f"{significant(record.windows_per_s)} windows/s",
            ),
        }
        for record in records
    ]
    sizes = sorted({one["batch"] for one in values})
    # Names stand within the panel, at the right of the last size, where no line is.
    whole = max(sizes[-1] / sizes[0], 4) ** (1 / (1 - _LEFT_SHARE - _NAMES_SHARE))
    left = sizes[0] / whole**_LEFT_SHARE
    x_scale = altair.Scale(type="log", base=2, domain=[left, sizes[-1] * whole**_NAMES_SHARE], nice=False)
    y_scale = altair.Scale(type="log", domain=[low, high], nice=False)
    axis = altair.Axis(values=sizes, format=",d", labelOverlap=True)

    def x(field: str = "batch") -> altair.X:
        return altair.X(f"{field}:Q", scale=x_scale, axis=axis, title="Windows per call (batch size)")

    def y(field: str = "windows_per_s") -> altair.Y:
        return altair.Y(f"{field}:Q", scale=y_scale, axis=log_axis(low, high), title="Windows per second")

    ends: list[dict[str, Any]] = []
    for model in models:
        lines, of_model = ([one for one in some if one["model"] == model] for some in (values, ceilings))
        ends += _ends(lines, of_model, names[: len(PALETTE)], low, high)
    ends = [{**one, "batch": sizes[-1], "left": left} for one in ends]
    base = altair.Chart()
    rows = base.transform_filter("datum.kind == 'row'")
    color = altair.Color("runtime:N", scale=colours(names), legend=None)
    layers: list[Any] = []
    if ceilings:
        limits = base.transform_filter("datum.kind == 'limit'")
        top = altair.value(0)
        layers += [
            limits.transform_filter("datum.is_highest").mark_rect(color=OTHERS, opacity=0.15).encode(y=y(), y2=top),
            limits.mark_rule(strokeDash=[2, 3], color=QUIET).encode(x=x("left"), x2="batch:Q", y=y()),
            limits.mark_text(align="left", dx=8, color=QUIET).encode(x=x(), y=y("at"), text="runtime:N"),
        ]
    layers += [
        rows.mark_line().encode(x=x(), y=y(), color=color),
        rows.mark_point(filled=True, size=50, opacity=1).encode(x=x(), y=y(), color=color, description=TIP),
        base.transform_filter("datum.kind == 'name'")
        .mark_text(align="left", dx=8)
        .encode(x=x(), y=y("at"), text="runtime:N", color=color),
    ]
    panel_width = _PANEL_WIDTH if len(models) > 1 else _ALONE_WIDTH
    panels = altair.layer(*layers).properties(width=panel_width, height=HEIGHT)
    data = altair.InlineData([*values, *ends])
    facet = altair.Facet("model:N", title=None, sort=models)
    return altair.FacetChart(data=data, spec=panels, facet=facet, columns=2)


def _series(record: Record, devices: set[str]) -> str:
    """Name runtime and precision of a line, and its device where there are several."""
    name = how(record)
    return name if len(devices) > 1 else name.replace(f", {str(record.device).upper()}", "", 1)


def _ends(
    values: Sequence[dict[str, Any]],
    limits: Sequence[dict[str, Any]],
    coloured: Sequence[str],
    low: float,
    high: float,
) -> list[dict[str, Any]]:
    """Return what is named at the right of a panel, each about as high as its line ends and no two on one another.

    Args:
        values: The points of the panel.
        limits: Its limits; nothing can be above the highest.
        coloured: The lines that have colours, and so names.
        low: Lowest rate of the axis.
        high: Its highest.
    """
    last: dict[str, dict[str, Any]] = {}
    for one in sorted(values, key=lambda one: int(one["batch"])):
        last[one["runtime"]] = one
    highest = max((one["windows_per_s"] for one in limits), default=None)
    found = [{**one, "kind": "name"} for one in last.values() if one["runtime"] in coloured]
    found += [{**one, "kind": "limit", "is_highest": one["windows_per_s"] == highest} for one in limits]
    at = apart([float(one["windows_per_s"]) for one in found], low, high, HEIGHT)
    return [{**one, "at": value} for one, value in zip(found, at, strict=True)]


def window_ceilings(records: Sequence[Record], run: Run) -> list[dict[str, Any]]:
    """Return the windows per second that products at their best rate would allow, by model, device and precision."""
    found: dict[tuple[str, str], float] = {}
    for record in records:
        best = best_product_per_s(run, record.device, record.precision)
        if record.gflop_per_s and best:
            flops = record.gflop_per_s * 1e9 / record.windows_per_s
            where = "" if record.device == "cpu" else f", {record.device.upper()}"
            found[record.model_name, f"limit of products, {record.precision}{where}"] = best / flops
    return [{"model": model, "runtime": name, "windows_per_s": rate} for (model, name), rate in found.items()]


def inference_table(records: list[Record]) -> Table:
    """Compare cells and runtimes at one batch size: times, rates, and ratios to PyTorch's GRU on the CPU."""
    base = base_of(records)
    compared = [record for record in records if base and record is not base and is_beside(record, base)]
    scale, unit = time_unit(record.median_s for record in records)
    rows, grus = [], beside(records, "cell", "gru")
    for record in sorted(records, key=lambda record: (not record.has_usual_clock, record.median_s)):
        gru = grus.get(record.fullname)
        rows.append(
            [
                how(record),
                record.model_name,
                record.kernel or None,
                *time_cells(record, scale),
                significant(record.windows_per_s),
                gflop_text(record),
                times(record.median_s / base.median_s) if base and record in compared else None,
                times(record.median_s / gru.median_s) if gru else None,
            ]
        )
    columns = [
        *words("Runtime", "Cell", "Kernel"),
        *numbers("median", "min–max", unit=unit),
        *numbers("windows/s", "GFLOP/s (of ceiling)"),
        *numbers(f"against {how(base)}, GRU" if base else "against base", "LSTM against GRU"),
    ]
    return Table(columns, rows)


def fastest_table(infer: Sequence[Record]) -> Table:
    """Name the fastest way for each cell at each batch size, and the next."""
    rows, infer = [], of_usual_size(rankable(infer))
    for batch_size, cell in sorted({(int(record.batch_size), record.model_name) for record in infer}):
        some = [one for one in infer if one.batch_size == batch_size and one.model_name == cell]
        best, *others = fastest_first(some)
        following = f"{how(others[0])}: {times(others[0].median_s / best.median_s)}" if others else None
        rows.append([batch_size, cell, how(best), time_text(best.median_s), significant(best.windows_per_s), following])
    return Table(words("Batch", "Cell", "Fastest", "median", "windows/s", "the next"), rows)


def inferred(run: Run) -> list[Record]:
    """Return the valid rows of the inference suite."""
    return valid(run.phase("infer"))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return who is fastest at each larger batch size, the figure, and the fastest of each; tables of all folded."""
    infer = inferred(runs[0])
    smallest, of_recipes = of_smallest_batch(infer)[0].batch_size, by_recipe(infer)
    said: list[str] = []
    tables: list[str] = []
    for recipe, of_recipe in of_recipes.items():
        mark = f", {recipe}" if len(of_recipes) > 1 else ""
        for batch_size, records in by_batch_size(of_recipe):
            if batch_size != smallest:
                said.append(fastest(records, recipe_words(recipe, of_recipes)))
            tables += folded(f"Batch of {batch_size:,}{mark}: all {len(records)}", [inference_table(records).markdown()])
    return [
        *([paragraph(f"One forward pass{of_what(infer)}.")] if not said else map(paragraph, said)),
        *shown.figure("throughput"),
        fastest_table(infer).markdown(),
        *tables,
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw throughput against batch size."""
    infer = inferred(runs[0])
    # A swept size or thread count is a point of its own, not one of a line.
    usual = of_usual_size(infer) or infer
    alt = "Windows per second by batch size, a panel for each model, a line for each runtime"
    return [Figure("throughput", alt, throughput_chart(usual, runs[0]))]


SECTION = Section("## Which runtime for many at once?", text, figures, inferred, no_row_of("bench/bench_inference.py"))
