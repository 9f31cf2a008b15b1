"""Tests of model files: what was written is read back, and what is no model is named with what to do."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rnncore.errors import ModelFileError
from rnncore.forecast.cells import CELLS
from rnncore.forecast.model import Forecaster, ForecasterConfig, load_forecaster, new_forecaster, save_forecaster
from rnncore.forecast.modelfile import METADATA_KEY
from rnncore.forecast.windows import WindowConfig

SMALL = ForecasterConfig(hidden_size=8, num_layers=2, input_size=3, dropout=0.2)
WINDOWS = WindowConfig(lookback=7, features="linear", scale_on="train", test_fraction=0.2)


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
    inputs = torch.from_numpy(np.random.default_rng(4).normal(size=(5, 6, config.input_size))).float()
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
