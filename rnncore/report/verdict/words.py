"""What a verdict is called, its ratio and its values in words: one wording for screen, Markdown, JUnit and GitHub."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rnncore.amounts import time_unit
from rnncore.compare.measures import BESIDE_TIME, MEASURES, TIME, Measure, kind_of
from rnncore.compare.verdict import VERDICTS, BudgetCheck, Comparison, Judgement, Verdict
from rnncore.report.words import is_ratio, ratio_within, significant, times

_RANKS = {verdict: rank for rank, verdict in enumerate(VERDICTS)}

# A time of so many units is no longer read at a glance.
_MOST = 1e7


@dataclass(frozen=True)
class Outcome:
    """All judgements of one benchmark."""

    judgements: tuple[Judgement, ...]

    @property
    def verdict(self) -> Verdict:
        """The gravest."""
        return min((judgement.verdict for judgement in self.judgements), key=_RANKS.__getitem__)

    @property
    def deciding(self) -> list[Judgement]:
        """The judgements that have the gravest verdict."""
        return [judgement for judgement in self.judgements if judgement.verdict == self.verdict]

    @property
    def words(self) -> str:
        """The verdict, with the measure it is of unless that is time."""
        judgement = self.deciding[0]
        word = verdict_word(judgement)
        return word if judgement.measure == TIME else f"{word} in {measure_title(judgement.measure)}"

    @property
    def reason(self) -> str:
        """Why, of each measure that decides; only of the first where all is the same."""
        deciding = self.deciding[:1] if self.verdict == "same" else self.deciding
        reasons = ((judgement.measure, judgement.reason) for judgement in deciding)
        return "; ".join(reason if measure == TIME else f"{measure_title(measure)}: {reason}" for measure, reason in reasons)

    def of(self, measure: Measure) -> Judgement | None:
        """Return the judgement on a measure; None where it was not judged."""
        return next((judgement for judgement in self.judgements if judgement.measure == measure), None)


def outcomes_of(comparison: Comparison) -> list[Outcome]:
    """Return the judgements of each benchmark together, in the order of the suites."""
    by_name: dict[str, list[Judgement]] = {}
    for judgement in comparison.judgements:
        by_name.setdefault(judgement.fullname, []).append(judgement)
    return [Outcome(tuple(judgements)) for judgements in by_name.values()]


class HasVerdict(Protocol):
    """What has a verdict: a judgement on a measure, or on a budget."""

    @property
    def verdict(self) -> Verdict:
        """What holds."""
        ...


J = TypeVar("J", bound=HasVerdict)


def gravest_first(judgements: Iterable[J]) -> list[J]:
    """Sort judgements so that what must be looked at comes first."""
    return sorted(judgements, key=lambda judgement: _RANKS[judgement.verdict])


def answer_of(exit_code: int) -> str:
    """Return what an exit code answers: whether a change passes."""
    return {0: "Pass", 1: "Fail", 4: "Not comparable", 5: "Fail"}.get(exit_code, "Unclear")


def whole_verdict(comparison: Comparison) -> str:
    """Return the whole verdict as a line: `2 of 14 slower, 12 same: slower (exit code 1)`, `28 of 28 same (exit code 0)`."""
    return whole_line(counts_of(comparison), comparison.verdict, comparison.exit_code)


def whole_line(counts: str, verdict: Verdict, exit_code: int) -> str:
    """Return counts with the verdict that decides, unless they are of it alone, and the exit code."""
    alone = "," not in counts and counts.endswith(f" {verdict}")
    return f"{counts}{'' if alone else f': {verdict}'} (exit code {exit_code})"


def counts_of(comparison: Comparison) -> str:
    """Count benchmarks by what holds for them, and budgets: `2 of 14 slower, 1 unclear, 11 same; 3 of 3 budgets within`."""
    of_budgets = f"; {budget_counts(comparison.budgets)}" if comparison.budgets else ""
    return _counts_of_benchmarks(comparison) + of_budgets


def _counts_of_benchmarks(comparison: Comparison) -> str:
    outcomes = sorted(outcomes_of(comparison), key=lambda outcome: _RANKS[outcome.verdict])
    if not outcomes:
        return "no benchmark was compared"
    first, *others = Counter(outcome.words for outcome in outcomes).items()
    return ", ".join([f"{first[1]} of {len(outcomes)} {first[0]}", *[f"{count} {words}" for words, count in others]])


def budget_counts(check: BudgetCheck) -> str:
    """Count budgets by verdict: `1 of 5 budgets over, 1 cannot tell, 3 within`."""
    if not check.judgements:
        return "no budget was checked"
    first, *others = Counter(one.verdict for one in gravest_first(check.judgements)).items()
    noun = "budget" if len(check.judgements) == 1 else "budgets"
    counts = [f"{first[1]} of {len(check.judgements)} {noun} {first[0]}"]
    return ", ".join(counts + [f"{count} {verdict}" for verdict, count in others])


def measure_title(measure: Measure) -> str:
    """Return what a measure is called for people: a number has any name, and it stays on its line."""
    return one_line(kind_of(measure).title)


def measures_beside_time(comparison: Comparison) -> list[Measure]:
    """Return the measures that were judged beside time, in the order of their table, and then numbers as they come."""
    found = dict.fromkeys(judgement.measure for judgement in comparison.judgements)
    return [*(one for one in BESIDE_TIME if one in found), *(one for one in found if one not in MEASURES)]


def verdict_word(judgement: Judgement) -> str:
    """Return the verdict for people: but of time `worse` and `better` in place of `slower` and `faster`."""
    if judgement.measure == TIME:
        return judgement.verdict
    return {"slower": "worse", "faster": "better"}.get(judgement.verdict, judgement.verdict)


def ratio_text(judgement: Judgement) -> str:
    """Return the ratio in words with its interval: `1.33x slower (1.21 to 1.46)`, `equal (1.02x faster to 1.03x slower)`."""
    if not is_ratio(judgement.ratio):
        return "–"
    kind = kind_of(judgement.measure)
    return ratio_within(judgement.ratio, judgement.low, judgement.high, kind.more, kind.less)


def ratio_words(ratio: float, measure: Measure) -> str:
    """Say how much more or less of a measure there is."""
    kind = kind_of(measure)
    return times(ratio, kind.more, kind.less)


def reason_of(judgement: Judgement) -> str:
    """Return why, and what grew, or why that is not known, where it was asked."""
    if judgement.grown is not None:
        return f"{judgement.reason}; grew: {judgement.grown}"
    unknown = judgement.grown_why
    return judgement.reason if unknown is None else f"{judgement.reason}; what grew is not known: {unknown}"


def processes_of(judgement: Judgement) -> str:
    """Return the processes of both sides."""
    return f"{judgement.base_processes}, {judgement.head_processes}"


def file_and_test(fullname: str) -> tuple[str, str]:
    """Split a full name after its file; a parameter of the test may hold `::` too."""
    file, found, test = fullname.partition("::")
    return (file, test) if found else ("", fullname)


def one_line(text: str) -> str:
    """Return text that stays on its line and moves no cursor: no line breaks, control characters or lone surrogates."""
    text = re.sub(r"\s+", " ", text)
    return "".join(character for character in text if unicodedata.category(character) not in ("Cc", "Cs"))


def scale_of(judgements: Iterable[Judgement], measure: Measure) -> tuple[float, str]:
    """Return the scale and name of the one unit for values of a measure."""
    unit = kind_of(measure).unit
    if unit is not None:
        return unit
    values = [value for judgement in judgements for value in (judgement.base, judgement.head) if is_ratio(value)]
    return time_unit(values) if values else (1.0, "s")


def values_of(judgements: Sequence[Judgement], measure: Measure) -> tuple[list[list[str]], str]:
    """Return base and head of each judgement on a measure, and their one unit.

    Where times are too far apart for one, each has its own, and the unit is empty.
    """
    scale, unit = scale_of(judgements, measure)
    if any(is_ratio(value) and value >= _MOST * scale for one in judgements for value in (one.base, one.head)):
        return list(map(base_and_head, judgements)), ""
    return [[value_text(value, scale, measure) for value in (one.base, one.head)] for one in judgements], unit


def value_text(value: float | None, scale: float, measure: Measure) -> str:
    """Return a value in the unit of its measure."""
    if value is None or not math.isfinite(value):
        return "–"
    digits = kind_of(measure).digits
    return f"{value / scale:.3f}" if digits is None else significant(value / scale, digits)


def base_and_head(judgement: Judgement) -> list[str]:
    """Return the values of both sides, each with the unit."""
    scale, unit = scale_of([judgement], judgement.measure)
    values = [value_text(value, scale, judgement.measure) for value in (judgement.base, judgement.head)]
    return [value if value == "–" else f"{value} {unit}".rstrip() for value in values]


def percent(share: float) -> str:
    """Write a share in percent."""
    return f"{100 * share:.4g} %"


def finite(value: float | None) -> float | None:
    """Return a number that JSON has; None for NaN and infinity."""
    return value if value is not None and math.isfinite(value) else None
