"""The exact reference of intervals of percentiles: sums of the binomial distribution, as fractions."""

import math
from fractions import Fraction
from functools import cache

# Largest probability that an end of an interval misses its percentile.
MISSED = Fraction(1, 100)


@cache
def at_least(count: int, percentile: int) -> list[Fraction]:
    """Return, for k from 0 to count + 1, the exact probability that at least k of count values are below the percentile."""
    below, above = percentile, 100 - percentile
    sums = [0]
    for k in range(count, -1, -1):
        sums.append(sums[-1] + math.comb(count, k) * below**k * above ** (count - k))
    return [Fraction(part, 100**count) for part in reversed(sums)]


def tightest_ranks(count: int, percentile: int) -> tuple[int | None, int | None]:
    """Return the largest rank that bounds the percentile from below, and the smallest from above; None where none does."""
    shares = at_least(count, percentile)
    lows = [rank for rank in range(1, count + 1) if 1 - shares[rank] <= MISSED]
    highs = [rank for rank in range(1, count + 1) if shares[rank] <= MISSED]
    return max(lows, default=None), min(highs, default=None)
