"""Tests of the forecaster against the naive float64 reference, and of its files."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rnncore.errors import ConfigError, ModelFileError
from rnncore.forecast.model import (
    METADATA_KEY,
    Forecaster,
    ForecasterConfig,
    load_forecaster,
    new_forecaster,
    save_forecaster,
)
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


@pytest.mark.parametrize("cell", CELLS)
def test_a_saved_forecaster_is_read_back_bit_for_bit(cell: str, tmp_path: Path) -> None:
    config = replace(SMALL, cell=cell, relu_head=False)
    model = new_forecaster(config, seed=6)
    path = tmp_path / "folder" / "model.safetensors"
    save_forecaster(path, model, WINDOWS, {"steps": 3})
    loaded, windows = load_forecaster(path)
    assert loaded.config == config
    assert windows == WINDOWS
    assert not loaded.training
    assert list(loaded.state_dict()) == list(model.state_dict())
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    inputs = torch.from_numpy(_inputs(config)).float()
    with torch.no_grad():
        assert torch.equal(loaded(inputs), model.eval()(inputs))


def test_saving_leaves_only_the_model_file(tmp_path: Path) -> None:
    save_forecaster(tmp_path / "model.safetensors", Forecaster(SMALL), WINDOWS, {})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_missing_model_file_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.safetensors: no such file\. Make one with 'rnncore train --out"):
        load_forecaster(tmp_path / "gone.safetensors")


def test_a_folder_is_not_a_model_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"a folder, not a file\. Give a \.safetensors file"):
        load_forecaster(tmp_path)


def test_the_command_that_makes_a_model_is_named_where_it_would_take_the_file_name_alone(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx: no such file\. Give a \.safetensors file of 'rnncore train'\."):
        load_forecaster(tmp_path / "gone.onnx")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_with_their_name(value: float, tmp_path: Path) -> None:
    path, model = tmp_path / "model.safetensors", Forecaster(SMALL)
    with torch.no_grad():
        model.rnn.weight_hh_l0[0, 0] = value
    save_forecaster(path, model, WINDOWS, {})
    with pytest.raises(ModelFileError, match=r"1 of \d+ weights in rnn\.weight_hh_l0 are NaN or infinite.*Train the model"):
        load_forecaster(path)


def _write_safetensors(path: Path, facts: dict[str, Any] | None, config: ForecasterConfig = SMALL) -> Path:
    metadata = None if facts is None else {METADATA_KEY: json.dumps(facts)}
    save_file(dict(Forecaster(config).state_dict()), path, metadata=metadata)
    return path


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x80\x00\x00\x00\x00\x00\x00\x00{"])
def test_a_file_that_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        ModelFileError, match=r"model\.safetensors: not a whole \.safetensors file .*Give a \.safetensors file"
    ):
        load_forecaster(path)


def test_a_truncated_model_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_forecaster(path, Forecaster(SMALL), WINDOWS, {})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelFileError, match=r"not a whole \.safetensors file .* was cut or is damaged"):
        load_forecaster(path)


def test_a_safetensors_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not a file that rnncore wrote"):
        load_forecaster(_write_safetensors(tmp_path / "model.safetensors", facts=None))


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_metadata_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(dict(Forecaster(SMALL).state_dict()), path, metadata={METADATA_KEY: text})
    with pytest.raises(ModelFileError, match="not a file that rnncore wrote"):
        load_forecaster(path)


FACTS = {"forecaster": asdict(SMALL), "windows": asdict(WINDOWS), "training": {}}


@pytest.mark.parametrize(
    ("facts", "config", "text"),
    [
        ({"windows": asdict(WINDOWS)}, SMALL, "forecaster"),
        ({"forecaster": asdict(SMALL)}, SMALL, "windows"),
        (FACTS | {"forecaster": asdict(SMALL) | {"attention": True}}, SMALL, "attention"),
        (FACTS | {"forecaster": asdict(SMALL) | {"cell": "rnn"}}, SMALL, "cell is 'rnn'"),
        (FACTS | {"windows": asdict(WINDOWS) | {"lookback": 0}}, SMALL, "lookback is 0"),
        (FACTS, replace(SMALL, hidden_size=9), "size mismatch"),
        (FACTS, replace(SMALL, num_layers=1), "Missing key"),
        (FACTS, replace(SMALL, cell="lstm"), "size mismatch"),
    ],
)
def test_a_file_whose_settings_or_weights_do_not_fit_says_so_and_what_to_do(
    facts: dict[str, Any], config: ForecasterConfig, text: str, tmp_path: Path
) -> None:
    path = _write_safetensors(tmp_path / "model.safetensors", facts, config)
    with pytest.raises(ModelFileError, match=r"model\.safetensors: not a forecaster of this version") as caught:
        load_forecaster(path)
    assert text in str(caught.value)
    assert str(caught.value).endswith("Train it again.")
