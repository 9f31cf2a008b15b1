"""The history of every benchmark over thousands of run files, and where its time changed for good.

A history belongs to one benchmark on one machine, so that a slower machine is never taken for slower code. Any file of
pytest-benchmark will do: what is read is its median, its commit and its machine.
"""

import hashlib
import json
import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from ruptures import KernelCPD
from scipy.special import stdtrit

from rnncore.errors import ConfigError, RunFileError
from rnncore.files import whole_file
from rnncore.runfile import machine
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

# Chance of a step in a history of pure noise, at most.
_FALSE_STEP = 0.05

# How far apart points are whose differences measure the noise: slow noise hides from neighbours.
_LAGS = (1, 2, 3)

# Standard deviation of normal noise, per median of the absolute differences of two points.
_PER_MEDIAN_DIFFERENCE = 1.4826 / math.sqrt(2)

# Independent points that a median of differences is worth, per point.
_WORTH = 1 / 3

# What one point can add to the cost at most, in penalties: two points make a step, one never does.
_ONE_POINT = 2 / 3

# Standard errors by which neighbours must be more alike than points three apart before the noise is taken for slow.
_SLOW_ERRORS = 5.0

# Noise that is taken for granted, per practical size: rounded times seem to have none.
_MIN_NOISE = 0.1

# Standard deviations from its neighbours' median at which a point is cut off before candidates are sought.
_CUT = 3.0

_FEWEST_POINTS = 6

# PELT's time grows with the square of the points where nothing changes.
_BLOCK = 256

# The report gives ratios to half a percent.
_PRACTICAL_LIMITS = (0.005, 1.0)


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


@dataclass(frozen=True)
class Step:
    """A lasting change of a benchmark's time.

    Attributes:
        benchmark: File and test id.
        machine: The machine.
        last_before: Last commit before the change.
        first_with: First commit with it.
        before_s: Median of the level before, seconds.
        after_s: Median of the level after, seconds.
        points_before: Points on the level before.
        points_after: Points on the level after, up to the next step.
    """

    benchmark: str
    machine: Machine
    last_before: Commit
    first_with: Commit
    before_s: float
    after_s: float
    points_before: int
    points_after: int

    @property
    def ratio(self) -> float:
        """Time after, per time before."""
        return self.after_s / self.before_s

    @property
    def direction(self) -> str:
        """`slower` or `faster`."""
        return "slower" if self.ratio > 1 else "faster"


@dataclass(frozen=True)
class Trend:
    """A history and its steps.

    Attributes:
        series: The history.
        steps: Its steps, oldest first.
        level_s: Median of the points since the last step, seconds.
        not_called: Newest point's time per the level's, if it would be a step were it not alone; else None.
        enough: Whether there are enough points for a step to be found at all.
    """

    series: Series
    steps: tuple[Step, ...]
    level_s: float
    not_called: float | None
    enough: bool


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


def find_trends(history: History, practical: float = 0.02) -> tuple[Trend, ...]:
    """Find the steps of every history.

    Args:
        history: The histories.
        practical: Smallest change that counts, as a share of the time: 0.02 is 2 %.

    Raises:
        ConfigError: If *practical* is not from 0.005 to 1.
    """
    low, high = _PRACTICAL_LIMITS
    if not low <= practical <= high:
        raise ConfigError(f"practical is {practical}, and must lie from {low} to {high}. 0.02 counts changes from 2 %.")
    return tuple(_trend(series, practical) for series in history.series)


def steps_of(trends: Iterable[Trend]) -> list[Step]:
    """Return the steps of all histories, newest first."""
    steps = [step for trend in trends for step in trend.steps]
    return sorted(steps, key=lambda step: (step.first_with.datetime, step.ratio), reverse=True)


def change_points(values_s: NDArray[np.float64], practical: float = 0.02) -> list[int]:
    """Return where a series of times changes its level for good.

    PELT on the squared error of the logarithms, in units of the noise and with single outliers cut off, gives
    candidates. Those stay whose removal, alone or together with a neighbour, would raise a *bounded* squared error by
    more than the penalty. A point can add two thirds of a penalty at most, so that two alike at the end are a step, one
    never is, and a passing bump needs four. The noise is a median of absolute differences, which steps and outliers
    hardly move; where neighbours are more alike than points three apart, it is widened to the noise that a level of such
    points has. The penalty is the squared Student quantile at 0.05 / (2n): it bounds the chance of a step in n points of
    independent noise by Bonferroni, grows with 2 log n as the BIC does, and allows for a noise that was estimated from
    few points. Noise that wanders over many points and by more than *practical* is taken for steps.

    Args:
        values_s: Positive times in order, seconds. Shape (n,).
        practical: Smallest change that counts, as a share of the time.

    Returns:
        Index of the first point of each new level, in order.

    Source:
        Killick, Fearnhead and Eckley (2012), Optimal Detection of Changepoints With a Linear Computational Cost,
        section 3, for PELT. Fearnhead and Rigaill (2019), Changepoint Detection in the Presence of Outliers, for the
        bounded (biweight) loss and how its bound and the penalty set the length of a bump that counts. Yao (1988),
        Estimating the number of change-points via Schwarz' criterion, for the penalty. Hampel (1974), The Influence
        Curve and Its Role in Robust Estimation, for the median of absolute deviations.
    """
    if len(values_s) < _FEWEST_POINTS:
        return []
    scaled, penalty = _scaled(values_s, practical)
    edges = _without_weak_edges(scaled, [0, *_candidates(scaled, penalty), len(scaled)], penalty)
    return _without_small_steps(np.log(values_s), edges, practical)[1:-1]


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
        return _facts(_parse(path.read_bytes()), mtime_ns, size)
    except (ValueError, RecursionError) as error:
        return _File(mtime_ns, size, fault=f"not JSON ({error})")
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        return _File(mtime_ns, size, fault=f"not a run file of pytest-benchmark ({error!r})")


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
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise TypeError(f"datetime is {text!r}, not ISO 8601") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="microseconds")


def _median_s(entry: dict[str, Any]) -> float:
    """Return the median of a benchmark, or NaN where it is no time or the result is wrong."""
    median_s = entry["stats"].get("median")
    is_time = (
        isinstance(median_s, float | int) and not isinstance(median_s, bool) and math.isfinite(median_s) and median_s > 0
    )
    validity = (entry.get("extra_info") or {}).get("validity")
    return float(median_s) if is_time and validity in (None, "valid") else math.nan


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
            # Unlike `read_table`, this loads no data sets, which takes as long as all the rest.
            table = pq.ParquetFile(stream, page_checksum_verification=True).read()
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


def _trend(series: Series, practical: float) -> Trend:
    values_s = np.array(series.medians_s)
    edges = [0, *change_points(values_s, practical), len(values_s)]
    levels_s = [float(np.median(values_s[start:end])) for start, end in pairwise(edges)]
    steps = tuple(
        Step(
            benchmark=series.benchmark,
            machine=series.machine,
            last_before=series.commits[edges[index] - 1],
            first_with=series.commits[edges[index]],
            before_s=levels_s[index - 1],
            after_s=levels_s[index],
            points_before=edges[index] - edges[index - 1],
            points_after=edges[index + 1] - edges[index],
        )
        for index in range(1, len(edges) - 1)
    )
    enough = len(values_s) >= _FEWEST_POINTS
    return Trend(series, steps, levels_s[-1], _not_called(values_s, edges[-2], practical) if enough else None, enough)


def _not_called(values_s: NDArray[np.float64], level_start: int, practical: float) -> float | None:
    """Return the last point's time per that of the points before it, if two such points would be a step."""
    if len(values_s) - level_start < 3:
        return None
    scaled, penalty = _scaled(values_s, practical)
    distance = scaled[-1] - np.median(scaled[level_start:-1])
    ratio = float(values_s[-1] / np.median(values_s[level_start:-1]))
    return ratio if 2 * distance**2 > penalty and abs(math.log(ratio)) >= math.log1p(practical) else None


def _scaled(values_s: NDArray[np.float64], practical: float) -> tuple[NDArray[np.float64], float]:
    """Return the logarithms in units of their noise, and the penalty of a step in those units squared."""
    logs = np.log(values_s)
    noise = max(_MIN_NOISE * practical, _noise(logs))
    quantile = float(stdtrit(_WORTH * len(logs), 1 - _FALSE_STEP / (2 * len(logs))))
    return logs / noise, quantile**2


def _noise(logs: NDArray[np.float64]) -> float:
    """Return the standard deviation of independent noise that would move a level as much as the noise of these points.

    Source:
        A first-order autoregression with correlation r has the long-run variance (1 + r) / (1 - r) times its own, and
        neighbours whose differences have the variance 2 (1 - r) times its own; Box and Jenkins (1970), section 3.2.
    """
    by_lag = [_PER_MEDIAN_DIFFERENCE * float(np.median(np.abs(logs[lag:] - logs[:-lag]))) for lag in _LAGS]
    noise = max(by_lag)
    if by_lag[0] == 0:
        return noise
    alike = min(1.0, (by_lag[0] / noise) ** 2 * (1 + _SLOW_ERRORS / math.sqrt(len(logs))))
    return noise * math.sqrt((2 - alike) / alike)


def _candidates(scaled: NDArray[np.float64], penalty: float) -> list[int]:
    """Return where the level may change, from blocks that overlap by half."""
    tamed = _without_outliers(scaled)
    starts = range(0, max(len(tamed) - _BLOCK, 0) + _BLOCK // 2, _BLOCK // 2)
    found = set()
    for start in starts:
        block = tamed[start : start + _BLOCK, np.newaxis]
        ends = KernelCPD(kernel="linear", min_size=2).fit(block).predict(pen=penalty)
        found |= {start + int(end) for end in ends[:-1]}
    return sorted(found)


def _without_outliers(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut points off that lie far from the median of five around them, of three at the ends."""
    level = np.empty_like(scaled)
    level[2:-2] = np.median(sliding_window_view(scaled, 5), axis=1)
    level[:2], level[-2:] = np.median(scaled[:3]), np.median(scaled[-3:])
    return np.clip(scaled, level - _CUT, level + _CUT)


def _without_weak_edges(scaled: NDArray[np.float64], edges: list[int], penalty: float) -> list[int]:
    """Remove edges, one or two neighbours at a time, as long as that lowers bounded error and penalties together."""

    @cache
    def cost(start: int, end: int) -> float:
        return _bounded_error(scaled[start:end], _ONE_POINT * penalty)

    def saved(first: int, count: int) -> float:
        """Return by how much the total falls without *count* edges."""
        kept = sum(cost(edges[index], edges[index + 1]) for index in range(first - 1, first + count))
        return count * penalty + kept - cost(edges[first - 1], edges[first + count])

    while len(edges) > 2:
        choices = [(first, count) for count in (1, 2) for first in range(1, len(edges) - count)]
        first, count = max(choices, key=lambda choice: saved(*choice))
        if saved(first, count) <= 0:
            break
        edges = edges[:first] + edges[first + count :]
    return edges


def _bounded_error(values: NDArray[np.float64], bound: float) -> float:
    """Return the sum of squared distances from the best level, no point counting for more than *bound*."""
    level = np.median(values)
    for _ in range(3):
        near = values[(values - level) ** 2 < bound]
        level = near.mean() if len(near) else level
    return float(np.minimum((values - level) ** 2, bound).sum())


def _without_small_steps(logs: NDArray[np.float64], edges: list[int], practical: float) -> list[int]:
    """Remove the smallest step until each is large enough, so that several small ones in a row still add up."""
    while len(edges) > 2:
        levels = [np.median(logs[start:end]) for start, end in pairwise(edges)]
        sizes = np.abs(np.diff(levels))
        smallest = int(sizes.argmin())
        if sizes[smallest] >= math.log1p(practical):
            break
        edges = edges[: smallest + 1] + edges[smallest + 2 :]
    return edges
