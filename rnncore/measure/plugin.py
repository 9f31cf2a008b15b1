"""The pytest plugin: options, fixtures, and what a run file holds beside pytest-benchmark's own figures.

It is loaded in every pytest session of an environment that has rnncore, so nothing heavy is imported before a benchmark
asks for it.
"""

import argparse
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rnncore import __version__
from rnncore.errors import Unavailable
from rnncore.measure.case import AXES, Case

if TYPE_CHECKING:
    from rnncore.forecast.series import Dataset
    from rnncore.measure.work import Work

SCALES = ("quick", "default", "full")

# Time that calls take before the timed rounds, after the first call and the ones that memory is measured in: caches,
# allocators and clocks settle.
WARM_UP_S = 0.2


class Session:
    """What the plugin remembers of one pytest session."""

    def __init__(self) -> None:
        self.measured: dict[str, Case] = {}
        self.skipped: dict[str, str] = {}
        self.dataset: dict[str, str] | None = None
        self.saved_at: str | None = None


_SESSION = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the `--rnn-` options."""
    group = parser.getgroup("rnncore", "benchmarks of recurrent forecasters")
    group.addoption(
        "--rnn-scale",
        choices=SCALES,
        default="default",
        help="Size of the grid: quick for a check of the suites, default (minutes on 2 cores), full. Default: %(default)s.",
    )
    group.addoption(
        "--rnn-device",
        choices=("all", "cpu", "cuda"),
        default="all",
        help="Devices to measure; all skips CUDA, with the reason, where there is none. Default: %(default)s.",
    )
    group.addoption(
        "--rnn-data",
        metavar="PATH",
        default=None,
        help="CSV file, folder of CSV files, or 'synthetic'. "
        "Default: $RNNCORE_DATA, else data/pjm if fetched, else synthetic.",
    )
    group.addoption(
        "--rnn-threads",
        metavar="N",
        type=_positive,
        default=None,
        help="CPU threads for every runtime. Default: all that the process may use.",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads; give a whole number of at least 1.")
    return int(text)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker and start the session's record."""
    config.stash[_SESSION] = Session()
    config.addinivalue_line(
        "markers",
        "rnn_cases(choose=FUNCTION): parametrize a benchmark over FUNCTION(scale), a list of rnncore.measure.case.Case, "
        "through the fixture rnn_case.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a benchmark marked `rnn_cases` with one pytest parameter per axis."""
    marker = metafunc.definition.get_closest_marker("rnn_cases")
    if marker is None:
        return
    device = metafunc.config.getoption("rnn_device")
    cases = [
        case for case in marker.kwargs["choose"](metafunc.config.getoption("rnn_scale")) if device in ("all", case.device)
    ]
    metafunc.parametrize(AXES, [tuple(case.axes.values()) for case in cases], ids=[case.label for case in cases])


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
    precision: str | None,
    threads: int | None,
) -> Case:
    """The case of a benchmark that is marked `rnn_cases`."""
    return Case(phase, cell, hidden_size, num_layers, lookback, batch_size, device, runtime, precision, threads)


@pytest.fixture(scope="session")
def rnn_threads(request: pytest.FixtureRequest) -> int:
    """CPU threads for cases that do not name a number."""
    from rnncore.forecast.device import default_threads

    return request.config.getoption("rnn_threads") or default_threads()


@pytest.fixture(scope="session")
def rnn_dataset(request: pytest.FixtureRequest) -> "Dataset":
    """The data set that `--rnn-data` names; its name and digest go into the run file."""
    from rnncore.forecast.datasets import open_dataset

    dataset = open_dataset(request.config.getoption("rnn_data"))
    request.config.stash[_SESSION].dataset = {"name": dataset.name, "digest": dataset.digest}
    return dataset


class RnnBenchmark:
    """Time a call of a case and record what belongs beside the time.

    Args:
        benchmark: The fixture of pytest-benchmark.
        session: The session's record.
        threads: Threads for a case that does not name a number.
    """

    def __init__(self, benchmark: Any, session: Session, threads: int) -> None:
        self._benchmark = benchmark
        self._session = session
        self._threads = threads

    @property
    def enabled(self) -> bool:
        """Whether rounds are timed; with `--benchmark-disable` each call runs once, as a check."""
        return bool(self._benchmark.enabled)

    def __call__(self, case: Case, run: Callable[[], object], windows: int, group: str, work: "Work | None" = None) -> None:
        """Warm up, with a look at memory, and time.

        Args:
            case: What is measured.
            run: The call to time; it returns only when its result is ready.
            windows: Windows that one call works on.
            group: What the benchmark is listed with.
            work: Operations and bytes of one call, for GFLOP/s; None where they say nothing.
        """
        self._benchmark.group = group
        # Axes first, so that a benchmark that fails half-way can still be told apart.
        self.record(**{**case.axes, "threads": case.threads or self._threads}, windows=windows)
        if not self.enabled:
            self._benchmark(run)
            return
        began_s = time.perf_counter()
        run()
        self.record(first_call_s=time.perf_counter() - began_s)
        self._record_memory(case, run)
        _warm_up(run)
        self._benchmark(run)
        median_s = self._benchmark.stats.stats.median
        self.record(windows_per_s=windows / median_s, **(work.rates(median_s) if work else {}))
        self._session.measured[self._benchmark.fullname] = case

    def record(self, **facts: object) -> None:
        """Put facts beside the time; JSON values."""
        self._benchmark.extra_info.update(facts)

    def _record_memory(self, case: Case, run: Callable[[], object]) -> None:
        from rnncore.measure.memory import peak_device_bytes, peak_rss_bytes

        # These calls warm up too.
        if "peak_rss_bytes" not in self._benchmark.extra_info:
            self._record_or_why("peak_rss_bytes", *peak_rss_bytes(run))
        self._record_or_why("peak_device_bytes", *peak_device_bytes(run, case.device, case.runtime))

    def _record_or_why(self, key: str, value: int | None, why: str | None) -> None:
        self.record(**{key: value}, **({f"{key}_why": why} if value is None else {}))


def _warm_up(run: Callable[[], object]) -> None:
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < WARM_UP_S:
        run()


@pytest.fixture
def rnn_benchmark(benchmark: Any, request: pytest.FixtureRequest, rnn_threads: int) -> RnnBenchmark:
    """Time calls of a case: see `RnnBenchmark`."""
    return RnnBenchmark(benchmark, request.config.stash[_SESSION], rnn_threads)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Turn a missing device or package into a skip with its text."""
    return (yield from _skip_unavailable())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Turn a missing device or package into a skip with its text."""
    return (yield from _skip_unavailable())


def _skip_unavailable() -> Generator[None, object, object]:
    try:
        return (yield)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember why a benchmark was skipped."""
    report = yield
    if report.skipped and item.get_closest_marker("rnn_cases") is not None and isinstance(report.longrepr, tuple):
        item.config.stash[_SESSION].skipped[item.nodeid] = report.longrepr[2].removeprefix("Skipped: ")
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add the fingerprint of the machine, if a case was measured on it."""
    if config.stash[_SESSION].measured:
        from rnncore.forecast.device import default_threads
        from rnncore.measure.machine import fingerprint

        machine_info["fingerprint"] = fingerprint(config.getoption("rnn_threads") or default_threads())


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Iterable[Any], output_json: dict[str, Any]) -> None:
    """Add raw rounds, which an autosaved file lacks, and the facts of the session."""
    session = config.stash[_SESSION]
    if not session.measured:
        return
    rounds = {bench.fullname: bench.stats.data for bench in benchmarks if bench.fullname in session.measured}
    for entry in output_json["benchmarks"]:
        if entry["fullname"] in rounds:
            entry["stats"]["data"] = list(rounds[entry["fullname"]])
    output_json["rnncore"] = {
        "version": __version__,
        "command": ["pytest", *config.invocation_params.args],
        "scale": config.getoption("rnn_scale"),
        "data": session.dataset,
        "skipped": [{"fullname": name, "reason": reason} for name, reason in session.skipped.items()],
    }
    session.saved_at = output_json["datetime"]


def saved_run_file(config: pytest.Config) -> Path | None:
    """Return the run file that this session saved, or None."""
    import json

    saved_at = config.stash[_SESSION].saved_at
    if saved_at is None or not (config.getoption("benchmark_autosave") or config.getoption("benchmark_save")):
        return None
    storage = getattr(config, "_benchmarksession").storage  # noqa: B009 (pytest-benchmark has no public name for it)
    if not hasattr(storage, "query"):
        return None
    for path in reversed(storage.query()):
        if json.loads(path.read_text(encoding="utf-8")).get("datetime") == saved_at:
            return Path(path)
    return None
