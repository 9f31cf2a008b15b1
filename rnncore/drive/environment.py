"""What a revision needs before its suites can run: a build, or an environment of its own."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from rnncore.drive.libraries import with_libraries
from rnncore.drive.process import interpreter_environment, last_lines, made_by, run_to_end
from rnncore.drive.started import adopting
from rnncore.drive.worktrees import Tree, two_worktrees
from rnncore.errors import ProcessError

# What its processes need beside the project, in the versions that are installed here.
_NEEDED = ("pytest", "pytest-benchmark")

# A build that takes longer is ended.
_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Preparation:
    """What is done in each revision before its suites run.

    Attributes:
        command: Of the shell, run in the folder of the revision; None for none.
        is_isolated: Whether each revision gets an environment of its own, into which it is installed unless there is a
            command.
    """

    command: str | None = None
    is_isolated: bool = False


@contextmanager
def two_revisions(
    repository: Path, base: str, head: str, preparation: Preparation, on_step: Callable[[str], None]
) -> Iterator[tuple[Tree, Tree]]:
    """Yield two revisions as their suites can run; what was made and started for them is gone afterwards.

    Args:
        repository: A folder in the repository.
        base: A revision, as git names it, or `worktree` for what lies in the user's folder.
        head: The same.
        preparation: What is done in each.
        on_step: Called with a line before each step, which may take minutes.

    Raises:
        ConfigError: If this is no git repository, a revision is not in it, or lacks the folder that the user is in.
        ProcessError: If a command fails; shows its last lines.
    """
    with (
        two_worktrees(repository, base, head) as unprepared,
        adopting(),
        prepared(unprepared, preparation, on_step) as trees,
    ):
        yield trees


@contextmanager
def prepared(
    trees: tuple[Tree, Tree], preparation: Preparation, on_step: Callable[[str], None]
) -> Iterator[tuple[Tree, Tree]]:
    """Yield two revisions as their suites can run; environments are removed afterwards.

    Args:
        trees: Base and head.
        preparation: What is done.
        on_step: Called with a line before each step, which may take minutes.

    Raises:
        ProcessError: If a command fails; shows its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="rnncore-environments-", ignore_cleanup_errors=True) as folder:
        base, head = (_prepared(tree, Path(folder).resolve() / tree.side, preparation, on_step) for tree in trees)
        yield with_libraries(base, head)


def _prepared(tree: Tree, folder: Path, preparation: Preparation, on_step: Callable[[str], None]) -> Tree:
    if preparation.is_isolated:
        on_step(f"Making an environment for {tree.side} {tree.name}.")
        tree = replace(tree, python=_new_environment(tree, folder, preparation.command is None), is_isolated=True)
    if preparation.command is not None:
        on_step(f"Preparing {tree.side} {tree.name}: {preparation.command}")
        _run(preparation.command, tree)
    return tree


def _new_environment(tree: Tree, folder: Path, installs_project: bool) -> str:
    """Make an environment with what a process needs; return its interpreter."""
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    wanted = [f"{name}=={metadata.version(name)}" for name in _NEEDED]
    wanted += ["--editable", "."] if installs_project else []
    uv = shutil.which("uv")
    if uv:
        # With pip, which a command that installs will call: another's would install elsewhere.
        _run([uv, "venv", "--seed", "--quiet", "--python", sys.executable, str(folder)], tree)
        _run([uv, "pip", "install", "--quiet", "--python", python, *wanted], tree)
    else:
        _run([sys.executable, "-m", "venv", str(folder)], tree)
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted], tree)
    return python


def _run(command: str | Sequence[str], tree: Tree) -> None:
    """Run a command in the folder of a revision, the scripts of its environment first.

    Raises:
        ProcessError: If it fails, or takes too long.
    """
    advice = "What runs on beside it, such as a service, is started before the gate."
    code, output = run_to_end(command, tree, interpreter_environment(tree), _TIMEOUT_S, advice)
    if code != 0:
        raise ProcessError(f"{made_by(command, tree)} ended with exit code {code}. {last_lines(output)}")
