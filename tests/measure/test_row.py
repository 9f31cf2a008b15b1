"""Tests of what a row knows of others and asks of processes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnncore.measure import row as row_module
from rnncore.measure.ceilings import Ceilings
from rnncore.measure.memory import Served, ServingMemory
from rnncore.measure.rates import Rate
from rnncore.measure.row import RnnBenchmark
from rnncore.measure.session import Row, Session
from rnncore.measure.work import Work
from rnncore.runfile.case import Case
from rnncore.runtimes.base import Evidence, Source


class Fixture:
    """What a row needs of pytest-benchmark's fixture."""

    def __init__(self) -> None:
        self.enabled = True
        self.fullname = "b.py::test"
        self.extra_info: dict[str, Any] = {}


INFER = Case("infer", "gru", 8, 1, 4, 3, recipe="fast")


@pytest.mark.parametrize(
    ("case", "threads", "validity", "median_s"),
    [
        (INFER, 2, "valid", 0.5),
        (replace(INFER, batch_size=4), 2, "valid", None),
        (replace(INFER, recipe="article"), 2, "valid", None),
        (replace(INFER, runtime="rnncore"), 2, "valid", None),
        (INFER, 1, "valid", None),
        (INFER, 2, "outputs differ", None),
        (INFER, 2, None, None),
    ],
)
def test_the_median_of_another_row_is_that_of_the_very_case_and_right(
    case: Case, threads: int, validity: str | None, median_s: float | None
) -> None:
    session = Session()
    extra = {**INFER.axes, "threads": 2, "validity": validity}
    session.rows["b.py::test"] = Row(SimpleNamespace(extra_info=extra, stats=SimpleNamespace(median=0.5)))
    row = RnnBenchmark(Fixture(), session, replace(INFER, phase="stream"), threads, None, None)
    assert row.known_median_s(case) == median_s


@pytest.mark.parametrize(
    ("rates", "is_above"),
    [
        # The row makes 100 operations, all recurrent, in a second, and reads 10 weights of 4 bytes.
        ((1000.0, 99.0, 1000.0), True),
        ((1000.0, 101.0, 39.0), True),
        ((99.0, 101.0, 1000.0), True),
        ((101.0, 101.0, 41.0), False),
    ],
)
def test_a_row_is_above_a_ceiling_by_what_is_known_when_it_is_asked(rates: tuple[float, ...], is_above: bool) -> None:
    known = [Ceilings(Rate(1e9, "made"), Rate(1e9, "made"), Rate(1.0, "copy"), Rate(1e9, "made"))]
    row = RnnBenchmark(Fixture(), Session(), INFER, 2, lambda: known[-1], None)
    assert not row.is_above_a_ceiling()
    work = Work(flops=100, bytes=50, recurrent_flops=100, weights_read=10)
    row._keep(SimpleNamespace(stats=SimpleNamespace(median=1.0)), 4, work)
    # Copying is none of them: what stays in a cache is quicker.
    assert row._benchmark.extra_info["bandwidth_ceiling_pct"] == 5000
    assert not row.is_above_a_ceiling()
    gemm, chain, read = (Rate(rate, "made") for rate in rates)
    known.append(Ceilings(gemm, chain, Rate(1.0, "copy"), read))
    assert row.is_above_a_ceiling() == is_above


class Answering(ServingMemory):
    """What is asked of processes that only serve."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Served, Source]] = []

    def of(self, question: Served, source: Source) -> dict[str, int | str | None]:
        self.asked.append((question, source))
        return {"peak_rss_bytes": 9, "model_rss_bytes": 2}


@pytest.mark.parametrize(("device", "precision"), [("cpu", "fp32"), ("cuda", "tf32")])
def test_a_row_asks_for_its_own_runtime_device_precision_threads_and_batch(device: str, precision: str) -> None:
    fixture, session, model = Fixture(), Session(), Path("model.onnx")
    session._memory = answering = Answering()
    case = Case("infer", "gru", 8, 1, 4, batch_size=3, device=device, runtime="onnxruntime", precision=precision)
    row = RnnBenchmark(fixture, session, case, 2, None, None)
    row._record_unsaid()
    assert fixture.extra_info["peak_rss_bytes_why"] == "the benchmark did not record it"
    row.record_memory(model, (3, 4, 5))
    assert answering.asked == [(Served("onnxruntime", device, precision, 2, (3, 4, 5)), model)]
    assert (fixture.extra_info["peak_rss_bytes"], fixture.extra_info["model_rss_bytes"]) == (9, 2)
    assert not {"peak_rss_bytes_why", "model_rss_bytes_why"} & fixture.extra_info.keys()
    assert session.overhead()["parts_s"].keys() >= {"memory in a fresh process"}


def test_where_nothing_is_timed_no_process_is_asked() -> None:
    fixture, session = Fixture(), Session()
    fixture.enabled = False
    session._memory = answering = Answering()
    RnnBenchmark(fixture, session, Case("infer", "gru", 8, 1, 4, 3), 1, None, None).record_memory(Path("m.onnx"), (3, 4, 5))
    assert answering.asked == []


class WarmUpReachedError(Exception):
    """Ends a row where the warm-up begins."""


@pytest.mark.parametrize(("device", "known_s"), [("cpu", 5.0), ("cuda", 0.0)])
def test_on_a_gpu_neither_the_first_call_nor_a_profiled_one_serves_as_the_warm_up(
    device: str, known_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def reached(run: object, called_s: float, warm_up_s: float) -> float:
        seen.append(called_s)
        raise WarmUpReachedError

    monkeypatch.setattr(row_module, "seconds_per_call", lambda run: 7.0)
    monkeypatch.setattr(row_module, "warmed_up", reached)
    row = RnnBenchmark(Fixture(), Session(), replace(INFER, device=device), 1, None, None)
    with pytest.raises(WarmUpReachedError):
        row(lambda: None, windows=3, group="made", evidence=lambda trace: Evidence("made", {}, (), wall_s=5.0))
    assert seen == [known_s]
