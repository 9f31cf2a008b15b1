"""Verdicts as JUnit XML: a slower benchmark, or a budget that is not kept, is a failed case."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rnncore.compare.measures import TIME
from rnncore.compare.verdict import VERDICTS, BudgetCheck, BudgetJudgement, Comparison, Judgement, Verdict
from rnncore.report.verdict.budgets import figure_and_reason, limit_text
from rnncore.report.verdict.words import (
    base_and_head,
    file_and_test,
    finite,
    measure_title,
    processes_of,
    ratio_text,
    reason_of,
    verdict_word,
)

# Source: XML 1.0, fifth edition, production 2 (Char).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class _Case:
    """A test case.

    Attributes:
        fullname: Of its benchmark.
        of: What of it was judged; empty for its time.
        verdict: What holds.
        text: Numbers and reason.
        reason: Alone.
        seconds: Of its time.
    """

    fullname: str
    of: str
    verdict: Verdict
    text: str
    reason: str
    seconds: float = 0.0


def verdict_junit(comparison: Comparison) -> str:
    """Render a comparison as JUnit XML: a test case for each benchmark and measure, and for each budget.

    `slower`, `over` and `invalid` are failures: they were checked and found wrong. `missing` and `incomparable` are errors:
    they could not be checked. `unclear` and `cannot tell` are skipped. The time of a case is the head's seconds, and 0 for
    other measures, so that the sum is right.

    Args:
        comparison: The verdicts.

    Returns:
        XML without the characters that XML cannot hold.

    Source: the schema of Jenkins' xUnit plugin, junit-10.xsd, which is also that of pytest's own tests.
    """
    cases = [_case(judgement) for judgement in comparison.judgements]
    cases += [_budget_case(judgement) for judgement in (comparison.budgets.judgements if comparison.budgets else ())]
    return _junit({"verdict": comparison.verdict, "base": comparison.base, "head": comparison.head}, cases)


def budgets_junit(check: BudgetCheck) -> str:
    """Render verdicts on budgets as JUnit XML, as `verdict_junit` does.

    Args:
        check: The verdicts.
    """
    return _junit({"verdict": check.verdict, "runs": check.runs}, list(map(_budget_case, check.judgements)))


def numbers_and_reason(judgement: Judgement) -> str:
    """Return `1.33x slower (1.21 to 1.46), 10.0 ms to 13.3 ms, processes 10, 10: reason`, as far as it is known."""
    parts = [ratio_text(judgement), " to ".join(base_and_head(judgement))]
    known = [part for part in parts if part not in ("–", "– to –")]
    has_verdict = bool(known) and known[0].split(" (")[0].endswith(verdict_word(judgement))
    verdict = [] if has_verdict else [verdict_word(judgement)]
    return f"{', '.join([*verdict, *known, f'processes {processes_of(judgement)}'])}: {reason_of(judgement)}"


def _case(judgement: Judgement) -> _Case:
    is_time = judgement.measure == TIME
    return _Case(
        judgement.fullname,
        "" if is_time else measure_title(judgement.measure),
        judgement.verdict,
        numbers_and_reason(judgement),
        judgement.reason,
        (finite(judgement.head) or 0.0) if is_time else 0.0,
    )


def _budget_case(judgement: BudgetJudgement) -> _Case:
    # Where no benchmark matches the pattern is in its place.
    name = judgement.fullname or judgement.pattern
    return _Case(name, limit_text(judgement), judgement.verdict, figure_and_reason(judgement), judgement.reason)


def _junit(values: Mapping[str, str], cases: Sequence[_Case]) -> str:
    """Return XML of some cases, and of what holds for all of them by name."""
    found = Counter(VERDICTS[case.verdict].junit for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(found["failure"]), "errors": str(found["error"])}
    time = {"time": _junit_seconds(sum(case.seconds for case in cases))}
    suites = ElementTree.Element("testsuites", {"name": "rnncore", **counts, **time})
    facts = {"name": "rnncore", **counts, "skipped": str(found["skipped"]), **time}
    suite = ElementTree.SubElement(suites, "testsuite", facts)
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in values.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _xml_text(value)})
    for case in cases:
        _add(suite, case)
    ElementTree.indent(suites)
    xml = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}\n'


def _add(suite: ElementTree.Element, case: _Case) -> None:
    file, test = file_and_test(case.fullname)
    facts = {
        "classname": _xml_text(file.removesuffix(".py").replace("/", ".") or "benchmarks"),
        "name": _xml_text(f"{test}, {case.of}" if case.of else test),
        "time": _junit_seconds(case.seconds),
    }
    element, text = VERDICTS[case.verdict].junit, _xml_text(case.text)
    message = {"type": case.verdict, "message": _xml_text(case.reason) if element == "skipped" else text}
    parent = ElementTree.SubElement(suite, "testcase", facts)
    ElementTree.SubElement(parent, element, {} if element == "system-out" else message).text = text


def _junit_seconds(seconds: float) -> str:
    # No exponent and no thousands: xs:decimal, and the pattern of Surefire.
    return f"{seconds:.9f}"


def _xml_text(text: str) -> str:
    return _NO_XML.sub("", text)
