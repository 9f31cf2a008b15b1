"""What the products of a GPU's tensor cores do to forecasts and gradients, computed on a CPU beside what is allowed.

    python bench/studies/rounded_products.py [--data PATH]

Both factors of each product are rounded to the precision and its sum is one of fp32. TF32 is tried to nearest and cut off,
as where nobody rounds what the tensor cores are given. In fp16 and bf16 states are kept in that type, as cuDNN keeps them.
Forecasts: of the article's untrained models and of trained ones of the preset `fast`. Gradients: of the article's models.
"""

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

Round = Callable[[Tensor], Tensor]

# The bits of fp32's 23 that TF32 leaves out.
_LEFT_OUT = 13

# Windows whose answers are compared.
GRADIENT_WINDOWS, FORECAST_WINDOWS = 64, 512


def cut_to_tf32(values: Tensor) -> Tensor:
    """Return values of fp32 with the bits cut off that TF32 leaves out."""
    return (values.contiguous().view(torch.int32) & -(1 << _LEFT_OUT)).view(torch.float32)


def nearest_tf32(values: Tensor) -> Tensor:
    """Return the values of TF32 that are nearest to values of fp32; from the middle away from zero."""
    half = 1 << (_LEFT_OUT - 1)
    return ((values.contiguous().view(torch.int32) + half) & -(1 << _LEFT_OUT)).view(torch.float32)


def _through(dtype: torch.dtype) -> Round:
    return lambda values: values.to(dtype).float()


def _same(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True)
class Rounding:
    """How a precision rounds.

    Attributes:
        precision: As rows name it.
        factors: Rounds what is multiplied.
        states: Rounds what goes from hour to hour.
        title: What the table calls it; the precision where there is nothing to add.
    """

    precision: str
    factors: Round = _same
    states: Round = _same
    title: str = ""


FP32 = Rounding("fp32")
# Weights and states in the type, as a forward pass has them.
FORWARD = (
    Rounding("tf32", nearest_tf32, title="tf32, to nearest"),
    Rounding("tf32", cut_to_tf32, title="tf32, cut off"),
    Rounding("fp16", _through(torch.float16), _through(torch.float16)),
    Rounding("bf16", _through(torch.bfloat16), _through(torch.bfloat16)),
)
# States in fp32, as mixed precision has them.
TRAINING = (
    *FORWARD[:2],
    Rounding("fp16", _through(torch.float16)),
    Rounding("bf16", _through(torch.bfloat16)),
)


class _Product(torch.autograd.Function):
    """Multiply a (M, K) by the transpose of b (N, K), with rounded factors, here and in both products of the gradients."""

    @staticmethod
    def forward(ctx, a, b, factors):
        ctx.save_for_backward(a, b)
        ctx.factors = factors
        return factors(a) @ factors(b).T

    @staticmethod
    def backward(ctx, gradient):
        a, b = ctx.saved_tensors
        of_output = ctx.factors(gradient)
        return of_output @ ctx.factors(b), of_output.T @ ctx.factors(a), None


def rounded_forecast(model, inputs: Tensor, rounding: Rounding) -> Tensor:
    """Return what a forecaster without dropout gives for windows (B, T, F) with rounded products, and can learn from."""
    below = inputs
    for layer in range(model.config.num_layers):
        below = _layer(model, layer, below, rounding)
    return model.read_out(below[:, -1:]).flatten(1)


def _layer(model, layer: int, below: Tensor, rounding: Rounding) -> Tensor:
    """Return the states of a layer. Shape (B, T, H)."""
    w_ih, w_hh, b_ih, b_hh = (
        getattr(model.rnn, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    windows, hours, _ = below.shape
    from_below = (_Product.apply(below.flatten(0, 1), w_ih, rounding.factors) + b_ih).view(windows, hours, -1)
    state = cells = below.new_zeros(windows, model.config.hidden_size)
    states = []
    for hour in range(hours):
        from_before = _Product.apply(state, w_hh, rounding.factors) + b_hh
        state, cells = STEPS[model.config.cell](from_below[:, hour], from_before, state, cells)
        state, cells = rounding.states(state), rounding.states(cells)
        states.append(state)
    return torch.stack(states, dim=1)


def _gru_step(from_below: Tensor, from_before: Tensor, state: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    (reset, update, new), (reset_before, update_before, new_before) = from_below.chunk(3, 1), from_before.chunk(3, 1)
    candidate = torch.tanh(new + torch.sigmoid(reset + reset_before) * new_before)
    return candidate + torch.sigmoid(update + update_before) * (state - candidate), cells


def _lstm_step(from_below: Tensor, from_before: Tensor, state: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    keep, forget, new, out = (from_below + from_before).chunk(4, 1)
    cells = torch.sigmoid(forget) * cells + torch.sigmoid(keep) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(cells), cells


STEPS = {"gru": _gru_step, "lstm": _lstm_step}


def rounded_gradients(model, inputs: Tensor, targets: Tensor, rounding: Rounding) -> list[Tensor]:
    """Return the gradients of the mean squared error with rounded products, of a copy of a model without dropout."""
    changed = copy.deepcopy(model).train()
    torch.nn.functional.mse_loss(rounded_forecast(changed, inputs, rounding), targets).backward()
    return [parameter.grad for parameter in changed.parameters()]


def furthest_off(found: list[Tensor], exact: list[Tensor]) -> float:
    """Return the largest error of a gradient against the largest value of the same one."""
    return max(
        float((one.double() - right).abs().max() / right.abs().max()) for one, right in zip(found, exact, strict=True)
    )


def with_gates_exchanged(model):
    """Return a copy of a model with the first two gates of its last layer in each other's place."""
    wrong, size = copy.deepcopy(model), model.config.hidden_size
    last = model.config.num_layers - 1
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            weight = getattr(wrong.rnn, f"{name}_l{last}")
            weight[: 2 * size] = torch.cat([weight[size : 2 * size], weight[:size]])
    return wrong


def with_gates_in_wrong_order(model, gradients: list[Tensor]) -> list[Tensor]:
    """Return gradients of a model's parameters with each gate of every layer in the place of the next."""
    names = [name for name, _ in model.named_parameters()]
    size = model.config.hidden_size
    return [
        gradient.roll(size, dims=0) if name.startswith("rnn.") else gradient
        for name, gradient in zip(names, gradients, strict=True)
    ]


def main() -> None:
    """Print the table."""
    from rnncore.forecast.cells import CELLS
    from rnncore.forecast.device import default_threads, resolve_device
    from rnncore.forecast.fit import fit
    from rnncore.forecast.model import new_forecaster
    from rnncore.forecast.presets import preset
    from rnncore.forecast.sources import open_dataset
    from rnncore.forecast.trainer import Trainer
    from rnncore.forecast.windows import make_windows
    from rnncore.measure.answers import GRADIENT_TOLERANCE, exact_gradients
    from rnncore.runtimes.parity import float64_forecast, parity

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="synthetic")
    dataset = open_dataset(parser.parse_args().data)
    torch.set_num_threads(default_threads())
    for name in ("article", "fast"):
        for cell in CELLS:
            recipe = preset(name, cell, [series.name for series in dataset.series])
            windows = make_windows(dataset, recipe.windows)
            # Without dropout, which would be another one in each gradient.
            model = new_forecaster(replace(recipe.forecaster, dropout=0.0), recipe.train.seed)
            if name == "fast":
                fit(Trainer(model, windows, recipe.training_on(windows), resolve_device("cpu")))
            start = windows.test_start[np.arange(FORECAST_WINDOWS) * len(windows.test_start) // FORECAST_WINDOWS]
            inputs = windows.inputs(start)
            exact = float64_forecast(model, inputs)
            wrong = np.abs(float64_forecast(with_gates_exchanged(model), inputs) - exact).max()
            print(f"{name} {cell}: largest output {np.abs(exact).max():.2g}, gates exchanged off by {wrong:.1e}")
            with torch.no_grad():
                for rounding in FORWARD:
                    outputs = rounded_forecast(model.eval(), torch.from_numpy(inputs), rounding).numpy()
                    found = parity(outputs, exact, rounding.precision)
                    title = rounding.title or rounding.precision
                    print(f"  {title:18} outputs   off by {found.max_abs:.1e}, allowed {found.tolerance:.1e}", flush=True)
            if name == "fast":
                continue
            few = torch.from_numpy(inputs[:GRADIENT_WINDOWS])
            targets = torch.from_numpy(windows.target[windows.target_rows(start[:GRADIENT_WINDOWS])])
            right = exact_gradients(model, few, targets, torch.nn.functional.mse_loss)
            off = furthest_off(
                exact_gradients(with_gates_exchanged(model), few, targets, torch.nn.functional.mse_loss), right
            )
            print(f"{name} {cell}: gradients with gates in a wrong order off by {off:.1e} of the largest")
            for rounding in TRAINING:
                off = furthest_off(rounded_gradients(model, few, targets, rounding), right)
                allowed = GRADIENT_TOLERANCE.get(rounding.precision)
                title = rounding.title or rounding.precision
                print(f"  {title:18} gradients off by {off:.1e}, allowed {allowed}", flush=True)


if __name__ == "__main__":
    main()
