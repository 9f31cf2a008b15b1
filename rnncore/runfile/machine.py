"""What makes two runs comparable: the one answer to "same machine?".

A virtual machine has a few pages more or less of memory after each start; that is no difference. A fact that only one of
two runs knows, as runs of different versions of rnncore do, is none either: what was not looked at cannot differ.
"""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rnncore.runfile.checks import is_number, is_reason

# Facts of a fingerprint that are the machine's, those that matter most first, and its instructions; all others are settings
# or software.
MACHINE_FACTS = (
    *("cpu", "gpu", "cpus", "memory_bytes", "system", "virtual_machine"),
    *("gpu.memory_bytes", "gpu.compute_capability", "gpu.count"),
)

# All facts of its instructions, and of each of its GPUs.
_OF_MACHINE = ("isa.", "gpu.devices.")

# Facts that name the very card: another of the same kind is no other machine.
_OF_CARD = "uuid"

# How much of a machine's memory, as the system gives it, may be gone after a start.
SAME_MEMORY = 0.01
_MEMORY = "memory_bytes"

# What may follow a CPU's name: pytest-benchmark 3.2 does not record it.
_CPU = "cpu"
_FAMILY = re.compile(r" \(family \S+, model \S+\)$")


@dataclass(frozen=True)
class Difference:
    """A fact that differs between two fingerprints.

    Attributes:
        fact: Its name, with dots where it lies inside another: `packages.torch`.
        before: Its value in the first.
        now: Its value in the second.
    """

    fact: str
    before: Any
    now: Any

    @property
    def of_machine(self) -> bool:
        """Whether it makes another machine, and not other settings or software on the same."""
        return self.fact in MACHINE_FACTS or self.fact.startswith(_OF_MACHINE)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the facts that differ between two fingerprints, those of the machines first.

    Args:
        before: What one run says of its machine and software, by name; a fact may hold others.
        now: What the other says.

    Returns:
        Nothing where the runs may be compared. Where the two have no fact in common, one difference named `fingerprint`.
    """
    first, second = facts(before), facts(now)
    common = [name for name in first if name in second]
    if not common and (first or second):
        return (Difference("fingerprint", ", ".join(first) or None, ", ".join(second) or None),)
    found = [Difference(name, first[name], second[name]) for name in common if not _same(name, first[name], second[name])]
    last = len(MACHINE_FACTS)
    rank = {name: place for place, name in enumerate(MACHINE_FACTS)}
    return tuple(sorted(found, key=lambda one: rank.get(one.fact, last if one.of_machine else last + 1)))


def same_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Say whether two fingerprints are of one machine, whatever its settings and software."""
    return not any(found.of_machine or found.fact == "fingerprint" for found in differences(before, now))


def facts(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts by name, those inside a fact too, without the reasons for what is unknown and the numbers of cards."""
    return dict(_flat("", fingerprint))


def grouped(fingerprints: Iterable[Mapping[str, Any]]) -> list[int]:
    """Put fingerprints that do not differ into groups.

    Equality within a tolerance does not carry over: of three sizes of memory, the outer two may differ though neither does
    from the middle. So each joins the newest group that it does not differ from any member of, and else begins one: no group
    holds two that differ, there is no border of rounding to fall across, and what comes later never moves what came before.

    Args:
        fingerprints: Oldest first.

    Returns:
        For each the number of its group; groups are numbered in the order of their first members.
    """
    groups: list[_Group] = []
    known: dict[Hashable, int] = {}
    numbers = []
    for fingerprint in fingerprints:
        named = facts(fingerprint)
        key = repr(sorted(named.items()))
        if key not in known:
            known[key] = next(
                (number for number, group in reversed([*enumerate(groups)]) if group.holds(named)), len(groups)
            )
            if known[key] == len(groups):
                groups.append(_Group(named))
            groups[known[key]].add(named)
        numbers.append(known[key])
    return numbers


class _Group:
    """Facts of machines that do not differ: what they have in common, and the smallest and largest memory."""

    def __init__(self, first: dict[str, Any]) -> None:
        self._low, self._high = dict(first), dict(first)

    def holds(self, named: dict[str, Any]) -> bool:
        """Say whether none of the members differs."""
        return not differences(self._low, named) and not differences(self._high, named)

    def add(self, named: dict[str, Any]) -> None:
        for name, value in named.items():
            both = [one for one in (self._low.get(name), self._high.get(name), value) if one is not None]
            if name == _CPU and both:
                # Another that lacks the family must not let one of another family in.
                value = max(both, key=_tells_family)
            is_memory = name.endswith(_MEMORY) and all(map(is_number, both))
            self._low[name], self._high[name] = (min(both), max(both)) if is_memory and both else (value, value)


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        elif not is_reason(name) and name != _OF_CARD:
            # A GPU is called by its name, so that one that is there differs from none in one fact.
            yield prefix[:-1] if prefix and name == "name" else f"{prefix}{name}", value


def _same(name: str, before: Any, now: Any) -> bool:
    if name.endswith(_MEMORY) and is_number(before) and is_number(now):
        return bool(abs(before - now) <= SAME_MEMORY * max(before, now))
    if name == _CPU and _tells_family(before) != _tells_family(now):
        return _FAMILY.sub("", str(before)) == _FAMILY.sub("", str(now))
    return bool(before == now)


def _tells_family(cpu: Any) -> bool:
    return isinstance(cpu, str) and bool(_FAMILY.search(cpu))


def ordinary_fingerprint(machine_info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stable facts that pytest-benchmark itself knows of a machine, as a fingerprint has them.

    Left out is what changes by the minute or the start (clock, host name, kernel), and what a project adds by a hook of its
    own, of which nobody knows whether it should be the same.

    Args:
        machine_info: Of a run file; may hold anything.
    """
    cpu = machine_info.get("cpu")
    cpu = cpu if isinstance(cpu, Mapping) else {}
    # py-cpuinfo called it `brand` before version 6.
    name = cpu.get("brand_raw", cpu.get("brand"))
    family, model = cpu.get("family"), cpu.get("model")
    if isinstance(name, str) and None not in (family, model):
        name = f"{name} (family {family}, model {model})"
    system = [machine_info.get(key) for key in ("system", "machine")]
    found = {
        "cpu": name,
        "cpus": cpu.get("count"),
        "system": " ".join(map(str, system)) if all(system) else None,
        "python": machine_info.get("python_version"),
        "python_implementation": machine_info.get("python_implementation"),
    }
    return {key: value for key, value in found.items() if isinstance(value, str | int)}
