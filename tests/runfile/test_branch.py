"""Tests of run files on a branch of a git repository: nothing is lost, and the user's repository stays as it is."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rnncore.errors import ConfigError, StoreError
from rnncore.runfile import branch
from rnncore.runfile.branch import BRANCH, Branch, without_password
from rnncore.runfile.remote import local_copy, pull, push
from tests.command import Command
from tests.runfile.test_remote import MACHINE, _contents, _store


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(branch, "_LONGEST_PAUSE_S", 0.05)


@pytest.fixture(params=["whole", "in parts"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a bare repository with a branch of code; one gives out commits without their files, as GitHub does."""
    folder = tmp_path / "remote.git"
    _git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    if request.param == "in parts":
        for name in ("allowFilter", "allowAnySHA1InWant"):
            _git(folder, "config", f"uploadpack.{name}", "true")
    _git(tmp_path, "init", "--quiet", "--initial-branch=main", "project")
    (tmp_path / "project" / "code.py").write_text("code", encoding="utf-8")
    _git(tmp_path / "project", "add", ".")
    _git(tmp_path / "project", "commit", "--quiet", "-m", "code")
    _git(tmp_path / "project", "remote", "add", "origin", str(folder))
    _git(tmp_path / "project", "push", "--quiet", "origin", "main")
    return folder


@pytest.fixture
def project(remote: Path) -> Path:
    """Return the user's repository, whose remote it is."""
    return remote.parent / "project"


def _files(remote: Path, name: str = BRANCH) -> list[str]:
    return _git(remote, "ls-tree", "-r", "--name-only", name).split("\n")[:-1]


def _commits(remote: Path, name: str = BRANCH) -> int:
    return int(_git(remote, "rev-list", "--count", name))


# ------------------------------------------------------------------------------------------------------- push and pull


def test_the_first_push_makes_the_branch_with_run_files_alone(remote: Path, tmp_path: Path) -> None:
    store = _store(tmp_path / "here", 0.01, 0.02)
    pushed = push(store, f"git+file://{remote}")
    assert sorted(pushed.new) == _files(remote)
    assert all(name.startswith(f"{MACHINE}/000") for name in pushed.new)
    assert _commits(remote) == 1
    assert _git(remote, "log", "--format=%an: %s", BRANCH) == "rnncore: 2 run files\n"
    assert _files(remote, "main") == ["code.py"]


def test_what_is_pushed_is_pulled_byte_by_byte_and_once(remote: Path, tmp_path: Path) -> None:
    url = f"git+file://{remote}"
    store = _store(tmp_path / "here", 0.01, 0.02)
    push(store, url)
    assert len(pull(url, tmp_path / "there").new) == 2
    assert _contents(tmp_path / "there") == _contents(store)
    assert (pull(url, tmp_path / "there").new, push(store, url).new) == ((), ())
    assert _commits(remote) == 1
    push(_store(store, 0.03, first=3), url)
    assert [path.name[:9] for path in pull(url, tmp_path / "there").new] == ["0003_made"]
    assert _commits(remote) == 2


def test_only_what_is_new_travels_where_the_remote_can_leave_out_the_rest(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    url = f"git+file://{remote}"
    push(_store(tmp_path / "here", *(1 + number / 100 for number in range(20))), url)
    pull(url, tmp_path / "there")
    push(_store(tmp_path / "more", 0.5, 0.6), url)
    missing: list[int] = []
    fetch_blobs = Branch._fetch_blobs

    def counted(self: Branch, blobs: set[str]) -> None:
        for fetch in (lambda: None, lambda: fetch_blobs(self, blobs)):
            fetch()
            missing.append(self._git("rev-list", "--objects", "--missing=print", branch._TIP).count("?"))

    monkeypatch.setattr(Branch, "_fetch_blobs", counted)
    assert len(pull(url, tmp_path / "there").new) == 2
    assert missing == ([22, 20] if "in parts" in request.node.name else [0, 0])


def test_the_branch_may_be_named(remote: Path, tmp_path: Path) -> None:
    push(_store(tmp_path / "here", 0.01), f"git+file://{remote}#measured/nightly")
    assert len(_files(remote, "measured/nightly")) == 1
    with pytest.raises(subprocess.CalledProcessError):
        _files(remote)
    assert len(pull(f"git+file://{remote}#measured/nightly", tmp_path / "there").new) == 1


def test_what_else_lies_on_the_branch_stays(remote: Path, project: Path, tmp_path: Path) -> None:
    push(_store(tmp_path / "here", 0.01), f"git+file://{remote}#main")
    assert len(_files(remote, "main")) == 2
    assert "code.py" in _files(remote, "main")
    assert _commits(remote, "main") == 2


def test_a_branch_that_is_not_there_holds_nothing(remote: Path, tmp_path: Path) -> None:
    pulled = pull(f"git+file://{remote}", tmp_path / "there")
    assert (pulled.new, pulled.known) == ((), 0)


def test_a_branch_that_is_named_and_not_there_is_an_error_of_what_reads(
    remote: Path, tmp_path: Path, rnncore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url = f"git+file://{remote}#nightly"
    for arguments in (("pull", url, tmp_path / "there"), ("trend", "--store", url)):
        done = rnncore(*arguments)
        assert done.code == 2, done
        said = " ".join(done.said.split())
        assert f"{url}: has no branch 'nightly'. There are main; 'rnncore push' makes one of that name." in said
    assert rnncore("pull", f"git+file://{remote}", tmp_path / "there").code == 0
    assert rnncore("push", _store(tmp_path / "here", 0.01), url).code == 0
    assert rnncore("pull", url, tmp_path / "there").out == f"{tmp_path / 'there'}: 1 run file pulled, 0 here already\n"


# --------------------------------------------------------------------------------------------------------- many at once


def test_a_push_that_another_overtakes_is_made_again_on_top_of_it(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"git+file://{remote}"
    first, second = _store(tmp_path / "first", 0.01), _store(tmp_path / "second", 0.02)
    commit = Branch._commit
    overtakes = iter([second, _store(tmp_path / "third", 0.03)])

    def overtaken(self: Branch, files: Any) -> str:
        made = commit(self, files)
        other = next(overtakes, None)
        if other is not None:
            with monkeypatch.context() as patch:
                patch.setattr(Branch, "_commit", commit)
                push(other, url)
        return made

    monkeypatch.setattr(Branch, "_commit", overtaken)
    push(first, url)
    assert len(_files(remote)) == 3
    assert _commits(remote) == 3
    assert _git(remote, "rev-list", "--merges", BRANCH) == ""


def test_a_push_that_another_makes_needless_adds_no_commit(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, store = f"git+file://{remote}", _store(tmp_path / "here", 0.01)
    commit = Branch._commit

    def overtaken(self: Branch, files: Any) -> str:
        made = commit(self, files)
        monkeypatch.setattr(Branch, "_commit", commit)
        # Of another time, so that it is another commit.
        monkeypatch.setattr(branch.time, "time", lambda: 1e9)
        push(store, url)
        return made

    monkeypatch.setattr(Branch, "_commit", overtaken)
    push(store, url)
    assert (len(_files(remote)), _commits(remote)) == (1, 1)


def test_of_pushes_at_once_none_is_lost(remote: Path, tmp_path: Path) -> None:
    url = f"git+file://{remote}"
    stores = [_store(tmp_path / f"here-{number}", number + 0.01, number + 0.02) for number in range(4)]
    errors: list[BaseException] = []

    def pushed(store: Path) -> None:
        try:
            push(store, url)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=pushed, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert errors == []
    assert len(_files(remote)) == 8
    pull(url, tmp_path / "there")
    assert _contents(tmp_path / "there") == sorted(content for store in stores for content in _contents(store))


def test_two_commands_at_once_lose_nothing(remote: Path, tmp_path: Path) -> None:
    stores = [_store(tmp_path / f"here-{number}", number + 0.01) for number in range(2)]
    commands = [[sys.executable, "-m", "rnncore", "push", str(store), f"git+file://{remote}"] for store in stores]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands]
    ended = [(process.communicate(timeout=120), process.returncode) for process in started]
    assert [code for _, code in ended] == [0, 0], ended
    assert len(_files(remote)) == 2


# ----------------------------------------------------------------------------------------------- the user's repository


def test_a_remote_may_be_called_as_in_the_user_s_repository_which_stays_as_it_is(
    remote: Path, project: Path, tmp_path: Path, rnncore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    before = [_git(project, *what) for what in (["status", "--porcelain"], ["for-each-ref"], ["count-objects", "-v"])]
    config = (project / ".git" / "config").read_bytes()
    _store(tmp_path / "here", 0.01)
    done = rnncore("push", tmp_path / "here", "git+origin")
    assert (done.code, done.out) == (0, "git+origin: 1 run file pushed, 0 there already\n")
    assert rnncore("pull", "git+origin", tmp_path / "there").out.startswith(f"{tmp_path / 'there'}: 1 run file pulled")
    assert len(_files(remote)) == 1
    after = [_git(project, *what) for what in (["status", "--porcelain"], ["for-each-ref"], ["count-objects", "-v"])]
    assert after == before
    assert (project / ".git" / "config").read_bytes() == config


def test_a_remote_may_be_a_folder_beside_the_user_s(
    remote: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    push(_store(tmp_path / "here", 0.01), "git+../remote.git")
    assert len(_files(remote)) == 1


def test_copies_of_what_two_repositories_call_alike_lie_apart(
    remote: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    _git(tmp_path, "init", "--quiet", "--bare", "another.git")
    _git(tmp_path, "init", "--quiet", "another")
    _git(tmp_path / "another", "remote", "add", "origin", "../another.git")
    (tmp_path / "another" / "below").mkdir()
    folders = []
    for folder, seconds in ((project, 0.01), (tmp_path / "another", 0.02)):
        monkeypatch.chdir(folder)
        push(_store(tmp_path / f"of-{folder.name}", seconds), "git+origin")
        folders.append(local_copy("git+origin")[0])
        assert _contents(folders[-1]) == _contents(tmp_path / f"of-{folder.name}")
    monkeypatch.chdir(tmp_path / "another" / "below")
    assert local_copy("git+origin")[0] == folders[1] == local_copy(f"git+../../another.git#{BRANCH}")[0]


def test_in_a_hook_of_git_the_user_s_repository_is_not_written(
    remote: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(project / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(project / ".git" / "index"))
    push(_store(tmp_path / "here", 0.01), f"git+file://{remote}")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_INDEX_FILE")
    assert _git(project, "for-each-ref", "--format=%(refname)").split() == [
        "refs/heads/main",
        "refs/remotes/origin/main",
    ]
    assert len(_files(remote)) == 1


def test_the_remote_is_reached_by_the_settings_of_the_user_s_repository(
    remote: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a CI service leaves its token, in a file that the settings include."""
    included = tmp_path / "included"
    included.write_text(f'[url "file://{tmp_path}/"]\n\tinsteadOf = made:\n', encoding="utf-8")
    _git(project, "config", f"includeIf.gitdir:{project}/.git.path", str(included))
    monkeypatch.chdir(project)
    # Such variables may be there already.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "user.name")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "B")
    push(_store(tmp_path / "here", 0.01), "git+made:remote.git")
    assert len(_files(remote)) == 1
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError):
        push(_store(tmp_path / "here", 0.01), "git+made:remote.git")


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("address", ["", "#x", "--upload-pack=touch hacked", "x#a b", "x#.."])
def test_what_is_no_address_of_a_branch_is_told(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Give git\+REMOTE#BRANCH"):
        push(_store(tmp_path / "here", 0.01), f"git+{address}")


def test_a_repository_that_cannot_be_reached_is_told_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'git ls-remote") as raised:
        pull(f"git+file://me:secret@{tmp_path}/nowhere.git", tmp_path / "there")
    said = str(raised.value)
    assert "secret" not in said
    assert said.startswith(f"'git ls-remote file://{tmp_path}/nowhere.git refs/heads/{BRANCH}' failed (")
    assert "fatal" not in said
    assert "correct access rights" not in said


def test_a_branch_that_refuses_pushes_is_told_after_a_few(remote: Path, tmp_path: Path) -> None:
    hook = remote / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\necho try >>{tmp_path}/tries\necho protected >&2\nexit 1\n", encoding="utf-8")
    hook.chmod(0o755)
    with pytest.raises(StoreError, match=r"git refuses the push \(.*protected.*that no rule protects the branch"):
        push(_store(tmp_path / "here", 0.01), f"git+file://{remote}")
    assert len((tmp_path / "tries").read_text(encoding="utf-8").split()) == branch._TRIES


def test_a_lock_that_is_held_for_a_moment_is_waited_for(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = remote / "refs" / "heads" / f"{BRANCH}.lock"
    lock.touch()
    monkeypatch.setattr(branch.time, "sleep", lambda _: lock.unlink(missing_ok=True))
    push(_store(tmp_path / "here", 0.01), f"git+file://{remote}")
    assert len(_files(remote)) == 1


def test_without_git_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _store(tmp_path / "here", 0.01)
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git is not installed"):
        push(store, "git+origin")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/x", "https://host/x"),
        ("https://token@host/x and ssh://git@host/y", "https://host/x and ssh://host/y"),
        ("git@host:owner/x", "git@host:owner/x"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_addresses_are_shown_without_passwords(text: str, shown: str) -> None:
    assert without_password(text) == shown
