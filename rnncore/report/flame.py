"""Flame graphs of profiled calls: what a call was made of, from the call down to its operations, as wide as their time."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any

from rnncore.compare.profile import ProfileDifference, signed_time
from rnncore.report.figure import FASTER, OTHERS, SLOWER, tip_text
from rnncore.report.html import with_caption
from rnncore.report.words import significant, time_text

# Height of a level, as page.css has that of a box.
LEVEL_REM = 1.6

# Of the colours of boxes, so that letters on them are read in the dark too: 40 %.
_OPACITY = "66"

# A change of less than this share of the call is drawn as none.
SAME_SHARE = 0.005

_UNKNOWN = "other"


@dataclass(frozen=True)
class Frame:
    """One box of a flame graph.

    Attributes:
        name: What took the time.
        kind: Of work; empty for the whole call.
        level: How deep it is; 0 is the call.
        start_s: Where it begins, in seconds from the beginning of the call; boxes are sorted by time, not by when they ran.
        seconds: How long it is.
        change_s: Seconds more than in the run before; None where there is none.
        note: Of it, for the pointer.
    """

    name: str
    kind: str
    level: int
    start_s: float
    seconds: float
    change_s: float | None = None
    note: str | None = None


@dataclass(frozen=True)
class _Op:
    name: str
    kind: str
    place: str
    seconds: float
    calls: float | None = None
    before_s: float | None = None


def frames_of(profile: Mapping[str, Any]) -> list[Frame]:
    """Return the boxes of one profile: the call, its kinds of work, their operations, and these by shapes of their inputs.

    Args:
        profile: As `rnncore.compare.profile.profile_of` returns it.
    """
    ops = [
        _Op(op["op"], op.get("category") or _UNKNOWN, op.get("shapes") or op["where"], op["self_s"], op.get("calls"))
        for op in profile["ops"]
    ]
    return _frames(ops)


def frames_of_change(profile: Mapping[str, Any], change: ProfileDifference) -> list[Frame]:
    """Return the boxes of the later of two profiles, each with its change; what is gone is in none.

    Args:
        profile: The later one.
        change: What changed since the one before.
    """
    kinds = {(op["op"], op["where"]): op.get("category") or _UNKNOWN for op in profile["ops"]}
    ops = [
        _Op(op.op, kinds.get((op.op, op.where), _UNKNOWN), op.where, op.head_s, before_s=op.base_s)
        for op in change.ops
        if op.head_s > 0
    ]
    return _frames(ops)


def _frames(ops: Sequence[_Op]) -> list[Frame]:
    """Return the call with boxes for each kind, name and place of its operations, of each the longest first."""
    levels: tuple[Callable[[_Op], str], ...] = (lambda op: op.kind, lambda op: op.name, lambda op: op.place)
    return [_frame("one call", "", 0, 0.0, ops), *_below(ops, levels, 1, 0.0)]


def _below(ops: Sequence[_Op], levels: Sequence[Callable[[_Op], str]], level: int, start_s: float) -> list[Frame]:
    frames = []
    name_of, *deeper = levels
    for name, some in _longest_first(ops, name_of):
        frames.append(_frame(name, some[0].kind, level, start_s, some))
        # The last level tells apart what has one name; of one thing there is nothing to tell.
        if deeper and (len(deeper) > 1 or len(some) > 1):
            frames += _below(some, deeper, level + 1, start_s)
        start_s += sum(op.seconds for op in some)
    return frames


def _longest_first(ops: Iterable[_Op], name_of: Callable[[_Op], str]) -> list[tuple[str, list[_Op]]]:
    groups = [(name, list(group)) for name, group in groupby(sorted(ops, key=name_of), key=name_of)]
    return sorted(groups, key=lambda group: (-sum(op.seconds for op in group[1]), group[0]))


def _frame(name: str, kind: str, level: int, start_s: float, ops: Sequence[_Op]) -> Frame:
    seconds, before = sum(op.seconds for op in ops), [op.before_s for op in ops if op.before_s is not None]
    calls = ops[0].calls if len(ops) == 1 else None
    note = None if calls is None else f"{significant(calls)} times"
    return Frame(name, kind, level, start_s, seconds, seconds - sum(before) if before else None, note)


def flame_html(name: str, alt: str, frames: Sequence[Frame], colour_of: Callable[[Frame], str]) -> str:
    """Return boxes as the HTML of a figure; where the page has its script, one that is pressed fills the width.

    Args:
        name: Of the figure.
        alt: What it shows, in a sentence.
        frames: The call first.
        colour_of: Returns the colour of a box, `#rrggbb`.
    """
    whole_s, levels = frames[0].seconds, 1 + max(frame.level for frame in frames)
    boxes = "".join(_box_html(frame, whole_s, colour_of(frame)) for frame in frames)
    opened = f'<div class="flame" role="img" aria-label="{escape(alt)}" style="height:{LEVEL_REM * levels:g}rem">'
    return with_caption(name, alt, f"{opened}{boxes}</div>\n")


def _box_html(frame: Frame, whole_s: float, colour: str) -> str:
    tip = tip_text(
        frame.name,
        kind=frame.kind or None,
        time=time_text(frame.seconds),
        share=f"{100 * frame.seconds / whole_s:.1f} %",
        change=None if frame.change_s is None else signed_time(frame.change_s),
        ran=frame.note,
    )
    left_pct, width_pct = 100 * frame.start_s / whole_s, 100 * frame.seconds / whole_s
    place = f"left:{left_pct:.4f}%;width:{width_pct:.4f}%;top:{LEVEL_REM * frame.level:g}rem"
    said = f"{frame.name}, {time_text(frame.seconds)}"
    return f'<span data-tip="{escape(tip)}" style="{place};background:{colour}{_OPACITY}">{escape(said)}</span>'


def change_colour(frames: Sequence[Frame]) -> Callable[[Frame], str]:
    """Return what colours boxes by whether they grew or shrank by a part of the call that is to be seen."""
    smallest_s = SAME_SHARE * frames[0].seconds

    def colour(frame: Frame) -> str:
        change_s = frame.change_s or 0.0
        return OTHERS if abs(change_s) < smallest_s else SLOWER if change_s > 0 else FASTER

    return colour
