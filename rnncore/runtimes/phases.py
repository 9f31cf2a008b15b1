"""Phases of our own kernels as operations, each with its kind."""

from collections.abc import Mapping

from rnncore.forecast.series import FloatArray
from rnncore.kernels.laps import PHASES, phase_times
from rnncore.runtimes.base import COPIES, INPUT_GEMM, OTHER, POINTWISE, RECURRENT_GEMM, WAITING, OpTime

_KINDS = dict(zip(PHASES, (COPIES, INPUT_GEMM, RECURRENT_GEMM, POINTWISE, POINTWISE, OTHER, WAITING, WAITING), strict=True))


def phase_ops(laps: FloatArray, shapes: Mapping[str, str], of: str = "") -> list[OpTime]:
    """Return the phases of one call of a kernel.

    Args:
        laps: What the kernel counted. Shape (threads, phases, 2).
        shapes: Of the inputs of phases, by the phase's name; not all have any.
        of: What the kernel is a part of; comes before the phase's name.

    Returns:
        One operation per phase that ran. Their seconds are means of all threads and add up to those of the call.
    """
    return [
        OpTime(f"{of} {name}".strip(), "rnncore", times, seconds, shapes.get(name, ""), _KINDS[name])
        for name, times, seconds in phase_times(laps)
    ]
