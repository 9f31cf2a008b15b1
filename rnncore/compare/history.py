"""Stores of run files as histories: each benchmark on each machine, over thousands of run files.

A history belongs to one benchmark on one machine, so that a slower machine is never taken for slower code. Any file of
pytest-benchmark will do: what is read is its median, its commit and its machine.
"""

import hashlib
import json
import math
import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from rnncore.compare.history_cache import CACHE_NAME, StoredFile, read_cache, write_cache
from rnncore.errors import RunFileError
from rnncore.runfile import machine
from rnncore.runfile.checks import COMMIT, MOMENT, NAME, is_number, list_of, moment, object_with, one, or_none, words
from rnncore.runfile.record import facts_of, is_right
from rnncore.runfile.schema import commit_id, machine_facts

# Where the plugin puts profiles' traces: JSON, but no run files.
_TRACES = "traces"

# Of a wrong result it may be no number; a whole number may be larger than arithmetic takes.
_MEDIAN = one("a number up to 1e18", lambda value: not isinstance(value, int) or isinstance(value, bool) or is_number(value))

# What is read of a file; those of other suites have no more.
_STORED = object_with(
    {
        "datetime": MOMENT,
        "benchmarks": list_of(
            object_with({"fullname": NAME, "stats": object_with({}, median=_MEDIAN)}, extra_info=or_none(object_with({})))
        ),
    },
    machine_info=or_none(object_with({})),
    commit_info=or_none(object_with({}, id=or_none(COMMIT))),
    rnncore=or_none(object_with({})),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a history was measured on.

    Attributes:
        key: Digest of its facts when it was first measured on.
        name: Names of its CPU and GPU; several machines may share them.
    """

    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as it was measured on one machine.

    Attributes:
        id: Its hash; None outside git.
        dirty: Whether there were uncommitted changes.
        time: When it was made, ISO 8601; None where the file does not say.
        branch: The branch; None where the file does not say.
        datetime: When it was first measured, ISO 8601 in UTC.
    """

    id: str | None
    dirty: bool
    time: str | None
    branch: str | None
    datetime: str


@dataclass(frozen=True)
class Series:
    """The history of one benchmark on one machine: a point for each commit, in the order in which they were first measured.

    Attributes:
        benchmark: File and test id.
        machine: The machine.
        commits: The commit of each point.
        medians_s: Median seconds of a round; of several files of a commit, the median of them.
        files: Run files that each point was measured in.
    """

    benchmark: str
    machine: Machine
    commits: tuple[Commit, ...]
    medians_s: tuple[float, ...]
    files: tuple[int, ...]


@dataclass(frozen=True)
class History:
    """What the run files of a store hold.

    Attributes:
        store: The folder.
        series: Histories, by benchmark and machine.
        files: Run files in the store that could be read.
        read_now: Files that were parsed by this call; the others were in the cache.
        unread: Pairs of path, relative to the store, and why it could not be read.
        invalid: Rows that were left out since their result is wrong or has no time, counted by benchmark.
        notes: What else the user should know.
    """

    store: Path
    series: tuple[Series, ...]
    files: int
    read_now: int
    unread: tuple[tuple[str, str], ...]
    invalid: dict[str, int]
    notes: tuple[str, ...]


def read_history(store: Path, on_progress: Callable[[int, int], None] | None = None) -> History:
    """Read every run file below a folder, and only those that are new or changed since the last time.

    What was read is kept in `.rnncore-trend.parquet` in the folder, by path, time of change and size. Folders named
    `traces` are left out. A file that is no run file is listed in the result and stops nothing.

    Args:
        store: The folder, such as `.benchmarks`.
        on_progress: Called with the files parsed so far and all that have to be.

    Raises:
        RunFileError: If there is no such folder, or it holds no JSON file.
    """
    if not store.is_dir():
        raise RunFileError(f"{store}: no such folder. Give the one that pytest-benchmark saves to, by default .benchmarks.")
    stamps = dict(_stamps(store))
    if not stamps:
        raise RunFileError(f"{store}: holds no run files. Make one with 'pytest bench/ --benchmark-autosave'.")
    cached = read_cache(store / CACHE_NAME)
    known = {path: file for path, file in cached.items() if stamps.get(path) == (file.mtime_ns, file.size)}
    todo = sorted(stamps.keys() - known.keys())
    unread: dict[str, str] = {}
    for done, path in enumerate(todo, 1):
        try:
            known[path] = _read_file(store / path, *stamps[path])
        except OSError as error:
            unread[path] = f"cannot be read ({error.strerror})"
        if on_progress is not None:
            on_progress(done, len(todo))
    notes = write_cache(store / CACHE_NAME, known) if todo or len(known) != len(cached) else ()
    sound = {path: file for path, file in known.items() if file.fault is None}
    unread |= {path: file.fault for path, file in known.items() if file.fault is not None}
    invalid = Counter(
        benchmark
        for file in sound.values()
        for benchmark, median_s in zip(file.benchmarks, file.medians_s, strict=True)
        if math.isnan(median_s)
    )
    return History(
        store=store,
        series=tuple(sorted(_series(sound), key=lambda series: (series.benchmark, series.machine.name, series.machine.key))),
        files=len(sound),
        read_now=len(todo),
        unread=tuple(sorted(unread.items())),
        invalid=dict(sorted(invalid.items())),
        notes=notes,
    )


def _stamps(store: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the relative path of every JSON file, with its time of change in nanoseconds and its size in bytes."""
    for folder, folders, names in os.walk(store):
        folders[:] = [name for name in folders if name != _TRACES]
        relative = Path(folder).relative_to(store)
        for name in names:
            if not name.endswith(".json"):
                continue
            try:
                stat = os.stat(os.path.join(folder, name))  # noqa: PTH116, PTH118 (10,000 files: pathlib takes as long again)
            except OSError:
                # Reading it will show why.
                yield (relative / name).as_posix(), (0, 0)
            else:
                yield (relative / name).as_posix(), (stat.st_mtime_ns, stat.st_size)


def _read_file(path: Path, mtime_ns: int, size: int) -> StoredFile:
    """Read what is kept of a run file, or why it is none.

    Raises:
        OSError: If the file cannot be read.
    """
    text = path.read_bytes()
    try:
        try:
            content = orjson.loads(text)
        except orjson.JSONDecodeError:
            # pytest-benchmark writes NaN and Infinity, which only Python's own parser takes.
            content = json.loads(text)
    except (ValueError, RecursionError) as error:
        return StoredFile(mtime_ns, size, fault=f"not JSON ({error})")
    for fault in _STORED("", content):
        return StoredFile(mtime_ns, size, fault=f"not a run file of pytest-benchmark ({words(fault)})")
    try:
        return _stored(content, mtime_ns, size)
    except (ValueError, TypeError, AttributeError, OverflowError):
        # What pytest-benchmark's own hooks let others put there.
        return StoredFile(
            mtime_ns, size, fault="not a run file of pytest-benchmark (a fact of machine or commit is of another type)"
        )


def _stored(content: Any, mtime_ns: int, size: int) -> StoredFile:
    commit = content.get("commit_info") or {}
    info = {**(content.get("machine_info") or {}), **machine_facts(content)}
    if isinstance(fingerprint := info.get("fingerprint"), dict):
        facts = machine.facts(fingerprint)
        names = [facts.get("cpu"), facts.get("gpu")]
    else:
        # Of another suite: what pytest-benchmark itself says.
        cpu = info.get("cpu") or {}
        facts = {key: cpu.get(key) for key in ("brand_raw", "count", "arch")}
        facts |= {key: info.get(key) for key in ("system", "python_version")}
        names = [cpu.get("brand_raw") or info.get("processor") or info.get("machine")]
    return StoredFile(
        mtime_ns,
        size,
        # In UTC and of equal length: the order of texts is the order of times.
        datetime=moment(content["datetime"]).isoformat(timespec="microseconds"),
        commit=commit_id(commit),
        dirty=bool(commit.get("dirty")),
        commit_time=_text_or_none(commit.get("time")),
        branch=_text_or_none(commit.get("branch")),
        machine=orjson.dumps(facts, option=orjson.OPT_SORT_KEYS).decode(),
        machine_name=", ".join(str(name) for name in names if name) or "unknown CPU",
        benchmarks=tuple(str(entry["fullname"]) for entry in content["benchmarks"]),
        medians_s=tuple(_median_s(entry) for entry in content["benchmarks"]),
    )


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _median_s(entry: dict[str, Any]) -> float:
    """Return the median of a benchmark, or NaN where it is no time or the result is wrong."""
    median_s = entry["stats"].get("median")
    is_time = is_number(median_s) and median_s > 0
    return float(median_s) if is_time and is_right(facts_of(entry)) else math.nan


def _series(files: dict[str, StoredFile]) -> Iterator[Series]:
    """Yield the histories: one point for each commit, in the order of its first file."""
    ordered = sorted(files.items(), key=lambda item: (item[1].datetime, item[0]))
    facts = {file.machine: orjson.loads(file.machine) for _, file in ordered}
    machines: dict[int, Machine] = {}
    by_commit: dict[tuple[Machine, Any, Any], list[StoredFile]] = {}
    for (path, file), number in zip(ordered, machine.grouped(facts[file.machine] for _, file in ordered), strict=True):
        # All that may be compared are one machine, called as its first was.
        digest = hashlib.sha256(file.machine.encode()).hexdigest()
        on_machine = machines.setdefault(number, Machine(digest[:8], file.machine_name))
        # Outside git, nothing shows that two files measured the same code.
        key = (on_machine, file.commit, file.dirty) if file.commit else (on_machine, path, None)
        by_commit.setdefault(key, []).append(file)
    points: dict[Machine, dict[str, list[tuple[Commit, list[float]]]]] = {}
    for (on_machine, _, _), (first, *others) in by_commit.items():
        commit = Commit(first.commit, first.dirty, first.commit_time, first.branch, first.datetime)
        of_machine = points.setdefault(on_machine, {})
        times_s: dict[str, list[float]] = {}
        for file in (first, *others):
            for benchmark, median_s in zip(file.benchmarks, file.medians_s, strict=True):
                if not math.isnan(median_s):
                    times_s.setdefault(benchmark, []).append(median_s)
        for benchmark, its_s in times_s.items():
            of_machine.setdefault(benchmark, []).append((commit, its_s))
    for on_machine, of_machine in points.items():
        for benchmark, measured in of_machine.items():
            commits, times_of_commits_s = zip(*measured, strict=True)
            medians_s = tuple(statistics.median(its_s) for its_s in times_of_commits_s)
            yield Series(benchmark, on_machine, commits, medians_s, tuple(map(len, times_of_commits_s)))
