"""How often the gate errs, finds a slowdown, and leaves something unclear: by simulation, in minutes instead of days.

    python tests/campaigns/gate_rates.py NOISE... [--pairs 20 28 40 60] [--gates 300]
    python tests/campaigns/gate_rates.py --level [--gates 2000]

NOISE is a file of recorded processes of identical code, a line of JSON each, in the order they ran, or `live`. A line has
the quickest call of each benchmark (`{"gru": {"min": seconds}}`) or its rounds (`{"rounds_s": {"gru": [seconds, ...]}}`);
one whose `delay_pct` is not 0 is left out. The file may be compressed by gzip. Neighbours are the two sides of a pair. They
ran one after another, seconds apart, which is noisier than the live pairs of a real gate: what is found here is a bound
from below. A folder is one of gates of identical code, as in reports/gate/: their pairs as long as nothing was left out.
`live` is made of figures of such pairs. With --level there is nothing to find, and every significant ratio
counts, however small: of all gates at most `FAMILY_ERROR` may call anything.

Gates are drawn from runs of neighbours, sides by chance, as by `rnncore.compare.floors`. The gate's own looks and verdicts
judge them; only reading ratios from run files is left out, and intervals are worked out for all benchmarks at once.
"""

import argparse
import gzip
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from rnncore.compare import judge, looks, signs
from rnncore.compare.floors import _neighbours
from rnncore.compare.measures import TIME
from rnncore.compare.replay import Rate
from rnncore.compare.signs import FloatArray
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.report.table import Table, numbers, words
from rnncore.runfile.read import read_run

SEED = 0
SLOWDOWNS = (0.02, 0.03, 0.05)

# Pairs of live processes as they were measured (reports/LOG.md, 2026-11-26): smallest, median and largest deviation of a
# benchmark's log ratio between pairs; how many values are off, and by how much; correlation of neighbours; a benchmark that
# each process runs at one of two speeds.
LIVE = "live"
LIVE_BENCHMARKS, LIVE_PAIRS = 28, 2000
LIVE_DEVIATIONS = (0.0015, 0.020, 0.036)
LIVE_FAR_SHARE, LIVE_FAR = 0.05, 0.10
LIVE_CORRELATION = 0.5
LIVE_MODES = 0.12

# Every significant ratio is called, and none is found to be the same, so that all looks are taken.
ANY_CHANGE = Thresholds((("*", {"time_pct": 1e-6, "same_time_pct": 1e-6}),))
LEVEL_PAIRS, LEVEL_BENCHMARKS = 20, 12


@dataclass(frozen=True)
class Pairs:
    """Log ratios of pairs, where the gate has the run files of a side.

    Attributes:
        name: Of the side.
        runs: Log ratio of each pair and benchmark, NaN where it was left out. Shape (n, benchmarks).
    """

    name: str
    runs: FloatArray


# ------------------------------------------------------------------------------------------------------------------ noise


def read_noise(path: Path) -> FloatArray:
    """Return log ratios of pairs of identical code: of a recording, or of the gates in a folder. Shape (n, benchmarks)."""
    return read_gates(path) if path.is_dir() else read_recording(path)


def read_recording(path: Path) -> FloatArray:
    """Return log ratios of neighbouring processes. Shape (n, benchmarks)."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        processes = [json.loads(line) for line in file]
    plain = [process for process in processes if not process.get("delay_pct")]
    quickest_s = [list(_quickest_s(process).values()) for process in plain]
    # The first of an odd number warmed up, or has no neighbour.
    logs = np.log(quickest_s[len(quickest_s) % 2 :])
    return logs[1::2] - logs[::2]


def read_gates(folder: Path) -> FloatArray:
    """Return log ratios of the pairs of all gates in a folder that measured every benchmark. Shape (n, benchmarks)."""
    logs: list[list[float]] = []
    names: list[str] = []
    for base in sorted(folder.rglob("base-[0-9]*.json")):
        sides = [judge.Side("", (read_run(base.with_name(f"{side}-{base.stem[5:]}.json")),)) for side in ("base", "head")]
        times = {name: one for (name, measure), (one,) in judge.log_ratios(*sides).items() if measure == TIME}
        names = names or list(times)
        if times.keys() == set(names):
            logs.append([times[name] for name in names])
    return np.asarray(logs)


def _quickest_s(process: Mapping[str, Any]) -> dict[str, float]:
    rounds_s = process.get("rounds_s")
    found = (
        {name: work["min"] for name, work in process.items()}
        if rounds_s is None
        else {name: min(rounds) for name, rounds in rounds_s.items()}
    )
    return dict(sorted(found.items()))


def live_noise(rng: np.random.Generator, pairs: int = LIVE_PAIRS) -> FloatArray:
    """Make log ratios of live pairs by the figures of real ones. Shape (pairs, benchmarks)."""
    deviations = np.interp(np.linspace(0, 1, LIVE_BENCHMARKS), (0, 0.5, 1), LIVE_DEVIATIONS)
    values = _correlated(rng, pairs, LIVE_BENCHMARKS) * deviations
    values += LIVE_FAR * rng.choice((-1, 0, 1), values.shape, p=(LIVE_FAR_SHARE / 2, 1 - LIVE_FAR_SHARE, LIVE_FAR_SHARE / 2))
    values[:, LIVE_BENCHMARKS // 2] += LIVE_MODES * (rng.integers(0, 2, pairs) - rng.integers(0, 2, pairs))
    return values


def _correlated(rng: np.random.Generator, pairs: int, benchmarks: int, correlation: float = LIVE_CORRELATION) -> FloatArray:
    """Return values of deviation 1 of which neighbours are correlated (AR(1))."""
    values = rng.normal(size=(pairs, benchmarks))
    for place in range(1, pairs):
        values[place] = correlation * values[place - 1] + math.sqrt(1 - correlation**2) * values[place]
    return values


def _drifting(rng: np.random.Generator, pairs: int) -> FloatArray:
    """The host becomes slower all the time, so that whoever is second is."""
    return rng.normal(0, 0.02, (pairs, LEVEL_BENCHMARKS)) + np.linspace(0, 0.1, pairs)[:, None]


def _modes(rng: np.random.Generator, pairs: int) -> FloatArray:
    """Each process runs at one of two speeds, in some benchmarks together with others."""
    values = rng.normal(0, 0.005, (pairs, LEVEL_BENCHMARKS))
    alone, together = rng.integers(-1, 2, values.shape), rng.integers(-1, 2, (pairs, 1))
    return values + LIVE_MODES * np.where(np.arange(LEVEL_BENCHMARKS) % 2, alone, together)


def _equal_values(rng: np.random.Generator, pairs: int) -> FloatArray:
    """A coarse clock: ratios repeat, most of them 1."""
    return np.round(rng.normal(0, 0.01, (pairs, LEVEL_BENCHMARKS)) / 0.02) * 0.02


# What level is checked on: log ratios of the second process over the first. Shape (pairs, benchmarks).
LEVELS: Mapping[str, Callable[[np.random.Generator, int], FloatArray]] = {
    "neighbours correlated by 0.9": lambda rng, pairs: 0.03 * _correlated(rng, pairs, LEVEL_BENCHMARKS, 0.9),
    "drift of 10 % over a gate": _drifting,
    "two speeds, 12 % apart": _modes,
    "equal values": _equal_values,
    "tails (t, 1.5 degrees)": lambda rng, pairs: 0.01 * rng.standard_t(1.5, (pairs, LEVEL_BENCHMARKS)),
    "live pairs": live_noise,
}


# --------------------------------------------------------------------------------------------------------- the gate's rule


def _numbers(logs: FloatArray, error: float) -> tuple[FloatArray, FloatArray | None, FloatArray | None]:
    """Return estimate and interval of each benchmark, as `signs.ratio_of_pairs` does of one. Shapes (benchmarks,)."""
    means = np.sort(signs.means_of_two(logs).T, axis=1)
    estimate, outside = np.exp(np.median(means, axis=1)), signs._ranks_outside(len(logs), error)
    if outside is None:
        return estimate, None, None
    return estimate, np.exp(means[:, outside]), np.exp(means[:, -1 - outside])


def judge_pairs(
    base: Pairs, head: Pairs, thresholds: Thresholds, family_error: float, decided: Mapping[judge.Key, Judgement]
) -> Comparison:
    """Judge log ratios as `rnncore.compare.judge.judge` judges run files; its place is taken by this."""
    keys = [(str(place), TIME) for place in range(head.runs.shape[1])]
    places = [place for place, key in enumerate(keys) if key not in decided]
    tested = dict(decided)
    if places:
        estimate, low, high = _numbers(head.runs[:, places], judge.INTERVAL_ERROR)
        for number, place in enumerate(places):
            ends = (None, None) if low is None or high is None else (float(low[number]), float(high[number]))
            # Its own significance counts only where the family's does not.
            alone = (
                signs.family_p_values({"": head.runs[:, place]})[""] if ends[0] is not None and ends[0] == ends[1] else 1.0
            )
            of_sides = len(head.runs), len(head.runs)
            tested[keys[place]] = Judgement(
                *(str(place), "made", TIME, "unclear", "", 1.0, 1.0, float(estimate[number]), *ends, alone, *of_sides)
            )
    logs = {key: head.runs[:, place] for place, key in enumerate(keys)}
    ordered = {key: tested[key] for key in keys}
    judgements = tuple(judge._decide(ordered, decided, thresholds, family_error, logs))
    return Comparison(base.name, head.name, judgements, (), 1 - judge.INTERVAL_ERROR, family_error)


def settled_pairs(comparison: Comparison, base: Pairs, head: Pairs, thresholds: Thresholds) -> dict[judge.Key, Judgement]:
    """Return the verdicts that stay, as `rnncore.compare.judge.settled` does; its place is taken by this."""
    found = {}
    same = [one for one in comparison.judgements if one.verdict == "same"]
    _, low, high = _numbers(head.runs[:, [int(one.fullname) for one in same]], judge.FUTILITY_ERROR)
    for number, one in enumerate(same):
        bounds = thresholds.bounds(*one.key)
        if low is not None and high is not None and not (bounds.is_beyond(low[number]) or bounds.is_beyond(high[number])):
            found[one.key] = one
    return found | {one.key: one for one in comparison.judgements if one.verdict not in ("same", "unclear")}


def gate_of(logs: FloatArray, thresholds: Thresholds) -> Comparison:
    """Return what a gate says of the pairs that it would measure.

    Args:
        logs: Log ratio of head over base of each pair and benchmark. Shape (n, benchmarks).
        thresholds: How large a change must be.
    """
    seen, gate = logs.copy(), looks.Looks(thresholds)
    with patch.object(looks, "judge", judge_pairs), patch.object(looks, "settled", settled_pairs):
        for number in range(1, len(logs) + 1):
            if number == len(logs) or gate.is_due(number, number / len(logs)):
                found = gate.take(Pairs("base", seen[:number]), Pairs("head", seen[:number]), number / len(logs))
                if not gate.undecided:
                    break
                # Later pairs leave out what is decided.
                seen[number:, [int(name) for name in gate.decided_benchmarks]] = np.nan
    return found


# ------------------------------------------------------------------------------------------------------------------ rates


@dataclass(frozen=True)
class Rates:
    """What gates of one size made of one noise.

    Attributes:
        pairs: Of each gate.
        alarms: Gates of identical code that called anything slower or faster.
        unclear: Those that left anything unclear.
        unclear_benchmarks: Benchmarks that those left unclear, of all.
        found: By slowdown of one benchmark, gates that called it slower.
        others: Gates with a slowdown that called anything else.
    """

    pairs: int
    alarms: Rate
    unclear: Rate
    unclear_benchmarks: Rate
    found: Mapping[float, Rate]
    others: Rate


def drawn_gates(noise: FloatArray, pairs: int, gates: int) -> Iterator[FloatArray]:
    """Draw gates of identical code: runs of neighbours, the sides of each pair by chance. Shape (pairs, benchmarks)."""
    rng = np.random.default_rng(SEED)
    for _ in range(gates):
        yield noise[_neighbours(rng, len(noise), pairs)] * rng.choice((-1.0, 1.0), (pairs, 1))


def rates_of(noise: FloatArray, pairs: int, gates: int) -> Rates:
    """Simulate gates of identical code, and the same with one benchmark slower, each benchmark as often.

    Args:
        noise: Log ratios of pairs of identical code. Shape (recorded, benchmarks).
        pairs: Of each gate.
        gates: How many.
    """
    benchmarks = noise.shape[1]
    called: list[bool] = []
    open_: list[int] = []
    others: list[bool] = []
    found: dict[float, list[bool]] = {slowdown: [] for slowdown in SLOWDOWNS}
    for number, logs in enumerate(drawn_gates(noise, pairs, gates)):
        verdicts = [one.verdict for one in gate_of(logs, Thresholds()).judgements]
        called.append(bool({"slower", "faster"} & set(verdicts)))
        open_.append(verdicts.count("unclear"))
        target = number % benchmarks
        for slowdown in SLOWDOWNS:
            shift = np.where(np.arange(benchmarks) == target, math.log1p(slowdown), 0.0)
            verdicts = [one.verdict for one in gate_of(logs + shift, Thresholds()).judgements]
            found[slowdown].append(verdicts.pop(target) == "slower")
            others.append(bool({"slower", "faster"} & set(verdicts)))
    return Rates(
        pairs,
        _rate(called),
        _rate([count > 0 for count in open_]),
        Rate(sum(open_), gates * benchmarks),
        {slowdown: _rate(hits) for slowdown, hits in found.items()},
        _rate(others),
    )


def false_verdicts(noise: Callable[[np.random.Generator, int], FloatArray], gates: int) -> Rate:
    """Simulate gates of identical code in which every significant ratio counts; return those that called any."""
    rng, called = np.random.default_rng(SEED), []
    for _ in range(gates):
        logs = noise(rng, LEVEL_PAIRS) * rng.choice((-1.0, 1.0), (LEVEL_PAIRS, 1))
        verdicts = {one.verdict for one in gate_of(logs, ANY_CHANGE).judgements}
        called.append(bool({"slower", "faster"} & verdicts))
    return _rate(called)


def _rate(outcomes: Sequence[bool]) -> Rate:
    return Rate(sum(outcomes), len(outcomes))


def _shown(rate: Rate) -> str:
    low, high = rate.interval
    return f"{100 * rate.share:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def rates_table(found: Sequence[Rates]) -> Table:
    """Return a row for each number of pairs; in parentheses intervals of 95 %."""
    columns = [
        *numbers("pairs", show="{:d}".format),
        *numbers("false alarm", *(f"{100 * slowdown:g} % found" for slowdown in SLOWDOWNS), show=_shown),
        *numbers("false beside it", "something unclear", show=_shown),
        *numbers("benchmarks unclear", show=lambda rate: f"{100 * rate.share:.1f} %"),
    ]
    return Table(
        columns,
        [[one.pairs, one.alarms, *one.found.values(), one.others, one.unclear, one.unclear_benchmarks] for one in found],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("noise", nargs="*", help=f"recordings, or {LIVE}")
    parser.add_argument("--pairs", nargs="+", type=int, default=[20, 28, 40, 60], help="of each gate")
    parser.add_argument("--gates", type=int, help="for each number of pairs and slowdown")
    parser.add_argument("--level", action="store_true", help="count false verdicts of any size")
    asked = parser.parse_args()
    if asked.level == bool(asked.noise):
        parser.error(f"give recordings or {LIVE}, or --level alone")
    if asked.level:
        rows = [[name, false_verdicts(noise, asked.gates or 2000)] for name, noise in LEVELS.items()]
        share = 100 * judge.FAMILY_ERROR
        print(f"Gates of {LEVEL_PAIRS} pairs that called anything; allowed: {share:g} %\n")
        print(Table([*words("noise"), *numbers("false verdicts", show=_shown)], rows).markdown())
    for name in asked.noise:
        noise = live_noise(np.random.default_rng(SEED)) if name == LIVE else read_noise(Path(name))
        sizes = (noise.std(axis=0), np.median(np.abs(noise), axis=0))
        deviation, half = (
            "{:.2g} to {:.2g} % (median {:.2g})".format(*100 * np.quantile(of_benchmarks, (0, 1, 0.5)))
            for of_benchmarks in sizes
        )
        print(
            f"{name}: {len(noise)} pairs of {noise.shape[1]} benchmarks; log ratios have a deviation of {deviation}, and "
            f"half of them lie within {half}\n"
        )
        print(rates_table([rates_of(noise, pairs, asked.gates or 300) for pairs in asked.pairs]).markdown())


if __name__ == "__main__":
    main()
