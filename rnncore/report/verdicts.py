"""A comparison as text for the screen, JSON, Markdown, JUnit XML and GitHub annotations."""

import math
import re
import unicodedata
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from rnncore.compare.measures import BESIDE_TIME, MEASURES, TIME, Measure
from rnncore.compare.verdict import Comparison, Judgement, Verdict
from rnncore.report.tables import markdown_table, paragraph, significant, time_unit, times

# Lines to print, and the table under them, its first row the heading; no rows where the lines are all.
TextTable = tuple[str, list[list[str]]]

GRAVEST_FIRST: tuple[Verdict, ...] = ("slower", "invalid", "missing", "incomparable", "unclear", "faster", "new", "same")

# Between these a ratio reads as 1.00, and nothing is called slower or faster by 1.00; the bounds of `times`.
_EQUAL = (0.995, 1.005)

# Failures were checked and found wrong (exit code 1); errors could not be checked at all (exit codes 4 and 5).
_JUNIT_FAILURES = ("slower", "invalid")
_JUNIT_ERRORS = ("missing", "incomparable")

_ANNOTATION_LEVELS: dict[Verdict, str] = {
    "slower": "error",
    "invalid": "error",
    "missing": "error",
    "incomparable": "warning",
    "unclear": "warning",
}

# GitHub shows so many errors and so many warnings of a step, and drops the rest in silence.
# Source: https://docs.github.com/en/rest/checks/runs, "10 warning annotations and 10 error annotations per step".
_SHOWN_ANNOTATIONS = 10

# Source: XML 1.0, fifth edition, production 2 (Char).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Markdown that `escape` leaves: it would make code, emphasis, formulas, links and pictures of text.
_MARKDOWN = re.compile(r"[\\`*~$]|(?<=\])\(|(?<![^\W_])_|_(?![^\W_])")


@dataclass(frozen=True)
class _Outcome:
    """All judgements of one benchmark."""

    judgements: tuple[Judgement, ...]

    @property
    def fullname(self) -> str:
        return self.judgements[0].fullname

    @property
    def verdict(self) -> Verdict:
        return min((judgement.verdict for judgement in self.judgements), key=GRAVEST_FIRST.index)

    @property
    def deciding(self) -> list[Judgement]:
        """The judgements that have the gravest verdict."""
        return [judgement for judgement in self.judgements if judgement.verdict == self.verdict]

    @property
    def words(self) -> str:
        """The verdict, with the measure it is of unless that is time."""
        judgement = self.deciding[0]
        word = verdict_word(judgement)
        return word if judgement.measure == TIME else f"{word} in {MEASURES[judgement.measure].title}"

    @property
    def reason(self) -> str:
        """Why, of each measure that decides; only of the first where all is the same."""
        deciding = self.deciding[:1] if self.verdict == "same" else self.deciding
        return "; ".join(_reason_with_measure(judgement) for judgement in deciding)

    def of(self, measure: Measure) -> Judgement | None:
        return next((judgement for judgement in self.judgements if judgement.measure == measure), None)


def _outcomes(comparison: Comparison) -> list[_Outcome]:
    by_name: dict[str, list[Judgement]] = {}
    for judgement in comparison.judgements:
        by_name.setdefault(judgement.fullname, []).append(judgement)
    return [_Outcome(tuple(judgements)) for judgements in by_name.values()]


def _gravest_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    return sorted(judgements, key=lambda judgement: GRAVEST_FIRST.index(judgement.verdict))


# --------------------------------------------------------------------------------------------------------------- words


def whole_verdict(comparison: Comparison) -> str:
    """Return the whole verdict as a line: `2 of 14 slower, 1 unclear, 11 same: slower (exit code 1)`."""
    return f"{_counts(comparison)}: {comparison.verdict} (exit code {comparison.exit_code})"


def _counts(comparison: Comparison) -> str:
    outcomes = sorted(_outcomes(comparison), key=lambda outcome: GRAVEST_FIRST.index(outcome.verdict))
    if not outcomes:
        return "no benchmark was compared"
    first, *others = Counter(outcome.words for outcome in outcomes).items()
    return ", ".join([f"{first[1]} of {len(outcomes)} {first[0]}", *[f"{count} {words}" for words, count in others]])


def verdict_word(judgement: Judgement) -> str:
    """Return the verdict for people: of memory and sMAPE `worse` and `better` in place of `slower` and `faster`."""
    if judgement.measure == TIME:
        return judgement.verdict
    return {"slower": "worse", "faster": "better"}.get(judgement.verdict, judgement.verdict)


def ratio_text(judgement: Judgement) -> str:
    """Return the ratio in words with its interval: `1.33x slower (1.21 to 1.46)`, `equal (1.02x faster to 1.03x slower)`."""
    if not _is_ratio(judgement.ratio):
        return "–"
    words = _ratio_words(judgement.ratio, judgement.measure)
    if not (_is_ratio(judgement.low) and _is_ratio(judgement.high)):
        return words
    return f"{words} ({_interval_words(judgement.ratio, judgement.low, judgement.high, judgement.measure)})"


def _is_ratio(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value) and value > 0


def _ratio_words(ratio: float, measure: Measure) -> str:
    kind = MEASURES[measure]
    return times(ratio).replace("slower", kind.more).replace("faster", kind.less)


def _interval_words(ratio: float, low: float, high: float, measure: Measure) -> str:
    """Name the ends by number alone where they lie on the ratio's side of 1, else each in words."""
    side, sides = _side(ratio), (_side(low), _side(high))
    if side > 0 and min(sides) >= 0:
        return f"{max(low, 1):.2f} to {high:.2f}"
    if side < 0 and max(sides) <= 0:
        return f"{1 / min(high, 1):.2f} to {1 / low:.2f}"
    if sides == (0, 0):
        return "to within 0.5 %"
    ends = [_ratio_words(end, measure) for end, of in ((low, sides[0]), (high, sides[1])) if of]
    return " to ".join(ends) if len(ends) == len(sides) else f"up to {ends[0]}"


def _side(ratio: float) -> int:
    return (ratio > _EQUAL[1]) - (ratio < _EQUAL[0])


def _reason_with_measure(judgement: Judgement) -> str:
    of = "" if judgement.measure == TIME else f"{MEASURES[judgement.measure].title}: "
    return f"{of}{judgement.reason}"


def _reason(judgement: Judgement) -> str:
    return judgement.reason if judgement.grown is None else f"{judgement.reason}; grew: {judgement.grown}"


def _processes(judgement: Judgement) -> str:
    return f"{judgement.base_processes}, {judgement.head_processes}"


def _file_and_test(fullname: str) -> tuple[str, str]:
    """Split a full name after its file; a parameter of the test may hold `::` too."""
    file, found, test = fullname.partition("::")
    return (file, test) if found else ("", fullname)


def _one_line(text: str) -> str:
    """Return text that stays on its line and moves no cursor: no line breaks, control characters or lone surrogates."""
    text = re.sub(r"\s+", " ", text)
    return "".join(character for character in text if unicodedata.category(character) not in ("Cc", "Cs"))


def _scale(judgements: Iterable[Judgement], measure: Measure) -> tuple[float, str]:
    """Return the scale and name of the one unit for values of a measure."""
    unit = MEASURES[measure].unit
    if unit is not None:
        return unit
    values = [value for judgement in judgements for value in (judgement.base, judgement.head) if _is_ratio(value)]
    return time_unit(values) if values else (1.0, "s")


def _value(value: float | None, scale: float, measure: Measure) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    digits = MEASURES[measure].digits
    return f"{value / scale:.3f}" if digits is None else significant(value / scale, digits)


# -------------------------------------------------------------------------------------------------------------- screen


def verdict_tables(comparison: Comparison) -> Iterator[TextTable]:
    """Yield what a reader must know first, the judgements with the gravest first, groups, and the whole verdict last.

    Args:
        comparison: The verdicts.

    Yields:
        Lines, and the rows of the table under them, the first row its heading; rows may be empty.
    """
    notes = [f"Base: {comparison.base}", f"Head: {comparison.head}", *comparison.notes, _rates(comparison)]
    yield "\n".join(map(_one_line, notes)), _judgement_rows(comparison, TIME)
    for measure in BESIDE_TIME:
        if line := _measure_line(comparison, measure):
            yield line, _judgement_rows(comparison, measure)
    if comparison.groups:
        yield "Geometric means of the ratios of time", _group_rows(comparison)
    if comparison.differences:
        yield "Facts that differ, so that the ratios tell machines apart and not code", _difference_rows(comparison)
    yield whole_verdict(comparison), []


def _judgement_rows(comparison: Comparison, measure: Measure) -> list[list[str]]:
    """Return the judgements on a measure in one unit; other measures than time only where they are not the same."""
    judgements = [judgement for judgement in comparison.judgements if judgement.measure == measure]
    shown = _gravest_first(judgement for judgement in judgements if measure == TIME or judgement.verdict != "same")
    if not shown:
        return []
    scale, unit = _scale(shown, measure)
    rows = [
        [
            _one_line(_file_and_test(judgement.fullname)[1]),
            verdict_word(judgement),
            ratio_text(judgement),
            _value(judgement.base, scale, measure),
            _value(judgement.head, scale, measure),
            _processes(judgement),
            _one_line(_reason(judgement)),
        ]
        for judgement in shown
    ]
    return [["Benchmark", "verdict", "head against base", f"base {unit}", f"head {unit}", "processes", "why"], *rows]


def _measure_line(comparison: Comparison, measure: Measure) -> str:
    """Return how many benchmarks have which verdict on a measure; nothing where it was not judged."""
    judged = _gravest_first(judgement for judgement in comparison.judgements if judgement.measure == measure)
    counts = Counter(map(verdict_word, judged))
    name = MEASURES[measure].title
    # sMAPE is written so at the start of a line too.
    return f"{name if name[1].isupper() else name.capitalize()}: {_listed(counts)}" if counts else ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _rates(comparison: Comparison) -> str:
    return (
        f"Intervals are of {_percent(comparison.confidence)}; the chance of any false slower or faster is at most "
        f"{_percent(comparison.family_error)}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _group_rows(comparison: Comparison) -> list[list[str]]:
    rows = [
        [_one_line(group.group), f"{group.count:,}", _ratio_words(group.ratio, TIME) if _is_ratio(group.ratio) else "–"]
        for group in comparison.groups
    ]
    return [["Group", "benchmarks", "head against base"], *rows]


def _difference_rows(comparison: Comparison) -> list[list[str]]:
    return [["Fact", "base", "head"], *[list(map(_one_line, row)) for row in comparison.differences]]


# ---------------------------------------------------------------------------------------------------------------- JSON


def verdict_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison for other programs: seconds, bytes and percent; what is not known, or no number, is null.

    The verdict of a benchmark is the gravest of its measures' verdicts, and its reason says of which measure; its ratio
    is always that of time.

    Args:
        comparison: The verdicts.
    """
    return {
        "verdict": comparison.verdict,
        "exit_code": comparison.exit_code,
        "base": comparison.base,
        "head": comparison.head,
        "confidence": _finite(comparison.confidence),
        "family_error": _finite(comparison.family_error),
        "notes": list(comparison.notes),
        "differences": [{"fact": fact, "base": base, "head": head} for fact, base, head in comparison.differences],
        "groups": [
            {"group": group.group, "ratio": _finite(group.ratio), "count": group.count} for group in comparison.groups
        ],
        "benchmarks": [_outcome_json(outcome) for outcome in _outcomes(comparison)],
    }


def _outcome_json(outcome: _Outcome) -> dict[str, Any]:
    time, first = outcome.of(TIME), outcome.judgements[0]
    entry: dict[str, Any] = {
        "fullname": first.fullname,
        "group": first.group,
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        **_numbers_json(time, MEASURES[TIME].json_unit),
        "grown": time.grown if time else None,
    }
    if time:
        entry["time"] = {"verdict": time.verdict, "reason": time.reason}
    for measure in BESIDE_TIME:
        judgement = outcome.of(measure)
        if judgement:
            entry[measure] = {
                "verdict": judgement.verdict,
                "reason": judgement.reason,
                **_numbers_json(judgement, MEASURES[measure].json_unit),
            }
    return entry


def _numbers_json(judgement: Judgement | None, unit: str) -> dict[str, Any]:
    """Return the numbers of a judgement, all null where there is none."""
    return {
        "ratio": _finite(judgement.ratio) if judgement else None,
        "low": _finite(judgement.low) if judgement else None,
        "high": _finite(judgement.high) if judgement else None,
        f"base_{unit}": _finite(judgement.base) if judgement else None,
        f"head_{unit}": _finite(judgement.head) if judgement else None,
        "p_value": _finite(judgement.p_value) if judgement else None,
        "processes": {
            "base": judgement.base_processes if judgement else 0,
            "head": judgement.head_processes if judgement else 0,
        },
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# ------------------------------------------------------------------------------------------------------------ Markdown


def verdict_markdown(comparison: Comparison) -> str:
    """Render a comparison for a pull request or a job's summary; equal comparisons give equal bytes.

    Args:
        comparison: The verdicts.

    Returns:
        Markdown that GitHub renders, in which text that came from a file stays text.
    """
    return "\n".join(_markdown_parts(comparison))


def judgement_table(comparison: Comparison) -> str:
    """Render all judgements as one Markdown table, the gravest first."""
    return _judgement_table(_gravest_first(comparison.judgements))


def _markdown_parts(comparison: Comparison) -> Iterator[str]:
    yield f"## {comparison.verdict.capitalize()}: {_counts(comparison)}\n"
    yield paragraph(f"Head {_inert(comparison.head)} against base {_inert(comparison.base)}.")
    yield from (paragraph(f"Note: {_inert(note)}") for note in comparison.notes)
    ordered = _gravest_first(comparison.judgements)
    changed = [judgement for judgement in ordered if judgement.verdict != "same"]
    same = [judgement for judgement in ordered if judgement.verdict == "same"]
    if changed:
        yield _judgement_table(changed)
    if same:
        yield f"<details><summary>{_same_summary(same)}</summary>\n"
        yield _judgement_table(same)
        yield "</details>\n"
    if comparison.groups:
        yield _markdown_rows(_group_rows(comparison))
    if comparison.differences:
        yield paragraph("Facts that differ, so that the ratios tell machines apart and not code:")
        yield _markdown_rows(_difference_rows(comparison))
    yield from _how_to_read(comparison)


def _judgement_table(judgements: Sequence[Judgement]) -> str:
    rows = []
    for judgement in judgements:
        scale, unit = _scale([judgement], judgement.measure)
        values = [_value(value, scale, judgement.measure) for value in (judgement.base, judgement.head)]
        rows.append(
            [
                _inert(_file_and_test(judgement.fullname)[1]),
                MEASURES[judgement.measure].title,
                verdict_word(judgement) if judgement.verdict == "same" else f"**{verdict_word(judgement)}**",
                _inert(_reason(judgement)),
                ratio_text(judgement),
                *[value if value == "–" else f"{value} {unit}" for value in values],
                _processes(judgement),
            ]
        )
    head = ["Benchmark", "Measure", "verdict", "why", "head against base", "base", "head", "processes"]
    return markdown_table(head, rows, left=4)


def _same_summary(same: Sequence[Judgement]) -> str:
    counts = Counter(MEASURES[judgement.measure].title for judgement in same)
    return f"The same: {', '.join(f'{measure} of {count:,}' for measure, count in counts.items())}"


def _markdown_rows(rows: list[list[str]]) -> str:
    return markdown_table(rows[0], [list(map(_inert, row)) for row in rows[1:]])


def _how_to_read(comparison: Comparison) -> Iterator[str]:
    yield paragraph(
        "A ratio is the head's typical value over the base's; in parentheses stands its interval of "
        f"{_percent(comparison.confidence)} over processes, whose numbers (base, head) stand at the end."
    )
    yield paragraph(
        "Slower and faster are said only of what noise does not explain: the chance of any false one in the whole table is "
        f"at most {_percent(comparison.family_error)}. Unclear means that too little was measured to tell."
    )


def _inert(text: str) -> str:
    """Return text on one line that is no Markdown; `escape` does the rest where it is put on the page."""
    return _MARKDOWN.sub(r"\\\g<0>", _one_line(text))


# --------------------------------------------------------------------------------------------------------------- JUnit


def verdict_junit(comparison: Comparison) -> str:
    """Render a comparison as JUnit XML: a test case for each benchmark and measure.

    `slower` and `invalid` are failures: they were checked and found wrong. `missing` and `incomparable` are errors: they
    could not be checked. `unclear` is skipped. The time of a case is the head's seconds, and 0 for other measures, so
    that the sum is right.

    Args:
        comparison: The verdicts.

    Returns:
        XML without the characters that XML cannot hold.

    Source: the schema of Jenkins' xUnit plugin, junit-10.xsd, which is also that of pytest's own tests.
    """
    found = Counter(_junit_element(judgement.verdict) for judgement in comparison.judgements)
    counts = {
        "tests": str(len(comparison.judgements)),
        "failures": str(found["failure"]),
        "errors": str(found["error"]),
    }
    time = {"time": _junit_seconds(sum(_head_s(judgement) for judgement in comparison.judgements))}
    suites = ElementTree.Element("testsuites", {"name": "rnncore", **counts, **time})
    facts = {"name": "rnncore", **counts, "skipped": str(found["skipped"]), **time}
    suite = ElementTree.SubElement(suites, "testsuite", facts)
    properties = ElementTree.SubElement(suite, "properties")
    told = {"verdict": comparison.verdict, "base": comparison.base, "head": comparison.head}
    for name, value in told.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _xml_text(value)})
    for judgement in comparison.judgements:
        _add_case(suite, judgement)
    ElementTree.indent(suites)
    xml = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}\n'


def _add_case(suite: ElementTree.Element, judgement: Judgement) -> None:
    file, test = _file_and_test(judgement.fullname)
    of = "" if judgement.measure == TIME else f", {MEASURES[judgement.measure].title}"
    facts = {
        "classname": _xml_text(file.removesuffix(".py").replace("/", ".") or "benchmarks"),
        "name": _xml_text(f"{test}{of}"),
        "time": _junit_seconds(_head_s(judgement)),
    }
    case = ElementTree.SubElement(suite, "testcase", facts)
    element, text = _junit_element(judgement.verdict), _xml_text(_numbers_and_reason(judgement))
    if element == "system-out":
        ElementTree.SubElement(case, element).text = text
        return
    message = text if element != "skipped" else _xml_text(judgement.reason)
    ElementTree.SubElement(case, element, {"type": judgement.verdict, "message": message}).text = text


def _junit_element(verdict: Verdict) -> str:
    if verdict in _JUNIT_FAILURES:
        return "failure"
    if verdict in _JUNIT_ERRORS:
        return "error"
    return "skipped" if verdict == "unclear" else "system-out"


def _numbers_and_reason(judgement: Judgement) -> str:
    """Return `1.33x slower (1.21 to 1.46), 10.0 ms to 13.3 ms, processes 10, 10: reason`, as far as it is known."""
    scale, unit = _scale([judgement], judgement.measure)
    values = [_value(value, scale, judgement.measure) for value in (judgement.base, judgement.head)]
    parts = [ratio_text(judgement), " to ".join(value if value == "–" else f"{value} {unit}" for value in values)]
    known = [part for part in parts if part not in ("–", "– to –")]
    is_told = bool(known) and known[0].split(" (")[0].endswith(verdict_word(judgement))
    verdict = [] if is_told else [verdict_word(judgement)]
    return f"{', '.join([*verdict, *known, f'processes {_processes(judgement)}'])}: {_reason(judgement)}"


def _head_s(judgement: Judgement) -> float:
    return (_finite(judgement.head) or 0.0) if judgement.measure == TIME else 0.0


def _junit_seconds(seconds: float) -> str:
    # No exponent and no thousands: xs:decimal, and the pattern of Surefire.
    return f"{seconds:.9f}"


def _xml_text(text: str) -> str:
    return _NO_XML.sub("", text)


# -------------------------------------------------------------------------------------------------------------- GitHub


def github_annotations(comparison: Comparison) -> list[str]:
    """Return workflow commands: errors for what is slower, invalid or missing, warnings for what cannot be told.

    GitHub shows ten of each in a step; where there are more, the tenth counts the rest.

    Args:
        comparison: The verdicts.

    Returns:
        Lines to print on standard output, gravest first.
    """
    commands: dict[str, list[str]] = {"error": [], "warning": []}
    for judgement in _gravest_first(comparison.judgements):
        level = _ANNOTATION_LEVELS.get(judgement.verdict)
        if level:
            commands[level].append(_annotation(level, judgement))
    return [command for level, of in commands.items() for command in _ten_at_most(level, of)]


def _annotation(level: str, judgement: Judgement) -> str:
    file, test = _file_and_test(judgement.fullname)
    of = "" if judgement.measure == TIME else f" in {MEASURES[judgement.measure].title}"
    title = _command_property(_encodable(f"{verdict_word(judgement)}{of}: {test}"))
    place = f"file={_command_property(_encodable(file))}," if file else ""
    return f"::{level} {place}title={title}::{_command_data(_encodable(_numbers_and_reason(judgement)))}"


def _ten_at_most(level: str, commands: list[str]) -> list[str]:
    if len(commands) <= _SHOWN_ANNOTATIONS:
        return commands
    shown = commands[: _SHOWN_ANNOTATIONS - 1]
    kind = "slower, invalid or missing" if level == "error" else "unclear or incomparable"
    more = f"{len(commands) - len(shown)} more are {kind}; the job's summary has all of them"
    return [*shown, f"::{level} title=rnncore::{more}"]


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
