"""What this machine can do at best, measured in the session that divides by it, with the same threads.

Three ceilings: the best square matrix product; the product of a recurrent step, (B, H) x (H, G*H), each waiting for the one
before; and copying memory. Each is the best rate seen over a short time, of the better library where there are two: noise
lies below what can be reached, so the maximum is the estimate.

G gates; the other shape letters are those of `rnncore.forecast.windows`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import cpu_threads, synchronize
from rnncore.forecast.series import Float32Array
from rnncore.measure.work import Work
from rnncore.runfile.case import Case
from rnncore.runtimes.export import OPSET
from rnncore.runtimes.onnx import cpu_options

# All ceilings of a session are to stay below 5 s. What is left of this goes into measuring the known ones again before later
# rows: a host that was busy at the first look is seen through.
SESSION_S = 4.0
# Per ceiling, size and library; longer only while the best calls do not agree, which shows that others take the machine.
MEASURED_S = 0.06
CONFIRMED_WITHIN_S = 0.2
CONFIRMING_CALLS, CONFIRMED_RATIO = 3, 1.05
# A size of which one product would take longer is not tried.
LONG_PRODUCT_S = 0.3

SQUARE_SIZES = {"cpu": (256, 1024, 2048), "cuda": (1024, 4096, 8192)}
CHAIN_STEPS = (4, 90)
CHAIN_FLOPS = 5e8
# Far larger than a last-level cache.
COPIED_BYTES = {"cpu": 128 << 20, "cuda": 1 << 30}

# A dependent product that reaches less than this part of the free one is held up by waiting, not by arithmetic.
LATENCY_BOUND_SHARE = 0.5

_DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.int8}
IR_VERSION = 9


@dataclass(frozen=True)
class Rate:
    """A ceiling.

    Attributes:
        per_s: Operations or bytes per second.
        by: What reached it.
    """

    per_s: float
    by: str


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


@dataclass(frozen=True)
class Ceilings:
    """The ceilings that one case is held against; None where one does not apply or was not measured.

    Attributes:
        gemm: Best square product in the precision of the case, operations per second.
        recurrent: Best chain of its recurrent steps, operations per second.
        copy: Bytes read and written per second.
    """

    gemm: Rate | None
    recurrent: Rate | None
    copy: Rate

    def bound(self, work: Work) -> str | None:
        """Name what holds back work of this kind on this machine, whatever runs it.

        Returns:
            `latency` where even the bare chain of recurrent products reaches less than half of the free product's rate;
            else `compute` or `bandwidth`, whichever takes longer at its ceiling. None where no product was measured.
        """
        if work.flops == 0:
            return "bandwidth"
        if self.gemm is None:
            return None
        if self.recurrent and self.recurrent.per_s < LATENCY_BOUND_SHARE * self.gemm.per_s:
            return "latency"
        return "compute" if work.flops / self.gemm.per_s >= work.bytes / self.copy.per_s else "bandwidth"

    def shares_pct(self, work: Work, seconds: float) -> dict[str, float | None]:
        """Return how much of each ceiling a call reaches, by the names that `extra_info` carries.

        The recurrent ceiling is the time that the chained products take at their rate and all others at the free
        product's, over the time of the call; without recurrent steps there is none.
        """
        gemm_s = work.flops / self.gemm.per_s if self.gemm and work.flops else None
        chain_s = None
        if self.gemm and self.recurrent and work.recurrent_flops:
            chain_s = work.recurrent_flops / self.recurrent.per_s
            chain_s += (work.flops - work.recurrent_flops) / self.gemm.per_s
        return {
            "gemm_ceiling_pct": gemm_s and 100 * gemm_s / seconds,
            "recurrent_ceiling_pct": chain_s and 100 * chain_s / seconds,
            "bandwidth_ceiling_pct": 100 * work.bytes / self.copy.per_s / seconds,
        }


class CeilingBench:
    """Measure ceilings as they are asked for, while no runtime is open, and keep the best of each."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._gemm: dict[tuple[str, str, int], Rate | None] = {}
        self._chain: dict[tuple[str, str, int, Shape], Rate | None] = {}
        self._copy: dict[tuple[str, int], Rate] = {}

    def measure(self, device: str, precision: str | None, threads: int, shape: Shape | None) -> None:
        """Measure the ceilings of a case that are not known yet, and while time is left those that are.

        Args:
            device: `cpu` or `cuda`.
            precision: What the products are computed in; None where there are none.
            threads: CPU threads.
            shape: Of the recurrent step; None where nothing is recurrent.
        """
        began_s = time.perf_counter()
        with cpu_threads(threads):
            known = self._gemm.get((device, precision, threads)) if precision else None
            if known and precision and self.spent_s < SESSION_S:
                again = _gemm_rate(device, precision, threads, only=known.by)
                self._gemm[device, precision, threads] = _better(known, again)
            if (device, threads) not in self._copy:
                for dtype in _DTYPES if device == "cuda" else ("fp32", "bf16", "int8"):
                    self._gemm[device, dtype, threads] = _gemm_rate(device, dtype, threads)
                self._copy[device, threads] = _copy_rate(device)
            if shape and precision:
                key = (device, precision, threads, shape)
                if key not in self._chain or self.spent_s < SESSION_S:
                    self._chain[key] = _better(self._chain.get(key), _chain_rate(device, precision, threads, shape))
        self.spent_s += time.perf_counter() - began_s

    def of(self, device: str, precision: str | None, threads: int, shape: Shape | None) -> Ceilings:
        """Return the best rates that `measure` has seen for such a case.

        Raises:
            KeyError: If it was not measured.
        """
        gemm = self._gemm.get((device, precision, threads)) if precision else None
        chain = self._chain[device, precision, threads, shape] if shape and precision else None
        return Ceilings(gemm, chain, self._copy[device, threads])

    def facts(self) -> dict[str, Any]:
        """Return all that was measured, as JSON values: rates in operations or bytes per second."""
        return {
            "seconds": self.spent_s,
            "gemm": [
                {"device": device, "precision": precision, "threads": threads, **_rate_facts(rate)}
                for (device, precision, threads), rate in self._gemm.items()
            ],
            "recurrent": [
                {"device": device, "precision": precision, "threads": threads, **asdict(shape), **_rate_facts(rate)}
                for (device, precision, threads, shape), rate in self._chain.items()
            ],
            "copy": [
                {"device": device, "threads": threads, **_rate_facts(rate)} for (device, threads), rate in self._copy.items()
            ],
        }


def _better(one: Rate | None, other: Rate | None) -> Rate | None:
    return max((rate for rate in (one, other) if rate), key=lambda rate: rate.per_s, default=None)


def _rate_facts(rate: Rate | None) -> dict[str, Any]:
    if rate is None:
        return {"per_s": None, "per_s_why": "no library here computes it"}
    return asdict(rate)


@contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


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


def _gemm_rate(device: str, precision: str, threads: int, only: str | None = None) -> Rate | None:
    """Return the best rate of a square product over sizes and libraries; None where no library has one.

    Args:
        device: `cpu` or `cuda`.
        precision: What to compute in.
        threads: CPU threads.
        only: Try nothing but what reached the best rate before: its `Rate.by`.
    """
    libraries: dict[str, Callable[[int], float | None]] = {"torch": lambda size: _torch_product_s(device, precision, size)}
    if device == "cpu" and precision in ("fp32", "int8"):
        libraries["ONNX Runtime"] = lambda size: _onnx_product_s(precision, size, threads)
    best = None
    for library, product_s in libraries.items():
        per_flop_s = 0.0
        for size in SQUARE_SIZES[device]:
            by = f"{library}, {size} x {size}"
            if only not in (None, by):
                continue
            if 2 * size**3 * per_flop_s > LONG_PRODUCT_S or (seconds := product_s(size)) is None:
                break
            per_flop_s = seconds / (2 * size**3)
            best = _better(best, Rate(1 / per_flop_s, by))
    return best


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
    on = torch.device(device)
    values = torch.from_numpy(_random(size, size))
    if precision == "int8":
        left = (values * 100).to(on, torch.int8)
        product: Callable[[], object] = lambda: torch._int_mm(left, left)  # noqa: E731 (torch's only int8 product)
    else:
        left = values.to(on, _DTYPES[precision])
        product = lambda: torch.mm(left, left)  # noqa: E731

    def call() -> None:
        product()
        synchronize(on)

    with torch.inference_mode(), _matmul_precision(precision):
        try:
            return _shortest_s(call)
        except (RuntimeError, NotImplementedError):
            return None


def _chain_rate(device: str, precision: str, threads: int, shape: Shape) -> Rate | None:
    """Return the best rate of recurrent products, each of which needs the one before; None in other precisions."""
    steps = int(min(max(CHAIN_FLOPS / shape.flops, CHAIN_STEPS[0]), CHAIN_STEPS[1]))
    if device == "cpu" and precision == "fp32":
        with _onnx_session(_chain_graph(shape, steps), threads) as run:
            return Rate(steps * shape.flops / _shortest_s(run), "ONNX Runtime")
    if device == "cuda" and precision in ("fp32", "tf32", "bf16"):
        return Rate(steps * shape.flops / _cuda_chain_s(precision, shape, steps), "torch, CUDA graph")
    return None


def _cuda_chain_s(precision: str, shape: Shape, steps: int) -> float:
    """Return the seconds of a chain replayed as a CUDA graph, which leaves out the time to launch each product."""
    dtype = _DTYPES[precision]
    weights = torch.from_numpy(_chain_weights(shape)).to("cuda", dtype)
    states = torch.from_numpy(_random(shape.batch_size, shape.hidden_size)).to("cuda", dtype)
    outputs = [torch.empty(shape.batch_size, shape.gates * shape.hidden_size, device="cuda", dtype=dtype) for _ in range(2)]

    def chain() -> None:
        last = states
        for step in range(steps):
            torch.mm(last, weights, out=outputs[step % 2])
            last = outputs[step % 2][:, : shape.hidden_size]

    with torch.inference_mode(), _matmul_precision(precision):
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(side):
            chain()
        side.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            chain()

        def replay() -> None:
            graph.replay()
            torch.cuda.synchronize()

        return _shortest_s(replay)


def _copy_rate(device: str) -> Rate:
    source = torch.ones(COPIED_BYTES[device] // 4, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        synchronize(source.device)

    return Rate(2 * COPIED_BYTES[device] / _shortest_s(copy), f"torch, {COPIED_BYTES[device] >> 20} MiB")


def _random(rows: int, columns: int) -> Float32Array:
    return np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)


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
    indices = {"first": 0, "after": shape.hidden_size, "axis": 1}
    return _graph(nodes, _chain_weights(shape), (shape.batch_size, shape.hidden_size), last, indices)


def _graph(
    nodes: list[onnx.NodeProto],
    weights: npt.NDArray[Any],
    input_shape: tuple[int, int],
    output: str,
    indices: dict[str, int] | None = None,
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(weights, "weights")]
    constants += [numpy_helper.from_array(np.array([value]), name) for name, value in (indices or {}).items()]
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
