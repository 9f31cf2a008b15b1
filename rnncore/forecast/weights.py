"""What must hold of the weights of any model file, whatever library reads it; a server needs no torch for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnncore.errors import ModelFileError

if TYPE_CHECKING:
    import onnx


def require_finite_weights(path: Path, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Refuse a file with a weight that is NaN or infinite: some runtimes make plausible numbers of one.

    Args:
        path: The file.
        weights: Its weights by name.

    Raises:
        ModelFileError: If one is not finite.
    """
    for name, weight in weights.items():
        bad = int((~np.isfinite(weight)).sum())
        if bad:
            raise ModelFileError(
                f"{path}: {bad} of {weight.size} weights in {name} are NaN or infinite, so that no forecast of it means "
                "anything. Train the model again, with a lower learning rate if it was the training that diverged."
            )


def onnx_weights(graph: "onnx.ModelProto") -> dict[str, npt.NDArray[Any]]:
    """Return the weights of an ONNX file by name."""
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
