"""Run files made by hand, for the tests of the reading half."""

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from statistics import quantiles
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
ARTICLE = {"recipe": "article", "hidden_size": 256, "num_layers": 2, "lookback": 90}
BASELINES_PCT = {
    "persistence": 3.291,
    "seasonal_naive_24": 7.292,
    "seasonal_naive_168": 10.619,
    "ar_90": 1.017,
    "per_hour_regressions": 0.7585,
}
KERNELS = {
    ("torch", "gru"): "ATen loop",
    ("torch", "lstm"): "oneDNN LSTM",
    ("onnxruntime", "gru"): "MLAS GRU",
    ("onnxruntime", "lstm"): "MLAS LSTM",
    ("openvino", "gru"): "OpenVINO GRU, jit_avx2",
}

# What every row says, or says why it does not.
FACTS = (
    "kernel",
    "bound",
    "gflop_per_s",
    "gemm_ceiling_pct",
    "recurrent_ceiling_pct",
    "cache_ceiling_pct",
    "us_per_step",
    "windows_per_s",
    "validity",
    "parity_max_abs",
    "smape",
    "disturbed_rounds",
    "steady",
    "first_call_s",
    "percentiles",
    "peak_rss_bytes",
    "model_rss_bytes",
    "peak_device_bytes",
    "joules_per_1000",
)

# Of the report of one run, in order.
SECTIONS = (
    *("Verdict", "Which runtime for one forecast at a time?", "Which runtime for many at once?"),
    *("Does it forecast well?", "How fast does it train?"),
    *("How far from the hardware's limit?", "Where does the time go?"),
    *("Can it be trusted?", "What was not measured?", "All results", "Machine and data", "How it was measured"),
)

# Rates per second.
GEMM_FLOP, CHAIN_FLOP, COPIED_BYTE = 178e9, 68.1e9, 26.2e9
CEILINGS = {
    "seconds": 4.6,
    "gemm": [
        {"device": "cpu", "precision": "fp32", "threads": 2, "per_s": GEMM_FLOP, "by": "ONNX Runtime, 256 x 256"},
        {
            "device": "cpu",
            "precision": "bf16",
            "threads": 2,
            "per_s": None,
            "per_s_why": "no library here computes it",
        },
    ],
    "recurrent": [
        {
            "device": "cpu",
            "precision": "fp32",
            "threads": 2,
            "batch_size": 1024,
            "hidden_size": 256,
            "gates": 3,
            "per_s": 129.4e9,
            "by": "ONNX Runtime",
        },
        {
            "device": "cpu",
            "precision": "fp32",
            "threads": 2,
            "batch_size": 1,
            "hidden_size": 256,
            "gates": 4,
            "per_s": CHAIN_FLOP,
            "by": "ONNX Runtime",
        },
    ],
    "copy": [{"device": "cpu", "threads": 2, "per_s": COPIED_BYTE, "by": "torch, 128 MiB"}],
}

# What a session tells beside its command and its data.
SESSION = {
    "execution_providers": ["CPUExecutionProvider"],
    "steady": False,
    "steady_why": "the second half is 1.25x slower than the first",
    "pulses_s": [4.4e-4, 4.5e-4, 4.4e-4, 4.3e-4, 4.4e-4, 5.5e-4, 5.4e-4, 5.5e-4, 5.6e-4, 5.5e-4],
    "overhead": {
        "wall_s": 84.2,
        "timed_s": 41.6,
        "overhead_s": 42.6,
        "parts_s": {
            "exports": 21.3,
            "collection and the rest of pytest": 13.1,
            "ceilings": 4.6,
            "evidence of the path": 3.2,
            "energy": 0.4,
        },
    },
}
FAILED = [
    {
        "fullname": "bench/bench_infer.py::test_forecast[lstm-openvino-cpu-fp32-b1]",
        "outcome": "error",
        "reason": "RuntimeError: no such node",
    },
    {
        "fullname": "bench/bench_train.py::test_train_step[lstm-torch-cpu-fp32-b4096]",
        "outcome": "out of memory",
        "reason": "RuntimeError: DefaultCPUAllocator: can't allocate memory",
    },
    {
        "fullname": "bench/bench_train.py::test_train_step[gru-torch-cpu-fp32-b4096]",
        "outcome": "timed out",
        "reason": "CaseTimeout: took longer than 60 s (--rnn-case-timeout)",
    },
]


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
        "recipe": None,
    }
    median_s = sorted(rounds_s)[len(rounds_s) // 2]
    facts = {
        "windows": windows,
        "first_call_s": 2 * median_s,
        "windows_per_s": windows / median_s,
        "peak_rss_bytes": 640 * MIB,
        "model_rss_bytes": 40 * MIB,
        "peak_device_bytes": None,
        "peak_device_bytes_why": "runs on the CPU",
        "validity": None,
        "validity_why": "the benchmark did not record it",
        "parity_max_abs": None,
        "parity_max_abs_why": "the benchmark did not record it",
        "smape": None,
        "smape_why": "the benchmark did not record it",
        "kernel": None,
        "kernel_why": "the benchmark gives no evidence of what ran",
        "gflop_per_s": None,
        "us_per_step": None,
        "bound": None,
        "gemm_ceiling_pct": None,
        "recurrent_ceiling_pct": None,
        "cache_ceiling_pct": None,
        "joules_per_1000": None,
        "joules_per_1000_why": "this machine has no RAPL counters",
        **disturbance(rounds_s),
        "steady": None,
        "steady_why": f"n={len(rounds_s)} is too few to compare halves, 10 needed",
        "percentiles": percentiles(median_s, known=()),
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


def disturbance(rounds_s: Sequence[float], **causes: int) -> dict[str, Any]:
    """Return what is said of disturbed rounds: the last ones, as many as the largest count of a cause."""
    count = max(causes.values(), default=0)
    quiet_s = sorted(rounds_s[: len(rounds_s) - count])
    return {
        "disturbed_rounds": count,
        "disturbance": {
            "causes": {cause.replace("_", " "): number for cause, number in causes.items()},
            "spans": [[len(rounds_s) - count, len(rounds_s) - 1]] if count else [],
            "median_undisturbed_s": quiet_s[len(quiet_s) // 2] if quiet_s else None,
            "not_looked_for": {},
            "watching_pct": 0.2,
            "cpu_pressure_pct": None,
        },
    }


def percentiles(median_s: float, known: Sequence[str]) -> dict[str, Any]:
    """Return the percentiles of a call: those of the names *known*, and why the others are not."""
    needed = {"p50": 11, "p90": 64, "p95": 130, "p99": 662}
    times = {"p50": 1.0, "p90": 1.4, "p95": 1.6, "p99": 2.5}
    facts: dict[str, Any] = {}
    for name, calls in needed.items():
        s = times[name] * median_s
        facts[name] = {"s": s, "low_s": 0.98 * s, "high_s": 1.06 * s} if name in known else None
        if name not in known:
            facts[f"{name}_why"] = f"n={calls - 1} is too few for {name}, {calls} needed"
    return facts


def inference(cell: str, runtime: str, batch_size: int, median_s: float, **extra: Any) -> dict[str, Any]:
    """Return an inference benchmark whose rounds lie 10 % around *median_s*."""
    flop, waiting = 0.107e9 * batch_size, batch_size == 1
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
            "gflop_per_s": flop / median_s / 1e9,
            "us_per_step": 1e6 * median_s / 91,
            "kernel": KERNELS[runtime, cell],
            "bound": "latency" if waiting else "compute",
            "gemm_ceiling_pct": 100 * flop / GEMM_FLOP / median_s,
            "recurrent_ceiling_pct": 100 * flop / CHAIN_FLOP / median_s if waiting else 116 * flop / GEMM_FLOP / median_s,
            "bandwidth_ceiling_pct": 4.04,
            "parity_max_abs": 3.1e-9,
            "smape": 69.5,
            "steady": True,
            "percentiles": percentiles(median_s, known=("p50", "p90", "p95")),
            "validity": "valid",
            **extra,
        },
    )


def training(cell: str, median_s: float, **extra: Any) -> dict[str, Any]:
    """Return a training benchmark."""
    rounds_s = [0.95 * median_s, median_s, 1.2 * median_s]
    facts = {
        "cell": cell,
        "batch_size": 1024,
        "kernel": KERNELS["torch", cell],
        "bound": "compute",
        "gflop_per_s": 331 / median_s,
        "gemm_ceiling_pct": 186 / median_s,
        "recurrent_ceiling_pct": 205 / median_s,
        "us_per_step": 1e6 * median_s / 182,
        "parity_max_abs": 5.1e-8,
        "validity": "valid",
    }
    return benchmark(
        "train", f"test_train_step[{cell}-torch-cpu-fp32-b1024]", rounds_s, 1024, **{**ARTICLE, **facts, **extra}
    )


def accuracy(cell: str, runtime: str, median_s: float, smape: float, **extra: Any) -> dict[str, Any]:
    """Return an accuracy benchmark."""
    axes = {"cell": cell, "recipe": "fast", "runtime": runtime, "hidden_size": 64, "num_layers": 1, "lookback": 24}
    facts = {
        "smape": smape,
        "smape_article": smape / 4,
        "mae_mw": 99.109,
        "zones": [{"name": "AEP", "smape": smape, "smape_article": smape / 4, "mae_mw": 99.109}],
        "baselines_smape": BASELINES_PCT,
        "panels": [
            {
                "zone": zone,
                "hours": [1, 2, 3],
                "actual_mw": [100.0, 110.0, 105.0],
                "forecast_mw": {f"{cell.upper()} fast": [101.0, 109.0, 104.0]},
            }
            for zone in ("AEP", "COMED")
        ],
        "smape_torch_fp32": smape,
        "training": {"steps": 1300, "seconds": 12.345, "seed": 0, "curve": curve(smape)},
        "kernel": KERNELS[runtime, cell],
        "bound": "compute",
        "parity_max_abs": 2.9e-7,
        "validity": "valid",
    }
    name = f"test_score[{cell}-{runtime}-cpu-fp32-b2048-fast]"
    return benchmark("accuracy", name, [median_s] * 3, 108_902, **{**axes, **facts, **extra})


def curve(smape: float) -> list[dict[str, Any]]:
    """Return what was seen of a training that ends at a sMAPE."""
    seen = ((325, 3.1, 0.31, 1.9 * smape), (650, 6.2, 0.18, 1.2 * smape), (1300, 12.345, 0.15, smape))
    return [dict(zip(("step", "seconds", "loss", "score"), point, strict=True)) for point in seen]


def data_path() -> list[dict[str, Any]]:
    """Return the two benchmarks of the data path."""
    axes = {"lookback": 90, "precision": None}
    return [
        benchmark(
            "data",
            "test_prepare[rnncore-cpu]",
            [0.61, 0.6, 0.62],
            1_089_000,
            runtime="rnncore",
            kernel="pandas CParserWrapper.read",
            bound_why="bound by reading text",
            **axes,
        ),
        benchmark(
            "data",
            "test_gather_batch[torch-cpu-b1024]",
            [4.1e-4, 4e-4, 4.4e-4],
            1024,
            batch_size=1024,
            kernel="ATen index",
            bound="bandwidth",
            bandwidth_ceiling_pct=36.2,
            **axes,
        ),
    ]


def every_phase() -> list[dict[str, Any]]:
    """Return benchmarks of every phase: both cells, two runtimes, two batch sizes, and one fast but wrong result."""
    many = tuple(1.82e-3 * (1 + (index % 21 - 10) / 100) for index in range(701))
    lstm = inference(
        "lstm",
        "onnxruntime",
        1,
        1.82e-3,
        joules_per_1000=71.25,
        percentiles=percentiles(1.82e-3, known=("p50", "p90", "p95", "p99")),
        **disturbance(many, CPU_steal=12, involuntary_context_switches=3),
    )
    lstm["stats"].update(rounds=len(many), data=list(many))
    return [
        inference("gru", "torch", 1, 10.1e-3),
        inference("gru", "onnxruntime", 1, 3.08e-3),
        inference("lstm", "torch", 1, 4.0e-3),
        lstm,
        inference("gru", "torch", 32, 46.5e-3, **disturbance([0.04185, 0.0465, 0.05115], CPU_steal=3)),
        inference(
            "gru", "onnxruntime", 32, 29.8e-3, steady=False, steady_why="the second half is 1.38x slower than the first"
        ),
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
        training("lstm", 2.926, peak_rss_bytes=None, peak_rss_bytes_why="a step of training serves nothing"),
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
    """Return the content of a run file: of a session with failures, or of *benchmarks*.

    *fingerprint* replaces facts of the machine. Nothing of it is shared with another content: a test may change all.
    """
    content = {
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
                "isa": {"avx2": True, "avx512f": True, "amx_bf16": False},
                "governor": "performance",
                "virtual_machine": True,
                "gpu": None,
                **fingerprint,
            },
            "conditions": {"load_1min": 0.4, "cpu_mhz": 2445.4},
            "ceilings": CEILINGS,
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
            **SESSION,
            "skipped": SKIPPED,
            "failed": FAILED if benchmarks is None else [],
        },
    }
    return deepcopy(content)


# All that a benchmark told beside its axes before there were ceilings, disturbance and percentiles.
_OLD_FACTS = ("windows", "first_call_s", "windows_per_s", "peak_rss_bytes", "peak_device_bytes", "peak_device_bytes_why")
_OLD_FACTS += ("gflop_per_s", "parity_max_abs", "validity", "smape", "smape_article", "mae_mw", "zones", "baselines_smape")
_OLD_FACTS += ("training", "clock", "smape_torch_fp32")


def old_run_content() -> dict[str, Any]:
    """Return the content of a run file as it was before there were ceilings, disturbance, percentiles and failures."""
    content = run_content(isa=None, governor=None, virtual_machine=None)
    fingerprint = content["machine_info"]["fingerprint"]
    for key in ("isa", "governor", "virtual_machine"):
        del fingerprint[key]
    content["machine_info"] = {"node": "made", "fingerprint": fingerprint}
    for key in (*SESSION, "failed"):
        del content["rnncore"][key]
    for entry in content["benchmarks"]:
        facts, axes = entry["extra_info"], entry["params"]
        kept = {key: facts[key] for key in _OLD_FACTS if facts.get(key) is not None}
        entry["extra_info"] = {**{axis: facts[axis] for axis in axes}, **kept}
    return content


def make_run(folder: Path, content: dict[str, Any] | None = None, name: str = "0001_made.json") -> Path:
    """Write a run file into *folder* and return its path."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run_content() if content is None else content), encoding="utf-8")
    return path


def content_of(path: Path) -> dict[str, Any]:
    """Return what lies in a run file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def plain_benchmark(
    fullname: str, rounds_s: Sequence[float], iterations: int = 1, has_rounds: bool = True, **extra: Any
) -> dict[str, Any]:
    """Return one entry of `benchmarks` as pytest-benchmark alone writes it, of a suite that knows nothing of ours."""
    low_s, middle_s, high_s = quantiles(rounds_s, n=4, method="inclusive") if len(rounds_s) > 1 else 3 * rounds_s
    stats = {"min": min(rounds_s), "q1": low_s, "median": middle_s, "q3": high_s, "max": max(rounds_s)}
    return {
        "group": None,
        "name": fullname.split("::")[-1],
        "fullname": fullname,
        "params": None,
        "param": None,
        "extra_info": extra,
        "options": {},
        "stats": {
            **stats,
            "rounds": len(rounds_s),
            "iterations": iterations,
            **({"data": list(rounds_s)} if has_rounds else {}),
        },
    }


def plain_content(benchmarks: list[dict[str, Any]], cpu: str = CPU, minute: int = 0) -> dict[str, Any]:
    """Return the content of a run file that pytest-benchmark alone wrote, so many minutes after ten."""
    content = {
        "machine_info": {"system": "Linux", "machine": "x86_64", "cpu": {"brand_raw": cpu, "count": 2}},
        "commit_info": {"id": "0123456789abcdef", "dirty": False},
        "benchmarks": benchmarks,
        "datetime": f"2026-11-24T10:{minute:02}:00+00:00",
        "version": "5.3.1",
    }
    return deepcopy(content)
