"""A comparison as Markdown, for a pull request, a job summary or a page: the answer first, details folded."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from rnncore.compare.measures import TIME
from rnncore.compare.verdict import VERDICTS, BudgetCheck, BudgetJudgement, Comparison, Judgement
from rnncore.report.fold import folded
from rnncore.report.table import Table, escape, inert, numbers, paragraph, strong, words
from rnncore.report.verdict.budgets import budget_table
from rnncore.report.verdict.text import difference_table, group_table
from rnncore.report.verdict.words import (
    answer_of,
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
from rnncore.report.words import is_ratio

# Rows that do not fail, and notes, that are shown unfolded: what passes is read in a moment.
MOST_PASSING, MOST_NOTES = 4, 3


def verdict_markdown(comparison: Comparison) -> str:
    """Render a comparison for a pull request or a job's summary; equal comparisons give equal bytes.

    The first line says whether it passes and why. What fails is in the open, as are few rows of what is neither that nor the
    same; all else is folded.

    Args:
        comparison: The verdicts.

    Returns:
        Markdown that GitHub renders, in which text that came from a file stays text.
    """
    ordered = gravest_first(comparison.judgements)
    failing = [one for one in ordered if _fails(one)]
    others = [one for one in ordered if not _fails(one) and one.verdict != "same"]
    same = [one for one in ordered if one.verdict == "same"]
    is_brief = len(others) <= MOST_PASSING
    shown = [*failing, *(others if is_brief else [])]
    parts = [
        f"## {answer_of(comparison.exit_code)}: {escape(_inert(counts_of(comparison)))}\n",
        paragraph(f"Head {_inert(comparison.head)} against base {_inert(comparison.base)}."),
        *_notes(comparison.notes),
    ]
    if shown:
        parts.append(judgement_table(shown).markdown())
    if comparison.differences:
        parts.append(paragraph("Facts that differ, so that the ratios tell machines apart and not code:"))
        parts.append(difference_table(comparison).markdown())
    if comparison.budgets:
        parts += ["### Budgets\n", *_budgets(comparison.budgets)]
    if others and not is_brief:
        listed = ", ".join(f"{count:,} {word}" for word, count in Counter(map(verdict_word, others)).items())
        parts += folded(listed.capitalize(), [judgement_table(others).markdown()])
    if same:
        counts = Counter(measure_title(one.measure) for one in same)
        listed = ", ".join(f"{measure} of {count:,}" for measure, count in counts.items())
        parts += folded(f"The same: {listed}", [judgement_table(same).markdown()])
    about = [group_table(comparison).markdown()] if comparison.groups else []
    return "\n".join([*parts, *folded("What the words and figures mean", [*about, *_meaning(comparison)])])


def budgets_markdown(check: BudgetCheck) -> str:
    """Render verdicts on budgets for a pull request or a job's summary; equal ones give equal bytes.

    Args:
        check: The verdicts.
    """
    heading = f"## {answer_of(check.exit_code)}: {escape(_inert(budget_counts(check)))}\n"
    return "\n".join([heading, paragraph(f"Runs: {_inert(check.runs)}."), *_budgets(check)])


def _notes(notes: Sequence[str]) -> list[str]:
    """Return the notes as a list, of many the first in the open."""
    lines = [f"- {escape(_inert(note))}" for note in notes]
    parts = ["\n".join(lines[:MOST_NOTES]) + "\n"] if lines else []
    more = lines[MOST_NOTES:]
    return [*parts, *folded(f"{len(more)} more notes", ["\n".join(more) + "\n"] if more else [])]


def _meaning(comparison: Comparison) -> list[str]:
    return [
        paragraph(
            "A ratio is the head's typical value over the base's; in parentheses, its interval of "
            f"{percent(comparison.confidence)} over processes, whose numbers (base, head) stand at the end."
        ),
        paragraph(
            "Slower and faster are said only of what noise does not explain: the chance of any false one in the whole table "
            f"is at most {percent(comparison.family_error)}. Unclear means that too little was measured to tell."
        ),
    ]


def _budgets(check: BudgetCheck) -> list[str]:
    """Return the budgets that are not kept in the open, and the others folded."""
    ordered = gravest_first(check.judgements)
    kept = [one for one in ordered if not VERDICTS[one.verdict].exit_code]
    broken = [one for one in ordered if VERDICTS[one.verdict].exit_code]
    note = paragraph(
        "An interval of rounds or processes misses its figure on either side with a chance of at most 1 %; a single value "
        "has none."
    )

    def table(judgements: Sequence[BudgetJudgement]) -> list[str]:
        return [budget_table(judgements).markdown()] if judgements else []

    counts = Counter(one.verdict for one in kept)
    listed = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    return [*_notes(check.notes), *table(broken), *folded(f"Budgets: {listed}", [*table(kept), note] if kept else [])]


def judgement_table(judgements: Iterable[Judgement]) -> Table:
    """Return judgements for Markdown, the gravest first."""
    rows = [
        [
            one_line(file_and_test(judgement.fullname)[1]),
            measure_title(judgement.measure),
            verdict_word(judgement) if judgement.verdict == "same" else strong(verdict_word(judgement)),
            one_line(reason_of(judgement)),
            ratio_text(judgement),
            *base_and_head(judgement),
            processes_of(judgement),
        ]
        for judgement in _most_changed_first(judgements)
    ]
    columns = [*words("Benchmark", "Measure", "verdict", "why"), *numbers("head against base", "base", "head", "processes")]
    return Table(columns, rows)


def _most_changed_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Sort judgements so that the gravest come first, of one verdict times first, and of those what changed most."""
    return gravest_first(sorted(judgements, key=lambda one: (one.measure != TIME, -_change(one))))


def _change(judgement: Judgement) -> float:
    return abs(math.log(judgement.ratio)) if is_ratio(judgement.ratio) else 0.0


def _fails(judgement: Judgement) -> bool:
    """Say whether a judgement is one that people must act on."""
    return VERDICTS[judgement.verdict].annotation == "error" or judgement.verdict == "incomparable"


def _inert(text: str) -> str:
    """Return text on one line that is no Markdown; `escape` does the rest where it is put on the page."""
    return inert(one_line(text))
