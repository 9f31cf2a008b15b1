"""A section of a page: what it needs, its text with its tables, and its figures. A page is a list of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rnncore.report.figure import Figure
from rnncore.report.table import escape, inert
from rnncore.runfile.record import Run

# Heading of the first column of a table whose rows a page shows as large figures.
ANSWERS = "Best at"


@dataclass(frozen=True)
class Shown:
    """What a page has beside its runs.

    Attributes:
        figures: Those that were drawn, by name.
        prices: Of an hour of a run's machine, by the name of the run's file or its letter.
        lacking: Why sections are not there, each reason once.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)
    lacking: Sequence[str] = ()

    def figure(self, name: str) -> list[str]:
        """Return the lines that show a figure, if it was drawn."""
        return [picture_line(name, self.figures[name].alt)] if name in self.figures else []


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        heading: With Markdown's signs of its level; empty for lines under the heading before.
        text: Returns what is under the heading, as Markdown; nothing where the page goes without the section.
        figures: Draws what the runs have something for.
        needs: Returns what of the first run it is about; None where it is about the runs as they are.
        lacking: Why it is not there where that is nothing.
    """

    heading: str
    text: Callable[[Sequence[Run], Shown], list[str]]
    figures: Callable[[Sequence[Run]], list[Figure]] = lambda runs: []
    needs: Callable[[Run], Sequence[object]] | None = None
    lacking: str = ""

    def lines(self, runs: Sequence[Run], shown: Shown) -> list[str]:
        """Return the section as Markdown."""
        body = [] if self.lacks(runs) else self.text(runs, shown)
        return [f"{self.heading}\n", *body] if self.heading and body else body

    def drawn(self, runs: Sequence[Run]) -> list[Figure]:
        """Return its figures."""
        return [] if self.lacks(runs) else self.figures(runs)

    def lacks(self, runs: Sequence[Run]) -> bool:
        """Say whether the first run has nothing of what it is about."""
        return self.needs is not None and not self.needs(runs[0])


def picture_line(name: str, alt: str) -> str:
    """Return the line of Markdown that shows a picture: what of its words is from a file stays text, and ends no bracket."""
    words = re.sub(r"[\[\]]", r"\\\g<0>", inert(alt))
    return f"![{escape(words)}]({name}.png)\n"


def no_row_of(suite: str, which: str = "") -> str:
    """Return why a section is not there, by the suite that fills it."""
    return f"No valid row of `{suite}` is in this run{which}."
