"""Where the time goes: the operations of one call, of any runtime, in one table of categories."""

import cProfile
import math
import re
import time
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from rnncore.runtimes.base import (
    DATA,
    INPUT_GEMM,
    KINDS,
    OTHER,
    OVERHEAD,
    PRODUCT,
    RECURRENT_GEMM,
    Evidence,
    OpTime,
    mean_times,
)

# The part of the wall time that no operation accounts for.
OUTSIDE_OPS = "outside ops"

# Operations with a smaller part of the wall time than this are added up.
LISTED_PCT = 0.1

PYTHON = "Python"

# How cProfile names functions that have no Python code.
_COMPILED_FUNCTIONS = (
    re.compile(r"<method '(?P<name>\w+)' of '(?:(?P<package>\w+)[\w.]*\.)?(?P<owner>\w+)' objects>"),
    re.compile(r"<built-in method (?P<name>\w+) of (?P<owner>\w+) object at 0x[0-9a-f]+>"),
    re.compile(r"<built-in method (?:(?P<package>\w+)[\w.]*\.)?(?P<name>\w+)>"),
)


def profile_table(evidence: Evidence, batch_size: int | None, lookback: int | None) -> dict[str, Any]:
    """Bring the operations of one call into JSON for the fact `profile`.

    Args:
        evidence: What a runtime, or `function_evidence`, says of one call.
        batch_size: Windows in the call, B. None where a call has several batches; its products count as `other` then, as
            nothing distinguishes the products of all hours from those of one.
        lookback: Hours in a window, T.

    Returns:
        `wall_s`, host seconds of one profiled call. `shares_pct`, percent by category, all of `KINDS`, summing to 100.
        `ops`, longest first: `op`, `where`, `shapes`, `category`, `calls` and `self_s`, the small ones as one op `other`.
        `trace`, None: the caller knows where it is. `note`, only where the shares need one.
    """
    ops = list(evidence.ops)
    ops_s = math.fsum(op.self_s for op in ops)
    if ops_s < evidence.wall_s:
        ops.append(OpTime(OUTSIDE_OPS, "host", 1, evidence.wall_s - ops_s, kind=OVERHEAD))
    rows = [{**_row(op), "category": category(op, batch_size, lookback)} for op in ops]
    whole_s, smallest_s = max(evidence.wall_s, ops_s), LISTED_PCT / 100 * evidence.wall_s
    listed = sorted((row for row in rows if row["self_s"] >= smallest_s), key=lambda row: row["self_s"], reverse=True)
    rest = [row for row in rows if row["self_s"] < smallest_s]
    if rest:
        calls, self_s = (math.fsum(row[key] for row in rest) for key in ("calls", "self_s"))
        listed.append({**_row(OpTime(OTHER, "", calls, self_s)), "category": OTHER})
    notes = []
    if ops_s > evidence.wall_s:
        notes.append("Operations ran at the same time: the shares are of their sum, which is longer than the call.")
    if any(op.where == "CUDAExecutionProvider" for op in evidence.ops):
        notes.append("ONNX Runtime tells the time to launch a node on CUDA, not the time that the GPU then takes.")
    return {
        "wall_s": evidence.wall_s,
        "shares_pct": {
            name: 100 * math.fsum(row["self_s"] for row in rows if row["category"] == name) / whole_s for name in KINDS
        },
        "ops": listed,
        "trace": None,
        **({"note": " ".join(notes)} if notes else {}),
    }


def category(op: OpTime, batch_size: int | None, lookback: int | None) -> str:
    """Say what an operation is for, as its runtime does; which product it is, its shapes tell.

    A product over all hours at once is distinguished from one that must wait for the hour before; the head's is neither. The
    first factor of a product over all hours has B * T rows, or, for the gradient of the weights, columns; no other size is
    looked at, as with few windows the gates are more than B * T. A product of the recurrence runs hour by hour; the first
    hour may need none.

    Args:
        op: The operation.
        batch_size: Windows in a call, B.
        lookback: Hours in a window, T.
    """
    if op.kind != PRODUCT:
        return op.kind
    factors = [tuple(map(int, sizes.split(","))) for sizes in re.findall(r"\[([\d, ]+)\]", op.shapes)]
    if "add" in op.name:
        factors = factors[1:]
    if batch_size is None or lookback is None or not factors:
        return OTHER
    *outer, columns = factors[0]
    rows, hours = math.prod(outer), batch_size * lookback
    if rows == hours or (columns == hours and rows != batch_size):
        return INPUT_GEMM
    return RECURRENT_GEMM if op.calls >= lookback - 1 else OTHER


def _row(op: OpTime) -> dict[str, Any]:
    return {"op": op.name, "where": op.where, "shapes": op.shapes, "calls": op.calls, "self_s": op.self_s}


def function_evidence(call: Callable[[], object], named: Collection[str]) -> Evidence:
    """Return which Python functions take the time of a call that runs neither torch nor another runtime.

    Compiled functions that Python cannot see count with the function that calls them.

    Args:
        call: Called once, under the profiler of the standard library, which slows small functions down.
        named: Functions that do the call's work, by package and qualified name, as `pandas CParserWrapper.read`: those of
            them that ran name the kernel. Which function took longest would be another one on another machine.
    """
    profiler = cProfile.Profile()
    began_s = time.perf_counter()
    profiler.runcall(call)
    wall_s = time.perf_counter() - began_s
    ops = [
        OpTime(_function_name(entry.code), PYTHON, entry.callcount, entry.inlinetime, kind=DATA)
        for entry in profiler.getstats()
    ]
    ran = {op.name for op in ops}
    kernel = " and ".join(name for name in named if name in ran)
    return Evidence(kernel or f"without {' or '.join(named)}", {}, mean_times(ops, calls=1), wall_s)


def _function_name(code: CodeType | str) -> str:
    """Return package and name of a function: `pandas CParserWrapper.read`, `numpy ufunc.reduce`."""
    if isinstance(code, CodeType):
        return f"{_package(code.co_filename)} {code.co_qualname}"
    for pattern in _COMPILED_FUNCTIONS:
        found = pattern.fullmatch(code)
        if found:
            parts = found.groupdict()
            owner = f"{parts['owner']}." if parts.get("owner") else ""
            return f"{parts.get('package') or 'builtins'} {owner}{parts['name']}"
    return code


@cache
def _package(filename: str) -> str:
    """Return the outermost package that a source file lies in, or its own name."""
    if filename.startswith("<frozen "):
        return filename.removeprefix("<frozen ").rstrip(">").split(".")[0]
    path = Path(filename)
    while (path.parent / "__init__.py").is_file():
        path = path.parent
    return path.stem
