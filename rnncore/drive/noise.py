"""Pairs of identical code, and of planted delays, to know the gate by."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from rnncore.amounts import counted
from rnncore.compare.judge import FAMILY_ERROR
from rnncore.compare.looks import FIRST_PAIRS, pairs_in
from rnncore.compare.signs import pairs_needed
from rnncore.drive.pairs import FEWEST_SLOTS, Pair, Plan, budget_for, planned, run_pair, too_long
from rnncore.drive.patience import Patience
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree
from rnncore.errors import ConfigError

SEED = 0


def measure_noise(
    trees: Sequence[Tree],
    suites: Suites,
    pairs: int,
    folder: Path,
    on_pair: Callable[[int], None],
    budget_s: float = math.inf,
    on_line: Callable[[str], None] = lambda line: None,
) -> list[Pair]:
    """Run pairs of identical code as a gate would, without the benchmarks that it has no time for.

    Args:
        trees: The code, twice.
        suites: What each process runs.
        pairs: How many.
        folder: Where the run files go.
        on_pair: Called with how many have ended.
        budget_s: Of the gate.
        on_line: Called with a line on what is left out, and on what takes long or ends its process.

    Raises:
        ProcessError: If a process leaves no run file.
    """
    chance = Random(SEED)  # noqa: S311 (an order, no secret)
    patience = Patience(suites.arguments, on_line)
    warm_up = _warmed_up(trees, suites, folder, chance, patience)
    plan = replace(planned(warm_up, budget_s - warm_up.wall_s), measures_memory=False)
    without = too_long(warm_up, plan, budget_s - warm_up.wall_s, FIRST_PAIRS)
    if without:
        minutes = budget_for(FIRST_PAIRS, warm_up.wall_of(plan))
        names = ", ".join(sorted(without))
        every = f"All {len(warm_up.slots_s_of)} take --budget {minutes}m."
        on_line(f"Left out, as a gate of {budget_s:g} s has no time for it: {names}. {every}")
    suites, found = replace(suites, without=suites.without | without), list[Pair]()
    for number in range(pairs):
        found.append(run_pair(trees, suites, _files(folder, f"{number:03}"), plan, number, chance, patience=patience))
        plan = replace(plan, fatal=found[-1].fatal)
        on_pair(number + 1)
    return found


def measure_pool(
    trees: Sequence[Tree],
    suites: Suites,
    blocks: int,
    delays_pct: Sequence[float],
    budget_s: float,
    folder: Path,
    on_pair: Callable[[int], None],
    on_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Run blocks of one pair of identical code and one for each delay of the head, each block in an order of its own.

    Args:
        trees: The code, twice.
        suites: What each process runs.
        blocks: How many.
        delays_pct: Delays of every benchmark of the head, in percent.
        budget_s: Of the gates that are to be replayed.
        folder: Where the run files go; `read_pool` reads them.
        on_pair: Called with how many have ended.
        on_line: Called with a line on what takes long or ends its process.

    Raises:
        ConfigError: If the pairs of one such gate are too few to find anything, or more than the blocks; known after the
            first pair.
        ProcessError: If a process leaves no run file.
    """
    chance = Random(SEED)  # noqa: S311 (an order, no secret)
    patience = Patience(suites.arguments, on_line)
    warm_up = _warmed_up(trees, suites, folder, chance, patience)
    plan = planned(warm_up, budget_s - warm_up.wall_s)
    wanted = pairs_in(budget_s, warm_up.wall_of(plan))
    fewest = pairs_needed(FAMILY_ERROR)
    if wanted < fewest:
        raise ConfigError(
            f"a gate of {budget_s:g} s has {counted(wanted, 'pair')} here, and of fewer than {fewest} it finds nothing. "
            f"Give --budget {budget_for(fewest, warm_up.wall_of(plan))}m or more, or choose fewer benchmarks with -k."
        )
    if wanted > blocks:
        raise ConfigError(
            f"a gate of {budget_s:g} s has {wanted} pairs here, and {blocks} blocks are too few to draw from. "
            f"Give --blocks {wanted} or more, or a smaller --budget."
        )
    ended = 0
    for block in range(blocks):
        kinds = [0.0, *delays_pct]
        chance.shuffle(kinds)
        for delay_pct in kinds:
            slower = [f"--rnn-delay={delay_pct:g}:*"] if delay_pct else []
            files = _files(folder, f"{block:03}-{delay_pct:g}")
            # Memory is not delayed: pairs of identical code tell it.
            run_pair(trees, suites, files, replace(plan, measures_memory=not slower), block, chance, ([], slower), patience)
            ended += 1
            on_pair(ended)


def _warmed_up(trees: Sequence[Tree], suites: Suites, folder: Path, chance: Random, patience: Patience) -> Pair:
    plan = Plan(FEWEST_SLOTS, measures_memory=False)
    return run_pair(trees, suites, _files(folder, "warm-up"), plan, None, chance, patience=patience)


def _files(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}-{side}.json" for side in ("base", "head")]
