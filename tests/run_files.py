"""Run files made by hand, for the tests of the reading half."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CPU = "Made CPU (family 6, model 143)"
MIB = 2**20
GPU = {
    "name": "Made GPU",
    "memory_bytes": 80 * 1024 * MIB,
    "compute_capability": "9.0",
    "cuda": "13.0",
    "cudnn": 91300,
}
ARTICLE = {"hidden_size": 256, "num_layers": 2, "lookback": 90}
BASELINES_PCT = {
    "persistence": 3.291,
    "seasonal_naive_24": 7.292,
    "seasonal_naive_168": 10.619,
    "ar_90": 1.017,
    "per_hour_regressions": 0.7585,
}


def benchmark(phase: str, name: str, rounds_s: Sequence[float], windows: int, **extra: Any) -> dict[str, Any]:
    """Return one entry of `benchmarks`, with every axis and the facts that the plugin records."""
    axes = {
        "phase": phase,
        "cell": None,
        "hidden_size": None,
        "num_layers": None,
        "lookback": None,
        "batch_size": None,
        "device": "cpu",
        "runtime": "torch",
        "precision": "fp32",
        "threads": 2,
    }
    median_s = sorted(rounds_s)[len(rounds_s) // 2]
    facts = {
        "windows": windows,
        "first_call_s": 2 * median_s,
        "windows_per_s": windows / median_s,
        "peak_rss_bytes": 640 * MIB,
        "peak_device_bytes": None,
        "peak_device_bytes_why": "runs on the CPU",
    }
    return {
        "group": phase,
        "name": name,
        "fullname": f"bench/bench_{phase}.py::{name}",
        "params": axes,
        "param": name,
        "extra_info": {**axes, **facts, **extra},
        "options": {},
        "stats": {"min": min(rounds_s), "median": median_s, "rounds": len(rounds_s), "data": list(rounds_s)},
    }


def inference(cell: str, runtime: str, batch_size: int, median_s: float, **extra: Any) -> dict[str, Any]:
    """Return an inference benchmark whose rounds lie 10 % around *median_s*."""
    return benchmark(
        "infer",
        f"test_forecast[{cell}-{runtime}-cpu-fp32-b{batch_size}]",
        [0.9 * median_s, median_s, 1.1 * median_s],
        batch_size,
        **{
            **ARTICLE,
            "cell": cell,
            "runtime": runtime,
            "batch_size": batch_size,
            "gflop_per_s": 0.107 * batch_size / median_s,
            "parity_max_abs": 3.1e-9,
            "validity": "valid",
            **extra,
        },
    )


def training(cell: str, median_s: float, **extra: Any) -> dict[str, Any]:
    """Return a training benchmark."""
    rounds_s = [0.95 * median_s, median_s, 1.2 * median_s]
    name = f"test_train_step[{cell}-torch-cpu-fp32-b1024]"
    return benchmark("train", name, rounds_s, 1024, **{**ARTICLE, "cell": cell, "batch_size": 1024, **extra})


def accuracy(cell: str, runtime: str, median_s: float, smape: float, **extra: Any) -> dict[str, Any]:
    """Return an accuracy benchmark."""
    axes = {"cell": cell, "runtime": runtime, "hidden_size": 64, "num_layers": 1, "lookback": 24}
    facts = {
        "smape": smape,
        "smape_article": smape / 4,
        "mae_mw": 99.109,
        "zones": [{"name": "AEP", "smape": smape, "smape_article": smape / 4, "mae_mw": 99.109}],
        "baselines_smape": BASELINES_PCT,
        "training": {"steps": 1300, "seconds": 12.345, "seed": 0, "preset": "fast"},
        "validity": "valid",
    }
    name = f"test_score[{cell}-{runtime}-cpu-fp32-h64-l1-t24]"
    return benchmark("accuracy", name, [median_s] * 3, 108_902, **{**axes, **facts, **extra})


def data_path() -> list[dict[str, Any]]:
    """Return the two benchmarks of the data path."""
    axes = {"lookback": 90, "precision": None}
    return [
        benchmark("data", "test_prepare[rnncore-cpu]", [0.61, 0.6, 0.62], 1_089_000, runtime="rnncore", **axes),
        benchmark("data", "test_gather_batch[torch-cpu-b1024]", [4.1e-4, 4e-4, 4.4e-4], 1024, batch_size=1024, **axes),
    ]


def every_phase() -> list[dict[str, Any]]:
    """Return benchmarks of every phase: both cells, two runtimes, two batch sizes, and one fast but wrong result."""
    return [
        inference("gru", "torch", 1, 10.1e-3),
        inference("gru", "onnxruntime", 1, 3.08e-3),
        inference("lstm", "torch", 1, 4.0e-3),
        inference("lstm", "onnxruntime", 1, 1.82e-3),
        inference("gru", "torch", 32, 46.5e-3),
        inference("gru", "onnxruntime", 32, 29.8e-3),
        inference("lstm", "torch", 32, 26.0e-3, parity_max_abs=1.2e-8),
        inference("lstm", "onnxruntime", 32, 26.05e-3),
        inference(
            "gru",
            "openvino",
            1,
            0.1e-3,
            parity_max_abs=0.25,
            validity="outputs differ from float64 by 2.5e-01; rounding explains 1.0e-05",
        ),
        training("gru", 2.2),
        training("lstm", 2.926, peak_rss_bytes=None, peak_rss_bytes_why="the peak cannot be reset (Permission denied)"),
        accuracy("gru", "torch", 0.76, 1.0562),
        accuracy("lstm", "onnxruntime", 0.525, 0.9871),
        *data_path(),
    ]


SKIPPED = [
    {"fullname": "bench/bench_infer.py::test_forecast[gru-torch-cuda-fp32-b1]", "reason": "no CUDA device: a CPU build."},
    {"fullname": "bench/bench_infer.py::test_forecast[lstm-torch-cuda-fp32-b1]", "reason": "no CUDA device: a CPU build."},
    {"fullname": "bench/bench_infer.py::test_forecast[gru-openvino-cpu-fp32-b1]", "reason": "OpenVINO is not installed."},
]


def run_content(benchmarks: list[dict[str, Any]] | None = None, **fingerprint: Any) -> dict[str, Any]:
    """Return the content of a run file; *fingerprint* replaces facts of the machine."""
    return {
        "machine_info": {
            "node": "made",
            "fingerprint": {
                "cpu": CPU,
                "cpus": 2,
                "threads": 2,
                "memory_bytes": 24106 * MIB,
                "system": "Linux x86_64",
                "python": "3.11.7",
                "packages": {"torch": "2.13.0+cpu", "onnxruntime": "1.32.0", "openvino": None},
                "gpu": None,
                **fingerprint,
            },
        },
        "commit_info": {"id": "128f4f796c4ec83b9a78c9c1329d4c5a9a599087", "dirty": True, "branch": "main"},
        "benchmarks": every_phase() if benchmarks is None else benchmarks,
        "datetime": "2026-11-22T18:18:17.123456+00:00",
        "version": "5.3.1",
        "rnncore": {
            "version": "0.1.0",
            "command": ["pytest", "bench/", "--benchmark-autosave"],
            "scale": "quick",
            "data": {"name": "pjm", "digest": "0123456789abcdef" * 4},
            "skipped": SKIPPED,
        },
    }


def make_run(folder: Path, content: dict[str, Any] | None = None, name: str = "0001_made.json") -> Path:
    """Write a run file into *folder* and return its path."""
    path = folder / name
    path.write_text(json.dumps(run_content() if content is None else content), encoding="utf-8")
    return path
