"""Tests of the table of runtimes: what other packages register is opened like ours, and a broken entry is named."""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from rnncore.errors import ConfigError
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.forecast.series import Float32Array
from rnncore.runtimes import catalog
from rnncore.runtimes.base import Evidence, Runtime, RuntimeKind, Source
from rnncore.runtimes.catalog import OWN_RUNTIMES, open_runtime, runtime_facts, runtime_kinds, ways_on
from rnncore.runtimes.parity import PARITY_TOLERANCE, parity

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


KIND = RuntimeKind(Constant, {"cpu": ("fp4",)}, "forecaster", title="Sevens", tolerances={"fp4": 0.5})


def _registered(monkeypatch: pytest.MonkeyPatch, *entries: EntryPoint) -> None:
    monkeypatch.setattr(catalog, "entry_points", lambda group: entries if group == "rnncore.runtimes" else ())
    runtime_kinds.cache_clear()


@pytest.fixture(autouse=True)
def _own_table_again() -> Iterator[None]:
    yield
    runtime_kinds.cache_clear()


def test_a_registered_runtime_stands_beside_ours_and_is_opened_like_them(monkeypatch: pytest.MonkeyPatch) -> None:
    _registered(monkeypatch, EntryPoint("sevens", "tests.runtimes.test_catalog:KIND", "rnncore.runtimes"))
    assert [*runtime_kinds()] == [*OWN_RUNTIMES, "sevens"]
    assert ("sevens", None, "fp4") in ways_on("cpu")
    assert ("sevens", None, "fp4") not in ways_on("cuda")
    model = new_forecaster(ForecasterConfig(), seed=0)
    with open_runtime("sevens", model, "cpu", "fp4", 1) as runtime:
        assert runtime.predict(np.zeros((2, 3, 5), dtype=np.float32)).tolist() == [[7], [7]]


def test_a_mode_is_a_way_of_its_own_with_its_own_title_and_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [way for way in ways_on("cpu") if way.runtime == "torch"] == [
        *(("torch", None, "fp32"), ("torch", None, "bf16"), ("torch", "compile", "fp32"), ("torch", "flush", "fp32"))
    ]
    assert {(way.runtime, way.mode) for way in ways_on("cuda") if way.mode} == {
        *(("torch", "compile"), ("torch", "graph"), ("torch", "without_cudnn"), ("onnxruntime", "graph")),
        ("onnxruntime", "tensorrt"),
    }
    without_title = RuntimeKind(Constant, {"cpu": ("fp32",)}, "forecaster")
    monkeypatch.setitem(catalog.OWN_RUNTIMES, "torch", replace(OWN_RUNTIMES["torch"], modes={"turbo": without_title}))
    runtime_kinds.cache_clear()
    assert runtime_facts("torch", "turbo")["runtime_title"] == "PyTorch turbo"


def test_a_mode_has_a_title_and_an_error_of_its_own() -> None:
    with (
        pytest.raises(
            ConfigError, match="runtime torch in mode flush has no precision 'bf16' on 'cpu'; allowed there: fp32"
        ),
        open_runtime("torch", new_forecaster(ForecasterConfig(), seed=0), "cpu", "bf16", 1, mode="flush"),
    ):
        pass
    assert runtime_facts("torch", "compile") == {"runtime_title": "torch.compile", "runtime_reads": "forecaster"}


@pytest.mark.parametrize(
    ("name", "value", "wording"),
    [
        ("sevens", "no.such.module:KIND", r"the entry point sevens = no\.such\.module:KIND cannot be loaded: No module"),
        (
            "sevens",
            "tests.runtimes.test_catalog:MISSING",
            r"test_catalog:MISSING cannot be loaded: .*MISSING",
        ),
        (
            "sevens",
            "tests.runtimes.test_catalog:NOT_A_KIND",
            r"leads to int; it must be a rnncore\.runtimes\.\w+\.RuntimeKind",
        ),
        ("torch", "tests.runtimes.test_catalog:KIND", "two runtimes are named 'torch'; rename the entry point torch = "),
    ],
)
def test_a_broken_entry_is_named(name: str, value: str, wording: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _registered(monkeypatch, EntryPoint(name, value, "rnncore.runtimes"))
    with pytest.raises(ConfigError, match=wording):
        runtime_kinds()


def test_a_row_tells_its_runtime_s_title_and_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    _registered(monkeypatch, EntryPoint("sevens", "tests.runtimes.test_catalog:KIND", "rnncore.runtimes"))
    assert runtime_facts("onnxruntime") == {"runtime_title": "ONNX Runtime", "runtime_reads": "onnx"}
    assert runtime_facts("rnncore") == {"runtime_title": "rnncore", "runtime_reads": "forecaster"}
    assert runtime_facts("sevens") == {"runtime_title": "Sevens", "runtime_reads": "forecaster"}
    # What is timed may be no runtime at all, such as another library's training.
    assert runtime_facts("darts") == {"runtime_title": "darts", "runtime_reads": None}


def test_a_precision_of_another_package_is_held_against_its_own_tolerance_or_the_coarsest_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _registered(monkeypatch, EntryPoint("sevens", "tests.runtimes.test_catalog:KIND", "rnncore.runtimes"))
    outputs, reference = np.full((3, 1), 7, dtype=np.float32), np.full((3, 1), 6.5)
    assert parity(outputs, reference, "fp4").tolerance == pytest.approx(0.5 * 6.5)
    assert parity(outputs, reference, "fp8").tolerance == pytest.approx(max(PARITY_TOLERANCE.values()) * 6.5)
    assert parity(np.full((3, 1), np.nan, dtype=np.float32), reference, "fp8").verdict != "valid"


def test_every_runtime_of_ours_has_a_precision_on_some_device() -> None:
    assert all(any(kind.precisions.values()) for kind in OWN_RUNTIMES.values())
