"""The article's comparison, run again: both cells on the same windows, training time, evaluation time and sMAPE."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch

from rnncore.forecast.baselines import baseline_scores
from rnncore.forecast.cells import Cell
from rnncore.forecast.device import Device, default_threads, resolve_device
from rnncore.forecast.fit import TRAINING_PRECISION, Progress, fit
from rnncore.forecast.model import new_forecaster
from rnncore.forecast.presets import preset
from rnncore.forecast.scoring import forecast_panels, forecast_test_hours, score_forecasts
from rnncore.forecast.series import Dataset, FloatArray
from rnncore.forecast.trainer import Trainer
from rnncore.forecast.windows import Windows, make_windows
from rnncore.measure.fingerprint import fingerprint
from rnncore.runtimes.catalog import open_runtime

# What the article prints, in seconds of process CPU time on a machine it does not name, and its sMAPE in percent, which
# its code makes a quarter of the formula's.
ARTICLE: dict[Cell, dict[str, float]] = {
    "gru": {"training_s": 390.0, "evaluation_s": 1.98, "smape_article": 0.2808},
    "lstm": {"training_s": 462.0, "evaluation_s": 2.60, "smape_article": 0.2701},
}


def reproduce(
    dataset: Dataset,
    device_name: str,
    seed: int = 0,
    epochs: int | None = None,
    max_steps: int | None = None,
    on_step: Callable[[str, Progress], None] = lambda cell, progress: None,
) -> dict[str, Any]:
    """Train and score both cells as the article does.

    Args:
        dataset: The series.
        device_name: A device's name, or `auto`.
        seed: Of both trainings.
        epochs: Fewer or more than the article's five; None for five.
        max_steps: Stop each training after this many steps; None for all.
        on_step: Called with the cell's name after each step.

    Returns:
        The whole comparison as JSON values: `cells` (training, evaluation and scores by cell), `article`, `baselines`,
        `data`, `machine`, `config` and `panels` (actual and forecast load of four zones' last test hours).
    """
    device = resolve_device(device_name)
    torch.set_num_threads(default_threads())
    recipe = preset("article", "gru")
    windows = make_windows(dataset, recipe.windows)
    limits = {"epochs": recipe.train.epochs if epochs is None else epochs, "max_steps": max_steps, "seed": seed}
    # First, as they refuse a series that is too short before hours of training are spent on it.
    baselines = [asdict(scores.mean) for scores in baseline_scores(windows)]
    cells: dict[str, Any] = {}
    forecasts: dict[str, dict[str, FloatArray]] = {}
    for cell in ARTICLE:
        cells[cell], forecasts[cell] = _train_and_score(cell, windows, device, limits, on_step)
    return {
        "cells": cells,
        "article": ARTICLE,
        "baselines": baselines,
        "data": {"name": dataset.name, "digest": dataset.digest},
        "windows": {"train": len(windows.train_start), "test": len(windows.test_start)},
        "config": {
            **limits,
            "batch_size": recipe.train.batch_size,
            "device": Device.of(device).name,
            "precision": TRAINING_PRECISION,
        },
        "machine": fingerprint(default_threads()),
        "panels": forecast_panels(windows, {cell.upper(): by_zone for cell, by_zone in forecasts.items()}),
    }


def _train_and_score(
    cell: Cell,
    windows: Windows,
    device: torch.device,
    limits: dict[str, Any],
    on_step: Callable[[str, Progress], None],
) -> tuple[dict[str, Any], dict[str, FloatArray]]:
    recipe = preset("article", cell)
    model = new_forecaster(recipe.forecaster, limits["seed"])
    trainer = Trainer(model, windows, replace(recipe.train, **limits), device)
    training = fit(trainer, on_step=lambda progress: on_step(cell, progress))
    with open_runtime("torch", model.cpu(), Device.of(device).name, TRAINING_PRECISION, default_threads()) as runtime:
        began_s = time.perf_counter()
        forecasts = forecast_test_hours(runtime.predict, windows)
        evaluation_s = time.perf_counter() - began_s
    scores = score_forecasts(cell, forecasts, windows)
    record = {
        "training": {
            "seconds": training.seconds,
            "steps": training.steps,
            "planned_steps": trainer.config.epochs * trainer.steps_per_epoch,
            "windows_per_s": training.windows_per_s,
            "ended_by": training.ended_by,
            "trained_by": training.trained_by,
            "epochs": [asdict(epoch) for epoch in training.epochs],
        },
        "evaluation_s": evaluation_s,
        "evaluation_windows_per_s": len(windows.test_start) / evaluation_s,
        "score": asdict(scores.mean),
        "zones": [asdict(zone) for zone in scores.zones],
    }
    return record, forecasts
