"""What tests of reports share: texts kept as golden files, and tables that GitHub would cut."""

import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from rnncore.report.table import Table

GOLDEN = Path(__file__).parent / "golden"
PUBLISHED = Path(__file__).parents[1] / "reports" / "published"


def require_golden(name: str, text: str, tmp_path: Path) -> None:
    """Require a text to be that of the golden file; what was made is kept beside for a look."""
    made = tmp_path / name
    made.write_text(text, encoding="utf-8")
    expected = (GOLDEN / name).read_text(encoding="utf-8")
    assert text == expected, f"if the change is meant, copy {made} over tests/golden/{name}"


def broken_rows(text: str) -> list[str]:
    """Return the rows that GitHub would cut into another number of cells than the row above; a backslash escapes."""
    rows = [(line, len(re.findall(r"\|", re.sub(r"\\.", "", line)))) for line in text.split("\n")]
    return [
        line
        for (above, bars_above), (line, bars) in pairwise(rows)
        if above.startswith("|") and line.startswith("|") and bars != bars_above
    ]


def as_text(tables: Iterable[tuple[str, Table | None]]) -> list[tuple[str, list[list[str]]]]:
    """Return lines with the rows of the tables under them, the first row the heading; no rows where there is no table."""
    return [(lines, [table.head, *table.texts] if table else []) for lines, table in tables]
