"""Energy of repeated calls, taken in rounds that nobody times."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from time import perf_counter

from rnncore.errors import Unavailable
from rnncore.forecast.device import Device
from rnncore.measure.gpu import Gpu

# A CPU's counters move every millisecond.
ENERGY_S = 0.5
# A GPU's moves in steps of up to a tenth of a second: what counts begins at one step and ends at another. One that
# has none for the second of these times stands still.
GPU_ENERGY_S = 3.0
GPU_STEP_S = 1.0

_STOOD_STILL = "the energy counter stood still"

_POWERCAP = Path("/sys/class/powercap")


def joules_per_1000(call: Callable[[], object], windows: int, device: str) -> tuple[float | None, str | None]:
    """Repeat *call* for at least `ENERGY_S`, on a GPU `GPU_ENERGY_S`, and return the energy that 1000 windows take.

    On the CPU it is the energy of all its packages, whatever else runs on them, without memory. On the GPU it is the
    energy of its board alone, without the host's.

    Args:
        call: What to run; it must return only when its work is done, on a GPU too. Never run where nothing counts energy.
        windows: Windows that one call works through.
        device: A device's name.

    Returns:
        The energy in joules and None, or None and the reason where nothing counts it.
    """
    if Device.named(device).is_cpu:
        return _cpu_joules(call, windows)
    try:
        with closing(Gpu.open(device)) as gpu:
            if gpu.energy_j() is None:
                return None, "this GPU does not count its energy"
            _, before_j = _until_step(gpu, call, 0.0)
            calls, after_j = _until_step(gpu, call, GPU_ENERGY_S)
    except Unavailable as error:
        return None, str(error)
    return _per_1000(after_j - before_j, calls * windows)


def _cpu_joules(call: Callable[[], object], windows: int) -> tuple[float | None, str | None]:
    try:
        # Of whole packages: not their parts, nor a platform that counts the packages again.
        domains = sorted(_POWERCAP.glob("intel-rapl:*"))
        packages = [domain for domain in domains if (domain / "name").read_text(encoding="utf-8").startswith("package")]
        if not packages:
            return None, "this machine has no RAPL counters"
        before_uj = [_number(package / "energy_uj") for package in packages]
        ranges_uj = [_number(package / "max_energy_range_uj") for package in packages]
    except PermissionError:
        return None, f"energy counters are readable by root only: chmod a+r {_POWERCAP}/intel-rapl:*/energy_uj as root"
    except OSError as error:
        return None, f"the energy counters cannot be read ({error.strerror})"
    calls = _repeat(call, ENERGY_S)
    after_uj = [_number(package / "energy_uj") for package in packages]
    counters = zip(before_uj, after_uj, ranges_uj, strict=True)
    # A counter starts again at 0 after the largest that it can show.
    used_uj = sum(after - before if after >= before else after - before + largest for before, after, largest in counters)
    return _per_1000(used_uj / 1e6, calls * windows)


def _number(path: Path) -> int:
    return int(path.read_text(encoding="utf-8"))


def _until_step(gpu: Gpu, call: Callable[[], object], for_s: float) -> tuple[int, float]:
    """Run *call* for some seconds, and on until the counter of the GPU moves.

    Returns:
        How often, and what the counter shows then, in joules.

    Raises:
        Unavailable: If it has stopped counting, or stands still: what it showed before says nothing of the calls since.
    """
    calls, shown_j, began_s = _repeat(call, for_s), gpu.energy_j(), perf_counter()
    while perf_counter() - began_s < GPU_STEP_S:
        call()
        calls += 1
        if (now_j := gpu.energy_j()) is None:
            raise Unavailable("the GPU stopped counting its energy")
        if now_j != shown_j:
            return calls, now_j
    raise Unavailable(_STOOD_STILL)


def _repeat(call: Callable[[], object], for_s: float) -> int:
    """Run *call* for some seconds and return how often."""
    start_s = perf_counter()
    calls = 0
    while perf_counter() - start_s < for_s:
        call()
        calls += 1
    return calls


def _per_1000(joules: float, windows: int) -> tuple[float | None, str | None]:
    return (1000 * joules / windows, None) if joules > 0 else (None, _STOOD_STILL)
