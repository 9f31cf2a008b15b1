"""AMD's GPUs, by AMD SMI.

**Nobody has run this on one yet.**

Source:
    AMD SMI's Python interface, https://rocm.docs.amd.com/projects/amdsmi. What it lacks it says by an error or by "N/A".
"""

from collections.abc import Callable
from typing import Any, Self

from rnncore.errors import Unavailable
from rnncore.forecast.device import Device
from rnncore.measure.gpu import Gpu, GpuState, foreign_pids

try:
    import amdsmi
# It loads its library as it is imported.
except (ImportError, OSError, KeyError) as error:
    raise Unavailable(f"no amdsmi, which asks the AMD driver ({error}). Install the one of ROCm: amd-smi-lib") from error


class AmdGpu(Gpu):
    """One of AMD's GPUs."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @classmethod
    def of(cls, device: Device) -> Self:
        """Open a GPU.

        Args:
            device: Its number is torch's, since `HIP_VISIBLE_DEVICES` may renumber GPUs for it: the driver's is the one at
                the same place of the bus.

        Raises:
            Unavailable: If the driver does not answer, or has no such GPU.
        """
        try:
            amdsmi.amdsmi_init(amdsmi.AmdSmiInitFlags.INIT_AMD_GPUS)
        except amdsmi.AmdSmiException as error:
            raise Unavailable(f"the AMD driver does not answer ({error}). Make amd-smi list work first.") from error
        asked = device.properties()
        place = f"{asked.pci_domain_id:04x}:{asked.pci_bus_id:02x}:{asked.pci_device_id:02x}."
        for handle in _answer(amdsmi.amdsmi_get_processor_handles) or []:
            if str(_answer(amdsmi.amdsmi_get_gpu_device_bdf, handle)).lower().startswith(place):
                return cls(handle)
        amdsmi.amdsmi_shut_down()
        raise Unavailable(f"no AMD GPU at {place}0, where torch has {device.name}. Run amd-smi list to see which there are.")

    def close(self) -> None:
        """Let go of the driver; the GPU answers no more."""
        amdsmi.amdsmi_shut_down()

    def driver(self) -> str | None:
        """Return the version of the driver."""
        version = self._told(amdsmi.amdsmi_get_gpu_driver_info, "driver_version")
        return None if version is None else str(version)

    def power_limit_w(self) -> float | None:
        """Return the power limit in force, in watts."""
        limit_uw = self._number(amdsmi.amdsmi_get_power_cap_info, "power_cap")
        return None if limit_uw is None else limit_uw / 1e6

    def energy_j(self) -> float | None:
        """Return the energy that the board used since the driver was loaded, in joules."""
        count = self._number(amdsmi.amdsmi_get_energy_count, "energy_accumulator", "power")
        resolution_uj = self._number(amdsmi.amdsmi_get_energy_count, "counter_resolution")
        return None if count is None or resolution_uj is None else count * resolution_uj / 1e6

    def held_bytes(self) -> dict[int, int | None]:
        """Return the memory that each process that computes there holds, by its number."""
        processes = _answer(amdsmi.amdsmi_get_gpu_process_list, self._handle) or []
        return {one["pid"]: one.get("memory_usage", {}).get("vram_mem") for one in processes if isinstance(one, dict)}

    def state(self) -> GpuState:
        """Return what the GPU does now; what holds its clock down is not looked at."""
        clock, kind = amdsmi.amdsmi_get_clock_info, amdsmi.AmdSmiClkType.GFX
        heat, now = amdsmi.AmdSmiTemperatureType.HOTSPOT, amdsmi.AmdSmiTemperatureMetric.CURRENT
        clock_mhz, max_clock_mhz = (self._number(clock, name, with_=(kind,)) for name in ("clk", "max_clk"))
        return GpuState(
            sm_clock_mhz=None if clock_mhz is None else int(clock_mhz),
            max_sm_clock_mhz=None if max_clock_mhz is None else int(max_clock_mhz),
            temperature_c=_answer(amdsmi.amdsmi_get_temp_metric, self._handle, heat, now),
            power_w=self._number(amdsmi.amdsmi_get_power_info, "current_socket_power", "average_socket_power"),
            throttle_reasons=(),
            foreign_pids=foreign_pids(self.held_bytes()),
        )

    def _number(self, question: Callable[..., Any], *names: str, with_: tuple[Any, ...] = ()) -> float | None:
        value = self._told(question, *names, with_=with_)
        return float(value) if isinstance(value, int | float) else None

    def _told(self, question: Callable[..., Any], *names: str, with_: tuple[Any, ...] = ()) -> Any:
        """Return the first of some facts that an answer has: their names changed with AMD SMI's versions."""
        facts = _answer(question, self._handle, *with_) or {}
        return next((facts[name] for name in names if facts.get(name) not in (None, "N/A")), None)


def _answer(question: Callable[..., Any], *args: Any) -> Any:
    """Return what the driver answers; None where this driver, GPU or container does not support or allow the question."""
    try:
        return question(*args)
    except amdsmi.AmdSmiException:
        return None
