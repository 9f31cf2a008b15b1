"""Tests of the energy of calls, with planted counters, a planted GPU and a planted clock."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rnncore.errors import Unavailable
from rnncore.measure import energy
from rnncore.measure.energy import joules_per_1000
from rnncore.measure.gpu import Gpu

RANGE_UJ = 262_143_328_850


class Call:
    """A call of 0.2 s, or as long as is asked, that works through 50 windows and moves counters as a test asks."""

    windows = 50

    def __init__(self, move: Callable[[], None] = lambda: None, takes_s: float = 0.2, begins_s: float = 0.0) -> None:
        self.move, self.takes_s = move, takes_s
        self.calls = 0
        self.now_s = begins_s

    def __call__(self) -> None:
        self.calls += 1
        self.now_s += self.takes_s
        self.move()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Call, str], tuple[float | None, str | None]]:
    """Return a function that takes the energy of a call while the call itself moves the clock."""

    def measure(call: Call, device: str) -> tuple[float | None, str | None]:
        monkeypatch.setattr(energy, "perf_counter", lambda: call.now_s)
        return joules_per_1000(call, call.windows, device)

    return measure


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(energy, "_POWERCAP", tmp_path)
    return tmp_path


def plant(powercap: Path, domain: str, name: str, energy_uj: int = 0) -> Path:
    """Plant one domain and return the file of its counter."""
    folder = powercap / domain
    folder.mkdir()
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")
    counter = folder / "energy_uj"
    counter.write_text(f"{energy_uj}\n")
    return counter


def move(counter: Path, by_uj: int) -> None:
    counter.write_text(f"{(int(counter.read_text()) + by_uj) % RANGE_UJ}\n")


POWER_W, STEP_S = 300.0, 0.1


class PlantedGpu:
    """A GPU that uses a constant power and tells of it in steps, until it stops counting."""

    def __init__(
        self,
        now_s: Callable[[], float],
        counts_until_s: float = math.inf,
        power_w: float = POWER_W,
        moves_until_s: float = math.inf,
    ) -> None:
        self.now_s, self.counts_until_s, self.power_w, self.moves_until_s = now_s, counts_until_s, power_w, moves_until_s
        self.closed = False

    def energy_j(self) -> float | None:
        if self.now_s() >= self.counts_until_s:
            return None
        return 1e6 + self.power_w * STEP_S * math.floor(min(self.now_s(), self.moves_until_s) / STEP_S)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def plant_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[PlantedGpu], PlantedGpu]:
    def plant_one(gpu: PlantedGpu) -> PlantedGpu:
        monkeypatch.setattr(Gpu, "open", lambda device: gpu)
        return gpu

    return plant_one


def test_calls_are_repeated_until_half_a_second_is_over(powercap: Path, measured) -> None:
    counter = plant(powercap, "intel-rapl:0", "package-0")
    call = Call(lambda: move(counter, 1))
    measured(call, "cpu")
    assert call.calls == 3


def test_energy_of_a_call_is_divided_by_its_windows(powercap: Path, measured) -> None:
    counter = plant(powercap, "intel-rapl:0", "package-0", energy_uj=7_000_000)
    call = Call(lambda: move(counter, 6_000_000))
    # 6 J for 50 windows, whatever the number of calls.
    assert measured(call, "cpu") == (pytest.approx(120.0), None)


def test_a_counter_that_starts_again_gives_the_same_energy(powercap: Path, measured) -> None:
    counter = plant(powercap, "intel-rapl:0", "package-0", energy_uj=RANGE_UJ - 7_000_000)
    call = Call(lambda: move(counter, 6_000_000))
    assert measured(call, "cpu") == (pytest.approx(120.0), None)
    assert int(counter.read_text()) < RANGE_UJ - 7_000_000


def test_packages_are_added_and_what_is_in_them_or_holds_them_is_not(powercap: Path, measured) -> None:
    packages = [plant(powercap, f"intel-rapl:{number}", f"package-{number}") for number in (0, 1)]
    part = plant(powercap, "intel-rapl:0:0", "dram")
    platform = plant(powercap, "intel-rapl:2", "psys")

    def use() -> None:
        move(packages[0], 2_000_000)
        move(packages[1], 4_000_000)
        move(part, 1_000_000)
        move(platform, 9_000_000)

    assert measured(Call(use), "cpu") == (pytest.approx(120.0), None)


def test_a_counter_that_stands_still_is_no_energy(powercap: Path, measured) -> None:
    plant(powercap, "intel-rapl:0", "package-0", energy_uj=5)
    assert measured(Call(), "cpu") == (None, "the energy counter stood still")


def test_without_counters_nothing_is_called(powercap: Path, measured) -> None:
    call = Call()
    (powercap / "intel-rapl").mkdir()
    assert measured(call, "cpu") == (None, "this machine has no RAPL counters")
    assert call.calls == 0


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PermissionError(13, "Permission denied"), r"readable by root only: chmod a\+r .*/intel-rapl:[*]/energy_uj as root"),
        (OSError(61, "No data available"), r"cannot be read \(No data available\)"),
    ],
)
def test_counters_that_cannot_be_read_say_why_and_nothing_is_called(
    error: OSError, why: str, powercap: Path, measured, monkeypatch
) -> None:
    plant(powercap, "intel-rapl:0", "package-0")
    read = Path.read_text

    def refuse(path: Path, **how: str) -> str:
        if path.name == "energy_uj":
            raise error
        return read(path, **how)

    monkeypatch.setattr(Path, "read_text", refuse)
    call = Call()
    value, reason = measured(call, "cpu")
    assert value is None
    assert re.search(why, reason)
    assert call.calls == 0


@pytest.mark.parametrize("begins_s", [0.0, 0.004, 0.05, 0.099])
@pytest.mark.parametrize("takes_s", [0.0007, 0.013, 0.37])
def test_energy_on_a_gpu_is_the_gpus_to_a_percent_though_its_counter_moves_in_steps(
    takes_s: float, begins_s: float, measured, plant_gpu
) -> None:
    call = Call(takes_s=takes_s, begins_s=begins_s)
    gpu = plant_gpu(PlantedGpu(lambda: call.now_s))
    joules, why = measured(call, "cuda")
    right = 1000 * POWER_W * takes_s / call.windows
    # A call that is longer than a step sees it late, by a step at most.
    assert joules == pytest.approx(right, rel=0.01 if takes_s < STEP_S else 0.04)
    assert why is None
    assert gpu.closed


def test_a_gpu_that_does_not_count_is_not_called_and_closed(measured, plant_gpu) -> None:
    call = Call()
    gpu = plant_gpu(PlantedGpu(lambda: call.now_s, counts_until_s=0.0))
    assert measured(call, "cuda") == (None, "this GPU does not count its energy")
    assert (call.calls, gpu.closed) == (0, True)


@pytest.mark.parametrize("until_s", [0.1, 2.0])
def test_a_gpu_that_stops_counting_has_a_reason(until_s: float, measured, plant_gpu) -> None:
    call = Call()
    plant_gpu(PlantedGpu(lambda: call.now_s, counts_until_s=until_s))
    assert measured(call, "cuda") == (None, "the GPU stopped counting its energy")


def test_a_gpu_whose_counter_stands_still_has_a_reason_after_seconds(measured, plant_gpu) -> None:
    call = Call()
    plant_gpu(PlantedGpu(lambda: call.now_s, power_w=0.0))
    assert measured(call, "cuda") == (None, "the energy counter stood still")
    assert call.now_s < 10


@pytest.mark.parametrize("until_s", [0.05, 1.0, 2.9])
def test_a_counter_that_stands_still_on_the_way_gives_no_part_of_the_energy(until_s: float, measured, plant_gpu) -> None:
    call = Call(takes_s=0.013)
    gpu = plant_gpu(PlantedGpu(lambda: call.now_s, moves_until_s=until_s))
    assert measured(call, "cuda") == (None, "the energy counter stood still")
    assert call.now_s < 10
    assert gpu.closed


def test_without_a_gpu_nothing_is_called(measured, monkeypatch) -> None:
    def fail(device: object) -> None:
        raise Unavailable("no made GPU: install its driver")

    monkeypatch.setattr(Gpu, "open", fail)
    call = Call()
    assert measured(call, "cuda") == (None, "no made GPU: install its driver")
    assert call.calls == 0
