"""Change points of a history: where its level changed, by a penalised fit that slow noise does not fool."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from ruptures import KernelCPD
from scipy.special import stdtrit

from rnncore.compare.history import Commit, History, Machine, Series
from rnncore.errors import ConfigError

# Chance of a step in a history of pure noise, at most.
_FALSE_STEP = 0.05

# How far apart points are whose differences measure the noise: slow noise hides from neighbours.
_LAGS = (1, 2, 3)

# Standard deviation of normal noise, per median of the absolute differences of two points.
_PER_MEDIAN_DIFFERENCE = 1.4826 / math.sqrt(2)

# Independent points that a median of differences is worth, per point.
_WORTH = 1 / 3

# What one point can add to the cost at most, in penalties: two points make a step, one never does.
_ONE_POINT = 2 / 3

# Standard errors by which neighbours must be more alike than points three apart before the noise is taken for slow.
_SLOW_ERRORS = 5.0

# Noise that is taken for granted, per practical size: rounded times seem to have none.
_LEAST_NOISE = 0.1

# Standard deviations from its neighbours' median at which a point is cut off before candidates are sought.
_CUT = 3.0

FEWEST_POINTS = 6

# Of a change that is not called yet: points of the level before that tell its noise, newest points that may be of it, and
# points that are thought to follow until it is called.
_FEWEST_BEFORE = 3
_MOST_PENDING = 12
_MOST_TO_COME = 12

# PELT's time grows with the square of the points where nothing changes.
_BLOCK = 256

# Blocks that are looked at together: as many as a CPU's cache holds, and fewer than so many are fitted without a look.
_BLOCKS_AT_ONCE = 256
_FEWEST_BLOCKS = 8

# Of a penalty, so that rounding decides nothing.
_MARGIN = 0.999

# The report gives ratios to half a percent.
_PRACTICAL_LIMITS = (0.005, 1.0)


@dataclass(frozen=True)
class Step:
    """A lasting change of a benchmark's time.

    Attributes:
        benchmark: File and test id.
        machine: The machine.
        last_before: Last commit before the change.
        first_with: First commit with it.
        before_s: Median of the level before, seconds.
        after_s: Median of the level after, seconds.
        points_before: Points on the level before.
        points_after: Points on the level after, up to the next step.
    """

    benchmark: str
    machine: Machine
    last_before: Commit
    first_with: Commit
    before_s: float
    after_s: float
    points_before: int
    points_after: int

    @property
    def ratio(self) -> float:
        """Time after, per time before."""
        return self.after_s / self.before_s

    @property
    def direction(self) -> str:
        """`slower` or `faster`."""
        return "slower" if self.ratio > 1 else "faster"


@dataclass(frozen=True)
class Pending:
    """A change in the newest points that is not called a step yet.

    Attributes:
        points: How many of the newest points lie away from the level before.
        ratio: Their median per that of the level before.
        needed: How many more points like them would make it a step; None where even `_MOST_TO_COME` would not.
    """

    points: int
    ratio: float
    needed: int | None


@dataclass(frozen=True)
class Trend:
    """A history and its steps.

    Attributes:
        series: The history.
        steps: Its steps, oldest first.
        level_s: Median of the points since the last step, seconds.
        pending: The change of the newest points that is not called yet; None where they are as those before.
        enough: Whether there are enough points for a step to be found at all.
    """

    series: Series
    steps: tuple[Step, ...]
    level_s: float
    pending: Pending | None
    enough: bool


def find_trends(history: History, practical: float = 0.02) -> tuple[Trend, ...]:
    """Find the steps of every history.

    Args:
        history: The histories.
        practical: Smallest change that counts, as a share of the time: 0.02 is 2 %.

    Raises:
        ConfigError: If *practical* is not from 0.005 to 1.
    """
    low, high = _PRACTICAL_LIMITS
    if not low <= practical <= high:
        raise ConfigError(f"practical is {practical}, and must lie from {low} to {high}. 0.02 counts changes from 2 %.")
    trends = []
    for series in history.series:
        values_s = series.medians_s
        edges = [0, *change_points(values_s, practical), len(values_s)]
        levels_s = [float(np.median(values_s[start:end])) for start, end in pairwise(edges)]
        steps = tuple(
            Step(
                benchmark=series.benchmark,
                machine=series.machine,
                last_before=series.commits[edges[index] - 1],
                first_with=series.commits[edges[index]],
                before_s=levels_s[index - 1],
                after_s=levels_s[index],
                points_before=edges[index] - edges[index - 1],
                points_after=edges[index + 1] - edges[index],
            )
            for index in range(1, len(edges) - 1)
        )
        enough = len(values_s) >= FEWEST_POINTS
        trends.append(Trend(series, steps, levels_s[-1], _pending(values_s, edges[-2], practical), enough))
    return tuple(trends)


def steps_of(trends: Iterable[Trend]) -> list[Step]:
    """Return the steps of all histories, newest first."""
    steps = [step for trend in trends for step in trend.steps]
    return sorted(steps, key=lambda step: (step.first_with.datetime, step.ratio), reverse=True)


def change_points(values_s: NDArray[np.float64], practical: float = 0.02) -> list[int]:
    """Return where a series of times changes its level for good.

    PELT on the squared error of the logarithms, in units of the noise and with single outliers cut off, gives
    candidates. Those stay whose removal, alone or together with a neighbour, would raise a *bounded* squared error by
    more than the penalty. A point can add two thirds of a penalty at most, so that two alike at the end are a step, one
    never is, and a passing bump needs four. The noise is a median of absolute differences, which steps and outliers
    hardly move; where neighbours are more alike than points three apart, it is widened to the noise that a level of such
    points has. The penalty is the squared Student quantile at 0.05 / (2n): it bounds the chance of a step in n points of
    independent noise by Bonferroni, grows with 2 log n as the BIC does, and allows for a noise that was estimated from
    few points. Noise that wanders over many points and by more than *practical* looks like steps.

    Args:
        values_s: Positive times in order, seconds. Shape (n,).
        practical: Smallest change that counts, as a share of the time.

    Returns:
        Index of the first point of each new level, in order.

    Source:
        Killick, Fearnhead and Eckley (2012), Optimal Detection of Changepoints With a Linear Computational Cost,
        section 3, for PELT. Fearnhead and Rigaill (2019), Changepoint Detection in the Presence of Outliers, for the
        bounded (biweight) loss and how its bound and the penalty set the length of a bump that counts. Yao (1988),
        Estimating the number of change-points via Schwarz' criterion, for the penalty. Hampel (1974), The Influence
        Curve and Its Role in Robust Estimation, for the median of absolute deviations.
    """
    if len(values_s) < FEWEST_POINTS:
        return []
    scaled, penalty = _scaled(values_s, practical)
    edges = _without_weak_edges(scaled, [0, *_candidates(scaled, penalty), len(scaled)], penalty)
    logs = np.log(values_s)
    # The smallest step goes until each is large enough, so that several small ones in a row still add up.
    while len(edges) > 2:
        sizes = np.abs(np.diff([np.median(logs[start:end]) for start, end in pairwise(edges)]))
        smallest = int(sizes.argmin())
        if sizes[smallest] >= math.log1p(practical):
            break
        del edges[smallest + 1]
    return edges[1:-1]


def _pending(values_s: NDArray[np.float64], level_start: int, practical: float) -> Pending | None:
    """Return the change of the newest points of a level, if as many would be a step in a history that was long enough.

    All of them must lie on one side of the level before, each so far away that as many, and two at least, outweigh the
    penalty in units of the noise before; of several such ends the one that stands out most is taken.
    """
    found: list[tuple[float, int]] = []
    logs, penalty = np.log(values_s), _quantile(len(values_s)) ** 2
    for points in range(1, min(_MOST_PENDING, len(values_s) - level_start - _FEWEST_BEFORE) + 1):
        before, newest = logs[level_start:-points], logs[-points:]
        away = newest - np.median(before)
        if np.all(away > 0) or np.all(away < 0):
            nearest = np.abs(away).min() / max(_LEAST_NOISE * practical, _noise(before))
            if max(2, points) * nearest**2 > penalty and abs(np.median(away)) >= math.log1p(practical):
                found.append((points * nearest**2, points))
    if not found:
        return None
    points = max(found)[1]
    ratio = float(np.median(values_s[-points:]) / np.median(values_s[level_start:-points]))
    return Pending(points, ratio, _needed(values_s, points, practical))


def _needed(values_s: NDArray[np.float64], points: int, practical: float) -> int | None:
    """Return how many points like the newest would make them a step where they begin, or beside it."""
    start = len(values_s) - points
    for count in range(1, _MOST_TO_COME + 1):
        longer = np.concatenate([values_s, np.resize(values_s[start:], count)])
        if any(abs(edge - start) <= 1 for edge in change_points(longer, practical)):
            return count
    return None


def _scaled(values_s: NDArray[np.float64], practical: float) -> tuple[NDArray[np.float64], float]:
    """Return the logarithms in units of their noise, and the penalty of a step in those units squared."""
    logs = np.log(values_s)
    noise = max(_LEAST_NOISE * practical, _noise(logs))
    return logs / noise, _quantile(len(logs)) ** 2


def _quantile(points: int) -> float:
    """Return Student's quantile whose square is the penalty of a step among so many points."""
    return float(stdtrit(_WORTH * points, 1 - _FALSE_STEP / (2 * points)))


def _noise(logs: NDArray[np.float64]) -> float:
    """Return the standard deviation of independent noise that would move a level as much as the noise of these points.

    Source:
        A first-order autoregression with correlation r has the long-run variance (1 + r) / (1 - r) times its own, and
        neighbours whose differences have the variance 2 (1 - r) times its own; Box and Jenkins (1970), section 3.2.
    """
    lags = [lag for lag in _LAGS if lag < len(logs)]
    by_lag = [_PER_MEDIAN_DIFFERENCE * float(np.median(np.abs(logs[lag:] - logs[:-lag]))) for lag in lags]
    noise = max(by_lag)
    if by_lag[0] == 0:
        return noise
    alike = min(1.0, (by_lag[0] / noise) ** 2 * (1 + _SLOW_ERRORS / math.sqrt(len(logs))))
    return noise * math.sqrt((2 - alike) / alike)


def _candidates(scaled: NDArray[np.float64], penalty: float) -> list[int]:
    """Return where the level may change, from blocks that overlap by half.

    Points that lie far from the median of five around them, of three at the ends, are cut off.
    """
    level = np.empty_like(scaled)
    level[2:-2] = np.median(sliding_window_view(scaled, 5), axis=1)
    level[:2], level[-2:] = np.median(scaled[:3]), np.median(scaled[-3:])
    tamed = np.clip(scaled, level - _CUT, level + _CUT)
    found = set()
    for start in _blocks_to_fit(tamed, penalty):
        block = tamed[start : start + _BLOCK, np.newaxis]
        ends = KernelCPD(kernel="linear", min_size=2).fit(block).predict(pen=penalty)
        found |= {start + int(end) for end in ends[:-1]}
    return sorted(found)


def _blocks_to_fit(tamed: NDArray[np.float64], penalty: float) -> list[int]:
    """Return where the blocks begin that may hold a change: in a long history hardly one does."""
    starts = list(range(0, max(len(tamed) - _BLOCK, 0) + _BLOCK // 2, _BLOCK // 2))
    whole = np.array([start for start in starts if start + _BLOCK <= len(tamed)])
    if len(whole) < _FEWEST_BLOCKS:
        return starts
    blocks = sliding_window_view(tamed, _BLOCK)
    groups = np.split(whole, range(_BLOCKS_AT_ONCE, len(whole), _BLOCKS_AT_ONCE))
    to_fit = [group[~_has_no_change(blocks[group], penalty)] for group in groups]
    return [*np.concatenate(to_fit).tolist(), *starts[len(whole) :]]


def _has_no_change(blocks: NDArray[np.float64], penalty: float) -> NDArray[np.bool_]:
    """Say in which blocks the best fit surely has no change, many times faster than fitting them.

    With k changes the squared error falls by the sum, over the k + 1 segments, of what each is worth: its sum squared, over
    its length, where the mean of the block is 0. If no inner segment is worth more than *inner*, and none at an end more
    than *outer*, that is at most (k - 1) inner + 2 outer. Where this is at most two penalties for k = 2, and *inner* at most
    one, no larger k pays; what a single change is worth is worked out.

    Args:
        blocks: Logarithms in units of their noise. Shape (blocks, points).
        penalty: Of a change, in those units squared.

    Returns:
        False where there is a change or may be one. Shape (blocks,).
    """
    points = blocks.shape[1]
    # Blocks side by side, so that every step below runs along memory. In a block that passes no sum is large, so that the
    # rounding of float32 is far below the margin.
    sums = np.zeros((points + 1, len(blocks)), dtype=np.float32)
    sums[1:] = np.cumsum((blocks - blocks.mean(axis=1, keepdims=True)).T, axis=0)
    inner = np.zeros(len(blocks), dtype=np.float32)
    for length in range(2, points):
        largest = np.abs(sums[length:] - sums[:-length]).max(axis=0)
        np.maximum(inner, largest * largest / np.float32(length), out=inner)
    before = np.arange(1, points, dtype=np.float32)[:, np.newaxis]
    squares = sums[1:-1] ** 2
    outer = (squares / np.minimum(before, points - before)).max(axis=0)
    one = (squares / before + squares / (points - before)).max(axis=0)
    allowed = _MARGIN * penalty
    surely: NDArray[np.bool_] = (one <= allowed) & (inner <= allowed) & (inner + 2 * outer <= 2 * allowed)
    return surely


def _without_weak_edges(scaled: NDArray[np.float64], edges: list[int], penalty: float) -> list[int]:
    """Remove edges, one or two neighbours at a time, as long as that lowers bounded error and penalties together."""
    bound = _ONE_POINT * penalty

    @cache
    def cost(start: int, end: int) -> float:
        """Return the sum of squared distances from the best level, no point counting for more than the bound."""
        values = scaled[start:end]
        level = np.median(values)
        for _ in range(3):
            near = values[(values - level) ** 2 < bound]
            level = near.mean() if len(near) else level
        return float(np.minimum((values - level) ** 2, bound).sum())

    def saved(first: int, count: int) -> float:
        """Return by how much the total falls without *count* edges from *first*."""
        kept = sum(cost(edges[index], edges[index + 1]) for index in range(first - 1, first + count))
        return count * penalty + kept - cost(edges[first - 1], edges[first + count])

    while len(edges) > 2:
        choices = [(first, count) for count in (1, 2) for first in range(1, len(edges) - count)]
        first, count = max(choices, key=lambda choice: saved(*choice))
        if saved(first, count) <= 0:
            break
        edges = edges[:first] + edges[first + count :]
    return edges
