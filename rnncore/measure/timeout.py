"""A limit to the time of one case: an exception where Python still runs, the end of the process where it does not."""

import faulthandler
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType, TracebackType

from rnncore.errors import ConfigError

# Time that a native call has to come back to the interpreter, and the exception to come out of the case.
GRACE_S = 10.0

# As timeout(1).
STUCK_EXIT = 124

_STDERR_FD = 2


# The limits that are in force, the innermost last.
_in_force: "list[_Limit]" = []


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

    What passes in `not_counted` is not in the limit.

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
    alarm = _Alarm(limit_s) if has_alarm else None
    with _watchdog(limit_s, on_stuck, stderr_fd) as watchdog, alarm or nullcontext():
        _in_force.append(_Limit(watchdog, alarm))
        try:
            yield
        finally:
            _in_force.pop()


@contextmanager
def not_counted() -> Iterator[None]:
    """Leave the time of the block out of the limits that are in force: this process waits, and may be stopped."""
    paused = _in_force[-1:]
    for limit in paused:
        limit.pause()
    try:
        yield
    finally:
        for limit in paused:
            limit.go_on()


@dataclass(frozen=True)
class _Limit:
    """What keeps a limit that is in force; the alarm only where there is one."""

    watchdog: "_Watchdog"
    alarm: "_Alarm | None"

    def pause(self) -> None:
        if self.alarm:
            self.alarm.pause()
        self.watchdog.pause()

    def go_on(self) -> None:
        self.watchdog.go_on()
        if self.alarm:
            self.alarm.go_on()


def _too_long(limit_s: float) -> str:
    return f"took longer than {limit_s:g} s (--rnn-case-timeout)"


class _Watchdog:
    """Ends the process some time after the limit, by a thread and by faulthandler.

    Args:
        limit_s: The limit.
        on_stuck: Called before.
        stderr_fd: Where the last words go.
    """

    def __init__(self, limit_s: float, on_stuck: Callable[[], None], stderr_fd: int) -> None:
        self._limit_s, self._on_stuck, self._stderr_fd = limit_s, on_stuck, stderr_fd
        self._changed = threading.Condition()
        # By `time.monotonic`; None while it is paused.
        self._ends_s: float | None = None
        self._left_s, self._has_ended = limit_s, False

    def watch(self) -> None:
        """Wait for the end of the block, and end the process where that does not come in time."""
        with self._changed:
            while not self._has_ended:
                left_s = None if self._ends_s is None else self._ends_s + GRACE_S - time.monotonic()
                if left_s is not None and left_s <= 0:
                    break
                self._changed.wait(left_s)
            else:
                return
        line = (
            f"rnncore: the benchmark {_too_long(self._limit_s)}, and its native call did not return in the {GRACE_S:g} s "
            "after that. The process ends; 'rnncore recover' makes a run file of what was finished.\n"
        )
        # Backwards, and each of them even if the one before fails.
        with ExitStack() as last_acts:
            last_acts.callback(os._exit, STUCK_EXIT)
            last_acts.callback(os.write, self._stderr_fd, line.encode())
            self._on_stuck()

    def go_on(self) -> None:
        """Count from here on."""
        with self._changed:
            self._ends_s = time.monotonic() + self._left_s
            self._changed.notify()
        # Never 0, which it refuses.
        faulthandler.dump_traceback_later(max(self._left_s, 0.0) + 2 * GRACE_S, exit=True, file=self._stderr_fd)

    def pause(self) -> None:
        """Count no more until it goes on."""
        faulthandler.cancel_dump_traceback_later()
        with self._changed:
            if self._ends_s is not None:
                self._left_s = self._ends_s - time.monotonic()
            self._ends_s = None
            self._changed.notify()

    def end(self) -> None:
        """The block has ended."""
        self.pause()
        with self._changed:
            self._has_ended = True
            self._changed.notify()


@contextmanager
def _watchdog(limit_s: float, on_stuck: Callable[[], None], stderr_fd: int) -> Iterator[_Watchdog]:
    watchdog = _Watchdog(limit_s, on_stuck, stderr_fd)
    watchdog.go_on()
    thread = threading.Thread(target=watchdog.watch, name="rnncore-case-timeout", daemon=True)
    thread.start()
    try:
        yield watchdog
    finally:
        watchdog.end()
        thread.join()


class _Alarm:
    """Raise `CaseTimeout` in the main thread, once, after a limit.

    The earlier handler and timer come back before the exception is raised, so that nothing of ours is left whatever it
    breaks off.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._left_s, self._rang = limit_s, False

    def __enter__(self) -> None:
        # The earlier timer first, lest it rings in our handler.
        self._left_before_s, self._interval_before_s = signal.setitimer(signal.ITIMER_REAL, 0)
        self._handler_before = signal.signal(signal.SIGALRM, self._ring)
        self._began_s = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self._limit_s)

    def pause(self) -> None:
        """Count no more until it goes on."""
        if not self._rang:
            self._left_s, _ = signal.setitimer(signal.ITIMER_REAL, 0)

    def go_on(self) -> None:
        """Count from here on."""
        if not self._rang:
            # One that ran out just before it was paused rings at once.
            signal.setitimer(signal.ITIMER_REAL, max(self._left_s, 1e-6))

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
