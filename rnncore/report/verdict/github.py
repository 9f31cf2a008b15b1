"""Verdicts as annotations for GitHub Actions."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rnncore.compare.measures import TIME
from rnncore.compare.verdict import VERDICTS, BudgetCheck, BudgetJudgement, Comparison, Judgement, Verdict
from rnncore.report.verdict.budgets import figure_and_reason, limit_text
from rnncore.report.verdict.junit import numbers_and_reason
from rnncore.report.verdict.words import file_and_test, gravest_first, measure_title, verdict_word

# GitHub shows this many errors and this many warnings of a step, and drops the rest in silence.
# Source: https://docs.github.com/en/rest/checks/runs, "10 warning annotations and 10 error annotations per step".
_SHOWN_ANNOTATIONS = 10

# What errors and warnings are about: benchmarks that were compared, budgets, or both.
_COMPARED = {"error": "slower, invalid or missing", "warning": "unclear or incomparable"}
_BUDGETS = {"error": "over, invalid or missing", "warning": "not certain"}
_BOTH = {"error": "slower, over, invalid or missing", "warning": "unclear, incomparable or not certain"}


class _Annotation(NamedTuple):
    """What is said of a benchmark: its verdict, title and text."""

    fullname: str
    verdict: Verdict
    title: str
    text: str


def github_annotations(comparison: Comparison, root: Path | None = None) -> list[str]:
    """Return workflow commands: errors for what is slower, invalid or missing, warnings for what cannot be decided.

    Budgets come after the benchmarks. GitHub shows ten of each in a step; where there are more, the tenth counts the rest.

    Args:
        comparison: The verdicts.
        root: Of the repository, above this folder; None where files are named from it already.

    Returns:
        Lines to print on standard output, gravest first.
    """
    compared = map(_annotation, gravest_first(comparison.judgements))
    if comparison.budgets is None:
        return _commands(compared, _COMPARED, root)
    return _commands([*compared, *map(_budget_annotation, gravest_first(comparison.budgets.judgements))], _BOTH, root)


def budget_annotations(check: BudgetCheck, root: Path | None = None) -> list[str]:
    """Return workflow commands for budgets, as `github_annotations` does.

    Args:
        check: The verdicts.
        root: As there.
    """
    return _commands(map(_budget_annotation, gravest_first(check.judgements)), _BUDGETS, root)


def _annotation(judgement: Judgement) -> _Annotation:
    of = "" if judgement.measure == TIME else f" in {measure_title(judgement.measure)}"
    title = f"{verdict_word(judgement)}{of}: {file_and_test(judgement.fullname)[1]}"
    return _Annotation(judgement.fullname, judgement.verdict, title, numbers_and_reason(judgement))


def _budget_annotation(judgement: BudgetJudgement) -> _Annotation:
    # A pattern is of no file.
    name = judgement.pattern.replace("::", ":") if judgement.fullname is None else judgement.fullname
    title = f"{judgement.verdict}, {limit_text(judgement)}: {file_and_test(name)[1]}"
    return _Annotation(name, judgement.verdict, title, figure_and_reason(judgement))


def _commands(found: Iterable[_Annotation], about: dict[str, str], root: Path | None) -> list[str]:
    commands: dict[str, list[str]] = {"error": [], "warning": []}
    for one in found:
        level = VERDICTS[one.verdict].annotation
        if level:
            file = _from_root(file_and_test(one.fullname)[0], root)
            place = f"file={_command_property(file)}," if file else ""
            commands[level].append(f"::{level} {place}title={_command_property(one.title)}::{_command_data(one.text)}")
    for name, kind in about.items():
        rest = commands[name][_SHOWN_ANNOTATIONS - 1 :]
        if len(rest) > 1:
            more = f"{len(rest)} more are {kind}; the job's summary has all of them"
            commands[name][_SHOWN_ANNOTATIONS - 1 :] = [f"::{name} title=rnncore::{more}"]
    return [*commands["error"], *commands["warning"]]


def _from_root(file: str, root: Path | None) -> str:
    """Return what a file is called from a repository's root; pytest may have named it from there, or from this folder."""
    if not file or root is None or ((root / file).is_file() and not Path(file).is_file()):
        return file
    return (Path.cwd().relative_to(root) / file).as_posix()


def _command_data(text: str) -> str:
    """Escape the message of a workflow command, without control characters, and surrogates, which no encoding holds.

    Source: actions/toolkit, packages/core/src/command.ts, escapeData.
    """
    kept = ("\r", "\n")
    text = "".join(one for one in text if one in kept or unicodedata.category(one) not in ("Cc", "Cs"))
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _command_property(text: str) -> str:
    """Escape a property of a workflow command.

    Source: actions/toolkit, packages/core/src/command.ts, escapeProperty.
    """
    return _command_data(text).replace(":", "%3A").replace(",", "%2C")
