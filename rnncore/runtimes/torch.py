"""PyTorch, run eagerly: oneDNN or ATen on the CPU, cuDNN on CUDA."""

import torch

from rnncore.errors import ConfigError
from rnncore.forecast.device import cudnn_precision, resolve_device, synchronize
from rnncore.forecast.model import Forecaster
from rnncore.forecast.windows import Float32Array
from rnncore.runtimes.base import Runtime, Source

_KERNELS = {"aten::_cudnn_rnn": "cuDNN", "aten::mkldnn_rnn_layer": "oneDNN"}


class TorchRuntime(Runtime):
    """A forecaster under `torch.inference_mode`.

    Args:
        source: The forecaster; its weights are shared on the CPU and copied to a GPU.
        device: `cpu` or `cuda`.
        precision: `fp32`, or `tf32` on CUDA: whether cuDNN may round the factors of products to 10 bits.
        threads: CPU threads.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        if not isinstance(source, Forecaster):
            raise ConfigError(f"torch cannot run {source}; give a forecaster or a .safetensors file.")
        self._device = resolve_device(device)
        self._threads_before = torch.get_num_threads()
        self._precision = precision
        if self._device.type == "cpu":
            self._model = source.eval()
        else:
            self._model = Forecaster(source.config)
            self._model.load_state_dict(source.state_dict())
            self._model.to(self._device).eval()
            self._model.rnn.flatten_parameters()
        self._inputs = torch.empty(0)
        self._output = torch.empty(0)
        torch.set_num_threads(threads)

    def bind(self, inputs: Float32Array) -> None:
        """Copy the windows to the device."""
        self._inputs = torch.from_numpy(inputs).to(self._device)

    def run(self) -> None:
        """Forecast and wait for the device."""
        with cudnn_precision(self._precision), torch.inference_mode():
            self._output = self._model(self._inputs)
        synchronize(self._device)

    def output(self) -> Float32Array:
        """Return the last forecasts on the host."""
        return self._output.cpu().numpy()

    def placement(self) -> dict[str, str]:
        """Name the kernel by the operations that torch's profiler sees in one extra run."""
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            self.run()
        names = {event.key for event in profile.key_averages()}
        seen = [kernel for operation, kernel in _KERNELS.items() if operation in names]
        return {self._model.config.cell.upper(): seen[0] if seen else "ATen loop"}

    def close(self) -> None:
        """Free the model's device memory and give back the thread count that was there before."""
        torch.set_num_threads(self._threads_before)
        self._inputs = self._output = torch.empty(0)
        del self._model
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
