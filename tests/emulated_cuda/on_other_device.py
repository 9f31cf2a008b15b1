"""What runs on a device that no code here names: tests that tests/test_emulated_cuda.py runs in a session of their own."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import Device, resolve_device
from rnncore.forecast.fit import fit
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.trainer import TrainConfig, Trainer
from rnncore.forecast.windows import Windows
from rnncore.measure.answers import gradient_parity
from rnncore.measure.disturbance import BusyGpu, open_sources
from rnncore.measure.energy import joules_per_1000
from rnncore.measure.fingerprint import fingerprint
from rnncore.measure.memory import peak_device_memory
from rnncore.measure.rates import Shape, chain_rate, copy_rate, gemm_rate
from rnncore.runtimes.catalog import open_runtime, open_stream, streams, ways_on
from rnncore.runtimes.parity import float64_forecast, parity
from tests.emulated_cuda.build import OTHER
from tests.emulated_cuda.device import NAME, counted

for_both_cells = pytest.mark.parametrize("cell", CELLS)


def _model(cell: str) -> Forecaster:
    return new_forecaster(ForecasterConfig(cell=cell, hidden_size=16, num_layers=2), seed=1).eval()


def _inputs() -> np.ndarray:
    return np.random.default_rng(3).random((3, 20, 5), dtype=np.float32)


def _trainer(cell: str, windows: Windows, device: str = OTHER, **changes: object) -> Trainer:
    config = replace(preset("article", cell).forecaster, hidden_size=8, input_size=windows.num_features, dropout=0.0)
    return Trainer(new_forecaster(config, 0), windows, TrainConfig(batch_size=16, **changes), resolve_device(device))


def test_the_device_is_torchs_and_has_no_float64() -> None:
    assert torch.accelerator.current_accelerator().type == OTHER
    assert torch.ones(3, device=OTHER).device == Device(OTHER).in_torch
    with pytest.raises(TypeError, match="no float64"):
        torch.ones(3, device=OTHER).double()


def test_it_is_known_by_its_name_and_number_and_others_are_refused() -> None:
    assert (resolve_device(OTHER), resolve_device(f"{OTHER}:1")) == (torch.device(OTHER, 0), torch.device(OTHER, 1))
    with pytest.raises(Unavailable, match=f"no EMULATED device 2: torch sees 2. Name one of: {OTHER}, {OTHER}:1."):
        resolve_device(f"{OTHER}:2")
    with pytest.raises(ConfigError, match="device is 'tpu'; allowed: cpu, cuda"):
        resolve_device("tpu")
    with pytest.raises(Unavailable, match="no CUDA device"):
        resolve_device("cuda")


def test_it_is_taken_only_by_name_as_nobody_knows_that_it_runs_whole_layers() -> None:
    assert resolve_device("auto") == torch.device("cpu")


@for_both_cells
@pytest.mark.parametrize("device", [OTHER, f"{OTHER}:1"])
def test_a_runtime_on_it_answers_right_and_says_what_ran(cell: str, device: str) -> None:
    model, inputs = _model(cell), _inputs()
    with open_runtime("torch", model, device, "fp32", 1) as runtime:
        outputs = runtime.predict(inputs)
        with counted() as found:
            runtime.run()
        assert found == {"synchronizations": 1}
        evidence = runtime.evidence()
    assert parity(outputs, float64_forecast(model, inputs), "fp32").verdict == "valid"
    assert evidence.kernel == "ATen fused cell"
    assert evidence.ops


def test_the_ways_on_it_are_what_every_device_has_and_graphs_are_refused(windows: Windows) -> None:
    assert [way for way in ways_on(OTHER) if way.runtime in ("torch", "rnncore", "onnxruntime")] == [("torch", None, "fp32")]
    with (
        pytest.raises(ConfigError, match=f"no precision 'bf16' on '{OTHER}'; allowed there: fp32"),
        open_runtime("torch", _model("gru"), OTHER, "bf16", 1),
    ):
        pass
    with pytest.raises(Unavailable, match=f"no CUDA graph on {OTHER}"):
        _trainer("gru", windows, implementation="graph")


@for_both_cells
@pytest.mark.parametrize("device", [OTHER, f"{OTHER}:1"])
def test_a_stream_and_page_locked_copies_are_those_of_any_device(cell: str, device: str) -> None:
    model, inputs = _model(cell), _inputs()
    assert streams(device) == ("torch",)
    with open_stream("torch", model, 3, 1, device) as stream:
        for hour in range(20):
            outputs = stream.step(np.ascontiguousarray(inputs[:, hour]))
    assert parity(outputs, float64_forecast(model, inputs), "fp32").verdict == "valid"
    with open_runtime("torch", model, device, "fp32", 1) as runtime:
        locked = runtime.pinned(inputs)
        runtime.predict(locked)
        with counted() as found:
            again = runtime.predict(locked)
    assert found == {"synchronizations": 1, "copies_in": 1, "copies_out": 1, "page_locked": 2}
    assert parity(again, float64_forecast(model, inputs), "fp32").verdict == "valid"


def test_a_mixed_precision_and_several_processes_are_refused_where_nobody_knows_of_them(windows: Windows) -> None:
    for precision in ("bf16", "fp16"):
        with pytest.raises(Unavailable, match=rf"no {precision} on EMULATED\. Take one of: fp32"):
            _trainer("gru", windows, precision=f"amp_{precision}")
    with pytest.raises(Unavailable, match="nothing that connects EMULATED devices"):
        Device(OTHER).backend()


@for_both_cells
def test_a_training_on_it_follows_that_on_the_cpu_waits_for_nothing_and_goes_on_from_a_checkpoint(
    cell: str, windows: Windows, tmp_path: Path
) -> None:
    host, whole = (_trainer(cell, windows, device, max_steps=6) for device in ("cpu", OTHER))
    fit(host)
    fit(whole)
    fit(_trainer(cell, windows, max_steps=3), tmp_path / "kept.safetensors")
    resumed = _trainer(cell, windows, f"{OTHER}:1", max_steps=6)
    fit(resumed, tmp_path / "kept.safetensors", resume=True)
    for one, other, third in zip(*(each.model.parameters() for each in (whole, host, resumed)), strict=True):
        assert (one.device, third.device) == (torch.device(OTHER, 0), torch.device(OTHER, 1))
        torch.testing.assert_close(one.cpu(), other, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(third.cpu(), one.cpu(), rtol=1e-4, atol=1e-6)
    order = resumed.epoch_order(0)
    with counted() as found:
        resumed.train_step(order[:16], 0)
    assert found == {}


@for_both_cells
def test_gradients_on_it_are_held_against_float64_though_it_has_none(cell: str, windows: Windows) -> None:
    trainer = _trainer(cell, windows)
    assert gradient_parity(trainer, trainer.epoch_order(0)[:16], "fp32").verdict == "valid"


def test_its_memory_is_counted_where_it_counts_and_its_cards_are_in_the_fingerprint() -> None:
    with peak_device_memory(OTHER, "torch") as facts:
        torch.zeros(1 << 20, device=OTHER)
    assert facts["peak_device_bytes"] >= 4 << 20
    gpu = fingerprint(1)["gpu"]
    assert (gpu["name"], gpu["count"]) == (NAME, 2)
    assert [*gpu["devices"]] == [OTHER, f"{OTHER}:1"]
    assert len({card["uuid"] for card in gpu["devices"].values()}) == 2


def test_what_nobody_knows_of_it_has_a_reason() -> None:
    joules, why = joules_per_1000(lambda: None, 1, OTHER)
    assert (joules, why) == (None, "no library is known here that tells of the clocks and the energy of EMULATED devices")
    sources, missing = open_sources(OTHER)
    for source in sources:
        with closing(source):
            pass
    assert missing[BusyGpu.cause] == why


def test_its_ceilings_are_measured() -> None:
    assert gemm_rate(OTHER, "fp32", 1).per_s > 0
    assert gemm_rate(OTHER, "tf32", 1) is None
    assert copy_rate(f"{OTHER}:1").per_s > 0
    assert chain_rate(OTHER, "fp32", 1, Shape(2, 8, 3)).by == "torch"
