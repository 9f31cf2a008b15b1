"""A run file as Python sees it: `Run`, and `Record` for each benchmark. Only here are the keys of `extra_info` known.

A key is one line of `Record`: its name, its type, and what may be there. Readers rely on that and on nothing else. Other
keys are the user's own and are left alone; so are those that end in `_why`, which are only shown.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

from rnncore.runfile.case import products_of
from rnncore.runfile.checks import (
    COUNT,
    NAME,
    NOT_NEGATIVE,
    NUMBER,
    POSITIVE,
    SECONDS,
    SIZE,
    TEXT,
    YES_NO,
    Check,
    Fault,
    joined,
    list_of,
    object_of,
    object_with,
    or_none,
    reason_of,
)
from rnncore.runfile.recipes import model_name, other_sizes

T = TypeVar("T")


class Fact(Generic[T]):
    """A key of `extra_info`, read as an attribute.

    Args:
        check: Yields what is wrong with a value.
        absent: What the attribute is where a benchmark does not record it, or records null.

    Attributes:
        key: Its name.
    """

    key: str

    def __init__(self, check: Check, absent: Any = None) -> None:
        self.check = check
        self._absent = absent

    def __set_name__(self, owner: type, name: str) -> None:
        self.key = name

    @overload
    def __get__(self, record: None, owner: type) -> Self: ...
    @overload
    def __get__(self, record: "Record", owner: type) -> T: ...
    def __get__(self, record: "Record | None", owner: type) -> Any:
        """Return the value; of the class, the fact itself."""
        if record is None:
            return self
        value = record.facts.get(self.key)
        return self._absent if value is None else value


def _panel(where: str, value: Any) -> Iterator[Fault]:
    """Check a forecast beside the actual load: as many values as hours."""
    faults = list(_PANEL(where, value))
    yield from faults
    if not faults:
        hours = len(value["hours"])
        for name, line in {"actual_mw": value["actual_mw"], **value["forecast_mw"]}.items():
            if len(line) != hours:
                yield Fault(joined(where, name), line, f"a list of {hours} numbers, one for each of its hours")


_PERCENTILE = object_with({"s": SECONDS, "low_s": SECONDS, "high_s": SECONDS})
_PROFILE = object_with(
    {
        "wall_s": SECONDS,
        "ops": list_of(
            object_with({"op": TEXT, "where": TEXT, "self_s": NOT_NEGATIVE}, calls=NUMBER, category=TEXT, shapes=TEXT)
        ),
    },
    shares_pct=object_of(NUMBER),
    trace=or_none(TEXT),
    note=TEXT,
)
_POINT = object_with({"step": NUMBER, "seconds": NOT_NEGATIVE, "loss": NUMBER, "score": POSITIVE})
_TRAINING = object_with(
    {"steps": COUNT, "seconds": NOT_NEGATIVE},
    seed=or_none(COUNT),
    preset=or_none(TEXT),
    trained_by=TEXT,
    curve=or_none(list_of(_POINT)),
)
_ROUNDS = list_of(SECONDS, fewest=1)
_GRADIENT = object_with({"bytes": POSITIVE, "ready_share": NOT_NEGATIVE})
_ALL_REDUCE = object_with({"bytes": POSITIVE, "seconds": SECONDS})
_PANEL = object_with(
    {
        "zone": TEXT,
        "hours": list_of(NUMBER, fewest=1),
        "actual_mw": list_of(NUMBER),
        "forecast_mw": object_of(list_of(NUMBER)),
    }
)


# Ceilings that no right row is above, as `<name>_ceiling_pct` calls them. That of copying memory is none of them: what stays
# in a cache is quicker.
CEILINGS = "gemm", "recurrent", "cache"


@dataclass(frozen=True)
class Summary:
    """What a run file says of rounds that it does not hold.

    Attributes:
        quickest_s: Seconds of the quickest.
        low_s: First quartile.
        median_s: Median.
        high_s: Third quartile.
        slowest_s: Seconds of the slowest.
        rounds: How many there were.
    """

    quickest_s: float
    low_s: float
    median_s: float
    high_s: float
    slowest_s: float
    rounds: int


@dataclass(frozen=True)
class Record:
    """One benchmark of a run.

    Attributes:
        fullname: File and test id; the same on every machine.
        group: What it is listed with.
        rounds_s: Seconds of every timed round; empty where the file holds none.
        facts: Of a benchmark of our suites `extra_info`: the axes, and what is recorded beside the time; of any other what
            the plugin saw of it. Read them by the attributes below. Those without None in their type are recorded by
            every right row of the phases that have them (`NEEDED_BY_PHASE`), and by benchmarks of suites alone (`has_case`).
        summary: Of the rounds, where the file holds none.
        numbers: What a benchmark of another suite put into its `extra_info` and is a number, by name.
        calls_per_round: Of how many calls a round is the mean.
    """

    fullname: str
    group: str
    rounds_s: tuple[float, ...]
    facts: Mapping[str, Any]
    summary: Summary | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    calls_per_round: int = 1

    # Axes: what was measured.
    phase = Fact[str](NAME)
    runtime = Fact[str](TEXT)
    mode = Fact[str | None](or_none(TEXT))
    device = Fact[str](TEXT)
    cell = Fact[str](or_none(NAME))
    precision = Fact[str | None](or_none(TEXT))
    hidden_size = Fact[int | None](or_none(SIZE))
    num_layers = Fact[int | None](or_none(SIZE))
    lookback = Fact[int | None](or_none(SIZE))
    batch_size = Fact[int](or_none(SIZE))
    threads = Fact[int | None](or_none(SIZE))
    clock = Fact[str | None](or_none(TEXT))
    recipe = Fact[str | None](or_none(TEXT))
    devices = Fact[int](or_none(SIZE))

    # The model and the runtime.
    features = Fact[int | None](or_none(SIZE))
    model = Fact[str | None](or_none(TEXT))
    runtime_title = Fact[str](or_none(TEXT))
    runtime_reads = Fact[str | None](or_none(TEXT))
    kernel = Fact[str | None](or_none(TEXT))
    placement = Fact[Mapping[str, str] | None](or_none(object_of(TEXT)))

    # Work, and how far from what the machine can do.
    windows = Fact[float](POSITIVE)
    served_per_s = Fact[float | None](or_none(NOT_NEGATIVE))
    gflop_per_s = Fact[float | None](or_none(NOT_NEGATIVE))
    flops_per_byte = Fact[float | None](or_none(NOT_NEGATIVE))
    us_per_step = Fact[float | None](or_none(NOT_NEGATIVE))
    bound = Fact[str | None](or_none(TEXT))
    gemm_ceiling_pct = Fact[float | None](or_none(NOT_NEGATIVE))
    recurrent_ceiling_pct = Fact[float | None](or_none(NOT_NEGATIVE))
    cache_ceiling_pct = Fact[float | None](or_none(NOT_NEGATIVE))
    bandwidth_ceiling_pct = Fact[float | None](or_none(NOT_NEGATIVE))
    ceiling_spreads_pct = Fact[Mapping[str, float]](or_none(object_of(NOT_NEGATIVE)), absent={})
    joules_per_1000 = Fact[float | None](or_none(NOT_NEGATIVE))

    # Whether the times can be believed.
    disturbed_rounds = Fact[int | None](or_none(COUNT))
    disturbance = Fact[Mapping[str, Any] | None](
        or_none(
            object_with(
                {},
                causes=or_none(object_of(COUNT)),
                median_undisturbed_s=or_none(SECONDS),
                rounds=or_none(list_of(COUNT)),
            )
        )
    )
    slot_rounds = Fact[Sequence[int] | None](or_none(list_of(SIZE)))
    instructions_per_call = Fact[float | None](or_none(POSITIVE))
    cycles_per_call = Fact[float | None](or_none(POSITIVE))
    cache_misses_per_call = Fact[float | None](or_none(POSITIVE))
    steady = Fact[bool | None](or_none(YES_NO))
    percentiles = Fact[Mapping[str, Any] | None](or_none(object_of(or_none(_PERCENTILE))))
    injected_delay_pct = Fact[float | None](or_none(NOT_NEGATIVE))
    first_call_s = Fact[float | None](or_none(SECONDS))
    window_call_s = Fact[float](or_none(SECONDS))
    p99_bound_s = Fact[float](or_none(SECONDS))
    profile = Fact[Mapping[str, Any] | None](or_none(_PROFILE))

    # Of a step by several processes: the same rounds by one process alone, of its part of the batch, of the whole, and of
    # the whole by as many threads; of its part while each takes its own; when its gradients are there; what all-reduces
    # take, and for which part of the step one is under way.
    part_alone_s = Fact[Sequence[float]](or_none(_ROUNDS))
    whole_alone_s = Fact[Sequence[float]](or_none(_ROUNDS))
    threads_alone_s = Fact[Sequence[float] | None](or_none(_ROUNDS))
    part_at_once_s = Fact[Sequence[float] | None](or_none(_ROUNDS))
    gradients = Fact[Sequence[Mapping[str, float]] | None](or_none(list_of(_GRADIENT, fewest=1)))
    all_reduces = Fact[Sequence[Mapping[str, float]]](or_none(list_of(_ALL_REDUCE, fewest=1)))
    communication_pct = Fact[float | None](or_none(NOT_NEGATIVE))

    # Memory.
    peak_rss_bytes = Fact[int | None](or_none(NOT_NEGATIVE))
    model_rss_bytes = Fact[int | None](or_none(NOT_NEGATIVE))
    process_device_bytes = Fact[int | None](or_none(NOT_NEGATIVE))
    peak_device_bytes = Fact[int | None](or_none(NOT_NEGATIVE))

    # Whether the answers are right, and how good the forecasts.
    parity_max_abs = Fact[float | None](or_none(NOT_NEGATIVE))
    smape = Fact[float](or_none(NOT_NEGATIVE))
    smape_article = Fact[float](or_none(NOT_NEGATIVE))
    smape_torch_fp32 = Fact[float | None](or_none(NOT_NEGATIVE))
    smape_by_windows = Fact[float | None](or_none(NOT_NEGATIVE))
    mae_mw = Fact[float](or_none(NOT_NEGATIVE))
    training = Fact[Mapping[str, Any]](or_none(_TRAINING))
    baselines_smape = Fact[Mapping[str, float]](or_none(object_of(NOT_NEGATIVE, fewest=1)), absent={})
    panels = Fact[Sequence[Mapping[str, Any]] | None](or_none(list_of(_panel)))
    zones = Fact[Sequence[Mapping[str, Any]] | None](
        or_none(list_of(object_with({"name": TEXT}, smape=or_none(NUMBER), smape_article=or_none(NUMBER))))
    )

    @property
    def short_name(self) -> str:
        """Test id without its file."""
        return short_name(self.fullname)

    @property
    def has_case(self) -> bool:
        """Whether it is a benchmark of a suite of ours, with axes, and not any benchmark of pytest-benchmark."""
        return has_case(self.facts)

    @property
    def rounds(self) -> int:
        """How many rounds were timed."""
        return len(self.rounds_s) if self.summary is None else self.summary.rounds

    # Kept, as are other times and the model's name: a report asks for them dozens of times.
    @cached_property
    def median_s(self) -> float:
        """Median seconds of a round."""
        return statistics.median(self.rounds_s) if self.summary is None else self.summary.median_s

    @cached_property
    def quickest_s(self) -> float:
        """Seconds of the quickest round."""
        return min(self.rounds_s) if self.summary is None else self.summary.quickest_s

    @cached_property
    def slowest_s(self) -> float:
        """Seconds of the slowest round."""
        return max(self.rounds_s) if self.summary is None else self.summary.slowest_s

    @cached_property
    def quartiles_s(self) -> tuple[float, float]:
        """First and third quartile of the seconds of a round."""
        if self.summary is not None:
            return self.summary.low_s, self.summary.high_s
        if len(self.rounds_s) < 2:
            return self.rounds_s[0], self.rounds_s[0]
        low_s, _, high_s = statistics.quantiles(self.rounds_s, n=4, method="inclusive")
        return low_s, high_s

    def ceiling_noise_pct(self, name: str) -> float:
        """Return how far above 100 % chance may bring a share, in percent.

        That is the spread of the looks at the ceiling, and half the distance between the quartiles of the rounds.

        Args:
            name: Of the ceiling, one of `CEILINGS`.
        """
        low_s, high_s = self.quartiles_s
        return self.ceiling_spreads_pct.get(f"{name}_ceiling_pct", 0.0) + 50 * (high_s - low_s) / self.median_s

    @property
    def above_ceilings(self) -> list[str]:
        """The ceilings that it is further above than chance explains: they are too low, or it did less than was counted."""
        return [
            name
            for name in CEILINGS
            if round(getattr(self, f"{name}_ceiling_pct") or 0.0) > 100 + self.ceiling_noise_pct(name)
        ]

    @property
    def slots_s(self) -> list[tuple[float, ...]]:
        """Seconds of the rounds of each slot; nothing where rounds were not timed in slots."""
        rounds_s = iter(self.rounds_s)
        return [tuple(islice(rounds_s, count)) for count in self.slot_rounds or ()]

    @cached_property
    def windows_per_s(self) -> float:
        """Windows per second at the median; of a server those that are served in time."""
        return float(self.served_per_s or 0.0) if self.phase == "serve" else self.windows / self.median_s

    @property
    def process_bytes(self) -> int | None:
        """Peak memory of a fresh process that only serves; None where it is unknown.

        Files without the model's share in it are from before: they hold the peak of the session up to then.
        """
        return self.peak_rss_bytes if "model_rss_bytes" in self.facts else None

    @property
    def whole_process_bytes(self) -> int | None:
        """The same with what the process holds of a GPU's memory, which is None where that is unknown."""
        if self.is_on_cpu or self.process_bytes is None:
            return self.process_bytes
        return None if self.process_device_bytes is None else self.process_bytes + self.process_device_bytes

    @cached_property
    def model_name(self) -> str:
        """What its model is called in tables and charts: `GRU`, `GRU fast`, `LSTM h32`."""
        return model_name(self.facts)

    @property
    def is_own_size(self) -> bool:
        """Whether its model has the sizes that its recipe has, and not those of a sweep."""
        return not other_sizes(self.facts)

    @property
    def validity(self) -> str:
        """`valid`, or why the result is wrong; a benchmark that checks nothing is taken at its word."""
        return str(self.facts.get("validity") or "valid")

    @property
    def is_valid(self) -> bool:
        """Whether the result is right."""
        return is_right(self.facts)

    @property
    def products(self) -> str | None:
        """What the factors of its products are rounded to, which a ceiling of products is of."""
        return products_of(self.precision)

    @property
    def is_on_cpu(self) -> bool:
        """Whether it ran on the CPU, and not on a device beside it."""
        return self.device == "cpu"

    @property
    def is_beside_cpu(self) -> bool:
        """Whether it ran on a device beside the CPU; of benchmarks of other suites nothing says so."""
        return self.device is not None and not self.is_on_cpu

    @property
    def has_usual_clock(self) -> bool:
        """Whether its times have what any program pays for: on a GPU the copies, from and to memory as programs have it.

        Others are shown and not ranked.
        """
        return self.clock in (None, "host")

    def why(self, fact: str) -> str | None:
        """Return the reason for which a fact is None; None where there is none."""
        why = self.facts.get(reason_of(fact))
        return None if why is None else str(why)

    def axes(self, names: Sequence[str]) -> tuple[Any, ...]:
        """Return the values of some axes, to find what is alike."""
        return tuple(self.facts.get(name) for name in names)


@dataclass(frozen=True)
class Run:
    """One run file.

    Attributes:
        path: The file.
        datetime: When it was saved, ISO 8601 in UTC.
        commit: Commit of the measured tree, with a mark for uncommitted changes; None outside git.
        fingerprint: Stable facts of the machine.
        data: Name and digest of the data set; None if no benchmark used one.
        command: The pytest command.
        skipped: Pairs of benchmark and reason.
        failed: Triples of benchmark, outcome (`error`, `out of memory`, `timed out`, `died`) and reason.
        ceilings: What the machine could do at best in the session; None in runs without them.
        session: The whole `rnncore` block of the file; empty where it has none.
        records: Its benchmarks, in order.
        digest: SHA-256 of the file.
        repeated: Benchmarks that are in the file more than once; only the last of each is in `records`.
        harness: Version of the pytest-benchmark that wrote it; None where the file does not say.
    """

    path: Path
    datetime: str
    commit: str | None
    fingerprint: dict[str, Any]
    data: dict[str, str] | None
    command: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str, str], ...]
    ceilings: dict[str, Any] | None
    session: dict[str, Any]
    records: tuple[Record, ...]
    digest: str
    repeated: tuple[str, ...] = ()
    harness: str | None = None

    @property
    def pair(self) -> int | None:
        """Number of the pair that its process was one of; None where it was alone."""
        number = self.session.get("pair")
        return None if number is None else int(number)

    def phase(self, name: str) -> list[Record]:
        """Return the records of one phase."""
        return list(self._by_phase.get(name, ()))

    @cached_property
    def _by_phase(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.phase, []).append(record)
        return found


# Where an entry of a run file has what its benchmark recorded.
EXTRA_INFO = "extra_info"

# There, of a benchmark of another suite: what the plugin saw of it, apart from what the suite records.
OWN_FACTS = "rnncore"


def short_name(fullname: str) -> str:
    """Return the test id of a benchmark without its file."""
    return fullname.split("::", 1)[-1]


def has_case(extra: Mapping[str, Any]) -> bool:
    """Say whether a benchmark is of a suite of ours; others may be in the same file, and record what they like."""
    has_axes = not {"runtime", "device"}.isdisjoint(extra)
    return bool(extra.get("phase")) and has_axes and OWN_FACTS not in extra


def facts_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts of an entry of a run file: of a benchmark of another suite, what the plugin saw of it.

    That lies among what the suite records, or where the suite has a word of that name, beside it.

    Args:
        entry: One of `benchmarks`.
    """
    extra = entry.get(EXTRA_INFO) or {}
    if has_case(extra) and OWN_FACTS not in entry:
        return extra
    found = entry.get(OWN_FACTS, extra.get(OWN_FACTS))
    return found if isinstance(found, Mapping) else {}


def put_rounds(entry: Mapping[str, Any], rounds_s: Iterable[float]) -> None:
    """Put the seconds of every round into an entry of a run file; an autosaved one lacks them."""
    entry["stats"]["data"] = list(rounds_s)


def is_right(extra: Mapping[str, Any]) -> bool:
    """Say whether a row's result is right; a benchmark that checks nothing is taken at its word."""
    return extra.get("validity") in (None, "", "valid")


# What stands in a row's `validity` where its device is one that tests emulate: no time of it is ever ranked or compared.
EMULATED = "emulated: the device was made by tests, and its times are no measurement"


def is_emulated(fingerprint: Mapping[str, Any]) -> bool:
    """Say whether the GPU of a machine is one that tests emulate, which says so by its name."""
    gpu = fingerprint.get("gpu")
    return isinstance(gpu, Mapping) and str(gpu.get("name", "")).startswith("emulated")


def is_found_right(extra: Mapping[str, Any]) -> bool:
    """Say whether a row's result was checked, and is right."""
    return extra.get("validity") == "valid"


# What a row may hold, by key.
ROW: dict[str, Check] = {
    "validity": or_none(TEXT),
    "windows_per_s": or_none(NOT_NEGATIVE),
    **{name: fact.check for name, fact in vars(Record).items() if isinstance(fact, Fact)},
}

# Facts that are numbers where they are known.
NUMERIC_FACTS = tuple(name for name, fact in vars(Record).items() if isinstance(fact, Fact) and not any(fact.check(name, 1)))

# Axes that every benchmark of a suite has, if only as null.
AXES = ("cell", "precision", "hidden_size", "num_layers", "lookback", "batch_size", "threads")

# What a row must hold, and a right one also by its phase.
NEEDED = ("windows", "device", "runtime")
NEEDED_BY_PHASE = {
    "infer": ("cell", "batch_size"),
    "train": ("cell", "batch_size"),
    "interleaved": ("cell", "batch_size"),
    "interleaved training": ("cell", "batch_size"),
    "stream": ("cell", "batch_size", "window_call_s"),
    "serve": ("cell", "batch_size", "p99_bound_s"),
    "scaling": ("cell", "batch_size", "devices", "part_alone_s", "whole_alone_s", "all_reduces"),
    "accuracy": ("cell", "smape", "smape_article", "mae_mw", "training"),
}


def faults_of_row(extra: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with the facts of a benchmark.

    A row whose result is wrong may hold NaN and infinity, as its answers did.
    """
    right = is_right(extra)
    for name, check in ROW.items():
        if name in extra:
            for fault in check(name, extra[name]):
                if right or not (isinstance(fault.value, float) and not math.isfinite(fault.value)):
                    yield fault


def missing_of_row(extra: Mapping[str, Any]) -> list[str]:
    """Return what a benchmark must record and does not; one that failed may lack what comes after its times."""
    by_phase: Sequence[str] = ()
    if is_right(extra):
        by_phase = NEEDED_BY_PHASE.get(str(extra["phase"]), ())
    return [key for key in (*NEEDED, *by_phase) if extra.get(key) is None]
