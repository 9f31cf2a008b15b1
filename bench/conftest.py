"""What the suites share: windows of the chosen data set, forecasters, and the report at the end."""

import os

from rnncore.measure.busy import session_environment

# Before torch is loaded, by what is imported next: how many threads there are, and how they wait on a busy host.
os.environ.update(session_environment())

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from bench.trained import recipe_of, trained  # noqa: F401 (a fixture, for all suites)
from rnncore.errors import RnncoreError
from rnncore.forecast import cells
from rnncore.forecast.model import Forecaster, new_forecaster
from rnncore.forecast.series import Dataset, Float32Array, FloatArray
from rnncore.forecast.windows import RowArray, WindowConfig, Windows, make_windows
from rnncore.measure.plugin import saved_run_file
from rnncore.runfile.case import Case
from rnncore.runtimes import export, parity
from rnncore.runtimes.base import Source
from rnncore.runtimes.catalog import open_runtime, runtime_kinds
from rnncore.runtimes.export import export_onnx
from rnncore.runtimes.own_model import load_own_model
from rnncore.runtimes.parity import float64_forecast

REPORT_FOLDER = Path("reports/latest")
SEED = 0

# Windows of a batch that are held against float64, evenly spread: a fault in any thread's share of the batch is seen.
CHECKED_WINDOWS = 256


@pytest.fixture(scope="session")
def windows_of(rnn_dataset: Dataset) -> Callable[[WindowConfig], Windows]:
    """Windows of the data set by configuration, each made once."""
    return cache(lambda config: make_windows(rnn_dataset, config))


@pytest.fixture(scope="session")
def forecaster_of(rnn_dataset: Dataset) -> Callable[[Case], Forecaster]:
    """Untrained forecasters by case: speed does not depend on what a model has learnt."""
    made = cache(lambda config: new_forecaster(config, SEED))
    return lambda case: made(recipe_of(case, rnn_dataset).forecaster)


@pytest.fixture(scope="session")
def source_for(request, tmp_path_factory) -> Callable[[str, Forecaster, WindowConfig], Source]:
    """What a runtime opens for a forecaster: itself, or its ONNX file.

    The export takes seconds; a file is exported once, and kept in pytest's cache for the sessions to come.
    """
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("rnncore-onnx") if cache else tmp_path_factory.mktemp("onnx")

    def source(runtime: str, model: Forecaster, windows: WindowConfig) -> Source:
        if runtime_kinds()[runtime].reads == "forecaster":
            return model
        path = folder / f"{export_key(model, windows)}.onnx"
        if not path.exists():
            export_onnx(model, path, windows)
        return path

    return source


def export_key(model: Forecaster, windows: WindowConfig) -> str:
    """Return a digest of all that an exported file depends on: weights, shapes, the exporter and its versions."""
    versions = {name: metadata.version(name) for name in ("torch", "onnx", "onnxscript")}
    digest = hashlib.sha256(json.dumps([asdict(model.config), asdict(windows), versions]).encode())
    for module in (cells, export, parity):
        digest.update(Path(module.__file__).read_bytes())
    for weight in model.state_dict().values():
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Answers:
    """What a forecaster must give for some tested windows, evenly spread over all zones.

    Attributes:
        start: First rows of the windows. Shape (B,).
        inputs: The windows. Shape (B, T, F).
        checked: The windows that are checked, the first and the last among them. Shape (C,).
        float64: Their forecasts in float64. Shape (C, 1).
        torch_fp32: Their forecasts in torch, fp32, on the CPU. Shape (C, 1).
    """

    start: RowArray
    inputs: Float32Array
    checked: RowArray
    float64: FloatArray
    torch_fp32: Float32Array


@pytest.fixture(scope="session")
def right_answers(rnn_threads) -> Callable[[Forecaster, Windows, int], Answers]:
    """Right answers by forecaster and number of windows, each worked out once."""
    made: dict[tuple[int, WindowConfig, int], Answers] = {}

    def answers(model: Forecaster, windows: Windows, count: int) -> Answers:
        key = id(model), windows.config, count
        if key not in made:
            start = windows.test_start[np.arange(count) * len(windows.test_start) // count]
            inputs = windows.inputs(start)
            checked = np.unique(np.linspace(0, count - 1, CHECKED_WINDOWS).round().astype(np.int64))
            with open_runtime("torch", model, "cpu", "fp32", rnn_threads) as runtime:
                torch_fp32 = runtime.predict(inputs[checked])
            float64 = float64_forecast(model, inputs[checked])
            made[key] = Answers(start, inputs, checked, float64, torch_fp32)
        return made[key]

    return answers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a library's warning, say of a newer torch, pass: here it must not stop a measurement.

    Weights that cuDNN packs in every call do: the row would be one of copies.
    """
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("default", "error:RNN module weights are not part"))


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a model of a user's own that cannot be made, before anything is measured."""
    if (named := config.getoption("rnn_model")) is not None:
        try:
            load_own_model(named, config.invocation_params.dir)
        except RnncoreError as error:
            raise pytest.UsageError(str(error)) from error


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
