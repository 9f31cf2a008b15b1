"""Tests of percentiles: the calls they need, their intervals against exact fractions, and how often these hold the truth."""

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.measure.percentiles import PERCENTILES, percentiles
from tests.binomial import tightest_ranks

NEEDED = {50: 11, 90: 64, 95: 130, 99: 662}

# Few distinct values, so that calls are often equal.
CALLS = st.lists(st.integers(1, 60).map(lambda count: count / 64), min_size=11, max_size=200)


def test_forty_calls_have_no_p99_and_say_how_many_it_needs() -> None:
    facts = percentiles([0.001 * (1 + index % 7) for index in range(40)])
    assert facts["p99"] is None
    assert facts["p99_why"] == "n=40 is too few for p99, 662 needed"
    assert facts["p90_why"] == "n=40 is too few for p90, 64 needed"
    assert facts["p50"] is not None
    assert "p50_why" not in facts


@pytest.mark.parametrize(("percentile", "needed"), NEEDED.items())
def test_a_percentile_is_told_from_the_first_call_that_is_enough(percentile: int, needed: int) -> None:
    name = f"p{percentile}"
    too_few = percentiles([1.0 + index for index in range(needed - 1)])
    enough = percentiles([1.0 + index for index in range(needed)])
    assert too_few[name] is None
    assert too_few[f"{name}_why"] == f"n={needed - 1} is too few for {name}, {needed} needed"
    assert enough[name]["high_s"] == needed - 1  # the second largest of 1, 2, ... needed
    assert f"{name}_why" not in enough


def test_no_calls_have_no_percentiles() -> None:
    facts = percentiles([])
    assert [facts[f"p{percentile}"] for percentile in PERCENTILES] == [None] * len(PERCENTILES)
    assert facts["p50_why"] == "n=0 is too few for p50, 11 needed"


@pytest.mark.parametrize("count", [11, 12, 40, 64, 100, 130, 200, 661, 662, 700, 1000, 1500])
def test_intervals_are_the_tightest_that_exact_binomial_sums_allow(count: int) -> None:
    ranked = [float(rank) for rank in range(1, count + 1)]
    facts = percentiles(ranked)
    for percentile in PERCENTILES:
        if count < NEEDED[percentile]:
            continue
        found = facts[f"p{percentile}"]
        assert (found["low_s"], found["high_s"]) == tightest_ranks(count, percentile), percentile


def test_intervals_hold_the_true_percentile_of_a_skewed_distribution_as_often_as_promised() -> None:
    repetitions = 1500
    drawn = np.random.default_rng(20240229).exponential(size=(repetitions, NEEDED[99])) ** 2
    held = dict.fromkeys(PERCENTILES, 0)
    for calls_s in drawn.tolist():
        facts = percentiles(calls_s)
        for percentile in PERCENTILES:
            found = facts[f"p{percentile}"]
            held[percentile] += found["low_s"] <= math.log(1 / (1 - percentile / 100)) ** 2 <= found["high_s"]
    # Each end misses in at most 1 % of all repetitions; four standard deviations of a count are luck.
    slack = 4 * math.sqrt(repetitions * 0.98 * 0.02)
    assert {name: count for name, count in held.items() if count < 0.98 * repetitions - slack} == {}
    # An interval that always holds the truth would be too wide to say much.
    assert min(held.values()) < repetitions


@given(CALLS)
def test_the_estimate_is_the_smallest_call_that_enough_calls_do_not_exceed(calls_s: list[float]) -> None:
    facts = percentiles(calls_s)
    for percentile in PERCENTILES:
        if facts[f"p{percentile}"] is None:
            continue
        reached = [call for call in calls_s if 100 * sum(other <= call for other in calls_s) >= percentile * len(calls_s)]
        assert facts[f"p{percentile}"]["s"] == min(reached)


@pytest.mark.parametrize("count", [662, 700, 1000, 1180, 2000])
def test_the_estimate_of_ranked_calls_is_the_nearest_rank(count: int) -> None:
    facts = percentiles([float(rank) for rank in range(1, count + 1)])
    for percentile in PERCENTILES:
        assert facts[f"p{percentile}"]["s"] == -(-count * percentile // 100)


@given(CALLS)
def test_the_estimate_lies_in_its_interval_and_percentiles_rise(calls_s: list[float]) -> None:
    facts = percentiles(calls_s)
    told = [facts[f"p{percentile}"] for percentile in PERCENTILES if facts[f"p{percentile}"] is not None]
    assert len(told) == sum(len(calls_s) >= needed for needed in NEEDED.values())
    for found in told:
        assert found["low_s"] <= found["s"] <= found["high_s"]
        assert set(found.values()) <= set(calls_s)
    for key in ("s", "low_s", "high_s"):
        values = [found[key] for found in told]
        assert values == sorted(values)


@given(CALLS, st.randoms(use_true_random=False))
def test_the_order_of_calls_does_not_matter_and_is_left_as_it_was(calls_s: list[float], order: random.Random) -> None:
    shuffled = list(calls_s)
    order.shuffle(shuffled)
    given_order = tuple(shuffled)
    assert percentiles(shuffled) == percentiles(calls_s)
    assert tuple(shuffled) == given_order


def test_equal_calls_have_equal_percentiles_and_intervals_of_no_width() -> None:
    facts = percentiles([0.25] * NEEDED[99])
    assert facts == {f"p{percentile}": {"s": 0.25, "low_s": 0.25, "high_s": 0.25} for percentile in PERCENTILES}


@pytest.mark.parametrize("count", [0, 40, 662])
def test_percentiles_are_json(count: int) -> None:
    facts = percentiles([float(index) for index in range(count)])
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
