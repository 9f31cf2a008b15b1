"""What this machine can do at best, measured in the session that divides by it, with the same threads.

Four ceilings: products, in registers alone or the best square one of a library; the product of a recurrent step, (B, H) x
(H, G*H), each waiting for the one before; reading again the weights that every hour needs, from the cache that holds them;
and copying memory.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rnncore.forecast.device import Device, cpu_threads
from rnncore.measure import rates
from rnncore.measure.rates import Rate, Shape
from rnncore.measure.work import Work

# What is left of this, once all ceilings of a session were measured, goes into measuring the known ones again before later
# rows: a host that was busy at the first look is seen through. Those of the default run take 11 s by themselves
# (reports/LOG.md, 2026-11-27), so that of many none is seen twice.
SESSION_S = 7.0

# A dependent product that reaches less than this part of the free one is held up by waiting, or by reading its weights, and
# not by arithmetic; and by reading if that takes at least this part of its time.
WAITING_BOUND_SHARE = READING_BOUND_SHARE = 0.5


@dataclass(frozen=True)
class Ceilings:
    """The ceilings that one case is held against; None where one does not apply or was not measured.

    Attributes:
        gemm: Best rate of products in the precision of the case, operations per second: in registers alone, or of a
            library where that is more.
        recurrent: Best chain of its recurrent steps, operations per second.
        copy: Bytes read and written per second.
        read: Bytes per second of the weights that every hour reads again, from the cache that holds them.
        weight_bytes: Of one weight.
    """

    gemm: Rate | None
    recurrent: Rate | None
    copy: Rate
    read: Rate | None = None
    weight_bytes: int = 4

    def bound(self, work: Work) -> str | None:
        """Name what holds back work of this kind on this machine, whatever runs it.

        Returns:
            `latency` where even the bare chain of recurrent products reaches less than half of the free product's rate, or
            `cache` where reading the weights again takes at least half of that chain's time; else `compute` or `bandwidth`,
            whichever takes longer at its ceiling. None where no product was measured.
        """
        if work.flops == 0:
            return "bandwidth"
        if self.gemm is None:
            return None
        if self.recurrent and self.recurrent.per_s < WAITING_BOUND_SHARE * self.gemm.per_s:
            read_s, chain_s = self._read_s(work), work.recurrent_flops / self.recurrent.per_s
            return "cache" if read_s and read_s >= READING_BOUND_SHARE * chain_s else "latency"
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
        read_s = self._read_s(work)
        return {
            "gemm_ceiling_pct": gemm_s and 100 * gemm_s / seconds,
            "recurrent_ceiling_pct": chain_s and 100 * chain_s / seconds,
            "cache_ceiling_pct": read_s and 100 * read_s / seconds,
            "bandwidth_ceiling_pct": 100 * work.bytes / self.copy.per_s / seconds,
        }

    def _read_s(self, work: Work) -> float | None:
        """Return the seconds in which the weights that a call reads again and again can be read; None where none are."""
        return work.weights_read * self.weight_bytes / self.read.per_s if self.read and work.weights_read else None


class CeilingBench:
    """Measure ceilings as they are asked for, while no runtime is open, and keep the best of each."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._gemm: dict[tuple[str, str, int], Rate | None] = {}
        self._peak: dict[tuple[str, str, int], Rate | None] = {}
        self._chain: dict[tuple[str, str, int, Shape], Rate | None] = {}
        self._read: dict[tuple[str, int, int], Rate | None] = {}
        self._copy: dict[tuple[str, int], Rate] = {}

    def measure(
        self, device: str, precision: str | None, threads: int, shape: Shape | None, read_bytes: int | None = None
    ) -> None:
        """Measure the ceilings of a case that are not known yet, and while time is left those that are.

        Args:
            device: A device's name.
            precision: What the products are computed in; None where there are none.
            threads: CPU threads.
            shape: Of the recurrent step; None where nothing is recurrent.
            read_bytes: Weights that are read again and again, in bytes; None where there are none, or none are known.
        """
        began_s = time.perf_counter()
        with cpu_threads(threads):
            if (device, threads) not in self._copy:
                for dtype in (*Device.named(device).precisions, "int8"):
                    key = device, dtype, threads
                    self._gemm[key] = rates.gemm_rate(*key)
                    self._peak[key] = rates.peak_rate(*key)
                self._copy[device, threads] = rates.copy_rate(device)
            elif precision and self.spent_s < SESSION_S:
                self._again(device, precision, threads)
            if shape and precision:
                self._better(self._chain, (device, precision, threads, shape), rates.chain_rate)
            if read_bytes:
                self._better(self._read, (device, threads, read_bytes), rates.read_rate)
        self.spent_s += time.perf_counter() - began_s

    def _again(self, device: str, precision: str, threads: int) -> None:
        """Measure the products that a case is held against once more: what was best alone."""
        key = device, precision, threads
        gemm, peak = self._gemm.get(key), self._peak.get(key)
        best = rates.better(peak, gemm)
        if best is not None and best is peak:
            self._peak[key] = rates.better(peak, rates.peak_rate(*key, only=peak.by))
        elif gemm is not None:
            self._gemm[key] = rates.better(gemm, rates.gemm_rate(*key, only=gemm.by))

    def _better(self, known: dict[Any, Rate | None], key: tuple[Any, ...], measure: Callable[..., Rate | None]) -> None:
        """Measure a rate that is not known yet, and while time is left one that is: what was best alone."""
        if key not in known:
            known[key] = measure(*key)
        elif (before := known[key]) is not None and self.spent_s < SESSION_S:
            known[key] = rates.better(before, measure(*key, only=before.by))

    def of(
        self, device: str, precision: str | None, threads: int, shape: Shape | None, read_bytes: int | None = None
    ) -> Ceilings:
        """Return the best rates that `measure` has seen for such a case.

        Raises:
            KeyError: If it was not measured.
        """
        key = device, str(precision), threads
        gemm = rates.better(self._peak.get(key), self._gemm.get(key))
        chain = self._chain[device, precision, threads, shape] if shape and precision else None
        read = self._read[device, threads, read_bytes] if read_bytes else None
        return Ceilings(gemm, chain, self._copy[device, threads], read, rates.WEIGHT_BYTES.get(str(precision), 4))

    def facts(self) -> dict[str, Any]:
        """Return all that was measured, as JSON values: rates in operations or bytes per second."""
        return {
            "seconds": self.spent_s,
            "peak": [
                {"device": device, "precision": precision, "threads": threads, **_rate_facts(rate, rates.NO_KERNEL)}
                for (device, precision, threads), rate in self._peak.items()
                if device == "cpu"
            ],
            "gemm": [
                {"device": device, "precision": precision, "threads": threads, **_rate_facts(rate)}
                for (device, precision, threads), rate in self._gemm.items()
            ],
            "recurrent": [
                {"device": device, "precision": precision, "threads": threads, **asdict(shape), **_rate_facts(rate)}
                for (device, precision, threads, shape), rate in self._chain.items()
            ],
            "read": [
                {"device": device, "threads": threads, "bytes": count, **_rate_facts(rate, rates.NO_KERNEL)}
                for (device, threads, count), rate in self._read.items()
            ],
            "copy": [
                {"device": device, "threads": threads, **_rate_facts(rate)} for (device, threads), rate in self._copy.items()
            ],
        }


def _rate_facts(rate: Rate | None, why: str = "no library here computes it") -> dict[str, Any]:
    if rate is None:
        return {"per_s": None, "per_s_why": why}
    return asdict(rate)
