"""GRU and LSTM layers for training on a CPU, by kernels of our own: `train.c`, compiled at first use.

torch runs a GRU on the CPU as some eleven small operations per hour and layer, each over the whole batch and each a barrier
for its threads; an LSTM in training is better off, but waits at barriers too. Here each thread takes its windows through all
hours by itself, and the products are those of the register tile that forecasts take.

Needed is what `rnncore.kernels.library` needs. Where it is missing, `fused_kernels` names it.
"""

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnncore.errors import ConfigError, Unavailable
from rnncore.kernels.arguments import Rnn, require_rnn, require_windows
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
from rnncore.kernels.memory import paged_floats

# Floats of one hour's gates that a block of windows may take: half of a common core's own cache of 1 MiB.
_BLOCK_GATES = 128 * 1024

# Largest difference of a self-check's gradients, relative to the largest value.
_CHECKED_TO = 1e-4


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class LayerForward(ctypes.Structure):
    """What the forward pass takes: `layer_forward_t` of `train.c`, which names what each field is."""

    _fields_ = (
        *_fields(ctypes.c_int32, "threads B T F H block bf16"),
        *_fields(ctypes.c_void_p, "x"),
        *_fields(ctypes.c_int64, "x_window x_hour"),
        *_fields(ctypes.c_void_p, "w_x w_h bias h cell gates workspace"),
        ("dropped", ctypes.c_float),
        ("seed", ctypes.c_uint32),
        ("phases", ctypes.c_void_p),
    )


class LayerBackward(ctypes.Structure):
    """What the backward pass takes: `layer_backward_t` of `train.c`."""

    _fields_ = (
        *_fields(ctypes.c_int32, "threads B T F H block bf16 first_out"),
        *_fields(ctypes.c_void_p, "x"),
        *_fields(ctypes.c_int64, "x_window x_hour"),
        *_fields(
            ctypes.c_void_p, "w_x w_h h cell gates grad_out grad grad_cell grad_x grad_w_x grad_w_h grad_bias workspace"
        ),
        ("dropped", ctypes.c_float),
        ("seed", ctypes.c_uint32),
        ("phases", ctypes.c_void_p),
    )


class Kernels:
    """The compiled kernels.

    Args:
        path: The shared library.

    Attributes:
        name: What they are and where they come from, for a reader.

    Raises:
        OSError: If it cannot be loaded.
        Unavailable: If they take other structs than ours.
    """

    def __init__(self, path: Path) -> None:
        library = open_library(path)
        self.forward, self.backward = library.layer_forward, library.layer_backward
        for function, size, struct in (
            (self.forward, library.layer_forward_bytes, LayerForward),
            (self.backward, library.layer_backward_bytes, LayerBackward),
        ):
            size.restype = ctypes.c_int64
            require_layout(struct, size())
            function.argtypes, function.restype = [ctypes.POINTER(struct)], None
        self.name = f"rnncore kernels, {VECTORS[library.lanes()]}, {origin_of(path)}"
        self.has_bf16 = bool(library.has_pairs())
        self.workspace_floats = library.layer_workspace_floats
        self.workspace_floats.argtypes, self.workspace_floats.restype = [ctypes.POINTER(LayerForward)], ctypes.c_int64


def fused_kernels() -> Kernels:
    """Return the kernels; the first call on a machine compiles them, in a few seconds, and keeps them in the user's cache.

    Raises:
        Unavailable: If they cannot be compiled or loaded here, or give wrong answers.
    """
    found = _load()
    if isinstance(found, str):
        raise Unavailable(f"no fused kernels: {found}. Or train with the implementation 'aten'.")
    return found


@cache
def _load() -> Kernels | str:
    """Return the kernels, or why there are none."""
    return checked_kernel("train", lambda: Kernels(compiled_library("train")), _differences)


def _differences(kernels: Kernels) -> Iterator[str]:
    """Compare a small layer of each cell with torch's; yield what gives other states or gradients."""
    inputs = windows_to_check(5, 3, 2)
    for rnn, _ in networks_to_check(2, 4, 1):
        answers = []
        for states in (rnn(inputs)[0], FusedLayers(rnn, kernels).states(inputs, 3)):
            gradients = torch.autograd.grad((states * states).sum(), list(rnn.parameters()))
            answers.append(torch.cat([states.flatten(), *(gradient.flatten() for gradient in gradients)]).detach())
        right, found = answers
        if not is_near(found, right, _CHECKED_TO * float(right.abs().max())):
            yield f"their {rnn.mode}"


# Filled while passes are timed, which is rare.
_timed_passes: dict[str, list[Laps]] | None = None


@contextlib.contextmanager
def timed_passes() -> Iterator[dict[str, list[Laps]]]:
    """Time the phases of all layers' passes meanwhile, inside the kernels.

    Yields:
        The laps of each pass in the order in which they ran, by the name that torch's profiler has for it: `FusedLayer`
        or `FusedLayerBackward`. Shape (threads, phases, 2) each, as `rnncore.kernels.laps` reads them.
    """
    global _timed_passes
    before, _timed_passes = _timed_passes, {"FusedLayer": [], "FusedLayerBackward": []}
    try:
        yield _timed_passes
    finally:
        _timed_passes = before


def _new_laps(name: str, threads: int) -> Laps | None:
    """Return what the kernel is to write the laps of a pass to; None, and it takes none, unless passes are timed."""
    # Once: another thread may end the timing meanwhile.
    passes = _timed_passes
    if passes is None:
        return None
    laps = no_laps(threads)
    passes[name].append(laps)
    return laps


class FusedLayers:
    """The layers of a recurrent module, run by the fused kernels, with the memory that they need from step to step.

    Gradients can be asked for of the last forward pass alone: the next uses its memory again. Threads of Python may share
    one: passes take turns, and states and gradients are copies. There are no gradients of gradients.

    Args:
        rnn: In one direction, with biases, batch first; float32, contiguous, on the CPU. Its parameters are used, and get
            the gradients.
        kernels: What `fused_kernels` returned.
        precision: Of the factors of products: `fp32`, or where the CPU has instructions for it `bf16`. Sums, states, weights
            and gradients are in fp32 either way.

    Raises:
        ConfigError: If the kernels cannot run such layers, or not in this precision.
        Unavailable: If there is no kernel for their cell.
    """

    def __init__(self, rnn: Rnn, kernels: Kernels, precision: str = "fp32") -> None:
        require_rnn(rnn)
        precisions = ("fp32", "bf16") if kernels.has_bf16 else ("fp32",)
        if precision not in precisions:
            raise ConfigError(f"precision is {precision!r}; allowed: {', '.join(precisions)}.")
        self._rnn, self.kernels, self.precision = rnn, kernels, precision
        self._buffers: dict[tuple[int, str], Tensor] = {}
        self.passes = 0
        self.turn = threading.Lock()

    def states(self, inputs: Tensor, last: int) -> Tensor:
        """Return the top layer's states of the last hours; dropout is that of a module in training.

        Args:
            inputs: Windows. Shape (B, T, F), float32, on the CPU; at least one window and one hour.
            last: Hours whose states are asked for, from 1 to T.

        Returns:
            Shape (B, last, H).

        Raises:
            ConfigError: If the windows or the hours are others, or the layers are no longer what they were.
        """
        # They may have been converted, moved or replaced since.
        require_rnn(self._rnn)
        if not 0 <= self._rnn.dropout <= 1:
            raise ConfigError(f"dropout is {self._rnn.dropout}; give a number from 0 to 1.")
        if not isinstance(inputs, Tensor):
            raise ConfigError(f"the windows are of type {type(inputs).__name__}; give a tensor of torch.")
        if inputs.layout == torch.strided:
            inputs = inputs.resolve_neg().contiguous()
        require_windows(inputs, self._rnn.input_size)
        hours = inputs.shape[1]
        if not 1 <= last <= hours:
            raise ConfigError(f"states of the last {last} hours are asked for; allowed: 1 to {hours}.")
        with self.turn:
            # A copy: the next pass writes where this one did.
            return self._states(inputs, last).transpose(0, 1).clone()

    def _states(self, inputs: Tensor, last: int) -> Tensor:
        """Return the states where the kernels leave them. Shape (last, B, H)."""
        hours = inputs.shape[1]
        self.passes += 1
        below, dropped = inputs, 0.0
        run: Callable[..., Tensor] = FusedLayer.apply
        for layer in range(self._rnn.num_layers):
            weights = [getattr(self._rnn, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            is_top = layer == self._rnn.num_layers - 1
            # On the CPU, whatever torch's default is set to.
            seed = int(torch.randint(2**32, (), device="cpu")) if dropped else 0
            below = run(below, *weights, self, layer, last if is_top else hours, dropped, seed)
            dropped = self._rnn.dropout
        return below

    def buffer(self, layer: int, name: str, *shape: int) -> Tensor:
        """Return memory that stays from step to step: fresh pages would cost more than the arithmetic on them."""
        size = 1
        for length in shape:
            size *= length
        held = self._buffers.get((layer, name))
        if held is None or held.numel() < size:
            # Else what inference mode made could not be written to outside of it.
            with torch.inference_mode(False):
                held = self._buffers[layer, name] = paged_floats(size)
        return held[:size].view(shape)


class FusedLayer(torch.autograd.Function):
    """One layer. Its inputs are (B, T, F) below the first layer and (T, B, F) above; its states (last, B, H)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        layers: FusedLayers,
        layer: int,
        last: int,
        dropped: float,
        seed: int,
    ) -> Tensor:
        """Return the states of the last hours."""
        hidden, is_lstm = weight_hh.shape[1], weight_hh.shape[0] == 4 * weight_hh.shape[1]
        if layer == 0:
            batch, hours, features = x.shape
            steps = (hours * features, features)
        else:
            hours, batch, features = x.shape
            steps = (features, batch * features)
        bias = bias_ih + bias_hh
        if not is_lstm:
            bias = torch.cat([bias[: 2 * hidden], bias_hh[2 * hidden :], bias_ih[2 * hidden :]])
        threads = threads_here(torch.get_num_threads())
        block = _block(batch, hidden, threads)
        h = layers.buffer(layer, "h", hours + 1, batch, hidden)
        gates = layers.buffer(layer, "gates", hours, batch, 4 * hidden)
        cell = layers.buffer(layer, "cell", hours + 1, batch, hidden) if is_lstm else None
        for start in (h, cell):
            if start is not None:
                start[0] = 0
        # What both passes take alike.
        both: dict[str, Any] = {
            "threads": threads,
            **{"B": batch, "T": hours, "F": features, "H": hidden, "block": block, "bf16": layers.precision == "bf16"},
            **{"x_window": steps[0], "x_hour": steps[1]},
            **{"w_x": _at(weight_ih), "w_h": _at(weight_hh), "h": _at(h), "cell": _at(cell), "gates": _at(gates)},
            **{"dropped": dropped, "seed": seed},
        }
        # Shared by all layers: nothing stays there.
        workspace = layers.buffer(0, "workspace", layers.kernels.workspace_floats(LayerForward(**both)))
        both["workspace"] = _at(workspace)
        laps = _new_laps("FusedLayer", threads)
        layers.kernels.forward(LayerForward(**both, x=_at(x), bias=_at(bias), phases=_laps_at(laps)))
        ctx.save_for_backward(x, weight_ih, weight_hh)
        # The memory is held as long as its addresses, that of tensors also where they are given other memory.
        ctx.held = (layers, layers.passes, layer, is_lstm, h, cell, gates, workspace)
        ctx.given = x.detach(), weight_ih.detach(), weight_hh.detach()
        ctx.run = (both, last)
        return h[hours + 1 - last :].detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the gradients of inputs and parameters."""
        with ctx.held[0].turn:
            return FusedLayer._gradients(ctx, gradients)

    @staticmethod
    def _gradients(ctx: Any, gradients: tuple[Tensor, ...]) -> Any:
        layers, passes, layer, is_lstm, *_ = ctx.held
        if layers.passes != passes:
            raise RuntimeError("the memory of this forward pass was used again; take the gradients before the next pass.")
        if torch.is_grad_enabled():
            raise RuntimeError(
                "gradients of gradients are asked for (create_graph=True), and the fused layers have none; train with the "
                "implementation 'aten'."
            )
        # Those that were changed in place are refused by autograd itself.
        if [one.data_ptr() for one in ctx.saved_tensors] != [one.data_ptr() for one in ctx.given]:
            raise RuntimeError(
                "the inputs or weights of this forward pass were given other memory since; take the gradients before that."
            )
        x, weight_ih, weight_hh = ctx.given
        both, last = ctx.run
        # The process may have been forked since.
        threads = threads_here(both["threads"])
        batch, hours, features, hidden = (both[name] for name in ("B", "T", "F", "H"))
        (grad_out,) = (gradient.resolve_neg().contiguous() for gradient in gradients)
        # Whatever torch's defaults are set to.
        plain: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
        grad = torch.zeros(batch, hidden, **plain)
        grad_cell = torch.zeros(batch, hidden, **plain) if is_lstm else None
        grad_x = layers.buffer(layer, "grad_x", hours, batch, features) if ctx.needs_input_grad[0] else None
        # Input by gate, as the kernels have them.
        grad_ih, grad_hh = (torch.zeros(threads, *weight.t().shape, **plain) for weight in (weight_ih, weight_hh))
        grad_bias = torch.zeros(threads, 4 * hidden, dtype=torch.float64, device="cpu")
        laps = _new_laps("FusedLayerBackward", threads)
        layers.kernels.backward(
            LayerBackward(
                **{**both, "threads": threads},
                x=_at(x),
                first_out=hours - last,
                grad_out=_at(grad_out),
                grad=_at(grad),
                grad_cell=_at(grad_cell),
                grad_x=_at(grad_x),
                grad_w_x=_at(grad_ih),
                grad_w_h=_at(grad_hh),
                grad_bias=_at(grad_bias),
                phases=_laps_at(laps),
            )
        )
        grad_b = grad_bias.sum(0).float()
        grad_b_ih, grad_b_hh = grad_b, grad_b.clone()
        if not is_lstm:
            grad_b_ih, grad_b_hh = torch.cat([grad_b[: 2 * hidden], grad_b[3 * hidden :]]), grad_b[: 3 * hidden]
        if grad_x is not None and layer == 0:
            # A copy: autograd may keep it as it is, and the next pass writes where this one did.
            grad_x = grad_x.transpose(0, 1).clone()
        return (
            grad_x,
            *(grad.sum(0).t().contiguous() for grad in (grad_ih, grad_hh)),
            grad_b_ih,
            grad_b_hh,
            *[None] * 5,
        )


def _block(batch: int, hidden: int, threads: int) -> int:
    """Return how many windows go through all hours together: few enough for a core's cache, and as many blocks for each."""
    of_thread = -(-batch // threads)
    blocks = -(-of_thread * 4 * hidden // _BLOCK_GATES)
    return -(-of_thread // blocks)


def _laps_at(laps: Laps | None) -> int | None:
    return None if laps is None else laps.ctypes.data


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
