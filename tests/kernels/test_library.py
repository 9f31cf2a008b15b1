"""Compiling of the kernels' sources, and the libraries of a wheel; what of it shows in one kernel alone is in its tests."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from rnncore import files
from rnncore.errors import Unavailable
from rnncore.kernels import forward, layers, levels, library
from rnncore.kernels.library import compile_levels, compiled_library
from tests.processes import has_ended

pytestmark = pytest.mark.long

SOURCES = Path(library.__file__).parent
NAMES = ("forward", "train", "peak")


def _sources(name: str) -> set[str]:
    """Return the files that a kernel is compiled from."""
    headers = re.findall(r'#include "(.+)"', (SOURCES / name).read_text(encoding="utf-8"))
    return {name}.union(*map(_sources, headers))


@pytest.mark.parametrize("name", NAMES)
def test_a_change_of_any_header_compiles_a_kernel_anew(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "_compile", lambda command, flags, source, library: library.write_bytes(b"code"))
    found = {compiled_library(name)}  # else skipped, with what is missing
    sources = _sources(f"{name}.c")
    for source in sources:
        shutil.copy(SOURCES / source, tmp_path)
    monkeypatch.setattr(library, "resources", SimpleNamespace(files=lambda _: tmp_path))
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
    levels.require_vectors()  # else skipped, with what is missing
    compiler = shlex.join(library._compiler())  # the same
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

    def ran(command: list[str], given: str = "", limit_s: float = 0.0) -> str:
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


# What is kept


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a compiler that makes four bytes fill an empty cache; return the sources that it was given."""
    levels.require_vectors()  # else skipped, with what is missing
    sources = []

    def compile_code(command: list[str], flags: str, source: str, library: Path) -> None:
        sources.append(source)
        library.write_bytes(b"code")

    monkeypatch.setattr(library, "_compile", compile_code)
    monkeypatch.setattr(library, "_compiler", lambda: ["true"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return sources


def _cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "rnncore"


def test_a_library_is_kept_under_the_digest_of_what_it_holds(made: list[str], tmp_path: Path) -> None:
    path = compiled_library("train")
    # printf code | sha256sum
    assert re.fullmatch(r"train-[0-9a-f]{16}-5694d08a2e53ffca\.so", path.name)
    assert compiled_library("train") == path
    assert len(made) == 1
    assert list(_cache(tmp_path).iterdir()) == [path]
    assert library.origin_of(path) == "compiled here"


@pytest.mark.parametrize("left", [b"", b"cod", b"coda"], ids=["empty", "cut", "changed"])
def test_a_library_that_is_not_as_it_was_written_is_made_anew(left: bytes, made: list[str]) -> None:
    path = compiled_library("train")
    path.write_bytes(left)
    assert compiled_library("train") == path
    assert path.read_bytes() == b"code"
    assert len(made) == 2


def test_a_library_that_was_cut_does_not_end_the_process(tmp_path: Path) -> None:
    """Loaded as it is, a library without its end is a bus error."""
    layers.fused_kernels()  # else skipped, with what is missing
    code = (
        "from rnncore.kernels.library import compiled_library; path = compiled_library('train'); "
        "path.write_bytes(path.read_bytes()[:8192]); "
        "from rnncore.kernels.layers import fused_kernels; print(fused_kernels().name)"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("rnncore kernels, ")


def test_a_library_is_on_the_disk_before_it_has_its_name(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(os.fstat(handle).st_ino))
    path = compiled_library("train")
    assert flushed == [path.stat().st_ino, path.parent.stat().st_ino]


@pytest.mark.parametrize("place", ["rnncore", "."])
def test_where_others_may_write_no_library_is_kept_nor_loaded(place: str, made: list[str], tmp_path: Path) -> None:
    planted = compiled_library("train")
    folder = tmp_path / "cache" / place
    folder.chmod(0o777)
    path = compiled_library("train")
    assert path.parent == files.process_folder()
    assert list(_cache(tmp_path).iterdir()) == [planted]
    assert library.origin_of(path) == f"compiled for this process alone, as others may write {folder.resolve()}"
    path.unlink()


def test_a_library_that_others_may_write_is_made_anew(made: list[str]) -> None:
    path = compiled_library("train")
    path.chmod(0o666)
    assert compiled_library("train") == path
    assert len(made) == 2
    assert path.stat().st_mode & 0o022 == 0


def test_without_a_cache_a_library_is_of_the_process_and_says_so(
    made: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = compiled_library("train")
    assert library.origin_of(path) == "compiled for this process alone, as no cache can be written"
    path.unlink()


def test_a_library_of_a_wheel_says_so(wheel: Path) -> None:
    if not levels.usable_levels():
        pytest.skip("no level of wheels is for this CPU")
    assert library.origin_of(compiled_library("train")) == "of the wheel"


# Compilers that are odd


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes a script of the shell the compiler."""
    levels.require_vectors()  # else skipped, with what is missing
    if not shutil.which("sh"):
        pytest.skip("there is no shell")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def write(lines: str) -> None:
        path = tmp_path / "cc"
        path.write_text(f"#!/bin/sh\n{lines}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("CC", str(path))

    return write


def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(
    script: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_ASKED_S", 0.5)
    script(f"sleep 1000 & echo $! >{tmp_path}/started\nwait")
    with pytest.raises(
        Unavailable, match=r"cc -dumpfullversion -dumpversion did not end within 0\.5 s\. Name another compiler by CC$"
    ):
        compiled_library("forward")
    assert has_ended(int((tmp_path / "started").read_text(encoding="utf-8")))


def test_a_compiler_that_prints_what_is_no_text_is_told(script: Callable[[str], None]) -> None:
    script("printf '\\377\\376 broken' >&2; exit 7")
    with pytest.raises(Unavailable, match=r"failed with exit code 7 \(\ufffd\ufffd broken\)\. Fix what it names"):
        compiled_library("forward")


def test_a_version_that_is_no_text_names_a_library_all_the_same(
    script: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    script("printf '\\377\\376'")
    monkeypatch.setattr(library, "_compile", lambda command, flags, source, library: library.write_bytes(b"code"))
    assert compiled_library("forward").read_bytes() == b"code"


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        ("gcc '", r"^the C compiler of the name gcc ' \(CC\) cannot be read \(No closing quotation\)\. Name another"),
        ("  ", r"^there is no C compiler of the name    \(CC\)\. Install GCC"),
        ("/nowhere/\udcff", r"^there is no C compiler of the name /nowhere/\\udcff \(CC\)\. Install GCC"),
        ("/", r"^there is no C compiler of the name / \(CC\)"),
    ],
    ids=["quotes", "blanks", "bytes", "a folder"],
)
def test_a_name_that_is_none_of_a_compiler_is_told(compiler: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    levels.require_vectors()  # else skipped, with what is missing
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(Unavailable, match=why):
        compiled_library("forward")


def test_a_compiler_whose_name_is_no_text_makes_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels.require_vectors()  # else skipped, with what is missing
    path = tmp_path / "cc\udcff"
    try:
        path.symlink_to(shutil.which("true") or "/bin/true")
    except OSError:
        pytest.skip("names of files are text here")
    monkeypatch.setenv("CC", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "_compile", lambda command, flags, source, library: library.write_bytes(b"code"))
    assert compiled_library("forward").read_bytes() == b"code"
