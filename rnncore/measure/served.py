"""A process that only serves: `python -m rnncore.measure.served MODULE...` of `memory`.

It imports the modules, and nothing else of weight. Each line that it reads names a model; a copy of the process (a fork)
opens it, makes one call, and answers how much memory it held at most. Copies begin where the imports ended, so that none
sees what another left behind. No thread of ours runs before: a copy has only the thread that asked for it.
"""

import contextlib
import ctypes
import importlib
import json
import mmap
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from rnncore.errors import RnncoreError, Unavailable
from rnncore.measure import linux
from rnncore.measure.asked import answering, say
from rnncore.measure.facts import Fact, with_reasons
from rnncore.runtimes.base import Source
from rnncore.runtimes.catalog import open_runtime

_PRESENT_BIT = np.uint64(63)
_BYTES_PER_ENTRY = 8


def main() -> None:
    """Import what the arguments name and answer the lines of standard input, until they end."""
    with answering() as answers:
        for module in sys.argv[1:]:
            # What is missing is said when a model is opened, with what to install.
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
        pages = list(_resident_file_pages())
        for line in sys.stdin:
            question = json.loads(line)
            original = os.getpid()
            with warnings.catch_warnings():
                # Newer versions of Python warn of any thread. Those of a library that wait for work stay behind.
                warnings.simplefilter("ignore", DeprecationWarning)
                copy = os.fork()
            if copy == 0:
                linux.end_with(original)
                # Ends the copy, also inside a call that does not return.
                signal.alarm(question["limit_s"])
                _serve_once(question, pages, answers)
                os._exit(0)
            _, status = os.waitpid(copy, 0)
            code = os.waitstatus_to_exitcode(status)
            if code == -signal.SIGALRM:
                say(answers, why=f"the process took longer than {question['limit_s']} s")
            elif code < 0:
                say(answers, why=f"the process was ended by {signal.Signals(-code).name}")
            elif code > 0:
                say(answers, why=f"the process ended with exit code {code}", failed=True)


def _serve_once(question: dict[str, Any], pages: list[int], answers: TextIO) -> None:
    """Open a model, make one call and answer what it took; any error ends the copy with its traceback."""
    for address in pages:
        ctypes.string_at(address, 1)
    before = linux.status_bytes("VmRSS")
    # Written, as windows of a user would be: pages of zeros that nobody wrote take no memory.
    inputs = np.full(question["shape"], 0.5, dtype=np.float32)
    try:
        path = Path(question["path"])
        source: Source = path
        if path.suffix == ".safetensors":
            from rnncore.forecast.model import load_forecaster

            source = load_forecaster(path)[0]
        with open_runtime(
            question["runtime"],
            source,
            question["device"],
            question["precision"],
            question["threads"],
            mode=question["mode"],
        ) as runtime:
            runtime.predict(inputs)
            on_gpu = _device_bytes(question["device"])
    except RnncoreError as error:
        say(answers, why=str(error))
        return
    peak = linux.status_bytes("VmHWM")
    if peak is None or before is None:
        say(answers, why=f"{linux.PROC}/self/status tells no peak")
    else:
        say(answers, peak_rss_bytes=peak, model_rss_bytes=peak - before, **with_reasons({"process_device_bytes": on_gpu}))


def _device_bytes(device: str) -> Fact:
    """Return what this process holds of a GPU's memory, libraries and all, as the driver says; or why that is not known."""
    if device == "cpu":
        return None, "runs on the CPU"
    try:
        from rnncore.measure.gpu import Gpu

        with contextlib.closing(Gpu.open(device)) as gpu:
            return gpu.process_bytes(), "the driver does not tell what a process holds"
    except Unavailable as error:
        return None, str(error)


def _resident_file_pages() -> Iterator[int]:
    """Yield the address of each page of a file, most of them code, that is in memory now.

    A copy has none of them until it reads them, and would seem smaller than a process that imported the same.
    """
    with (linux.PROC / "self/pagemap").open("rb") as pagemap:
        for line in (linux.PROC / "self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            span, rights, _, _, inode, *_ = line.split(maxsplit=5)
            if inode == "0" or not rights.startswith("r"):
                continue
            first, end = (int(address, 16) // mmap.PAGESIZE for address in span.split("-"))
            pagemap.seek(first * _BYTES_PER_ENTRY)
            entries = np.frombuffer(pagemap.read((end - first) * _BYTES_PER_ENTRY), dtype=np.uint64)
            yield from (mmap.PAGESIZE * (first + np.flatnonzero(entries >> _PRESENT_BIT))).tolist()


if __name__ == "__main__":
    main()
