"""The slots of a process that measures one of two revisions: it times a benchmark when it is asked, and waits in between."""

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rnncore.errors import ProcessError
from rnncore.measure.company import Company
from rnncore.measure.stopwatch import nothing, now_s
from rnncore.measure.timeout import not_counted
from rnncore.runfile.slots import (
    BEGINS,
    BROKE_OFF,
    COLLECTED,
    CPU,
    ENDED,
    ENVIRONMENT,
    IMPORTED,
    IMPORTS,
    MEMORY,
    ORDER,
    OUTSIDE,
    PAIR,
    READY,
    SLOT_S,
    TOKEN,
)

if TYPE_CHECKING:
    from rnncore.measure.counters import CallCounters

# Calls that are shorter make up a round together: reading the clock takes some 50 ns.
MIN_ROUND_S = 1e-4

# What a call takes at least: Python's own part of it.
SHORTEST_CALL_S = 2e-8

# How many descriptors there are at most, and among how many of the last the pipes lie.
_MOST_DESCRIPTORS, _HIGHEST = 1024, 16

# The quickest of two rounds is far steadier than one, unless a call is so long that it is even within itself.
FEWEST_ROUNDS = 2
LONG_CALL_S = 0.1


# What Linux tells of the calling thread: after the name in parentheses, the CPU that it was on last.
_OWN_STAT, _CPU_FIELD = Path("/proc/thread-self/stat"), 36


class Slots:
    """The pipes to the process that drives this one; made in the folder of the tree that it measures.

    Args:
        asked: What is asked, a line of JSON each.
        answers: Where the answers go.

    Attributes:
        pair: Number of the pair that this process is of; None before that is known.
        measures_memory: Whether the memory of a fresh process is wanted too.
    """

    def __init__(self, asked: TextIO, answers: TextIO) -> None:
        self._asked, self._answers = asked, answers
        # What each answer begins with, once that is known, and who may give one: no copy of this process (a fork).
        self._token, self._process = "", os.getpid()
        # A benchmark may leave another folder behind, or one that is gone.
        self._tree = Path.cwd()
        self.pair: int | None = None
        self.measures_memory = True
        self._says_begins = False
        # CPUs that this thread may be on by itself; None while no slot has told it which.
        self._usable: set[int] | None = None
        # Modules that were there as benchmarks were collected; None where none were.
        self._before: frozenset[str] | None = None

    @classmethod
    def of_environment(cls) -> "Slots | None":
        """Return the pipes that the environment names; None in a process that nobody drives."""
        # Processes that this one starts are not driven.
        named = os.environ.pop(ENVIRONMENT, None)
        if named is None:
            return None
        asked, answers = map(_out_of_the_way, map(int, named.split(",")))
        return cls(os.fdopen(asked, encoding="utf-8"), os.fdopen(answers, "w", encoding="utf-8"))

    def order(self, collected: Sequence[str]) -> list[str]:
        """Say which benchmarks were collected; return them in the order in which they are to run.

        Before that it imports what it is asked to: later it would be this process's turn alone.
        """
        self._before = frozenset(sys.modules)
        heard = self._heard()
        self._token = heard.get(TOKEN, "")
        _import_ahead(heard[IMPORTS])
        self._say({COLLECTED: list(collected)})
        heard = self._heard()
        self.pair, self.measures_memory = heard[PAIR], heard[MEMORY]
        # An older gate would take such a line for another.
        self._says_begins = bool(heard.get(BEGINS))
        return list(heard[ORDER])

    def of(self, fullname: str, company: Company) -> Iterator[float]:
        """Say that a benchmark is ready; yield the seconds of each slot that is asked for.

        In a slot its thread is on the CPU that the other side's is on in the same slot, where *company* is none: of two CPUs
        one may be slower for a while, by what a neighbour runs on the other thread of its core.
        """
        told = self._told_after({READY: fullname, CPU: _own_cpu() if company.is_none else None})
        while (slot_s := told.get(SLOT_S)) is not None:
            self._move(told.get(CPU))
            yield float(slot_s)
            told = self._told_after({ENDED: fullname})

    def begins(self, fullname: str) -> None:
        """Say that a benchmark begins, to one that wants to hear of it."""
        # The one before may have failed within a slot.
        self._move_freely()
        if self._says_begins:
            self._say({BEGINS: fullname})

    def broke_off(self, reason: str) -> None:
        """Say that the session ends before its benchmarks have, and why."""
        self._say({BROKE_OFF: reason} if self._says_begins else {})

    def ended(self) -> None:
        """Say that all benchmarks have ended, and what they imported from outside of the tree."""
        if self._before is None:
            return
        later = {name: module for name, module in sys.modules.items() if name not in self._before}
        imported = [name for name, module in later.items() if _is_outside(module, self._tree)]
        self._say({IMPORTED: imported, OUTSIDE: modules_outside(self._tree)})

    def close(self) -> None:
        """Close the pipes."""
        # What could not be said is of no use to a process that has ended.
        with suppress(OSError):
            self._answers.close()
        self._asked.close()

    def _say(self, facts: dict[str, Any]) -> None:
        if os.getpid() != self._process:
            # A copy that goes on with the session as if it were the original would answer in its place.
            os._exit(1)
        self._answers.write(f"{self._token}{json.dumps(facts)}\n")
        self._answers.flush()

    def _move(self, cpu: int | None) -> None:
        """Let this thread, and no other that is there, be on one CPU until the end of the slot; on any for None."""
        if cpu is None:
            return
        # What is not allowed, or not possible on this system, changes nothing.
        with suppress(OSError):
            usable = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {cpu})
            self._usable = usable

    def _move_freely(self) -> None:
        """Let this thread be where it could be before the slot."""
        if self._usable is not None:
            with suppress(OSError):
                os.sched_setaffinity(0, self._usable)
            self._usable = None

    def _told_after(self, facts: dict[str, Any]) -> dict[str, Any]:
        """Say something and wait for what is to be done next: meanwhile this process is stopped, and the other one runs."""
        self._move_freely()
        with not_counted():
            self._say(facts)
            return self._heard()

    def _heard(self) -> dict[str, Any]:
        line = self._asked.readline()
        if not line:
            raise ProcessError("the process that drives this one has ended.")
        return dict(json.loads(line))


def _own_cpu() -> int | None:
    """Return the number of the CPU that this thread was on last; None where the system does not tell."""
    try:
        return int(_OWN_STAT.read_text(encoding="utf-8").rpartition(")")[2].split()[_CPU_FIELD])
    except (OSError, ValueError, IndexError):
        return None


def _out_of_the_way(pipe: int) -> int:
    """Return a descriptor in place of another, where code that tries the usual ones does not come; nobody inherits it."""
    import fcntl
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Of higher ones select() knows nothing.
    most = _MOST_DESCRIPTORS if limit == resource.RLIM_INFINITY else min(limit, _MOST_DESCRIPTORS)
    moved = fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, max(0, most - _HIGHEST))
    os.close(pipe)
    return moved


def modules_outside(tree: Path) -> dict[str, str]:
    """Return the files of modules that were loaded from outside of a tree: of each package the outermost that has one."""
    modules = dict(sys.modules)
    files = {name: str(module.__file__) for name, module in modules.items() if _is_outside(module, tree)}
    return {name: file for name, file in files.items() if not files.keys() & set(_parents(name))}


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _is_outside(module: object, tree: Path) -> bool:
    """Say whether a module comes from a file, and not from the code that is measured."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not Path(file).is_relative_to(tree)


def _import_ahead(names: Sequence[str]) -> None:
    """Import modules that benchmarks will; what cannot be imported by its name is left to them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            if name not in sys.modules:
                with suppress(Exception):
                    import_module(name)


def calls_of_a_round(call_s: float, min_round_s: float) -> int:
    """Return how many calls a round is the mean of.

    Args:
        call_s: About how long a call takes.
        min_round_s: What a benchmark asks for.
    """
    # A coarse clock may show nothing of a call.
    return max(1, math.ceil(max(min_round_s, MIN_ROUND_S) / max(call_s, SHORTEST_CALL_S)))


def rounds_of_a_slot(
    run: Callable[[], object],
    slot_s: float,
    calls: int,
    call_s: float,
    counters: "CallCounters | None" = None,
    before: Callable[[], object] = nothing,
    after: Callable[[], object] = nothing,
) -> list[float]:
    """Time rounds for a slot, at least two unless a call takes long.

    Args:
        run: The call.
        slot_s: Seconds of the slot.
        calls: Calls of a round.
        call_s: About how long a call takes.
        counters: Count the calls that are timed; None for no counting, as where there is anything before or after.
        before: Called before each round, untimed.
        after: Called after each round, untimed.

    Returns:
        Mean seconds of a call in each round.
    """
    if call_s < 2 * slot_s:
        # The caches were the other process's meanwhile; a longer call fills them within itself.
        before()
        run()
        after()
    fewest = 1 if call_s >= LONG_CALL_S else FEWEST_ROUNDS
    rounds_s: list[float] = []
    if counters:
        counters.start()
    end_s = now_s() + slot_s
    while len(rounds_s) < fewest or now_s() < end_s:
        before()
        began_s = now_s()
        for _ in range(calls):
            run()
        rounds_s.append((now_s() - began_s) / calls)
        after()
    if counters:
        counters.stop(len(rounds_s) * calls)
    return rounds_s
