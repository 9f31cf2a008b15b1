"""A section of a page: its text with its tables, and its figures. A page is a list of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rnncore.report.figure import Chart, Figure
from rnncore.runfile.record import Run


@dataclass(frozen=True)
class Shown:
    """What a page has beside its runs.

    Attributes:
        figures: Those that were drawn, by name.
        prices: Of an hour of a run's machine, by the name of the run's file or its letter.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    prices: Mapping[str, float] = field(default_factory=dict)

    def figure(self, name: str) -> list[str]:
        """Return the lines that show a figure, if it was drawn."""
        return [f"![{self.figures[name].alt}]({name}.png)\n"] if name in self.figures else []


def no_figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw nothing."""
    return []


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        lines: Its Markdown, from the runs of the page; none where it has nothing to say.
        figures: Draws what the runs have something for.
    """

    lines: Callable[[Sequence[Run], Shown], list[str]]
    figures: Callable[[Sequence[Run]], list[Figure]] = no_figures


def drawn(name: str, alt: str, records: Sequence[object], draw: Callable[[], Chart]) -> list[Figure]:
    """Return a figure where there are records to draw.

    Args:
        name: Stem of its files.
        alt: What it shows, in a sentence.
        records: What it would show.
        draw: Makes the chart.
    """
    return [Figure(name, alt, draw())] if records else []


def nothing(suite: str, why: str = "") -> str:
    """Return what an empty section says, by the suite that fills it."""
    return f"No valid row of `{suite}` is in this run{why}.\n"
