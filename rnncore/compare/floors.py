"""What a machine's noise hides: from processes of identical code, the smallest slowdown that a gate can see there.

Gates are drawn from the recorded processes in runs of neighbours, so that a burst of other load keeps its length, and their
processes dealt to the sides alternately as a real gate deals them. What such a gate would have needed to call a benchmark
slower follows from its interval, since a slowdown shifts all times of a side alike.

Source:
    Politis, D. N. & Romano, J. P. (1992). A circular block-resampling procedure for stationary data. In LePage & Billard
    (eds.), Exploring the Limits of Bootstrap, 263-270.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnncore.compare.judge import FAMILY_ERROR
from rnncore.compare.looks import LOOKS, TURNS
from rnncore.compare.measures import MEASURES, TIME
from rnncore.compare.ranks import compare_sides
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import ConfigError, RunFileError
from rnncore.files import write_text
from rnncore.runfile.checks import words
from rnncore.runfile.machine import differences
from rnncore.runfile.record import Run
from rnncore.runfile.schema import NOISE

# Processes per side for which floors are kept.
KEPT_SIDES = (6, 8, 12, 16, 24, 32, 48, 64, 96)

# Gates that are drawn for each floor, and neighbours that are drawn together.
DRAWN_GATES = 200
NEIGHBOURS = 20
SEED = 0

# A gate's last look has this part of its error to spend.
LAST_LOOK = LOOKS[-1] ** 2 - LOOKS[-2] ** 2

# Part of the gates of identical code that stay below the floor, and of those that find a slowdown that is called visible.
BELOW_FLOOR = 0.99
FOUND = 0.8

# By how much of itself, at most, a value differs from another drawing of it.
_APART = 1e-9

# Benchmarks that a message names; it counts the rest.
_NAMED = 3


@dataclass(frozen=True)
class Floor:
    """What the noise of one benchmark hides from a gate of *processes* processes a side.

    Attributes:
        processes: Processes per side.
        wander: Change that 99 of 100 gates of identical code stay below, such as 0.02: a threshold must lie above it.
        visible: Smallest slowdown, such as 0.03, that 4 of 5 gates call by the thresholds of then; None where none would.
    """

    processes: int
    wander: float
    visible: float | None


@dataclass(frozen=True)
class NoiseRecord:
    """Processes of identical code on one machine, and what their noise hides.

    Attributes:
        fingerprint: Stable facts of the machine.
        scale: Of the grid.
        datetime: When it was recorded.
        process_s: Median seconds of a process, imports included.
        quickest_s: Quickest round of each process in the order they ran, by benchmark.
        floors: By benchmark, from few processes to many.
    """

    fingerprint: Mapping[str, Any]
    scale: str
    datetime: str
    process_s: float
    quickest_s: Mapping[str, Sequence[float]]
    floors: Mapping[str, Sequence[Floor]]


def record_noise(
    runs: Sequence[Run], walls_s: Sequence[float], thresholds: Thresholds, sides: Iterable[int] = KEPT_SIDES
) -> NoiseRecord:
    """Make a record from processes of identical code.

    Args:
        runs: In the order they ran. A benchmark that failed in any of them is left out.
        walls_s: Seconds of each.
        thresholds: How large a change must be to be called.
        sides: Processes per side that floors are worked out for.

    Raises:
        ConfigError: If no benchmark was measured in all processes.
    """
    values: dict[str, list[float]] = {}
    for run in runs:
        for record in run.records:
            if record.is_valid:
                values.setdefault(record.fullname, []).append(record.quickest_s)
    whole = {name: quickest for name, quickest in values.items() if len(quickest) == len(runs)}
    if not whole:
        raise ConfigError("no benchmark was measured in all processes. Run 'pytest bench/ --rnn-scale gate' to see why.")
    floors = {
        name: tuple(
            _floor(np.asarray(quickest), processes, thresholds.bounds(name, TIME).change, len(whole))
            for processes in sorted(sides)
        )
        for name, quickest in whole.items()
    }
    first = runs[0]
    process_s = float(np.median(walls_s))
    return NoiseRecord(first.fingerprint, str(first.session.get("scale")), first.datetime, process_s, whole, floors)


def floor_at(record: NoiseRecord, fullname: str, processes: int) -> Floor:
    """Return the floor of the most processes that are no more than these; the first where there are fewer."""
    floors = record.floors[fullname]
    return max((one for one in floors if one.processes <= processes), key=lambda one: one.processes, default=floors[0])


def write_noise(store: Path, record: NoiseRecord) -> Path:
    """Keep the noise of a machine, in place of what was known of it; return the file."""
    path = next((path for path, _ in _noise_of(store, record.fingerprint, record.scale, damaged=False)), None)
    if path is None:
        text = json.dumps([record.fingerprint, record.scale], sort_keys=True)
        # Not .json: those are run files in a store.
        path = store / "noise" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
    write_text(path, json.dumps(asdict(record)) + "\n")
    return path


def read_noise(store: Path, fingerprint: Mapping[str, Any], scale: str) -> NoiseRecord | None:
    """Return what is known of a machine's noise, or None.

    Raises:
        RunFileError: If the file is damaged.
    """
    found = [record for _, record in _noise_of(store, fingerprint, scale, damaged=True)]
    return max(found, key=lambda record: record.datetime, default=None)


def _noise_of(store: Path, fingerprint: Mapping[str, Any], scale: str, damaged: bool) -> Iterator[tuple[Path, NoiseRecord]]:
    """Yield what is kept of one machine; a file that is damaged is an error, or passed over."""
    for path in sorted((store / "noise").glob("*.jsonl")):
        try:
            record = _read_record(path)
        except RunFileError:
            if damaged:
                raise
            continue
        if record.scale == scale and not differences(record.fingerprint, fingerprint):
            yield path, record


def _read_record(path: Path) -> NoiseRecord:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        for fault in NOISE("", content):
            raise ValueError(words(fault))
        floors = {name: tuple(Floor(**one) for one in kept) for name, kept in content["floors"].items()}
        return NoiseRecord(**{**content, "floors": floors})
    except (OSError, ValueError, TypeError) as error:
        raise RunFileError(
            f"{path}: not a record of noise ({error}). Delete it. Make it again with 'rnncore noise'."
        ) from error


def above_noise(thresholds: Thresholds, record: NoiseRecord | None, processes: int) -> Thresholds:
    """Return thresholds that lie above a machine's noise: defaults are lifted, and a note says so.

    Args:
        thresholds: Of the project.
        record: The machine's noise; None where it was not measured.
        processes: Processes per side that there are, or will be. One can only warn, whatever the threshold.

    Raises:
        ConfigError: If a threshold that the project set lies below the noise.
    """
    if record is None or processes < 2:
        return thresholds
    lifted: dict[str, float] = {}
    refused: list[str] = []
    for fullname in record.floors:
        bounds, smallest = thresholds.bounds(fullname, TIME), floor_at(record, fullname, processes).wander
        if bounds.change >= smallest:
            continue
        if bounds.chosen:
            refused.append(_refusal(record, fullname, bounds.change, smallest))
        else:
            lifted[fullname] = smallest
    if refused:
        raise ConfigError(
            f"{thresholds.source}: {processes} processes a side cannot tell from noise, as 'rnncore noise' found on "
            f"{record.datetime[:10]}: {'; '.join(_first_few(refused))}. Set higher thresholds, or measure as many processes."
        )
    if not lifted:
        return thresholds
    listed = [f"{fullname.split('::', 1)[-1]} {100 * change:.1f} %" for fullname, change in lifted.items()]
    note = (
        f"This machine's noise ('rnncore noise', {record.datetime[:10]}) hides changes below, with {processes} processes a "
        f"side: {', '.join(_first_few(listed))}. Smaller ones are not called there."
    )
    return replace(thresholds, floors=lifted, notes=(note,))


def _refusal(record: NoiseRecord, fullname: str, change: float, smallest: float) -> str:
    enough = next((one.processes for one in record.floors[fullname] if one.wander <= change), None)
    needed = f"more than {record.floors[fullname][-1].processes}" if enough is None else str(enough)
    minutes = "" if enough is None else f" ({2 * enough * record.process_s / 60:.0f} min)"
    name = fullname.split("::", 1)[-1]
    return f"{100 * change:g} % of {name}, where the noise floor is {100 * smallest:.1f} % and {needed} are needed{minutes}"


def _first_few(texts: Sequence[str]) -> Iterator[str]:
    yield from texts[:_NAMED]
    if len(texts) > _NAMED:
        yield f"and {len(texts) - _NAMED} more"


def _floor(values: npt.NDArray[np.float64], processes: int, change: float, members: int) -> Floor:
    """Work out what noise hides.

    Args:
        values: One per process of identical code, in the order they ran. Shape (n,).
        processes: Per side of the gates.
        change: How large a change must be to be called.
        members: Benchmarks that are tested together.
    """
    error = FAMILY_ERROR * LAST_LOOK * MEASURES[TIME].error_share / members
    rng = np.random.default_rng(SEED)
    wander, needed = [], []
    for _ in range(DRAWN_GATES):
        base, head = _drawn_gate(rng, values, processes)
        ratio = compare_sides(base, head, error)
        wander.append(max(ratio.estimate, 1 / ratio.estimate) - 1)
        needed.append(math.inf if ratio.low is None else max(1 / ratio.low, (1 + change) / ratio.estimate) - 1)
    visible = float(np.quantile(needed, FOUND, method="higher"))
    return Floor(processes, float(np.quantile(wander, BELOW_FLOOR)), visible if math.isfinite(visible) else None)


def _drawn_gate(
    rng: np.random.Generator, values: npt.NDArray[np.float64], processes: int
) -> tuple[list[float], list[float]]:
    """Draw runs of neighbouring processes, the last joined to the first, and deal them to two sides alternately."""
    together = min(NEIGHBOURS, len(values))
    starts = rng.integers(len(values), size=math.ceil(2 * processes / together))
    drawn = [float(values[(start + step) % len(values)]) for start in starts for step in range(together)]
    # A process that is drawn twice is two processes, and no two are equal to the last digit.
    drawn = [value * (1 + _APART * float(rng.random())) for value in drawn]
    swap = int(rng.integers(2))
    sides: tuple[list[float], list[float]] = ([], [])
    for position, value in enumerate(drawn[: 2 * processes]):
        sides[TURNS[position % len(TURNS)] ^ swap].append(value)
    return sides
