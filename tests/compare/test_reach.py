"""Tests of what a record of what was read says of another tree."""

from dataclasses import replace
from pathlib import Path

import pytest

from rnncore.compare.reach import GIT, BenchmarkReach, Reach, ReachRecord, SourceTree, read_reach, write_reach

PLAIN, LINK = "100644", "120000"
FILES = {
    "README.md": f"{PLAIN} r",
    "docs/guide.md": f"{PLAIN} g",
    "bench/bench_a.py": f"{PLAIN} a",
    "lib/used.py": f"{PLAIN} u",
    "lib/unused.py": f"{PLAIN} n",
    "other/module.py": f"{PLAIN} m",
    "data/read.csv": f"{PLAIN} d",
    "data/unread.csv": f"{PLAIN} e",
    "link": f"{LINK} l",
}
BASE = SourceTree(FILES)
READ = Reach.of(BASE, ["bench/bench_a.py", "lib/used.py", "data/read.csv", "made/meanwhile"], ["bench", "lib"])


def _tree(**changes: str | None) -> SourceTree:
    """Return the tree with other contents of some paths, or without them."""
    files: dict[str, str | None] = {**FILES, **{name.replace("__", "/"): what for name, what in changes.items()}}
    return SourceTree({path: what for path, what in files.items() if what is not None})


def _changed(path: str, what: str | None = f"{PLAIN} x") -> SourceTree:
    return _tree(**{path.replace("/", "__"): what})


def test_what_was_read_holds_of_the_tree_that_it_was_read_of() -> None:
    assert READ.holds(BASE)


@pytest.mark.parametrize("path", ["bench/bench_a.py", "lib/used.py", "data/read.csv"])
@pytest.mark.parametrize("what", [f"{PLAIN} x", None])
def test_a_file_that_was_read_and_is_another_or_gone_counts(path: str, what: str | None) -> None:
    assert not READ.holds(_changed(path, what))


@pytest.mark.parametrize("path", ["lib/unused.py", "other/module.py", "data/unread.csv", "README.md"])
def test_a_file_that_was_not_read_and_is_another_does_not_count(path: str) -> None:
    assert READ.holds(_changed(path))


@pytest.mark.parametrize("path", ["lib/new.py", "lib/below/new.py", "bench/conftest.py"])
def test_a_module_that_is_new_in_a_folder_that_was_looked_into_counts(path: str) -> None:
    assert not READ.holds(_changed(path))


@pytest.mark.parametrize("path", ["other/new.py", "elsewhere/new.py"])
def test_a_module_that_is_new_elsewhere_does_not_count(path: str) -> None:
    assert READ.holds(_changed(path))


def test_a_module_that_is_gone_from_a_folder_that_was_looked_into_counts() -> None:
    assert not READ.holds(_changed("lib/unused.py", None))
    assert READ.holds(_changed("other/module.py", None))


@pytest.mark.parametrize("path", ["settings.toml", "data/more.csv", "lib/kernel.c"])
def test_any_other_file_that_came_counts_as_it_may_have_been_looked_for(path: str) -> None:
    assert not READ.holds(_changed(path))


def test_any_other_file_that_went_counts() -> None:
    assert not READ.holds(_changed("data/unread.csv", None))


@pytest.mark.parametrize("path", ["NEW.md", "lib/new.md", "docs/page.html"])
def test_documentation_that_came_does_not_count(path: str) -> None:
    assert READ.holds(_changed(path))


def test_documentation_that_came_counts_where_other_of_that_folder_was_read() -> None:
    reader = Reach.of(BASE, ["docs/guide.md"], ["docs"])
    assert reader.holds(_changed("README.md"))
    assert not reader.holds(_changed("docs/more.md"))
    assert not reader.holds(_changed("docs/guide.md"))


@pytest.mark.parametrize(
    ("path", "what"), [("link", f"{LINK} x"), ("link", f"{PLAIN} l"), (".gitattributes", f"{PLAIN} x"), ("sub", "160000 x")]
)
def test_links_attributes_and_other_repositories_count_always(path: str, what: str) -> None:
    assert not READ.holds(_changed(path, what))


def test_attributes_of_git_count_when_only_their_content_is_another() -> None:
    tree = _changed(".gitattributes", f"{PLAIN} y")
    assert not Reach.of(tree, [], []).holds(_changed(".gitattributes", f"{PLAIN} x"))


def test_who_asks_git_runs_the_same_in_no_other_tree() -> None:
    asks = Reach.of(BASE, [GIT, "lib/used.py"], [])
    assert not asks.holds(BASE)
    assert asks.is_of(BASE)
    assert not asks.is_of(_changed("lib/used.py"))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    benchmark = BenchmarkReach(**vars(READ), group="made")
    record = ReachRecord(READ, {"a": "bench/bench_a.py"}, {"a": benchmark, "b": replace(benchmark, group=None)})
    write_reach(tmp_path / "reach" / "one.jsonl", record)
    assert read_reach(tmp_path / "reach" / "one.jsonl") == record


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"collected": 1, "suites": {}, "benchmarks": {}}'])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.jsonl").write_text(text)
    assert read_reach(tmp_path / "one.jsonl") is None
    assert read_reach(tmp_path / "none.jsonl") is None
