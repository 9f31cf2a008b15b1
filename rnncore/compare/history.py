"""Stores of run files as histories: each benchmark on each machine, over thousands of run files.

A history belongs to one benchmark on one machine, so that a slower machine is never taken for slower code. Any file of
pytest-benchmark will do: what is read is its median, its commit and its machine.
"""

import hashlib
import json
import math
import os
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from rnncore.errors import RunFileError
from rnncore.files import whole_file
from rnncore.runfile import machine
from rnncore.runfile.checks import COMMIT, MOMENT, NAME, is_number, list_of, object_with, one, or_none, words
from rnncore.runfile.record import is_right
from rnncore.runfile.schema import commit_id, machine_facts

CACHE_NAME = ".rnncore-trend.parquet"

# Where the plugin puts profiles' traces: JSON, but no run files.
_TRACES = "traces"

_TEXT = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        ("path", _TEXT),
        ("mtime_ns", pa.int64()),
        ("size", pa.int64()),
        ("fault", pa.string()),
        ("datetime", _TEXT),
        ("commit", _TEXT),
        ("dirty", pa.bool_()),
        ("commit_time", _TEXT),
        ("branch", _TEXT),
        ("machine", _TEXT),
        ("machine_name", _TEXT),
        ("fullname", _TEXT),
        ("median_s", pa.float64()),
    ],
    metadata={"rnncore-trend": "2"},
)

# Columns that are fields of `_File`.
_FILE_COLUMNS = (
    *("mtime_ns", "size", "fault", "datetime", "commit", "dirty", "commit_time", "branch", "machine", "machine_name"),
)


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
        medians_s: Median seconds of a round; of several files of a commit, the median of theirs.
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


@dataclass(frozen=True, slots=True)
class _File:
    """What is kept of a run file, or why it is none.

    The facts of its machine are kept as JSON. A benchmark that does not count has the median NaN.
    """

    mtime_ns: int
    size: int
    fault: str | None = None
    datetime: str = ""
    commit: str | None = None
    dirty: bool = False
    commit_time: str | None = None
    branch: str | None = None
    machine: str = "{}"
    machine_name: str = ""
    benchmarks: tuple[str, ...] = ()
    medians_s: tuple[float, ...] = ()


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
    cached = _read_cache(store / CACHE_NAME)
    known = {path: file for path, file in cached.items() if stamps.get(path) == (file.mtime_ns, file.size)}
    todo = sorted(stamps.keys() - known.keys())
    unreadable: dict[str, str] = {}
    for done, path in enumerate(todo, 1):
        try:
            known[path] = _read_file(store / path, *stamps[path])
        except OSError as error:
            unreadable[path] = f"cannot be read ({error.strerror})"
        if on_progress is not None:
            on_progress(done, len(todo))
    notes = _write_cache(store / CACHE_NAME, known) if todo or len(known) != len(cached) else ()
    return _history(store, known, len(todo), unreadable, notes)


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


def _read_file(path: Path, mtime_ns: int, size: int) -> _File:
    """Read what is kept of a run file, or why it is none.

    Raises:
        OSError: If the file cannot be read.
    """
    try:
        content = _parse(path.read_bytes())
    except (ValueError, RecursionError) as error:
        return _File(mtime_ns, size, fault=f"not JSON ({error})")
    for fault in _STORED("", content):
        return _File(mtime_ns, size, fault=f"not a run file of pytest-benchmark ({words(fault)})")
    try:
        return _facts(content, mtime_ns, size)
    except (ValueError, TypeError, AttributeError, OverflowError):
        # What pytest-benchmark's own hooks let others put there.
        return _File(
            mtime_ns, size, fault="not a run file of pytest-benchmark (a fact of machine or commit is of another type)"
        )


def _parse(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # pytest-benchmark writes NaN and Infinity, which only Python's own parser takes.
        return json.loads(text)


def _facts(content: Any, mtime_ns: int, size: int) -> _File:
    commit = content.get("commit_info") or {}
    facts, names = _machine({**(content.get("machine_info") or {}), **machine_facts(content)})
    return _File(
        mtime_ns,
        size,
        datetime=_utc(content["datetime"]),
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


def _utc(text: str) -> str:
    """Return a time in UTC, such that the order of texts is the order of times; one without a zone is in UTC."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def _median_s(entry: dict[str, Any]) -> float:
    """Return the median of a benchmark, or NaN where it is no time or the result is wrong."""
    median_s = entry["stats"].get("median")
    is_time = (
        isinstance(median_s, float | int) and not isinstance(median_s, bool) and math.isfinite(median_s) and median_s > 0
    )
    return float(median_s) if is_time and is_right(entry.get("extra_info") or {}) else math.nan


def _machine(info: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return the facts of a machine, and the names of its CPU and GPU."""
    fingerprint = info.get("fingerprint")
    if isinstance(fingerprint, dict):
        facts = machine.facts(fingerprint)
        return facts, [facts.get("cpu"), facts.get("gpu")]
    cpu = info.get("cpu") or {}
    facts = {key: cpu.get(key) for key in ("brand_raw", "count", "arch")}
    facts |= {key: info.get(key) for key in ("system", "python_version")}
    return facts, [cpu.get("brand_raw") or info.get("processor") or info.get("machine")]


def _machines(files: list[_File]) -> list[Machine]:
    """Return the machine of each file: one for all that may be compared, called as its first was.

    Args:
        files: Oldest first.
    """
    parsed = {file.machine: orjson.loads(file.machine) for file in files}
    first: dict[int, Machine] = {}
    machines = []
    for file, number in zip(files, machine.grouped(parsed[file.machine] for file in files), strict=True):
        digest = hashlib.sha256(file.machine.encode()).hexdigest()
        machines.append(first.setdefault(number, Machine(digest[:8], file.machine_name)))
    return machines


def _read_cache(path: Path) -> dict[str, _File]:
    """Return the files that the cache holds: none where it is missing, damaged or of another version."""
    try:
        with path.open("rb") as stream:
            # Unlike `read_table`, this loads no data sets, which takes as long as all the rest. No threads: on a busy host,
            # one that had not begun when Python ended seems to have taken the process down.
            table = pq.ParquetFile(stream, page_checksum_verification=True).read(use_threads=False)
    except (OSError, pa.ArrowException):
        return {}
    if not table.schema.equals(_SCHEMA, check_metadata=True):
        return {}
    columns = {name: _values(table.column(name)) for name in table.column_names}
    paths, benchmarks, medians_s = columns["path"], columns["fullname"], columns["median_s"]
    starts = [index for index, path in enumerate(paths) if index == 0 or path != paths[index - 1]]
    files = {}
    for start, end in zip(starts, [*starts[1:], len(paths)], strict=True):
        there = slice(start, end if benchmarks[start] is not None else start)
        files[paths[start]] = _File(
            **{name: columns[name][start] for name in _FILE_COLUMNS},
            benchmarks=tuple(benchmarks[there]),
            medians_s=tuple(medians_s[there]),
        )
    return files


def _values(column: Any) -> list[Any]:
    """Return a column as a list; the texts of a dictionary are shared and not made anew for each row."""
    # Neither with `to_numpy` nor with pyarrow's computations: they load pandas, which takes as long as all the rest.
    if not pa.types.is_dictionary(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    values: list[Any] = []
    for chunk in column.chunks:
        words = chunk.dictionary.to_pylist()
        values += [None if code is None else words[code] for code in chunk.indices.to_pylist()]
    return values


def _write_cache(path: Path, files: dict[str, _File]) -> tuple[str, ...]:
    """Write the cache, and return a note if that is not possible."""
    try:
        with whole_file(path) as temporary:
            pq.write_table(_table(files), temporary, compression="zstd", write_page_checksum=True)
    except (OSError, UnicodeEncodeError) as error:
        # Names of files and benchmarks need not be UTF-8, and Parquet's texts are.
        return (f"{path}: cannot be written ({error}). Every call reads all files again.",)
    return ()


def _table(files: dict[str, _File]) -> Any:
    """Return one row for each file and benchmark; a file without benchmarks has one row."""
    rows = [
        (path, file, benchmark, median_s)
        for path, file in files.items()
        for benchmark, median_s in zip(file.benchmarks or (None,), file.medians_s or (math.nan,), strict=True)
    ]
    columns = {
        "path": [path for path, _, _, _ in rows],
        **{name: [getattr(file, name) for _, file, _, _ in rows] for name in _FILE_COLUMNS},
        "fullname": [benchmark for _, _, benchmark, _ in rows],
        "median_s": [median_s for _, _, _, median_s in rows],
    }
    arrays = [
        # A dictionary is made of plain texts.
        pa.array(columns[field.name], type=getattr(field.type, "value_type", field.type)).cast(field.type)
        for field in _SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=_SCHEMA)


def _history(
    store: Path, files: dict[str, _File], read_now: int, unreadable: dict[str, str], notes: tuple[str, ...]
) -> History:
    faults = {path: file.fault for path, file in files.items() if file.fault is not None}
    sound = {path: file for path, file in files.items() if file.fault is None}
    invalid: dict[str, int] = {}
    for file in sound.values():
        for benchmark, median_s in zip(file.benchmarks, file.medians_s, strict=True):
            if math.isnan(median_s):
                invalid[benchmark] = invalid.get(benchmark, 0) + 1
    return History(
        store=store,
        series=tuple(sorted(_series(sound), key=lambda series: (series.benchmark, series.machine.name, series.machine.key))),
        files=len(sound),
        read_now=read_now,
        unread=tuple(sorted((faults | unreadable).items())),
        invalid=dict(sorted(invalid.items())),
        notes=notes,
    )


def _series(files: dict[str, _File]) -> Iterator[Series]:
    """Yield the histories: one point for each commit, in the order of its first file."""
    by_commit: dict[tuple[Machine, Any, Any], list[_File]] = {}
    ordered = sorted(files.items(), key=lambda item: (item[1].datetime, item[0]))
    for (path, file), on_machine in zip(ordered, _machines([file for _, file in ordered]), strict=True):
        # Outside git, nothing shows that two files measured the same code.
        key = (on_machine, file.commit, file.dirty) if file.commit else (on_machine, path, None)
        by_commit.setdefault(key, []).append(file)
    points: dict[Machine, dict[str, tuple[list[Commit], list[float], list[int]]]] = {}
    for (on_machine, _, _), same in by_commit.items():
        first = same[0]
        commit = Commit(first.commit, first.dirty, first.commit_time, first.branch, first.datetime)
        of_machine = points.setdefault(on_machine, {})
        for benchmark, times_s in _times_s(same).items():
            commits, medians_s, counts = of_machine.setdefault(benchmark, ([], [], []))
            commits.append(commit)
            medians_s.append(statistics.median(times_s))
            counts.append(len(times_s))
    for on_machine, of_machine in points.items():
        for benchmark, (commits, medians_s, counts) in of_machine.items():
            yield Series(benchmark, on_machine, tuple(commits), tuple(medians_s), tuple(counts))


def _times_s(files: list[_File]) -> dict[str, list[float]]:
    """Return the medians of every benchmark that counts, by name."""
    found: dict[str, list[float]] = {}
    for file in files:
        for benchmark, median_s in zip(file.benchmarks, file.medians_s, strict=True):
            if not math.isnan(median_s):
                found.setdefault(benchmark, []).append(median_s)
    return found
