"""Work of a case from first principles: floating-point operations, the fewest bytes, and the steps that must wait.

Only matrix products count as operations, two for each multiply-add; the pointwise part is below 1 % of them. Bytes are
those that a fused implementation cannot avoid: each value written or read once, the weights once per call.

G gates (GRU 3, LSTM 4), I inputs of a layer; the other shape letters are those of `rnncore.forecast.windows`.
"""

from dataclasses import dataclass

from rnncore.forecast.cells import CELLS
from rnncore.forecast.model import ForecasterConfig

VALUE_BYTES = 4


@dataclass(frozen=True)
class Work:
    """What one call does.

    Attributes:
        flops: Floating-point operations of the matrix products.
        bytes: Fewest bytes moved.
        dependent_steps: Steps that each need the one before: hours plus layers less one, as layers may follow one another
            as a wavefront; a training goes there and back. 0 where nothing is recurrent.
        recurrent_flops: Those of `flops` that must wait for the step before: the states' products with the recurrent
            weights, and on the way back the states' gradients.
        weights_read: Weights that a call reads, of those that cannot stay in registers from hour to hour: the recurrent ones
            of every layer at every hour, there and back, and those of the inputs once.
    """

    flops: int
    bytes: int
    dependent_steps: int = 0
    recurrent_flops: int = 0
    weights_read: int = 0

    @property
    def flops_per_byte(self) -> float:
        """Arithmetic intensity."""
        return self.flops / self.bytes


def forward_work(config: ForecasterConfig, lookback: int, windows: int) -> Work:
    """Return the work of forecasting, in 4-byte values.

    Args:
        config: Size and kind of the forecaster.
        lookback: Hours in a window, T.
        windows: Windows in the pass, B.
    """
    cell, hidden, inputs = CELLS[config.cell], config.hidden_size, _layer_inputs(config)
    gates = cell.gates
    per_hour = sum(2 * gates * hidden * (size + hidden) for size in inputs)
    values = windows * lookback * (cell.moved_forward * hidden * config.num_layers + sum(inputs))
    return Work(
        flops=windows * (lookback * per_hour + 2 * hidden * config.horizon),
        bytes=VALUE_BYTES * (values + _weights(config)),
        dependent_steps=lookback + config.num_layers - 1,
        recurrent_flops=windows * lookback * config.num_layers * 2 * gates * hidden**2,
        weights_read=gates * hidden * (lookback * config.num_layers * hidden + sum(inputs)),
    )


def training_work(config: ForecasterConfig, lookback: int, windows: int) -> Work:
    """Return the work of one training step, in 4-byte values: there, back, and the optimiser's pass over the weights.

    Args:
        config: Size and kind of the forecaster.
        lookback: Hours in a window, T.
        windows: Windows in the step, B.
    """
    cell, hidden = CELLS[config.cell], config.hidden_size
    gates = cell.gates
    first, *others = _layer_inputs(config)
    forward = forward_work(config, lookback, windows)
    # Gradients of the state and of both weight matrices; of the inputs from the second layer on.
    per_hour = 2 * gates * hidden * (2 * hidden + first)
    per_hour += sum(2 * gates * hidden * (2 * hidden + 2 * size) for size in others)
    kept = cell.kept * hidden * config.num_layers
    back = cell.moved_back_first * hidden + sum(cell.moved_back_next * hidden + 2 * size for size in others)
    # Adam reads weight, gradient and two moments, and writes all but the gradient.
    optimiser = 7 * _weights(config)
    return Work(
        flops=forward.flops + windows * (lookback * per_hour + 4 * hidden * config.horizon),
        bytes=forward.bytes + VALUE_BYTES * (windows * lookback * (kept + back) + optimiser),
        dependent_steps=2 * forward.dependent_steps,
        recurrent_flops=2 * forward.recurrent_flops,
        weights_read=2 * forward.weights_read,
    )


def copy_work(values: int) -> Work:
    """Return the work of copying *values* values: each is read once and written once."""
    return Work(flops=0, bytes=2 * values * VALUE_BYTES)


def _layer_inputs(config: ForecasterConfig) -> list[int]:
    return [config.input_size] + [config.hidden_size] * (config.num_layers - 1)


def _weights(config: ForecasterConfig) -> int:
    """Return how many weights a forecaster has; each gate has two biases, as in torch."""
    gates, hidden = CELLS[config.cell].gates, config.hidden_size
    return sum(gates * hidden * (size + hidden + 2) for size in _layer_inputs(config)) + (hidden + 1) * config.horizon
