"""What a page folds under a line: there once it is opened, and left out of the Markdown beside the page."""

import re
from collections.abc import Sequence

from rnncore.report.table import no_html

# Lines around it, as GitHub folds it too. No text from a file has such a sign: `no_html` leaves none.
FOLDED = re.compile(r"<details><summary>([^<]*)</summary>")
FOLDED_END = "</details>"

_WHOLE_FOLD = re.compile(rf"^{FOLDED.pattern}\n.*?^{FOLDED_END}\n\n?", re.MULTILINE | re.DOTALL)


def folded(summary: str, parts: Sequence[str]) -> list[str]:
    """Return parts that are folded under a line.

    Args:
        summary: The line.
        parts: Markdown; nothing is folded where there is none.
    """
    return [f"<details><summary>{no_html(summary)}</summary>\n", *parts, f"{FOLDED_END}\n"] if parts else []


def without_folded(text: str) -> str:
    """Return Markdown without what is folded in it."""
    return _WHOLE_FOLD.sub("", text)
