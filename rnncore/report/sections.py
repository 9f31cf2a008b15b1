"""Sections that the report of one run and of several share."""

import shlex
from collections.abc import Mapping

from rnncore.report import tables
from rnncore.report.charts import Figure
from rnncore.runfile.record import Run


def raw_name(index: int, runs: int) -> str:
    """Return the name under which a copy of a run file lies beside the report."""
    return "run.json" if runs == 1 else f"run-{tables.letter(index)}.json"


def figure(by_name: Mapping[str, Figure], name: str) -> list[str]:
    """Return the lines that show a figure, if it was drawn."""
    return [f"![{by_name[name].alt}]({name}.png)\n"] if name in by_name else []


def not_measured(runs: list[Run]) -> list[str]:
    """List what is wrong or was skipped, skips of one reason together."""
    rows = []
    for run, name_of_run in zip(runs, tables.run_names(runs), strict=True):
        which = [name_of_run] if len(runs) > 1 else []
        invalid = [record for record in run.records if record.validity != "valid"]
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
    return [heading, tables.markdown_table(head, rows, left=len(head))]


def _counted(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} benchmarks, such as {names[0]}"


def how_measured(runs: list[Run]) -> list[str]:
    """Tell how the figures came about, and of each run what is needed to make or check it again."""
    facts = [
        {
            "Command": shlex.join(run.command),
            "Saved": run.datetime,
            "Commit": run.commit or "not in git",
            "rnncore": str(run.session.get("version") or "–"),
            "Scale": str(run.session.get("scale") or "–"),
            "Data, SHA-256": run.data["digest"] if run.data else "none",
            "Run file": run.path.name,
            "its copy here": raw_name(index, len(runs)),
            "its SHA-256": run.digest,
        }
        for index, run in enumerate(runs)
    ]
    rows = [[name, *[fact[name] for fact in facts]] for name in facts[0]]
    names = [tables.letter(index) for index in range(len(runs))] if len(runs) > 1 else ["this run"]
    return [
        "## How it was measured\n",
        "Each call is warmed up, then timed by pytest-benchmark; a call ends when its output is ready, on CUDA too. Memory "
        "is the peak of a fresh process that only imports the runtime, opens the model and makes one such call, the model's "
        "share what it grew by after the imports; on a GPU it is torch's peak over the rounds. GFLOP/s counts "
        "the matrix products alone. All runtimes get the same threads, and only one is open at a time. A time has as many "
        "digits as the interval of its median leaves meaning.\n",
        tables.markdown_table(["Fact", *names], rows, left=1 + len(runs)),
    ]
