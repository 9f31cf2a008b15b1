"""Tests of what our training is held against: the article's loop, and other libraries' trainings a step at a time."""

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bench import bench_peers
from bench.article.loop import ReferenceLoop
from bench.bench_peers import SteppedTraining
from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.model import ForecasterConfig, new_forecaster
from rnncore.forecast.series import Dataset
from rnncore.forecast.windows import Windows

CPU = torch.device("cpu")
BATCH = 16


def _loop(windows: Windows, cell: Cell) -> ReferenceLoop:
    config = ForecasterConfig(cell=cell, hidden_size=6, num_layers=2, dropout=0.0)
    return ReferenceLoop(new_forecaster(config, 1), windows, windows.train_start[:80], BATCH, 1e-2, CPU)


@pytest.mark.parametrize("cell", CELLS)
def test_each_step_starts_from_the_state_that_the_one_before_left_without_its_gradient(cell: Cell, windows: Windows) -> None:
    loop = _loop(windows, cell)
    twin = new_forecaster(loop.model.config, 1)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-2)
    state: Any = None
    for _ in range(3):
        inputs, targets = loop.next_batch()
        states, left = twin.rnn(inputs.float(), state)
        loss = ((twin.read_out(states[:, -1]) - targets.float()) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        state = left.detach() if cell == "gru" else tuple(one.detach() for one in left)
        assert loop.step_on(inputs, targets) == pytest.approx(float(loss.detach()), rel=1e-6)
    for one, other in zip(loop.model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_an_epoch_holds_each_window_once_in_float64_and_another_order_follows(windows: Windows) -> None:
    loop = _loop(windows, "gru")
    expected = sorted(windows.target[windows.target_rows(windows.train_start[:80])][:, 0].astype(np.float64).tolist())
    orders = []
    for _ in range(2):
        batches = [loop.next_batch() for _ in range(80 // BATCH)]
        assert all(inputs.dtype == targets.dtype == torch.float64 for inputs, targets in batches)
        assert all(tuple(targets.shape) == (BATCH, 1) for _, targets in batches)
        orders.append(torch.cat([targets for _, targets in batches])[:, 0].tolist())
        assert sorted(orders[-1]) == expected
    assert orders[0] != orders[1]


# Other libraries


@pytest.fixture
def without_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_peers, "_callback", lambda training: training.after_step)


def test_a_training_takes_one_step_when_asked_and_ends_when_closed(without_lightning: None) -> None:
    steps: list[int] = []

    def fit(after_step: Any) -> None:
        trainer = SimpleNamespace(should_stop=False)
        for step in itertools.count():
            steps.append(step)
            after_step(trainer, "the model")
            if trainer.should_stop:
                return

    training = SteppedTraining(fit)
    assert steps == [0]
    training.step()
    training.step()
    assert steps == [0, 1, 2]
    assert training.model == "the model"
    training.close()
    assert steps == [0, 1, 2]
    assert not training._thread.is_alive()


@pytest.mark.parametrize("good_steps", [0, 2])
def test_what_a_library_raises_is_raised_where_the_step_was_asked_for(good_steps: int, without_lightning: None) -> None:
    def fit(after_step: Any) -> None:
        for _ in range(good_steps):
            after_step(SimpleNamespace(), None)
        raise ValueError("made for a test")

    if good_steps == 0:
        with pytest.raises(ValueError, match="made for a test"):
            SteppedTraining(fit)
        return
    training = SteppedTraining(fit)
    training.step()
    with pytest.raises(ValueError, match="made for a test"):
        training.step()


def test_gaps_and_repeated_hours_are_filled_for_libraries_that_demand_it(small_dataset: Dataset) -> None:
    series = small_dataset.series[0]
    rows = np.array([*range(50), 49, *range(60, 400)])
    broken = replace(series, time=series.time[rows], load_mw=series.load_mw[rows])
    (frame,) = bench_peers.hourly_frames(Dataset("one", (broken,)))
    assert len(frame) == 400
    assert (frame["ds"].diff().dropna() == np.timedelta64(1, "h")).all()
    scaled = frame["y"].to_numpy()
    np.testing.assert_allclose(np.diff(scaled[50:59]), np.diff(scaled[50:59])[0], rtol=1e-3)
    assert set(bench_peers.CALENDAR) <= set(frame.columns)


def test_libraries_train_before_the_tested_hours_and_are_scaled_by_them_alone(small_dataset: Dataset) -> None:
    first_tested = [frame.attrs["tested"] for frame in bench_peers.hourly_frames(small_dataset)]
    known = bench_peers._training_frames(small_dataset)
    for frame, tested in zip(known, first_tested, strict=True):
        assert frame["ds"].max() == tested - np.timedelta64(1, "h")
        assert float(frame["y"].mean()) == pytest.approx(0, abs=1e-6)
        assert float(frame["y"].std(ddof=0)) == pytest.approx(1, rel=1e-6)
    changed = [
        replace(series, load_mw=np.where(series.time < tested, series.load_mw, 9e9))
        for series, tested in zip(small_dataset.series, first_tested, strict=True)
    ]
    for frame, same in zip(known, bench_peers._training_frames(Dataset("changed", tuple(changed))), strict=True):
        assert frame.equals(same)
