"""What was read of a store's run files, kept in the store so that only new and changed files are parsed again."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rnncore.files import whole_file

CACHE_NAME = ".rnncore-trend.parquet"

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

# Columns that are fields of `StoredFile`.
_FILE_COLUMNS = (
    *("mtime_ns", "size", "fault", "datetime", "commit", "dirty", "commit_time", "branch", "machine", "machine_name"),
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is kept of a run file, or why it is none.

    Attributes:
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
        benchmarks: File and test id of each benchmark.
        medians_s: Median seconds of each; NaN for one that does not count.
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


def read_cache(path: Path) -> dict[str, StoredFile]:
    """Return the files that the cache holds, by path: none where it is missing, damaged or of another version."""
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
        files[paths[start]] = StoredFile(
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


def write_cache(path: Path, files: dict[str, StoredFile]) -> tuple[str, ...]:
    """Write one row for each file and benchmark, one for a file without any; return a note if that is not possible."""
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
    try:
        arrays = [
            # A dictionary is made of plain texts.
            pa.array(columns[field.name], type=getattr(field.type, "value_type", field.type)).cast(field.type)
            for field in _SCHEMA
        ]
        with whole_file(path) as temporary:
            table = pa.Table.from_arrays(arrays, schema=_SCHEMA)
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    except (OSError, UnicodeEncodeError) as error:
        # Names of files and benchmarks need not be UTF-8, and Parquet's texts are.
        return (f"{path}: cannot be written ({error}). Every call reads all files again.",)
    return ()
