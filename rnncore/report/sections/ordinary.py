"""Benchmarks of other projects' suites: how long each takes, what they recorded, and what the file does not tell."""

from collections.abc import Sequence
from statistics import median
from typing import Any

import altair

from rnncore.report.figure import PALETTE, SHOWN_ROWS, WIDTH, Chart, Figure, rows_height
from rnncore.report.rows import low_median_high, valid
from rnncore.report.section import Section, Shown
from rnncore.report.sections.method import raw_name
from rnncore.report.sections.not_measured import text as lines_not_measured
from rnncore.report.sections.trust import disturbance_table, observed, session_sentences
from rnncore.report.sections.verdict import bullets
from rnncore.report.table import Table, escape, numbers, paragraph, words
from rnncore.report.words import (
    bytes_text,
    counted,
    letter,
    lettered_names,
    median_text,
    run_names,
    significant,
    time_unit,
    times,
)
from rnncore.runfile.machine import facts
from rnncore.runfile.record import Record, Run

# Times that are further apart than this are shown on a logarithmic scale.
_LOG_FROM = 20.0

# Facts of a fingerprint by what a reader calls them; those of packages and of switches follow as they are called there.
_FACTS = {
    "cpu": "CPU",
    "cpus": "CPUs",
    "threads": "threads used",
    "memory_bytes": "Memory",
    "gpu": "GPU",
    "virtual_machine": "Virtual machine",
    "governor": "Governor",
    "system": "System",
    "python": "Python",
    "python_implementation": "Python is",
}


def by_group(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return records by group, each as they come."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.group, []).append(record)
    return found


def sentences(run: Run) -> list[str]:
    """Return what a reader looks for first: of each group that its project made the fastest, and what is missing."""
    records = valid(run.records)
    found = []
    for group, members in by_group(records).items():
        first, *others = sorted(members, key=lambda record: record.median_s)
        if others and group != first.fullname.split("::", 1)[0]:
            ratio = times(others[0].median_s / first.median_s)
            found.append(
                f"Of *{group}*, **{first.short_name}** is fastest: {median_text(first)} a call; the next, "
                f"{others[0].short_name}, is {'as fast' if ratio == 'equal' else ratio}."
            )
    if not found and records:
        slowest, quickest = (pick(records, key=lambda record: record.median_s) for pick in (max, min))
        found.append(
            f"The longest is {slowest.short_name}, {median_text(slowest)} a call; the shortest {quickest.short_name}, "
            f"{median_text(quickest)}."
        )
    lacking = [f"{len(some)} {what}" for what, some in _left_out(run).items() if some]
    counts = "; ".join([f"{counted(len(records), 'benchmark')} measured", *lacking])
    return [*found, f"{counts}."]


def _left_out(run: Run) -> dict[str, Sequence[object]]:
    wrong = [record for record in run.records if not record.is_valid]
    return {"wrong": wrong, "without a result": run.failed, "skipped": run.skipped}


def group_table(records: Sequence[Record]) -> Table:
    """Show the times of a group in one unit, and each number that any of them recorded."""
    scale, unit = time_unit([median(record.median_s for record in records)])
    names = list(dict.fromkeys(name for record in records for name in record.numbers))
    rows: list[list[Any]] = []
    for record in records:
        low, middle, high = low_median_high(record, scale)
        quartiles = "–".join(significant(seconds / scale) for seconds in record.quartiles_s)
        rows.append(
            [record.short_name, middle, quartiles, low, high, record.rounds, *[record.numbers.get(name) for name in names]]
        )
    columns = [
        *words("Benchmark"),
        *numbers("median", "quartiles", "min", "max", unit=unit),
        *numbers("rounds"),
        *numbers(*names, show=significant),
    ]
    return Table(columns, rows)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return a table for each group."""
    return _tables(valid(runs[0].records), shown)


def text_beside(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the same of what lies in one file with benchmarks of our suites."""
    return _tables([record for record in valid(runs[0].records) if not record.has_case], shown)


def _tables(records: Sequence[Record], shown: Shown) -> list[str]:
    if not records:
        return []
    parts = [paragraph("Seconds of a call. Half of the rounds lie between the quartiles."), *shown.figure("times")]
    for group, members in by_group(records).items():
        parts += [f"### {escape(group)}\n", group_table(members).markdown()]
    return parts


def times_chart(records: Sequence[Record]) -> Chart:
    """Draw each benchmark's median, with its quartiles."""
    scale, unit = time_unit([median(record.median_s for record in records)])
    values = []
    for record in records:
        low_s, high_s = record.quartiles_s
        values.append(
            {
                "row": record.short_name,
                "Group": record.group,
                "median": record.median_s / scale,
                "low": low_s / scale,
                "high": high_s / scale,
            }
        )
    medians = [value["median"] for value in values]
    is_log = max(medians) > _LOG_FROM * min(medians)
    kind = altair.Scale(type="log", nice=False, padding=12) if is_log else altair.Scale(zero=True)
    title = f"Time of a call, {unit}{' (logarithmic)' if is_log else ''}"
    base = altair.Chart(altair.InlineData(values)).encode(
        y=altair.Y("row:N", sort=[value["row"] for value in values], title=None, axis=altair.Axis(labelLimit=260)),
        color=altair.Color("Group:N", scale=altair.Scale(range=PALETTE), legend=None),
    )
    quartiles = base.mark_rule(strokeWidth=2).encode(x=altair.X("low:Q", scale=kind, title=title), x2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=altair.X("median:Q", scale=kind, title=title),
        tooltip=["row:N", "Group:N", *(altair.Tooltip(f"{name}:Q", format=".4g") for name in ("median", "low", "high"))],
    )
    return altair.layer(quartiles, points).properties(width=WIDTH, height=rows_height(len(values)))


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the longest benchmarks, at most as many as a chart shows."""
    records = [record for record in valid(runs[0].records) if not record.has_case]
    longest = sorted(records, key=lambda record: -record.median_s)[:SHOWN_ROWS]
    shown = [record for record in records if record in longest]
    return [Figure("times", "Time of a call of each benchmark, with the quartiles", times_chart(shown))] if shown else []


def text_of_machines(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the facts that the runs know, side by side, those that differ bold; and what is not known."""
    known = [facts(run.fingerprint) for run in runs]
    names = dict.fromkeys([*_FACTS, *(name for of_run in known for name in of_run)])
    rows = []
    for name in names:
        values = [_fact_text(name, of_run.get(name)) for of_run in known]
        if any(value != "–" for value in values):
            differ = len({value for value in values if value != "–"}) > 1
            rows.append([_FACTS.get(name, name), *[f"**{escape(value)}**" if differ else value for value in values]])
    rows.append(["Commit", *[run.commit or "not in git" for run in runs]])
    columns = words("Fact", *(lettered_names(runs) if len(runs) > 1 else run_names(runs)))
    return [Table(columns, rows).markdown(), *_unknown(runs)]


def _fact_text(name: str, value: Any) -> str:
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return bytes_text(int(value)) if name.endswith("memory_bytes") else str(value)


def _unknown(runs: Sequence[Run]) -> list[str]:
    """Say what files do not tell that the plugin took no part in."""
    without_facts = [letter(index) for index, run in enumerate(runs) if not run.session]
    without_rounds = [
        letter(index) for index, run in enumerate(runs) if any(record.summary is not None for record in run.records)
    ]
    said = []
    if without_facts:
        which = "The file tells" if len(runs) == 1 else f"{', '.join(without_facts)}: the file tells"
        said.append(
            f"{which} neither memory, GPU and threads of the machine nor what disturbed the rounds, failed or was "
            "skipped: it was made without rnncore's plugin."
        )
    if without_rounds:
        which = "It holds" if len(runs) == 1 else f"{', '.join(without_rounds)}: the file holds"
        said.append(f"{which} no single rounds, so that intervals are of the quartiles: '--benchmark-save-data' keeps them.")
    return [paragraph(" ".join(said))] if said else []


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


def text_of_numbers(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what the benchmarks recorded beside their times, side by side."""
    by_name = [{record.fullname: record for record in valid(run.records)} for run in runs]
    rows: list[list[Any]] = []
    for fullname in dict.fromkeys(name for records in by_name for name in records):
        here = [records[fullname].numbers if fullname in records else {} for records in by_name]
        for key in dict.fromkeys(key for of_run in here for key in of_run):
            short = next(records[fullname].short_name for records in by_name if fullname in records)
            rows.append([short, key, *[of_run.get(key) for of_run in here]])
    if not rows:
        return []
    columns = [*words("Benchmark", "recorded"), *numbers(*map(letter, range(len(runs))), show=significant)]
    return [Table(columns, rows).markdown()]


def text_of_method(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return where each run is from."""
    rows = [
        ["Saved", *[run.datetime for run in runs]],
        ["Run file", *[run.path.name for run in runs]],
        ["its copy here", *[raw_name(index, len(runs)) for index in range(len(runs))]],
        ["its SHA-256", *[run.digest for run in runs]],
    ]
    names = [letter(index) for index in range(len(runs))] if len(runs) > 1 else ["this run"]
    return [
        paragraph(
            "pytest-benchmark timed the calls. A time has as many digits as the interval of its median leaves meaning."
        ),
        Table(words("Fact", *names), rows).markdown(),
    ]


def text_of_verdict(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the verdict in sentences."""
    return [bullets(sentences(runs[0]))]


VERDICT = Section("## Verdict", text_of_verdict)
SECTION = Section("## Benchmarks", text, figures)
BESIDE = Section("## Other benchmarks of the session", text_beside, figures)
MACHINE = Section("## Machine", text_of_machines)
MACHINES = Section("## Machines", text_of_machines)
DISTURBED = Section("## What disturbed the rounds", text_of_disturbances)
NOT_MEASURED = Section("## Not measured", text_not_measured)
NUMBERS = Section("## What was recorded beside the times", text_of_numbers)
METHOD = Section("## How it was measured", text_of_method)
