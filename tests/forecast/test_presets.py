"""Tests of the recipes as wholes: what a file's unit and the hours after the tested ones may change, which is nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from rnncore.forecast.fit import fit
from rnncore.forecast.model import Forecaster, new_forecaster
from rnncore.forecast.presets import PRESETS, preset
from rnncore.forecast.scoring import forecast_test_hours, score_forecasts
from rnncore.forecast.series import Dataset, Series
from rnncore.forecast.trainer import Trainer
from rnncore.forecast.windows import Windows

STEPS = 3

Split = Literal["article", "date"]


@pytest.fixture(scope="module")
def dataset(make_series: Callable[..., Series]) -> Dataset:
    """Two zones of loads with two decimals, as files have them."""
    zones = (make_series("A", hours=1300, seed=1), make_series("B", hours=1200, seed=2))
    return Dataset("made", tuple(replace(one, load_mw=one.load_mw.round(2)) for one in zones))


def _trained(name: str, dataset: Dataset, horizon: int, split: Split = "article") -> tuple[Forecaster, Windows]:
    """Train a small model of a recipe for a few steps."""
    recipe = preset(name, "gru", [one.name for one in dataset.series], horizon)
    windows = recipe.windows_of(dataset, split, drop_gaps=False)
    config = recipe.training_on(windows, max_steps=STEPS, batch_size=16 if name == "article" else 4, implementation="aten")
    model = new_forecaster(replace(recipe.forecaster, hidden_size=8), 0)
    fit(Trainer(model, windows, config, torch.device("cpu")))
    return model, windows


def _forecasts_mw(model: Forecaster, windows: Windows) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        return forecast_test_hours(lambda inputs: model(torch.from_numpy(inputs)).numpy(), windows)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("horizon", [1, 24])
@pytest.mark.parametrize("name", PRESETS)
def test_a_file_in_another_unit_makes_the_same_model_and_the_same_amounts(
    name: str, horizon: int, factor: float, dataset: Dataset
) -> None:
    series = tuple(replace(one, load_mw=one.load_mw * factor) for one in dataset.series)
    (model, windows), (other, scaled) = (_trained(name, one, horizon) for one in (dataset, replace(dataset, series=series)))
    for weight, same in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, same)
    forecasts_mw, scaled_mw = _forecasts_mw(model, windows), _forecasts_mw(other, scaled)
    for zone, forecast_mw in forecasts_mw.items():
        np.testing.assert_allclose(scaled_mw[zone], factor * forecast_mw, rtol=1e-9)
    score, of_scaled = (
        score_forecasts(name, forecasts, of).mean for forecasts, of in ((forecasts_mw, windows), (scaled_mw, scaled))
    )
    assert of_scaled.smape == pytest.approx(score.smape, rel=1e-9)
    assert of_scaled.mae_mw == pytest.approx(factor * score.mae_mw, rel=1e-9)


@pytest.mark.parametrize("horizon", [1, 24])
@pytest.mark.parametrize("name", PRESETS)
def test_loads_after_the_first_tested_hour_change_no_weight_and_no_forecast_of_it(
    name: str, horizon: int, dataset: Dataset
) -> None:
    # Of one date for all zones: in the article's split one zone is trained on hours that another is tested on.
    model, windows = _trained(name, dataset, horizon, "date")
    first = windows.time[windows.target_rows(windows.test_start).min()]
    shuffled = []
    for one in dataset.series:
        row, load_mw = int(np.searchsorted(one.time, first)), one.load_mw.copy()
        load_mw[row:] = np.random.default_rng(row).permutation(load_mw[row:])
        shuffled.append(replace(one, load_mw=load_mw))
    other, after = _trained(name, Dataset("made", tuple(shuffled)), horizon, "date")
    assert not np.array_equal(after.load_mw, windows.load_mw)
    for weight, same in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(weight, same)
    forecasts_mw, of_shuffled_mw = _forecasts_mw(model, windows), _forecasts_mw(other, after)
    assert list(forecasts_mw) == ["A", "B"]
    for zone, forecast_mw in forecasts_mw.items():
        np.testing.assert_array_equal(of_shuffled_mw[zone][0], forecast_mw[0])
