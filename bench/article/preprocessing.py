"""The article's way from files to windows, and a fair comparison with ours.

    python bench/article/preprocessing.py [--data PATH] [--repeats N]

runs both, each time in a fresh process, interleaved, and prints seconds and peak memory. The article's way is written from
its description: four row-wise applies for the calendar, scikit-learn's MinMaxScaler, and a Python loop that copies every
window into float64 arrays that hold all of them and grow file by file.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

LOOKBACK = 90
TEST_FRACTION = 0.1
WAYS = ("rnncore", "article")


def prepare_as_article(folder: Path) -> tuple[int, int]:
    """Make all windows of a folder of CSV files as the article does; return how many train and how many test."""
    from sklearn.preprocessing import MinMaxScaler

    train_inputs, train_targets = np.empty((0, LOOKBACK, 5)), np.empty(0)
    test_parts = {}
    for path in sorted(folder.glob("*.csv")):
        table = pd.read_csv(path, parse_dates=[0])
        stamp = table.columns[0]
        table["hour"] = table.apply(lambda row, stamp=stamp: row[stamp].hour, axis=1)
        table["weekday"] = table.apply(lambda row, stamp=stamp: row[stamp].day_of_week, axis=1)
        table["month"] = table.apply(lambda row, stamp=stamp: row[stamp].month, axis=1)
        table["day_of_year"] = table.apply(lambda row, stamp=stamp: row[stamp].day_of_year, axis=1)
        values = MinMaxScaler().fit_transform(table.sort_values(stamp).drop(stamp, axis=1).values)
        inputs = np.zeros((len(values) - LOOKBACK, LOOKBACK, values.shape[1]))
        targets = np.zeros(len(values) - LOOKBACK)
        for row in range(LOOKBACK, len(values)):
            inputs[row - LOOKBACK] = values[row - LOOKBACK : row]
            targets[row - LOOKBACK] = values[row, 0]
        tested = int(TEST_FRACTION * len(inputs))
        train_inputs = np.concatenate((train_inputs, inputs[:-tested]))
        train_targets = np.concatenate((train_targets, targets[:-tested]))
        test_parts[path] = (inputs[-tested:], targets[-tested:])
    return len(train_inputs), sum(len(inputs) for inputs, _ in test_parts.values())


def prepare_as_rnncore(folder: Path) -> tuple[int, int]:
    """Make the windows of a folder of CSV files by row number; return how many train and how many test."""
    from rnncore.forecast.sources import open_dataset
    from rnncore.forecast.windows import WindowConfig, make_windows

    windows = make_windows(open_dataset(folder), WindowConfig())
    return len(windows.train_start), len(windows.test_start)


PREPARE = {"rnncore": prepare_as_rnncore, "article": prepare_as_article}


def measure_in_fresh_process(way: str, folder: Path) -> dict[str, float]:
    """Run one way in a process of its own.

    Returns:
        `seconds` of the preparation with libraries imported, `process_seconds` with their import, `peak_rss_bytes` of the
        whole process, `train_windows` and `test_windows`.
    """
    began_s = time.perf_counter()
    command = [sys.executable, __file__, "--only", way, "--data", str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    return json.loads(output) | {"process_seconds": time.perf_counter() - began_s}


def _run_here(way: str, folder: Path) -> dict[str, float]:
    # Imports are paid before the clock starts, the same for both ways.
    import sklearn.preprocessing  # noqa: F401

    import rnncore.forecast.windows  # noqa: F401
    from rnncore.measure.linux import status_bytes

    began_s = time.perf_counter()
    train_windows, test_windows = PREPARE[way](folder)
    seconds = time.perf_counter() - began_s
    return {
        "seconds": seconds,
        "peak_rss_bytes": status_bytes("VmHWM"),
        "train_windows": train_windows,
        "test_windows": test_windows,
    }


def main() -> None:
    """Compare both ways, or run one here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data/pjm"), help="folder of CSV files (default: data/pjm)")
    parser.add_argument("--repeats", type=int, default=3, help="processes per way (default: 3)")
    parser.add_argument("--only", choices=WAYS, help="run one way in this process and print JSON")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(_run_here(options.only, options.data)))
        return
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        for way in WAYS:
            runs[way].append(measure_in_fresh_process(way, options.data))
            last = runs[way][-1]
            print(
                f"{way}: {last['seconds']:.3f} s, process {last['process_seconds']:.1f} s, "
                f"peak {(last['peak_rss_bytes'] or math.nan) / 2**30:.2f} GiB, "
                f"{last['train_windows']:,} training and {last['test_windows']:,} test windows",
                flush=True,
            )
    for key, name in (("seconds", "time"), ("process_seconds", "whole process"), ("peak_rss_bytes", "peak memory")):
        ratios = [
            (theirs[key] or math.nan) / (ours[key] or math.nan)
            for ours, theirs in zip(runs["rnncore"], runs["article"], strict=True)
        ]
        print(f"{name}: article / rnncore {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})")


if __name__ == "__main__":
    main()
