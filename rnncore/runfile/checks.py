"""Checks of values from a file: what is allowed, and one line that says what is there instead.

A check yields the faults of a value. Small ones are joined to those of lists and objects.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rnncore.errors import RunFileError

# What a fact's name is followed by in that of the reason for which it is None.
_WHY = "_why"


class Fault(NamedTuple):
    """A value that is not what readers rely on.

    Attributes:
        where: Its key, with those it lies in: `training.curve[2].loss`.
        value: What is there; `MISSING` where nothing is.
        allowed: What may be there, in words.
    """

    where: str
    value: Any
    allowed: str


MISSING = object()

# What yields the faults of a value; keys within it are joined to the first argument.
Check = Callable[[str, Any], Iterator[Fault]]

# Beyond what any clock, memory or rate reaches, and within what arithmetic on it keeps finite.
_LARGEST = 1e18
_SHORTEST_S, _LONGEST_S = 1e-12, 1e9
_SHOWN = 60

_UNSERIALIZABLE = "UNSERIALIZABLE["


def is_number(value: Any) -> bool:
    """Say whether a value is a number that arithmetic keeps finite; no NaN, no infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def is_seconds(value: Any) -> bool:
    """Say whether a value is a time that a clock can measure, in seconds."""
    return is_number(value) and bool(_SHORTEST_S <= value <= _LONGEST_S)


def moment(text: str) -> datetime:
    """Return a time of ISO 8601 in UTC, which one without a zone is in.

    Raises:
        ValueError: If the text is no such time.
        OverflowError: If calendars do not hold it.
    """
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def is_moment(value: Any) -> bool:
    """Say whether a value is a time in ISO 8601, within what calendars and time zones hold."""
    try:
        moment(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def is_folder_name(text: str) -> bool:
    """Say whether a text names a folder in its parent, and leads nowhere else."""
    return text not in ("", ".", "..") and not {"/", "\\", "\0"} & set(text)


def one(allowed: str, holds: Callable[[Any], bool]) -> Check:
    """Return the check of a single value: what is allowed, in words, and whether it holds."""

    def check(where: str, value: Any) -> Iterator[Fault]:
        if not holds(value):
            yield Fault(where, value, allowed)

    return check


def or_none(check: Check) -> Check:
    """Return the check of a value that may be null."""

    def checked(where: str, value: Any) -> Iterator[Fault]:
        if value is not None:
            for fault in check(where, value):
                yield fault._replace(allowed=f"{fault.allowed}, or null") if fault.where == where else fault

    return checked


def list_of(check: Check, fewest: int = 0) -> Check:
    """Return the check of a list: of each item, and of how many there are at least."""

    def checked(where: str, value: Any) -> Iterator[Fault]:
        if not isinstance(value, list) or len(value) < fewest:
            yield Fault(where, value, f"a list{' that is not empty' if fewest else ''}")
            return
        for index, one in enumerate(value):
            # Of thousands of items without a fault none needs a name.
            for fault in check("", one):
                yield fault._replace(where=_within(f"{where}[{index}]", fault.where))

    return checked


def reason_of(fact: str) -> str:
    """Return the name under which the reason is for which a fact is None."""
    return f"{fact}{_WHY}"


def is_reason(name: str) -> bool:
    """Say whether a name is that of such a reason."""
    return name.endswith(_WHY)


def object_of(check: Check, fewest: int = 0) -> Check:
    """Return the check of an object with keys of any name."""

    def checked(where: str, value: Any) -> Iterator[Fault]:
        if not isinstance(value, Mapping) or len(value) < fewest:
            yield Fault(where, value, f"an object{' that is not empty' if fewest else ''}")
            return
        for name, one in value.items():
            if not is_reason(name):
                yield from check(joined(where, name), one)

    return checked


def object_with(needed: Mapping[str, Check], **others: Check) -> Check:
    """Return the check of an object that must have some keys and may have others."""

    def checked(where: str, value: Any) -> Iterator[Fault]:
        if not isinstance(value, Mapping):
            yield Fault(where, value, "an object")
            return
        for name, check in needed.items():
            if name in value:
                yield from check(joined(where, name), value[name])
            else:
                yield Fault(joined(where, name), MISSING, "there")
        for name, check in others.items():
            if name in value:
                yield from check(joined(where, name), value[name])

    return checked


def _within(where: str, rest: str) -> str:
    """Return a place in a place: `curve[2]` with nothing, with `loss`, and with `[0]`."""
    return f"{where}{rest}" if rest.startswith("[") else joined(where, rest) if rest else where


def joined(where: str, name: str) -> str:
    """Return the place of a key in a place: `training` and `curve` give `training.curve`."""
    return f"{where}.{name}" if where else name


TEXT = one("a text", lambda value: isinstance(value, str))
NAME = one("a text that is not empty", lambda value: isinstance(value, str) and value != "")
COMMIT = one("a text or a whole number", lambda value: isinstance(value, str | int) and not isinstance(value, bool))
YES_NO = one("true or false", lambda value: isinstance(value, bool))
NUMBER = one("a number", is_number)
NOT_NEGATIVE = one("a number that is not negative", lambda value: is_number(value) and value >= 0)
POSITIVE = one("a number above 0", lambda value: is_number(value) and value > 0)
COUNT = one("a whole number that is not negative", lambda value: is_number(value) and type(value) is int and value >= 0)
SIZE = one("a whole number above 0", lambda value: is_number(value) and type(value) is int and value > 0)
MOMENT = one("a time in ISO 8601", is_moment)
FOLDER = one("the name of a folder, without a path", lambda value: isinstance(value, str) and is_folder_name(value))
SECONDS = one(f"seconds, a number from {_SHORTEST_S:g} to {_LONGEST_S:g}", is_seconds)


def refuse(where: str, faults: Iterator[Fault], advice: str | None = None) -> None:
    """Raise for the first fault, in one line.

    Args:
        where: File, and benchmark where there is one.
        faults: What is wrong there.
        advice: What to do; None for that on files and benchmarks of rnncore's suites.

    Raises:
        RunFileError: If anything is.
    """
    fault = next(faults, None)
    if fault is None:
        return
    recorded = isinstance(fault.value, str) and fault.value.startswith(_UNSERIALIZABLE)
    raise RunFileError(f"{where}: {words(fault)}. {_ADVICE_ON_TYPES if recorded else advice or _ADVICE}")


def words(fault: Fault) -> str:
    """Return a fault as a sentence without its full stop."""
    where = one_line(fault.where) if fault.where else "it"
    if fault.value is MISSING:
        return f"{where} is missing"
    return f"{where} is {shown(fault.value)}, and must be {fault.allowed}"


_ADVICE = "Make the run again with 'pytest --benchmark-autosave', or record what is allowed with rnn_benchmark.record."
_ADVICE_ON_TYPES = "JSON cannot hold what was recorded: record float(x), int(x) or str(x), and make the run again."


def shown(value: Any) -> str:
    """Return a value as short text on one line."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object of {len(value)} keys"
    text = {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def one_line(text: str) -> str:
    """Return a name from a file as one line that moves no cursor."""
    line = " ".join(text.split()) if text.split() else repr(text)
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)
