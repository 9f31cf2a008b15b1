"""What the processes of a gate run, and where a project keeps it."""

import ast
import os
import re
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from rnncore.compare.settings import read_settings
from rnncore.errors import ConfigError
from rnncore.runfile.branch import outside_of_hooks

# Where projects keep suites, if they are not told apart by anything else.
USUAL_FOLDERS = ("bench", "benchmarks", "tests/benchmarks", "tests/bench", "tests/benchmark")

# A test that asks for pytest-benchmark's fixture, or a fixture of its own around that.
_ASKS_FOR_IT = re.compile(rb"def \w+\([^)]*\b(benchmark|rnn_benchmark)\b", re.DOTALL)

# The fixtures that a benchmark of ours asks for, and what comes before both of their names.
_OUR_FIXTURES, _THEIR_PREFIX = frozenset({"rnn_benchmark", "rnn_case"}), b"rnn_"

_GIVE = "Name them at the end of the command, or in pyproject.toml 'suites = [\"PATH\", ...]' under [tool.rnncore]"

# Options of pytest that choose among tests: those of one letter have their value in one word with them, or in the next.
_CHOOSING_LETTERS = ("-k", "-m")
_CHOOSING = frozenset({"--deselect", "--ignore", "--ignore-glob", "--last-failed", "--lf", "--stepwise", "--sw", "--pyargs"})


@dataclass(frozen=True)
class Suites:
    """What every process of a gate runs.

    Attributes:
        paths: Suites, relative to the folder that its processes run in.
        arguments: Further arguments of pytest.
        without: Benchmarks of them that no pair measures.
        is_selection: Whether the user chose among the project's benchmarks.
    """

    paths: tuple[str, ...] = ("bench/",)
    arguments: tuple[str, ...] = ("--rnn-scale=gate",)
    without: frozenset[str] = frozenset()
    is_selection: bool = False


def chooses(folder: Path, arguments: Sequence[str]) -> bool:
    """Say whether arguments of pytest choose among the tests: options that do, and names of files and tests.

    Args:
        folder: The folder that names are relative to.
        arguments: Of pytest.
    """
    return any(
        argument.partition("=")[0] in _CHOOSING
        if argument.startswith("--")
        else argument.startswith(_CHOOSING_LETTERS)
        if argument.startswith("-")
        else "::" in argument or (folder / argument).exists()
        for argument in arguments
    )


def find_suites(folder: Path, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Return where the suites of a project lie.

    Args:
        folder: The folder that the user is in.
        asked: Files or folders that the user names; a test of a file may follow `::`.

    Returns:
        Those that are asked for; else those that the project sets; else a usual folder that has benchmarks; else every file
        that has one.

    Raises:
        ConfigError: If one lies outside of the folder, is set wrongly, or there is none.
    """
    if asked:
        return tuple(_relative(folder, one, "PATH") for one in asked)
    settings = read_settings(folder)
    if "suites" in settings.table:
        set_by_project = settings.table["suites"]
        if not isinstance(set_by_project, list) or not set_by_project or not all(map(_is_path, set_by_project)):
            raise ConfigError(
                f"{settings.file}: tool.rnncore.suites is {set_by_project!r}; give a list of paths, such as ['bench/'], or "
                "['.'] for the whole folder."
            )
        return tuple(_relative(folder, one, "tool.rnncore.suites") for one in set_by_project)
    usual = [name for name in USUAL_FOLDERS if any(map(_holds_benchmark, _modules(folder / name)))]
    if usual:
        return (f"{usual[0]}/",)
    found = tuple(path.relative_to(folder).as_posix() for path in _sources(folder) if _holds_benchmark(path))
    if not found:
        raise ConfigError(
            f"{folder.resolve()}: no file here has a test with the fixture 'benchmark' of pytest-benchmark. {_GIVE}."
        )
    return found


def use_rnncore(folder: Path, suites: Suites) -> bool:
    """Say whether suites measure by rnncore's own cases: a test or fixture of theirs asks for a fixture that has them.

    Args:
        folder: The folder that their paths are relative to.
        suites: The suites.
    """
    places = [folder / path.partition("::")[0] for path in suites.paths]
    found = {file for place in places for file in (_modules(place) if place.is_dir() else [place])}
    # What a test asks for may be a fixture of the project's own around one of ours.
    found |= {above / "conftest.py" for place in places for above in place.parents if above.is_relative_to(folder)}
    return any(_asks_for_ours(file) for file in sorted(found) if file.is_file())


def _asks_for_ours(path: Path) -> bool:
    """Say whether a function of a file has an argument that is called as a fixture of ours."""
    source = _source(path)
    if _THEIR_PREFIX not in source:
        return False
    try:
        with warnings.catch_warnings():
            # Of their text pytest will tell; an error by -W error would be ours.
            warnings.simplefilter("ignore")
            nodes = ast.walk(ast.parse(source, str(path)))
    except (SyntaxError, ValueError):
        # pytest will say so.
        return False
    functions = (node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(_OUR_FIXTURES & {one.arg for one in (*node.args.args, *node.args.kwonlyargs)} for node in functions)


def _is_path(value: object) -> bool:
    """Say whether a setting names a file or folder, which a test may follow."""
    return isinstance(value, str) and bool(value.partition("::")[0].strip())


def _relative(folder: Path, one: str, where: str) -> str:
    path, separator, test = one.partition("::")
    relative = PurePath(os.path.relpath(folder / path, folder)).as_posix()
    if relative.startswith("../"):
        raise ConfigError(
            f"{where} {one}: lies outside of {folder.resolve()}, where its processes run. Run it from a folder above."
        )
    # A folder stays one in names that are shown.
    return f"{relative}{'/' if path.endswith('/') else ''}{separator}{test}"


def _holds_benchmark(path: Path) -> bool:
    return _ASKS_FOR_IT.search(_source(path)) is not None


def _source(path: Path) -> bytes:
    """Return the text of a module; nothing where it cannot be read, of which pytest will tell."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _modules(folder: Path) -> Iterator[Path]:
    """Yield the modules below a folder, but for those that pytest does not collect: hidden ones, and of environments.

    An editor may leave a hidden link to nothing beside the file that it has open.
    """
    for found, folders, names in os.walk(folder):
        place = Path(found)
        folders[:] = sorted(name for name in folders if not _is_left_out(place / name))
        yield from (place / name for name in sorted(names) if name.endswith(".py") and not name.startswith("."))


def _is_left_out(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name == "site-packages" or (folder / "pyvenv.cfg").is_file()


def _sources(folder: Path) -> Iterator[Path]:
    """Yield the files of tests that git knows, in or out of its index; environments and builds are not among them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "test_*.py", "*/test_*.py"]
    command += ["*_test.py", "bench_*.py", "*/bench_*.py", "*benchmark*.py"]
    try:
        done = subprocess.run(command, cwd=folder, env=outside_of_hooks(os.environ), capture_output=True, check=False)
    except FileNotFoundError:
        raise ConfigError(f"{folder.resolve()}: git, which knows the files here, is not installed. {_GIVE}.") from None
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise ConfigError(
            f"{folder.resolve()}: git, which knows the files of a project, does not know these ({said}). {_GIVE}."
        )
    for name in sorted(set(done.stdout.decode(errors="surrogateescape").split("\0"))):
        if name and (folder / name).is_file():
            yield folder / name
