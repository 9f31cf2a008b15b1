"""From the bytes of a file to its text: compression and encoding are detected, and what was detected is said."""

import gzip
import io
import zipfile
import zlib
from pathlib import Path

from rnncore.errors import DataError

# How files begin that are no text.
GZIP, ZIP, PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"

# Byte order marks, and the encoding of what follows.
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

# What text that is neither UTF-8 nor marked may be in; how it is called.
GUESSED = {"cp1252": "Windows-1252", "utf_16_le": "UTF-16", "utf_16_be": "UTF-16"}

# Enough of a file to guess an encoding from.
SAMPLE_BYTES = 20_000


def unpacked(path: Path, raw: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return the content of a file, out of gzip or zip where it is in one, and what was found.

    Args:
        path: The file, for messages.
        raw: Its bytes.

    Raises:
        DataError: If an archive is damaged, or holds not exactly one file.
    """
    try:
        if raw.startswith(GZIP):
            return gzip.decompress(raw), ("packed by gzip",)
        if not raw.startswith(ZIP):
            return raw, ()
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = [entry.filename for entry in archive.infolist() if not _is_litter(entry)]
            if any(name.startswith(("xl/", "content.xml")) for name in names):
                raise DataError(f"{path}: a workbook, not a text file. Save the sheet as CSV.")
            if len(names) != 1:
                raise DataError(f"{path}: a zip of {len(names)} files, but one is allowed. Unpack it, and give the folder.")
            return archive.read(names[0]), (f"'{names[0]}' of a zip",)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{path}: the archive cannot be unpacked ({error}). Pack it again, or give the file itself."
        ) from error


def _is_litter(entry: zipfile.ZipInfo) -> bool:
    return entry.is_dir() or entry.filename.startswith("__MACOSX/")


def decoded(path: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    """Return the text of a file without a byte order mark, and its encoding where that is not UTF-8.

    Args:
        path: The file, for messages.
        content: Its bytes, unpacked.

    Raises:
        DataError: If it is text in no encoding that is known here; names the line.
    """
    encoding = next((name for mark, name in MARKS.items() if content.startswith(mark)), None)
    try:
        if encoding:
            return content.decode(encoding), (("text in UTF-16",) if encoding == "utf-16" else ())
        if b"\0" not in content[:SAMPLE_BYTES]:
            return content.decode("utf-8"), ()
    except UnicodeDecodeError as error:
        if encoding:
            line = content[: error.start].decode(encoding, "ignore").count("\n") + 1
            raise DataError(f"{path}, line {line}: damaged text. Save the file as UTF-8 CSV.") from error
    # The bytes that are no ASCII lie anywhere: in the name of a column, in a unit, or in a single row.
    encoding = _guess(content)
    try:
        return content.decode(encoding), (f"text in {GUESSED[encoding]}",)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: neither UTF-8, UTF-16 nor Windows-1252. Save the file as UTF-8 CSV."
        ) from error


def _guess(content: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(content[: SAMPLE_BYTES & ~1], cp_isolation=list(GUESSED)).best()
    if best is not None and best.encoding in GUESSED:
        return best.encoding
    # Text of numbers is too little for statistics: in UTF-16 each other byte of it is 0.
    if b"\0" in content:
        return "utf_16_be" if content[:1] == b"\0" else "utf_16_le"
    return "cp1252"
