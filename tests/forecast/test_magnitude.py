"""Tests of how large loads are: the same numbers in any unit, and where belief ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.forecast.magnitude import BELIEVED_RANGES, believed_between, in_units, unit_of, usual_range

# As files have them: a few figures, and ordinary loads that differ by a hundred times at most.
DIGITS = st.one_of(st.integers(10**5, 10**7), st.integers(-(10**7), -(10**5)))
DECIMALS = st.lists(DIGITS, min_size=3, max_size=60)


@given(DECIMALS, st.integers(0, 4), st.integers(-9, 9))
def test_the_same_file_in_another_unit_is_the_same_to_the_bit(digits: list[int], decimals: int, exponent: int) -> None:
    one = np.array([float(f"{digit}e-{decimals}") for digit in digits])
    other = np.array([float(f"{digit}e{exponent - decimals}") for digit in digits])
    multiplied = one * 10.0**exponent
    unit = unit_of(one)
    for loads in (other, multiplied):
        assert unit_of(loads) == pytest.approx(unit * 10.0**exponent, rel=1e-12)
        np.testing.assert_array_equal(in_units(loads, unit_of(loads)), in_units(one, unit))


@given(DECIMALS)
def test_loads_in_their_unit_are_the_loads(digits: list[int]) -> None:
    loads = np.array(digits) / 100
    unit = unit_of(loads)
    np.testing.assert_allclose(in_units(loads, unit) * unit, loads, rtol=1e-12, atol=1e-12 * unit)


@pytest.mark.parametrize(
    ("loads", "unit"),
    [
        ([5000.0] * 99 + [1e12], 1000.0),
        ([0.0] * 99 + [0.3], 0.1),
        ([-4e-4] * 10, 1e-4),
        ([0.0] * 5, 1.0),
        ([1000.0] * 3, 1e3),
    ],
)
def test_the_unit_is_the_power_of_ten_of_ordinary_loads(loads: list[float], unit: float) -> None:
    assert unit_of(np.array(loads)) == unit


def test_no_spike_is_believed_and_every_ordinary_load_is() -> None:
    loads = np.random.default_rng(0).normal(1000, 100, 5000)
    before = believed_between(loads)
    assert before[0] < loads.min() < loads.max() < before[1]
    assert before[1] - before[0] == pytest.approx((2 * BELIEVED_RANGES + 1) * usual_range(loads))
    loads[[70, 4000]] = 1e12, -1e9
    np.testing.assert_allclose(believed_between(loads), before, rtol=0.1)


def test_of_loads_that_are_nearly_all_equal_each_is_believed() -> None:
    assert believed_between(np.array([0.0] * 999 + [7.0])) == (0, 7)
