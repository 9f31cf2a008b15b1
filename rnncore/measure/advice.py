"""Where `--benchmark-compare` and `--benchmark-compare-fail` mislead: one line each, with the command to use instead.

The two options stay pytest-benchmark's: nothing here changes what they compare, show or fail.
"""

import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rnncore.measure import harness
from rnncore.runfile.machine import differences as facts_that_differ
from rnncore.runfile.record import EXTRA_INFO, has_case
from rnncore.runfile.schema import commit_id, machine_facts

if TYPE_CHECKING:
    from rnncore.measure.session import Session

# Why a benchmark has no time, by pytest's own words for how a test ended.
CAUSES = {"deselected": "deselected", "skipped": "skipped", "failed": "failed", "error": "failed", "passed": "not timed"}

NOISE = (
    "One process per side: how far apart processes of identical code lie is not measured here. On a shared 2-core host, "
    "mean:5% raised a false alarm on 14 to 35 % of single benchmarks of identical code. "
    "Use 'rnncore gate --base {revision}', which measures both revisions interleaved."
)

_GATE = "--benchmark-compare-fail"
_NAMED = 3

# What rnncore 0.1 wrote into `machine_info`, and what py-cpuinfo reads there anew each time.
MOVED_FACTS = ("fingerprint", "conditions", "ceilings")
_VOLATILE_CPU_FACTS = ("hz_actual", "hz_actual_friendly")

# What py-cpuinfo calls facts that a fingerprint has too.
_CPU_FACTS = {"cpu": "brand_raw", "cpus": "count"}

_COMPARED = pytest.StashKey[list[tuple[dict[str, Any], dict[str, Any]]]]()


@dataclass(frozen=True)
class Base:
    """A run that pytest-benchmark compares this session with.

    Attributes:
        name: Its number in the storage, or the name of its file.
        file: The run file; None where the storage has no files.
        content: What is in it.
        machine_info: What pytest-benchmark knew of this machine when it opened the base.
    """

    name: str
    file: Path | None
    content: dict[str, Any]
    machine_info: dict[str, Any]

    @property
    def fullnames(self) -> list[str]:
        """Its benchmarks."""
        return [entry["fullname"] for entry in self.content["benchmarks"]]

    @property
    def revision(self) -> str:
        """What `rnncore gate --base` takes to measure it again."""
        info = self.content.get("commit_info") or {}
        commit = commit_id(info)
        return "REV" if commit is None or info.get("dirty") else commit[:12]

    def command(self, saved: Path | None) -> str | None:
        """Return the command that compares a session with it; None where it could not be read.

        Args:
            saved: The session's run file; None where none is saved.
        """
        if self.file is None or "rnncore" not in self.content:
            return None
        head = _argument(saved) if saved else "RUN"
        how = "" if saved else " (RUN is this run, saved with --benchmark-autosave)"
        return f"'rnncore compare {_argument(self.file)} {head}'{how}"


def note_base(config: pytest.Config, machine_info: dict[str, Any], content: dict[str, Any]) -> None:
    """Remember a run that pytest-benchmark has opened to compare with."""
    config.stash.setdefault(_COMPARED, []).append((machine_info, content))


def comparison_advice(reporter: pytest.TerminalReporter, session: "Session") -> list[str]:
    """Return what misleads in the comparison that was asked for, a line each; nothing where none was asked for."""
    config = reporter.config
    gates = config.getoption("benchmark_compare_fail", None)
    if not gates and not config.getoption("benchmark_compare", None):
        return []
    if not harness.times(config) or config.getoption("collectonly"):
        return []
    # In pytest's order: of the configuration, of the environment and of the command.
    environment = shlex.split(os.environ.get("PYTEST_ADDOPTS", ""))
    arguments = [*config.getini("addopts"), *environment, *map(str, config.invocation_params.args)]
    lines = [dropped_gates(arguments, [gate.field for gate in gates or ()])]
    compared, noted, storage = (
        harness.compared_paths(config),
        config.stash.get(_COMPARED, []),
        harness.storage_folder(config),
    )
    # The path of a run is relative to the storage, or what the user gave.
    bases = [
        Base(_number(path) or path.stem, next(filter(Path.is_file, (storage / path, path)), None), content, machine_info)
        for path, (machine_info, content) in zip(compared, noted, strict=False)
    ]
    if bases:
        causes = {
            report.nodeid: cause
            for ending, cause in reversed(CAUSES.items())
            for report in reporter.stats.get(ending, ())
            if hasattr(report, "nodeid")
        }
        timed = harness.timed_names(config)
        command = bases[-1].command(session.saved_path or config.getoption("benchmark_json")) if session.rows else None
        lines.append(_other_machine(bases, timed, session.fingerprint if session.rows else None, command))
        lines.append(not_compared(bases, timed, causes, bool(gates), command))
        # Of benchmarks that are not ours nothing is known.
        if any(not session.rows.keys().isdisjoint(base.fullnames) for base in bases):
            lines.append(NOISE.format(revision=bases[-1].revision))
    return [line for line in lines if line]


def is_of_cases(content: Mapping[str, Any]) -> bool:
    """Say whether a base has benchmarks of a suite of ours.

    Args:
        content: Of the base; may hold anything.
    """
    entries = content.get("benchmarks")
    extras = [one.get(EXTRA_INFO) for one in entries if isinstance(one, dict)] if isinstance(entries, list) else []
    return "rnncore" in content and any(isinstance(extra, dict) and has_case(extra) for extra in extras)


def set_aside_volatile(machine_info: dict[str, Any], content: dict[str, Any]) -> None:
    """Take out of a base of rnncore's what makes no other machine, so that pytest-benchmark's own comparison is of machines.

    The file is left as it is. rnncore 0.1 had its facts in `machine_info`; they go to where they are now.

    Args:
        machine_info: What pytest-benchmark knows of this machine.
        content: Of the base; changed in place.
    """
    machine, block = content.get("machine_info"), content.get("rnncore")
    if not isinstance(machine, dict) or not isinstance(block, dict):
        return
    block |= {fact: machine.pop(fact) for fact in MOVED_FACTS if fact in machine}
    cpu, cpu_here = machine.get("cpu"), machine_info.get("cpu")
    if isinstance(cpu, dict) and isinstance(cpu_here, dict):
        # The clock of the moment.
        for fact in _VOLATILE_CPU_FACTS:
            cpu.pop(fact, None)
            cpu |= {fact: cpu_here[fact]} if fact in cpu_here else {}


def _number(path: Path) -> str | None:
    """Return the number that pytest-benchmark gave a saved run."""
    found = re.match(r"\d{4,}(?=_)", path.name)
    return found[0] if found else None


def _the_bases(bases: Iterable[Base]) -> str:
    names = [base.name for base in bases]
    return f"base {names[0]}" if len(names) == 1 else f"bases {', '.join(names[:-1])} and {names[-1]}"


def _first(texts: list[str], mark: str = ", ") -> str:
    more = len(texts) - _NAMED
    return mark.join(texts[:_NAMED]) + (f"{mark}{more} more" if more > 0 else "")


def _argument(file: Path) -> str:
    """Return the number of a run in the usual storage, or else the path of its file."""
    number, file, folder = _number(file), file.resolve(), Path.cwd()
    if number and file.parent == folder.resolve() / ".benchmarks" / harness.machine_id():
        return number
    return shlex.quote(str(file.relative_to(folder) if file.is_relative_to(folder) else file))


# ------------------------------------------------------------------------------------------------ another machine


def _other_machine(
    bases: list[Base], timed: list[str], fingerprint: dict[str, Any] | None, command: str | None
) -> str | None:
    """Return which bases are of another machine, settings or software, by the fingerprint where both sides have one."""
    found = []
    for base in bases:
        if set(timed).isdisjoint(base.fullnames):
            continue
        there = machine_facts(base.content).get("fingerprint")
        if fingerprint and isinstance(there, dict):
            found.append((base, *differences(there, fingerprint)))
            continue
        cpus = [(info or {}).get("cpu") or {} for info in (base.content.get("machine_info"), base.machine_info)]
        # What pytest-benchmark itself knows of a machine and its fingerprint would say too.
        known = [{name: cpu[key] for name, key in _CPU_FACTS.items() if cpu.get(key)} for cpu in cpus]
        found += [(base, *differences(*known))] if all(known) else []
    machine = [(base, facts) for base, facts, _ in found if facts]
    other = machine or [(base, facts) for base, _, facts in found if facts]
    if not other:
        return None
    facts = _first(list(dict.fromkeys(text for _, facts in other for text in facts)), "; ")
    its, was = ("its", "was") if len(other) == 1 else ("their", "were")
    where = f"measured {'on another machine' if machine else 'with other settings or software'} ({facts})"
    what = "hardware, not code" if machine else "these too, not code alone"
    advice = f" Use {command} to see all that differs." if command else ""
    return f"The {_the_bases(base for base, _ in other)} {was} {where}: {its} ratios compare {what}.{advice}"


def differences(base: dict[str, Any], here: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the facts that differ between two fingerprints, as text: those of the machines, and all others."""
    texts: tuple[list[str], list[str]] = ([], [])
    for found in facts_that_differ(base, here):
        shown = found.fact.removeprefix("packages.").removesuffix("_bytes").replace(".", " ")
        text = f"{shown}: {_text(found.fact, found.before)}, here {_text(found.fact, found.now)}"
        texts[0 if found.of_machine else 1].append(text)
    return texts


def _text(name: str, value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value / 2**30:.1f} GiB" if name.endswith("_bytes") and isinstance(value, int) else str(value)


# ------------------------------------------------------------------------------------------------- what is left out


def not_compared(
    bases: list[Base], timed: list[str], causes: dict[str, str], gates: bool, command: str | None
) -> str | None:
    """Return which benchmarks have a time on one side alone.

    Args:
        bases: What this session is compared with.
        timed: Benchmarks of this session.
        causes: Why others have no time here, by benchmark, where pytest knows it.
        gates: Whether a regression would fail the session.
        command: What compares the two runs; None where nothing does.
    """
    known = dict.fromkeys(name for base in bases for name in base.fullnames)
    there = set(timed)
    missing, new = [name for name in known if name not in there], [name for name in timed if name not in known]
    parts = []
    if missing:
        why = Counter(causes.get(name, "not run") for name in missing)
        counts = ", ".join(f"{count} {cause}" for cause, count in why.items())
        which = f"that {'was' if len(missing) == 1 else 'were'} not timed here ({_names(missing)}; {counts})"
        parts.append(f"{_count(missing)} of the {_the_bases(bases)} {which}")
    if new:
        lack = "lacks" if len(bases) == 1 else "lack"
        parts.append(f"{_count(new)} that the {_the_bases(bases)} {lack} ({_names(new)})")
    if not parts:
        return None
    advice = f" {command} lists them." if command else ""
    return f"{'Not compared, and passed silently' if gates else 'Not compared'}: {'; '.join(parts)}.{advice}"


def _count(names: list[str]) -> str:
    return f"{len(names)} benchmark{'' if len(names) == 1 else 's'}"


def _names(fullnames: list[str]) -> str:
    return _first([fullname.split("::")[-1] for fullname in fullnames])


# -------------------------------------------------------------------------------------------------- gates and noise


def dropped_gates(arguments: list[str], fields: list[str]) -> str | None:
    """Return which thresholds a later `--benchmark-compare-fail` has silently replaced.

    Args:
        arguments: All arguments of the session.
        fields: What pytest-benchmark does check; where the arguments say otherwise they are not all, and nothing is said.
    """
    # The thresholds after each of the options.
    given: list[list[str]] = [[]]
    is_open = False
    for argument in arguments:
        if argument.startswith("-"):
            name, joined, value = argument.partition("=")
            is_open = name == _GATE and not joined
            if name == _GATE:
                given.append([value] if joined else [])
        elif is_open:
            given[-1].append(argument)
    *earlier, counted = given
    dropped = list(dict.fromkeys(gate for gates in earlier for gate in gates if gate not in counted))
    if not dropped or [gate.split(":")[0] for gate in counted] != fields:
        return None
    return (
        f"Only the last {_GATE} counts ({' '.join(counted)}), dropped: {' '.join(dropped)}. "
        f"Give all after one: {_GATE} {' '.join(dropped + counted)}"
    )
