"""Times of several runs side by side: how much faster each case is on another machine, and what explains it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import altair

from rnncore.amounts import time_unit
from rnncore.compare.ranks import USED_ROUNDS, compare_sides, evenly_spread
from rnncore.report.figure import (
    FASTER,
    OWN_COLOUR,
    QUIET,
    SLOWER,
    TIP,
    WIDTH,
    Chart,
    Figure,
    log_ticks,
    log_x,
    named_rows,
    rows_height,
    tip_text,
    values_axis,
)
from rnncore.report.fold import folded
from rnncore.report.rows import best_per_s, names_of, valid
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, numbers, paragraph, words
from rnncore.report.words import NORMAL_95, half_interval, letter, lettered_names, ratio_within, significant, times
from rnncore.runfile.machine import same_machine
from rnncore.runfile.record import Record, Run

# Of the intervals of ratios.
ERROR = 0.01

# Of the standard normal distribution, two-sided, for intervals of 1 - ERROR.
NORMAL_99 = 2.576

# With fewer rounds, quartiles give no interval.
FEWEST_ROUNDS = 10

# Lines of the figure, at most, which a screen has room for, and rows that are shown unfolded; the table has all.
MOST_DRAWN, MOST_ROWS = 24, 12

# Pixels of the name of a run in the legend.
_NAMES_WIDTH = 300

# Of tables of ratios.
NOTE = (
    "Medians of the rounds, most changed first, and 99 % intervals of their ratios within these processes. Each side is one "
    "process: differences of a few percent between runs of one machine may be noise between processes."
)

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
        run: What the run is called: its letter, or in a figure its name after that.
        ratio: Its median over that of the first run: above 1 is slower.
        low: Lower end of the ratio's interval, widened to hold the ratio; None where there are too few rounds.
        high: Its upper end.
        counts: Whether a change of it is one: not where a verdict on it is that it is the same, or unclear.
    """

    benchmark: str
    run: str
    ratio: float
    low: float | None
    high: float | None
    counts: bool = True

    @property
    def is_sure(self) -> bool:
        """Whether it changed: the interval leaves no doubt of its direction, as it is written too: 1.00 may be 1."""
        if self.low is None or self.high is None:
            return False
        return self.counts and not round(self.low, 2) <= 1 <= round(self.high, 2)

    @property
    def furthest(self) -> float:
        """The end of its interval that is furthest from 1, as a factor from 1 up; without one, the ratio."""
        return max(self.high or self.ratio, 1 / (self.low or self.ratio))

    @property
    def colour(self) -> str:
        """The colour of what is surely slower, surely faster, and neither."""
        if not self.is_sure:
            return QUIET
        return SLOWER if self.ratio > 1 else FASTER

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


def most_changed(ratios: Sequence[CaseRatio]) -> list[CaseRatio]:
    """Return the ratios of as many benchmarks as a figure has lines for, from the slowest to the fastest.

    Those that changed come before all others, and of each kind those that differ most.
    """
    changes, changed = change_of_each(ratios), {one.benchmark for one in ratios if one.is_sure}
    ordered = sorted(changes, key=lambda name: (name not in changed, -abs(changes[name])))
    kept = set(ordered[: MOST_DRAWN // _lines_of_each(len({one.run for one in ratios}))])
    return sorted((one for one in ratios if one.benchmark in kept), key=lambda one: -changes[one.benchmark])


def _lines_of_each(runs: int) -> int:
    """Return how many lines of a figure a benchmark takes: two runs, a little apart, share one."""
    return max(1, runs // 2)


def change_of_each(ratios: Iterable[CaseRatio]) -> dict[str, float]:
    """Return by benchmark the logarithm of its ratio furthest from 1: above 0 is slower."""
    changes: dict[str, float] = {}
    for one in ratios:
        change = math.log(one.ratio)
        if abs(change) >= abs(changes.get(one.benchmark, 0.0)):
            changes[one.benchmark] = change
    return changes


def _pairs(runs: Sequence[Run]) -> Iterator[tuple[int, Run, Record, Record]]:
    """Yield index, run, the first run's record and the run's own of all benchmarks that both measured rightly."""
    base = {record.fullname: record for record in valid(runs[0].records)}
    for index, run in enumerate(runs[1:], 1):
        for record in valid(run.records):
            if record.fullname in base:
                yield index, run, base[record.fullname], record


def _explained(first: Run, run: Run, now: Record) -> str | None:
    """Say what explains the ratio of a row to the first run's; nothing between runs of one machine on as many threads."""
    same_threads = first.fingerprint.get("threads") == run.fingerprint.get("threads")
    return None if same_threads and same_machine(first.fingerprint, run.fingerprint) else _why(first, run, now)


def _why(first: Run, run: Run, now: Record) -> str | None:
    """Say how much faster the machine's products and memory are, and what holds the case back there."""
    known = []
    for what, kind, precision in (("its products are", "gemm", now.products), ("its memory is", "copy", None)):
        before, after = (best_per_s(one, kind, now.device, precision) for one in (first, run))
        if before and after:
            known.append(f"{what} {times(before / after)}")
    held = _WAITS.get(str(now.bound))
    if not held:
        return "; ".join(known) or None
    joined = ", but" if now.bound in ("latency", "cache") and known else ";"
    return f"{'; '.join(known)}{joined} {held}" if known else held


def ratio_figures(ratios: Sequence[CaseRatio], base: str) -> list[Figure]:
    """Draw ratios around 1, the slowest first; of many those that changed or differ most, and say where the others lie.

    Args:
        ratios: Ratios of one or several runs; nothing is drawn of none.
        base: Whose time is 1.
    """
    if not ratios:
        return []
    drawn = most_changed(ratios)
    shown, reach = {one.benchmark for one in drawn}, _reach(drawn)
    others = [one for one in ratios if one.benchmark not in shown]
    count = len({one.benchmark for one in ratios})
    which = f"the {len(shown)} of {count:,} benchmarks that changed or differ most" if others else "each benchmark"
    alt = f"Time of {which} as a multiple of {base}, the slowest first"
    alt += _others_text(others) if others else ""
    alt += "; an interval that ends in a triangle goes on" if any(one.furthest > reach for one in drawn) else ""
    return [Figure("ratios", alt, ratio_chart(drawn, base))]


def _others_text(ratios: Sequence[CaseRatio]) -> str:
    """Say how many benchmarks are not drawn, how many of them changed, and between which ratios they lie."""
    count, changed = (len({one.benchmark for one in some}) for some in (ratios, [one for one in ratios if one.is_sure]))
    ends = dict.fromkeys(times(pick(one.ratio for one in ratios)) for pick in (max, min))
    said = f"the other {count:,}" + (f", of which {changed:,} changed," if changed else "")
    return f"; {said} {'is' if count == 1 else 'are'} {' to '.join(ends)}"


def _reach(ratios: Sequence[CaseRatio]) -> float:
    """Return how far the axis of a figure goes to either side of 1, as a factor.

    It has room for every ratio, and for the intervals, but not for one in ten that is more than twice as wide as all others:
    these would press the rest together.
    """
    ends = sorted(one.furthest for one in ratios)
    usual, widest = ends[-1 - len(ends) // 10], ends[-1]
    furthest = max(max(one.ratio, 1 / one.ratio) for one in ratios)
    return float(max(1.02, furthest, widest if widest <= usual**2 else usual) ** 1.05)


def ratio_chart(ratios: Sequence[CaseRatio], base: str) -> Chart:
    """Draw each benchmark's time as a multiple of another's, with its interval around 1; left of 1 is faster.

    Args:
        ratios: Ratios of one or several runs, in the order in which their benchmarks are drawn.
        base: Whose time is 1.
    """
    # As far to the left of 1 as to the right: what is faster and what is slower weigh the same to the eye.
    reach = _reach(ratios)
    names, runs = (list(dict.fromkeys(found)) for found in zip(*((one.benchmark, one.run) for one in ratios), strict=True))
    values: list[dict[str, Any]] = [
        {
            "row": one.benchmark,
            "Run": one.run,
            "ratio": one.ratio,
            "low": one.ratio if one.low is None else max(one.low, 1 / reach),
            "high": one.ratio if one.high is None else min(one.high, reach),
            "tip": tip_text(one.benchmark, run=one.run, time=one.text),
            "colour": one.colour,
        }
        for one in ratios
    ]
    title = f"Time as a multiple of {base}: faster to the left of 1, slower to the right (logarithmic)"
    axis = values_axis(len(names) * len(runs), format=",~g", values=log_ticks(1 / reach, reach))
    at, rows = log_x(1 / reach, reach, title, axis), named_rows(values)
    if len(runs) > 1:
        rows = rows.encode(yOffset=altair.YOffset("Run:N", sort=runs))
    equal = altair.Chart(altair.InlineData([{"ratio": 1.0}])).mark_rule(color=QUIET).encode(x=at("ratio"))
    layers = [
        equal,
        rows.mark_rule(strokeWidth=2).encode(x=at("low"), x2="high:Q", color=OWN_COLOUR),
        rows.mark_point(filled=True, size=60, opacity=1).encode(
            x=at("ratio"), color=OWN_COLOUR, shape=_shape(runs), description=TIP
        ),
    ]
    for end, edge, towards in (("low", 1 / reach, "left"), ("high", reach, "right")):
        if any(one[end] == edge for one in values):
            cut = rows.transform_filter(f"datum.{end} == {edge!r}")
            mark = cut.mark_point(filled=True, size=50, opacity=1, shape=f"triangle-{towards}")
            layers.append(mark.encode(x=at(end), color=OWN_COLOUR))
    return altair.layer(*layers).properties(width=WIDTH - 100, height=rows_height(len(names) * _lines_of_each(len(runs))))


def _shape(runs: Sequence[str]) -> altair.Shape:
    """Return the shapes of runs, with a legend where there are several to tell apart."""
    legend = altair.Legend(title="Run", orient="top", columns=1, labelLimit=_NAMES_WIDTH) if len(runs) > 1 else None
    return altair.Shape("Run:N", sort=list(runs), legend=legend)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the figure, and every benchmark's time in each run with its ratio to the first, most changed first."""
    by_name = [{record.fullname: record for record in valid(run.records)} for run in runs]
    called = names_of(record for records in by_name for record in records.values())
    changes = change_of_each(case_ratios(runs))
    ordered = sorted(called.items(), key=lambda name: -abs(changes.get(name[1], 0.0)))
    rows = []
    for fullname, name in ordered:
        first, *others = here = [records.get(fullname) for records in by_name]
        scale, unit = time_unit(record.median_s for record in here if record)
        cells = [f"{significant(record.median_s / scale)} {unit}" if record else None for record in here]
        ratios = [case_ratio("", first, record).text if record and first else None for record in others]
        why = {
            f"{letter(index)}: " if len(runs) > 2 else "": _explained(runs[0], run, record)
            for index, (run, record) in enumerate(zip(runs[1:], others, strict=True), 1)
            if record and first
        }
        rows.append([name, *cells, *ratios, "; ".join(f"{of}{said}" for of, said in why.items() if said) or None])
    letters = [letter(index) for index in range(len(runs))]
    columns = [*words("Benchmark"), *numbers(*letters, *[f"{name} against A" for name in letters[1:]])]
    is_explained = any(row[-1] for row in rows)
    columns += words("Why") if is_explained else []
    rows = rows if is_explained else [row[:-1] for row in rows]
    more = [Table(columns, rows).markdown()] if len(rows) > MOST_ROWS else []
    return [
        paragraph(NOTE),
        *shown.figure("ratios"),
        Table(columns, rows[:MOST_ROWS]).markdown(),
        *folded(f"All {len(rows):,} benchmarks", more),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the ratios to the first run, if the runs have benchmarks in common; of several each is named in the legend."""
    named = dict(zip(map(letter, range(len(runs))), lettered_names(runs), strict=True))
    return ratio_figures([replace(one, run=named[one.run]) for one in case_ratios(runs)], "A's")


SECTION = Section("## What changed, and why?", text, figures)
