"""Which rows a table shows, in which order, and against which."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from rnncore.report.table import escape
from rnncore.report.words import how, significant
from rnncore.runfile.recipes import ARTICLE, SIZES
from rnncore.runfile.record import Record, Run, short_name


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
    usual = (None, "host", "device")
    return min(bases, key=lambda one: (one.device != "cpu", one.clock not in usual, one.is_device_only), default=None)


def same_but_cell(record: Record, records: list[Record]) -> Record | None:
    """Return the GRU record beside a record of another cell."""
    if record.cell == "gru":
        return None
    axes = ("recipe", "runtime", "mode", "device", "precision", "batch_size", *SIZES, "threads", "clock")
    return next((other for other in records if other.cell == "gru" and other.axes(axes) == record.axes(axes)), None)


def same_but_precision(record: Record, records: Iterable[Record]) -> Record | None:
    """Return the fp32 record beside a record of another precision."""
    if record.precision in (None, "fp32"):
        return None
    axes = ("phase", "cell", "recipe", "runtime", "mode", "device", "batch_size", *SIZES, "threads", "clock")
    of_fp32 = (other for other in records if other.precision == "fp32" and other.axes(axes) == record.axes(axes))
    return next(of_fp32, None)


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
    return escape(f" of models with {num_layers} layers of {hidden_size}, {lookback} hours")


def names_of(records: Iterable[Record]) -> dict[str, str]:
    """Return what benchmarks are called in a table, by full name: without their file, unless another has the same name."""
    fullnames = list(dict.fromkeys(record.fullname for record in records))
    counts = Counter(map(short_name, fullnames))
    return {name: short_name(name) if counts[short_name(name)] == 1 else name for name in fullnames}
