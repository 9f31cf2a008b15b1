"""Where the time goes."""

from collections.abc import Sequence

import altair

from rnncore.compare.choices import fastest_first
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
from rnncore.report.fold import folded
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, inert, numbers, paragraph, words
from rnncore.runfile.record import Record, Run


def profile_chart(records: list[Record]) -> Chart:
    """Draw where the time of each profiled row goes, stacked.

    Args:
        records: Records with a profile.
    """
    values = [
        {
            "row": record.short_name,
            "kind": kind,
            "pct": float(pct),
            "place": place,
            "tip": tip_text(kind, of=record.short_name, share=f"{float(pct):.1f} %"),
        }
        for record in records[:SHOWN_ROWS]
        for place, (kind, pct) in enumerate((record.profile or {})["shares_pct"].items())
    ]
    bars: Chart = (
        altair.Chart(altair.InlineData(values))
        .mark_bar()
        .encode(
            x=altair.X("pct:Q", title="Percent of a call", axis=values_axis(min(len(records), SHOWN_ROWS))),
            y=altair.Y("row:N", sort=None, title=None, axis=names_axis()),
            order="place:Q",
            color=altair.Color("kind:N", sort=None, scale=altair.Scale(range=PALETTE), title="Kind of work"),
            description=TIP,
        )
        .properties(width=WIDTH, height=rows_height(min(len(records), SHOWN_ROWS)))
    )
    return bars


def profiled(run: Run) -> list[Record]:
    """Return the valid rows with a profile."""
    return [record for record in valid(run.records) if (record.profile or {}).get("shares_pct")]


def shares_table(records: Sequence[Record]) -> Table:
    """Show the percent of a call by kind of work, row by row."""
    shares = [dict((record.profile or {})["shares_pct"]) for record in records]
    kinds = list(dict.fromkeys(kind for of_row in shares for kind in of_row))
    rows = [[record.short_name, *map(of_row.get, kinds)] for record, of_row in zip(records, shares, strict=True)]
    return Table([*words("Benchmark"), *numbers(*kinds, unit="%", show="{:.0f}".format)], rows)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return where the time of the quickest row goes, and the figure; the shares of all rows folded."""
    records = profiled(runs[0])
    first, *_ = fastest_first([record for record in records if record.phase == "infer"] or records)
    shares = sorted((first.profile or {})["shares_pct"].items(), key=lambda share: -float(share[1]))
    listed = ", ".join(f"{inert(kind)} {float(pct):.0f} %" for kind, pct in shares)
    return [
        paragraph(f"Of one profiled call of **{inert(first.short_name)}**: {listed}."),
        *shown.figure("profiles"),
        *folded("Shares of one profiled call, row by row", [shares_table(records).markdown()]),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the shares of time."""
    return [Figure("profiles", "Share of the time by kind of work", profile_chart(profiled(runs[0])))]


LACKING = "No row was profiled: run with `--rnn-profile`."
SECTION = Section("## Where does the time go?", text, figures, profiled, LACKING)
