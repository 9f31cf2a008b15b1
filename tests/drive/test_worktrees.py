"""Tests of the two worktrees: what they hold, and that nothing of the user's changes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnncore.drive.worktrees import differing_pins, files_of, two_worktrees
from rnncore.errors import ConfigError


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    _git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / ".gitignore").write_text("ignored\n")
    for version in ("one", "two"):
        (folder / "code.py").write_text(version)
        _git(folder, "add", ".")
        _git(folder, "commit", "--quiet", "-m", version)
    return folder


def _state(folder: Path) -> tuple[str, ...]:
    commands = (
        ["status", "--porcelain=v2"],
        ["branch", "--all"],
        ["worktree", "list"],
        ["diff", "--cached"],
        ["stash", "list"],
    )
    return tuple(_git(folder, *command) for command in commands)


def test_each_tree_holds_its_revision(repository: Path) -> None:
    with two_worktrees(repository, "HEAD~1", "main") as (base, head):
        assert (base.path / "code.py").read_text() == "one"
        assert (head.path / "code.py").read_text() == "two"
        assert len(str(base.path)) == len(str(head.path))
        assert base.name.endswith("(HEAD~1)")
    assert not base.path.exists()


def test_uncommitted_changes_and_new_files_can_be_the_head(repository: Path) -> None:
    (repository / "code.py").write_text("three")
    _git(repository, "add", "code.py")
    (repository / "code.py").write_text("four")
    (repository / "new.py").write_text("new")
    (repository / "ignored").write_text("ignored")
    before = _state(repository)
    with two_worktrees(repository, "HEAD", "worktree") as (base, head):
        assert (base.path / "code.py").read_text() == "two"
        assert (head.path / "code.py").read_text() == "four"
        assert (head.path / "new.py").read_text() == "new"
        assert not (head.path / "ignored").exists()
        assert "with uncommitted changes" in head.name
    assert _state(repository) == before


def test_both_sides_can_be_the_folder_with_its_uncommitted_changes(repository: Path) -> None:
    (repository / "code.py").write_text("three")
    with two_worktrees(repository, "worktree", "worktree") as trees:
        assert [(tree.path / "code.py").read_text() for tree in trees] == ["three", "three"]
        assert trees[0].path != trees[1].path
        assert trees[0].name == trees[1].name
        heads = {_git(tree.path, "rev-parse", "HEAD") for tree in trees}
    assert len(heads) == 1


def test_what_the_gate_itself_wrote_is_no_change(repository: Path) -> None:
    for name in (
        ".benchmarks/noise/a.jsonl",
        "part/.benchmarks/reach/b.jsonl",
        "reports/gate/1/verdict.md",
        "reports/own.md",
    ):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("made", encoding="utf-8")
    with two_worktrees(repository, "HEAD", "worktree") as (base, head):
        assert sorted(files_of(head).keys() - files_of(base).keys()) == ["reports/own.md"]


def test_a_folder_of_the_repository_may_be_where_processes_run(repository: Path) -> None:
    (repository / "part").mkdir()
    (repository / "part" / "new.py").write_text("new", encoding="utf-8")
    _git(repository, "add", ".")
    _git(repository, "commit", "--quiet", "-m", "part")
    with two_worktrees(repository / "part", "HEAD", "worktree") as (base, head):
        assert (base.path.name, base.side, head.side, base.inner) == ("part", "base", "head", Path("part"))
        assert (base.path / "new.py").is_file()
    with (
        pytest.raises(ConfigError, match=r"has no folder part/\. Run it where both revisions have the suites"),
        two_worktrees(repository / "part", "HEAD~1", "worktree"),
    ):
        pytest.fail("entered")


def test_a_deleted_file_is_not_in_the_head(repository: Path) -> None:
    (repository / "code.py").unlink()
    with two_worktrees(repository, "HEAD", "worktree") as (_, head):
        assert not (head.path / "code.py").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_the_block_removes_the_trees(repository: Path, error: type[BaseException]) -> None:
    before, folders = _state(repository), []

    def measure() -> None:
        with two_worktrees(repository, "HEAD~1", "HEAD") as trees:
            folders.extend(tree.path for tree in trees)
            raise error

    with pytest.raises(error):
        measure()
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)
    assert _state(repository) == before


ADDING = """
import sys
from pathlib import Path
from rnncore.cli.screen import end_in_order
from rnncore.drive import worktrees
worktrees.PATIENCE_S = float(sys.argv[1])
with end_in_order(), worktrees.two_worktrees(Path(), "main", "main"):
    print("not ended")
"""


@pytest.mark.parametrize(("patience_s", "added_s"), [(20, 1), (0.1, 3)], ids=["git is waited for", "git takes too long"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_git_adds_a_tree_leaves_nothing_behind(
    repository: Path, tmp_path: Path, number: signal.Signals, patience_s: float, added_s: float
) -> None:
    began, folders = tmp_path / "began", tmp_path / "folders"
    folders.mkdir()
    # Git writes the second file as late as that.
    _git(repository, "config", "filter.slow.smudge", f"touch {began}; sleep {added_s}; cat")
    (repository / ".gitattributes").write_text("code.py filter=slow\n")
    (repository / "later.py").write_text("later")
    _git(repository, "add", ".")
    _git(repository, "commit", "--quiet", "-m", "three")
    before = _state(repository)
    command = [sys.executable, "-c", ADDING, str(patience_s)]
    environment = {**os.environ, "TMPDIR": str(folders)}
    with subprocess.Popen(command, cwd=repository, env=environment, stdout=subprocess.PIPE) as process:
        deadline_s = time.monotonic() + 60
        while not began.exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.communicate()[0] == b""
        assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    assert _state(repository) == before
    assert list(folders.iterdir()) == []


KILLED = """
import os, signal
from pathlib import Path
from rnncore.drive.worktrees import two_worktrees
with two_worktrees(Path(), "main", "main"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_trees_of_a_gate_that_was_killed_are_removed_by_the_next(repository: Path, tmp_path: Path) -> None:
    before, folders = _state(repository), tmp_path / "folders"
    folders.mkdir()
    environment = {**os.environ, "TMPDIR": str(folders)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", KILLED], cwd=repository, env=environment, check=False)
        # Of the second alone.
        assert len(list(folders.iterdir())) == 1
    with two_worktrees(repository, "HEAD~1", "main"):
        assert list(folders.iterdir()) == []
    assert _state(repository) == before


def test_the_trees_of_a_gate_that_lives_stay(repository: Path) -> None:
    with two_worktrees(repository, "HEAD~1", "main") as of_one:
        with two_worktrees(repository, "HEAD~1", "main"):
            pass
        assert all((tree.path / "code.py").is_file() and _git(tree.path, "rev-parse", "HEAD") for tree in of_one)


def test_a_tree_of_the_users_that_is_elsewhere_for_now_stays_known(repository: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    _git(repository, "worktree", "add", "--quiet", "--detach", str(own))
    own.rename(tmp_path / "unplugged")
    before = _state(repository)
    with two_worktrees(repository, "HEAD~1", "main"):
        pass
    assert _state(repository) == before
    assert str(own) in _git(repository, "worktree", "list")


@pytest.mark.parametrize("revision", ["no-such-branch", "--help", ""])
def test_an_unknown_revision_is_named(repository: Path, revision: str) -> None:
    with pytest.raises(ConfigError, match="no such revision"), two_worktrees(repository, revision, "worktree"):
        pytest.fail("there is nothing to measure")


def test_a_folder_outside_git_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a git repository"), two_worktrees(tmp_path, "HEAD", "worktree"):
        pytest.fail("there is nothing to measure")


def test_files_of_pins_that_differ_are_named(repository: Path) -> None:
    (repository / "constraints.txt").write_text("torch==2.13.0\n")
    with two_worktrees(repository, "HEAD", "worktree") as trees:
        assert differing_pins(*trees) == ["constraints.txt"]
    with two_worktrees(repository, "HEAD", "HEAD") as trees:
        assert differing_pins(*trees) == []


def test_a_repository_that_the_environment_names_as_in_a_hook_is_not_taken_for_the_revision_s(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "code.py").write_text("three")
    _git(repository, "add", "code.py")
    before = _state(repository)
    with monkeypatch.context() as of_hook:
        of_hook.setenv("GIT_DIR", str(repository / ".git"))
        of_hook.setenv("GIT_INDEX_FILE", str(repository / ".git" / "index"))
        with two_worktrees(repository, "HEAD~1", "main") as (base, head):
            assert (base.path / "code.py").read_text() == "one"
            assert files_of(base).keys() == files_of(head).keys()
            assert files_of(base)["code.py"] != files_of(head)["code.py"]
    assert _state(repository) == before
