"""Tests of streams: step by step the same as one long window, and scored on the hours that they were asked for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rnncore.errors import ConfigError
from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.forecast.scoring import forecast_test_hours
from rnncore.forecast.series import Dataset, Series
from rnncore.forecast.windows import WindowConfig, make_windows
from rnncore.runtimes import catalog
from rnncore.runtimes.catalog import open_stream, streams
from rnncore.runtimes.parity import float64_forecast
from rnncore.runtimes.stream import stream_test_hours


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", streams())
@pytest.mark.parametrize("series", [1, 3, 40])
def test_hour_by_hour_is_the_same_as_one_window_of_all_hours(name: str, cell: Cell, series: int) -> None:
    model = new_forecaster(ForecasterConfig(cell, 4, 20, 2, horizon=3), seed=0)
    inputs = np.random.default_rng(0).standard_normal((series, 9, 4), dtype=np.float32)
    with open_stream(name, model, series, threads=2) as stream:
        for hour in range(9):
            found = stream.step(np.ascontiguousarray(inputs[:, hour]))
            np.testing.assert_allclose(found, float64_forecast(model, inputs[:, : hour + 1]), atol=3e-6)


@pytest.mark.parametrize("name", streams())
def test_a_new_stream_begins_from_zeros(name: str) -> None:
    model = new_forecaster(ForecasterConfig("gru", 4, 20, 1), seed=0)
    hour = np.ones((2, 4), dtype=np.float32)
    answers = []
    for _ in range(2):
        with open_stream(name, model, 2, threads=1) as stream:
            answers.append(stream.step(hour).copy())
            stream.step(hour)
    np.testing.assert_array_equal(*answers)


@pytest.mark.parametrize("name", streams())
def test_the_first_tested_hour_is_forecast_as_by_its_window_and_later_ones_with_all_hours_since(
    name: str, make_series: Callable[..., Series]
) -> None:
    dataset = Dataset("made", (make_series("A", hours=400, seed=1), make_series("B", hours=330, seed=2)))
    windows = make_windows(dataset, WindowConfig(lookback=5))
    model = new_forecaster(ForecasterConfig("lstm", windows.num_features, 8, 1), seed=0)
    with open_stream(name, model, 2, threads=1) as stream:
        found = stream_test_hours(stream, windows)

    def predict(inputs: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(inputs)).numpy()

    by_windows = forecast_test_hours(predict, windows)
    for zone in windows.zones:
        assert found[zone.name].shape == by_windows[zone.name].shape
        np.testing.assert_allclose(found[zone.name][0], by_windows[zone.name][0], rtol=1e-5)
        start = windows.test_start[zone.test]
        since = windows.features[start[0] : start[-1] + 5][None]
        last = windows.to_mw(zone, start[-1:], predict(since))
        np.testing.assert_allclose(found[zone.name][-1:], last, rtol=1e-5)
        assert not np.allclose(found[zone.name][-1:], by_windows[zone.name][-1:], rtol=1e-7)


@pytest.mark.parametrize(("name", "kernel"), [("torch", "ATen loop"), ("rnncore", "rnncore GRU, ")])
def test_a_stream_tells_what_a_step_runs(name: str, kernel: str, tmp_path: Path) -> None:
    model = new_forecaster(ForecasterConfig("gru", 4, 20, 2), seed=0)
    trace = tmp_path / "trace.json"
    with open_stream(name, model, 3, threads=1) as stream:
        found = stream.evidence(np.ones((3, 4), dtype=np.float32), trace)
    assert found.kernel.startswith(kernel)
    assert len(found.ops) > 3
    assert "step" not in {op.name for op in found.ops}
    assert trace.is_file()


def test_an_unknown_stream_is_refused() -> None:
    model = new_forecaster(ForecasterConfig(), seed=0)
    with (
        pytest.raises(ConfigError, match=r"stream is 'onnxruntime'; allowed on cpu: torch, rnncore\."),
        open_stream("onnxruntime", model, 1, threads=1),
    ):
        pass


def test_a_stream_that_a_device_does_not_have_is_refused() -> None:
    model = new_forecaster(ForecasterConfig(), seed=0)
    with (
        pytest.raises(ConfigError, match=r"stream is 'rnncore'; allowed on cuda: torch\."),
        open_stream("rnncore", model, 1, threads=1, device="cuda"),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="device is 'abacus'; allowed: cpu, cuda"),
        open_stream("torch", model, 1, 1, device="abacus"),
    ):
        pass


def test_a_runtime_of_another_package_that_can_carry_a_state_is_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_forecaster(ForecasterConfig(hidden_size=4), seed=0)
    own = catalog.OWN_RUNTIMES
    made = own["torch"].stream(model, 1, "cpu")
    mine = replace(own["onnxruntime"], stream=lambda model, series, device: made)
    monkeypatch.setattr(catalog, "runtime_kinds", lambda: {**own, "mine": mine})
    assert streams() == ("torch", "rnncore", "mine")
    with open_stream("mine", model, 1, threads=1) as stream:
        assert stream is made
