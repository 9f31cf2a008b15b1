"""Verdict: what is fastest, in sentences, and the best choice for each goal."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from rnncore.amounts import counted, time_unit
from rnncore.compare.choices import fastest_first, rankable, ranked
from rnncore.report.rows import base_of, by_batch_size, by_recipe, valid
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, escape, words
from rnncore.report.words import BASELINE_NAMES, bytes_text, how, measured, median_text, times
from rnncore.runfile.record import Record, Run

# Answers this close to float64 are those of any other runtime, as far as a forecast goes.
SAME_ANSWERS = 1e-4

# Below half a unit of the third decimal, in percentage points.
SAME_SMAPE = 5e-4


def sentences(run: Run) -> list[str]:
    """Return the verdict as plain sentences, with Markdown's stars around the winners."""
    of_recipe = by_recipe(rankable(run.phase("infer")))
    found = [
        _fastest(records, recipe_words(recipe, of_recipe))
        for recipe, records_of in of_recipe.items()
        for _, records in by_batch_size(records_of)
    ]
    if train := ranked(run, "training"):
        fastest = train[0]
        found.append(
            f"**{fastest.model_name}** trains fastest: {_rate(fastest)} at batch {fastest.batch_size:,} in {how(fastest)}."
        )
    if accuracy := ranked(run, "accuracy"):
        best = accuracy[0]
        sentence = f"Most accurate: **{best.model_name}**, sMAPE {best.smape:.3f} %"
        if best.baselines_smape:
            name, smape = min(best.baselines_smape.items(), key=lambda item: float(item[1]))
            sentence += f"; the best baseline, {BASELINE_NAMES.get(name, name)}, has {smape:.3f} %"
        found.append(f"{sentence}.")
        found.append(_effect_of_runtimes(accuracy))
    if run.data:
        found.append(f"Data: {run.data['name']}. The ratios are of one process on one machine.")
    others = len(valid(run.records)) - sum(record.has_case for record in valid(run.records))
    if others:
        found.append(f"{counted(others, 'benchmark')} of other suites: see below.")
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


def choices(run: Run) -> list[list[str | None]]:
    """Return rows of goal, best choice, its figure and the next best, for each goal that something was measured for."""
    scale, unit = time_unit([record.median_s for record in ranked(run, "latency")] or [1.0])

    def memory(record: Record) -> str:
        on_gpu = f", {bytes_text(record.process_device_bytes)} of it on the GPU" if record.process_device_bytes else ""
        model = f", {bytes_text(record.model_rss_bytes)} of it the model's"
        return f"{bytes_text(record.whole_process_bytes)}{on_gpu or model}"

    shown: dict[str, tuple[str, Callable[[Record], str]]] = {
        "latency": ("Lowest latency", lambda one: f"{measured(one.median_s / scale, one)} {unit}"),
        "throughput": ("Highest throughput", _rate),
        "memory": ("Lowest memory", memory),
        "accuracy": ("Best accuracy", lambda one: f"sMAPE {one.smape:.3f} %"),
        "training": ("Fastest training", _rate),
    }
    rows = []
    for goal, (title, figure) in shown.items():
        if records := ranked(run, goal):
            named = []
            for record in records[:2]:
                batch = f", batch {record.batch_size:,}" if record.batch_size and record.phase != "accuracy" else ""
                named.append((f"{record.model_name} in {how(record)}{batch}", figure(record)))
            rows.append([title, *named[0], ": ".join(named[1]) if len(records) > 1 else None])
    return rows


def _rate(record: Record) -> str:
    return f"{measured(record.windows_per_s, record)} windows/s"


def recipe_words(recipe: str | None, among: Collection[str | None]) -> str:
    """Say which models a sentence is about, where there are several recipes: they are fast for what they are."""
    return f" by models of the recipe {recipe or 'unknown'}" if len(among) > 1 else ""


def _fastest(records: list[Record], of_recipe: str) -> str:
    """Say which is the fastest of one recipe and batch size, by how much, and whether its answers are right."""
    best, *others = fastest_first(records)
    sentence = (
        f"For {batch_words(int(best.batch_size))}{of_recipe}, **{best.model_name} in {how(best)}** is fastest: "
        f"{median_text(best)} per call, {_rate(best)}"
    )
    base = base_of(records)
    if base and base is not best:
        ratio = times(best.median_s / base.median_s)
        than = "as fast as" if ratio == "equal" else f"{ratio} than"
        sentence += f", {than} {base.model_name} in {how(base)}"
    if others and others[0] is not base:
        ratio = times(others[0].median_s / best.median_s)
        sentence += f"; the next, {others[0].model_name} in {how(others[0])}, is {ratio}"
    error = best.parity_max_abs
    if isinstance(error, float):
        same = error <= SAME_ANSWERS
        sentence += f"; its answers lie within {error:.0e} of float64" if same else f"; they are off by {error:.0e}"
    return f"{sentence}."


def batch_words(batch_size: int) -> str:
    """Write a batch size in words."""
    return "one window at a time" if batch_size == 1 else f"{batch_size:,} windows at a time"


def bullets(sentences: Iterable[str]) -> str:
    """Return sentences as a Markdown list."""
    return "\n".join(f"- {escape(sentence)}" for sentence in sentences) + "\n"


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what is fastest and most accurate in sentences, and the best choice for each goal."""
    rows = choices(runs[0])
    table = Table(words("Goal", "Best choice", "its figure", "the next best"), rows)
    return [bullets(sentences(runs[0])), *([table.markdown()] if rows else [])]


SECTION = Section("## Verdict", text)
