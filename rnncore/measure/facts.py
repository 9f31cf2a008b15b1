"""What may be recorded beside a time: JSON values, and how values of NumPy become such."""

import math
from collections.abc import Mapping
from typing import Any

from rnncore.runfile.checks import reason_of

ALLOWED = (
    "None, true and false, numbers, texts, scalars and arrays of NumPy or torch, and lists, tuples and dicts of these, "
    "with texts for keys"
)

# A value, and why there is none where it is None.
Fact = tuple[Any, str | None]

# Integers beyond these end readers that hold them in 64 bits.
_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1


def json_value(key: str, value: object) -> Any:
    """Return a value as JSON holds it; NaN and infinity, which JSON has not, become None.

    Args:
        key: What it is recorded as, for the error.
        value: Any of `ALLOWED`.

    Raises:
        TypeError: If it is or holds anything else; says what and where.
    """
    try:
        return _json_value(key, value)
    except RecursionError:
        raise _refused(key, "holds itself") from None


def _json_value(where: str, value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int) and _MIN_INT <= value <= _MAX_INT:
        return int(value)
    if isinstance(value, str):
        # Half a pair of UTF-16, as names of files may have it, is no text to strict readers.
        return str.__str__(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise _refused(where, f"has a key that {_shown(name)}")
        return {str(_json_value(where, name)): _json_value(f"{where}[{name!r}]", inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(f"{where}[{index}]", inner) for index, inner in enumerate(value)]
    as_python = getattr(value, "tolist", None)
    inner = as_python() if callable(as_python) else value
    # What NumPy has no Python value for gives itself.
    if type(inner) is type(value):
        raise _refused(where, _shown(value))
    return _json_value(where, inner)


def _refused(where: str, what: str) -> TypeError:
    return TypeError(f"{where} {what}, which a run file cannot hold; record {ALLOWED}.")


def _shown(value: object) -> str:
    if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
        return f"is an integer of {value.bit_length()} bits"
    kind = type(value)
    return f"is of type {kind.__qualname__ if kind.__module__ == 'builtins' else f'{kind.__module__}.{kind.__qualname__}'}"


def with_reasons(facts: Mapping[str, Fact]) -> dict[str, Any]:
    """Return the values by name, each that is None followed by its reason under `<name>_why`."""
    values: dict[str, Any] = {}
    for name, (value, why) in facts.items():
        values |= {name: value} if value is not None else {name: None, reason_of(name): why}
    return values


def make_writable(facts: dict[str, Any]) -> None:
    """Make JSON values of facts that were written past `json_value`; what cannot be is None, with the reason beside it.

    Args:
        facts: By key; changed in place, for others hold the dict too.
    """
    for key, value in list(facts.items()):
        name = key if isinstance(key, str) else str(key)
        if name is not key:
            del facts[key]
        try:
            facts[name] = json_value(name, value)
        except TypeError as error:
            facts.update({name: None, reason_of(name): str(error)})
        else:
            if facts[name] is None and value is not None:
                facts[reason_of(name)] = f"it is {value}"


def put_facts(extra: dict[str, Any], **facts: object) -> None:
    """Put facts into a row's `extra_info`. A known fact replaces the reason why it was not known.

    Args:
        extra: The row's.
        facts: As `json_value` takes them; NaN and infinity become None, with the reason under `<key>_why`.

    Raises:
        TypeError: If a fact is or holds what JSON cannot; nothing is put then.
    """
    for key, value in {key: json_value(key, value) for key, value in facts.items()}.items():
        extra[key] = value
        if value is not None:
            extra.pop(reason_of(key), None)
        elif facts[key] is not None:
            # JSON has no such number.
            extra[reason_of(key)] = f"it is {facts[key]}"
