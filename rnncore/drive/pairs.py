"""Two revisions alive at once, each in a pytest process of its own, timed in short slots one after the other.

Whole processes one after another are seconds apart, and a shared host changes in seconds: its bursts, clocks and modes fall
on one side or the other. Slots of a fraction of a second fall on both. What a pair cannot see is where the memory of its two
processes came to lie, so there are several pairs, each of new processes. Which side is first is left to chance in each pair:
that, and nothing else, is what the test of `rnncore.compare.signs` relies on.

Source:
    Bulej, L. et al. (2020). Duet benchmarking: improving measurement accuracy in the cloud. ICPE 2020, 100-107: two versions
    at the same time, each on a core. Here they alternate, as calls that use all cores, or the memory's bandwidth, must.
"""

import json
import math
import os
import secrets
import select
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from rnncore.compare.pairs import slot_log_ratios
from rnncore.drive.layout import common_layout
from rnncore.drive.libraries import write_anew
from rnncore.drive.patience import SAY_AFTER_S, SAY_EVERY_S, Patience
from rnncore.drive.process import (
    TIMEOUT_S,
    WITHOUT_SLOTS,
    made_by,
    pytest_command,
    require_own_modules,
    run_of,
    tree_environment,
)
from rnncore.drive.started import Started
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree
from rnncore.errors import ProcessError
from rnncore.runfile.record import Run
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

# Of base and head, the benchmarks at which a process ended or hung, with why.
Fatal = tuple[Mapping[str, str], Mapping[str, str]]

# Of what the warm-up tells of a pair, later ones take more: the host changes, and memory is measured too.
SPARE = 1.2

# Benchmarks cost alike up to this factor: which of them the warm-up found cheaper is luck.
_ALIKE = 2.0

# Of three slots a burst of other load spoils one.
FEWEST_SLOTS, MOST_SLOTS = 3, 12

# For how long a pair is measured again where one benchmark after another ends its process.
AGAIN_S = TIMEOUT_S

# How often the wait for an answer looks whether the process is still there.
LOOK_EVERY_S = 1.0

# What a benchmark does that another's line comes from.
_SCRIBBLED = "wrote into the pipe by which its process and the gate talk"

# Of Python: which hashes text has, and so how its tables collide.
_HASH_SEED = "PYTHONHASHSEED"

# Why a benchmark has no result that is not the last one's fault.
_NOT_REACHED = "its session ended before it"

# Standard deviation of the log ratio of identical code, of the usual benchmark on a quiet host (reports/LOG.md): between
# pairs, and between the slots of one.
PAIR_SD, QUIET_SLOT_SD = 0.01, 0.007

# A loud host has more slots in a pair, as long as the budget holds this many pairs.
ENOUGH_PAIRS = 16


@dataclass(frozen=True)
class Plan:
    """How the benchmarks of a pair are timed.

    Attributes:
        slots: Slots of each side, for each benchmark.
        slot_s: Seconds of a slot; it has two rounds at least, and a call that takes long is a slot by itself.
        without: Benchmarks that are left out.
        measures_memory: Whether the memory of a fresh process is measured too, which takes seconds.
        imports: Modules that the benchmarks of base and head import at some time: both import them at once, beforehand.
        fatal: Benchmarks of base and head at which a process ended or hung, with why: that side leaves them out, as failed.
    """

    slots: int
    slot_s: float = 0.02
    without: frozenset[str] = frozenset()
    measures_memory: bool = True
    imports: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    fatal: Fatal = ({}, {})


@dataclass(frozen=True)
class Pair:
    """A pair of processes that has ended.

    Attributes:
        base: Run of the base.
        head: Run of the head.
        wall_s: Seconds from the start to the end of both, imports included.
        slots_s: Seconds of them in slots.
        slots: Slots of each side, for each benchmark.
        imported: Modules that the benchmarks of base and head imported.
        slots_s_of: Seconds in slots of each benchmark.
        beside_s_of: Seconds that it took aside from them: its setup and first calls. The first one's count as the start.
        fatal: Benchmarks of base and head at which a process of this pair, or of one before it, ended or hung, with why.
    """

    base: Run
    head: Run
    wall_s: float
    slots_s: float
    slots: int
    imported: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    slots_s_of: Mapping[str, float] = field(default_factory=dict)
    beside_s_of: Mapping[str, float] = field(default_factory=dict)
    fatal: Fatal = ({}, {})

    def wall_of(self, plan: Plan) -> float:
        """Return how many seconds a pair of another plan would take."""
        return self.wall_s + self.slots_s * (plan.slots / self.slots - 1)


class FatalBenchmarkError(ProcessError):
    """A process ended, or was ended, at one of its benchmarks.

    Args:
        said: The message.
        side: `base` or `head`.
        fullname: The benchmark.
        reason: Why, as the end of a sentence on the benchmark, without its full stop.
    """

    def __init__(self, said: str, side: str, fullname: str, reason: str) -> None:
        super().__init__(said)
        self.side, self.fullname, self.reason = side, fullname, reason


class LiveProcess:
    """A pytest process that waits whenever it has answered.

    Args:
        tree: The revision.
        suites: What it runs.
        run_file: Where its run file goes.
        extra: Further arguments of pytest.
        variables: Further variables of its environment.
        patience: How long it may take.

    Attributes:
        ready: The benchmark that it is ready to time; empty once all have ended.
        cpu: The CPU that it is on, where that benchmark keeps no other one busy; None where it does.
        imported: Modules that the benchmarks imported, once all have ended.
        outside: The files of the modules that were loaded from outside of the tree, by top-level name; then, too.
    """

    def __init__(
        self,
        tree: Tree,
        suites: Suites,
        run_file: Path,
        extra: Sequence[str],
        variables: Mapping[str, str],
        patience: Patience,
    ) -> None:
        self._tree, self._run_file, self._patience, self.ready = tree, run_file, patience, ""
        self.cpu: int | None = None
        # The benchmark that it is at, and the last that it was asked to time; a process of an older revision does not say
        # which begins.
        self._at, self._timed, self._says_begins = "", "", False
        self.imported: tuple[str, ...] = ()
        self.outside: Mapping[str, str] = {}
        self._command = pytest_command(tree, suites, run_file, extra)
        asked, self._asks = os.pipe()
        self._answers, answers = os.pipe()
        # What each line of the process begins with; one of an older revision does not know it.
        self._token, self._is_signed = secrets.token_hex(8).encode(), False
        self._unread = b""
        # In a file: a pipe that nobody reads would fill up and stop the process.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        # Of one length on both sides: the environment lies on top of the stack.
        environment = {**tree_environment(tree), **variables, ENVIRONMENT: f"{asked:06},{answers:06}"}
        self._process = Started(self._command, tree.path, environment, self._output, (asked, answers))
        os.close(asked)
        os.close(answers)

    def begin(self, imports: Sequence[str]) -> None:
        """Say what to import."""
        self._say({IMPORTS: list(imports), TOKEN: self._token.decode()})

    def collected(self) -> list[str]:
        """Wait for the benchmarks that the process collected.

        Raises:
            ProcessError: If it ended before, or knows no slots.
        """
        answer = self._answer()
        while answer is not None and COLLECTED not in answer:
            # Suites are imported here, and may write anything.
            answer = self._answer()
        if answer is None:
            run = self.ended()
            raise ProcessError(
                f"{self._tree.side}: the process measured {len(run.records)} benchmarks without slots: this revision's "
                f"rnncore is older than the gate's. {WITHOUT_SLOTS}"
            )
        return [str(name) for name in answer[COLLECTED]]

    def advance(self, told: Mapping[str, object]) -> None:
        """Let the process run until it is ready to time its next benchmark, or has ended all.

        Raises:
            FatalBenchmarkError: If it ends, or hangs, at a benchmark.
            ProcessError: If it does, and it is not known at which.
        """
        if not self._says_begins:
            self._at = ""
        self._take(self._run_until_answer(told))

    def slot(self, seconds: float, cpu: int | None) -> None:
        """Let the process time its benchmark for a slot; where that fails it is ready for the next, or has ended.

        Args:
            seconds: Of the slot.
            cpu: That it is to be on; None for any.

        Raises:
            FatalBenchmarkError: If it ends, or hangs, in it.
        """
        self._at = self._timed = self.ready
        answer = self._run_until_answer({SLOT_S: seconds, CPU: cpu})
        if ENDED not in answer:
            self._take(answer)

    def go_on(self) -> None:
        """Let the process run to its end."""
        self._signal(signal.SIGCONT)

    def ended(self) -> Run:
        """Wait for the end of the process; return its run.

        Raises:
            ProcessError: If it leaves no run file.
        """
        self._wait()
        self._output.seek(0)
        output = self._output.read().decode(errors="replace")
        during = f"; the last that it timed is {self._timed}" if self._timed else ""
        return run_of(self._command, self._tree, self._run_file, self._process.returncode, output, during)

    def close(self) -> None:
        """End the process, and all that it started."""
        self._process.end()
        for pipe in (self._asks, self._answers):
            os.close(pipe)
        self._output.close()

    def _wait(self) -> None:
        """Wait until the process has ended."""
        try:
            self._process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise self._ended_by_us(f"took longer than {TIMEOUT_S:g} s to end") from None

    def _take(self, answer: Mapping[str, Any]) -> None:
        """Take what the process is ready for, or that it is for nothing more."""
        self.ready = str(answer.get(READY, ""))
        self.cpu = answer.get(CPU)
        self.imported = tuple(answer.get(IMPORTED, ()))
        self.outside = answer.get(OUTSIDE, {})

    def _say(self, told: Mapping[str, object]) -> None:
        # A process that has died answers no more, which is seen there.
        with suppress(BrokenPipeError):
            line = json.dumps(told).encode() + b"\n"
            while line:
                line = line[os.write(self._asks, line) :]

    def _run_until_answer(self, told: Mapping[str, object]) -> dict[str, Any]:
        """Tell the process something and wait for its answer; then stop it, so that its idle threads take no time."""
        self.go_on()
        self._say(told)
        answer = self._answer()
        if answer is None:
            self._wait()
            raise self._broke_off(_ended_how(self._process.returncode))
        if BROKE_OFF in answer:
            if not self._at:
                # Of no benchmark: it ends by itself, and says why at its end.
                self._wait()
            raise self._broke_off(f"broke off all of its process ({answer[BROKE_OFF]})")
        # First it alone: one that is just starting another cannot stop before that one has begun to run.
        self._process.send_signal(signal.SIGSTOP)
        # It may have died since, and been waited for.
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._signal(signal.SIGSTOP)
        return answer

    def _signal(self, number: int) -> None:
        """Send a signal to the process and to what it started; to none that has been waited for."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def _answer(self) -> dict[str, Any] | None:
        """Wait for a line that is to be answered; None once the process will write no more."""
        began_s = time.monotonic()
        while (line := self._line(began_s)) is not None:
            said = self._said(line)
            if said is None:
                continue
            self._patience.took(self._at, time.monotonic() - began_s)
            if BEGINS not in said:
                return said
            self._at, self._says_begins = str(said[BEGINS]), True
            began_s = time.monotonic()
        return None

    def _line(self, began_s: float) -> bytes | None:
        """Wait for a line; None once the process will write no more."""
        say_after_s = SAY_AFTER_S
        while b"\n" not in self._unread:
            self._require_own_words()
            if select.select([self._answers], [], [], LOOK_EVERY_S)[0]:
                read = os.read(self._answers, 1 << 16)
                if not read:
                    return None
                self._unread += read
            elif self._process.poll() is not None and not select.select([self._answers], [], [], 0)[0]:
                # A process that it forked holds the pipe.
                return None
            lasts_s = time.monotonic() - began_s
            if lasts_s > self._patience.limit_s(self._at):
                raise self._broke_off(self._patience.too_long(self._at))
            if lasts_s > say_after_s:
                self._patience.lasts(f"{self._tree.side} {self._tree.name}", self._at, lasts_s)
                say_after_s += SAY_EVERY_S
        self._require_own_words()
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _require_own_words(self) -> None:
        """Make sure that what is unread begins as a line of the process does, once it is at a benchmark.

        Raises:
            FatalBenchmarkError: If the benchmark wrote it.
        """
        if self._at and self._is_signed and not self._unread.startswith(self._token[: len(self._unread)]):
            raise self._broke_off(_SCRIBBLED)

    def _said(self, line: bytes) -> dict[str, Any] | None:
        """Return what the process says in a line; None where that is not its own, and it is at no benchmark.

        Raises:
            FatalBenchmarkError: If the benchmark that it is at did.
        """
        _, token, text = line.rpartition(self._token)
        self._is_signed |= bool(token)
        try:
            said = json.loads(text) if token or not self._is_signed else None
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, dict):
            return said
        if self._at:
            raise self._broke_off(_SCRIBBLED)
        return None

    def _broke_off(self, reason: str) -> ProcessError:
        """Return the error of a process that said, or says, no more."""
        if not self._at:
            if self._process.poll() is not None:
                # What it printed tells more.
                self.ended()
            return self._ended_by_us(reason)
        made = made_by(["python", *self._command[1:]], self._tree)
        said = f"{made}: {self._at} {reason}. Mend it, or leave it out with -k."
        return FatalBenchmarkError(said, self._tree.side, self._at, reason)

    def _ended_by_us(self, reason: str) -> ProcessError:
        during = f", the last that it timed being {self._timed}," if self._timed else ""
        return ProcessError(
            f"{made_by(['python', *self._command[1:]], self._tree)} {reason}{during} and was ended. "
            "Choose fewer benchmarks with -k."
        )


def _ended_how(code: int) -> str:
    """Say how a process ended, as the end of a sentence on the benchmark that it was at."""
    if code >= 0:
        return f"ended all of its process, with exit code {code}"
    try:
        return f"ended all of its process, by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended all of its process, by signal {-code}"


def run_pair(
    trees: Sequence[Tree],
    suites: Suites,
    run_files: Sequence[Path],
    plan: Plan,
    number: int | None,
    chance: Random,
    extra: Sequence[Sequence[str]] = ((), ()),
    patience: Patience | None = None,
) -> Pair:
    """Measure a base and a head in slots.

    Where a process ends or hangs at a benchmark the pair is measured again, without it on that side: there it failed.

    Args:
        trees: Base and head.
        suites: What both run.
        run_files: Where their run files go.
        plan: How long, and what is left out.
        number: Of the pair, from 0; no two pairs of a gate share it. None for one that warms up and is not to be judged.
        chance: Who is first.
        extra: Arguments for the base alone, and for the head alone.
        patience: How long its processes may take, by what those of earlier pairs took.

    Raises:
        ConfigError: If a process measured an installed copy of the code.
        ProcessError: If a process takes too long, knows no slots, or leaves no run file.
    """
    patience = patience or Patience(suites.arguments)
    fatal = {**plan.fatal[0]}, {**plan.fatal[1]}
    began_s = time.monotonic()
    while True:
        plan = replace(plan, fatal=fatal)
        try:
            return _run_pair(trees, suites, run_files, plan, number, chance, extra, patience)
        except FatalBenchmarkError as error:
            # One after another may be so: there is an end to it.
            if time.monotonic() - began_s > AGAIN_S:
                raise
            of_side = fatal[0 if error.side == trees[0].side else 1]
            of_side[error.fullname] = error.reason
            patience.say(
                f"{error.side}: {error.fullname} {error.reason}. It counts as failed; the others are measured anew."
            )


def _run_pair(
    trees: Sequence[Tree],
    suites: Suites,
    run_files: Sequence[Path],
    plan: Plan,
    number: int | None,
    chance: Random,
    extra: Sequence[Sequence[str]],
    patience: Patience,
) -> Pair:
    variables = _common(chance)
    began_s, slots_s_of, beside_s_of = time.monotonic(), dict[str, float](), dict[str, float]()
    with ExitStack() as stack:
        # Whoever is first is written and started first too: what both want, such as a port or memory of a node, is its.
        # Of a pair that warms up it is the base: how long the head may take depends on that.
        turn = 1 if number is None else chance.choice((1, -1))
        for tree in [*trees][::turn]:
            write_anew(tree.libraries)
        live: list[LiveProcess] = []
        with common_layout(chance) as of_layout:
            for tree, run_file, arguments in [*zip(trees, run_files, extra, strict=True)][::turn]:
                live.append(LiveProcess(tree, suites, run_file, arguments, {**variables, **of_layout}, patience))
                stack.callback(live[-1].close)
        first, live = live, live[::turn]
        for one, imports in [*zip(live, plan.imports, strict=True)][::turn]:
            one.begin(imports)
        collected = [one.collected() for one in live]
        ranks = _ranks(collected, plan.without | suites.without)
        fatal_of = dict(zip(live, plan.fatal, strict=True))
        for one in first:
            order = [name for name in ranks if name not in fatal_of[one]]
            one.advance({ORDER: order, PAIR: number, MEMORY: plan.measures_memory, BEGINS: True})
        while ready := [one for one in live if one.ready]:
            name = min((one.ready for one in ready), key=ranks.__getitem__)
            sides = [one for one in first if one.ready == name]
            cpus = _common_cpus(sides)
            slots_began_s = time.monotonic()
            for slot in range(plan.slots):
                for one in sides[:: -1 if slot % 2 else 1]:
                    # A benchmark may fail in one of its slots.
                    if one.ready == name:
                        one.slot(plan.slot_s, cpus[slot % len(cpus)])
            slots_s_of[name] = time.monotonic() - slots_began_s
            for one in sides:
                if one.ready == name:
                    advances_s = time.monotonic()
                    one.advance({})
                    beside_s_of[one.ready] = beside_s_of.get(one.ready, 0.0) + time.monotonic() - advances_s
            # Whoever is first with this benchmark is second with the next.
            if number is not None:
                first = first[::-1]
        for one in first:
            one.go_on()
        base, head = (
            _failed_too(one.ended(), fatal_of[one], [name for name in names if name in ranks])
            for one, names in zip(live, collected, strict=True)
        )
        for one, tree in zip(live, trees, strict=True):
            require_own_modules(tree, one.outside)
        imported = live[0].imported, live[1].imported
        wall_s, slots_s = time.monotonic() - began_s, sum(slots_s_of.values())
        return Pair(base, head, wall_s, slots_s, plan.slots, imported, slots_s_of, beside_s_of, plan.fatal)


def _common_cpus(sides: Sequence[LiveProcess]) -> list[int | None]:
    """Return the CPUs that both sides of a pair are to be on, one in each slot in turn; None for any.

    Left to the system each side stays on a CPU of its own, and a neighbour that is busy on the other thread of a core makes
    its side slower in all slots. Where a side keeps several CPUs busy, or does not say which it is on, none is told.
    """
    cpus = [one.cpu for one in sides]
    return [None] if len(cpus) < 2 or None in cpus else [*cpus]


def _failed_too(run: Run, fatal: Mapping[str, str], names: Sequence[str]) -> Run:
    """Return a run in which those benchmarks failed too at which an earlier process ended, or that none came to.

    Args:
        run: As its file has it.
        fatal: Why, by benchmark.
        names: All that it was to measure.
    """
    ended = {record.fullname for record in run.records} | {name for name, _, _ in run.failed} | dict(run.skipped).keys()
    why = {**{name: _NOT_REACHED for name in names if name not in ended}, **fatal}
    return replace(run, failed=(*run.failed, *((name, "error", reason) for name, reason in why.items())))


def _common(chance: Random) -> dict[str, str]:
    """Return what both sides of a pair have alike, and the next pair otherwise."""
    return {} if _HASH_SEED in os.environ else {_HASH_SEED: str(chance.randrange(1, 2**32))}


def planned(warm_up: Pair, budget_s: float = math.inf) -> Plan:
    """Return the plan that tells most in the time that there is.

    Args:
        warm_up: A pair of the same suites.
        budget_s: Seconds for all pairs to come.

    Source:
        Cochran, W. G. (1977). Sampling Techniques, 3rd ed., section 10.6: how many of each unit to look at, by what the unit
        and its parts cost and how much they vary.
    """
    if not warm_up.slots_s:
        # Every benchmark failed, as the verdicts will say.
        return Plan(FEWEST_SLOTS, fatal=warm_up.fatal)
    slot_s, fixed_s = warm_up.slots_s / warm_up.slots, warm_up.wall_s - warm_up.slots_s
    quiet, loud = (round(sd / PAIR_SD * math.sqrt(fixed_s / slot_s)) for sd in (QUIET_SLOT_SD, slot_sd(warm_up)))
    affordable = math.floor(min(MOST_SLOTS, (budget_s / (SPARE * ENOUGH_PAIRS) - fixed_s) / slot_s))
    slots = max(FEWEST_SLOTS, min(MOST_SLOTS, quiet), min(loud, affordable))
    return Plan(slots, imports=warm_up.imported, fatal=warm_up.fatal)


def slot_sd(pair: Pair) -> float:
    """Return the standard deviation of the log ratio between the slots of a pair, in the median benchmark; 0 of none."""
    of_base = {record.fullname: record for record in pair.base.records}
    logs = [slot_log_ratios(of_base[one.fullname], one) for one in pair.head.records if one.fullname in of_base]
    variances = [statistics.variance(one) for one in logs if len(one) > 1]
    # Of three slots a variance has two degrees of freedom, and its median is ln 2 of its mean.
    return math.sqrt(statistics.median(variances) / math.log(2)) if variances else 0.0


def too_long(warm_up: Pair, plan: Plan, budget_s: float, pairs: int) -> frozenset[str]:
    """Return the benchmarks to leave out so that a budget holds some pairs of the others, those that cost most first.

    What a benchmark costs are its setup, its first calls and its slots; of those that cost alike the first stay.

    Args:
        warm_up: A pair of all.
        plan: Of the pairs to come.
        budget_s: Seconds for them.
        pairs: How many there are to be.

    Returns:
        Nothing where all fit; nothing either where not even the start of so many pairs does.
    """
    beside_s = {name: warm_up.beside_s_of.get(name, 0.0) for name in warm_up.slots_s_of}
    cost_s = {name: slots_s * plan.slots / warm_up.slots + beside_s[name] for name, slots_s in warm_up.slots_s_of.items()}
    left_s = budget_s / (SPARE * pairs) - (warm_up.wall_s - warm_up.slots_s - sum(beside_s.values()))
    kept: set[str] = set()
    for name in _cheapest_first(cost_s):
        if cost_s[name] <= left_s:
            left_s -= cost_s[name]
            kept.add(name)
    return frozenset(cost_s.keys() - kept) if kept else frozenset()


def budget_for(pairs: int, pair_s: float) -> int:
    """Return the minutes that hold some pairs without leaving anything out, and the one that warms up."""
    return math.ceil((SPARE * pairs + 1) * pair_s / 60)


def _cheapest_first(cost_s: Mapping[str, float]) -> list[str]:
    """Return names by cost, and those that cost alike in their own order."""
    places = {name: place for place, name in enumerate(cost_s)}
    alike: list[list[str]] = []
    for name in sorted(cost_s, key=cost_s.__getitem__):
        if alike and cost_s[name] <= _ALIKE * cost_s[alike[-1][0]]:
            alike[-1].append(name)
        else:
            alike.append([name])
    return [name for some in alike for name in sorted(some, key=places.__getitem__)]


def _ranks(collected: Sequence[Sequence[str]], without: frozenset[str]) -> dict[str, int]:
    """Return the place of each benchmark: those of both sides first, in the order of the head."""
    base, head = collected
    both = [name for name in head if name in set(base)]
    alone = [name for names in (head, base) for name in names if name not in set(both)]
    return {name: rank for rank, name in enumerate(one for one in (*both, *alone) if one not in without)}
