"""Tests of the digest of a grid: what makes another one, and what does not."""

import hashlib
from pathlib import Path

import pytest

from rnncore.runfile.grid import grid_digest, grid_of
from rnncore.runfile.record import Record, Run

INFER, STEP = "bench/a.py::test_forecast[gru-torch-cpu-fp32-b1]", "bench/b.py::test_train_step[lstm-torch-cpu-fp32-b16]"
PREPARE, ON_GPU = "bench/c.py::test_prepare[rnncore-cpu]", "bench/a.py::test_forecast[gru-torch-cuda-fp32-b1-host]"
GRID = grid_digest([INFER, STEP, PREPARE])


def test_the_digest_is_that_of_the_sorted_names() -> None:
    assert hashlib.sha256(f"{INFER}\n{STEP}\n{PREPARE}".encode()).hexdigest()[:12] == GRID


@pytest.mark.parametrize(
    "same",
    [
        [PREPARE, INFER, STEP],
        [INFER, STEP, PREPARE, ON_GPU],
        *([INFER, STEP, PREPARE, ON_GPU.replace("cuda", other)] for other in ("cuda:1", "mps", "xpu:3")),
        [INFER, INFER, STEP, PREPARE],
    ],
)
def test_order_and_what_runs_on_a_gpu_make_no_difference(same: list[str]) -> None:
    assert grid_digest(same) == GRID


@pytest.mark.parametrize("other", [[INFER, STEP], [INFER, STEP, PREPARE, INFER.replace("b1]", "b32]")], []])
def test_another_benchmark_on_a_cpu_makes_another_digest(other: list[str]) -> None:
    assert grid_digest(other) != GRID


def test_what_a_machine_cannot_run_is_of_its_grid_too() -> None:
    """So that a CPU without bf16, or with a benchmark that fails, has no grid of its own."""
    record = Record(INFER, "made", (0.01,), {})
    skipped, failed = ((STEP, "no bf16 here"), (ON_GPU, "no GPU")), ((PREPARE, "error", "no file"),)
    run = Run(Path("a.json"), "2026-11-24", None, {}, None, (), skipped, failed, None, {}, (record,), "")
    assert grid_of(run) == GRID
