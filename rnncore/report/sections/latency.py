"""Latency: one forecast at a time, by runtime; and the times of single calls."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.amounts import time_unit
from rnncore.compare.choices import rankable
from rnncore.report.figure import (
    OWN_COLOUR,
    PALETTE,
    QUIET,
    SHOWN_ROWS,
    TIP,
    WIDTH,
    Chart,
    Figure,
    log_x,
    named_rows,
    rows_height,
    tip_text,
)
from rnncore.report.fold import folded
from rnncore.report.rows import base_of, by_recipe, is_beside, of_each_runtime, of_smallest_batch, of_usual_size, way
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.sections.scenarios import parts as parts_of_scenarios
from rnncore.report.sections.throughput import inferred
from rnncore.report.sections.verdict import fastest, recipe_words
from rnncore.report.table import Table, numbers, paragraph, words
from rnncore.report.words import median_interval_s, significant, time_text, times
from rnncore.runfile.checks import reason_of
from rnncore.runfile.record import Record, Run

PERCENTILES = ["p50", "p90", "p95", "p99"]


def _quickest_first(records: Sequence[Record]) -> list[Record]:
    """Order rows by their times; those on a GPU with other copies than any program has come last, or with none."""
    return sorted(records, key=lambda record: (not record.has_usual_clock, record.median_s))


def latency_chart(records: Sequence[Record]) -> Chart:
    """Draw the median of each row as a dot on its 95 % interval, with the 99th percentile beside it, quickest first.

    Args:
        records: Records of one batch size.
    """
    shown = _quickest_first(records)[:SHOWN_ROWS]
    scale, unit = time_unit(record.median_s for record in shown)
    values: list[dict[str, Any]] = []
    for index, record in enumerate(shown):
        low_s, high_s = median_interval_s(record)
        tail = (record.percentiles or {}).get("p99")
        values.append(
            {
                "row": way(record),
                "median": record.median_s / scale,
                "low": low_s / scale,
                "high": high_s / scale,
                "p99": float(tail["s"]) / scale if tail else None,
                "end": max(high_s, float(tail["s"]) if tail else 0.0) / scale,
                "label": time_text(record.median_s),
                "tip": tip_text(
                    way(record),
                    median=time_text(record.median_s),
                    interval=f"{time_text(low_s)} to {time_text(high_s)}",
                    p99=time_text(float(tail["s"])) if tail else None,
                ),
                "colour": PALETTE[0] if index == 0 else QUIET,
            }
        )
    low, high = min(one["low"] for one in values), max(one["end"] for one in values)
    room = max(high / low, 10) ** 0.2
    # At the right is room for the last label.
    at = log_x(low / room**0.3, high * room, f"Time of a call, {unit} (logarithmic; less is better)")
    base = named_rows(values)
    tails = base.transform_filter("isValid(datum.p99)")
    layers = [
        tails.mark_rule(strokeDash=[2, 2], color=QUIET).encode(x=at("median"), x2="p99:Q"),
        tails.mark_tick(thickness=2, color=QUIET).encode(x=at("p99")),
        base.mark_rule(strokeWidth=5, opacity=0.5).encode(x=at("low"), x2="high:Q", color=OWN_COLOUR),
        base.mark_point(filled=True, size=80, opacity=1).encode(x=at("median"), color=OWN_COLOUR, description=TIP),
        base.mark_text(align="left", dx=8).encode(x=at("end"), text="label:N"),
    ]
    return altair.layer(*layers).properties(width=WIDTH - 100, height=rows_height(len(values)))


def latency_table(records: Sequence[Record]) -> Table:
    """Compare the quickest way of each runtime at one batch size.

    Args:
        records: Records of one batch size and recipe.
    """
    ordered = _quickest_first(records)
    shown, base = of_each_runtime(ordered), base_of(ordered)
    scale, unit = time_unit(record.median_s for record in shown)
    rows = []
    for record in shown:
        known = record.percentiles or {}
        tails = [float(known[name]["s"]) / scale if known.get(name) else None for name in ("p90", "p99")]
        is_compared = base and record is not base and is_beside(record, base)
        ratio = times(record.median_s / base.median_s) if base and is_compared else None
        rows.append([way(record), record.kernel or None, record.median_s / scale, *tails, record.windows_per_s, ratio])
    columns = [
        *words("The quickest of each runtime", "Kernel"),
        *numbers("median", "p90", "p99", unit=unit, show=significant),
        *numbers("windows/s", show=significant),
        *numbers(f"against {way(base)}" if base else "against base"),
    ]
    return Table(columns, rows)


def tails_table(records: list[Record]) -> Table:
    """Show the percentiles of single calls with their intervals, or why there is none."""
    rows = []
    for record in records:
        scale, unit = time_unit([record.median_s])
        cells: list[str | None] = []
        for name in PERCENTILES:
            known = record.percentiles or {}
            if found := known.get(name):
                low, s, high = (significant(found[key] / scale) for key in ("low_s", "s", "high_s"))
                cells.append(f"{s} ({low} to {high})")
            else:
                cells.append(known.get(reason_of(name)))
        rows.append([record.short_name, unit, *cells])
    return Table([*words("Benchmark", "unit"), *numbers(*PERCENTILES)], rows)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return who is quickest one forecast at a time, the figure, and the quickest of each runtime; percentiles folded."""
    infer = inferred(runs[0])
    of_recipe = by_recipe(of_smallest_batch(infer))
    said = [fastest(known, recipe_words(recipe, of_recipe)) for recipe, of in of_recipe.items() if (known := rankable(of))]
    first = next(iter(of_recipe.values()))
    with_tails = [record for record in infer if record.percentiles]
    return [
        *map(paragraph, said),
        *shown.figure("latency"),
        latency_table(of_usual_size(first) or first).markdown(),
        *folded(
            "Percentiles of single calls, each between the calls that hold it with 98 % certainty",
            [tails_table(with_tails).markdown()] if with_tails else [],
        ),
        *folded("Scenarios of MLPerf Inference: one stream, all at hand, a server", parts_of_scenarios(runs[0])),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the rows of the smallest batch size."""
    records = of_smallest_batch(inferred(runs[0]))
    size = records[0].batch_size
    alt = f"Time of a call at batch {size:,}, quickest first: median, its 95 % interval, and 99th percentile"
    return [Figure("latency", alt, latency_chart(of_usual_size(records) or records))]


SECTION = Section(
    "## Which runtime for one forecast at a time?", text, figures, inferred, no_row_of("bench/bench_inference.py")
)
