"""Tests of the runtimes: the same numbers as float64 NumPy, one contract, and errors that say what to do."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from rnncore.errors import ConfigError, ModelFileError, RnncoreError, Unavailable
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import CUDA, Device
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.series import Float32Array
from rnncore.forecast.windows import WindowConfig
from rnncore.runtimes.base import Runtime, Source
from rnncore.runtimes.catalog import OWN_RUNTIMES, open_runtime
from rnncore.runtimes.export import export_onnx
from tests.reference import forecast

LOOKBACK, LAYERS, HIDDEN = 90, 2, 16
BATCH_SIZES = (1, 2, 3, 37)
TOLERANCE = 1e-5

# A reassociated sum of 16 float32 products, through 90 steps.
ROUNDING = 1e-6

GPU = Device(CUDA).why_missing() is None
without_gpu = pytest.mark.skipif(GPU, reason="this machine has a GPU")
needs_gpu = pytest.mark.skipif(not GPU, reason="no CUDA device on this machine")
needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed: pip install 'rnncore[openvino]'"
)
on_every_cpu_runtime = pytest.mark.parametrize(
    "runtime_name", ["torch", "torch flush", "rnncore", "onnxruntime", pytest.param("openvino", marks=needs_openvino)]
)
for_both_cells = pytest.mark.parametrize("cell", CELLS)


def _model(cell: str) -> Forecaster:
    """Return a forecaster with biases large enough that a lost or misplaced one shows."""
    model = new_forecaster(ForecasterConfig(cell=cell, hidden_size=HIDDEN, num_layers=LAYERS), seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "bias" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator))
        # The ReLU must not hide most of the last state.
        model.head.weight.copy_(torch.randn(model.head.weight.shape, generator=generator))
    return model.eval()


def _inputs(batch_size: int, seed: int = 3) -> Float32Array:
    return np.random.default_rng(seed).random((batch_size, LOOKBACK, 5), dtype=np.float32)


# The reference loops hour by hour; several tests hold the same windows against it.
_EXACT: dict[tuple[str, bytes], np.ndarray] = {}


def _exact(model: Forecaster, inputs: Float32Array) -> np.ndarray:
    key = model.config.cell, inputs.tobytes()
    if key not in _EXACT:
        weights = {name: weight.double().numpy() for name, weight in model.state_dict().items()}
        _EXACT[key] = np.asarray(forecast(weights, model.config, inputs.astype(np.float64)))
    return _EXACT[key]


def _difference(outputs: np.ndarray, expected: np.ndarray) -> float:
    assert outputs.shape == expected.shape
    return float(np.abs(outputs - expected).max())


@pytest.fixture(scope="module")
def models() -> dict[str, Forecaster]:
    return {cell: _model(cell) for cell in CELLS}


@pytest.fixture(scope="module")
def sources(models: dict[str, Forecaster], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Source]:
    folder = tmp_path_factory.mktemp("onnx")
    found: dict[tuple[str, str], Source] = {}
    for cell, model in models.items():
        path = folder / f"{cell}.onnx"
        export_onnx(model, path, WindowConfig(lookback=LOOKBACK))
        found |= {(name, cell): model if kind.reads == "forecaster" else path for name, kind in OWN_RUNTIMES.items()}
        found["torch flush", cell] = model
    return found


def _open(name: str, source: Source, device: str, precision: str, threads: int) -> AbstractContextManager[Runtime]:
    """Open a runtime by its name, and its mode after a space."""
    runtime_name, _, mode = name.partition(" ")
    return open_runtime(runtime_name, source, device, precision, threads, mode=mode or None)


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


@for_both_cells
@on_every_cpu_runtime
def test_outputs_are_those_of_float64_numpy_and_of_torch_at_every_batch_size(cell, runtime_name, models, sources) -> None:
    with _open(runtime_name, sources[runtime_name, cell], "cpu", "fp32", 1) as runtime:
        for batch_size in BATCH_SIZES:
            inputs = _inputs(batch_size)
            outputs = runtime.predict(inputs)
            assert outputs.dtype == np.float32
            assert outputs.shape == (batch_size, 1)
            assert _difference(outputs, _exact(models[cell], inputs)) <= TOLERANCE
            with torch.inference_mode():
                assert _difference(outputs, models[cell](torch.from_numpy(inputs)).numpy()) <= TOLERANCE


@for_both_cells
def test_the_reference_tells_windows_apart_so_that_parity_means_something(cell, models) -> None:
    outputs = _exact(models[cell], _inputs(37))
    assert outputs.shape == (37, 1)
    assert np.ptp(outputs) > 1000 * TOLERANCE


SERVER = """
import sys
from pathlib import Path
import numpy as np
from rnncore.runtimes.catalog import open_runtime
name, path, precision = sys.argv[1:]
with open_runtime(name, Path(path), "cpu", precision, 1) as runtime:
    runtime.predict(np.ones((2, 90, 5), dtype=np.float32))
print([name for name in ("torch", "pandas") if name in sys.modules])
"""


@for_both_cells
@pytest.mark.parametrize(
    ("runtime_name", "precision"),
    [("onnxruntime", "fp32"), ("onnxruntime", "int8"), pytest.param("openvino", "fp32", marks=needs_openvino)],
)
def test_an_onnx_file_is_served_without_torch_and_pandas(cell, runtime_name, precision, sources) -> None:
    command = [sys.executable, "-c", SERVER, runtime_name, str(sources[runtime_name, cell]), precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@for_both_cells
@on_every_cpu_runtime
def test_a_window_is_forecast_the_same_beside_any_other_windows(cell, runtime_name, sources) -> None:
    inputs = _inputs(37)
    other = _inputs(37, seed=4)
    other[5] = inputs[5]
    with _open(runtime_name, sources[runtime_name, cell], "cpu", "fp32", 1) as runtime:
        among_some = runtime.predict(inputs).copy()
        among_others = runtime.predict(other).copy()
        alone = runtime.predict(inputs[5:6])
    assert among_others[5] == among_some[5]
    assert _difference(alone[0], among_some[5]) <= ROUNDING
    assert np.all(np.delete(among_others, 5) != np.delete(among_some, 5))


@for_both_cells
@on_every_cpu_runtime
def test_a_second_run_gives_the_same_bits(cell, runtime_name, sources) -> None:
    with _open(runtime_name, sources[runtime_name, cell], "cpu", "fp32", 1) as runtime:
        runtime.bind(_inputs(3))
        runtime.run()
        first = runtime.output().copy()
        runtime.run()
        assert np.array_equal(runtime.output(), first)


@on_every_cpu_runtime
def test_a_fetched_output_is_left_alone_by_later_runs(runtime_name, sources) -> None:
    with _open(runtime_name, sources[runtime_name, "gru"], "cpu", "fp32", 1) as runtime:
        fetched = runtime.predict(_inputs(3))
        kept = fetched.copy()
        runtime.predict(_inputs(3, seed=9))
        assert np.array_equal(fetched, kept)


@on_every_cpu_runtime
def test_binding_another_batch_size_on_one_session_gives_the_new_windows_outputs(runtime_name, models, sources) -> None:
    with _open(runtime_name, sources[runtime_name, "lstm"], "cpu", "fp32", 1) as runtime:
        for batch_size, seed in ((3, 5), (37, 6), (1, 7), (3, 8)):
            inputs = _inputs(batch_size, seed)
            runtime.bind(inputs)
            runtime.run()
            assert _difference(runtime.output(), _exact(models["lstm"], inputs)) <= TOLERANCE


@on_every_cpu_runtime
def test_windows_cut_out_of_a_larger_array_are_bound_by_value_not_by_memory_layout(runtime_name, models, sources) -> None:
    inputs = _inputs(8)[::2]
    with _open(runtime_name, sources[runtime_name, "gru"], "cpu", "fp32", 1) as runtime:
        assert _difference(runtime.predict(inputs), _exact(models["gru"], inputs)) <= TOLERANCE


@on_every_cpu_runtime
def test_dropout_is_off_when_a_model_in_training_is_run(runtime_name, sources) -> None:
    source = sources[runtime_name, "gru"]
    if isinstance(source, Forecaster):
        source.train()
    with _open(runtime_name, source, "cpu", "fp32", 1) as runtime:
        assert np.array_equal(runtime.predict(_inputs(2)), runtime.predict(_inputs(2)))


def test_torch_on_the_cpu_runs_lstm_in_onednn_and_gru_in_the_loop_of_aten(models) -> None:
    kernels = {}
    for cell in CELLS:
        with open_runtime("torch", models[cell], "cpu", "fp32", 1) as runtime:
            runtime.bind(_inputs(2))
            found = runtime.evidence()
        kernels[cell] = found.kernel
        assert found.placement == {cell.upper(): found.kernel}
    assert kernels["gru"] == "ATen loop"
    # Machines and builds without oneDNN for LSTM exist; then torch must not claim it.
    assert kernels["lstm"] == ("oneDNN LSTM" if torch.backends.mkldnn.is_available() else "ATen loop")


@for_both_cells
def test_onnxruntime_places_one_node_per_layer_on_the_cpu_provider(cell, sources) -> None:
    with open_runtime("onnxruntime", sources["onnxruntime", cell], "cpu", "fp32", 1) as runtime:
        runtime.bind(_inputs(2))
        found = runtime.evidence()
        outputs = runtime.predict(_inputs(2))
    placed = {name: where for name, where in found.placement.items() if cell.upper() in name}
    assert found.kernel == f"MLAS {cell.upper()}"
    assert len(placed) == LAYERS
    assert set(placed.values()) == {"CPUExecutionProvider"}
    assert len(found.placement) > LAYERS
    assert outputs.shape == (2, 1)


def test_onnxruntime_names_both_kernels_when_one_layer_falls_back_to_the_cpu(sources, monkeypatch) -> None:
    read, moved = json.loads, []

    def on_cuda(text: str) -> Any:
        """Read a profile as if the first GRU node had run on CUDA."""
        events = read(text)
        nodes = [event for event in events if event.get("args", {}).get("op_name") == "GRU"]
        moved.append(nodes[0]["name"])
        for event in nodes:
            if event["name"] == moved[0]:
                event["args"]["provider"] = "CUDAExecutionProvider"
        return events

    with open_runtime("onnxruntime", sources["onnxruntime", "gru"], "cpu", "fp32", 1) as runtime:
        runtime.bind(_inputs(2))
        monkeypatch.setattr(json, "loads", on_cuda)
        found = runtime.evidence()
    assert found.kernel == "MLAS GRU and cuDNN GRU in ONNX Runtime"
    placed = {name: where for name, where in found.placement.items() if "GRU" in name}
    assert sorted(placed.values()) == ["CPUExecutionProvider", "CUDAExecutionProvider"]


@pytest.mark.parametrize(("cell", "kernel"), [("lstm", "MLAS int8 LSTM"), ("gru", "MLAS int8 products, unrolled")])
def test_int8_is_near_fp32_at_every_batch_size_and_tells_what_ran(cell, kernel, models, sources) -> None:
    with open_runtime("onnxruntime", sources["onnxruntime", cell], "cpu", "int8", 1) as runtime:
        for batch_size in BATCH_SIZES:
            inputs = _inputs(batch_size)
            error = _difference(runtime.predict(inputs), _exact(models[cell], inputs))
            # Weights and values of 8 bits; without rounding it would be below 1e-5, with gates exchanged above 0.3.
            assert 1e-4 < error < 0.1
        found = runtime.evidence()
    assert found.kernel == kernel
    assert set(found.placement.values()) == {"CPUExecutionProvider"}
    assert len(found.placement) <= 100


@pytest.mark.parametrize("runtime_name", ["torch", pytest.param("openvino", marks=needs_openvino)])
@for_both_cells
def test_bf16_is_near_fp32(cell, runtime_name, models, sources) -> None:
    inputs = _inputs(37)
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no instructions for bf16")
    with _open(runtime_name, sources[runtime_name, cell], "cpu", "bf16", 1) as runtime:
        outputs = runtime.predict(inputs)
    assert outputs.dtype == np.float32
    assert 1e-5 < _difference(outputs, _exact(models[cell], inputs)) < 0.05


@pytest.mark.parametrize("runtime_name", ["torch", pytest.param("openvino", marks=needs_openvino)])
def test_bf16_without_instructions_for_it_is_unavailable(runtime_name, sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    if runtime_name == "openvino":
        import openvino

        monkeypatch.setattr(openvino.Core, "get_property", lambda *_: ["FP32"])
    with (
        pytest.raises(Unavailable, match="this CPU has no instructions for bf16"),
        _open(runtime_name, sources[runtime_name, "gru"], "cpu", "bf16", 1),
    ):
        pass


def test_subnormal_numbers_are_zeros_in_its_own_block_alone(models) -> None:
    tiny = torch.tensor([1e-40])
    with open_runtime("torch", models["gru"], "cpu", "fp32", 1, mode="flush"):
        assert float(tiny * 0.5) == 0
    assert float(tiny * 0.5) > 0


def test_a_compiled_model_is_one_graph_and_gives_the_same(models) -> None:
    model = new_forecaster(ForecasterConfig("gru", hidden_size=8, num_layers=1), seed=1).eval()
    inputs = _inputs(3)[:, :4]
    with open_runtime("torch", model, "cpu", "fp32", 1, mode="compile") as runtime:
        outputs = runtime.predict(inputs)
        kernel = runtime.evidence().kernel
    assert kernel == "torch.compile, GRU unrolled"
    assert _difference(outputs, _exact(model, inputs)) <= TOLERANCE


def test_what_is_compiled_is_kept_under_the_level_of_the_cpu(models, monkeypatch) -> None:
    keys = []

    def compile_(model, **_):
        def forward(inputs):
            keys.append(torch.compiler.config.cache_key_tag)
            return model(inputs)

        return forward

    monkeypatch.setattr(torch, "compile", compile_)
    for level in ("AVX2", "AVX512"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda level=level: level)
        with open_runtime("torch", models["gru"], "cpu", "fp32", 1, mode="compile") as runtime:
            runtime.bind(_inputs(1))
    assert len(set(keys)) == len(keys) == 2
    assert torch.compiler.config.cache_key_tag not in keys


@needs_openvino
@for_both_cells
def test_openvino_names_a_kernel_for_each_layer(cell, sources) -> None:
    with open_runtime("openvino", sources["openvino", cell], "cpu", "fp32", 1) as runtime:
        runtime.bind(_inputs(2))
        found = runtime.evidence()
    assert len(found.placement) == LAYERS
    assert all(cell.upper() in node for node in found.placement)
    (primitive,) = set(found.placement.values())
    assert found.kernel == f"OpenVINO {cell.upper()}, {primitive}"


@for_both_cells
@on_every_cpu_runtime
def test_evidence_counts_the_operations_of_one_call_and_leaves_the_runtime_as_it_was(
    cell, runtime_name, models, sources
) -> None:
    inputs = _inputs(3)
    with _open(runtime_name, sources[runtime_name, cell], "cpu", "fp32", 1) as runtime:
        runtime.bind(inputs)
        runtime.run()
        found = runtime.evidence()
        runtime.run()
        assert _difference(runtime.output(), _exact(models[cell], inputs)) <= TOLERANCE
    seconds = [op.self_s for op in found.ops]
    assert found.wall_s > 0
    assert seconds == sorted(seconds, reverse=True)
    assert min(seconds) >= 0
    assert len({(op.name, op.where, op.shapes) for op in found.ops}) == len(found.ops)
    operation, calls = {
        "onnxruntime": (cell.upper(), LAYERS),
        "openvino": (f"{cell.upper()}Sequence", LAYERS),
        "rnncore": ("head", 1),
    }.get(runtime_name, (f"aten::{cell}", 1))
    assert sum(op.calls for op in found.ops if op.name == operation) == calls


@on_every_cpu_runtime
def test_a_trace_is_a_chrome_trace_of_the_run(runtime_name, sources, tmp_path: Path) -> None:
    path = tmp_path / "traces" / "row.json"
    with _open(runtime_name, sources[runtime_name, "gru"], "cpu", "fp32", 1) as runtime:
        runtime.bind(_inputs(2))
        found = runtime.evidence(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    events = content if isinstance(content, list) else content["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert all(event["dur"] >= 0 and event["ts"] >= 0 and "pid" in event and "tid" in event for event in spans)
    assert any("gru" in event["name"].lower() for event in spans)
    assert found.ops
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("runtime_name", "allowed"),
    [("torch", "allowed: compile, flush, graph, without_cudnn"), ("rnncore", "it has its usual one alone")],
)
def test_an_unknown_mode_is_refused_and_the_known_ones_are_named(runtime_name, allowed, models) -> None:
    with (
        pytest.raises(ConfigError, match=f"mode of runtime {runtime_name} is 'quick'; {allowed}"),
        open_runtime(runtime_name, models["gru"], "cpu", "fp32", 1, mode="quick"),
    ):
        pass


def test_an_unknown_runtime_is_refused_and_the_known_ones_are_named(models) -> None:
    with (
        pytest.raises(ConfigError, match=f"runtime is 'tensorrt'; allowed: {', '.join(OWN_RUNTIMES)}"),
        open_runtime("tensorrt", models["gru"], "cpu", "fp32", 1),
    ):
        pass


@pytest.mark.parametrize(
    ("runtime_name", "device", "devices"), [("openvino", "cuda", "cpu"), ("onnxruntime", "xpu", "cpu, cuda")]
)
def test_a_device_that_the_runtime_lacks_is_refused_and_the_others_are_named(runtime_name, device, devices, models) -> None:
    wording = f"runtime {runtime_name} does not run on '{device}'; it runs on: {devices}"
    with pytest.raises(ConfigError, match=wording), open_runtime(runtime_name, models["gru"], device, "fp32", 1):
        pass


def test_a_device_that_torch_does_not_know_is_refused_and_the_others_are_named(models) -> None:
    with (
        pytest.raises(ConfigError, match="device is 'tpu'; allowed: cpu, cuda"),
        open_runtime("torch", models["gru"], "tpu", "fp32", 1),
    ):
        pass


@pytest.mark.parametrize(
    ("runtime_name", "device", "precision", "allowed"),
    [
        ("torch", "cpu", "int8", "fp32, bf16"),
        ("torch", "mps", "tf32", "fp32, bf16, fp16"),
        ("torch", "cuda:1", "int8", "fp32, tf32, bf16, fp16"),
        ("torch", "cpu", "tf32", "fp32, bf16"),
        ("torch", "cuda", "int8", "fp32, tf32, bf16, fp16"),
        ("onnxruntime", "cuda", "bf16", "fp32, tf32"),
    ],
)
def test_a_precision_that_the_runtime_lacks_there_is_refused_and_the_others_are_named(
    runtime_name, device, precision, allowed, models
) -> None:
    wording = f"runtime {runtime_name} has no precision '{precision}' on '{device}'; allowed there: {allowed}"
    with (
        pytest.raises(ConfigError, match=wording),
        open_runtime(runtime_name, models["gru"], device, precision, 1),
    ):
        pass


@pytest.mark.parametrize("threads", [0, -1])
def test_fewer_threads_than_one_are_refused(threads, models) -> None:
    with (
        pytest.raises(ConfigError, match=rf"threads is {threads}; give a whole number of at least 1"),
        open_runtime("torch", models["gru"], "cpu", "fp32", threads),
    ):
        pass


@pytest.mark.parametrize("second", ["torch", "onnxruntime"])
def test_a_second_runtime_is_refused_while_one_is_open_and_the_first_goes_on(second, models, sources) -> None:
    inputs = _inputs(2)
    with open_runtime("torch", models["gru"], "cpu", "fp32", 1) as runtime:
        with (
            pytest.raises(RnncoreError, match=f"runtime torch is still open; close it before opening {second}"),
            open_runtime(second, sources[second, "gru"], "cpu", "fp32", 1),
        ):
            pass
        assert _difference(runtime.predict(inputs), _exact(models["gru"], inputs)) <= TOLERANCE
    with open_runtime(second, sources[second, "gru"], "cpu", "fp32", 1):
        pass


def test_a_runtime_whose_block_raised_or_that_did_not_open_is_not_counted_as_open(models, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_runtime("torch", models["gru"], "cpu", "fp32", 1):
        raise ZeroDivisionError
    with pytest.raises(ModelFileError), open_runtime("onnxruntime", tmp_path / "no.onnx", "cpu", "fp32", 1):
        pass
    with open_runtime("torch", models["gru"], "cpu", "fp32", 1):
        pass


@pytest.mark.parametrize(
    ("runtime_name", "shown"), [("onnxruntime", "ONNX Runtime"), pytest.param("openvino", "OpenVINO", marks=needs_openvino)]
)
def test_a_forecaster_in_memory_is_refused_by_runtimes_that_read_files(runtime_name, shown, models) -> None:
    with (
        pytest.raises(ConfigError, match=rf"{shown} reads ONNX files; export the forecaster first \(.*export_onnx\)"),
        open_runtime(runtime_name, models["gru"], "cpu", "fp32", 1),
    ):
        pass


def test_torch_refuses_an_onnx_file(sources) -> None:
    path = sources["onnxruntime", "gru"]
    with (
        pytest.raises(ConfigError, match=r"torch cannot run .*gru\.onnx; give a forecaster or a \.safetensors file"),
        open_runtime("torch", path, "cpu", "fp32", 1),
    ):
        pass


def test_a_missing_onnx_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "missing.onnx"
    with (
        pytest.raises(ModelFileError, match=r"missing\.onnx: no such file\. Make one with 'rnncore export MODEL --out"),
        open_runtime("onnxruntime", path, "cpu", "fp32", 1),
    ):
        pass


@pytest.mark.parametrize("fault", ["text", "cut", "empty"])
@pytest.mark.parametrize(
    ("runtime_name", "shown"), [("onnxruntime", "ONNX Runtime"), pytest.param("openvino", "OpenVINO", marks=needs_openvino)]
)
def test_a_corrupt_onnx_file_is_named_and_the_user_is_told_to_export_again(
    runtime_name, shown, fault, sources, tmp_path: Path
) -> None:
    whole = Path(sources["onnxruntime", "gru"]).read_bytes()
    path = tmp_path / "corrupt.onnx"
    path.write_bytes({"text": b"not a model", "cut": whole[: len(whole) // 2], "empty": b""}[fault])
    with (
        pytest.raises(ModelFileError, match=rf"(?s)corrupt\.onnx: {shown} cannot read it .*Export it again"),
        open_runtime(runtime_name, path, "cpu", "fp32", 1),
    ):
        pass


@pytest.mark.parametrize("runtime_name", ["torch", "onnxruntime"])
def test_the_thread_count_of_torch_is_what_was_asked_inside_and_what_it_was_after(runtime_name, sources) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with _open(runtime_name, sources[runtime_name, "gru"], "cpu", "fp32", 1):
            assert torch.get_num_threads() == (1 if runtime_name == "torch" else 3)
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError), open_runtime("torch", sources["torch", "gru"], "cpu", "fp32", 2):
            raise ZeroDivisionError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("before", ["tf32", "ieee"])
def test_fp32_forbids_tf32_while_the_model_runs_and_gives_the_setting_back(before, models, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn.rnn, "fp32_precision", before)
    seen = []
    hook = models["gru"].register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.rnn.fp32_precision))
    try:
        with open_runtime("torch", models["gru"], "cpu", "fp32", 1) as runtime:
            runtime.predict(_inputs(1))
    finally:
        hook.remove()
    assert seen == ["ieee"]
    assert torch.backends.cudnn.rnn.fp32_precision == before


@without_gpu
def test_torch_on_cuda_without_a_gpu_says_what_to_install(models) -> None:
    with (
        pytest.raises(Unavailable, match=r"no CUDA device: torch .* Install a CUDA build of torch and the NVIDIA driver"),
        open_runtime("torch", models["gru"], "cuda", "tf32", 1),
    ):
        pass


@without_gpu
def test_onnxruntime_on_cuda_without_a_gpu_says_what_to_install(sources) -> None:
    wording = r"ONNX Runtime .* (install onnxruntime-gpu in place of onnxruntime|could not start CUDA.* installed)"
    with (
        pytest.raises(Unavailable, match=wording),
        open_runtime("onnxruntime", sources["onnxruntime", "gru"], "cuda", "tf32", 1),
    ):
        pass


class PlantedOrt:
    """What the adapter asks of ONNX Runtime, with a CUDA that fails as it is planted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
        real = onnxruntime.InferenceSession

        def session(model: object, options: object, providers: list[Any]) -> object:
            if providers[0][0] == "CUDAExecutionProvider":
                self.asked.append(providers[0][1])
                raise fault
            return real(model, options, providers=providers)

        self.asked: list[dict[str, str]] = []

        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
        monkeypatch.setattr(onnxruntime, "InferenceSession", session)


OUT_OF_MEMORY = "CUDA failure 2: out of memory ; GPU=0 ; expr=cudnnCreate(&cudnn_handle_);"


@pytest.mark.parametrize("kind", ["Fail", "RuntimeException", "EPFail"])
def test_a_fault_of_the_gpu_is_not_told_as_one_of_the_file(kind: str, sources, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = getattr(onnxruntime.capi.onnxruntime_pybind11_state, kind)(OUT_OF_MEMORY)
    PlantedOrt(monkeypatch, fault)
    wording = r"opens .*gru\.onnx on the CPU, but not on cuda \(.*out of memory.*\)\. Check the GPU and its driver"
    with (
        pytest.raises(Unavailable, match=wording),
        open_runtime("onnxruntime", sources["onnxruntime", "gru"], "cuda", "tf32", 1),
    ):
        pass


@pytest.mark.parametrize(("precision", "use_tf32"), [("fp32", "0"), ("tf32", "1")])
def test_tf32_is_permitted_to_onnxruntime_on_cuda_or_forbidden(
    precision: str, use_tf32: str, sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = PlantedOrt(monkeypatch, onnxruntime.capi.onnxruntime_pybind11_state.Fail("planted"))
    with (
        pytest.raises(Unavailable, match="planted"),
        open_runtime("onnxruntime", sources["onnxruntime", "gru"], "cuda", precision, 1),
    ):
        pass
    assert planted.asked == [{"use_tf32": use_tf32}]


def test_a_file_that_no_device_can_read_is_the_files_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    PlantedOrt(monkeypatch, onnxruntime.capi.onnxruntime_pybind11_state.Fail("no protobuf"))
    path = tmp_path / "corrupt.onnx"
    path.write_bytes(b"not a model")
    with (
        pytest.raises(ModelFileError, match=r"corrupt\.onnx: ONNX Runtime cannot read it .*Export it again"),
        open_runtime("onnxruntime", path, "cuda", "tf32", 1),
    ):
        pass


def test_both_builds_of_onnxruntime_at_once_are_refused_with_the_command_that_leaves_one(
    sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.31.0"}
    monkeypatch.setattr(importlib.metadata, "version", versions.__getitem__)
    wording = (
        r"onnxruntime 1\.32\.0 and onnxruntime-gpu 1\.31\.0 are both installed, into one folder\. "
        "Run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    )
    with (
        pytest.raises(Unavailable, match=wording),
        open_runtime("onnxruntime", sources["onnxruntime", "gru"], "cuda", "tf32", 1),
    ):
        pass


@pytest.mark.skipif(importlib.util.find_spec("openvino") is not None, reason="OpenVINO is installed")
def test_openvino_that_is_not_installed_says_how_to_install_it(sources) -> None:
    with (
        pytest.raises(Unavailable, match=r"OpenVINO is not installed: pip install 'rnncore\[openvino\]'"),
        open_runtime("openvino", sources["openvino", "gru"], "cpu", "fp32", 1),
    ):
        pass


@needs_gpu
@for_both_cells
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", TOLERANCE), ("tf32", 2e-2)])
def test_torch_on_cuda_gives_the_outputs_of_float64_numpy_on_cudnn(cell, precision, tolerance, models) -> None:
    with open_runtime("torch", models[cell], "cuda", precision, 1) as runtime:
        for batch_size in BATCH_SIZES:
            inputs = _inputs(batch_size)
            assert _difference(runtime.predict(inputs), _exact(models[cell], inputs)) <= tolerance
        found = runtime.evidence()
        assert found.kernel in ("cuDNN standard", "cuDNN persistent")
        assert found.placement == {cell.upper(): found.kernel}
        assert {op.where for op in found.ops} == {"cuda"}
        assert found.ops[0].name == "aten::_cudnn_rnn"
    assert all(weight.device.type == "cpu" for weight in models[cell].parameters())
