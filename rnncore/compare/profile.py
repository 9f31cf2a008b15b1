"""What profiles of two runs show: the operations that grew, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnncore.amounts import time_unit
from rnncore.errors import RunFileError
from rnncore.runfile.record import Record, Run

# A sentence names operations until they explain this part of the change, but no more than this many.
_EXPLAINED = 0.8
_NAMED_OPS = 3


@dataclass(frozen=True)
class OpChange:
    """How one operation's time changed, in one call.

    Attributes:
        op: Name in its runtime.
        where: The device, provider or primitive that ran it.
        base_s: Seconds before; 0 for one that is new.
        head_s: Seconds now; 0 for one that is gone.
    """

    op: str
    where: str
    base_s: float
    head_s: float

    @property
    def change_s(self) -> float:
        """Seconds more than before."""
        return self.head_s - self.base_s


@dataclass(frozen=True)
class ProfileDifference:
    """How the time of one profiled call changed.

    Attributes:
        base_s: Seconds of the call before.
        head_s: Seconds now.
        ops: The operations, largest change first.
    """

    base_s: float
    head_s: float
    ops: tuple[OpChange, ...]

    @property
    def change_s(self) -> float:
        """Seconds more than before."""
        return self.head_s - self.base_s


def profile_of(record: Record) -> Mapping[str, Any]:
    """Return the profile of a record, as `rnncore.measure.profile.profile_table` made it.

    Raises:
        RunFileError: If it has none.
    """
    profile = record.profile
    if profile is None:
        raise RunFileError(
            f"{record.fullname} has no profile. Measure it with 'pytest bench/ --benchmark-autosave --rnn-profile'."
        )
    return profile


def profiled_records(run: Run) -> list[Record]:
    """Return the records of a run that have a profile.

    Raises:
        RunFileError: If there is none.
    """
    if not any(record.has_case for record in run.records):
        raise RunFileError(f"{run.path}: holds no row of rnncore's suites, and only those have profiles.")
    records = [record for record in run.records if record.profile]
    if not records:
        raise RunFileError(
            f"{run.path}: holds no profiles. Make a run that has them with "
            "'pytest bench/ --benchmark-autosave --rnn-profile'."
        )
    return records


def profiled_in_both(base: Run, head: Run) -> list[tuple[Record, Record]]:
    """Return the records that have a profile in both runs, in the order of the second.

    Raises:
        RunFileError: If a run has no profiles, or the two have no profiled benchmark in common.
    """
    before = {record.fullname: record for record in profiled_records(base)}
    pairs = [(before[record.fullname], record) for record in profiled_records(head) if record.fullname in before]
    if not pairs:
        raise RunFileError(
            f"{base.path} and {head.path} have no profiled benchmark in common. Give two runs of the same suites and scale."
        )
    return pairs


def difference(base: Record, head: Record) -> ProfileDifference:
    """Say how the time of each operation changed from one run to another.

    Operations are the same that have the same name and ran in the same place, whatever their shapes.

    Args:
        base: The record before.
        head: The record now.

    Raises:
        RunFileError: If one of them has no profile.
    """
    profiles = [profile_of(record) for record in (base, head)]
    before: dict[tuple[str, str], float] = {}
    now: dict[tuple[str, str], float] = {}
    for profile, seconds in zip(profiles, (before, now), strict=True):
        for op in profile["ops"]:
            key = op["op"], op["where"]
            seconds[key] = seconds.get(key, 0.0) + op["self_s"]
    changes = [OpChange(*key, before.get(key, 0.0), now.get(key, 0.0)) for key in {**now, **before}]
    changes.sort(key=lambda change: abs(change.change_s), reverse=True)
    return ProfileDifference(profiles[0]["wall_s"], profiles[1]["wall_s"], tuple(changes))


def explain(change: ProfileDifference) -> str:
    """Name the operations that make up most of a change: `aten::addmm +31 ms of +34 ms`.

    Operations that changed the other way are left out.
    """
    named: list[OpChange] = []
    explained_s = 0.0
    for op in change.ops:
        if len(named) == _NAMED_OPS or abs(explained_s) >= _EXPLAINED * abs(change.change_s):
            break
        if op.change_s * change.change_s > 0:
            named.append(op)
            explained_s += op.change_s
    total = signed_time(change.change_s)
    if not named:
        return f"no operation explains {total}" if change.change_s else "no change"
    listed = ", ".join(f"{op.op} {signed_time(op.change_s)}" for op in named)
    # "+31 ms of +1 ms" would puzzle: the rest went the other way.
    return f"{listed}, {total} in all" if abs(explained_s) > 2 * abs(change.change_s) else f"{listed} of {total}"


def signed_time(seconds: float) -> str:
    """Return a change of time with its sign, in the unit that suits it: `+31 ms`, `-1.4 ms`."""
    scale, unit = time_unit([abs(seconds)])
    value = seconds / scale
    return f"{value:+,.{0 if abs(value) >= 10 else 1}f} {unit}"
