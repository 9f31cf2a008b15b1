"""Pairs of processes that were alive at once: what each says of the ratio between two revisions."""

import math
import statistics
from collections.abc import Callable, Sequence

from rnncore.compare.measures import TIME, Measure, kind_of
from rnncore.compare.signs import scatter
from rnncore.runfile.record import Record, Run

# What the ratios by processes scatter, as a part of what those by slots do, at most, where they are taken instead.
CLEARLY_LESS = 0.8


def pairs_of(base: Sequence[Run], head: Sequence[Run]) -> list[tuple[Run, Run]] | None:
    """Return the runs of two sides pair by pair; None where they are no pairs.

    Args:
        base: Runs of the base.
        head: Runs of the head.
    """
    bases, heads = ({run.pair: run for run in runs if run.pair is not None} for runs in (base, head))
    if not bases or set(bases) != set(heads) or {len(bases)} != {len(base), len(head)}:
        return None
    return [(bases[number], heads[number]) for number in sorted(bases)]


def log_ratios_of(pairs: Sequence[tuple[Record, Record] | None], measure: Measure) -> list[float]:
    """Return the logarithm of head over base in each pair; NaN where a side has no value, or one that has no ratio.

    A time is read in one of two ways, the same in all pairs of a benchmark. By slots: the median over them, each by the
    quickest rounds of the two sides, so that other load that falls on one slot counts in that one alone. By processes: the
    quickest rounds of all slots, which a loud host leaves alone in each process, though in different slots. The second is
    taken where it scatters clearly less. Scatter is one of sizes, whatever their signs: it does not know which side was
    slower, and so the test of `rnncore.compare.signs` holds.

    Args:
        pairs: Base and head of one benchmark; None where a side does not have it.
        measure: Which.

    Returns:
        One of each pair.
    """
    if measure != TIME:
        return _read(pairs, lambda base, head: _of_values(base, head, measure))
    by_slots, by_processes = _read(pairs, _by_slots), _read(pairs, _by_processes)
    return by_processes if scatter(by_processes) < CLEARLY_LESS * scatter(by_slots) else by_slots


def slot_log_ratios(base: Record, head: Record) -> list[float]:
    """Return the logarithm of head over base in each slot that both sides have, by the quickest rounds."""
    slots = zip(base.slots_s, head.slots_s, strict=False)
    return [math.log(min(of_head) / min(of_base)) for of_base, of_head in slots]


def _read(pairs: Sequence[tuple[Record, Record] | None], how: Callable[[Record, Record], float]) -> list[float]:
    return [math.nan if pair is None else how(*pair) for pair in pairs]


def _by_slots(base: Record, head: Record) -> float:
    logs = slot_log_ratios(base, head)
    return statistics.median(logs) if logs else _by_processes(base, head)


def _by_processes(base: Record, head: Record) -> float:
    return _of_values(base, head, TIME)


def _of_values(base: Record, head: Record, measure: Measure) -> float:
    before, now = (kind_of(measure).value(record) for record in (base, head))
    if before is None or now is None or min(before, now) <= 0:
        return math.nan
    return math.log(now / before)
