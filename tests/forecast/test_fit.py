"""Tests of training: one step against a loop by hand, and runs that are equal to the bit however they were cut."""

import json
import logging
import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rnncore.errors import ConfigError, DataError, ModelFileError, Unavailable
from rnncore.forecast import fit as fit_module
from rnncore.forecast import trainer as trainer_module
from rnncore.forecast.checkpoint import Position
from rnncore.forecast.device import CUDA, Device, cudnn_precision
from rnncore.forecast.fit import Progress, TrainResult, Watch, fit
from rnncore.forecast.model import Cell, Forecaster, ForecasterConfig, load_forecaster, new_forecaster, save_forecaster
from rnncore.forecast.modelfile import CHECKPOINT_KEY, METADATA_KEY, read_safetensors
from rnncore.forecast.presets import preset
from rnncore.forecast.series import Dataset, Series
from rnncore.forecast.trainer import Implementation, TrainConfig, Trainer, learning_rate_at
from rnncore.forecast.windows import WindowConfig, Windows, make_windows

CPU = torch.device("cpu")
LOOKBACK = 6
FORECASTER = ForecasterConfig(hidden_size=8, num_layers=2, dropout=0.3)
# The small data set has 663 training windows of 6 hours: 10 whole batches and 23 windows that are dropped.
CONFIG = TrainConfig(batch_size=64, epochs=3, learning_rate=5e-3, seed=4)
STEPS_PER_EPOCH = 10
ONE_CYCLE = replace(CONFIG, schedule="one_cycle", loss="smooth_l1", clip_norm=0.5)


@pytest.fixture(scope="module")
def windows(small_dataset: Dataset) -> Windows:
    return make_windows(small_dataset, WindowConfig(lookback=LOOKBACK))


def _trainer(
    windows: Windows, config: TrainConfig = CONFIG, forecaster: ForecasterConfig = FORECASTER, weights_seed: int = 1
) -> Trainer:
    return Trainer(new_forecaster(forecaster, weights_seed), windows, config, CPU)


def _stop_after(steps: int) -> Callable[[], bool]:
    """Return what says stop when it has been asked so many times."""
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked >= steps

    return should_stop


def _state(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Return weights and Adam's moments."""
    state = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    for index, moments in trainer.optimizer.state_dict()["state"].items():
        state |= {f"{index}.{name}": value.clone() for name, value in moments.items()}
    return state


def _require_equal_bits(trainer: Trainer, other: Trainer) -> None:
    state, other_state = _state(trainer), _state(other)
    assert sorted(state) == sorted(other_state)
    assert [name for name, value in state.items() if not torch.equal(value, other_state[name])] == []


def _history(result: TrainResult) -> list[tuple[int, int, float]]:
    return [(epoch.number, epoch.steps, epoch.loss) for epoch in result.epochs]


# Batches


def test_batches_on_the_device_are_those_of_the_windows(windows: Windows) -> None:
    resident = _trainer(windows).resident
    start = windows.train_start[[0, 5, 300, 400, -1]]
    inputs, targets = resident.inputs(torch.from_numpy(start)), resident.targets(torch.from_numpy(start))
    assert inputs.dtype == torch.float32
    np.testing.assert_array_equal(inputs.numpy(), [windows.features[row : row + LOOKBACK] for row in start])
    np.testing.assert_array_equal(targets.numpy(), [windows.target[row + LOOKBACK] for row in start])


def test_an_epoch_takes_every_training_window_once_in_an_order_of_its_own(windows: Windows) -> None:
    trainer = _trainer(windows)
    first, second = trainer.epoch_order(0), trainer.epoch_order(1)
    for order in (first, second):
        np.testing.assert_array_equal(np.sort(order.numpy()), windows.train_start)
        assert not np.array_equal(order.numpy(), windows.train_start)
    assert not torch.equal(first, second)


def test_the_order_depends_on_seed_and_epoch_alone(windows: Windows) -> None:
    torch.manual_seed(99)
    expected = _trainer(windows).epoch_order(2)
    torch.manual_seed(98)
    again = _trainer(windows, replace(CONFIG, batch_size=32), weights_seed=7)
    again.epoch_order(0)
    assert torch.equal(again.epoch_order(2), expected)
    assert not torch.equal(_trainer(windows, replace(CONFIG, seed=5)).epoch_order(2), expected)


def test_the_last_smaller_batch_of_an_epoch_is_dropped(windows: Windows) -> None:
    count = len(windows.train_start)
    assert count % CONFIG.batch_size
    trainer = _trainer(windows, replace(CONFIG, epochs=2))
    sizes: list[int] = []
    take_step = trainer.train_step

    def train_step(start: torch.Tensor, step: int) -> torch.Tensor:
        sizes.append(len(start))
        return take_step(start, step)

    trainer.train_step = train_step
    result = fit(trainer)
    assert sizes == [64] * (2 * (count // 64))
    assert result.steps == 2 * (count // 64) == 2 * STEPS_PER_EPOCH


# Steps


def _reference_steps(trainer: Trainer, windows: Windows, steps: int) -> tuple[Forecaster, list[float]]:
    """Train a copy of the trainer's model with torch's plain Adam on windows that a loop cuts out."""
    config = trainer.config
    model = Forecaster(trainer.model.config)
    model.load_state_dict(trainer.model.state_dict())
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=False, foreach=False)
    order = trainer.epoch_order(0).tolist()
    losses = []
    for step in range(steps):
        rows = order[step * config.batch_size : (step + 1) * config.batch_size]
        inputs = torch.stack([torch.from_numpy(windows.features[row : row + LOOKBACK].copy()) for row in rows])
        targets = torch.tensor([[float(windows.target[row + LOOKBACK, 0])] for row in rows])
        difference = model(inputs) - targets
        if config.loss == "mse":
            loss = (difference**2).mean()
        else:
            size = difference.abs()
            loss = torch.where(size < 1, 0.5 * difference**2, size - 0.5).mean()
        optimizer.zero_grad()
        loss.backward()
        if config.clip_norm is not None:
            norm = math.sqrt(sum(float((parameter.grad**2).sum()) for parameter in model.parameters()))
            for parameter in model.parameters():
                parameter.grad *= min(1.0, config.clip_norm / norm)
        optimizer.param_groups[0]["lr"] = learning_rate_at(config, step, trainer.schedule_steps)
        optimizer.step()
        losses.append(float(loss.detach()))
    return model, losses


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, clip_norm=1e-3), ONE_CYCLE], ids=["plain", "clipped", "one cycle"]
)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_steps_are_those_of_a_loop_by_hand(cell: str, config: TrainConfig, windows: Windows) -> None:
    trainer = _trainer(windows, config, replace(FORECASTER, cell=cell, dropout=0.0))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    expected, expected_losses = _reference_steps(trainer, windows, steps=3)
    order = trainer.epoch_order(0)
    losses = [float(trainer.train_step(order[step * 64 : (step + 1) * 64], step)) for step in range(3)]
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=0, atol=2e-5, msg=name)
        assert not torch.equal(value, before[name]), name


def test_the_first_step_of_adam_moves_each_weight_by_the_learning_rate_against_its_gradient(windows: Windows) -> None:
    trainer = _trainer(windows, forecaster=replace(FORECASTER, dropout=0.0, relu_head=False))
    start = trainer.epoch_order(0)[:64]
    model = Forecaster(trainer.model.config)
    model.load_state_dict(trainer.model.state_dict())
    nn.functional.mse_loss(model(trainer.resident.inputs(start)), trainer.resident.targets(start)).backward()
    trainer.train_step(start, 0)
    after = dict(trainer.model.named_parameters())
    for name, parameter in model.named_parameters():
        # Adam's formula at its first step: the bias corrections cancel, what is left is g / (|g| + eps).
        expected = parameter - 5e-3 * parameter.grad / (parameter.grad.abs() + 1e-8)
        torch.testing.assert_close(after[name].detach(), expected.detach(), rtol=0, atol=1e-5, msg=name)


def test_gradients_of_the_step_before_are_forgotten(windows: Windows) -> None:
    trainer = _trainer(windows, replace(CONFIG, learning_rate=1e-12), replace(FORECASTER, dropout=0.0))
    start = trainer.epoch_order(0)[:64]
    trainer.train_step(start, 0)
    first = trainer.model.head.weight.grad.clone()
    trainer.train_step(start, 1)
    torch.testing.assert_close(trainer.model.head.weight.grad, first, rtol=1e-4, atol=0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_loss_falls_on_an_easy_series(cell: str, make_series: Callable[..., Series]) -> None:
    load_mw = 1000 + 300 * np.sin(np.arange(500) * 2 * np.pi / 24)
    windows = make_windows(Dataset("easy", (make_series("A", load_mw=load_mw),)), WindowConfig(lookback=8))
    config = TrainConfig(batch_size=32, epochs=12, learning_rate=1e-2)
    result = fit(_trainer(windows, config, ForecasterConfig(cell=cell, hidden_size=8, num_layers=1, dropout=0)))
    losses = [epoch.loss for epoch in result.epochs]
    assert losses[-1] < 0.02 * losses[0]
    # Scaled loads lie between 0 and 1; always saying their mean gives 0.125.
    assert losses[-1] < 0.005


def test_the_learning_rate_stays_or_goes_up_and_down_once() -> None:
    assert {learning_rate_at(CONFIG, step, 30) for step in range(30)} == {5e-3}
    planned = 101
    rates = [learning_rate_at(ONE_CYCLE, step, planned) / ONE_CYCLE.learning_rate for step in range(planned)]
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[15] == pytest.approx((1 + 1 / 25) / 2)
    assert rates[30] == pytest.approx(1) == max(rates)
    assert rates[65] == pytest.approx((1 + 1e-4) / 2)
    assert rates[100] == pytest.approx(1e-4)
    assert np.all(np.diff(rates[:31]) > 0)
    assert np.all(np.diff(rates[30:]) < 0)


def test_the_learning_rate_of_a_plan_of_one_step_is_its_first() -> None:
    assert learning_rate_at(ONE_CYCLE, 0, 1) == pytest.approx(ONE_CYCLE.learning_rate / 25)


def test_the_learning_rate_does_not_rise_again_after_the_planned_steps() -> None:
    rates = [learning_rate_at(ONE_CYCLE, step, 10) / ONE_CYCLE.learning_rate for step in range(9, 30)]
    assert rates == pytest.approx([1e-4] * len(rates))


# Equal bits


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_same_seed_gives_the_same_bits(cell: str, windows: Windows) -> None:
    forecaster = replace(FORECASTER, cell=cell)
    torch.manual_seed(1)
    one = _trainer(windows, forecaster=forecaster)
    one_result = fit(one)
    torch.manual_seed(2)
    same = _trainer(windows, forecaster=forecaster)
    same_result = fit(same)
    _require_equal_bits(one, same)
    assert _history(one_result) == _history(same_result)
    other = _trainer(windows, replace(CONFIG, seed=5), forecaster)
    assert _history(fit(other)) != _history(one_result)


def test_dropout_takes_part_in_training(windows: Windows) -> None:
    with_dropout = fit(_trainer(windows))
    without = fit(_trainer(windows, forecaster=replace(FORECASTER, dropout=0.0)))
    assert with_dropout.epochs[0].loss != without.epochs[0].loss


@pytest.mark.parametrize("steps", [1, 14, 2 * STEPS_PER_EPOCH, 27], ids=lambda steps: f"after {steps}")
@pytest.mark.parametrize("config", [CONFIG, ONE_CYCLE], ids=["constant", "one cycle"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    cell: str, config: TrainConfig, steps: int, windows: Windows, tmp_path: Path
) -> None:
    forecaster = replace(FORECASTER, cell=cell)
    whole = _trainer(windows, config, forecaster)
    expected = fit(whole)
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    first = fit(_trainer(windows, config, forecaster), checkpoint, should_stop=_stop_after(steps))
    assert (first.steps, first.ended_by) == (steps, "stopped")
    # Another process: other weights to begin with, another state of the random numbers.
    torch.manual_seed(1234)
    second = _trainer(windows, config, forecaster, weights_seed=77)
    result = fit(second, checkpoint, resume=True)
    _require_equal_bits(second, whole)
    assert _history(result) == _history(expected)
    assert (result.steps, result.ended_by) == (expected.steps, "epochs")


def test_a_run_may_be_interrupted_more_than_once(windows: Windows, tmp_path: Path) -> None:
    whole = _trainer(windows)
    expected = fit(whole)
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(3))
    for _ in range(3):
        fit(_trainer(windows), checkpoint, resume=True, should_stop=_stop_after(6))
    last = _trainer(windows)
    result = fit(last, checkpoint, resume=True)
    _require_equal_bits(last, whole)
    assert _history(result) == _history(expected)


def test_the_same_trainer_may_go_on_from_its_checkpoint(windows: Windows, tmp_path: Path) -> None:
    # The first call leaves the model in evaluation mode: without dropout the rest would differ.
    whole = _trainer(windows)
    expected = fit(whole)
    trainer, checkpoint = _trainer(windows), tmp_path / "run.checkpoint.safetensors"
    fit(trainer, checkpoint, should_stop=_stop_after(14))
    assert _history(fit(trainer, checkpoint, resume=True)) == _history(expected)
    _require_equal_bits(trainer, whole)


def test_writing_checkpoints_changes_no_bit(windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "CHECKPOINT_EVERY_S", 0.0)
    plain, kept = _trainer(windows), _trainer(windows)
    fit(plain)
    fit(kept, tmp_path / "run.checkpoint.safetensors")
    _require_equal_bits(kept, plain)


def test_a_finished_run_that_is_resumed_does_nothing_more(windows: Windows, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    whole = _trainer(windows)
    expected = fit(whole, checkpoint)
    again = _trainer(windows, weights_seed=77)
    result = fit(again, checkpoint, resume=True)
    _require_equal_bits(again, whole)
    assert (_history(result), result.steps) == (_history(expected), expected.steps)


def test_a_run_that_ended_by_its_limit_goes_on_under_a_larger_one(windows: Windows, tmp_path: Path) -> None:
    whole = _trainer(windows)
    expected = fit(whole)
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows, replace(CONFIG, max_steps=7)), checkpoint)
    fit(_trainer(windows, replace(CONFIG, max_steps=18, max_seconds=600.0)), checkpoint, resume=True)
    last = _trainer(windows)
    assert _history(fit(last, checkpoint, resume=True)) == _history(expected)
    _require_equal_bits(last, whole)


# Checkpoints


def _checkpoint_writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that fills with the steps done at each write of a checkpoint."""
    steps: list[int] = []
    write = fit_module.write_checkpoint

    def spy(path: Path, trainer: Trainer, position: Any) -> None:
        steps.append(position.step)
        write(path, trainer, position)

    monkeypatch.setattr(fit_module, "write_checkpoint", spy)
    return steps


def test_a_checkpoint_is_written_at_the_end_of_each_epoch(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = _checkpoint_writes(monkeypatch)
    fit(_trainer(windows), tmp_path / "run.checkpoint.safetensors")
    assert {STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH, 3 * STEPS_PER_EPOCH} <= set(steps)


def test_no_checkpoint_is_written_between_the_last_step_of_an_epoch_and_its_count(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    write = fit_module.write_checkpoint

    def remember(path: Path, trainer: Trainer, position: Position) -> None:
        seen.append(position.epoch_steps)
        write(path, trainer, position)

    monkeypatch.setattr(fit_module, "write_checkpoint", remember)
    monkeypatch.setattr(fit_module, "CHECKPOINT_EVERY_S", 0.0)
    fit(_trainer(windows), tmp_path / "run.checkpoint.safetensors")
    assert set(seen) == set(range(STEPS_PER_EPOCH))


def test_a_resume_beyond_the_schedule_is_told(windows: Windows, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = replace(CONFIG, schedule="one_cycle", max_steps=2)
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows, config), checkpoint)
    fit(_trainer(windows, replace(config, max_steps=4)), checkpoint, resume=True)
    assert "the schedule was planned for 2 steps" in caplog.text


@pytest.mark.skipif(Device(CUDA).why_missing() is not None, reason="no CUDA device on this machine")
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_training_on_cuda_follows_that_on_the_cpu_and_resumes(cell: str, windows: Windows, tmp_path: Path) -> None:
    forecaster = ForecasterConfig(cell=cell, input_size=windows.num_features, hidden_size=8, dropout=0.0)

    def trained(device: str, max_steps: int, checkpoint: Path, resume: bool = False) -> Forecaster:
        config = replace(CONFIG, max_steps=max_steps)
        trainer = Trainer(new_forecaster(forecaster, 0), windows, config, torch.device(device))
        fit(trainer, checkpoint, resume)
        return trainer.model.cpu()

    with cudnn_precision("fp32"):
        trained("cuda", 2, tmp_path / "cuda.checkpoint.safetensors")
        resumed = trained("cuda", 5, tmp_path / "cuda.checkpoint.safetensors", resume=True)
    on_cpu = trained("cpu", 5, tmp_path / "cpu.checkpoint.safetensors")
    for one, other in zip(resumed.parameters(), on_cpu.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_is_written_when_its_time_has_come(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = _checkpoint_writes(monkeypatch)
    monkeypatch.setattr(fit_module, "CHECKPOINT_EVERY_S", 0.0)
    fit(_trainer(windows, replace(CONFIG, max_steps=5)), tmp_path / "run.checkpoint.safetensors")
    assert {1, 2, 3, 4, 5} == set(steps)


def test_only_the_checkpoint_is_left_in_its_folder(windows: Windows, tmp_path: Path) -> None:
    checkpoint = tmp_path / "folder" / "run.checkpoint.safetensors"
    fit(_trainer(windows, replace(CONFIG, max_steps=2)), checkpoint)
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_a_failing_write_leaves_the_earlier_checkpoint_untouched(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(3))
    before = checkpoint.read_bytes()

    def full_disk(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full_disk)
        with pytest.raises(OSError, match="no space left"):
            fit(_trainer(windows), checkpoint, resume=True, should_stop=_stop_after(3))
    assert checkpoint.read_bytes() == before
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert fit(_trainer(windows), checkpoint, resume=True, should_stop=_stop_after(2)).steps == 5


@pytest.mark.parametrize(
    ("config", "forecaster", "text"),
    [
        (replace(CONFIG, seed=5), FORECASTER, "seed 4, but 5 is asked for"),
        (replace(CONFIG, batch_size=32), FORECASTER, "batch_size 64, but 32 is asked for"),
        (replace(CONFIG, epochs=4), FORECASTER, "epochs 3, but 4 is asked for"),
        (replace(CONFIG, learning_rate=1e-3), FORECASTER, "learning_rate 0.005, but 0.001 is asked for"),
        (replace(CONFIG, schedule="one_cycle"), FORECASTER, "schedule 'constant', but 'one_cycle' is asked for"),
        (replace(CONFIG, loss="smooth_l1"), FORECASTER, "loss 'mse', but 'smooth_l1' is asked for"),
        (replace(CONFIG, clip_norm=1.0), FORECASTER, "clip_norm None, but 1.0 is asked for"),
        (CONFIG, replace(FORECASTER, hidden_size=9), "hidden_size 8, but 9 is asked for"),
        (CONFIG, replace(FORECASTER, cell="lstm"), "cell 'gru', but 'lstm' is asked for"),
        (CONFIG, replace(FORECASTER, dropout=0.0), "dropout 0.3, but 0.0 is asked for"),
        (CONFIG, replace(FORECASTER, relu_head=False), "relu_head True, but False is asked for"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused_with_the_setting_and_both_values(
    config: TrainConfig, forecaster: ForecasterConfig, text: str, windows: Windows, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(1))
    before = checkpoint.read_bytes()
    with pytest.raises(ModelFileError, match=r"run\.checkpoint\.safetensors: was written with") as caught:
        fit(_trainer(windows, config, forecaster), checkpoint, resume=True)
    assert text in str(caught.value)
    assert "or start anew without --resume" in str(caught.value)
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_another_lookback_is_refused(windows: Windows, small_dataset: Dataset, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(1))
    other = make_windows(small_dataset, WindowConfig(lookback=LOOKBACK + 1))
    with pytest.raises(ModelFileError, match="was written with lookback 6, but 7 is asked for"):
        fit(_trainer(other), checkpoint, resume=True)


def test_a_checkpoint_of_other_data_of_the_same_size_is_refused(
    windows: Windows, small_dataset: Dataset, make_series: Callable[..., Series], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(1))
    series = (make_series("A", hours=400, seed=8), small_dataset.series[1])
    other = make_windows(Dataset("other", series), WindowConfig(lookback=LOOKBACK))
    assert len(other.train_start) == len(windows.train_start)
    assert other.dataset_digest != windows.dataset_digest
    with pytest.raises(ModelFileError, match="was written with"):
        fit(_trainer(other), checkpoint, resume=True)


def test_a_checkpoint_of_windows_scaled_otherwise_is_refused(
    windows: Windows, small_dataset: Dataset, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(1))
    other = make_windows(small_dataset, WindowConfig(lookback=LOOKBACK, scale_on="train"))
    with pytest.raises(ModelFileError, match="was written with scale_on 'all', but 'train' is asked for"):
        fit(_trainer(other), checkpoint, resume=True)


def test_a_finished_model_is_not_a_checkpoint(windows: Windows, tmp_path: Path) -> None:
    trainer, path = _trainer(windows), tmp_path / "model.safetensors"
    save_forecaster(path, trainer.model, windows.config, {})
    with pytest.raises(
        ModelFileError, match=r"model\.safetensors: a finished model, not a checkpoint\. Give the \.checkpoint\.safetensors"
    ):
        fit(trainer, path, resume=True)


def test_a_missing_or_broken_checkpoint_is_refused(windows: Windows, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.safetensors: no checkpoint to go on from"):
        fit(_trainer(windows), tmp_path / "gone.safetensors", resume=True)
    broken = tmp_path / "broken.safetensors"
    fit(_trainer(windows), broken, should_stop=_stop_after(1))
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"broken\.safetensors: not a whole \.safetensors file"):
        fit(_trainer(windows), broken, resume=True)


def test_resuming_needs_the_name_of_a_checkpoint(windows: Windows) -> None:
    with pytest.raises(ConfigError, match=r"resume needs the checkpoint file to go on from\. Give its path"):
        fit(_trainer(windows), resume=True)


# Limits and results


def test_max_steps_ends_a_run_within_an_epoch(windows: Windows) -> None:
    result = fit(_trainer(windows, replace(CONFIG, max_steps=13)))
    assert (result.steps, result.ended_by) == (13, "max_steps")
    assert [(epoch.number, epoch.steps) for epoch in result.epochs] == [(1, 10), (2, 3)]


def test_max_steps_ends_a_run_at_the_end_of_an_epoch(windows: Windows) -> None:
    result = fit(_trainer(windows, replace(CONFIG, max_steps=20)))
    assert (result.steps, result.ended_by) == (20, "max_steps")
    assert [(epoch.number, epoch.steps) for epoch in result.epochs] == [(1, 10), (2, 10)]


def test_max_steps_beyond_the_epochs_changes_nothing(windows: Windows) -> None:
    result = fit(_trainer(windows, replace(CONFIG, max_steps=1000)))
    assert (result.steps, result.ended_by) == (30, "epochs")


def test_a_limited_run_is_the_beginning_of_an_unlimited_one(windows: Windows) -> None:
    limited = fit(_trainer(windows, replace(CONFIG, max_steps=20)))
    assert _history(limited) == _history(fit(_trainer(windows)))[:2]


def test_max_seconds_ends_a_run_after_the_step_that_spends_them(windows: Windows) -> None:
    result = fit(_trainer(windows, replace(CONFIG, max_seconds=1e-9)))
    assert (result.steps, result.ended_by) == (1, "max_seconds")


def test_being_stopped_ends_a_run_after_the_step(windows: Windows) -> None:
    result = fit(_trainer(windows), should_stop=_stop_after(4))
    assert (result.steps, result.ended_by) == (4, "stopped")
    assert [(epoch.number, epoch.steps) for epoch in result.epochs] == [(1, 4)]


def test_a_result_adds_up(windows: Windows) -> None:
    trainer = _trainer(windows)
    result = fit(trainer)
    assert result.ended_by == "epochs"
    assert [(epoch.number, epoch.steps) for epoch in result.epochs] == [(1, 10), (2, 10), (3, 10)]
    assert all(epoch.seconds > 0 for epoch in result.epochs)
    assert result.seconds == pytest.approx(sum(epoch.seconds for epoch in result.epochs))
    assert result.windows_per_s == pytest.approx(30 * 64 / result.seconds)
    assert not trainer.model.training


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps(windows: Windows) -> None:
    trainer = _trainer(windows, replace(CONFIG, epochs=2))
    losses: list[float] = []
    take_step = trainer.train_step

    def train_step(start: torch.Tensor, step: int) -> torch.Tensor:
        losses.append(float(loss := take_step(start, step)))
        return loss

    trainer.train_step = train_step
    result = fit(trainer)
    assert [epoch.loss for epoch in result.epochs] == pytest.approx([np.mean(losses[:10]), np.mean(losses[10:])], rel=1e-5)


def test_training_time_of_earlier_sessions_counts(windows: Windows, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    first = fit(_trainer(windows), checkpoint, should_stop=_stop_after(14))
    result = fit(_trainer(windows, replace(CONFIG, max_steps=15)), checkpoint, resume=True)
    assert result.epochs[0] == first.epochs[0]
    assert result.seconds > first.seconds


def test_a_batch_larger_than_the_training_windows_is_refused(windows: Windows) -> None:
    count = len(windows.train_start)
    assert _trainer(windows, replace(CONFIG, batch_size=count)).steps_per_epoch == 1
    with pytest.raises(
        ConfigError,
        match=f"batch_size is {count + 1}, but there are {count} training windows.* of at most {count}, or",
    ):
        _trainer(windows, replace(CONFIG, batch_size=count + 1))


def _spoil(checkpoint: Path, facts: Callable[[dict[str, Any]], Any], tensors: Callable[[dict[str, Any]], Any]) -> None:
    """Change what a checkpoint holds."""
    told, held = read_safetensors(checkpoint)
    facts(told), tensors(held)
    save_file(held, checkpoint, metadata={METADATA_KEY: json.dumps(told)})


@pytest.mark.parametrize(
    ("facts", "tensors", "why"),
    [
        (lambda facts: facts.pop("step"), len, "'step' is missing"),
        (lambda facts: facts.update(epochs=3), len, "not iterable"),
        (len, lambda tensors: tensors.pop("rng.cpu"), "'rng.cpu' is missing"),
        (len, lambda tensors: tensors.pop("model.rnn.weight_hh_l0"), "Missing key"),
    ],
)
def test_a_checkpoint_that_lacks_something_is_refused(
    facts: Any, tensors: Any, why: str, windows: Windows, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(1))
    _spoil(checkpoint, facts, tensors)
    wording = r"run\.checkpoint\.safetensors: not a checkpoint of this version"
    with pytest.raises(ModelFileError, match=wording) as caught:
        fit(_trainer(windows), checkpoint, resume=True)
    assert why in str(caught.value)
    assert str(caught.value).endswith("Leave out --resume to start anew.")


def test_a_checkpoint_of_before_there_was_a_setting_is_one_of_its_default(windows: Windows, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(1))
    _spoil(checkpoint, lambda facts: (facts[CHECKPOINT_KEY]["train"].pop("precision"), facts.pop("scaler")), len)
    assert fit(_trainer(windows), checkpoint, resume=True, should_stop=_stop_after(1)).steps == 2
    _spoil(checkpoint, lambda facts: facts[CHECKPOINT_KEY]["train"].pop("loss"), len)
    with pytest.raises(ModelFileError, match="was written with loss 'mse', but 'smooth_l1' is asked for"):
        fit(_trainer(windows, replace(CONFIG, loss="smooth_l1")), checkpoint, resume=True)


def test_a_checkpoint_is_not_taken_for_a_model(windows: Windows, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(1))
    with pytest.raises(ModelFileError, match=r"the checkpoint of a training, not a model.*--resume"):
        load_forecaster(checkpoint)


def test_other_data_are_named_before_what_is_chosen_by_them(windows: Windows, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows), checkpoint, should_stop=_stop_after(1))
    other = _trainer(replace(windows, dataset_digest="another"), replace(CONFIG, batch_size=2))
    with pytest.raises(
        ModelFileError, match=r"was written with digest .* but 'another' is asked for\. These are other data"
    ):
        fit(other, checkpoint, resume=True)


def test_a_training_that_diverges_is_refused_and_keeps_its_last_good_checkpoint(windows: Windows, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    trainer = _trainer(windows)
    fit(trainer, checkpoint, should_stop=_stop_after(2))
    before = checkpoint.read_bytes()
    diverging = _trainer(windows)

    def spoil(progress: Progress) -> None:
        if progress.step == 4:
            diverging.model.head.bias.data.fill_(math.nan)

    wording = (
        r"the training diverged: after step \d+ its weights are not finite, with learning_rate .* Give a lower learning"
    )
    with pytest.raises(ConfigError, match=wording):
        fit(diverging, checkpoint, resume=True, on_step=spoil)
    assert checkpoint.read_bytes() == before


def test_a_loss_that_overflows_is_refused(windows: Windows) -> None:
    huge = replace(windows, target=np.full_like(windows.target, 1e30))
    with pytest.raises(ConfigError, match="the training diverged: after step 2 its loss is not finite"):
        fit(_trainer(huge, replace(CONFIG, max_steps=2)))


@pytest.mark.parametrize("name", ["learning_rate", "clip_norm", "max_seconds"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_setting_that_is_no_finite_number_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}; give a number above 0"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("batch_size", 0, "batch_size is 0; give a number above 0"),
        ("epochs", -1, "epochs is -1; give a number above 0"),
        ("learning_rate", 0.0, r"learning_rate is 0\.0; give a number above 0"),
        ("clip_norm", 0, "clip_norm is 0; give a number above 0"),
        ("max_steps", 0, "max_steps is 0; give a number above 0"),
        ("max_seconds", -2.5, r"max_seconds is -2\.5; give a number above 0"),
        ("schedule", "step", "schedule is 'step'; allowed: constant, one_cycle"),
        ("loss", "mae", "loss is 'mae'; allowed: mse, smooth_l1"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named_with_its_value_and_what_is_allowed(
    setting: str, value: Any, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        TrainConfig(**{setting: value})


# What is told on the way


def _progress_of(trainer: Trainer, checkpoint: Path | None = None, resume: bool = False) -> list[Progress]:
    told: list[Progress] = []
    fit(trainer, checkpoint, resume, on_step=told.append)
    return told


def test_progress_counts_steps_and_epochs_to_the_end(windows: Windows) -> None:
    told = _progress_of(_trainer(windows))
    assert [progress.step for progress in told] == list(range(1, 31))
    assert [progress.epoch for progress in told] == [1] * 10 + [2] * 10 + [3] * 10
    assert {progress.total_steps for progress in told} == {30}
    assert all(progress.windows_per_s > 0 for progress in told)
    assert all(progress.seconds_left > 0 for progress in told[:-1])
    assert told[-1].seconds_left == 0
    assert all(math.isfinite(progress.seconds_left) for progress in told)


def test_progress_knows_the_limits(windows: Windows) -> None:
    told = _progress_of(_trainer(windows, replace(CONFIG, max_steps=12, max_seconds=1e3)))
    assert {progress.total_steps for progress in told} == {12}
    assert all(0 <= progress.seconds_left <= 1e3 for progress in told)


@pytest.mark.parametrize("config", [CONFIG, ONE_CYCLE], ids=["constant", "one cycle"])
def test_progress_of_a_resumed_run_goes_on_from_its_step_and_never_passes_the_total(
    config: TrainConfig, windows: Windows, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows, replace(config, max_steps=12)), checkpoint)
    told = _progress_of(_trainer(windows, config), checkpoint, resume=True)
    assert [progress.step for progress in told] == list(range(13, 31))
    assert told[0].epoch == 2
    assert all(progress.step <= progress.total_steps for progress in told)


def test_a_log_line_comes_every_so_many_steps_and_at_the_end_of_an_epoch(
    windows: Windows, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "LOG_EVERY_STEPS", 4)
    with caplog.at_level(logging.INFO, logger="rnncore.training"):
        fit(_trainer(windows, replace(CONFIG, epochs=2)))
    texts = [record.getMessage() for record in caplog.records if record.name == "rnncore.training"]
    assert [text.split(":")[0] for text in texts] == [
        "epoch 1/2, step 4/10",
        "epoch 1/2, step 8/10",
        "epoch 1/2",
        "epoch 2/2, step 4/10",
        "epoch 2/2, step 8/10",
        "epoch 2/2",
    ]
    assert all("mean loss 0." in text for text in texts)
    assert all("windows/s" in text and "s left" in text for text in texts if "step" in text)


def test_nothing_is_logged_below_the_interval_but_the_epochs(windows: Windows, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="rnncore.training"):
        fit(_trainer(windows, replace(CONFIG, epochs=1)))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["epoch 1/1"]


def test_a_watch_scores_at_its_steps_and_changes_nothing(windows: Windows) -> None:
    def trained(watch: Watch | None) -> tuple[Forecaster, TrainResult]:
        trainer = _trainer(windows, replace(CONFIG, batch_size=16, epochs=1, max_steps=7))
        return trainer.model, fit(trainer, watch=watch)

    seen: list[bool] = []

    def score(model: Forecaster) -> float:
        seen.append(model.training)
        return float(len(seen))

    plain, _ = trained(None)
    watched, result = trained(Watch(score, frozenset({2, 7, 100})))
    assert [(point.step, point.score) for point in result.curve] == [(2, 1.0), (7, 2.0)]
    assert seen == [False, False]
    assert all(torch.equal(one, other) for one, other in zip(plain.parameters(), watched.parameters(), strict=True))
    losses = [point.loss for point in result.curve]
    # Means of the first two and of the last five steps.
    assert (2 * losses[0] + 5 * losses[1]) / 7 == pytest.approx(result.epochs[0].loss, rel=1e-5)
    assert 0 < result.curve[0].seconds < result.curve[1].seconds <= result.seconds


def test_scoring_on_the_way_is_no_training_time(windows: Windows) -> None:
    def slow(model: Forecaster) -> float:
        time.sleep(0.5)
        return 0.0

    began_s = time.perf_counter()
    result = fit(
        _trainer(windows, replace(CONFIG, batch_size=16, epochs=1, max_steps=2)), watch=Watch(slow, frozenset({1, 2}))
    )
    assert time.perf_counter() - began_s - result.seconds > 0.99


# Windows of several targets


@pytest.fixture(scope="module")
def gaps(make_series: Callable[..., Series]) -> Windows:
    """Windows of two zones, with gaps in one."""
    a, b = make_series("A", hours=700), make_series("B", hours=500)
    kept = np.delete(np.arange(700), [200, 201, 430])
    broken = replace(a, time=a.time[kept], load_mw=a.load_mw[kept])
    return make_windows(Dataset("gaps", (broken, b)), WindowConfig(lookback=LOOKBACK, drop_gaps=True))


@pytest.mark.parametrize("targets", [1, 2, 24])
def test_windows_of_several_targets_hold_targets_of_training_windows_each_once(targets: int, gaps: Windows) -> None:
    trainer = _trainer(gaps, replace(CONFIG, batch_size=2, targets_per_window=targets))
    allowed = set(gaps.train_start.tolist())
    seen = []
    for epoch in range(6):
        start = trainer.epoch_order(epoch).tolist()
        assert trainer.steps_per_epoch <= len(start) // 2
        hours = [place + target for place in start for target in range(targets)]
        assert len(set(hours)) == len(hours)
        assert set(hours) <= allowed
        # Beside the ends of the four runs of consecutive windows, nothing is left out.
        assert len(hours) >= len(allowed) - 4 * 2 * (targets - 1)
        seen.append(frozenset(start))
    assert (len(set(seen)) > 1) == (targets > 1)


@pytest.mark.parametrize("implementation", ["aten", "fused"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_step_on_several_targets_is_that_of_states_run_on_by_hand(
    cell: Cell, implementation: Implementation, gaps: Windows
) -> None:
    targets = 5
    forecaster = ForecasterConfig(cell=cell, hidden_size=8, num_layers=2, dropout=0.0)
    config = replace(CONFIG, batch_size=3, targets_per_window=targets, implementation=implementation)
    trainer = _trainer(gaps, config, forecaster)
    model = new_forecaster(forecaster, 1).double()
    start = trainer.epoch_order(0)[:3]
    losses = []
    for row in start.tolist():
        for target in range(targets):
            inputs = torch.from_numpy(gaps.features[row : row + LOOKBACK + target]).double().unsqueeze(0)
            losses.append((model(inputs)[0, 0] - float(gaps.target[row + LOOKBACK + target, 0])) ** 2)
    expected = torch.stack(losses).mean()
    expected.backward()
    assert float(trainer.train_step(start, 0)) == pytest.approx(float(expected.detach()), rel=1e-5)
    for timed, exact in zip(trainer.model.parameters(), model.parameters(), strict=True):
        assert timed.grad is not None
        assert exact.grad is not None
        assert (timed.grad - exact.grad).abs().max() <= 1e-5 * exact.grad.abs().max()


def test_a_training_on_several_leads_learns_each(make_series: Callable[..., Series]) -> None:
    windows = make_windows(
        Dataset("one", (make_series("A", hours=900),)), WindowConfig(features="linear", lookback=LOOKBACK, horizon=3)
    )
    forecaster = ForecasterConfig(input_size=14, hidden_size=8, num_layers=1, dropout=0.0, horizon=3)
    trainer = _trainer(windows, replace(CONFIG, batch_size=16, targets_per_window=2), forecaster)
    start = trainer.epoch_order(0)[:16]
    assert trainer.resident.targets(start).shape == (16, 6)
    row = int(start[0]) + LOOKBACK
    expected = [windows.target[row + hour, lead] for hour in range(2) for lead in range(3)]
    np.testing.assert_array_equal(trainer.resident.targets(start)[0].numpy(), expected)
    first = float(trainer.train_step(start, 0))
    for step in range(1, 60):
        last = float(trainer.train_step(start, step))
    assert last < 0.8 * first


@pytest.mark.parametrize("implementation", ["aten", "fused"])
def test_equal_seeds_give_equal_bits(implementation: Implementation, gaps: Windows) -> None:
    config = replace(CONFIG, batch_size=4, targets_per_window=12, epochs=2, implementation=implementation)
    one, other = (_trainer(gaps, config) for _ in range(2))
    fit(one), fit(other)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["fast", "best"])
@pytest.mark.parametrize("horizon", [1, 24])
@pytest.mark.parametrize("more_rows", [0, 1, 20, 150, 300])
def test_a_series_of_as_many_rows_as_are_asked_for_can_be_trained_on(
    name: str, horizon: int, more_rows: int, make_series: Callable[..., Series]
) -> None:
    recipe = preset(name, "gru", ["A"], horizon)
    with pytest.raises(DataError, match="at least") as caught:
        make_windows(Dataset("short", (make_series("A", hours=300),)), recipe.windows)
    needed = int(re.search(r"at least (\d+) rows are needed", str(caught.value))[1])
    windows = make_windows(Dataset("short", (make_series("A", hours=needed + more_rows),)), recipe.windows)
    config = recipe.training_on(windows)
    trainer = Trainer(new_forecaster(recipe.forecaster, 0), windows, config, CPU)
    assert trainer.total_steps >= 300
    assert fit(Trainer(trainer.model, windows, replace(config, max_steps=1), CPU)).steps == 1


def test_a_series_that_gives_whole_windows_of_targets_is_trained_on_as_the_recipe_says(
    make_series: Callable[..., Series],
) -> None:
    recipe = preset("fast", "gru", ["A"])
    windows = make_windows(Dataset("long", (make_series("A", hours=1000),)), recipe.windows)
    assert recipe.training_on(windows).targets_per_window == recipe.train.targets_per_window == 168


def test_what_is_chosen_takes_the_place_of_the_recipe_and_none_leaves_it(make_series: Callable[..., Series]) -> None:
    recipe = preset("fast", "gru", ["A"])
    windows = recipe.windows_of(Dataset("long", (make_series("A", hours=1000),)), "article", False, 30)
    assert windows.config == replace(recipe.windows, lookback=30)
    config = recipe.training_on(windows)
    assert recipe.training_on(windows, epochs=None, batch_size=None) == config
    assert recipe.training_on(windows, epochs=3, learning_rate=None) == replace(config, epochs=3)


def test_too_few_windows_of_several_targets_are_told(gaps: Windows) -> None:
    with pytest.raises(ConfigError, match=r"batch_size is 64, but there are \d+ training windows of 100 targets\. Give"):
        _trainer(gaps, replace(CONFIG, targets_per_window=100))


def test_fused_layers_are_taken_where_they_are_there(windows: Windows, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer_module.fused_kernels()  # else skipped, with what is missing
    trainer = _trainer(windows)
    assert (trainer.implementation, trainer.trained_by) == ("fused", trainer_module.fused_kernels().name)
    trainer = _trainer(windows, replace(CONFIG, implementation="aten"))
    assert (trainer.implementation, trainer.trained_by) == ("aten", "torch")

    def missing() -> None:
        raise Unavailable("no fused kernels: made for a test.")

    monkeypatch.setattr(trainer_module, "fused_kernels", missing)
    trainer = _trainer(windows)
    assert trainer.implementation == "aten"
    assert fit(trainer).trained_by == trainer.trained_by == "torch, because: no fused kernels: made for a test."
    with pytest.raises(Unavailable, match="made for a test"):
        _trainer(windows, replace(CONFIG, implementation="fused"))


def test_training_in_bf16_is_near_that_in_fp32_and_only_where_it_is_asked_for(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels, in_bf16 = trainer_module.fused_kernels(), replace(CONFIG, implementation="fused_bf16", max_steps=3)
    if kernels.has_bf16:
        trainer, fp32 = _trainer(windows, in_bf16), _trainer(windows, replace(CONFIG, max_steps=3))
        assert (trainer.implementation, fp32.implementation) == ("fused_bf16", "fused")
        assert trainer.trained_by == f"{fp32.trained_by}, products in bf16"
        losses = [fit(each).epochs[-1].loss for each in (trainer, fp32)]
        assert losses[0] == pytest.approx(losses[1], rel=0.02)
        assert losses[0] != losses[1]
    monkeypatch.setattr(kernels, "has_bf16", False)
    with pytest.raises(
        Unavailable, match=r"no instructions for bf16 \(AVX512-BF16\)\. Train with the implementation 'fused'"
    ):
        _trainer(windows, in_bf16)


def test_a_checkpoint_of_another_implementation_is_refused(windows: Windows, tmp_path: Path) -> None:
    trainer_module.fused_kernels()  # else skipped, with what is missing
    checkpoint = tmp_path / "run.checkpoint.safetensors"
    fit(_trainer(windows, replace(CONFIG, max_steps=2)), checkpoint)
    with pytest.raises(ModelFileError, match="was written with implementation 'fused', but 'aten' is asked for"):
        fit(_trainer(windows, replace(CONFIG, implementation="aten")), checkpoint, resume=True)
