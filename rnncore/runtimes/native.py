"""The runtime of our forward kernel: a forecaster packed for it, and where the time of its calls goes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnncore.errors import ConfigError, Unavailable
from rnncore.files import write_text
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import usable_threads
from rnncore.forecast.model import Forecaster
from rnncore.forecast.series import Float32Array, FloatArray
from rnncore.kernels.arguments import require_floats
from rnncore.kernels.forward import PackedNetwork, forward_kernel
from rnncore.kernels.laps import PHASES, of_given_threads
from rnncore.runtimes.base import Evidence, Runtime, Source, Stream, calls_to_profile, mean_times, shapes_text
from rnncore.runtimes.phases import phase_ops

# When a call began and how long it took, in seconds of the clock, and the laps of its threads.
_TimedCall = tuple[float, float, FloatArray]

# Of an hour for each thread. Fewer take less time than to wake another thread and to wait for it: a step of the preset
# `fast` with one series took 7.5 us on two threads, and takes a third of that on one (reports/LOG.md, 2026-11-28).
_FEWEST_PRODUCTS = 1 << 16

# Instructions of precisions that not every CPU has.
_INSTRUCTIONS = {"bf16": "AVX512-BF16", "int8": "AVX512-VNNI, AVX-VNNI or NEON dot products"}


class NativeRuntime(Runtime):
    """A forecaster by the kernel.

    Args:
        source: The forecaster, on the CPU; its weights are packed into a copy.
        device: `cpu`.
        precision: `fp32`; or of rounded factors `bf16`, added in fp32, and `int8`, added exactly, where the CPU can.
        threads: CPU threads.

    Raises:
        ConfigError: If the source is not a forecaster of ours in memory.
        Unavailable: If the kernel cannot be compiled here, or the CPU has no instructions for the precision.
    """

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        if not isinstance(source, Forecaster):
            raise ConfigError(f"rnncore cannot run {source}; give a forecaster of its own or a .safetensors file.")
        self._packed = packed_forecaster(source, threads, precision)

    def bind(self, inputs: Float32Array) -> None:
        """Hand the windows over, without a copy where they are contiguous."""
        self._packed.bind(np.ascontiguousarray(inputs))

    def run(self) -> None:
        """Forecast; the kernel returns when the output is ready."""
        self._packed.run()

    def output(self) -> Float32Array:
        """Return the last forecasts."""
        return self._packed.last_output()

    def evidence(self, trace: Path | None = None) -> Evidence:
        """Tell the kernel's phases, as it times them itself."""
        return call_evidence(self._packed, self.run, trace)

    def predict(self, inputs: Float32Array) -> Float32Array:
        """Bind, run and fetch: from (B, T, F) to (B, L). No windows have no forecasts; the kernel takes at least one."""
        if len(inputs) == 0:
            # Windows of a wrong shape are refused however few they are.
            self.bind(np.zeros((1, *inputs.shape[1:]), dtype=inputs.dtype))
            return np.empty((0, self._packed.horizon), dtype=np.float32)
        return self._packed.forecast(np.ascontiguousarray(inputs))

    def close(self) -> None:
        """Free the weights and the workspace; the threads are torch's."""
        del self._packed


class NativeStream(Stream):
    """A stream by our kernel; on no more threads than an hour has work for."""

    def __init__(self, model: Forecaster, series: int) -> None:
        products = series * sum(weight.numel() for weight in model.rnn.parameters())
        threads = min(torch.get_num_threads(), max(1, products // _FEWEST_PRODUCTS))
        self._packed = packed_forecaster(model, threads)
        config = model.config
        states = CELLS[config.cell].states
        self._state = np.zeros((config.num_layers, states, series, config.hidden_size), dtype=np.float32)
        hours = np.zeros((series, 1, config.input_size), dtype=np.float32)
        self._packed.bind(hours, self._state)
        # What is asked of every hour is at hand: it would take longer to get than to use.
        self._hour, self._shape, self._dtype = hours[:, 0], (series, config.input_size), hours.dtype
        self._forecasts = self._packed.output

    def step(self, hour: Float32Array) -> Float32Array:
        """Take the next hour and forecast.

        Raises:
            ConfigError: If it is not of shape (B, F), or not float32.
        """
        # What is right is seen in a fraction of a microsecond, as an hour of a small model takes two.
        if type(hour) is not np.ndarray or hour.dtype is not self._dtype or hour.shape != self._shape:
            require_floats("the hour", np.ascontiguousarray(hour), self._shape)
        packed = self._packed
        with packed.turn:
            self._hour[...] = hour
            packed.run_in_turn()
            return self._forecasts.copy()

    def evidence(self, hour: Float32Array, trace: Path | None = None) -> Evidence:
        """Tell the kernel's phases, as it times them itself."""
        return call_evidence(self._packed, lambda: self.step(hour), trace)


def packed_forecaster(model: Forecaster, threads: int, precision: str = "fp32") -> PackedNetwork:
    """Return a forecaster's weights packed for the kernel.

    Args:
        model: On the CPU; its weights are copied.
        threads: CPU threads; no more are taken than the process has CPUs for, as those of a team wait for one another.
        precision: `fp32`, or where the CPU has instructions for it `bf16` or `int8`.

    Raises:
        Unavailable: If the kernel cannot be compiled here, or the CPU has no instructions for the precision.
    """
    kernel = forward_kernel()
    if {"bf16": kernel.bf16, "int8": kernel.int8}.get(precision, kernel) is None:
        raise Unavailable(
            f"this CPU, or the level that it is held to, has no instructions for {precision} ({_INSTRUCTIONS[precision]}). "
            "Use fp32, or another runtime."
        )
    return PackedNetwork(model.rnn, model.head, model.config.relu_head, kernel, min(threads, usable_threads()), precision)


def call_evidence(packed: PackedNetwork, call: Callable[[], object], trace: Path | None = None) -> Evidence:
    """Tell where the time of a call goes, by phases that are timed inside the kernel, in extra calls.

    Args:
        packed: With windows bound.
        call: Runs it once.
        trace: Where to write a Chrome trace. Without one, a single call is made.
    """
    calls = calls_to_profile(_seconds(call)) if trace is not None else 1
    timed = [timed_call(packed, call) for _ in range(calls)]
    if trace is not None:
        write_text(trace, json.dumps({"traceEvents": _trace_events(packed.name, timed)}))
    shapes = _shapes(packed)
    ops = [op for _, _, laps in timed for op in phase_ops(laps, shapes)]
    wall_s = sum(seconds for _, seconds, _ in timed) / calls
    return Evidence(packed.name, {packed.cell: packed.name}, mean_times(ops, calls), wall_s)


def timed_call(packed: PackedNetwork, call: Callable[[], object]) -> _TimedCall:
    """Make a call whose run fills laps; none of an earlier call are left in them."""
    with packed.timed() as laps:
        began_s = time.perf_counter()
        return began_s, _seconds(call), laps


def _shapes(packed: PackedNetwork) -> dict[str, str]:
    """Return the shapes of a phase's products: of the inputs of all hours, layer by layer, and of the states of one."""
    windows, hours, features = packed.inputs.shape
    hidden, gates = packed.hidden, packed.gates * packed.hidden
    below = [features] + [hidden] * (packed.layers - 1)
    return {
        "input products": shapes_text(shape for width in below for shape in ([windows * hours, width], [width, gates])),
        "recurrent products": shapes_text([[windows, hidden], [hidden, gates]]),
        "head": shapes_text([[windows, hidden], [hidden, packed.horizon]]),
    }


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
