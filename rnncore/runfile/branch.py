"""Run files on a branch of a git repository, by plain git and without a checkout.

What is fetched is the last commit of the branch, and of its files those that are asked for. A push is one commit on top of
it; where another was quicker git refuses, and it is made again on top of that one's.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom
from typing import IO

from rnncore.errors import ConfigError, StoreError

# Where run files go if the address names no branch.
BRANCH = "rnncore-benchmarks"

# What the remote and its last commit are called in our repository.
_REMOTE, _TIP = "store", "refs/store/tip"

# Settings of the user's repository on how remotes are reached, such as the token that a CI service checked it out with.
_REACHING = r"^(http|credential|url)\.|^core\.(sshcommand|askpass)$"

# Variables that make git work on another repository than that of its folder; a hook of git has them.
_OF_A_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")

# A push that is refused though nobody else pushed is tried this often: a lock is held for a moment only.
_TRIES = 5
_LONGEST_PAUSE_S = 1.0

# Branches that are named where one is missing.
_LISTED = 5

# What git puts before its words, and the hint that it gives after any failure to reach a remote.
_BEFORE_WORDS = re.compile(r"^(?:(?:remote|fatal|error): *)+")
_HINT = ("Please make sure you have the correct access rights", "and the repository exists.")


def outside_of_hooks(variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables with which git works on the repository of its folder, also in a hook of another."""
    return {name: value for name, value in variables.items() if name not in _OF_A_REPOSITORY}


@contextmanager
def open_branch(address: str, to_read: bool = False) -> Iterator["Branch"]:
    """Yield a branch of a repository as a store of run files.

    Args:
        address: The repository as git takes it, or one of the remotes of the user's folder; then `#` and the branch, without
            which it is `rnncore-benchmarks`.
        to_read: Whether a branch that the address names must be there; a push makes it.

    Raises:
        ConfigError: If git is not installed, or this is no address of a branch.
        StoreError: If the repository cannot be reached.
    """
    remote, _, branch = address.partition("#")
    if not remote or remote.startswith("-"):
        raise ConfigError(f"git+{without_password(address)}: names no repository. Give git+REMOTE#BRANCH.")
    ref = f"refs/heads/{branch or BRANCH}"
    with tempfile.TemporaryDirectory(prefix="rnncore-store-") as folder:
        git = _Git(Path(folder), _settings(), without_password(remote))
        git("init", "--bare", "--quiet", "--template=", ".")
        if git.run("check-ref-format", ref).returncode != 0:
            raise ConfigError(f"git+{without_password(address)}: {branch!r} is no name of a branch. Give git+REMOTE#BRANCH.")
        git("config", f"remote.{_REMOTE}.url", _resolved(remote))
        if to_read and branch and not git("ls-remote", _REMOTE, ref):
            heads = [line.split("refs/heads/", 1)[-1] for line in git("ls-remote", "--heads", _REMOTE).splitlines()]
            more = f" and {len(heads) - _LISTED} more" if len(heads) > _LISTED else ""
            there = f"There are {', '.join(heads[:_LISTED])}{more}" if heads else "It has none"
            raise StoreError(
                f"git+{without_password(address)}: has no branch {branch!r}. {there}; 'rnncore push' makes one of that name."
            )
        yield Branch(git, ref)


def address_from_anywhere(address: str) -> str:
    """Return an address, as `open_branch` takes it, that names the same branch in any folder.

    Raises:
        ConfigError: If git is not installed.
    """
    remote, _, branch = address.partition("#")
    return f"{_resolved(remote)}#{branch or BRANCH}"


def without_password(text: str) -> str:
    """Return text without the names and passwords that addresses in it may hold."""
    return re.sub(r"//[^/@\s]*@", "//", text)


class Branch:
    """A branch that holds run files.

    Args:
        git: Git in a repository of our own, whose remote is the user's.
        ref: The whole name of the branch there.
    """

    def __init__(self, git: "_Git", ref: str) -> None:
        self._git = git
        self._ref = ref
        self._tip: str | None = None

    def sizes(self) -> Mapping[str, int | None]:
        """Return the name of every file, each without its bytes: a commit is there as a whole or not at all."""
        return dict.fromkeys(self._fetched())

    def contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the content of files, with their names."""
        of_name = self._fetched() if names else {}
        blobs = [of_name[name] for name in names]
        self._fetch_blobs(set(blobs))
        with _lines(blobs) as asked, tempfile.TemporaryFile() as answer:
            self._git("cat-file", "--batch", given=asked, into=answer)
            answer.seek(0)
            for name in names:
                size = int(answer.readline().split()[-1])
                # And the end of its line.
                yield name, answer.read(size + 1)[:-1]

    def add(self, files: Mapping[str, Path]) -> None:
        """Commit files by the names that they are to have, on top of whatever the branch has by then.

        Raises:
            StoreError: If git refuses the commit, though nobody else pushed.
        """
        new, refused = dict(files), 0
        while new:
            before, commit = self._tip, self._commit(new)
            done = self._git.run("push", "--quiet", "--no-verify", _REMOTE, f"{commit}:{self._ref}")
            if done.returncode == 0:
                return
            there = self._fetched()
            new = {name: path for name, path in new.items() if name not in there}
            refused = refused + 1 if self._tip == before else 0
            if refused == _TRIES:
                raise StoreError(
                    f"{self._ref}: git refuses the push ({_said(done)}). Make sure that you may write there, and that no "
                    "rule protects the branch."
                )
            time.sleep(SystemRandom().uniform(0, _LONGEST_PAUSE_S))

    def _fetched(self) -> dict[str, str]:
        """Fetch the last commit of the branch; return the blob of each of its files, none where there is no branch."""
        if not self._git("ls-remote", _REMOTE, self._ref):
            self._tip = None
            return {}
        self._git("fetch", "--quiet", "--no-tags", "--depth=1", "--filter=blob:none", _REMOTE, f"+{self._ref}:{_TIP}")
        self._tip = self._git("rev-parse", _TIP)
        entries = [entry.partition("\t") for entry in self._git("ls-tree", "-r", "-z", _TIP).split("\0")[:-1]]
        # Mode, kind and digest; what is no blob is a submodule.
        return {name: facts.split()[2] for facts, _, name in entries if facts.split()[1] == "blob"}

    def _fetch_blobs(self, blobs: set[str]) -> None:
        """Fetch those that the remote left out, all at once: git itself would ask for one after the other."""
        listed = self._git("rev-list", "--objects", "--missing=print", _TIP) if blobs else ""
        missing = blobs & {line[1:] for line in listed.splitlines() if line.startswith("?")}
        if missing:
            options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--filter=blob:none", "--stdin")
            with _lines(sorted(missing)) as asked:
                self._git("-c", "fetch.negotiationAlgorithm=noop", "fetch", *options, _REMOTE, given=asked)

    def _commit(self, files: Mapping[str, Path]) -> str:
        """Return a commit of the branch's files and these."""
        ref, message = f"refs/store/new-{time.monotonic_ns()}", f"{len(files)} run file{'' if len(files) == 1 else 's'}"
        head = f"commit {ref}\ncommitter rnncore <rnncore> {int(time.time())} +0000\ndata {len(message)}\n{message}\n"
        with tempfile.TemporaryFile() as commands:
            commands.write((head + (f"from {self._tip}\n" if self._tip else "")).encode())
            for name, path in files.items():
                content = path.read_bytes()
                commands.write(f"M 100644 inline {name}\ndata {len(content)}\n".encode() + content + b"\n")
            commands.seek(0)
            self._git("fast-import", "--quiet", given=commands)
        return self._git("rev-parse", ref)


@contextmanager
def _lines(lines: Sequence[str]) -> Iterator[IO[bytes]]:
    """Yield a file that holds lines."""
    with tempfile.TemporaryFile() as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.seek(0)
        yield file


def _resolved(remote: str) -> str:
    """Return what a repository is called from anywhere, not only from the user's folder."""
    named = _Git(Path(), {}).run("remote", "get-url", "--", remote)
    folder = Path()
    if named.returncode == 0:
        remote = named.stdout.decode(errors="surrogateescape").strip()
        # Git takes it from where the repository's files begin, wherever in it the user stands.
        top = _Git(Path(), {}).run("rev-parse", "--show-toplevel").stdout.decode(errors="surrogateescape").strip()
        folder = Path(top)
    return str((folder / remote).resolve()) if (folder / remote).exists() else remote


def _settings() -> dict[str, str]:
    """Return the settings of the user's repository on how remotes are reached, as variables of git."""
    found = _Git(Path(), {}).run("config", "--local", "--includes", "--null", "--get-regexp", _REACHING)
    printed = found.stdout.decode(errors="surrogateescape") if found.returncode == 0 else ""
    settings = [entry.partition("\n") for entry in printed.split("\0")[:-1]]
    # There may be such variables already.
    first = int(os.environ.get("GIT_CONFIG_COUNT") or 0)
    variables = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (key, _, value) in enumerate(settings, first):
        variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return variables


class _Git:
    """Git in a folder.

    Args:
        folder: The folder.
        variables: Of its environment, beside the user's.
        remote: What errors call the remote: as the user did.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], remote: str = "") -> None:
        self._folder = folder
        self._remote = remote
        self._environment = {**outside_of_hooks(os.environ), **variables}

    def run(
        self, *arguments: str, given: IO[bytes] | int = subprocess.DEVNULL, into: IO[bytes] | int = subprocess.PIPE
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command to its end, whatever that is.

        Raises:
            ConfigError: If git is not installed.
        """
        command = ["git", *arguments]
        try:
            return subprocess.run(
                command,
                cwd=self._folder,
                env=self._environment,
                stdin=given,
                stdout=into,
                stderr=subprocess.PIPE,
                check=False,
            )
        except FileNotFoundError:
            raise ConfigError("git is not installed, and a store on a branch needs it. Install git.") from None

    def __call__(
        self, *arguments: str, given: IO[bytes] | int = subprocess.DEVNULL, into: IO[bytes] | int = subprocess.PIPE
    ) -> str:
        """Run a command and return what it prints.

        Raises:
            StoreError: If it fails, with its words.
        """
        done = self.run(*arguments, given=given, into=into)
        if done.returncode != 0:
            named = (self._remote if one == _REMOTE else without_password(one) for one in arguments)
            raise StoreError(
                f"'git {' '.join(named)}' failed ({_said(done)}). Check the address, that you may read and write there, and "
                "the network."
            )
        return (done.stdout or b"").decode(errors="surrogateescape").strip()


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return git's words on one line."""
    lines = (_BEFORE_WORDS.sub("", line.strip()) for line in done.stderr.decode(errors="replace").splitlines())
    said = "; ".join(" ".join(line.rstrip(".").split()) for line in lines if line and line not in _HINT)
    return without_password(said) or f"exit code {done.returncode}"
