"""Tests of the work of a case: the published counts, torch's own counter, and the parameters of the real model."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.model import Forecaster, ForecasterConfig
from rnncore.measure.work import Work, _weights, copy_work, forward_work, training_work

ARTICLE_LOOKBACK = 90
SMALL_LOOKBACK = 7
WINDOWS = 3

FORWARD_FLOPS = {"gru": 106_860_032, "lstm": 142_479_872}
TRAINING_FLOPS = {"gru": 319_888_896, "lstm": 426_518_016}
# Activations of one window and hour of a training step, as counted by hand from the cells' equations.
TRAINING_BYTES_PER_HOUR = {"gru": 63_488, "lstm": 76_800}


@pytest.mark.parametrize("cell", CELLS)
def test_the_article_s_model_does_the_operations_that_were_counted_by_hand(cell: Cell) -> None:
    config = ForecasterConfig(cell=cell)
    assert forward_work(config, ARTICLE_LOOKBACK, 1).flops == FORWARD_FLOPS[cell]
    assert training_work(config, ARTICLE_LOOKBACK, 1).flops == TRAINING_FLOPS[cell]
    assert forward_work(config, ARTICLE_LOOKBACK, 1024).flops == 1024 * FORWARD_FLOPS[cell]


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_operations_are_those_of_cells_written_as_products_and_counted_by_torch(cell: Cell, num_layers: int) -> None:
    config = ForecasterConfig(cell=cell, hidden_size=16, num_layers=num_layers, dropout=0.0)
    rnn = {"gru": torch.nn.GRUCell, "lstm": torch.nn.LSTMCell}[cell]
    sizes = [config.input_size] + [config.hidden_size] * (num_layers - 1)
    layers = [rnn(size, config.hidden_size) for size in sizes]
    head = torch.nn.Linear(config.hidden_size, 1)
    values = torch.randn(WINDOWS, SMALL_LOOKBACK, config.input_size)
    with FlopCounterMode(display=False) as counter:
        hours = list(values.unbind(1))
        for layer in layers:
            state = torch.zeros(WINDOWS, config.hidden_size, requires_grad=True)
            states = (state, torch.zeros_like(state)) if cell == "lstm" else state
            outputs = []
            for hour in hours:
                states = layer(hour, states)
                outputs.append(states[0] if cell == "lstm" else states)
            hours = outputs
        forecast = head(hours[-1])
        forward_flops = counter.get_total_flops()
        forecast.sum().backward()
    work = training_work(config, SMALL_LOOKBACK, WINDOWS)
    assert forward_flops == forward_work(config, SMALL_LOOKBACK, WINDOWS).flops
    assert counter.get_total_flops() == work.flops


@pytest.mark.parametrize("cell", CELLS)
def test_bytes_of_a_large_batch_are_the_activations_counted_by_hand(cell: Cell) -> None:
    windows = 1 << 20
    per_hour = training_work(ForecasterConfig(cell=cell), ARTICLE_LOOKBACK, windows).bytes / windows / ARTICLE_LOOKBACK
    # The count by hand leaves the five features and, of one value per layer, nothing else out.
    assert per_hour == pytest.approx(TRAINING_BYTES_PER_HOUR[cell], rel=0.005)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_weights_are_those_of_the_real_model(cell: Cell, num_layers: int) -> None:
    config = ForecasterConfig(cell=cell, hidden_size=12, num_layers=num_layers)
    assert _weights(config) == sum(weight.numel() for weight in Forecaster(config).parameters())


def test_arithmetic_intensity_is_operations_per_byte() -> None:
    assert Work(flops=6_000, bytes=1_500).flops_per_byte == 4.0
    assert copy_work(7).flops_per_byte == 0.0


def test_a_training_goes_there_and_back_through_hours_and_layers() -> None:
    config = ForecasterConfig(num_layers=2)
    assert forward_work(config, 90, 1).dependent_steps == 91
    assert training_work(config, 90, 1).dependent_steps == 182


def _multiply_adds_that_wait(config: ForecasterConfig, lookback: int, windows: int) -> int:
    """Count, one window, hour, layer and gate after another, the multiply-adds of states with recurrent weights."""
    count = 0
    for _window in range(windows):
        for _hour in range(lookback):
            for _layer in range(config.num_layers):
                for _gate in {"gru": "run", "lstm": "ifgo"}[config.cell]:
                    for _unit in range(config.hidden_size):
                        count += config.hidden_size
    return count


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_operations_that_wait_are_the_products_of_states_there_and_back(cell: Cell, num_layers: int) -> None:
    config = ForecasterConfig(cell=cell, hidden_size=6, num_layers=num_layers)
    multiply_adds = _multiply_adds_that_wait(config, SMALL_LOOKBACK, WINDOWS)
    forward = forward_work(config, SMALL_LOOKBACK, WINDOWS)
    training = training_work(config, SMALL_LOOKBACK, WINDOWS)
    assert forward.recurrent_flops == 2 * multiply_adds
    # On the way back the gates' gradients go through the same weights; the weights' own gradients wait for nothing.
    assert training.recurrent_flops == 2 * 2 * multiply_adds
    assert forward.recurrent_flops < forward.flops
    assert training.recurrent_flops < training.flops


def test_a_copy_reads_and_writes_each_value_once_and_multiplies_nothing() -> None:
    assert copy_work(1000) == Work(flops=0, bytes=2 * 4 * 1000, dependent_steps=0, recurrent_flops=0)


def _weights_read(config: ForecasterConfig, lookback: int) -> int:
    """Count the recurrent weights of every layer at every hour, and those of the inputs once."""
    model = Forecaster(config)
    count = sum(weight.numel() for name, weight in model.rnn.named_parameters() if name.startswith("weight_ih"))
    for _hour in range(lookback):
        count += sum(weight.numel() for name, weight in model.rnn.named_parameters() if name.startswith("weight_hh"))
    return count


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_weights_that_are_read_are_the_recurrent_ones_at_every_hour_and_the_others_once(cell: Cell, num_layers: int) -> None:
    config = ForecasterConfig(cell=cell, hidden_size=6, num_layers=num_layers, dropout=0.0)
    for lookback in (1, SMALL_LOOKBACK):
        read = forward_work(config, lookback, WINDOWS).weights_read
        # However many windows there are.
        assert read == forward_work(config, lookback, 1).weights_read == _weights_read(config, lookback)
        assert training_work(config, lookback, WINDOWS).weights_read == 2 * read
