"""Data sets by name or path: the PJM zones, a user's files, or synthetic zones."""

import os
from pathlib import Path

from rnncore.errors import DataError
from rnncore.forecast.pjm import PJM_FOLDER, is_complete
from rnncore.forecast.series import Dataset, Series, read_csv
from rnncore.forecast.synthetic import synthetic_dataset

DATA_ENV = "RNNCORE_DATA"


def open_dataset(location: str | Path | None = None) -> Dataset:
    """Open a data set by name or path.

    Args:
        location: `synthetic`, a CSV file, or a folder of CSV files. None takes the environment variable
            RNNCORE_DATA, else `data/pjm` if its twelve files were fetched, else `synthetic`.

    Returns:
        The data set, zones in order of file name.

    Raises:
        DataError: If nothing is found there or a file cannot be read.
    """
    chosen_by = ""
    if location is None and os.environ.get(DATA_ENV):
        location, chosen_by = os.environ[DATA_ENV], f" (from {DATA_ENV})"
    elif location is None:
        location = PJM_FOLDER if is_complete(PJM_FOLDER) else "synthetic"
    if str(location) == "synthetic":
        return synthetic_dataset()
    path = Path(location)
    if path.is_file():
        return Dataset(path.stem, (read_csv(path),))
    if not path.is_dir():
        raise DataError(
            f"{path}{chosen_by}: no such file or folder. Give a CSV file, a folder of CSV files or 'synthetic', "
            "or run 'rnncore data fetch' for the PJM files."
        )
    files = sorted(path.glob("*.csv"))
    if not files:
        raise DataError(f"{path}: the folder holds no .csv file. Put one hourly CSV per zone there.")
    series = tuple(read_csv(file) for file in files)
    _require_distinct_names(path, series)
    return Dataset("pjm" if is_complete(path) else path.resolve().name, series)


def _require_distinct_names(folder: Path, series: tuple[Series, ...]) -> None:
    names = [one.name for one in series]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(
            f"{folder}: value column '{repeated[0]}' is in more than one file. Give each zone its own column name."
        )
