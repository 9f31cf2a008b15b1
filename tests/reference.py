"""The naive reference: GRU and LSTM written from their equations in float64 NumPy, and gradients by finite differences.

Nothing here imports torch or calls the code under test; every window, hour and layer is an explicit loop.
"""

import numpy as np
import numpy.typing as npt

from rnncore.forecast.model import ForecasterConfig

Array = npt.NDArray[np.float64]
Weights = dict[str, Array]

# Central differences in float64 are off by the square of the step and by the rounding of the loss over the step.
STEP = 1e-5


def forecast(weights: Weights, config: ForecasterConfig, inputs: Array) -> Array:
    """Forecast one value per window.

    Args:
        weights: By the names of torch's state_dict. Gates are stacked in torch's order.
        config: Kind and size.
        inputs: Windows. Shape (B, T, F).

    Returns:
        Shape (B, 1).
    """
    step = {"gru": _gru_step, "lstm": _lstm_step}[config.cell]
    outputs = np.empty((len(inputs), 1))
    for window, rows in enumerate(np.asarray(inputs, dtype=np.float64)):
        hidden = [np.zeros(config.hidden_size) for _ in range(config.num_layers)]
        memory = [np.zeros(config.hidden_size) for _ in range(config.num_layers)]
        for row in rows:
            below = row
            for layer in range(config.num_layers):
                hidden[layer], memory[layer] = step(weights, layer, below, hidden[layer], memory[layer])
                below = hidden[layer]
        last = hidden[-1]
        if config.relu_head:
            last = np.where(last > 0, last, 0.0)
        outputs[window, 0] = sum(weights["head.weight"][0] * last) + weights["head.bias"][0]
    return outputs


def mean_squared_error(weights: Weights, config: ForecasterConfig, inputs: Array, targets: Array) -> float:
    """Return the mean of the squared differences of forecasts and *targets*, shape (B, 1)."""
    return float(np.mean((forecast(weights, config, inputs) - targets) ** 2))


def numeric_gradient(
    weights: Weights, config: ForecasterConfig, inputs: Array, targets: Array, name: str, index: tuple[int, ...]
) -> float:
    """Return the derivative of the mean squared error by one entry of one parameter, by central differences."""
    losses = []
    for sign in (1, -1):
        moved = dict(weights)
        moved[name] = weights[name].copy()
        moved[name][index] += sign * STEP
        losses.append(mean_squared_error(moved, config, inputs, targets))
    return (losses[0] - losses[1]) / (2 * STEP)


def _gru_step(weights: Weights, layer: int, x: Array, h: Array, memory: Array) -> tuple[Array, Array]:
    """Take one step of the GRU whose reset gate acts after the matrix product; it has no memory beside h."""
    w_ir, w_iz, w_in = np.split(weights[f"rnn.weight_ih_l{layer}"], 3)
    w_hr, w_hz, w_hn = np.split(weights[f"rnn.weight_hh_l{layer}"], 3)
    b_ir, b_iz, b_in = np.split(weights[f"rnn.bias_ih_l{layer}"], 3)
    b_hr, b_hz, b_hn = np.split(weights[f"rnn.bias_hh_l{layer}"], 3)
    reset = _sigmoid(w_ir @ x + b_ir + w_hr @ h + b_hr)
    update = _sigmoid(w_iz @ x + b_iz + w_hz @ h + b_hz)
    new = np.tanh(w_in @ x + b_in + reset * (w_hn @ h + b_hn))
    return (1 - update) * new + update * h, memory


def _lstm_step(weights: Weights, layer: int, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """Take one step of the LSTM with forget gate."""
    w_ii, w_if, w_ig, w_io = np.split(weights[f"rnn.weight_ih_l{layer}"], 4)
    w_hi, w_hf, w_hg, w_ho = np.split(weights[f"rnn.weight_hh_l{layer}"], 4)
    b_ii, b_if, b_ig, b_io = np.split(weights[f"rnn.bias_ih_l{layer}"], 4)
    b_hi, b_hf, b_hg, b_ho = np.split(weights[f"rnn.bias_hh_l{layer}"], 4)
    admit = _sigmoid(w_ii @ x + b_ii + w_hi @ h + b_hi)
    forget = _sigmoid(w_if @ x + b_if + w_hf @ h + b_hf)
    cell = np.tanh(w_ig @ x + b_ig + w_hg @ h + b_hg)
    output = _sigmoid(w_io @ x + b_io + w_ho @ h + b_ho)
    c = forget * c + admit * cell
    return output * np.tanh(c), c


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
