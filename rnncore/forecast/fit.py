"""The training loop: epochs of steps, with a log, checkpoints, and a score on the way."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from rnncore.errors import ConfigError
from rnncore.forecast.checkpoint import Epoch, Position, read_checkpoint, require_finite, write_checkpoint
from rnncore.forecast.device import CPU, cudnn_precision, synchronize
from rnncore.forecast.model import Forecaster
from rnncore.forecast.trainer import MAX_SEED, TrainConfig, Trainer

EndedBy = Literal["epochs", "max_steps", "max_seconds", "stopped"]

logger = logging.getLogger("rnncore.training")
LOG_EVERY_STEPS = 200
CHECKPOINT_EVERY_S = 30.0

# As the article's, whose GPU knew no TF32.
TRAINING_PRECISION = "fp32"


@dataclass(frozen=True)
class Progress:
    """How far a training is.

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
        score: What the score returned.
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
        trained_by: What ran the recurrent layers, for a reader.
    """

    epochs: tuple[Epoch, ...]
    curve: tuple[CurvePoint, ...]
    steps: int
    seconds: float
    windows_per_s: float
    ended_by: EndedBy
    trained_by: str


def fit(
    trainer: Trainer,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_step: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    watch: Watch | None = None,
) -> TrainResult:
    """Train until the epochs, the steps or the time are spent, or *should_stop* returns true.

    The loss stays on the device and is read once per epoch; on the CPU, where reading is free, it is also in the log
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
    torch.manual_seed(_seed(trainer))
    position = Position(loss_sum=torch.zeros((), device=trainer.device))
    if resume:
        if checkpoint is None:
            raise ConfigError("resume needs the checkpoint file to go on from. Give its path.")
        with trainer.ranks.shared(checkpoint) as held:
            position = read_checkpoint(held, trainer)
        if not trainer.ranks.is_first:
            # What rank 0 had drawn is in the checkpoint.
            torch.manual_seed(_seed(trainer) + position.step)
        if trainer.config.schedule != "constant" and trainer.total_steps > trainer.schedule_steps:
            logger.warning(
                "the schedule was planned for %d steps and stays at its last, lowest rate beyond them; "
                "for a longer training with a schedule of its own, start anew without --resume",
                trainer.schedule_steps,
            )
    clock = _Clock(trainer, position)
    curve = _Curve(trainer, watch)
    ended_by = _spent(trainer.config, position)
    with cudnn_precision(TRAINING_PRECISION):
        while ended_by is None and len(position.epochs) < trainer.config.epochs:
            ended_by = _train_epoch(trainer, position, clock, curve, checkpoint, on_step, should_stop)
    if checkpoint is not None:
        _keep(checkpoint, trainer, position)
    else:
        require_finite(trainer, position)
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
        trained_by=trainer.trained_by,
    )


def _seed(trainer: Trainer) -> int:
    """Return the seed of what this process draws: dropout is another one in each part of a batch."""
    return trainer.config.seed + trainer.ranks.rank * MAX_SEED


class _Clock:
    """Training time of this process, and what it lets expect of the rest."""

    def __init__(self, trainer: Trainer, position: Position) -> None:
        self._trainer, self._position = trainer, position
        self._first_step = position.step
        self._began_s = self._lap_s = self.checkpoint_s = time.perf_counter()

    def lap(self) -> None:
        """Add the time since the last lap to the epoch."""
        now_s = time.perf_counter()
        self._position.epoch_seconds += now_s - self._lap_s
        self._lap_s = now_s

    def lap_when_done(self) -> None:
        """Wait for the device's work, and add the time of it too."""
        synchronize(self._trainer.device)
        self.lap()

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

    def add(self, loss: Tensor, position: Position, clock: _Clock) -> None:
        """Take in the loss of a step, and score the model where that is asked for."""
        if self._watch is None:
            return
        self._loss_sum += loss
        self._steps += 1
        if position.step not in self._watch.steps:
            return
        clock.lap_when_done()
        model = self._trainer.model.eval()
        score = self._watch.score(model)
        model.train()
        self.points.append(CurvePoint(position.step, position.seconds, float(self._loss_sum) / self._steps, score))
        self._loss_sum, self._steps = torch.zeros_like(self._loss_sum), 0
        clock.skip()


def _train_epoch(
    trainer: Trainer,
    position: Position,
    clock: _Clock,
    curve: _Curve,
    checkpoint: Path | None,
    on_step: Callable[[Progress], None],
    should_stop: Callable[[], bool],
) -> EndedBy | None:
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
        # Each process has a clock of its own, and one may be told to stop.
        is_stopped, is_late, is_due = trainer.ranks.any(
            should_stop(),
            _spent(trainer.config, position) == "max_seconds",
            time.perf_counter() - clock.checkpoint_s > CHECKPOINT_EVERY_S,
        )
        ended_by = "stopped" if is_stopped else "max_seconds" if is_late else _spent(trainer.config, position)
        if ended_by is not None and position.epoch_steps < trainer.steps_per_epoch:
            clock.lap_when_done()
            position.loss_sum = trainer.ranks.mean(position.loss_sum)
            return ended_by
        # The epoch's last step has a checkpoint of its own below, when the epoch is counted.
        if checkpoint is not None and is_due and position.epoch_steps < trainer.steps_per_epoch:
            clock.lap_when_done()
            _keep(checkpoint, trainer, position)
            clock.checkpoint_s = time.perf_counter()
        clock.skip()
    clock.lap_when_done()
    position.loss_sum = trainer.ranks.mean(position.loss_sum)
    require_finite(trainer, position)
    epoch = _epoch_so_far(position)
    logger.info("epoch %d/%d: mean loss %.6f, %.1f s", epoch.number, trainer.config.epochs, epoch.loss, epoch.seconds)
    position.epochs.append(epoch)
    position.epoch_steps, position.epoch_seconds = 0, 0.0
    position.loss_sum.zero_()
    if checkpoint is not None:
        _keep(checkpoint, trainer, position)
        clock.checkpoint_s = time.perf_counter()
    return ended_by


def _keep(checkpoint: Path, trainer: Trainer, position: Position) -> None:
    """Write a checkpoint in the process that writes; all of them come here at the same step."""
    position.loss_sum = trainer.ranks.mean(position.loss_sum)
    require_finite(trainer, position)
    if trainer.ranks.is_first:
        write_checkpoint(checkpoint, trainer, position)


def _spent(config: TrainConfig, position: Position) -> EndedBy | None:
    if config.max_steps is not None and position.step >= config.max_steps:
        return "max_steps"
    if config.max_seconds is not None and position.seconds >= config.max_seconds:
        return "max_seconds"
    return None


def _epoch_so_far(position: Position) -> Epoch:
    loss = float(position.loss_sum) / position.epoch_steps
    return Epoch(len(position.epochs) + 1, position.epoch_steps, loss, position.epoch_seconds)


def _log_step(trainer: Trainer, position: Position, progress: Progress) -> None:
    loss = "" if trainer.device.type != CPU else f"mean loss {float(position.loss_sum) / position.epoch_steps:.6f}, "
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
