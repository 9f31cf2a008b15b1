"""The best rates of this machine, each seen over a short time: of products, of chains of them, and of memory.

Noise lies below what can be reached, so the maximum is the estimate, of the best library where there are several.

G gates; the other shape letters are those of `rnncore.forecast.windows`.
"""

import statistics
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from rnncore.errors import Unavailable
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import Device, cudnn_precision
from rnncore.forecast.series import Float32Array
from rnncore.kernels.memory import aligned_floats
from rnncore.kernels.packing import LARGEST_BYTE
from rnncore.kernels.peak import PeakKernel, peak_kernel
from rnncore.runfile.case import Case
from rnncore.runtimes.export import OPSET
from rnncore.runtimes.onnx import cpu_options

# Per rate, size and library; longer only while the best calls do not agree, which shows that others take the machine.
MEASURED_S = 0.06
CONFIRMED_WITHIN_S = 0.2
CONFIRMING_CALLS, CONFIRMED_RATIO = 3, 1.05
# A size of which one product would take longer is not tried.
LONG_PRODUCT_S = 0.3

# On the CPU, and on a device beside it.
SQUARE_SIZES = {"cpu": (256, 1024, 2048), "gpu": (1024, 4096, 8192)}
CHAIN_STEPS = (4, 90)
CHAIN_FLOPS = 5e8
# Seconds of one call of our own kernel of peaks: threads that start late cost nothing of it.
PEAK_CALL_S = 0.004
# Far larger than a last-level cache.
COPIED_BYTES = {"cpu": 128 << 20, "gpu": 1 << 30}

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}
# Of one weight: a runtime reads no fewer bytes of it.
WEIGHT_BYTES = {"fp32": 4, "bf16": 2, "int8": 1}
LINE_BYTES = 64
# As ONNX Runtime's products take states in bytes: unsigned, with a zero in the middle.
ZERO_BYTE = 128
IR_VERSION = 9

# What computes chains as our forward kernel does.
OURS = "rnncore"

# Why what our own kernel measures was not measured.
NO_KERNEL = "the kernel that measures it cannot be compiled here"


@dataclass(frozen=True)
class Rate:
    """A rate, and what reached it.

    Attributes:
        per_s: Operations or bytes per second.
        by: What reached it.
        seen_per_s: What each of several looks at it saw; empty of one alone.
    """

    per_s: float
    by: str
    seen_per_s: tuple[float, ...] = ()

    @property
    def at_median(self) -> "Rate":
        """What the median look at it saw: one that others held up says nothing of the rest."""
        return replace(self, per_s=statistics.median(self.seen_per_s or (self.per_s,)))


@dataclass(frozen=True)
class Shape:
    """What a recurrent step multiplies: (batch_size, hidden_size) x (hidden_size, gates * hidden_size)."""

    batch_size: int
    hidden_size: int
    gates: int

    @classmethod
    def of(cls, case: Case) -> Self | None:
        """Return the shape of a case; None where nothing is recurrent, or its sizes are not known."""
        kind = next((kind for cell, kind in CELLS.items() if cell == case.cell), None)
        if kind is None or case.hidden_size is None or case.batch_size is None:
            return None
        return cls(case.batch_size, case.hidden_size, kind.gates)

    @property
    def flops(self) -> int:
        """Operations of one step."""
        return 2 * self.batch_size * self.hidden_size**2 * self.gates


def better(one: Rate | None, other: Rate | None) -> Rate | None:
    """Return the higher of two rates; None where there is none."""
    return max((rate for rate in (one, other) if rate), key=lambda rate: rate.per_s, default=None)


def seen_again(before: Rate, now: Rate | None) -> Rate:
    """Return the higher of a rate and of a later look at it, with what all looks saw."""
    if now is None:
        return before
    best = max(before, now, key=lambda rate: rate.per_s)
    return Rate(best.per_s, best.by, (*(before.seen_per_s or (before.per_s,)), now.per_s))


def _is_tried(by: str, only: Collection[str] | None) -> bool:
    return only is None or by in only


def peak_rate(device: str, precision: str, threads: int, only: Collection[str] | None = None) -> Rate | None:
    """Return the best rate of products in registers alone, of the widest vectors or tiles of this CPU.

    Args:
        device: `cpu`, or another, on which there are none.
        precision: What to compute in. What has no instructions of its own is computed by those of fp32.
        threads: CPU threads.
        only: Try nothing but these, by their `Rate.by`; None for all.

    Returns:
        The rate; None in other precisions than those of `WEIGHT_BYTES`, and where the kernel cannot be compiled.
    """
    kernel = _peak_kernel()
    if device != "cpu" or precision not in WEIGHT_BYTES or kernel is None:
        return None
    best = None
    for way in kernel.ways:
        if way.precision in (precision, "fp32") and _is_tried(way.name, only):
            round_s = _repeat_s(partial(kernel.multiply_adds, way, threads), threads)
            best = better(best, Rate(way.operations / round_s, way.name))
    return best


def read_rate(device: str, threads: int, count: int, only: Collection[str] | None = None) -> Rate | None:
    """Return the best rate of reading the same bytes again and again, each thread its own share.

    Args:
        device: `cpu`, or another, on which it is not known.
        threads: CPU threads.
        count: Bytes; they are read from the cache that a share fits in.
        only: Try nothing but these, by their `Rate.by`; None for all.

    Returns:
        Bytes per second; None where it is not known, and where the kernel cannot be compiled.
    """
    kernel = _peak_kernel()
    if device != "cpu" or kernel is None:
        return None
    memory = aligned_floats(-(-count // LINE_BYTES) * LINE_BYTES // 4)
    # Pages that nobody has written may all be the same one.
    memory[:] = 1
    best = None
    for by, prefetches in (("loads", False), ("loads with prefetches", True)):
        if _is_tried(by, only):
            pass_s = _repeat_s(partial(kernel.read_memory, memory, threads, prefetches), 1)
            best = better(best, Rate(memory.nbytes / pass_s, by))
    return best


def read_bytes(case: Case) -> int | None:
    """Return how many bytes of weights a case reads again and again.

    Args:
        case: What is measured.

    Returns:
        Those of a layer's states, which every hour needs; where a call takes one hour those of all layers. None where
        nothing is recurrent, on a GPU, and where the sizes are not known.
    """
    shape = Shape.of(case)
    if shape is None or case.num_layers is None or case.device != "cpu" or case.products not in WEIGHT_BYTES:
        return None
    of_states = shape.gates * shape.hidden_size**2
    # The few inputs of the first layer aside.
    weights = (2 * case.num_layers - 1) * of_states if case.phase == "stream" else of_states
    return weights * WEIGHT_BYTES[case.products]


def _peak_kernel() -> PeakKernel | None:
    try:
        return peak_kernel()
    except Unavailable:
        return None


def _repeat_s(repeat: Callable[[int], None], fewest: int) -> float:
    """Return the seconds of one of the repeats of a call that makes as many as are asked for.

    Args:
        repeat: The call.
        fewest: Repeats, at least.
    """
    times, call_s = fewest, 0.0
    while call_s < PEAK_CALL_S:
        times *= 2
        began_s = time.perf_counter()
        repeat(times)
        call_s = time.perf_counter() - began_s
    return _shortest_s(lambda: repeat(times)) / times


def gemm_rate(device: str, precision: str, threads: int, only: Collection[str] | None = None) -> Rate | None:
    """Return the best rate of a square product over sizes and libraries; None where no library has one.

    Args:
        device: A device's name.
        precision: What to compute in.
        threads: CPU threads.
        only: Try nothing but these, by their `Rate.by`; None for all.
    """
    libraries: dict[str, Callable[[int], float | None]] = {"torch": lambda size: _torch_product_s(device, precision, size)}
    if device == "cpu" and precision in ("fp32", "int8"):
        libraries["ONNX Runtime"] = lambda size: _onnx_product_s(precision, size, threads)
    best = None
    for library, product_s in libraries.items():
        per_flop_s = 0.0
        for size in SQUARE_SIZES[_class(device)]:
            by = f"{library}, {size} x {size}"
            if not _is_tried(by, only):
                continue
            if 2 * size**3 * per_flop_s > LONG_PRODUCT_S or (seconds := product_s(size)) is None:
                break
            per_flop_s = seconds / (2 * size**3)
            best = better(best, Rate(1 / per_flop_s, by))
    return best


def chain_rate(device: str, precision: str, threads: int, shape: Shape, only: Collection[str] | None = None) -> Rate | None:
    """Return the best rate of recurrent products, each of which needs the one before: ours, or a library's.

    Nothing comes from inputs, and there are no gates: of each product the first H columns become states, as the next one
    takes them.

    Args:
        device: A device's name.
        precision: What to compute in.
        threads: CPU threads.
        shape: Of one product.
        only: Try nothing but these, by their `Rate.by`; None for all.

    Returns:
        The rate; None on a CPU in other precisions than those of `WEIGHT_BYTES`.
    """
    # A few products would take a GPU less time than to start them and wait for them.
    fewest, most = CHAIN_STEPS
    steps = most if device != "cpu" else int(min(max(CHAIN_FLOPS / shape.flops, fewest), most))
    libraries: dict[str, Callable[[], float | None]] = {}
    if device == "cpu" and precision in WEIGHT_BYTES:
        libraries[OURS] = lambda: _tile_chain_s(precision, shape, steps, threads)
        if precision in ("fp32", "int8"):
            libraries["ONNX Runtime"] = lambda: _onnx_chain_s(precision, shape, steps, threads)
        if precision in ("fp32", "bf16"):
            libraries["torch"] = lambda: _torch_chain_s(precision, shape, steps)
    elif not (on := Device.named(device)).is_cpu and precision in on.precisions:
        by = f"torch, {on.title} graph" if on.kind.graphs else "torch"
        libraries[by] = lambda: _device_chain_s(on, precision, shape, steps)
    best = None
    for library, chain_s in libraries.items():
        if _is_tried(library, only) and (seconds := chain_s()) is not None:
            best = better(best, Rate(steps * shape.flops / seconds, library))
    return best


def copy_rate(device: str) -> Rate:
    """Return the best rate of copying memory, in bytes read and written per second."""
    on, count = Device.named(device), COPIED_BYTES[_class(device)]
    source = torch.ones(count // 4, device=on.in_torch)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        on.synchronize()

    return Rate(2 * count / _shortest_s(copy), f"torch, {count >> 20} MiB")


def _class(device: str) -> str:
    """Return what the sizes of a device's work are chosen by."""
    return "cpu" if device == "cpu" else "gpu"


def _shortest_s(call: Callable[[], object]) -> float:
    """Return the seconds of the quickest call, once others have come close to it or the time is up."""
    call()
    began_s = time.perf_counter()
    shortest_s: list[float] = []
    limit_s = CONFIRMED_WITHIN_S
    while (now_s := time.perf_counter()) - began_s < limit_s:
        call()
        shortest_s = sorted([*shortest_s, time.perf_counter() - now_s])[:CONFIRMING_CALLS]
        is_confirmed = len(shortest_s) == CONFIRMING_CALLS and shortest_s[-1] < CONFIRMED_RATIO * shortest_s[0]
        limit_s = MEASURED_S if is_confirmed else CONFIRMED_WITHIN_S
    return shortest_s[0]


def _onnx_product_s(precision: str, size: int, threads: int) -> float:
    """Return the seconds of a square product in ONNX Runtime on the CPU."""
    weights = _random(size, size)
    if precision == "int8":
        nodes = [
            helper.make_node("DynamicQuantizeLinear", ["x"], ["x8", "scale", "zero"]),
            helper.make_node("MatMulInteger", ["x8", "weights", "zero"], ["y"]),
        ]
        graph = _graph(nodes, (20 * weights).astype(np.int8), (size, size), "y", output_type=TensorProto.INT32)
    else:
        graph = _graph([helper.make_node("MatMul", ["x", "weights"], ["y"])], weights, (size, size), "y")
    with _onnx_session(graph, threads) as run:
        return _shortest_s(run)


def _torch_product_s(device: str, precision: str, size: int) -> float | None:
    """Return the seconds of a square product in torch; None where it has no such product on the device."""
    on = Device.named(device)
    if precision == "tf32" and not on.is_cpu and precision not in on.precisions:
        return None
    # Drawn where they are multiplied: of the sizes of a GPU that takes the CPU seconds.
    values = torch.randn(size, size, device=on.in_torch, generator=torch.Generator(on.in_torch).manual_seed(0))
    if precision == "int8":
        left = (values * 100).to(torch.int8)
        product: Callable[[], object] = lambda: torch._int_mm(left, left)  # noqa: E731 (torch's only int8 product)
    else:
        left = values.to(DTYPES[precision])
        product = lambda: torch.mm(left, left)  # noqa: E731

    def call() -> None:
        product()
        on.synchronize()

    with torch.inference_mode(), cudnn_precision(precision):
        try:
            return _shortest_s(call)
        except (RuntimeError, NotImplementedError):
            return None


def _tile_chain_s(precision: str, shape: Shape, steps: int, threads: int) -> float | None:
    """Return the seconds of a chain by the best tile of our kernels for a precision; None where they cannot be compiled."""
    kernel = _peak_kernel()
    if kernel is None:
        return None
    weights, start = _chain_weights(shape), _chain_start(shape)
    ways = kernel.chain_ways(precision)
    return min(_shortest_s(kernel.chain(weights, start, threads, steps, way).run) for way in ways)


def _onnx_chain_s(precision: str, shape: Shape, steps: int, threads: int) -> float:
    """Return the seconds of a chain in ONNX Runtime on the CPU."""
    graph = _int8_chain_graph(shape, steps) if precision == "int8" else _chain_graph(shape, steps)
    with _onnx_session(graph, threads) as run:
        return _shortest_s(run)


def _torch_chain_s(precision: str, shape: Shape, steps: int) -> float | None:
    """Return the seconds of a chain in torch on the CPU; None where it has no such product."""
    with torch.inference_mode():
        try:
            return _shortest_s(_torch_chain(shape, steps, torch.device("cpu"), DTYPES[precision]))
        except (RuntimeError, NotImplementedError):
            return None


def _torch_chain(shape: Shape, steps: int, device: torch.device, dtype: torch.dtype) -> Callable[[], None]:
    weights = torch.from_numpy(_chain_weights(shape)).to(device, dtype)
    states = torch.from_numpy(_chain_start(shape)).to(device, dtype)
    outputs = [torch.empty(shape.batch_size, shape.gates * shape.hidden_size, device=device, dtype=dtype) for _ in range(2)]

    def chain() -> None:
        last = states
        for step in range(steps):
            torch.mm(last, weights, out=outputs[step % 2])
            last = outputs[step % 2][:, : shape.hidden_size]

    return chain


def _device_chain_s(device: Device, precision: str, shape: Shape, steps: int) -> float:
    """Return the seconds of a chain on a GPU, replayed as a graph, where there are any: it leaves out the time to launch."""
    with torch.inference_mode(), cudnn_precision(precision):
        chain = _torch_chain(shape, steps, device.in_torch, DTYPES[precision])
        launch = device.captured(chain, calls_before=1)[0].replay if device.kind.graphs else chain

        def run() -> None:
            launch()
            device.synchronize()

        return _shortest_s(run)


def _random(rows: int, columns: int) -> Float32Array:
    return np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)


def _chain_start(shape: Shape) -> Float32Array:
    """Return the states that a chain begins with: from -1 to 1, as those of int8 must be."""
    start = _random(shape.batch_size, shape.hidden_size)
    scaled: Float32Array = start / np.abs(start).max()
    return scaled


def _chain_weights(shape: Shape) -> Float32Array:
    """Return weights whose first block is orthogonal, so that a chain neither dies out into subnormal numbers nor grows."""
    turn, _ = np.linalg.qr(_random(shape.hidden_size, shape.hidden_size))
    others = _random(shape.hidden_size, (shape.gates - 1) * shape.hidden_size)
    return np.ascontiguousarray(np.hstack([turn.astype(np.float32), others]))


def _chain_graph(shape: Shape, steps: int) -> onnx.ModelProto:
    nodes, last = [], "x"
    for step in range(steps):
        nodes.append(helper.make_node("MatMul", [last, "weights"], [f"gates{step}"]))
        nodes.append(helper.make_node("Slice", [f"gates{step}", "first", "after", "axis"], [f"state{step}"]))
        last = f"state{step}"
    indices = {"first": np.array([0]), "after": np.array([shape.hidden_size]), "axis": np.array([1])}
    return _graph(nodes, _chain_weights(shape), (shape.batch_size, shape.hidden_size), last, indices)


def _int8_chain_graph(shape: Shape, steps: int) -> onnx.ModelProto:
    """Return a chain whose states and weights are bytes: of states 127 is 1, and each product is rounded to such again.

    Weights are of seven bits, as ONNX Runtime adds two products in 16 bits, which those of eight could leave.
    """
    weights = _chain_weights(shape)
    scale = np.abs(weights).max(axis=0) / (LARGEST_BYTE // 2)
    constants: dict[str, Any] = {
        "state_scale": np.float32(1 / LARGEST_BYTE),
        "state_zero": np.uint8(ZERO_BYTE),
        "scales": scale,
        "zeros": np.zeros(len(scale), dtype=np.int8),
        "first": np.array([0]),
        "after": np.array([shape.hidden_size]),
        "axis": np.array([1]),
    }
    of_states = "state_scale", "state_zero"
    nodes, last = [helper.make_node("QuantizeLinear", ["x", *of_states], ["state"])], "state"
    for step in range(steps):
        given = [last, *of_states, "weights", "scales", "zeros", *of_states]
        nodes.append(helper.make_node("QLinearMatMul", given, [f"gates{step}"]))
        nodes.append(helper.make_node("Slice", [f"gates{step}", "first", "after", "axis"], [f"state{step}"]))
        last = f"state{step}"
    nodes.append(helper.make_node("DequantizeLinear", [last, *of_states], ["y"]))
    whole = np.rint(weights / scale).astype(np.int8)
    return _graph(nodes, whole, (shape.batch_size, shape.hidden_size), "y", constants)


def _graph(
    nodes: list[onnx.NodeProto],
    weights: npt.NDArray[Any],
    input_shape: tuple[int, int],
    output: str,
    others: dict[str, Any] | None = None,
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(weights, "weights")]
    constants += [numpy_helper.from_array(np.asarray(value), name) for name, value in (others or {}).items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, input_shape)]
    outputs = [helper.make_tensor_value_info(output, output_type, [None, None])]
    graph = helper.make_graph(nodes, "ceiling", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


@contextmanager
def _onnx_session(model: onnx.ModelProto, threads: int) -> Iterator[Callable[[], object]]:
    """Yield a call of the graph on random input."""
    options = cpu_options(threads)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {"x": _random(*session.get_inputs()[0].shape)}
    yield lambda: session.run(None, inputs)
