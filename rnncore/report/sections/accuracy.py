"""Accuracy beside speed."""

from collections.abc import Mapping, Sequence

import altair

from rnncore.report.figure import HEIGHT, PALETTE, QUIET, WIDTH, Chart, Figure
from rnncore.report.rows import time_cells, valid
from rnncore.report.section import Section, Shown, drawn, nothing
from rnncore.report.sections.training import drawn_baselines
from rnncore.report.table import markdown_table, paragraph
from rnncore.report.words import BASELINE_NAMES, how, measured, significant, time_unit
from rnncore.runfile.record import Record, Run


def accuracy_chart(records: list[Record]) -> Chart:
    """Draw sMAPE against speed, the Pareto front marked, and the baselines as lines.

    Args:
        records: Records of the phase `accuracy`.
    """
    front = pareto_front([(record.windows_per_s, float(record.smape)) for record in records])
    values = [
        {
            "row": f"{record.model_name}, {how(record)}",
            "windows_per_s": record.windows_per_s,
            "smape": float(record.smape),
            "front": index in front,
        }
        for index, record in enumerate(records)
    ]
    worst = max(float(record.smape) for record in records)
    lines = drawn_baselines(records[0], worst)
    # The precision comes last, and two rows may differ in nothing else.
    legend = altair.Legend(title="Model and runtime", labelLimit=320)
    points = (
        altair.Chart(altair.InlineData(values))
        .mark_point(filled=True, size=110, opacity=1)
        .encode(
            x=altair.X(
                "windows_per_s:Q",
                scale=altair.Scale(zero=False),
                axis=altair.Axis(format="~s"),
                title="Scored windows per second",
            ),
            y=altair.Y("smape:Q", scale=altair.Scale(zero=False), title="sMAPE, percent"),
            color=altair.Color("row:N", scale=altair.Scale(range=PALETTE), legend=legend),
            shape=altair.Shape("row:N", legend=legend),
            tooltip=["row:N", altair.Tooltip("smape:Q", format=".3f"), altair.Tooltip("windows_per_s:Q", format=",.4~g")],
        )
    )
    rings = (
        altair.Chart(altair.InlineData([value for value in values if value["front"]]))
        .mark_point(size=420, color=QUIET)
        .encode(x="windows_per_s:Q", y="smape:Q")
    )
    if not lines:
        return altair.layer(rings, points).properties(width=WIDTH, height=HEIGHT)
    rules = altair.Chart(altair.InlineData(lines)).encode(y=altair.Y("smape:Q"))
    names = rules.mark_text(align="left", baseline="bottom", dx=4, color=QUIET).encode(x=altair.value(0), text="name:N")
    marked = rules.mark_rule(strokeDash=[2, 3], color=QUIET)
    return altair.layer(marked, names, rings, points).properties(width=WIDTH, height=HEIGHT)


def pareto_front(points: list[tuple[float, float]]) -> set[int]:
    """Return the indices of points (speed, error) that no other point beats in one and equals in the other, or better."""
    return {
        index
        for index, (speed, error) in enumerate(points)
        if not any(
            other_speed >= speed and other_error <= error and (other_speed, other_error) != (speed, error)
            for other_speed, other_error in points
        )
    }


def accuracy_table(records: list[Record]) -> str:
    """Show sMAPE beside the time to train and to score."""
    scale, unit = time_unit(record.median_s for record in records)
    rows = [
        [
            how(record),
            record.model_name,
            f"{record.smape:.3f}",
            f"{record.smape_article:.3f}",
            significant(record.mae_mw),
            f"{record.training['seconds']:.1f}",
            *time_cells(record, scale),
            measured(record.windows_per_s, record),
        ]
        for record in records
    ]
    head = ["Scored by", "Cell", "sMAPE %", "article's sMAPE %", "MAE MW", "training s", f"scoring {unit}"]
    return markdown_table([*head, f"min–max {unit}", "windows/s"], rows, left=2)


def baseline_table(smape_pct: Mapping[str, float]) -> str:
    """Show what simple rules score on the same hours."""
    rows = [[BASELINE_NAMES.get(name, name), f"{value:.3f}"] for name, value in smape_pct.items()]
    return markdown_table(["Baseline", "sMAPE %"], rows)


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    run = runs[0]
    accuracy = valid(run.phase("accuracy"))
    parts = ["## Accuracy beside speed\n"]
    if not accuracy:
        return [*parts, nothing("bench/bench_accuracy.py")]
    return [
        *parts,
        paragraph(
            f"{_trainings(accuracy)}: every tested hour of every zone. The article's own code prints a quarter of the sMAPE."
        ),
        *shown.figure("accuracy"),
        accuracy_table(accuracy),
        *([baseline_table(accuracy[0].baselines_smape)] if accuracy[0].baselines_smape else []),
    ]


def _trainings(accuracy: list[Record]) -> str:
    """Name the recipes that were scored, with their steps and seeds."""
    trainings = [(record.recipe, record.training) for record in accuracy]
    named = {
        f"The `{recipe}` model after {training['steps']:,} steps, seed {training.get('seed')}"
        for recipe, training in trainings
    }
    return "; ".join(sorted(named))


def _figures(runs: Sequence[Run]) -> list[Figure]:
    accuracy = valid(runs[0].phase("accuracy"))
    alt = "sMAPE against scored windows per second, the Pareto front in rings"
    return drawn("accuracy", alt, accuracy, lambda: accuracy_chart(accuracy))


SECTION = Section(_lines, _figures)
