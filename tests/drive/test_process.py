"""Tests of one benchmark process: the tree it measures, its run file, and how it fails."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from rnncore.drive import process as drive_process
from rnncore.drive.process import (
    NothingToMeasureError,
    require_own_modules,
    require_own_package,
    require_slots,
    run_process,
    suites_command,
    tree_environment,
)
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree, two_worktrees
from rnncore.errors import ConfigError, ProcessError
from rnncore.runfile.slots import ENVIRONMENT
from tests.processes import has_ended

SUITE = """
    from rnncore.runfile.case import Case
    import pytest

    def one(scale):
        return [Case("infer", "gru", 8, 1, 4, batch_size=1, device="cpu", precision="fp32")]

    @pytest.mark.rnn_cases(choose=one)
    def test_made(rnn_case, rnn_benchmark):
        rnn_benchmark(lambda: sum(range(1000)), windows=1, group="made")
        rnn_benchmark.record(validity="valid")
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "bench").mkdir(parents=True)
    (folder / "bench" / "test_made.py").write_text(textwrap.dedent(SUITE), encoding="utf-8")
    return folder


def test_a_process_gives_a_run_file_of_the_suites(tree: Path, tmp_path: Path) -> None:
    process = run_process(Tree(tree, "t"), Suites(), tmp_path / "out" / "a.json", ["--rnn-delay=50:*test_made*"])
    (record,) = process.run.records
    assert record.fullname.startswith("bench/test_made.py::test_made[gru")
    assert record.facts["injected_delay_pct"] == 50
    assert process.run.session["scale"] == "gate"
    assert process.run.ceilings is None
    assert process.wall_s > 0


def test_a_process_without_a_run_file_shows_its_last_lines(tree: Path, tmp_path: Path) -> None:
    (tree / "bench" / "test_made.py").write_text("import nothing_of_that_name", encoding="utf-8")
    with pytest.raises(ProcessError, match="exit code 2 and no run file") as caught:
        run_process(Tree(tree, "t"), Suites(), tmp_path / "a.json")
    assert "nothing_of_that_name" in str(caught.value)


def test_a_process_that_measures_nothing_is_told(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"found no benchmark .* \(pytest: .*deselected.*\)\. Check -k"):
        run_process(Tree(tree, "t"), Suites(arguments=("-k", "nothing")), tmp_path / "a.json")


def test_a_suite_of_tests_alone_is_told_and_what_to_look_at(tree: Path, tmp_path: Path) -> None:
    (tree / "bench" / "test_unit.py").write_text("def test_one():\n    pass\n", encoding="utf-8")
    with pytest.raises(NothingToMeasureError, match=r"found no benchmark .* \(pytest: 1 skipped.*\)\. .* 'benchmark'"):
        run_process(Tree(tree, "t"), Suites(paths=("bench/test_unit.py",)), tmp_path / "a.json")
    with pytest.raises(NothingToMeasureError, match=r"t has no nowhere/\. Check the paths"):
        run_process(Tree(tree, "t"), Suites(paths=("nowhere/",)), tmp_path / "a.json")


def test_what_a_project_s_settings_skip_is_measured_and_its_tests_do_not_run(tree: Path, tmp_path: Path) -> None:
    (tree / "pytest.ini").write_text("[pytest]\naddopts = --benchmark-skip --benchmark-autosave -x\n", encoding="utf-8")
    (tree / "bench" / "test_before.py").write_text("def test_unit():\n    assert False\n", encoding="utf-8")
    process = run_process(Tree(tree, "t"), Suites(), tmp_path / "a.json")
    assert [record.fullname.partition("[")[0] for record in process.run.records] == ["bench/test_made.py::test_made"]
    assert process.run.failed == ()
    assert [*(tree / ".benchmarks").rglob("*.json")] == []


@pytest.mark.parametrize("where", ["settings of the repository", "variable", "argument"])
def test_options_of_hypothesis_bring_its_plugin_back(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top, options = tmp_path / "top", "--hypothesis-profile=ci"
    (top / "part" / "bench").mkdir(parents=True)
    tree, suites = Tree(top / "part", "t", top), Suites()
    assert "no:hypothesispytest" in suites_command(tree, suites)
    if where == "variable":
        monkeypatch.setenv("PYTEST_ADDOPTS", options)
    elif where == "argument":
        suites = Suites(arguments=(options,))
    else:
        (top / "pytest.ini").write_text(f"[pytest]\naddopts = {options}\n", encoding="utf-8")
    assert "no:hypothesispytest" not in suites_command(tree, suites)


def test_a_process_that_takes_too_long_is_ended_with_its_children(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_process, "TIMEOUT_S", 8.0)
    pid = tmp_path / "pid"
    code = f"""
        import subprocess, sys, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(pid)!r}, "w").write(str(child.pid))
        time.sleep(60)
    """
    (tree / "bench" / "test_made.py").write_text(textwrap.dedent(code), encoding="utf-8")
    with pytest.raises(ProcessError, match="took longer than 8 s"):
        run_process(Tree(tree, "t"), Suites(), tmp_path / "a.json")
    assert has_ended(int(pid.read_text()))


def test_an_interrupt_ends_the_process(tree: Path, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    (tree / "bench" / "test_made.py").write_text(code, encoding="utf-8")
    driver = f"""
        from pathlib import Path
        from rnncore.drive.process import Suites, run_process
        from rnncore.drive.worktrees import Tree
        run_process(Tree(Path({str(tree)!r}), "t"), Suites(), Path({str(tmp_path / "a.json")!r}))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(driver)], stderr=subprocess.DEVNULL, preexec_fn=_heed_interrupts
    ) as process:
        deadline_s = time.monotonic() + 60
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert has_ended(int(pid.read_text()))


def _heed_interrupts() -> None:
    """Undo that a shell lets what it starts in the background ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_tree_that_holds_the_package_must_be_what_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "tree" / "rnncore"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    require_own_package(Tree(tmp_path / "tree", "t"))
    monkeypatch.setattr("rnncore.drive.process.tree_environment", lambda tree: {**os.environ, "PYTHONSAFEPATH": "1"})
    with pytest.raises(ConfigError, match=r"import rnncore from .*, not from there"):
        require_own_package(Tree(tmp_path / "tree", "t"))


def test_a_tree_without_the_package_measures_what_is_installed(tree: Path) -> None:
    require_own_package(Tree(tree, "t"))


VALUED = """
    import made_for_path

    def test_valued(benchmark):
        benchmark(sum, [1])
        benchmark.extra_info["value"] = made_for_path.VALUE
"""


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("layout", "part", "is_absolute"),
    [("src", "", False), ("src", "part", True), ("python/lib", "part", False), ("python/lib", "", True)],
    ids=["relative", "absolute, from a part", "relative, from a part", "absolute"],
)
def test_python_s_path_of_the_user_is_each_revision_s_own(
    layout: str, part: str, is_absolute: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project is not installed; where its modules lie is told by the environment, before the gate is started."""
    repository = tmp_path / "project"
    module, suite = repository / layout / "made_for_path.py", repository / part / "bench" / "test_valued.py"
    for file, text in ((module, "VALUE = 1\n"), (suite, textwrap.dedent(VALUED))):
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    _git(repository, "init", "--quiet")
    _git(repository, "add", ".")
    _git(repository, "commit", "--quiet", "-m", "one")
    module.write_text("VALUE = 2\n", encoding="utf-8")
    path = str(module.parent) if is_absolute else os.path.relpath(module.parent, repository / part)
    monkeypatch.setenv("PYTHONPATH", path)
    with two_worktrees(repository / part, "HEAD", "worktree") as trees:
        found = []
        for tree in trees:
            process = run_process(tree, Suites(), tmp_path / f"{tree.side}.json", ["--benchmark-only", "--rnn-facts"])
            (record,) = process.run.records
            found.append(record.numbers["value"])
    assert found == [1, 2]


def test_what_is_on_python_s_path_and_in_no_revision_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top, repository = tmp_path / "worktree" / "head", tmp_path / "project"
    for folder in (top / "lib", repository / "lib", repository / ".venv" / "site-packages", tmp_path / "beside"):
        folder.mkdir(parents=True)
    environment, beside, none = repository / ".venv" / "site-packages", tmp_path / "beside", tmp_path / "none"
    given = [f"{repository / 'lib'}", f"{environment}", "../beside", f"{none}", ""]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(given))
    own, *found = tree_environment(Tree(top, "v1", top, repository))["PYTHONPATH"].split(os.pathsep)
    assert own == str(top)
    assert [Path(one).resolve() for one in found] == [top / "lib", environment, beside, none, top]


def _package(tree: Path, source: str) -> None:
    module = tree / "rnncore" / "measure" / "anywhere.py"
    module.parent.mkdir(parents=True, exist_ok=True)
    (tree / "rnncore" / "__init__.py").write_text("", encoding="utf-8")
    module.write_text(source, encoding="utf-8")


def test_a_revision_older_than_slots_is_told_by_its_name(tmp_path: Path) -> None:
    _package(tmp_path / "base", "SLOTS = None\n")
    with pytest.raises(ConfigError) as caught:
        require_slots(Tree(tmp_path / "base", "0123456789ab (v1)"))
    assert str(caught.value) == (
        "base 0123456789ab (v1): this revision's rnncore is older than slots, in which the gate times. Measure both "
        "revisions with 'pytest bench/ --benchmark-autosave' several times, interleaved, and give the files to "
        "'rnncore compare'."
    )


def test_a_revision_that_knows_slots_or_measures_what_is_installed_is_taken(tmp_path: Path, tree: Path) -> None:
    _package(tmp_path, f"SLOTS = {ENVIRONMENT!r}\n")
    require_slots(Tree(tmp_path, "head"))
    require_slots(Tree(tree, "head"))


def test_the_package_of_today_knows_slots() -> None:
    require_slots(Tree(Path(__file__).parents[2], "head"))


@pytest.mark.parametrize(
    ("name", "file", "is_told"),
    [
        ("lone", "lone.py", True),
        ("acme.calc", "python/acme/calc/__init__.py", True),
        ("pkg", ".venv/lib/python3.11/site-packages/pkg/__init__.py", False),
        ("other", "../elsewhere/other.py", False),
    ],
)
def test_a_module_from_the_folder_of_the_user_is_not_the_revision_s(
    name: str, file: str, is_told: bool, tmp_path: Path
) -> None:
    repository, path = tmp_path / "project", tmp_path / "worktree" / "head"
    tree = Tree(path, "v1", path, repository)
    path.mkdir(parents=True)
    if not is_told:
        require_own_modules(tree, {name: str(repository / file)})
        return
    with pytest.raises(ConfigError, match=rf"head v1 import {name} from .*, not from the revision.*--isolated"):
        require_own_modules(tree, {name: str(repository / file)})
