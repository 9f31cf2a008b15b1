"""How long a process may take for a benchmark, by what the base took for it, and what is said while it lasts."""

import math
from collections.abc import Callable, Sequence

from rnncore.amounts import counted
from rnncore.drive.process import TIMEOUT_S

# A side that takes this many times as long as the other one did hangs, or is slower than any verdict need tell.
TIMES_AS_LONG = 20.0

# What is ended no sooner: a busy host stops everything for seconds.
SHORTEST_S = 60.0

# When it is first said that something lasts, and how often from then on.
SAY_AFTER_S, SAY_EVERY_S = 20.0, 60.0

# With a limit of the user's a process ends its benchmark itself, at the latest after this much more.
GRACE_S = 30.0

# What is to do about a limit.
SETTING = "'-- --rnn-case-timeout SECONDS' sets another limit"

_OPTION = "--rnn-case-timeout"


class Patience:
    """What the processes of a gate took so far, and so how long the next ones may take.

    Args:
        arguments: Of pytest; a limit for each benchmark may be among them.
        say: Called with a line while something lasts.
    """

    def __init__(self, arguments: Sequence[str] = (), say: Callable[[str], None] = lambda line: None) -> None:
        self.say = say
        self._given_s = _given_s(arguments)
        self._longest_s: dict[str, float] = {}

    def took(self, name: str, seconds: float) -> None:
        """Remember how long a part of a benchmark took; the empty name is for the collection."""
        self._longest_s[name] = max(seconds, self._longest_s.get(name, 0.0))

    def limit_s(self, name: str) -> float:
        """Return how long a process may take for a part of a benchmark; the empty name is for the collection."""
        if name and self._given_s is not None:
            return self._given_s + GRACE_S
        before_s = self._longest_s.get(name)
        return TIMEOUT_S if before_s is None else min(TIMEOUT_S, max(SHORTEST_S, TIMES_AS_LONG * before_s))

    def too_long(self, name: str) -> str:
        """Say what a process did that was ended, as the end of a sentence without its full stop."""
        before_s = self._longest_s.get(name)
        beside = "" if before_s is None else f", where another process took {before_s:.2g} s"
        return f"took longer than {self.limit_s(name):g} s{beside}{f'; {SETTING}' if name else ''}"

    def lasts(self, who: str, name: str, seconds: float) -> None:
        """Say that something lasts."""
        limit_s = self.limit_s(name)
        self.say(
            f"{who}: {name or 'the collection of benchmarks'} has taken {counted(round(seconds), 'second')} so far, and is "
            f"ended after {limit_s:g} s{f'; {SETTING}' if name else ''}."
        )


def _given_s(arguments: Sequence[str]) -> float | None:
    """Return the limit for each benchmark that is among arguments of pytest; None where there is none."""
    given = None
    for place, argument in enumerate(arguments):
        option, separator, value = argument.partition("=")
        if option == _OPTION:
            text = value if separator else "".join(arguments[place + 1 : place + 2])
            try:
                given = float(text)
            except ValueError:
                # pytest itself refuses it.
                given = None
    return given if given is not None and 0 < given < math.inf else None
