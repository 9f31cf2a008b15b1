"""Run the tests in environments that differ from the usual one, and print what ran as a Markdown table.

    python tests/matrix.py [--ci] [NAME...]

runs those that are named, or all; with --ci only those that CI runs, over the test files that they can touch. An environment
that this machine cannot give is left out with the reason, and every skipped test is listed with its own. Exit code 1 where
a test failed.

MATRIX_PYTHONS names further interpreters, separated by spaces, with the project's dependencies installed:

    MATRIX_PYTHONS="env3.12/bin/python env3.13/bin/python" make test-matrix
"""

import argparse
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]

# Test files by what an environment changes for them: room and module, without `test_`.
KERNELS = ("kernels/layers", "kernels/arguments", "runtimes/native", "runtimes/stream", "measure/profile", "runtimes/base")
KERNELS += ("runtimes/catalog", "kernels/levels", "kernels/library")
NUMBERS = (*KERNELS, "forecast/model", "runtimes/export", "forecast/scoring", "forecast/linear", "measure/answers")
NUMBERS += ("forecast/baselines", "bench/article_loop")
WRITERS = ("kernels/layers", "runtimes/native", "runtimes/export", "runfile/journal", "measure/harness", "files", "cli/cli")
WRITERS += ("measure/session",)
# What prints, and what writes files. No file of the package and no process is read by the locale's encoding: the tests of
# `screen` look for it in every source.
TEXTS = ("cli/cli", "screen", "report/verdict", "report/noise", "report/trackers", "compare/choices", "compare/profile")
TEXTS += ("forecast/series", "runfile/journal", "files", "workflows")


@dataclass(frozen=True)
class Environment:
    """One way to run the tests.

    Attributes:
        name: In the table.
        changes: Environment variables; None takes one away.
        arguments: Further ones of pytest.
        touches: Test files that CI runs there, without `test_`; none where CI leaves the environment out.
        python: The interpreter.
        cores: How many CPU cores the tests may use; None for all.
        missing: Why this machine cannot give it, or None.
    """

    name: str
    changes: dict[str, str | None] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    touches: tuple[str, ...] = ()
    python: str = sys.executable
    cores: int | None = None
    missing: str | None = None


@dataclass(frozen=True)
class Ran:
    """What pytest told of one environment.

    Attributes:
        counts: Tests by outcome: `passed`, `skipped`, `failed`.
        skips: Tests by the reason for which they were skipped.
        failures: Names of those that failed.
        seconds: Wall time of the process.
        output: All that pytest printed.
    """

    counts: Counter[str]
    skips: Counter[str]
    failures: list[str]
    seconds: float
    output: str


def environments(folder: Path) -> list[Environment]:
    """Return all of them; *folder* is for what they need on the disk."""
    (folder / "home").write_text("a home that no folder can be made in\n", encoding="utf-8")
    no_home: dict[str, str | None] = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": None, "PYTHONDONTWRITEBYTECODE": "1"}
    levels: dict[str, dict[str, str | None]] = {
        # Of torch and of our kernels, of its oneDNN, and of its MKL.
        "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
        "default": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    }
    no_affinity = None if hasattr(os, "sched_setaffinity") else "this system cannot keep a process on one core"
    no_xdist = None if importlib.util.find_spec("xdist") else "pytest-xdist is not installed: pip install '.[matrix]'"
    seed = str(random.SystemRandom().randrange(10**6))
    c_locale: dict[str, str | None] = {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    return [
        *_pythons(),
        Environment("one core", cores=1, missing=no_affinity),
        *(Environment(f"CPU level {name}", changes, touches=NUMBERS) for name, changes in levels.items()),
        Environment("no compiler", {"CC": "/nowhere/cc"}, touches=(*KERNELS, "cli/cli", "runfile/case")),
        Environment("no home", no_home, touches=WRITERS),
        Environment("no PJM files", {"RNNCORE_DATA": None, "RNNCORE_REQUIRE_DATA": None}),
        Environment(f"random order, seed {seed}", {"SHUFFLE_SEED": seed}, ("-p", "tests.shuffled")),
        Environment("two at a time", arguments=("-n", "2", "-m", "not clock"), missing=no_xdist),
        Environment("C locale", c_locale, touches=TEXTS),
    ]


def _pythons() -> Iterator[Environment]:
    """Yield the interpreter at hand, those that were named, and why there is none of another version."""
    versions = {}
    for python in [sys.executable, *os.environ.get("MATRIX_PYTHONS", "").split()]:
        command = [python, "-c", "import sys, torch, pytest_benchmark; print('%d.%d' % sys.version_info[:2])"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            why = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1] if done.returncode else None
        except OSError as error:
            why, done = str(error), None
        version = done.stdout.strip() if done and not why else python
        versions[version] = Environment(f"Python {version}", python=str(Path(python).absolute()), missing=why)
    for version in ("3.11", "3.12", "3.13"):
        missing = "no interpreter with the dependencies: name one in MATRIX_PYTHONS"
        versions.setdefault(version, Environment(f"Python {version}", missing=missing))
    yield from (versions[version] for version in sorted(versions))


def path_of(name: str) -> Path:
    """Return the path of a test file, relative to the repository."""
    room, _, module = name.rpartition("/")
    return Path("tests", room, f"test_{module}.py")


def run(environment: Environment, files: tuple[str, ...], folder: Path) -> Ran:
    """Run the tests of these files, or all of them, in an environment."""
    told = folder / "junit.xml"
    told.unlink(missing_ok=True)
    cache = folder / "cache"
    changes = {
        "XDG_CACHE_HOME": str(cache),
        # One for all: what torch.compile keeps of one CPU level must not be taken for that of another.
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled"),
        "PYTHONPATH": str(REPOSITORY),
        **environment.changes,
    }
    env = {**os.environ, **{name: value for name, value in changes.items() if value is not None}}
    for name in (name for name, value in changes.items() if value is None):
        env.pop(name, None)
    paths = [str(path_of(name)) for name in files] or ["tests"]
    command = [environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={told}"]

    def keep_to_cores() -> None:
        if environment.cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: environment.cores])

    began_s = time.monotonic()
    done = subprocess.run(
        [*command, *environment.arguments, *paths],
        cwd=REPOSITORY,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        preexec_fn=keep_to_cores,
    )
    return _ran(told, done, time.monotonic() - began_s)


def _ran(told: Path, done: "subprocess.CompletedProcess[str]", seconds: float) -> Ran:
    counts: Counter[str] = Counter()
    skips: Counter[str] = Counter()
    failures = []
    cases = list(ElementTree.parse(told).iter("testcase")) if told.is_file() else []  # noqa: S314
    for case in cases:
        skipped = case.find("skipped")
        failed = case.find("failure") is not None or case.find("error") is not None
        counts["failed" if failed else "passed" if skipped is None else "skipped"] += 1
        if failed:
            failures.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
        elif skipped is not None:
            skips[skipped.get("message", "without a reason").removeprefix("Skipped: ")] += 1
    if done.returncode and not failures:
        counts["failed"] += 1
        failures.append(f"pytest ended with exit code {done.returncode}")
    return Ran(counts, skips, failures, seconds, done.stdout)


def main() -> int:
    """Run what was asked for, print the table, and say by the exit code whether all passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="environments whose name begins so (default: all)")
    parser.add_argument("--ci", action="store_true", help="those that CI runs, over the test files that they can touch")
    parser.add_argument(
        "--files", nargs="+", default=(), metavar="FILE", help="only these, as 'cli/cli' for tests/cli/test_cli.py"
    )
    options = parser.parse_args()
    lines = ["| environment | ran | passed | skipped | failed | seconds |", "|---|---|---|---|---|---|"]
    details: list[str] = []
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for environment in environments(Path(folder)):
            wanted = not options.names or any(environment.name.startswith(name) for name in options.names)
            if not wanted or (options.ci and not environment.touches):
                continue
            if environment.missing:
                lines.append(f"| {environment.name} | not run: {environment.missing} | | | | |")
                continue
            print(f"{environment.name} ...", file=sys.stderr, flush=True)
            ran = run(environment, tuple(options.files) or (environment.touches if options.ci else ()), Path(folder))
            counts = [ran.counts[name] for name in ("passed", "skipped", "failed")]
            cells = [environment.name, counts[0] + counts[2], *counts, f"{ran.seconds:.0f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
            details += [f"{environment.name}: skipped {count}: {why}" for why, count in ran.skips.most_common()]
            details += [f"{environment.name}: FAILED {name}" for name in ran.failures]
            failed += ran.counts["failed"]
            if ran.failures:
                print(ran.output, file=sys.stderr)
    print("\n".join([*lines, "", *(f"- {line}" for line in details)]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
