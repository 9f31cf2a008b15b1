"""Where the time goes."""

from collections.abc import Sequence

import altair

from rnncore.report.figure import PALETTE, SHOWN_ROWS, WIDTH, Chart, Figure, names_axis, rows_height
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown
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
            y=altair.Y("row:N", sort=None, title=None, axis=names_axis()),
            order="place:Q",
            color=altair.Color("kind:N", sort=None, scale=altair.Scale(range=PALETTE), title="Kind of work"),
            tooltip=["row:N", "kind:N", altair.Tooltip("pct:Q", format=".1f")],
        )
        .properties(width=WIDTH, height=rows_height(min(len(records), SHOWN_ROWS)))
    )
    return bars


def profiled(run: Run) -> list[Record]:
    """Return the valid rows with a profile."""
    return [record for record in valid(run.records) if (record.profile or {}).get("shares_pct")]


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the figure."""
    return ["Shares of one profiled call.\n", *shown.figure("profiles")]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the shares of time."""
    return [Figure("profiles", "Share of the time by kind of work", profile_chart(profiled(runs[0])))]


LACKING = "No row was profiled: run with `--rnn-profile`."
SECTION = Section("## Where the time goes", text, figures, profiled, LACKING)
