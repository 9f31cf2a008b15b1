"""One pytest process, one run file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rnncore.errors import ConfigError, ProcessError, RunFileError
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from rnncore.runfile.slots import ENVIRONMENT, PARENT

# A process that takes longer is ended.
TIMEOUT_S = 600.0

# What to do where a revision knows no slots.
WITHOUT_SLOTS = (
    "Measure both revisions with 'pytest bench/ --benchmark-autosave' several times, interleaved, and give the files to "
    "'rnncore compare'."
)

# Lines of a failed process's output that its error shows.
_SHOWN_LINES = 15

# pytest's exit codes that leave a run file: all passed, and some failed, which the run file then says.
_ENDED = (0, 1)

# Found beside pytest in many environments, costs a second of each process, and no suite uses it.
_NOT_LOADED = ("-p", "no:hypothesispytest")


@dataclass(frozen=True)
class Suites:
    """What every process of a gate runs.

    Attributes:
        paths: Suites, relative to the tree.
        arguments: Further arguments of pytest.
        without: Benchmarks of them that no pair measures.
    """

    paths: tuple[str, ...] = ("bench/",)
    arguments: tuple[str, ...] = ("--rnn-scale=gate",)
    without: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Process:
    """One process that has ended.

    Attributes:
        run: Its run file, read.
        wall_s: Seconds from start to end, imports included.
    """

    run: Run
    wall_s: float


def run_process(tree: Path, suites: Suites, run_file: Path, extra: Sequence[str] = ()) -> Process:
    """Run the suites of a source tree once, in a process of their own.

    Args:
        tree: Folder that holds the suites and the package; it is put before everything that is installed.
        suites: What is run.
        run_file: Where the run file goes.
        extra: Arguments for this process alone.

    Raises:
        ProcessError: If the process takes too long, or leaves no run file.
    """
    command = pytest_command(suites, run_file, extra)
    began_s = time.monotonic()
    code, output = _run_to_end(command, tree)
    wall_s = time.monotonic() - began_s
    return Process(run_of(command, tree, run_file, code, output), wall_s)


def pytest_command(suites: Suites, run_file: Path, extra: Sequence[str] = ()) -> list[str]:
    """Return the command of a process that writes a run file, and make the folder that it goes to."""
    run_file.parent.mkdir(parents=True, exist_ok=True)
    return [*suites_command(suites, f"--benchmark-json={run_file.absolute()}"), *extra]


def suites_command(suites: Suites, *own: str) -> list[str]:
    """Return the command of a process that runs suites, with arguments of its own before theirs."""
    return [sys.executable, "-m", "pytest", *suites.paths, "--quiet", *_NOT_LOADED, *own, *suites.arguments]


def run_of(command: Sequence[str], tree: Path, run_file: Path, code: int, output: str) -> Run:
    """Return what a process that has ended left.

    Args:
        command: What was run.
        tree: Where.
        run_file: What it should have written.
        code: Its exit code.
        output: What it printed.

    Raises:
        ProcessError: If there is no run file, or none that can be read.
    """
    made_by = f"'{' '.join(command[1:])}' in {tree}"
    if code not in _ENDED or not run_file.is_file():
        shown = "\n".join(output.splitlines()[-_SHOWN_LINES:])
        raise ProcessError(
            f"{made_by} ended with exit code {code} and no run file. Run it by hand to see why. Its last lines:\n{shown}"
        )
    try:
        return read_run(run_file)
    except RunFileError as error:
        raise ProcessError(f"{error} It was made by {made_by}.") from error


def require_own_package(tree: Path) -> None:
    """Make sure that a process in a tree measures that tree's code, not what happens to be installed.

    Raises:
        ConfigError: If it would import rnncore from elsewhere although the tree holds it.
    """
    sources = [folder for folder in _source_folders(tree) if (folder / "rnncore").is_dir()]
    if not sources:
        return
    code = "import rnncore; print(rnncore.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env=tree_environment(tree),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    found = Path(done.stdout.strip() or ".")
    if not any(found.is_relative_to(folder.resolve()) or found.is_relative_to(folder) for folder in sources):
        raise ConfigError(
            f"processes in {tree} import rnncore from {found}, not from there. Unset what puts that first "
            "(PYTHONSAFEPATH, a .pth file, sitecustomize), or run in a fresh environment."
        )


def require_slots(tree: Path, name: str) -> None:
    """Make sure that a tree's own package can be timed in slots.

    Args:
        tree: Folder of the code.
        name: For people.

    Raises:
        ConfigError: If it is older than slots.
    """
    packages = [folder / "rnncore" for folder in _source_folders(tree) if (folder / "rnncore").is_dir()]
    # Wherever in the package: modules move.
    sources = (path.read_bytes() for package in packages for path in package.rglob("*.py"))
    if packages and not any(ENVIRONMENT.encode() in source for source in sources):
        raise ConfigError(f"{name}: this revision's rnncore is older than slots, in which the gate times. {WITHOUT_SLOTS}")


def _run_to_end(command: list[str], tree: Path) -> tuple[int, str]:
    """Run a command in a group of its own; whatever ends this early ends the whole group."""
    with subprocess.Popen(
        command,
        cwd=tree,
        env=tree_environment(tree),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"'{' '.join(command[1:])}' in {tree} took longer than {TIMEOUT_S:g} s and was ended. "
                "Choose fewer benchmarks with -k, or a smaller --rnn-scale."
            ) from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, output


def tree_environment(tree: Path) -> dict[str, str]:
    """Return the environment of a process that imports what a tree holds before all that is installed, and ends with us."""
    before = [str(folder) for folder in _source_folders(tree)]
    inherited = os.environ.get("PYTHONPATH")
    paths = os.pathsep.join([*before, *([inherited] if inherited else [])])
    return {**os.environ, "PYTHONPATH": paths, PARENT: str(os.getpid())}


def _source_folders(tree: Path) -> list[Path]:
    source = tree / "src"
    return [source, tree] if source.is_dir() else [tree]
