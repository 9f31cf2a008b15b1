"""How it was measured."""

import shlex
from collections.abc import Sequence

from rnncore.report.fold import folded
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, paragraph, words
from rnncore.report.words import letter
from rnncore.runfile.record import Run


def raw_name(index: int, runs: int) -> str:
    """Return the name under which a copy of a run file lies beside the report."""
    return "run.json" if runs == 1 else f"run-{letter(index)}.json"


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return how the figures came about, and of each run what is needed to make or check it again."""
    facts = [
        {
            "Command": shlex.join(run.command) or "–",
            "Saved": run.datetime,
            "Commit": run.commit or "not in git",
            "rnncore": str(run.session.get("version") or "–"),
            "Scale": str(run.session.get("scale") or "–"),
            "Data, SHA-256": run.data["digest"] if run.data else "none",
            "Run file": run.path.name,
            "its copy here": raw_name(index, len(runs)),
            "its SHA-256": run.digest,
        }
        for index, run in enumerate(runs)
    ]
    rows = [[name, *[fact[name] for fact in facts]] for name in facts[0]]
    names = [letter(index) for index in range(len(runs))] if len(runs) > 1 else ["this run"]
    how = paragraph(
        "Each call is warmed up, then timed by pytest-benchmark; a call ends when its output is ready, on CUDA too. Memory "
        "is the peak of a fresh process that only imports the runtime, opens the model and makes one such call, the model's "
        "share what it grew by after the imports; on a GPU it is torch's peak over the rounds. GFLOP/s counts the matrix "
        "products alone. All runtimes get the same threads, and only one is open at a time. Times and rates have three "
        "significant digits; `results.csv` has them whole."
    )
    table = Table(words("Fact", *names), rows).markdown()
    return [how, *folded("Command, commit and digests, to make or check it again", [table])]


SECTION = Section("## How it was measured", text)
