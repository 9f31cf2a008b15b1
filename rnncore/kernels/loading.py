"""Loading of a compiled kernel: its structs are those that Python fills, and its answers are torch's, or it is not used."""

import ctypes
import os
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from rnncore.errors import Unavailable
from rnncore.kernels.arguments import Rnn
from rnncore.kernels.library import implementations


class _Named(Protocol):
    name: str


Kernel = TypeVar("Kernel", bound=_Named)

# GNU's, LLVM's and Intel's.
_OPENMPS = ("libgomp*", "libomp*", "libiomp5*")


def open_library(path: Path) -> ctypes.CDLL:
    """Load a compiled kernel; its threads are torch's.

    Raises:
        OSError: If it cannot be loaded, or names what nothing that is loaded gives out.
    """
    _share_openmp()
    return ctypes.CDLL(str(path))


@cache
def _share_openmp() -> None:
    """Let what is loaded from here on find the OpenMP that torch carries.

    On Linux for x86-64 torch does that itself; its builds for ARM and for macOS keep theirs to themselves. A torch that
    carries none uses the system's, which is found without this.
    """
    package = Path(torch.__file__).parent
    for folder in (package / "lib", package.parent / "torch.libs"):
        for openmp in sorted(path for name in _OPENMPS for path in folder.glob(name)):
            ctypes.CDLL(str(openmp), mode=ctypes.RTLD_GLOBAL)
            return


_is_forked = False


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def threads_here(threads: int) -> int:
    """Return how many threads a call may ask for: one in a process that was forked from one with kernels.

    The threads of OpenMP's pool are not copied by a fork, and a call that asks for them waits for ever.
    """
    return 1 if _is_forked else threads


def require_layout(struct: type[ctypes.Structure], c_bytes: int) -> None:
    """Refuse a library whose struct is of another size than the one that Python fills.

    Args:
        struct: As Python fills it.
        c_bytes: What the library reports of its own.

    Raises:
        Unavailable: If the sizes differ; without the last full stop.
    """
    if ctypes.sizeof(struct) != c_bytes:
        raise Unavailable(
            f"its struct of {c_bytes} bytes is not {struct.__name__} of {ctypes.sizeof(struct)} bytes. Compile it anew"
        )


def checked_kernel(source: str, load: Callable[[], Kernel], differences: Callable[[Kernel], Iterable[str]]) -> Kernel | str:
    """Return a kernel, or why there is none; which it is, is noted in `rnncore.kernels.library.implementations`.

    Args:
        source: Its name there.
        load: Compiles and loads it.
        differences: Yields what of it gives other answers than torch, as words before "gives other answers".
    """
    kernel = _checked_kernel(load, differences)
    implementations[source] = kernel if isinstance(kernel, str) else kernel.name
    return kernel


def _checked_kernel(load: Callable[[], Kernel], differences: Callable[[Kernel], Iterable[str]]) -> Kernel | str:
    try:
        kernel = load()
    except (OSError, AttributeError, Unavailable) as error:
        return str(error)
    # Whoever asks first may have switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        for what in differences(kernel):
            return f"{what} gives other answers than torch's"
    return kernel


def networks_to_check(features: int, hidden: int, layers: int) -> list[tuple[Rnn, nn.Linear]]:
    """Return a small network of each kind, its weights those of a fixed seed; torch's random numbers go on as they were."""
    # Whatever torch's defaults are set to.
    plain: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kinds: tuple[type[Rnn], ...] = (nn.GRU, nn.LSTM)
        return [(kind(features, hidden, layers, batch_first=True, **plain), nn.Linear(hidden, 1, **plain)) for kind in kinds]


def windows_to_check(windows: int, hours: int, features: int) -> Tensor:
    """Return inputs of a fixed seed. Shape (B, T, F)."""
    generator = torch.Generator("cpu").manual_seed(0)
    return torch.randn(windows, hours, features, generator=generator, dtype=torch.float32, device="cpu")


def is_near(found: Tensor, right: Tensor, error: float) -> bool:
    """Return whether no value is further off than *error*; NaN is."""
    return bool((found - right).abs().max() <= error)
