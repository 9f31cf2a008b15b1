"""What was not measured, or is not ranked."""

from collections.abc import Sequence

from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, words
from rnncore.report.words import run_names
from rnncore.runfile.record import Run, short_name


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of what is wrong or was skipped, skips of one reason together."""
    rows = []
    for run, name_of_run in zip(runs, run_names(runs), strict=True):
        which = [name_of_run] if len(runs) > 1 else []
        invalid = [record for record in run.records if not record.is_valid]
        rows += [[*which, record.short_name, f"invalid: {record.validity}"] for record in invalid]
        rows += [[*which, short_name(name), f"{outcome}: {reason}"] for name, outcome, reason in run.failed]
        by_reason: dict[str, list[str]] = {}
        for name, reason in run.skipped:
            by_reason.setdefault(reason, []).append(short_name(name))
        for reason, names in by_reason.items():
            benchmarks = names[0] if len(names) == 1 else f"{len(names)} benchmarks, such as {names[0]}"
            rows.append([*which, benchmarks, f"skipped: {reason}"])
    if not rows:
        return ["Everything that was asked for was measured, and is right.\n"]
    return [Table(words(*(["Run"] if len(runs) > 1 else []), "Benchmark", "Why"), rows).markdown()]


SECTION = Section("## Not measured, or not ranked", text)
