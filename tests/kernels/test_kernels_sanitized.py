"""The kernels under a compiler's sanitizers, over random shapes: memory beside a call's, undefined behaviour, races.

`sanitized.c` makes the calls, compiled together with a kernel; AMX is emulated there. A fault that is planted in each kind
of build must be found, else the others show nothing.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from rnncore.errors import Unavailable
from rnncore.forecast.device import usable_cpus
from rnncore.kernels import levels, library
from tests.kernels.test_vectors import REQUIRE_ENV

SOURCES = Path(library.__file__).parent
DRIVER = Path(__file__).with_name("sanitized.c")

# What a compiler adds, by the sanitizers.
SANITIZERS = {"addresses": "-fsanitize=address,undefined -fno-sanitize-recover=all", "threads": "-fsanitize=thread"}
# Leaks are the driver's own affair, and to look for them takes rights that containers do not give.
ENVIRONMENT = {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1", "TSAN_OPTIONS": "halt_on_error=1"}
_LIMIT_S = 300
# How a program is run: as it is, or without random addresses, of which some versions of a sanitizer bear only a few.
RUNNERS: tuple[list[str], ...] = ([], ["setarch", platform.machine(), "-R"])


@dataclass(frozen=True)
class Build:
    """A driver with a kernel.

    Attributes:
        kernel: Its source, without `.c`.
        sanitizers: A key of `SANITIZERS`.
        level: A setting of `levels.LEVEL_ENV`; empty for the CPU at hand.
        cases: How many random calls it is to make.
        fault: What is planted: a file, what it has, and what it gets.
        found: A pattern of what the sanitizer says of it.
    """

    kernel: str
    sanitizers: str
    level: str
    cases: int
    fault: tuple[str, str, str] | None = None
    found: str = ""

    @property
    def name(self) -> str:
        return "-".join(filter(None, (self.kernel, self.sanitizers, self.level, "fault" if self.fault else "")))


BUILDS = (
    Build("forward", "addresses", "", 300),
    Build("train", "addresses", "", 300),
    Build("forward", "addresses", "avx2", 300),
    Build("train", "addresses", "avx2", 300),
    Build("forward", "threads", "", 60),
    Build("train", "threads", "", 100),
)
FAULTS = (
    Build(
        "train",
        "addresses",
        "avx2",
        20,
        ("train.c", "for (int t = 0; t < pass->T; t++) {", "for (int t = 0; t <= pass->T; t++) {"),
        "ERROR: AddressSanitizer: heap-buffer-overflow",
    ),
    Build(
        "train",
        "threads",
        "avx2",
        40,
        ("train.c", "    GOMP_barrier();\n", ""),
        "WARNING: ThreadSanitizer: data race",
    ),
)


def _missing(reason: str) -> NoReturn:
    """Skip, or fail where compilers are required."""
    if os.environ.get(REQUIRE_ENV) == "1":
        pytest.fail(f"{reason} ({REQUIRE_ENV} is 1)")
    pytest.skip(reason)


def _command(build: Build, folder: Path) -> list[str]:
    """Return how a build is compiled, with the flags of the kernels but for the optimisation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(levels.LEVEL_ENV, build.level)
        flags = library._flags()
    has_bf16 = "avx512_bf16" in levels.cpu_flags() and not build.level
    sources = SOURCES
    if build.fault:
        sources = folder / f"{build.name}-sources"
        shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
        name, right, wrong = build.fault
        text = (sources / name).read_text(encoding="utf-8")
        assert text.count(right) == 1, build.fault
        (sources / name).write_text(text.replace(right, wrong), encoding="utf-8")
    return [
        *library._compiler(),
        *flags.split(),
        *("-O1", "-g1", "-pthread", "-I", str(sources)),
        *SANITIZERS[build.sanitizers].split(),
        *(["-DTRAIN"] if build.kernel == "train" else []),
        *(["-DTILES", "-mamx-tile", "-mamx-bf16"] if build.kernel == "forward" and has_bf16 else []),
        *(str(DRIVER), "-o", str(folder / build.name), "-lm"),
    ]


def _ran(command: list[str]) -> "subprocess.CompletedProcess[str]":
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


def _runner(compiler: list[str], sanitizers: str, folder: Path) -> list[str]:
    """Return the words before a program of a build; without its sanitizers skip, or fail."""
    program = folder / f"nothing-{sanitizers}"
    tried = _ran([*compiler, *SANITIZERS[sanitizers].split(), str(folder / "nothing.c"), "-o", str(program)])
    for runner in RUNNERS if tried.returncode == 0 else ():
        if shutil.which([*runner, str(program)][0]) and (tried := _ran([*runner, str(program)])).returncode == 0:
            return runner
    _missing(f"{compiler[0]} has no sanitizers of {sanitizers} here: {tried.stdout.strip()[-300:]}")


@pytest.fixture(scope="module")
def output_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Build], "subprocess.CompletedProcess[str]"]:
    """Return a function that returns how a build ended: all are compiled and run meanwhile, one on each core."""
    levels.require_vectors()  # else skipped, with what is missing
    folder = tmp_path_factory.mktemp("sanitized")
    try:
        compiler = library._compiler()
    except Unavailable as error:
        _missing(str(error))
    (folder / "nothing.c").write_text("int main(void) { return 0; }\n", encoding="utf-8")
    run_by = {name: _runner(compiler, name, folder) for name in SANITIZERS}
    commands = {build: _command(build, folder) for build in (*BUILDS, *FAULTS)}

    def run(build: Build) -> "subprocess.CompletedProcess[str]":
        compiled = _ran(commands[build])
        assert compiled.returncode == 0, compiled.stdout
        return _ran([*run_by[build.sanitizers], str(folder / build.name), "1", str(build.cases)])

    with ThreadPoolExecutor(len(usable_cpus())) as pool:
        futures: dict[Build, Future[subprocess.CompletedProcess[str]]] = {
            build: pool.submit(run, build) for build in commands
        }
    return lambda build: futures[build].result()


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)
def test_no_sanitizer_finds_a_fault_in_calls_of_random_shapes(
    build: Build, output_of: Callable[[Build], "subprocess.CompletedProcess[str]"]
) -> None:
    ended = output_of(build)
    assert ended.stdout.strip() == f"{build.cases} cases"
    assert ended.returncode == 0


@pytest.mark.parametrize("build", FAULTS, ids=lambda build: build.name)
def test_a_planted_fault_is_found(build: Build, output_of: Callable[[Build], "subprocess.CompletedProcess[str]"]) -> None:
    ended = output_of(build)
    assert ended.returncode != 0
    assert re.search(build.found, ended.stdout), ended.stdout
