"""Tests of planted delays, by a clock of their own."""

import pytest

from rnncore.measure import delay, stopwatch
from tests.measure.clock import CALL_S, Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(1e-6)
    for module in (delay, stopwatch):
        monkeypatch.setattr(module, "now_s", clock.perf_counter)
    return clock


@pytest.mark.parametrize("delay_pct", [3.0, 5.0, 20.0])
def test_a_delayed_call_takes_longer_by_the_part_that_was_asked_for(clock: Clock, delay_pct: float) -> None:
    run, _ = delay.delayed(clock.call, delay_pct, CALL_S)
    before_s = clock.now_s
    run()
    assert clock.now_s - before_s == pytest.approx(CALL_S * (1 + delay_pct / 100), abs=4e-6)


def test_what_reading_the_clock_costs_is_measured(clock: Clock) -> None:
    # A delay of nothing reads the clock three times.
    assert delay.cost_of_a_delay_s() == pytest.approx(3e-6, rel=1e-2)


@pytest.mark.parametrize(("call_s", "said_pct"), [(1e-2, 3.0), (1e-5, 30.0)])
def test_it_is_said_by_how_much_a_call_is_delayed_at_least(clock: Clock, call_s: float, said_pct: float) -> None:
    _, delay_pct = delay.delayed(clock.call, 3.0, call_s)
    assert delay_pct == pytest.approx(said_pct, rel=0.02)


def test_a_delayed_function_takes_its_arguments_and_returns_what_it_returns(clock: Clock) -> None:
    assert delay.with_delay(sorted, 5.0, 0.0)([3, 1, 2], reverse=True) == [3, 2, 1]


@pytest.mark.parametrize("call_s", [1e-2, 1e-5])
def test_it_is_told_from_slowed_calls_alone_by_how_much_they_are_slower(clock: Clock, call_s: float) -> None:
    cost_s = 3e-6
    _, said_pct = delay.delayed(clock.call, 3.0, call_s)
    slowed_s = call_s + max(0.03 * call_s, cost_s)
    assert delay.planted_pct(3.0, cost_s, slowed_s) == pytest.approx(said_pct, rel=0.02)
