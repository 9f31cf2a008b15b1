"""What a look at a series should show before it is trusted: spikes, jumps, flat stretches, gaps, rows that contradict."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnncore.forecast.magnitude import usual_range
from rnncore.forecast.series import HOUR, FloatArray, Series, TimeArray

# Of the usual range of a load: what a spike is from both its neighbours, a jump from the hour before, and repeated rows
# that contradict one another apart.
FAR = 0.5

# A load that is the same for a day and a half does not follow the day.
FLAT_HOURS = 36

RowArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Faults:
    """What is odd about a series.

    Attributes:
        minimum_mw: Smallest load.
        minimum_hour: Its hour.
        maximum_mw: Largest load.
        maximum_hour: Its hour.
        gaps: Stretches of missing hours.
        longest_gap_hours: Hours of the longest.
        contradicting: Rows that repeat a stamp with quite another load.
        spikes: Hours far from both neighbours, which are alike.
        first_spike: The first of them, or None.
        jumps: Hours far from the one before, spikes apart.
        flat_stretches: Stretches of at least `FLAT_HOURS` equal loads.
        longest_flat_hours: Hours of the longest.
    """

    minimum_mw: float
    minimum_hour: str
    maximum_mw: float
    maximum_hour: str
    gaps: int
    longest_gap_hours: int
    contradicting: int
    spikes: int
    first_spike: str | None
    jumps: int
    flat_stretches: int
    longest_flat_hours: int


def faults_of(series: Series) -> Faults:
    """Look at a series; it need not be cleaned."""
    one = series.cleaned()
    time, load_mw = one.time, one.load_mw
    low, high = int(series.load_mw.argmin()), int(series.load_mw.argmax())
    gaps = np.diff(time)[np.diff(time) > HOUR] // HOUR - 1
    contradicting = differing(series.time, series.load_mw)
    # The mean of rows that contradict one another is no load to take for a spike.
    sound = ~np.isin(time, series.time[contradicting])
    spikes, jumps = _spikes_and_jumps(time[sound], load_mw[sound])
    flat = _flat(load_mw)
    return Faults(
        minimum_mw=float(series.load_mw[low]),
        minimum_hour=str(series.time[low]),
        maximum_mw=float(series.load_mw[high]),
        maximum_hour=str(series.time[high]),
        gaps=len(gaps),
        longest_gap_hours=int(gaps.max(initial=0)),
        contradicting=len(contradicting),
        spikes=len(spikes),
        first_spike=str(time[sound][spikes[0]]) if len(spikes) else None,
        jumps=len(jumps),
        flat_stretches=len(flat),
        longest_flat_hours=int(flat.max(initial=0)),
    )


def differing(time: TimeArray, load_mw: FloatArray) -> RowArray:
    """Return the rows that repeat the stamp before them with a load farther off than half the usual range.

    Args:
        time: Sorted stamps. Shape (N,).
        load_mw: Loads. Shape (N,).
    """
    again = np.diff(time) == np.timedelta64(0, "s")
    if not again.any():
        return np.empty(0, dtype=np.int64)
    repeated = np.append(again, False) | np.insert(again, 0, False)
    far = FAR * usual_range(load_mw[~repeated] if (~repeated).sum() > 1 else load_mw)
    return np.flatnonzero(again & (np.abs(np.diff(load_mw)) > far)) + 1 if far else np.empty(0, dtype=np.int64)


def _spikes_and_jumps(time: TimeArray, load_mw: FloatArray) -> tuple[RowArray, RowArray]:
    far = FAR * usual_range(load_mw)
    if len(load_mw) < 3 or not far:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    step = np.diff(load_mw)
    is_far = (np.abs(step) > far) & (np.diff(time) == HOUR)
    # There and back again, to about where it was.
    spike = is_far[:-1] & is_far[1:] & (np.abs(step[:-1] + step[1:]) < np.minimum(np.abs(step[:-1]), np.abs(step[1:])) / 2)
    is_far[:-1] &= ~spike
    is_far[1:] &= ~spike
    return np.flatnonzero(spike) + 1, np.flatnonzero(is_far) + 1


def _flat(load_mw: FloatArray) -> RowArray:
    """Return the lengths of the flat stretches."""
    ends = np.flatnonzero(np.append(np.diff(load_mw) != 0, True)) + 1
    lengths = np.diff(ends, prepend=0)
    return lengths[lengths >= FLAT_HOURS]
