"""Which benchmarks of a gate the change can reach; the others are the same at no cost.

What a benchmark of the base reads is found by running it once while the kernel tells which files are opened, by it and by
all that it starts. It is kept in the store, and holds as long as these files are what they were.
"""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from rnncore.amounts import counted
from rnncore.compare.judge import FAMILY_ERROR, INTERVAL_ERROR
from rnncore.compare.measures import TIME
from rnncore.compare.reach import GIT, BenchmarkReach, Reach, ReachRecord, SourceTree, read_reach, write_reach
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.drive.patience import SAY_AFTER_S, SAY_EVERY_S, SHORTEST_S
from rnncore.drive.process import (
    TIMEOUT_S,
    NothingToMeasureError,
    made_by,
    require_own_modules,
    suites_command,
    tree_environment,
)
from rnncore.drive.started import Started
from rnncore.drive.suites import Suites
from rnncore.drive.watch import Opened, Watch
from rnncore.drive.worktrees import Tree, files_of
from rnncore.errors import ProcessError, Unavailable
from rnncore.files import write_text
from rnncore.runfile.reach import ASKED, COLLECTED, ENVIRONMENT, NO_GIT, PLUGIN, begins, ends, outside

SAME = "runs none of what changed"

# Processes that run benchmarks once, none of them timed.
_AT_ONCE = 2

# Benchmarks that one of them runs: the fewer, the more often it collects; the more, the longer the last one takes alone.
_TOGETHER = 8
_POLL_S = 0.05

# How often it is said how many were run.
_SAY_EVERY_S = 20.0

# Lines of a failed process's output that are shown.
_SHOWN_LINES = 3

# A copy of a process has no threads but the one that made it, so none may wait for others.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

# Variables that change from one shell, or run of a CI service, to the next, and are about that alone; and how threads wait.
_OF_A_SHELL = re.compile(
    r"_|COLORTERM|COLUMNS|DISPLAY|LINES|LS_COLORS|OLDPWD|PS\d|PWD|PYTEST_CURRENT_TEST|SHLVL|TERM|WAYLAND_DISPLAY|WINDOWID"
    r"|(ACTIONS|DBUS|GITHUB|RUNNER|SSH|TERM|TMUX|VSCODE|XDG_SESSION)_.*|TMUX|VIRTUAL_ENV_PROMPT"
    r"|GOMP_SPINCOUNT|OMP_WAIT_POLICY"
    # Of a gate that this one runs in.
    r"|RNNCORE_MARKS"
    # Of GitLab, of containers and of services, each another with every job.
    r"|(CI|GITLAB)_.*|HOSTNAME|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_EXEC_PID|MEMORY_PRESSURE_.*"
)


@dataclass(frozen=True)
class Reached:
    """What is left to measure.

    Attributes:
        suites: What each process runs, with what it leaves out; None where nothing is left.
        same: Benchmarks that the change cannot reach, with the group that each is listed with.
        notes: What a reader must know of it.
        skipped: Benchmarks that are skipped on this machine, and that the change cannot reach.
    """

    suites: Suites | None
    same: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    skipped: frozenset[str] = frozenset()

    def added_to(self, comparison: Comparison) -> Comparison:
        """Return verdicts on the others as verdicts on all."""
        same = tuple(Judgement(name, group, TIME, "same", SAME) for name, group in self.same.items())
        return replace(comparison, judgements=(*comparison.judgements, *same), notes=(*self.notes, *comparison.notes))


def nothing_measured(trees: tuple[Tree, Tree]) -> Comparison:
    """Return the comparison of two trees of which nothing had to be measured."""
    base, head = trees
    return Comparison(base.name, head.name, (), (), 1 - INTERVAL_ERROR, FAMILY_ERROR)


def find_reached(
    trees: tuple[Tree, Tree], suites: Suites, store: Path, on_reach: Callable[[str], None], limit_s: float = math.inf
) -> Reached:
    """Find out which benchmarks a change can reach.

    Args:
        trees: Base and head.
        suites: What each process would run.
        store: What is known of the benchmarks lies there, and is kept there.
        on_reach: Called with a line before benchmarks are run, while they are, and with what was found where some are to be
            measured.
        limit_s: Seconds in which benchmarks are run once; what is not known by then is measured, and found out by later
            gates.

    Returns:
        All, with a note of why, where it cannot be found out.
    """
    try:
        reached = _find(trees, suites, store, on_reach, limit_s)
    except NothingToMeasureError:
        # Those that are to be timed say so.
        return Reached(suites)
    except (Unavailable, ProcessError, OSError) as error:
        # Said with the verdicts: until then it may be that nothing is measured.
        why = str(error).removesuffix(".")
        return Reached(suites, notes=(f"Everything was measured, as what it reads is not known: {why}.",))
    if reached.suites is not None:
        for note in reached.notes:
            on_reach(note)
    return reached


def _find(trees: tuple[Tree, Tree], suites: Suites, store: Path, on_reach: Callable[[str], None], limit_s: float) -> Reached:
    if any(tree.is_isolated for tree in trees):
        raise Unavailable("each revision is installed in an environment of its own")
    base, head = (SourceTree(files_of(tree)) for tree in trees)
    # Not .json: those are run files in a store.
    path = store / "reach" / f"{_conditions(suites)}.jsonl"
    known, of_head = _collected(trees, (base, head), suites, read_reach(path), max(limit_s, SHORTEST_S), on_reach)
    both = [name for name in of_head if name in known.suites]
    inner = trees[0].inner
    unknown = [name for name in both if name not in known.benchmarks and _may_hold(inner, known.suites[name], base, head)]
    if unknown:
        on_reach("Finding out what benchmarks read: each runs once, in a minute or more. Later gates know it.")
    write_reach(path, known)
    late = len(unknown)
    with closing(_run_once(trees[0], base, suites, known, unknown, time.monotonic() + limit_s)) as runs:
        said_s = time.monotonic()
        for ran, found in runs:
            # At once: it took seconds, and the next gate need not run them again where this one is broken off.
            if found:
                known = replace(known, benchmarks={**known.benchmarks, **found})
                write_reach(path, known)
            late = len(unknown) - ran
            if late and time.monotonic() - said_s > _SAY_EVERY_S:
                said_s = time.monotonic()
                on_reach(f"{ran} of {len(unknown)} were run.")
    reaches = known.benchmarks
    held = {name: reaches[name].group for name in both if name in reaches and reaches[name].holds(head)}
    rest = {name: suite for name, suite in {**known.suites, **of_head}.items() if name not in held}
    # What is skipped is no benchmark of this machine, but the change may be that it no longer is.
    same = {name: group for name, group in held.items() if group is not None}
    measured = [name for name in rest if name not in reaches or reaches[name].group is not None]
    notes = _notes(base, head, len(measured), len(same), sum(name not in reaches for name in unknown) - late, late)
    skipped = held.keys() - same.keys()
    if not rest:
        return Reached(None, same, notes, frozenset(skipped))
    paths = tuple(dict.fromkeys(rest.values()))
    if not measured:
        # A process that has nothing to time leaves no run file.
        return Reached(suites, {}, notes)
    if not all(_in_revision(inner, suite) in tree.files for suite in paths for tree in (base, head)):
        paths = suites.paths
    return Reached(replace(suites, paths=paths, without=frozenset(held)), same, notes, frozenset(skipped))


def _in_revision(inner: Path, suite: str) -> str:
    """Return where a suite lies in the whole revision, by its path from the folder that processes run in."""
    return str(PurePosixPath(inner.as_posix(), suite))


def _may_hold(inner: Path, suite: str, base: SourceTree, head: SourceTree) -> bool:
    """Say whether a benchmark can be out of reach: what its collection reads for certain is the same in both trees."""
    path = _in_revision(inner, suite)
    read = [path, *(str(folder / "conftest.py") for folder in PurePosixPath(path).parents)]
    return base.looked_for == head.looked_for and all(base.files.get(path) == head.files.get(path) for path in read)


def _notes(base: SourceTree, head: SourceTree, reached: int, same: int, untold: int, late: int) -> tuple[str, ...]:
    changed = {path for path, _ in base.files.items() ^ head.files.items()}
    files = counted(len(changed), "changed file")
    others = "; the others are the same. --all measures them too" if same else ""
    found = f"{reached} of {counted(reached + same, 'benchmark')} can be reached by the {files}{others}."
    if same and not reached:
        found = f"The {files} can reach none of {counted(same, 'benchmark')}: all are the same. --all measures them."
    notes = [found if changed else "Nothing differs between the sides; --all measures them all the same."]
    looked_for = sorted(base.looked_for ^ head.looked_for)
    if looked_for:
        more = f" and {len(looked_for) - 1} more" if len(looked_for) > 1 else ""
        notes.append(
            f"{looked_for[0].split(' ')[0]}{more} came, went, or is no plain file: any benchmark might look for that unseen."
        )
    if untold:
        found = counted(untold, "benchmark")
        notes.append(f"{found} failed, or gave a wrong result, when run once: what was read is not known.")
    if late:
        notes.append(f"What {counted(late, 'benchmark')} read was not found out in time; later gates go on with it.")
    return tuple(notes)


def _conditions(suites: Suites) -> str:
    """Return a digest of all that decides what benchmarks read, the tree aside."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    packages = sorted({f"{one.name}=={one.version}" for one in metadata.distributions()})
    variables = sorted(item for item in os.environ.items() if not _OF_A_SHELL.fullmatch(item[0]))
    facts = [suites.paths, suites.arguments, sys.version, sys.prefix, platform.platform(), os.cpu_count(), cpu]
    return hashlib.sha256(json.dumps([facts, packages, variables]).encode()).hexdigest()[:16]


def _collected(
    trees: tuple[Tree, Tree],
    files: tuple[SourceTree, SourceTree],
    suites: Suites,
    known: ReachRecord | None,
    limit_s: float,
    on_reach: Callable[[str], None],
) -> tuple[ReachRecord, Mapping[str, str]]:
    """Return what is known of the base, without what no longer holds, and the suite of each benchmark of the head."""
    base, head = files
    of_base, of_head = (_Job(tree, suites) for tree in trees)
    if known is None or not known.collected.holds(base):
        jobs = [of_base] if base.files == head.files else [of_base, of_head]
        traces = _all_traces(jobs, limit_s, on_reach)
        trace, kept = traces[of_base], known.benchmarks if known is not None else {}
        read = Reach.of(base, trace.opened[""].files - {GIT}, trace.opened[""].folders)
        known = ReachRecord(read, trace.suites, kept)
    else:
        traces = {} if known.collected.holds(head) else _all_traces([of_head], limit_s, on_reach)
    suites_of_head = traces[of_head].suites if of_head in traces else known.suites
    held = {name: reach for name, reach in known.benchmarks.items() if name in known.suites and reach.is_of(base)}
    return replace(known, benchmarks=held), suites_of_head


def _run_once(
    tree: Tree, files: SourceTree, suites: Suites, known: ReachRecord, names: Sequence[str], deadline_s: float
) -> Generator[tuple[int, dict[str, BenchmarkReach]]]:
    """Yield how many benchmarks were run, and what those read that were right or skipped, many times a second.

    At the deadline, by `time.monotonic`, what still runs may hang, and is ended.
    """
    by_suite: dict[str, list[str]] = {}
    for name in names:
        by_suite.setdefault(known.suites[name], []).append(name)
    jobs = [
        _Job(tree, replace(suites, paths=(suite,)), tuple(asked[first : first + _TOGETHER]))
        for suite, asked in by_suite.items()
        for first in range(0, len(asked), _TOGETHER)
    ]
    ran = 0
    with closing(_traces(jobs, deadline_s)) as traces:
        for ended in traces:
            if ended is None:
                yield ran, {}
                continue
            job, trace = ended
            ran += len(job.asked)
            # Where one writes into the files of the revision, another may read that.
            is_told = trace.fault is None and trace.written.isdisjoint(files.files)
            yield ran, dict(_reaches(job, trace, files)) if is_told else {}


def _reaches(job: "_Job", trace: "_Trace", tree: SourceTree) -> Iterator[tuple[str, BenchmarkReach]]:
    (suite,), of_all = job.suites.paths, trace.opened[""]
    for number, name in enumerate(job.asked):
        if ends(number) in trace.said and begins(number) in trace.opened:
            own = trace.opened[begins(number)]
            # pytest looks into these for a conftest.py.
            above = {str(folder) for folder in PurePosixPath(_in_revision(job.tree.inner, suite)).parents}
            read = Reach.of(tree, (of_all.files - {GIT}) | own.files, of_all.folders | own.folders | above)
            yield name, BenchmarkReach(**vars(read), group=trace.said[ends(number)])


@dataclass(frozen=True)
class _Job:
    """Suites of a tree to collect, and benchmarks of them to run."""

    tree: Tree
    suites: Suites
    asked: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trace:
    """What a process opened.

    Attributes:
        opened: What was opened, by mark.
        written: Files of the tree that were written.
        said: What it left, by name.
        fault: Why it is not to be believed; None where it is.
    """

    opened: Mapping[str, Opened]
    written: frozenset[str]
    said: Mapping[str, Any]
    fault: str | None

    @property
    def suites(self) -> dict[str, str]:
        """The suite of each benchmark that it collected.

        Raises:
            NothingToMeasureError: If it collected none.
            ProcessError: If it is not to be believed.
        """
        if not self.said.get(COLLECTED, True):
            raise NothingToMeasureError("it has no benchmark of those that were asked for", "")
        if self.fault is not None:
            raise ProcessError(self.fault)
        return dict(self.said[COLLECTED])


class _WatchedProcess:
    """A pytest process in a copy of a tree, where it disturbs nothing, and whose opened files are watched."""

    def __init__(self, job: _Job) -> None:
        command = suites_command(job.tree, job.suites, "-p", PLUGIN, "-p", "no:cacheprovider")
        self._tree = job.tree
        self._made_by = made_by(["python", *command[1:]], job.tree)
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rnncore-reach-")))
            copy, self._said = folder / "tree", folder / "said"
            # Suites in a folder of it may read what lies beside that.
            shutil.copytree(job.tree.top or job.tree.path, copy, symlinks=True, ignore=shutil.ignore_patterns(GIT))
            # pytest-benchmark asks git of the commit, which reads every file: git is to find that there is none.
            (copy / GIT).write_text(NO_GIT, encoding="utf-8")
            self._said.mkdir()
            write_text(self._said / ASKED, json.dumps(job.asked))
            self._output = stack.enter_context(tempfile.TemporaryFile())
            self._watch = Watch(copy, self._said)
            stack.callback(self._watch.close)
            here = replace(job.tree, path=copy / job.tree.inner, top=copy)
            environment = {**tree_environment(here), **_ONE_THREAD, ENVIRONMENT: str(self._said)}
            self._process = Started(command, here.path, environment, self._output)
            stack.callback(self._process.end)
            self._deadline_s = time.monotonic() + TIMEOUT_S
            self._opened = stack.pop_all()

    def has_ended(self) -> bool:
        """Say whether it ended, or had the time to."""
        return self._process.poll() is not None or time.monotonic() > self._deadline_s

    def close(self) -> None:
        """End it and all that it started, and remove its copy."""
        self._opened.close()

    def trace(self) -> _Trace:
        """Return what it opened, once it has ended, and close it."""
        code = self._process.poll()
        said = {path.name: json.loads(path.read_text(encoding="utf-8") or "null") for path in self._said.glob("[!.]*")}
        for name, modules in said.items():
            if name.endswith(outside(None)):
                require_own_modules(self._tree, modules)
        self._output.seek(0)
        last = self._output.read().decode(errors="replace").split("\n")[-_SHOWN_LINES:]
        self.close()
        fault = None
        if code is None:
            fault = f"{self._made_by} took longer than {TIMEOUT_S:g} s"
        elif code != 0 or COLLECTED not in said:
            fault = f"{self._made_by} ended with exit code {code}: {' '.join(filter(None, last))}"
        elif not self._watch.is_whole:
            fault = f"{self._made_by} opened more files at once than the system tells"
        return _Trace(self._watch.opened, frozenset(self._watch.written), said, fault)


def _all_traces(jobs: Sequence[_Job], limit_s: float, on_reach: Callable[[str], None]) -> dict[_Job, _Trace]:
    """Return what each process that collects opened, once all have ended; say it where that takes long.

    Raises:
        ProcessError: If it takes longer than the limit.
        Unavailable: If the system does not tell what is opened.
    """
    limit_s = min(limit_s, TIMEOUT_S)
    began_s, say_after_s, traces = time.monotonic(), SAY_AFTER_S, dict[_Job, _Trace]()
    with closing(_traces(jobs, began_s + limit_s)) as running:
        for ended in running:
            traces |= [ended] if ended else []
            if not ended and time.monotonic() - began_s > say_after_s:
                on_reach(
                    f"The collection of benchmarks has taken {say_after_s:g} s so far, and is ended after {limit_s:g} s."
                )
                say_after_s += SAY_EVERY_S
    if missing := [job.tree.side for job in jobs if job not in traces]:
        raise ProcessError(f"{' and '.join(missing)}: the collection of benchmarks took longer than {limit_s:g} s.")
    return traces


def _traces(jobs: Sequence[_Job], deadline_s: float = math.inf) -> Generator[tuple[_Job, _Trace] | None]:
    """Yield what each process opened, as they end; some of them run at once. None meanwhile, many times a second.

    Args:
        jobs: For one process each.
        deadline_s: By `time.monotonic`; what still runs then is ended, and not yielded.

    Raises:
        Unavailable: If the system does not tell what is opened.
    """
    live: dict[_Job, _WatchedProcess] = {}
    waiting = list(jobs)
    try:
        while (waiting or live) and time.monotonic() < deadline_s:
            while waiting and len(live) < _AT_ONCE:
                job = waiting.pop(0)
                live[job] = _WatchedProcess(job)
            for job in [job for job, process in live.items() if process.has_ended()]:
                yield job, live.pop(job).trace()
            yield None
            time.sleep(_POLL_S)
    finally:
        for process in live.values():
            process.close()
