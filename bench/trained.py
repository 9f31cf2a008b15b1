"""Forecasters as the recipes train them, shared by the suites that score: each is trained once in a session."""

from dataclasses import replace

import pytest
import torch

from rnncore.errors import Unavailable
from rnncore.forecast.device import Device, resolve_device
from rnncore.forecast.fit import Watch, fit
from rnncore.forecast.model import new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.scoring import forecast_test_hours, score_forecasts
from rnncore.forecast.trainer import Trainer
from rnncore.kernels.arguments import require_rnn
from rnncore.kernels.forward import forward_kernel
from rnncore.measure.session import TRAININGS
from rnncore.runtimes.catalog import open_runtime

TRAINING_STEPS = {"gate": 5, "quick": 150, "default": None, "full": None}

# Of the article's recipe on a CPU, which would take hours; ten minutes on two cores.
ARTICLE_STEPS_ON_CPU = 600

# Where the curve of sMAPE over training time has points, as shares of the steps: closer where it falls steeply, and so few
# that scoring them takes less than the training. The gate's short processes draw none, and the article's model takes a
# minute to score on a CPU.
CURVES = {
    "gate": (),
    "quick": (0.3, 0.6, 1.0),
    "default": (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0),
    "full": tuple(share / 20 for share in range(1, 21)),
}
ARTICLE_CURVE = (0.25, 0.5, 0.75, 1.0)


# Clocks that include the copies of input and output, and how groups of rows say so.
COPYING = {"host": " host to host", "pinned": " host to host, page-locked"}


@pytest.fixture(scope="session")
def trained(request, rnn_threads, rnn_dataset, windows_of):
    """Trained forecasters by recipe and cell, each trained once: what it took, and its sMAPE in torch."""
    made = {}

    def train(case, rnn_benchmark):
        is_article = case.recipe == "article"
        device = resolve_device(case.device if is_article else "cpu")
        # Each GPU has trainings of its own.
        key = case.recipe, case.cell, Device.of(device).name
        if key not in made:
            recipe = recipe_of(case, rnn_dataset)
            scale = _scale(request)
            steps, shares = TRAINING_STEPS[scale], CURVES[scale]
            only_checked = request.config.getoption("benchmark_disable")
            if is_article and not only_checked:
                steps, shares = ARTICLE_STEPS_ON_CPU if device.type == "cpu" else None, ARTICLE_CURVE
            torch.set_num_threads(rnn_threads)
            model = new_forecaster(recipe.forecaster, recipe.train.seed)
            windows = windows_of(recipe.windows)
            trainer = Trainer(model, windows, replace(recipe.training_on(windows), max_steps=steps), device)

            def smape_on_the_way(model):
                with rnn_benchmark.part("curves"):
                    runtime = _quickest_runtime(device, model)
                    return scores_of(runtime, model, Device.of(device).name, "fp32", rnn_threads, windows).mean.smape

            scored_at = () if only_checked else (round(trainer.total_steps * share) for share in shares)
            watch = Watch(smape_on_the_way, frozenset(scored_at))
            with rnn_benchmark.part(TRAININGS):
                result = fit(trainer, watch=watch)
            model.cpu()
            made[key] = model, result, scores_of("torch", model, "cpu", "fp32", rnn_threads, windows)
        return made[key]

    return train


def _scale(request):
    return "quick" if request.config.getoption("benchmark_disable") else request.config.getoption("rnn_scale")


def recipe_of(case, dataset):
    """Return the recipe of a case's model for a data set, in the case's sizes."""
    recipe = preset(case.recipe, case.cell, [series.name for series in dataset.series])
    return replace(
        recipe,
        windows=replace(recipe.windows, lookback=case.lookback),
        forecaster=replace(recipe.forecaster, hidden_size=case.hidden_size, num_layers=case.num_layers),
    )


def _quickest_runtime(device, model):
    """Return who scores on the way: our kernel where it runs the model, whose accuracy row is held against torch's."""
    if device.type != "cpu":
        return "torch"
    try:
        forward_kernel()
        require_rnn(model.rnn)
    except Unavailable:
        return "torch"
    return "rnncore"


def open_case(case, source, threads):
    """Open a case's runtime in its mode, on its device, in its precision, with its threads or else these."""
    return open_runtime(case.runtime, source, case.device, case.precision, case.threads or threads, mode=case.mode)


def timed_call(runtime, inputs, clock):
    """Return what a case's clock includes, with the windows bound: the work alone, or also the copies there and back."""
    if clock == "pinned":
        inputs = runtime.pinned(inputs)
    runtime.bind(inputs)
    return (lambda: runtime.predict(inputs)) if clock in COPYING else runtime.run


def scores_of(runtime_name, model, device, precision, threads, windows):
    """Score a forecaster in a runtime."""
    with open_runtime(runtime_name, model, device, precision, threads) as runtime:
        return score_forecasts(runtime_name, forecast_test_hours(runtime.predict, windows), windows)
