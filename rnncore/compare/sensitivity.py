"""Which slowdowns a gate can tell, and what it takes to tell a small one of all its benchmarks."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rnncore.compare.floors import Floor, NoiseRecord, floor_at
from rnncore.compare.measures import TIME
from rnncore.compare.thresholds import Thresholds

# The slowdown that a gate is asked for, and one that is shown beside it.
WANTED, BESIDE = 0.03, 0.05


@dataclass(frozen=True)
class Sensitivity:
    """What a gate can tell of its benchmarks; those whose threshold is no smaller than `WANTED` are left out.

    Attributes:
        pairs: That the gate holds.
        visible: By benchmark the smallest slowdown, such as 0.03, that 4 of 5 gates of as many pairs call; infinity where
            they call none.
        needed: By benchmark the pairs after which `WANTED` is visible, worked out from fewer where the noise is known for no
            more; infinity where it is not known.
        wide: How many were left out for their threshold.
        pair_s: Seconds of a pair.
        budget_s: Budget of a gate that tells `WANTED` of all; None where no budget is known to.
    """

    pairs: int
    visible: Mapping[str, float]
    needed: Mapping[str, float]
    wide: int
    pair_s: float
    budget_s: float | None = None

    @property
    def pairs_for_all(self) -> float:
        """Pairs after which `WANTED` is visible of all benchmarks; infinity where that is not known."""
        return max(self.needed.values(), default=0.0)

    def untold(self, change: float) -> list[str]:
        """Return the benchmarks of which a slowdown is not visible, those that hide the most first."""
        return sorted((name for name, seen in self.visible.items() if seen > change), key=lambda name: -self.visible[name])

    def seconds_until_told(self, pairs: int) -> float:
        """Return in how many seconds `WANTED` is visible of all benchmarks, of which some pairs have ended."""
        return max(0.0, self.pairs_for_all - pairs) * self.pair_s


def sensitivity_of(
    noise: NoiseRecord, names: Collection[str], thresholds: Thresholds, pairs: int, pair_s: float
) -> Sensitivity:
    """Return what a gate can tell.

    Args:
        noise: Of this machine; benchmarks that it lacks are left out.
        names: Benchmarks of the gate.
        thresholds: How large a change must be. Where noise has lifted one, more pairs lift it less.
        pairs: That the gate holds.
        pair_s: Seconds of a pair.
    """
    known = [name for name in names if name in noise.floors]
    set_by_hand = Thresholds(thresholds.rules, thresholds.source)
    tested = [name for name in known if set_by_hand.bounds(name, TIME).change < WANTED]
    visible = {name: max(_visible(floor_at(noise, name, pairs)), thresholds.bounds(name, TIME).change) for name in tested}
    needed = {name: _needed(noise, name) for name in tested}
    return Sensitivity(pairs, visible, needed, len(known) - len(tested), pair_s)


def _visible(floor: Floor) -> float:
    return math.inf if floor.visible is None else floor.visible


def _needed(noise: NoiseRecord, name: str) -> float:
    """Return after how many pairs the wanted slowdown is visible; beyond the most that is known, noise falls by the root."""
    floors = noise.floors[name]
    for floor in floors:
        if _visible(floor) <= WANTED:
            return floor.pairs
    last = floors[-1]
    return math.inf if last.visible is None else math.ceil(last.pairs * (last.visible / WANTED) ** 2)
