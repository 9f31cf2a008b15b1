"""What a change can reach: a benchmark that reads none of what differs between two trees runs the same code on both.

A benchmark that found all that it read as it was goes on as it did, and so reads nothing else. So a record of one tree says
whether it runs the same in another.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from rnncore.files import write_text
from rnncore.runfile.checks import words
from rnncore.runfile.schema import REACH

# Opened by what asks git: what it says of the commit is another in every tree.
GIT = ".git"

# git's mode of a plain file begins so; of a link, or of another repository, otherwise.
_PLAIN = "100"


@dataclass(frozen=True)
class SourceTree:
    """The files of a revision.

    Attributes:
        files: By path, git's mode and digest of the content.
    """

    files: Mapping[str, str]

    @cached_property
    def looked_for(self) -> frozenset[str]:
        """What a benchmark may look for without a trace.

        Whether a file is there is asked without opening it. Of Python's files that is taken to go by the entries of their
        folder, and documentation is not looked for; of links and git's attributes the content counts too, as it is never
        opened.
        """
        return frozenset(
            path if _is_plain(path, what) else f"{path} {what}"
            for path, what in self.files.items()
            if not (_is_plain(path, what) and (path.endswith(".py") or _is_document(path)))
        )

    def listing(self, folder: str, with_documents: bool) -> str:
        """Return a digest of the names in a folder, "." for the whole tree; folders of documents alone are documents."""
        names = set(self._entries[folder, False])
        if with_documents:
            names |= self._entries[folder, True]
        return _digest(names)

    @cached_property
    def _entries(self) -> defaultdict[tuple[str, bool], set[str]]:
        """Names in each folder, apart those that are or lead to documents and those that are or lead to others."""
        found: defaultdict[tuple[str, bool], set[str]] = defaultdict(set)
        for path in self.files:
            below = PurePosixPath(path)
            for folder in below.parents:
                found[str(folder), _is_document(path)].add(below.name)
                below = folder
        return found


@dataclass(frozen=True)
class Reach:
    """What something reads of a tree.

    Attributes:
        files: By path, what `SourceTree.files` says of it; empty where the tree has it not.
        folders: By path, the `SourceTree.listing` of it.
        looked_for: Digest of `SourceTree.looked_for`.
    """

    files: Mapping[str, str]
    folders: Mapping[str, str]
    looked_for: str

    @classmethod
    def of(cls, tree: SourceTree, files: Iterable[str], folders: Iterable[str]) -> "Reach":
        """Return what was read of a tree.

        Args:
            tree: Where.
            files: That were opened; those that the tree lacks were made meanwhile.
            folders: Whose entries were looked at.
        """
        read = {path: tree.files.get(path, "") for path in files if path in tree.files or path == GIT}
        return cls(read, {folder: _listing(tree, folder, read) for folder in folders}, _digest(tree.looked_for))

    def holds(self, tree: SourceTree) -> bool:
        """Say whether the same is to be read of another tree."""
        return GIT not in self.files and self.is_of(tree)

    def is_of(self, tree: SourceTree) -> bool:
        """Say whether this is what is read of a tree."""
        return (
            self.looked_for == _digest(tree.looked_for)
            and all(path == GIT or tree.files.get(path) == what for path, what in self.files.items())
            and all(_listing(tree, folder, self.files) == listing for folder, listing in self.folders.items())
        )


@dataclass(frozen=True)
class BenchmarkReach(Reach):
    """What a benchmark reads.

    Attributes:
        group: What it is listed with; None where it was skipped.
    """

    group: str | None = None


@dataclass(frozen=True)
class ReachRecord:
    """What is known of the suites of one project on one machine.

    Attributes:
        collected: What their collection reads.
        suites: The suite of each benchmark that it found, as a path.
        benchmarks: What each of them reads, as far as that is known.
    """

    collected: Reach
    suites: Mapping[str, str]
    benchmarks: Mapping[str, BenchmarkReach]


def read_reach(path: Path) -> ReachRecord | None:
    """Read a record; None where there is none, or it is damaged: it is made again."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for fault in REACH("", content):
            raise ValueError(words(fault))
        benchmarks = {name: BenchmarkReach(**kept) for name, kept in content["benchmarks"].items()}
        return ReachRecord(Reach(**content["collected"]), content["suites"], benchmarks)
    except (OSError, ValueError, TypeError):
        return None


def write_reach(path: Path, record: ReachRecord) -> None:
    """Keep a record."""
    write_text(path, json.dumps(asdict(record)) + "\n")


def _listing(tree: SourceTree, folder: str, read: Iterable[str]) -> str:
    # Who reads documents in a folder may read another that is added.
    return tree.listing(folder, any(_is_document(path) and str(PurePosixPath(path).parent) == folder for path in read))


def _is_document(path: str) -> bool:
    return path.endswith((".md", ".rst")) or path.startswith("docs/")


def _is_plain(path: str, what: str) -> bool:
    return what.startswith(_PLAIN) and PurePosixPath(path).name != ".gitattributes"


def _digest(names: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(sorted(names)).encode(errors="surrogateescape")).hexdigest()[:16]
