"""ONNX Runtime on CPU and CUDA, with input and output bound so that no copy is timed."""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from rnncore.errors import ModelFileError, Unavailable
from rnncore.forecast.windows import Float32Array
from rnncore.runtimes.base import Runtime, Source, require_onnx_file

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_ERRORS_ONLY = 3


class OnnxRuntime(Runtime):
    """A session of ONNX Runtime with one thread pool of the given size.

    Args:
        source: An ONNX file.
        device: `cpu` or `cuda`.
        precision: `fp32` on the CPU; `tf32` on CUDA, where the kernels permit it to cuDNN.
        threads: CPU threads.

    Raises:
        Unavailable: If `cuda` is asked for and this build of ONNX Runtime, or the machine, has none.
        ModelFileError: If the file is not an ONNX model.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        self._device = device
        self._threads = threads
        self._provider = _PROVIDERS[device]
        if self._provider not in onnxruntime.get_available_providers():
            raise Unavailable(
                f"ONNX Runtime {onnxruntime.__version__} has no CUDA: install onnxruntime-gpu in place of onnxruntime."
            )
        if device == "cuda":
            onnxruntime.preload_dlls()  # takes CUDA and cuDNN from torch's packages
        self._path = require_onnx_file(source, "ONNX Runtime")
        self._session = self._new_session(self._options())
        if self._session.get_providers()[0] != self._provider:
            raise Unavailable(
                f"ONNX Runtime {onnxruntime.__version__} could not start {self._provider}. "
                "Check that its CUDA and cuDNN versions are installed and that there is a GPU."
            )
        self._input_name = self._session.get_inputs()[0].name
        self._output_name = self._session.get_outputs()[0].name
        self._binding = self._session.io_binding()
        self._inputs: Float32Array = np.empty((0, 0, 0), dtype=np.float32)
        self._output: onnxruntime.OrtValue | None = None

    def bind(self, inputs: Float32Array) -> None:
        """Put the windows, and room for the forecasts, on the device."""
        self._inputs = np.ascontiguousarray(inputs, dtype=np.float32)
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        value = onnxruntime.OrtValue.ortvalue_from_numpy(self._inputs, self._device, 0)
        self._binding.bind_ortvalue_input(self._input_name, value)
        self._output = onnxruntime.OrtValue.ortvalue_from_shape_and_type([len(inputs), 1], np.float32, self._device, 0)
        self._binding.bind_ortvalue_output(self._output_name, self._output)

    def run(self) -> None:
        """Forecast and wait for the device."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> Float32Array:
        """Return the last forecasts on the host."""
        if self._output is None:
            return np.empty((0, 1), dtype=np.float32)
        return np.asarray(self._output.numpy(), dtype=np.float32)

    def placement(self) -> dict[str, str]:
        """Name the provider of each node, as a profile of one extra run tells."""
        with tempfile.TemporaryDirectory() as folder:
            options = self._options()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._new_session(options)
            session.run(None, {self._input_name: self._inputs})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return {
            event["name"].removesuffix("_kernel_time"): event["args"]["provider"]
            for event in events
            if event["name"].endswith("_kernel_time") and "provider" in event.get("args", {})
        }

    def close(self) -> None:
        """End the session, and with it its threads."""
        del self._binding, self._session
        self._output = None

    def _options(self) -> onnxruntime.SessionOptions:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        return options

    def _new_session(self, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        errors = onnxruntime.capi.onnxruntime_pybind11_state
        try:
            return onnxruntime.InferenceSession(self._path, options, providers=[self._provider])
        except (errors.InvalidProtobuf, errors.InvalidGraph, errors.InvalidArgument, errors.Fail) as error:
            raise ModelFileError(f"{self._path}: ONNX Runtime cannot read it ({error}). Export it again.") from error
