"""The kernels under a compiler's sanitizers, over random shapes: memory beside a call's, undefined behaviour, races.

`sanitized_*.c` make the calls, each compiled together with a kernel for every level of CPUs that can be run here; AMX is in
plain C there. Each program is given faults as well, which must be found: else that none was shows nothing.

Shapes are others in every session. What fails names the seed of the call, which SANITIZED_SEED begins with.
"""

import os
import platform
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from rnncore.errors import Unavailable
from rnncore.kernels import levels, library
from tests.kernels.test_vectors import CROSS_GCC, EMULATED_CPU, EMULATOR, REQUIRE_ENV

pytestmark = pytest.mark.long

SOURCES = Path(library.__file__).parent

SEED_ENV = "SANITIZED_SEED"
SEED = int(os.environ.get(SEED_ENV, random.SystemRandom().randrange(2**32)))

# What a compiler adds, by the sanitizers.
SANITIZERS = {
    "addresses": "-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all",
    "threads": "-fsanitize=thread",
}
# Leaks are the programs' own affair, and to look for them takes rights that containers do not give.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1", "TSAN_OPTIONS": "halt_on_error=1"}
# Not optimised: compilers then take a quarter of the time, and nothing is left out that a sanitizer could see.
FLAGS = "-O0 -g1 -pthread -Wall -Wextra -Werror -Wno-unused-function -Wno-psabi -Wno-unknown-pragmas"

# Not tried by itself, as x86-64-v4-amx has all of its code and needs no more here.
LEVELS = [level for level in levels.LEVELS if level.name != "x86-64-v4-bf16"]
# Of x86-64-v4 the wider level has all that threads share.
LEVELS_OF_THREADS = [level for level in LEVELS if level.name != "x86-64-v4" and level.machine == platform.machine()]
IN_PLAIN_C = {"amx_tile", "amx_bf16", "amx_int8"}
# Levels that have no more than the one below but products of bytes, and the files of a kernel that has none of these.
MORE_BY_BYTES = {"x86-64-v3-vnni", "x86-64-v4-vnni", "armv8.2-dot"}
WITHOUT_BYTES = {"train": ("train.c", "panel.h")}

# Random calls, and of those with a fault as many at most. The sanitizer of threads, and an emulator, take ten times as long.
CALLS = {"addresses": 200, "threads": 40}
CALLS_EMULATED = 12
CALLS_WITH_FAULT = 300

# What a sanitizer says of a fault, by its kind: `sanitized.h` has them.
SAID = {
    # A vector that begins within the memory and ends beyond has no name of its own.
    "short": "ERROR: AddressSanitizer: (heap-buffer-overflow|unknown-crash)",
    "odd": "runtime error: .* misaligned address",
    "huge": "runtime error: signed integer overflow",
    "no barrier": "WARNING: ThreadSanitizer: data race",
    "no order": "WARNING: ThreadSanitizer: data race",
}
# Near the top of the stack, as the fault is to be found in the kernel, and not in what calls it.
IN_KERNEL = r"\n +#[0-4] .*/rnncore/kernels/\w+\.[ch]:\d+"

_LIMIT_S = 300


@dataclass(frozen=True)
class Build:
    """A program that calls a kernel.

    Attributes:
        kernel: Its source, without `.c`.
        sanitizers: A key of `SANITIZERS`.
        level: Of the CPUs that it is compiled for.
    """

    kernel: str
    sanitizers: str
    level: levels.Level

    @property
    def is_emulated(self) -> bool:
        return self.level.machine != platform.machine()


# The sanitizer of threads does not run under the emulator.
BUILDS = [
    Build(kernel, sanitizers, level)
    for sanitizers, those in (("addresses", LEVELS), ("threads", LEVELS_OF_THREADS))
    for level in those
    for kernel in ("forward", "train", "peak")
    if kernel not in WITHOUT_BYTES or level.name not in MORE_BY_BYTES
]
# Memory that is read or written as floats, as vectors, and as parts of vectors.
FAULTS = {
    ("forward", "addresses"): ("short:x", "short:weights", "odd:head", "huge"),
    ("train", "addresses"): ("short:w_x", "short:grad_x", "odd:bias", "huge"),
    ("peak", "addresses"): ("short:memory", "odd:states", "huge"),
    ("forward", "threads"): ("no barrier", "no order"),
    ("train", "threads"): ("no barrier",),
    ("peak", "threads"): ("no barrier", "no order"),
}


def _faults(build: Build) -> list[str]:
    """Return the faults that a build is given: under an emulator, which takes a second to begin, one of each sanitizer."""
    faults = FAULTS[build.kernel, build.sanitizers]
    return [faults[0], faults[-1]] if build.is_emulated else list(faults)


Ran = subprocess.CompletedProcess[str]


def _missing(reason: str) -> NoReturn:
    """Skip, or fail where compilers are required."""
    if os.environ.get(REQUIRE_ENV) == "1":
        pytest.fail(f"{reason} ({REQUIRE_ENV} is 1)")
    pytest.skip(reason)


def _ran(command: list[str]) -> Ran:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=_LIMIT_S,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )


def _compiler(build: Build) -> list[str]:
    """Return the command of a build's compiler; without one skip, or fail."""
    if not build.is_emulated:
        if missing := build.level.needs - IN_PLAIN_C - levels.cpu_flags():
            pytest.skip(f"this CPU has no {', '.join(sorted(missing))}")
        try:
            return library._compiler()
        except Unavailable as error:
            _missing(str(error))
    if build.level.machine != "aarch64":
        pytest.skip(f"this machine is no {build.level.machine}")
    if missing := {name for name in (CROSS_GCC, EMULATOR) if not shutil.which(name)}:
        _missing(f"not installed: {', '.join(sorted(missing))}")
    return [CROSS_GCC]


def _runners(build: Build) -> list[list[str]]:
    """Return the words before a program, as alternatives: some versions of sanitizers bear only a few random addresses."""
    if build.is_emulated:
        return [[EMULATOR, *EMULATED_CPU]]
    return [["setarch", platform.machine(), "-R"], []] if shutil.which("setarch") else [[]]


@pytest.fixture(scope="module")
def output_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """Return a function that runs a build's program with arguments, compiled once."""
    folder = tmp_path_factory.mktemp("sanitized")
    (folder / "nothing.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")

    @cache
    def runner(compiler: tuple[str, ...], sanitizers: str, runners: tuple[tuple[str, ...], ...]) -> list[str] | str:
        """Return the words before a program; or why there are no such sanitizers."""
        program = str(folder / f"nothing-{len(list(folder.iterdir()))}")
        tried = _ran([*compiler, *SANITIZERS[sanitizers].split(), str(folder / "nothing.c"), "-o", program])
        for words in runners if tried.returncode == 0 else ():
            if (tried := _ran([*words, program])).returncode == 0:
                return list(words)
        return f"{compiler[0]} has no sanitizers of {sanitizers} here: {tried.stdout.strip()[-300:]}"

    @cache
    def program(build: Build) -> list[str]:
        """Return the command of a build's program."""
        compiler = _compiler(build)
        words = runner(tuple(compiler), build.sanitizers, tuple(map(tuple, _runners(build))))
        if isinstance(words, str):
            _missing(words)
        path = folder / f"{build.kernel}-{build.sanitizers}-{build.level.name}"
        flags = f"{library._FLAGS.format(cpu=build.level.options)} {FLAGS} {SANITIZERS[build.sanitizers]}".split()
        source = Path(__file__).with_name(f"sanitized_{build.kernel}.c")
        compiled = _ran([*compiler, *flags, "-I", str(SOURCES), str(source), "-o", str(path), "-lm"])
        assert compiled.returncode == 0, compiled.stdout
        return [*words, str(path)]

    return lambda build, *arguments: _ran([*program(build), *map(str, arguments)])


def _last_call(ended: Ran) -> str:
    """Return what a program printed of its last call, and how to repeat it."""
    said = ended.stdout[max(ended.stdout.rfind("\nseed "), 0) :].strip()
    return f"exit code {ended.returncode}; {SEED_ENV} is to be the seed that is named:\n{said}"


def test_a_kernel_that_is_tried_at_fewer_levels_has_no_products_of_bytes() -> None:
    texts = [(SOURCES / name).read_text(encoding="utf-8") for files in WITHOUT_BYTES.values() for name in files]
    assert not [text for text in texts if "QUADS" in text]
    assert {level.name for level in levels.LEVELS} >= MORE_BY_BYTES


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: f"{build.kernel}-{build.sanitizers}-{build.level.name}")
def test_no_sanitizer_finds_a_fault_in_calls_of_random_shapes(build: Build, output_of: Callable[..., Ran]) -> None:
    calls = CALLS_EMULATED if build.is_emulated else CALLS[build.sanitizers]
    ended = output_of(build, SEED, calls)
    assert ended.returncode == 0, _last_call(ended)
    assert ended.stdout.endswith(f"\n{calls} cases\n"), _last_call(ended)


@pytest.mark.parametrize(
    ("build", "fault"),
    [
        pytest.param(build, fault, id=f"{build.kernel}-{build.sanitizers}-{build.level.name}-{fault}")
        for build in BUILDS
        for fault in _faults(build)
    ],
)
def test_a_planted_fault_is_found_in_the_kernel(build: Build, fault: str, output_of: Callable[..., Ran]) -> None:
    ended = output_of(build, SEED, CALLS_WITH_FAULT, fault)
    assert ended.returncode != 0
    report = re.search(SAID[fault.partition(":")[0]], ended.stdout)
    assert report, _last_call(ended)
    assert re.search(IN_KERNEL, ended.stdout[report.start() :]), _last_call(ended)
