"""Latency: the times of single calls."""

from collections.abc import Sequence

import altair

from rnncore.amounts import time_unit
from rnncore.report.figure import PALETTE, SHOWN_ROWS, WIDTH, Chart, Figure, names_axis, rows_height
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import between, how
from rnncore.runfile.record import Record, Run

PERCENTILES = ["p50", "p90", "p95", "p99"]

# Calls of a row that the chart shows, at most.
SHOWN_CALLS = 100


def evenly(values: list[float], most: int) -> list[float]:
    """Return the values, or where they are more than *most*, evenly chosen ones with the first and the last."""
    if len(values) <= most:
        return values
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def latency_chart(records: list[Record]) -> Chart:
    """Draw every call's time of each row, evenly chosen where they are many, with the median and its percentiles.

    Args:
        records: Records of one batch size, each with single calls as rounds.
    """
    fastest = sorted(records, key=lambda record: record.median_s)[:SHOWN_ROWS]
    names = [f"{record.model_name}, {how(record)}" for record in fastest]
    calls = [
        {"row": name, "ms": 1e3 * seconds}
        for name, record in zip(names, fastest, strict=True)
        for seconds in evenly(sorted(record.rounds_s), SHOWN_CALLS)
    ]
    marks = [
        {"row": name, "ms": 1e3 * float(found["s"]), "what": what}
        for name, record in zip(names, fastest, strict=True)
        for what, found in (record.percentiles or {}).items()
        if isinstance(found, dict)
    ]
    y = altair.Y("row:N", sort=names, title=None, axis=names_axis())
    x = altair.X("ms:Q", scale=altair.Scale(type="log", nice=False), title="Milliseconds per call")
    ticks = altair.Chart(altair.InlineData(calls)).mark_tick(opacity=0.35, color=PALETTE[0]).encode(x=x, y=y)
    points = (
        altair.Chart(altair.InlineData(marks))
        .mark_point(filled=True, size=70, opacity=1)
        .encode(
            x=x,
            y=y,
            color=altair.Color("what:N", scale=altair.Scale(domain=PERCENTILES, range=PALETTE[1:5]), title="Percentile"),
            shape=altair.Shape("what:N", scale=altair.Scale(domain=PERCENTILES), title="Percentile"),
            tooltip=["row:N", "what:N", altair.Tooltip("ms:Q", format=".4~g")],
        )
    )
    return altair.layer(ticks, points).properties(width=WIDTH, height=rows_height(len(fastest)))


def tails_table(records: list[Record]) -> Table:
    """Show the percentiles of single calls with their intervals, or why there is none."""
    rows = []
    for record in records:
        scale, unit = time_unit([record.median_s])
        cells: list[str | None] = []
        for name in PERCENTILES:
            known = record.percentiles or {}
            if found := known.get(name):
                low, s, high = between(*(found[key] / scale for key in ("low_s", "s", "high_s")))
                cells.append(f"{s} ({low} to {high})")
            else:
                cells.append(known.get(f"{name}_why"))
        rows.append([record.short_name, unit, *cells])
    return Table([*words("Benchmark", "unit"), *numbers(*PERCENTILES)], rows)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the figure, and the table of percentiles."""
    records = [record for record in valid(runs[0].phase("infer")) if record.disturbance is not None]
    if not records:
        return [no_row_of("bench/bench_inference.py", " with percentiles of its calls") + "\n"]
    return [
        "Percentiles of single calls, each between the calls that hold it with 98 % certainty.\n",
        *shown.figure("latency"),
        tails_table(records).markdown(),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the calls of the smallest batch size."""
    infer = valid(runs[0].phase("infer"))
    smallest = min((record.batch_size for record in infer), default=0)
    single = [record for record in infer if record.batch_size == smallest and record.rounds_s]
    return (
        [Figure("latency", f"Times of single calls at batch {smallest:,}, by row", latency_chart(single))] if single else []
    )


SECTION = Section("## Latency", text, figures)
