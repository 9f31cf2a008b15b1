"""Compiled code of two revisions: one file for both where it is equal, another place in memory for each pair where not.

The pages of memory that a library's file was read into stay as long as the system keeps them, and where they lie can change
the speed of its code by a tenth (reports/LOG.md, 2026-11-27). Two files have pages of their own, so that one side would be
slower in all pairs of a gate, and two sides of equal code differ for certain. One file has one speed; a file that is written
anew for each pair has another one each time, which the test then takes for what it is: noise between pairs.
"""

import filecmp
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rnncore.drive.worktrees import Tree

# Files whose code is mapped into a process, and not read by Python.
_LIBRARY = re.compile(r".+\.(so(\.[\d.]+)?|pyd|dylib)")


def with_libraries(base: Tree, head: Tree) -> tuple[Tree, Tree]:
    """Return two revisions with the libraries that differ between them; equal ones become one file.

    Args:
        base: As its processes will run.
        head: The same.
    """
    of_base, of_head = (_libraries(tree) for tree in (base, head))
    for name in of_base.keys() & of_head.keys():
        if filecmp.cmp(of_base[name], of_head[name], shallow=False):
            _link(of_base.pop(name), of_head.pop(name))
    base, head = (
        replace(tree, libraries=tuple(sorted(found.values()))) for tree, found in ((base, of_base), (head, of_head))
    )
    return base, head


def write_anew(libraries: Iterable[Path]) -> None:
    """Write files once more, so that they come to lie in other pages of memory."""
    for path in libraries:
        # One that a benchmark removed is nobody's.
        if path.is_file():
            copy = _beside(path)
            shutil.copy2(path, copy)
            copy.replace(path)


def _libraries(tree: Tree) -> dict[tuple[int, str], Path]:
    """Return the libraries of a revision, and of its environment, by where they lie in it."""
    roots = [tree.top or tree.path, *([Path(tree.python).parent.parent] if tree.is_isolated else [])]
    return {
        (number, path.relative_to(root).as_posix()): path
        for number, root in enumerate(roots)
        for path in root.rglob("*.*")
        if _LIBRARY.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    }


def _link(path: Path, other: Path) -> None:
    """Make one file of two that are equal."""
    copy = _beside(other)
    os.link(path, copy)
    copy.replace(other)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.rnncore")
