"""The kernels where no developer's machine is: for ARM by an emulator, as Clang compiles them, and for AVX-VNNI.

The tests are those of the two kernels themselves, imported, with the libraries exchanged.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rnncore.errors import Unavailable
from rnncore.forecast.cells import CELLS, Cell
from rnncore.kernels import forward, layers, levels, library
from tests.kernels import test_layers
from tests.kernels.emulated import EmulatedLibrary
from tests.kernels.test_layers import (
    test_equal_threads_give_equal_bits,
    test_gradients_through_dropout_are_those_of_finite_differences,
    test_more_windows_than_a_block_holds_and_a_last_smaller_block,
    test_threads_take_each_block_of_windows_once,
)
from tests.kernels.test_layers import (
    test_gates_are_right_where_they_saturate_and_near_zero as test_gates_of_layers_are_right_where_they_saturate,
)
from tests.runtimes.test_native import (
    test_every_way_to_share_the_work_gives_the_same,
    test_every_way_to_share_the_work_gives_the_same_bits_in_int8,
    test_forecasts_are_those_of_torch_in_float64,
    test_gates_are_right_where_they_saturate_and_near_zero,
    test_in_int8_a_window_has_the_same_bits_alone_and_hour_by_hour,
    test_in_int8_what_is_no_number_stays_none_and_touches_no_other_window,
    test_int8_rounds_states_and_weights_to_bytes_and_nothing_else,
    test_sums_of_int8_are_the_whole_numbers_of_bytes_times_bytes,
    test_timing_the_phases_changes_no_bit_in_int8,
    test_timing_the_phases_changes_no_bit_of_forecasts_and_states,
    test_what_is_no_number_stays_none_and_touches_no_other_window,
)

pytestmark = pytest.mark.long

# So that a linter sees them used.
IMPORTED = (
    test_equal_threads_give_equal_bits,
    test_every_way_to_share_the_work_gives_the_same,
    test_every_way_to_share_the_work_gives_the_same_bits_in_int8,
    test_forecasts_are_those_of_torch_in_float64,
    test_gates_are_right_where_they_saturate_and_near_zero,
    test_gates_of_layers_are_right_where_they_saturate,
    test_gradients_through_dropout_are_those_of_finite_differences,
    test_in_int8_a_window_has_the_same_bits_alone_and_hour_by_hour,
    test_in_int8_what_is_no_number_stays_none_and_touches_no_other_window,
    test_int8_rounds_states_and_weights_to_bytes_and_nothing_else,
    test_more_windows_than_a_block_holds_and_a_last_smaller_block,
    test_sums_of_int8_are_the_whole_numbers_of_bytes_times_bytes,
    test_threads_take_each_block_of_windows_once,
    test_timing_the_phases_changes_no_bit_in_int8,
    test_timing_the_phases_changes_no_bit_of_forecasts_and_states,
    test_what_is_no_number_stays_none_and_touches_no_other_window,
)

REQUIRE_ENV = "RNNCORE_REQUIRE_COMPILERS"

CROSS_GCC, CROSS_OBJDUMP, EMULATOR = "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-objdump", "qemu-aarch64"
# A CPU of ARMv8.2 that has no more than its levels' files may use (Arm's Neoverse N1), and the libraries of its Linux.
EMULATED_CPU = ("-cpu", "neoverse-n1", "-L", "/usr/aarch64-linux-gnu")
# One of each level.
ARM_FILES = {"forward": "forward-armv8.2-dot.so", "train": "train-armv8.2.so"}


def _require(*programs: str) -> None:
    """Skip without these programs, or fail where they are required."""
    if missing := [name for name in programs if not shutil.which(name)]:
        reason = f"not installed: {', '.join(missing)} (Debian: clang qemu-user gcc-aarch64-linux-gnu)"
        if os.environ.get(REQUIRE_ENV) == "1":
            pytest.fail(f"{reason} ({REQUIRE_ENV} is 1)")
        pytest.skip(reason)


@contextmanager
def _failing_where_unavailable() -> Iterator[None]:
    """Let a kernel that is refused fail, and not skip, what needs it: all that it takes is here."""
    try:
        yield
    except Unavailable as error:
        pytest.fail(str(error))


@pytest.fixture(scope="module")
def arm_libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the libraries of the wheel for ARM, as its hook compiles them."""
    _require(CROSS_GCC, CROSS_OBJDUMP, EMULATOR)
    folder = tmp_path_factory.mktemp("arm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CC", f"{CROSS_GCC} -Wall -Wextra -Werror")
        patch.setattr(library.platform, "machine", lambda: "aarch64")
        with _failing_where_unavailable():
            names = {path.name for path in library.compile_levels(folder)}
    assert set(ARM_FILES.values()) <= names
    return folder


def _emulated(folder: Path, stack: ExitStack, patch: pytest.MonkeyPatch) -> None:
    program = folder / "emulated"
    source = Path(__file__).with_name("emulated.c")
    subprocess.run(
        [CROSS_GCC, "-O1", "-Wall", "-Wextra", "-Werror", source, "-o", program, "-Wl,--no-as-needed", "-lgomp", "-ldl"],
        check=True,
    )

    def opened(path: Path) -> EmulatedLibrary:
        emulated = EmulatedLibrary([EMULATOR, *EMULATED_CPU, str(program)], path)
        stack.callback(emulated.close)
        return emulated

    for module in (forward, layers):
        patch.setattr(module, "compiled_library", lambda name: folder / ARM_FILES[name])
        patch.setattr(module, "open_library", opened)


def _by_clang(folder: Path, _: ExitStack, patch: pytest.MonkeyPatch) -> None:
    _require("clang")
    # It has no GCC pragma of unrolling before version 20, and names what of a header one kernel does not use.
    patch.setenv("CC", "clang -Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-unused-function")
    patch.setenv("XDG_CACHE_HOME", str(folder))


def _for_avx_vnni(folder: Path, _: ExitStack, patch: pytest.MonkeyPatch) -> None:
    """Compile for the level of AVX-VNNI. A CPU with AVX512-VNNI has the same instructions by another prefix."""
    _require("gcc")
    flags, true_flags = levels.cpu_flags(), library._flags
    options = next(level.options for level in levels.LEVELS if level.name == "x86-64-v3-vnni")
    if "avx_vnni" not in flags:
        if not {"avx512_vnni", "avx512vl"} <= flags:
            pytest.skip("this CPU has neither AVX-VNNI nor AVX512-VNNI")
        options = options.replace("-mavxvnni", '-D__AVXVNNI__ -DDOT_QUADS="vpdpbusd"')
    patch.setattr(library, "_flags", lambda: true_flags(options))
    patch.setenv("CC", "gcc -Wall -Wextra -Werror")
    patch.setenv("XDG_CACHE_HOME", str(folder))


@pytest.fixture(scope="module", autouse=True, params=["ARM", "Clang", "AVX-VNNI"])
def _other_libraries(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Exchange the libraries that the kernels load, for all tests here."""
    exchange: Callable[[ExitStack, pytest.MonkeyPatch], None]
    if request.param == "ARM":
        exchange = partial(_emulated, request.getfixturevalue("arm_libraries"))
    else:
        levels.require_vectors()  # else skipped, with what is missing
        by = {"Clang": _by_clang, "AVX-VNNI": _for_avx_vnni}[request.param]
        exchange = partial(by, tmp_path_factory.mktemp("compiled"))
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        exchange(stack, patch)
        for module in (forward, layers):
            module._load.cache_clear()
            stack.callback(module._load.cache_clear)
        with _failing_where_unavailable():
            forward.forward_kernel()
            layers.fused_kernels()
        yield


@pytest.mark.parametrize("cell", CELLS)
def test_states_and_gradients_are_those_of_torch_in_float64(cell: Cell) -> None:
    """As in the tests of layers, at sizes that are the same whatever hypothesis draws for the parameters here."""
    check = test_layers.test_states_and_gradients_are_those_of_torch_in_float64.hypothesis.inner_test
    for seed in range(40):
        random = np.random.default_rng(seed)
        batch, hours, features, layers = (int(random.integers(1, most + 1)) for most in (9, 7, 5, 3))
        hidden, share = int(random.choice([1, 3, 8, 17])), float(random.random())
        check(cell=cell, batch=batch, hours=hours, features=features, hidden=hidden, layers=layers, share=share)


def test_products_on_arm_are_fused_multiply_adds_of_whole_vectors(arm_libraries: Path) -> None:
    listing = subprocess.run(
        [CROSS_OBJDUMP, "-d", arm_libraries / "forward-armv8.2.so"], capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert len(re.findall(r"\bfmla\s+v\d+\.4s", listing)) > 100
    # Those of min_with and max_with.
    assert re.search(r"\bfmin\s+v\d+\.4s", listing)
    assert re.search(r"\bfmax\s+v\d+\.4s", listing)
