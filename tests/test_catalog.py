"""Tests of the table of runtimes: what other packages register is opened like ours, and a broken entry is named."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from rnncore.errors import ConfigError
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.forecast.series import Float32Array
from rnncore.runtimes import catalog
from rnncore.runtimes.base import Evidence, Runtime, RuntimeKind, Source
from rnncore.runtimes.catalog import OWN_RUNTIMES, open_runtime, runtime_kinds, runtimes_on

NOT_A_KIND = 7


class Constant(Runtime):
    """Forecasts nothing but sevens."""

    def __init__(self, source: Source, device: str, precision: str, threads: int) -> None:
        self.windows = 0

    def bind(self, inputs: Float32Array) -> None:
        self.windows = len(inputs)

    def run(self) -> None:
        pass

    def output(self) -> Float32Array:
        return np.full((self.windows, 1), 7, dtype=np.float32)

    def evidence(self, trace: Path | None = None) -> Evidence:
        return Evidence("constant", {}, (), 1e-6)

    def close(self) -> None:
        pass


KIND = RuntimeKind(Constant, {"cpu": ("fp4",)}, "forecaster")


def _registered(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    monkeypatch.setattr(catalog, "entry_points", lambda group: entries if group == "rnncore.runtimes" else ())
    runtime_kinds.cache_clear()


@pytest.fixture(autouse=True)
def _own_table_again() -> Iterator[None]:
    yield
    runtime_kinds.cache_clear()


def test_a_registered_runtime_stands_beside_ours_and_is_opened_like_them(monkeypatch: pytest.MonkeyPatch) -> None:
    _registered(monkeypatch, EntryPoint("sevens", "tests.test_catalog:KIND", "rnncore.runtimes"))
    assert [*runtime_kinds()] == [*OWN_RUNTIMES, "sevens"]
    assert ("sevens", "fp4") in runtimes_on("cpu")
    assert ("sevens", "fp4") not in runtimes_on("cuda")
    model = new_forecaster(ForecasterConfig(), seed=0)
    with open_runtime("sevens", model, "cpu", "fp4", 1) as runtime:
        assert runtime.predict(np.zeros((2, 3, 5), dtype=np.float32)).tolist() == [[7], [7]]


@pytest.mark.parametrize(
    ("name", "value", "wording"),
    [
        ("sevens", "no.such.module:KIND", r"the entry point sevens = no\.such\.module:KIND cannot be loaded: No module"),
        ("sevens", "tests.test_catalog:MISSING", r"sevens = tests\.test_catalog:MISSING cannot be loaded: .*MISSING"),
        ("sevens", "tests.test_catalog:NOT_A_KIND", r"leads to int; it must be a rnncore\.runtimes\.base\.RuntimeKind"),
        ("torch", "tests.test_catalog:KIND", "two runtimes are named 'torch'; rename the entry point torch = "),
    ],
)
def test_a_broken_entry_is_named(name: str, value: str, wording: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _registered(monkeypatch, EntryPoint(name, value, "rnncore.runtimes"))
    with pytest.raises(ConfigError, match=wording):
        runtime_kinds()


def test_every_runtime_of_ours_has_a_precision_on_some_device() -> None:
    assert all(any(kind.precisions.values()) for kind in OWN_RUNTIMES.values())
