"""Tests of pairs of processes: which runs belong together, and the ratio between the two."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.compare.pairs import log_ratios_of, pairs_of
from rnncore.compare.signs import family_p_values
from rnncore.runfile.record import Record, Run


def _run(pair: int | None, name: str = "a.json") -> Run:
    return Run(Path(name), "2026-11-26", None, {}, None, (), (), (), None, {"pair": pair}, (), "")


def _record(*slots_s: Sequence[float], **facts: Any) -> Record:
    rounds_s = tuple(itertools.chain(*slots_s))
    return Record("a.py::test", "made", rounds_s, {"slot_rounds": [len(slot) for slot in slots_s], **facts})


def test_runs_belong_together_by_the_number_of_their_pair() -> None:
    base, head = (
        [_run(number, f"{side}-{number}") for number in numbers] for side, numbers in (("b", (2, 0)), ("h", (0, 2)))
    )
    pairs = pairs_of(base, head)
    assert pairs is not None
    assert [(one.path.name, other.path.name) for one, other in pairs] == [("b-0", "h-0"), ("b-2", "h-2")]


@pytest.mark.parametrize(
    ("base", "head"),
    [
        ([None], [None]),
        ([0, None], [0, 1]),
        ([0, None], [0]),
        ([0, 1], [0, 2]),
        ([0, 1], [0]),
        ([0, 0], [0, 0]),
        ([0, 1, 1], [0, 1]),
        ([], []),
    ],
)
def test_runs_are_no_pairs_where_numbers_are_missing_or_differ_or_repeat(
    base: list[int | None], head: list[int | None]
) -> None:
    assert pairs_of([_run(one) for one in base], [_run(one) for one in head]) is None


def _log_ratio(base: Record, head: Record, measure: str = "time") -> float:
    (log,) = log_ratios_of([(base, head)], measure)
    return log


def test_the_ratio_is_the_median_over_slots_of_quickest_rounds() -> None:
    base = _record([2.0, 9.0], [1.0], [5.0, 1.0])
    head = _record([2.2, 3.0], [9.0, 30.0], [1.3])
    # By slots 1.1, 9 and 1.3; by the quickest of all rounds 1.3 over 1.
    assert _log_ratio(base, head) == pytest.approx(math.log(1.3))
    # A burst on one side of one slot counts in that one alone.
    burst = _record([20.0, 90.0], [1.0], [5.0, 1.0])
    assert _log_ratio(burst, head) == pytest.approx(math.log(1.3))


LOUD = 1.8


def _loud_pair(chance: Random, ratio: float) -> tuple[Record, Record]:
    """Return a pair on a host that is loud in half of all slots, though never in all of a side."""
    sides = []
    for factor in (1.0, ratio):
        slots = [LOUD if chance.random() < 0.5 else 1.0 for _ in range(3)]
        slots[chance.randrange(3)] = 1.0
        sides.append(_record(*[[slot * factor * (1 + 0.001 * chance.random())] for slot in slots]))
    return sides[0], sides[1]


def test_on_a_loud_host_the_quickest_rounds_of_all_slots_count() -> None:
    chance = Random(0)  # noqa: S311 (a test, no secret)
    pairs = [_loud_pair(chance, 1.05) for _ in range(20)]
    logs = log_ratios_of(pairs, "time")
    assert logs == pytest.approx([math.log(1.05)] * 20, abs=0.002)
    # So a change is found that the slots hide.
    assert family_p_values({"": logs})[""] < 0.001


@pytest.mark.parametrize("seed", range(5))
def test_how_a_time_is_read_does_not_depend_on_which_side_is_which(seed: int) -> None:
    chance = Random(seed)  # noqa: S311 (a test, no secret)
    pairs = [_loud_pair(chance, 1 + chance.random()) for _ in range(12)]
    turned = [chance.random() < 0.5 for _ in pairs]
    logs = log_ratios_of(pairs, "time")
    of_turned = log_ratios_of([pair[::-1] if turns else pair for pair, turns in zip(pairs, turned, strict=True)], "time")
    assert of_turned == pytest.approx([-log if turns else log for log, turns in zip(logs, turned, strict=True)])


def test_a_pair_that_lacks_a_side_has_no_ratio_and_its_place() -> None:
    pair = _record([1.0]), _record([2.0])
    logs = log_ratios_of([pair, None, pair], "time")
    assert logs == pytest.approx([math.log(2), math.nan, math.log(2)], nan_ok=True)


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)), min_size=1, max_size=7))
def test_sides_the_other_way_round_have_the_inverse_ratio(slots: list[tuple[float, float]]) -> None:
    base, head = _record(*[[before] for before, _ in slots]), _record(*[[now] for _, now in slots])
    assert _log_ratio(base, head) == pytest.approx(-_log_ratio(head, base), abs=1e-12)
    assert _log_ratio(base, base) == 0


def test_without_slots_the_quickest_rounds_are_held_against_each_other() -> None:
    base, head = (Record("a.py::test", "made", rounds_s, {}) for rounds_s in ((3.0, 2.0), (4.0, 5.0)))
    assert _log_ratio(base, head) == pytest.approx(math.log(2))
    # Neither where one side alone was timed in slots.
    assert _log_ratio(_record([3.0], [2.0]), head) == pytest.approx(math.log(2))


def test_memory_and_smape_are_held_against_each_other() -> None:
    base = _record([1.0], peak_rss_bytes=100, model_rss_bytes=3, smape=2.0)
    head = _record([1.0], peak_rss_bytes=150, model_rss_bytes=3, smape=1.0)
    assert _log_ratio(base, head, "memory") == pytest.approx(math.log(1.5))
    assert _log_ratio(base, head, "smape") == pytest.approx(math.log(0.5))


@pytest.mark.parametrize("measure", ["memory", "smape"])
def test_there_is_no_ratio_of_what_a_side_lacks(measure: str) -> None:
    whole = _record([1.0], peak_rss_bytes=100, model_rss_bytes=3, smape=2.0)
    for lacking in (_record([1.0]), _record([1.0], peak_rss_bytes=0, model_rss_bytes=0, smape=0.0)):
        assert math.isnan(_log_ratio(whole, lacking, measure))
        assert math.isnan(_log_ratio(lacking, whole, measure))
