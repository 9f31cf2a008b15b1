"""Where the time goes."""

import itertools
from collections import Counter
from collections.abc import Sequence

import altair

from rnncore.compare.choices import fastest_first
from rnncore.report.figure import (
    OTHERS,
    PALETTE,
    QUIET,
    SHOWN_ROWS,
    TIP,
    WIDTH,
    Chart,
    Figure,
    named_rows,
    rows_height,
    tip_text,
    values_axis,
)
from rnncore.report.fold import folded
from rnncore.report.rows import valid, way
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, inert, numbers, paragraph, strong, words
from rnncore.runfile.record import Record, Run

# Kinds that are no work of the model, and their greys.
_GREYS = {"framework overhead": OTHERS, "waiting": "#cfcfcf", "other": QUIET}

# A share below this is nothing.
SMALLEST_PCT = 0.5


def profile_chart(records: list[Record]) -> Chart:
    """Draw where the time of each profiled row goes, stacked.

    Args:
        records: Records with a profile.
    """
    drawn = drawn_first(records)[:SHOWN_ROWS]
    kinds, names = kinds_of(drawn), Counter(map(called, drawn))
    values = [
        {
            # Two of one name would be one bar.
            "row": called(record) if names[called(record)] == 1 else record.short_name,
            "kind": kind,
            "pct": pct,
            "place": kinds.index(kind),
            "tip": tip_text(kind, of=record.short_name, share=f"{pct:.1f} %"),
        }
        for record in drawn
        for kind, pct in shares_of(record).items()
    ]
    bars: Chart = (
        named_rows(values)
        .mark_bar()
        .encode(
            x=altair.X(
                "pct:Q", scale=altair.Scale(domain=[0, 100]), title="Percent of a call", axis=values_axis(len(drawn))
            ),
            order="place:Q",
            color=altair.Color("kind:N", scale=kind_colours(kinds), title="Kind of work"),
            description=TIP,
        )
        .properties(width=WIDTH, height=rows_height(len(drawn)))
    )
    return bars


def shares_of(record: Record) -> dict[str, float]:
    """Return the percent of a profiled call by kind of work, without what is nothing."""
    shares = (record.profile or {}).get("shares_pct", {})
    return {kind: float(pct) for kind, pct in shares.items() if float(pct) >= SMALLEST_PCT}


def kinds_of(records: Sequence[Record]) -> list[str]:
    """Return the kinds of work that take time in some record, in the order of the profiles."""
    listed = dict.fromkeys(kind for record in records for kind in (record.profile or {}).get("shares_pct", ()))
    found = {kind for record in records for kind in shares_of(record)}
    return [kind for kind in listed if kind in found]


def kind_colours(kinds: Sequence[str]) -> altair.Scale:
    """Return the scale of colours of kinds of work: grey is what is no work of the model."""
    coloured = [kind for kind in kinds if kind not in _GREYS]
    known = {**dict(zip(coloured, itertools.cycle(PALETTE), strict=False)), **_GREYS}
    return altair.Scale(domain=list(kinds), range=[known[kind] for kind in kinds])


def drawn_first(records: Sequence[Record]) -> list[Record]:
    """Return records in the order in which a figure has room for them: forecasts of few windows first."""
    return sorted(records, key=lambda record: (record.phase != "infer", record.batch_size or 0, record.median_s))


def called(record: Record) -> str:
    """Return what a row is called in a figure: its way and batch size, or its name."""
    is_model = record.cell and record.batch_size and record.phase == "infer"
    return f"{way(record)}, batch {record.batch_size:,}" if is_model else record.short_name


def profiled(run: Run) -> list[Record]:
    """Return the valid rows with a profile."""
    return [record for record in valid(run.records) if (record.profile or {}).get("shares_pct")]


def shares_table(records: Sequence[Record]) -> Table:
    """Show the percent of a call by kind of work, row by row."""
    shares, kinds = list(map(shares_of, records)), kinds_of(records)
    rows = [[record.short_name, *map(of_row.get, kinds)] for record, of_row in zip(records, shares, strict=True)]
    return Table([*words("Benchmark"), *numbers(*kinds, unit="%", show="{:.0f}".format)], rows)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return where the time of the quickest row goes, and the figure; the shares of all rows folded."""
    records = profiled(runs[0])
    first, *_ = fastest_first([record for record in records if record.phase == "infer"] or records)
    shares = sorted(shares_of(first).items(), key=lambda share: -share[1])
    listed = ", ".join(f"{inert(kind)} {pct:.0f} %" for kind, pct in shares)
    return [
        paragraph(f"Of one profiled call of {strong(first.short_name)}: {listed}."),
        *shown.figure("profiles"),
        *folded("Shares of one profiled call, row by row", [shares_table(records).markdown()]),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the shares of time."""
    return [Figure("profiles", "Share of the time by kind of work", profile_chart(profiled(runs[0])))]


LACKING = "No row was profiled: run with `--rnn-profile`."
SECTION = Section("## Where does the time go?", text, figures, profiled, LACKING)
