"""Run files, the JSON that pytest-benchmark saves, as records."""

import glob
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rnncore.errors import RunFileError
from rnncore.runfile.checks import is_number, one_line, refuse, words
from rnncore.runfile.earlier import completed
from rnncore.runfile.record import AXES, Record, Run, Summary, facts_of, faults_of_row, has_case, missing_of_row
from rnncore.runfile.schema import (
    ENTRY,
    ORDINARY_RUN,
    RUN,
    TIMES,
    another_kind,
    commit_id,
    fingerprint_of,
    machine_facts,
)
from rnncore.runfile.text import parsed

# What to do about a file, or a benchmark, that rnncore's suites have no part in.
_AGAIN = "Make the run again with 'pytest --benchmark-autosave'."
# How a benchmark ended whose times are none: what pytest-benchmark keeps of one is more than zero.
NO_TIMES = "no times"
# Runs of one number that are listed.
_LISTED = 5


def read_run(path: Path) -> Run:
    """Read a run file.

    Args:
        path: A file below `.benchmarks/`, or one that `--benchmark-json` wrote.

    Raises:
        RunFileError: If the file is missing, is not a run file, or holds something else than readers rely on.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RunFileError(
            f"{path}: cannot be read ({error.strerror}). Make a run with 'pytest --benchmark-autosave'."
        ) from error
    try:
        content = parsed(raw)
    except RunFileError as error:
        raise RunFileError(f"{path}: {error}. Give a file from .benchmarks/.") from error
    if found := another_kind(content):
        raise RunFileError(
            f"{path}: not a run file of pytest-benchmark ({found}). Make one with 'pytest --benchmark-autosave'."
        )
    has_session = "rnncore" in content
    if has_session:
        refuse(str(path), RUN("", content))
    else:
        refuse(str(path), ORDINARY_RUN("", content), _AGAIN)
    session, machine, info = content.get("rnncore", {}), machine_facts(content), content.get("commit_info") or {}
    commit, harness = commit_id(info), content.get("version")
    for index, entry in enumerate(content["benchmarks"]):
        refuse(str(path), ENTRY(f"benchmarks[{index}]", entry), _AGAIN)
    entries, counts = last_attempts(content["benchmarks"]), Counter(entry["fullname"] for entry in content["benchmarks"])
    without_times = {entry["fullname"]: fault for entry in entries for fault in islice(TIMES("stats", entry["stats"]), 1)}
    timed = [entry for entry in entries if entry["fullname"] not in without_times]
    failed = [(entry["fullname"], entry["outcome"], entry["reason"]) for entry in session.get("failed", [])]
    return Run(
        path=path,
        datetime=content["datetime"],
        commit=None if commit is None else f"{commit[:12]}{' with uncommitted changes' if info.get('dirty') else ''}",
        fingerprint=fingerprint_of(content),
        data=session.get("data"),
        command=tuple(session.get("command", ())),
        skipped=tuple((entry["fullname"], entry["reason"]) for entry in session.get("skipped", [])),
        failed=(*failed, *((name, NO_TIMES, words(fault)) for name, fault in without_times.items())),
        ceilings=machine.get("ceilings") if has_session else None,
        session=session,
        records=tuple(_record(path, entry, has_session) for entry in timed),
        digest=hashlib.sha256(raw).hexdigest(),
        repeated=tuple(name for name, count in counts.items() if count > 1),
        harness=harness if isinstance(harness, str) else None,
    )


def find_runs(name: str, store: Path = Path(".benchmarks")) -> list[Path]:
    """Return the run files that a name on the command line means.

    Args:
        name: A file, a folder of run files, a glob, or of a saved run the number that pytest-benchmark gave it, such as
            `0007`, or its name, which may be a glob too.
        store: Where saved runs lie.

    Returns:
        The files, in order of their names.

    Raises:
        RunFileError: If there is none, or several machines have a run of that number.
    """
    if Path(name).is_file():
        return [Path(name)]
    if name.isdecimal():
        found = sorted(store.glob(f"*/{int(name):04}_*.json"))
        if len(found) > 1:
            more = f", and {len(found) - _LISTED:,} more" if len(found) > _LISTED else ""
            listed = f"{', '.join(map(str, found[:_LISTED]))}{more}"
            raise RunFileError(f"{name}: is the number of {len(found)} runs ({listed}). Give the file that you mean.")
    elif Path(name).is_dir():
        # A link to none is told as it is read; a pipe would be waited for.
        found = sorted(path for path in Path(name).glob("*.json") if path.is_file() or not path.exists())
    else:
        found = sorted(Path(path) for path in glob.glob(name, recursive=True))  # noqa: PTH207 (takes absolute patterns too)
    if not found and "/" not in name:
        # Beside them lie journals, and what is known of machines.
        saved = glob.glob(f"*/{name}", root_dir=store)  # noqa: PTH207 (takes any pattern)
        found = sorted(store / path for path in saved if path.endswith(".json"))
    if not found:
        raise RunFileError(
            f"{name}: no such run. Give a run file, a folder or glob of them, or the number or name of a run in {store}/."
        )
    return found


def read_one_run(name: str) -> Run:
    """Read the one run file that a name on the command line means, as in `find_runs`.

    Raises:
        RunFileError: If there is none, there are several, or it cannot be read.
    """
    paths = find_runs(name)
    if len(paths) > 1:
        raise RunFileError(f"{name}: means {len(paths)} runs, and one is wanted. Name it.")
    return read_run(paths[0])


def last_attempts(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the last entry of each name, in their order: of several attempts, as of a test that is run again, it counts."""
    last = {entry["fullname"]: index for index, entry in enumerate(entries)}
    return [entries[index] for index in sorted(last.values())]


def _record(path: Path, entry: dict[str, Any], has_session: bool) -> Record:
    """Return a benchmark of a file, which has a block of ours or not."""
    extra, name = entry["extra_info"], f"{path}: {one_line(entry['fullname'])}"
    rounds_s, summary = _rounds(entry["stats"])
    if not (has_session and has_case(extra)):
        return _ordinary_record(name, entry, rounds_s, summary, facts_of(entry) if has_session else {})
    refuse(name, faults_of_row(extra))
    _require_slots_of(name, extra, rounds_s)
    facts = completed({**dict.fromkeys(AXES), **extra})
    if missing := missing_of_row(facts):
        raise RunFileError(
            f"{name} lacks {', '.join(missing)} in its extra_info. Give its Case these axes, or record "
            "these facts with rnn_benchmark.record."
        )
    return Record(
        entry["fullname"], entry["group"] or "other", rounds_s, facts, summary, calls_per_round=_calls_per_round(entry)
    )


def _ordinary_record(
    name: str, entry: dict[str, Any], rounds_s: tuple[float, ...], summary: Summary | None, facts: Mapping[str, Any]
) -> Record:
    """Return a benchmark of another suite: what it records is its own, and may be anything.

    Args:
        name: File and benchmark, for errors.
        entry: What the file has of it.
        rounds_s: Seconds of every round.
        summary: Of the rounds, where the file holds none.
        facts: What the plugin saw of it.
    """
    extra = entry["extra_info"]
    refuse(name, faults_of_row(facts), _AGAIN)
    _require_slots_of(name, facts, rounds_s)
    numbers = {key: float(value) for key, value in extra.items() if is_number(value)}
    # Without a group it is listed with those of its file.
    group = entry["group"] or entry["fullname"].split("::", 1)[0]
    return Record(entry["fullname"], group, rounds_s, facts, summary, numbers, _calls_per_round(entry))


def _calls_per_round(entry: dict[str, Any]) -> int:
    return int(entry["stats"].get("iterations") or 1)


def _rounds(stats: dict[str, Any]) -> tuple[tuple[float, ...], Summary | None]:
    """Return the seconds of every round, or what the file says of them where it holds none."""
    if stats.get("data"):
        return tuple(map(float, stats["data"])), None
    quickest_s, low_s, median_s, high_s, slowest_s = (float(stats[key]) for key in ("min", "q1", "median", "q3", "max"))
    return (), Summary(quickest_s, low_s, median_s, high_s, slowest_s, stats["rounds"])


def _require_slots_of(name: str, facts: Mapping[str, Any], rounds_s: Sequence[float]) -> None:
    of_slots = facts.get(Record.slot_rounds.key)
    if of_slots and sum(of_slots) != len(rounds_s):
        raise RunFileError(f"{name} has {len(rounds_s)} rounds, and slot_rounds of {sum(of_slots)} in all.")
