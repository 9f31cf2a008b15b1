"""Fixtures that several tests share: small series, CSV files, and the real PJM files where they are."""

import os
import sys

# Before torch is loaded, here and in the processes that tests start: threads that wait for one another are up to a
# hundred times slower beside other work. Tests of threads ask for theirs.
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT="100")
# What tests start is no worker of pytest-xdist, has none, and may time its benchmarks.
os.environ.pop("PYTEST_XDIST_WORKER", None)
os.environ.pop("PYTEST_ADDOPTS", None)

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from rnncore import cli
from rnncore.errors import Unavailable
from rnncore.forecast.series import HOUR, Dataset, Series
from rnncore.forecast.sources import DATA_ENV, is_complete, open_dataset
from rnncore.forecast.synthetic import synthetic_dataset
from rnncore.forecast.windows import WindowConfig, Windows, make_windows
from tests.command import Command, Done

# What the session was started with: the tests themselves run without it.
DATA_AT_START = os.environ.get(DATA_ENV)
REQUIRE_DATA_ENV = "RNNCORE_REQUIRE_DATA"

# The same examples in every run, nothing written beside the code, and no deadline on a shared machine.
settings.register_profile("rnncore", derandomize=True, database=None, deadline=None, max_examples=60)
settings.load_profile("rnncore")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes: where files run side by side, the last to end is then a short one."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def _skipped_where_unavailable() -> Generator[None, object, object]:
    try:
        return (yield)
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Turn a missing compiler or package into a skip with its text, as the plugin does for benchmarks."""
    return (yield from _skipped_where_unavailable())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Do the same while the test itself runs."""
    return (yield from _skipped_where_unavailable())


@pytest.fixture(autouse=True)
def _no_data_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_ENV, raising=False)


@pytest.fixture(scope="session")
def pjm(pytestconfig: pytest.Config) -> Path:
    """Return the folder with the twelve real PJM files."""
    folders = [Path(DATA_AT_START)] if DATA_AT_START else []
    folders = [pytestconfig.invocation_params.dir / folder for folder in folders] + [pytestconfig.rootpath / "data/pjm"]
    for folder in folders:
        if is_complete(folder):
            return folder
    reason = f"real PJM files not found: run rnncore data fetch or set {DATA_ENV}"
    if os.environ.get(REQUIRE_DATA_ENV) == "1":
        pytest.fail(f"{reason} ({REQUIRE_DATA_ENV} is 1)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def pjm_windows(pjm: Path) -> Windows:
    """Return the article's windows of the real files."""
    return make_windows(open_dataset(pjm), WindowConfig())


@pytest.fixture(scope="session")
def few_zones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a year of two made-up zones: little to make, and enough for every suite."""
    folder = tmp_path_factory.mktemp("few_zones")
    for series in synthetic_dataset(years=1).series[:2]:
        series.to_csv(folder / f"{series.name}.csv")
    return folder


@pytest.fixture(scope="session")
def make_series() -> Callable[..., Series]:
    """Return a function that makes a series of consecutive hours, daily and weekly with noise, or of given loads."""

    def make(
        name: str = "A",
        hours: int = 400,
        seed: int = 0,
        first: str = "2017-06-01T00:00:00",
        load_mw: np.ndarray | None = None,
    ) -> Series:
        if load_mw is None:
            hour = np.arange(hours)
            noise = np.random.default_rng([seed, hours]).normal(size=hours)
            load_mw = (
                1000 + 50 * seed + 200 * np.sin(hour * 2 * np.pi / 24) + 60 * np.cos(hour * 2 * np.pi / 168) + 15 * noise
            )
        time = np.datetime64(first, "s") + np.arange(len(load_mw)) * HOUR
        return Series(name, time, np.asarray(load_mw, dtype=np.float64), f"digest of {name}, seed {seed}")

    return make


@pytest.fixture(scope="session")
def small_dataset(make_series: Callable[..., Series]) -> Dataset:
    """Return two zones that differ in length, level and first hour."""
    return Dataset(
        "small",
        (make_series("A", hours=400, seed=1), make_series("B", hours=330, seed=2, first="2017-12-20T05:00:00")),
    )


@pytest.fixture(scope="session")
def windows(small_dataset: Dataset) -> Windows:
    """Return the article's windows of the two zones, of five hours."""
    return make_windows(small_dataset, WindowConfig(lookback=5))


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return a project with four benchmarks of ours, to be run inside this process with short ceilings."""
    from rnncore.measure import rates
    from tests.measure.test_plugin import PROJECT, SHORT_CEILINGS, SHORT_CONFIRMING_S

    pytester.makepyfile(test_mine=PROJECT)
    for name, value in SHORT_CEILINGS.items():
        monkeypatch.setattr(rates, name, value)
    monkeypatch.setattr("rnncore.measure.ceilings.CONFIRMING_S", SHORT_CONFIRMING_S)
    monkeypatch.setattr("rnncore.measure.row.WARM_UP_S", 0.02)
    monkeypatch.setattr("pytest_benchmark.plugin.get_cpu_info", dict)
    return pytester


@pytest.fixture
def rnncore(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return the command, to be run inside this process."""

    def run(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["rnncore", *map(str, args)])
        capsys.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes text or bytes to a file of the temporary folder and returns its path."""

    def write(content: str | bytes, name: str = "zone.csv") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write
