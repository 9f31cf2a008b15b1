"""Where runs of other projects' suites are from: their machines, what their files do not say, how they were measured."""

from collections.abc import Sequence
from typing import Any

from rnncore.report.fold import folded
from rnncore.report.section import Section, Shown
from rnncore.report.sections.method import raw_name
from rnncore.report.sections.not_measured import lines_of
from rnncore.report.sections.trust import disturbance_table, observed, session_sentences, trust_sentence
from rnncore.report.sections.verdict import bullets
from rnncore.report.table import Table, inert, paragraph, strong, words
from rnncore.report.words import bytes_text, letter, lettered_names
from rnncore.runfile.record import Run, short_name

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


def fact_title(fact: str) -> str:
    """Return what a reader calls a fact of a machine; the version of a package by its name."""
    return _FACTS.get(fact, fact.removeprefix("packages."))


def left_out(run: Run) -> dict[str, Sequence[object]]:
    """Return what a run did not measure, or not rightly, by how that is called."""
    wrong = [record for record in run.records if not record.is_valid]
    return {"wrong": wrong, "without a result": run.failed, "skipped": run.skipped}


def text_of_machines(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the facts that the runs know, side by side, those that differ bold."""
    rows = []
    for fact, title in _FACTS.items():
        values = [_fact_text(fact, run.fingerprint.get(fact)) for run in runs]
        known = {value for value in values if value is not None}
        if known:
            rows.append([title, *[strong(value) if value and len(known) > 1 else value for value in values]])
    if not rows:
        return []
    names = map(inert, lettered_names(runs)) if len(runs) > 1 else ["this run"]
    return [Table(words("Fact", *names), rows).markdown()]


def _fact_text(fact: str, value: Any) -> str | None:
    """Write a fact; None where it is not known, or there is nothing to say of it."""
    if value is None or value in _USUAL:
        return None
    if fact == "memory_bytes":
        return bytes_text(int(value))
    if fact == "isa":
        return ", ".join(name for name, there in value.items() if there) or None
    if fact == "packages":
        return ", ".join(f"{name} {version}" for name, version in value.items() if version) or None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value["name"]) if isinstance(value, dict) and "name" in value else str(value)


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
    table = disturbance_table(records).markdown()
    return [paragraph(trust_sentence(runs[0])), *([paragraph(said)] if said else []), *folded("Row by row", [table])]


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
            f"{how}; a round of short calls is the mean of several. Times have three significant digits; "
            "results.csv has them whole."
        ),
        *folded("Commit, files and digests, to make or check it again", [Table(words("Fact", *names), rows).markdown()]),
    ]


MACHINE = Section("## Machine", text_of_machines)
MACHINES = Section("## Machines", text_of_machines)
UNKNOWN = Section("## What is not known", text_of_unknown)
DISTURBED = Section("## What disturbed the rounds", text_of_disturbances)
NOT_MEASURED = Section("## Not measured", lambda runs, shown: lines_of(runs))
METHOD = Section("## How it was measured", text_of_method)
