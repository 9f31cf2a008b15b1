"""Evaluation latency: one forward pass of each recipe's models on the runtimes, the answers checked beside it."""

import time

import pytest

from bench.cases import INFERENCE_BATCH_SIZES, inference_cases
from bench.trained import COPYING, open_case, recipe_of, timed_call
from rnncore.measure.answers import forecast_facts
from rnncore.measure.memory import unknown
from rnncore.measure.work import forward_work


@pytest.mark.rnn_cases(choose=inference_cases)
def test_forecast(rnn_case, rnn_benchmark, rnn_threads, rnn_dataset, windows_of, forecaster_of, source_for, right_answers):
    model = forecaster_of(rnn_case)
    windows = windows_of(recipe_of(rnn_case, rnn_dataset).windows)
    answers = right_answers(model, windows, rnn_case.batch_size)
    with rnn_benchmark.part("exports"):
        source = source_for(rnn_case.runtime, model, windows.config)
    began_s = time.perf_counter()
    with open_case(rnn_case, source, rnn_threads) as runtime:
        call = timed_call(runtime, answers.inputs, rnn_case.clock)
        rnn_benchmark(
            call,
            windows=rnn_case.batch_size,
            group=f"inference{COPYING.get(rnn_case.clock, '')}, batch {rnn_case.batch_size}",
            work=forward_work(model.config, rnn_case.lookback, rnn_case.batch_size),
            evidence=runtime.evidence,
            opening_s=time.perf_counter() - began_s,
        )
        output = runtime.output()[answers.checked]
    if rnn_benchmark.brief and rnn_case.batch_size < max(INFERENCE_BATCH_SIZES["gate"]):
        rnn_benchmark.record(**unknown("in a short process measured for the largest batch alone"))
    else:
        rnn_benchmark.record_memory(source, answers.inputs.shape)
    facts = forecast_facts(
        output, answers.float64, answers.torch_fp32, windows, answers.start[answers.checked], rnn_case.precision
    )
    facts["validity"] = rnn_benchmark.verdict(facts["validity"])
    rnn_benchmark.record(**facts, features=answers.inputs.shape[2])
    assert facts["validity"] == "valid"
