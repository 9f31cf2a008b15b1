"""Tests of the verb check: what it prints and writes, and its exit codes."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.command import Command
from tests.run_files import make_run, plain_benchmark, plain_content

TEST = "perf/test_load.py::test_load[json]"
ROUNDS_S = [0.001 + 1e-6 * index for index in range(1001)]


@pytest.fixture(autouse=True)
def _run_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path, plain_content([plain_benchmark(TEST, ROUNDS_S, rows_per_s=12_000)]), "run.json")


def _set(limits: str, pattern: str = "*test_load*") -> None:
    table = f'[tool.rnncore.budgets."{pattern}"]\n{limits}\n'
    Path("pyproject.toml").write_text(table, encoding="utf-8")


@pytest.mark.parametrize(
    ("limits", "code", "last"),
    [
        ("p99_ms = 2.1\nnumbers.rows_per_s = { at_least = 10000 }", 0, "2 of 2 budgets within (exit code 0)"),
        ("p99_ms = 1.9\nmedian_ms = 9", 1, "1 of 2 budgets over, 1 within: over (exit code 1)"),
        ("median_ms = 1.5", 3, "1 of 1 budget cannot tell (exit code 3)"),
        ("smape_pct = 1", 5, "1 of 1 budget missing (exit code 5)"),
        ('machine = "EPYC"\nmedian_ms = 1', 0, "1 of 1 budget not judged (exit code 0)"),
    ],
)
def test_the_last_line_is_the_whole_verdict_and_the_exit_code_follows(
    limits: str, code: int, last: str, rnncore: Command
) -> None:
    _set(limits)
    done = rnncore("check", "run.json")
    assert (done.code, done.err) == (code, "")
    assert done.out.strip().splitlines()[-1] == last


def test_without_budgets_or_with_wrong_ones_it_ends_with_2(rnncore: Command) -> None:
    done = rnncore("check", "run.json")
    assert (done.code, done.out) == (2, "")
    assert "pyproject.toml sets no budgets. Write some" in done.said
    _set("p99ms = 2")
    assert "Did you mean p99_ms?" in rnncore("check", "run.json").said
    _set("p99_ms = 2")
    assert rnncore("check", "missing.json").code == 2
    assert rnncore("check").code == 2


def test_every_form_is_written(rnncore: Command, tmp_path: Path) -> None:
    _set("p99_ms = 1.9")
    done = rnncore("check", "run.json", "--json", "--markdown", "a.md", "--junit", "a.xml", "--github")
    assert done.code == 1
    assert (done.json["verdict"], done.json["budgets"][0]["figure"]) == ("over", "p99_ms")
    assert done.err.startswith("::error file=perf/test_load.py,title=over")
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("## Fail: 1 of 1 budget over")
    xml = (tmp_path / "a.xml").read_text(encoding="utf-8")
    assert ElementTree.fromstring(xml.encode()).get("failures") == "1"  # noqa: S314 (our own)


@pytest.mark.parametrize("known_by", ["its .git", "GITHUB_WORKSPACE"])
@pytest.mark.parametrize("named_from", ["the folder", "the root"])
def test_in_a_folder_of_a_repository_annotations_name_files_from_its_root(
    known_by: str, named_from: str, rnncore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "packages" / "one"
    fullname = TEST if named_from == "the folder" else f"packages/one/{TEST}"
    make_run(folder, plain_content([plain_benchmark(fullname, ROUNDS_S)]), "run.json")
    (folder / "perf").mkdir()
    (folder / "perf" / "test_load.py").write_text("", encoding="utf-8")
    if known_by == "GITHUB_WORKSPACE":
        monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    else:
        monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
        (tmp_path / ".git").mkdir()
    monkeypatch.chdir(folder)
    _set("p99_ms = 1.9")
    done = rnncore("check", "run.json", "--github")
    assert "::error file=packages/one/perf/test_load.py,title=over" in done.out


def test_several_run_files_are_several_processes(rnncore: Command, tmp_path: Path) -> None:
    for index in range(8):
        content = plain_content([plain_benchmark(TEST, [0.001, 0.0011])], minute=index)
        make_run(tmp_path / "runs", content, f"{index}.json")
    _set("median_ms = 2")
    done = rnncore("check", "runs", "--json")
    assert (done.code, done.json["budgets"][0]["of"]) == (0, "8 processes")


def test_a_screen_shows_the_gravest_and_json_has_all(rnncore: Command, tmp_path: Path) -> None:
    rows = [plain_benchmark(f"perf/test_load.py::test_{number}", [0.001, 0.0011]) for number in range(301)]
    make_run(tmp_path, plain_content(rows), "many.json")
    Path("pyproject.toml").write_text('[tool.rnncore.budgets."*"]\nmedian_ms = 2\n', encoding="utf-8")
    done = rnncore("check", "many.json")
    assert "Shown are the 300 gravest of 301; --json and --markdown have all." in done.out
    assert done.out.count("perf/test_load.py") + sum("test_" in line for line in done.out.splitlines()) == 300
    assert len(rnncore("check", "many.json", "--json").json["budgets"]) == 301
