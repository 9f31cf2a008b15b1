"""The seconds of a call."""

import math
import time
from collections.abc import Callable


def seconds_per_call(run: Callable[[], object], calls: int = 1) -> float:
    """Return the mean seconds of some calls, one right after another."""
    began_s = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - began_s) / calls


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
    began_s, shortest_s = time.perf_counter(), math.inf
    while time.perf_counter() - began_s < warm_up_s:
        before()
        shortest_s = min(shortest_s, seconds_per_call(run))
        after()
    return shortest_s
