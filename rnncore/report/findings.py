"""What a run says in plain sentences: what is fastest, and the best choice for each goal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rnncore.compare.runs import Record, Run
from rnncore.report import tables

# Answers this close to float64 are those of any other runtime, as far as a forecast goes.
SAME_ANSWERS = 1e-4


@dataclass(frozen=True)
class Choice:
    """The best of what was measured for one goal.

    Attributes:
        goal: What it is best at.
        best: Its name.
        figure: Its figure, with the unit.
        others: What the next best has, in words.
    """

    goal: str
    best: str
    figure: str
    others: str


def sentences(run: Run) -> list[str]:
    """Return the verdict as plain sentences, with Markdown's stars around the winners."""
    found = [_fastest(records) for _, records in by_batch_size(tables.valid(run.phase("infer")))]
    if train := tables.valid(run.phase("train")):
        fastest = max(train, key=lambda record: record.windows_per_s)
        found.append(
            f"**{tables.cell_name(fastest)}** trains fastest: {tables.significant(fastest.windows_per_s)} windows/s at "
            f"batch {fastest.extra['batch_size']:,} in {tables.how(fastest)}."
        )
    if accuracy := tables.valid(run.phase("accuracy")):
        best = min(accuracy, key=lambda record: float(record.extra["smape"]))
        name, smape = min(best.extra["baselines_smape"].items(), key=lambda item: float(item[1]))
        found.append(
            f"Most accurate after the short training: **{tables.cell_name(best)}**, sMAPE {best.extra['smape']:.3f} %; "
            f"the best baseline, {tables.BASELINE_NAMES.get(name, name)}, has {smape:.3f} %."
        )
    if run.data:
        found.append(f"Data: {run.data['name']}. The ratios below are of one process on one machine.")
    return found


def choices(run: Run) -> list[Choice]:
    """Return the best choice for each goal that something was measured for."""
    infer = tables.valid(run.phase("infer"))
    smallest = min((int(record.extra["batch_size"]) for record in infer), default=0)
    latency = [record for record in infer if record.extra["batch_size"] == smallest]
    scale, unit = tables.time_unit([record.median_s for record in latency] or [1.0])
    found = [
        _choice(
            "Lowest latency",
            latency,
            lambda one: one.median_s,
            lambda one: f"{tables.significant(one.median_s / scale)} {unit}",
        ),
        _choice("Highest throughput", infer, lambda one: -one.windows_per_s, _rate),
        _choice(
            "Lowest memory",
            [one for one in infer if _peak(one)],
            _peak,
            lambda one: tables.bytes_text(int(_peak(one))),
        ),
        _choice(
            "Best accuracy",
            tables.valid(run.phase("accuracy")),
            lambda one: float(one.extra["smape"]),
            lambda one: f"sMAPE {one.extra['smape']:.3f} %",
        ),
        _choice("Fastest training", tables.valid(run.phase("train")), lambda one: -one.windows_per_s, _rate),
    ]
    return [choice for choice in found if choice]


def by_batch_size(records: list[Record]) -> list[tuple[int, list[Record]]]:
    """Return records by batch size, smallest first."""

    def batch_size(record: Record) -> int:
        return int(record.extra["batch_size"])

    return [(size, list(group)) for size, group in groupby(sorted(records, key=batch_size), key=batch_size)]


def _choice(
    goal: str, records: Sequence[Record], order: Callable[[Record], float], figure: Callable[[Record], str]
) -> Choice | None:
    if not records:
        return None
    best, *others = sorted(records, key=lambda record: (order(record), record.fullname))
    following = f"{_name(others[0])}: {figure(others[0])}" if others else "–"
    return Choice(goal, _name(best), figure(best), following)


def _name(record: Record) -> str:
    batch_size = record.extra.get("batch_size")
    batch = f", batch {batch_size:,}" if isinstance(batch_size, int) and record.extra["phase"] != "accuracy" else ""
    return f"{tables.cell_name(record)} in {tables.how(record)}{batch}"


def _rate(record: Record) -> str:
    return f"{tables.significant(record.windows_per_s)} windows/s"


def _peak(record: Record) -> float:
    on_device = record.extra.get("peak_device_bytes")
    return float((record.extra.get("peak_rss_bytes") if on_device is None else on_device) or 0)


def _fastest(records: list[Record]) -> str:
    """Say which is the fastest of one batch size, by how much, and whether its answers are right."""
    best, *others = sorted(records, key=lambda record: record.median_s)
    batch_size = int(best.extra["batch_size"])
    scale, unit = tables.time_unit([best.median_s])
    what = "one window at a time" if batch_size == 1 else f"{batch_size:,} windows at a time"
    sentence = (
        f"For {what}, **{tables.cell_name(best)} in {tables.how(best)}** is fastest: "
        f"{tables.significant(best.median_s / scale)} {unit} per call, "
        f"{tables.significant(best.windows_per_s)} windows/s"
    )
    base = tables.base_of(records)
    if base and base is not best:
        ratio = tables.times(best.median_s / base.median_s)
        sentence += f", {'as fast as' if ratio == 'equal' else f'{ratio} than'} GRU in {tables.how(base)}"
    if others and others[0] is not base:
        sentence += f"; the next, {tables.cell_name(others[0])} in {tables.how(others[0])}, is " + tables.times(
            others[0].median_s / best.median_s
        )
    return f"{sentence}{_answers(best)}."


def _answers(record: Record) -> str:
    error = record.extra.get("parity_max_abs")
    if not isinstance(error, float):
        return ""
    return f"; its answers lie within {error:.0e} of float64" if error <= SAME_ANSWERS else f"; they are off by {error:.0e}"
