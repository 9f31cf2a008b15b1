"""What was not measured, or is not ranked: a line for each reason."""

from collections.abc import Sequence

from rnncore.amounts import counted
from rnncore.report.section import Section, Shown
from rnncore.report.sections.machine import unmeasured_ceilings
from rnncore.report.table import Table, words
from rnncore.report.words import run_names
from rnncore.runfile.record import Run, short_name


def lines_of(runs: Sequence[Run]) -> list[str]:
    """Return the table of what is wrong, failed or was skipped, what has one reason together; nothing where nothing is."""
    rows = []
    for run, name_of_run in zip(runs, run_names(runs), strict=True):
        which = [name_of_run] if len(runs) > 1 else []
        by_reason: dict[str, list[str]] = {}
        for record in run.records:
            if not record.is_valid:
                by_reason.setdefault(f"invalid: {record.validity}", []).append(record.short_name)
        for name, outcome, reason in run.failed:
            by_reason.setdefault(f"{outcome}: {reason}", []).append(short_name(name))
        for name, reason in run.skipped:
            by_reason.setdefault(f"skipped: {reason}", []).append(short_name(name))
        for reason, names in by_reason.items():
            benchmarks = names[0] if len(names) == 1 else f"{len(names)} benchmarks, such as {names[0]}"
            rows.append([*which, benchmarks, reason])
        if len(runs) == 1:
            rows += [[counted(count, "ceiling"), f"not measured: {why}"] for why, count in unmeasured_ceilings(run).items()]
    return [Table(words(*(["Run"] if len(runs) > 1 else []), "Benchmark", "Why"), rows).markdown()] if rows else []


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the same, or that there is nothing; and which sections are not there."""
    lines = lines_of(runs) or ["Everything that was asked for was measured, and is right.\n"]
    return [*lines, *(["\n".join(f"- {why}" for why in shown.lacking) + "\n"] if shown.lacking else [])]


SECTION = Section("## What was not measured?", text)
