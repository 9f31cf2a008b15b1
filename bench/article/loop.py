"""The article's training loop, written from its description: what our training is compared with in the same run.

All windows lie in float64 arrays; a DataLoader shuffles and stacks them, window by window; each batch becomes float32 on
its way to the device; the hidden state is carried from batch to batch, without its gradient; the loss is read every step.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rnncore.forecast.cells import CELLS
from rnncore.forecast.model import Forecaster
from rnncore.forecast.windows import RowArray, Windows

State = Tensor | tuple[Tensor, Tensor]


class ReferenceLoop:
    """The loop, a step at a time.

    Args:
        model: The article's forecaster; moved to *device* and trained in place.
        windows: The windows; those of *start* are copied, as the article copies all.
        start: First rows of the windows to train on.
        batch_size: Windows per step.
        learning_rate: Adam's.
        device: Where to train.
    """

    def __init__(
        self,
        model: Forecaster,
        windows: Windows,
        start: RowArray,
        batch_size: int,
        learning_rate: float,
        device: torch.device,
    ) -> None:
        inputs = torch.from_numpy(windows.inputs(start)).double()
        targets = torch.from_numpy(windows.target[windows.target_rows(start)]).double()
        self.model = model.to(device).train()
        self.loss: Callable[[Tensor, Tensor], Tensor] = nn.MSELoss()
        self._loader = DataLoader(TensorDataset(inputs, targets), batch_size, shuffle=True, drop_last=True)
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=learning_rate)
        self._device = device
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())
        self._state = self._zeros(batch_size)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the next batch's windows and targets, in float64; after the last a new epoch begins."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self._loader)
            batch = next(self._batches)
        return batch

    def step(self) -> float:
        """Take one step on the next batch; return its loss."""
        return self.step_on(*self.next_batch())

    def step_on(self, inputs: Tensor, targets: Tensor) -> float:
        """Take one step.

        Args:
            inputs: Shape (B, T, F), float64.
            targets: Shape (B, 1), float64.
        """
        before = tuple(one.detach() for one in self._state) if isinstance(self._state, tuple) else self._state.detach()
        self.model.zero_grad()
        states, self._state = self.model.rnn(inputs.to(self._device).float(), before)
        loss = self.loss(self.model.read_out(states[:, -1]), targets.to(self._device).float())
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return loss.item()

    def _zeros(self, batch_size: int) -> State:
        config = self.model.config
        zeros = torch.zeros(config.num_layers, batch_size, config.hidden_size, device=self._device)
        return zeros if CELLS[config.cell].states == 1 else (zeros, zeros.clone())
