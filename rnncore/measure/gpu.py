"""One NVIDIA GPU as its driver sees it: clocks, heat, power, energy, and who else computes on it."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from rnncore.errors import Unavailable

try:
    import pynvml
except ModuleNotFoundError as error:
    # An environment of another project has it only if that project asks for it.
    raise Unavailable("no nvidia-ml-py, which asks the NVIDIA driver. Install it: pip install nvidia-ml-py") from error

# Large products run at the limit of power of most boards.
_POWER_CAP = "power cap"

_THROTTLE_REASONS = {
    pynvml.nvmlClocksEventReasonSwPowerCap: _POWER_CAP,
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal slowdown (software)",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "thermal slowdown (hardware)",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
}


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
        return any(reason != _POWER_CAP for reason in self.throttle_reasons)


class Gpu:
    """One NVIDIA GPU, held open until `close`."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @classmethod
    def open(cls, index: int = 0) -> Self:
        """Open a GPU.

        Args:
            index: torch's number of the GPU where torch is loaded and can use one, since `CUDA_VISIBLE_DEVICES` may
                renumber GPUs for it; else the driver's.

        Raises:
            Unavailable: If there is no driver library or no such GPU.
        """
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError_LibraryNotFound as error:
            raise Unavailable(
                "no NVIDIA driver library (libnvidia-ml.so.1). Install the NVIDIA driver; "
                "start a container with its utility capability (--gpus all)."
            ) from error
        except pynvml.NVMLError as error:
            raise Unavailable(f"the NVIDIA driver does not answer ({error}). Make nvidia-smi work first.") from error
        torch = sys.modules.get("torch")
        try:
            if torch is None or torch.cuda.device_count() == 0:
                return cls(pynvml.nvmlDeviceGetHandleByIndex(index))
            return cls(_by_uuid(str(torch.cuda.get_device_properties(index).uuid)))
        except (pynvml.NVMLError, AssertionError) as error:  # torch asserts that it has the GPU
            pynvml.nvmlShutdown()
            raise Unavailable(f"no NVIDIA GPU {index} ({error}). Run nvidia-smi -L to see which there are.") from error

    def close(self) -> None:
        """Let go of the driver; the GPU answers no more."""
        pynvml.nvmlShutdown()

    def driver(self) -> str:
        """Return the version of the driver."""
        return str(pynvml.nvmlSystemGetDriverVersion())

    def power_limit_w(self) -> float | None:
        """Return the power limit in force, in watts; None where the driver does not say."""
        return _thousandth(_answer(pynvml.nvmlDeviceGetEnforcedPowerLimit, self._handle))

    def energy_j(self) -> float | None:
        """Return the energy that the board used since the driver was loaded, in joules; None where it is not counted."""
        return _thousandth(_answer(pynvml.nvmlDeviceGetTotalEnergyConsumption, self._handle))

    def process_bytes(self) -> int | None:
        """Return the memory that this process holds there, with CUDA's own; None where the driver does not say."""
        processes = self._processes()
        own = [process for process in processes if process.pid == os.getpid()] or (processes if len(processes) == 1 else [])
        return own[0].usedGpuMemory if own else None

    def _processes(self) -> list[Any]:
        """Return what computes on it."""
        return _answer(pynvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or []

    def state(self) -> GpuState:
        """Return what the GPU does now."""
        reasons = _answer(pynvml.nvmlDeviceGetCurrentClocksEventReasons, self._handle) or 0
        processes = self._processes()
        pids = {process.pid for process in processes}
        is_ours_alone = len(processes) == 1 and os.getpid() not in pids
        return GpuState(
            sm_clock_mhz=_answer(pynvml.nvmlDeviceGetClockInfo, self._handle, pynvml.NVML_CLOCK_SM),
            max_sm_clock_mhz=_answer(pynvml.nvmlDeviceGetMaxClockInfo, self._handle, pynvml.NVML_CLOCK_SM),
            # What is to replace this function is unknown to drivers that are still in use.
            temperature_c=_answer(pynvml.nvmlDeviceGetTemperature, self._handle, pynvml.NVML_TEMPERATURE_GPU),
            power_w=_thousandth(_answer(pynvml.nvmlDeviceGetPowerUsage, self._handle)),
            throttle_reasons=tuple(name for bit, name in _THROTTLE_REASONS.items() if reasons & bit),
            foreign_pids=() if is_ours_alone else tuple(sorted(pids - {os.getpid()})),
        )


def _by_uuid(uuid: str) -> Any:
    """Return the GPU that has a UUID, or the part of one (MIG): torch tells neither which of the two it is."""
    try:
        return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except (pynvml.NVMLError_NotFound, pynvml.NVMLError_InvalidArgument):
        return pynvml.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


def _answer(question: Callable[..., Any], *args: Any) -> Any:
    """Return what the driver answers; None where this driver, GPU or container does not support or allow the question."""
    try:
        return question(*args)
    except pynvml.NVMLError:
        return None


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1000
