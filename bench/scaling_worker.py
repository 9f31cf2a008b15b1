"""Processes that take a training step together: `python -m bench.scaling_worker FOLDER` of `bench_scaling`.

It lets torchrun start as many as the case in the folder names, each of which runs this module again. In each round all take
a step together, and then each its part without a word to the others; then rank 0 takes the same alone, while they wait: so
the ratio of two neighbours holds on a machine that drifts. What it found is in the folder at the end.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import record

from bench.bench_training import checked_step_of, next_step_of, step_of, trainer_of
from bench.training_worker import load_dataset
from rnncore.errors import Unavailable
from rnncore.files import write_text
from rnncore.forecast.device import CPU, cpu_threads, cudnn_precision, synchronize
from rnncore.forecast.distributed import device_of_rank, joined, ranks_of_environment
from rnncore.forecast.presets import preset
from rnncore.forecast.windows import make_windows
from rnncore.measure.communication import all_reduce_times, communication_pct, gradient_arrivals
from rnncore.measure.linux import end_with_parent
from rnncore.measure.stopwatch import seconds_per_call
from rnncore.runfile.case import Case
from rnncore.runfile.slots import PARENT
from rnncore.runtimes.torch import torch_evidence

CASE, FOUND = "case.json", "found.json"

# What else there is to know of a case, beside its axes: for how long to measure, and the fewest rounds.
SECONDS, ROUNDS = "seconds", "rounds"


def main():
    """Start the processes, or be one of them."""
    # With the session that started it, and each of the processes with torchrun.
    end_with_parent()
    folder = Path(sys.argv[1])
    asked = json.loads((folder / CASE).read_text(encoding="utf-8"))
    if "RANK" in os.environ:
        take_part(folder, asked)
        return
    os.environ[PARENT] = str(os.getpid())
    devices = str(asked["axes"]["devices"])
    torchrun.main(["--standalone", "--nproc-per-node", devices, "-m", "bench.scaling_worker", str(folder)])


@record
def take_part(folder, asked):
    """Measure a case with the other processes; what is found, or why it is not available, is written by rank 0."""
    ranks, case = ranks_of_environment(), Case(**asked["axes"])
    try:
        device = device_of_rank(case.device)
        torch.set_num_threads(case.threads or 1)
        windows = make_windows(load_dataset(folder), preset("article", case.cell).windows)
        with joined(ranks, device):
            found = measured(case, windows, ranks, device, asked)
    except Unavailable as error:
        found = {"unavailable": str(error)}
    if ranks.is_first:
        write_text(folder / FOUND, json.dumps(found))


def measured(case, windows, ranks, device, asked):
    """Return the facts of a case; all processes ask at the same time, and those of rank 0 count."""
    began_s, losses, checks = time.perf_counter(), [], []
    checked = checked_step_of(case.cell, case.batch_size, windows)
    step, check = step_of(case, windows, device, checked, ranks)

    def together():
        with cudnn_precision(case.precision):
            losses.append(step())
        synchronize(device)

    together()
    first_call_s = time.perf_counter() - began_s
    kernel = torch_evidence(lambda: checks.append(check()), case.cell, device).kernel
    all_reduces = all_reduce_times(ranks, device)
    share_pct = communication_pct(together, device)
    part = trainer_of(replace(case, batch_size=case.batch_size // case.devices), windows, device)
    step_of_part = alone_step(part, case.precision)
    step_of_part()
    alone = alone_steps(case, windows, device, step_of_part) if ranks.is_first else {}
    rounds = rounds_of(together, step_of_part, alone, ranks, asked)
    # After all that is timed: its hooks take time.
    gradients = gradient_arrivals(part.model, step_of_part) if ranks.is_first and case.device == CPU else None
    parity = checks[-1]
    finite = bool(torch.isfinite(torch.tensor([float(loss) for loss in losses])).all())
    return {
        **rounds,
        "first_call_s": first_call_s,
        "kernel": kernel,
        "all_reduces": all_reduces,
        "communication_pct": share_pct,
        "gradients": gradients,
        "parity_max_abs": parity.max_abs,
        "parity_tolerance": parity.tolerance,
        "validity": parity.verdict if finite else "the loss is not finite",
    }


def alone_step(trainer, precision):
    """Return what takes the next step of a training in one process, and returns when it is done."""
    take = next_step_of(trainer)

    def step():
        with cudnn_precision(precision):
            take()
        synchronize(trainer.device)

    return step


def alone_steps(case, windows, device, step_of_part):
    """Return by fact the steps that one process takes while the others wait, each with its threads."""
    step_of_whole, threads = alone_step(trainer_of(case, windows, device), case.precision), case.threads or 1
    step_of_whole()
    # Before the others, so that its threads no longer spin when all go on together.
    by_threads = {"threads_alone_s": (step_of_whole, threads * case.devices)} if case.device == CPU else {}
    return {**by_threads, "whole_alone_s": (step_of_whole, threads), "part_alone_s": (step_of_part, threads)}


def rounds_of(together, step_of_part, alone, ranks, asked):
    """Return the seconds of each round: `rounds_s` of a step together, and by fact of what is held against it."""
    found = {"rounds_s": [], "part_at_once_s": [], **{name: [] for name in alone}}
    began_s = time.perf_counter()
    while ranks.first_says(
        len(found["rounds_s"]) < asked[ROUNDS] or time.perf_counter() - began_s < asked[SECONDS] * len(found)
    ):
        found["rounds_s"].append(seconds_per_call(together))
        # All begin it at once, and all have ended it before one goes on alone.
        ranks.first_says(True)
        found["part_at_once_s"].append(seconds_per_call(step_of_part))
        ranks.first_says(True)
        for name, (step, threads) in alone.items():
            with cpu_threads(threads):
                found[name].append(seconds_per_call(step))
    return found


if __name__ == "__main__":
    main()
