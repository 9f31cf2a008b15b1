"""How slow the slowest calls are of benchmarks whose single rounds are known, in one run or several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rnncore.amounts import counted, time_unit
from rnncore.report.figure import SHOWN_ROWS
from rnncore.report.fold import folded
from rnncore.report.rows import PERCENTILES, Tail, tail_of
from rnncore.report.section import Section, Shown
from rnncore.report.sections.ordinary import groups
from rnncore.report.sections.ordinary.groups import inert_names, others
from rnncore.report.table import Table, numbers, paragraph, words
from rnncore.report.words import letter, shared_unit, significant, times
from rnncore.runfile.order_statistics import calls_needed
from rnncore.runfile.record import Record, Run

_ONE_IN = {90: "ten", 95: "twenty", 99: "a hundred"}


@dataclass(frozen=True)
class _Benchmark:
    """A benchmark of a run.

    Attributes:
        record: It.
        tails: Its percentiles that the rounds tell.
    """

    record: Record
    tails: dict[int, Tail]

    @property
    def stretch(self) -> float:
        """The highest of them as a multiple of the median; 0 where there is none."""
        return self.tails[max(self.tails)].seconds / self.record.median_s if self.tails else 0.0


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return whose slowest calls are slowest against its median, and a table of percentiles; nothing where none is known."""
    by_run = [{record.fullname: _benchmark(record) for record in others(run)} for run in runs]
    # By name the run in which its tail is longest.
    longest = {
        name: max((of_run for of_run in by_run if name in of_run), key=lambda of_run: of_run[name].stretch)
        for name in dict.fromkeys(name for of_run in by_run for name in of_run)
    }
    known = [name for name, of_run in longest.items() if of_run[name].tails]
    if not known:
        return []
    kept = sorted(known, key=lambda name: -longest[name][name].stretch)[: groups.MOST_ROWS]
    called = inert_names(one.record for of_run in reversed(by_run) for one in of_run.values())
    first = longest[kept[0]]
    in_run = f" in {letter(by_run.index(first))}" if len(runs) > 1 else ""
    said = f"The longest tail has **{called[kept[0]]}**{in_run}: {_tail_text(first[kept[0]])}. {_what_it_takes()}"
    if unknown := len(longest) - len(known):
        said += f" {counted(unknown, 'benchmark')} {'has' if unknown == 1 else 'have'} too few of them."
    table = _table_of_several(kept, called, by_run) if len(runs) > 1 else _table_of_one(kept, called, by_run[0])
    brief = Table(table.columns, table.rows[:SHOWN_ROWS])
    more = [table.markdown()] if len(table.rows) > SHOWN_ROWS else []
    return [paragraph(said), brief.markdown(), *folded(f"All {counted(len(kept), 'benchmark')} with percentiles", more)]


def _benchmark(record: Record) -> _Benchmark:
    found = {percentile: tail_of(record, percentile) for percentile in PERCENTILES}
    return _Benchmark(record, {percentile: tail for percentile, tail in found.items() if tail})


def _tail_text(benchmark: _Benchmark) -> str:
    """Say how slow its slowest calls are."""
    ratio = times(benchmark.stretch)
    compared = "no faster than" if ratio == "equal" else f"{ratio} than"
    return f"one call in {_ONE_IN[max(benchmark.tails)]} is {compared} its median, or more"


def _what_it_takes() -> str:
    needed = ", ".join(f"{calls_needed(percentile)} for p{percentile}" for percentile in PERCENTILES)
    return (
        "Percentiles are of single calls, each with the two calls that hold it between them with 98 % certainty. They take "
        f"rounds of one call each: {needed}."
    )


def _table_of_one(names: Sequence[str], called: dict[str, str], of_run: dict[str, _Benchmark]) -> Table:
    """Show the percentiles of a run beside the median; one that no benchmark has is left out."""
    known = [one for one in PERCENTILES if any(one in of_run[name].tails for name in names)]
    shared = shared_unit([of_run[name].record.median_s for name in names])
    rows: list[list[Any]] = []
    for name in names:
        found = of_run[name]
        scale, unit = shared or time_unit([found.record.median_s])
        own = "" if shared else f" {unit}"
        tails = [_cell(found.tails.get(one), scale, own) for one in known]
        rows.append([called[name], f"{significant(found.record.median_s / scale)}{own}", *tails])
    titles = ("median", *(f"p{one}" for one in known))
    return Table([*words("Benchmark"), *numbers(*titles, unit=shared[1] if shared else "")], rows)


def _table_of_several(names: Sequence[str], called: dict[str, str], by_run: Sequence[dict[str, _Benchmark]]) -> Table:
    """Show of each benchmark the highest percentile that the most runs tell, side by side."""
    rows: list[list[Any]] = []
    for name in names:
        here = [of_run[name].tails if name in of_run else {} for of_run in by_run]
        highest = max(PERCENTILES, key=lambda one: (sum(one in tails for tails in here), one))
        scale, unit = time_unit(tails[highest].seconds for tails in here if highest in tails)
        rows.append([called[name], f"p{highest}", *[_cell(tails.get(highest), scale, f" {unit}") for tails in here]])
    letters = [letter(index) for index in range(len(by_run))]
    return Table([*words("Benchmark", "percentile"), *numbers(*letters)], rows)


def _cell(tail: Tail | None, scale: float, unit: str) -> str | None:
    """Write a percentile with its interval; None where there is none."""
    if tail is None:
        return None
    seconds, low, high = (significant(one / scale) for one in tail)
    return f"{seconds}{unit} ({low} to {high})"


SECTION = Section("## How slow are the slowest calls?", text)
BESIDE = Section("## How slow are the slowest calls of other suites?", text)
