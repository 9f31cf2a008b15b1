"""One training by several processes, started by torchrun: each takes a part of every batch, and all take one step.

What a batch holds, and so the model that is trained, does not depend on how many processes there are; only rounding does.
Rank 0 writes and reports. What a single process decides by its own clock or signal, such as when to stop, all of them decide
together, or some would wait for the others for ever.

Source:
    Li, S. et al. (2020). PyTorch Distributed: experiences on accelerating data parallel training. Proceedings of the VLDB
    Endowment 13(12), 3005-3018: gradients are averaged bucket by bucket while the backward pass goes on.
"""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from rnncore.errors import ConfigError, ModelFileError, ProcessError, RnncoreError
from rnncore.forecast.device import Device, resolve_device

# What torchrun tells each process, and how often it has started the job anew.
_RANK, _WORLD_SIZE, _LOCAL_RANK, _RESTARTS = "RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RESTART_COUNT"

# How long a process waits for another: one that writes a checkpoint or compiles takes its time.
TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Ranks:
    """The processes of a training.

    Attributes:
        rank: Number of this one, from 0.
        count: How many there are, N.
        restarts: How often torchrun has started them anew.
    """

    rank: int = 0
    count: int = 1
    restarts: int = 0
    _averaging: list["_Averaging"] = field(default_factory=list, repr=False, compare=False)

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def part(self, start: Tensor) -> Tensor:
        """Return what this process takes of a batch: one of N equal parts, side by side. From shape (B,) to (B / N,)."""
        size = len(start) // self.count
        return start[self.rank * size : (self.rank + 1) * size]

    def require_equal_parts(self, batch_size: int) -> None:
        """Refuse a batch that has no N equal parts: the mean of their means would not be that of the batch.

        Raises:
            ConfigError: If it has none.
        """
        if batch_size % self.count:
            nearest = max(self.count, batch_size - batch_size % self.count)
            raise ConfigError(
                f"batch_size is {batch_size}, which {self.count} processes cannot share evenly. Give a multiple of "
                f"{self.count}, such as --batch-size {nearest}, or start another number of processes."
            )

    def averaging(self, module: nn.Module, device: torch.device) -> nn.Module:
        """Return a module whose backward pass leaves in each process the gradients' mean over all, and rank 0's weights now.

        It can be called until the processes part.

        Args:
            module: Called for each step by all of them.
            device: That its weights lie on.
        """
        if self.count == 1:
            return module
        averaging = _Averaging(module, device)
        self._averaging.append(averaging)
        return averaging

    def part_ways(self) -> None:
        """Let go of what the other processes are reached by."""
        while self._averaging:
            self._averaging.pop().end()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def any(self, *are_so: bool) -> tuple[bool, ...]:
        """Return which of some facts are so in any process: all of them ask at the same time."""
        if self.count == 1:
            return are_so
        seen = torch.tensor(are_so, dtype=torch.uint8)
        torch.distributed.all_reduce(seen, torch.distributed.ReduceOp.MAX)
        return tuple(map(bool, seen.tolist()))

    def first_says(self, is_so: bool) -> bool:
        """Return what rank 0 says of something, whatever the others see: all of them ask at the same time."""
        return self.any(self.is_first and is_so)[0]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over all processes, which ask at the same time."""
        if self.count == 1:
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total / self.count

    @contextmanager
    def shared(self, path: Path) -> Iterator[Path]:
        """Give every process a file that rank 0 has: itself there, a copy elsewhere, as other machines may not see it.

        Args:
            path: On rank 0.

        Raises:
            ModelFileError: If rank 0 cannot read it.
        """
        if self.count == 1:
            yield path
            return
        content = self._content(path)
        if self.is_first:
            yield path
            return
        with TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            copy.write_bytes(content)
            yield copy

    def _content(self, path: Path) -> bytes:
        """Return the bytes of a file of rank 0."""
        size, held = torch.tensor(-1), torch.empty(0, dtype=torch.uint8)
        if self.is_first and path.is_file():
            held = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
            size.fill_(len(held))
        torch.distributed.broadcast(size, 0)
        if int(size) < 0:
            raise ModelFileError(f"{path}: no checkpoint to go on from. Leave out --resume to start anew.")
        held = held if self.is_first else torch.empty(int(size), dtype=torch.uint8)
        torch.distributed.broadcast(held, 0)
        return held.numpy().tobytes()


class _Averaging(nn.Module):
    """A module by DistributedDataParallel, which keeps the connections open for as long as it lives: here until `end`."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__()
        on = Device.of(device)
        devices = None if on.is_cpu else [on.index]
        self._parallel = nn.parallel.DistributedDataParallel(module, device_ids=devices, gradient_as_bucket_view=True)

    def forward(self, *given: Tensor) -> Tensor:
        result: Tensor = self._parallel(*given)
        return result

    def end(self) -> None:
        del self._parallel


ALONE = Ranks()


def ranks_of_environment() -> Ranks:
    """Return the processes that torchrun says there are; this one alone where it does not.

    Raises:
        ConfigError: If the environment's numbers make no sense.
    """
    if _WORLD_SIZE not in os.environ:
        return ALONE
    try:
        rank, count, restarts = (int(os.environ.get(name, "0")) for name in (_RANK, _WORLD_SIZE, _RESTARTS))
    except ValueError:
        rank, count, restarts = -1, 0, 0
    if not 0 <= rank < count:
        raise ConfigError(
            f"{_RANK} is {os.environ.get(_RANK)!r} and {_WORLD_SIZE} {os.environ.get(_WORLD_SIZE)!r}; torchrun sets them, "
            f"the one below the other. Start by torchrun, or take {_WORLD_SIZE} out of the environment."
        )
    return Ranks(rank, count, restarts)


def device_of_rank(name: str) -> torch.device:
    """Turn a name into the device of this process: of several GPUs the one that torchrun means for it.

    Args:
        name: As `resolve_device` takes it; one with a number is that GPU in every process.

    Raises:
        Unavailable: As `resolve_device`.
        ConfigError: The same.
    """
    device = resolve_device(name)
    if Device.of(device).is_cpu or ":" in name or _LOCAL_RANK not in os.environ:
        return device
    return resolve_device(Device(device.type, int(os.environ[_LOCAL_RANK])).name)


@contextmanager
def joined(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Let the processes of a training find one another, and part when it ends.

    Args:
        ranks: Of `ranks_of_environment`.
        device: What this process trains on.

    Raises:
        ConfigError: If nothing says where they meet.
        ProcessError: If they do not find one another, or another one ends before the training does.
        Unavailable: If torch knows nothing that connects devices of the type.
    """
    if ranks.count == 1:
        yield
        return
    # Modules of torch that are imported while processes are joined keep that group as the default of an argument, and so
    # threads that run into the interpreter's end and abort it. DistributedDataParallel imports them all by this one.
    importlib.import_module("torch._dynamo")
    backend = Device.of(device).backend()
    try:
        _find_one_another(ranks, backend)
        yield
    except RuntimeError as error:
        if not _is_of_another(error):
            raise
        raise ProcessError(
            f"rank {ranks.rank} of {ranks.count}: another process of this training ended, or was not heard of for "
            f"{TIMEOUT.seconds // 60} minutes ({_first_line(error)}). The last checkpoint is whole: see what that process "
            "said, and run the same command with --resume, or torchrun with --max-restarts, which does so by itself."
        ) from error
    finally:
        ranks.part_ways()


def _find_one_another(ranks: Ranks, backend: str) -> None:
    """Let the processes meet where torchrun says.

    Raises:
        ConfigError: If nothing says where.
        ProcessError: If they do not find one another.
    """
    try:
        store, _, _ = next(torch.distributed.rendezvous("env://", timeout=TIMEOUT))  # type: ignore[attr-defined]
        # torchrun keeps one store for all its starts: under the same keys lie the addresses of processes that have ended.
        store = torch.distributed.PrefixStore(f"start {ranks.restarts}", store)  # type: ignore[attr-defined]
        torch.distributed.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.count, timeout=TIMEOUT)
    except ValueError as error:
        raise ConfigError(
            f"{_WORLD_SIZE} is {ranks.count}, but the environment does not say where the processes meet "
            f"({_first_line(error)}). Start by torchrun, which does, or take {_WORLD_SIZE} out of the environment."
        ) from error
    except RuntimeError as error:
        raise ProcessError(
            f"rank {ranks.rank} of {ranks.count}: the processes of this training did not find one another "
            f"({_first_line(error)}). See what the others said, and start all of them by torchrun."
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _is_of_another(error: RuntimeError) -> bool:
    """Say whether an error tells of another process: gloo's have no class of their own."""
    if isinstance(error, RnncoreError):
        return False
    said = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or any(word in said for word in ("gloo", "connection", "nccl"))
