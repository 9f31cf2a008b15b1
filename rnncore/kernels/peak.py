"""What a CPU can do at best: `peak.c`, whose work nobody wants the results of, and which is timed as a ceiling for others.

H hidden, G gates (GRU 3, LSTM 4); B windows.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnncore.errors import ConfigError, Unavailable
from rnncore.kernels.arguments import MOST, Floats, require_floats
from rnncore.kernels.library import compiled_library
from rnncore.kernels.loading import open_library, require_layout, threads_here
from rnncore.kernels.memory import aligned_floats
from rnncore.kernels.packing import LARGEST_BYTE, grouped, in_bytes, paired, rounded

# Gates that the kernel has a tile for.
_GATES = (3, 4)

_LINE_FLOATS = 16

# Rounds and passes are counted in 64 bits.
_MOST_ROUNDS = 2**62


class MultiplyAdds(ctypes.Structure):
    """What the kernel takes: `multiply_adds_t` of `peak.c`, which names what each field is."""

    _fields_ = (("threads", ctypes.c_int32), ("way", ctypes.c_int32), ("rounds", ctypes.c_int64))


class ReadMemory(ctypes.Structure):
    """What the kernel takes: `read_memory_t` of `peak.c`."""

    _fields_ = (
        *[(name, ctypes.c_int32) for name in ("threads", "prefetches")],
        *[(name, ctypes.c_int64) for name in ("passes", "floats")],
        ("memory", ctypes.c_void_p),
    )


class Chain(ctypes.Structure):
    """What the kernel takes: `chain_t` of `peak.c`."""

    _fields_ = (
        *[(name, ctypes.c_int32) for name in ("threads", "B", "H", "G", "steps", "way")],
        *[(name, ctypes.c_void_p) for name in ("weights", "states", "barriers")],
    )


class ChainWay(IntEnum):
    """A way to compute chains of recurrent products, as `peak.c` numbers them."""

    FP32 = 0
    BF16 = 1
    INT8 = 2
    AMX = 3

    @property
    def precision(self) -> str:
        """Of what is multiplied."""
        return "bf16" if self is ChainWay.AMX else self.name.lower()


# The values that a row of states is filled up to, beside whole vectors; and the rows of a block of packed weights in bf16.
_BLOCK, _BLOCK_ROWS = 32, {ChainWay.BF16: 2, ChainWay.AMX: 32}


@dataclass(frozen=True)
class Way:
    """A way in which this CPU multiplies and adds in registers alone.

    Attributes:
        index: Its number in the kernel.
        precision: Of what is multiplied.
        name: Instructions, for a reader.
        operations: Of a round, two for each product that is added.
    """

    index: int
    precision: str
    name: str
    operations: int


class PeakKernel:
    """The compiled kernel.

    Args:
        path: The shared library.

    Raises:
        OSError: If it cannot be loaded.
        Unavailable: If it takes other structs than those of this file.
    """

    def __init__(self, path: Path) -> None:
        library = open_library(path)
        for struct, function in (
            (MultiplyAdds, library.multiply_adds),
            (ReadMemory, library.read_memory),
            (Chain, library.chain),
        ):
            size = getattr(library, f"{function.__name__}_bytes")
            size.restype = ctypes.c_int64
            require_layout(struct, size())
            function.argtypes, function.restype = [ctypes.POINTER(struct)], None
        library.way_name.restype = library.way_precision.restype = ctypes.c_char_p
        library.way_operations.restype = library.barrier_bytes.restype = ctypes.c_int64
        self._library = library
        self._lanes: int = library.peak_lanes()
        self._chain_ways = tuple(way for way in ChainWay if library.chain_may_be_used(way))
        self.ways = tuple(self._usable_ways())

    def _usable_ways(self) -> Iterator[Way]:
        of = self._library
        for index in range(of.way_count()):
            if of.way_may_be_used(index):
                precision, name = (text.decode() for text in (of.way_precision(index), of.way_name(index)))
                yield Way(index, precision, name, of.way_operations(index))

    def multiply_adds(self, way: Way, threads: int, rounds: int) -> None:
        """Multiply and add in registers alone: *rounds* rounds, shared among the threads.

        Raises:
            ConfigError: If there is no thread, or no round for each, or there are more than the kernel counts.
        """
        _require("threads", threads, 1)
        _require("rounds", rounds, threads, _MOST_ROUNDS)
        self._library.multiply_adds(MultiplyAdds(threads_here(threads), way.index, rounds))

    def read_memory(self, memory: Floats, threads: int, prefetches: bool, passes: int) -> None:
        """Read memory *passes* times, each thread the same share of it every time.

        Args:
            memory: From `aligned_floats`, of whole lines of 64 bytes. Shape (floats,).
            threads: CPU threads.
            prefetches: Whether lines are asked for before they are read.
            passes: How often.

        Raises:
            ConfigError: If the memory is anything else, or there is no thread or pass, or more than the kernel counts.
        """
        require_floats("the memory", memory, (memory.size,))
        if memory.size % _LINE_FLOATS or not memory.size:
            raise ConfigError(f"the memory has {memory.size} floats; give a multiple of {_LINE_FLOATS}.")
        _require("threads", threads, 1)
        _require("passes", passes, 1, _MOST_ROUNDS)
        self._library.read_memory(ReadMemory(threads_here(threads), prefetches, passes, memory.size, memory.ctypes.data))

    def chain_ways(self, precision: str) -> tuple[ChainWay, ...]:
        """Return the ways of this CPU to compute chains in a precision; where it has none of its own, that of fp32."""
        own = tuple(way for way in self._chain_ways if way.precision == precision)
        return own or (ChainWay.FP32,)

    def chain(self, weights: Floats, start: Floats, threads: int, steps: int, way: ChainWay = ChainWay.FP32) -> "TileChain":
        """Return a chain of the recurrent products of our kernels, ready to run; arguments as of `TileChain`.

        Raises:
            ConfigError: If this CPU has no such way, or as `TileChain`.
        """
        if way not in self._chain_ways:
            allowed = ", ".join(known.name for known in self._chain_ways)
            raise ConfigError(f"this CPU has no chain by {ChainWay(way).name}; allowed: {allowed}.")
        return TileChain(self._library, self._lanes, weights, start, threads, steps, way)


class TileChain:
    """Recurrent products one after another, each of which needs the one before, by the tiles of our forward kernel.

    Args:
        library: The loaded kernel.
        lanes: Floats of a vector.
        weights: Of all gates side by side. Shape (H, G * H).
        start: States that the first product takes, in int8 from -1 to 1; each product's first H columns are those of the
            next, rounded as products take them. Shape (B, H).
        threads: CPU threads.
        steps: Products.
        way: By what.

    Raises:
        ConfigError: If shapes do not fit, the gates are neither 3 nor 4, or there is no window, unit, thread or step, or
            more than the kernel counts; or in int8 a state has no byte.
    """

    def __init__(
        self, library: ctypes.CDLL, lanes: int, weights: Floats, start: Floats, threads: int, steps: int, way: ChainWay
    ) -> None:
        windows, hidden = start.shape
        for name, given in (("windows", windows), ("units", hidden), ("threads", threads), ("steps", steps)):
            _require(name, given, 1)
        gates = weights.shape[1] // hidden
        if gates not in _GATES:
            raise ConfigError(f"there are {gates} gates; allowed: {' or '.join(map(str, _GATES))}.")
        require_floats("the weights", weights, (hidden, gates * hidden))
        require_floats("the states", start, (windows, hidden))
        self._chain, self._hidden, self._threads, self._steps, self._way = library.chain, hidden, threads, steps, way
        self._zero_byte: int = library.chain_zero_byte()
        self._weights = self._packed(grouped(weights, gates, hidden, lanes))
        self._halves = self._states(start, -(-hidden // lanes) * lanes)
        barriers = aligned_floats(threads * library.barrier_bytes() // 4)
        barriers.view(np.int32)[:] = 0
        self._barriers = barriers
        self._call = Chain(
            threads=threads,
            B=windows,
            H=hidden,
            G=gates,
            steps=steps,
            way=way,
            weights=self._weights.ctypes.data,
            states=self._halves.ctypes.data,
            barriers=barriers.ctypes.data,
        )

    def _packed(self, weights: Floats) -> Floats:
        """Return weights, (groups, H, G, lanes), as the way takes them, on lines of the cache."""
        if self._way.precision == "bf16":
            weights = paired(weights, _BLOCK_ROWS[self._way])
        elif self._way is ChainWay.INT8:
            weights = in_bytes(weights, self._zero_byte)
        packed = aligned_floats(weights.size)
        # Bit for bit: two values of bf16 in a float may be a NaN.
        packed.view(np.int32)[:] = np.ascontiguousarray(weights).view(np.int32).ravel()
        return packed

    def _states(self, start: Floats, units: int) -> npt.NDArray[Any]:
        """Return memory for two times all states as the way takes them, of which the first are those to begin with."""
        in_bf16 = self._way.precision == "bf16"
        values = -(-self._hidden // _BLOCK) * _BLOCK if in_bf16 else units
        whole = np.zeros((2, len(start), values), dtype=np.float32)
        whole[0, :, : self._hidden] = start
        encoded: npt.NDArray[Any] = whole
        if in_bf16:
            encoded = rounded(whole).view(np.int16)
        elif self._way is ChainWay.INT8:
            # Written so that NaN is refused too.
            if not np.abs(start).max() <= 1:
                raise ConfigError(f"the states are of up to {np.abs(start).max():g}; in int8 they are from -1 to 1.")
            encoded = (np.rint(whole * LARGEST_BYTE).astype(np.int16) + self._zero_byte).astype(np.uint8)
        memory = aligned_floats(encoded.nbytes // 4).view(encoded.dtype).reshape(encoded.shape)
        memory[:] = encoded
        return memory

    def run(self) -> None:
        """Take all steps; a run after another goes on from where that began, or with even steps from where it ended."""
        self._call.threads = threads_here(self._threads)
        self._chain(self._call)

    @property
    def last(self) -> Floats:
        """The last states of a run, in float32. Shape (B, H)."""
        last = self._halves[self._steps % 2, :, : self._hidden]
        if self._way.precision == "bf16":
            return (last.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        if self._way is ChainWay.INT8:
            return (last - np.uint8(self._zero_byte)).view(np.int8).astype(np.float32) / np.float32(LARGEST_BYTE)
        return last


def _require(name: str, given: int, fewest: int, most: int = MOST) -> None:
    """Refuse a count that is too small, or that would be cut to the bits that the kernel counts it in."""
    if not fewest <= given <= most:
        raise ConfigError(f"{name} is {given}; give at least {fewest}, and at most {most:,}.")


def peak_kernel() -> PeakKernel:
    """Return the kernel; the first call on a machine compiles it and keeps it in the user's cache.

    Raises:
        Unavailable: If it cannot be compiled or loaded here.
    """
    found = _load()
    if isinstance(found, str):
        raise Unavailable(f"no kernel of peaks: {found}.")
    return found


@cache
def _load() -> PeakKernel | str:
    """Return the kernel, or why there is none."""
    try:
        return PeakKernel(compiled_library("peak"))
    except (OSError, AttributeError, Unavailable) as error:
        return str(error)
