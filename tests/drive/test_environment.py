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
