"""A run in the formats of services that follow benchmarks over many commits: Bencher and github-action-benchmark."""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from rnncore.errors import RunFileError
from rnncore.report.rows import valid
from rnncore.runfile.record import Record, Run

Kind = Literal["latency", "throughput", "peak-memory", "smape"]

# Slugs of Bencher: the first two are built in, in nanoseconds and operations (here windows) per second; the others are made
# by Bencher when they first come, without units: bytes and percent.
# Source: https://bencher.dev/docs/how-to/track-custom-benchmarks and bencherdev/bencher,
# lib/bencher_json/src/project/measure.rs.
_BENCHER_SCALE: dict[Kind, float] = {"latency": 1e9, "throughput": 1.0, "peak-memory": 1.0, "smape": 1.0}

# What is added to the name, factor and unit. The action finds the value before by the name alone, so that names must differ
# within a file.
# Source: benchmark-action/github-action-benchmark, src/write.ts, findAlerts.
_ACTION_NAMES: dict[Kind, tuple[str, float, str]] = {
    "latency": ("", 1e3, "ms"),
    "throughput": ("", 1.0, "windows/s"),
    "peak-memory": (", peak memory", 2.0**-20, "MiB"),
    "smape": (", sMAPE", 1.0, "%"),
}


# Significant digits in the lists, which people read: more than any clock has.
_DIGITS = 7

# What a slug of Bencher is of, at most so many signs.
# Source: bencherdev/bencher, lib/bencher_valid/src/slug.rs.
_NOT_IN_SLUG = re.compile(r"[^a-z0-9]+")
_LONGEST_SLUG = 64


@dataclass(frozen=True)
class _Value:
    """One measure of one benchmark, in seconds, windows per second, bytes or percent.

    Attributes:
        kind: What was measured.
        value: The median over the rounds, or the one value there is.
        quartiles: Lower and upper over the rounds; None where there is no spread.
    """

    kind: Kind
    value: float
    quartiles: tuple[float, float] | None = None


def bencher_json(run: Run) -> dict[str, dict[str, dict[str, float]]]:
    """Return a run in the Bencher Metric Format, for `bencher run --adapter json`.

    Measures are `latency` (nanoseconds) and `throughput` (windows per second), with the quartiles of the rounds as lower
    and upper values, and `peak-memory` (bytes) and `smape` (percent) where the record has them. Benchmarks are named by
    their full name, the same on every machine; benchmarks whose result is wrong are left out.

    Args:
        run: The run.

    Raises:
        RunFileError: If no benchmark of the run has a right result.

    Source: https://bencher.dev/docs/reference/bencher-metric-format
    """
    found: dict[str, dict[str, dict[str, float]]] = {}
    for record in _usable(run):
        metrics: dict[str, dict[str, float]] = {}
        found[record.fullname] = metrics
        for measured in _measured(record):
            scale = _BENCHER_SCALE[measured.kind]
            metrics[measured.kind] = {"value": scale * measured.value}
            if measured.quartiles:
                low, high = measured.quartiles
                metrics[measured.kind] |= {"lower_value": scale * low, "upper_value": scale * high}
        for name, value in record.numbers.items():
            metrics[_slug(name, metrics)] = {"value": value}
    return found


def _slug(name: str, taken: Collection[str]) -> str:
    """Return what a measure of a project is called on Bencher; with a prefix or a number where another is called so."""
    plain = _NOT_IN_SLUG.sub("-", name.lower()).strip("-") or "number"
    choices = (plain, f"extra-info-{plain}", *(f"{plain[: _LONGEST_SLUG - 4]}-{number}" for number in range(2, 1000)))
    free = (choice for one in choices if (choice := one[:_LONGEST_SLUG].strip("-")) not in {*taken, *_BENCHER_SCALE})
    return next(free)


def _rounded(value: float) -> float:
    """Return a number with as many digits as are worth reading."""
    return float(f"{value:.{_DIGITS}g}")


def _plain(value: float) -> str:
    """Write a number with as many digits, at least two, and no exponent."""
    text = format(Decimal(f"{value:.{_DIGITS}g}"), "f")
    return text if len(text) > 1 else f"{text}.0"


def github_action_benchmark_json(run: Run, bigger_is_better: bool) -> list[dict[str, Any]]:
    """Return a run as a list for benchmark-action/github-action-benchmark.

    One file has one direction: throughput is in the list for `tool: customBiggerIsBetter`; latency, peak memory and sMAPE
    are in that for `tool: customSmallerIsBetter`. The two need different inputs `name`. The range is half the distance of
    the quartiles of the rounds. Benchmarks whose result is wrong are left out, and so are numbers that benchmarks of other
    suites recorded, of which the direction is not known.

    Args:
        run: The run.
        bigger_is_better: Which of the two lists.

    Raises:
        RunFileError: If no benchmark of the run has a right result.

    Source: https://github.com/benchmark-action/github-action-benchmark, README.md and src/extract.ts, BenchmarkResult.
    """
    entries = []
    for record in _usable(run):
        for measured in _measured(record):
            if (measured.kind == "throughput") is not bigger_is_better:
                continue
            added, scale, unit = _ACTION_NAMES[measured.kind]
            unit = unit if record.has_case else unit.replace("windows", "calls")
            entry = {"name": f"{record.fullname}{added}", "unit": unit, "value": _rounded(scale * measured.value)}
            if measured.quartiles:
                low, high = (scale * quartile for quartile in measured.quartiles)
                # The action reads the number behind the sign, and wants at least two characters.
                entry["range"] = f"± {_plain((high - low) / 2)}"
                entry["extra"] = f"quartiles: {_plain(low)} to {_plain(high)} {unit}\nrounds: {record.rounds}"
            entries.append(entry)
    return sorted(entries, key=lambda entry: str(entry["name"]))


def tracker_text(content: dict[str, Any] | list[dict[str, Any]]) -> str:
    """Return what a tracker reads as JSON text; equal contents give equal bytes."""
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _usable(run: Run) -> list[Record]:
    """Return the records with a right result."""
    records = valid(run.records)
    if not run.records:
        raise RunFileError(f"{run.path}: holds no benchmark: none ran to its end, so that there is nothing to track.")
    if not records:
        raise RunFileError(
            f"{run.path}: holds no benchmark with a right result, so that there is nothing to track. "
            f"'rnncore report {run.path}' says what is wrong with each."
        )
    return records


def _measured(record: Record) -> Iterator[_Value]:
    """Yield what a record has of each measure."""
    times_s = rates = None
    # Of a benchmark of another suite a call is one of whatever it calls.
    windows = record.windows if record.has_case else 1.0
    if record.rounds > 1:
        low_s, high_s = times_s = record.quartiles_s
        rates = windows / high_s, windows / low_s
    yield _Value("latency", record.median_s, times_s)
    yield _Value("throughput", windows / record.median_s, rates)
    memory_bytes = record.process_bytes if record.is_on_cpu else record.peak_device_bytes
    if memory_bytes is not None:
        yield _Value("peak-memory", float(memory_bytes))
    if record.smape is not None:
        yield _Value("smape", float(record.smape))
