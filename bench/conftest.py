"""What the suites share: windows of the chosen data set, forecasters, and the report at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from rnncore.errors import RnncoreError
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.series import Dataset, FloatArray
from rnncore.forecast.windows import Float32Array, RowArray, WindowConfig, Windows, make_windows
from rnncore.measure.case import Case
from rnncore.measure.plugin import saved_run_file
from rnncore.runtimes.base import Source
from rnncore.runtimes.catalog import open_runtime
from rnncore.runtimes.export import export_onnx, float64_forecast

REPORT_FOLDER = Path("reports/latest")
SEED = 0


@pytest.fixture(scope="session")
def windows_of(rnn_dataset: Dataset) -> Callable[[WindowConfig], Windows]:
    """Windows of the data set by configuration, each made once."""
    return cache(lambda config: make_windows(rnn_dataset, config))


@pytest.fixture(scope="session")
def forecaster_of() -> Callable[[Case], Forecaster]:
    """Untrained forecasters of the article's kind by case: speed does not depend on what a model has learnt."""

    @cache
    def forecaster(cell: str, hidden_size: int, num_layers: int) -> Forecaster:
        return new_forecaster(ForecasterConfig(cell=cell, hidden_size=hidden_size, num_layers=num_layers), SEED)

    return lambda case: forecaster(case.cell, case.hidden_size, case.num_layers)


@pytest.fixture(scope="session")
def source_for(tmp_path_factory) -> Callable[[str, Forecaster, WindowConfig], Source]:
    """What a runtime opens for a forecaster: itself, or its ONNX file, exported once."""
    files: dict[int, Path] = {}

    def source(runtime: str, model: Forecaster, windows: WindowConfig) -> Source:
        if runtime == "torch":
            return model
        if id(model) not in files:
            files[id(model)] = tmp_path_factory.mktemp("onnx") / "forecaster.onnx"
            export_onnx(model, files[id(model)], windows)
        return files[id(model)]

    return source


@dataclass(frozen=True)
class Answers:
    """What a forecaster must give for some tested windows, evenly spread over all zones.

    Attributes:
        start: First rows of the windows. Shape (B,).
        inputs: The windows. Shape (B, T, F).
        float64: The forecasts in float64. Shape (B, 1).
        torch_fp32: The forecasts in torch, fp32, on the CPU. Shape (B, 1).
    """

    start: RowArray
    inputs: Float32Array
    float64: FloatArray
    torch_fp32: Float32Array


@pytest.fixture(scope="session")
def right_answers(rnn_threads) -> Callable[[Forecaster, Windows, int], Answers]:
    """Right answers by forecaster and number of windows, each worked out once."""
    made: dict[tuple[int, int], Answers] = {}

    def answers(model: Forecaster, windows: Windows, count: int) -> Answers:
        if (id(model), count) not in made:
            start = windows.test_start[np.arange(count) * len(windows.test_start) // count]
            inputs = windows.inputs(start)
            with open_runtime("torch", model, "cpu", "fp32", rnn_threads) as runtime:
                torch_fp32 = runtime.predict(inputs)
            made[id(model), count] = Answers(start, inputs, float64_forecast(model, inputs), torch_fp32)
        return made[id(model), count]

    return answers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a library's warning, say of a newer torch, pass: here it must not stop a measurement."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the report of a saved run and say where it is."""
    run_file = saved_run_file(config)
    if run_file is None:
        return
    from rnncore.report.page import write_report

    try:
        report = write_report([run_file], config.rootpath / REPORT_FOLDER)
    except RnncoreError as error:
        terminalreporter.write_line(f"No report: {error} The run is saved; make it with 'rnncore report {run_file}'.")
        return
    terminalreporter.write_line(f"Report: {report.relative_to(config.rootpath)}")
