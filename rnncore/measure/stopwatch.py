"""The seconds of a call."""

import time
from collections.abc import Callable


def seconds_per_call(run: Callable[[], object], calls: int = 1) -> float:
    """Return the mean seconds of some calls, one right after another."""
    began_s = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - began_s) / calls
