"""A forecaster of your own with `--rnn-model module:factory`: one forward pass on every runtime that can run it."""

import time

import numpy as np
import pytest
import torch

from bench.cases import own_model_cases
from bench.trained import COPYING, open_case, timed_call
from rnncore.errors import ExportError, Unavailable
from rnncore.forecast.presets import preset
from rnncore.measure.answers import forecast_verdict
from rnncore.runtimes.catalog import runtime_kinds
from rnncore.runtimes.export import export_module
from rnncore.runtimes.own_model import load_own_model
from rnncore.runtimes.parity import float64_forecast, parity

CHECKED_WINDOWS = 64


@pytest.fixture(scope="module")
def own_model(request):
    return load_own_model(request.config.getoption("rnn_model"), request.config.invocation_params.dir)


@pytest.fixture(scope="module")
def own_source(own_model, windows_of, tmp_path_factory):
    """What a runtime opens for the forecaster: itself, or its ONNX file, exported once; or why it cannot be."""
    made = {}

    def source(runtime):
        if runtime_kinds()[runtime].reads == "forecaster":
            return own_model
        if "onnx" not in made:
            path, shape = tmp_path_factory.mktemp("own") / "own.onnx", _windows(windows_of, 1).shape
            try:
                export_module(own_model, path, *shape[1:])
                made["onnx"] = path
            except ExportError as error:
                made["onnx"] = Unavailable(str(error))
        if isinstance(made["onnx"], Unavailable):
            raise made["onnx"]
        return made["onnx"]

    return source


def _windows(windows_of, count):
    windows = windows_of(preset("article", "gru").windows)
    return windows.inputs(windows.test_start[np.arange(count) * len(windows.test_start) // count])


@pytest.mark.rnn_cases(choose=own_model_cases, only_with="rnn_model")
def test_own_forecast(request, rnn_case, rnn_benchmark, rnn_threads, windows_of, own_model, own_source):
    inputs = _windows(windows_of, rnn_case.batch_size)
    checked = np.unique(np.linspace(0, len(inputs) - 1, CHECKED_WINDOWS).round().astype(np.int64))
    with rnn_benchmark.part("exports"):
        source = own_source(rnn_case.runtime)
    began_s = time.perf_counter()
    with open_case(rnn_case, source, rnn_threads) as runtime:
        call = timed_call(runtime, inputs, rnn_case.clock)
        rnn_benchmark(
            call,
            windows=rnn_case.batch_size,
            group=f"own model{COPYING.get(rnn_case.clock, '')}, batch {rnn_case.batch_size}",
            evidence=runtime.evidence,
            opening_s=time.perf_counter() - began_s,
        )
        output = runtime.output()
    rnn_benchmark.record_memory(source, inputs.shape)
    with torch.inference_mode():
        found = parity(output[checked], float64_forecast(own_model, inputs[checked]), rnn_case.precision)
    verdict = forecast_verdict(found, 0.0, 0.0, rnn_case.precision)
    rnn_benchmark.record(
        model=request.config.getoption("rnn_model"),
        features=inputs.shape[2],
        parity_max_abs=found.max_abs,
        parity_tolerance=found.tolerance,
        smape_why="a model of your own is measured as it is made, not trained",
        validity=verdict,
    )
    assert verdict == "valid"
