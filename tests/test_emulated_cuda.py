"""Tests on emulated devices, in sessions of their own: torch asks once in a process which devices there are."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.studies.first_gpu import write_few_hours
from rnncore.errors import Unavailable
from rnncore.runfile.read import read_run
from rnncore.runfile.record import EMULATED
from tests.command import Command
from tests.emulated_cuda.build import CUDA, OTHER, environment
from tests.kernels.test_vectors import REQUIRE_ENV

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[1]
PLUGIN = "tests.emulated_cuda.plugin"

# A plugin that leaves weights where they lie.
UNPACKED = """
def pytest_configure():
    from rnncore.runtimes import torch

    torch.pack_weights = lambda model: None
"""


# Rows of all suites that a GPU has, of few sizes.
ROWS = "(gru-torch and not tf32 and (b2048 or not fast)) or gather or (lstm-onnxruntime and b1-fast and not host)"


@pytest.fixture(scope="module", autouse=True)
def device() -> dict[str, str]:
    """Return the environment of processes with the device, once that is compiled; skip with the reason, or fail in CI."""
    try:
        return environment()
    except Unavailable as error:
        if os.environ.get(REQUIRE_ENV):
            pytest.fail(f"{error} ({REQUIRE_ENV} is set)")
        raise


def _python(
    *arguments: object, path: Path | None = None, cwd: Path = REPOSITORY, device: str = CUDA
) -> subprocess.CompletedProcess[str]:
    """Run Python, and what it starts, where there is a device; *path* is where further modules lie."""
    found = environment(device)
    modules = os.pathsep.join(filter(None, (found["PYTHONPATH"], str(path or ""))))
    env = {**os.environ, **found, "PYTHONPATH": modules, "PYTHONUTF8": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, encoding="utf-8", check=False, timeout=1800)


def _session(*arguments: str, path: Path | None = None, device: str = CUDA) -> subprocess.CompletedProcess[str]:
    """Run pytest on a device."""
    return _python("-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "-q", *arguments, path=path, device=device)


def _passed(*arguments: str, device: str = CUDA) -> int:
    """Return how many tests of a session passed, if all did and none was skipped."""
    done = _session(*arguments, device=device)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = dict(re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1].split(" in ")[0]))
    assert set(found.values()) <= {"passed", "deselected", "warning", "warnings"}, done.stdout
    return int(next(count for count, what in found.items() if what == "passed"))


def test_what_runs_on_a_device_is_placed_counted_and_right() -> None:
    assert _passed("tests/emulated_cuda/on_device.py") >= 30


def test_tests_that_need_a_gpu_pass_on_it() -> None:
    needing = "on_cuda_gives_the_outputs or training_on_cuda_follows"
    assert _passed("tests/runtimes/test_base.py", "tests/forecast/test_fit.py", "-k", needing) == 6


FULL = (
    "bench/bench_inference.py::test_forecast[gru-torch-graph-cuda-fp32-b1-host]",
    "bench/bench_inference.py::test_forecast[gru-torch-cuda-bf16-b1-pinned]",
    "bench/bench_inference.py::test_forecast[lstm-torch-without_cudnn-cuda-fp32-b1]",
    "bench/bench_inference.py::test_forecast[lstm-onnxruntime-graph-cuda-tf32-b1-host]",
    "bench/bench_training.py::test_train_step[gru-torch-graph-cuda-amp_fp16-b64]",
    "bench/bench_streaming.py::test_next_hour[lstm-torch-cuda-fp32-b1-host]",
    "bench/bench_serving.py::test_serve[gru-torch-cuda-fp32-b1-host]",
    "bench/bench_serving.py::test_serve[gru-onnxruntime-cuda-fp32-b1-host]",
)
# With Triton installed the first is compiled, for which there is no such device.
HAS_TRITON = importlib.util.find_spec("triton") is not None
NOT_INSTALLED = tuple(
    f"bench/bench_inference.py::test_forecast[gru-{way}-b1]"
    for way in ("torch-compile-cuda-fp32", "onnxruntime-tensorrt-cuda-fp16")
)


@pytest.fixture(scope="module")
def full_scale(device: dict[str, str], few_zones: Path) -> str:
    """Return what a session said that checked rows of the full scale, among them some of what is not installed."""
    rows = (*FULL, *(() if HAS_TRITON else NOT_INSTALLED))
    done = _session(*rows, *_on_few(few_zones), "--rnn-device", "cuda", "--rnn-scale", "full", "--benchmark-disable")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def _on_few(zones: Path) -> tuple[str, str]:
    return "--rnn-data", str(zones)


def test_rows_of_the_full_scale_are_checked_as_usual_ones(full_scale: str) -> None:
    assert f"{len(FULL)} passed" in full_scale.splitlines()[-1]


@pytest.mark.skipif(HAS_TRITON, reason="Triton is installed, which has no such device")
def test_rows_of_what_is_not_installed_are_skipped_with_the_reason(full_scale: str) -> None:
    assert f"{len(NOT_INSTALLED)} skipped" in full_scale.splitlines()[-1]
    assert "torch.compile needs Triton for a GPU" in full_scale
    assert "has no TensorRT: install onnxruntime-gpu" in full_scale


def test_a_device_that_no_code_here_names_works() -> None:
    assert _passed("tests/emulated_cuda/on_other_device.py", device=OTHER) >= 15


def test_suites_take_a_device_that_no_code_here_names_and_the_second_of_several(few_zones: Path) -> None:
    which = ("--rnn-scale", "quick", "--benchmark-disable", "-k", "torch and (b32 or b2048) or gather")
    rows = ("bench/", *which, *_on_few(few_zones))
    assert _passed(*rows, "--rnn-device", OTHER, device=OTHER) >= 6
    assert _passed(*rows, "--rnn-device", f"{CUDA}:1") >= 6


def test_a_reproduction_on_an_emulated_device_is_said_to_be_one(tmp_path: Path) -> None:
    write_few_hours(tmp_path / "few.csv")
    asked = ("--data", "few.csv", "--device", f"{CUDA}:1", "--max-steps", 1, "--out", "made")
    done = _python("-m", "rnncore", "reproduce", *asked, cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    page = (tmp_path / "made/reproduction.md").read_text(encoding="utf-8")
    assert "**Emulated: the device was made by tests, and its times are no measurement.**" in page
    assert f"trained on {CUDA}:1 in fp32" in page


@pytest.fixture(scope="module")
def measured(device: dict[str, str], few_zones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run file of a session of the suites, which had ceilings, energy, profiles, a journal and a report."""
    folder = tmp_path_factory.mktemp("emulated")
    quick = ("--rnn-device", "cuda", "--rnn-scale", "quick", "--rnn-profile", "-k", ROWS)
    kept = ("--benchmark-autosave", f"--benchmark-storage={folder}", f"--rootdir={folder}", "-c", "pyproject.toml")
    brief = ("--benchmark-max-time=0.02", "--benchmark-min-rounds=2")
    done = _session("bench/", *quick, *kept, *brief, *_on_few(few_zones))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "Report: " in done.stdout
    (found,) = folder.glob("*/0001_*.json")
    return found


def test_rows_of_all_suites_are_right_and_marked_as_those_of_no_gpu(measured: Path) -> None:
    run = read_run(measured)
    assert {record.phase for record in run.records} == {"infer", "accuracy", "train", "data"}
    assert {record.clock for record in run.phase("infer")} == {"device", "host"}
    assert not run.failed
    assert {record.validity for record in run.records} == {EMULATED}
    assert run.fingerprint["gpu"]["name"] == "emulated GPU"
    (forward,) = (one for one in run.records if "[gru-torch-cuda-fp32-b32]" in one.fullname and one.phase == "infer")
    assert forward.kernel == "cuDNN standard"
    assert forward.profile is not None
    for fact in (
        "joules_per_1000",
        "peak_device_bytes",
        "process_device_bytes",
        "gemm_ceiling_pct",
        "recurrent_ceiling_pct",
    ):
        assert forward.facts[fact] is not None, (fact, forward.why(fact))


def test_no_report_ranks_what_is_emulated_and_it_says_why(measured: Path, rnncore: Command, tmp_path: Path) -> None:
    assert rnncore("report", measured, "--out", tmp_path).code == 0
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    verdict = report.split("## Verdict")[1].split("\n## ")[0]
    assert "0 benchmarks were measured" in verdict
    assert "is fastest:" not in report
    assert f"invalid: {EMULATED}" in report


def test_no_comparison_nor_choice_is_made_of_what_is_emulated(measured: Path, rnncore: Command) -> None:
    compared = rnncore("compare", measured, measured, "--json")
    assert compared.code == 3
    assert {one["verdict"] for one in compared.json["benchmarks"]} == {"not judged"}
    assert EMULATED in compared.out
    recommended = rnncore("recommend", measured)
    assert recommended.code == 2
    assert "no valid inference row" in recommended.said


def test_a_training_on_a_gpu_is_stopped_and_resumed_and_scored_by_the_verbs(tmp_path: Path, few_zones: Path) -> None:
    model = tmp_path / "gru.safetensors"
    train = ("train", "--data", few_zones, "--lookback", 6, "--batch-size", 64, "--device", "cuda", "--out", model)
    for arguments in (
        (*train, "--max-steps", 3),
        (*train, "--max-steps", 5, "--resume"),
        ("evaluate", model, "--data", few_zones, "--device", "cuda"),
    ):
        done = _python("-m", "rnncore", *arguments, cwd=tmp_path)
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"


def test_a_row_whose_weights_are_packed_in_every_call_fails(tmp_path: Path, few_zones: Path) -> None:
    (tmp_path / "unpacked.py").write_text(UNPACKED, encoding="utf-8")
    row = "bench/bench_inference.py::test_forecast[gru-torch-cuda-bf16-b1]"
    asked = ("--rnn-device", "cuda", "--benchmark-disable", *_on_few(few_zones))
    done = _session(row, "-p", "unpacked", *asked, path=tmp_path)
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    assert "RNN module weights are not part of single contiguous chunk of memory" in done.stdout
