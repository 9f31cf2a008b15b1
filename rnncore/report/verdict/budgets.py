"""Verdicts on budgets in words, as a table and as JSON: one wording for screen, Markdown, JUnit and GitHub."""

from collections.abc import Iterable, Iterator
from typing import Any

from rnncore.compare.verdict import BudgetCheck, BudgetJudgement
from rnncore.report.table import Column, Table, numbers, words
from rnncore.report.verdict.words import budget_counts, file_and_test, finite, gravest_first, one_line, whole_line
from rnncore.report.words import significant

# Rows of a table on a screen, at most: the gravest. JSON and Markdown have all.
MOST_ROWS = 300

# Significant digits of a figure.
_DIGITS = 4


def budget_tables(check: BudgetCheck) -> Iterator[tuple[str, Table | None]]:
    """Yield what a reader must know first, the budgets with the gravest first, and the whole verdict last.

    Args:
        check: The verdicts.

    Yields:
        Lines, and the table under them.
    """
    lines = [f"Runs: {check.runs}", *check.notes, *left_out(len(check.judgements))]
    yield "\n".join(map(one_line, lines)), screen_table(check.judgements)
    yield whole_line(budget_counts(check), check.verdict, check.exit_code), None


def left_out(rows: int) -> list[str]:
    """Say what a table of so many rows is too long for on a screen."""
    if rows <= MOST_ROWS:
        return []
    return [f"Shown are the {MOST_ROWS} gravest of {rows:,}; --json and --markdown have all."]


def screen_table(judgements: Iterable[BudgetJudgement]) -> Table:
    """Return verdicts on budgets as a table, as many as a screen shows."""
    return budget_table(gravest_first(judgements)[:MOST_ROWS])


def budget_table(judgements: Iterable[BudgetJudgement]) -> Table:
    """Return verdicts on budgets as a table, the gravest first."""
    ordered = gravest_first(judgements)
    machines = {one.machine for one in ordered if one.machine}
    rows = []
    for one in ordered:
        machine = [one_line(one.machine)] if len(machines) > 1 else []
        limit, found = one_line(limit_text(one)), _value_and_interval(one)
        rows.append(
            [one_line(subject_of(one)), one.verdict, limit, *found, one.basis or None, *machine, one_line(one.reason)]
        )
    columns = [*words("Benchmark"), Column("verdict", wraps=True), Column("budget", wraps=True)]
    columns += numbers("value", "interval", "of")
    columns += [Column("machine", wraps=True)] if len(machines) > 1 else []
    return Table([*columns, Column("why", wraps=True)], rows)


def subject_of(judgement: BudgetJudgement) -> str:
    """Return the test that a budget is for; its pattern where there is none."""
    return judgement.pattern if judgement.fullname is None else file_and_test(judgement.fullname)[1]


def limit_text(judgement: BudgetJudgement) -> str:
    """Return a limit: `p99_ms at most 2`."""
    return f"{judgement.figure} at {'most' if judgement.is_most else 'least'} {judgement.limit:,.15g}"


def figure_and_reason(judgement: BudgetJudgement) -> str:
    """Return `over p99_ms at most 2: 2.31, 2.2 to 2.4, of 700 rounds: the whole interval is beyond it`."""
    value, interval = _value_and_interval(judgement)
    found = ", ".join(part for part in (value, interval, judgement.basis and f"of {judgement.basis}") if part)
    return ": ".join(part for part in (f"{judgement.verdict}, {limit_text(judgement)}", found, judgement.reason) if part)


def budgets_json(check: BudgetCheck) -> dict[str, Any]:
    """Return verdicts on budgets for other programs, in the units of the figures; what is not known is null.

    Args:
        check: The verdicts.
    """
    return {
        "verdict": check.verdict,
        "exit_code": check.exit_code,
        "runs": check.runs,
        "notes": list(check.notes),
        "budgets": [
            {
                "pattern": one.pattern,
                "fullname": one.fullname,
                "figure": one.figure,
                "at_most" if one.is_most else "at_least": one.limit,
                "verdict": one.verdict,
                "reason": one.reason,
                "value": finite(one.value),
                "low": finite(one.low),
                "high": finite(one.high),
                "of": one.basis or None,
                "machine": one.machine or None,
            }
            for one in check.judgements
        ],
    }


def _value_and_interval(judgement: BudgetJudgement) -> tuple[str | None, str | None]:
    """Return figure and interval as far as they are known, with an end that is open in words."""
    value, low, high = (
        None if one is None else significant(one, _DIGITS) for one in (judgement.value, judgement.low, judgement.high)
    )
    if low is None and high is None:
        return value, None
    if high is None:
        return value, f"{low} or more"
    return value, f"up to {high}" if low is None else f"{low} to {high}"
