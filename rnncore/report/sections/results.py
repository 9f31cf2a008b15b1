"""All results."""

import statistics
from collections.abc import Sequence

from rnncore.amounts import counted, time_unit
from rnncore.report.fold import folded
from rnncore.report.rows import low_median_high
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import gflop_text, how, is_below_microsecond, significant
from rnncore.runfile.record import Record, Run

# Phases whose models are trained before they are measured.
SCORED = ("accuracy", "stream")


def results_table(records: list[Record]) -> Table:
    """Show every row with its axes, times and other facts; one unit for times from a microsecond, that of the middle row."""
    scale, unit = time_unit([statistics.median(record.median_s for record in records)] if records else [0.0])
    rows = []
    for record in records:
        own_s, own = time_unit([record.median_s]) if is_below_microsecond(record.median_s) else (scale, "")
        low, median, high = (f"{one} {own}".rstrip() for one in low_median_high(record, own_s))
        rows.append(
            [
                record.short_name,
                record.phase or None,
                str(record.cell or "–").upper(),
                how(record),
                record.batch_size,
                median,
                low,
                high,
                record.rounds,
                significant(record.windows_per_s),
                (gflop_text(record) or "–").split(" ")[0],
                # Of rows that time a forecast it is that of a model that was never trained.
                record.smape if record.phase in SCORED else None,
                record.validity,
            ]
        )
    columns = [
        *words("Benchmark", "phase", "cell", "runtime"),
        *numbers("batch"),
        *numbers("median", "min", "max", unit=unit),
        *numbers("rounds", show=str),
        *numbers("windows/s", "GFLOP/s"),
        *numbers("sMAPE", unit="%", show="{:.3f}".format),
        *numbers("result"),
    ]
    return Table(columns, rows)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of all rows."""
    records = [record for record in runs[0].records if record.has_case]
    said = "Each row is in `results.csv` with all its digits and facts; `index.html` has what is folded away here.\n"
    return [said, *folded(f"All {counted(len(records), 'row')}", [results_table(records).markdown()])]


SECTION = Section("## All results", text)
