"""Tests of where a project keeps its suites."""

import subprocess
from pathlib import Path

import pytest

from rnncore.drive.suites import Suites, chooses, find_suites, use_rnncore
from rnncore.errors import ConfigError

BENCHMARK = "def test_sum(benchmark):\n    benchmark(sum, [1])\n"
TEST = "def test_sum():\n    assert sum([1]) == 1  # no benchmark\n"


def _project(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_name(f"{path.name}.py") if not path.suffix else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def test_suites_that_are_named_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = _project(tmp_path, bench__test_a=BENCHMARK)
    asked = ["perf/", str(tmp_path / "tests" / "test_b.py::test_sum[a::b]")]
    assert find_suites(folder, asked) == ("perf/", "tests/test_b.py::test_sum[a::b]")


def test_a_suite_outside_of_the_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"PATH \.\./perf: lies outside of .*Run it from a folder above"):
        find_suites(tmp_path, ["../perf"])


def test_what_the_project_sets_comes_before_usual_folders(tmp_path: Path) -> None:
    folder = _project(tmp_path, bench__test_a=BENCHMARK)
    (folder / "pyproject.toml").write_text("[tool.rnncore]\nsuites = ['perf', 'tests/test_b.py']\n", encoding="utf-8")
    assert find_suites(folder) == ("perf", "tests/test_b.py")


@pytest.mark.parametrize("value", ["'perf'", "[]", "[3]", "['']", "['perf', ' ']", "['::test_a']"])
def test_suites_that_are_set_wrongly_are_told(value: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.rnncore]\nsuites = {value}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"pyproject\.toml: tool\.rnncore\.suites is .*; give a list of paths"):
        find_suites(tmp_path)


@pytest.mark.parametrize("usual", ["bench", "benchmarks", "tests/benchmarks"])
def test_a_usual_folder_is_taken_where_it_has_benchmarks(usual: str, tmp_path: Path) -> None:
    name = usual.replace("/", "__")
    folder = _project(tmp_path, **{f"{name}__test_a": BENCHMARK, "tests__test_b": BENCHMARK, "bench__tool": "import os\n"})
    assert find_suites(folder) == (f"{usual}/",)


def test_else_every_file_that_has_a_benchmark_is_taken(tmp_path: Path) -> None:
    wrapped = "def test_long(\n    tmp_path,\n    benchmark,\n):\n    pass\n"
    folder = _project(
        tmp_path, tests__test_a=TEST, tests__test_b=BENCHMARK, tests__deep__test_c=wrapped, build__test_d=BENCHMARK
    )
    (folder / ".gitignore").write_text("build/\n", encoding="utf-8")
    assert find_suites(folder) == ("tests/deep/test_c.py", "tests/test_b.py")


def test_a_project_without_benchmarks_is_told_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file here has a test .* 'benchmark'.*Name them at the end of the command"):
        find_suites(_project(tmp_path, tests__test_a=TEST))


@pytest.mark.parametrize(
    ("arguments", "choose"),
    [
        (["-q"], False),
        (["-q", "--benchmark-warmup=on", "-p", "no:cacheprovider", "--rnn-case-timeout", "30"], False),
        (["-k", "fast"], True),
        (["-kfast"], True),
        (["-m", "not slow"], True),
        (["-q", "--deselect=tests/test_a.py::test_b"], True),
        (["--lf"], True),
        (["tests/test_a.py::test_b"], True),
        (["bench"], True),
    ],
)
def test_only_arguments_that_choose_tests_are_a_choice(arguments: list[str], choose: bool, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    assert chooses(tmp_path, arguments) == choose


OURS = "def test_made(rnn_case, rnn_benchmark):\n    rnn_benchmark(len, windows=1, group='made')\n"


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        (f"from rnncore.runfile.case import Case\n\n\n{OURS}", True),
        ("class TestIt:\n    async def test_made(self, *, rnn_benchmark):\n        pass\n", True),
        (BENCHMARK, False),
        # They name it, and measure nothing by it.
        (f"# Judged by rnncore; see rnn_benchmark.\n{BENCHMARK}", False),
        (f"import rnncore\n{BENCHMARK}    assert 'rnn_case'\n", False),
        (f"{OURS})\n", False),
    ],
    ids=["ours", "a method", "others", "a comment", "an import and a text", "no Python"],
)
def test_suites_of_our_cases_are_told_from_others(text: str, ours: bool, tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "test_a.py").write_text(text, encoding="utf-8")
    for path in ("bench/", "bench/test_a.py::test_one"):
        assert use_rnncore(tmp_path, Suites((path,))) is ours


def test_a_fixture_of_the_project_around_one_of_ours_makes_its_suites_ours(tmp_path: Path) -> None:
    _project(tmp_path, bench__deep__test_a="def test_made(timed):\n    timed(len)\n")
    around = "import pytest\n\n\n@pytest.fixture\ndef timed(rnn_benchmark):\n    return rnn_benchmark\n"
    (tmp_path / "bench" / "conftest.py").write_text(around, encoding="utf-8")
    for path in ("bench/", "bench/deep/", "bench/deep/test_a.py::test_made"):
        assert use_rnncore(tmp_path, Suites((path,)))


def test_the_suites_of_this_repository_are_ours() -> None:
    folder = Path(__file__).parents[2]
    assert all(use_rnncore(folder, Suites((f"bench/{path.name}",))) for path in (folder / "bench").glob("bench_*.py"))


@pytest.mark.parametrize("place", [".tox/a", "env", "lib/site-packages/rnncore"])
def test_what_pytest_does_not_collect_tells_nothing_of_a_project(place: str, tmp_path: Path) -> None:
    """An environment in it has fixtures of ours, and may have their tests."""
    for suite in (tmp_path, tmp_path / "bench"):
        (suite / place).mkdir(parents=True)
        (suite / place / "test_a.py").write_text("def test_b(rnn_benchmark, benchmark): pass\n", encoding="utf-8")
    for environment in (tmp_path / "env", tmp_path / "bench" / "env"):
        if environment.exists():
            (environment / "pyvenv.cfg").touch()
    _project(tmp_path, tests__test_c=BENCHMARK)
    assert not use_rnncore(tmp_path, Suites((".",)))
    assert find_suites(tmp_path) != ("bench/",)
    # One that is named is meant.
    assert use_rnncore(tmp_path, Suites((place,)))


@pytest.mark.filterwarnings("error")
def test_of_the_text_of_a_suite_nothing_is_said(tmp_path: Path) -> None:
    text = "PATTERN = '\\d'\ndef test_a(rnn_benchmark):\n    assert 1 is 1\n"
    _project(tmp_path, bench__test_a=text)
    assert use_rnncore(tmp_path, Suites(("bench/",)))


def test_a_link_to_nothing_that_an_editor_left_and_a_file_that_cannot_be_read_end_no_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _project(tmp_path, bench__test_a=BENCHMARK, bench__test_b=TEST)
    (tmp_path / "bench" / ".#test_c.py").symlink_to("somebody@somewhere.1234")
    (tmp_path / "bench" / "test_gone.py").symlink_to("nowhere.py")
    assert find_suites(tmp_path) == ("bench/",)
    assert not use_rnncore(tmp_path, Suites(("bench/",)))


def test_outside_of_git_s_reach_it_is_told_why_no_suite_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(ConfigError, match=r"git, .*, does not know these \(fatal: not a git"):
        find_suites(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git, which knows the files here, is not installed"):
        find_suites(tmp_path)
