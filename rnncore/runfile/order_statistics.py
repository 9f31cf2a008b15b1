"""Which of the ordered rounds of a benchmark hold a percentile between them, whatever their distribution.

By the standard library alone, for benchmarks of any suite.

Source:
    David and Nagaraja, Order Statistics, 3rd ed., section 7.1: intervals for quantiles from the binomial distribution.
"""

import math
from bisect import bisect_right
from functools import cache
from statistics import NormalDist

# Chance that a percentile lies beyond either end of its interval.
MISSED = 0.01

# What is left of a sum that counts as nothing.
_NOTHING = 1e-17

# Values of which the smallest and the largest hold the median between them.
NEEDED_FOR_MEDIAN = math.ceil(math.log(MISSED, 0.5))


@cache
def calls_needed(percentile: float) -> int:
    """Return how many calls a percentile needs: as many as let the second largest bound it from above.

    64 for p90 and 662 for p99, as in MLPerf.

    Args:
        percentile: From 50 to below 100.

    Source:
        MLCommons, MLPerf Inference, early stopping: the fewest queries with one over the latency at 99 % confidence.
    """
    count = 2
    while _at_most(1, count, 1 - percentile / 100) > MISSED:
        count += 1
    return count


@cache
def interval_ranks(percentile: float, count: int) -> tuple[int | None, int | None]:
    """Return the ranks, from 1, of the two values that hold a percentile between them.

    Args:
        percentile: Between 0 and 100.
        count: How many values there are.

    Returns:
        None for an end that even the outermost value may miss.
    """
    below, middle = percentile / 100, math.ceil(count * percentile / 100)
    # The percentile lies below rank l if fewer than l values are below it, and above rank h if at least h are.
    low = bisect_right(range(middle), MISSED, key=lambda values: _at_most(values, count, below))
    above = bisect_right(range(count - middle + 1), MISSED, key=lambda values: _at_most(values, count, 1 - below))
    return low or None, count - above + 1 if above else None


def values_needed(percentile: float, count: int, not_above: int) -> int:
    """Return about how many values it takes until the interval of a percentile lies on one side of a limit.

    Args:
        percentile: Between 0 and 100.
        count: How many values there are.
        not_above: How many of them do not exceed the limit. Where that is what the percentile itself would have, it is taken
            to be off by half a value: fewer values cannot show less.

    Source:
        The normal approximation to the binomial distribution.
    """
    below = percentile / 100
    apart = max(abs(not_above / count - below), 0.5 / count)
    far = NormalDist().inv_cdf(1 - MISSED)
    return math.ceil(far**2 * below * (1 - below) / apart**2)


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
