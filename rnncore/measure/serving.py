"""The Server scenario: queries that arrive by chance, one window each, and the highest rate that is served in time.

Source:
    MLCommons, MLPerf Inference rules, section 3 (scenarios): Poisson arrivals, and a bound on the 99th percentile of
    latency, which counts from a query's arrival to its answer, the waiting included.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from rnncore.forecast.series import FloatArray
from rnncore.measure.stopwatch import seconds_per_call
from rnncore.runfile.order_statistics import calls_needed

PERCENTILE = 99

# Rates that are tried between one that surely holds and one that surely does not; the last two differ by a few percent.
PROBES = 7

# A probe in which queries wait this many times the bound has failed, and is not watched to its end.
HOPELESS = 5.0

# A probe is no shorter: at a rate that is a little too high the queue grows slowly.
MIN_S = 2.0

# Shorter waits are spun away: a sleep ends late.
SLEPT_S = 2e-3


@dataclass(frozen=True)
class Probe:
    """How queries fared at one rate.

    Attributes:
        rate_per_s: Queries per second that arrived.
        latencies_s: From arrival to answer, in order of arrival; those of a probe that was given up end early.
        in_time: Whether the 99th percentile kept the bound.
    """

    rate_per_s: float
    latencies_s: FloatArray
    in_time: bool


def highest_rate(
    answer: Callable[[int], object],
    max_batch: int,
    bound_s: float,
    seed: int,
    queries: int = calls_needed(PERCENTILE),
    min_s: float | None = None,
) -> list[Probe]:
    """Find the highest rate that is served in time.

    Args:
        answer: Answers a number of queries at once; returns when all are answered.
        max_batch: Most queries that are answered together, those that have arrived by then (dynamic batching); 1 for none.
        bound_s: Of the 99th percentile of latency.
        seed: Of the arrivals.
        queries: Fewest of each probe.
        min_s: Fewest seconds in which the queries of a probe arrive; None for `MIN_S`.

    Returns:
        All probes, by rate; none is in time where even a lone query takes longer than the bound.
    """
    one_s, all_s = (min(seconds_per_call(partial(answer, count)) for _ in range(4)) for count in (1, max_batch))
    # At a tenth of the load hardly a query waits; above what the largest batches take, the queue grows for ever.
    low, high = 0.1 / one_s, max_batch / all_s
    fewest_s = MIN_S if min_s is None else min_s

    def probe(rate_per_s: float, number: int) -> Probe:
        count = max(queries, round(rate_per_s * fewest_s))
        arrivals_s = np.cumsum(np.random.default_rng(seed + number).exponential(1 / rate_per_s, count))
        latencies_s = serve(answer, arrivals_s, max_batch, HOPELESS * bound_s)
        is_whole = len(latencies_s) == count
        in_time = is_whole and float(np.quantile(latencies_s, PERCENTILE / 100, method="higher")) <= bound_s
        return Probe(rate_per_s, latencies_s, in_time)

    probes = [probe(low, 0)]
    if probes[0].in_time:
        for number in range(1, PROBES):
            rate = math.sqrt(low * high)
            probes.append(probe(rate, number))
            if probes[-1].in_time:
                low = rate
            else:
                high = rate
    return sorted(probes, key=lambda one: one.rate_per_s)


def serve(
    answer: Callable[[int], object], arrivals_s: FloatArray, max_batch: int, give_up_s: float = math.inf
) -> FloatArray:
    """Answer queries as they arrive, in order, and return how long each took from its arrival.

    Args:
        answer: Answers a number of queries at once.
        arrivals_s: Seconds from the start, ascending. Shape (N,).
        max_batch: Most queries that are answered together.
        give_up_s: A query that took longer ends it.

    Returns:
        Seconds of each query up to there. Shape (N,) or shorter.
    """
    latencies_s = np.empty(len(arrivals_s))
    began_s, served = time.perf_counter(), 0
    while served < len(arrivals_s):
        wait_s = arrivals_s[served] - (time.perf_counter() - began_s)
        if wait_s > 0:
            if wait_s > SLEPT_S:
                time.sleep(wait_s - SLEPT_S)
            continue
        arrived = int(np.searchsorted(arrivals_s, time.perf_counter() - began_s, side="right"))
        batch = slice(served, min(arrived, served + max_batch))
        answer(batch.stop - batch.start)
        latencies_s[batch] = time.perf_counter() - began_s - arrivals_s[batch]
        served = batch.stop
        if latencies_s[batch.start] > give_up_s:
            break
    return latencies_s[:served]
