"""What was read of a store's run files, kept in parts beside them, so that only new and changed files are parsed again."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rnncore.amounts import counted
from rnncore.files import whole_file

CACHE_NAME = ".rnncore-trend"
# Where it was kept before there were parts; nothing reads that any more.
EARLIER_NAME = ".rnncore-trend.parquet"

# A part is full with so many files, or rows of benchmarks: what a reading that is broken off loses at most, and what a few
# new files write anew.
PART_FILES = 2_000
PART_ROWS = 200_000

_TEXT = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
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
        ("repeated", pa.int32()),
        # Of the whole part, all beside its first file.
        ("names", pa.list_(pa.string())),
        ("benchmarks", pa.list_(pa.int32())),
        ("medians_s", pa.list_(pa.float64())),
    ],
    metadata={"rnncore-trend": "5"},
)

# Time of change in nanoseconds, and bytes.
Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is kept of a run file beside its benchmarks, or why it is none.

    Attributes:
        path: Where it is in the store.
        mtime_ns: When the file was changed last, nanoseconds.
        size: Its bytes.
        fault: Why it is no run file; None for one that is.
        datetime: When it was saved, ISO 8601 in UTC.
        commit: Hash of its commit; None outside git.
        dirty: Whether there were uncommitted changes.
        commit_time: When the commit was made, as the file says it.
        branch: The branch, as the file says it.
        machine: Facts of its machine, as JSON.
        machine_name: Names of the CPU and GPU.
        repeated: How many of its benchmarks it holds more than once, of which only the last counts.
    """

    path: str
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
    repeated: int = 0


# What is kept of one file: its facts, and of each benchmark the name and the median.
Content = tuple[StoredFile, Sequence[str], Sequence[float]]

_FILE_COLUMNS = tuple(field.name for field in fields(StoredFile))


@dataclass(frozen=True, slots=True)
class Part:
    """What is kept of some run files, as columns.

    Attributes:
        files: The files.
        rows: How many rows each has. Shape (files,).
        names: File and test id of each benchmark.
        benchmarks: Index of each row's benchmark in *names*. Shape (rows,).
        medians_s: Median seconds of each row; NaN for one that does not count. Shape (rows,).
    """

    files: tuple[StoredFile, ...]
    rows: NDArray[np.int32]
    names: tuple[str, ...]
    benchmarks: NDArray[np.int32]
    medians_s: NDArray[np.float64]

    @property
    def is_full(self) -> bool:
        """Whether nothing is added to it any more."""
        return _is_full(len(self.files), len(self.benchmarks))

    def only(self, kept: Sequence[bool]) -> "Part":
        """Return the part with only those files that are marked."""
        if all(kept):
            return self
        mask = np.array(kept, dtype=bool)
        files = tuple(file for file, is_kept in zip(self.files, kept, strict=True) if is_kept)
        there = np.repeat(mask, self.rows)
        return Part(files, self.rows[mask], self.names, self.benchmarks[there], self.medians_s[there])

    def contents(self) -> Iterator[Content]:
        """Yield what is kept of each file."""
        ends = np.cumsum(self.rows).tolist()
        for file, start, end in zip(self.files, [0, *ends], ends, strict=False):
            names = [self.names[index] for index in self.benchmarks[start:end].tolist()]
            yield file, names, self.medians_s[start:end].tolist()


class Cache:
    """The parts of a store, for one call that reads them and adds to them.

    Each part is a file of its own, whole or not at all. One that is full, and of which every file is as it was, is left as
    it is. All others are merged with what is added, so that at most one is not full.

    Args:
        folder: Where the parts are.
        stamps: The files of the store as they are now.

    Attributes:
        parts: What is known of the files as they are now; all of it once the cache is closed.
        paths: Files in the parts that were there.
    """

    def __init__(self, folder: Path, stamps: Mapping[str, Stamp]) -> None:
        self.parts: list[Part] = []
        self.paths: set[str] = set()
        self._folder = folder
        self._number = 0
        self._loose: list[Part] = []
        self._to_remove: list[Path] = []
        self._open, self._not_kept = _OpenPart(), _OpenPart()
        self._is_old = False
        self._why_not_written: str | None = None
        for path in sorted(folder.glob("[0-9]*.parquet")):
            self._take(path, stamps)

    def _take(self, path: Path, stamps: Mapping[str, Stamp]) -> None:
        """Take in a part of before, without the files that are gone or changed, or that another part holds."""
        self._number = max(self._number, int(path.stem) if path.stem.isdecimal() else 0)
        part = _read_part(path)
        if part is None:
            self._is_old = True
            self._to_remove.append(path)
            return
        current = part.only(
            [stamps.get(file.path) == (file.mtime_ns, file.size) and file.path not in self.paths for file in part.files]
        )
        self.paths.update(file.path for file in current.files)
        if current is part and part.is_full:
            self.parts.append(part)
            return
        self._is_old |= current is not part
        self._loose.append(current)
        self._to_remove.append(path)

    def add(self, content: Content) -> None:
        """Take in what was read of a file; a part that is full with it is written."""
        try:
            content[0].path.encode()
        except UnicodeEncodeError:
            # A file system may take any bytes for a name.
            self._not_kept.add(content)
            return
        self._open.add(content)
        if self._open.is_full:
            self._write()

    def close(self) -> tuple[str, ...]:
        """Write what is left, if anything changed, and remove what it replaces; return notes for the user."""
        had_parts = bool(self.parts or self._loose)
        if self._open.files or self._is_old:
            for part in self._loose:
                for content in part.contents():
                    self.add(content)
            self._loose = []
            if self._open.files:
                self._write()
            self._remove()
        self.parts += [*self._loose, self._not_kept.part()]
        notes = []
        if self._why_not_written is not None:
            which = "those files again that are new" if had_parts else "all files again"
            notes.append(f"{self._folder}: cannot be written ({self._why_not_written}). Every call reads {which}.")
        if self._not_kept.files:
            count = len(self._not_kept.files)
            notes.append(
                f"{counted(count, 'file')} not kept in {self._folder}, whose texts are UTF-8: the name of "
                "a file is not. Every call reads them again."
            )
        return tuple(notes)

    def _write(self) -> None:
        part, self._open = self._open.part(), _OpenPart()
        self.parts.append(part)
        if self._why_not_written is None:
            self._number += 1
            try:
                _write_part(self._folder / f"{self._number:06}.parquet", part)
            except OSError as error:
                self._why_not_written = str(error.__cause__ or error)
            else:
                with suppress(OSError):
                    self._folder.with_name(EARLIER_NAME).unlink()

    def _remove(self) -> None:
        """Remove the files that others replaced, once these are there."""
        if self._why_not_written is not None:
            return
        try:
            for path in self._to_remove:
                path.unlink(missing_ok=True)
        except OSError as error:
            self._why_not_written = str(error)


class _OpenPart:
    """A part that grows."""

    def __init__(self) -> None:
        self.files: list[StoredFile] = []
        self._rows, self._benchmarks, self._medians_s = array("i"), array("i"), array("d")
        self._places: dict[str, int] = {}

    @property
    def is_full(self) -> bool:
        return _is_full(len(self.files), len(self._benchmarks))

    def add(self, content: Content) -> None:
        file, benchmarks, medians_s = content
        places = self._places
        self.files.append(file)
        self._rows.append(len(benchmarks))
        self._benchmarks.extend([places.setdefault(name, len(places)) for name in benchmarks])
        self._medians_s.extend(medians_s)

    def part(self) -> Part:
        return Part(
            tuple(self.files),
            np.array(self._rows, dtype=np.int32),
            tuple(self._places),
            np.array(self._benchmarks, dtype=np.int32),
            np.array(self._medians_s, dtype=np.float64),
        )


def _is_full(files: int, rows: int) -> bool:
    return files >= PART_FILES or rows >= PART_ROWS


def _read_part(path: Path) -> Part | None:
    """Return a part; None where it is damaged, of another version or gone."""
    try:
        with path.open("rb") as stream:
            # Unlike `read_table`, this loads no data sets, which takes as long as all the rest. No threads: on a busy host,
            # one that had not begun when Python ended seems to have taken the process down.
            table = pq.ParquetFile(stream, page_checksum_verification=True).read(use_threads=False)
    except (OSError, pa.ArrowException):
        return None
    if not table.schema.equals(_SCHEMA) or table.schema.metadata != _SCHEMA.metadata or not table.num_rows:
        return None
    columns = {name: table.column(name).combine_chunks() for name in table.column_names}
    names, benchmarks, medians_s = (columns[name] for name in ("names", "benchmarks", "medians_s"))
    part = Part(
        tuple(map(StoredFile, *(_values(columns[name]) for name in _FILE_COLUMNS))),
        np.diff(_numpy(benchmarks.offsets, np.int32)),
        tuple(names.flatten().to_pylist()),
        _numpy(benchmarks.flatten(), np.int32),
        _numpy(medians_s.flatten(), np.float64),
    )
    is_whole = len(part.benchmarks) == len(part.medians_s) and np.all(part.benchmarks < len(part.names))
    return part if is_whole else None


def _write_part(path: Path, part: Part) -> None:
    """Write a row for each file.

    Raises:
        OutputError: If that is not possible.
    """
    names = pa.array(part.names, type=pa.string())
    arrays = [
        # A dictionary is made of plain texts.
        pa.array([getattr(file, name) for file in part.files], getattr(kind, "value_type", kind)).cast(kind)
        for name, kind in zip(_FILE_COLUMNS, _SCHEMA.types, strict=False)
    ]
    arrays += [
        _lists(np.array([len(names), *[0] * (len(part.files) - 1)], dtype=np.int32), names),
        *(_lists(part.rows, _arrow(values)) for values in (part.benchmarks, part.medians_s)),
    ]
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), temporary, compression="zstd", write_page_checksum=True)


# Neither with `to_numpy` nor with pyarrow's computations: they load pandas, which takes as long as all the rest.
def _values(column: Any) -> list[Any]:
    """Return a column as a list; the texts of a dictionary are shared and not made anew for each row."""
    if not pa.types.is_dictionary(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    words = column.dictionary.to_pylist()
    return [None if code is None else words[code] for code in column.indices.to_pylist()]


def _numpy(column: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """Return the numbers of a column, which has no nulls; a copy, so that the next part is read into the same memory."""
    if not len(column):
        return np.empty(0, dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column), column.offset * np.dtype(dtype).itemsize).copy()


def _arrow(values: NDArray[Any]) -> Any:
    return pa.Array.from_buffers(
        pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))]
    )


def _lists(counts: NDArray[np.int32], values: Any) -> Any:
    """Return a column of lists of so many values each."""
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    return pa.ListArray.from_arrays(_arrow(offsets), values)
