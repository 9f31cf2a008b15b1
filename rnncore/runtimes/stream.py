"""Forecasts hour by hour with the state carried on: what a recurrent model can do and a window cannot.

A window forgets what came before its hours, and asks for all of them again for every new one. A stream keeps the state and
takes the new hour alone. Its forecasts differ a little from a window's, as the state has seen more than the window's hours.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from rnncore.errors import ConfigError
from rnncore.forecast.cells import CELLS
from rnncore.forecast.device import cpu_threads
from rnncore.forecast.model import Forecaster
from rnncore.forecast.series import Float32Array, FloatArray
from rnncore.forecast.windows import Windows
from rnncore.runtimes.base import Evidence
from rnncore.runtimes.native import call_evidence, packed_forecaster
from rnncore.runtimes.torch import torch_evidence


class Stream(ABC):
    """A forecaster that carries its state; all series of it go on hour by hour together."""

    @abstractmethod
    def step(self, hour: Float32Array) -> Float32Array:
        """Take the next hour of each series and forecast those that follow.

        Args:
            hour: Features of the hour. Shape (B, F), float32.

        Returns:
            Forecasts in the model's units. Shape (B, L); overwritten by the next step.
        """

    @abstractmethod
    def evidence(self, hour: Float32Array, trace: Path | None = None) -> Evidence:
        """Return what a step runs, in extra steps.

        Args:
            hour: Features of the hour. Shape (B, F), float32.
            trace: Where to write a Chrome trace. Without one, a single step shows what ran.
        """


class TorchStream(Stream):
    """A stream by torch's layers, on the CPU."""

    def __init__(self, model: Forecaster, series: int) -> None:
        self._model = model.eval()
        self._state: torch.Tensor | tuple[torch.Tensor, torch.Tensor] | None = None

    def step(self, hour: Float32Array) -> Float32Array:
        """Take the next hour and forecast."""
        with torch.inference_mode():
            states, self._state = self._model.rnn(torch.from_numpy(hour)[:, None], self._state)
            forecasts: Float32Array = self._model.read_out(states[:, -1]).numpy()
        return forecasts

    def evidence(self, hour: Float32Array, trace: Path | None = None) -> Evidence:
        """Return what a step runs by the operations that torch's profiler sees."""
        return torch_evidence(lambda: self.step(hour), self._model.config.cell, torch.device("cpu"), trace)


class NativeStream(Stream):
    """A stream by our kernel."""

    def __init__(self, model: Forecaster, series: int) -> None:
        self._packed = packed_forecaster(model, torch.get_num_threads())
        config = model.config
        states = CELLS[config.cell].states
        self._state = np.zeros((config.num_layers, states, series, config.hidden_size), dtype=np.float32)
        self._hour = np.zeros((series, 1, config.input_size), dtype=np.float32)
        self._packed.bind(self._hour, self._state)

    def step(self, hour: Float32Array) -> Float32Array:
        """Take the next hour and forecast."""
        self._hour[:, 0] = hour
        self._packed.run()
        return self._packed.output

    def evidence(self, hour: Float32Array, trace: Path | None = None) -> Evidence:
        """Tell the kernel's phases, as it times them itself."""
        return call_evidence(self._packed, lambda: self.step(hour), trace)


_STREAMS: dict[str, type[TorchStream] | type[NativeStream]] = {"torch": TorchStream, "rnncore": NativeStream}
STREAMS = tuple(_STREAMS)


@contextmanager
def open_stream(name: str, model: Forecaster, series: int, threads: int) -> Iterator[Stream]:
    """Open a stream that begins from zeros.

    Args:
        name: One of `STREAMS`.
        model: The forecaster, on the CPU.
        series: How many series go on together, B.
        threads: CPU threads.

    Raises:
        ConfigError: If the name is another.
        Unavailable: If our kernel cannot be compiled here.
    """
    if name not in _STREAMS:
        raise ConfigError(f"stream is {name!r}; allowed: {', '.join(STREAMS)}.")
    with cpu_threads(threads):
        yield _STREAMS[name](model, series)


def stream_test_hours(stream: Stream, windows: Windows) -> dict[str, FloatArray]:
    """Forecast every tested hour by a stream of all zones together, each from its first tested window on.

    Args:
        stream: New, of as many series as there are zones with tested hours.
        windows: The windows.

    Returns:
        Forecasts in MW by zone, in order of time, as `rnncore.forecast.scoring.forecast_test_hours` gives them.
    """
    zones = [zone for zone in windows.zones if zone.test.stop > zone.test.start]
    starts = [windows.test_start[zone.test] for zone in zones]
    hours = max(len(start) for start in starts) + windows.config.lookback - 1
    # A zone whose hours have ended repeats its last one; nobody looks at what it forecasts then.
    rows = [np.minimum(start[0] + np.arange(hours), start[-1] + windows.config.lookback - 1) for start in starts]
    outputs = np.stack([stream.step(windows.features[of_hour]).copy() for of_hour in np.stack(rows, axis=1)])
    forecasts = {}
    for place, (zone, start) in enumerate(zip(zones, starts, strict=True)):
        # After the window's last hour.
        made = outputs[start - start[0] + windows.config.lookback - 1, place]
        forecasts[zone.name] = windows.to_mw(zone, start, made)
    return forecasts
