"""What a project sets for rnncore: the tables `[tool.rnncore...]` of its `pyproject.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rnncore.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """The table `[tool.rnncore]` of a project.

    Attributes:
        table: Its content; empty where there is no file, or no table.
        file: What errors and notes call the file.
    """

    table: Mapping[str, Any] = field(default_factory=dict)
    file: str = "pyproject.toml"

    def source(self, name: str) -> str:
        """Return what errors and notes call one of its tables or values."""
        return f"{self.file} [tool.rnncore.{name}]"


def read_settings(folder: Path, shown: str | None = None) -> Settings:
    """Read what a project sets.

    Args:
        folder: May hold `pyproject.toml`.
        shown: What errors and notes call the file; None for its path.

    Raises:
        ConfigError: If the file cannot be read, or `[tool.rnncore]` is no table.
    """
    path = folder / "pyproject.toml"
    file = shown or str(path)
    if not path.is_file():
        return Settings(file=file)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read as TOML ({error}). Correct the file.") from error
    tool = content.get("tool", {})
    table = tool.get("rnncore", {}) if isinstance(tool, dict) else tool
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: tool.rnncore is {table!r}; it must be a table.")
    return Settings(table, file)


def matches(fullname: str, pattern: str) -> bool:
    """Say whether a benchmark is one that a setting is for.

    Args:
        fullname: Of the benchmark.
        pattern: As a shell's; or the full name itself, whose brackets would be a choice of characters in a pattern.
    """
    return fullname == pattern or fnmatchcase(fullname, pattern)
