"""Amounts as people read them: how many there are of a thing, and the units of time and of power."""

import statistics
from collections.abc import Iterable

# Each with its seconds, from the largest.
TIME_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))

# Each with its MW and the MW of the smallest amounts that are written in it, from the largest. Loads of thousands of MW are
# read as such everywhere.
POWER_UNITS = ((1e3, "GW", 1e5), (1.0, "MW", 1.0), (1e-3, "kW", 1e-3), (1e-6, "W", 0.0))


def counted(count: int, noun: str) -> str:
    """Return a number of things: `1 file`, `2 files`."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def time_unit(seconds: Iterable[float]) -> tuple[float, str]:
    """Return the seconds and the name of the unit in which the smallest of some times reads as at least 1."""
    smallest = min(seconds)
    return next((unit for unit in TIME_UNITS if smallest >= unit[0]), TIME_UNITS[-1])


def power_unit(amounts_mw: Iterable[float]) -> tuple[float, str]:
    """Return the MW and the name of the unit for a table of amounts of power, by the median of those that are not 0."""
    sizes = [abs(amount) for amount in amounts_mw if amount]
    usual = statistics.median(sizes) if sizes else 1.0
    return next((scale_mw, name) for scale_mw, name, fewest_mw in POWER_UNITS if usual >= fewest_mw)
