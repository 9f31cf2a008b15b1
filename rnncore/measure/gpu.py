"""One GPU as its driver sees it: clocks, heat, power, energy, and who else computes on it."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass

from rnncore.errors import Unavailable
from rnncore.forecast.device import CUDA, Device, accelerator_type

# Large products run at the limit of power of most boards.
POWER_CAP = "power cap"


@dataclass(frozen=True)
class GpuState:
    """What a GPU does at one moment; None where the driver does not say.

    Attributes:
        sm_clock_mhz: Clock of the multiprocessors.
        max_sm_clock_mhz: The highest clock that they can have.
        temperature_c: Temperature of the chip.
        power_w: Power of the whole board, on recent GPUs as a mean of the last second.
        throttle_reasons: What holds the clock down, in words. A clock that is low because the GPU is idle, because it was
            set so, or because it is kept in step with another GPU or a display is not disturbed and has no reason.
        foreign_pids: Processes that compute on the GPU, other than this one. In a container the driver may count processes
            as its host does: if this process is not among them, one that is alone there is taken for it.
    """

    sm_clock_mhz: int | None
    max_sm_clock_mhz: int | None
    temperature_c: int | None
    power_w: float | None
    throttle_reasons: tuple[str, ...]
    foreign_pids: tuple[int, ...]

    @property
    def is_throttled(self) -> bool:
        """Whether something else than the limit of power holds the clock down."""
        return any(reason != POWER_CAP for reason in self.throttle_reasons)


class Gpu(ABC):
    """One GPU, held open until `close`. What its driver does not say, support or allow is None."""

    @staticmethod
    def open(name: str | None = None) -> "Gpu":
        """Open a GPU by the library of its maker.

        Args:
            name: A device's name; None for the first of those that torch has, where it is loaded, else of NVIDIA's.

        Raises:
            Unavailable: If there is no such GPU or library, or none is known.
        """
        is_loaded = sys.modules.get("torch") is not None
        device = Device.named(name or (accelerator_type() if is_loaded else CUDA))
        if is_loaded and device.is_rocm:
            from rnncore.measure.amd import AmdGpu

            return AmdGpu.of(device)
        if device.kind.counters == "NVML":
            from rnncore.measure.nvidia import NvidiaGpu

            return NvidiaGpu.of(device)
        raise Unavailable(f"no library is known here that tells of the clocks and the energy of {device.title} devices")

    @abstractmethod
    def close(self) -> None:
        """Let go of the driver; the GPU answers no more."""

    @abstractmethod
    def driver(self) -> str | None:
        """Return the version of the driver."""

    @abstractmethod
    def power_limit_w(self) -> float | None:
        """Return the power limit in force, in watts."""

    @abstractmethod
    def energy_j(self) -> float | None:
        """Return the energy that the board used since the driver was loaded, in joules."""

    @abstractmethod
    def state(self) -> GpuState:
        """Return what the GPU does now."""

    @abstractmethod
    def held_bytes(self) -> dict[int, int | None]:
        """Return the memory that each process that computes there holds, by its number."""

    def process_bytes(self) -> int | None:
        """Return the memory that this process holds there, with its libraries' own."""
        held = self.held_bytes()
        return held.get(os.getpid(), next(iter(held.values())) if len(held) == 1 else None)


def foreign_pids(pids: Collection[int]) -> tuple[int, ...]:
    """Return those of processes that are not this one; see `GpuState`."""
    is_ours_alone = len(pids) == 1 and os.getpid() not in pids
    return () if is_ours_alone else tuple(sorted({*pids} - {os.getpid()}))


def thousandth(value: float | None) -> float | None:
    """Return a thousandth, of what a driver counts in thousandths."""
    return None if value is None else value / 1000
