"""Hourly load series, one by one and as data sets."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rnncore.files import whole_file

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
TimeArray = npt.NDArray[np.datetime64]

HOUR = np.timedelta64(1, "h")


@dataclass(frozen=True)
class Series:
    """The hourly load of one zone, sorted by time.

    Attributes:
        name: Zone name, from the value column without a trailing `_MW`.
        time: Local time of each row, datetime64[s], ascending; stamps may repeat or be missing. Shape (N,).
        load_mw: Load in MW, finite. Shape (N,).
        digest: SHA-256 of the file that it was read from, or of the values where there is no file.
    """

    name: str
    time: TimeArray
    load_mw: FloatArray
    digest: str

    @property
    def duplicates(self) -> int:
        """Rows whose stamp an earlier row already has."""
        return int(np.count_nonzero(np.diff(self.time) == np.timedelta64(0, "s")))

    @property
    def missing_hours(self) -> int:
        """Hours between the first and the last stamp that no row has."""
        span_hours = int((self.time[-1] - self.time[0]) / HOUR) + 1
        return span_hours - (len(self.time) - self.duplicates)

    def cleaned(self) -> "Series":
        """Return the series with rows of equal stamp merged to their mean."""
        time, first, count = np.unique(self.time, return_index=True, return_counts=True)
        load_mw = np.add.reduceat(self.load_mw, first) / count
        return replace(self, time=time, load_mw=load_mw, digest=values_digest(time, load_mw))

    def filled(self, most_hours: int) -> "Series":
        """Return the series, each stamp once, with gaps of up to so many hours filled.

        A missing hour is on the line between the hours around the gap, bent as the same hours of the day before were: their
        distance from the line between its own ends is added. Where the day before is not there whole, the line is straight.

        Args:
            most_hours: Hours of the longest gap that is filled.
        """
        gaps = np.flatnonzero((np.diff(self.time) > HOUR) & (np.diff(self.time) <= (most_hours + 1) * HOUR))
        if not len(gaps):
            return self
        time, load_mw = [self.time], [self.load_mw]
        for before in gaps:
            missing = int((self.time[before + 1] - self.time[before]) / HOUR) - 1
            share = np.arange(1, missing + 1) / (missing + 1)
            time.append(self.time[before] + HOUR * np.arange(1, missing + 1))
            ends = self.load_mw[before : before + 2]
            load_mw.append(ends[0] + share * (ends[1] - ends[0]) + self._bend(self.time[before], missing, share))
        order = np.argsort(np.concatenate(time), kind="stable")
        all_time, all_load_mw = np.concatenate(time)[order], np.concatenate(load_mw)[order]
        return replace(self, time=all_time, load_mw=all_load_mw, digest=values_digest(all_time, all_load_mw))

    def _bend(self, before: np.datetime64, missing: int, share: FloatArray) -> FloatArray:
        """Return how far the hours a day before those of a gap are from the line between their ends; 0 if not there."""
        first = int(np.searchsorted(self.time, before - 24 * HOUR))
        day = slice(first, first + missing + 2)
        expected = before - 24 * HOUR + HOUR * np.arange(missing + 2)
        if not np.array_equal(self.time[day], expected):
            return np.zeros(missing)
        load_mw = self.load_mw[day]
        line: FloatArray = load_mw[0] + share * (load_mw[-1] - load_mw[0])
        return load_mw[1:-1] - line

    def to_csv(self, path: Path) -> None:
        """Write the series as a CSV file that `read_file` reads back unchanged."""
        import pandas as pd

        table = pd.DataFrame({"Datetime": pd.DatetimeIndex(self.time), f"{self.name}_MW": self.load_mw})
        with whole_file(path) as temporary:
            table.to_csv(temporary, index=False, date_format="%Y-%m-%d %H:%M:%S")


def values_digest(time: TimeArray, load_mw: FloatArray) -> str:
    """Return the SHA-256 of a series' values, the same on every platform."""
    seconds = time.astype("datetime64[s]").astype("<i8")
    return hashlib.sha256(seconds.tobytes() + load_mw.astype("<f8").tobytes()).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """The series of several zones under one name.

    Attributes:
        name: `pjm`, `synthetic`, or the name of the user's file or folder.
        series: One per zone, in a fixed order.
    """

    name: str
    series: tuple[Series, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over the zones' names and digests: equal exactly when the data are equal."""
        lines = "".join(f"{one.name} {one.digest}\n" for one in self.series)
        return hashlib.sha256(lines.encode()).hexdigest()

    def cleaned(self) -> "Dataset":
        """Return the data set with rows of equal stamp merged to their mean, zone by zone."""
        return replace(self, series=tuple(one.cleaned() for one in self.series))
