"""The axes of one measurement, and the one place that makes its label."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from rnncore.errors import ConfigError
from rnncore.runfile.recipes import recipe_mark, size_marks

Axis = str | int | None
Phase = Literal["train", "infer", "data", "accuracy", "interleaved", "interleaved training", "stream", "serve", "scaling"]
Clock = Literal["device", "host", "pinned"]

# What the precisions of mixed training begin with: the rest is that of their products.
AUTOCAST = "amp_"


@dataclass(frozen=True)
class Case:
    """What is measured. None where an axis has no meaning.

    Attributes:
        phase: `train` one optimiser step, `infer` one forward pass, `data` the way from files to windows, `accuracy` the
            scoring of a trained model, `interleaved` a forward pass interleaved with other runtimes,
            `interleaved training` an optimiser step interleaved with other implementations, `stream` one new hour with the
            state carried, `serve` queries that arrive by chance, `scaling` an optimiser step by several processes.
        cell: `gru` or `lstm`; `own` for a model that is not ours.
        hidden_size: Units per layer, H.
        num_layers: Layers, L.
        lookback: Hours in a window, T.
        batch_size: Windows per call, B.
        device: `cpu`, or what torch calls another, with its number where it is not the first: `cuda`, `cuda:1`, `mps`.
        runtime: Who runs the model, or the data path.
        mode: How: `compile`, `flush`, `graph`; None for the runtime's usual way.
        precision: What it computes in; `amp_bf16` and `amp_fp16` are trainings whose layers and products are in that type,
            and whose weights are in fp32.
        threads: CPU threads; None for all that the process may use.
        recipe: Which model it is: a preset, or `own`. Speed and accuracy belong together where this agrees too.
        clock: What a GPU's times include: `device`, nothing but the work; `host`, also the copies of input and output, from
            and to memory as programs have it, which a user pays; `pinned`, the same from and to page-locked memory. None
            where there are none to speak of.
        devices: How many take a step together, one process on each; of CPUs, one process with its threads. None where one
            process does all.

    Raises:
        ConfigError: If an axis is none of that.
    """

    phase: Phase
    cell: str | None = None
    hidden_size: int | None = None
    num_layers: int | None = None
    lookback: int | None = None
    batch_size: int | None = None
    device: str = "cpu"
    runtime: str = "torch"
    mode: str | None = None
    precision: str | None = "fp32"
    threads: int | None = None
    recipe: str | None = None
    clock: Clock | None = None
    devices: int | None = None

    def __post_init__(self) -> None:
        for axis in AXES:
            if allowed := _fault(axis, getattr(self, axis)):
                raise ConfigError(f"a Case has the {axis} {getattr(self, axis)!r}; give {allowed}.")

    @property
    def axes(self) -> dict[str, Axis]:
        """Return the axes by name, as pytest parameters and `extra_info` carry them."""
        return asdict(self)

    @property
    def products(self) -> str | None:
        """Return what factors of products are rounded to: under autocast another precision than weights are kept in."""
        return products_of(self.precision)

    @property
    def label(self) -> str:
        """Return a name that is short, and the same on every machine.

        It leaves out what is usual: the article's recipe, a recipe's own sizes, all threads that the process may use, a
        GPU's time without copies, and that one process does all.
        """
        parts = [self.cell, self.runtime, self.mode, self.device, self.precision]
        parts += [f"b{self.batch_size}"] if self.batch_size else []
        parts += [*recipe_mark(self.axes), *size_marks(self.axes)]
        parts += [f"{self.threads}threads"] if self.threads else []
        parts += [self.clock] if self.clock in ("host", "pinned") else []
        parts += [f"{self.devices}devices"] if self.devices else []
        return "-".join(part for part in parts if part)


def products_of(precision: str | None) -> str | None:
    """Return what factors of products are rounded to in a precision; None where there is none."""
    return precision and precision.removeprefix(AUTOCAST)


AXES = tuple(field.name for field in fields(Case))

_CHOICES = {"phase": get_args(Phase), "clock": (*get_args(Clock), None)}
_SIZES = ("hidden_size", "num_layers", "lookback", "batch_size", "threads", "devices")
_ALWAYS = ("device", "runtime")


def _fault(axis: str, value: Any) -> str | None:
    """Return what an axis may be where it is none of that; None where it is right."""
    if axis in _CHOICES:
        choices = _CHOICES[axis]
        return None if value in choices else f"one of {', '.join(map(str, choices))}"
    if value is None and axis not in _ALWAYS:
        return None
    if axis in _SIZES:
        is_size = isinstance(value, int) and not isinstance(value, bool) and value > 0
        return None if is_size else "a whole number above 0, or None"
    return None if isinstance(value, str) and value else f"a text{'' if axis in _ALWAYS else ', or None'}"
