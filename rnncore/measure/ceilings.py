"""What this machine can do at best, measured in the session that divides by it, with the same threads.

Four ceilings: products, in registers alone or the best square one of a library; the product of a recurrent step, (B, H) x
(H, G*H), each waiting for the one before; reading again the weights that every hour needs, from the cache that holds them;
and copying memory.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from rnncore.forecast.device import Device, cpu_threads
from rnncore.measure import rates
from rnncore.measure.rates import Rate, Shape
from rnncore.measure.work import Work

# Looks at known ceilings take at most this part of the session, and so are spread over all of it: a host that was busy at
# the first look is seen through.
AGAIN_SHARE = 0.02

# For so long the ceilings of a row are looked at once more that was quicker than they allow.
CONFIRMING_S = 1.0

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

    def spreads_pct(self, work: Work) -> dict[str, float]:
        """Return how much higher each share would be by the median look at its ceiling, in percent of the share.

        By the names of `shares_pct`, of those that there are; 0 where a ceiling was looked at once.
        """
        typical = replace(
            self,
            gemm=self.gemm and self.gemm.at_median,
            recurrent=self.recurrent and self.recurrent.at_median,
            copy=self.copy.at_median,
            read=self.read and self.read.at_median,
        )
        shares_pct, most_pct = self.shares_pct(work, 1.0), typical.shares_pct(work, 1.0)
        return {name: max(0.0, 100 * ((most_pct[name] or 0.0) / share - 1)) for name, share in shares_pct.items() if share}

    def _read_s(self, work: Work) -> float | None:
        """Return the seconds in which the weights that a call reads again and again can be read; None where none are."""
        return work.weights_read * self.weight_bytes / self.read.per_s if self.read and work.weights_read else None


class CeilingBench:
    """Measure ceilings as they are asked for, while what benchmarks open themselves is closed, and keep the best of each."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._began_s, self._again_s = time.perf_counter(), 0.0
        self._gemm: dict[tuple[str, str, int], Rate | None] = {}
        self._peak: dict[tuple[str, str, int], Rate | None] = {}
        self._chain: dict[tuple[str, str, int, Shape], Rate | None] = {}
        self._read: dict[tuple[str, int, int], Rate | None] = {}
        self._copy: dict[tuple[str, int], Rate] = {}

    def measure(
        self, device: str, precision: str | None, threads: int, shape: Shape | None, read_bytes: int | None = None
    ) -> None:
        """Measure the ceilings of a case that are not known yet; and the others again, as long as that takes little time.

        Args:
            device: A device's name.
            precision: What the products are computed in; None where there are none.
            threads: CPU threads.
            shape: Of the recurrent step; None where nothing is recurrent.
            read_bytes: Weights that are read again and again, in bytes; None where there are none, or none are known.
        """
        began_s = time.perf_counter()
        with cpu_threads(threads):
            known = self._measure_unknown(device, precision, threads, shape, read_bytes)
            ended_s = time.perf_counter()
            self.spent_s += ended_s - began_s
            if self._again_s < AGAIN_SHARE * (ended_s - self._began_s):
                self._again_s += self._look(known)

    def confirm(
        self,
        device: str,
        precision: str | None,
        threads: int,
        shape: Shape | None,
        read_bytes: int | None,
        is_above: Callable[[], bool],
    ) -> None:
        """Look at the ceilings of a case again, for a while, as long as a row of it is above one.

        Args:
            device: As of `measure`, and so on.
            precision: The same.
            threads: The same.
            shape: The same.
            read_bytes: The same.
            is_above: Returns whether the row is above a ceiling, as far as is known by then.
        """
        began_s = time.perf_counter()
        while is_above():
            with cpu_threads(threads):
                self._look(self._measure_unknown(device, precision, threads, shape, read_bytes))
            # Once at least, however long the process stood still.
            if time.perf_counter() - began_s >= CONFIRMING_S:
                break

    def _look(self, again: list[Callable[[], None]]) -> float:
        """Look again at what is known; return the seconds that it took."""
        began_s = time.perf_counter()
        for look in again:
            look()
        seconds = time.perf_counter() - began_s
        self.spent_s += seconds
        return seconds

    def _measure_unknown(
        self, device: str, precision: str | None, threads: int, shape: Shape | None, read_bytes: int | None
    ) -> list[Callable[[], None]]:
        """Measure what is not known yet of a case; return what looks at each of the others again."""
        known: list[Callable[[], None]] = []
        if (device, threads) not in self._copy:
            for dtype in (*Device.named(device).precisions, "int8"):
                key = device, dtype, threads
                self._gemm[key] = rates.gemm_rate(*key)
                self._peak[key] = rates.peak_rate(*key)
            self._copy[device, threads] = rates.copy_rate(device)
        elif precision:
            known.append(partial(self._products_again, device, precision, threads))
        asked: list[tuple[dict[Any, Rate | None], tuple[Any, ...], Callable[..., Rate | None]]] = []
        if shape and precision:
            asked.append((self._chain, (device, precision, threads, shape), rates.chain_rate))
        if read_bytes:
            asked.append((self._read, (device, threads, read_bytes), rates.read_rate))
        for rates_by_key, key, measure in asked:
            if key in rates_by_key:
                known.append(partial(_again, rates_by_key, key, measure))
            else:
                rates_by_key[key] = measure(*key)
        return known

    def _products_again(self, device: str, precision: str, threads: int) -> None:
        """Look again at the products that a case is held against: at what was best alone."""
        key = device, precision, threads
        gemm, peak = self._gemm.get(key), self._peak.get(key)
        if peak is not None and rates.better(peak, gemm) is peak:
            _again(self._peak, key, rates.peak_rate)
        elif gemm is not None:
            _again(self._gemm, key, rates.gemm_rate)

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


def _again(known: dict[Any, Rate | None], key: tuple[Any, ...], measure: Callable[..., Rate | None]) -> None:
    """Look again at a known rate: at what was best, and at ours, which a busy host may have made look slower than it is."""
    if (before := known[key]) is not None:
        known[key] = rates.seen_again(before, measure(*key, only=(before.by, rates.OURS)))


def _rate_facts(rate: Rate | None, why: str = "no library here computes it") -> dict[str, Any]:
    if rate is None:
        return {"per_s": None, "per_s_why": why}
    looks = {"lowest_per_s": min(rate.seen_per_s), "looks": len(rate.seen_per_s)} if rate.seen_per_s else {"looks": 1}
    return {"per_s": rate.per_s, "by": rate.by, **looks}
