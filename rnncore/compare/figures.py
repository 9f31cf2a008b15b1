"""What a budget can limit: figures of a benchmark, each with the interval that its rounds or its processes support."""

import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal

from rnncore.amounts import TIME_UNITS
from rnncore.compare.measures import MEASURES
from rnncore.runfile.order_statistics import NEEDED_FOR_MEDIAN, calls_needed, interval_ranks
from rnncore.runfile.record import NUMERIC_FACTS, Record, Summary

# As settings write them, in ASCII.
_UNITS_S = {name.replace("µ", "u"): unit_s for unit_s, name in TIME_UNITS}
_TIME = re.compile(rf"(?:median|p(?P<percentile>[5-9]\d(?:\.\d)?))_(?P<unit>{'|'.join(_UNITS_S)})")

# Names of figures, for people.
FIGURES = (
    'median_ms, p50_ms to p99_ms and "p99.9_ms" (or _s, _us, _ns), windows_per_s, calls_per_s, peak_memory_mib, '
    "peak_memory_gib, smape_pct, facts.NAME, numbers.NAME"
)

# Figures that are often meant, for a name that is none.
EXAMPLES = (
    *("median_s", "median_ms", "median_us", "median_ns", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_s", "p99_us"),
    *("windows_per_s", "calls_per_s", "peak_memory_mib", "peak_memory_gib", "smape_pct"),
)

# From here on pytest-benchmark takes single calls for rounds (`--benchmark-min-time`), and a gate the mean of several.
_SINGLE_CALL_S = 5e-6

NO_ROUNDS = "the file holds no single rounds, which '--benchmark-save-data' keeps"


@dataclass(frozen=True)
class Estimate:
    """A figure of one process, or of several.

    Attributes:
        value: What it is; None where the rounds are too few for it.
        low: Lower end of its interval, the value itself where it has none; None where nothing bounds it from below.
        high: The same at the upper end.
        sample: What the interval is taken from, ascending; empty where there is none or it is not known.
        percentile: Which one of the sample it is.
        noun: What the sample is of.
        count: How many there are of that.
        why_open: Why an end is not known, without full stop.
    """

    value: float | None
    low: float | None
    high: float | None
    sample: tuple[float, ...] = ()
    percentile: float = 50
    noun: Literal["value", "round", "process"] = "value"
    count: int = 1
    why_open: str = ""

    @property
    def has_interval(self) -> bool:
        """Whether it is more than a single value."""
        return self.noun != "value"

    @property
    def basis(self) -> str:
        """What it is of: `700 rounds`."""
        plural = {"value": "values", "round": "rounds", "process": "processes"}
        return f"{self.count:,} {self.noun if self.count == 1 else plural[self.noun]}"

    def per(self, numerator: float) -> "Estimate":
        """Return how often it goes into a number, as seconds into windows to make windows per second."""
        value, high, low = (None if one is None else numerator / one for one in (self.value, self.low, self.high))
        sample = tuple(numerator / one for one in reversed(self.sample))
        return replace(self, value=value, low=low, high=high, sample=sample, percentile=100 - self.percentile)

    def in_units(self, unit: float) -> "Estimate":
        """Return it in a unit of this size."""
        value, low, high = (None if one is None else one / unit for one in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high, sample=tuple(one / unit for one in self.sample))


@dataclass(frozen=True)
class Figure:
    """A figure of a benchmark.

    Attributes:
        name: As a project's settings name it, with its unit: `p99_ms`.
        is_most: Whether a limit of it is the most that it may be, and not the least; None where a project must say which.
        estimate: It, in one process; None where it is not known.
        fact: What a record gives the reason of where it is not known.
        otherwise: The reason where it gives none.
        elsewhere: The same of a benchmark of another suite than rnncore's, with what to do.
    """

    name: str
    is_most: bool | None
    estimate: Callable[[Record], Estimate | None]
    fact: str
    otherwise: str = "the benchmark did not record it"
    elsewhere: str | None = None

    def why_unknown(self, record: Record) -> str:
        """Return why a record does not have it, and of another suite what it has."""
        why = record.why(self.fact)
        if record.has_case:
            return why or self.otherwise
        return f"{why or self.elsewhere or self.otherwise}; it has {', '.join(_known(record))}"


def figure_of(name: str) -> Figure | None:
    """Return the figure of a name; None where there is none of that name."""
    if found := _TIME.fullmatch(name):
        unit_s = _UNITS_S[found["unit"]]
        if found["percentile"] is None:
            return Figure(name, True, lambda record: _median(record).in_units(unit_s), "")
        percentile, median = float(found["percentile"]), f"median_{found['unit']}"
        return Figure(name, True, lambda record: _percentile(record, percentile, median).in_units(unit_s), "")
    kind, _, fact = name.partition(".")
    if kind == "facts" and fact in NUMERIC_FACTS:
        return Figure(name, None, lambda record: _single(getattr(record, fact)), fact, elsewhere=_BY_FACTS)
    if kind == "numbers" and fact:
        how = f"the benchmark did not record it, as by benchmark.extra_info[{fact!r}] = 3"
        return Figure(name, None, lambda record: _single(record.numbers.get(fact)), fact, how)
    return _OTHERS.get(name)


def _known(record: Record) -> list[str]:
    """Return the names of figures that a benchmark has, each in one unit; of its numbers the first few."""
    percentiles = [] if record.calls_per_round > 1 or record.summary is not None else [50, 90, 95, 99]
    found = ["median_ms", *(f"p{one}_ms" for one in percentiles if calls_needed(one) <= record.rounds), "calls_per_s"]
    found += [name for name in ("windows_per_s", "peak_memory_mib", "smape_pct") if _OTHERS[name].estimate(record)]
    return [*found, *(f"numbers.{name}" for name in islice(record.numbers, _NUMBERS_NAMED))]


def of_processes(estimates: Sequence[Estimate]) -> Estimate:
    """Return a figure of several processes from that of each.

    The unit is the process, as in comparisons: with enough of them the interval is that of the median process. With fewer it
    is what holds the intervals of all of them.

    Args:
        estimates: At least one.
    """
    if len(estimates) == 1:
        return estimates[0]
    values = tuple(sorted(one.value for one in estimates if one.value is not None))
    count = len(estimates)
    value = statistics.median(values) if len(values) == count else None
    if value is not None and count >= NEEDED_FOR_MEDIAN:
        low, high = _ends(values, 50)
    else:
        lows = [one.low for one in estimates if one.low is not None]
        highs = [one.high for one in estimates if one.high is not None]
        low = min(lows) if len(lows) == count else None
        high = max(highs) if len(highs) == count else None
    why = max(estimates, key=lambda one: one.count).why_open
    return Estimate(value, low, high, values, 50, "process", count, f"in each process {why}" if why else "")


def _median(record: Record) -> Estimate:
    """Return the median seconds of a call, from rounds of however many calls."""
    if record.summary is not None:
        return _median_of_summary(record.summary)
    ordered = tuple(sorted(record.rounds_s))
    return Estimate(
        record.median_s, *_ends(ordered, 50), ordered, 50, "round", len(ordered), _too_few(len(ordered), "the median")
    )


def _median_of_summary(summary: Summary) -> Estimate:
    """Return a median of which the rounds are not known, between quartiles, or the extremes, that hold its interval."""
    low, high = interval_ranks(50, summary.rounds)
    if low is None or high is None:
        return Estimate(
            summary.median_s, None, None, (), 50, "round", summary.rounds, _too_few(summary.rounds, "the median")
        )
    # Conventions of quartiles differ by one round.
    is_within_quartiles = low >= summary.rounds / 4 + 2
    low_s, high_s = (summary.low_s, summary.high_s) if is_within_quartiles else (summary.quickest_s, summary.slowest_s)
    return Estimate(summary.median_s, low_s, high_s, (), 50, "round", summary.rounds)


def _percentile(record: Record, percentile: float, median: str) -> Estimate:
    """Return a percentile of the seconds of single calls.

    Args:
        record: Of which benchmark.
        percentile: Which.
        median: What the figure is called that may be limited in its place.
    """
    name, count, needed = f"p{percentile:g}", record.rounds, calls_needed(percentile)
    nothing = Estimate(None, None, None, (), percentile, "round", count)
    if record.calls_per_round > 1:
        why = f"a round is the mean of {record.calls_per_round:,} calls, and hides the slow ones; limit {median} instead"
        # Rows of our own whose rounds have several calls have them in every run.
        if record.slot_rounds and not record.has_case and record.median_s >= _SINGLE_CALL_S:
            why += f", or {_in_a_run_of_its_own(needed)}"
        return replace(nothing, why_open=why)
    if record.summary is not None:
        return replace(nothing, why_open=f"{NO_ROUNDS}; {median} is known without them")
    ordered = tuple(sorted(record.rounds_s))
    low, high = _ends(ordered, percentile)
    if count < needed:
        if record.slot_rounds:
            how = f", and a gate plans its rounds itself: {_in_a_run_of_its_own(needed)}"
        else:
            how = f": run pytest with '--benchmark-min-rounds {needed}'"
            # Ours are not timed by that.
            how += "" if record.has_case else f", or benchmark.pedantic with rounds={needed}"
        why = f"{count:,} rounds are too few for {name}, {needed:,} needed{how}"
        return replace(nothing, low=low, sample=ordered, why_open=why)
    # 99.9 % of 1,000 is 999, whatever the last bit of a product says.
    rank = math.ceil(round(count * percentile / 100, 6))
    return replace(nothing, value=ordered[rank - 1], low=low, high=high, sample=ordered)


def _in_a_run_of_its_own(rounds: int) -> str:
    """Say how a benchmark of a gate gets more rounds, and where they are judged."""
    return f"run pytest with '--benchmark-min-rounds {rounds} --benchmark-json run.json', then 'rnncore check run.json'"


def _ends(ordered: Sequence[float], percentile: float) -> tuple[float | None, float | None]:
    low, high = interval_ranks(percentile, len(ordered))
    return None if low is None else ordered[low - 1], None if high is None else ordered[high - 1]


def _too_few(count: int, what: str) -> str:
    return f"{count:,} round{'s are' if count != 1 else ' is'} too few for {what}, {NEEDED_FOR_MEDIAN} needed"


def _single(value: float | None) -> Estimate | None:
    """Return a value that is all there is of it in a process; None where it is none, or no number."""
    return Estimate(float(value), float(value), float(value)) if value is not None and math.isfinite(value) else None


def _windows_per_s(record: Record) -> Estimate | None:
    if record.phase == "serve":
        return _single(record.served_per_s)
    # A benchmark of another suite has no windows.
    windows: float | None = record.windows
    return None if windows is None else _median(record).per(windows)


def _memory(record: Record, unit: float) -> Estimate | None:
    found = _single(MEASURES["memory"].value(record))
    return None if found is None else found.in_units(unit)


# Files of before hold the peak of a whole session.
_NO_SERVER = "there is no figure of a process that only serves"

# Of other suites, which record what they like.
_NO_MEMORY = (
    "only rnncore's suites measure memory: record it by benchmark.extra_info['peak_mib'] = 3, and limit numbers.peak_mib"
)
_BY_FACTS = "the benchmark did not record it: a run of its own with 'pytest --rnn-facts' records what can be seen of any"
_NO_WINDOWS = "a benchmark of another suite than rnncore's has no windows: limit calls_per_s"
_NO_SCORE = "only rnncore's suites score forecasts: record a number of your own, and limit numbers.NAME"

# Numbers of a benchmark that are named where a figure is missing.
_NUMBERS_NAMED = 5

_OTHERS = {
    figure.name: figure
    for figure in (
        Figure("windows_per_s", False, _windows_per_s, "windows", elsewhere=_NO_WINDOWS),
        Figure("calls_per_s", False, lambda record: _median(record).per(1.0), ""),
        Figure("peak_memory_mib", True, lambda record: _memory(record, 2.0**20), "peak_rss_bytes", _NO_SERVER, _NO_MEMORY),
        Figure("peak_memory_gib", True, lambda record: _memory(record, 2.0**30), "peak_rss_bytes", _NO_SERVER, _NO_MEMORY),
        Figure("smape_pct", True, lambda record: _single(record.smape), "smape", elsewhere=_NO_SCORE),
    )
}
