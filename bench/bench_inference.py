"""Evaluation latency: one forward pass of the article's models on every runtime, parity beside it."""

import pytest
from bench.cases import inference_cases
from bench.conftest import spread_over_test_hours

from rnncore.forecast.presets import preset
from rnncore.runtimes.base import open_runtime
from rnncore.runtimes.export import PARITY_TOLERANCE, export_onnx, max_abs_error

# Windows of a batch whose outputs are held against float64: enough to see a wrong kernel, and quick.
CHECKED_WINDOWS = 64


@pytest.fixture(scope="session")
def onnx_file_of(forecaster_of, tmp_path_factory):
    """ONNX files by case, each exported once."""
    files = {}

    def onnx_file(case):
        axes = (case.cell, case.hidden_size, case.num_layers)
        if axes not in files:
            files[axes] = tmp_path_factory.mktemp("onnx") / "forecaster.onnx"
            export_onnx(forecaster_of(case), files[axes])
        return files[axes]

    return onnx_file


@pytest.mark.rnn_cases(choose=inference_cases)
def test_forecast(rnn_case, rnn_benchmark, rnn_threads, windows_of, forecaster_of, onnx_file_of):
    rnn_benchmark.group = f"inference, batch {rnn_case.batch_size}"
    model = forecaster_of(rnn_case)
    source = model if rnn_case.runtime == "torch" else onnx_file_of(rnn_case)
    inputs = spread_over_test_hours(windows_of(preset("article", rnn_case.cell).windows), rnn_case.batch_size)
    threads = rnn_case.threads or rnn_threads
    with open_runtime(rnn_case.runtime, source, rnn_case.device, rnn_case.precision, threads) as runtime:
        runtime.bind(inputs)
        rnn_benchmark(rnn_case, runtime.run, windows=rnn_case.batch_size)
        error = max_abs_error(runtime.output()[:CHECKED_WINDOWS], model, inputs[:CHECKED_WINDOWS])
        tolerance = PARITY_TOLERANCE[rnn_case.precision]
        validity = "valid" if error <= tolerance else f"outputs differ by {error:.1e}, more than {tolerance:.0e}"
        rnn_benchmark.record(parity_max_abs=error, validity=validity, placement=runtime.placement())
    assert validity == "valid"
