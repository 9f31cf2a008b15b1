"""Tests of the comparison with float64."""

import numpy as np
import torch

from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.runtimes.parity import Parity, float64_forecast


def test_parity_calls_not_a_number_wrong() -> None:
    assert Parity(max_abs=float("nan"), tolerance=1e-5).verdict == (
        "outputs differ from float64 by nan; rounding explains 1.0e-05"
    )
    assert Parity(max_abs=1e-5, tolerance=1e-5).verdict == "valid"


def test_parity_leaves_the_model_in_float32_and_in_its_mode() -> None:
    model = new_forecaster(ForecasterConfig(input_size=3, hidden_size=8), seed=1).train()
    inputs = np.random.default_rng(0).random((2, 4, 3), dtype=np.float32)
    float64_forecast(model, inputs)
    assert model.training
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
