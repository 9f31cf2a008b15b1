"""What a run ran on: the facts that decide whether two runs may be compared."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "openvino", "onnx", "onnxscript", "numpy", "pandas")


def fingerprint(threads: int) -> dict[str, Any]:
    """Return the stable facts of this machine and its software, as JSON values.

    Args:
        threads: CPU threads that every runtime is given.

    Returns:
        Facts by name; None where one cannot be read.
    """
    return {
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "gpu": _gpu(),
    }


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    facts = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name")
    # Hosts that hide the model's name still tell its family and model number.
    return f"{name} (family {facts['cpu family']}, model {facts['model']})" if name and "cpu family" in facts else name


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> dict[str, Any] | None:
    import torch

    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }
