"""From the run files of two sides to a verdict on each benchmark.

The unit is the pair of processes that were alive at once: each gives one ratio per benchmark (`signs.py`). Where runs are no
pairs it is the process, by its quickest round, since noise only ever adds time (`ranks.py`). Which ratios are significant
is decided for all measures of all benchmarks together, so that a suite of many does not raise false alarms more often than
one.

Source:
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6(2),
    65-70.
"""

import math
import sys
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rnncore.compare import signs
from rnncore.compare.measures import BESIDE_TIME, TIME, Bounds, Measure, kind_of, number_measure, number_of
from rnncore.compare.pairs import log_ratios_of, pairs_of
from rnncore.compare.ranks import Ratio, compare_sides, processes_needed
from rnncore.compare.settings import matches
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, GroupRatio, Judgement, Verdict
from rnncore.errors import ConfigError
from rnncore.runfile import machine
from rnncore.runfile.checks import moment
from rnncore.runfile.read import find_runs, read_run
from rnncore.runfile.record import Record, Run, short_name

# Largest probability that a comparison of identical code says `slower` or `faster` of anything.
FAMILY_ERROR = 0.01

# Of the interval of one ratio.
INTERVAL_ERROR = 0.01

# A benchmark that is likely to stay the same is measured no further: with this confidence, its change is below the bound.
FUTILITY_ERROR = 0.10

# One measure of one benchmark.
Key = tuple[str, Measure]


@dataclass(frozen=True)
class Side:
    """The runs of one side.

    Attributes:
        name: For people: a commit, or names of files.
        runs: One per process, in the order they were measured.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def names(self) -> KeysView[str]:
        """The benchmarks that any process measured, in their order."""
        return self._records.keys()

    def records(self, fullname: str) -> Sequence[Record]:
        """Return what the processes measured of one benchmark."""
        return self._records.get(fullname, ())

    def values(self, fullname: str, measure: Measure) -> list[float]:
        """Return one value per process, for those that have one."""
        values = (kind_of(measure).value(record) for record in self.records(fullname))
        return [float(value) for value in values if value is not None]

    def why_not_measured(self, fullname: str) -> str:
        """Return the reason that a process gives for a benchmark that it did not measure; empty where none does."""
        return self._reasons.get(fullname, "")

    def failures(self, fullname: str) -> list[str]:
        """Return what went wrong with one benchmark, once per process that it went wrong in."""
        wrong = [record.validity for record in self.records(fullname) if not record.is_valid]
        return wrong + self._failed.get(fullname, [])

    def ran(self, fullname: str) -> int:
        """Return how many processes ran one benchmark, well or not: later pairs leave out what is decided."""
        return len(self.records(fullname)) + len(self._failed.get(fullname, []))

    def went_wrong(self, fullname: str) -> list[bool]:
        """Say of each process whether one benchmark went wrong in it."""
        return [
            any(name == fullname for name, _, _ in run.failed)
            or any(one.fullname == fullname and not one.is_valid for one in run.records)
            for run in self.runs
        ]

    # By name, since a suite may have thousands of benchmarks.

    @cached_property
    def _records(self) -> dict[str, list[Record]]:
        found: dict[str, list[Record]] = {}
        for run in self.runs:
            for record in run.records:
                found.setdefault(record.fullname, []).append(record)
        return found

    @cached_property
    def _failed(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for run in self.runs:
            for name, outcome, reason in run.failed:
                found.setdefault(name, []).append(f"{outcome}: {reason}")
        return found

    @cached_property
    def _reasons(self) -> dict[str, str]:
        """The first reason for each benchmark that a process did not measure."""
        found: dict[str, str] = {}
        for run in self.runs:
            for name, outcome, reason in run.failed:
                found.setdefault(name, f"{outcome}: {reason}")
            for name, reason in run.skipped:
                found.setdefault(name, f"skipped: {reason}")
        return found


def read_side(names: Sequence[str], store: Path = Path(".benchmarks")) -> Side:
    """Read the run files of one side.

    Args:
        names: As `find_runs` takes them.
        store: Where saved runs lie.

    Raises:
        RunFileError: If there is no run file of a name, or one cannot be read.
    """
    paths = dict.fromkeys(path for name in names for path in find_runs(name, store))
    return Side(", ".join(names), tuple(sorted(map(read_run, paths), key=lambda run: moment(run.datetime))))


def judge(
    base: Side,
    head: Side,
    thresholds: Thresholds,
    family_error: float = FAMILY_ERROR,
    decided: Mapping[Key, Judgement] | None = None,
) -> Comparison:
    """Compare two sides, benchmark by benchmark.

    Args:
        base: What the head is held against.
        head: What is judged.
        thresholds: How large a change must be.
        family_error: Largest probability of any false `slower` or `faster` here. Where a gate looks more than once, the
            errors of its looks add up.
        decided: Verdicts of earlier looks, which stay, unless the head failed since; those that found a change leave the
            family to be tested.

    Raises:
        ConfigError: If a side has no runs.
    """
    for side in (base, head):
        if not side.runs:
            raise ConfigError(f"{side.name}: no runs. Give at least one run file per side.")
    kept, logs = decided or {}, log_ratios(base, head, thresholds)
    tested = {
        key: kept[key]
        if key in kept and not head.failures(key[0])
        else _measured(base, head, *key, thresholds, logs.get(key))
        for key in _keys(base, head, thresholds)
    }
    judgements = list(_decide(tested, kept, thresholds, family_error, logs))
    differences = _differences(base.runs[0], [*base.runs[1:], *head.runs])
    if differences:
        facts = ", ".join(fact for fact, _, _ in differences[:3])
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        reason = f"the sides differ in {facts}{more}: the ratio compares machines, not code"
        judgements = [
            one if one.ratio is None else replace(one, verdict="incomparable", reason=reason) for one in judgements
        ]
    logs_of: dict[str, list[float]] = {}
    for judgement in judgements:
        if judgement.measure == TIME and judgement.ratio is not None:
            logs_of.setdefault(judgement.group, []).append(math.log(judgement.ratio))
    return Comparison(
        base.name,
        head.name,
        tuple(judgements),
        tuple(GroupRatio(group, math.exp(sum(logs) / len(logs)), len(logs)) for group, logs in logs_of.items()),
        1 - INTERVAL_ERROR,
        family_error,
        tuple(_notes(base, head, differences, thresholds)),
        differences,
    )


def settled(comparison: Comparison, base: Side, head: Side, thresholds: Thresholds) -> dict[Key, Judgement]:
    """Return the verdicts that more processes are unlikely to change."""
    found: dict[Key, Judgement] = {}
    logs = log_ratios(base, head, thresholds)
    for judgement in comparison.judgements:
        key = judgement.fullname, judgement.measure
        if judgement.verdict == "same":
            # It may still turn out to have changed by a little.
            bounds = thresholds.bounds(*key)
            likely = _ratio(base, head, *key, bounds, logs.get(key), FUTILITY_ERROR)
            if likely.low is None or likely.high is None or bounds.is_beyond(likely.low) or bounds.is_beyond(likely.high):
                continue
        # What goes wrong by chance may yet do so clearly more often.
        by_chance = 0 < len(base.failures(key[0])) < base.ran(key[0])
        if judgement.verdict != "unclear" and not (judgement.verdict == "not judged" and by_chance):
            found[key] = judgement
    return found


def _keys(base: Side, head: Side, thresholds: Thresholds) -> Iterator[Key]:
    """Yield what is judged of all benchmarks, those of the head first, each once, also where they failed."""
    names = [record.fullname for side in (head, base) for run in side.runs for record in run.records]
    names += [name for side in (head, base) for run in side.runs for name, _, _ in run.failed]
    for fullname in dict.fromkeys(names):
        yield fullname, TIME
        if not base.failures(fullname) and not head.failures(fullname):
            for measure in BESIDE_TIME:
                if base.values(fullname, measure) and head.values(fullname, measure):
                    yield fullname, measure
            if base.records(fullname) and head.records(fullname):
                numbers = map(number_measure, thresholds.numbers_of(fullname))
                # One that the project asks for and that a side no longer records is missing.
                for number in numbers:
                    if base.values(fullname, number) or head.values(fullname, number):
                        yield fullname, number


def _measured(
    base: Side,
    head: Side,
    fullname: str,
    measure: Measure,
    thresholds: Thresholds,
    logs: Sequence[float] | None,
) -> Judgement:
    """Return a judgement with its numbers, and with its verdict where no number decides it."""
    in_base, in_head = base.records(fullname), head.records(fullname)
    group = (in_head or in_base)[0].group if in_head or in_base else "other"
    found = Judgement(fullname, group, measure, "unclear", "", base_processes=len(in_base), head_processes=len(in_head))
    wrong, wrong_before = head.failures(fullname), base.failures(fullname)
    often, often_before = _counted(wrong, head, fullname), _counted(wrong_before, base, fullname)
    if wrong and wrong_before and len(wrong_before) == base.ran(fullname):
        reason = f"wrong in the base as well, in every process: {wrong_before[0]}"
        return replace(found, verdict="not judged", reason=reason)
    if wrong and wrong_before and not _goes_wrong_more(base, head, fullname):
        reason = f"wrong in {often_before} of the base and in {often} of the head: {wrong[0]}"
        tells = min(base.ran(fullname), head.ran(fullname)) >= signs.pairs_needed(FAMILY_ERROR)
        return replace(found, verdict="not judged" if tells else "unclear", reason=reason)
    if wrong:
        return replace(found, verdict="invalid", reason=f"wrong in {often} of the head: {wrong[0]}")
    if not in_head:
        return replace(found, verdict="missing", reason=_why_absent(head, "head", fullname))
    values, before = head.values(fullname, measure), base.values(fullname, measure)
    bounds = thresholds.bounds(fullname, measure)
    of_head = _typical(values, bounds.higher_is_better) if values else None
    if wrong_before:
        reason = f"nothing to compare with, as it was wrong in {often_before} of the base: {wrong_before[0]}"
        return replace(found, verdict="new", reason=reason, head=of_head)
    if not in_base:
        return replace(found, verdict="new", reason=_why_absent(base, "base", fullname), head=of_head)
    if unfit := _unfit(measure, before, values):
        return replace(found, verdict=unfit[0], reason=unfit[1])
    ratio = _ratio(base, head, fullname, measure, bounds, logs, INTERVAL_ERROR)
    typical = _typical(before, bounds.higher_is_better)
    return replace(
        found,
        base=typical,
        head=typical * ratio.estimate,
        ratio=ratio.estimate,
        low=ratio.low,
        high=ratio.high,
        p_value=ratio.p_value,
        base_processes=len(before),
        head_processes=len(values),
    )


def _goes_wrong_more(base: Side, head: Side, fullname: str) -> bool:
    """Say whether a benchmark that goes wrong by chance in the base does so more often in the head than chance explains.

    The sign test, on processes by their place: those of a pair, or any that might as well be exchanged.
    """
    both = list(zip(base.went_wrong(fullname), head.went_wrong(fullname), strict=False))
    worse, better = sum(now and not before for before, now in both), sum(before and not now for before, now in both)
    differing = worse + better
    as_many = sum(math.comb(differing, count) for count in range(worse, differing + 1))
    return as_many * 0.5**differing <= FAMILY_ERROR


def _why_absent(side: Side, name: str, fullname: str) -> str:
    reason = side.why_not_measured(fullname)
    return f"the {name} did not measure it: {reason}" if reason else f"not in the {name}"


def _typical(values: Sequence[float], higher_is_better: bool) -> float:
    """Return what quick processes take: a quarter of them stay below, or reach more where more is better."""
    return sorted(values, reverse=higher_is_better)[(len(values) - 1) // 4]


def _unfit(measure: Measure, before: Sequence[float], now: Sequence[float]) -> tuple[Verdict, str] | None:
    """Return verdict and reason for a number that has no ratio; None for one that has, and for every other measure."""
    if number_of(measure) is None:
        return None
    if not now:
        return "missing", "the base records it, and the head does not"
    if not before:
        return "new", "the head records it, and the base does not"
    for side, values in (("base", before), ("head", now)):
        # Nor have numbers so near to 0 that there is none to divide by.
        if min(values) < sys.float_info.min:
            return "not judged", f"it is {min(values):g} in a process of the {side}: what is 0 or less has no ratio"
    return None


def _ratio(
    base: Side, head: Side, fullname: str, measure: Measure, bounds: Bounds, logs: Sequence[float] | None, error: float
) -> Ratio:
    """Return the ratio of one measure of one benchmark: by pairs where there are, else by two sides of processes."""
    before, values = base.values(fullname, measure), head.values(fullname, measure)
    if logs is None or (len(set(before)) == 1 and len(set(values)) == 1):
        if not bounds.higher_is_better:
            return compare_sides(before, values, error, _near(bounds, measure))
        # What there is more of where nothing disturbs: noise only ever adds to its inverse, as to a time.
        of_base, of_head = ([1 / value for value in of_side] for of_side in (before, values))
        return compare_sides(of_base, of_head, error, _near(bounds, measure)).inverse
    return signs.ratio_of_pairs([log for log in logs if not math.isnan(log)], error)


def log_ratios(
    base: Side,
    head: Side,
    thresholds: Thresholds = Thresholds(),  # noqa: B008 (it cannot change)
) -> dict[Key, list[float]]:
    """Return the logarithm of head over base in each pair, NaN where a side lacks it; nothing where runs are no pairs.

    Args:
        base: One side.
        head: The other.
        thresholds: Which numbers of other suites count.
    """
    pairs = pairs_of(base.runs, head.runs)
    if pairs is None:
        return {}
    rows = [[{record.fullname: record for record in run.records} for run in pair] for pair in pairs]
    found = {}
    for fullname, measure in _keys(base, head, thresholds):
        logs = log_ratios_of(
            [
                (of_base[fullname], of_head[fullname]) if fullname in of_base and fullname in of_head else None
                for of_base, of_head in rows
            ],
            measure,
        )
        if not all(map(math.isnan, logs)):
            found[fullname, measure] = logs
    return found


def _near(bounds: Bounds, measure: Measure) -> float:
    """Return within which change an interval need not be narrowed: of time it is shown, and how narrow it is counts."""
    return 0.0 if measure == TIME else bounds.same


def _counted(failures: Sequence[str], side: Side, fullname: str) -> str:
    ran = side.ran(fullname)
    return f"{len(failures)} of {ran} process{'es' if ran != 1 else ''}"


def _decide(
    tested: Mapping[Key, Judgement],
    decided: Mapping[Key, Judgement],
    thresholds: Thresholds,
    family_error: float,
    logs: Mapping[Key, Sequence[float]],
) -> Iterator[Judgement]:
    """Yield the judgements with their verdicts, significant for all of them together."""
    # A change found earlier is no longer tested; what was found to be the same still counts as a member. Where each side
    # repeats one value, as a seeded sMAPE does, nothing is left to chance, and there is nothing to test.
    family = {
        key: judgement.p_value if key not in decided else 1.0
        for key, judgement in tested.items()
        if judgement.p_value is not None
        and not (key in decided and judgement.verdict in ("slower", "faster"))
        and (judgement.low is None or judgement.low != judgement.high)
    }
    if logs:
        # What no pair has on both sides cannot have changed significantly.
        adjusted = dict.fromkeys(family, 1.0) | signs.family_p_values(
            {key: logs[key] for key in family if key in logs}, lambda key: key[1]
        )
        needed = signs.pairs_needed(family_error or FAMILY_ERROR)
    else:
        adjusted = _holm(family)
        needed = processes_needed(family_error / len(family)) if family else 0
    for key, judgement in tested.items():
        if key in decided or judgement.ratio is None:
            yield judgement
            continue
        judgement = replace(judgement, p_value=adjusted.get(key, judgement.p_value))
        yield _with_verdict(judgement, thresholds.bounds(*key), family_error, needed, bool(logs))


def _holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Return Holm's adjusted p-values: at most an error where his method rejects at that error."""
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for rank, (key, p_value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_value))
        adjusted[key] = largest
    return adjusted


def _with_verdict(judgement: Judgement, bounds: Bounds, error: float, needed: int, in_pairs: bool) -> Judgement:
    ratio, low, high, p_value = judgement.ratio, judgement.low, judgement.high, judgement.p_value
    if ratio is None or p_value is None:
        return judgement
    significant, change = p_value <= error, f"{100 * bounds.change:.3g} %"
    if significant and bounds.is_worse(ratio):
        return replace(judgement, verdict="slower", reason=f"significant, and beyond {change}")
    if significant and bounds.is_better(ratio):
        return replace(judgement, verdict="faster", reason=f"significant, and beyond {change}")
    if min(judgement.base_processes, judgement.head_processes) == 1:
        if in_pairs:
            return replace(judgement, reason="one pair, so the noise between pairs is unknown")
        hint = f"beyond {change}, so worth a gate; " if bounds.is_beyond(ratio) else ""
        return replace(judgement, reason=f"{hint}one process per side, so the noise between processes is unknown")
    if low is not None and high is not None and bounds.hold_same(low, high):
        return replace(judgement, verdict="same", reason=f"the whole interval lies within {100 * bounds.same:.3g} %")
    if low is None or high is None or min(judgement.base_processes, judgement.head_processes) < needed:
        return replace(judgement, reason=f"too few processes to tell: at least {needed} a side are needed")
    if not significant:
        return replace(judgement, reason="the noise between processes hides whether it changed")
    return replace(judgement, reason=f"it changed, but whether beyond {change} is not clear")


def _differences(first: Run, others: Sequence[Run]) -> tuple[tuple[str, str, str], ...]:
    """Return the stable facts in which any run differs from the first, each as it first did."""
    found: dict[str, tuple[str, str, str]] = {}
    for run in others:
        of_code = machine.differences(_subject(first), _subject(run))
        for one in (*machine.differences(first.fingerprint, run.fingerprint), *of_code):
            found.setdefault(one.fact, (one.fact, str(one.before), str(one.now)))
    return tuple(found.values())


def _subject(run: Run) -> dict[str, Any]:
    """Return what must be alike beside the machine for two runs to be compared as code."""
    scale = run.session.get("scale")
    # A file of pytest-benchmark alone has none, and so none that could be another.
    return {"data": (run.data or {}).get("digest"), **({"scale": scale} if scale else {})}


def _notes(base: Side, head: Side, differences: Sequence[object], thresholds: Thresholds) -> Iterator[str]:
    if base.names.isdisjoint(head.names):
        yield "No benchmark was measured on both sides: nothing is compared."
        return
    if differences:
        yield "The sides were measured on different machines, software or data: this is a comparison of those, not a gate."
        return
    times = [sorted(moment(run.datetime) for run in side.runs) for side in (base, head)]
    if min(map(len, times)) == 1 and pairs_of(base.runs, head.runs):
        yield "One pair: the noise between pairs is unknown, so nothing is certain. A larger --budget has more pairs."
    elif min(map(len, times)) == 1:
        yield (
            "One process per side: the noise between processes is unknown, so nothing is certain. "
            "'rnncore gate --base REV' measures both sides interleaved."
        )
    elif times[0][-1] <= times[1][0] or times[1][-1] <= times[0][0]:
        # One side was finished before the other began.
        yield (
            "The sides were not measured interleaved: what changed on the machine between them counts as a change here. "
            "'rnncore gate --base REV' measures them interleaved."
        )
    records = [record for run in (*base.runs, *head.runs) for record in run.records]
    yield from delay_notes(records)
    yield from repeat_notes((*base.runs, *head.runs))
    yield from _unrecorded(records, thresholds)
    yield from thresholds.notes


def delay_notes(records: Iterable[Record]) -> Iterator[str]:
    """Say which benchmarks were made slower on purpose."""
    delayed = sorted({record.short_name for record in records if record.injected_delay_pct})
    if delayed:
        yield f"Delays were planted on purpose: {', '.join(delayed)}."


def repeat_notes(runs: Iterable[Run]) -> Iterator[str]:
    """Say which files hold benchmarks more than once, as a merge of sessions does, and what counts."""
    for run in {run.path: run for run in runs}.values():
        if run.repeated:
            more = f" and {len(run.repeated) - 1} more" if run.repeated[1:] else ""
            yield f"{run.path} holds {short_name(run.repeated[0])}{more} more than once: only the last of each counts."


def _unrecorded(records: Sequence[Record], thresholds: Thresholds) -> Iterator[str]:
    """Say which numbers a project wants to have judged that no benchmark records: a name may be misspelt."""
    for pattern, of_numbers in thresholds.numbers:
        of_pattern = [record for record in records if matches(record.fullname, pattern)]
        if not of_pattern and not thresholds.is_of_all:
            continue
        recorded = {name for record in of_pattern for name in record.numbers}
        lacking = [name for name in of_numbers if name not in recorded]
        if lacking:
            listed = ", ".join(map(number_measure, lacking))
            yield f'No benchmark measured here that matches "{pattern}" of {thresholds.source} records {listed}.'
