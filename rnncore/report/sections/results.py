"""All results."""

import statistics
from collections.abc import Sequence

from rnncore.compare.profile import TIME_UNITS
from rnncore.report.rows import low_median_high
from rnncore.report.section import Section, Shown
from rnncore.report.table import markdown_table
from rnncore.report.words import gflop_text, how, measured, time_unit
from rnncore.runfile.record import Record, Run

# Phases whose models are trained before they are measured.
SCORED = ("accuracy", "stream")


def results_table(records: list[Record]) -> str:
    """Show every row with its axes, times and what stands beside them; one unit for all times, that of the middle row."""
    scale, unit = time_unit([statistics.median(record.median_s for record in records)]) if records else TIME_UNITS[-1]
    spans = [low_median_high(record, scale) for record in records]
    rows = [
        [
            record.short_name,
            str(record.phase or "–"),
            str(record.cell or "–").upper(),
            how(record),
            _whole(record.batch_size),
            median,
            low,
            high,
            str(len(record.rounds_s)),
            measured(record.windows_per_s, record),
            gflop_text(record).split(" ")[0],
            # Of rows that time a forecast it is that of a model that was never trained.
            _smape_text(record.smape if record.phase in SCORED else None),
            record.validity,
        ]
        for record, (low, median, high) in zip(records, spans, strict=True)
    ]
    head = ["Benchmark", "phase", "cell", "runtime", "batch", f"median {unit}", f"min {unit}", f"max {unit}", "rounds"]
    return markdown_table([*head, "windows/s", "GFLOP/s", "sMAPE %", "result"], rows, left=4)


def _whole(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _smape_text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "–"


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    return ["## All results\n", results_table(list(runs[0].records))]


SECTION = Section(_lines)
