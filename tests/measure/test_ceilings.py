"""Tests of ceilings: what they say of work, what is measured, and how often."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rnncore.measure import ceilings, rates
from rnncore.measure.ceilings import CeilingBench, Ceilings
from rnncore.measure.rates import Rate, Shape
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
            monkeypatch.setattr(rates, f"{name}_rate", self._measure(name, rate))

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

    monkeypatch.setattr(rates, "copy_rate", fail)
    before = torch.get_num_threads()
    with pytest.raises(MemoryError, match="no room for a copy"):
        _measured(CeilingBench(), "cpu", "fp32", before + 1, None)
    assert torch.get_num_threads() == before


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make measuring on the real machine short."""
    monkeypatch.setattr(rates, "MEASURED_S", 0.002)
    monkeypatch.setattr(rates, "SQUARE_SIZES", {"cpu": (8, 32)})
    monkeypatch.setattr(rates, "COPIED_BYTES", {"cpu": 1 << 20})


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
