"""Tests of a process that is asked: it ends with the one that asks, however that ends."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

ANSWERING = """
    import os
    import sys

    from rnncore.measure.asked import answering, say

    with answering() as answers:
        say(answers, pid=os.getpid())
        for line in sys.stdin:
            pass
"""

ASKING = """
    import os
    import signal
    import time

    from rnncore.measure.asked import AskedProcess

    asked = AskedProcess("made", [], "made", {"PYTHONPATH": os.getcwd()})
    pid = asked.answer()["pid"]
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    print(pid, flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_stopped_ends_with_the_one_that_asks_it(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(textwrap.dedent(ANSWERING), encoding="utf-8")
    command = [sys.executable, "-c", textwrap.dedent(ASKING)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        asked = Path("/proc") / asking.stdout.readline().strip()
        assert (asked / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
        asking.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not asked.exists() or (asked / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError(f"{asked} is still there")
