"""Tests of files that are written whole or not at all."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from rnncore.errors import OutputError
from rnncore.files import others_may_write, require_writable, user_cache, whole_file, write_text


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


# On the disk


def test_a_durable_file_is_on_the_disk_before_it_has_its_name_and_the_name_after_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "library.so"
    flushed: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append((os.fstat(handle).st_ino, path.exists())))
    with whole_file(path, is_durable=True) as temporary:
        temporary.write_bytes(b"code")
    assert flushed == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def test_a_durable_file_that_the_disk_refuses_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with (
        pytest.raises(OutputError, match="Input/output error"),
        whole_file(tmp_path / "library.so", is_durable=True) as temporary,
    ):
        temporary.write_bytes(b"code")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_flushes_no_folders_has_durable_files_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_folders(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with whole_file(tmp_path / "library.so", is_durable=True) as temporary:
        temporary.write_bytes(b"code")
    assert (tmp_path / "library.so").read_bytes() == b"code"


# Who may write


@pytest.fixture
def _umask_0() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask_0")
def test_a_file_of_given_permissions_has_no_others_whatever_the_umask(tmp_path: Path) -> None:
    with whole_file(tmp_path / "library.so", mode=0o644) as temporary:
        temporary.write_bytes(b"code")
    assert stat.S_IMODE((tmp_path / "library.so").stat().st_mode) == 0o644


@pytest.mark.usefixtures("_umask_0")
def test_others_may_not_write_the_user_s_cache_whatever_the_umask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "rnncore"
    assert stat.S_IMODE((tmp_path / "rnncore").stat().st_mode) == 0o755


def test_a_cache_by_a_relative_path_would_be_another_in_each_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache() == tmp_path / "home" / ".cache" / "rnncore"


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """Return a folder in one that is in another."""
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(mode=0o755, parents=True)
    folder.parent.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("place", "mode", "is_found"),
    [
        (".", 0o755, False),
        (".", 0o757, True),
        (".", 0o1777, True),
        ("..", 0o757, True),
        ("..", 0o1777, False),
    ],
    ids=["nobody", "inside", "inside, sticky", "around", "around, sticky"],
)
def test_others_may_write_where_they_may_add_or_exchange_files(place: str, mode: int, is_found: bool, inner: Path) -> None:
    (inner / place).chmod(mode)
    assert others_may_write(inner) == ((inner / place).resolve() if is_found else None)


def test_others_may_write_a_file_whose_permissions_say_so(inner: Path) -> None:
    path = inner / "library.so"
    path.write_bytes(b"code")
    path.chmod(0o644)
    assert others_may_write(path) is None
    path.chmod(0o646)
    assert others_may_write(path) == path


@pytest.mark.parametrize("members", [[], ["another"]], ids=["alone", "with another"])
def test_a_group_may_write_if_it_is_the_one_of_the_user_alone(
    members: list[str], inner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grp, pwd = pytest.importorskip("grp"), pytest.importorskip("pwd")
    inner.chmod(0o775)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: type("User", (), {"pw_name": "somebody"}))
    monkeypatch.setattr(grp, "getgrgid", lambda _: type("Group", (), {"gr_name": "somebody", "gr_mem": members}))
    assert others_may_write(inner) == (inner if members else None)


def test_a_group_without_a_name_is_of_others(inner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(number: int) -> None:
        raise KeyError(number)

    inner.chmod(0o775)
    monkeypatch.setattr(pytest.importorskip("grp"), "getgrgid", nameless)
    assert others_may_write(inner) == inner


def test_a_folder_of_another_user_is_written_by_others(inner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(inner, 12345, -1)
    else:
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert others_may_write(inner) == inner


def test_a_link_leads_to_what_is_looked_at(inner: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(inner)
    inner.chmod(0o777)
    assert others_may_write(link) == inner
