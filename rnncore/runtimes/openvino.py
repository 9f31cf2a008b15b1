"""OpenVINO on the CPU; an extra, installed with `pip install 'rnncore[openvino]'`."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rnncore.errors import ModelFileError, Unavailable
from rnncore.files import write_text
from rnncore.forecast.series import Float32Array
from rnncore.runtimes.base import (
    COPIES,
    FUSED_LAYER,
    OTHER,
    POINTWISE,
    PRODUCT,
    Evidence,
    OpTime,
    Runtime,
    Source,
    by_name,
    calls_to_profile,
    mean_times,
    require_onnx_file,
    shapes_text,
)

_HINTS = {"fp32": "f32", "bf16": "bf16"}

# What OpenVINO calls the recurrent layers of a graph.
# What operations are for; on a CPU they are called by their plugin's names, and some by those of the graph.
KINDS = by_name(
    {
        PRODUCT: "FullyConnected MatMul",
        FUSED_LAYER: "GRUSequence LSTMSequence RNNSequence",
        POINTWISE: "Abs Add Clip Div Eltwise Exp Log Multiply PowerStatic Relu Sigmoid Sqrt Subtract Tanh",
        COPIES: "Broadcast Concat Constant Convert Expand Flatten Gather Reorder Reshape ShapeOf Split Squeeze StridedSlice "
        "Transpose Unsqueeze VariadicSplit",
    }
)

_CELLS = {"GRUSequence": "GRU", "LSTMSequence": "LSTM"}


class OpenVinoRuntime(Runtime):
    """A compiled OpenVINO model, tuned for the time of one request.

    Args:
        source: An ONNX file.
        device: `cpu`.
        precision: `fp32`, or `bf16` where the CPU has instructions for it.
        threads: CPU threads.

    Raises:
        Unavailable: If OpenVINO is not installed, or bf16 is asked for and the CPU has none.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise Unavailable("OpenVINO is not installed: pip install 'rnncore[openvino]'.") from error
        self._path = require_onnx_file(source, "OpenVINO")
        self._device = device.upper()
        self._settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # Else the plugin computes in bf16 where the CPU has it.
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        self._openvino = openvino
        if precision == "bf16" and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise Unavailable("this CPU has no instructions for bf16 (AVX-512 BF16 or AMX).")
        self._compiled = self._compile(self._settings)
        self._request = self._compiled.create_infer_request()

    def bind(self, inputs: Float32Array) -> None:
        """Hand the windows over without a copy."""
        self._inputs = np.ascontiguousarray(inputs, dtype=np.float32)
        self._request.set_input_tensor(self._openvino.Tensor(self._inputs, shared_memory=True))

    def run(self) -> None:
        """Forecast; OpenVINO returns when the output is ready."""
        self._request.infer()

    def output(self) -> Float32Array:
        """Return the last forecasts."""
        return np.array(self._request.get_output_tensor(0).data, dtype=np.float32)

    def evidence(self, trace: Path | None = None) -> Evidence:
        """Return what ran by the counters and the executed graph of an extra compiled model."""
        compiled = self._compile({**self._settings, "PERF_COUNT": True})
        request = compiled.create_infer_request()
        request.set_input_tensor(self._openvino.Tensor(self._inputs, shared_memory=True))
        _infer_s(request)  # the first run also prepares kernels for the shapes
        calls = calls_to_profile(_infer_s(request))
        wall_s, ops = 0.0, []
        for _ in range(calls):
            wall_s += _infer_s(request) / calls
            counters = [counter for counter in request.profiling_info if counter.status == counter.Status.EXECUTED]
            # Known once a batch has run.
            shapes = _input_shapes(compiled.get_runtime_model())
            ops += [_op_time(counter, shapes[counter.node_name]) for counter in counters]
        if trace is not None:
            write_text(trace, json.dumps({"traceEvents": _trace_events(counters)}))
        recurrent = [counter for counter in counters if counter.node_type in _CELLS]
        kernels = sorted({f"{_CELLS[counter.node_type]}, {counter.exec_type}" for counter in recurrent})
        placement = {counter.node_name: counter.exec_type for counter in recurrent}
        return Evidence(f"OpenVINO {' and '.join(kernels)}", placement, mean_times(ops, calls), wall_s)

    def close(self) -> None:
        """Free the compiled model and its threads."""
        del self._request, self._compiled

    def _compile(self, settings: dict[str, Any]) -> Any:
        core = self._openvino.Core()
        try:
            model = core.read_model(self._path)
        except RuntimeError as error:
            raise ModelFileError(f"{self._path}: OpenVINO cannot read it ({error}). Export it again.") from error
        return core.compile_model(model, self._device, settings)


def _infer_s(request: Any) -> float:
    began_s = time.perf_counter()
    request.infer()
    return time.perf_counter() - began_s


def _op_time(counter: Any, shapes: str) -> OpTime:
    kind = KINDS.get(counter.node_type, OTHER)
    return OpTime(counter.node_type, counter.exec_type, 1, counter.real_time.total_seconds(), shapes, kind)


def _input_shapes(graph: Any) -> dict[str, str]:
    """Return the shapes of what went into each node of an executed graph, by its name."""
    return {node.get_friendly_name(): shapes_text(_static_shapes(node)) for node in graph.get_ops()}


def _static_shapes(node: Any) -> list[list[int]]:
    shapes = [node.get_input_partial_shape(index) for index in range(node.get_input_size())]
    return [list(shape.to_shape()) for shape in shapes if shape.is_static]


def _trace_events(counters: Iterable[Any]) -> list[dict[str, Any]]:
    """Lay the nodes of one run one after another: OpenVINO says how long each took, not when."""
    events, began_us = [], 0.0
    for counter in counters:
        took_us = counter.real_time.total_seconds() * 1e6
        events.append(
            {
                "name": counter.node_name,
                "cat": counter.node_type,
                "ph": "X",
                "ts": began_us,
                "dur": took_us,
                "pid": 0,
                "tid": 0,
                "args": {"exec_type": counter.exec_type},
            }
        )
        began_us += took_us
    return events
