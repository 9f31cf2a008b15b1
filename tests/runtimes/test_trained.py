"""Tests of model files of either kind: what is kept of a training, and which runtime opens which file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from rnncore.errors import ConfigError
from rnncore.forecast.fit import fit
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.forecast.modelfile import read_safetensors
from rnncore.forecast.series import Dataset, Series
from rnncore.forecast.trainer import TrainConfig, Trainer
from rnncore.forecast.windows import WindowConfig, make_windows
from rnncore.runtimes.trained import forecast_by_model_file, open_model_file, read_model_facts, save_trained


def test_a_trained_model_is_read_opened_and_forecasts_as_it_was_saved(
    tmp_path: Path, make_series: Callable[..., Series]
) -> None:
    dataset = Dataset("made", (make_series("A", hours=600),))
    windows = make_windows(dataset, WindowConfig(lookback=12))
    model = new_forecaster(ForecasterConfig(hidden_size=4, num_layers=1, dropout=0.0), 0)
    trainer = Trainer(model, windows, TrainConfig(batch_size=64, epochs=1), torch.device("cpu"))
    path = tmp_path / "model.safetensors"
    record = save_trained(path, trainer, fit(trainer), windows, "article", dataset)
    assert (record["preset"], record["data"], record["steps"]) == ("article", "made", trainer.total_steps)
    assert read_safetensors(path)[0]["training"]["digest"] == dataset.digest
    config, zones = read_model_facts(path)
    assert config == windows.config
    assert zones["A"].scaling.scale_mw == windows.zones[0].scaling.scale_mw
    start = windows.test_start
    with open_model_file(path, None, "cpu") as runtime, torch.inference_mode():
        outputs = model.eval()(torch.from_numpy(windows.inputs(start))).numpy()
        np.testing.assert_array_equal(runtime.predict(windows.inputs(start)), outputs)
    expected_mw = windows.to_mw(windows.zones[0], start, outputs)
    np.testing.assert_array_equal(forecast_by_model_file(path, "torch", "cpu", windows)["A"], expected_mw)


def test_a_runtime_of_onnx_files_refuses_another_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"onnxruntime runs \.onnx files\. Make one with 'rnncore export"),
        open_model_file(tmp_path / "model.safetensors", "onnxruntime", "cpu"),
    ):
        pass
