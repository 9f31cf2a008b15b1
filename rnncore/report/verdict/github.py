"""A comparison as annotations for GitHub Actions."""

import unicodedata

from rnncore.compare.measures import MEASURES, TIME
from rnncore.compare.verdict import VERDICTS, Comparison, Judgement
from rnncore.report.verdict.junit import numbers_and_reason
from rnncore.report.verdict.words import file_and_test, gravest_first, verdict_word

# GitHub shows this many errors and this many warnings of a step, and drops the rest in silence.
# Source: https://docs.github.com/en/rest/checks/runs, "10 warning annotations and 10 error annotations per step".
_SHOWN_ANNOTATIONS = 10


def github_annotations(comparison: Comparison) -> list[str]:
    """Return workflow commands: errors for what is slower, invalid or missing, warnings for what cannot be told.

    GitHub shows ten of each in a step; where there are more, the tenth counts the rest.

    Args:
        comparison: The verdicts.

    Returns:
        Lines to print on standard output, gravest first.
    """
    commands: dict[str, list[str]] = {"error": [], "warning": []}
    for judgement in gravest_first(comparison.judgements):
        level = VERDICTS[judgement.verdict].annotation
        if level:
            commands[level].append(_annotation(level, judgement))
    for name, kind in (("error", "slower, invalid or missing"), ("warning", "unclear or incomparable")):
        rest = commands[name][_SHOWN_ANNOTATIONS - 1 :]
        if len(rest) > 1:
            more = f"{len(rest)} more are {kind}; the job's summary has all of them"
            commands[name][_SHOWN_ANNOTATIONS - 1 :] = [f"::{name} title=rnncore::{more}"]
    return [*commands["error"], *commands["warning"]]


def _annotation(level: str, judgement: Judgement) -> str:
    file, test = file_and_test(judgement.fullname)
    of = "" if judgement.measure == TIME else f" in {MEASURES[judgement.measure].title}"
    title = _command_property(_encodable(f"{verdict_word(judgement)}{of}: {test}"))
    place = f"file={_command_property(_encodable(file))}," if file else ""
    return f"::{level} {place}title={title}::{_command_data(_encodable(numbers_and_reason(judgement)))}"


def _command_data(text: str) -> str:
    """Escape the message of a workflow command.

    Source: actions/toolkit, packages/core/src/command.ts, escapeData.
    """
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _command_property(text: str) -> str:
    """Escape a property of a workflow command.

    Source: actions/toolkit, packages/core/src/command.ts, escapeProperty.
    """
    return _command_data(text).replace(":", "%3A").replace(",", "%2C")


def _encodable(text: str) -> str:
    """Leave out control characters but line breaks, and lone surrogates, which no output encoding holds."""
    kept = ("\r", "\n")
    return "".join(one for one in text if one in kept or unicodedata.category(one) not in ("Cc", "Cs"))
