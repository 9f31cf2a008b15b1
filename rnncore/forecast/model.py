"""The forecaster: a GRU or LSTM over one window and a linear head on its last step."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnncore.errors import ConfigError, ModelFileError
from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.modelfile import (
    CHECKPOINT_KEY,
    read_safetensors,
    require_finite_weights,
    write_safetensors,
)
from rnncore.forecast.windows import WindowConfig


@dataclass(frozen=True)
class ForecasterConfig:
    """Size and kind of a forecaster; the defaults are the article's.

    Attributes:
        cell: `gru` (reset after the matrix product, as cuDNN has it) or `lstm`.
        input_size: Features per hour, F.
        horizon: Hours that are forecast, leads, L.
        hidden_size: Units per layer, H.
        num_layers: Layers, L.
        dropout: Part of the units between layers that training drops.
        relu_head: Whether a ReLU comes before the linear head.
    """

    cell: Cell = "gru"
    input_size: int = 5
    hidden_size: int = 256
    num_layers: int = 2
    dropout: float = 0.2
    relu_head: bool = True
    horizon: int = 1

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ConfigError(f"cell is {self.cell!r}; allowed: {', '.join(CELLS)}.")
        for name in ("input_size", "hidden_size", "num_layers", "horizon"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a whole number of at least 1.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; give a number from 0 to below 1.")


class Forecaster(nn.Module):
    """Forecast the hours after a window, one or several.

    The hidden state starts from zeros in every window. (The article carries it from one shuffled batch to the next, where
    it belongs to other hours and other zones, and then tests from zeros.)

    Args:
        config: Size and kind.

    Source:
        GRU: Cho et al., arXiv 1406.1078, in the variant of cuDNN, which applies the reset gate after the matrix product.
        LSTM: Hochreiter and Schmidhuber (1997) with forget gate, as in `torch.nn.LSTM`.
    """

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.config = config
        self.rnn = getattr(nn, CELLS[config.cell].operator)(
            input_size=config.input_size,
            hidden_size=config.hidden_size,
            num_layers=config.num_layers,
            batch_first=True,
            dropout=config.dropout if config.num_layers > 1 else 0.0,
        )
        self.head = nn.Linear(config.hidden_size, config.horizon)

    def forward(self, inputs: Tensor) -> Tensor:
        """Forecast the hours after each window.

        Args:
            inputs: Windows. Shape (B, T, F), float32.

        Returns:
            Scaled forecasts. Shape (B, L).
        """
        states, _ = self.rnn(inputs)
        return self.read_out(states[:, -1])

    def read_out(self, states: Tensor) -> Tensor:
        """Forecast from states of the top layer.

        Args:
            states: Shape (..., H).

        Returns:
            Scaled forecasts. Shape (..., L).
        """
        if self.config.relu_head:
            states = torch.relu(states)
        output: Tensor = self.head(states)
        return output


def new_forecaster(config: ForecasterConfig, seed: int) -> Forecaster:
    """Make a forecaster whose initial weights depend on *seed* alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Forecaster(config)


def save_forecaster(
    path: Path, model: Forecaster, windows: WindowConfig, training: dict[str, Any], zones: dict[str, Any] | None = None
) -> None:
    """Write weights, configuration and a record of the training to one `.safetensors` file, whole or not at all.

    Args:
        path: The file.
        model: The forecaster, on any device.
        windows: How its windows are made.
        training: What should be remembered of the training; JSON values only.
        zones: What `zone_facts` returns for the zones that it was trained on.
    """
    facts = {"forecaster": asdict(model.config), "windows": asdict(windows), "training": training, "zones": zones or {}}
    write_safetensors(path, model.state_dict(), facts)


def load_forecaster(path: Path) -> tuple[Forecaster, WindowConfig]:
    """Read a forecaster and the configuration of its windows.

    Args:
        path: A file that `save_forecaster` wrote.

    Returns:
        The forecaster on the CPU, in evaluation mode, and its window configuration.

    Raises:
        ModelFileError: If the file is missing, is not such a file, or its weights do not fit or are not finite.
    """
    facts, tensors = read_safetensors(path)
    if CHECKPOINT_KEY in facts:
        raise ModelFileError(
            f"{path}: the checkpoint of a training, not a model. The model lies beside it once the training is done; to "
            "finish it, run the same 'rnncore train' with --resume."
        )
    try:
        model = Forecaster(ForecasterConfig(**facts["forecaster"]))
        windows = WindowConfig(**facts["windows"])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ConfigError, RuntimeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ModelFileError(f"{path}: not a forecaster of this version ({why}). Train it again.") from error
    require_finite_weights(path, {name: tensor.numpy() for name, tensor in tensors.items()})
    return model.eval(), windows
