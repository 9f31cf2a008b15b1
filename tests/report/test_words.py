"""Tests of rounding: what lies between two bounds lies between them as they are written, too."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.compare.verdict import Judgement
from rnncore.report.sections.accuracy import accuracy_table
from rnncore.report.sections.latency import tails_table
from rnncore.report.sections.ratios import case_ratio
from rnncore.report.sections.results import results_table
from rnncore.report.sections.throughput import inference_table
from rnncore.report.sections.training import data_table, training_table
from rnncore.report.table import Table
from rnncore.report.verdict.words import ratio_text
from rnncore.report.words import compared_with, median_interval_s, ratio_within, significant, times
from rnncore.runfile.earlier import completed
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Summary
from tests.run_files import accuracy, data_path, inference, make_run, run_content, training

SECONDS = st.floats(1e-7, 2e3)
# Rounds that lie close together, where digits run out, and others.
ROUNDS = st.one_of(
    st.lists(SECONDS, min_size=1, max_size=30),
    st.builds(
        lambda middle, shares: [middle * (1 + share / 1000) for share in shares],
        SECONDS,
        st.lists(st.integers(-120, 120), min_size=1, max_size=40),
    ),
)


def _number(text: str) -> float:
    return float(text.replace(",", "").split(" ")[0])


def _cells(table: Table) -> list[dict[str, str]]:
    """Return the rows of a table by heading."""
    return [dict(zip(table.head, row, strict=True)) for row in table.texts]


def _holds(median: str, low: str, high: str) -> bool:
    return _number(low) <= _number(median) <= _number(high)


def _record(entry: dict[str, Any], rounds_s: list[float]) -> Record:
    return Record(entry["fullname"], entry["group"], tuple(rounds_s), completed({"threads": 2, **entry["extra_info"]}))


TABLES = {
    "inference": (lambda: inference("gru", "torch", 1, 0.1), inference_table),
    "training": (lambda: training("gru", 1.0), training_table),
    "accuracy": (lambda: accuracy("gru", "torch", 0.5, 1.0), accuracy_table),
    "data": (lambda: data_path()[1], data_table),
    "results": (lambda: inference("gru", "torch", 1, 0.1), results_table),
}


@pytest.mark.parametrize("kind", TABLES)
@given(rounds_s=ROUNDS, others_s=ROUNDS)
def test_a_median_lies_between_the_least_and_the_most_beside_it(
    kind: str, rounds_s: list[float], others_s: list[float]
) -> None:
    make, table = TABLES[kind]
    for row in _cells(table([_record(make(), rounds_s), _record(make(), others_s)])):
        by_name = {re.sub(r" (s|ms|µs|ns)$", "", name): text for name, text in row.items()}
        median = by_name.get("median") or by_name["scoring"]
        low, high = (by_name["min"], by_name["max"]) if "min" in by_name else by_name["min–max"].split("–")
        assert _holds(median, low, high), (median, low, high)


def test_the_median_of_270_beside_272_to_299_is_written_as_it_is() -> None:
    rounds_s = [0.272, 0.2722, 0.2724, 0.299, 0.298]
    (row,) = _cells(inference_table([_record(inference("gru", "torch", 1, 0.1), rounds_s)]))
    assert _holds(row["median ms"], *row["min–max ms"].split("–"))


@given(values=st.lists(SECONDS, min_size=3, max_size=3).map(sorted), digits=st.integers(1, 4))
def test_what_lies_between_two_bounds_is_written_between_them(values: list[float], digits: int) -> None:
    low, value, high = (significant(one, digits) for one in values)
    assert _holds(value, low, high)


@pytest.mark.parametrize("kind", TABLES)
@given(rounds_s=ROUNDS, others_s=ROUNDS)
def test_the_times_of_a_column_have_as_many_digits_as_one_another(
    kind: str, rounds_s: list[float], others_s: list[float]
) -> None:
    make, table = TABLES[kind]
    for row in _cells(table([_record(make(), rounds_s), _record(make(), others_s)])):
        for name, text in row.items():
            if name.startswith(("median", "min", "max", "scoring")):
                for number in re.findall(r"[\d.,]+", text):
                    digits = re.sub(r"[.,]", "", number).lstrip("0")
                    # Of whole numbers the last may be zeros; a tenth that rounds up to one has one more.
                    assert len(digits) == 3 or (digits.rstrip("0") and len(digits.rstrip("0")) <= 3), number


@given(values=st.lists(SECONDS, min_size=3, max_size=3).map(sorted), median_s=SECONDS)
def test_a_percentile_lies_within_its_interval(values: list[float], median_s: float) -> None:
    found = dict(zip(("low_s", "s", "high_s"), values, strict=True))
    extra = {"percentiles": {"p50": found}, "device": "cpu"}
    (row,) = _cells(tails_table([Record("a::b", "g", (median_s,), extra)]))
    shown = re.fullmatch(r"(\S+) \((\S+) to (\S+)\)", row["p50"])
    assert shown is not None
    assert _holds(*shown.groups())


def _read_ratio(words: str, of: str = "") -> float:
    """Return a ratio that is written in words; an end that names no direction has that of its ratio."""
    number = re.match(r"[\d.,]+", words)
    if number is None:
        return 1.0
    factor = float(number[0].replace(",", ""))
    return 1 / factor if "faster" in (words if " " in words else of) else factor


@given(before_s=ROUNDS, now_s=ROUNDS)
def test_a_ratio_of_two_machines_lies_within_its_interval(before_s: list[float], now_s: list[float]) -> None:
    before, now = (_record(inference("gru", "torch", 1, 0.1), rounds_s) for rounds_s in (before_s, now_s))
    text = case_ratio("B", before, now).text
    shown = re.fullmatch(r"(.*) \((\S+x? ?\w*) to (\S+x? ?\w*)\)", text)
    if shown is not None and "within" not in text:
        ratio, *ends = (_read_ratio(words, shown[1]) for words in shown.groups())
        low, high = sorted(ends)
        assert low <= ratio * (1 + 1e-12)
        assert ratio <= high * (1 + 1e-12)


@pytest.mark.parametrize(
    ("ratio", "low", "high", "expected"),
    [
        (1 / 12.70, 1 / 17.43, 1 / 12.29, "12.7x faster (12.3 to 17.4)"),
        (1 / 1.04, 1 / 3.05, 1.02, "1.04x faster (1.02x slower to 3.05x faster)"),
        (12.70, 12.29, 17.43, "12.7x slower (12.3 to 17.4)"),
        (1.04, 1 / 1.02, 3.05, "1.04x slower (1.02x faster to 3.05x slower)"),
        (1.0, 1 / 1.02, 1.03, "equal (1.02x faster to 1.03x slower)"),
        (1.0, 0.999, 1.03, "equal (up to 1.03x slower)"),
        (1.0, 0.999, 1.001, "equal (to within 0.5 %)"),
        (1 / 123.4, None, None, "123x faster"),
    ],
)
def test_an_interval_reads_from_small_to_large_and_says_each_word_once(
    ratio: float, low: float | None, high: float | None, expected: str
) -> None:
    assert ratio_within(ratio, low, high) == expected


@given(values=st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3).map(sorted))
def test_the_ends_of_an_interval_rise_in_the_direction_of_its_word(values: list[float]) -> None:
    low, ratio, high = values
    text = ratio_within(ratio, low, high)
    end = r"([\d.,]+x?)(?: (slower|faster))?"
    shown = re.fullmatch(rf"([\d.,]+x) (slower|faster) \({end} to {end}\)", text)
    if shown is None:
        assert times(ratio) == "equal"
        return
    word = shown[2]
    first, last = (
        float(number.rstrip("x").replace(",", "")) ** (-1 if of not in (None, word) else 1)
        for number, of in ((shown[3], shown[4]), (shown[5], shown[6]))
    )
    assert first <= last
    # Each direction is said once: the ratio's own with it, the other with the end that lies there.
    assert text.count("slower" if word == "faster" else "faster") <= 1


@given(values=st.lists(st.floats(0.2, 5.0), min_size=3, max_size=3).map(sorted))
def test_a_verdict_s_ratio_lies_within_its_interval(values: list[float]) -> None:
    low, ratio, high = values
    text = ratio_text(Judgement("a::b", "g", "time", "unclear", "", ratio=ratio, low=low, high=high))
    shown = re.fullmatch(r"([\d.]+)x (?:slower|faster) \(([\d.]+) to ([\d.]+)\)", text)
    if shown is not None:
        assert _holds(shown[1], shown[2], shown[3])


def test_of_a_row_below_a_microsecond_the_table_of_results_has_nanoseconds(tmp_path: Path) -> None:
    rows = [inference("gru", "torch", 1, 780e-9), inference("lstm", "torch", 1, 0.1), inference("gru", "torch", 32, 0.2)]
    short, long, _ = results_table(list(read_run(make_run(tmp_path, run_content(rows))).records)).texts
    assert [cell.split(" ")[-1] for cell in short[5:8]] == ["ns"] * 3
    assert float(short[5].split(" ")[0]) == pytest.approx(780, rel=0.01)
    assert "ns" not in "".join(long[5:8])


def test_what_a_ratio_is_to_follows_it_as_english_has_it() -> None:
    assert compared_with(times(1.5), "X") == "1.50x slower than X"
    assert compared_with(times(1.0), "X") == "equal to X"
    assert compared_with(ratio_within(1.0, 0.9, 1.1), "X") == "equal (1.11x faster to 1.10x slower) to X"
    assert compared_with(ratio_within(2.0, 1.9, 2.1), "X") == "2.00x slower (1.90 to 2.10) than X"


@given(st.lists(SECONDS, min_size=5, max_size=5), st.integers(1, 100))
def test_the_interval_of_a_median_lies_within_the_rounds_and_holds_it(seconds: list[float], rounds: int) -> None:
    summary = Summary(*sorted(seconds), rounds=rounds)
    low_s, high_s = median_interval_s(Record("a", "a", (), {}, summary))
    assert summary.quickest_s <= low_s <= summary.median_s <= high_s <= summary.slowest_s
