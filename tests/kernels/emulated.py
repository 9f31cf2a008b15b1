"""A kernel's library for another kind of CPU, run by an emulator: in the place of what ctypes loads, with the same calls.

The emulator's process has memory of its own. What a call's struct points to is found here in the variables of the functions
that call, sent with it, and written back. `emulated.c` is the other side.
"""

import ctypes
import inspect
import struct
import subprocess
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

POINTER_BYTES = 8
NUMBER = struct.Struct("<q")
REQUEST = struct.Struct("<64sqqq")

Region = tuple[int, int]  # address, bytes


class EmulatedLibrary:
    """What `ctypes.CDLL` is for a library of this machine.

    Args:
        command: The emulator with the program of `emulated.c`.
        path: The library.
    """

    def __init__(self, command: Sequence[str], path: Path) -> None:
        self._process = subprocess.Popen([*command, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._functions: dict[str, EmulatedFunction] = {}

    def __getattr__(self, name: str) -> "EmulatedFunction":
        if name not in self._functions:
            if not self.answer(REQUEST.pack(name.encode(), -1, 0, 0), [], ()):
                raise AttributeError(name)
            self._functions[name] = EmulatedFunction(self, name)
        return self._functions[name]

    def answer(self, request: bytes, regions: Sequence[Region], constant: Collection[Region]) -> int:
        """Send a request; return what the function returned, once all but the constant regions hold what it left there."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(request)
        self._process.stdin.flush()
        (returned,) = NUMBER.unpack(self._read(NUMBER.size))
        for region in regions:
            held = self._read(region[1])
            if region not in constant:
                ctypes.memmove(region[0], held, region[1])
        return int(returned)

    def _read(self, size: int) -> bytes:
        assert self._process.stdout
        found = self._process.stdout.read(size)
        if len(found) != size:
            raise RuntimeError(f"the emulator ended with exit code {self._process.wait()}")
        return found

    def close(self) -> None:
        """End the emulator."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class EmulatedFunction:
    """What a function of `ctypes.CDLL` is; it takes one struct, or nothing."""

    def __init__(self, library: EmulatedLibrary, name: str) -> None:
        self._library, self._name = library, name
        self.restype: Any = ctypes.c_int
        self.argtypes: Any = None

    def __call__(self, call: Any = None) -> int | None:
        # What a reference is made of once refers to.
        call = getattr(call, "_obj", call)
        known = sorted(set(_memory(inspect.currentframe())))
        regions: list[Region] = []
        pointers: list[tuple[int, int, int, int]] = []

        def refer(holder: int, place: int, address: int) -> None:
            region = _region_of(address, known)
            if region not in regions:
                regions.append(region)
            pointers.append((holder, place, regions.index(region), address - region[0]))

        fields = [] if call is None else [(name, getattr(type(call), name).offset) for name, *_ in call._fields_]
        for name, place in fields:
            address = getattr(call, name)
            if dict(call._fields_)[name] is ctypes.c_void_p and address:
                refer(-1, place, address)
        # Their addresses are others there.
        arrays = _arrays_of_pointers(inspect.currentframe())
        for index, (address, size) in enumerate(list(regions)):
            if (address, size) in arrays:
                for place in range(0, size, POINTER_BYTES):
                    refer(index, place, *struct.unpack("<Q", ctypes.string_at(address + place, POINTER_BYTES)))
        given = b"" if call is None else bytes(call)
        parts = [
            REQUEST.pack(self._name.encode(), len(given), len(regions), len(pointers)),
            given,
            *(struct.pack("<qq", size, address % 64) for address, size in regions),
            *(struct.pack("<qqqq", *pointer) for pointer in pointers),
            *(ctypes.string_at(address, size) for address, size in regions),
        ]
        returned = self._library.answer(b"".join(parts), regions, arrays)
        return None if self.restype is None else self.restype(returned).value


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames of functions of the package and its tests that lead to a call."""
    while frame:
        if frame.f_globals.get("__name__", "").startswith(("rnncore.", "tests.")):
            yield frame
        frame = frame.f_back


def _held(value: Any, seen: set[int]) -> Iterator[Any]:
    """Yield arrays in a variable, in what it holds, and in attributes of objects of the package."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor | np.ndarray | ctypes.Array):
        yield value
    elif isinstance(value, dict):
        for held in list(value.values()):
            yield from _held(held, seen)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _held(held, seen)
    elif type(value).__module__.startswith("rnncore.") and hasattr(value, "__dict__"):
        yield from _held(vars(value), seen)


def _arrays(frame: FrameType | None) -> Iterator[Any]:
    seen: set[int] = set()
    for caller in _frames(frame):
        # Each variable by itself: a dict made for them here would be gone, and its identity another one's, after the first.
        for value in list(caller.f_locals.values()):
            yield from _held(value, seen)


def _memory(frame: FrameType | None) -> Iterator[Region]:
    """Yield the memory of all arrays that lead to a call."""
    for array in _arrays(frame):
        if isinstance(array, torch.Tensor):
            if array.device.type == "cpu":
                yield array.untyped_storage().data_ptr(), array.untyped_storage().nbytes()
        elif isinstance(array, np.ndarray):
            yield array.ctypes.data, array.nbytes
        else:
            yield ctypes.addressof(array), ctypes.sizeof(array)


def _arrays_of_pointers(frame: FrameType | None) -> set[Region]:
    held = (array for array in _arrays(frame) if isinstance(array, ctypes.Array) and array._type_ is ctypes.c_void_p)
    return {(ctypes.addressof(array), ctypes.sizeof(array)) for array in held}


def _region_of(address: int, known: Sequence[Region]) -> Region:
    """Return the largest region that an address lies in: parts of it would be written back over one another."""
    around = [(start, size) for start, size in known if start <= address < start + size]
    if not around:
        raise RuntimeError(f"{address:#x} is in no array that a variable of the callers holds")
    return max(around, key=lambda region: region[1])
