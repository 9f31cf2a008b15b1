"""What a comparison of two revisions or machines says, and what is said of budgets, with the exit code that follows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from rnncore.compare.measures import Measure
from rnncore.runfile.record import short_name

Verdict = Literal[
    "slower",
    "faster",
    "same",
    "unclear",
    "missing",
    "new",
    "invalid",
    "incomparable",
    "over",
    "within",
    "cannot tell",
    "not judged",
]


@dataclass(frozen=True)
class VerdictKind:
    """What follows from a verdict.

    Attributes:
        exit_code: Of `rnncore compare`, `gate` and `check`; 2 is wrong usage, as of every verb.
        decides: Place among the verdicts that decide for the whole, 1 before all; 0 for one that never does.
        junit: Element of JUnit XML: a `failure` was checked and found wrong, an `error` could not be checked.
        annotation: Level of its annotation on GitHub; None where it needs none.
    """

    exit_code: int
    decides: int = 0
    junit: Literal["failure", "error", "skipped", "system-out"] = "system-out"
    annotation: Literal["error", "warning"] | None = None


# In the order in which people must look at them.
VERDICTS: dict[Verdict, VerdictKind] = {
    "slower": VerdictKind(1, 2, "failure", "error"),
    "over": VerdictKind(1, 4, "failure", "error"),
    "invalid": VerdictKind(1, 3, "failure", "error"),
    "missing": VerdictKind(5, 5, "error", "error"),
    "incomparable": VerdictKind(4, 1, "error", "warning"),
    "unclear": VerdictKind(3, 6, "skipped", "warning"),
    "cannot tell": VerdictKind(3, 7, "skipped", "warning"),
    "faster": VerdictKind(0),
    "new": VerdictKind(0),
    "not judged": VerdictKind(0),
    "same": VerdictKind(0),
    "within": VerdictKind(0),
}


def deciding(verdicts: Iterable[Verdict], otherwise: Verdict) -> Verdict:
    """Return the gravest of those verdicts that decide for the whole; another one where none does."""
    found = [verdict for verdict in verdicts if VERDICTS[verdict].decides]
    return min(found, key=lambda verdict: VERDICTS[verdict].decides, default=otherwise)


@dataclass(frozen=True)
class Judgement:
    """The verdict on one measure of one benchmark.

    Attributes:
        fullname: The benchmark; the same on every machine.
        group: What it is listed with.
        measure: Which it is.
        verdict: What holds. Of a measure other than time `slower` means worse, and `faster` better.
        reason: Why, in one sentence without its full stop.
        base: Typical value of the base, in the unit of the measure; None where there is none.
        head: The same of the head.
        ratio: Head over base: above 1 is slower, or more; None where it is unknown.
        low: Lower end of the ratio's interval; None where there are too few processes.
        high: Its upper end.
        p_value: Significance of the ratio after Holm's correction; None where nothing was tested.
        base_processes: Processes of the base that measured it.
        head_processes: Processes of the head that measured it.
        grown: What grew, from profiles of both sides: `aten::addmm +1.3 ms of +1.5 ms`; None where that is not known.
        grown_why: Why not, of a time that became slower in a gate, as the end of a sentence.
    """

    fullname: str
    group: str
    measure: Measure
    verdict: Verdict
    reason: str
    base: float | None = None
    head: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    base_processes: int = 0
    head_processes: int = 0
    grown: str | None = None
    grown_why: str | None = None

    @property
    def key(self) -> tuple[str, Measure]:
        """What it is about, apart from all others."""
        return self.fullname, self.measure

    @property
    def short_name(self) -> str:
        """Test id without its file."""
        return short_name(self.fullname)


@dataclass(frozen=True)
class BudgetJudgement:
    """The verdict on one limit of one benchmark.

    Attributes:
        pattern: What the project sets the limit for.
        figure: What is limited, as in the project's settings: `p99_ms`.
        limit: In the unit of the figure.
        is_most: Whether the figure may be at most that much, and not at least.
        fullname: The benchmark; None where none matches the pattern.
        verdict: `within` or `over`, `cannot tell`, `missing` or `invalid` where there is nothing to judge, or `not judged`.
        reason: Why, in one sentence without its full stop.
        value: Of the figure; None where it is unknown.
        low: Lower end of its interval; None where there is none, or the rounds do not bound it.
        high: Its upper end.
        basis: What value and interval are of: `700 rounds`, `9 processes`, `1 value`; empty where there is none.
        machine: Where it was measured; empty where it was not.
    """

    pattern: str
    figure: str
    limit: float
    is_most: bool
    fullname: str | None
    verdict: Verdict
    reason: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    basis: str = ""
    machine: str = ""


@dataclass(frozen=True)
class BudgetCheck:
    """Verdicts on all budgets of a project.

    Attributes:
        runs: What was held against them, for people.
        judgements: In the order of the project's settings.
        notes: What a reader must know first.
    """

    runs: str
    judgements: tuple[BudgetJudgement, ...]
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """One verdict for the whole: the gravest that decides the exit code."""
        found = [judgement.verdict for judgement in self.judgements]
        return deciding(found, "within" if "within" in found else "not judged")

    @property
    def exit_code(self) -> int:
        """Exit code of `rnncore check`."""
        return VERDICTS[self.verdict].exit_code


@dataclass(frozen=True)
class GroupRatio:
    """How a group of benchmarks changed as a whole.

    Attributes:
        group: What its benchmarks are listed with.
        ratio: Geometric mean of their ratios of time, head over base.
        count: Benchmarks with a ratio.
    """

    group: str
    ratio: float
    count: int


@dataclass(frozen=True)
class Comparison:
    """Verdicts on all benchmarks of a base and a head.

    Attributes:
        base: What the base is, for people: a commit, or names of run files.
        head: The same of the head.
        judgements: In the order of the suites; of each benchmark its time first.
        groups: Geometric means, in the order of the suites.
        confidence: Of the intervals, such as 0.99.
        family_error: Largest probability of any false `slower` or `faster`, such as 0.01.
        notes: What a reader must know first: one process per side, different hardware, thresholds under the noise floor.
        differences: Facts of the machines that differ, as (fact, base, head); not empty where the sides are incomparable.
        budgets: Verdicts on the head's budgets; None where it sets none, or none was asked about.
        is_without_base: Whether the base was looked at and has none of the benchmarks: that leaves no doubt.
    """

    base: str
    head: str
    judgements: tuple[Judgement, ...]
    groups: tuple[GroupRatio, ...]
    confidence: float
    family_error: float
    notes: tuple[str, ...] = ()
    differences: tuple[tuple[str, str, str], ...] = ()
    budgets: BudgetCheck | None = None
    is_without_base: bool = False

    @property
    def verdict(self) -> Verdict:
        """One verdict for the whole: the gravest that decides the exit code; `same` or `faster` where nothing is wrong.

        It is `unclear` where nothing was compared, as where what was measured is new, or failed on both sides; and `new`
        where the base has nothing that could have been.
        """
        found = [judgement.verdict for judgement in self.judgements]
        of_budgets = [judgement.verdict for judgement in self.budgets.judgements] if self.budgets else []
        compared = set(found) - {"new", "not judged"}
        alone: Verdict = "new" if self.is_without_base and "new" in found else "unclear"
        otherwise: Verdict = "faster" if "faster" in found else "same" if compared else alone
        return deciding(found + of_budgets, otherwise)

    @property
    def exit_code(self) -> int:
        """Exit code of `rnncore compare` and `rnncore gate`."""
        return VERDICTS[self.verdict].exit_code
