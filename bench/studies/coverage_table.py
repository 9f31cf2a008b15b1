"""How many hours bounds hold: a preset trained on several kinds of data, its bounds made of one part of the tested hours.

    python bench/studies/coverage_table.py [--data PATH ...] [--horizons 1 24] [--seeds 1] [--cut 0.1] [--plain] [--still]
        [--not-made]

Of each zone the first half of the tested hours makes the bounds, and the hours of the second half are counted: what a model
file's bounds do in the months after it was made. With --cut the last part of each series is left out first, so that
choices are made without the hours that are reported. --plain takes all weeks for equally restless; by --still bounds do not
follow what is missed after they were made.
Beside the data sets that are given: a net load of both signs and a load that is 0 at night, made from a seed; none with
--not-made.
"""

import argparse
import statistics
from dataclasses import replace

import numpy as np

LEVELS = (0.5, 0.9)
YEARS = 3


def made_datasets(seed: int):
    """Return a net load with both signs and a load that is 0 at night, in MW."""
    from rnncore.forecast.series import Dataset, values_digest
    from rnncore.forecast.synthetic import synthetic_dataset

    base = synthetic_dataset(seed, YEARS).series[2]
    generator = np.random.default_rng(seed)
    hours = len(base.time)
    hour = base.time.astype("datetime64[h]").astype(np.int64) % 24
    day = base.time.astype("datetime64[D]").astype(np.int64)
    season = 1 - 0.4 * np.cos(2 * np.pi * (day % 365.25) / 365.25)
    # Clouds: of a day as a whole, and of hours.
    clear = np.clip(0.75 + 0.25 * generator.normal(size=day.max() - day.min() + 1), 0.1, 1)[day - day.min()]
    clear = np.clip(clear + 0.08 * generator.normal(size=hours), 0.02, 1)
    sun = np.maximum(0, np.sin(np.pi * (hour - 6) / 12)) * season * clear
    net_mw = (base.load_mw - 1.1 * base.load_mw.mean() * sun).round(1)
    pumps_mw = (40 * sun).round(3)
    return [
        Dataset(name, (replace(base, name=name, load_mw=load_mw, digest=values_digest(base.time, load_mw)),))
        for name, load_mw in (("net", net_mw), ("night0", pumps_mw))
    ]


def held_shares(dataset, preset_name: str, cell: str, horizon: int, seed: int) -> list[dict[str, float]]:
    """Train one model; return the share of hours that bounds hold, by zone and level, and the narrowest hour of the day."""
    import torch

    from rnncore.forecast.bounds import bounds_of, hour_of_day, misses_of
    from rnncore.forecast.device import default_threads, resolve_device
    from rnncore.forecast.fit import fit
    from rnncore.forecast.model import new_forecaster
    from rnncore.forecast.presets import preset
    from rnncore.forecast.scoring import forecast_test_hours, smape_pct
    from rnncore.forecast.trainer import Trainer
    from rnncore.runtimes.catalog import open_runtime

    torch.set_num_threads(default_threads())
    recipe = preset(preset_name, cell, [one.name for one in dataset.series], horizon)
    windows = recipe.windows_of(dataset, "article", drop_gaps=False)
    model = new_forecaster(recipe.forecaster, seed)
    fit(Trainer(model, windows, recipe.training_on(windows, seed=seed), resolve_device("cpu")))
    with open_runtime("torch", model, "cpu", "fp32", default_threads()) as runtime:
        forecasts = forecast_test_hours(runtime.predict, windows)
    rows = []
    for zone in windows.zones:
        start, forecast_mw = windows.test_start[zone.test], forecasts[zone.name]
        half = len(start) // 2
        row: dict[str, float] = {"smape": smape_pct(forecast_mw, windows.target_load_mw(start))}
        for way, made, counted in (("", slice(0, half), slice(half, None)), ("back ", slice(half, None), slice(0, half))):
            misses = misses_of(windows, zone, start[made], forecast_mw[made])
            load_mw = windows.target_load_mw(start[counted])
            # They follow all hours before: those that they were made of where these are earlier, none where they are later.
            until = slice(0, counted.stop)
            bounds = bounds_of(misses, windows, zone, start[until], forecast_mw[until])
            for level in LEVELS:
                low_mw, high_mw = (end_mw[counted] for end_mw in bounds.between_mw(level))
                assert ((low_mw <= forecast_mw[counted]) & (forecast_mw[counted] <= high_mw)).all()
                held = (load_mw >= low_mw) & (load_mw <= high_mw)
                row[f"{way}{level:g}"] = 100 * float(held.mean())
                if level == LEVELS[-1] and not way:
                    hour = hour_of_day(windows.time[windows.target_rows(start[counted])])
                    row["worst hour"] = 100 * min(float(held[hour == one].mean()) for one in np.unique(hour))
                    row["width"] = float((high_mw - low_mw).mean() / np.abs(load_mw).mean()) * 100
        rows.append(row)
    return rows


def read_hourly(given: str):
    """Return the data set of a path, or of one column of it, `PATH:COLUMN`, whose half-hours become hourly means."""
    from rnncore.forecast.reading import ReadOptions
    from rnncore.forecast.sources import read_dataset

    path, _, column = given.partition(":")
    read = ReadOptions((column,), resample="1h", drop_missing=True) if column else ReadOptions(drop_missing=True)
    return read_dataset(path, read)[0].cleaned()


def without_last(dataset, share: float):
    """Return the data set without the last part of each series."""
    from rnncore.forecast.series import values_digest

    series = []
    for one in dataset.series:
        rows = int((1 - share) * len(one.time))
        time, load_mw = one.time[:rows], one.load_mw[:rows]
        series.append(replace(one, time=time, load_mw=load_mw, digest=values_digest(time, load_mw)))
    return replace(dataset, series=tuple(series))


def main() -> None:
    """Train, count, and print the table."""
    from rnncore.forecast import bounds

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="*", default=[], metavar="PATH[:COLUMN]", help="half-hours become hourly means")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--horizons", nargs="+", type=int, default=[1, 24])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cut", type=float, default=0.0)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--still", action="store_true")
    parser.add_argument("--not-made", action="store_true")
    options = parser.parse_args()
    if options.plain:
        bounds.MOST_RESTLESS = 1.0
    if options.still:
        bounds.WIDENING = bounds.WIDENING_OF_HOUR = 0.0
    datasets = [read_hourly(given) for given in options.data]
    if not options.not_made:
        datasets += made_datasets(seed=1)
    print("| data | horizon | zones | sMAPE % | held at 0.5 | at 0.9 | by zone | the other way | worst hour | width % |")
    print("| --- | --: | --: | --: | --: | --: | --- | --: | --: | --: |")
    for dataset in datasets:
        kept = without_last(dataset, options.cut) if options.cut else dataset
        for horizon in options.horizons:
            every = [held_shares(kept, options.preset, options.cell, horizon, seed) for seed in range(options.seeds)]
            rows = [row for of_seed in every for row in of_seed]
            mean = {key: statistics.mean(row[key] for row in rows) for key in rows[0]}
            zones = [row["0.9"] for row in rows]
            print(
                f"| {dataset.name} | {horizon} | {len(dataset.series)} | {mean['smape']:.2f} | {mean['0.5']:.1f} "
                f"| {mean['0.9']:.1f} | {min(zones):.1f} to {max(zones):.1f} | {mean['back 0.9']:.1f} "
                f"| {mean['worst hour']:.1f} | {mean['width']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
