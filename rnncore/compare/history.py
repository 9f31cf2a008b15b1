"""Stores of run files as histories: each benchmark on each machine, over thousands of run files.

A history belongs to one benchmark on one machine, so that a slower machine is never taken for slower code. Any file of
pytest-benchmark will do: what is read is its median, its commit and its machine.
"""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from rnncore.compare.history_cache import CACHE_NAME, Cache, Content, Part, Stamp, StoredFile
from rnncore.errors import RunFileError
from rnncore.runfile import machine
from rnncore.runfile.checks import COMMIT, MOMENT, NAME, Fault, list_of, moment, object_with, or_none, words
from rnncore.runfile.read import last_attempts
from rnncore.runfile.record import EXTRA_INFO, facts_of, is_right
from rnncore.runfile.schema import commit_id, fingerprint_of, has_times
from rnncore.runfile.text import parsed

# Where the plugin puts profiles' traces: JSON, but no run files.
_TRACES = "traces"

_ROW = object_with({"fullname": NAME, "stats": object_with({})}, **{EXTRA_INFO: or_none(object_with({}))})


def _rows(where: str, value: Any) -> Iterator[Fault]:
    """Check the benchmarks of a file; those of the usual types at once, since a store may have ten million."""
    if isinstance(value, list):
        unusual = [(index, entry) for index, entry in enumerate(value) if not _is_usual(entry)]
        for index, entry in unusual:
            yield from _ROW(f"{where}[{index}]", entry)
    else:
        yield from list_of(_ROW)(where, value)


def _is_usual(entry: Any) -> bool:
    if type(entry) is not dict or type(entry.get("stats")) is not dict:
        return False
    name, extra = entry.get("fullname"), entry.get(EXTRA_INFO)
    return type(name) is str and name != "" and (extra is None or type(extra) is dict)


# What is read of a file; those of other suites have no more.
_STORED = object_with(
    {"datetime": MOMENT, "benchmarks": _rows},
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


@dataclass(frozen=True, eq=False)
class Series:
    """The history of one benchmark on one machine: a point for each commit, in the order in which they were first measured.

    Attributes:
        benchmark: File and test id.
        machine: The machine.
        commits: The `Commit` of each point. Shape (points,).
        medians_s: Median seconds of a round; of several files of a commit, the median of them. Shape (points,).
        files: Run files that each point was measured in. Shape (points,).
    """

    benchmark: str
    machine: Machine
    commits: NDArray[np.object_]
    medians_s: NDArray[np.float64]
    files: NDArray[np.int32]


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
        repeated: Pairs of path, relative to the store, and how many benchmarks it holds more than once; the last counts.
    """

    store: Path
    series: tuple[Series, ...]
    files: int
    read_now: int
    unread: tuple[tuple[str, str], ...]
    invalid: dict[str, int]
    notes: tuple[str, ...]
    repeated: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class _Rows:
    """What is known of all files of a store, as columns.

    Attributes:
        files: The files, those that are no run files too.
        rows: How many rows each has. Shape (files,).
        names: File and test id of each benchmark.
        benchmarks: Index of each row's benchmark in *names*. Shape (rows,).
        medians_s: Median seconds of each row; NaN for one that does not count. Shape (rows,).
    """

    files: list[StoredFile]
    rows: NDArray[np.int32]
    names: list[str]
    benchmarks: NDArray[np.unsignedinteger]
    medians_s: NDArray[np.float64]


def read_history(store: Path, on_progress: Callable[[int, int], None] | None = None) -> History:
    """Read every run file below a folder, and only those that are new or changed since the last time.

    What was read is kept in `.rnncore-trend/` in the folder, by path, time of change and size, and written as it is read: a
    call that is broken off loses little. Folders named `traces` are left out. A file that is no run file is listed in the
    result and stops nothing.

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
        raise RunFileError(f"{store}: holds no run files. Make one with 'pytest --benchmark-autosave'.")
    cache = Cache(store / CACHE_NAME, stamps)
    todo = sorted(stamps.keys() - cache.paths)
    unread: dict[str, str] = {}
    for done, path in enumerate(todo, 1):
        try:
            cache.add(_read_file(store, path, stamps[path]))
        except OSError as error:
            unread[path] = f"cannot be read ({error.strerror})"
        if on_progress is not None:
            on_progress(done, len(todo))
    notes = cache.close()
    rows = _joined(cache.parts)
    unread |= {file.path: file.fault for file in rows.files if file.fault is not None}
    wrong = np.bincount(rows.benchmarks[np.isnan(rows.medians_s)], minlength=len(rows.names))
    return History(
        store=store,
        series=tuple(sorted(_series(rows), key=lambda series: (series.benchmark, series.machine.name, series.machine.key))),
        files=sum(file.fault is None for file in rows.files),
        read_now=len(todo),
        unread=tuple(sorted(unread.items())),
        invalid={name: count for name, count in sorted(zip(rows.names, wrong.tolist(), strict=True)) if count},
        notes=notes,
        repeated=tuple(sorted((file.path, file.repeated) for file in rows.files if file.repeated)),
    )


def _stamps(store: Path) -> Iterator[tuple[str, Stamp]]:
    """Yield the relative path of every JSON file, with its time of change in nanoseconds and its size in bytes."""
    for folder, folders, names in os.walk(store):
        folders[:] = [name for name in folders if name not in (_TRACES, CACHE_NAME)]
        relative = Path(folder).relative_to(store).as_posix()
        within = "" if relative == "." else f"{relative}/"
        for name in names:
            if not name.endswith(".json"):
                continue
            try:
                stat = os.stat(f"{folder}/{name}")  # noqa: PTH116 (100,000 files: pathlib takes as long again)
            except OSError:
                # Reading it will show why.
                yield within + name, (0, 0)
            else:
                yield within + name, (stat.st_mtime_ns, stat.st_size)


def _read_file(store: Path, path: str, stamp: Stamp) -> Content:
    """Read what is kept of a run file, or why it is none.

    Raises:
        OSError: If the file cannot be read.
    """
    if not (store / path).is_file() and (store / path).exists():
        # A pipe would be waited for.
        return StoredFile(path, *stamp, fault="no file"), (), ()
    text = (store / path).read_bytes()
    try:
        try:
            content = orjson.loads(text)
        except orjson.JSONDecodeError:
            # What it takes all verbs take; they also take NaN and Infinity, and a byte order mark.
            content = parsed(text)
    except RunFileError as error:
        return StoredFile(path, *stamp, fault=str(error)), (), ()
    for fault in _STORED("", content):
        return StoredFile(path, *stamp, fault=f"not a run file of pytest-benchmark ({words(fault)})"), (), ()
    try:
        file = _stored(content, path, stamp)
    except (ValueError, TypeError, AttributeError, OverflowError):
        # What pytest-benchmark's own hooks let others put there.
        why = "not a run file of pytest-benchmark (a fact of machine or commit is of another type)"
        return StoredFile(path, *stamp, fault=why), (), ()
    entries, counts = last_attempts(content["benchmarks"]), Counter(entry["fullname"] for entry in content["benchmarks"])
    file = replace(file, repeated=sum(count > 1 for count in counts.values()))
    return file, [entry["fullname"] for entry in entries], [_median_s(entry) for entry in entries]


def _stored(content: Any, path: str, stamp: Stamp) -> StoredFile:
    commit, info = content.get("commit_info") or {}, content.get("machine_info") or {}
    if not isinstance(info.get("cpu") or {}, dict):
        raise TypeError("machine_info.cpu")
    facts = machine.facts(fingerprint_of(content))
    # Where the CPU has no name, what Python calls it.
    names = [facts.get("cpu") or info.get("processor") or info.get("machine"), facts.get("gpu")]
    return StoredFile(
        path,
        *stamp,
        # In UTC and of equal length: the order of texts is the order of times.
        datetime=moment(content["datetime"]).isoformat(timespec="microseconds"),
        commit=commit_id(commit),
        dirty=bool(commit.get("dirty")),
        commit_time=_text_or_none(commit.get("time")),
        branch=_text_or_none(commit.get("branch")),
        machine=orjson.dumps(facts, option=orjson.OPT_SORT_KEYS).decode(),
        machine_name=", ".join(str(name) for name in names if name) or "unknown CPU",
    )


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)


def _median_s(entry: dict[str, Any]) -> float:
    """Return the median of a benchmark, or NaN where it has no times or the result is wrong."""
    stats = entry["stats"]
    return float(stats["median"]) if has_times(stats) and is_right(facts_of(entry)) else math.nan


def _joined(parts: list[Part]) -> _Rows:
    """Join parts, and empty the list, so that memory holds them once."""
    files: list[StoredFile] = []
    places: dict[str, int] = {}
    columns: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]] = []
    while parts:
        part = parts.pop()
        files += part.files
        of_part = np.array([places.setdefault(name, len(places)) for name in part.names], dtype=np.int32)
        columns.append((part.rows, of_part[part.benchmarks], part.medians_s))
    rows, benchmarks, medians_s = (np.concatenate(arrays) for arrays in zip(*columns, strict=True))
    # Of small numbers, NumPy sorts ten times as fast.
    return _Rows(files, rows, list(places), benchmarks.astype(np.min_scalar_type(len(places))), medians_s)


def _series(rows: _Rows) -> Iterator[Series]:
    """Yield the histories: one point for each commit, in the order of its first file."""
    points = _points(rows.files)
    point_of_row = np.repeat(points.of_file, rows.rows)
    order = np.argsort(rows.benchmarks, kind="stable")
    ends = np.cumsum(np.bincount(rows.benchmarks, minlength=len(rows.names))).tolist()
    for name, start, end in zip(rows.names, [0, *ends], ends, strict=False):
        there = order[start:end]
        there = there[~np.isnan(rows.medians_s[there])]
        of_points, medians_s, files = _medians(point_of_row[there], rows.medians_s[there])
        machine_of = points.machine[of_points]
        for number in np.unique(machine_of).tolist():
            its = machine_of == number
            yield Series(name, points.machines[number], points.commits[of_points[its]], medians_s[its], files[its])


@dataclass(frozen=True)
class _Points:
    """Commits as they were measured on each machine, in the order in which they first were.

    Attributes:
        of_file: The point of each file; 0 for one that is no run file. Shape (files,).
        commits: The `Commit` of each point. Shape (points,).
        machine: The place in *machines* of each point's machine. Shape (points,).
        machines: The machines.
    """

    of_file: NDArray[np.int32]
    commits: NDArray[np.object_]
    machine: NDArray[np.int32]
    machines: list[Machine]


def _points(files: list[StoredFile]) -> _Points:
    """Find the points of all files."""
    sound = [index for index, file in enumerate(files) if file.fault is None]
    ordered = sorted(sound, key=lambda index: (files[index].datetime, files[index].path))
    texts = dict.fromkeys(files[index].machine for index in ordered)
    groups = dict(zip(texts, machine.grouped(map(orjson.loads, texts)), strict=True))
    machines: list[Machine] = []
    # Commit and machine of each point, by what makes it one.
    points: dict[tuple[Any, ...], tuple[int, Commit, int]] = {}
    of_file = np.zeros(len(files), dtype=np.int32)
    for index in ordered:
        file = files[index]
        group = groups[file.machine]
        if group == len(machines):
            # All that may be compared are one machine, called as its first was.
            machines.append(Machine(hashlib.sha256(file.machine.encode()).hexdigest()[:8], file.machine_name))
        # Outside git, nothing shows that two files measured the same code.
        key = (group, file.commit, file.dirty) if file.commit else (group, file.path)
        if key not in points:
            commit = Commit(file.commit, file.dirty, file.commit_time, file.branch, file.datetime)
            points[key] = len(points), commit, group
        of_file[index] = points[key][0]
    commits = np.empty(len(points), dtype=object)
    commits[:] = [commit for _, commit, _ in points.values()]
    return _Points(of_file, commits, np.array([group for _, _, group in points.values()], dtype=np.int32), machines)


def _medians(
    points: NDArray[np.int32], values: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32]]:
    """Return the points that there are, in order, the median of the values of each, and how many it has."""
    order = np.lexsort((values, points))
    points, values = points[order], values[order]
    starts = np.flatnonzero(np.diff(points, prepend=-1))
    counts = np.diff(starts, append=len(points))
    medians = (values[starts + (counts - 1) // 2] + values[starts + counts // 2]) / 2
    return points[starts], medians, counts.astype(np.int32)
