"""Times as people write them: the order of day and month, offsets and epochs are decided over all rows of a file."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnncore.errors import ConfigError
from rnncore.forecast.series import HOUR, TimeArray

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
DayArray = npt.NDArray[np.datetime64]

_DATE = r"(?P<a>\d{1,4})(?P<mark>[-/.])(?P<b>\d{1,2})(?P=mark)(?P<c>\d{1,4})"
_CLOCK = r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d+)?)?)?(?:\s?(?P<half>[AaPp])\.?[Mm]\.?)?"
_ZONE = r"\s?(?P<zone>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)"
_STAMP = re.compile(rf"{_DATE}(?:(?:T|,?\s+){_CLOCK}(?:{_ZONE})?)?", re.ASCII)
_COMPACT = re.compile(
    rf"(?P<a>\d{{4}})(?P<b>\d\d)(?P<c>\d\d)(?:[T ]?(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d))?(?:{_ZONE})?)?",
    re.ASCII,
)
_EPOCH = re.compile(r"\d{9,10}|\d{13}", re.ASCII)
_HOUR = re.compile(r"(?:HE?|h)?\s?(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::\d{2})?)?h?", re.ASCII)

# No offset is written.
NO_ZONE = -(10**6)

# Offsets that change with daylight saving hold for weeks; a change for a shorter time is a mistake.
SEASON_DAYS = 7

# Clocks go back once in so many days, at the most.
CLOCKS_BACK_DAYS = 300

# Orders of a date that --date-format takes beside patterns.
ORDERS = ("dmy", "mdy")

REMEDY = "Write times as YYYY-MM-DD HH:MM:SS, or say by --date-format how they are written."


class RowFault(Exception):  # noqa: N818 (a fault of a file, which becomes a DataError with its line)
    """What is wrong with a row.

    Attributes:
        row: Which, from 0; None where it is the column as a whole.
    """

    def __init__(self, row: int | None, text: str) -> None:
        super().__init__(text)
        self.row = row


@dataclass(frozen=True)
class Stamps:
    """Times of rows in file order.

    Attributes:
        time: The times, datetime64[s]. Shape (N,).
        found: How they were read, where that is not as plain ISO 8601.
    """

    time: TimeArray
    found: tuple[str, ...] = ()


def is_stamp(text: str) -> bool:
    """Return whether a text looks like a date or a time, in whatever order; numbers of seconds do not."""
    return _match(text) is not None


def is_date(text: str) -> bool:
    """Return whether a text looks like a date without a time of day."""
    match = _match(text)
    return match is not None and match["hour"] is None


def is_epoch(text: str) -> bool:
    """Return whether a text looks like seconds or milliseconds since 1970."""
    return _EPOCH.fullmatch(text.strip()) is not None


def read_stamps(texts: Sequence[str], date_format: str | None = None) -> Stamps:
    """Read the times of a file.

    Args:
        texts: As written, in file order.
        date_format: `dmy` or `mdy`, or a pattern of strptime; None decides by the rows.

    Raises:
        RowFault: If a row is no time, or the rows leave open which is the day.
        ConfigError: If the pattern is none.
    """
    if date_format and date_format not in ORDERS:
        return _by_pattern(texts, date_format)
    if texts and 2 * sum(map(is_epoch, texts)) > len(texts):
        return _epochs(texts)
    return _written(texts, date_format)


def _match(text: str) -> re.Match[str] | None:
    text = text.strip()
    start, dash, end = text.partition(" - ")
    if dash and _STAMP.fullmatch(end) is not None:  # from when to when
        text = start
    return _STAMP.fullmatch(text) or _COMPACT.fullmatch(text)


def _by_pattern(texts: Sequence[str], date_format: str) -> Stamps:
    import pandas as pd

    zoned = "%z" in date_format
    column = pd.Series([text.strip() for text in texts], dtype=str)
    try:
        read = pd.to_datetime(column, format=date_format, errors="coerce", utc=zoned)
    except (ValueError, re.error) as error:
        raise ConfigError(
            f"--date-format is '{date_format}' ({error}); give dmy, mdy or a pattern such as '%d.%m.%Y %H:%M'."
        ) from error
    bad = np.flatnonzero(read.isna())
    if len(bad):
        raise RowFault(
            int(bad[0]), f"'{texts[bad[0]]}' is not a time written as '{date_format}'. Give another --date-format."
        )
    time = (read.dt.tz_localize(None) if zoned else read).to_numpy().astype("datetime64[s]")
    return Stamps(time, (f"times as '{date_format}'" + (", in UTC" if zoned else ""),))


def _epochs(texts: Sequence[str]) -> Stamps:
    bad = next((row for row, text in enumerate(texts) if not is_epoch(text)), None)
    if bad is not None:
        raise RowFault(bad, f"'{texts[bad]}' is not a time, as the seconds since 1970 of the other rows are. {REMEDY}")
    seconds = np.array([int(text) if len(text.strip()) < 13 else int(text) // 1000 for text in texts], dtype=np.int64)
    return Stamps(seconds.astype("datetime64[s]"), ("times as seconds since 1970, in UTC",))


def _written(texts: Sequence[str], order: str | None) -> Stamps:
    matches = [_match(text) for text in texts]
    kinds = [_kind(match) for match in matches]
    common = Counter(kind for kind in kinds if kind).most_common(1)
    kind = common[0][0] if common else "year first"
    bad = next((row for row, one in enumerate(kinds) if one != kind), None)
    known = [match for match, one in zip(matches, kinds, strict=True) if match is not None and one == kind]
    if bad is not None and not known:
        raise RowFault(bad, _no_time(texts[bad]))
    date = np.array([[int(match[part]) for part in "abc"] for match in known], dtype=np.int64).reshape(-1, 3)
    found: tuple[str, ...] = ()
    if kind == "year last":
        dotted = all(match["mark"] == "." for match in known)
        try:
            order, why = (order, "as asked") if order else _order(date, dotted, [match[0] for match in known])
        except RowFault:
            if bad is None:
                raise
            raise RowFault(bad, _no_time(texts[bad])) from None
        date = date[:, [2, 1, 0] if order == "dmy" else [2, 0, 1]]
        found = (f"dates as {'day, month, year' if order == 'dmy' else 'month, day, year'} ({why})",)
    clock = np.array([_clock(match) for match in known], dtype=np.int64).reshape(-1, 4)
    valid = _is_date(date) & (clock[:, 0] >= 0)
    rows = np.array([row for row, one in enumerate(kinds) if one == kind], dtype=np.int64)
    wrong = [int(row) for row in rows[~valid][:1]] + ([] if bad is None else [bad])
    if wrong:
        raise RowFault(min(wrong), _no_time(texts[min(wrong)]))
    time = _months(date).astype("datetime64[D]").astype("datetime64[s]") + ((date[:, 2] - 1) * 86400 + clock[:, 0]).astype(
        "timedelta64[s]"
    )
    time, more = _without_offsets(texts, time, clock[:, 1])
    return Stamps(time, (*found, *more))


def _no_time(text: str) -> str:
    return f"'{text}' is not a time. {REMEDY}"


def _kind(match: re.Match[str] | None) -> str | None:
    if match is None:
        return None
    if len(match["a"]) == 4 and len(match["c"]) <= 2:
        return "year first"
    return "year last" if len(match["c"]) == 4 and len(match["a"]) <= 2 else None


def _order(date: IntArray, dotted: bool, texts: Sequence[str]) -> tuple[str, str]:
    """Return whether day or month comes first, and by which row; *date* holds first, second and year."""
    day_first, month_first = np.flatnonzero(date[:, 0] > 12), np.flatnonzero(date[:, 1] > 12)
    if len(day_first) or len(month_first):  # a row that contradicts the others is no date, and named as such
        order, rows = ("dmy", day_first) if len(day_first) >= len(month_first) else ("mdy", month_first)
        return order, f"by '{texts[rows[0]]}'"
    if dotted:
        return "dmy", "as is usual with points"
    raise RowFault(
        None,
        f"'{texts[0]}' may begin with the day or the month, and no row decides it. Give --date-format dmy, or mdy.",
    )


def _clock(match: re.Match[str]) -> tuple[int, int, int, int]:
    """Return seconds after midnight (-1 if there is no such time), and the offset in seconds."""
    groups = match.groupdict()
    hour, minute, second = (int(groups[part] or 0) for part in ("hour", "minute", "second"))
    half = (groups.get("half") or "").lower()
    is_right = minute < 60 and second < 60 and (hour < 24 or (hour == 24 and minute == second == 0 and not half))
    if half:
        is_right, hour = is_right and 1 <= hour <= 12, hour % 12 + (12 if half == "p" else 0)
    zone, offset = groups["zone"], NO_ZONE
    if zone:
        digits = zone[1:].replace(":", "") if zone[0] in "+-" else "00"
        offset = int(zone[0] + "1" if zone[0] in "+-" else 1) * (int(digits[:2]) * 3600 + int(digits[2:] or 0) * 60)
    return (hour * 3600 + minute * 60 + second if is_right else -1), offset, 0, 0


def _months(date: IntArray) -> npt.NDArray[np.datetime64]:
    return ((date[:, 0] - 1970) * 12 + np.clip(date[:, 1], 1, 12) - 1).astype("datetime64[M]")


def _is_date(date: IntArray) -> BoolArray:
    first = _months(date)
    days = ((first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")).astype(np.int64)
    year, month, day = date.T
    right: BoolArray = (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= days)
    return right


def _without_offsets(texts: Sequence[str], time: TimeArray, offset_s: IntArray) -> tuple[TimeArray, tuple[str, ...]]:
    """Return times of one offset: as written where there is but one, else in the smallest, which is standard time."""
    offsets = np.unique(offset_s)
    if len(offsets) <= 1:
        return time, ()
    mixed = "differs from that before it (mixed time zones). Write all times in one zone."
    order = np.argsort(time - offset_s.astype("timedelta64[s]"), kind="stable")
    changes = np.flatnonzero(np.diff(offset_s[order])) + 1
    runs = np.split(order, changes)
    short = [
        run[0] for run in runs[1:-1] if time[run[-1]] - time[run[0]] < np.timedelta64(SEASON_DAYS, "D") and len(runs) > 2
    ]
    if offsets[0] == NO_ZONE or offsets[-1] - offsets[0] > 3600 or short:
        usual = Counter(offset_s.tolist()).most_common(1)[0][0]
        first = int(np.flatnonzero(offset_s != (offset_s[0] if offsets[0] == NO_ZONE else usual))[0])
        raise RowFault(first, f"time zone of '{texts[first]}' {mixed}")
    standard = offsets[0]
    names = " and ".join(_zone_name(int(one)) for one in offsets)
    return time - (offset_s - standard).astype("timedelta64[s]"), (
        f"offsets {names}: all times in {_zone_name(int(standard))}",
    )


def _zone_name(offset_s: int) -> str:
    return f"{'-' if offset_s < 0 else '+'}{abs(offset_s) // 3600:02}:{abs(offset_s) // 60 % 60:02}"


def is_hour(text: str) -> bool:
    """Return whether a text looks like an hour of the day, such as `7`, `07:00`, `H7` or `25`."""
    match = _HOUR.fullmatch(text.strip())
    return match is not None and int(match["hour"]) <= 25


def with_hours(dates: Stamps, texts: Sequence[str]) -> Stamps:
    """Return times from dates and the hours in a column of their own.

    Hours from 1 to 24 are the first to the last of a day. Where the last is the 25th, clocks went back: from the fourth on
    hours are one earlier, so that the third is there twice. Where it is the 23rd and none is missing, they went forward.

    Args:
        dates: The days.
        texts: Hours as written.

    Raises:
        RowFault: If a row is no hour, hours run from 0 to 24 or beyond, or more days have a 25th than clocks go back.
    """
    matches = [_HOUR.fullmatch(text.strip()) for text in texts]
    bad = next((row for row, one in enumerate(matches) if one is None or int(one["hour"]) > 25), None)
    if bad is not None:
        raise RowFault(bad, f"'{texts[bad]}' is not an hour. Write hours as 0 to 23, or as 1 to 24.")
    hour = np.array([int(match["hour"]) for match in matches if match], dtype=np.int64)
    minute = np.array([int(match["minute"] or 0) for match in matches if match], dtype=np.int64)
    if hour.min() == 0:
        if hour.max() > 23:
            row = int(np.argmax(hour > 23))
            raise RowFault(row, f"hour '{texts[row]}', although others are 0. Write hours as 0 to 23, or as 1 to 24.")
        return Stamps(
            dates.time + (hour * 60 + minute).astype("timedelta64[m]"), (*dates.found, "hours 0 to 23 beside the date")
        )
    found = ["hours 1 to 24 beside the date, 1 being the first"]
    begins = hour - 1
    days = dates.time.astype("datetime64[D]")
    long, short = days[hour == 25], _short_days(days, hour)
    span_days = (days.max() - days.min()).astype(np.int64)
    if len(np.unique(long)) > 1 + span_days // CLOCKS_BACK_DAYS:
        row = int(np.argmax(hour == 25))
        raise RowFault(
            row,
            f"hour '{texts[row]}', as on {len(np.unique(long))} days, although clocks go back once a year. Leave out the "
            "rows of a 25th hour on all other days.",
        )
    if len(long):
        begins -= np.isin(days, long) & (hour > 3)
        found.append(f"days with a 25th hour, the third being there twice: {len(np.unique(long))}")
    if len(short):
        begins += np.isin(days, short) & (hour > 2)
        found.append(f"days of 23 hours, the third being left out: {len(short)}")
    return Stamps(dates.time + begins * HOUR + minute.astype("timedelta64[m]"), (*dates.found, *found))


def _short_days(days: DayArray, hour: IntArray) -> DayArray:
    """Return the days with hours 1 to 23 and no 24th, the last day apart, which may just end there."""
    unique, of = np.unique(days, return_inverse=True)
    most = np.zeros(len(unique), dtype=np.int64)
    np.maximum.at(most, of, hour)
    is_short = (most == 23) & (np.bincount(of) == 23) & (np.bincount(of) == np.bincount(of, hour <= 23))
    is_short[[0, -1]] = False
    short: DayArray = unique[is_short]
    return short
