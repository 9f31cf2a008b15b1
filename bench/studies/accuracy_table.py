"""SMAPE and wall time of the presets: both cells, several seeds, both splits, and the mean of all models' forecasts.

    python bench/studies/accuracy_table.py [--data PATH] [--presets fast best] [--seeds 5] [--splits article date]

Each training is a fresh process, one after another, timed from its start to its score: imports, files, windows, training and
scoring. Seeds change initial weights and the order of windows. Last come forecasts averaged over all models of a preset.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def train_and_score(preset_name: str, cell: str, seed: int, split: str, location: str, out: Path) -> None:
    """Train one model, score it, and write its forecasts to *out*; print what a table needs as JSON."""
    from dataclasses import replace

    import torch

    from rnncore.forecast.device import default_threads, resolve_device
    from rnncore.forecast.fit import fit
    from rnncore.forecast.model import new_forecaster
    from rnncore.forecast.presets import preset
    from rnncore.forecast.scoring import forecast_test_hours, score_forecasts
    from rnncore.forecast.sources import open_dataset
    from rnncore.forecast.trainer import Trainer
    from rnncore.forecast.windows import make_windows
    from rnncore.runtimes.catalog import open_runtime

    torch.set_num_threads(default_threads())
    dataset = open_dataset(location)
    recipe = preset(preset_name, cell, [series.name for series in dataset.series])
    windows = make_windows(dataset, replace(recipe.windows, split=split))
    model = new_forecaster(recipe.forecaster, seed)
    result = fit(Trainer(model, windows, replace(recipe.training_on(windows), seed=seed), resolve_device("auto")))
    with open_runtime("torch", model.cpu(), "cpu", "fp32", default_threads()) as runtime:
        forecasts = forecast_test_hours(runtime.predict, windows)
    scores = score_forecasts(preset_name, forecasts, windows)
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


def in_fresh_process(preset_name: str, cell: str, seed: int, split: str, location: str, out: Path) -> dict[str, object]:
    """Run one training in a process of its own; return what it printed and its wall time."""
    began_s = time.perf_counter()
    arguments = ["--one", preset_name, cell, str(seed), split, location, str(out)]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, encoding="utf-8", check=True)
    return {**json.loads(done.stdout), "wall_s": time.perf_counter() - began_s}


def score_of_mean(location: str, split: str, forecasts: list[Path]) -> float:
    """Return the sMAPE of the mean of several models' forecasts."""
    from rnncore.forecast.scoring import score_forecasts
    from rnncore.forecast.sources import open_dataset
    from rnncore.forecast.windows import WindowConfig, make_windows

    windows = make_windows(open_dataset(location), WindowConfig(split=split))
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
    parser.add_argument("--one", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        preset_name, cell, seed, split, location, out = options.one
        train_and_score(preset_name, cell, int(seed), split, location, Path(out))
        return
    print("| split | preset | cell | seeds | sMAPE %, mean | smallest to largest | wall s | of which training s |")
    print("| --- | --- | --- | --: | --: | --: | --: | --: |")
    with tempfile.TemporaryDirectory() as folder:
        for split in options.splits:
            for preset_name in options.presets:
                made = []
                for cell in options.cells:
                    runs = []
                    for seed in range(options.seeds):
                        made.append(Path(folder) / f"{split}-{preset_name}-{cell}-{seed}.npz")
                        runs.append(in_fresh_process(preset_name, cell, seed, split, options.data, made[-1]))
                    smape, wall_s, training_s = (
                        [float(run[key]) for run in runs] for key in ("smape", "wall_s", "training_s")
                    )
                    print(
                        f"| {split} | {preset_name} | {cell.upper()} | {len(runs)} | {statistics.mean(smape):.3f} "
                        f"| {min(smape):.3f} to {max(smape):.3f} | {min(wall_s):.1f} to {max(wall_s):.1f} "
                        f"| {min(training_s):.1f} to {max(training_s):.1f} |",
                        flush=True,
                    )
                smape_pct = score_of_mean(options.data, split, made)
                print(f"| {split} | {preset_name} | mean of forecasts | {len(made)} | {smape_pct:.3f} | | | |", flush=True)


if __name__ == "__main__":
    main()
