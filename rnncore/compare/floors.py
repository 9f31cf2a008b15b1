"""What a machine's noise hides: from processes of identical code, the smallest slowdown that a gate can see there.

Gates are drawn from the recorded processes in runs of neighbours, so that a burst of other load keeps its length, and their
processes dealt to the sides in turn as a real gate deals them. What such a gate would have needed to call a benchmark slower
follows from its interval, since a slowdown shifts all times of a side alike.

Source:
    Politis, D. N. & Romano, J. P. (1992). A circular block-resampling procedure for stationary data. In LePage & Billard
    (eds.), Exploring the Limits of Bootstrap, 263-270.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnncore.compare.judge import ERROR_SHARES, FAMILY_ERROR
from rnncore.compare.ranks import compare_sides
from rnncore.compare.runs import Run
from rnncore.compare.thresholds import Bounds
from rnncore.errors import RunFileError
from rnncore.files import write_text

# Gates that are drawn for each figure, and neighbours that are drawn together.
DRAWN_GATES = 200
NEIGHBOURS = 20
SEED = 0

# Which side a process falls to, in turn: 0 is the base.
TURNS = (0, 1, 1, 0)

# The last look has this part of the error to spend: 1 less the square of 0.8.
LAST_LOOK = 0.36

# How often a slowdown of the size that is called visible is found.
FOUND = 0.8


@dataclass(frozen=True)
class NoiseRecord:
    """Processes of identical code on one machine.

    Attributes:
        fingerprint: Stable facts of the machine.
        scale: Of the grid.
        datetime: When it was recorded.
        process_s: Median seconds of a process, imports included.
        quickest_s: Quickest round of each process in the order they ran, by benchmark.
    """

    fingerprint: Mapping[str, Any]
    scale: str
    datetime: str
    process_s: float
    quickest_s: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Floor:
    """What the noise of one benchmark hides from a gate of so many processes a side.

    Attributes:
        fullname: The benchmark.
        processes: Processes per side.
        wander: Ratio that gates of identical code stay below, 99 of 100 of them: a threshold must lie above it.
        visible: Smallest slowdown, as a ratio, that 4 of 5 gates call; infinite where none would.
    """

    fullname: str
    processes: int
    wander: float
    visible: float


def record_noise(runs: Sequence[Run], walls_s: Sequence[float]) -> NoiseRecord:
    """Make a record from the processes of an A/A run.

    Args:
        runs: In the order they ran.
        walls_s: Seconds of each.
    """
    names = [record.fullname for record in runs[0].records]
    values = {name: [min(one.rounds_s) for run in runs for one in run.records if one.fullname == name] for name in names}
    whole = {name: quickest for name, quickest in values.items() if len(quickest) == len(runs)}
    first = runs[0]
    return NoiseRecord(first.fingerprint, str(first.session["scale"]), first.datetime, float(np.median(walls_s)), whole)


def noise_path(store: Path, fingerprint: Mapping[str, Any], scale: str) -> Path:
    """Return where the noise of a machine is kept."""
    text = json.dumps([fingerprint, scale], sort_keys=True)
    return store / "noise" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def write_noise(store: Path, record: NoiseRecord) -> Path:
    """Keep the noise of a machine, in place of what was known of it; return the file."""
    path = noise_path(store, record.fingerprint, record.scale)
    write_text(path, json.dumps(asdict(record), indent=1) + "\n")
    return path


def read_noise(store: Path, fingerprint: Mapping[str, Any], scale: str) -> NoiseRecord | None:
    """Return what is known of a machine's noise, or None.

    Raises:
        RunFileError: If the file is damaged.
    """
    path = noise_path(store, fingerprint, scale)
    if not path.is_file():
        return None
    try:
        return NoiseRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RunFileError(f"{path}: not a record of noise ({error}). Make it again with 'rnncore noise'.") from error


def floor(record: NoiseRecord, fullname: str, bounds: Bounds, processes: int) -> Floor:
    """Say what noise hides of one benchmark.

    Args:
        record: The machine's noise.
        fullname: A benchmark of the record.
        bounds: How large a change must be.
        processes: Processes per side of the gate.
    """
    values = np.asarray(record.quickest_s[fullname], dtype=np.float64)
    error = FAMILY_ERROR * LAST_LOOK * ERROR_SHARES["time"] / len(record.quickest_s)
    rng = np.random.default_rng(SEED)
    wander, needed = [], []
    for _ in range(DRAWN_GATES):
        base, head = _drawn_gate(rng, values, processes)
        ratio = compare_sides(base, head, error)
        wander.append(max(ratio.estimate, 1 / ratio.estimate))
        needed.append(math.inf if ratio.low is None else max(1 / ratio.low, (1 + bounds.change) / ratio.estimate))
    return Floor(
        fullname,
        processes,
        float(np.quantile(wander, 0.99)),
        float(np.quantile(needed, FOUND, method="higher")),
    )


def processes_for(record: NoiseRecord, fullname: str, bounds: Bounds, wanted: float) -> int | None:
    """Return how many processes a side make a slowdown visible, or None where ten times the record would not.

    Args:
        record: The machine's noise.
        fullname: A benchmark of the record.
        bounds: How large a change must be.
        wanted: The slowdown, as a ratio above the bound.
    """
    most = 5 * len(record.quickest_s[fullname])
    processes = 6
    while processes <= most:
        if floor(record, fullname, bounds, processes).visible <= wanted:
            return processes
        processes = math.ceil(processes * 1.25)
    return None


def _drawn_gate(
    rng: np.random.Generator, values: np.ndarray[Any, np.dtype[np.float64]], processes: int
) -> tuple[list[float], list[float]]:
    """Draw runs of neighbouring processes, the last joined to the first, and deal them to two sides in turn."""
    together = min(NEIGHBOURS, len(values))
    starts = rng.integers(len(values), size=math.ceil(2 * processes / together))
    drawn = [float(values[(start + step) % len(values)]) for start in starts for step in range(together)]
    swap = int(rng.integers(2))
    sides: tuple[list[float], list[float]] = ([], [])
    for position, value in enumerate(drawn[: 2 * processes]):
        sides[TURNS[position % len(TURNS)] ^ swap].append(value)
    return sides
