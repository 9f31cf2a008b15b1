"""Bounds of forecasts: by what a model missed the load in hours that were held out, by lead and hour of the day.

Split conformal prediction. The misses, load less forecast in MW, of windows that the model was not trained on are put in
order, and a bound lies as far from the forecast as a miss of a certain rank: of n misses a range that leaves out k of the
n + 1 places between them holds the next with probability 1 - k / (n + 1), whatever their distribution, as long as the next
is as likely to be of any rank. No share of the forecast is taken, so that signs and zeros do not matter.

Misses of restless weeks are larger. So each is taken as of ordinary weeks, divided by how restless the two weeks before it
were, and bounds are multiplied by how restless the two weeks before the forecast are: by how much the regressions that scale
a zone missed the load there, at the same lead.

What the model itself missed since then is followed (adaptive conformal inference): after each hour that bounds did not hold
they become wider, after each that they held a ninth as much narrower, all a little, and those of that hour of the day more.
So in the long run they hold nine in ten whatever the load does, as long as that takes neither of two factors, that of all
hours and that of an hour of the day, more than four times their width nor less than a quarter: together 16 and a sixteenth.

Source:
    Vovk, V., Gammerman, A. & Shafer, G. (2005). Algorithmic learning in a random world. Springer, section 4.1: ranks.
    Papadopoulos, H. et al. (2002). Inductive confidence machines for regression. ECML, 345-356: held-out windows.
    Lei, J. et al. (2018). Distribution-free predictive inference for regression. JASA 113(523), 1094-1111, section 5.2:
    misses divided by how large they are to be expected.
    Romano, Y., Patterson, E. & Candes, E. (2019). Conformalized quantile regression. NeurIPS 32: a rank for each side.
    Gibbs, I. & Candes, E. (2021). Adaptive conformal inference under distribution shift. NeurIPS 34: a step after each hour.
    Angelopoulos, A., Candes, E. & Tibshirani, R. (2023). Conformal PID control for time series prediction. NeurIPS 36,
    section 2: the step is one of the width; ours is of its logarithm, so that it has no unit.
"""

import base64
import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from rnncore.errors import ConfigError
from rnncore.forecast.features import LinearScaling, Scaling
from rnncore.forecast.linear import DAY_H, FIRST_ROW, WEEK_H, daily_change, leads_of
from rnncore.forecast.series import FloatArray, TimeArray
from rnncore.forecast.windows import RowArray, Windows, ZoneWindows

# The level of bounds that are not asked for otherwise: they hold nine in ten.
LEVEL = 0.9

# Misses of an hour of the day at a lead. Where there are fewer, those of the hours around it count too, one more on either
# side at a time.
FEWEST_MISSES = 60

# Misses of them that are kept: all, or as many at equal distances of rank.
MOST_KEPT = 100

# Hours that tell how restless a load is: two weeks, or what there is of them from a week on.
RESTLESS_HOURS, FEWEST_RESTLESS_HOURS = 2 * WEEK_H, WEEK_H

# How much more, or less, restless than usual they are taken to be at most.
MOST_RESTLESS = 2.0

# What bounds follow by after each hour, as a logarithm: nine tenths of it wider after one that they did not hold, a tenth
# narrower after one that they held. The first of all hours alike, the second of those of the same hour of the day. Chosen on
# validation parts (reports/LOG.md).
WIDENING, WIDENING_OF_HOUR = 0.02, 0.1

# How much wider, or narrower, each of the two makes them at most.
MOST_WIDENED = 4.0

# What keeps a product such as 20 * (1 - 0.9) from being just below a whole number, and a miss on a bound from lying outside.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Misses:
    """What a model missed of held-out hours of one zone, as of ordinary weeks.

    Attributes:
        ordered_mw: By lead and hour of the day that is forecast, load less forecast in ascending order; of a cell with fewer
            than others the end means nothing. Shape (L, 24, K).
        count: How many misses each cell is made of. Shape (L, 24).
        usual_mw: How restless ordinary weeks are (`unrest_mw`); 0 where it is not known. Shape (L,).
    """

    ordered_mw: FloatArray
    count: FloatArray
    usual_mw: FloatArray

    @classmethod
    def of(cls, missed_mw: FloatArray, hour: FloatArray, unrest_mw: FloatArray) -> Self:
        """Put misses in order.

        Args:
            missed_mw: Load less forecast, of at least one window. Shape (N, L).
            hour: Hour of the day of each. Shape (N, L).
            unrest_mw: How restless the load was before each window; NaN where it is not known. Shape (N, L).
        """
        known = unrest_mw[np.isfinite(unrest_mw).all(axis=1)]
        usual_mw = np.median(known, axis=0) if len(known) else np.zeros(missed_mw.shape[1])
        calm = missed_mw / restlessness(unrest_mw, usual_mw)
        leads = missed_mw.shape[1]
        cells = [[np.sort(calm[_around(hour[:, lead], clock), lead]) for clock in range(DAY_H)] for lead in range(leads)]
        count = np.array([[len(cell) for cell in row] for row in cells], dtype=np.float64)
        ordered = np.zeros((leads, DAY_H, int(min(MOST_KEPT, count.max()))))
        for lead, row in enumerate(cells):
            for clock, cell in enumerate(row):
                kept = np.interp(_kept_ranks(len(cell)), np.arange(1, len(cell) + 1), cell)
                ordered[lead, clock, : len(kept)] = kept
        return cls(ordered, count, usual_mw)

    def between_mw(self, level: float) -> tuple[FloatArray, FloatArray]:
        """Return how far below and above a forecast its bounds lie in ordinary weeks.

        Args:
            level: Part of the hours that they hold.

        Returns:
            Two arrays: none above 0, none below 0; NaN where a cell has too few misses for the level. Shapes (L, 24).

        Raises:
            ConfigError: If the level is not between 0 and 1.
        """
        require_share("level", level)
        ends = self._of_each_cell(lambda ordered, count: _ends(ordered, count, level))
        return ends[..., 0], ends[..., 1]

    def quantile_mw(self, share: float) -> FloatArray:
        """Return how far above the forecast a quantile of the load lies in ordinary weeks, below 0 where it lies below it.

        Args:
            share: Part of the hours whose load is at most it.

        Returns:
            NaN where a cell has too few misses. Shape (L, 24).

        Raises:
            ConfigError: If the share is not between 0 and 1.
        """
        require_share("quantile", share)
        found: FloatArray = self._of_each_cell(lambda ordered, count: (_quantile(ordered, count, share),))[..., 0]
        return found

    def _of_each_cell(self, of: Callable[[FloatArray, int], tuple[float, ...]]) -> FloatArray:
        """Apply a function of a cell's kept misses and their number to each cell. Shape (L, 24, what it returns)."""
        found: FloatArray = np.array(
            [
                [of(ordered[: min(MOST_KEPT, int(n))], int(n)) for ordered, n in zip(row, counts, strict=True)]
                for row, counts in zip(self.ordered_mw, self.count, strict=True)
            ],
            dtype=np.float64,
        )
        return found


def require_share(what: str, share: float) -> None:
    """Refuse a share of hours that is not between 0 and 1.

    Raises:
        ConfigError: If it is not.
    """
    if not 0 < share < 1:
        raise ConfigError(f"{what} is {share:g}; give a share of the hours between 0 and 1, such as 0.9.")


def unrest_mw(load_mw: FloatArray, simple_mw: FloatArray) -> FloatArray:
    """Return how restless the load is before each row, and before the one after the last, by lead.

    That is by how much simple forecasts missed it in the last two weeks that were known then: the mean of absolute values.

    Args:
        load_mw: Loads. Shape (N,).
        simple_mw: Forecasts of each row and of those that follow, as of `simple_forecasts_mw`. Shape (N, L).

    Returns:
        NaN where fewer hours than a week of them lie before. Shape (N + 1, L).
    """
    rows, leads = simple_mw.shape
    # Beyond the last row there is nothing to miss, and nothing of it is looked at.
    missed = np.abs(leads_of(load_mw, leads) - simple_mw)[FIRST_ROW:]
    total = np.concatenate([np.zeros((1, leads)), np.cumsum(missed, axis=0)])
    lead = np.arange(leads)
    # Of a lead l, row r knows the forecasts of rows before r - l.
    end = np.maximum(np.arange(rows + 1)[:, None] - lead - FIRST_ROW, 0)
    begin = np.maximum(end - RESTLESS_HOURS, 0)
    hours = end - begin
    unrest: FloatArray = np.full(end.shape, np.nan)
    np.divide(total[end, lead] - total[begin, lead], hours, out=unrest, where=hours >= FEWEST_RESTLESS_HOURS)
    return unrest


def simple_forecasts_mw(scaling: Scaling, load_mw: FloatArray, offset_mw: FloatArray) -> FloatArray:
    """Return forecasts that tell how restless a load is: of the regressions, or else of yesterday's change.

    Args:
        scaling: How the model sees the zone.
        load_mw: Its loads. Shape (N,).
        offset_mw: What model outputs of 0 mean for each row. Shape (N, L).
    """
    return offset_mw if isinstance(scaling, LinearScaling) else daily_change(load_mw, offset_mw.shape[1])[:-1]


def restlessness(unrest: FloatArray, usual: FloatArray) -> FloatArray:
    """Return how much more restless than usual a load is, within a factor of two either way; 1 where it is not known.

    Args:
        unrest: Of `unrest_mw`. Shape (B, L).
        usual: What is usual. Shape (L,).
    """
    times = np.divide(unrest, usual, out=np.ones_like(unrest), where=np.isfinite(unrest) & (usual > 0))
    clipped: FloatArray = np.clip(times, 1 / MOST_RESTLESS, MOST_RESTLESS)
    return clipped


def hour_of_day(time: TimeArray) -> FloatArray:
    """Return the hours of the day of some times, 0 to 23. Any shape."""
    hours: FloatArray = (time.astype("datetime64[h]").astype(np.int64) % DAY_H).astype(np.float64)
    return hours


def misses_of(windows: Windows, zone: ZoneWindows, start: RowArray, forecast_mw: FloatArray) -> Misses:
    """Return what forecasts of some windows of a zone missed.

    Args:
        windows: All windows.
        zone: The zone.
        start: First rows of its windows, at least one. Shape (B,).
        forecast_mw: Their forecasts. Shape (B, L).
    """
    hour, unrest = _hours_and_unrest(windows, zone, start)
    return Misses.of(windows.target_load_mw(start) - forecast_mw, hour, unrest)


@dataclass(frozen=True)
class Bounds:
    """Bounds and quantiles of the load around some forecasts.

    Attributes:
        misses: What the model missed of other hours.
        forecast_mw: The forecasts. Shape (..., L).
        hour: The hour of the day that each is of. Shape (..., L).
        times: How many times as wide as in ordinary weeks. Shape (..., L).
    """

    misses: Misses
    forecast_mw: FloatArray
    hour: FloatArray
    times: FloatArray

    def between_mw(self, level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
        """Return the lower and the upper bounds that hold a share of the hours; the forecast never lies outside.

        NaN where the misses are too few for the level. Shapes (..., L).

        Raises:
            ConfigError: If the level is not between 0 and 1.
        """
        low, high = map(self._beside_mw, self.misses.between_mw(level))
        return low, high

    def quantile_mw(self, share: float) -> FloatArray:
        """Return what the load is at most in a share of the hours; as of `between_mw`. Shape (..., L)."""
        return self._beside_mw(self.misses.quantile_mw(share))

    def _beside_mw(self, by_hour_mw: FloatArray) -> FloatArray:
        """Return what lies beside each forecast by what holds for its lead at its hour of the day, shape (L, 24)."""
        lead = np.arange(by_hour_mw.shape[0])
        found: FloatArray = self.forecast_mw + self.times * by_hour_mw[lead, self.hour.astype(np.int64)]
        return found


def bounds_after(
    misses: Misses,
    row: RowArray,
    forecast_mw: FloatArray,
    actual_mw: FloatArray,
    hour: FloatArray,
    unrest: FloatArray,
) -> Bounds:
    """Return the bounds of some forecasts of a zone, each after what was missed by those before it.

    Args:
        misses: What the model missed of other hours.
        row: The first row that each forecast is of, ascending; a forecast knows the loads of the rows before. Shape (B,).
        forecast_mw: Forecasts. Shape (B, L).
        actual_mw: Loads; NaN where one is not known, or tells nothing. Shape (B, L).
        hour: Hours of the day. Shape (B, L).
        unrest: How restless the load was before each, as of `unrest_mw`. Shape (B, L).
    """
    calm = Bounds(misses, forecast_mw, hour, restlessness(unrest, misses.usual_mw))
    return replace(calm, times=calm.times * _widened(_needed(calm, actual_mw), row, hour))


def bounds_of(misses: Misses, windows: Windows, zone: ZoneWindows, start: RowArray, forecast_mw: FloatArray) -> Bounds:
    """Return the bounds of forecasts of some windows of a zone, each after what was missed in those before it.

    Args:
        misses: What the model missed of held-out windows.
        windows: All windows.
        zone: The zone.
        start: First rows of its windows, in order of time. Shape (B,).
        forecast_mw: Their forecasts. Shape (B, L).
    """
    hour, unrest = _hours_and_unrest(windows, zone, start)
    return bounds_after(misses, windows.target_rows(start), forecast_mw, windows.target_load_mw(start), hour, unrest)


def _needed(bounds: Bounds, actual_mw: FloatArray) -> FloatArray:
    """Return how many times as wide bounds of nine in ten would have to be to end at each load.

    NaN where that tells nothing: where a load or a bound is not known, and where an hour without width is forecast exactly.
    Shape (B, L).
    """
    low_mw, high_mw = bounds.between_mw()
    missed_mw = actual_mw - bounds.forecast_mw
    width_mw = np.where(missed_mw < 0, bounds.forecast_mw - low_mw, high_mw - bounds.forecast_mw)
    needed: FloatArray = np.full(missed_mw.shape, np.nan)
    np.divide(np.abs(missed_mw), width_mw, out=needed, where=width_mw > 0)
    needed[(width_mw == 0) & (missed_mw != 0) & np.isfinite(missed_mw)] = np.inf
    return needed


def _widened(needed: FloatArray, row: RowArray, hour: FloatArray) -> FloatArray:
    """Return how many times as wide bounds are after what was needed before, lead by lead. Shape (B, L).

    Args:
        needed: As of `_needed`. Shape (B, L).
        row: The first row of each, ascending. Shape (B,).
        hour: Hours of the day. Shape (B, L).
    """
    with np.errstate(divide="ignore"):
        needed_log = np.log(needed)
    widened_log = np.empty(needed.shape)
    for lead in range(needed.shape[1]):
        # Those whose hour at this lead lies before the row.
        known = np.searchsorted(row, row - lead)
        followed = _followed(needed_log[:, lead].tolist(), known.tolist(), hour[:, lead].astype(np.int64).tolist())
        widened_log[:, lead] = followed
    widened: FloatArray = np.exp(widened_log)
    return widened


def _followed(needed_log: list[float], known: list[int], hour: list[int]) -> list[float]:
    """Return the logarithm of how wide bounds are at each hour of a lead; numbers of Python, ten times as fast one by one.

    Args:
        needed_log: How wide they would have to be; NaN where that tells nothing.
        known: How many of the hours before are known as each is forecast.
        hour: Hours of the day.
    """
    most, widened_log = math.log(MOST_WIDENED), []
    # After none, one, two and more hours; of an hour of the day, after those that are named beside.
    of_all, of_hour, after = [0.0], [[0.0] for _ in range(DAY_H)], [[0] for _ in range(DAY_H)]
    for count, (needed, before, clock) in enumerate(zip(needed_log, known, hour, strict=True), start=1):
        now = of_all[before] + of_hour[clock][bisect_right(after[clock], before) - 1]
        widened_log.append(now)
        # Bounds are misses themselves: one that lies on its bound is held, however it was rounded.
        step = 0.0 if math.isnan(needed) else LEVEL if needed > now + _ROUNDING else LEVEL - 1
        of_all.append(min(max(of_all[-1] + WIDENING * step, -most), most))
        of_hour[clock].append(min(max(of_hour[clock][-1] + WIDENING_OF_HOUR * step, -most), most))
        after[clock].append(count)
    return widened_log


def _hours_and_unrest(windows: Windows, zone: ZoneWindows, start: RowArray) -> tuple[FloatArray, FloatArray]:
    """Return the hours of the day that windows forecast, and how restless the load was before. Shapes (B, L)."""
    rows = windows.target_rows(start)
    hour = hour_of_day(windows.time[rows[:, None] + np.arange(windows.config.horizon)])
    load_mw = windows.load_mw[zone.rows]
    simple_mw = simple_forecasts_mw(zone.scaling, load_mw, windows.offset_mw[zone.rows])
    return hour, unrest_mw(load_mw, simple_mw)[rows - zone.rows.start]


def misses_facts(misses: Misses) -> dict[str, Any]:
    """Return misses as JSON values, with their unit."""
    raw = misses.ordered_mw.astype("<f8").tobytes()
    return {
        "unit": "MW",
        "ordered": base64.b64encode(raw).decode("ascii"),
        "shape": list(misses.ordered_mw.shape),
        "count": misses.count.tolist(),
        "usual": misses.usual_mw.tolist(),
    }


def misses_from_facts(facts: Mapping[str, Any]) -> Misses:
    """Return the misses that `misses_facts` wrote.

    Raises:
        KeyError: If a fact is missing.
        ValueError: If one is damaged, or in another unit.
    """
    if facts["unit"] != "MW":
        raise ValueError(f"its misses are in {facts['unit']!r}")
    raw = base64.b64decode(facts["ordered"], validate=True)
    ordered = np.frombuffer(raw, dtype="<f8").astype(np.float64).reshape(facts["shape"])
    return Misses(ordered, np.array(facts["count"], dtype=np.float64), np.array(facts["usual"], dtype=np.float64))


def _around(hour: FloatArray, clock: int) -> npt.NDArray[np.bool_]:
    """Return which misses count for an hour of the day: its own, or as many around it as make them enough."""
    distance = np.abs((hour - clock + DAY_H / 2) % DAY_H - DAY_H / 2)
    half_day = DAY_H // 2
    far = next((far for far in range(half_day) if np.count_nonzero(distance <= far) >= FEWEST_MISSES), half_day)
    return distance <= far


def _kept_ranks(count: int) -> FloatArray:
    """Return the ranks, from 1, of the misses that are kept of so many."""
    return np.linspace(1, count, min(count, MOST_KEPT))


def _at(ordered: FloatArray, count: int, rank: float) -> float:
    return float(np.interp(rank, _kept_ranks(count), ordered))


def _ends(ordered: FloatArray, count: int, level: float) -> tuple[float, float]:
    """Return the ends of the range of misses that holds a share of them and 0.

    Ranks are left out on both sides alike. Where a model is biased, so that fewer lie on one side of 0, the range ends there
    at 0, and the other side leaves out the more.
    """
    left_out = math.floor((count + 1) * (1 - level) + _ROUNDING)
    if left_out < 2:
        return math.nan, math.nan
    ranks = np.concatenate([[0.0], _kept_ranks(count)])
    negative = math.ceil(ranks[np.searchsorted(ordered, 0.0, side="left")])
    positive = count - math.floor(ranks[np.searchsorted(ordered, 0.0, side="right")])
    below = min(left_out // 2, negative + 1)
    above = min(left_out - below, positive + 1)
    below = min(left_out - above, negative + 1)
    return min(0.0, _at(ordered, count, below)), max(0.0, _at(ordered, count, count + 1 - above))


def _quantile(ordered: FloatArray, count: int, share: float) -> float:
    """Return the miss that a share of them are at most: of the rank that errs to the outside."""
    rank = (count + 1) * share
    if share != 0.5:
        rank = math.floor(rank + _ROUNDING) if share < 0.5 else math.ceil(rank - _ROUNDING)
    return _at(ordered, count, rank) if 1 <= rank <= count else math.nan
