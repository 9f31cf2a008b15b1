"""ONNX files in int8: weights beforehand, one scale per unit; values as they come, one scale per call."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from rnncore.forecast.modelfile import onnx_weights, require_finite_weights
from rnncore.forecast.series import Float32Array

LARGEST_INT8 = 127


def quantized(path: Path) -> bytes:
    """Return the model of an exported file in int8.

    ONNX Runtime has an int8 operator for LSTM and none for GRU. A GRU is written out hour by hour instead, its products in
    int8 and its gates in fp32, which at large batches is far quicker than its fp32 operator, and at small ones slower.

    Args:
        path: What `rnncore export` wrote, with one GRU or LSTM node per layer.

    Raises:
        ModelFileError: If a weight is not finite: rounded, it would be some number.
    """
    model = onnx.load(path)
    require_finite_weights(path, onnx_weights(model))
    if any(node.op_type == "GRU" for node in model.graph.node):
        return bytes(_unrolled(model).SerializeToString())
    quiet = logging.getLogger()
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "int8.onnx"
            quantize_dynamic(path, made, weight_type=QuantType.QInt8)
            return made.read_bytes()
    finally:
        quiet.setLevel(level)


def _unrolled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with its GRU nodes written out hour by hour."""
    graph = model.graph
    hours = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    layers = [node for node in graph.node if node.op_type == "GRU"]
    # What the head takes: the state of the last hour.
    (last,) = (node for node in graph.node if node.op_type == "Gather")
    head = list(graph.node)[list(graph.node).index(last) + 1 :]
    (by_hour,) = (node for node in graph.node if layers[0].input[0] in node.output)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    unrolled = _Unrolled()
    first = [f"hour{hour}" for hour in range(hours)]
    unrolled.node("Split", [by_hour.output[0]], [f"{name}_whole" for name in first], axis=0, num_outputs=hours)
    axis = unrolled.constant("first_axis", np.array([0], dtype=np.int64))
    for name in first:
        unrolled.node("Squeeze", [f"{name}_whole", axis], [name])
    states = first
    for number, layer in enumerate(layers):
        w, r, b = (weights[layer.input[index]][0] for index in (1, 2, 3))
        states = unrolled.layer(f"layer{number}", states, w.T, r.T, *np.split(b, 2))
    unrolled.node("Identity", [states[-1]], [last.output[0]])
    kept = {name for node in head for name in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in kept]
    made = helper.make_graph(
        [by_hour, *unrolled.nodes, *head],
        graph.name,
        list(graph.input),
        list(graph.output),
        [*initializers, *unrolled.constants],
    )
    return helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


class _Unrolled:
    """Nodes and constants of layers that are written out."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, operator: str, inputs: list[str], outputs: list[str], **attributes: int) -> str:
        made = helper.make_node(operator, inputs, outputs)
        made.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(made)
        return outputs[0]

    def layer(
        self, name: str, inputs: list[str], w: Float32Array, r: Float32Array, w_bias: Float32Array, r_bias: Float32Array
    ) -> list[str]:
        """Write a layer out; return the names of its states by hour.

        Args:
            name: Of the layer.
            inputs: Names of its inputs by hour. Shapes (B, F).
            w: Weights of inputs, gates in ONNX's order of update, reset, new. Shape (F, 3 H).
            r: The same of states. Shape (H, 3 H).
            w_bias: Shape (3 H,).
            r_bias: Shape (3 H,).

        Source:
            ONNX operators, GRU, with linear_before_reset.
        """
        hidden = len(r)
        sizes = self.constant(f"{name}_sizes", np.array([2 * hidden, hidden], dtype=np.int64))
        w_names, r_names = self._weights(f"{name}_w", w), self._weights(f"{name}_r", r)
        w_bias_name, r_bias_name = self.constant(f"{name}_w_bias", w_bias), self.constant(f"{name}_r_bias", r_bias)
        before = self.constant(f"{name}_zeros", np.zeros((1, hidden), dtype=np.float32))
        states = []
        for hour, value in enumerate(inputs):
            at = f"{name}_{hour}"
            parts = {}
            for part, (operand, names, bias) in {
                "x": (value, w_names, w_bias_name),
                "h": (before, r_names, r_bias_name),
            }.items():
                product = self._product(operand, *names, f"{at}_{part}")
                whole = self.node("Add", [product, bias], [f"{at}_{part}_sum"])
                parts[part] = [f"{at}_{part}_gates", f"{at}_{part}_new"]
                self.node("Split", [whole, sizes], parts[part], axis=1)
            gates = self.node("Add", [parts["x"][0], parts["h"][0]], [f"{at}_gates"])
            opened = self.node("Sigmoid", [gates], [f"{at}_opened"])
            update, reset = f"{at}_update", f"{at}_reset"
            self.node("Split", [opened], [update, reset], axis=1, num_outputs=2)
            from_state = self.node("Mul", [reset, parts["h"][1]], [f"{at}_from_state"])
            new = self.node("Tanh", [self.node("Add", [parts["x"][1], from_state], [f"{at}_new_sum"])], [f"{at}_new"])
            change = self.node("Sub", [before, new], [f"{at}_change"])
            kept = self.node("Mul", [update, change], [f"{at}_kept"])
            before = self.node("Add", [new, kept], [f"{at}_state"])
            states.append(before)
        return states

    def _weights(self, name: str, weights: Float32Array) -> tuple[str, str]:
        scale = np.maximum(np.abs(weights).max(axis=0), np.finfo(np.float32).tiny) / LARGEST_INT8
        rounded = np.round(weights / scale).astype(np.int8)
        return self.constant(f"{name}_int8", rounded), self.constant(f"{name}_scale", scale.astype(np.float32))

    def _product(self, operand: str, weights: str, scale: str, name: str) -> str:
        int8, own_scale, zero = (f"{name}_{part}" for part in ("int8", "scale", "zero"))
        self.node("DynamicQuantizeLinear", [operand], [int8, own_scale, zero])
        whole = self.node("MatMulInteger", [int8, weights, zero], [f"{name}_whole"])
        value = self.node("Cast", [whole], [f"{name}_value"], to=onnx.TensorProto.FLOAT)
        both = self.node("Mul", [own_scale, scale], [f"{name}_both"])
        return self.node("Mul", [value, both], [f"{name}_product"])
