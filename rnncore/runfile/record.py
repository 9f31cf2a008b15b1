"""What a run file may hold: one table of the keys that any reader uses, and the check of it.

Whoever reads a run file relies on these types and ranges, and on nothing else. Keys that are not in the table are the
user's own, and are left alone; so are those that end in `_why`, which are only shown.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rnncore.errors import RunFileError


class Fault(NamedTuple):
    """A value that is not what readers rely on.

    Attributes:
        where: Its key, with those it lies in: `training.curve[2].loss`.
        value: What stands there; `MISSING` where nothing does.
        allowed: What may stand there, in words.
    """

    where: str
    value: Any
    allowed: str


MISSING = object()

# What yields the faults of a value; keys within it are joined to the first argument.
Check = Callable[[str, Any], Iterator[Fault]]

# Beyond what any clock, memory or rate reaches, and within what arithmetic on it keeps finite.
_LARGEST = 1e18
_SHORTEST_S, _LONGEST_S = 1e-12, 1e9
_SHOWN = 60

_UNSERIALIZABLE = "UNSERIALIZABLE["


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and bool(_SHORTEST_S <= value <= _LONGEST_S)


def _one(allowed: str, holds: Callable[[Any], bool]) -> Check:
    def check(where: str, value: Any) -> Iterator[Fault]:
        if not holds(value):
            yield Fault(where, value, allowed)

    return check


def _or_none(check: Check) -> Check:
    def checked(where: str, value: Any) -> Iterator[Fault]:
        if value is not None:
            for fault in check(where, value):
                yield fault._replace(allowed=f"{fault.allowed}, or null") if fault.where == where else fault

    return checked


def _list_of(check: Check, fewest: int = 0) -> Check:
    def checked(where: str, value: Any) -> Iterator[Fault]:
        if not isinstance(value, list) or len(value) < fewest:
            yield Fault(where, value, f"a list{' that is not empty' if fewest else ''}")
            return
        for index, one in enumerate(value):
            yield from check(f"{where}[{index}]", one)

    return checked


def _object_of(check: Check, fewest: int = 0) -> Check:
    """Return the check of an object with keys of any name."""

    def checked(where: str, value: Any) -> Iterator[Fault]:
        if not isinstance(value, Mapping) or len(value) < fewest:
            yield Fault(where, value, f"an object{' that is not empty' if fewest else ''}")
            return
        for name, one in value.items():
            if not name.endswith("_why"):
                yield from check(_joined(where, name), one)

    return checked


def _object(needed: Mapping[str, Check], **others: Check) -> Check:
    """Return the check of an object that must have some keys and may have others."""

    def checked(where: str, value: Any) -> Iterator[Fault]:
        if not isinstance(value, Mapping):
            yield Fault(where, value, "an object")
            return
        for name, check in needed.items():
            if name in value:
                yield from check(_joined(where, name), value[name])
            else:
                yield Fault(_joined(where, name), MISSING, "there")
        for name, check in others.items():
            if name in value:
                yield from check(_joined(where, name), value[name])

    return checked


def _joined(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _panel(where: str, value: Any) -> Iterator[Fault]:
    """Check a forecast beside the actual load: as many values as hours."""
    faults = list(_PANEL(where, value))
    yield from faults
    if not faults:
        hours = len(value["hours"])
        for name, line in {"actual_mw": value["actual_mw"], **value["forecast_mw"]}.items():
            if len(line) != hours:
                yield Fault(_joined(where, name), line, f"a list of {hours} numbers, one for each of its hours")


ANY = _one("anything", lambda value: True)
TEXT = _one("a text", lambda value: isinstance(value, str))
NAME = _one("a text that is not empty", lambda value: isinstance(value, str) and value != "")
COMMIT = _one("a text or a whole number", lambda value: isinstance(value, str | int) and not isinstance(value, bool))
YES_NO = _one("true or false", lambda value: isinstance(value, bool))
NUMBER = _one("a number", _is_number)
NOT_NEGATIVE = _one("a number that is not negative", lambda value: _is_number(value) and value >= 0)
POSITIVE = _one("a number above 0", lambda value: _is_number(value) and value > 0)
COUNT = _one("a whole number that is not negative", lambda value: _is_number(value) and type(value) is int and value >= 0)
SIZE = _one("a whole number above 0", lambda value: _is_number(value) and type(value) is int and value > 0)
SECONDS = _one(
    f"seconds, a number from {_SHORTEST_S:g} to {_LONGEST_S:g}",
    _is_seconds,
)

_PERCENTILE = _object({"s": SECONDS, "low_s": SECONDS, "high_s": SECONDS})
_PROFILE = _object(
    {
        "wall_s": SECONDS,
        "ops": _list_of(
            _object({"op": TEXT, "where": TEXT, "self_s": NOT_NEGATIVE}, calls=NUMBER, category=TEXT, shapes=TEXT)
        ),
    },
    shares_pct=_object_of(NUMBER),
    trace=_or_none(TEXT),
    note=TEXT,
)
_POINT = _object({"step": NUMBER, "seconds": NOT_NEGATIVE, "loss": NUMBER, "score": POSITIVE})
_TRAINING = _object(
    {"steps": COUNT, "seconds": NOT_NEGATIVE},
    seed=_or_none(COUNT),
    preset=_or_none(TEXT),
    curve=_or_none(_list_of(_POINT)),
)
_PANEL = _object(
    {
        "zone": TEXT,
        "hours": _list_of(NUMBER, fewest=1),
        "actual_mw": _list_of(NUMBER),
        "forecast_mw": _object_of(_list_of(NUMBER)),
    }
)

# Of `extra_info` of a benchmark. Where a key may be null, the benchmark does not know it.
ROW: dict[str, Check] = {
    # Axes: what was measured.
    "phase": NAME,
    "runtime": TEXT,
    "device": TEXT,
    "cell": _or_none(NAME),
    "precision": _or_none(TEXT),
    "hidden_size": _or_none(SIZE),
    "num_layers": _or_none(SIZE),
    "lookback": _or_none(SIZE),
    "batch_size": _or_none(SIZE),
    "threads": _or_none(SIZE),
    "clock": _or_none(TEXT),
    "recipe": _or_none(TEXT),
    "features": _or_none(SIZE),
    "runtime_title": _or_none(TEXT),
    "runtime_reads": _or_none(TEXT),
    "model": _or_none(TEXT),
    # Facts: what was seen.
    "windows": POSITIVE,
    "validity": _or_none(TEXT),
    "kernel": _or_none(TEXT),
    "bound": _or_none(TEXT),
    "steady": _or_none(YES_NO),
    "disturbed_rounds": _or_none(COUNT),
    "disturbance": _or_none(
        _object(
            {}, causes=_or_none(_object_of(COUNT)), median_undisturbed_s=_or_none(SECONDS), rounds=_or_none(_list_of(COUNT))
        )
    ),
    "percentiles": _or_none(_object_of(_or_none(_PERCENTILE))),
    "profile": _or_none(_PROFILE),
    "training": _or_none(_TRAINING),
    "baselines_smape": _or_none(_object_of(NOT_NEGATIVE, fewest=1)),
    "panels": _or_none(_list_of(_panel)),
    "zones": _or_none(_list_of(_object({"name": TEXT}, smape=_or_none(NUMBER), smape_article=_or_none(NUMBER)))),
    **dict.fromkeys(
        (
            *("gflop_per_s", "gemm_ceiling_pct", "recurrent_ceiling_pct", "bandwidth_ceiling_pct", "us_per_step"),
            *("flops_per_byte", "windows_per_s", "parity_max_abs", "peak_rss_bytes", "peak_device_bytes", "model_rss_bytes"),
            *("joules_per_1000", "mae_mw", "smape_torch_fp32", "smape_by_windows", "served_per_s", "injected_delay_pct"),
        ),
        _or_none(NOT_NEGATIVE),
    ),
    **dict.fromkeys(("smape", "smape_article"), _or_none(NOT_NEGATIVE)),
    **dict.fromkeys(("first_call_s", "window_call_s", "p99_bound_s"), _or_none(SECONDS)),
}

# Axes that every benchmark of a suite has, if only as null.
AXES = ("cell", "precision", "hidden_size", "num_layers", "lookback", "batch_size", "threads")

# What a row must tell, and a right one also by its phase.
NEEDED = ("windows", "device", "runtime")
NEEDED_BY_PHASE = {
    "infer": ("cell", "batch_size"),
    "train": ("cell", "batch_size"),
    "paired": ("cell", "batch_size"),
    "stream": ("cell", "batch_size", "window_call_s"),
    "serve": ("cell", "batch_size", "p99_bound_s"),
    "accuracy": ("cell", "smape", "smape_article", "mae_mw", "training", "baselines_smape"),
}

_RATE = {"device": TEXT, "per_s": _or_none(POSITIVE)}

# Of the machine and the session on it. They stand in the block `rnncore`; version 0.1 wrote them into `machine_info`.
MACHINE: dict[str, Check] = {
    "fingerprint": _object(
        {},
        cpu=_or_none(TEXT),
        cpus=_or_none(SIZE),
        threads=_or_none(SIZE),
        memory_bytes=_or_none(NOT_NEGATIVE),
        packages=_object_of(_or_none(TEXT)),
        isa=_or_none(_object_of(_or_none(YES_NO))),
        gpu=_or_none(_object({"name": TEXT}, memory_bytes=_or_none(NOT_NEGATIVE))),
    ),
    "ceilings": _or_none(
        _object(
            {},
            gemm=_list_of(_object({**_RATE, "precision": TEXT})),
            recurrent=_list_of(
                _object({**_RATE, "precision": TEXT, "batch_size": SIZE, "hidden_size": SIZE, "gates": SIZE})
            ),
            copy=_list_of(_object(_RATE)),
        )
    ),
}

# Of the whole file, its benchmarks aside.
RUN: Check = _object(
    {
        "datetime": TEXT,
        "machine_info": _object({}, **MACHINE),
        "commit_info": _object({}, id=_or_none(COMMIT)),
        "benchmarks": _list_of(_object({"extra_info": _object({})})),
        "rnncore": _object(
            {
                "data": _or_none(_object({"name": TEXT, "digest": TEXT})),
                "command": _list_of(TEXT),
                "skipped": _list_of(_object({"fullname": TEXT, "reason": TEXT})),
            },
            failed=_list_of(_object({"fullname": TEXT, "outcome": TEXT, "reason": TEXT})),
            scale=_or_none(TEXT),
            version=_or_none(TEXT),
            steady=_or_none(YES_NO),
            overhead=_or_none(
                _object(
                    {"wall_s": NOT_NEGATIVE, "timed_s": NOT_NEGATIVE, "overhead_s": NUMBER, "parts_s": _object_of(NUMBER)},
                    trainings_s=NOT_NEGATIVE,
                )
            ),
            **MACHINE,
        ),
    }
)

# Of one entry of `benchmarks` that belongs to a suite.
ENTRY: Check = _object({"fullname": NAME, "group": _or_none(TEXT), "stats": _object({})})


def ROUNDS(where: str, value: Any) -> Iterator[Fault]:  # noqa: N802 (one of the checks; there may be a million rounds)
    """Check the seconds of every round."""
    if not isinstance(value, list) or not value:
        yield Fault(where, value, "a list that is not empty")
        return
    for index, seconds in enumerate(value):
        if not _is_seconds(seconds):
            yield from SECONDS(f"{where}[{index}]", seconds)


# Of a record of noise.
NOISE: Check = _object(
    {
        "fingerprint": _object({}),
        "scale": TEXT,
        "datetime": TEXT,
        "process_s": SECONDS,
        "quickest_s": _object_of(_list_of(SECONDS)),
        "floors": _object_of(
            _list_of(_object({"processes": SIZE, "wander": NOT_NEGATIVE, "visible": _or_none(NOT_NEGATIVE)}), fewest=1)
        ),
    }
)


def another_kind(content: Any) -> str | None:
    """Return why JSON is no run file of rnncore's suites at all; None where it may be one."""
    if not isinstance(content, dict):
        return f"it holds {shown(content)}, not an object"
    lacking = [name for name in ("benchmarks", "machine_info", "commit_info", "datetime", "rnncore") if name not in content]
    if not lacking and "fingerprint" not in machine_facts(content):
        lacking = ["the machine's fingerprint"]
    return f"it lacks {', '.join(lacking)}" if lacking else None


def machine_facts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the keys of `MACHINE` that a run file has, wherever its version wrote them."""
    blocks = [content.get(name) for name in ("machine_info", "rnncore")]
    return {key: value for block in blocks if isinstance(block, dict) for key, value in block.items() if key in MACHINE}


def faults_of_row(extra: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with the facts of a benchmark.

    A row whose result is wrong may hold NaN and infinity, as its answers did.
    """
    is_right = extra.get("validity") in (None, "valid")
    for name, check in ROW.items():
        if name in extra:
            for fault in check(name, extra[name]):
                if is_right or not (isinstance(fault.value, float) and not math.isfinite(fault.value)):
                    yield fault


def missing_of_row(extra: Mapping[str, Any]) -> list[str]:
    """Return what a benchmark must tell and does not; one that failed may lack what comes after its times."""
    by_phase: Sequence[str] = ()
    if extra.get("validity") in (None, "valid"):
        by_phase = NEEDED_BY_PHASE.get(str(extra["phase"]), ())
    return [key for key in (*NEEDED, *by_phase) if extra.get(key) is None]


def refuse(where: str, faults: Iterator[Fault]) -> None:
    """Raise for the first fault, in one line.

    Args:
        where: File, and benchmark where there is one.
        faults: What is wrong there.

    Raises:
        RunFileError: If anything is.
    """
    fault = next(faults, None)
    if fault is None:
        return
    recorded = isinstance(fault.value, str) and fault.value.startswith(_UNSERIALIZABLE)
    raise RunFileError(f"{where}: {words(fault)}. {_ADVICE_ON_TYPES if recorded else _ADVICE}")


def words(fault: Fault) -> str:
    """Return a fault as a sentence without its full stop."""
    where = one_line(fault.where) if fault.where else "it"
    if fault.value is MISSING:
        return f"{where} is missing"
    return f"{where} is {shown(fault.value)}, and must be {fault.allowed}"


_ADVICE = (
    "Make the run again with 'pytest bench/ --benchmark-autosave', or record what is allowed with rnn_benchmark.record."
)
_ADVICE_ON_TYPES = "JSON cannot hold what was recorded: record float(x), int(x) or str(x), and make the run again."


def shown(value: Any) -> str:
    """Return a value as short text on one line."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"an object of {len(value)} keys"
    text = {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def one_line(text: str) -> str:
    """Return a name from a file as one line."""
    return " ".join(text.split()) if text.split() else repr(text)
