"""Tests of what holds rnncore and pytest-benchmark together: private parts, other plugins, and stores that fail."""

import ast
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

# Imported here, so that a session that pytester runs inside this process does not load it a second time.
import scipy.stats  # noqa: F401

from rnncore.measure import harness
from rnncore.runfile.journal import newest_journal, recover
from rnncore.runfile.read import read_run
from tests.measure.test_plugin import FOREIGN, PROJECT, QUICK

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).parents[2]
PRIVATE = {name for names in harness._PARTS.values() for name in names if name.startswith("_")}
PRIVATE |= {"_benchmarksession", "compared_mapping", "save_json", "get_machine_info"}

OURS = ("--rnn-device=cpu", *QUICK)
PLAIN = "def test_plain():\n    pass\n"
STORE = "--benchmark-storage"


# ----------------------------------------------------------------------------------------------------- private parts


def _sources() -> list[Path]:
    files = [*REPOSITORY.glob("rnncore/**/*.py"), *REPOSITORY.glob("bench/**/*.py")]
    return [path for path in files if path != Path(harness.__file__).resolve()]


def test_private_parts_of_pytest_benchmark_are_used_in_one_file() -> None:
    found = []
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[Any] = []
            if isinstance(node, ast.Attribute):
                # An attribute of its own is no part of pytest-benchmark.
                names = [] if ast.unparse(node.value) == "self" else [node.attr]
            elif isinstance(node, ast.Constant):
                names = [node.value]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names if alias.name.startswith("pytest_benchmark")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pytest_benchmark"):
                names = [node.module]
            wrong = [name for name in names if name in PRIVATE or str(name).startswith("pytest_benchmark.")]
            wrong += names if isinstance(node, ast.Import | ast.ImportFrom) else []
            found += [f"{path.relative_to(REPOSITORY)}:{node.lineno}: {name}" for name in wrong]  # type: ignore[attr-defined]
    assert found == []


def test_every_private_part_is_there_in_the_version_that_is_installed(pytester: pytest.Pytester) -> None:
    config = pytester.parseconfigure()
    assert harness.missing_parts(harness.session_of(config)) == []


@pytest.mark.parametrize(
    ("place", "part", "named"),
    [
        ("pytest_benchmark.fixture.BenchmarkFixture", "_make_stats", "fixture.BenchmarkFixture._make_stats"),
        ("pytest_benchmark.fixture.BenchmarkFixture", "_make_runner", "fixture.BenchmarkFixture._make_runner"),
        ("pytest_benchmark.session.BenchmarkSession", "save_json", "BenchmarkSession.save_json"),
    ],
)
def test_a_version_without_a_private_part_is_refused_before_anything_is_measured_with_the_parts_name(
    place: str, part: str, named: str, project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(f"{place}.{part}")
    result = project.runpytest_inprocess(*OURS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: rnncore cannot measure with pytest-benchmark *, which lacks {named}. Install *"])
    assert not (project.path / ".benchmarks" / "journal").exists()


def test_a_version_without_a_private_part_is_no_matter_where_nothing_of_ours_is_run(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("pytest_benchmark.utils.get_machine_id")
    project.makepyfile(test_other=FOREIGN, test_plain=PLAIN)
    project.runpytest_inprocess(*OURS, "-k", "sort or plain").assert_outcomes(passed=2, deselected=4)


# ----------------------------------------------------------------------------------------------------- other plugins


@pytest.mark.parametrize("args", [(), ("--rnn-scale=gate",), ("--rnn-scale=quick",)], ids=["plain", "gate", "quick"])
def test_without_pytest_benchmark_ours_are_skipped_with_why_and_the_others_run(
    args: tuple[str, ...], project: pytest.Pytester
) -> None:
    project.makepyfile(test_plain=PLAIN, test_mine=PROJECT.replace('"quick": (1,)', '"quick": (1,), "gate": (1,)'))
    off = ("-p", "no:benchmark", "-p", "no:cacheprovider", "-rs")
    result = project.runpytest_subprocess(*off, "--rnn-device=cpu", *args)
    result.assert_outcomes(passed=1, skipped=4 if not args else 2)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["SKIPPED *: rnncore's benchmarks need pytest-benchmark, which is not active here; *"])


@pytest.mark.parametrize("args", [("--rnn-scale=gate",), ("--rnn-profile",), ()], ids=["gate", "profile", "none"])
def test_without_pytest_benchmark_sessions_without_ours_run_as_ever(
    args: tuple[str, ...], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(PLAIN)
    result = pytester.runpytest_subprocess("-p", "no:benchmark", "-p", "no:cacheprovider", *args)
    result.assert_outcomes(passed=1)


def test_without_pytest_benchmark_nothing_is_resumed_and_why_is_said(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-p", "no:benchmark", "-p", "no:cacheprovider", "--rnn-resume")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --rnn-resume: rnncore's benchmarks need pytest-benchmark, *"])


# As pytest-codspeed does: a fixture of that name that pretends to be pytest-benchmark's.
FOREIGN_FIXTURE = """
import pytest
from pytest_benchmark.fixture import BenchmarkFixture


class Other:
    @property
    def __class__(self):
        return BenchmarkFixture

    def __call__(self, run, *args):
        return run(*args)


@pytest.fixture
def benchmark():
    return Other()
"""


@pytest.mark.parametrize("args", [("--benchmark-disable",), ("--benchmark-autosave",)], ids=["disabled", "measured"])
def test_where_another_plugin_has_replaced_the_fixture_ours_are_skipped_and_others_use_it(
    args: tuple[str, ...], project: pytest.Pytester
) -> None:
    project.makeconftest(FOREIGN_FIXTURE)
    project.makepyfile(test_other=FOREIGN)
    result = project.runpytest_inprocess(*OURS, *args, "-rs")
    result.assert_outcomes(passed=1, skipped=4)
    result.stdout.fnmatch_lines(["SKIPPED *: the fixture 'benchmark' of this session is conftest.Other, not pytest-*"])


# ------------------------------------------------------------------------------------------- stores that cannot be written


def _in_the_way(folder: Path) -> Path:
    """Put a file where a store would be."""
    path = folder / "store"
    path.write_text("no folder")
    return path


@pytest.mark.parametrize("store", ["store", "store/below", "file://store"])
@pytest.mark.parametrize("save", ["--benchmark-autosave", "--benchmark-save=mine"])
def test_a_store_that_cannot_be_written_is_refused_before_anything_is_measured(
    store: str, save: str, project: pytest.Pytester
) -> None:
    path = _in_the_way(project.path)
    result = project.runpytest_inprocess(*OURS, save, f"{STORE}={store}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {STORE}: {path}/* cannot be written to (*), so nothing that is measured could *"])
    result.assert_outcomes()
    assert path.read_text() == "no folder"


def test_a_store_that_cannot_be_written_is_no_matter_where_nothing_is_saved_or_nothing_of_ours_is_run(
    project: pytest.Pytester,
) -> None:
    _in_the_way(project.path)
    project.makepyfile(test_plain=PLAIN)
    store = f"{STORE}=store"
    project.runpytest_inprocess(*OURS, store).assert_outcomes(passed=4 + 1)
    project.runpytest_inprocess(*OURS, store, "--benchmark-autosave", "--benchmark-disable").assert_outcomes(passed=4 + 1)
    project.runpytest_inprocess(*OURS, store, "--benchmark-autosave", "-k", "plain").assert_outcomes(passed=1, deselected=4)
    result = project.runpytest_inprocess(*OURS, store, "--benchmark-autosave", "--collect-only")
    assert result.ret == pytest.ExitCode.OK


def test_the_refusal_is_what_is_said_where_warnings_are_errors(project: pytest.Pytester) -> None:
    _in_the_way(project.path)
    result = project.runpytest_subprocess(*OURS, "-W", "error", "--benchmark-autosave", f"{STORE}=store")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {STORE}: * cannot be written to *"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("path", ["missing/run.json", "folder", "store/run.json"])
def test_a_json_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    path: str, project: pytest.Pytester
) -> None:
    _in_the_way(project.path)
    project.mkdir("folder")
    result = project.runpytest_inprocess(*OURS, f"--benchmark-json={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --benchmark-json: {path} cannot be written to (*), so nothing that is measured *"])


def test_the_look_at_a_json_file_changes_nothing_and_leaves_nothing(project: pytest.Pytester) -> None:
    (project.path / "run.json").write_text("of before")
    args = (*OURS, "--benchmark-json=run.json", "--benchmark-max-time=0.01")
    project.makeconftest(
        "import pathlib\n\n\ndef pytest_runtest_setup():\n    assert pathlib.Path('run.json').read_text() == 'of before'\n"
    )
    project.runpytest_inprocess(*args).assert_outcomes(passed=4)
    assert len(read_run(project.path / "run.json").records) == 4
    files = sorted(path.name for path in project.path.iterdir() if path.is_file())
    assert files == ["conftest.py", "run.json", "test_mine.py"]


def _full(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let files of these names, or in folders of these names, take the first bytes and then no more."""
    true_open = Path.open

    class Full:
        def __init__(self, path: Path) -> None:
            self._file = true_open(path, "wb")

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: bytes) -> None:
            self._file.write(data[:100])
            self._file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open_file(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "w" in mode and set(names) & {path.parent.name, path.suffix}:
            return Full(path)
        return true_open(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_file)


def test_a_run_that_cannot_be_saved_at_the_end_lies_beside_the_journal_and_its_place_is_said(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    _full(monkeypatch, harness.machine_id())
    result = project.runpytest_inprocess(*OURS, "--benchmark-autosave")
    (path,) = project.path.glob(".benchmarks/journal/*.json")
    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"The run file could not be saved to *No space left on device*; it lies in {path}."])
    assert len(read_run(path).records) == 4
    # A half file would end whatever reads the store.
    assert list(project.path.glob(f".benchmarks/{harness.machine_id()}/*")) == []
    assert list(project.path.glob(".benchmarks/journal/*.jsonl")) == []


def test_a_run_that_cannot_be_saved_where_there_is_no_journal_lies_in_the_working_folder(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.mkdir(".benchmarks")
    (project.path / ".benchmarks" / "journal").write_text("not a folder")
    _full(monkeypatch, harness.machine_id())
    result = project.runpytest_inprocess(*OURS, "--benchmark-autosave")
    (path,) = project.path.glob("rnncore_*.json")
    result.stdout.fnmatch_lines([f"The run file could not be saved to *; it lies in {path}."])
    assert len(read_run(path).records) == 4


def test_a_json_file_that_cannot_be_written_at_the_end_loses_nothing_and_the_store_has_its_run(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makeconftest(
        "import pathlib, pytest\n\n\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_runtest_teardown(nextitem):\n"
        "    if nextitem is None:\n"
        "        pathlib.Path('out').rename('moved')\n"
    )
    project.mkdir("out")
    result = project.runpytest_inprocess(*OURS, "--benchmark-json=out/run.json", "--benchmark-autosave")
    result.stdout.fnmatch_lines(["The run file could not be saved to out/run.json (*); it lies in *"])
    (kept,) = project.path.glob(".benchmarks/journal/*.json")
    (stored,) = project.path.glob(f".benchmarks/{harness.machine_id()}/*.json")
    assert len(read_run(kept).records) == len(read_run(stored).records) == 4


def test_a_run_that_can_be_written_nowhere_keeps_its_journal_and_says_so(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    _full(monkeypatch, harness.machine_id())
    monkeypatch.setattr("rnncore.measure.session.write_text", full)
    result = project.runpytest_inprocess(*OURS, "--benchmark-autosave")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["The run file could not be saved to *; and nowhere else either.", "Not saved; 'rnncore recover *.jsonl' makes *"]
    )
    monkeypatch.undo()
    # The session ran in this process.
    monkeypatch.setattr("rnncore.runfile.journal._is_being_written", lambda journal: False)
    assert recover(newest_journal(project.path / ".benchmarks" / "journal")).finished == 4


def test_of_a_run_that_was_saved_the_very_file_is_known_and_no_other_is_read(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Advice and report name the file: it is known from saving, whatever else the store holds."""
    store = project.path / ".benchmarks" / harness.machine_id()
    store.mkdir(parents=True)
    for number in range(1, 40):
        (store / f"{number:04}_other.json").write_text("no JSON at all")
    project.makeconftest(
        "import pytest\nfrom rnncore.measure.plugin import saved_run_file\n\n\n"
        "@pytest.hookimpl(trylast=True)\n"
        "def pytest_terminal_summary(terminalreporter, config):\n"
        "    terminalreporter.write_line(f'saved: {saved_run_file(config)}')\n"
    )
    result = project.runpytest_inprocess(*OURS, "--benchmark-save=mine")
    result.stdout.fnmatch_lines([f"saved: {store / '0040_mine.json'}"])
    assert json.loads((store / "0040_mine.json").read_text())["rnncore"]
