"""Which CPUs have kernels, and which library of a wheel is for which."""

import platform
from pathlib import Path

import pytest

from rnncore.errors import Unavailable
from rnncore.kernels import levels, library

# What Linux says of CPUs, as far as levels ask: AMD's Zen 2; Intel's Alder Lake, Skylake-X and Ice Lake; AMD's Zen 4;
# Intel's Sapphire Rapids; Arm's Cortex-A72, one of ARMv8.2 without dot products, and Neoverse N1.
HASWELL = "fpu sse sse2 ssse3 fma sse4_1 sse4_2 movbe popcnt xsave avx f16c rdrand abm bmi1 avx2 bmi2"
ALDER_LAKE = f"{HASWELL} avx_vnni"
SKYLAKE_X = f"{HASWELL} avx512f avx512dq avx512cd avx512bw avx512vl"
ICE_LAKE = f"{SKYLAKE_X} avx512ifma avx512vbmi avx512_vnni"
ZEN_4 = f"{ICE_LAKE} avx512_bf16"
SAPPHIRE_RAPIDS = f"{ZEN_4} avx_vnni amx_bf16 avx512_fp16 amx_tile amx_int8"
CORTEX_A72 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
WITHOUT_DOT = f"{CORTEX_A72} atomics fphp asimdhp asimdrdm lrcpc dcpop"
NEOVERSE_N1 = f"{WITHOUT_DOT} asimddp"


def _be(machine: str, flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str = "") -> None:
    """Let the CPU at hand be another one, kept to a level."""
    word = "flags\t\t" if machine == "x86_64" else "Features\t"
    path = tmp_path / "cpuinfo"
    path.write_text(f"processor\t: 0\n{word}: {flags}\n\nprocessor\t: 1\n{word}: {flags}\n", encoding="utf-8")
    monkeypatch.setattr(levels, "CPUINFO", path)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setenv(levels.LEVEL_ENV, level)


@pytest.mark.parametrize(
    ("machine", "flags", "level", "names"),
    [
        ("x86_64", HASWELL, "", "x86-64-v3"),
        ("x86_64", ALDER_LAKE, "", "x86-64-v3-vnni x86-64-v3"),
        ("x86_64", ALDER_LAKE, "avx2", "x86-64-v3"),
        ("x86_64", SKYLAKE_X, "", "x86-64-v4 x86-64-v3"),
        ("x86_64", ICE_LAKE, "", "x86-64-v4-vnni x86-64-v4 x86-64-v3"),
        ("x86_64", ZEN_4, "", "x86-64-v4-bf16 x86-64-v4-vnni x86-64-v4 x86-64-v3"),
        (
            "x86_64",
            SAPPHIRE_RAPIDS,
            "",
            "x86-64-v4-amx x86-64-v4-bf16 x86-64-v4-vnni x86-64-v4 x86-64-v3-vnni x86-64-v3",
        ),
        ("x86_64", SAPPHIRE_RAPIDS, "avx512", "x86-64-v4 x86-64-v3-vnni x86-64-v3"),
        ("x86_64", SAPPHIRE_RAPIDS, "AVX2", "x86-64-v3"),
        ("x86_64", HASWELL, "avx512", "x86-64-v3"),
        ("x86_64", SKYLAKE_X.replace("avx512vl", ""), "", "x86-64-v3"),
        ("x86_64", SKYLAKE_X.replace(" bmi2", ""), "", ""),
        ("aarch64", WITHOUT_DOT, "", "armv8.2"),
        ("aarch64", NEOVERSE_N1, "", "armv8.2-dot armv8.2"),
        ("aarch64", NEOVERSE_N1, "avx2", "armv8.2-dot armv8.2"),
        ("aarch64", CORTEX_A72, "", ""),
        ("riscv64", "", "", ""),
    ],
)
def test_a_cpu_runs_the_levels_that_it_has_all_of(
    machine: str, flags: str, level: str, names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _be(machine, flags, tmp_path, monkeypatch, level)
    assert [level.name for level in levels.usable_levels()] == names.split()


@pytest.mark.parametrize(
    ("machine", "flags", "level", "why"),
    [
        ("x86_64", "fpu sse sse2 avx", "", "they need AVX2 with FMA, and this CPU has no avx2, fma. Use another machine"),
        ("x86_64", f"{HASWELL} avx512f".replace("fma ", ""), "", "they need AVX2 with FMA, and this CPU has no fma. Use"),
        ("x86_64", HASWELL, "default", "they need AVX2, and ATEN_CPU_CAPABILITY=default forbids it. Unset it, or set"),
        ("ppc64le", "", "", "they need AVX2 or NEON, and this machine (ppc64le) has neither. Use an x86-64 or a 64-bit ARM"),
        ("armv7l", "neon", "", "they need AVX2 or NEON, and this machine (armv7l) has neither"),
    ],
)
def test_what_has_neither_avx2_nor_neon_is_refused_with_the_reason(
    machine: str, flags: str, level: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _be(machine, flags, tmp_path, monkeypatch, level)
    with pytest.raises(Unavailable) as refused:
        library.compiled_library("forward")
    assert str(refused.value).startswith(why)
    assert not str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("machine", "flags", "level"),
    [
        ("x86_64", HASWELL, ""),
        ("x86_64", HASWELL, "avx2"),
        ("aarch64", CORTEX_A72, ""),
        ("aarch64", "", "default"),
        ("arm64", "", ""),
    ],
)
def test_what_has_avx2_or_neon_is_not_refused(
    machine: str, flags: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _be(machine, flags, tmp_path, monkeypatch, level)
    levels.require_vectors()


def test_without_linux_nothing_is_known_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "CPUINFO", tmp_path / "none")
    assert levels.cpu_flags() == frozenset()
