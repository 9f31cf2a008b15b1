"""Series from CSV files; a file that cannot be read is named with the line of its first fault."""

import csv
import hashlib
import io
import math
import warnings
from datetime import datetime
from pathlib import Path

import numpy as np

from rnncore.errors import DataError
from rnncore.forecast.series import HOUR, FloatArray, Series, TimeArray

# Far above any load in any unit; beyond it squares of loads overflow.
MAX_LOAD_MW = 1e18

# How a file that gzip wrote begins.
GZIP = b"\x1f\x8b"


def read_csv(path: Path) -> Series:
    """Read one zone from a CSV file with a header, a time column and one value column in MW.

    Rows may be in any order; they are sorted by time, equal stamps staying in file order. Repeated and missing hours
    are kept as they are: what to do about them is the windows' choice.

    Args:
        path: The file; UTF-8, comma-separated.

    Returns:
        The series.

    Raises:
        DataError: If the file is empty, has missing or extra columns, a time or number that cannot be read, a NaN or an
            infinite value, mixed time zones, steps other than one hour, or a constant value. Names file and line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    value_column = _value_column(path, raw)
    time, load_mw = _parse(path, raw)
    order = np.argsort(time, kind="stable")
    time, load_mw = time[order], load_mw[order]
    steps = np.diff(time)
    forward = steps[steps > np.timedelta64(0, "s")]
    if 2 * np.count_nonzero(forward == HOUR) < len(forward):
        minutes = np.median(forward.astype(np.int64)) / 60
        raise DataError(f"{path}: the usual step between rows is {minutes:g} minutes, not one hour. Resample to hours.")
    between = np.flatnonzero(steps % HOUR != np.timedelta64(0, "s"))
    if len(between):
        raise DataError(
            f"{path}: {time[between[0] + 1]} lies between the hours of the other rows. "
            "Move it to the full hour, or resample."
        )
    if len(load_mw) == 1:
        raise DataError(f"{path}: a single row, of which nothing can be learnt or forecast. Give a longer series.")
    if load_mw.min() == load_mw.max():
        raise DataError(
            f"{path}: column '{value_column}' is {load_mw[0]:g} in every row and cannot be scaled. "
            "Give a series that varies."
        )
    return Series(value_column.removesuffix("_MW"), time, load_mw, hashlib.sha256(raw).hexdigest())


def _value_column(path: Path, raw: bytes) -> str:
    if raw.startswith(GZIP):
        raise DataError(f"{path}: compressed by gzip. Unpack it first.")
    try:
        header = raw.split(b"\n", 1)[0].decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line 1: not UTF-8 text. Save the file as UTF-8 CSV.") from error
    if not header:
        raise DataError(f"{path}, line 1: no header. Start the file with a line such as 'Datetime,AEP_MW'.")
    if "\r" in header:
        raise DataError(f"{path}: lines end in carriage returns alone. Save the file with line feeds.")
    columns = [name.strip() for name in next(csv.reader([header]))]
    other = next((mark for mark in (";", "\t") if len(header.split(mark)) > len(columns)), None)
    if other:
        raise DataError(
            f"{path}, line 1: columns apart by {other!r} ('{header}'). Write the file with commas between columns, and "
            "decimal points."
        )
    if len(columns) != 2:
        raise DataError(
            f"{path}, line 1: {len(columns)} columns ({', '.join(columns)}), but a time column and one value column are "
            "allowed. Give one file per zone."
        )
    if _as_time(columns[0]) is not None:
        raise DataError(
            f"{path}, line 1: data where the header belongs ('{header}'). Start the file with a line such as "
            "'Datetime,AEP_MW'."
        )
    if not columns[1]:
        raise DataError(f"{path}, line 1: the value column has no name. Name it after the zone, such as 'AEP_MW'.")
    return columns[1]


def _parse(path: Path, raw: bytes) -> tuple[TimeArray, FloatArray]:
    """Return times and loads in file order by the fast reader; on any doubt let the slow one name the fault."""
    # Here, as everywhere: a process that only serves a model needs no tables, and pandas takes 60 MiB and half a second.
    import pandas as pd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frame = pd.read_csv(
                io.BytesIO(raw),
                header=0,
                names=["time", "load"],
                index_col=False,
                parse_dates=["time"],
                date_format="ISO8601",
                dtype={"load": np.float64},
            )
    except (ValueError, UserWarning, pd.errors.ParserWarning) as error:
        raise _first_fault(path, raw) from error
    # pandas takes "now" and "today" for the time of reading; no row that is right has such a letter.
    header_end = raw.find(b"\n")
    if raw.find(b"o", header_end) >= 0 or raw.find(b"O", header_end) >= 0:
        raise _first_fault(path, raw)
    if frame.empty:
        raise DataError(f"{path}: a header but no rows. Give at least one row per hour.")
    if not isinstance(frame["time"].dtype, (np.dtype, pd.DatetimeTZDtype)) or frame["time"].dtype.kind != "M":
        raise _first_fault(path, raw)
    load_mw = frame["load"].to_numpy()
    if frame["time"].isna().any() or not (np.abs(load_mw) <= MAX_LOAD_MW).all():
        raise _first_fault(path, raw)
    # A file whose stamps all carry one offset is in local time of that offset.
    time = frame["time"].dt.tz_localize(None).to_numpy().astype("datetime64[s]")
    return time, load_mw


def _first_fault(path: Path, raw: bytes) -> DataError:
    """Return the error for the first row that cannot be read, with its line."""
    try:
        reader = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return DataError(f"{path}, line {line}: not UTF-8 text. Save the file as UTF-8 CSV.")
    offsets: list[object] = []
    try:
        next(reader)
        for row in reader:
            fault = _row_fault(row, offsets) if row else None
            if fault:
                return DataError(f"{path}, line {reader.line_num}: {fault}")
    except csv.Error as error:
        return DataError(f"{path}, line {reader.line_num}: not a CSV row ({error}). Write 'time,value' without quotes.")
    return DataError(f"{path}: cannot be read as 'time,value' rows. Compare it with data/README.md.")


def _row_fault(row: list[str], offsets: list[object]) -> str | None:
    """Return what is wrong with a row; *offsets* collects the UTC offsets of the rows before."""
    if len(row) != 2:
        return f"{len(row)} fields ({','.join(row)}), but a time and one value are allowed."
    time = _as_time(row[0])
    if time is None:
        return f"'{row[0]}' is not a time. Write times as YYYY-MM-DD HH:MM:SS."
    offsets.append(time.utcoffset())
    if offsets[-1] != offsets[0]:
        return f"time zone of '{row[0]}' differs from that before it (mixed time zones). Write all times in one zone."
    remedy = "Give a finite number in MW, or leave the row out."
    if not row[1].strip():
        return f"the value is empty. {remedy}"
    try:
        value = float(row[1].replace("_", "?"))  # Python reads 1_000, the table reader does not
    except ValueError:
        return f"'{row[1]}' is not a number. {remedy}"
    if not math.isfinite(value):
        return f"'{row[1]}' is not finite. {remedy}"
    return None if abs(value) <= MAX_LOAD_MW else f"'{row[1]}' is beyond {MAX_LOAD_MW:g}, and no load. {remedy}"


def _as_time(text: str) -> datetime | None:
    if not text.strip()[:1].isdigit():
        return None
    try:
        return datetime.fromisoformat(text.strip().replace("/", "-"))  # the table reader takes slashes too
    except ValueError:
        return None
