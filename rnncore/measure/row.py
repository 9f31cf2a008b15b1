"""How one row is measured: first call, evidence of the path, warm-up, watched rounds, and energy in calls nobody times."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnncore.measure import harness
from rnncore.measure.company import Company
from rnncore.measure.delay import delayed
from rnncore.measure.facts import Fact, put_facts, with_reasons
from rnncore.measure.memory import WHY_NOT_SERVED, Served, peak_device_memory, unknown
from rnncore.measure.session import TIMED, Row, Session
from rnncore.measure.stopwatch import seconds_per_call, warmed_up
from rnncore.runfile.case import Case
from rnncore.runfile.record import CEILINGS, EMULATED, Record, is_emulated, is_found_right, is_right

if TYPE_CHECKING:
    from rnncore.measure.ceilings import Ceilings
    from rnncore.measure.slots import Slots
    from rnncore.measure.work import Work
    from rnncore.runtimes.base import Evidence, Source

# Makes evidence of what ran, and a trace where a path is given.
FindEvidence = Callable[[Path | None], "Evidence"]

# Time that calls take before the timed rounds, after the first: caches, allocators and clocks settle.
WARM_UP_S = 0.2
BRIEF_WARM_UP_S = 0.03

# A call this long needs no calibration: pytest-benchmark would make one more before the rounds, and one after.
LONG_CALL_S = 0.05

# What only a benchmark itself knows, and the reason that is recorded if it says nothing.
_UNSAID = "the benchmark did not record it"
_SAID_BY_BENCHMARK = ("validity", "parity_max_abs", "smape")

# Of ceilings that say nothing of a call whose work is not stated.
_SHARES_OF_WORK = "gemm_ceiling_pct", "recurrent_ceiling_pct", "cache_ceiling_pct"

# What only the process that makes the calls can see.
_SEEN_INSIDE = ("disturbed_rounds", "peak_device_bytes", "joules_per_1000")


class RnnBenchmark:
    """Time a call of a case and record what belongs beside the time.

    Args:
        benchmark: The fixture of pytest-benchmark.
        session: The session's record.
        case: What is measured.
        threads: Threads that it runs with.
        ceilings: Returns what the machine can do at best for this case, as far as is known by then; None where nothing is
            timed.
        trace_folder: Where profiles' traces go; None where rows are not profiled.
        brief: Whether only time, memory and disturbance are wanted: no energy, and what ran only where it is profiled.
            Benchmarks may read it too, and leave out what costs seconds.
        delay_pct: What to add to the time of every call, in percent of it, so that a gate can be tested; 0 for nothing.
    """

    def __init__(
        self,
        benchmark: Any,
        session: Session,
        case: Case,
        threads: int,
        ceilings: "Callable[[], Ceilings] | None",
        trace_folder: Path | None,
        brief: bool = False,
        delay_pct: float = 0.0,
    ) -> None:
        from rnncore.runtimes.catalog import runtime_facts

        self._benchmark = benchmark
        self._session = session
        self._case = case
        self._threads = threads
        self._ceilings = ceilings
        self._derive: Callable[[], None] | None = None
        self._trace_folder = trace_folder
        self.brief = brief
        self._delay_pct = delay_pct
        # Axes first, so that a benchmark that fails half-way still says which it was.
        self.record(**{**case.axes, "threads": threads}, **runtime_facts(case.runtime, case.mode))

    @property
    def enabled(self) -> bool:
        """Whether rounds are timed; with `--benchmark-disable` each call runs once, as a check."""
        return bool(self._benchmark.enabled)

    def __call__(
        self,
        run: Callable[[], object],
        windows: int,
        group: str,
        work: "Work | None" = None,
        evidence: FindEvidence | None = None,
        opening_s: float = 0.0,
        min_round_s: float = 0.0,
    ) -> None:
        """Warm up and time, with a look at memory, disturbance, energy and the path that ran.

        Args:
            run: The call to time; it returns only when its result is ready.
            windows: Windows that one call works on.
            group: What the benchmark is listed with.
            work: Operations and bytes of one call; None where they say nothing.
            evidence: Returns what ran, in calls of its own; None where nothing can.
            opening_s: Seconds that opening the runtime took; counted with the first call.
            min_round_s: Calls so short that a second has tens of thousands of them are timed together, as many as make a
                round take this long; its percentiles are then refused.
        """
        self._benchmark.group = group
        self.record(windows=windows)
        if not self.enabled:
            self._benchmark(run)
            return
        self._record_unsaid()
        company = Company()
        with self.part("first calls and warm-up"), company.watched():
            first_call_s = seconds_per_call(run)
        self.record(first_call_s=opening_s + first_call_s)
        profiled_s = self._record_path(evidence)
        with self.part("first calls and warm-up"), company.watched():
            # On a GPU both make libraries and profiler ready for seconds, and neither is a call like those that follow.
            called_s = min(first_call_s, profiled_s) if self._case.device == "cpu" else 0.0
            call_s = warmed_up(run, called_s, BRIEF_WARM_UP_S if self.brief else WARM_UP_S)
        harness.lengthen_rounds(self._benchmark, min_round_s)
        timed = run
        if self._delay_pct:
            timed, delay_pct = delayed(run, self._delay_pct, call_s)
            self.record(injected_delay_pct=delay_pct)
        if self._session.slots is None:
            self._time(timed, call_s)
        else:
            self._time_in_slots(self._session.slots, company, timed, call_s, min_round_s)
        stats = self._benchmark.stats
        if not self.brief:
            from rnncore.measure.energy import joules_per_1000

            self._record_series(stats.stats.data)
            with self.part("energy"):
                self._put(joules_per_1000=joules_per_1000(run, windows, self._case.device))
        self._keep(stats, windows, work)

    def known_median_s(self, case: Case) -> float | None:
        """Return the median of a right row of this session; None where it has none of that case."""
        for row in self._session.rows.values():
            extra = row.facts
            if {**case.axes, "threads": self._threads}.items() <= extra.items() and is_found_right(extra):
                return float(row.record.stats.median)
        return None

    def observed(
        self, rounds_s: Sequence[float], calls: int, windows: int, group: str, why: str, work: "Work | None" = None
    ) -> None:
        """Record rounds that were timed elsewhere.

        Args:
            rounds_s: Mean seconds of a call in each round.
            calls: Calls of a round.
            windows: Windows that one call works on.
            group: What the benchmark is listed with.
            why: Why nothing else was watched.
            work: Operations and bytes of one call; None where they say nothing.

        Raises:
            ValueError: If there is no round, or one is no time.
        """
        self._benchmark.group = group
        harness.mark_used(self._benchmark)
        self.record(windows=windows)
        if not self.enabled:
            return
        self._record_unsaid()
        self._put(**dict.fromkeys(_SEEN_INSIDE, (None, why)))
        times_s = [float(seconds) for seconds in rounds_s]
        wrong = [seconds for seconds in times_s if not 0 < seconds < math.inf]
        if wrong or not times_s:
            what = f"a round of {wrong[0]:g} s" if wrong else "no round"
            raise ValueError(f"observed() was given {what}; give seconds above 0, one for each round.")
        stats = harness.take_rounds(self._benchmark, times_s, calls)
        self._record_series(stats.stats.data)
        self._keep(stats, windows, work)

    def _keep(self, stats: Any, windows: int, work: "Work | None") -> None:
        """Record the rates of a timed row, and let the session know of it."""

        def derive() -> None:
            self._record_rates(stats.stats.median, windows, work)

        derive()
        self._derive = derive if work else None
        self._session.rows[self._benchmark.fullname] = Row(stats, self._derive)

    def is_above_a_ceiling(self) -> bool:
        """Derive the rates of a timed row again, and say whether it is quicker than a ceiling that is known now allows."""
        if self._derive is None:
            return False
        self._derive()
        facts = self._benchmark.extra_info
        return any((facts.get(f"{name}_ceiling_pct") or 0.0) > 100 for name in CEILINGS)

    def record_memory(self, source: "Source", shape: tuple[int, int, int]) -> None:
        """Record what a fresh process needs that only serves the case's model; nothing where nothing is timed.

        Call it once the runtime is closed: its idle threads would take the time of the process.

        Args:
            source: What the runtime opens.
            shape: Of the windows of one call: (B, T, F).
        """
        if not self.enabled:
            return
        if self._session.slots is not None and not self._session.slots.measures_memory:
            self.record(**unknown("earlier pairs of processes told it"))
            return
        case = self._case
        question = Served(case.runtime, case.device, str(case.precision), self._threads, shape, case.mode)
        with self.part("memory in a fresh process"):
            self.record(**self._session.memory.of(question, source))

    def record(self, **facts: object) -> None:
        """Put facts beside the time. A known fact replaces the reason why it was not known.

        Args:
            facts: `rnncore.measure.facts.ALLOWED`. Values of NumPy become JSON values; NaN and infinity become None, with
                the reason under `<key>_why`.

        Raises:
            TypeError: If a fact is or holds what JSON cannot; nothing is recorded then.
        """
        if is_right(facts) and "validity" in facts and self._is_emulated:
            facts["validity"] = EMULATED
        put_facts(self._benchmark.extra_info, **facts)

    @property
    def _is_emulated(self) -> bool:
        """Whether what is timed runs on a device that tests emulate: however right its answer, its time is of no device."""
        return self._case.device != "cpu" and is_emulated(self._session.fingerprint)

    def _put(self, **facts: Fact) -> None:
        """Record facts, or the reasons why they are None."""
        self.record(**with_reasons(facts))

    def _record_unsaid(self) -> None:
        """Leave open, with the reason, what the benchmark alone knows and may still record."""
        self._put(**dict.fromkeys(_SAID_BY_BENCHMARK, (None, _UNSAID)))
        self.record(**unknown(WHY_NOT_SERVED.get(self._case.phase, _UNSAID)))

    def part(self, name: str) -> AbstractContextManager[None]:
        """Count the time of the block under *name* in the session's overhead."""
        return self._session.part(name)

    def fell_back_to_cpu(self, cell: str) -> bool:
        """Say whether a recurrent layer ran on the CPU, as far as the evidence shows."""
        placement = Record("", "", (), self._benchmark.extra_info).placement or {}
        return any(cell.upper() in node and "CPU" in where for node, where in placement.items())

    def verdict(self, validity: str) -> str:
        """Return what is wrong with a row: a recurrent layer that fell back to the CPU, or else what its answer says.

        Args:
            validity: `valid`, or what is wrong with the answer.
        """
        if self._case.device != "cpu" and self._case.cell and self.fell_back_to_cpu(self._case.cell):
            return "a recurrent layer fell back to the CPU"
        return validity

    def _time(self, run: Callable[[], object], call_s: float) -> None:
        """Let pytest-benchmark time the rounds, watched between them.

        Args:
            run: The call.
            call_s: About how long it takes.
        """
        from rnncore.measure.disturbance import watched_rounds

        with (
            self.part("between rounds"),
            peak_device_memory(self._case.device, self._case.runtime) as peaks,
            watched_rounds(self._benchmark, self._case.device) as seen,
        ):
            rounds = harness.rounds_of(self._benchmark, call_s) if call_s >= LONG_CALL_S else None
            if rounds is None:
                self._benchmark(run)
            else:
                self._benchmark.pedantic(run, rounds=rounds)
        self._session.count(TIMED, seen.timed_s, out_of="between rounds")
        self.record(**peaks, **seen.facts)

    def _time_in_slots(
        self, slots: "Slots", company: Company, run: Callable[[], object], call_s: float, min_round_s: float
    ) -> None:
        """Time rounds in the slots that the driving process asks for; further arguments as of `_time`."""
        from rnncore.measure.counters import CallCounters
        from rnncore.measure.slots import calls_of_a_round, rounds_of_a_slot

        calls, of_slots = calls_of_a_round(call_s, min_round_s), []
        with closing(CallCounters(self._why_not_counted())) as counters:
            for slot_s in slots.of(self._benchmark.fullname, company):
                of_slots.append(rounds_of_a_slot(run, slot_s, calls, call_s, counters))
        rounds_s = [seconds for of_slot in of_slots for seconds in of_slot]
        harness.mark_used(self._benchmark)
        harness.take_rounds(self._benchmark, rounds_s, calls)
        self._session.count(TIMED, sum(rounds_s) * calls, out_of="checks and the rest of benchmarks")
        self._put(**dict.fromkeys(_SEEN_INSIDE, (None, "timed in slots, beside a process of another revision")))
        self._put(**counters.facts())
        self.record(slot_rounds=[len(of_slot) for of_slot in of_slots])

    def _why_not_counted(self) -> str | None:
        """Return why instructions of a call would say nothing; None where they do."""
        if self._case.device != "cpu":
            return "the work is on the GPU"
        if self._threads != 1:
            return f"{self._threads} threads spin while they wait for one another"
        return "the planted delay spins" if self._delay_pct else None

    def _record_rates(self, median_s: float, windows: int, work: "Work | None") -> None:
        self.record(windows_per_s=windows / median_s)
        if work is None or self._ceilings is None:
            of_work = "gflop_per_s", "us_per_step", "bound", *_SHARES_OF_WORK
            self._put(**dict.fromkeys(of_work, (None, "the work of a call is not stated")))
            return
        no_flop, unmeasured = "no matrix products", f"no ceiling is known for {self._case.precision} on {self._case.device}"
        steps, ceilings = work.dependent_steps, self._ceilings()
        shares_pct = ceilings.shares_pct(work, median_s)
        self._put(
            gflop_per_s=(work.flops / median_s / 1e9 if work.flops else None, no_flop),
            us_per_step=(1e6 * median_s / steps if steps else None, "nothing is recurrent"),
            flops_per_byte=(work.flops_per_byte, None),
            bound=(ceilings.bound(work), unmeasured),
            **{key: (share_pct, unmeasured if work.flops else no_flop) for key, share_pct in shares_pct.items()},
            ceiling_spreads_pct=(ceilings.spreads_pct(work), None),
        )

    def _record_series(self, rounds_s: list[float]) -> None:
        from rnncore.measure.percentiles import percentiles_of_rounds
        from rnncore.measure.steadiness import steadiness_facts

        self.record(**steadiness_facts(rounds_s))
        self.record(percentiles=percentiles_of_rounds(rounds_s, self._benchmark.stats.iterations))

    def _record_path(self, evidence: FindEvidence | None) -> float:
        """Record what ran, in profiled calls; return the seconds of one, 0 where it is not known."""
        if evidence is None or (self.brief and self._trace_folder is None):
            why = "the benchmark gives no evidence of what ran" if evidence is None else "not looked at in a short process"
            self._put(kernel=(None, why))
            return 0.0
        trace = None
        if self._trace_folder is not None:
            letters = (letter if letter.isalnum() or letter in "-_." else "-" for letter in self._benchmark.fullname)
            trace = self._trace_folder / f"{''.join(letters).strip('-')}.json"
        with self.part("evidence of the path" if trace is None else "profiles"):
            found = evidence(trace)
        self.record(kernel=found.kernel, placement=found.placement)
        self._session.providers.update(where for where in found.placement.values() if where.endswith("ExecutionProvider"))
        if trace is not None:
            from rnncore.measure.profile import profile_table

            # The trace is named from the folder of all traces, which moves with the run files.
            profile = profile_table(found, self._case.batch_size, self._case.lookback)
            named = {"trace": f"{trace.parent.name}/{trace.name}"} if trace.exists() else {}
            self.record(profile={**profile, **named})
        return found.wall_s
