"""ONNX Runtime on CPU and CUDA, with input and output bound so that no copy is timed; as a CUDA graph; by TensorRT."""

import contextlib
import importlib
import json
import tempfile
import time
from collections import Counter
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from rnncore.errors import ModelFileError, Unavailable
from rnncore.forecast.device import CPU, CUDA, Device, waits_passively
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
    copy_trace,
    mean_times,
    require_onnx_file,
    shapes_text,
)

_PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider"}
_TENSORRT = "TensorrtExecutionProvider"
_GRAPH_OPTION = "enable_cuda_graph"

# What runs the nodes of a graph, the first that can, each with its options.
Providers = list[tuple[str, dict[str, str]]]
_ERRORS_ONLY = 3

# What ONNX Runtime is distributed as, and how the second comes to be alone.
_BUILDS = ("onnxruntime", "onnxruntime-gpu")
_TO_CUDA = f"Run: pip uninstall -y {' '.join(_BUILDS)} && pip install onnxruntime-gpu"

# What a session raises of a file that it cannot read; and, beside these, of a device that it cannot use.
_ERRORS = onnxruntime.capi.onnxruntime_pybind11_state
_FILE_ERRORS = (_ERRORS.InvalidProtobuf, _ERRORS.InvalidGraph, _ERRORS.InvalidArgument, _ERRORS.Fail)
_DEVICE_ERRORS = (*_FILE_ERRORS, _ERRORS.RuntimeException, _ERRORS.EPFail, _ERRORS.NotImplemented)

# How a profile marks the time of a node.
_NODE_TIME = "_kernel_time"

_RECURRENT_NODES = {"GRU": "GRU", "LSTM": "LSTM", "DynamicQuantizeLSTM": "int8 LSTM"}

# Nodes of a graph that are named one by one.
MAX_NAMED_NODES = 100

# What a GRU in int8 is written out with.
_UNROLLED_NODES = {"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
_KERNELS = {"CPUExecutionProvider": "MLAS {node}", "CUDAExecutionProvider": "cuDNN {node} in ONNX Runtime"}


def cpu_options(threads: int) -> onnxruntime.SessionOptions:
    """Return the options of a session with one pool of CPU threads, which wait as the environment says."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if waits_passively():
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


# What operators are for.
KINDS = by_name(
    {
        PRODUCT: "Gemm MatMul FusedGemm FusedMatMul MatMulInteger MatMulIntegerToFloat DynamicQuantizeMatMul",
        FUSED_LAYER: "GRU LSTM RNN DynamicQuantizeLSTM",
        POINTWISE: "Abs Add Clip Div Exp Log Mul Neg Pow Relu Sigmoid Sqrt Sub Tanh",
        COPIES: "Cast Concat Constant ConstantOfShape DequantizeLinear DynamicQuantizeLinear Expand Flatten Gather Identity "
        "MemcpyFromHost MemcpyToHost Pad QuantizeLinear Reshape Shape Slice Split Squeeze Transpose Unsqueeze",
    }
)


class OnnxRuntime(Runtime):
    """A session of ONNX Runtime with one thread pool of the given size.

    Args:
        source: An ONNX file.
        device: `cpu` or `cuda`, which may have a number.
        precision: `fp32`; on the CPU `int8`, weights beforehand and values as they come; on CUDA `tf32`, which cuDNN may
            use there and in `fp32` may not.
        threads: CPU threads.

    Raises:
        Unavailable: If `cuda` is asked for and this build of ONNX Runtime, or the machine, has none, or both builds are
            installed.
        ModelFileError: If the file is not an ONNX model.
    """

    # What its first provider is called, and what must be installed for it.
    _title, _needs = "CUDA", "CUDA and cuDNN"

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        self._device = Device.named(device)
        self._threads = threads
        self._placed = self._providers(precision)
        self._provider = self._placed[0][0]
        if not self._device.is_cpu:
            _require_one_build()
        if self._provider not in onnxruntime.get_available_providers():
            raise Unavailable(
                f"ONNX Runtime {onnxruntime.__version__} has no {self._title}: install onnxruntime-gpu in place of "
                f"onnxruntime. {_TO_CUDA}."
            )
        if not self._device.is_cpu:
            onnxruntime.preload_dlls()  # takes CUDA and cuDNN from torch's packages
        self._path = require_onnx_file(source, "ONNX Runtime")
        self._model: Path | bytes = self._path
        if precision == "int8":
            from rnncore.runtimes.int8 import quantized

            self._model = quantized(self._path)
        self._session = self._first_session()
        if self._session.get_providers()[0] != self._provider:
            raise Unavailable(
                f"ONNX Runtime {onnxruntime.__version__} could not start {self._provider}. Check that {self._needs} are "
                "installed in its versions and that there is a GPU."
            )
        self._input_name = self._session.get_inputs()[0].name
        output = self._session.get_outputs()[0]
        self._output_name, self._horizon = output.name, int(output.shape[-1])
        self._binding = self._session.io_binding()
        self._inputs: onnxruntime.OrtValue | None = None
        self._output: onnxruntime.OrtValue | None = None

    def bind(self, inputs: Float32Array) -> None:
        """Put the windows, and room for the forecasts, on the device."""
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        # On the CPU the value has no memory of its own, but holds on to the array.
        values, place = np.ascontiguousarray(inputs, dtype=np.float32), (self._device.type, self._device.index)
        self._inputs = onnxruntime.OrtValue.ortvalue_from_numpy(values, *place)
        self._output = onnxruntime.OrtValue.ortvalue_from_shape_and_type([len(inputs), self._horizon], np.float32, *place)
        self._binding.bind_ortvalue_input(self._input_name, self._inputs)
        self._binding.bind_ortvalue_output(self._output_name, self._output)

    def run(self) -> None:
        """Forecast and wait for the device."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> Float32Array:
        """Return the last forecasts on the host."""
        if self._output is None:
            return np.empty((0, self._horizon), dtype=np.float32)
        return np.asarray(self._output.numpy(), dtype=np.float32)

    def evidence(self, trace: Path | None = None) -> Evidence:
        """Return what ran by the profile of an extra session; nodes on CUDA count with the time to launch them."""
        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._new_session(options, self._profiled())
            calls = 1
            if trace is not None:
                self._run_s(session)  # the first run also fills the arena
                calls = calls_to_profile(self._run_s(session))
            wall_s = sum(self._run_s(session) for _ in range(calls)) / calls
            made = Path(session.end_profiling())
            del session
            events = json.loads(made.read_text(encoding="utf-8"))
            if trace is not None:
                copy_trace(made, trace)
        nodes = _nodes_of_last_runs(events, calls)
        return Evidence(_kernel(nodes), _placement(nodes), mean_times(map(_op_time, nodes), calls), wall_s)

    def _run_s(self, session: onnxruntime.InferenceSession) -> float:
        """Run the bound windows in *session* and return the seconds it took."""
        began_s = time.perf_counter()
        session.run_with_ort_values([self._output_name], {self._input_name: self._inputs})
        return time.perf_counter() - began_s

    def close(self) -> None:
        """End the session, and with it its threads."""
        del self._binding, self._session
        self._inputs = self._output = None

    def _providers(self, precision: str) -> Providers:
        """Return what runs the nodes in a precision."""
        options = {} if self._device.is_cpu else {"use_tf32": str(int(precision == "tf32")), **self._number()}
        return [(_PROVIDERS[self._device.type], options)]

    def _number(self) -> dict[str, str]:
        """Return what tells a provider which of several GPUs it is to take; nothing of the first."""
        return {"device_id": str(self._device.index)} if self._device.index else {}

    def _profiled(self) -> Providers:
        """Return what runs the nodes of a session that is profiled."""
        return self._placed

    def _options(self) -> onnxruntime.SessionOptions:
        options = cpu_options(self._threads)
        options.log_severity_level = _ERRORS_ONLY
        return options

    def _first_session(self) -> onnxruntime.InferenceSession:
        """Open the model; say of a failure whether it is the file's or the device's."""
        try:
            return self._new_session(self._options(), self._placed)
        except _DEVICE_ERRORS as error:
            if not self._device.is_cpu and self._opens_on_cpu():
                raise Unavailable(
                    f"ONNX Runtime {onnxruntime.__version__} opens {self._path} on the CPU, but not on {self._device.name} "
                    f"({error}). Check the GPU and its driver, CUDA and cuDNN for what this names."
                ) from error
            if not isinstance(error, _FILE_ERRORS):
                raise
            raise ModelFileError(f"{self._path}: ONNX Runtime cannot read it ({error}). Export it again.") from error

    def _opens_on_cpu(self) -> bool:
        try:
            onnxruntime.InferenceSession(self._model, self._options(), providers=[_PROVIDERS[CPU]])
        except _DEVICE_ERRORS:
            return False
        return True

    def _new_session(self, options: onnxruntime.SessionOptions, providers: Providers) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(self._model, options, providers=providers)


class GraphOnnxRuntime(OnnxRuntime):
    """The same as a CUDA graph, which launches all kernels together.

    The first run of a session captures it; the graph reads and writes where that run did. For windows of another shape a
    session is made anew.

    Raises:
        Unavailable: If the model cannot be captured.
    """

    def bind(self, inputs: Float32Array) -> None:
        """Copy the windows to where the graph reads them; where their shape is another, capture it first."""
        if self._inputs is not None and self._inputs.shape() == list(inputs.shape):
            self._inputs.update_inplace(np.ascontiguousarray(inputs, dtype=np.float32))
            return
        if self._inputs is not None:
            self._session = self._new_session(self._options(), self._placed)
            self._binding = self._session.io_binding()
        super().bind(inputs)
        try:
            self.run()
        except _DEVICE_ERRORS as error:
            raise Unavailable(
                f"ONNX Runtime {onnxruntime.__version__} cannot capture {self._path} as a CUDA graph ({error}). Run it in "
                "the usual mode."
            ) from error

    def evidence(self, trace: Path | None = None) -> Evidence:
        """Return what ran as a session shows it that captures nothing: of a graph's kernels no node is known."""
        found = super().evidence(trace)
        return replace(found, kernel=f"{found.kernel} in a CUDA graph")

    def _providers(self, precision: str) -> Providers:
        return [(name, {**options, _GRAPH_OPTION: "1"}) for name, options in super()._providers(precision)]

    def _profiled(self) -> Providers:
        return [(name, {**options, _GRAPH_OPTION: "0"}) for name, options in self._placed]


class TensorRtOnnxRuntime(OnnxRuntime):
    """The same by TensorRT, which builds an engine of the model for each shape; what it does not know runs on CUDA.

    Args:
        source: An ONNX file.
        device: `cuda`, which may have a number.
        precision: `tf32`, which TensorRT takes by itself, or `fp16`.
        threads: CPU threads.
    """

    _title, _needs = "TensorRT", "TensorRT (pip install tensorrt), CUDA and cuDNN"

    def _providers(self, precision: str) -> Providers:
        # Its package loads its libraries, which ONNX Runtime does not look for.
        with contextlib.suppress(ImportError):
            importlib.import_module("tensorrt")
        options = {"trt_fp16_enable": str(int(precision == "fp16")), **self._number()}
        return [(_TENSORRT, options), *super()._providers(precision)]


def _require_one_build() -> None:
    """Refuse an environment with the builds for CPU and CUDA: they share a folder, and what lies there is of both.

    Raises:
        Unavailable: If both are installed.
    """
    builds = []
    for name in _BUILDS:
        try:
            builds.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    if len(builds) > 1:
        raise Unavailable(f"{' and '.join(builds)} are both installed, into one folder. {_TO_CUDA}.")


def _nodes_of_last_runs(events: list[dict[str, Any]], runs: int) -> list[dict[str, Any]]:
    """Return the node times of the last runs in a profile."""
    began_us = sorted(event["ts"] for event in events if event["name"] == "model_run")[-runs]
    return [event for event in events if event["name"].endswith(_NODE_TIME) and event["ts"] >= began_us]


def _placement(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """Return what ran each node, by its name; of a graph of thousands how many of each kind ran where."""
    by_name = {event["name"].removesuffix(_NODE_TIME): event["args"]["provider"] for event in nodes}
    if len(by_name) <= MAX_NAMED_NODES:
        return by_name
    kinds = Counter((event["args"]["op_name"], event["args"]["provider"]) for event in nodes)
    return {f"{count} of {kind}": provider for (kind, provider), count in kinds.items()}


def _op_time(event: dict[str, Any]) -> OpTime:
    facts = event["args"]
    shapes = [shape for typed in facts.get("input_type_shape", ()) for shape in typed.values()]
    kind = KINDS.get(facts["op_name"], OTHER)
    return OpTime(facts["op_name"], facts["provider"], 1, event["dur"] / 1e6, shapes_text(shapes), kind)


def _kernel(nodes: list[dict[str, Any]]) -> str:
    """Name what ran the recurrent nodes."""
    ran = {
        _KERNELS.get(event["args"]["provider"], "{node} by " + event["args"]["provider"]).format(
            node=_RECURRENT_NODES[event["args"]["op_name"]]
        )
        for event in nodes
        if event["args"]["op_name"] in _RECURRENT_NODES
    }
    if not ran and any(event["args"]["provider"] == _TENSORRT for event in nodes):
        return "TensorRT engine"
    if not ran and any(event["args"]["op_name"] in _UNROLLED_NODES for event in nodes):
        return "MLAS int8 products, unrolled"
    return " and ".join(sorted(ran)) or "no recurrent node"
