"""Series from files as people have them: what was read, how it was read, and what was done to it.

A file goes one way: bytes -> text (`unpack`) -> table and roles of its columns (`columns`) -> times (`stamps`) and numbers
(`amounts`) -> series. A plain file, ISO times and decimal points apart by a comma, is read by pyarrow in one step, to the
same; whatever that refuses takes the long way, which names each fault with its line.
"""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rnncore.amounts import counted
from rnncore.errors import DataError
from rnncore.forecast.amounts import MAX_LOAD_MW, Amounts, is_amount, is_missing, missing_fault, read_amounts
from rnncore.forecast.columns import Table, read_table, roles_of
from rnncore.forecast.faults import differing
from rnncore.forecast.magnitude import USUAL_PCT, believed_between
from rnncore.forecast.series import HOUR, FloatArray, Series, TimeArray, values_digest
from rnncore.forecast.stamps import RowFault, Stamps, is_stamp, read_stamps, with_hours
from rnncore.forecast.unpack import GZIP, PARQUET, ZIP, decoded, unpacked

Resample = Literal["1h", "1h-sum"]

# What files that are read are called.
SUFFIXES = (".csv", ".tsv", ".csv.gz", ".csv.zip", ".parquet")

DAY_MINUTES = 1440


@dataclass(frozen=True)
class ReadOptions:
    """What a user says of files, where they do not say it themselves.

    Attributes:
        columns: Columns of loads, each a zone, or `all`; empty for the only one.
        date_format: `dmy`, `mdy` or a pattern of strptime; None for what the rows show.
        decimal: `.` or `,`; None for what the rows show.
        resample: Make hours of shorter steps: `1h` by their mean, as of power, `1h-sum` by their sum, as of energy.
        keep_faults: Leave out rows without a value, and keep repeated ones that differ, for `Reading` to count, where they
            would else be refused.
        drop_missing: Leave out rows without a value.
    """

    columns: tuple[str, ...] = ()
    date_format: str | None = None
    decimal: str | None = None
    resample: Resample | None = None
    drop_missing: bool = False
    keep_faults: bool = False


@dataclass(frozen=True)
class Reading:
    """A series, and how it came to be.

    Attributes:
        series: The series.
        found: What was detected where a file is not a plain one, as phrases.
        done: What was done to it, as phrases with numbers.
        missing_values: Rows that had no value and were left out.
        warnings: What is likely to be wrong and was kept, as sentences.
    """

    series: Series
    found: tuple[str, ...] = ()
    done: tuple[str, ...] = ()
    missing_values: int = 0
    warnings: tuple[str, ...] = ()

    def cleaned(self, fill_hours: int = 0) -> "Reading":
        """Return the reading with rows of equal stamp merged to their mean, and gaps of up to so many hours filled."""
        series = self.series.cleaned()
        done = list(self.done)
        if self.series.duplicates:
            done.append(f"repeated rows merged to means: {self.series.duplicates:,}")
        if fill_hours:
            before = len(series.time)
            series = series.filled(fill_hours)
            done.append(f"missing hours filled: {len(series.time) - before:,}, left: {series.missing_hours:,}")
        return replace(self, series=series, done=tuple(done))


@dataclass(frozen=True)
class _Zone:
    """Times and loads of one zone in file order; `where` is None if only the long way knows it."""

    column: str
    time: TimeArray
    load_mw: FloatArray
    where: list[str] | None
    found: tuple[str, ...] = ()
    first_missing: tuple[str, str] | None = None
    missing: int = 0


def read_file(path: Path, options: ReadOptions | None = None) -> tuple[Reading, ...]:
    """Read the zones of a file: CSV or the like, packed or not, or Parquet.

    Rows may be in any order; they are sorted by time, equal stamps staying in file order. Repeated and missing hours
    are kept as they are: what to do about them is the windows' choice.

    Args:
        path: The file.
        options: What it does not say itself.

    Returns:
        A reading per zone.

    Raises:
        DataError: If it cannot be read: with the file, the line and the value of the first fault.
        ConfigError: If an option is not allowed.
    """
    options = options or ReadOptions()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    zone = _read_by_pyarrow(raw, options)
    zones = [zone] if zone else _read(path, raw, options)
    digest = hashlib.sha256(raw).hexdigest()
    readings = []
    for zone in zones:
        try:
            readings.append(_reading(path, zone, digest, options))
        except _NeedsLines:
            readings.append(_reading(path, _read(path, raw, options)[0], digest, options))
    return tuple(readings)


class _NeedsLines(Exception):  # noqa: N818 (a turn to the long way)
    """A fault was found on the short way, where lines are unknown."""


def _read_by_pyarrow(raw: bytes, options: ReadOptions) -> _Zone | None:
    """Read a plain file at once; None if it is not, or holds a fault."""
    if options.columns or options.date_format or options.decimal or raw.startswith((GZIP, ZIP, PARQUET)):
        return None
    try:
        header = raw.split(b"\n", 1)[0].decode("utf-8-sig").strip()
        names = [name.strip() for name in next(csv.reader([header]), [])]
    except (UnicodeDecodeError, csv.Error):
        return None
    if len(names) != 2 or any(mark in header for mark in ";\t|\0") or not names[1]:
        return None
    if any(map(is_stamp, names)) or all(map(is_amount, names)):
        return None
    # Here, as everywhere: a process that only serves a model needs no tables.
    import pyarrow as pa
    from pyarrow import csv as arrow

    try:
        table = arrow.read_csv(
            io.BytesIO(raw),
            read_options=arrow.ReadOptions(column_names=["time", "load"], skip_rows=1),
            convert_options=arrow.ConvertOptions(
                column_types={"time": pa.timestamp("s"), "load": pa.float64()}, null_values=[], strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        return None
    time, load_mw = (table.column(name).to_numpy() for name in ("time", "load"))
    if not len(time) or not (np.abs(load_mw) <= MAX_LOAD_MW).all():
        return None
    return _Zone(names[1], time.astype("datetime64[s]"), load_mw, None)


def _read(path: Path, raw: bytes, options: ReadOptions) -> list[_Zone]:
    content, found = unpacked(path, raw)
    if content.startswith(PARQUET):
        table = _parquet(path, content)
    else:
        text, encoding = decoded(path, content)
        table = read_table(path, text)
        found = (*found, *encoding)
    found = (*found, *table.found)
    if not table.rows and table.fault is None and len(table.header) > 1:
        raise DataError(f"{path}: a header but no rows. Give at least one row per hour.")
    roles = roles_of(path, table, options.columns)
    faults = [table.fault] if table.fault else []
    stamps, columns = None, []
    try:
        stamps = _stamps(table, roles.time, roles.hour, options)
    except RowFault as fault:
        faults.append(fault)
    for at in roles.values:
        try:
            columns.append(read_amounts(table.column(at), options.decimal))
        except RowFault as fault:
            faults.append(fault)
    if not (options.drop_missing or options.keep_faults):
        faults += _missing_faults(table, roles.values)
    if faults or stamps is None:
        raise _first(path, table, faults)
    found = (*found, *roles.found, *stamps.found)
    return [
        _zone(table, at, stamps, amounts, (*found, *amounts.found))
        for at, amounts in zip(roles.values, columns, strict=True)
    ]


def _stamps(table: Table, time: int, hour: int | None, options: ReadOptions) -> Stamps:
    stamps = read_stamps(table.column(time), options.date_format)
    return stamps if hour is None else with_hours(stamps, table.column(hour))


def _missing_faults(table: Table, values: Sequence[int]) -> list[RowFault]:
    """Return the first row without a value of each column."""
    firsts = ((at, next((row for row, text in enumerate(table.column(at)) if is_missing(text)), None)) for at in values)
    return [RowFault(row, missing_fault(table.rows[row][at])) for at, row in firsts if row is not None]


def _first(path: Path, table: Table, faults: Sequence[RowFault]) -> DataError:
    """Return the error of the first row with a fault; of a column as a whole, only if no row has one."""
    first = min(faults, key=lambda fault: len(table.where) if fault.row is None else fault.row)
    where = "" if first.row is None else f", {table.where[first.row]}"
    return DataError(f"{path}{where}: {first}")


def _zone(table: Table, at: int, stamps: Stamps, amounts: Amounts, found: tuple[str, ...]) -> _Zone:
    there = ~np.isnan(amounts.value)
    rows = np.flatnonzero(there)
    return _Zone(
        table.header[at],
        stamps.time[there],
        amounts.value[there],
        [table.where[row] for row in rows],
        found,
        missing=len(there) - len(rows),
    )


def _parquet(path: Path, content: bytes) -> Table:
    """Return a Parquet file as a table of text, its index of times, if it has one, as first column."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    try:
        frame = parquet.read_table(pa.BufferReader(content)).to_pandas()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path}: damaged Parquet ({error}). Write it again.") from error
    if not isinstance(frame.index, pd.RangeIndex):
        frame = frame.reset_index()
    columns = [frame[name].astype(object).where(frame[name].notna(), "").map(str).tolist() for name in frame.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table(
        [str(name).strip() for name in frame.columns], rows, [f"row {at + 1}" for at in range(len(rows))], ("Parquet",)
    )


def _reading(path: Path, zone: _Zone, digest: str, options: ReadOptions) -> Reading:
    if not len(zone.time):
        raise DataError(f"{path}: column '{zone.column}' has no value in any row. Give another column.")
    order = np.argsort(zone.time, kind="stable")
    time, load_mw = zone.time[order], zone.load_mw[order]
    if not options.keep_faults:
        _require_alike(path, zone, order, time, load_mw)
    warnings = _beyond_belief(zone, order, time, load_mw)
    done = [f"rows without a value left out: {zone.missing:,}"] if zone.missing else []
    if options.resample:
        time, load_mw, sentence = _hours(path, time, load_mw, options.resample)
        done.append(sentence)
    _require_hours(path, time)
    if len(load_mw) == 1:
        raise DataError(f"{path}: a single row, of which nothing can be learnt or forecast. Give a longer series.")
    if load_mw.min() == load_mw.max():
        raise DataError(
            f"{path}: column '{zone.column}' is {load_mw[0]:g} in every row and cannot be scaled. Give a series that varies."
        )
    if options.resample:
        digest = values_digest(time, load_mw)
    series = Series(zone.column.removesuffix("_MW"), time, load_mw, digest)
    return Reading(series, zone.found, tuple(done), zone.missing, warnings)


def _require_alike(
    path: Path, zone: _Zone, order: "np.ndarray[tuple[int], np.dtype[np.int64]]", time: TimeArray, load_mw: FloatArray
) -> None:
    """Refuse rows of equal stamp whose loads are too far apart for their mean to mean anything."""
    rows = differing(time, load_mw)
    if not len(rows):
        return
    if zone.where is None:
        raise _NeedsLines
    first = int(rows[0])
    one, other = (zone.where[order[row]] for row in (first - 1, first))
    raise DataError(
        f"{path}, {other}: {load_mw[first]:g} at {_stamp(time[first])}, which {one} has as {load_mw[first - 1]:g}; "
        f"rows of equal time contradict one another ({len(rows):,} in all), and their mean is no load. Leave out the wrong "
        "ones."
    )


def _beyond_belief(
    zone: _Zone, order: "np.ndarray[tuple[int], np.dtype[np.int64]]", time: TimeArray, load_mw: FloatArray
) -> tuple[str, ...]:
    """Return a sentence where loads are too far from all others to be true: they are kept, and what learns them is said."""
    lowest, highest = believed_between(load_mw)
    rows = np.flatnonzero((load_mw < lowest) | (load_mw > highest))
    if not len(rows):
        return ()
    if zone.where is None:
        raise _NeedsLines
    first = int(rows[0])
    low, high = np.percentile(load_mw, USUAL_PCT)
    return (
        f"{zone.where[order[first]]}: {load_mw[first]:g} at {_stamp(time[first])}, where usual loads are {low:,.6g} to "
        f"{high:,.6g} ({counted(len(rows), 'such row')}). The regressions, and the presets fast and best, learn it as "
        f"{lowest if load_mw[first] < low else highest:,.6g}; the preset article and all scores take it as it is. "
        "Leave it out if it is wrong.",
    )


def _stamp(time: np.datetime64) -> str:
    return str(time).replace("T", " ")


def _usual_minutes(time: TimeArray) -> float | None:
    steps = np.diff(np.unique(time)).astype(np.int64)
    return float(np.median(steps)) / 60 if len(steps) else None


def _require_hours(path: Path, time: TimeArray) -> None:
    steps = np.diff(time)
    forward = steps[steps > np.timedelta64(0, "s")]
    if 2 * np.count_nonzero(forward == HOUR) < len(forward):
        minutes = float(np.median(forward.astype(np.int64))) / 60
        raise DataError(f"{path}: the usual step between rows is {minutes:g} minutes, not one hour. {_step_advice(minutes)}")
    between = np.flatnonzero(steps % HOUR != np.timedelta64(0, "s"))
    if len(between):
        raise DataError(
            f"{path}: {time[between[0] + 1]} lies between the hours of the other rows. "
            "Move it to the full hour, or resample."
        )


def _step_advice(minutes: float) -> str:
    if minutes < 60:
        return "Resample to hours: --resample 1h for their mean, as of power, --resample 1h-sum for their sum, as of energy."
    if minutes >= DAY_MINUTES:
        return "A load by day has no hours to learn. Give the hourly readings that it was made from."
    return "Hours cannot be made of longer steps. Give hourly readings."


def _hours(path: Path, time: TimeArray, load_mw: FloatArray, how: Resample) -> tuple[TimeArray, FloatArray, str]:
    """Return full hours of shorter steps, and the sentence about it."""
    minutes = _usual_minutes(time)
    if minutes is None or minutes > 60 or 60 % minutes:
        step = "unknown" if minutes is None else f"{minutes:g} minutes"
        divides = "Give steps that an hour is a multiple of, such as 15 or 30 minutes."
        advice = divides if minutes is None or minutes < 60 else _step_advice(minutes)
        raise DataError(f"{path}: the usual step is {step}, of which no hours are made. {advice}")
    parts = int(60 / minutes)
    unique, first, count = np.unique(time, return_index=True, return_counts=True)
    value = np.add.reduceat(load_mw, first) / count
    hour, begins, held = np.unique(unique.astype("datetime64[h]"), return_index=True, return_counts=True)
    total = np.add.reduceat(value, begins)
    full = held == parts
    if not full.any():
        raise DataError(f"{path}: no hour has all {parts} steps of {minutes:g} minutes. Give the file without --resample.")
    hourly = (total / held if how == "1h" else total)[full]
    left = f", incomplete ones left out: {np.count_nonzero(~full):,}" if not full.all() else ""
    word = "means" if how == "1h" else "sums"
    return hour[full].astype("datetime64[s]"), hourly, f"{len(hourly):,} hourly {word} of {minutes:g} minutes{left}"
