"""Time to a target: the accuracy that a training reaches after which time."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.report.figure import HEIGHT, TIP, WIDTH, Chart, Figure, baseline_layers, colours, tip_text
from rnncore.report.fold import folded
from rnncore.report.rows import valid
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.sections.training import trained
from rnncore.report.table import Table, numbers, paragraph, words
from rnncore.report.words import significant
from rnncore.runfile.record import Record, Run

# The article's GRU and LSTM by the right formula, and round figures around them.
LEVELS_PCT = (2.0, 1.5, 1.12, 1.08, 1.0, 0.9, 0.85, 0.8, 0.76, 0.7, 0.65)

# Baselines whose level a training is asked to reach.
LEVEL_BASELINES = {"ar_90": "AR(90)'s", "per_hour_regressions": "per-hour regressions'"}

# Levels in a table, at most: the lowest that were reached and the one after.
SHOWN_LEVELS = 6


def learning_chart(records: Sequence[Record]) -> Chart:
    """Draw the sMAPE of all test hours against training seconds, one line per training, and the baselines as lines.

    Args:
        records: Records with a curve.
    """
    worst = max(point["score"] for record in records for point in curve_of(record))
    y = altair.Y("score:Q", scale=altair.Scale(type="log", nice=False, padding=10), title="sMAPE, percent")
    curves = _curve_layers(records, y)
    baselines = baseline_layers(records[0].baselines_smape, worst)
    return altair.layer(*baselines, *curves).properties(width=WIDTH, height=HEIGHT)


def loss_chart(records: Sequence[Record]) -> Chart:
    """Draw the training loss, mean over the steps between two points, against training seconds.

    Args:
        records: Records with a curve.
    """
    y = altair.Y("loss:Q", scale=altair.Scale(type="log", nice=False, padding=10), title="Mean loss since the point before")
    curves = _curve_layers(records, y)
    return altair.layer(*curves).properties(width=WIDTH, height=HEIGHT)


def _curve_layers(records: Sequence[Record], y: altair.Y) -> list[altair.Chart]:
    values = []
    for record in records:
        for point in curve_of(record):
            known = {name: point[name] for name in ("step", "seconds", "loss", "score")}
            values.append({**known, "Training": record.model_name, "tip": tip_text(record.model_name, **known)})
    base = altair.Chart(altair.InlineData(values)).encode(
        x=altair.X("seconds:Q", title="Training seconds"),
        y=y,
        color=altair.Color("Training:N", scale=colours(list(dict.fromkeys(record.model_name for record in records)))),
    )
    lines = base.mark_line()
    points = base.mark_point(filled=True, size=60, opacity=1)
    points = points.encode(shape=altair.Shape("Training:N"), description=TIP)
    return [lines, points]


def learners(run: Run) -> list[Record]:
    """Return one record of each training that has a curve: several runtimes score the same model."""
    found: dict[str, Record] = {}
    for record in valid(run.phase("accuracy")):
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


def time_to_target_table(records: Sequence[Record]) -> Table:
    """Show by training how long it took to each level, and how far it came.

    Args:
        records: Records with a curve.
    """
    levels = {f"{level:g} %": level for level in LEVELS_PCT}
    for name, smape_pct in records[0].baselines_smape.items():
        if name in LEVEL_BASELINES:
            levels[f"{LEVEL_BASELINES[name]} {float(smape_pct):.3f} %"] = float(smape_pct)
    ordered = sorted(levels.items(), key=lambda level: -level[1])
    reached = [level for level in ordered if any(seconds_to(record, level[1]) is not None for record in records)]
    missed = [level for level in ordered if level not in reached]
    # The hardest levels that were reached, and the easiest that was not.
    shown = [*reached[-(SHOWN_LEVELS - 1) :], *missed[:1]]
    rows = []
    for record in records:
        last = curve_of(record)[-1]
        seconds = [seconds_to(record, level) for _, level in shown]
        rows.append([record.model_name, *seconds, float(last["score"]), float(last["seconds"])])
    columns = [
        *words("Training"),
        *numbers(*[f"s to {name}" for name, _ in shown], show=significant),
        *numbers("at the end, sMAPE", unit="%", show="{:.3f}".format),
        *numbers("after s", show=significant),
    ]
    return Table(columns, rows)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of levels, and the figure of the loss, folded."""
    note = paragraph(
        "Training seconds until the sMAPE of all test hours was first seen at or below a level; scoring is not in them. "
        "Nothing is chosen by these scores."
    )
    table = time_to_target_table(learners(runs[0])).markdown()
    # Beside the steps, where steps were timed.
    curve = [] if trained(runs[0]) else shown.figure("learning")
    return folded("Time to a target sMAPE, and the loss", [note, table, *curve, *shown.figure("loss")])


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw sMAPE and loss against training seconds."""
    records = learners(runs[0])
    return [
        Figure("learning", "sMAPE against training seconds", learning_chart(records)),
        Figure("loss", "Training loss against training seconds", loss_chart(records)),
    ]


LACKING = no_row_of("bench/bench_accuracy.py", " with a curve of its training")
SECTION = Section("", text, figures, learners, LACKING)
