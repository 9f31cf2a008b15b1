"""Did this change make it slower? Two revisions, measured in pairs of live processes until that is clear."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import SystemRandom

from rnncore.compare.floors import above_noise, read_noise
from rnncore.compare.judge import Side
from rnncore.compare.looks import Looks, pairs_in
from rnncore.compare.measures import TIME
from rnncore.compare.profile import difference, explain
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison
from rnncore.drive.pairs import FEWEST_SLOTS, Pair, Plan, planned, run_pair
from rnncore.drive.process import Suites, require_own_package, run_process
from rnncore.drive.reach import Reached, find_reached, nothing_measured
from rnncore.drive.worktrees import Tree, differing_pins, two_worktrees
from rnncore.errors import ConfigError, ProcessError


@dataclass(frozen=True)
class Progress:
    """How far a gate is.

    Attributes:
        pairs: Pairs of processes that have ended, warm-up left out.
        decided: Measures of benchmarks whose verdict more pairs are unlikely to change.
        undecided: The others; 0 before the first look too.
        left_s: Seconds of the budget that are left.
    """

    pairs: int
    decided: int
    undecided: int
    left_s: float


def run_gate(
    repository: Path,
    base: str,
    head: str,
    suites: Suites,
    budget_s: float,
    thresholds: Thresholds,
    store: Path,
    folder: Path,
    on_progress: Callable[[Progress], None],
    everything: bool = False,
    on_reach: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Measure what a change can reach, in two revisions interleaved, and compare them.

    Args:
        repository: A folder in the repository.
        base: A revision.
        head: A revision, or `worktree`.
        suites: What each process runs.
        budget_s: Seconds for all processes; profiles of what became slower come after.
        thresholds: How large a change must be.
        store: What is known of this machine's noise lies there.
        folder: Where the run files go.
        on_progress: Called after every process.
        everything: Whether to measure also what the change cannot reach.
        on_reach: Called with lines on what it can.

    Raises:
        ConfigError: If a revision is unknown, its processes would measure other code, or a threshold that the project set
            lies below this machine's noise.
        ProcessError: If a process leaves no run file.
    """
    with two_worktrees(repository, base, head) as trees:
        for tree in trees:
            require_own_package(tree.path)
        reached = Reached(suites) if everything else find_reached(trees, suites, store, on_reach)
        if reached.suites is None:
            return reached.added_to(nothing_measured(trees))
        comparison = measure_in_pairs(trees, reached.suites, budget_s, thresholds, store, folder, on_progress)
        pins = differing_pins(*trees)
        if pins:
            note = f"{' and '.join(pins)} differ between the revisions; both were measured with what is installed here."
            comparison = replace(comparison, notes=(*comparison.notes, note))
        return reached.added_to(_with_profiles(comparison, trees, suites, folder))


def measure_in_pairs(
    trees: tuple[Tree, Tree],
    suites: Suites,
    budget_s: float,
    thresholds: Thresholds,
    store: Path,
    folder: Path,
    on_progress: Callable[[Progress], None],
) -> Comparison:
    """Measure pairs of two trees until every benchmark is decided or the budget is spent.

    Args:
        trees: Base and head.
        suites: What each process runs.
        budget_s: Seconds for all pairs.
        thresholds: How large a change must be.
        store: What is known of this machine's noise lies there.
        folder: Where the run files go.
        on_progress: Called after every pair.

    Returns:
        What the last look found. However small the budget, one pair is measured.

    Raises:
        ConfigError: If a threshold that the project set lies below this machine's noise.
        ProcessError: If a process leaves no run file.
    """
    began_s, chance = time.monotonic(), SystemRandom()

    def left_s() -> float:
        return budget_s - (time.monotonic() - began_s)

    def measured(number: int | None, plan: Plan) -> Pair:
        name = "warm-up" if number is None else f"{number:03}"
        run_files = [folder / f"{tree.path.name}-{name}.json" for tree in trees]
        return run_pair([tree.path for tree in trees], suites, run_files, plan, number, chance)

    # The first processes of a tree compile bytecode and fill caches, and show how long a pair takes: it is not counted.
    warm_up = measured(None, Plan(slots=FEWEST_SLOTS))
    plan = planned(warm_up, budget_s)
    noise = read_noise(store, warm_up.base.fingerprint, str(warm_up.base.session["scale"]))
    if noise is not None:
        thresholds = above_noise(thresholds, noise, pairs_in(budget_s, warm_up.wall_of(plan)))
    pairs: list[Pair] = []
    looks, longest_s = Looks(thresholds), 0.0
    while True:
        pairs.append(measured(len(pairs), replace(plan, without=looks.decided_benchmarks)))
        longest_s = max(longest_s, pairs[-1].wall_s)
        on_progress(Progress(len(pairs), len(looks.decided), looks.undecided, left_s()))
        is_last = left_s() < longest_s
        spent = 1.0 if is_last else 1 - left_s() / budget_s
        if is_last or looks.is_due(spent):
            base = Side(trees[0].name, tuple(pair.base for pair in pairs))
            comparison = looks.take(base, Side(trees[1].name, tuple(pair.head for pair in pairs)), spent)
            if is_last or not looks.undecided:
                return comparison


def parse_budget(text: str) -> float:
    """Return the seconds of a budget such as `90s`, `10m` or `1h`.

    Raises:
        ConfigError: If it is none.
    """
    unit_s = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:])
    try:
        seconds = float(text[:-1]) * (unit_s or 0.0)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"--budget is {text!r}; give a number and s, m or h, such as 10m.")
    return seconds


def _with_profiles(comparison: Comparison, trees: tuple[Tree, Tree], suites: Suites, folder: Path) -> Comparison:
    """Name the operations that grew in each benchmark that became slower, from one profiled process of each side."""
    slower = {one.fullname for one in comparison.judgements if one.verdict == "slower" and one.measure == TIME}
    if not slower:
        return comparison
    profiled = replace(suites, paths=tuple(sorted(slower)))
    try:
        base, head = (
            {
                record.fullname: record
                for record in run_process(
                    tree.path, profiled, folder / f"{tree.path.name}-profiled.json", ["--rnn-profile"]
                ).run.records
            }
            for tree in trees
        )
    except ProcessError as error:
        return replace(comparison, notes=(*comparison.notes, f"No profiles of what became slower: {error}"))
    grown = {
        name: explain(difference(base[name], head[name]))
        for name in slower & base.keys() & head.keys()
        if base[name].profile and head[name].profile
    }
    return replace(
        comparison,
        judgements=tuple(
            replace(one, grown=grown.get(one.fullname)) if one.measure == TIME else one for one in comparison.judgements
        ),
    )
