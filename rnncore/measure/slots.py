"""The slots of a process that measures one of two revisions: it times a benchmark when it is asked, and waits in between."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from rnncore.errors import ProcessError
from rnncore.runfile.slots import COLLECTED, ENDED, ENVIRONMENT, ORDER, PAIR, READY, SLOT_S

if TYPE_CHECKING:
    from rnncore.measure.counters import CallCounters

# Calls that are shorter make up a round together: reading the clock takes some 50 ns.
MIN_ROUND_S = 1e-4


class Slots:
    """The pipes to the process that drives this one.

    Args:
        asked: What is asked, a line of JSON each.
        answers: Where the answers go.

    Attributes:
        pair: Number of the pair that this process is of; None before that is known.
    """

    def __init__(self, asked: TextIO, answers: TextIO) -> None:
        self._asked, self._answers = asked, answers
        self.pair: int | None = None

    @classmethod
    def of_environment(cls) -> "Slots | None":
        """Return the pipes that the environment names; None in a process that nobody drives."""
        # Processes that this one starts are not driven.
        named = os.environ.pop(ENVIRONMENT, None)
        if named is None:
            return None
        asked, answers = map(int, named.split(","))
        for pipe in (asked, answers):
            os.set_inheritable(pipe, False)
        return cls(os.fdopen(asked, encoding="utf-8"), os.fdopen(answers, "w", encoding="utf-8"))

    def order(self, collected: Sequence[str]) -> list[str]:
        """Say which benchmarks were collected; return them in the order in which they are to run."""
        self._say({COLLECTED: list(collected)})
        heard = self._heard()
        self.pair = heard[PAIR]
        return list(heard[ORDER])

    def of(self, fullname: str) -> Iterator[float]:
        """Say that a benchmark is ready; yield the seconds of each slot that is asked for."""
        self._say({READY: fullname})
        while (slot_s := self._heard().get(SLOT_S)) is not None:
            yield float(slot_s)
            self._say({ENDED: fullname})

    def close(self) -> None:
        """Close the pipes."""
        # What could not be said is of no use to a process that has ended.
        with suppress(OSError):
            self._answers.close()
        self._asked.close()

    def _say(self, facts: dict[str, Any]) -> None:
        self._answers.write(json.dumps(facts) + "\n")
        self._answers.flush()

    def _heard(self) -> dict[str, Any]:
        line = self._asked.readline()
        if not line:
            raise ProcessError("the process that drives this one has ended.")
        return dict(json.loads(line))


def calls_of_a_round(call_s: float, min_round_s: float) -> int:
    """Return how many calls a round is the mean of.

    Args:
        call_s: About how long a call takes.
        min_round_s: What a benchmark asks for.
    """
    return max(1, math.ceil(max(min_round_s, MIN_ROUND_S) / call_s))


def rounds_of_a_slot(
    run: Callable[[], object], slot_s: float, calls: int, call_s: float, counters: "CallCounters | None" = None
) -> list[float]:
    """Time rounds for a slot, at least one.

    Args:
        run: The call.
        slot_s: Seconds of the slot.
        calls: Calls of a round.
        call_s: About how long a call takes.
        counters: Count the calls that are timed; None for no counting.

    Returns:
        Mean seconds of a call in each round.
    """
    if call_s < slot_s:
        # The caches were the other process's meanwhile; a call as long as a slot fills them within itself.
        run()
    rounds_s: list[float] = []
    if counters:
        counters.start()
    end_s = time.perf_counter() + slot_s
    while not rounds_s or time.perf_counter() < end_s:
        began_s = time.perf_counter()
        for _ in range(calls):
            run()
        rounds_s.append((time.perf_counter() - began_s) / calls)
    if counters:
        counters.stop(len(rounds_s) * calls)
    return rounds_s
