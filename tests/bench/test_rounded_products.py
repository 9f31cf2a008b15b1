"""Tests of tolerances by simulation: what tensor cores round is within them, and two gates in each other's place are not."""

from functools import cache

import numpy as np
import pytest
import torch

from bench.studies import rounded_products
from bench.studies.rounded_products import FORWARD, FP32, TRAINING, Rounding, rounded_forecast, rounded_gradients
from rnncore.forecast.cells import CELLS
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.measure.answers import GRADIENT_TOLERANCE, exact_gradients
from rnncore.runtimes.parity import float64_forecast, parity

LOOKBACK, WINDOWS = 90, 64
for_both_cells = pytest.mark.parametrize("cell", CELLS)


def _title(rounding: Rounding) -> str:
    return rounding.title or rounding.precision


@cache
def _article_model(cell: str) -> Forecaster:
    return new_forecaster(ForecasterConfig(cell=cell, hidden_size=256, num_layers=2, dropout=0.0), seed=0).eval()


@cache
def _lively_model(cell: str) -> Forecaster:
    """Return a model whose outputs reach the size of those of a trained one: a fault shows as it would there."""
    model = new_forecaster(ForecasterConfig(cell=cell, hidden_size=64, num_layers=2, dropout=0.0), seed=1).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(2.0 if "rnn" in name else 6.0)
    return model


@cache
def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(0)
    inputs, targets = draw.random((WINDOWS, LOOKBACK, 5), dtype=np.float32), draw.random((WINDOWS, 1), dtype=np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


@cache
def _exact(cell: str) -> list[torch.Tensor]:
    return exact_gradients(_article_model(cell), *_batch(), torch.nn.functional.mse_loss)


@pytest.mark.parametrize(
    ("value", "nearest", "cut"),
    [
        (1.0 + 2**-10, 1.0 + 2**-10, 1.0 + 2**-10),
        (1.0 + 2**-11, 1.0 + 2**-10, 1.0),
        (1.0 + 2**-12, 1.0, 1.0),
        (-1.0 - 3 * 2**-12, -1.0 - 2**-10, -1.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_tf32_has_ten_bits_behind_the_point(value: float, nearest: float, cut: float) -> None:
    given = torch.tensor([value])
    assert rounded_products.nearest_tf32(given).item() == nearest
    assert rounded_products.cut_to_tf32(given).item() == cut


@for_both_cells
def test_without_rounding_forecasts_and_gradients_are_the_models(cell: str) -> None:
    inputs, _ = _batch()
    exact = float64_forecast(_article_model(cell), inputs.numpy())
    with torch.no_grad():
        outputs = rounded_forecast(_article_model(cell), inputs, FP32).numpy()
    assert parity(outputs, exact, "fp32").verdict == "valid"
    found = rounded_gradients(_article_model(cell), *_batch(), FP32)
    assert rounded_products.furthest_off(found, _exact(cell)) <= GRADIENT_TOLERANCE["fp32"]


@for_both_cells
@pytest.mark.parametrize("rounding", FORWARD, ids=_title)
def test_forecasts_with_rounded_products_are_valid_and_of_another_model_are_not(cell: str, rounding: Rounding) -> None:
    inputs, _ = _batch()
    for model in (_article_model(cell), _lively_model(cell)):
        exact = float64_forecast(model, inputs.numpy())
        with torch.no_grad():
            outputs = rounded_forecast(model, inputs, rounding).numpy()
        assert parity(outputs, exact, rounding.precision).verdict == "valid"
    if rounding.precision == "bf16":
        return  # Of so small a model, exchanged gates show less than the rounding of trained ones.
    wrong = float64_forecast(rounded_products.with_gates_exchanged(_lively_model(cell)), inputs.numpy())
    assert parity(wrong.astype(np.float32), exact, rounding.precision).verdict != "valid"


@for_both_cells
@pytest.mark.parametrize("rounding", TRAINING, ids=_title)
def test_gradients_with_rounded_products_are_valid_and_with_gates_in_a_wrong_order_are_not(
    cell: str, rounding: Rounding
) -> None:
    found = rounded_gradients(_article_model(cell), *_batch(), rounding)
    tolerance = GRADIENT_TOLERANCE[rounding.precision]
    assert rounded_products.furthest_off(found, _exact(cell)) <= tolerance
    others = rounded_products.with_gates_in_wrong_order(_article_model(cell), _exact(cell))
    assert rounded_products.furthest_off(others, _exact(cell)) > 2 * tolerance
