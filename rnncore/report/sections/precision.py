"""What a precision costs and gains: time, error and sMAPE beside those of fp32 in the same runtime."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.compare.choices import rankable
from rnncore.report.figure import (
    OWN_COLOUR,
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
from rnncore.report.rows import beside, by_recipe, of_usual_size, valid, way
from rnncore.report.section import Section, Shown
from rnncore.report.sections.ratios import CaseRatio, case_ratio
from rnncore.report.table import Table, inert, numbers, paragraph, strong, words
from rnncore.report.words import compared_with, how, times
from rnncore.runfile.record import Record, Run

# Rows that are shown unfolded.
MOST_ROWS = 6


def pairs_of(records: Sequence[Record]) -> list[tuple[Record, Record]]:
    """Return each row of a lower precision with the fp32 row of the same work in the same runtime."""
    bases = beside(records, "precision", "fp32")
    return [(record, bases[record.fullname]) for record in records if record.fullname in bases]


def _gain(pair: tuple[Record, Record]) -> float:
    return pair[0].median_s / pair[1].median_s


def precision_table(pairs: Sequence[tuple[Record, Record]]) -> Table:
    """Show by way and batch size the time against fp32, with the error.

    Args:
        pairs: Rows with their fp32 rows, all of one recipe.
    """
    sizes = sorted({record.batch_size for record, _ in pairs})
    rows = []
    for name in dict.fromkeys(way(record) for record, _ in pairs):
        of_way = {record.batch_size: (record, base) for record, base in pairs if way(record) == name}
        ratios = [times(_gain(one)) if (one := of_way.get(size)) else None for size in sizes]
        errors = [record.parity_max_abs for record, _ in of_way.values() if record.parity_max_abs is not None]
        rows.append([name, *ratios, max(errors, default=None)])
    columns = [
        *words("Way"),
        *numbers(*[f"batch {size:,}, against fp32" for size in sizes]),
        *numbers("error to float64", show="{:.0e}".format),
    ]
    return Table(columns, rows)


def precision_chart(pairs: Sequence[tuple[Record, Record]]) -> Chart:
    """Draw the time of rows as a share of that in fp32, with its interval, the largest gain first."""
    shown = sorted(pairs, key=_gain)[:SHOWN_ROWS]
    found: list[tuple[Record, CaseRatio]] = [(record, case_ratio("", base, record)) for record, base in shown]
    values: list[dict[str, Any]] = [
        {
            "row": f"{way(record)}, batch {record.batch_size:,}",
            "ratio": one.ratio,
            "low": one.ratio if one.low is None else one.low,
            "high": one.ratio if one.high is None else one.high,
            "label": one.text.split(" (")[0],
            "tip": tip_text(way(record), batch=record.batch_size, time=one.text),
            "colour": one.colour,
        }
        for record, one in found
    ]
    low, high = min(1.0, *(one["low"] for one in values)), max(1.0, *(one["high"] for one in values))
    room = max(high / low, 4) ** 0.35
    title = "Time as a multiple of fp32's in the same runtime (logarithmic; less is better)"
    at, base = log_x(low / room**0.2, high * room, title), named_rows(values)
    equal = altair.Chart(altair.InlineData([{"ratio": 1.0}])).mark_rule(strokeDash=[2, 3], color=QUIET).encode(x=at("ratio"))
    layers = [
        equal,
        base.mark_rule(strokeWidth=2).encode(x=at("low"), x2="high:Q", color=OWN_COLOUR),
        base.mark_point(filled=True, size=70, opacity=1).encode(x=at("ratio"), color=OWN_COLOUR, description=TIP),
        base.mark_text(align="left", dx=8).encode(x=at("high"), text="label:N"),
    ]
    return altair.layer(*layers).properties(width=WIDTH - 120, height=rows_height(len(values)))


def compared(run: Run) -> list[tuple[Record, Record]]:
    """Return the rows of lower precisions of the first recipe with their fp32 rows."""
    of_recipe = by_recipe(of_usual_size(rankable(run.phase("infer"))))
    return next((pairs for records in of_recipe.values() if (pairs := pairs_of(records))), [])


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what the lower precisions gain at most and cost, the figure and the table, long ones folded."""
    pairs = compared(runs[0])
    record, base = min(pairs, key=_gain)
    ratio = case_ratio("", base, record)
    said = "The most that a precision gains" if ratio.ratio < 1 else "No lower precision gains anything; the best of them"
    said += f": {strong(way(record))} is {compared_with(ratio.text, inert(how(base)))} at batch {record.batch_size:,}. "
    said += _cost_text(pairs, valid(runs[0].phase("accuracy")))
    table = precision_table(pairs)
    brief = Table(table.columns, table.rows[:MOST_ROWS])
    more = [table.markdown()] if len(table.rows) > MOST_ROWS else []
    return [
        paragraph(said),
        *shown.figure("precisions"),
        brief.markdown(),
        *folded(f"All {len(table.rows)}", more),
    ]


def _cost_text(pairs: Sequence[tuple[Record, Record]], scored: Sequence[Record]) -> str:
    """Say what the lower precisions cost at most: of the answers, and of the sMAPE of trained models."""
    errors = [record.parity_max_abs for record, _ in pairs if record.parity_max_abs is not None]
    said = [f"answers are off by {max(errors):.0e}"] if errors else []
    lower = [record for record in scored if record.precision != "fp32" and record.smape_torch_fp32 is not None]
    changes = {way(record): record.smape - (record.smape_torch_fp32 or 0.0) for record in lower}
    if changes:
        worst = max(changes, key=lambda name: changes[name])
        said.append(f"the sMAPE of a trained model changes by {changes[worst]:+.3f} ({inert(worst)})")
    return f"What it costs at most: {', '.join(said)}." if said else ""


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw what each lower precision gains."""
    alt = "Time in each lower precision as a multiple of that in fp32, the largest gain first"
    return [Figure("precisions", alt, precision_chart(compared(runs[0])))]


SECTION = Section("## What does a precision cost?", text, figures, compared)
