"""A comparison as JSON."""

from typing import Any

from rnncore.compare.measures import TIME, Measure, kind_of, number_of
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.report.verdict.budgets import budgets_json
from rnncore.report.verdict.words import Outcome, finite, outcomes_of


def verdict_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison for other programs: seconds, bytes and percent; what is not known, or no number, is null.

    The verdict of a benchmark is the gravest of its measures' verdicts, and its reason names the measure; its ratio
    is always that of time.

    Args:
        comparison: The verdicts.
    """
    return {
        "verdict": comparison.verdict,
        "exit_code": comparison.exit_code,
        "base": comparison.base,
        "head": comparison.head,
        "confidence": finite(comparison.confidence),
        "family_error": finite(comparison.family_error),
        "notes": list(comparison.notes),
        "differences": [{"fact": fact, "base": base, "head": head} for fact, base, head in comparison.differences],
        "groups": [
            {"group": group.group, "ratio": finite(group.ratio), "count": group.count} for group in comparison.groups
        ],
        "benchmarks": [_outcome_json(outcome) for outcome in outcomes_of(comparison)],
        **({"budgets": budgets_json(comparison.budgets)} if comparison.budgets else {}),
    }


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    time, first = outcome.of(TIME), outcome.judgements[0]
    entry: dict[str, Any] = {
        "fullname": first.fullname,
        "group": first.group,
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        **_numbers_json(time, TIME),
        "grown": time.grown if time else None,
        "grown_why": _grown_why(time),
    }
    if time:
        entry["time"] = {"verdict": time.verdict, "reason": time.reason}
    for judgement in outcome.judgements:
        if judgement.measure != TIME:
            number = number_of(judgement.measure)
            place = entry if number is None else entry.setdefault("numbers", {})
            place[judgement.measure if number is None else number] = {
                "verdict": judgement.verdict,
                "reason": judgement.reason,
                **_numbers_json(judgement, judgement.measure),
            }
    return entry


def _grown_why(time: Judgement | None) -> str | None:
    """Return why it is not known what grew; None where it is."""
    if time is not None and (time.grown is not None or time.grown_why is not None):
        return time.grown_why
    return "only a gate looks for it, in what became slower"


def _numbers_json(judgement: Judgement | None, measure: Measure) -> dict[str, Any]:
    """Return the numbers of a judgement, all null where there is none."""
    unit = kind_of(measure).json_unit
    return {
        "ratio": finite(judgement.ratio) if judgement else None,
        "low": finite(judgement.low) if judgement else None,
        "high": finite(judgement.high) if judgement else None,
        f"base_{unit}": finite(judgement.base) if judgement else None,
        f"head_{unit}": finite(judgement.head) if judgement else None,
        "p_value": finite(judgement.p_value) if judgement else None,
        "processes": {
            "base": judgement.base_processes if judgement else 0,
            "head": judgement.head_processes if judgement else 0,
        },
    }
