"""The report: what a run says, top to bottom, as a page and as Markdown, with figures and flat tables beside them."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rnncore.compare.judge import Side, judge
from rnncore.compare.runs import Record, Run, read_run
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import RunFileError
from rnncore.files import write_text
from rnncore.report import findings, hardware, tables, trust
from rnncore.report.charts import Figure, figures, write_figure
from rnncore.report.html import page_html
from rnncore.report.results import result_rows, write_results
from rnncore.report.verdicts import judgement_table

REPORT_NAME = "report.md"
PAGE_NAME = "index.html"

TITLE = "GRU and LSTM load forecasters: what is fastest here"
TITLE_OF_SEVERAL = "GRU and LSTM load forecasters: runs side by side"


def write_report(
    paths: list[Path], folder: Path, title: str | None = None, prices: Mapping[str, float] | None = None
) -> Path:
    """Write the page, the same as Markdown, its figures, and all results as CSV and Parquet into *folder*.

    Args:
        paths: Run files; several are put side by side.
        folder: Where to; made if missing.
        title: Of the page; None for one that says what was compared.
        prices: Of an hour of a run's machine, by the name of its file or its letter (A, B); ranks runs by cost.

    Returns:
        The path of the page.

    Raises:
        RunFileError: If a run file cannot be read or holds no benchmark of rnncore's.
        ConfigError: If a price is of no run.
    """
    runs = [read_run(path) for path in paths]
    for run in runs:
        if not any(run.phase(phase) for phase in ("train", "infer", "data", "accuracy")):
            raise RunFileError(
                f"{run.path}: holds no benchmark of rnncore's suites. Run 'pytest bench/ --benchmark-autosave'."
            )
    drawn = figures(runs[0]) if len(runs) == 1 else []
    text = render(runs, drawn, title, prices)
    svgs = {figure.name: write_figure(figure, folder) for figure in drawn}
    write_text(folder / REPORT_NAME, text)
    write_results(result_rows(runs), folder)
    page = folder / PAGE_NAME
    write_text(page, page_html(text, drawn, svgs, (REPORT_NAME, "results.csv", "results.parquet")))
    return page


def render(
    runs: list[Run],
    drawn: Sequence[Figure] = (),
    title: str | None = None,
    prices: Mapping[str, float] | None = None,
) -> str:
    """Return the report of one or several runs as Markdown; equal text for equal runs.

    Args:
        runs: The runs.
        drawn: Figures that lie beside it.
        title: Its title; None for one that says what was compared.
        prices: Of an hour of a run's machine.

    Raises:
        ConfigError: If a price is of no run.
    """
    if len(runs) == 1:
        return one_run(runs[0], drawn, title or TITLE)
    return several_runs(runs, title or TITLE_OF_SEVERAL, prices or {})


def one_run(run: Run, drawn: Sequence[Figure], title: str) -> str:
    """Return the report of one run: what is fastest here."""
    by_name = {figure.name: figure for figure in drawn}
    parts = [f"# {tables.escape(title)}\n", *_verdict(run)]
    parts += ["## Machine and data\n", tables.machine_table([run])]
    if ceilings := trust.ceilings_table(run):
        parts += ["The most that this machine gave in this session, with the same threads:\n", ceilings]
    parts += _inference(run, by_name)
    parts += _latency(run, by_name)
    parts += _accuracy(run, by_name)
    if train := tables.valid(run.phase("train")):
        parts += ["## Training\n", f"One optimiser step{_of_what(train)}.\n", tables.training_table(train)]
    if data := tables.valid(run.phase("data")):
        parts += ["## Data path\n", tables.data_table(data)]
    parts += _where_the_time_goes(run, by_name)
    parts += _roofline(by_name)
    parts += _forecasts(by_name)
    parts += ["## All results\n", tables.results_table(list(run.records))]
    parts += _trust(run)
    parts += _not_measured([run])
    parts += _how_measured([run])
    return "\n".join(parts)


def _verdict(run: Run) -> list[str]:
    """Say in sentences what is fastest and most accurate, and which is the best choice for each goal."""
    said = findings.sentences(run)
    parts = ["\n".join(f"- {tables.escape(sentence)}" for sentence in said) + "\n"] if said else []
    if chosen := findings.choices(run):
        rows = [[choice.goal, choice.best, choice.figure, choice.others] for choice in chosen]
        parts.append(tables.markdown_table(["Goal", "Best choice", "its figure", "the next best"], rows, left=4))
    return parts


def _figure(by_name: Mapping[str, Figure], name: str) -> list[str]:
    return [f"![{by_name[name].alt}]({name}.png)\n"] if name in by_name else []


def _inference(run: Run, by_name: Mapping[str, Figure]) -> list[str]:
    infer = tables.valid(run.phase("infer"))
    if not infer:
        return []
    parts = ["## Inference\n", f"One forward pass{_of_what(infer)}. Less time is better.\n", *_figure(by_name, "throughput")]
    for batch_size, records in findings.by_batch_size(infer):
        parts += [f"### Batch of {batch_size:,}\n", tables.inference_table(records)]
    return parts


def _latency(run: Run, by_name: Mapping[str, Figure]) -> list[str]:
    records = [record for record in tables.valid(run.phase("infer")) if "disturbance" in record.extra]
    if not records:
        return []
    return [
        "## Latency\n",
        "Percentiles of single calls, each between the calls that hold it with 98 % certainty.\n",
        *_figure(by_name, "latency"),
        trust.tails_table(records),
    ]


def _accuracy(run: Run, by_name: Mapping[str, Figure]) -> list[str]:
    accuracy = tables.valid(run.phase("accuracy"))
    if not accuracy:
        return []
    training = accuracy[0].extra["training"]
    return [
        "## Accuracy beside speed\n",
        tables.paragraph(
            f"The `{training['preset']}` model after {training['steps']:,} steps, seed {training['seed']}: every tested "
            "hour of every zone. The article's own code prints a quarter of the sMAPE."
        ),
        *_figure(by_name, "accuracy"),
        tables.accuracy_table(accuracy),
        tables.baseline_table(accuracy[0].extra["baselines_smape"]),
    ]


def _where_the_time_goes(run: Run, by_name: Mapping[str, Figure]) -> list[str]:
    if "profiles" in by_name:
        return ["## Where the time goes\n", "Shares of one profiled call.\n", *_figure(by_name, "profiles")]
    return ["## Where the time goes\n", "No row was profiled: run with `--rnn-profile`.\n"]


def _forecasts(by_name: Mapping[str, Figure]) -> list[str]:
    if "forecasts" not in by_name:
        return []
    return ["## Forecast beside actual load\n", "By the models of the accuracy rows.\n", *_figure(by_name, "forecasts")]


def _roofline(by_name: Mapping[str, Figure]) -> list[str]:
    if "roofline" not in by_name:
        return []
    return [
        "## Roofline\n",
        "What each row reaches, under the best rates of products and of copying memory that the session measured. "
        "Operations per byte count each byte once; a row above a slope finds its data in a cache.\n",
        *_figure(by_name, "roofline"),
    ]


def several_runs(runs: list[Run], title: str, prices: Mapping[str, float]) -> str:
    """Return the report of several runs: machines and times side by side."""
    return "\n".join(
        [
            f"# {tables.escape(title)}\n",
            "## Machines and data\n",
            tables.machine_table(runs),
            *_not_alike(runs),
            *_cost(runs, prices),
            *_what_changed(runs),
            "## Times\n",
            "Median of the rounds. Each side is one process: differences of a few percent between runs of one machine may "
            "be noise between processes.\n",
            tables.side_by_side_table(runs),
            *_why(runs),
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
    return parts


def _of_what(records: list[Record]) -> str:
    """Say of which size the models are, where all are of one."""
    sizes = {tuple(record.extra.get(axis) for axis in ("hidden_size", "num_layers", "lookback")) for record in records}
    if len(sizes) != 1 or None in next(iter(sizes)):
        return ""
    hidden_size, num_layers, lookback = map(str, next(iter(sizes)))
    return tables.escape(f" of models with {num_layers} layers of {hidden_size}, {lookback} hours")


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
    rows = hardware.cost_rows(runs, prices)
    if not rows:
        return []
    head = ["Run", "Best throughput", "price per hour", "cost per million forecasts", "J per million forecasts"]
    said = "Cheapest first; of the valid row with most windows per second.\n"
    return ["## Cost\n", said, tables.markdown_table(head, rows, left=2)]


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
