"""Tests of oneDNN's primitives as the suites call them: forecasts are those of float64; without the package, a skip."""

import numpy as np
import pytest

from bench import onednn
from bench.onednn import OneDnnRuntime
from rnncore.errors import Unavailable
from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.runtimes.parity import float64_forecast


@pytest.mark.parametrize(("precision", "error"), [("fp32", 1e-6), ("bf16", 2e-2)])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_forecasts_are_those_of_float64_for_every_shape_that_is_bound(
    cell: Cell, relu: bool, precision: str, error: float
) -> None:
    model = new_forecaster(ForecasterConfig(cell=cell, hidden_size=24, horizon=3, relu_head=relu), seed=0).eval()
    runtime = OneDnnRuntime(model, precision, threads=1)
    random = np.random.default_rng(0)
    try:
        for windows, hours in ((1, 4), (7, 9), (2, 1)):
            inputs = random.standard_normal((windows, hours, 5), dtype=np.float32)
            runtime.bind(inputs)
            for _ in range(2):
                runtime.run()
                assert np.abs(runtime.output() - float64_forecast(model, inputs)).max() < error
            assert runtime.evidence().kernel.startswith(f"oneDNN {cell.upper()}, ")
    finally:
        runtime.close()


def test_without_the_package_it_is_unavailable_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onednn, "PACKAGE", "rnncore-no-such-package")
    runtime = OneDnnRuntime(new_forecaster(ForecasterConfig(), seed=0), "fp32", threads=1)
    with pytest.raises(Unavailable, match=r"is not installed: pip install 'rnncore\[peers\]'\."):
        runtime.bind(np.zeros((1, 2, 5), np.float32))
