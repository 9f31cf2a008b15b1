"""A forecaster, its optimiser and its windows on one device: one optimiser step."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from rnncore.errors import ConfigError, Unavailable
from rnncore.forecast.autocast import TRAIN_PRECISIONS, Autocast, TrainPrecision
from rnncore.forecast.device import CALLS_BEFORE_CAPTURE, CPU, Device
from rnncore.forecast.distributed import ALONE, Ranks
from rnncore.forecast.model import Forecaster
from rnncore.forecast.windows import RowArray, Windows
from rnncore.kernels.layers import FusedLayers, fused_kernels

MAX_SEED = 1 << 32

# One-cycle schedule: the share of the steps that the rate rises, and the rate at both ends relative to the top.
WARM_UP_SHARE = 0.3

START_SHARE = 1 / 25
END_SHARE = 1e-4
Implementation = Literal["auto", "aten", "graph", "fused", "fused_bf16"]
IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)
_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": nn.functional.mse_loss,
    "smooth_l1": nn.functional.smooth_l1_loss,
}


@dataclass(frozen=True)
class TrainConfig:
    """How a forecaster is trained; the defaults are the article's.

    Attributes:
        batch_size: Windows per step, B; the last, smaller batch of an epoch is dropped.
        targets_per_window: Consecutive hours, K, that each window is trained to forecast: its state runs on over K - 1 more
            hours, and each of them costs one hour of arithmetic where a window of its own would cost T.
        epochs: Passes over the training windows.
        learning_rate: Adam's rate, or its top under `one_cycle`.
        schedule: `constant` or `one_cycle` (cosine up, cosine down over all planned steps).
        loss: `mse` or `smooth_l1`, on scaled values.
        clip_norm: Largest gradient norm; None leaves gradients as they are.
        seed: Of initial weights, shuffling and dropout.
        max_steps: Stop after this many steps in all.
        max_seconds: Stop after this much training time; the schedule still runs by steps.
        implementation: `aten` is torch's own layers; `graph` the same with each step as a CUDA graph, which launches all its
            kernels together; `fused` ours for a CPU; `auto` ours where they can be compiled; `fused_bf16` ours with the
            factors of products rounded to bf16, and weights, states and sums in fp32.
        precision: `fp32`; `amp_bf16` and, on a GPU, `amp_fp16`: torch's layers and products in that type, and weights, their
            gradients, the optimiser and the loss in fp32.
    """

    batch_size: int = 1024
    targets_per_window: int = 1
    epochs: int = 5
    learning_rate: float = 1e-3
    schedule: Literal["constant", "one_cycle"] = "constant"
    loss: Literal["mse", "smooth_l1"] = "mse"
    clip_norm: float | None = None
    seed: int = 0
    max_steps: int | None = None
    max_seconds: float | None = None
    implementation: Implementation = "auto"
    precision: TrainPrecision = "fp32"

    def __post_init__(self) -> None:
        if self.implementation not in IMPLEMENTATIONS:
            raise ConfigError(f"implementation is {self.implementation!r}; allowed: {', '.join(IMPLEMENTATIONS)}.")
        if self.precision not in TRAIN_PRECISIONS:
            raise ConfigError(f"precision is {self.precision!r}; allowed: {', '.join(TRAIN_PRECISIONS)}.")
        if self.precision != "fp32" and self.implementation in ("fused", "fused_bf16"):
            raise ConfigError(
                f"precision is {self.precision!r}, which the implementation {self.implementation!r} does not have. Give the "
                "implementation auto, aten or graph, or the precision fp32."
            )
        for name in ("batch_size", "targets_per_window", "epochs", "learning_rate", "clip_norm", "max_steps", "max_seconds"):
            value = getattr(self, name)
            # Written so that NaN is refused too.
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; give a number above 0{' that is finite' if value > 0 else ''}.")
        if not 0 <= self.seed < MAX_SEED:
            raise ConfigError(f"seed is {self.seed}; give a whole number from 0 to {MAX_SEED - 1:,}.")
        if self.schedule not in ("constant", "one_cycle"):
            raise ConfigError(f"schedule is {self.schedule!r}; allowed: constant, one_cycle.")
        if self.loss not in _LOSSES:
            raise ConfigError(f"loss is {self.loss!r}; allowed: {', '.join(_LOSSES)}.")


class ResidentWindows:
    """The windows' rows on one device; a batch is a gather there.

    Args:
        windows: The windows.
        device: Where the features, targets and row numbers lie.
        targets_per_window: Consecutive hours, K, that a window is trained to forecast; its inputs go on as long.
    """

    def __init__(self, windows: Windows, device: torch.device, targets_per_window: int = 1) -> None:
        self.lookback = windows.config.lookback
        self._hours = self.lookback + targets_per_window - 1
        self._forecast_hours = torch.arange(self.lookback, self.lookback + targets_per_window, device=device)
        self.num_features = windows.num_features
        self._features = torch.from_numpy(windows.features).to(device)
        self._target = torch.from_numpy(windows.target).to(device)
        self.train_start = torch.from_numpy(windows.train_start).to(device)
        # Row s of this view is window s laid flat, hours * F consecutive floats: gathering it copies whole windows.
        length = self._hours * self.num_features
        count = len(self._features) - self._hours + 1
        self._every_window = self._features.as_strided((count, length), (self.num_features, 1))

    def inputs(self, start: Tensor) -> Tensor:
        """Gather the windows that begin at rows *start*. Shape (B, T + K - 1, F), float32."""
        flat = self._every_window[start]
        return flat.view(-1, self._hours, self.num_features)

    def targets(self, start: Tensor) -> Tensor:
        """Gather what the model learns for these windows: of each of K hours, L leads. Shape (B, K L), float32."""
        return self._target[start.unsqueeze(1) + self._forecast_hours].flatten(1)


class Trainer:
    """A forecaster, its optimiser and its windows on one device.

    Args:
        model: The forecaster; moved to *device* and trained in place.
        windows: The windows to train on.
        config: How to train.
        device: Where to train.
        ranks: The processes that train together, each with an equal part of every batch; joined already.

    Attributes:
        implementation: What is taken, never `auto`.
        trained_by: What runs the recurrent layers, for a reader; where ours were looked for in vain, why.
        scaler: Of the loss, where the precision needs one; it leaves it as it is where not.

    Raises:
        ConfigError: If there are fewer training windows than a batch holds, or the processes cannot share it evenly, or are
            several and the step is a CUDA graph.
        Unavailable: If the fused implementation is asked for and there is none, or the device does not train in the
            precision.
    """

    def __init__(
        self, model: Forecaster, windows: Windows, config: TrainConfig, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        ranks.require_equal_parts(config.batch_size)
        self._places = _Places(windows.train_start, config.targets_per_window)
        count = self._places.fewest
        if count < config.batch_size:
            of = f" of {config.targets_per_window} targets" if config.targets_per_window > 1 else ""
            way_out = f"a batch size of at most {count}" if count else "fewer targets per window"
            raise ConfigError(
                f"batch_size is {config.batch_size}, but there are {count} training windows{of}. Give {way_out}, or a "
                "longer series."
            )
        self.model = model.to(device).train()
        self.config = config
        self.device = device
        self.ranks = ranks
        self.resident = ResidentWindows(windows, device, config.targets_per_window)
        self.implementation, self._fused, self.trained_by = _layers_of(self.model, config, device)
        self._autocast = Autocast(self.model.rnn, config.precision, device)
        self.scaler = self._autocast.scaler
        self.windows_per_step = config.batch_size * config.targets_per_window
        self.steps_per_epoch = count // config.batch_size
        self.total_steps = config.epochs * self.steps_per_epoch
        if config.max_steps is not None:
            self.total_steps = min(self.total_steps, config.max_steps)
        # A resumed training keeps the schedule that it began with, also if its limits are wider now.
        self.schedule_steps = self.total_steps
        facts = asdict(windows.config)
        self.windows_identity = {"digest": windows.dataset_digest, **facts, "zones": list(windows.config.zones)}
        is_graph = self.implementation == "graph"
        if is_graph and ranks.count > 1:
            raise ConfigError(
                "a step as a CUDA graph is one of a single process. Train with the implementation 'auto', or in one process."
            )
        # A graph reads the rate where it was captured, and so it is a tensor there.
        rate = torch.tensor(config.learning_rate, device=device) if is_graph else config.learning_rate
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, fused=True, capturable=is_graph)
        self.loss = _LOSSES[config.loss]
        self._forecasts = ranks.averaging(
            _Forecasts(self.model, self._autocast, self._fused, config.targets_per_window), device
        )
        take = self._take_step
        self._take: Callable[[Tensor], Tensor] = _GraphStep(take, Device.of(device)) if is_graph else take

    def epoch_order(self, epoch: int) -> Tensor:
        """Return the first rows of the training windows in the order of *epoch*, on the device. Shape (windows,).

        Windows of several targets lie side by side, in another place in each epoch.
        """
        # Made on the CPU from seed and epoch alone: the same on every device, and nothing to store for a resume.
        generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        places = self._places.choose(generator)
        order = torch.randperm(len(places), generator=generator)
        return self.resident.train_start[places[order].to(self.device)]

    def train_step(self, start: Tensor, step: int) -> Tensor:
        """Take one optimiser step.

        Args:
            start: First rows of the batch's windows, on the device. Shape (B,).
            step: Steps done before; the schedule depends on it.

        Returns:
            The mean loss of the batch, or of this process's part of it, on the device. Shape ().
        """
        rate = learning_rate_at(self.config, step, self.schedule_steps)
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        return self._take(self.ranks.part(start))

    def _take_step(self, start: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast.rounding():
            forecasts = self._forecasts(self.resident.inputs(start))
        loss = self.loss(forecasts.float(), self.resident.targets(start))
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()


class _Forecasts(nn.Module):
    """The targets that a forecaster is trained for, of its windows.

    Args:
        model: The forecaster.
        autocast: Runs its layers where ours do not.
        fused: Our layers, with its weights; None where torch's run.
        targets: Consecutive hours of a window, K.
    """

    def __init__(self, model: Forecaster, autocast: Autocast, fused: FusedLayers | None, targets: int) -> None:
        super().__init__()
        self._model, self._autocast, self._fused, self._targets = model, autocast, fused, targets

    def forward(self, inputs: Tensor) -> Tensor:
        """From shape (B, T + K - 1, F) to (B, K L)."""
        last = self._targets
        states = self._autocast.states(inputs)[:, -last:] if self._fused is None else self._fused.states(inputs, last)
        return self._model.read_out(states).flatten(1)


class _GraphStep:
    """A step that is captured as a CUDA graph once a few were taken as they are, and replayed from then on.

    Args:
        take: Takes the step of a batch of these rows, and returns its loss.
        device: Where it is taken.
    """

    def __init__(self, take: Callable[[Tensor], Tensor], device: Device) -> None:
        self._take = take
        self._device = device
        self._taken = 0
        self._graph: Any = None
        self._start = self._loss = torch.empty(0)

    def __call__(self, start: Tensor) -> Tensor:
        """Take the step; the loss is the caller's, and no later step changes it."""
        if self._graph is None:
            if self._taken < CALLS_BEFORE_CAPTURE:
                self._taken += 1
                return self._device.on_side_stream(lambda: self._take(start))
            self._start = start.clone()
            self._graph, self._loss = self._device.captured(lambda: self._take(self._start), calls_before=0)
        self._start.copy_(start)
        self._graph.replay()
        return self._loss.clone()


class _Places:
    """Where training windows of several targets may begin: all their targets are targets of windows of one.

    Args:
        train_start: First rows of the training windows, ascending in each zone. Shape (windows,).
        targets: Targets per window, K.
    """

    def __init__(self, train_start: RowArray, targets: int) -> None:
        self._targets = targets
        place = np.arange(len(train_start))
        is_first = np.diff(train_start, prepend=train_start[0] - 2) != 1
        first = np.maximum.accumulate(np.where(is_first, place, 0))
        run = np.cumsum(is_first) - 1
        lengths = np.bincount(run)
        self._in_run = place - first
        self._left_of_run = lengths[run] - self._in_run
        self.fewest = int(np.maximum(0, (lengths - targets + 1) // targets).sum())

    def choose(self, generator: torch.Generator) -> Tensor:
        """Return places in `train_start`, side by side from a chance offset on. Shape (windows,)."""
        offset = int(torch.randint(self._targets, (), generator=generator)) if self._targets > 1 else 0
        fits = self._left_of_run >= self._targets
        return torch.from_numpy(np.flatnonzero(fits & (self._in_run % self._targets == offset)))


def training_windows(windows: Windows, targets_per_window: int) -> int:
    """Return how many training windows of *targets_per_window* targets an epoch has, at least."""
    return _Places(windows.train_start, targets_per_window).fewest


def _layers_of(
    model: Forecaster, config: TrainConfig, device: torch.device
) -> tuple[Implementation, FusedLayers | None, str]:
    """Return the implementation that is taken, our layers where it is ours, and its name for a reader.

    Raises:
        Unavailable: If ours is asked for and there is none.
    """
    implementation = config.implementation
    if implementation == "graph":
        Device.of(device).require_graphs()
        return "graph", None, "torch as a CUDA graph"
    is_torchs = device.type != CPU or config.precision != "fp32"
    if implementation == "aten" or (implementation == "auto" and is_torchs):
        return "aten", None, "torch"
    if device.type != CPU:
        raise Unavailable(f"no fused kernels for {device.type}: they are for a CPU. Train with the implementation 'aten'.")
    precision = "bf16" if implementation == "fused_bf16" else "fp32"
    try:
        kernels = fused_kernels()
        if precision == "bf16" and not kernels.has_bf16:
            raise Unavailable(
                "this CPU, or the level that it is held to, has no instructions for bf16 (AVX512-BF16). Train with the "
                "implementation 'fused'."
            )
        name = f"{kernels.name}, products in bf16" if precision == "bf16" else kernels.name
        return "fused" if implementation == "auto" else implementation, FusedLayers(model.rnn, kernels, precision), name
    except Unavailable as error:
        if implementation != "auto":
            raise
        return "aten", None, f"torch, because: {error}"


def learning_rate_at(config: TrainConfig, step: int, schedule_steps: int) -> float:
    """Return the learning rate of a step.

    Args:
        config: How to train.
        step: Steps done before.
        schedule_steps: Steps that the schedule spans; the rate stays at its end after them.

    Source:
        Smith and Topin, "Super-Convergence", arXiv 1708.07120, with cosine ramps.
    """
    if config.schedule == "constant":
        return config.learning_rate
    share = min(1.0, step / max(1, schedule_steps - 1))
    if share < WARM_UP_SHARE:
        low, way = START_SHARE, share / WARM_UP_SHARE
    else:
        low, way = END_SHARE, (1 - share) / (1 - WARM_UP_SHARE)
    return config.learning_rate * (low + (1 - low) * (1 - math.cos(math.pi * way)) / 2)
