"""Tails of latency, with intervals that assume no distribution, and refusal where there are too few calls."""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from rnncore.measure.facts import Fact, with_reasons

PERCENTILES = (50, 90, 95, 99)

# Chance that a percentile lies beyond either end of its interval.
MISSED = 0.01


@cache
def calls_needed(percentile: int) -> int:
    """Return how many calls a percentile needs: as many as let the second largest bound it from above.

    64 for p90 and 662 for p99, as in MLPerf.

    Source:
        MLCommons, MLPerf Inference, early stopping: the fewest queries with one over the latency at 99 % confidence.
    """
    count = 2
    while _at_most(1, count, 1 - percentile / 100) > MISSED:
        count += 1
    return count


def percentiles(calls_s: Sequence[float]) -> dict[str, Any]:
    """Return p50, p90, p95 and p99 of single calls, each with its order-statistic interval.

    Args:
        calls_s: Seconds of each call, disturbed ones too.

    Returns:
        By name (`p50`) a dict of `s`, `low_s` and `high_s`, or None with the reason under `p50_why`.

    Source:
        David and Nagaraja, Order Statistics, 3rd ed., section 7.1: intervals for quantiles from the binomial distribution.
    """
    ordered = sorted(calls_s)
    count = len(ordered)
    facts: dict[str, Fact] = {}
    for percentile in PERCENTILES:
        name, needed = f"p{percentile}", calls_needed(percentile)
        if count < needed:
            facts[name] = None, f"n={count} is too few for {name}, {needed} needed"
            continue
        low, high = _interval(percentile, count)
        rank = math.ceil(count * percentile / 100)
        facts[name] = {"s": ordered[rank - 1], "low_s": ordered[low - 1], "high_s": ordered[high - 1]}, None
    return with_reasons(facts)


@cache
def _interval(percentile: int, count: int) -> tuple[int, int]:
    """Return the ranks, from 1, of the two calls that hold the percentile between them."""
    below = percentile / 100
    # The percentile lies below rank l if fewer than l calls are below it, and above rank h if at least h are.
    low = next(rank for rank in range(math.ceil(count * below), 0, -1) if _at_most(rank - 1, count, below) <= MISSED)
    high = next(
        rank for rank in range(math.ceil(count * below), count + 1) if _at_most(count - rank, count, 1 - below) <= MISSED
    )
    return low, high


def _at_most(successes: int, count: int, chance: float) -> float:
    """Return the probability of at most *successes* successes in *count* tries."""
    # A tenth of what importing scipy.stats takes.
    from scipy.special import bdtr

    return float(bdtr(successes, count, chance))
