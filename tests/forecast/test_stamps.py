"""Tests of times: what is decided over all rows, what is ambiguous, and which row is at fault."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.errors import ConfigError
from rnncore.forecast.series import HOUR
from rnncore.forecast.stamps import RowFault, Stamps, is_date, is_epoch, is_hour, is_stamp, read_stamps, with_hours

START = datetime(2021, 3, 1)


def _times(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[s]")


@given(
    moments=st.lists(st.datetimes(datetime(1901, 1, 1), datetime(2099, 1, 1)), min_size=1, max_size=30),
    pattern=st.sampled_from(
        [
            "%Y-%m-%d %H:%M:%S",
            "%Y/%m/%dT%H:%M:%S",
            "%Y%m%d %H:%M:%S",
            "%Y%m%d%H%M%S",
            "%d.%m.%Y %H:%M:%S",
            "%Y-%m-%d %I:%M:%S %p",
        ]
    ),
)
def test_a_time_is_read_as_python_reads_it(moments: list[datetime], pattern: str) -> None:
    # Beyond the 12th, so that points leave no doubt either.
    moments = [moment.replace(microsecond=0, day=13 + moment.day % 15) for moment in moments]
    texts = [f"{moment.year:04}".join(moment.strftime(pattern.replace("%Y", "YEAR")).split("YEAR")) for moment in moments]
    np.testing.assert_array_equal(read_stamps(texts).time, np.array(moments, dtype="datetime64[s]"))


@pytest.mark.parametrize("order", ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%d-%m-%Y %H:%M", "%m-%d-%Y %H:%M"])
@pytest.mark.parametrize("first_day", range(13))
def test_one_day_beyond_the_twelfth_decides_the_order_wherever_it_is(order: str, first_day: int) -> None:
    moments = [START + timedelta(days=first_day, hours=hour) for hour in range(24 * 14)]
    found = read_stamps([moment.strftime(order) for moment in moments])
    np.testing.assert_array_equal(found.time, np.array(moments, dtype="datetime64[s]"))
    assert ("day, month" in found.found[0]) == order.startswith("%d")


def test_without_a_day_beyond_the_twelfth_the_order_is_refused_and_may_be_given() -> None:
    texts = ["3/1/2021 0:00", "3/1/2021 1:00"]
    with pytest.raises(
        RowFault, match=r"'3/1/2021 0:00' may begin with the day or the month.*--date-format dmy, or mdy"
    ) as fault:
        read_stamps(texts)
    assert fault.value.row is None
    np.testing.assert_array_equal(read_stamps(texts, "mdy").time, _times("2021-03-01T00", "2021-03-01T01"))
    np.testing.assert_array_equal(read_stamps(texts, "dmy").time, _times("2021-01-03T00", "2021-01-03T01"))


def test_points_are_day_first_unless_a_row_shows_otherwise() -> None:
    np.testing.assert_array_equal(read_stamps(["1.3.2021 5:00"]).time, _times("2021-03-01T05"))
    np.testing.assert_array_equal(read_stamps(["3.13.2021 5:00"]).time, _times("2021-03-13T05"))


def test_a_row_that_contradicts_the_order_of_the_others_is_named() -> None:
    texts = [f"{day}/3/2021 0:00" for day in range(10, 20)] + ["3/25/2021 0:00"]
    with pytest.raises(RowFault, match=r"'3/25/2021 0:00' is not a time") as fault:
        read_stamps(texts)
    assert fault.value.row == 10


@pytest.mark.parametrize(
    "bad",
    [
        "2021-02-29 00:00",
        "2021-03-01 25:00",
        "2021-03-01 24:01",
        "2021-03-01 13:00 PM",
        "0000-01-01",
        "1/3/2021",
        "1.3.21",
        "²021-03-01",
    ],
)
@pytest.mark.parametrize("row", [0, 3, 5])
def test_what_is_no_time_is_named_with_its_row(bad: str, row: int) -> None:
    texts = [f"2021-03-{day:02} 00:00" for day in range(1, 6)]
    texts.insert(row, bad)
    with pytest.raises(RowFault) as fault:
        read_stamps(texts)
    assert fault.value.row == row
    assert f"'{bad}' is not a time" in str(fault.value)


def test_24_is_midnight_after_the_day() -> None:
    np.testing.assert_array_equal(read_stamps(["2021-02-28 24:00"]).time, _times("2021-03-01T00"))


@pytest.mark.parametrize("zone", ["Z", " UTC", "+02:00", "+0200", "-05"])
def test_one_offset_throughout_leaves_times_as_written(zone: str) -> None:
    found = read_stamps([f"2021-03-01 05:00{zone}", f"2021-03-01 06:00{zone}"])
    np.testing.assert_array_equal(found.time, _times("2021-03-01T05", "2021-03-01T06"))
    assert found.found == ()


def _local(hours: int, change: int, before: str, after: str, shift: int) -> list[str]:
    moments = [START + timedelta(hours=hour + (shift if hour >= change else 0)) for hour in range(hours)]
    return [f"{moment:%Y-%m-%d %H:%M}{after if hour >= change else before}" for hour, moment in enumerate(moments)]


@pytest.mark.parametrize(("before", "after", "shift"), [("+01:00", "+02:00", 1), ("-04:00", "-05:00", -1)])
def test_offsets_that_change_with_the_season_become_one_without_gap_or_repeat(before: str, after: str, shift: int) -> None:
    found = read_stamps(_local(800, 400, before, after, shift))
    assert set(np.diff(found.time)) == {HOUR}
    assert found.found[0].endswith(f"all times in {min(before, after, key=lambda zone: int(zone[:3]))}")


def test_offsets_are_those_of_utc() -> None:
    found = read_stamps(_local(800, 400, "+01:00", "+02:00", 1)[398:402] + _local(800, 400, "+01:00", "+02:00", 1)[402:])
    np.testing.assert_array_equal(found.time[:4], np.datetime64(START, "s") + HOUR * np.arange(398, 402))


@pytest.mark.parametrize("odd", ["2021-03-09 05:00+02:00", "2021-03-09 05:00", "2021-03-09 05:00+07:00"])
def test_a_single_row_of_another_offset_is_a_mistake_and_named(odd: str) -> None:
    texts = [f"{START + timedelta(hours=hour):%Y-%m-%d %H:%M}+01:00" for hour in range(600)]
    texts[197] = odd
    with pytest.raises(RowFault, match="mixed time zones") as fault:
        read_stamps(texts)
    assert fault.value.row == 197


def test_seconds_and_milliseconds_since_1970_are_utc() -> None:
    expected = _times("2021-03-01T00", "2021-03-01T01")
    np.testing.assert_array_equal(read_stamps(["1614556800", "1614560400"]).time, expected)
    np.testing.assert_array_equal(read_stamps(["1614556800000", "1614560400000"]).time, expected)
    with pytest.raises(RowFault, match="'2021-03-01' is not a time") as fault:
        read_stamps(["1614556800", "1614560400", "2021-03-01"])
    assert fault.value.row == 2


def test_a_pattern_is_followed_to_the_letter() -> None:
    found = read_stamps(["01-Mar-21 05h00"], "%d-%b-%y %Hh%M")
    np.testing.assert_array_equal(found.time, _times("2021-03-01T05"))
    with pytest.raises(RowFault, match="not a time written as") as fault:
        read_stamps(["01-Mar-21 05h00", "2021-03-01 05:00"], "%d-%b-%y %Hh%M")
    assert fault.value.row == 1
    np.testing.assert_array_equal(read_stamps(["2021-03-01 05:00 +0100"], "%Y-%m-%d %H:%M %z").time, _times("2021-03-01T04"))


def test_a_pattern_that_is_none_is_an_error_of_the_option() -> None:
    with pytest.raises(ConfigError, match=r"--date-format is '%Q'.*give dmy, mdy or a pattern"):
        read_stamps(["2021-03-01"], "%Q")


def _days(*counts: int) -> tuple[Stamps, list[str]]:
    days = [(f"2021-10-{29 + day}", str(hour)) for day, count in enumerate(counts) for hour in range(1, count + 1)]
    return read_stamps([day for day, _ in days]), [hour for _, hour in days]


def test_hours_1_to_24_begin_at_midnight() -> None:
    dates, hours = _days(24, 24)
    np.testing.assert_array_equal(with_hours(dates, hours).time, np.datetime64("2021-10-29", "s") + HOUR * np.arange(48))


def test_a_25th_hour_repeats_the_third_and_the_days_around_are_whole() -> None:
    dates, hours = _days(24, 25, 24)
    time = with_hours(dates, hours).time
    second = [int(hour) for hour in (time[24:49] - np.datetime64("2021-10-30", "s")) / HOUR]
    assert second == [0, 1, 2, 2, *range(3, 24)]
    assert time[49] == np.datetime64("2021-10-31", "s")


def test_a_day_of_23_hours_leaves_out_the_third() -> None:
    dates, hours = _days(24, 23, 24)
    time = with_hours(dates, hours).time
    assert [int(hour) for hour in (time[24:47] - np.datetime64("2021-10-30", "s")) / HOUR] == [0, 1, *range(3, 24)]


@pytest.mark.parametrize(("counts", "row"), [((25, 25, 24), 24)])
def test_more_long_days_than_a_year_has_are_refused(counts: tuple[int, ...], row: int) -> None:
    dates, hours = _days(*counts)
    with pytest.raises(RowFault, match="a 25th hour on all other days") as fault:
        with_hours(dates, hours)
    assert fault.value.row == row


def test_hours_0_to_24_and_words_are_refused() -> None:
    dates = read_stamps(["2021-03-01"] * 3)
    with pytest.raises(RowFault, match="although others are 0") as fault:
        with_hours(dates, ["0", "5", "24"])
    assert fault.value.row == 2
    with pytest.raises(RowFault, match="'noon' is not an hour") as fault:
        with_hours(dates, ["1", "noon", "2"])
    assert fault.value.row == 1


def test_what_looks_like_a_time_a_date_an_epoch_or_an_hour() -> None:
    assert is_stamp("1.3.2021")
    assert not is_stamp("12.5")
    assert is_date("2021-03-01")
    assert not is_date("2021-03-01 00:00")
    assert is_epoch("1614556800")
    assert not is_epoch("16145")
    assert is_hour("H25")
    assert not is_hour("26")


def test_a_year_of_two_figures_is_asked_for_by_a_pattern() -> None:
    with pytest.raises(RowFault, match=r"'13\.3\.21 5:00' is not a time.*--date-format"):
        read_stamps(["13.3.21 5:00", "13.3.21 6:00"])
    np.testing.assert_array_equal(read_stamps(["13.3.21 5:00"], "%d.%m.%y %H:%M").time, _times("2021-03-13T05"))
