"""The fixtures of a benchmark: its case, its threads, its data, and what times it."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rnncore.errors import Unavailable
from rnncore.measure import harness
from rnncore.measure.options import FACTS_SETTING

if TYPE_CHECKING:
    from rnncore.forecast.series import Dataset
    from rnncore.measure.row import RnnBenchmark
    from rnncore.measure.session import Session
    from rnncore.runfile.case import Case


# What the gate's processes measure on where no data is named: little to make, and enough for every suite.
GATE_ZONES, GATE_YEARS = 2, 1
SESSION = pytest.StashKey["Session"]()

# When pytest was configured, by `time.perf_counter`.
BEGAN_S = pytest.StashKey[float]()


def session_in(config: pytest.Config) -> "Session":
    """Return the record of a session, made when it is first asked for: most sessions of an environment need none."""
    if SESSION not in config.stash:
        from rnncore.measure.session import Session

        config.stash[SESSION] = Session(config.stash.get(BEGAN_S, time.perf_counter()))
    return config.stash[SESSION]


def is_gate(config: pytest.Config) -> bool:
    """Say whether this is one of the gate's short processes."""
    return bool(config.getoption("rnn_scale") == "gate")


def wants_facts(config: pytest.Config) -> bool:
    """Say whether the benchmarks of any suite are to have facts beside their times: by `--rnn-facts`, or by the setting."""
    return bool(config.getoption("rnn_facts") or config.getini(FACTS_SETTING))


def has_case(item: pytest.Item) -> bool:
    """Say whether an item is a benchmark of a suite of ours."""
    return item.get_closest_marker("rnn_cases") is not None


def is_driven(config: pytest.Config) -> bool:
    """Say whether another process asks this one for rounds, in slots."""
    session = config.stash.get(SESSION, None)
    return session is not None and session.slots is not None


def takes_any(config: pytest.Config) -> bool:
    """Say whether benchmarks of any suite are measured: in a process that is driven, and where facts are wanted."""
    return wants_facts(config) or is_driven(config)


def is_benchmark(item: pytest.Item) -> bool:
    """Say whether an item is a benchmark that this plugin measures."""
    return has_case(item) or (takes_any(item.config) and harness.uses_fixture(item))


def require_names_apart(benchmarks: Sequence[pytest.Item]) -> None:
    """Make sure that no two benchmarks have one name, by which their times are kept; a benchmark may be there twice.

    pytest names a file outside of its root by the folder that it was given, as where that has settings of its own.

    Raises:
        pytest.UsageError: If two have; names their files.
    """
    first: dict[str, pytest.Item] = {}
    for one in benchmarks:
        other = first.setdefault(one.nodeid, one)
        if other is not one and (other.path, other.location[1]) != (one.path, one.location[1]):
            raise pytest.UsageError(
                f"{one.nodeid}: two benchmarks have this name, in {other.path} and in {one.path}, and their times could not "
                "be told apart. Measure each by itself, or give pytest a root above both ('--rootdir .')."
            )


@pytest.fixture
def rnn_case(
    phase: Any,
    cell: str | None,
    hidden_size: int | None,
    num_layers: int | None,
    lookback: int | None,
    batch_size: int | None,
    device: str,
    runtime: str,
    mode: str | None,
    precision: str | None,
    threads: int | None,
    recipe: str | None,
    clock: Any,
    devices: int | None,
) -> "Case":
    """The case of a benchmark that is marked `rnn_cases`."""
    from rnncore.runfile.case import Case

    sizes = hidden_size, num_layers, lookback, batch_size
    return Case(phase, cell, *sizes, device, runtime, mode, precision, threads, recipe, clock, devices)


@pytest.fixture(scope="session")
def rnn_threads(request: pytest.FixtureRequest) -> int:
    """CPU threads for cases that do not name a number."""
    return threads_of(request.config)


def threads_of(config: pytest.Config) -> int:
    """Return the CPU threads for cases that do not name a number."""
    from rnncore.forecast.device import default_threads

    return config.getoption("rnn_threads") or default_threads()


@pytest.fixture(scope="session")
def rnn_dataset(request: pytest.FixtureRequest) -> "Dataset":
    """The data set that `--rnn-data` names; its name and digest go into the run file."""
    from rnncore.forecast.series import Dataset
    from rnncore.forecast.sources import open_dataset
    from rnncore.forecast.synthetic import synthetic_dataset

    location = request.config.getoption("rnn_data")
    if location or not is_gate(request.config):
        dataset = open_dataset(location)
    else:
        dataset = Dataset("synthetic, gate", synthetic_dataset(years=GATE_YEARS).series[:GATE_ZONES])
    session = session_in(request.config)
    session.dataset = {"name": dataset.name, "digest": dataset.digest}
    if session.earlier and session.earlier.data and session.earlier.data["digest"] != dataset.digest:
        # The journal stays: it holds what was finished before.
        pytest.exit(
            f"--rnn-resume: the session was measured on other data, {session.earlier.data['name']}; "
            "give the same --rnn-data."
        )
    return dataset


@pytest.fixture
def rnn_benchmark(
    request: pytest.FixtureRequest, benchmark: Any, rnn_case: "Case", rnn_threads: int
) -> "Iterator[RnnBenchmark]":
    """Time calls of a case: see `rnncore.measure.row.RnnBenchmark`."""
    from rnncore.measure.row import RnnBenchmark

    if not harness.is_own_fixture(benchmark):
        kind = type(benchmark)
        raise Unavailable(
            f"the fixture 'benchmark' of this session is {kind.__module__}.{kind.__qualname__}, not pytest-benchmark's: "
            "another plugin (such as --codspeed) or a conftest has put its own in that place. Run rnncore's benchmarks in a "
            "session without it."
        )
    session = session_in(request.config)
    threads = rnn_case.threads or rnn_threads
    ceilings = None
    brief = is_gate(request.config)
    from rnncore.forecast.device import Device, resolve_device

    if benchmark.enabled and not brief and Device.named(rnn_case.device).is_known:
        from rnncore.measure.rates import Shape, read_bytes

        try:
            resolve_device(rnn_case.device)
        except Unavailable:
            # Of a test that is skipped before it begins, pytest-benchmark warns that its fixture was not used.
            harness.mark_used(benchmark)
            raise
        # Before the benchmark opens a runtime: its idle threads would take time from these.
        with session.part("ceilings"):
            session.take_pulse(threads)
            asked = rnn_case.device, rnn_case.products, threads, Shape.of(rnn_case), read_bytes(rnn_case)
            session.ceilings.measure(*asked)
            ceilings = partial(session.ceilings.of, *asked)
    traces = harness.storage_folder(request.config) / "traces"
    delay_pct = request.config.hook.pytest_rnn_delay_pct(config=request.config, fullname=request.node.nodeid)
    row = RnnBenchmark(
        benchmark,
        session,
        rnn_case,
        threads,
        ceilings,
        trace_folder=traces / session.name if request.config.getoption("rnn_profile") else None,
        brief=brief,
        delay_pct=delay_pct or 0.0,
    )
    yield row
    if ceilings is not None:
        # What the benchmark opened itself is closed by now.
        with session.part("ceilings"):
            session.ceilings.confirm(*asked, row.is_above_a_ceiling)
