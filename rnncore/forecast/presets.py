"""Two recipes: the article's, to the letter, and our best."""

from dataclasses import dataclass

from rnncore.errors import ConfigError
from rnncore.forecast.model import Cell, ForecasterConfig
from rnncore.forecast.training import TrainConfig
from rnncore.forecast.windows import WindowConfig


@dataclass(frozen=True)
class Preset:
    """Windows, model and training that belong together."""

    windows: WindowConfig
    forecaster: ForecasterConfig
    train: TrainConfig


def preset(name: str, cell: Cell) -> Preset:
    """Return a recipe for one cell.

    Args:
        name: `article`: 90 hours of five min-max features, two layers of 256, five epochs of batches of 1024.
            `fast`: 24 hours with the loads of a day and a week before, one layer of 64, learning what the daily change
            leaves over.
        cell: `gru` or `lstm`.

    Raises:
        ConfigError: If there is no such preset.
    """
    if name == "article":
        return Preset(WindowConfig(), ForecasterConfig(cell=cell), TrainConfig())
    if name == "fast":
        return Preset(
            WindowConfig(features="lagged", lookback=24, scale_on="train"),
            ForecasterConfig(cell=cell, input_size=12, hidden_size=64, num_layers=1, dropout=0.0, relu_head=False),
            TrainConfig(batch_size=512, epochs=2, learning_rate=5e-3, schedule="one_cycle", loss="smooth_l1", clip_norm=1.0),
        )
    raise ConfigError(f"preset is {name!r}; allowed: {', '.join(PRESETS)}.")


PRESETS = ("article", "fast")
