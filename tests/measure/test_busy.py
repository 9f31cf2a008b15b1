"""Tests of the look at the host: whether others compute on it, what is said of that, and how threads wait then."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnncore import cli
from rnncore.errors import ConfigError
from rnncore.measure import busy, linux
from rnncore.measure.busy import Host, look, notice, session_environment, waiting_facts

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).parents[2]

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}

QUIET = Host(cpus=2, threads=2, others_cpus=0.1, load_1min=0.2, pressure_pct=0.5)
BUSY = Host(cpus=2, threads=2, others_cpus=1.04, load_1min=2.13, pressure_pct=35.2)


def _stat(*busy_ticks: int, idle: int = 0) -> str:
    """Return /proc/stat of CPUs that were busy for these numbers of ticks."""
    lines = [f"cpu{cpu} {ticks} 0 0 {idle - ticks} 0 0 0 0 0 0" for cpu, ticks in enumerate(busy_ticks)]
    return "\n".join(["cpu  1 2 3 4 5 6 7 8 0 0", *lines, "intr 1 2", "ctxt 9", ""])


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A /proc that is made up, of a machine with four CPUs and without a load."""
    monkeypatch.setattr(linux, "PROC", tmp_path)
    monkeypatch.setattr(busy, "usable_cpus", lambda: frozenset({0, 1, 3}))
    monkeypatch.setattr(busy, "default_threads", lambda: 3)
    monkeypatch.setattr(os, "getloadavg", lambda: (2.5, 1.0, 1.0), raising=False)
    monkeypatch.setattr(busy, "LOOK_S", 0.0)
    busy.this_host.cache_clear()
    yield tmp_path
    busy.this_host.cache_clear()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What the look will find, and how often it was taken; nothing is said of waiting by the environment."""
    found = SimpleNamespace(host=QUIET, looks=0)

    def made() -> Host:
        found.looks += 1
        return found.host

    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(busy, "look", made)
    busy.this_host.cache_clear()
    yield found
    busy.this_host.cache_clear()


def _sleep_changes(monkeypatch: pytest.MonkeyPatch, path: Path, before: str, after: str) -> None:
    path.write_text(before)
    monkeypatch.setattr(time, "sleep", lambda seconds: path.write_text(after))


def test_others_are_what_the_usable_cpus_did_while_this_process_slept(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The third CPU is not ours: what it does is no matter.
    _sleep_changes(monkeypatch, proc / "stat", _stat(5, 5, 5, 5, idle=10), _stat(25, 5, 25, 10, idle=30))
    assert look().others_cpus == pytest.approx(1.25)


@pytest.mark.parametrize(
    "text", [None, "", "cpu 1 2 3\n", _stat(0, 0, 0, 0, idle=0)], ids=["no file", "empty", "no CPUs", "still"]
)
def test_where_the_system_does_not_tell_the_load_decides(
    proc: Path, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (proc / "stat").write_text(text)
    found = look()
    assert found == Host(3, 3, None, 2.5, None)
    assert found.is_busy
    assert not Host(3, 3, None, 0.4, None).is_busy
    assert not Host(3, 3, None, None, None).is_busy
    facts = found.facts
    assert json.loads(json.dumps(facts)) == facts
    assert facts["others_cpus_why"] == f"{proc}/stat does not tell"
    assert "load_1min_why" not in facts


def test_the_pressure_is_that_of_the_last_ten_seconds(proc: Path) -> None:
    (proc / "pressure").mkdir()
    (proc / "pressure/cpu").write_text("some avg10=12.50 avg60=3.00 avg300=1.00 total=7\nfull avg10=0.00\n")
    assert look().pressure_pct == 12.5


@pytest.mark.parametrize(
    ("cpus", "threads", "others_cpus", "is_busy"),
    [
        (2, 2, 0.4, False),
        (2, 2, 0.5, True),
        (2, 1, 1.0, False),
        (2, 1, 1.5, True),
        (64, 64, 1.0, True),
        (64, 32, 8.0, False),
    ],
)
def test_a_host_is_busy_where_others_leave_fewer_cpus_than_there_are_threads(
    cpus: int, threads: int, others_cpus: float, is_busy: bool
) -> None:
    assert Host(cpus, threads, others_cpus, None, None).is_busy is is_busy


@pytest.mark.clock
def test_a_busy_loop_beside_is_seen() -> None:
    if not hasattr(os, "sched_setaffinity") or look().others_cpus is None:
        pytest.skip("this system does not tell what its CPUs do")
    cpus = os.sched_getaffinity(0)
    # With the loop on the one CPU that is looked at, whatever else the machine does.
    os.sched_setaffinity(0, {min(cpus)})
    loop = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
    try:
        seen = [look() for _ in range(10)]
    finally:
        loop.kill()
        loop.wait()
        os.sched_setaffinity(0, cpus)
    assert any(found.is_busy for found in seen)


def test_on_a_quiet_host_nothing_is_said_and_threads_wait_as_ever(host: SimpleNamespace) -> None:
    assert notice() is None
    assert session_environment() == {**ONE_THREAD, "GOMP_SPINCOUNT": "300000"}


def test_on_a_busy_host_threads_wait_without_spinning_and_it_is_said_in_one_line_with_what_to_do(
    host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.host = BUSY
    chosen = session_environment()
    assert chosen == {**ONE_THREAD, "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "100"}
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    said = notice()
    assert said is not None
    assert said.startswith(
        "Busy host: others use 1.0 of its 2 CPUs, load 2.1, CPU pressure 35 %. Threads wait without spinning, so that "
    )
    assert "end the other work and run again, or leave it CPUs with --rnn-threads." in said
    # The gate has no such option, and passes on what follows a --.
    assert str(notice(threads="'-- --rnn-threads N'")).endswith("or leave it CPUs with '-- --rnn-threads N'.")
    assert "\n" not in said
    assert waiting_facts()["host"] == {"busy": True, **vars(BUSY)}
    assert host.looks == 1


def test_where_torch_was_loaded_before_it_is_said_what_to_start_with(host: SimpleNamespace) -> None:
    host.host = BUSY
    assert "start again with OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=100" in str(notice())


def test_of_other_suites_it_is_not_said_how_threads_wait(host: SimpleNamespace) -> None:
    host.host = BUSY
    assert notice(of_cases=False) == (
        "Busy host: others use 1.0 of its 2 CPUs, load 2.1, CPU pressure 35 %. Times are longer than on a quiet host: end "
        "the other work and run again."
    )


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "300000")])
def test_what_was_chosen_before_stays_and_costs_no_look(
    name: str, value: str, host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    host.host = BUSY
    assert session_environment() == ONE_THREAD
    assert waiting_facts() == {"waiting": "spinning", "host": None, "host_why": "not looked at in a short process"}
    assert host.looks == 0


def test_a_process_that_was_started_by_one_that_chose_does_not_choose_again(
    host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in session_environment().items():
        monkeypatch.setenv(name, value)
    host.host = BUSY
    session_environment()
    assert host.looks == 1


MINE = """
import pytest

from rnncore.runfile.case import Case


@pytest.mark.rnn_cases(choose=lambda scale: [Case("infer", "gru", 8, 1, 4, batch_size=1)])
def test_mine(rnn_case, rnn_benchmark):
    rnn_benchmark(int, windows=1, group="mine")
"""


@pytest.mark.parametrize(
    ("text", "args", "looks"),
    [
        (MINE, [], 1),
        (MINE, ["--collect-only"], 0),
        (MINE, ["--benchmark-disable"], 0),
        (MINE, ["--rnn-scale=gate"], 0),
        ("def test_foreign(benchmark):\n    benchmark(int)\n", [], 0),
        ("def test_foreign(benchmark):\n    benchmark(int)\n", ["--rnn-facts"], 1),
        ("def test_foreign():\n    pass\n", [], 0),
    ],
    ids=["cases", "listed alone", "checked alone", "gate", "another benchmark", "another with facts", "a test"],
)
def test_only_a_session_that_measures_looks_and_says_so(
    text: str, args: list[str], looks: int, host: SimpleNamespace, pytester: pytest.Pytester
) -> None:
    host.host = BUSY
    pytester.makepyfile(text)
    # What is asked for is known before anything runs.
    pytester.makeconftest("def pytest_runtestloop():\n    return True\n")
    done = pytester.runpytest_inprocess(*args)
    assert host.looks == looks
    assert sum(line.startswith("Busy host: ") for line in done.outlines) == looks


def test_all_processes_of_a_gate_wait_alike_and_a_busy_host_is_told_of_once(
    host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, str]] = []

    def run_gate(*arguments: Any) -> None:
        seen.append(dict(os.environ))
        assert "Busy" not in capsys.readouterr().err
        arguments[-1]()
        raise ConfigError("made for the test.")

    host.host = BUSY
    monkeypatch.setattr("rnncore.drive.gate.run_gate", run_gate)
    monkeypatch.setattr(sys, "argv", ["rnncore", "gate", "--base", "HEAD"])
    with pytest.raises(SystemExit):
        cli.main()
    ((policy, looks),) = [(env["OMP_WAIT_POLICY"], env["GOMP_SPINCOUNT"]) for env in seen]
    assert (policy, looks) == ("passive", "100")
    assert capsys.readouterr().err.count("Busy host: others use 1.0 of its 2 CPUs") == 1


def test_what_is_refused_is_not_hidden_behind_a_busy_host(
    host: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host.host = BUSY
    monkeypatch.setattr(sys, "argv", ["rnncore", "gate", "--base", "no-such-revision"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "Busy" not in capsys.readouterr().err


def test_the_suites_choose_before_torch_is_loaded() -> None:
    code = """
import sys
import rnncore.measure.busy as busy
true = busy.session_environment
busy.session_environment = lambda: print("torch" in sys.modules, "numpy" in sys.modules) or true()
import bench.conftest
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False False", "True"]
