"""Benchmarks of any suite, timed in the slots of a gate: what they give to pytest-benchmark's fixture is called there."""

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from rnncore.measure import harness
from rnncore.measure.company import Company
from rnncore.measure.delay import delayed
from rnncore.measure.session import Row, Session
from rnncore.measure.slots import Slots, calls_of_a_round, rounds_of_a_slot
from rnncore.measure.stopwatch import repeated, seconds_per_call, warmed_up

# Time that calls take before the first slot, after the first call.
WARM_UP_S = 0.03


class Call:
    """What a benchmark wants to have timed.

    Args:
        target: The function.
        args: Its arguments.
        kwargs: Those by name.
        setup: Called before each round, untimed; may return other arguments.
        teardown: Called after each round with the arguments, untimed.
    """

    def __init__(
        self,
        target: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        setup: Callable[[], Any] | None = None,
        teardown: Callable[..., Any] | None = None,
    ) -> None:
        self._target, self._args, self._kwargs = target, args, kwargs
        self._setup, self._teardown = setup, teardown

    @property
    def is_prepared(self) -> bool:
        """Whether something is to happen before each call."""
        return self._setup is not None

    @property
    def run(self) -> Callable[[], Any]:
        """The call, which reads its arguments anew where they may be others each time."""
        if self._setup is None:
            return partial(self._target, *self._args, **self._kwargs)
        return lambda: self._target(*self._args, **self._kwargs)

    def before(self) -> None:
        """Prepare a round."""
        if self._setup is not None:
            made = self._setup()
            if made:
                self._args, self._kwargs = made

    def after(self) -> None:
        """Clear up after a round."""
        if self._teardown is not None:
            self._teardown(*self._args, **self._kwargs)


def time_in_slots(benchmark: Any, session: Session, slots: Slots, delay_pct: float) -> None:
    """Let a fixture time what its benchmark gives it in slots, and nothing else.

    Args:
        benchmark: The fixture of pytest-benchmark.
        session: The session's record.
        slots: Of the process that drives this one.
        delay_pct: What to add to the time of every call, in percent of it; 0 for nothing.
    """

    def timed(call: Call) -> Any:
        return _timed(benchmark, session, slots, call, delay_pct)

    harness.replace_timing(benchmark, lambda *given: timed(Call(*given)))


def _timed(benchmark: Any, session: Session, slots: Slots, call: Call, delay_pct: float) -> Any:
    """Time a call in slots; return what its first call returned."""
    with untraced(), _collecting(not harness.disables_gc(benchmark)):
        call.before()
        run, results, company = call.run, list[Any](), Company()
        with company.watched():
            first_call_s = seconds_per_call(lambda: results.append(run()))
        call.after()
        with company.watched():
            call_s = warmed_up(run, first_call_s, WARM_UP_S, call.before, call.after)
        facts: dict[str, Any] = {}
        # What is prepared holds for one call.
        calls = 1 if call.is_prepared else calls_of_a_round(call_s, 0.0)
        run_round, round_s = repeated(run, calls), call_s
        if calls > 1:
            # Reading the clock is a part of a single call's time, and of nanoseconds the larger one.
            round_s = seconds_per_call(run_round)
            call.after()
        if delay_pct:
            # Of a round, as one of a call that takes nanoseconds would be a multiple of it.
            run_round, facts["injected_delay_pct"] = delayed(run_round, delay_pct, round_s)
        of_slots = [
            rounds_of_a_slot(run_round, slot_s, 1, round_s, before=call.before, after=call.after)
            for slot_s in slots.of(benchmark.fullname, company)
        ]
    rounds_s = [seconds / calls for of_slot in of_slots for seconds in of_slot]
    stats = harness.take_rounds(benchmark, rounds_s, calls)
    slot_rounds = [len(of_slot) for of_slot in of_slots]
    session.rows[benchmark.fullname] = Row(stats, seen={**facts, "slot_rounds": slot_rounds})
    return results[0]


@contextmanager
def untraced() -> Iterator[None]:
    """Keep what follows each line, such as a measurement of coverage, out of the times, as pytest-benchmark does."""
    tracer, profiler = sys.gettrace(), sys.getprofile()
    sys.settrace(None)
    sys.setprofile(None)
    try:
        yield
    finally:
        sys.settrace(tracer)
        sys.setprofile(profiler)


@contextmanager
def _collecting(wanted: bool) -> Iterator[None]:
    """Keep the garbage collector out where the benchmark asks for that."""
    was_wanted = gc.isenabled()
    if not wanted:
        gc.disable()
    try:
        yield
    finally:
        if was_wanted:
            gc.enable()
