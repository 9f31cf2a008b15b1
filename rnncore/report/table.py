"""One table, as Markdown and on a screen; paragraphs in which text from files stays text."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import rich.table
from rich.text import Text

# The longest verdict: a column of wrapping words is at least as wide on a screen.
_WRAPPED_WIDTH = len("incomparable")

# Of the line under the headings of Markdown: which side a column is aligned to.
LEFT, RIGHT = "---", "--:"

# A bar between cells, and not one of a text.
_BAR = re.compile(r"(?<!\\)\|")

# What ends a line somewhere, or moves a cursor.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# What `inert` and `escape` look at: text without any is the same as Markdown.
_LOOKED_AT = re.compile(r"[\\`*~$(_|&<\x00-\x1f\x7f-\x9f\u2028\u2029]")

# Markdown that `escape` leaves: it would make code, emphasis, formulas, links and pictures of text.
_MARKDOWN = re.compile(r"[\\`*~$]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])")


class Markdown(str):
    """Text that is Markdown, as `inert` and `strong` make it; in a cell any other text stays text."""


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else str(value)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading, without the unit.
        unit: Of its numbers; empty where they have none, or each its own.
        left: Align it left; numbers are aligned right.
        wraps: On a screen, wrap its words, aligned left.
        show: Writes a cell that is known; what is not known, None, is a dash.
    """

    title: str
    unit: str = ""
    left: bool = False
    wraps: bool = False
    show: Callable[[Any], str] = _plain

    @property
    def heading(self) -> str:
        """The title with the unit."""
        return type(self.title)(f"{self.title} {self.unit}") if self.unit else self.title


def words(*titles: str) -> list[Column]:
    """Return columns of words."""
    return [Column(title, left=True) for title in titles]


def numbers(*titles: str, unit: str = "", show: Callable[[Any], str] = _plain) -> list[Column]:
    """Return columns of numbers in one unit and format."""
    return [Column(title, unit, show=show) for title in titles]


@dataclass(frozen=True)
class Table:
    """Rows under columns.

    Attributes:
        columns: The columns.
        rows: A cell for each column; None where it is not known.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    @property
    def head(self) -> list[str]:
        """The headings."""
        return [column.heading for column in self.columns]

    @property
    def texts(self) -> list[list[str]]:
        """The rows as text."""
        return [
            ["–" if cell is None else column.show(cell) for column, cell in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """Return the table as Markdown, in which all text but `Markdown` stays text."""
        rule = [LEFT if column.left or column.wraps else RIGHT for column in self.columns]
        head, *rows = (list(map(_cell, row)) for row in (self.head, *self.texts))
        lines = [head, rule, *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"

    def screen(self) -> rich.table.Table:
        """Return the table for a screen: where that is narrow, names fold and words wrap; numbers stay whole."""
        drawn = rich.table.Table(box=None, pad_edge=False, header_style="bold")
        for index, column in enumerate(self.columns):
            drawn.add_column(
                column.heading,
                justify="left" if column.left or column.wraps else "right",
                no_wrap=index > 0 and not column.wraps,
                overflow="fold",
                min_width=_WRAPPED_WIDTH if column.wraps else None,
            )
        for row in self.texts:
            # As Text: brackets of a test's name are no markup; and what moves a cursor is in none.
            drawn.add_row(*(Text(_CONTROL.sub(" ", cell)) for cell in row))
        return drawn


def _cell(text: str) -> str:
    """Return text as a cell of Markdown; most are numbers, and are that already."""
    return escape(inert(text)) if _LOOKED_AT.search(text) else text


def cells_of(line: str) -> list[str]:
    """Return the cells of a line of a table that `Table.markdown` wrote, as the Markdown that they are."""
    return [cell.strip(" ").replace("\\|", "|") for cell in _BAR.split(line)[1:-1]]


def paragraph(text: str) -> str:
    """Return a paragraph of Markdown without HTML; what of it is from a file, `inert` makes text."""
    return escape(text) + "\n"


def no_html(text: str) -> str:
    """Return text that is no HTML and stays on one line."""
    for character, escaped in (("&", "&amp;"), ("<", "&lt;")):
        text = text.replace(character, escaped)
    return _CONTROL.sub(" ", text)


def escape(text: str) -> str:
    """Return text that is no HTML and stays on one line in one cell."""
    text = no_html(text)
    # An odd backslash before a bar would be taken for its escape, and the bar would end the cell.
    return re.sub(r"(\\*)\|", lambda found: found[1] + "\\" * (len(found[1]) % 2) + r"\|", text)


def inert(text: str) -> Markdown:
    """Return Markdown that shows a text as it is; `escape` does the rest where it is put on the page. Markdown stays it."""
    return text if isinstance(text, Markdown) else Markdown(_MARKDOWN.sub(r"\\\g<0>", text))


def is_plain(markdown: str) -> bool:
    """Say whether Markdown is the text that it shows, without markup and escapes."""
    return "&" not in markdown and not _MARKDOWN.search(markdown)


def strong(text: str) -> Markdown:
    """Return a text as bold Markdown."""
    return Markdown(f"**{inert(text)}**")


def code(text: str) -> Markdown:
    """Return a text as code in Markdown; one that would end it, as text."""
    return inert(text) if "`" in text else Markdown(f"`{text}`")
