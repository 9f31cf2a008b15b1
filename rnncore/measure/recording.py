"""What the plugin does in a session whose benchmarks it measures; in any other none of this is there, nor any hook of it.

It joins a session that has benchmarks of ours, that is driven from outside, or that wants facts beside all times.
"""

import os
import sys
from collections.abc import Generator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rnncore.errors import Unavailable
from rnncore.measure import harness
from rnncore.measure.advice import comparison_advice
from rnncore.measure.facts import put_facts
from rnncore.measure.fixtures import has_case, is_benchmark, session_in, takes_any, threads_of
from rnncore.measure.session import Session, outcome_of
from rnncore.measure.timeout import case_timeout
from rnncore.runfile import record
from rnncore.runfile.text import whole
from rnncore.screen import in_signs_of

_NAME = "rnncore-recording"

# What a benchmark ends its whole session with.
_BREAK_OFF = (KeyboardInterrupt, pytest.exit.Exception)

# The real standard error: while a test runs, pytest has a file of its own in its place.
_STDERR = pytest.StashKey[int]()


def join(config: pytest.Config) -> None:
    """Let these hooks take part in a session from here on."""
    # Also where a session inside of a test has left it out of `sys.modules`.
    from rnncore.measure import recording

    if config.pluginmanager.has_plugin(_NAME):
        return
    config.pluginmanager.register(recording, _NAME)
    if config.getoption("rnn_case_timeout") is not None:
        config.stash[_STDERR] = os.dup(2)
        config.add_cleanup(lambda: os.close(config.stash[_STDERR]))


def _is_measured(item: pytest.Item) -> bool:
    """Say whether an item is a benchmark that this plugin measures, in a session that times it."""
    return harness.times(item.config) and (is_benchmark(item) or session_in(item.config).has_begun(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Let the fixture of a benchmark of another suite time in slots where this process is driven, else watch its rounds."""
    made = yield
    if fixturedef.argname == "benchmark" and takes_any(request.config) and not has_case(request.node):
        _take(made, request.node)
    return made


def _take(benchmark: Any, item: pytest.Item) -> None:
    """Take the fixture of a benchmark of another suite; one that another plugin has put in its place stays as it is."""
    config, session = item.config, session_in(item.config)
    if not (harness.is_own_fixture(benchmark) and benchmark.enabled):
        return
    if not session.has_begun(item.nodeid):
        # One that asks for its fixture as it runs.
        _begin(item)
    session.taken.add(item.nodeid)
    delay_pct = config.hook.pytest_rnn_delay_pct(config=config, fullname=item.nodeid) or 0.0
    if session.slots:
        from rnncore.measure.ordinary import time_in_slots

        time_in_slots(benchmark, session, session.slots, delay_pct)
    else:
        from rnncore.measure.watched import watch

        watch(benchmark, session, delay_pct)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Say that all benchmarks have ended to the process that drives this one."""
    kept, has_ended, is_cut_short = session_in(session.config), True, False
    try:
        return (yield)
    except pytest.Session.Failed:
        # After as many failures as -x or --maxfail allow: what is left was not tried.
        is_cut_short = True
        raise
    except _BREAK_OFF as error:
        has_ended = False
        if kept.slots:
            kept.slots.broke_off(_first_line(error))
        raise
    finally:
        if kept.slots and has_ended:
            kept.slots.ended()
            if kept.measures:
                harness.save_without_benchmarks(session.config, {"rnncore": _facts(session.config)})
        is_whole = has_ended and not is_cut_short and not session.config.getoption("collectonly")
        if kept.left_out and is_whole and harness.times(session.config):
            _keep_earlier(session.config, kept)


def _keep_earlier(config: pytest.Config, session: Session) -> None:
    """See to it that what was finished before is saved also where nothing was left to time; the journal stays if not."""
    session.none_left = not session.has_begun_any
    if harness.save_untimed(config) and session.earlier and not session.measures:
        _begin_measuring(config, session, session.earlier.fingerprint)


# Last of the wrappers, and so inside of those that capture what is printed.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Note that a benchmark begins, limit its time, and turn a missing device or package into a skip with its text."""
    with session_in(item.config).part("fixtures"):
        if _is_measured(item):
            _begin(item)
        return (yield from _guarded(item))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Limit the time of a benchmark, and turn a missing device or package into a skip with its text."""
    with session_in(item.config).part("checks and the rest of benchmarks"):
        return (yield from _guarded(item))


def _guarded(item: pytest.Item) -> Generator[None, object, object]:
    limit_s = item.config.getoption("rnn_case_timeout") if is_benchmark(item) else None

    def on_stuck() -> None:
        # Into the journal, just before the process is ended.
        reason = f"took longer than {limit_s:g} s, in a native call that did not return"
        session_in(item.config).failed(item.nodeid, "timed out", reason)

    try:
        with case_timeout(limit_s, on_stuck, item.config.stash.get(_STDERR, 2)):
            return (yield)
    except Unavailable as error:
        if not is_benchmark(item):
            raise
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember, and put on the disk at once, how a benchmark ended."""
    report = yield
    if not _is_measured(item):
        return report
    session, name = session_in(item.config), item.nodeid
    error = call.excinfo.value if call.excinfo else None
    row = session.rows.get(name)
    if error and row and row.record.has_error:
        # As where it gave the fixture a second call: pytest-benchmark leaves it out of the file.
        row = session.rows.pop(name) and None
    if report.skipped and isinstance(report.longrepr, tuple):
        session.skipped(name, report.longrepr[2].removeprefix("Skipped: "))
    elif hasattr(report, "wasxfail"):
        session.skipped(name, f"expected to fail: {report.wasxfail or 'xfail'}")
        session.rows.pop(name, None)
        row = None
    elif error and row is None:
        session.failed(name, outcome_of(error), _first_line(error))
    elif error and row and record.is_right(row.facts):
        put_facts(row.facts, validity=f"failed after it was timed: {_first_line(error)}")
    elif call.when == "call" and row is None:
        session.skipped(name, "it timed nothing")
    if row and (call.when == "call" or error):
        session.finished(name)
    return report


def _first_line(error: BaseException) -> str:
    first, *_ = whole(str(error)).splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _begin(item: pytest.Item) -> None:
    """Note that a benchmark begins; of earlier attempts at it nothing is kept."""
    session = session_in(item.config)
    if not session.measures:
        _begin_measuring(item.config, session)
    if session.slots:
        session.slots.begins(item.nodeid)
    if session.began(item.nodeid):
        harness.forget(item.config, item.nodeid)


def _begin_measuring(config: pytest.Config, session: Session, machine: dict[str, Any] | None = None) -> None:
    """Look at the machine, begin the journal, and see to it that a run file that cannot be saved is not lost.

    Args:
        config: The session's configuration.
        session: The session's record.
        machine: Its facts, where they are known.
    """
    from rnncore.measure.fingerprint import fingerprint, host_fingerprint
    from rnncore.runfile.journal import Journal

    def saved(path: Path | None) -> None:
        session.saved = True
        session.saved_path = path or session.saved_path

    session.measures = True
    session.fingerprint = machine or (fingerprint(threads_of(config)) if session.has_cases else host_fingerprint())
    harness.watch_saving(config, saved, session.not_saved)
    header = {
        **harness.session_header(config),
        "datetime": datetime.now(UTC).isoformat(),
        "rnncore": _facts(config),
    }
    try:
        session.journal = Journal.open(harness.storage_folder(config) / "journal", header)
        if session.earlier:
            for entry in session.earlier.entries:
                session.journal.finished(entry)
            # All that it held is in the new one.
            session.earlier.path.unlink()
    except OSError as error:
        session.why_no_journal = str(error)


def _facts(config: pytest.Config) -> dict[str, Any]:
    """Return the `rnncore` block of a run file."""
    from rnncore.measure.fingerprint import conditions

    command = ["pytest", *config.invocation_params.args]
    return {**session_in(config).facts(command, config.getoption("rnn_scale")), "conditions": conditions()}


# Last: what a project itself changes in its files is done by then.
@pytest.hookimpl(optionalhook=True, trylast=True)
def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Iterable[Any], output_json: dict[str, Any]) -> None:
    """Add raw rounds, which an autosaved file lacks, and the facts of the session."""
    session = session_in(config)
    if not session.measures:
        return
    session.derive_rates()
    # By the record's own dict: a full name may have several records in a session, one for each attempt.
    rows = {id(row.record.extra_info): row for row in session.rows.values()}
    kept = []
    for entry in output_json["benchmarks"]:
        name, extra = entry["fullname"], entry[record.EXTRA_INFO]
        row = rows.get(id(extra)) or (session.rows.get(name) if name in session.taken else None)
        if row:
            record.put_rounds(entry, row.record.stats.data)
            kept.append(row.with_facts(entry))
        elif name in session.taken or record.has_case(extra):
            session.broke_off(name)
        else:
            kept.append(entry)
    output_json["benchmarks"] = [*(session.earlier.entries if session.earlier else ()), *kept]
    output_json["rnncore"] = _facts(config)


# Last of the wrappers: what it does after the end of the session comes before what the terminal says of it.
@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
    """Drop the journal once the session has ended in order: its benchmarks are saved, or were not meant to be."""
    kept = session_in(session.config)
    try:
        yield
        broke_off = exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)
        is_lost = bool(kept.save_failures) and not kept.saved
        if kept.journal and (kept.saved or not broke_off) and not is_lost:
            kept.journal.discard()
            kept.journal = None
        if kept.left_out and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            # All of them were finished before.
            session.exitstatus = pytest.ExitCode.OK
        if kept.save_failures and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    finally:
        kept.close()
        if kept.journal:
            kept.journal.close()


# First: pytest-benchmark raises from its own summary for a regression, and what comes after it is never said.
@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the session cost beside the timed rounds, where a journal is left, and what misleads in a comparison."""
    session = session_in(config)

    def say(line: str) -> None:
        # Where pytest itself writes: what a sign is missing from, it would write as an escape.
        terminalreporter.write_line(in_signs_of(sys.__stdout__, line))

    if session.earlier:
        none_left = ", and none was left" if session.none_left else ""
        say(f"Resumed: {len(session.earlier.entries)} benchmarks were finished before{none_left}.")
        if session.none_left and not session.measures:
            say(f"No run file was asked for; 'rnncore recover {session.earlier.path}' makes one.")
    if session.rows:
        say(session.overhead_text())
    if session.again:
        say(f"Begun more than once: {len(session.again)} benchmarks; the last attempt at each counts.")
    for line in session.save_failures:
        terminalreporter.write_line(in_signs_of(sys.__stdout__, line), red=True)
    if session.journal:
        ended = "Not saved" if session.save_failures else "Interrupted"
        say(
            f"{ended}; 'rnncore recover {session.journal.path}' makes a run file of what was finished, and the same "
            "command with --rnn-resume goes on from there."
        )
    if session.why_no_journal:
        say(f"No journal ({session.why_no_journal}): this run could not have been recovered.")
    for line in comparison_advice(terminalreporter, session):
        say(line)
