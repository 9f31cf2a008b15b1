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
from rnncore.measure.work import training_work


@pytest.mark.rnn_cases(choose=training_cases)
def test_train_step(rnn_case, rnn_benchmark, rnn_threads, windows_of):
    device = resolve_device(rnn_case.device)
    torch.set_num_threads(rnn_case.threads or rnn_threads)
    article = preset("article", rnn_case.cell)
    config = replace(article.train, batch_size=rnn_case.batch_size)
    # A model of its own: training changes it, and moves it to the device.
    model = new_forecaster(article.forecaster, article.train.seed)
    trainer = Trainer(model, windows_of(article.windows), config, device)
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

    work = training_work(trainer.model.config, rnn_case.lookback, config.batch_size)
    rnn_benchmark(rnn_case, run, windows=config.batch_size, group="training", work=work)
    assert torch.isfinite(torch.stack(losses)).all()
