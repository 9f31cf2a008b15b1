"""Throughput: one forward pass by batch size, cell and runtime."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.amounts import time_unit
from rnncore.compare.choices import fastest_first, rankable
from rnncore.report.figure import HEIGHT, PALETTE, QUIET, WIDTH, Chart, Figure
from rnncore.report.rows import (
    base_of,
    best_product_per_s,
    by_batch_size,
    by_recipe,
    of_usual_size,
    of_what,
    same_but_cell,
    time_cells,
    valid,
)
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.table import Table, escape, numbers, words
from rnncore.report.words import gflop_text, how, measured, median_text, times
from rnncore.runfile.recipes import ARTICLE
from rnncore.runfile.record import Record, Run

# Free space above and below the lines, as a factor.
MARGIN = 1.3


def throughput_chart(records: list[Record], run: Run) -> Chart:
    """Draw windows per second against batch size, one line per model and runtime, under the ceiling of products.

    Args:
        records: Records of the phase `infer`.
        run: Has the ceilings, if the session measured any.
    """
    values = [
        {
            "batch": int(record.batch_size),
            "windows_per_s": record.windows_per_s,
            "runtime": how(record),
            "model": record.model_name,
        }
        for record in records
    ]
    ceilings = _window_ceilings(records, run)
    rates = [record.windows_per_s for record in records] + [ceiling["windows_per_s"] for ceiling in ceilings]
    scale = altair.Scale(type="log", domain=[min(rates) / MARGIN, max(rates) * MARGIN], nice=False)
    y = altair.Y("windows_per_s:Q", scale=scale, axis=altair.Axis(format="~s"), title="Windows per second")
    base = altair.Chart(altair.InlineData(values)).encode(
        x=altair.X("batch:Q", scale=altair.Scale(type="log", base=2), title="Windows per call (batch size)"),
        y=y,
        color=altair.Color("runtime:N", scale=altair.Scale(range=PALETTE), title="Runtime"),
        tooltip=["runtime:N", "model:N", "batch:Q", altair.Tooltip("windows_per_s:Q", format=",.4~g", title="windows/s")],
    )
    # With one batch size there is no line: the legend has the shapes.
    lines = base.mark_line().encode(strokeDash=altair.StrokeDash("model:N", legend=None))
    points = base.mark_point(filled=True, size=70, opacity=1).encode(shape=altair.Shape("model:N", title="Model"))
    layers: list[Any] = [lines, points]
    if ceilings:
        roof = altair.Chart(altair.InlineData(ceilings)).encode(y=altair.Y("windows_per_s:Q", scale=scale))
        layers.append(roof.mark_rule(strokeDash=[2, 3], color=QUIET))
        for index, ceiling in enumerate(sorted(ceilings, key=lambda one: float(one["windows_per_s"]))):
            # One at the left, the next from the middle: two ceilings may lie close together.
            label = altair.Chart(altair.InlineData([ceiling])).mark_text(align="left", baseline="bottom", dx=4, color=QUIET)
            layers.append(
                label.encode(
                    x=altair.value(index % 2 * WIDTH // 2),
                    y=altair.Y("windows_per_s:Q", scale=scale),
                    text=altair.Text("label:N"),
                )
            )
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _window_ceilings(records: list[Record], run: Run) -> list[dict[str, Any]]:
    """Return the windows per second that products at their best rate would allow, by cell, device and precision."""
    found: dict[str, float] = {}
    for record in records:
        best = best_product_per_s(run, record.device, record.precision)
        if record.gflop_per_s and best:
            flops = record.gflop_per_s * 1e9 / record.windows_per_s
            where = how(record).split(", ", 1)[-1]
            found[f"{record.model_name}, all products at the best rate, {where}"] = best / flops
    return [{"label": label, "windows_per_s": rate} for label, rate in found.items()]


def inference_table(records: list[Record]) -> Table:
    """Compare cells and runtimes at one batch size: times, rates, and ratios to PyTorch's GRU on the CPU."""
    base = base_of(records)
    compared = [record for record in records if base and record is not base and record.is_device_only == base.is_device_only]
    scale, unit = time_unit(record.median_s for record in records)
    rows = []
    for record in sorted(records, key=lambda record: (record.is_device_only, record.median_s)):
        gru = same_but_cell(record, records)
        rows.append(
            [
                how(record),
                record.model_name,
                record.kernel or None,
                *time_cells(record, scale),
                measured(record.windows_per_s, record),
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
        rows.append([batch_size, cell, how(best), median_text(best), following])
    return Table(words("Batch", "Cell", "Fastest", "median", "the next"), rows)


def inferred(run: Run) -> list[Record]:
    """Return the valid rows of the inference suite."""
    return valid(run.phase("infer"))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the figure, a table for each recipe and batch size, and who is fastest."""
    infer = inferred(runs[0])
    parts = [f"One forward pass{of_what(infer)}. Less time is better.\n", *shown.figure("throughput")]
    for recipe, of_recipe in by_recipe(infer).items():
        for batch_size, records in by_batch_size(of_recipe):
            mark = "" if recipe in (None, ARTICLE) else f", {recipe}"
            parts += [f"### Batch of {batch_size:,}{escape(mark)}\n", inference_table(records).markdown()]
    return [*parts, "### Fastest by batch size\n", fastest_table(infer).markdown()]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw throughput against batch size."""
    infer = inferred(runs[0])
    # A swept size or thread count is a point of its own, not one of a line.
    usual = of_usual_size(infer) or infer
    return [Figure("throughput", "Windows per second by batch size, cell and runtime", throughput_chart(usual, runs[0]))]


SECTION = Section("## Throughput", text, figures, inferred, no_row_of("bench/bench_inference.py"))
