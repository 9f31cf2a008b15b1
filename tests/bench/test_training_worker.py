"""Tests of the process of an interleaved training: it trains in the mode that it is asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.training_worker import save_dataset
from rnncore.forecast.series import Dataset

REPOSITORY = Path(__file__).parents[2]


def test_a_mode_that_the_device_does_not_have_is_told_and_no_other_taken(small_dataset: Dataset, tmp_path: Path) -> None:
    save_dataset(small_dataset, tmp_path)
    command = [
        sys.executable,
        "-m",
        "bench.training_worker",
        str(tmp_path),
        "gru",
        "torch",
        "cpu",
        "fp32",
        "1",
        "4",
        "graph",
    ]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, input="", capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert "no CUDA graph on cpu" in json.loads(done.stdout.splitlines()[-1])["unavailable"]
