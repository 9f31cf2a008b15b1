"""Several runtimes measured interleaved, each alive in a process of its own that is stopped while it is not its turn.

Two rows of one run are minutes apart, and a shared machine changes in minutes. Turns are a fraction of a second apart: what
slows one slows the next, and their ratio stays. A process that is stopped takes nothing: its idle threads, which spin in
some runtimes, cannot slow another.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from rnncore.errors import RnncoreError, Unavailable
from rnncore.forecast.series import Float32Array
from rnncore.measure import worker
from rnncore.measure.asked import AskedProcess

# This many turns bound the median of their ratios with 99 % certainty, as a test of signs does, with room for bursts.
FEWEST_TURNS = 15


@dataclass
class Turns:
    """What one runtime did in its turns.

    Attributes:
        first_call_s: From the start of its process to the end of the first call.
        kernel: What ran the recurrent layers.
        calls: Calls of a turn.
        output: Its forecasts. Shape (B, L).
        rounds_s: Mean seconds of the calls of each turn; equal places are neighbours in time.
    """

    first_call_s: float
    kernel: str
    calls: int
    output: Float32Array
    rounds_s: list[float] = field(default_factory=list)


class TurnTaker(AskedProcess):
    """A process that has a runtime open, and runs when it is asked.

    Args:
        folder: With the model and the inputs, as `rnncore.measure.worker` names them.
        arguments: Runtime, device, precision and threads.

    Raises:
        Unavailable: If the runtime is.
        RnncoreError: If the process ends.
    """

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        super().__init__(worker.__name__, [str(folder), *arguments], " ".join(arguments))
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


def take_turns(folder: Path, runtimes: Mapping[str, Sequence[str]], seconds: float) -> dict[str, Turns | Unavailable]:
    """Measure runtimes interleaved.

    Args:
        folder: With the model and the inputs.
        runtimes: Arguments of each runtime's `TurnTaker`, by name.
        seconds: To measure for, each; longer where the fewest turns take longer.

    Returns:
        By name the turns, or why there are none.
    """
    takers: dict[str, TurnTaker] = {}
    found: dict[str, Turns | Unavailable] = {}
    try:
        for name, arguments in runtimes.items():
            try:
                takers[name] = TurnTaker(folder, arguments)
            except Unavailable as error:
                found[name] = error
        rounds_s = _rounds(takers, seconds)
        for name, taker in takers.items():
            output = load_file(taker.ask("output")["output"])[worker.ARRAY]
            facts = taker.facts
            found[name] = Turns(facts["first_call_s"], facts["kernel"], facts["calls"], output, rounds_s[name])
    finally:
        for taker in takers.values():
            taker.close()
    return found


def _rounds(takers: Mapping[str, TurnTaker], seconds: float) -> dict[str, list[float]]:
    rounds_s: dict[str, list[float]] = {name: [] for name in takers}
    began_s, turns = time.perf_counter(), 0
    while takers and (turns < FEWEST_TURNS or time.perf_counter() - began_s < seconds * len(takers)):
        # There and back, so that a machine that drifts is kind to none.
        for name in list(takers)[:: -1 if turns % 2 else 1]:
            rounds_s[name].append(float(takers[name].ask("round")["seconds"]))
        turns += 1
    return rounds_s
