"""The seconds of a call."""

import math
import time
from collections.abc import Callable
from functools import partial

# Not the function itself: what stops the clock for a test, such as freezegun, puts its own in the place of that wherever a
# module names it, and a benchmark under a stopped clock would never end.
now_s: Callable[[], float] = partial(time.perf_counter)


def seconds_per_call(run: Callable[[], object], calls: int = 1) -> float:
    """Return the mean seconds of some calls, one right after another."""
    began_s = now_s()
    for _ in range(calls):
        run()
    return (now_s() - began_s) / calls


def repeated(run: Callable[[], object], calls: int) -> Callable[[], object]:
    """Return what makes some calls, one right after another."""

    def run_all() -> None:
        for _ in range(calls):
            run()

    return run if calls == 1 else run_all


def nothing() -> None:
    """Do nothing."""


def warmed_up(
    run: Callable[[], object],
    called_s: float,
    warm_up_s: float,
    before: Callable[[], object] = nothing,
    after: Callable[[], object] = nothing,
) -> float:
    """Call until caches have settled; return about how many seconds a call takes.

    Args:
        run: What to call.
        called_s: Seconds of the quickest call so far; where that is as long as the warm-up itself, it was it.
        warm_up_s: For how long.
        before: Called before each call, untimed.
        after: Called after each call, untimed.
    """
    if called_s >= warm_up_s:
        return called_s
    began_s, shortest_s = now_s(), math.inf
    while now_s() - began_s < warm_up_s:
        before()
        shortest_s = min(shortest_s, seconds_per_call(run))
        after()
    return shortest_s
