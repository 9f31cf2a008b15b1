"""Tests of the kernel of peaks: its work is truly done, its chain is one, and what it cannot take is refused."""

import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncore.errors import ConfigError, Unavailable
from rnncore.kernels import peak
from rnncore.kernels.arguments import Floats
from rnncore.kernels.forward import forward_kernel
from rnncore.kernels.memory import aligned_floats
from rnncore.kernels.peak import ChainWay, PeakKernel, peak_kernel

# Operations of one instruction's products and sums, at most: a tile of AMX takes 16 x 64 bytes times 64 x 16.
MOST_OPERATIONS = 2 * 16 * 64 * 16


@pytest.fixture(scope="module")
def kernel() -> PeakKernel:
    """The kernel; else its tests are skipped, with what is missing."""
    return peak_kernel()


def test_every_cpu_has_a_way_in_fp32_and_each_way_a_name_of_its_own(kernel: PeakKernel) -> None:
    names = [(way.precision, way.name) for way in kernel.ways]
    assert len(set(names)) == len(names)
    assert "fp32" in {precision for precision, _ in names} <= {"fp32", "bf16", "int8"}
    assert all(name for _, name in names)


def test_a_round_of_a_way_is_a_few_instructions_of_as_many_operations(kernel: PeakKernel) -> None:
    for way in kernel.ways:
        # Of 12 or 24 sums, or of four tiles; of a vector at least four lanes.
        sums = 4 if "tiles" in way.name else next(count for count in (24, 12) if way.operations % count == 0)
        assert 2 * 4 <= way.operations // sums <= MOST_OPERATIONS


def _quickest_s(call: Callable[[], object], times: int) -> float:
    seconds = []
    for _ in range(times):
        began_s = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began_s)
    return min(seconds)


@pytest.mark.clock
def test_no_round_and_no_pass_is_left_out(kernel: PeakKernel) -> None:
    """A thousand times the work takes at least a hundred times as long, however fast the CPU is."""
    memory = aligned_floats(16 * 64)
    memory[:] = 1
    repeats: list[Callable[[int], None]] = [
        *(lambda times, way=way: kernel.multiply_adds(way, 1, times) for way in kernel.ways),
        *(lambda times, ahead=ahead: kernel.read_memory(memory, 1, ahead, times) for ahead in (False, True)),
    ]
    for repeat in repeats:
        few_s, many_s = _quickest_s(lambda: repeat(1_000), 50), _quickest_s(lambda: repeat(1_000_000), 3)  # noqa: B023
        assert many_s > 100 * few_s


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("lines", [1, 3, 7, 64, 1000])
def test_any_number_of_lines_is_read_by_any_number_of_threads(lines: int, threads: int, kernel: PeakKernel) -> None:
    memory = aligned_floats(16 * lines)
    memory[:] = 1
    for prefetches in (False, True):
        kernel.read_memory(memory, threads, prefetches, 3)
    assert (memory == 1).all()


def _way_here(name: str) -> ChainWay:
    """Return a way of chains, or skip what this CPU has no instructions for."""
    way = ChainWay[name]
    if way not in peak_kernel().chain_ways(way.precision):
        pytest.skip(f"this CPU has no chain by {name}")
    return way


def _in_bf16(values: np.ndarray) -> np.ndarray:
    """Return values rounded to bf16, in float64."""
    return torch.from_numpy(np.ascontiguousarray(values, np.float32)).bfloat16().double().numpy()


def _right_step(way: ChainWay, weights: Floats, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the states after a product in float64, by the factors that a way takes; and how far off they may be rounded."""
    first = weights[:, : states.shape[1]].astype(np.float64)
    if way is ChainWay.INT8:
        scale = np.maximum(np.abs(first).max(axis=0) / 127, 1e-30)
        right = (states @ (np.rint(first / scale) * scale)).clip(-128 / 127, 1)
        return right, np.full_like(right, 0.501 / 127)
    if way is ChainWay.FP32:
        right = states @ first
        return right, np.full_like(right, 1e-5 * max(1, np.abs(right).max()))
    right = states @ _in_bf16(first)
    return right, np.abs(right) / 2**8 + 1e-6


@pytest.mark.parametrize("name", [way.name for way in ChainWay])
@given(
    windows=st.one_of(st.integers(1, 40), st.sampled_from([253, 300])),
    hidden=st.integers(1, 70),
    gates=st.sampled_from([3, 4]),
    threads=st.integers(1, 4),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_every_step_of_a_chain_is_the_product_of_the_states_before_as_its_way_rounds_them(
    name: str, windows: int, hidden: int, gates: int, threads: int, seed: int
) -> None:
    way, random = _way_here(name), np.random.default_rng(seed)
    start = random.uniform(-1, 1, (windows, hidden)).astype(np.float32)
    weights = random.standard_normal((hidden, gates * hidden), dtype=np.float32) / np.float32(hidden**0.5)
    states = np.rint(start * 127) / 127 if way is ChainWay.INT8 else start
    states = _in_bf16(start) if way.precision == "bf16" else states
    for steps in range(1, 4):
        chain = peak_kernel().chain(weights, start, threads, steps, way)
        chain.run()
        right, allowed = _right_step(way, weights, states.astype(np.float64))
        assert (np.abs(chain.last - right) <= allowed).all()
        states = chain.last.astype(np.float64)


def test_a_precision_without_instructions_of_its_own_has_the_chain_of_fp32(kernel: PeakKernel) -> None:
    assert kernel.chain_ways("fp32") == kernel.chain_ways("fp64") == (ChainWay.FP32,)
    for precision in ("bf16", "int8"):
        ways = kernel.chain_ways(precision)
        assert ways == (ChainWay.FP32,) or {way.precision for way in ways} == {precision}


def test_a_chain_runs_by_what_the_forward_kernel_of_this_cpu_runs(kernel: PeakKernel) -> None:
    for precision in forward_kernel().forwards:
        assert {way.precision for way in kernel.chain_ways(precision)} == {precision}


def test_a_way_that_this_cpu_has_not_and_states_without_bytes_are_refused(kernel: PeakKernel) -> None:
    weights = np.zeros((8, 24), np.float32)
    for way in set(ChainWay) - {way for precision in ("fp32", "bf16", "int8") for way in kernel.chain_ways(precision)}:
        with pytest.raises(ConfigError, match=f"this CPU has no chain by {way.name}; allowed: FP32"):
            kernel.chain(weights, np.zeros((2, 8), np.float32), 1, 1, way)
    with pytest.raises(ConfigError, match=r"the states are of up to 1\.5; in int8 they are from -1 to 1"):
        kernel.chain(weights, np.full((2, 8), 1.5, np.float32), 1, 1, _way_here("INT8"))
    with pytest.raises(ConfigError, match=r"the states are of up to nan; in int8 they are from -1 to 1"):
        kernel.chain(weights, np.full((2, 8), np.nan, np.float32), 1, 1, _way_here("INT8"))


def _naive(weights: Floats, start: Floats, steps: int) -> np.ndarray:
    """Return the states after each step, in float64. Shape (steps + 1, B, H)."""
    states = [start.astype(np.float64)]
    for _ in range(steps):
        states.append((states[-1] @ weights.astype(np.float64))[:, : start.shape[1]])
    return np.stack(states)


@given(
    windows=st.one_of(st.integers(1, 40), st.sampled_from([253, 300])),
    hidden=st.integers(1, 40),
    gates=st.sampled_from([3, 4]),
    threads=st.integers(1, 4),
    steps=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_the_chain_gives_the_states_of_a_naive_product_of_every_step(
    windows: int, hidden: int, gates: int, threads: int, steps: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    start = random.standard_normal((windows, hidden), dtype=np.float32)
    weights = random.standard_normal((hidden, gates * hidden), dtype=np.float32) / np.float32(hidden**0.5)
    chain = peak_kernel().chain(weights, start, threads, steps)
    chain.run()
    states = _naive(weights, start, steps)
    np.testing.assert_allclose(chain.last, states[-1], atol=1e-5 * np.abs(states).max())


def test_every_step_of_the_chain_needs_the_one_before(kernel: PeakKernel) -> None:
    random = np.random.default_rng(0)
    start = random.standard_normal((5, 24), dtype=np.float32)
    turn, _ = np.linalg.qr(random.standard_normal((24, 24)))
    weights = np.ascontiguousarray(np.hstack([turn, turn, turn]).astype(np.float32))
    states = _naive(weights, start, 8)
    for steps in range(1, 9):
        chain = kernel.chain(weights, start, 2, steps)
        chain.run()
        np.testing.assert_allclose(chain.last, states[steps], atol=1e-5)
        assert np.abs(chain.last - states[steps - 1]).max() > 0.1


def _chain(weights: tuple[int, int] = (8, 24), start: tuple[int, int] = (2, 8), threads: int = 1, steps: int = 1) -> None:
    peak_kernel().chain(np.zeros(weights, np.float32), np.zeros(start, np.float32), threads, steps)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"weights": (8, 16)}, "there are 2 gates; allowed: 3 or 4"),
        ({"weights": (8, 40)}, "there are 5 gates; allowed: 3 or 4"),
        ({"weights": (8, 25)}, r"the weights: of shape \(8, 25\)"),
        ({"weights": (7, 24)}, r"the weights: of shape \(7, 24\)"),
        ({"threads": 0}, "threads is 0; give at least 1"),
        ({"steps": 0}, "steps is 0; give at least 1"),
        ({"steps": 2**32 + 1}, "steps is 4294967297; give at least 1, and at most 268,435,456"),
        ({"threads": 2**32 + 1}, "threads is 4294967297; give at least 1, and at most 268,435,456"),
        ({"start": (0, 8)}, "windows is 0; give at least 1"),
        ({"start": (2, 0)}, "units is 0; give at least 1"),
    ],
)
def test_a_chain_that_the_kernel_cannot_take_is_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        _chain(**changed)


@pytest.mark.parametrize(
    ("memory", "threads", "passes", "said"),
    [
        (np.zeros(24, np.float32), 1, 1, "the memory has 24 floats; give a multiple of 16"),
        (np.zeros(0, np.float32), 1, 1, "the memory has 0 floats"),
        (np.zeros(16, np.float64), 1, 1, "the memory: float64"),
        (np.zeros(32, np.float32)[::2], 1, 1, "the memory: not contiguous"),
        (np.zeros(16, np.float32), 0, 1, "threads is 0"),
        (np.zeros(16, np.float32), 1, 0, "passes is 0"),
        (np.zeros(16, np.float32), 2**32 + 1, 1, "threads is 4294967297; give at least 1, and at most 268,435,456"),
        (np.zeros(16, np.float32), 1, 2**64 + 1, "passes is 18446744073709551617; give at least 1, and at most"),
    ],
)
def test_memory_that_the_kernel_cannot_read_is_refused(
    memory: np.ndarray, threads: int, passes: int, said: str, kernel: PeakKernel
) -> None:
    with pytest.raises(ConfigError, match=said):
        kernel.read_memory(memory, threads, False, passes)


def test_rounds_are_at_least_one_for_each_thread_and_no_more_than_are_counted(kernel: PeakKernel) -> None:
    with pytest.raises(ConfigError, match="rounds is 1; give at least 2"):
        kernel.multiply_adds(kernel.ways[0], 2, 1)
    with pytest.raises(ConfigError, match="rounds is 18446744073709551617; give at least 1, and at most"):
        kernel.multiply_adds(kernel.ways[0], 1, 2**64 + 1)


def test_more_windows_than_the_chain_counts_are_refused(kernel: PeakKernel) -> None:
    many = np.broadcast_to(np.float32(0), (2**28 + 1, 8))
    with pytest.raises(ConfigError, match="windows is 268435457; give at least 1, and at most 268,435,456"):
        kernel.chain(np.zeros((8, 24), np.float32), many, 1, 1)


_FORKED = """
import os, signal
import numpy as np
from rnncore.kernels.peak import peak_kernel
kernel, memory = peak_kernel(), np.zeros(1600, np.float32)
# Each product gives back what it took.
chain = kernel.chain(np.tile(np.eye(8, dtype=np.float32), 3), np.ones((40, 8), np.float32), 2, 2)
def work():
    kernel.multiply_adds(kernel.ways[0], 2, 4)
    kernel.read_memory(memory, 2, False, 2)
    chain.run()
work()
child = os.fork()
if child == 0:
    signal.alarm(30)
    work()
    os._exit(0 if (chain.last == 1).all() else 3)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_waits_for_no_thread_that_it_has_not(kernel: PeakKernel) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKED], capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_a_kernel_that_cannot_be_compiled_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise Unavailable(f"there is no C compiler for {name}")

    monkeypatch.setattr(peak, "compiled_library", refuse)
    monkeypatch.setattr(peak, "_load", peak._load.__wrapped__)
    with pytest.raises(Unavailable, match=r"^no kernel of peaks: there is no C compiler for peak\.$"):
        peak_kernel()


PRODUCTS = re.compile(r"\s(vfmadd\w+|vdpbf16ps|vpdpbusd|vpmaddubsw|tdp\w+)\s")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads the code of an x86-64 compiler")
@pytest.mark.parametrize(("cpu", "loops"), [("haswell", 2), ("skylake-avx512", 3), ("sapphirerapids", 6)])
def test_the_loops_of_products_touch_no_memory(cpu: str, loops: int) -> None:
    """GCC 12 left sums of bytes on the stack, which halved the peak: a library's product was above it."""
    compiler = os.environ.get("CC") or shutil.which("gcc")
    if not compiler or not shutil.which(compiler.split()[0]):
        pytest.skip("no C compiler")
    source = Path(peak.__file__).with_name("peak.c")
    options = ["-O3", "-ffp-contract=fast", "-fopenmp", "-fPIC", "-mprefer-vector-width=512", f"-march={cpu}"]
    command = [*compiler.split(), *options, "-S", "-o", "-", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    found = 0
    for function in re.findall(
        r"^(?:multiply_add|multiply_add_half|dot_\w+|tiles_\w+):\n(.*?)\n\s+ret", done.stdout, re.M | re.S
    ):
        (loop,) = (block for block in re.split(r"^\.L\w+:", function, flags=re.M) if len(PRODUCTS.findall(block)) >= 4)
        assert "(%" not in loop
        found += 1
    assert found == loops
