"""Threads of Python that call what tests share among them."""

from collections.abc import Callable, Sequence
from threading import Thread

# Seconds that they may take: what waits for ever is told.
_LIMIT_S = 60.0


def call_at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Make each call in a thread of its own, and fail where one has not ended in time. What it raises fails the test too."""
    callers = [Thread(target=call, daemon=True) for call in calls]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(_LIMIT_S)
    assert not any(caller.is_alive() for caller in callers)
