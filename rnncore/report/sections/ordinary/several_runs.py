"""Several runs of other projects' suites side by side: what is slower and faster than in the first, and what differs."""

import math
from collections.abc import Sequence
from typing import Any

from rnncore.amounts import counted, time_unit
from rnncore.report.fold import folded
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown
from rnncore.report.sections.ordinary import groups
from rnncore.report.sections.ordinary.groups import groups_of, inert_names, number_text
from rnncore.report.sections.ratios import MOST_ROWS, NOTE, CaseRatio, case_ratio, figures
from rnncore.report.sections.several import against_first, named_runs, of_differences, of_noise
from rnncore.report.sections.verdict import bullets
from rnncore.report.table import Column, Markdown, Table, inert, numbers, paragraph, strong, words
from rnncore.report.words import letter, shared_unit, significant, times
from rnncore.runfile.record import Record, Run


def text_of_verdict(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what is slower and faster than in the first run, what changed most, and which runs are of other machines."""
    found = []
    for index, (run, counts) in enumerate(zip(runs[1:], against_first(runs), strict=True), 1):
        found += [counts, *_extremes(runs[0], run, letter(index)), *of_differences(runs[0], run, letter(index))]
    return [named_runs(runs), bullets([*found, *of_noise(runs)])]


def _extremes(first: Run, run: Run, name: str) -> list[str]:
    """Name the benchmarks of a run that are slower and faster than in the first by most, beyond their intervals."""
    called = inert_names(valid(run.records))
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
    """Return the figure of the ratios, and a table of what changed most; for each group a table with all, folded."""
    by_name = [{record.fullname: record for record in valid(run.records)} for run in runs]
    every = list({record.fullname: record for records in reversed(by_name) for record in records.values()}.values())
    ratios = [_ratios(runs[0], run, letter(index)) for index, run in enumerate(runs[1:], 1)]
    kept = _most_changed_first(every, ratios)[: groups.MOST_ROWS]
    if not kept:
        return []
    said = f"{NOTE} What an interval leaves no doubt of is bold, and coloured in the figure."
    if len(kept) < len(every):
        said += f" Shown are the {len(kept)} of {len(every):,} benchmarks that differ most; results.csv has all."
    parts = [paragraph(said), *shown.figure("ratios"), _table(every, kept[:MOST_ROWS], by_name, ratios).markdown()]
    if len(kept) > MOST_ROWS:
        for group in groups_of(every, {record.fullname for record in kept}):
            names = {record.fullname for record in group.shown}
            of_group = [record for record in kept if record.fullname in names]
            table = _table(every, of_group, by_name, ratios).markdown()
            parts += folded(f"{group.name}: {counted(len(of_group), 'benchmark')}", [table])
    return parts


def _most_changed_first(records: Sequence[Record], ratios: Sequence[dict[str, CaseRatio]]) -> list[Record]:
    """Sort benchmarks so that those whose ratio to the first run's is furthest from 1 come first."""

    def change(record: Record) -> float:
        found = (of_run[record.fullname].ratio for of_run in ratios if record.fullname in of_run)
        return max((abs(math.log(ratio)) for ratio in found), default=0.0)

    return sorted(records, key=lambda record: -change(record))


def _table(
    every: Sequence[Record],
    records: Sequence[Record],
    by_name: Sequence[dict[str, Record]],
    ratios: Sequence[dict[str, CaseRatio]],
) -> Table:
    """Show medians and ratios of some benchmarks, by the names that they have among all."""
    called = inert_names(every)
    shared = shared_unit([record.median_s for record in records])
    rows: list[list[Any]] = []
    for fullname in (record.fullname for record in records):
        here = [records_of_run.get(fullname) for records_of_run in by_name]
        scale, unit = shared or time_unit(record.median_s for record in here if record)
        own = "" if shared else f" {unit}"
        cells = [None if record is None else f"{significant(record.median_s / scale)}{own}" for record in here]
        cells += [None if one is None else _ratio_text(one) for one in (of_run.get(fullname) for of_run in ratios)]
        rows.append([called[fullname], *cells])
    letters = [letter(index) for index in range(len(by_name))]
    columns: list[Column] = [*words("Benchmark"), *numbers(*letters, unit=shared[1] if shared else "")]
    columns += numbers(*[f"{name} against A" for name in letters[1:]])
    return Table(columns, rows)


def _ratio_text(ratio: CaseRatio) -> str:
    """Return a ratio in words with its interval, bold where that leaves no doubt of its direction."""
    said, found, interval = ratio.text.partition(" (")
    return Markdown(f"{strong(said)}{found}{interval}") if ratio.is_sure and said != "equal" else ratio.text


def text_of_numbers(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what the benchmarks recorded beside their times, side by side, where it is not equal in all runs."""
    by_name = [{record.fullname: record for record in valid(run.records)} for run in runs]
    called = inert_names(record for records in by_name for record in records.values())
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
    said, most = "What is equal in all runs is left out.", groups.MOST_ROWS
    said += f" These are the first {most} of {len(rows):,}; results.csv has all." if len(rows) > most else ""
    return [paragraph(said), Table(columns, rows[:most]).markdown()]


VERDICT = Section("## Verdict", text_of_verdict)
TIMES = Section("## What changed?", text_of_times, figures)
NUMBERS = Section("## What was recorded beside the times", text_of_numbers)
