"""Tests of warm-up and planted delays, by a clock of their own, and of what a row knows of others and asks of processes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnncore.measure import row as benchmark
from rnncore.measure.memory import Served, ServingMemory
from rnncore.measure.row import RnnBenchmark
from rnncore.measure.session import Row, Session
from rnncore.runfile.case import Case
from rnncore.runtimes.base import Source

CALL_S = 0.010


class Clock:
    """A clock that each reading moves on a little, as real ones do, and each call by its length."""

    def __init__(self, reading_s: float) -> None:
        self.now_s = 0.0
        self._reading_s = reading_s

    def perf_counter(self) -> float:
        self.now_s += self._reading_s
        return self.now_s

    def call(self) -> None:
        self.now_s += CALL_S


class Fixture:
    """What a delay needs of pytest-benchmark's fixture."""

    def __init__(self) -> None:
        self.enabled = True
        self.extra_info: dict[str, Any] = {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1e-6)
    monkeypatch.setattr(benchmark.time, "perf_counter", clock.perf_counter)
    return clock


@pytest.mark.parametrize("delay_pct", [3.0, 5.0, 20.0])
def test_a_delayed_call_takes_longer_by_the_part_that_was_asked_for(clock: Clock, delay_pct: float) -> None:
    delayed = benchmark._delayed(clock.call, delay_pct, cost_s=2e-6)
    delayed()
    assert clock.now_s == pytest.approx(CALL_S * (1 + delay_pct / 100), abs=3e-6)


def test_what_reading_the_clock_costs_is_measured(clock: Clock) -> None:
    # A delay of nothing reads the clock three times.
    assert benchmark._cost_of_a_delay_s() == pytest.approx(3e-6, rel=1e-2)


@pytest.mark.parametrize(("call_s", "told_pct"), [(1e-2, 3.0), (1e-5, 30.0)])
def test_a_row_says_by_how_much_it_was_delayed_at_least(clock: Clock, call_s: float, told_pct: float) -> None:
    fixture = Fixture()
    row = RnnBenchmark(fixture, Session(), Case("infer", "gru", 8, 1, 4), 1, None, None, brief=True, delay_pct=3.0)
    row._delayed(clock.call, call_s)
    assert fixture.extra_info["injected_delay_pct"] == pytest.approx(told_pct, rel=0.02)


@pytest.mark.parametrize(("called_s", "calls"), [(0.0, 20), (0.199, 20), (0.2, 0), (3.0, 0)])
def test_a_row_is_warmed_up_unless_its_first_calls_took_as_long(clock: Clock, called_s: float, calls: int) -> None:
    row = RnnBenchmark(Fixture(), Session(), Case("infer", "gru", 8, 1, 4, 3), 1, None, None)
    before_s = clock.now_s
    call_s = row._warmed_up(clock.call, called_s)
    assert clock.now_s - before_s == pytest.approx(calls * CALL_S, rel=1e-2)
    assert call_s == pytest.approx(CALL_S if calls else called_s, rel=1e-2)


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
