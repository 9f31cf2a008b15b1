"""Tests of ceilings: what they say of work, what is measured and how often, and a chain that truly is one."""

import json
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from rnncore.measure import ceilings
from rnncore.measure.ceilings import CeilingBench, Ceilings, Rate, Shape
from rnncore.measure.work import Work

SHAPE = Shape(batch_size=5, hidden_size=16, gates=3)
COPY = Rate(100.0, "copy")
TASKS = Path("/proc/self/task")
# Only for what never comes: a thread that was joined leaves the list a moment later.
DEADLINE_S = 60


def _ceilings(gemm_per_s: float | None, recurrent_per_s: float | None) -> Ceilings:
    gemm, recurrent = (None if rate is None else Rate(rate, "made") for rate in (gemm_per_s, recurrent_per_s))
    return Ceilings(gemm, recurrent, COPY)


# The ridge of 1000 operations and 100 bytes per second lies at 10 operations per byte.
@pytest.mark.parametrize(
    ("flops", "gemm_per_s", "recurrent_per_s", "bound"),
    [
        (1001, 1000.0, None, "compute"),
        (1000, 1000.0, None, "compute"),
        (999, 1000.0, None, "bandwidth"),
        (1001, 1000.0, 500.0, "compute"),
        (999, 1000.0, 500.0, "bandwidth"),
        (1001, 1000.0, 499.0, "latency"),
        (999, 1000.0, 499.0, "latency"),
        (999, 1000.0, 2000.0, "bandwidth"),
        (0, 1000.0, None, "bandwidth"),
        (0, None, None, "bandwidth"),
        (1001, None, None, None),
        (1001, None, 10.0, None),
    ],
)
def test_work_is_held_back_by_waiting_else_by_what_takes_longer(
    flops: int, gemm_per_s: float | None, recurrent_per_s: float | None, bound: str | None
) -> None:
    assert _ceilings(gemm_per_s, recurrent_per_s).bound(Work(flops=flops, bytes=100)) == bound


def test_shares_are_the_times_at_each_ceiling_over_the_time_of_the_call() -> None:
    work = Work(flops=1000, bytes=300, recurrent_flops=600)
    # 1 s at the free product; 2 s for the chained 600 and 0.4 s for the other 400; 3 s to move the bytes.
    assert _ceilings(1000.0, 300.0).shares_pct(work, seconds=8.0) == pytest.approx(
        {"gemm_ceiling_pct": 12.5, "recurrent_ceiling_pct": 30.0, "bandwidth_ceiling_pct": 37.5}
    )


def test_a_call_at_its_ceiling_reaches_all_of_it() -> None:
    work = Work(flops=1000, bytes=1, recurrent_flops=1000)
    assert _ceilings(1000.0, 300.0).shares_pct(work, seconds=1.0)["gemm_ceiling_pct"] == pytest.approx(100)
    assert _ceilings(1000.0, 300.0).shares_pct(work, seconds=1000 / 300)["recurrent_ceiling_pct"] == pytest.approx(100)
    assert _ceilings(1000.0, 300.0).shares_pct(work, seconds=0.01)["bandwidth_ceiling_pct"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("work", "gemm_per_s", "recurrent_per_s", "known"),
    [
        (Work(flops=1000, bytes=100), 1000.0, 300.0, {"gemm_ceiling_pct", "bandwidth_ceiling_pct"}),
        (Work(flops=1000, bytes=100, recurrent_flops=600), 1000.0, None, {"gemm_ceiling_pct", "bandwidth_ceiling_pct"}),
        (Work(flops=1000, bytes=100, recurrent_flops=600), None, 300.0, {"bandwidth_ceiling_pct"}),
        (Work(flops=1000, bytes=100, recurrent_flops=600), None, None, {"bandwidth_ceiling_pct"}),
        (Work(flops=0, bytes=100), 1000.0, 300.0, {"bandwidth_ceiling_pct"}),
    ],
    ids=["nothing recurrent", "no chain measured", "no product measured", "neither measured", "nothing multiplied"],
)
def test_what_does_not_apply_or_was_not_measured_has_no_share(
    work: Work, gemm_per_s: float | None, recurrent_per_s: float | None, known: set[str]
) -> None:
    shares_pct = _ceilings(gemm_per_s, recurrent_per_s).shares_pct(work, seconds=2.0)
    assert set(shares_pct) == {"gemm_ceiling_pct", "recurrent_ceiling_pct", "bandwidth_ceiling_pct"}
    assert {name for name, share_pct in shares_pct.items() if share_pct is not None} == known


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
    graph = ceilings._chain_graph(shape, steps)
    weights = _weights(graph)
    assert weights.shape == (shape.hidden_size, shape.gates * shape.hidden_size)
    start = ceilings._random(shape.batch_size, shape.hidden_size)
    state = start.astype(np.float64)
    for _ in range(steps):
        before = state
        state = (state @ weights.astype(np.float64))[:, : shape.hidden_size]
    (last,) = _session(graph).run(None, {"x": start})
    np.testing.assert_allclose(last, state, atol=1e-4)
    # The step before the last has another state: a chain that left a step out would be seen.
    assert np.abs(before - state).max() > 0.1


def test_a_long_chain_neither_dies_out_nor_grows_nor_falls_into_subnormal_numbers() -> None:
    start = ceilings._random(SHAPE.batch_size, SHAPE.hidden_size)
    for steps in (1, 45, 90):
        (state,) = _session(ceilings._chain_graph(SHAPE, steps)).run(None, {"x": start})
        np.testing.assert_allclose(np.linalg.norm(state, axis=1), np.linalg.norm(start, axis=1), rtol=1e-3)
        assert np.abs(state).min() > np.finfo(np.float32).tiny


def test_every_step_of_the_chain_follows_from_the_start() -> None:
    session = _session(ceilings._chain_graph(SHAPE, 90))
    start = ceilings._random(SHAPE.batch_size, SHAPE.hidden_size)
    moved = start.copy()
    moved[2, 3] += 1
    (last,), (moved_last,) = (session.run(None, {"x": values}) for values in (start, moved))
    # Turned, and not made smaller: the whole change of one start arrives, in that window alone.
    np.testing.assert_allclose(np.linalg.norm(moved_last - last, axis=1), [0, 0, 1, 0, 0], atol=1e-3)


def test_the_runtime_still_multiplies_at_every_step_by_the_weights_of_all_gates(tmp_path: Path) -> None:
    steps = 12
    _session(ceilings._chain_graph(SHAPE, steps), tmp_path / "optimised.onnx")
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

    monkeypatch.setattr(ceilings, "_onnx_session", session)
    monkeypatch.setattr(ceilings, "_shortest_s", lambda call: 0.5)
    rate = ceilings._chain_rate("cpu", "fp32", 1, shape)
    assert rate == Rate(steps * shape.flops / 0.5, "ONNX Runtime")
    assert sum(node.op_type == "MatMul" for node in graphs[0].graph.node) == steps


def test_a_session_of_onnx_runtime_leaves_no_thread_behind() -> None:
    if not TASKS.exists():
        pytest.skip("no list of threads on this system")
    threads = 4
    before = len(list(TASKS.iterdir()))
    with ceilings._onnx_session(ceilings._chain_graph(SHAPE, 4), threads) as run:
        run()
        assert len(list(TASKS.iterdir())) >= before + threads - 1
    del run
    deadline_s = time.monotonic() + DEADLINE_S
    while len(list(TASKS.iterdir())) > before:
        assert time.monotonic() < deadline_s, "threads of a closed session are still there"
        time.sleep(0.001)


def _measured(bench: CeilingBench, *case: Any) -> Ceilings:
    bench.measure(*case)
    return bench.of(*case)


class Counted:
    """Stand-ins for what measures: they note what they are asked for, and with how many threads torch works then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.threads: list[int] = []
        self.rates: list[float] = []
        for name, rate in (("copy", 10.0), ("gemm", 20.0), ("chain", 30.0)):
            monkeypatch.setattr(ceilings, f"_{name}_rate", self._measure(name, rate))

    def _measure(self, name: str, rate: float) -> Callable[..., Rate]:
        def measure(*args: Any, **only: str) -> Rate:
            self.asked.append((name, *args, *only.values()))
            self.threads.append(torch.get_num_threads())
            return Rate(self.rates.pop(0) if self.rates else rate, name)

        return measure


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


def test_each_ceiling_is_measured_once_where_no_time_is_left(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "SESSION_S", 0.0)
    bench = CeilingBench()
    first = _measured(bench, "cpu", "fp32", 1, SHAPE)
    assert counted.asked == [
        ("gemm", "cpu", "fp32", 1),
        ("gemm", "cpu", "bf16", 1),
        ("gemm", "cpu", "int8", 1),
        ("copy", "cpu"),
        ("chain", "cpu", "fp32", 1, SHAPE),
    ]
    counted.asked.clear()
    assert _measured(bench, "cpu", "fp32", 1, Shape(*vars(SHAPE).values())) == first
    assert counted.asked == []


def test_known_ceilings_are_measured_again_while_time_is_left_and_the_best_rate_counts(counted: Counted) -> None:
    bench = CeilingBench()
    _measured(bench, "cpu", "fp32", 1, SHAPE)
    counted.asked.clear()
    counted.rates = [25.0, 29.0]
    again = _measured(bench, "cpu", "fp32", 1, SHAPE)
    # Of the product only what was best before is tried.
    assert counted.asked == [("gemm", "cpu", "fp32", 1, "gemm"), ("chain", "cpu", "fp32", 1, SHAPE)]
    assert (again.gemm.per_s, again.recurrent.per_s) == (25.0, 30.0)
    assert bench.of("cpu", "fp32", 1, SHAPE) == again


def test_a_case_that_was_not_measured_has_no_ceilings(counted: Counted) -> None:
    with pytest.raises(KeyError):
        CeilingBench().of("cpu", "fp32", 1, SHAPE)


def test_only_what_reached_the_best_rate_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = _best(monkeypatch, {10: 0.002, 20: 0.002, 100: 0.2}, {10: 0.004, 20: 0.001, 100: 0.25})
    rate = Rate(pytest.approx(2 * 20**3 / 0.001), "ONNX Runtime, 20 x 20")
    assert ceilings._gemm_rate("cpu", "fp32", 1, only="ONNX Runtime, 20 x 20") == rate
    assert sizes == []


def test_only_what_is_not_known_yet_is_measured_for_another_case(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "SESSION_S", 0.0)
    bench = CeilingBench()
    _measured(bench, "cpu", "fp32", 1, SHAPE)
    counted.asked.clear()
    wider = Shape(5, 32, 3)
    _measured(bench, "cpu", "fp32", 1, wider)
    _measured(bench, "cpu", "int8", 1, SHAPE)
    _measured(bench, "cpu", "fp32", 1, None)
    _measured(bench, "cpu", None, 1, None)
    _measured(bench, "cpu", None, 1, SHAPE)
    assert counted.asked == [("chain", "cpu", "fp32", 1, wider), ("chain", "cpu", "int8", 1, SHAPE)]


def test_other_threads_and_another_device_have_ceilings_of_their_own(counted: Counted) -> None:
    bench = CeilingBench()
    _measured(bench, "cpu", "fp32", 1, SHAPE)
    counted.asked.clear()
    _measured(bench, "cpu", "fp32", 2, SHAPE)
    assert [asked[0] for asked in counted.asked] == ["gemm", "gemm", "gemm", "copy", "chain"]
    counted.asked.clear()
    _measured(bench, "cuda", "tf32", 1, SHAPE)
    assert [asked[2] for asked in counted.asked if asked[0] == "gemm"] == ["fp32", "tf32", "bf16", "fp16", "int8"]


def test_a_case_gets_the_ceilings_that_apply_to_it(counted: Counted) -> None:
    bench = CeilingBench()
    copy, gemm, chain = Rate(10.0, "copy"), Rate(20.0, "gemm"), Rate(30.0, "chain")
    assert _measured(bench, "cpu", "fp32", 1, SHAPE) == Ceilings(gemm, chain, copy)
    assert _measured(bench, "cpu", "fp32", 1, None) == Ceilings(gemm, None, copy)
    assert _measured(bench, "cpu", None, 1, None) == Ceilings(None, None, copy)


def test_a_precision_that_was_not_measured_has_no_ceiling_and_no_bound(counted: Counted) -> None:
    found = _measured(CeilingBench(), "cpu", "tf32", 1, None)
    assert found.gemm is None
    assert found.bound(Work(flops=1000, bytes=1)) is None


@pytest.mark.parametrize("threads", [1, 3])
def test_ceilings_are_measured_with_the_threads_of_the_case_and_threads_are_restored(threads: int, counted: Counted) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        _measured(CeilingBench(), "cpu", "fp32", threads, SHAPE)
        assert set(counted.threads) == {threads}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_are_restored_when_measuring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: str) -> Rate:
        raise MemoryError("no room for a copy")

    monkeypatch.setattr(ceilings, "_copy_rate", fail)
    before = torch.get_num_threads()
    with pytest.raises(MemoryError, match="no room for a copy"):
        _measured(CeilingBench(), "cpu", "fp32", before + 1, None)
    assert torch.get_num_threads() == before


def _best(monkeypatch: pytest.MonkeyPatch, torch_s: dict[int, float | None], onnx_s: dict[int, float]) -> list[int]:
    """Plant the seconds of products by size; return the sizes that torch is asked for, as it is asked."""
    sizes: list[int] = []

    def torch_product_s(device: str, precision: str, size: int) -> float | None:
        sizes.append(size)
        return torch_s[size]

    monkeypatch.setattr(ceilings, "_torch_product_s", torch_product_s)
    monkeypatch.setattr(ceilings, "_onnx_product_s", lambda precision, size, threads: onnx_s[size])
    monkeypatch.setattr(ceilings, "SQUARE_SIZES", {"cpu": (10, 20, 100), "cuda": (10, 20, 100)})
    return sizes


def test_the_best_product_over_sizes_and_libraries_is_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    _best(monkeypatch, {10: 0.002, 20: 0.002, 100: 0.2}, {10: 0.004, 20: 0.001, 100: 0.25})
    assert ceilings._gemm_rate("cpu", "fp32", 1) == Rate(pytest.approx(2 * 20**3 / 0.001), "ONNX Runtime, 20 x 20")
    assert ceilings._gemm_rate("cpu", "bf16", 1) == Rate(pytest.approx(2 * 100**3 / 0.2), "torch, 100 x 100")
    # ONNX Runtime is no library for a product on the GPU here.
    assert ceilings._gemm_rate("cuda", "fp32", 1) == Rate(pytest.approx(2 * 100**3 / 0.2), "torch, 100 x 100")


def test_a_product_that_would_take_long_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    # At the rate of the second size, 125 times its work would take 0.5 s.
    sizes = _best(monkeypatch, {10: 0.001, 20: 0.004, 100: 0.2}, {})
    assert ceilings._gemm_rate("cuda", "fp32", 1) == Rate(pytest.approx(2 * 20**3 / 0.004), "torch, 20 x 20")
    assert sizes == [10, 20]


def test_a_library_without_a_product_leaves_the_ceiling_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _best(monkeypatch, {10: None}, {10: 0.004, 20: 0.001, 100: 0.25})
    assert ceilings._gemm_rate("cpu", "int8", 1) == Rate(pytest.approx(2 * 20**3 / 0.001), "ONNX Runtime, 20 x 20")
    assert ceilings._gemm_rate("cpu", "bf16", 1) is None


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError])
def test_a_product_that_torch_refuses_is_none(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        raise error("not implemented for this type")

    monkeypatch.setattr(torch, "mm", refuse)
    assert ceilings._torch_product_s("cpu", "bf16", 8) is None


@pytest.mark.parametrize(("precision", "inside"), [("tf32", "high"), ("fp32", "highest"), ("bf16", "highest")])
def test_products_round_to_tf32_only_where_it_is_asked_for_and_the_setting_is_restored(
    precision: str, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(ceilings, "_shortest_s", lambda call: seen.append(torch.get_float32_matmul_precision()) or 1.0)
    before = torch.get_float32_matmul_precision()
    ceilings._torch_product_s("cpu", precision, 8)
    assert seen == [inside]
    assert torch.get_float32_matmul_precision() == before


def _calls_of(monkeypatch: pytest.MonkeyPatch, calls_s: list[float]) -> Callable[[], float]:
    """Plant a clock that calls move: each takes the next time of the list, and the last one is repeated."""
    clock = SimpleNamespace(now_s=0.0, calls=0)

    def call() -> None:
        clock.now_s += calls_s[min(clock.calls, len(calls_s) - 1)]
        clock.calls += 1

    monkeypatch.setattr(ceilings, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    monkeypatch.setattr(ceilings, "MEASURED_S", 1.0)
    monkeypatch.setattr(ceilings, "CONFIRMED_WITHIN_S", 4.0)

    def measure() -> float:
        shortest_s = ceilings._shortest_s(call)
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


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make measuring on the real machine short."""
    monkeypatch.setattr(ceilings, "MEASURED_S", 0.002)
    monkeypatch.setattr(ceilings, "SQUARE_SIZES", {"cpu": (8, 32)})
    monkeypatch.setattr(ceilings, "COPIED_BYTES", {"cpu": 1 << 20})


@pytest.mark.usefixtures("tiny")
def test_the_facts_of_a_real_session_are_json_with_positive_rates() -> None:
    bench = CeilingBench()
    found = _measured(bench, "cpu", "fp32", 1, SHAPE)
    facts = bench.facts()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert {(entry["device"], entry["precision"], entry["threads"]) for entry in facts["gemm"]} == {
        ("cpu", precision, 1) for precision in ("fp32", "bf16", "int8")
    }
    (chain,), (copy,) = facts["recurrent"], facts["copy"]
    assert (chain["batch_size"], chain["hidden_size"], chain["gates"]) == (5, 16, 3)
    assert copy["by"] == "torch, 1 MiB"
    for entry in (chain, copy, facts["gemm"][0]):
        assert math.isfinite(entry["per_s"])
        assert entry["per_s"] > 0
        assert entry["by"]
    for entry in facts["gemm"]:
        assert entry["per_s"] is None or (math.isfinite(entry["per_s"]) and entry["per_s"] > 0)
    assert facts["gemm"][0]["per_s"] == found.gemm.per_s
    assert chain["per_s"] == found.recurrent.per_s
    assert copy["per_s"] == found.copy.per_s
    assert facts["seconds"] == bench.spent_s > 0


@pytest.mark.usefixtures("tiny")
def test_a_precision_that_no_library_computes_is_null_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    mm = torch.mm

    def refuse_bf16(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        if left.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return mm(left, right)

    monkeypatch.setattr(torch, "mm", refuse_bf16)
    bench = CeilingBench()
    found = _measured(bench, "cpu", "bf16", 1, SHAPE)
    assert (found.gemm, found.recurrent) == (None, None)
    unknown = {"per_s": None, "per_s_why": "no library here computes it"}
    assert {"device": "cpu", "precision": "bf16", "threads": 1, **unknown} in bench.facts()["gemm"]
    assert bench.facts()["recurrent"] == [
        {"device": "cpu", "precision": "bf16", "threads": 1, **vars(SHAPE), **unknown},
    ]
    assert bench.facts()["gemm"][0]["per_s"] > 0


def test_the_facts_of_a_session_that_measured_nothing_are_empty() -> None:
    assert CeilingBench().facts() == {"seconds": 0.0, "gemm": [], "recurrent": [], "copy": []}
