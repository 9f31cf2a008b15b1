"""Streaming: one new hour for each series with the state carried, beside the whole window again in the same runtime."""

import statistics
import time
from dataclasses import replace

import numpy as np
import pytest

from bench.cases import stream_cases
from bench.trained import recipe_of, timed_call
from rnncore.forecast.scoring import score_forecasts
from rnncore.measure.work import forward_work
from rnncore.runtimes.catalog import open_runtime, open_stream
from rnncore.runtimes.parity import parity
from rnncore.runtimes.stream import stream_test_hours

# Calls of the whole window, which the saving is held against.
WINDOW_CALLS = 5

# A step takes microseconds.
MIN_ROUND_S = 1e-3


@pytest.fixture(scope="session")
def smape_of_streams(trained, rnn_dataset, windows_of, rnn_threads):
    """The sMAPE of trained forecasters by windows, and with the state carried over all test hours; each scored once."""
    made = {}

    def smapes(case, rnn_benchmark):
        key = case.cell, case.recipe, case.runtime, case.device
        if key not in made:
            model, _, by_windows = trained(case, rnn_benchmark)
            windows = windows_of(recipe_of(case, rnn_dataset).windows)
            zones = sum(zone.test.stop > zone.test.start for zone in windows.zones)
            with open_stream(case.runtime, model, zones, rnn_threads, case.device) as stream:
                scores = score_forecasts("carried", stream_test_hours(stream, windows), windows)
            made[key] = by_windows.mean.smape, scores.mean.smape
        return made[key]

    return smapes


@pytest.mark.rnn_cases(choose=stream_cases)
def test_next_hour(
    rnn_case, rnn_benchmark, rnn_threads, rnn_dataset, windows_of, forecaster_of, right_answers, trained, smape_of_streams
):
    is_ours = rnn_case.recipe != "article"
    smapes = smape_of_streams(rnn_case, rnn_benchmark) if is_ours and not rnn_benchmark.brief else None
    model = trained(rnn_case, rnn_benchmark)[0] if is_ours else forecaster_of(rnn_case)
    windows = windows_of(recipe_of(rnn_case, rnn_dataset).windows)
    threads = rnn_case.threads or rnn_threads
    answers = right_answers(model, windows, rnn_case.batch_size)
    # The inference suite has measured most of these, and better than a few calls can.
    window_call_s = rnn_benchmark.known_median_s(replace(rnn_case, phase="infer"))
    if window_call_s is None:
        with open_runtime(rnn_case.runtime, model, rnn_case.device, "fp32", threads) as runtime:
            call = timed_call(runtime, answers.inputs, rnn_case.clock)
            window_call_s = _median_s(call, WINDOW_CALLS if rnn_benchmark.enabled else 1)
    with open_stream(rnn_case.runtime, model, rnn_case.batch_size, threads, rnn_case.device) as stream:
        # From zeros through a window, hour by hour: the answer must be the window's.
        for hour in range(rnn_case.lookback):
            output = stream.step(np.ascontiguousarray(answers.inputs[:, hour]))
        found = parity(output[answers.checked], answers.float64, "fp32")
        hours = [np.ascontiguousarray(answers.inputs[:, hour]) for hour in range(rnn_case.lookback)]
        at = 0

        def next_hour():
            nonlocal at
            at = (at + 1) % rnn_case.lookback
            stream.step(hours[at])

        rnn_benchmark(
            next_hour,
            windows=rnn_case.batch_size,
            group=f"streaming, {rnn_case.batch_size} series",
            work=forward_work(model.config, 1, rnn_case.batch_size),
            evidence=lambda trace: stream.evidence(hours[0], trace),
            min_round_s=MIN_ROUND_S,
        )
    by_windows, carried = smapes or (None, None)
    rnn_benchmark.record(
        window_call_s=window_call_s,
        smape=carried,
        smape_by_windows=by_windows,
        **({} if smapes else {"smape_why": "not scored in a short process" if is_ours else "it is timed untrained"}),
        parity_max_abs=found.max_abs,
        parity_tolerance=found.tolerance,
        validity=found.verdict,
    )
    assert found.verdict == "valid"


def _median_s(call, times):
    seconds = []
    for _ in range(times):
        began_s = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began_s)
    return statistics.median(seconds)
