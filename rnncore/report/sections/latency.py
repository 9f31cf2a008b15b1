"""Latency: the times of single calls."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair

from rnncore.report.figure import PALETTE, ROW_HEIGHT, SHOWN_CALLS, SHOWN_ROWS, WIDTH, Chart, Figure, evenly
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown, drawn, nothing
from rnncore.report.sections.scenarios import SCENARIOS_NOTE, STREAMING_NOTE, scenarios_table, streaming_table
from rnncore.report.table import markdown_table
from rnncore.report.words import between, how, time_unit
from rnncore.runfile.record import Record, Run

PERCENTILES = ["p50", "p90", "p95", "p99"]


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
    y = altair.Y("row:N", sort=names, title=None, axis=altair.Axis(labelLimit=260))
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
    return altair.layer(ticks, points).properties(width=WIDTH, height=max(60, ROW_HEIGHT * len(fastest)))


def tails_table(records: list[Record]) -> str:
    """Show the percentiles of single calls with their intervals, or why there is none."""
    rows = []
    for record in records:
        found = record.percentiles or {}
        scale, unit = time_unit([record.median_s])
        rows.append([record.short_name, unit, *[_percentile_text(found, name, scale) for name in PERCENTILES]])
    return markdown_table(["Benchmark", "unit", *PERCENTILES], rows, left=2)


def _percentile_text(found: Mapping[str, Any], name: str, scale: float) -> str:
    value = found.get(name)
    if value is None:
        return str(found.get(f"{name}_why", "–"))
    low, s, high = between(*(value[key] / scale for key in ("low_s", "s", "high_s")))
    return f"{s} ({low} to {high})"


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    run = runs[0]
    infer, serve, stream = (valid(run.phase(phase)) for phase in ("infer", "serve", "stream"))
    records = [record for record in infer if record.disturbance is not None]
    parts = ["## Latency\n"]
    if records:
        parts += [
            "Percentiles of single calls, each between the calls that hold it with 98 % certainty.\n",
            *shown.figure("latency"),
            tails_table(records),
        ]
    else:
        parts.append(nothing("bench/bench_inference.py", " with percentiles of its calls"))
    if records or serve:
        parts += ["### Scenarios\n", SCENARIOS_NOTE, scenarios_table(infer, serve)]
    if stream:
        parts += ["### Streaming\n", STREAMING_NOTE, streaming_table(stream)]
    return parts


def _figures(runs: Sequence[Run]) -> list[Figure]:
    infer = valid(runs[0].phase("infer"))
    smallest = min((record.batch_size for record in infer), default=0)
    single = [record for record in infer if record.batch_size == smallest]
    alt = f"Times of single calls at batch {smallest:,}, by row"
    return drawn("latency", alt, single, lambda: latency_chart(single))


SECTION = Section(_lines, _figures)
