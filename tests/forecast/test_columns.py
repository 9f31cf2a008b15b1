"""Tests of tables of text: what is between columns, the line of each row, and which columns are read."""

from pathlib import Path

import pytest

from rnncore.errors import DataError
from rnncore.forecast.columns import read_table, roles_of

PATH = Path("zone.csv")
ROWS = [f"2021-03-01 {hour:02}:00" for hour in range(6)]


def _text(header: str, *ends: str) -> str:
    return header + "\n" + "".join(f"{time}{end}\n" for time in ROWS for end in ends)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_what_is_between_columns_is_seen_and_said_unless_it_is_a_comma(mark: str) -> None:
    table = read_table(PATH, _text(f"time{mark}load", f"{mark}1.5"))
    assert table.header == ["time", "load"]
    assert table.column(1) == ["1.5"] * 6
    assert (table.found == ()) == (mark == ",")


def test_a_comma_within_a_value_does_not_split_a_table_of_semicolons() -> None:
    assert read_table(PATH, _text("time;load, MW", ";1,5")).column(1) == ["1,5"] * 6


def test_each_row_knows_its_line_over_blank_lines_and_a_header_of_two() -> None:
    table = read_table(PATH, '"time","load\n(MW)"\n\n2021-03-01 00:00,1\n\n\n2021-03-01 01:00,2\n')
    assert table.header == ["time", "load\n(MW)"]
    assert table.where == ["line 4", "line 7"]


def test_marks_at_the_end_of_each_line_are_no_column() -> None:
    assert read_table(PATH, _text("time;load;", ";1;")).header == ["time", "load"]


@pytest.mark.parametrize(
    ("end", "wrong"), [("1,2,3", "3 fields"), ("alone", "1 fields"), ('2021,"never closed', "a quote that is not closed")]
)
def test_reading_stops_at_a_row_that_is_none_and_names_it(end: str, wrong: str) -> None:
    table = read_table(PATH, f"time,load\n{ROWS[0]},1\n{end}\n{ROWS[1]},2\n")
    assert len(table.rows) == 1
    assert table.fault is not None
    assert table.where[table.fault.row or 0] == "line 3"
    assert wrong in str(table.fault)


def test_the_column_of_times_need_not_be_the_first_and_words_are_no_loads() -> None:
    text = "zone,load,time,holiday\n" + "".join(f"north,1.5,{time},TRUE\n" for time in ROWS)
    roles = roles_of(PATH, read_table(PATH, text))
    assert (roles.time, roles.hour, roles.values) == (2, None, (1,))
    assert roles.found == ("of 3 columns 'load'",)


@pytest.mark.parametrize("name", ["Hour", "Time", "HE"])
def test_hours_beside_dates_are_found_by_their_name(name: str) -> None:
    text = f"Date,{name},load\n" + "".join(f"2021-03-01,{hour},{hour}.5\n" for hour in range(1, 25))
    roles = roles_of(PATH, read_table(PATH, text))
    assert (roles.time, roles.hour, roles.values) == (0, 1, (2,))


def test_small_numbers_beside_whole_times_are_loads_and_not_hours() -> None:
    roles = roles_of(PATH, read_table(PATH, _text("time,hour", ",7")))
    assert (roles.hour, roles.values) == (None, (1,))


def test_of_several_columns_one_is_asked_for_by_name() -> None:
    table = read_table(PATH, _text("time,north,south", ",1,2"))
    assert roles_of(PATH, table, ["south", "north"]).values == (2, 1)
    assert roles_of(PATH, table, ["all"]).values == (1, 2)
    with pytest.raises(DataError, match=r"zone\.csv, line 1: 3 columns .*--column 'north'.*--column all"):
        roles_of(PATH, table)
    with pytest.raises(DataError, match=r"no column 'west'\. There are: north, south"):
        roles_of(PATH, table, ["west"])
