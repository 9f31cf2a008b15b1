"""Tests of what Linux says in its files, with planted ones, and of systems that keep none."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rnncore.measure import linux
from rnncore.measure.linux import cpu_pressure, status_bytes, text_of
from rnncore.runfile.slots import PARENT


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(linux, "PROC", tmp_path)
    for folder in ("self", "pressure"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_pressure_is_the_time_that_some_tasks_waited(proc: Path) -> None:
    (proc / "pressure/cpu").write_text(
        "some avg10=0.44 avg60=0.27 avg300=7.34 total=201224110\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=77\n"
    )
    assert cpu_pressure("total") == (201224110, None)
    assert cpu_pressure("avg10") == (0.44, None)


@pytest.mark.parametrize("content", [None, "", "nothing of the kind\n"])
def test_a_system_that_keeps_no_pressure_has_none(content: str | None, proc: Path) -> None:
    if content is not None:
        (proc / "pressure/cpu").write_text(content)
    value, why = cpu_pressure("total")
    assert value is None
    assert why == f"{proc}/pressure/cpu " + (
        "cannot be read (No such file or directory)" if content is None else "does not tell"
    )


def test_the_peak_of_a_process_is_read_in_bytes(proc: Path) -> None:
    assert status_bytes("VmHWM") is None
    (proc / "self/status").write_text("Name:\tpython\nVmPeak:\t 9000 kB\nVmHWM:\t  123456 kB\nVmRSS:\t  1000 kB\n")
    assert status_bytes("VmHWM") == 123456 * 1024
    assert status_bytes("VmRSS") == 1000 * 1024
    assert status_bytes("VmSwap") is None


def test_a_text_that_cannot_be_read_has_a_reason(proc: Path) -> None:
    (proc / "governor").write_text("powersave\n")
    assert text_of(proc / "governor") == ("powersave", None)
    assert text_of(proc / "self") == (None, f"{proc}/self cannot be read (Is a directory)")


@pytest.mark.parametrize(("parent", "code"), [(os.getpid, 0), (lambda: os.getpid() + 1, -9)], ids=["alive", "gone"])
def test_a_process_whose_parent_is_gone_already_ends_at_once(parent: Callable[[], int], code: int) -> None:
    # A child whose parent died is that of another process, so that the number it was told is not its parent's.
    asks = f"from rnncore.measure.linux import end_with; end_with({parent()})"
    assert subprocess.run([sys.executable, "-c", asks], check=False).returncode == code


def test_a_process_that_nobody_named_itself_to_ends_with_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "end_with", lambda parent: pytest.fail("asked"))
    linux.end_with_parent()


def test_the_parent_is_named_for_one_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(linux, "end_with", asked.append)
    monkeypatch.setenv(PARENT, "77")
    linux.end_with_parent()
    linux.end_with_parent()
    assert asked == [77]
