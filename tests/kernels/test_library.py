"""Compiling of the kernels' sources; what of it shows in one kernel alone is in that kernel's tests."""

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnncore.errors import Unavailable
from rnncore.kernels import library
from rnncore.kernels.library import compiled_library

SOURCES = Path(library.__file__).parent
NAMES = ("forward", "train", "peak")


def _sources(name: str) -> set[str]:
    """Return the files that a kernel is compiled from."""
    headers = re.findall(r'#include "(.+)"', (SOURCES / name).read_text(encoding="utf-8"))
    return {name}.union(*map(_sources, headers))


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_any_header_compiles_a_kernel_anew(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {compiled_library(name)}  # else skipped, with what is missing
    sources = _sources(f"{name}.c")
    for source in sources:
        shutil.copy(SOURCES / source, tmp_path)
    monkeypatch.setattr(library, "resources", SimpleNamespace(files=lambda _: tmp_path))
    monkeypatch.setattr(library, "_compile", lambda *_: None)
    assert {compiled_library(name)} == found
    for source in sources:
        with (tmp_path / source).open("a", encoding="utf-8") as file:
            file.write("/* changed */\n")
        found.add(compiled_library(name))
    assert len(found) == 1 + len(sources)
    assert {"laps.h", "sizes.h", "team.h", "vectors.h"} <= sources


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", ["default", "avx2", "avx512"])
def test_a_kernel_compiles_without_a_warning(name: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(library.LEVEL_ENV, level)
    compiled_library(name)  # else skipped, with what is missing
    compiler = os.environ.get("CC") or shutil.which("gcc") or "cc"
    monkeypatch.setenv("CC", f"{compiler} -Wall -Wextra -Werror")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        compiled_library(name)
    except Unavailable as error:
        pytest.fail(str(error))
