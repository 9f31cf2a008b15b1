"""Tests of stores that outlive a machine: memory and folders in this process, S3 by its real client and a made server."""

import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from rnncore.errors import ConfigError, OutputError, RunFileError, StoreError, Unavailable
from rnncore.runfile import remote
from rnncore.runfile.remote import local_copy, pull, push
from tests.command import Command
from tests.run_files import inference, make_run, run_content

MACHINE = "Linux-CPython-3.11-64bit"


def _content(seconds: float) -> dict[str, Any]:
    return run_content([inference("gru", "torch", 1, seconds)])


def _store(folder: Path, *seconds: float, first: int = 1) -> Path:
    """Make a folder as pytest-benchmark keeps it, with a run of each time."""
    machine = folder / MACHINE
    machine.mkdir(parents=True, exist_ok=True)
    for number, one_s in enumerate(seconds, first):
        make_run(machine, _content(one_s), name=f"{number:04}_made.json")
    return folder


def _contents(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in folder.rglob("*.json"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the address of an empty store, of each kind that needs no server."""
    yield f"memory://{tmp_path.name}/runs" if request.param == "memory" else f"file://{tmp_path}/elsewhere/runs"
    memory = fsspec.filesystem("memory")
    if memory.exists("/"):
        memory.rm("/", recursive=True)


def _write(url: str, name: str, content: bytes) -> None:
    files, root = fsspec.core.url_to_fs(url)
    files.makedirs(str(Path(root, name).parent), exist_ok=True)
    files.pipe_file(f"{root}/{name}", content)


def _names(url: str) -> list[str]:
    files, root = fsspec.core.url_to_fs(url)
    return sorted(path.removeprefix(f"{root}/") for path in files.find(root))


# ------------------------------------------------------------------------------------------------------- push and pull


def test_what_is_pushed_is_pulled_byte_by_byte(url: str, tmp_path: Path) -> None:
    store = _store(tmp_path / "here", 0.01, 0.02, 0.03)
    pushed = push(store, url)
    pulled = pull(url, tmp_path / "there")
    assert (len(pushed.new), pushed.known, pushed.left_out) == (3, 0, ())
    assert (len(pulled.new), pulled.known, pulled.damaged, pulled.foreign) == (3, 0, (), 0)
    assert _contents(tmp_path / "there") == _contents(store)
    assert all(path.is_file() for path in pulled.new)


def test_a_file_keeps_its_folder_and_its_name_with_the_digest_of_its_content_behind_it(url: str, tmp_path: Path) -> None:
    store = _store(tmp_path / "here", 0.01)
    pushed = push(store, url)
    name = f"{MACHINE}/0001_made-{_digest(store / MACHINE / '0001_made.json')}.json"
    assert pushed.new == (name,)
    assert _names(url) == [name]
    assert pull(url, tmp_path / "there").new == (tmp_path / "there" / name,)


def test_a_second_push_and_pull_do_nothing(url: str, tmp_path: Path) -> None:
    store = _store(tmp_path / "here", 0.01, 0.02)
    push(store, url)
    pull(url, tmp_path / "there")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "there").rglob("*.json")}
    again = push(store, url)
    assert (again.new, again.known) == ((), 2)
    pulled = pull(url, tmp_path / "there")
    assert (pulled.new, pulled.known) == ((), 2)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "there").rglob("*.json")} == before


def test_only_what_is_new_travels(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store(tmp_path / "here", 0.01)
    push(store, url)
    pull(url, tmp_path / "there")
    push(_store(store, 0.02, first=2), url)
    asked: list[str] = []
    contents = remote._Files.contents
    monkeypatch.setattr(remote._Files, "contents", lambda self, names: asked.extend(names) or contents(self, names))
    assert len(pull(url, tmp_path / "there").new) == 1
    assert [name.split("-")[-2] for name in asked] == ["64bit/0002_made"]


def test_what_was_pushed_from_a_folder_is_not_pulled_into_it_again(url: str, tmp_path: Path) -> None:
    store = _store(tmp_path / "here", 0.01, 0.02)
    push(store, url)
    pulled = pull(url, store)
    assert (pulled.new, pulled.known) == ((), 2)
    assert len(list(store.rglob("*.json"))) == 2


def test_what_was_pulled_is_pushed_elsewhere_under_the_same_name(tmp_path: Path) -> None:
    one, two = f"file://{tmp_path}/one", f"file://{tmp_path}/two"
    push(_store(tmp_path / "here", 0.01), one)
    pull(one, tmp_path / "there")
    push(tmp_path / "there", two)
    assert _names(one) == _names(two) != []


def test_two_machines_with_runs_of_one_name_lose_none(url: str, tmp_path: Path) -> None:
    first, second = _store(tmp_path / "first", 0.01), _store(tmp_path / "second", 0.02)
    push(first, url)
    push(second, url)
    pull(url, tmp_path / "there")
    assert _contents(tmp_path / "there") == sorted(_contents(first) + _contents(second))


def test_a_file_that_was_changed_after_it_was_pulled_gets_another_name(url: str, tmp_path: Path) -> None:
    push(_store(tmp_path / "here", 0.01), url)
    (path,) = pull(url, tmp_path / "there").new
    path.write_text(json.dumps(_content(0.05)), encoding="utf-8")
    (new,) = push(tmp_path / "there", url).new
    assert new == f"{MACHINE}/0001_made-{_digest(path)}.json"
    assert len(_names(url)) == 2


def test_names_hold_nothing_that_a_file_system_or_a_glob_takes_for_more_than_a_letter(url: str, tmp_path: Path) -> None:
    make_run(_store(tmp_path / "here") / MACHINE, _content(0.01), name="0001_é [x]*? \\ a.b.json")
    (name,) = push(tmp_path / "here", url).new
    assert re.fullmatch(rf"{MACHINE}/0001____x______a\.b-[0-9a-f]{{16}}\.json", name)
    assert len(pull(url, tmp_path / "there").new) == 1


# ------------------------------------------------------------------------------------------------------ what is left out


def test_what_is_no_run_file_is_left_out_with_the_reason(url: str, tmp_path: Path) -> None:
    store = _store(tmp_path / "here", 0.01)
    (store / "verdict.json").write_text('{"verdict": "same"}', encoding="utf-8")
    (store / "half.json").write_text('{"benchmarks": [', encoding="utf-8")
    for folder in ("traces", ".hidden"):
        make_run(_store(store / folder) / MACHINE, _content(0.02), name="0009_made.json")
    (store / MACHINE / ".0001_made-x.json").write_text("{}", encoding="utf-8")
    pushed = push(store, url)
    assert len(pushed.new) == 1
    assert [path.name for path, _ in pushed.left_out] == ["half.json", "verdict.json"]
    assert "not JSON" in pushed.left_out[0][1]
    assert pushed.left_out[1][1] == "it lacks benchmarks, datetime"


@pytest.mark.parametrize("kept", [0, 100])
def test_a_file_that_was_cut_off_is_not_pulled_and_the_next_push_of_it_makes_it_whole(
    kept: int, url: str, tmp_path: Path
) -> None:
    store = _store(tmp_path / "here", 0.01, 0.02)
    first, _ = push(store, url).new
    _write(url, first, (store / MACHINE / "0001_made.json").read_bytes()[:kept])
    pulled = pull(url, tmp_path / "there")
    assert (len(pulled.new), pulled.damaged) == (1, (first,))
    assert not (tmp_path / "there" / first).exists()
    assert push(store, url).new == (first,)
    assert len(pull(url, tmp_path / "there").new) == 1
    assert _contents(tmp_path / "there") == _contents(store)


def test_a_file_whose_content_was_changed_there_is_not_pulled(url: str, tmp_path: Path) -> None:
    store = _store(tmp_path / "here", 0.01)
    (name,) = push(store, url).new
    content = (store / MACHINE / "0001_made.json").read_bytes()
    _write(url, name, content.replace(b"0.01", b"0.09"))
    assert pull(url, tmp_path / "there").damaged == (name,)


@pytest.mark.parametrize(
    "name",
    ["../outside-0123456789abcdef.json", ".git/x-0123456789abcdef.json", "0001_made.json", "a/-0123456789abcdef.json"],
)
def test_a_name_that_no_push_gives_is_left_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote._Files, "sizes", lambda self: {name: 1})
    monkeypatch.setattr(remote._Files, "contents", lambda self, names: ((one, b"x") for one in names))
    pulled = pull(f"file://{tmp_path}/elsewhere", tmp_path / "there")
    assert (pulled.new, pulled.damaged, pulled.foreign) == ((), (), 1)
    assert not list(tmp_path.rglob("*.json"))


def test_what_is_not_json_is_no_matter_of_ours(url: str, tmp_path: Path) -> None:
    _write(url, "README.md", b"Ours")
    pulled = pull(url, tmp_path / "there")
    assert (pulled.new, pulled.foreign) == ((), 0)


def test_a_pull_that_is_cut_off_leaves_whole_files_alone(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store(tmp_path / "here", 0.01, 0.02)
    push(store, url)
    contents = remote._Files.contents

    def cut_off(self: Any, names: Any) -> Iterator[tuple[str, bytes]]:
        yield next(iter(contents(self, names)))
        raise ConnectionResetError(104, "Connection reset by peer")

    with monkeypatch.context() as patch:
        patch.setattr(remote._Files, "contents", cut_off)
        with pytest.raises(StoreError, match="Connection reset by peer"):
            pull(url, tmp_path / "there")
    assert len(_contents(tmp_path / "there")) == 1
    assert [path for path in (tmp_path / "there").rglob("*") if path.name.startswith(".")] == []
    assert len(pull(url, tmp_path / "there").new) == 1


# -------------------------------------------------------------------------------------------------------------- errors


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: no such folder"):
        push(tmp_path / "nowhere", "memory://x")


@pytest.mark.parametrize("url", ["runs", "/runs", "bucket:runs", ""])
def test_what_is_no_address_is_told(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no address of a store"):
        pull(url, tmp_path)


def test_a_store_that_is_not_there_is_no_empty_one(url: str, tmp_path: Path) -> None:
    files, root = fsspec.core.url_to_fs(url)
    with pytest.raises(StoreError, match=rf"{re.escape(root)}: no such folder"):
        pull(url, tmp_path / "here")
    assert not (tmp_path / "here").exists()
    files.makedirs(root)
    pulled = pull(url, tmp_path / "here")
    assert (pulled.new, pulled.known) == ((), 0)


@pytest.mark.parametrize("is_file", [False, True], ids=["nothing", "a file"])
def test_an_address_that_is_kept_whole_is_told_without_its_password(
    is_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a web server is, whose folders begin with it."""
    root = "https://me:secret@host/runs"

    class Web(type(fsspec.filesystem("memory"))):  # type: ignore[misc]  # fsspec has no types
        async_impl = True

        def ls(self, path: str, *_: object, **__: object) -> list[object]:
            raise FileNotFoundError(path)

        def find(self, *_: object, **__: object) -> dict[str, object]:
            return {root: {}} if is_file else {}

    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (Web(), root))
    with pytest.raises(StoreError, match=r"^https://host/runs: (is a file|no such folder)\. "):
        pull(root, tmp_path / "here")


@pytest.mark.parametrize("bucket", ["here", "nowhere"])
def test_where_nothing_lies_below_an_address_in_an_object_store_its_bucket_decides(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Objects(type(fsspec.filesystem("memory"))):  # type: ignore[misc]  # fsspec has no types
        async_impl = True

        def ls(self, path: str, *_: object, **__: object) -> list[object]:
            if path != "here":
                raise FileNotFoundError(path)
            return []

        def find(self, *_: object, **__: object) -> dict[str, object]:
            return {}

    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (Objects(), f"{bucket}/runs"))
    if bucket == "here":
        assert pull("made://here/runs", tmp_path / "there").new == ()
    else:
        with pytest.raises(StoreError, match=r"^nowhere: no such bucket\. "):
            pull("made://nowhere/runs", tmp_path / "there")


def test_what_others_begin_to_write_as_it_is_listed_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As S3 is asked: for what lies below a name, and where that is nothing, for the name itself."""
    seen = [{"runs/ours": {"name": "runs/ours", "type": "directory", "size": 0}}, {"runs/ours/others.json": {"size": 2}}]

    class Objects(type(fsspec.filesystem("memory"))):  # type: ignore[misc]  # fsspec has no types
        def find(self, *_: object, **__: object) -> dict[str, object]:
            return dict(seen.pop(0) if len(seen) > 1 else seen[0])

        def pipe(self, contents: dict[str, bytes], *_: object, **__: object) -> None:
            assert list(contents)

    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (Objects(), "runs/ours"))
    assert len(push(_store(tmp_path / "here", 0.01), "made://runs/ours").new) == 1


@pytest.mark.parametrize("asks_for_object", [False, True], ids=["lists", "asks for an object too"])
@pytest.mark.parametrize("granted", ["runs/of-one", ""], ids=["a part", "nothing"])
def test_where_only_a_part_of_a_bucket_is_granted_that_part_is_a_store(
    granted: str, asks_for_object: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Objects(type(fsspec.filesystem("memory"))):  # type: ignore[misc]  # fsspec has no types
        async_impl = True

        def ls(self, path: str, *_: object, **__: object) -> list[object]:
            if path != granted:
                raise PermissionError(13, "Access Denied")
            raise FileNotFoundError(path)

        def find(self, path: str, *_: object, **__: object) -> dict[str, object]:
            if path != granted or asks_for_object:
                raise PermissionError(13, "Access Denied")
            return {}

        def pipe(self, contents: dict[str, bytes], *_: object, **__: object) -> None:
            assert list(contents)

    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (Objects(), "runs/of-one"))
    store = _store(tmp_path / "here", 0.01)
    if granted:
        assert pull("made://runs/of-one", tmp_path / "there").new == ()
        assert len(push(store, "made://runs/of-one").new) == 1
        return
    for travel in (lambda: pull("made://runs/of-one", tmp_path / "there"), lambda: push(store, "made://runs/of-one")):
        with pytest.raises(StoreError, match=r"cannot be reached .*Access Denied"):
            travel()


def test_a_push_makes_the_store_that_is_not_there(url: str, tmp_path: Path) -> None:
    assert len(push(_store(tmp_path / "here", 0.01), url).new) == 1
    assert len(_names(url)) == 1


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    for travel in (lambda url: pull(url, tmp_path / "here"), lambda url: push(_store(tmp_path / "here", 0.01), url)):
        with pytest.raises(StoreError, match=r"run\.json: is a file"):
            travel(f"file://{tmp_path}/run.json")


def test_the_address_of_a_folder_is_told_and_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = _store(tmp_path / "here", 0.01)
    with pytest.raises(ConfigError) as raised:
        push(store, "else where")
    address = str(raised.value).split(" A folder is ")[1]
    assert len(push(store, address).new) == 1
    assert _contents(tmp_path / "else where") == _contents(store)


@pytest.mark.parametrize("address", ["s3://", "gs:///", "http://", "file://", "://", "://a"])
def test_an_address_that_names_no_place_is_told(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = _store(tmp_path / "made", 0.1)
    for travel in (lambda: push(store, address), lambda: pull(address, store)):
        with pytest.raises(ConfigError, match="names no bucket, host or folder"):
            travel()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_where_nobody_answers_a_store_is_not_called_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(type(fsspec.filesystem("memory"))):  # type: ignore[misc]  # fsspec has no types
        def ls(self, path: str, *_: object, **__: object) -> list[object]:
            raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url: (Silent(), "/runs"))
    with pytest.raises(StoreError, match=r"cannot be reached .*refused"):
        pull("silent://host/runs", tmp_path / "here")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_left_out_and_not_waited_for(url: str, tmp_path: Path) -> None:
    store = _store(tmp_path / "made", 0.1)
    os.mkfifo(store / "pipe.json")
    (store / "gone.json").symlink_to(store / "nowhere")
    (store / "folder.json").mkdir()
    pushed = push(store, url)
    assert len(pushed.new) == 1
    assert [(path.name, why) for path, why in pushed.left_out] == [
        (name, "no file, or a link to none") for name in ("gone.json", "pipe.json")
    ]
    assert pull(url, store).new == ()


def test_an_unknown_kind_of_address_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Give an address that fsspec knows"):
        pull("s4://bucket/runs", tmp_path)


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(Unavailable, match=r"Install s3fs to access S3.*pip install 'rnncore\[store\]'"):
        pull("s3://bucket/runs", tmp_path)


def test_errors_of_clients_are_one_line_without_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Any) -> None:
        raise PermissionError("https://me:secret@host refuses\nyou")

    monkeypatch.setattr(remote._Files, "sizes", refused)
    with pytest.raises(StoreError) as raised:
        pull("memory://me:secret@host/runs", tmp_path)
    assert str(raised.value).startswith("memory://host/runs: cannot be reached (https://host refuses you).")


def test_a_folder_that_cannot_be_written_is_told_as_such(tmp_path: Path) -> None:
    push(_store(tmp_path / "here", 0.01), f"file://{tmp_path}/elsewhere")
    (tmp_path / "there").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        pull(f"file://{tmp_path}/elsewhere", tmp_path / "there")


# ------------------------------------------------------------------------------------------------------------- command


def test_the_verbs_say_what_they_did(tmp_path: Path, rnncore: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"file://{tmp_path}/elsewhere"
    store = _store(tmp_path / ".benchmarks", 0.01, 0.02)
    (store / "verdict.json").write_text("{}", encoding="utf-8")
    done = rnncore("push", url)
    assert (done.code, done.out) == (0, f"{url}: 2 run files pushed, 0 there already\n")
    assert ".benchmarks/verdict.json: it lacks benchmarks, datetime" in done.said
    assert rnncore("push", ".benchmarks", url).out == f"{url}: 0 run files pushed, 2 there already\n"
    assert rnncore("pull", url, "there").out == "there: 2 run files pulled, 0 here already\n"
    assert rnncore("pull", url).out == ".benchmarks: 0 run files pulled, 2 here already\n"


def test_a_pull_of_a_damaged_file_ends_with_2_after_the_others(tmp_path: Path, rnncore: Command) -> None:
    url = f"file://{tmp_path}/elsewhere"
    first, _ = push(_store(tmp_path / "here", 0.01, 0.02), url).new
    _write(url, first, b"{")
    done = rnncore("pull", url, tmp_path / "there")
    assert (done.code, done.out) == (2, f"{tmp_path / 'there'}: 1 run file pulled, 0 here already\n")
    assert f"{first}: is not what was pushed" in done.said


def test_more_than_a_folder_and_an_address_are_refused(tmp_path: Path, rnncore: Command) -> None:
    done = rnncore("push", tmp_path, tmp_path, "memory://x")
    assert done.code == 2
    assert "give a folder and an address" in done.said


def test_numbers_and_names_are_looked_up_in_the_store_that_is_named(
    tmp_path: Path, rnncore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    url = f"file://{tmp_path}/elsewhere"
    push(_store(tmp_path / "here", 0.01, 0.02), url)
    assert rnncore("compare", "1", "2").code == 2
    by_number, by_name = (rnncore("compare", *names, "--store", url) for names in (("1", "2"), ("*1_made*", "*2_made*")))
    assert "1 process" in by_number.out or "unclear" in by_number.out
    assert by_number.code == by_name.code == 3
    assert rnncore("report", "0002", "--store", url, "--out", "report").code == 0
    assert (tmp_path / "report" / "index.html").is_file()
    assert rnncore("trend", "--store", url, "--json").json["files"] == 2
    assert not (tmp_path / ".benchmarks").exists()
    # The second look takes only what is new.
    push(_store(tmp_path / "here", 0.03, first=3), url)
    assert rnncore("trend", "--store", url, "--json").json["files_read_now"] == 1


def test_a_store_without_runs_and_two_places_at_once_are_told(
    tmp_path: Path, rnncore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"file://{tmp_path}/elsewhere"
    done = rnncore("trend", "--store", url)
    assert (done.code, "no such folder" in done.said) == (2, True)
    (tmp_path / "elsewhere").mkdir()
    done = rnncore("trend", "--store", url)
    assert (done.code, "holds no run files" in done.said) == (2, True)
    done = rnncore("trend", tmp_path, "--store", url)
    assert (done.code, "give one of them" in done.said) == (2, True)


def test_copies_of_two_stores_lie_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folders = []
    for name, seconds in (("one", 0.01), ("two", 0.02)):
        push(_store(tmp_path / name, seconds), f"file://{tmp_path}/{name}-elsewhere")
        folders.append(local_copy(f"file://{tmp_path}/{name}-elsewhere")[0])
    assert folders[0] != folders[1]
    assert all(len(_contents(folder)) == 1 for folder in folders)


def test_the_copy_of_a_store_is_the_same_with_another_password_and_of_another_folder_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("rnncore.runfile.remote._pull", lambda url, store: (store, ()))
    monkeypatch.chdir(tmp_path)
    with_one, with_other = (local_copy(f"git+https://me:{word}@example.org/runs.git")[0] for word in ("a", "b"))
    here = local_copy("file://runs")[0]
    assert with_one == with_other != here == local_copy(f"file://{tmp_path}/runs")[0]
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert local_copy("file://runs")[0] != here
    # A bucket of the same name at another service.
    of_amazon = local_copy("s3://bucket/runs")[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://storage.example")
    assert local_copy("s3://bucket/runs")[0] != of_amazon


def test_the_copy_of_a_store_has_no_run_that_the_store_no_longer_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    there, url = tmp_path / "elsewhere", f"file://{tmp_path}/elsewhere"
    push(_store(tmp_path / "here", 0.01, 0.02), url)
    copy, _ = local_copy(url)
    assert _contents(copy) == _contents(there)
    next(there.rglob("*0001*.json")).unlink()
    assert local_copy(url)[0] == copy
    assert _contents(copy) == _contents(there) != []


# ------------------------------------------------------------------------------------------------------------------ S3

# A server of S3's interface; it ends with its standard input.
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class Bucket:
    """A bucket of a made server, and the command with what it needs to find it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._request("PUT", "runs")

    def _request(self, method: str, path: str) -> str:
        server = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            server.request(method, f"/{path}")
            return server.getresponse().read().decode()
        finally:
            server.close()

    @property
    def names(self) -> list[str]:
        return re.findall(r"<Key>([^<]+)</Key>", self._request("GET", "runs?list-type=2"))

    def started(self, *arguments: object, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "rnncore", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
                "AWS_ACCESS_KEY_ID": "made",
                "AWS_SECRET_ACCESS_KEY": "made",
                "AWS_DEFAULT_REGION": "us-east-1",
                **variables,
            },
        )

    def run(self, *arguments: object, **variables: str) -> tuple[int, str, str]:
        with self.started(*arguments, **variables) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, " ".join(err.split())


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    pytest.importorskip("moto", reason="moto, a server of S3's interface, is not installed")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        yield Bucket(int(server.stdout.readline()))
        server.communicate()


def test_a_bucket_keeps_runs(bucket: Bucket, tmp_path: Path) -> None:
    url = "s3://runs/kept"
    store = _store(tmp_path / "here", 0.01, 0.02)
    assert bucket.run("push", store, url) == (0, f"{url}: 2 run files pushed, 0 there already\n", "")
    assert bucket.run("push", store, url) == (0, f"{url}: 0 run files pushed, 2 there already\n", "")
    assert len([name for name in bucket.names if name.startswith(f"kept/{MACHINE}/000")]) == 2
    there = tmp_path / "there"
    assert bucket.run("pull", url, there) == (0, f"{there}: 2 run files pulled, 0 here already\n", "")
    assert bucket.run("pull", url, there) == (0, f"{there}: 0 run files pulled, 2 here already\n", "")
    assert _contents(there) == _contents(store)
    code, out, err = bucket.run("trend", "--store", url, "--json", XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert (code, json.loads(out)["files"]) == (0, 2), err


def test_of_pushes_into_a_bucket_at_once_none_is_lost(bucket: Bucket, tmp_path: Path) -> None:
    url = "s3://runs/at-once"
    # More than travel together, and each machine's under the same names as the other's; the last ten are on both.
    both = [1 + number / 1000 for number in range(10)]
    own = [[first + number / 1000 for number in range(remote._TOGETHER)] for first in (2, 3)]
    stores = [_store(tmp_path / f"here-{number}", *times, *both) for number, times in enumerate(own)]
    pushers = [bucket.started("push", store, url) for store in stores]
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in pushers]
    assert [code for _, code in ended] == [0, 0], ended
    assert bucket.run("pull", url, tmp_path / "there")[0] == 0
    assert _contents(tmp_path / "there") == sorted({*_contents(stores[0]), *_contents(stores[1])})
    assert len(_contents(tmp_path / "there")) == 2 * remote._TOGETHER + 10


def test_a_bucket_that_is_not_there_is_told_in_one_line(bucket: Bucket, tmp_path: Path) -> None:
    code, out, err = bucket.run("push", _store(tmp_path / "here", 0.01), "s3://nowhere/runs")
    assert (code, out) == (2, "")
    assert err.startswith("rnncore: s3://nowhere/runs: cannot be reached (")
    assert "Traceback" not in err


def test_a_bucket_that_is_not_there_is_no_empty_one_and_of_one_that_is_any_part_is(bucket: Bucket, tmp_path: Path) -> None:
    for url in ("s3://nowhere/runs", "s3://nowhere"):
        code, out, err = bucket.run("pull", url, tmp_path / "there")
        assert (code, out) == (2, "")
        assert err.startswith(f"rnncore: {url}: cannot be reached (The specified bucket does not exist)")
    code, out, err = bucket.run("pull", "s3://runs/of-nobody", tmp_path / "there")
    assert (code, err) == (0, "")
    assert "s3://runs/of-nobody holds none: it is empty, or not the address that you mean." in out


def test_a_server_that_is_not_there_is_told_in_one_line(bucket: Bucket, tmp_path: Path) -> None:
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    code, _, err = bucket.run("pull", "s3://runs/kept", tmp_path, **nowhere)
    assert code == 2
    assert err.startswith("rnncore: s3://runs/kept: cannot be reached (")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    store = _store(tmp_path / "here", 0.01)
    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(RunFileError, match=r"0001_made\.json: cannot be read \(Permission denied\)"):
        push(store, "memory://x")
