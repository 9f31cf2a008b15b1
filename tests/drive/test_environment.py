"""Tests of what is done in a revision before its suites can run."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rnncore.drive import environment
from rnncore.drive.environment import Preparation, prepared
from rnncore.drive.process import tree_environment
from rnncore.drive.worktrees import Tree
from rnncore.errors import ProcessError
from tests.processes import has_ended


def _trees(folder: Path) -> tuple[Tree, Tree]:
    base, head = (Tree(folder / side, f"{side}-name") for side in ("base", "head"))
    for tree in (base, head):
        tree.path.mkdir()
    return base, head


def test_without_a_preparation_revisions_stay_as_they_are(tmp_path: Path) -> None:
    trees = _trees(tmp_path)
    with prepared(trees, Preparation(), lambda line: pytest.fail(line)) as ready:
        assert ready == trees


def test_a_command_runs_once_in_each_revision_before_anything_else(tmp_path: Path) -> None:
    said: list[str] = []
    command = f"\"{sys.executable}\" -c \"open('built', 'a').write('x')\""
    with prepared(_trees(tmp_path), Preparation(command), said.append) as (base, head):
        assert [(tree.path / "built").read_text("utf-8") for tree in (base, head)] == ["x", "x"]
        assert base.python == head.python == sys.executable
    assert said == [f"Preparing base base-name: {command}", f"Preparing head head-name: {command}"]


def test_a_command_that_fails_is_told_with_its_last_lines(tmp_path: Path) -> None:
    with (
        pytest.raises(
            ProcessError, match=r"'echo no compiler; exit 3' in base base-name ended with exit code 3.*\nno compiler"
        ),
        prepared(_trees(tmp_path), Preparation("echo no compiler; exit 3"), lambda line: None),
    ):
        pytest.fail("ran on")


def test_a_command_that_fails_without_a_word_is_told_so(tmp_path: Path) -> None:
    with (
        pytest.raises(ProcessError, match=r"ended with exit code 1\. It printed nothing\.$"),
        prepared(_trees(tmp_path), Preparation("false"), lambda line: None),
    ):
        pass


def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_TIMEOUT_S", 0.5)
    with (
        pytest.raises(ProcessError, match=r"in base base-name took longer than 0\.5 s and was ended\. What runs on"),
        prepared(_trees(tmp_path), Preparation("sleep 60 & echo $! > pid; wait"), lambda line: None),
    ):
        pytest.fail("ran on")
    assert has_ended(int((tmp_path / "base" / "pid").read_text("utf-8")))


def test_what_a_command_leaves_running_is_not_waited_for_and_ended(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with prepared(_trees(tmp_path), Preparation("sleep 60 & echo $! > pid"), lambda line: None) as trees:
        assert time.monotonic() - began_s < 50
        assert all(has_ended(int((tree.path / "pid").read_text("utf-8"))) for tree in trees)


def test_processes_and_commands_of_an_environment_find_its_scripts_first(tmp_path: Path) -> None:
    tree = replace(_trees(tmp_path)[0], python=str(tmp_path / "own" / "bin" / "python"), is_isolated=True)
    variables = tree_environment(tree)
    assert variables["PATH"].split(os.pathsep)[0] == str(tmp_path / "own" / "bin")
    assert variables["VIRTUAL_ENV"] == str(tmp_path / "own")


# As uv: its environments have pip only where that is asked for. It installs nothing here.
UV = f"""#!{sys.executable}
import subprocess, sys
if sys.argv[1] == "venv":
    pip = [] if "--seed" in sys.argv else ["--without-pip"]
    subprocess.run([{sys.executable!r}, "-m", "venv", *pip, sys.argv[-1]], check=True)
"""


def test_a_command_that_installs_does_so_in_the_environment_that_uv_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "uv").write_text(UV, encoding="utf-8")
    (scripts / "uv").chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(scripts), os.environ["PATH"]]))
    with prepared(_trees(tmp_path), Preparation("pip --version > pip.txt", True), lambda line: None) as trees:
        for tree in trees:
            own = Path(tree.python).parent.parent
            assert own.name == tree.side
            assert str(own) in (tree.path / "pip.txt").read_text("utf-8")


def test_processes_of_a_gate_in_a_hook_know_nothing_of_the_hook_s_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    assert "GIT_DIR" not in tree_environment(_trees(tmp_path)[0])
