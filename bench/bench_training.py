"""Training throughput: one optimiser step of the article's models, by torch's layers, by ours, and by the article's loop."""

from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import count

import numpy as np
import pytest
import torch

from bench.article.loop import ReferenceLoop
from bench.cases import training_cases
from rnncore.forecast.device import CALLS_BEFORE_CAPTURE, cudnn_precision, resolve_device, synchronize
from rnncore.forecast.distributed import ALONE
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.trainer import Trainer
from rnncore.measure.answers import exact_gradients, gradient_parity, step_parity
from rnncore.measure.work import training_work
from rnncore.runfile.case import AUTOCAST
from rnncore.runtimes.torch import torch_evidence

# Windows, at most, of the step whose gradients are held against float64.
CHECKED_WINDOWS = 64

# Batches of windows that the article's loop copies: it copies all, which would fill the memory and take no longer a step.
REFERENCE_BATCHES = 16

IMPLEMENTATIONS = {"torch": "aten", "rnncore": "fused"}
IMPLEMENTATIONS_IN_BF16 = {"rnncore": "fused_bf16"}


@dataclass(frozen=True)
class CheckedStep:
    """A step whose gradients are known: a model without dropout, a batch, and the gradients in float64."""

    forecaster: ForecasterConfig
    seed: int
    start: torch.Tensor
    inputs: torch.Tensor
    targets: torch.Tensor
    gradients: list[torch.Tensor]

    def model(self):
        """Return the model as it is before the step."""
        return new_forecaster(self.forecaster, self.seed)


def checked_step_of(cell, batch_size, windows):
    """Return the step that all implementations of a cell are held to, of a few windows of training, evenly spread."""
    article = preset("article", cell)
    size = min(CHECKED_WINDOWS, batch_size)
    start = windows.train_start[np.arange(size) * len(windows.train_start) // size]
    inputs, targets = (
        torch.from_numpy(part) for part in (windows.inputs(start), windows.target[windows.target_rows(start)])
    )
    forecaster = replace(article.forecaster, dropout=0.0)
    model = new_forecaster(forecaster, article.train.seed)
    gradients = exact_gradients(model, inputs, targets, torch.nn.functional.mse_loss)
    return CheckedStep(forecaster, article.train.seed, torch.from_numpy(start), inputs, targets, gradients)


@pytest.fixture(scope="session")
def checked_step(windows_of):
    """The checked step by cell and batch size, each worked out in float64 once."""
    return cache(lambda cell, size: checked_step_of(cell, size, windows_of(preset("article", cell).windows)))


def step_of(case, windows, device, checked, ranks=ALONE):
    """Return a step of the article's model as a case trains it, and what holds a checked step against float64."""
    article = preset("article", case.cell)
    if case.runtime == "article":
        return _article_step(case, article, windows, case.batch_size, device, checked)
    trainer = trainer_of(case, windows, device, ranks)
    return next_step_of(trainer), partial(_our_parity, case, trainer, windows, checked)


def _article_step(case, article, windows, batch_size, device, checked):
    """The article's loop: its step, and what is wrong with a step's gradients."""
    start = windows.train_start[:: max(1, len(windows.train_start) // (REFERENCE_BATCHES * batch_size))]

    def loop(model, start, size):
        return ReferenceLoop(model, windows, start, size, article.train.learning_rate, device)

    def check():
        known = loop(checked.model(), checked.start.numpy(), len(checked.start))
        with cudnn_precision(case.precision):
            return step_parity(
                known.model, checked.gradients, lambda: known.step_on(checked.inputs, checked.targets), case.precision
            )

    return loop(new_forecaster(article.forecaster, article.train.seed), start, batch_size).step, check


def trainer_of(case, windows, device, ranks=ALONE):
    """Return our training of the article's model as a case has it, by torch's layers or ours."""
    article = preset("article", case.cell)
    by_runtime = IMPLEMENTATIONS_IN_BF16 if case.precision == "bf16" else IMPLEMENTATIONS
    precision = case.precision if case.precision.startswith(AUTOCAST) else "fp32"
    implementation = case.mode or by_runtime[case.runtime]
    config = replace(article.train, batch_size=case.batch_size, implementation=implementation, precision=precision)
    # A model of its own: training changes it, and moves it to the device.
    return Trainer(new_forecaster(article.forecaster, article.train.seed), windows, config, device, ranks)


def next_step_of(trainer):
    """Return what takes the next step of a training, each time that it is called."""
    order, steps = trainer.epoch_order(0), count()

    def step():
        number = next(steps)
        first = number % trainer.steps_per_epoch * trainer.config.batch_size
        return trainer.train_step(order[first : first + trainer.config.batch_size], number)

    return step


def _our_parity(case, trainer, windows, checked):
    """What is wrong with the gradients of a checked step that is taken as a training takes its own."""
    config = replace(trainer.config, batch_size=len(checked.start), clip_norm=None)
    known = Trainer(checked.model(), windows, config, trainer.device, trainer.ranks)
    rows = checked.start.to(trainer.device)
    if case.mode == "graph" or case.precision.startswith(AUTOCAST):
        # Of a graph the first steps are as they are, and in fp16 they find out how much the loss can be scaled. The one
        # that is checked comes after them, from the same weights.
        with cudnn_precision(case.precision):
            for number in range(CALLS_BEFORE_CAPTURE + 1):
                known.train_step(rows, number)
        known.model.load_state_dict(checked.model().state_dict())
    return gradient_parity(known, rows, case.precision, checked.gradients)


@pytest.mark.rnn_cases(choose=training_cases)
def test_train_step(rnn_case, rnn_benchmark, rnn_threads, windows_of, checked_step):
    device = resolve_device(rnn_case.device)
    torch.set_num_threads(rnn_case.threads or rnn_threads)
    article = preset("article", rnn_case.cell)
    windows = windows_of(article.windows)
    checked = checked_step(rnn_case.cell, rnn_case.batch_size)
    step, check = step_of(rnn_case, windows, device, checked)
    losses, found = [], []

    def run():
        with cudnn_precision(rnn_case.precision):
            loss = step()
        synchronize(device)
        losses.append(loss)

    def evidence(trace):
        if trace is not None:
            return torch_evidence(run, rnn_case.cell, device, trace)
        # The checked step runs the same layers in a moment; only where the time goes depends on the batch.
        seen = torch_evidence(lambda: found.append(check()), rnn_case.cell, device)
        # On a CPU a whole batch takes longer by its windows, so that its first call was its warm-up. A GPU takes few windows
        # in the time of many: there the checked step says nothing of a whole one.
        times = rnn_case.batch_size / len(checked.start) if device.type == "cpu" else 1.0
        return replace(seen, wall_s=times * seen.wall_s)

    rnn_benchmark(
        run,
        windows=rnn_case.batch_size,
        group="training",
        work=training_work(article.forecaster, rnn_case.lookback, rnn_case.batch_size),
        evidence=evidence,
    )
    parity = found[-1] if found else check()
    if rnn_case.runtime == "article":
        rnn_benchmark.record(runtime_title="article's code")
    finite = bool(torch.isfinite(torch.tensor([float(loss) for loss in losses])).all())
    rnn_benchmark.record(
        parity_max_abs=parity.max_abs,
        parity_tolerance=parity.tolerance,
        validity=parity.verdict if finite else "the loss is not finite",
        smape_why="a step of training makes no forecast; see the accuracy suite",
    )
    assert finite
    assert parity.verdict == "valid"
