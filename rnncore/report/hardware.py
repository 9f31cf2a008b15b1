"""Several machines: how much faster each case is, what explains it, and what it costs."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnncore.compare.ranks import compare_rounds
from rnncore.errors import ConfigError
from rnncore.report import tables
from rnncore.runfile.machine import same_machine
from rnncore.runfile.record import Record, Run

# Of the intervals of ratios.
ERROR = 0.01

_WAITS = {
    "latency": "each step waits for the one before",
    "compute": "it is held back by arithmetic",
    "bandwidth": "it is held back by memory bandwidth",
}

SECONDS_PER_HOUR = 3600.0
FORECASTS = 1e6

COST_NOTE = "Cheapest first, each choice at its batch size with most windows per second.\n"
COST_NOTE_OF_SEVERAL = (
    "Cheapest first, each choice at its batch size with most windows per second, of those that all runs with it measured.\n"
)


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


@dataclass(frozen=True)
class Cost:
    """What a million forecasts cost by one way of making them, at the batch size that it is cheapest with.

    Attributes:
        run: Letter and file.
        choice: Cell, runtime and batch size.
        record: Its benchmark.
        price_per_hour: Of the machine; None where none was given.
        price: Of a million forecasts.
        joules: Of a million forecasts; None where no energy was measured.
    """

    run: str
    choice: str
    record: Record
    price_per_hour: float | None
    price: float | None
    joules: float | None


def case_ratios(runs: Sequence[Run]) -> list[CaseRatio]:
    """Return the ratio of times of each valid benchmark of each run after the first to the first run's."""
    return [_case_ratio(tables.letter(index), before, record) for index, _, before, record in _pairs(runs)]


def explained_rows(runs: Sequence[Run]) -> list[list[str]]:
    """Return for each case and each run after the first the ratio of times and what explains it.

    Args:
        runs: The runs; nothing is explained between runs of one machine on as many threads.

    Returns:
        Rows of benchmark, run, ratio with its interval, and why.
    """
    first = runs[0]
    return [
        [record.short_name, tables.letter(index), _ratio_text(before, record), _why(first, run, before, record)]
        for index, run, before, record in _pairs(runs)
        if not _same_ceilings(first, run)
    ]


def _pairs(runs: Sequence[Run]) -> Iterator[tuple[int, Run, Record, Record]]:
    """Yield index, run, the first run's record and the run's own of all benchmarks that both measured rightly."""
    base = {record.fullname: record for record in tables.valid(runs[0].records)}
    for index, run in enumerate(runs[1:], 1):
        for record in tables.valid(run.records):
            if record.fullname in base:
                yield index, run, base[record.fullname], record


def costs(runs: Sequence[Run], prices: Mapping[str, float]) -> list[Cost]:
    """Return what a million forecasts cost by each cell and runtime of each run, cheapest first.

    Args:
        runs: The runs.
        prices: Of an hour of a run's machine, by its name in the report, the name of its file or its letter.

    Returns:
        One entry per run, cell and runtime with a price or measured energy: those with a price by price, then the others by
        energy.

    Raises:
        ConfigError: If a price is of no run, or of several.
    """
    shown = tables.run_names(runs)
    names = [
        {tables.letter(index), name, run.path.name, run.path.stem}
        for index, (run, name) in enumerate(zip(runs, shown, strict=True))
    ]
    counts = Counter(name for of_run in names for name in of_run)
    wrong = sorted(name for name in prices if counts[name] != 1)
    if wrong:
        known = ", ".join(sorted(name for name, count in counts.items() if count == 1))
        of_what = "several runs" if counts[wrong[0]] else "no such run"
        raise ConfigError(f"--price {wrong[0]}=...: {of_what}. Name one of {known}.")
    found = []
    records = _of_common_sizes([tables.valid(run.phase("infer")) for run in runs])
    for run_name, of_run, of_sizes in zip(tables.lettered_names(runs), names, records, strict=True):
        price_per_hour = next((price for name, price in prices.items() if name in of_run), None)
        for record in _quickest_by_choice(of_sizes):
            joules = record.joules_per_1000
            if price_per_hour is None and joules is None:
                continue
            found.append(
                Cost(
                    run=run_name,
                    choice=f"{_choice(record)}, batch {record.batch_size:,}",
                    record=record,
                    price_per_hour=price_per_hour,
                    price=None if price_per_hour is None else _price_of_forecasts(price_per_hour, record),
                    joules=None if joules is None else float(joules) * FORECASTS / 1000,
                )
            )
    return sorted(found, key=lambda cost: (_or_last(cost.price), _or_last(cost.joules), cost.run, cost.choice))


def _quickest_by_choice(records: Sequence[Record]) -> list[Record]:
    """Return the record with most windows per second of each cell and runtime."""
    best: dict[str, Record] = {}
    for record in records:
        choice = _choice(record)
        if choice not in best or record.windows_per_s > best[choice].windows_per_s:
            best[choice] = record
    return list(best.values())


def _choice(record: Record) -> str:
    return f"{tables.cell_name(record)} in {tables.how(record)}"


def _of_common_sizes(records_of_runs: Sequence[Sequence[Record]]) -> list[list[Record]]:
    """Leave out batch sizes of a choice that only some of the runs with this choice have, unless they share none."""
    sizes: dict[str, list[set[int]]] = {}
    for records in records_of_runs:
        of_run: dict[str, set[int]] = {}
        for record in records:
            of_run.setdefault(_choice(record), set()).add(record.batch_size)
        for choice, found in of_run.items():
            sizes.setdefault(choice, []).append(found)
    common = {choice: set.intersection(*found) or set.union(*found) for choice, found in sizes.items()}
    return [[record for record in records if record.batch_size in common[_choice(record)]] for records in records_of_runs]


def _price_of_forecasts(price_per_hour: float, record: Record) -> float:
    return price_per_hour / SECONDS_PER_HOUR * FORECASTS / record.windows_per_s


def _or_last(value: float | None) -> float:
    return math.inf if value is None else value


def cost_table(found: Sequence[Cost]) -> str:
    """Show what `costs` found, with the digits that each throughput has."""
    rows = [
        [
            cost.run,
            cost.choice,
            tables.measured(cost.record.windows_per_s, cost.record),
            "–" if cost.price_per_hour is None else f"{cost.price_per_hour:.2f}",
            "–" if cost.price is None else tables.measured(cost.price, cost.record),
            "–" if cost.joules is None else tables.significant(cost.joules),
        ]
        for cost in found
    ]
    head = ["Run", "Choice", "windows/s", "price per hour", "price per million forecasts", "J per million forecasts"]
    return tables.markdown_table(head, rows, left=2)


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
    text = tables.times(found.ratio)
    if found.low is None or found.high is None:
        return text
    return f"{text} ({tables.times(found.low)} to {tables.times(found.high)})"


def _why(first: Run, run: Run, before: Record, now: Record) -> str:
    """Say how much faster the machine's products and memory are, and what holds the case back there."""
    known = []
    for what, kind in (("its products are", "gemm"), ("its memory is", "copy")):
        rates = [_rate(one, record, kind) for one, record in ((first, before), (run, now))]
        if rates[0] and rates[1]:
            known.append(f"{what} {tables.times(rates[0] / rates[1])}")
    held = _WAITS.get(str(now.bound))
    if held:
        joined = ", but" if now.bound == "latency" and known else ";"
        return f"{'; '.join(known)}{joined} {held}" if known else held
    return "; ".join(known) or "–"


def _rate(run: Run, record: Record, kind: str) -> float | None:
    entries: Sequence[dict[str, Any]] = (run.ceilings or {}).get(kind, ())
    for entry in entries:
        if entry["device"] == record.device and (kind != "gemm" or entry["precision"] == record.precision):
            return None if not entry["per_s"] else float(entry["per_s"])
    return None
