"""SMAPE and wall time of the presets: both cells, several seeds, both splits, and the mean of all models' forecasts.

    python bench/studies/accuracy_table.py [--data PATH] [--presets fast best] [--seeds 5] [--splits article date]
        [--implementations auto] [--cut 0.1]

Each training is a fresh process, one after another, timed from its start to its score: imports, files, windows, training and
scoring. Seeds change initial weights and the order of windows. Last come forecasts averaged over all models of a preset and
an implementation. With --cut the last part of each series is left out first: what implementations are compared on is then no
test hour of others. Of several implementations each is beside the first one: the differences seed by seed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from coverage_table import without_last


class Training(NamedTuple):
    """What is trained and scored."""

    preset: str
    cell: str
    seed: int
    split: str
    implementation: str
    location: str
    cut: float

    @classmethod
    def of(cls, words: list[str]) -> "Training":
        """Return what words of a command line name."""
        preset_name, cell, seed, split, implementation, location, cut = words
        return cls(preset_name, cell, int(seed), split, implementation, location, float(cut))


def open_cut(location: str, cut: float):
    """Return a data set without the last part of each series."""
    from rnncore.forecast.sources import open_dataset

    dataset = open_dataset(location)
    return without_last(dataset, cut) if cut else dataset


def train_and_score(asked: Training, out: Path) -> None:
    """Train one model, score it, and write its forecasts to *out*; print what a table needs as JSON."""
    from dataclasses import replace

    import torch

    from rnncore.forecast.device import default_threads, resolve_device
    from rnncore.forecast.fit import fit
    from rnncore.forecast.model import new_forecaster
    from rnncore.forecast.presets import preset
    from rnncore.forecast.scoring import forecast_test_hours, score_forecasts
    from rnncore.forecast.trainer import Trainer
    from rnncore.forecast.windows import make_windows
    from rnncore.runtimes.catalog import open_runtime

    torch.set_num_threads(default_threads())
    dataset = open_cut(asked.location, asked.cut)
    recipe = preset(asked.preset, asked.cell, [series.name for series in dataset.series])
    windows = make_windows(dataset, replace(recipe.windows, split=asked.split))
    model = new_forecaster(recipe.forecaster, asked.seed)
    training = replace(recipe.training_on(windows), seed=asked.seed, implementation=asked.implementation)
    result = fit(Trainer(model, windows, training, resolve_device("auto")))
    with open_runtime("torch", model.cpu(), "cpu", "fp32", default_threads()) as runtime:
        forecasts = forecast_test_hours(runtime.predict, windows)
    scores = score_forecasts(asked.preset, forecasts, windows)
    np.savez(out, **forecasts)
    print(
        json.dumps(
            {
                "smape": scores.mean.smape,
                "zones": {zone.name: zone.smape for zone in scores.zones},
                "training_s": result.seconds,
                "steps": result.steps,
            }
        )
    )


def in_fresh_process(asked: Training, out: Path) -> dict[str, object]:
    """Run one training in a process of its own; return what it printed and its wall time."""
    began_s = time.perf_counter()
    command = [sys.executable, __file__, "--one", *map(str, asked), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    return {**json.loads(done.stdout), "wall_s": time.perf_counter() - began_s}


def score_of_mean(location: str, cut: float, split: str, forecasts: list[Path]) -> float:
    """Return the sMAPE of the mean of several models' forecasts."""
    from rnncore.forecast.scoring import score_forecasts
    from rnncore.forecast.windows import WindowConfig, make_windows

    windows = make_windows(open_cut(location, cut), WindowConfig(split=split))
    loaded = [np.load(path) for path in forecasts]
    mean_mw = {zone: np.mean([one[zone] for one in loaded], axis=0) for zone in loaded[0].files}
    return score_forecasts("mean", mean_mw, windows).mean.smape


def main() -> None:
    """Run all trainings and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--presets", nargs="+", default=["fast", "best"])
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru"])
    parser.add_argument("--splits", nargs="+", default=["article", "date"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--implementations", nargs="+", default=["auto"])
    parser.add_argument("--cut", type=float, default=0.0)
    parser.add_argument("--one", nargs=8, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        *asked, out = options.one
        train_and_score(Training.of(asked), Path(out))
        return
    print(
        "| split | preset | cell | by | seeds | sMAPE %, mean | smallest to largest | less the first | wall s | training |"
    )
    print("| --- | --- | --- | --- | --: | --: | --: | --: | --: | --: |")
    with tempfile.TemporaryDirectory() as folder:
        for split, preset_name in product(options.splits, options.presets):
            made: dict[str, list[Path]] = {}
            for cell in options.cells:
                first: list[float] = []
                for by in options.implementations:
                    runs = []
                    for seed in range(options.seeds):
                        asked = Training(preset_name, cell, seed, split, by, options.data, options.cut)
                        out = Path(folder) / f"{split}-{preset_name}-{cell}-{by}-{seed}.npz"
                        made.setdefault(by, []).append(out)
                        runs.append(in_fresh_process(asked, out))
                    first = first or [float(run["smape"]) for run in runs]
                    print(f"| {split} | {preset_name} | {cell.upper()} | {by} {_cells(runs, first)}", flush=True)
            for by, forecasts in made.items():
                smape_pct = score_of_mean(options.data, options.cut, split, forecasts)
                print(
                    f"| {split} | {preset_name} | mean of forecasts | {by} | {len(forecasts)} | {smape_pct:.3f} | | | | |",
                    flush=True,
                )


def _cells(runs: list[dict[str, object]], first: list[float]) -> str:
    """Return what the trainings of all seeds are, as cells of a row: scores, and their differences from others'."""
    smape, wall_s, training_s = ([float(run[key]) for run in runs] for key in ("smape", "wall_s", "training_s"))
    beside = [one - other for one, other in zip(smape, first, strict=True)]
    return (
        f"| {len(runs)} | {statistics.mean(smape):.4f} | {min(smape):.4f} to {max(smape):.4f} "
        f"| {statistics.mean(beside):+.4f} ({min(beside):+.4f} to {max(beside):+.4f}) "
        f"| {min(wall_s):.1f} to {max(wall_s):.1f} | {min(training_s):.1f} to {max(training_s):.1f} |"
    )


if __name__ == "__main__":
    main()
