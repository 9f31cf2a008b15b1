"""Compiling of the kernels' sources, and the libraries of a wheel; what of it shows in one kernel alone is in its tests."""

import os
import platform
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnncore.errors import Unavailable
from rnncore.kernels import forward, layers, levels, library
from rnncore.kernels.library import compile_levels, compiled_library

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
@pytest.mark.parametrize("level", ["avx2", "avx512"])
def test_a_kernel_compiles_without_a_warning(name: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(levels.LEVEL_ENV, level)
    compiled_library(name)  # else skipped, with what is missing
    compiler = os.environ.get("CC") or shutil.which("gcc") or "cc"
    monkeypatch.setenv("CC", f"{compiler} -Wall -Wextra -Werror")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        compiled_library(name)
    except Unavailable as error:
        pytest.fail(str(error))


def test_of_openmp_the_sources_ask_the_compiler_for_simd_alone() -> None:
    """Other pragmas become calls of a runtime that torch may not carry, and are ignored by -fopenmp-simd."""
    pragmas = [
        f"{path.name}:{number}: {line.strip()}"
        for path in sorted(SOURCES.glob("*.[ch]"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#\s*pragma omp (?!simd\b)|#\s*include <omp\.h>", line)
    ]
    assert pragmas == []


# The libraries of a wheel


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the libraries of a wheel for this machine, without a warning of its compiler."""
    levels.require_vectors()
    folder = tmp_path_factory.mktemp("wheel") / library.SHIPPED
    with pytest.MonkeyPatch.context() as patch:
        compiler = os.environ.get("CC") or shutil.which("gcc") or "cc"
        patch.setenv("CC", f"{compiler} -Wall -Wextra -Werror")
        compile_levels(folder)
    return folder


@pytest.fixture
def wheel(shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the package be one that a wheel installed, on a machine without a compiler."""
    monkeypatch.setattr(library, "__file__", str(shipped.with_name("library.py")))
    monkeypatch.setenv("CC", "/nowhere/cc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return shipped


def test_a_wheel_has_every_kernel_for_every_level_of_its_machine(shipped: Path) -> None:
    sources = [path.stem for path in SOURCES.glob("*.c")]
    names = {f"{name}-{level.name}.so" for name in sources for level in levels.machine_levels()}
    assert {path.name for path in shipped.iterdir()} == names
    assert len(names) >= len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_widest_library_of_a_wheel_is_taken_and_none_is_compiled(name: str, wheel: Path, tmp_path: Path) -> None:
    widest = levels.usable_levels()
    if not widest:
        pytest.skip("no level of wheels is for this CPU")
    assert compiled_library(name) == wheel / f"{name}-{widest[0].name}.so"
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86 CPUs have several levels")
def test_a_wheel_keeps_to_the_level_that_torch_is_kept_to(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(levels.LEVEL_ENV, "avx2")
    if not levels.usable_levels():
        pytest.skip("no level of wheels is for this CPU")
    assert compiled_library("forward") == wheel / "forward-x86-64-v3.so"


def test_every_library_of_a_wheel_that_this_cpu_can_run_gives_the_answers_of_torch(shipped: Path) -> None:
    usable = [level.name for level in levels.usable_levels()]
    if not usable:
        pytest.skip("no level of wheels is for this CPU")
    for name in usable:
        forward_kernel = forward.ForwardKernel(shipped / f"forward-{name}.so")
        assert list(forward._differences(forward_kernel)) == []
        layers_kernels = layers.Kernels(shipped / f"train-{name}.so")
        assert list(layers._differences(layers_kernels)) == []


def test_a_cpu_that_a_wheel_has_no_library_for_compiles_one(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "usable_levels", list)
    with pytest.raises(Unavailable, match=r"there is no C compiler of the name /nowhere/cc \(CC\)"):
        compiled_library("forward")


def test_a_source_checkout_has_no_libraries_of_a_wheel() -> None:
    assert not (SOURCES / library.SHIPPED).exists()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 registers and instructions")
@pytest.mark.parametrize(
    ("level", "has", "lacks"),
    [
        ("x86-64-v3", r"\bvfmadd\w+ps\b.*%ymm", r"%zmm|\bv4?dp\w+|\bvpdp|\btdp"),
        ("x86-64-v3-vnni", r"\{vex\} vpdpbusd\b.*%ymm", r"%zmm|\btdp"),
        ("x86-64-v4", r"\bvfmadd\w+ps\b.*%zmm", r"\bvdpbf16ps|\bvpdp|\btdp"),
        ("x86-64-v4-vnni", r"\bvpdpbusd\b.*%zmm", r"\bvdpbf16ps|\btdp"),
        ("x86-64-v4-amx", r"\btdpbf16ps\b", None),
    ],
)
def test_a_library_has_the_instructions_of_its_level_and_no_others(
    level: str, has: str, lacks: str | None, shipped: Path
) -> None:
    if not (objdump := shutil.which("objdump")):
        pytest.skip("objdump is not installed")
    path = shipped / f"forward-{level}.so"
    listing = library._ran([objdump, "-d", "--no-show-raw-insn", str(path)])
    assert re.search(has, listing)
    assert lacks is None or not re.search(lacks, listing)


@pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "riscv64"), ("Windows", "AMD64")])
def test_a_machine_that_no_wheel_has_kernels_for_is_refused(
    system: str, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    with pytest.raises(Unavailable, match=rf"^wheels have none for {system} on {machine}\. Compile them at first use$"):
        compile_levels(tmp_path)


# Systems


def _commands_on(system: str, machine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Return the commands of the compiler by which another system would make a library."""
    commands = []

    def ran(command: list[str], given: str = "") -> str:
        commands.append(command)
        return given[:0]

    monkeypatch.setattr(library, "_ran", ran)
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv("CC", "true")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled_library("forward")
    return commands


def test_macos_links_by_its_own_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    *_, compiling, linking = _commands_on("Darwin", "arm64", monkeypatch, tmp_path)
    assert "-mcpu=native" in compiling
    assert "-fopenmp-simd" in compiling
    assert {"-dynamiclib", "-Wl,-undefined,dynamic_lookup"} <= set(linking)
    assert not {"-Wl,-z,now", "-lc", "-nodefaultlibs"} & set(linking)


def test_linux_on_arm_compiles_for_the_cpu_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    *_, compiling, linking = _commands_on("Linux", "aarch64", monkeypatch, tmp_path)
    assert "-mcpu=native" in compiling
    assert "-mprefer-vector-width=512" not in compiling
    assert "-Wl,-z,now" in linking


def test_another_system_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"^they are compiled on Linux and Darwin alone, and this is Plan9\. Use Linux$"):
        _commands_on("Plan9", "aarch64", monkeypatch, tmp_path)
