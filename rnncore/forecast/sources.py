"""Where loads come from: the twelve PJM zones of the article, a user's files, or synthetic zones."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnncore.errors import DataError
from rnncore.files import require_writable
from rnncore.forecast.reading import SUFFIXES, Reading, ReadOptions, read_file
from rnncore.forecast.series import Dataset
from rnncore.forecast.synthetic import synthetic_dataset

DATA_ENV = "RNNCORE_DATA"

PJM_FOLDER = Path("data/pjm")

# The article's public repository at the commit whose files the digests below were taken from.
PJM_URL = "https://github.com/gabrielloye/GRU_Prediction/raw/ea3b6a8/data/"

# File name -> SHA-256.
PJM_FILES = {
    "AEP_hourly.csv": "109d122f7b485555c609eecdec2cd5a03172e0a08acd358d863acc93eb452585",
    "COMED_hourly.csv": "2e79007e3f1be8765c92ff2b26314c0df0507bdd783110388a1e8d678d13fa1e",
    "DAYTON_hourly.csv": "84d3397231d5819b5cf086ef9e87cadf6dd7954085f2834be7e37257702ec768",
    "DEOK_hourly.csv": "070f9e0ece2fa97d5585f85bbf36122f5b3ab7f7f166db95fd0ebc3958d37600",
    "DOM_hourly.csv": "aa040e6ff42029dbc6698066d1a12765b00c56f993127af22f26aa9b769373a6",
    "DUQ_hourly.csv": "d4e09cca9f50c0c46eeef9feb8e5def5778368081c9af2a45cc0e8a798218071",
    "EKPC_hourly.csv": "2036a4ed539b10d42b9249a662d1e55eda555bba8673745ee1f5586db5cfe6ab",
    "FE_hourly.csv": "f2a4b89417cab06aaba451093f90d237fec911ccc70cd29a34449baaefdb8b3d",
    "NI_hourly.csv": "8de74f28ae6d03bd5d33050b00a2a1a001a8bff37e8e7100bf790003ea61030f",
    "PJME_hourly.csv": "4eb2b16d42bf07ec41ab55cb842191594cb69452725a6d3c0991658a628fde84",
    "PJMW_hourly.csv": "74b9c6c03e74933bfaf1f472eea18a2a09552289317858f6b1931fbc87c3996f",
    "PJM_Load_hourly.csv": "7dc080b7dfa4812c92f609a99cf1900cfbd49656412e744bf977d83500cebda0",
}

TIMEOUT_S = 60


def open_dataset(location: str | Path | None = None) -> Dataset:
    """Open a data set by name or path; `read_dataset` without what it says of its files."""
    return read_dataset(location)[0]


def read_dataset(
    location: str | Path | None = None, options: ReadOptions | None = None
) -> tuple[Dataset, tuple[Reading, ...]]:
    """Read a data set by name or path.

    Args:
        location: `synthetic`, a file, or a folder of files. None takes the environment variable RNNCORE_DATA, else
            `data/pjm` if its twelve files were fetched, else `synthetic`.
        options: What the files do not say themselves.

    Returns:
        The data set, zones in order of file name and column, and how each zone was read.

    Raises:
        DataError: If nothing is found there or a file cannot be read.
    """
    chosen_by = ""
    if location is None and os.environ.get(DATA_ENV):
        location, chosen_by = os.environ[DATA_ENV], f" (from {DATA_ENV})"
    elif location is None:
        location = PJM_FOLDER if is_complete(PJM_FOLDER) else "synthetic"
    if str(location) == "synthetic":
        dataset = synthetic_dataset()
        return dataset, tuple(Reading(series) for series in dataset.series)
    path = Path(location)
    if path.is_file():
        readings = _named_apart(path, [(path, reading) for reading in read_file(path, options)])
        return Dataset(path.stem, tuple(reading.series for reading in readings)), readings
    if not path.is_dir():
        raise DataError(
            f"{path}{chosen_by}: no such file or folder. Give a CSV file, a folder of CSV files or 'synthetic', "
            "or run 'rnncore data fetch' for the PJM files."
        )
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES) and file.is_file())
    if not files:
        raise DataError(f"{path}: the folder holds no {_or(SUFFIXES)} file. Put one hourly file per zone there.")
    readings = _named_apart(path, [(file, reading) for file in files for reading in read_file(file, options)])
    return Dataset("pjm" if is_complete(path) else path.resolve().name, tuple(one.series for one in readings)), readings


def _or(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _named_apart(path: Path, read: Sequence[tuple[Path, Reading]]) -> tuple[Reading, ...]:
    """Return readings; where a column is in several files, its zones are named after the files."""
    names = [reading.series.name for _, reading in read]
    files = {name: {file for file, reading in read if reading.series.name == name} for name in names}
    readings = tuple(
        replace(
            reading,
            series=replace(reading.series, name=file.name.split(".")[0]),
            found=(*reading.found, f"named after the file, as '{reading.series.name}' is in others too"),
        )
        if len(files[reading.series.name]) > 1
        else reading
        for file, reading in read
    )
    names = [reading.series.name for reading in readings]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: two zones are called '{repeated[0]}'. Give each its own column name, or file name.")
    return readings


def is_complete(folder: Path) -> bool:
    """Return whether *folder* holds all twelve files, by name."""
    return all((folder / name).is_file() for name in PJM_FILES)


def fetch_pjm(
    folder: Path,
    base_url: str = PJM_URL,
    on_file: Callable[[str, bool], None] = lambda name, downloaded: None,
    progress_bar: Any = None,
) -> None:
    """Download the twelve files into *folder*, each whole and with the right digest or not at all.

    A file that is there with the right digest is kept, so an interrupted fetch goes on where it stopped.

    Args:
        folder: Where to; made if missing.
        base_url: What the file names are appended to.
        on_file: Called after each file with its name and whether it was downloaded.
        progress_bar: A tqdm-like object that pooch moves as bytes arrive; None shows nothing.

    Raises:
        DataError: If a file cannot be downloaded or has another digest.
        OutputError: If a file cannot be written.
    """
    import pooch

    url = base_url if base_url.endswith("/") else base_url + "/"
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        for name, digest in PJM_FILES.items():
            present = folder / name
            downloaded = not (present.is_file() and hashlib.sha256(present.read_bytes()).hexdigest() == digest)
            if downloaded:
                require_writable(present)
                _fetch_file(url + name, folder, name, digest, progress_bar)
            on_file(name, downloaded)
    finally:
        logger.setLevel(level)


def _fetch_file(url: str, folder: Path, name: str, digest: str, progress_bar: Any) -> None:
    import pooch

    downloader = pooch.HTTPDownloader(progressbar=progress_bar or False, timeout=TIMEOUT_S)
    try:
        pooch.retrieve(url, known_hash=f"sha256:{digest}", fname=name, path=folder, downloader=downloader)
    except OSError as error:  # requests' own errors are OSErrors
        raise DataError(
            f"{url}: download failed ({error}). Files fetched before stay; run the command again to go on, or give "
            "another source with --mirror."
        ) from error
    except ValueError as error:
        raise DataError(
            f"{url}: the file's SHA-256 is not {digest}; it was deleted. The source has changed or the download was "
            "cut; run the command again, or give another source with --mirror."
        ) from error
