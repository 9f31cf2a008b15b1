"""A training step by several processes, which torchrun starts, beside one alone: with `--rnn-scaling`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import scaling_worker
from bench.cases import scaling_cases
from bench.training_worker import save_dataset
from rnncore.amounts import counted
from rnncore.drive.started import Started
from rnncore.errors import ProcessError, Unavailable
from rnncore.forecast.device import CPU, Device, usable_threads
from rnncore.runfile.slots import PARENT

# What the processes import the suites from.
REPOSITORY = Path(__file__).parents[1]

# Processes that take longer hang: the longest row of the full scale takes minutes.
LIMIT_S = 900.0

# The fewest rounds are as many times `--benchmark-min-rounds`: by its default 15, as of all that is interleaved.
TIMES_MIN_ROUNDS = 3

# How torchrun begins to say which process ended first, and what it puts before the last that one said.
ROOT_CAUSE, LAST_SAID = "Root Cause", "traceback : "

# Beside the rounds, what the processes found is recorded as it is.
ROUNDS = "rounds_s"


@pytest.fixture(scope="module")
def data_folder(rnn_dataset, tmp_path_factory):
    """A folder with the data set as the processes read it."""
    folder = tmp_path_factory.mktemp("scaling")
    save_dataset(rnn_dataset, folder)
    return folder


def require_devices(case):
    """Refuse a case whose processes would share devices, or could not reach one another.

    Raises:
        Unavailable: If so; says what there is.
    """
    device = Device.named(case.device)
    there = usable_threads() if device.is_cpu else device.count()
    needed = case.devices * (case.threads or 1)
    if there < needed:
        noun = "CPU" if device.is_cpu else f"{device.title} device"
        raise Unavailable(
            f"{case.devices} processes need {counted(needed, noun)}, and there is use of {there} here. What shares one "
            "tells nothing of scaling."
        )
    device.backend()


def found_by_processes(case, folder, seconds, rounds, limit_s=LIMIT_S):
    """Let processes take the steps of a case, and return what they found; none of them is left then.

    Args:
        case: With the number of devices.
        folder: With the data set; what was found is left there.
        seconds: To measure each way of taking the step for.
        rounds: The fewest.
        limit_s: What they may take in all.

    Raises:
        ProcessError: If one of them ends without a result, or they take longer.
        Unavailable: If what takes the steps is missing.
    """
    asked = {"axes": case.axes, scaling_worker.SECONDS: seconds, scaling_worker.ROUNDS: rounds}
    (folder / scaling_worker.CASE).write_text(json.dumps(asked), encoding="utf-8")
    result = folder / scaling_worker.FOUND
    result.unlink(missing_ok=True)
    path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
    threads = {"OMP_NUM_THREADS": str(case.threads)} if case.threads else {}
    environment = {**os.environ, **threads, "PYTHONPATH": path, PARENT: str(os.getpid())}
    command = [sys.executable, "-m", scaling_worker.__name__, str(folder)]
    with (folder / "said.txt").open("w+b") as output:
        processes = Started(command, folder, environment, output)
        try:
            processes.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{_who(case)} took longer than {limit_s:g} s, and were ended.") from None
        finally:
            processes.end()
        output.seek(0)
        said = output.read().decode("utf-8", errors="replace")
    if processes.returncode or not result.exists():
        raise ProcessError(f"{_who(case)} ended without a result: {last_words(said)}")
    found = json.loads(result.read_text(encoding="utf-8"))
    if "unavailable" in found:
        raise Unavailable(found["unavailable"])
    return found


def _who(case):
    return f"the {case.devices} processes of {case.label}"


def last_words(said):
    """Return the last that the process said that ended first, as torchrun tells it; else the last line of all."""
    lines = [line.strip() for line in said.rpartition(ROOT_CAUSE)[2].splitlines() if line.strip(" =-")]
    return lines[-1].removeprefix(LAST_SAID) if lines else "they said nothing"


@pytest.mark.rnn_cases(choose=scaling_cases, only_with="rnn_scaling")
def test_train_step_scaling(request, rnn_case, rnn_benchmark, data_folder):
    require_devices(rnn_case)
    seconds, rounds = 0.0, 1
    if rnn_benchmark.enabled:
        seconds = float(request.config.getoption("benchmark_max_time"))
        rounds = TIMES_MIN_ROUNDS * request.config.getoption("benchmark_min_rounds")
    with rnn_benchmark.part("several processes"):
        found = found_by_processes(rnn_case, data_folder, seconds, rounds)
    rnn_benchmark.observed(
        found.pop(ROUNDS),
        calls=1,
        windows=rnn_case.batch_size,
        group="scaling",
        why="it ran in processes of its own",
    )
    on_gpu = "on a GPU the host runs ahead of it"
    rnn_benchmark.record(
        **found,
        **(
            {}
            if rnn_case.device == CPU
            else {"gradients_why": on_gpu, "threads_alone_s": None, "threads_alone_s_why": on_gpu}
        ),
        smape_why="a step of training makes no forecast; see the accuracy suite",
    )
    assert found["validity"] == "valid"
