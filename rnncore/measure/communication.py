"""What processes that train together say to one another: how long it takes, from when on, and for how much of a step."""

import re
import statistics
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from rnncore.forecast.device import Device
from rnncore.forecast.distributed import Ranks
from rnncore.measure.stopwatch import now_s, seconds_per_call

# From where latency is all to what is more than the article's models have.
SIZES_BYTES = tuple(4**power for power in range(1, 12))

# Of each size: rounds, and all-reduces of one, of which the process that comes first waits in one alone.
ROUNDS, CALLS = 9, 8

# Steps that are looked at, for gradients and for communication.
STEPS = 5

# What torch's profiler calls an all-reduce: on CPUs by gloo, and the kernel of one on GPUs.
_ALL_REDUCE = re.compile(r"gloo:all_?reduce|nccl\w*kernel_all_?reduce", re.IGNORECASE)


def all_reduce_times(
    ranks: Ranks, device: torch.device, sizes_bytes: Sequence[int] = SIZES_BYTES, rounds: int = ROUNDS
) -> list[dict[str, float]]:
    """Return how long an all-reduce takes, by size; all processes ask at the same time.

    Args:
        ranks: The processes, two or more that are joined.
        device: Where they train.
        sizes_bytes: Of fp32 values: multiples of 4.
        rounds: Of each size, one size after another in each, so that what disturbs the machine for a moment spoils no size.

    Returns:
        `bytes` and the median `seconds` of each size.
    """
    runs = [_all_reduce_of(size, device) for size in sizes_bytes]
    rounds_s: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, of_size in zip(runs, rounds_s, strict=True):
            # None begins before all are there.
            ranks.first_says(True)
            seconds = seconds_per_call(run, CALLS)
            # The first round makes ready what the others find.
            of_size += [seconds] if number else []
    return [
        {"bytes": size, "seconds": statistics.median(of_size)} for size, of_size in zip(sizes_bytes, rounds_s, strict=True)
    ]


def _all_reduce_of(size_bytes: int, device: torch.device) -> Callable[[], None]:
    """Return what takes an all-reduce of so many bytes."""
    values, on = torch.zeros(size_bytes // 4, device=device), Device.of(device)

    def run() -> None:
        torch.distributed.all_reduce(values)
        on.synchronize()

    return run


def gradient_arrivals(model: nn.Module, step: Callable[[], object], steps: int = STEPS) -> list[dict[str, float]]:
    """Return when each gradient is there in the steps of one process on a CPU, in that order.

    On other devices the host runs ahead, and knows when a gradient was asked for.

    Args:
        model: Whose parameters are trained.
        step: Takes a step.
        steps: How many are looked at, after one that is not.

    Returns:
        `bytes` of each, and `ready_share`, the share of the step after which it is there: the median.
    """
    at_s: dict[Tensor, float] = {}

    def note(parameter: Tensor) -> None:
        at_s[parameter] = now_s()

    handles = [
        parameter.register_post_accumulate_grad_hook(note)  # type: ignore[no-untyped-call]
        for parameter in model.parameters()
    ]
    shares: dict[Tensor, list[float]] = {}
    try:
        step()
        for _ in range(steps):
            began_s = now_s()
            step()
            step_s = now_s() - began_s
            for parameter, there_s in at_s.items():
                shares.setdefault(parameter, []).append((there_s - began_s) / step_s)
    finally:
        for handle in handles:
            handle.remove()
    found = [
        {"bytes": parameter.numel() * parameter.element_size(), "ready_share": statistics.median(of_steps)}
        for parameter, of_steps in shares.items()
    ]
    return sorted(found, key=lambda one: one["ready_share"])


def communication_pct(step: Callable[[], object], device: torch.device, steps: int = STEPS) -> float:
    """Return for how much of a step some all-reduce is under way, hidden behind the backward pass or not, in percent.

    Args:
        step: Takes a step, and returns when it is done; all processes take as many.
        device: Where.
        steps: How many are looked at, by torch's profiler, which makes them slower.
    """
    step()
    with torch.profiler.profile(activities=Device.of(device).profiler_activities()) as profiler:
        began_s = now_s()
        for _ in range(steps):
            step()
        seconds = now_s() - began_s
    events = [event for event in profiler.events() or () if _ALL_REDUCE.search(event.name)]
    return 100 * covered((event.time_range.start / 1e6, event.time_range.end / 1e6) for event in events) / seconds


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return how much lies in at least one of some spans, each from a start to an end."""
    total, ended = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, ended))
        ended = max(ended, end)
    return total
