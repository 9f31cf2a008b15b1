"""Text on a screen or in a pipe that cannot show every sign: what is not in its encoding is written in ASCII signs.

Files are UTF-8 whatever the locale, and need none of this.
"""

import codecs
import sys
import unicodedata
from io import TextIOWrapper
from typing import TextIO

# By the sign. The eight heights of a drawn history stay eight.
SIGNS = {
    **{"–": "-", "×": "x", "µ": "u", "±": "+-", "…": "...", "≥": ">=", "≤": "<=", "─": "-", "├": "+", "└": "+"},
    **dict(zip("▁▂▃▄▅▆▇█", "_.-=+*%#", strict=True)),
}
_ERRORS = "rnncore.signs"
_ESCAPED = range(0xDC80, 0xDD00)


def fit_screen() -> None:
    """Let standard output and error write in other signs what their encoding lacks, in place of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        # What a test or another program put in their place may be no file.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def in_signs_of(stream: TextIO | None, text: str) -> str:
    """Return text in signs that a stream can write; as it is where nothing is known of the stream."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, _ERRORS).decode(encoding, "replace")


def _signs(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what is written in place of what an encoding lacks, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    # Bytes of a file's name that are in no encoding go out as they came in.
    if ord(text[0]) in _ESCAPED:
        return bytes([ord(text[0]) - 0xDC00]), error.start + 1
    # A letter without its accents, or else what Python's own replacement is.
    plain = (unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode("ascii") for sign in text)
    return "".join(SIGNS.get(sign) or ascii_sign or "?" for sign, ascii_sign in zip(text, plain, strict=True)), error.end


codecs.register_error(_ERRORS, _signs)
