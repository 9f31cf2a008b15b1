"""What is best: which of the measured ways to run a forecaster, for each goal, and within bounds of latency and accuracy."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rnncore.compare.ranks import Ratio, compare_rounds
from rnncore.errors import ConfigError
from rnncore.runfile.recipes import SIZES
from rnncore.runfile.record import Record, Run

# Of the interval of best against runner-up.
ERROR = 0.01

# Speed and accuracy are of one model, run in one way, where all of these agree.
_ONE_WAY = ("cell", "recipe", *SIZES, "runtime", "mode", "device", "precision")

Statistic = Literal["p90", "median"]


@dataclass(frozen=True)
class Goal:
    """What a user may want most of.

    Attributes:
        phase: Of the rows that have it.
        cost: What the best has least of; None leaves a row out.
        of_smallest_batch: Whether only rows of the run's smallest batch size count.
    """

    phase: str
    cost: Callable[[Record], float | None]
    of_smallest_batch: bool = False


GOALS = {
    "latency": Goal("infer", lambda record: record.median_s, of_smallest_batch=True),
    "throughput": Goal("infer", lambda record: -record.windows_per_s),
    "memory": Goal("infer", lambda record: record.whole_process_bytes or None),
    # As exact as it is shown: of those as accurate the quickest is the best.
    "accuracy": Goal("accuracy", lambda record: round(record.smape, 3)),
    "training": Goal("train", lambda record: -record.windows_per_s),
}


def ranked(run: Run, name: str) -> list[Record]:
    """Return the right rows that have what a goal is about, the best first.

    Args:
        run: Of any suites.
        name: A key of `GOALS`.
    """
    goal = GOALS[name]
    found = rankable(run.phase(goal.phase))
    if goal.of_smallest_batch:
        smallest = min((record.batch_size for record in found), default=0)
        found = [record for record in found if record.batch_size == smallest]
    costs = [(cost, record) for record in fastest_first(found) if (cost := goal.cost(record)) is not None]
    return [record for _, record in sorted(costs, key=lambda one: one[0])]


def rankable(records: Iterable[Record]) -> list[Record]:
    """Return what may be ranked: right rows, on a GPU those with any program's copies, as on one clock with the CPU's."""
    return [record for record in records if record.is_valid and record.has_usual_clock]


def fastest_first(records: Iterable[Record]) -> list[Record]:
    """Order rows by windows per second, most first."""
    return sorted(records, key=lambda record: (-record.windows_per_s, record.fullname))


def fastest_of_each(records: Iterable[Record], kind: Callable[[Record], Hashable]) -> list[Record]:
    """Return the row with most windows per second of each kind of rows, in the order in which the kinds come first."""
    kinds: dict[Hashable, list[Record]] = {}
    for record in records:
        kinds.setdefault(kind(record), []).append(record)
    return [fastest_first(of_kind)[0] for of_kind in kinds.values()]


@dataclass(frozen=True)
class Limits:
    """What a choice must keep.

    Attributes:
        max_latency_s: Largest latency, by the statistic that a choice has; None for any.
        max_smape_loss: Largest points of sMAPE above the most accurate choice of the run; None for any, known or not.
        batch_size: Windows per call; None for the size with most windows per second.
        cell: One of the cells; None for any.
        device: A device's name; None for any.
    """

    max_latency_s: float | None = None
    max_smape_loss: float | None = None
    batch_size: int | None = None
    cell: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Choice:
    """One measured way to run a forecaster.

    Attributes:
        record: Its inference row.
        latency_s: Its 90th percentile, or where it has too few single calls for one, its median.
        latency_statistic: Which of the two it is.
        smape: Of the same model as the accuracy suite trained it, run in the same way; None where it was not scored so.
        smape_loss: Points above the most accurate choice; None where it was not scored.
    """

    record: Record
    latency_s: float
    latency_statistic: Statistic
    smape: float | None
    smape_loss: float | None


@dataclass(frozen=True)
class Recommendation:
    """The best choice within bounds.

    Attributes:
        best: With most windows per second.
        runner_up: The next; None where nothing else is within the bounds.
        lead: Time per window of the runner-up against the best, with its interval; None without a runner-up.
        within: How many choices keep the bounds.
        left_out: Reasons for leaving choices out, each with how many it concerns.
    """

    best: Choice
    runner_up: Choice | None
    lead: Ratio | None
    within: int
    left_out: dict[str, int]

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves no doubt of who is ahead, as far as rounds of one process show."""
        return self.lead is None or (self.lead.low is not None and self.lead.low > 1)


def recommend(run: Run, bounds: Limits) -> Recommendation:
    """Return the choice with most windows per second within the bounds.

    Args:
        run: With rows of the inference suite, and of the accuracy suite where accuracy is bounded.
        bounds: What the choice must keep.

    Raises:
        ConfigError: If nothing in the run keeps them; it says what came nearest. If it has no row of rnncore's suites.
    """
    if not any(record.has_case for record in run.records):
        raise ConfigError(
            f"{run.path}: holds no row of rnncore's suites, and only among those is there something to recommend. "
            f"'rnncore report {run.path}' shows what it holds."
        )
    every = _choices(run)
    asked = [choice for choice in every if _is_asked(choice.record, bounds)]
    if not asked:
        raise ConfigError(f"{run.path}: no valid inference row {_asked_text(bounds)}. Measured: {_measured_text(every)}.")
    left_out: dict[str, int] = {}
    kept = []
    for choice in asked:
        reason = _breaks(choice, bounds)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            kept.append(choice)
    if not kept:
        raise ConfigError(f"{run.path}: nothing keeps the bounds. {_nearest_text(asked, bounds)}")
    by_row = {choice.record.fullname: choice for choice in kept}
    best, *others = [by_row[record.fullname] for record in fastest_first(choice.record for choice in kept)]
    runner_up = others[0] if others else None
    lead = _lead(best.record, runner_up.record) if runner_up else None
    return Recommendation(best, runner_up, lead, len(kept), left_out)


def _choices(run: Run) -> list[Choice]:
    """Return what was rightly measured; on a GPU with the copies, which a user pays too.

    Models of a sweep are left out: no recipe trains them.
    """
    rows = [record for record in rankable(run.phase("infer")) if not record.recipe or record.is_own_size]
    smapes = {_way(record): float(record.smape) for record in run.phase("accuracy") if record.is_valid}
    most_accurate = min(smapes.values(), default=0.0)
    found = []
    for record in rows:
        smape = smapes.get(_way(record))
        found.append(Choice(record, *_latency(record), smape, None if smape is None else smape - most_accurate))
    return found


def _way(record: Record) -> tuple[Any, ...]:
    return record.axes(_ONE_WAY)


def _latency(record: Record) -> tuple[float, Statistic]:
    p90 = (record.percentiles or {}).get("p90")
    return (float(p90["s"]), "p90") if p90 else (record.median_s, "median")


def _is_asked(record: Record, bounds: Limits) -> bool:
    asked = ((bounds.batch_size, record.batch_size), (bounds.cell, record.cell), (bounds.device, record.device))
    return all(wanted in (None, has) for wanted, has in asked)


def _breaks(choice: Choice, bounds: Limits) -> str | None:
    """Return which bound a choice breaks, or None."""
    if bounds.max_latency_s is not None and choice.latency_s > bounds.max_latency_s:
        return "slower than the bound of latency"
    if bounds.max_smape_loss is not None:
        if choice.smape_loss is None:
            return "sMAPE not measured"
        if choice.smape_loss > bounds.max_smape_loss:
            return "sMAPE above the bound"
    return None


def _lead(best: Record, runner_up: Record) -> Ratio:
    """Return the time per window of the runner-up against the best; without an interval where a file holds no rounds."""
    if not (best.rounds_s and runner_up.rounds_s):
        return Ratio(best.windows_per_s / runner_up.windows_per_s, None, None, 1.0)
    return compare_rounds(_per_window_s(best), _per_window_s(runner_up), ERROR)


def _per_window_s(record: Record) -> list[float]:
    return [seconds / float(record.windows) for seconds in record.rounds_s]


def _asked_text(bounds: Limits) -> str:
    parts = [f"of the cell {bounds.cell}"] if bounds.cell else []
    parts += [f"on {bounds.device}"] if bounds.device else []
    parts += [f"at batch {bounds.batch_size:,}"] if bounds.batch_size else []
    return " ".join(parts) or "at all"


def _measured_text(choices: Sequence[Choice]) -> str:
    records = [choice.record for choice in choices]
    cells, devices = sorted({record.cell for record in records}), sorted({record.device for record in records})
    if not choices:
        return "nothing; run 'pytest bench/ --benchmark-autosave'"
    batch_sizes = sorted({record.batch_size for record in records})
    return f"{', '.join(cells)} on {', '.join(devices)} at batch {', '.join(map(str, batch_sizes))}"


def _nearest_text(choices: Sequence[Choice], bounds: Limits) -> str:
    said = []
    if bounds.max_latency_s is not None:
        lowest = min(choices, key=lambda choice: choice.latency_s)
        said.append(f"The lowest latency is {1e3 * lowest.latency_s:.3g} ms ({lowest.latency_statistic}).")
    if bounds.max_smape_loss is not None:
        losses = [choice.smape_loss for choice in choices if choice.smape_loss is not None]
        known = (
            f"The smallest loss of sMAPE is {min(losses):.3g}." if losses else "No choice has a row of the accuracy suite."
        )
        said.append(known)
    return " ".join(said)
