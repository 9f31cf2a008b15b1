"""Benchmarks of other projects' suites that are read together, what they are called, and which of them a page shows."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rnncore.report.rows import names_of, valid
from rnncore.report.table import inert, paragraph
from rnncore.report.words import significant
from rnncore.runfile.record import Record, Run

# Rows of all tables of a section, at most: a page is to be read. The flat tables have all.
MOST_ROWS = 300

# Heading of groups of one benchmark each, which are in one table.
ALONE = "Others, each alone in its group"

# Whole numbers up to this are written with all digits.
_WHOLE = 1e15


@dataclass(frozen=True)
class Group:
    """Benchmarks that are in one table.

    Attributes:
        name: Of the group, or else the file that they are in.
        records: They; those that the project put together, the fastest first.
        is_made: Whether the project put them together, so that they can be held against each other.
        shown: Those of them that the page shows.
    """

    name: str
    records: Sequence[Record]
    is_made: bool
    shown: Sequence[Record]

    @property
    def is_of_many(self) -> bool:
        """Whether it holds what is alone in groups of its own."""
        return self.name == ALONE

    @property
    def is_contest(self) -> bool:
        """Whether one of them is the fastest of those that the project put together."""
        return self.is_made and len(self.records) > 1

    @property
    def heading(self) -> str:
        """Its heading as Markdown."""
        return f"### {paragraph(self.name if self.is_of_many else inert(self.name))}"


def groups_of(records: Sequence[Record], kept: Collection[str]) -> list[Group]:
    """Put records together that are read together, in the order in which they come.

    Args:
        records: All of them.
        kept: Full names of those that are shown; groups without any are left out.
    """
    by_name: dict[str, list[Record]] = {}
    for record in records:
        by_name.setdefault(record.group, []).append(record)
    alone = [members[0] for members in by_name.values() if len(members) == 1]
    found: list[tuple[str, list[Record], bool]] = []
    for name, members in by_name.items():
        if len(members) > 1 or len(alone) == 1:
            is_made = any(name != _file_of(record) for record in members)
            ordered = sorted(members, key=lambda record: record.median_s) if is_made else members
            found.append((name, ordered, is_made))
    found += [(ALONE, alone, False)] if len(alone) > 1 else []
    groups = [Group(*group, [record for record in group[1] if record.fullname in kept]) for group in found]
    return [group for group in groups if group.shown]


def _file_of(record: Record) -> str:
    return record.fullname.split("::", 1)[0]


def others(run: Run) -> list[Record]:
    """Return the valid benchmarks of a run that are of no suite of ours."""
    return [record for record in valid(run.records) if not record.has_case]


def longest(records: Sequence[Record], most: int) -> set[str]:
    """Return the full names of those that take longest, at most so many."""
    return {record.fullname for record in sorted(records, key=lambda record: -record.median_s)[:most]}


def inert_names(records: Iterable[Record]) -> dict[str, str]:
    """Return what benchmarks are called in a table, by full name, as text that is no Markdown."""
    return {fullname: inert(name) for fullname, name in names_of(records).items()}


def number_text(value: float) -> str:
    """Write a recorded number: a whole one with all its digits."""
    return f"{value:,.0f}" if value.is_integer() and abs(value) < _WHOLE else significant(value, 4)
