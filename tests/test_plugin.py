"""Tests of the pytest plugin in small projects of a user: what is timed, what is saved, what is left alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Imported here, so that a session that pytester runs inside this process does not load torch a second time.
import torch  # noqa: F401

from rnncore.measure.case import AXES, Case
from rnncore.measure.machine import fingerprint
from rnncore.measure.memory import peak_rss_bytes

pytest_plugins = ["pytester"]

PROJECT = """
import pytest

from rnncore.errors import Unavailable
from rnncore.measure.case import Case

CALLS = []


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
    if rnn_case.device == "cuda" and rnn_case.cell == "lstm":
        raise Unavailable("no made runtime: pip install made")


@pytest.mark.rnn_cases(choose=choose)
def test_mine(rnn_case, rnn_benchmark, made_device):
    if rnn_case.device == "cuda":
        raise Unavailable("no made device: install its driver")
    calls = []
    rnn_benchmark(rnn_case, lambda: calls.append(sum(range(2000))), windows=3 * rnn_case.batch_size, group="mine")
    rnn_benchmark.record(validity="valid")
    assert rnn_benchmark.enabled or len(calls) == 1
    assert not rnn_benchmark.enabled or len(calls) > 4
"""

FOREIGN = """
def test_sort(benchmark):
    benchmark(sorted, [3, 1, 2])
"""

QUICK = ("-p", "no:cacheprovider", "--benchmark-max-time=0.01", "--benchmark-min-rounds=3", "--benchmark-warmup=off")


def _pytest(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *QUICK, *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a session with ours and a user's own benchmark saved."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_mine.py").write_text(PROJECT)
    (folder / "test_other.py").write_text(FOREIGN)
    done = _pytest(folder, "--benchmark-autosave", "--rnn-threads", "1", "-rs")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob(".benchmarks/*/0001_*.json")
    content: dict[str, Any] = json.loads(path.read_text())
    return {"content": content, "output": done.stdout}


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(test_mine=PROJECT)
    return pytester


def _ours(saved: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in saved["content"]["benchmarks"] if entry["name"].startswith("test_mine")]


def test_an_autosaved_run_holds_every_raw_round_of_ours(saved) -> None:
    assert len(_ours(saved)) == 4
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
    assert {(entry["extra_info"]["cell"], entry["extra_info"]["batch_size"]) for entry in _ours(saved)} == {
        (cell, size) for cell in ("gru", "lstm") for size in (1, 8)
    }


def test_a_run_holds_windows_rates_first_call_and_memory_beside_each_time(saved) -> None:
    for entry in _ours(saved):
        extra = entry["extra_info"]
        assert extra["windows"] == 3 * extra["batch_size"]
        assert extra["windows_per_s"] == pytest.approx(extra["windows"] / entry["stats"]["median"])
        assert 0 < extra["first_call_s"] < 1
        if extra["peak_rss_bytes"] is None:
            assert extra["peak_rss_bytes_why"]
        else:
            assert 5_000_000 < extra["peak_rss_bytes"] < 10_000_000_000
        assert (extra["peak_device_bytes"], extra["peak_device_bytes_why"]) == (None, "runs on the CPU")
        assert extra["validity"] == "valid"
        assert entry["group"] == "mine"


def test_a_run_tells_its_command_scale_data_and_version(saved) -> None:
    session = saved["content"]["rnncore"]
    assert session["command"] == ["pytest", *QUICK, "--benchmark-autosave", "--rnn-threads", "1", "-rs"]
    assert session["scale"] == "default"
    assert session["data"] is None
    assert session["version"]


def test_a_run_tells_the_machine_by_its_fingerprint(saved) -> None:
    assert saved["content"]["machine_info"]["fingerprint"] == json.loads(json.dumps(fingerprint(1)))


def test_what_is_unavailable_is_skipped_with_its_text_and_listed_with_it(saved) -> None:
    skipped = {entry["fullname"]: entry["reason"] for entry in saved["content"]["rnncore"]["skipped"]}
    assert skipped == {
        "test_mine.py::test_mine[gru-torch-cuda-fp32-b1-h8-l1-t4]": "no made device: install its driver",
        "test_mine.py::test_mine[gru-torch-cuda-fp32-b8-h8-l1-t4]": "no made device: install its driver",
        "test_mine.py::test_mine[lstm-onnxruntime-cuda-fp32-b1-h8-l1-t4]": "no made runtime: pip install made",
        "test_mine.py::test_mine[lstm-onnxruntime-cuda-fp32-b8-h8-l1-t4]": "no made runtime: pip install made",
    }
    assert "no made device: install its driver" in saved["output"]
    assert "no made runtime: pip install made" in saved["output"]
    assert "5 passed, 4 skipped" in saved["output"]


def test_a_users_own_benchmark_is_left_as_it_is(saved) -> None:
    (other,) = (entry for entry in saved["content"]["benchmarks"] if entry["name"] == "test_sort")
    assert "data" not in other["stats"]
    assert other["extra_info"] == {}


def test_a_session_without_our_benchmarks_saves_nothing_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FOREIGN)
    pytester.runpytest_inprocess(*QUICK, "--benchmark-autosave").assert_outcomes(passed=1)
    (path,) = pytester.path.glob(".benchmarks/*/0001_*.json")
    content = json.loads(path.read_text())
    assert "rnncore" not in content
    assert "fingerprint" not in content["machine_info"]


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


@pytest.mark.parametrize(("scale", "count"), [("quick", 4), ("full", 12)])
def test_the_scale_chooses_the_cases(scale: str, count: int, project: pytest.Pytester) -> None:
    listed = project.runpytest_inprocess("--collect-only", "-q", f"--rnn-scale={scale}").outlines
    assert sum("::" in line for line in listed) == count


def test_a_disabled_benchmark_calls_once_as_a_check_and_saves_nothing(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("-p", "no:cacheprovider", "--benchmark-disable", "--rnn-device=cpu")
    result.assert_outcomes(passed=4)
    assert not list(project.path.glob(".benchmarks/**/*.json"))


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_a_number_of_threads_below_one_is_refused_and_what_is_allowed_is_said(
    threads: str, project: pytest.Pytester
) -> None:
    result = project.runpytest_inprocess(f"--rnn-threads={threads}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--rnn-threads*{threads}*at least 1*"])


@pytest.mark.parametrize("option", ["--rnn-device=tpu", "--rnn-scale=huge"])
def test_an_unknown_device_or_scale_is_refused_and_the_known_ones_are_named(option: str, project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    known = "*cpu*cuda*" if "device" in option else "*quick*default*full*"
    result.stderr.fnmatch_lines([f"*{option.split('=')[0]}*invalid choice*{known}"])


def test_the_marker_and_the_options_are_explained(project: pytest.Pytester) -> None:
    project.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.rnn_cases(choose=FUNCTION): *"])
    options = project.runpytest_inprocess("--help").stdout
    options.fnmatch_lines_random(["*--rnn-scale=*", "*--rnn-device=*", "*--rnn-data=*", "*--rnn-threads=*"])


def test_an_active_plugin_leaves_heavy_packages_alone_in_other_sessions(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text("def test_plain():\n    pass\n")
    code = (
        "import sys, pytest\n"
        "assert pytest.main(['-q', '-p', 'no:cacheprovider']) == 0\n"
        "assert 'rnncore.measure.plugin' in sys.modules\n"
        "print('loaded:', [name for name in ('torch', 'pandas', 'onnxruntime') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert "loaded: []" in done.stdout


def test_the_peak_is_that_of_the_call_and_not_of_an_earlier_one() -> None:
    small, why = peak_rss_bytes(lambda: None)
    if small is None:
        pytest.skip(f"no peak on this system: {why}")
    size = 200_000_000
    large, _ = peak_rss_bytes(lambda: b"1" * size)
    after, _ = peak_rss_bytes(lambda: None)
    assert large is not None
    assert after is not None
    assert large - small > 0.9 * size
    assert large - after > 0.9 * size


def test_a_session_without_pytest_benchmark_still_runs(tmp_path: Path) -> None:
    (tmp_path / "test_plain.py").write_text("def test_plain():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:benchmark", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
