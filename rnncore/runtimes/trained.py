"""Model files, `.safetensors` and `.onnx` alike: written with what is known of their zones, read, opened, run."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rnncore.errors import ConfigError
from rnncore.forecast.device import Device, default_threads, resolve_device
from rnncore.forecast.fit import TrainResult
from rnncore.forecast.model import load_forecaster, save_forecaster
from rnncore.forecast.modelfile import read_safetensors
from rnncore.forecast.next_hours import KnownZone, known_zones, require_finite_forecast, zone_facts, zones_from_facts
from rnncore.forecast.reading import ReadOptions
from rnncore.forecast.scoring import forecast_test_hours
from rnncore.forecast.series import Dataset, FloatArray
from rnncore.forecast.trainer import Trainer
from rnncore.forecast.windows import WindowConfig, Windows
from rnncore.runtimes.base import Runtime
from rnncore.runtimes.catalog import open_runtime, runtime_kinds
from rnncore.runtimes.export import onnx_facts


def save_trained(
    path: Path,
    trainer: Trainer,
    result: TrainResult,
    windows: Windows,
    preset: str,
    dataset: Dataset,
    read_by: ReadOptions | None = None,
) -> dict[str, Any]:
    """Write a trained forecaster, with a record of its training and what it missed of each zone's test hours.

    Args:
        path: A .safetensors file.
        trainer: What was trained; its forecaster is moved to the CPU.
        result: What the training did.
        windows: What it was trained on.
        preset: The recipe's name.
        dataset: What the windows are of.
        read_by: How its files were read: columns and steps are kept, so that those of a forecast are read alike.

    Returns:
        The record.

    Raises:
        OutputError: If the file cannot be written.
    """
    record = {
        "preset": preset,
        "precision": trainer.config.precision,
        "data": dataset.name,
        "digest": dataset.digest,
        "config": asdict(trainer.config),
        **asdict(result),
    }
    with open_runtime("torch", trainer.model.cpu(), "cpu", "fp32", default_threads()) as runtime:
        known = known_zones(runtime.predict, windows)
    read_by = read_by or ReadOptions()
    as_read = {name: replace(zone, columns=read_by.columns, resample=read_by.resample) for name, zone in known.items()}
    zones = zone_facts(as_read)
    save_forecaster(path, trainer.model, windows.config, record, zones)
    return record


def read_model_facts(path: Path) -> tuple[WindowConfig, dict[str, KnownZone]]:
    """Return how the windows of a model file are made, and what it knows of its zones.

    Raises:
        ModelFileError: If the file cannot be read, or is none of rnncore.
    """
    if path.suffix == ".onnx":
        config, facts = onnx_facts(path)
    else:
        config, facts = load_forecaster(path)[1], read_safetensors(path)[0].get("zones", {})
    return config, zones_from_facts(str(path), config.features, facts)


@contextmanager
def open_model_file(path: Path, runtime_name: str | None, device_name: str) -> Iterator[Runtime]:
    """Open a model file in a runtime that can run it, and close it when the block ends.

    Args:
        path: A .safetensors or .onnx file.
        runtime_name: Row of the catalog; None for torch, or ONNX Runtime for an .onnx file.
        device_name: A device's name, or `auto`.

    Yields:
        The runtime, at the precision that it has first for the device.

    Raises:
        ConfigError: If there is no such runtime, or it runs other files.
        ModelFileError: If the file cannot be read.
    """
    is_onnx = path.suffix == ".onnx"
    name = runtime_name or ("onnxruntime" if is_onnx else "torch")
    kind = runtime_kinds().get(name)
    if kind and kind.reads == "onnx" and not is_onnx:
        raise ConfigError(f"{name} runs .onnx files. Make one with 'rnncore export {path}' and give that.")
    source = path if is_onnx else load_forecaster(path)[0]
    device = Device.of(resolve_device(device_name)).name
    precision = next(iter(kind.precisions_on(device) if kind else ()), "fp32")
    with open_runtime(name, source, device, precision, default_threads()) as runtime:
        yield runtime


def forecast_by_model_file(
    path: Path, runtime_name: str | None, device_name: str, windows: Windows
) -> dict[str, FloatArray]:
    """Forecast the test hours of some windows by a model file, by zone; arguments as of `open_model_file`. Shapes (N, L).

    Raises:
        ConfigError: If the runtime cannot run the file.
        DataError: If a forecast is NaN or infinite.
        ModelFileError: If the file cannot be read.
    """
    with open_model_file(path, runtime_name, device_name) as runtime:
        forecasts = forecast_test_hours(runtime.predict, windows)
    for zone, forecast_mw in forecasts.items():
        require_finite_forecast(zone, forecast_mw)
    return forecasts
