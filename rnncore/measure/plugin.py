"""The pytest plugin: what is there in every session of an environment that has rnncore.

It changes nothing in a session that asks it for nothing: it has no hook of a test or a fixture, and imports no more than its
options need. What measures is `rnncore.measure.recording`, which joins the sessions that are to be measured.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rnncore.errors import RnncoreError
from rnncore.measure import harness
from rnncore.measure.fixtures import (  # noqa: F401 (pytest finds the fixtures here)
    BEGAN_S,
    has_case,
    is_benchmark,
    is_driven,
    is_gate,
    require_names_apart,
    rnn_benchmark,
    rnn_case,
    rnn_dataset,
    rnn_threads,
    session_in,
    takes_any,
    threads_of,
    wants_facts,
)
from rnncore.measure.options import ALL_DEVICES, NEWEST, pytest_addoption  # noqa: F401 (a hook)
from rnncore.runfile.slots import ENVIRONMENT, LAYOUT, PARENT

if TYPE_CHECKING:
    from rnncore.runfile.case import Case
    from rnncore.runfile.journal import Finished

# Many short processes tell more than few long ones: noise between processes is what hides a change.
# By option of pytest-benchmark: its own default, and what takes its place.
GATE_OPTIONS = {
    "benchmark_max_time": ("1.0", "0.15"),
    "benchmark_min_rounds": (5, 3),
    "benchmark_disable_gc": (False, True),
}

_NO_HARNESS = "rnncore's benchmarks need pytest-benchmark, which is not active here; leave out '-p no:benchmark'."

_NO_CASES = (
    "rnn_benchmark and rnn_case need the mark that gives them their cases: @pytest.mark.rnn_cases(choose=FUNCTION), where "
    "FUNCTION(scale) returns a list of rnncore.runfile.case.Case (docs/bring-your-own.md)."
)


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


# Before a conftest is loaded, which may start threads.
@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Undo what a process that is driven was started with to lie in memory as another does."""
    if LAYOUT in os.environ:
        from rnncore.measure.linux import be_as_usual

        be_as_usual()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and do what the process that started this one asks for."""
    config.stash[BEGAN_S] = time.perf_counter()
    if not {PARENT, ENVIRONMENT}.isdisjoint(os.environ):
        harness.only_measure(config)
    if PARENT in os.environ:
        from rnncore.measure.linux import end_with_parent

        end_with_parent()
    if ENVIRONMENT in os.environ:
        _take_slots(config)
    elif is_gate(config):
        # Before pytest-benchmark reads its options; what the user gave stays.
        for name, (usual, brief) in GATE_OPTIONS.items():
            if config.getoption(name, None) == usual:
                setattr(config.option, name, brief)
    config.addinivalue_line(
        "markers",
        "rnn_cases(choose=FUNCTION, only_with=None): parametrize a benchmark over FUNCTION(scale), a list of "
        "rnncore.runfile.case.Case, through the fixture rnn_case; with only_with, where that option is given.",
    )


def _take_slots(config: pytest.Config) -> None:
    """Let rounds be timed in the slots of the process that drives this one."""
    from rnncore.measure.slots import Slots

    if slots := Slots.of_environment():
        session_in(config).slots = slots
        config.add_cleanup(slots.close)


# Last: of what was finished before, only what is chosen.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out benchmarks that have no case on the chosen device, and those that were finished before."""
    ours = [item for item in items if has_case(item)]
    # pytest gives a benchmark without a case one parameter set of a type of its own.
    left_out = {item.nodeid for item in ours if not isinstance(getattr(item, "callspec").params["device"], str)}  # noqa: B009
    if config.getoption("rnn_resume") and items:
        session = session_in(config)
        session.earlier = _finished_before(config, has_cases=bool(ours))
        session.left_out = {str(entry["fullname"]) for entry in session.earlier.entries} & {item.nodeid for item in items}
        left_out |= session.left_out
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Before anything is measured, see that it can be, and that what is measured can be saved."""
    config = session.config
    ours = [item for item in session.items if is_benchmark(item)]
    if not ours and is_driven(config):
        # Tests that are no benchmarks do not run here.
        config.hook.pytest_deselected(items=[*session.items])
        session.items.clear()
    has_resumed = config.getoption("rnn_resume") and session_in(config).left_out
    if not ours and not wants_facts(config) and not has_resumed:
        return
    if harness.session_of(config) is None:
        for item in filter(has_case, ours):
            item.add_marker(pytest.mark.skip(reason=_NO_HARNESS))
        return
    harness.check(config)
    require_names_apart(ours)
    from rnncore.measure import recording

    recording.join(config)
    session_in(config).has_cases = any(map(has_case, ours))
    if harness.times(config) and not config.getoption("collectonly"):
        harness.require_places_to_save(config)
        if ours and (slots := session_in(config).slots):
            ranks = {name: rank for rank, name in enumerate(slots.order([item.nodeid for item in ours]))}
            config.hook.pytest_deselected(items=[item for item in session.items if item.nodeid not in ranks])
            kept = [item for item in session.items if item.nodeid in ranks]
            session.items[:] = sorted(kept, key=lambda item: ranks[item.nodeid])


def pytest_report_collectionfinish(config: pytest.Config, items: list[pytest.Item]) -> str | None:
    """Say where others compute on this host, in a session that measures; the gate has said so before."""
    measures = harness.times(config) and not config.getoption("collectonly") and any(map(is_benchmark, items))
    if is_gate(config) or is_driven(config) or not measures:
        return None
    from rnncore.measure.busy import notice

    return notice(of_cases=any(map(has_case, items)))


def _finished_before(config: pytest.Config, has_cases: bool) -> "Finished":
    """Return what the session that is resumed had finished; refuse it where the rows would not belong together.

    Args:
        config: The session's configuration.
        has_cases: Whether any benchmark is of a suite of ours.
    """
    from rnncore.measure.fingerprint import fingerprint, host_fingerprint
    from rnncore.runfile.journal import finished_before, newest_journal
    from rnncore.runfile.machine import differences

    if harness.session_of(config) is None:
        raise pytest.UsageError(f"--rnn-resume: {_NO_HARNESS}")
    if not has_cases and not takes_any(config):
        raise pytest.UsageError("--rnn-resume: no benchmark of this session would be recorded. Give --rnn-facts too.")
    asked = config.getoption("rnn_resume")
    try:
        found = finished_before(
            newest_journal(harness.storage_folder(config) / "journal") if asked == NEWEST else Path(asked)
        )
    except RnncoreError as error:
        raise pytest.UsageError(f"--rnn-resume: {error}") from error
    here = fingerprint(threads_of(config)) if has_cases else host_fingerprint()
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
        if {"rnn_case", "phase"} <= set(metafunc.fixturenames):
            raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {_NO_CASES}")
        return
    from rnncore.runfile.case import AXES

    device = metafunc.config.getoption("rnn_device")
    only_with = marker.kwargs.get("only_with")
    wanted = only_with is None or metafunc.config.getoption(only_with)
    try:
        every = marker.kwargs["choose"](metafunc.config.getoption("rnn_scale")) if wanted else []
    except RnncoreError as error:
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: rnn_cases: {error}") from error
    try:
        cases = _on(device, every)
    except RnncoreError as error:
        raise pytest.Collector.CollectError(f"--rnn-device {device}: {error}") from error
    metafunc.parametrize(AXES, [tuple(case.axes.values()) for case in cases], ids=[case.label for case in cases])


def _on(name: str, cases: Sequence["Case"]) -> list["Case"]:
    """Return the cases of a device; where there are none of its number, those of its type with it.

    Raises:
        Unavailable: If there are none of its type because this machine has no such device.
    """
    if name in (ALL_DEVICES, "cpu"):
        return [case for case in cases if name in (ALL_DEVICES, case.device)]
    from rnncore.forecast.device import Device, accelerator_type, resolve_device

    found = [case for case in cases if case.device == name]
    asked = Device.named(name)
    found = found or [replace(case, device=name) for case in cases if case.device == asked.type]
    if not found and asked.type != accelerator_type():
        resolve_device(name)
    return found


# First: what makes no other machine is set aside before pytest-benchmark looks for differences.
@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_benchmark_compare_machine_info(
    config: pytest.Config, machine_info: dict[str, Any], compared_benchmark: dict[str, Any]
) -> None:
    """Remember what pytest-benchmark compares this session with, without the facts of a minute where the base is ours."""
    from rnncore.measure.advice import is_of_cases, note_base, set_aside_volatile

    if wants_facts(config) or is_of_cases(compared_benchmark):
        set_aside_volatile(machine_info, compared_benchmark)
    note_base(config, machine_info, compared_benchmark)


def saved_run_file(config: pytest.Config) -> Path | None:
    """Return the run file of this session, in the store or where it was written instead; None if it saved none."""
    return session_in(config).saved_path
