"""Tests of numbers: the decimal mark is decided over a column, or refused; a missing value is NaN, any other text wrong."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rnncore.forecast.amounts import MAX_LOAD_MW, is_amount, is_missing, missing_fault, read_amounts
from rnncore.forecast.stamps import RowFault


@given(
    values=st.lists(st.decimals(-9_999_999, 9_999_999, places=2), min_size=1, max_size=30),
    mark=st.sampled_from(",."),
    apart=st.sampled_from(["", "other", " ", "'", "\u00a0", "\u202f"]),
)
def test_numbers_are_read_in_every_notation(values: list[object], mark: str, apart: str) -> None:
    other = {"other": "." if mark == "," else ","}.get(apart, apart)
    texts = [f"{value:,.2f}".translate(str.maketrans({",": other, ".": mark})) for value in values]
    np.testing.assert_array_equal(read_amounts(texts).value, [float(value) for value in values])


@given(st.lists(st.floats(-1e17, 1e17, allow_nan=False), min_size=1, max_size=20))
def test_numbers_that_python_writes_are_read_to_the_bit(values: list[float]) -> None:
    found = read_amounts([repr(value) for value in values])
    np.testing.assert_array_equal(found.value, values)
    assert found.found == ()


@given(st.lists(st.integers(1, 999), min_size=1, max_size=20))
def test_three_figures_after_each_comma_are_refused_unless_the_mark_is_given(heads: list[int]) -> None:
    texts = [f"{head},{head:03}" for head in heads]
    with pytest.raises(RowFault, match=f"'{texts[0]}' may have a decimal comma or thousands") as fault:
        read_amounts(texts)
    assert fault.value.row is None
    np.testing.assert_array_equal(read_amounts(texts, ",").value, [head + head / 1000 for head in heads])
    np.testing.assert_array_equal(read_amounts(texts, ".").value, [1000 * head + head for head in heads])


@given(places=st.integers(0, 3), at=st.integers(0, 20))
def test_one_row_decides_for_all(places: int, at: int) -> None:
    assume(places != 3)
    texts = [f"{1 + row},500" for row in range(20)]
    texts.insert(at, f"7,{'5' * places}")
    expected = [1.5 + row for row in range(20)]
    expected.insert(at, float(f"7.{'5' * places}"))
    np.testing.assert_array_equal(read_amounts(texts).value, expected)


@pytest.mark.parametrize("text", ["", " ", "NA", "n/a", "NaN", "null", "-"])
def test_a_missing_value_is_nan_and_can_be_named(text: str) -> None:
    assert is_missing(text)
    np.testing.assert_array_equal(read_amounts(["1", text]).value, [1, np.nan])
    assert "as --clean does" in missing_fault(text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        *((text, "is not a number") for text in ("12x", "1_000", "0x10", "--5", "1e", "1.2.3", "12 34", "1,2,3.5", "٣")),
        *((text, "is not finite") for text in ("inf", "-Infinity", "1e999")),
        (f"{10 * MAX_LOAD_MW:g}", "is beyond 1e+18, and no load"),
    ],
)
@pytest.mark.parametrize("row", [0, 2])
def test_what_is_no_load_is_named_with_its_row(text: str, wrong: str, row: int) -> None:
    texts = ["1.5", "2.5", "3.5"]
    texts[row] = text
    with pytest.raises(RowFault) as fault:
        read_amounts(texts)
    assert fault.value.row == row
    assert f"'{text}' {wrong}" in str(fault.value)


def test_what_is_no_number_is_named_before_what_is_ambiguous() -> None:
    with pytest.raises(RowFault, match="'x' is not a number") as fault:
        read_amounts(["1,500", "2,500", "x"])
    assert fault.value.row == 2


def test_what_looks_like_a_number() -> None:
    assert all(map(is_amount, ("1", "-1.5", "1.234,5", "1 234", "1e5")))
    assert not any(map(is_amount, ("", "x", "TRUE", "5 MW")))
