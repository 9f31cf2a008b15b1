"""oneDNN's own recurrent primitives on the CPU, by their C interface: torch uses that of the LSTM, and none for a GRU.

The library is that of the package `onednn-cpu-gomp`, in the extra `peers`: a build for GNU's OpenMP, so that its threads are
those of torch's pool. Each layer is a primitive, as the first takes fewer inputs than the others. Weights lie as the
primitives like them, and windows hour by hour, both before anything is timed.

Letters of shapes: B windows, T hours, I inputs of a layer, H hidden, G gates.
"""

import ctypes
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import torch

from rnncore.errors import Unavailable
from rnncore.forecast.device import cpu_threads
from rnncore.runtimes.base import FUSED_LAYER, Evidence, OpTime, Runtime

PACKAGE = "onednn-cpu-gomp"

# Numbers of the library's enumerations, as its headers have them since version 3.
CPU, IN_ORDER, INFERENCE, LEFT_TO_RIGHT, ANY_LAYOUT = 1, 1, 96, 1, 1
TYPES = {"fp32": 3, "bf16": 2}
QUERY_NAME, QUERY_ARGUMENT = 8, 255
# Of a primitive's arguments.
SRC_LAYER, DST_LAYER, WEIGHTS_INPUTS, WEIGHTS_STATES, BIAS = 1, 17, 33, 34, 41
OWN_MEMORY = ctypes.c_void_p(-1)

# The gates of a GRU, in oneDNN update, reset, new, and in torch reset, update, new. Those of an LSTM are in torch's order.
GRU_GATES = [1, 0, 2]


class Argument(ctypes.Structure):
    """An argument of a primitive: its number, and its memory."""

    _fields_ = (("number", ctypes.c_int), ("memory", ctypes.c_void_p))


class Library:
    """The loaded library, and what was made with it, which is destroyed together."""

    def __init__(self):
        try:
            files = [file for file in distribution(PACKAGE).files or () if file.name.startswith("libdnnl.so.3.")]
        except PackageNotFoundError as error:
            raise Unavailable(f"{PACKAGE} is not installed: pip install 'rnncore[peers]'.") from error
        # torch's OpenMP has been loaded by then, and of two of one name the loader takes that.
        self._library = ctypes.CDLL(str(files[0].locate()))
        self._library.dnnl_primitive_desc_query_md.restype = ctypes.c_void_p
        self._destroyed, self._held = [], []
        self.engine = self.made("engine", "engine_create", CPU, ctypes.c_size_t(0))
        self.stream = self.made("stream", "stream_create", self.engine, IN_ORDER)

    def call(self, name, *arguments):
        """Call a function; what it cannot do here makes the runtime unavailable."""
        if status := getattr(self._library, f"dnnl_{name}")(*arguments):
            raise Unavailable(f"oneDNN cannot do this here: dnnl_{name} returned {status}.")

    def made(self, kind, name, *arguments):
        """Return what a function makes, whose address it writes to its first argument."""
        made = ctypes.c_void_p()
        self.call(name, ctypes.byref(made), *arguments)
        self._destroyed.append((f"{kind}_destroy", made))
        return made

    def layout(self, shape, precision, steps=None):
        """Return how values lie: so many from one place of an axis to the next, or as a primitive likes it."""
        sizes, kind = (ctypes.c_int64 * 12)(*shape), TYPES[precision]
        if steps is None:
            return self.made("memory_desc", "memory_desc_create_with_tag", len(shape), sizes, kind, ANY_LAYOUT)
        steps = (ctypes.c_int64 * 12)(*steps)
        return self.made("memory_desc", "memory_desc_create_with_strides", len(shape), sizes, kind, steps)

    def memory(self, layout, array=None):
        """Return memory of a layout: an array's, or of the library's own."""
        self._held.append(array)
        address = OWN_MEMORY if array is None else ctypes.c_void_p(array.ctypes.data)
        return self.made("memory", "memory_create", layout, self.engine, address)

    def liked(self, description, number):
        """Return how a primitive likes an argument to lie."""
        return ctypes.c_void_p(self._library.dnnl_primitive_desc_query_md(description, QUERY_ARGUMENT, number))

    def name(self, description):
        """Return what the library calls the implementation of a primitive."""
        name = ctypes.c_char_p()
        self.call("primitive_desc_query", description, QUERY_NAME, 0, ctypes.byref(name))
        return name.value.decode()

    def primitive(self, description, arguments):
        """Return a call of a primitive with its arguments, memory by number; it returns when the result is there."""
        primitive = self.made("primitive", "primitive_create", description)
        given = (Argument * len(arguments))(*(Argument(number, memory) for number, memory in arguments.items()))

        def run():
            self.call("primitive_execute", primitive, self.stream, len(arguments), given)
            self.call("stream_wait", self.stream)

        return run

    def reordered(self, array, layout, liked):
        """Return an array's values as a primitive likes them to lie, in memory of their own."""
        source, target = self.memory(layout, array), self.memory(liked)
        arguments = layout, self.engine, liked, self.engine, None
        description = self.made("primitive_desc", "reorder_primitive_desc_create", *arguments)
        self.primitive(description, {1: source, 17: target})()
        return target

    def close(self):
        """Destroy all that was made, the last first."""
        while self._destroyed:
            self.call(*self._destroyed.pop())


class OneDnnRuntime(Runtime):
    """A forecaster of ours by oneDNN's primitives, in fp32 or bf16; what this CPU has no bf16 for is unavailable."""

    def __init__(self, model, precision, threads):
        self._model, self._precision, self._threads = model, precision, threads
        self._library = None

    def bind(self, inputs):
        """Make a primitive for each layer, for windows of this shape. Shape (B, T, F)."""
        self.close()
        self._library = library = Library()
        with cpu_threads(self._threads):
            windows, hours, _ = inputs.shape
            self._layers, values = [], np.ascontiguousarray(inputs.transpose(1, 0, 2))
            values = values if self._precision == "fp32" else _rounded(values)
            for layer in range(self._model.rnn.num_layers):
                states = np.zeros((hours, windows, self._model.rnn.hidden_size), values.dtype)
                self._layers.append(_layer(library, self._model.rnn, layer, values, states, self._precision))
                values = states
        self._last = values[-1]

    def run(self):
        """Forecast: layer after layer, then the head."""
        with cpu_threads(self._threads):
            for _, run in self._layers:
                run()
        head, last = self._model.head, self._last if self._precision == "fp32" else _widened(self._last)
        last = np.maximum(last, 0) if self._model.config.relu_head else last
        self._output = last @ head.weight.detach().numpy().T + head.bias.detach().numpy()

    def output(self):
        """Return the last forecasts. Shape (B, L)."""
        return self._output

    def evidence(self, trace=None):
        """Tell the implementations that oneDNN chose."""
        names = " and ".join(dict.fromkeys(name for name, _ in self._layers))
        kernel = f"oneDNN {self._model.rnn.mode}, {names}"
        ops = tuple(OpTime(name, "oneDNN", 1, 0.0, kind=FUSED_LAYER) for name, _ in self._layers)
        return Evidence(kernel, {self._model.rnn.mode: kernel}, ops, 0.0)

    def close(self):
        """Destroy the primitives and their memory."""
        if self._library is not None:
            self._library.close()
            self._library = None


def _layer(library, rnn, layer, values, states, precision):
    """Return the name of a layer's primitive, and a call of it that fills states (T, B, H) by values (T, B, I)."""
    inputs = values.shape[2]
    hidden, is_gru = rnn.hidden_size, rnn.mode == "GRU"
    gates = 3 if is_gru else 4
    of_inputs, of_states, bias_inputs, bias_states = (
        getattr(rnn, f"{name}_l{layer}").detach().numpy().reshape(gates, hidden, -1)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    bias = bias_inputs + bias_states
    if is_gru:
        # The new gate has two biases, as the reset gate scales one of them.
        bias = np.concatenate([bias[GRU_GATES[:2]], bias_inputs[2:], bias_states[2:]])
        of_inputs, of_states = of_inputs[GRU_GATES], of_states[GRU_GATES]
    tnc = [library.layout(one.shape, precision, [one[0].size, one[0, 0].size, 1]) for one in (values, states)]
    liked = [library.layout((1, 1, size, gates, hidden), precision) for size in (inputs, hidden)]
    of_bias = library.layout((1, 1, len(bias), hidden), "fp32", [bias.size, bias.size, hidden, 1])
    description = library.made(
        "primitive_desc",
        "lbr_gru_forward_primitive_desc_create" if is_gru else "lstm_forward_primitive_desc_create",
        *(library.engine, INFERENCE, LEFT_TO_RIGHT),
        # All windows begin from zeros. Without states before, and of an LSTM cells, peepholes and projection.
        *([tnc[0], None, *liked] if is_gru else [tnc[0], None, None, *liked, None, None]),
        *([of_bias, tnc[1], None] if is_gru else [of_bias, tnc[1], None, None]),
        *(0, None),
    )
    arguments = {SRC_LAYER: library.memory(tnc[0], values), DST_LAYER: library.memory(tnc[1], states)}
    arguments[BIAS] = library.memory(of_bias, np.ascontiguousarray(bias))
    for number, weights in ((WEIGHTS_INPUTS, of_inputs), (WEIGHTS_STATES, of_states)):
        weights = np.ascontiguousarray(weights)
        size = weights.shape[2]
        # Gate, unit and input; oneDNN names input, gate and unit.
        lying = library.layout((1, 1, size, gates, hidden), "fp32", [weights.size, weights.size, 1, hidden * size, size])
        arguments[number] = library.reordered(weights, lying, library.liked(description, number))
    return library.name(description), library.primitive(description, arguments)


def _rounded(values):
    """Return values in bf16, as whole numbers of 16 bits."""
    return torch.from_numpy(values).bfloat16().view(torch.int16).numpy()


def _widened(values):
    """Return values of bf16 in fp32."""
    return torch.from_numpy(values).view(torch.bfloat16).float().numpy()
