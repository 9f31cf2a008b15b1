"""Tests of how long a process may take, and of what is said of it."""

import pytest

from rnncore.drive.patience import GRACE_S, SHORTEST_S, TIMES_AS_LONG, Patience
from rnncore.drive.process import TIMEOUT_S

NAME = "bench/test_a.py::test_a"


@pytest.mark.parametrize(
    ("took_s", "limit_s"), [(0.001, SHORTEST_S), (10.0, 10 * TIMES_AS_LONG), (100.0, TIMEOUT_S)], ids=["s", "m", "l"]
)
def test_the_limit_is_a_multiple_of_what_was_taken_before_within_bounds(took_s: float, limit_s: float) -> None:
    patience = Patience()
    assert patience.limit_s(NAME) == patience.limit_s("") == TIMEOUT_S
    patience.took(NAME, took_s)
    patience.took(NAME, took_s / 2)
    assert patience.limit_s(NAME) == limit_s
    assert patience.limit_s("bench/test_a.py::test_b") == TIMEOUT_S


@pytest.mark.parametrize("arguments", [("-q", "--rnn-case-timeout", "700"), ("--rnn-case-timeout=700",)])
def test_a_limit_that_the_user_sets_counts_for_benchmarks(arguments: tuple[str, ...]) -> None:
    patience = Patience(arguments)
    patience.took(NAME, 0.1)
    patience.took("", 0.1)
    assert (patience.limit_s(NAME), patience.limit_s("")) == (700 + GRACE_S, SHORTEST_S)


@pytest.mark.parametrize("arguments", [("--rnn-case-timeout",), ("--rnn-case-timeout", "soon"), ("--rnn-case-timeout=-1",)])
def test_a_limit_that_is_none_is_left_to_pytest_to_refuse(arguments: tuple[str, ...]) -> None:
    assert Patience(arguments).limit_s(NAME) == TIMEOUT_S


def test_what_lasts_is_told_with_its_limit_and_how_to_set_another() -> None:
    said: list[str] = []
    patience = Patience(say=said.append)
    patience.took(NAME, 0.25)
    patience.lasts("head abc (worktree)", NAME, 20.4)
    assert said == [
        f"head abc (worktree): {NAME} has taken 20 seconds so far, and is ended after 60 s; "
        "'-- --rnn-case-timeout SECONDS' sets another limit."
    ]
    assert patience.too_long(NAME) == (
        "took longer than 60 s, where another process took 0.25 s; '-- --rnn-case-timeout SECONDS' sets another limit"
    )
