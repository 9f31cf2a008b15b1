"""Histories as small charts."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.amounts import time_unit
from rnncore.compare.change_points import Trend
from rnncore.compare.history import Commit
from rnncore.report.figure import HEIGHT, PALETTE, TIP, WIDTH, Chart, Figure, tip_text
from rnncore.report.words import time_text, times

# Newest points of a history that are drawn.
SHOWN_POINTS = 200


def commit_name(commit: Commit) -> str:
    """Return the first signs of a commit, with a mark for uncommitted changes."""
    return "no commit" if commit.id is None else f"{commit.id[:7]}{'+changes' if commit.dirty else ''}"


def trend_figures(trends: Sequence[Trend]) -> list[Figure]:
    """Return one small chart per history, its steps marked with their commits.

    Args:
        trends: Histories and their steps; of a long one the newest points are drawn.
    """
    return [
        Figure(f"trend-{number}", f"History of {trend.series.benchmark}, {len(trend.steps)} steps", _trend_chart(trend))
        for number, trend in enumerate(trends, 1)
    ]


def _trend_chart(trend: Trend) -> Chart:
    series = trend.series
    shown = range(max(0, len(series.medians_s) - SHOWN_POINTS), len(series.medians_s))
    scale, unit = time_unit(series.medians_s)
    values = [
        {
            "point": index,
            "time": series.medians_s[index] / scale,
            "tip": tip_text(commit_name(series.commits[index]), median=time_text(series.medians_s[index])),
        }
        for index in shown
    ]
    steps = [
        {"point": index - 0.5, "commit": f"{commit_name(step.first_with)}: {times(step.ratio)}"}
        for step in trend.steps
        for index in shown
        if series.commits[index] == step.first_with
    ]
    x = altair.X("point:Q", title="Commits, in the order they were measured", axis=altair.Axis(labels=False, ticks=False))
    y = altair.Y("time:Q", scale=altair.Scale(zero=False), title=f"Median, {unit}")
    points = (
        altair.Chart(altair.InlineData(values)).mark_line(point=True, color=PALETTE[0]).encode(x=x, y=y, description=TIP)
    )
    layers: list[Any] = [points]
    if steps:
        rules = altair.Chart(altair.InlineData(steps)).encode(x="point:Q")
        layers += [
            rules.mark_rule(color=PALETTE[1], strokeDash=[4, 2]),
            rules.mark_text(align="left", baseline="top", dx=4, color=PALETTE[1]).encode(y=altair.value(2), text="commit:N"),
        ]
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT // 2)
