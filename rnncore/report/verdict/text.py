"""A comparison as text for the screen."""

from collections import Counter
from collections.abc import Iterator

from rnncore.compare.measures import BESIDE_TIME, MEASURES, TIME, Measure
from rnncore.compare.verdict import Comparison
from rnncore.report.table import TextTable
from rnncore.report.verdict.words import (
    file_and_test,
    gravest_first,
    is_ratio,
    listed,
    one_line,
    processes_of,
    rates_of,
    ratio_text,
    ratio_words,
    reason_of,
    scale_of,
    value_text,
    verdict_word,
    whole_verdict,
)


def verdict_tables(comparison: Comparison) -> Iterator[TextTable]:
    """Yield what a reader must know first, the judgements with the gravest first, groups, and the whole verdict last.

    Args:
        comparison: The verdicts.

    Yields:
        Lines, and the rows of the table under them, the first row its heading; rows may be empty.
    """
    notes = [f"Base: {comparison.base}", f"Head: {comparison.head}", *comparison.notes, rates_of(comparison)]
    yield "\n".join(map(one_line, notes)), judgement_rows(comparison, TIME)
    for measure in BESIDE_TIME:
        if line := _measure_line(comparison, measure):
            yield line, judgement_rows(comparison, measure)
    if comparison.groups:
        yield "Geometric means of the ratios of time", group_rows(comparison)
    if comparison.differences:
        yield "Facts that differ, so that the ratios tell machines apart and not code", difference_rows(comparison)
    yield whole_verdict(comparison), []


def judgement_rows(comparison: Comparison, measure: Measure) -> list[list[str]]:
    """Return the judgements on a measure in one unit; other measures than time only where they are not the same."""
    judgements = [judgement for judgement in comparison.judgements if judgement.measure == measure]
    shown = gravest_first(judgement for judgement in judgements if measure == TIME or judgement.verdict != "same")
    if not shown:
        return []
    scale, unit = scale_of(shown, measure)
    rows = [
        [
            one_line(file_and_test(judgement.fullname)[1]),
            verdict_word(judgement),
            ratio_text(judgement),
            value_text(judgement.base, scale, measure),
            value_text(judgement.head, scale, measure),
            processes_of(judgement),
            one_line(reason_of(judgement)),
        ]
        for judgement in shown
    ]
    return [["Benchmark", "verdict", "head against base", f"base {unit}", f"head {unit}", "processes", "why"], *rows]


def _measure_line(comparison: Comparison, measure: Measure) -> str:
    """Return how many benchmarks have which verdict on a measure; nothing where it was not judged."""
    judged = gravest_first(judgement for judgement in comparison.judgements if judgement.measure == measure)
    counts = Counter(map(verdict_word, judged))
    name = MEASURES[measure].title
    # sMAPE is written so at the start of a line too.
    return f"{name if name[1].isupper() else name.capitalize()}: {listed(counts)}" if counts else ""


def group_rows(comparison: Comparison) -> list[list[str]]:
    """Return the geometric means by group, as rows under their heading."""
    rows = [
        [one_line(group.group), f"{group.count:,}", ratio_words(group.ratio, TIME) if is_ratio(group.ratio) else "–"]
        for group in comparison.groups
    ]
    return [["Group", "benchmarks", "head against base"], *rows]


def difference_rows(comparison: Comparison) -> list[list[str]]:
    """Return the facts in which the sides differ, as rows under their heading."""
    return [["Fact", "base", "head"], *[list(map(one_line, row)) for row in comparison.differences]]
