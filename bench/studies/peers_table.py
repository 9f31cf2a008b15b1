"""SMAPE of the article's model after equal wall time of training by each library: ours, the article's loop, and the peers.

    python bench/studies/peers_table.py [--data PATH] [--seconds 60] [--every 8]

Each training is a fresh process and begins to count with its second step. All are scored on the same test hours, every
eighth of each zone: by their own network and their own scaling, from the last 90 hours.
"""

import argparse
import subprocess
import sys
import time
import warnings

import numpy as np
import torch

from bench.article.loop import ReferenceLoop
from bench.bench_peers import CALENDAR, PEERS, SteppedTraining, hourly_frames
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import default_threads
from rnncore.forecast.model import new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.scoring import smape_pct
from rnncore.forecast.sources import open_dataset
from rnncore.forecast.trainer import Trainer
from rnncore.forecast.windows import make_windows
from rnncore.runfile.case import Case

OURS = ("rnncore", "article")
SEED, SCORED_TOGETHER = 0, 2048


def main() -> None:
    """Train and score each in a process of its own; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="synthetic")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _train_and_score(*options.one, options.data, options.seconds, options.every)
        return
    print("| library | cell | steps | windows | sMAPE % |\n| --- | --- | --: | --: | --: |", flush=True)
    for cell in CELLS:
        for library in (*OURS, *PEERS):
            own = [sys.executable, "-m", "bench.studies.peers_table", "--one", library, cell]
            given = ["--data", options.data, "--seconds", str(options.seconds), "--every", str(options.every)]
            subprocess.run([*own, *given], check=True)


def _train_and_score(library: str, cell: str, location: str, seconds: float, every: int) -> None:
    torch.set_num_threads(default_threads())
    torch.manual_seed(SEED)
    dataset, article = open_dataset(location), preset("article", cell)
    size = article.forecaster
    sizes = (size.hidden_size, size.num_layers, article.windows.lookback)
    case = Case("train", cell, *sizes, article.train.batch_size, recipe="article")
    train, forecast = (_ours if library in OURS else _peer)(library, case, article, dataset)
    # The clock starts after the first step.
    train()
    began_s, steps = time.perf_counter(), 1
    while time.perf_counter() - began_s < seconds:
        train()
        steps += 1
    print(
        f"| {library} | {cell.upper()} | {steps:,} | {steps * case.batch_size:,} | {_smape(dataset, forecast, every):.3f} |",
        flush=True,
    )


def _smape(dataset, forecast, every):
    """Return the mean of the zones' sMAPE over every n-th test hour."""
    windows, found = make_windows(dataset, preset("article", "gru").windows), []
    for zone, frame in zip(windows.zones, hourly_frames(dataset), strict=True):
        start = windows.test_start[zone.test][::every]
        forecasts_mw = [
            forecast(windows, zone, frame, some) for some in np.array_split(start, -(-len(start) // SCORED_TOGETHER))
        ]
        found.append(smape_pct(np.concatenate(forecasts_mw), windows.target_load_mw(start)[:, 0]))
    return float(np.mean(found))


def _ours(library, case, article, dataset):
    windows, model = make_windows(dataset, article.windows), new_forecaster(article.forecaster, SEED)
    device = torch.device("cpu")
    if library == "article":
        loop = ReferenceLoop(model, windows, windows.train_start, case.batch_size, article.train.learning_rate, device)
        train = loop.step
    else:
        trainer = Trainer(model, windows, article.training_on(windows), device)
        order, at = trainer.epoch_order(0), 0

        def train():
            nonlocal at
            trainer.train_step(order[at * case.batch_size : (at + 1) * case.batch_size], at)
            at += 1

    def forecast(windows, zone, frame, start):
        with torch.inference_mode():
            output = model.eval()(torch.from_numpy(windows.inputs(start)))
        return windows.to_mw(zone, start, output.numpy())[:, 0]

    return train, forecast


def _peer(library, case, article, dataset):
    warnings.simplefilter("ignore")
    training = SteppedTraining(PEERS[library](case, article, dataset))
    run = {"darts": _forecast_of_darts, "neuralforecast": _forecast_of_neuralforecast}[library]

    def forecast(windows, zone, frame, start):
        rows = np.searchsorted(frame["ds"].to_numpy(), windows.time[windows.target_rows(start)])
        places = rows[:, None] + np.arange(-case.lookback, 0)
        load, calendar = (torch.from_numpy(frame[list(names)].to_numpy(np.float32)[places]) for names in (["y"], CALENDAR))
        with torch.inference_mode():
            scaled = run(training.model.eval(), load, calendar)
        return scaled.numpy().astype(np.float64) * frame.attrs["std_mw"] + frame.attrs["mean_mw"]

    return training.step, forecast


def _forecast_of_darts(model, load, calendar):
    from darts.utils.data.torch_datasets.utils import PLModuleInput

    return model(PLModuleInput(past_target=load, past_covariates=calendar)).prediction[:, 0, 0, 0]


def _forecast_of_neuralforecast(model, load, calendar):
    """Scale each window as the library does, by its own hours alone; then back."""
    values = torch.cat([load, calendar], dim=2)
    # One more hour, which is to be forecast and is masked.
    values = torch.cat([values, values[:, -1:]], dim=1)
    mask = torch.ones(*values.shape[:2], 1)
    mask[:, -1] = 0
    scaled = model.scaler.transform(x=values, mask=mask)[:, :-1]
    batch = {"insample_y": scaled[..., :1], "hist_exog": scaled[..., 1:], "futr_exog": None, "stat_exog": None}
    forecasts = model(batch)
    scale, shift = (one[:, :, :1] for one in (model.scaler.x_scale, model.scaler.x_shift))
    return model.scaler.inverse_transform(z=forecasts, x_scale=scale, x_shift=shift)[:, 0, 0]


if __name__ == "__main__":
    main()
