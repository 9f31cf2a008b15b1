"""Tests of what starts the processes of a scaled step: one dies, one hangs, gloo is missing; an error, and none is left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from bench import bench_scaling, scaling_worker
from bench.bench_scaling import found_by_processes, last_words, require_devices
from rnncore.errors import ProcessError, Unavailable
from rnncore.runfile.case import Case
from rnncore.runfile.slots import PARENT
from tests.processes import has_ended

REPOSITORY = Path(__file__).parents[2]

CASE = Case("scaling", "gru", batch_size=32, runtime="rnncore", threads=1, devices=2)

# Starts two of itself by torchrun: rank 1 is killed, and rank 0 would wait for ever.
DIES = """
import os, pathlib, signal, sys, time

if "RANK" in os.environ:
    pathlib.Path(sys.argv[1], "pid-" + os.environ["RANK"]).write_text(str(os.getpid()), encoding="utf-8")
    while not all(pathlib.Path(sys.argv[1], name).exists() for name in ("pid-0", "pid-1")):
        time.sleep(0.05)
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)
else:
    from torch.distributed import run
    run.main(["--standalone", "--nproc-per-node", "2", "-m", "plays", sys.argv[1]])
"""

# As torchrun does: the other process has a session of its own.
HANGS = """
import os, pathlib, subprocess, sys, time

if len(sys.argv) == 2:
    subprocess.Popen([sys.executable, "-m", "plays", sys.argv[1], "again"], start_new_session=True)
pathlib.Path(sys.argv[1], "pid-" + str(len(sys.argv) - 2)).write_text(str(os.getpid()), encoding="utf-8")
time.sleep(600)
"""

SAYS = """
import pathlib, sys

pathlib.Path(sys.argv[1], "found.json").write_text({text!r}, encoding="utf-8")
"""

# What torchrun of PyTorch 2.13 said at the end of a job whose rank 1 raised an error, shortened.
RAISED = """
W1128 14:00:00.000000 1 torch/distributed/elastic/multiprocessing/api.py:1031] Sending process 2 closing signal SIGTERM
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
bench.scaling_worker FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-28_14:00:00
  host      : host
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 3)
  error_file: error.json
  traceback : Traceback (most recent call last):
    File "scaling_worker.py", line 1, in take_part
  RuntimeError: no memory for it

============================================================
"""


@pytest.fixture
def plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what lets a script play the processes' part, in a folder."""

    def play(script: str) -> Path:
        (tmp_path / "plays.py").write_text(script, encoding="utf-8")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(scaling_worker, "__name__", "plays")
        return tmp_path

    return play


def _all_have_ended(folder: Path) -> bool:
    pids = [int(path.read_text(encoding="utf-8")) for path in folder.glob("pid-*")]
    return len(pids) == 2 and all(map(has_ended, pids))


def test_where_a_process_is_killed_it_is_said_which_and_none_is_left(plays: Any) -> None:
    folder = plays(DIES)
    wording = r"^the 2 processes of gru-rnncore-cpu-fp32-b32-1threads-2devices ended without a result: .*SIGKILL"
    with pytest.raises(ProcessError, match=wording):
        found_by_processes(CASE, folder, 0.0, 1, limit_s=120)
    assert _all_have_ended(folder)


def test_processes_that_hang_are_ended_with_all_that_they_started(plays: Any) -> None:
    folder = plays(HANGS)
    with pytest.raises(ProcessError, match=r"^the 2 processes of .*-2devices took longer than 5 s, and were ended\.$"):
        found_by_processes(CASE, folder, 0.0, 1, limit_s=5)
    assert _all_have_ended(folder)


def test_what_is_missing_there_is_unavailable_here_and_what_an_earlier_case_left_is_not_taken(plays: Any) -> None:
    folder = plays(SAYS.format(text=json.dumps({"unavailable": "no compiler"})))
    with pytest.raises(Unavailable, match=r"^no compiler$"):
        found_by_processes(CASE, folder, 0.0, 1)
    assert (folder / scaling_worker.FOUND).exists()
    plays("print('nothing was found')")
    with pytest.raises(ProcessError, match=r"ended without a result: nothing was found$"):
        found_by_processes(CASE, folder, 0.0, 1)


def test_a_process_whose_starter_has_gone_before_it_could_say_so_ends_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.scaling_worker", str(tmp_path)]
    env = {**os.environ, PARENT: "1", "RANK": "0"}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_the_processes_end_with_the_torchrun_that_starts_as_many_as_the_case_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr(scaling_worker.torchrun, "main", lambda given: started.append((given, os.environ[PARENT])))
    monkeypatch.setattr(sys, "argv", ["scaling_worker", str(tmp_path)])
    (tmp_path / scaling_worker.CASE).write_text(json.dumps({"axes": CASE.axes}), encoding="utf-8")
    with patch.dict(os.environ):
        for name in ("RANK", PARENT):
            os.environ.pop(name, None)
        scaling_worker.main()
    ((arguments, parent),) = started
    assert arguments == ["--standalone", "--nproc-per-node", "2", "-m", "bench.scaling_worker", str(tmp_path)]
    assert parent == str(os.getpid())


def test_the_last_words_are_those_of_the_process_that_ended_first() -> None:
    assert last_words(RAISED) == "RuntimeError: no memory for it"
    assert last_words(RAISED.split("Traceback")[0] + "Signal 9 (SIGKILL) received by PID 3\n=====") == (
        "Signal 9 (SIGKILL) received by PID 3"
    )
    assert last_words("") == "they said nothing"


def test_where_processes_would_share_a_cpu_or_gloo_is_missing_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_scaling, "usable_threads", lambda: 1)
    with pytest.raises(Unavailable, match=r"^2 processes need 2 CPUs, and there is use of 1 here\."):
        require_devices(CASE)
    monkeypatch.setattr(bench_scaling, "usable_threads", lambda: 2)
    require_devices(CASE)
    monkeypatch.setattr(torch.distributed, "is_gloo_available", lambda: False)
    with pytest.raises(Unavailable, match="built without gloo"):
        require_devices(CASE)
