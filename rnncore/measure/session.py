"""What one pytest session remembers beside the rounds: in memory for the run file, and on the disk at once."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any, Literal

from rnncore import __version__
from rnncore.files import write_text
from rnncore.measure.busy import waiting_facts
from rnncore.measure.facts import make_writable
from rnncore.measure.stopwatch import now_s, seconds_per_call
from rnncore.measure.timeout import CaseTimeout
from rnncore.runfile.journal import dumps
from rnncore.runfile.record import EXTRA_INFO, OWN_FACTS
from rnncore.runfile.text import whole

if TYPE_CHECKING:
    from rnncore.measure.ceilings import CeilingBench
    from rnncore.measure.memory import ServingMemory
    from rnncore.measure.slots import Slots
    from rnncore.runfile.journal import Finished, Journal

Outcome = Literal["error", "out of memory", "timed out"]

# What is no overhead: figures of the run file are made of it.
TIMED = "timed rounds"
TRAININGS = "timed trainings"

_PULSE_CALLS = 20
_FIRST_PULSE_CALLS = 200
_PULSE_SIZE = 256


@dataclass(frozen=True)
class Row:
    """A timed benchmark.

    Attributes:
        record: pytest-benchmark's own record of the attempt that counts.
        derive: Records its rates and shares of the ceilings known by then; None where it has none.
        seen: Of a benchmark of another suite, what was seen of it; None of one of ours, whose `extra_info` is for facts.
    """

    record: Any
    derive: Callable[[], None] | None = None
    seen: dict[str, Any] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Its facts, where they are kept."""
        extra: dict[str, Any] = self.record.extra_info
        return extra if self.seen is None else self.seen

    def with_facts(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Return what pytest-benchmark writes of it with its facts; what a suite records itself stays as it is.

        Args:
            entry: Of a run file.
        """
        if self.seen is None:
            # Written past `record`, it may be anything.
            make_writable(self.record.extra_info)
            return entry
        extra = entry[EXTRA_INFO]
        if OWN_FACTS in extra:
            # The suite's own word: ours go beside what it records.
            return {**entry, OWN_FACTS: self.seen}
        return {**entry, EXTRA_INFO: {**extra, OWN_FACTS: self.seen}}


class Session:
    """The record of one session.

    Args:
        began_s: When it began, by `stopwatch.now_s`; None for now.

    Attributes:
        name: When it began, as part of a path.
        rows: The timed benchmarks by full name: of each the last attempt alone.
        again: Benchmarks that began more than once.
        dataset: Name and digest of the data set, once one is open.
        providers: Execution providers of ONNX Runtime that were seen at work.
        fingerprint: Stable facts of the machine, once a case was begun.
        saved: Whether what was measured lies in a run file.
        saved_path: The run file in the store, or what was written in its place.
        save_failures: A line for each run file that could not be written, with where else it is.
        has_cases: Whether any benchmark is of a suite of ours.
        measures: Whether a benchmark that the plugin measures was begun in a session that times it.
        journal: Where ended benchmarks are kept at once; None before the first, or where nothing can be written.
        why_no_journal: The system's reason for the latter.
        earlier: What the session that this one goes on with had finished; None where it begins anew.
        left_out: Benchmarks of this session that are not run again, as they were finished then.
        none_left: Whether it came to its end, and those were all that it had.
        slots: Whose slots rounds are timed in; None where nobody drives this process.
        taken: Benchmarks of other suites whose fixture was asked to let rounds be seen.
    """

    def __init__(self, began_s: float | None = None) -> None:
        self.name = f"{datetime.now(UTC):%Y%m%d_%H%M%S}"
        self.rows: dict[str, Row] = {}
        self.again: set[str] = set()
        self.dataset: dict[str, str] | None = None
        self.providers: set[str] = set()
        self.fingerprint: dict[str, Any] = {}
        self.saved = False
        self.saved_path: Path | None = None
        self.save_failures: list[str] = []
        self.has_cases = False
        self.measures = False
        self.journal: Journal | None = None
        self.why_no_journal: str | None = None
        self.earlier: Finished | None = None
        self.left_out: set[str] = set()
        self.none_left = False
        self.slots: Slots | None = None
        self.taken: set[str] = set()
        self._began_s = now_s() if began_s is None else began_s
        self._begun: set[str] = set()
        self._skipped: dict[str, str] = {}
        self._failed: dict[str, tuple[Outcome, str]] = {}
        self._ceilings: CeilingBench | None = None
        self._memory: ServingMemory | None = None
        self._parts_s: defaultdict[str, float] = defaultdict(float)
        self._inner_s = [0.0]
        self._pulses_s: list[float] = []

    def began(self, name: str) -> bool:
        """Note that a benchmark begins; say whether it did before: nothing of an earlier attempt is kept."""
        is_again = name in self._begun
        self._begun.add(name)
        if is_again:
            self.again.add(name)
            for earlier in (self.rows, self._skipped, self._failed):
                earlier.pop(name, None)
        self._note(lambda journal: journal.began(name))
        return is_again

    def has_begun(self, name: str) -> bool:
        """Say whether a benchmark was begun, at this attempt or an earlier one."""
        return name in self._begun

    @property
    def has_begun_any(self) -> bool:
        """Whether any benchmark was begun."""
        return bool(self._begun)

    def skipped(self, name: str, reason: str) -> None:
        """Note why a benchmark was skipped."""
        self._skipped[name] = reason = whole(reason)
        self._note(lambda journal: journal.skipped(name, reason))

    def failed(self, name: str, outcome: Outcome, reason: str) -> None:
        """Note how a benchmark ended that has no result."""
        # A text of Python may hold half a character, such as of a file's name; a run file holds none.
        self._failed[name] = outcome, (reason := whole(reason))
        self._note(lambda journal: journal.failed(name, outcome, reason))

    def broke_off(self, name: str) -> None:
        """Note a benchmark that has some rounds and no end."""
        if name not in self._failed and name not in self._skipped:
            self.failed(name, "error", "broke off before its end")

    def finished(self, name: str) -> None:
        """Note that a timed benchmark, and its checks, have ended."""
        row = self.rows[name]

        def note(journal: "Journal") -> None:
            entry = row.with_facts(row.record.as_dict(include_data=True))
            try:
                journal.finished(entry)
            except (TypeError, ValueError, RecursionError):
                # What a suite records may be what JSON cannot hold: that alone is given up.
                extra = dict(entry[EXTRA_INFO])
                make_writable(extra)
                journal.finished({**entry, EXTRA_INFO: extra})

        self._note(lambda journal: journal.facts(**self._facts()))
        self._note(note)

    def derive_rates(self) -> None:
        """Derive every row's rates again: the ceilings of the whole session are known now."""
        for row in self.rows.values():
            if row.derive:
                row.derive()

    def _note(self, write: Callable[["Journal"], None]) -> None:
        """Write to the journal; a disk that is full ends the journal, not the session."""
        if self.journal is None:
            return
        try:
            write(self.journal)
        except OSError as error:
            self.why_no_journal = str(error)
            self.journal.close()
            self.journal = None

    def not_saved(self, content: dict[str, Any], where: str, error: OSError) -> None:
        """Write a run file that could not be saved somewhere else, once, and keep a line that says where.

        Args:
            content: Of the run file.
            where: Where it was to go.
            error: Why it is not there.
        """
        if not self.saved_path:
            folders = [self.journal.path.parent] if self.journal else []
            for folder in (*folders, Path.cwd(), Path(gettempdir())):
                path = folder / f"rnncore_{self.name}.json"
                with suppress(OSError):
                    write_text(path, dumps(content, indent=4))
                    self.saved, self.saved_path = True, path
                    break
        place = f"it lies in {self.saved_path}" if self.saved_path else "and nowhere else either"
        self.save_failures.append(f"The run file could not be saved to {where} ({error}); {place}.")

    @property
    def ceilings(self) -> "CeilingBench":
        """The session's ceilings, measured as they are asked for."""
        if self._ceilings is None:
            from rnncore.measure.ceilings import CeilingBench

            self._ceilings = CeilingBench()
        return self._ceilings

    @property
    def memory(self) -> "ServingMemory":
        """What processes need that only serve, measured as it is asked for."""
        if self._memory is None:
            from rnncore.measure.memory import ServingMemory

            self._memory = ServingMemory()
        return self._memory

    def close(self) -> None:
        """End the processes that were started for this session's rows."""
        if self._memory is not None:
            self._memory.close()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block, less that of parts inside it, under *name*."""
        began_s = now_s()
        self._inner_s.append(0.0)
        try:
            yield
        finally:
            spent_s = now_s() - began_s
            self._parts_s[name] += spent_s - self._inner_s.pop()
            self._inner_s[-1] += spent_s

    def count(self, name: str, seconds: float, out_of: str) -> None:
        """Move seconds that are already counted under one name to another."""
        self._parts_s[name] += seconds
        self._parts_s[out_of] -= seconds

    def overhead(self) -> dict[str, Any]:
        """Return where the session's time went up to now, in seconds."""
        wall_s = now_s() - self._began_s
        parts_s = {name: seconds for name, seconds in self._parts_s.items() if name not in (TIMED, TRAININGS)}
        timed_s, trainings_s = self._parts_s[TIMED], self._parts_s[TRAININGS]
        overhead_s = wall_s - timed_s - trainings_s
        parts_s["collection and the rest of pytest"] = overhead_s - sum(parts_s.values())
        return {
            "wall_s": wall_s,
            "timed_s": timed_s,
            "trainings_s": trainings_s,
            "overhead_s": overhead_s,
            "parts_s": dict(sorted(parts_s.items(), key=lambda part: -part[1])),
        }

    def overhead_text(self) -> str:
        """Return the overhead as a line for the screen."""
        overhead = self.overhead()
        spent = [f"{overhead['timed_s']:.0f} s were timed rounds"]
        if self.has_cases:
            spent.append(f"{overhead['trainings_s']:.0f} s timed trainings")
        parts = [f"{seconds:.0f} s {name}" for name, seconds in overhead["parts_s"].items() if seconds >= 1]
        return (
            f"Of {overhead['wall_s']:.0f} s, {', '.join(spent)} and {overhead['overhead_s']:.0f} s overhead "
            f"({', '.join(parts) or 'all below 1 s'})."
        )

    def take_pulse(self, threads: int) -> None:
        """Time a small fixed piece of work: over a session it shows whether the machine stayed the same."""
        import statistics

        import torch

        from rnncore.forecast.device import cpu_threads

        values = torch.ones(_PULSE_SIZE, _PULSE_SIZE)
        calls = _PULSE_CALLS if self._pulses_s else _FIRST_PULSE_CALLS
        with cpu_threads(threads):
            calls_s = [seconds_per_call(lambda: torch.mm(values, values)) for _ in range(calls)]
        self._pulses_s.append(statistics.median(calls_s[-_PULSE_CALLS:]))

    def facts(self, command: list[str], scale: str) -> dict[str, Any]:
        """Return the `rnncore` block of a run file."""
        from rnncore.kernels.library import implementations

        return {
            "version": __version__,
            "command": command,
            "scale": scale,
            "fingerprint": self.fingerprint,
            "kernels": dict(implementations),
            "resumed": {"began": self.earlier.began, "benchmarks": len(self.earlier.entries)} if self.earlier else None,
            **self._facts(),
            **waiting_facts(),
            "pair": self.slots.pair if self.slots else None,
            "skipped": [{"fullname": name, "reason": reason} for name, reason in self._skipped.items()],
            "failed": [
                {"fullname": name, "outcome": outcome, "reason": reason} for name, (outcome, reason) in self._failed.items()
            ],
        }

    def _facts(self) -> dict[str, Any]:
        """Return what changes as the session goes on."""
        from rnncore.measure.steadiness import steadiness_facts

        ceilings, data = (self.earlier.ceilings, self.earlier.data) if self.earlier else (None, None)
        return {
            "ceilings": self._ceilings.facts() if self._ceilings else ceilings,
            "data": self.dataset or data,
            "execution_providers": sorted(self.providers),
            **steadiness_facts(self._pulses_s),
            "pulses_s": self._pulses_s,
            "overhead": self.overhead(),
        }


def outcome_of(error: BaseException) -> Outcome:
    """Return what a benchmark that raised is recorded as."""
    if isinstance(error, CaseTimeout):
        return "timed out"
    # torch and ONNX Runtime have errors of their own for it; the words are what they share.
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
        return "out of memory"
    return "error"
