"""A comparison as JUnit XML: a slower benchmark is a failed case."""

import re
import xml.etree.ElementTree as ElementTree
from collections import Counter

from rnncore.compare.measures import MEASURES, TIME
from rnncore.compare.verdict import VERDICTS, Comparison, Judgement
from rnncore.report.verdict.words import (
    base_and_head,
    file_and_test,
    finite,
    processes_of,
    ratio_text,
    reason_of,
    verdict_word,
)

# Source: XML 1.0, fifth edition, production 2 (Char).
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
    found = Counter(VERDICTS[judgement.verdict].junit for judgement in comparison.judgements)
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
    values = {"verdict": comparison.verdict, "base": comparison.base, "head": comparison.head}
    for name, value in values.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _xml_text(value)})
    for judgement in comparison.judgements:
        _add_case(suite, judgement)
    ElementTree.indent(suites)
    xml = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}\n'


def _add_case(suite: ElementTree.Element, judgement: Judgement) -> None:
    file, test = file_and_test(judgement.fullname)
    of = "" if judgement.measure == TIME else f", {MEASURES[judgement.measure].title}"
    facts = {
        "classname": _xml_text(file.removesuffix(".py").replace("/", ".") or "benchmarks"),
        "name": _xml_text(f"{test}{of}"),
        "time": _junit_seconds(_head_s(judgement)),
    }
    case = ElementTree.SubElement(suite, "testcase", facts)
    element, text = VERDICTS[judgement.verdict].junit, _xml_text(numbers_and_reason(judgement))
    if element == "system-out":
        ElementTree.SubElement(case, element).text = text
        return
    message = text if element != "skipped" else _xml_text(judgement.reason)
    ElementTree.SubElement(case, element, {"type": judgement.verdict, "message": message}).text = text


def numbers_and_reason(judgement: Judgement) -> str:
    """Return `1.33x slower (1.21 to 1.46), 10.0 ms to 13.3 ms, processes 10, 10: reason`, as far as it is known."""
    parts = [ratio_text(judgement), " to ".join(base_and_head(judgement))]
    known = [part for part in parts if part not in ("–", "– to –")]
    has_verdict = bool(known) and known[0].split(" (")[0].endswith(verdict_word(judgement))
    verdict = [] if has_verdict else [verdict_word(judgement)]
    return f"{', '.join([*verdict, *known, f'processes {processes_of(judgement)}'])}: {reason_of(judgement)}"


def _head_s(judgement: Judgement) -> float:
    return (finite(judgement.head) or 0.0) if judgement.measure == TIME else 0.0


def _junit_seconds(seconds: float) -> str:
    # No exponent and no thousands: xs:decimal, and the pattern of Surefire.
    return f"{seconds:.9f}"


def _xml_text(text: str) -> str:
    return _NO_XML.sub("", text)
