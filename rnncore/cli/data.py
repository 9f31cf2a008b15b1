"""Verbs of load series."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import DownloadColumn, Progress, TimeRemainingColumn

from rnncore.cli.options import (
    CleanOption,
    ColumnOption,
    DataOption,
    DateFormatOption,
    DecimalOption,
    FillOption,
    JsonOption,
    ResampleOption,
    SplitOption,
)
from rnncore.cli.screen import err, print_json, print_table, progress_bar, say
from rnncore.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rnncore.forecast.reading import Reading, ReadOptions
    from rnncore.forecast.series import Dataset
    from rnncore.forecast.windows import ZoneWindows


class _DownloadBar:
    """What pooch takes for a progress bar, shown by rich; `total` is set when a file begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("Downloading", total=None)
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, size_bytes: int) -> None:
        self._total = size_bytes
        self._progress.reset(self._task, total=size_bytes)

    def update(self, size_bytes: int) -> None:
        self._progress.advance(self._task, size_bytes)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.refresh()


def fetch(
    folder: Annotated[Path, typer.Option("--out", help="Where to.")] = Path("data/pjm"),
    mirror: Annotated[str | None, typer.Option(help="Base URL of another source of the same files.")] = None,
) -> None:
    """Download the twelve PJM files (30 MB), check their digests, and keep what is already there."""
    from rnncore.forecast.sources import PJM_URL, fetch_pjm

    counts = {True: 0, False: 0}

    def on_file(name: str, downloaded: bool) -> None:
        counts[downloaded] += 1
        err.print(f"{name}: {'downloaded' if downloaded else 'already there'}, digest right")

    with progress_bar(DownloadColumn(), TimeRemainingColumn()) as progress:
        fetch_pjm(folder, mirror or PJM_URL, on_file, _DownloadBar(progress))
    say(f"{folder}: 12 files, {counts[True]} downloaded, {counts[False]} already there")


def describe(
    data: DataOption = None,
    lookback: Annotated[int, typer.Option(help="Hours in a window.")] = 90,
    split: SplitOption = "article",
    clean: CleanOption = False,
    fill: FillOption = 0,
    column: ColumnOption = None,
    date_format: DateFormatOption = None,
    decimal: DecimalOption = None,
    resample: ResampleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show zones, what is odd about their loads, and window counts of a data set.

    Rows without a value and rows that contradict one another, which other verbs refuse, are counted here.
    """
    from rnncore.forecast.reading import ReadOptions
    from rnncore.forecast.windows import WindowConfig, make_windows

    options = ReadOptions(tuple(column or ()), date_format, decimal, resample, drop_missing=clean, keep_faults=True)
    dataset, readings = read_and_said(data, options, clean, fill)
    try:
        windows, why = make_windows(dataset, WindowConfig(lookback=lookback, split=split, drop_gaps=clean)), None
    except DataError as error:
        # A look at a file must not end where it is needed most.
        windows, why = None, str(error)
    parts = windows.zones if windows else [None] * len(readings)
    zones = [_zone_facts(one, part) for one, part in zip(readings, parts, strict=True)]
    facts = {
        "name": dataset.name,
        "digest": dataset.digest,
        "lookback": lookback,
        "split": split,
        "train_windows": len(windows.train_start) if windows else 0,
        "test_windows": len(windows.test_start) if windows else 0,
        "no_windows_why": why,
        "zones": zones,
    }
    if as_json:
        print_json(facts)
        return
    _print_zones(zones)
    say(
        f"{dataset.name}: {facts['train_windows']:,} training and {facts['test_windows']:,} test windows of {lookback} "
        f"hours, digest {dataset.digest[:12]}"
    )
    if why:
        err.print(f"No windows: {why}", soft_wrap=True)


def _zone_facts(reading: "Reading", part: "ZoneWindows | None") -> dict[str, Any]:
    """Return what a zone is, what is odd about it, and its windows; of those there may be none."""
    from rnncore.forecast.faults import faults_of

    series = reading.series
    return {
        "name": series.name,
        "rows": len(series.time),
        "duplicates": series.duplicates,
        "missing_hours": series.missing_hours,
        "train_windows": part.train.stop - part.train.start if part else 0,
        "test_windows": part.test.stop - part.test.start if part else 0,
        "first_hour": str(series.time[0]),
        "last_hour": str(series.time[-1]),
        "missing_values": reading.missing_values,
        **asdict(faults_of(series)),
        "read_as": list(reading.found),
        "done": list(reading.done),
    }


def _print_zones(zones: list[dict[str, Any]]) -> None:
    from rnncore.report.table import Table, numbers, words

    shown = ("name", "rows", "duplicates", "missing_hours", "train_windows", "test_windows", "first_hour", "last_hour")
    columns = numbers("Rows", "Repeated", "Missing", "Training", "Test", "First hour", "Last hour")
    print_table(Table([*words("Zone"), *columns], [[zone[key] for key in shown] for zone in zones]))
    columns = [
        *numbers("Smallest", "Largest", show="{:,.6g}".format),
        *numbers("No value", "Gaps", "Longest", "Spikes", "Jumps", "Flat", "Contradicting"),
    ]
    loads = ["name", "minimum_mw", "maximum_mw", "missing_values", "gaps", "longest_gap_hours", "spikes", "jumps"]
    loads += ["flat_stretches", "contradicting"]
    print_table(Table([*words("Loads"), *columns], [[zone[key] for key in loads] for zone in zones]))
    for zone in zones:
        if zone["first_spike"]:
            say(f"{zone['name']}: first spike at {zone['first_spike'].replace('T', ' ')}")


def opened_dataset(data: str | None, options: "ReadOptions", clean: bool, fill_hours: int = 0) -> "Dataset":
    """Open the data set and say how it was read."""
    return read_and_said(data, options, clean, fill_hours)[0]


def read_and_said(
    data: str | None, options: "ReadOptions", clean: bool, fill_hours: int = 0
) -> "tuple[Dataset, tuple[Reading, ...]]":
    """Read a data set, cleaned if asked for; say which it is where it was not asked for by name, and how it was read.

    Raises:
        ConfigError: If gaps are to be filled and nothing is cleaned.
        DataError: If it cannot be read.
    """
    from rnncore.forecast.series import Dataset
    from rnncore.forecast.sources import read_dataset

    if fill_hours and not clean:
        raise ConfigError(f"--fill {fill_hours} without --clean. Give both, so that repeated rows are merged first.")
    dataset, readings = read_dataset(data, options)
    if data is None:
        err.print(f"Data: {dataset.name}")
    if clean:
        readings = tuple(reading.cleaned(fill_hours) for reading in readings)
        dataset = Dataset(dataset.name, tuple(reading.series for reading in readings))
    said: dict[str, list[str]] = {}
    for reading in readings:
        if reading.found or reading.done:
            said.setdefault("; ".join([*reading.found, *reading.done]), []).append(reading.series.name)
    for text, names in said.items():
        err.print(f"{', '.join(names)}: {text}", soft_wrap=True, markup=False, highlight=False)
    for reading in readings:
        for warning in reading.warnings:
            err.print(f"Warning: {reading.series.name}, {warning}", soft_wrap=True, markup=False, highlight=False)
    return dataset, readings
