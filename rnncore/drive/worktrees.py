"""Two revisions of a repository as folders of their own; the user's files and index stay as they are."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rnncore.errors import ConfigError
from rnncore.runfile.branch import outside_of_hooks

# The revision that is what lies in the user's folder, uncommitted changes and new files with it.
WORKTREE = "worktree"

# Seconds that git gets to come to its end where a signal ends the gate.
PATIENCE_S = 20.0

# Of the folder of a gate's trees, and of the file in it that is locked as long as the gate lives.
_PREFIX, _HELD = "rnncore-gate-", "held"

# What rnncore itself writes is no change, also where a project does not ignore it.
_OUTPUTS = tuple(f":(exclude,glob)**/{folder}/**" for folder in (".benchmarks", "reports/gate", "reports/selftest"))

# What says which dependencies a revision wants.
_PINS = ("constraints.txt", "requirements.txt", "uv.lock", "poetry.lock", "pyproject.toml")


@dataclass(frozen=True)
class Tree:
    """A revision in a folder.

    Attributes:
        path: The folder that its processes run in.
        name: For people: the commit, and how it was asked for.
        top: The folder of the whole revision; `path` may be one in it.
        repository: The folder of the user's own files; None where that is not known.
        python: The interpreter of its processes.
        is_isolated: Whether that is of an environment of this revision alone, where it is installed.
        libraries: Files of compiled code that the other revision has not, or has another one of.
    """

    path: Path
    name: str
    top: Path | None = None
    repository: Path | None = None
    python: str = sys.executable
    is_isolated: bool = False
    libraries: tuple[Path, ...] = ()

    @property
    def side(self) -> str:
        """`base` or `head`."""
        return (self.top or self.path).name

    @property
    def inner(self) -> Path:
        """The folder of the revision that its processes run in, relative to all of it; "." for that itself."""
        return self.path.relative_to(self.top or self.path)


@contextmanager
def two_worktrees(repository: Path, base: str, head: str) -> Iterator[tuple[Tree, Tree]]:
    """Yield folders that hold two revisions, and remove them however the block ends.

    Their paths have the same length: the size of a process's environment can change its speed.

    Args:
        repository: A folder in the repository.
        base: A revision, as git names it, or `worktree` for what lies in the user's folder.
        head: The same.

    Raises:
        ConfigError: If this is no git repository, a revision is not in it, or lacks the folder that the user is in.
    """
    top = Path(_git(repository, "rev-parse", "--show-toplevel"))
    # The folder that the user is in; of the whole revision nothing.
    inner = _git(repository, "rev-parse", "--show-prefix")
    # One snapshot where both sides are the folder.
    commit_of = {one: _snapshot(top) if one == WORKTREE else _commit(top, one) for one in dict.fromkeys((base, head))}
    names = _name(top, base, commit_of[base]), _name(top, head, commit_of[head])
    _remove_left_over(top)
    stack = ExitStack()
    folder = stack.enter_context(_held_folder())
    paths = [folder / side for side in ("base", "head")]
    try:
        with stack:
            for path, revision in zip(paths, (base, head), strict=True):
                _git(top, "worktree", "add", "--detach", "--quiet", str(path), commit_of[revision])
            for path, name in zip(paths, names, strict=True):
                if not (path / inner).is_dir():
                    raise ConfigError(f"{name} has no folder {inner}. Run it where both revisions have the suites.")
            base_tree, head_tree = (
                Tree(path / inner, name, path, top.resolve()) for path, name in zip(paths, names, strict=True)
            )
            yield base_tree, head_tree
    finally:
        for path in paths:
            _forget(top, path)


@contextmanager
def _held_folder() -> Iterator[Path]:
    """Yield a temporary folder whose lock is gone with us, however that comes."""
    # What benchmarks started may still write there.
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder,
        (Path(folder) / _HELD).open("w", encoding="utf-8") as held,
    ):
        fcntl.flock(held, fcntl.LOCK_EX)
        yield Path(folder).resolve()


def _remove_left_over(top: Path) -> None:
    """Remove the trees of gates that were killed and could not."""
    listed = [Path(line.removeprefix("worktree ")) for line in _git(top, "worktree", "list", "--porcelain").splitlines()]
    paths = [path for path in listed if path.parent.name.startswith(_PREFIX) and _is_left(path.parent)]
    for path in paths:
        shutil.rmtree(path.parent, ignore_errors=True)
        _forget(top, path)


def _is_left(folder: Path) -> bool:
    """Say whether nobody holds a folder of trees any more."""
    try:
        with (folder / _HELD).open(encoding="utf-8") as held:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Held; or not to be seen from here, as in a container of its own.
        return False
    return True


def _forget(top: Path, path: Path) -> None:
    """Let git know that a tree is gone."""
    # One that was not added, or not to its end, may be unknown to git; twice forced, as git locks it until then.
    with suppress(ConfigError):
        _git(top, "worktree", "remove", "--force", "--force", str(path))


def differing_pins(base: Tree, head: Tree) -> list[str]:
    """Return the names of files that say which dependencies are wanted, and are not the same in both trees."""
    return [name for name in _PINS if _text(base.path / name) != _text(head.path / name)]


def files_of(tree: Tree) -> dict[str, str]:
    """Return git's mode and digest of each file of a tree's whole revision, by path."""
    found = {}
    for entry in _git(tree.top or tree.path, "ls-tree", "-r", "-z", "HEAD").split("\0")[:-1]:
        facts, _, path = entry.partition("\t")
        mode, _, digest = facts.split(" ")
        found[path] = f"{mode} {digest}"
    return found


def _text(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _commit(top: Path, revision: str) -> str:
    try:
        return _git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except ConfigError:
        raise ConfigError(
            f"{revision}: no such revision in {top}. Give a commit, branch or tag that 'git log' knows; in CI, check "
            "out with the full history (fetch-depth: 0)."
        ) from None


def _snapshot(top: Path) -> str:
    """Return a commit of the folder as it is: on no branch, made with an index of its own."""
    commit = _git(top, "rev-parse", "HEAD")
    with tempfile.TemporaryDirectory(prefix="rnncore-index-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git(top, "read-tree", "HEAD", variables=index)
        _git(top, "add", "--all", "--", ".", *_OUTPUTS, variables=index)
        tree = _git(top, "write-tree", variables=index)
    if tree == _git(top, "rev-parse", "HEAD^{tree}"):
        return commit
    who = {f"GIT_{role}_{what}": "rnncore" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return _git(top, "commit-tree", tree, "-p", commit, "-m", "rnncore gate: uncommitted changes", variables=who)


def _name(top: Path, revision: str, commit: str) -> str:
    if revision != WORKTREE:
        return commit[:12] if commit.startswith(revision) else f"{commit[:12]} ({revision})"
    current = _git(top, "rev-parse", "HEAD")
    return f"{current[:12]}{' with uncommitted changes' if commit != current else ''} (worktree)"


def _git(folder: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
    """Return what git prints.

    Raises:
        ConfigError: If git is not installed or fails, with its words.
    """
    environment = {**outside_of_hooks(os.environ), **(variables or {})}
    try:
        process = subprocess.Popen(
            ["git", *arguments],  # noqa: S607 (wherever the user has it)
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # As bytes of names are, whatever the locale.
            encoding="utf-8",
            errors="surrogateescape",
        )
    except FileNotFoundError:
        raise ConfigError("git is not installed, and the gate needs it for its two revisions. Install git.") from None
    with process:
        try:
            output, said = process.communicate()
        finally:
            if process.poll() is None:
                # A signal ends us. What is killed half way leaves locks, and children that go on writing.
                with suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=PATIENCE_S)
                process.kill()
    if process.returncode != 0:
        said = said.strip() or f"exit code {process.returncode}"
        raise ConfigError(f"'git {' '.join(arguments)}' in {folder}: {said}")
    return output.strip()
