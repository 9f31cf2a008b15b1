"""Tests of answers: a right one is valid, and a wrong one says what is wrong with it, whatever its speed."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.trainer import TrainConfig, Trainer
from rnncore.forecast.windows import Windows
from rnncore.measure.answers import (
    GRADIENT_TOLERANCE,
    SMAPE_TOLERANCE_PCT,
    exact_gradients,
    forecast_facts,
    forecast_verdict,
    gradient_parity,
)
from rnncore.runtimes.parity import Parity, float64_forecast
from tests import reference

CPU = torch.device("cpu")
BATCH = 64
OUTPUTS_DIFFER = r"outputs differ from float64 by (\d\.\de[-+]\d+); rounding explains (\d\.\de[-+]\d+)"
GRADIENTS_DIFFER = r"\w+ differ from float64 by (\d\.\de[-+]\d+|nan); rounding explains (\d\.\de[-+]\d+)"
RIGHT = Parity(max_abs=0.0, tolerance=1e-5)
SMAPE_DIFFERS = r"sMAPE differs by (\d\.\de[-+]\d+) % from torch in fp32; rounding explains (\de[-+]\d+)"


@dataclass
class Forecasts:
    """What one model gives for windows of both zones, in float64 and in torch's fp32."""

    windows: Windows
    start: np.ndarray
    exact: np.ndarray
    torch: np.ndarray

    def facts(self, output: np.ndarray, precision: str = "fp32", exact: np.ndarray | None = None) -> dict[str, object]:
        expected = self.exact if exact is None else exact
        return forecast_facts(output.astype(np.float32), expected, self.torch, self.windows, self.start, precision)


@pytest.fixture(scope="module", params=CELLS)
def forecasts(request: pytest.FixtureRequest, windows: Windows) -> Forecasts:
    model = new_forecaster(ForecasterConfig(cell=request.param, hidden_size=8), seed=1).eval()
    # Outputs of the size of true loads, so that sMAPE is no extreme one.
    torch.nn.init.constant_(model.head.bias, 0.5)
    start = np.concatenate([windows.test_start[zone.test] for zone in windows.zones])[::2]
    inputs = windows.inputs(start)
    with torch.inference_mode():
        output = model(torch.from_numpy(inputs)).numpy()
    return Forecasts(windows, start, float64_forecast(model, inputs), output)


def _naive_smape(windows: Windows, start: np.ndarray, output: np.ndarray) -> float:
    total = 0.0
    for first, scaled in zip(start.tolist(), output[:, 0].tolist(), strict=True):
        row = first + windows.config.lookback
        (zone,) = (zone for zone in windows.zones if zone.rows.start <= row < zone.rows.stop)
        forecast_mw, actual_mw = windows.offset_mw[row] + zone.scale_mw * scaled, windows.load_mw[row]
        total += 200 * abs(forecast_mw - actual_mw) / (abs(forecast_mw) + abs(actual_mw))
    return total / len(start)


def _numbers(pattern: str, text: object) -> tuple[float, ...]:
    found = re.fullmatch(pattern, str(text))
    assert found is not None, text
    return tuple(float(number) for number in found.groups())


def test_the_true_output_is_valid_and_stands_beside_its_error_and_its_smape(forecasts: Forecasts) -> None:
    facts = forecasts.facts(forecasts.torch)
    assert facts["validity"] == "valid"
    assert facts["parity_max_abs"] == np.abs(forecasts.torch - forecasts.exact).max() < facts["parity_tolerance"] == 1e-5
    assert facts["smape"] == facts["smape_torch_fp32"]
    assert facts["smape"] == pytest.approx(_naive_smape(forecasts.windows, forecasts.start, forecasts.torch), rel=1e-6)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_the_smape_of_a_result_is_its_own_and_that_of_torch_stands_beside_it(forecasts: Forecasts) -> None:
    output = (1.3 * forecasts.torch).astype(np.float32)
    facts = forecasts.facts(output)
    assert facts["smape"] == pytest.approx(_naive_smape(forecasts.windows, forecasts.start, output), rel=1e-6)
    expected = _naive_smape(forecasts.windows, forecasts.start, forecasts.torch)
    assert facts["smape_torch_fp32"] == pytest.approx(expected, rel=1e-6)
    assert facts["smape"] != facts["smape_torch_fp32"]


@pytest.mark.parametrize(("precision", "scale"), [("fp32", 1.01), ("tf32", 1.05)])
def test_a_scaled_output_is_invalid_and_says_by_how_much_outputs_differ(
    precision: str, scale: float, forecasts: Forecasts
) -> None:
    output = (scale * forecasts.exact).astype(np.float32)
    facts = forecasts.facts(output, precision)
    differ, explained = _numbers(OUTPUTS_DIFFER, facts["validity"])
    assert differ == pytest.approx((scale - 1) * np.abs(forecasts.exact).max(), rel=0.06)
    assert explained == {"fp32": 1e-5, "tf32": 1e-2}[precision]
    assert facts["parity_max_abs"] > facts["parity_tolerance"]


def test_one_wrong_window_of_many_is_invalid(forecasts: Forecasts) -> None:
    output = forecasts.torch.copy()
    output[7] += 1e-4
    assert _numbers(OUTPUTS_DIFFER, forecasts.facts(output)["validity"])[0] == pytest.approx(1e-4, rel=0.1)


def test_an_output_that_passes_for_its_own_reference_is_invalid_by_its_smape(forecasts: Forecasts) -> None:
    output = 1.01 * forecasts.exact
    facts = forecasts.facts(output, exact=output)
    assert facts["parity_max_abs"] <= facts["parity_tolerance"]
    differs, explained = _numbers(SMAPE_DIFFERS, facts["validity"])
    assert differs == pytest.approx(abs(facts["smape"] - facts["smape_torch_fp32"]), rel=0.06)
    assert explained == 1e-4


def test_rounding_at_tf32_is_valid_there_and_not_in_fp32(forecasts: Forecasts) -> None:
    # Errors of both signs, which hardly move the mean.
    signs = np.where(np.arange(len(forecasts.exact)) % 2, 1, -1)[:, None]
    output = forecasts.exact + 1e-4 * signs
    assert forecasts.facts(output, "tf32")["validity"] == "valid"
    assert _numbers(OUTPUTS_DIFFER, forecasts.facts(output, "fp32")["validity"])[1] == 1e-5


@pytest.mark.parametrize("wrong", [slice(None), slice(3, 4)], ids=["all", "one"])
def test_an_output_that_is_no_number_is_invalid(wrong: slice, forecasts: Forecasts) -> None:
    output = forecasts.torch.copy()
    output[wrong] = np.nan
    assert "outputs differ from float64 by nan" in str(forecasts.facts(output)["validity"])


@pytest.mark.parametrize("precision", SMAPE_TOLERANCE_PCT)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_smape_may_drift_either_way_as_far_as_rounding_explains(sign: int, precision: str) -> None:
    allowed_pct = SMAPE_TOLERANCE_PCT[precision]
    assert forecast_verdict(RIGHT, 1.0 + 0.99 * sign * allowed_pct, 1.0, precision) == "valid"
    assert _numbers(SMAPE_DIFFERS, forecast_verdict(RIGHT, 1.0 + 3 * sign * allowed_pct, 1.0, precision)) == pytest.approx(
        (3 * allowed_pct, allowed_pct)
    )


def test_a_smape_that_is_no_number_is_invalid() -> None:
    assert (
        forecast_verdict(RIGHT, float("nan"), 1.0, "fp32")
        == "sMAPE differs by nan % from torch in fp32; rounding explains 1e-04"
    )
    assert forecast_verdict(RIGHT, 1.0, float("nan"), "fp32") != "valid"


def _trainer(windows: Windows, cell: Cell, num_layers: int = 2) -> Trainer:
    config = ForecasterConfig(cell=cell, hidden_size=8, num_layers=num_layers, dropout=0.0)
    return Trainer(new_forecaster(config, seed=1), windows, TrainConfig(batch_size=BATCH), CPU)


def _batch(trainer: Trainer) -> torch.Tensor:
    return trainer.epoch_order(0)[:BATCH]


def _spoil(trainer: Trainer, name: str, spoil: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Plant a step whose gradient of one parameter is wrong."""
    dict(trainer.model.named_parameters())[name].register_hook(spoil)


def _names(cell: Cell) -> list[str]:
    return [name for name, _ in Forecaster(ForecasterConfig(cell=cell)).named_parameters()]


EVERY_PARAMETER = [pytest.param(cell, name, id=f"{cell}-{name}") for cell in CELLS for name in _names(cell)]


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_of_a_true_step_are_valid(cell: Cell, num_layers: int, windows: Windows) -> None:
    trainer = _trainer(windows, cell, num_layers)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    found = gradient_parity(trainer, _batch(trainer), "fp32")
    assert found.verdict == "valid"
    assert 0 < found.max_abs < found.tolerance
    # It is the trainer's own step that was looked at, optimiser included.
    assert all(not torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("cell", CELLS)
def test_a_gradient_may_be_off_by_a_share_of_its_own_largest_value(cell: Cell, windows: Windows) -> None:
    name = "rnn.bias_hh_l1"
    trainer = _trainer(windows, cell)
    _spoil(trainer, name, lambda gradient: 1.01 * gradient)
    start = _batch(trainer)
    weights = {name: value.double().numpy().copy() for name, value in trainer.model.state_dict().items()}
    inputs, targets = (gather(start).double().numpy() for gather in (trainer.resident.inputs, trainer.resident.targets))
    largest = max(
        abs(reference.numeric_gradient(weights, trainer.model.config, inputs, targets, name, index))
        for index in np.ndindex(weights[name].shape)
    )
    found = gradient_parity(trainer, start, "fp32")
    assert found.tolerance == pytest.approx(GRADIENT_TOLERANCE["fp32"] * largest, rel=1e-4)


@pytest.mark.parametrize(("cell", "name"), EVERY_PARAMETER)
def test_a_gradient_that_is_one_percent_too_large_is_not_valid(cell: Cell, name: str, windows: Windows) -> None:
    trainer = _trainer(windows, cell)
    _spoil(trainer, name, lambda gradient: 1.01 * gradient)
    found = gradient_parity(trainer, _batch(trainer), "fp32")
    assert found.max_abs > found.tolerance
    error, explained = _numbers(GRADIENTS_DIFFER, found.verdict)
    assert (error, explained) == pytest.approx((found.max_abs, found.tolerance), rel=0.06)
    gradient = dict(trainer.model.named_parameters())[name].grad
    assert found.max_abs == pytest.approx(0.01 / 1.01 * float(gradient.abs().max()), rel=0.02)


@pytest.mark.parametrize(("cell", "name"), EVERY_PARAMETER)
def test_a_gradient_that_is_no_number_is_not_valid(cell: Cell, name: str, windows: Windows) -> None:
    trainer = _trainer(windows, cell)
    _spoil(trainer, name, lambda gradient: torch.full_like(gradient, torch.nan))
    assert gradient_parity(trainer, _batch(trainer), "fp32").verdict != "valid"


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_that_are_known_are_those_of_the_model_and_batch(cell: Cell, windows: Windows) -> None:
    trainer = _trainer(windows, cell)
    start = _batch(trainer)
    inputs, targets = trainer.resident.inputs(start), trainer.resident.targets(start)
    exact = exact_gradients(trainer.model, inputs, targets, trainer.loss)
    other = exact_gradients(_trainer(windows, cell).model, inputs.flip(0), targets, trainer.loss)
    assert gradient_parity(trainer, start, "fp32", exact).verdict == "valid"
    assert gradient_parity(_trainer(windows, cell), start, "fp32", other).verdict != "valid"


@pytest.mark.parametrize("name", [name for name in _names("gru") if name.startswith("rnn.")])
@pytest.mark.parametrize("cell", CELLS)
def test_gates_in_the_wrong_order_are_not_valid_even_at_tf32(cell: Cell, name: str, windows: Windows) -> None:
    trainer = _trainer(windows, cell)
    _spoil(trainer, name, lambda gradient: gradient.roll(8, dims=0))
    assert gradient_parity(trainer, _batch(trainer), "tf32").verdict != "valid"


def test_a_step_without_a_gradient_is_a_fault_and_no_verdict(windows: Windows) -> None:
    trainer = _trainer(windows, "gru")
    trainer.model.head.bias.requires_grad_(False)
    with pytest.raises(RuntimeError, match="a parameter has no gradient after a step"):
        gradient_parity(trainer, _batch(trainer), "fp32")
