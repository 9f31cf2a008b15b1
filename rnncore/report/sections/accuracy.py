"""Accuracy beside speed."""

from collections.abc import Sequence

import altair

from rnncore.amounts import counted, time_unit
from rnncore.compare.choices import ranked
from rnncore.report.figure import HEIGHT, QUIET, TIP, WIDTH, Chart, Figure, baseline_layers, colours, tip_text
from rnncore.report.fold import folded
from rnncore.report.rows import time_cells, valid, way
from rnncore.report.section import Section, Shown, no_row_of
from rnncore.report.table import Table, code, inert, numbers, paragraph, strong, words
from rnncore.report.words import BASELINE_NAMES, how, letter, significant
from rnncore.runfile.record import Record, Run

# Below half a unit of the third decimal, in percentage points.
SAME_SMAPE = 5e-4


def accuracy_chart(records: list[Record]) -> Chart:
    """Draw sMAPE against speed, the Pareto front marked, and the baselines as lines.

    Args:
        records: Records of the phase `accuracy`.
    """
    front = pareto_front([(record.windows_per_s, record.smape) for record in records])
    values = [
        {
            "row": way(record),
            "runtime": how(record),
            "model": record.model_name,
            "windows_per_s": record.windows_per_s,
            "smape": record.smape,
            "tip": tip_text(
                way(record), sMAPE=f"{record.smape:.3f} %", speed=f"{significant(record.windows_per_s)} windows/s"
            ),
            "front": index in front,
        }
        for index, record in enumerate(records)
    ]
    baselines = baseline_layers(records[0].baselines_smape, max(record.smape for record in records))
    runtimes = list(dict.fromkeys(how(record) for record in sorted(records, key=lambda record: -record.windows_per_s)))
    # The precision comes last, and two may differ in nothing else.
    legend = altair.Legend(title="Runtime", labelLimit=320)
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
            color=altair.Color("runtime:N", scale=colours(runtimes), legend=legend),
            shape=altair.Shape("model:N", title="Model"),
            description=TIP,
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
            significant(record.windows_per_s),
        ]
        for record in records
    ]
    return Table(columns, rows)


def scored(run: Run) -> list[Record]:
    """Return the valid rows of the accuracy suite."""
    return valid(run.phase("accuracy"))


def effect_of_runtimes(accuracy: Sequence[Record]) -> str:
    """Say what the runtimes and precisions cost in accuracy, against PyTorch in fp32."""
    known = [(one, one.smape - one.smape_torch_fp32) for one in accuracy if one.smape_torch_fp32 is not None]
    if not known:
        return "What a runtime costs in accuracy was not measured: the rows lack PyTorch's sMAPE."
    worst, change = max(known, key=lambda one: abs(one[1]))
    if abs(change) < SAME_SMAPE:
        return "No runtime changes the sMAPE of a model in its third decimal."
    return f"A runtime changes the sMAPE by {change:+.3f} at most: {inert(way(worst))}."


def standings_table(records: Sequence[Record]) -> Table:
    """Show the best sMAPE of each model among those of simple rules, the most accurate first."""
    best: dict[str, Record] = {}
    for record in sorted(records, key=lambda record: record.smape):
        best.setdefault(record.model_name, record)
    rows: list[tuple[str, float, str | None]] = [
        (strong(name), record.smape, f"{record.training['seconds']:.1f} s") for name, record in best.items()
    ]
    rows += [(BASELINE_NAMES.get(name, name), float(smape), None) for name, smape in records[0].baselines_smape.items()]
    columns = [*words("Model, or simple rule"), *numbers("sMAPE", unit="%", show="{:.3f}".format), *numbers("trained in")]
    return Table(columns, sorted(rows, key=lambda row: row[1]))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what is most accurate, the figure, models among simple rules, and what was trained; each row folded."""
    records = scored(runs[0])
    trainings = {
        f"The {code(str(record.recipe))} model after {record.training['steps']:,} steps, seed {record.training.get('seed')}"
        for record in records
    }
    best = ranked(runs[0], "accuracy")[0]
    said = f"Most accurate: {strong(best.model_name)}, sMAPE {best.smape:.3f} %"
    if best.baselines_smape:
        name, smape = min(best.baselines_smape.items(), key=lambda item: float(item[1]))
        said += f"; the best baseline, {inert(BASELINE_NAMES.get(name, name))}, has {float(smape):.3f} %"
    of_what = (
        f"{'; '.join(sorted(trainings))}: every test hour of every zone. The article's own code prints a quarter of "
        "the sMAPE."
    )
    return [
        paragraph(f"{said}. {effect_of_runtimes(records)}"),
        *shown.figure("accuracy"),
        standings_table(records).markdown(),
        paragraph(of_what),
        *folded(f"All {counted(len(records), 'row')}, by runtime and precision", [accuracy_table(records).markdown()]),
        *folded("Forecast beside actual load, in the last test hours", shown.figure("forecasts")),
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


SECTION = Section("## Does it forecast well?", text, figures, scored, no_row_of("bench/bench_accuracy.py"))
SECTION_OF_SEVERAL = Section("## Accuracy", text_of_several)
