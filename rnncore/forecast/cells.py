"""The kinds of recurrent cell, one row each.

A new one is added here; where it is to run faster than torch's, it also needs a kernel in `rnncore/kernels/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Cell = Literal["gru", "lstm"]


@dataclass(frozen=True)
class CellKind:
    """What the project must know of a cell.

    Attributes:
        operator: Class of `torch.nn`, and operator of ONNX.
        gates: Gates, G: a weight matrix has G H rows.
        states: Values of H that go on from hour to hour.
        required: Attributes that a node of the ONNX operator must have, and what another value means.
        moved_forward: Values of H per window, hour and layer that a forward pass cannot avoid to move: the gates' input
            products written and read, 2 G, and the states.
        kept: Values that training keeps for the way back.
        moved_back_first: Values that the way back moves in the first layer, whose inputs need no gradient: the gradients of
            states and gates, beside what was kept.
        moved_back_next: The same in a layer above it.
        exported: Whether torch's ONNX exporter writes a layer of it as one node; else what reads ONNX cannot run it.
    """

    operator: str
    gates: int
    states: int
    moved_forward: int
    kept: int
    moved_back_first: int
    moved_back_next: int
    required: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    exported: bool = True


CELLS: dict[Cell, CellKind] = {
    "gru": CellKind(
        operator="GRU",
        gates=3,
        states=1,
        # The gates, and the recurrent product that the reset gate scales.
        moved_forward=7,
        kept=4,
        moved_back_first=17,
        moved_back_next=20,
        required={"linear_before_reset": (1, "the other GRU variant, with silently wrong results")},
    ),
    "lstm": CellKind(operator="LSTM", gates=4, states=2, moved_forward=10, kept=4, moved_back_first=20, moved_back_next=24),
}
