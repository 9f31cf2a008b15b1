"""Stores of run files that outlive a machine: a bucket or folder, through fsspec, or a branch of a git repository.

A file is kept there under its own name with a digest of its content behind it, and none is ever written over by another. So
machines may push at the same time and need not know of one another, and a file that was cut off on its way shows.
"""

import hashlib
import os
import re
import sys
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import fsspec
import fsspec.core

from rnncore.errors import ConfigError, RnncoreError, RunFileError, StoreError, Unavailable
from rnncore.files import cache_folder, whole_file
from rnncore.runfile.branch import address_from_anywhere, open_branch, without_password
from rnncore.runfile.schema import another_kind
from rnncore.runfile.text import parsed

# How the address of a branch begins.
_GIT = "git+"

# Kinds of address that name a folder here.
_LOCAL = ("file", "local")

# Variables that say which service answers to an address.
_SERVICES = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
    "FSSPEC_S3_ENDPOINT_URL",
    "STORAGE_EMULATOR_HOST",
)

# A name there: plain folders, the file's own name, and the first digits of its SHA-256.
_DIGITS = 16
_NAME = re.compile(rf"(?:[\w+][\w.+-]*/)*[\w+][\w.+-]*-([0-9a-f]{{{_DIGITS}}})\.json", re.ASCII)

# What some file system, URL or glob takes for more than a letter.
_NO_LETTER = re.compile(r"[^\w.+-]", re.ASCII)

# Where the plugin puts profiles' traces: JSON, but no run files.
_TRACES = "traces"

# Files that travel at once, whose contents are in memory together.
_TOGETHER = 32

# Kinds of address that are one place by themselves.
_NEED_NO_PLACE = frozenset({"memory"})

# What clients raise that is no OSError, by the module that has it. One that is not loaded raised nothing.
_CLIENT_ERRORS = {
    "botocore.exceptions": "BotoCoreError",
    "aiohttp": "ClientError",
    "google.auth.exceptions": "GoogleAuthError",
    "gcsfs.retry": "HttpError",
}


class RemoteStore(Protocol):
    """Where run files lie, by names with `/` in them."""

    def sizes(self) -> Mapping[str, int | None]:
        """Return the bytes of every file; None of one that is certain to be whole."""

    def contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the content of files, with their names."""

    def add(self, files: Mapping[str, Path]) -> None:
        """Write files by the names that they are to have."""


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        new: Names of the files that were written.
        known: How many were there already.
        left_out: Files that are no run files, with the reason.
    """

    new: tuple[str, ...]
    known: int
    left_out: tuple[tuple[Path, str], ...]


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes:
        new: Files that were written.
        known: How many were here already.
        damaged: Names of files whose content is not what was pushed: cut off, or changed there.
        foreign: How many JSON files have names that no push gives; they are left.
    """

    new: tuple[Path, ...]
    known: int
    damaged: tuple[str, ...]
    foreign: int


def push(store: Path, url: str) -> Pushed:
    """Copy the run files of a folder to a store; what is there already stays as it is.

    Args:
        store: The folder, such as `.benchmarks`; files in folders of it lie in the same ones there.
        url: The store: any address of fsspec, or `git+REMOTE#BRANCH`.

    Raises:
        ConfigError: If there is no such folder, or no such kind of address.
        RunFileError: If a file of the folder cannot be read.
        StoreError: If the store cannot be reached or written.
        Unavailable: If a package for this kind of address is missing.
    """
    if not store.is_dir():
        raise ConfigError(f"{store}: no such folder. Give the one that pytest-benchmark saves to, by default .benchmarks.")
    files, left_out = {}, []
    for path in _json_files(store):
        if not path.is_file():
            # A pipe would be waited for.
            left_out.append((path, "no file, or a link to none"))
            continue
        content = _read(path)
        if why := _why_no_run_file(content):
            left_out.append((path, why))
        else:
            files[_name_there(path.relative_to(store), content)] = path
    with _reached(url), _opened(url) as remote:
        there = remote.sizes()
        # One of another size was cut off on its way; the same name is the same content.
        new = {name: path for name, path in files.items() if there.get(name, -1) not in (None, path.stat().st_size)}
        if new:
            remote.add(new)
    return Pushed(tuple(new), len(files) - len(new), tuple(left_out))


def pull(url: str, store: Path) -> Pulled:
    """Copy the run files of a store into a folder: those whose content is not in it yet, each whole or not at all.

    Args:
        url: As `push` takes it.
        store: The folder; it is made where it is missing.

    Raises:
        ConfigError: If there is no such kind of address.
        OutputError: If a file cannot be written.
        RunFileError: If a file of the folder cannot be read.
        StoreError: If the store cannot be reached, or there is no folder, bucket or branch of the name in its address.
        Unavailable: If a package for this kind of address is missing.
    """
    return _pull(url, store)[0]


def _pull(url: str, store: Path) -> tuple[Pulled, Collection[str]]:
    """Pull; return what that did, and the digests of all that the store has."""
    here = {_digest_in(path.name) or _digest(_read(path)) for path in _json_files(store) if path.is_file()}
    new, damaged = [], []
    with _reached(url), _opened(url, to_read=True) as remote:
        names = sorted(name for name in remote.sizes() if name.endswith(".json"))
        # The same content may lie there under two names.
        there = {digest: name for name in names if (digest := _digest_in(name))}
        for name, content in remote.contents([name for digest, name in there.items() if digest not in here]):
            if _digest(content) != _digest_in(name):
                damaged.append(name)
                continue
            with whole_file(store / name) as temporary:
                temporary.write_bytes(content)
            new.append(store / name)
    foreign = sum(_digest_in(name) is None for name in names)
    return Pulled(tuple(new), len(there) - len(new) - len(damaged), tuple(damaged), foreign), there.keys()


def local_copy(url: str) -> tuple[Path, Pulled]:
    """Bring the copy of a store in the user's cache up to date; return its folder, and what that did.

    Raises:
        RnncoreError: As `pull`.
    """
    folder = cache_folder() / "stores" / hashlib.sha256(_from_anywhere(url).encode()).hexdigest()[:_DIGITS]
    pulled, there = _pull(url, folder)
    for path in _json_files(folder):
        if _digest_in(path.name) not in there:
            # Another look at the same store may have been quicker.
            path.unlink(missing_ok=True)
    return folder, pulled


def _from_anywhere(url: str) -> str:
    """Return what a store is called from any folder: with its service, without names and passwords, which change."""
    if url.startswith(_GIT):
        return without_password(_GIT + address_from_anywhere(url.removeprefix(_GIT)))
    kind, separator, path = url.partition("://")
    if separator and kind in _LOCAL:
        return f"{kind}://{Path(path).absolute()}"
    # One name may be a bucket's at several services.
    services = [f" {name}={os.environ[name]}" for name in _SERVICES if os.environ.get(name)]
    return without_password(url) + "".join(services)


def _json_files(store: Path) -> Iterator[Path]:
    """Yield the JSON files below a folder, in order, but for hidden ones and traces."""
    for folder, folders, names in os.walk(store):
        folders[:] = sorted(name for name in folders if name != _TRACES and not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(".json") and not name.startswith("."))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunFileError(f"{path}: cannot be read ({error.strerror}). Make it readable, or move it away.") from error


def _why_no_run_file(content: bytes) -> str | None:
    try:
        return another_kind(parsed(content))
    except RunFileError as error:
        return str(error)


def _name_there(relative: Path, content: bytes) -> str:
    """Return the name of a run file in a store, the same wherever it is pushed from."""
    *folders, own = relative.with_suffix("").parts
    # One that was pulled has a digest already.
    own = re.sub(rf"-[0-9a-f]{{{_DIGITS}}}$", "", own)
    parts = [_NO_LETTER.sub("_", part).lstrip(".-") or "_" for part in (*folders, own)]
    return f"{'/'.join(parts)}-{_digest(content)}.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _digest_in(name: str) -> str | None:
    """Return the digest in a name that a push gave; None in any other."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


@contextmanager
def _reached(url: str) -> Iterator[None]:
    """Say in one line what the clients of stores raise.

    Raises:
        StoreError: If they did.
    """
    try:
        yield
    except RnncoreError:
        raise
    except _client_errors() as error:
        said = without_password(" ".join(str(error).split())) or type(error).__name__
        raise StoreError(
            f"{without_password(url)}: cannot be reached ({said}). Check the address, the credentials and the network."
        ) from error


def _client_errors() -> tuple[type[Exception], ...]:
    return OSError, *(getattr(sys.modules[module], name) for module, name in _CLIENT_ERRORS.items() if module in sys.modules)


def _opened(url: str, to_read: bool = False) -> AbstractContextManager[RemoteStore]:
    return open_branch(url.removeprefix(_GIT), to_read) if url.startswith(_GIT) else _opened_files(url, to_read)


@contextmanager
def _opened_files(url: str, to_read: bool) -> Iterator["_Files"]:
    said = without_password(url)
    if "://" not in url:
        raise ConfigError(
            f"{said}: no address of a store. Give a URL, such as s3://bucket/folder, or of a branch git+REMOTE#BRANCH. "
            f"A folder is file://{Path(url).absolute()}"
        )
    kind, _, place = url.rpartition("://")
    if not kind.strip(":/") or (not place.strip("/") and kind not in _NEED_NO_PLACE):
        raise ConfigError(f"{said}: names no bucket, host or folder. Give an address such as s3://bucket/folder.")
    try:
        files, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise Unavailable(f"{said}: {error}. For s3:// and gs:// that is: pip install 'rnncore[store]'.") from error
    except ValueError as error:
        raise ConfigError(f"{said}: {error}. Give an address that fsspec knows, such as s3://bucket/folder.") from error
    yield _Files(files, root, to_read)


class _Files:
    """A folder of a file system that fsspec knows.

    Args:
        files: The file system.
        root: The folder in it.
        to_read: Whether it must be there; a push makes it.
    """

    def __init__(self, files: fsspec.AbstractFileSystem, root: str, to_read: bool) -> None:
        self._files = files
        self._root = root.rstrip("/")
        self._to_read = to_read

    def sizes(self) -> Mapping[str, int | None]:
        """Return the bytes of every file.

        Raises:
            StoreError: If the folder must be there and is not, or is a file.
        """
        try:
            found = self._found()
        except PermissionError:
            # Where S3 lists nothing, an object of this very name is asked for, which may be refused; listing says why.
            if self._is_there():
                raise
            return {}
        if found.get(self._root, {}).get("type") == "directory":
            # It held nothing as it was listed, and something as it was then asked for by its name: others write.
            found = self._found()
        if self._root in found:
            raise StoreError(f"{without_password(self._root)}: is a file. Give the folder that 'rnncore push' copies to.")
        if not found:
            # It finds nothing, too, where nobody answers; listing says why.
            self._is_there()
        return {path.removeprefix(f"{self._root}/"): info["size"] for path, info in found.items()}

    def _found(self) -> dict[str, Any]:
        """Return what the file system says of all files below the root, or of a file in its place."""
        # It may remember what it listed before others wrote.
        self._files.invalidate_cache()
        return dict(self._files.find(self._root, detail=True))

    def _is_there(self) -> bool:
        """Say whether the folder is there, which in an object store is one that holds something.

        Raises:
            StoreError: If it is not, and must be, as far as that can be known.
        """
        with suppress(FileNotFoundError):
            self._files.ls(self._root)
            return True
        if not self._to_read:
            return False
        bucket = self._root.split("/", 1)[0]
        if not self._files.async_impl or not bucket or bucket.endswith(":"):
            raise StoreError(
                f"{without_password(self._root)}: no such folder. Check the address, or let 'rnncore push' make it."
            )
        # An object store has no folders: what holds nothing is not there. Of its buckets it knows.
        try:
            self._files.ls(bucket)
        except FileNotFoundError as error:
            raise StoreError(f"{bucket}: no such bucket. Check the address, or make it.") from error
        except PermissionError:
            # Of one that is not there this would not be said: what is granted may be a part of it.
            pass
        return False

    def contents(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the content of files, with their names."""
        for together in _batches(names):
            read = self._files.cat([f"{self._root}/{name}" for name in together])
            yield from ((path.removeprefix(f"{self._root}/"), content) for path, content in read.items())

    def add(self, files: Mapping[str, Path]) -> None:
        """Write files by the names that they are to have."""
        for together in _batches(files):
            contents = {f"{self._root}/{name}": files[name].read_bytes() for name in together}
            if self._files.async_impl:
                # An object store: it has a file as a whole or not at all, and no folders.
                self._files.pipe(contents)
                continue
            for path, content in contents.items():
                self._files.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
                part = f"{path}.{uuid.uuid4().hex}.part"
                self._files.pipe_file(part, content)
                self._files.mv(part, path)


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while together := list(islice(rest, _TOGETHER)):
        yield together
