"""How large a change must be before it counts: defaults, and what a project sets in its `pyproject.toml`.

[tool.rnncore.thresholds]
"*" = { time_pct = 2, same_time_pct = 5 }
"*test_gather_batch*" = { time_pct = 10, same_time_pct = 15 }
"*test_score*" = { smape_pct = 0.5, same_smape_pct = 1 }
"*test_load*" = { numbers.rows_per_s = { change_pct = 5, better = "higher" } }
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rnncore.compare.measures import MEASURES, TIME, Bounds, Measure, kind_of, number_of
from rnncore.compare.settings import matches, read_settings
from rnncore.errors import ConfigError

# What a rule says of numbers that benchmarks record, by name.
_NUMBERS = "numbers"
_NUMBER_EXAMPLE = '{ change_pct = 5, better = "higher" }'


@dataclass(frozen=True)
class Thresholds:
    """Bounds by pattern of a benchmark's name.

    Attributes:
        rules: Patterns, as a shell's, with the bounds they set, in percent; where several match, the last one counts.
        source: Where they are set, for messages.
        floors: Smallest change of a benchmark's time that the machine's noise lets count, such as 0.03; it lifts the
            default of `change` alone.
        notes: What a reader must know of them.
        numbers: The same of numbers that benchmarks of other suites record, by name. Others of these are not judged.
        is_of_all: Whether all benchmarks of the project are measured; else a pattern may be of none that is.
    """

    rules: tuple[tuple[str, Mapping[str, float]], ...] = ()
    source: str = "the defaults"
    floors: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    numbers: tuple[tuple[str, Mapping[str, Bounds]], ...] = ()
    is_of_all: bool = True

    def bounds(self, fullname: str, measure: Measure) -> Bounds:
        """Return the bounds for one measure of one benchmark."""
        number = number_of(measure)
        if number is not None:
            return self.numbers_of(fullname)[number]
        found: dict[str, float] = {}
        for pattern, percents in self.rules:
            if matches(fullname, pattern):
                found.update(percents)
        usual = kind_of(measure).bounds
        change, same = f"{measure}_pct", f"same_{measure}_pct"
        is_chosen = change in found
        asked = found[change] / 100 if is_chosen else usual.change
        allowed = found[same] / 100 if same in found else max(usual.same, asked)
        if allowed < asked:
            raise ConfigError(
                f"{self.source}: for {fullname} {change} is {100 * asked:g} and {same} {100 * allowed:g}. "
                f"Set {same} to {100 * asked:g} or more: what counts as a change cannot count as no change."
            )
        # A change that the noise hides is not called; what is the same is not widened by it.
        smallest = 0.0 if is_chosen or measure != TIME else self.floors.get(fullname, 0.0)
        return Bounds(max(asked, smallest), allowed, is_chosen)

    def numbers_of(self, fullname: str) -> dict[str, Bounds]:
        """Return the bounds of those numbers of a benchmark that are judged, by name."""
        found: dict[str, Bounds] = {}
        for pattern, of_numbers in self.numbers:
            if matches(fullname, pattern):
                found.update(of_numbers)
        return found


def read_thresholds(folder: Path, shown: str | None = None) -> Thresholds:
    """Read the thresholds of a project.

    Args:
        folder: Holds `pyproject.toml`; without it, or without the table, the defaults hold.
        shown: What errors and notes call the file; None for its path.

    Raises:
        ConfigError: If the file cannot be read, or the table holds something else than patterns and percents.
    """
    settings = read_settings(folder, shown)
    if "thresholds" not in settings.table:
        return Thresholds()
    table, source = settings.table["thresholds"], settings.source("thresholds")
    if not isinstance(table, dict):
        raise ConfigError(f'{source}: is {table!r}; it must be a table of patterns, such as "*" = {{ time_pct = 2 }}.')
    rules = [(pattern, _percents(source, pattern, rule)) for pattern, rule in table.items()]
    numbers = [(pattern, dict(_numbers(source, pattern, rule.get(_NUMBERS, {})))) for pattern, rule in table.items()]
    return Thresholds(tuple(rules), source, numbers=tuple((pattern, found) for pattern, found in numbers if found))


def _percents(source: str, pattern: str, rule: Any) -> dict[str, float]:
    known = [f"{prefix}{measure}_pct" for measure in MEASURES for prefix in ("", "same_")]
    if not isinstance(rule, dict) or not rule.keys() <= {*known, _NUMBERS}:
        raise ConfigError(
            f'{source}: "{pattern}" is {rule!r}; it must be a table with some of {", ".join(known)}, and numbers of your '
            f"own such as {_NUMBERS}.rows_per_s = {_NUMBER_EXAMPLE}."
        )
    return {name: _percent(source, pattern, name, value) for name, value in rule.items() if name != _NUMBERS}


def _numbers(source: str, pattern: str, table: Any) -> Iterator[tuple[str, Bounds]]:
    """Yield the bounds of each number that a rule names."""
    if not isinstance(table, dict):
        raise ConfigError(
            f'{source}: {_NUMBERS} of "{pattern}" is {table!r}; it must be a table by name, such as '
            f"{{ rows_per_s = {_NUMBER_EXAMPLE} }}."
        )
    for name, rule in table.items():
        where = f"{_NUMBERS}.{name}"
        if not isinstance(rule, dict) or not {"change_pct", "better"} <= rule.keys() <= {"change_pct", "same_pct", "better"}:
            raise ConfigError(
                f'{source}: {where} of "{pattern}" is {rule!r}; it must be a table with change_pct, better, and same_pct if '
                f"you like: {_NUMBER_EXAMPLE}."
            )
        if rule["better"] not in ("higher", "lower"):
            raise ConfigError(f'{source}: better of {where} of "{pattern}" is {rule["better"]!r}; give "higher" or "lower".')
        change = _percent(source, pattern, f"change_pct of {where}", rule["change_pct"])
        same = 2 * change
        if "same_pct" in rule:
            same = _percent(source, pattern, f"same_pct of {where}", rule["same_pct"])
        if same < change:
            raise ConfigError(
                f'{source}: of {where} of "{pattern}" change_pct is {change:g} and same_pct {same:g}. Set same_pct to '
                f"{change:g} or more: what counts as a change cannot count as no change."
            )
        yield name, Bounds(change / 100, same / 100, chosen=True, higher_is_better=rule["better"] == "higher")


def _percent(source: str, pattern: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1000:
        raise ConfigError(f'{source}: {name} of "{pattern}" is {value!r}; give a percentage above 0, such as 2.')
    return float(value)
