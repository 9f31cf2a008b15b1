"""Where the time goes."""

from collections.abc import Sequence

import altair

from rnncore.report.figure import PALETTE, ROW_HEIGHT, SHOWN_ROWS, WIDTH, Chart, Figure
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown, drawn
from rnncore.runfile.record import Record, Run


def profile_chart(records: list[Record]) -> Chart:
    """Draw where the time of each profiled row goes, stacked.

    Args:
        records: Records with a profile.
    """
    values = [
        {"row": record.short_name, "kind": kind, "pct": float(pct), "place": place}
        for record in records[:SHOWN_ROWS]
        for place, (kind, pct) in enumerate((record.profile or {})["shares_pct"].items())
    ]
    bars: Chart = (
        altair.Chart(altair.InlineData(values))
        .mark_bar()
        .encode(
            x=altair.X("pct:Q", title="Percent of a call"),
            y=altair.Y("row:N", sort=None, title=None, axis=altair.Axis(labelLimit=260)),
            order="place:Q",
            color=altair.Color("kind:N", sort=None, scale=altair.Scale(range=PALETTE), title="Kind of work"),
            tooltip=["row:N", "kind:N", altair.Tooltip("pct:Q", format=".1f")],
        )
        .properties(width=WIDTH, height=max(60, ROW_HEIGHT * min(len(records), SHOWN_ROWS)))
    )
    return bars


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    if "profiles" in shown.figures:
        return ["## Where the time goes\n", "Shares of one profiled call.\n", *shown.figure("profiles")]
    return ["## Where the time goes\n", "No row was profiled: run with `--rnn-profile`.\n"]


def _figures(runs: Sequence[Run]) -> list[Figure]:
    profiled = [record for record in valid(runs[0].records) if (record.profile or {}).get("shares_pct")]
    return drawn("profiles", "Share of the time by kind of work", profiled, lambda: profile_chart(profiled))


SECTION = Section(_lines, _figures)
