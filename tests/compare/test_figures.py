"""Tests of figures that budgets limit: their values, their intervals, and what rounds and processes do not support."""

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.compare.figures import Estimate, figure_of, of_processes
from rnncore.runfile.order_statistics import NEEDED_FOR_MEDIAN
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record
from tests.run_files import MIB, accuracy, inference, make_run, plain_benchmark, plain_content, run_content

TEST = "perf/test_load.py::test_load"
ROUNDS_S = [0.001 * (1 + index) for index in range(700)]


def _plain(folder: Path, rounds_s: list[float], **extra: Any) -> Record:
    (record,) = read_run(make_run(folder, plain_content([plain_benchmark(TEST, rounds_s, **extra)]))).records
    return record


def _ours(folder: Path, entry: dict[str, Any]) -> Record:
    (record,) = read_run(make_run(folder, run_content([entry]))).records
    return record


def _estimate(name: str, record: Record) -> Estimate:
    figure = figure_of(name)
    assert figure is not None
    estimate = figure.estimate(record)
    assert estimate is not None
    return estimate


def _ends(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    return estimate.value, estimate.low, estimate.high


@pytest.mark.parametrize(
    "name",
    [
        *("p99", "p99ms", "p49_ms", "p100_ms", "p99.99_ms", "p99_h", "P99_ms", "median", "mean_ms", "time_ms", "memory"),
        *("facts", "facts.kernel", "facts.percentiles", "facts.first_cal_s", "numbers", "numbers.", "windows", "", "rows"),
    ],
)
def test_what_is_no_figure_is_none(name: str) -> None:
    assert figure_of(name) is None


@pytest.mark.parametrize(("unit", "factor"), [("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)])
def test_a_median_has_the_interval_of_its_rounds_in_each_unit(unit: str, factor: float, tmp_path: Path) -> None:
    estimate = _estimate(f"median_{unit}", _plain(tmp_path, [0.3, 0.1, 0.7, 0.2, 0.4, 0.6, 0.5]))
    assert _ends(estimate) == pytest.approx((0.4 * factor, 0.1 * factor, 0.7 * factor))
    assert estimate.basis == "7 rounds"


def test_a_median_of_few_rounds_has_no_interval_and_says_how_many_it_takes(tmp_path: Path) -> None:
    estimate = _estimate("median_s", _plain(tmp_path, [0.3, 0.1, 0.2]))
    assert _ends(estimate) == (0.2, None, None)
    assert estimate.why_open == "3 rounds are too few for the median, 7 needed"


def test_percentiles_of_enough_rounds_are_those_that_a_row_records(tmp_path: Path) -> None:
    from rnncore.measure.percentiles import percentiles

    record, recorded = _plain(tmp_path, ROUNDS_S), percentiles(ROUNDS_S)
    for name in ("p50", "p90", "p95", "p99"):
        expected = tuple(recorded[name][key] for key in ("s", "low_s", "high_s"))
        assert _ends(_estimate(f"{name}_s", record)) == expected


def test_a_tenth_of_a_percent_is_a_percentile_too(tmp_path: Path) -> None:
    estimate = _estimate("p99.9_s", _plain(tmp_path, [0.001 * (1 + index) for index in range(7000)]))
    assert estimate.value == pytest.approx(6.993)
    assert estimate.high is not None
    few = _estimate("p99.9_s", _plain(tmp_path, ROUNDS_S))
    assert few.high is None
    assert few.why_open.startswith("700 rounds are too few for p99.9, 6,6")


def test_few_rounds_bound_a_p99_from_below_alone(tmp_path: Path) -> None:
    estimate = _estimate("p99_ms", _plain(tmp_path, ROUNDS_S[:40]))
    assert (estimate.value, estimate.high) == (None, None)
    assert estimate.low is not None
    assert estimate.low > 30
    assert estimate.why_open == (
        "40 rounds are too few for p99, 662 needed: run pytest with '--benchmark-min-rounds 662', "
        "or benchmark.pedantic with rounds=662"
    )


@pytest.mark.parametrize("has_case", [False, True], ids=["other suite", "ours"])
def test_of_rounds_that_a_gate_planned_itself_the_advice_is_a_run_of_its_own(has_case: bool, tmp_path: Path) -> None:
    entry = plain_benchmark(TEST, ROUNDS_S[:40], rnncore={"slot_rounds": [20, 20]})
    if has_case:
        entry = inference("gru", "torch", 1, 0.001, slot_rounds=[20, 20])
        entry["stats"]["data"] = ROUNDS_S[:40]
    why = _estimate("p99_ms", _ours(tmp_path, entry)).why_open
    assert why == (
        "40 rounds are too few for p99, 662 needed, and a gate plans its rounds itself: run pytest with "
        "'--benchmark-min-rounds 662 --benchmark-json run.json', then 'rnncore check run.json'"
    )


@pytest.mark.parametrize(("call_s", "has_way"), [(5e-7, False), (5e-5, True)])
def test_of_several_calls_a_round_of_a_gate_the_advice_is_a_run_of_its_own_where_that_takes_single_calls(
    call_s: float, has_way: bool, tmp_path: Path
) -> None:
    entry = plain_benchmark(TEST, [call_s] * 40, iterations=200, rnncore={"slot_rounds": [40]})
    why = _estimate("p99_us", _ours(tmp_path, entry)).why_open
    assert why.startswith("a round is the mean of 200 calls, and hides the slow ones; limit median_us instead")
    assert ("'rnncore check run.json'" in why) is has_way


def test_a_row_of_ours_whose_rounds_have_several_calls_gets_no_advice_that_leads_to_the_same_again(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 5e-5, slot_rounds=[20, 20])
    entry["stats"] |= {"data": [5e-5] * 40, "iterations": 200}
    why = _estimate("p99_us", _ours(tmp_path, entry)).why_open
    assert why == "a round is the mean of 200 calls, and hides the slow ones; limit median_us instead"


def test_a_row_of_ours_is_not_told_to_be_written_by_a_fixture_that_it_does_not_use(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 0.001)
    entry["stats"]["data"] = ROUNDS_S[:40]
    why = _estimate("p99_ms", _ours(tmp_path, entry)).why_open
    assert why == "40 rounds are too few for p99, 662 needed: run pytest with '--benchmark-min-rounds 662'"


def test_fewer_rounds_than_a_row_needs_do_not_bound_a_percentile_from_above(tmp_path: Path) -> None:
    """From 459 on the largest would, as a rank; MLPerf wants the second largest, as every row does."""
    estimate = _estimate("p99_s", _plain(tmp_path, ROUNDS_S[:600]))
    assert (estimate.value, estimate.high) == (None, None)
    assert _estimate("p99_s", _plain(tmp_path, ROUNDS_S[:662])).high == pytest.approx(0.661)


def test_rounds_of_several_calls_hide_single_calls_and_not_the_median(tmp_path: Path) -> None:
    record = _plain(tmp_path, ROUNDS_S, iterations=20)
    estimate = _estimate("p99_ms", record)
    assert _ends(estimate) == (None, None, None)
    assert "mean of 20 calls" in estimate.why_open
    assert _estimate("median_ms", record).high is not None


@pytest.mark.parametrize(("count", "quartiles"), [(40, True), (9, False)])
def test_a_median_without_its_rounds_lies_between_quartiles_or_extremes_that_hold_its_interval(
    count: int, quartiles: bool, tmp_path: Path
) -> None:
    rounds_s = np.random.default_rng(count).exponential(0.1, count).tolist()
    whole = _estimate("median_s", _plain(tmp_path, rounds_s))
    entry = plain_benchmark(TEST, rounds_s, has_rounds=False)
    (record,) = read_run(make_run(tmp_path, plain_content([entry]))).records
    found = _estimate("median_s", record)
    low, high = (record.quartiles_s) if quartiles else (record.quickest_s, record.slowest_s)
    assert _ends(found) == (record.median_s, low, high)
    assert None not in (whole.low, whole.high)
    assert low <= (whole.low or 0)
    assert (whole.high or math.inf) <= high


def test_percentiles_without_rounds_are_not_known(tmp_path: Path) -> None:
    estimate = _estimate("p99_s", _plain(tmp_path, ROUNDS_S, has_rounds=False))
    assert _ends(estimate) == (None, None, None)
    assert "--benchmark-save-data" in estimate.why_open
    few = _estimate("median_s", _plain(tmp_path, ROUNDS_S[:5], has_rounds=False))
    assert (few.low, few.high) == (None, None)


def test_rates_are_the_inverse_of_the_median_with_its_interval(tmp_path: Path) -> None:
    rounds_s = [0.3, 0.1, 0.7, 0.2, 0.4, 0.6, 0.5]
    entry = inference("gru", "torch", 32, 0.4)
    entry["stats"]["data"] = rounds_s
    record = _ours(tmp_path, entry)
    assert _ends(_estimate("calls_per_s", record)) == pytest.approx((1 / 0.4, 1 / 0.7, 1 / 0.1))
    assert _ends(_estimate("windows_per_s", record)) == pytest.approx((32 / 0.4, 32 / 0.7, 32 / 0.1))
    figure = figure_of("windows_per_s")
    assert figure is not None
    assert figure.estimate(_plain(tmp_path, rounds_s)) is None


def test_memory_smape_facts_and_numbers_are_one_value_without_an_interval(tmp_path: Path) -> None:
    ours, plain = _ours(tmp_path, accuracy("lstm", "torch", 0.5, 0.66)), _plain(tmp_path, [0.1], rows_per_s=12_000)
    for name, record, expected in (
        ("peak_memory_mib", ours, 640.0),
        ("peak_memory_gib", ours, 640 * MIB / 2**30),
        ("smape_pct", ours, 0.66),
        ("facts.first_call_s", ours, 1.0),
        ("numbers.rows_per_s", plain, 12_000.0),
    ):
        estimate = _estimate(name, record)
        assert estimate.value == pytest.approx(expected), name
        assert not estimate.has_interval
        assert estimate.basis == "1 value"


@pytest.mark.parametrize("name", ["peak_memory_mib", "smape_pct", "facts.first_call_s", "numbers.errors"])
def test_what_a_benchmark_does_not_record_is_not_known(name: str, tmp_path: Path) -> None:
    figure = figure_of(name)
    assert figure is not None
    assert figure.estimate(_plain(tmp_path, [0.1], rows_per_s=1)) is None


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "12", True])
def test_what_is_no_number_is_not_known(value: object, tmp_path: Path) -> None:
    figure = figure_of("numbers.rows_per_s")
    assert figure is not None
    record = _plain(tmp_path, [0.1], rows_per_s=value)
    assert figure.estimate(record) is None
    why = "the benchmark did not record it, as by benchmark.extra_info['rows_per_s'] = 3; it has median_ms, calls_per_s"
    assert figure.why_unknown(record) == why


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("peak_memory_mib", "record it by benchmark.extra_info['peak_mib'] = 3, and limit numbers.peak_mib; it has"),
        ("windows_per_s", "limit calls_per_s; it has"),
        ("smape_pct", "limit numbers.NAME; it has"),
        ("facts.first_call_s", "a run of its own with 'pytest --rnn-facts' records what can be seen of any; it has"),
    ],
)
def test_of_another_suite_a_missing_figure_says_how_to_get_one_and_which_there_are(
    name: str, said: str, tmp_path: Path
) -> None:
    figure = figure_of(name)
    assert figure is not None
    record = _plain(tmp_path, [0.1] * 70, rows=3)
    assert figure.estimate(record) is None
    assert said in figure.why_unknown(record)
    assert figure.why_unknown(record).endswith("it has median_ms, p50_ms, p90_ms, calls_per_s, numbers.rows")


def test_a_percentile_that_single_rounds_would_tell_names_the_median_in_its_unit(tmp_path: Path) -> None:
    figure = figure_of("p50_us")
    assert figure is not None
    for record, why in (
        (_plain(tmp_path, [0.1] * 9, has_rounds=False), "'--benchmark-save-data' keeps; median_us is known without them"),
        (_plain(tmp_path, [0.1] * 9, iterations=10), "limit median_us instead"),
    ):
        estimate = figure.estimate(record)
        assert estimate is not None
        assert estimate.why_open.endswith(why)


# --------------------------------------------------------------------------------------------------------- processes

NUMBERS = st.lists(st.floats(0.5, 2.0), min_size=1, max_size=30)


def _single(value: float) -> Estimate:
    return Estimate(value, value, value)


def test_one_process_is_what_it_is() -> None:
    assert of_processes([_single(2.0)]) == _single(2.0)


@given(NUMBERS)
def test_the_interval_of_processes_holds_their_median(values: list[float]) -> None:
    found = of_processes(list(map(_single, values)))
    assert found.value == pytest.approx(statistics.median(values))
    assert found.low is not None
    assert found.high is not None
    assert min(values) <= found.low <= found.value <= found.high <= max(values)


def test_fewer_processes_than_an_interval_takes_have_what_holds_those_of_all() -> None:
    found = of_processes([Estimate(1.0, 0.9, 1.2, (1.0,), 50, "round"), Estimate(1.1, 1.0, 1.5, (1.1,), 50, "round")])
    assert _ends(found) == (pytest.approx(1.05), 0.9, 1.5)
    assert found.basis == "2 processes"


def test_enough_processes_have_the_interval_of_the_median_one_however_wide_their_own_are() -> None:
    wide = [Estimate(1.0 + index, 0.1, 99.0, (1.0,), 50, "round") for index in range(NEEDED_FOR_MEDIAN)]
    assert _ends(of_processes(wide)) == (4.0, 1.0, 7.0)


def test_processes_that_each_bound_a_figure_from_below_alone_do_so_together() -> None:
    few = [Estimate(None, 1.0 + index, None, (), 99, "round", 40, "too few") for index in range(9)]
    found = of_processes(few)
    assert _ends(found) == (None, 1.0, None)
    assert found.why_open == "in each process too few"
