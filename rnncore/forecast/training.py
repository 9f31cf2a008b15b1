"""Training: batches gathered on the device, one optimiser step after another, resumable to the bit on CPU."""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rnncore.errors import ConfigError, ModelFileError, Unavailable
from rnncore.files import whole_file
from rnncore.forecast.device import cudnn_precision, synchronize
from rnncore.forecast.model import CHECKPOINT_KEY, METADATA_KEY, Forecaster, read_safetensors
from rnncore.forecast.windows import RowArray, Windows
from rnncore.kernels.layers import FusedLayers, fused_kernels

logger = logging.getLogger("rnncore.training")

LOG_EVERY_STEPS = 200
CHECKPOINT_EVERY_S = 30.0
MAX_SEED = 1 << 32

# As the article's, whose GPU knew no TF32.
TRAINING_PRECISION = "fp32"

# One-cycle schedule: the share of the steps that the rate rises, and the rate at both ends relative to the top.
WARM_UP_SHARE = 0.3
START_SHARE = 1 / 25
END_SHARE = 1e-4

Implementation = Literal["auto", "aten", "fused"]
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
        max_steps: Stop after so many steps in all.
        max_seconds: Stop after so much training time; the schedule still runs by steps.
        implementation: `aten` is torch's own layers, `fused` ours for a CPU, `auto` ours where they can be compiled.
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

    def __post_init__(self) -> None:
        if self.implementation not in IMPLEMENTATIONS:
            raise ConfigError(f"implementation is {self.implementation!r}; allowed: {', '.join(IMPLEMENTATIONS)}.")
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


@dataclass(frozen=True)
class Epoch:
    """One pass, whole or cut short: its number from 1, steps done, mean loss per step and training time."""

    number: int
    steps: int
    loss: float
    seconds: float


@dataclass(frozen=True)
class Progress:
    """Where a training stands.

    Attributes:
        step: Steps done in all.
        total_steps: Steps planned in all.
        epoch: Number of the current epoch, from 1.
        windows_per_s: Windows per second since this process began to train.
        seconds_left: Expected time to the end at this rate.
    """

    step: int
    total_steps: int
    epoch: int
    windows_per_s: float
    seconds_left: float


@dataclass(frozen=True)
class CurvePoint:
    """How good a model was on the way.

    Attributes:
        step: Steps done.
        seconds: Training time so far; the scoring is not in it.
        loss: Mean loss of the steps since the point before.
        score: What the score said.
    """

    step: int
    seconds: float
    loss: float
    score: float


@dataclass(frozen=True)
class Watch:
    """When to score a model while it trains; nothing about the training depends on the answer.

    Attributes:
        score: From the model, in evaluation mode, to a number.
        steps: Counts of steps after which to ask.
    """

    score: Callable[[Forecaster], float]
    steps: frozenset[int]


@dataclass(frozen=True)
class TrainResult:
    """What a training did.

    Attributes:
        epochs: One entry per epoch begun.
        curve: What a `Watch` saw, in this process; a resumed training's earlier points are not kept.
        steps: Steps done in all.
        seconds: Training time in all, earlier sessions included, checkpoints and data preparation not.
        windows_per_s: Windows per second over that time; each target counts as one.
        ended_by: `epochs`, `max_steps`, `max_seconds` or `stopped`.
    """

    epochs: tuple[Epoch, ...]
    curve: tuple[CurvePoint, ...]
    steps: int
    seconds: float
    windows_per_s: float
    ended_by: Literal["epochs", "max_steps", "max_seconds", "stopped"]


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

    Raises:
        ConfigError: If there are fewer training windows than a batch holds.
        Unavailable: If the fused implementation is asked for and there is none.
    """

    def __init__(self, model: Forecaster, windows: Windows, config: TrainConfig, device: torch.device) -> None:
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
        self.resident = ResidentWindows(windows, device, config.targets_per_window)
        self.implementation, self._fused = _layers_of(self.model, config.implementation, device)
        self.windows_per_step = config.batch_size * config.targets_per_window
        self.steps_per_epoch = count // config.batch_size
        self.total_steps = config.epochs * self.steps_per_epoch
        if config.max_steps is not None:
            self.total_steps = min(self.total_steps, config.max_steps)
        # A resumed training keeps the schedule that it began with, also if its limits are wider now.
        self.schedule_steps = self.total_steps
        facts = asdict(windows.config)
        self.windows_identity = {"digest": windows.dataset_digest, **facts, "zones": list(windows.config.zones)}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, fused=True)
        self.loss = _LOSSES[config.loss]

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
            The batch's mean loss, on the device. Shape ().
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.config, step, self.schedule_steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self._forecasts(self.resident.inputs(start)), self.resident.targets(start))
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def _forecasts(self, inputs: Tensor) -> Tensor:
        """Forecast the targets of windows. Shape (B, K L)."""
        last = self.config.targets_per_window
        states = self.model.rnn(inputs)[0][:, -last:] if self._fused is None else self._fused.states(inputs, last)
        return self.model.read_out(states).flatten(1)


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
        self._in_run = place - first
        self._room = np.bincount(run)[run] - self._in_run
        lengths = np.bincount(run)
        self.fewest = int(np.maximum(0, (lengths - targets + 1) // targets).sum())

    def choose(self, generator: torch.Generator) -> Tensor:
        """Return places in `train_start`, side by side from a chance offset on. Shape (windows,)."""
        offset = int(torch.randint(self._targets, (), generator=generator)) if self._targets > 1 else 0
        fits = self._room >= self._targets
        return torch.from_numpy(np.flatnonzero(fits & (self._in_run % self._targets == offset)))


def training_windows(windows: Windows, targets_per_window: int) -> int:
    """Return how many training windows of so many targets an epoch has, at least."""
    return _Places(windows.train_start, targets_per_window).fewest


def _layers_of(
    model: Forecaster, implementation: Implementation, device: torch.device
) -> tuple[Implementation, FusedLayers | None]:
    """Return the implementation that is taken, and our layers where it is ours.

    Raises:
        Unavailable: If ours is asked for and there is none.
    """
    if implementation == "aten" or (implementation == "auto" and device.type != "cpu"):
        return "aten", None
    if device.type != "cpu":
        raise Unavailable(f"no fused kernels for {device.type}: they are for a CPU. Train with the implementation 'aten'.")
    try:
        return "fused", FusedLayers(model.rnn, fused_kernels())
    except Unavailable:
        if implementation == "fused":
            raise
        return "aten", None


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


@dataclass
class _Position:
    """What changes as a training goes on, beside weights and optimiser."""

    step: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    epoch_steps: int = 0
    epoch_seconds: float = 0.0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))

    @property
    def seconds(self) -> float:
        return sum(epoch.seconds for epoch in self.epochs) + self.epoch_seconds


def fit(
    trainer: Trainer,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_step: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    watch: Watch | None = None,
) -> TrainResult:
    """Train until the epochs, the steps or the time are spent, or *should_stop* says so.

    The loss stays on the device and is read once per epoch; on the CPU, where reading is free, it also stands in the log
    line that comes every 200 steps. On CUDA, cuDNN does not round to TF32.

    Args:
        trainer: The forecaster to train, in place, with its windows.
        checkpoint: File that is rewritten every 30 s, at the end of each epoch, and when the training stops.
        resume: Go on from *checkpoint*. On the CPU with equal threads the end is equal, bit for bit, to that of an
            uninterrupted training.
        on_step: Called after each step.
        should_stop: Asked after each step.
        watch: When to score the model on the way; the time this takes is no training time.

    Returns:
        What was done.

    Raises:
        ModelFileError: If *resume* is asked for and *checkpoint* is missing, damaged or belongs to another training.
        ConfigError: If the training diverges: its loss or its weights are no longer finite. An earlier checkpoint stays.
        OutputError: If *checkpoint* cannot be written.
    """
    trainer.model.train()
    torch.manual_seed(trainer.config.seed)
    position = _Position(loss_sum=torch.zeros((), device=trainer.device))
    if resume:
        if checkpoint is None:
            raise ConfigError("resume needs the checkpoint file to go on from. Give its path.")
        position = _read_checkpoint(checkpoint, trainer)
        if trainer.config.schedule != "constant" and trainer.total_steps > trainer.schedule_steps:
            logger.warning(
                "the schedule was planned for %d steps and stays at its last, lowest rate beyond them; "
                "for a longer training with a schedule of its own, start anew without --resume",
                trainer.schedule_steps,
            )
    clock = _Clock(trainer, position)
    curve = _Curve(trainer, watch)
    ended_by: Literal["epochs", "max_steps", "max_seconds", "stopped"] | None = _spent(trainer.config, position)
    with cudnn_precision(TRAINING_PRECISION):
        while ended_by is None and len(position.epochs) < trainer.config.epochs:
            ended_by = _train_epoch(trainer, position, clock, curve, checkpoint, on_step, should_stop)
    _require_finite(trainer, position)
    if checkpoint is not None:
        _write_checkpoint(checkpoint, trainer, position)
    trainer.model.eval()
    epochs = tuple(position.epochs) + ((_epoch_so_far(position),) if position.epoch_steps else ())
    seconds = position.seconds
    return TrainResult(
        epochs=epochs,
        curve=tuple(curve.points),
        steps=position.step,
        seconds=seconds,
        windows_per_s=position.step * trainer.windows_per_step / seconds if seconds else 0.0,
        ended_by=ended_by or "epochs",
    )


class _Clock:
    """Training time of this process, and what it says about the rest."""

    def __init__(self, trainer: Trainer, position: _Position) -> None:
        self._trainer, self._position = trainer, position
        self._first_step = position.step
        self._began_s = self._lap_s = self.checkpoint_s = time.perf_counter()

    def lap(self) -> None:
        """Add the time since the last lap to the epoch."""
        now_s = time.perf_counter()
        self._position.epoch_seconds += now_s - self._lap_s
        self._lap_s = now_s

    def skip(self) -> None:
        """Leave the time since the last lap out of the training time."""
        self._lap_s = time.perf_counter()

    def progress(self) -> Progress:
        steps = self._position.step - self._first_step
        elapsed_s = max(time.perf_counter() - self._began_s, 1e-9)
        total = self._trainer.total_steps
        left_s = elapsed_s / max(steps, 1) * (total - self._position.step)
        limit_s = self._trainer.config.max_seconds
        if limit_s is not None:
            left_s = min(left_s, limit_s - self._position.seconds)
        return Progress(
            step=self._position.step,
            total_steps=total,
            epoch=len(self._position.epochs) + 1,
            windows_per_s=steps * self._trainer.windows_per_step / elapsed_s,
            seconds_left=max(left_s, 0.0),
        )


class _Curve:
    """The points that a watch asks for."""

    def __init__(self, trainer: Trainer, watch: Watch | None) -> None:
        self._trainer, self._watch = trainer, watch
        self._loss_sum, self._steps = torch.zeros((), device=trainer.device), 0
        self.points: list[CurvePoint] = []

    def add(self, loss: Tensor, position: _Position, clock: _Clock) -> None:
        """Take in the loss of a step, and score the model where that is asked for."""
        if self._watch is None:
            return
        self._loss_sum += loss
        self._steps += 1
        if position.step not in self._watch.steps:
            return
        synchronize(self._trainer.device)
        clock.lap()
        model = self._trainer.model.eval()
        score = self._watch.score(model)
        model.train()
        self.points.append(CurvePoint(position.step, position.seconds, float(self._loss_sum) / self._steps, score))
        self._loss_sum, self._steps = torch.zeros_like(self._loss_sum), 0
        clock.skip()


def _train_epoch(
    trainer: Trainer,
    position: _Position,
    clock: _Clock,
    curve: _Curve,
    checkpoint: Path | None,
    on_step: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> Literal["max_steps", "max_seconds", "stopped"] | None:
    """Train to the end of the epoch, or to where something ends the training: then return what."""
    order = trainer.epoch_order(len(position.epochs))
    batch_size = trainer.config.batch_size
    clock.skip()
    while position.epoch_steps < trainer.steps_per_epoch:
        start = order[position.epoch_steps * batch_size : (position.epoch_steps + 1) * batch_size]
        loss = trainer.train_step(start, position.step)
        position.loss_sum += loss
        position.step += 1
        position.epoch_steps += 1
        clock.lap()
        curve.add(loss, position, clock)
        on_step(clock.progress())
        if position.epoch_steps % LOG_EVERY_STEPS == 0:
            _log_step(trainer, position, clock.progress())
        ended_by = "stopped" if should_stop() else _spent(trainer.config, position)
        if ended_by is not None and position.epoch_steps < trainer.steps_per_epoch:
            synchronize(trainer.device)
            clock.lap()
            return ended_by
        is_due = time.perf_counter() - clock.checkpoint_s > CHECKPOINT_EVERY_S
        # The epoch's last step has a checkpoint of its own below, when the epoch is counted.
        if checkpoint is not None and is_due and position.epoch_steps < trainer.steps_per_epoch:
            synchronize(trainer.device)
            clock.lap()
            _require_finite(trainer, position)
            _write_checkpoint(checkpoint, trainer, position)
            clock.checkpoint_s = time.perf_counter()
        clock.skip()
    synchronize(trainer.device)
    clock.lap()
    _require_finite(trainer, position)
    epoch = _epoch_so_far(position)
    logger.info("epoch %d/%d: mean loss %.6f, %.1f s", epoch.number, trainer.config.epochs, epoch.loss, epoch.seconds)
    position.epochs.append(epoch)
    position.epoch_steps, position.epoch_seconds = 0, 0.0
    position.loss_sum.zero_()
    if checkpoint is not None:
        _write_checkpoint(checkpoint, trainer, position)
        clock.checkpoint_s = time.perf_counter()
    return ended_by


def _require_finite(trainer: Trainer, position: _Position) -> None:
    """Refuse to go on with a loss or weights that are NaN or infinite: they stay so."""
    weights_are = all(bool(torch.isfinite(weight).all()) for weight in trainer.model.parameters())
    if weights_are and math.isfinite(float(position.loss_sum)):
        return
    what = "its loss is" if weights_are else "its weights are"
    clipped = f"clip_norm {trainer.config.clip_norm:g}" if trainer.config.clip_norm is not None else "no clip_norm"
    raise ConfigError(
        f"the training diverged: after step {position.step:,} {what} not finite, with learning_rate "
        f"{trainer.config.learning_rate:g} and {clipped}. Give a lower learning rate (--learning-rate), or clip the "
        "gradients (--clip-norm 1)."
    )


def _spent(config: TrainConfig, position: _Position) -> Literal["max_steps", "max_seconds"] | None:
    if config.max_steps is not None and position.step >= config.max_steps:
        return "max_steps"
    if config.max_seconds is not None and position.seconds >= config.max_seconds:
        return "max_seconds"
    return None


def _epoch_so_far(position: _Position) -> Epoch:
    loss = float(position.loss_sum) / position.epoch_steps
    return Epoch(len(position.epochs) + 1, position.epoch_steps, loss, position.epoch_seconds)


def _log_step(trainer: Trainer, position: _Position, progress: Progress) -> None:
    loss = "" if trainer.device.type == "cuda" else f"mean loss {float(position.loss_sum) / position.epoch_steps:.6f}, "
    logger.info(
        "epoch %d/%d, step %d/%d: %s%.0f windows/s, %.0f s left",
        progress.epoch,
        trainer.config.epochs,
        position.epoch_steps,
        trainer.steps_per_epoch,
        loss,
        progress.windows_per_s,
        progress.seconds_left,
    )


def _identity(trainer: Trainer) -> dict[str, Any]:
    """Return what must be equal for a checkpoint to be gone on from; the limits may differ."""
    # The implementations round differently.
    config = replace(trainer.config, max_steps=None, max_seconds=None, implementation=trainer.implementation)
    # The windows first: of other data, sizes that a recipe chooses by them differ too.
    return {
        "windows": trainer.windows_identity,
        "forecaster": asdict(trainer.model.config),
        "train": asdict(config),
    }


def _write_checkpoint(path: Path, trainer: Trainer, position: _Position) -> None:
    tensors = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    for index, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
    tensors |= {"loss_sum": position.loss_sum, "rng.cpu": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(trainer.device)
    facts = {
        CHECKPOINT_KEY: _identity(trainer),
        "step": position.step,
        "schedule_steps": trainer.schedule_steps,
        "epoch_steps": position.epoch_steps,
        "epoch_seconds": position.epoch_seconds,
        "epochs": [asdict(epoch) for epoch in position.epochs],
    }
    with whole_file(path) as temporary:
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
            temporary,
            metadata={METADATA_KEY: json.dumps(facts)},
        )


def _read_checkpoint(path: Path, trainer: Trainer) -> _Position:
    if not path.is_file():
        raise ModelFileError(f"{path}: no checkpoint to go on from. Leave out --resume to start anew.")
    facts, tensors = read_safetensors(path)
    if CHECKPOINT_KEY not in facts:
        raise ModelFileError(f"{path}: a finished model, not a checkpoint. Give the .checkpoint.safetensors file.")
    _require_same_training(path, facts[CHECKPOINT_KEY], _identity(trainer))
    try:
        position = _restored(facts, tensors, trainer)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ModelFileError(
            f"{path}: not a checkpoint of this version ({why}). Leave out --resume to start anew."
        ) from error
    _require_finite(trainer, position)
    return position


def _restored(facts: dict[str, Any], tensors: dict[str, Tensor], trainer: Trainer) -> _Position:
    """Put a checkpoint into the trainer, and return where its training stood."""
    trainer.model.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    )
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("adam."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})
    trainer.schedule_steps = facts["schedule_steps"]
    torch.set_rng_state(tensors["rng.cpu"])
    if trainer.device.type == "cuda" and "rng.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["rng.cuda"], trainer.device)
    return _Position(
        step=facts["step"],
        epochs=[Epoch(**epoch) for epoch in facts["epochs"]],
        epoch_steps=facts["epoch_steps"],
        epoch_seconds=facts["epoch_seconds"],
        loss_sum=tensors["loss_sum"].to(trainer.device),
    )


# Where it is no setting that differs.
_WAYS_TO_RESUME = {
    "digest": "These are other data, or cleaned otherwise: resume with the same",
    "implementation": "Resume on the same device, and where a C compiler is found as before",
}


def _require_same_training(path: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    for part, values in asked.items():
        for name, value in values.items():
            before = saved.get(part, {}).get(name)
            if before != value:
                way_out = _WAYS_TO_RESUME.get(name, "Resume with the same settings (only the limits may differ)")
                raise ModelFileError(
                    f"{path}: was written with {name} {before!r}, but {value!r} is asked for. {way_out}, or start anew "
                    "without --resume."
                )
