"""Absolute limits that a project sets for its benchmarks, and whether runs keep them.

[tool.rnncore.budgets."*test_forecast*b1]"]
p99_ms = 2.0
peak_memory_mib = 400

[tool.rnncore.budgets."*test_ingest*"]
machine = "AMD EPYC"
numbers.rows_per_s = { at_least = 10000 }
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rnncore.compare.figures import EXAMPLES, FIGURES, NO_ROUNDS, Estimate, Figure, figure_of, of_processes
from rnncore.compare.judge import Side, delay_notes, repeat_notes
from rnncore.compare.settings import matches, read_settings
from rnncore.compare.verdict import BudgetCheck, BudgetJudgement, Verdict
from rnncore.errors import ConfigError
from rnncore.runfile.checks import is_number
from rnncore.runfile.machine import grouped
from rnncore.runfile.order_statistics import NEEDED_FOR_MEDIAN, values_needed
from rnncore.runfile.record import Record, Run

# Keys of a budget: the machine that it is for, and the two that hold figures of any name.
_MACHINE, _OF_ANY_NAME = "machine", ("facts", "numbers")
_BOUNDS = {"at_most": True, "at_least": False}

# Rounds or processes beyond which nobody measures.
_MOST_NEEDED = 1_000_000


@dataclass(frozen=True)
class Budget:
    """A limit for benchmarks.

    Attributes:
        pattern: Of their full names, as a shell's.
        figure: What is limited.
        limit: In the figure's unit.
        is_most: Whether it may be at most that much, and not at least.
        machine: Part of the name of the CPU or GPU that it is for; None for any.
    """

    pattern: str
    figure: Figure
    limit: float
    is_most: bool
    machine: str | None = None

    def is_for(self, machine: Sequence[str]) -> bool:
        """Say whether it is for a machine with a CPU, or a CPU and a GPU, of these names."""
        wanted = self.machine
        return wanted is None or any(wanted.casefold() in name.casefold() for name in machine)


def read_budgets(folder: Path, shown: str | None = None) -> tuple[Budget, ...]:
    """Read the budgets of a project.

    Args:
        folder: May hold `pyproject.toml`.
        shown: What errors call the file; None for its path.

    Returns:
        In their order there; none where it sets none.

    Raises:
        ConfigError: If the file cannot be read, or the table holds something else than patterns and limits.
    """
    settings = read_settings(folder, shown)
    table, source = settings.table.get("budgets", {}), settings.source("budgets")
    if not isinstance(table, dict):
        raise ConfigError(f'{source}: is {table!r}; it must be a table of patterns, such as "*test_a*" = {{ p99_ms = 2 }}.')
    return tuple(
        budget
        for pattern, rules in table.items()
        for rule in _tables(f'{source} "{pattern}"', rules)
        for budget in _budgets(f'{source} "{pattern}"', pattern, rule)
    )


def judge_budgets(
    budgets: Sequence[Budget], side: Side, unmeasured: Mapping[str, str] = MappingProxyType({}), is_selection: bool = False
) -> BudgetCheck:
    """Hold runs against budgets. Runs of machines that differ are judged apart.

    Args:
        budgets: Of the project.
        side: The runs.
        unmeasured: Benchmarks that were left out on purpose, with the reason.
        is_selection: Whether the runs are of benchmarks that the user chose: no budget must hold of any of them then.
    """
    numbers = grouped(run.fingerprint for run in side.runs)
    groups = [
        Side(side.name, tuple(run for run, number in zip(side.runs, numbers, strict=True) if number == wanted))
        for wanted in dict.fromkeys(numbers)
    ]
    judgements = [judgement for budget in budgets for judgement in _judgements(budget, groups, unmeasured, is_selection)]
    return BudgetCheck(side.name, tuple(judgements), tuple(_notes(side, groups, judgements)))


# ---------------------------------------------------------------------------------------------------------- settings


def _tables(where: str, rules: Any) -> list[Any]:
    """Return the tables of limits of a pattern, one or several."""
    if rules == []:
        raise ConfigError(f"{where}: is []; it must be a table of limits, such as {{ p99_ms = 2 }}, or a list of such.")
    return rules if isinstance(rules, list) else [rules]


def _budgets(where: str, pattern: str, rule: Any) -> Iterator[Budget]:
    if not isinstance(rule, dict):
        raise ConfigError(f"{where}: is {rule!r}; it must be a table of limits, such as {{ p99_ms = 2 }}.")
    machine = rule.get(_MACHINE)
    if machine is not None and not (isinstance(machine, str) and machine.strip()):
        raise ConfigError(f"{where}: {_MACHINE} is {machine!r}; give a part of the name of a CPU or GPU.")
    limits = dict(_limits(where, rule))
    if not limits:
        raise ConfigError(f"{where}: limits nothing. Give some of {FIGURES}.")
    for name, limit in limits.items():
        figure = figure_of(name)
        if figure is None:
            alike = difflib.get_close_matches(name, EXAMPLES, 1)
            hint = f" Did you mean {alike[0]}?" if alike else ""
            raise ConfigError(f"{where}: {name} is none of {FIGURES}.{hint}")
        for is_most, bound in _bounds(where, figure, limit):
            yield Budget(pattern, figure, bound, is_most, machine)


def _limits(where: str, rule: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name of each figure, and its limit as it is written."""
    for key, value in rule.items():
        if key in _OF_ANY_NAME:
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {key} is {value!r}; name one, such as {key}.NAME = {{ at_most = 2 }}.")
            yield from ((f"{key}.{name}", limit) for name, limit in value.items())
        elif key != _MACHINE:
            yield key, value


def _bounds(where: str, figure: Figure, limit: Any) -> Iterator[tuple[bool, float]]:
    """Yield for each limit of a figure whether it is the most, and the limit."""
    name, is_most = figure.name, figure.is_most
    bounds = limit if isinstance(limit, dict) else {}
    if is_number(limit):
        if is_most is None:
            raise ConfigError(
                f"{where}: {name} is {limit!r}, and whether more of it is good is not known. Give "
                f"{{ at_most = {limit!r} }} or {{ at_least = {limit!r} }}."
            )
        bounds = {"at_most" if is_most else "at_least": limit}
    if not bounds or not bounds.keys() <= _BOUNDS.keys() or not all(map(is_number, bounds.values())):
        raise ConfigError(f"{where}: {name} is {limit!r}; give a number, or at_most, at_least or both: {{ at_most = 2 }}.")
    if is_most is not None and min(bounds.values()) <= 0:
        raise ConfigError(f"{where}: {name} is {min(bounds.values())!r}; give a number above 0.")
    if bounds.get("at_least", 0) > bounds.get("at_most", float("inf")):
        raise ConfigError(f"{where}: {name} is to be at least {bounds['at_least']} and at most {bounds['at_most']}.")
    yield from ((_BOUNDS[key], float(bound)) for key, bound in bounds.items())


# ---------------------------------------------------------------------------------------------------------- verdicts


def _judgements(
    budget: Budget, groups: Sequence[Side], unmeasured: Mapping[str, str], is_selection: bool
) -> list[BudgetJudgement]:
    """Return the verdict on each benchmark that a budget is for, and one where there is none."""
    found = list(_of_groups(budget, groups, _measured))
    judged = {one.fullname for one in found}
    found += [
        replace(_blank(budget, fullname), verdict="not judged", reason=f"it was not measured: {reason}")
        for fullname, reason in unmeasured.items()
        if fullname not in judged and matches(fullname, budget.pattern)
    ]
    # What was skipped is no fault beside what was not, such as rows of a GPU where there is none.
    found = found or list(_of_groups(budget, groups, _skipped))
    if found:
        return found
    if is_selection:
        reason = "it is for none of the benchmarks that were chosen"
        return [replace(_blank(budget, None), verdict="not judged", reason=reason)]
    if groups and not any(budget.is_for(_machine_names(group.runs[0].fingerprint)) for group in groups):
        reason = f"it is for {budget.machine}, and no run is of such a machine"
        return [replace(_blank(budget, None), verdict="not judged", reason=reason)]
    reason = "no benchmark of these runs matches: correct the pattern, or take the budget out"
    if "[" in budget.pattern:
        reason += '; in a pattern brackets are a choice of characters, and "[[]" is a bracket'
    return [replace(_blank(budget, None), reason=reason)]


def _blank(budget: Budget, fullname: str | None) -> BudgetJudgement:
    return BudgetJudgement(budget.pattern, budget.figure.name, budget.limit, budget.is_most, fullname, "missing", "")


def _of_groups(budget: Budget, groups: Sequence[Side], names_of: Callable[[Run], list[str]]) -> Iterator[BudgetJudgement]:
    """Yield the verdict on each of some benchmarks that a budget is for, by the runs of each machine."""
    for group in groups:
        for fullname in dict.fromkeys(name for run in group.runs for name in names_of(run)):
            if matches(fullname, budget.pattern):
                yield _judged(budget, fullname, group)


def _measured(run: Run) -> list[str]:
    return [record.fullname for record in run.records] + [name for name, _, _ in run.failed]


def _skipped(run: Run) -> list[str]:
    return [name for name, _ in run.skipped]


def _judged(budget: Budget, fullname: str, group: Side) -> BudgetJudgement:
    """Return the verdict on one benchmark, by the runs of one machine."""
    machine = _machine_names(group.runs[0].fingerprint)
    found = replace(_blank(budget, fullname), machine=", ".join(machine))
    is_here = budget.is_for(machine)
    records, wrong = group.records(fullname), group.failures(fullname)
    if wrong:
        found = replace(found, verdict="invalid", reason=f"its result is wrong, or it failed: {wrong[0]}")
    elif not records:
        found = replace(found, reason=f"it was not measured: {group.why_not_measured(fullname)}")
    else:
        found = _held(found, budget, records)
    if is_here:
        return found
    reason = f"it is for {budget.machine}, and was measured on {found.machine or 'an unknown machine'}"
    return replace(found, verdict="not judged", reason=reason)


def _held(found: BudgetJudgement, budget: Budget, records: Sequence[Record]) -> BudgetJudgement:
    """Return a judgement with the figure of some processes, and what follows from it."""
    figure = budget.figure
    known = [one for record in records if (one := figure.estimate(record)) is not None]
    if not known:
        return replace(found, reason=f"{figure.name} is not known: {figure.why_unknown(records[0])}")
    estimate = of_processes(known)
    verdict, reason = _verdict(estimate, budget.limit, budget.is_most)
    low, high = (estimate.low, estimate.high) if estimate.has_interval else (None, None)
    return replace(found, verdict=verdict, reason=reason, value=estimate.value, low=low, high=high, basis=estimate.basis)


def _verdict(estimate: Estimate, limit: float, is_most: bool) -> tuple[Verdict, str]:
    """Return what holds of a figure and its limit, and why."""
    # The end of the interval that must keep the limit, and the other; mirrored where the limit is the least.
    sign = 1 if is_most else -1
    ends = (estimate.high, estimate.low) if is_most else (estimate.low, estimate.high)
    last, first = (None if end is None else sign * end for end in ends)
    whole = "the whole interval" if estimate.has_interval else "the value, which has no interval,"
    if last is not None and last <= sign * limit:
        return "within", f"{whole} keeps it"
    if first is not None and first > sign * limit:
        return "over", f"{whole} is beyond it"
    if last is None or first is None:
        return "cannot tell", estimate.why_open
    return "cannot tell", f"the interval holds the limit: {_what_it_takes(estimate, limit, is_most)}"


def _what_it_takes(estimate: Estimate, limit: float, is_most: bool) -> str:
    """Say about how many rounds or processes would tell."""
    if not estimate.sample:
        return f"{NO_ROUNDS}, and they tell more"
    not_above = sum(one <= limit if is_most else one < limit for one in estimate.sample)
    needed = values_needed(estimate.percentile, estimate.count, not_above)
    if estimate.noun == "process":
        needed = max(needed, NEEDED_FOR_MEDIAN)
    plural = {"round": "rounds", "process": "processes"}[estimate.noun]
    if needed > _MOST_NEEDED:
        return f"even {_MOST_NEEDED:,} {plural} would not tell"
    return f"about {_rounded_up(max(needed, estimate.count + 1)):,} {plural} would tell, if they are like these"


def _rounded_up(count: int) -> int:
    """Round a number up to two digits that count."""
    unit = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // unit) * unit


def _machine_names(fingerprint: Mapping[str, Any]) -> list[str]:
    """Return the names of CPU and GPU, as far as they are known."""
    names = fingerprint.get("cpu"), (fingerprint.get("gpu") or {}).get("name")
    return [str(name) for name in names if name]


def _notes(side: Side, groups: Sequence[Side], judgements: Sequence[BudgetJudgement]) -> Iterator[str]:
    if len(groups) > 1:
        yield f"The runs are of {len(groups)} machines or environments, each of which is judged by itself."
    if any("round" in one.basis for one in judgements):
        yield "One process: its rounds do not show by how much processes differ. More run files do."
    yield from delay_notes(record for run in side.runs for record in run.records)
    yield from repeat_notes(side.runs)
