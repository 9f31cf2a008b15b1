"""Tests of the one reading of run files as JSON: what it takes and refuses, and that all verbs take and refuse the same."""

import codecs
import json
import math
from pathlib import Path

import pytest

from rnncore.errors import RunFileError
from rnncore.runfile.text import parsed
from tests.command import Command
from tests.run_files import inference, make_run, run_content


def test_a_byte_order_mark_and_what_is_no_number_are_read() -> None:
    assert parsed(codecs.BOM_UTF8 + b'{"a": 1}') == {"a": 1}
    assert math.isnan(parsed(b"NaN"))


def test_a_whole_character_in_two_halves_is_read() -> None:
    assert parsed(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize("raw", [b"", b"# A report", b'{"a": [', b"\xff\xfe\x00", b"[" * 100_000, '"a"'.encode("utf-16")])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(RunFileError, match="not JSON"):
        parsed(raw)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (b'"\\ud800"', r"\ud800"),
        (b'{"\\uDFFF": [1, "\\ud83d\\ude00"]}', {r"\udfff": [1, "\N{GRINNING FACE}"]}),
        (b'["\\ude00\\ud83d"]', [r"\ude00\ud83d"]),
    ],
)
def test_half_a_character_is_read_as_its_escape(raw: bytes, read: object) -> None:
    assert parsed(raw) == read
    json.dumps(parsed(raw), ensure_ascii=False).encode("utf-8")


def test_two_texts_that_would_become_one_are_refused() -> None:
    with pytest.raises(RunFileError, match=r"half a character, and with its escape is a\\ud800, which is there too"):
        parsed(b'[{"name": "a\\ud800"}, {"name": "a\\\\ud800"}]')


def _saved(folder: Path, name: str = "test_a", datetime: str = "2026-11-22T18:18:17+00:00", mark: bytes = b"") -> Path:
    content = run_content([{**inference("gru", "torch", 1, 0.1), "fullname": f"bench/bench_a.py::{name}"}])
    path = make_run(folder, {**content, "datetime": datetime})
    path.write_bytes(mark + path.read_bytes())
    return path


@pytest.mark.parametrize(
    ("name", "datetime", "said"),
    [
        (r"test_\ud800", "2026\ud800", "datetime is '2026\\\\ud800', and must be a time in ISO 8601"),
        ("test_a", "yesterday", "datetime is 'yesterday', and must be a time in ISO 8601"),
    ],
)
def test_every_verb_refuses_a_file_for_the_same_reason(
    name: str, datetime: str, said: str, tmp_path: Path, rnncore: Command
) -> None:
    path, out = _saved(tmp_path / "store", name, datetime), tmp_path / "out"
    assert json.loads(path.read_text(encoding="utf-8"))["datetime"] == datetime
    for verb in (
        ("compare", path, path),
        ("report", path, "--out", out),
        ("convert", path, "--to", "bencher"),
        ("trend", path.parent, "--out", out),
    ):
        done = rnncore(*verb)
        assert (done.code, said in " ".join(done.said.split())) == (2, True), (verb, done.said)
    assert not out.exists()


@pytest.mark.parametrize(("name", "mark"), [("test_a", codecs.BOM_UTF8), ("test_\ud800", b"")])
def test_every_verb_reads_a_file_with_a_byte_order_mark_or_half_a_character(
    name: str, mark: bytes, tmp_path: Path, rnncore: Command
) -> None:
    path, out = _saved(tmp_path / "store", name, mark=mark), tmp_path / "out"
    assert rnncore("compare", path, path).code == 3
    assert rnncore("report", path, "--out", out).code == 0
    assert rnncore("convert", path, "--to", "bencher").code == 0
    assert rnncore("trend", path.parent, "--json").json["files"] == 1
    assert rnncore("push", path.parent, f"file://{tmp_path}/elsewhere").out.endswith("1 run file pushed, 0 there already\n")
