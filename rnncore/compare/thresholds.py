"""How large a change must be before it counts: defaults, and what a project sets in its `pyproject.toml`.

[tool.rnncore.thresholds]
"*" = { time_pct = 2, same_time_pct = 5 }
"*test_gather_batch*" = { time_pct = 10, same_time_pct = 15 }
"*test_score*" = { smape_pct = 0.5, same_smape_pct = 1 }
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rnncore.compare.measures import MEASURES, TIME, Bounds, Measure
from rnncore.compare.settings import read_settings
from rnncore.errors import ConfigError


@dataclass(frozen=True)
class Thresholds:
    """Bounds by pattern of a benchmark's name.

    Attributes:
        rules: Patterns, as a shell's, with the bounds they set, in percent; where several match, the last one counts.
        source: Where they are set, for messages.
        floors: Smallest change of a benchmark's time that the machine's noise lets count, such as 0.03; it lifts the
            defaults.
        notes: What a reader must know of them.
    """

    rules: tuple[tuple[str, Mapping[str, float]], ...] = ()
    source: str = "the defaults"
    floors: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def bounds(self, fullname: str, measure: Measure) -> Bounds:
        """Return the bounds for one measure of one benchmark."""
        found: dict[str, float] = {}
        for pattern, percents in self.rules:
            if fnmatchcase(fullname, pattern):
                found.update(percents)
        usual = MEASURES[measure].bounds
        change, same = f"{measure}_pct", f"same_{measure}_pct"
        smallest = self.floors.get(fullname, 0.0) if measure == TIME else 0.0
        beyond = found[change] / 100 if change in found else max(usual.change, smallest)
        bounds = Bounds(
            beyond,
            found[same] / 100 if same in found else max(usual.same, beyond),
            change in found,
        )
        if bounds.same < bounds.change:
            raise ConfigError(
                f"{self.source}: for {fullname} {change} is {100 * bounds.change:g} and {same} {100 * bounds.same:g}. "
                f"Set {same} to {100 * bounds.change:g} or more: what counts as a change cannot count as no change."
            )
        return bounds


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
    return Thresholds(tuple((pattern, _percents(source, pattern, rule)) for pattern, rule in table.items()), source)


def _percents(source: str, pattern: str, rule: Any) -> dict[str, float]:
    known = [f"{prefix}{measure}_pct" for measure in MEASURES for prefix in ("", "same_")]
    if not isinstance(rule, dict) or not rule.keys() <= set(known):
        raise ConfigError(f'{source}: "{pattern}" is {rule!r}; it must be a table with some of {", ".join(known)}.')
    for name, value in rule.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1000:
            raise ConfigError(f'{source}: {name} of "{pattern}" is {value!r}; give a percentage above 0, such as 2.')
    return {name: float(value) for name, value in rule.items()}
