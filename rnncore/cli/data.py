"""Verbs of load series."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rnncore.cli.options import CleanOption, DataOption, JsonOption, SplitOption
from rnncore.cli.screen import err, print_json, print_table, say

if TYPE_CHECKING:
    from rnncore.forecast.series import Dataset


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

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        fetch_pjm(folder, mirror or PJM_URL, on_file, _DownloadBar(progress))
    say(f"{folder}: 12 files, {counts[True]} downloaded, {counts[False]} already there")


def describe(
    data: DataOption = None,
    lookback: Annotated[int, typer.Option(help="Hours in a window.")] = 90,
    split: SplitOption = "article",
    clean: CleanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show zones, faults and window counts of a data set."""
    from rnncore.forecast.windows import WindowConfig, make_windows
    from rnncore.report.table import Table, numbers, words

    dataset = opened_dataset(data, clean)
    windows = make_windows(dataset, WindowConfig(lookback=lookback, split=split, drop_gaps=clean))
    zones = [
        {
            "name": zone.name,
            "rows": zone.rows.stop - zone.rows.start,
            "duplicates": zone.duplicates,
            "missing_hours": zone.missing_hours,
            "train_windows": zone.train.stop - zone.train.start,
            "test_windows": zone.test.stop - zone.test.start,
            "first_hour": str(windows.time[zone.rows.start]),
            "last_hour": str(windows.time[zone.rows.stop - 1]),
        }
        for zone in windows.zones
    ]
    facts = {
        "name": dataset.name,
        "digest": dataset.digest,
        "lookback": lookback,
        "split": split,
        "train_windows": len(windows.train_start),
        "test_windows": len(windows.test_start),
        "zones": zones,
    }
    if as_json:
        print_json(facts)
        return
    columns = numbers("Rows", "Repeated", "Missing", "Training", "Test", "First hour", "Last hour")
    print_table(Table([*words("Zone"), *columns], [list(zone.values()) for zone in zones]))
    say(
        f"{dataset.name}: {facts['train_windows']:,} training and {facts['test_windows']:,} test windows of {lookback} "
        f"hours, digest {dataset.digest[:12]}"
    )


def opened_dataset(data: str | None, clean: bool) -> "Dataset":
    """Open the data set; say which it is where it was not asked for by name."""
    from rnncore.forecast.sources import open_dataset

    dataset = open_dataset(data)
    if data is None:
        err.print(f"Data: {dataset.name}")
    return dataset.cleaned() if clean else dataset
