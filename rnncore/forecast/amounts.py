"""Numbers as people write them: decimal comma and thousands are decided over a whole column; a missing one is NaN."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rnncore.forecast.series import FloatArray
from rnncore.forecast.stamps import RowFault

# Far above any load in any unit; beyond it squares of loads overflow.
MAX_LOAD_MW = 1e18

# What stands for a value that is missing.
MISSING = {"", "-", "na", "n/a", "#n/a", "nan", "null", "none"}

REMEDY = "Give a finite number in MW, or leave the row out, as --clean does."
NUMBER_REMEDY = "Give a finite number in MW, or leave the row out."

_EXPONENT = r"(?:[eE][+-]?\d+)?"
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
# Between thousands, beside the mark that is not the decimal one.
_SPACES = " '\u00a0\u202f\u2019"
_OTHER = {".": ",", ",": "."}
_LOOSE = re.compile(rf"[+-]?[\d.,{_SPACES}]*\d[\d.,{_SPACES}]*{_EXPONENT}", re.ASCII)


@dataclass(frozen=True)
class Amounts:
    """The numbers of a column.

    Attributes:
        value: The numbers; NaN where one is missing. Shape (N,).
        found: How they were read, where that is not plainly with decimal points.
    """

    value: FloatArray
    found: tuple[str, ...] = ()


def is_amount(text: str) -> bool:
    """Return whether a text looks like a number, however its decimals are written."""
    return _LOOSE.fullmatch(text.strip()) is not None


def is_missing(text: str) -> bool:
    """Return whether a text says that a value is missing."""
    return text.strip().lower() in MISSING


def missing_fault(text: str) -> str:
    """Return what is wrong with a value that is missing."""
    if not text.strip():
        return f"the value is empty. {REMEDY}"
    return f"'{text}' is not {'finite' if text.strip().lower() == 'nan' else 'a number'}. {REMEDY}"


def read_amounts(texts: Sequence[str], decimal: str | None = None) -> Amounts:
    """Read the numbers of a column.

    Args:
        texts: As written, in file order.
        decimal: `.` or `,`; None decides by the rows.

    Raises:
        RowFault: If a row is no number and not missing, infinite or beyond every load, or the rows leave open which mark is
            the decimal one.
    """
    trimmed = [text.strip() for text in texts]
    mark = decimal or _decimal(trimmed)
    number, drop = _number(mark), _plain_marks(mark)
    value = np.full(len(texts), np.nan)
    for row, text in enumerate(trimmed):
        if is_missing(text):
            continue
        fault = _fault(text, number, drop)
        if fault:
            raise RowFault(row, fault)
        value[row] = float(text.translate(drop))
    thousands = any(one in text for text in trimmed for one in _OTHER[mark] + _SPACES)
    found = [f"decimal {'commas' if mark == ',' else 'points'}"] if mark == "," or thousands else []
    return Amounts(value, (*found, *(["thousands apart"] if thousands else [])))


def _number(mark: str) -> re.Pattern[str]:
    """Return the pattern of numbers with this decimal mark, thousands apart or not."""
    group = f"[{_OTHER[mark]}{_SPACES}]"
    whole, mark = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)", re.escape(mark)
    return re.compile(rf"[+-]?(?:{whole}(?:{mark}\d*)?|{mark}\d+){_EXPONENT}", re.ASCII)


def _plain_marks(mark: str) -> dict[int, str]:
    """Return what `translate` makes a number of such a pattern one of Python's with."""
    return str.maketrans({mark: ".", **dict.fromkeys(_OTHER[mark] + _SPACES, "")})


def _fault(text: str, number: re.Pattern[str], drop: dict[int, str]) -> str | None:
    """Return what is wrong with a text as a load."""
    if _INFINITE.fullmatch(text):
        return f"'{text}' is not finite. {NUMBER_REMEDY}"
    if number.fullmatch(text) is None:
        return f"'{text}' is not a number. {NUMBER_REMEDY}"
    value = abs(float(text.translate(drop)))
    if value <= MAX_LOAD_MW:
        return None
    return f"'{text}' is {'not finite' if np.isinf(value) else f'beyond {MAX_LOAD_MW:g}, and no load'}. {NUMBER_REMEDY}"


def _decimal(texts: Sequence[str]) -> str:
    """Return the decimal mark of a column, by the rows that leave no doubt; a point where no row has a comma."""
    numbers = {mark: _number(mark) for mark in _OTHER}
    votes = dict.fromkeys(numbers, 0)
    doubtful = None
    for text in texts:
        mark = _shown_mark(text)
        if mark is None:
            doubtful = doubtful or (text if is_amount(text) and "," in text else None)
        elif numbers[mark].fullmatch(text):
            votes[mark] += 1
    if votes["."] != votes[","] or doubtful is None:
        return max(votes, key=lambda mark: votes[mark])
    for row, text in enumerate(texts):
        faults = [_fault(text, numbers[mark], _plain_marks(mark)) for mark in numbers]
        if faults[0] and all(faults) and not is_missing(text):
            raise RowFault(row, faults[0])
    raise RowFault(
        None, f"'{doubtful}' may have a decimal comma or thousands, and no row decides it. Give --decimal , or --decimal ."
    )


def _shown_mark(text: str) -> str | None:
    """Return the decimal mark that a number shows; None where it has none, or may be read with either."""
    points, commas = text.count("."), text.count(",")
    if points and commas:
        return "," if text.rfind(",") > text.rfind(".") else "."
    if points > 1 or commas > 1:
        return "," if points > 1 else "."
    if not points and not commas:
        return None
    mark = "." if points else ","
    whole, _, part = text.strip("+-").partition(mark)
    return None if len(part) == 3 and 1 <= len(whole) <= 3 and whole.isdigit() and whole[0] != "0" else mark
