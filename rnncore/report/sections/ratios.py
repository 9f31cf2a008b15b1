"""Times of several runs side by side: how much faster each case is on another machine, and what explains it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import altair

from rnncore.compare.ranks import compare_rounds
from rnncore.report.figure import PALETTE, QUIET, WIDTH, Chart, Figure, rows_height
from rnncore.report.rows import best_per_s, valid
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import letter, measured, ratio_within, time_unit, times
from rnncore.runfile.machine import same_machine
from rnncore.runfile.record import Record, Run

# Of the intervals of ratios.
ERROR = 0.01

_WAITS = {
    "latency": "each step waits for the one before",
    "compute": "it is held back by arithmetic",
    "bandwidth": "it is held back by memory bandwidth",
}


@dataclass(frozen=True)
class CaseRatio:
    """One benchmark of one run against the same of the first run.

    Attributes:
        benchmark: Its short name.
        run: The run's letter.
        ratio: Its median over that of the first run: above 1 is slower.
        low: Lower end of the ratio's interval, widened to hold the ratio; None where the file holds too few rounds, or none.
        high: Its upper end.
    """

    benchmark: str
    run: str
    ratio: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The ratio in words, with its interval."""
        return ratio_within(self.ratio, self.low, self.high)


def case_ratios(runs: Sequence[Run]) -> list[CaseRatio]:
    """Return the ratio of times of each valid benchmark of each run after the first to the first run's."""
    return [case_ratio(letter(index), before, record) for index, _, before, record in _pairs(runs)]


def case_ratio(letter: str, before: Record, now: Record) -> CaseRatio:
    """Return the ratio of two rows of one benchmark, the second of the run with this letter."""
    ratio = now.median_s / before.median_s
    if not (before.rounds_s and now.rounds_s):
        return CaseRatio(now.short_name, letter, ratio, None, None)
    found = compare_rounds(before.rounds_s, now.rounds_s, ERROR)
    # The interval is of the shift between all rounds, which is not quite that between the medians.
    low = None if found.low is None else min(found.low, ratio)
    high = None if found.high is None else max(found.high, ratio)
    return CaseRatio(now.short_name, letter, ratio, low, high)


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
    joined = ", but" if now.bound == "latency" and known else ";"
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
    y = altair.Y("row:N", sort=names, title=None, axis=altair.Axis(labelLimit=260))
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
    for name in dict.fromkeys(name for records in by_name for name in records):
        first, *others = here = [records.get(name) for records in by_name]
        scale, unit = time_unit(record.median_s for record in here if record)
        cells = [f"{measured(record.median_s / scale, record)} {unit}" if record else None for record in here]
        ratios = [times(record.median_s / first.median_s) if record and first else None for record in others]
        rows.append([name.split("::")[-1], *cells, *ratios])
    letters = [letter(index) for index in range(len(runs))]
    columns = [*words("Benchmark"), *numbers(*letters, *[f"{name} against A" for name in letters[1:]])]
    return [
        "Median of the rounds. Each side is one process: differences of a few percent between runs of one machine may "
        "be noise between processes.\n",
        *shown.figure("ratios"),
        Table(columns, rows).markdown(),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the ratios to the first run, if the runs have benchmarks in common."""
    ratios = case_ratios(runs)
    return [Figure("ratios", "Time of each benchmark as a multiple of that in A", ratio_chart(ratios))] if ratios else []


def text_of_why(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return for each case what explains the ratio, where the runs are of different machines."""
    note = "Ratios of the medians, between the ratios that hold them with 99 % certainty within these two processes.\n"
    rows = explained_rows(runs)
    return [note, Table(words("Benchmark", "Run", "Ratio to A", "Why"), rows).markdown()] if rows else []


SECTION = Section("## Times", text, figures)
WHY = Section("### Why", text_of_why)
