"""Tests of the seconds of a call, by a clock that the calls move."""

import time
from types import SimpleNamespace

import pytest

from rnncore.measure import delay, slots, stopwatch
from rnncore.measure.stopwatch import nothing, seconds_per_call, warmed_up
from tests.measure.clock import CALL_S, Clock


@pytest.mark.parametrize(("calls", "mean_s"), [(1, 1.0), (4, 2.5)])
def test_the_seconds_of_a_call_are_the_mean_of_those_that_were_made(
    calls: int, mean_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths_s, clock = iter([1.0, 2.0, 3.0, 4.0]), SimpleNamespace(now_s=7.0)
    monkeypatch.setattr(stopwatch, "now_s", lambda: clock.now_s)

    def run() -> None:
        clock.now_s += next(lengths_s)

    assert seconds_per_call(run, calls) == mean_s


@pytest.mark.parametrize(("called_s", "calls"), [(0.0, 20), (0.199, 20), (0.2, 0), (3.0, 0)])
def test_calls_warm_up_unless_the_first_took_as_long(called_s: float, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, around = Clock(1e-6), []
    monkeypatch.setattr(stopwatch, "now_s", clock.perf_counter)
    call_s = warmed_up(clock.call, called_s, 0.2, lambda: around.append("before"), lambda: around.append("after"))
    assert clock.now_s == pytest.approx(calls * CALL_S, rel=1e-2)
    assert call_s == pytest.approx(CALL_S if calls else called_s, rel=1e-2)
    assert around == ["before", "after"] * calls


def test_a_clock_that_a_benchmark_stopped_goes_on_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As freezegun stops it: in the module, and wherever a module has the function itself."""
    function = time.perf_counter
    for module in (stopwatch, slots, delay, time):
        for name in [name for name, value in vars(module).items() if value is function]:
            monkeypatch.setattr(module, name, _stopped)
    assert time.perf_counter is _stopped
    assert seconds_per_call(lambda: sum(range(10_000))) > 0
    assert warmed_up(nothing, 0.0, 1e-3) < 1e-3
    assert slots.rounds_of_a_slot(nothing, 1e-3, 1, 1e-6)
    assert delay.cost_of_a_delay_s() < 1


def _stopped() -> float:
    raise AssertionError("a stopped clock was read")
