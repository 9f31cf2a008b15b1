"""The options `--rnn-...` of pytest."""

import argparse
import math
from functools import partial
from typing import Any

import pytest

SCALES = ("gate", "quick", "default", "full")

# What `--rnn-device` means without a name.
ALL_DEVICES = "all"

# What `--rnn-resume` means without a journal.
NEWEST = "newest"


def _delay(text: str) -> tuple[float, str]:
    percent, _, pattern = text.partition(":")
    try:
        value = float(percent)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf or not pattern:
        raise argparse.ArgumentTypeError(f"{text!r} is not a delay; give percent and pattern, like '5:*test_train_step*'.")
    return value, pattern


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads; give a whole number of at least 1.")
    return int(text)


def _device(text: str) -> str:
    # The default, which no session of another project is to import anything for.
    if text == ALL_DEVICES:
        return text
    from rnncore.errors import ConfigError
    from rnncore.forecast.device import Device

    try:
        return Device.known(text).name
    except ConfigError as error:
        raise argparse.ArgumentTypeError(f"{error} Or give {ALL_DEVICES}.") from error


def _above_zero(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what} above 0.")
    return value


# The setting of the same meaning as `--rnn-facts`.
FACTS_SETTING = "rnn_facts"

# By name what `addoption` takes. First what is measured, from --rnn-profile on how.
OPTIONS: dict[str, dict[str, Any]] = {
    "--rnn-scale": {
        "choices": SCALES,
        "default": "default",
        "help": "Size of the grid: gate for the short processes of 'rnncore gate' (every suite and cell, no ceilings, two "
        "made-up zones unless --rnn-data names others), quick for a check of the suites, default (minutes on 2 cores), "
        "full. Default: %(default)s.",
    },
    "--rnn-device": {
        "metavar": "NAME",
        "type": _device,
        "default": ALL_DEVICES,
        "help": "Device to measure: cpu, cuda (AMD's too), cuda:1, mps, xpu, or what else torch has here. all takes the CPU "
        "and what torch has beside it, and skips CUDA, with the reason, where it has nothing. Default: %(default)s.",
    },
    "--rnn-data": {
        "metavar": "PATH",
        "default": None,
        "help": "CSV file, folder of CSV files, or 'synthetic'. "
        "Default: $RNNCORE_DATA, else data/pjm if fetched, else synthetic.",
    },
    "--rnn-threads": {
        "metavar": "N",
        "type": _whole,
        "default": None,
        "help": "CPU threads for every runtime. Default: all that the process may use.",
    },
    "--rnn-profile": {
        "action": "store_true",
        "help": "Profile each row in extra, untimed calls: where the time goes, op by op, and a trace for Perfetto. "
        "'rnncore profile RUN' prints it.",
    },
    "--rnn-model": {
        "metavar": "MODULE:FACTORY",
        "default": None,
        "help": "Measure a forecaster of your own too (bench/bench_own_model.py): FACTORY() returns a torch module that "
        "takes windows (B, 90, 5) and gives forecasts (B, L). See docs/bring-your-own.md.",
    },
    "--rnn-interleaved": {
        "action": "store_true",
        "help": "Measure forward passes and training steps interleaved too (bench/bench_interleaved.py): each runtime in a "
        "process of its own, stopped while it waits, so that ratios hold on a shared machine.",
    },
    "--rnn-scaling": {
        "action": "store_true",
        "help": "Measure training steps by several processes too (bench/bench_scaling.py): 2, 4 and so on, as far as there "
        "are CPUs or GPUs for each, beside one process alone.",
    },
    "--rnn-server-p99-ms": {
        "metavar": "MS",
        "type": partial(_above_zero, what="a bound; give a number of milliseconds"),
        "default": 50.0,
        "help": "Bound of the Server scenario (bench/bench_serving.py): 99 of 100 queries are to be answered within "
        "it. Default: %(default)g.",
    },
    "--rnn-facts": {
        "action": "store_true",
        "help": "Record beside the time of every benchmark of pytest-benchmark, of any suite, the machine and its load, all "
        "rounds, which of them were disturbed and by what, whether they stayed steady, percentiles and the first call; and "
        "keep each that is finished in a journal. The same as 'rnn_facts = true' in the settings of pytest. Default: these "
        "benchmarks are left to pytest-benchmark alone.",
    },
    "--rnn-resume": {
        "nargs": "?",
        "const": NEWEST,
        "metavar": "JOURNAL",
        "help": "Go on with a session that was cut off: benchmarks that its journal holds as finished are not run again, "
        "and are in the new run file, also where none is left to run. Default: the newest journal of the storage.",
    },
    "--rnn-case-timeout": {
        "metavar": "SECONDS",
        "type": partial(_above_zero, what="a time limit; give a number of seconds"),
        "default": None,
        "help": "End a benchmark that takes longer, record it as timed out, and go on; one of another suite if --rnn-facts "
        "is given. Default: no limit.",
    },
    "--rnn-delay": {
        "metavar": "PERCENT:PATTERN",
        "type": _delay,
        "action": "append",
        "default": [],
        "help": "Make benchmarks whose name matches the pattern slower by that percentage, to test a gate, such as "
        "'5:*test_train_step*'. May be given more than once; the first that matches counts.",
    },
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the `--rnn-` options."""
    group = parser.getgroup("rnncore", "benchmarks of recurrent forecasters")
    for name, kind in OPTIONS.items():
        group.addoption(name, **kind)
    parser.addini(
        FACTS_SETTING,
        "Record facts beside the time of every benchmark of pytest-benchmark, as --rnn-facts does.",
        type="bool",
        default=False,
    )
