"""How far forecasts of a file in another unit differ from the same amounts: of every baseline and preset, on whole series.

    python bench/studies/unit_table.py --data PATH[:COLUMN] [--factors 1e-6 1e6] [--horizon 1] [--steps 200]

Loads are multiplied by each factor, everything is fitted and trained anew, forecasts of the tested hours are divided by it.
Shown is the largest difference, as a share of the forecast in MW, and of the sMAPE.
"""

import argparse
from dataclasses import replace

import numpy as np
from coverage_table import read_hourly


def scaled(dataset, factor: float):
    """Return the data set in another unit."""
    return replace(dataset, series=tuple(replace(one, load_mw=one.load_mw * factor) for one in dataset.series))


def trained_forecasts(dataset, name: str, horizon: int, steps: int):
    """Train a preset for some steps; return its forecasts by zone, and the windows."""
    import torch

    from rnncore.forecast.device import default_threads, resolve_device
    from rnncore.forecast.fit import fit
    from rnncore.forecast.model import new_forecaster
    from rnncore.forecast.presets import preset
    from rnncore.forecast.scoring import forecast_test_hours
    from rnncore.forecast.trainer import Trainer
    from rnncore.runtimes.catalog import open_runtime

    torch.set_num_threads(default_threads())
    recipe = preset(name, "lstm", [one.name for one in dataset.series], horizon)
    windows = recipe.windows_of(dataset, "article", drop_gaps=False)
    model = new_forecaster(recipe.forecaster, 0)
    fit(Trainer(model, windows, recipe.training_on(windows, seed=0, max_steps=steps), resolve_device("cpu")))
    with open_runtime("torch", model, "cpu", "fp32", default_threads()) as runtime:
        return forecast_test_hours(runtime.predict, windows), windows


def main() -> None:
    """Fit and train in each unit, and print the table."""
    from rnncore.forecast.baselines import baseline_forecasts
    from rnncore.forecast.presets import PRESETS
    from rnncore.forecast.scoring import score_forecasts
    from rnncore.forecast.windows import WindowConfig, make_windows

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="PATH[:COLUMN]", help="half-hours become hourly means")
    parser.add_argument("--factors", nargs="+", type=float, default=[1e-6, 1e6])
    parser.add_argument("--horizon", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    dataset = read_hourly(options.data)

    def every(factor: float):
        """Return forecasts and windows by the name of what made them."""
        other = scaled(dataset, factor)
        windows = make_windows(other, WindowConfig(horizon=options.horizon))
        found = {name: (forecasts, windows) for name, forecasts in baseline_forecasts(windows, boosting=True)}
        return found | {name: trained_forecasts(other, name, options.horizon, options.steps) for name in PRESETS}

    usual = every(1.0)
    print("| forecasts by | factor | largest difference, of the forecast | of the sMAPE |")
    print("| --- | --: | --: | --: |")
    for factor in options.factors:
        for name, (forecasts, windows) in every(factor).items():
            there, of = usual[name]
            apart = max(float(np.abs(mw / factor / there[zone] - 1).max()) for zone, mw in forecasts.items())
            smape, before = (score_forecasts(name, *pair).mean.smape for pair in ((forecasts, windows), (there, of)))
            print(f"| {name} | {factor:g} | {apart:.1e} | {abs(smape / before - 1):.1e} |", flush=True)


if __name__ == "__main__":
    main()
