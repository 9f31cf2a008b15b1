"""Tests of flame graphs: boxes lie in the box that they are part of, and are as long as the operations in them."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.compare.profile import difference
from rnncore.report.flame import LEVEL_REM, Frame, change_colour, flame_html, frames_of, frames_of_change
from rnncore.runfile.record import Record

OPS = st.lists(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["mm", "add", "tanh"]),
            "where": st.sampled_from(["cpu", "gpu"]),
            "shapes": st.sampled_from(["", "[1, 2]", "[3]"]),
            "category": st.sampled_from(["input GEMM", "pointwise"]),
            "self_s": st.floats(1e-6, 1.0),
        }
    ),
    min_size=1,
    max_size=12,
)


def _op(name: str, self_s: float, category: str = "pointwise", shapes: str = "") -> dict[str, Any]:
    return {"op": name, "where": "cpu", "shapes": shapes, "category": category, "self_s": self_s, "calls": 1.0}


def _record(*ops: dict[str, Any]) -> Record:
    profile = {"wall_s": sum(op["self_s"] for op in ops), "ops": list(ops)}
    return Record("bench/b.py::test_forecast[gru]", "inference", (1.0,), {"profile": profile})


@given(OPS)
def test_boxes_lie_in_the_box_above_and_beside_one_another(ops: list[dict[str, Any]]) -> None:
    frames = frames_of({"ops": ops})
    assert frames[0].seconds == pytest.approx(sum(op["self_s"] for op in ops))
    for level in range(1, 4):
        ends = 0.0
        for frame in sorted((one for one in frames if one.level == level), key=lambda one: one.start_s):
            assert frame.start_s >= ends - 1e-9
            ends = frame.start_s + frame.seconds
            assert any(
                above.start_s - 1e-9 <= frame.start_s and ends <= above.start_s + above.seconds + 1e-9
                for above in frames
                if above.level == level - 1
            )
    # Kinds and names account for the whole call.
    for level in (1, 2):
        assert sum(one.seconds for one in frames if one.level == level) == pytest.approx(frames[0].seconds)


def test_the_longest_is_first_and_shapes_are_told_apart_where_there_are_several() -> None:
    frames = frames_of({"ops": [_op("add", 1.0), _op("mm", 3.0, "GEMM", "[1]"), _op("mm", 2.0, "GEMM", "[2]")]})
    assert [(one.level, one.name, one.start_s, one.seconds) for one in frames] == [
        *[(0, "one call", 0.0, 6.0), (1, "GEMM", 0.0, 5.0), (2, "mm", 0.0, 5.0), (3, "[1]", 0.0, 3.0)],
        *[(3, "[2]", 3.0, 2.0), (1, "pointwise", 5.0, 1.0), (2, "add", 5.0, 1.0)],
    ]


def test_what_grew_is_red_and_what_shrank_blue_and_the_rest_grey() -> None:
    before, now = _record(_op("mm", 2.0), _op("add", 2.0), _op("gone", 1.0)), _record(_op("mm", 5.0), _op("add", 2.001))
    frames = frames_of_change(now.profile or {}, difference(before, now))
    changes = {one.name: one.change_s for one in frames}
    assert changes == pytest.approx({"one call": 3.001, "pointwise": 3.001, "mm": 3.0, "add": 0.001})
    colour = change_colour(frames)
    assert [colour(one) for one in frames if one.name in ("mm", "add")] == ["#D55E00", "#a6a6a6"]
    assert colour(Frame("x", "", 1, 0.0, 1.0, -1.0)) == "#0072B2"


class _Boxes(HTMLParser):
    """The boxes of a flame graph: their attributes, with their words as `words`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.boxes: list[dict[str, str]] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "span":
            self.boxes.append({name: value or "" for name, value in attrs} | {"words": ""})

    def handle_data(self, data: str) -> None:
        if self.boxes and self.tags[-1] == "span":
            self.boxes[-1]["words"] += data


@given(OPS)
def test_a_box_of_the_page_is_as_wide_and_as_deep_as_its_frame(ops: list[dict[str, Any]]) -> None:
    frames = frames_of({"ops": ops})
    boxes = _Boxes(flame_html("flame-1", "made", frames, lambda frame: "#0072B2")).boxes
    assert len(boxes) == len(frames)
    for box, frame in zip(boxes, frames, strict=True):
        left, width, top = map(float, re.findall(r"(?:left|width|top):([\d.]+)", box["style"]))
        assert left == pytest.approx(100 * frame.start_s / frames[0].seconds, abs=1e-4)
        assert width == pytest.approx(100 * frame.seconds / frames[0].seconds, abs=1e-4)
        assert top == pytest.approx(LEVEL_REM * frame.level)
        assert box["words"].startswith(f"{frame.name}, ")
        assert f"share: {100 * frame.seconds / frames[0].seconds:.1f} %" in box["data-tip"]


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '" onclick="alert(1)', "a' b", "</span><img src=x>", "&lt;"])
def test_the_name_of_an_operation_is_no_html(name: str) -> None:
    frames = frames_of({"ops": [_op(name, 1.0, name, name), _op(name, 2.0, name, f"{name}2")]})
    parsed = _Boxes(flame_html("flame-1", name, frames, lambda frame: "#0072B2"))
    assert set(parsed.tags) == {"figure", "div", "span", "figcaption"}
    assert {frozenset(box) for box in parsed.boxes} == {frozenset(("data-tip", "style", "words"))}
    assert parsed.boxes[1]["words"].startswith(f"{name}, ")
