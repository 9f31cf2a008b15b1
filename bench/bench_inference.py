"""Evaluation latency: one forward pass of the article's models on every runtime, parity beside it."""

import numpy as np
import pytest

from bench.cases import inference_cases
from rnncore.forecast.presets import preset
from rnncore.forecast.windows import Float32Array, Windows
from rnncore.measure.work import forward_work
from rnncore.runtimes.catalog import open_runtime
from rnncore.runtimes.export import parity

# Windows of a batch whose outputs are held against float64: enough to see a wrong kernel, and quick.
CHECKED_WINDOWS = 64


def spread_over_test_hours(windows: Windows, count: int) -> Float32Array:
    """Gather *count* tested windows, evenly spread over all zones. Shape (count, T, F)."""
    return windows.inputs(windows.test_start[np.arange(count) * len(windows.test_start) // count])


@pytest.mark.rnn_cases(choose=inference_cases)
def test_forecast(rnn_case, rnn_benchmark, rnn_threads, windows_of, forecaster_of, source_for):
    model = forecaster_of(rnn_case)
    windows = windows_of(preset("article", rnn_case.cell).windows)
    inputs = spread_over_test_hours(windows, rnn_case.batch_size)
    source = source_for(rnn_case.runtime, model, windows.config)
    threads = rnn_case.threads or rnn_threads
    with open_runtime(rnn_case.runtime, source, rnn_case.device, rnn_case.precision, threads) as runtime:
        runtime.bind(inputs)
        rnn_benchmark(
            rnn_case,
            runtime.run,
            windows=rnn_case.batch_size,
            group=f"inference, batch {rnn_case.batch_size}",
            work=forward_work(model.config, rnn_case.lookback, rnn_case.batch_size),
        )
        found = parity(runtime.output()[:CHECKED_WINDOWS], model, inputs[:CHECKED_WINDOWS], rnn_case.precision)
        placement = runtime.placement()
        validity = found.verdict
        if rnn_case.device == "cuda" and any(
            rnn_case.cell.upper() in node and "CPU" in where for node, where in placement.items()
        ):
            validity = "a recurrent layer fell back to the CPU"
        rnn_benchmark.record(parity_max_abs=found.max_abs, validity=validity, placement=placement)
    assert validity == "valid"
