"""Benchmarks of other projects' suites: how long each takes, what they recorded, and what their files do not say."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import altair

from rnncore.report.figure import PALETTE, SHOWN_ROWS, WIDTH, Chart, Figure, names_axis, rows_height
from rnncore.report.rows import names_of, valid
from rnncore.report.section import Section, Shown
from rnncore.report.sections.method import raw_name
from rnncore.report.sections.not_measured import text as lines_not_measured
from rnncore.report.sections.ratios import CaseRatio, case_ratio
from rnncore.report.sections.ratios import figures as ratio_figures
from rnncore.report.sections.several import against_first, of_noise
from rnncore.report.sections.trust import disturbance_table, observed, session_sentences
from rnncore.report.sections.verdict import bullets
from rnncore.report.table import Column, Table, inert, numbers, paragraph, words
from rnncore.report.words import (
    bytes_text,
    counted,
    digits,
    in_order,
    letter,
    lettered_names,
    measured,
    median_text,
    run_names,
    significant,
    time_unit,
    times,
)
from rnncore.runfile.machine import differences
from rnncore.runfile.record import Record, Run, short_name

# Rows of all tables of a section, at most: a page is to be read. The flat tables have all.
MOST_ROWS = 300

# Groups that have a figure, groups that the verdict names, and recorded numbers that a table has columns for.
MOST_FIGURES, MOST_NAMED, MOST_NUMBERS = 8, 6, 6

# Times that are further apart than this are shown on a logarithmic scale.
_LOG_FROM = 20.0

# Heading of groups of one benchmark each, which are in one table.
ALONE = "Others, each alone in its group"

# Whole numbers up to this are written with all digits.
_WHOLE = 1e15


@dataclass(frozen=True)
class Group:
    """Benchmarks that are in one table.

    Attributes:
        name: Of the group, or else the file that they are in.
        records: They; those that the project put together, the fastest first.
        is_made: Whether the project put them together, so that they can be held against each other.
        shown: Those of them that the page shows.
    """

    name: str
    records: Sequence[Record]
    is_made: bool
    shown: Sequence[Record]


def groups_of(records: Sequence[Record], kept: Collection[str]) -> list[Group]:
    """Put records together that are read together, in the order in which they come.

    Args:
        records: All of them.
        kept: Full names of those that are shown; groups without any are left out.
    """
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(record.group, []).append(record)
    alone = [members[0] for members in by_name.values() if len(members) == 1]
    found: list[tuple[str, list[Record], bool]] = []
    for name, members in by_name.items():
        if len(members) > 1 or len(alone) == 1:
            is_made = any(name != _file_of(record) for record in members)
            ordered = sorted(members, key=lambda record: record.median_s) if is_made else members
            found.append((name, ordered, is_made))
    found += [(ALONE, alone, False)] if len(alone) > 1 else []
    groups = [Group(*group, [record for record in group[1] if record.fullname in kept]) for group in found]
    return [group for group in groups if group.shown]


def _file_of(record: Record) -> str:
    return record.fullname.split("::", 1)[0]


def _names(records: Iterable[Record]) -> dict[str, str]:
    return {fullname: inert(name) for fullname, name in names_of(records).items()}


# ------------------------------------------------------------------------------------------------------------ one run


def sentences(run: Run) -> list[str]:
    """Return what a reader looks for first: of each group that its project made the fastest, and what is missing."""
    records = valid(run.records)
    every, kept = {record.fullname for record in records}, _longest(records, MOST_ROWS)
    made = [_is_contest(group) for group in groups_of(records, every)].count(True)
    found = [_fastest(group) for group in groups_of(records, kept) if _is_contest(group)][:MOST_NAMED]
    if made > len(found):
        where = "below" if len(kept) == len(every) else "below and in results.csv"
        found.append(f"{counted(made - len(found), 'further group')}: {where}.")
    if not made and len(records) > 1:
        names = _names(records)
        longest, shortest = (pick(records, key=lambda record: record.median_s) for pick in (max, min))
        found.append(
            f"The longest is **{names[longest.fullname]}**, {median_text(longest)} a call; the shortest "
            f"{names[shortest.fullname]}, {median_text(shortest)}."
        )
    said = f"{counted(len(records), 'benchmark')} {'was' if len(records) == 1 else 'were'} measured"
    lacking = ", ".join(f"{len(some)} {what}" for what, some in _left_out(run).items() if some)
    return [*found, f"{said}{f'; {lacking}' if lacking else ''}."]


def _is_contest(group: Group) -> bool:
    return group.is_made and len(group.records) > 1


def _fastest(group: Group) -> str:
    """Say which of a group is the fastest, by how much, and whether the rounds leave doubt of it."""
    names = _names(group.records)
    first, second, *others = group.records
    best, following = f"**{names[first.fullname]}**", names[second.fullname]
    ratio = case_ratio("", first, second)
    if ratio.low is not None and ratio.low <= 1:
        said = f"{best} has the lowest median, {median_text(first)} a call; the rounds do not tell it from {following}"
    else:
        slower = "as fast" if times(ratio.ratio) == "equal" else times(ratio.ratio)
        said = f"{best} is fastest, {median_text(first)} a call; the next, {following}, is {slower}"
    if others:
        said += f"; the last, {names[others[-1].fullname]}, is {times(others[-1].median_s / first.median_s)}"
    return f"Of *{inert(group.name)}*, {said}."


def _left_out(run: Run) -> dict[str, Sequence[object]]:
    wrong = [record for record in run.records if not record.is_valid]
    return {"wrong": wrong, "without a result": run.failed, "skipped": run.skipped}


def group_table(group: Group) -> Table:
    """Show the times of a group in one unit, and the numbers that its benchmarks recorded."""
    records, called = group.shown, _names(group.records)
    scale, unit = time_unit([median(record.median_s for record in records)])
    fastest_s = min(record.median_s for record in group.records)
    recorded = _recorded(records)
    rows: list[list[Any]] = []
    for record in records:
        low, first, middle, third, high = _five_numbers(record, scale)
        rows.append(
            [
                called[record.fullname],
                *([inert(record.group)] if group.name == ALONE else []),
                middle,
                *([record.median_s / fastest_s] if group.is_made else []),
                f"{first}–{third}",
                low,
                high,
                record.rounds,
                *[record.numbers.get(name) for name in recorded],
            ]
        )
    columns = [
        *words("Benchmark", *(["Group"] if group.name == ALONE else [])),
        *numbers("median", unit=unit),
        *(numbers("× fastest", show="{:,.2f}".format) if group.is_made else []),
        *numbers("quartiles", "min", "max", unit=unit),
        *numbers("rounds"),
        *numbers(*map(inert, recorded), show=number_text),
    ]
    return Table(columns, rows)


def _recorded(records: Iterable[Record]) -> list[str]:
    """Return the names of the numbers that most benchmarks recorded, in the order in which they come first."""
    counts = Counter(name for record in records for name in record.numbers)
    kept = {name for name, _ in counts.most_common(MOST_NUMBERS)}
    return [name for name in counts if name in kept]


def _five_numbers(record: Record, scale: float) -> list[str]:
    """Return minimum, quartiles, median and maximum, such that their order is that of the numbers."""
    (first_s, third_s), middle = record.quartiles_s, digits(record.median_s, record)
    times_s = (record.quickest_s, first_s, record.median_s, third_s, record.slowest_s)
    return in_order([(seconds / scale, shown) for seconds, shown in zip(times_s, (3, 3, middle, 3, 3), strict=True)])


def number_text(value: float) -> str:
    """Write a recorded number: a whole one with all its digits."""
    return f"{value:,.0f}" if value.is_integer() and abs(value) < _WHOLE else significant(value, 4)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return a figure and a table for each group."""
    return _tables(valid(runs[0].records), shown)


def text_beside(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the same of what lies in one file with benchmarks of our suites."""
    return _tables(_others(runs[0]), shown)


def _others(run: Run) -> list[Record]:
    return [record for record in valid(run.records) if not record.has_case]


def _tables(records: Sequence[Record], shown: Shown) -> list[str]:
    kept = _longest(records, MOST_ROWS)
    if not kept:
        return []
    said = "Times of a call; half of the rounds lie between the quartiles."
    if len(kept) < len(records):
        said += f" Shown are the {len(kept)} longest of {len(records):,} benchmarks; results.csv has all."
    parts = [paragraph(said)]
    for index, group in enumerate(groups_of(records, kept)):
        heading = group.name if group.name == ALONE else inert(group.name)
        parts += [f"### {paragraph(heading)}", *shown.figure(_figure_name(index)), group_table(group).markdown()]
    return parts


def _longest(records: Sequence[Record], most: int) -> set[str]:
    """Return the full names of those that take longest, at most so many."""
    return {record.fullname for record in sorted(records, key=lambda record: -record.median_s)[:most]}


def _figure_name(index: int) -> str:
    return f"times-{index + 1}"


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the first groups of several benchmarks, of each the longest, at most as many as a chart shows."""
    found: list[Figure] = []
    others = _others(runs[0])
    for index, group in enumerate(groups_of(others, _longest(others, MOST_ROWS))):
        if len(group.shown) > 1 and len(found) < MOST_FIGURES:
            longest = _longest(group.shown, SHOWN_ROWS)
            drawn = [record for record in group.shown if record.fullname in longest]
            which = f"the {len(drawn)} longest of {len(group.records)}" if len(drawn) < len(group.records) else "each"
            alt = f"Time of a call, median and quartiles, of {which} in {group.name}"
            found.append(Figure(_figure_name(index), " ".join(alt.split()), times_chart(drawn)))
    return found


def times_chart(records: Sequence[Record]) -> Chart:
    """Draw each benchmark's median, with its quartiles."""
    called = names_of(records)
    scale, unit = time_unit([median(record.median_s for record in records)])
    values = [
        {
            "row": called[record.fullname],
            "median": record.median_s / scale,
            "low": record.quartiles_s[0] / scale,
            "high": record.quartiles_s[1] / scale,
        }
        for record in records
    ]
    medians = [record.median_s for record in records]
    is_log = max(medians) > _LOG_FROM * min(medians)
    kind = altair.Scale(type="log", nice=False, padding=12) if is_log else altair.Scale(zero=True)
    title = f"Time of a call, {unit}{' (logarithmic)' if is_log else ''}"
    axis = names_axis()
    base = altair.Chart(altair.InlineData(values)).encode(
        y=altair.Y("row:N", sort=list(called.values()), title=None, axis=axis)
    )
    quartiles = base.mark_rule(strokeWidth=2, color=PALETTE[0]).encode(
        x=altair.X("low:Q", scale=kind, title=title), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=60, opacity=1, color=PALETTE[0]).encode(
        x=altair.X("median:Q", scale=kind, title=title),
        tooltip=["row:N", *(altair.Tooltip(f"{name}:Q", format=".4g") for name in ("median", "low", "high"))],
    )
    return altair.layer(quartiles, points).properties(width=WIDTH, height=rows_height(len(values)))


# -------------------------------------------------------------------------------------------------------- several runs


def text_of_verdict_of_several(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what is slower and faster than in the first run, what changed most, and which runs are of other machines."""
    found = []
    for index, (run, counts) in enumerate(zip(runs[1:], against_first(runs), strict=True), 1):
        found += [counts, *_extremes(runs[0], run, letter(index))]
        facts = [one.fact for one in differences(runs[0].fingerprint, run.fingerprint)]
        if facts:
            listed = ", ".join(inert(_FACTS.get(fact, fact)) for fact in facts[:3])
            more = f" and {len(facts) - 3} more" if len(facts) > 3 else ""
            found.append(f"**A and {letter(index)} differ in {listed}{more}**: their ratios are not of the code alone.")
    return [bullets([*found, *of_noise(runs)])]


def _extremes(first: Run, run: Run, name: str) -> list[str]:
    """Name the benchmarks of a run that are slower and faster than in the first by most, beyond their intervals."""
    called = _names(valid(run.records))
    changed = {fullname: one.ratio for fullname, one in _ratios(first, run, name).items() if one.is_sure}
    by_ratio = sorted(changed, key=lambda fullname: changed[fullname])
    # The last is the slowest, and the first the fastest.
    ends = [fullname for fullname in by_ratio[-1:] if changed[fullname] > 1]
    ends += [fullname for fullname in by_ratio[:1] if changed[fullname] < 1]
    said = [f"**{called[fullname]}** is {times(changed[fullname])}" for fullname in ends]
    return [f"Most changed in {name}: {', '.join(said)}."] if said else []


def _ratios(first: Run, run: Run, name: str) -> dict[str, CaseRatio]:
    before = {record.fullname: record for record in valid(first.records)}
    both = [record for record in valid(run.records) if record.fullname in before]
    return {record.fullname: case_ratio(name, before[record.fullname], record) for record in both}


def text_of_times(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the figure of the ratios, and for each group a table of the medians with their ratios to the first run's."""
    by_name = [{record.fullname: record for record in valid(run.records)} for run in runs]
    every = list({record.fullname: record for records in reversed(by_name) for record in records.values()}.values())
    ratios = [_ratios(runs[0], run, letter(index)) for index, run in enumerate(runs[1:], 1)]
    kept = _most_changed(every, ratios)
    if not kept:
        return []
    said = (
        "Medians of the rounds, and 99 % intervals of their ratios within these processes. Each side is one process: "
        "differences of a few percent between runs of one machine may be noise between processes."
    )
    if len(kept) < len(every):
        said += f" Shown are the {len(kept)} of {len(every):,} benchmarks that differ most; results.csv has all."
    parts = [paragraph(said), *shown.figure("ratios")]
    for group in groups_of(every, kept):
        heading = group.name if group.name == ALONE else inert(group.name)
        parts += [f"### {paragraph(heading)}", _table_of_several(group, by_name, ratios).markdown()]
    return parts


def _most_changed(records: Sequence[Record], ratios: Sequence[dict[str, CaseRatio]]) -> set[str]:
    """Return the full names of benchmarks whose ratio to the first run's is furthest from 1, at most `MOST_ROWS`."""

    def change(record: Record) -> float:
        found = (of_run[record.fullname].ratio for of_run in ratios if record.fullname in of_run)
        return max((abs(math.log(ratio)) for ratio in found), default=0.0)

    return {record.fullname for record in sorted(records, key=lambda record: -change(record))[:MOST_ROWS]}


def _table_of_several(group: Group, by_name: Sequence[dict[str, Record]], ratios: Sequence[dict[str, CaseRatio]]) -> Table:
    called = _names(group.records)
    scale, unit = time_unit([median(record.median_s for record in group.shown)])
    rows: list[list[Any]] = []
    for fullname in (record.fullname for record in group.shown):
        here = [records.get(fullname) for records in by_name]
        cells = [None if record is None else measured(record.median_s / scale, record) for record in here]
        for of_run in ratios:
            one = of_run.get(fullname)
            cells += [None, None] if one is None else [_ratio_text(one), _interval_text(one)]
        rows.append([called[fullname], *cells])
    letters = [letter(index) for index in range(len(by_name))]
    columns: list[Column] = [*words("Benchmark"), *numbers(*letters, unit=unit)]
    for name in letters[1:]:
        columns += numbers(f"{name} against A", f"{name}/A, 99 %")
    return Table(columns, rows)


def _ratio_text(ratio: CaseRatio) -> str:
    """Return a ratio in words, bold where its interval leaves no doubt of its direction."""
    said = times(ratio.ratio)
    return f"**{said}**" if ratio.is_sure and said != "equal" else said


def _interval_text(ratio: CaseRatio) -> str | None:
    return None if ratio.low is None or ratio.high is None else f"{ratio.low:.2f}–{ratio.high:.2f}"


def text_of_numbers(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what the benchmarks recorded beside their times, side by side, where it is not equal in all runs."""
    by_name = [{record.fullname: record for record in valid(run.records)} for run in runs]
    called = _names(record for records in by_name for record in records.values())
    rows: list[list[Any]] = []
    for fullname, name in called.items():
        here = [records[fullname].numbers if fullname in records else {} for records in by_name]
        for key in dict.fromkeys(key for of_run in here for key in of_run):
            values = [of_run.get(key) for of_run in here]
            if len(set(values)) > 1:
                rows.append([name, inert(key), *values])
    if not rows:
        return []
    columns = [*words("Benchmark", "recorded"), *numbers(*map(letter, range(len(runs))), show=number_text)]
    said = "What is equal in all runs is left out."
    said += f" These are the first {MOST_ROWS} of {len(rows):,}; results.csv has all." if len(rows) > MOST_ROWS else ""
    return [paragraph(said), Table(columns, rows[:MOST_ROWS]).markdown()]


# ------------------------------------------------------------------------------------------- machine, doubts and method


# Facts of a machine by what a reader calls them.
_FACTS = {
    "cpu": "CPU",
    "isa": "Vector instructions",
    "cpus": "CPUs",
    "threads": "Threads used",
    "memory_bytes": "Memory",
    "gpu": "GPU",
    "virtual_machine": "Virtual machine",
    "governor": "Governor",
    "system": "System",
    "python": "Python",
    "python_implementation": "Python's implementation",
    "packages": "Packages",
}

# Of which there is nothing to say.
_USUAL = ("CPython",)


def text_of_machines(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the facts that the runs know, side by side, those that differ bold."""
    rows = []
    for fact, title in _FACTS.items():
        values = [_fact_text(fact, run.fingerprint.get(fact)) for run in runs]
        known = {value for value in values if value is not None}
        if known:
            rows.append([title, *[f"**{value}**" if value and len(known) > 1 else value for value in values]])
    if not rows:
        return []
    return [Table(words("Fact", *map(inert, lettered_names(runs) if len(runs) > 1 else run_names(runs))), rows).markdown()]


def _fact_text(fact: str, value: Any) -> str | None:
    """Write a fact; None where it is not known, or there is nothing to say of it."""
    if value is None or value in _USUAL:
        return None
    if fact == "memory_bytes":
        return bytes_text(int(value))
    if fact == "isa":
        return ", ".join(inert(name) for name, there in value.items() if there) or None
    if fact == "packages":
        return ", ".join(inert(f"{name} {version}") for name, version in value.items() if version) or None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return inert(str(value["name"]) if isinstance(value, dict) and "name" in value else str(value))


def text_of_unknown(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Say what the files do not tell, and what follows from it."""
    unwatched = _of_which(runs, [not run.session for run in runs])
    nameless = _of_which(runs, [not run.fingerprint.get("cpu") for run in runs])
    summed_up = _of_which(runs, [any(record.summary is not None for record in run.records) for run in runs])
    said = []
    if unwatched is not None:
        said += [
            f"{unwatched}memory, GPU and number of threads of the machine, and what disturbed the rounds: pytest-benchmark "
            "does not record them.",
            f"{unwatched}what failed and what was skipped: pytest-benchmark keeps times alone, also those of a test that "
            "failed after it was timed.",
        ]
    if nameless is not None:
        said.append(f"{nameless}the CPU: the file does not name it.")
    if summed_up is not None:
        said.append(
            f"{summed_up}the single rounds: intervals are worked out from the quartiles, as of a normal distribution. "
            "'--benchmark-save-data' keeps the rounds."
        )
    for index, run in enumerate(runs):
        if run.repeated:
            names = inert(short_name(run.repeated[0])) + (f" and {len(run.repeated) - 1} more" if run.repeated[1:] else "")
            of_run = f"{letter(index)}: " if len(runs) > 1 else ""
            said.append(f"{of_run}earlier attempts: of {names}, which the file has more than once, only the last counts.")
    if len(runs) == 1:
        said.append("The noise between processes: this is one process. 'rnncore gate' measures several, interleaved.")
    return [bullets(f"{line[0].upper()}{line[1:]}" for line in said)] if said else []


def _of_which(runs: Sequence[Run], holds: Sequence[bool]) -> str | None:
    """Return the beginning of a line on the runs for which something holds; None where it holds for none."""
    found = [letter(index) for index, one in enumerate(holds) if one]
    if not found:
        return None
    return f"{', '.join(found)}: " if len(found) < len(runs) else ""


def text_of_disturbances(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what was seen to disturb the rounds, where anything looked."""
    records, said = observed(runs[0]), session_sentences(runs[0])
    if not records:
        return []
    return [disturbance_table(records).markdown(), *([paragraph(said)] if said else [])]


def text_not_measured(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what is wrong, failed or was skipped, where anything is."""
    there = any(some for run in runs for some in _left_out(run).values())
    return lines_not_measured(runs, shown) if there else []


def text_of_method(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return where each run is from."""
    rows: list[list[Any]] = [
        ["Saved", *[inert(run.datetime) for run in runs]],
        ["Commit", *[inert(run.commit or "not in git") for run in runs]],
        ["pytest-benchmark", *[inert(run.harness) if run.harness else None for run in runs]],
        ["Run file", *[inert(run.path.name) for run in runs]],
        ["its copy here", *[raw_name(index, len(runs)) for index in range(len(runs))]],
        ["its SHA-256", *[run.digest for run in runs]],
    ]
    in_slots = any(record.slot_rounds for run in runs for record in run.records)
    how = "rnncore timed the calls in slots of a gate" if in_slots else "pytest-benchmark timed the calls"
    names = [letter(index) for index in range(len(runs))] if len(runs) > 1 else ["this run"]
    return [
        paragraph(
            f"{how}; a round of short calls is the mean of several. A time has as many digits as the interval of its median "
            "leaves meaning."
        ),
        Table(words("Fact", *names), rows).markdown(),
    ]


def text_of_verdict(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the verdict in sentences."""
    return [bullets(sentences(runs[0]))]


VERDICT = Section("## Verdict", text_of_verdict)
SECTION = Section("## Benchmarks", text, figures)
BESIDE = Section("## Benchmarks of other suites", text_beside, figures)
MACHINE = Section("## Machine", text_of_machines)
UNKNOWN = Section("## What is not known", text_of_unknown)
DISTURBED = Section("## What disturbed the rounds", text_of_disturbances)
NOT_MEASURED = Section("## Not measured", text_not_measured)
METHOD = Section("## How it was measured", text_of_method)

VERDICT_OF_SEVERAL = Section("## Verdict", text_of_verdict_of_several)
TIMES = Section("## Times", text_of_times, ratio_figures)
MACHINES = Section("## Machines", text_of_machines)
NUMBERS = Section("## What was recorded beside the times", text_of_numbers)
