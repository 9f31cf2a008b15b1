"""The contract that every runtime keeps."""

from abc import ABC, abstractmethod
from pathlib import Path

from rnncore.errors import ConfigError, ModelFileError
from rnncore.forecast.model import Forecaster
from rnncore.forecast.windows import Float32Array

# A forecaster in memory (torch), or the ONNX file exported from one (the other runtimes).
Source = Forecaster | Path


class Runtime(ABC):
    """One way to run a forecaster on one device.

    `bind` puts the input where it will run, `run` is what is timed and returns only when the output is ready, so that one
    host clock is right for every runtime. The time of the copies is left out on purpose: it is a case of its own.
    """

    @abstractmethod
    def bind(self, inputs: Float32Array) -> None:
        """Put the windows where they will run.

        Args:
            inputs: Shape (B, T, F), float32, on the host.
        """

    @abstractmethod
    def run(self) -> None:
        """Forecast the bound windows; return when the output is ready on the device."""

    @abstractmethod
    def output(self) -> Float32Array:
        """Return the output of the last run on the host. Shape (B, 1), float32."""

    @abstractmethod
    def placement(self) -> dict[str, str]:
        """Return what runs each operation, by its name: all nodes of a graph, or the recurrent layers of torch."""

    @abstractmethod
    def close(self) -> None:
        """Free threads and memory."""

    def predict(self, inputs: Float32Array) -> Float32Array:
        """Bind, run and fetch: from (B, T, F) to (B, 1)."""
        self.bind(inputs)
        self.run()
        return self.output()


def require_onnx_file(source: Source, runtime: str) -> Path:
    """Return *source* if it is an ONNX file that is there.

    Raises:
        ConfigError: If it is a forecaster in memory.
        ModelFileError: If there is no such file.
    """
    if not isinstance(source, Path):
        raise ConfigError(f"{runtime} reads ONNX files; export the forecaster first (rnncore.runtimes.export.export_onnx).")
    if not source.is_file():
        raise ModelFileError(f"{source}: no such file. Make one with 'rnncore export MODEL --out {source}'.")
    return source
