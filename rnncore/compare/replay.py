"""How often the gate is right: gates replayed from pairs of identical code and of planted delays.

The pairs ran in blocks, each in an order of its own by chance. In each gate one benchmark of the head is a delayed one,
all else is identical code, and the looks are those of a real gate. What other rules would have said of the same processes
is beside it.

Source:
    Clopper, C. J. & Pearson, E. S. (1934). The use of confidence or fiducial limits illustrated in the case of the binomial.
    Biometrika 26(4), 404-413.
"""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from scipy.stats import beta, mannwhitneyu

from rnncore.compare.judge import Side
from rnncore.compare.looks import Looks, pairs_in
from rnncore.compare.measures import TIME
from rnncore.compare.ranks import evenly_spread
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import ConfigError
from rnncore.runfile.checks import moment
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run

SEED = 0

# Of the intervals of rates.
CONFIDENCE = 0.95

# asv compares all samples and calls a change where p is below this; the factor is ours, its own is 1.1.
ASV_ERROR = 0.002
ASV_FACTOR = 1.02
# Rounds of a process that it is given: quick calls have thousands.
ASV_ROUNDS = 100

# What people give to pytest-benchmark's --benchmark-compare-fail.
MIN_FACTOR = 1.05


@dataclass(frozen=True)
class Rate:
    """How often something happened.

    Attributes:
        happened: Times that it did.
        tried: Times that it could have.
    """

    happened: int
    tried: int

    @property
    def share(self) -> float:
        """Part of the times, from 0 to 1."""
        return self.happened / self.tried

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of the share, Clopper and Pearson's, of 95 %."""
        tail, missed = (1 - CONFIDENCE) / 2, self.tried - self.happened
        low = float(beta.ppf(tail, self.happened, missed + 1)) if self.happened else 0.0
        return low, float(beta.ppf(1 - tail, self.happened + 1, missed)) if missed else 1.0


@dataclass(frozen=True)
class Score:
    """How one rule did with one delay.

    Attributes:
        rule: Its name.
        delay_pct: The delay of one benchmark of the head; 0 for identical code.
        found: Gates that called the delayed benchmark slower; None for identical code.
        found_of: The same by benchmark; empty for identical code.
        alarms: Gates that called anything else slower.
        unclear: Gates that left anything open.
    """

    rule: str
    delay_pct: float
    found: Rate | None
    found_of: Mapping[str, Rate]
    alarms: Rate
    unclear: Rate


@dataclass(frozen=True)
class Pool:
    """Pairs to replay gates from, block by block.

    Attributes:
        plain: A pair of identical code per block: base and head.
        delayed: A pair per block whose head has every benchmark delayed, by percent.
        pair_s: Median seconds from the end of one pair to that of the next.
    """

    plain: tuple[tuple[Run, Run], ...]
    delayed: Mapping[float, tuple[tuple[Run, Run], ...]]
    pair_s: float


@dataclass(frozen=True)
class Call:
    """What a rule says of a gate.

    Attributes:
        slower: What it calls slower: benchmarks, and for memory and sMAPE these with the measure.
        unclear: Whether it leaves anything open.
    """

    slower: frozenset[str]
    unclear: bool = False


Rule = Callable[[Sequence[Run], Sequence[Run]], Call]


def read_pool(folder: Path) -> Pool:
    """Read the pairs that `rnncore selftest` ran; a block that broke off is left out.

    Raises:
        RunFileError: If a file cannot be read.
        ConfigError: If there is no such folder, or it holds no whole block.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Give the folder 'processes' that 'rnncore selftest' wrote.")
    blocks: dict[str, dict[float, tuple[Run, Run]]] = {}
    for path in sorted(folder.glob("[0-9]*-*-base.json")):
        block, delay, _ = path.stem.split("-")
        head = path.with_name(f"{block}-{delay}-head.json")
        if head.exists():
            blocks.setdefault(block, {})[float(delay)] = read_run(path), read_run(head)
    delays_pct = sorted({delay_pct for pairs in blocks.values() for delay_pct in pairs})
    whole = [pairs for pairs in blocks.values() if sorted(pairs) == delays_pct]
    if not whole or delays_pct[0] != 0:
        raise ConfigError(f"{folder}: holds no whole block of a self-test. Give the folder 'processes' that one wrote.")
    by_delay = {delay_pct: tuple(pairs[delay_pct] for pairs in whole) for delay_pct in delays_pct}
    ended = sorted(moment(head.datetime) for pairs in whole for _, head in pairs.values())
    pair_s = statistics.median((later - earlier).total_seconds() for earlier, later in pairwise(ended))
    return Pool(by_delay.pop(0.0), by_delay, pair_s)


def score_rules(
    pool: Pool, budget_s: float, thresholds: Thresholds, gates: int, on_gate: Callable[[int], None] = lambda done: None
) -> list[Score]:
    """Replay gates of identical code and of each delay, by the gate's rule and by those of others.

    Args:
        pool: Pairs.
        budget_s: Of each gate; says how many pairs it has.
        thresholds: How large a change must be.
        gates: How many for each delay.
        on_gate: Called with how many are done.

    Raises:
        ConfigError: If the pool is smaller than one gate.
    """
    pairs = pairs_in(budget_s, pool.pair_s)
    if pairs > len(pool.plain):
        raise ConfigError(
            f"a gate of {budget_s:g} s has {pairs} pairs here, and the pool {len(pool.plain)}. "
            "Measure at least that many --blocks, or --replay these with a smaller --budget."
        )
    rules: dict[str, Rule] = {
        "rnncore gate": lambda base, head: _gate_rule(base, head, thresholds),
        f"one process a side, min:{100 * (MIN_FACTOR - 1):.0f}% (pytest-benchmark)": _min_rule,
        f"all rounds, Mann-Whitney p < {ASV_ERROR:g} and {ASV_FACTOR:g}x (asv)": _asv_rule,
    }
    scores = []
    for number, delay_pct in enumerate((0.0, *pool.delayed)):
        # Some calls are too quick for a delay that small: they had a larger one.
        targets = [
            record.fullname
            for record in (pool.delayed[delay_pct][0][1].records if delay_pct else ())
            if record.injected_delay_pct == delay_pct
        ]
        called: dict[str, list[tuple[str | None, Call]]] = {rule: [] for rule in rules}
        rng = random.Random(SEED)  # noqa: S311 (draws gates, no secret)
        for gate in range(gates):
            target = targets[gate % len(targets)] if targets else None
            base, head = _replayed(pool, pairs, delay_pct, target, rng)
            for rule, call in rules.items():
                called[rule].append((target, call(base, head)))
            on_gate(number * gates + gate + 1)
        scores += [_score(rule, delay_pct, calls) for rule, calls in called.items()]
    return scores


def _score(rule: str, delay_pct: float, calls: Sequence[tuple[str | None, Call]]) -> Score:
    found_of: dict[str, list[bool]] = {}
    for target, call in calls:
        if target is not None:
            found_of.setdefault(target, []).append(target in call.slower)
    hits = [hit for found in found_of.values() for hit in found]
    return Score(
        rule,
        delay_pct,
        _rate(hits) if hits else None,
        {target: _rate(found) for target, found in found_of.items()},
        _rate([bool(call.slower - {target}) for target, call in calls]),
        _rate([call.unclear for _, call in calls]),
    )


def _rate(outcomes: Sequence[bool]) -> Rate:
    return Rate(sum(outcomes), len(outcomes))


def _replayed(
    pool: Pool, pairs: int, delay_pct: float, target: str | None, rng: random.Random
) -> tuple[list[Run], list[Run]]:
    """Draw a gate from neighbouring blocks, sides by chance, and one benchmark from pairs with a delayed head.

    The sides of a delayed pair stay, as the slow one is the head: to swap them takes what the delay became in that pair,
    which is not known. Who was first was left to chance when it ran.
    """
    first = rng.randrange(len(pool.plain))
    base, head = [], []
    for step in range(pairs):
        block = (first + step) % len(pool.plain)
        sides = pool.plain[block] if rng.random() < 0.5 else pool.plain[block][::-1]
        delayed = pool.delayed[delay_pct][block] if target else sides
        one, other = (
            replace(
                run,
                session={**run.session, "pair": step},
                records=tuple(record for record in run.records if record.fullname != target)
                + tuple(record for record in of_target.records if record.fullname == target),
            )
            for run, of_target in zip(sides, delayed, strict=True)
        )
        base.append(one)
        head.append(other)
    return base, head


def _gate_rule(base: Sequence[Run], head: Sequence[Run], thresholds: Thresholds) -> Call:
    looks = Looks(thresholds)
    for seen in range(1, len(base) + 1):
        # As in a gate, whose budget holds a pair to warm up too.
        spent = (seen + 1) / (len(base) + 1)
        if looks.is_due(seen, spent):
            found = looks.take(Side("base", tuple(base[:seen])), Side("head", tuple(head[:seen])), spent)
            if not looks.undecided:
                break
    slower = [one for one in found.judgements if one.verdict == "slower"]
    names = (one.fullname if one.measure == TIME else f"{one.fullname} ({one.measure})" for one in slower)
    return Call(frozenset(names), any(one.verdict == "unclear" for one in found.judgements))


def _min_rule(base: Sequence[Run], head: Sequence[Run]) -> Call:
    """Hold the last process of each side against the other, as pytest-benchmark does with two saved runs."""
    before = {record.fullname: record.quickest_s for record in base[-1].records}
    return Call(frozenset(one.fullname for one in head[-1].records if one.quickest_s > MIN_FACTOR * before[one.fullname]))


def _asv_rule(base: Sequence[Run], head: Sequence[Run]) -> Call:
    """Hold all rounds of a side against those of the other, and their medians."""
    before, now = _all_rounds_s(base), _all_rounds_s(head)
    changed = (name for name in now if statistics.median(now[name]) > ASV_FACTOR * statistics.median(before[name]))
    return Call(frozenset(name for name in changed if float(mannwhitneyu(before[name], now[name]).pvalue) < ASV_ERROR))


def _all_rounds_s(runs: Sequence[Run]) -> dict[str, list[float]]:
    """Return rounds of each benchmark; of each process at most `ASV_ROUNDS`."""
    rounds_s: dict[str, list[float]] = {}
    for run in runs:
        for record in run.records:
            rounds_s.setdefault(record.fullname, []).extend(evenly_spread(record.rounds_s, ASV_ROUNDS))
    return rounds_s
