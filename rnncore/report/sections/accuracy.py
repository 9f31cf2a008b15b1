"""Accuracy beside speed."""

from collections.abc import Sequence

import altair

from rnncore.amounts import time_unit
from rnncore.report.figure import HEIGHT, PALETTE, QUIET, WIDTH, Chart, Figure, baseline_layers
from rnncore.report.rows import time_cells, valid
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.table import Table, numbers, paragraph, words
from rnncore.report.words import BASELINE_NAMES, how, letter, measured, significant
from rnncore.runfile.record import Record, Run


def accuracy_chart(records: list[Record]) -> Chart:
    """Draw sMAPE against speed, the Pareto front marked, and the baselines as lines.

    Args:
        records: Records of the phase `accuracy`.
    """
    front = pareto_front([(record.windows_per_s, record.smape) for record in records])
    values = [
        {
            "row": f"{record.model_name}, {how(record)}",
            "windows_per_s": record.windows_per_s,
            "smape": record.smape,
            "front": index in front,
        }
        for index, record in enumerate(records)
    ]
    baselines = baseline_layers(records[0].baselines_smape, max(record.smape for record in records), left=True)
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
    return altair.layer(*baselines, rings, points).properties(width=WIDTH, height=HEIGHT)


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


def accuracy_table(records: list[Record]) -> Table:
    """Show sMAPE beside the time to train and to score."""
    scale, unit = time_unit(record.median_s for record in records)
    columns = [
        *words("Scored by", "Cell"),
        *numbers("sMAPE", "article's sMAPE", unit="%", show="{:.3f}".format),
        *numbers("MAE", unit="MW", show=significant),
        *numbers("training", unit="s", show="{:.1f}".format),
        *numbers("scoring", "min–max", unit=unit),
        *numbers("windows/s"),
    ]
    rows = [
        [
            how(record),
            record.model_name,
            record.smape,
            record.smape_article,
            record.mae_mw,
            record.training["seconds"],
            *time_cells(record, scale),
            measured(record.windows_per_s, record),
        ]
        for record in records
    ]
    return Table(columns, rows)


def scored(run: Run) -> list[Record]:
    """Return the valid rows of the accuracy suite."""
    return valid(run.phase("accuracy"))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what was trained, the figure, and the tables of models and of simple rules on the same hours."""
    records = scored(runs[0])
    trainings = {
        f"The `{record.recipe}` model after {record.training['steps']:,} steps, seed {record.training.get('seed')}"
        for record in records
    }
    baselines = [(BASELINE_NAMES.get(name, name), smape) for name, smape in records[0].baselines_smape.items()]
    simple_rules = Table([*words("Baseline"), *numbers("sMAPE", unit="%", show="{:.3f}".format)], baselines)
    return [
        paragraph(
            f"{'; '.join(sorted(trainings))}: every test hour of every zone. The article's own code prints a quarter of "
            "the sMAPE."
        ),
        *shown.figure("accuracy"),
        accuracy_table(records).markdown(),
        *([simple_rules.markdown()] if baselines else []),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw accuracy against speed."""
    alt = "sMAPE against scored windows per second, the Pareto front in rings"
    return [Figure("accuracy", alt, accuracy_chart(scored(runs[0])))]


def text_of_several(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the table of the sMAPE of each scored model in each run."""
    scores = [{record.short_name: record.smape for record in scored(run)} for run in runs]
    names = dict.fromkeys(name for by_name in scores for name in by_name)
    columns = numbers(*[letter(index) for index in range(len(runs))], show="{:.3f}".format)
    rows = [[name, *[of.get(name) for of in scores]] for name in names]
    return ["sMAPE in percent.\n", Table([*words("Benchmark"), *columns], rows).markdown()] if names else []


SECTION = Section("## Accuracy beside speed", text, figures, scored, no_row_of("bench/bench_accuracy.py"))
SECTION_OF_SEVERAL = Section("## Accuracy", text_of_several)
