"""Rows measured interleaved: ratios that a busy machine spares, beside those of rows measured one after another."""

from collections.abc import Sequence
from itertools import groupby

from rnncore.compare.interleaved import interleaved_ratio
from rnncore.report.table import markdown_table
from rnncore.report.words import how, measured, time_unit, times
from rnncore.runfile.record import Record

# Of the intervals of ratios.
ERROR = 0.01

NOTE = (
    "Each runtime in a process of its own, stopped while it waited; times against PyTorch in fp32 on the same "
    "device, round by round, with 99 % intervals.\n"
)


def interleaved_table(interleaved: Sequence[Record], infer: Sequence[Record]) -> str:
    """Compare runtimes at each batch size and cell by interleaved rounds.

    Args:
        interleaved: Valid rows of the interleaved suite.
        infer: Valid rows of the inference suite, for the ratio of rows one after another.
    """
    rows = []
    for _, group in groupby(sorted(interleaved, key=_order), key=_conditions):
        records = list(group)
        base = next((one for one in records if _is_torch(one)), None)
        scale, unit = time_unit(one.median_s for one in records)
        for record in sorted(records, key=lambda one: one.median_s):
            rows.append(
                [
                    record.model_name,
                    f"{record.batch_size:,}",
                    how(record),
                    str(record.kernel or "–"),
                    f"{measured(record.median_s / scale, record)} {unit}",
                    "–" if base in (None, record) else _ratio_text(base, record),
                    _one_after_another(record, infer),
                ]
            )
    head = ["Cell", "Batch", "Runtime", "Kernel", "median", "interleaved", "one after another"]
    return markdown_table(head, rows, left=4)


def _order(record: Record) -> tuple[str, ...]:
    return tuple(str(part).zfill(8) for part in _conditions(record))


def _conditions(record: Record) -> tuple[object, ...]:
    return record.axes(("device", "batch_size", "cell", "recipe", "hidden_size", "num_layers", "lookback", "threads"))


def _is_torch(record: Record) -> bool:
    return (record.runtime, record.mode, record.precision) == ("torch", None, "fp32")


def _ratio_text(base: Record | None, record: Record) -> str:
    if base is None or len(base.rounds_s) != len(record.rounds_s):
        return "–"
    found = interleaved_ratio(base.rounds_s, record.rounds_s, ERROR)
    text = times(found.estimate)
    if found.low is None or found.high is None:
        return text
    return f"{text} ({times(found.low)} to {times(found.high)})"


def _one_after_another(record: Record, infer: Sequence[Record]) -> str:
    """Return the ratio to PyTorch of the same two rows in the inference suite."""
    same = [one for one in infer if _conditions(one) == _conditions(record) and one.clock != "host"]
    own = next((one for one in same if how(one) == how(record)), None)
    base = next((one for one in same if _is_torch(one)), None)
    return "–" if own is None or base is None or own is base else times(own.median_s / base.median_s)
