"""One pytest process, one run file."""

import atexit
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import rnncore
from rnncore.drive.started import Started
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree
from rnncore.errors import ConfigError, ProcessError, RunFileError
from rnncore.runfile.branch import outside_of_hooks
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from rnncore.runfile.slots import ENVIRONMENT, PARENT

# A process that takes longer is ended.
TIMEOUT_S = 600.0

# What times in slots, where it is not found by itself.
PLUGIN = "rnncore.measure.plugin"

# What to do where a revision knows no slots.
WITHOUT_SLOTS = (
    "Measure both revisions with 'pytest bench/ --benchmark-autosave' several times, interleaved, and give the files to "
    "'rnncore compare'."
)

# Lines of a failed process's output that its error shows.
_SHOWN_LINES = 15

# pytest's exit codes that leave a run file: all passed, and some failed, which the run file then says.
_ENDED = (0, 1)

# That which says that no test was found, or none was left by -k.
_NOTHING_COLLECTED = 5

# What pytest-benchmark says in a session of tests alone.
_NO_BENCHMARK = "no benchmarks have been run"

# Found beside pytest in many environments, costs a second of each process, and is left out where no option of it is set.
_HYPOTHESIS = "hypothesis"
_WITHOUT_HYPOTHESIS = ("-p", "no:hypothesispytest")

# Where a project sets options of pytest.
_SETTINGS = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")

# Names folders that Python looks for modules in.
_PATH = "PYTHONPATH"

# The folder of what is installed, which an environment in the repository has too.
_INSTALLED = "site-packages"

# Packages beside the project's, of which another may be loaded by the same name.
_NOT_THE_PROJECT = frozenset({"bench", "benchmarks", "docs", "examples", "test", "tests", "tools", "scripts"})

# Plugins that a project may use in its everyday tests, and options that keep them out of measuring: one measures coverage of
# each line, one sends tests to other processes, one ends what takes long though it is stopped, one shuffles.
_KEPT_OUT = {
    "pytest_cov": ("--no-cov",),
    "xdist": ("-n0",),
    "pytest_timeout": ("--timeout=0",),
    "pytest_randomly": ("-p", "no:randomly"),
}


class NothingToMeasureError(ProcessError):
    """A revision has nothing of what it was asked to measure.

    Args:
        said: The message.
        side: `base` or `head`.
    """

    def __init__(self, said: str, side: str) -> None:
        super().__init__(said)
        self.side = side


@dataclass(frozen=True)
class Process:
    """One process that has ended.

    Attributes:
        run: Its run file, read.
        wall_s: Seconds from start to end, imports included.
    """

    run: Run
    wall_s: float


def run_process(tree: Tree, suites: Suites, run_file: Path, extra: Sequence[str] = (), timeout_s: float = 0.0) -> Process:
    """Run the suites of a source tree once, in a process of their own.

    Args:
        tree: Holds the suites and the package; its folder is put before everything that is installed.
        suites: What is run.
        run_file: Where the run file goes.
        extra: Arguments for this process alone.
        timeout_s: Seconds after which it is ended, where that is more than `TIMEOUT_S`.

    Raises:
        ProcessError: If the process takes too long, or leaves no run file.
    """
    command = pytest_command(tree, suites, run_file, extra)
    began_s = time.monotonic()
    advice = "Choose fewer benchmarks with -k."
    code, output = run_to_end(command, tree, tree_environment(tree), max(timeout_s, TIMEOUT_S), advice)
    wall_s = time.monotonic() - began_s
    return Process(run_of(command, tree, run_file, code, output), wall_s)


def pytest_command(tree: Tree, suites: Suites, run_file: Path, extra: Sequence[str] = ()) -> list[str]:
    """Return the command of a process that writes a run file, and make the folder that it goes to.

    Raises:
        ProcessError: If the tree has none of the suites.
    """
    run_file.parent.mkdir(parents=True, exist_ok=True)
    return [*suites_command(tree, suites, f"--benchmark-json={run_file.absolute()}"), *extra]


def suites_command(tree: Tree, suites: Suites, *own: str) -> list[str]:
    """Return the command of a process that runs the suites that a tree has, with arguments of its own before theirs.

    Raises:
        ProcessError: If it has none.
    """
    paths = [path for path in suites.paths if (tree.path / path.partition("::")[0]).exists()]
    if not paths:
        raise NothingToMeasureError(
            f"{tree.side} {tree.name} has no {', '.join(suites.paths)}. Check the paths, which are relative to the "
            "folder that you are in, and choose revisions that have the suites.",
            tree.side,
        )
    return [tree.python, "-m", "pytest", *paths, "--quiet", *_kept_out(tree, suites), *own, *suites.arguments]


def _kept_out(tree: Tree, suites: Suites) -> list[str]:
    """Return what keeps plugins that the tree's interpreter has out of its process, and brings in the one that times."""
    options = f"--{_HYPOTHESIS}"
    found = [] if any(options in text for text in _options(tree, suites)) else [*_WITHOUT_HYPOTHESIS]
    for module in _modules_of(tree.python):
        found += _KEPT_OUT[module]
    return [*found, *(("-p", PLUGIN) if tree.is_isolated else ())]


def _options(tree: Tree, suites: Suites) -> Iterator[str]:
    """Yield texts that may hold options of pytest: the user's, and the project's settings up to the revision's top."""
    yield from (*suites.arguments, os.environ.get("PYTEST_ADDOPTS", ""))
    above = (folder for folder in tree.path.parents if folder.is_relative_to(tree.top or tree.path))
    for folder in (tree.path, *above):
        for path in (folder / name for name in _SETTINGS):
            if path.is_file():
                yield path.read_text(encoding="utf-8", errors="replace")


@cache
def _modules_of(python: str) -> tuple[str, ...]:
    """Return which of the plugins to keep out an interpreter has."""
    if python == sys.executable:
        return tuple(name for name in _KEPT_OUT if find_spec(name))
    code = f"from importlib.util import find_spec as f; print(*[name for name in {[*_KEPT_OUT]} if f(name)])"
    done = subprocess.run([python, "-c", code], capture_output=True, encoding="utf-8", errors="replace", check=False)
    return tuple(done.stdout.split())


def run_of(command: Sequence[str], tree: Tree, run_file: Path, code: int, output: str, during: str = "") -> Run:
    """Return what a process that has ended left.

    Args:
        command: What was run.
        tree: Where.
        run_file: What it should have written.
        code: Its exit code.
        output: What it printed.
        during: What it was at last, for an error.

    Raises:
        ProcessError: If there is no run file, or none that can be read.
        NothingToMeasureError: If it found no benchmark.
    """
    what = made_by(["python", *command[1:]], tree)
    if code == _NOTHING_COLLECTED or (code == 0 and not run_file.is_file() and _NO_BENCHMARK in output):
        *_, counts = ["nothing", *filter(None, map(str.strip, output.splitlines()))]
        raise NothingToMeasureError(
            f"{what} found no benchmark that it was asked for (pytest: {counts}). Check -k and the paths; a benchmark is a "
            "test that takes the fixture 'benchmark' of pytest-benchmark.",
            tree.side,
        )
    if code not in _ENDED or not run_file.is_file():
        raise ProcessError(
            f"{what} ended with exit code {code} and no run file{during}. {_advice(tree, output)} {last_lines(output)}"
        )
    try:
        return read_run(run_file)
    except RunFileError as error:
        raise ProcessError(f"{error} It was made by {what}.") from error


def _advice(tree: Tree, output: str) -> str:
    """Return what to do about a process that left no run file."""
    if "ModuleNotFoundError" in output and tree.is_isolated:
        return (
            "Its environment has what --prepare installs there, such as 'pip install \".[test]\"', else the project alone."
        )
    if "ModuleNotFoundError" in output:
        return "What it does not find can be installed for it: --isolated, with --prepare where the project is not enough."
    if ((tree.top or tree.path) / ".gitmodules").is_file():
        return "A revision's folder lacks the submodules that it has: --prepare 'git submodule update --init' adds them."
    return "Check that revision out and run this there to see why."


def require_own_package(tree: Tree) -> None:
    """Make sure that a process in a tree measures that tree's code, not what happens to be installed.

    Raises:
        ConfigError: If it would import rnncore from elsewhere although the tree holds it.
    """
    sources = [folder for folder in source_folders(tree.path) if (folder / "rnncore").is_dir()]
    if not sources:
        return
    code = "import rnncore; print(rnncore.__file__)"
    done = subprocess.run(
        [tree.python, "-c", code],
        cwd=tree.path,
        env=tree_environment(tree),
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    found = Path(done.stdout.strip() or ".")
    if not any(found.is_relative_to(folder.resolve()) or found.is_relative_to(folder) for folder in sources):
        raise ConfigError(
            f"processes in {tree.path} import rnncore from {found}, not from there. Unset what puts that first "
            "(PYTHONSAFEPATH, a .pth file, sitecustomize), or run in a fresh environment."
        )


def require_own_modules(tree: Tree, outside: Mapping[str, str]) -> None:
    """Make sure that a process measured what its tree holds.

    Args:
        tree: The revision.
        outside: The files of the modules that its process loaded from outside of it, by top-level name.

    Raises:
        ConfigError: If one of them is what the tree holds too, as where a project is installed in a way that comes before
            all folders.
    """
    if tree.is_isolated:
        return
    for name, file in sorted(outside.items()):
        if tree.repository and Path(file).resolve().is_relative_to(tree.repository) and _INSTALLED not in Path(file).parts:
            raise _not_of_the_revision(tree, name, file)
    # Of a folder of all sources each module is one of the project; of a whole project only packages are.
    folder = source_folders(tree.path)[0]
    own = {path.parent.name for path in folder.glob("*/__init__.py")}
    if folder != tree.path:
        own |= {path.stem for path in folder.glob("*.py")}
    for name in sorted(own & outside.keys() - _NOT_THE_PROJECT):
        raise _not_of_the_revision(tree, name, outside[name])


def _not_of_the_revision(tree: Tree, name: str, file: str) -> ConfigError:
    return ConfigError(
        f"processes in {tree.side} {tree.name} import {name} from {file}, not from the revision, so both sides would be "
        f"measured with that. Uninstall it, leave it out of {_PATH}, build in each revision with --prepare, or give each an "
        "environment of its own with --isolated."
    )


def require_slots(tree: Tree) -> None:
    """Make sure that a tree's own package can be timed in slots.

    Args:
        tree: The revision.

    Raises:
        ConfigError: If it is older than slots.
    """
    packages = [folder / "rnncore" for folder in source_folders(tree.path) if (folder / "rnncore").is_dir()]
    # Wherever in the package: modules move.
    sources = (path.read_bytes() for package in packages for path in package.rglob("*.py"))
    if packages and not any(ENVIRONMENT.encode() in source for source in sources):
        raise ConfigError(
            f"{tree.side} {tree.name}: this revision's rnncore is older than slots, in which the gate times. {WITHOUT_SLOTS}"
        )


def run_to_end(
    command: str | Sequence[str], tree: Tree, environment: Mapping[str, str], timeout_s: float, advice: str
) -> tuple[int, str]:
    """Run a command in the folder of a revision; what it started is ended with it, however that comes.

    Args:
        command: Of the shell where it is text.
        tree: The revision.
        environment: Its variables.
        timeout_s: Seconds that it may take.
        advice: What to do where it takes longer, as a sentence.

    Returns:
        Exit code, and what it printed.

    Raises:
        ProcessError: If it takes longer.
    """
    # Into a file: what it started and left behind would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        process = Started(command, tree.path, environment, output)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"{made_by(command, tree)} took longer than {timeout_s:g} s and was ended. {advice}"
            ) from None
        finally:
            process.end()
        output.seek(0)
        return code, output.read().decode(errors="replace")


def made_by(command: str | Sequence[str], tree: Tree) -> str:
    """Return a command and the revision that it ran in, for errors: the folder is gone when these are read."""
    return f"'{command if isinstance(command, str) else ' '.join(command)}' in {tree.side} {tree.name}"


def last_lines(output: str) -> str:
    """Return the end of what a failed command printed, for its error."""
    shown = "\n".join(output.rstrip().splitlines()[-_SHOWN_LINES:])
    return f"Its last lines:\n{shown}" if shown.strip() else "It printed nothing."


def tree_environment(tree: Tree) -> dict[str, str]:
    """Return the environment of a process that imports what a tree holds before all that is installed, and ends with us.

    In an environment of its own the tree is installed, and only what times is put before it.
    """
    environment = interpreter_environment(tree)
    if tree.is_isolated:
        paths = [plugin_folder()]
    else:
        of_user = environment.get(_PATH)
        paths = [*map(str, source_folders(tree.path)), *([of_user] if of_user else [])]
    return {**environment, _PATH: os.pathsep.join(paths), PARENT: str(os.getpid())}


def interpreter_environment(tree: Tree) -> dict[str, str]:
    """Return the environment in which the scripts of a revision's interpreter are found first.

    Folders of the user's repository that PYTHONPATH names are those of the revision in it.
    """
    scripts = Path(tree.python).parent
    own = {"VIRTUAL_ENV": str(scripts.parent)} if tree.is_isolated else {}
    if paths := _paths_of_user(tree):
        own[_PATH] = os.pathsep.join(paths)
    return {
        **outside_of_hooks(os.environ),
        **own,
        "PATH": os.pathsep.join([str(scripts), os.environ.get("PATH", os.defpath)]),
    }


def _paths_of_user(tree: Tree) -> list[str]:
    """Return where the user's environment lets Python look for modules, each in the folder of a revision that has it.

    What lies outside of the user's repository, or is in no revision, such as an environment, stays as it is.
    """
    given = os.environ.get(_PATH)
    if not given:
        return []
    top, repository = tree.top or tree.path, tree.repository
    here = tree.path if repository is None else repository / tree.inner
    return [str(_of_tree(here / one, top, repository)) for one in given.split(os.pathsep)]


def _of_tree(path: Path, top: Path, repository: Path | None) -> Path:
    """Return the place of a revision that a path of the user's repository means; the path itself where it has none."""
    found = path.resolve()
    if repository is None or not found.is_relative_to(repository):
        return path
    own = top / found.relative_to(repository)
    return own if own.exists() else path


def source_folders(folder: Path) -> list[Path]:
    """Return where a project's own modules may lie."""
    source = folder / "src"
    return [source, folder] if source.is_dir() else [folder]


@cache
def plugin_folder() -> str:
    """Return a folder that holds rnncore and nothing else, for interpreters that do not have it."""
    folder = tempfile.TemporaryDirectory(prefix="rnncore-plugin-")
    atexit.register(folder.cleanup)
    (Path(folder.name) / "rnncore").symlink_to(Path(rnncore.__file__).parent, target_is_directory=True)
    return folder.name
