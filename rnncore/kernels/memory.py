"""Memory that kernels work in, which begins on a cache line."""

import contextlib
import mmap

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_LINE_BYTES = 64


def aligned_floats(count: int) -> npt.NDArray[np.float32]:
    """Return floats that begin on a cache line; what they hold is undefined. Shape (count,)."""
    raw = np.empty(count + _LINE_BYTES // 4, dtype=np.float32)
    skipped = -raw.ctypes.data % _LINE_BYTES // 4
    return raw[skipped : skipped + count]


def paged_floats(count: int) -> Tensor:
    """Return zeros on pages of their own, huge ones where the system has them to give. Shape (count,), float32."""
    # Private: a process that is forked has a copy, and what it writes there is not seen here.
    memory = mmap.mmap(-1, 4 * count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # A kernel without huge pages refuses, and macOS has no word for them; the training only is a little slower then.
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.float32)
