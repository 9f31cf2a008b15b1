"""Forecasts on the CPU by a kernel of our own: `forward.c`, compiled at first use.

torch runs a GRU on the CPU as some eleven small operations per hour and layer, each a barrier for its threads; ONNX
Runtime's gates of a GRU run on one thread. Here windows are shared out among threads, or units where windows are few, and
what the products of an hour give goes from registers through the gates to the state.
"""

import ctypes
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnncore.errors import ConfigError, Unavailable
from rnncore.files import write_text
from rnncore.forecast.cells import CELLS
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.series import Float32Array, FloatArray
from rnncore.kernels.laps import PHASES, no_laps, of_given_threads
from rnncore.kernels.library import compiled_library
from rnncore.runtimes.base import Evidence, Runtime, Source, calls_to_profile, mean_times, shapes_text
from rnncore.runtimes.phases import phase_ops

# Largest difference of the self-check's forecasts, in units of the model's output.
_CHECKED_TO = {"fp32": 1e-5, "bf16": 2e-2}

_LINE_BYTES = 64
_TILE_ROWS = 32
_VECTORS = {16: "AVX-512", 8: "AVX2", 4: "128-bit vectors"}

# When a call began and how long it took, in seconds of the clock, and the laps of its threads.
_TimedCall = tuple[float, float, FloatArray]


class ForwardKernel:
    """The compiled kernel.

    Args:
        path: The shared library.

    Raises:
        OSError: If it cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        pointer, integer = ctypes.c_void_p, ctypes.c_int
        self.lanes: int = library.lanes()
        self.has_tiles = bool(library.has_tiles())
        self.rooms, self.forwards = {"fp32": library.room}, {"fp32": library.forward}
        self.timed_forwards = {"fp32": library.timed_forward}
        if self.has_tiles:
            self.rooms["bf16"], self.forwards["bf16"] = library.tile_room, library.tile_forward
            self.timed_forwards["bf16"] = library.tile_timed_forward
        for room in self.rooms.values():
            room.argtypes, room.restype = [integer] * 7, ctypes.c_int64
        for forward in self.forwards.values():
            forward.argtypes = [integer, integer, *[pointer] * 4, integer, integer, *[pointer] * 3, *[integer] * 5]
            forward.restype = None
        for precision, forward in self.timed_forwards.items():
            forward.argtypes, forward.restype = [*self.forwards[precision].argtypes, pointer], None


class PackedForecaster:
    """A forecaster's weights as the kernel takes them, and the windows bound to it.

    Args:
        model: On the CPU; its weights are copied.
        kernel: What `forward_kernel` returned.
        threads: CPU threads.
        precision: `fp32`, or where the kernel has tiles `bf16`.
    """

    def __init__(self, model: Forecaster, kernel: ForwardKernel, threads: int, precision: str = "fp32") -> None:
        self.config = model.config
        by = _VECTORS[kernel.lanes] if precision == "fp32" else "AMX"
        self.name = f"rnncore {model.config.cell.upper()}, {by}"
        self._room_needed, self._forward, self._threads = kernel.rooms[precision], kernel.forwards[precision], threads
        self._timed_forward = kernel.timed_forwards[precision]
        pack = _packed_layer if precision == "fp32" else _tiled_layer
        self._layers = [pack(model, layer, kernel.lanes) for layer in range(model.config.num_layers)]
        self._layer_addresses = (ctypes.c_void_p * len(self._layers))(*[layer.ctypes.data for layer in self._layers])
        self._head, self._head_bias = (
            np.ascontiguousarray(weight.detach().numpy()) for weight in (model.head.weight, model.head.bias)
        )
        self.bind(np.empty((0, 1, model.config.input_size), dtype=np.float32))

    def bind(self, inputs: Float32Array, state: Float32Array | None = None) -> None:
        """Take windows, without a copy, and make room to work in.

        Args:
            inputs: Shape (B, T, F).
            state: What they begin with, and what each run leaves there: shape (layers, B, H), or of an LSTM
                (layers, 2, B, H), states before cells. None to begin from zeros.

        Raises:
            ConfigError: If they do not have the model's number of features.
        """
        windows, hours, features = inputs.shape
        if features != self.config.input_size:
            raise ConfigError(f"the windows have {features} features; the model takes {self.config.input_size}.")
        self.inputs, self._state = np.ascontiguousarray(inputs, dtype=np.float32), state
        self.output = np.empty((windows, self.config.horizon), dtype=np.float32)
        sizes = (windows, hours, features, self.config.hidden_size, self.config.num_layers)
        is_lstm = self.config.cell == "lstm"
        self._room = _aligned(self._room_needed(self._threads, is_lstm, *sizes))
        self._arguments: tuple[Any, ...] = (
            *(self._threads, is_lstm, self.inputs.ctypes.data, self._layer_addresses),
            *(self._head.ctypes.data, self._head_bias.ctypes.data, self.config.relu_head, self.config.horizon),
            None if state is None else state.ctypes.data,
            *(self._room.ctypes.data, self.output.ctypes.data, *sizes),
        )

    def run(self) -> None:
        """Forecast the windows into `output`; the kernel returns when it is ready."""
        self._forward(*self._arguments)

    def evidence(self, call: Callable[[], object], trace: Path | None = None) -> Evidence:
        """Tell where the time of a call goes, by phases that are timed inside the kernel, in extra calls.

        Args:
            call: Calls `run` once.
            trace: Where to write a Chrome trace. Without one, a single call is made.
        """
        calls = calls_to_profile(_seconds(call)) if trace is not None else 1
        timed = [self._timed(call) for _ in range(calls)]
        if trace is not None:
            write_text(trace, json.dumps({"traceEvents": _trace_events(self.name, timed)}))
        shapes = self._shapes()
        ops = [op for _, _, laps in timed for op in phase_ops(laps, shapes)]
        wall_s = sum(seconds for _, seconds, _ in timed) / calls
        return Evidence(self.name, {self.config.cell.upper(): self.name}, mean_times(ops, calls), wall_s)

    def _timed(self, call: Callable[[], object]) -> _TimedCall:
        """Make a call in which `run` fills laps; none of an earlier call are left in them."""
        laps, plain = no_laps(self._threads), (self._forward, self._arguments)
        self._forward, self._arguments = self._timed_forward, (*self._arguments, laps.ctypes.data)
        began_s = time.perf_counter()
        try:
            return began_s, _seconds(call), laps
        finally:
            self._forward, self._arguments = plain

    def _shapes(self) -> dict[str, str]:
        """Return the shapes of a phase's products: of the inputs of all hours, layer by layer, and of the states of one."""
        windows, hours, features = self.inputs.shape
        hidden, gates = self.config.hidden_size, CELLS[self.config.cell].gates * self.config.hidden_size
        below = [features] + [hidden] * (self.config.num_layers - 1)
        return {
            "input products": shapes_text(shape for width in below for shape in ([windows * hours, width], [width, gates])),
            "recurrent products": shapes_text([[windows, hidden], [hidden, gates]]),
            "head": shapes_text([[windows, hidden], [hidden, self.config.horizon]]),
        }


class NativeRuntime(Runtime):
    """A forecaster by the kernel.

    Args:
        source: The forecaster, on the CPU; its weights are packed into a copy.
        device: `cpu`.
        precision: `fp32`, or `bf16` where the CPU has tiles (AMX): products of rounded values, added in fp32.
        threads: CPU threads.

    Raises:
        ConfigError: If the source is not a forecaster of ours in memory.
        Unavailable: If the kernel cannot be compiled here, or bf16 is asked for and the CPU has no tiles.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        if not isinstance(source, Forecaster):
            raise ConfigError(f"rnncore cannot run {source}; give a forecaster of its own or a .safetensors file.")
        kernel = forward_kernel()
        if precision == "bf16" and not kernel.has_tiles:
            raise Unavailable("this CPU, or its system, has no tiles for bf16 (AMX).")
        self._packed = PackedForecaster(source, kernel, threads, precision)

    def bind(self, inputs: Float32Array) -> None:
        """Hand the windows over without a copy."""
        self._packed.bind(inputs)

    def run(self) -> None:
        """Forecast; the kernel returns when the output is ready."""
        self._packed.run()

    def output(self) -> Float32Array:
        """Return the last forecasts."""
        return self._packed.output.copy()

    def evidence(self, trace: Path | None = None) -> Evidence:
        """Tell the kernel's phases, as it times them itself."""
        return self._packed.evidence(self.run, trace)

    def close(self) -> None:
        """Free the weights and the room; the threads are torch's."""
        del self._packed


def _seconds(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s


def _trace_events(name: str, timed: list[_TimedCall]) -> list[dict[str, Any]]:
    """Return the calls on one track, and under each what every thread did, on tracks of their own.

    A phase has one bar, as long as all its times together: the thousands of tiles of a call are timed, not kept.
    """
    events = [_track(0, "calls")]
    for began_s, seconds, laps in timed:
        events.append(_bar(name, 0, began_s, seconds))
        for thread, phases in enumerate(of_given_threads(laps), start=1):
            at_s = began_s
            for phase, (phase_s, times) in zip(PHASES, phases.tolist(), strict=True):
                if times:
                    events.append({**_bar(phase, thread, at_s, phase_s), "args": {"times": times}})
                    at_s += phase_s
    threads = {event["tid"] for event in events if event["tid"]}
    return [*events, *(_track(thread, f"thread {thread}, sums by phase") for thread in sorted(threads))]


def _bar(name: str, track: int, began_s: float, seconds: float) -> dict[str, Any]:
    return {"name": name, "ph": "X", "ts": began_s * 1e6, "dur": seconds * 1e6, "pid": 0, "tid": track}


def _track(track: int, name: str) -> dict[str, Any]:
    return {"name": "thread_name", "ph": "M", "pid": 0, "tid": track, "args": {"name": name}}


def _packed_layer(model: Forecaster, layer: int, lanes: int) -> Float32Array:
    """Return a layer's weights as the kernel takes them: by group of units, and in it by row, gate and unit."""
    bias, by_input, by_state = _grouped_layer(model, layer, lanes)
    return _joined([part.reshape(len(part), -1) for part in (bias, by_input, by_state)])


def _tiled_layer(model: Forecaster, layer: int, lanes: int) -> Float32Array:
    """Return the same in bf16, the bias in fp32: by group, 32 rows, gate, pair of rows, unit and row of the pair."""
    bias, *weights = _grouped_layer(model, layer, lanes)
    tiled = [bias.reshape(len(bias), -1)]
    for weight in weights:
        groups, rows, gates, _ = weight.shape
        whole = np.zeros((groups, -(-rows // _TILE_ROWS) * _TILE_ROWS, gates, lanes), dtype=np.float32)
        whole[:, :rows] = weight
        paired = whole.reshape(groups, -1, _TILE_ROWS // 2, 2, gates, lanes).transpose(0, 1, 4, 2, 5, 3)
        rounded = torch.from_numpy(np.ascontiguousarray(paired)).bfloat16().view(torch.int16).numpy()
        # Two to a float, as which they are carried and never read.
        tiled.append(rounded.reshape(groups, -1).view(np.float32))
    return _joined(tiled)


def _grouped_layer(model: Forecaster, layer: int, lanes: int) -> list[Float32Array]:
    """Return bias, and weights of inputs and states: (groups of units, rows, gates, lanes), missing units zeros."""
    by_input, by_state, bias_input, bias_state = (
        getattr(model.rnn, f"{name}_l{layer}").detach().numpy() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    gates, hidden = CELLS[model.config.cell].gates, model.config.hidden_size
    groups = -(-hidden // lanes)

    def grouped(rows: Float32Array, count: int) -> Float32Array:
        whole = np.zeros((rows.shape[1], count, groups * lanes), dtype=np.float32)
        whole[:, :, :hidden] = rows.reshape(count, hidden, -1).transpose(2, 0, 1)
        return whole.reshape(-1, count, groups, lanes).transpose(2, 0, 1, 3)

    both = bias_input + bias_state
    if model.config.cell == "gru":
        # The reset gate stands between the two biases of the new gate.
        both = np.concatenate([both[: 2 * hidden], bias_input[2 * hidden :], bias_state[2 * hidden :]])
    return [grouped(both[:, None], 4), grouped(by_input, gates), grouped(by_state, gates)]


def _joined(parts: list[Float32Array]) -> Float32Array:
    """Return parts of each group one after another, on a cache line; bit for bit."""
    flat = np.concatenate([part.view(np.int32) for part in parts], axis=1).ravel()
    packed = _aligned(flat.size)
    packed.view(np.int32)[:] = flat
    return packed


def _aligned(floats: int) -> Float32Array:
    """Return floats that begin on a cache line."""
    raw = np.empty(floats + _LINE_BYTES // 4, dtype=np.float32)
    skipped = -raw.ctypes.data % _LINE_BYTES // 4
    return raw[skipped : skipped + floats]


def forward_kernel() -> ForwardKernel:
    """Return the kernel; the first call on a machine compiles it and keeps it in the user's cache.

    Raises:
        Unavailable: If it cannot be compiled or loaded here, or gives wrong answers.
    """
    found = _load()
    if isinstance(found, str):
        raise Unavailable(f"no forward kernel: {found}. Or use another runtime.")
    return found


@cache
def _load() -> ForwardKernel | str:
    """Return the kernel, or why there is none."""
    try:
        kernel = ForwardKernel(compiled_library("forward"))
    except (OSError, Unavailable) as error:
        return str(error)
    return _why_wrong(kernel) or kernel


def _why_wrong(kernel: ForwardKernel) -> str | None:
    """Hold a small forecaster of both cells against torch; return what is wrong."""
    for cell in CELLS:
        model = new_forecaster(ForecasterConfig(cell=cell, input_size=3, hidden_size=20), seed=0).eval()
        inputs = np.random.default_rng(0).standard_normal((13, 5, 3), dtype=np.float32)
        with torch.inference_mode():
            right = model(torch.from_numpy(inputs)).numpy()
        for precision in kernel.forwards:
            packed = PackedForecaster(model, kernel, 2, precision)
            packed.bind(inputs)
            packed.run()
            # Written so that NaN is wrong too.
            if not np.abs(packed.output - right).max() <= _CHECKED_TO[precision]:
                return f"its {cell.upper()} in {precision} gives other answers than torch's"
    return None
