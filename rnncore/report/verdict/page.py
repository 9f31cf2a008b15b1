"""The page of a gate: whether it passes and why, what changed as a figure, and all else folded."""

import re
from collections.abc import Sequence
from pathlib import Path

from rnncore.compare.measures import TIME
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.files import write_text
from rnncore.report.figure import Figure, draw
from rnncore.report.fold import FOLDED
from rnncore.report.html import figure_html, page_html
from rnncore.report.rows import short_names
from rnncore.report.section import Shown
from rnncore.report.sections.ratios import CaseRatio, ratio_figures
from rnncore.report.verdict.markdown import verdict_markdown
from rnncore.report.words import is_ratio

PAGE_NAME = "verdict.html"

_HEADING = re.compile(r"^#(?=#+ )", re.MULTILINE)


def write_verdict_page(comparison: Comparison, folder: Path, downloads: Sequence[str] = ()) -> Path:
    """Write the page of a comparison, whole or not at all.

    Args:
        comparison: The verdicts.
        folder: Where to.
        downloads: Names of files beside the page.

    Returns:
        The path of the page.
    """
    # A page has one heading above all others.
    text = _HEADING.sub("", verdict_markdown(comparison))
    drawn = _figures(comparison.judgements)
    shown = "\n".join(Shown({figure.name: figure for figure in drawn}).figure("ratios"))
    first_fold = FOLDED.search(text)
    at = first_fold.start() if first_fold else len(text)
    page = folder / PAGE_NAME
    pictures = {figure.name: figure_html(figure, draw(figure)) for figure in drawn}
    write_text(page, page_html(f"{text[:at]}{shown}\n{text[at:]}", pictures, downloads))
    return page


def _figures(judgements: Sequence[Judgement]) -> list[Figure]:
    """Draw the ratios of time that were measured; what is called the same or unclear did not change."""
    called = short_names(one.fullname for one in judgements)
    found = [
        CaseRatio(called[one.fullname], "head", one.ratio, one.low, one.high, one.verdict not in ("same", "unclear"))
        for one in judgements
        if one.measure == TIME and is_ratio(one.ratio)
    ]
    return ratio_figures(found, "the base's")
