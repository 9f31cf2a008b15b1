"""What runs on an emulated CUDA device: tests that tests/test_emulated_cuda.py runs in a session of their own."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rnncore.errors import Unavailable
from rnncore.forecast.autocast import Autocast
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import Device, resolve_device
from rnncore.forecast.fit import fit
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.trainer import TrainConfig, Trainer
from rnncore.forecast.windows import WindowConfig, Windows
from rnncore.measure.answers import gradient_parity, step_parity
from rnncore.measure.energy import joules_per_1000
from rnncore.measure.fingerprint import fingerprint
from rnncore.measure.gpu import Gpu, GpuState
from rnncore.measure.memory import peak_device_memory
from rnncore.runtimes.catalog import open_runtime, open_stream
from rnncore.runtimes.export import export_onnx
from rnncore.runtimes.parity import float64_forecast, parity
from tests.emulated_cuda.device import NAME, counted, counts
from tests.reference import numeric_gradient

GPU = torch.device("cuda", 0)
for_both_cells = pytest.mark.parametrize("cell", CELLS)


def _model(cell: str, dropout: float = 0.0) -> Forecaster:
    return new_forecaster(ForecasterConfig(cell=cell, hidden_size=16, num_layers=2, dropout=dropout), seed=1).eval()


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the ONNX file of the model of a cell, for windows of 20 hours; each is exported once."""
    folder = tmp_path_factory.mktemp("onnx")

    @cache
    def exported(cell: str) -> Path:
        path = folder / cell / "model.onnx"
        path.parent.mkdir()
        export_onnx(_model(cell), path, WindowConfig(lookback=20))
        return path

    return exported


def _inputs(windows: int = 3) -> np.ndarray:
    return np.random.default_rng(3).random((windows, 20, 5), dtype=np.float32)


# ------------------------------------------------------------------------------------------------------- the device itself


def test_a_tensor_is_on_the_device_and_its_values_are_right() -> None:
    values = torch.arange(6.0).view(2, 3)
    with counted() as found:
        moved = values.to("cuda")
        doubled = (2 * moved).t()
        back = doubled.cpu()
    assert (moved.device, doubled.device, back.device) == (GPU, GPU, torch.device("cpu"))
    torch.testing.assert_close(back, 2 * values.t())
    assert found == {"copies_in": 1, "copies_out": 1}


def test_a_view_shares_the_memory_of_what_it_is_a_view_of() -> None:
    whole = torch.zeros(4, 3, device="cuda")
    whole[1:3, 0] = 7.0
    whole.view(-1)[11] = 5.0
    whole.t()[2].add_(1.0)
    expected = torch.zeros(4, 3)
    expected[1:3, 0], expected[3, 2] = 7.0, 5.0
    expected[:, 2] += 1.0
    torch.testing.assert_close(whole.cpu(), expected)


def test_an_output_that_must_grow_keeps_its_identity() -> None:
    out = torch.empty(0, device="cuda")
    given = torch.add(torch.ones(5, device="cuda"), 1.0, out=out)
    assert given is out
    torch.testing.assert_close(out.cpu(), torch.full((5,), 2.0))


@pytest.mark.parametrize("swapped", [False, True])
def test_operands_on_two_devices_are_refused(swapped: bool) -> None:
    operands = [torch.ones(3, device="cuda"), torch.ones(3)]
    with pytest.raises(RuntimeError, match="same device"):
        torch.add(*(reversed(operands) if swapped else operands))
    # A single number of the host is one for every device.
    assert (operands[0] + torch.tensor(1.0)).device == GPU


@pytest.mark.parametrize(
    "reads",
    [
        lambda values: values.sum().item(),
        lambda values: bool((values > 0).all()),
        lambda values: torch.nonzero(values),
        lambda values: values[values > 0],
        lambda values: torch.equal(values, values),
    ],
    ids=["item", "bool", "nonzero", "mask", "equal"],
)
def test_what_the_host_has_to_wait_for_is_counted(reads) -> None:
    values = torch.ones(3, device="cuda")
    with counted() as found:
        reads(values)
    assert found == {"host_reads": 1}


def test_memory_of_the_device_is_what_its_tensors_hold() -> None:
    with peak_device_memory("cuda", "torch") as facts:
        first = torch.zeros(1 << 20, device="cuda")
        del first
        second = torch.zeros(1 << 20, device="cuda")
        del second
    assert 4 << 20 <= facts["peak_device_bytes"] < 8 << 20


def test_what_is_made_of_a_tensor_is_on_its_device_and_two_gpus_are_two() -> None:
    second = torch.device("cuda", 1)
    values = torch.ones(3, device=second)
    made = [2 * values, values.t(), torch.zeros_like(values), values.to("cuda:0")]
    assert [one.device.index for one in made] == [1, 1, 1, 0]
    with pytest.raises(RuntimeError, match=r"same device.*cuda:1 and cuda:0"):
        torch.add(values, made[-1])
    torch.testing.assert_close(made[-1].cpu(), torch.ones(3))


def test_the_device_and_its_driver_say_that_they_are_emulated() -> None:
    facts = fingerprint(1)["gpu"]
    assert (facts["name"], facts["cuda"], facts["driver"], facts["power_limit_w"]) == (NAME, "emulated", "emulated", 700.0)
    assert [card["uuid"][-1] for card in facts["devices"].values()] == ["0", "1"]


# ----------------------------------------------------------------------------------------- its driver, by pynvml's own calls


def test_the_driver_tells_the_state_of_the_gpu_that_torch_names() -> None:
    with closing(Gpu.open()) as gpu:
        assert gpu.state() == GpuState(1755, 1980, 40, 300.0, (), ())


def test_energy_of_calls_is_the_power_times_their_time_though_the_counter_moves_in_steps() -> None:
    took_s: list[float] = []

    def call() -> None:
        began_s = time.perf_counter()
        time.sleep(0.01)
        took_s.append(time.perf_counter() - began_s)

    began_s = time.perf_counter()
    joules, why = joules_per_1000(call, 1, "cuda")
    elapsed_s = time.perf_counter() - began_s
    assert why is None
    # What the process takes beside the calls counts as theirs.
    assert joules == pytest.approx(1000 * 300.0 * elapsed_s / len(took_s), rel=0.1)


# ---------------------------------------------------------------------------------------------------------- recurrent layers


@for_both_cells
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_layers_on_the_device_give_the_values_and_gradients_of_the_cpus(cell: str, dropout: float) -> None:
    module = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
    torch.manual_seed(0)
    host = module(5, 8, 2, batch_first=True, dropout=dropout)
    device = module(5, 8, 2, batch_first=True, dropout=dropout)
    device.load_state_dict(host.state_dict())
    device.to("cuda")
    inputs = torch.rand(4, 6, 5)
    with counted() as found:
        torch.manual_seed(1)
        states = device(inputs.to("cuda"))[0]
        states.square().sum().backward()
    assert found["recurrent_layers"] == 1
    assert "repacked" not in found
    assert {weight.grad.device for weight in device.parameters()} == {GPU}
    if dropout:
        # Which values are dropped is the device's own; the gradient must drop the same: a step along it lowers the sum.
        gradients = torch.cat([weight.grad.flatten() for weight in device.parameters()])
        step = 1e-3
        with torch.no_grad():
            for weight in device.parameters():
                weight.sub_(step * weight.grad / gradients.norm())
        torch.manual_seed(1)
        lowered = device(inputs.to("cuda"))[0].square().sum()
        slope = (states.square().sum() - lowered).item() / step
        assert slope == pytest.approx(gradients.norm().item(), rel=2e-2)
        return
    expected = host(inputs)[0]
    expected.square().sum().backward()
    torch.testing.assert_close(states.cpu(), expected)
    for one, other in zip(device.parameters(), host.parameters(), strict=True):
        torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=1e-4, atol=1e-5)


@for_both_cells
def test_where_cudnn_is_off_torch_goes_hour_by_hour_and_the_values_are_the_same(cell: str) -> None:
    model, inputs = _model(cell), _inputs()
    with open_runtime("torch", model, "cuda", "fp32", 1, mode="without_cudnn") as runtime:
        with counted() as found:
            outputs = runtime.predict(inputs)
        assert runtime.evidence().kernel == "ATen fused cell"
    assert torch.backends.cudnn.enabled
    assert "recurrent_layers" not in found
    assert parity(outputs, float64_forecast(model, inputs), "fp32").verdict == "valid"


def test_layers_whose_weights_lie_apart_are_packed_in_every_call_with_a_warning() -> None:
    layers = nn.GRU(5, 8, batch_first=True).to("cuda")
    layers.weight_hh_l0.data = layers.weight_hh_l0.data.clone()
    with counted() as found, pytest.warns(UserWarning, match="not part of single contiguous chunk"):
        layers(torch.rand(4, 6, 5, device="cuda"))
    assert found["repacked"] == 1


# ------------------------------------------------------------------------------------------------------------- the runtime


@for_both_cells
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_a_runtime_on_the_device_answers_right_and_waits_once(cell: str, precision: str) -> None:
    model, inputs = _model(cell), _inputs()
    with open_runtime("torch", model, "cuda", precision, 1) as runtime:
        runtime.bind(inputs)
        runtime.run()
        with counted() as found:
            runtime.run()
        # One wait, no copy, and weights that nobody packs again.
        assert found == {"synchronizations": 1, "recurrent_layers": 1}
        with counted() as found:
            outputs = runtime.predict(inputs)
        assert found == {"synchronizations": 1, "recurrent_layers": 1, "copies_in": 1, "copies_out": 1}
    assert parity(outputs, float64_forecast(model, inputs), precision).verdict == "valid"
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}


@for_both_cells
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_a_graph_answers_for_windows_that_were_bound_after_its_capture(cell: str, precision: str) -> None:
    model, others = _model(cell), np.random.default_rng(4).random((3, 20, 5), dtype=np.float32)
    with open_runtime("torch", model, "cuda", precision, 1, mode="graph") as runtime:
        runtime.bind(_inputs())
        for inputs in (_inputs(), others):
            with counted() as found:
                outputs = runtime.predict(inputs)
            assert found == {"synchronizations": 1, "recurrent_layers": 1, "copies_in": 1, "copies_out": 1}
            assert parity(outputs, float64_forecast(model, inputs), precision).verdict == "valid"
        # Of another shape it is captured anew.
        outputs = runtime.predict(_inputs(windows=5))
        assert parity(outputs, float64_forecast(model, _inputs(windows=5)), precision).verdict == "valid"
        assert runtime.evidence().kernel == "cuDNN standard in a CUDA graph"
        runtime.bind(_inputs(windows=5)[::-1].copy())
        runtime.run()
        np.testing.assert_array_equal(runtime.output(), outputs[::-1])


@for_both_cells
@pytest.mark.parametrize("mode", [None, "graph"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_page_locked_windows_are_copied_from_where_they_lie_and_outputs_into_such_memory(
    cell: str, mode: str | None, precision: str
) -> None:
    model, inputs = _model(cell), _inputs()
    with open_runtime("torch", model, "cuda", precision, 1, mode=mode) as runtime:
        runtime.predict(inputs)
        locked = runtime.pinned(inputs)
        runtime.predict(locked)
        with counted() as found:
            outputs = runtime.predict(locked)
    assert found == {
        **{"synchronizations": 1, "recurrent_layers": 1, "copies_in": 1, "copies_out": 1},
        "page_locked": 2,
    }
    np.testing.assert_array_equal(locked, inputs)
    assert parity(outputs, float64_forecast(model, inputs), precision).verdict == "valid"


def test_a_runtime_without_page_locked_memory_says_so(onnx_file: Callable[[str], Path]) -> None:
    with (
        open_runtime("onnxruntime", onnx_file("gru"), "cuda", "fp32", 1) as runtime,
        pytest.raises(Unavailable, match="no page-locked memory for its copies"),
    ):
        runtime.pinned(_inputs())


@pytest.mark.parametrize("waits", [lambda values: values.sum().item(), lambda values: values.cpu(), torch.cuda.synchronize])
def test_what_a_gpu_could_not_capture_is_refused(waits) -> None:
    values = torch.ones(3, device="cuda")
    with pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
        Device.of(GPU).captured(lambda: waits(values))


@for_both_cells
def test_the_evidence_is_cudnns(cell: str) -> None:
    with open_runtime("torch", _model(cell), "cuda", "fp32", 1) as runtime:
        runtime.bind(_inputs())
        found = runtime.evidence()
    assert found.kernel == "cuDNN standard"
    assert found.placement == {cell.upper(): "cuDNN standard"}
    assert {op.where for op in found.ops} == {"cuda"}


@for_both_cells
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_onnxruntime_binds_runs_and_names_its_provider(cell: str, precision: str, onnx_file: Callable[[str], Path]) -> None:
    model, inputs = _model(cell), _inputs()
    with open_runtime("onnxruntime", onnx_file(cell), "cuda", precision, 1) as runtime:
        outputs = runtime.predict(inputs)
        found = runtime.evidence()
    assert parity(outputs, float64_forecast(model, inputs), precision).verdict == "valid"
    assert found.kernel == f"cuDNN {cell.upper()} in ONNX Runtime"
    assert set(found.placement.values()) == {"CUDAExecutionProvider"}


@for_both_cells
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_a_graph_of_onnxruntime_answers_for_windows_that_were_bound_after_its_capture(
    cell: str, precision: str, onnx_file: Callable[[str], Path]
) -> None:
    model, others = _model(cell), np.random.default_rng(4).random((3, 20, 5), dtype=np.float32)
    first = _inputs()
    with open_runtime("onnxruntime", onnx_file(cell), "cuda", precision, 1, mode="graph") as runtime:
        for inputs in (first, others, _inputs(windows=5), first):
            assert parity(runtime.predict(inputs), float64_forecast(model, inputs), precision).verdict == "valid"
        assert runtime.evidence().kernel == f"cuDNN {cell.upper()} in ONNX Runtime in a CUDA graph"
    np.testing.assert_array_equal(first, _inputs())


def test_a_model_that_onnxruntime_cannot_capture_is_skipped_with_the_reason(
    onnx_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(session: object, binding: object, options: object = None) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.Fail("CUDA failure 900: operation not permitted when capturing")

    wording = r"cannot capture .*model\.onnx as a CUDA graph \(.*not permitted.*\)\. Run it in the usual mode"
    path = onnx_file("gru")
    monkeypatch.setattr(onnxruntime.InferenceSession, "run_with_iobinding", refuse)
    with (
        open_runtime("onnxruntime", path, "cuda", "fp32", 1, mode="graph") as runtime,
        pytest.raises(Unavailable, match=wording),
    ):
        runtime.bind(_inputs())


@pytest.mark.parametrize(("device", "number"), [("cuda", {}), ("cuda:1", {"device_id": "1"})])
@pytest.mark.parametrize(("precision", "is_fp16"), [("tf32", "0"), ("fp16", "1")])
def test_tensorrt_is_asked_first_and_cuda_for_what_is_left_over(
    precision: str,
    is_fp16: str,
    device: str,
    number: dict[str, str],
    onnx_file: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, inputs, asked = _model("lstm"), _inputs(), []
    path, made = onnx_file("lstm"), onnxruntime.InferenceSession

    def session(*arguments: Any, **named: Any) -> object:
        asked.append(named["providers"])
        return made(*arguments, **named)

    known = ["TensorrtExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with open_runtime("onnxruntime", path, device, precision, 1, mode="tensorrt") as runtime:
        assert parity(runtime.predict(inputs), float64_forecast(model, inputs), precision).verdict == "valid"
        assert set(runtime.evidence().placement.values()) == {"TensorrtExecutionProvider"}
    assert [dict(one)["TensorrtExecutionProvider"] for one in asked] == [{"trt_fp16_enable": is_fp16, **number}] * 2
    assert {name for one in asked for name, _ in one[1:]} == {"CUDAExecutionProvider"}
    assert all(number.items() <= options.items() for one in asked for _, options in one)


def test_a_build_without_tensorrt_and_one_that_cannot_start_it_say_what_to_install(
    onnx_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = onnx_file("gru")
    known = onnxruntime.get_available_providers()
    for available, wording in (
        (known, "has no TensorRT: install onnxruntime-gpu in place of onnxruntime"),
        (
            ["TensorrtExecutionProvider", *known],
            r"could not start TensorrtExecutionProvider\. Check that TensorRT \(pip install tensorrt\), CUDA and cuDNN are",
        ),
    ):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda available=available: available)
        # As a session does that gives way to the next provider.
        monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda session: known)
        with (
            pytest.raises(Unavailable, match=wording),
            open_runtime("onnxruntime", path, "cuda", "tf32", 1, mode="tensorrt"),
        ):
            pass


def test_compiling_for_a_gpu_without_triton_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnncore.runtimes.torch.has_triton", lambda: False)
    with (
        pytest.raises(Unavailable, match="needs Triton for a GPU"),
        open_runtime("torch", _model("gru"), "cuda", "fp32", 1, mode="compile"),
    ):
        pass
    # It gave back what it had set.
    with open_runtime("torch", _model("gru"), "cuda", "fp32", 1) as runtime:
        assert runtime.predict(_inputs()).shape == (3, 1)


@for_both_cells
def test_a_stream_keeps_its_state_on_the_device_and_copies_an_hour_there_and_a_forecast_back(cell: str) -> None:
    model, inputs = _model(cell), _inputs()
    with open_stream("torch", model, 3, 1, device="cuda") as stream:
        for hour in range(20):
            with counted() as found:
                outputs = stream.step(np.ascontiguousarray(inputs[:, hour])).copy()
            assert found == {"recurrent_layers": 1, "copies_in": 1, "copies_out": 1}
            assert parity(outputs, float64_forecast(model, inputs[:, : hour + 1]), "fp32").verdict == "valid"
        assert stream.evidence(np.ascontiguousarray(inputs[:, 0])).kernel == "cuDNN standard"
        assert torch.backends.cudnn.rnn.fp32_precision == "ieee"
    assert {weight.device.type for weight in model.parameters()} == {"cpu"}


@for_both_cells
@pytest.mark.parametrize("mode", [None, "graph"])
def test_a_runtime_on_the_second_gpu_is_there_with_all_it_has(cell: str, mode: str | None) -> None:
    model, inputs = _model(cell), _inputs()
    with open_runtime("torch", model, "cuda:1", "fp32", 1, mode=mode) as runtime:
        outputs = runtime.predict(inputs)
        held = [*runtime._model.parameters(), runtime._inputs, runtime._output]
        assert {one.device for one in held} == {torch.device("cuda", 1)}
    assert parity(outputs, float64_forecast(model, inputs), "fp32").verdict == "valid"


# ---------------------------------------------------------------------------------------------------------------- training


def _trainer(cell: str, windows: Windows, dropout: float | None = None, **changes: object) -> Trainer:
    article = preset("article", cell).forecaster
    dropout = article.dropout if dropout is None else dropout
    config = replace(article, hidden_size=8, input_size=windows.num_features, dropout=dropout)
    return Trainer(new_forecaster(config, 0), windows, TrainConfig(batch_size=16, **changes), resolve_device("cuda"))


@for_both_cells
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clip_norm": 1.0, "schedule": "one_cycle"},
        {"loss": "smooth_l1", "targets_per_window": 3},
        {"precision": "amp_bf16"},
        {"precision": "amp_fp16", "clip_norm": 1.0, "targets_per_window": 3},
    ],
)
def test_a_training_step_waits_for_nothing_and_copies_nothing(
    cell: str, changes: dict[str, object], windows: Windows
) -> None:
    trainer = _trainer(cell, windows, **changes)
    assert trainer.implementation == "aten"
    order = trainer.epoch_order(0)
    trainer.train_step(order[:16], 0)
    with counted() as found:
        for step in range(1, 4):
            trainer.train_step(order[16 * step : 16 * (step + 1)], step)
    assert found == {"recurrent_layers": 3}
    held = [*trainer.model.parameters(), *(value for state in trainer.optimizer.state.values() for value in state.values())]
    assert {(value.device, value.dtype) for value in held} == {(GPU, torch.float32)}


@for_both_cells
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"clip_norm": 0.01, "schedule": "one_cycle"},
        {"precision": "amp_bf16"},
        {"precision": "amp_fp16", "clip_norm": 0.01},
    ],
)
def test_steps_as_a_graph_are_those_without_and_wait_for_nothing(
    cell: str, changes: dict[str, object], windows: Windows
) -> None:
    losses, weights = {}, {}
    for implementation in ("aten", "graph"):
        trainer = _trainer(cell, windows, implementation=implementation, dropout=0.0, **changes)
        order = trainer.epoch_order(0)
        steps = [trainer.train_step(order[16 * step : 16 * (step + 1)], step) for step in range(5)]
        with counted() as found:
            steps += [trainer.train_step(order[16 * step : 16 * (step + 1)], step) for step in range(5, 8)]
        assert found == {"recurrent_layers": 3}
        losses[implementation] = [loss.item() for loss in steps]
        weights[implementation] = [weight.detach().cpu() for weight in trainer.model.parameters()]
    assert losses["graph"] == pytest.approx(losses["aten"], rel=1e-5)
    for one, other in zip(weights["graph"], weights["aten"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@for_both_cells
@pytest.mark.parametrize(
    "changes",
    [{"implementation": "aten"}, {"implementation": "graph"}, {"implementation": "graph", "precision": "amp_fp16"}],
    ids=lambda changes: " ".join(changes.values()),
)
def test_trainings_on_two_gpus_are_independent_and_alike(cell: str, changes: dict[str, Any], windows: Windows) -> None:
    trainers = [
        Trainer(
            new_forecaster(ForecasterConfig(cell=cell, hidden_size=8, input_size=windows.num_features, dropout=0.0), 0),
            windows,
            TrainConfig(batch_size=16, **changes),
            resolve_device(name),
        )
        for name in ("cuda", "cuda:1")
    ]
    orders = [trainer.epoch_order(0) for trainer in trainers]
    # Step by step in turn.
    for step in range(6):
        losses = [
            trainer.train_step(order[16 * step : 16 * (step + 1)], step)
            for trainer, order in zip(trainers, orders, strict=True)
        ]
    assert [loss.device.index for loss in losses] == [0, 1]
    for index, trainer in enumerate(trainers):
        held = [*trainer.model.parameters(), *(one for state in trainer.optimizer.state.values() for one in state.values())]
        assert {one.device.index for one in held} == {index}
    for one, other in zip(*(trainer.model.parameters() for trainer in trainers), strict=True):
        torch.testing.assert_close(one.cpu(), other.cpu())


def test_a_training_as_a_graph_goes_on_from_a_checkpoint(windows: Windows, tmp_path: Path) -> None:
    def made(steps: int) -> Trainer:
        return _trainer("gru", windows, implementation="graph", dropout=0.0, max_steps=steps)

    whole = made(9)
    fit(whole)
    fit(made(6), tmp_path / "kept.safetensors")
    resumed = made(9)
    fit(resumed, tmp_path / "kept.safetensors", resume=True)
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@for_both_cells
def test_gradients_on_the_device_are_those_of_float64(cell: str, windows: Windows) -> None:
    config = ForecasterConfig(cell=cell, hidden_size=8, input_size=windows.num_features, dropout=0.0)
    trainer = Trainer(new_forecaster(config, 1), windows, TrainConfig(batch_size=16), GPU)
    assert gradient_parity(trainer, trainer.epoch_order(0)[:16], "fp32").verdict == "valid"


# ---------------------------------------------------------------------------------------------------- in a mixed precision


class _LayersSeen(TorchDispatchMode):
    """Note in which type cuDNN's layers are called, there and back."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        name = call.overloadpacket.__name__
        if name.startswith("_cudnn_rnn") and "flatten" not in name:
            self.dtypes.setdefault(name, set()).update({args[0].dtype, *(weight.dtype for weight in args[1])})
        return call(*args, **(kwargs or {}))


@for_both_cells
@pytest.mark.parametrize(("precision", "dtype"), [("amp_bf16", torch.bfloat16), ("amp_fp16", torch.float16)])
def test_layers_are_trained_in_the_type_that_the_precision_names(
    cell: str, precision: str, dtype: torch.dtype, windows: Windows
) -> None:
    """torch's autocast would run cuDNN's in fp16 in both."""
    trainer = _trainer(cell, windows, precision=precision)
    with _LayersSeen() as seen:
        trainer.train_step(trainer.epoch_order(0)[:16], 0)
    assert seen.dtypes == {"_cudnn_rnn": {dtype}, "_cudnn_rnn_backward": {dtype}}
    assert {weight.grad.dtype for weight in trainer.model.parameters()} == {torch.float32}


@for_both_cells
@pytest.mark.parametrize("precision", ["amp_bf16", "amp_fp16"])
def test_gradients_in_a_mixed_precision_are_near_the_derivatives_of_a_naive_float64_loop(
    cell: str, precision: str, windows: Windows
) -> None:
    config = ForecasterConfig(cell=cell, hidden_size=6, input_size=windows.num_features, dropout=0.0)
    model = new_forecaster(config, 3)
    weights = {name: weight.double().numpy() for name, weight in model.state_dict().items()}
    trainer = Trainer(model, windows, TrainConfig(batch_size=4, precision=precision), GPU)
    start = trainer.epoch_order(0)[:4]
    inputs, targets = trainer.resident.inputs(start).cpu().numpy(), trainer.resident.targets(start).cpu().numpy()
    began = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    for step in range(2):
        # The first may be one that finds the scale of fp16 too large.
        trainer.model.load_state_dict(began)
        trainer.train_step(start, step)
    for name, weight in trainer.model.named_parameters():
        found = weight.grad.cpu().double().numpy()
        index = np.unravel_index(np.abs(found).argmax(), found.shape)
        exact = numeric_gradient(weights, config, inputs, targets, name, index)
        assert found[index] == pytest.approx(exact, rel=5e-2), name
        # Rounded it is: in fp32 it would be as good as equal.
        assert found[index] != pytest.approx(exact, rel=1e-7), name


def test_a_step_whose_gradients_are_too_large_for_fp16_is_left_out_and_the_next_is_scaled_less(windows: Windows) -> None:
    trainer = _trainer("gru", windows, precision="amp_fp16")
    order = trainer.epoch_order(0)
    trainer.train_step(order[:16], 0)
    trainer.scaler.update(1e30)
    before = [weight.detach().cpu() for weight in trainer.model.parameters()]
    with counted() as found:
        loss = trainer.train_step(order[16:32], 1)
    assert found == {"recurrent_layers": 1}
    assert torch.isfinite(loss.cpu())
    for weight, was in zip(trainer.model.parameters(), before, strict=True):
        torch.testing.assert_close(weight.detach().cpu(), was, rtol=0, atol=0)
    assert trainer.scaler.get_scale() == pytest.approx(0.5e30)


def test_a_training_in_fp16_goes_on_from_a_checkpoint_with_the_scale_that_it_had(windows: Windows, tmp_path: Path) -> None:
    def made(steps: int) -> Trainer:
        trainer = _trainer("lstm", windows, precision="amp_fp16", dropout=0.0, max_steps=steps)
        trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 256.0, "growth_interval": 4})
        return trainer

    whole = made(9)
    fit(whole)
    fit(made(6), tmp_path / "kept.safetensors")
    resumed = made(9)
    fit(resumed, tmp_path / "kept.safetensors", resume=True)
    # Twice grown, the second time after the checkpoint.
    assert whole.scaler.get_scale() == resumed.scaler.get_scale() == 4 * 256.0
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@for_both_cells
@pytest.mark.parametrize("precision", ["amp_bf16", "amp_fp16"])
def test_gradients_of_the_article_s_model_in_a_mixed_precision_are_within_what_is_allowed(cell: str, precision: str) -> None:
    from tests.bench.test_rounded_products import _batch, _exact

    model = new_forecaster(replace(preset("article", cell).forecaster, dropout=0.0), 0)
    autocast = Autocast(model.to(GPU).train().rnn, precision, GPU)

    def step() -> None:
        inputs, targets = (part.to(GPU) for part in _batch())
        with autocast.rounding():
            forecasts = model.read_out(autocast.states(inputs)[:, -1])
        nn.functional.mse_loss(forecasts.float(), targets).backward()

    assert step_parity(model, _exact(cell), step, precision).verdict == "valid"


# ------------------------------------------------------------------------------------------------ a training from end to end


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": "one_cycle", "clip_norm": 1.0, "targets_per_window": 3},
        {"implementation": "graph"},
        {"precision": "amp_bf16"},
        {"precision": "amp_fp16", "implementation": "graph"},
    ],
    ids=lambda changes: " ".join(map(str, changes.values())) or "plain",
)
def test_within_an_epoch_nothing_is_copied_and_nobody_waits_and_at_its_end_once(
    changes: dict[str, object], windows: Windows
) -> None:
    trainer = _trainer("gru", windows, epochs=3, **changes)
    at: list[dict[str, int]] = [counts()]
    result = fit(trainer, on_step=lambda progress: at.append(counts()))
    at.append(counts())
    steps = trainer.steps_per_epoch
    assert result.steps == 3 * steps == len(at) - 2
    assert steps > 3
    waits = "synchronizations", "host_reads", "copies_in", "copies_out"
    spent = [{name: after[name] - before[name] for name in waits} for before, after in pairwise(at)]
    nothing = dict.fromkeys(waits, 0)
    for number, of_step in enumerate(spent[:-1]):
        if number % steps:
            assert of_step == nothing, number
        else:
            # The order of the epoch goes to the device, and the losses of the one before come back.
            assert of_step["copies_in"] == 1, number
            assert of_step["synchronizations"] == int(number > 0), number
            assert of_step["host_reads"] + of_step["copies_out"] == 2 * int(number > 0), number
