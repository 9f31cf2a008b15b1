"""What was not measured, or is not ranked."""

from collections.abc import Sequence

from rnncore.report.section import Section, Shown
from rnncore.report.table import markdown_table
from rnncore.report.words import run_names
from rnncore.runfile.record import Run


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    """List what is wrong or was skipped, skips of one reason together."""
    rows = []
    for run, name_of_run in zip(runs, run_names(runs), strict=True):
        which = [name_of_run] if len(runs) > 1 else []
        invalid = [record for record in run.records if not record.is_valid]
        rows += [[*which, record.short_name, f"invalid: {record.validity}"] for record in invalid]
        rows += [[*which, name.split("::")[-1], f"{outcome}: {reason}"] for name, outcome, reason in run.failed]
        by_reason: dict[str, list[str]] = {}
        for name, reason in run.skipped:
            by_reason.setdefault(reason, []).append(name.split("::")[-1])
        rows += [[*which, _counted(names), f"skipped: {reason}"] for reason, names in by_reason.items()]
    heading = "## Not measured, or not ranked\n"
    if not rows:
        return [heading, "Everything that was asked for was measured, and is right.\n"]
    head = [*(["Run"] if len(runs) > 1 else []), "Benchmark", "Why"]
    return [heading, markdown_table(head, rows, left=len(head))]


def _counted(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} benchmarks, such as {names[0]}"


SECTION = Section(_lines)
