"""Whether the first and the second half of a series differ beyond noise; by the standard library alone, for any suite."""

import math
import statistics
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from typing import Any

# Chance that two halves of a steady series are called different, and the smallest difference worth a word.
UNSTEADY_CHANCE = 0.01
UNSTEADY_CHANGE = 0.02

# Values of a half, the fewest that are compared, and the most whose arrangements are counted one by one.
_FEWEST, _COUNTED = 5, 8


def steadiness(values_s: Sequence[float]) -> tuple[bool | None, str | None]:
    """Say whether the first and the second half of a series differ beyond noise.

    Args:
        values_s: Seconds, in the order they were measured.

    Returns:
        True and None; False and by how much; or None and why it is not known.
    """
    half = len(values_s) // 2
    if half < _FEWEST:
        return None, f"n={len(values_s)} is too few to compare halves, {2 * _FEWEST} needed"
    first, second = values_s[:half], values_s[-half:]
    before_s, after_s = statistics.median(first), statistics.median(second)
    if not before_s or not after_s:
        return None, "the clock shows no time"
    change = after_s / before_s
    if abs(change - 1) < UNSTEADY_CHANGE or chance_of(first, second) >= UNSTEADY_CHANCE:
        return True, None
    word = "slower" if change > 1 else "faster"
    return False, f"the second half is {max(change, 1 / change):.2f}x {word} than the first"


def steadiness_facts(values_s: Sequence[float]) -> dict[str, Any]:
    """Return what is recorded of the steadiness of a series, with the reason where it is not steady or not known."""
    steady, why = steadiness(values_s)
    return {"steady": steady, **({"steady_why": why} if why else {})}


def chance_of(first: Sequence[float], second: Sequence[float]) -> float:
    """Return how often two samples of one distribution are at least so far apart, in either direction.

    Args:
        first: The one sample.
        second: The other; where either has up to 8 values, none of them equal, the chance is exact.

    Source:
        Mann and Whitney, "On a test of whether one of two random variables is stochastically larger", 1947; for large
        samples its normal approximation, corrected for ties and for continuity.
    """
    count, other = len(first), len(second)
    ordered = sorted([*((value, True) for value in first), *((value, False) for value in second)])
    ranks, ties, place = 0.0, 0, 0
    for _, equal in groupby(ordered, key=itemgetter(0)):
        of_first = [is_first for _, is_first in equal]
        # Equal values share the mean of their ranks.
        ranks += sum(of_first) * (place + (len(of_first) + 1) / 2)
        ties += len(of_first) ** 3 - len(of_first)
        place += len(of_first)
    wins = ranks - count * (count + 1) / 2
    wins = max(wins, count * other - wins)
    if min(count, other) <= _COUNTED and not ties:
        as_far = sum(_arrangements(one, count, other) for one in range(int(wins), count * other + 1))
        return min(1.0, 2 * as_far / math.comb(count + other, count))
    spread = math.sqrt(count * other / 12 * (place + 1 - ties / (place * (place - 1))))
    # Of values that are all equal there is no spread.
    return min(1.0, math.erfc((wins - count * other / 2 - 0.5) / spread / math.sqrt(2))) if spread else 1.0


@cache
def _arrangements(wins: int, count: int, other: int) -> int:
    """Return in how many orders of two samples the first has so many wins, over all pairs of one value of each."""
    if not 0 <= wins <= count * other:
        return 0
    if not count or not other:
        return 1
    return _arrangements(wins - other, count - 1, other) + _arrangements(wins, count, other - 1)
