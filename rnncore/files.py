"""Files that are written whole or not at all, and the folder of those that can be made again."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from rnncore.errors import OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside *path* and move it into place when the block succeeds.

    The temporary file lies in the same folder, so that the move is atomic, and carries the suffix of *path*, since some
    writers choose the format by it. When the block raises, nothing is left and an earlier *path* is untouched.

    Args:
        path: The file to write; missing parent folders are made.

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
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
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


def _umask() -> int:
    # The only way to read the mask is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def cache_folder() -> Path:
    """Return the user's cache, or where none can be made or written a folder of this process."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnncore"
        folder.mkdir(parents=True, exist_ok=True)
        # A try shows more than permissions: a file system may be read-only as a whole.
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter where a user has no home
        return process_folder()


@cache
def process_folder() -> Path:
    """Return a folder that is removed when this process ends."""
    folder = tempfile.mkdtemp(prefix="rnncore-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
