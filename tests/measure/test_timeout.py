"""Tests of the time limit of a case: Python code is interrupted, a native call that never returns ends the process."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rnncore.errors import ConfigError
from rnncore.measure.timeout import CaseTimeout, case_timeout, not_counted

REPOSITORY = Path(__file__).parents[2]
SHORT_S = 0.05
LONG_S = 1000.0

# Native calls that never look at signals. The first lets other Python threads run, as torch and ONNX Runtime do; the
# second keeps them out.
HASH = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
KEEP_GIL = "collections.deque(itertools.repeat(1), maxlen=0)"

STUCK = """
import collections, hashlib, itertools
from rnncore.measure import timeout

timeout.GRACE_S = 0.3
with timeout.case_timeout(0.5, lambda: print("journaled", flush=True)):
    {call}
"""

pytestmark = pytest.mark.clock

needs_sigalrm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="this system has no SIGALRM")


def _never() -> None:
    pytest.fail("the watchdog took the case for stuck")


def _busy() -> None:
    while True:
        pass


def _catch_the_timeout() -> None:
    with suppress(CaseTimeout):
        _busy()


def _run(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """Signals that an earlier handler has had, with that handler in place."""
    heard: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: heard.append(number))
    yield heard
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@needs_sigalrm
def test_python_code_is_interrupted_and_the_limit_is_named() -> None:
    with (
        pytest.raises(CaseTimeout, match=r"^took longer than 0\.05 s \(--rnn-case-timeout\)$"),
        case_timeout(SHORT_S, _never),
    ):
        _busy()


@needs_sigalrm
def test_a_wait_is_interrupted() -> None:
    with pytest.raises(CaseTimeout), case_timeout(SHORT_S, _never):
        time.sleep(LONG_S)


@pytest.mark.parametrize("limit_s", [None, LONG_S])
def test_a_case_within_its_limit_is_left_alone(limit_s: float | None) -> None:
    with case_timeout(limit_s, _never):
        result = sum(range(10))
    assert result == 45


def test_no_limit_starts_nothing() -> None:
    before = threading.active_count()
    with case_timeout(None, _never):
        assert threading.active_count() == before
        if hasattr(signal, "SIGALRM"):
            assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_error_of_the_case_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), case_timeout(LONG_S, _never):
        _ = 1 / 0


@pytest.mark.parametrize("limit_s", [0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(limit_s: float) -> None:
    with pytest.raises(ConfigError, match=r"--rnn-case-timeout is .*; give seconds above 0"), case_timeout(limit_s, _never):
        pytest.fail("the case ran")


@needs_sigalrm
@pytest.mark.parametrize(("limit_s", "case"), [(SHORT_S, _busy), (LONG_S, lambda: None), (LONG_S, lambda: 1 / 0)])
def test_handler_timer_and_threads_are_as_before(limit_s: float, case: Callable[[], object], alarms: list[int]) -> None:
    handler, threads = signal.getsignal(signal.SIGALRM), threading.active_count()
    with suppress(CaseTimeout, ZeroDivisionError), case_timeout(limit_s, _never):
        case()
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert threading.active_count() == threads
    assert alarms == []


@needs_sigalrm
@pytest.mark.parametrize("limit_s", [SHORT_S, LONG_S])
def test_an_earlier_timer_goes_on(limit_s: float, alarms: list[int]) -> None:
    signal.setitimer(signal.ITIMER_REAL, LONG_S / 2, 7)
    with suppress(CaseTimeout), case_timeout(limit_s, _never):
        if limit_s == SHORT_S:
            _busy()
    left_s, interval_s = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < left_s <= LONG_S / 2
    assert interval_s == 7


@needs_sigalrm
def test_an_earlier_timer_that_runs_out_meanwhile_rings_at_the_end(alarms: list[int]) -> None:
    signal.setitimer(signal.ITIMER_REAL, SHORT_S)
    with case_timeout(LONG_S, _never):
        time.sleep(4 * SHORT_S)
        assert alarms == []
    for _ in range(1000):
        if alarms:
            break
        time.sleep(0.01)
    assert alarms == [signal.SIGALRM]


@needs_sigalrm
def test_a_case_that_catches_the_exception_has_still_timed_out() -> None:
    with pytest.raises(CaseTimeout), case_timeout(SHORT_S, _never):
        _catch_the_timeout()


@needs_sigalrm
def test_a_case_that_turns_the_exception_into_another_has_still_timed_out() -> None:
    def wrapped() -> None:
        try:
            _busy()
        except CaseTimeout as error:
            raise RuntimeError("the backend failed") from error

    with pytest.raises(CaseTimeout) as caught, case_timeout(SHORT_S, _never):
        wrapped()
    assert isinstance(caught.value.__cause__, RuntimeError)


@needs_sigalrm
def test_what_is_not_counted_is_not_in_the_limit_and_what_comes_after_it_is() -> None:
    waited: list[int] = []

    def case() -> None:
        for number in range(3):
            with not_counted():
                time.sleep(6 * SHORT_S)
            waited.append(number)
        _busy()

    with pytest.raises(CaseTimeout), case_timeout(4 * SHORT_S, _never):
        case()
    assert waited == [0, 1, 2]


def test_what_is_not_counted_does_not_let_the_process_be_taken_for_stuck() -> None:
    wait = "time.sleep(2)"
    code = STUCK.format(call=f"with timeout.not_counted(): {wait}").replace("import collections", "import time, collections")
    done = _run(code)
    assert (done.returncode, done.stdout) == (0, "")
    done = _run(code + f"    {HASH}\n")
    assert (done.returncode, done.stdout) == (124, "journaled\n")


def test_outside_of_a_limit_there_is_nothing_to_count() -> None:
    with not_counted():
        assert threading.active_count() >= 1


def test_a_native_call_that_never_returns_ends_the_process() -> None:
    done = _run(STUCK.format(call=HASH))
    assert done.returncode == 124
    assert done.stdout == "journaled\n"
    assert done.stderr == (
        "rnncore: the benchmark took longer than 0.5 s (--rnn-case-timeout), and its native call did not return in the "
        "0.3 s after that. The process ends; 'rnncore recover' makes a run file of what was finished.\n"
    )


def test_the_process_ends_even_if_the_journal_cannot_be_written() -> None:
    done = _run(STUCK.format(call=HASH).replace('print("journaled", flush=True)', "1 / 0"))
    assert done.returncode == 124
    assert "rnncore recover" in done.stderr


def test_a_native_call_that_lets_no_thread_run_ends_the_process_too_and_it_is_said_where() -> None:
    done = _run(STUCK.format(call=KEEP_GIL))
    assert done.returncode == 1
    assert "Timeout (" in done.stderr
    assert 'File "<string>", line 7 in <module>' in done.stderr


def test_outside_the_main_thread_there_is_the_watchdog_alone() -> None:
    code = f"""
import hashlib, threading
from rnncore.measure import timeout

timeout.GRACE_S = 0.2

def case():
    with timeout.case_timeout({LONG_S}, lambda: None):
        print("in time", flush=True)
    with timeout.case_timeout(0.1, lambda: print("journaled", flush=True)):
        {HASH}

thread = threading.Thread(target=case)
thread.start()
thread.join()
"""
    done = _run(code)
    assert (done.returncode, done.stdout) == (124, "in time\njournaled\n")


def test_the_last_words_pass_by_what_pytest_captures(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import os\ndef pytest_configure(config):\n    config.real_stderr_fd = os.dup(2)\n", encoding="utf-8"
    )
    (tmp_path / "test_stuck.py").write_text(
        "import hashlib\n"
        "from rnncore.measure import timeout\n"
        "timeout.GRACE_S = 0.2\n"
        "def test_stuck(pytestconfig):\n"
        "    with timeout.case_timeout(0.1, lambda: None, pytestconfig.real_stderr_fd):\n"
        f"        {HASH}\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 124
    assert "rnncore: the benchmark took longer than 0.1 s" in done.stderr
