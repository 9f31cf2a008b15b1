"""How often the gate is right: gates replayed from processes of identical code and of planted delays.

The processes ran in blocks, each in an order of its own by chance. In each gate one benchmark of the head is a delayed one,
all else is identical code, and the looks are those of a real gate. What other rules would have said of the same processes
stands beside it.

Source:
    Clopper, C. J. & Pearson, E. S. (1934). The use of confidence or fiducial limits illustrated in the case of the binomial.
    Biometrika 26(4), 404-413.
"""

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from scipy.stats import beta, mannwhitneyu

from rnncore.compare.looks import LOOKS, Looks
from rnncore.compare.judge import Side
from rnncore.compare.runs import Record, Run, read_run
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import ConfigError

# Gates that are replayed for each delay.
REPLAYED_GATES = 300
SEED = 0

# Of the intervals of rates.
CONFIDENCE = 0.95

# asv compares all samples and calls a change where p is below this; the factor is ours, its own is 1.1.
ASV_ERROR = 0.002
ASV_FACTOR = 1.02

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
        alarms: Gates that called anything else slower.
    """

    rule: str
    delay_pct: float
    found: Rate | None
    alarms: Rate


@dataclass(frozen=True)
class Pool:
    """Processes to replay gates from, block by block.

    Attributes:
        plain: Two processes of identical code per block.
        delayed: One process per block with every benchmark delayed, by percent.
        process_s: Median seconds from the end of one process to that of the next.
    """

    plain: tuple[tuple[Run, Run], ...]
    delayed: Mapping[float, tuple[Run, ...]]
    process_s: float


# A rule says which benchmarks of two sides it calls slower.
Rule = Callable[[Sequence[Run], Sequence[Run]], set[str]]


def read_pool(folder: Path) -> Pool:
    """Read the processes that `rnncore selftest` ran; a block that broke off is left out.

    Raises:
        RunFileError: If a file cannot be read.
        ConfigError: If the folder holds no whole block.
    """
    blocks: dict[str, list[Run]] = {}
    for path in sorted(folder.glob("[0-9]*-[0-9]*.json")):
        blocks.setdefault(path.stem.split("-")[0], []).append(read_run(path))
    most = max(map(len, blocks.values()), default=0)
    whole = [runs for runs in blocks.values() if len(runs) == most and sum(_delay_pct(run) == 0 for run in runs) == 2]
    if not whole:
        raise ConfigError(f"{folder}: holds no whole block of a self-test. Give the folder 'processes' that one wrote.")
    plain = tuple((one, other) for one, other in ([run for run in runs if not _delay_pct(run)] for runs in whole))
    delays_pct = sorted({_delay_pct(run) for run in whole[0]} - {0.0})
    delayed = {wanted: tuple(run for runs in whole for run in runs if _delay_pct(run) == wanted) for wanted in delays_pct}
    ended = [datetime.fromisoformat(run.datetime) for runs in whole for run in runs]
    return Pool(plain, delayed, statistics.median((later - earlier).total_seconds() for earlier, later in pairwise(ended)))


def _delay_pct(run: Run) -> float:
    return float(run.records[0].extra.get("injected_delay_pct") or 0.0)


def score_rules(
    pool: Pool, budget_s: float, thresholds: Thresholds, gates: int = REPLAYED_GATES, on_gate: Callable[[int], None] = int
) -> list[Score]:
    """Replay gates of identical code and of each delay, by the gate's rule and by those of others.

    Args:
        pool: Processes.
        budget_s: Of each gate; says how many processes it has.
        thresholds: How large a change must be.
        gates: How many for each delay.
        on_gate: Told how many are done.

    Raises:
        ConfigError: If the pool is smaller than one gate.
    """
    # Two warm-up processes are not counted.
    pairs = int((budget_s / pool.process_s - 2) // 2)
    if not 2 <= pairs <= len(pool.plain):
        raise ConfigError(
            f"a gate of {budget_s:g} s has {pairs} processes a side here, and the pool {len(pool.plain)}. "
            f"Measure at least that many blocks, or choose another --budget."
        )
    rules: dict[str, Rule] = {
        "rnncore gate": lambda base, head: _gate_rule(base, head, thresholds),
        f"one process a side, min:{100 * (MIN_FACTOR - 1):.0f}% (pytest-benchmark)": _min_rule,
        f"all rounds, Mann-Whitney p < {ASV_ERROR:g} and {ASV_FACTOR:g}x (asv)": _asv_rule,
    }
    scores = []
    for number, delay_pct in enumerate((0.0, *pool.delayed)):
        called: dict[str, list[tuple[bool, bool]]] = {rule: [] for rule in rules}
        rng = random.Random(SEED)  # noqa: S311 (draws gates, no secret)
        for gate in range(gates):
            base, head, target = _replayed(pool, pairs, delay_pct, rng)
            for rule, call in rules.items():
                slower = call(base, head)
                called[rule].append((target in slower, bool(slower - {target})))
            on_gate(number * gates + gate + 1)
        for rule, outcomes in called.items():
            found = Rate(sum(hit for hit, _ in outcomes), gates) if delay_pct else None
            scores.append(Score(rule, delay_pct, found, Rate(sum(alarm for _, alarm in outcomes), gates)))
    return scores


def _replayed(pool: Pool, pairs: int, delay_pct: float, rng: random.Random) -> tuple[list[Run], list[Run], str | None]:
    """Draw a gate: neighbouring blocks, the sides of each by chance, and the benchmark that is delayed in the head."""
    names = [record.fullname for record in pool.plain[0][0].records]
    target = rng.choice(names) if delay_pct else None
    first = rng.randrange(len(pool.plain))
    base, head = [], []
    for step in range(pairs):
        block = (first + step) % len(pool.plain)
        one, other = pool.plain[block] if rng.random() < 0.5 else pool.plain[block][::-1]
        base.append(one)
        head.append(_with_record_of(other, pool.delayed[delay_pct][block], target) if delay_pct else other)
    return base, head, target


def _with_record_of(run: Run, other: Run, fullname: str | None) -> Run:
    """Return a run with one benchmark of another."""
    taken = {record.fullname: record for record in other.records}
    return replace(run, records=tuple(taken[one.fullname] if one.fullname == fullname else one for one in run.records))


def _gate_rule(base: Sequence[Run], head: Sequence[Run], thresholds: Thresholds) -> set[str]:
    looks = Looks(thresholds)
    for spent in LOOKS:
        seen = round(spent * len(base))
        found = looks.take(Side("base", tuple(base[:seen])), Side("head", tuple(head[:seen])), spent)
        if not looks.undecided:
            break
    return {judgement.fullname for judgement in found.judgements if judgement.verdict == "slower"}


def _min_rule(base: Sequence[Run], head: Sequence[Run]) -> set[str]:
    """Hold the last process of each side against the other, as pytest-benchmark does with two saved runs."""
    before = {record.fullname: min(record.rounds_s) for record in base[-1].records}
    return {one.fullname for one in head[-1].records if min(one.rounds_s) > MIN_FACTOR * before[one.fullname]}


def _asv_rule(base: Sequence[Run], head: Sequence[Run]) -> set[str]:
    """Hold all rounds of a side against those of the other, and their medians."""
    before, now = _all_rounds_s(base), _all_rounds_s(head)
    return {name for name in now if _asv_calls(before[name], now[name])}


def _asv_calls(base_s: list[float], head_s: list[float]) -> bool:
    median_of_base, median_of_head = sorted(base_s)[len(base_s) // 2], sorted(head_s)[len(head_s) // 2]
    return median_of_head > ASV_FACTOR * median_of_base and mannwhitneyu(base_s, head_s).pvalue < ASV_ERROR


def _all_rounds_s(runs: Sequence[Run]) -> dict[str, list[float]]:
    rounds_s: dict[str, list[float]] = {}
    for run in runs:
        for record in run.records:
            rounds_s.setdefault(record.fullname, []).extend(_some(record))
    return rounds_s


def _some(record: Record) -> Sequence[float]:
    """Return at most a hundred rounds of a process, evenly spread: quick calls have thousands."""
    return record.rounds_s[:: max(1, len(record.rounds_s) // 100)]
