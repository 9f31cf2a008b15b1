"""Tests of what a gate can tell: from floors to slowdowns, pairs and minutes."""

import math

import pytest

from rnncore.compare.floors import Floor, NoiseRecord
from rnncore.compare.sensitivity import WANTED, Sensitivity, sensitivity_of
from rnncore.compare.thresholds import Thresholds

QUIET, MIDDLE, NOISY, DEAF = (f"bench/a.py::test_{name}" for name in ("quiet", "middle", "noisy", "deaf"))
FLOORS = {
    QUIET: (Floor(8, 0.01, None), Floor(16, 0.01, 0.022), Floor(32, 0.01, 0.021)),
    MIDDLE: (Floor(8, 0.02, None), Floor(16, 0.01, 0.04), Floor(32, 0.01, 0.03)),
    NOISY: (Floor(8, 0.08, None), Floor(16, 0.05, 0.10), Floor(32, 0.04, 0.06)),
    DEAF: (Floor(8, 0.9, None), Floor(16, 0.9, None), Floor(32, 0.9, None)),
}
NOISE = NoiseRecord({}, "gate", "2026-11-26", 7.0, {}, FLOORS)


def _found(names: list[str], thresholds: Thresholds | None = None, pairs: int = 20) -> Sensitivity:
    return sensitivity_of(NOISE, names, thresholds or Thresholds(), pairs, 10.0)


def test_what_is_visible_is_that_of_no_more_pairs_than_the_gate_holds() -> None:
    found = _found([QUIET, MIDDLE, NOISY, DEAF])
    assert found.visible == {QUIET: 0.022, MIDDLE: 0.04, NOISY: 0.10, DEAF: math.inf}
    assert found.untold(WANTED) == [DEAF, NOISY, MIDDLE]
    assert found.untold(0.05) == [DEAF, NOISY]
    assert _found([MIDDLE], pairs=32).untold(WANTED) == []


def test_what_all_need_is_known_or_follows_from_the_root_of_the_pairs() -> None:
    found = _found([QUIET, MIDDLE])
    assert found.needed == {QUIET: 16, MIDDLE: 32}
    assert found.pairs_for_all == 32
    # Twice as much as is wanted after 32 pairs: four times as many.
    assert _found([QUIET, NOISY]).pairs_for_all == 128
    assert _found([QUIET, DEAF]).pairs_for_all == math.inf


def test_the_time_until_a_slowdown_is_told_is_that_of_the_pairs_that_lack() -> None:
    found = _found([QUIET, MIDDLE])
    assert found.seconds_until_told(20) == pytest.approx(120.0)
    assert found.seconds_until_told(40) == 0


def test_nothing_is_visible_below_its_threshold() -> None:
    assert _found([QUIET], Thresholds((("*", {"time_pct": 2.5}),))).visible == {QUIET: 0.025}
    # One that noise lifted hides what lies below, until there are more pairs.
    lifted = _found([MIDDLE], Thresholds(floors={MIDDLE: 0.045}))
    assert (lifted.visible, lifted.needed, lifted.wide) == ({MIDDLE: 0.045}, {MIDDLE: 32}, 0)


def test_benchmarks_with_wide_thresholds_are_counted_apart() -> None:
    found = _found([QUIET, NOISY], Thresholds((("*noisy*", {"time_pct": 3.0}),)))
    assert (list(found.visible), found.wide, found.pairs_for_all) == ([QUIET], 1, 16)


def test_benchmarks_that_are_not_on_record_are_left_out() -> None:
    assert list(_found([QUIET, "bench/a.py::test_new"]).visible) == [QUIET]
