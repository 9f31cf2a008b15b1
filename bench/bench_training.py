"""Training throughput: one optimiser step of the article's models, by torch's layers, by ours, and by the article's loop."""

from dataclasses import replace
from itertools import count

import pytest
import torch

from bench.cases import training_cases
from bench.reference_loop import ReferenceLoop
from rnncore.forecast.device import cudnn_precision, resolve_device, synchronize
from rnncore.forecast.model import new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.training import Trainer
from rnncore.measure.answers import gradient_parity, step_parity
from rnncore.measure.work import training_work
from rnncore.runtimes.torch import torch_evidence

# Windows, at most, of the step whose gradients are held against float64.
CHECKED_WINDOWS = 64

# Batches of windows that the article's loop copies: it copies all, which would fill the memory and take no longer a step.
REFERENCE_BATCHES = 16

IMPLEMENTATIONS = {"torch": "aten", "rnncore": "fused"}


def _article_step(case, article, windows, batch_size, device):
    """The article's loop: its step, and what is wrong with a step's gradients."""
    start = windows.train_start[:: max(1, len(windows.train_start) // (REFERENCE_BATCHES * batch_size))]

    def loop(forecaster, size):
        model = new_forecaster(forecaster, article.train.seed)
        return ReferenceLoop(model, windows, start, size, article.train.learning_rate, device)

    def check():
        size = min(CHECKED_WINDOWS, batch_size)
        checked = loop(replace(article.forecaster, dropout=0.0), size)
        inputs, targets = checked.next_batch()
        with cudnn_precision(case.precision):
            return step_parity(
                checked.model, inputs, targets, checked.loss, lambda: checked.step_on(inputs, targets), case.precision
            )

    return loop(article.forecaster, batch_size).step, check


def _our_step(case, article, windows, batch_size, device):
    """Our training, by torch's layers or ours: its step, and what is wrong with a step's gradients."""
    config = replace(article.train, batch_size=batch_size, implementation=IMPLEMENTATIONS[case.runtime])
    # A model of its own: training changes it, and moves it to the device.
    trainer = Trainer(new_forecaster(article.forecaster, article.train.seed), windows, config, device)
    order = trainer.epoch_order(0)
    steps = count()

    def step():
        number = next(steps)
        first = number % trainer.steps_per_epoch * batch_size
        return trainer.train_step(order[first : first + batch_size], number)

    def check():
        size = min(CHECKED_WINDOWS, batch_size)
        model = new_forecaster(replace(article.forecaster, dropout=0.0), article.train.seed)
        checked = Trainer(model, windows, replace(config, batch_size=size, clip_norm=None), device)
        return gradient_parity(checked, order[:size], case.precision)

    return step, check


@pytest.mark.rnn_cases(choose=training_cases)
def test_train_step(rnn_case, rnn_benchmark, rnn_threads, windows_of):
    device = resolve_device(rnn_case.device)
    torch.set_num_threads(rnn_case.threads or rnn_threads)
    article = preset("article", rnn_case.cell)
    windows = windows_of(article.windows)
    made = _article_step if rnn_case.runtime == "article" else _our_step
    step, check = made(rnn_case, article, windows, rnn_case.batch_size, device)
    losses = []

    def run():
        with cudnn_precision(rnn_case.precision):
            loss = step()
        synchronize(device)
        losses.append(loss)

    rnn_benchmark(
        run,
        windows=rnn_case.batch_size,
        group="training",
        work=training_work(article.forecaster, rnn_case.lookback, rnn_case.batch_size),
        evidence=lambda trace: torch_evidence(run, rnn_case.cell, device, trace),
    )
    found = check()
    if rnn_case.runtime == "article":
        rnn_benchmark.record(runtime_title="article's code")
    finite = bool(torch.isfinite(torch.tensor([float(loss) for loss in losses])).all())
    rnn_benchmark.record(
        parity_max_abs=found.max_abs,
        parity_tolerance=found.tolerance,
        validity=found.verdict if finite else "the loss is not finite",
        smape_why="a step of training makes no forecast; see the accuracy suite",
    )
    assert finite
    assert found.verdict == "valid"
