"""Training: optimiser steps, and the data path."""

from collections.abc import Sequence

from rnncore.amounts import time_unit
from rnncore.report.rows import of_what, same_but_cell, time_cells, valid
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import gflop_text, how, measured, times
from rnncore.runfile.record import Record, Run


def training_table(records: list[Record]) -> Table:
    """Compare the cells' optimiser steps."""
    scale, unit = time_unit(record.median_s for record in records)
    rows = []
    for record in records:
        gru = same_but_cell(record, records)
        rows.append(
            [
                how(record),
                record.model_name,
                record.kernel or None,
                record.batch_size,
                *time_cells(record, scale),
                measured(record.windows_per_s, record),
                gflop_text(record),
                times(record.median_s / gru.median_s) if gru else None,
            ]
        )
    columns = [
        *words("Runtime", "Cell", "Kernel"),
        *numbers("batch"),
        *numbers("median", "min–max", unit=unit),
        *numbers("windows/s", "GFLOP/s (of ceiling)", "LSTM against GRU"),
    ]
    return Table(columns, rows)


def data_table(records: list[Record]) -> Table:
    """Show the data path."""
    rows = []
    for record in records:
        scale, unit = time_unit([record.median_s])
        what = f"one batch of {record.batch_size:,}" if record.batch_size else "files to ready windows"
        times_in_unit = [f"{cell} {unit}" for cell in time_cells(record, scale)]
        rows.append([what, how(record), *times_in_unit, measured(record.windows_per_s, record)])
    return Table([*words("Step", "By"), *numbers("median", "min–max", "windows/s")], rows)


def trained(run: Run) -> list[Record]:
    """Return the valid rows of the training suite."""
    return valid(run.phase("train"))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of steps."""
    records = trained(runs[0])
    return [f"One optimiser step{of_what(records)}.\n", training_table(records).markdown()]


def data_path(run: Run) -> list[Record]:
    """Return the valid rows of the data path."""
    return valid(run.phase("data"))


def text_of_data(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of the data path."""
    return [data_table(data_path(runs[0])).markdown()]


SECTION = Section("## Training", text, needs=trained, lacking=no_row_of("bench/bench_training.py"))
DATA = Section("### Data path", text_of_data, needs=data_path, lacking=no_row_of("bench/bench_data.py"))
