"""Throughput: one forward pass by batch size, cell and runtime."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.report.figure import HEIGHT, PALETTE, QUIET, ROOM, WIDTH, Chart, Figure
from rnncore.report.rows import base_of, by_batch_size, by_recipe, of_usual_size, of_what, same_but_cell, time_cells, valid
from rnncore.report.section import Section, Shown, drawn, nothing
from rnncore.report.sections.cost import COST_NOTE, cost_table, costs
from rnncore.report.sections.interleaved import NOTE, interleaved_table
from rnncore.report.table import escape, markdown_table
from rnncore.report.words import gflop_text, how, measured, time_unit, times
from rnncore.runfile.recipes import ARTICLE
from rnncore.runfile.record import Record, Run


def throughput_chart(records: list[Record], run: Run) -> Chart:
    """Draw windows per second against batch size, one line per model and runtime, under the ceiling of square products.

    Args:
        records: Records of the phase `infer`.
        run: Tells the ceilings, where it has any.
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
    scale = altair.Scale(type="log", domain=[min(rates) / ROOM, max(rates) * ROOM], nice=False)
    y = altair.Y("windows_per_s:Q", scale=scale, axis=altair.Axis(format="~s"), title="Windows per second")
    base = altair.Chart(altair.InlineData(values)).encode(
        x=altair.X("batch:Q", scale=altair.Scale(type="log", base=2), title="Windows per call (batch size)"),
        y=y,
        color=altair.Color("runtime:N", scale=altair.Scale(range=PALETTE), title="Runtime"),
        tooltip=["runtime:N", "model:N", "batch:Q", altair.Tooltip("windows_per_s:Q", format=",.4~g", title="windows/s")],
    )
    lines = base.mark_line().encode(strokeDash=altair.StrokeDash("model:N", title="Model"))
    points = base.mark_point(filled=True, size=70, opacity=1).encode(shape=altair.Shape("model:N", legend=None))
    layers: list[Any] = [lines, points]
    if ceilings:
        roof = altair.Chart(altair.InlineData(ceilings)).encode(y=altair.Y("windows_per_s:Q", scale=scale))
        layers.append(roof.mark_rule(strokeDash=[2, 3], color=QUIET))
        for index, ceiling in enumerate(sorted(ceilings, key=lambda one: float(one["windows_per_s"]))):
            # By turns at the left and from the middle: two ceilings may lie close together.
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
    """Return the windows per second that the best square products would allow, by cell, device and precision."""
    found: dict[str, float] = {}
    for record in records:
        flops, best = _flops_per_window(record), _gemm_per_s(run, record)
        if flops and best:
            where = how(record).split(", ", 1)[-1]
            found[f"{record.model_name}, all products at the best rate, {where}"] = best / flops
    return [{"label": label, "windows_per_s": rate} for label, rate in found.items()]


def _flops_per_window(record: Record) -> float | None:
    return record.gflop_per_s * 1e9 / record.windows_per_s if record.gflop_per_s else None


def _gemm_per_s(run: Run, record: Record) -> float | None:
    for entry in (run.ceilings or {}).get("gemm", ()):
        if (entry["device"], entry["precision"]) == (record.device, record.precision) and entry["per_s"]:
            return float(entry["per_s"])
    return None


def inference_table(records: list[Record]) -> str:
    """Compare cells and runtimes at one batch size: times, rates, and ratios to PyTorch's GRU on the CPU."""
    base = base_of(records)
    scale, unit = time_unit(record.median_s for record in records)
    rows = []
    for record in sorted(records, key=lambda record: record.median_s):
        gru = same_but_cell(record, records)
        rows.append(
            [
                how(record),
                record.model_name,
                str(record.kernel or "–"),
                *time_cells(record, scale),
                measured(record.windows_per_s, record),
                gflop_text(record),
                times(record.median_s / base.median_s) if base and record is not base else "–",
                times(record.median_s / gru.median_s) if gru else "–",
            ]
        )
    base_name = f"against {how(base)}, GRU" if base else "against base"
    head = ["Runtime", "Cell", "Kernel", f"median {unit}", f"min–max {unit}", "windows/s", "GFLOP/s (of ceiling)"]
    return markdown_table([*head, base_name, "LSTM against GRU"], rows, left=3)


def fastest_table(infer: Sequence[Record]) -> str:
    """Name the fastest way for each cell at each batch size, and the next."""
    rows, infer = [], of_usual_size(infer)
    for batch_size in sorted({int(record.batch_size) for record in infer}):
        for cell in sorted({record.model_name for record in infer}):
            some = [one for one in infer if one.batch_size == batch_size and one.model_name == cell]
            if not some:
                continue
            best, *others = sorted(some, key=lambda record: (record.median_s, record.fullname))
            scale, unit = time_unit([best.median_s])
            following = f"{how(others[0])}: {times(others[0].median_s / best.median_s)}" if others else "–"
            time = f"{measured(best.median_s / scale, best)} {unit}"
            rows.append([f"{batch_size:,}", cell, how(best), time, following])
    return markdown_table(["Batch", "Cell", "Fastest", "median", "the next"], rows, left=5)


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    run = runs[0]
    infer, cost = valid(run.phase("infer")), costs([run], shown.prices)
    interleaved = valid(run.phase("interleaved"))
    parts = ["## Throughput\n"]
    if not infer and not interleaved:
        return [*parts, nothing("bench/bench_inference.py")]
    if infer:
        parts += [f"One forward pass{of_what(infer)}. Less time is better.\n", *shown.figure("throughput")]
    for recipe, of_recipe in by_recipe(infer).items():
        for batch_size, records in by_batch_size(of_recipe):
            mark = "" if recipe in (None, ARTICLE) else f", {recipe}"
            parts += [f"### Batch of {batch_size:,}{escape(mark)}\n", inference_table(records)]
    if infer:
        parts += ["### Fastest by batch size\n", fastest_table(infer)]
    if interleaved:
        parts += ["### Interleaved\n", NOTE, interleaved_table(interleaved, infer)]
    if cost:
        parts += ["### Cost\n", COST_NOTE, cost_table(cost)]
    return parts


def _figures(runs: Sequence[Run]) -> list[Figure]:
    infer = valid(runs[0].phase("infer"))
    # A swept size or thread count is a point of its own, not one of a line.
    usual = of_usual_size(infer) or infer
    alt = "Windows per second by batch size, cell and runtime"
    return drawn("throughput", alt, infer, lambda: throughput_chart(usual, runs[0]))


SECTION = Section(_lines, _figures)
