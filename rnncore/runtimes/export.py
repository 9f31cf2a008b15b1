"""From a forecaster to an ONNX file, with proof that the file is the same model."""

import contextlib
import io
import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript.optimizer
import torch

from rnncore.errors import ConfigError, ExportError, ModelFileError
from rnncore.files import whole_file
from rnncore.forecast.model import METADATA_KEY, Forecaster, ForecasterConfig
from rnncore.forecast.windows import Float32Array, WindowConfig

# Registered for GRU and LSTM by every ONNX Runtime in use, and the dynamo exporter's own.
OPSET = 18
FOLD_UP_TO_BYTES = 1 << 30
INPUT_NAME, OUTPUT_NAME = "inputs", "forecast"

# Largest difference of scaled outputs that is rounding. fp32: what two layers and 90 steps, and ONNX Runtime's rational
# tanh, leave lies ten times below it; a wrong gate order or GRU variant lies at 1e-2. tf32: factors of 10 bits.
PARITY_TOLERANCE = {"fp32": 1e-5, "tf32": 2e-3}


def export_onnx(model: Forecaster, path: Path, windows: WindowConfig | None = None) -> None:
    """Export a forecaster with a free batch size and its weights as initializers.

    Args:
        model: The forecaster, on the CPU.
        path: The file to write, whole or not at all.
        windows: How its windows are made, kept in the file's metadata; None for a model that is only timed.

    Raises:
        ExportError: If the exported graph is not this model.
    """
    graph = _exported(model, windows.lookback if windows else WindowConfig().lookback)
    facts: dict[str, Any] = {"forecaster": asdict(model.config), "windows": asdict(windows) if windows else None}
    graph.metadata_props.add(key=METADATA_KEY, value=json.dumps(facts))
    onnx.checker.check_model(graph, full_check=True)
    check_graph(graph, model.config)
    with whole_file(path) as temporary:
        temporary.write_bytes(graph.SerializeToString())


def _exported(model: Forecaster, lookback: int) -> onnx.ModelProto:
    # A batch of 2: the exporter takes 0 and 1 for fixed sizes.
    example = torch.zeros(2, lookback, model.config.input_size)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # the exporter's own deprecations; the graph is checked below
            program = torch.onnx.export(
                model.eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes={"inputs": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    if program is None:
        raise ExportError("torch.onnx.export gave no program. Check the versions of torch and onnxscript.")
    # The exporter folds small constants only; reordered gate weights are large, and must be constants too.
    onnxscript.optimizer.optimize_ir(
        program.model, input_size_limit=FOLD_UP_TO_BYTES, output_size_limit=FOLD_UP_TO_BYTES
    )
    proto: onnx.ModelProto = program.model_proto
    return proto


def check_graph(graph: onnx.ModelProto, config: ForecasterConfig) -> None:
    """Check that a graph holds the recurrent layers of *config* in the form that runtimes are fast on and right with.

    Args:
        graph: The exported model.
        config: What it was made from.

    Raises:
        ExportError: If a layer is missing, a GRU is of the other variant, weights are not initializers, or the batch
            size is fixed.
    """
    operator = config.cell.upper()
    layers = [node for node in graph.graph.node if node.op_type == operator]
    if len(layers) != config.num_layers:
        raise ExportError(
            f"the exported graph has {len(layers)} {operator} nodes, but the model has {config.num_layers} layers. "
            "Use onnxscript >= 0.7.1."
        )
    initializers = {tensor.name for tensor in graph.graph.initializer}
    for node in layers:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        if config.cell == "gru" and attributes.get("linear_before_reset", 0) != 1:
            raise ExportError(
                f"node {node.name} has linear_before_reset=0: the other GRU variant, with silently wrong results. "
                "Use onnxscript >= 0.7.1."
            )
        loose = [name for name in node.input[1:4] if name not in initializers]
        if loose:
            raise ExportError(
                f"node {node.name} computes its weights ({', '.join(loose)}) at run time instead of storing them, which "
                "keeps runtimes from packing them. Use onnxscript >= 0.7.1."
            )
    batch = graph.graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.dim_param:
        raise ExportError(f"the exported graph takes batches of {batch.dim_value} only. Use onnxscript >= 0.7.1.")


def onnx_window_config(path: Path) -> WindowConfig:
    """Read from an ONNX file how its windows are made.

    Raises:
        ModelFileError: If the file is missing or `rnncore export` did not write it.
    """
    try:
        graph = onnx.load(path)
        facts = {entry.key: entry.value for entry in graph.metadata_props}[METADATA_KEY]
        return WindowConfig(**json.loads(facts)["windows"])
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file. Make one with 'rnncore export MODEL --out {path}'.") from error
    except (KeyError, TypeError, ValueError, ConfigError, onnx.onnx_cpp2py_export.checker.ValidationError) as error:
        raise ModelFileError(f"{path}: not written by 'rnncore export' ({error}). Export it again.") from error


def max_abs_error(outputs: Float32Array, model: Forecaster, inputs: Float32Array) -> float:
    """Return how far outputs are at most from those of the same forecaster in float64 on the CPU.

    Args:
        outputs: What a runtime gave. Shape (B, 1).
        model: The forecaster; left as it is.
        inputs: What it was given. Shape (B, T, F).
    """
    exact = Forecaster(model.config)
    exact.load_state_dict(model.state_dict())
    exact = exact.double().eval()
    with torch.inference_mode():
        reference = exact(torch.from_numpy(inputs).double()).numpy()
    return float(np.abs(outputs - reference).max())
