"""Memory: what a process needs that only serves a model, and what torch holds of a GPU over some rounds.

The process that measures holds torch, the data set and whatever ran before: its own peak says nothing of a model. So a
fresh process imports what serving needs and no more (`rnncore.measure.served`), and for each question a copy of it opens the
model and makes one call. No question sees what others left behind, in whatever order they come.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rnncore.errors import ProcessError
from rnncore.forecast.device import Device
from rnncore.measure import linux, served
from rnncore.measure.asked import AskedProcess
from rnncore.measure.facts import with_reasons
from rnncore.runtimes.base import Source
from rnncore.runtimes.catalog import runtime_kind, runtime_kinds

# What a row says of a process that only serves.
SERVING_FACTS = ("peak_rss_bytes", "model_rss_bytes", "process_device_bytes")

# Why rows have no such process, by phase.
WHY_NOT_SERVED = {
    "train": "a step of training serves nothing",
    "interleaved training": "a step of training serves nothing",
    "scaling": "a step of training serves nothing",
    "data": "the data path serves no model",
    "stream": "measured for whole windows alone",
}

# A question that takes longer is given up; compiling takes minutes.
LIMIT_S = 60

# NumPy's threads would be there when the process copies itself, and serving needs none of them.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Served:
    """What is served, and how.

    Attributes:
        runtime: A name of `runtime_kinds`.
        device: A device's name.
        precision: What it computes in.
        threads: CPU threads.
        shape: Of the windows of the one call: (B, T, F).
        mode: How the runtime runs it; None for the usual way.
    """

    runtime: str
    device: str
    precision: str
    threads: int
    shape: tuple[int, int, int]
    mode: str | None = None


class ServingMemory:
    """Returns what a process needs that only serves a model; each question is measured once.

    It starts one process per set of packages when it is first asked, which takes as long as their import, and asks it again.
    """

    def __init__(self) -> None:
        self._processes: dict[tuple[str, ...], AskedProcess] = {}
        self._found: dict[tuple[Served, Path], dict[str, int | str | None]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def of(self, question: Served, source: Source) -> dict[str, int | str | None]:
        """Return what the process that serves holds, and `model_rss_bytes`, what the model added to it.

        Args:
            question: What is served, and how.
            source: What the runtime opens: an ONNX file or a forecaster of ours.

        Returns:
            `peak_rss_bytes`, `model_rss_bytes`, and `process_device_bytes`, what it holds of a GPU by the driver's account.
            In bytes, or None with the reason under `..._why` where the system or driver does not tell, the model is in no
            file that a process could open, or the process failed.
        """
        if linux.status_bytes("VmHWM") is None:
            return unknown(f"{linux.PROC}/self/status tells no peak")
        path = self._file(source)
        if path is None:
            return unknown("the model is not of ours, and in no file that another process could open")
        key = question, path
        if key not in self._found:
            self._found[key] = self._asked(question, path)
        return self._found[key]

    def close(self) -> None:
        """End the processes and remove the files that were written for them."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _asked(self, question: Served, path: Path) -> dict[str, int | str | None]:
        kind = runtime_kind(question.runtime, question.mode)
        # What a process imports before it opens a model.
        reader = ("rnncore.forecast.model",) if kind.reads == "forecaster" else ()
        modules = (*kind.packages, *reader, getattr(kind.open, "__module__", type(kind.open).__module__))
        # Back in the table once it has answered: a process that was left in the middle would answer the next in vain.
        process, answered = self._processes.pop(modules, None), False
        process = process or AskedProcess(served.__name__, modules, "serving", _ENVIRONMENT)
        try:
            process.tell(json.dumps({**asdict(question), "path": str(path), "limit_s": LIMIT_S}))
            facts = process.answer()
            answered = True
        except ProcessError as error:
            return unknown(str(error))
        finally:
            if not answered:
                process.close()
        self._processes[modules] = process
        if "why" in facts:
            return unknown(f"{facts['why']}: {process.last_words()}" if facts.get("failed") else facts["why"])
        return facts

    def _file(self, source: Source) -> Path | None:
        """Return the file of a model; forecasters of one size share one, as memory does not depend on weights."""
        if isinstance(source, Path):
            return source
        from rnncore.forecast.model import Forecaster, save_forecaster
        from rnncore.forecast.windows import WindowConfig

        if not isinstance(source, Forecaster):
            return None
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rnncore-served-")
        sizes = "-".join(str(value) for value in asdict(source.config).values())
        path = Path(self._folder.name) / f"{sizes}.safetensors"
        if not path.exists():
            save_forecaster(path, source, WindowConfig(), training={})
        return path


@contextmanager
def peak_device_memory(device: str, runtime: str) -> Iterator[dict[str, int | str | None]]:
    """Yield a dict that says, once the block has ended, how much device memory was held at most.

    Args:
        device: A device's name.
        runtime: Who runs the block: one of `runtime_kinds`, or what else runs a case, which is a loop of torch's. Only torch
            counts its own device memory.

    Yields:
        `peak_device_bytes`; None with the reason under `peak_device_bytes_why` where there is none or nobody counts it.
    """
    facts: dict[str, int | str | None] = {}
    kind, on = runtime_kinds().get(runtime), Device.named(device)
    if on.is_cpu or not on.is_known or (kind is not None and "torch" not in kind.packages):
        yield facts
        why = "runs on the CPU" if on.is_cpu else f"{runtime} does not count its device memory"
        facts |= with_reasons({"peak_device_bytes": (None, why)})
        return
    on.forget_peak()
    yield facts
    facts |= with_reasons({"peak_device_bytes": (on.peak_bytes(), "torch does not count the memory of such devices")})


def unknown(why: str) -> dict[str, int | str | None]:
    """Return the facts of a row whose process is not measured, with the reason."""
    return with_reasons(dict.fromkeys(SERVING_FACTS, (None, why)))
