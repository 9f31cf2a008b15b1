"""Three recipes: the article's, to the letter, and two of ours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rnncore.errors import ConfigError
from rnncore.forecast.cells import Cell
from rnncore.forecast.features import NUM_FEATURES, NUM_SHARED
from rnncore.forecast.linear import DAY_H, WEEK_H
from rnncore.forecast.model import ForecasterConfig
from rnncore.forecast.series import Dataset
from rnncore.forecast.trainer import TrainConfig, training_windows
from rnncore.forecast.windows import WindowConfig, Windows, make_windows

# Fewer would leave a recipe without a schedule to speak of.
MIN_STEPS, MIN_STEPS_PER_EPOCH = 300, 8

# Units, and training, of the recipes that learn what the regressions leave over.
_TRAINING = TrainConfig(targets_per_window=WEEK_H, schedule="one_cycle", loss="smooth_l1", clip_norm=1.0)
_ON_REGRESSIONS = {
    "fast": (64, replace(_TRAINING, batch_size=32, epochs=8, learning_rate=1e-2)),
    "best": (128, replace(_TRAINING, batch_size=64, epochs=20, learning_rate=5e-3)),
}
PRESETS = ("article", *_ON_REGRESSIONS)


@dataclass(frozen=True)
class Preset:
    """Windows, model and training that belong together."""

    windows: WindowConfig
    forecaster: ForecasterConfig
    train: TrainConfig

    def windows_of(
        self, dataset: Dataset, split: Literal["article", "date"], drop_gaps: bool, lookback: int | None = None
    ) -> Windows:
        """Make the recipe's windows of a data set.

        Args:
            dataset: The series.
            split: As `WindowConfig.split`.
            drop_gaps: As `WindowConfig.drop_gaps`.
            lookback: Hours in a window, T; None for the recipe's.
        """
        hours = self.windows.lookback if lookback is None else lookback
        return make_windows(dataset, replace(self.windows, lookback=hours, split=split, drop_gaps=drop_gaps))

    def training_on(self, windows: Windows, **chosen: Any) -> TrainConfig:
        """Return how to train on some windows: short series get smaller batches and more passes, for enough steps.

        Where no stretch of hours is long enough for the targets of one window, windows have fewer.

        A recipe whose windows have one target each, as the article's, stays as it is.

        Args:
            windows: What is trained on.
            chosen: Fields of `TrainConfig` in place of the recipe's; None leaves the recipe's.
        """
        return replace(self._fitted_to(windows), **{name: value for name, value in chosen.items() if value is not None})

    def _fitted_to(self, windows: Windows) -> TrainConfig:
        if self.train.targets_per_window == 1:
            return self.train
        # The most that fit of those that the recipe asks for, as long as they leave enough windows.
        targets = self.train.targets_per_window
        if training_windows(windows, targets) == 0:
            fewer = range(targets - 1, 0, -1)
            targets = next((count for count in fewer if training_windows(windows, count) >= MIN_STEPS_PER_EPOCH), 1)
        count = training_windows(windows, targets)
        batch_size = min(self.train.batch_size, max(1, count // MIN_STEPS_PER_EPOCH))
        epochs = max(self.train.epochs, math.ceil(MIN_STEPS / (count // batch_size)))
        return replace(self.train, targets_per_window=targets, batch_size=batch_size, epochs=epochs)


def preset(name: str, cell: Cell, zones: Sequence[str] = (), horizon: int = 1) -> Preset:
    """Return a recipe for one cell.

    Args:
        name: `article`: 90 hours of five min-max features, two layers of 256, five epochs of batches of 1024.
            `fast`: one layer of 64 over 24 hours that sees the loads of a day and a week before, the calendar of the hour to
            forecast, the zone, and what the other zones' regressions missed, learning what 24 regressions leave over, from
            windows that run on over a week.
            `best`: the same with 128 units, trained longer and with smaller steps.
        cell: `gru` or `lstm`.
        zones: Names of the data set's zones; where they are several, the last two recipes tell them apart.
        horizon: Hours that are forecast, at most a day.

    Raises:
        ConfigError: If there is no such preset.
    """
    if name == "article":
        return Preset(WindowConfig(horizon=horizon), ForecasterConfig(cell=cell, horizon=horizon), TrainConfig())
    if name not in PRESETS:
        raise ConfigError(f"preset is {name!r}; allowed: {', '.join(PRESETS)}.")
    hidden_size, train = _ON_REGRESSIONS[name]
    # Of a single zone, a channel would be the same in every row.
    channels = tuple(zones) if len(zones) > 1 else ()
    return Preset(
        WindowConfig(features="linear", lookback=DAY_H, horizon=horizon, scale_on="train", zones=channels),
        ForecasterConfig(
            cell=cell,
            input_size=NUM_FEATURES["linear"] + (NUM_SHARED + len(channels) if channels else 0),
            hidden_size=hidden_size,
            num_layers=1,
            dropout=0.0,
            relu_head=False,
            horizon=horizon,
        ),
        train,
    )
