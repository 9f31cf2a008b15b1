"""The report of several runs: which machine, or what changed."""

from collections.abc import Mapping, Sequence

from rnncore.compare.judge import Side, judge
from rnncore.compare.thresholds import Thresholds
from rnncore.report import findings, hardware, tables
from rnncore.report.charts import Figure
from rnncore.report.sections import figure, how_measured, not_measured
from rnncore.report.verdict.markdown import judgement_table
from rnncore.runfile.record import Run


def several_runs(runs: list[Run], drawn: Sequence[Figure], title: str, prices: Mapping[str, float]) -> str:
    """Return the report as Markdown: machines and times side by side.

    Args:
        runs: The runs; the first is what the others are held against.
        drawn: Figures that lie beside it.
        title: Its title.
        prices: Of an hour of a run's machine, by the name of its file or its letter.

    Raises:
        ConfigError: If a price is of no run.
    """
    by_name = {one.name: one for one in drawn}
    return "\n".join(
        [
            f"# {tables.escape(title)}\n",
            *_verdict(runs),
            "## Machines and data\n",
            tables.machine_table(runs),
            *_not_alike(runs),
            *_cost(runs, prices),
            *_what_changed(runs),
            "## Times\n",
            "Median of the rounds. Each side is one process: differences of a few percent between runs of one machine may "
            "be noise between processes.\n",
            *figure(by_name, "ratios"),
            tables.side_by_side_table(runs),
            *_why(runs),
            *_accuracies(runs),
            *not_measured(runs),
            *how_measured(runs),
        ]
    )


def _verdict(runs: list[Run]) -> list[str]:
    said = findings.sentences_of_several(runs)
    return ["## Verdict\n", "\n".join(f"- {tables.escape(sentence)}" for sentence in said) + "\n"]


def _what_changed(runs: list[Run]) -> list[str]:
    """Return verdicts where two runs are of one machine, software and data."""
    if len(runs) != 2:
        return []
    comparison = judge(Side("A", (runs[0],)), Side("B", (runs[1],)), Thresholds())
    if comparison.differences:
        return []
    return ["## What changed\n", *map(tables.paragraph, comparison.notes), judgement_table(comparison)]


def _why(runs: list[Run]) -> list[str]:
    """Say of each case what explains the ratio, where the runs are of different machines."""
    rows = hardware.explained_rows(runs)
    if not rows:
        return []
    return [
        "### Why\n",
        "Ratios of the medians, between the ratios that hold them with 99 % certainty within these two processes.\n",
        tables.markdown_table(["Benchmark", "Run", "Ratio to A", "Why"], rows, left=4),
    ]


def _cost(runs: list[Run], prices: Mapping[str, float]) -> list[str]:
    rows = hardware.costs(runs, prices)
    if not rows:
        return []
    return ["## Cost\n", hardware.COST_NOTE_OF_SEVERAL, hardware.cost_table(rows)]


def _not_alike(runs: list[Run]) -> list[str]:
    """Warn of what makes ratios say less than they seem to."""
    digests = {run.data["digest"] if run.data else None for run in runs}
    threads = {run.fingerprint.get("threads") for run in runs}
    warnings = ["The data differ: sMAPE and the data path cannot be compared."] if len(digests) > 1 else []
    warnings += ["The threads differ: ratios on the CPU hold both."] if len(threads) > 1 else []
    return [f"**{' '.join(warnings)}**\n"] if warnings else []


def _accuracies(runs: list[Run]) -> list[str]:
    if not any(tables.valid(run.phase("accuracy")) for run in runs):
        return []
    return ["## Accuracy\n", "sMAPE in percent.\n", tables.side_by_side_accuracy_table(runs)]
