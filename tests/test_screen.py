"""Tests of text on screens that cannot show every sign, and of files, which are UTF-8 whatever the locale."""

import ast
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnncore.screen import SIGNS, in_signs_of
from tests.run_files import inference, make_run, run_content

REPOSITORY = Path(__file__).parents[1]
FILES = sorted(path for room in ("rnncore", "bench") for path in (REPOSITORY / room).rglob("*.py"))
ENCODINGS = ("ascii", "cp1252")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store with runs of a benchmark whose names hold signs of three alphabets."""
    folder = tmp_path_factory.mktemp("signs")
    profile = {"wall_s": 1e-6, "shares_pct": {"other": 100.0}, "ops": [{"op": "µ×≥", "where": "cpu", "self_s": 1e-7}]}
    for number in range(8):
        rows = [
            inference("gru", "torch", 1, 4e-6 * (1 + number / 10), profile=profile),
            inference("lstm", "torch", 1, 6e-6),
        ]
        rows[1]["fullname"] = "bench/bench_infer.py::test_größe[€…→]"
        content = run_content(rows)
        content["commit_info"]["id"] = f"{number:040}"
        content["datetime"] = f"2026-11-22T18:1{number}:17+00:00"
        make_run(folder / ".benchmarks" / "made", content, f"{number:04}_made.json")
    return folder


VERBS = {
    "trend": ["trend"],
    "trend --json": ["trend", "--json"],
    "compare": ["compare", "1", "7", "--markdown", "verdict.md"],
    "compare --json": ["compare", "1", "7", "--json"],
    "recommend": ["recommend", "1"],
    "profile": ["profile", ".benchmarks/made/0001_made.json"],
    "convert": ["convert", ".benchmarks/made/0001_made.json", "--to", "github-smaller-is-better"],
    "report": ["report", "1", "--out", "page"],
    "no such run": ["compare", "größe…", "7"],
    "--help": ["--help"],
}
JSON = ("trend --json", "compare --json", "convert")
CODES = {"compare": 3, "compare --json": 3, "no such run": 2}

# All in one process: it takes seconds to start one.
RUN = """
import json, sys
from rnncore.cli import main

for arguments in json.loads(sys.argv[1]):
    sys.argv, code = ["rnncore", *arguments], 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    sys.stderr.flush()
    print(f"=== {code}", flush=True)
"""


@pytest.fixture(scope="module", params=ENCODINGS)
def shown(request: pytest.FixtureRequest, store: Path) -> tuple[str, dict[str, tuple[int, str]]]:
    """Run all verbs where the screen has an encoding; return it, and by verb the exit code and what was written."""
    encoding = request.param
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment |= {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", RUN, json.dumps(list(VERBS.values()))]
    done = subprocess.run(
        command,
        cwd=store,
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        check=False,
    )
    *parts, rest = re.split(r"^=== (\d+)\n", done.stdout.decode(encoding), flags=re.MULTILINE)
    assert rest == "", rest
    return encoding, {verb: (int(code), text) for verb, text, code in zip(VERBS, parts[::2], parts[1::2], strict=True)}


Shown = tuple[str, dict[str, tuple[int, str]]]


def test_every_verb_writes_what_the_screen_can_show(shown: Shown) -> None:
    for verb, (code, text) in shown[1].items():
        assert "Traceback" not in text, verb
        assert "\\u" not in text or verb in JSON, verb
        assert code == CODES.get(verb, 0), text


def test_signs_stay_where_the_screen_knows_them_and_are_ascii_where_not(shown: Shown) -> None:
    encoding, written = shown
    assert {"ascii": " us", "cp1252": "µs"}[encoding] in written["recommend"][1]
    assert ("gro?e" if encoding == "ascii" else "größe") in written["compare"][1]


def test_files_are_utf_8_whatever_the_locale(shown: Shown, store: Path) -> None:
    # The text of a report names only what is best.
    signs = {"page/index.html": "größe", "page/report.md": "µs", "page/results.csv": "größe", "verdict.md": "größe"}
    for name, sign in signs.items():
        assert sign in (store / name).read_text(encoding="utf-8")


def _stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def test_every_sign_of_ours_has_one_of_ascii() -> None:
    used = {sign for path in FILES for sign in path.read_text(encoding="utf-8") if not sign.isascii()}
    assert used - SIGNS.keys() == set()
    assert all(sign.isascii() for sign in SIGNS.values())


@pytest.mark.parametrize(
    ("encoding", "text", "shown"),
    [
        ("ascii", "4 µs – 5 µs … ≥ 2 × 3", "4 us - 5 us ... >= 2 x 3"),
        ("cp1252", "4 µs – ▁█ ≥", "4 µs – _# >="),
        ("utf-8", "4 µs ▁█", "4 µs ▁█"),
        ("ascii", "größe, 漢字", "gro?e, ??"),
        ("latin-1", "größe…", "größe..."),
    ],
)
def test_what_a_stream_cannot_show_is_written_in_ascii(encoding: str, text: str, shown: str) -> None:
    assert in_signs_of(_stream(encoding), text) == shown


def test_nothing_is_changed_where_there_is_no_stream() -> None:
    assert in_signs_of(None, "µ ▁") == "µ ▁"


# What opens no file by a name, or takes no text of it.
OPENED_OTHERWISE = re.compile(r"(os|webbrowser|kind|[A-Z]\w*)\.open")


def _calls(path: Path) -> list[tuple[int, str, set[str]]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: list[Any] = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(node.lineno, ast.unparse(node.func), {one.arg or "" for one in node.keywords}) for node in nodes]


def _opens_by_locale(call: ast.Call) -> bool:
    """Say whether a call opens a file as text of the locale's encoding."""
    name = ast.unparse(call.func)
    if name != "open" and (not name.endswith(".open") or OPENED_OTHERWISE.fullmatch(name)):
        return False
    given = {one.arg: one.value for one in call.keywords}
    modes = [given.get("mode"), *call.args[name == "open" :][:1]]
    is_binary = any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in modes)
    return not is_binary and "encoding" not in given


def test_no_file_and_no_process_is_read_or_written_by_the_locale_s_encoding() -> None:
    wrong = [
        f"{path.relative_to(REPOSITORY)}:{line}: {name}"
        for path in FILES
        for line, name, keywords in _calls(path)
        if (name.endswith((".read_text", ".write_text", "os.fdopen")) and "encoding" not in keywords)
        or (name.startswith("subprocess.") and "text" in keywords and not keywords & {"encoding", "errors"})
    ]
    wrong += [
        f"{path.relative_to(REPOSITORY)}:{node.lineno}: {ast.unparse(node.func)}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and _opens_by_locale(node)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "is_by_locale"),
    [
        ("open(path)", True),
        ("path.open()", True),
        ("path.open('a')", True),
        ("open(path, mode='w')", True),
        ("open(path, 'rb')", False),
        ("path.open('ab', buffering=0)", False),
        ("path.open(encoding='utf-8')", False),
        ("os.open(path, flags)", False),
        ("Gpu.open(device)", False),
    ],
)
def test_what_opens_a_file_by_the_locale_is_told_from_what_does_not(text: str, is_by_locale: bool) -> None:
    (statement,) = ast.parse(text).body
    assert isinstance(statement, ast.Expr)
    assert isinstance(statement.value, ast.Call)
    assert _opens_by_locale(statement.value) == is_by_locale
