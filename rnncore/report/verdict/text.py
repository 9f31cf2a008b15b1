"""A comparison as text for the screen."""

from collections import Counter
from collections.abc import Iterator

from rnncore.compare.measures import MEASURES, TIME, Measure
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.report.table import Column, Table, numbers, words
from rnncore.report.verdict.budgets import MOST_ROWS, left_out, screen_table
from rnncore.report.verdict.words import (
    file_and_test,
    gravest_first,
    measure_title,
    measures_beside_time,
    one_line,
    percent,
    processes_of,
    ratio_text,
    ratio_words,
    reason_of,
    values_of,
    verdict_word,
    whole_verdict,
)
from rnncore.report.words import is_ratio


def verdict_tables(comparison: Comparison) -> Iterator[tuple[str, Table | None]]:
    """Yield what a reader must know first, the judgements with the gravest first, groups, and the whole verdict last.

    Args:
        comparison: The verdicts.

    Yields:
        Lines, and the table under them.
    """
    rates = (
        f"Intervals are of {percent(comparison.confidence)}; the chance of any false slower or faster is at most "
        f"{percent(comparison.family_error)}"
    )
    notes = [f"Base: {comparison.base}", f"Head: {comparison.head}", *comparison.notes, rates]
    notes += left_out(len(_shown(comparison, TIME)))
    yield "\n".join(map(one_line, notes)), _judgement_table(comparison, TIME)
    for measure in measures_beside_time(comparison):
        judged = gravest_first(judgement for judgement in comparison.judgements if judgement.measure == measure)
        counts = Counter(map(verdict_word, judged))
        name, line = measure_title(measure), ", ".join(f"{count} {word}" for word, count in counts.items())
        # sMAPE is written so at the start of a line too, and a number as it was recorded.
        name = name if measure not in MEASURES or name[1].isupper() else name.capitalize()
        lines = [f"{name}: {line}", *left_out(len(_shown(comparison, measure)))]
        yield "\n".join(lines), _judgement_table(comparison, measure)
    if comparison.groups:
        yield "Geometric means of the ratios of time", group_table(comparison)
    if comparison.differences:
        yield "Facts that differ, so that the ratios tell machines apart and not code", difference_table(comparison)
    if comparison.budgets:
        lines = ["Budgets, held against the head", *comparison.budgets.notes]
        lines += left_out(len(comparison.budgets.judgements))
        yield "\n".join(map(one_line, lines)), screen_table(comparison.budgets.judgements)
    yield whole_verdict(comparison), None


def _shown(comparison: Comparison, measure: Measure) -> list[Judgement]:
    """Return the judgements on a measure, the gravest first; of the same ones only times that were measured."""
    judgements = [judgement for judgement in comparison.judgements if judgement.measure == measure]
    return gravest_first(one for one in judgements if one.verdict != "same" or (measure == TIME and one.ratio is not None))


def _judgement_table(comparison: Comparison, measure: Measure) -> Table | None:
    """Return the judgements on a measure, as many as a screen shows."""
    shown = _shown(comparison, measure)[:MOST_ROWS]
    if not shown:
        return None
    values, unit = values_of(shown, measure)
    rows = [
        [
            one_line(file_and_test(judgement.fullname)[1]),
            verdict_word(judgement),
            ratio_text(judgement),
            *of_both,
            processes_of(judgement),
            one_line(reason_of(judgement)),
        ]
        for judgement, of_both in zip(shown, values, strict=True)
    ]
    columns = [
        *words("Benchmark"),
        Column("verdict", wraps=True),
        Column("head against base", wraps=True),
        *numbers("base", "head", unit=unit),
        *numbers("processes"),
        Column("why", wraps=True),
    ]
    return Table(columns, rows)


def group_table(comparison: Comparison) -> Table:
    """Return the geometric means by group."""
    rows = [
        [one_line(group.group), group.count, ratio_words(group.ratio, TIME) if is_ratio(group.ratio) else None]
        for group in comparison.groups
    ]
    return Table([*words("Group"), *numbers("benchmarks"), Column("head against base", wraps=True)], rows)


def difference_table(comparison: Comparison) -> Table:
    """Return the facts in which the sides differ."""
    return Table([*words("Fact"), *numbers("base", "head")], [list(map(one_line, row)) for row in comparison.differences])
