"""What `rnncore trend` costs on the store of a large project: seconds and peak memory, and whether it finds what is planted.

    python tests/campaigns/trend_scale.py FOLDER [--files 2000] [--benchmarks 100] [--measure]

FOLDER must not exist. It is filled with run files of pytest-benchmark alone, 60 kB each with 100 benchmarks. The machines of
`MACHINES` alternate, as runners of a CI do, so that each commit is measured once on each. Clock, kernel and host name change
from file to file, which makes no other machine. One benchmark in five changes at one commit, by the same factor on all
machines; noise is log-normal.

With --measure, `rnncore trend` runs as a process three times: it reads all files (on Linux, with none of them in the page
cache), it reads none, and after `MORE_FILES` more it reads those. Of which revision it is, the current folder says.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnncore.report.table import Table, numbers, words

SEED = 0
MORE_FILES = 10

# Name and CPUs of each machine, and its time per that of the first.
MACHINES = (
    ("AMD EPYC 7763 64-Core Processor", 4, 1.0),
    ("Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz", 4, 1.25),
    ("AMD EPYC 7763 64-Core Processor", 2, 1.1),
    ("Neoverse-N2", 4, 0.9),
)

NOISE = 0.01
STEP_EVERY = 5
SMALLEST_STEP, LARGEST_STEP = 0.05, 0.3

START = datetime(2020, 1, 1, tzinfo=UTC)
BETWEEN_FILES = timedelta(minutes=10)

# Of pytest-benchmark's statistics, per the median.
_PER_MEDIAN = {
    **{"min": 0.97, "max": 1.4, "mean": 1.02, "stddev": 0.05, "median": 1.0, "iqr": 0.04, "q1": 0.98, "q3": 1.02},
    **{"ld15iqr": 0.97, "hd15iqr": 1.08, "total": 102.0},
}
_STATS = ",".join(f'"{name}":%.6g' for name in _PER_MEDIAN)
_ENTRY = (
    '{"group":null,"name":"NAME","fullname":"tests/test_made.py::NAME","params":null,"param":null,"extra_info":{},"options":'
    '{"disable_gc":false,"timer":"perf_counter","min_rounds":5,"max_time":1.0,"min_time":5e-06,"warmup":false},"stats":{'
    f'{_STATS},"rounds":100,"iqr_outliers":3,"stddev_outliers":1,"outliers":"1;3","ops":1000.0,"iterations":1' + "}}"
)


@dataclass(frozen=True)
class Plan:
    """What is measured, and what changes.

    Attributes:
        levels_s: Median seconds of each benchmark on the first machine, at the first commit. Shape (benchmarks,).
        steps: Number of a benchmark, and the commit and ratio of its step, if it has one.
    """

    levels_s: NDArray[np.float64]
    steps: dict[int, tuple[int, float]]

    def medians_s(self, file: int) -> NDArray[np.float64]:
        """Return the median of each benchmark in a file, with noise. Shape (benchmarks,)."""
        noise = np.random.default_rng([SEED, file]).normal(0, NOISE, len(self.levels_s))
        values_s = self.levels_s * MACHINES[file % len(MACHINES)][2] * np.exp(noise)
        for number, (commit, ratio) in self.steps.items():
            values_s[number] *= ratio if file // len(MACHINES) >= commit else 1.0
        return values_s


def make_plan(benchmarks: int, commits: int) -> Plan:
    """Draw levels, and steps that are a fifth of the commits or more from both ends."""
    rng = np.random.default_rng(SEED)
    levels_s = np.exp(rng.uniform(np.log(1e-5), np.log(1.0), benchmarks))
    steps = {}
    for number in range(0, benchmarks, STEP_EVERY):
        ratio = 1 + rng.uniform(SMALLEST_STEP, LARGEST_STEP)
        commit = int(rng.integers(commits // 5, commits - commits // 5))
        steps[number] = commit, float(rng.choice((ratio, 1 / ratio)))
    return Plan(levels_s, steps)


def benchmark_name(number: int) -> str:
    return f"test_operation_of_a_large_project[size{number:04}]"


def commit_id(number: int) -> str:
    return f"{number:07x}" + "0" * 33


def write_files(store: Path, plan: Plan, files: Iterable[int]) -> None:
    """Write run files by their numbers, in the order in which they would be measured."""
    folder = store / "Linux-CPython-3.12-64bit"
    folder.mkdir(parents=True, exist_ok=True)
    entries = ",".join(_ENTRY.replace("NAME", benchmark_name(number)) for number in range(len(plan.levels_s)))
    per_median = np.array(list(_PER_MEDIAN.values()))
    for file in files:
        head = json.dumps(_head(file), separators=(",", ":"))
        rows = entries % tuple(np.outer(plan.medians_s(file), per_median).ravel().tolist())
        commit = commit_id(file // len(MACHINES))
        text = f'{head[:-1]},"benchmarks":[{rows}],"version":"5.3.1"' + "}"
        (folder / f"{file:06}_{commit}.json").write_text(text, encoding="utf-8")


def _head(file: int) -> dict[str, object]:
    """Return the facts of a file beside its benchmarks."""
    name, cpus, _ = MACHINES[file % len(MACHINES)]
    when = START + file * BETWEEN_FILES
    cpu = {
        "brand_raw": name,
        "count": cpus,
        "arch": "X86_64",
        "hz_actual_friendly": f"{2 + file % 97 / 100:.4f} GHz",
        "flags": [f"flag{number}" for number in range(40)],
    }
    machine = {
        "node": f"runner-{file}",
        "processor": "x86_64",
        "machine": "x86_64",
        "python_implementation": "CPython",
        "python_version": "3.12.3",
        "release": f"6.5.0-{1000 + file // 500}-azure",
        "system": "Linux",
        "cpu": cpu,
    }
    commit = {
        "id": commit_id(file // len(MACHINES)),
        "time": when.isoformat(),
        "dirty": False,
        "project": "made",
        "branch": "main",
    }
    return {"machine_info": machine, "commit_info": commit, "datetime": when.isoformat()}


@dataclass(frozen=True)
class Call:
    """What a call of `rnncore trend` took.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of all its threads, which other work on the host changes less.
        peak_bytes: The most memory that it held.
        said: The first line of its output.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    said: str


def call_trend(store: Path) -> Call:
    """Run `rnncore trend` in a process.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    command = [sys.executable, "-m", "rnncore", "trend", str(store.absolute())]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdout is not None
    with process.stdout as stream:
        text = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    # In KiB, but on macOS in bytes.
    peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    (said,) = [line for line in text.splitlines() if " run files, " in line]
    return Call(seconds, usage.ru_utime + usage.ru_stime, peak_bytes, said)


def forget(store: Path) -> None:
    """Take the files of a store out of the page cache, where the system lets one."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()
    for path in store.rglob("*.json"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measured(store: Path, plan: Plan, files: int) -> Table:
    """Return a row for each of the three calls."""
    forget(store)
    calls = {"first reading": call_trend(store), "nothing new": call_trend(store)}
    write_files(store, plan, range(files, files + MORE_FILES))
    calls[f"{MORE_FILES} files more"] = call_trend(store)
    columns = [*words("call"), *numbers("seconds", "CPU seconds", show="{:.1f}".format)]
    columns += [*numbers("peak, MiB", show="{:,.0f}".format), *words("said")]
    rows = [[name, call.seconds, call.cpu_seconds, call.peak_bytes / 2**20, call.said] for name, call in calls.items()]
    return Table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the store; must not exist")
    parser.add_argument("--files", type=int, default=2000, help="how many")
    parser.add_argument("--benchmarks", type=int, default=100, help="in each")
    parser.add_argument("--measure", action="store_true", help="run rnncore trend three times")
    asked = parser.parse_args()
    if asked.folder.exists():
        parser.error(f"{asked.folder} exists; give a folder that does not")
    plan = make_plan(asked.benchmarks, asked.files // len(MACHINES))
    start = time.perf_counter()
    write_files(asked.folder, plan, range(asked.files))
    size_bytes = sum(path.stat().st_size for path in asked.folder.rglob("*.json"))
    print(
        f"{asked.files:,} files of {asked.benchmarks} benchmarks, {size_bytes / 1e9:.2f} GB, written in "
        f"{time.perf_counter() - start:.1f} s; {len(plan.steps)} steps on each of {len(MACHINES)} machines"
    )
    if asked.measure:
        print(f"\n{measured(asked.folder, plan, asked.files).markdown()}")


if __name__ == "__main__":
    main()
