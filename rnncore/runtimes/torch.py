"""PyTorch, run eagerly: oneDNN or ATen on the CPU, cuDNN on CUDA."""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from rnncore.errors import ConfigError
from rnncore.forecast.device import cudnn_precision, resolve_device, synchronize
from rnncore.forecast.model import Forecaster
from rnncore.forecast.series import Float32Array
from rnncore.runtimes.base import Evidence, OpTime, Runtime, Source, calls_to_profile, copy_trace, mean_times, shapes_text

# Of a trace's events: what the host ran, nested in one another, and what the GPU ran.
_HOST_EVENTS = ("cpu_op", "user_annotation")
_DEVICE_EVENTS = ("kernel", "gpu_memcpy", "gpu_memset")

_FUSED_CELLS = {"aten::_thnn_fused_gru_cell", "aten::_thnn_fused_lstm_cell"}


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

    def evidence(self, trace: Path | None = None) -> Evidence:
        """Tell what ran by the operations that torch's profiler sees."""
        return torch_evidence(self.run, self._model.config.cell, self._device, trace)

    def close(self) -> None:
        """Free the model's device memory and give back the thread count that was there before."""
        torch.set_num_threads(self._threads_before)
        self._inputs = self._output = torch.empty(0)
        del self._model
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def torch_evidence(
    call: Callable[[], object], cell: str | None, device: torch.device, trace: Path | None = None
) -> Evidence:
    """Tell what a call of torch runs, by torch's profiler, in extra calls.

    On the CPU an operation's time is its own time on the host. On CUDA it is that of the kernels and copies that it
    launched: the host's time there is spent while the GPU works.

    Args:
        call: A forward pass, a training step, or anything else that runs torch.
        cell: `gru` or `lstm`; None for a call without recurrent layers, whose longest operation is then named.
        device: Where it runs.
        trace: Where to write a Chrome trace, whole or not at all.
    """
    calls = 1
    if trace is not None:
        began_s = time.perf_counter()
        call()
        synchronize(device)
        calls = calls_to_profile(time.perf_counter() - began_s)
    events, wall_s = _profiled(call, calls, device, trace)
    ops = mean_times(_device_times(events) if device.type == "cuda" else _host_times(events), calls)
    if cell is None:
        longest = ops[0].name.removeprefix("aten::") if ops else "without an operation"
        return Evidence(f"ATen {longest}", {}, ops, wall_s)
    kernel = _recurrent_kernel(events, cell)
    return Evidence(kernel, {cell.upper(): kernel}, ops, wall_s)


def _profiled(
    call: Callable[[], object], calls: int, device: torch.device, trace: Path | None
) -> tuple[list[dict[str, Any]], float]:
    """Return the events of a Chrome trace of *calls* calls, and the host seconds of one."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities, record_shapes=True) as profiler:
        began_s = time.perf_counter()
        for _ in range(calls):
            call()
            synchronize(device)
        wall_s = (time.perf_counter() - began_s) / calls
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "trace.json"
        # The trace is read back because the profiler's own table takes seconds to make for the thousands of events of a
        # recurrent layer.
        profiler.export_chrome_trace(str(made))
        events = json.loads(made.read_text(encoding="utf-8"))["traceEvents"]
        if trace is not None:
            copy_trace(made, trace)
    return [event for event in events if event.get("ph") == "X"], wall_s


def _recurrent_kernel(events: list[dict[str, Any]], cell: str) -> str:
    names = {event["name"] for event in events}
    if "FusedLayer" in names:
        return f"rnncore {cell.upper()}"
    if "aten::mkldnn_rnn_layer" in names:
        return f"oneDNN {cell.upper()}"
    if "aten::_cudnn_rnn" in names:
        # cuDNN keeps the weights on the chip in kernels of such names: PersistentGRU, RNN_blockPersist_fp_LSTM.
        is_persistent = any("ersist" in event["name"] for event in events if event.get("cat") == "kernel")
        return "cuDNN persistent" if is_persistent else "cuDNN standard"
    return "ATen fused cell" if names & _FUSED_CELLS else "ATen loop"


def _host_times(events: list[dict[str, Any]]) -> Iterator[OpTime]:
    """Yield the own time of every operation that the host ran."""
    on_host = sorted((event for event in events if event.get("cat") in _HOST_EVENTS), key=_thread)
    for _, of_thread in groupby(on_host, key=_thread):
        for event, self_us in _own_times(of_thread):
            yield OpTime(event["name"], "cpu", 1, self_us / 1e6, _shapes(event))


def _thread(event: dict[str, Any]) -> tuple[str, str]:
    return str(event["pid"]), str(event["tid"])


def _own_times(events: Iterable[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    """Return the events of one thread with their microseconds, without those of the events inside them."""
    in_order = sorted(events, key=lambda event: (event["ts"], -event["dur"]))
    own_us = [float(event["dur"]) for event in in_order]
    around: list[int] = []
    for index, event in enumerate(in_order):
        while around and in_order[around[-1]]["ts"] + in_order[around[-1]]["dur"] <= event["ts"]:
            around.pop()
        if around:
            own_us[around[-1]] -= event["dur"]
        around.append(index)
    # The trace rounds to nanoseconds; what is left of an event full of others may come out below zero.
    return [(event, max(0.0, us)) for event, us in zip(in_order, own_us, strict=True)]


def _device_times(events: list[dict[str, Any]]) -> Iterator[OpTime]:
    """Yield the time of every kernel and copy on the GPU under the operation that launched it."""
    launchers = {event["args"].get("External id"): event for event in events if event.get("cat") in _HOST_EVENTS}
    for event in events:
        if event.get("cat") in _DEVICE_EVENTS:
            launcher = launchers.get(event["args"].get("External id"), event)
            yield OpTime(launcher["name"], "cuda", 1, event["dur"] / 1e6, _shapes(launcher))


def _shapes(event: dict[str, Any]) -> str:
    return shapes_text(event["args"].get("Input Dims", ()))
