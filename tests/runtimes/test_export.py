"""Tests of the export: the graph is the model, and a graph that is not is never written."""

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from rnncore.errors import ExportError, ModelFileError, RnncoreError, Unavailable
from rnncore.forecast.cells import CELLS
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster
from rnncore.forecast.modelfile import METADATA_KEY
from rnncore.forecast.windows import WindowConfig
from rnncore.runtimes import export
from rnncore.runtimes.catalog import open_runtime
from rnncore.runtimes.export import OPSET, check_graph, export_module, export_onnx, onnx_facts
from rnncore.runtimes.int8 import quantized
from rnncore.runtimes.parity import float64_forecast, parity

# Not the defaults, so that a round trip shows every field.
WINDOWS = WindowConfig(features="linear", lookback=7, scale_on="train", split="date", test_fraction=0.2, drop_gaps=True)
LAYERS = 2

for_both_cells = pytest.mark.parametrize("cell", CELLS)


class Exported:
    """A model, its file and the graph in it."""

    def __init__(self, cell: str, folder: Path) -> None:
        config = ForecasterConfig(cell=cell, input_size=3, hidden_size=8, num_layers=LAYERS)
        self.model: Forecaster = new_forecaster(config, seed=1)
        self.path = folder / "made" / f"{cell}.onnx"
        self.parity = export_onnx(self.model, self.path, WINDOWS)
        self._graph = onnx.load(self.path)

    @property
    def graph(self) -> onnx.ModelProto:
        """A copy that a test may spoil."""
        return copy.deepcopy(self._graph)

    def layers(self, graph: onnx.ModelProto) -> list[onnx.NodeProto]:
        return [node for node in graph.graph.node if node.op_type == self.model.config.cell.upper()]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    return {cell: Exported(cell, tmp_path_factory.mktemp("onnx")) for cell in CELLS}


def _attributes(node: onnx.NodeProto) -> dict[str, int]:
    return {attribute.name: attribute.i for attribute in node.attribute}


@for_both_cells
def test_the_graph_has_one_operator_per_layer_of_the_opset_that_is_promised(cell, exported) -> None:
    one = exported[cell]
    graph = one.graph
    onnx.checker.check_model(graph, full_check=True)
    assert {entry.domain: entry.version for entry in graph.opset_import} == {"": OPSET}
    assert len(one.layers(graph)) == LAYERS
    assert not {node.op_type for node in graph.graph.node} & {"Loop", "Scan", "If"}
    assert len(graph.functions) == 0


@for_both_cells
def test_the_batch_is_free_and_the_window_is_fixed(cell, exported) -> None:
    (inputs,) = exported[cell].graph.graph.input
    batch, hours, features = inputs.type.tensor_type.shape.dim
    assert inputs.name == "inputs"
    assert batch.dim_param
    assert (hours.dim_value, features.dim_value) == (WINDOWS.lookback, 3)
    (output,) = exported[cell].graph.graph.output
    assert output.name == "forecast"


def test_the_gru_is_the_variant_that_resets_after_the_matrix_product(exported) -> None:
    layers = exported["gru"].layers(exported["gru"].graph)
    assert [_attributes(node)["linear_before_reset"] for node in layers] == [1] * LAYERS


@for_both_cells
def test_the_weights_of_every_layer_are_stored_and_not_computed(cell, exported) -> None:
    graph = exported[cell].graph
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.graph.initializer}
    gates = {"gru": 3, "lstm": 4}[cell]
    for index, node in enumerate(exported[cell].layers(graph)):
        weights, recurrent, biases = (stored[name] for name in node.input[1:4])
        assert weights.shape == (1, gates * 8, 3 if index == 0 else 8)
        assert recurrent.shape == (1, gates * 8, 8)
        assert biases.shape == (1, 2 * gates * 8)
        torch_weights = exported[cell].model.state_dict()[f"rnn.weight_ih_l{index}"].numpy()
        assert np.allclose(np.sort(weights.ravel()), np.sort(torch_weights.ravel()), atol=0)


@for_both_cells
def test_the_file_runs_at_batch_sizes_that_were_not_exported_and_forecasts_as_the_model(cell, exported) -> None:
    one = exported[cell]
    with open_runtime("onnxruntime", one.path, "cpu", "fp32", 1) as runtime:
        for batch_size in (1, 5, 64):
            inputs = np.random.default_rng(batch_size).random((batch_size, WINDOWS.lookback, 3), dtype=np.float32)
            found = parity(runtime.predict(inputs), float64_forecast(one.model, inputs), "fp32")
            assert found.verdict == "valid"
            assert found.max_abs < 1e-6
    assert one.parity.verdict == "valid"


@for_both_cells
def test_the_graph_of_an_export_passes_its_own_check(cell, exported) -> None:
    check_graph(exported[cell].graph, exported[cell].model.config)


@pytest.mark.parametrize("fault", ["other value", "left out"])
def test_a_gru_of_the_other_variant_is_refused(fault, exported) -> None:
    graph = exported["gru"].graph
    node = exported["gru"].layers(graph)[1]
    index = [attribute.name for attribute in node.attribute].index("linear_before_reset")
    if fault == "left out":
        del node.attribute[index]
    else:
        node.attribute[index].i = 0
    with pytest.raises(ExportError, match=f"node {node.name} has linear_before_reset=0: the other GRU variant"):
        check_graph(graph, exported["gru"].model.config)


@pytest.mark.parametrize(
    ("installed", "advice"),
    [
        ("0.7.0", r"Use onnxscript >= 0\.7\.1; here is 0\.7\.0\."),
        ("0.7.1", r"Use other versions of torch and onnxscript than .* and 0\.7\.1\."),
        ("0.10.0.dev3", r"Use other versions of torch and onnxscript than .* and 0\.10\.0\.dev3\."),
    ],
)
def test_a_newer_onnxscript_is_advised_where_it_is_older(installed, advice, exported, monkeypatch) -> None:
    monkeypatch.setattr(export, "version", {"torch": torch.__version__, "onnxscript": installed}.get)
    with pytest.raises(ExportError, match=advice):
        check_graph(exported["gru"].graph, replace(exported["gru"].model.config, num_layers=3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_of_weights_that_are_no_numbers_is_not_exported(value, exported, tmp_path) -> None:
    model = copy.deepcopy(exported["gru"].model)
    with torch.no_grad():
        model.rnn.weight_hh_l0[0, 0] = value
    path = tmp_path / "model.onnx"
    for make in (lambda: export_onnx(model, path, WINDOWS), lambda: export_module(model, path, WINDOWS.lookback, 3)):
        with pytest.raises(
            ExportError, match=r"1 of \d+ weights in rnn\.weight_hh_l0 are NaN or infinite\. Train"
        ) as caught:
            make()
        assert "onnxscript" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@for_both_cells
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_file_of_weights_that_are_no_numbers_is_refused(cell, value, exported, tmp_path) -> None:
    # ONNX Runtime makes plausible numbers of a NaN; rounded to int8 it would be a number too.
    graph = exported[cell].graph
    name = exported[cell].layers(graph)[0].input[2]
    (tensor,) = (one for one in graph.graph.initializer if one.name == name)
    weights = numpy_helper.to_array(tensor).copy()
    weights.flat[0] = value
    tensor.CopyFrom(numpy_helper.from_array(weights, name))
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    for read in (onnx_facts, quantized):
        with pytest.raises(ModelFileError, match=r"model\.onnx: 1 of \d+ weights in .* are NaN or infinite"):
            read(path)


def test_a_folder_is_no_onnx_file(tmp_path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot be read \(.*\)\. Give an ONNX file of 'rnncore export'"):
        onnx_facts(tmp_path)


@for_both_cells
@pytest.mark.parametrize("which", [1, 2, 3])
def test_a_weight_that_is_computed_at_run_time_is_refused(cell, which, exported) -> None:
    graph = exported[cell].graph
    node = exported[cell].layers(graph)[0]
    identity = onnx.helper.make_node("Identity", [node.input[which]], ["computed"])
    node.input[which] = "computed"
    graph.graph.node.insert(0, identity)
    with pytest.raises(ExportError, match=rf"node {node.name} computes its weights \(computed\) at run time"):
        check_graph(graph, exported[cell].model.config)


@for_both_cells
def test_a_missing_layer_is_refused(cell, exported) -> None:
    graph = exported[cell].graph
    graph.graph.node.remove(exported[cell].layers(graph)[1])
    with pytest.raises(ExportError, match=rf"has 1 {cell.upper()} nodes, but the model has 2 layers"):
        check_graph(graph, exported[cell].model.config)


def test_a_cell_that_the_exporter_has_no_node_for_is_unavailable_to_what_reads_onnx(exported, monkeypatch) -> None:
    one = exported["gru"]
    monkeypatch.setitem(CELLS, "gru", replace(CELLS["gru"], exported=False))
    with pytest.raises(Unavailable, match="exporter writes no node for GRU"):
        check_graph(one.graph, one.model.config)


def test_a_graph_of_the_other_cell_is_refused(exported) -> None:
    with pytest.raises(ExportError, match="has 0 LSTM nodes, but the model has 2 layers"):
        check_graph(exported["gru"].graph, exported["lstm"].model.config)


@for_both_cells
def test_a_fixed_batch_is_refused(cell, exported) -> None:
    graph = exported[cell].graph
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(ExportError, match="takes batches of 2 only"):
        check_graph(graph, exported[cell].model.config)


def _plant(monkeypatch: pytest.MonkeyPatch, one: Exported, scale: float) -> None:
    """Let the exporter return the graph of *one* with its first recurrent weights scaled."""
    graph = one.graph
    del graph.metadata_props[:]
    name = one.layers(graph)[0].input[2]
    tensor = next(tensor for tensor in graph.graph.initializer if tensor.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * np.float32(scale), name))
    monkeypatch.setattr(export, "_exported", lambda model, lookback: graph)


@for_both_cells
def test_a_graph_with_other_weights_fails_parity_and_nothing_is_written(cell, exported, monkeypatch, tmp_path) -> None:
    _plant(monkeypatch, exported[cell], scale=1.2)
    path = tmp_path / "model.onnx"
    with pytest.raises(ExportError, match=r"the exported file is not the model: outputs differ from float64 by .*e-"):
        export_onnx(exported[cell].model, path, WINDOWS)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_an_older_file_as_it_was(exported, monkeypatch, tmp_path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    _plant(monkeypatch, exported["gru"], scale=1.2)
    with pytest.raises(ExportError, match="not the model"):
        export_onnx(exported["gru"].model, path, WINDOWS)
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_the_planted_graph_passes_where_nothing_was_scaled(exported, monkeypatch, tmp_path) -> None:
    _plant(monkeypatch, exported["gru"], scale=1.0)
    path = tmp_path / "model.onnx"
    path.write_bytes(b"older")
    assert export_onnx(exported["gru"].model, path, WINDOWS).verdict == "valid"
    assert onnx_facts(path) == (WINDOWS, {})


def test_an_export_while_a_runtime_is_open_is_refused_and_writes_nothing(exported, monkeypatch, tmp_path) -> None:
    one = exported["gru"]
    _plant(monkeypatch, one, scale=1.0)
    with (
        open_runtime("torch", one.model, "cpu", "fp32", torch.get_num_threads()),
        pytest.raises(RnncoreError, match="runtime torch is still open"),
    ):
        export_onnx(one.model, tmp_path / "model.onnx", WINDOWS)
    assert list(tmp_path.iterdir()) == []


@for_both_cells
def test_the_window_configuration_is_read_back_from_the_file(cell, exported) -> None:
    assert onnx_facts(exported[cell].path) == (WINDOWS, {})
    facts = {entry.key: entry.value for entry in exported[cell].graph.metadata_props}
    assert json.loads(facts[METADATA_KEY])["forecaster"] == asdict(exported[cell].model.config)


def test_the_window_configuration_of_a_missing_file_names_the_command_that_makes_it(tmp_path) -> None:
    with pytest.raises(ModelFileError, match=r"no\.onnx: no such file\. Make one with 'rnncore export MODEL --out"):
        onnx_facts(tmp_path / "no.onnx")


@pytest.mark.parametrize(
    "facts",
    [None, "not JSON", "{}", '{"windows": {"hours": 3}}', '{"windows": {"lookback": 0}}', '{"windows": 3}', "[]"],
)
def test_the_window_configuration_of_another_programs_file_is_refused(facts, exported, tmp_path) -> None:
    graph = exported["gru"].graph
    del graph.metadata_props[:]
    if facts is not None:
        graph.metadata_props.add(key=METADATA_KEY, value=facts)
    path = tmp_path / "foreign.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match=r"foreign\.onnx: not written by 'rnncore export' .*Export it again"):
        onnx_facts(path)


@pytest.mark.parametrize(
    ("part", "changed", "wording"),
    [
        (
            "windows",
            {"lookback": 24},
            r"its input has the shape \(batch, 7, 3\), and its metadata tells of \(batch, 24, 3\)",
        ),
        ("forecaster", {"input_size": 9}, r"its input has .* \(batch, 7, 3\), and its metadata tells of \(batch, 7, 9\)"),
        ("windows", {"horizon": 24}, r"its output has the shape \(batch, 1\), and its metadata tells of \(batch, 24\)"),
    ],
)
def test_metadata_that_tell_of_another_graph_are_refused(part, changed, wording, exported, tmp_path) -> None:
    graph = exported["gru"].graph
    told = json.loads(graph.metadata_props[0].value)
    told[part] |= changed
    graph.metadata_props[0].value = json.dumps(told)
    path = tmp_path / "other.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError, match=rf"other\.onnx: not written by .*{wording}.*Export it again"):
        onnx_facts(path)


@pytest.mark.parametrize(
    ("content", "wording"), [(b"not a model", "not a whole ONNX file"), (b"", r"not written by .*it has no metadata")]
)
def test_the_window_configuration_of_a_corrupt_file_is_refused(content, wording, tmp_path) -> None:
    path = tmp_path / "corrupt.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=rf"corrupt\.onnx: {wording}"):
        onnx_facts(path)
