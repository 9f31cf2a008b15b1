"""Training in a mixed precision: layers and products in bf16 or fp16; weights, gradients, optimiser and loss in fp32."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from rnncore.errors import Unavailable
from rnncore.forecast.device import Device

TrainPrecision = Literal["fp32", "amp_bf16", "amp_fp16"]
TRAIN_PRECISIONS: tuple[TrainPrecision, ...] = get_args(TrainPrecision)

_DTYPES = {"amp_bf16": torch.bfloat16, "amp_fp16": torch.float16}


class Autocast:
    """What a training step in a mixed precision does otherwise than one in fp32; in fp32 nothing.

    Args:
        rnn: The recurrent layers, on the device; their weights stay in fp32.
        precision: One of `TRAIN_PRECISIONS`.
        device: Where they are trained.

    Attributes:
        scaler: Multiplies the loss of fp16, whose gradients would be too small for it, and leaves out steps where they
            became too large; it waits for nothing. In other precisions it leaves all as it is.

    Raises:
        Unavailable: If the device does not train in the precision.
    """

    def __init__(self, rnn: nn.RNNBase, precision: TrainPrecision, device: torch.device) -> None:
        on = Device.of(device)
        if on.is_cpu and precision == "amp_fp16":
            raise Unavailable("no training in amp_fp16 on a CPU: it gains nothing there. Train in amp_bf16, or on a GPU.")
        on.require(precision.removeprefix("amp_"))
        self._rnn, self._device, self._dtype = rnn, on, _DTYPES.get(precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "amp_fp16")

    def rounding(self) -> AbstractContextManager[object]:
        """Let torch round the factors of products inside the block, where the precision is a mixed one."""
        return nullcontext() if self._dtype is None else torch.autocast(self._device.type, self._dtype)

    def states(self, inputs: Tensor) -> Tensor:
        """Run the recurrent layers from a state of zeros.

        torch's own autocast runs cuDNN's layers in fp16, whichever type it is asked for. So on a GPU they get rounded
        weights, in one piece as cuDNN wants them.

        Args:
            inputs: Shape (B, T, F), float32.

        Returns:
            States of the top layer. Shape (B, T, H).
        """
        if self._dtype is None or self._device.is_cpu:
            states: Tensor = self._rnn(inputs)[0]
            return states
        with torch.autocast(self._device.type, enabled=False):
            weights = _Rounded.apply(self._dtype, self._pack, *_weights(self._rnn))  # type: ignore[no-untyped-call]
            return _run(self._rnn, inputs.to(self._dtype), list(weights))

    def _pack(self, weights: list[Tensor]) -> None:
        """Let rounded weights lie in one piece of memory, where it is cuDNN that runs the layers."""
        rnn = self._rnn
        # Asked of the fp32 ones: of the types that torch lists for cuDNN, bf16 is missing.
        if not torch.backends.cudnn.is_acceptable(next(rnn.parameters())):  # type: ignore[no-untyped-call]
            return
        mode = torch.backends.cudnn.rnn.get_cudnn_mode(rnn.mode)  # type: ignore[no-untyped-call]
        sizes = rnn.hidden_size, rnn.proj_size, rnn.num_layers, rnn.batch_first, rnn.bidirectional
        torch._cudnn_rnn_flatten_weight(weights, len(rnn.all_weights[0]), rnn.input_size, mode, *sizes)


class _Rounded(torch.autograd.Function):
    """Weights rounded to another type and packed; on the way back their gradients are those of the weights, in fp32."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, pack: Callable[[list[Tensor]], None], *weights: Tensor) -> tuple[Tensor, ...]:
        rounded = [weight.to(dtype) for weight in weights]
        pack(rounded)
        return tuple(rounded)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(gradient.float() for gradient in gradients))


def _weights(rnn: nn.RNNBase) -> list[Tensor]:
    return [weight for of_layer in rnn.all_weights for weight in of_layer]


def _run(rnn: nn.RNNBase, inputs: Tensor, weights: list[Tensor]) -> Tensor:
    """Run layers with other weights than their own, from a state of zeros."""
    zeros = inputs.new_zeros(rnn.num_layers, len(inputs), rnn.hidden_size)
    settings = rnn.bias, rnn.num_layers, rnn.dropout, rnn.training, rnn.bidirectional, rnn.batch_first
    if isinstance(rnn, nn.LSTM):
        return torch.lstm(inputs, (zeros, zeros), weights, *settings)[0]
    return torch.gru(inputs, zeros, weights, *settings)[0]
