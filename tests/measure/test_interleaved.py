"""Tests of interleaved runtimes: the answers are their own, and who waits takes nothing."""

import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from rnncore.errors import RnncoreError, Unavailable
from rnncore.forecast.model import Forecaster, ForecasterConfig, new_forecaster, save_forecaster
from rnncore.forecast.windows import WindowConfig
from rnncore.measure import interleaved, worker
from rnncore.measure.interleaved import Interleaved, StoppedProcess, measure_interleaved
from rnncore.runtimes.export import export_onnx
from rnncore.runtimes.parity import float64_forecast

WINDOWS = WindowConfig(lookback=6)


@pytest.fixture(scope="module")
def model() -> Forecaster:
    return new_forecaster(ForecasterConfig("lstm", hidden_size=8), seed=0).eval()


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).random((4, 6, 5), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(model: Forecaster, inputs: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interleaved")
    save_forecaster(folder / worker.FORECASTER, model, WINDOWS, training={})
    export_onnx(model, folder / worker.ONNX_FILE, WINDOWS)
    save_file({worker.ARRAY: inputs}, folder / worker.INPUTS)
    return folder


def _state_and_cpu(process_id: int) -> tuple[str, int]:
    """Return the state of a process as Linux has it (T: stopped), and the clock ticks that it has used."""
    after_name = Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2].split()
    return after_name[0], int(after_name[11]) + int(after_name[12])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_idle_threads_that_spin_take_nothing_from_the_next(folder: Path) -> None:
    # ONNX Runtime's threads spin on for a while after a call.
    spinning = StoppedProcess(folder, ["onnxruntime", "cpu", "fp32", "2"])
    other = StoppedProcess(folder, ["torch", "cpu", "fp32", "1"])
    try:
        for _ in range(3):
            spinning.ask("round")
            before = _state_and_cpu(spinning.process.pid)
            other.ask("round")
            assert before[0] == "T"
            assert _state_and_cpu(spinning.process.pid) == before
            assert _state_and_cpu(other.process.pid)[0] == "T"
    finally:
        spinning.close()
        other.close()


def test_runtimes_have_as_many_rounds_and_give_their_own_answers(
    folder: Path, model: Forecaster, inputs: np.ndarray
) -> None:
    asked = {name: (name, "cpu", "fp32", "1") for name in ("torch", "onnxruntime")}
    found = measure_interleaved(folder, asked, seconds=0.0)
    exact = float64_forecast(model, inputs)
    for name, of_runtime in found.items():
        assert isinstance(of_runtime, Interleaved), name
        assert len(of_runtime.rounds_s) == interleaved.FEWEST_ROUNDS
        assert min(of_runtime.rounds_s) > 0
        assert of_runtime.first_call_s > 0
        assert np.abs(load_file(of_runtime.answer["output"])[worker.ARRAY] - exact).max() < 1e-5
    assert {name: one.kernel for name, one in found.items() if isinstance(one, Interleaved)} == {
        "torch": "oneDNN LSTM",
        "onnxruntime": "MLAS LSTM",
    }


def test_rounds_go_on_for_the_time_that_was_asked_for(folder: Path) -> None:
    began_s = time.perf_counter()
    (found,) = measure_interleaved(folder, {"torch": ("torch", "cpu", "fp32", "1")}, seconds=1.5).values()
    assert isinstance(found, Interleaved)
    assert time.perf_counter() - began_s > 1.5
    assert len(found.rounds_s) >= interleaved.FEWEST_ROUNDS


def test_a_runtime_that_is_unavailable_leaves_the_others_their_rounds(folder: Path) -> None:
    asked = {"torch": ("torch", "cpu", "fp32", "1"), "cuda": ("onnxruntime", "cuda", "tf32", "1")}
    found = measure_interleaved(folder, asked, seconds=0.0)
    assert isinstance(found["torch"], Interleaved)
    assert isinstance(found["cuda"], Unavailable)
    assert "has no CUDA" in str(found["cuda"])


def test_a_process_that_ends_says_why(tmp_path: Path) -> None:
    with pytest.raises(RnncoreError, match=r"the process of torch cpu fp32 1 ended: .*model\.safetensors: no such file"):
        StoppedProcess(tmp_path, ["torch", "cpu", "fp32", "1"])


ECHO = """
import sys
from rnncore.measure.asked import answering, say

with answering() as answers:
    say(answers, first_call_s=1.5, kernel=sys.argv[2], calls=1)
    for line in sys.stdin:
        say(answers, **({"seconds": 0.25} if line.strip() == "round" else {"said": f"{sys.argv[1]}, {line.strip()}"}))
"""


def test_processes_of_another_module_are_asked_alike_and_their_answers_are_kept(tmp_path: Path) -> None:
    (tmp_path / "echoing.py").write_text(ECHO, encoding="utf-8")
    asked = {name: (name,) for name in ("one", "other")}
    found = measure_interleaved(tmp_path, asked, 0.0, "echoing", {"PYTHONPATH": str(tmp_path)})
    assert found == {
        name: Interleaved(1.5, name, 1, {"said": f"{tmp_path}, answer"}, [0.25] * interleaved.FEWEST_ROUNDS)
        for name in asked
    }
