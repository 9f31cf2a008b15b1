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

    def to_csv(self, path: Path) -> None:
        """Write the series as a CSV file that `read_csv` reads back unchanged."""
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
