"""What works beside the thread that makes the calls."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rnncore.measure.stopwatch import now_s

# Of the time of calls, what other threads and processes may be busy beside them: an interpreter has some that do little.
_ALONE_SHARE = 0.02


class Company:
    """What works beside a benchmark's own thread while that makes calls."""

    def __init__(self) -> None:
        self._calls_s = self._others_s = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the calls within the block."""
        began_s, others_s = now_s(), _others_cpu_s()
        try:
            yield
        finally:
            self._calls_s += now_s() - began_s
            self._others_s += _others_cpu_s() - others_s

    @property
    def is_none(self) -> bool:
        """Whether one thread does all, so that it can be told which CPU to be on."""
        return self._others_s <= _ALONE_SHARE * self._calls_s


def _others_cpu_s() -> float:
    """Return the CPU seconds of this process's other threads, and of processes that it has waited for."""
    threads_s = time.process_time() - time.thread_time()
    try:
        import resource
    except ImportError:
        # This system counts none of its children.
        return threads_s
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return threads_s + children.ru_utime + children.ru_stime
