"""Tests of profiles: every operation in its category, shares that add up, and the planted operation on top."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rnncore.runtimes.torch as torch_runtime
from rnncore.errors import ConfigError
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import Device, cpu_threads
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.series import Dataset
from rnncore.forecast.trainer import Implementation, ResidentWindows, TrainConfig, Trainer
from rnncore.forecast.windows import WindowConfig, make_windows
from rnncore.measure.profile import OUTSIDE_OPS, category, function_evidence, profile_table
from rnncore.report.sections.profile import profile_chart
from rnncore.runfile.record import Record
from rnncore.runtimes import onnx, openvino
from rnncore.runtimes.base import (
    COPIES,
    DATA,
    FUSED_LAYER,
    INPUT_GEMM,
    KINDS,
    OPTIMISER,
    OTHER,
    OVERHEAD,
    POINTWISE,
    PRODUCT,
    RECURRENT_GEMM,
    WAITING,
    Evidence,
    OpTime,
    calls_to_profile,
    mean_times,
    shapes_text,
)
from rnncore.runtimes.catalog import open_runtime
from rnncore.runtimes.export import export_onnx
from rnncore.runtimes.torch import torch_evidence

LAYERS, HIDDEN, LOOKBACK, BATCH = 2, 16, 6, 5
CPU, CUDA = torch.device("cpu"), torch.device("cuda")

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN")


def _model(cell: str) -> Forecaster:
    return new_forecaster(ForecasterConfig(cell=cell, hidden_size=HIDDEN, num_layers=LAYERS), seed=1).eval()


def _forward(cell: str) -> Callable[[], torch.Tensor]:
    model, inputs = _model(cell), torch.rand(BATCH, LOOKBACK, 5)

    def call() -> torch.Tensor:
        with torch.inference_mode():
            return model(inputs)

    return call


def _evidence(*ops: OpTime, wall_s: float) -> Evidence:
    return Evidence("made", {}, ops, wall_s)


def _present(table: dict[str, Any]) -> set[str]:
    return {name for name, share_pct in table["shares_pct"].items() if share_pct > 0}


def _assert_adds_up(table: dict[str, Any]) -> None:
    assert list(table["shares_pct"]) == list(KINDS)
    assert sum(table["shares_pct"].values()) == pytest.approx(100)
    assert min(table["shares_pct"].values()) >= 0
    assert json.loads(json.dumps(table)) == table


# ----------------------------------------------------------------------------------------------------- real operations


def test_a_gru_in_torch_is_a_loop_with_recurrent_and_input_products() -> None:
    found = torch_evidence(_forward("gru"), "gru", CPU)
    table = profile_table(found, BATCH, LOOKBACK)
    assert found.kernel == "ATen loop"
    assert {RECURRENT_GEMM, INPUT_GEMM, POINTWISE, COPIES, OVERHEAD} <= _present(table)
    assert FUSED_LAYER not in _present(table)
    assert "note" not in table
    _assert_adds_up(table)


def test_operations_are_counted_per_call() -> None:
    ops = torch_evidence(_forward("gru"), "gru", CPU).ops
    shapes = f"[{3 * HIDDEN}] [{BATCH}, {HIDDEN}] [{HIDDEN}, {3 * HIDDEN}]"
    (product,) = [op for op in ops if (op.name, op.shapes) == ("aten::addmm", shapes)]
    assert product.calls == LAYERS * LOOKBACK
    assert product.where == "cpu"


@needs_onednn
def test_an_lstm_in_torch_is_one_fused_operation_per_layer() -> None:
    found = torch_evidence(_forward("lstm"), "lstm", CPU)
    table = profile_table(found, BATCH, LOOKBACK)
    assert found.kernel == "oneDNN LSTM"
    assert found.placement == {"LSTM": "oneDNN LSTM"}
    assert FUSED_LAYER in _present(table)
    assert not {RECURRENT_GEMM, INPUT_GEMM} & _present(table)
    _assert_adds_up(table)


@pytest.mark.parametrize("implementation", ["aten", "fused"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_training_step_also_has_data_and_optimiser(
    cell: str, implementation: Implementation, small_dataset: Dataset
) -> None:
    windows = make_windows(small_dataset, WindowConfig(lookback=LOOKBACK))
    config = TrainConfig(batch_size=BATCH, clip_norm=1.0, implementation=implementation)
    trainer = Trainer(_model(cell), windows, config, CPU)
    start = trainer.epoch_order(0)[:BATCH]
    found = torch_evidence(lambda: trainer.train_step(start, 0), cell, CPU)
    table = profile_table(found, BATCH, LOOKBACK)
    assert {OPTIMISER, DATA, POINTWISE, COPIES, OVERHEAD} <= _present(table)
    expected = {("gru", "aten"): "ATen loop", ("lstm", "aten"): "oneDNN LSTM"}
    assert found.kernel == expected.get((cell, implementation), f"rnncore {cell.upper()}")
    if found.kernel == "oneDNN LSTM":
        assert FUSED_LAYER in _present(table)
    else:
        assert {RECURRENT_GEMM, INPUT_GEMM} <= _present(table)
        assert FUSED_LAYER not in _present(table)
    # Only the head's products have no category of their own.
    heads = {op.name for op in found.ops if category(op, BATCH, LOOKBACK) == OTHER}
    assert heads <= {"aten::addmm", "aten::mm", "aten::linear", "aten::matmul"}
    _assert_adds_up(table)


@pytest.mark.parametrize("cell", CELLS)
def test_our_layers_in_training_tell_their_phases_layer_by_layer(cell: str, small_dataset: Dataset) -> None:
    windows = make_windows(small_dataset, WindowConfig(lookback=LOOKBACK))
    trainer = Trainer(_model(cell), windows, TrainConfig(batch_size=BATCH, implementation="fused"), CPU)
    start = trainer.epoch_order(0)[:BATCH]
    with cpu_threads(1):
        ops = torch_evidence(lambda: trainer.train_step(start, 0), cell, CPU).ops
    for name in ("FusedLayer", "FusedLayerBackward"):
        for phase, kind in (("input products", INPUT_GEMM), ("recurrent products", RECURRENT_GEMM), ("gates", POINTWISE)):
            layers = [op for op in ops if op.name == f"{name} {phase}"]
            assert [(op.where, op.calls, category(op, BATCH, LOOKBACK)) for op in layers] == [
                ("rnncore", LOOKBACK, kind)
            ] * LAYERS
            # By the shapes of its inputs it is seen which layer it is.
            assert len({op.shapes for op in layers}) == LAYERS
        around = [op for op in ops if op.name == name]
        assert {category(op, BATCH, LOOKBACK) for op in around} == {OVERHEAD}
        waits = [op for op in ops if op.name == f"{name} waiting at start and end"]
        assert {category(op, BATCH, LOOKBACK) for op in waits} == {WAITING}


@pytest.mark.parametrize("cell", CELLS)
def test_our_kernel_tells_where_its_time_goes_by_kind(cell: str) -> None:
    with open_runtime("rnncore", _model(cell), "cpu", "fp32", 1) as runtime:
        runtime.bind(torch.rand(BATCH, LOOKBACK, 5).numpy())
        found = runtime.evidence()
    table = profile_table(found, BATCH, LOOKBACK)
    assert {op["op"]: op["category"] for op in table["ops"] if op["op"] not in (OTHER, OUTSIDE_OPS)}.items() <= {
        "copies and layout": COPIES,
        "input products": INPUT_GEMM,
        "recurrent products": RECURRENT_GEMM,
        "gates": POINTWISE,
        "head": OTHER,
        "waiting at start and end": WAITING,
    }.items()
    assert {RECURRENT_GEMM, INPUT_GEMM, POINTWISE, COPIES, OVERHEAD} <= _present(table)
    times = {op.name: op.calls for op in found.ops}
    # The hours of so few windows are one chunk for each layer.
    assert times["input products"] == LAYERS
    assert times["recurrent products"] == times["gates"]
    assert times["gates"] % (LAYERS * LOOKBACK) == 0
    assert times["head"] == 1
    shapes = {op.name: op.shapes for op in found.ops}
    gates = HIDDEN * {"gru": 3, "lstm": 4}[cell]
    hours = BATCH * LOOKBACK
    assert shapes["input products"] == f"[{hours}, 5] [5, {gates}] [{hours}, {HIDDEN}] [{HIDDEN}, {gates}]"
    assert shapes["recurrent products"] == f"[{BATCH}, {HIDDEN}] [{HIDDEN}, {gates}]"
    _assert_adds_up(table)


@pytest.mark.parametrize("cell", CELLS)
def test_phases_of_our_kernel_make_up_most_of_a_large_call_and_never_more_than_it(cell: str) -> None:
    config = ForecasterConfig(cell=cell, hidden_size=128, num_layers=2)
    with open_runtime("rnncore", new_forecaster(config, seed=1).eval(), "cpu", "fp32", 2) as runtime:
        runtime.bind(torch.rand(64, 48, 5).numpy())
        found = runtime.evidence()
    phases_s = sum(op.self_s for op in found.ops)
    assert 0.5 * found.wall_s < phases_s <= found.wall_s * (1 + 1e-6)
    table = profile_table(found, 64, 48)
    assert "note" not in table
    _assert_adds_up(table)


@pytest.mark.parametrize("repeats", [0, 64])
def test_a_gather_is_named_by_what_gathers_whatever_takes_longest(small_dataset: Dataset, repeats: int) -> None:
    resident = ResidentWindows(make_windows(small_dataset, WindowConfig(lookback=90)), CPU)
    start = resident.train_start.repeat(repeats) if repeats else resident.train_start[:1]
    other = torch.rand(256, 256)
    found = torch_evidence(lambda: (resident.inputs(start), [other @ other for _ in range(20)]), None, CPU)
    assert found.kernel == "ATen index"
    assert found.placement == {}
    assert DATA in _present(profile_table(found, len(start), 90))


def test_every_operation_of_onnxruntime_but_the_head_has_a_category(tmp_path: Path) -> None:
    path = tmp_path / "gru.onnx"
    export_onnx(_model("gru"), path, WindowConfig(lookback=LOOKBACK))
    with open_runtime("onnxruntime", path, "cpu", "fp32", 1) as runtime:
        runtime.bind(torch.rand(BATCH, LOOKBACK, 5).numpy())
        found = runtime.evidence()
    table = profile_table(found, BATCH, LOOKBACK)
    assert found.kernel == "MLAS GRU"
    assert {FUSED_LAYER, POINTWISE, COPIES, OVERHEAD} <= _present(table)
    assert {op.name for op in found.ops if category(op, BATCH, LOOKBACK) == OTHER} == {"Gemm"}
    _assert_adds_up(table)


def test_every_operation_of_openvino_but_the_head_has_a_category(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed: pip install 'rnncore[openvino]'")
    path = tmp_path / "lstm.onnx"
    export_onnx(_model("lstm"), path, WindowConfig(lookback=LOOKBACK))
    with open_runtime("openvino", path, "cpu", "fp32", 1) as runtime:
        runtime.bind(torch.rand(BATCH, LOOKBACK, 5).numpy())
        found = runtime.evidence()
    assert {op.name for op in found.ops if category(op, BATCH, LOOKBACK) == OTHER} == {"FullyConnected"}
    (layer,) = {op.name for op in found.ops if category(op, BATCH, LOOKBACK) == FUSED_LAYER}
    assert layer == "LSTMSequence"
    _assert_adds_up(profile_table(found, BATCH, LOOKBACK))


# --------------------------------------------------------------------------------------------------- planted slowdowns


def test_a_planted_product_is_named_with_its_shapes_and_its_time() -> None:
    forward, large = _forward("gru"), torch.rand(1500, 1500)

    def call() -> None:
        forward()
        torch.mm(large, large)

    ops = profile_table(torch_evidence(call, "gru", CPU), BATCH, LOOKBACK)["ops"]
    (planted,) = (op for op in ops if (op["op"], op["shapes"]) == ("aten::mm", "[1500, 1500] [1500, 1500]"))
    assert planted["calls"] == 1
    times_s = [op["self_s"] for op in ops if op["op"] != OTHER]
    assert times_s == sorted(times_s, reverse=True)


def test_a_planted_wait_is_time_outside_operations() -> None:
    forward = _forward("gru")

    def call() -> None:
        forward()
        time.sleep(0.5)

    ops = profile_table(torch_evidence(call, "gru", CPU), BATCH, LOOKBACK)["ops"]
    (outside,) = (op for op in ops if op["op"] == OUTSIDE_OPS)
    assert (outside["where"], outside["category"]) == ("host", OVERHEAD)
    assert outside["self_s"] >= 0.5


def test_a_call_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        if len(calls) > 1:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        torch_evidence(call, None, CPU, tmp_path / "trace.json")
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_runs_no_operation_says_so() -> None:
    found = torch_evidence(lambda: None, None, CPU)
    assert found.kernel == "ATen without a gather"
    assert profile_table(found, None, None)["shares_pct"][OVERHEAD] == pytest.approx(100)


# ---------------------------------------------------------------------------------------------------- made operations


@pytest.mark.parametrize(
    ("name", "shapes", "calls", "expected"),
    [
        # One window of 90 hours: the gates are more than its hours.
        ("aten::addmm", "[768] [1, 256] [256, 768]", 180, RECURRENT_GEMM),
        ("aten::mm", "[1, 768] [768, 256]", 89, RECURRENT_GEMM),
        ("aten::mm", "[768, 1] [1, 256]", 180, RECURRENT_GEMM),
        ("aten::mm", "[90, 5] [5, 768]", 1, INPUT_GEMM),
        ("aten::addmm", "[768] [90, 256] [256, 768]", 1, INPUT_GEMM),
        ("aten::mm", "[768, 90] [90, 5]", 1, INPUT_GEMM),
        ("aten::linear", "[90, 1, 256] [768, 256] [768]", 1, INPUT_GEMM),
        ("aten::addmm", "[1] [1, 256] [256, 1]", 1, OTHER),
        ("aten::mm", "", 1, OTHER),
        ("Gemm", "[90, 5] [768, 5] [768]", 1, INPUT_GEMM),
        ("MatMul", "[1, 256] [256, 768]", 90, RECURRENT_GEMM),
        ("aten::mkldnn_rnn_layer_backward", "", 1, FUSED_LAYER),
        ("aten::_cudnn_rnn", "", 1, FUSED_LAYER),
        ("aten::_cudnn_rnn_backward", "", 1, FUSED_LAYER),
        ("DynamicQuantizeLSTM", "", 1, FUSED_LAYER),
        ("GRUSequence", "", 1, FUSED_LAYER),
        ("aten::sigmoid_", "", 1, POINTWISE),
        ("aten::_thnn_fused_gru_cell", "", 1, POINTWISE),
        ("Relu", "", 1, POINTWISE),
        ("aten::copy_", "", 1, COPIES),
        ("Reorder", "", 1, COPIES),
        ("MemcpyToHost", "", 1, COPIES),
        ("Memcpy HtoD (Pageable -> Device)", "", 1, COPIES),
        ("Gather", "", 1, COPIES),
        ("aten::index", "", 1, DATA),
        ("aten::_fused_adam_", "", 1, OPTIMISER),
        ("aten::_foreach_norm", "", 1, OPTIMISER),
        ("Optimizer.step#Adam.step", "", 1, OPTIMISER),
        ("aten::gru", "", 1, OVERHEAD),
        ("autograd::engine::evaluate_function: AddmmBackward0", "", 1, OVERHEAD),
        ("AddmmBackward0", "", 1, OVERHEAD),
        ("aten::never_heard_of", "", 1, OTHER),
    ],
)
def test_an_operation_has_one_category(name: str, shapes: str, calls: int, expected: str) -> None:
    op = OpTime(name, "cpu", calls, 1e-3, shapes, _kind_of(name))
    assert category(op, batch_size=1, lookback=90) == expected


def _kind_of(name: str) -> str:
    """Return what the adapter that has an operation of this name says of it."""
    return onnx.KINDS.get(name) or openvino.KINDS.get(name) or torch_runtime.kind_of(name)


def test_the_kind_that_a_runtime_names_is_believed_whatever_the_name() -> None:
    for kind in KINDS:
        assert category(OpTime("aten::tanh", "cpu", 1, 1e-3, kind=kind), batch_size=1, lookback=90) == kind
    with pytest.raises(ConfigError, match=r"operation 'run' is of kind 'gemm'; allowed: recurrent GEMM, .*, other, product"):
        OpTime("run", "cpu", 1, 1e-3, kind="gemm")


def test_each_kind_has_a_colour_of_its_own() -> None:
    ops = [OpTime(kind, "cpu", 1, 0.1, kind=kind) for kind in KINDS]
    table = profile_table(_evidence(*ops, wall_s=1.0), BATCH, LOOKBACK)
    chart = profile_chart([Record("a::b[c]", "inference", (1.0,), {"profile": table})]).to_dict()
    scale = chart["encoding"]["color"]["scale"]
    assert {*scale["domain"]} == {*KINDS}
    assert len(set(scale["range"])) == len(scale["range"]) == len(KINDS)


def test_products_of_calls_with_several_batches_are_not_guessed() -> None:
    product = OpTime("aten::mm", "cpu", 90, 1e-3, "[32, 64] [64, 192]", PRODUCT)
    assert category(product, batch_size=None, lookback=24) == OTHER


def test_time_between_operations_is_overhead_and_operations_add_up_to_the_wall_time() -> None:
    ops = (OpTime("aten::mm", "cpu", 1, 0.6, "[30, 5] [5, 48]", PRODUCT), OpTime("aten::add", "cpu", 2, 0.1, kind=POINTWISE))
    table = profile_table(_evidence(*ops, wall_s=1.0), BATCH, LOOKBACK)
    assert table["shares_pct"][INPUT_GEMM] == pytest.approx(60)
    assert table["shares_pct"][POINTWISE] == pytest.approx(10)
    assert table["shares_pct"][OVERHEAD] == pytest.approx(30)
    assert [op["op"] for op in table["ops"]] == ["aten::mm", OUTSIDE_OPS, "aten::add"]
    assert sum(op["self_s"] for op in table["ops"]) == pytest.approx(table["wall_s"])
    assert table["ops"][0] == {
        "op": "aten::mm",
        "where": "cpu",
        "shapes": "[30, 5] [5, 48]",
        "category": INPUT_GEMM,
        "calls": 1,
        "self_s": 0.6,
    }
    assert (table["wall_s"], table["trace"]) == (1.0, None)


def test_operations_that_overlap_are_shares_of_their_sum_and_never_a_negative_overhead() -> None:
    ops = (OpTime("aten::_cudnn_rnn", "cuda", 1, 0.9, kind=FUSED_LAYER), OpTime("aten::add", "cuda", 2, 0.6, kind=POINTWISE))
    table = profile_table(_evidence(*ops, wall_s=1.0), BATCH, LOOKBACK)
    assert table["shares_pct"][FUSED_LAYER] == pytest.approx(60)
    assert table["shares_pct"][OVERHEAD] == 0
    assert OUTSIDE_OPS not in {op["op"] for op in table["ops"]}
    assert "Operations ran at the same time" in table["note"]
    _assert_adds_up(table)


def test_cuda_nodes_of_onnxruntime_carry_a_note_that_they_are_launches() -> None:
    table = profile_table(_evidence(OpTime("GRU", "CUDAExecutionProvider", 2, 0.1), wall_s=1.0), BATCH, LOOKBACK)
    assert "time to launch a node on CUDA" in table["note"]


def test_small_operations_are_added_up() -> None:
    small = [OpTime(f"aten::op{index}", "cpu", 2, 0.0009) for index in range(10)]
    table = profile_table(_evidence(OpTime("aten::add", "cpu", 1, 0.991), *small, wall_s=1.0), BATCH, LOOKBACK)
    *listed, rest = table["ops"]
    assert [op["op"] for op in listed] == ["aten::add"]
    assert (rest["op"], rest["where"], rest["shapes"], rest["category"]) == ("other", "", "", OTHER)
    assert (rest["calls"], rest["self_s"]) == (pytest.approx(20), pytest.approx(0.009))


def test_equal_operations_of_several_calls_become_their_mean() -> None:
    ops = [OpTime("a", "cpu", 1, 1.0, "[2]"), OpTime("b", "cpu", 1, 5.0), OpTime("a", "cpu", 1, 2.0, "[2]")]
    assert mean_times(ops, calls=2) == (OpTime("b", "cpu", 0.5, 2.5), OpTime("a", "cpu", 1.0, 1.5, "[2]"))
    waits = [OpTime("a", "cpu", 1, 1.0, kind=WAITING), OpTime("a", "cpu", 1, 2.0, kind=WAITING), OpTime("a", "cpu", 1, 1.0)]
    assert mean_times(waits, calls=1) == (OpTime("a", "cpu", 2, 3.0, kind=WAITING), OpTime("a", "cpu", 1, 1.0))


@pytest.mark.parametrize(("call_s", "calls"), [(1e-6, 3), (0.09, 2), (0.15, 1), (10.0, 1)])
def test_few_calls_are_profiled_and_one_of_a_long_one(call_s: float, calls: int) -> None:
    assert calls_to_profile(call_s) == calls


def test_shapes_leave_scalars_out_and_count_the_tensors_of_a_list() -> None:
    assert shapes_text([[192], [128, 64], [], [[5], [6]]]) == "[192] [128, 64] [2 tensors]"


# ------------------------------------------------------------------------------------------------------- CUDA, as told


def _host(name: str, number: int, start_us: float, took_us: float, *shapes: list[int]) -> dict[str, Any]:
    """Return an event of a trace as torch writes it for an operation on the host."""
    args = {"External id": number, "Input Dims": list(shapes)}
    return {"ph": "X", "cat": "cpu_op", "name": name, "pid": 1, "tid": 2, "ts": start_us, "dur": took_us, "args": args}


def _on_gpu(name: str, number: int, took_us: float, kind: str = "kernel") -> dict[str, Any]:
    """Return an event of a trace as torch writes it for what the GPU ran."""
    args = {"External id": number, "stream": 7}
    return {"ph": "X", "cat": kind, "name": name, "pid": 0, "tid": 7, "ts": 0.0, "dur": took_us, "args": args}


@pytest.fixture
def told_trace(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[dict[str, Any]]], None]:
    """Let torch's profiler tell a made trace of one call of 1 ms."""
    monkeypatch.setattr(Device, "synchronize", lambda device: None)
    monkeypatch.setattr(torch_runtime, "calls_to_profile", lambda call_s: 1)

    def tell(events: list[dict[str, Any]]) -> None:
        monkeypatch.setattr(torch_runtime, "_profiled", lambda *_: (events, 1e-3))

    return tell


@pytest.mark.parametrize(
    ("kernel_name", "expected"),
    [
        ("void elemWiseRNNcell<float>", "cuDNN standard"),
        ("RNN_blockPersist_fp_LSTM<float>", "cuDNN persistent"),
        ("void PersistentGRU", "cuDNN persistent"),
    ],
)
def test_kernels_count_under_the_operation_that_launched_them(kernel_name, expected, told_trace) -> None:
    told_trace(
        [
            _host("aten::gru", 1, 0, 900, [5, 6, 5]),
            _host("aten::_cudnn_rnn", 2, 10, 800, [6, 5, 5], [192]),
            _on_gpu("sgemm_128x64", 2, 300),
            _on_gpu(kernel_name, 2, 100),
            _on_gpu("Memcpy DtoD", 99, 50, "gpu_memcpy"),
        ]
    )
    found = torch_evidence(lambda: None, "gru", CUDA)
    assert found.kernel == expected
    assert found.placement == {"GRU": expected}
    layer, copy = found.ops
    assert (layer.name, layer.where, layer.calls, layer.shapes) == ("aten::_cudnn_rnn", "cuda", 2, "[6, 5, 5] [192]")
    assert layer.self_s == pytest.approx(400e-6)
    assert (copy.name, copy.self_s) == ("Memcpy DtoD", pytest.approx(50e-6))
    shares_pct = profile_table(found, BATCH, LOOKBACK)["shares_pct"]
    assert shares_pct[FUSED_LAYER] == pytest.approx(40)
    assert shares_pct[COPIES] == pytest.approx(5)
    assert shares_pct[OVERHEAD] == pytest.approx(55)


@pytest.mark.parametrize(
    ("operation", "device", "expected"),
    [
        ("aten::miopen_rnn", CUDA, "MIOpen GRU"),
        ("aten::_lstm_mps", torch.device("mps"), "MPS GRU"),
        ("aten::mkldnn_rnn_layer", CPU, "oneDNN GRU"),
        ("aten::linear", torch.device("mps"), "ATen loop"),
    ],
)
def test_whose_library_runs_the_layers_is_told_by_the_operation_that_calls_it(
    operation: str, device: torch.device, expected: str, told_trace
) -> None:
    told_trace([_host("aten::gru", 1, 0, 900), _host(operation, 2, 10, 800), _on_gpu("made_kernel", 2, 300)])
    found = torch_evidence(lambda: None, "gru", device)
    assert found.kernel == expected
    # Where the profiler sees no kernels, what there is of time is the host's.
    of_layer = next(op for op in found.ops if op.name == operation)
    where, took_s = ("cuda", 300e-6) if device == CUDA else ("cpu", 800e-6)
    assert (of_layer.where, of_layer.self_s) == (where, pytest.approx(took_s))
    assert operation == "aten::linear" or of_layer.kind == FUSED_LAYER


def test_a_fused_cell_is_told_from_a_loop(told_trace) -> None:
    told_trace([_host("aten::_thnn_fused_gru_cell", 1, 0, 10)])
    assert torch_evidence(lambda: None, "gru", CPU).kernel == "ATen fused cell"


def test_own_time_leaves_out_what_an_operation_calls_on_its_thread(told_trace) -> None:
    other_thread = {**_host("aten::mm", 4, 100, 300), "tid": 3}
    told_trace([_host("aten::linear", 1, 0, 500), _host("aten::addmm", 2, 100, 300), _host("aten::copy_", 3, 150, 50)])
    assert {op.name: round(op.self_s * 1e6) for op in torch_evidence(lambda: None, "gru", CPU).ops} == {
        "aten::linear": 200,
        "aten::addmm": 250,
        "aten::copy_": 50,
    }
    told_trace([_host("aten::linear", 1, 0, 500), other_thread])
    assert {op.name: round(op.self_s * 1e6) for op in torch_evidence(lambda: None, "gru", CPU).ops} == {
        "aten::linear": 500,
        "aten::mm": 300,
    }


# --------------------------------------------------------------------------------------------------- Python functions


@pytest.mark.parametrize("others", [0, 3_000_000])
def test_a_call_without_a_runtime_is_named_by_what_does_its_work_whatever_takes_longest(others: int) -> None:
    def call() -> None:
        json.dumps({"a": 1}, indent=1)
        sum(range(others))

    assert function_evidence(call, ("json loads", "json dumps")).kernel == "json dumps"
    assert function_evidence(call, ("json dumps", "builtins sum")).kernel == "json dumps and builtins sum"
    assert function_evidence(call, ("json load", "json loads")).kernel == "without json load or json loads"


def test_the_operations_of_a_call_without_a_runtime_are_data_the_longest_first() -> None:
    found = function_evidence(lambda: sum(range(3_000_000)), ("builtins sum",))
    table = profile_table(found, None, None)
    assert {op.where for op in found.ops} == {"Python"}
    assert "builtins sum" in [op["op"] for op in table["ops"]]
    times_s = [op["self_s"] for op in table["ops"] if op["op"] != OTHER]
    assert times_s == sorted(times_s, reverse=True)
    assert _present(table) <= {DATA, OVERHEAD}
    _assert_adds_up(table)


def test_functions_are_named_by_package_and_qualified_name() -> None:
    def call() -> None:
        json.dumps({"a": 1}, indent=1)
        torch.rand(2).tolist()
        b"text".find(b"x")
        object.__new__(object)

    names = {op.name for op in function_evidence(call, ("json dumps",)).ops}
    assert {
        "json dumps",
        "json JSONEncoder.encode",
        "builtins bytes.find",
        "builtins type.__new__",
        "torch rand",
        "test_profile test_functions_are_named_by_package_and_qualified_name.<locals>.call",
    } <= names
    assert not any("0x" in name for name in names)
