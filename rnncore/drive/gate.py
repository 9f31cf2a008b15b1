"""Did this change make it slower? Two revisions, measured interleaved by many short processes, until that is clear.

The processes alternate in the order base, head, head, base: a drift of the machine changes both sides alike.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rnncore.compare.floors import above_noise, read_noise
from rnncore.compare.judge import Side
from rnncore.compare.looks import TURNS, Looks, processes_per_side
from rnncore.compare.measures import TIME
from rnncore.compare.profile import difference, explain
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison
from rnncore.drive.process import Suites, require_own_package, run_process
from rnncore.drive.worktrees import Tree, differing_pins, two_worktrees
from rnncore.errors import ConfigError, ProcessError
from rnncore.runfile.record import Run


@dataclass(frozen=True)
class Progress:
    """How far a gate is.

    Attributes:
        processes: Processes that have ended, warm-up left out.
        decided: Benchmarks whose verdict more processes are unlikely to change.
        undecided: The others; 0 before the first look too.
        left_s: Seconds of the budget that are left.
    """

    processes: int
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
) -> Comparison:
    """Measure two revisions interleaved and compare them.

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

    Raises:
        ConfigError: If a revision is unknown, its processes would measure other code, or a threshold that the project set
            lies below this machine's noise.
        ProcessError: If a process leaves no run file.
    """
    with two_worktrees(repository, base, head) as trees:
        for tree in trees:
            require_own_package(tree.path)
        comparison = measure_interleaved(trees, suites, budget_s, thresholds, store, folder, on_progress)
        pins = differing_pins(*trees)
        if pins:
            note = f"{' and '.join(pins)} differ between the revisions; both were measured with what is installed here."
            comparison = replace(comparison, notes=(*comparison.notes, note))
        return _with_profiles(comparison, trees, suites, folder)


def measure_interleaved(
    trees: tuple[Tree, Tree],
    suites: Suites,
    budget_s: float,
    thresholds: Thresholds,
    store: Path,
    folder: Path,
    on_progress: Callable[[Progress], None],
) -> Comparison:
    """Alternate processes of two trees until every benchmark is decided or the budget is spent.

    Args:
        trees: Base and head.
        suites: What each process runs.
        budget_s: Seconds for all processes.
        thresholds: How large a change must be.
        store: What is known of this machine's noise lies there.
        folder: Where the run files go.
        on_progress: Called after every process.

    Returns:
        What the last look found. However small the budget, one round is measured: base, head, head, base.

    Raises:
        ConfigError: If a threshold that the project set lies below this machine's noise.
        ProcessError: If a process leaves no run file.
    """
    began_s = time.monotonic()

    def left_s() -> float:
        return budget_s - (time.monotonic() - began_s)

    # The first process of a tree compiles bytecode and fills caches; it is not counted.
    warm_ups = [run_process(tree.path, suites, folder / f"{tree.path.name}-warm-up.json") for tree in trees]
    noise = read_noise(store, warm_ups[0].run.fingerprint, str(warm_ups[0].run.session["scale"]))
    if noise is not None:
        process_s = min(noise.process_s, *[process.wall_s for process in warm_ups])
        thresholds = above_noise(thresholds, noise, processes_per_side(budget_s, process_s))
    runs: tuple[list[Run], list[Run]] = ([], [])
    looks, round_s = Looks(thresholds), 0.0
    while True:
        round_began_s = time.monotonic()
        for side in TURNS:
            name = f"{trees[side].path.name}-{len(runs[side]):03}.json"
            runs[side].append(run_process(trees[side].path, suites, folder / name).run)
            on_progress(Progress(sum(map(len, runs)), len(looks.decided), looks.undecided, left_s()))
        round_s = max(round_s, time.monotonic() - round_began_s)
        is_last = left_s() < round_s
        spent = 1.0 if is_last else 1 - left_s() / budget_s
        if is_last or looks.is_due(spent):
            base, head = (Side(tree.name, tuple(measured)) for tree, measured in zip(trees, runs, strict=True))
            comparison = looks.take(base, head, spent)
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
