"""Tests that the page on own models and runtimes tells the truth: its code is taken from it and run as a user would."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rnncore.cli import app
from rnncore.compare.choices import Limits, recommend
from rnncore.errors import ConfigError
from rnncore.report.recommendation import recommendation_facts
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Run
from rnncore.runtimes.own_model import load_own_model
from tests.bench.test_suites import BRIEF

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).parents[1]
PAGE = (REPOSITORY / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
MODEL, RUNTIME, SUITE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
GRU_ALONE = "this runtime has rnncore's GRU alone."
(ENTRY_POINT,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


def _env(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def _install(folder: Path, code: str) -> str:
    """Do what pip does for a package with the page's runtime and entry point; return the runtime's name."""
    (folder / "my_runtime.py").write_text(code)
    name, value = re.findall(r'(\w+) = "(my_runtime:KIND)"', ENTRY_POINT)[0]
    info = folder / "my_runtime-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-runtime\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[rnncore.runtimes]\n{name} = {value}\n")
    return str(name)


def _measured(folder: Path, *args: str, data: Path) -> Run:
    """Return the run of a session of the suites, with brief ceilings and warm-up."""
    (folder / "brief.py").write_text(BRIEF, encoding="utf-8")
    run_file = folder / "runs" / "run.json"
    run_file.parent.mkdir()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "brief", "--rnn-scale=quick"]
    command += ["--rnn-device=cpu", f"--rnn-data={data}", "--rnn-threads=1", "--benchmark-max-time=0.02"]
    command += ["--benchmark-min-rounds=1", f"--benchmark-storage={folder / 'storage'}", f"--benchmark-json={run_file}"]
    done = subprocess.run(
        [*command, *args], cwd=REPOSITORY, env=_env(folder), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return read_run(run_file)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, few_zones: Path) -> Run:
    """A run of the page's model on every runtime, the page's own among them, which is beside the others of the suite too."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_model.py").write_text(MODEL)
    name = _install(folder, RUNTIME)
    assert "pytest bench/bench_own_model.py --rnn-model my_model:make_forecaster" in PAGE
    suites = "bench/bench_own_model.py", "bench/bench_inference.py", "--rnn-model", "my_model:make_forecaster"
    return _measured(folder, *suites, "-k", f"own_forecast or {name}", data=few_zones)


def _of(run: Run, test: str) -> tuple[list[Record], set[str]]:
    """Return the rows of a test, and why it was skipped."""
    rows = [record for record in run.records if record.short_name.startswith(f"{test}[")]
    return rows, {why for name, why in run.skipped if f"::{test}[" in name}


def test_the_page_s_model_is_measured_on_every_runtime_and_right(own: Run) -> None:
    records, _ = _of(own, "test_own_forecast")
    assert {(record.facts["runtime"], record.facts["batch_size"]) for record in records} == {
        (runtime, batch_size) for runtime in ("torch", "onnxruntime") for batch_size in (1, 32)
    }
    for record in records:
        assert record.validity == "valid"
        assert record.facts["model"] == "my_model:make_forecaster"
        assert 0 < record.facts["parity_max_abs"] <= 1e-5
    for runtime in ("torch", "onnxruntime"):
        code = _recommended(own.path, runtime)
        assert "my_model:make_forecaster" in code
        assert "rnncore train" not in code
        _run_code(own.path.parents[1], code)
    _tell_with_every_verb(own.path.parent, profiled=False)


def _recommended(run_file: Path, runtime: str) -> str:
    """Return the code that is recommended where nothing but a runtime was measured."""
    run = read_run(run_file)
    records = tuple(record for record in run.records if record.facts["runtime"] == runtime)
    return str(recommendation_facts(recommend(replace(run, records=records), Limits()))["code"])


def _run_code(folder: Path, code: str) -> None:
    code += "print(forecasts.shape, forecasts.dtype)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=_env(folder), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, code + done.stderr
    assert re.fullmatch(r"\(\d+, 1\) float32", done.stdout.strip())


def _tell_with_every_verb(runs: Path, profiled: bool) -> str:
    """Give the run to each verb that reads one; return the report."""
    run, report = str(runs / "run.json"), runs.parent / "report"
    verbs = [["report", run, "--out", str(report)], ["recommend", run], ["compare", run, run], ["trend", str(runs)]]
    verbs += [["convert", run, "--to", to] for to in ("bencher", "github-bigger-is-better", "github-smaller-is-better")]
    verbs += [["profile", run], ["profile", run, run]] if profiled else []
    for verb in verbs:
        done = CliRunner().invoke(app, verb)
        # 3: a single process a side decides nothing.
        assert done.exit_code in ((0, 3) if verb[0] == "compare" else (0,)), f"{verb}: {done.output} {done.exception}"
    return (report / "report.md").read_text(encoding="utf-8")


def test_a_runtime_of_another_package_in_a_precision_of_its_own_goes_through_every_verb(
    tmp_path: Path, few_zones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so does one of ours beside it that reads files: the code that is recommended for each runs as it is printed."""
    name = _install(tmp_path, RUNTIME.replace('("fp32",)', '("fp8",)'))
    which = ["-k", f"gru and fast and ({name} or onnxruntime)", "--rnn-profile"]
    records = _measured(tmp_path, "bench/bench_inference.py", "bench/bench_accuracy.py", *which, data=few_zones).records
    ways = {(one.facts["phase"], one.facts["runtime"], one.facts["precision"]) for one in records}
    assert ways == {(phase, *way) for phase in ("infer", "accuracy") for way in ((name, "fp8"), ("onnxruntime", "fp32"))}
    assert {record.validity for record in records} == {"valid"}
    report = _tell_with_every_verb(tmp_path / "runs", profiled=True)
    assert "GRU fast in NumPy, CPU, fp8" in report
    assert "sMAPE not measured" not in CliRunner().invoke(app, ["recommend", str(tmp_path / "runs" / "run.json")]).output

    monkeypatch.chdir(tmp_path)
    for runtime in (name, "onnxruntime"):
        code = _recommended(tmp_path / "runs" / "run.json", runtime)
        for command in re.findall(r"# rnncore (.*)", code):
            brief = ["--data", str(few_zones), "--max-steps", "1"] if command.startswith("train") else []
            done = CliRunner().invoke(app, [*shlex.split(command), *brief])
            assert done.exit_code == 0, f"{command}: {done.output} {done.exception}"
        _run_code(tmp_path, code)


def test_the_page_s_runtime_stands_beside_the_others_and_is_right(own: Run) -> None:
    records, skipped = _of(own, "test_forecast")
    assert {(record.facts["cell"], record.facts["runtime"]) for record in records} == {("gru", "numpy")}
    assert all(record.validity == "valid" and record.facts["kernel"] == "NumPy GRU" for record in records)
    assert skipped == {GRU_ALONE}


def test_a_model_that_cannot_be_made_ends_the_session_at_once_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "bench/bench_own_model.py", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rnn-model=no_such:factory"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "'no_such:factory' cannot be imported" in done.stderr
    assert "test_own_forecast" not in done.stdout + done.stderr


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


def test_the_page_s_suite_is_measured_and_right(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(SUITE, encoding="utf-8")
    (tmp_path / "brief.py").write_text(BRIEF, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "brief", "--benchmark-json=run.json"]
    command += ["--benchmark-max-time=0.01"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    records = read_run(tmp_path / "run.json").records
    assert [(record.runtime, record.batch_size, record.windows, record.validity) for record in records] == [
        ("mine", 1, 1, "valid"),
        ("mine", 32, 32, "valid"),
    ]


def test_the_page_s_model_is_skipped_by_the_page_s_runtime_with_the_reason(own: Run) -> None:
    records, skipped = _of(own, "test_own_forecast")
    assert {record.runtime for record in records} == {"torch", "onnxruntime"}
    assert GRU_ALONE in skipped
