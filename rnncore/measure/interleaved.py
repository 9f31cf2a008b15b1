"""Several runtimes measured interleaved, each alive in a process of its own that is stopped while it waits.

Two rows of one run are minutes apart, and a shared machine changes in minutes. Interleaved rounds are a fraction of a second
apart: what slows one slows the next, and their ratio stays. A process that is stopped takes nothing: its idle threads, which
spin in some runtimes, cannot slow another.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnncore.errors import RnncoreError, Unavailable
from rnncore.measure import worker
from rnncore.measure.asked import AskedProcess

# This many bound the median of their ratios with 99 % certainty, as a test of signs does, with room for bursts.
FEWEST_ROUNDS = 15


@dataclass(frozen=True)
class Interleaved:
    """What one runtime did among the others.

    Attributes:
        first_call_s: From the start of its process to the end of the first call.
        kernel: What ran the recurrent layers.
        calls: Calls of a round.
        answer: What its process answers when all rounds are over.
        rounds_s: Mean seconds of the calls of each round; equal places of two runtimes are neighbours in time.
    """

    first_call_s: float
    kernel: str
    calls: int
    answer: dict[str, Any]
    rounds_s: list[float]


class StoppedProcess(AskedProcess):
    """A process that has a runtime open, or a training, and runs only while it is asked.

    Args:
        folder: With what the module reads: of `rnncore.measure.worker` the model and the inputs, as it names them.
        arguments: Of the module, after the folder: of `rnncore.measure.worker` runtime, device, precision and threads, and
            the mode where it is not the usual one.
        module: What it runs, by its dotted name: it answers as `rnncore.measure.worker` does.
        environment: Variables that it gets beside those of this process.

    Raises:
        Unavailable: If the runtime is.
        RnncoreError: If the process ends.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str],
        module: str = worker.__name__,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(module, [str(folder), *arguments], " ".join(arguments), environment)
        try:
            self.facts = self.answer()
            if "unavailable" in self.facts:
                raise Unavailable(self.facts["unavailable"])
        except RnncoreError:
            self.close()
            raise
        self._stop()

    def ask(self, what: str) -> dict[str, Any]:
        """Let the process run until it has answered."""
        self.process.send_signal(signal.SIGCONT)
        self.tell(what)
        facts = self.answer()
        self._stop()
        return facts

    def _stop(self) -> None:
        """Stop the process, and return once it is."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED)


def measure_interleaved(
    folder: Path,
    runtimes: Mapping[str, Sequence[str]],
    seconds: float,
    module: str = worker.__name__,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Interleaved | Unavailable]:
    """Measure runtimes interleaved.

    Args:
        folder: With what the processes read.
        runtimes: Arguments of each runtime's `StoppedProcess`, by name.
        seconds: To measure for, each; longer where the fewest rounds take longer.
        module: What the processes run.
        environment: Variables that they get beside those of this process.

    Returns:
        By name what it did, or why it could not.
    """
    processes: dict[str, StoppedProcess] = {}
    found: dict[str, Interleaved | Unavailable] = {}
    with ExitStack() as opened:
        for name, arguments in runtimes.items():
            try:
                processes[name] = opened.enter_context(closing(StoppedProcess(folder, arguments, module, environment)))
            except Unavailable as error:
                found[name] = error
        rounds_s: dict[str, list[float]] = {name: [] for name in processes}
        began_s, rounds = time.perf_counter(), 0
        while processes and (rounds < FEWEST_ROUNDS or time.perf_counter() - began_s < seconds * len(processes)):
            # There and back, so that a machine that drifts is kind to none.
            for name in list(processes)[:: -1 if rounds % 2 else 1]:
                rounds_s[name].append(float(processes[name].ask("round")["seconds"]))
            rounds += 1
        for name, process in processes.items():
            answer, facts = process.ask("answer"), process.facts
            found[name] = Interleaved(facts["first_call_s"], facts["kernel"], facts["calls"], answer, rounds_s[name])
    return found
