"""The `rnncore` command: a verb parses, calls one function and prints."""

import json
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rnncore import __version__
from rnncore.errors import ConfigError, DataError, RnncoreError
from rnncore.files import require_writable
from rnncore.screen import fit_screen

if TYPE_CHECKING:
    from rnncore.compare.judge import Side
    from rnncore.compare.verdict import Comparison
    from rnncore.drive.gate import Progress as GateProgress
    from rnncore.forecast.model import Forecaster
    from rnncore.forecast.next_hours import KnownZone
    from rnncore.forecast.series import Dataset
    from rnncore.forecast.training import Progress as TrainingProgress
    from rnncore.forecast.training import Trainer, TrainResult
    from rnncore.forecast.windows import WindowConfig, Windows
    from rnncore.runtimes.base import Runtime

# Where pytest-benchmark keeps runs, and rnncore what it knows of machines.
STORE = Path(".benchmarks")

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

# Verbs that compute in this process: with no more threads than it may use, and none that spin beside other work.
COMPUTING = ("train", "evaluate", "forecast", "export", "reproduce")

# Where a gate's progress is no bar, it is a line this often.
GATE_LINE_EVERY_S = 60.0

# Columns of words: a table's other columns but the first hold numbers.
WORDS = ("verdict", "head against base", "why")

# The longest verdict.
WORD_WIDTH = len("incomparable")

# Piped output has no width of its own; a table must not be cut there.
PIPED_WIDTH = 200

app = typer.Typer(
    name="rnncore",
    help="Train, run and measure GRU and LSTM load forecasters.\n\nBenchmarks are run by pytest: pytest bench/ "
    "--benchmark-autosave. Exit codes: 0 done; 2 wrong usage, unreadable or missing file; 130 interrupted; compare and gate "
    "have more.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Fetch and describe load series.", no_args_is_help=True)
app.add_typer(data_app, name="data")

# Results go to standard output, everything else to standard error, so that --json can be piped.
err = Console(stderr=True, highlight=False)

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help="CSV file, folder of CSV files, or 'synthetic'. Default: $RNNCORE_DATA, else data/pjm if fetched, else "
        "synthetic.",
    ),
]
CellOption = Annotated[Literal["gru", "lstm"], typer.Option("--cell", help="Recurrent cell.")]
CleanOption = Annotated[
    bool, typer.Option("--clean", help="Merge rows of equal stamp to their mean and drop windows that straddle a gap.")
]
SplitOption = Annotated[
    Literal["article", "date"],
    typer.Option("--split", help="Test the last tenth of each zone (article), or all hours after one date (date)."),
]
DeviceOption = Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to run.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Of initial weights, shuffling and dropout.")]
EpochsOption = Annotated[
    int | None, typer.Option("--epochs", help="Passes over the training windows [default: the preset's]")
]
MaxStepsOption = Annotated[
    int | None, typer.Option("--max-steps", help="Stop after so many steps; the schedule spans them.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def main() -> None:
    """Run the command; print errors as one paragraph and exit with 2. Ctrl-C ends with 130, by Typer."""
    fit_screen()
    try:
        app(prog_name="rnncore")  # however it was started
    except RnncoreError as error:
        _say(f"rnncore: {error}", err=True)
        sys.exit(EXIT_ERROR)


def _say(text: str = "", err: bool = False, nl: bool = True) -> None:
    """Print a line. The stream is named, as Typer would write UTF-8 to one that is ASCII."""
    typer.echo(text, file=sys.stderr if err else sys.stdout, nl=nl)


def _print_version(wanted: bool) -> None:
    if wanted:
        _say(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand in COMPUTING:
        from rnncore.forecast.device import limited_threads, passive_waiting

        os.environ.update(limited_threads() | passive_waiting())


@data_app.command()
def fetch(
    folder: Annotated[Path, typer.Option("--out", help="Where to.")] = Path("data/pjm"),
    mirror: Annotated[str | None, typer.Option(help="Base URL of another source of the same files.")] = None,
) -> None:
    """Download the twelve PJM files (30 MB), check their digests, and keep what is already there."""
    from rnncore.forecast.pjm import PJM_URL, fetch_pjm

    counts = {True: 0, False: 0}

    def on_file(name: str, downloaded: bool) -> None:
        counts[downloaded] += 1
        err.print(f"{name}: {'downloaded' if downloaded else 'already there'}, digest right")

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        fetch_pjm(folder, mirror or PJM_URL, on_file, _DownloadBar(progress))
    _say(f"{folder}: 12 files, {counts[True]} downloaded, {counts[False]} already there")


class _DownloadBar:
    """What pooch takes for a progress bar, shown by rich; `total` is set when a file begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("Downloading", total=None)
        self._total = 0

    @property
    def total(self) -> int:
        return self._total

    @total.setter
    def total(self, size_bytes: int) -> None:
        self._total = size_bytes
        self._progress.reset(self._task, total=size_bytes)

    def update(self, size_bytes: int) -> None:
        self._progress.advance(self._task, size_bytes)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.refresh()


@data_app.command()
def describe(
    data: DataOption = None,
    lookback: Annotated[int, typer.Option(help="Hours in a window.")] = 90,
    split: SplitOption = "article",
    clean: CleanOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show zones, faults and window counts of a data set."""
    from rnncore.forecast.windows import WindowConfig, make_windows

    dataset = _dataset(data, clean)
    windows = make_windows(dataset, WindowConfig(lookback=lookback, split=split, drop_gaps=clean))
    zones = [
        {
            "name": zone.name,
            "rows": zone.rows.stop - zone.rows.start,
            "duplicates": zone.duplicates,
            "missing_hours": zone.missing_hours,
            "train_windows": zone.train.stop - zone.train.start,
            "test_windows": zone.test.stop - zone.test.start,
            "first_hour": str(windows.time[zone.rows.start]),
            "last_hour": str(windows.time[zone.rows.stop - 1]),
        }
        for zone in windows.zones
    ]
    facts = {
        "name": dataset.name,
        "digest": dataset.digest,
        "lookback": lookback,
        "split": split,
        "train_windows": len(windows.train_start),
        "test_windows": len(windows.test_start),
        "zones": zones,
    }
    if as_json:
        _print_json(facts)
        return
    names = {"name": "Zone", "rows": "Rows", "duplicates": "Repeated", "missing_hours": "Missing"}
    names |= {"train_windows": "Training", "test_windows": "Test", "first_hour": "First hour", "last_hour": "Last hour"}
    _print_table([list(names.values()), *[[zone[key] for key in names] for zone in zones]])
    _say(
        f"{dataset.name}: {facts['train_windows']:,} training and {facts['test_windows']:,} test windows of {lookback} "
        f"hours, digest {dataset.digest[:12]}"
    )


RuntimeOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What runs the model: torch, rnncore, onnxruntime, openvino, or one that another package registers [default: "
        "torch, or onnxruntime for an .onnx file]",
    ),
]


@app.command()
def train(
    cell: CellOption = "gru",
    preset: Annotated[
        Literal["article", "fast", "best"],
        typer.Option(help="article: the reference, to the letter; fast: our recipe; best: the same, larger and longer."),
    ] = "fast",
    data: DataOption = None,
    path: Annotated[Path | None, typer.Option("--out", help="Model file [default: models/CELL-PRESET.safetensors]")] = None,
    horizon: Annotated[int, typer.Option(help="Hours to forecast from each window, 1 to 24.")] = 1,
    lookback: Annotated[int | None, typer.Option(help="Hours in a window [default: the preset's]")] = None,
    seed: SeedOption = 0,
    epochs: EpochsOption = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows per step [default: the preset's]")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Adam's, or its top where the preset has a schedule [default: the preset's]")
    ] = None,
    clip_norm: Annotated[
        float | None,
        typer.Option(
            "--clip-norm", metavar="NORM", help="Largest norm of a step's gradient; 0 clips none [default: the preset's]"
        ),
    ] = None,
    max_steps: MaxStepsOption = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Stop after so much training time; the schedule does not follow.")
    ] = None,
    split: SplitOption = "article",
    clean: CleanOption = False,
    device: DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside the model file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a forecaster and write it to a .safetensors file.

    A checkpoint is kept beside it; after Ctrl-C the same command with --resume goes on.
    """
    from rnncore.forecast.device import resolve_device
    from rnncore.forecast.model import new_forecaster, save_forecaster
    from rnncore.forecast.presets import preset as recipe_of
    from rnncore.forecast.training import TRAINING_PRECISION, Trainer
    from rnncore.forecast.windows import make_windows

    path = path or Path("models") / f"{cell}-{preset}.safetensors"
    checkpoint = path.with_suffix(".checkpoint.safetensors")
    _require_output(path, ".safetensors")
    require_writable(checkpoint)
    dataset = _dataset(data, clean)
    recipe = recipe_of(preset, cell, [series.name for series in dataset.series], horizon)
    hours = recipe.windows.lookback if lookback is None else lookback
    windows = make_windows(dataset, replace(recipe.windows, lookback=hours, split=split, drop_gaps=clean))
    train_as = recipe.training_on(windows)
    config = replace(
        train_as,
        seed=seed,
        epochs=train_as.epochs if epochs is None else epochs,
        batch_size=train_as.batch_size if batch_size is None else batch_size,
        learning_rate=train_as.learning_rate if learning_rate is None else learning_rate,
        clip_norm=train_as.clip_norm if clip_norm is None else _clip_norm(clip_norm),
        max_steps=max_steps,
        max_seconds=max_seconds,
    )
    model = new_forecaster(recipe.forecaster, seed)
    trainer = Trainer(model, windows, config, resolve_device(device))
    result = _fit(trainer, checkpoint, resume, cell.upper())
    record = {
        "preset": preset,
        "precision": TRAINING_PRECISION,
        "data": dataset.name,
        "digest": dataset.digest,
        "config": asdict(config),
        **asdict(result),
    }
    with err.status("Looking at tested hours, for bounds"):
        zones = _zones_of(model, windows)
    save_forecaster(path, model, windows.config, record, zones)
    if as_json:
        _print_json({"out": str(path), **record})
        return
    _say(
        f"{path}: {cell.upper()}, {result.steps:,} steps in {result.seconds:.1f} s ({result.windows_per_s:,.0f} windows/s), "
        f"last mean loss {result.epochs[-1].loss:.6f}, ended by {result.ended_by}"
    )


def _clip_norm(asked: float) -> float | None:
    """Return what a training takes for --clip-norm: 0 stands for no clipping."""
    if not 0 <= asked < math.inf:
        raise ConfigError(f"--clip-norm is {asked:g}; give a finite number above 0, or 0 to clip nothing.")
    return asked or None


def _fit(trainer: "Trainer", checkpoint: Path, resume: bool, name: str) -> "TrainResult":
    """Train with a checkpoint; if Ctrl-C stops it, say how to go on and leave."""
    import torch

    from rnncore.forecast.device import default_threads
    from rnncore.forecast.training import fit

    if checkpoint.exists() and not resume:
        err.print(f"Starting anew; {checkpoint} of an earlier training will be replaced.", soft_wrap=True)
    torch.set_num_threads(default_threads())
    with _training_progress(name) as on_step, _stop_on_ctrl_c() as should_stop:
        result = fit(trainer, checkpoint, resume, on_step, should_stop)
    if result.ended_by == "stopped":
        err.print(f"Stopped after {result.steps:,} steps. To go on, run the same command with --resume.")
        raise typer.Exit(EXIT_INTERRUPTED)
    return result


@app.command()
def evaluate(
    model: Annotated[
        Path | None, typer.Argument(help="A .safetensors or .onnx file; none scores the baselines alone.")
    ] = None,
    data: DataOption = None,
    runtime: RuntimeOption = None,
    device: DeviceOption = "cpu",
    split: SplitOption = "article",
    clean: CleanOption = False,
    baselines: Annotated[bool, typer.Option(help="Score the baselines too.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Score a model, and simple baselines, on the tested hours.

    The windows are those that the model was trained with; --split and --clean are for baselines alone.
    """
    from rnncore.forecast.baselines import baseline_scores
    from rnncore.forecast.windows import WindowConfig, make_windows

    if model is not None and (split != "article" or clean):
        raise ConfigError("--split and --clean belong to the training of a model. Give them to 'rnncore train'.")
    if model is None and not baselines:
        raise ConfigError("nothing to score. Give a model, or leave out --no-baselines.")
    config, zones = _model_facts(model) if model else (WindowConfig(split=split), {})
    dataset = _dataset(data, clean or config.drop_gaps)
    scalings = {name: zone.scaling for name, zone in zones.items()}
    windows = make_windows(dataset, replace(config, drop_gaps=clean or config.drop_gaps), scalings)
    if not len(windows.test_start):
        raise DataError(f"{dataset.name}: no hour is tested, as its last part is too short. Give a longer series.")
    scores = _score_model(model, runtime, device, windows) if model else None
    rows = [entry.mean for entry in baseline_scores(windows)] if baselines else []
    facts: dict[str, Any] = {
        "model": str(model) if model else None,
        "data": {"name": dataset.name, "digest": dataset.digest},
        "test_windows": len(windows.test_start),
        "smape": scores.mean.smape if scores else None,
        "smape_article": scores.mean.smape_article if scores else None,
        "mae_mw": scores.mean.mae_mw if scores else None,
        "zones": [asdict(zone) for zone in scores.zones] if scores else [],
        "baselines": [asdict(row) for row in rows],
    }
    if as_json:
        _print_json(facts)
        return
    lines = [*scores.zones, replace(scores.mean, name=f"mean of zones, {model}")] if scores else []
    cells = [[row.name, f"{row.smape:.3f}", f"{row.smape_article:.3f}", f"{row.mae_mw:,.1f}"] for row in [*lines, *rows]]
    _print_table([["", "sMAPE %", "article's sMAPE %", "MAE MW"], *cells])
    _say(f"{dataset.name}: {len(windows.test_start):,} tested hours; baselines are means of zones")


@app.command()
def forecast(
    model: Annotated[Path, typer.Argument(help="A .safetensors or .onnx file.")],
    data: Annotated[Path, typer.Argument(metavar="FILE", help="CSV file, or a folder of them, up to the present hour.")],
    path: Annotated[Path | None, typer.Option("--out", help="CSV file to write to [default: a table here]")] = None,
    runtime: RuntimeOption = None,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Forecast the hours after the last of a file: as many as the model was trained for with --horizon.

    Bounds hold nine in ten of the tested hours of the zone, which the model was not trained on.
    """
    from rnncore.forecast.next_hours import hourly_rows, next_hours, write_hours

    if path is not None:
        _require_output(path, ".csv")
    config, zones = _model_facts(model)
    dataset = _dataset(str(data), clean=True)
    with _opened(model, runtime, device) as opened:
        forecasts = next_hours(opened.predict, dataset.series, config, zones)
    for one in forecasts:
        if not one.is_known:
            err.print(
                f"{one.zone}: the model was not trained on this zone: its scales are those of the file, without bounds.",
                soft_wrap=True,
            )
    rows = hourly_rows(forecasts)
    if as_json:
        _print_json({"model": str(model), "hours": rows})
    elif path is not None:
        write_hours(path, rows)
        _say(f"{path}: {len(rows)} hours")
    else:
        cells = [[row["zone"], row["time"], *map(_megawatts, list(row.values())[2:])] for row in rows]
        _print_table([["zone", "time", "MW", "low", "high"], *cells])


def _megawatts(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A .safetensors file of 'rnncore train'.")],
    path: Annotated[Path | None, typer.Option("--out", help="ONNX file [default: beside the model]")] = None,
) -> None:
    """Export a model to ONNX, and check that the file is the same model."""
    from rnncore.forecast.model import load_forecaster, read_safetensors
    from rnncore.runtimes.export import export_onnx

    path = path or model.with_suffix(".onnx")
    _require_output(path, ".onnx")
    forecaster, config = load_forecaster(model)
    with err.status("Exporting"):
        parity = export_onnx(forecaster, path, config, read_safetensors(model)[0].get("zones"))
    _say(f"{path}: differs from float64 by {parity.max_abs:.1e} at most (allowed {parity.tolerance:.0e})")


@app.command()
def reproduce(
    data: DataOption = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for table, figure and record.")] = Path(
        "reports/reproduction"
    ),
    seed: SeedOption = 0,
    epochs: EpochsOption = None,
    max_steps: MaxStepsOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Run the article's whole comparison: both cells on the same data, its figures beside ours.

    Five epochs take hours on a CPU; --max-steps shortens them, and the page says so.
    """
    from rnncore.forecast.datasets import open_dataset
    from rnncore.measure.reproduction import reproduce as run
    from rnncore.report.reproduction import RECORD_NAME, reproduction_table, write_reproduction

    require_writable(folder / RECORD_NAME)
    dataset = open_dataset(data)
    err.print(f"Data: {dataset.name}")
    with _training_progress() as on_step:
        record = run(dataset, device, seed, epochs, max_steps, lambda cell, progress: on_step(progress, cell.upper()))
    page = write_reproduction(record, folder)
    if as_json:
        _print_json(record)
        return
    _say(reproduction_table(record))
    _say(f"Page: {page}")


@app.command()
def report(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run files, folders or globs of them, or numbers of saved runs, like 0007."),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("reports/latest"),
    title: Annotated[str | None, typer.Option(help="Of the page [default: what was compared]")] = None,
    prices: Annotated[
        list[str] | None,
        typer.Option("--price", metavar="NAME=PRICE", help="Per hour of a run's machine; NAME is its file or its letter."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Write the report of one run, or of several side by side: a page, the same as Markdown, figures, CSV and Parquet."""
    import webbrowser

    from rnncore.report.page import write_report
    from rnncore.runfile.read import find_runs

    paths = list(dict.fromkeys(path for name in names for path in find_runs(name)))
    with err.status("Drawing the report"):
        page = write_report(paths, folder, title, _prices(prices or []))
    _say(f"Report: {page}")
    if show:
        webbrowser.open(page.absolute().as_uri())


@app.command()
def recommend(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Run file, or number of a saved run, like 0007.")],
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Largest p90 of a call's time, or median where the calls are too few [default: any]")
    ] = None,
    max_smape_loss: Annotated[
        float | None, typer.Option(help="Most points of sMAPE above the most accurate choice of the run [default: any]")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Windows per call [default: those with most windows per second]")] = None,
    cell: Annotated[Literal["gru", "lstm"] | None, typer.Option(help="Recurrent cell [default: either]")] = None,
    device: Annotated[Literal["cpu", "cuda"] | None, typer.Option(help="Where to run [default: either]")] = None,
    as_json: JsonOption = False,
) -> None:
    """Name the fastest measured way to run a forecaster within bounds, the next, how sure that is, and the code."""
    from rnncore.compare.choices import Bounds
    from rnncore.compare.choices import recommend as choose
    from rnncore.report.recommendation import recommendation_facts, recommendation_text
    from rnncore.runfile.read import find_runs, read_run

    for option, value in (("--max-latency-ms", max_latency_ms), ("--max-smape-loss", max_smape_loss), ("--batch", batch)):
        if value is not None and not 0 <= value < math.inf:
            raise ConfigError(f"{option} is {value}; give a number of at least 0.")
    paths = find_runs(name)
    if len(paths) > 1:
        raise ConfigError(f"{name} stands for {len(paths)} runs; a recommendation is made from one. Name it.")
    max_latency_s = None if max_latency_ms is None else max_latency_ms / 1e3
    found = choose(read_run(paths[0]), Bounds(max_latency_s, max_smape_loss, batch, cell, device))
    if as_json:
        _print_json(recommendation_facts(found))
        return
    _say(recommendation_text(found))


def _prices(texts: list[str]) -> dict[str, float]:
    prices = {}
    for text in texts:
        name, _, amount = text.rpartition("=")
        try:
            price = float(amount)
        except ValueError:
            price = math.nan
        if not name or not 0 <= price < math.inf:
            raise ConfigError(f"--price is {text!r}; give the name or letter of a run and a price per hour, such as A=1.80.")
        prices[name] = price
    return prices


VerdictJsonOption = Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON on standard output.")]
MarkdownOption = Annotated[
    Path | None, typer.Option("--markdown", help="Write them as Markdown too, for a pull request or job summary.")
]
JunitOption = Annotated[Path | None, typer.Option("--junit", help="Write them as JUnit XML too: slower is a failed case.")]
GithubOption = Annotated[bool, typer.Option("--github", help="Print annotations for GitHub Actions too.")]

# One paragraph per code: Typer joins the lines of a paragraph.
EXIT_CODES_HELP = (
    "Exit codes, of those that hold the first of 2, 4, 1, 5, 3:\n\n"
    "0  nothing slower\n\n"
    "1  slower, or an invalid result\n\n"
    "2  wrong usage, or an unreadable file\n\n"
    "3  unclear: cannot tell\n\n"
    "4  incomparable: other hardware, software or data\n\n"
    "5  benchmarks missing"
)


@app.command(epilog=EXIT_CODES_HELP)
def compare(
    base: Annotated[str, typer.Argument(help="Run file, folder or glob of them, or number of a saved run, such as 0007.")],
    head: Annotated[str, typer.Argument(help="The same of what is judged.")],
    more_base: Annotated[
        list[str] | None, typer.Option("--base", help="A further process of the base; may be given more than once.")
    ] = None,
    more_head: Annotated[
        list[str] | None, typer.Option("--head", help="A further process of the head; may be given more than once.")
    ] = None,
    as_json: VerdictJsonOption = False,
    markdown: MarkdownOption = None,
    junit: JunitOption = None,
    github: GithubOption = False,
) -> None:
    """Say for each benchmark whether the head is slower, faster, the same, or cannot be told.

    A verdict of slower needs several processes per side; 'rnncore gate' measures them. Thresholds are read from
    [tool.rnncore.thresholds] in ./pyproject.toml.
    """
    from rnncore.compare.floors import above_noise, read_noise
    from rnncore.compare.judge import judge
    from rnncore.compare.thresholds import read_thresholds

    sides = _side(base, more_base), _side(head, more_head)
    first, fewest = sides[0].runs[0], min(len(side.runs) for side in sides)
    noise = read_noise(STORE, first.fingerprint, str(first.session.get("scale")))
    comparison = judge(*sides, above_noise(read_thresholds(Path()), noise, fewest))
    _print_comparison(comparison, as_json, markdown, junit, github)
    raise typer.Exit(comparison.exit_code)


@app.command(epilog=EXIT_CODES_HELP)
def gate(
    base: Annotated[str, typer.Option("--base", metavar="REV", help="Revision that the head is held against.")],
    head: Annotated[
        str, typer.Option("--head", metavar="REV", help="Revision, or 'worktree': this folder with its uncommitted changes.")
    ] = "worktree",
    budget: Annotated[str, typer.Option(metavar="TIME", help="For all processes, such as 90s, 10m or 1h.")] = "10m",
    text: Annotated[str, typer.Option("-k", metavar="EXPRESSION", help="Only these benchmarks, as pytest's -k.")] = "",
    scale: Annotated[str, typer.Option("--rnn-scale", help="Grid of each process.")] = "gate",
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT...]", help="Further arguments of pytest.")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for verdicts and run files.")] = Path("reports/gate"),
    as_json: VerdictJsonOption = False,
    markdown: MarkdownOption = None,
    junit: JunitOption = None,
    github: GithubOption = False,
) -> None:
    """Tell whether a change made anything slower: both revisions, measured in turn on this machine.

    Both lie in git worktrees of their own; your files stay as they are. Thresholds are the head's, from
    [tool.rnncore.thresholds] in ./pyproject.toml.
    """
    from datetime import UTC, datetime

    from rnncore.compare.thresholds import read_thresholds
    from rnncore.drive.gate import parse_budget, run_gate
    from rnncore.drive.process import Suites

    budget_s = parse_budget(budget)
    _choose_waiting()
    arguments = (f"--rnn-scale={scale}", *(["-k", text] if text else []), *(more or []))
    out = folder / f"{datetime.now(UTC):%Y%m%d_%H%M%S}"
    with _gate_progress(budget_s) as on_progress:
        comparison = run_gate(
            Path(),
            base,
            head,
            Suites(arguments=arguments),
            budget_s,
            read_thresholds(Path()),
            STORE,
            out / "processes",
            on_progress,
        )
    _write_comparison(comparison, out)
    _print_comparison(comparison, as_json, markdown, junit, github)
    err.print(f"Verdicts and run files: {out}")
    raise typer.Exit(comparison.exit_code)


@app.command()
def noise(
    processes: Annotated[int, typer.Option(min=8, help="How many to run; more tell more.")] = 40,
    budget: Annotated[str, typer.Option(metavar="TIME", help="Of the gate whose sight is told.")] = "10m",
    wanted_pct: Annotated[float, typer.Option("--wanted", metavar="PERCENT", help="Slowdown that a gate should see.")] = 5.0,
    scale: Annotated[str, typer.Option("--rnn-scale", help="Grid of each process.")] = "gate",
    as_json: JsonOption = False,
) -> None:
    """Measure this machine's noise: identical code, again and again. The gate uses it from then on.

    Tells for each benchmark the smallest slowdown that a gate of the budget sees, and the processes that a wanted one needs.
    """
    import statistics
    import tempfile

    from rnncore.compare.floors import KEPT_SIDES, record_noise, write_noise
    from rnncore.compare.looks import processes_per_side
    from rnncore.compare.thresholds import read_thresholds
    from rnncore.drive.gate import parse_budget
    from rnncore.drive.noise import measure_noise
    from rnncore.drive.process import Suites
    from rnncore.drive.worktrees import WORKTREE, two_worktrees
    from rnncore.report.noise import noise_json, noise_table

    budget_s = parse_budget(budget)
    if not 0 < wanted_pct < math.inf:
        raise ConfigError(f"--wanted is {wanted_pct:g}; give percents above 0, such as 5.")
    _choose_waiting()
    suites = Suites(arguments=(f"--rnn-scale={scale}",))
    with (
        two_worktrees(Path(), "HEAD", WORKTREE) as (_, tree),
        tempfile.TemporaryDirectory() as folder,
        _process_progress(processes) as on_process,
    ):
        runs, walls_s = measure_noise(tree.path, suites, processes, Path(folder), on_process)
    per_side = processes_per_side(budget_s, statistics.median(walls_s))
    with err.status("Drawing gates"):
        record = record_noise(runs, walls_s, read_thresholds(Path()), {*KEPT_SIDES, per_side})
    path = write_noise(STORE, record)
    facts = noise_json(record, budget_s, per_side, wanted_pct / 100)
    if as_json:
        _print_json(facts)
        return
    lines, table = noise_table(facts)
    _say(lines)
    _print_table(table)
    _say(f"Kept in {path}: 'rnncore gate' and 'compare' refuse thresholds below the floor.")


@app.command()
def selftest(
    blocks: Annotated[int, typer.Option(min=4, help="Blocks of two plain processes and one of each delay.")] = 50,
    delays: Annotated[str, typer.Option(metavar="PERCENTS", help="Delays to plant, apart by commas.")] = "3,5,10,20",
    budget: Annotated[str, typer.Option(metavar="TIME", help="Of each gate that is replayed.")] = "10m",
    gates: Annotated[int, typer.Option(min=10, help="Gates to replay for each delay.")] = 300,
    replay: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Use the processes of an earlier self-test; run none.")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for rates and run files.")] = Path("reports/selftest"),
    as_json: JsonOption = False,
) -> None:
    """Prove the gate: plant delays of known size, and identical code, and count what it finds and what it makes up.

    Beside it stands what pytest-benchmark's min:5% and asv's test would have said of the same processes. Takes seven to ten
    seconds a process on 2 cores: 50 blocks of six are about 40 minutes.
    """
    from datetime import UTC, datetime

    from rnncore.compare.looks import processes_per_side
    from rnncore.compare.replay import read_pool, score_rules
    from rnncore.compare.thresholds import read_thresholds
    from rnncore.drive.gate import parse_budget
    from rnncore.drive.noise import measure_pool
    from rnncore.drive.process import Suites
    from rnncore.drive.worktrees import WORKTREE, two_worktrees
    from rnncore.files import write_text
    from rnncore.report.noise import selftest_json, selftest_markdown, selftest_tables

    budget_s, delays_pct = parse_budget(budget), _delays(delays)
    out = folder / f"{datetime.now(UTC):%Y%m%d_%H%M%S}"
    if replay is None:
        _choose_waiting()
        total = blocks * (2 + len(delays_pct))
        with two_worktrees(Path(), "HEAD", WORKTREE) as (_, tree), _process_progress(total) as on_process:
            measure_pool(tree.path, Suites(), blocks, delays_pct, out / "processes", on_process)
        err.print(f"Processes: {out / 'processes'}")
    pool = read_pool(replay or out / "processes")
    with _process_progress(gates * (1 + len(pool.delayed)), "gate") as on_gate:
        scores = score_rules(pool, budget_s, read_thresholds(Path()), gates, on_gate)
    facts = selftest_json(pool, scores, budget_s, processes_per_side(budget_s, pool.process_s))
    write_text(out / "selftest.json", _json_text(facts))
    write_text(out / "selftest.md", selftest_markdown(facts))
    if as_json:
        _print_json(facts)
    else:
        for lines, table in selftest_tables(facts):
            _say(lines)
            _print_table(table)
            _say()
    err.print(f"Rates: {out}")


def _delays(text: str) -> list[float]:
    try:
        delays_pct = [float(part) for part in text.split(",")]
    except ValueError:
        delays_pct = []
    if not delays_pct or not all(0 < one < math.inf for one in delays_pct) or len(set(delays_pct)) < len(delays_pct):
        raise ConfigError(f"--delays is {text!r}; give percents above 0, each once, such as 3,5,10.")
    return delays_pct


@contextmanager
def _process_progress(total: int, noun: str = "process") -> "Iterator[Callable[[int], None]]":
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} of {task.total}"))
    with Progress(*columns, TimeRemainingColumn(), console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(f"Running {noun}", total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _gate_progress(budget_s: float) -> "Iterator[Callable[[GateProgress], None]]":
    """Show processes, decided and undecided benchmarks and the time left: a bar on a terminal, else a line a minute."""
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("Warming up", total=budget_s)
        said_at_s = budget_s

        def on_progress(now: "GateProgress") -> None:
            nonlocal said_at_s
            counts = (
                f"{now.decided} decided, {now.undecided} undecided" if now.decided + now.undecided else "none decided yet"
            )
            line = f"{now.processes} processes, {counts}, {max(now.left_s, 0) / 60:.1f} min left"
            progress.update(task, description=line, completed=budget_s - now.left_s)
            if not err.is_terminal and said_at_s - now.left_s >= GATE_LINE_EVERY_S:
                said_at_s = now.left_s
                err.print(line)

        yield on_progress


def _write_comparison(comparison: "Comparison", folder: Path) -> None:
    from rnncore.files import write_text
    from rnncore.report.verdicts import verdict_json, verdict_junit, verdict_markdown

    write_text(folder / "verdict.json", _json_text(verdict_json(comparison)))
    write_text(folder / "verdict.md", verdict_markdown(comparison))
    write_text(folder / "junit.xml", verdict_junit(comparison))


def _side(name: str, more: list[str] | None) -> "Side":
    from rnncore.compare.judge import Side
    from rnncore.runfile.read import find_runs, read_run

    names = [name, *(more or [])]
    paths = dict.fromkeys(path for one in names for path in find_runs(one))
    runs = sorted((read_run(path) for path in paths), key=lambda run: run.datetime)
    return Side(", ".join(names), tuple(runs))


def _print_comparison(
    comparison: "Comparison", as_json: bool, markdown: Path | None, junit: Path | None, github: bool
) -> None:
    from rnncore.files import write_text
    from rnncore.report.verdicts import (
        github_annotations,
        verdict_json,
        verdict_junit,
        verdict_markdown,
        verdict_tables,
    )

    if markdown is not None:
        write_text(markdown, verdict_markdown(comparison))
    if junit is not None:
        write_text(junit, verdict_junit(comparison))
    if as_json:
        _print_json(verdict_json(comparison))
    else:
        for lines, table in verdict_tables(comparison):
            _say(lines)
            if table:
                _print_table(table)
            _say()
    if github:
        for line in github_annotations(comparison):
            _say(line, err=as_json)


@app.command()
def trend(
    store: Annotated[Path, typer.Argument(help="Folder of run files.")] = STORE,
    text: Annotated[str, typer.Option("-k", metavar="TEXT", help="Only benchmarks whose name holds TEXT.")] = "",
    practical_pct: Annotated[
        float, typer.Option("--threshold", metavar="PERCENT", min=0.5, max=100, help="Smallest step that counts.")
    ] = 2.0,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Write a page too: a small chart of each benchmark, its steps and commits.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the history of each benchmark on each machine, and the commits at which its speed changed.

    A step is called once two points in a row confirm it.
    """
    from rnncore.compare.history import find_trends, read_history
    from rnncore.report.trend import trend_json, trend_tables, write_trend_page

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("Reading run files", total=None)
        history = read_history(store, lambda done, total: progress.update(task, completed=done, total=total))
    trends = find_trends(history, practical_pct / 100)
    if folder is not None:
        err.print(f"Page: {write_trend_page(history, trends, folder, text)}")
    if as_json:
        _print_json(trend_json(history, trends, text))
        return
    for lines, table in trend_tables(history, trends, text):
        _say(lines)
        if table:
            _print_table(table)
        _say()


@app.command()
def convert(
    run: Annotated[Path, typer.Argument(help="Run file of 'pytest bench/ --benchmark-autosave'.")],
    tracker: Annotated[
        Literal["bencher", "github-smaller-is-better", "github-bigger-is-better"],
        typer.Option("--to", help="Bencher Metric Format, or one of the two lists of github-action-benchmark."),
    ],
    path: Annotated[Path | None, typer.Option("--out", help="File [default: standard output]")] = None,
) -> None:
    """Write throughput, latency, memory and sMAPE of a run for a tracker of benchmarks."""
    from rnncore.files import write_text
    from rnncore.report.trackers import bencher_json, github_action_benchmark_json, tracker_text
    from rnncore.runfile.read import read_run

    read = read_run(run)
    content: Any = bencher_json(read) if tracker == "bencher" else github_action_benchmark_json(read, "bigger" in tracker)
    if path is None:
        _say(tracker_text(content), nl=False)
        return
    write_text(path, tracker_text(content))
    _say(f"{path}: for {tracker}")


@app.command()
def profile(
    run: Annotated[Path, typer.Argument(help="Run file of 'pytest bench/ --benchmark-autosave --rnn-profile'.")],
    other: Annotated[
        Path | None, typer.Argument(help="A later run: show what changed from the first to it, operation by operation.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Operations per benchmark; --json has all.")] = 10,
    text: Annotated[str, typer.Option("-k", metavar="TEXT", help="Only benchmarks whose name holds TEXT.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show where the time of each benchmark goes, or between two runs, which operations grew."""
    from rnncore.report.profile import profile_json, profile_tables
    from rnncore.runfile.read import read_run

    base, head = read_run(run), None if other is None else read_run(other)
    if as_json:
        _print_json(profile_json(base, head, text))
        return
    for lines, table in profile_tables(base, head, text, top):
        _say(lines)
        _print_table(table)
        _say()


@app.command()
def recover(
    journal: Annotated[
        Path | None, typer.Argument(help="A .jsonl file [default: the newest in .benchmarks/journal/]")
    ] = None,
    path: Annotated[Path | None, typer.Option("--out", help="Run file [default: the next number in .benchmarks/]")] = None,
) -> None:
    """Make a run file of what a session had finished when it was killed or crashed."""
    from rnncore.runfile.journal import newest_journal
    from rnncore.runfile.journal import recover as recover_run

    if path is not None:
        _require_output(path, ".json")
    recovered = recover_run(journal or newest_journal(STORE / "journal"), path)
    _say(f"{recovered.path}: {recovered.finished} benchmark{'s' if recovered.finished != 1 else ''} recovered")
    for fullname, outcome in recovered.failed:
        _say(f"{outcome}: {fullname}")


def _dataset(data: str | None, clean: bool) -> "Dataset":
    """Open the data set; say which it is where it was not asked for by name."""
    from rnncore.forecast.datasets import open_dataset

    dataset = open_dataset(data)
    if data is None:
        err.print(f"Data: {dataset.name}")
    return dataset.cleaned() if clean else dataset


def _model_facts(model: Path) -> "tuple[WindowConfig, dict[str, KnownZone]]":
    """Return how the windows of a model file are made, and what it knows of its zones."""
    from rnncore.forecast.model import load_forecaster, read_safetensors
    from rnncore.forecast.next_hours import zones_from_facts
    from rnncore.runtimes.export import onnx_facts

    if model.suffix == ".onnx":
        config, facts = onnx_facts(model)
    else:
        config, facts = load_forecaster(model)[1], read_safetensors(model)[0].get("zones", {})
    return config, zones_from_facts(str(model), config.features, facts)


def _zones_of(model: "Forecaster", windows: "Windows") -> dict[str, Any]:
    from rnncore.forecast.device import default_threads
    from rnncore.forecast.next_hours import known_zones, zone_facts
    from rnncore.runtimes.catalog import open_runtime

    with open_runtime("torch", model.cpu(), "cpu", "fp32", default_threads()) as runtime:
        return zone_facts(known_zones(runtime.predict, windows))


def _score_model(model: Path, runtime_name: str | None, device_name: str, windows: "Windows") -> Any:
    from rnncore.forecast.next_hours import require_finite_forecast
    from rnncore.forecast.scoring import forecast_test_hours, score_forecasts

    with _opened(model, runtime_name, device_name) as runtime, err.status("Scoring"):
        forecasts = forecast_test_hours(runtime.predict, windows)
    for zone, forecast_mw in forecasts.items():
        require_finite_forecast(zone, forecast_mw)
    return score_forecasts(str(model), forecasts, windows)


@contextmanager
def _opened(model: Path, runtime_name: str | None, device_name: str) -> "Iterator[Runtime]":
    """Open a model file in a runtime that can run it."""
    from rnncore.forecast.device import default_threads, resolve_device
    from rnncore.forecast.model import load_forecaster
    from rnncore.runtimes.catalog import open_runtime, runtime_kinds

    is_onnx = model.suffix == ".onnx"
    name = runtime_name or ("onnxruntime" if is_onnx else "torch")
    kind = runtime_kinds().get(name)
    if kind and kind.reads == "onnx" and not is_onnx:
        raise ConfigError(f"{name} runs .onnx files. Make one with 'rnncore export {model}' and give that.")
    source = model if is_onnx else load_forecaster(model)[0]
    device = resolve_device(device_name).type
    precision = kind.precisions.get(device, ("fp32",))[0] if kind else "fp32"
    with open_runtime(name, source, device, precision, default_threads()) as runtime:
        yield runtime


def _require_output(path: Path, suffix: str) -> None:
    if path.suffix != suffix:
        raise ConfigError(f"--out is {path}; give a file name that ends in {suffix}.")
    require_writable(path)


def _print_json(facts: dict[str, Any]) -> None:
    _say(_json_text(facts).removesuffix("\n"))


def _json_text(facts: Any) -> str:
    """Return facts as JSON that every reader takes: it has no NaN and no infinity, so these are null."""
    return json.dumps(_finite(facts), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _choose_waiting() -> None:
    """Look at the host, for all processes that will measure: they wait alike; say so where it is busy."""
    from rnncore.measure.busy import notice, session_environment

    os.environ.update(session_environment())
    said = notice()
    if said:
        err.print(said, soft_wrap=True)


def _print_table(rows: list[list[Any]]) -> None:
    """Print a table: first column and words left, numbers right; words wrap."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(rows[0]):
        words = str(name) in WORDS
        # On a narrow screen names fold and words wrap, so that numbers and verdicts stay whole.
        table.add_column(
            str(name),
            justify="left" if index == 0 or words else "right",
            no_wrap=not words and index > 0,
            overflow="fold",
            min_width=WORD_WIDTH if words else None,
        )
    for row in rows[1:]:
        # As Text: brackets of a test's name are no markup.
        table.add_row(*[Text(f"{value:,}" if isinstance(value, int) else str(value)) for value in row])
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    console.print(table)


@contextmanager
def _training_progress(name: str = "") -> "Iterator[Callable[..., None]]":
    """Show a bar with rate and time left on a terminal, and log lines everywhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.completed:,.0f} of {task.total:,.0f}, {task.fields[rate]:,.0f} windows/s,"),
        TimeRemainingColumn(),
    )
    logger = logging.getLogger("rnncore.training")
    handler = RichHandler(console=err, show_path=False, show_level=False)
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
            task = progress.add_task(name, total=1, rate=0.0)

            def on_step(now: "TrainingProgress", description: str = name) -> None:
                progress.update(
                    task, description=description, completed=now.step, total=now.total_steps, rate=now.windows_per_s
                )

            yield on_step
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _stop_on_ctrl_c() -> "Iterator[Callable[[], bool]]":
    """Let the first Ctrl-C end the training after the step it is in; the second interrupts at once."""
    asked = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        err.print("Stopping after this step; press Ctrl-C again to stop at once.")

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)
