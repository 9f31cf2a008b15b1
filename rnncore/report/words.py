"""Units, digits and names: one wording for tables, sentences and charts."""

import math
import re
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import TypeGuard

from rnncore.amounts import time_unit
from rnncore.runfile.record import Record, Run

# Of the standard normal distribution, two-sided.
NORMAL_95 = 1.96

# Half the 95 % interval of the median of n values over their interquartile range, times the root of n.
NOTCH = NORMAL_95 * math.sqrt(math.pi / 2) / (2 * 0.6745)

# Between these a ratio reads as 1.00, and nothing is called slower or faster by 1.00.
_EQUAL = (0.995, 1.005)

BASELINE_NAMES = {
    "persistence": "Persistence, y[t-1]",
    "seasonal_naive_24": "Same hour yesterday",
    "seasonal_naive_168": "Same hour a week ago",
    "ar_90": "AR(90), least squares",
    "per_hour_regressions": "24 per-hour regressions",
    "gradient_boosting": "Gradient boosting, a model per zone",
}

# What the times of a GPU include.
_CLOCKS = {"device": "without copies", "host": "with copies", "pinned": "with copies of page-locked memory"}

# What makers put into the names of their CPUs and GPUs, and nobody says.
_NOT_SAID = re.compile(r"\((?:R|TM|C)\)|(?:\bCPU )?@ [\d.]+ ?GHz|\bProcessor\b|\b\d+-Core\b", re.IGNORECASE)

# The name that pytest-benchmark gives to a saved run: number, commit, day, time, and what was not committed.
_SAVED_NAME = re.compile(r"(\d{4})_([0-9a-f]{40}|unversioned)_\d{8}_\d{6}\S*\.json")


def significant(value: float, digits: int = 3) -> str:
    """Return a number with *digits* significant digits, thousands apart, no exponent.

    What is larger is never written as smaller, so that a median lies within its range as both are written.
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    decimals = digits - 1 - _exponent(value)
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


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


def half_interval(record: Record) -> float:
    """Return half the 95 % interval of the median of a record's rounds, as a share of it.

    Source:
        Conover, W. J. (1999). Practical nonparametric statistics, 3rd ed., section 3.2: order statistics as confidence
        limits of a quantile, by the normal approximation to the binomial. Where there are quartiles alone: McGill, R.,
        Tukey, J. W. & Larsen, W. A. (1978). Variations of box plots. The American Statistician 32(1), 12-16: by the normal
        distribution of the same quartiles.
    """
    if not record.rounds_s:
        low_s, high_s = record.quartiles_s
        return NOTCH * (high_s - low_s) / math.sqrt(record.rounds) / record.median_s
    low_s, high_s = median_interval_s(record)
    return (high_s - low_s) / 2 / record.median_s


def median_interval_s(record: Record) -> tuple[float, float]:
    """Return the 95 % interval of the median of a record's rounds, in seconds; it holds the median (`half_interval`)."""
    ordered, count = sorted(record.rounds_s), len(record.rounds_s)
    if not ordered:
        # The median of rounds lies between the quickest and the slowest, how far apart the quartiles may be.
        half_s = half_interval(record) * record.median_s
        return max(record.quickest_s, record.median_s - half_s), min(record.slowest_s, record.median_s + half_s)
    first = max(0, int(count / 2 - NORMAL_95 * math.sqrt(count) / 2))
    return ordered[first], ordered[count - 1 - first]


def _exponent(value: float) -> int:
    return int(f"{abs(value):e}".split("e")[1])


def times(ratio: float, more: str = "slower", less: str = "faster") -> str:
    """Return a ratio in words: `1.33x slower`, `12.7x faster` or `equal`.

    Args:
        ratio: Of the one to the other.
        more: What it is called above 1.
        less: What it is called below 1.
    """
    side = _side(ratio)
    return f"{_factor(ratio)}x {more if side > 0 else less}" if side else "equal"


def ratio_within(ratio: float, low: float | None, high: float | None, more: str = "slower", less: str = "faster") -> str:
    """Return a ratio in words, with its interval where there is one, from small to large and each word once.

    `12.7x faster (12.3 to 17.4)`, `1.04x faster (1.02x slower to 3.05x faster)`, `equal (up to 1.10x slower)`.

    Args:
        ratio: Of the one to the other.
        low: Lower end of its interval.
        high: Its upper end.
        more: What it is called above 1.
        less: What it is called below 1.
    """
    said = times(ratio, more, less)
    if not (is_ratio(low) and is_ratio(high)):
        return said
    side, sides = _side(ratio), (_side(low), _side(high))
    if side > 0 and min(sides) >= 0:
        return f"{said} ({_factor(max(low, 1))} to {_factor(high)})"
    if side < 0 and max(sides) <= 0:
        return f"{said} ({_factor(min(high, 1))} to {_factor(low)})"
    if sides == (0, 0):
        return f"{said} (to within 0.5 %)"
    ends = [times(end, more, less) for end, of in ((low, sides[0]), (high, sides[1])) if of]
    # As the ratio is said: of what is faster, the end that is slower is the small one.
    ends = ends[::-1] if side < 0 else ends
    return f"{said} ({' to '.join(ends) if len(ends) == len(sides) else f'up to {ends[0]}'})"


def compared_with(said: str, other: str) -> str:
    """Return a ratio in words with what it is to: `1.33x slower than X`, `equal (to within 0.5 %) to X`.

    Args:
        said: As `times` and `ratio_within` return it.
        other: What the ratio is to.
    """
    return f"{said} {'to' if said.split(' ')[0] == 'equal' else 'than'} {other}"


def is_ratio(value: float | None) -> TypeGuard[float]:
    """Say whether a value can be shown as a ratio."""
    return value is not None and math.isfinite(value) and value > 0


def _side(ratio: float) -> int:
    return int(ratio > _EQUAL[1]) - int(ratio < _EQUAL[0])


def _factor(ratio: float) -> str:
    return significant(max(ratio, 1 / ratio))


def bytes_text(count: int | None) -> str:
    """Return a number of bytes in MiB, or a dash."""
    return "–" if count is None else f"{count / 2**20:,.0f} MiB"


def gflop_text(record: Record) -> str | None:
    """Return the floating-point operations that a record reaches, with their share of the machine's best."""
    rate, share = record.gflop_per_s, share_text(record, "gemm")
    if rate is None:
        return None
    return significant(float(rate)) + ("" if share is None else f" ({share})")


def share_text(record: Record, ceiling: str) -> str | None:
    """Return how much of a ceiling a record reaches; None where that is not known.

    One above 100 % has beside it what chance explains of it; one further above than that is marked as no share.

    Args:
        record: The record.
        ceiling: One of `CEILINGS`.
    """
    share_pct = getattr(record, f"{ceiling}_ceiling_pct")
    if share_pct is None:
        return None
    text = f"{share_pct:.0f} %"
    if ceiling in record.above_ceilings:
        return f"{text}: above its ceiling"
    return text if round(share_pct) <= 100 else f"{text}, chance explains {record.ceiling_noise_pct(ceiling):.0f} %"


def how(record: Record) -> str:
    """Name the runtime, device and precision of a record."""
    parts = [str(record.runtime_title), str(record.device).upper()]
    parts += [str(record.precision)] if record.precision else []
    parts += [_CLOCKS[record.clock]] if record.clock in _CLOCKS else []
    return ", ".join(parts)


def letter(index: int) -> str:
    """Return the letter of a run among several: A is the first, and AA comes after Z."""
    before, last = divmod(index, 26)
    return (letter(before - 1) if before else "") + chr(ord("A") + last)


def lettered_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs among several, each after its letter."""
    return [f"{letter(index)}: {name}" for index, name in enumerate(run_names(runs))]


def machine_name(run: Run) -> str:
    """Return what people call a run's machine: its CPU, and its GPU where it has one."""
    known = run.fingerprint.get("cpu"), (run.fingerprint.get("gpu") or {}).get("name")
    said = [" ".join(_NOT_SAID.sub(" ", str(name)).split()) or str(name) for name in known if name]
    return ", ".join(said) or "unknown CPU"


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return short names of runs, no two alike: their machines', those of one machine with or by their files.

    Where that leaves two alike, whole names of files serve, or else with their folders.
    """
    machines, files = [machine_name(run) for run in runs], [_file_name(run) for run in runs]
    counts = Counter(machines)
    of_several = [name if counts[name] == 1 else f"{name}, {file}" for name, file in zip(machines, files, strict=True)]
    folders = [run.path.absolute().parts for run in runs]
    for names in (
        files if len(counts) == 1 else of_several,
        [run.path.name for run in runs],
        *([PurePath(*parts[-count:]).as_posix() for parts in folders] for count in range(2, max(map(len, folders)) + 1)),
    ):
        if len(set(names)) == len(runs):
            return names
    return [f"{run.path.name} ({letter(index)})" for index, run in enumerate(runs)]


def _file_name(run: Run) -> str:
    """Return the name of a run's file; of a saved run its number and the first signs of its commit."""
    saved = _SAVED_NAME.fullmatch(run.path.name)
    return f"{saved[1]} ({saved[2][:7]})" if saved else run.path.name
