"""The text of a run file as JSON: one reading for every verb."""

import json
import re
from typing import Any

from rnncore.errors import RunFileError

# A text that escapes half a character, as JSON can and UTF-8 cannot.
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


def parsed(raw: bytes) -> Any:
    """Return what JSON in UTF-8 holds; also NaN and infinity, which pytest-benchmark writes, and after a byte order mark.

    Args:
        raw: The bytes of a file.

    Raises:
        RunFileError: If it is no JSON, or a text in it holds half a character; the message says no more than why.
    """
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        # So pytest-benchmark leaves it before version 5.2.
        why = str(error) if raw.strip() else "it is empty, as where every benchmark failed"
        raise RunFileError(f"not JSON ({why})") from error
    if _HALF_CHARACTER.search(raw):
        # Where halves come in pairs they are whole by now.
        try:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise RunFileError(
                f"not JSON in UTF-8 (a text in it holds {half}, half a character: give that test or branch another name)"
            ) from error
    return content
