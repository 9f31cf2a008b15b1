"""One run of another project's suites: which of each group is the fastest, and how long each takes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rnncore.amounts import counted, time_unit
from rnncore.report.figure import SHOWN_ROWS
from rnncore.report.fold import folded
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown
from rnncore.report.sections.ordinary import groups
from rnncore.report.sections.ordinary.figures import figure_name, figures
from rnncore.report.sections.ordinary.groups import Group, groups_of, inert_names, longest, number_text, others
from rnncore.report.sections.ordinary.origin import left_out
from rnncore.report.sections.ratios import case_ratio
from rnncore.report.sections.verdict import bullets
from rnncore.report.table import Table, inert, numbers, paragraph, words
from rnncore.report.words import shared_unit, significant, time_text, times
from rnncore.runfile.record import Record, Run

# Groups that the verdict names, and recorded numbers that a table has columns for.
MOST_NAMED, MOST_NUMBERS = 6, 6


def sentences(run: Run) -> list[str]:
    """Return what a reader looks for first: of each group that its project made the fastest, and what is missing."""
    records = valid(run.records)
    every, kept = {record.fullname for record in records}, longest(records, groups.MOST_ROWS)
    made = [group.is_contest for group in groups_of(records, every)].count(True)
    found = [_fastest(group) for group in groups_of(records, kept) if group.is_contest][:MOST_NAMED]
    if made > len(found):
        where = "below" if len(kept) == len(every) else "below and in results.csv"
        found.append(f"{counted(made - len(found), 'further group')}: {where}.")
    if not made and len(records) > 1:
        names = inert_names(records)
        slowest, quickest = (pick(records, key=lambda record: record.median_s) for pick in (max, min))
        found.append(
            f"The longest is **{names[slowest.fullname]}**, {time_text(slowest.median_s)} a call; the shortest "
            f"{names[quickest.fullname]}, {time_text(quickest.median_s)}."
        )
    said = f"{counted(len(records), 'benchmark')} {'was' if len(records) == 1 else 'were'} measured"
    lacking = ", ".join(f"{len(some)} {what}" for what, some in left_out(run).items() if some)
    return [*found, f"{said}{f'; {lacking}' if lacking else ''}."]


def _fastest(group: Group) -> str:
    """Say which of a group is the fastest, by how much, and whether the rounds leave doubt of it."""
    names = inert_names(group.records)
    first, second, *more = group.records
    best, following = f"**{names[first.fullname]}**", names[second.fullname]
    ratio = case_ratio("", first, second)
    if ratio.low is not None and ratio.low <= 1:
        said = (
            f"{best} has the lowest median, {time_text(first.median_s)} a call; the rounds do not tell it from {following}"
        )
    else:
        slower = "as fast" if times(ratio.ratio) == "equal" else times(ratio.ratio)
        said = f"{best} is fastest, {time_text(first.median_s)} a call; the next, {following}, is {slower}"
    if more:
        said += f"; the last, {names[more[-1].fullname]}, is {times(more[-1].median_s / first.median_s)}"
    return f"Of *{inert(group.name)}*, {said}."


def group_table(group: Group) -> Table:
    """Show the times of a group, in one unit where that reads well, and the numbers that its benchmarks recorded."""
    records, called = group.shown, inert_names(group.records)
    shared = shared_unit([record.median_s for record in records])
    fastest_s = min(record.median_s for record in group.records)
    recorded, are_means = _recorded(records), any(record.calls_per_round > 1 for record in records)
    rows: list[list[Any]] = []
    for record in records:
        scale, unit = shared or time_unit([record.median_s])
        own = "" if shared else f" {unit}"
        low, first, middle, third, high = _five_numbers(record, scale)
        rows.append(
            [
                called[record.fullname],
                *([inert(record.group)] if group.is_of_many else []),
                f"{middle}{own}",
                *([record.median_s / fastest_s] if group.is_made else []),
                f"{first}–{third}{own}",
                f"{low}{own}",
                f"{high}{own}",
                record.rounds,
                *([record.calls_per_round] if are_means else []),
                *[record.numbers.get(name) for name in recorded],
            ]
        )
    of_all = shared[1] if shared else ""
    columns = [
        *words("Benchmark", *(["Group"] if group.is_of_many else [])),
        *numbers("median", unit=of_all),
        *(numbers("× fastest", show=significant) if group.is_made else []),
        *numbers("quartiles", "min", "max", unit=of_all),
        *numbers("rounds", *(["calls a round"] if are_means else [])),
        *numbers(*map(inert, recorded), show=number_text),
    ]
    return Table(columns, rows)


def _recorded(records: Iterable[Record]) -> list[str]:
    """Return the names of the numbers that most benchmarks recorded, in the order in which they come first."""
    counts = Counter(name for record in records for name in record.numbers)
    kept = {name for name, _ in counts.most_common(MOST_NUMBERS)}
    return [name for name in counts if name in kept]


def _five_numbers(record: Record, scale: float) -> list[str]:
    """Return minimum, quartiles, median and maximum."""
    first_s, third_s = record.quartiles_s
    times_s = (record.quickest_s, first_s, record.median_s, third_s, record.slowest_s)
    return [significant(seconds / scale) for seconds in times_s]


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return a figure and a table for each group."""
    return _tables(valid(runs[0].records), shown)


def text_beside(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the same of what lies in one file with benchmarks of our suites."""
    return _tables(others(runs[0]), shown)


def _tables(records: Sequence[Record], shown: Shown) -> list[str]:
    kept = longest(records, groups.MOST_ROWS)
    if not kept:
        return []
    said = "Times of a call; half of the rounds lie between the quartiles."
    if any(record.calls_per_round > 1 for record in records):
        said += " Where a round has several calls its time is their mean, so that min and max are not of single calls."
    if any(record.numbers for record in records if record.fullname in kept):
        said += " Columns to the right of these are what the benchmarks recorded in extra_info."
    if len(kept) < len(records):
        said += f" Shown are the {len(kept)} longest of {len(records):,} benchmarks; results.csv has all."
    parts = [paragraph(said)]
    for index, group in enumerate(groups_of(records, kept)):
        table = group_table(group)
        brief = Table(table.columns, table.rows[:SHOWN_ROWS])
        more = [table.markdown()] if len(table.rows) > SHOWN_ROWS else []
        parts += [group.heading, *shown.figure(figure_name(index)), brief.markdown()]
        parts += folded(f"All {counted(len(table.rows), 'benchmark')} of {group.name}", more)
    return parts


def text_of_verdict(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the verdict in sentences."""
    return [bullets(sentences(runs[0]))]


VERDICT = Section("## Verdict", text_of_verdict)
SECTION = Section("## Benchmarks", text, figures)
BESIDE = Section("## Benchmarks of other suites", text_beside, figures)
