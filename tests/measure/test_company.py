"""Tests of what works beside the thread that makes calls."""

import subprocess
import sys
import threading
import time

from rnncore.measure.company import Company

# CPU seconds that something works.
WORKS_S = 0.1


def _work() -> None:
    """Keep the calling thread busy."""
    end_s = time.thread_time() + WORKS_S
    while time.thread_time() < end_s:
        pass


def test_a_thread_that_works_alone_has_none() -> None:
    company = Company()
    with company.watched():
        _work()
    assert company.is_none


def test_a_thread_that_waits_for_another_has_some() -> None:
    company = Company()
    other = threading.Thread(target=_work)
    with company.watched():
        other.start()
        other.join()
    assert not company.is_none


def test_a_thread_that_waits_for_a_process_has_some() -> None:
    company = Company()
    with company.watched():
        subprocess.run([sys.executable, "-c", "sum(range(2_000_000))"], check=True)
    assert not company.is_none


def test_what_works_between_the_blocks_does_not_count() -> None:
    company = Company()
    with company.watched():
        _work()
    other = threading.Thread(target=_work)
    other.start()
    other.join()
    with company.watched():
        _work()
    assert company.is_none
