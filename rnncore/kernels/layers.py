"""GRU and LSTM layers for training on a CPU, by kernels of our own: `train.c`, compiled at first use.

torch runs a GRU on the CPU as some eleven small operations per hour and layer, each over the whole batch and each a barrier
for its threads; an LSTM in training is better off, but waits at barriers too. Here each thread takes its windows through all
hours by itself. The products are those of the BLAS that torch carries.

Needed is what `rnncore.kernels.library` needs, and a torch whose library gives out `sgemm_`, as the wheels do. Where one
is missing, `fused_kernels` says which.
"""

import contextlib
import ctypes
import mmap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnncore.errors import Unavailable
from rnncore.kernels.laps import Laps, no_laps
from rnncore.kernels.library import compiled_library

# Floats of one hour's gates that a block of windows may take: half of a common core's own cache of 1 MiB.
_BLOCK_GATES = 128 * 1024

# Largest difference of a self-check's gradients, relative to the largest value.
_CHECKED_TO = 1e-4


class Kernels:
    """The compiled kernels.

    Args:
        path: The shared library.

    Raises:
        OSError: If it cannot be loaded.
        AttributeError: If torch's library does not give out `sgemm_`.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        blas = ctypes.CDLL(str(_torch_library()))
        self.sgemm = ctypes.cast(blas.sgemm_, ctypes.c_void_p)
        pointer, integer, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
        dropout: list[Any] = [ctypes.c_float, ctypes.c_uint32]
        inputs: list[Any] = [pointer, integer, pointer, long, long]
        self.forward = library.layer_forward
        self.forward.argtypes = [*inputs, *[pointer] * 8, *dropout, *[integer] * 5, pointer]
        self.backward = library.layer_backward
        self.backward.argtypes = [*inputs, *[pointer] * 9, integer, *[pointer] * 6, *dropout, *[integer] * 5, pointer]
        for function in (self.forward, self.backward):
            function.restype = None


def fused_kernels() -> Kernels:
    """Return the kernels; the first call on a machine compiles them, in about a second, and keeps them in the user's cache.

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
    try:
        kernels = Kernels(compiled_library("train"))
    except (OSError, AttributeError, Unavailable) as error:
        return str(error)
    return _why_wrong(kernels) or kernels


def _torch_library() -> Path:
    return Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"


def _why_wrong(kernels: Kernels) -> str | None:
    """Hold a small layer of both cells against torch; return what is wrong."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = torch.randn(5, 3, 2)
        for kind in (nn.GRU, nn.LSTM):
            rnn = kind(2, 4, batch_first=True)
            answers = []
            for states in (rnn(inputs)[0], FusedLayers(rnn, kernels).states(inputs, 3)):
                gradients = torch.autograd.grad((states * states).sum(), list(rnn.parameters()))
                answers.append(torch.cat([states.flatten(), *(gradient.flatten() for gradient in gradients)]).detach())
            # Written so that NaN is wrong too.
            if not (answers[0] - answers[1]).abs().max() <= _CHECKED_TO * answers[0].abs().max():
                return f"a {kind.__name__} of theirs gives other answers than torch's"
    return None


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


def _new_laps(name: str, threads: int) -> int | None:
    """Return where the kernel is to write the laps of a pass; None, and it takes none, unless passes are timed."""
    if _timed_passes is None:
        return None
    laps = no_laps(threads)
    _timed_passes[name].append(laps)
    return laps.ctypes.data


class FusedLayers:
    """The layers of a recurrent module, run by the fused kernels, with the memory that they need from step to step.

    Gradients can be asked for of the last forward pass alone: the next uses its memory again.

    Args:
        rnn: In one direction, with biases, batch first, float32, on the CPU. Its parameters are used, and get the gradients.
        kernels: What `fused_kernels` returned.
    """

    def __init__(self, rnn: nn.GRU | nn.LSTM, kernels: Kernels) -> None:
        self._rnn, self.kernels = rnn, kernels
        self._buffers: dict[tuple[int, str], Tensor] = {}
        self.passes = 0

    def states(self, inputs: Tensor, last: int) -> Tensor:
        """Return the top layer's states of the last hours; dropout is that of a module in training.

        Args:
            inputs: Windows. Shape (B, T, F), float32.
            last: Hours whose states are asked for, at most T.

        Returns:
            Shape (B, last, H).
        """
        self.passes += 1
        hours = inputs.shape[1]
        below, dropped = inputs, 0.0
        run: Callable[..., Tensor] = FusedLayer.apply
        for layer in range(self._rnn.num_layers):
            weights = [getattr(self._rnn, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            is_top = layer == self._rnn.num_layers - 1
            seed = int(torch.randint(2**32, ())) if dropped else 0
            below = run(below, *weights, self, layer, last if is_top else hours, dropped, seed)
            dropped = self._rnn.dropout
        return below.transpose(0, 1)

    def buffer(self, layer: int, name: str, *shape: int) -> Tensor:
        """Return memory that stays from step to step: fresh pages would cost more than the arithmetic on them."""
        size = 1
        for length in shape:
            size *= length
        held = self._buffers.get((layer, name))
        if held is None or held.numel() < size:
            held = self._buffers[layer, name] = _fresh(size)
        return held[:size].view(shape)


def _fresh(size: int) -> Tensor:
    """Return *size* floats, in huge pages where the system has them to give."""
    memory = mmap.mmap(-1, 4 * size)
    # A kernel without huge pages refuses; the training only is a little slower then.
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32)


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
        x = x.contiguous()
        if layer == 0:
            batch, hours, features = x.shape
            steps = (hours * features, features)
        else:
            hours, batch, features = x.shape
            steps = (features, batch * features)
        bias = bias_ih + bias_hh
        if not is_lstm:
            bias = torch.cat([bias[: 2 * hidden], bias_hh[2 * hidden :], bias_ih[2 * hidden :]])
        threads = torch.get_num_threads()
        block = _block(batch, hidden, threads)
        h = layers.buffer(layer, "h", hours + 1, batch, hidden)
        gates = layers.buffer(layer, "gates", hours, batch, 4 * hidden)
        cell = layers.buffer(layer, "cell", hours + 1, batch, hidden) if is_lstm else None
        hour = layers.buffer(0, "hour", threads, block, 4 * hidden)
        scratch = layers.buffer(layer, "scratch", threads, block, features) if dropped else None
        for start in (h, cell):
            if start is not None:
                start[0] = 0
        sizes = (batch, hours, features, hidden, block)
        by_input, by_state = weight_ih.t().contiguous(), weight_hh.t().contiguous()
        layers.kernels.forward(
            *(layers.kernels.sgemm, threads, _at(x), *steps, _at(by_input), _at(by_state), _at(bias), _at(h), _at(cell)),
            *(_at(gates), _at(hour), _at(scratch), dropped, seed, *sizes, _new_laps("FusedLayer", threads)),
        )
        ctx.save_for_backward(x, weight_ih, weight_hh)
        ctx.held = (layers, layers.passes, layer, h, cell, gates, hour, scratch)
        ctx.run = (threads, steps, last, dropped, seed, sizes)
        return h[hours + 1 - last :].detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the gradients of inputs and parameters."""
        x, weight_ih, weight_hh = ctx.saved_tensors
        layers, passes, layer, h, cell, gates, hour, scratch = ctx.held
        threads, steps, last, dropped, seed, sizes = ctx.run
        batch, hours, features, hidden, _ = sizes
        if layers.passes != passes:
            raise RuntimeError("the memory of this forward pass was used again; take the gradients before the next pass.")
        (grad_out,) = (gradient.contiguous() for gradient in gradients)
        grad = torch.zeros(batch, hidden)
        grad_cell = None if cell is None else torch.zeros(batch, hidden)
        grad_x = layers.buffer(layer, "grad_x", hours, batch, features) if ctx.needs_input_grad[0] else None
        # Input by gate, as the kernels have them.
        grad_ih, grad_hh = (torch.zeros(threads, *weight.t().shape) for weight in (weight_ih, weight_hh))
        grad_bias = torch.zeros(threads, 4 * hidden, dtype=torch.float64)
        sums = torch.empty(threads, 4 * hidden)
        layers.kernels.backward(
            *(layers.kernels.sgemm, threads, _at(x), *steps, _at(weight_ih), _at(weight_hh), _at(h), _at(cell), _at(gates)),
            *(_at(hour), _at(grad), _at(grad_cell), _at(grad_out), hours - last, _at(grad_x), _at(grad_ih), _at(grad_hh)),
            *(_at(grad_bias), _at(sums), _at(scratch), dropped, seed, *sizes, _new_laps("FusedLayerBackward", threads)),
        )
        both = grad_bias.sum(0).float()
        grad_b_ih, grad_b_hh = both, both.clone()
        if cell is None:
            grad_b_ih, grad_b_hh = torch.cat([both[: 2 * hidden], both[3 * hidden :]]), both[: 3 * hidden]
        if grad_x is not None and layer == 0:
            grad_x = grad_x.transpose(0, 1)
        return (
            grad_x,
            *(grad.sum(0).t().contiguous() for grad in (grad_ih, grad_hh)),
            grad_b_ih,
            grad_b_hh,
            None,
            None,
            None,
            None,
            None,
        )


def _block(batch: int, hidden: int, threads: int) -> int:
    """Return how many windows go through all hours together: few enough for a core's cache, and as many blocks for each."""
    of_thread = -(-batch // threads)
    blocks = -(-of_thread * 4 * hidden // _BLOCK_GATES)
    return -(-of_thread // blocks)


def _at(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
