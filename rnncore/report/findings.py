"""What a run says in plain sentences: what is fastest, and the best choice for each goal."""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

from rnncore.report import tables
from rnncore.report.hardware import CaseRatio, case_ratios
from rnncore.runfile.machine import same_machine
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
    by_recipe = tables.by_recipe(tables.valid(run.phase("infer")))
    found = [
        _fastest(records, _recipe_words(recipe, by_recipe))
        for recipe, of_recipe in by_recipe.items()
        for _, records in by_batch_size(of_recipe)
    ]
    if train := tables.valid(run.phase("train")):
        fastest = max(train, key=lambda record: record.windows_per_s)
        found.append(
            f"**{tables.cell_name(fastest)}** trains fastest: {_rate(fastest)} at batch {fastest.batch_size:,} in "
            f"{tables.how(fastest)}."
        )
    if accuracy := tables.valid(run.phase("accuracy")):
        best = min(accuracy, key=lambda record: float(record.smape))
        name, smape = min(best.baselines_smape.items(), key=lambda item: float(item[1]))
        found.append(
            f"Most accurate: **{tables.cell_name(best)}**, sMAPE {best.smape:.3f} %; "
            f"the best baseline, {tables.BASELINE_NAMES.get(name, name)}, has {smape:.3f} %."
        )
        found.append(_effect_of_runtimes(accuracy))
    if run.data:
        found.append(f"Data: {run.data['name']}. The ratios are of one process on one machine.")
    return [*found, _left_out(run)]


def sentences_of_several(runs: Sequence[Run]) -> list[str]:
    """Return the verdict on several runs as plain sentences."""
    by_recipe = tables.by_recipe(record for run in runs for record in tables.valid(run.phase("infer")))
    found = [
        _fastest_of_several(runs, recipe, batch_size, _recipe_words(recipe, by_recipe))
        for recipe, of_recipe in by_recipe.items()
        for batch_size, _ in by_batch_size(of_recipe)
    ]
    ratios, names = case_ratios(runs), tables.lettered_names(runs)
    for index, run in enumerate(runs[1:], 1):
        of_run = [one for one in ratios if one.run == tables.letter(index)]
        found.append(_against_first(names[index], of_run) + _lacking(runs[0], run, tables.letter(index)))
    if any(same_machine(run.fingerprint, runs[0].fingerprint) for run in runs[1:]):
        found.append(
            "Runs of one machine differ by noise between processes too; `rnncore compare` and `rnncore gate` tell a change "
            "from it by several processes a side."
        )
    return found


def _fastest_of_several(runs: Sequence[Run], recipe: str | None, batch_size: int, of_recipe: str) -> str:
    """Say which run has the fastest choice of one recipe at one batch size, and by how much, of what no run left out."""
    asked = recipe, batch_size
    rows_of = {
        name: [one for one in tables.valid(run.phase("infer")) if (one.recipe, one.batch_size) == asked]
        for run, name in zip(runs, tables.lettered_names(runs), strict=True)
    }
    with_rows = [run for run, rows in zip(runs, rows_of.values(), strict=True) if rows]
    shared = {name: [one for one in rows if all(_tried(run, one) for run in with_rows)] for name, rows in rows_of.items()}
    compared = {name: rows for name, rows in shared.items() if rows}
    if not compared:
        return f"For {_batch_words(batch_size)}{of_recipe}, no row is in all runs: nothing is compared."
    bests = [(min(rows, key=lambda record: (record.median_s, record.fullname)), name) for name, rows in compared.items()]
    bests.sort(key=lambda best: (best[0].median_s, best[1]))
    (best, where), *others = bests
    scale, unit = tables.time_unit([best.median_s])
    sentence = (
        f"For {_batch_words(batch_size)}{of_recipe}, **{tables.cell_name(best)} in {tables.how(best)} on {where}** is "
        "fastest: "
        f"{tables.measured(best.median_s / scale, best)} {unit} per call"
    )
    for other, there in others[:1]:
        ratio = tables.times(other.median_s / best.median_s)
        sentence += f"; the best on {there}, {tables.cell_name(other)} in {tables.how(other)}, is {ratio}"
    left_out = {one.fullname for name, rows in rows_of.items() for one in rows if one not in shared[name]}
    if left_out:
        sentence += f"; {len(left_out)} row{'s' if len(left_out) > 1 else ''} that only some runs have left out"
    return f"{sentence}."


def _tried(run: Run, record: Record) -> bool:
    """Say whether a run measured a row of another, or tells why it could not: what it was not asked for, it lacks."""
    if record.device == "cuda" and not run.fingerprint.get("gpu"):
        return True
    return record.fullname in _asked_for(run)


def _asked_for(run: Run) -> set[str]:
    measured = {one.fullname for one in run.records}
    return measured | {name for name, _ in run.skipped} | {name for name, *_ in run.failed}


def _lacking(first: Run, run: Run, letter: str) -> str:
    """Say what one of two runs was not asked for and the other measured."""
    said = []
    for lacking, of, without, other in ((run, first, letter, "A"), (first, run, "A", letter)):
        names = [one.short_name for one in tables.valid(of.records) if not _tried(lacking, one)]
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            said.append(f"{without} lacks {len(names)} of {other}'s rows ({names[0]}{more})")
    return f" {'; '.join(said)}." if said else ""


def _against_first(name: str, ratios: Sequence[CaseRatio]) -> str:
    """Count what is faster and slower than in the first run, beyond the intervals."""
    if not ratios:
        return f"{name} has no benchmark in common with A."
    slower = [one for one in ratios if one.low is not None and one.high is not None and one.low > 1]
    faster = [one for one in ratios if one.low is not None and one.high is not None and one.high < 1]
    said = []
    for what, some in (("faster", faster), ("slower", slower)):
        if some:
            span = sorted(max(one.ratio, 1 / one.ratio) for one in some)
            reach = f"{span[0]:.2f}x" if len(some) == 1 else f"{span[0]:.2f}x to {span[-1]:.2f}x"
            said.append(f"{len(some)} {what} ({reach})")
    unbounded = sum(one.low is None or one.high is None for one in ratios)
    untold = len(ratios) - len(slower) - len(faster) - unbounded
    said += [f"{untold} within the interval of the rounds"] if untold else []
    said += [f"{unbounded} of too few rounds for an interval"] if unbounded else []
    return f"{name} against A, of {len(ratios)} benchmark{'' if len(ratios) == 1 else 's'} in both: {', '.join(said)}."


def _effect_of_runtimes(accuracy: Sequence[Record]) -> str:
    """Say what the runtimes and precisions cost in accuracy, against PyTorch in fp32."""
    known = [(one, one.smape - one.smape_torch_fp32) for one in accuracy if one.smape_torch_fp32 is not None]
    if not known:
        return "What a runtime costs in accuracy was not measured: the rows lack PyTorch's sMAPE."
    worst, change = max(known, key=lambda one: abs(one[1]))
    if abs(change) < SAME_SMAPE:
        return "No runtime changes the sMAPE of a model in its third decimal."
    return f"A runtime changes the sMAPE by {change:+.3f} at most: {tables.cell_name(worst)} in {tables.how(worst)}."


def _left_out(run: Run) -> str:
    """Say how much was not measured or is not ranked, with the most frequent reason of each."""
    wrong = [record for record in run.records if record.validity != "valid"]
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
    infer = tables.valid(run.phase("infer"))
    smallest = min((int(record.batch_size) for record in infer), default=0)
    latency = [record for record in infer if record.batch_size == smallest]
    scale, unit = tables.time_unit([record.median_s for record in latency] or [1.0])
    found = [
        _choice(
            "Lowest latency",
            latency,
            lambda one: one.median_s,
            lambda one: f"{tables.measured(one.median_s / scale, one)} {unit}",
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
            tables.valid(run.phase("accuracy")),
            lambda one: float(one.smape),
            lambda one: f"sMAPE {one.smape:.3f} %",
        ),
        _choice("Fastest training", tables.valid(run.phase("train")), lambda one: -one.windows_per_s, _rate),
    ]
    return [choice for choice in found if choice]


def by_batch_size(records: list[Record]) -> list[tuple[int, list[Record]]]:
    """Return records by batch size, smallest first."""

    def batch_size(record: Record) -> int:
        return int(record.batch_size)

    return [(size, list(group)) for size, group in groupby(sorted(records, key=batch_size), key=batch_size)]


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
    return f"{tables.cell_name(record)} in {tables.how(record)}{batch}"


def _rate(record: Record) -> str:
    return f"{tables.measured(record.windows_per_s, record)} windows/s"


def _memory(record: Record) -> str:
    """Say what a process needs that only serves this, and how much of it is the model's."""
    share = tables.bytes_text(record.model_rss_bytes)
    return f"{tables.bytes_text(record.process_bytes)}, {share} of it the model's"


def _recipe_words(recipe: str | None, among: Collection[str | None]) -> str:
    """Say which models a sentence is about, where there are several recipes: they are fast for what they are."""
    return f" by models of the recipe {recipe or 'unknown'}" if len(among) > 1 else ""


def _fastest(records: list[Record], of_recipe: str) -> str:
    """Say which is the fastest of one recipe and batch size, by how much, and whether its answers are right."""
    best, *others = sorted(records, key=lambda record: record.median_s)
    batch_size = int(best.batch_size)
    scale, unit = tables.time_unit([best.median_s])
    sentence = (
        f"For {_batch_words(batch_size)}{of_recipe}, **{tables.cell_name(best)} in {tables.how(best)}** is fastest: "
        f"{tables.measured(best.median_s / scale, best)} {unit} per call, "
        f"{tables.measured(best.windows_per_s, best)} windows/s"
    )
    base = tables.base_of(records)
    if base and base is not best:
        ratio = tables.times(best.median_s / base.median_s)
        than = "as fast as" if ratio == "equal" else f"{ratio} than"
        sentence += f", {than} {tables.cell_name(base)} in {tables.how(base)}"
    if others and others[0] is not base:
        sentence += f"; the next, {tables.cell_name(others[0])} in {tables.how(others[0])}, is " + tables.times(
            others[0].median_s / best.median_s
        )
    return f"{sentence}{_answers(best)}."


def _batch_words(batch_size: int) -> str:
    return "one window at a time" if batch_size == 1 else f"{batch_size:,} windows at a time"


def _answers(record: Record) -> str:
    error = record.parity_max_abs
    if not isinstance(error, float):
        return ""
    return f"; its answers lie within {error:.0e} of float64" if error <= SAME_ANSWERS else f"; they are off by {error:.0e}"
