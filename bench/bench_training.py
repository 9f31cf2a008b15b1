"""Training throughput: one optimiser step of the article's models, on the device that holds the windows."""

from dataclasses import replace
from itertools import count

import pytest
import torch

from bench.cases import training_cases
from rnncore.forecast.device import cudnn_precision, resolve_device, synchronize
from rnncore.forecast.model import new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.training import Trainer
from rnncore.measure.answers import gradient_parity
from rnncore.measure.work import training_work
from rnncore.runtimes.torch import torch_evidence

# Windows, at most, of the step whose gradients are held against float64.
CHECKED_WINDOWS = 64


@pytest.mark.rnn_cases(choose=training_cases)
def test_train_step(rnn_case, rnn_benchmark, rnn_threads, windows_of):
    device = resolve_device(rnn_case.device)
    torch.set_num_threads(rnn_case.threads or rnn_threads)
    article = preset("article", rnn_case.cell)
    windows = windows_of(article.windows)
    config = replace(article.train, batch_size=rnn_case.batch_size)
    # A model of its own: training changes it, and moves it to the device.
    trainer = Trainer(new_forecaster(article.forecaster, article.train.seed), windows, config, device)
    order = trainer.epoch_order(0)
    steps = count()
    losses = []

    def run():
        step = next(steps)
        first = step % trainer.steps_per_epoch * config.batch_size
        with cudnn_precision(rnn_case.precision):
            loss = trainer.train_step(order[first : first + config.batch_size], step)
        synchronize(device)
        losses.append(loss)

    rnn_benchmark(
        run,
        windows=config.batch_size,
        group="training",
        work=training_work(trainer.model.config, rnn_case.lookback, config.batch_size),
        evidence=lambda trace: torch_evidence(run, rnn_case.cell, device, trace),
    )
    without_dropout = new_forecaster(replace(article.forecaster, dropout=0.0), article.train.seed)
    checked_windows = min(CHECKED_WINDOWS, config.batch_size)
    checked = Trainer(without_dropout, windows, replace(config, batch_size=checked_windows, clip_norm=None), device)
    found = gradient_parity(checked, order[:checked_windows], rnn_case.precision)
    finite = bool(torch.isfinite(torch.stack(losses)).all())
    rnn_benchmark.record(
        parity_max_abs=found.max_abs,
        parity_tolerance=found.tolerance,
        validity=found.verdict if finite else "the loss is not finite",
        smape_why="a step of training makes no forecast; see the accuracy suite",
    )
    assert finite
    assert found.verdict == "valid"
