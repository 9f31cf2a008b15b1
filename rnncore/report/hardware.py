"""Several machines: how much faster each case is, what explains it, and what it costs."""

from collections.abc import Mapping, Sequence
from typing import Any

from rnncore.compare.ranks import compare_sides
from rnncore.compare.runs import Record, Run
from rnncore.errors import ConfigError
from rnncore.report import tables

# Of the intervals of ratios.
ERROR = 0.01

# Rounds of each side that an interval is made from, evenly spread.
USED_ROUNDS = 40

# Facts by which two runs are of one machine.
MACHINE = ("cpu", "cpus", "gpu", "threads")

_WAITS = {
    "latency": "each step waits for the one before",
    "compute": "it is held back by arithmetic",
    "bandwidth": "it is held back by memory bandwidth",
}

SECONDS_PER_HOUR = 3600.0
FORECASTS = 1e6


def explained_rows(runs: Sequence[Run]) -> list[list[str]]:
    """Return for each case and each run after the first the ratio of times and what explains it.

    Args:
        runs: The runs; nothing is explained between runs of one machine.

    Returns:
        Rows of benchmark, run, ratio with its interval, and why.
    """
    first, rows = runs[0], []
    base = {record.fullname: record for record in tables.valid(first.records)}
    for index, run in enumerate(runs[1:], 1):
        if _machine(run) == _machine(first):
            continue
        for record in tables.valid(run.records):
            before = base.get(record.fullname)
            if before is not None:
                letter = chr(ord("A") + index)
                rows.append([record.short_name, letter, _ratio_text(before, record), _why(first, run, before, record)])
    return rows


def cost_rows(runs: Sequence[Run], prices: Mapping[str, float]) -> list[list[str]]:
    """Return what a million forecasts cost on each machine, cheapest first; nothing without prices or measured energy.

    Raises:
        ConfigError: If a price is of no run.
    """
    letters = [chr(ord("A") + index) for index in range(len(runs))]
    known = {name for letter, run in zip(letters, runs, strict=True) for name in (letter, run.path.name, run.path.stem)}
    if unknown := sorted(prices.keys() - known):
        raise ConfigError(f"--price {unknown[0]}=...: no such run. Name one of {', '.join(sorted(known))}.")
    found = []
    for letter, run in zip(letters, runs, strict=True):
        infer = tables.valid(run.phase("infer"))
        price = next((prices[name] for name in (letter, run.path.name, run.path.stem) if name in prices), None)
        if not infer:
            continue
        best = max(infer, key=lambda record: record.windows_per_s)
        cost = None if price is None else price / SECONDS_PER_HOUR * FORECASTS / best.windows_per_s
        joules = best.extra.get("joules_per_1000")
        if cost is None and joules is None:
            continue
        found.append(
            (
                float("inf") if cost is None else cost,
                [
                    f"{letter}: {run.path.name}",
                    f"{tables.cell_name(best)} in {tables.how(best)}, {tables.significant(best.windows_per_s)} windows/s",
                    "–" if price is None else f"{price:.2f}",
                    "–" if cost is None else tables.significant(cost),
                    "–" if joules is None else tables.significant(float(joules) * FORECASTS / 1000),
                ],
            )
        )
    return [row for _, row in sorted(found, key=lambda entry: entry[0])]


def _machine(run: Run) -> list[str]:
    return [str(run.fingerprint.get(fact)) for fact in MACHINE]


def _ratio_text(before: Record, now: Record) -> str:
    ratio = compare_sides(_some(before.rounds_s), _some(now.rounds_s), ERROR)
    text = tables.times(now.median_s / before.median_s)
    if ratio.low is None or ratio.high is None:
        return text
    return f"{text} ({tables.times(ratio.low)} to {tables.times(ratio.high)})"


def _some(rounds_s: Sequence[float]) -> Sequence[float]:
    return rounds_s[:: max(1, -(-len(rounds_s) // USED_ROUNDS))]


def _why(first: Run, run: Run, before: Record, now: Record) -> str:
    """Say how much faster the machine's products and memory are, and what holds the case back there."""
    known = []
    for what, kind in (("its products are", "gemm"), ("its memory is", "copy")):
        rates = [_rate(one, record, kind) for one, record in ((first, before), (run, now))]
        if rates[0] and rates[1]:
            known.append(f"{what} {tables.times(rates[0] / rates[1])}")
    held = _WAITS.get(str(now.extra.get("bound")))
    if held:
        joined = ", but" if now.extra.get("bound") == "latency" and known else ";"
        return f"{'; '.join(known)}{joined} {held}" if known else held
    return "; ".join(known) or "–"


def _rate(run: Run, record: Record, kind: str) -> float | None:
    entries: Sequence[dict[str, Any]] = (run.ceilings or {}).get(kind, ())
    for entry in entries:
        if entry["device"] == record.extra["device"] and (kind != "gemm" or entry["precision"] == record.extra["precision"]):
            return None if not entry["per_s"] else float(entry["per_s"])
    return None
