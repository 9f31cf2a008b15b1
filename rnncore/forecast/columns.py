"""A table of text: its rows with their lines, and which columns hold times, hours and loads."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnncore.errors import DataError
from rnncore.forecast.amounts import is_amount, is_missing
from rnncore.forecast.stamps import RowFault, is_date, is_epoch, is_hour, is_stamp

# Between columns; the comma last, as it is a decimal mark too.
MARKS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}

# Rows that columns are judged by.
SAMPLE_ROWS = 100

# How a column of hours beside a column of dates is called.
HOUR_NAMES = {
    "hour",
    "hours",
    "hr",
    "h",
    "he",
    "hour ending",
    "hourending",
    "time",
    "stunde",
    "uhrzeit",
    "zeit",
    "heure",
    "hora",
    "ora",
}

# Every column of numbers becomes a zone.
ALL = "all"

EXAMPLE = "Start the file with a line such as 'Datetime,AEP_MW'."


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        header: Names of the columns.
        rows: The rows, as long as the header each.
        where: The line of each row, or what else leads to it, as messages write it.
        found: How the table was read, where that is not as commas.
        fault: What is wrong with the row after the last, where reading had to stop there.
    """

    header: list[str]
    rows: list[list[str]]
    where: list[str]
    found: tuple[str, ...] = ()
    fault: RowFault | None = None

    def column(self, index: int) -> list[str]:
        """Return the texts of a column."""
        return [row[index] for row in self.rows]


@dataclass(frozen=True)
class Roles:
    """Which columns are read.

    Attributes:
        time: Of times or dates.
        hour: Of hours, where these have a column of their own.
        values: Of loads, one per zone.
        found: How they were chosen, where the table has others.
    """

    time: int
    hour: int | None
    values: tuple[int, ...]
    found: tuple[str, ...] = ()


def read_table(path: Path, text: str) -> Table:
    """Split text into a table.

    Args:
        path: The file, for messages.
        text: Its text.

    Raises:
        DataError: If it has no first line, or line ends that are none.
    """
    first = text.split("\n", 1)[0].strip()
    if not first:
        raise DataError(f"{path}, line 1: no header. {EXAMPLE}")
    if "\r" in first:
        raise DataError(f"{path}: lines end in carriage returns alone. Save the file with line feeds.")
    mark = _mark(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
    try:
        header = [name.strip() for name in next(reader)]
    except csv.Error as error:
        raise DataError(f"{path}, line 1: not a CSV row ({error}). {EXAMPLE}") from error
    found = () if mark == "," else (f"columns apart by {MARKS[mark]}",)
    if _is_row(header, text, mark):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        header, said = _named(path, len(header))
        found = (*found, said)
    rows, where, fault = _rows(reader, header)
    # Many a program ends each line with a mark.
    if len(header) > 2 and not header[-1] and not any(row[-1].strip() for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Table(header, rows, where, found, fault)


def _is_row(first: list[str], text: str, mark: str) -> bool:
    """Return whether the first line is a row: it has a time in a column of times, and numbers, or nothing, in others."""
    rows = list(csv.reader(text[:100_000].splitlines()[1 : SAMPLE_ROWS + 1], delimiter=mark))
    for at, cell in enumerate(first):
        if _is_time(cell):
            times = sum(len(row) > at and _is_time(row[at].strip()) for row in rows)
            others = [*first[:at], *first[at + 1 :]]
            return 2 * times > len(rows) and any(map(is_amount, others))
    return False


def _named(path: Path, columns: int) -> tuple[list[str], str]:
    """Return names for columns of a file without a header, and the phrase about them."""
    if columns == 2:
        zone = path.name.split(".")[0]
        return ["time", zone], f"no header: the zone is called '{zone}', as the file"
    names = [f"column {at}" for at in range(1, columns + 1)]
    return names, f"no header: columns are called '{names[0]}' to '{names[-1]}'"


def _rows(reader: "csv._reader", header: list[str]) -> tuple[list[list[str]], list[str], RowFault | None]:  # type: ignore[name-defined]
    rows: list[list[str]] = []
    where: list[str] = []
    while True:
        line = f"line {reader.line_num + 1}"
        try:
            row = next(reader)
        except StopIteration:
            return rows, where, None
        except csv.Error as error:
            fault = f"not a CSV row ({error}). Write 'time,value' without quotes."
            return rows, [*where, line], RowFault(len(rows), fault)
        if not row or (len(row) != len(header) and not any(field.strip() for field in row)):
            continue
        where.append(line)
        if len(row) != len(header):
            allowed = "a time and one value are allowed" if len(header) == 2 else f"the header has {len(header)}"
            return rows, where, RowFault(len(rows), f"{len(row)} fields ({_short(','.join(row))}), but {allowed}.")
        if any("\n" in field or "\r" in field for field in row):
            return rows, where, RowFault(len(rows), "a quote that is not closed. Write 'time,value' without quotes.")
        rows.append(row)


def _short(text: str) -> str:
    text = text.splitlines()[0] if text else text
    return text if len(text) <= 80 else text[:77] + "..."


def _mark(text: str) -> str:
    """Return what is between columns: what splits the header, and most of the rows after it into as many fields."""
    lines = [line for line in text[:100_000].splitlines() if line.strip()][: SAMPLE_ROWS + 1]
    for mark in MARKS:
        try:
            counts = [len(row) for row in csv.reader(lines, delimiter=mark)]
        except csv.Error:
            continue
        if counts and counts[0] > 1 and 2 * counts[1:].count(counts[0]) >= len(counts) - 1:
            return mark
    return ","


def roles_of(path: Path, table: Table, columns: Sequence[str] = ()) -> Roles:
    """Choose the columns of times and loads.

    Args:
        path: The file, for messages.
        table: The table.
        columns: Names of the columns of loads, or `all`; none takes the only one.

    Raises:
        DataError: If the header is data, there is no column of loads, or several and none was chosen.
    """
    header = table.header
    if any(is_stamp(name) for name in header) or all(is_amount(name) for name in header):
        raise DataError(f"{path}, line 1: data where the header belongs ('{_short(','.join(header))}'). {EXAMPLE}")
    time = next((at for at in range(len(header)) if _mostly(table, at, _is_time)), 0)
    hour = None
    if _mostly(table, time, is_date):
        hour = next(
            (at for at, name in enumerate(header) if name.lower() in HOUR_NAMES and _mostly(table, at, is_hour)), None
        )
    others = [at for at in range(len(header)) if at not in (time, hour)]
    if not others:
        raise DataError(
            f"{path}, line 1: {len(header)} columns ({', '.join(header)}), but a time column and one value column are "
            "needed. Give one file per zone, or one with a column for each."
        )
    numbers = [at for at in others if _mostly(table, at, is_amount)]
    values, found = _values(path, header, others, numbers, columns)
    if hour is not None:
        found = (*found, f"hours in column '{header[hour]}'")
    unnamed = next((at for at in values if not header[at]), None)
    if unnamed is not None:
        raise DataError(f"{path}, line 1: the value column has no name. Name it after the zone, such as 'AEP_MW'.")
    return Roles(time, hour, values, found)


def _values(
    path: Path, header: list[str], others: list[int], numbers: list[int], columns: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    if not columns and len(others) == 1:
        return tuple(others), ()
    if list(columns) == [ALL]:
        chosen = numbers or others
    elif columns:
        missing = next((name for name in columns if name not in header), None)
        if missing is not None:
            raise DataError(f"{path}, line 1: no column '{missing}'. There are: {', '.join(header[at] for at in others)}.")
        chosen = [header.index(name) for name in columns]
    elif len(numbers) == 1:
        chosen = numbers
    else:
        names = [header[at] for at in numbers or others]
        raise DataError(
            f"{path}, line 1: {len(header)} columns ({', '.join(header)}), but a time column and one value column are read. "
            f"Say which by --column '{names[0]}', which may be given again, or make each a zone by --column all; or give "
            "one file per zone."
        )
    if len(others) == len(chosen):
        return tuple(chosen), (f"a zone per column: {', '.join(header[at] for at in chosen)}",) if len(chosen) > 1 else ()
    return tuple(chosen), (f"of {len(others)} columns {', '.join(repr(header[at]) for at in chosen)}",)


def _is_time(text: str) -> bool:
    return is_stamp(text) or is_epoch(text)


def _mostly(table: Table, at: int, holds: Callable[[str], bool]) -> bool:
    """Return whether more than half of the first rows hold it, of those that are not empty."""
    texts = [row[at].strip() for row in table.rows[:SAMPLE_ROWS]]
    texts = [text for text in texts if not is_missing(text)]
    return 2 * sum(map(holds, texts)) > len(texts)
