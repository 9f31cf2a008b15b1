"""Tails of latency, with intervals that assume no distribution, and refusal where there are too few calls.

By the standard library alone, for benchmarks of any suite.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from typing import Any

from rnncore.measure.facts import Fact, with_reasons

PERCENTILES = (50, 90, 95, 99)

# Chance that a percentile lies beyond either end of its interval.
MISSED = 0.01

# What is left of a sum that counts as nothing.
_NOTHING = 1e-17


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


def percentiles_of_rounds(rounds_s: Sequence[float], calls: int) -> dict[str, Any]:
    """Return the percentiles of rounds, refused where a round is more than a call.

    Args:
        rounds_s: Mean seconds of a call in each round.
        calls: Calls of a round.
    """
    if calls == 1:
        return percentiles(rounds_s)
    why = f"a round is the mean of {calls} calls, and hides the slow ones"
    return with_reasons({f"p{percentile}": (None, why) for percentile in PERCENTILES})


@cache
def _interval(percentile: int, count: int) -> tuple[int, int]:
    """Return the ranks, from 1, of the two calls that hold the percentile between them."""
    below, middle = percentile / 100, math.ceil(count * percentile / 100)
    # The percentile lies below rank l if fewer than l calls are below it, and above rank h if at least h are.
    low = bisect_right(range(middle), MISSED, key=lambda calls: _at_most(calls, count, below))
    above = bisect_right(range(count - middle + 1), MISSED, key=lambda calls: _at_most(calls, count, 1 - below))
    return low, count - above + 1


def _at_most(successes: int, count: int, chance: float) -> float:
    """Return the probability of at most *successes* successes in *count* tries."""
    log_ways = math.lgamma(count + 1) - math.lgamma(successes + 1) - math.lgamma(count - successes + 1)
    term = total = math.exp(log_ways + successes * math.log(chance) + (count - successes) * math.log1p(-chance))
    # Of each number of successes from that of the one above.
    for number in range(successes, 0, -1):
        term *= number * (1 - chance) / ((count - number + 1) * chance)
        total += term
        if term <= _NOTHING * total:
            break
    return min(1.0, total)
