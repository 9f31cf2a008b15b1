"""Levels of CPUs: what the libraries of a wheel are compiled for, and which of them the CPU at hand can run."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from rnncore.errors import Unavailable

# The level that torch's own kernels are kept to, ours keep to as well: then the two are of one kind.
LEVEL_ENV = "ATEN_CPU_CAPABILITY"

CPUINFO = Path("/proc/cpuinfo")

# The vectors of a library, for a reader, by the floats of one.
VECTORS = {16: "AVX-512", 8: "AVX2", 4: "128-bit vectors"}


@dataclass(frozen=True)
class Level:
    """A kind of CPU that the libraries of a wheel are compiled for.

    Attributes:
        name: In the names of its libraries.
        machine: As `platform.machine` has it on Linux.
        options: Of a compiler of GCC's kind.
        needs: What Linux must say that the CPU can do, by its own words.
    """

    name: str
    machine: str
    options: str
    needs: frozenset[str]


_AVX2 = frozenset(["avx", "avx2", "fma", "bmi1", "bmi2", "f16c", "abm", "movbe"])
_AVX512 = _AVX2 | frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])
_VNNI = _AVX512 | frozenset(["avx512_vnni"])
_BF16 = _VNNI | frozenset(["avx512_bf16"])
_AMX = _BF16 | frozenset(["amx_tile", "amx_bf16", "amx_int8"])
_ARM = frozenset(["asimd", "atomics", "crc32", "asimdrdm"])

# The x86-64 levels are those of its psABI; what lies between them are CPUs with products in bf16 and int8. Widest first.
LEVELS = (
    Level("x86-64-v4-amx", "x86_64", "-march=x86-64-v4 -mavx512bf16 -mavx512vnni -mamx-tile -mamx-bf16 -mamx-int8", _AMX),
    Level("x86-64-v4-bf16", "x86_64", "-march=x86-64-v4 -mavx512bf16 -mavx512vnni", _BF16),
    Level("x86-64-v4-vnni", "x86_64", "-march=x86-64-v4 -mavx512vnni", _VNNI),
    Level("x86-64-v4", "x86_64", "-march=x86-64-v4", _AVX512),
    Level("x86-64-v3-vnni", "x86_64", "-march=x86-64-v3 -mavxvnni", _AVX2 | frozenset(["avx_vnni"])),
    Level("x86-64-v3", "x86_64", "-march=x86-64-v3", _AVX2),
    Level("armv8.2-dot", "aarch64", "-march=armv8.2-a+dotprod", _ARM | frozenset(["asimddp"])),
    Level("armv8.2", "aarch64", "-march=armv8.2-a", _ARM),
)

# The widest level that a setting of LEVEL_ENV allows.
_KEPT_TO = {"avx2": "x86-64-v3", "avx512": "x86-64-v4"}


def kept_to() -> str:
    """Return the level that torch and our kernels are to keep to, as `LEVEL_ENV` has it; empty where it is not set."""
    return os.environ.get(LEVEL_ENV, "").lower()


def cpu_flags() -> frozenset[str]:
    """Return what the CPU can do, by Linux's words; nothing where there is no Linux to say it."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    line = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


def machine_levels() -> list[Level]:
    """Return the levels of this kind of machine, widest first."""
    return [level for level in LEVELS if level.machine == platform.machine()]


def usable_levels() -> list[Level]:
    """Return the levels that the CPU at hand can run and `LEVEL_ENV` allows, widest first."""
    flags, widest = cpu_flags(), _KEPT_TO.get(kept_to())
    levels = machine_levels()
    first = next((place for place, level in enumerate(levels) if level.name == widest), 0)
    return [level for level in levels[first:] if level.needs <= flags]


def require_vectors() -> None:
    """Refuse a CPU, or a setting of `LEVEL_ENV`, that has neither AVX2 nor NEON: scalar kernels are no faster than torch.

    Raises:
        Unavailable: If there is neither; with what to do, without the last full stop.
    """
    machine = platform.machine()
    # Every 64-bit ARM that Linux or macOS runs on has NEON.
    if machine in ("aarch64", "arm64"):
        return
    if machine != "x86_64":
        raise Unavailable(f"they need AVX2 or NEON, and this machine ({machine}) has neither. Use an x86-64 or a 64-bit ARM")
    if missing := {"avx2", "fma"} - cpu_flags():
        raise Unavailable(f"they need AVX2 with FMA, and this CPU has no {', '.join(sorted(missing))}. Use another machine")
    if kept_to() == "default":
        raise Unavailable(f"they need AVX2, and {LEVEL_ENV}=default forbids it. Unset it, or set it to avx2")
