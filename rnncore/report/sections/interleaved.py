"""Rows measured interleaved: ratios that a busy machine spares, beside those of rows measured one after another."""

from collections.abc import Sequence
from itertools import groupby

from rnncore.compare.interleaved import interleaved_ratio
from rnncore.report.fold import folded
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, numbers, paragraph, words
from rnncore.report.words import how, ratio_within, time_text, times
from rnncore.runfile.record import Record, Run

# Of the intervals of ratios.
ERROR = 0.01


def interleaved_table(interleaved: Sequence[Record], one_after_another: Sequence[Record]) -> Table:
    """Compare interleaved runtimes at each batch size and cell.

    Args:
        interleaved: Valid rows that were measured interleaved.
        one_after_another: Valid rows of the same work that were not, for the ratio of those.
    """
    rows = []
    in_order = sorted(interleaved, key=lambda record: [str(part).zfill(8) for part in _conditions(record)])
    for conditions, group in groupby(in_order, key=_conditions):
        records = list(group)
        base = next((one for one in records if _is_torch(one)), None)
        alone = [one for one in one_after_another if _conditions(one) == conditions and one.clock in (None, "device")]
        base_alone = next((one for one in alone if _is_torch(one)), None)
        for record in sorted(records, key=lambda one: one.median_s):
            own = next((one for one in alone if how(one) == how(record)), None)
            found = None
            if base and base is not record and len(base.rounds_s) == len(record.rounds_s):
                found = interleaved_ratio(base.rounds_s, record.rounds_s, ERROR)
            rows.append(
                [
                    record.model_name,
                    record.batch_size,
                    how(record),
                    record.kernel or None,
                    time_text(record.median_s),
                    ratio_within(found.estimate, found.low, found.high) if found else None,
                    times(own.median_s / base_alone.median_s) if own and base_alone and own is not base_alone else None,
                ]
            )
    columns = [*words("Cell", "Batch", "Runtime", "Kernel"), *numbers("median", "interleaved", "one after another")]
    return Table(columns, rows)


def _conditions(record: Record) -> tuple[object, ...]:
    return record.axes(("device", "batch_size", "cell", "recipe", "hidden_size", "num_layers", "lookback", "threads"))


def _is_torch(record: Record) -> bool:
    return (record.runtime, record.mode, record.precision) == ("torch", None, "fp32")


def _text(interleaved: Sequence[Record], one_after_another: Sequence[Record], what: str) -> list[str]:
    """Return the table, folded, where there are such rows."""
    if not interleaved:
        return []
    note = paragraph(
        f"Each {what} in a process of its own, stopped while it waited; times against PyTorch in fp32 on the same device, "
        "round by round, with 99 % intervals."
    )
    table = interleaved_table(interleaved, one_after_another)
    return folded(f"Interleaved: each {what} beside PyTorch, round by round", [note, table.markdown()])


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of forward passes, where runtimes were interleaved."""
    return _text(valid(runs[0].phase("interleaved")), valid(runs[0].phase("infer")), "runtime")


def text_of_training(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of training steps, where trainings were interleaved."""
    return _text(valid(runs[0].phase("interleaved training")), valid(runs[0].phase("train")), "training")


SECTION = Section("", text)
TRAINING = Section("", text_of_training)
