"""Training: steps, the time to a target, the data path."""

from collections.abc import Iterable, Sequence
from typing import Any

import altair

from rnncore.report.figure import HEIGHT, PALETTE, QUIET, WIDTH, Chart, Figure
from rnncore.report.rows import of_what, same_but_cell, time_cells, valid
from rnncore.report.section import Section, Shown, drawn, nothing
from rnncore.report.table import markdown_table
from rnncore.report.words import BASELINE_NAMES, gflop_text, how, measured, significant, time_unit, times
from rnncore.runfile.record import Record, Run

# Baselines beyond this many times the worst model would squeeze the models together.
SHOWN_BASELINES = 2.0

# The article's GRU and LSTM by the right formula, and round figures around them.
LEVELS_PCT = (2.0, 1.5, 1.12, 1.08, 1.0, 0.9, 0.85, 0.8, 0.76, 0.7, 0.65)

# Baselines whose level a training is asked to reach.
LEVEL_BASELINES = {"ar_90": "AR(90)'s", "per_hour_regressions": "per-hour regressions'"}

# Levels in a table, at most: the lowest that were reached and the one after.
SHOWN_LEVELS = 6


def learning_chart(records: Sequence[Record]) -> Chart:
    """Draw the sMAPE of all tested hours against training seconds, one line per training, and the baselines as lines.

    Args:
        records: Records with a curve.
    """
    values = _curve_values(records)
    worst = max(value["score"] for value in values)
    lines = drawn_baselines(records[0], worst)
    y = altair.Y("score:Q", scale=altair.Scale(type="log", nice=False, padding=10), title="sMAPE, percent")
    curve = _curve_chart(values, y, altair.Tooltip("score:Q", format=".3f", title="sMAPE, percent"))
    if not lines:
        return altair.layer(*curve).properties(width=WIDTH, height=HEIGHT)
    rules = altair.Chart(altair.InlineData(lines)).encode(y=altair.Y("smape:Q"))
    names = rules.mark_text(align="right", baseline="bottom", dx=-4, color=QUIET).encode(
        x=altair.value("width"), text="name:N"
    )
    marked = rules.mark_rule(strokeDash=[2, 3], color=QUIET)
    return altair.layer(marked, names, *curve).properties(width=WIDTH, height=HEIGHT)


def loss_chart(records: Sequence[Record]) -> Chart:
    """Draw the training loss, mean over the steps between two points, against training seconds.

    Args:
        records: Records with a curve.
    """
    y = altair.Y("loss:Q", scale=altair.Scale(type="log", nice=False, padding=10), title="Mean loss since the point before")
    curve = _curve_chart(_curve_values(records), y, altair.Tooltip("loss:Q", format=".4~g"))
    return altair.layer(*curve).properties(width=WIDTH, height=HEIGHT)


def _curve_values(records: Sequence[Record]) -> list[dict[str, Any]]:
    return [{**point, "Training": record.model_name} for record in records for point in curve_of(record)]


def _curve_chart(values: list[dict[str, Any]], y: altair.Y, tooltip: altair.Tooltip) -> list[Any]:
    base = altair.Chart(altair.InlineData(values)).encode(
        x=altair.X("seconds:Q", title="Training seconds"),
        y=y,
        color=altair.Color("Training:N", scale=altair.Scale(range=PALETTE)),
        tooltip=["Training:N", "step:Q", altair.Tooltip("seconds:Q", format=",.4~g"), tooltip],
    )
    lines = base.mark_line().encode(strokeDash="Training:N")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(shape=altair.Shape("Training:N", legend=None))
    return [lines, points]


def drawn_baselines(record: Record, worst_smape: float) -> list[dict[str, Any]]:
    """Return the baselines that do not squeeze the models together."""
    return [
        {"name": BASELINE_NAMES.get(name, name), "smape": float(smape)}
        for name, smape in record.baselines_smape.items()
        if float(smape) <= SHOWN_BASELINES * worst_smape
    ]


def training_table(records: list[Record]) -> str:
    """Compare the cells' optimiser steps."""
    scale, unit = time_unit(record.median_s for record in records)
    rows = []
    for record in records:
        gru = same_but_cell(record, records)
        rows.append(
            [
                how(record),
                record.model_name,
                str(record.kernel or "–"),
                f"{record.batch_size:,}",
                *time_cells(record, scale),
                measured(record.windows_per_s, record),
                gflop_text(record),
                times(record.median_s / gru.median_s) if gru else "–",
            ]
        )
    head = ["Runtime", "Cell", "Kernel", "batch", f"median {unit}", f"min–max {unit}", "windows/s", "GFLOP/s (of ceiling)"]
    return markdown_table([*head, "LSTM against GRU"], rows, left=3)


def data_table(records: list[Record]) -> str:
    """Show the data path."""
    rows = []
    for record in records:
        scale, unit = time_unit([record.median_s])
        batch_size = record.batch_size
        what = f"one batch of {batch_size:,}" if batch_size else "files to ready windows"
        median, spread = time_cells(record, scale)
        rows.append(
            [
                what,
                how(record),
                f"{median} {unit}",
                f"{spread} {unit}",
                measured(record.windows_per_s, record),
            ]
        )
    return markdown_table(["Step", "By", "median", "min–max", "windows/s"], rows, left=2)


def learners(records: Iterable[Record]) -> list[Record]:
    """Return one record of each training that has a curve: several runtimes score the same model."""
    found: dict[str, Record] = {}
    for record in records:
        if curve_of(record):
            found.setdefault(record.model_name, record)
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
                record.model_name,
                *["–" if seconds is None else significant(seconds) for seconds in reached],
                f"{float(last['score']):.3f}",
                significant(float(last["seconds"])),
            ]
        )
    head = ["Training", *[f"s to {name}" for name, _ in levels], "at the end, sMAPE %", "after s"]
    return markdown_table(head, rows)


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


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    run = runs[0]
    train, data = valid(run.phase("train")), valid(run.phase("data"))
    parts = ["## Training\n"]
    if train:
        parts += [f"One optimiser step{of_what(train)}.\n", training_table(train)]
    else:
        parts += [nothing("bench/bench_training.py")]
    parts += ["### Time to a target\n"]
    if learned := learners(valid(run.phase("accuracy"))):
        parts += [
            "Training seconds until the sMAPE of all tested hours was first seen at or below a level; scoring is not in "
            "them. Nothing is chosen by these scores.\n",
            time_to_target_table(learned),
            *shown.figure("learning"),
            *shown.figure("loss"),
        ]
    else:
        parts += [nothing("bench/bench_accuracy.py", " with a curve of its training")]
    parts += ["### Data path\n", data_table(data) if data else nothing("bench/bench_data.py")]
    return parts


def _figures(runs: Sequence[Run]) -> list[Figure]:
    learned = learners(valid(runs[0].phase("accuracy")))
    return [
        *drawn("learning", "sMAPE against training seconds", learned, lambda: learning_chart(learned)),
        *drawn("loss", "Training loss against training seconds", learned, lambda: loss_chart(learned)),
    ]


SECTION = Section(_lines, _figures)
