"""Tables and paragraphs: as Markdown, and as a verb prints them."""

import re
from collections.abc import Iterable, Sequence

# Lines to print, and the table under them, its first row the heading; no rows where the lines are all.
TextTable = tuple[str, list[list[str]]]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table, the first *left* columns aligned left and the rest right."""
    rule = ["---" if index < left else "--:" for index in range(len(head))]
    lines = [[escape(text) for text in head], rule, *[[escape(text) for text in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def paragraph(text: str) -> str:
    """Return a paragraph in which text that came from a file stays text."""
    return escape(text) + "\n"


def escape(text: str) -> str:
    """Return text that is no HTML and stays on one line in one cell."""
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), ("\n", " "), ("\r", " ")):
        text = text.replace(character, escaped)
    # An odd backslash before a bar would be taken for its escape, and the bar would end the cell.
    return re.sub(r"(\\*)\|", lambda found: found[1] + "\\" * (len(found[1]) % 2) + r"\|", text)
