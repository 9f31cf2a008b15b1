"""Looks at a gate while it runs, each paid for.

Every look may raise a false alarm, so each gets a part of the error that the gate may make in all, more the more of the
budget is spent; the parts add up to the whole, whatever the looks have in common (Bonferroni's inequality). A benchmark
that is decided at a look stays decided.

Source:
    Lan, K. K. G. & DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. Biometrika 70(3), 659-663:
    spending the error as the trial goes on. Kim, K. & DeMets, D. L. (1987). Design and analysis of group sequential tests
    based on the type I error spending rate function. Biometrika 74(1), 149-154: the power family, here of power 2.
"""

from dataclasses import replace

from rnncore.compare.judge import FAMILY_ERROR, Key, Side, judge, settled
from rnncore.compare.measures import Measure
from rnncore.compare.signs import pairs_needed
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, Judgement

# Parts of the budget after which the gate looks at what it has. The last look gets as much of the error whatever the first.
LOOKS = (0.5, 0.75, 1.0)


class Looks:
    """The looks of one gate.

    Args:
        thresholds: How large a change must be.

    Attributes:
        decided: Verdicts that more processes are unlikely to change.
        comparison: What the latest look found; None before the first.
    """

    def __init__(self, thresholds: Thresholds) -> None:
        self.decided: dict[Key, Judgement] = {}
        self.comparison: Comparison | None = None
        self._thresholds = thresholds
        self._taken = self._paid = 0.0

    @property
    def undecided(self) -> int:
        """Judgements of the latest look that are open."""
        return len(self.comparison.judgements) - len(self.decided) if self.comparison else 0

    @property
    def decided_benchmarks(self) -> frozenset[str]:
        """Benchmarks of which every measure is decided."""
        found = self.comparison.judgements if self.comparison else ()
        return frozenset({key[0] for key in self.decided} - {one.fullname for one in found if one.key not in self.decided})

    def is_open(self, measure: Measure) -> bool:
        """Say whether a measure of any benchmark is open, as before the first look all are."""
        if self.comparison is None:
            return True
        return any(one.measure == measure and one.key not in self.decided for one in self.comparison.judgements)

    def is_due(self, spent: float) -> bool:
        """Say whether the spent part of the budget, from 0 to 1, calls for a look that was not taken yet."""
        return any(self._taken < look <= spent for look in LOOKS)

    def take(self, base: Side, head: Side, spent: float) -> Comparison:
        """Look at what there is.

        Args:
            base: Its processes so far.
            head: The same of the head.
            spent: How much of the budget is spent; 1 for the last look, which gets all that is left of the error.
        """
        reached = max(look for look in LOOKS if look <= spent)
        error = FAMILY_ERROR * (reached**2 - self._paid**2)
        self._taken = reached
        if reached < 1 and len(base.runs) < pairs_needed(error):
            # Too few to find a change: this look is for what stays the same, and costs nothing.
            error = 0.0
        else:
            self._paid = reached
        found = judge(base, head, self._thresholds, error, self.decided)
        self.decided = settled(found, base, head, self._thresholds)
        self.comparison = replace(found, family_error=FAMILY_ERROR)
        return self.comparison


def pairs_in(budget_s: float, pair_s: float) -> int:
    """Return how many pairs a budget holds, beside the one that warms up; at least one."""
    return max(1, int(budget_s / pair_s) - 1)
