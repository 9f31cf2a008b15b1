"""Which rows a table shows, in which order, and against which."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from rnncore.compare.figures import figure_of
from rnncore.report.words import how, significant
from rnncore.runfile.recipes import ARTICLE, SIZES
from rnncore.runfile.record import Record, Run, short_name

# What is alike of two rows that do the same work in the same way.
_WORK = ("phase", "cell", "recipe", "runtime", "mode", "device", "precision", "batch_size", *SIZES, "threads", "clock")

# Percentiles of single calls that tables and results have beside the median.
PERCENTILES = (90, 95, 99)


class Tail(NamedTuple):
    """A percentile of the seconds of single calls, and the two calls that hold it between them."""

    seconds: float
    low_s: float
    high_s: float


def tail_of(record: Record, percentile: int) -> Tail | None:
    """Return a percentile, as it was recorded, or of another suite from the rounds; None where they do not tell it.

    Args:
        record: Of which benchmark.
        percentile: One of `PERCENTILES`.
    """
    if recorded := (record.percentiles or {}).get(f"p{percentile}"):
        return Tail(recorded["s"], recorded["low_s"], recorded["high_s"])
    figure = None if record.has_case else figure_of(f"p{percentile}_s")
    found = figure.estimate(record) if figure else None
    if found is None or found.value is None or found.low is None or found.high is None:
        return None
    return Tail(found.value, found.low, found.high)


def valid(records: Iterable[Record]) -> list[Record]:
    """Leave out records whose result is wrong."""
    return [record for record in records if record.is_valid]


def by_recipe(records: Iterable[Record]) -> dict[str | None, list[Record]]:
    """Return records by the recipe of their model: the article's first, the others as they come."""
    found: dict[str | None, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.recipe != ARTICLE):
        found.setdefault(record.recipe, []).append(record)
    return found


def of_usual_size(records: Iterable[Record]) -> list[Record]:
    """Leave out models and threads that a sweep added: other sizes than the recipe's own, other threads than most have."""
    found = [record for record in records if record.recipe is None or record.is_own_size]
    threads = Counter(record.threads for record in found).most_common(1)
    return [record for record in found if record.threads == threads[0][0]]


def of_smallest_batch(records: Sequence[Record]) -> list[Record]:
    """Return the records of the smallest batch size among them."""
    smallest = min((record.batch_size for record in records), default=0)
    return [record for record in records if record.batch_size == smallest]


def of_each_runtime(records: Iterable[Record]) -> list[Record]:
    """Return the first record of each runtime and device, of what is sorted the best."""
    found: dict[tuple[str, str, str | None], Record] = {}
    for record in records:
        found.setdefault((record.runtime_title, record.device, record.clock), record)
    return list(found.values())


def way(record: Record) -> str:
    """Name model, runtime, device and precision: `GRU in rnncore, CPU, bf16`."""
    return f"{record.model_name} in {how(record)}"


def base_of(records: Iterable[Record]) -> Record | None:
    """Return what the others are held against, PyTorch's GRU: on the CPU, or where only a GPU was measured, on that.

    On a GPU it is the row with the copies, or where there is none, the one without.
    """
    bases = [
        record
        for record in records
        if (record.runtime, record.mode, record.cell, record.precision) == ("torch", None, "gru", "fp32")
    ]
    return min(bases, key=lambda one: (one.device != "cpu", not one.has_usual_clock, one.clock != "device"), default=None)


def is_beside(record: Record, base: Record) -> bool:
    """Say whether the times of a row may be held against those of another: what they include of copies is alike."""
    return record.clock == base.clock or (record.has_usual_clock and base.has_usual_clock)


def beside(records: Sequence[Record], axis: str, usual: str) -> dict[str, Record]:
    """Return what records are held against in one axis, by full name: the record that has *usual* there and is else alike.

    Args:
        records: Of one run; those that have *usual* there, or nothing, are held against none.
        axis: Such as `cell`.
        usual: Such as `gru`.
    """
    axes = tuple(name for name in _WORK if name != axis)
    found: dict[tuple[object, ...], Record] = {}
    for record in records:
        if getattr(record, axis) == usual:
            found.setdefault(record.axes(axes), record)
    others = [record for record in records if getattr(record, axis) not in (None, usual)]
    return {record.fullname: found[work] for record in others if (work := record.axes(axes)) in found}


def time_cells(record: Record, scale: float) -> list[str]:
    """Return the cells of the median, and of the quickest and the slowest round."""
    low, median, high = low_median_high(record, scale)
    return [median, f"{low}–{high}"]


def low_median_high(record: Record, scale: float) -> tuple[str, str, str]:
    """Return the quickest round, the median and the slowest."""
    low, median, high = (significant(seconds / scale) for seconds in (record.quickest_s, record.median_s, record.slowest_s))
    return low, median, high


def best_per_s(run: Run, kind: str, device: str, precision: str | None = None) -> float | None:
    """Return the best rate that a session measured: operations or bytes per second; None where there is none.

    Args:
        run: The run.
        kind: `peak` for products in registers alone, `gemm` for square products, `copy` for copying memory.
        device: Where.
        precision: Of the products; None for copying.
    """
    for entry in (run.ceilings or {}).get(kind, ()):
        if (entry["device"], entry.get("precision")) == (device, precision) and entry["per_s"]:
            return float(entry["per_s"])
    return None


def best_product_per_s(run: Run, device: str, precision: str | None) -> float | None:
    """Return the best rate of products that a session measured, in registers alone or of a library; None without one."""
    found = (best_per_s(run, kind, device, precision) for kind in ("peak", "gemm"))
    return max(filter(None, found), default=None)


def by_batch_size(records: list[Record]) -> list[tuple[int, list[Record]]]:
    """Return records by batch size, smallest first."""

    def batch_size(record: Record) -> int:
        return int(record.batch_size)

    return [(size, list(group)) for size, group in groupby(sorted(records, key=batch_size), key=batch_size)]


def of_what(records: list[Record]) -> str:
    """Say of which size the models are, where all are of one."""
    sizes = {(record.hidden_size, record.num_layers, record.lookback) for record in records}
    if len(sizes) != 1 or None in next(iter(sizes)):
        return ""
    hidden_size, num_layers, lookback = map(str, next(iter(sizes)))
    return f" of models with {num_layers} layers of {hidden_size}, {lookback} hours"


def names_of(records: Iterable[Record]) -> dict[str, str]:
    """Return what the benchmarks of records are called in a table, by full name."""
    return short_names(record.fullname for record in records)


def short_names(fullnames: Iterable[str]) -> dict[str, str]:
    """Return what benchmarks are called in a table, by full name: without their file, unless another has the same name."""
    names = list(dict.fromkeys(fullnames))
    counts = Counter(map(short_name, names))
    return {name: short_name(name) if counts[short_name(name)] == 1 else name for name in names}
