"""What run files of version 0.1 did not say of a row, worked out once where they are read."""

from collections.abc import Mapping
from typing import Any

from rnncore.runfile.recipes import ARTICLE, OWN_SIZES, SIZES

# The runtimes of 0.1: what they are called, and what they open. The article's code is none.
_RUNTIMES = {
    "torch": ("PyTorch", "forecaster"),
    "rnncore": ("rnncore", "forecaster"),
    "onnxruntime": ("ONNX Runtime", "onnx"),
    "openvino": ("OpenVINO", "onnx"),
    "article": ("article's code", None),
}

# What were runtimes of their own are modes of torch now.
_MODES = {"torch_flush": ("flush", "PyTorch without subnormals"), "torch_compile": ("compile", "torch.compile")}

# A suite that is called something else now.
_PHASES = {"paired": "interleaved"}

# What a GPU's times include; on a CPU there are no copies to speak of.
_CLOCKS = {"device only": "device", "host to host": "host"}

# A model of a user's own took the article's windows.
_ARTICLE_HOURS, _ARTICLE_FEATURES = 90, 5


def completed(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's facts with the recipe, the runtime's mode, title and what it reads, and the shape of its windows.

    What a row says itself stays as it is, but for what has another name now.
    """
    runtime, made = str(extra.get("runtime")), {"recipe": _recipe(extra), **extra}
    if runtime in _MODES:
        mode, mode_title = _MODES[runtime]
        made = {"runtime_title": mode_title, "runtime_reads": "forecaster", **made, "runtime": "torch", "mode": mode}
    if extra.get("phase") in _PHASES:
        made["phase"] = _PHASES[extra["phase"]]
    if made.get("clock") in _CLOCKS:
        made["clock"] = _CLOCKS[made["clock"]] if made.get("device", "cpu") != "cpu" else None
    title, reads = _RUNTIMES.get(runtime, (extra.get("runtime"), None))
    made = {"runtime_title": title, "runtime_reads": reads, **made}
    if made["recipe"] in (ARTICLE, "own"):
        made = {"features": _ARTICLE_FEATURES, **made}
    if made["recipe"] == "own" and made.get("lookback") is None:
        made["lookback"] = _ARTICLE_HOURS
    return made


def _recipe(extra: Mapping[str, Any]) -> str | None:
    """Return which model a row is of; None where nothing says so, as for the data path."""
    training = extra.get("training")
    if isinstance(training, Mapping) and training.get("preset"):
        return str(training["preset"])
    if extra.get("cell") == "own":
        return "own"
    if extra.get("cell") is None:
        return None
    # A sweep changed one size of the article's model at a time.
    alike = {
        name: sum(extra.get(size) == own for size, own in zip(SIZES, OWN_SIZES[name], strict=True))
        for name in (ARTICLE, "fast")
    }
    nearest = max(alike, key=lambda name: alike[name])
    return nearest if alike[nearest] >= len(SIZES) - 1 else None
