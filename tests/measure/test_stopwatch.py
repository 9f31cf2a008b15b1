"""Tests of the seconds of a call, by a clock that the calls move."""

from types import SimpleNamespace

import pytest

from rnncore.measure import stopwatch
from rnncore.measure.stopwatch import seconds_per_call


@pytest.mark.parametrize(("calls", "mean_s"), [(1, 1.0), (4, 2.5)])
def test_the_seconds_of_a_call_are_the_mean_of_those_that_were_made(
    calls: int, mean_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths_s, clock = iter([1.0, 2.0, 3.0, 4.0]), SimpleNamespace(now_s=7.0)
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: clock.now_s))

    def run() -> None:
        clock.now_s += next(lengths_s)

    assert seconds_per_call(run, calls) == mean_s
