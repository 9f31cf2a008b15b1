"""What a run file may hold beside its benchmarks, and the record of a machine's noise."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from rnncore.runfile.checks import (
    COMMIT,
    COUNT,
    MOMENT,
    NAME,
    NOT_NEGATIVE,
    NUMBER,
    POSITIVE,
    SECONDS,
    SIZE,
    TEXT,
    YES_NO,
    Check,
    Fault,
    is_seconds,
    joined,
    list_of,
    object_of,
    object_with,
    or_none,
    shown,
)
from rnncore.runfile.machine import ordinary_fingerprint

_RATE = {"device": TEXT, "per_s": or_none(POSITIVE)}
_LOOKS = {"lowest_per_s": or_none(POSITIVE), "looks": or_none(SIZE)}

# Of the machine and the session on it. They are in the block `rnncore`; version 0.1 wrote them into `machine_info`.
MACHINE: dict[str, Check] = {
    "fingerprint": object_with(
        {},
        cpu=or_none(TEXT),
        cpus=or_none(SIZE),
        threads=or_none(SIZE),
        memory_bytes=or_none(NOT_NEGATIVE),
        packages=object_of(or_none(TEXT)),
        isa=or_none(object_of(or_none(YES_NO))),
        gpu=or_none(object_with({"name": TEXT}, memory_bytes=or_none(NOT_NEGATIVE))),
    ),
    "ceilings": or_none(
        object_with(
            {},
            peak=list_of(object_with({**_RATE, "precision": TEXT}, **_LOOKS)),
            gemm=list_of(object_with({**_RATE, "precision": TEXT}, **_LOOKS)),
            recurrent=list_of(
                object_with({**_RATE, "precision": TEXT, "batch_size": SIZE, "hidden_size": SIZE, "gates": SIZE}, **_LOOKS)
            ),
            read=list_of(object_with({**_RATE, "bytes": SIZE}, **_LOOKS)),
            copy=list_of(object_with(_RATE, **_LOOKS)),
        )
    ),
}

# Of the session, beside the machine: what a journal has of it, too.
SESSION: dict[str, Check] = {
    "skipped": list_of(object_with({"fullname": TEXT, "reason": TEXT})),
    "failed": list_of(object_with({"fullname": TEXT, "outcome": TEXT, "reason": TEXT})),
    "data": or_none(object_with({"name": TEXT, "digest": TEXT})),
}

# Of the whole file, its benchmarks aside.
RUN: Check = object_with(
    {
        "datetime": MOMENT,
        "machine_info": object_with({}, **MACHINE),
        "commit_info": object_with({}, id=or_none(COMMIT)),
        "benchmarks": list_of(object_with({"extra_info": object_with({})})),
        "rnncore": object_with(
            {"data": SESSION["data"], "command": list_of(TEXT), "skipped": SESSION["skipped"]},
            failed=SESSION["failed"],
            kernels=object_of(TEXT),
            scale=or_none(TEXT),
            version=or_none(TEXT),
            steady=or_none(YES_NO),
            pair=or_none(COUNT),
            overhead=or_none(
                object_with(
                    {"wall_s": NOT_NEGATIVE, "timed_s": NOT_NEGATIVE, "overhead_s": NUMBER, "parts_s": object_of(NUMBER)},
                    trainings_s=NOT_NEGATIVE,
                )
            ),
            **MACHINE,
        ),
    }
)

# Of a file that the plugin took no part in.
ORDINARY_RUN: Check = object_with(
    {"datetime": MOMENT, "benchmarks": list_of(object_with({"extra_info": object_with({})}))},
    machine_info=or_none(object_with({})),
    commit_info=or_none(object_with({}, id=or_none(COMMIT))),
)

# Times that stand for the rounds where a file holds none.
_SUMMARY = ("min", "q1", "median", "q3", "max")
_ROUNDING = 1e-9
_WHOLE_SUMMARY: Check = object_with({**dict.fromkeys(_SUMMARY, SECONDS), "rounds": SIZE})
_PART_OF_SUMMARY: Check = object_with({}, **dict.fromkeys(_SUMMARY, SECONDS))

# Of one entry of `benchmarks`.
ENTRY: Check = object_with({"fullname": NAME, "group": or_none(TEXT), "stats": object_with({}, iterations=or_none(SIZE))})


def TIMES(where: str, stats: Mapping[str, Any]) -> Iterator[Fault]:  # noqa: N802 (one of the checks)
    """Check the times of an entry: of every round, or what stands for the rounds; a benchmark with a fault has no times."""
    rounds_s = stats.get("data")
    if rounds_s:
        yield from _rounds(joined(where, "data"), rounds_s)
        yield from _PART_OF_SUMMARY(where, stats)
    else:
        faults = [*_WHOLE_SUMMARY(where, stats)]
        yield from faults or _out_of_order(where, stats)


def _out_of_order(where: str, stats: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what of a summary is less than what it cannot be less than."""
    for low, high in pairwise(_SUMMARY):
        # Quartiles are worked out, and so rounded.
        if stats[high] < stats[low] * (1 - _ROUNDING):
            yield Fault(joined(where, high), stats[high], f"no less than {low}, {stats[low]!r}")


def _rounds(where: str, value: Any) -> Iterator[Fault]:
    """Check the seconds of every round, of which there may be a million."""
    if not isinstance(value, list):
        yield Fault(where, value, "a list that is not empty")
        return
    for index, seconds in enumerate(value):
        if not is_seconds(seconds):
            yield from SECONDS(f"{where}[{index}]", seconds)


def has_times(stats: Mapping[str, Any]) -> bool:
    """Say the same by the summary alone: a store may have ten million entries of thousands of rounds."""
    if stats.get("data"):
        return "median" in stats and all(is_seconds(stats[key]) for key in _SUMMARY if key in stats)
    is_whole = all(map(is_seconds, map(stats.get, _SUMMARY))) and not any(SIZE("", stats.get("rounds")))
    return is_whole and not any(_out_of_order("", stats))


# Of a record of noise.
NOISE: Check = object_with(
    {
        "fingerprint": object_with({}),
        "scale": TEXT,
        "datetime": TEXT,
        "pair_s": SECONDS,
        "log_ratios": object_of(list_of(NUMBER)),
        "floors": object_of(
            list_of(object_with({"pairs": SIZE, "wander": NOT_NEGATIVE, "visible": or_none(NOT_NEGATIVE)}), fewest=1)
        ),
    }
)

# Of what a benchmark reads.
_REACH: dict[str, Check] = {"files": object_of(TEXT), "folders": object_of(TEXT), "looked_for": TEXT}
# Of a record of what benchmarks read.
REACH: Check = object_with(
    {
        "collected": object_with(_REACH),
        "suites": object_of(TEXT),
        "benchmarks": object_of(object_with({**_REACH, "group": or_none(TEXT)})),
    }
)


def another_kind(content: Any) -> str | None:
    """Return why JSON is no run file at all; None where it may be one."""
    if not isinstance(content, dict):
        return f"it holds {shown(content)}, not an object"
    ours = ("machine_info", "commit_info") if "rnncore" in content else ()
    lacking = [name for name in ("benchmarks", "datetime", *ours) if name not in content]
    if ours and not lacking and "fingerprint" not in machine_facts(content):
        lacking = ["the machine's fingerprint"]
    return f"it lacks {', '.join(lacking)}" if lacking else None


def commit_id(commit_info: Mapping[str, Any]) -> str | None:
    """Return the commit of a run file; None outside git, and where there is no commit yet."""
    found = commit_info.get("id")
    # Words of pytest-benchmark for the two.
    return None if found in (None, "unversioned", "unknown") else str(found)


def machine_facts(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the keys of `MACHINE` that a run file has, wherever its version wrote them."""
    blocks = [content.get(name) for name in ("machine_info", "rnncore")]
    return {key: value for block in blocks if isinstance(block, dict) for key, value in block.items() if key in MACHINE}


def fingerprint_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run file knows of its machine: what the plugin recorded, else what pytest-benchmark itself says."""
    recorded = machine_facts(content).get("fingerprint") if "rnncore" in content else None
    return recorded if isinstance(recorded, dict) else ordinary_fingerprint(content.get("machine_info") or {})
