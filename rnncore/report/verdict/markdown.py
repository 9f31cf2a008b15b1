"""A comparison as Markdown, for a pull request, a job summary or a report."""

from collections import Counter
from collections.abc import Iterable, Iterator

from rnncore.compare.verdict import BudgetCheck, Comparison, Judgement, Verdict
from rnncore.report.table import Table, escape, inert, numbers, paragraph, words
from rnncore.report.verdict.budgets import budget_table
from rnncore.report.verdict.text import difference_table, group_table
from rnncore.report.verdict.words import (
    base_and_head,
    budget_counts,
    counts_of,
    file_and_test,
    gravest_first,
    measure_title,
    one_line,
    percent,
    processes_of,
    ratio_text,
    reason_of,
    verdict_word,
)


def verdict_markdown(comparison: Comparison) -> str:
    """Render a comparison for a pull request or a job's summary; equal comparisons give equal bytes.

    Args:
        comparison: The verdicts.

    Returns:
        Markdown that GitHub renders, in which text that came from a file stays text.
    """
    ordered = gravest_first(comparison.judgements)
    changed = [judgement for judgement in ordered if judgement.verdict != "same"]
    same = [judgement for judgement in ordered if judgement.verdict == "same"]
    parts = [
        _heading(comparison.verdict, counts_of(comparison)),
        paragraph(f"Head {_inert(comparison.head)} against base {_inert(comparison.base)}."),
        *[paragraph(f"Note: {_inert(note)}") for note in comparison.notes],
    ]
    if changed:
        parts.append(judgement_table(changed).markdown())
    if same:
        of_measures = Counter(measure_title(judgement.measure) for judgement in same)
        listed = ", ".join(f"{escape(measure)} of {count:,}" for measure, count in of_measures.items())
        parts.append(f"<details><summary>The same: {listed}</summary>\n")
        parts += [judgement_table(same).markdown(), "</details>\n"]
    if comparison.budgets:
        parts += ["### Budgets\n", *_budgets(comparison.budgets)]
    if comparison.groups:
        parts.append(_inert_markdown(group_table(comparison)))
    if comparison.differences:
        parts.append(paragraph("Facts that differ, so that the ratios tell machines apart and not code:"))
        parts.append(_inert_markdown(difference_table(comparison)))
    parts += [
        paragraph(
            "A ratio is the head's typical value over the base's; in parentheses, its interval of "
            f"{percent(comparison.confidence)} over processes, whose numbers (base, head) stand at the end."
        ),
        paragraph(
            "Slower and faster are said only of what noise does not explain: the chance of any false one in the whole table "
            f"is at most {percent(comparison.family_error)}. Unclear means that too little was measured to tell."
        ),
    ]
    return "\n".join(parts)


def budgets_markdown(check: BudgetCheck) -> str:
    """Render verdicts on budgets for a pull request or a job's summary; equal ones give equal bytes.

    Args:
        check: The verdicts.
    """
    parts = [_heading(check.verdict, budget_counts(check)), paragraph(f"Runs: {_inert(check.runs)}."), *_budgets(check)]
    return "\n".join(parts)


def _heading(verdict: Verdict, counts: str) -> str:
    return f"## {verdict.capitalize()}: {escape(_inert(counts))}\n"


def _budgets(check: BudgetCheck) -> Iterator[str]:
    yield from (paragraph(f"Note: {_inert(note)}") for note in check.notes)
    yield budget_table(check.judgements, _inert).markdown()
    yield paragraph(
        "An interval of rounds or processes misses its figure on either side with a chance of at most 1 %; a single value "
        "has none."
    )


def judgement_table(judgements: Iterable[Judgement]) -> Table:
    """Return judgements for Markdown, the gravest first."""
    rows = [
        [
            _inert(file_and_test(judgement.fullname)[1]),
            _inert(measure_title(judgement.measure)),
            verdict_word(judgement) if judgement.verdict == "same" else f"**{verdict_word(judgement)}**",
            _inert(reason_of(judgement)),
            ratio_text(judgement),
            *base_and_head(judgement),
            processes_of(judgement),
        ]
        for judgement in gravest_first(judgements)
    ]
    columns = [*words("Benchmark", "Measure", "verdict", "why"), *numbers("head against base", "base", "head", "processes")]
    return Table(columns, rows)


def _inert_markdown(table: Table) -> str:
    return Table(table.columns, [list(map(_inert, row)) for row in table.texts]).markdown()


def _inert(text: str) -> str:
    """Return text on one line that is no Markdown; `escape` does the rest where it is put on the page."""
    return inert(one_line(text))
