"""Tests of one GPU seen through a planted driver: what it does, what its driver keeps to itself, and which GPU it is."""

import os
import sys
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from rnncore.errors import Unavailable
from rnncore.measure.gpu import Gpu, GpuState

OURS = os.getpid()
STRANGER, OTHER_STRANGER = OURS + 1, OURS + 2

ANSWERS: dict[str, Any] = {
    "nvmlDeviceGetClockInfo": 1755,
    "nvmlDeviceGetMaxClockInfo": 1980,
    "nvmlDeviceGetTemperature": 61,
    "nvmlDeviceGetPowerUsage": 412_500,
    "nvmlDeviceGetEnforcedPowerLimit": 700_000,
    "nvmlDeviceGetTotalEnergyConsumption": 9_876_543,
    "nvmlDeviceGetCurrentClocksEventReasons": 0,
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=OURS)],
}

REASONS = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "power cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "thermal slowdown (software)",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "thermal slowdown (hardware)",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "power brake",
}


class PlantedDriver:
    """A driver of two GPUs: answers by function name, an error to be raised, and how many users it has."""

    def __init__(self) -> None:
        self.answers = dict(ANSWERS)
        self.users = 0
        self.gpus = ["first", "second"]
        self.parts: list[str] = []
        self.asked: list[object] = []

    def init(self) -> None:
        self.users += 1

    def shutdown(self) -> None:
        self.users -= 1

    def by_index(self, index: int) -> str:
        if index >= len(self.gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self.gpus[index]

    def by_uuid(self, uuid: str) -> str:
        if uuid.removeprefix("GPU-") in self.parts:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return f"the one with {uuid}"

    def answer(self, name: str, handle: object) -> Any:
        self.asked.append(handle)
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> PlantedDriver:
    planted = PlantedDriver()
    monkeypatch.setattr(pynvml, "nvmlInit", planted.init)
    monkeypatch.setattr(pynvml, "nvmlShutdown", planted.shutdown)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", planted.by_index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", planted.by_uuid)
    monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: "580.1")
    for name in ANSWERS:
        monkeypatch.setattr(pynvml, name, lambda handle, *_, name=name: planted.answer(name, handle))
    plant_torch(monkeypatch, [])
    return planted


def plant_torch(monkeypatch: pytest.MonkeyPatch, uuids: list[str]) -> None:
    """Plant a loaded torch that sees the GPUs of these UUIDs, and says of another number what torch says."""

    def properties(index: int) -> SimpleNamespace:
        if index >= len(uuids):
            raise AssertionError("Invalid device id")
        return SimpleNamespace(uuid=uuids[index])

    cuda = SimpleNamespace(device_count=lambda: len(uuids), get_device_properties=properties)
    accelerator, version = SimpleNamespace(current_accelerator=lambda: None), SimpleNamespace(hip=None)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda, accelerator=accelerator, version=version))


def processes(*pids: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=pid) for pid in pids]


def test_a_gpu_tells_its_state_in_mhz_degrees_and_watts(driver: PlantedDriver) -> None:
    assert Gpu.open().state() == GpuState(
        sm_clock_mhz=1755,
        max_sm_clock_mhz=1980,
        temperature_c=61,
        power_w=412.5,
        throttle_reasons=(),
        foreign_pids=(),
    )


@pytest.mark.parametrize(
    ("running", "expected"),
    [
        ({OURS: 7 << 20, STRANGER: 1 << 20}, 7 << 20),
        ({STRANGER: 5 << 20}, 5 << 20),  # as a driver outside of a container counts this process
        ({STRANGER: 5 << 20, OTHER_STRANGER: 1 << 20}, None),
        ({}, None),
        ({OURS: None}, None),
    ],
)
def test_a_gpu_tells_what_this_process_holds_or_that_it_is_not_known(
    running: dict[int, int | None], expected: int | None, driver: PlantedDriver
) -> None:
    found = [SimpleNamespace(pid=pid, usedGpuMemory=held) for pid, held in running.items()]
    driver.answers["nvmlDeviceGetComputeRunningProcesses"] = found
    assert Gpu.open().process_bytes() == expected


def test_the_clock_that_is_asked_for_is_the_multiprocessors(driver: PlantedDriver, monkeypatch) -> None:
    clocks = {pynvml.NVML_CLOCK_SM: 1500, pynvml.NVML_CLOCK_MEM: 3201, pynvml.NVML_CLOCK_GRAPHICS: 1}
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", lambda handle, kind: clocks[kind])
    assert Gpu.open().state().sm_clock_mhz == 1500


def test_a_gpu_tells_driver_power_limit_and_energy(driver: PlantedDriver) -> None:
    gpu = Gpu.open()
    assert (gpu.driver(), gpu.power_limit_w(), gpu.energy_j()) == ("580.1", 700.0, 9876.543)


@pytest.mark.parametrize(("bit", "reason"), REASONS.items(), ids=REASONS.values())
def test_a_throttled_gpu_names_its_reason(bit: int, reason: str, driver: PlantedDriver) -> None:
    driver.answers["nvmlDeviceGetCurrentClocksEventReasons"] = bit | pynvml.nvmlClocksEventReasonGpuIdle
    assert Gpu.open().state().throttle_reasons == (reason,)


def test_several_reasons_are_all_named(driver: PlantedDriver) -> None:
    driver.answers["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.nvmlClocksEventReasonAll
    assert set(Gpu.open().state().throttle_reasons) == set(REASONS.values())


def test_idleness_and_clocks_that_were_set_are_no_reasons(driver: PlantedDriver) -> None:
    quiet = pynvml.nvmlClocksEventReasonGpuIdle | pynvml.nvmlClocksEventReasonApplicationsClocksSetting
    driver.answers["nvmlDeviceGetCurrentClocksEventReasons"] = quiet
    assert Gpu.open().state().throttle_reasons == ()


@pytest.mark.parametrize(
    ("listed", "foreign"),
    [
        ((), ()),
        ((OURS,), ()),
        ((OTHER_STRANGER, OURS, STRANGER), (STRANGER, OTHER_STRANGER)),
        ((STRANGER,), ()),
        ((STRANGER, OTHER_STRANGER), (STRANGER, OTHER_STRANGER)),
    ],
    ids=["nobody", "we alone", "we and others", "we under another number", "others alone"],
)
def test_processes_other_than_ours_are_foreign(listed: tuple[int, ...], foreign: tuple[int, ...], driver) -> None:
    driver.answers["nvmlDeviceGetComputeRunningProcesses"] = processes(*listed)
    assert Gpu.open().state().foreign_pids == foreign


@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_UNKNOWN,
    ],
)
def test_what_the_driver_keeps_to_itself_is_none_or_empty(code: int, driver: PlantedDriver) -> None:
    driver.answers = dict.fromkeys(ANSWERS, pynvml.NVMLError(code))
    gpu = Gpu.open()
    assert gpu.state() == GpuState(None, None, None, None, (), ())
    assert (gpu.power_limit_w(), gpu.energy_j()) == (None, None)


def test_one_fact_that_is_kept_back_leaves_the_others(driver: PlantedDriver) -> None:
    driver.answers["nvmlDeviceGetPowerUsage"] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    state = Gpu.open().state()
    assert (state.power_w, state.temperature_c, state.sm_clock_mhz) == (None, 61, 1755)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, r"no NVIDIA driver library \(libnvidia-ml.so.1\). Install the NVIDIA driver"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, r"does not answer \(Driver Not Loaded\). Make nvidia-smi work first"),
    ],
)
def test_a_missing_driver_is_unavailable_and_says_what_to_do(code: int, text: str, monkeypatch) -> None:
    def fail() -> None:
        raise pynvml.NVMLError(code)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    with pytest.raises(Unavailable, match=text):
        Gpu.open()


def test_a_gpu_that_is_not_there_is_unavailable_and_lets_go_of_the_driver(driver: PlantedDriver) -> None:
    with pytest.raises(Unavailable, match=r"no NVIDIA GPU 2 \(Invalid Argument\)\. Run nvidia-smi -L"):
        Gpu.open("cuda:2")
    assert driver.users == 0


def test_a_closed_gpu_lets_go_of_the_driver(driver: PlantedDriver) -> None:
    gpu = Gpu.open()
    assert driver.users == 1
    gpu.close()
    assert driver.users == 0


@pytest.mark.parametrize(("index", "handle"), [(0, "first"), (1, "second")])
def test_without_gpus_of_torch_the_driver_counts(index: int, handle: str, driver: PlantedDriver, monkeypatch) -> None:
    Gpu.open(f"cuda:{index}").energy_j()
    monkeypatch.delitem(sys.modules, "torch")
    Gpu.open(f"cuda:{index}").energy_j()
    assert driver.asked == [handle, handle]


def test_a_gpu_that_torch_numbers_anew_is_found_by_its_uuid(driver: PlantedDriver, monkeypatch) -> None:
    plant_torch(monkeypatch, ["0a-b1"])
    Gpu.open("cuda").energy_j()
    assert driver.asked == ["the one with GPU-0a-b1"]


def test_a_part_of_a_gpu_is_found_under_the_name_that_the_driver_has_for_it(driver: PlantedDriver, monkeypatch) -> None:
    plant_torch(monkeypatch, ["0a-b1"])
    driver.parts = ["0a-b1"]
    Gpu.open("cuda").energy_j()
    assert driver.asked == ["the one with MIG-0a-b1"]


def test_a_gpu_without_a_name_is_the_first(driver: PlantedDriver, monkeypatch) -> None:
    plant_torch(monkeypatch, ["0a-b1", "0a-b2"])
    Gpu.open().energy_j()
    Gpu.open("cuda:1").energy_j()
    assert driver.asked == ["the one with GPU-0a-b1", "the one with GPU-0a-b2"]


@pytest.mark.parametrize("name", ["mps", "xpu:1"])
def test_a_device_whose_driver_nobody_asks_is_unavailable(name: str, driver: PlantedDriver) -> None:
    with pytest.raises(Unavailable, match=r"no library is known here that tells .* of (MPS|XPU) devices"):
        Gpu.open(name)
    assert driver.users == 0


class AmdError(Exception):
    """What AMD SMI raises."""


class PlantedAmd:
    """AMD SMI with two GPUs: answers by function name, some of them errors."""

    AmdSmiException = AmdError
    AmdSmiInitFlags = SimpleNamespace(INIT_AMD_GPUS=2)
    AmdSmiClkType = SimpleNamespace(GFX=1)
    AmdSmiTemperatureType = SimpleNamespace(HOTSPOT=1)
    AmdSmiTemperatureMetric = SimpleNamespace(CURRENT=0)

    def __init__(self) -> None:
        self.users = 0
        self.answers: dict[str, Any] = {
            "get_processor_handles": ["first", "second"],
            "get_gpu_driver_info": {"driver_version": "6.14.14"},
            "get_power_cap_info": {"power_cap": 750_000_000},
            "get_energy_count": {"energy_accumulator": 2_000_000, "counter_resolution": 15.3, "timestamp": 1},
            "get_gpu_process_list": [{"pid": OURS, "memory_usage": {"vram_mem": 7 << 20}}, {"pid": STRANGER}],
            "get_clock_info": {"clk": 1900, "max_clk": 2100},
            "get_temp_metric": 61,
            "get_power_info": {"current_socket_power": "N/A", "average_socket_power": 412},
        }

    def __getattr__(self, name: str) -> Any:
        def answer(*asked: object) -> Any:
            told = self.answers[name.removeprefix("amdsmi_")]
            if isinstance(told, Exception):
                raise told
            return told

        return answer

    def amdsmi_init(self, flags: int) -> None:
        self.users += 1

    def amdsmi_shut_down(self) -> None:
        self.users -= 1

    def amdsmi_get_gpu_device_bdf(self, handle: str) -> str:
        return {"first": "0000:03:00.0", "second": "0001:C4:00.0"}[handle]


@pytest.fixture
def amd(monkeypatch: pytest.MonkeyPatch) -> PlantedAmd:
    """Plant AMD SMI, and a torch that has its second GPU as its first."""
    planted = PlantedAmd()
    monkeypatch.setitem(sys.modules, "amdsmi", planted)
    monkeypatch.delitem(sys.modules, "rnncore.measure.amd", raising=False)
    plant_torch(monkeypatch, ["0a-b1"])
    torch = sys.modules["torch"]
    torch.version.hip = "7.2"
    places = {0: SimpleNamespace(pci_domain_id=1, pci_bus_id=0xC4, pci_device_id=0)}
    places[1] = SimpleNamespace(pci_domain_id=0, pci_bus_id=9, pci_device_id=0)
    torch.cuda.get_device_properties = places.get
    return planted


def test_amds_gpu_is_asked_by_its_makers_library_and_found_at_its_place_of_the_bus(amd: PlantedAmd) -> None:
    gpu = Gpu.open("cuda")
    assert (gpu.driver(), gpu.power_limit_w(), gpu.energy_j()) == ("6.14.14", 750.0, pytest.approx(30.6))
    assert gpu.state() == GpuState(1900, 2100, 61, 412.0, (), (STRANGER,))
    assert gpu.process_bytes() == 7 << 20
    gpu.close()
    assert amd.users == 0
    with pytest.raises(Unavailable, match=r"no AMD GPU at 0000:09:00\.0, where torch has cuda:1\. Run amd-smi list"):
        Gpu.open("cuda:1")
    assert amd.users == 0


def test_what_amds_driver_keeps_to_itself_is_none_or_empty(amd: PlantedAmd) -> None:
    handles = amd.answers["get_processor_handles"]
    amd.answers = {**dict.fromkeys(amd.answers, AmdError("not supported")), "get_processor_handles": handles}
    gpu = Gpu.open("cuda")
    assert gpu.state() == GpuState(None, None, None, None, (), ())
    assert (gpu.driver(), gpu.power_limit_w(), gpu.energy_j(), gpu.process_bytes()) == (None, None, None, None)
    # As version 6.2 and earlier named it.
    amd.answers["get_energy_count"] = {"power": 1_000_000, "counter_resolution": 15.3}
    assert gpu.energy_j() == pytest.approx(15.3)


def test_a_gpu_that_torch_does_not_see_is_unavailable(driver: PlantedDriver, monkeypatch) -> None:
    plant_torch(monkeypatch, ["0a-b1"])
    with pytest.raises(Unavailable, match=r"no NVIDIA GPU 1 \(Invalid device id\)"):
        Gpu.open("cuda:1")
    assert driver.users == 0
