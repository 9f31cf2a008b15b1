"""The report of one run: what is fastest here. Every section is always there; an empty one says why it is."""

from collections.abc import Mapping, Sequence

from rnncore.report import findings, hardware, learning, scenarios, tables, trust, turns
from rnncore.report.charts import Figure
from rnncore.report.sections import figure, how_measured, not_measured
from rnncore.runfile.recipes import ARTICLE
from rnncore.runfile.record import Record, Run

# What fills an empty section, by suite.
_NOTHING = "No valid row of `{suite}` is in this run{why}.\n"


def one_run(run: Run, drawn: Sequence[Figure], title: str, prices: Mapping[str, float]) -> str:
    """Return the report as Markdown.

    Args:
        run: The run.
        drawn: Figures that lie beside it.
        title: Its title.
        prices: Of an hour of the machine, by the name of the run's file or `A`.

    Raises:
        ConfigError: If a price is of no run.
    """
    by_name = {one.name: one for one in drawn}
    return "\n".join(
        [
            f"# {tables.escape(title)}\n",
            *_verdict(run),
            *_machine(run),
            *_throughput(run, by_name, prices),
            *_latency(run, by_name),
            *_accuracy(run, by_name),
            *_training(run, by_name),
            *_where_the_time_goes(by_name),
            *_roofline(by_name),
            *_forecasts(by_name),
            "## All results\n",
            tables.results_table(list(run.records)),
            *_trust(run),
            *not_measured([run]),
            *how_measured([run]),
        ]
    )


def _nothing(suite: str, why: str = "") -> str:
    return _NOTHING.format(suite=suite, why=why)


def _verdict(run: Run) -> list[str]:
    """Say in sentences what is fastest and most accurate, and which is the best choice for each goal."""
    said = findings.sentences(run)
    parts = ["## Verdict\n", "\n".join(f"- {tables.escape(sentence)}" for sentence in said) + "\n"]
    if chosen := findings.choices(run):
        rows = [[choice.goal, choice.best, choice.figure, choice.others] for choice in chosen]
        parts.append(tables.markdown_table(["Goal", "Best choice", "its figure", "the next best"], rows, left=4))
    return parts


def _machine(run: Run) -> list[str]:
    parts = ["## Machine and data\n", tables.machine_table([run])]
    if ceilings := trust.ceilings_table(run):
        parts += ["The most that this machine gave in this session, with the same threads:\n", ceilings]
    return parts


def _throughput(run: Run, by_name: Mapping[str, Figure], prices: Mapping[str, float]) -> list[str]:
    infer, cost = tables.valid(run.phase("infer")), hardware.costs([run], prices)
    paired = tables.valid(run.phase("paired"))
    parts = ["## Throughput\n"]
    if not infer and not paired:
        return [*parts, _nothing("bench/bench_inference.py")]
    if infer:
        parts += [f"One forward pass{_of_what(infer)}. Less time is better.\n", *figure(by_name, "throughput")]
    for recipe, of_recipe in tables.by_recipe(infer).items():
        for batch_size, records in findings.by_batch_size(of_recipe):
            mark = "" if recipe in (None, ARTICLE) else f", {recipe}"
            parts += [f"### Batch of {batch_size:,}{tables.escape(mark)}\n", tables.inference_table(records)]
    if infer:
        parts += ["### Fastest by batch size\n", scenarios.fastest_table(infer)]
    if paired:
        parts += ["### In turn\n", turns.NOTE, turns.turns_table(paired, infer)]
    if cost:
        parts += ["### Cost\n", hardware.COST_NOTE, hardware.cost_table(cost)]
    return parts


def _latency(run: Run, by_name: Mapping[str, Figure]) -> list[str]:
    infer, serve, stream = (tables.valid(run.phase(phase)) for phase in ("infer", "serve", "stream"))
    records = [record for record in infer if record.disturbance is not None]
    parts = ["## Latency\n"]
    if records:
        parts += [
            "Percentiles of single calls, each between the calls that hold it with 98 % certainty.\n",
            *figure(by_name, "latency"),
            trust.tails_table(records),
        ]
    else:
        parts.append(_nothing("bench/bench_inference.py", " with percentiles of its calls"))
    if records or serve:
        parts += ["### Scenarios\n", scenarios.SCENARIOS_NOTE, scenarios.scenarios_table(infer, serve)]
    if stream:
        parts += ["### Streaming\n", scenarios.STREAMING_NOTE, scenarios.streaming_table(stream)]
    return parts


def _accuracy(run: Run, by_name: Mapping[str, Figure]) -> list[str]:
    accuracy = tables.valid(run.phase("accuracy"))
    parts = ["## Accuracy beside speed\n"]
    if not accuracy:
        return [*parts, _nothing("bench/bench_accuracy.py")]
    return [
        *parts,
        tables.paragraph(
            f"{_trainings(accuracy)}: every tested hour of every zone. The article's own code prints a quarter of the sMAPE."
        ),
        *figure(by_name, "accuracy"),
        tables.accuracy_table(accuracy),
        tables.baseline_table(accuracy[0].baselines_smape),
    ]


def _trainings(accuracy: list[Record]) -> str:
    """Name the recipes that were scored, with their steps and seeds."""
    trainings = [(record.recipe, record.training) for record in accuracy]
    named = {
        f"The `{recipe}` model after {training['steps']:,} steps, seed {training.get('seed')}"
        for recipe, training in trainings
    }
    return "; ".join(sorted(named))


def _training(run: Run, by_name: Mapping[str, Figure]) -> list[str]:
    train, data = tables.valid(run.phase("train")), tables.valid(run.phase("data"))
    parts = ["## Training\n"]
    if train:
        parts += [f"One optimiser step{_of_what(train)}.\n", tables.training_table(train)]
    else:
        parts += [_nothing("bench/bench_training.py")]
    parts += ["### Time to a target\n"]
    if learned := learning.learners(tables.valid(run.phase("accuracy"))):
        parts += [
            "Training seconds until the sMAPE of all tested hours was first seen at or below a level; scoring is not in "
            "them. Nothing is chosen by these scores.\n",
            learning.time_to_target_table(learned),
            *figure(by_name, "learning"),
            *figure(by_name, "loss"),
        ]
    else:
        parts += [_nothing("bench/bench_accuracy.py", " with a curve of its training")]
    parts += ["### Data path\n", tables.data_table(data) if data else _nothing("bench/bench_data.py")]
    return parts


def _where_the_time_goes(by_name: Mapping[str, Figure]) -> list[str]:
    if "profiles" in by_name:
        return ["## Where the time goes\n", "Shares of one profiled call.\n", *figure(by_name, "profiles")]
    return ["## Where the time goes\n", "No row was profiled: run with `--rnn-profile`.\n"]


def _roofline(by_name: Mapping[str, Figure]) -> list[str]:
    if "roofline" not in by_name:
        return ["## Roofline\n", "No valid row of this run tells its operations and the bytes they need.\n"]
    return [
        "## Roofline\n",
        "What each row reaches, under the best rates of products and of copying memory that the session measured. "
        "Operations per byte count each byte once; a row above a slope finds its data in a cache.\n",
        *figure(by_name, "roofline"),
    ]


def _forecasts(by_name: Mapping[str, Figure]) -> list[str]:
    if "forecasts" not in by_name:
        nothing = _nothing("bench/bench_accuracy.py", " with its forecasts")
        return ["## Forecast beside actual load\n", nothing]
    return ["## Forecast beside actual load\n", "By the models of the accuracy rows.\n", *figure(by_name, "forecasts")]


def _trust(run: Run) -> list[str]:
    """Tell what the figures rest on."""
    records = [record for record in run.records if record.disturbance is not None]
    parts = ["## What the figures rest on\n"]
    if not records:
        return [*parts, "The run file is of a version that did not look for disturbances.\n"]
    parts += [
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
    sizes = {(record.hidden_size, record.num_layers, record.lookback) for record in records}
    if len(sizes) != 1 or None in next(iter(sizes)):
        return ""
    hidden_size, num_layers, lookback = map(str, next(iter(sizes)))
    return tables.escape(f" of models with {num_layers} layers of {hidden_size}, {lookback} hours")
