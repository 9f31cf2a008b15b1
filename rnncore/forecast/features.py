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
)
from rnncore.forecast.series import HOUR, Float32Array, FloatArray, Series

FeatureKind = Literal["article", "linear"]
FEATURE_KINDS: tuple[FeatureKind, ...] = get_args(FeatureKind)


@dataclass(frozen=True)
class Described:
    """A zone as a model sees it.

    Attributes:
        features: Inputs of each row. Shape (N, F), float32.
        offset_mw: What model outputs of 0 mean for each row and for the one after the last, as the first hour that is
            forecast, and for those that follow. Shape (N + 1, L).
        shared: What other zones see of each row as soon as it is past: what the regressions forecast for the next hour above
            the load, and by how much they were off. Shape (N, 2), float32; None of features without regressions.
    """

    features: Float32Array
    offset_mw: FloatArray
    shared: Float32Array | None = None


@dataclass(frozen=True)
class ArticleScaling:
    """Load, hour, weekday, month and day of year, each scaled to its range, as the article does.

    Attributes:
        low: Smallest value of each. Shape (5,).
        span: Largest less smallest; 1 where they are equal, as the month of a series shorter than that. Shape (5,).
        horizon: Leads, L.
    """

    low: FloatArray
    span: FloatArray
    horizon: int

    first_row = 0

    @classmethod
    def fit(cls, series: Series, fit: slice, horizon: int) -> Self:
        """Fit the ranges on some rows."""
        columns = cls._columns(series)[fit]
        low, span = columns.min(axis=0), np.ptp(columns, axis=0)
        _require_varied(series, float(span[0]), _LOAD)
        return cls(low, np.where(span == 0, 1.0, span), horizon)

    @property
    def scale_mw(self) -> float:
        """MW per unit of model output."""
        return float(self.span[0])

    def describe(self, series: Series) -> Described:
        """Return the features of each row, and what outputs mean."""
        features = ((self._columns(series) - self.low) / self.span).astype(np.float32)
        return Described(features, np.full((len(series.time) + 1, self.horizon), self.low[0]))

    @staticmethod
    def _columns(series: Series) -> FloatArray:
        import pandas as pd

        calendar = pd.DatetimeIndex(series.time)
        columns = (series.load_mw, calendar.hour, calendar.day_of_week, calendar.month, calendar.day_of_year)
        return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


@dataclass(frozen=True)
class LinearScaling:
    """What is known about the hour after each, and what 24 regressions forecast: the model learns what they leave over.

    Channels of row r, whose next hour is r + 1: the load at r, at r + 1 - 24 and at r + 1 - 168, the last hourly change up
    to each of these, sine and cosine of the next hour's time of day, weekday and day of year, what the regressions forecast
    for the next hour above the load at r, and by how much they were off at r.

    Attributes:
        level_mw: Mean load.
        spread_mw: Its standard deviation.
        change_mw: Standard deviation of hourly changes.
        scale_mw: MW per unit of model output: the standard deviation of what is learnt.
        coefficients: Of the regressions. Shape (24, P, L).
    """

    level_mw: float
    spread_mw: float
    change_mw: float
    scale_mw: float
    coefficients: FloatArray

    first_row = FIRST_ROW

    @classmethod
    def fit(cls, series: Series, fit: slice, horizon: int) -> Self:
        """Fit scales and regressions on some rows."""
        regressions = fit_hourly_regressions(series, fit, horizon)
        load_mw = series.load_mw[fit]
        change_mw = np.diff(load_mw, prepend=load_mw[:1])
        return cls(
            level_mw=float(load_mw.mean()),
            spread_mw=_require_varied(series, float(load_mw.std()), _LOAD),
            change_mw=_require_varied(series, float(change_mw.std()), "its hourly change"),
            scale_mw=_require_varied(series, regressions.missed_mw, _REST),
            coefficients=regressions.coefficients,
        )

    def describe(self, series: Series) -> Described:
        """Return the features of each row, and what outputs mean."""
        regressions = HourlyRegressions(self.level_mw, self.spread_mw, self.coefficients, self.scale_mw)
        offset_mw = regressions.forecast_mw(series.load_mw, series.time)
        rise = (offset_mw[1:, 0] - series.load_mw) / self.change_mw
        missed = (series.load_mw - offset_mw[:-1, 0]) / self.scale_mw
        more = np.stack([rise, missed], axis=1).astype(np.float32)
        return Described(np.hstack([self._known(series), more]), offset_mw, more)

    def _known(self, series: Series) -> Float32Array:
        """Return the channels that are known without the regressions. Shape (N, 12)."""
        import pandas as pd

        load_mw = series.load_mw
        change_mw = np.diff(load_mw, prepend=load_mw[:1])

        def next_hour(values: FloatArray, lag_h: int) -> FloatArray:
            """Return, for each row r, the value lag_h hours before r + 1; rows before the series repeat its first."""
            return values[np.maximum(np.arange(len(values)) + 1 - lag_h, 0)]

        channels = [(next_hour(load_mw, lag_h) - self.level_mw) / self.spread_mw for lag_h in (1, DAY_H, WEEK_H)]
        channels += [next_hour(change_mw, lag_h) / self.change_mw for lag_h in (1, DAY_H, WEEK_H)]
        calendar = pd.DatetimeIndex(series.time + HOUR)
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
    values: dict[str, Any] = {field.name: facts[field.name] for field in fields(made)}
    for name, value in values.items():
        if isinstance(value, dict):
            raw = base64.b64decode(value["float64"], validate=True)
            values[name] = np.frombuffer(raw, dtype="<f8").astype(np.float64).reshape(value["shape"])
    return made(**values)


# What a scale is taken of.
_LOAD, _REST = "the load", "what simple rules leave of the load, which is what is learnt,"


def _require_varied(series: Series, scale_mw: float, what: str) -> float:
    if scale_mw > 0:
        return scale_mw
    way_out = "train with the preset 'article', which learns the load itself" if what == _REST else "one that varies"
    raise DataError(
        f"{series.name}: {what} does not vary in the training part, so that nothing can be scaled by it. Give a longer "
        f"series, or {way_out}."
    )
