"""The one table of runtimes, and how they are opened."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rnncore.errors import ConfigError, RnncoreError
from rnncore.runtimes.base import Runtime, Source


def _torch(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.torch import TorchRuntime

    return TorchRuntime(source, device, precision, threads)


def _onnxruntime(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(source, device, precision, threads)


def _openvino(source: Source, device: str, precision: str, threads: int) -> Runtime:
    from rnncore.runtimes.openvino import OpenVinoRuntime

    return OpenVinoRuntime(source, device, precision, threads)


_RUNTIMES: dict[str, Callable[[Source, str, str, int], Runtime]] = {
    "torch": _torch,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
RUNTIMES = tuple(_RUNTIMES)

# What each runtime computes in, on each device: the names are the values of the `precision` axis.
# ONNX Runtime's CUDA RNN kernels let cuDNN use TF32 and give no way to forbid it.
PRECISIONS: dict[tuple[str, str], tuple[str, ...]] = {
    ("torch", "cpu"): ("fp32",),
    ("torch", "cuda"): ("fp32", "tf32"),
    ("onnxruntime", "cpu"): ("fp32",),
    ("onnxruntime", "cuda"): ("tf32",),
    ("openvino", "cpu"): ("fp32",),
}

_open: list[str] = []


@contextmanager
def open_runtime(name: str, source: Source, device: str, precision: str, threads: int) -> Iterator[Runtime]:
    """Open a runtime, and close it at the end of the block.

    Only one may be open at a time: the idle threads of one runtime spin and slow another's down.

    Args:
        name: One of `RUNTIMES`.
        source: The forecaster for torch, an ONNX file for the others.
        device: `cpu` or `cuda`.
        precision: One that `PRECISIONS` gives for the runtime on the device.
        threads: CPU threads for one operation, the same for every runtime that is compared.

    Raises:
        ConfigError: If the name, the precision or the source does not fit.
        Unavailable: If the device or a package is missing.
        RnncoreError: If another runtime is open.
    """
    if name not in _RUNTIMES:
        raise ConfigError(f"runtime is {name!r}; allowed: {', '.join(RUNTIMES)}.")
    devices = [on for runtime, on in PRECISIONS if runtime == name]
    if device not in devices:
        raise ConfigError(f"runtime {name} does not run on {device!r}; it runs on: {', '.join(devices)}.")
    allowed = PRECISIONS[name, device]
    if precision not in allowed:
        raise ConfigError(
            f"runtime {name} has no precision {precision!r} on {device!r}; allowed there: {', '.join(allowed)}."
        )
    if threads < 1:
        raise ConfigError(f"threads is {threads}; give a whole number of at least 1.")
    if _open:
        raise RnncoreError(
            f"runtime {_open[0]} is still open; close it before opening {name}: idle runtimes slow each other down."
        )
    runtime = _RUNTIMES[name](source, device, precision, threads)
    _open.append(name)
    try:
        yield runtime
    finally:
        _open.clear()
        runtime.close()
