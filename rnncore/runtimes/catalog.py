"""The one table of runtimes, and how they are opened.

Another package adds its own by an entry point of the group `rnncore.runtimes` that leads to a `RuntimeKind`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, NamedTuple

from rnncore.errors import ConfigError, RnncoreError
from rnncore.forecast.device import CPU, CUDA, OTHER_TYPE, TYPES
from rnncore.runtimes.base import ANY_OTHER, Runtime, RuntimeKind, Source, Stream

if TYPE_CHECKING:
    from rnncore.forecast.model import Forecaster

ENTRY_POINTS = "rnncore.runtimes"


def _torch(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.torch import TorchRuntime

    return TorchRuntime(source, device, precision, threads)


def _torch_flush(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.torch import FlushingTorchRuntime

    return FlushingTorchRuntime(source, device, precision, threads)


def _torch_compile(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.torch import CompiledTorchRuntime

    return CompiledTorchRuntime(source, device, precision, threads)


def _torch_without_cudnn(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.torch import WithoutCudnnTorchRuntime

    return WithoutCudnnTorchRuntime(source, device, precision, threads)


def _torch_graph(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.torch import GraphTorchRuntime

    return GraphTorchRuntime(source, device, precision, threads)


def _rnncore(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.native import NativeRuntime

    return NativeRuntime(source, device, precision, threads)


def _torch_stream(model: "Forecaster", series: int, device: str) -> Stream:
    from rnncore.runtimes.torch import TorchStream

    return TorchStream(model, device)


def _rnncore_stream(model: "Forecaster", series: int, device: str) -> Stream:
    from rnncore.runtimes.native import NativeStream

    return NativeStream(model, series)


def _onnxruntime(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(source, device, precision, threads)


def _onnxruntime_graph(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.onnx import GraphOnnxRuntime

    return GraphOnnxRuntime(source, device, precision, threads)


def _onnxruntime_tensorrt(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.onnx import TensorRtOnnxRuntime

    return TensorRtOnnxRuntime(source, device, precision, threads)


def _openvino(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime(source, device, precision, threads)


# All that torch knows. On a machine of AMD's, opening refuses what that has not.
_BY_TORCH = {**{name: kind.precisions for name, kind in TYPES.items()}, ANY_OTHER: OTHER_TYPE.precisions}
_CAPTURED = {name: kind.precisions for name, kind in TYPES.items() if kind.graphs}

OWN_RUNTIMES = {
    "torch": RuntimeKind(
        _torch,
        _BY_TORCH,
        "forecaster",
        "PyTorch",
        packages=("torch",),
        stream=_torch_stream,
        streams_on=tuple(_BY_TORCH),
        modes={
            "compile": RuntimeKind(
                _torch_compile, {CPU: ("fp32",), CUDA: ("fp32",)}, "forecaster", "torch.compile", packages=("torch",)
            ),
            "flush": RuntimeKind(
                _torch_flush, {CPU: ("fp32",)}, "forecaster", "PyTorch without subnormals", packages=("torch",)
            ),
            "graph": RuntimeKind(_torch_graph, _CAPTURED, "forecaster", "PyTorch as a CUDA graph", packages=("torch",)),
            "without_cudnn": RuntimeKind(
                _torch_without_cudnn, {CUDA: ("fp32",)}, "forecaster", "PyTorch without cuDNN", packages=("torch",)
            ),
        },
    ),
    "rnncore": RuntimeKind(
        _rnncore, {CPU: ("fp32", "bf16", "int8")}, "forecaster", packages=("torch",), stream=_rnncore_stream
    ),
    "onnxruntime": RuntimeKind(
        _onnxruntime,
        {CPU: ("fp32", "int8"), CUDA: ("fp32", "tf32")},
        "onnx",
        "ONNX Runtime",
        packages=("onnxruntime",),
        modes={
            "graph": RuntimeKind(
                _onnxruntime_graph,
                {CUDA: ("fp32", "tf32")},
                "onnx",
                "ONNX Runtime as a CUDA graph",
                packages=("onnxruntime",),
            ),
            # TensorRT takes TF32 by itself where it is not asked for less.
            "tensorrt": RuntimeKind(
                _onnxruntime_tensorrt,
                {CUDA: ("tf32", "fp16")},
                "onnx",
                "ONNX Runtime with TensorRT",
                packages=("onnxruntime",),
            ),
        },
    ),
    "openvino": RuntimeKind(_openvino, {CPU: ("fp32", "bf16")}, "onnx", "OpenVINO", packages=("openvino",)),
}

_open: list[str] = []


class Way(NamedTuple):
    """A runtime, one of its modes (None for the usual one), and a precision that it computes in there."""

    runtime: str
    mode: str | None
    precision: str


@cache
def runtime_kinds() -> dict[str, RuntimeKind]:
    """Return all runtimes by name: ours, then those that other packages register.

    Raises:
        ConfigError: If two have one name, or an entry point leads to something else.
    """
    kinds = dict(OWN_RUNTIMES)
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name in kinds:
            raise ConfigError(f"two runtimes are named {entry.name!r}; rename the entry point {_name(entry)}.")
        kinds[entry.name] = _registered(entry)
    return kinds


def _registered(entry: EntryPoint) -> RuntimeKind:
    try:
        kind = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the entry point {_name(entry)} cannot be loaded: {error}. Fix or uninstall it.") from error
    if not isinstance(kind, RuntimeKind):
        raise ConfigError(
            f"the entry point {_name(entry)} leads to {type(kind).__name__}; it must be a rnncore.runtimes.base.RuntimeKind."
        )
    return kind


def _name(entry: EntryPoint) -> str:
    package = f" of {entry.dist.name}" if entry.dist else ""
    return f"{entry.name} = {entry.value}{package}"


def ways_on(device: str) -> list[Way]:
    """Return every way in which a forecaster can be run on a device."""
    return [
        Way(name, mode, precision)
        for name, usual in runtime_kinds().items()
        for mode, kind in [(None, usual), *usual.modes.items()]
        for precision in kind.precisions_on(device)
    ]


def runtime_kind(name: str, mode: str | None = None) -> RuntimeKind:
    """Return a runtime as it runs in a mode.

    Args:
        name: A key of `runtime_kinds`.
        mode: A key of its `modes`; None for the usual one.

    Raises:
        ConfigError: If there is no such runtime or mode.
    """
    # Ours needs nothing of what other packages registered: a process that serves does not load them.
    usual = OWN_RUNTIMES.get(name) or runtime_kinds().get(name)
    if usual is None:
        raise ConfigError(f"runtime is {name!r}; allowed: {', '.join(runtime_kinds())}.")
    if mode is None:
        return usual
    if mode not in usual.modes:
        allowed = f"allowed: {', '.join(usual.modes)}" if usual.modes else "it has its usual one alone"
        raise ConfigError(f"mode of runtime {name} is {mode!r}; {allowed}.")
    return usual.modes[mode]


def runtime_facts(name: str, mode: str | None = None) -> dict[str, str | None]:
    """Return what a row says of its runtime, so that whoever reads it need not know the runtime.

    Args:
        name: A key of `runtime_kinds`, or what else runs a case; of that only the name is known.
        mode: How it runs; None for the usual way.
    """
    if name not in runtime_kinds():
        return {"runtime_title": name, "runtime_reads": None}
    usual, kind = runtime_kind(name), runtime_kind(name, mode)
    title = kind.title or " ".join(filter(None, (usual.title or name, mode)))
    return {"runtime_title": title, "runtime_reads": kind.reads}


def declared_tolerance(precision: str) -> float | None:
    """Return the tolerance that a runtime of another package declares for a precision; the largest of several."""
    declared = [kind.tolerances[precision] for kind in runtime_kinds().values() if precision in kind.tolerances]
    return max(declared, default=None)


@contextmanager
def open_runtime(
    name: str, source: Source, device: str, precision: str, threads: int, *, mode: str | None = None
) -> Iterator[Runtime]:
    """Open a runtime, and close it at the end of the block.

    Only one may be open at a time: the idle threads of one runtime spin and slow another's down.

    Args:
        name: A key of `runtime_kinds`.
        source: What the runtime reads: the forecaster, or an ONNX file.
        device: A device's name, as `rnncore.forecast.device` has it.
        precision: One that the runtime computes in on the device.
        threads: CPU threads for one operation, the same for every runtime that is compared.
        mode: How it runs; None for the usual way.

    Raises:
        ConfigError: If the name, the mode, the precision or the source does not fit.
        Unavailable: If the device or a package is missing.
        RnncoreError: If another runtime is open.
    """
    kind = runtime_kind(name, mode)
    precisions, how = kind.precisions_on(device), f"{name} in mode {mode}" if mode else name
    if not precisions:
        raise ConfigError(f"runtime {how} does not run on {device!r}; it runs on: {', '.join(kind.precisions)}.")
    if precision not in precisions:
        raise ConfigError(
            f"runtime {how} has no precision {precision!r} on {device!r}; allowed there: {', '.join(precisions)}."
        )
    if threads < 1:
        raise ConfigError(f"threads is {threads}; give a whole number of at least 1.")
    if _open:
        raise RnncoreError(
            f"runtime {_open[0]} is still open; close it before opening {name}: idle runtimes slow each other down."
        )
    runtime = kind.open(source, device, precision, threads)
    _open.append(name)
    try:
        yield runtime
    finally:
        _open.clear()
        runtime.close()


def streams(device: str = CPU) -> tuple[str, ...]:
    """Return the runtimes that can carry a forecaster's state on a device."""
    return tuple(name for name, kind in runtime_kinds().items() if kind.has_stream_on(device))


@contextmanager
def open_stream(name: str, model: "Forecaster", series: int, threads: int, device: str = CPU) -> Iterator[Stream]:
    """Open a stream in fp32 that begins from zeros.

    Args:
        name: One of `streams`.
        model: The forecaster, on the CPU.
        series: Series that go on together, B.
        threads: CPU threads.
        device: Where it is to run.

    Raises:
        ConfigError: If the name is another, or is none on the device.
        Unavailable: If the runtime cannot run here.
    """
    from rnncore.forecast.device import cpu_threads, cudnn_precision

    kind = runtime_kinds().get(name)
    if kind is None or kind.stream is None or not kind.has_stream_on(device):
        raise ConfigError(f"stream is {name!r}; allowed on {device}: {', '.join(streams(device))}.")
    with cpu_threads(threads), cudnn_precision("fp32"):
        yield kind.stream(model, series, device)
