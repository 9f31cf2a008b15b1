"""What a million forecasts cost with each choice."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnncore.amounts import counted
from rnncore.compare.choices import fastest_of_each, rankable
from rnncore.errors import ConfigError
from rnncore.report.fold import folded
from rnncore.report.rows import way
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import letter, lettered_names, run_names, significant
from rnncore.runfile.record import Record, Run

SECONDS_PER_HOUR = 3600.0

FORECASTS = 1e6

# Choices that are shown unfolded.
MOST_ROWS = 8


@dataclass(frozen=True)
class Cost:
    """What a million forecasts cost by one way of making them, at the batch size that it is cheapest with.

    Attributes:
        run: Letter and file.
        choice: Cell, runtime and batch size.
        record: Its benchmark.
        price_per_hour: Of the machine; None where none was given.
        price: Of a million forecasts.
        joules: Of a million forecasts; None where no energy was measured. Of a CPU they are those of its packages, of a GPU
            those of its board, without the host that drives it.
    """

    run: str
    choice: str
    record: Record
    price_per_hour: float | None
    price: float | None
    joules: float | None

    @property
    def is_of_board(self) -> bool:
        """Whether the energy is that of a GPU's board."""
        return self.joules is not None and not self.record.is_on_cpu


def costs(runs: Sequence[Run], prices: Mapping[str, float]) -> list[Cost]:
    """Return what a million forecasts cost by each cell and runtime of each run, cheapest first.

    Args:
        runs: The runs.
        prices: Of an hour of a run's machine, by its name in the report, the name of its file or its letter.

    Returns:
        One entry per run, cell and runtime with a price or measured energy: those with a price by price, then the others by
        energy, those of CPU packages before those of GPU boards.

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
    records = _of_common_sizes([rankable(run.phase("infer")) for run in runs])
    for run_name, of_run, of_sizes in zip(lettered_names(runs), names, records, strict=True):
        price_per_hour = next((price for name, price in prices.items() if name in of_run), None)
        for record in fastest_of_each(of_sizes, way):
            joules, windows_per_hour = record.joules_per_1000, record.windows_per_s * SECONDS_PER_HOUR
            if price_per_hour is None and joules is None:
                continue
            found.append(
                Cost(
                    run=run_name,
                    choice=f"{way(record)}, batch {record.batch_size:,}",
                    record=record,
                    price_per_hour=price_per_hour,
                    price=None if price_per_hour is None else price_per_hour / windows_per_hour * FORECASTS,
                    joules=None if joules is None else float(joules) * FORECASTS / 1000,
                )
            )
    return sorted(
        found, key=lambda cost: (_or_last(cost.price), cost.is_of_board, _or_last(cost.joules), cost.run, cost.choice)
    )


def _of_common_sizes(records_of_runs: Sequence[Sequence[Record]]) -> list[list[Record]]:
    """Leave out batch sizes of a choice that only some of the runs with this choice have, unless they share none."""
    sizes: dict[str, list[set[int]]] = {}
    for records in records_of_runs:
        of_run: dict[str, set[int]] = {}
        for record in records:
            of_run.setdefault(way(record), set()).add(record.batch_size)
        for choice, found in of_run.items():
            sizes.setdefault(choice, []).append(found)
    common = {choice: set.intersection(*found) or set.union(*found) for choice, found in sizes.items()}
    return [[record for record in records if record.batch_size in common[way(record)]] for records in records_of_runs]


def _or_last(value: float | None) -> float:
    return math.inf if value is None else value


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of costs, the cheapest in the open."""
    is_one = len(runs) == 1
    found = costs(runs, shown.prices)
    has_boards = any(cost.is_of_board for cost in found)
    columns = [
        *words(*([] if is_one else ["Run"]), "Choice"),
        *numbers("windows/s", show=significant),
        *numbers("price per hour", show="{:.2f}".format),
        *numbers("price per million forecasts", show=significant),
        *numbers("J per million forecasts", show=significant),
        *words(*(["J of"] if has_boards else [])),
    ]
    rows = [
        [
            *([] if is_one else [cost.run]),
            cost.choice,
            cost.record.windows_per_s,
            cost.price_per_hour,
            cost.price,
            cost.joules,
            *([_counted_of(cost)] if has_boards else []),
        ]
        for cost in found
    ]
    of_which = "" if is_one else ", of those that all runs with it measured"
    apart = (
        " Joules of a CPU's packages and of a GPU's board, which leave its host out, are no one scale." if has_boards else ""
    )
    note = f"Cheapest first, each choice at its batch size with most windows per second{of_which}.{apart}\n"
    table = Table(columns, rows[:MOST_ROWS]).markdown()
    more = [Table(columns, rows).markdown()] if len(rows) > MOST_ROWS else []
    return [note, table, *folded(f"All {counted(len(rows), 'choice')}", more)] if rows else []


def _counted_of(cost: Cost) -> str | None:
    """Name what used the energy that was counted."""
    return None if cost.joules is None else "GPU board" if cost.is_of_board else "CPU packages"


SECTION = Section("## What do a million forecasts cost?", text)
