"""What is judged of a benchmark, one row each: where its value is, what counts as a change, and what it is called."""

from collections.abc import Callable
from dataclasses import dataclass

from rnncore.runfile.record import Record

# Of a row of `MEASURES`.
Measure = str

TIME = "time"


@dataclass(frozen=True)
class Bounds:
    """When a ratio counts.

    Attributes:
        change: A ratio further from 1 than this is a change, such as 0.02.
        same: An interval that lies within this of 1 is no change, such as 0.05.
        chosen: Whether the project set *change* itself.
    """

    change: float
    same: float
    chosen: bool = False

    def is_more(self, ratio: float) -> bool:
        """Say whether a ratio is beyond the bound on the slow side."""
        return ratio >= 1 + self.change

    def is_less(self, ratio: float) -> bool:
        """Say whether it is beyond the bound on the fast side: 1.02 one way is 1 / 1.02 the other."""
        return ratio <= 1 / (1 + self.change)

    def hold_same(self, low: float, high: float) -> bool:
        """Say whether a whole interval is no change."""
        return 1 / (1 + self.same) <= low and high <= 1 + self.same


@dataclass(frozen=True)
class MeasureKind:
    """A measure; more of it is never better.

    Attributes:
        title: For people.
        value: Its value in one process; None or 0 where there is none.
        bounds: What counts where a project sets nothing.
        more: What a larger value is called.
        less: What a smaller one is called.
        json_unit: Unit of its values, as JSON keys end.
        unit: Of values for people, with its size; None where it depends on the values, as of time.
        digits: Significant digits for people; None for three decimals.
    """

    title: str
    value: Callable[[Record], float | None]
    bounds: Bounds
    more: str
    less: str
    json_unit: str
    unit: tuple[float, str] | None
    digits: int | None


# Time first.
MEASURES: dict[Measure, MeasureKind] = {
    TIME: MeasureKind(
        title="time",
        value=lambda record: record.quickest_s,
        bounds=Bounds(0.02, 0.05),
        more="slower",
        less="faster",
        json_unit="s",
        unit=None,
        digits=3,
    ),
    # Of one thread, and in gates alone. The code decides how many instructions there are, and the caches how many cycles.
    "instructions": MeasureKind(
        title="instructions",
        value=lambda record: record.instructions_per_call,
        bounds=Bounds(0.005, 0.01),
        more="higher",
        less="lower",
        json_unit="count",
        unit=(1e6, "million"),
        digits=4,
    ),
    "cycles": MeasureKind(
        title="CPU cycles",
        value=lambda record: record.cycles_per_call,
        bounds=Bounds(0.02, 0.05),
        more="higher",
        less="lower",
        json_unit="count",
        unit=(1e6, "million"),
        digits=4,
    ),
    "memory": MeasureKind(
        title="peak memory",
        value=lambda record: record.process_bytes if record.peak_device_bytes is None else record.peak_device_bytes,
        # Allocators round up, and libraries keep what they once took.
        bounds=Bounds(0.05, 0.10),
        more="larger",
        less="smaller",
        json_unit="bytes",
        unit=(2.0**20, "MiB"),
        digits=4,
    ),
    "smape": MeasureKind(
        title="sMAPE",
        value=lambda record: record.smape,
        # Of the same seed, data and machine: sums in another order change the last digits of a weight, and little else.
        bounds=Bounds(0.005, 0.01),
        more="higher",
        less="lower",
        json_unit="pct",
        unit=(1.0, "%"),
        digits=None,
    ),
}

BESIDE_TIME = tuple(name for name in MEASURES if name != TIME)
