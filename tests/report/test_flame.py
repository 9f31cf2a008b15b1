"""Tests of flame graphs: boxes lie in the box that they are part of, and are as long as the operations in them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.compare.profile import difference
from rnncore.report.flame import LETTER, NARROW, WIDE, Frame, change_colour, flame_figure, frames_of, frames_of_change
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


@given(st.text(st.characters(categories=["L", "N"], max_codepoint=0x2FF), min_size=1, max_size=300), st.floats(1e-3, 1.0))
def test_a_name_is_no_longer_than_its_box(name: str, share: float) -> None:
    frames = [Frame("one call", "", 0, 0.0, 1.0), Frame(name, "pointwise", 1, 0.0, share)]
    figure = flame_figure("flame", "", frames, lambda frame: "#000000")
    for spec, width in ((figure.spec, WIDE), (figure.narrow_spec, NARROW)):
        (label,) = (one["label"] for data in spec["datasets"].values() for one in data if one["level"] == 1)
        assert LETTER * len(label) <= width * share
