"""Pairs of processes that were alive at once: what each says of the ratio between two revisions."""

import math
import statistics
from collections.abc import Sequence

from rnncore.compare.measures import TIME, Measure, kind_of
from rnncore.runfile.record import Record, Run


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


def log_ratio(base: Record, head: Record, measure: Measure) -> float:
    """Return the logarithm of head over base in one pair; NaN where a side has no value, or one that has no ratio.

    Of the time it is the median over the slots, each by the quickest rounds of the two sides: other load that falls on one
    slot counts in that one alone.
    """
    if measure == TIME and base.slots_s and head.slots_s:
        slots = zip(base.slots_s, head.slots_s, strict=False)
        return statistics.median(math.log(min(of_head) / min(of_base)) for of_base, of_head in slots)
    before, now = (kind_of(measure).value(record) for record in (base, head))
    if before is None or now is None or min(before, now) <= 0:
        return math.nan
    return math.log(now / before)
