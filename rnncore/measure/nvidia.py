"""NVIDIA's GPUs, by NVML."""

import sys
from collections.abc import Callable
from typing import Any, Self

from rnncore.errors import Unavailable
from rnncore.forecast.device import Device
from rnncore.measure.gpu import POWER_CAP, Gpu, GpuState, foreign_pids, thousandth

try:
    import pynvml
except ModuleNotFoundError as error:
    # An environment of another project has it only if that project asks for it.
    raise Unavailable("no nvidia-ml-py, which asks the NVIDIA driver. Install it: pip install nvidia-ml-py") from error

_THROTTLE_REASONS = {
    pynvml.nvmlClocksEventReasonSwPowerCap: POWER_CAP,
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal slowdown (software)",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "thermal slowdown (hardware)",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
}


class NvidiaGpu(Gpu):
    """One of NVIDIA's GPUs."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @classmethod
    def of(cls, device: Device) -> Self:
        """Open a GPU.

        Args:
            device: Its number is torch's where torch is loaded and can use one, since `CUDA_VISIBLE_DEVICES` may renumber
                GPUs for it; else the driver's.

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
        try:
            if sys.modules.get("torch") is None or not device.count():
                return cls(pynvml.nvmlDeviceGetHandleByIndex(device.index))
            return cls(_by_uuid(str(device.properties().uuid)))
        except (pynvml.NVMLError, AssertionError) as error:  # torch asserts that it has the GPU
            pynvml.nvmlShutdown()
            index = device.index
            raise Unavailable(f"no NVIDIA GPU {index} ({error}). Run nvidia-smi -L to see which there are.") from error

    def close(self) -> None:
        """Let go of the driver; the GPU answers no more."""
        pynvml.nvmlShutdown()

    def driver(self) -> str:
        """Return the version of the driver."""
        return str(pynvml.nvmlSystemGetDriverVersion())

    def power_limit_w(self) -> float | None:
        """Return the power limit in force, in watts; None where the driver does not say."""
        return thousandth(_answer(pynvml.nvmlDeviceGetEnforcedPowerLimit, self._handle))

    def energy_j(self) -> float | None:
        """Return the energy that the board used since the driver was loaded, in joules; None where it is not counted."""
        return thousandth(_answer(pynvml.nvmlDeviceGetTotalEnergyConsumption, self._handle))

    def held_bytes(self) -> dict[int, int | None]:
        """Return the memory that each process that computes there holds, by its number."""
        return {process.pid: getattr(process, "usedGpuMemory", None) for process in self._processes()}

    def _processes(self) -> list[Any]:
        """Return what computes on it."""
        return _answer(pynvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or []

    def state(self) -> GpuState:
        """Return what the GPU does now."""
        reasons = _answer(pynvml.nvmlDeviceGetCurrentClocksEventReasons, self._handle) or 0
        return GpuState(
            sm_clock_mhz=_answer(pynvml.nvmlDeviceGetClockInfo, self._handle, pynvml.NVML_CLOCK_SM),
            max_sm_clock_mhz=_answer(pynvml.nvmlDeviceGetMaxClockInfo, self._handle, pynvml.NVML_CLOCK_SM),
            # What is to replace this function is unknown to drivers that are still in use.
            temperature_c=_answer(pynvml.nvmlDeviceGetTemperature, self._handle, pynvml.NVML_TEMPERATURE_GPU),
            power_w=thousandth(_answer(pynvml.nvmlDeviceGetPowerUsage, self._handle)),
            throttle_reasons=tuple(name for bit, name in _THROTTLE_REASONS.items() if reasons & bit),
            foreign_pids=foreign_pids([process.pid for process in self._processes()]),
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
