"""Tests of the thresholds: defaults, patterns, and clear errors."""

from pathlib import Path

import pytest

from rnncore.compare.measures import Bounds, number_measure
from rnncore.compare.thresholds import Thresholds, read_thresholds
from rnncore.errors import ConfigError

GATHER = "bench/bench_data.py::test_gather_batch[torch-cpu-b16]"


def _read(folder: Path, text: str) -> Thresholds:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return read_thresholds(folder)


@pytest.mark.parametrize("text", [None, "", "[tool.other]\nx = 1\n"])
def test_without_a_table_the_defaults_hold(tmp_path: Path, text: str | None) -> None:
    thresholds = read_thresholds(tmp_path) if text is None else _read(tmp_path, text)
    assert thresholds.bounds(GATHER, "time") == Bounds(0.02, 0.05, chosen=False)


def test_of_several_patterns_the_last_that_matches_counts(tmp_path: Path) -> None:
    rules = (
        '"*" = { time_pct = 3, memory_pct = 4 }',
        '"*test_gather*" = { time_pct = 10, same_time_pct = 15 }',
        '"*x*y" = { time_pct = 1 }',
    )
    thresholds = _read(tmp_path, "\n".join(("[tool.rnncore.thresholds]", *rules)))
    assert thresholds.bounds(GATHER, "time") == Bounds(0.10, 0.15, chosen=True)
    assert thresholds.bounds(GATHER, "memory") == Bounds(0.04, 0.10, chosen=True)
    assert thresholds.bounds("bench/a.py::test_b", "time") == Bounds(0.03, 0.05, chosen=True)


def test_a_wide_change_widens_what_is_the_same(tmp_path: Path) -> None:
    thresholds = _read(tmp_path, '[tool.rnncore.thresholds]\n"*" = { time_pct = 20 }\n')
    assert thresholds.bounds(GATHER, "time").same == pytest.approx(0.2)


def test_a_change_cannot_count_as_no_change(tmp_path: Path) -> None:
    thresholds = _read(tmp_path, '[tool.rnncore.thresholds]\n"*" = { time_pct = 5, same_time_pct = 3 }\n')
    with pytest.raises(ConfigError, match="Set same_time_pct to 5 or more"):
        thresholds.bounds(GATHER, "time")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("thresholds = 3", "must be a table of patterns"),
        ('thresholds."*" = 3', "must be a table with some of time_pct, same_time_pct"),
        ('thresholds."*" = { speed_pct = 3 }', "speed_pct"),
        ('thresholds."*" = { time_pct = "3" }', "give a percentage above 0"),
        ('thresholds."*" = { time_pct = true }', "give a percentage above 0"),
        ('thresholds."*" = { time_pct = 0 }', "give a percentage above 0"),
        ('thresholds."*" = { time_pct = nan }', "give a percentage above 0"),
        ("thresholds =", "cannot be read as TOML"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _read(tmp_path, f"[tool.rnncore]\n{table}\n")
    assert str(tmp_path / "pyproject.toml") in str(caught.value)


def test_numbers_have_bounds_of_their_own_and_the_last_pattern_that_matches_counts(tmp_path: Path) -> None:
    rules = (
        '"*" = { numbers.rows = { change_pct = 5, better = "higher" } }',
        '"*a*" = { numbers.error = { change_pct = 1, better = "lower" } }',
        '"*test_gather*" = { time_pct = 10, numbers = { rows = { change_pct = 8, same_pct = 9, better = "higher" } } }',
    )
    thresholds = _read(tmp_path, "\n".join(("[tool.rnncore.thresholds]", *rules)))
    assert thresholds.numbers_of(GATHER) == {
        "rows": Bounds(0.08, 0.09, chosen=True, higher_is_better=True),
        "error": Bounds(0.01, 0.02, chosen=True),
    }
    assert thresholds.bounds(GATHER, number_measure("rows")) == thresholds.numbers_of(GATHER)["rows"]
    assert thresholds.bounds(GATHER, "time").change == 0.10
    assert thresholds.numbers_of("bench/a.py::test_b")["rows"].change == 0.05


def test_a_full_name_is_a_pattern_of_itself(tmp_path: Path) -> None:
    thresholds = _read(tmp_path, f'[tool.rnncore.thresholds]\n"{GATHER}" = {{ time_pct = 4 }}\n')
    assert thresholds.bounds(GATHER, "time").change == 0.04
    assert thresholds.bounds(f"{GATHER}x", "time").change == 0.02


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ("numbers = 3", r'numbers of "\*" is 3; it must be a table by name'),
        ("numbers.rows = 5", "numbers.rows of .* is 5; it must be a table with change_pct, better"),
        ("numbers.rows = { change_pct = 5 }", "it must be a table with change_pct, better"),
        ('numbers.rows = { better = "lower" }', "it must be a table with change_pct, better"),
        ('numbers.rows = { change_pct = 5, beter = "lower" }', "it must be a table with change_pct, better"),
        ('numbers.rows = { change_pct = 5, better = "up" }', "better of numbers.rows of .* is 'up'; give \"higher\" or"),
        ('numbers.rows = { change_pct = 0, better = "lower" }', "change_pct of numbers.rows of .* is 0; give a percentage"),
        ('numbers.rows = { change_pct = nan, better = "lower" }', "give a percentage above 0"),
        ('numbers.rows = { change_pct = 5, same_pct = "9", better = "lower" }', "same_pct of numbers.rows .* is '9'"),
        ('numbers.rows = { change_pct = 5, same_pct = 3, better = "lower" }', "Set same_pct to 5 or more"),
        ("number.rows = { change_pct = 5 }", "and numbers of your own such as numbers.rows_per_s"),
    ],
)
def test_a_wrong_rule_of_numbers_is_named(tmp_path: Path, numbers: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _read(tmp_path, f'[tool.rnncore.thresholds]\n"*" = {{ {numbers} }}\n')


def test_where_more_is_better_less_of_it_is_worse() -> None:
    bounds = Bounds(0.02, 0.05, higher_is_better=True)
    assert bounds.is_worse(1 / 1.021)
    assert bounds.is_better(1.021)
    assert not bounds.is_worse(1.5)
    assert bounds.is_beyond(1.021)
    assert bounds.is_beyond(1 / 1.021)
    assert not bounds.is_beyond(1.019)
    assert bounds.hold_same(1 / 1.05, 1.05)


def test_bounds_are_the_same_both_ways() -> None:
    bounds = Bounds(0.02, 0.05)
    assert bounds.is_worse(1.021)
    assert bounds.is_better(1 / 1.021)
    assert not bounds.is_worse(1.019)
    assert not bounds.is_better(1 / 1.019)
    assert bounds.hold_same(1 / 1.05, 1.05)
    assert not bounds.hold_same(0.95, 1.0)
    assert not bounds.hold_same(1.0, 1.051)
