"""From a forecaster to an ONNX file, with proof that the file is the same model."""

import contextlib
import io
import json
import logging
import re
import warnings
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from rnncore.errors import ExportError, ModelFileError, Unavailable
from rnncore.files import whole_file
from rnncore.forecast.cells import CELLS
from rnncore.forecast.model import Forecaster, ForecasterConfig
from rnncore.forecast.modelfile import METADATA_KEY, onnx_weights, require_finite_weights
from rnncore.forecast.windows import WindowConfig
from rnncore.runtimes.catalog import open_runtime
from rnncore.runtimes.parity import Parity, float64_forecast, parity

if TYPE_CHECKING:
    import onnx

# Registered for GRU and LSTM by every ONNX Runtime in use, and the dynamo exporter's own.
OPSET = 18
FOLD_UP_TO_BYTES = 1 << 30
TRACED_HOURS = 4
CHECKED_BATCH = 37

# Versions before export GRU with its reset gate in the wrong place.
RIGHT_ONNXSCRIPT = (0, 7, 1)

INPUT_NAME, OUTPUT_NAME = "inputs", "forecast"


def export_onnx(model: Forecaster, path: Path, windows: WindowConfig, zones: dict[str, Any] | None = None) -> Parity:
    """Export a forecaster with a free batch size and its weights as initializers.

    Args:
        model: The forecaster, on the CPU.
        path: The file to write, whole or not at all.
        windows: How its windows are made; fixes their length and is kept in the file's metadata.
        zones: What `zone_facts` returns for the zones that it was trained on; kept there too.

    Returns:
        How far the file's outputs in ONNX Runtime are from the float64 reference.

    Raises:
        ExportError: If the model's weights are not finite, or the exported graph is not this model; nothing is written then.
        RnncoreError: If a runtime is open, as the check opens one.
    """
    import onnx

    # Few hours: the exporter traces hour by hour, 30 s for 90 of them, and the graph it makes, one operator per layer, is
    # the same for any number; the true one is written into it.
    graph = _exported(model, torch.zeros(2, TRACED_HOURS, model.config.input_size))
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value = windows.lookback
    del graph.graph.value_info[:]  # shapes inside the graph, which are still those of the traced hours
    facts = {"forecaster": asdict(model.config), "windows": asdict(windows), "zones": zones or {}}
    graph.metadata_props.add(key=METADATA_KEY, value=json.dumps(facts))
    onnx.checker.check_model(graph, full_check=True)
    check_graph(graph, model.config)
    return _write_checked(graph, path, model, windows.lookback, model.config.input_size)


def export_module(model: nn.Module, path: Path, lookback: int, features: int) -> Parity:
    """Export any forecaster with a free batch size.

    Args:
        model: From (B, T, F) to (B, L), on the CPU.
        path: The file to write, whole or not at all.
        lookback: Hours in its windows, T.
        features: Features per hour, F.

    Returns:
        How far the file's outputs in ONNX Runtime are from the module's in float64.

    Raises:
        ExportError: If its weights are not finite, torch cannot export it, or the file is not the same model; nothing is
            written then.
        RnncoreError: If a runtime is open, as the check opens one.
    """
    return _write_checked(_exported(model, torch.zeros(2, lookback, features)), path, model, lookback, features)


def _exported(model: nn.Module, example: torch.Tensor) -> "onnx.ModelProto":
    """Export with an example of two windows: the exporter takes batches of 0 and 1 for fixed sizes.

    Raises:
        ExportError: If a weight is NaN or infinite, or torch cannot export the model.
    """
    for name, weight in model.named_parameters():
        bad = int((~torch.isfinite(weight)).sum())
        if bad:
            raise ExportError(f"{bad} of {weight.numel()} weights in {name} are NaN or infinite. Train the model again.")
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
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"torch.onnx.export cannot export it: {str(error).strip().splitlines()[0]}") from error
    finally:
        quiet.setLevel(level)
    if program is None:
        raise ExportError(f"torch.onnx.export gave no program. {_other_exporter()}")
    import onnxscript.optimizer

    # The exporter folds small constants only; reordered gate weights are large, and must be constants too.
    onnxscript.optimizer.optimize_ir(program.model, input_size_limit=FOLD_UP_TO_BYTES, output_size_limit=FOLD_UP_TO_BYTES)
    proto: onnx.ModelProto = program.model_proto
    return proto


def check_graph(graph: "onnx.ModelProto", config: ForecasterConfig) -> None:
    """Check that a graph holds the recurrent layers of *config* in the form that runtimes are fast on and right with.

    Args:
        graph: The exported model.
        config: What it was made from.

    Raises:
        Unavailable: If the exporter has no node for the cell.
        ExportError: If a layer is missing, a GRU is of the other variant, weights are not initializers, or the batch
            size is fixed.
    """
    operator = CELLS[config.cell].operator
    if not CELLS[config.cell].exported:
        raise Unavailable(f"torch's ONNX exporter writes no node for {operator}. Use a runtime that opens the forecaster.")
    layers = [node for node in graph.graph.node if node.op_type == operator]
    if len(layers) != config.num_layers:
        raise ExportError(
            f"the exported graph has {len(layers)} {operator} nodes, but the model has {config.num_layers} layers. "
            f"{_other_exporter()}"
        )
    initializers = {tensor.name for tensor in graph.graph.initializer}
    for node in layers:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        for name, (needed, otherwise) in CELLS[config.cell].required.items():
            if attributes.get(name, 0) != needed:
                raise ExportError(f"node {node.name} has {name}={attributes.get(name, 0)}: {otherwise}. {_other_exporter()}")
        loose = [name for name in node.input[1:4] if name not in initializers]
        if loose:
            raise ExportError(
                f"node {node.name} computes its weights ({', '.join(loose)}) at run time instead of storing them, which "
                f"keeps runtimes from packing them. {_other_exporter()}"
            )
    batch = graph.graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.dim_param:
        raise ExportError(f"the exported graph takes batches of {batch.dim_value} only. {_other_exporter()}")


def _other_exporter() -> str:
    """Return what to do about an exporter that made another model, as older versions of onnxscript do."""
    installed = version("onnxscript")
    if tuple(int(part) for part in re.findall(r"\d+", installed)[:3]) < RIGHT_ONNXSCRIPT:
        return f"Use onnxscript >= {'.'.join(map(str, RIGHT_ONNXSCRIPT))}; here is {installed}."
    return f"Use other versions of torch and onnxscript than {version('torch')} and {installed}."


def onnx_facts(path: Path) -> tuple[WindowConfig, dict[str, Any]]:
    """Read from an ONNX file how its windows are made, and what it holds of its zones.

    Raises:
        ModelFileError: If the file is missing, `rnncore export` did not write it, or a weight in it is not finite.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path)
        facts = {entry.key: entry.value for entry in graph.metadata_props}.get(METADATA_KEY)
        if facts is None:
            raise ValueError(f"it has no metadata of the name {METADATA_KEY}")
        written = json.loads(facts)
        config, zones = WindowConfig(**written["windows"]), dict(written.get("zones", {}))
        expected = {"input": [config.lookback, written["forecaster"]["input_size"]], "output": [config.horizon]}
        for side, sizes in expected.items():
            values = getattr(graph.graph, side)
            found = [size.dim_value for value in values[:1] for size in value.type.tensor_type.shape.dim[1:]]
            if found != sizes:
                has, named = (", ".join(map(str, shape)) for shape in (found, sizes))
                raise ValueError(f"its {side} has the shape (batch, {has}), and its metadata tells of (batch, {named})")
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: no such file. Make one with 'rnncore export MODEL --out {path}'.") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror}). Give an ONNX file of 'rnncore export'.") from error
    except DecodeError as error:
        raise ModelFileError(
            f"{path}: not a whole ONNX file ({error}): it is of another kind, was cut or is damaged. Give an ONNX file of "
            "'rnncore export'."
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ModelFileError(f"{path}: not written by 'rnncore export' of this version ({why}). Export it again.") from error
    require_finite_weights(path, onnx_weights(graph))
    return config, zones


def _write_checked(graph: "onnx.ModelProto", path: Path, model: nn.Module, lookback: int, features: int) -> Parity:
    """Write a graph, if it forecasts in ONNX Runtime as the model does; return how far it is off."""
    inputs = np.random.default_rng(0).random((CHECKED_BATCH, lookback, features), dtype=np.float32)
    with whole_file(path) as temporary:
        temporary.write_bytes(graph.SerializeToString())
        # A small check: one thread waits for no other.
        with open_runtime("onnxruntime", temporary, "cpu", "fp32", 1) as runtime:
            found = parity(runtime.predict(inputs), float64_forecast(model, inputs), "fp32")
        if found.verdict != "valid":
            raise ExportError(f"the exported file is not the model: {found.verdict}. {_other_exporter()}")
    return found
