"""How far forecasts of the test hours were off, by several measures, and by zone, hour of the day or lead.

sMAPE has a meaning where loads have one sign. Where forecast and load have opposite signs, or the load is 0, an hour counts
200 %, however small the miss: of such loads MAE, RMSE, MASE and WAPE say more.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rnncore.forecast.bounds import bounds_of, hour_of_day, misses_of
from rnncore.forecast.linear import DAY_H
from rnncore.forecast.scoring import smape_article_pct, smape_pct
from rnncore.forecast.series import FloatArray
from rnncore.forecast.windows import Windows, ZoneWindows

# What the pinball loss is the mean over.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

By = Literal["zone", "hour", "lead"]

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Missed:
    """Forecasts of the test hours of one zone beside what came. Arrays have the shape (N, L).

    Attributes:
        zone: Its name.
        forecast_mw: Forecasts.
        actual_mw: Loads.
        hour: Hour of the day.
        naive_mae_mw: Mean absolute error of the same hour yesterday, in the hours before the first tested one.
        pinball_mw: Pinball loss, the mean of `QUANTILES`; NaN in the first half, which the quantiles are made of.
        held: 1 where bounds of nine in ten hold the load, 0 where they do not; NaN in the first half.
    """

    zone: str
    forecast_mw: FloatArray
    actual_mw: FloatArray
    hour: FloatArray
    naive_mae_mw: float
    pinball_mw: FloatArray
    held: FloatArray


@dataclass(frozen=True)
class Metrics:
    """How far forecasts of some hours were off; None where a measure has no meaning.

    Attributes:
        name: Of the zone, hour of the day, lead or method.
        smape: Mean of 200 |F - A| / (|F| + |A|), in percent.
        smape_article: The figure that the article's code prints, in percent.
        mae_mw: Mean absolute error.
        rmse_mw: Root of the mean squared error.
        mase: `mae_mw` over that of the same hour yesterday before the test hours; below 1 is better than it was there.
        wape_pct: Sum of absolute errors over the sum of absolute loads, in percent.
        pinball_mw: Pinball loss of quantiles from 0.05 to 0.95.
        coverage_pct: Hours that bounds of nine in ten hold, in percent.

    Source:
        MASE: Hyndman, R. & Koehler, A. (2006). Another look at measures of forecast accuracy. Int. J. Forecasting 22(4),
        679-688. Pinball loss: Koenker, R. & Bassett, G. (1978). Regression quantiles. Econometrica 46(1), 33-50.
    """

    name: str
    smape: float
    smape_article: float
    mae_mw: float
    rmse_mw: float
    mase: float | None
    wape_pct: float | None
    pinball_mw: float | None
    coverage_pct: float | None


def missed_by_zone(forecasts_mw: Mapping[str, FloatArray], windows: Windows) -> list[Missed]:
    """Put forecasts of the test hours beside what came.

    Bounds and quantiles are made of the first half of each zone's test hours, and looked at in the second; there each hour's
    follow what was missed before it.

    Args:
        forecasts_mw: Forecasts by zone, as `forecast_test_hours` gives them.
        windows: The windows that they were made from.
    """
    return [_missed(windows, zone, forecasts_mw[zone.name]) for zone in windows.zones if zone.name in forecasts_mw]


def metrics_by(by: By, missed: Sequence[Missed]) -> list[Metrics]:
    """Return metrics by zone; or by hour of the day or lead, as means over the zones.

    Args:
        by: What they are by.
        missed: The zones, at least one.
    """
    if by == "zone":
        return [_metrics(one.zone, one, np.ones_like(one.held, dtype=np.bool_)) for one in missed]
    found = []
    for name, of_zones in _groups(by, missed):
        parts = [_metrics(name, one, inside) for one, inside in zip(missed, of_zones, strict=True) if inside.any()]
        found += [mean_metrics(name, parts)] if parts else []
    return found


def mean_metrics(name: str, parts: Sequence[Metrics]) -> Metrics:
    """Return the unweighted mean of each measure; of those that have a meaning everywhere."""
    values = [asdict(part) for part in parts]
    means: dict[str, Any] = {}
    for measure in values[0]:
        if measure != "name":
            of_parts = [value[measure] for value in values]
            means[measure] = None if None in of_parts else float(np.mean(of_parts))
    return Metrics(name=name, **means)


def reaches_zero(missed: Sequence[Missed]) -> bool:
    """Return whether a load of 0, or loads of both signs, were tested in one zone: there sMAPE means little."""
    return any(one.actual_mw.min() <= 0 <= one.actual_mw.max() for one in missed)


def _groups(by: Literal["hour", "lead"], missed: Sequence[Missed]) -> list[tuple[str, list[BoolArray]]]:
    """Return the names of groups of test hours, and which hours of each zone are in them. Shapes (N, L)."""
    if by == "hour":
        return [(f"{clock:02}:00", [one.hour == clock for one in missed]) for clock in range(DAY_H)]
    leads = np.arange(missed[0].held.shape[1])
    return [
        (f"{lead + 1} h ahead", [np.broadcast_to(leads == lead, one.held.shape) for one in missed])
        for lead in leads.tolist()
    ]


def _missed(windows: Windows, zone: ZoneWindows, forecast_mw: FloatArray) -> Missed:
    start = windows.test_start[zone.test]
    actual_mw, half = windows.target_load_mw(start), len(start) // 2
    rows = windows.target_rows(start)
    pinball_mw, held = np.full(actual_mw.shape, np.nan), np.full(actual_mw.shape, np.nan)
    if half:
        misses = misses_of(windows, zone, start[:half], forecast_mw[:half])
        bounds = bounds_of(misses, windows, zone, start, forecast_mw)
        low_mw, high_mw = bounds.between_mw()
        inside = np.where(np.isnan(low_mw), np.nan, (actual_mw >= low_mw) & (actual_mw <= high_mw))
        above_mw = [actual_mw - bounds.quantile_mw(share) for share in QUANTILES]
        losses_mw = [np.maximum(share * one, (share - 1) * one) for share, one in zip(QUANTILES, above_mw, strict=True)]
        held[half:], pinball_mw[half:] = inside[half:], np.mean(losses_mw, axis=0)[half:]
    before_mw = windows.load_mw[zone.rows.start : rows[0]]
    naive_mae_mw = float(np.abs(before_mw[DAY_H:] - before_mw[:-DAY_H]).mean()) if len(before_mw) > DAY_H else math.nan
    hour = hour_of_day(windows.time[rows[:, None] + np.arange(windows.config.horizon)])
    return Missed(zone.name, forecast_mw, actual_mw, hour, naive_mae_mw, pinball_mw, held)


def _metrics(name: str, missed: Missed, where: BoolArray) -> Metrics:
    forecast_mw, actual_mw = missed.forecast_mw[where], missed.actual_mw[where]
    error_mw = np.abs(forecast_mw - actual_mw)
    total_mw, mae_mw = float(np.abs(actual_mw).sum()), float(error_mw.mean())
    return Metrics(
        name=name,
        smape=smape_pct(forecast_mw, actual_mw),
        smape_article=smape_article_pct(forecast_mw, actual_mw),
        mae_mw=mae_mw,
        rmse_mw=float(np.sqrt(np.mean(error_mw**2))),
        mase=mae_mw / missed.naive_mae_mw if missed.naive_mae_mw > 0 else None,
        wape_pct=100 * float(error_mw.sum()) / total_mw if total_mw else None,
        pinball_mw=_mean_of_known(missed.pinball_mw[where]),
        coverage_pct=_mean_of_known(100 * missed.held[where]),
    )


def _mean_of_known(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
