"""Tests of amounts in words: units of time and of power, and numbers of things."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.amounts import TIME_UNITS, counted, power_unit, time_unit


@given(st.lists(st.floats(1e-9, 1e5), min_size=1, max_size=5))
def test_the_unit_is_the_largest_in_which_the_smallest_time_is_at_least_one(seconds: list[float]) -> None:
    scale, unit = time_unit(seconds)
    assert {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit] == scale
    assert min(seconds) / scale >= 1
    assert unit == "s" or min(seconds) / scale < 1000.001


@pytest.mark.parametrize("shortest_s", [2e-7, 4.39e-8, 3e-10, 0.0])
def test_a_time_below_a_microsecond_is_given_in_nanoseconds(shortest_s: float) -> None:
    assert time_unit([shortest_s, 3.0]) == (1e-9, "ns")


def test_units_of_time_go_down_by_a_thousand() -> None:
    assert [seconds for seconds, _ in TIME_UNITS] == [1.0, 1e-3, 1e-6, 1e-9]


@pytest.mark.parametrize(("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1200, "1,200 files")])
def test_things_are_counted_in_words(count: int, text: str) -> None:
    assert counted(count, "file") == text


@pytest.mark.parametrize(
    ("amounts_mw", "unit"),
    [
        ([32000.0, 5000.0], (1.0, "MW")),
        ([450000.0], (1e3, "GW")),
        ([0.0004, 0.0009, -0.0012], (1e-6, "W")),
        ([0.0, 0.0, 0.25, 0.5], (1e-3, "kW")),
        ([-40.0, 3.0, 2.0], (1.0, "MW")),
        ([0.0], (1.0, "MW")),
    ],
)
def test_power_is_in_the_unit_of_the_usual_amount(amounts_mw: list[float], unit: tuple[float, str]) -> None:
    assert power_unit(amounts_mw) == unit


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=9))
def test_the_usual_power_reads_as_at_least_one(amounts_mw: list[float]) -> None:
    scale_mw, _ = power_unit(amounts_mw)
    assert sorted(amounts_mw)[len(amounts_mw) // 2] / scale_mw >= 1
