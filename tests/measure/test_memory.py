"""Tests of memory: of a process that only serves, whatever ran before, and of a device, of a block and no other."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.forecast.windows import WindowConfig
from rnncore.measure import linux, memory
from rnncore.measure.asked import AskedProcess
from rnncore.measure.linux import status_bytes
from rnncore.measure.memory import Served, ServingMemory, peak_device_memory
from rnncore.runtimes.catalog import runtime_kinds
from rnncore.runtimes.export import export_onnx

pytest_plugins = ["pytester"]

MIB = 1 << 20

# What two measurements of one thing may differ by: pages that one touched and the other did not.
NEAR = 2 * MIB

# A runtime of another package that takes 64 MiB for each eight windows, and in some precisions goes wrong.
HUNGRY = """
import os
import signal
import time

import numpy as np

from rnncore.errors import Unavailable
from rnncore.runtimes.base import Runtime, RuntimeKind


class Hungry(Runtime):
    def __init__(self, source, device, precision, threads):
        self.precision = precision
        if precision == "unavailable":
            raise Unavailable("no made driver: install it.")

    def bind(self, inputs):
        self.inputs = inputs

    def run(self):
        print("said by a library")
        if self.precision == "crashes":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.precision == "hangs":
            time.sleep(60)
        if self.precision == "fails":
            raise ValueError("a made fault")
        held = b"1" * (len(self.inputs) // 8 * (64 << 20))
        del held

    def output(self):
        return np.zeros((len(self.inputs), 1), dtype=np.float32)

    def evidence(self, trace=None):
        raise NotImplementedError

    def close(self):
        pass


PRECISIONS = ("fp32", "unavailable", "crashes", "hangs", "fails")
KIND = RuntimeKind(open=Hungry, precisions={"cpu": PRECISIONS, "cuda": ("fp32",)}, reads="onnx")
"""

needs_linux = pytest.mark.skipif(status_bytes("VmHWM") is None, reason="only Linux tells the peak of a process")


def install_hungry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write what pip writes for a package with that runtime; return a file that it opens."""
    (folder / "hungry.py").write_text(HUNGRY)
    info = folder / "hungry-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hungry\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rnncore.runtimes]\nhungry = hungry:KIND\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    runtime_kinds.cache_clear()
    model = folder / "model.onnx"
    model.touch()
    return model


@pytest.fixture
def hungry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    yield install_hungry(tmp_path, monkeypatch)
    runtime_kinds.cache_clear()
    sys.modules.pop("hungry", None)


@pytest.fixture
def serving() -> Any:
    measured = ServingMemory()
    yield measured
    measured.close()


def _hungry(batch_size: int, precision: str = "fp32", device: str = "cpu") -> Served:
    return Served("hungry", device, precision, 1, (batch_size, 4, 5))


def _bytes(facts: dict[str, Any], key: str) -> int:
    assert f"{key}_why" not in facts
    value = facts[key]
    assert isinstance(value, int)
    return value


# ------------------------------------------------------------------------------------------------ a process that serves


@needs_linux
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_models_share_is_what_it_takes_and_no_more(hungry: Path, serving: ServingMemory, device: str) -> None:
    small, large = (serving.of(_hungry(size, device=device), hungry) for size in (1, 8))
    assert 0 <= _bytes(small, "model_rss_bytes") < 8 * MIB
    for key in ("model_rss_bytes", "peak_rss_bytes"):
        assert _bytes(large, key) - _bytes(small, key) == pytest.approx(64 * MIB, abs=NEAR)
    # The interpreter and NumPy, and not the hundreds of MiB of this process.
    assert 5 * MIB < _bytes(small, "peak_rss_bytes") < 80 * MIB


@needs_linux
def test_neither_order_nor_what_this_process_holds_is_seen(hungry: Path, serving: ServingMemory) -> None:
    after_large = [serving.of(_hungry(size), hungry) for size in (16, 1, 8)][1:]
    held = b"1" * (300 * MIB)
    anew = ServingMemory()
    try:
        alone = [anew.of(_hungry(size), hungry) for size in (1, 8)]
    finally:
        anew.close()
    del held
    for one, other in zip(after_large, alone, strict=True):
        for key in ("model_rss_bytes", "peak_rss_bytes"):
            assert _bytes(one, key) == pytest.approx(_bytes(other, key), abs=NEAR)


FRESH = """
import sys
from pathlib import Path
import numpy as np
from rnncore.measure.linux import status_bytes
from rnncore.runtimes.catalog import open_runtime
with open_runtime("onnxruntime", Path(sys.argv[1]), "cpu", "fp32", 1) as runtime:
    runtime.predict(np.full((32, 6, 5), 0.5, dtype=np.float32))
print(status_bytes("VmHWM"))
"""


@needs_linux
def test_a_copy_needs_what_a_process_does_that_was_started_for_it(tmp_path: Path, serving: ServingMemory) -> None:
    model, path = new_forecaster(ForecasterConfig("lstm", hidden_size=128), seed=0).eval(), tmp_path / "lstm.onnx"
    export_onnx(model, path, WindowConfig(lookback=6))
    done = subprocess.run([sys.executable, "-c", FRESH, str(path)], capture_output=True, text=True, check=True)
    found = serving.of(Served("onnxruntime", "cpu", "fp32", 1, (32, 6, 5)), path)
    # In pages of code, which `served` has to see to, a copy would differ by a third.
    assert _bytes(found, "peak_rss_bytes") == pytest.approx(int(done.stdout), rel=0.1)
    assert _bytes(found, "model_rss_bytes") < _bytes(found, "peak_rss_bytes") / 2


@needs_linux
def test_forecasters_of_one_size_are_measured_once_and_others_anew(
    serving: ServingMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, tell = [], AskedProcess.tell

    def noted(process: AskedProcess, line: str) -> None:
        asked.append(line)
        tell(process, line)

    monkeypatch.setattr(AskedProcess, "tell", noted)
    question = Served("torch", "cpu", "fp32", 1, (2, 6, 5))
    small, other_weights = (new_forecaster(ForecasterConfig("gru", hidden_size=8), seed) for seed in (0, 1))
    large = new_forecaster(ForecasterConfig("gru", hidden_size=1024), seed=0)
    first, again, larger = (serving.of(question, model) for model in (small, other_weights, large))
    assert again == first
    assert len(asked) == 2
    # Two layers of 3 x 1024 x 1024 weights and more.
    assert _bytes(larger, "model_rss_bytes") - _bytes(first, "model_rss_bytes") > 4 * 9 * 1024 * 1024


@needs_linux
@pytest.mark.parametrize(
    ("precision", "why"),
    [
        ("unavailable", "no made driver: install it."),
        ("crashes", "the process was ended by SIGSEGV"),
        ("hangs", "the process took longer than 1 s"),
        ("fails", "the process ended with exit code 1: ValueError: a made fault"),
    ],
)
def test_what_goes_wrong_is_the_reason_and_the_next_is_measured(
    hungry: Path, serving: ServingMemory, precision: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LIMIT_S", 1)
    assert serving.of(_hungry(1, precision), hungry) == {
        "peak_rss_bytes": None,
        "peak_rss_bytes_why": why,
        "model_rss_bytes": None,
        "model_rss_bytes_why": why,
        "process_device_bytes": None,
        "process_device_bytes_why": why,
    }
    monkeypatch.setattr(memory, "LIMIT_S", 60)
    assert _bytes(serving.of(_hungry(1), hungry), "peak_rss_bytes") > 5 * MIB


@needs_linux
def test_a_process_that_ended_is_the_reason_and_another_takes_its_place(hungry: Path, serving: ServingMemory) -> None:
    serving.of(_hungry(1), hungry)
    for process in serving._processes.values():
        process.process.kill()
        process.process.wait()
    assert "the process of serving ended" in str(serving.of(_hungry(2), hungry)["peak_rss_bytes_why"])
    assert _bytes(serving.of(_hungry(3), hungry), "peak_rss_bytes") > 5 * MIB


@needs_linux
def test_a_question_that_was_broken_off_is_not_answered_to_the_next(
    hungry: Path, serving: ServingMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(process: AskedProcess) -> dict[str, Any]:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken_off:
        broken_off.setattr(AskedProcess, "answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            serving.of(_hungry(16), hungry)
    assert _bytes(serving.of(_hungry(1), hungry), "model_rss_bytes") < 8 * MIB


def test_a_system_that_tells_no_peak_says_so_and_starts_nothing(
    tmp_path: Path, serving: ServingMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "PROC", tmp_path)
    monkeypatch.setattr(memory, "AskedProcess", None)
    assert status_bytes("VmHWM") is None
    facts = serving.of(_hungry(1), tmp_path / "model.onnx")
    assert facts["peak_rss_bytes"] is facts["model_rss_bytes"] is None
    assert facts["peak_rss_bytes_why"] == facts["model_rss_bytes_why"] == f"{tmp_path}/self/status tells no peak"


@needs_linux
def test_a_module_that_no_file_holds_says_so(serving: ServingMemory) -> None:
    facts = serving.of(Served("torch", "cpu", "fp32", 1, (1, 4, 5)), nn.Linear(5, 1))
    assert facts["peak_rss_bytes"] is None
    assert facts["peak_rss_bytes_why"] == "the model is not of ours, and in no file that another process could open"


@needs_linux
def test_closing_ends_the_processes_and_leaves_no_file(serving: ServingMemory) -> None:
    serving.of(Served("torch", "cpu", "fp32", 1, (1, 4, 5)), new_forecaster(ForecasterConfig("gru", hidden_size=8), 0))
    assert serving._folder is not None
    (process,), folder = serving._processes.values(), Path(serving._folder.name)
    assert [*folder.iterdir()]
    serving.close()
    assert process.process.poll() is not None
    assert not folder.exists()


# -------------------------------------------------------------------------------------------------------- rows of a session

ROWS = """
from pathlib import Path

import pytest

from rnncore.runfile.case import Case

HELD = []


def choose(scale):
    return [Case("infer", "gru", 8, 1, 4, batch_size=size, runtime="hungry") for size in (1, 8)]


@pytest.mark.rnn_cases(choose=lambda scale: [Case("data", runtime="rnncore", precision=None)])
def test_that_takes_300_mib(rnn_case, rnn_benchmark):
    HELD.append(b"1" * (300 << 20))
    rnn_benchmark(lambda: None, windows=1, group="data")


@pytest.mark.rnn_cases(choose=choose)
def test_forecast(rnn_case, rnn_benchmark):
    rnn_benchmark(lambda: None, windows=1, group="mine")
    rnn_benchmark.record_memory(Path("model.onnx"), (rnn_case.batch_size, 4, 5))


@pytest.mark.rnn_cases(choose=choose)
def test_that_says_nothing(rnn_case, rnn_benchmark):
    rnn_benchmark(lambda: None, windows=1, group="mine")
"""

BIG = "test_that_takes_300_mib[rnncore-cpu]"
FIRST, SECOND = (f"test_forecast[gru-hungry-cpu-fp32-b{size}-h8-l1-t4]" for size in (1, 8))


@needs_linux
def test_a_rows_memory_is_the_same_in_any_order_and_alone(pytester: pytest.Pytester, hungry: Path) -> None:
    pytester.makepyfile(bench_memory=ROWS)
    pytester.path.joinpath("model.onnx").touch()

    def rows(*names: str) -> dict[str, dict[str, Any]]:
        asked = [f"bench_memory.py::{name}" for name in names] or ["bench_memory.py"]
        options = ("-p", "no:randomly", "--rnn-scale=gate", "--benchmark-max-time=0.001", "--benchmark-json=run.json")
        done = pytester.runpytest_subprocess(*asked, *options)
        done.assert_outcomes(passed=len(names) or 5)
        content = json.loads(pytester.path.joinpath("run.json").read_text())
        return {entry["name"]: entry["extra_info"] for entry in content["benchmarks"]}

    every, turned, alone = rows(), rows(SECOND, FIRST), rows(SECOND)
    for key in ("peak_rss_bytes", "model_rss_bytes"):
        for name in (FIRST, SECOND):
            assert _bytes(every[name], key) == pytest.approx(_bytes(turned[name], key), abs=NEAR)
        assert _bytes(every[SECOND], key) == pytest.approx(_bytes(alone[SECOND], key), abs=NEAR)
        assert every[BIG][key] is None
        assert every[BIG][f"{key}_why"] == "the data path serves no model"
        silent = every[FIRST.replace("test_forecast", "test_that_says_nothing")]
        assert (silent[key], silent[f"{key}_why"]) == (None, "the benchmark did not record it")


# ------------------------------------------------------------------------------------------------------- memory of a device


@pytest.fixture
def planted_cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Plant torch's count of device memory; returns its peak, which a reset sets to what is held now."""
    count = {"held": 1 << 20, "peak": 1 << 33, "resets": 0}

    def reset(device: object) -> None:
        count.update(peak=count["held"], resets=count["resets"] + 1)

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: count["peak"])
    return count


@pytest.mark.parametrize("runtime", ["torch", "article", "a loop of somebody's"])
def test_torch_counts_the_device_memory_of_the_block_alone(runtime: str, planted_cuda: dict[str, int]) -> None:
    with peak_device_memory("cuda", runtime) as facts:
        assert facts == {}
        planted_cuda["peak"] = max(planted_cuda["peak"], 3 << 20)
    assert facts == {"peak_device_bytes": 3 << 20}
    assert planted_cuda["resets"] == 1


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_runtime_that_does_not_count_its_device_memory_says_so(runtime: str, planted_cuda: dict[str, int]) -> None:
    with peak_device_memory("cuda", runtime) as facts:
        pass
    why = f"{runtime} does not count its device memory"
    assert facts == {"peak_device_bytes": None, "peak_device_bytes_why": why}
    assert planted_cuda["resets"] == 0


def test_on_the_cpu_there_is_no_device_memory() -> None:
    with peak_device_memory("cpu", "torch") as facts:
        pass
    assert facts == {"peak_device_bytes": None, "peak_device_bytes_why": "runs on the CPU"}


def test_a_block_that_fails_raises_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError), peak_device_memory("cpu", "torch"):
        _ = 1 / 0
