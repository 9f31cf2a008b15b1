"""Tests that a session which asks for nothing is as if the plugin were not there: files, screen, frames and modules."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rnncore

# A round of a clock that knows no calls is one call.
ONE_CALL = "--benchmark-calibration-precision=1"

# Without the plugin.
OFF = ("-p", "no:rnncore")

# A clock that moves by a step at each reading: figures are the same in each session.
STEPS = """
now = [0.0]


def tick():
    now[0] += 2**-10
    return now[0]
"""

CONFTEST = """
import json
import sys
from pathlib import Path

import pytest
import pytest_benchmark.plugin

pytest_benchmark.plugin.get_cpu_info = dict


@pytest.fixture
def broken():
    raise RuntimeError("cannot be opened")


@pytest.fixture
def broken_end():
    yield
    raise RuntimeError("cannot be closed")


def pytest_unconfigure(config):
    plugins = [name for name, plugin in config.pluginmanager.list_name_plugin() if plugin is not None]
    Path("loaded.json").write_text(json.dumps({"modules": sorted(sys.modules), "plugins": sorted(plugins)}))
"""

SUITE = """
import json
import sys
import warnings
from pathlib import Path

import pytest


class Odd:
    def __repr__(self):
        return "Odd()"


def test_plain():
    pass


def test_fails():
    assert 1 == 2


def test_warns():
    warnings.warn("mind the step")


def test_sum(benchmark):
    benchmark.extra_info.update(rnncore={"device": 3}, phase="infer", validity="odd", odd=Odd(), nan=float("nan"))
    assert benchmark(sum, range(10)) == 45


@pytest.mark.parametrize("count", [10, 20])
class TestOfAClass:
    @pytest.mark.benchmark(group="sorting", min_rounds=7)
    def test_sorted(self, benchmark, count):
        assert benchmark(sorted, range(count)) == [*range(count)]


def test_prepared(benchmark):
    benchmark.pedantic(list.pop, setup=lambda: (([1],), {}), teardown=lambda values: None, rounds=9, warmup_rounds=1)


def test_is_called_as_ever(benchmark):
    frames, events = [], []

    def look():
        frame = sys._getframe()
        names = []
        while frame:
            names.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
            frame = frame.f_back
        frames.append(names)

    sys.setprofile(lambda frame, event, _: events.append(f"{event} {frame.f_code.co_name}"))
    try:
        benchmark(look)
    finally:
        sys.setprofile(None)
    Path("called.json").write_text(json.dumps([frames[0], frames[-1], events, sorted(vars(benchmark))]))


def test_raises(benchmark):
    benchmark(lambda: 1 / 0)


def test_wrong(benchmark):
    assert benchmark(int) == 1


def test_broken(broken, benchmark):
    benchmark(int)


def test_broken_end(broken_end, benchmark):
    benchmark(int)


def test_skipped(benchmark):
    pytest.skip("not today")


@pytest.mark.xfail(reason="not yet")
def test_expected_to_fail(benchmark):
    assert benchmark(int) == 1


def test_unused(benchmark):
    pass
"""


class Done(NamedTuple):
    """What a session left: exit code, screen, and its files."""

    code: int
    screen: str
    files: dict[str, bytes]
    loaded: dict[str, list[str]]


def _made_alike(text: str) -> str:
    """Return what a session says without what differs between any two: times of the day, lengths, and the plugins.

    Lines are filled up around how long it took.
    """
    text = re.sub(r"={3,}", "===", text)
    text = re.sub(r"\d{8}_\d{6}", "DAY", re.sub(r"(in|Ran for) \d+\.\d+\w*s", r"\1 SECONDS", text))
    return re.sub(
        r"(?m)^(plugins: .*?)(, rnncore-[\w.+]+|rnncore-[\w.+]+, )", r"\1", re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
    )


COMMAND = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--benchmark-timer=steps.tick", ONE_CALL)


def _write_project(folder: Path) -> None:
    for name, text in {"steps": STEPS, "conftest": CONFTEST, "test_it": SUITE}.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


@cache
def _base() -> tuple[Path, bytes]:
    """Return what a session without the plugin saved for others to be compared with, and where in its project."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _write_project(folder)
        command = [*COMMAND, *OFF, "--benchmark-save=base", "-k", "sum or sorted or prepared"]
        subprocess.run(command, cwd=folder, capture_output=True, timeout=100, check=True)
        (path,) = folder.glob(".benchmarks/*/0001_base.json")
        return path.relative_to(folder), path.read_bytes()


def _run(folder: Path, *args: str) -> Done:
    """Run a session in a new project; where it compares, with a base of an earlier one."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    _write_project(folder)
    if any("compare" in arg for arg in args):
        place, text = _base()
        (folder / place).parent.mkdir(parents=True)
        (folder / place).write_bytes(text)
    done = subprocess.run([*COMMAND, *args], cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    files = {
        _made_alike(str(path.relative_to(folder))): re.sub(rb'"datetime": "[^"]*"', b'"datetime": 0', path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name != "loaded.json"
    }
    loaded = json.loads((folder / "loaded.json").read_text(encoding="utf-8"))
    return Done(done.returncode, _made_alike(done.stdout + done.stderr), files, loaded)


SAVED = ("--benchmark-autosave", "--benchmark-json=run.json")


@pytest.mark.parametrize(
    "args",
    [
        (*SAVED, "--full-trace", "-W", "error"),
        (*SAVED, "--tb=native", "--showlocals", "--benchmark-verbose"),
        ("--benchmark-disable",),
        ("--benchmark-skip", "-rs"),
        (
            *SAVED,
            "-v",
            "-ra",
            "--benchmark-compare=0001",
            "--benchmark-compare-fail=min:5%",
            "--benchmark-compare-fail=mean:5%",
        ),
        ("--benchmark-autosave", "--benchmark-compare", "--benchmark-compare-fail=max:1%", "-k", "sum or plain"),
        ("--benchmark-only", "-x", "--benchmark-json=missing/run.json"),
    ],
    ids=lambda args: " ".join(args)[-40:],
)
def test_files_screen_and_exit_code_are_those_of_pytest_benchmark_alone(args: tuple[str, ...], tmp_path: Path) -> None:
    with_it, without = _run(tmp_path / "project", *args), _run(tmp_path / "project", *args, *OFF)
    assert with_it.screen == without.screen
    assert with_it.code == without.code
    # Among the files is how the benchmark was called: its frames, and those of the fixture's own work.
    assert with_it.files == without.files


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Done]:
    """A session with the plugin, and one without."""
    folder = tmp_path_factory.mktemp("both") / "project"
    return _run(folder, *SAVED), _run(folder, *SAVED, *OFF)


def test_a_benchmark_is_called_through_no_frame_of_rnncore(both: tuple[Done, Done]) -> None:
    with_it, without = both
    first, last, events, attributes = json.loads(with_it.files["called.json"])
    assert with_it.files["called.json"] == without.files["called.json"]
    assert len(first) > 5
    # Of its files: a checkout, with its environment, may lie in a folder of that name.
    package = f"{Path(rnncore.__file__).parent}{os.sep}"
    assert not any(frame.startswith(package) for frame in (*first, *last))
    assert len(events) > 5
    assert "_raw" not in attributes


def test_what_is_loaded_more_is_light_and_rnncore_s_own(both: tuple[Done, Done]) -> None:
    more, less = (set(done.loaded["modules"]) for done in both)
    assert less - more == set()
    assert {name for name in more - less if not name.startswith("rnncore")} == set()
    assert more - less == {
        *("rnncore", "rnncore.errors", "rnncore.measure", "rnncore.runfile", "rnncore.runfile.slots"),
        *(f"rnncore.measure.{name}" for name in ("fixtures", "harness", "hooks", "options", "plugin")),
    }


def test_no_other_plugin_joins(both: tuple[Done, Done]) -> None:
    more, less = (done.loaded["plugins"] for done in both)
    # Those without a name have a number.
    assert [name for name in more if name not in less and not name.isdecimal()] == ["rnncore"]


def test_a_base_with_facts_is_compared_by_pytest_benchmark_alone(tmp_path: Path) -> None:
    def screens(*args: str) -> list[Any]:
        folder, seen = tmp_path / "project", []
        for off in ((), OFF):
            _run(folder, *OFF, "--benchmark-compare", "-k", "plain")
            command = [*COMMAND, "-k", "sum"]
            faithful = [*command, "--rnn-facts", "--benchmark-save=facts"]
            subprocess.run(faithful, cwd=folder, capture_output=True, timeout=100, check=True)
            done = subprocess.run(
                [*command, *args, *off], cwd=folder, capture_output=True, text=True, timeout=100, check=False
            )
            seen.append((done.returncode, _made_alike(done.stdout + done.stderr)))
        return seen

    with_it, without = screens("--benchmark-compare=0002", "--benchmark-compare-fail=mean:1%")
    assert with_it == without
