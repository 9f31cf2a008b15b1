"""sMAPE: both cells trained for a short while, then every tested hour scored on every runtime."""

import time
from dataclasses import asdict, replace

import pytest
import torch

from bench.cases import accuracy_cases
from rnncore.forecast.baselines import baseline_scores
from rnncore.forecast.device import resolve_device
from rnncore.forecast.model import new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.scoring import CHUNK_WINDOWS, forecast_panels, forecast_test_hours, score_forecasts
from rnncore.forecast.training import Trainer, Watch, fit
from rnncore.measure.answers import forecast_verdict
from rnncore.measure.session import TRAININGS
from rnncore.measure.work import forward_work
from rnncore.runtimes.catalog import open_runtime
from rnncore.runtimes.export import parity

TRAINING_STEPS = {"gate": 5, "quick": 150, "default": None, "full": None}

# Of the article's recipe on a CPU, which would take hours; ten minutes on two cores.
ARTICLE_STEPS_ON_CPU = 600

# Points of the curve of sMAPE over training time, the last at the end; the gate's short processes draw none, and the
# article's model takes a minute to score on a CPU.
CURVE_POINTS = {"gate": 0, "quick": 3, "default": 10, "full": 20}
ARTICLE_CURVE_POINTS = 4


@pytest.fixture(scope="session")
def trained(request, rnn_threads, rnn_dataset, windows_of):
    """Trained forecasters by recipe and cell, each trained once: what it took, and its sMAPE in torch."""
    made = {}

    def train(case, rnn_benchmark):
        recipe_name, device = _recipe_name(case), resolve_device("cpu")
        if recipe_name == "article":
            device = resolve_device(case.device)
        key = recipe_name, case.cell, device.type
        if key not in made:
            recipe = _recipe(case, rnn_dataset)
            scale = _scale(request)
            steps, points = TRAINING_STEPS[scale], CURVE_POINTS[scale]
            only_checked = request.config.getoption("benchmark_disable")
            if recipe_name == "article" and not only_checked:
                steps, points = ARTICLE_STEPS_ON_CPU if device.type == "cpu" else None, ARTICLE_CURVE_POINTS
            torch.set_num_threads(rnn_threads)
            model = new_forecaster(recipe.forecaster, recipe.train.seed)
            windows = windows_of(recipe.windows)
            trainer = Trainer(model, windows, replace(recipe.training_on(windows), max_steps=steps), device)

            def smape_on_the_way(model):
                with rnn_benchmark.part("curves"):
                    return _scores_of("torch", model, device.type, "fp32", rnn_threads, windows).mean.smape

            watch = Watch(smape_on_the_way, _evenly_spread(trainer.total_steps, 0 if only_checked else points))
            with rnn_benchmark.part(TRAININGS):
                result = fit(trainer, watch=watch)
            model.cpu()
            made[key] = model, result, _scores_of("torch", model, "cpu", "fp32", rnn_threads, windows)
        return made[key]

    return train


def _scale(request):
    return "quick" if request.config.getoption("benchmark_disable") else request.config.getoption("rnn_scale")


def _recipe_name(case):
    return "article" if case.hidden_size == preset("article", case.cell).forecaster.hidden_size else "fast"


def _line_name(case):
    return case.cell.upper() + (", article" if _recipe_name(case) == "article" else "")


def _recipe(case, dataset):
    return preset(_recipe_name(case), case.cell, [series.name for series in dataset.series])


def _evenly_spread(steps, points):
    return frozenset(round(steps * point / points) for point in range(1, points + 1))


@pytest.fixture(scope="session")
def baselines(request, rnn_dataset, windows_of):
    """SMAPE of the baselines by name; none for the gate's short processes."""
    if request.config.getoption("rnn_scale") == "gate":
        return {}
    windows = windows_of(preset("fast", "gru", [series.name for series in rnn_dataset.series]).windows)
    return {scores.mean.name: scores.mean.smape for scores in baseline_scores(windows)}


def _scores_of(runtime_name, model, device, precision, threads, windows):
    with open_runtime(runtime_name, model, device, precision, threads) as runtime:
        return score_forecasts(runtime_name, forecast_test_hours(runtime.predict, windows), windows)


@pytest.mark.rnn_cases(choose=accuracy_cases)
def test_score(rnn_case, rnn_benchmark, rnn_threads, rnn_dataset, windows_of, source_for, right_answers, trained, baselines):
    windows = windows_of(_recipe(rnn_case, rnn_dataset).windows)
    model, training, reference = trained(rnn_case, rnn_benchmark)
    with rnn_benchmark.part("exports"):
        source = source_for(rnn_case.runtime, model, windows.config)
    answers = right_answers(model, windows, CHUNK_WINDOWS)
    forecasts = scores = None
    began_s = time.perf_counter()
    with open_runtime(
        rnn_case.runtime, source, rnn_case.device, rnn_case.precision, rnn_case.threads or rnn_threads
    ) as runtime:

        def run():
            nonlocal forecasts, scores
            forecasts = forecast_test_hours(runtime.predict, windows)
            scores = score_forecasts(rnn_case.label, forecasts, windows)

        def evidence(trace):
            runtime.bind(answers.inputs)
            return runtime.evidence(trace)

        passes = sum(-(-(zone.test.stop - zone.test.start) // CHUNK_WINDOWS) for zone in windows.zones)
        rnn_benchmark(
            run,
            windows=len(windows.test_start),
            group="accuracy",
            work=forward_work(model.config, rnn_case.lookback, len(windows.test_start), passes),
            evidence=evidence,
            opening_s=time.perf_counter() - began_s,
        )
        found = parity(runtime.predict(answers.inputs)[answers.checked], answers.float64, rnn_case.precision)
    validity = forecast_verdict(found, scores.mean.smape, reference.mean.smape, rnn_case.precision)
    rnn_benchmark.record(
        smape=scores.mean.smape,
        smape_torch_fp32=reference.mean.smape,
        smape_article=scores.mean.smape_article,
        mae_mw=scores.mean.mae_mw,
        zones=[asdict(zone) for zone in scores.zones],
        baselines_smape=baselines,
        panels=[] if rnn_benchmark.brief else forecast_panels(windows, {_line_name(rnn_case): forecasts}),
        training={
            "steps": training.steps,
            "seconds": training.seconds,
            "seed": 0,
            "preset": _recipe_name(rnn_case),
            "curve": [asdict(point) for point in training.curve],
        },
        parity_max_abs=found.max_abs,
        parity_tolerance=found.tolerance,
        validity=validity,
    )
    assert validity == "valid"
    if baselines:
        assert 0 < scores.mean.smape < baselines["seasonal_naive_168"]
