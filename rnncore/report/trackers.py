"""A run in the formats of services that follow benchmarks over many commits: Bencher and github-action-benchmark."""

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class _Value:
    """One measure of one benchmark, in seconds, windows per second, bytes or percent.

    Attributes:
        kind: What was measured.
        value: The median over the rounds, or the one value there is.
        low: Lower quartile over the rounds; None where there is no spread.
        high: Upper quartile.
    """

    kind: Kind
    value: float
    low: float | None = None
    high: float | None = None


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
    return {
        record.fullname: {measured.kind: _bencher_metric(measured) for measured in _measured(record)}
        for record in _usable(run)
    }


def _bencher_metric(measured: _Value) -> dict[str, float]:
    scale = _BENCHER_SCALE[measured.kind]
    metric = {"value": scale * measured.value}
    if measured.low is not None and measured.high is not None:
        metric |= {"lower_value": scale * measured.low, "upper_value": scale * measured.high}
    return metric


def github_action_benchmark_json(run: Run, bigger_is_better: bool) -> list[dict[str, Any]]:
    """Return a run as a list for benchmark-action/github-action-benchmark.

    One file has one direction: throughput is in the list for `tool: customBiggerIsBetter`; latency, peak memory and sMAPE
    are in that for `tool: customSmallerIsBetter`. The two need different inputs `name`. The range is half the distance of
    the quartiles of the rounds. Benchmarks whose result is wrong are left out.

    Args:
        run: The run.
        bigger_is_better: Which of the two lists.

    Raises:
        RunFileError: If no benchmark of the run has a right result.

    Source: https://github.com/benchmark-action/github-action-benchmark, README.md and src/extract.ts, BenchmarkResult.
    """
    entries = [
        _action_entry(record, measured)
        for record in _usable(run)
        for measured in _measured(record)
        if (measured.kind == "throughput") is bigger_is_better
    ]
    return sorted(entries, key=lambda entry: str(entry["name"]))


def _action_entry(record: Record, measured: _Value) -> dict[str, Any]:
    added, scale, unit = _ACTION_NAMES[measured.kind]
    entry: dict[str, Any] = {"name": f"{record.fullname}{added}", "unit": unit, "value": scale * measured.value}
    if measured.low is not None and measured.high is not None:
        low, high = scale * measured.low, scale * measured.high
        # The action reads the number behind the sign, and wants at least two characters.
        entry["range"] = f"± {(high - low) / 2:.6f}"
        entry["extra"] = f"quartiles: {low:.6f} to {high:.6f} {unit}\nrounds: {len(record.rounds_s)}"
    return entry


def tracker_text(content: dict[str, Any] | list[dict[str, Any]]) -> str:
    """Return what a tracker reads as JSON text; equal contents give equal bytes."""
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _usable(run: Run) -> list[Record]:
    """Return the records with a right result."""
    records = valid(run.records)
    if not records:
        raise RunFileError(
            f"{run.path}: holds no benchmark with a right result, so that there is nothing to track. "
            f"'rnncore report {run.path}' says what is wrong with each."
        )
    return records


def _measured(record: Record) -> Iterator[_Value]:
    """Yield what a record has of each measure."""
    low_s, high_s = _quartiles_s(record)
    yield _Value("latency", record.median_s, low_s, high_s)
    windows = record.windows
    spread = (None, None) if low_s is None or high_s is None else (windows / high_s, windows / low_s)
    yield _Value("throughput", windows / record.median_s, *spread)
    on_gpu = record.device == "cuda"
    memory_bytes = record.peak_device_bytes if on_gpu else record.process_bytes
    if memory_bytes is not None:
        yield _Value("peak-memory", float(memory_bytes))
    smape = record.smape
    if smape is not None:
        yield _Value("smape", float(smape))


def _quartiles_s(record: Record) -> tuple[float | None, float | None]:
    """Return the quartiles of the rounds in seconds; None where one round has no spread."""
    if len(record.rounds_s) == 1:
        return None, None
    low_s, _, high_s = statistics.quantiles(record.rounds_s, n=4, method="inclusive")
    return low_s, high_s
