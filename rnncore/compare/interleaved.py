"""The ratio of two series that were measured interleaved: neighbours in time share the machine's mood, and it cancels."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class InterleavedRatio:
    """How long head takes against base.

    Attributes:
        estimate: Median of the rounds' ratios.
        low: Lower end of its interval; None where there are too few rounds for one.
        high: Upper end.
    """

    estimate: float
    low: float | None
    high: float | None


def interleaved_ratio(base_s: Sequence[float], head_s: Sequence[float], error: float) -> InterleavedRatio:
    """Return the median of head over base, round by round, with the interval that a test of signs gives it.

    Args:
        base_s: Seconds of each round.
        head_s: The same of the head, in the same rounds.
        error: Largest probability that the interval misses the median.

    Raises:
        ValueError: If there are no rounds, or not equally many.

    Source:
        Conover, W. J. (1999). Practical nonparametric statistics, 3rd ed., sections 3.2 and 3.4: the sign test, and exact
        limits of a median from the binomial distribution.
    """
    if not base_s or len(base_s) != len(head_s):
        raise ValueError(f"{len(base_s)} and {len(head_s)} rounds have no ratio: give as many of each side, one or more.")
    ratios = sorted(head / base for base, head in zip(base_s, head_s, strict=True))
    count = len(ratios)
    # Of the ratios that both ends leave out: the most that still miss the median rarely enough.
    left_out, missed = 0, 0.0
    while (missed := missed + 2 * math.comb(count, left_out) / 2**count) <= error:
        left_out += 1
    estimate = statistics.median(ratios)
    if left_out == 0:
        return InterleavedRatio(estimate, None, None)
    return InterleavedRatio(estimate, ratios[left_out - 1], ratios[count - left_out])
