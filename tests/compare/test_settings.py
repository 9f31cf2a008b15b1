"""Tests of what a project sets for rnncore."""

from pathlib import Path

import pytest

from rnncore.compare.settings import Settings, matches, read_settings
from rnncore.errors import ConfigError


def test_a_project_without_a_file_or_a_table_sets_nothing(tmp_path: Path) -> None:
    assert read_settings(tmp_path).table == {}
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'a'\n", encoding="utf-8")
    assert read_settings(tmp_path) == Settings({}, str(tmp_path / "pyproject.toml"))


def test_what_is_set_is_called_by_the_name_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.rnncore]\nsuites = ['perf']\n", encoding="utf-8")
    settings = read_settings(tmp_path, "pyproject.toml of v1")
    assert settings.table == {"suites": ["perf"]}
    assert settings.source("thresholds") == "pyproject.toml of v1 [tool.rnncore.thresholds]"


@pytest.mark.parametrize(
    ("text", "wording"),
    [("[tool", "cannot be read as TOML"), ("tool.rnncore = 3", "must be a table"), ("tool = 3", "must be a table")],
)
def test_a_wrong_file_is_told(text: str, wording: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"pyproject.toml: .*{wording}"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        *(("a.py::test_b[x-1]", True), ("*test_b*", True), ("a.py::test_b[[]x-1]", True), ("*x-1]", True)),
        *(("a.py::test_b[x-2]", False), ("*test_b[x-1]", False), ("test_b", False), ("*TEST_B*", False)),
    ],
)
def test_a_setting_is_for_a_pattern_or_for_a_full_name(pattern: str, expected: bool) -> None:
    assert matches("a.py::test_b[x-1]", pattern) is expected
