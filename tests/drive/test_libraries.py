"""Tests of compiled code on two sides: what is equal is one file, what is not lies elsewhere in each pair."""

from dataclasses import replace
from pathlib import Path

import pytest

from rnncore.drive.environment import Preparation, prepared
from rnncore.drive.libraries import with_libraries, write_anew
from rnncore.drive.worktrees import Tree

NAMES = ["fast.cpython-311-x86_64-linux-gnu.so", "libfast.so", "libfast.so.1.2", "fast.cp311-win_amd64.pyd", "libfast.dylib"]


def _tree(folder: Path, **files: bytes) -> Tree:
    for name, content in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Tree(folder, folder.name)


@pytest.mark.parametrize("name", NAMES)
def test_equal_libraries_are_one_file_on_both_sides(name: str, tmp_path: Path) -> None:
    trees = [_tree(tmp_path / side, **{f"pkg__{name}": b"code"}) for side in ("base", "head")]
    base, head = with_libraries(*trees)
    paths = [tree.path / "pkg" / name for tree in (base, head)]
    assert paths[0].samefile(paths[1])
    assert [path.read_bytes() for path in paths] == [b"code", b"code"]
    assert (base.libraries, head.libraries) == ((), ())
    assert [*tmp_path.rglob("*.rnncore")] == []


def test_libraries_that_differ_or_have_no_counterpart_are_written_anew(tmp_path: Path) -> None:
    base, head = with_libraries(
        _tree(tmp_path / "base", **{"a.so": b"old", "only.so": b"1"}), _tree(tmp_path / "head", **{"a.so": b"new"})
    )
    assert base.libraries == (base.path / "a.so", base.path / "only.so")
    assert head.libraries == (head.path / "a.so",)
    base.libraries[0].chmod(0o755)
    before = [path.stat() for path in base.libraries]
    write_anew(base.libraries)
    after = [path.stat() for path in base.libraries]
    assert [path.read_bytes() for path in base.libraries] == [b"old", b"1"]
    # Another file is in other pages; dates and rights are what they were.
    assert all(one.st_ino != other.st_ino for one, other in zip(before, after, strict=True))
    assert [(one.st_mode, one.st_mtime_ns) for one in before] == [(one.st_mode, one.st_mtime_ns) for one in after]
    assert sorted(path.name for path in base.path.iterdir()) == ["a.so", "only.so"]


def test_other_files_and_links_stay_as_they_are(tmp_path: Path) -> None:
    files = {"a.py": b"1", "notes.some": b"1", "real.so": b"1"}
    trees = [_tree(tmp_path / side, **files) for side in ("base", "head")]
    for tree in trees:
        (tree.path / "link.so").symlink_to("real.so")
    base, head = with_libraries(*trees)
    assert not (base.path / "a.py").samefile(head.path / "a.py")
    assert not (base.path / "notes.some").samefile(head.path / "notes.some")
    assert all((tree.path / "link.so").is_symlink() for tree in trees)
    assert base.libraries == head.libraries == ()


def test_libraries_of_environments_count_too(tmp_path: Path) -> None:
    trees = []
    for side in ("base", "head"):
        _tree(tmp_path / "environments" / side, **{"lib__same.so": b"1", "lib__built.so": side.encode()})
        python = str(tmp_path / "environments" / side / "bin" / "python")
        trees.append(replace(_tree(tmp_path / side), python=python, is_isolated=True))
    base, head = with_libraries(*trees)
    lib = tmp_path / "environments"
    assert (lib / "base" / "lib" / "same.so").samefile(lib / "head" / "lib" / "same.so")
    assert (base.libraries, head.libraries) == (
        (lib / "base" / "lib" / "built.so",),
        (lib / "head" / "lib" / "built.so",),
    )


def test_what_a_preparation_builds_is_found(tmp_path: Path) -> None:
    trees = Tree(tmp_path / "base", "b"), Tree(tmp_path / "head", "h")
    for tree in trees:
        tree.path.mkdir()
    with prepared(trees, Preparation("pwd > built.so; echo same > same.so"), lambda line: None) as (base, head):
        assert (base.libraries, head.libraries) == ((base.path / "built.so",), (head.path / "built.so",))
        assert (base.path / "same.so").samefile(head.path / "same.so")


def test_a_library_that_is_gone_is_left_out(tmp_path: Path) -> None:
    write_anew([tmp_path / "gone.so"])
    assert [*tmp_path.iterdir()] == []
