"""Tests of the forecaster against the naive float64 reference."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnncore.errors import ConfigError
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.windows import WindowConfig
from tests import reference

CELLS = ("gru", "lstm")
SMALL = ForecasterConfig(hidden_size=8, num_layers=2, input_size=3, dropout=0.2)
WINDOWS = WindowConfig(lookback=7, features="linear", scale_on="train", test_fraction=0.2)
ENTRIES_PER_PARAMETER = 6


def _random_model(config: ForecasterConfig) -> Forecaster:
    """Make a float64 forecaster in evaluation mode with all weights and biases clearly away from zero."""
    model = Forecaster(config).double().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.7, 0.7, generator=generator)
    return model


def _weights(model: Forecaster) -> reference.Weights:
    return {name: value.detach().double().numpy().copy() for name, value in model.state_dict().items()}


def _inputs(config: ForecasterConfig, count: int = 5, lookback: int = 6) -> np.ndarray:
    return np.random.default_rng(4).normal(size=(count, lookback, config.input_size))


@pytest.mark.parametrize("relu_head", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_forward_is_the_equations(cell: str, num_layers: int, relu_head: bool) -> None:
    config = replace(SMALL, cell=cell, num_layers=num_layers, relu_head=relu_head)
    model, inputs = _random_model(config), _inputs(config)
    expected = reference.forecast(_weights(model), config, inputs)
    with torch.no_grad():
        output = model(torch.from_numpy(inputs)).numpy()
        output_float32 = model.float()(torch.from_numpy(inputs).float()).numpy()
    assert output.shape == (5, 1)
    assert output_float32.dtype == np.float32
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(output_float32, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_the_relu_before_the_head_changes_the_forecast(cell: str) -> None:
    config = replace(SMALL, cell=cell, relu_head=True)
    model, inputs = _random_model(config), torch.from_numpy(_inputs(config))
    other = Forecaster(replace(config, relu_head=False)).double().eval()
    other.load_state_dict(model.state_dict())
    assert not torch.allclose(model(inputs), other(inputs), atol=1e-3)


@pytest.mark.parametrize("relu_head", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_finite_differences(cell: str, num_layers: int, relu_head: bool) -> None:
    config = replace(SMALL, cell=cell, num_layers=num_layers, relu_head=relu_head)
    model, inputs = _random_model(config), _inputs(config, count=2, lookback=4)
    targets = np.array([[0.3], [-0.8]])
    nn.functional.mse_loss(model(torch.from_numpy(inputs)), torch.from_numpy(targets)).backward()
    weights = _weights(model)
    generator = np.random.default_rng(5)
    largest = max(float(parameter.grad.abs().max()) for parameter in model.parameters())
    for name, parameter in model.named_parameters():
        for flat in generator.choice(parameter.numel(), size=min(ENTRIES_PER_PARAMETER, parameter.numel()), replace=False):
            index = tuple(int(at) for at in np.unravel_index(flat, parameter.shape))
            expected = reference.numeric_gradient(weights, config, inputs, targets, name, index)
            assert float(parameter.grad[index]) == pytest.approx(expected, rel=1e-5, abs=1e-8 * largest), f"{name}{index}"


@pytest.mark.parametrize("cell", CELLS)
def test_every_window_starts_from_a_state_of_zeros(cell: str) -> None:
    config = replace(SMALL, cell=cell)
    model, inputs = _random_model(config), torch.from_numpy(_inputs(config))
    together = model(inputs)
    one_by_one = torch.cat([model(inputs[at : at + 1]) for at in (4, 3, 2, 1, 0)]).flip(0)
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("cell", "count"), [("gru", 596_993), ("lstm", 795_905)])
def test_the_article_models_have_as_many_parameters_as_their_equations(cell: str, count: int) -> None:
    model = Forecaster(ForecasterConfig(cell=cell))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_acts_in_training_only(cell: str) -> None:
    config = replace(SMALL, cell=cell, dropout=0.5)
    model, inputs = _random_model(config), torch.from_numpy(_inputs(config))
    assert torch.equal(model(inputs), model(inputs))
    model.train()
    assert not torch.equal(model(inputs), model(inputs))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    # The generator's state before must not matter.
    torch.manual_seed(11)
    one = new_forecaster(SMALL, seed=1)
    torch.manual_seed(12)
    same, other = new_forecaster(SMALL, seed=1), new_forecaster(SMALL, seed=2)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name]), name
        assert not torch.equal(value, other.state_dict()[name]), name


def test_making_a_forecaster_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    new_forecaster(SMALL, seed=1)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("cell", "rnn", "cell is 'rnn'; allowed: gru, lstm"),
        ("input_size", 0, "input_size is 0; give a whole number of at least 1"),
        ("hidden_size", -1, "hidden_size is -1; give a whole number of at least 1"),
        ("num_layers", 0, "num_layers is 0; give a whole number of at least 1"),
        ("dropout", 1.0, r"dropout is 1\.0; give a number from 0 to below 1"),
        ("dropout", -0.1, r"dropout is -0\.1; give a number from 0 to below 1"),
        ("dropout", float("nan"), "dropout is nan; give a number from 0 to below 1"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named_with_its_value_and_what_is_allowed(
    setting: str, value: Any, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        replace(SMALL, **{setting: value})
