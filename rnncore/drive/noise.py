"""Processes of identical code, and of planted delays, to know the gate by."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from rnncore.drive.process import Suites, run_process
from rnncore.runfile.record import Run

SEED = 0


def measure_noise(
    tree: Path, suites: Suites, processes: int, folder: Path, on_process: Callable[[int], None]
) -> tuple[list[Run], list[float]]:
    """Run processes of identical code one after another; return their runs, and the seconds of each.

    Args:
        tree: Folder of the code.
        suites: What each process runs.
        processes: How many.
        folder: Where the run files go.
        on_process: Called with how many have ended.

    Raises:
        ProcessError: If a process leaves no run file.
    """
    run_process(tree, suites, folder / "warm-up.json")
    ended = []
    for number in range(processes):
        ended.append(run_process(tree, suites, folder / f"{number:03}.json"))
        on_process(number + 1)
    return [process.run for process in ended], [process.wall_s for process in ended]


def measure_pool(
    tree: Path, suites: Suites, blocks: int, delays_pct: Sequence[float], folder: Path, on_process: Callable[[int], None]
) -> None:
    """Run blocks of two plain processes and one of each delay, each block in an order of its own.

    Args:
        tree: Folder of the code.
        suites: What each process runs.
        blocks: How many.
        delays_pct: Delays of every benchmark, in percent.
        folder: Where the run files go; `read_pool` reads them.
        on_process: Called with how many have ended.

    Raises:
        ProcessError: If a process leaves no run file.
    """
    run_process(tree, suites, folder / "warm-up.json")
    ended = 0
    rng = random.Random(SEED)  # noqa: S311 (an order, no secret)
    for block in range(blocks):
        kinds = [0.0, 0.0, *delays_pct]
        rng.shuffle(kinds)
        for place, delay_pct in enumerate(kinds):
            extra = [f"--rnn-delay={delay_pct:g}:*"] if delay_pct else []
            run_process(tree, suites, folder / f"{block:03}-{place}.json", extra)
            ended += 1
            on_process(ended)
