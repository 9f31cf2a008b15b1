"""Verdict: the answers as large figures, whether they can be trusted, and the best choice for each goal."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from rnncore.amounts import counted, time_unit
from rnncore.compare.choices import fastest_first, ranked
from rnncore.report.fold import folded
from rnncore.report.rows import base_of, valid, way
from rnncore.report.section import Section, Shown
from rnncore.report.sections.answers import answers_table, figures, what_text
from rnncore.report.sections.trust import trust_sentence
from rnncore.report.table import Table, escape, inert, paragraph, strong, words
from rnncore.report.words import bytes_text, compared_with, significant, time_text, times
from rnncore.runfile.record import Record, Run

# Answers this close to float64 are those of any other runtime, as far as a forecast goes.
SAME_ANSWERS = 1e-4


def left_out(run: Run) -> str:
    """Say how much was not measured or is not ranked, with the most frequent reason of each."""
    wrong = [record for record in run.records if not record.is_valid]
    said = [f"{len(wrong)} wrong and not ranked ({inert(_brief(wrong[0].validity))})"] if wrong else []
    said += [f"{len(run.failed)} without a result ({inert(_brief(run.failed[0][1]))})"] if run.failed else []
    if run.skipped:
        reasons = Counter(_brief(reason) for _, reason in run.skipped)
        said.append(f"{len(run.skipped)} skipped ({', '.join(inert(reason) for reason, _ in reasons.most_common(2))})")
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
        "latency": ("Lowest latency", lambda one: f"{significant(one.median_s / scale)} {unit}"),
        "throughput": ("Highest throughput", rate_text),
        "memory": ("Lowest memory", memory),
        "accuracy": ("Best accuracy", lambda one: f"sMAPE {one.smape:.3f} %"),
        "training": ("Fastest training", rate_text),
    }
    rows = []
    for goal, (title, figure) in shown.items():
        if records := ranked(run, goal):
            named = []
            for record in records[:2]:
                batch = f", batch {record.batch_size:,}" if record.batch_size and record.phase != "accuracy" else ""
                named.append((f"{way(record)}{batch}", figure(record)))
            rows.append([title, *named[0], ": ".join(named[1]) if len(records) > 1 else None])
    return rows


def rate_text(record: Record) -> str:
    """Return the windows per second of a record."""
    return f"{significant(record.windows_per_s)} windows/s"


def recipe_words(recipe: str | None, among: Collection[str | None]) -> str:
    """Say which models a sentence is about, where there are several recipes: they are fast for what they are."""
    return f" by models of the recipe {inert(recipe or 'unknown')}" if len(among) > 1 else ""


def fastest(records: list[Record], of_recipe: str) -> str:
    """Say which is the fastest of one recipe and batch size, by how much, and whether its answers are right."""
    best, *others = fastest_first(records)
    sentence = (
        f"For {batch_words(int(best.batch_size))}{of_recipe}, {strong(way(best))} is fastest: "
        f"{time_text(best.median_s)} per call, {rate_text(best)}"
    )
    base = base_of(records)
    if base and base is not best:
        sentence += f", {compared_with(times(best.median_s / base.median_s), inert(way(base)))}"
    if others and others[0] is not base:
        ratio = times(others[0].median_s / best.median_s)
        sentence += f"; the next, {inert(way(others[0]))}, is {ratio}"
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
    """Return what was measured on what, the answers, the chart that explains them, and whether they can be trusted."""
    run, goals = runs[0], choices(runs[0])
    answers = answers_table(run, shown.prices)
    said = [left_out(run)]
    others = len(valid(run.records)) - sum(record.has_case for record in valid(run.records))
    if others:
        said.append(f"{counted(others, 'benchmark')} of other suites: see below.")
    table = Table(words("Goal", "Best choice", "its figure", "the next best"), goals)
    return [
        paragraph(inert(what_text(run))),
        *([answers.markdown()] if answers.rows else []),
        *shown.figure("answers"),
        paragraph(trust_sentence(run)),
        bullets(said),
        *folded("Best and next best of each goal, memory and training too", [table.markdown()] if goals else []),
    ]


SECTION = Section("## Verdict", text, figures)
