"""A forecaster that is not ours, by the name of what makes it."""

import importlib
import sys
from pathlib import Path

from torch import nn

from rnncore.errors import ConfigError

_HOW = "Give module and factory, such as my_package.my_module:make_forecaster."


def load_own_model(name: str, folder: Path) -> nn.Module:
    """Make the forecaster that a name gives.

    Args:
        name: `module:factory`; the factory takes no arguments and returns a torch module from (B, T, F) to (B, L).
        folder: Searched for the module too, before all that is installed.

    Returns:
        The module on the CPU, in evaluation mode.

    Raises:
        ConfigError: If there is no such module or factory, or it makes something else.
    """
    module_name, _, factory_name = name.partition(":")
    if not module_name or not factory_name:
        raise ConfigError(f"{name!r} names no factory. {_HOW}")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        factory = getattr(importlib.import_module(module_name), factory_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{name!r} cannot be imported: {error}. {_HOW}") from error
    made = factory()
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{name} made a {type(made).__name__}; it must make a torch.nn.Module.")
    return made.cpu().eval()
