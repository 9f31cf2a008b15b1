"""The text of a run file as JSON: one reading for every verb."""

import json
import re
from collections.abc import Iterator
from typing import Any

from rnncore.errors import RunFileError

# A text that escapes half a character, as JSON can and UTF-8 cannot.
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")


def parsed(raw: bytes) -> Any:
    """Return what JSON in UTF-8 holds; also NaN and infinity, which pytest-benchmark writes, and after a byte order mark.

    Half a character stays the escape that it is in the file, as text, so that what is read can be written anywhere.

    Args:
        raw: The bytes of a file.

    Raises:
        RunFileError: If it is no JSON, or two texts in it would become one; the message says no more than why.
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
        except UnicodeEncodeError:
            try:
                _require_told_apart(content)
                return whole(content)
            except RecursionError as error:
                raise RunFileError(f"not JSON ({error})") from error
    return content


def whole(content: Any) -> Any:
    """Return facts in whose texts half a character, which UTF-8 does not hold, is its escape: a backslash and its code."""
    if isinstance(content, str):
        return content.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(content, dict):
        return {whole(key): whole(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [whole(value) for value in content]
    return content


def _require_told_apart(content: Any) -> None:
    texts = set(_texts(content))
    for text in sorted(text for text in texts if whole(text) != text):
        if whole(text) in texts:
            raise RunFileError(
                f"not JSON in UTF-8 (a text in it holds half a character, and with its escape is {whole(text)}, which is "
                "there too: give that test another name)"
            )


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)
