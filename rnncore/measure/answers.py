"""Is the answer of a timed call right? A fast row with a wrong answer is invalid, and is never ranked."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from rnncore.forecast.device import cudnn_precision
from rnncore.forecast.model import Forecaster
from rnncore.forecast.scoring import smape_of_windows_pct
from rnncore.forecast.series import Float32Array, FloatArray
from rnncore.forecast.trainer import Trainer
from rnncore.forecast.windows import RowArray, Windows
from rnncore.runfile.case import AUTOCAST
from rnncore.runtimes.parity import Parity, parity

# Largest change of a sMAPE, in points of percent, that rounding at a precision explains: on the article's model the runtimes
# show up to 2e-6 in fp32. tf32 keeps 10 of fp32's 23 bits; its bound is not measured yet. What a coarser precision costs is
# a finding, for its user to judge, and no fault.
SMAPE_TOLERANCE_PCT = {"fp32": 1e-4, "tf32": 1e-2}

# Largest error of a parameter's gradient, against the largest value of that gradient. The article's models show up to 8e-6
# in fp32 (64 windows of PJM), gates in a wrong order 0.98 and more. With factors of products rounded on a CPU they show up
# to 2.4e-2 in tf32, 2.3e-2 in fp16, 4.2e-2 in bf16 (bench/studies/rounded_products.py, synthetic zones). Under
# autocast they show up to 3.1e-2 in fp16 and 4.5e-2 in bf16 (on a CPU and on the emulated device, random windows). No GPU
# was tried.
GRADIENT_TOLERANCE = {"fp32": 1e-4, "tf32": 1e-1, "fp16": 1e-1, "bf16": 1e-1}


def forecast_verdict(found: Parity, smape_pct: float, torch_smape_pct: float, precision: str) -> str:
    """Return `valid`, or what is wrong with forecasts.

    Args:
        found: How far they are from float64.
        smape_pct: Their sMAPE.
        torch_smape_pct: The sMAPE of fp32 torch on the same windows.
        precision: What the runtime computes in; the sMAPE of one that is no key of `SMAPE_TOLERANCE_PCT` may be any number.
    """
    drift_pct, allowed_pct = abs(smape_pct - torch_smape_pct), SMAPE_TOLERANCE_PCT.get(precision, math.inf)
    # Written so that NaN is wrong too.
    if found.verdict != "valid" or drift_pct <= allowed_pct:
        return found.verdict
    return f"sMAPE differs by {drift_pct:.1e} % from torch in fp32; rounding explains {allowed_pct:.0e}"


def forecast_facts(
    output: Float32Array,
    reference: FloatArray,
    torch_output: Float32Array,
    windows: Windows,
    start: RowArray,
    precision: str,
) -> dict[str, object]:
    """Return what `extra_info` says of the answers of a forward pass.

    Args:
        output: What the timed runtime gave. Shape (B, 1).
        reference: The same in float64. Shape (B, 1).
        torch_output: The same in torch, fp32, on the CPU. Shape (B, 1).
        windows: The windows' data set.
        start: First rows of the windows. Shape (B,).
        precision: What the runtime computes in.
    """
    found = parity(output, reference, precision)
    smape_pct, torch_smape_pct = (smape_of_windows_pct(windows, start, made) for made in (output, torch_output))
    return {
        "parity_max_abs": found.max_abs,
        "parity_tolerance": found.tolerance,
        "smape": smape_pct,
        "smape_torch_fp32": torch_smape_pct,
        "validity": forecast_verdict(found, smape_pct, torch_smape_pct, precision),
    }


def exact_gradients(
    model: Forecaster, inputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> list[Tensor]:
    """Return the gradient of each parameter in float64, on the CPU; one model and batch serve all who take the step.

    Args:
        model: Without dropout; it is copied.
        inputs: What the step trains on. Shape (B, T + K - 1, F).
        targets: What it learns. Shape (B, K L).
        loss: What it minimises.

    Raises:
        RuntimeError: If a parameter has none.
    """
    exact = Forecaster(model.config)
    exact.load_state_dict(model.state_dict())
    exact = exact.double().train()
    states = exact.rnn(inputs.cpu().double())[0][:, -(targets.shape[1] // model.config.horizon) :]
    loss(exact.read_out(states).flatten(1), targets.cpu().double()).backward()  # type: ignore[no-untyped-call]
    return _gradients(exact)


def gradient_parity(trainer: Trainer, start: Tensor, precision: str, exact: list[Tensor] | None = None) -> Parity:
    """Take one step of a training without dropout, and hold the gradient of each parameter against float64 on the CPU.

    Args:
        trainer: A training of its own, which the step changes; neither dropout nor clipping.
        start: First rows of the batch's windows, on the device. Shape (B,).
        precision: A key of `GRADIENT_TOLERANCE`, or a mixed one of its products.
        exact: What `exact_gradients` gives for this model and batch, where it is known.

    Returns:
        Error and tolerance of the parameter that is furthest off for its size.
    """
    if exact is None:
        inputs, targets = trainer.resident.inputs(start), trainer.resident.targets(start)
        exact = exact_gradients(trainer.model, inputs, targets, trainer.loss)
    with cudnn_precision(precision):
        return step_parity(trainer.model, exact, lambda: trainer.train_step(start, 0), precision)


def step_parity(model: Forecaster, exact: list[Tensor], step: Callable[[], object], precision: str) -> Parity:
    """Take a step, and hold the gradient of each parameter against float64.

    Args:
        model: The model that the step changes; without dropout.
        exact: What `exact_gradients` gives for it and the batch.
        step: Takes the step from a state of zeros and leaves the gradients in place.
        precision: A key of `GRADIENT_TOLERANCE`, or a mixed one of its products.

    Returns:
        Error and tolerance of the parameter that is furthest off for its size.

    Raises:
        RuntimeError: If a parameter has no gradient after the step.
    """
    step()
    # There first, as not every device has float64.
    found = [gradient.cpu().double() for gradient in _gradients(model)]
    error = torch.stack([(timed - right).abs().max() for timed, right in zip(found, exact, strict=True)])
    tolerance = GRADIENT_TOLERANCE[precision.removeprefix(AUTOCAST)] * torch.stack([right.abs().max() for right in exact])
    # A gradient that is all zeros has no tolerance, and an error of zero is none. torch takes NaN for the largest.
    worst = int(torch.where(error == 0, 0.0, error / tolerance).argmax())
    return Parity(float(error[worst]), float(tolerance[worst]), what="gradients")


def _gradients(model: Forecaster) -> list[Tensor]:
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if len(gradients) < len(list(model.parameters())):
        raise RuntimeError("a parameter has no gradient after a step; this is a fault of the training.")
    return gradients
