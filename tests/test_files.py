"""Tests of files that are written whole or not at all."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnncore.errors import OutputError
from rnncore.files import require_writable, whole_file, write_text


@pytest.fixture
def _umask_027() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def _break_off(path: Path, error: BaseException) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("half of i")
        raise error


def test_content_is_in_place_after_the_block_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    with whole_file(path) as temporary:
        temporary.write_bytes(b"weights")
        assert not path.exists()
        assert temporary != path
    assert path.read_bytes() == b"weights"
    assert list(tmp_path.iterdir()) == [path]


def test_temporary_file_lies_in_the_same_folder_with_the_same_suffix(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with whole_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".safetensors"


def test_an_exception_leaves_nothing_where_there_was_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cut"):
        _break_off(tmp_path / "new.txt", RuntimeError("cut"))
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_earlier_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_text("whole")
    with pytest.raises(RuntimeError, match="cut"):
        _break_off(path, RuntimeError("cut"))
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def _in_the_way(tmp_path: Path) -> list[Path]:
    """Return paths that cannot be written: a folder, and a path below a file."""
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "file").write_text("whole")
    return [tmp_path / "folder.txt", tmp_path / "file" / "a.txt", tmp_path / "file" / "b" / "a.txt", tmp_path / ("a" * 300)]


def test_a_path_that_cannot_be_written_is_named_before_and_while_it_is_written(tmp_path: Path) -> None:
    for path in _in_the_way(tmp_path):
        for write in (require_writable, lambda path: write_text(path, "x")):
            with pytest.raises(
                OutputError, match=r": cannot be written \(.+\)\. Make room for it, or give another"
            ) as caught:
                write(path)
            assert str(caught.value).startswith(str(path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.txt"]


def test_asking_whether_a_path_can_be_written_makes_nothing(tmp_path: Path) -> None:
    require_writable(tmp_path / "new" / "folder" / "a.txt")
    (tmp_path / "old.txt").write_text("whole")
    require_writable(tmp_path / "old.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["old.txt"]


def test_ctrl_c_within_the_block_leaves_the_earlier_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_text("whole")
    with pytest.raises(KeyboardInterrupt):
        _break_off(path, KeyboardInterrupt())
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_an_earlier_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_text("a longer content than the new one")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_missing_parent_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_text(path, "here")
    assert path.read_text() == "here"


def test_text_is_written_as_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "12 µs ±")
    assert (tmp_path / "a.txt").read_bytes() == "12 µs ±".encode()


@pytest.mark.usefixtures("_umask_027")
def test_permissions_follow_the_umask_and_not_those_of_temporary_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "here")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.usefixtures("_umask_027")
def test_the_umask_is_the_same_afterwards(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "here")
    assert os.umask(0o027) == 0o027
