"""sMAPE: both cells trained for a short while, then every test hour scored on every runtime."""

import time
from dataclasses import asdict
from itertools import cycle

import pytest

from bench.cases import accuracy_cases
from bench.trained import open_case, recipe_of
from rnncore.forecast.baselines import baseline_scores
from rnncore.forecast.presets import preset
from rnncore.forecast.scoring import (
    CHUNK_WINDOWS,
    forecast_panels,
    forecasts_by_zone,
    in_chunks,
    score_forecasts,
)
from rnncore.measure.answers import forecast_verdict
from rnncore.measure.work import forward_work
from rnncore.runfile.recipes import model_name
from rnncore.runtimes.parity import parity


@pytest.fixture(scope="session")
def baselines(request, rnn_dataset, windows_of):
    """What is known of the baselines: their sMAPE by name, or why not."""
    scale = request.config.getoption("rnn_scale")
    if scale == "gate":
        return {"baselines_smape": None, "baselines_smape_why": "not worked out in a short process"}
    windows = windows_of(preset("fast", "gru", [series.name for series in rnn_dataset.series]).windows)
    # Gradient boosting takes minutes.
    every = baseline_scores(windows, boosting=scale == "full")
    return {"baselines_smape": {scores.mean.name: scores.mean.smape for scores in every}}


@pytest.mark.rnn_cases(choose=accuracy_cases)
def test_score_batch(
    rnn_case, rnn_benchmark, rnn_threads, rnn_dataset, windows_of, source_for, right_answers, trained, baselines
):
    windows = windows_of(recipe_of(rnn_case, rnn_dataset).windows)
    model, training, reference = trained(rnn_case, rnn_benchmark)
    with rnn_benchmark.part("exports"):
        source = source_for(rnn_case.runtime, model, windows.config)
    answers = right_answers(model, windows, CHUNK_WINDOWS)
    chunks = in_chunks(windows.test_start)
    # A round is a batch of test hours, the next each time; the last, which is smaller, is timed only where it is alone.
    timed = cycle(range(max(1, len(windows.test_start) // CHUNK_WINDOWS)))
    outputs = {}
    began_s = time.perf_counter()
    with open_case(rnn_case, source, rnn_threads) as runtime:

        def forecast(chunk):
            outputs[chunk] = runtime.predict(windows.inputs(chunks[chunk]))

        def evidence(trace):
            runtime.bind(answers.inputs)
            return runtime.evidence(trace)

        rnn_benchmark(
            lambda: forecast(next(timed)),
            windows=len(chunks[0]),
            group="accuracy",
            work=forward_work(model.config, rnn_case.lookback, len(chunks[0])),
            evidence=evidence,
            opening_s=time.perf_counter() - began_s,
        )
        with rnn_benchmark.part("test hours left over"):
            for chunk in set(range(len(chunks))).difference(outputs):
                forecast(chunk)
        found = parity(runtime.predict(answers.inputs)[answers.checked], answers.float64, rnn_case.precision)
    forecasts = forecasts_by_zone([outputs[chunk] for chunk in range(len(chunks))], windows)
    scores = score_forecasts(rnn_case.label, forecasts, windows)
    rnn_benchmark.record_memory(source, answers.inputs.shape)
    verdict = forecast_verdict(found, scores.mean.smape, reference.mean.smape, rnn_case.precision)
    validity = rnn_benchmark.verdict(verdict)
    rnn_benchmark.record(
        smape=scores.mean.smape,
        smape_torch_fp32=reference.mean.smape,
        smape_article=scores.mean.smape_article,
        mae_mw=scores.mean.mae_mw,
        zones=[asdict(zone) for zone in scores.zones],
        **baselines,
        panels=[] if rnn_benchmark.brief else forecast_panels(windows, {model_name(rnn_case.axes): forecasts}),
        training={
            "steps": training.steps,
            "seconds": training.seconds,
            "seed": recipe_of(rnn_case, rnn_dataset).train.seed,
            "trained_by": training.trained_by,
            "curve": [asdict(point) for point in training.curve],
        },
        parity_max_abs=found.max_abs,
        parity_tolerance=found.tolerance,
        validity=validity,
    )
    assert validity == "valid"
    if baselines["baselines_smape"]:
        assert 0 < scores.mean.smape < baselines["baselines_smape"]["seasonal_naive_168"]
