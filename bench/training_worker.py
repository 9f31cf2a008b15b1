"""A training in a process of its own, a step when it is asked: `python -m bench.training_worker` of `bench_interleaved`.

It reads one word per line and answers each with one line of JSON: `round` times a step, `answer` holds the gradients of a
checked step against float64.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from bench.bench_training import checked_step_of, step_of
from rnncore.errors import Unavailable
from rnncore.forecast.device import cudnn_precision, resolve_device, synchronize
from rnncore.forecast.presets import preset
from rnncore.forecast.series import Dataset, Series
from rnncore.forecast.windows import make_windows
from rnncore.measure.asked import answering, say
from rnncore.measure.stopwatch import seconds_per_call
from rnncore.runfile.case import Case
from rnncore.runtimes.torch import torch_evidence

DATA = "data.safetensors"


def save_dataset(dataset, folder):
    """Write the series of a data set as the processes read them."""
    arrays = {}
    for place, series in enumerate(dataset.series):
        arrays[f"{place:04} time {series.name}"] = series.time.astype("datetime64[s]").astype(np.int64)
        arrays[f"{place:04} load {series.name}"] = series.load_mw
    save_file(arrays, folder / DATA)


def load_dataset(folder):
    """Return the data set that was written."""
    arrays = load_file(folder / DATA)
    names = [key for key in sorted(arrays) if key[5:10] == "time "]
    series = [
        Series(key[10:], arrays[key].astype("datetime64[s]"), arrays[f"{key[:5]}load {key[10:]}"], digest="")
        for key in names
    ]
    return Dataset("interleaved", tuple(series))


def main():
    """Train what the arguments name, and do what the lines of standard input say, until they end."""
    folder, cell, runtime, device, precision, threads, batch_size, *mode = sys.argv[1:]
    with answering() as answers:
        began_s = time.perf_counter()
        torch.set_num_threads(int(threads))
        article = preset("article", cell)
        windows = make_windows(load_dataset(Path(folder)), article.windows)
        case = Case(
            "train",
            cell,
            batch_size=int(batch_size),
            device=device,
            runtime=runtime,
            precision=precision,
            mode=next(iter(mode), None),
        )
        checked = checked_step_of(cell, case.batch_size, windows)
        losses, found = [], []
        try:
            where = resolve_device(device)
            step, check = step_of(case, windows, where, checked)
        except Unavailable as error:
            say(answers, unavailable=str(error))
            return

        def run():
            with cudnn_precision(precision):
                losses.append(step())
            synchronize(where)

        run()
        first_call_s = time.perf_counter() - began_s
        # The checked step runs the same layers as the others, in less time.
        kernel = torch_evidence(lambda: found.append(check()), cell, where).kernel
        say(answers, first_call_s=first_call_s, kernel=kernel, calls=1)
        for line in sys.stdin:
            if line.strip() == "round":
                say(answers, seconds=seconds_per_call(run))
            else:
                parity = found[-1]
                finite = bool(torch.isfinite(torch.tensor([float(loss) for loss in losses])).all())
                say(
                    answers,
                    parity_max_abs=parity.max_abs,
                    parity_tolerance=parity.tolerance,
                    validity=parity.verdict if finite else "the loss is not finite",
                )


if __name__ == "__main__":
    main()
