"""Is the answer of a timed call right? A fast row with a wrong answer is invalid, and is never ranked."""

import torch
from torch import Tensor

from rnncore.forecast.device import cudnn_precision
from rnncore.forecast.model import Forecaster
from rnncore.forecast.scoring import smape_of_windows_pct
from rnncore.forecast.series import FloatArray
from rnncore.forecast.training import Trainer
from rnncore.forecast.windows import Float32Array, RowArray, Windows
from rnncore.runtimes.export import Parity, parity

# Largest change of a sMAPE, in points of percent, that rounding at a precision explains: hundred times what the runtimes
# show in fp32, and far below the differences between models; tf32 keeps 10 of fp32's 23 bits.
SMAPE_TOLERANCE_PCT = {"fp32": 1e-4, "tf32": 1e-2}

# Largest error of a gradient, against the largest gradient of the model: sums over 64 windows and 90 hours leave below 1e-5
# in fp32, a gradient of a wrong layer or gate order above 1e-1.
GRADIENT_TOLERANCE = {"fp32": 1e-4, "tf32": 2e-2}


def smape_verdict(smape_pct: float, torch_smape_pct: float, precision: str) -> str:
    """Return `valid`, or how far a sMAPE is from that of fp32 torch on the same windows."""
    drift_pct = abs(smape_pct - torch_smape_pct)
    allowed_pct = SMAPE_TOLERANCE_PCT[precision]
    # Written so that NaN is wrong too.
    if drift_pct <= allowed_pct:
        return "valid"
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
    verdicts = [found.verdict, smape_verdict(smape_pct, torch_smape_pct, precision)]
    return {
        "parity_max_abs": found.max_abs,
        "parity_tolerance": found.tolerance,
        "smape": smape_pct,
        "smape_torch_fp32": torch_smape_pct,
        "validity": next((verdict for verdict in verdicts if verdict != "valid"), "valid"),
    }


def gradient_parity(trainer: Trainer, start: Tensor, precision: str) -> Parity:
    """Take one step of a training without dropout, and hold its gradients against float64 on the CPU.

    Args:
        trainer: A training of its own, which the step changes; neither dropout nor clipping.
        start: First rows of the batch's windows, on the device. Shape (B,).
        precision: A key of `GRADIENT_TOLERANCE`.
    """
    exact = Forecaster(trainer.model.config)
    exact.load_state_dict(trainer.model.state_dict())
    exact = exact.double().train()
    inputs, targets = trainer.resident.inputs(start).double().cpu(), trainer.resident.targets(start).double().cpu()
    trainer.loss(exact(inputs), targets).backward()  # type: ignore[no-untyped-call]
    with cudnn_precision(precision):
        trainer.train_step(start, 0)
    errors, sizes = [], []
    for timed, reference in zip(trainer.model.parameters(), exact.parameters(), strict=True):
        if timed.grad is None or reference.grad is None:
            raise RuntimeError("a parameter has no gradient after a step; this is a fault in Trainer.")
        errors.append((timed.grad.double().cpu() - reference.grad).abs().max())
        sizes.append(reference.grad.abs().max())
    # Unlike Python's, torch's maximum of a NaN and a number is NaN.
    max_abs, largest = (float(torch.stack(values).max()) for values in (errors, sizes))
    return Parity(max_abs, GRADIENT_TOLERANCE[precision] * largest, what="gradients")
