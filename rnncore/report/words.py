"""Units, digits and names: one wording for tables, sentences and charts."""

import math
import statistics
from collections.abc import Collection, Sequence
from pathlib import PurePath

from rnncore.amounts import time_unit
from rnncore.runfile.record import Record, Run

# Significant digits of a figure whose interval leaves meaning to more.
MOST_DIGITS = 4

# Of the standard normal distribution, two-sided.
NORMAL_95 = 1.96

# Half the 95 % interval of the median of n values over their interquartile range, times the root of n.
NOTCH = NORMAL_95 * math.sqrt(math.pi / 2) / (2 * 0.6745)

BASELINE_NAMES = {
    "persistence": "Persistence, y[t-1]",
    "seasonal_naive_24": "Same hour yesterday",
    "seasonal_naive_168": "Same hour a week ago",
    "ar_90": "AR(90), least squares",
    "per_hour_regressions": "24 per-hour regressions",
    "gradient_boosting": "Gradient boosting, a model per zone",
}


def significant(value: float, digits: int = 3) -> str:
    """Return a number with *digits* significant digits, thousands apart, no exponent."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    return _to_decimals(value, digits - 1 - _exponent(value))


def time_text(seconds: float, digits: int = 3) -> str:
    """Return a time in its own unit."""
    scale, unit = time_unit([seconds])
    return f"{significant(seconds / scale, digits)} {unit}"


def shared_unit(seconds: Collection[float]) -> tuple[float, str] | None:
    """Return the seconds and the name of the unit for a column of times, that of their median.

    None where one of them is less than a tenth of it, or below a microsecond where it is longer, or a hundred thousand of it
    and more: each has its own unit then.
    """
    unit_s, name = time_unit([statistics.median(seconds)])
    is_short = is_below_microsecond(min(seconds)) and not is_below_microsecond(unit_s)
    return (unit_s, name) if unit_s / 10 <= min(seconds) and max(seconds) < 1e5 * unit_s and not is_short else None


def is_below_microsecond(seconds: float) -> bool:
    """Say whether a time reads as a whole number of nanoseconds, and of any larger unit as a fraction."""
    return 0 < seconds < 1e-6


def between(low: float, value: float, high: float, digits: int = 3) -> tuple[str, str, str]:
    """Return a value and the bounds that hold it, such that they hold it as they are written too.

    Args:
        low: Lower bound; three significant digits.
        value: What lies between.
        high: Upper bound; three significant digits.
        digits: Significant digits of the value. Where its rounding would put it out of bounds, all three get as many
            decimals as any of them.
    """
    low_text, text, high_text = in_order([(low, 3), (value, digits), (high, 3)])
    return low_text, text, high_text


def in_order(ascending: Sequence[tuple[float, int]]) -> list[str]:
    """Return ascending numbers such that they ascend as they are written too.

    Args:
        ascending: Numbers, each with its significant digits. Where the rounding of one would put it out of order, all get as
            many decimals as any of them.
    """
    decimals = [count - 1 - _exponent(number) for number, count in ascending]
    rounded = [round(number, places) for (number, _), places in zip(ascending, decimals, strict=True)]
    if sorted(rounded) != rounded:
        decimals = [max(decimals)] * len(decimals)
    return [_to_decimals(number, places) for (number, _), places in zip(ascending, decimals, strict=True)]


def _to_decimals(value: float, decimals: int) -> str:
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def measured(value: float, record: Record) -> str:
    """Return a figure that goes with a record's median, with as many digits as the median's interval leaves meaning.

    Args:
        value: The median in some unit, or what follows from it, such as windows per second.
        record: Whose rounds give the interval.
    """
    return significant(value, digits(value, record)) if math.isfinite(value) else str(value)


def median_text(record: Record) -> str:
    """Return a record's median in its own unit, with as many digits as its interval leaves meaning."""
    return time_text(record.median_s, digits(record.median_s, record))


def digits(value: float, record: Record) -> int:
    """Return how many digits the interval of a record's median leaves meaning."""
    half = value * half_interval(record)
    # Down to the first digit of the half interval.
    return MOST_DIGITS if not half else min(MOST_DIGITS, max(2, _exponent(value) - _exponent(half) + 1))


def half_interval(record: Record) -> float:
    """Return half the 95 % interval of the median of a record's rounds, as a share of it.

    Source:
        Conover, W. J. (1999). Practical nonparametric statistics, 3rd ed., section 3.2: order statistics as confidence
        limits of a quantile, by the normal approximation to the binomial. Where there are quartiles alone: McGill, R.,
        Tukey, J. W. & Larsen, W. A. (1978). Variations of box plots. The American Statistician 32(1), 12-16: by the normal
        distribution of the same quartiles.
    """
    ordered, count = sorted(record.rounds_s), len(record.rounds_s)
    if not ordered:
        low_s, high_s = record.quartiles_s
        return NOTCH * (high_s - low_s) / math.sqrt(record.rounds) / record.median_s
    first = max(0, int(count / 2 - NORMAL_95 * math.sqrt(count) / 2))
    return (ordered[count - 1 - first] - ordered[first]) / 2 / statistics.median(ordered)


def _exponent(value: float) -> int:
    return int(f"{abs(value):e}".split("e")[1])


def times(ratio: float) -> str:
    """Return a ratio in words: `1.33x slower`, `1.20x faster` or `equal`."""
    if 0.995 <= ratio <= 1.005:
        return "equal"
    return f"{ratio:.2f}x slower" if ratio > 1 else f"{1 / ratio:.2f}x faster"


def ratio_within(ratio: float, low: float | None, high: float | None) -> str:
    """Return a ratio in words, with its interval where there is one."""
    return times(ratio) if low is None or high is None else f"{times(ratio)} ({times(low)} to {times(high)})"


def bytes_text(count: int | None) -> str:
    """Return a number of bytes in MiB, or a dash."""
    return "–" if count is None else f"{count / 2**20:,.0f} MiB"


def gflop_text(record: Record) -> str | None:
    """Return the floating-point operations that a record reaches, with their share of the machine's best."""
    rate, share_pct = record.gflop_per_s, record.gemm_ceiling_pct
    if rate is None:
        return None
    return measured(float(rate), record) + ("" if share_pct is None else f" ({share_pct:.0f} %)")


def how(record: Record) -> str:
    """Name the runtime, device and precision of a record."""
    parts = [str(record.runtime_title), {"cpu": "CPU", "cuda": "CUDA"}.get(record.device, str(record.device))]
    parts += [str(record.precision)] if record.precision else []
    parts += ["with copies"] if record.clock == "host" else ["without copies"] if record.is_device_only else []
    return ", ".join(parts)


def letter(index: int) -> str:
    """Return the letter of a run among several: A is the first, and AA comes after Z."""
    before, last = divmod(index, 26)
    return (letter(before - 1) if before else "") + chr(ord("A") + last)


def lettered_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs among several, each after its letter."""
    return [f"{letter(index)}: {name}" for index, name in enumerate(run_names(runs))]


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return short names of runs, no two alike: their files', or else their machines', or else with their folders."""
    machines = [(run.fingerprint.get("cpu"), (run.fingerprint.get("gpu") or {}).get("name")) for run in runs]
    folders = [run.path.absolute().parts for run in runs]
    for names in (
        [run.path.name for run in runs],
        [", ".join(str(name) for name in known if name) or "unknown CPU" for known in machines],
        *([PurePath(*parts[-count:]).as_posix() for parts in folders] for count in range(2, max(map(len, folders)) + 1)),
    ):
        if len(set(names)) == len(runs):
            return names
    return [f"{run.path.name} ({letter(index)})" for index, run in enumerate(runs)]
