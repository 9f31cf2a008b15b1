"""Tails of latency, with intervals that assume no distribution, and refusal where there are too few calls.

By the standard library alone, for benchmarks of any suite.
"""

import math
from collections.abc import Sequence
from typing import Any

from rnncore.measure.facts import Fact, with_reasons
from rnncore.runfile.order_statistics import calls_needed, interval_ranks

PERCENTILES = (50, 90, 95, 99)


def percentiles(calls_s: Sequence[float]) -> dict[str, Any]:
    """Return p50, p90, p95 and p99 of single calls, each with its order-statistic interval.

    Args:
        calls_s: Seconds of each call, disturbed ones too.

    Returns:
        By name (`p50`) a dict of `s`, `low_s` and `high_s`, or None with the reason under `p50_why`.
    """
    ordered = sorted(calls_s)
    count = len(ordered)
    facts: dict[str, Fact] = {}
    for percentile in PERCENTILES:
        name, needed = f"p{percentile}", calls_needed(percentile)
        low, high = interval_ranks(percentile, count)
        if low is None or high is None or count < needed:
            facts[name] = None, f"n={count} is too few for {name}, {needed} needed"
            continue
        rank = math.ceil(count * percentile / 100)
        facts[name] = {"s": ordered[rank - 1], "low_s": ordered[low - 1], "high_s": ordered[high - 1]}, None
    return with_reasons(facts)


def percentiles_of_rounds(rounds_s: Sequence[float], calls: int) -> dict[str, Any]:
    """Return the percentiles of rounds, refused where a round is more than a call.

    Args:
        rounds_s: Mean seconds of a call in each round.
        calls: Calls of a round.
    """
    if calls == 1:
        return percentiles(rounds_s)
    why = f"a round is the mean of {calls} calls, and hides the slow ones"
    return with_reasons({f"p{percentile}": (None, why) for percentile in PERCENTILES})
