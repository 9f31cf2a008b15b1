"""Times of several runs side by side: how much faster each case is on another machine, and what explains it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import altair

from rnncore.amounts import time_unit
from rnncore.compare.ranks import USED_ROUNDS, compare_sides, evenly_spread
from rnncore.report.figure import PALETTE, QUIET, WIDTH, Chart, Figure, names_axis, rows_height
from rnncore.report.rows import best_per_s, names_of, valid
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import NORMAL_95, half_interval, letter, measured, ratio_within, times
from rnncore.runfile.machine import same_machine
from rnncore.runfile.record import Record, Run

# Of the intervals of ratios.
ERROR = 0.01

# Of the standard normal distribution, two-sided, for intervals of 1 - ERROR.
NORMAL_99 = 2.576

# With fewer rounds, quartiles give no interval.
FEWEST_ROUNDS = 10

# Benchmarks that the figure shows, at most; the table has all.
MOST_DRAWN = 60

_WAITS = {
    "latency": "each step waits for the one before",
    "compute": "it is held back by arithmetic",
    "bandwidth": "it is held back by memory bandwidth",
    "cache": "each step reads the weights again",
}


@dataclass(frozen=True)
class CaseRatio:
    """One benchmark of one run against the same of the first run.

    Attributes:
        benchmark: What it is called.
        run: The run's letter.
        ratio: Its median over that of the first run: above 1 is slower.
        low: Lower end of the ratio's interval, widened to hold the ratio; None where there are too few rounds.
        high: Its upper end.
    """

    benchmark: str
    run: str
    ratio: float
    low: float | None
    high: float | None

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves no doubt of its direction, as it is written too: one from 1.00 may begin at 1."""
        return self.low is not None and self.high is not None and not round(self.low, 2) <= 1 <= round(self.high, 2)

    @property
    def text(self) -> str:
        """The ratio in words, with its interval."""
        return ratio_within(self.ratio, self.low, self.high)


def case_ratios(runs: Sequence[Run]) -> list[CaseRatio]:
    """Return the ratio of times of each valid benchmark of each run after the first to the first run's."""
    found = [(letter(index), before, record) for index, _, before, record in _pairs(runs)]
    names = names_of(record for _, _, record in found)
    return [replace(case_ratio(*one), benchmark=names[one[2].fullname]) for one in found]


def case_ratio(letter: str, before: Record, now: Record) -> CaseRatio:
    """Return the ratio of two rows of one benchmark, the second of the run with this letter."""
    ratio = now.median_s / before.median_s
    low, high = _interval(before, now, ratio)
    # The interval is of the shift between all rounds, which is not quite that between the medians.
    return CaseRatio(
        now.short_name, letter, ratio, None if low is None else min(low, ratio), None if high is None else max(high, ratio)
    )


def _interval(before: Record, now: Record, ratio: float) -> tuple[float | None, float | None]:
    """Return the interval of a ratio: by the rounds, or where a file holds none, by the quartiles of both."""
    if before.rounds_s and now.rounds_s:
        used = (tuple(evenly_spread(record.rounds_s, USED_ROUNDS)) for record in (before, now))
        return _interval_of_rounds(*used)
    # As of as many rounds as would be compared: thousands in one process say nothing of the noise between processes.
    of_each = (half_interval(record) * math.sqrt(max(1.0, record.rounds / USED_ROUNDS)) for record in (before, now))
    half = NORMAL_99 / NORMAL_95 * math.hypot(*of_each)
    if min(before.rounds, now.rounds) < FEWEST_ROUNDS or not half:
        return None, None
    return ratio * math.exp(-half), ratio * math.exp(half)


# A page asks for each several times: in its verdict, its figure and its tables.
@lru_cache(maxsize=2**15)
def _interval_of_rounds(before: tuple[float, ...], now: tuple[float, ...]) -> tuple[float | None, float | None]:
    found = compare_sides(before, now, ERROR)
    return found.low, found.high


def explained_rows(runs: Sequence[Run]) -> list[list[str | None]]:
    """Return for each case and each run after the first the ratio of times and what explains it.

    Args:
        runs: The runs; nothing is explained between runs of one machine on as many threads.

    Returns:
        Rows of benchmark, run, ratio with its interval, and why.
    """
    first, rows = runs[0], []
    for index, run, before, record in _pairs(runs):
        same_threads = first.fingerprint.get("threads") == run.fingerprint.get("threads")
        if not (same_threads and same_machine(first.fingerprint, run.fingerprint)):
            name = letter(index)
            rows.append([record.short_name, name, case_ratio(name, before, record).text, _why(first, run, record)])
    return rows


def _pairs(runs: Sequence[Run]) -> Iterator[tuple[int, Run, Record, Record]]:
    """Yield index, run, the first run's record and the run's own of all benchmarks that both measured rightly."""
    base = {record.fullname: record for record in valid(runs[0].records)}
    for index, run in enumerate(runs[1:], 1):
        for record in valid(run.records):
            if record.fullname in base:
                yield index, run, base[record.fullname], record


def _why(first: Run, run: Run, now: Record) -> str | None:
    """Say how much faster the machine's products and memory are, and what holds the case back there."""
    known = []
    for what, kind, precision in (("its products are", "gemm", now.precision), ("its memory is", "copy", None)):
        before, after = (best_per_s(one, kind, now.device, precision) for one in (first, run))
        if before and after:
            known.append(f"{what} {times(before / after)}")
    held = _WAITS.get(str(now.bound))
    if not held:
        return "; ".join(known) or None
    joined = ", but" if now.bound in ("latency", "cache") and known else ";"
    return f"{'; '.join(known)}{joined} {held}" if known else held


def ratio_chart(ratios: Sequence[CaseRatio]) -> Chart:
    """Draw each benchmark's time as a multiple of the first run's, with its interval; left of 1 is faster.

    Args:
        ratios: Ratios of one or several runs.
    """
    names = list(dict.fromkeys(one.benchmark for one in ratios))
    values = [
        {
            "row": one.benchmark,
            "Run": one.run,
            "ratio": one.ratio,
            "low": one.ratio if one.low is None else one.low,
            "high": one.ratio if one.high is None else one.high,
        }
        for one in ratios
    ]
    scale, title = altair.Scale(type="log", nice=False, padding=12), "Time as a multiple of A's"
    y = altair.Y("row:N", sort=names, title=None, axis=names_axis())
    base = altair.Chart(altair.InlineData(values)).encode(y=y, yOffset="Run:N")
    color = altair.Color("Run:N", scale=altair.Scale(range=PALETTE), legend=None)
    intervals = base.mark_rule(strokeWidth=2).encode(x=altair.X("low:Q", scale=scale, title=title), x2="high:Q", color=color)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=altair.X("ratio:Q", scale=scale, title=title),
        color=color,
        shape=altair.Shape("Run:N", legend=None),
        tooltip=["row:N", "Run:N", *(altair.Tooltip(f"{name}:Q", format=".3f") for name in ("ratio", "low", "high"))],
    )
    letters = base.mark_text(dy=-7, fontSize=9, color=QUIET).encode(x=altair.X("ratio:Q", scale=scale), text="Run:N")
    equal = altair.Chart(altair.InlineData([{"ratio": 1.0}])).mark_rule(strokeDash=[2, 3], color=QUIET).encode(x="ratio:Q")
    return altair.layer(equal, intervals, points, letters).properties(width=WIDTH, height=rows_height(len(names)))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the figure, and the table of every benchmark's time in each run, with the ratios to the first."""
    by_name = [{record.fullname: record for record in valid(run.records)} for run in runs]
    rows = []
    for fullname, name in names_of(record for records in by_name for record in records.values()).items():
        first, *others = here = [records.get(fullname) for records in by_name]
        scale, unit = time_unit(record.median_s for record in here if record)
        cells = [f"{measured(record.median_s / scale, record)} {unit}" if record else None for record in here]
        ratios = [times(record.median_s / first.median_s) if record and first else None for record in others]
        rows.append([name, *cells, *ratios])
    letters = [letter(index) for index in range(len(runs))]
    columns = [*words("Benchmark"), *numbers(*letters, *[f"{name} against A" for name in letters[1:]])]
    return [
        "Median of the rounds. Each side is one process: differences of a few percent between runs of one machine may "
        "be noise between processes.\n",
        *shown.figure("ratios"),
        Table(columns, rows).markdown(),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the ratios to the first run, if the runs have benchmarks in common: of many those that differ most."""
    ratios = case_ratios(runs)
    changes: dict[str, float] = {}
    for one in ratios:
        changes[one.benchmark] = max(changes.get(one.benchmark, 0.0), abs(math.log(one.ratio)))
    drawn = set(sorted(changes, key=lambda name: -changes[name])[:MOST_DRAWN])
    is_whole = len(drawn) == len(changes)
    which = "each benchmark" if is_whole else f"the {len(drawn)} of {len(changes):,} benchmarks that differ most"
    alt = f"Time of {which} as a multiple of that in A"
    return [Figure("ratios", alt, ratio_chart([one for one in ratios if one.benchmark in drawn]))] if ratios else []


def text_of_why(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return for each case what explains the ratio, where the runs are of different machines."""
    note = "Ratios of the medians, between the ratios that hold them with 99 % certainty within these two processes.\n"
    rows = explained_rows(runs)
    return [note, Table(words("Benchmark", "Run", "Ratio to A", "Why"), rows).markdown()] if rows else []


SECTION = Section("## Times", text, figures)
WHY = Section("### Why", text_of_why)
