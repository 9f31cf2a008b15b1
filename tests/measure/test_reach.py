"""Tests of benchmarks that run apart: what the process says, in which order, and what none of them leaves to the next."""

import json
import os
import subprocess
import textwrap
from pathlib import Path

import pytest

from rnncore.drive.process import suites_command
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree
from rnncore.runfile.reach import ASKED, COLLECTED, ENVIRONMENT, PLUGIN, begins, ends, outside

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be copied here")

SUITE = """
    import os
    from pathlib import Path

    import pytest
    from rnncore.runfile.case import Case

    SEEN = []


    def sized(scale):
        return [Case("infer", "gru", 8, 1, 4, batch_size=size, device="cpu", precision="fp32") for size in (1, 2, 3, 4, 5)]


    @pytest.fixture(scope="session")
    def shared():
        with open("../log", "a") as log:
            log.write(f"{os.getpid()} {os.environ.get('RNNCORE_REACH')}\\n")


    @pytest.mark.rnn_cases(choose=sized)
    def test_made(rnn_case, rnn_benchmark, shared):
        size = rnn_case.batch_size
        assert SEEN == []
        assert not Path("made").exists()
        SEEN.append(size)
        Path("made").mkdir()
        Path("made", "file").touch()
        assert size != 2
        if size == 3:
            pytest.skip("not here")
        rnn_benchmark(lambda: None, windows=1, group="made")
        rnn_benchmark.record(validity="wrong" if size == 4 else "valid")
        # Timed as in a gate, not called once as a check.
        assert rnn_benchmark._benchmark.extra_info["slot_rounds"] == [2]


    def test_other():
        Path("../other").touch()
"""


def _run(tree: Path, said: Path, suites: Suites = Suites()) -> subprocess.CompletedProcess[str]:  # noqa: B008
    environment = {**os.environ, ENVIRONMENT: str(said), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = suites_command(Tree(tree, "tree"), suites, "-p", PLUGIN, "-p", "no:cacheprovider")
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a process left that was asked for all benchmarks but the first, and one that is not there."""
    folder = tmp_path_factory.mktemp("apart")
    tree, said = folder / "tree", folder / "said"
    (tree / "bench").mkdir(parents=True)
    said.mkdir()
    (tree / "bench" / "test_made.py").write_text(textwrap.dedent(SUITE), encoding="utf-8")
    names = [f"bench/test_made.py::test_made[gru-torch-cpu-fp32-b{size}-h8-l1-t4]" for size in (5, 4, 3, 2)]
    (said / ASKED).write_text(json.dumps([*names, "bench/test_made.py::test_gone", names[0]]), encoding="utf-8")
    done = _run(tree, said)
    assert done.returncode == 0, done.stdout + done.stderr
    return said


def test_each_runs_once_as_in_a_gate_and_apart_from_the_others(said: Path) -> None:
    log = [line.split() for line in (said.parent / "log").read_text("utf-8").splitlines()]
    assert len({process for process, _ in log}) == len(log) == 5
    # What they start in turn does not run theirs so.
    assert {variable for _, variable in log} == {"None"}
    suites = json.loads((said / COLLECTED).read_text("utf-8"))
    assert len(suites) == 5
    assert set(suites.values()) == {"bench/test_made.py"}
    assert not (said.parent / "other").exists()
    assert not (said.parent / "tree" / "made").exists()


def test_those_that_were_right_or_skipped_are_told_with_their_group(said: Path) -> None:
    assert {path.name for path in said.iterdir()} == {
        *(ASKED, COLLECTED, ends(0), ends(2), ends(5)),
        *(begins(number) for number in (0, 1, 2, 3, 5)),
        *(outside(number) for number in (None, 0, 1, 2, 3, 5)),
    }
    assert [json.loads((said / ends(number)).read_text("utf-8")) for number in (0, 2, 5)] == ["made", None, "made"]


def test_two_benchmarks_of_one_name_are_refused_with_their_files(tmp_path: Path) -> None:
    """Of folders that have settings of their own pytest takes one for the root of all."""
    for part in ("one", "two"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
        (tmp_path / part / "test_a.py").write_text("def test_b(benchmark):\n    benchmark(int)\n", encoding="utf-8")
    (tmp_path / "said").mkdir()
    (tmp_path / "said" / ASKED).write_text("[]", encoding="utf-8")
    done = _run(tmp_path, tmp_path / "said", Suites(("one/", "two/")))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert "test_a.py::test_b: two benchmarks have this name" in done.stderr
