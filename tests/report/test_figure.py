"""Tests of figures: that any text can be drawn, and where labels stand."""

import math
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import altair
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rnncore.report.figure import DRAWN_LETTERS, FEW_TICKS, TIP, Figure, apart, draw, drawable, log_ticks, names_axis

# Any code point, halves of signs too, and those that XML forbids more often than by chance.
ANY_TEXT = st.text(
    st.one_of(
        st.characters(),
        st.characters(categories=["Cs", "Cc", "Co", "Cn"]),
        st.sampled_from("\x00\x0b\x1b\x7f\ud800\udfff\ufffe\uffff\U0001f600\u202e\u200d\u0301<&]>\"'\\\n\r\u2028"),
    )
)

# One of each kind on which what draws ended the process, failed, or took minutes.
HOSTILE = (
    *("a\x00b", "a\x01\x0b\x1fb", "a\x7f\x80b", "a\ud800b", "\udfff", "a\ufffe\uffffb"),
    *("x" * 16 + "\U0001f600" * 40, "x" * 17 + "\U0001f600" * 40, "a" + "\u0301" * 500, "y" * 1_000_000),
    *("<script>alert(1)</script>]]>&#0;&bogus;", "__proto__", "\u202e\u05d0\u05d1", "a\nb\r\u2028c"),
    *("", "\\", "'", '"', "`${1}`", "\\u0000"),
)


def _named(names: list[str]) -> Figure:
    """A figure with names wherever a figure has text from files: rows, legend, marks, tips, titles, its own words."""
    rows = [{"row": name, "value": 1.0 + index, "tip": name, "kind": f"{name}{index}"} for index, name in enumerate(names)]
    y = altair.Y("row:N", sort=names, title=None, axis=names_axis())
    x = altair.X("value:Q", title=names[0])
    base = altair.Chart(altair.InlineData(rows)).encode(y=y, x=x)
    colour = altair.Color("kind:N", title=names[-1], scale=altair.Scale(domain=[row["kind"] for row in rows]))
    points = base.mark_point().encode(color=colour, description=TIP)
    return Figure("names", names[0], altair.layer(points, base.mark_text().encode(text="row:N")))


@given(ANY_TEXT)
def test_what_is_drawn_is_short_and_legal_in_xml_and_has_no_halves(text: str) -> None:
    made = drawable(text)
    assert len(made) <= DRAWN_LETTERS
    assert all(ord(sign) < 0x10000 and not 0xD800 <= ord(sign) < 0xE000 for sign in made)
    ElementTree.fromstring(f"<text>{escape(made)}</text>")  # noqa: S314 (our own)


@given(st.text(st.characters(max_codepoint=0xD7FF, categories=["L", "N", "P", "S", "Zs"]), max_size=DRAWN_LETTERS))
def test_text_that_can_be_drawn_is_drawn_as_it_is(text: str) -> None:
    assert drawable(text) == text


@settings(max_examples=10)
@given(st.lists(ANY_TEXT, min_size=1, max_size=20))
def test_any_names_are_drawn(names: list[str]) -> None:
    drawing = draw(_named(names))
    for svg in (drawing.wide, drawing.narrow):
        ElementTree.fromstring(svg)  # noqa: S314 (our own)


def test_hostile_names_are_drawn_to_files(tmp_path: Path) -> None:
    # In a process of its own, as what draws may end it.
    code = (
        "import sys; from pathlib import Path; from rnncore.report.figure import write_figure; "
        "from tests.report.test_figure import HOSTILE, _named; write_figure(_named(list(HOSTILE)), Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=root, check=True, timeout=120)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["names.png", "names.svg"]


@given(st.lists(st.floats(10, 1000), min_size=1, max_size=12))
@example([100.0, 100.0, 101.0])
@example([1000.0, 999.0, 998.0])
def test_labels_stand_apart_and_in_the_order_of_what_they_label(values: list[float]) -> None:
    stand = apart(values, 10.0, 1000.0, 200)
    px = [200 * math.log(value / 10) / math.log(100) for value in stand]
    order = sorted(range(len(values)), key=lambda index: (values[index], index))
    gaps = [px[after] - px[before] for before, after in pairwise(order)]
    assert all(gap > 14.9 for gap in gaps)
    assert max(px) < 200.1


@given(st.lists(st.floats(30, 300), min_size=1, max_size=6))
@example([100.0, 100.0, 101.0])
def test_labels_that_would_touch_move_both_ways(values: list[float]) -> None:
    stand = apart(values, 10.0, 1000.0, 400)
    moves = [math.log(at / value) for at, value in zip(stand, values, strict=True)]
    # Far from the ends of the axis as many pixels up as down.
    assert math.fsum(moves) == pytest.approx(0, abs=1e-9)
    alone = sorted(values)
    if all(math.log(after / before) * 400 / math.log(100) > 15 for before, after in pairwise(alone)):
        assert stand == pytest.approx(values)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.97, 1.03, [0.98, 1, 1.02]),
        (0.9, 1.1, [0.9, 0.95, 0.98, 1, 1.02, 1.05, 1.1]),
        (0.8, 1.25, [0.8, 0.9, 1, 1.1, 1.2]),
        (8, 90, [10, 20, 50]),
        (30, 3000, [30, 100, 300, 1000, 3000]),
        (0.5, 5e4, [1, 10, 100, 1e3, 1e4]),
    ],
)
def test_a_logarithmic_axis_has_few_round_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)


@given(st.floats(1e-6, 1e6), st.floats(1.01, 1e6))
def test_ticks_lie_on_the_axis_and_rise(low: float, reach: float) -> None:
    made = log_ticks(low, low * reach)
    assert len(made) <= 2 * FEW_TICKS
    assert all(low <= tick <= low * reach for tick in made)
    assert all(before < after for before, after in pairwise(made))
