"""Training: optimiser steps, and the data path."""

from collections.abc import Sequence

from rnncore.amounts import counted, time_unit
from rnncore.compare.choices import fastest_first
from rnncore.report.fold import folded
from rnncore.report.rows import base_of, beside, of_what, time_cells, valid, way
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.table import Table, inert, numbers, paragraph, strong, words
from rnncore.report.words import compared_with, gflop_text, how, significant, times
from rnncore.runfile.record import Record, Run

# Rows that are shown unfolded.
MOST_ROWS = 6

# What steps have in common that are held against each other.
_WORK = ("recipe", "batch_size", "hidden_size", "num_layers", "lookback", "device")


def training_table(records: list[Record]) -> Table:
    """Compare the cells' optimiser steps."""
    scale, unit = time_unit(record.median_s for record in records)
    rows, grus = [], beside(records, "cell", "gru")
    for record in records:
        gru = grus.get(record.fullname)
        rows.append(
            [
                how(record),
                record.model_name,
                record.kernel or None,
                record.batch_size,
                *time_cells(record, scale),
                significant(record.windows_per_s),
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
        rows.append([what, how(record), *times_in_unit, significant(record.windows_per_s)])
    return Table([*words("Step", "By"), *numbers("median", "min–max", "windows/s")], rows)


def trained(run: Run) -> list[Record]:
    """Return the valid rows of the training suite."""
    return valid(run.phase("train"))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what trains fastest, the figure of what is learned, and the quickest steps; of many steps all folded."""
    records = trained(runs[0])
    best, *_ = fastest = fastest_first(records)
    said = f"{strong(way(best))} trains fastest: {significant(best.windows_per_s)} windows/s at batch {best.batch_size:,}"
    base = base_of(one for one in records if one.axes(_WORK) == best.axes(_WORK))
    if base and base is not best:
        said += f", {compared_with(times(best.median_s / base.median_s), inert(way(base)))}"
    note = f"One optimiser step{of_what(records)}.\n"
    table = training_table(records).markdown()
    more = [table] if len(records) > MOST_ROWS else []
    return [
        paragraph(f"{said}."),
        *shown.figure("learning"),
        note,
        training_table(fastest[:MOST_ROWS]).markdown(),
        *folded(f"All {counted(len(records), 'step')}", more),
    ]


def data_path(run: Run) -> list[Record]:
    """Return the valid rows of the data path."""
    return valid(run.phase("data"))


def text_of_data(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of the data path."""
    return folded("The data path: from files to windows", [data_table(data_path(runs[0])).markdown()])


SECTION = Section("## How fast does it train?", text, needs=trained, lacking=no_row_of("bench/bench_training.py"))
DATA = Section("", text_of_data, needs=data_path, lacking=no_row_of("bench/bench_data.py"))
