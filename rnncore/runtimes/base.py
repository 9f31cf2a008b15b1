"""The contract that every runtime keeps."""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from rnncore.errors import ConfigError, ModelFileError, Unavailable
from rnncore.files import whole_file
from rnncore.forecast.device import CPU, Device
from rnncore.forecast.series import Float32Array

if TYPE_CHECKING:
    # A server of an ONNX file needs no torch.
    from torch import nn

    from rnncore.forecast.model import Forecaster

# A forecaster in memory, of ours or any module from (B, T, F) to (B, L); or the ONNX file exported from one.
Source: TypeAlias = "nn.Module | Path"

# What an operation is for, whatever its runtime calls it.
RECURRENT_GEMM = "recurrent GEMM"
INPUT_GEMM = "input GEMM"
FUSED_LAYER = "recurrent layer (fused)"
POINTWISE = "pointwise"
COPIES = "copies and layout"
OPTIMISER = "optimiser"
DATA = "data"
OVERHEAD = "framework overhead"
WAITING = "waiting"
OTHER = "other"
# A matrix product: an input or a recurrent GEMM, or another, by its shapes and how often it runs.
PRODUCT = "product"
KINDS = (RECURRENT_GEMM, INPUT_GEMM, FUSED_LAYER, POINTWISE, COPIES, OPTIMISER, DATA, OVERHEAD, WAITING, OTHER)

# Profiled calls: several of a short one, whose times scatter; few enough that a trace stays small.
PROFILED_S = 0.2
MAX_PROFILED_CALLS = 3


@dataclass(frozen=True)
class OpTime:
    """What one operation costs in one call of a runtime.

    Attributes:
        name: As the runtime names the operation.
        where: The device, provider or primitive that ran it.
        calls: Times it ran.
        self_s: Seconds in it, without the operations that it calls.
        shapes: Shapes of its inputs, as `shapes_text` writes them; empty where they are not known.
        kind: What it is for, as its runtime's adapter says: one of `KINDS`, or `PRODUCT`, which the shapes decide.

    Raises:
        ConfigError: If the kind is another.
    """

    name: str
    where: str
    calls: float
    self_s: float
    shapes: str = ""
    kind: str = OTHER

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, PRODUCT):
            raise ConfigError(f"operation {self.name!r} is of kind {self.kind!r}; allowed: {', '.join((*KINDS, PRODUCT))}.")


@dataclass(frozen=True)
class Evidence:
    """What ran when a runtime was called.

    Attributes:
        kernel: What ran the recurrent layers, for a reader; or what gathered the windows where there are none.
        placement: What runs each operation, by its name: all nodes of a graph, or the recurrent layers of torch.
        ops: Time by operation, longest first.
        wall_s: Host seconds of one profiled call; profiling itself makes it longer than a timed one.
    """

    kernel: str
    placement: dict[str, str]
    ops: tuple[OpTime, ...]
    wall_s: float


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
        """Return the output of the last run on the host. Shape (B, L), float32."""

    @abstractmethod
    def evidence(self, trace: Path | None = None) -> Evidence:
        """Return what ran, as the runtime's own profiler shows, in extra runs of the bound windows.

        Args:
            trace: Where to write a Chrome trace (for chrome://tracing or ui.perfetto.dev), whole or not at all. Without
                one, a single run shows what ran, and its times are rough.
        """

    @abstractmethod
    def close(self) -> None:
        """Free threads and memory."""

    def pinned(self, inputs: Float32Array) -> Float32Array:
        """Return windows in page-locked memory, from which a GPU copies by itself; outputs too lie in such from now on.

        Args:
            inputs: Shape (B, T, F), float32, on the host.

        Returns:
            The same windows. An output of the runtime is overwritten by the next from now on.

        Raises:
            Unavailable: If the runtime copies to no device, or has no such memory.
        """
        raise Unavailable(f"{type(self).__name__} has no page-locked memory for its copies. Time them by the clock 'host'.")

    def predict(self, inputs: Float32Array) -> Float32Array:
        """Bind, run and fetch: from (B, T, F) to (B, L)."""
        self.bind(inputs)
        self.run()
        return self.output()


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


# In the place of a device's type: every other one that torch computes on.
ANY_OTHER = "any other"


@dataclass(frozen=True)
class RuntimeKind:
    """A runtime that can be opened by a name.

    Attributes:
        open: Opens a source on a device, in a precision, with a number of CPU threads; raises `Unavailable` with what is
            missing and what to install.
        precisions: What it computes in, by type of device, or `ANY_OTHER`: values of the `precision` axis, the usual one
            first.
        reads: What it opens: the `forecaster` in memory, or the `onnx` file exported from it.
        title: What reports call it; its name where there is none.
        packages: What it imports when it is opened, by import names: their memory is not counted as the model's.
        tolerances: Of precisions that rnncore does not know, the largest error against float64 that rounding explains, per
            largest output.
        stream: Opens a forecaster that carries its state, for a number of series, on a device; None where it cannot.
        streams_on: The types of devices on which it can, or `ANY_OTHER`.
        modes: Other ways in which it runs, by the value of the `mode` axis.
    """

    open: Callable[[Source, str, str, int], Runtime]
    precisions: Mapping[str, tuple[str, ...]]
    reads: Literal["forecaster", "onnx"]
    title: str = ""
    packages: tuple[str, ...] = ()
    tolerances: Mapping[str, float] = field(default_factory=dict)
    stream: "Callable[[Forecaster, int, str], Stream] | None" = None
    streams_on: tuple[str, ...] = (CPU,)
    modes: "Mapping[str, RuntimeKind]" = field(default_factory=dict)

    def precisions_on(self, device: str) -> tuple[str, ...]:
        """Return what it computes in on a device, the usual one first; nothing where it does not run there.

        Args:
            device: A device's name, with or without its number.
        """
        kind = Device.named(device).type
        return self.precisions.get(kind, self.precisions.get(ANY_OTHER, ()))

    def has_stream_on(self, device: str) -> bool:
        """Return whether it can carry a forecaster's state on a device.

        Args:
            device: A device's name, with or without its number.
        """
        return self.stream is not None and not {Device.named(device).type, ANY_OTHER}.isdisjoint(self.streams_on)


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


def calls_to_profile(call_s: float) -> int:
    """Return how many calls to average over, given the seconds of one."""
    return max(1, min(MAX_PROFILED_CALLS, int(PROFILED_S / call_s)))


def mean_times(ops: Iterable[OpTime], calls: int) -> tuple[OpTime, ...]:
    """Add up operations of equal name, place, shapes and kind, and divide by the number of calls.

    Args:
        ops: Every time that an operation ran, in all calls.
        calls: Calls of the runtime.

    Returns:
        One entry per operation and call, longest first.
    """
    sums: dict[tuple[str, str, str, str], tuple[float, float]] = {}
    for op in ops:
        key = op.name, op.where, op.shapes, op.kind
        times, self_s = sums.get(key, (0.0, 0.0))
        sums[key] = times + op.calls, self_s + op.self_s
    means = [
        OpTime(name, where, times / calls, self_s / calls, shapes, kind)
        for (name, where, shapes, kind), (times, self_s) in sums.items()
    ]
    return tuple(sorted(means, key=lambda op: op.self_s, reverse=True))


def shapes_text(shapes: Iterable[list[Any]]) -> str:
    """Write the shapes of an operation's inputs: `[128, 64] [64, 192]`, a list of tensors as `[10 tensors]`.

    Args:
        shapes: One list of sizes per input, empty for a scalar; a list of lists where the input is a list of tensors.
    """
    return " ".join(f"[{len(shape)} tensors]" if isinstance(shape[0], list) else str(shape) for shape in shapes if shape)


def by_name(names_by_kind: Mapping[str, str]) -> dict[str, str]:
    """Return the kind of each operation by name.

    Args:
        names_by_kind: Names of operations, with spaces between, by their kind.
    """
    return {name: kind for kind, names in names_by_kind.items() for name in names.split()}


def copy_trace(made: Path, trace: Path) -> None:
    """Copy a trace to where it is wanted, whole or not at all."""
    with whole_file(trace) as temporary:
        shutil.copyfile(made, temporary)
