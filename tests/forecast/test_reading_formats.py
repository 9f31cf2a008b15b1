"""The table of formats in docs/data.md: every row is a made file that is read, or refused, as the table says."""

import gzip
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnncore.errors import DataError
from rnncore.forecast.reading import ReadOptions, read_file

PAGE = Path(__file__).parents[2] / "docs" / "data.md"

# Three weeks, so that days beyond the 12th decide what is ambiguous.
HOURS = 504
TIMES = pd.date_range("2021-03-01", periods=HOURS, freq="h")
LOADS = [round(900 + 100 * float(np.sin(hour / 4)) + hour / 10, 1) for hour in range(HOURS)]


@dataclass(frozen=True)
class Made:
    """A made file.

    Attributes:
        what: What is peculiar about it, as the table says.
        content: What is in it.
        name: How it is called.
        told: What the reader is given beside it.
        options: The same as options of a command.
    """

    what: str
    content: bytes
    name: str = "zone.csv"
    told: dict[str, Any] = field(default_factory=dict)
    options: str = ""


def _rows(
    pattern: str = "%Y-%m-%d %H:%M:%S",
    mark: str = ",",
    header: str = "Datetime,AEP_MW",
    times: pd.DatetimeIndex = TIMES,
    number: str = "{:.1f}",
    **lines: str,
) -> str:
    made = [header] if header else []
    made += [f"{time.strftime(pattern)}{mark}{number.format(load)}" for time, load in zip(times, LOADS * 4, strict=False)]
    for key, text in lines.items():
        made[int(key.removeprefix("line_")) - 1] = text
    return "\n".join(made) + "\n"


def _offsets() -> str:
    local = pd.date_range("2021-03-18", periods=HOURS, freq="h", tz="Europe/Vienna")
    return _rows("%Y-%m-%dT%H:%M:%S%z", times=local)


def _hour_column(first: int, days: int = 21) -> str:
    lines = [
        f"{TIMES[24 * day]:%Y-%m-%d},{hour + first},{LOADS[24 * day + hour]}" for day in range(days) for hour in range(24)
    ]
    return "Date,Hour,AEP_MW\n" + "\n".join(lines) + "\n"


def _long_day() -> str:
    """Return hours 1 to 24 of some days, the second of which has a 25th."""
    lines = [
        f"2021-10-{30 + day:02},{hour},{900 + 10 * hour + day}"
        for day, hours in enumerate((24, 25))
        for hour in range(1, hours + 1)
    ]
    return "Date,Hour,AEP_MW\n" + "\n".join(lines) + "\n"


def _zip(text: str, *more: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in ("load.csv", *more):
            archive.writestr(name, text)
    return held.getvalue()


def _parquet() -> bytes:
    held = io.BytesIO()
    pd.DataFrame({"AEP_MW": LOADS}, index=pd.DatetimeIndex(TIMES, name="time")).to_parquet(held)
    return held.getvalue()


def _several() -> str:
    lines = [f"{time},{load},{load / 2:.1f},{load / 100:.1f}" for time, load in zip(TIMES, LOADS, strict=True)]
    return "time,north,south,celsius\n" + "\n".join(lines) + "\n"


def _thousands(mark: str, decimal: str) -> str:
    numbers = [f"{1000 * load:,.1f}".translate(str.maketrans({",": mark, ".": decimal})) for load in LOADS]
    return "time;AEP_MW\n" + "".join(f"{time};{number}\n" for time, number in zip(TIMES, numbers, strict=True))


def _epochs() -> str:
    return "time,load\n" + "".join(f"{int(time.timestamp())},{load}\n" for time, load in zip(TIMES, LOADS, strict=True))


def _either() -> str:
    """Return loads of three figures after a comma, such as 1,100: either a thousand or one."""
    return "time;load\n" + "".join(f"{time};{1 + at % 9},{100 + at}\n" for at, time in enumerate(TIMES))


def _each_day_25() -> str:
    lines = [
        f"2021-10-{day},{hour},{100 * day + hour if hour < 25 else 0}" for day in range(10, 31) for hour in range(1, 26)
    ]
    return "Date,Hour,AEP_MW\n" + "\n".join(lines) + "\n"


def _made() -> list[Made]:
    half_hours = pd.date_range("2021-03-01", periods=2 * HOURS, freq="30min")
    quarters = pd.date_range("2021-03-01", periods=2 * HOURS, freq="15min")
    return [
        Made("plain", _rows().encode()),
        Made("slashes, one figure", _rows("%Y/%m/%d %H:%M").replace("/0", "/").encode()),
        Made("UTC, `Z`", _rows("%Y-%m-%dT%H:%M:%SZ").encode()),
        Made("offsets that change in spring", _offsets().encode()),
        Made("seconds since 1970", _epochs().encode()),
        Made("`M/D/YYYY`, AM and PM", _rows("%m/%d/%Y %I:%M %p").encode()),
        Made("`D.M.YYYY`", _rows("%d.%m.%Y %H:%M").encode()),
        Made("`D/M/YYYY`", _rows("%d/%m/%Y %H:%M").encode()),
        Made("days up to the 12th alone", _rows("%d/%m/%Y %H:%M", times=TIMES[:240]).encode()),
        Made(
            "the same, with the order",
            _rows("%d/%m/%Y %H:%M", times=TIMES[:240]).encode(),
            told={"date_format": "dmy"},
            options="--date-format dmy",
        ),
        Made(
            "names of months",
            _rows("%d %b %y %H:%M").encode(),
            told={"date_format": "%d %b %y %H:%M"},
            options="--date-format '%d %b %y %H:%M'",
        ),
        Made("names of months, nothing said", _rows("%d %b %y %H:%M").encode()),
        Made("from when to when", _rows("%d.%m.%Y %H:00 - %d.%m.%Y %H:59").encode()),
        Made("date and hour 0 to 23", _hour_column(0).encode()),
        Made("date and hour 1 to 24", _hour_column(1).encode()),
        Made("a 25th hour", _long_day().encode()),
        Made("a 25th hour each day", _each_day_25().encode()),
        Made("semicolons, decimal comma", _rows(mark=";", header="Zeit;AEP_MW").replace(".", ",").encode()),
        Made("tabs", _rows(mark="\t", header="time\tAEP_MW").encode(), name="zone.tsv"),
        Made("thousands, decimal comma", _thousands(".", ",").encode()),
        Made("thousands apart by spaces", _thousands(" ", ".").encode()),
        Made("a comma that may be either", _either().encode()),
        Made(
            "the same, with the mark",
            _either().encode(),
            told={"decimal": ","},
            options="--decimal ,",
        ),
        Made("gzip", gzip.compress(_rows().encode(), mtime=0), name="zone.csv.gz"),
        Made("zip", _zip(_rows()), name="zone.csv.zip"),
        Made("a zip of two files", _zip(_rows(), "more.csv"), name="zone.csv.zip"),
        Made("UTF-16", _rows().encode("utf-16")),
        Made("Windows-1252", _rows(header="Zeit,Österreich").encode("cp1252")),
        Made("Parquet, times as index", _parquet(), name="zone.parquet"),
        Made("several columns", _several().encode()),
        Made("one of several columns", _several().encode(), told={"columns": ("north",)}, options="--column north"),
        Made(
            "a zone per column",
            _several().encode(),
            told={"columns": ("north", "south")},
            options="--column north --column south",
        ),
        Made("half-hours", _rows(times=half_hours).encode()),
        Made("half-hours, power", _rows(times=half_hours).encode(), told={"resample": "1h"}, options="--resample 1h"),
        Made("quarters, energy", _rows(times=quarters).encode(), told={"resample": "1h-sum"}, options="--resample 1h-sum"),
        Made("days", _rows("%Y-%m-%d", times=pd.date_range("2021-03-01", periods=90)).encode()),
        Made("no header", _rows(header="").encode()),
        Made("an empty value", _rows(line_41="2021-03-02 15:00:00,").encode()),
        Made(
            "the same, cleaned",
            _rows(line_41="2021-03-02 15:00:00,").encode(),
            told={"drop_missing": True},
            options="--clean",
        ),
        Made("a word for a time", _rows(line_41="soon,900").encode()),
        Made("a midnight of 0 beside another", _rows(line_27="2021-03-02 00:00:00,0").encode()),
    ]


def _outcome(made: Made, folder: Path) -> str:
    path = folder / made.name
    path.write_bytes(made.content)
    try:
        readings = read_file(path, ReadOptions(**made.told))
    except DataError as error:
        return f"refused: {str(error).replace(f'{path}', made.name)}"
    zones = [
        f"{one.series.name}, {len(one.series.time)} hours from {str(one.series.time[0]).replace('T', ' ')}"
        for one in readings
    ]
    return "; ".join([*zones, *readings[0].found, *readings[0].done])


def _line(made: Made, outcome: str) -> str:
    what = f"{made.what}, `{made.options}`" if made.options else made.what
    return f"| {what} | {outcome} |".replace("\t", " ")


@pytest.mark.parametrize("made", _made(), ids=lambda made: made.what)
def test_a_made_file_is_read_or_refused_as_the_page_says(made: Made, tmp_path: Path) -> None:
    assert _line(made, _outcome(made, tmp_path)) in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_no_other_rows() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) - 1 == len(_made())
