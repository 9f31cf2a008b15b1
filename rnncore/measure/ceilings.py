"""What this machine can do at best, measured in the session that divides by it, with the same threads.

Three ceilings: the best square matrix product; the product of a recurrent step, (B, H) x (H, G*H), each waiting for the one
before; and copying memory.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

from rnncore.forecast.device import cpu_threads
from rnncore.measure import rates
from rnncore.measure.rates import Rate, Shape
from rnncore.measure.work import Work

# All ceilings of a session are to stay below 5 s. What is left of this goes into measuring the known ones again before later
# rows: a host that was busy at the first look is seen through.
SESSION_S = 4.0

# A dependent product that reaches less than this part of the free one is held up by waiting, not by arithmetic.
LATENCY_BOUND_SHARE = 0.5


@dataclass(frozen=True)
class Ceilings:
    """The ceilings that one case is held against; None where one does not apply or was not measured.

    Attributes:
        gemm: Best square product in the precision of the case, operations per second.
        recurrent: Best chain of its recurrent steps, operations per second.
        copy: Bytes read and written per second.
    """

    gemm: Rate | None
    recurrent: Rate | None
    copy: Rate

    def bound(self, work: Work) -> str | None:
        """Name what holds back work of this kind on this machine, whatever runs it.

        Returns:
            `latency` where even the bare chain of recurrent products reaches less than half of the free product's rate;
            else `compute` or `bandwidth`, whichever takes longer at its ceiling. None where no product was measured.
        """
        if work.flops == 0:
            return "bandwidth"
        if self.gemm is None:
            return None
        if self.recurrent and self.recurrent.per_s < LATENCY_BOUND_SHARE * self.gemm.per_s:
            return "latency"
        return "compute" if work.flops / self.gemm.per_s >= work.bytes / self.copy.per_s else "bandwidth"

    def shares_pct(self, work: Work, seconds: float) -> dict[str, float | None]:
        """Return how much of each ceiling a call reaches, by the names that `extra_info` carries.

        The recurrent ceiling is the time that the chained products take at their rate and all others at the free
        product's, over the time of the call; without recurrent steps there is none.
        """
        gemm_s = work.flops / self.gemm.per_s if self.gemm and work.flops else None
        chain_s = None
        if self.gemm and self.recurrent and work.recurrent_flops:
            chain_s = work.recurrent_flops / self.recurrent.per_s
            chain_s += (work.flops - work.recurrent_flops) / self.gemm.per_s
        return {
            "gemm_ceiling_pct": gemm_s and 100 * gemm_s / seconds,
            "recurrent_ceiling_pct": chain_s and 100 * chain_s / seconds,
            "bandwidth_ceiling_pct": 100 * work.bytes / self.copy.per_s / seconds,
        }


class CeilingBench:
    """Measure ceilings as they are asked for, while no runtime is open, and keep the best of each."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._gemm: dict[tuple[str, str, int], Rate | None] = {}
        self._chain: dict[tuple[str, str, int, Shape], Rate | None] = {}
        self._copy: dict[tuple[str, int], Rate] = {}

    def measure(self, device: str, precision: str | None, threads: int, shape: Shape | None) -> None:
        """Measure the ceilings of a case that are not known yet, and while time is left those that are.

        Args:
            device: `cpu` or `cuda`.
            precision: What the products are computed in; None where there are none.
            threads: CPU threads.
            shape: Of the recurrent step; None where nothing is recurrent.
        """
        began_s = time.perf_counter()
        with cpu_threads(threads):
            known = self._gemm.get((device, precision, threads)) if precision else None
            if known and precision and self.spent_s < SESSION_S:
                again = rates.gemm_rate(device, precision, threads, only=known.by)
                self._gemm[device, precision, threads] = rates.better(known, again)
            if (device, threads) not in self._copy:
                for dtype in rates.DTYPES if device == "cuda" else ("fp32", "bf16", "int8"):
                    self._gemm[device, dtype, threads] = rates.gemm_rate(device, dtype, threads)
                self._copy[device, threads] = rates.copy_rate(device)
            if shape and precision:
                key = (device, precision, threads, shape)
                if key not in self._chain or self.spent_s < SESSION_S:
                    self._chain[key] = rates.better(
                        self._chain.get(key), rates.chain_rate(device, precision, threads, shape)
                    )
        self.spent_s += time.perf_counter() - began_s

    def of(self, device: str, precision: str | None, threads: int, shape: Shape | None) -> Ceilings:
        """Return the best rates that `measure` has seen for such a case.

        Raises:
            KeyError: If it was not measured.
        """
        gemm = self._gemm.get((device, precision, threads)) if precision else None
        chain = self._chain[device, precision, threads, shape] if shape and precision else None
        return Ceilings(gemm, chain, self._copy[device, threads])

    def facts(self) -> dict[str, Any]:
        """Return all that was measured, as JSON values: rates in operations or bytes per second."""
        return {
            "seconds": self.spent_s,
            "gemm": [
                {"device": device, "precision": precision, "threads": threads, **_rate_facts(rate)}
                for (device, precision, threads), rate in self._gemm.items()
            ],
            "recurrent": [
                {"device": device, "precision": precision, "threads": threads, **asdict(shape), **_rate_facts(rate)}
                for (device, precision, threads, shape), rate in self._chain.items()
            ],
            "copy": [
                {"device": device, "threads": threads, **_rate_facts(rate)} for (device, threads), rate in self._copy.items()
            ],
        }


def _rate_facts(rate: Rate | None) -> dict[str, Any]:
    if rate is None:
        return {"per_s": None, "per_s_why": "no library here computes it"}
    return asdict(rate)
