"""The report: what a run says, top to bottom, as Markdown with a picture."""

import shlex
from itertools import groupby
from pathlib import Path

from rnncore.compare.runs import Record, Run, read_run
from rnncore.errors import RunFileError
from rnncore.files import write_text
from rnncore.report import tables, trust
from rnncore.report.charts import throughput_chart, write_chart

REPORT_NAME = "report.md"
CHART_NAME = "throughput.png"


def write_report(paths: list[Path], folder: Path) -> Path:
    """Write `report.md`, and a chart where there is something to draw, into *folder*.

    Args:
        paths: Run files; several are put side by side.
        folder: Where to; made if missing.

    Returns:
        The path of the report.

    Raises:
        RunFileError: If a run file cannot be read or holds no benchmark of rnncore's.
    """
    runs = [read_run(path) for path in paths]
    for run in runs:
        if not any(run.phase(phase) for phase in ("train", "infer", "data", "accuracy")):
            raise RunFileError(
                f"{run.path}: holds no benchmark of rnncore's suites. Run 'pytest bench/ --benchmark-autosave'."
            )
    charted = tables.valid(record for run in runs for record in run.phase("infer"))
    if charted and len(runs) == 1:
        write_chart(throughput_chart(charted), folder / CHART_NAME)
    report = folder / REPORT_NAME
    write_text(report, render(runs, with_chart=bool(charted) and len(runs) == 1))
    return report


def render(runs: list[Run], with_chart: bool = False) -> str:
    """Return the report of one or several runs as Markdown; equal text for equal runs."""
    return one_run(runs[0], with_chart) if len(runs) == 1 else several_runs(runs)


def one_run(run: Run, with_chart: bool) -> str:
    """Return the report of one run: what is fastest here."""
    parts = ["# GRU and LSTM load forecasters: what is fastest here\n", *_verdicts(run)]
    infer = tables.valid(run.phase("infer"))
    if infer:
        parts.append("## Inference\n")
        parts.append(f"One forward pass{_of_what(infer)}. Less time is better.\n")
        if with_chart:
            parts.append(f"![Windows per second by batch size, cell and runtime]({CHART_NAME})\n")
        for batch_size, records in _by_batch_size(infer):
            parts += [f"### Batch of {batch_size:,}\n", tables.inference_table(records)]
    if train := tables.valid(run.phase("train")):
        parts += ["## Training\n", f"One optimiser step{_of_what(train)}.\n", tables.training_table(train)]
    if accuracy := tables.valid(run.phase("accuracy")):
        training = accuracy[0].extra["training"]
        parts += [
            "## Accuracy beside speed\n",
            tables.paragraph(
                f"The `{training['preset']}` model after {training['steps']:,} steps, seed {training['seed']}: every tested "
                "hour of every zone. The article's own code prints a quarter of the sMAPE."
            ),
            tables.accuracy_table(accuracy),
            tables.baseline_table(accuracy[0].extra["baselines_smape"]),
        ]
    if data := tables.valid(run.phase("data")):
        parts += ["## Data path\n", tables.data_table(data)]
    parts += _trust(run)
    parts += _not_measured([run])
    parts += ["## Machine and data\n", tables.machine_table([run])]
    if ceilings := trust.ceilings_table(run):
        parts += ["The most that this machine gave in this session, with the same threads:\n", ceilings]
    parts += _how_measured([run])
    return "\n".join(parts)


def several_runs(runs: list[Run]) -> str:
    """Return the report of several runs: machines and times side by side."""
    return "\n".join(
        [
            "# GRU and LSTM load forecasters: runs side by side\n",
            "## Machines and data\n",
            tables.machine_table(runs),
            *_not_alike(runs),
            "## Times\n",
            "Median of the rounds. Each side is one process: differences of a few percent between runs of one machine may "
            "be noise between processes.\n",
            tables.side_by_side_table(runs),
            *_accuracies(runs),
            *_not_measured(runs),
            *_how_measured(runs),
        ]
    )


def _trust(run: Run) -> list[str]:
    """Tell what the figures rest on."""
    records = [record for record in run.records if "disturbance" in record.extra]
    if not records:
        return []
    parts = [
        "## What the figures rest on\n",
        tables.paragraph(
            "The kernel is what a profile of an extra call saw. Shares are of the best square product, of the recurrent "
            "products chained one after another with the others at full rate, and of copying memory."
        ),
        trust.path_table(records),
        tables.paragraph(
            "A round is disturbed where others took more than 2 % of its time, made its threads leave their cores often, or "
            "slowed a clock; it is counted and kept. The first call, with the opening of the runtime, is in no other figure."
        ),
        trust.disturbance_table(records),
    ]
    if sentences := trust.session_sentences(run):
        parts.append(tables.paragraph(sentences))
    if infer := tables.valid(run.phase("infer")):
        parts += ["### Tails\n", "Percentiles of single calls, each between the calls that hold it with 98 % certainty.\n"]
        parts.append(trust.tails_table(infer))
    return parts


def _verdicts(run: Run) -> list[str]:
    """Say in sentences what is fastest and what is most accurate."""
    sentences = []
    for batch_size, records in _by_batch_size(tables.valid(run.phase("infer"))):
        best, *others = sorted(records, key=lambda record: record.median_s)
        scale, unit = tables.time_unit([best.median_s])
        what = "one window at a time" if batch_size == 1 else f"{batch_size:,} windows at a time"
        sentence = (
            f"For {what}, **{tables.cell_name(best)} in {tables.how(best)}** is fastest: "
            f"{tables.significant(best.median_s / scale)} {unit} per call, "
            f"{tables.significant(best.windows_per_s)} windows/s"
        )
        if others:
            sentence += f"; the next, {tables.cell_name(others[0])} in {tables.how(others[0])}, is " + tables.times(
                others[0].median_s / best.median_s
            )
        sentences.append(f"- {sentence}.")
    if train := tables.valid(run.phase("train")):
        fastest = max(train, key=lambda record: record.windows_per_s)
        sentences.append(
            f"- **{tables.cell_name(fastest)}** trains fastest: {tables.significant(fastest.windows_per_s)} windows/s at "
            f"batch {fastest.extra['batch_size']:,} in {tables.how(fastest)}."
        )
    if accuracy := tables.valid(run.phase("accuracy")):
        best = min(accuracy, key=lambda record: float(record.extra["smape"]))
        name, smape = min(best.extra["baselines_smape"].items(), key=lambda item: float(item[1]))
        sentences.append(
            f"- Most accurate after the short training: **{tables.cell_name(best)}**, sMAPE {best.extra['smape']:.3f} %; "
            f"the best baseline, {tables.BASELINE_NAMES.get(name, name)}, has {smape:.3f} %."
        )
    if run.data:
        sentences.append(f"- Data: {run.data['name']}. The ratios below are of one process on one machine.")
    return ["\n".join(map(tables.escape, sentences)) + "\n"]


def _of_what(records: list[Record]) -> str:
    """Say of which size the models are, where all are of one."""
    sizes = {tuple(record.extra.get(axis) for axis in ("hidden_size", "num_layers", "lookback")) for record in records}
    if len(sizes) != 1 or None in next(iter(sizes)):
        return ""
    hidden_size, num_layers, lookback = map(str, next(iter(sizes)))
    return tables.escape(f" of models with {num_layers} layers of {hidden_size}, {lookback} hours")


def _by_batch_size(records: list[Record]) -> list[tuple[int, list[Record]]]:
    def batch_size(record: Record) -> int:
        return int(record.extra["batch_size"])

    return [(size, list(group)) for size, group in groupby(sorted(records, key=batch_size), key=batch_size)]


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


def _not_measured(runs: list[Run]) -> list[str]:
    """List what is wrong or was skipped, skips of one reason together."""
    rows = []
    for run in runs:
        which = [run.path.name] if len(runs) > 1 else []
        invalid = [record for record in run.records if record.validity != "valid"]
        rows += [[*which, record.short_name, f"invalid: {record.validity}"] for record in invalid]
        rows += [[*which, name.split("::")[-1], f"{outcome}: {reason}"] for name, outcome, reason in run.failed]
        by_reason: dict[str, list[str]] = {}
        for name, reason in run.skipped:
            by_reason.setdefault(reason, []).append(name.split("::")[-1])
        rows += [[*which, _counted(names), f"skipped: {reason}"] for reason, names in by_reason.items()]
    if not rows:
        return []
    head = [*(["Run"] if len(runs) > 1 else []), "Benchmark", "Why"]
    return ["## Not measured, or not ranked\n", tables.markdown_table(head, rows, left=len(head))]


def _counted(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} benchmarks, such as {names[0]}"


def _how_measured(runs: list[Run]) -> list[str]:
    lines = [f"- `{shlex.join(run.command)}` at {run.datetime}: `{run.path.name}`" for run in runs]
    return [
        "## How it was measured\n",
        "Each call is warmed up, then timed by pytest-benchmark; a call ends when its output is ready, on CUDA too. Memory "
        "is the peak over the rounds: of the process, with what it held before, or of torch on the GPU. GFLOP/s counts "
        "the matrix products alone. All runtimes get the same threads, and only one is open at a time.\n",
        "\n".join(map(tables.escape, lines)) + "\n",
    ]
