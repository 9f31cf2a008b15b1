"""What each benchmark reads: each runs once, in a copy of the process of its own, while another process watches the files.

A copy (a fork) begins where the collection ended. So nothing that an earlier benchmark left in memory, and none of the files
that it made beside the suites, hides what a later one reads.
"""

import io
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnncore.files import write_text
from rnncore.measure import harness, recording
from rnncore.measure.fixtures import require_names_apart, session_in
from rnncore.measure.linux import end_with
from rnncore.measure.slots import Slots, modules_outside
from rnncore.runfile.reach import ASKED, COLLECTED, ENVIRONMENT, NO_GIT, begins, ends, outside
from rnncore.runfile.record import is_right
from rnncore.runfile.slots import SLOT_S


def pytest_configure(config: pytest.Config) -> None:
    """Run benchmarks apart, in a session that was given `-p` this module."""
    harness.only_measure(config)
    # Processes that this one starts do not run theirs so.
    config.pluginmanager.register(Apart(Path(os.environ.pop(ENVIRONMENT))))


class Apart:
    """A plugin in place of pytest's own loop: it says what was collected, and runs what is asked for, each apart.

    Args:
        folder: What is said goes there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reports: list[pytest.TestReport] = []

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_benchmark_generate_commit_info(self) -> dict[str, Any]:
        """Ask git nothing: what a benchmark asks it would then not be told apart."""
        return {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run each benchmark that is asked for."""
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        tree = session.config.invocation_params.dir
        benchmarks = [item for item in session.items if harness.uses_fixture(item)]
        require_names_apart(benchmarks)
        ours = {item.nodeid: item for item in benchmarks}
        suites = {name: os.path.relpath(item.path, tree) for name, item in ours.items()}
        write_text(self._folder / COLLECTED, json.dumps(suites))
        write_text(self._folder / outside(None), json.dumps(modules_outside(tree)))
        asked = json.loads((self._folder / ASKED).read_text(encoding="utf-8"))
        # The copy; benchmarks may write beside the folder of it that they run in.
        copy = next((folder for folder in (tree, *tree.parents) if _is_copy(folder)), tree)
        before = set(_entries(copy))
        for number, name in enumerate(asked):
            if name in ours:
                self._run_apart(number, ours[name])
                _remove_all_but(before, copy)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep how the parts of a benchmark ended."""
        self._reports.append(report)

    def _run_apart(self, number: int, item: pytest.Item) -> None:
        (self._folder / begins(number)).touch()
        with warnings.catch_warnings():
            # Newer versions of Python warn of any thread. Those of a library that wait for work stay behind.
            warnings.simplefilter("ignore", DeprecationWarning)
            original, copy = os.getpid(), os.fork()
        if copy == 0:
            try:
                end_with(original)
                self._run(number, item)
            finally:
                os._exit(0)
        os.waitpid(copy, 0)

    def _run(self, number: int, item: pytest.Item) -> None:
        """Run a benchmark as the gate would, with one short slot, and say how it ended where that was well."""
        session = session_in(item.config)
        session.slots = Slots(io.StringIO(f'{{"{SLOT_S}": 0}}\n{{}}\n'), io.StringIO())
        recording.join(item.config)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        session.close()
        write_text(self._folder / outside(number), json.dumps(modules_outside(item.config.invocation_params.dir)))
        row, skipped = session.rows.get(item.nodeid), any(report.skipped for report in self._reports)
        is_well = skipped or (row is not None and is_right(row.facts))
        if is_well and not any(report.failed for report in self._reports):
            # A benchmark without a group is listed with those of its file.
            group = None if skipped or row is None else row.record.group or item.nodeid.split("::", 1)[0]
            write_text(self._folder / ends(number), json.dumps(group))


def _is_copy(folder: Path) -> bool:
    git = folder / ".git"
    return git.is_file() and git.read_text(encoding="utf-8", errors="replace") == NO_GIT


def _entries(tree: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(tree):
        yield from (os.path.join(folder, name) for name in (*folders, *files))  # noqa: PTH118 (thousands of them)


def _remove_all_but(kept: set[str], tree: Path) -> None:
    for path in map(Path, sorted(set(_entries(tree)) - kept)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
