"""Tests of training in a mixed precision on a CPU: near float64, rounded indeed, in fp32 weights, and refused elsewhere.

What a GPU does lies in tests/emulated_cuda/on_device.py.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast.autocast import Autocast
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import Device
from rnncore.forecast.fit import fit
from rnncore.forecast.model import Cell, ForecasterConfig, new_forecaster
from rnncore.forecast.trainer import TrainConfig, Trainer
from rnncore.forecast.windows import Windows
from tests.reference import numeric_gradient

CPU = torch.device("cpu")
CONFIG = TrainConfig(batch_size=16, precision="amp_bf16")


@pytest.fixture
def with_bf16() -> None:
    """Skip where torch's layers have no bf16, with the reason."""
    Device.of(CPU).require("bf16")


def _trainer(cell: Cell, windows: Windows, config: TrainConfig = CONFIG) -> Trainer:
    forecaster = ForecasterConfig(cell=cell, hidden_size=6, input_size=windows.num_features, dropout=0.0)
    return Trainer(new_forecaster(forecaster, 3), windows, config, CPU)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_in_bf16_are_near_the_derivatives_of_a_naive_float64_loop(
    cell: Cell, windows: Windows, with_bf16: None
) -> None:
    trainer = _trainer(cell, windows, replace(CONFIG, batch_size=4))
    weights = {name: weight.double().numpy().copy() for name, weight in trainer.model.state_dict().items()}
    start = trainer.epoch_order(0)[:4]
    inputs, targets = trainer.resident.inputs(start).numpy(), trainer.resident.targets(start).numpy()
    trainer.train_step(start, 0)
    errors = []
    for name, weight in trainer.model.named_parameters():
        assert weight.dtype == weight.grad.dtype == torch.float32
        found = weight.grad.double().numpy()
        index = np.unravel_index(np.abs(found).argmax(), found.shape)
        exact = numeric_gradient(weights, trainer.model.config, inputs, targets, name, index)
        assert found[index] == pytest.approx(exact, rel=5e-2), name
        errors.append(abs(found[index] / exact - 1))
    # Rounded they are: in fp32 they are a hundred times closer.
    assert max(errors) > 1e-3


@pytest.mark.parametrize("cell", CELLS)
def test_torch_s_layers_learn_in_bf16_what_they_learn_in_fp32(cell: Cell, windows: Windows, with_bf16: None) -> None:
    config = replace(CONFIG, epochs=3, learning_rate=5e-3)
    losses = {}
    for precision in ("fp32", "amp_bf16"):
        trainer = _trainer(cell, windows, replace(config, precision=precision, implementation="aten"))
        losses[precision] = [epoch.loss for epoch in fit(trainer).epochs]
        assert trainer.trained_by == "torch"
        assert not trainer.scaler.is_enabled()
    assert losses["amp_bf16"] == pytest.approx(losses["fp32"], rel=0.05)
    assert losses["amp_bf16"] != losses["fp32"]


def test_ours_are_not_taken_for_a_precision_that_they_do_not_have(windows: Windows, with_bf16: None) -> None:
    assert _trainer("gru", windows).implementation == "aten"
    for implementation in ("fused", "fused_bf16"):
        with pytest.raises(
            ConfigError, match=f"precision is 'amp_bf16', which the implementation '{implementation}' does not"
        ):
            replace(CONFIG, implementation=implementation)


def test_fp16_is_for_a_gpu_alone(windows: Windows) -> None:
    with pytest.raises(Unavailable, match=r"no training in amp_fp16 on a CPU: .* Train in amp_bf16, or on a GPU"):
        _trainer("gru", windows, replace(CONFIG, precision="amp_fp16"))


def test_a_cpu_without_bf16_says_so(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    with pytest.raises(Unavailable, match="this CPU has no instructions for bf16"):
        _trainer("gru", windows)


def test_an_unknown_precision_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"precision is 'bf16'; allowed: fp32, amp_bf16, amp_fp16\."):
        TrainConfig(precision="bf16")  # type: ignore[arg-type]


def test_in_fp32_nothing_is_rounded_or_scaled() -> None:
    layers = new_forecaster(ForecasterConfig(hidden_size=6, dropout=0.0), 0).rnn
    inputs, autocast = torch.rand(3, 4, 5), Autocast(layers, "fp32", CPU)
    with autocast.rounding():
        assert not torch.is_autocast_enabled("cpu")
        torch.testing.assert_close(autocast.states(inputs), layers(inputs)[0], rtol=0, atol=0)
    loss = inputs.sum()
    assert autocast.scaler.scale(loss) is loss
