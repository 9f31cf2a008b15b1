"""What a million forecasts cost with each choice."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnncore.errors import ConfigError
from rnncore.report.rows import valid
from rnncore.report.table import markdown_table
from rnncore.report.words import how, letter, lettered_names, measured, run_names, significant
from rnncore.runfile.record import Record, Run

SECONDS_PER_HOUR = 3600.0

FORECASTS = 1e6

COST_NOTE = "Cheapest first, each choice at its batch size with most windows per second.\n"

COST_NOTE_OF_SEVERAL = (
    "Cheapest first, each choice at its batch size with most windows per second, of those that all runs with it measured.\n"
)


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
    shown = run_names(runs)
    names = [
        {letter(index), name, run.path.name, run.path.stem}
        for index, (run, name) in enumerate(zip(runs, shown, strict=True))
    ]
    counts = Counter(name for of_run in names for name in of_run)
    wrong = sorted(name for name in prices if counts[name] != 1)
    if wrong:
        known = ", ".join(sorted(name for name, count in counts.items() if count == 1))
        of_what = "several runs" if counts[wrong[0]] else "no such run"
        raise ConfigError(f"--price {wrong[0]}=...: {of_what}. Name one of {known}.")
    found = []
    records = _of_common_sizes([valid(run.phase("infer")) for run in runs])
    for run_name, of_run, of_sizes in zip(lettered_names(runs), names, records, strict=True):
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
    return f"{record.model_name} in {how(record)}"


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
            measured(cost.record.windows_per_s, cost.record),
            "–" if cost.price_per_hour is None else f"{cost.price_per_hour:.2f}",
            "–" if cost.price is None else measured(cost.price, cost.record),
            "–" if cost.joules is None else significant(cost.joules),
        ]
        for cost in found
    ]
    head = ["Run", "Choice", "windows/s", "price per hour", "price per million forecasts", "J per million forecasts"]
    return markdown_table(head, rows, left=2)
