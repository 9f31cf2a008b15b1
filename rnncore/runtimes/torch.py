"""PyTorch, on the CPU also compiled, or with subnormal numbers as zeros.

What runs a layer is oneDNN or ATen on the CPU, cuDNN on CUDA, MIOpen on ROCm, and what torch has on any other device.
"""

import copy
import json
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._triton import has_triton

from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast.device import CPU, Device, cudnn_precision, resolve_device, without_cudnn
from rnncore.forecast.model import Forecaster
from rnncore.forecast.series import Float32Array, FloatArray
from rnncore.kernels.laps import PHASES
from rnncore.kernels.layers import timed_passes
from rnncore.runtimes.base import (
    COPIES,
    DATA,
    FUSED_LAYER,
    OPTIMISER,
    OTHER,
    OVERHEAD,
    POINTWISE,
    PRODUCT,
    Evidence,
    OpTime,
    Runtime,
    Source,
    Stream,
    by_name,
    calls_to_profile,
    copy_trace,
    mean_times,
    shapes_text,
)
from rnncore.runtimes.phases import phase_ops

# Of a trace's events: what the host ran, nested in one another, and what the GPU ran.
_HOST_EVENTS = ("cpu_op", "user_annotation")
_DEVICE_EVENTS = ("kernel", "gpu_memcpy", "gpu_memset")

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# What gathers windows by index.
_GATHERS = {f"aten::{name}" for name in ("index", "index_select", "gather", "take", "take_along_dim")}

# What ATen's operations are for, by their names without "aten::" and outer underscores.
_KINDS = by_name(
    {
        PRODUCT: "addmm addmv baddbmm bmm linear matmul mm mv",
        # Products and pointwise part in one kernel, or one call of a library.
        FUSED_LAYER: "mkldnn_rnn_layer mkldnn_rnn_layer_backward cudnn_rnn cudnn_rnn_backward miopen_rnn "
        "miopen_rnn_backward lstm_mps lstm_mps_backward",
        POINTWISE: "abs add addcdiv addcmul bernoulli clamp clamp_min div dropout eq exp hardtanh log mean mse_loss "
        "mse_loss_backward mul native_dropout native_dropout_backward neg pow randint random reciprocal relu rsub sigmoid "
        "sigmoid_backward smooth_l1_loss smooth_l1_loss_backward sqrt sub sum tanh tanh_backward thnn_fused_gru_cell "
        "thnn_fused_gru_cell_backward thnn_fused_lstm_cell thnn_fused_lstm_cell_backward threshold_backward where",
        COPIES: "alias as_strided broadcast_tensors cat chunk clone contiguous copy detach empty empty_like empty_strided "
        "expand expand_as fill flatten flip full full_like narrow new_empty new_zeros ones ones_like permute reshape resize "
        "resolve_conj resolve_neg select select_backward slice slice_backward split squeeze stack t to to_copy transpose "
        "unbind unsafe_chunk unsafe_split unsafe_view unsqueeze view zero zeros zeros_like",
        # The gather of a batch; only a training or the data path has one.
        DATA: "index index_select gather take take_along_dim arange",
        # Only the clipping of gradients takes a norm.
        OPTIMISER: "linalg_vector_norm",
        # The loops over hours and layers in C++, without what they call.
        OVERHEAD: "gru lstm cudnn_is_acceptable is_nonzero item local_scalar_dense lift_fresh result_type",
    }
)
_KINDS_BY_PATTERN = {
    re.compile(r"Optimizer\.|aten::_fused_(adam|sgd)|aten::_foreach_"): OPTIMISER,
    re.compile(r"autograd::|torch::autograd::|\w+Backward\d+$"): OVERHEAD,
    # Copies on a GPU that no operation launched.
    re.compile(r"Mem(cpy|set)\b"): COPIES,
}

# Whose code runs whole layers, by the operation that calls it.
_LIBRARIES = {"aten::mkldnn_rnn_layer": "oneDNN", "aten::miopen_rnn": "MIOpen", "aten::_lstm_mps": "MPS"}

_FUSED_CELLS = {"aten::_thnn_fused_gru_cell", "aten::_thnn_fused_lstm_cell"}


class TorchRuntime(Runtime):
    """A forecaster under `torch.inference_mode`.

    Args:
        source: The forecaster; its weights are shared on the CPU and copied to a GPU.
        device: A device's name, as `Device` has it.
        precision: `fp32`; `bf16`, weights and values alike; beside the CPU also `fp16`, and on CUDA `tf32`, where cuDNN may
            round the factors of products to 10 bits.
        threads: CPU threads.

    Raises:
        ConfigError: If the source is not a forecaster in memory.
        Unavailable: If there is no such device, it does not compute in the precision, or bf16 is asked for on a CPU that
            has no instructions for it.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        if not isinstance(source, nn.Module):
            raise ConfigError(f"torch cannot run {source}; give a forecaster or a .safetensors file.")
        self._cell = source.config.cell if isinstance(source, Forecaster) else None
        on = resolve_device(device)
        self._device = Device.of(on)
        self._device.require(precision)
        self._threads_before = torch.get_num_threads()
        self._dtype = _DTYPES[precision]
        if self._device.is_cpu and self._dtype == torch.float32:
            self._model = source.eval()
        else:
            self._model = copy.deepcopy(source).to(on, self._dtype).eval()
            pack_weights(self._model)
        self._forward: Callable[[torch.Tensor], torch.Tensor] = self._model
        self._inputs = torch.empty(0)
        self._output = torch.empty(0)
        # Where outputs are fetched to, in page-locked memory; None where that was not asked for.
        self._fetched: torch.Tensor | None = None
        # For as long as it is open: no call spends time on it.
        self._settings = ExitStack()
        self._settings.enter_context(cudnn_precision(precision))
        torch.set_num_threads(threads)

    def bind(self, inputs: Float32Array) -> None:
        """Copy the windows to the device."""
        self._inputs = self._sent(inputs)

    def _sent(self, inputs: Float32Array) -> torch.Tensor:
        values, on = torch.from_numpy(inputs), self._device.in_torch
        if self._fetched is None:
            return values.to(on, self._dtype)
        # Rounded on the device: what the CPU rounds lies in other memory.
        return values.to(on, non_blocking=True).to(self._dtype)

    def pinned(self, inputs: Float32Array) -> Float32Array:
        """Return windows in page-locked memory."""
        if self._device.is_cpu:
            return super().pinned(inputs)
        locked: Float32Array = self._device.page_locked(torch.from_numpy(inputs)).numpy()
        self._fetched = self._device.page_locked(torch.empty(0))
        return locked

    def run(self) -> None:
        """Forecast and wait for the device."""
        with torch.inference_mode():
            self._output = self._forward(self._inputs)
        self._device.synchronize()

    def output(self) -> Float32Array:
        """Return the last forecasts on the host."""
        if self._fetched is None:
            return self._output.float().cpu().numpy()
        if self._fetched.shape != self._output.shape:
            self._fetched = self._device.page_locked(torch.empty(self._output.shape))
        self._fetched.copy_(self._output.float())
        return self._fetched.numpy()

    def evidence(self, trace: Path | None = None) -> Evidence:
        """Return what ran by the operations that torch's profiler sees."""
        return torch_evidence(self.run, self._cell, self._device.in_torch, trace)

    def close(self) -> None:
        """Free the model's device memory and give back the settings that were there before."""
        torch.set_num_threads(self._threads_before)
        self._settings.close()
        self._inputs = self._output = torch.empty(0)
        del self._model, self._forward
        self._device.empty_cache()


def pack_weights(model: nn.Module) -> None:
    """Let the weights of each recurrent layer on a GPU lie in one piece, in every precision, as cuDNN wants them.

    torch does so by itself only for the types of a list, which lacks bf16: cuDNN would then pack them in every call.

    Args:
        model: Any; layers on a CPU stay as they are.
    """
    listed = torch.backends.cudnn.CUDNN_TENSOR_DTYPES
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            others = {weight.dtype for weight in module.parameters()} - listed
            listed.update(others)
            try:
                module.flatten_parameters()
            finally:
                listed.difference_update(others)


class FlushingTorchRuntime(TorchRuntime):
    """The same with subnormal numbers taken for zeros, which some CPUs are a hundred times slower with.

    Raises:
        Unavailable: If the CPU cannot do it.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        super().__init__(source, device, precision, threads)
        if not torch.set_flush_denormal(True):
            super().close()
            raise Unavailable("this CPU cannot take subnormal numbers for zeros.")

    def close(self) -> None:
        """Let subnormal numbers be again."""
        torch.set_flush_denormal(False)
        super().close()


class WithoutCudnnTorchRuntime(TorchRuntime):
    """The same without cuDNN: torch goes hour by hour itself, which shows what cuDNN's layers save."""

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        super().__init__(source, device, precision, threads)
        self._settings.enter_context(without_cudnn())


class CompiledTorchRuntime(TorchRuntime):
    """The same compiled by `torch.compile`, as one graph: the layers unrolled over all hours, which takes minutes.

    torch leaves recurrent layers out of what it compiles unless it is asked otherwise; a model of them then runs as before
    under a name that says more.

    Raises:
        Unavailable: If a GPU is asked for and Triton, which compiles for it, is missing.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        super().__init__(source, device, precision, threads)
        if not self._device.is_cpu and not has_triton():
            super().close()
            raise Unavailable(
                "torch.compile needs Triton for a GPU, and there is none that works. Builds of torch for CUDA bring it "
                "along; else: pip install triton."
            )

    def bind(self, inputs: Float32Array) -> None:
        """Copy the windows, and compile for their shape."""
        import torch._dynamo
        import torch.compiler.config

        super().bind(inputs)
        torch._dynamo.reset()
        # A whole graph or an error: no break goes unseen.
        self._forward = torch.compile(self._model, fullgraph=True, dynamic=False)
        # What it compiled before torch finds by a key that leaves the CPU's level out: code for another gives wrong numbers.
        level = f"{torch.compiler.config.cache_key_tag} {torch.backends.cpu.get_cpu_capability()}"
        with (
            torch._dynamo.config.patch(allow_rnn=True),
            torch.compiler.config.patch(cache_key_tag=level),  # type: ignore[attr-defined]
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # the compiler's own deprecations
            self.run()


class GraphTorchRuntime(TorchRuntime):
    """The same captured once as a CUDA graph, which launches all its kernels together: of few windows that is most of it.

    Windows of the shape that was captured are copied to where the graph reads them; for another shape it is captured anew.
    """

    def bind(self, inputs: Float32Array) -> None:
        """Copy the windows, and where their shape is another, capture the forward pass."""
        if self._inputs.shape == inputs.shape:
            self._inputs.copy_(torch.from_numpy(inputs) if self._fetched is None else self._sent(inputs))
            return
        super().bind(inputs)
        with torch.inference_mode():
            self._graph, self._output = self._device.captured(lambda: self._model(self._inputs))

    def run(self) -> None:
        """Launch the graph and wait for the device."""
        self._graph.replay()
        self._device.synchronize()

    def evidence(self, trace: Path | None = None) -> Evidence:
        """Return what ran as the forward pass shows it that was captured: of a graph's kernels no operation is known."""
        of_graph = self._output
        found = torch_evidence(super().run, self._cell, self._device.in_torch, trace)
        self._output = of_graph
        return replace(found, kernel=f"{found.kernel} in a CUDA graph")

    def close(self) -> None:
        """Free the graph's memory too."""
        self._graph = None
        super().close()


class TorchStream(Stream):
    """A stream by torch's layers.

    Args:
        model: The forecaster; its weights are shared on the CPU and copied to a GPU, where the state stays.
        device: A device's name, as `Device` has it.
    """

    def __init__(self, model: Forecaster, device: str) -> None:
        self._device = resolve_device(device)
        self._model = model.eval() if self._device.type == CPU else copy.deepcopy(model).to(self._device).eval()
        self._state: torch.Tensor | tuple[torch.Tensor, torch.Tensor] | None = None

    def step(self, hour: Float32Array) -> Float32Array:
        """Take the next hour and forecast."""
        with torch.inference_mode():
            values = torch.from_numpy(hour)[:, None].to(self._device)
            states, self._state = self._model.rnn(values, self._state)
            forecasts: Float32Array = self._model.read_out(states[:, -1]).cpu().numpy()
        return forecasts

    def evidence(self, hour: Float32Array, trace: Path | None = None) -> Evidence:
        """Return what a step runs by the operations that torch's profiler sees."""
        return torch_evidence(lambda: self.step(hour), self._model.config.cell, self._device, trace)


def torch_evidence(
    call: Callable[[], object], cell: str | None, device: torch.device, trace: Path | None = None
) -> Evidence:
    """Return what a call of torch runs, by torch's profiler, in extra calls.

    On the CPU an operation's time is its own time on the host; that of our own layers is given by phase, as their kernels
    time them. On a device whose kernels the profiler sees it is that of the kernels and copies that it launched: the host's
    time there is spent while the GPU works. On others it is the host's, which says what is launched and not for how long.

    Args:
        call: A forward pass, a training step, or anything else that runs torch.
        cell: `gru` or `lstm`; None for a call without recurrent layers, of which what gathers the windows is then named.
        device: Where it runs.
        trace: Where to write a Chrome trace, whole or not at all.
    """
    on, calls = Device.of(device), 1
    if trace is not None:
        began_s = time.perf_counter()
        call()
        on.synchronize()
        calls = calls_to_profile(time.perf_counter() - began_s)
    with timed_passes() as passes:
        events, wall_s = _profiled(call, calls, on, trace)
    times = _device_times(events, on.type) if on.kind.profiled_as else _host_times(events, passes)
    ops = mean_times(times, calls)
    if cell is None:
        gathers = sorted({op.name.removeprefix("aten::") for op in ops if op.name in _GATHERS})
        return Evidence(f"ATen {' and '.join(gathers) or 'without a gather'}", {}, ops, wall_s)
    kernel = _recurrent_kernel(events, cell)
    return Evidence(kernel, {cell.upper(): kernel}, ops, wall_s)


def _profiled(
    call: Callable[[], object], calls: int, device: Device, trace: Path | None
) -> tuple[list[dict[str, Any]], float]:
    """Return the events of a Chrome trace of *calls* calls, and the host seconds of one."""
    with torch.profiler.profile(activities=device.profiler_activities(), record_shapes=True) as profiler:
        began_s = time.perf_counter()
        for _ in range(calls):
            call()
            device.synchronize()
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
    if any(name.startswith("Torch-Compiled Region") for name in names):
        return f"torch.compile, {cell.upper()} unrolled"
    if "FusedLayer" in names:
        return f"rnncore {cell.upper()}"
    if "aten::_cudnn_rnn" in names:
        # cuDNN keeps the weights on the chip in kernels of such names: PersistentGRU, RNN_blockPersist_fp_LSTM.
        is_persistent = any("ersist" in event["name"] for event in events if event.get("cat") == "kernel")
        return "cuDNN persistent" if is_persistent else "cuDNN standard"
    for operation, library in _LIBRARIES.items():
        if operation in names:
            return f"{library} {cell.upper()}"
    return "ATen fused cell" if names & _FUSED_CELLS else "ATen loop"


def _host_times(events: list[dict[str, Any]], passes: dict[str, list[FloatArray]]) -> Iterator[OpTime]:
    """Yield the own time of every operation that the host ran, that of our layers' kernels by phase."""
    laps = {name: iter(of_name) for name, of_name in passes.items()}
    on_host = sorted((event for event in events if event.get("cat") in _HOST_EVENTS), key=_thread)
    for _, of_thread in groupby(on_host, key=_thread):
        for event, self_us in _own_times(of_thread):
            if event["name"] in laps:
                yield from _layer_times(event, self_us / 1e6, next(laps[event["name"]]))
            else:
                yield OpTime(event["name"], "cpu", 1, self_us / 1e6, _shapes(event), kind_of(event["name"]))


def _layer_times(event: dict[str, Any], self_s: float, laps: FloatArray) -> Iterator[OpTime]:
    """Yield the phases of a pass of one of our layers, and what Python takes around the kernel."""
    name, shapes = event["name"], _shapes(event)
    phases = phase_ops(laps, dict.fromkeys(PHASES, shapes), name)
    yield from phases
    yield OpTime(name, "cpu", 1, max(0.0, self_s - sum(phase.self_s for phase in phases)), shapes, OVERHEAD)


def kind_of(name: str) -> str:
    """Say what an operation of torch is for."""
    for pattern, kind in _KINDS_BY_PATTERN.items():
        if pattern.match(name):
            return kind
    return _KINDS.get(name.removeprefix("aten::").strip("_"), OTHER)


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


def _device_times(events: list[dict[str, Any]], where: str) -> Iterator[OpTime]:
    """Yield the time of every kernel and copy on a GPU, of type *where*, under the operation that launched it."""
    launchers = {event["args"].get("External id"): event for event in events if event.get("cat") in _HOST_EVENTS}
    for event in events:
        if event.get("cat") in _DEVICE_EVENTS:
            launcher = launchers.get(event["args"].get("External id"), event)
            yield OpTime(launcher["name"], where, 1, event["dur"] / 1e6, _shapes(launcher), kind_of(launcher["name"]))


def _shapes(event: dict[str, Any]) -> str:
    return shapes_text(event["args"].get("Input Dims", ()))
