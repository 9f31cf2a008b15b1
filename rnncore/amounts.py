"""Amounts as people read them: how many there are of a thing, and the units of time."""

from collections.abc import Iterable

# Each with its seconds, from the largest.
TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def counted(count: int, noun: str) -> str:
    """Return a number of things: `1 file`, `2 files`."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def time_unit(seconds: Iterable[float]) -> tuple[float, str]:
    """Return the seconds and the name of the unit in which the smallest of some times reads as at least 1."""
    smallest = min(seconds)
    return next((unit for unit in TIME_UNITS if smallest >= unit[0]), TIME_UNITS[-1])
