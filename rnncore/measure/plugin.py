"""The pytest plugin: hooks, and what a run file holds beside pytest-benchmark's own figures.

It is loaded in every pytest session of an environment that has rnncore, so nothing heavy is imported before a benchmark
asks for it.
"""

import os
import sys
import warnings
from collections.abc import Generator, Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rnncore.errors import RnncoreError, Unavailable
from rnncore.measure import harness
from rnncore.measure.advice import comparison_advice, note_base, set_aside_volatile
from rnncore.measure.facts import make_writable, put_facts
from rnncore.measure.fixtures import (  # noqa: F401 (pytest finds the fixtures here)
    SESSION,
    is_gate,
    rnn_benchmark,
    rnn_case,
    rnn_dataset,
    rnn_threads,
    threads_of,
)
from rnncore.measure.linux import end_with_parent
from rnncore.measure.options import NEWEST, pytest_addoption  # noqa: F401 (a hook)
from rnncore.measure.session import Row, Session, outcome_of
from rnncore.measure.slots import Slots
from rnncore.measure.timeout import case_timeout
from rnncore.runfile.case import AXES
from rnncore.runfile.record import OWN_FACTS, has_case, is_right
from rnncore.screen import in_signs_of

if TYPE_CHECKING:
    from rnncore.runfile.journal import Finished

# Many short processes tell more than few long ones: noise between processes is what hides a change.
# By option of pytest-benchmark: its own default, and what takes its place.
GATE_OPTIONS = {
    "benchmark_max_time": ("1.0", "0.15"),
    "benchmark_min_rounds": (5, 3),
    "benchmark_disable_gc": (False, True),
}

_NO_HARNESS = "rnncore's benchmarks need pytest-benchmark, which is not active here; leave out '-p no:benchmark'."

# The real standard error: while a test runs, pytest has a file of its own in its place.
_STDERR = pytest.StashKey[int]()


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks of `rnncore.measure.hooks`."""
    from rnncore.measure import hooks

    pluginmanager.add_hookspecs(hooks)


def pytest_rnn_delay_pct(config: pytest.Config, fullname: str) -> float | None:
    """Return the delay that `--rnn-delay` asks for."""
    for percent, pattern in config.getoption("rnn_delay"):
        if fnmatchcase(fullname, pattern):
            return float(percent)
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and start the session's record."""
    end_with_parent()
    config.stash[SESSION] = Session()
    if slots := Slots.of_environment():
        config.stash[SESSION].slots = slots
        config.add_cleanup(slots.close)
        harness.only_measure(config)
    elif is_gate(config):
        # Before pytest-benchmark reads its options; what the user gave stays.
        for name, (usual, brief) in GATE_OPTIONS.items():
            if config.getoption(name, None) == usual:
                setattr(config.option, name, brief)
    config.stash[_STDERR] = os.dup(2)
    config.add_cleanup(lambda: os.close(config.stash[_STDERR]))
    config.addinivalue_line(
        "markers",
        "rnn_cases(choose=FUNCTION, only_with=None): parametrize a benchmark over FUNCTION(scale), a list of "
        "rnncore.runfile.case.Case, through the fixture rnn_case; with only_with, where that option is given.",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out benchmarks that have no case on the chosen device, and those that were finished before."""
    ours = [item for item in items if item.get_closest_marker("rnn_cases")]
    # pytest gives a benchmark without a case one parameter set of a type of its own.
    left_out = {item.nodeid for item in ours if not isinstance(getattr(item, "callspec").params["device"], str)}  # noqa: B009
    if config.getoption("rnn_resume"):
        earlier = config.stash[SESSION].earlier = _finished_before(config)
        left_out |= {str(entry["fullname"]) for entry in earlier.entries}
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before anything is measured, see that it can be, and that what is measured can be saved."""
    config = session.config
    ours = [item for item in session.items if _is_benchmark(item)]
    config.stash[SESSION].has_cases = any(map(_has_case, ours))
    if not ours:
        return
    if harness.session_of(config) is None:
        for item in ours:
            item.add_marker(pytest.mark.skip(reason=_NO_HARNESS))
        return
    harness.check(config)
    if harness.times(config) and not config.getoption("collectonly"):
        harness.require_places_to_save(config)
        if slots := config.stash[SESSION].slots:
            ranks = {name: rank for rank, name in enumerate(slots.order([item.nodeid for item in ours]))}
            config.hook.pytest_deselected(items=[item for item in session.items if item.nodeid not in ranks])
            kept = [item for item in session.items if item.nodeid in ranks]
            session.items[:] = sorted(kept, key=lambda item: ranks[item.nodeid])


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    """Say where others compute on this host, in a session that measures cases; the gate has said so before."""
    if is_gate(config) or not any(map(_is_measured, items)):
        return None
    from rnncore.measure.busy import notice

    return notice()


def _finished_before(config: pytest.Config) -> "Finished":
    """Return what the session that is resumed had finished; refuse it where the rows would not belong together."""
    from rnncore.measure.fingerprint import fingerprint
    from rnncore.runfile.journal import finished_before, newest_journal
    from rnncore.runfile.machine import differences

    if harness.session_of(config) is None:
        raise pytest.UsageError(f"--rnn-resume: {_NO_HARNESS}")
    asked = config.getoption("rnn_resume")
    try:
        found = finished_before(
            newest_journal(harness.storage_folder(config) / "journal") if asked == NEWEST else Path(asked)
        )
    except RnncoreError as error:
        raise pytest.UsageError(f"--rnn-resume: {error}") from error
    here = fingerprint(threads_of(config))
    other = [one.fact for one in differences(found.fingerprint, here)]
    commit = config.hook.pytest_benchmark_generate_commit_info(config=config).get("id")
    other += [] if commit == found.commit else ["commit"]
    if other:
        raise pytest.UsageError(
            f"--rnn-resume: {found.path} is of other {', '.join(other)}; its rows do not belong beside new ones. "
            f"Make a run file of it with 'rnncore recover {found.path}', and start anew."
        )
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a benchmark marked `rnn_cases` with one pytest parameter per axis."""
    marker = metafunc.definition.get_closest_marker("rnn_cases")
    if marker is None:
        return
    device = metafunc.config.getoption("rnn_device")
    only_with = marker.kwargs.get("only_with")
    wanted = only_with is None or metafunc.config.getoption(only_with)
    every = marker.kwargs["choose"](metafunc.config.getoption("rnn_scale")) if wanted else []
    cases = [case for case in every if device in ("all", case.device)]
    metafunc.parametrize(AXES, [tuple(case.axes.values()) for case in cases], ids=[case.label for case in cases])


def _has_case(item: pytest.Item) -> bool:
    """Say whether an item is a benchmark of a suite of ours."""
    return item.get_closest_marker("rnn_cases") is not None


def _is_benchmark(item: pytest.Item) -> bool:
    """Say whether an item is a benchmark that this plugin measures: in a process that is driven, of any suite."""
    return _has_case(item) or (item.config.stash[SESSION].slots is not None and harness.uses_fixture(item))


def _is_measured(item: pytest.Item) -> bool:
    """Say whether an item is a benchmark that this plugin measures, in a session that times it."""
    return _is_benchmark(item) and harness.times(item.config)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """In a process that is driven, let the fixture of a benchmark of another suite time in slots."""
    made = yield
    session = request.config.stash[SESSION]
    if session.slots and fixturedef.argname == "benchmark" and not _has_case(request.node) and harness.is_own_fixture(made):
        from rnncore.measure.ordinary import time_in_slots

        delay_pct = request.config.hook.pytest_rnn_delay_pct(config=request.config, fullname=request.node.nodeid)
        time_in_slots(made, session, session.slots, delay_pct or 0.0)
    return made


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Say that all benchmarks have ended to the process that drives this one."""
    try:
        return (yield)
    finally:
        if slots := session.config.stash[SESSION].slots:
            slots.ended()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Note that a benchmark begins, limit its time, and turn a missing device or package into a skip with its text."""
    session = item.config.stash[SESSION]
    with session.part("fixtures"):
        if _is_measured(item):
            if not session.measures:
                _begin_measuring(item.config, session)
            if session.began(item.nodeid):
                harness.forget(item.config, item.nodeid)
        return (yield from _guarded(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Limit the time of a benchmark, and turn a missing device or package into a skip with its text."""
    with item.config.stash[SESSION].part("checks and the rest of benchmarks"):
        return (yield from _guarded(item))


def _guarded(item: pytest.Item) -> Generator[None, object, object]:
    limit_s = item.config.getoption("rnn_case_timeout") if item.get_closest_marker("rnn_cases") else None

    def on_stuck() -> None:
        # Into the journal, just before the process is ended.
        reason = f"took longer than {limit_s:g} s, in a native call that did not return"
        item.config.stash[SESSION].failed(item.nodeid, "timed out", reason)

    try:
        with case_timeout(limit_s, on_stuck, item.config.stash[_STDERR]):
            return (yield)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember, and put on the disk at once, how a benchmark ended."""
    report = yield
    if not _is_measured(item):
        return report
    session, name = item.config.stash[SESSION], item.nodeid
    error = call.excinfo.value if call.excinfo else None
    row = session.rows.get(name)
    if report.skipped and isinstance(report.longrepr, tuple):
        session.skipped(name, report.longrepr[2].removeprefix("Skipped: "))
    elif error and row is None:
        session.failed(name, outcome_of(error), _first_line(error))
    elif error and row and is_right(facts := _facts_of_row(item, row)):
        put_facts(facts, validity=f"failed after it was timed: {_first_line(error)}")
    elif call.when == "call" and row is None:
        session.skipped(name, "it timed nothing")
    if row and (call.when == "call" or error):
        session.finished(name)
    return report


def _facts_of_row(item: pytest.Item, row: Row) -> dict[str, Any]:
    """Return where facts of a benchmark go; what another suite records beside them is its own."""
    extra: dict[str, Any] = row.record.extra_info
    return extra if _has_case(item) else extra.setdefault(OWN_FACTS, {})


def _first_line(error: BaseException) -> str:
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _begin_measuring(config: pytest.Config, session: Session) -> None:
    """Look at the machine, begin the journal, and see to it that a run file that cannot be saved is not lost."""
    from rnncore.measure.fingerprint import fingerprint, host_fingerprint
    from rnncore.runfile.journal import Journal

    def saved(path: Path | None) -> None:
        session.saved = True
        session.saved_path = path or session.saved_path

    session.measures = True
    session.fingerprint = fingerprint(threads_of(config)) if session.has_cases else host_fingerprint()
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
    return {**config.stash[SESSION].facts(command, config.getoption("rnn_scale")), "conditions": conditions()}


# First: what makes no other machine is set aside before pytest-benchmark looks for differences.
@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Remember what pytest-benchmark compares this session with, without the facts of a minute."""
    set_aside_volatile(machine_info, compared_benchmark)
    note_base(config, machine_info, compared_benchmark)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Iterable[Any], output_json: dict[str, Any]) -> None:
    """Add raw rounds, which an autosaved file lacks, and the facts of the session."""
    session = config.stash[SESSION]
    if not session.measures:
        return
    session.derive_rates()
    # By the record's own dict: a full name may have several records in a session, one for each attempt.
    rows = {id(row.record.extra_info): row.record for row in session.rows.values()}
    kept = []
    for entry in output_json["benchmarks"]:
        record = rows.get(id(entry["extra_info"]))
        if record:
            make_writable(entry["extra_info"])
            entry["stats"]["data"] = list(record.stats.data)
        elif has_case(entry["extra_info"]):
            session.broke_off(entry["fullname"])
            continue
        kept.append(entry)
    output_json["benchmarks"] = [*(session.earlier.entries if session.earlier else ()), *kept]
    output_json["rnncore"] = _facts(config)


# First: around pytest-benchmark's own, which saves, in whatever order the two were loaded.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
    """Drop the journal once the session has ended in order: its benchmarks are saved, or were not meant to be."""
    record = session.config.stash[SESSION]
    try:
        with warnings.catch_warnings():
            if record.slots:
                # Where a project makes errors of warnings, that nothing was timed would keep the reasons from being saved.
                warnings.simplefilter("ignore")
            yield
        if record.slots and record.measures:
            harness.save_without_benchmarks(session.config, {"rnncore": _facts(session.config)})
        broke_off = exitstatus in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)
        is_lost = bool(record.save_failures) and not record.saved
        if record.journal and (record.saved or not broke_off) and not is_lost:
            record.journal.discard()
            record.journal = None
        if record.save_failures and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    finally:
        record.close()
        if record.journal:
            record.journal.close()


# First: pytest-benchmark raises from its own summary for a regression, and what comes after it is never said.
@pytest.hookimpl(tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the session cost beside the timed rounds, where a journal is left, and what misleads in a comparison."""
    session = config.stash[SESSION]

    def say(line: str) -> None:
        # Where pytest itself writes: what a sign is missing from, it would write as an escape.
        terminalreporter.write_line(in_signs_of(sys.__stdout__, line))

    if session.earlier:
        say(f"Resumed: {len(session.earlier.entries)} benchmarks were finished before.")
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


def saved_run_file(config: pytest.Config) -> Path | None:
    """Return the run file of this session, in the store or where it was written instead; None if it saved none."""
    return config.stash[SESSION].saved_path
