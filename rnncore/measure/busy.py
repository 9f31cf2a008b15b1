"""Whether others compute on this host as a session starts, and how threads are to wait for one another then.

libgomp, which torch's threads come from, reads that once, when torch is loaded: `session_environment` is for before.
"""

import os
import time
from dataclasses import dataclass
from functools import cache
from typing import Any

from rnncore.forecast.device import (
    default_threads,
    limited_threads,
    passive_waiting,
    spinning_waiting,
    usable_cpus,
    waiting_is_chosen,
    waits_passively,
)
from rnncore.measure import linux
from rnncore.measure.facts import with_reasons

# How long the look takes: twenty ticks of Linux's clock of CPU time.
LOOK_S = 0.2

# With this many CPUs too few for this process's threads, one of the threads has none for much of the time.
LACKING_CPUS = 0.5

# Of a CPU's line in /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal. What follows is in user already.
_TIMES, _IDLE = slice(0, 8), slice(3, 5)


@dataclass(frozen=True)
class Host:
    """What a look at the host found, taken while this process slept.

    Attributes:
        cpus: That this process may run on.
        threads: That it runs by default.
        others_cpus: How many of its CPUs others kept busy; None where the system does not tell.
        load_1min: Tasks that ran or waited for a CPU, mean of the last minute; None where the system does not tell.
        pressure_pct: Part of the last ten seconds in which some task waited for a CPU; None where the system does not tell.
    """

    cpus: int
    threads: int
    others_cpus: float | None
    load_1min: float | None
    pressure_pct: float | None

    @property
    def is_busy(self) -> bool:
        """Whether others leave this process fewer CPUs than it has threads; by the load where nothing else is known."""
        others_cpus = self.load_1min if self.others_cpus is None else self.others_cpus
        return (others_cpus or 0.0) + self.threads >= self.cpus + LACKING_CPUS

    @property
    def facts(self) -> dict[str, Any]:
        """The same for a run file, as JSON values."""
        return {
            "busy": self.is_busy,
            "cpus": self.cpus,
            "threads": self.threads,
            **with_reasons(
                {
                    "others_cpus": (self.others_cpus, f"{linux.PROC}/stat does not tell"),
                    "load_1min": (self.load_1min, "the system does not tell"),
                    "pressure_pct": (self.pressure_pct, f"{linux.PROC}/pressure/cpu does not tell"),
                }
            ),
        }


@cache
def this_host() -> Host:
    """Look at this host, once in a process."""
    return look()


def look() -> Host:
    """Sleep for `LOOK_S`, and return what others did in that time."""
    cpus = usable_cpus()
    before = _times_of(cpus)
    time.sleep(LOOK_S)
    after = _times_of(cpus)
    busy = []
    for cpu in before.keys() & after.keys():
        spent = [max(0, late - early) for early, late in zip(before[cpu], after[cpu], strict=True)]
        # The clock of a CPU that did not move says nothing.
        busy += [1 - sum(spent[_IDLE]) / sum(spent)] if any(spent) else []
    load_1min = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return Host(len(cpus), default_threads(), sum(busy) if busy else None, load_1min, linux.cpu_pressure("avg10")[0])


def session_environment() -> dict[str, str]:
    """Return the environment for a process that measures, and for those that it starts; to be set before torch is loaded.

    Threads wait as libgomp lets them on a quiet host, and without spinning on a busy one. Where that is chosen already,
    by the user or by the process that started this one, it stays: all sides of a comparison wait alike.
    """
    if waiting_is_chosen():
        return limited_threads()
    return {**limited_threads(), **(passive_waiting() if this_host().is_busy else spinning_waiting())}


def notice(of_cases: bool = True, threads: str = "--rnn-threads") -> str | None:
    """Return what to say of a busy host, with what to do, as one line; None for a quiet one.

    Args:
        of_cases: Whether benchmarks of ours are measured: how threads wait is chosen for them.
        threads: How the number of threads is set there.
    """
    host = this_host()
    if not host.is_busy:
        return None
    found = [] if host.others_cpus is None else [f"others use {host.others_cpus:.1f} of its {host.cpus} CPUs"]
    found += [] if host.load_1min is None else [f"load {host.load_1min:.1f}"]
    found += [] if host.pressure_pct is None else [f"CPU pressure {host.pressure_pct:.0f} %"]
    if not of_cases:
        return f"Busy host: {', '.join(found)}. Times are longer than on a quiet host: end the other work and run again."
    waiting = "Threads wait without spinning, so that nothing stalls"
    if not waits_passively():
        setting = " ".join(f"{name}={value}" for name, value in passive_waiting().items())
        waiting = f"Threads that wait spin and may stall for minutes: start again with {setting}"
    return (
        f"Busy host: {', '.join(found)}. {waiting}. Rows are slower than on a quiet host: end the other work and run again, "
        f"or leave it CPUs with {threads}."
    )


def waiting_facts() -> dict[str, Any]:
    """Return how threads wait, and what was seen of the host if it was looked at, as JSON values."""
    host = this_host().facts if this_host.cache_info().currsize else None
    return {
        "waiting": "passive" if waits_passively() else "spinning",
        **with_reasons({"host": (host, "not looked at in a short process")}),
    }


def _times_of(cpus: frozenset[int]) -> dict[int, list[int]]:
    """Return the CPU times of each of these CPUs, in ticks; of none where the system keeps no such file."""
    lines = (linux.text_of(linux.PROC / "stat")[0] or "").splitlines()
    words = {fields[0]: fields[1:] for fields in (line.split() for line in lines) if fields}
    return {cpu: [int(word) for word in words[f"cpu{cpu}"][_TIMES]] for cpu in cpus if f"cpu{cpu}" in words}
