"""Was one side slower? An exact rank test of processes' times, and the interval of the ratio that goes with it.

Noise on a shared machine only ever makes a process slower, by bursts that can double its time. What a change does to the
code shows in the quick processes; the order of the slow ones is luck. So ranks count up to the middle of all processes,
and every process in the slower half counts the same. In a simulation on processes of identical code on a busy host, 40 a
side, a slowdown of 3 % was found in 77 to 100 % of trials where the usual rank test (Mann-Whitney) found 45 to 85 %; of a
copy of memory in 17 % and 1 % (`reports/LOG.md`).

The null distribution is counted, not approximated: any assignment of the processes to the sides is equally likely where the
sides do not differ. Processes must be measured interleaved for that.

Source:
    Gastwirth, J. L. (1965). Percentile modifications of two sample rank tests. JASA 60(312), 1127-1141: scores that only
    one end of the ranks carries. Hodges, J. L. & Lehmann, E. L. (1963). Estimates of location based on rank tests. Annals
    of Mathematical Statistics 34(2), 598-611: estimate and interval by shifting one side until the test sees no difference.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float64]

# Rounds of a row that are compared with those of another.
USED_ROUNDS = 40


@dataclass(frozen=True)
class Ratio:
    """How large head is against base.

    Attributes:
        estimate: The ratio that the test finds most plausible.
        low: Lower end of the interval; None where there are too few processes for one.
        high: Upper end.
        p_value: Two-sided, of the ratio 1.
    """

    estimate: float
    low: float | None
    high: float | None
    p_value: float

    @property
    def inverse(self) -> "Ratio":
        """How large base is against head."""
        low, high = (None if end is None else 1 / end for end in (self.high, self.low))
        return Ratio(1 / self.estimate, low, high, self.p_value)


def compare_sides(base: Sequence[float], head: Sequence[float], error: float, near: float = 0.0) -> Ratio:
    """Compare one value per process of two sides.

    Args:
        base: Positive values of the base. Shape (m,).
        head: The same of the head. Shape (n,).
        error: Largest probability that the interval misses the ratio, such as 0.01.
        near: Where all ratios of a value to one of the other side lie within this of 1, such as 0.05, their ends are given
            for those of the interval: they hold it, and are known at once.

    Raises:
        ValueError: If a side is empty or a value is not positive.
    """
    if not len(base) or not len(head) or min(*base, *head) <= 0:
        raise ValueError("each side needs values, and all of them above 0.")
    log_base, log_head = np.log(np.asarray(base, np.float64)), np.log(np.asarray(head, np.float64))
    if np.ptp(log_base) == 0 and np.ptp(log_head) == 0:
        return _ratio_of_constants(log_base, log_head)
    # The order of all values changes only as a shift of the head passes one of these.
    edges = np.unique(log_head[:, None] - log_base[None, :])
    between = np.concatenate([[edges[0] - 1], (edges[:-1] + edges[1:]) / 2, [edges[-1] + 1]])

    def excess(gap: int) -> float:
        """Return the total of the head's scores, less what it is on average where nothing differs."""
        scores = _scores(log_base, log_head - between[gap])
        return float(scores[len(log_base) :].sum() - len(log_head) * scores.mean())

    def kept(gap: int) -> bool:
        return p_value(log_base, log_head - between[gap]) > error

    # The excess falls as the shift grows, from above 0 in the first gap to below it in the last. Where it is 0 is the
    # estimate.
    not_above = _first(len(between), lambda gap: excess(gap) <= 0)
    below = _first(len(between), lambda gap: excess(gap) < 0)
    estimate = float((edges[not_above - 1] + edges[below - 1]) / 2)
    low: float | None
    high: float | None
    if max(-edges[0], edges[-1]) <= math.log1p(near):
        low, high = float(edges[0]), float(edges[-1])
    else:
        # The interval is all shifts that the test does not reject; it has no end on a side where none is rejected.
        first_kept = _first(not_above, kept)
        first_rejected = not_above + _first(len(between) - not_above, lambda more: not kept(not_above + more))
        low = None if first_kept == 0 else float(edges[first_kept - 1])
        high = None if first_rejected == len(between) else float(edges[first_rejected - 1])
    return Ratio(
        math.exp(estimate),
        None if low is None else math.exp(min(low, estimate)),
        None if high is None else math.exp(max(high, estimate)),
        p_value(log_base, log_head),
    )


def compare_rounds(base: Sequence[float], head: Sequence[float], error: float) -> Ratio:
    """Compare the rounds of two rows, which may be thousands: some of each, `USED_ROUNDS` at most.

    Args:
        base: Positive values of the base. Shape (m,).
        head: The same of the head. Shape (n,).
        error: Largest probability that the interval misses the ratio.
    """
    return compare_sides(evenly_spread(base, USED_ROUNDS), evenly_spread(head, USED_ROUNDS), error)


def evenly_spread(rounds: Sequence[float], most: int) -> Sequence[float]:
    """Return every n-th of some rounds, the first among them, so that there are at most *most*."""
    return rounds[:: max(1, math.ceil(len(rounds) / most))]


def p_value(base: FloatArray, head: FloatArray) -> float:
    """Return the two-sided significance of a difference between sides. Shapes (m,) and (n,)."""
    scores = _scores(base, head)
    total = int(scores[len(base) :].sum())
    counts = _null_distribution(tuple(sorted(scores.tolist())), len(head))
    below, above = counts[: total + 1].sum(), counts[total:].sum()
    return min(1.0, 2 * float(min(below, above) / counts.sum()))


def smallest_p_value(base_processes: int, head_processes: int) -> float:
    """Return what the test gives at best, with the sides wholly apart, for these numbers of processes."""
    return p_value(np.arange(base_processes, dtype=np.float64), -1.0 - np.arange(head_processes, dtype=np.float64))


def processes_needed(error: float) -> int:
    """Return how many processes each side needs before the test can reach an error at all."""
    processes = 2
    while smallest_p_value(processes, processes) > error:
        processes += 1
    return processes


def _ratio_of_constants(log_base: FloatArray, log_head: FloatArray) -> Ratio:
    """Compare sides of which each repeats one value, as the sMAPE of a seeded training does: nothing is left to chance."""
    ratio = math.exp(log_head[0] - log_base[0])
    if len(log_base) < 2 or len(log_head) < 2:
        return Ratio(ratio, None, None, 1.0)
    return Ratio(ratio, ratio, ratio, 1.0 if ratio == 1.0 else 0.0)


def _scores(base: FloatArray, head: FloatArray) -> npt.NDArray[np.int64]:
    """Return twice the rank of each value among all, at most that of the middle. Shape (m + n,)."""
    values = np.concatenate([base, head])
    ascending = np.sort(values)
    # Values that are equal share the mean of their ranks, which run from one above those below to those not above.
    twice_ranks = np.searchsorted(ascending, values, "left") + np.searchsorted(ascending, values, "right") + 1
    scores: npt.NDArray[np.int64] = np.minimum(twice_ranks, len(values) + 1)
    return scores


# Without equal values all comparisons of equally many processes share one; with them, almost each has its own.
@lru_cache(maxsize=256)
def _null_distribution(scores: tuple[int, ...], drawn: int) -> FloatArray:
    """Count in how many ways *drawn* of the ascending scores give each total. Shape (largest total + 1,)."""
    # The slower half shares one score: of it only the number that is drawn matters.
    shared = scores.count(scores[-1])
    quick = scores[: len(scores) - shared]
    max_quick = min(drawn, len(quick))
    ways: FloatArray = np.zeros((max_quick + 1, sum(quick) + 1))
    ways[0, 0] = 1
    for score in quick:
        # The right side is complete before it is added, so each score is drawn once at most.
        ways[1:, score:] += ways[:-1, :-score].copy()
    counts: FloatArray = np.zeros(sum(scores[-drawn:]) + 1)
    for of_quick in range(max(0, drawn - shared), max_quick + 1):
        rest = drawn - of_quick
        totals = ways[of_quick, : len(counts) - rest * scores[-1]]
        counts[rest * scores[-1] :][: len(totals)] += math.comb(shared, rest) * totals
    return counts


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """Return the first index for which a condition holds that stays true once it is; *count* if it never does."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
