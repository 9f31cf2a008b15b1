"""A limit to the time of one case: an exception where Python still runs, the end of the process where it does not."""

import faulthandler
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import FrameType, TracebackType

from rnncore.errors import ConfigError

# Time that a native call has to come back to the interpreter, and the exception to come out of the case.
GRACE_S = 10.0

# As timeout(1).
STUCK_EXIT = 124

_STDERR_FD = 2


class CaseTimeout(Exception):  # noqa: N818 (a limit that the user has set, not a fault)
    """A case took longer than its limit."""


@contextmanager
def case_timeout(limit_s: float | None, on_stuck: Callable[[], None], stderr_fd: int = _STDERR_FD) -> Iterator[None]:
    """Limit the time of the block.

    After the limit SIGALRM raises `CaseTimeout` in the block, and again at its end if something in it caught that. A
    block that does not end within `GRACE_S` more is stuck in a native call: a watchdog thread ends the process with 124.
    A native call that does not even let other threads run leaves that to faulthandler: after twice `GRACE_S` it writes
    where each thread hangs and ends the process with 1, without *on_stuck*; it replaces pytest's `faulthandler_timeout`
    for this test.

    Outside the main thread, and where there is no SIGALRM (Windows), there is only the watchdog. The earlier handler and
    timer come back; an earlier timer that runs out within the block rings when it ends.

    Args:
        limit_s: Seconds above 0; None for no limit.
        on_stuck: Called in the watchdog thread before it ends the process.
        stderr_fd: Where the last words go. pytest puts a file of its own in place of 2 while a test runs: give a
            duplicate of 2 that was made before, in `pytest_configure`.

    Raises:
        ConfigError: If the limit is not above 0.
        CaseTimeout: If the block takes longer than the limit.
    """
    if limit_s is None:
        yield
        return
    if not 0 < limit_s < math.inf:
        raise ConfigError(f"--rnn-case-timeout is {limit_s:g}; give seconds above 0, or leave it out for no limit.")
    has_alarm = hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()
    with _watchdog(limit_s, on_stuck, stderr_fd), _Alarm(limit_s) if has_alarm else nullcontext():
        yield


def _too_long(limit_s: float) -> str:
    return f"took longer than {limit_s:g} s (--rnn-case-timeout)"


@contextmanager
def _watchdog(limit_s: float, on_stuck: Callable[[], None], stderr_fd: int) -> Iterator[None]:
    ended = threading.Event()
    line = (
        f"rnncore: the benchmark {_too_long(limit_s)}, and its native call did not return in the {GRACE_S:g} s after that. "
        "The process ends; 'rnncore recover' makes a run file of what was finished.\n"
    )

    def watch() -> None:
        if not ended.wait(limit_s + GRACE_S):
            # Backwards, and each of them even if the one before fails.
            with ExitStack() as last_acts:
                last_acts.callback(os._exit, STUCK_EXIT)
                last_acts.callback(os.write, stderr_fd, line.encode())
                on_stuck()

    thread = threading.Thread(target=watch, name="rnncore-case-timeout", daemon=True)
    thread.start()
    faulthandler.dump_traceback_later(limit_s + 2 * GRACE_S, exit=True, file=stderr_fd)
    try:
        yield
    finally:
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()


class _Alarm:
    """Raise `CaseTimeout` in the main thread, once, after a limit.

    The earlier handler and timer come back before the exception is raised, so that nothing of ours is left whatever it
    breaks off.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._rang = False

    def __enter__(self) -> None:
        # The earlier timer first, lest it rings in our handler.
        self._left_before_s, self._interval_before_s = signal.setitimer(signal.ITIMER_REAL, 0)
        self._handler_before = signal.signal(signal.SIGALRM, self._ring)
        self._began_s = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self._limit_s)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._rang:
            self._restore()
        elif error is None or (isinstance(error, Exception) and not isinstance(error, CaseTimeout)):
            raise CaseTimeout(_too_long(self._limit_s)) from error

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self._rang = True
        self._restore()
        raise CaseTimeout(_too_long(self._limit_s))

    def _restore(self) -> None:
        # The timer first, lest it rings in the earlier handler.
        signal.setitimer(signal.ITIMER_REAL, 0)
        # None is a handler that was not set from Python: it cannot be set from there either.
        signal.signal(signal.SIGALRM, signal.SIG_DFL if self._handler_before is None else self._handler_before)
        if self._left_before_s:
            left_s = self._left_before_s - (time.monotonic() - self._began_s)
            signal.setitimer(signal.ITIMER_REAL, max(left_s, 1e-6), self._interval_before_s)
