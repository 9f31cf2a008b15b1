"""How a training came to its sMAPE: seconds to reach given levels."""

from collections.abc import Iterable, Sequence
from typing import Any

from rnncore.report import tables
from rnncore.runfile.record import Record

# The article's GRU and LSTM by the right formula, and round figures around them.
LEVELS_PCT = (2.0, 1.5, 1.12, 1.08, 1.0, 0.9, 0.85, 0.8, 0.76, 0.7, 0.65)

# Baselines whose level a training is asked to reach.
LEVEL_BASELINES = {"ar_90": "AR(90)'s", "per_hour_regressions": "per-hour regressions'"}

# Levels in a table, at most: the lowest that were reached and the one after.
SHOWN_LEVELS = 6


def learners(records: Iterable[Record]) -> list[Record]:
    """Return one record of each training that has a curve: several runtimes score the same model."""
    found: dict[str, Record] = {}
    for record in records:
        if curve_of(record):
            found.setdefault(tables.cell_name(record), record)
    return list(found.values())


def curve_of(record: Record) -> list[dict[str, Any]]:
    """Return the points of a record's training: `step`, `seconds`, `loss` and `score`, the sMAPE in percent."""
    return list(record.training.get("curve") or ())


def seconds_to(record: Record, smape_pct: float) -> float | None:
    """Return the training seconds at the first point of a curve at or below a sMAPE; None where no point is.

    Source:
        Coleman, C. et al. (2017). DAWNBench: an end-to-end deep learning benchmark and competition. NIPS ML Systems
        Workshop: time to a stated accuracy in place of time per step.
    """
    return next((float(point["seconds"]) for point in curve_of(record) if float(point["score"]) <= smape_pct), None)


def time_to_target_table(records: Sequence[Record]) -> str:
    """Show by training how long it took to each level, and how far it came.

    Args:
        records: Records with a curve.
    """
    levels = _levels(records)
    rows = []
    for record in records:
        last = curve_of(record)[-1]
        reached = [seconds_to(record, level) for _, level in levels]
        rows.append(
            [
                tables.cell_name(record),
                *["–" if seconds is None else tables.significant(seconds) for seconds in reached],
                f"{float(last['score']):.3f}",
                tables.significant(float(last["seconds"])),
            ]
        )
    head = ["Training", *[f"s to {name}" for name, _ in levels], "at the end, sMAPE %", "after s"]
    return tables.markdown_table(head, rows)


def _levels(records: Sequence[Record]) -> list[tuple[str, float]]:
    """Return names and sMAPE of the levels worth a column, the easiest first."""
    levels = {f"{level:g} %": level for level in LEVELS_PCT}
    for name, smape_pct in records[0].baselines_smape.items():
        if name in LEVEL_BASELINES:
            levels[f"{LEVEL_BASELINES[name]} {float(smape_pct):.3f} %"] = float(smape_pct)
    ordered = sorted(levels.items(), key=lambda level: -level[1])
    reached = [level for level in ordered if any(seconds_to(record, level[1]) is not None for record in records)]
    missed = [level for level in ordered if level not in reached]
    return [*reached[-(SHOWN_LEVELS - 1) :], *missed[:1]]
