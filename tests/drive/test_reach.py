"""Tests of what a change can reach: a small project of which each suite reads something else, in another way."""

import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnncore.drive import reach
from rnncore.drive.reach import SAME, Reached, find_reached, nothing_measured
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import two_worktrees
from rnncore.errors import Unavailable

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify is of Linux"),
    pytest.mark.long,
]

SUITE = """
    import functools
    import subprocess
    import sys
    from pathlib import Path

    import pytest
    {top}


    @functools.cache
    def once():
        return Path("data/numbers.csv").read_text()


    @pytest.fixture(scope="session")
    def shared():
        return Path("data/shared.csv").read_text()


"""
# A benchmark of any suite, which starts in half a second; ours loads torch.
OF_ANY = """
    @pytest.mark.parametrize("size", [1, 2])
    def test_made(benchmark, size{fixtures}):
        {before}

        def run():
            {call}

        benchmark(run)
"""
OF_OURS = """
    from rnncore.runfile.case import Case


    def sized(scale):
        return [Case("infer", "gru", 8, 1, 4, batch_size=size, device="cpu", precision="fp32") for size in (1, 2)]


    @pytest.mark.rnn_cases(choose=sized)
    def test_made(rnn_case, rnn_benchmark{fixtures}):
        {before}

        def run():
            {call}

        rnn_benchmark(run, windows=1, group="made")
        rnn_benchmark.record(validity={validity!r})
"""
CHILD = """subprocess.run([sys.executable, "-c", "open('data/child.csv').read()"], check=True)"""
# By suite, what is in it.
KINDS: dict[str, dict[str, str]] = {
    "nothing": {},
    "lazy": {"call": "import lib.lazy", "benchmark": OF_OURS},
    "constant": {"top": "from lib.constant import CONSTANT"},
    "cached": {"call": "once()"},
    "fixture": {"fixtures": ", shared"},
    "child": {"before": CHILD},
    "tool": {"before": 'subprocess.run(["cat", "data/tool.csv"], check=True, capture_output=True)'},
    "optional": {"before": "try:\n        import lib.fast.extra\n    except ImportError:\n        pass"},
    "git": {"before": 'subprocess.run(["git", "status"], capture_output=True)'},
    "once": {"before": 'kept = Path("kept")\n    kept.exists() or kept.write_text(Path("data/kept.csv").read_text())'},
    "skipped": {"before": 'pytest.skip("not here")'},
}
MODULES = {"lib/__init__.py": "", "lib/lazy.py": "", "lib/constant.py": "CONSTANT = 1\n", "lib/fast/__init__.py": ""}
FILES = MODULES | {f"data/{name}.csv": "1\n" for name in ("numbers", "shared", "child", "tool", "kept", "unread")}
# It asks git of the commit, which is another whatever the change.
ALWAYS = {"git"}
ALL = set(KINDS) - {"skipped"}


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _suite(**kind: str) -> str:
    usual = {"top": "", "fixtures": "", "before": "", "call": "pass", "validity": "valid", "benchmark": OF_ANY}
    text = usual | kind
    return (textwrap.dedent(SUITE) + textwrap.dedent(text["benchmark"])).format(**text)


def _stems(names: Iterator[str] | Sequence[str]) -> set[str]:
    return {Path(name.split("::")[0]).stem.removeprefix("test_") for name in names}


@dataclass
class Project:
    """A repository with one commit, and a store of what is known of it."""

    folder: Path
    store: Path
    lines: list[str] = field(default_factory=list)

    def changed(self, base: str = "main", **changes: str | None) -> Reached:
        """Return what is reached by a change of the files of these names, "__" for "/" and "_DOT_" for "."."""
        _git(self.folder, "checkout", "--quiet", "--detach", base)
        for name, text in changes.items():
            path = self.folder / name.replace("__", "/").replace("_DOT_", ".")
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        _git(self.folder, "add", "--all")
        _git(self.folder, "commit", "--quiet", "--allow-empty", "-m", "change")
        self.lines.clear()
        with two_worktrees(self.folder, base, "HEAD") as trees:
            return find_reached(trees, Suites(), self.store, self.lines.append)


def _reached(found: Reached) -> set[str]:
    """Return the suites of which something is measured, aside from those that always are."""
    assert found.suites is not None
    return ALL - _stems(list(found.same)) - ALWAYS


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, with its benchmarks run once."""
    folder = tmp_path_factory.mktemp("project")
    project = Project(folder, tmp_path_factory.mktemp("store"))
    _git(folder, "init", "--quiet", "--initial-branch=main")
    files = FILES | {f"bench/test_{name}.py": _suite(**kind) for name, kind in KINDS.items()} | {"README.md": "text\n"}
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "-m", "base")
    found = project.changed(README_DOT_md="other\n")
    assert _reached(found) == set()
    return project


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each process is asked for."""
    started: list[Any] = []
    traces: Callable[..., Any] = reach._traces

    def counting(jobs: Sequence[Any], *limits: float) -> Any:
        started.extend(jobs)
        return traces(jobs, *limits)

    monkeypatch.setattr(reach, "_traces", counting)
    return started


def test_a_change_of_documentation_reaches_only_what_cannot_be_told(known: Project) -> None:
    found = known.changed(README_DOT_md="other\n")
    assert found.suites is not None
    assert _stems(list(found.same)) == ALL - ALWAYS
    # Left out of the processes, together with their suites.
    assert _stems(found.suites.paths) == ALWAYS
    assert set(found.same) < found.suites.without
    assert found.notes == (
        "2 of 20 benchmarks can be reached by the 1 changed file; the others are the same. --all measures them too.",
    )


@pytest.mark.parametrize(
    ("path", "text", "suites"),
    [
        ("lib__lazy_DOT_py", "LAZY = 2\n", {"lazy"}),
        ("lib__constant_DOT_py", "CONSTANT = 2\n", {"constant"}),
        ("data__numbers_DOT_csv", "2\n", {"cached"}),
        ("data__shared_DOT_csv", "2\n", {"fixture"}),
        ("data__child_DOT_csv", "2\n", {"child"}),
        ("data__tool_DOT_csv", "2\n", {"tool"}),
        ("data__kept_DOT_csv", "2\n", {"once"}),
        ("data__unread_DOT_csv", "2\n", set()),
        ("lib__fast__extra_DOT_py", "", {"optional"}),
        ("lib__fast____init___DOT_py", "FAST = 2\n", {"optional"}),
        ("elsewhere__NEW_DOT_md", "", set()),
        ("settings_DOT_toml", "", ALL - ALWAYS),
        ("data__unread_DOT_csv", None, ALL - ALWAYS),
    ],
)
def test_a_change_reaches_what_reads_it(known: Project, path: str, text: str | None, suites: set[str]) -> None:
    assert _reached(known.changed(**{path: text})) == suites


def test_both_benchmarks_of_what_is_kept_in_memory_or_on_the_disk_are_reached(known: Project) -> None:
    """The first one fills a cache, a fixture of the session and a file; the second one reads them."""
    for path in ("data__numbers_DOT_csv", "data__shared_DOT_csv", "data__kept_DOT_csv"):
        same = known.changed(**{path: "2\n"}).same
        assert len(same) == 2 * len(ALL - ALWAYS) - 2


def test_a_suite_that_is_new_is_measured(known: Project) -> None:
    found = known.changed(bench__test_added_DOT_py=_suite())
    assert found.suites is not None
    assert not {name for name in found.suites.without if "test_added" in name}
    # The base has no such file: pytest is given the folder.
    assert found.suites.paths == ("bench/",)


def test_a_suite_that_is_another_is_measured_and_not_run_before(known: Project, processes: list[Any]) -> None:
    found = known.changed(bench__test_lazy_DOT_py=_suite(call="sum(range(9))"))
    assert _reached(found) == {"lazy"}
    # The head is collected, to know its benchmarks.
    assert [(job.tree.side, job.asked) for job in processes] == [("head", ())]


def test_what_is_known_is_not_run_again(known: Project, processes: list[Any]) -> None:
    known.changed(README_DOT_md="once more\n")
    assert processes == []


def test_what_read_a_file_that_is_another_in_the_base_is_run_again(known: Project, processes: list[Any]) -> None:
    _git(known.folder, "checkout", "--quiet", "-B", "later", "main")
    (known.folder / "lib" / "lazy.py").write_text("LATER = 1\n", encoding="utf-8")
    _git(known.folder, "commit", "--quiet", "--all", "-m", "later")
    kept = known.store.parent / "kept"
    shutil.copytree(known.store, kept)
    found = known.changed("later", README_DOT_md="other\n")
    assert _reached(found) == set()
    assert [_stems(job.asked) for job in processes] == [{"lazy"}]
    shutil.rmtree(known.store)
    kept.rename(known.store)


def test_other_arguments_are_other_records(known: Project) -> None:
    assert reach._conditions(Suites()) == reach._conditions(Suites())
    assert reach._conditions(Suites()) != reach._conditions(Suites(arguments=("--rnn-scale=quick",)))


def test_another_environment_has_other_records(known: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = reach._conditions(Suites())
    for name in ("COLUMNS", "GITHUB_SHA", "CI_JOB_ID", "GITLAB_USER_ID", "HOSTNAME", "INVOCATION_ID", "JOURNAL_STREAM"):
        monkeypatch.setenv(name, "77")
    assert reach._conditions(Suites()) == before
    monkeypatch.setenv("RNNCORE_DATA", "/elsewhere")
    assert reach._conditions(Suites()) != before


def test_where_nothing_can_be_told_everything_is_measured(known: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise Unavailable("which files are opened is told on Linux alone")

    monkeypatch.setattr(reach, "Watch", refused)
    monkeypatch.setattr(reach, "read_reach", lambda path: None)
    found = known.changed(README_DOT_md="other\n")
    assert found.suites == Suites()
    assert found.same == {}
    assert found.notes == (
        "Everything was measured, as what it reads is not known: which files are opened is told on Linux alone.",
    )


def test_suites_that_cannot_be_collected_are_measured_and_told(known: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "read_reach", lambda path: None)
    found = known.changed(bench__test_lazy_DOT_py="import nothing_of_that_name\n")
    assert found.suites == Suites()
    assert "ended with exit code 2" in found.notes[0]


def test_a_collection_that_hangs_is_told_and_ended(known: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "read_reach", lambda path: None)
    monkeypatch.setattr(reach, "SHORTEST_S", 3.0)
    monkeypatch.setattr(reach, "SAY_AFTER_S", 1.0)
    (known.folder / "bench" / "test_hangs.py").write_text("import time\ntime.sleep(600)\n", "utf-8")
    _git(known.folder, "add", "--all")
    _git(known.folder, "commit", "--quiet", "-m", "hangs")
    said: list[str] = []
    try:
        with two_worktrees(known.folder, "HEAD", "HEAD") as trees:
            found = find_reached(trees, Suites(), known.store, said.append, 0.0)
    finally:
        _git(known.folder, "reset", "--quiet", "--hard", "HEAD~1")
    assert found.suites == Suites()
    assert "base: the collection of benchmarks took longer than 3 s." in found.notes[0]
    assert said == ["The collection of benchmarks has taken 1 s so far, and is ended after 3 s."]


def test_suites_without_a_benchmark_are_left_to_those_that_time(known: Project) -> None:
    said: list[str] = []
    with two_worktrees(known.folder, "main", "main") as trees:
        for suites in (Suites(paths=("nowhere/",)), Suites(arguments=("--rnn-scale=gate", "-k", "nothing_of_that_name"))):
            assert find_reached(trees, suites, known.store, said.append) == Reached(suites)
    assert said == []


def _small(folder: Path, **kind: str) -> Project:
    """Return a project of one suite."""
    project = Project(folder / "project", folder / "store")
    (project.folder / "bench").mkdir(parents=True)
    _git(project.folder, "init", "--quiet", "--initial-branch=main")
    (project.folder / "bench" / "test_one.py").write_text(_suite(**kind), "utf-8")
    (project.folder / "state").write_text("1")
    _git(project.folder, "add", "--all")
    _git(project.folder, "commit", "--quiet", "-m", "base")
    return project


@pytest.mark.parametrize(
    "kind",
    [
        {"before": 'Path("state").write_text("2")'},
        {"validity": "wrong", "benchmark": OF_OURS},
        {"before": "raise ValueError"},
        {"before": "import os; os._exit(0)"},
    ],
    ids=["writes into the revision", "is wrong", "fails", "ends the process"],
)
def test_what_a_benchmark_reads_is_not_known_where_it(tmp_path: Path, kind: dict[str, str]) -> None:
    found = _small(tmp_path, **kind).changed(README_DOT_md="other\n")
    assert found.same == {}
    assert found.notes[0] == "2 of 2 benchmarks can be reached by the 1 changed file."
    assert found.notes[1].startswith("2 benchmarks failed, or gave a wrong result, when run once")


def test_where_all_is_out_of_reach_nothing_is_left_and_damaged_records_are_made_anew(
    tmp_path: Path, processes: list[Any]
) -> None:
    project = _small(tmp_path)
    for _ in range(2):
        found = project.changed(README_DOT_md="other\n")
        assert (found.suites, len(found.same)) == (None, 2)
        assert sum(len(job.asked) for job in processes) == 2
        (path,) = (project.store / "reach").iterdir()
        path.write_text(path.read_text("utf-8")[:-20], encoding="utf-8")
        processes.clear()


def test_a_record_holds_in_another_shell_and_not_with_other_variables(
    tmp_path: Path, processes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, ran = _small(tmp_path), []
    for name, value in (("PS1", "$"), ("PS1", "(.venv) $"), ("GITHUB_RUN_ID", "7"), ("RNNCORE_DATA", "elsewhere")):
        monkeypatch.setenv(name, value)
        project.changed(README_DOT_md="other\n")
        ran.append(len(processes))
        processes.clear()
    assert ran[0] == ran[3] > 0
    assert ran[1:3] == [0, 0]


def test_where_nothing_differs_that_is_said(tmp_path: Path) -> None:
    found = _small(tmp_path).changed()
    assert (found.suites, len(found.same)) == (None, 2)
    assert found.notes == ("Nothing differs between the sides; --all measures them all the same.",)


# Each benchmark of the first suite sees nothing of what the others left beside their folder.
LEAVES = """
    from pathlib import Path

    import pytest


    @pytest.mark.parametrize("number", [1, 2])
    def test_made(benchmark, number):
        Path("../left").touch(exist_ok=False)
        benchmark(int)
"""
IN_A_PART = {
    "part/bench/test_one.py": textwrap.dedent(LEAVES),
    "part/bench/test_two.py": "def test_made(benchmark):\n    benchmark(open('../beside.csv').read)\n",
    "pytest.ini": "[pytest]\n",
    "conftest.py": "ABOVE = 1\n",
    "beside.csv": "1",
    "part/own.csv": "1",
}


def test_in_a_folder_of_the_repository_it_is_as_in_all_of_it(tmp_path: Path) -> None:
    folder, store = tmp_path / "project", tmp_path / "store"
    for name, text in IN_A_PART.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "-m", "base")

    def found() -> Reached:
        with two_worktrees(folder / "part", "HEAD", "worktree") as trees:
            return find_reached(trees, Suites(arguments=()), store, lambda line: None)

    unchanged = found()
    assert (unchanged.suites, len(unchanged.same), _stems([*unchanged.same])) == (None, 3, {"one", "two"})
    assert unchanged.notes == ("Nothing differs between the sides; --all measures them all the same.",)
    for name, reached in (("beside.csv", {"two"}), ("part/own.csv", set()), ("part/bench/test_one.py", {"one"})):
        (folder / name).write_text(f"{IN_A_PART[name]}\n", encoding="utf-8")
        assert {"one", "two"} - _stems([*found().same]) == reached
        (folder / name).write_text(IN_A_PART[name], encoding="utf-8")
    (folder / "conftest.py").write_text("ABOVE = 2\n", encoding="utf-8")
    above = found()
    assert above.suites is not None
    assert (above.same, above.suites.paths) == ({}, ("bench/test_one.py", "bench/test_two.py"))


def test_what_was_found_before_a_gate_is_broken_off_is_kept(
    tmp_path: Path, processes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = _small(tmp_path)
    traces: Callable[..., Any] = reach._traces

    def broken_off(jobs: Sequence[Any], *limits: float) -> Iterator[Any]:
        yield from traces(jobs, *limits)
        if any(job.asked for job in jobs):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reach, "_traces", broken_off)
        with pytest.raises(KeyboardInterrupt):
            project.changed(README_DOT_md="other\n")
    processes.clear()
    assert len(project.changed(README_DOT_md="other\n").same) == 2
    assert processes == []


def test_what_the_change_reaches_for_certain_is_not_run_before(tmp_path: Path, processes: list[Any]) -> None:
    found = _small(tmp_path).changed(bench__test_one_DOT_py=_suite(call="sum(range(9))"))
    assert found.same == {}
    assert sorted((job.tree.side, job.asked) for job in processes) == [("base", ()), ("head", ())]


def test_what_reaches_skipped_benchmarks_alone_leaves_all_to_measure(tmp_path: Path) -> None:
    """A process that times nothing would leave no run file."""
    project = _small(tmp_path, before='Path("state").read_text() and pytest.skip("not here")')
    found = project.changed(state="2")
    assert (found.suites, found.same) == (Suites(), {})


def test_verdicts_on_all_are_those_on_the_measured_and_the_same(known: Project) -> None:
    found = Reached(None, {"bench/test_a.py::test_made[1]": "made"}, ("0 of 1 benchmark can be reached.",))
    with two_worktrees(known.folder, "main", "main") as trees:
        comparison = found.added_to(nothing_measured(trees))
    (one,) = comparison.judgements
    assert (one.verdict, one.reason, one.ratio, one.group) == ("same", SAME, None, "made")
    assert (comparison.verdict, comparison.exit_code) == ("same", 0)
    assert comparison.notes == found.notes


@pytest.mark.parametrize(("at_once", "call"), [(1, "pass"), (2, "import time; time.sleep(600)")], ids=["waits", "hangs"])
def test_what_is_not_found_out_in_time_is_measured_and_later_gates_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, call: str
) -> None:
    project = _small(tmp_path)
    (project.folder / "bench" / "test_two.py").write_text(_suite(call=call), "utf-8")
    _git(project.folder, "add", "--all")
    _git(project.folder, "commit", "--quiet", "-m", "two")
    monkeypatch.setattr(reach, "_AT_ONCE", at_once)
    (project.folder / "state").write_text("2")
    _git(project.folder, "commit", "--quiet", "--all", "-m", "change")
    ended: list[str] = []
    traced = reach._WatchedProcess.trace

    def tracing(process: Any) -> Any:
        ended.append("one")
        return traced(process)

    with two_worktrees(project.folder, "HEAD~1", "HEAD") as trees:
        # The time is over with the first that ends of those that run one benchmark; two processes collect before.
        with monkeypatch.context() as patch:
            patch.setattr(reach._WatchedProcess, "trace", tracing)
            clock_s = SimpleNamespace(monotonic=lambda: 1000.0 if len(ended) > 2 else 0.0, sleep=time.sleep)
            patch.setattr(reach, "time", clock_s)
            in_no_time = find_reached(trees, Suites(), project.store, project.lines.append, 900.0)
        assert in_no_time.suites is not None
        assert (_stems([*in_no_time.same]), in_no_time.suites.paths) == ({"one"}, ("bench/test_two.py",))
        assert in_no_time.notes[-1] == "What 2 benchmarks read was not found out in time; later gates go on with it."
        if call == "pass":
            later = find_reached(trees, Suites(), project.store, project.lines.append, 600.0)
            assert (_stems([*later.same]), later.suites) == ({"one", "two"}, None)
