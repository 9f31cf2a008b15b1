"""Tests of rates: products, copies and calls by a planted clock, and a chain that truly is one."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from rnncore.errors import Unavailable
from rnncore.kernels.peak import Way
from rnncore.measure import rates
from rnncore.measure.rates import Rate, Shape
from rnncore.runfile.case import Case

SHAPE = Shape(batch_size=5, hidden_size=16, gates=3)
TASKS = Path("/proc/self/task")
# Only for what never comes: a thread that was joined leaves the list a moment later.
DEADLINE_S = 60


@pytest.mark.parametrize("shape", [Shape(1, 8, 3), Shape(5, 16, 4), Shape(7, 6, 3)])
def test_a_step_of_a_shape_does_the_operations_of_its_loops(shape: Shape) -> None:
    multiply_adds = 0
    for _window in range(shape.batch_size):
        for _gate_unit in range(shape.gates * shape.hidden_size):
            multiply_adds += shape.hidden_size
    assert shape.flops == 2 * multiply_adds == 2 * shape.batch_size * shape.hidden_size * shape.gates * shape.hidden_size


def _session(graph: onnx.ModelProto, optimised: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = str(optimised)
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _weights(graph: onnx.ModelProto) -> np.ndarray:
    (weights,) = (tensor for tensor in graph.graph.initializer if tensor.name == "weights")
    return numpy_helper.to_array(weights)


@pytest.mark.parametrize("steps", [1, 2, 4, 90])
@pytest.mark.parametrize("shape", [SHAPE, Shape(1, 64, 4)])
def test_the_chain_gives_the_last_state_of_a_naive_product_of_every_step(shape: Shape, steps: int) -> None:
    graph = rates._chain_graph(shape, steps)
    weights = _weights(graph)
    assert weights.shape == (shape.hidden_size, shape.gates * shape.hidden_size)
    start = rates._random(shape.batch_size, shape.hidden_size)
    state = start.astype(np.float64)
    for _ in range(steps):
        before = state
        state = (state @ weights.astype(np.float64))[:, : shape.hidden_size]
    (last,) = _session(graph).run(None, {"x": start})
    np.testing.assert_allclose(last, state, atol=1e-4)
    # The step before the last has another state: a chain that left a step out would be seen.
    assert np.abs(before - state).max() > 0.1


def test_a_long_chain_neither_dies_out_nor_grows_nor_falls_into_subnormal_numbers() -> None:
    start = rates._random(SHAPE.batch_size, SHAPE.hidden_size)
    for steps in (1, 45, 90):
        (state,) = _session(rates._chain_graph(SHAPE, steps)).run(None, {"x": start})
        np.testing.assert_allclose(np.linalg.norm(state, axis=1), np.linalg.norm(start, axis=1), rtol=1e-3)
        assert np.abs(state).min() > np.finfo(np.float32).tiny


def test_every_step_of_the_chain_follows_from_the_start() -> None:
    session = _session(rates._chain_graph(SHAPE, 90))
    start = rates._random(SHAPE.batch_size, SHAPE.hidden_size)
    moved = start.copy()
    moved[2, 3] += 1
    (last,), (moved_last,) = (session.run(None, {"x": values}) for values in (start, moved))
    # Turned, and not made smaller: the whole change of one start arrives, in that window alone.
    np.testing.assert_allclose(np.linalg.norm(moved_last - last, axis=1), [0, 0, 1, 0, 0], atol=1e-3)


def test_the_runtime_still_multiplies_at_every_step_by_the_weights_of_all_gates(tmp_path: Path) -> None:
    steps = 12
    _session(rates._chain_graph(SHAPE, steps), tmp_path / "optimised.onnx")
    optimised = onnx.load(tmp_path / "optimised.onnx").graph
    products = [node for node in optimised.node if node.op_type in ("MatMul", "Gemm", "FusedMatMul")]
    assert len(products) == steps
    sizes = {tensor.name: list(tensor.dims) for tensor in optimised.initializer}
    assert [sizes[node.input[1]] for node in products] == [[SHAPE.hidden_size, SHAPE.gates * SHAPE.hidden_size]] * steps


@pytest.mark.parametrize(
    ("shape", "steps"),
    [(Shape(1, 8, 3), 90), (Shape(64, 256, 3), 19), (Shape(1024, 256, 4), 4)],
    ids=["short steps", "between", "long steps"],
)
def test_the_rate_of_a_chain_is_the_work_of_all_its_steps_over_the_time(shape: Shape, steps: int, monkeypatch) -> None:
    graphs: list[onnx.ModelProto] = []

    def session(graph: onnx.ModelProto, threads: int) -> Any:
        graphs.append(graph)
        return nullcontext(lambda: None)

    monkeypatch.setattr(rates, "_onnx_session", session)
    monkeypatch.setattr(rates, "_shortest_s", lambda call: 0.5)
    monkeypatch.setattr(rates, "_torch_chain_s", lambda *_: 0.6)
    monkeypatch.setattr(rates, "_tile_chain_s", lambda *_: None)
    rate = rates.chain_rate("cpu", "fp32", 1, shape)
    assert rate == Rate(steps * shape.flops / 0.5, "ONNX Runtime")
    assert sum(node.op_type == "MatMul" for node in graphs[0].graph.node) == steps


def test_a_session_of_onnx_runtime_leaves_no_thread_behind() -> None:
    if not TASKS.exists():
        pytest.skip("no list of threads on this system")
    threads = 4
    before = len(list(TASKS.iterdir()))
    with rates._onnx_session(rates._chain_graph(SHAPE, 4), threads) as run:
        run()
        assert len(list(TASKS.iterdir())) >= before + threads - 1
    del run
    deadline_s = time.monotonic() + DEADLINE_S
    while len(list(TASKS.iterdir())) > before:
        assert time.monotonic() < deadline_s, "threads of a closed session are still there"
        time.sleep(0.001)


def test_only_what_reached_the_best_rate_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = _best(monkeypatch, {10: 0.002, 20: 0.002, 100: 0.2}, {10: 0.004, 20: 0.001, 100: 0.25})
    rate = Rate(pytest.approx(2 * 20**3 / 0.001), "ONNX Runtime, 20 x 20")
    assert rates.gemm_rate("cpu", "fp32", 1, only=("ONNX Runtime, 20 x 20",)) == rate
    assert sizes == []


def _best(monkeypatch: pytest.MonkeyPatch, torch_s: dict[int, float | None], onnx_s: dict[int, float]) -> list[int]:
    """Plant the seconds of products by size; return the sizes that torch is asked for, as it is asked."""
    sizes: list[int] = []

    def torch_product_s(device: str, precision: str, size: int) -> float | None:
        sizes.append(size)
        return torch_s[size]

    monkeypatch.setattr(rates, "_torch_product_s", torch_product_s)
    monkeypatch.setattr(rates, "_onnx_product_s", lambda precision, size, threads: onnx_s[size])
    monkeypatch.setattr(rates, "SQUARE_SIZES", {"cpu": (10, 20, 100), "gpu": (10, 20, 100)})
    return sizes


def test_the_best_product_over_sizes_and_libraries_is_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    _best(monkeypatch, {10: 0.002, 20: 0.002, 100: 0.2}, {10: 0.004, 20: 0.001, 100: 0.25})
    assert rates.gemm_rate("cpu", "fp32", 1) == Rate(pytest.approx(2 * 20**3 / 0.001), "ONNX Runtime, 20 x 20")
    assert rates.gemm_rate("cpu", "bf16", 1) == Rate(pytest.approx(2 * 100**3 / 0.2), "torch, 100 x 100")
    # ONNX Runtime is no library for a product on the GPU here.
    assert rates.gemm_rate("cuda", "fp32", 1) == Rate(pytest.approx(2 * 100**3 / 0.2), "torch, 100 x 100")


def test_a_product_that_would_take_long_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    # At the rate of the second size, 125 times its work would take 0.5 s.
    sizes = _best(monkeypatch, {10: 0.001, 20: 0.004, 100: 0.2}, {})
    assert rates.gemm_rate("cuda", "fp32", 1) == Rate(pytest.approx(2 * 20**3 / 0.004), "torch, 20 x 20")
    assert sizes == [10, 20]


def test_a_library_without_a_product_leaves_the_ceiling_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _best(monkeypatch, {10: None}, {10: 0.004, 20: 0.001, 100: 0.25})
    assert rates.gemm_rate("cpu", "int8", 1) == Rate(pytest.approx(2 * 20**3 / 0.001), "ONNX Runtime, 20 x 20")
    assert rates.gemm_rate("cpu", "bf16", 1) is None


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_a_product_that_torch_refuses_is_none(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        raise error("not implemented for this type")

    monkeypatch.setattr(torch, "mm", refuse)
    assert rates._torch_product_s("cpu", "bf16", 8) is None


@pytest.mark.parametrize(("precision", "inside"), [("tf32", "tf32"), ("fp32", "ieee"), ("bf16", "ieee")])
def test_products_round_to_tf32_only_where_it_is_asked_for_and_the_setting_is_restored(
    precision: str, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    matmul = torch.backends.cuda.matmul
    monkeypatch.setattr(rates, "_shortest_s", lambda call: seen.append(matmul.fp32_precision) or 1.0)
    before = matmul.fp32_precision
    rates._torch_product_s("cpu", precision, 8)
    assert seen == [inside]
    assert matmul.fp32_precision == before


def _calls_of(monkeypatch: pytest.MonkeyPatch, calls_s: list[float]) -> Callable[[], float]:
    """Plant a clock that calls move: each takes the next time of the list, and the last one is repeated."""
    clock = SimpleNamespace(now_s=0.0, calls=0)

    def call() -> None:
        clock.now_s += calls_s[min(clock.calls, len(calls_s) - 1)]
        clock.calls += 1

    monkeypatch.setattr(rates, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    monkeypatch.setattr(rates, "MEASURED_S", 1.0)
    monkeypatch.setattr(rates, "CONFIRMED_WITHIN_S", 4.0)

    def measure() -> float:
        shortest_s = rates._shortest_s(call)
        measure.calls, measure.seconds = clock.calls, clock.now_s  # type: ignore[attr-defined]
        return shortest_s

    return measure


def test_the_shortest_call_counts_and_the_first_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = _calls_of(monkeypatch, [0.125, 0.5, 0.25, 0.25, 0.25, 0.75])
    assert measure() == 0.25


def test_calls_that_agree_end_the_measurement_and_calls_that_do_not_prolong_it(monkeypatch: pytest.MonkeyPatch) -> None:
    agreeing = _calls_of(monkeypatch, [0.25])
    assert agreeing() == 0.25
    assert agreeing.seconds == 0.25 + 1.0
    # Each is an eighth longer than the one before, so no three are close.
    differing = _calls_of(monkeypatch, [0.25 * 1.125**index for index in range(40)])
    assert differing() == pytest.approx(0.25 * 1.125)
    assert differing.seconds >= 0.25 + 4.0


def test_a_call_longer_than_the_measurement_is_still_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _calls_of(monkeypatch, [9.0])() == 9.0


# ------------------------------------------------------------------------------------------ by our own kernel of peaks


@pytest.mark.parametrize(
    ("quickest", "only"), [("rnncore", None), ("ONNX Runtime", None), ("torch", None), ("torch", ["rnncore", "torch"])]
)
def test_the_best_chain_counts_whoever_computes_it(
    quickest: str, only: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, asked = {"_tile_chain_s": "rnncore", "_onnx_chain_s": "ONNX Runtime", "_torch_chain_s": "torch"}, []

    def chain_s(library: str) -> float:
        asked.append(library)
        return 0.25 if library == quickest else 0.5

    for function, library in names.items():
        monkeypatch.setattr(rates, function, lambda *_, library=library: chain_s(library))
    assert rates.chain_rate("cpu", "fp32", 1, SHAPE, only) == Rate(90 * SHAPE.flops / 0.25, quickest)
    assert asked == (only or list(names.values()))


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
@pytest.mark.parametrize("batch_size", [1, 1 << 20])
def test_a_chain_on_a_gpu_is_long_enough_that_starting_it_is_nothing(
    precision: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = Shape(batch_size, 256, 3)
    monkeypatch.setattr(rates, "_device_chain_s", lambda device, precision, shape, steps: 0.5)
    assert rates.chain_rate("cuda", precision, 1, shape) == Rate(90 * shape.flops / 0.5, "torch, CUDA graph")


@pytest.mark.parametrize("precision", ["tf32", "fp64"])
def test_a_chain_in_a_precision_that_no_runtime_has_on_a_cpu_has_no_rate(precision: str) -> None:
    assert rates.chain_rate("cpu", precision, 1, SHAPE) is None


@pytest.mark.parametrize(
    ("precision", "libraries"),
    [("fp32", ["rnncore", "ONNX Runtime", "torch"]), ("bf16", ["rnncore", "torch"]), ("int8", ["rnncore", "ONNX Runtime"])],
)
def test_the_chain_of_each_precision_is_ours_beside_those_of_libraries(
    precision: str, libraries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def plant(function: str, library: str) -> None:
        monkeypatch.setattr(rates, function, lambda given, *_: asked.append((library, given)) or 0.5)

    for function, library in (("_tile_chain_s", "rnncore"), ("_onnx_chain_s", "ONNX Runtime"), ("_torch_chain_s", "torch")):
        plant(function, library)
    assert rates.chain_rate("cpu", precision, 1, SHAPE) == Rate(90 * SHAPE.flops / 0.5, "rnncore")
    assert asked == [(library, precision) for library in libraries]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_our_chain_is_timed_in_the_precision_by_each_of_its_ways(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, ...]] = []
    times_s = iter([0.5, 0.25])
    kernel = SimpleNamespace(
        chain_ways=lambda precision: (f"{precision} by pairs", f"{precision} by tiles"),
        chain=lambda weights, start, *given: (
            made.append((*weights.shape, *start.shape, *given)) or SimpleNamespace(run=None)
        ),
    )
    monkeypatch.setattr(rates, "_peak_kernel", lambda: kernel)
    monkeypatch.setattr(rates, "_shortest_s", lambda run: next(times_s))
    assert rates._tile_chain_s(precision, SHAPE, 7, 2) == 0.25
    assert made == [(16, 48, 5, 16, 2, 7, f"{precision} by {way}") for way in ("pairs", "tiles")]


@pytest.mark.parametrize("steps", [1, 4])
def test_the_chain_of_bytes_gives_the_states_of_a_naive_product_of_every_step(steps: int) -> None:
    graph = rates._int8_chain_graph(SHAPE, steps)
    weights, start = rates._chain_weights(SHAPE)[:, : SHAPE.hidden_size].astype(np.float64), rates._chain_start(SHAPE)
    scale = np.abs(weights).max(axis=0) / 63
    state = np.rint(start.astype(np.float64) * 127)
    for _ in range(steps):
        before = state
        state = np.rint(state @ np.rint(weights / scale) * scale).clip(-128, 127)
    (last,) = _session(graph).run(None, {"x": start})
    # What lies between two whole numbers may become either, at each step.
    np.testing.assert_allclose(127 * last, state, atol=1.01 * steps)
    assert np.abs(state - before).max() > 20


def test_states_of_a_chain_begin_between_minus_one_and_one() -> None:
    assert np.abs(rates._chain_start(SHAPE)).max() == 1


def test_a_later_look_keeps_the_higher_rate_and_what_all_saw() -> None:
    first = Rate(20.0, "torch")
    assert rates.seen_again(first, None) == first == first.at_median
    second = rates.seen_again(first, Rate(30.0, "rnncore"))
    assert second == Rate(30.0, "rnncore", (20.0, 30.0))
    third = rates.seen_again(second, Rate(25.0, "rnncore"))
    assert third == Rate(30.0, "rnncore", (20.0, 30.0, 25.0))
    assert third.at_median == Rate(25.0, "rnncore", (20.0, 30.0, 25.0))


def test_the_chain_of_torch_takes_every_step_from_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    start, weights = rates._chain_start(SHAPE), rates._chain_weights(SHAPE)
    seen: list[np.ndarray] = []

    def product(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        seen.append(left.numpy().copy())
        return out.copy_(left @ right)

    monkeypatch.setattr(torch, "mm", product)
    rates._torch_chain(SHAPE, 3, "cpu", torch.float32)()
    state = start.astype(np.float64)
    for taken in seen:
        np.testing.assert_allclose(taken, state, atol=1e-5)
        state = (state @ weights)[:, : SHAPE.hidden_size]
    assert len(seen) == 3


def _planted_ways(monkeypatch: pytest.MonkeyPatch, *ways: Way) -> list[str]:
    """Plant a kernel with these ways, each of which takes a second a round; return the names of those that are timed."""
    timed: list[str] = []

    def repeat_s(repeat: Any, fewest: int) -> float:
        timed.append(repeat.args[0].name)
        assert (repeat.args[1:], fewest) == ((2,), 2)
        return 1.0

    monkeypatch.setattr(rates, "_peak_kernel", lambda: SimpleNamespace(ways=ways, multiply_adds=lambda *_: None))
    monkeypatch.setattr(rates, "_repeat_s", repeat_s)
    return timed


WAYS = (Way(0, "fp32", "wide", 64), Way(1, "fp32", "narrow", 32), Way(2, "bf16", "pairs", 48), Way(3, "int8", "fours", 256))


@pytest.mark.parametrize(
    ("precision", "only", "rate", "timed"),
    [
        ("fp32", None, Rate(64.0, "wide"), ["wide", "narrow"]),
        ("fp32", ("narrow",), Rate(32.0, "narrow"), ["narrow"]),
        # What has no quicker instructions of its own is computed by those of fp32.
        ("bf16", None, Rate(64.0, "wide"), ["wide", "narrow", "pairs"]),
        ("int8", None, Rate(256.0, "fours"), ["wide", "narrow", "fours"]),
        ("fp64", None, None, []),
        ("tf32", None, None, []),
    ],
)
def test_the_peak_of_a_precision_is_that_of_its_instructions_or_of_those_of_fp32(
    precision: str, only: tuple[str] | None, rate: Rate | None, timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _planted_ways(monkeypatch, *WAYS)
    assert rates.peak_rate("cpu", precision, 2, only) == rate
    assert seen == timed
    assert rates.peak_rate("cuda", precision, 2, only) is None


def test_reading_is_timed_with_and_without_prefetches_and_the_better_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    memories: list[np.ndarray] = []

    def repeat_s(repeat: Any, fewest: int) -> float:
        memory, threads, prefetches = repeat.args
        memories.append(memory)
        assert (threads, fewest) == (3, 1)
        return 0.5 if prefetches else 1.0

    monkeypatch.setattr(rates, "_peak_kernel", lambda: SimpleNamespace(read_memory=lambda *_: None))
    monkeypatch.setattr(rates, "_repeat_s", repeat_s)
    # 1000 bytes lie on 16 lines.
    assert rates.read_rate("cpu", 3, 1000) == Rate(16 * 64 / 0.5, "loads with prefetches")
    assert [(memory.nbytes, memory.min()) for memory in memories] == [(16 * 64, 1)] * 2
    assert rates.read_rate("cpu", 3, 1000, only=("loads",)) == Rate(16 * 64 / 1.0, "loads")
    assert rates.read_rate("cuda", 3, 1000) is None


def test_without_the_kernel_there_is_no_peak_and_no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise Unavailable("no compiler")

    monkeypatch.setattr(rates, "peak_kernel", refuse)
    assert rates.peak_rate("cpu", "fp32", 1) is None
    assert rates.read_rate("cpu", 1, 4096) is None
    assert rates._tile_chain_s("fp32", SHAPE, 4, 1) is None


def test_a_repeated_call_is_as_long_as_was_asked_for_and_its_time_is_of_one_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now_s=0.0, times=[])

    def repeat(times: int) -> None:
        clock.times.append(times)
        clock.now_s += 0.001 * times

    monkeypatch.setattr(rates, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    monkeypatch.setattr(rates, "PEAK_CALL_S", 0.02)
    assert rates._repeat_s(repeat, 3) == pytest.approx(0.001)
    assert clock.times[:3] == [6, 12, 24]
    assert set(clock.times[3:]) == {24}


@pytest.mark.parametrize(
    ("changed", "weights"),
    [
        ({}, 3 * 8**2),
        ({"cell": "lstm"}, 4 * 8**2),
        ({"phase": "train"}, 3 * 8**2),
        # All layers at every call: recurrent weights of two, and those of the second's inputs.
        ({"phase": "stream"}, 3 * 3 * 8**2),
        ({"phase": "stream", "num_layers": 1}, 3 * 8**2),
    ],
)
@pytest.mark.parametrize(("precision", "weight_bytes"), [("fp32", 4), ("bf16", 2), ("amp_bf16", 2), ("int8", 1)])
def test_the_weights_that_go_round_are_those_of_a_layer_or_in_a_stream_of_all(
    changed: dict[str, Any], weights: int, precision: str, weight_bytes: int
) -> None:
    case = Case("infer", "gru", hidden_size=8, num_layers=2, batch_size=4, precision=precision)
    assert rates.read_bytes(replace(case, **changed)) == weights * weight_bytes


@pytest.mark.parametrize("changed", [{"device": "cuda"}, {"cell": "own"}, {"hidden_size": None}, {"precision": "fp64"}])
def test_weights_of_unknown_size_or_place_have_no_bytes(changed: dict[str, Any]) -> None:
    assert rates.read_bytes(replace(Case("infer", "gru", hidden_size=8, num_layers=2, batch_size=4), **changed)) is None
