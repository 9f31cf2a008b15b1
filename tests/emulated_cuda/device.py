"""Emulated devices for torch's CPU build: torch and ONNX Runtime are told of them, and what they count is read.

It shows where tensors lie, what is copied, when the host waits, and that the answers above the kernels are right; of graphs,
that the host neither waits, reads nor writes in what is captured. It shows nothing of CUDA's kernels and their times, of
what else a graph may not capture, or of where ONNX Runtime puts a node: **no figure of it is a measurement.**
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.emulated_cuda.build import CUDA, OTHER, kind, load_device

_LIBRARY = load_device()

import numpy as np  # noqa: E402
import torch  # noqa: E402 (which devices there are, torch asks once)
import torch.backends.cudnn.rnn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

NAME = "emulated GPU"

# As device.cpp numbers them.
COUNTS = (
    "synchronizations",
    "host_reads",
    "copies_in",
    "copies_out",
    # Of those copies the ones from or to page-locked memory.
    "page_locked",
    "recurrent_layers",
    "repacked",
    "held_bytes",
    "peak_bytes",
)

# What a kernel of a GPU would run, of the operations that a profile of the host shows.
_LAUNCHING = {
    *(
        "aten::_cudnn_rnn",
        "aten::_cudnn_rnn_backward",
        "aten::addmm",
        "aten::mm",
        "aten::relu",
        "aten::index",
        "aten::copy_",
    ),
    *("aten::mse_loss", "aten::mse_loss_backward", "aten::_fused_adam_", "aten::add_", "aten::native_dropout"),
}


def counts() -> dict[str, int]:
    """Return what was counted since the start; bytes are those of now, and the most since the peak was forgotten."""
    return {name: int(_LIBRARY.emulated_count(number)) for number, name in enumerate(COUNTS)}


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Yield a dict that has after the block what was counted in it; what was not is left out."""
    before, found = counts(), {}
    yield found
    found |= {
        name: after - before[name] for name, after in counts().items() if "bytes" not in name and after != before[name]
    }


class Stream:
    """A stream of the device; each call is done when it returns."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def synchronize(self) -> None:
        _LIBRARY.emulated_synchronize()

    def wait_stream(self, other: "Stream") -> None: ...

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: object) -> None: ...


class Graph:
    """What is called while it is captured, which a replay calls again, into the tensors that were made then.

    Where a GPU could capture nothing, it refuses: where the host waits for the device, or reads or writes its memory.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.is_inference = False

    def replay(self) -> None:
        with torch.inference_mode() if self.is_inference else torch.no_grad():
            for call, positional, named, made in self.calls:
                for kept, found in zip(tree_leaves(made), tree_leaves(call(*positional, **named)), strict=True):
                    if isinstance(kept, torch.Tensor) and kept.data_ptr() != found.data_ptr():
                        kept.copy_(found)


class _Capture(TorchDispatchMode):
    """Note what is called, and undo it: a capture computes nothing."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph
        # Tensors of memory that there was before the capture, by where they lie in it, and what they held.
        self._before: dict[tuple[object, ...], tuple[torch.Tensor, torch.Tensor]] = {}
        self._made: set[int] = set()

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in _tensors((args, kwargs)):
            memory = tensor.untyped_storage().data_ptr()
            place = memory, tensor.data_ptr(), tensor.shape, tensor.stride()
            if memory not in self._made and place not in self._before:
                self._before[place] = tensor, tensor.detach().clone()
        made = call(*args, **(kwargs or {}))
        there_before = {memory for memory, *_ in self._before}
        self._made |= {tensor.untyped_storage().data_ptr() for tensor in _tensors(made)} - there_before
        self._graph.calls.append((call, args, kwargs or {}, made))
        return made

    def undo(self) -> None:
        with torch.inference_mode():
            # What was noted first was written by nothing of the capture yet.
            for tensor, held in reversed(self._before.values()):
                tensor.detach().copy_(held)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


@contextmanager
def capture(graph: Graph) -> Iterator[None]:
    """Capture the block.

    Raises:
        RuntimeError: If the host waited, read or wrote.
    """
    capturing, graph.is_inference = _Capture(graph), torch.is_inference_mode_enabled()
    with counted() as found, capturing:
        yield
    capturing.undo()
    if refused := {name: count for name, count in found.items() if name not in ("recurrent_layers", "repacked")}:
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({refused})")


class HostProfile(torch.profiler.profile):
    """A profile of the host, in which what launches a kernel has one of the same length."""

    def __init__(self, *, activities: Any = None, **options: Any) -> None:
        self._has_kernels = torch.profiler.ProfilerActivity.CUDA in (activities or ())
        super().__init__(activities=[torch.profiler.ProfilerActivity.CPU], **options)

    def export_chrome_trace(self, path: str) -> None:
        super().export_chrome_trace(path)
        if not self._has_kernels:
            return
        trace = json.loads(Path(path).read_text(encoding="utf-8"))
        launching = [event for event in trace["traceEvents"] if event.get("cat") == "cpu_op" and event["name"] in _LAUNCHING]
        layers = [event for event in launching if event["name"].startswith("aten::_cudnn_rnn")]
        launching = [event for event in launching if not any(_is_inside(event, layer) for layer in layers)]
        trace["traceEvents"] += [{**event, "cat": "kernel", "name": f"emulated {event['name']}"} for event in launching]
        Path(path).write_text(json.dumps(trace), encoding="utf-8")


def _is_inside(event: dict[str, Any], other: dict[str, Any]) -> bool:
    """Say whether an operation is one of those that compute another."""
    if event is other or event["tid"] != other["tid"]:
        return False
    return other["ts"] <= event["ts"] and event["ts"] + event["dur"] <= other["ts"] + other["dur"]


def _properties(index: int) -> SimpleNamespace:
    uuid = f"00000000-0000-0000-0000-{index:012}"
    return SimpleNamespace(name=NAME, total_memory=1 << 34, major=9, minor=0, uuid=uuid)


def _start() -> None:
    """Let torch's Python know of the devices, as a build of it for them would."""
    if kind() == OTHER:
        torch.utils.rename_privateuse1_backend(OTHER)
        torch._register_device_module(OTHER, ModuleType(OTHER))
    _LIBRARY.emulated_start()
    of_type = getattr(torch, kind())
    answers: dict[str, object] = {
        "is_available": True,
        "device_count": 2,
        "current_device": 0,
        "get_device_name": NAME,
        "_is_in_bad_fork": False,
        **dict.fromkeys(("_lazy_init", "empty_cache", "set_device", "manual_seed_all")),
    }
    for name, answer in answers.items():
        setattr(of_type, name, lambda *_, answer=answer: answer)
    of_type.get_device_properties = _properties
    of_type.max_memory_allocated = lambda device=None: counts()["peak_bytes"]
    of_type.memory_allocated = lambda device=None: counts()["held_bytes"]
    of_type.reset_peak_memory_stats = lambda device=None: _LIBRARY.emulated_forget_peak()
    # Its random numbers are those of the CPU.
    of_type.get_rng_state = lambda device=None: torch.get_rng_state()
    of_type.set_rng_state = lambda state, device=None: torch.set_rng_state(state)
    of_host = torch.Tensor.__deepcopy__
    # Storages of a device that this build of torch has not are copied by nobody.
    torch.Tensor.__deepcopy__ = lambda one, memo: one.detach().clone() if one.device.type == kind() else of_host(one, memo)
    if kind() == CUDA:
        _start_cuda()


def _start_cuda() -> None:
    """Let it have what torch's CUDA has and other devices need not: streams, graphs, a profiler and cuDNN."""
    torch.cuda.get_device_capability = lambda device=None: (9, 0)
    # Two functions: torch's compiler knows what it traces by them.
    torch.cuda._exchange_device = lambda index: 0
    torch.cuda._maybe_exchange_device = lambda index: 0
    torch.cuda.synchronize = lambda device=None: _LIBRARY.emulated_synchronize()
    torch.cuda.Stream = Stream
    torch.cuda.stream = lambda stream: stream
    torch.cuda.current_stream = lambda device=None: Stream()
    torch.cuda.CUDAGraph = Graph
    torch.cuda.graph = capture
    torch.version.cuda = "emulated"
    torch.profiler.profile = HostProfile
    torch._C._has_cudnn = True
    torch._C._cuda_get_cudnn_benchmark_limit = lambda: 10
    torch._C._cuda_set_cudnn_benchmark_limit = lambda limit: None
    layers = ModuleType("_cudnn")
    layers.RNNMode = SimpleNamespace(rnn_relu=0, rnn_tanh=1, lstm=2, gru=3)
    # Both modules are replaced by ones with properties; what their functions see lies in those behind.
    torch.backends.cudnn.rnn.m._cudnn = layers
    torch.backends.cudnn.m._init = lambda: True
    torch.backends.cudnn.m.version = lambda: 90000


_start()


def start_onnxruntime() -> None:
    """Let the session of the CPU stand in for that of CUDA, under its name; nothing where it does, or is not to."""
    if kind() != CUDA:
        return
    import onnxruntime

    host, device = "CPUExecutionProvider", "CUDAExecutionProvider"
    names = onnxruntime.get_available_providers()
    if device in names:
        return

    class Session(onnxruntime.InferenceSession):
        def __init__(self, model: object, options: object = None, providers: Sequence[Any] = (), **others: object) -> None:
            first, *_ = providers
            self._provider, self._options = first if isinstance(first, tuple) else (first, {})
            self._captured: Any = None
            super().__init__(model, options, providers=[host], **others)

        def get_providers(self) -> list[str]:
            return [self._provider, host] if self._provider != host else super().get_providers()

        def run_with_iobinding(self, binding: Any, run_options: object = None) -> None:
            if self._options.get("enable_cuda_graph") == "1":
                # A graph reads and writes where its capture did, whatever is bound now.
                self._captured = binding = self._captured or binding
            super().run_with_iobinding(binding, run_options)

        def run_with_ort_values(self, *arguments: Any, **named: Any) -> Any:
            if self._options.get("enable_cuda_graph") == "1":
                raise RuntimeError("a CUDA graph is run by what is bound")
            return super().run_with_ort_values(*arguments, **named)

        def end_profiling(self) -> str:
            path = str(super().end_profiling())
            text = Path(path).read_text(encoding="utf-8")
            Path(path).write_text(text.replace(host, self._provider), encoding="utf-8")
            return path

    class Value(onnxruntime.OrtValue):
        @staticmethod
        def ortvalue_from_numpy(values: object, device: str = "cpu", number: int = 0) -> object:
            # A device has memory of its own.
            return of_host.ortvalue_from_numpy(np.array(values), "cpu", 0)

        @staticmethod
        def ortvalue_from_shape_and_type(shape: object, kind: object, device: str = "cpu", number: int = 0) -> object:
            return of_host.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)

    of_host = onnxruntime.OrtValue
    onnxruntime.get_available_providers = lambda: [device, *names]
    onnxruntime.preload_dlls = lambda: None
    onnxruntime.InferenceSession, onnxruntime.OrtValue = Session, Value
