"""A comparison as Markdown, for a pull request, a job summary or a report."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from rnncore.compare.measures import MEASURES
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.report.table import markdown_table, paragraph
from rnncore.report.verdict.text import difference_rows, group_rows
from rnncore.report.verdict.words import (
    counts_of,
    file_and_test,
    gravest_first,
    one_line,
    percent,
    processes_of,
    ratio_text,
    reason_of,
    scale_of,
    value_text,
    verdict_word,
)

# Markdown that `escape` leaves: it would make code, emphasis, formulas, links and pictures of text.
_MARKDOWN = re.compile(r"[\\`*~$]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])")


def verdict_markdown(comparison: Comparison) -> str:
    """Render a comparison for a pull request or a job's summary; equal comparisons give equal bytes.

    Args:
        comparison: The verdicts.

    Returns:
        Markdown that GitHub renders, in which text that came from a file stays text.
    """
    return "\n".join(_markdown_parts(comparison))


def judgement_table(comparison: Comparison) -> str:
    """Render all judgements as one Markdown table, the gravest first."""
    return _judgement_table(gravest_first(comparison.judgements))


def _markdown_parts(comparison: Comparison) -> Iterator[str]:
    yield f"## {comparison.verdict.capitalize()}: {counts_of(comparison)}\n"
    yield paragraph(f"Head {_inert(comparison.head)} against base {_inert(comparison.base)}.")
    yield from (paragraph(f"Note: {_inert(note)}") for note in comparison.notes)
    ordered = gravest_first(comparison.judgements)
    changed = [judgement for judgement in ordered if judgement.verdict != "same"]
    same = [judgement for judgement in ordered if judgement.verdict == "same"]
    if changed:
        yield _judgement_table(changed)
    if same:
        yield f"<details><summary>{_same_summary(same)}</summary>\n"
        yield _judgement_table(same)
        yield "</details>\n"
    if comparison.groups:
        yield _markdown_rows(group_rows(comparison))
    if comparison.differences:
        yield paragraph("Facts that differ, so that the ratios tell machines apart and not code:")
        yield _markdown_rows(difference_rows(comparison))
    yield from _how_to_read(comparison)


def _judgement_table(judgements: Sequence[Judgement]) -> str:
    rows = []
    for judgement in judgements:
        scale, unit = scale_of([judgement], judgement.measure)
        values = [value_text(value, scale, judgement.measure) for value in (judgement.base, judgement.head)]
        rows.append(
            [
                _inert(file_and_test(judgement.fullname)[1]),
                MEASURES[judgement.measure].title,
                verdict_word(judgement) if judgement.verdict == "same" else f"**{verdict_word(judgement)}**",
                _inert(reason_of(judgement)),
                ratio_text(judgement),
                *[value if value == "–" else f"{value} {unit}" for value in values],
                processes_of(judgement),
            ]
        )
    head = ["Benchmark", "Measure", "verdict", "why", "head against base", "base", "head", "processes"]
    return markdown_table(head, rows, left=4)


def _same_summary(same: Sequence[Judgement]) -> str:
    counts = Counter(MEASURES[judgement.measure].title for judgement in same)
    return f"The same: {', '.join(f'{measure} of {count:,}' for measure, count in counts.items())}"


def _markdown_rows(rows: list[list[str]]) -> str:
    return markdown_table(rows[0], [list(map(_inert, row)) for row in rows[1:]])


def _how_to_read(comparison: Comparison) -> Iterator[str]:
    yield paragraph(
        "A ratio is the head's typical value over the base's; in parentheses stands its interval of "
        f"{percent(comparison.confidence)} over processes, whose numbers (base, head) stand at the end."
    )
    yield paragraph(
        "Slower and faster are said only of what noise does not explain: the chance of any false one in the whole table is "
        f"at most {percent(comparison.family_error)}. Unclear means that too little was measured to tell."
    )


def _inert(text: str) -> str:
    """Return text on one line that is no Markdown; `escape` does the rest where it is put on the page."""
    return _MARKDOWN.sub(r"\\\g<0>", one_line(text))
