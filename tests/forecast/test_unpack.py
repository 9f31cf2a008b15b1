"""Tests of compression and encodings: what is detected, and archives that cannot be read."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.errors import DataError
from rnncore.forecast.unpack import decoded, unpacked

PATH = Path("zone.csv")
TEXT = "Zeit,Österreich\n" + "".join(f"2021-03-01 {hour:02}:00,{hour}\n" for hour in range(24))


def _zip(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            # Named by an entry without the time of now: what a test is called must not depend on that.
            archive.writestr(zipfile.ZipInfo(name), TEXT)
    return held.getvalue()


def test_content_comes_out_of_gzip_and_zip() -> None:
    assert unpacked(PATH, b"plain") == (b"plain", ())
    assert unpacked(PATH, gzip.compress(TEXT.encode())) == (TEXT.encode(), ("packed by gzip",))
    assert unpacked(PATH, _zip("load.csv", "__MACOSX/._load.csv")) == (TEXT.encode(), ("'load.csv' of a zip",))


@pytest.mark.parametrize(
    ("raw", "wrong"),
    [
        (gzip.compress(TEXT.encode())[:-20], "the archive cannot be unpacked"),
        (_zip("load.csv")[:60], "the archive cannot be unpacked"),
        (_zip("a.csv", "b.csv"), "a zip of 2 files, but one is allowed"),
        (_zip("[Content_Types].xml", "xl/workbook.xml"), "a workbook, not a text file. Save the sheet as CSV"),
    ],
    ids=["gzip cut short", "zip cut short", "zip of two files", "workbook"],
)
def test_an_archive_that_cannot_be_read_is_named(raw: bytes, wrong: str) -> None:
    with pytest.raises(DataError, match=f"zone.csv: {wrong}"):
        unpacked(PATH, raw)


@pytest.mark.parametrize(
    ("encoding", "mark", "found"),
    [
        ("utf-8", b"", ()),
        ("utf-8-sig", b"", ()),
        ("utf-16", b"", ("text in UTF-16",)),
        ("utf-16-le", b"", ("text in UTF-16",)),
        ("utf-16-be", b"", ("text in UTF-16",)),
        ("utf-16-be", b"\xfe\xff", ("text in UTF-16",)),
        ("cp1252", b"", ("text in Windows-1252",)),
    ],
)
def test_encodings_are_detected(encoding: str, mark: bytes, found: tuple[str, ...]) -> None:
    assert decoded(PATH, mark + TEXT.encode(encoding)) == (TEXT, found)


@given(row=st.integers(0, 23), text=st.sampled_from(["µ", "°", "é", "ß"]))
def test_a_letter_anywhere_in_a_long_file_of_ascii_is_read(row: int, text: str) -> None:
    lines = ("time,load\n" + TEXT.split("\n", 1)[1] * 200).splitlines(keepends=True)
    lines.insert(1 + 200 * row, f"{text}\n")
    assert decoded(PATH, "".join(lines).encode("cp1252")) == ("".join(lines), ("text in Windows-1252",))


def test_bytes_that_are_no_text_are_named_with_their_line() -> None:
    lines = TEXT.encode("cp1252").splitlines(keepends=True)
    lines[6] = b"\x81\x8d\n"
    with pytest.raises(DataError, match=r"zone\.csv, line 7: neither UTF-8, UTF-16 nor Windows-1252"):
        decoded(PATH, b"".join(lines))
