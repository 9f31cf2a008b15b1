"""Where the memory of a pair's processes lies: in both alike, and in the next pair elsewhere.

Linux lays out the stack, the libraries and the large allocations of each process by chance. Which names then meet in caches
that go by addresses, in Python or in the CPU, makes the same code some percent faster or slower for as long as a process
lives. That chance has no seed that could be set, as Python's hashes have. So it is switched off for both processes, and what
the rest goes by is drawn for the pair instead: the limit of the stack, below which all else begins, and how much lies on top
of the stack. A process has the limit and the chance of its user again before it loads any suite (`rnncore.measure.linux`).

Source:
    Linux: arch/x86/mm/mmap.c and mm/util.c (`mmap_base`), personality(2).
    Curtsinger, C. & Berger, E. D. (2013). Stabilizer: statistically sound performance evaluation. ASPLOS.
"""

import ctypes
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from rnncore.runfile.slots import LAYOUT

# Of personality(2): what asks for the present one, and no chance in layouts.
_ASK, _NO_CHANCE = 0xFFFFFFFF, 0x0040000

# Linux leaves at least so much for the stack, however low its limit; above that all else moves with the limit.
_LEAST_STACK_BYTES = 128 << 20
_PAGE_BYTES, _PAGES = 4096, 1 << 16

# Bytes on top of the stack: up to a page, as what lies a page apart meets again.
_ON_TOP_BYTES = 4096


@contextmanager
def common_layout(chance: Random) -> Iterator[dict[str, str]]:
    """Let processes that are started in the block lie alike in memory.

    Args:
        chance: Draws where.

    Yields:
        Variables of their environment. None where the system cannot, or may not, as in some containers: then each lies where
        chance will have it.
    """
    personality: Any = getattr(ctypes.CDLL(None), "personality", None)
    usual = -1 if personality is None else personality(_ASK)
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    stack_bytes = _LEAST_STACK_BYTES + _PAGE_BYTES * chance.randrange(1, _PAGES)
    on_top = "x" * chance.randrange(_ON_TOP_BYTES)
    may_move = hard in (resource.RLIM_INFINITY, max(hard, stack_bytes))
    # A container's filter may allow to ask and not to set.
    if usual < 0 or not may_move or personality(usual | _NO_CHANCE) < 0:
        yield {}
        return
    try:
        resource.setrlimit(resource.RLIMIT_STACK, (stack_bytes, hard))
        yield {LAYOUT: f"{usual},{soft},{on_top}"}
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
        personality(usual)
