"""Looks at a gate while it runs, each paid for.

Every look may raise a false alarm, so each gets a part of the error that the gate may make in all; the parts add up to the
whole, whatever the looks have in common (Bonferroni's inequality). The first look comes as soon as the test can reach a
small part of the error, which takes all signs alike: that settles large slowdowns. The others get what is left, more the
more of the budget is spent. When to look depends on pairs and the clock, not on the ratios. A benchmark that is decided at
a look stays decided.

Source:
    Lan, K. K. G. & DeMets, D. L. (1983). Discrete sequential boundaries for clinical trials. Biometrika 70(3), 659-663:
    spending the error as the trial goes on. Kim, K. & DeMets, D. L. (1987). Design and analysis of group sequential tests
    based on the type I error spending rate function. Biometrika 74(1), 149-154: the power family, here of power 3.
"""

from dataclasses import replace

from rnncore.compare.judge import FAMILY_ERROR, Key, Side, judge, settled
from rnncore.compare.measures import Measure
from rnncore.compare.signs import pairs_needed
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, Judgement

# Parts of the budget after which the gate looks at what it has.
LOOKS = (0.5, 0.75, 1.0)

# Pairs after which it looks before those, and the error of that look: what the test reaches with all signs alike.
FIRST_PAIRS = 10
FIRST_ERROR = 2.0 ** (1 - FIRST_PAIRS)

# The last look gets as much of the error as without a first one and with power 2, and so finds as much.
_POWER = 3

# Part of the error that a gate's last look has to spend, at least.
LAST_LOOK = (1 - FIRST_ERROR / FAMILY_ERROR) * (1 - LOOKS[-2] ** _POWER)


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
        self._taken = self._paid = self._paid_first = 0.0

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

    def is_due(self, pairs: int, spent: float) -> bool:
        """Say whether a look is due that was not taken yet.

        Args:
            pairs: That have ended; asked once after each.
            spent: Part of the budget that is spent, from 0 to 1.
        """
        return (pairs == FIRST_PAIRS and spent < LOOKS[0]) or any(self._taken < look <= spent for look in LOOKS)

    def take(self, base: Side, head: Side, spent: float) -> Comparison:
        """Look at what there is.

        Args:
            base: Its processes so far.
            head: The same of the head.
            spent: How much of the budget is spent; 1 for the last look, which gets all that is left of the error.
        """
        reached = max((look for look in LOOKS if look <= spent), default=0.0)
        if not reached:
            self._paid_first = FIRST_ERROR
        payable = self._paid_first + (FAMILY_ERROR - self._paid_first) * reached**_POWER
        error = payable - self._paid
        self._taken = reached
        if reached < 1 and len(base.runs) < pairs_needed(error):
            # Too few to find a change: this look is for what stays the same, and costs nothing.
            error = 0.0
        else:
            self._paid = payable
        return self._judged(base, head, error)

    def without_error(self, base: Side, head: Side) -> Comparison:
        """Look at what there is between two looks: it finds no change, and costs nothing; arguments as of `take`."""
        return self._judged(base, head, 0.0)

    def _judged(self, base: Side, head: Side, error: float) -> Comparison:
        found = judge(base, head, self._thresholds, error, self.decided)
        self.decided = settled(found, base, head, self._thresholds)
        self.comparison = replace(found, family_error=FAMILY_ERROR)
        return self.comparison


def pairs_in(budget_s: float, pair_s: float) -> int:
    """Return how many pairs a budget holds, beside the one that warms up; at least one."""
    return max(1, int(budget_s / pair_s) - 1)
