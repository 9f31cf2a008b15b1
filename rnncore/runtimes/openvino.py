"""OpenVINO on the CPU; an extra, installed with `pip install 'rnncore[openvino]'`."""

import numpy as np

from rnncore.errors import ModelFileError, Unavailable
from rnncore.forecast.windows import Float32Array
from rnncore.runtimes.base import Runtime, Source, require_onnx_file

_RECURRENT_OPERATORS = ("GRUSequence", "LSTMSequence")


class OpenVinoRuntime(Runtime):
    """A compiled OpenVINO model, tuned for the time of one request.

    Args:
        source: An ONNX file.
        device: `cpu`.
        precision: `fp32`.
        threads: CPU threads.

    Raises:
        Unavailable: If OpenVINO is not installed.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise Unavailable("OpenVINO is not installed: pip install 'rnncore[openvino]'.") from error
        path = require_onnx_file(source, "OpenVINO")
        try:
            model = openvino.Core().read_model(path)
        except RuntimeError as error:
            raise ModelFileError(f"{path}: OpenVINO cannot read it ({error}). Export it again.") from error
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            # Else the plugin computes in bf16 where the CPU has it.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._compiled = openvino.Core().compile_model(model, device.upper(), settings)
        self._request = self._compiled.create_infer_request()
        self._tensor = openvino.Tensor

    def bind(self, inputs: Float32Array) -> None:
        """Hand the windows over without a copy."""
        self._inputs = np.ascontiguousarray(inputs, dtype=np.float32)
        self._request.set_input_tensor(self._tensor(self._inputs, shared_memory=True))

    def run(self) -> None:
        """Forecast; OpenVINO returns when the output is ready."""
        self._request.infer()

    def output(self) -> Float32Array:
        """Return the last forecasts."""
        return np.array(self._request.get_output_tensor(0).data, dtype=np.float32)

    def placement(self) -> dict[str, str]:
        """Name the kernel of each recurrent layer, from the graph that OpenVINO executes."""
        return {
            node.get_friendly_name(): str(node.get_rt_info()["primitiveType"].astype(str))
            for node in self._compiled.get_runtime_model().get_ops()
            if node.get_rt_info()["layerType"].astype(str) in (*_RECURRENT_OPERATORS, "RNNSeq")
        }

    def close(self) -> None:
        """Free the compiled model and its threads."""
        del self._request, self._compiled
