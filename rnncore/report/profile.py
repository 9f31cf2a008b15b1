"""Profiles of a run, or the difference of two, as text and as JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rnncore.compare.profile import (
    difference,
    explain,
    profile_of,
    profiled_in_both,
    profiled_records,
    signed_time,
)
from rnncore.errors import RunFileError
from rnncore.report.table import Table, numbers, words
from rnncore.report.words import is_below_microsecond, significant, time_text
from rnncore.runfile.record import Record, Run

# A share below this prints as 0.0 %.
_SMALLEST_PCT = 0.05

# Tensors of an operation whose shapes are shown; recurrent layers have a dozen.
_SHOWN_SHAPES = 3


def profile_tables(run: Run, other: Run | None, text: str, top: int) -> Iterator[tuple[str, Table]]:
    """Yield for each profiled benchmark where its time goes; or with another run, which operations changed.

    What changed most is the last of them: on a screen the eye is there.

    Args:
        run: The run, or the one before.
        other: The run now; then only benchmarks that both profiled are shown.
        text: Only benchmarks whose name holds this.
        top: Operations to show.

    Raises:
        RunFileError: If there is no such benchmark.
    """
    if other is None:
        for record in named_records(run, text):
            profile = profile_of(record)
            shares = sorted(profile.get("shares_pct", {}).items(), key=lambda share: share[1], reverse=True)
            shown = ", ".join(f"{name} {pct:.1f} %" for name, pct in shares if pct >= _SMALLEST_PCT)
            note = f" ({profile['note']})" if "note" in profile else ""
            trace = f"\nTrace: {profile['trace']}" if profile.get("trace") else ""
            heading = f"{record.short_name}: {_kernel(record)}"
            yield f"{heading}\n{_with_unit(profile['wall_s'])} a call: {shown}{note}{trace}", op_table(profile, top)
        return
    columns = [*words("Operation"), *numbers("base", "now", unit="ms", show=_ms), *numbers("change", show=signed_time)]
    changes = [(before, now, difference(before, now)) for before, now in paired_records(run, other, text)]
    for before, now, change in sorted(changes, key=lambda one: abs(one[2].change_s)):
        was = f", before {_kernel(before)}" if _kernel(before) != _kernel(now) else ""
        lines = (
            f"{now.short_name}: {_kernel(now)}{was}\n"
            f"{_with_unit(change.base_s)}, now {_with_unit(change.head_s)} a call: {explain(change)}"
        )
        rows = [[op.op, op.base_s, op.head_s, op.change_s, op.where] for op in change.ops[:top]]
        yield lines, Table([*columns, *numbers("where")], rows)


def profile_json(run: Run, other: Run | None, text: str) -> dict[str, Any]:
    """Return the same as `profile_tables`, with every operation, as JSON.

    Args:
        run: The run, or the one before.
        other: The run now; then only benchmarks that both profiled are given.
        text: Only benchmarks whose name holds this.

    Raises:
        RunFileError: If there is no such benchmark.
    """
    if other is None:
        rows = [
            {"fullname": record.fullname, "kernel": record.kernel, "profile": profile_of(record)}
            for record in named_records(run, text)
        ]
        return {"run": str(run.path), "benchmarks": rows}
    changes = []
    for before, now in paired_records(run, other, text):
        change = difference(before, now)
        changes.append(
            {
                "fullname": now.fullname,
                "base_kernel": before.kernel,
                "head_kernel": now.kernel,
                "base_s": change.base_s,
                "head_s": change.head_s,
                "change_s": change.change_s,
                "explanation": explain(change),
                "ops": [{**asdict(op), "change_s": op.change_s} for op in change.ops],
            }
        )
    return {"base": str(run.path), "head": str(other.path), "benchmarks": changes}


def named_records(run: Run, text: str) -> list[Record]:
    """Return the profiled records of a run whose name holds *text*, in any case.

    Raises:
        RunFileError: If there is none.
    """
    return _named(profiled_records(run), text)


def paired_records(base: Run, head: Run, text: str) -> list[tuple[Record, Record]]:
    """Return the records that both runs profiled and whose name holds *text*.

    Raises:
        RunFileError: If there is none.
    """
    pairs = profiled_in_both(base, head)
    wanted = {record.fullname for record in _named([now for _, now in pairs], text)}
    return [(before, now) for before, now in pairs if now.fullname in wanted]


def _named(records: list[Record], text: str) -> list[Record]:
    found = [record for record in records if text.lower() in record.fullname.lower()]
    if not found:
        names = ", ".join(record.short_name for record in records)
        raise RunFileError(f"no profiled benchmark has {text!r} in its name. There are: {names}.")
    return found


def _kernel(record: Record) -> str:
    return record.kernel or "kernel not recorded"


def op_table(profile: Mapping[str, Any], top: int) -> Table:
    """Show the longest operations of one profiled call."""
    whole_s = max(profile["wall_s"], sum(op["self_s"] for op in profile["ops"]))
    rows = [
        [
            op["op"],
            op["self_s"],
            100 * op["self_s"] / whole_s,
            op.get("calls", 1),
            op.get("category"),
            op["where"],
            op.get("shapes", ""),
        ]
        for op in profile["ops"][:top]
    ]
    columns = [
        *words("Operation"),
        *numbers("ms", show=_ms),
        *numbers("%", show="{:.1f}".format),
        *numbers("times", show="{:,.0f}".format),
        *numbers("for", "where"),
        *numbers("inputs", show=_short_shapes),
    ]
    return Table(columns, rows)


def _short_shapes(shapes: str) -> str:
    listed = [f"[{sizes}" for sizes in shapes.split("[")[1:]]
    return "".join(listed[:_SHOWN_SHAPES]).strip() + (" …" if len(listed) > _SHOWN_SHAPES else "")


def _ms(seconds: float) -> str:
    return time_text(seconds) if is_below_microsecond(seconds) else significant(1e3 * seconds)


def _with_unit(seconds: float) -> str:
    """Return a time in milliseconds, or below a microsecond in nanoseconds."""
    return _ms(seconds) if is_below_microsecond(seconds) else f"{_ms(seconds)} ms"
