"""Did this change make it slower? Two revisions, measured in pairs of live processes until that is clear."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import SystemRandom

from rnncore.compare.budgets import Budget, judge_budgets, read_budgets
from rnncore.compare.floors import NoiseRecord, above_noise, noise_so_far, read_noise, require_readable_noise
from rnncore.compare.judge import FAMILY_ERROR, Side, judge
from rnncore.compare.looks import FIRST_PAIRS, Looks, pairs_in
from rnncore.compare.measures import TIME
from rnncore.compare.profile import difference, explain
from rnncore.compare.sensitivity import Sensitivity, sensitivity_of
from rnncore.compare.signs import pairs_needed
from rnncore.compare.thresholds import Thresholds, read_thresholds
from rnncore.compare.verdict import VERDICTS, Comparison, Judgement
from rnncore.drive.environment import Preparation, two_revisions
from rnncore.drive.pairs import FEWEST_SLOTS, Pair, Plan, budget_for, planned, run_pair, too_long
from rnncore.drive.patience import Patience
from rnncore.drive.process import NothingToMeasureError, require_own_package, require_slots, run_process
from rnncore.drive.reach import Reached, find_reached, nothing_measured
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree, differing_pins
from rnncore.errors import ConfigError, ProcessError
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Run

# A gate of more minutes is nobody's advice, and one of more hours nobody's wish.
LONGEST_MIN, LONGEST_H = 240, 168

# Of the budget, and beside it: what finding out what benchmarks read may take.
REACH_SHARE = 0.5

# Verdicts on benchmarks that no run of the head may have a result of, though it has the benchmark.
_WITHOUT_RUNS = ("same", "unclear", "invalid", "not judged")

# What grew, and why that is not known: one of the two.
Grown = tuple[str | None, str | None]

# Why it is not known what grew in something that became slower.
_OF_OTHERS = "benchmarks of other suites are not profiled"
_NO_PROFILES = "its profiled processes gave none"
_SHRANK = "the one profile of each side shows no growth"


@dataclass(frozen=True)
class Progress:
    """How far a gate is.

    Attributes:
        pairs: Pairs of processes that have ended, warm-up left out.
        decided: Measures of benchmarks whose verdict more pairs are unlikely to change.
        undecided: The others; 0 before the first look too.
        left_s: Seconds of the budget that are left.
        sensitivity: What can be told of the undecided benchmarks; None while their noise is not known.
    """

    pairs: int
    decided: int
    undecided: int
    left_s: float
    sensitivity: Sensitivity | None = None


def run_gate(
    repository: Path,
    base: str,
    head: str,
    suites: Suites,
    budget_s: float,
    store: Path,
    folder: Path,
    on_progress: Callable[[Progress], None],
    fail_fast: bool = False,
    everything: bool = False,
    on_reach: Callable[[str], None] = lambda line: None,
    preparation: Preparation = Preparation(),  # noqa: B008 (it cannot change)
    on_start: Callable[[], None] = lambda: None,
) -> Comparison:
    """Measure what a change can reach, in two revisions interleaved, and compare them.

    Args:
        repository: A folder in the repository.
        base: A revision.
        head: A revision, or `worktree`.
        suites: What each process runs.
        budget_s: Seconds for all processes; profiles of what became slower come after.
        store: What is known of this machine's noise lies there.
        folder: Where the run files go.
        on_progress: Called after every pair, and before the first where this machine's noise is on record.
        fail_fast: End with the first that is slower or invalid.
        everything: Whether to measure also what the change cannot reach.
        on_reach: Called with lines on what it can, on what is prepared, and on what takes long or ends its process.
        preparation: What is done in each revision beforehand.
        on_start: Called once nothing of what is asked for is refused.

    Raises:
        ConfigError: If a revision is unknown or older than slots, its processes would measure other code, or a budget or a
            threshold that the head sets is none, or a threshold lies below this machine's noise.
        RunFileError: If what is known of this machine's noise is damaged.
        ProcessError: If a process leaves no run file.
    """
    require_readable_noise(store)
    with two_revisions(repository, base, head, preparation, on_reach) as trees:
        settings = trees[1].path, f"pyproject.toml of {trees[1].name}"
        thresholds, budgets = read_thresholds(*settings), read_budgets(*settings)
        for tree in trees:
            require_own_package(tree)
            require_slots(tree)
        on_start()
        is_built = preparation.command is not None
        reached = (
            Reached(suites)
            if everything or is_built
            else find_reached(trees, suites, store, on_reach, budget_s * REACH_SHARE)
        )
        if reached.suites is None:
            return _with_budgets(reached.added_to(nothing_measured(trees)), budgets, suites, folder, reached.skipped)
        try:
            comparison = measure_in_pairs(
                trees, reached.suites, budget_s, thresholds, store, folder, on_progress, fail_fast, on_reach
            )
        except NothingToMeasureError as error:
            if error.side != trees[0].side:
                raise
            comparison = _of_head_alone(trees, reached.suites, thresholds, folder, budget_s, error)
        pins = differing_pins(*trees)
        if pins and not preparation.is_isolated:
            listed = f"{' and '.join(pins)} {'differ' if pins[1:] else 'differs'}"
            note = f"{listed} between the revisions; both were measured with what is installed here."
            comparison = replace(comparison, notes=(*comparison.notes, note))
        comparison = reached.added_to(_with_profiles(comparison, trees, suites, folder))
        return _with_budgets(comparison, budgets, suites, folder, reached.skipped)


def measure_in_pairs(
    trees: tuple[Tree, Tree],
    suites: Suites,
    budget_s: float,
    thresholds: Thresholds,
    store: Path,
    folder: Path,
    on_progress: Callable[[Progress], None],
    fail_fast: bool = False,
    on_line: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Measure pairs of two trees until every benchmark is decided or the budget is spent.

    Args:
        trees: Base and head.
        suites: What each process runs.
        budget_s: Seconds for all pairs.
        thresholds: How large a change must be.
        store: What is known of this machine's noise lies there.
        folder: Where the run files go.
        on_progress: Called after every pair, and before the first where this machine's noise is on record.
        fail_fast: End at the first look that finds something slower, and after the first pair that has an invalid result.
        on_line: Called with lines on what takes long, or ends its process.

    Returns:
        What the last look found. However small the budget, one pair is measured.

    Raises:
        ConfigError: If a threshold that the project set lies below this machine's noise.
        ProcessError: If a process leaves no run file.
    """
    began_s, chance, patience = time.monotonic(), SystemRandom(), Patience(suites.arguments, on_line)

    def left_s() -> float:
        return budget_s - (time.monotonic() - began_s)

    def measured(number: int | None, plan: Plan, suites: Suites) -> Pair:
        name = "warm-up" if number is None else f"{number:03}"
        run_files = [folder / f"{tree.side}-{name}.json" for tree in trees]
        return run_pair(trees, suites, run_files, plan, number, chance, patience=patience)

    # The first processes of a tree compile bytecode and fill caches, and show how long a pair takes: it is not counted.
    warm_up = measured(None, Plan(slots=FEWEST_SLOTS, measures_memory=False), suites)
    start = _start(warm_up, suites, left_s())
    plan, names, whole_s = start.plan, start.names, start.whole_s
    noise = read_noise(store, warm_up.base.fingerprint, str(warm_up.base.session.get("scale")))
    is_of_all = not suites.is_selection and not start.suites.without
    thresholds = replace(thresholds, is_of_all=is_of_all)
    thresholds = above_noise(thresholds, noise, names, pairs_in(budget_s, whole_s))
    if noise and not noise.floors.keys() >= set(names):
        noise = None
    sensitivity = _sensitivity(noise, names, thresholds, pairs_in(budget_s, whole_s), whole_s, whole_s)
    if sensitivity:
        on_progress(Progress(0, 0, 0, left_s(), sensitivity))
    pairs: list[Pair] = []
    looks = Looks(thresholds)
    while True:
        of_next = replace(plan, without=looks.decided_benchmarks, measures_memory=looks.is_open("memory"))
        pairs.append(measured(len(pairs), of_next, start.suites))
        plan = replace(plan, fatal=pairs[-1].fatal)
        pair_s = pairs[-1].wall_s
        on_progress(Progress(len(pairs), len(looks.decided), looks.undecided, left_s(), sensitivity))
        base = Side(trees[0].name, tuple(pair.base for pair in pairs))
        head = Side(trees[1].name, tuple(pair.head for pair in pairs))
        # The next takes no longer: benchmarks are left out, and none comes back.
        is_last = left_s() < pair_s
        spent = 1.0 if is_last else 1 - left_s() / budget_s
        if is_last or looks.is_due(len(pairs), spent):
            comparison = looks.take(base, head, spent)
            if is_last or not looks.undecided:
                return _whole(comparison, start.untimed, len(pairs), whole_s)
        elif fail_fast and _became_invalid(pairs[-1]):
            comparison = looks.without_error(base, head)
        else:
            continue
        if fail_fast and any(VERDICTS[one.verdict].exit_code == 1 for one in comparison.judgements):
            return _ended_early(_whole(comparison, start.untimed, len(pairs), whole_s))
        so_far = noise or noise_so_far(
            list(zip(base.runs, head.runs, strict=True)), [one.wall_s for one in pairs], thresholds
        )
        undecided = [name for name in names if (name, TIME) not in looks.decided]
        sensitivity = _sensitivity(so_far, undecided, thresholds, len(pairs) + int(left_s() / pair_s), pair_s, whole_s)


def _of_head_alone(
    trees: tuple[Tree, Tree],
    suites: Suites,
    thresholds: Thresholds,
    folder: Path,
    budget_s: float,
    of_base: NothingToMeasureError,
) -> Comparison:
    """Measure the head once, where the base has nothing of what is asked for: what is new can be wrong, and not slower.

    Raises:
        ProcessError: If the head has nothing of it either.
    """
    try:
        run = run_process(trees[1], suites, folder / "head-000.json", timeout_s=budget_s).run
    except NothingToMeasureError:
        raise ProcessError(f"Neither side has what was asked for: {of_base}") from None
    nothing = replace(run, records=(), failed=(), skipped=())
    found = judge(Side(trees[0].name, (nothing,)), Side(trees[1].name, (run,)), thresholds)
    note = "The base has none of these benchmarks: nothing of them can be slower."
    return replace(found, notes=(note,), is_without_base=True)


@dataclass(frozen=True)
class _Start:
    """What the first processes tell of the pairs to come.

    Attributes:
        plan: Of each pair.
        suites: What each measures, without what there is no time for.
        names: Benchmarks that are measured and right on both sides.
        untimed: Verdicts on those that there is no time for.
        whole_s: Seconds of a pair of all benchmarks.
    """

    plan: Plan
    suites: Suites
    names: list[str]
    untimed: list[Judgement]
    whole_s: float


def _start(warm_up: Pair, suites: Suites, left_s: float) -> _Start:
    """Plan pairs: more of some benchmarks tell more than a few of all, which tell nothing."""
    plan = planned(warm_up, left_s)
    names, whole_s = _measured_on_both(warm_up), warm_up.wall_of(plan)
    without = frozenset(names) & too_long(warm_up, plan, left_s, FIRST_PAIRS)
    return _Start(
        plan,
        replace(suites, without=suites.without | without),
        [name for name in names if name not in without],
        [_untimed(warm_up, name, len(names), whole_s) for name in sorted(without)],
        whole_s,
    )


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
    if not 0 < seconds <= 3600 * LONGEST_H:
        raise ConfigError(f"--budget is {text!r}; give a number and s, m or h, such as 10m, and {LONGEST_H}h at most.")
    return seconds


def _measured_on_both(pair: Pair) -> list[str]:
    """Return the benchmarks of which both sides have a result that is right."""
    of_base = {record.fullname for record in pair.base.records if record.is_valid}
    return [record.fullname for record in pair.head.records if record.is_valid and record.fullname in of_base]


def _whole(comparison: Comparison, untimed: Sequence[Judgement], pairs: int, whole_s: float) -> Comparison:
    """Return verdicts with those on what there was no time for, and a note where the pairs are too few for any other."""
    judgements, notes = (*comparison.judgements, *untimed), comparison.notes
    fewest = pairs_needed(FAMILY_ERROR)
    if 1 < pairs < fewest and any(one.verdict == "unclear" for one in judgements):
        minutes = budget_for(fewest, whole_s)
        notes = (*notes, f"The budget held {pairs} pairs, and {fewest} tell something: --budget {minutes}m, or less by -k.")
    return replace(comparison, judgements=judgements, notes=notes)


def _untimed(warm_up: Pair, fullname: str, count: int, whole_s: float) -> Judgement:
    """Return the verdict on one of some benchmarks, for which there is no time."""
    minutes = budget_for(FIRST_PAIRS, whole_s)
    reason = f"the budget has no time for it beside the others: {FIRST_PAIRS} pairs of all {count} take --budget {minutes}m"
    group = next((record.group for record in warm_up.head.records if record.fullname == fullname), "other")
    return Judgement(fullname, group, TIME, "unclear", reason)


def _became_invalid(pair: Pair) -> bool:
    """Say whether the head has a wrong result where the base has none."""
    return not _wrong(pair.head) <= _wrong(pair.base)


def _wrong(run: Run) -> set[str]:
    """Return the benchmarks that failed, or whose result is wrong."""
    return {name for name, _, _ in run.failed} | {one.fullname for one in run.records if not one.is_valid}


def _sensitivity(
    noise: NoiseRecord | None, names: Sequence[str], thresholds: Thresholds, pairs: int, pair_s: float, whole_s: float
) -> Sensitivity | None:
    """Return what a gate of some pairs can tell, and the budget that tells it of all; None where nothing is known.

    Args:
        noise: Of the machine.
        names: Benchmarks that are asked about.
        thresholds: How large a change must be.
        pairs: Of the gate.
        pair_s: Seconds of a pair as it is now.
        whole_s: Seconds of one of all benchmarks.
    """
    if noise is None or not names:
        return None
    found = sensitivity_of(noise, names, thresholds, pairs, pair_s)
    budgets_s = (60.0 * minutes for minutes in range(1, LONGEST_MIN + 1))
    enough = (one for one in budgets_s if pairs_in(one, whole_s) >= found.pairs_for_all)
    return replace(found, budget_s=next(enough, None))


def _with_budgets(
    comparison: Comparison, budgets: Sequence[Budget], suites: Suites, folder: Path, skipped: Collection[str]
) -> Comparison:
    """Return a comparison with verdicts on the head's budgets, where it sets any; of what was skipped none is due."""
    if not budgets:
        return comparison
    # Of the pairs, by their numbers: the process that warms up, and one that is profiled, are timed otherwise.
    runs = tuple(read_run(path) for path in sorted(folder.glob("head-[0-9]*.json")))
    # What the change cannot reach, what there was no time for, and what ended its process, are not in the runs.
    left_out = dict.fromkeys(skipped, "it is skipped here")
    left_out |= {one.fullname: one.reason for one in comparison.judgements if one.verdict in _WITHOUT_RUNS}
    check = judge_budgets(budgets, Side(comparison.head, runs), left_out, suites.is_selection)
    return replace(comparison, budgets=check)


def _ended_early(comparison: Comparison) -> Comparison:
    return replace(
        comparison,
        judgements=tuple(
            replace(one, reason="--fail-fast ended the gate before this was decided") if one.verdict == "unclear" else one
            for one in comparison.judgements
        ),
    )


def _with_profiles(comparison: Comparison, trees: tuple[Tree, Tree], suites: Suites, folder: Path) -> Comparison:
    """Name the operations that grew in each benchmark that became slower, from one profiled process of each side."""
    slower = {one.fullname for one in comparison.judgements if one.verdict == "slower" and one.measure == TIME}
    if not slower:
        return comparison
    ours = slower & {record.fullname for record in read_run(folder / "head-000.json").records if record.has_case}
    found: dict[str, Grown] = {name: (None, _NO_PROFILES if name in ours else _OF_OTHERS) for name in slower}
    if ours:
        try:
            found |= _grown(ours, trees, suites, folder)
        except ProcessError as error:
            comparison = replace(comparison, notes=(*comparison.notes, f"No profiles of what became slower: {error}"))
    return replace(
        comparison,
        judgements=tuple(
            replace(one, grown=found[one.fullname][0], grown_why=found[one.fullname][1])
            if one.measure == TIME and one.fullname in slower
            else one
            for one in comparison.judgements
        ),
    )


def _grown(names: set[str], trees: tuple[Tree, Tree], suites: Suites, folder: Path) -> dict[str, Grown]:
    """Return what grew in each of some benchmarks that both sides have a profile of.

    Raises:
        ProcessError: If a process leaves no run file.
    """

    def profiled(tree: Tree) -> dict[str, Record]:
        some = replace(suites, paths=tuple(_path_of(name, tree, suites) for name in sorted(names)))
        run = run_process(tree, some, folder / f"{tree.side}-profiled.json", ["--rnn-profile"]).run
        return {record.fullname: record for record in run.records}

    base, head = map(profiled, trees)
    changes = {
        name: difference(base[name], head[name])
        for name in names & base.keys() & head.keys()
        if base[name].profile and head[name].profile
    }
    # One profile of each side is noisy: where it is no slower, it names nothing that grew.
    return {name: (explain(change), None) if change.change_s > 0 else (None, _SHRANK) for name, change in changes.items()}


def _path_of(fullname: str, tree: Tree, suites: Suites) -> str:
    """Return a benchmark as a path relative to the folder that a tree's processes run in.

    Its name begins at pytest's root, which is where the settings lie: in that folder, above it, or beside the suites.
    """
    file, separator, test = fullname.partition("::")
    places = [tree.path / suite.partition("::")[0] for suite in suites.paths]
    below = (one for place in places for one in (place, *place.parents) if one.is_relative_to(tree.path))
    above = (one for one in tree.path.parents if one.is_relative_to(tree.top or tree.path))
    for root in (tree.path, *above, *below):
        if (root / file).is_file() and (root / file).is_relative_to(tree.path):
            return f"{(root / file).relative_to(tree.path).as_posix()}{separator}{test}"
    return fullname
