"""Tests of the work of a case: the published counts, torch's own counter, and the parameters of the real model."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from rnncore.forecast.model import CELLS, Cell, Forecaster, ForecasterConfig
from rnncore.measure.work import Work, _weights, forward_work, training_work

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


def test_rates_follow_from_work_and_time() -> None:
    work = Work(flops=6_000_000_000, bytes=3_000_000, dependent_steps=200)
    assert work.rates(2.0) == {"gflop_per_s": 3.0, "us_per_step": 10_000.0, "flops_per_byte": 2000.0}


def test_a_training_goes_there_and_back_through_hours_and_layers() -> None:
    config = ForecasterConfig(num_layers=2)
    assert forward_work(config, 90, 1).dependent_steps == 91
    assert training_work(config, 90, 1).dependent_steps == 182
