"""Tests of ceilings: what they say of work, what is measured, and how often."""

import itertools
import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
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


def _ceilings(gemm_per_s: float | None, recurrent_per_s: float | None, read_per_s: float | None = None) -> Ceilings:
    per_s = gemm_per_s, recurrent_per_s, read_per_s
    gemm, recurrent, read = (None if rate is None else Rate(rate, "made") for rate in per_s)
    return Ceilings(gemm, recurrent, COPY, read)


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
    work = Work(flops=1000, bytes=300, recurrent_flops=600, weights_read=50)
    # 1 s at the free product; 2 s for the chained 600 and 0.4 s for the other 400; 2 s to read 50 weights of 4 bytes; 3 s to
    # move the bytes.
    assert _ceilings(1000.0, 300.0, read_per_s=100.0).shares_pct(work, seconds=8.0) == pytest.approx(
        {"gemm_ceiling_pct": 12.5, "recurrent_ceiling_pct": 30.0, "cache_ceiling_pct": 25.0, "bandwidth_ceiling_pct": 37.5}
    )


def test_weights_of_fewer_bytes_are_read_in_less_time() -> None:
    work = Work(flops=1000, bytes=300, weights_read=50)
    ceilings = Ceilings(None, None, COPY, Rate(100.0, "made"), weight_bytes=1)
    assert ceilings.shares_pct(work, seconds=1.0)["cache_ceiling_pct"] == pytest.approx(50)


# The chain takes 2 s for 600 operations; 25 weights are 100 bytes, read in 1 s at 100 bytes per second.
@pytest.mark.parametrize(
    ("weights_read", "read_per_s", "bound"),
    [(25, 100.0, "cache"), (25, 101.0, "latency"), (24, 100.0, "latency"), (0, 100.0, "latency"), (25, None, "latency")],
)
def test_a_chain_half_of_whose_time_goes_into_reading_weights_is_held_back_by_that(
    weights_read: int, read_per_s: float | None, bound: str
) -> None:
    work = Work(flops=1000, bytes=100, recurrent_flops=600, weights_read=weights_read)
    assert _ceilings(1000.0, 300.0, read_per_s).bound(work) == bound


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
    assert set(shares_pct) == {f"{name}_ceiling_pct" for name in ("gemm", "recurrent", "cache", "bandwidth")}
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
        for name, rate in (("copy", 10.0), ("gemm", 20.0), ("peak", 15.0), ("chain", 30.0), ("read", 40.0)):
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
    monkeypatch.setattr(ceilings, "AGAIN_SHARE", 0.0)
    bench = CeilingBench()
    first = _measured(bench, "cpu", "fp32", 1, SHAPE)
    assert counted.asked == [
        *((kind, "cpu", precision, 1) for precision in ("fp32", "bf16", "int8") for kind in ("gemm", "peak")),
        ("copy", "cpu"),
        ("chain", "cpu", "fp32", 1, SHAPE),
    ]
    counted.asked.clear()
    assert _measured(bench, "cpu", "fp32", 1, Shape(*vars(SHAPE).values())) == first
    assert counted.asked == []


@pytest.fixture
def always_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at every known ceiling, however little time the session has taken."""
    monkeypatch.setattr(ceilings, "AGAIN_SHARE", math.inf)


@pytest.mark.usefixtures("always_again")
def test_known_ceilings_are_measured_again_and_the_best_rate_counts(counted: Counted) -> None:
    bench = CeilingBench()
    _measured(bench, "cpu", "fp32", 1, SHAPE)
    counted.asked.clear()
    counted.rates = [25.0, 29.0]
    again = _measured(bench, "cpu", "fp32", 1, SHAPE)
    # Only what was best before is tried, and ours.
    assert counted.asked == [
        ("gemm", "cpu", "fp32", 1, ("gemm", "rnncore")),
        ("chain", "cpu", "fp32", 1, SHAPE, ("chain", "rnncore")),
    ]
    assert (again.gemm, again.recurrent) == (Rate(25.0, "gemm", (20.0, 25.0)), Rate(30.0, "chain", (30.0, 29.0)))
    assert bench.of("cpu", "fp32", 1, SHAPE) == again
    assert bench.facts()["recurrent"][0] | vars(SHAPE) == {
        **{"device": "cpu", "precision": "fp32", "threads": 1, "by": "chain"},
        **{"per_s": 30.0, "lowest_per_s": 29.0, "looks": 2},
        **vars(SHAPE),
    }


def test_looks_at_known_ceilings_are_spread_over_the_session(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """They take two hundredths of its time, early and late: as many in its second half as in its first."""
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(ceilings, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    true_chain_rate = rates.chain_rate

    def chain_rate(*args: Any, **only: Any) -> Rate | None:
        clock.now_s += 0.25
        return true_chain_rate(*args, **only)

    monkeypatch.setattr(rates, "chain_rate", chain_rate)
    bench, looked_s = CeilingBench(), []
    while clock.now_s < 400:
        counted.asked.clear()
        bench.measure("cpu", "fp32", 1, SHAPE)
        if len(counted.asked) == 2:
            looked_s.append(clock.now_s)
        clock.now_s += 4.0
    assert 0.25 * len(looked_s) == pytest.approx(0.02 * 400, rel=0.1)
    assert sum(at > 200 for at in looked_s) == pytest.approx(len(looked_s) / 2, abs=1)
    # The first measurement took none of it.
    assert bench.facts()["recurrent"][0]["looks"] == len(looked_s) + 1


def _confirmed(counted: Counted, monkeypatch: pytest.MonkeyPatch, chain_rates: list[float], median_s: float) -> CeilingBench:
    """Confirm a row of 30 chained operations, whose first chain was 15 per second, by a clock that looks move."""
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(ceilings, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))
    monkeypatch.setattr(ceilings, "AGAIN_SHARE", 0.0)
    case = "cpu", "fp32", 1, SHAPE
    seen = iter([15.0, *chain_rates])

    def chain_rate(*args: Any, **only: Any) -> Rate:
        clock.now_s += 0.3
        counted.asked.append(("chain",))
        return Rate(next(seen), "rnncore")

    monkeypatch.setattr(rates, "chain_rate", chain_rate)
    bench, work = CeilingBench(), Work(flops=30, bytes=1, recurrent_flops=30)
    bench.measure(*case)
    counted.asked.clear()
    clock.now_s = 100.0
    bench.confirm(*case, None, lambda: (bench.of(*case).shares_pct(work, median_s)["recurrent_ceiling_pct"] or 0) > 100)
    return bench


def test_a_row_above_its_ceiling_has_it_looked_at_until_it_is_not(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    # The row ran at 20 operations a second.
    bench = _confirmed(counted, monkeypatch, [14.0, 21.0, 22.0], median_s=1.5)
    assert bench.of("cpu", "fp32", 1, SHAPE).recurrent == Rate(21.0, "rnncore", (15.0, 14.0, 21.0))
    assert counted.asked.count(("chain",)) == 2


def test_a_row_within_its_ceiling_costs_no_further_look(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    _confirmed(counted, monkeypatch, [], median_s=2.1)
    assert counted.asked == []


def test_a_row_that_no_look_explains_ends_the_looks_after_a_while(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = _confirmed(counted, monkeypatch, [15.0] * 99, median_s=1.0)
    assert 2 <= counted.asked.count(("chain",)) <= 4
    work = Work(flops=30, bytes=1, recurrent_flops=30)
    found = bench.of("cpu", "fp32", 1, SHAPE)
    assert found.shares_pct(work, 1.0)["recurrent_ceiling_pct"] == pytest.approx(200)
    assert found.spreads_pct(work)["recurrent_ceiling_pct"] == 0


def test_a_row_above_its_ceiling_has_it_looked_at_once_even_where_the_time_is_up(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, case = CeilingBench(), ("cpu", "fp32", 1, None)
    bench.measure(*case)
    counted.asked.clear()
    monkeypatch.setattr(ceilings, "time", SimpleNamespace(perf_counter=partial(next, itertools.count(0.0, 100.0))))
    bench.confirm(*case, None, lambda: True)
    assert len(counted.asked) == 1


def test_spreads_are_by_how_much_shares_would_be_higher_by_the_median_looks() -> None:
    work = Work(flops=1000, bytes=300, recurrent_flops=600, weights_read=50)
    gemm, chain = Rate(1000.0, "made", (600.0, 1000.0)), Rate(300.0, "made", (200.0, 300.0, 200.0))
    found = Ceilings(gemm, chain, COPY, Rate(100.0, "made"))
    # 0.4 s and 2 s at best; 0.5 s and 3 s by the median looks.
    assert found.spreads_pct(work) == pytest.approx(
        {
            "gemm_ceiling_pct": 25.0,
            "recurrent_ceiling_pct": 100 * (3.5 / 2.4 - 1),
            "cache_ceiling_pct": 0.0,
            "bandwidth_ceiling_pct": 0.0,
        }
    )
    assert Ceilings(None, None, COPY).spreads_pct(Work(flops=0, bytes=100)) == {"bandwidth_ceiling_pct": 0.0}


def test_one_look_that_was_held_up_explains_no_share_above_a_ceiling() -> None:
    copy = Rate(100.0, "copy", (98.0, 100.0, 99.0, 100.0, 5.0))
    spreads_pct = Ceilings(None, None, copy).spreads_pct(Work(flops=0, bytes=100))
    assert spreads_pct == pytest.approx({"bandwidth_ceiling_pct": 100 / 99})


@pytest.mark.usefixtures("always_again")
def test_the_peak_is_the_ceiling_where_no_library_reaches_more_and_alone_is_measured_again(
    counted: Counted,
) -> None:
    bench = CeilingBench()
    counted.rates = [20.0, 21.0]
    assert _measured(bench, "cpu", "fp32", 1, None).gemm == Rate(21.0, "peak")
    counted.asked.clear()
    counted.rates = [22.0]
    assert _measured(bench, "cpu", "fp32", 1, None).gemm == Rate(22.0, "peak", (21.0, 22.0))
    assert counted.asked == [("peak", "cpu", "fp32", 1, ("peak", "rnncore"))]
    facts = bench.facts()
    assert [entry["per_s"] for kind in ("peak", "gemm") for entry in facts[kind] if entry["precision"] == "fp32"] == [
        22.0,
        20.0,
    ]


def test_weights_that_are_read_again_have_a_ceiling_by_their_bytes(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "AGAIN_SHARE", 0.0)
    bench = CeilingBench()
    assert _measured(bench, "cpu", "bf16", 2, None, 4096) == Ceilings(
        Rate(20.0, "gemm"), None, Rate(10.0, "copy"), Rate(40.0, "read"), 2
    )
    assert counted.asked[-1] == ("read", "cpu", 2, 4096)
    counted.asked.clear()
    _measured(bench, "cpu", "bf16", 2, None, 4096)
    _measured(bench, "cpu", "fp32", 2, None, 8192)
    assert counted.asked == [("read", "cpu", 2, 8192)]
    assert [entry["bytes"] for entry in bench.facts()["read"]] == [4096, 8192]


def test_a_case_that_was_not_measured_has_no_ceilings(counted: Counted) -> None:
    with pytest.raises(KeyError):
        CeilingBench().of("cpu", "fp32", 1, SHAPE)


def test_only_what_is_not_known_yet_is_measured_for_another_case(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "AGAIN_SHARE", 0.0)
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
    assert [asked[0] for asked in counted.asked] == [*["gemm", "peak"] * 3, "copy", "chain"]
    counted.asked.clear()
    _measured(bench, "cuda", "tf32", 1, SHAPE)
    assert [asked[2] for asked in counted.asked if asked[0] == "gemm"] == ["fp32", "tf32", "bf16", "fp16", "int8"]


def test_a_case_gets_the_ceilings_that_apply_to_it(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "AGAIN_SHARE", 0.0)
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
    monkeypatch.setattr(rates, "PEAK_CALL_S", 1e-5)
    monkeypatch.setattr(rates, "SQUARE_SIZES", {"cpu": (8, 32)})
    monkeypatch.setattr(rates, "COPIED_BYTES", {"cpu": 1 << 20})


@pytest.mark.usefixtures("tiny")
def test_the_facts_of_a_real_session_are_json_with_positive_rates() -> None:
    bench = CeilingBench()
    found = _measured(bench, "cpu", "fp32", 1, SHAPE, 4096)
    facts = bench.facts()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert {(entry["device"], entry["precision"], entry["threads"]) for entry in facts["gemm"]} == {
        ("cpu", precision, 1) for precision in ("fp32", "bf16", "int8")
    }
    assert [entry["precision"] for entry in facts["peak"]] == ["fp32", "bf16", "int8"]
    (chain,), (copy,), (read,) = facts["recurrent"], facts["copy"], facts["read"]
    assert (read["device"], read["threads"], read["bytes"]) == ("cpu", 1, 4096)
    assert (chain["batch_size"], chain["hidden_size"], chain["gates"]) == (5, 16, 3)
    assert copy["by"] == "torch, 1 MiB"
    for entry in (chain, copy, facts["gemm"][0]):
        assert math.isfinite(entry["per_s"])
        assert entry["per_s"] > 0
        assert entry["by"]
    for entry in (*facts["gemm"], *facts["peak"], read):
        assert entry["per_s"] is None or (math.isfinite(entry["per_s"]) and entry["per_s"] > 0)
    assert max(facts[kind][0]["per_s"] or 0 for kind in ("peak", "gemm")) == found.gemm.per_s
    assert chain["per_s"] == found.recurrent.per_s
    assert copy["per_s"] == found.copy.per_s
    assert facts["seconds"] == bench.spent_s > 0


@pytest.mark.usefixtures("tiny")
def test_a_precision_that_no_library_computes_is_null_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    mm = torch.mm

    def refuse_bf16(left: torch.Tensor, right: torch.Tensor, **out: torch.Tensor) -> torch.Tensor:
        if left.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return mm(left, right, **out)

    monkeypatch.setattr(torch, "mm", refuse_bf16)
    monkeypatch.setattr(rates, "_peak_kernel", lambda: None)
    bench = CeilingBench()
    found = _measured(bench, "cpu", "bf16", 1, SHAPE, 4096)
    assert (found.gemm, found.recurrent, found.read) == (None, None, None)
    unknown = {"per_s": None, "per_s_why": "no library here computes it"}
    assert {"device": "cpu", "precision": "bf16", "threads": 1, **unknown} in bench.facts()["gemm"]
    assert bench.facts()["recurrent"] == [
        {"device": "cpu", "precision": "bf16", "threads": 1, **vars(SHAPE), **unknown},
    ]
    assert bench.facts()["gemm"][0]["per_s"] > 0
    without_kernel = {"device": "cpu", "threads": 1, "per_s": None, "per_s_why": rates.NO_KERNEL}
    assert bench.facts()["read"] == [{**without_kernel, "bytes": 4096}]
    assert {**without_kernel, "precision": "bf16"} in bench.facts()["peak"]


def test_the_facts_of_a_session_that_measured_nothing_are_empty() -> None:
    kinds = "peak", "gemm", "recurrent", "read", "copy"
    assert CeilingBench().facts() == {"seconds": 0.0, **{kind: [] for kind in kinds}}
