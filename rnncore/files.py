"""Files that are written whole or not at all, and the folder of those that can be made again."""

import atexit
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from rnncore.errors import OutputError


@contextmanager
def whole_file(path: Path, mode: int = 0o666, is_durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside *path* and move it into place when the block succeeds.

    The temporary file lies in the same folder, so that the move is atomic, and carries the suffix of *path*, since some
    writers choose the format by it. When the block raises, nothing is left and an earlier *path* is untouched.

    Args:
        path: The file to write; missing parent folders are made.
        mode: Its permissions, less those that the umask takes away.
        is_durable: Whether what it holds is on the disk before it has its name, so that a machine that loses its power
            leaves no file that was cut.

    Yields:
        The path to write to.

    Raises:
        OutputError: If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(mode & ~_umask())
            if is_durable:
                _flush(temporary)
            temporary.replace(path)
            if is_durable:
                # Some file systems flush no folders: then the name may be lost, which is as if nothing had been written.
                with suppress(OSError):
                    _flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OutputError:
        raise  # of a file that the block writes
    except OSError as error:
        raise _cannot_be_written(path, error.strerror or str(error)) from error


def require_writable(path: Path) -> None:
    """Refuse a path that cannot be written, before any work is spent on what it should hold; nothing is made.

    Raises:
        OutputError: If *path* is a folder, or what should be its folder is none or is read-only.
    """
    try:
        is_folder = path.is_dir()
        above = next(folder for folder in path.absolute().parents if folder.exists())
    except OSError as error:  # such as a name that is too long
        raise _cannot_be_written(path, error.strerror or str(error)) from error
    if is_folder:
        raise _cannot_be_written(path, "it is a folder")
    if not above.is_dir():
        raise _cannot_be_written(path, f"{above} is a file")
    if not os.access(above, os.W_OK):
        raise _cannot_be_written(path, f"{above} is read-only")


def _cannot_be_written(path: Path, why: str) -> OutputError:
    return OutputError(f"{path}: cannot be written ({why}). Make room for it, or give another path.")


def write_text(path: Path, text: str) -> None:
    """Write *text* as UTF-8 to *path*, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    """Have the system write a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    # The only way to read the mask is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Return the user's cache, or where none can be made or written a folder of this process."""
    return user_cache() or process_folder()


def user_cache() -> Path | None:
    """Return the user's cache; None where none can be made or written."""
    try:
        # A relative path is to be ignored (XDG Base Directory Specification): it would be another in each folder.
        given = Path(os.environ.get("XDG_CACHE_HOME", ""))
        folder = (given if given.is_absolute() else Path.home() / ".cache") / "rnncore"
        # Whatever the umask: others may not write what is loaded from there.
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        # A try shows more than permissions: a file system may be read-only as a whole.
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter where a user has no home
        return None


def others_may_write(path: Path) -> Path | None:
    """Return what another user may write of a file or folder and all folders around it; None where it is none of them.

    Root is no other user, nor is the group that a system makes for one user alone. In a folder with the sticky bit, such as
    /tmp, others may add files, but not exchange one: it may lie around.

    Args:
        path: Is there; on a system with users as POSIX has them.
    """
    inner = path.resolve()
    for place in (inner, *inner.parents):
        status = place.stat()
        if status.st_uid not in (0, os.geteuid()):
            return place
        is_sticky = bool(status.st_mode & stat.S_ISVTX) and place != inner
        by_group = bool(status.st_mode & stat.S_IWGRP) and not _is_of_this_user(status.st_gid)
        if (status.st_mode & stat.S_IWOTH or by_group) and not is_sticky:
            return place
    return None


def _is_of_this_user(group_id: int) -> bool:
    """Return whether a group is the one of the user's name, with nobody else in it."""
    # Other systems have no such modules.
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(group_id), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


@cache
def process_folder() -> Path:
    """Return a folder that is removed when this process ends."""
    folder = tempfile.mkdtemp(prefix="rnncore-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
