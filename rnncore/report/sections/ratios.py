"""How much faster each case is on another machine, and what explains it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import altair

from rnncore.compare.ranks import compare_rounds
from rnncore.report.figure import PALETTE, QUIET, ROW_HEIGHT, WIDTH, Chart, Figure
from rnncore.report.rows import valid
from rnncore.report.words import letter, times
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
        low: Lower end of the ratio's interval, widened to hold the ratio; None where there are too few rounds.
        high: Its upper end.
    """

    benchmark: str
    run: str
    ratio: float
    low: float | None
    high: float | None


def case_ratios(runs: Sequence[Run]) -> list[CaseRatio]:
    """Return the ratio of times of each valid benchmark of each run after the first to the first run's."""
    return [_case_ratio(letter(index), before, record) for index, _, before, record in _pairs(runs)]


def explained_rows(runs: Sequence[Run]) -> list[list[str]]:
    """Return for each case and each run after the first the ratio of times and what explains it.

    Args:
        runs: The runs; nothing is explained between runs of one machine on as many threads.

    Returns:
        Rows of benchmark, run, ratio with its interval, and why.
    """
    first = runs[0]
    return [
        [record.short_name, letter(index), _ratio_text(before, record), _why(first, run, before, record)]
        for index, run, before, record in _pairs(runs)
        if not _same_ceilings(first, run)
    ]


def _pairs(runs: Sequence[Run]) -> Iterator[tuple[int, Run, Record, Record]]:
    """Yield index, run, the first run's record and the run's own of all benchmarks that both measured rightly."""
    base = {record.fullname: record for record in valid(runs[0].records)}
    for index, run in enumerate(runs[1:], 1):
        for record in valid(run.records):
            if record.fullname in base:
                yield index, run, base[record.fullname], record


def _same_ceilings(first: Run, run: Run) -> bool:
    """Say whether two runs had the same hardware to use."""
    same_threads = first.fingerprint.get("threads") == run.fingerprint.get("threads")
    return same_threads and same_machine(first.fingerprint, run.fingerprint)


def _case_ratio(letter: str, before: Record, now: Record) -> CaseRatio:
    found = compare_rounds(before.rounds_s, now.rounds_s, ERROR)
    ratio = now.median_s / before.median_s
    # The interval is of the shift between all rounds, which is not quite that between the medians.
    low = None if found.low is None else min(found.low, ratio)
    high = None if found.high is None else max(found.high, ratio)
    return CaseRatio(now.short_name, letter, ratio, low, high)


def _ratio_text(before: Record, now: Record) -> str:
    found = _case_ratio("", before, now)
    text = times(found.ratio)
    if found.low is None or found.high is None:
        return text
    return f"{text} ({times(found.low)} to {times(found.high)})"


def _why(first: Run, run: Run, before: Record, now: Record) -> str:
    """Say how much faster the machine's products and memory are, and what holds the case back there."""
    known = []
    for what, kind in (("its products are", "gemm"), ("its memory is", "copy")):
        rates = [_ceiling(one, record, kind) for one, record in ((first, before), (run, now))]
        if rates[0] and rates[1]:
            known.append(f"{what} {times(rates[0] / rates[1])}")
    held = _WAITS.get(str(now.bound))
    if held:
        joined = ", but" if now.bound == "latency" and known else ";"
        return f"{'; '.join(known)}{joined} {held}" if known else held
    return "; ".join(known) or "–"


def _ceiling(run: Run, record: Record, kind: str) -> float | None:
    entries: Sequence[dict[str, Any]] = (run.ceilings or {}).get(kind, ())
    for entry in entries:
        if entry["device"] == record.device and (kind != "gemm" or entry["precision"] == record.precision):
            return None if not entry["per_s"] else float(entry["per_s"])
    return None


def ratio_figures(runs: Sequence[Run]) -> list[Figure]:
    """Return the figure of the ratios to the first run, if the runs have benchmarks in common."""
    ratios = case_ratios(runs)
    if not ratios:
        return []
    return [Figure("ratios", "Time of each benchmark as a multiple of that in A", ratio_chart(ratios))]


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
    height = max(60, ROW_HEIGHT * len(names))
    return altair.layer(equal, intervals, points, letters).properties(width=WIDTH, height=height)
