"""Tests that the page on own models and runtimes tells the truth: its code is taken from it and run as a user would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnncore.compare.runs import Record, read_run
from rnncore.errors import ConfigError
from rnncore.runtimes.own_model import load_own_model

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "bench" / "BRING_YOUR_OWN.md").read_text(encoding="utf-8")
MODEL, RUNTIME = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(ENTRY_POINT,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def _rows(folder: Path, *args: str) -> tuple[list[Record], str]:
    run_file = folder / "run.json"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "--rnn-scale=quick", "--rnn-device=cpu"]
    command += ["--rnn-data=synthetic", "--rnn-threads=1", "--benchmark-max-time=0.02", "--benchmark-min-rounds=1"]
    command += [f"--benchmark-storage={folder / 'storage'}", f"--benchmark-json={run_file}", *args]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return list(read_run(run_file).records), done.stdout


def test_the_page_s_model_is_measured_on_every_runtime_and_right(tmp_path: Path) -> None:
    (tmp_path / "my_model.py").write_text(MODEL)
    assert "pytest bench/bench_own_model.py --rnn-model my_model:make_forecaster" in PAGE
    records, _ = _rows(tmp_path, "bench/bench_own_model.py", "--rnn-model", "my_model:make_forecaster")
    assert {(record.extra["runtime"], record.extra["batch_size"]) for record in records} == {
        (runtime, batch_size) for runtime in ("torch", "onnxruntime") for batch_size in (1, 32)
    }
    for record in records:
        assert record.validity == "valid"
        assert record.extra["model"] == "my_model:make_forecaster"
        assert 0 < record.extra["parity_max_abs"] <= 1e-5


def test_the_page_s_runtime_stands_beside_the_others_and_is_right(tmp_path: Path) -> None:
    (tmp_path / "my_runtime.py").write_text(RUNTIME)
    name, value = re.findall(r'(\w+) = "(my_runtime:KIND)"', ENTRY_POINT)[0]
    # What pip writes for a package with that entry point.
    info = tmp_path / "my_runtime-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-runtime\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[rnncore.runtimes]\n{name} = {value}\n")
    records, output = _rows(tmp_path, "bench/bench_inference.py", "-k", "numpy")
    assert {(record.extra["cell"], record.extra["runtime"]) for record in records} == {("gru", "numpy")}
    assert all(record.validity == "valid" and record.extra["kernel"] == "NumPy GRU" for record in records)
    assert "this runtime has no LSTM." in output


def test_without_the_option_no_own_model_is_asked_for(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "bench/bench_own_model.py", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "1 deselected" in done.stdout


@pytest.mark.parametrize(
    ("name", "wording"),
    [
        ("my_model", "'my_model' names no factory"),
        ("no_such_module:make", "'no_such_module:make' cannot be imported: No module named 'no_such_module'"),
        ("made:missing", "'made:missing' cannot be imported: .*missing"),
        ("made:seven", "made:seven made a int; it must make a torch.nn.Module"),
    ],
)
def test_what_makes_no_model_is_refused(name: str, wording: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "made", raising=False)
    (tmp_path / "made.py").write_text("def seven():\n    return 7\n")
    with pytest.raises(ConfigError, match=wording):
        load_own_model(name, tmp_path)
