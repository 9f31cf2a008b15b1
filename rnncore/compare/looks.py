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
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, Judgement

# Which side each process of a round belongs to: 0 is the base.
TURNS = (0, 1, 1, 0)

# The first process of each side compiles bytecode and fills caches; it is not counted.
WARM_UPS = 2

# Parts of the budget after which the gate looks at what it has. The last look gets as much of the error whatever the first.
LOOKS = (0.2, 0.4, 0.6, 0.8, 1.0)


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
        self._spent = 0.0

    @property
    def undecided(self) -> int:
        """Judgements of the latest look that are open."""
        return len(self.comparison.judgements) - len(self.decided) if self.comparison else 0

    def is_due(self, spent: float) -> bool:
        """Say whether the spent part of the budget, from 0 to 1, calls for a look that was not taken yet."""
        return any(self._spent < look <= spent for look in LOOKS)

    def take(self, base: Side, head: Side, spent: float) -> Comparison:
        """Look at what there is.

        Args:
            base: Its processes so far.
            head: The same of the head.
            spent: How much of the budget is spent; 1 for the last look, which gets all that is left of the error.
        """
        reached = max(look for look in LOOKS if look <= spent)
        error = FAMILY_ERROR * (reached**2 - self._spent**2)
        self._spent = reached
        found = judge(base, head, self._thresholds, error, self.decided)
        self.decided = settled(found, base, head, self._thresholds)
        self.comparison = replace(found, family_error=FAMILY_ERROR)
        return self.comparison


def processes_per_side(budget_s: float, process_s: float) -> int:
    """Return how many processes of each side a budget holds, in whole rounds of turns; at least one round's."""
    rounds = int((budget_s / process_s - WARM_UPS) // len(TURNS))
    return max(1, rounds) * len(TURNS) // 2
