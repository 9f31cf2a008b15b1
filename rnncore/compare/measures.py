"""What is judged of a benchmark, one row each: where its value is, what counts as a change, and what it is called."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from rnncore.runfile.record import Record

# A key of `MEASURES`, or what `number_measure` returns.
Measure = str

TIME = "time"

# Before the name of a number that a benchmark of another suite records, and that its project wants to have judged.
_NUMBERS = "numbers."


@dataclass(frozen=True)
class Bounds:
    """When a ratio counts.

    Attributes:
        change: A ratio further from 1 than this is a change, such as 0.02.
        same: An interval that lies within this of 1 is no change, such as 0.05.
        chosen: Whether the project set *change* itself.
        higher_is_better: Whether more is better, as of no measure in `MEASURES`.
    """

    change: float
    same: float
    chosen: bool = False
    higher_is_better: bool = False

    def is_worse(self, ratio: float) -> bool:
        """Say whether a ratio is beyond the bound on the bad side."""
        return self._is_less(ratio) if self.higher_is_better else self._is_more(ratio)

    def is_better(self, ratio: float) -> bool:
        """Say whether it is beyond the bound on the good side."""
        return self._is_more(ratio) if self.higher_is_better else self._is_less(ratio)

    def is_beyond(self, ratio: float) -> bool:
        """Say whether it is beyond the bound on either side."""
        return self._is_more(ratio) or self._is_less(ratio)

    def hold_same(self, low: float, high: float) -> bool:
        """Say whether a whole interval is no change."""
        return 1 / (1 + self.same) <= low and high <= 1 + self.same

    def _is_more(self, ratio: float) -> bool:
        return ratio >= 1 + self.change

    def _is_less(self, ratio: float) -> bool:
        # 1.02 one way is 1 / 1.02 the other.
        return ratio <= 1 / (1 + self.change)


@dataclass(frozen=True)
class MeasureKind:
    """A measure.

    Attributes:
        title: For people.
        value: Its value in one process; None where there is none.
        bounds: What counts where a project sets nothing; of a number it sets what counts itself.
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


def _known(value: float | None) -> float | None:
    """Return a value above 0; None for 0, which has no ratio."""
    return value or None


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
        # A process without any is one of which it is not known.
        value=lambda record: _known(record.process_bytes if record.peak_device_bytes is None else record.peak_device_bytes),
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
        # That of a forecast without any error has no ratio.
        value=lambda record: _known(record.smape),
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


def number_measure(name: str) -> Measure:
    """Return the measure that a number of a benchmark of another suite is, by the name it was recorded under."""
    return f"{_NUMBERS}{name}"


def number_of(measure: Measure) -> str | None:
    """Return the name of the number that a measure is; None of one in `MEASURES`."""
    return None if measure in MEASURES else measure.removeprefix(_NUMBERS)


@cache
def kind_of(measure: Measure) -> MeasureKind:
    """Return what is known of a measure."""
    name = number_of(measure)
    if name is None:
        return MEASURES[measure]
    return MeasureKind(
        title=name,
        value=lambda record: record.numbers.get(name),
        bounds=Bounds(0.02, 0.05),
        more="higher",
        less="lower",
        json_unit="value",
        unit=(1.0, ""),
        digits=4,
    )
