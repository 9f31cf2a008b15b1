"""Which files of a folder are opened, by whatever process, as the kernel tells it (inotify, Linux alone)."""

import ctypes
import os
import select
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rnncore.errors import Unavailable

# Of inotify(7).
_MODIFY, _OPEN, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x20, 0x40, 0x80, 0x100, 0x200
_OVERFLOW, _IS_FOLDER = 0x4000, 0x40000000
_EVENT = struct.Struct("iIII")
_POLL_MS = 50


@dataclass
class Opened:
    """What was opened between two marks, relative to the folder.

    Attributes:
        files: Files.
        folders: Folders, whose entries were looked at; the watched one is ".".
    """

    files: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)


class Watch:
    """Watch a folder until the end is asked for.

    A file that is made in a second folder is a mark: what is opened from then on belongs to it.

    Args:
        tree: The folder; what is made in it later is not watched, nor is what lies in a folder `.git`.
        marks: The second folder.

    Attributes:
        opened: What was opened, by mark; before the first it is "".
        written: Files of the folder that were changed, moved or removed.
        is_whole: Whether nothing is missing; known at the end.

    Raises:
        Unavailable: If the system does not tell, with why, without the last full stop.
    """

    def __init__(self, tree: Path, marks: Path) -> None:
        self.opened = {"": Opened()}
        self.written: set[str] = set()
        self.is_whole = True
        self._mark, self._ended = "", threading.Event()
        self._folders: dict[int, str | None] = {}
        if not sys.platform.startswith("linux"):
            raise Unavailable("which files are opened is told on Linux alone")
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        try:
            self._add(marks, _CREATE | _MOVED_TO, None)
            # All are known before the first is watched: to look for them is to open them.
            for folder in list(_folders(tree)):
                mask = _OPEN | _MODIFY | _MOVED_FROM | _MOVED_TO | _DELETE
                self._add(folder, mask, folder.relative_to(tree).as_posix())
        except Unavailable:
            os.close(self._descriptor)
            raise
        self._reader = threading.Thread(target=self._read, name="rnncore-watch", daemon=True)
        self._reader.start()

    def close(self) -> None:
        """Take what was opened up to now, and end."""
        self._ended.set()
        self._reader.join()
        os.close(self._descriptor)

    def _add(self, folder: Path, mask: int, name: str | None) -> None:
        number = self._checked(self._libc.inotify_add_watch(self._descriptor, os.fsencode(folder), mask))
        self._folders[number] = name

    def _checked(self, result: int) -> int:
        if result < 0:
            raise Unavailable(f"which files are opened is not told here ({os.strerror(ctypes.get_errno())})")
        return result

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while True:
            # In this order: what came before the end is read.
            is_last = self._ended.is_set()
            if poll.poll(0 if is_last else _POLL_MS):
                self._take(os.read(self._descriptor, 1 << 18))
            elif is_last:
                return

    def _take(self, events: bytes) -> None:
        place = 0
        while place < len(events):
            number, mask, _, length = _EVENT.unpack_from(events, place)
            name = os.fsdecode(events[place + _EVENT.size : place + _EVENT.size + length].rstrip(b"\0"))
            place += _EVENT.size + length
            if mask & _OVERFLOW:
                self.is_whole = False
            elif number in self._folders:
                self._note(self._folders[number], name, mask)

    def _note(self, folder: str | None, name: str, mask: int) -> None:
        if folder is None:
            # Files that are written whole have another name until then.
            if not name.startswith("."):
                self._mark = name
                self.opened.setdefault(name, Opened())
            return
        path = str(PurePosixPath(folder, name))
        if mask & _OPEN:
            opened = self.opened[self._mark]
            (opened.folders if mask & _IS_FOLDER else opened.files).add(path)
        elif not mask & _IS_FOLDER:
            self.written.add(path)


def _folders(tree: Path) -> Iterator[Path]:
    for folder, below, _ in os.walk(tree):
        below[:] = [name for name in below if name != ".git"]
        yield Path(folder)
