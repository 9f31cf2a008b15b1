"""Model files: tensors with facts in one `.safetensors` file, and what must hold of the weights of any.

torch is imported where it is used: a server of ONNX files checks weights without it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnncore.errors import ModelFileError
from rnncore.files import whole_file

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

METADATA_KEY = "rnncore"

# What the facts of a checkpoint have, and those of a model do not.
CHECKPOINT_KEY = "identity"


def write_safetensors(path: Path, tensors: Mapping[str, "Tensor"], facts: Mapping[str, Any]) -> None:
    """Write tensors, on any device, and facts to one file, whole or not at all.

    Args:
        path: The file.
        tensors: By name.
        facts: JSON values.

    Raises:
        OutputError: If the file cannot be written.
    """
    from safetensors.torch import save_file

    on_cpu = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with whole_file(path) as temporary:
        save_file(on_cpu, temporary, metadata={METADATA_KEY: json.dumps(facts)})


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, "Tensor"]]:
    """Read the facts and tensors of a file that rnncore wrote.

    Raises:
        ModelFileError: If the file is missing or rnncore did not write it.
    """
    from safetensors import SafetensorError, safe_open

    remedy = "Give a .safetensors file of 'rnncore train'."
    if not path.is_file():
        if path.is_dir():
            raise ModelFileError(f"{path}: a folder, not a file. {remedy}")
        if path.suffix == ".safetensors":
            remedy = f"Make one with 'rnncore train --out {path}'."
        raise ModelFileError(f"{path}: no such file. {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        facts = json.loads(metadata[METADATA_KEY])
        if not isinstance(facts, dict):
            raise TypeError(f"{METADATA_KEY} is {facts!r}")
    except SafetensorError as error:
        raise ModelFileError(
            f"{path}: not a whole .safetensors file ({error}): it is of another kind, was cut or is damaged. {remedy}"
        ) from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path}: not a file that rnncore wrote. {remedy}") from error
    return facts, tensors


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
