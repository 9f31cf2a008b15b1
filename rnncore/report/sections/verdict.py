"""Verdict: what is fastest, in sentences, and the best choice for each goal."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from rnncore.report.rows import base_of, by_batch_size, by_recipe, valid
from rnncore.report.section import Section, Shown
from rnncore.report.table import escape, markdown_table
from rnncore.report.words import BASELINE_NAMES, bytes_text, how, measured, time_unit, times
from rnncore.runfile.record import Record, Run

# Answers this close to float64 are those of any other runtime, as far as a forecast goes.
SAME_ANSWERS = 1e-4

# Below half a unit of the third decimal, in percentage points.
SAME_SMAPE = 5e-4


@dataclass(frozen=True)
class Choice:
    """The best of what was measured for one goal.

    Attributes:
        goal: What it is best at.
        best: Its name.
        figure: Its figure, with the unit.
        others: What the next best has, in words.
    """

    goal: str
    best: str
    figure: str
    others: str


def sentences(run: Run) -> list[str]:
    """Return the verdict as plain sentences, with Markdown's stars around the winners."""
    of_recipe = by_recipe(valid(run.phase("infer")))
    found = [
        _fastest(records, recipe_words(recipe, of_recipe))
        for recipe, records_of in of_recipe.items()
        for _, records in by_batch_size(records_of)
    ]
    if train := valid(run.phase("train")):
        fastest = max(train, key=lambda record: record.windows_per_s)
        found.append(
            f"**{fastest.model_name}** trains fastest: {_rate(fastest)} at batch {fastest.batch_size:,} in {how(fastest)}."
        )
    if accuracy := valid(run.phase("accuracy")):
        best = min(accuracy, key=lambda record: float(record.smape))
        sentence = f"Most accurate: **{best.model_name}**, sMAPE {best.smape:.3f} %"
        if best.baselines_smape:
            name, smape = min(best.baselines_smape.items(), key=lambda item: float(item[1]))
            sentence += f"; the best baseline, {BASELINE_NAMES.get(name, name)}, has {smape:.3f} %"
        found.append(f"{sentence}.")
        found.append(_effect_of_runtimes(accuracy))
    if run.data:
        found.append(f"Data: {run.data['name']}. The ratios are of one process on one machine.")
    return [*found, _left_out(run)]


def _effect_of_runtimes(accuracy: Sequence[Record]) -> str:
    """Say what the runtimes and precisions cost in accuracy, against PyTorch in fp32."""
    known = [(one, one.smape - one.smape_torch_fp32) for one in accuracy if one.smape_torch_fp32 is not None]
    if not known:
        return "What a runtime costs in accuracy was not measured: the rows lack PyTorch's sMAPE."
    worst, change = max(known, key=lambda one: abs(one[1]))
    if abs(change) < SAME_SMAPE:
        return "No runtime changes the sMAPE of a model in its third decimal."
    return f"A runtime changes the sMAPE by {change:+.3f} at most: {worst.model_name} in {how(worst)}."


def _left_out(run: Run) -> str:
    """Say how much was not measured or is not ranked, with the most frequent reason of each."""
    wrong = [record for record in run.records if not record.is_valid]
    said = [f"{len(wrong)} wrong and not ranked ({_brief(wrong[0].validity)})"] if wrong else []
    said += [f"{len(run.failed)} without a result ({_brief(run.failed[0][1])})"] if run.failed else []
    if run.skipped:
        reasons = Counter(_brief(reason) for _, reason in run.skipped)
        said.append(f"{len(run.skipped)} skipped ({', '.join(reason for reason, _ in reasons.most_common(2))})")
    measured = len(run.records) - len(wrong)
    if not said:
        return f"All {measured} benchmarks that were asked for were measured."
    return f"{measured} benchmarks were measured; {', '.join(said)}: see the end."


def _brief(reason: str) -> str:
    """Return a reason up to the explanation that follows its colon, semicolon or first sentence."""
    return re.split(r"[:;]|\.(?:\s|$)", reason, maxsplit=1)[0]


def choices(run: Run) -> list[Choice]:
    """Return the best choice for each goal that something was measured for."""
    infer = valid(run.phase("infer"))
    smallest = min((int(record.batch_size) for record in infer), default=0)
    latency = [record for record in infer if record.batch_size == smallest]
    scale, unit = time_unit([record.median_s for record in latency] or [1.0])
    found = [
        _choice(
            "Lowest latency",
            latency,
            lambda one: one.median_s,
            lambda one: f"{measured(one.median_s / scale, one)} {unit}",
        ),
        _choice("Highest throughput", infer, lambda one: -one.windows_per_s, _rate),
        _choice(
            "Lowest memory",
            [one for one in infer if one.process_bytes],
            lambda one: one.process_bytes or math.inf,
            _memory,
        ),
        _choice(
            "Best accuracy",
            valid(run.phase("accuracy")),
            lambda one: float(one.smape),
            lambda one: f"sMAPE {one.smape:.3f} %",
        ),
        _choice("Fastest training", valid(run.phase("train")), lambda one: -one.windows_per_s, _rate),
    ]
    return [choice for choice in found if choice]


def _choice(
    goal: str, records: Sequence[Record], order: Callable[[Record], float], figure: Callable[[Record], str]
) -> Choice | None:
    if not records:
        return None
    best, *others = sorted(records, key=lambda record: (order(record), record.fullname))
    following = f"{_name(others[0])}: {figure(others[0])}" if others else "–"
    return Choice(goal, _name(best), figure(best), following)


def _name(record: Record) -> str:
    batch_size = record.batch_size
    batch = f", batch {batch_size:,}" if isinstance(batch_size, int) and record.phase != "accuracy" else ""
    return f"{record.model_name} in {how(record)}{batch}"


def _rate(record: Record) -> str:
    return f"{measured(record.windows_per_s, record)} windows/s"


def _memory(record: Record) -> str:
    """Say what a process needs that only serves this, and how much of it is the model's."""
    share = bytes_text(record.model_rss_bytes)
    return f"{bytes_text(record.process_bytes)}, {share} of it the model's"


def recipe_words(recipe: str | None, among: Collection[str | None]) -> str:
    """Say which models a sentence is about, where there are several recipes: they are fast for what they are."""
    return f" by models of the recipe {recipe or 'unknown'}" if len(among) > 1 else ""


def _fastest(records: list[Record], of_recipe: str) -> str:
    """Say which is the fastest of one recipe and batch size, by how much, and whether its answers are right."""
    best, *others = sorted(records, key=lambda record: record.median_s)
    batch_size = int(best.batch_size)
    scale, unit = time_unit([best.median_s])
    sentence = (
        f"For {batch_words(batch_size)}{of_recipe}, **{best.model_name} in {how(best)}** is fastest: "
        f"{measured(best.median_s / scale, best)} {unit} per call, "
        f"{measured(best.windows_per_s, best)} windows/s"
    )
    base = base_of(records)
    if base and base is not best:
        ratio = times(best.median_s / base.median_s)
        than = "as fast as" if ratio == "equal" else f"{ratio} than"
        sentence += f", {than} {base.model_name} in {how(base)}"
    if others and others[0] is not base:
        sentence += f"; the next, {others[0].model_name} in {how(others[0])}, is " + times(
            others[0].median_s / best.median_s
        )
    return f"{sentence}{_answers(best)}."


def batch_words(batch_size: int) -> str:
    """Write a batch size in words."""
    return "one window at a time" if batch_size == 1 else f"{batch_size:,} windows at a time"


def _answers(record: Record) -> str:
    error = record.parity_max_abs
    if not isinstance(error, float):
        return ""
    return f"; its answers lie within {error:.0e} of float64" if error <= SAME_ANSWERS else f"; they are off by {error:.0e}"


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Say in sentences what is fastest and most accurate, and which is the best choice for each goal."""
    run = runs[0]
    said = sentences(run)
    parts = ["## Verdict\n", "\n".join(f"- {escape(sentence)}" for sentence in said) + "\n"]
    if chosen := choices(run):
        rows = [[choice.goal, choice.best, choice.figure, choice.others] for choice in chosen]
        parts.append(markdown_table(["Goal", "Best choice", "its figure", "the next best"], rows, left=4))
    return parts


SECTION = Section(_lines)
