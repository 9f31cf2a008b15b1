"""Tests of the pytest plugin in small projects of a user: what is timed, what is saved, and what a bad end leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Three are imported here, so that a session that pytester runs inside this process does not load them a second time.
import pyarrow.csv  # noqa: F401
import pytest
import scipy.stats  # noqa: F401
import torch  # noqa: F401

from rnncore.forecast.device import CUDA, Device
from rnncore.measure import ceilings, rates
from rnncore.measure.fingerprint import fingerprint
from rnncore.runfile.case import AXES, Case
from rnncore.runfile.journal import newest_journal, recover
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from tests.run_files import FACTS, content_of

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.long

PROJECT = """
import pytest

from rnncore.errors import Unavailable
from rnncore.runfile.case import Case


def choose(scale):
    sizes = {"quick": (1,), "default": (1, 8), "full": (1, 8, 64)}[scale]
    return [
        Case("infer", cell, 8, 1, 4, batch_size=size, device=device, runtime=runtime)
        for device in ("cpu", "cuda")
        for size in sizes
        for cell, runtime in (("gru", "torch"), ("lstm", "onnxruntime"))
    ]


@pytest.fixture
def made_device(rnn_case):
    if rnn_case.device == "cuda":
        raise Unavailable("no made device: install its driver")


@pytest.mark.rnn_cases(choose=choose)
def test_mine(made_device, rnn_case, rnn_benchmark):
    calls = []
    rnn_benchmark(lambda: calls.append(sum(range(2000))), windows=3 * rnn_case.batch_size, group="mine")
    rnn_benchmark.record(validity="valid")
    assert rnn_benchmark.enabled or len(calls) == 1
    assert not rnn_benchmark.enabled or len(calls) > 4
"""

# Rows that tell more about themselves than their time.
ROWS = """
import time

import pytest

from rnncore.errors import Unavailable
from rnncore.runfile.case import Case
from rnncore.measure.work import Work
from rnncore.runtimes.base import Evidence, OpTime

TRACES = []


def one(phase="infer", cell="gru", batch_size=1, **axes):
    return lambda scale: [Case(phase, cell, 8, 1, 4, batch_size=batch_size, **axes)]


def four(scale):
    return [Case("infer", cell, 8, 1, 4, batch_size=size) for cell in ("gru", "lstm") for size in (1, 8)]


def some_work():
    return sum(range(20_000))


@pytest.mark.rnn_cases(choose=four)
def test_told(rnn_case, rnn_benchmark):
    def evidence(trace):
        TRACES.append(trace)
        return Evidence("made loop", {"GRU_0": "MadeExecutionProvider"}, (OpTime("add", "made", 1, 1e-5),), 2e-5)

    work = Work(flops=4_000_000, bytes=1000, dependent_steps=5, recurrent_flops=3_000_000)
    rnn_benchmark(some_work, windows=4, group="told", work=work, evidence=evidence)
    rnn_benchmark.record(validity="valid", parity_max_abs=1e-7, smape=1.5)
    assert TRACES[-1] is None


@pytest.mark.benchmark(min_time=0.001)
@pytest.mark.rnn_cases(choose=one())
def test_slow_at_first(rnn_case, rnn_benchmark):
    calls = []

    def run():
        if not calls:
            time.sleep(0.3)
            calls.append(None)
        sum(range(1000))

    rnn_benchmark(run, windows=1, group="told", opening_s=2.0)


@pytest.mark.benchmark(min_time=0.001)
@pytest.mark.rnn_cases(choose=one())
def test_brief(rnn_case, rnn_benchmark):
    rnn_benchmark(lambda: sum(range(1000)), windows=1, group="told")


@pytest.mark.rnn_cases(choose=one("data", None, precision=None))
def test_copied(rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="told", work=Work(flops=0, bytes=1000))


@pytest.mark.rnn_cases(choose=one(precision="fp64"))
def test_of_unknown_precision(rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="told", work=Work(flops=1000, bytes=1000, recurrent_flops=500))


@pytest.mark.rnn_cases(choose=one("train", precision="amp_bf16"))
def test_mixed(rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="told", work=Work(flops=1000, bytes=1000, recurrent_flops=500))


@pytest.mark.rnn_cases(choose=one())
def test_unavailable(rnn_case, rnn_benchmark):
    raise Unavailable("no made runtime: pip install made")
"""

FOREIGN = """
def test_sort(benchmark):
    benchmark(sorted, [3, 1, 2])
"""

# Benchmarks that end in every way but well, between two that do.
ENDS = """
import time

import pytest

from rnncore.runfile.case import Case


def one(cell):
    return lambda scale: [Case("infer", cell, 8, 1, 4, batch_size=1)]


def some_work():
    return sum(range(20_000))


@pytest.mark.rnn_cases(choose=one("gru"))
def test_first(rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="ends")
    rnn_benchmark.record(validity="valid")


@pytest.mark.rnn_cases(choose=one("gru"))
def test_wrong(rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="ends")
    rnn_benchmark.record(validity="outputs differ by 0.5")
    assert False


@pytest.mark.rnn_cases(choose=one("gru"))
def test_wrong_without_saying_why(rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="ends")
    raise ValueError("made for the test\\nand more of it")


@pytest.mark.rnn_cases(choose=one("gru"))
def test_wrong_though_said_to_be_valid(rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="ends")
    rnn_benchmark.record(validity="valid")
    raise ValueError


@pytest.fixture
def broken_end():
    yield
    raise RuntimeError("cannot be closed")


@pytest.mark.rnn_cases(choose=one("gru"))
def test_broken_end(broken_end, rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="ends")


@pytest.fixture
def broken_start():
    raise RuntimeError("cannot be opened")


@pytest.mark.rnn_cases(choose=one("gru"))
def test_broken_start(broken_start, rnn_case, rnn_benchmark):
    pass


@pytest.mark.rnn_cases(choose=one("gru"))
@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such node\\nat line 3"),
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=["error", "memory", "cuda", "allocator"],
)
def test_raises(error, rnn_case, rnn_benchmark):
    def run():
        raise error

    rnn_benchmark(run, windows=1, group="ends")


@pytest.mark.rnn_cases(choose=one("gru"))
def test_raises_in_a_later_round(rnn_case, rnn_benchmark, benchmark):
    def run():
        time.sleep(0.01)
        if benchmark.stats and len(benchmark.stats.stats.data) == 2:
            raise ValueError("worn out")

    rnn_benchmark(run, windows=1, group="ends")


@pytest.mark.rnn_cases(choose=one("gru"))
def test_takes_too_long(rnn_case, rnn_benchmark):
    rnn_benchmark(lambda: time.sleep(60), windows=1, group="ends")


@pytest.mark.rnn_cases(choose=one("lstm"))
def test_last(rnn_case, rnn_benchmark):
    rnn_benchmark(some_work, windows=1, group="ends")
"""

# A session that ends in the middle of its third benchmark, in which BAD_END is how.
BROKEN_OFF = """
import hashlib, os, signal, time

import pytest

from rnncore.runfile.case import Case


def choose(scale):
    return [Case("infer", cell, 8, 1, 4, batch_size=size) for cell in ("gru", "lstm") for size in (1, 8)]


@pytest.mark.rnn_cases(choose=choose)
def test_mine(rnn_case, rnn_benchmark, rnn_dataset):
    def run():
        time.sleep(0.01)
        if rnn_case.label.startswith("lstm"):
            BAD_END

    rnn_benchmark(run, windows=rnn_case.batch_size, group="mine")
    rnn_benchmark.record(validity="valid")
"""
NAME = "test_mine.py::test_mine[{}-torch-cpu-fp32-b{}-h8-l1-t4]"
FINISHED = [NAME.format("gru", 1), NAME.format("gru", 8)]
BROKEN = NAME.format("lstm", 1)

# Real ceilings, warm-up and pytest-benchmark's look at the CPU take seconds; in the session of `saved` they are real.
SHORT_CEILINGS = {
    "MEASURED_S": 0.001,
    "CONFIRMED_WITHIN_S": 0.001,
    "PEAK_CALL_S": 1e-5,
    "SQUARE_SIZES": {"cpu": (64,), "gpu": (64,)},
    "COPIED_BYTES": {"cpu": 1 << 20, "gpu": 1 << 20},
}
SHORT_CONFIRMING_S = 0.01
CONFTEST = f"""
import pytest_benchmark.plugin
import scipy.stats
from rnncore.measure import ceilings, rates, timeout
from rnncore.measure import row as benchmark

benchmark.WARM_UP_S = 0.02
timeout.GRACE_S = 0.3
pytest_benchmark.plugin.get_cpu_info = dict
for name, value in {SHORT_CEILINGS!r}.items():
    setattr(rates, name, value)
ceilings.CONFIRMING_S = {SHORT_CONFIRMING_S}
"""

# One thread: beside other work on the machine, two that wait for each other are up to a hundred times slower.
QUICK = ("-p", "no:cacheprovider", "--tb=short", "--rnn-threads=1")
QUICK += ("--benchmark-max-time=0.01", "--benchmark-min-rounds=3", "--benchmark-warmup=off")

needs_alarm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no SIGALRM here")


def _pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *QUICK, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def _run_file(folder: Path) -> Path:
    (path,) = folder.glob(".benchmarks/*/0*.json")
    return path


def _journals(folder: Path) -> list[Path]:
    return list(folder.glob(".benchmarks/journal/*"))


def _row(run: Run, name: str) -> dict[str, Any]:
    """Return what a run says of the benchmark whose name begins so."""
    (record,) = (record for record in run.records if record.short_name.startswith(f"{name}["))
    return record.facts


# --------------------------------------------------------------------------------------------------- what a run holds


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a session with ours and a user's own benchmark saved, with real ceilings."""
    folder = tmp_path_factory.mktemp("project")
    for name, text in {"mine": PROJECT, "rows": ROWS, "other": FOREIGN}.items():
        (folder / f"test_{name}.py").write_text(text)
    done = _pytest(folder, "--benchmark-autosave", "-rs")
    assert done.returncode == 0, done.stdout + done.stderr
    path = _run_file(folder)
    return {"content": content_of(path), "output": done.stdout, "run": read_run(path), "folder": folder}


def _ours(saved: dict[str, Any], name: str = "") -> list[dict[str, Any]]:
    """Return the entries of our benchmarks, or of those of one name."""
    entries = [entry for entry in saved["content"]["benchmarks"] if entry["name"] != "test_sort"]
    return [entry for entry in entries if entry["name"].startswith(name)]


def test_an_autosaved_run_holds_every_raw_round_of_ours(saved) -> None:
    assert len(_ours(saved)) == 13
    for entry in _ours(saved):
        rounds_s = entry["stats"]["data"]
        assert len(rounds_s) == entry["stats"]["rounds"] >= 3
        assert min(rounds_s) == entry["stats"]["min"]
        assert max(rounds_s) == entry["stats"]["max"]


def test_a_run_holds_the_axes_of_every_case_as_facts_and_as_parameters(saved) -> None:
    for entry in _ours(saved):
        extra = entry["extra_info"]
        case = Case(**{**{axis: extra[axis] for axis in AXES}, "threads": None})
        assert entry["param"] == case.label
        assert entry["params"] == case.axes
        assert extra["threads"] == 1
    entries = _ours(saved, "test_mine")
    assert {(entry["extra_info"]["cell"], entry["extra_info"]["batch_size"]) for entry in entries} == {
        (cell, size) for cell in ("gru", "lstm") for size in (1, 8)
    }


def test_every_row_says_every_fact_or_why_it_does_not(saved) -> None:
    for entry in _ours(saved):
        extra = entry["extra_info"]
        for key in FACTS:
            has_reason = bool(extra.get(f"{key}_why"))
            assert key in extra, f"{entry['name']} is silent on {key}"
            assert has_reason == (extra[key] is None or extra[key] is False), f"{key} of {entry['name']}"
        for name in ("p50", "p90", "p95", "p99"):
            assert (extra["percentiles"][name] is None) == bool(extra["percentiles"].get(f"{name}_why"))


def test_a_row_without_work_evidence_or_answers_says_that_they_are_missing(saved) -> None:
    for entry in _ours(saved, "test_mine"):
        extra = entry["extra_info"]
        for key in ("bound", "gflop_per_s", "gemm_ceiling_pct", "recurrent_ceiling_pct", "us_per_step"):
            assert extra[f"{key}_why"] == "the work of a call is not stated"
        assert extra["kernel_why"] == "the benchmark gives no evidence of what ran"
        assert extra["parity_max_abs_why"] == extra["smape_why"] == "the benchmark did not record it"


def test_a_recorded_answer_stands_without_a_reason_against_it(saved) -> None:
    for entry in _ours(saved, "test_told"):
        extra = entry["extra_info"]
        assert (extra["validity"], extra["parity_max_abs"], extra["smape"]) == ("valid", 1e-7, 1.5)
        assert not {"validity_why", "parity_max_abs_why", "smape_why"} & extra.keys()


def test_a_row_with_evidence_tells_the_kernel_that_ran_and_where(saved) -> None:
    for entry in _ours(saved, "test_told"):
        assert entry["extra_info"]["kernel"] == "made loop"
        assert entry["extra_info"]["placement"] == {"GRU_0": "MadeExecutionProvider"}
    assert saved["content"]["rnncore"]["execution_providers"] == ["MadeExecutionProvider"]


def _ceiling(saved: dict[str, Any], kind: str, **axes: Any) -> float:
    """Return the one ceiling of a kind with these axes, per second."""
    entries = saved["content"]["rnncore"]["ceilings"][kind]
    (entry,) = (entry for entry in entries if all(entry[axis] == value for axis, value in axes.items()))
    per_s: float = entry["per_s"]
    return per_s


def test_a_row_with_work_is_held_against_the_ceilings_of_its_own_session(saved) -> None:
    free = max(_ceiling(saved, kind, precision="fp32") or 0 for kind in ("peak", "gemm"))
    copied = _ceiling(saved, "copy")
    for entry in _ours(saved, "test_told"):
        extra, median_s = entry["extra_info"], entry["stats"]["median"]
        gates = {"gru": 3, "lstm": 4}[extra["cell"]]
        chained = _ceiling(saved, "recurrent", precision="fp32", batch_size=extra["batch_size"], hidden_size=8, gates=gates)
        assert extra["gflop_per_s"] == pytest.approx(4e6 / median_s / 1e9)
        assert extra["us_per_step"] == pytest.approx(1e6 * median_s / 5)
        assert extra["flops_per_byte"] == 4000
        assert extra["gemm_ceiling_pct"] == pytest.approx(100 * 4e6 / free / median_s)
        assert extra["recurrent_ceiling_pct"] == pytest.approx(100 * (3e6 / chained + 1e6 / free) / median_s)
        assert extra["bandwidth_ceiling_pct"] == pytest.approx(100 * 1000 / copied / median_s)
        assert extra["bound"] == ("latency" if chained < free / 2 else "compute")


def test_a_row_that_computes_nothing_is_bound_by_memory_and_says_what_does_not_apply(saved) -> None:
    extra = _row(saved["run"], "test_copied")
    assert extra["bound"] == "bandwidth"
    assert extra["bandwidth_ceiling_pct"] > 0
    for key in ("gflop_per_s", "gemm_ceiling_pct", "recurrent_ceiling_pct"):
        assert extra[f"{key}_why"] == "no matrix products"
    assert extra["us_per_step_why"] == "nothing is recurrent"


def test_a_row_in_a_precision_without_a_ceiling_says_so(saved) -> None:
    extra = _row(saved["run"], "test_of_unknown_precision")
    assert extra["gflop_per_s"] > 0
    for key in ("bound", "gemm_ceiling_pct", "recurrent_ceiling_pct"):
        assert extra[f"{key}_why"] == "no ceiling is known for fp64 on cpu"


def test_a_row_of_mixed_training_is_held_against_the_ceiling_of_its_products(saved) -> None:
    extra = _row(saved["run"], "test_mixed")
    best = max(_ceiling(saved, kind, precision="bf16") or 0 for kind in ("peak", "gemm"))
    assert best > 0
    assert extra["precision"] == "amp_bf16"
    assert extra["gemm_ceiling_pct"] == pytest.approx(extra["gflop_per_s"] * 1e9 / best * 100)


def test_a_run_holds_windows_rates_and_memory_beside_each_time(saved) -> None:
    for entry in _ours(saved, "test_mine"):
        extra = entry["extra_info"]
        assert extra["windows"] == 3 * extra["batch_size"]
        assert extra["windows_per_s"] == pytest.approx(extra["windows"] / entry["stats"]["median"])
        if extra["peak_rss_bytes"] is None:
            assert extra["peak_rss_bytes_why"]
        else:
            assert 5_000_000 < extra["peak_rss_bytes"] < 10_000_000_000
        assert (extra["peak_device_bytes"], extra["peak_device_bytes_why"]) == (None, "runs on the CPU")
        assert extra["validity"] == "valid"
        assert entry["group"] == "mine"


def test_the_first_call_counts_with_the_opening_and_is_in_no_round(saved) -> None:
    (entry,) = _ours(saved, "test_slow_at_first")
    assert entry["extra_info"]["first_call_s"] >= 2.0 + 0.3
    assert entry["stats"]["max"] < 0.3


def test_a_slow_first_call_is_not_taken_for_the_length_of_the_others(saved) -> None:
    slow, brief = (_ours(saved, name)[0]["stats"] for name in ("test_slow_at_first", "test_brief"))
    assert slow["iterations"] > brief["iterations"] / 10


def test_rounds_of_several_calls_give_no_percentiles_and_say_why(saved) -> None:
    (entry,) = _ours(saved, "test_brief")
    iterations, found = entry["stats"]["iterations"], entry["extra_info"]["percentiles"]
    assert iterations > 1
    for name in ("p50", "p90", "p95", "p99"):
        assert found[name] is None
        assert found[f"{name}_why"] == f"a round is the mean of {iterations} calls, and hides the slow ones"


def test_rounds_of_one_call_give_the_percentiles_that_there_are_enough_of(saved) -> None:
    for entry in _ours(saved, "test_told"):
        rounds_s, found = entry["stats"]["data"], entry["extra_info"]["percentiles"]
        assert entry["stats"]["iterations"] == 1
        assert found["p99_why"] == f"n={len(rounds_s)} is too few for p99, 662 needed"
        assert (found["p50"] is None) == (len(rounds_s) < 11)
        for name in ("p50", "p90", "p95"):
            assert found[name] is None or found[name]["s"] in rounds_s


def test_disturbed_rounds_are_counted_by_cause_and_stay_in_the_figures(saved) -> None:
    for entry in _ours(saved):
        extra, rounds = entry["extra_info"], entry["stats"]["rounds"]
        told = extra["disturbance"]
        flagged = [index for first, last in told["spans"] for index in range(first, last + 1)]
        assert extra["disturbed_rounds"] == len(set(flagged)) == len(flagged) <= rounds
        assert all(0 <= index < rounds for index in flagged)
        assert (told["median_undisturbed_s"] is None) == (extra["disturbed_rounds"] == rounds)
        assert bool(told["causes"]) == bool(flagged)


def test_the_watched_clock_keeps_its_name(saved) -> None:
    assert {entry["options"]["timer"] for entry in _ours(saved)} == {"perf_counter"}


def test_a_run_tells_its_command_scale_data_and_version(saved) -> None:
    session = saved["content"]["rnncore"]
    assert session["command"] == ["pytest", *QUICK, "--benchmark-autosave", "-rs"]
    assert session["scale"] == "default"
    assert session["data"] is None
    assert session["version"]
    assert session["failed"] == []


def test_a_run_tells_the_machine_by_what_is_stable_what_is_not_and_its_ceilings(saved) -> None:
    machine = saved["content"]["rnncore"]
    assert machine["fingerprint"] == json.loads(json.dumps(fingerprint(1)))
    assert {"load_1min", "cpu_pressure_pct"} <= machine["conditions"].keys()
    measured = machine["ceilings"]
    assert {(entry["device"], entry["threads"]) for entry in measured["gemm"]} == {("cpu", 1)}
    assert _ceiling(saved, "gemm", precision="fp32") > 0
    assert _ceiling(saved, "copy") > 0
    shapes = {(entry["batch_size"], entry["hidden_size"], entry["gates"]) for entry in measured["recurrent"]}
    assert shapes == {(size, 8, gates) for size in (1, 8) for gates in (3, 4)}
    assert saved["run"].ceilings == measured
    assert not {"fingerprint", "conditions", "ceilings"} & saved["content"]["machine_info"].keys()


def test_the_parts_of_the_overhead_and_the_timed_rounds_make_up_the_session(saved) -> None:
    told = saved["content"]["rnncore"]["overhead"]
    assert min(told["parts_s"].values()) >= 0
    assert sum(told["parts_s"].values()) + told["timed_s"] + told["trainings_s"] == pytest.approx(told["wall_s"])
    assert told["overhead_s"] == pytest.approx(told["wall_s"] - told["timed_s"] - told["trainings_s"])
    timed_s = sum(sum(entry["stats"]["data"]) * entry["stats"]["iterations"] for entry in _ours(saved))
    assert told["timed_s"] == pytest.approx(timed_s)
    named = {"ceilings", "fixtures", "first calls and warm-up", "between rounds", "evidence of the path"}
    assert named <= told["parts_s"].keys()
    # Twelve rows, each warmed up for 0.2 s.
    assert told["parts_s"]["first calls and warm-up"] > 2.4
    assert told["parts_s"]["ceilings"] > saved["content"]["rnncore"]["ceilings"]["seconds"]


def test_the_session_says_on_the_screen_what_it_cost(saved) -> None:
    (line,) = (line for line in saved["output"].splitlines() if " were timed rounds, " in line)
    assert " s overhead (" in line
    assert " s ceilings" in line


def test_the_session_times_a_small_piece_of_work_before_every_benchmark_to_tell_whether_it_was_steady(saved) -> None:
    session = saved["content"]["rnncore"]
    # Each of the thirteen, and the one that was skipped after its fixtures were made.
    assert len(session["pulses_s"]) == 14
    assert min(session["pulses_s"]) > 0
    assert isinstance(session["steady"], bool)
    assert session["steady"] != ("steady_why" in session)


def test_a_session_that_ends_in_order_leaves_no_journal_and_without_profiles_no_traces(saved) -> None:
    assert _journals(saved["folder"]) == []
    assert not (saved["folder"] / ".benchmarks" / "traces").exists()
    assert all("profile" not in entry["extra_info"] for entry in _ours(saved))


def test_what_is_unavailable_is_skipped_with_its_text_and_listed_with_it(saved) -> None:
    skipped = {entry["fullname"]: entry["reason"] for entry in saved["content"]["rnncore"]["skipped"]}
    assert skipped == {
        "test_mine.py::test_mine[gru-torch-cuda-fp32-b1-h8-l1-t4]": "no made device: install its driver",
        "test_mine.py::test_mine[gru-torch-cuda-fp32-b8-h8-l1-t4]": "no made device: install its driver",
        "test_mine.py::test_mine[lstm-onnxruntime-cuda-fp32-b1-h8-l1-t4]": "no made device: install its driver",
        "test_mine.py::test_mine[lstm-onnxruntime-cuda-fp32-b8-h8-l1-t4]": "no made device: install its driver",
        "test_rows.py::test_unavailable[gru-torch-cpu-fp32-b1-h8-l1-t4]": "no made runtime: pip install made",
    }
    assert "no made device: install its driver" in saved["output"]
    assert "no made runtime: pip install made" in saved["output"]
    assert "14 passed, 5 skipped" in saved["output"]


def test_a_users_own_benchmark_is_left_as_it_is(saved) -> None:
    (other,) = (entry for entry in saved["content"]["benchmarks"] if entry["name"] == "test_sort")
    assert "data" not in other["stats"]
    assert other["extra_info"] == {}


# -------------------------------------------------------------------------------------------------- other bad ends


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a session of benchmarks that end in every way saved."""
    folder = tmp_path_factory.mktemp("ends")
    (folder / "test_ends.py").write_text(ENDS)
    (folder / "conftest.py").write_text(CONFTEST)
    done = _pytest(folder, "--benchmark-autosave", "--rnn-case-timeout=6")
    assert done.returncode == 1, done.stdout + done.stderr
    return {"folder": folder, "output": done.stdout, "run": read_run(_run_file(folder))}


@pytest.mark.clock
@needs_alarm
def test_what_has_no_result_is_listed_with_how_it_ended_and_the_first_line_of_why(ended) -> None:
    case = "gru-torch-cpu-fp32-b1-h8-l1-t4"
    assert {name.removeprefix("test_ends.py::"): (outcome, why) for name, outcome, why in ended["run"].failed} == {
        f"test_broken_start[{case}]": ("error", "RuntimeError: cannot be opened"),
        f"test_raises[{case}-error]": ("error", "ValueError: no such node"),
        f"test_raises[{case}-memory]": ("out of memory", "MemoryError"),
        f"test_raises[{case}-cuda]": ("out of memory", "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        f"test_raises[{case}-allocator]": (
            "out of memory",
            "RuntimeError: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory",
        ),
        f"test_raises_in_a_later_round[{case}]": ("error", "ValueError: worn out"),
        f"test_takes_too_long[{case}]": ("timed out", "CaseTimeout: took longer than 6 s (--rnn-case-timeout)"),
    }


def test_benchmarks_before_and_after_the_failed_ones_are_measured_and_saved(ended) -> None:
    names = [record.short_name.split("[")[0] for record in ended["run"].records]
    assert (names[0], names[-1]) == ("test_first", "test_last")
    assert not {"test_raises", "test_raises_in_a_later_round", "test_takes_too_long", "test_broken_start"} & set(names)
    assert "3 passed" in ended["output"]


def test_a_wrong_answer_stays_in_the_run_as_invalid_with_its_own_reason(ended) -> None:
    extra = _row(ended["run"], "test_wrong")
    assert extra["validity"] == "outputs differ by 0.5"
    assert extra["windows_per_s"] > 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("test_wrong_without_saying_why", "ValueError: made for the test"),
        ("test_wrong_though_said_to_be_valid", "ValueError"),
        ("test_broken_end", "RuntimeError: cannot be closed"),
    ],
)
def test_a_benchmark_that_fails_after_it_was_timed_without_a_reason_of_its_own_is_invalid(ended, name, why) -> None:
    assert _row(ended["run"], name)["validity"] == f"failed after it was timed: {why}"


def test_a_row_that_is_invalid_does_not_say_that_nothing_was_recorded(ended) -> None:
    for record in ended["run"].records:
        assert (record.facts["validity"] is None) == ("validity_why" in record.facts), record.short_name


def test_a_session_with_failed_benchmarks_that_ends_in_order_leaves_no_journal(ended) -> None:
    assert _journals(ended["folder"]) == []


def test_a_benchmark_whose_evidence_fails_does_not_make_the_run_unreadable(project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=PROJECT.replace('group="mine"', 'group="mine", evidence=lambda trace: 1 / 0'))
    project.makepyfile(test_rows=ROWS)
    args = (*QUICK, "--benchmark-autosave", "--rnn-device=cpu", "-k", "test_mine or test_copied")
    project.runpytest_inprocess(*args).assert_outcomes(passed=1, failed=4)
    run = read_run(_run_file(project.path))
    timed = {record.fullname for record in run.records if record.validity == "valid"}
    listed = {name for name, _, _ in run.failed} | {record.fullname for record in run.records if record.validity != "valid"}
    assert timed == {"test_rows.py::test_copied[torch-cpu-b1-h8-l1-t4]"}
    assert len(listed) == 4
    assert not timed & listed


@pytest.mark.clock
@needs_alarm
def test_a_case_that_is_timed_out_while_ceilings_are_measured_leaves_the_later_ones_their_ceilings(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_rows=ROWS)
    true_rate, calls = rates.gemm_rate, []

    def slow_at_first(*args: Any, **only: str) -> Any:
        calls.append(args)
        if len(calls) == 1:
            time.sleep(60)
        return true_rate(*args, **only)

    monkeypatch.setattr(rates, "gemm_rate", slow_at_first)
    project.runpytest_inprocess(*QUICK, "--benchmark-autosave", "--rnn-case-timeout=5", "-k", "test_told")
    run = read_run(_run_file(project.path))
    assert [outcome for _, outcome, _ in run.failed] == ["timed out"]
    assert len(run.records) == 3
    assert [record.facts.get("bound_why") for record in run.records] == [None] * 3


@pytest.mark.parametrize(
    ("later_per_s", "looks", "is_above"), [(1e18, 2, False), (None, 9, True)], ids=["a low look", "a low ceiling"]
)
def test_a_row_that_is_quicker_than_its_ceiling_has_that_looked_at_again_and_tells_what_is_left(
    later_per_s: float | None, looks: int, is_above: bool, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first chain of a million operations a second is what no CPU is as slow as."""
    project.makepyfile(test_rows=ROWS)
    seen: list[float] = []

    def chain_rate(*case: Any, only: Any = None) -> Any:
        seen.append(1e6 if not seen or later_per_s is None else later_per_s)
        return rates.Rate(seen[-1], "rnncore")

    monkeypatch.setattr(rates, "chain_rate", chain_rate)
    monkeypatch.setattr(rates, "gemm_rate", lambda *_, **__: rates.Rate(1e15, "made"))
    monkeypatch.setattr(rates, "peak_rate", lambda *_, **__: None)
    monkeypatch.setattr(ceilings, "AGAIN_SHARE", 0.0)
    monkeypatch.setattr(ceilings, "CONFIRMING_S", 60.0 if later_per_s else 0.05)
    project.runpytest_inprocess(*QUICK, "--benchmark-autosave", "-k", "test_told and gru and b1").assert_outcomes(passed=1)
    (record,) = read_run(_run_file(project.path)).records
    assert len(seen) == looks if later_per_s else len(seen) > 1
    assert (record.recurrent_ceiling_pct > 100) == is_above
    assert record.ceiling_spreads_pct["recurrent_ceiling_pct"] == pytest.approx(0, abs=1e-6) if is_above else True
    assert record.above_ceilings == (["recurrent"] if is_above else [])


# --------------------------------------------------------------------------------------------------- broken-off runs


def _write_breaking_off(folder: Path, bad_end: str) -> tuple[str, ...]:
    """Write a project of four benchmarks, of which the third ends the session; return the arguments that name its data."""
    (folder / "test_mine.py").write_text(BROKEN_OFF.replace("BAD_END", bad_end))
    rows = [f"2017-06-{1 + hour // 24:02} {hour % 24:02}:00:00,{1000 + hour}" for hour in range(400)]
    (folder / "ZONE_hourly.csv").write_text("\n".join(["Datetime,ZONE_MW", *rows]) + "\n")
    return ("--rnn-data=ZONE_hourly.csv",)


@pytest.fixture
def broken_off(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs such a session in the temporary folder, in a process of its own."""

    def run(bad_end: str, *args: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "conftest.py").write_text(CONFTEST)
        return _pytest(tmp_path, *_write_breaking_off(tmp_path, bad_end), *args)

    return run


@pytest.fixture
def broken_off_here(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Return a function that runs such a session inside this process, which has torch already and outlives it."""
    monkeypatch.setattr("rnncore.runfile.journal._is_being_written", lambda journal: False)

    def run(bad_end: str, *args: str) -> pytest.RunResult:
        data = _write_breaking_off(project.path, bad_end)
        return project.runpytest_inprocess(*QUICK, *data, *args, no_reraise_ctrlc=True)

    return run


def _assert_finished(run: Run) -> None:
    assert [record.fullname for record in run.records] == FINISHED
    assert [record.validity for record in run.records] == ["valid"] * 2
    assert all(len(record.rounds_s) >= 3 for record in run.records)
    assert run.data is not None
    assert run.data["name"] == "ZONE_hourly"
    assert run.ceilings is not None
    assert len(run.ceilings["recurrent"]) >= 2
    assert run.fingerprint["threads"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_session_loses_nothing_finished_and_names_what_it_died_of(broken_off, tmp_path: Path) -> None:
    done = broken_off("os.kill(os.getpid(), signal.SIGKILL)", "--benchmark-autosave")
    assert done.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob(".benchmarks/*/*.json"))
    assert len(_journals(tmp_path)) == 1
    command = [sys.executable, "-m", "rnncore", "recover"]
    recovered = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert recovered.returncode == 0, recovered.stderr
    first, *others = recovered.stdout.splitlines()
    assert first.endswith(": 2 benchmarks recovered")
    assert others == [f"died: {BROKEN}"]
    run = read_run(_run_file(tmp_path))
    _assert_finished(run)
    ((name, outcome, _),) = run.failed
    assert (name, outcome) == (BROKEN, "died")
    overhead = run.session["overhead"]
    assert min(overhead["parts_s"].values()) >= 0
    assert _journals(tmp_path) == []


@needs_alarm
def test_a_native_call_that_does_not_return_ends_the_session_and_is_recovered_as_timed_out(
    broken_off, tmp_path: Path
) -> None:
    done = broken_off('hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)', "--rnn-case-timeout=6")
    assert done.returncode == 124, done.stdout + done.stderr
    assert "rnncore: the benchmark took longer than 6 s (--rnn-case-timeout), and its native call did not" in done.stderr
    run = read_run(recover(newest_journal(tmp_path / ".benchmarks" / "journal")).path)
    _assert_finished(run)
    ((name, outcome, why),) = run.failed
    assert (name, outcome) == (BROKEN, "timed out")
    assert why == "took longer than 6 s, in a native call that did not return"


# After the first call, the warm-up and the calibration.
IN_A_ROUND = "run.calls = getattr(run, 'calls', 0) + 1; _ = run.calls > 25 and (_ for _ in ()).throw(KeyboardInterrupt)"


def test_ctrl_c_in_a_session_that_saves_keeps_what_was_finished(broken_off_here, project: pytest.Pytester) -> None:
    result = broken_off_here(IN_A_ROUND, "--benchmark-autosave", "--benchmark-min-rounds=40")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    run = read_run(_run_file(project.path))
    assert [record.fullname for record in run.records if record.validity == "valid"] == FINISHED
    assert _journals(project.path) == []


def test_ctrl_c_in_a_session_that_does_not_save_leaves_a_journal_and_says_how_to_recover_it(
    broken_off_here, project: pytest.Pytester
) -> None:
    result = broken_off_here("raise KeyboardInterrupt")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    (journal,) = _journals(project.path)
    assert (
        f"Interrupted; 'rnncore recover {journal}' makes a run file of what was finished, and the same command with"
        in result.stdout.str()
    )
    recovered = recover(journal)
    _assert_finished(read_run(recovered.path))
    assert recovered.failed == ((BROKEN, "died"),)


def _blocked_journal(folder: Path) -> None:
    (folder / ".benchmarks").mkdir()
    (folder / ".benchmarks" / "journal").write_text("not a folder")


@pytest.mark.parametrize("filters", ["default", "error"])
def test_a_session_that_cannot_write_a_journal_says_so_and_measures_every_benchmark(
    filters: str, project: pytest.Pytester
) -> None:
    _blocked_journal(project.path)
    project.makeini(f"[pytest]\nfilterwarnings = {filters}")
    result = project.runpytest_inprocess(*QUICK, "--benchmark-autosave", "--rnn-device=cpu")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["No journal (*): this run could not have been recovered."])
    assert len(read_run(_run_file(project.path)).records) == 4


def test_a_disk_that_fills_up_in_the_middle_of_a_session_does_not_stop_it(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def full_after_some(handle: int) -> None:
        synced.append(handle)
        if len(synced) > 4:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr("rnncore.runfile.journal.os.fsync", full_after_some)
    project.runpytest_inprocess(*QUICK, "--benchmark-autosave", "--rnn-device=cpu").assert_outcomes(passed=4)
    assert len(read_run(_run_file(project.path)).records) == 4


def test_a_session_that_broke_off_in_pytest_itself_keeps_its_journal(project: pytest.Pytester) -> None:
    project.makeconftest(
        "import pytest\n\n\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_logfinish(nodeid):\n"
        "    if 'b8' in nodeid:\n"
        "        raise RuntimeError('a fault in another plugin')\n"
    )
    result = project.runpytest_inprocess(*QUICK, "--rnn-device=cpu")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert len(_journals(project.path)) == 1


# ------------------------------------------------------------------------------------------------- several attempts

# The first benchmark is wrong at its first two attempts, which take longer; the second never comes right.
AGAIN = """
import time

import pytest

from rnncore.runfile.case import Case

attempts = {"gru": 0, "lstm": 0}


def choose(scale):
    return [Case("infer", cell, 8, 1, 4, batch_size=1) for cell in ("gru", "lstm")]


@pytest.mark.rnn_cases(choose=choose)
def test_mine(rnn_case, rnn_benchmark):
    attempts[rnn_case.cell] += 1
    attempt = attempts[rnn_case.cell]
    rnn_benchmark(lambda: time.sleep(0.005 if attempt < 3 else 0.001), windows=1, group="mine")
    rnn_benchmark.record(attempt=attempt)
    if rnn_case.cell == "lstm" and attempt == 3:
        raise AssertionError("wrong at last")
    if attempt < 3:
        raise AssertionError(f"wrong {attempt}")
    rnn_benchmark.record(validity="valid")
"""


# The same, of which an attempt has no result: the first at the one, the last at the other of two.
NONE_AT_FIRST = (
    AGAIN.replace("test_mine", "test_none_at_first")
    .replace('for cell in ("gru", "lstm")', 'for cell in ("gru",)')
    .replace("    rnn_benchmark(lambda", "    assert attempt > 1\n    rnn_benchmark(lambda")
)
NONE_AT_LAST = AGAIN.replace("test_mine", "test_none_at_last").replace(
    "    rnn_benchmark(lambda", "    assert rnn_case.cell == 'gru' or attempt < 3\n    rnn_benchmark(lambda"
)


def _entries(content: dict[str, Any], file: str = "") -> dict[str, dict[str, Any]]:
    names = [entry["fullname"] for entry in content["benchmarks"]]
    assert len(names) == len(set(names)), "a benchmark is there twice"
    return {entry["extra_info"]["cell"]: entry for entry in content["benchmarks"] if entry["fullname"].startswith(file)}


def _assert_one_attempt(entry: dict[str, Any]) -> None:
    rounds_s, stats = entry["stats"]["data"], entry["stats"]
    assert (stats["min"], stats["max"], stats["rounds"]) == (min(rounds_s), max(rounds_s), len(rounds_s))


def _run_again(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    """Run a session in which each benchmark that fails is begun up to three times."""
    pytest.importorskip("pytest_rerunfailures", reason="pytest-rerunfailures is not installed: pip install -e .[dev]")
    (folder / "conftest.py").write_text(CONFTEST)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return _pytest(folder, "--benchmark-autosave", "--reruns=2")


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What such a session saved and said."""
    folder = tmp_path_factory.mktemp("again")
    done = _run_again(folder, test_mine=AGAIN, test_none_at_first=NONE_AT_FIRST, test_none_at_last=NONE_AT_LAST)
    path = _run_file(folder)
    return {"content": content_of(path), "output": done.stdout, "run": read_run(path)}


def test_of_a_benchmark_that_is_run_again_after_a_failure_the_last_attempt_alone_counts(again) -> None:
    assert re.search(r"\b2 failed, 3 passed, .*\b10 rerun in ", again["output"])
    entries = _entries(again["content"], "test_mine.py")
    for entry in entries.values():
        assert entry["extra_info"]["attempt"] == 3
        assert entry["stats"]["max"] < 0.005 or entry["stats"]["min"] < 0.005
        _assert_one_attempt(entry)
    assert entries["gru"]["extra_info"]["validity"] == "valid"
    assert entries["lstm"]["extra_info"]["validity"] == "failed after it was timed: AssertionError: wrong at last"
    assert "Begun more than once: 5 benchmarks; the last attempt at each counts.\n" in again["output"]
    assert again["run"].records[0].validity == "valid"


def test_the_table_on_the_screen_shows_each_benchmark_once(again) -> None:
    lines = again["output"].splitlines()
    assert sum(line.startswith("test_mine[gru-torch") for line in lines) == 1


def test_an_attempt_that_has_no_result_leaves_no_outcome_once_another_has(again) -> None:
    (entry,) = _entries(again["content"], "test_none_at_first.py").values()
    assert entry["extra_info"]["attempt"] == 3
    # Nor do attempts at others that were wrong.
    assert [name.split("[")[0] for name, _, _ in again["run"].failed] == ["test_none_at_last.py::test_none_at_last"]


def test_a_last_attempt_without_a_result_leaves_no_row_of_an_earlier_one(again) -> None:
    assert list(_entries(again["content"], "test_none_at_last.py")) == ["gru"]
    assert [failed["outcome"] for failed in again["content"]["rnncore"]["failed"]] == ["error"]


def test_a_process_that_dies_in_a_later_attempt_leaves_no_row_of_an_earlier_one_in_its_journal(tmp_path: Path) -> None:
    _run_again(tmp_path, test_mine=AGAIN.replace('raise AssertionError("wrong at last")', "__import__('os')._exit(9)"))
    recovered = recover(newest_journal(tmp_path / ".benchmarks" / "journal"))
    run = read_run(recovered.path)
    assert [(record.facts["cell"], record.facts["attempt"]) for record in run.records] == [("gru", 3)]
    assert [outcome for _, outcome in recovered.failed] == ["died"]


def test_benchmarks_of_one_name_do_not_mix_their_figures(project: pytest.Pytester) -> None:
    twice = (
        AGAIN.replace("if attempt < 3:", "if False:")
        .replace("attempt == 3", "False")
        .replace("attempt < 3 else", "attempt < 2 else")
    )
    project.makepyfile(test_mine=twice)
    args = (*QUICK, "--benchmark-autosave", "--keep-duplicates", "test_mine.py", "test_mine.py")
    result = project.runpytest_inprocess(*args)
    result.assert_outcomes(passed=4)
    entries = _entries(content_of(_run_file(project.path)))
    for entry in entries.values():
        assert entry["extra_info"]["attempt"] == 2
        assert entry["stats"]["min"] < 0.005
        _assert_one_attempt(entry)


def test_a_users_own_benchmarks_of_one_name_are_left_as_they_are(project: pytest.Pytester) -> None:
    project.makepyfile(test_other=FOREIGN)
    args = (*QUICK, "--rnn-device=cpu", "--benchmark-autosave", "--keep-duplicates", "test_mine.py", "test_other.py")
    project.runpytest_inprocess(*args, "test_other.py").assert_outcomes(passed=6)
    names = [entry["name"] for entry in content_of(_run_file(project.path))["benchmarks"]]
    assert names.count("test_sort") == 2


def test_a_fact_that_a_benchmark_wrote_past_record_is_named_in_the_run_file_and_does_not_spoil_it(
    project: pytest.Pytester,
) -> None:
    wrong = "import numpy\n    benchmark.extra_info.update(smape=numpy.float32(1.5), made=object())\n"
    wrong += "    assert rnn_benchmark.enabled"
    text = PROJECT.replace("test_mine(made_device, ", "test_mine(benchmark, made_device, ")
    project.makepyfile(test_mine=text.replace("assert rnn_benchmark.enabled", wrong))
    project.runpytest_inprocess(*QUICK, "--rnn-device=cpu", "--benchmark-autosave").assert_outcomes(passed=4)
    assert "UNSERIALIZABLE" not in _run_file(project.path).read_text(encoding="utf-8")
    for record in read_run(_run_file(project.path)).records:
        assert record.facts["smape"] == 1.5
        assert record.facts["made_why"].startswith("made is of type object, which a run file cannot hold")


# ----------------------------------------------------------------------------------------------------------- profiles

PROFILED = """
import pytest

from rnncore.runfile.case import Case
from rnncore.runtimes.base import COPIES, POINTWISE, Evidence, OpTime


@pytest.mark.rnn_cases(choose=lambda scale: [Case("infer", cell, 8, 1, 4, batch_size=2) for cell in ("gru", "lstm")])
def test_mine(rnn_case, rnn_benchmark):
    def evidence(trace):
        if rnn_case.cell == "gru":
            trace.parent.mkdir(parents=True, exist_ok=True)
            trace.write_text('{"traceEvents": []}')
        ops = OpTime("aten::tanh", "cpu", 4, 0.003, kind=POINTWISE), OpTime("aten::copy_", "cpu", 1, 0.001, kind=COPIES)
        return Evidence("made loop", {}, ops, 0.005)

    rnn_benchmark(lambda: sum(range(2000)), windows=2, group="mine", evidence=evidence)
"""


def test_a_profiled_session_tells_where_the_time_went_and_where_the_trace_is(project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=PROFILED)
    project.runpytest_inprocess(*QUICK, "--benchmark-autosave", "--rnn-profile").assert_outcomes(passed=2)
    run = read_run(_run_file(project.path))
    traced, untraced = (record.facts["profile"] for record in run.records)
    for table in (traced, untraced):
        assert table["wall_s"] == 0.005
        assert table["shares_pct"]["pointwise"] == pytest.approx(60)
        assert table["shares_pct"]["copies and layout"] == pytest.approx(20)
        assert table["shares_pct"]["framework overhead"] == pytest.approx(20)
        assert table["ops"][0]["op"] == "aten::tanh"
    (trace,) = project.path.glob(".benchmarks/traces/*/*.json")
    assert trace.name == "test_mine.py--test_mine-gru-torch-cpu-fp32-b2-h8-l1-t4.json"
    assert traced["trace"] == f"{trace.parent.name}/{trace.name}"
    assert untraced["trace"] is None
    assert "profiles" in run.session["overhead"]["parts_s"]


# --------------------------------------------------------------------------------------------- choosing and options


def test_a_session_without_our_benchmarks_saves_nothing_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FOREIGN)
    result = pytester.runpytest_inprocess(*QUICK, "--benchmark-autosave")
    result.assert_outcomes(passed=1)
    content = content_of(_run_file(pytester.path))
    assert "rnncore" not in content
    assert not {"fingerprint", "conditions", "ceilings"} & content["machine_info"].keys()
    assert "Outside the timed rounds" not in result.stdout.str()
    assert not (pytester.path / ".benchmarks" / "journal").exists()


def test_benchmarks_can_be_grouped_by_an_axis(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess(*QUICK, "--benchmark-group-by=param:runtime", "--rnn-device=cpu")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines_random(
        ["*benchmark 'runtime=torch': 2 tests*", "*benchmark 'runtime=onnxruntime': 2 tests*"]
    )


@pytest.mark.parametrize(("device", "left"), [("cpu", "cpu"), ("cuda", "cuda")])
def test_one_device_alone_leaves_the_cases_of_the_other_out(device: str, left: str, project: pytest.Pytester) -> None:
    listed = project.runpytest_inprocess("--collect-only", "-q", f"--rnn-device={device}").outlines
    tests = [line for line in listed if "::" in line]
    assert len(tests) == 4
    assert all(f"-{left}-" in line for line in tests)


def test_a_benchmark_without_a_case_on_the_chosen_device_is_left_out_and_not_skipped(project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=PROJECT.replace('for device in ("cpu", "cuda")', 'for device in ("cuda",)'))
    project.makepyfile(test_plain="def test_plain():\n    pass\n")
    args = ("-p", "no:cacheprovider", "--benchmark-disable")
    project.runpytest_inprocess(*args, "--rnn-device=cpu").assert_outcomes(passed=1, deselected=1)
    project.runpytest_inprocess(*args).assert_outcomes(passed=1, skipped=4)


@pytest.mark.parametrize("asked", ["cuda:1", "cuda:0"])
def test_a_gpu_of_another_number_is_an_axis_of_its_own(asked: str, project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=PROJECT)
    result = project.runpytest_inprocess("--rnn-device", asked, "--collect-only", "-q")
    ids = [line for line in result.outlines if "::" in line]
    assert ids
    name = asked.removesuffix(":0")
    assert all(f"-{name}-fp32" in line for line in ids)


def test_a_device_that_no_case_is_of_and_that_is_not_there_has_the_reason(project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=PROJECT)
    result = project.runpytest_inprocess("--rnn-device", "mps")
    result.stdout.fnmatch_lines(["*--rnn-device mps: no MPS device: *It needs an Apple GPU*"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.skipif(Device(CUDA).why_missing() is None, reason="there is a CUDA device")
def test_a_case_on_a_device_that_is_missing_is_skipped_with_what_is_missing(project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=PROJECT.replace("test_mine(made_device, ", "test_mine("))
    result = project.runpytest_inprocess(*QUICK, "--rnn-device=cuda", "-rs")
    result.assert_outcomes(skipped=4)
    result.stdout.fnmatch_lines(["SKIPPED *: no CUDA device: *"])


@pytest.mark.skipif(Device(CUDA).why_missing() is None, reason="there is a CUDA device")
def test_a_skip_brings_no_warning_of_a_fixture_that_was_not_used(project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=PROJECT.replace("test_mine(made_device, ", "test_mine("))
    result = project.runpytest_inprocess(*QUICK, "--rnn-device=cuda")
    result.assert_outcomes(skipped=4)
    assert "not used" not in result.stdout.str()


@pytest.mark.parametrize(("scale", "count"), [("quick", 4), ("full", 12)])
def test_the_scale_chooses_the_cases(scale: str, count: int, project: pytest.Pytester) -> None:
    listed = project.runpytest_inprocess("--collect-only", "-q", f"--rnn-scale={scale}").outlines
    assert sum("::" in line for line in listed) == count


def test_a_disabled_benchmark_calls_once_as_a_check_and_saves_nothing(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "--benchmark-disable", "--rnn-device=cpu")
    result.assert_outcomes(passed=4)
    assert not [path for path in project.path.glob(".benchmarks/**/*") if path.is_file()]
    assert "Outside the timed rounds" not in result.stdout.str()


@pytest.mark.parametrize("fixture", ["rnn_benchmark", "rnn_case"])
def test_a_test_that_asks_for_cases_without_the_mark_is_told_which(fixture: str, project: pytest.Pytester) -> None:
    project.makepyfile(test_bare=f"def test_bare({fixture}):\n    pass\n")
    result = project.runpytest_inprocess("--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["test_bare.py::test_bare: rnn_benchmark and rnn_case need the mark*rnn_cases(choose=*"])
    assert "fixture 'phase' not found" not in result.stdout.str()


@pytest.mark.parametrize(
    ("axis", "said"),
    [("phase='warm'", "phase 'warm'; give one of train, infer, *"), ("'infer', mode=[]", "mode []; give a text, or None.")],
)
def test_a_case_that_is_none_is_told_with_its_test(axis: str, said: str, project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=PROJECT.replace("return [\n        Case(", f"Case({axis})\n    return [\n        Case("))
    result = project.runpytest_inprocess("--collect-only")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"test_mine.py::test_mine: rnn_cases: a Case has the {said}".replace("[]", "[[]]")])


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_a_number_of_threads_below_one_is_refused_and_what_is_allowed_is_said(
    threads: str, project: pytest.Pytester
) -> None:
    result = project.runpytest_inprocess(f"--rnn-threads={threads}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--rnn-threads*{threads}*at least 1*"])


@pytest.mark.parametrize("limit", ["0", "-1", "abc", "nan", "inf", ""])
def test_a_time_limit_that_is_none_is_refused_and_what_is_allowed_is_said(limit: str, project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess(f"--rnn-case-timeout={limit}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--rnn-case-timeout*'{limit}' is not a time limit; give a number of seconds above 0."])


@pytest.mark.parametrize("option", ["--rnn-device=tpu", "--rnn-scale=huge"])
def test_an_unknown_device_or_scale_is_refused_and_the_known_ones_are_named(option: str, project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    known = "*'tpu'*cpu, cuda*" if "device" in option else "*invalid choice*quick*default*full*"
    result.stderr.fnmatch_lines([f"*{option.split('=')[0]}*{known}"])


def test_the_marker_and_the_options_are_explained(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("--markers").stdout.fnmatch_lines(
        ["@pytest.mark.rnn_cases(choose=FUNCTION, only_with=None): *"]
    )
    options = project.runpytest_inprocess("--help").stdout
    options.fnmatch_lines_random(["*--rnn-scale=*", "*--rnn-device=*", "*--rnn-data=*", "*--rnn-threads=*"])
    options.fnmatch_lines_random(["*--rnn-profile*", "*--rnn-case-timeout=*", "*--rnn-interleaved*"])


def test_an_active_plugin_leaves_heavy_packages_alone_in_other_sessions(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text("def test_plain():\n    pass\n")
    heavy = ("torch", "pandas", "onnxruntime", "numpy", "scipy", "pynvml")
    code = (
        "import sys, pytest\n"
        "assert pytest.main(['-q', '-p', 'no:cacheprovider']) == 0\n"
        "assert 'rnncore.measure.plugin' in sys.modules\n"
        f"print('loaded:', [name for name in {heavy} if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "loaded: []" in done.stdout


def test_a_session_without_pytest_benchmark_still_runs(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text("def test_plain():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:benchmark", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_an_interrupted_session_is_resumed_where_it_was_cut_off(broken_off, tmp_path: Path) -> None:
    broken_off("raise KeyboardInterrupt")
    (before,) = _journals(tmp_path)
    done = broken_off("pass", "--rnn-resume", "--benchmark-autosave")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Resumed: 2 benchmarks were finished before." in done.stdout
    assert "2 passed, 2 deselected" in done.stdout
    run = read_run(_run_file(tmp_path))
    assert [record.fullname for record in run.records][:2] == FINISHED
    assert len(run.records) == 4
    assert [record.validity for record in run.records] == ["valid"] * 4
    assert run.session["resumed"]["benchmarks"] == 2
    assert _journals(tmp_path) == []
    assert not before.exists()


def test_a_session_of_which_all_was_finished_is_saved_with_its_ceilings_and_data(
    broken_off_here, project: pytest.Pytester
) -> None:
    broken_off_here("raise KeyboardInterrupt")
    result = broken_off_here("pass", *FINISHED, "--rnn-resume", "--benchmark-autosave")
    assert result.ret == pytest.ExitCode.OK
    _assert_finished(read_run(_run_file(project.path)))
    assert _journals(project.path) == []


def test_a_resumed_session_that_is_interrupted_again_loses_nothing(broken_off_here, project: pytest.Pytester) -> None:
    broken_off_here("raise KeyboardInterrupt")
    broken_off_here("raise KeyboardInterrupt", "--rnn-resume")
    (journal,) = _journals(project.path)
    run = read_run(recover(journal).path)
    assert [record.fullname for record in run.records] == FINISHED


def test_a_session_on_other_threads_is_not_resumed(broken_off_here, project: pytest.Pytester) -> None:
    broken_off_here("raise KeyboardInterrupt")
    result = broken_off_here("pass", "--rnn-resume", "--rnn-threads=2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "is of other threads; its rows do not belong beside new ones" in result.stderr.str()
    assert len(_journals(project.path)) == 1


def test_a_session_on_other_data_is_not_resumed_and_loses_nothing(broken_off_here, project: pytest.Pytester) -> None:
    broken_off_here("raise KeyboardInterrupt")
    zone = (project.path / "ZONE_hourly.csv").read_text(encoding="utf-8")
    (project.path / "OTHER_hourly.csv").write_text(zone.replace(",1001", ",2001"), encoding="utf-8")
    result = broken_off_here("pass", "--rnn-resume", "--rnn-data=OTHER_hourly.csv")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    said = result.stdout.str() + result.stderr.str()
    assert "measured on other data, ZONE_hourly; give the same --rnn-data." in said
    (journal,) = _journals(project.path)
    assert len(read_run(recover(journal).path).records) == 2


def test_nothing_to_resume_is_told(broken_off_here) -> None:
    result = broken_off_here("pass", "--rnn-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--rnn-resume: nothing to recover" in result.stderr.str()
