"""Benchmarks of any suite, timed by pytest-benchmark as ever and watched between their rounds, as `--rnn-facts` asks.

Nothing is called that would not be without: the first call is that which pytest-benchmark begins with, and the clock is its
own. What is seen is kept apart from what the suite records.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rnncore.measure import harness
from rnncore.measure.delay import cost_of_a_delay_s, planted_pct, with_delay
from rnncore.measure.disturbance import watched_rounds
from rnncore.measure.facts import put_facts, with_reasons
from rnncore.measure.percentiles import percentiles_of_rounds
from rnncore.measure.session import TIMED, Row, Session
from rnncore.measure.steadiness import steadiness_facts

# What their time between rounds is counted as.
_PART = "between rounds"

# Whether a suite computes on a GPU is not known.
_DEVICE = "cpu"

_NOT_ALONE = "the first call was timed together with others"


def watch(benchmark: Any, session: Session, delay_pct: float) -> None:
    """Let a fixture time as ever, and keep what is seen of its rounds.

    Args:
        benchmark: The fixture of pytest-benchmark.
        session: The session's record.
        delay_pct: What to add to the time of every call, in percent of it; 0 for nothing.
    """

    @contextmanager
    def around(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
        cost_s = cost_of_a_delay_s() if delay_pct else 0.0
        with session.part(_PART), watched_rounds(benchmark, _DEVICE) as seen:
            yield with_delay(function, delay_pct, cost_s) if delay_pct else function
        session.count(TIMED, seen.timed_s, out_of=_PART)
        with session.part("percentiles and steadiness"):
            facts = {**with_reasons({"first_call_s": (seen.first_call_s or None, _NOT_ALONE)}), **seen.facts}
            facts |= _of_rounds(benchmark.stats)
            if delay_pct:
                facts["injected_delay_pct"] = planted_pct(delay_pct, cost_s, benchmark.stats.stats.median)
        row = Row(benchmark.stats, seen={})
        put_facts(row.facts, **facts)
        session.rows[benchmark.fullname] = row

    harness.surround_timing(benchmark, around)


def _of_rounds(stats: Any) -> dict[str, Any]:
    rounds_s = stats.stats.data
    return {**steadiness_facts(rounds_s), "percentiles": percentiles_of_rounds(rounds_s, stats.iterations)}
