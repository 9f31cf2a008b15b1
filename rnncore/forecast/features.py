"""What a model sees of each hour, and what its outputs mean: fitted on a zone's training hours, then applied to any hours.

Shape letters: N rows of a zone, F features.
"""

import base64
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

import numpy as np

from rnncore.errors import DataError
from rnncore.forecast.linear import (
    DAY_H,
    FIRST_ROW,
    WEEK_H,
    YEAR_DAYS,
    HourlyRegressions,
    fit_hourly_regressions,
    leads_of,
)
from rnncore.forecast.magnitude import believed_between, in_units, unit_of
from rnncore.forecast.series import HOUR, Float32Array, FloatArray, Series, TimeArray

FeatureKind = Literal["article", "linear"]
FEATURE_KINDS: tuple[FeatureKind, ...] = get_args(FeatureKind)

# What rounding leaves of a load that simple rules forecast, as a share of its spread.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Described:
    """A zone as a model sees it.

    Attributes:
        features: Inputs of each row. Shape (N, F), float32.
        offset_mw: What model outputs of 0 mean for each row and for the one after the last, as the first hour that is
            forecast, and for those that follow. Shape (N + 1, L).
        target: What a model learns for each row, as the first that is forecast, and for those that follow: the load above
            the offset, in units of model output. Shape (N, L), float32.
        shared: What other zones see of each row as soon as it is past: what the regressions forecast for the next hour above
            the load, and by how much they were off. Shape (N, 2), float32; None of features without regressions.
    """

    features: Float32Array
    offset_mw: FloatArray
    target: Float32Array
    shared: Float32Array | None = None


@dataclass(frozen=True)
class ArticleScaling:
    """Load, hour, weekday, month and day of year, each scaled to its range, as the article does.

    Attributes:
        low: Smallest value of each; of the load in units. Shape (5,).
        span: Largest less smallest; 1 where they are equal, as the month of a series shorter than that. Shape (5,).
        horizon: Leads, L.
        unit_mw: MW per unit of load, a power of ten.
    """

    low: FloatArray
    span: FloatArray
    horizon: int
    unit_mw: float

    first_row = 0

    @classmethod
    def fit(cls, series: Series, fit: slice, horizon: int) -> Self:
        """Fit the ranges on some rows."""
        unit_mw = unit_of(series.load_mw[fit])
        columns = cls._columns(series, unit_mw)[fit]
        low, span = columns.min(axis=0), np.ptp(columns, axis=0)
        _require_varied(series, float(span[0]), _LOAD)
        return cls(low, np.where(span == 0, 1.0, span), horizon, unit_mw)

    @property
    def scale_mw(self) -> float:
        """MW per unit of model output."""
        return float(self.span[0]) * self.unit_mw

    @property
    def size_mw(self) -> float:
        """How large loads are."""
        return float(abs(self.low[0]) + self.span[0]) * self.unit_mw

    def describe(self, series: Series) -> Described:
        """Return the features of each row, and what outputs mean."""
        scaled = (self._columns(series, self.unit_mw) - self.low) / self.span
        offset_mw = np.full((len(series.time) + 1, self.horizon), self.low[0] * self.unit_mw)
        return Described(scaled.astype(np.float32), offset_mw, leads_of(scaled[:, 0], self.horizon).astype(np.float32))

    @staticmethod
    def _columns(series: Series, unit_mw: float) -> FloatArray:
        import pandas as pd

        calendar = pd.DatetimeIndex(series.time)
        load = in_units(series.load_mw, unit_mw)
        columns = (load, calendar.hour, calendar.day_of_week, calendar.month, calendar.day_of_year)
        return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


@dataclass(frozen=True)
class LinearScaling:
    """What is known about the hour after each, and what 24 regressions forecast: the model learns what they leave over.

    Channels of row r, whose next hour is r + 1: the load at r, at r + 1 - 24 and at r + 1 - 168, the last hourly change up
    to each of these, sine and cosine of the next hour's time of day, weekday and day of year, what the regressions forecast
    for the next hour above the load at r, and by how much they were off at r.

    All but the coefficients are in units of `unit_mw`. A load that is not believed is taken for the last that is: one wrong
    value of a million hours moves neither scales nor regressions.

    Attributes:
        level: Mean load.
        spread: Its standard deviation.
        change: Standard deviation of hourly changes.
        scale: What a model output of 1 means: the standard deviation of what is learnt.
        coefficients: Of the regressions. Shape (24, P, L).
        unit_mw: MW per unit, a power of ten.
        lowest: Smallest load that is believed.
        highest: Largest.
    """

    level: float
    spread: float
    change: float
    scale: float
    coefficients: FloatArray
    unit_mw: float
    lowest: float
    highest: float

    first_row = FIRST_ROW

    @classmethod
    def fit(cls, series: Series, fit: slice, horizon: int) -> Self:
        """Fit scales and regressions on some rows."""
        unit_mw = unit_of(series.load_mw[fit])
        load = in_units(series.load_mw[fit], unit_mw)
        lowest, highest = believed_between(load)
        load = np.clip(load, lowest, highest)
        regressions = fit_hourly_regressions(load, series.time[fit], horizon)
        change, spread = np.diff(load, prepend=load[:1]), _require_varied(series, float(load.std()), _LOAD)
        return cls(
            level=float(load.mean()),
            spread=spread,
            change=_require_varied(series, float(change.std()), "its hourly change"),
            scale=_require_varied(series, regressions.missed if regressions.missed > ROUNDING * spread else 0.0, _REST),
            coefficients=regressions.coefficients,
            unit_mw=unit_mw,
            lowest=lowest,
            highest=highest,
        )

    @property
    def scale_mw(self) -> float:
        """MW per unit of model output."""
        return self.scale * self.unit_mw

    @property
    def size_mw(self) -> float:
        """How large loads are."""
        return (abs(self.level) + self.spread) * self.unit_mw

    def describe(self, series: Series) -> Described:
        """Return the features of each row, and what outputs mean."""
        load = np.clip(in_units(series.load_mw, self.unit_mw), self.lowest, self.highest)
        regressions = HourlyRegressions(self.level, self.spread, self.coefficients, self.scale)
        offset = regressions.forecast(load, series.time)
        rise = (offset[1:, 0] - load) / self.change
        missed = (load - offset[:-1, 0]) / self.scale
        more = np.stack([rise, missed], axis=1).astype(np.float32)
        target = ((leads_of(load, offset.shape[1]) - offset[:-1]) / self.scale).astype(np.float32)
        features = np.hstack([self._known(load, series.time), more])
        return Described(features, offset * self.unit_mw, target, more)

    def _known(self, load: FloatArray, time: TimeArray) -> Float32Array:
        """Return the channels that are known without the regressions. Shape (N, 12)."""
        import pandas as pd

        change = np.diff(load, prepend=load[:1])

        def next_hour(values: FloatArray, lag_h: int) -> FloatArray:
            """Return, for each row r, the value lag_h hours before r + 1; rows before the series repeat its first."""
            return values[np.maximum(np.arange(len(values)) + 1 - lag_h, 0)]

        channels = [(next_hour(load, lag_h) - self.level) / self.spread for lag_h in (1, DAY_H, WEEK_H)]
        channels += [next_hour(change, lag_h) / self.change for lag_h in (1, DAY_H, WEEK_H)]
        calendar = pd.DatetimeIndex(time + HOUR)
        for value, period in ((calendar.hour, DAY_H), (calendar.day_of_week, 7), (calendar.day_of_year, YEAR_DAYS)):
            angle = 2 * np.pi * np.asarray(value, dtype=np.float64) / period
            channels += [np.sin(angle), np.cos(angle)]
        return np.stack(channels, axis=1).astype(np.float32)


Scaling = ArticleScaling | LinearScaling

SCALINGS: dict[FeatureKind, type[Scaling]] = {"article": ArticleScaling, "linear": LinearScaling}

# Features per hour of a zone by itself.
NUM_FEATURES: dict[FeatureKind, int] = {"article": 5, "linear": 14}

# Channels of what the other zones share: two means, and whether there are any at that hour.
NUM_SHARED = 3


def scaling_facts(scaling: Scaling) -> dict[str, Any]:
    """Return a scaling as JSON values; arrays are float64 in base64, with their shape."""
    facts = asdict(scaling)
    for name, value in facts.items():
        if isinstance(value, np.ndarray):
            raw = value.astype("<f8").tobytes()
            facts[name] = {"float64": base64.b64encode(raw).decode("ascii"), "shape": list(value.shape)}
    return facts


def scaling_from_facts(kind: FeatureKind, facts: dict[str, Any]) -> Scaling:
    """Return the scaling that `scaling_facts` wrote.

    Raises:
        KeyError: If a fact is missing.
        ValueError: If an array is damaged.
    """
    made = SCALINGS[kind]
    if "unit_mw" not in facts:
        facts = _OF_EARLIER_FILES | {name.removesuffix("_mw"): value for name, value in facts.items()}
    values: dict[str, Any] = {field.name: facts[field.name] for field in fields(made)}
    for name, value in values.items():
        if isinstance(value, dict):
            raw = base64.b64decode(value["float64"], validate=True)
            values[name] = np.frombuffer(raw, dtype="<f8").astype(np.float64).reshape(value["shape"])
    return made(**values)


# Of model files from before scales had a unit: they are in MW, and every load was believed.
_OF_EARLIER_FILES: dict[str, Any] = {"unit_mw": 1.0, "lowest": -np.inf, "highest": np.inf}

# What a scale is taken of.
_LOAD, _REST = "the load", "what simple rules leave of the load, which is what is learnt,"


def _require_varied(series: Series, scale: float, what: str) -> float:
    """Return a scale, in the unit of the zone.

    Raises:
        DataError: If it is 0.
    """
    if scale > 0:
        return scale
    way_out = "train with the preset 'article', which learns the load itself" if what == _REST else "one that varies"
    raise DataError(
        f"{series.name}: {what} does not vary in the training part, so that nothing can be scaled by it. Give a longer "
        f"series, or {way_out}."
    )
