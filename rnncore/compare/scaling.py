"""What a training step of several processes should take, by a model: its computing, and what its all-reduces add to that.

One process computes as long as it does alone. Gradients are averaged bucket by bucket, one bucket after another, each from
when all of its gradients are there; what that lasts beyond the backward pass is added to the step.

Source:
    Thakur, R., Rabenseifner, R. & Gropp, W. (2005). Optimization of collective communication operations in MPICH.
    International Journal of High Performance Computing Applications 19(1), 49-66: a message takes alpha + bytes / beta.
    Patarasuk, P. & Yuan, X. (2009). Bandwidth optimal all-reduce algorithms for clusters of workstations. Journal of
    Parallel and Distributed Computing 69(2), 117-124: a ring, which is what gloo does. Li, S. et al. (2020), see
    `rnncore.forecast.distributed`: the buckets.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

# How full a bucket of DistributedDataParallel is when it is closed: the first, so that it is averaged early, and the others.
FIRST_BUCKET_BYTES, BUCKET_BYTES = 2**20, 25 * 2**20

# Columns that are the same but for rounding have no two coefficients.
_SINGULAR = 1e-12


class AllReduce(NamedTuple):
    """A measured all-reduce: of how many devices, of how many bytes in each, and how many seconds it took."""

    devices: int
    size_bytes: float
    seconds: float


class Gradient(NamedTuple):
    """A gradient: its bytes, and the share of a step after which it is there."""

    size_bytes: float
    ready_share: float


# What is averaged at once is described by the same two numbers.
Bucket = Gradient


@dataclass(frozen=True)
class Link:
    """What connects devices.

    Attributes:
        alpha_s: Seconds that a message takes whatever its size (latency).
        beta_bytes_per_s: Bytes per second that a device sends beside that (bandwidth).
    """

    alpha_s: float
    beta_bytes_per_s: float

    def all_reduce_s(self, size_bytes: float, devices: int) -> float:
        """Return the seconds of a ring's all-reduce: 2 (N - 1) messages of an N-th, one after another.

        Args:
            size_bytes: Of what each device has.
            devices: N.
        """
        return 2 * (devices - 1) * (self.alpha_s + size_bytes / devices / self.beta_bytes_per_s)


@dataclass(frozen=True)
class Computing:
    """How long one process computes for a step.

    Attributes:
        fixed_s: Seconds whatever the batch.
        window_s: Seconds of each window.
    """

    fixed_s: float
    window_s: float

    def windows_in(self, seconds: float) -> int | None:
        """Return the fewest windows, 1 or more, that take as long; None where windows take no time."""
        if seconds <= self.fixed_s + self.window_s:
            return 1
        return math.ceil((seconds - self.fixed_s) / self.window_s) if self.window_s else None


@dataclass(frozen=True)
class Step:
    """A training step as it scales.

    Attributes:
        compute_s: Seconds that one process takes for its part, alone.
        buckets: What is averaged, in order.
        link: By which.
    """

    compute_s: float
    buckets: Sequence[Bucket]
    link: Link

    def exposed_s(self, devices: int) -> float:
        """Return the seconds of communication that no computing hides."""
        ended_s = backward_s = 0.0
        for bucket in self.buckets:
            backward_s = bucket.ready_share * self.compute_s
            ended_s = max(ended_s, backward_s) + self.link.all_reduce_s(bucket.size_bytes, devices)
        return ended_s - backward_s

    def seconds(self, devices: int) -> float:
        """Return the seconds of a step of some devices, each with a part as large."""
        return self.compute_s + self.exposed_s(devices)

    def efficiency(self, devices: int) -> float:
        """Return the windows per second of some devices over as many times those of one: at most 1 (weak scaling)."""
        return self.compute_s / self.seconds(devices)

    def most_devices(self, efficiency: float, limit: int) -> int:
        """Return the knee: the most devices, up to a limit, that keep an efficiency. More are never more efficient."""
        low, high = 1, limit + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.efficiency(middle) >= efficiency else (low, middle)
        return low

    def computing_needed_s(self, efficiency: float, devices: int) -> float:
        """Return for how long each of some devices has to compute to keep an efficiency, above 0 and below 1.

        Of the buckets from each on, the all-reduces have to fit into the backward pass that is left and what may be added.
        """
        allowed, needed_s, left_s = 1 / efficiency - 1, 0.0, 0.0
        for bucket in reversed(self.buckets):
            left_s += self.link.all_reduce_s(bucket.size_bytes, devices)
            needed_s = max(needed_s, left_s / (allowed + self.buckets[-1].ready_share - bucket.ready_share))
        return needed_s


def buckets_of(gradients: Iterable[Gradient]) -> list[Bucket]:
    """Return what is averaged at once: a bucket is closed by the gradient that fills it, and is there when that is.

    Args:
        gradients: In the order in which they are there.
    """
    found: list[Bucket] = []
    size_bytes = ready_share = 0.0
    for gradient in gradients:
        size_bytes, ready_share = size_bytes + gradient.size_bytes, gradient.ready_share
        if size_bytes >= (BUCKET_BYTES if found else FIRST_BUCKET_BYTES):
            found.append(Bucket(size_bytes, ready_share))
            size_bytes = 0.0
    return [*found, Bucket(size_bytes, ready_share)] if size_bytes else found


def link_of(all_reduces: Iterable[AllReduce]) -> Link | None:
    """Return the link that explains measured all-reduces best: the squares of relative errors are the fewest.

    Args:
        all_reduces: Those of one device say nothing; None is returned where there are no others.
    """
    rows = [
        (2 * (devices - 1) / seconds, 2 * (devices - 1) / devices * size_bytes / seconds)
        for devices, size_bytes, seconds in all_reduces
        if devices > 1
    ]
    if not rows:
        return None
    alpha_s, byte_s = _fitted(rows)
    return Link(alpha_s, 1 / byte_s if byte_s else math.inf)


def computing_of(steps: Iterable[tuple[int, float]]) -> Computing:
    """Return the straight line that explains measured steps of one process best, as `link_of` does.

    Args:
        steps: Windows and seconds of each; of one step alone nothing is fixed.
    """
    measured = list(steps)
    if len({windows for windows, _ in measured}) < 2:
        return Computing(0.0, sum(seconds / windows for windows, seconds in measured) / len(measured))
    return Computing(*_fitted([(1 / seconds, windows / seconds) for windows, seconds in measured]))


def _fitted(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return two coefficients, not negative, with which rows of two numbers come nearest to 1.

    Where one would be negative it is 0, and of the two ways to have one alone the nearer is taken. Each column is brought to
    a size of 1 first: bytes and messages are of other sizes by many powers of ten.
    """
    sizes = [max(column) for column in zip(*rows, strict=True)]
    a, b = ([value / size for value in column] for column, size in zip(zip(*rows, strict=True), sizes, strict=True))
    aa, bb, ab = (sum(x * y for x, y in zip(*pair, strict=True)) for pair in ((a, a), (b, b), (a, b)))
    determinant = aa * bb - ab**2
    first, second = sum(a) * bb - sum(b) * ab, sum(b) * aa - sum(a) * ab
    if determinant > _SINGULAR * aa * bb and min(first, second) >= 0:
        return first / determinant / sizes[0], second / determinant / sizes[1]
    if sum(a) ** 2 / aa >= sum(b) ** 2 / bb:
        return sum(a) / aa / sizes[0], 0.0
    return 0.0, sum(b) / bb / sizes[1]
