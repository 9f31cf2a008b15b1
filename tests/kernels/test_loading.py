"""Loading of compiled kernels: by the threads of the OpenMP that torch carries, wherever its builds keep it."""

import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnncore.errors import Unavailable
from rnncore.kernels import loading


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Let torch be installed in a folder of the test; return what is loaded, and how."""
    loaded: list[tuple[str, int]] = []

    def load(path: str, mode: int = ctypes.DEFAULT_MODE) -> Any:
        loaded.append((str(Path(path).relative_to(tmp_path)), mode))

    (tmp_path / "torch" / "lib").mkdir(parents=True)
    monkeypatch.setattr(loading.torch, "__file__", str(tmp_path / "torch" / "__init__.py"))
    monkeypatch.setattr(ctypes, "CDLL", load)
    loading._share_openmp.cache_clear()
    return loaded


@pytest.mark.parametrize(
    "openmp",
    [
        "torch/lib/libgomp.so.1",
        "torch/lib/libgomp-a34b3233.so.1",
        "torch.libs/libgomp-947d5fa1.so.1.0.0",
        "torch/lib/libomp.dylib",
        "torch/lib/libiomp5.so",
    ],
)
def test_the_openmp_of_torch_is_there_for_all_before_a_kernel_is_loaded(
    openmp: str, opened: list[tuple[str, int]], tmp_path: Path
) -> None:
    (tmp_path / openmp).parent.mkdir(exist_ok=True)
    for name in (openmp, "torch/lib/libtorch_cpu.so", "torch/lib/libbackend_with_compiler.so"):
        (tmp_path / name).touch()
    for name in ("forward.so", "train.so"):
        loading.open_library(tmp_path / name)
    kernels = [("forward.so", ctypes.DEFAULT_MODE), ("train.so", ctypes.DEFAULT_MODE)]
    assert opened == [(openmp, ctypes.RTLD_GLOBAL), *kernels]


def test_a_torch_that_carries_no_openmp_is_loaded_with_as_it_is(opened: list[tuple[str, int]], tmp_path: Path) -> None:
    loading.open_library(tmp_path / "forward.so")
    assert opened == [("forward.so", ctypes.DEFAULT_MODE)]


def test_what_is_found_of_a_kernel_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    noted: dict[str, str] = {}
    monkeypatch.setattr(loading, "implementations", noted)
    kernel = SimpleNamespace(name="rnncore kernels, AVX2, compiled here")
    assert loading.checked_kernel("train", lambda: kernel, lambda _: []) is kernel
    assert noted == {"train": kernel.name}
    loading.checked_kernel("forward", lambda: kernel, lambda _: ["its GRU"])

    def missing() -> SimpleNamespace:
        raise Unavailable("there is no C compiler")

    loading.checked_kernel("train", missing, lambda _: [])
    assert noted == {"forward": "its GRU gives other answers than torch's", "train": "there is no C compiler"}
