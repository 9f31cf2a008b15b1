"""Tests of the end of a process: what it started ends with it, wherever that hides, and nothing else does."""

import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest

from rnncore.drive.started import MARKS, Started

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone shows marks, and lets adopt")

# What a benchmark may do: by name, code that leaves a process behind.
LEAVES = {
    "a child": "subprocess.Popen(SLEEP)",
    "a session of its own": "subprocess.Popen(SLEEP, start_new_session=True)",
    "a daemon": "os.fork() or (os.setsid(), os.fork() and os._exit(0), os.chdir('/'), os.execv(SLEEP[0], SLEEP))",
    "a copy of itself": "os.fork() or (os.setsid(), os.fork() and os._exit(0), time.sleep(600))",
}
# These are known only where orphans are adopted.
CLEARED = {
    "a session without our environment": "subprocess.Popen(SLEEP, start_new_session=True, env={})",
    "a daemon without our environment": (
        "os.fork() or (os.setsid(), os.fork() and os._exit(0), os.execve(SLEEP[0], SLEEP, {}))"
    ),
}
# These end by themselves, once whoever started them has.
ENDING = {"thirty that end": "[os.fork() or (os.setsid(), os.execv(SLEEP[0], [SLEEP[0], SLEEP[2]])) for _ in range(30)]"}
# A gate in small: it is told when to end.
DRIVER = """
    import os, subprocess, sys
    from pathlib import Path
    from rnncore.drive.started import Started, adopting

    {before}
    with adopting(), open(os.devnull, "wb") as output:
        process = Started({command!r}, Path.cwd(), os.environ, output)
        {inside}
        input()
        process.end()
        input()
"""


@pytest.fixture
def word() -> Iterator[str]:
    """What the command lines of all processes of a test hold, a short time that another is added to; they end with it."""
    made = f"0.00{random.getrandbits(60)}"
    yield made
    for pid in _of(made):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _of(word: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if word.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


def _sleeping(word: str) -> list[int]:
    """Return those that were left behind: they have become `sleep`, or are copies of Python that lead no session."""
    found = []
    for pid in _of(word):
        with suppress(OSError):
            _, _, rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
            if name == "sleep" or (name != "sh" and int(rest.split()[3]) != pid):
                found.append(pid)
    return found


def _leaving(what: str, word: str, hangs: bool = False) -> list[str]:
    """Return a command that leaves a process behind, and ends or hangs."""
    code = f"""
        import os, subprocess, time
        SLEEP = [{shutil.which("sleep")!r}, "600", {word!r}]
        {what}
        {"time.sleep(600)" if hangs else ""}
    """
    return [sys.executable, "-c", textwrap.dedent(code)]


def _becomes_true(what: Callable[[], object]) -> bool:
    until_s = time.monotonic() + 30
    while not (found := what()) and time.monotonic() < until_s:
        time.sleep(0.05)
    return bool(found)


@pytest.mark.parametrize("hangs", [False, True], ids=["ends", "hangs"])
@pytest.mark.parametrize("what", LEAVES)
def test_what_a_process_started_ends_with_it(what: str, hangs: bool, word: str, tmp_path: Path) -> None:
    other = {**os.environ, MARKS: "0123456789abcdef "}
    with (
        (tmp_path / "output").open("wb") as output,
        _ended(subprocess.Popen([f"{shutil.which('sleep')}", "600"], env=other, start_new_session=True)) as bystander,
    ):
        process = Started(_leaving(LEAVES[what], word, hangs), tmp_path, os.environ, output)
        assert _becomes_true(lambda: _sleeping(word))
        assert hangs or _becomes_true(lambda: process.poll() is not None)
        process.end()
        assert _of(word) == []
        assert bystander.poll() is None


def test_one_look_that_found_nothing_is_not_believed(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What forks after all were listed, and ends before it is looked at, leaves a child that no list has."""
    looks = iter([lambda process: [], *[Started._left] * 1000])
    with (tmp_path / "output").open("wb") as output:
        process = Started(_leaving(LEAVES["a session of its own"], word), tmp_path, os.environ, output)
        assert _becomes_true(lambda: _sleeping(word))
        assert _becomes_true(lambda: process.poll() is not None)
        with monkeypatch.context() as patch:
            patch.setattr(Started, "_left", lambda process: next(looks)(process))
            process.end()
        assert _of(word) == []


def test_whoever_got_the_number_of_a_process_that_has_ended_is_left_alone(tmp_path: Path) -> None:
    with (
        (tmp_path / "output").open("wb") as output,
        _ended(subprocess.Popen([f"{shutil.which('sleep')}", "600"], start_new_session=True)) as bystander,
    ):
        process = Started([sys.executable, "-c", ""], tmp_path, os.environ, output)
        process.wait()
        process.pid = bystander.pid
        process.end()
        with pytest.raises(subprocess.TimeoutExpired):
            bystander.wait(0.5)


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    with process:
        try:
            yield process
        finally:
            process.kill()


def _driver(what: str, word: str, before: str = "", inside: str = "") -> AbstractContextManager[subprocess.Popen[bytes]]:
    command = _leaving({**LEAVES, **CLEARED, **ENDING, "nothing": ""}[what], word)
    code = textwrap.dedent(DRIVER).format(before=before, inside=inside, command=command)
    # Its own command line has the word too: what leads a session is not taken for what was left behind.
    return _ended(subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, start_new_session=True))


@pytest.mark.parametrize("what", ["a daemon", *CLEARED])
@pytest.mark.parametrize("is_interrupted", [False, True], ids=["to its end", "interrupted"])
def test_what_was_left_without_our_environment_ends_with_the_gate(what: str, is_interrupted: bool, word: str) -> None:
    with _driver(what, word) as driver:
        assert _becomes_true(lambda: _sleeping(word))
        if is_interrupted:
            driver.send_signal(signal.SIGINT)
        driver.communicate(b"\n\n")
        # The driver's own command line holds it too.
        assert _becomes_true(lambda: not _of(word))


def test_where_another_s_process_might_be_adopted_none_is(word: str) -> None:
    """A shell that becomes the gate may have started something before, which is then a child of the gate."""
    orphan = f"read line; ({shutil.which('setsid')} {shutil.which('sleep')} 600 {word} &)"
    before = f"other = subprocess.Popen({orphan!r}, shell=True, stdin=subprocess.PIPE)"
    with _driver("nothing", word, before, "other.stdin.close()") as driver:
        assert _becomes_true(lambda: _sleeping(word))
        driver.communicate(b"\n\n")
        assert len(_sleeping(word)) == 1


def test_what_became_ours_and_ended_by_itself_is_waited_for(word: str) -> None:
    """As tens of thousands would be that a benchmark starts and leaves, each of which keeps its number until then."""
    with _driver("thirty that end", word) as driver:
        # With the process that left them.
        assert _becomes_true(lambda: len(_zombies_of(driver.pid)) == 31)
        _go_on(driver)
        assert _becomes_true(lambda: not _zombies_of(driver.pid))


def _go_on(driver: subprocess.Popen[bytes]) -> None:
    assert driver.stdin
    driver.stdin.write(b"\n")
    driver.stdin.flush()


@pytest.mark.parametrize("waits", ["list(iter(other.poll, 0))", "other.wait(600)"], ids=["polled", "waited for"])
def test_what_became_ours_is_waited_for_while_a_process_runs(waits: str, word: str) -> None:
    other = f"other = Started([sys.executable, '-c', 'import time; time.sleep(600)', '{word}'], Path.cwd(), {{}}, output)"
    with _driver("thirty that end", word, inside=f"input(); process.wait(); {other}; {waits}") as driver:
        # With the process that left them.
        assert _becomes_true(lambda: len(_zombies_of(driver.pid)) == 31)
        _go_on(driver)
        assert _becomes_true(lambda: not _zombies_of(driver.pid))


def test_no_exit_code_is_taken_from_who_asks_for_it() -> None:
    """Another process is ended while one of a gate, and one of git, have ended and are yet to be asked."""
    code = """
        import os, subprocess, sys, time
        from pathlib import Path
        from rnncore.drive.started import Started, adopting

        def ends(started, *arguments):
            process = started([sys.executable, "-c", "raise SystemExit(7)"], *arguments)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            return process

        with adopting(), open(os.devnull, "wb") as output:
            ours = ends(Started, Path.cwd(), os.environ, output)
            of_git = ends(subprocess.Popen)
            other = Started([sys.executable, "-c", ""], Path.cwd(), os.environ, output)
            other.wait(60)
            other.end()
            print(other.returncode, ours.poll(), of_git.poll())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "0 7 7\n"


def _zombies_of(parent: int) -> list[int]:
    """Return the children of a process that have ended and were not waited for."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, of, *_ = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            if (state, of) == ("Z", str(parent)):
                found.append(int(path.parent.name))
    return found
