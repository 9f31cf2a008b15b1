"""Tests on an emulated CUDA device, in sessions of their own: torch asks once in a process which devices there are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulated_cuda.build import device_library, driver_library

REPOSITORY = Path(__file__).parents[1]
PLUGIN = "tests.emulated_cuda.plugin"

# A plugin that leaves weights where they lie.
UNPACKED = """
def pytest_configure():
    from rnncore.runtimes import torch

    torch.pack_weights = lambda model: None
"""


@pytest.fixture(scope="module", autouse=True)
def _device() -> None:
    """Compile the device and its driver, or skip with the reason."""
    device_library()
    driver_library()


def _session(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run pytest on the device; *path* is where further plugins lie."""
    command = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "-q", *arguments]
    # The loader asks for it as a process starts.
    libraries = os.pathsep.join(filter(None, (str(driver_library().parent), os.environ.get("LD_LIBRARY_PATH"))))
    modules = os.pathsep.join(filter(None, (str(path or ""), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "LD_LIBRARY_PATH": libraries, "PYTHONPATH": modules}
    return subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, encoding="utf-8", check=False, timeout=600)


def _passed(*arguments: str) -> int:
    """Return how many tests of a session passed, if all did and none was skipped."""
    done = _session(*arguments)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = dict(re.findall(r"(\d+) (\w+)", done.stdout.splitlines()[-1].split(" in ")[0]))
    assert set(found.values()) <= {"passed", "deselected", "warning", "warnings"}, done.stdout
    return int(next(count for count, what in found.items() if what == "passed"))


def test_what_runs_on_a_device_is_placed_counted_and_right() -> None:
    assert _passed("tests/emulated_cuda/on_device.py") >= 30


def test_tests_that_need_a_gpu_pass_on_it() -> None:
    needing = "on_cuda_gives_the_outputs or training_on_cuda_follows"
    assert _passed("tests/runtimes/test_base.py", "tests/forecast/test_fit.py", "-k", needing) == 6


def test_suites_check_every_row_of_a_gpu_on_it() -> None:
    suites = [f"bench/bench_{name}.py" for name in ("inference", "training", "data", "accuracy")]
    assert _passed(*suites, "--rnn-device", "cuda", "--rnn-scale", "gate", "--benchmark-disable") >= 10


def test_a_row_whose_weights_are_packed_in_every_call_fails(tmp_path: Path) -> None:
    (tmp_path / "unpacked.py").write_text(UNPACKED, encoding="utf-8")
    row = "bench/bench_inference.py::test_forecast[gru-torch-cuda-bf16-b1]"
    done = _session(row, "-p", "unpacked", "--rnn-device", "cuda", "--benchmark-disable", path=tmp_path)
    assert done.returncode == 1, f"{done.stdout}\n{done.stderr}"
    assert "RNN module weights are not part of single contiguous chunk of memory" in done.stdout
