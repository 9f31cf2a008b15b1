"""Which benchmarks rates of the gate were measured with: a digest of their names, the same on every machine."""

import hashlib
import re
from collections.abc import Iterable

from rnncore.runfile.record import Run

# The part of a name that says on what it runs, where that is a GPU. The digest is of names alone, without torch to ask.
_GPU = re.compile(r"(?:^|[\[\]-])(?:cuda|mps|xpu)(?::\d+)?(?:[\[\]-]|$)")


def grid_digest(fullnames: Iterable[str]) -> str:
    """Return 12 hexadecimal digits that are others where any benchmark on a CPU is another.

    Args:
        fullnames: Of the benchmarks, in any order, those that a machine cannot run too. Those on a GPU make no difference.
    """
    on_cpu = sorted({name for name in fullnames if not _GPU.search(name)})
    return hashlib.sha256("\n".join(on_cpu).encode()).hexdigest()[:12]


def grid_of(run: Run) -> str:
    """Return the digest of all benchmarks of a run, also of those that were skipped or failed."""
    names = (record.fullname for record in run.records)
    return grid_digest([*names, *(name for name, *_ in (*run.skipped, *run.failed))])
