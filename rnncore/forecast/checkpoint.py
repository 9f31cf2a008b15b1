"""Checkpoints: where a training stopped, written whole, and read back to the bit on a CPU."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnncore.errors import ConfigError, ModelFileError
from rnncore.forecast.device import Device
from rnncore.forecast.modelfile import CHECKPOINT_KEY, read_safetensors, write_safetensors
from rnncore.forecast.trainer import TrainConfig, Trainer

# Where it is no setting that differs.
_WAYS_TO_RESUME = {
    "digest": "These are other data, or cleaned otherwise: resume with the same",
    "implementation": "Resume on the same device, and where a C compiler is found as before",
}


@dataclass(frozen=True)
class Epoch:
    """One pass, whole or cut short: its number from 1, steps done, mean loss per step and training time."""

    number: int
    steps: int
    loss: float
    seconds: float


@dataclass
class Position:
    """What changes as a training goes on, beside weights and optimiser."""

    step: int = 0
    epochs: list[Epoch] = field(default_factory=list)
    epoch_steps: int = 0
    epoch_seconds: float = 0.0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))

    @property
    def seconds(self) -> float:
        """Training time so far."""
        return sum(epoch.seconds for epoch in self.epochs) + self.epoch_seconds


def require_finite(trainer: Trainer, position: Position) -> None:
    """Refuse to go on with a loss or weights that are NaN or infinite: they stay so."""
    found = [torch.isfinite(value).all() for value in (position.loss_sum, *trainer.model.parameters())]
    # A GPU is waited for once.
    loss_is, *weights_are = torch.stack(found).tolist()
    if loss_is and all(weights_are):
        return
    what = "its loss is" if all(weights_are) else "its weights are"
    clipped = f"clip_norm {trainer.config.clip_norm:g}" if trainer.config.clip_norm is not None else "no clip_norm"
    raise ConfigError(
        f"the training diverged: after step {position.step:,} {what} not finite, with learning_rate "
        f"{trainer.config.learning_rate:g} and {clipped}. Give a lower learning rate (--learning-rate), or clip the "
        "gradients (--clip-norm 1)."
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


def write_checkpoint(path: Path, trainer: Trainer, position: Position) -> None:
    """Write weights, optimiser, random numbers and position, whole or not at all.

    Raises:
        OutputError: If the file cannot be written.
    """
    tensors = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    for index, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
    tensors |= {"loss_sum": position.loss_sum, "rng.cpu": torch.get_rng_state()}
    device = Device.of(trainer.device)
    if (state := device.rng_state()) is not None:
        tensors[f"rng.{device.type}"] = state
    facts = {
        CHECKPOINT_KEY: _identity(trainer),
        "step": position.step,
        "schedule_steps": trainer.schedule_steps,
        "epoch_steps": position.epoch_steps,
        "epoch_seconds": position.epoch_seconds,
        "epochs": [asdict(epoch) for epoch in position.epochs],
        "scaler": trainer.scaler.state_dict(),
    }
    write_safetensors(path, tensors, facts)


def read_checkpoint(path: Path, trainer: Trainer) -> Position:
    """Put a checkpoint into the trainer, and return where its training stopped.

    Raises:
        ModelFileError: If it is missing, damaged, or of another training.
        ConfigError: If its loss or weights are not finite.
    """
    if not path.is_file():
        raise ModelFileError(f"{path}: no checkpoint to go on from. Leave out --resume to start anew.")
    facts, tensors = read_safetensors(path)
    if CHECKPOINT_KEY not in facts:
        raise ModelFileError(f"{path}: a finished model, not a checkpoint. Give the .checkpoint.safetensors file.")
    written = facts[CHECKPOINT_KEY]
    # Of a setting that there was not yet, what was done is its default.
    written = {**written, "train": {**asdict(TrainConfig()), **written.get("train", {})}}
    for part, values in _identity(trainer).items():
        for name, value in values.items():
            before = written.get(part, {}).get(name)
            if before != value:
                way_out = _WAYS_TO_RESUME.get(name, "Resume with the same settings (only the limits may differ)")
                raise ModelFileError(
                    f"{path}: was written with {name} {before!r}, but {value!r} is asked for. {way_out}, or start anew "
                    "without --resume."
                )
    try:
        position = _restored(facts, tensors, trainer)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ModelFileError(
            f"{path}: not a checkpoint of this version ({why}). Leave out --resume to start anew."
        ) from error
    require_finite(trainer, position)
    return position


def _restored(facts: dict[str, Any], tensors: dict[str, Tensor], trainer: Trainer) -> Position:
    """Put a checkpoint into the trainer, and return where its training stopped."""
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
    if trainer.scaler.is_enabled():
        trainer.scaler.load_state_dict(facts["scaler"])
    trainer.schedule_steps = facts["schedule_steps"]
    torch.set_rng_state(tensors["rng.cpu"])
    device = Device.of(trainer.device)
    if not device.is_cpu and f"rng.{device.type}" in tensors:
        device.set_rng_state(tensors[f"rng.{device.type}"])
    return Position(
        step=facts["step"],
        epochs=[Epoch(**epoch) for epoch in facts["epochs"]],
        epoch_steps=facts["epoch_steps"],
        epoch_seconds=facts["epoch_seconds"],
        loss_sum=tensors["loss_sum"].to(trainer.device),
    )
