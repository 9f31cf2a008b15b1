"""Was one side slower? Pairs of processes that were alive at once, and the signs of the ratios between them.

Each pair gives one ratio per benchmark. Which side of a pair was first was left to chance, so where the sides do not differ,
each pair might as well have had its sides the other way round: all its ratios inverted at once. The test counts in how many
of these 2^n worlds any benchmark would stand out as much as one does in ours. So it holds for all benchmarks of a suite
together at no further price, whatever they have in common, and however the machine drifts or jumps between pairs.

How much a benchmark stands out is its mean log ratio over its root mean square, both after far values were brought in: one
pair that fell into another mode of the machine counts as three usual ones, however far it fell. A part of the root mean
square is that of the median benchmark: eight pairs say too little of the noise of one to be quick with.

Source:
    Fisher, R. A. (1935). The Design of Experiments, section 21: the test by the signs of pairs. Westfall, P. H. & Young,
    S. S. (1993). Resampling-Based Multiple Testing, algorithm 2.8: step-down maxima, for all benchmarks together. Tusher,
    V. G., Tibshirani, R. & Chu, G. (2001). PNAS 98(9), 5116-5121: variance shared between tests. Hodges, J. L. & Lehmann,
    E. L. (1963). Annals of Mathematical Statistics 34(2), 598-611: estimate and interval by Wilcoxon's signed ranks.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rnncore.compare.ranks import Ratio

FloatArray = npt.NDArray[np.float64]
K = TypeVar("K", bound=Hashable)

# Log ratios count up to this many times the median size of their benchmark.
FAR = 3.0

# Pairs that the noise of the median benchmark counts for, beside a benchmark's own.
SHARED_PAIRS = 8.0

# All ways to flip the signs are counted up to this many pairs; of more, a draw by chance with ours among it.
COUNTED_PAIRS = 13
DRAWN_FLIPS = 20_000
# Those that are enough to see what a shift of a benchmark would be called.
SHIFTED_FLIPS = 4096
SEED = 0

# Values that are held at once, of so many ways to flip as that allows: 8 MB.
_HELD_VALUES = 1 << 20

# Two sums of equal values in another order are one.
_EQUAL = 1e-9


def ratio_of_pairs(logs: Sequence[float], error: float) -> Ratio:
    """Return how large head is against base, by pairs.

    Args:
        logs: Logarithm of head over base in each pair. Shape (n,).
        error: Largest probability that the interval misses the ratio, such as 0.01.

    Returns:
        With the median of the means of all two pairs as estimate, and its significance where nothing else is tested.

    Raises:
        ValueError: If there is no pair.
    """
    if not len(logs):
        raise ValueError("there is no pair; give the log ratio of at least one.")
    values = np.asarray(logs, np.float64)
    means = np.sort(means_of_two(values))
    outside = _ranks_outside(len(values), error)
    low, high = (None, None) if outside is None else (math.exp(means[outside]), math.exp(means[-1 - outside]))
    return Ratio(math.exp(float(np.median(means))), low, high, family_p_values({"": values})[""])


def means_of_two(values: FloatArray) -> FloatArray:
    """Return the means of all two values, each with itself too: from (n, ...) to (n (n + 1) / 2, ...)."""
    first, second = np.triu_indices(len(values))
    means: FloatArray = (values[first] + values[second]) / 2
    return means


def family_p_values(logs: Mapping[K, npt.ArrayLike], kind: Callable[[K], Hashable] = lambda key: None) -> dict[K, float]:
    """Return the significance of each benchmark among all: at most an error for none of those without a difference.

    Args:
        logs: By benchmark the logarithm of head over base in each pair; pairs have the same place in all, NaN where a
            benchmark was not measured. Shape (n,).
        kind: Of the noise of a benchmark: those of one kind share a part of it. Times and bytes do not.

    Returns:
        Two-sided, corrected for the number of benchmarks.
    """
    if not logs:
        return {}
    values = np.asarray(list(logs.values()), np.float64).T
    kinds = list(map(kind, logs))
    shared = np.empty(len(kinds))
    for one in set(kinds):
        alike = np.asarray([other == one for other in kinds])
        shared[alike] = _shared(values[:, alike])
    adds, flips = _standing_out(values, shared), _flips(len(values))
    stands_out = np.abs(adds.sum(axis=0))
    order = np.argsort(stands_out, kind="stable")
    as_far = np.zeros(len(order))
    for part in _in_parts(flips, len(order)):
        # Of each flip the largest among this benchmark and all that stand out less.
        largest = np.maximum.accumulate(np.abs(part @ adds[:, order]), axis=1)
        as_far += (largest >= stands_out[order] - _EQUAL).sum(axis=0)
    order, shares = order[::-1], np.maximum.accumulate(as_far[::-1] / len(flips))
    keys = list(logs)
    return {keys[place]: float(share) for place, share in zip(order, shares, strict=True)}


def visible_shifts(values: FloatArray, error: float, shifts: Sequence[float]) -> FloatArray:
    """Return for each benchmark the smallest shift of its log ratios, of those given, that the test would call.

    Args:
        values: Log ratios of identical code, of all benchmarks that are tested together. Shape (n, benchmarks).
        error: Of all verdicts together.
        shifts: Ascending.

    Returns:
        Infinity where no shift would be called. Shape (benchmarks,).
    """
    flips = _flips(len(values))
    # The other half has all signs the other way, or is as good a draw.
    flips = flips[: min(len(flips) // 2, SHIFTED_FLIPS)]
    shared, tried = _shared(values), np.asarray([*shifts, np.inf])
    usual, benchmarks = _standing_out(values, shared), values.shape[1]
    others = np.concatenate([np.abs(part @ usual).max(axis=1) for part in _in_parts(flips, benchmarks)])
    # By halving: the last that was not called, and the first that was.
    below, above = (np.full(values.shape[1], place) for place in (-1, len(shifts)))
    while (is_open := above - below > 1).any():
        middle = np.where(is_open, (below + above) // 2, 0)
        adds = _standing_out(values + tried[middle], shared)
        as_far = np.zeros(benchmarks)
        for part, other in zip(_in_parts(flips, benchmarks), _in_parts(others, benchmarks), strict=True):
            worlds = np.maximum(np.abs(part @ adds), other[:, None])
            as_far += (worlds >= adds.sum(axis=0) - _EQUAL).sum(axis=0)
        called = as_far / len(flips) <= error
        above = np.where(is_open & called, middle, above)
        below = np.where(is_open & ~called, middle, below)
    found: FloatArray = tried[above]
    return found


def scatter(logs: Sequence[float]) -> float:
    """Return the root mean square of the log ratios of one benchmark, far ones brought in; 0 where there is none.

    Args:
        logs: NaN where it was not measured. Shape (n,).
    """
    values = np.asarray([log for log in logs if not math.isnan(log)], np.float64)
    return math.sqrt(float((_near(values[:, None]) ** 2).mean())) if len(values) else 0.0


def pairs_needed(error: float) -> int:
    """Return how many pairs it takes before the test can reach an error at all: with all signs alike."""
    return max(2, 1 + math.ceil(-math.log2(error) - _EQUAL))


def _near(values: FloatArray) -> FloatArray:
    """Bring far values in; 0 where a benchmark was not measured. Shape (n, benchmarks)."""
    far = FAR * np.nanmedian(np.abs(values), axis=0)
    near: FloatArray = np.nan_to_num(np.clip(values, -far, far)).astype(np.float64)
    return near


def _shared(values: FloatArray) -> float:
    """Return the mean square of the median benchmark."""
    counts = np.maximum(1, (~np.isnan(values)).sum(axis=0))
    return float(np.median((_near(values) ** 2).sum(axis=0) / counts))


def _standing_out(values: FloatArray, shared: FloatArray | float) -> FloatArray:
    """Return what each pair adds to how much a benchmark stands out. Shape (n, benchmarks)."""
    near = _near(values)
    scale = np.sqrt((near**2).sum(axis=0) + SHARED_PAIRS * shared)
    adds: FloatArray = np.divide(near, scale, out=np.zeros_like(near), where=scale > 0)
    return adds


def _in_parts(flips: FloatArray, benchmarks: int) -> Iterator[FloatArray]:
    """Yield flips, or what was found of each, in parts of as many as may be held for all benchmarks at once."""
    count = max(1, _HELD_VALUES // benchmarks)
    for first in range(0, len(flips), count):
        yield flips[first : first + count]


@lru_cache(maxsize=8)
def _flips(pairs: int) -> FloatArray:
    """Return ways to flip the signs of pairs, the first of which flips none. Shape (ways, n)."""
    if pairs <= COUNTED_PAIRS:
        bits = np.arange(2**pairs)[:, None] >> np.arange(pairs) & 1
    else:
        bits = np.random.default_rng(SEED).integers(0, 2, (DRAWN_FLIPS, pairs))
        bits[0] = 0
    return 1.0 - 2.0 * bits.astype(np.float64)


@lru_cache(maxsize=256)
def _ranks_outside(pairs: int, error: float) -> int | None:
    """Return how many of the smallest means of two pairs lie outside an interval; None where even all are too few.

    Wilcoxon's signed ranks: each rank from 1 to n is of a positive value or not, as likely.
    """
    counts = np.zeros(pairs * (pairs + 1) // 2 + 1)
    counts[0] = 1.0
    for rank in range(1, pairs + 1):
        counts[rank:] += counts[:-rank].copy()
    tail = np.cumsum(counts) / 2.0**pairs
    outside = int(np.searchsorted(tail, error / 2, side="right"))
    return outside - 1 if outside else None
