"""Tests of pairs of live processes: small real suites that take their turns, differ, fail, die, and are ended."""

import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from rnncore.compare.judge import Side, judge
from rnncore.compare.pairs import log_ratios_of, pairs_of
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison
from rnncore.drive import pairs, patience
from rnncore.drive.pairs import (
    ENOUGH_PAIRS,
    FEWEST_SLOTS,
    MOST_SLOTS,
    PAIR_SD,
    QUIET_SLOT_SD,
    SPARE,
    LiveProcess,
    Pair,
    Plan,
    planned,
    run_pair,
    slot_sd,
    too_long,
)
from rnncore.drive.patience import Patience
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree
from rnncore.errors import ProcessError
from rnncore.runfile.record import Record, Run
from tests.processes import state_of

pytestmark = pytest.mark.long

# Each call is noted in a file that both sides share, so that a test can see who ran when.
SUITE = """
    import os
    import signal
    import stat
    import sys
    import time
    from contextlib import suppress
    from pathlib import Path

    import pytest

    SIDE = Path.cwd().name
    LOG = Path.cwd().parent / "log"
    with open(LOG.with_name("pids"), "a") as pids:
        pids.write(f"{{os.getpid()}}\\n")


    def scribble(text):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if stat.S_ISFIFO(os.fstat(int(name)).st_mode):
                    os.write(int(name), text.encode())


    def notes(size):
        calls, in_slots = [], []

        def in_slot(call):
            if sys._getframe(2).f_code.co_name == "rounds_of_a_slot":
                in_slots.append(None)
            return len(in_slots) >= call

        def run():
            calls.append(None)
            with open(LOG, "a") as log:
                log.write(f"{{SIDE}} {{size}}\\n")
            sum(range(50_000))
            {in_call}

        return calls, run

"""
# A benchmark of any suite, which starts in half a second; ours loads torch.
OF_ANY = """
    @pytest.mark.parametrize("size", [{sizes}], ids="b{{}}".format)
    def test_made(benchmark, size):
        calls, run = notes(size)
        {before}
        benchmark(run)
"""
OF_OURS = """
    from rnncore.runfile.case import Case


    def sized(*sizes):
        return lambda scale: [
            Case("infer", "gru", 8, 1, 4, batch_size=size, device="cpu", precision="fp32") for size in sizes
        ]


    @pytest.mark.rnn_cases(choose=sized({sizes}))
    def test_made(rnn_case, rnn_benchmark):
        size = rnn_case.batch_size
        calls, run = notes(size)
        {before}
        rnn_benchmark(run, windows=1, group="made")
        rnn_benchmark.record(validity="valid")
"""
PLAN = Plan(slots=4, slot_s=0.005)

SCRIBBLED = "wrote into the pipe by which its process and the gate talk"


@dataclass
class Project:
    """Two trees in a folder, and what their processes leave there."""

    folder: Path

    def write(self, side: str, sizes: str = "1, 2", before: str = "", in_call: str = "", benchmark: str = OF_ANY) -> None:
        suite = self.folder / side / "bench" / "test_made.py"
        suite.parent.mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(SUITE) + textwrap.dedent(benchmark)
        suite.write_text(text.format(sizes=sizes + ",", before=before, in_call=in_call), encoding="utf-8")

    def run(
        self,
        plan: Plan = PLAN,
        number: int | None = 0,
        seed: int = 0,
        extra: Sequence[Sequence[str]] = ((), ()),
        suites: Suites = Suites(),  # noqa: B008 (it cannot change)
        patience: Patience | None = None,
    ) -> Pair:
        trees = [Tree(self.folder / side, side) for side in ("base", "head")]
        files = [self.folder / "out" / f"{number}-{tree.name}.json" for tree in trees]
        chance = Random(seed)  # noqa: S311 (an order, no secret)
        return run_pair(trees, suites, files, plan, number, chance, extra, patience)

    def turns(self) -> list[tuple[str, int]]:
        """Return whose calls ran, one after another, each with the size of its benchmark; calls of a slot are one turn."""
        lines = [line.split() for line in (self.folder / "log").read_text("utf-8").splitlines()]
        calls = [(side, int(size)) for side, size in lines]
        return [now for place, now in enumerate(calls) if place == 0 or calls[place - 1] != now]

    def pids(self) -> list[int]:
        return _pids(self.folder / "pids")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    for side in ("base", "head"):
        made.write(side)
    return made


def _judged(pair: Pair) -> Comparison:
    return judge(Side("base", (pair.base,)), Side("head", (pair.head,)), Thresholds())


def _sizes(run: Run) -> list[int]:
    return [int(re.findall(r"\bb(\d+)", record.fullname)[-1]) for record in run.records]


def _assert_ended(pids: Sequence[int], by_us: bool = True) -> None:
    """Assert that processes are gone, and neither stopped nor running; others than us may leave them to be waited for."""
    assert pids
    for pid in pids:
        for _ in range(100):
            if (state := state_of(pid)) is None or (not by_us and state == "Z"):
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"process {pid} is still there: {state_of(pid)}")


@pytest.mark.parametrize("benchmark_", [OF_ANY, OF_OURS], ids=["any suite", "ours"])
def test_two_processes_take_slots_one_after_the_other(project: Project, benchmark_: str) -> None:
    for side in ("base", "head"):
        project.write(side, benchmark=benchmark_)
    pair = project.run(number=5)
    for run in (pair.base, pair.head):
        assert run.pair == 5
        assert _sizes(run) == [1, 2]
        assert all(len(record.slots_s) == PLAN.slots for record in run.records)
    assert pairs_of([pair.base], [pair.head]) == [(pair.base, pair.head)]
    assert (pair.slots, pair.slots_s < pair.wall_s) == (PLAN.slots, True)
    # Both are warmed up; from then on A B B A A B B A. Whoever was second with one benchmark is first with the next.
    turns = project.turns()
    ones = [side for side, size in turns if size == 1]
    first, second = ones[:2]
    assert {first, second} == {"base", "head"}
    assert ones == [first, second] * 3 + [first]
    twos = [side for side, size in turns if size == 2]
    assert twos[-1] == second
    _assert_ended(project.pids())


def test_both_import_what_benchmarks_will_before_the_first_begins(project: Project) -> None:
    seen = 'ahead = "wave" in sys.modules; import wave; LOG.with_name(SIDE + "-ahead").write_text(str(ahead))'
    for side in ("base", "head"):
        project.write(side, sizes="1", before=seen)
    for plan, was_ahead in ((PLAN, "False"), (replace(PLAN, imports=(("wave",), ("wave",))), "True")):
        pair = project.run(plan)
        assert all("wave" in names for names in pair.imported)
        assert [(project.folder / f"{side}-ahead").read_text("utf-8") for side in ("base", "head")] == [was_ahead] * 2


def test_memory_is_measured_where_it_is_asked_for(project: Project) -> None:
    for side in ("base", "head"):
        project.write(side, benchmark=OF_OURS + "        rnn_benchmark.record_memory(object(), (1, 4, 1))\n")
    unasked = "earlier pairs of processes told it"
    whys = {
        plan.measures_memory: {record.why("peak_rss_bytes") for run in (pair.base, pair.head) for record in run.records}
        for plan in (PLAN, replace(PLAN, measures_memory=False))
        for pair in [project.run(plan)]
    }
    assert whys[False] == {unasked}
    assert unasked not in whys[True]


def test_who_is_first_is_left_to_chance(project: Project) -> None:
    # Of a generator that is handed in: these two say otherwise.
    for seed, first in ((1, "base"), (5, "head")):
        (project.folder / "log").unlink(missing_ok=True)
        project.run(Plan(1, 0.001), seed=seed)
        assert project.turns()[0] == (first, 1)


def test_who_is_first_is_started_first(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first to start gets, such as a port, is then as often the head's as the base's."""
    started: list[str] = []

    class Noted(LiveProcess):
        def __init__(self, tree: Tree, *more: Any) -> None:
            started.append(tree.name)
            super().__init__(tree, *more)

    monkeypatch.setattr(pairs, "LiveProcess", Noted)
    for seed in (1, 5):
        (project.folder / "log").unlink(missing_ok=True)
        started.clear()
        pair = project.run(Plan(1, 0.001), seed=seed)
        assert started[0] == project.turns()[0][0]
        assert [run.path.stem for run in (pair.base, pair.head)] == ["0-base", "0-head"]


def test_a_delay_of_the_head_alone_is_in_the_ratio(project: Project) -> None:
    pair = project.run(extra=((), ["--rnn-delay=300:*"]))
    for before, now in zip(pair.base.records, pair.head.records, strict=True):
        assert before.injected_delay_pct is None
        assert now.injected_delay_pct == 300
        assert log_ratios_of([(before, now)], "time")[0] > 0.3


def test_benchmarks_of_one_side_alone_come_last(project: Project) -> None:
    project.write("base", sizes="3, 1, 2")
    project.write("head", sizes="4, 2, 1")
    pair = project.run()
    assert _sizes(pair.base) == [2, 1, 3]
    assert _sizes(pair.head) == [2, 1, 4]


def test_benchmarks_that_are_left_out_are_timed_on_no_side(project: Project) -> None:
    names = [record.fullname for record in project.run().head.records]
    pair = project.run(Plan(2, 0.001, without=frozenset({names[0]})), number=1)
    assert [_sizes(run) for run in (pair.base, pair.head)] == [[2], [2]]


def test_benchmarks_that_no_pair_measures_are_timed_on_no_side(project: Project) -> None:
    names = [record.fullname for record in project.run().head.records]
    pair = project.run(Plan(2, 0.001), number=1, suites=Suites(without=frozenset({names[1]})))
    assert [_sizes(run) for run in (pair.base, pair.head)] == [[1], [1]]


@pytest.mark.parametrize("side", ["base", "head"])
@pytest.mark.parametrize(
    ("before", "outcomes"),
    [("assert size == 2", (1, 0)), ("if size == 1: pytest.skip('not here')", (0, 1))],
    ids=["fails", "is skipped"],
)
def test_a_benchmark_that_does_not_get_ready_on_one_side_is_timed_on_the_other(
    project: Project, side: str, before: str, outcomes: tuple[int, int]
) -> None:
    project.write(side, before=before)
    pair = project.run()
    broken, whole = (pair.base, pair.head) if side == "base" else (pair.head, pair.base)
    assert (len(broken.failed), len(broken.skipped)) == outcomes
    assert _sizes(broken) == [2]
    assert _sizes(whole) == [1, 2]
    assert [len(run.records[-1].slots_s) for run in (broken, whole)] == [PLAN.slots] * 2


@pytest.mark.parametrize(("side", "verdicts"), [("base", {"new"}), ("head", {"invalid"})])
def test_a_side_of_which_every_benchmark_fails_is_judged(project: Project, side: str, verdicts: set[str]) -> None:
    project.write(side, before="assert size == 0, 'broken'")
    pair = project.run()
    broken, whole = (pair.base, pair.head) if side == "base" else (pair.head, pair.base)
    assert [_sizes(run) for run in (broken, whole)] == [[], [1, 2]]
    assert len(broken.failed) == 2
    found = judge(Side("base", (pair.base,)), Side("head", (pair.head,)), Thresholds())
    assert {one.verdict for one in found.judgements} == verdicts
    assert all("broken" in one.reason for one in found.judgements)


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_benchmark_that_fails_in_a_slot_takes_no_slot_of_the_next(project: Project, side: str) -> None:
    project.write(side, in_call="assert size == 2 or not in_slot(3)")
    pair = project.run(Plan(6, 0.02))
    broken, whole = (pair.base, pair.head) if side == "base" else (pair.head, pair.base)
    assert len(broken.failed) == 1
    assert _sizes(broken) == [2]
    assert [len(record.slots_s) for record in broken.records] == [6]
    assert [len(record.slots_s) for record in whole.records] == [6, 6]


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("in_slot(3) and os.kill(os.getpid(), signal.SIGKILL)", "ended all of its process, by SIGKILL"),
        ("in_slot(3) and os._exit(0)", "ended all of its process, with exit code 0"),
        ("os._exit(7)", "ended all of its process, with exit code 7"),
        ('pytest.exit("no more")', "broke off all of its process (Exit: no more)"),
        ("""scribble('{"ready": "of no suite"}' + chr(10))""", SCRIBBLED),
        ("in_slot(3) and scribble('no JSON')", SCRIBBLED),
        ("any(scribble('x' * 4096) for _ in iter(int, 1))", SCRIBBLED),
    ],
    ids=["killed", "without a word", "before its slots", "pytest.exit", "another's line", "no line", "no end"],
)
@pytest.mark.parametrize("side", ["base", "head"])
def test_a_benchmark_that_ends_its_process_fails_and_the_others_are_measured(
    project: Project, side: str, what: str, reason: str
) -> None:
    project.write(side, in_call=f"size == 1 and {what}")
    pair = project.run(Plan(6, 0.02))
    broken, whole = (pair.base, pair.head) if side == "base" else (pair.head, pair.base)
    (name,) = pair.fatal[0 if side == "base" else 1]
    assert broken.failed == ((name, "error", reason),)
    assert (_sizes(broken), {*_sizes(whole)}, whole.failed) == ([2], {1, 2}, ())
    verdicts = {one.fullname: one.verdict for one in _judged(pair).judgements if one.measure == "time"}
    assert verdicts[name] == ("new" if side == "base" else "invalid")
    _assert_ended(project.pids())


@pytest.mark.parametrize("side", ["base", "head"])
def test_benchmarks_that_a_session_ends_before_failed_there(project: Project, side: str) -> None:
    """Nothing of them would be known, and a slower one would pass unseen."""
    ends = """
        @pytest.mark.parametrize("size", [{sizes}], ids="b{{}}".format)
        def test_made(request, benchmark, size):
            calls, run = notes(size)
            {before}
            benchmark(run)
            request.session.shouldfail = "enough"
    """
    project.write(side, benchmark=ends)
    pair = project.run()
    broken, whole = (pair.base, pair.head) if side == "base" else (pair.head, pair.base)
    assert broken.failed == (("bench/test_made.py::test_made[b2]", "error", "its session ended before it"),)
    assert (_sizes(broken), {*_sizes(whole)}, whole.failed) == ([1], {1, 2}, ())


@pytest.mark.parametrize("side", ["base", "head"])
def test_what_ended_its_process_in_an_earlier_pair_counts_as_failed_in_a_later_one_and_is_not_begun(
    project: Project, side: str
) -> None:
    project.write(side, in_call="size == 1 and os._exit(7)")
    name, reason = "bench/test_made.py::test_made[b1]", "ended all of its process, with exit code 7"
    known = {name: reason}
    pair = project.run(Plan(6, 0.02, fatal=(known, {}) if side == "base" else ({}, known)), number=1)
    broken, whole = (pair.base, pair.head) if side == "base" else (pair.head, pair.base)
    assert (broken.failed, whole.failed) == (((name, "error", reason),), ())
    assert (_sizes(broken), {*_sizes(whole)}) == ([2], {1, 2})
    # A process that ended would have been started again.
    assert len(project.pids()) == 2


# One more would be believed, which a revision from before the token says: {"collected": [...]}.
@pytest.mark.parametrize("text", ['{"ready": 3}\n', "{}\n[]\n", "no line"])
def test_what_a_suite_writes_into_the_pipe_as_it_is_imported_is_no_matter(project: Project, text: str) -> None:
    for side in ("base", "head"):
        suite = project.folder / side / "bench" / "test_made.py"
        suite.write_text(f"{suite.read_text('utf-8')}\n\nscribble({text!r})\n", encoding="utf-8")
    pair = project.run()
    assert [{*_sizes(run)} for run in (pair.base, pair.head)] == [{1, 2}, {1, 2}]
    assert pair.fatal == ({}, {})


def test_a_copy_of_a_process_that_goes_on_with_its_session_answers_nothing(project: Project) -> None:
    for side in ("base", "head"):
        project.write(side, before="if size == 1 and os.fork() == 0: raise RuntimeError('in the copy')")
    pair = project.run()
    assert [{*_sizes(run)} for run in (pair.base, pair.head)] == [{1, 2}, {1, 2}]
    assert (pair.base.failed, pair.head.failed, pair.fatal) == ((), (), ({}, {}))
    _assert_ended(project.pids())


def test_a_benchmark_that_ends_the_processes_of_both_sides_is_not_judged(project: Project) -> None:
    for side in ("base", "head"):
        project.write(side, in_call="size == 1 and os._exit(7)")
    pair = project.run(Plan(6, 0.02))
    assert sorted(one.verdict for one in _judged(pair).judgements if one.measure == "time") == ["not judged", "unclear"]


def test_a_benchmark_that_hangs_on_one_side_is_told_and_ended_by_what_the_other_took(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a busy host takes to start is not in it.
    monkeypatch.setattr(Patience, "limit_s", lambda self, name: 8.0 if "b1" in name else 600.0)
    monkeypatch.setattr(pairs, "SAY_AFTER_S", 4.0)
    project.write("head", in_call="size == 1 and time.sleep(600)")
    said: list[str] = []
    pair = project.run(patience=Patience(say=said.append), number=None)
    ((name, outcome, reason),) = pair.head.failed
    assert outcome == "error"
    assert re.fullmatch(r"took longer than [\d.]+ s, where another process took .* s; .*--rnn-case-timeout.*", reason)
    *_, lasts, ends = [line for line in said if name in line]
    assert re.fullmatch(r"head head: .* has taken \d+ seconds so far, and is ended after [\d.]+ s; .*", lasts)
    assert "It counts as failed" in ends
    assert (_sizes(pair.head), {*_sizes(pair.base)}) == ([2], {1, 2})
    _assert_ended(project.pids())


def test_where_one_benchmark_after_another_hangs_there_is_an_end_to_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "AGAIN_S", 0.0)
    project.write("head", in_call="os._exit(7)")
    with pytest.raises(ProcessError, match=r"head.*: .*\[.*b1.*\] ended all of its process, .* 7\. Mend it"):
        project.run()
    _assert_ended(project.pids())


def test_a_process_that_dies_at_once_is_an_error_and_ends_the_other(project: Project) -> None:
    project.write("head", sizes="no_such_name")
    with pytest.raises(ProcessError, match="exit code 2 and no run file") as caught:
        project.run()
    assert "no_such_name" in str(caught.value)
    _assert_ended(project.pids())


def _detaching(pids: Path, *environments: str) -> str:
    """Return code that starts a process in a session of its own in each of some environments, and notes their numbers."""
    started = "str(subprocess.Popen(['sleep', '100'], start_new_session=True, env={}).pid) + '\\n'"
    return f"open({str(pids)!r}, 'a').write({' + '.join(map(started.format, environments))})"


FORKS = """
if size == 1 and os.fork() == 0:
            with open(LOG.with_name("forked"), "a") as forked:
                forked.write(f"{os.getpid()}\\n")
            signal.pause()
            os._exit(0)
"""


def test_what_a_benchmark_leaves_running_ends_with_its_process(project: Project) -> None:
    project.write("head", before=FORKS.strip())
    project.run()
    _assert_ended([int((project.folder / "forked").read_text("utf-8"))], by_us=False)


@pytest.mark.parametrize("in_call", ["pass", "size == 1 and time.sleep(600)"], ids=["ends", "hangs"])
def test_what_a_benchmark_starts_in_a_session_of_its_own_ends_with_its_process(
    project: Project, in_call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Patience, "limit_s", lambda self, name: 8.0 if "b1" in name else 600.0)
    pids = project.folder / "detached"
    project.write("head", before=f"import subprocess, time; {_detaching(pids, 'None')}", in_call=in_call)
    pair = project.run()
    assert len(pair.head.failed) == (in_call != "pass")
    _assert_ended(_pids(pids), by_us=False)


# Writes down the time a hundred times a second, wherever it was started.
TICKS = """
import time

with open("ticks", "a", buffering=1) as ticks:
    while True:
        ticks.write(f"{time.monotonic()}\\n")
        time.sleep(0.01)
"""


def test_what_a_benchmark_started_is_stopped_while_the_other_side_is_timed(project: Project) -> None:
    project.write("base", "1", in_call="time.sleep(0.3)")
    script = project.folder / "ticks.py"
    script.write_text(TICKS, encoding="utf-8")
    start = f"import subprocess; subprocess.Popen([sys.executable, {str(script)!r}])"
    project.write("head", "1", before=start, in_call="time.sleep(0.3)")
    project.run(Plan(6, 0.005))
    ticks = [float(line) for line in (project.folder / "head" / "ticks").read_text("utf-8").split()]
    pauses = sum(later - earlier > 0.25 for earlier, later in pairwise(ticks[:-1]))
    # Of A B B A A B B A A B B A.
    assert pauses >= 3


def test_a_process_that_dies_is_seen_though_one_that_it_forked_lives(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "TIMEOUT_S", 20.0)
    project.write("head", before=FORKS.strip(), in_call="size == 2 and in_slot(3) and os._exit(7)")
    pair = project.run(Plan(6, 0.02))
    assert [reason for _, _, reason in pair.head.failed] == ["ended all of its process, with exit code 7"]
    _assert_ended([int(pid) for pid in (project.folder / "forked").read_text("utf-8").split()], by_us=False)


def test_a_revision_that_knows_no_slots_is_told(project: Project) -> None:
    """As an old one would, it takes no notice of the pipes."""
    old = project.folder / "base" / "conftest.py"
    old.write_text(
        "from rnncore.measure.fixtures import SESSION\n\n\n"
        "def pytest_collection(session):\n"
        "    session.config.stash[SESSION].slots = None\n",
        encoding="utf-8",
    )
    with pytest.raises(
        ProcessError, match=r"base: the process measured 2 benchmarks without slots: .* older than the gate's"
    ):
        project.run()
    _assert_ended(project.pids())


def test_two_benchmarks_of_one_name_end_a_gate_with_the_name_and_both_files(project: Project) -> None:
    """Of folders that have settings of their own pytest takes one for the root of all."""
    for side in ("base", "head"):
        for part in ("one", "two"):
            folder = project.folder / side / part
            folder.mkdir()
            (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", encoding="utf-8")
            (folder / "test_a.py").write_text("def test_b(benchmark):\n    benchmark(int)\n", encoding="utf-8")
    with pytest.raises(ProcessError, match=r"test_a\.py::test_b: two benchmarks have this name, in .*--rootdir"):
        project.run(suites=Suites(("one/", "two/")))
    pair = project.run(suites=Suites(("one/", "two/"), ("--rootdir=.", "--import-mode=importlib")))
    assert [record.fullname for record in pair.head.records] == ["one/test_a.py::test_b", "two/test_a.py::test_b"]


@pytest.mark.parametrize("side", ["base", "head"])
def test_of_a_suite_of_which_one_file_cannot_be_imported_pytest_s_own_words_are_shown(project: Project, side: str) -> None:
    broken = project.folder / side / "bench" / "test_broken.py"
    broken.write_text("import no_such_module_anywhere\n", encoding="utf-8")
    with pytest.raises(ProcessError) as caught:
        project.run()
    said = str(caught.value)
    assert "No module named 'no_such_module_anywhere'" in said
    assert "--isolated" in said
    assert "-k" not in said
    _assert_ended(project.pids())


def test_a_process_that_takes_too_long_is_ended(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = project.folder / "head" / "bench" / "test_made.py"
    suite.write_text("import time\n\ntime.sleep(600)\n", encoding="utf-8")
    monkeypatch.setattr(patience, "TIMEOUT_S", 12.0)
    with pytest.raises(ProcessError, match=r"took longer than 12 s.* and was ended"):
        project.run()
    _assert_ended(project.pids())


def test_an_interrupt_ends_both_processes_also_the_one_that_is_stopped(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = LiveProcess.slot
    states: list[str] = []

    def interrupted(self: LiveProcess, seconds: float, cpu: int | None) -> None:
        slot(self, seconds, cpu)
        states.extend(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] for pid in project.pids())
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveProcess, "slot", interrupted)
    with pytest.raises(KeyboardInterrupt):
        project.run()
    # Between slots neither may take time.
    assert states == ["T", "T"]
    _assert_ended(project.pids())


def test_a_process_that_died_between_two_slots_is_not_waited_for(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = LiveProcess.slot
    killed: list[int] = []

    def killing(self: LiveProcess, seconds: float, cpu: int | None) -> None:
        if not killed:
            killed.append(project.pids()[0])
            os.kill(killed[0], signal.SIGKILL)
        slot(self, seconds, cpu)

    monkeypatch.setattr(LiveProcess, "slot", killing)
    pair = project.run()
    ((_, outcome, reason),) = pair.base.failed + pair.head.failed
    assert (outcome, reason) == ("error", "ended all of its process, by SIGKILL")
    # The pair was measured once more, and the other benchmark on both sides.
    assert len(project.pids()) == 4
    assert sorted(len(run.records) for run in (pair.base, pair.head)) == [1, 2]
    _assert_ended(project.pids())


# ------------------------------------------------------------------------------------------------------ a gate that dies


@pytest.fixture
def gate(project: Project, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A real gate of two equal revisions: one of its processes is in a slot and the other stopped.

    With the parameter "watched" it is before that: it finds out what its two benchmarks read, the first of which is running.
    """
    is_watched = getattr(request, "param", "") == "watched"
    wanted = {"S"} if is_watched else {"S", "T"}
    repository, pids, detached = (project.folder / name for name in ("head", "pids", "detached"))
    # One of them without our environment.
    starts = _detaching(detached, "None", "{}")
    # Both worktrees lie elsewhere. A call takes as long as it takes to be killed in it.
    project.write(
        "head",
        before=f"open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n'); import subprocess, time; {starts}",
        in_call="in_slot(1) and time.sleep(60)",
    )
    for command in ("init --quiet", "add .", "-c user.name=A -c user.email=a@example.org commit --quiet -m made"):
        subprocess.run(["git", *command.split()], cwd=repository, check=True)
    command = [sys.executable, "-m", "rnncore", "gate", "--base", "HEAD", "--out", str(project.folder / "out")]
    command += [] if is_watched else ["--all"]
    # One that is killed leaves its worktrees there.
    environment = {**os.environ, "TMPDIR": str(project.folder)}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Whatever started the tests, such as nohup, may ignore that its terminal hangs up; that is inherited.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        started = subprocess.Popen(command, cwd=repository, env=environment, **silent)
    finally:
        signal.signal(signal.SIGHUP, before)
    with started as process:
        try:
            deadline_s = time.monotonic() + 100
            while time.monotonic() < deadline_s and not (pids.exists() and _states(project, len(wanted)) == wanted):
                time.sleep(0.1)
            assert _states(project, len(wanted)) == wanted
            yield process
        finally:
            process.kill()
            for pid in _pids(detached) if detached.exists() else []:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _pids(file: Path) -> list[int]:
    return list(map(int, file.read_text("utf-8").split()))


def _states(project: Project, count: int) -> set[str | None]:
    """Return what processes do: sleep in a call, or are stopped; nothing until there are as many."""
    pids = project.pids()
    return set(map(state_of, pids)) if len(pids) == count else set()


def _worktrees(project: Project) -> list[str]:
    command = ["git", "worktree", "list", "--porcelain"]
    done = subprocess.run(command, cwd=project.folder / "head", capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith("worktree ")]


IN_SLOTS_OR_WATCHED = pytest.mark.parametrize("gate", ["in slots", "watched"], indirect=True)


@IN_SLOTS_OR_WATCHED
def test_a_gate_that_is_killed_leaves_no_process_behind(project: Project, gate: subprocess.Popen[bytes]) -> None:
    assert len(_worktrees(project)) == 3
    gate.kill()
    gate.wait(30)
    _assert_ended(project.pids(), by_us=False)


@IN_SLOTS_OR_WATCHED
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_gate_that_is_asked_to_end_leaves_neither_process_nor_worktree_behind(
    number: signal.Signals, project: Project, gate: subprocess.Popen[bytes]
) -> None:
    folders = [Path(line.removeprefix("worktree ")) for line in _worktrees(project)[1:]]
    gate.send_signal(number)
    assert gate.wait(30) == 128 + number
    _assert_ended(project.pids(), by_us=False)
    _assert_ended(_pids(project.folder / "detached"), by_us=False)
    assert len(_worktrees(project)) == 1
    assert not any(folder.parent.exists() for folder in folders)
    assert list(project.folder.glob("rnncore-*")) == []


# ------------------------------------------------------------------------------------------------------------- their plan


def _pair(wall_s: float, slots_s: float, slots: int) -> Pair:
    run = Run(Path("a.json"), "2026-11-26", None, {}, None, (), (), (), None, {}, (), "")
    return Pair(run, run, wall_s, slots_s, slots)


@pytest.mark.parametrize(("wall_s", "slots_s", "slots"), [(10.0, 6.0, 3), (25.0, 15.0, 5), (40.0, 1.0, 2)])
def test_a_pair_of_another_plan_takes_longer_by_its_slots(wall_s: float, slots_s: float, slots: int) -> None:
    pair = _pair(wall_s, slots_s, slots)
    assert pair.wall_of(Plan(slots)) == pytest.approx(wall_s)
    assert pair.wall_of(Plan(2 * slots)) == pytest.approx(wall_s + slots_s)


@pytest.mark.parametrize(("wall_s", "slots_s"), [(5.0, 0.3), (5.0, 0.05), (9.0, 0.2), (16.0, 6.0), (1000.0, 1.0)])
def test_a_plan_has_as_many_slots_as_tell_most_in_the_time(wall_s: float, slots_s: float) -> None:
    warm_up = _pair(wall_s, slots_s, 3)

    def error_of(slots: int) -> float:
        # Of a mean over the pairs that a second holds, where those vary by 1 between them.
        return (1 + (QUIET_SLOT_SD / PAIR_SD) ** 2 / slots) * warm_up.wall_of(Plan(slots))

    best = min(range(FEWEST_SLOTS, MOST_SLOTS + 1), key=error_of)
    # The formula is of slots that need not be whole.
    assert error_of(planned(warm_up).slots) <= 1.01 * error_of(best)


@pytest.mark.parametrize(("wall_s", "slots"), [(6.0, FEWEST_SLOTS), (1e6, MOST_SLOTS)])
def test_a_plan_has_no_fewer_and_no_more_slots_than_make_sense(wall_s: float, slots: int) -> None:
    assert planned(_pair(wall_s, 6.0, 3)).slots == slots


def _scattered_pair(sd: float, benchmarks: int = 400) -> Pair:
    """Return a pair of three slots, of which the head's log ratios scatter by a standard deviation."""
    chance = Random(0)  # noqa: S311 (a test, no secret)

    def run(sd: float) -> Run:
        records = []
        for number in range(benchmarks):
            slots_s = tuple(math.exp(chance.gauss(0, sd)) for _ in range(3))
            records.append(Record(f"a.py::test[{number}]", "made", slots_s, {"slot_rounds": [1, 1, 1]}))
        return replace(_pair(10.0, 0.6, 3).base, records=tuple(records))

    return replace(_pair(10.0, 0.6, 3), base=run(0.0), head=run(sd))


@pytest.mark.parametrize("sd", [0.005, 0.1])
def test_what_a_ratio_scatters_between_slots_is_seen_in_the_warm_up(sd: float) -> None:
    assert slot_sd(_scattered_pair(sd)) == pytest.approx(sd, rel=0.1)


def test_of_slots_that_no_benchmark_has_on_both_sides_nothing_is_known() -> None:
    assert slot_sd(replace(_scattered_pair(0.1), base=_pair(10.0, 0.6, 3).base)) == 0
    assert slot_sd(_scattered_pair(0.1, benchmarks=0)) == 0


def test_a_loud_host_has_more_slots_as_long_as_the_budget_holds_enough_pairs() -> None:
    quiet, loud = _scattered_pair(0.001), _scattered_pair(0.1)
    few = planned(quiet).slots
    assert few < MOST_SLOTS == planned(loud).slots
    for budget_s in (30.0, 250.0, 300.0, 1e4):
        slots = planned(loud, budget_s).slots
        held = budget_s / (SPARE * loud.wall_of(Plan(slots)))
        assert few <= slots <= MOST_SLOTS
        assert held >= ENOUGH_PAIRS or slots == few
        # What a quiet host gets is not taken away.
        assert planned(quiet, budget_s).slots == few


def test_a_warm_up_that_timed_nothing_has_the_plan_of_fewest_slots() -> None:
    assert planned(_pair(10.0, 0.0, 3)) == Plan(FEWEST_SLOTS)


def test_later_pairs_import_what_the_warm_up_did() -> None:
    imported = ("a", "b"), ("a",)
    assert planned(replace(_pair(10.0, 1.0, 3), imported=imported)).imports == imported


def test_what_costs_most_is_left_out_where_a_budget_holds_too_few_pairs_of_all() -> None:
    warm_up = replace(_pair(30.0, 25.0, 5), slots_s_of={"a": 3.0, "b": 20.0, "c": 1.0})
    plan = Plan(slots=10)
    # A start of 5 s, and of twice as many slots 6, 40 and 2 s; a fifth is spare.
    for pair_s, without in [
        (53.01, set()),
        (52.9, {"b"}),
        (13.01, {"b"}),
        (12.9, {"a", "b"}),
        (7.01, {"a", "b"}),
        # Not even one fits: no choice helps.
        (6.9, set()),
    ]:
        assert too_long(warm_up, plan, 10 * 1.2 * pair_s, 10) == without
    # Of the start, c takes 4 s in its setup.
    warm_up = replace(warm_up, beside_s_of={"c": 4.0})
    for pair_s, without in [(13.01, {"b"}), (12.9, {"b", "c"}), (7.01, {"b", "c"}), (6.9, set())]:
        assert too_long(warm_up, plan, 10 * 1.2 * pair_s, 10) == without


def test_of_benchmarks_that_cost_alike_the_first_of_the_suite_are_kept_whatever_the_warm_up_says() -> None:
    names = [f"test_{number}" for number in range(8)]
    for seed in range(5):
        chance = Random(seed)  # noqa: S311 (an order, no secret)
        slots_s_of = {name: 1 + 0.9 * chance.random() for name in names} | {"long": 5.0}
        warm_up = replace(_pair(sum(slots_s_of.values()), sum(slots_s_of.values()), 5), slots_s_of=slots_s_of)
        pair_s = sum(slots_s_of[name] for name in names[:4])
        kept = [name for name in slots_s_of if name not in too_long(warm_up, Plan(slots=5), 10 * 1.2 * pair_s + 1e-6, 10)]
        assert kept == names[:4]


def test_the_setup_of_a_benchmark_is_told_from_the_start_of_all(project: Project) -> None:
    project.write("head", before="import time; time.sleep(0.7 * (size == 2))")
    pair = project.run()
    (second,) = [name for name in pair.slots_s_of if pair.beside_s_of.get(name, 0.0) > 0.7]
    assert "b2" in second
    assert pair.wall_s > pair.slots_s + pair.beside_s_of[second]


# -------------------------------------------------------------------------------------- what both sides of a pair have alike

HASHES = 'open(LOG.with_name("hashes"), "a").write(f"{hash(str(1))}\\n")'


def test_both_sides_of_a_pair_hash_alike_and_the_next_pair_otherwise(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    for side in ("base", "head"):
        project.write(side, "1", before=HASHES)
    for seed in (1, 2):
        project.run(number=seed, seed=seed)
    first, second, third, fourth = (project.folder / "hashes").read_text("utf-8").split()
    assert first == second
    assert third == fourth
    assert first != third


def test_a_seed_of_hashes_that_the_user_sets_stays(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    project.write("base", "1", before='assert os.environ["PYTHONHASHSEED"] == "7"')
    assert project.run().base.failed == ()


def test_libraries_that_differ_are_written_anew_for_each_pair(project: Project) -> None:
    library = project.folder / "head" / "fast.so"
    library.write_bytes(b"code")
    seen = []
    for number in range(2):
        trees = [
            Tree(project.folder / side, side, libraries=(library,) if side == "head" else ()) for side in ("base", "head")
        ]
        files = [project.folder / "out" / f"{number}-{tree.name}.json" for tree in trees]
        run_pair(trees, Suites(), files, PLAN, number, Random(0))  # noqa: S311 (an order, no secret)
        seen.append(library.stat().st_ino)
    assert len(set(seen)) == 2
    assert library.read_bytes() == b"code"
