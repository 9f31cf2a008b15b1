"""Tests of reading hourly series: nothing is lost, and every bad file is named with its line and what to do."""

import contextlib
import gzip
import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncore.errors import DataError
from rnncore.forecast import reading
from rnncore.forecast.reading import ReadOptions, read_file
from rnncore.forecast.series import HOUR, Dataset, Series


def read_csv(path: Path, **told: object) -> Series:
    """Read a file of one zone."""
    (one,) = read_file(path, ReadOptions(**told))  # type: ignore[arg-type]
    return one.series


HEADER = "Datetime,AEP_MW\n"
DAY = [f"2018-03-01 {hour:02}:00:00" for hour in range(24)]


def _csv(rows: list[tuple[str, object]], header: str = HEADER) -> str:
    return header + "".join(f"{time},{load}\n" for time, load in rows)


def _day(**replaced: str) -> str:
    """Return a good day, with whole lines replaced: `_day(line_5="...")`, the header being line 1."""
    lines = _csv([(time, 100.0 + hour) for hour, time in enumerate(DAY)]).splitlines()
    for key, text in replaced.items():
        lines[int(key.removeprefix("line_")) - 1] = text
    return "\n".join(lines) + "\n"


def _times(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="datetime64[s]")


# What is read


def test_rows_are_sorted_by_time_and_equal_stamps_stay_in_file_order(write_csv: Callable[..., Path]) -> None:
    series = read_csv(
        write_csv(_csv([(DAY[3], 4), (DAY[1], 9.5), (DAY[0], 1), (DAY[1], 2), (DAY[2], 3), (DAY[1], 7), (DAY[3], 0)])),
        keep_faults=True,
    )
    assert series.time.dtype == np.dtype("datetime64[s]")
    assert series.load_mw.dtype == np.float64
    np.testing.assert_array_equal(series.time, _times(DAY[0], DAY[1], DAY[1], DAY[1], DAY[2], DAY[3], DAY[3]))
    np.testing.assert_array_equal(series.load_mw, [1, 9.5, 2, 7, 3, 4, 0])


def test_repeated_and_missing_hours_are_kept_and_counted(write_csv: Callable[..., Path]) -> None:
    hours = [0, 1, 1, 1, 2, 3, 7, 8, 9, 9, 11]
    series = read_csv(write_csv(_csv([(DAY[hour], at) for at, hour in enumerate(hours)])))
    assert len(series.time) == len(hours)
    assert series.duplicates == 3
    assert series.missing_hours == 4  # 4, 5, 6 and 10


def test_consecutive_hours_have_no_faults(write_csv: Callable[..., Path]) -> None:
    series = read_csv(write_csv(_day()))
    assert (series.duplicates, series.missing_hours) == (0, 0)


@pytest.mark.parametrize(
    ("column", "name"),
    [("AEP_MW", "AEP"), ("load", "load"), ("PJM_Load_MW", "PJM_Load"), (" DOM_MW ", "DOM"), ("A_MW_MW", "A_MW")],
)
def test_the_zone_is_named_after_the_value_column(column: str, name: str, write_csv: Callable[..., Path]) -> None:
    assert read_csv(write_csv(_day(line_1=f"Datetime,{column}"))).name == name


@pytest.mark.parametrize(
    "content",
    [
        _day().replace("\n", "\r\n"),
        "\ufeff" + _day(),
        _day().rstrip("\n"),
        _day() + "\n\n",
        _day().replace(" ", "T"),
        _day().replace(":00:00,", ":00,"),
        _day(line_1='"Datetime","AEP_MW"'),
    ],
    ids=["crlf", "byte order mark", "no last newline", "blank lines", "T between", "no seconds", "quoted header"],
)
def test_harmless_variants_are_read_alike(content: str, write_csv: Callable[..., Path]) -> None:
    expected, series = read_csv(write_csv(_day(), "expected.csv")), read_csv(write_csv(content))
    assert series.name == "AEP"
    np.testing.assert_array_equal(series.time, expected.time)
    np.testing.assert_array_equal(series.load_mw, expected.load_mw)


@pytest.mark.parametrize("offset", ["Z", "+02:00", "-05:00"])
def test_a_uniform_utc_offset_is_accepted_and_the_stamps_stay_as_written(
    offset: str, write_csv: Callable[..., Path]
) -> None:
    series = read_csv(write_csv(_day().replace(":00,", f":00{offset},")))
    np.testing.assert_array_equal(series.time, _times(*DAY))


def test_the_digest_is_that_of_the_file_and_changes_with_its_content(write_csv: Callable[..., Path]) -> None:
    one, other = write_csv(_day(), "one.csv"), write_csv(_day(line_7=f"{DAY[5]},105.5"), "other.csv")
    assert read_csv(one).digest == hashlib.sha256(one.read_bytes()).hexdigest()
    assert read_csv(one).digest != read_csv(other).digest
    assert Dataset("a", (read_csv(one),)).digest != Dataset("a", (read_csv(other),)).digest


@given(
    hours=st.lists(st.integers(0, 60), min_size=3, max_size=60),
    data=st.data(),
)
def test_reading_sorts_and_loses_nothing(
    hours: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A run of hours in front keeps the usual step at one hour, whatever is drawn.
    first = np.datetime64("2018-03-01T00:00:00")
    stamps = [first + hour * HOUR for hour in [*range(70), *hours, *(hour + 1000 for hour in hours)]]
    rows = data.draw(st.permutations([(str(stamp), at / 4) for at, stamp in enumerate(stamps)]))
    path = tmp_path_factory.mktemp("rows") / "zone.csv"
    path.write_text(_csv(rows), encoding="utf-8")
    series = read_csv(path, keep_faults=True)
    # Python's sort is stable, as reading promises to be.
    expected = sorted(rows, key=lambda row: row[0])
    np.testing.assert_array_equal(series.time, _times(*[time for time, _ in expected]))
    np.testing.assert_array_equal(series.load_mw, [load for _, load in expected])
    distinct = {time for time, _ in rows}
    assert series.duplicates == len(rows) - len(distinct)
    every_hour = int((series.time[-1] - series.time[0]) / HOUR) + 1
    assert series.missing_hours == every_hour - len(distinct)


def test_a_written_series_is_read_back_unchanged(make_series: Callable[..., Series], tmp_path: Path) -> None:
    series = make_series("PJM_Load", hours=50)
    path = tmp_path / "folder" / "out.csv"
    replace(series, load_mw=np.round(series.load_mw)).to_csv(path)
    again = read_csv(path)
    assert path.read_text().splitlines()[:2] == ["Datetime,PJM_Load_MW", f"2017-06-01 00:00:00,{again.load_mw[0]}"]
    assert again.name == "PJM_Load"
    np.testing.assert_array_equal(again.time, series.time)
    np.testing.assert_array_equal(again.load_mw, np.round(series.load_mw))


def test_a_written_series_keeps_every_bit_of_its_loads(tmp_path: Path) -> None:
    load_mw = np.random.default_rng(8).uniform(1, 60_000, size=500)
    series = Series("A", np.datetime64("2018-01-01T00:00:00") + np.arange(500) * HOUR, load_mw, "")
    series.to_csv(tmp_path / "out.csv")
    np.testing.assert_array_equal(read_csv(tmp_path / "out.csv").load_mw, load_mw)


# One opinion: the short way and the long one


TIME_TEXTS = st.sampled_from(
    [
        *("2018-03-01", "2018-03-01 05", "2018-03-01 05:00", "2018-03-01T05:00:00", "2018-3-1 5:00", "2018/03/01 05:00"),
        *("2018-03-01 24:00", "2018-03-01 05:00:00Z", "2018-02-29 05:00", "2018-03-01 05:61", "1519880400", "now", ""),
        "01.03.2018 05:00",
    ]
)
LOAD_TEXTS = st.sampled_from(
    ["1", "1.", ".5", "+3", "-0.25", "1e3", "1E-3", " 5", "5 ", "nan", "inf", "", "1_0", "0x1", "1e19"]
)


@given(times=st.lists(TIME_TEXTS, max_size=3), loads=st.lists(LOAD_TEXTS, max_size=3), data=st.data())
def test_a_plain_file_is_read_at_once_to_what_the_long_way_reads(
    times: list[str], loads: list[str], data: st.DataObject
) -> None:
    rows = [[str(np.datetime64("2018-03-02T00:00:00") + hour * HOUR), str(hour + 0.1)] for hour in range(8)]
    for place, texts in enumerate((times, loads)):
        for text in texts:
            rows[data.draw(st.integers(0, 7))][place] = text
    raw = (HEADER + "".join(f"{time},{load}\n" for time, load in rows)).encode()
    at_once = reading._read_by_pyarrow(raw, ReadOptions())
    if at_once is None:
        return
    (zone,) = reading._read(Path("made.csv"), raw, ReadOptions())
    assert zone.column == at_once.column
    np.testing.assert_array_equal(zone.time, at_once.time)
    np.testing.assert_array_equal(zone.load_mw, at_once.load_mw)


def test_a_plain_file_does_not_take_the_long_way(write_csv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_read", lambda *_: pytest.fail("the long way was taken"))
    assert len(read_csv(write_csv(_day())).time) == 24


# Files that are broken at random


STYLES = [  # pattern of times, mark, decimal mark, encoding
    ("%Y-%m-%d %H:%M:%S", ",", ".", "utf-8"),
    ("%Y/%m/%d %H:%M", ",", ".", "utf-8-sig"),
    ("%Y-%m-%dT%H:%M:%SZ", "\t", ".", "utf-16"),
    ("%d.%m.%Y %H:%M", ";", ",", "cp1252"),
    ("%m/%d/%Y %H:%M", ";", ".", "utf-8"),
]
NO_TIME = st.text("abyz?#%!", min_size=1, max_size=5) | st.sampled_from(
    [
        "",
        "soon",
        "now",
        "today",
        "2018-13-01 00:00",
        "2018-02-30 00:00",
        "31.02.2018 00:00",
        "02/31/2018 00:00",
        "25:00",
        "2018",
    ]
)
NO_LOAD = st.text("abyz?#%!", min_size=1, max_size=5) | st.sampled_from(
    ["", "n/a", "nan", "inf", "-inf", "1e999", "1_000", "0x10", "--5", "5 MW", "1e300", "12 34", "1.2.3"]
)


@given(style=st.sampled_from(STYLES), data=st.data())
def test_the_first_fault_of_a_file_broken_at_random_is_named_with_its_line_and_value(
    style: tuple[str, str, str, str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pattern, mark, decimal, encoding = style
    start = datetime(2018, 3, 10)
    rows = [
        [(start + timedelta(hours=hour)).strftime(pattern), f"{100 + hour / 8:.3f}".replace(".", decimal)]
        for hour in range(120)
    ]
    header = f"Größe{mark}AEP_MW" if encoding == "cp1252" else f"Time{mark}AEP_MW"
    broken: dict[int, str] = {}
    for at in data.draw(st.lists(st.integers(0, 119), min_size=1, max_size=3, unique=True)):
        kind = data.draw(st.sampled_from(["time", "load", "more", "fewer"]))
        if kind == "time":
            rows[at][0] = broken[at] = data.draw(NO_TIME)
        elif kind == "load":
            rows[at][1] = broken[at] = data.draw(NO_LOAD)
        elif kind == "more":
            rows[at].append("7")
            broken[at] = "3 fields"
        else:
            rows[at].pop()
            broken[at] = "1 fields"
    lines, line_of = [header], {}
    blank = data.draw(st.sets(st.integers(0, 119), max_size=4))
    for at, row in enumerate(rows):
        lines += [""] * (at in blank)
        lines.append(mark.join(row))
        line_of[at] = len(lines)
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    path = tmp_path_factory.mktemp("broken") / "zone.csv"
    path.write_bytes(end.join(lines).encode(encoding))
    first = min(broken)
    text = _refusal(path)
    assert text.startswith(f"{path}, line {line_of[first]}: ")
    assert (f"'{broken[first]}'" in text) or (broken[first] or "the value is empty") in text


SHAPES = {
    "plain": _day(),
    "semicolons": _day().replace(",", ";").replace(".", ","),
    "quoted": "".join(f'"{line.replace(",", chr(34) + "," + chr(34))}"\n' for line in _day().splitlines()),
    "points": _day().replace("2018-03-01", "1.3.2018"),
    "offsets": _day().replace(":00,", ":00+01:00,"),
}


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    changes=st.lists(st.tuples(st.integers(0, 700), st.sampled_from(list(b'",;\n\r\t .x0-+e\x00\xff\xe9'))), max_size=3),
    packed=st.booleans(),
)
@settings(max_examples=300)
def test_bytes_that_are_changed_at_random_end_in_a_series_or_in_an_error_with_the_line_of_its_value(
    shape: str, changes: list[tuple[int, int]], packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(SHAPES[shape].encode())
    for at, byte in changes:
        raw[at % len(raw)] = byte
    path = tmp_path_factory.mktemp("changed") / "zone.csv"
    path.write_bytes(gzip.compress(raw) if packed else raw)
    try:
        assert np.isfinite(read_csv(path).load_mw).all()
    except DataError as error:
        text = str(error)
    else:
        return
    assert text.startswith(str(path))
    named = re.match(r", line (\d+): '([^']*)' is not", text.removeprefix(str(path)))
    if named:
        lines = re.split(r"\r\n|\r|\n", bytes(raw).decode("utf-8" if _is_utf8(raw) else "cp1252"))
        # Quotes are the table's, not the value's.
        assert named[2].replace('"', "") in lines[int(named[1]) - 1].replace('"', "")


def _is_utf8(raw: bytearray) -> bool:
    try:
        return bool(raw.decode() or True)
    except UnicodeDecodeError:
        return False


@given(cut=st.integers(0, 5000), kind=st.sampled_from(["gzip", "zip", "parquet", "utf-16"]))
def test_a_file_that_is_cut_off_ends_in_a_series_or_in_an_error_of_its_data(
    cut: int, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    held = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr("zone.csv", _day())
    elif kind == "parquet":
        frame = pd.DataFrame({"time": pd.to_datetime(DAY), "AEP_MW": np.arange(24.0)})
        frame.to_parquet(held)
    else:
        held.write(gzip.compress(_day().encode()) if kind == "gzip" else _day().encode("utf-16"))
    raw = held.getvalue()
    path = tmp_path_factory.mktemp("cut") / "zone.csv"
    path.write_bytes(raw[: cut % len(raw)])
    with contextlib.suppress(DataError):
        assert len(read_csv(path).time) <= 24


# What is refused


def _refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_csv(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "line", "wrong", "remedy"),
    [
        (_day(line_1="Datetime"), 1, "1 columns (Datetime)", "one file per zone"),
        (_day(line_1="Datetime,A_MW,B_MW"), 1, "3 columns (Datetime, A_MW, B_MW)", "one file per zone"),
        ("2018,2019\n" + _day().removeprefix(HEADER), 1, "data where the header belongs", "such as 'Datetime,AEP_MW'"),
        (_day().removeprefix(HEADER).replace(f"{DAY[6]},", "soon,"), 7, "'soon' is not a time", "YYYY-MM-DD HH:MM:SS"),
        ("\n" + _day(), 1, "no header", "such as 'Datetime,AEP_MW'"),
        ("", 1, "no header", "such as 'Datetime,AEP_MW'"),
        (_day(line_9=DAY[7]), 9, "1 fields", "a time and one value are allowed"),
        (_day(line_9=f"{DAY[7]},1,2"), 9, "3 fields", "a time and one value are allowed"),
        (_day(line_2=f"{DAY[0]},1,2"), 2, "3 fields", "a time and one value are allowed"),
        (_day(line_6="yesterday,104"), 6, "'yesterday' is not a time", "YYYY-MM-DD HH:MM:SS"),
        (_day(line_6=",104"), 6, "'' is not a time", "YYYY-MM-DD HH:MM:SS"),
        (_day(line_6="2018-02-30 04:00:00,104"), 6, "'2018-02-30 04:00:00' is not a time", "YYYY-MM-DD HH:MM:SS"),
        (_day(line_6="03/01/2018 04:00,104"), 6, "'03/01/2018 04:00' is not a time", "YYYY-MM-DD HH:MM:SS"),
        (_day(line_25=f"{DAY[23]},12x"), 25, "'12x' is not a number", "Give a finite number in MW, or leave the row out"),
        (_day(line_2=f"{DAY[0]},n/a"), 2, "'n/a' is not a number", "Give a finite number in MW, or leave the row out"),
        (_day(line_4=f"{DAY[2]},"), 4, "the value is empty", "Give a finite number in MW, or leave the row out"),
        (_day(line_4=f"{DAY[2]},nan"), 4, "'nan' is not finite", "Give a finite number in MW, or leave the row out"),
        (_day(line_4=f"{DAY[2]},inf"), 4, "'inf' is not finite", "Give a finite number in MW, or leave the row out"),
        (_day(line_4=f"{DAY[2]},-inf"), 4, "'-inf' is not finite", "Give a finite number in MW, or leave the row out"),
        (_day(line_4=f"{DAY[2]},1e999"), 4, "'1e999' is not finite", "Give a finite number in MW, or leave the row out"),
        (_day(line_8=f"{DAY[6]}+01:00,5"), 8, "mixed time zones", "Write all times in one zone"),
        (
            _day().replace(":00,", ":00+01:00,").replace(f"{DAY[6]}+01:00", f"{DAY[6]}+02:00"),
            8,
            "mixed time zones",
            "Write all times in one zone",
        ),
        (_day().encode().replace(b"AEP", b"A\x81P"), 1, "neither UTF-8, UTF-16 nor Windows-1252", "Save the file as UTF-8"),
        (_day().encode().replace(b"106.0", b"106\xb5"), 8, "'106µ' is not a number", "Give a finite number in MW"),
        (_day().encode().replace(b"106.0", b"106\x81"), 8, "neither UTF-8, UTF-16 nor Windows-1252", "Save the file"),
        (_day(line_5="", line_6=f"{DAY[4]},x"), 6, "'x' is not a number", "Give a finite number"),
    ],
)
def test_a_bad_file_is_named_with_its_line_its_fault_and_the_remedy(
    content: str | bytes, line: int, wrong: str, remedy: str, write_csv: Callable[..., Path]
) -> None:
    path = write_csv(content)
    text = _refusal(path)
    assert text.startswith(f"{path}, line {line}: ")
    assert wrong in text
    assert remedy in text


def test_the_first_of_several_faults_is_named(write_csv: Callable[..., Path]) -> None:
    assert ", line 7: '?' is not a number" in _refusal(write_csv(_day(line_7=f"{DAY[5]},?", line_9="then,1")))


@pytest.mark.parametrize(
    ("content", "wrong", "remedy"),
    [
        (HEADER, "a header but no rows", "Give at least one row per hour"),
        (HEADER.strip(), "a header but no rows", "Give at least one row per hour"),
        (_csv([(time, 7) for time in DAY]), "column 'AEP_MW' is 7 in every row", "Give a series that varies"),
        (_csv([(time[:14] + "30:00", 7) for time in DAY]), "is 7 in every row", "Give a series that varies"),
        (
            _csv([(f"2018-03-01 {at // 4:02}:{at % 4 * 15:02}:00", at) for at in range(96)]),
            "the usual step between rows is 15 minutes, not one hour",
            "Resample to hours",
        ),
        (
            _csv([(f"2018-03-{day:02}", day) for day in range(1, 30)]),
            "the usual step between rows is 1440 minutes, not one hour",
            "A load by day has no hours to learn. Give the hourly readings",
        ),
    ],
)
def test_a_file_that_is_bad_as_a_whole_is_named_with_its_fault_and_the_remedy(
    content: str, wrong: str, remedy: str, write_csv: Callable[..., Path]
) -> None:
    path = write_csv(content)
    text = _refusal(path)
    assert text.startswith(f"{path}: ")
    assert wrong in text
    assert remedy in text


@pytest.mark.parametrize(
    "content",
    [
        _day(line_3=f'"{DAY[1]},101') + _csv([(time, 1) for time in DAY], header="") * 400,
        _day().replace("\n", "\r"),
    ],
    ids=["a quote that is never closed", "carriage returns alone"],
)
def test_text_that_the_csv_reader_chokes_on_is_a_data_error(content: str, write_csv: Callable[..., Path]) -> None:
    path = write_csv(content)
    assert _refusal(path).startswith(str(path))


def test_lines_that_end_in_carriage_returns_alone_are_named(write_csv: Callable[..., Path]) -> None:
    assert "carriage returns alone. Save the file with line feeds" in _refusal(write_csv(_day().replace("\n", "\r")))


def test_a_quoted_header_may_hold_a_comma(write_csv: Callable[..., Path]) -> None:
    assert read_csv(write_csv(_day(line_1='"Time","Load, MW"'))).name == "Load, MW"


def test_hours_are_made_of_whole_ones_alone_by_mean_or_sum(write_csv: Callable[..., Path]) -> None:
    quarters = [(f"2018-03-01 {at // 4:02}:{at % 4 * 15:02}:00", at * at) for at in range(96) if at not in (0, 41)]
    path = write_csv(_csv(quarters))
    mean, total = (read_csv(path, resample=how) for how in ("1h", "1h-sum"))
    hours = [hour for hour in range(24) if hour not in (0, 10)]
    np.testing.assert_array_equal(mean.time, _times(*[DAY[hour] for hour in hours]))
    sums = [sum((4 * hour + part) ** 2 for part in range(4)) for hour in hours]
    np.testing.assert_array_equal(total.load_mw, sums)
    np.testing.assert_array_equal(mean.load_mw, np.array(sums) / 4)
    assert read_file(path, ReadOptions(resample="1h"))[0].done == (
        "22 hourly means of 15 minutes, incomplete ones left out: 2",
    )


@pytest.mark.parametrize(
    ("minutes", "remedy"),
    [
        (7, "Give steps that an hour is a multiple of"),
        (180, "Hours cannot be made of longer steps"),
        (1440, "A load by day"),
    ],
)
def test_steps_that_no_hours_can_be_made_of_are_refused(minutes: int, remedy: str, write_csv: Callable[..., Path]) -> None:
    stamps = [str(np.datetime64("2018-03-01", "s") + np.timedelta64(at * minutes, "m")) for at in range(50)]
    path = write_csv(_csv([(stamp, at) for at, stamp in enumerate(stamps)]))
    with pytest.raises(DataError, match=f"the usual step is {minutes} minutes, of which no hours are made. {remedy}"):
        read_csv(path, resample="1h")


def test_times_with_slashes_are_read_and_do_not_hide_the_line_of_a_fault(write_csv: Callable[..., Path]) -> None:
    slashed = _day().replace("-", "/")
    assert read_csv(write_csv(slashed)).time.tolist() == read_csv(write_csv(_day())).time.tolist()
    rows = slashed.splitlines()
    rows[6] = rows[6].split(",")[0] + ","
    assert ", line 7: the value is empty" in _refusal(write_csv("\n".join(rows) + "\n"))
    headless = "\n".join(rows[1:]) + "\n"
    assert ", line 6: the value is empty" in _refusal(write_csv(headless))


@pytest.mark.parametrize("mark", [",", ";"])
@pytest.mark.parametrize("slash", ["-", "/"])
def test_a_file_without_a_header_keeps_its_first_row_and_its_zone_is_named_after_it(
    mark: str, slash: str, write_csv: Callable[..., Path]
) -> None:
    rows = _day().removeprefix(HEADER).replace("-", slash).replace(",", mark)
    path = write_csv(rows)
    (reading,) = read_file(path)
    whole = read_csv(write_csv(_day()))
    assert reading.series.time.tolist() == whole.time.tolist()
    assert reading.series.load_mw.tolist() == whole.load_mw.tolist()
    zone = path.name.split(".")[0]
    assert reading.series.name == zone.removesuffix("_MW")
    assert f"no header: the zone is called '{zone}', as the file" in reading.found


def test_several_columns_without_a_header_are_called_by_their_number(write_csv: Callable[..., Path]) -> None:
    path = write_csv("".join(f"{time},{load},{2 * load}\n" for load, time in enumerate(DAY)))
    assert "Say which by --column 'column 2'" in _refusal(path)
    (reading,) = read_file(path, ReadOptions(columns=("column 3",)))
    assert (reading.series.name, reading.series.load_mw.tolist()) == ("column 3", [2.0 * at for at in range(24)])
    assert "no header: columns are called 'column 1' to 'column 3'" in reading.found


def test_a_single_row_is_not_taken_for_a_constant_load(write_csv: Callable[..., Path]) -> None:
    assert "a single row" in _refusal(write_csv(_csv([(DAY[0], 7)])))


def test_a_number_beyond_every_load_is_named_with_its_line(write_csv: Callable[..., Path]) -> None:
    text = _refusal(write_csv(_day(line_6=f"{DAY[4]},-1e300")))
    assert ", line 6: '-1e300' is beyond 1e+18, and no load" in text


@pytest.mark.parametrize("text", ["now", "today"])
def test_only_written_out_times_are_taken_for_times(text: str, write_csv: Callable[..., Path]) -> None:
    assert f", line 6: '{text}' is not a time" in _refusal(write_csv(_day(line_6=f"{text},104")))


def test_a_number_that_only_python_reads_is_named_with_its_line(write_csv: Callable[..., Path]) -> None:
    assert ", line 6: '1_04' is not a number" in _refusal(write_csv(_day(line_6=f"{DAY[4]},1_04")))


def test_a_value_column_without_a_name_is_refused(write_csv: Callable[..., Path]) -> None:
    assert ", line 1: " in _refusal(write_csv(_day(line_1="Datetime,")))


def test_a_row_between_the_hours_is_refused(write_csv: Callable[..., Path]) -> None:
    # Taken for an hour, it would make the count of missing hours -1.
    path = write_csv(_csv([(time, at) for at, time in enumerate(DAY)] + [("2018-03-01 00:30:00", 3)]))
    assert _refusal(path).startswith(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "gone.csv").startswith(f"{tmp_path / 'gone.csv'}: cannot be read (No such file")


# What is likely to be wrong and is kept


@pytest.mark.parametrize("mark", [",", ";"])
@pytest.mark.parametrize(("value", "learnt"), [("1e12", r"1,\d{3}[\d.]*"), ("-5000000", r"[23]\d{2}[\d.]*")])
def test_a_value_that_no_load_has_is_named_with_its_line(
    mark: str, value: str, learnt: str, write_csv: Callable[..., Path]
) -> None:
    hour = np.arange(1000)
    loads = [f"{load:.1f}" for load in 1000 + 100 * np.sin(hour / 3.8)]
    loads[450] = loads[700] = value
    times = pd.date_range("2021-03-01", periods=1000, freq="h").astype(str)
    rows = "".join(f"{time}{mark}{load}\n" for time, load in zip(times, loads, strict=True))
    (found,) = read_file(write_csv(f"Datetime{mark}AEP_MW\n{rows}"))
    (warning,) = found.warnings
    assert warning.startswith(f"line 452: {float(value):g} at 2021-03-19 18:00:00, where usual loads are ")
    assert re.search(rf"\(2 such rows\)\. .* learn it as {learnt};", warning)
    assert found.series.load_mw[450] == float(value)


def test_ordinary_loads_give_no_warning(write_csv: Callable[..., Path]) -> None:
    (found,) = read_file(write_csv(_day()))
    assert found.warnings == ()
