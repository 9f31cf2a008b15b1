"""The page: the Markdown of a report as one self-contained HTML file with figures that answer the pointer.

The text is written once, as Markdown; here it becomes headings, tables, figures and what is folded. Nothing is fetched:
script, style and pictures are in the file, and its policy forbids the rest.
"""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from itertools import chain, count, pairwise, takewhile

import jinja2
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

from rnncore.report.figure import Drawing, Figure
from rnncore.report.fold import FOLDED, FOLDED_END
from rnncore.report.section import ANSWERS
from rnncore.report.table import LEFT, RIGHT, cells_of, is_plain

# Ids that the page has itself, in its template, its style and its script.
_TAKEN = ("report", "filter", "copy", "said", "tip")

# What the elements of a table are.
_ROLES = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "th": "columnheader", "td": "cell"}
_ELEMENT = re.compile(rf"<({'|'.join(_ROLES)})\b")

# A paragraph that is one of our pictures.
_PICTURE = re.compile(r"!\[.*\]\(([a-z0-9-]+)\.png\)")


def page_html(text: str, pictures: Mapping[str, str], downloads: Sequence[str] = ("report.md",)) -> str:
    """Return the page of a report.

    Args:
        text: The report as Markdown; text from files is escaped in it.
        pictures: The HTML of its pictures by name, as `figure_html` returns it.
        downloads: Names of files beside the page.
    """
    tokens = _parser().parse(text)
    headings = list(_with_ids(tokens))
    title = headings[0][2] if headings else "Report"
    body = _parser().renderer.render(_with_pictures(tokens, pictures), _parser().options, {})
    # No other script runs in it, whatever a text would get past all that is escaped.
    script = _asset("page.js")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("page.html.j2")).render(
        title=title,
        sections=[(anchor, words) for level, anchor, words in headings if level == "h2"],
        body=_Safe(body),
        downloads=downloads,
        style=_Safe(_asset("page.css")),
        script=_Safe(script),
        script_digest=_Safe(f"sha256-{b64encode(sha256(script.encode()).digest()).decode()}"),
    )


class _Safe(str):
    """Text that is HTML already."""

    def __html__(self) -> str:
        return str(self)


def _asset(name: str) -> str:
    return (resources.files("rnncore.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _parser() -> MarkdownIt:
    # No raw HTML, links or pictures: in text from a file, what looks like them is text. Our figures are put in by name.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink", "reference"])
    parser.block.ruler.at("table", _table, {"alt": ["paragraph"]})
    return parser


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Read a table as `Table.markdown` writes it into one token: those of thousands of cells would take seconds."""
    texts = (state.src[state.bMarks[line] : state.eMarks[line]] for line in range(start, end))
    lines = list(takewhile(lambda line: line.startswith("| "), texts))
    if len(lines) < 2 or not set(cells_of(lines[1])) <= {LEFT, RIGHT}:
        return False
    if not silent:
        state.push("table", "", 0).meta = {"lines": lines}
        state.line = start + len(lines)
    return True


def _table_html(lines: Sequence[str], section: str) -> str:
    """Return the HTML of a table in a frame that scrolls, under the heading of a section."""
    head, rule, *rows = map(cells_of, lines)
    # A page shows the answers as cards: by its style they would be no table to readers of screens.
    is_answers = head[0] == ANSWERS
    styles = [' style="text-align:right"' if one == RIGHT else "" for one in rule]
    of_heads = [f'{style} scope="col"' for style in styles]
    kind = ' class="answers"' if is_answers else ""
    body = ["<tbody>\n", *(_row_html(row, "td", styles) for row in rows), "</tbody>\n"] if rows else []
    table = f"<table{kind}>\n<thead>\n{_row_html(head, 'th', of_heads)}</thead>\n{''.join(body)}</table>\n</div>\n"
    framed = f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(f"Table: {section}")}">'
    return framed + (_ELEMENT.sub(lambda found: f'{found[0]} role="{_ROLES[found[1]]}"', table) if is_answers else table)


def _row_html(cells: Sequence[str], tag: str, attributes: Sequence[str]) -> str:
    made = [f"<{tag}{of_column}>{_cell_html(cell)}</{tag}>\n" for cell, of_column in zip(cells, attributes, strict=True)]
    return f"<tr>\n{''.join(made)}</tr>\n"


def _cell_html(cell: str) -> str:
    return escapeHtml(cell) if is_plain(cell) else str(_parser().renderInline(cell))


def _with_ids(tokens: list[Token]) -> Sequence[tuple[str, str, str]]:
    """Give each heading an anchor; return level, anchor and words of each."""
    found: list[tuple[str, str, str]] = []
    taken = set(_TAKEN)
    for token, inline in pairwise(tokens):
        if token.type != "heading_open":
            continue
        words = "".join(child.content for child in inline.children or ())
        stem = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-") or "section"
        anchors = chain([stem], (f"{stem}-{number}" for number in count(2)))
        anchor = next(name for name in anchors if name not in taken)
        taken.add(anchor)
        token.attrSet("id", anchor)
        found.append((token.tag, anchor, words))
    return found


def _with_pictures(tokens: list[Token], pictures: Mapping[str, str]) -> list[Token]:
    """Put pictures in place of their lines, folds in place of theirs, and each table into a frame that scrolls."""
    made: list[Token] = []

    def add(html: str) -> None:
        made.append(Token("html_block", "", 0, content=html))

    section, index = "", 0
    while index < len(tokens):
        token = tokens[index]
        if token.type == "heading_open":
            section = "".join(child.content for child in tokens[index + 1].children or ())
        html = _html_of(tokens[index : index + 3], pictures)
        if html is not None:
            add(html)
            index += 3
            continue
        if token.type == "table":
            add(_table_html(token.meta["lines"], section))
        else:
            made.append(token)
        index += 1
    return made


def _html_of(paragraph: Sequence[Token], pictures: Mapping[str, str]) -> str | None:
    """Return the HTML of a paragraph that is a picture, or a line around what is folded; None of another paragraph."""
    if [token.type for token in paragraph] != ["paragraph_open", "inline", "paragraph_close"]:
        return None
    content = paragraph[1].content
    if fold := FOLDED.fullmatch(content):
        # It is escaped already.
        return f"<details><summary>{fold[1]}</summary>\n"
    if content == FOLDED_END:
        return f"{FOLDED_END}\n"
    picture = _PICTURE.fullmatch(content)
    return pictures.get(picture[1]) if picture else None


def figure_html(figure: Figure, drawing: Drawing) -> str:
    """Return a drawn figure as HTML, for wide screens and for narrow ones."""
    alt = escape(figure.alt)
    pictures = "".join(
        f'<div class="chart {kind}" role="img" aria-label="{alt}">{svg}</div>\n'
        for kind, svg in (("wide", drawing.wide), ("narrow", drawing.narrow))
    )
    return with_caption(figure.name, figure.alt, pictures)


def with_caption(name: str, alt: str, content: str) -> str:
    """Return the HTML of a picture as a figure, with its words under it."""
    return f'<figure id="figure-{name}" data-figure="{name}">\n{content}<figcaption>{escape(alt)}</figcaption></figure>\n'
