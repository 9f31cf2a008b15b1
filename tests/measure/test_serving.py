"""Tests of the Server scenario, with a clock moved by hand: latencies from arrivals, batches, and the highest rate."""

from collections.abc import Callable

import numpy as np
import pytest

from rnncore.measure import serving, stopwatch
from rnncore.measure.serving import highest_rate, serve


class Clock:
    """A clock in place of the module `time`; answering and sleeping move it."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        # Reading it takes time too, so that waiting ends.
        self.now_s += 1e-7
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(serving, "time", clock)
    monkeypatch.setattr(stopwatch, "now_s", clock.perf_counter)
    # Its sleeps end in time.
    monkeypatch.setattr(serving, "SLEPT_S", 0.0)
    return clock


def _server(clock: Clock, first_s: float, each_s: float = 0.0) -> tuple[Callable[[int], None], list[int]]:
    """Return what answers in *first_s* and *each_s* more for each query, and the batches that it was given."""
    batches: list[int] = []

    def answer(count: int) -> None:
        batches.append(count)
        clock.now_s += first_s + each_s * count

    return answer, batches


def test_a_query_waits_for_those_before_it(clock: Clock) -> None:
    answer, batches = _server(clock, 1.0)
    latencies_s = serve(answer, np.array([1.0, 1.2, 5.0]), max_batch=1)
    assert latencies_s == pytest.approx([1.0, 1.8, 1.0], abs=1e-3)
    assert batches == [1, 1, 1]


def test_those_that_have_arrived_are_answered_together_up_to_the_largest_batch(clock: Clock) -> None:
    answer, batches = _server(clock, 1.0)
    latencies_s = serve(answer, np.array([0.0, 0.1, 0.2, 0.3, 0.4, 9.0]), max_batch=3)
    assert batches == [1, 3, 1, 1]
    assert latencies_s == pytest.approx([1.0, 1.9, 1.8, 1.7, 2.6, 1.0], abs=1e-3)


def test_a_hopeless_queue_is_given_up(clock: Clock) -> None:
    answer, _ = _server(clock, 1.0)
    latencies_s = serve(answer, np.arange(100) * 0.1, max_batch=1, give_up_s=4.0)
    assert len(latencies_s) == 5
    assert latencies_s[-1] > 4.0 > latencies_s[-2]


def test_the_highest_rate_of_a_queue_of_equal_services_is_that_of_theory(clock: Clock) -> None:
    service_s = 0.01
    answer, _ = _server(clock, service_s)
    bound_s = 5 * service_s
    probes = highest_rate(answer, 1, bound_s, seed=0, queries=20_000, min_s=0)
    best = max(probe.rate_per_s for probe in probes if probe.in_time)
    # Crommelin's formula for the wait in a queue M/D/1 gives 99 of 100 within five services up to a load of 0.63.
    assert best * service_s == pytest.approx(_load_of_theory(bound_s / service_s), rel=0.05)
    assert [probe.rate_per_s for probe in probes] == sorted(probe.rate_per_s for probe in probes)


def _load_of_theory(bound_in_services: float) -> float:
    """Return the load of an M/D/1 queue whose 99th percentile of waiting and service is the bound, by Crommelin (1932)."""
    from math import exp, factorial, floor

    def within(load: float, wait: float) -> float:
        terms = ((-load * (wait - k)) ** k / factorial(k) * exp(load * (wait - k)) for k in range(floor(wait) + 1))
        return (1 - load) * sum(terms)

    low, high = 0.0, 1.0
    for _ in range(40):
        load = (low + high) / 2
        low, high = (load, high) if within(load, bound_in_services - 1) >= 0.99 else (low, load)
    return low


def test_batches_serve_more_where_they_cost_little(clock: Clock) -> None:
    answer, _ = _server(clock, 0.01, 0.0001)
    alone, together = (
        max(probe.rate_per_s for probe in highest_rate(answer, batch, 0.05, 0, queries=2000, min_s=0) if probe.in_time)
        for batch in (1, 32)
    )
    assert together > 5 * alone


def test_where_a_lone_query_takes_too_long_nothing_is_in_time(clock: Clock) -> None:
    answer, _ = _server(clock, 0.1)
    (probe,) = highest_rate(answer, 1, 0.05, seed=0, queries=100, min_s=0)
    assert not probe.in_time


def test_a_probe_lasts_long_enough_for_a_queue_to_grow(clock: Clock) -> None:
    answer, _ = _server(clock, 0.001)
    probes = highest_rate(answer, 1, 0.05, seed=0, queries=10, min_s=3.0)
    for probe in probes:
        if probe.in_time:
            assert len(probe.latencies_s) == max(10, round(3 * probe.rate_per_s))
    # Of a queue that is served in a thousandth, with three seconds to grow.
    assert max(probe.rate_per_s for probe in probes if probe.in_time) < 1020
