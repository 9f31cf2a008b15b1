"""Where the time of a kernel's call goes, by phase: the records of `laps.h`, in Python."""

import numpy as np
import numpy.typing as npt

# Seconds and times by thread and phase. Shape (threads, phases, 2).
Laps = npt.NDArray[np.float64]

# As laps.h has them.
PHASES = (
    "copies and layout",
    "input products",
    "recurrent products",
    "gates",
    "dropout",
    "head",
    "waiting at barriers",
    "waiting at start and end",
)


def no_laps(threads: int) -> Laps:
    """Return zeros for what a kernel records: seconds and times by thread and phase. Shape (threads, phases, 2)."""
    return np.zeros((threads, len(PHASES), 2))


def of_given_threads(laps: Laps) -> Laps:
    """Return the rows of the threads that ran: a system may give fewer than were asked for."""
    return laps[laps[:, :, 1].any(axis=1)]


def phase_times(laps: Laps) -> list[tuple[str, float, float]]:
    """Return the phases that ran: name, how often on all threads together, and seconds.

    The seconds are the mean of all threads: those of all phases add up to the time of the call.

    Args:
        laps: Filled by a kernel. Shape (threads, phases, 2).
    """
    given = of_given_threads(laps)
    sums = zip(PHASES, *given.sum(axis=0).T.tolist(), strict=True)
    return [(name, times, seconds / len(given)) for name, seconds, times in sums if times]
