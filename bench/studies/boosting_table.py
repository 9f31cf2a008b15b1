"""Which size of gradient boosting to give users as a baseline: a few, on series without their last part.

    python bench/studies/boosting_table.py --data PATH[:COLUMN] ... [--horizon 1] [--cut 0.1] [--sizes 400,0.1,31 ...]

Sizes are trees, learning rate and leaves of a tree. With --cut the last part of each series, which is tested elsewhere, is
left out first, so that the choice is made without it.
"""

import argparse
import statistics
import time

from coverage_table import read_hourly, without_last

SIZES = ("400,0.1,31", "800,0.05,31", "400,0.05,31", "400,0.05,63", "400,0.1,15", "200,0.1,31")


def main() -> None:
    """Fit, score, and print the table."""
    from rnncore.forecast import baselines
    from rnncore.forecast.scoring import load_of_tested_hours, smape_pct
    from rnncore.forecast.windows import WindowConfig, make_windows

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="PATH[:COLUMN]", help="half-hours become hourly means")
    parser.add_argument("--horizon", type=int, default=1)
    parser.add_argument("--cut", type=float, default=0.1)
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    options = parser.parse_args()
    datasets = [read_hourly(given) for given in options.data]
    every = [make_windows(without_last(one, options.cut), WindowConfig(horizon=options.horizon)) for one in datasets]
    print("| trees, rate, leaves | sMAPE %, mean | by zone | s |")
    print("| --- | --: | --- | --: |")
    for size in options.sizes:
        trees, rate, leaves = size.split(",")
        baselines.BOOSTED_TREES, baselines.BOOSTED_RATE, baselines.BOOSTED_LEAVES = int(trees), float(rate), int(leaves)
        began_s, scores = time.perf_counter(), []
        for windows in every:
            for zone in windows.zones:
                forecast_mw = baselines.SLOW_BASELINES["gradient_boosting"](windows, zone)
                scores.append(smape_pct(forecast_mw, load_of_tested_hours(windows, zone.name)))
        took_s = time.perf_counter() - began_s
        by_zone = ", ".join(f"{score:.3f}" for score in scores)
        print(f"| {size} | {statistics.mean(scores):.3f} | {by_zone} | {took_s:.0f} |", flush=True)


if __name__ == "__main__":
    main()
