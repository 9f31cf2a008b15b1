"""Whether outputs are the model's: the comparison with float64, and what rounding explains at each precision."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rnncore.forecast.series import Float32Array, FloatArray
from rnncore.runtimes.catalog import declared_tolerance

# Largest difference of scaled outputs that is rounding. fp32: what two layers and 90 steps, and ONNX Runtime's rational
# tanh, leave lies ten times below it; a wrong gate order or GRU variant lies at 1e-2. tf32, fp16: seven times what trained
# models of the preset `fast` show, per largest output, with factors of products rounded on a CPU (4.0e-3 of 2.7, gates
# exchanged 2.0 and more: bench/studies/rounded_products.py); not seen on a GPU. bf16, int8: twice what those models show at
# worst (0.027, and 0.55 where outputs reach 2.4); there two gates in each other's place show 1.8.
PARITY_TOLERANCE = {"fp32": 1e-5, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2, "int8": 0.4}


@dataclass(frozen=True)
class Parity:
    """How far values are from the float64 reference, and how far they may be.

    Attributes:
        max_abs: Largest absolute difference, of outputs in units of the model's output.
        tolerance: What rounding explains at this precision; grows with values larger than 1.
        what: What was compared.
    """

    max_abs: float
    tolerance: float
    what: str = "outputs"

    @property
    def verdict(self) -> str:
        """`valid`, or what is wrong."""
        # Written so that NaN is wrong too.
        if self.max_abs <= self.tolerance:
            return "valid"
        return f"{self.what} differ from float64 by {self.max_abs:.1e}; rounding explains {self.tolerance:.1e}"


def float64_forecast(model: nn.Module, inputs: Float32Array) -> FloatArray:
    """Return what a forecaster gives in float64 on the CPU: the reference for every runtime.

    Args:
        model: The forecaster; left as it is.
        inputs: Windows. Shape (B, T, F).

    Returns:
        Outputs. Shape (B, L).
    """
    exact = copy.deepcopy(model).double().eval()
    with torch.inference_mode():
        outputs: FloatArray = exact(torch.from_numpy(inputs).double()).numpy()
    return outputs


def parity(outputs: Float32Array, reference: FloatArray, precision: str) -> Parity:
    """Compare outputs with the float64 reference.

    Args:
        outputs: What a runtime gave. Shape (B, L).
        reference: What `float64_forecast` gives for the same windows. Shape (B, L).
        precision: A key of `PARITY_TOLERANCE`, or one of another package's: its runtime declares the tolerance, else it is
            the largest of ours, which still shows another model.
    """
    largest = max(1.0, float(np.abs(reference).max()))
    tolerance = PARITY_TOLERANCE.get(precision) or declared_tolerance(precision) or max(PARITY_TOLERANCE.values())
    return Parity(float(np.abs(outputs - reference).max()), tolerance * largest)
