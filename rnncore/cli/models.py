"""Verbs of models: train, evaluate, forecast, export, reproduce."""

import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rnncore.cli.data import opened_dataset
from rnncore.cli.options import (
    EXIT_INTERRUPTED,
    CellOption,
    CleanOption,
    ColumnOption,
    DataOption,
    DateFormatOption,
    DecimalOption,
    DeviceOption,
    EpochsOption,
    FillOption,
    JsonOption,
    MaxStepsOption,
    ResampleOption,
    RuntimeOption,
    SeedOption,
    SplitOption,
    require_output,
)
from rnncore.cli.screen import err, print_json, print_table, say, stop_on_ctrl_c, training_progress
from rnncore.errors import ConfigError, DataError
from rnncore.files import require_writable

if TYPE_CHECKING:
    from rnncore.forecast.fit import TrainResult
    from rnncore.forecast.metrics import Metrics
    from rnncore.forecast.next_hours import KnownZone, NextHours
    from rnncore.forecast.reading import ReadOptions
    from rnncore.forecast.trainer import Trainer


# Significant digits of a load on the screen, and of an error.
LOAD_DIGITS = 5
SCORE_DIGITS = 4

# Hours before a forecast that its picture shows.
SHOWN_HOURS = 168


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
        float | None, typer.Option(help="Stop after this training time; the schedule does not follow.")
    ] = None,
    split: SplitOption = "article",
    clean: CleanOption = False,
    fill: FillOption = 0,
    column: ColumnOption = None,
    date_format: DateFormatOption = None,
    decimal: DecimalOption = None,
    resample: ResampleOption = None,
    device: DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint beside the model file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a forecaster and write it to a .safetensors file.

    A checkpoint is kept beside it; after Ctrl-C the same command with --resume goes on. Several processes train one model:
    torchrun --nproc-per-node N -m rnncore train ...
    """
    from rnncore.forecast.distributed import device_of_rank, joined, ranks_of_environment
    from rnncore.forecast.model import new_forecaster
    from rnncore.forecast.presets import preset as recipe_of
    from rnncore.forecast.reading import ReadOptions
    from rnncore.forecast.trainer import Trainer
    from rnncore.runtimes.trained import save_trained

    path = path or Path("models") / f"{cell}-{preset}.safetensors"
    checkpoint = path.with_suffix(".checkpoint.safetensors")
    require_output(path, ".safetensors")
    require_writable(checkpoint)
    if clip_norm is not None and not 0 <= clip_norm < math.inf:
        raise ConfigError(f"--clip-norm is {clip_norm:g}; give a finite number above 0, or 0 to clip nothing.")
    ranks, where = ranks_of_environment(), device_of_rank(device)
    # From here on, before anything is said of the data.
    err.quiet = not ranks.is_first
    options = ReadOptions(tuple(column or ()), date_format, decimal, resample, drop_missing=clean)
    dataset = opened_dataset(data, options, clean, fill)
    recipe = recipe_of(preset, cell, [series.name for series in dataset.series], horizon)
    windows = recipe.windows_of(dataset, split, clean, lookback)
    config = recipe.training_on(
        windows,
        seed=seed,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        max_steps=max_steps,
        max_seconds=max_seconds,
    )
    if clip_norm is not None:
        config = replace(config, clip_norm=clip_norm or None)
    with joined(ranks, where):
        trainer = Trainer(new_forecaster(recipe.forecaster, seed), windows, config, where, ranks)
        # What torchrun starts anew goes on where it was: of several machines one alone may have the checkpoint.
        resume = resume or ranks.first_says(ranks.restarts > 0 and checkpoint.exists())
        result = _fit(trainer, checkpoint, resume, cell.upper())
    if not ranks.is_first:
        return
    with err.status("Looking at test hours, for bounds"):
        record = save_trained(path, trainer, result, windows, preset, dataset, options)
    if as_json:
        print_json({"out": str(path), **record})
        return
    say(
        f"{path}: {cell.upper()}, {result.steps:,} steps in {result.seconds:.1f} s ({result.windows_per_s:,.0f} windows/s), "
        f"last mean loss {result.epochs[-1].loss:.6f}, ended by {result.ended_by}"
    )


def _fit(trainer: "Trainer", checkpoint: Path, resume: bool, name: str) -> "TrainResult":
    """Train with a checkpoint; if Ctrl-C stops it, say how to go on and leave."""
    import torch

    from rnncore.forecast.device import default_threads
    from rnncore.forecast.fit import fit

    if trainer.ranks.is_first and not resume and checkpoint.exists():
        err.print(f"Starting anew; {checkpoint} of an earlier training will be replaced.", soft_wrap=True)
        if trainer.ranks.count > 1:
            # What torchrun starts anew before there is another would go on from this one.
            checkpoint.unlink()
    err.print(f"Recurrent layers by {trainer.trained_by}", soft_wrap=True, markup=False)
    torch.set_num_threads(default_threads())
    with training_progress(name) as on_step, stop_on_ctrl_c() as should_stop:
        result = fit(trainer, checkpoint, resume, on_step, should_stop)
    if result.ended_by == "stopped":
        err.print(f"Stopped after {result.steps:,} steps. To go on, run the same command with --resume.")
        raise typer.Exit(EXIT_INTERRUPTED)
    return result


def evaluate(
    model: Annotated[
        Path | None, typer.Argument(help="A .safetensors or .onnx file; none scores the baselines alone.")
    ] = None,
    data: DataOption = None,
    runtime: RuntimeOption = None,
    device: DeviceOption = "cpu",
    split: SplitOption = "article",
    clean: CleanOption = False,
    fill: FillOption = 0,
    column: ColumnOption = None,
    date_format: DateFormatOption = None,
    decimal: DecimalOption = None,
    resample: ResampleOption = None,
    by: Annotated[Literal["zone", "hour", "lead"], typer.Option("--by", help="Show a model's scores by this.")] = "zone",
    baselines: Annotated[bool, typer.Option(help="Score the baselines too.")] = True,
    boosting: Annotated[
        bool, typer.Option("--boosting", help="Score gradient boosting too: minutes for long series or many leads.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score a model, and simple baselines, on the test hours.

    The windows are those that the model was trained with; --split and --clean are for baselines alone. Pinball loss and the
    coverage of bounds of nine in ten are of the second half of the test hours, by bounds from the first.
    """
    from rnncore.forecast.baselines import baseline_forecasts
    from rnncore.forecast.metrics import Metrics, mean_metrics, metrics_by, missed_by_zone, reaches_zero
    from rnncore.forecast.next_hours import require_size_of_training
    from rnncore.forecast.reading import ReadOptions
    from rnncore.forecast.windows import WindowConfig, make_windows
    from rnncore.runtimes.trained import forecast_by_model_file, read_model_facts

    if model is not None and (split != "article" or clean):
        raise ConfigError("--split and --clean belong to the training of a model. Give them to 'rnncore train'.")
    if model is None and not baselines:
        raise ConfigError("nothing to score. Give a model, or leave out --no-baselines.")
    config, zones = read_model_facts(model) if model else (WindowConfig(split=split), {})
    clean = clean or config.drop_gaps
    options = _as_in_training(zones, ReadOptions(tuple(column or ()), date_format, decimal, resample, drop_missing=clean))
    dataset = opened_dataset(data, options, clean, fill)
    scalings = {name: zone.scaling for name, zone in zones.items()}
    for one in dataset.series:
        if one.name in scalings:
            require_size_of_training(one, scalings[one.name])
    windows = make_windows(dataset, replace(config, drop_gaps=clean), scalings)
    if not len(windows.test_start):
        raise DataError(f"{dataset.name}: no hour is tested, as its last part is too short. Give a longer series.")
    with err.status("Scoring"):
        forecasts = forecast_by_model_file(model, runtime, device, windows) if model else None
        simple, simple_s = _timed(baseline_forecasts(windows, boosting)) if baselines else ({}, {})
    missed = missed_by_zone(forecasts, windows) if forecasts else []
    scores = {key: metrics_by(key, missed) if missed else [] for key in ("zone", "hour", "lead")}
    mean = mean_metrics(f"mean of zones, {model}", scores["zone"]) if missed else None
    of_simple = {name: missed_by_zone(found, windows) for name, found in simple.items()}
    rows = [mean_metrics(name, metrics_by("zone", found)) for name, found in of_simple.items()]
    facts: dict[str, Any] = {
        "model": str(model) if model else None,
        "data": {"name": dataset.name, "digest": dataset.digest},
        "test_windows": len(windows.test_start),
        "unit": "MW",
        **{field.name: getattr(mean, field.name, None) for field in fields(Metrics) if field.name != "name"},
        "zones": [asdict(one) for one in scores["zone"]],
        "hours": [asdict(one) for one in scores["hour"]],
        "leads": [asdict(one) for one in scores["lead"]],
        "baselines": [{**asdict(row), "seconds": simple_s[row.name]} for row in rows],
    }
    if as_json:
        print_json(facts)
        return
    _print_metrics([*scores[by], *([mean] if mean else []), *rows])
    say(f"{dataset.name}: {len(windows.test_start):,} test hours; baselines are means of zones")
    if "gradient_boosting" in simple_s:
        say(f"Gradient boosting took {simple_s['gradient_boosting']:.0f} s.")
    if reaches_zero(missed or next(iter(of_simple.values()))):
        say("A load is 0, or both signs occur: where it is not of its forecast's sign, sMAPE counts 200 %. Read the others.")


def _as_in_training(zones: "Mapping[str, KnownZone]", options: "ReadOptions") -> "ReadOptions":
    """Return how files are to be read: by the columns and steps of a model's training, where nothing else is asked for."""
    known = next(iter(zones.values()), None)
    if known is None:
        return options
    columns, resample = options.columns or known.columns, options.resample or known.resample
    said = [f"--column '{name}'" for name in columns if not options.columns]
    said += [f"--resample {resample}"] if resample and not options.resample else []
    if said:
        err.print(f"As in the training: {' '.join(said)}", soft_wrap=True, markup=False, highlight=False)
    return replace(options, columns=columns, resample=resample)


def _timed(found: "Iterator[tuple[str, Any]]") -> tuple[dict[str, Any], dict[str, float]]:
    """Return what an iterator yields by name, and the seconds that each took."""
    values, seconds = {}, {}
    began_s = time.perf_counter()
    for name, value in found:
        now_s = time.perf_counter()
        values[name], seconds[name], began_s = value, now_s - began_s, now_s
    return values, seconds


def _print_metrics(rows: "list[Metrics]") -> None:
    """Print metrics, in the unit of their errors."""
    from rnncore.amounts import power_unit
    from rnncore.report.table import Table, numbers, words
    from rnncore.report.words import significant

    scale_mw, unit = power_unit(row.mae_mw for row in rows)
    columns = [
        *words(""),
        *numbers("sMAPE", "article's sMAPE", unit="%", show="{:.3f}".format),
        *numbers(
            "MAE", "RMSE", "pinball", unit=unit, show=lambda amount_mw: significant(amount_mw / scale_mw, SCORE_DIGITS)
        ),
        *numbers("MASE", show="{:.3f}".format),
        *numbers("WAPE", unit="%", show="{:.3f}".format),
        *numbers("in bounds", unit="%", show="{:.1f}".format),
    ]
    cells = [
        (row.name, row.smape, row.smape_article, row.mae_mw, row.rmse_mw, row.pinball_mw, row.mase, row.wape_pct)
        for row in rows
    ]
    print_table(Table(columns, [[*of_row, row.coverage_pct] for of_row, row in zip(cells, rows, strict=True)]))


def forecast(
    model: Annotated[Path, typer.Argument(help="A .safetensors or .onnx file.")],
    data: Annotated[Path, typer.Argument(metavar="FILE", help="File or folder, as of --data, up to the present hour.")],
    path: Annotated[Path | None, typer.Option("--out", help="CSV file to write to [default: a table here]")] = None,
    level: Annotated[
        str, typer.Option("--level", metavar="SHARES", help="Parts of the hours that bounds hold, such as 0.5,0.9.")
    ] = "0.9",
    quantile: Annotated[
        str | None, typer.Option("--quantile", metavar="SHARES", help="Quantiles of the load too, such as 0.1,0.5,0.9.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="PNG or SVG file for a picture: the last week, the hours, their bounds.")
    ] = None,
    runtime: RuntimeOption = None,
    device: DeviceOption = "cpu",
    column: ColumnOption = None,
    date_format: DateFormatOption = None,
    decimal: DecimalOption = None,
    resample: ResampleOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forecast the hours after the last of a file: as many as the model was trained for with --horizon.

    Bounds are by what the model missed of the test hours of the zone, which it was not trained on, by lead and hour of the
    day. Gaps of up to six hours among those that the forecast needs are filled by what the model's regressions forecast, and
    named.
    """
    from rnncore.forecast.next_hours import filled_rows, hourly_rows, next_hours, past_rows, write_hours
    from rnncore.forecast.reading import ReadOptions
    from rnncore.runtimes.trained import open_model_file, read_model_facts

    if path is not None:
        require_output(path, ".csv")
    if plot is not None:
        require_output(plot, ".png", ".svg", option="--plot")
    levels, quantiles = _shares("--level", level), _shares("--quantile", quantile) if quantile else ()
    config, zones = read_model_facts(model)
    options = _as_in_training(zones, ReadOptions(tuple(column or ()), date_format, decimal, resample, drop_missing=True))
    dataset = opened_dataset(str(data), options, clean=True)
    with open_model_file(model, runtime, device) as opened:
        forecasts = next_hours(opened.predict, dataset.series, config, zones)
    for one in forecasts:
        if one.no_misses_why:
            err.print(f"{one.zone}: {one.no_misses_why}. There are no bounds.", soft_wrap=True)
    rows, filled = hourly_rows(forecasts, levels, quantiles), filled_rows(forecasts)
    _say_where_misses_are_too_few(forecasts, rows)
    for row in filled:
        err.print(f"{row['zone']}: {row['time']} was missing and is filled: {row['load_mw']:,.6g} MW", soft_wrap=True)
    if plot is not None:
        _draw(plot, past_rows(dataset.series, forecasts, SHOWN_HOURS), rows, filled)
    if as_json:
        print_json({"model": str(model), "unit": "MW", "levels": levels, "hours": rows, "filled": filled})
    elif path is not None:
        write_hours(path, rows, filled)
        say(f"{path}: {len(rows)} hours")
    else:
        _print_hours(rows)


def _draw(path: Path, *rows: list[dict[str, Any]]) -> None:
    """Draw rows of the past, of the forecast and of filled hours to a file."""
    from rnncore.report.figure import write_chart
    from rnncore.report.next_hours import next_hours_chart

    with err.status("Drawing"):
        write_chart(next_hours_chart(*rows), path)
    err.print(f"Picture: {path}", soft_wrap=True, markup=False, highlight=False)


def _shares(option: str, text: str) -> tuple[float, ...]:
    """Return the shares of hours that an option gives, each once, in order.

    Raises:
        ConfigError: If they are no such.
    """
    from rnncore.forecast.bounds import require_share

    try:
        shares = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError as error:
        raise ConfigError(f"{option} is '{text}'; give shares of the hours, apart by commas, such as 0.5,0.9.") from error
    for share in shares:
        require_share(option, share)
    return shares


def _say_where_misses_are_too_few(forecasts: "list[NextHours]", rows: list[dict[str, Any]]) -> None:
    for one in forecasts:
        ends = [value for row in rows if row["zone"] == one.zone for value in row.values()]
        if one.bounds and None in ends:
            fewest = int(one.bounds.misses.count.min())
            err.print(
                f"{one.zone}: no bounds where a dash is: {fewest:,} held-out hours of one hour of the day are too few for "
                "them. Give a lower level, or a quantile nearer to 0.5.",
                soft_wrap=True,
            )


def _print_hours(rows: list[dict[str, Any]]) -> None:
    """Print rows of `hourly_rows` in the unit of their loads."""
    from rnncore.amounts import power_unit
    from rnncore.report.table import Table, numbers, words
    from rnncore.report.words import significant

    scale_mw, unit = power_unit(row["load_mw"] for row in rows)
    amounts = list(rows[0])[2:]
    titles = [unit, *(re.sub(r"_([\d.]+)_mw", r" \1 %", name).removesuffix("_mw") for name in amounts[1:])]
    columns = [*words("zone"), *numbers("time"), *numbers(*titles, show=lambda value: significant(value, LOAD_DIGITS))]
    cells = [[None if row[name] is None else row[name] / scale_mw for name in amounts] for row in rows]
    print_table(Table(columns, [[row["zone"], row["time"], *of_row] for row, of_row in zip(rows, cells, strict=True)]))


def export(
    model: Annotated[Path, typer.Argument(help="A .safetensors file of 'rnncore train'.")],
    path: Annotated[Path | None, typer.Option("--out", help="ONNX file [default: beside the model]")] = None,
) -> None:
    """Export a model to ONNX, and check that the file is the same model."""
    from rnncore.forecast.model import load_forecaster
    from rnncore.forecast.modelfile import read_safetensors
    from rnncore.runtimes.export import export_onnx

    path = path or model.with_suffix(".onnx")
    require_output(path, ".onnx")
    forecaster, config = load_forecaster(model)
    with err.status("Exporting"):
        parity = export_onnx(forecaster, path, config, read_safetensors(model)[0].get("zones"))
    say(f"{path}: differs from float64 by {parity.max_abs:.1e} at most (allowed {parity.tolerance:.0e})")


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
    from rnncore.forecast.sources import open_dataset
    from rnncore.measure.reproduction import reproduce as run
    from rnncore.report.reproduction import RECORD_NAME, reproduction_table, write_reproduction

    require_writable(folder / RECORD_NAME)
    dataset = open_dataset(data)
    err.print(f"Data: {dataset.name}")
    with training_progress() as on_step:
        record = run(dataset, device, seed, epochs, max_steps, lambda cell, progress: on_step(progress, cell.upper()))
    for trained_by in sorted({cell["training"]["trained_by"] for cell in record["cells"].values()}):
        err.print(f"Recurrent layers by {trained_by}", soft_wrap=True, markup=False)
    page = write_reproduction(record, folder)
    if as_json:
        print_json(record)
        return
    say(reproduction_table(record).markdown())
    say(f"Page: {page}")
