"""What the model of a row is called: its cell, its recipe, and the sizes in which it is not that recipe's own."""

from collections.abc import Mapping
from typing import Any

SIZES = ("hidden_size", "num_layers", "lookback")
_LETTERS = dict(zip(SIZES, "hlt", strict=True))

# Each recipe's own sizes. The article's is the usual one: names leave it out.
ARTICLE = "article"
OWN_SIZES = {ARTICLE: (256, 2, 90), "fast": (64, 1, 24), "best": (128, 1, 24)}


def other_sizes(axes: Mapping[str, Any]) -> dict[str, int]:
    """Return the sizes in which a model is not its recipe's own; of a recipe that is not listed, not the article's.

    Args:
        axes: A row's axes, `recipe` and `SIZES` among them.
    """
    own = dict(zip(SIZES, OWN_SIZES.get(axes.get("recipe") or ARTICLE, OWN_SIZES[ARTICLE]), strict=True))
    return {size: axes[size] for size in SIZES if axes.get(size) not in (None, own[size])}


def size_marks(axes: Mapping[str, Any]) -> list[str]:
    """Return those sizes as ids and names write them: `h32`, `l1`, `t24`."""
    return [f"{_LETTERS[size]}{value}" for size, value in other_sizes(axes).items()]


def recipe_mark(axes: Mapping[str, Any]) -> list[str]:
    """Return the recipe as ids and names write it; nothing for the article's, and where the cell says it already."""
    recipe = axes.get("recipe")
    return [] if recipe in (None, ARTICLE, axes.get("cell")) else [str(recipe)]


def model_name(axes: Mapping[str, Any]) -> str:
    """Name a model in tables and charts: `GRU`, `GRU fast`, `LSTM h32`."""
    marks = [*recipe_mark(axes), *(size_marks(axes) if axes.get("recipe") else [])]
    return " ".join([str(axes.get("cell") or "–").upper(), *marks])
