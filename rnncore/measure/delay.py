"""A delay that is planted into every call, so that a gate can be tested."""

from collections.abc import Callable
from typing import Any

from rnncore.measure.stopwatch import nothing, now_s, seconds_per_call

# What a delay costs by itself, a fraction of a microsecond, is measured over this many calls, in several tries.
_COST_CALLS = 1000
_COST_TRIES = 5


def delayed(run: Callable[[], object], delay_pct: float, call_s: float) -> tuple[Callable[[], object], float]:
    """Return a slower call, and by how many percent it is: in calls of a few microseconds a delay costs more than was asked.

    Args:
        run: The call.
        delay_pct: Percent of its time to add.
        call_s: About how long it takes.
    """
    cost_s = cost_of_a_delay_s()
    return with_delay(run, delay_pct, cost_s), max(delay_pct, 100 * cost_s / call_s)


def with_delay(run: Callable[..., Any], delay_pct: float, cost_s: float) -> Callable[..., Any]:
    """Return a function that takes longer by a part of its own time, with the CPU kept busy.

    Args:
        run: The function; its arguments and what it returns stay as they are.
        delay_pct: Of the call's time.
        cost_s: What the delay takes by itself, by reading the clock; it counts as a part of the delay.
    """
    factor = 1 + delay_pct / 100

    def slowed(*args: Any, **kwargs: Any) -> Any:
        began_s = now_s()
        result = run(*args, **kwargs)
        end_s = began_s + (now_s() - began_s) * factor - cost_s
        while now_s() < end_s:
            pass
        return result

    return slowed


def planted_pct(delay_pct: float, cost_s: float, slowed_s: float) -> float:
    """Return by how many percent calls were made slower, which were timed with their delay alone.

    Args:
        delay_pct: Percent that were asked for.
        cost_s: What the delay takes by itself.
        slowed_s: Seconds of a call with it.
    """
    call_s = min(slowed_s / (1 + delay_pct / 100), slowed_s - cost_s)
    return max(delay_pct, 100 * cost_s / call_s) if call_s > 0 else delay_pct


def cost_of_a_delay_s() -> float:
    """Return what `with_delay` adds to a call where it has nothing to wait for."""
    calls = with_delay(nothing, 0.0, 0.0), nothing
    delayed_s, nothing_s = (min(seconds_per_call(run, _COST_CALLS) for _ in range(_COST_TRIES)) for run in calls)
    return delayed_s - nothing_s
