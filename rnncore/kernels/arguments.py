"""Checks of what kernels are given, before C sees it: C reads past the end of what is too small, without an error."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rnncore.errors import ConfigError, Unavailable

Rnn: TypeAlias = nn.GRU | nn.LSTM

Floats: TypeAlias = npt.NDArray[np.float32]

# Of any one length: the kernels count places in 64 bits, but windows, hours and columns of gates, four times as many as
# units, in 32.
MOST = 2**28

_BYTES = 4


def gates_of(rnn: Rnn) -> int:
    """Return how many gates the cell has."""
    return 4 if isinstance(rnn, nn.LSTM) else 3


def require_rnn(rnn: Rnn) -> None:
    """Refuse recurrent layers that no kernel computes.

    Raises:
        Unavailable: If they are neither GRU nor LSTM: there may be other cells, and no kernel for them.
        ConfigError: If they are not batch first, bidirectional, without biases or with projections; or a weight is missing,
            of another shape than the sizes of the layers say, or not contiguous float32 on the CPU.
    """
    if not isinstance(rnn, nn.GRU | nn.LSTM):
        raise Unavailable(f"the kernel cannot run {type(rnn).__name__}; allowed: torch.nn.GRU, torch.nn.LSTM.")
    for name, allowed in (("batch_first", True), ("bidirectional", False), ("bias", True), ("proj_size", 0)):
        if (found := getattr(rnn, name)) != allowed:
            raise ConfigError(f"the kernel cannot run {rnn.mode} with {name}={found}; allowed: {name}={allowed}.")
    for name in ("input_size", "hidden_size", "num_layers"):
        _require_length(name, getattr(rnn, name))
    for name, shape in _weights_of(rnn):
        # Some are no parameters: a parametrisation works them out.
        weight = getattr(rnn, name, None)
        if weight is None:
            raise ConfigError(f"{name}: missing; the kernel takes the weights of all {rnn.num_layers} layers.")
        require_floats(name, weight, shape)


def _weights_of(rnn: Rnn) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the names and shapes of all weights."""
    rows = gates_of(rnn) * rnn.hidden_size
    for layer in range(rnn.num_layers):
        yield f"weight_ih_l{layer}", (rows, rnn.hidden_size if layer else rnn.input_size)
        yield f"weight_hh_l{layer}", (rows, rnn.hidden_size)
        yield f"bias_ih_l{layer}", (rows,)
        yield f"bias_hh_l{layer}", (rows,)


def require_head(head: nn.Linear, hidden: int) -> None:
    """Refuse a head that does not fit the layers.

    Args:
        head: From states to forecasts.
        hidden: Units of the layers, H.

    Raises:
        ConfigError: If it is not linear, has no bias, takes another number of units, or is not contiguous float32 on the
            CPU.
    """
    if not isinstance(head, nn.Linear):
        raise ConfigError(f"the kernel cannot run the head {type(head).__name__}; allowed: torch.nn.Linear.")
    if head.bias is None:
        raise ConfigError("the kernel cannot run a head with bias=False; allowed: bias=True.")
    _require_length("out_features of the head", head.out_features)
    require_floats("the head's weight", head.weight, (head.out_features, hidden))
    require_floats("the head's bias", head.bias, (head.out_features,))


def require_windows(inputs: Tensor | Floats, features: int) -> None:
    """Refuse windows that a kernel cannot read.

    Args:
        inputs: Should be of shape (B, T, F), float32, contiguous, on the CPU, with at least one window and one hour.
        features: What the layers take, F.

    Raises:
        ConfigError: If they are not.
    """
    _require_array("the windows", inputs)
    shape = tuple(inputs.shape)
    if len(shape) != 3:
        raise ConfigError(f"the windows have shape {shape}; give (windows, hours, features).")
    windows, hours, found = shape
    if found != features:
        raise ConfigError(f"the windows have {found} features; the model takes {features}.")
    if windows < 1 or hours < 1:
        raise ConfigError(f"there are {windows} windows of {hours} hours; give at least one window of one hour.")
    for name, length in (("windows", windows), ("hours", hours)):
        _require_length(name, length)
    require_floats("the windows", inputs, shape)


def _require_length(name: str, length: int) -> None:
    if not 1 <= length <= MOST:
        raise ConfigError(f"{name} is {length}; the kernel takes 1 to {MOST:,}.")


def _require_array(name: str, given: Tensor | Floats) -> None:
    if not isinstance(given, Tensor | np.ndarray):
        raise ConfigError(f"{name}: {type(given).__name__}; the kernel takes an array of NumPy or a tensor of torch.")


def require_floats(name: str, given: Tensor | Floats, shape: tuple[int, ...], is_written: bool = False) -> None:
    """Refuse an array that a kernel cannot take by its address.

    Args:
        name: What it is, for the error.
        given: The array.
        shape: What its shape must be.
        is_written: Whether the kernel writes to it.

    Raises:
        ConfigError: If it is no array, has another shape, is not float32, does not lie in one piece in row-major order, is
            on another device than the CPU, or is to be written and read-only.
    """
    _require_array(name, given)
    if isinstance(given, Tensor):
        device, is_writeable = given.device.type, True
    else:
        device, is_writeable = "cpu", given.flags.writeable
    # Of a NumPy type its text: the name of another byte order would be the same.
    found = str(given.dtype).removeprefix("torch.")
    if device != "cpu":
        raise ConfigError(f"{name}: on {device}; the kernel takes what is on the CPU.")
    if found != "float32":
        raise ConfigError(f"{name}: {found}; the kernel takes float32.")
    if tuple(given.shape) != shape:
        raise ConfigError(f"{name}: of shape {tuple(given.shape)}; the kernel takes {shape}.")
    if not _is_whole(given):
        raise ConfigError(f"{name}: not contiguous; the kernel takes values one after another, as a copy has them.")
    if is_written and not is_writeable:
        raise ConfigError(f"{name}: read-only; the kernel writes to it. Give a copy.")


def _is_whole(given: Tensor | Floats) -> bool:
    """Return whether an array on the CPU has all its values in memory, as they are and one after another."""
    if isinstance(given, np.ndarray):
        return bool(given.flags.c_contiguous and given.flags.aligned)
    # One that is sparse has no such memory; of a negative view the signs are to be turned.
    return given.layout == torch.strided and given.is_contiguous() and not given.is_neg() and given.data_ptr() % _BYTES == 0
