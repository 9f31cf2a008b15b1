"""Evaluation latency: one forward pass of each recipe's models on the runtimes, the answers checked beside it."""

import time

import pytest

from bench.cases import INFERENCE_BATCH_SIZES, host_to_host_cases, inference_cases
from bench.trained import recipe_of
from rnncore.measure.answers import forecast_facts
from rnncore.measure.memory import unknown
from rnncore.measure.work import forward_work
from rnncore.runtimes.catalog import open_runtime


@pytest.mark.rnn_cases(choose=inference_cases)
def test_forecast(rnn_case, rnn_benchmark, time_forecast):
    time_forecast(rnn_case, rnn_benchmark, f"inference, batch {rnn_case.batch_size}", host_to_host=False)


@pytest.mark.rnn_cases(choose=host_to_host_cases)
def test_forecast_host_to_host(rnn_case, rnn_benchmark, time_forecast):
    time_forecast(rnn_case, rnn_benchmark, f"inference host to host, batch {rnn_case.batch_size}", host_to_host=True)


@pytest.fixture
def time_forecast(rnn_threads, rnn_dataset, windows_of, forecaster_of, source_for, right_answers):
    """Time a forward pass with its input and output on the device, or with both copies; then check what it gave."""

    def measure(case, rnn_benchmark, group, host_to_host):
        model = forecaster_of(case)
        windows = windows_of(recipe_of(case, rnn_dataset).windows)
        answers = right_answers(model, windows, case.batch_size)
        with rnn_benchmark.part("exports"):
            source = source_for(case.runtime, model, windows.config)
        began_s = time.perf_counter()
        with open_runtime(case.runtime, source, case.device, case.precision, case.threads or rnn_threads) as runtime:
            runtime.bind(answers.inputs)
            rnn_benchmark(
                (lambda: runtime.predict(answers.inputs)) if host_to_host else runtime.run,
                windows=case.batch_size,
                group=group,
                work=forward_work(model.config, case.lookback, case.batch_size),
                evidence=runtime.evidence,
                opening_s=time.perf_counter() - began_s,
            )
            output = runtime.output()[answers.checked]
        if rnn_benchmark.brief and case.batch_size < max(INFERENCE_BATCH_SIZES["gate"]):
            rnn_benchmark.record(**unknown("in a short process measured for the largest batch alone"))
        else:
            rnn_benchmark.record_memory(source, answers.inputs.shape)
        facts = forecast_facts(
            output, answers.float64, answers.torch_fp32, windows, answers.start[answers.checked], case.precision
        )
        if case.device == "cuda" and rnn_benchmark.fell_back_to_cpu(case.cell):
            facts["validity"] = "a recurrent layer fell back to the CPU"
        rnn_benchmark.record(
            **facts, features=answers.inputs.shape[2], clock="host to host" if host_to_host else "device only"
        )
        assert facts["validity"] == "valid"

    return measure
