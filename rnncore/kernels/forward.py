"""Forecasts on the CPU by a kernel of our own: `forward.c`, compiled at first use.

torch runs a GRU on the CPU as some eleven small operations per hour and layer, each a barrier for its threads; ONNX
Runtime's gates of a GRU run on one thread. Here windows are shared out among threads, or units where windows are few, and
what the products of an hour give goes from registers through the gates to the state.
"""

import contextlib
import ctypes
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rnncore.errors import ConfigError, Unavailable
from rnncore.kernels.arguments import Floats, Rnn, gates_of, require_floats, require_head, require_rnn, require_windows
from rnncore.kernels.laps import Laps, no_laps
from rnncore.kernels.levels import VECTORS
from rnncore.kernels.library import compiled_library, origin_of
from rnncore.kernels.loading import (
    checked_kernel,
    is_near,
    networks_to_check,
    open_library,
    require_layout,
    threads_here,
    windows_to_check,
)
from rnncore.kernels.memory import aligned_floats
from rnncore.kernels.packing import LARGEST_BYTE, grouped, in_bytes, paired

# Largest difference of the self-check's forecasts. Right ones are off by 1.5e-8, 1.4e-4 and 6.4e-4; a GRU's are 0.03 apart.
_CHECKED_TO = {"fp32": 1e-5, "bf16": 1e-3, "int8": 1.5e-3}

# How bf16 is computed, and the rows of a block of packed weights: a pair of values a lane, or a tile.
_PAIRS, _TILES = ("AVX512-BF16", 2), ("AMX", 32)

# How int8 is computed, by lanes.
_BYTES = {16: "AVX512-VNNI", 8: "AVX-VNNI", 4: "NEON dot products"}

# Of more, sums of products of bytes could leave 32 bits: a byte of a state, with what it has added, may be 255.
_MOST_UNITS_IN_INT8 = 2**31 // (255 * LARGEST_BYTE)

# What is nearer to no byte than to the largest.
_LARGEST_STATE_IN_INT8 = (LARGEST_BYTE + 0.5) / LARGEST_BYTE


class ForwardCall(ctypes.Structure):
    """What the kernel takes: `call_t` of `forward.c`, which names what each field is."""

    _fields_ = (
        *[(name, ctypes.c_int32) for name in ("threads", "lstm", "B", "T", "F", "H", "N", "relu", "L")],
        *[(name, ctypes.c_void_p) for name in ("x", "weights", "head", "head_bias", "state", "workspace", "out", "phases")],
    )


class ForwardKernel:
    """The compiled kernel.

    Args:
        path: The shared library.

    Attributes:
        name: What it is and where it comes from, for a reader.

    Raises:
        OSError: If it cannot be loaded.
        Unavailable: If it takes another struct than `ForwardCall`.
    """

    def __init__(self, path: Path) -> None:
        library = open_library(path)
        library.call_bytes.restype = ctypes.c_int64
        require_layout(ForwardCall, library.call_bytes())
        self.lanes: int = library.lanes()
        # How bf16 is computed here: AMX where the system lets a process use it. None where neither is.
        self.bf16 = _TILES if library.has_tiles() else _PAIRS if library.has_pairs() else None
        self.workspace_floats, self.forwards = {"fp32": library.workspace_floats}, {"fp32": library.forward}
        if self.bf16 is not None:
            self.workspace_floats["bf16"] = library.bf16_workspace_floats
            self.forwards["bf16"] = library.tile_forward if self.bf16 is _TILES else library.pairs_forward
        # How int8 is, and what a byte of a state has added. None where the CPU has no instructions for it.
        self.int8, self.zero_byte = _BYTES[self.lanes] if library.has_quads() else None, int(library.zero_byte())
        if self.int8 is not None:
            self.workspace_floats["int8"], self.forwards["int8"] = library.int8_workspace_floats, library.int8_forward
        for functions, returned in ((self.workspace_floats, ctypes.c_int64), (self.forwards, None)):
            for function in functions.values():
                function.argtypes, function.restype = [ctypes.POINTER(ForwardCall)], returned
        others = "".join(
            f"{precision} by {self.instructions(precision)}, " for precision in self.forwards if precision != "fp32"
        )
        self.name = f"rnncore kernels, {VECTORS[self.lanes]}, {others}{origin_of(path)}"

    def instructions(self, precision: str) -> str:
        """Return what products in a precision are computed by."""
        if precision == "bf16" and self.bf16 is not None:
            return self.bf16[0]
        return self.int8 if precision == "int8" and self.int8 is not None else VECTORS[self.lanes]


class PackedNetwork:
    """The weights of recurrent layers and a linear head as the kernel takes them, and the windows bound to it.

    Threads of Python may share one: its runs take turns. What is bound belongs to all of them; `forecast` binds, runs and
    copies the output in one turn.

    Args:
        rnn: Batch first, in one direction, with biases; float32, contiguous, on the CPU. Its weights are copied, and no
            dropout is done.
        head: From the top layer's last state to the forecasts; its weights are copied.
        relu: Whether a ReLU comes before the head.
        kernel: What `forward_kernel` returned.
        threads: CPU threads.
        precision: `fp32`, or where the CPU has instructions for it `bf16` or `int8`.

    Raises:
        ConfigError: If the kernel cannot run such a network, or not in this precision.
        Unavailable: If there is no kernel for its cell.
    """

    def __init__(
        self, rnn: Rnn, head: nn.Linear, relu: bool, kernel: ForwardKernel, threads: int, precision: str = "fp32"
    ) -> None:
        require_rnn(rnn)
        require_head(head, rnn.hidden_size)
        if precision not in kernel.forwards:
            raise ConfigError(f"precision is {precision!r}; allowed: {', '.join(kernel.forwards)}.")
        if precision == "int8" and rnn.hidden_size > _MOST_UNITS_IN_INT8:
            raise ConfigError(f"hidden_size is {rnn.hidden_size}; in int8 the kernel takes 1 to {_MOST_UNITS_IN_INT8:,}.")
        if threads < 1:
            raise ConfigError(f"threads is {threads}; give at least 1.")
        self.cell = rnn.mode
        self.name = f"rnncore {self.cell}, {kernel.instructions(precision)}"
        self.features, self.hidden, self.layers, self.gates = rnn.input_size, rnn.hidden_size, rnn.num_layers, gates_of(rnn)
        self.horizon, self._threads = head.out_features, threads
        self._workspace_floats, self._forward = kernel.workspace_floats[precision], kernel.forwards[precision]
        self._relu, self._precision = relu, precision
        self._layers = [_packed_layer(rnn, layer, kernel, precision) for layer in range(self.layers)]
        self._layer_addresses = (ctypes.c_void_p * self.layers)(*[layer.ctypes.data for layer in self._layers])
        self._head, self._head_bias = (np.array(weight.detach().numpy()) for weight in (head.weight, head.bias))
        self._call: ForwardCall | None = None
        self._reference: object = None
        # Whoever holds it may take it again: a turn of several steps is made of others.
        self.turn = threading.RLock()

    def bind(self, inputs: Floats, state: Floats | None = None) -> None:
        """Take windows, without a copy, and a workspace for them.

        Args:
            inputs: Shape (B, T, F), float32, contiguous; at least one window and one hour.
            state: What they begin with, and what each run leaves there: shape (layers, states, B, H), float32, contiguous;
                of a GRU one state, of an LSTM states before cells. None to begin from zeros.

        Raises:
            ConfigError: If either is anything else, or there is a state in bf16.
        """
        require_windows(inputs, self.features)
        if not isinstance(inputs, np.ndarray):
            raise ConfigError("the windows are a tensor of torch; give an array of NumPy.")
        windows, hours, _ = inputs.shape
        if state is not None:
            require_floats("the state", state, (self.layers, 2 if self.cell == "LSTM" else 1, windows, self.hidden), True)
            if self._precision == "bf16":
                raise ConfigError("the kernel carries no state in bf16; allowed: fp32, int8.")
            if np.may_share_memory(inputs, state):
                raise ConfigError("the state shares memory with the windows, which a run would change. Give a copy.")
        output = np.empty((windows, self.horizon), dtype=np.float32)
        call = ForwardCall(
            threads=self._threads,
            lstm=self.cell == "LSTM",
            B=windows,
            T=hours,
            F=self.features,
            H=self.hidden,
            N=self.layers,
            relu=self._relu,
            L=self.horizon,
            x=inputs.ctypes.data,
            weights=ctypes.addressof(self._layer_addresses),
            head=self._head.ctypes.data,
            head_bias=self._head_bias.ctypes.data,
            state=None if state is None else state.ctypes.data,
            out=output.ctypes.data,
        )
        workspace = aligned_floats(self._workspace_floats(call))
        call.workspace = workspace.ctypes.data
        # At once, and held as long as the call has their addresses.
        with self.turn:
            self._call, self.inputs, self.output, self._state, self._workspace = call, inputs, output, state, workspace
            self._reference = ctypes.byref(call)

    def run(self) -> None:
        """Forecast the bound windows into `output`; the kernel returns when it is ready.

        Raises:
            ConfigError: If none are bound, or in int8 they begin with states that have no bytes.
        """
        with self.turn:
            self.run_in_turn()

    def run_in_turn(self) -> None:
        """As `run`, for whoever holds `turn`: an hour of a stream takes as long as taking it a few times."""
        call = self._call
        # The kernel would follow a null.
        if call is None:
            raise ConfigError("no windows are bound; bind some before a run.")
        if self._precision == "int8" and self._state is not None:
            _require_states_of_bytes(self._state[:, 0])
        if self._threads > 1:
            call.threads = threads_here(self._threads)
        self._forward(self._reference)

    def last_output(self) -> Floats:
        """Return a copy of the last run's forecasts. Shape (B, L)."""
        with self.turn:
            return self.output.copy()

    def forecast(self, inputs: Floats) -> Floats:
        """Bind, run and return a copy of the forecasts, in one turn. Shape (B, L).

        Raises:
            ConfigError: As `bind`.
        """
        with self.turn:
            self.bind(inputs)
            self.run()
            return self.last_output()

    @contextlib.contextmanager
    def timed(self) -> Iterator[Laps]:
        """Time the phases of a run meanwhile, inside the kernel.

        Yields:
            What the run fills. Shape (threads, phases, 2), as `rnncore.kernels.laps` reads it.

        Raises:
            ConfigError: If no windows are bound.
        """
        # In one turn: a run of another thread would write to laps that may be gone by then.
        with self.turn:
            laps, call = no_laps(self._threads), self._call
            if call is None:
                raise ConfigError("no windows are bound; bind some before a run.")
            call.phases = laps.ctypes.data
            try:
                yield laps
            finally:
                call.phases = None


def _require_states_of_bytes(states: Floats) -> None:
    """Refuse states that int8 would take for 1 or -1; one that is no number stays none."""
    size = np.abs(states)
    if (beyond := size > _LARGEST_STATE_IN_INT8).any():
        raise ConfigError(
            f"the state holds a value of the size {size[beyond].max():g}; in int8 states are from -1 to 1, as every GRU and "
            "LSTM leaves them that began so. Run it in fp32."
        )


def _packed_layer(rnn: Rnn, layer: int, kernel: ForwardKernel, precision: str) -> Floats:
    """Return a layer's weights as the kernel takes them: by group of units, and in it by row, gate and unit.

    Args:
        rnn: Has the layer.
        layer: Its number.
        kernel: What takes them.
        precision: Of products. In int8 those of the first layer's inputs are in fp32.
    """
    bias, by_input, by_state = _grouped_layer(rnn, layer, kernel.lanes)
    of_inputs = "fp32" if precision == "int8" and layer == 0 else precision
    parts = [bias, _packed(by_input, kernel, of_inputs), _packed(by_state, kernel, precision)]
    # Copied as integers, bit for bit: two values of bf16 in a float may be a NaN.
    flat = np.concatenate([part.reshape(len(part), -1).view(np.int32) for part in parts], axis=1).ravel()
    packed = aligned_floats(flat.size)
    packed.view(np.int32)[:] = flat
    return packed


def _packed(weight: Floats, kernel: ForwardKernel, precision: str) -> Floats:
    """Return weights, (groups of units, rows, gates, lanes), as products in a precision take them: (groups, ...)."""
    if precision == "bf16" and kernel.bf16:
        return paired(weight, kernel.bf16[1])
    return in_bytes(weight, kernel.zero_byte) if precision == "int8" else weight


def _grouped_layer(rnn: Rnn, layer: int, lanes: int) -> list[Floats]:
    """Return bias, and weights of inputs and states: (groups of units, rows, gates, lanes), missing units zeros."""
    by_input, by_state, bias_input, bias_state = (
        getattr(rnn, f"{name}_l{layer}").detach().numpy() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    gates, hidden = gates_of(rnn), rnn.hidden_size
    both = bias_input + bias_state
    if gates == 3:
        # The reset gate comes between the two biases of the new gate.
        both = np.concatenate([both[: 2 * hidden], bias_input[2 * hidden :], bias_state[2 * hidden :]])
    return [
        grouped(np.ascontiguousarray(columns.T), count, hidden, lanes)
        for columns, count in ((both[:, None], 4), (by_input, gates), (by_state, gates))
    ]


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
    return checked_kernel("forward", lambda: ForwardKernel(compiled_library("forward")), _differences)


def _differences(kernel: ForwardKernel) -> Iterator[str]:
    """Compare a small network of each cell with torch's; yield what gives other forecasts."""
    inputs = windows_to_check(13, 5, 3)
    for rnn, head in networks_to_check(3, 20, 2):
        with torch.inference_mode():
            right = head(torch.relu(rnn(inputs)[0][:, -1]))
        for precision in kernel.forwards:
            packed = PackedNetwork(rnn, head, True, kernel, 2, precision)
            packed.bind(inputs.numpy())
            packed.run()
            if not is_near(torch.from_numpy(packed.output), right, _CHECKED_TO[precision]):
                yield f"its {packed.cell} in {precision}"
