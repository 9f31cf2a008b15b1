"""The times of a group of benchmarks as a figure."""

from collections.abc import Sequence
from statistics import median

import altair

from rnncore.amounts import time_unit
from rnncore.report.figure import (
    PALETTE,
    SHOWN_ROWS,
    TIP,
    WIDTH,
    Chart,
    Figure,
    names_axis,
    rows_height,
    tip_text,
    values_axis,
)
from rnncore.report.rows import names_of
from rnncore.report.sections.ordinary import groups
from rnncore.report.sections.ordinary.groups import groups_of, longest, others
from rnncore.report.words import time_text
from rnncore.runfile.record import Record, Run

# Groups that have a figure.
MOST_FIGURES = 8

# Times that are further apart than this are shown on a logarithmic scale.
_LOG_FROM = 20.0


def figure_name(index: int) -> str:
    """Return the name of the figure of a group, by its place."""
    return f"times-{index + 1}"


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the first groups of several benchmarks, of each the longest, at most as many as a chart shows."""
    found: list[Figure] = []
    records = others(runs[0])
    for index, group in enumerate(groups_of(records, longest(records, groups.MOST_ROWS))):
        if len(group.shown) > 1 and len(found) < MOST_FIGURES:
            kept = longest(group.shown, SHOWN_ROWS)
            drawn = [record for record in group.shown if record.fullname in kept]
            which = f"the {len(drawn)} longest of {len(group.records)}" if len(drawn) < len(group.records) else "each"
            alt = f"Time of a call, median and quartiles, of {which} in {group.name}"
            found.append(Figure(figure_name(index), " ".join(alt.split()), times_chart(drawn)))
    return found


def times_chart(records: Sequence[Record]) -> Chart:
    """Draw each benchmark's median, with its quartiles."""
    called = names_of(records)
    scale, unit = time_unit([median(record.median_s for record in records)])
    rows = [
        {
            "row": called[record.fullname],
            "median": record.median_s / scale,
            "low": record.quartiles_s[0] / scale,
            "high": record.quartiles_s[1] / scale,
            "tip": tip_text(
                called[record.fullname],
                median=time_text(record.median_s),
                quartiles=" to ".join(map(time_text, record.quartiles_s)),
            ),
        }
        for record in records
    ]
    medians = [record.median_s for record in records]
    is_log = max(medians) > _LOG_FROM * min(medians)
    kind = altair.Scale(type="log", nice=False, padding=12) if is_log else altair.Scale(zero=True)
    title = f"Time of a call, {unit}{' (logarithmic)' if is_log else ''}"
    axis, values = names_axis(), values_axis(len(records), format="~g")
    base = altair.Chart(altair.InlineData(rows)).encode(
        y=altair.Y("row:N", sort=list(called.values()), title=None, axis=axis)
    )
    quartiles = base.mark_rule(strokeWidth=2, color=PALETTE[0]).encode(
        x=altair.X("low:Q", scale=kind, axis=values, title=title), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=60, opacity=1, color=PALETTE[0]).encode(
        x=altair.X("median:Q", scale=kind, axis=values, title=title),
        description=TIP,
    )
    return altair.layer(quartiles, points).properties(width=WIDTH - 100, height=rows_height(len(rows)))
