"""What a machine's noise hides: from pairs of identical code, the smallest slowdown that a gate can see there.

Gates are drawn from the recorded pairs in runs of neighbours, so that a burst of other load keeps its length, the sides of
each by chance as in a real gate. A slowdown shifts the log ratios of all pairs alike: the smallest shift that the gate's
test would call is what it would have seen.

Source:
    Politis, D. N. & Romano, J. P. (1992). A circular block-resampling procedure for stationary data. In LePage & Billard
    (eds.), Exploring the Limits of Bootstrap, 263-270.
"""

import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnncore.compare.judge import FAMILY_ERROR, Side, log_ratios
from rnncore.compare.looks import LAST_LOOK
from rnncore.compare.measures import TIME
from rnncore.compare.signs import means_of_two, visible_shifts
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import ConfigError, RunFileError
from rnncore.files import write_text
from rnncore.runfile.checks import words
from rnncore.runfile.machine import differences
from rnncore.runfile.record import Run, short_name
from rnncore.runfile.schema import NOISE

# Numbers of pairs for which floors are kept.
KEPT_SIZES = (8, 10, 12, 14, 16, 20, 24, 32)

# Gates that are drawn for each floor, and neighbours that are drawn together.
DRAWN_GATES = 200
NEIGHBOURS = 4
SEED = 0

# The same while a gate runs, which must not wait for long.
SIZES_SO_FAR = (10, 14, 20, 28, 40)
DRAWN_SO_FAR = 25
FEWEST_SO_FAR = 6

# Part of the gates of identical code that stay below the floor, and of those that find a slowdown that is called visible.
BELOW_FLOOR = 0.99
FOUND = 0.8

# Slowdowns that are tried, as log ratios: by a tenth of a percent, then by a twentieth of themselves.
TRIED_SHIFTS = tuple(np.concatenate([np.arange(0.001, 0.05, 0.001), np.geomspace(0.05, 1.0, 62)]).tolist())

# Benchmarks that a message names; it counts the rest.
_NAMED = 3


@dataclass(frozen=True)
class Floor:
    """What the noise of one benchmark hides from a gate of *pairs* pairs.

    Attributes:
        pairs: Pairs of the gate.
        wander: Change that 99 of 100 gates of identical code stay below, such as 0.02: a threshold must lie above it.
        visible: Smallest slowdown, such as 0.03, that 4 of 5 gates call by the thresholds of then; None where none would.
    """

    pairs: int
    wander: float
    visible: float | None


@dataclass(frozen=True)
class NoiseRecord:
    """Pairs of identical code on one machine, and what their noise hides.

    Attributes:
        fingerprint: Stable facts of the machine.
        scale: Of the grid.
        datetime: When it was recorded.
        pair_s: Median seconds of a pair, imports included.
        log_ratios: Logarithm of one side over the other of each pair in the order they ran, by benchmark.
        floors: By benchmark, from few pairs to many.
    """

    fingerprint: Mapping[str, Any]
    scale: str
    datetime: str
    pair_s: float
    log_ratios: Mapping[str, Sequence[float]]
    floors: Mapping[str, Sequence[Floor]]


def record_noise(
    pairs: Sequence[tuple[Run, Run]], walls_s: Sequence[float], thresholds: Thresholds, sizes: Iterable[int] = KEPT_SIZES
) -> NoiseRecord:
    """Make a record from pairs of identical code.

    Args:
        pairs: In the order they ran. A benchmark that failed in any of them is left out.
        walls_s: Seconds of each.
        thresholds: How large a change must be to be called.
        sizes: Numbers of pairs that floors are worked out for.

    Raises:
        ConfigError: If no benchmark was measured in all pairs.
    """
    whole = _whole_logs(pairs)
    if not whole:
        raise ConfigError("no benchmark was measured in all pairs. Run the suites with 'pytest' to see why.")
    return _record(pairs, walls_s, whole, thresholds, sorted(sizes), DRAWN_GATES)


def noise_so_far(pairs: Sequence[tuple[Run, Run]], walls_s: Sequence[float], thresholds: Thresholds) -> NoiseRecord | None:
    """Return what the pairs of a gate tell of the noise while it runs; None where they are too few, or have no benchmark.

    The ratios are held against their middle, so that a change of the code is no noise. Few gates are drawn: the gate waits.

    Args:
        pairs: In the order they ran. A benchmark that failed in any of them is left out.
        walls_s: Seconds of each.
        thresholds: How large a change must be to be called.
    """
    if len(pairs) < FEWEST_SO_FAR:
        return None
    # What the middle took from the spread.
    wider, centred = math.sqrt(len(pairs) / (len(pairs) - 1)), {}
    for name, logs in _whole_logs(pairs).items():
        values = np.asarray(logs)
        centred[name] = (wider * (values - np.median(means_of_two(values)))).tolist()
    return _record(pairs, walls_s, centred, thresholds, SIZES_SO_FAR, DRAWN_SO_FAR) if centred else None


def _whole_logs(pairs: Sequence[tuple[Run, Run]]) -> dict[str, list[float]]:
    """Return the log ratios of the time of each benchmark that was measured, and right, in all pairs."""
    base, head = (Side("", runs) for runs in zip(*pairs, strict=True))
    return {
        fullname: logs
        for (fullname, measure), logs in log_ratios(base, head).items()
        if measure == TIME and not any(map(math.isnan, logs)) and not base.failures(fullname) and not head.failures(fullname)
    }


def _record(
    pairs: Sequence[tuple[Run, Run]],
    walls_s: Sequence[float],
    logs: Mapping[str, Sequence[float]],
    thresholds: Thresholds,
    sizes: Sequence[int],
    drawn: int,
) -> NoiseRecord:
    values = np.asarray(list(logs.values())).T
    changes = np.asarray([thresholds.bounds(name, TIME).change for name in logs])
    by_size = [_floors(values, size, changes, drawn) for size in sizes]
    floors = {name: tuple(of_size[place] for of_size in by_size) for place, name in enumerate(logs)}
    first = pairs[0][0]
    scale, pair_s = str(first.session.get("scale")), float(np.median(walls_s))
    return NoiseRecord(first.fingerprint, scale, first.datetime, pair_s, logs, floors)


def floor_at(record: NoiseRecord, fullname: str, pairs: int) -> Floor:
    """Return the floor of the most pairs that are no more than these; the first where there are fewer."""
    floors = record.floors[fullname]
    return max((one for one in floors if one.pairs <= pairs), key=lambda one: one.pairs, default=floors[0])


def write_noise(store: Path, record: NoiseRecord) -> Path:
    """Keep the noise of a machine, in place of what was known of the same benchmarks there; return the file."""
    path, known = next(_noise_of(store, record.fingerprint, record.scale, damaged=False), (None, None))
    if known is not None and not known.floors.keys() <= record.floors.keys():
        record = replace(
            record,
            # Of a part of them a pair takes less.
            pair_s=max(known.pair_s, record.pair_s),
            log_ratios={**known.log_ratios, **record.log_ratios},
            floors={**known.floors, **record.floors},
        )
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


def require_readable_noise(store: Path) -> None:
    """Make sure that what is kept of noise can be read, before time is spent.

    Raises:
        RunFileError: If a file is damaged.
    """
    for _ in _noise_of(store, {}, "", damaged=True):
        pass


def _noise_of(store: Path, fingerprint: Mapping[str, Any], scale: str, damaged: bool) -> Iterator[tuple[Path, NoiseRecord]]:
    """Yield what is kept of one machine; a damaged file is an error, or is passed over."""
    for path in sorted((store / "noise").glob("*.jsonl")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            for fault in NOISE("", content):
                raise ValueError(words(fault))
            floors = {name: tuple(Floor(**one) for one in kept) for name, kept in content["floors"].items()}
            record = NoiseRecord(**{**content, "floors": floors})
        except (OSError, ValueError, TypeError) as error:
            if not damaged:
                continue
            raise RunFileError(
                f"{path}: not a record of noise ({error}). Delete it. Make it again with 'rnncore noise'."
            ) from error
        if record.scale == scale and not differences(record.fingerprint, fingerprint):
            yield path, record


def above_noise(thresholds: Thresholds, record: NoiseRecord | None, fullnames: Collection[str], pairs: int) -> Thresholds:
    """Return thresholds that lie above a machine's noise: defaults are lifted, and a note says so.

    Args:
        thresholds: Of the project.
        record: The machine's noise; None where it was not measured.
        fullnames: Benchmarks that are compared; of others on record nothing is said.
        pairs: Pairs that there are, or will be. One can only warn, whatever the threshold.

    Raises:
        ConfigError: If a threshold that the project set lies below the noise.
    """
    if record is None or pairs < 2:
        return thresholds
    lifted: dict[str, float] = {}
    refused: list[str] = []
    for fullname in (one for one in record.floors if one in fullnames):
        bounds, smallest = thresholds.bounds(fullname, TIME), floor_at(record, fullname, pairs).wander
        if bounds.change >= smallest:
            continue
        if bounds.chosen:
            refused.append(_refusal(record, fullname, bounds.change, smallest))
        else:
            lifted[fullname] = smallest
    if refused:
        raise ConfigError(
            f"{thresholds.source}: {pairs} pairs cannot tell from noise, as 'rnncore noise' found on "
            f"{record.datetime[:10]}: {'; '.join(_first_few(refused))}. Set higher thresholds, or measure as many pairs."
        )
    if not lifted:
        return thresholds
    listed = [f"{short_name(fullname)} {100 * change:.1f} %" for fullname, change in lifted.items()]
    note = (
        f"This machine's noise ('rnncore noise', {record.datetime[:10]}) hides changes below, with {pairs} pairs: "
        f"{', '.join(_first_few(listed))}. Smaller ones are not called there."
    )
    return replace(thresholds, floors=lifted, notes=(*thresholds.notes, note))


def _refusal(record: NoiseRecord, fullname: str, change: float, smallest: float) -> str:
    enough = next((one.pairs for one in record.floors[fullname] if one.wander <= change), None)
    needed = f"more than {record.floors[fullname][-1].pairs}" if enough is None else str(enough)
    minutes = "" if enough is None else f" ({(enough + 1) * record.pair_s / 60:.0f} min)"
    return (
        f"{100 * change:g} % of {short_name(fullname)}, where the noise floor is {100 * smallest:.1f} % and {needed} are "
        f"needed{minutes}"
    )


def _first_few(texts: Sequence[str]) -> Iterator[str]:
    yield from texts[:_NAMED]
    if len(texts) > _NAMED:
        yield f"and {len(texts) - _NAMED} more"


def _floors(values: npt.NDArray[np.float64], pairs: int, changes: npt.NDArray[np.float64], drawn_gates: int) -> list[Floor]:
    """Work out what noise hides of each benchmark.

    Args:
        values: Log ratios of pairs of identical code, in the order they ran. Shape (n, benchmarks).
        pairs: Of the gates.
        changes: How large a change must be to be called. Shape (benchmarks,).
        drawn_gates: How many gates to draw.
    """
    rng = np.random.default_rng(SEED)
    wander, needed = [], []
    for _ in range(drawn_gates):
        drawn = values[_neighbours(rng, len(values), pairs)] * rng.choice((-1.0, 1.0), (pairs, 1))
        estimates = np.median(means_of_two(drawn), axis=0)
        wander.append(np.expm1(np.abs(estimates)))
        shifts = visible_shifts(drawn, FAMILY_ERROR * LAST_LOOK, TRIED_SHIFTS)
        needed.append(np.expm1(np.maximum(shifts, np.log1p(changes) - estimates)))
    highest, visible = np.quantile(wander, BELOW_FLOOR, axis=0), np.quantile(needed, FOUND, axis=0, method="higher")
    return [
        Floor(pairs, float(one), float(seen) if math.isfinite(seen) else None)
        for one, seen in zip(highest, visible, strict=True)
    ]


def _neighbours(rng: np.random.Generator, recorded: int, pairs: int) -> npt.NDArray[np.int64]:
    """Draw runs of neighbouring pairs, the last joined to the first. Shape (pairs,)."""
    together = min(NEIGHBOURS, recorded)
    starts = rng.integers(recorded, size=math.ceil(pairs / together))
    drawn: npt.NDArray[np.int64] = ((starts[:, None] + np.arange(together)) % recorded).ravel()[:pairs]
    return drawn
