"""Tests of where the memory of a pair's processes lies."""

import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rnncore.drive import layout
from rnncore.drive.layout import common_layout
from rnncore.runfile.slots import LAYOUT

# Of a library, and of what Python allocates.
WHERE = """
import ctypes, json
print(json.dumps([ctypes.cast(ctypes.CDLL(None).malloc, ctypes.c_void_p).value, id([]), id("a" * 5000)]))
"""

# A session that is driven: what a suite of it finds.
SUITE = """
import ctypes, json, os, resource, threading

def stack_bytes_of_threads():
    attributes = ctypes.create_string_buffer(256)
    ctypes.CDLL(None).pthread_getattr_default_np(attributes)
    size = ctypes.c_size_t()
    ctypes.CDLL(None).pthread_attr_getstacksize(attributes, ctypes.byref(size))
    return size.value

FOUND = [
    resource.getrlimit(resource.RLIMIT_STACK),
    ctypes.CDLL(None).personality(0xFFFFFFFF),
    stack_bytes_of_threads(),
    "RNNCORE_LAYOUT" in os.environ,
]
open("found.json", "w").write(json.dumps(FOUND))
"""


def _chance(seed: int) -> Random:
    return Random(seed)  # noqa: S311 (no secret)


def _personality() -> int:
    return int(ctypes.CDLL(None).personality(0xFFFFFFFF))


def _is_possible() -> bool:
    with common_layout(_chance(0)) as variables:
        return bool(variables)


possible = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not _is_possible(), reason="the system does not let a process choose its layout"
)


def _where(variables: Mapping[str, str]) -> Any:
    environment = {**os.environ, "PYTHONHASHSEED": "1", **variables}
    done = subprocess.run([sys.executable, "-c", WHERE], env=environment, capture_output=True, check=True)
    return json.loads(done.stdout)


@possible
def test_the_processes_of_a_block_lie_alike_and_those_of_the_next_elsewhere() -> None:
    chance, found = _chance(1), []
    for _ in range(3):
        with common_layout(chance) as variables:
            one, other = _where(variables), _where(variables)
        assert one == other
        found.append(one)
    assert len({library for library, *_ in found}) == len({allocated for _, allocated, *_ in found}) == 3


@possible
def test_the_process_that_starts_them_has_its_own_limit_and_chance_again() -> None:
    before = resource.getrlimit(resource.RLIMIT_STACK), _personality()
    with common_layout(_chance(0)):
        assert (resource.getrlimit(resource.RLIMIT_STACK), _personality()) != before
    assert (resource.getrlimit(resource.RLIMIT_STACK), _personality()) == before
    assert _where({})[:2] != _where({})[:2]


@possible
def test_a_suite_finds_the_limits_and_the_chance_of_its_user_before_anything_of_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(SUITE, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    usual = {}
    for name, chance in (("plain", None), ("common", _chance(3))):
        if chance is None:
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        else:
            with common_layout(chance) as variables:
                environment = {**os.environ, **variables}
                done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
        assert done.returncode == 5, done.stdout + done.stderr
        usual[name] = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert usual["plain"] == usual["common"]
    assert usual["common"][-1] is False


@pytest.mark.parametrize("why", ["no such call", "refused", "asked alone", "a hard limit"])
def test_where_it_cannot_be_each_process_lies_where_chance_will_have_it(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class System:
        def personality(self, wanted: int) -> int:
            asked.append(wanted)
            return -1 if why == "refused" or (why == "asked alone" and wanted != 0xFFFFFFFF) else 0

    if why == "a hard limit":
        monkeypatch.setattr(resource, "getrlimit", lambda _: (8 << 20, 64 << 20))
    monkeypatch.setattr(layout.ctypes, "CDLL", lambda _: object() if why == "no such call" else System())
    monkeypatch.setattr(resource, "setrlimit", lambda *_: pytest.fail("set"))
    with common_layout(_chance(0)) as variables:
        assert variables == {}
    assert set(asked) <= {0xFFFFFFFF, 0x0040000} if why == "asked alone" else set(asked) <= {0xFFFFFFFF}


def test_the_environment_of_a_layout_says_what_is_usual_and_takes_room() -> None:
    lengths = set()
    for seed in range(8):
        with common_layout(_chance(seed)) as variables:
            if not variables:
                pytest.skip("the system does not let a process choose its layout")
            usual, soft, room = variables[LAYOUT].split(",")
            assert (int(usual), int(soft)) != (_personality(), resource.getrlimit(resource.RLIMIT_STACK)[0])
            lengths.add(len(room))
    assert len(lengths) > 4
