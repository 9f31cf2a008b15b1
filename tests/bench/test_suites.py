"""Tests of the project's own suites, run as a user runs them: with the true code, and with faults planted in it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnncore.compare.judge import Side, judge
from rnncore.compare.thresholds import Thresholds
from rnncore.forecast.device import usable_threads
from rnncore.kernels.forward import forward_kernel
from rnncore.kernels.layers import fused_kernels
from rnncore.report.page import render, write_report
from rnncore.runfile.grid import grid_digest, grid_of
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Run
from tests.run_files import FACTS

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[2]

TORCH = "bench/bench_inference.py::test_forecast[gru-torch-cpu-fp32-b1]"
ONNX = "bench/bench_inference.py::test_forecast[gru-onnxruntime-cpu-fp32-b1]"
STEP = "bench/bench_training.py::test_train_step[gru-torch-cpu-fp32-b32]"
OURS = "bench/bench_training.py::test_train_step[lstm-rnncore-cpu-fp32-b32]"
LOOP = "bench/bench_training.py::test_train_step[gru-article-cpu-fp32-b32]"
PREPARE = "bench/bench_data.py::test_prepare[rnncore-cpu]"
GATHER = "bench/bench_data.py::test_gather_batch[torch-cpu-b32]"
SCORE = "bench/bench_accuracy.py::test_score_batch[gru-onnxruntime-cpu-fp32-b2048-fast]"
EVERY = (TORCH, ONNX, STEP, OURS, PREPARE, GATHER, SCORE)

FORWARD = "bench/bench_inference.py::test_forecast[lstm-rnncore-cpu-fp32-b32]"
STREAM = "bench/bench_streaming.py::test_next_hour[gru-rnncore-cpu-fp32-b1-fast]"
INTERLEAVED_ROW = "bench/bench_interleaved.py::test_forecast_interleaved[gru-%s-cpu-fp32-b1]"
INTERLEAVED = (INTERLEAVED_ROW % "torch", INTERLEAVED_ROW % "rnncore")
INTERLEAVED_STEP = "bench/bench_interleaved.py::test_train_step_interleaved[gru-%s-cpu-fp32-b32]"
INTERLEAVED_STEPS = tuple(INTERLEAVED_STEP % name for name in ("torch", "rnncore", "article"))
SERVE = "bench/bench_serving.py::test_serve[gru-rnncore-cpu-fp32-b32]"
# Where two processes would share a CPU they tell nothing.
SCALING = ("bench/bench_scaling.py::test_train_step_scaling[gru-rnncore-cpu-fp32-b32-1threads-2devices]",)
SCALING = SCALING if usable_threads() > 1 else ()
HONEST = (*EVERY, LOOP, FORWARD, STREAM, *INTERLEAVED, *INTERLEAVED_STEPS, SERVE, *SCALING)

# Real ceilings, warm-up, probes of a server and pytest-benchmark's look at the CPU take a minute. They are real in tests of
# the plugin, and in the run of the suites that CI makes.
BRIEF = """
import pytest_benchmark.plugin

from rnncore.measure import ceilings, rates, serving
from rnncore.measure import row as benchmark

pytest_benchmark.plugin.get_cpu_info = dict
benchmark.WARM_UP_S = 0.02
rates.MEASURED_S = rates.CONFIRMED_WITHIN_S = 0.001
rates.PEAK_CALL_S = 1e-5
rates.SQUARE_SIZES = {"cpu": (64,)}
rates.COPIED_BYTES = {"cpu": 1 << 20}
ceilings.CONFIRMING_S = 0.01
serving.MIN_S = 0.25
"""

# Wrong answers in four places, none of which makes anything slower: only a look at the answers can see them.
PLANT = """
import numpy as np
import onnx
from onnx import numpy_helper

from bench.article import preprocessing as reference_preprocessing
from rnncore.forecast.trainer import ResidentWindows, Trainer
from rnncore.runtimes import export

true_export, true_step, true_inputs = export.export_onnx, Trainer.train_step, ResidentWindows.inputs


def export_a_scaled_weight(model, path, windows):
    found = true_export(model, path, windows)
    graph = onnx.load(path)
    recurrent = next(node for node in graph.graph.node if node.op_type == "GRU").input[2]
    for tensor in graph.graph.initializer:
        if tensor.name == recurrent:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), recurrent))
    onnx.save(graph, path)
    return found


def step_with_scaled_gradients(trainer, start, step):
    loss = true_step(trainer, start, step)
    for weights in trainer.model.parameters():
        weights.grad.mul_(1.01)
    return loss


export.export_onnx = export_a_scaled_weight
Trainer.train_step = step_with_scaled_gradients
ResidentWindows.inputs = lambda windows, start: true_inputs(windows, start + 1)
reference_preprocessing.PREPARE["rnncore"] = lambda folder: (12, 3)
"""


def _suites(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run suites of this repository without writing into it."""
    (folder / "brief.py").write_text(BRIEF, encoding="utf-8")
    # One thread: beside other work on the machine, two that wait for each other are up to a hundred times slower.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "brief", "--tb=short", "--rnn-threads=1"]
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*command, *args], cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=300, check=False
    )


def _session(folder: Path, *args: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run suites and save the run; return how it went, and the run file's content."""
    run_file = folder / "run.json"
    saved = (f"--benchmark-storage={folder / 'storage'}", f"--benchmark-json={run_file}")
    brief = ("--benchmark-max-time=0.02", "--benchmark-min-rounds=1")
    done = _suites(folder, "--rnn-scale=quick", "--rnn-device=cpu", *saved, *brief, *args)
    assert run_file.exists(), done.stdout + done.stderr
    return done, json.loads(run_file.read_text(encoding="utf-8"))


def _record(run: Run, fullname: str) -> Record:
    found = [record for record in run.records if record.fullname == fullname]
    if not found:
        _need_kernels()
    (record,) = found
    return record


def _need_kernels() -> None:
    """Skip a test of rows of our own kernels where they cannot be made, with what is missing."""
    forward_kernel()
    fused_kernels()


# -------------------------------------------------------------------------------------------------------- the true code


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, few_zones: Path) -> Run:
    """A run of one or two rows of every suite."""
    folder = tmp_path_factory.mktemp("honest")
    asked = (f"--rnn-data={few_zones}", "--rnn-interleaved", "--rnn-scaling", "--rnn-server-p99-ms=1000")
    done, _ = _session(folder, *HONEST, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Report: " not in done.stdout
    assert not list(folder.glob("storage/journal/*"))
    return read_run(folder / "run.json")


def test_every_row_of_every_suite_is_valid(honest: Run) -> None:
    if len(honest.records) < len(HONEST):
        _need_kernels()
    assert {record.fullname: record.facts["validity"] for record in honest.records} == dict.fromkeys(HONEST, "valid")


def test_every_row_of_every_suite_says_every_fact_or_why_it_does_not(honest: Run) -> None:
    for record in honest.records:
        for key in FACTS:
            assert key in record.facts, f"{record.short_name} is silent on {key}"
            unknown = record.facts[key] is None or record.facts[key] is False
            assert unknown == bool(record.facts.get(f"{key}_why")), f"{key} of {record.short_name}"
            assert record.facts.get(f"{key}_why") != "the benchmark did not record it", f"{key} of {record.short_name}"


@pytest.mark.parametrize(
    ("fullname", "kernel"),
    [
        (TORCH, "ATen loop"),
        (ONNX, "MLAS GRU"),
        (STEP, "ATen loop"),
        (OURS, "rnncore LSTM"),
        (LOOP, "ATen loop"),
        (SCORE, "MLAS GRU"),
        (GATHER, "ATen index"),
        (PREPARE, "rnncore _read_by_pyarrow"),
        (FORWARD, "rnncore LSTM"),
        (STREAM, "rnncore GRU"),
        (INTERLEAVED[0], "ATen loop"),
        (INTERLEAVED[1], "rnncore GRU"),
        (INTERLEAVED_STEPS[0], "ATen loop"),
        (INTERLEAVED_STEPS[1], "rnncore GRU"),
        (INTERLEAVED_STEPS[2], "ATen loop"),
        (SERVE, "rnncore GRU"),
        *((fullname, "rnncore GRU") for fullname in SCALING),
    ],
)
def test_every_suite_tells_what_ran(fullname: str, kernel: str, honest: Run) -> None:
    assert _record(honest, fullname).facts["kernel"].startswith(kernel)


@pytest.mark.parametrize("fullname", [TORCH, ONNX, STEP, OURS, LOOP, SCORE, FORWARD, *INTERLEAVED, *INTERLEAVED_STEPS])
def test_a_row_with_a_recurrent_layer_tells_its_bound_and_its_shares_of_the_ceilings(fullname: str, honest: Run) -> None:
    extra = _record(honest, fullname).facts
    assert extra["bound"] in ("latency", "cache", "compute", "bandwidth")
    for key in ("gemm_ceiling_pct", "recurrent_ceiling_pct", "bandwidth_ceiling_pct", "gflop_per_s", "us_per_step"):
        assert extra[key] > 0


def test_the_data_path_is_bound_by_copying_memory_or_says_what_else(honest: Run) -> None:
    assert _record(honest, GATHER).facts["bound"] == "bandwidth"
    assert _record(honest, PREPARE).facts["bound_why"] == "bound by reading text"


def test_answers_are_held_against_float64_and_the_runtimes_agree_on_the_smape(honest: Run) -> None:
    for fullname in (
        TORCH,
        ONNX,
        SCORE,
        STEP,
        OURS,
        LOOP,
        FORWARD,
        STREAM,
        *INTERLEAVED,
        *INTERLEAVED_STEPS,
        SERVE,
        *SCALING,
    ):
        extra = _record(honest, fullname).facts
        assert 0 < extra["parity_max_abs"] <= extra["parity_tolerance"]
    for fullname in (TORCH, ONNX, SCORE, FORWARD, *INTERLEAVED, SERVE):
        extra = _record(honest, fullname).facts
        assert extra["smape"] == pytest.approx(extra["smape_torch_fp32"], abs=1e-4)
    assert _record(honest, GATHER).facts["parity_max_abs"] == 0


def test_the_run_tells_data_providers_ceilings_and_what_the_session_cost(honest: Run, few_zones: Path) -> None:
    assert honest.data is not None
    assert honest.data["name"] == few_zones.name
    assert honest.session["execution_providers"] == ["CPUExecutionProvider"]
    assert honest.ceilings is not None
    _need_kernels()
    shapes = {(entry["batch_size"], entry["hidden_size"], entry["gates"]) for entry in honest.ceilings["recurrent"]}
    assert shapes == {(1, 256, 3), (32, 256, 3), (32, 256, 4), (1, 64, 3), (2048, 64, 3)}
    parts_s = honest.session["overhead"]["parts_s"]
    assert {"exports", "ceilings", "evidence of the path"} <= parts_s.keys()
    assert honest.session["overhead"]["trainings_s"] >= _record(honest, SCORE).facts["training"]["seconds"]
    assert {"memory in a fresh process", "first calls and warm-up"} <= parts_s.keys()
    assert min(parts_s.values()) >= 0


def test_rows_tell_the_memory_of_a_process_that_only_serves_the_same_for_the_same_model_and_batch(honest: Run) -> None:
    if _record(honest, TORCH).process_bytes is None:
        pytest.skip(_record(honest, TORCH).facts["peak_rss_bytes_why"])
    for key in ("peak_rss_bytes", "model_rss_bytes"):
        torch, onnx, ours = (_record(honest, fullname).facts[key] for fullname in (TORCH, ONNX, INTERLEAVED[1]))
        assert _record(honest, INTERLEAVED[0]).facts[key] == torch
        assert min(torch, onnx, ours) > 0
        assert _record(honest, SCORE).facts[key] > 0
        assert _record(honest, SERVE).facts[key] > 0
        for fullname, why in (
            (STEP, "a step of training serves nothing"),
            (INTERLEAVED_STEPS[1], "a step of training serves nothing"),
            (GATHER, "the data path serves no model"),
            (STREAM, "measured for whole windows alone"),
        ):
            assert _record(honest, fullname).facts[f"{key}_why"] == why
    # It holds no torch, where this session holds that and the data too.
    assert _record(honest, ONNX).facts["peak_rss_bytes"] < 0.7 * _record(honest, TORCH).facts["peak_rss_bytes"]
    assert _record(honest, PREPARE).facts["peak_rss_bytes"] > 0


def test_a_stream_tells_the_whole_window_s_time_and_its_smape_with_the_state_carried(honest: Run) -> None:
    record = _record(honest, STREAM)
    assert record.facts["window_call_s"] > 0
    assert record.facts["smape"] != record.facts["smape_by_windows"]
    assert record.facts["smape"] == pytest.approx(record.facts["smape_by_windows"], rel=0.5)


def test_interleaved_rows_have_as_many_rounds_and_a_table_of_their_own(honest: Run) -> None:
    torch, ours = (_record(honest, fullname) for fullname in INTERLEAVED)
    assert len(torch.rounds_s) == len(ours.rounds_s) >= 15
    report = render([honest])
    table = report.split("Interleaved: each runtime beside")[1].split("</details>")[0]
    assert "| GRU | 1 | rnncore, CPU, fp32 | rnncore GRU, " in table
    assert "x faster (" in table


def test_interleaved_trainings_have_as_many_rounds_and_a_table_of_their_own(honest: Run) -> None:
    rows = [_record(honest, fullname) for fullname in INTERLEAVED_STEPS]
    assert len({len(row.rounds_s) for row in rows}) == 1
    assert len(rows[0].rounds_s) >= 15
    report = render([honest])
    table = report.split("Interleaved: each training beside")[1].split("</details>")[0]
    assert "| GRU | 32 | article's code, CPU, fp32 | ATen loop | " in table
    assert "| GRU | 32 | rnncore, CPU, fp32 | rnncore GRU" in table
    forward = report.split("Interleaved: each runtime beside")[1].split("</details>")[0]
    assert "article" not in forward


@pytest.mark.parametrize("fullname", SCALING)
def test_two_processes_tell_what_one_takes_alone_and_what_they_say_to_one_another(fullname: str, honest: Run) -> None:
    record = _record(honest, fullname)
    rounds = [record.rounds_s, record.part_alone_s, record.whole_alone_s, record.threads_alone_s, record.part_at_once_s]
    # Three times the one round that the session asks for, and more where they take no time.
    assert {len(one) for one in rounds} == {len(record.rounds_s)}
    assert len(record.rounds_s) >= 3
    assert record.devices == 2
    assert 0 < record.communication_pct <= 100
    sizes, times_s = ([one[key] for one in record.all_reduces] for key in ("bytes", "seconds"))
    assert sizes == [4**power for power in range(1, 12)]
    assert times_s[0] < times_s[-1]
    # Of the article's GRU in fp32: two layers of three gates, with two biases each, and the head.
    assert sum(one["bytes"] for one in record.gradients) == 4 * (768 * (5 + 256 + 2) + 768 * (512 + 2) + 257)
    # Of the last layer first.
    assert record.gradients[0]["bytes"] == 4 * 256 or record.gradients[0]["bytes"] == 4
    assert all(0 < one["ready_share"] < 1 for one in record.gradients)
    report = render([honest]).split("## How does training scale?")[1].split("\n## ")[0]
    assert "| GRU in rnncore, CPU, fp32 | 2 | 32 | " in report
    assert "| GRU in rnncore, CPU, fp32 | 2 | 16 | " in report


def test_a_server_tells_its_rates_and_the_latencies_of_the_highest_in_time(honest: Run) -> None:
    record = _record(honest, SERVE)
    probes = record.facts["probes"]
    in_time = [probe["rate_per_s"] for probe in probes if probe["in_time"]]
    assert record.facts["served_per_s"] == max(in_time)
    assert record.facts["p99_bound_s"] == 1.0
    # A quarter of a second of them, or as many as a p99 needs.
    assert len(record.rounds_s) == max(662, round(0.25 * record.facts["served_per_s"]))


# ------------------------------------------------------------------------------------------------------ planted faults


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of the same rows with wrong answers planted in all but torch's, and its report."""
    _need_kernels()
    folder = tmp_path_factory.mktemp("planted")
    (folder / "plant.py").write_text(PLANT)
    # On few zones the one forecast of the untrained model differs by less than rounding may.
    done, _ = _session(folder, "-p", "plant", "--rnn-data=synthetic", *EVERY)
    assert done.returncode == 1, done.stdout + done.stderr
    run = read_run(folder / "run.json")
    report = write_report([run.path], folder / "report").with_name("report.md")
    return {"output": done.stdout, "run": run, "report": report.read_text("utf-8")}


@pytest.mark.parametrize(
    ("fullname", "why"),
    [
        (ONNX, "outputs differ from float64 by "),
        (SCORE, "outputs differ from float64 by "),
        (STEP, "gradients differ from float64 by "),
        (OURS, "gradients differ from float64 by "),
        (GATHER, "windows differ by "),
        (PREPARE, "[12, 3] training and test windows, where "),
    ],
    ids=["inference", "accuracy", "training", "training by ours", "gathering", "preparing"],
)
def test_a_wrong_answer_stays_in_the_run_with_its_time_and_why_it_is_wrong(fullname: str, why: str, planted) -> None:
    record = _record(planted["run"], fullname)
    assert record.validity.startswith(why)
    assert record.median_s > 0
    assert record.facts["windows_per_s"] > 0


def test_a_row_without_a_fault_beside_wrong_ones_stays_valid(planted) -> None:
    assert [record.fullname for record in planted["run"].records if record.validity == "valid"] == [TORCH]
    assert "6 failed, 1 passed" in planted["output"]


def test_the_report_ranks_only_what_is_right_and_lists_the_rest_with_why(planted) -> None:
    report = planted["report"]
    # Ceilings name the library that reached them, and the first line what was measured.
    ranked = report[report.index("| Best at |") : report.index("## How far from the hardware's limit?")]
    assert "**GRU in PyTorch, CPU, fp32** is fastest" in ranked
    for wrong in ("ONNX Runtime", "trains fastest", "Most accurate"):
        assert wrong not in ranked
    listed = report.split("## What was not measured?")[1].split("\n## ")[0]
    for suite in ("training", "accuracy", "data"):
        assert f"- No valid row of `bench/bench_{suite}.py` is in this run.\n" in listed
    for fullname in EVERY:
        is_listed = f"| {fullname.split('::')[1]} | invalid: " in listed
        assert is_listed == (fullname != TORCH)


# ------------------------------------------------------------------------------------------------ the gate's own scale


def test_a_short_process_of_the_gate_leaves_a_run_that_can_be_judged_and_shown(tmp_path: Path) -> None:
    """Every row that a gate measures, on its own few zones, with what its short processes leave out."""
    done, _ = _session(tmp_path, "bench/", "--rnn-scale=gate")
    assert done.returncode == 0, done.stdout
    run = read_run(tmp_path / "run.json")
    assert {record.phase for record in run.records} == {"accuracy", "data", "infer", "stream", "train"}
    assert [(record.short_name, record.validity) for record in run.records if not record.is_valid] == []
    # What the rates in README and docs name is the grid that a process measures.
    assert grid_of(run) == grid_digest((REPOSITORY / "tests/golden/frozen/ids-gate.txt").read_text("utf-8").splitlines())
    judged = judge(Side("base", (run,)), Side("head", (run,)), Thresholds()).judgements
    assert {one.fullname for one in judged} == {record.fullname for record in run.records}
    assert {one.verdict for one in judged} <= {"same", "unclear"}
    page = write_report([tmp_path / "run.json"], tmp_path / "report")
    assert "the best baseline" not in page.read_text(encoding="utf-8")
    assert "Most accurate" in page.read_text(encoding="utf-8")


# --------------------------------------------------------------------------------------------------- other libraries


def test_other_libraries_that_are_not_installed_are_skipped_with_what_to_install(tmp_path: Path, few_zones: Path) -> None:
    missing = [name for name in ("neuralforecast", "darts") if importlib.util.find_spec(name) is None]
    if not missing:
        pytest.skip("both libraries are installed")
    which = ("bench/bench_peers.py", "--rnn-scale=full", "-k", " or ".join(missing))
    done = _suites(tmp_path, *which, f"--rnn-data={few_zones}", "-rs")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in missing:
        assert f"{name} is not installed: pip install 'rnncore[peers]'." in done.stdout
