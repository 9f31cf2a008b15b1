"""The private parts of pytest-benchmark that rnncore needs: all of them are used here, and nowhere else.

pytest-benchmark has no public way to look between rounds, to take rounds that were timed elsewhere, to drop the record of
an attempt, or to say where a run was saved. `missing_parts` looks for all of them before anything is measured.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

# Those that all of this was tried with.
KNOWN_VERSIONS = "5.3.0 and 5.3.1"

# What each part is looked for in: a class, by the attributes that it has and those that its __init__ sets, or a module.
_SESSION = (
    *("autosave", "benchmarks", "compared_mapping", "disabled", "get_machine_info", "json", "machine_id", "save"),
    *("save_json", "skip", "storage"),
)
_PARTS = {
    "fixture.BenchmarkFixture": (
        *("_disable_gc", "_make_runner", "_make_stats", "_max_time", "_min_rounds", "_min_time", "_mode", "_precision"),
        *("_raw", "_raw_pedantic", "_warmup", "enabled", "extra_info", "fullname", "group", "pedantic", "stats"),
    ),
    "stats.Metadata": ("as_dict", "extra_info", "fullname", "has_error", "iterations", "stats", "update"),
    "utils": ("get_machine_id",),
}


def session_of(config: pytest.Config) -> Any:
    """Return pytest-benchmark's session; None where the plugin is not active."""
    return getattr(config, "_benchmarksession", None)


def times(config: pytest.Config) -> bool:
    """Say whether benchmarks are timed in a session, and not skipped or called once as a check."""
    session = session_of(config)
    return session is not None and not session.disabled and not session.skip


def check(config: pytest.Config) -> None:
    """Make sure that every private part is there.

    Raises:
        pytest.UsageError: If one is not; names it.
    """
    missing = missing_parts(session_of(config))
    if missing:
        raise pytest.UsageError(
            f"rnncore cannot measure with pytest-benchmark {version()}, which lacks {', '.join(missing)}. "
            f"Install one that is known to work ({KNOWN_VERSIONS}), or a newer rnncore."
        )


def missing_parts(session: Any) -> list[str]:
    """Return the parts that this version of pytest-benchmark lacks, by name."""
    missing = [f"BenchmarkSession.{name}" for name in _SESSION if not hasattr(session, name)]
    for place, names in _PARTS.items():
        module, _, kind = place.partition(".")
        try:
            owner = import_module(f"pytest_benchmark.{module}")
            owner = getattr(owner, kind) if kind else owner
        except (ImportError, AttributeError):
            missing.append(place)
            continue
        code = getattr(vars(owner).get("__init__"), "__code__", None)
        there = {*dir(owner), *(code.co_names if code else ())}
        missing += [f"{place}.{name}" for name in names if name not in there]
    return missing


def version() -> str:
    """Return the version of pytest-benchmark."""
    import pytest_benchmark

    return str(pytest_benchmark.__version__)


def machine_id() -> str:
    """Return the folder of a store that this machine's run files go to."""
    from pytest_benchmark.utils import get_machine_id

    of_this_machine: Callable[[], str] = get_machine_id
    return of_this_machine()


# ---------------------------------------------------------------------------------------------------- one benchmark


def is_own_fixture(benchmark: object) -> bool:
    """Say whether a fixture called `benchmark` is pytest-benchmark's; another's may pretend to be by `__class__`."""
    from pytest_benchmark.fixture import BenchmarkFixture

    return issubclass(type(benchmark), BenchmarkFixture)


@contextmanager
def after_each_round(benchmark: Any, ended: Callable[[float, int], None]) -> Iterator[None]:
    """Call back when a fixture has timed a round, those that calibrate and warm up too, before it begins the next.

    Nothing is added to a round: the clock is read inside of what is called here.

    Args:
        benchmark: The fixture.
        ended: Called with the seconds of the round and its calls.
    """
    make_runner = benchmark._make_runner

    def make(*given: Any) -> Callable[[Any], Any]:
        runner = make_runner(*given)

        def watched(loops: Any) -> Any:
            __tracebackhide__ = True
            timed = runner(loops)
            if loops:
                ended(timed, len(loops))
            else:
                # A single call, whose result comes with it.
                ended(timed[0], 1)
            return timed

        return watched

    benchmark._make_runner = make
    try:
        yield
    finally:
        del benchmark._make_runner


def lengthen_rounds(benchmark: Any, seconds: float) -> None:
    """Let a round of a fixture last at least *seconds*."""
    benchmark._min_time = max(benchmark._min_time, seconds)


def rounds_of(benchmark: Any, call_s: float) -> int | None:
    """Return how many rounds a call of known length needs; None where the fixture is to find that out by itself."""
    if benchmark._precision is not None or benchmark._warmup:
        return None
    return max(int(benchmark._min_rounds), math.ceil(float(benchmark._max_time) / call_s))


def take_rounds(benchmark: Any, rounds_s: Sequence[float], calls: int) -> Any:
    """Give a fixture rounds that were timed elsewhere.

    Args:
        benchmark: The fixture.
        rounds_s: Mean seconds of a call in each round.
        calls: Calls of a round.

    Returns:
        The record that pytest-benchmark made of them.
    """
    stats = benchmark._make_stats(calls)
    for seconds in rounds_s:
        stats.update(seconds * calls)
    return stats


def replace_timing(benchmark: Any, timed: Callable[..., Any]) -> None:
    """Let a fixture give what it is to time to another, and return what that returns.

    Args:
        benchmark: The fixture.
        timed: Called with the function, its arguments, those by name, and what prepares a round and clears up after it.
    """

    def raw(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return timed(function, args, kwargs, None, None)

    def raw_pedantic(
        target: Callable[..., Any],
        args: Any = (),
        kwargs: Any = None,
        setup: Any = None,
        teardown: Any = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> Any:
        return timed(target, args, kwargs or {}, setup, teardown)

    benchmark._raw, benchmark._raw_pedantic = raw, raw_pedantic


def surround_timing(
    benchmark: Any, around: Callable[[Callable[..., Any]], AbstractContextManager[Callable[..., Any]]]
) -> None:
    """Let a fixture time as ever, inside a context of another's; where that is so already, nothing changes.

    Args:
        benchmark: The fixture.
        around: Returns the context. It is given the function that is to be timed, and yields what is timed in its place.
    """
    if "_raw" in vars(benchmark):
        return
    raw, raw_pedantic = benchmark._raw, benchmark._raw_pedantic

    def surrounded(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with around(function) as timed:
            return raw(timed, *args, **kwargs)

    def surrounded_pedantic(target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with around(target) as timed:
            return raw_pedantic(timed, *args, **kwargs)

    benchmark._raw, benchmark._raw_pedantic = surrounded, surrounded_pedantic


def disables_gc(benchmark: Any) -> bool:
    """Say whether a fixture keeps the garbage collector out of its rounds."""
    return bool(benchmark._disable_gc)


def uses_fixture(item: pytest.Item) -> bool:
    """Say whether a test asks for pytest-benchmark's fixture."""
    return bool({"benchmark", "benchmark_weave"} & set(getattr(item, "fixturenames", ())))


# What a project may have set for its everyday tests, and what a process sets that is only to measure.
_ONLY_TO_MEASURE = {
    "benchmark_disable": False,
    "benchmark_enable": True,
    "benchmark_skip": False,
    "benchmark_only": True,
    "benchmark_autosave": False,
    "benchmark_save": None,
    "benchmark_compare": None,
    "benchmark_compare_fail": None,
    "benchmark_histogram": None,
    "benchmark_cprofile": None,
    "maxfail": 0,
}


def only_measure(config: pytest.Config) -> None:
    """Set aside, before pytest-benchmark reads them, options that would skip, compare, save or end early; and all tests."""
    for name, value in _ONLY_TO_MEASURE.items():
        if hasattr(config.option, name):
            setattr(config.option, name, value)


def mark_used(benchmark: Any) -> None:
    """Keep pytest-benchmark from warning that a fixture was not used."""
    benchmark._mode = "observed"


# -------------------------------------------------------------------------------------------------------- a session


def compared_paths(config: pytest.Config) -> list[Path]:
    """Return the files that a session is compared with, as pytest-benchmark names them, oldest first."""
    return [Path(path) for path in session_of(config).compared_mapping or ()]


def timed_names(config: pytest.Config) -> list[str]:
    """Return the full names of all benchmarks that were timed, those of others too."""
    return [record.fullname for record in session_of(config).benchmarks if record]


def forget(config: pytest.Config, fullname: str) -> None:
    """Drop what pytest-benchmark has of an earlier attempt at a benchmark."""
    records = session_of(config).benchmarks
    # In place: every fixture of the session adds to this list.
    records[:] = [record for record in records if record.fullname != fullname]


def session_header(config: pytest.Config) -> dict[str, Any]:
    """Return what a run file says of machine, commit and version."""
    session = session_of(config)
    return {
        "machine_id": session.machine_id,
        "machine_info": session.get_machine_info(),
        "commit_info": config.hook.pytest_benchmark_generate_commit_info(config=config),
        "version": version(),
    }


def storage_folder(config: pytest.Config) -> Path:
    """Return the folder of the store, or where it would be by default."""
    return Path(getattr(getattr(session_of(config), "storage", None), "path", ".benchmarks"))


def require_places_to_save(config: pytest.Config) -> None:
    """Refuse a session whose run files could not be written to where they are to go; what is there stays as it is.

    Raises:
        pytest.UsageError: If a file, or a folder that is to hold one, cannot be written to; names the option.
    """
    session = session_of(config)
    places = [("--benchmark-json", Path(session.json))] if session.json else []
    if (session.save or session.autosave) and hasattr(session.storage, "path"):
        # Of a file in the store the name is not known yet.
        places.append(("--benchmark-storage", Path(session.storage.path) / session.machine_id))
    for option, place in places:
        try:
            if option == "--benchmark-storage":
                place.mkdir(parents=True, exist_ok=True)
            elif place.exists():
                place.open("ab").close()
                continue
            with TemporaryFile(dir=place if place.is_dir() else place.parent) as trial:
                trial.write(b"\n")
        except OSError as error:
            # A session that is refused ends without a warning that there was nothing to save.
            session.json = session.save = session.autosave = None
            raise pytest.UsageError(
                f"{option}: {place} cannot be written to ({error.strerror}), so nothing that is measured could be saved. "
                f"Give another {option}, or make it writable."
            ) from error


def watch_saving(
    config: pytest.Config,
    saved: Callable[[Path | None], None],
    not_saved: Callable[[dict[str, Any], str, OSError], None],
) -> None:
    """Call back with whether a run file was saved; a failure no longer ends the session.

    Args:
        config: The session's configuration.
        saved: Called with the file in the store; with None where there is no such file: a `--benchmark-json`, or a store
            that is not of files.
        not_saved: Called with the content, where it was to go, and why it is not there.
    """
    session = session_of(config)
    write_json, storage = session.save_json, session.storage
    store = storage.save

    def save_json(content: dict[str, Any]) -> None:
        try:
            write_json(content)
        except OSError as error:
            not_saved(content, str(session.json), error)
        else:
            saved(None)

    def save(content: dict[str, Any], name: str) -> None:
        before = _files(storage)
        try:
            store(content, name)
        except OSError as error:
            # A disk that is full takes a part of a file; nothing could read it.
            for path in _files(storage) - before:
                try:
                    json.loads(path.read_bytes())
                except (OSError, ValueError):
                    path.unlink(missing_ok=True)
            not_saved(content, str(storage), error)
        else:
            saved(max(_files(storage) - before, default=None))

    session.save_json, storage.save = save_json, save


def save_without_benchmarks(config: pytest.Config, facts: dict[str, Any]) -> None:
    """Write the `--benchmark-json` of a session that timed nothing, which pytest-benchmark does not; else do nothing.

    Args:
        config: The session's configuration.
        facts: What the file holds beside what it says of the session: what failed, and why.
    """
    session = session_of(config)
    if session.json and not session.benchmarks:
        now = datetime.now(UTC).isoformat()
        session.save_json({**session_header(config), "datetime": now, "benchmarks": [], **facts})
        # It would warn that there is nothing to save, and a project may make errors of warnings.
        session.json = None


class _Untimed(list[Any]):
    """Of a session that timed nothing, and is to be saved all the same."""

    def __bool__(self) -> bool:
        """Say that there is something to save."""
        return True


def save_untimed(config: pytest.Config) -> bool:
    """Let pytest-benchmark save a session at its end also if it timed nothing; say whether any option asks for that."""
    session = session_of(config)
    is_saved = bool(session.json or session.save or session.autosave)
    if is_saved and not session.benchmarks:
        session.benchmarks = _Untimed()
    return is_saved


def _files(storage: Any) -> set[Path]:
    return {Path(path) for path in storage.query()} if hasattr(storage, "query") else set()
