"""Tests of what is done in a revision before its suites can run."""

import sys
from pathlib import Path

import pytest

from rnncore.drive.environment import Preparation, prepared
from rnncore.drive.worktrees import Tree
from rnncore.errors import ProcessError


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
