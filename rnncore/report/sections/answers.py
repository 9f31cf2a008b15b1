"""The answers: what was measured on what, the best of each goal as a large figure, and the one chart that explains them."""

from collections.abc import Mapping, Sequence

import altair

from rnncore.amounts import counted, time_unit
from rnncore.compare.choices import fastest_first, rankable, ranked
from rnncore.report.figure import OWN_COLOUR, PALETTE, QUIET, TIP, Chart, Figure, log_x, named_rows, rows_height, tip_text
from rnncore.report.rows import base_of, by_recipe, of_each_runtime, of_smallest_batch, of_usual_size, way
from rnncore.report.section import ANSWERS
from rnncore.report.sections.cost import FORECASTS, costs
from rnncore.report.sections.ratios import case_ratio
from rnncore.report.table import Table, words
from rnncore.report.words import BASELINE_NAMES, compared_with, machine_name, significant, time_text, times
from rnncore.runfile.record import Record, Run

# Of the first screen: the chart is to stand on it whole.
_WIDTH, _MOST_ROWS = 760, 7

_ALONE, _TOGETHER = "one at a time", "many at once"


def what_text(run: Run) -> str:
    """Say in a line what was measured on what, with which data and when."""
    records = [record for record in run.records if record.has_case]
    titles = sorted({str(record.runtime_title) for record in records if record.cell and record.runtime_title})
    fingerprint = run.fingerprint
    known = [(fingerprint.get(fact), noun) for fact, noun in (("cpus", "CPU"), ("threads", "thread"))]
    of_machine = [counted(count, noun) for count, noun in known if isinstance(count, int)]
    parts = [f"{counted(len(run.records), 'benchmark')} on {', '.join([machine_name(run), *of_machine])}"]
    parts += [", ".join(titles[:_MOST_ROWS]) + (f" and {len(titles) - _MOST_ROWS} more" if titles[_MOST_ROWS:] else "")]
    parts += [f"data {run.data['name']}"] if run.data else []
    parts += [run.datetime[:10], f"commit {run.commit}" if run.commit else ""]
    return "; ".join(filter(None, parts)) + "."


def answers_table(run: Run, prices: Mapping[str, float]) -> Table:
    """Return for each goal its figure, what reaches it, and how that compares, each as far as it was measured."""
    rows = [*_latency(run), *_throughput(run), *_cheapest(run, prices), *_accuracy(run)]
    return Table(words(ANSWERS, "figure", "by", "compared"), rows)


def _latency(run: Run) -> list[list[str]]:
    if not (found := ranked(run, "latency")):
        return []
    best = found[0]
    return [["Lowest latency", time_text(best.median_s), _by(best), _compared(best, found)]]


def _throughput(run: Run) -> list[list[str]]:
    if not (found := ranked(run, "throughput")):
        return []
    best = found[0]
    compared = f"windows per second; {_compared(best, found)}"
    return [["Highest throughput", f"{significant(best.windows_per_s)} /s", _by(best), compared]]


def _by(record: Record) -> str:
    return f"{way(record)}, batch {record.batch_size:,}"


def _compared(best: Record, found: Sequence[Record]) -> str:
    """Say how the best compares with PyTorch's GRU on the same work, and with the next of its batch size."""
    alike = [one for one in found if (one.recipe, one.batch_size) == (best.recipe, best.batch_size)]
    base, said = base_of(alike), []
    if base and base is not best:
        said.append(compared_with(case_ratio("", base, best).text, way(base)))
    others = [one for one in fastest_first(alike) if one is not best]
    if others and others[0] is not base:
        said.append(f"the next, {way(others[0])}, is {times(others[0].median_s / best.median_s)}")
    return "; ".join(said) or "nothing else was measured"


def _cheapest(run: Run, prices: Mapping[str, float]) -> list[list[str]]:
    """Return the cheapest by price, else by energy, else by the time that it takes of this machine."""
    if found := costs([run], prices):
        best, *others = found
        of_each = [cost.joules if best.price is None else cost.price for cost in found]
        figure = f"{significant(of_each[0] or 0)}{' J' if best.price is None else ''}"
        known = [value for value in of_each[1:] if value]
        following = f"; the next, {others[0].choice}, {times(known[0] / (of_each[0] or 1), 'more', 'less')}" if known else ""
        return [["Cheapest", f"{figure} /million", best.choice, f"for a million forecasts{following}"]]
    if not (fastest := ranked(run, "throughput")):
        return []
    seconds = time_text(FORECASTS / fastest[0].windows_per_s)
    said = "of this machine's time for a million forecasts; the price of an hour makes it money"
    return [["Cheapest", f"{seconds} /million", _by(fastest[0]), said]]


def _accuracy(run: Run) -> list[list[str]]:
    if not (found := ranked(run, "accuracy")):
        return []
    best, said = found[0], []
    if best.baselines_smape:
        name, smape = min(best.baselines_smape.items(), key=lambda item: float(item[1]))
        ratio = times(best.smape / float(smape), "higher", "lower") if best.smape and smape else "not to be compared"
        rule = f"the best simple rule, {BASELINE_NAMES.get(name, name)} with {float(smape):.3f} %"
        said.append(compared_with(ratio, rule))
    seed = best.training.get("seed") if best.training else None
    said.append("one training" + (f", seed {seed}" if seed is not None else ""))
    return [["Most accurate", f"{best.smape:.3f} %", way(best), f"sMAPE, {'; '.join(said)}"]]


def compared_ways(run: Run) -> list[tuple[Record, Record]]:
    """Return the quickest row of each runtime one forecast at a time, quickest first, with its row of most per second.

    All are of the recipe that the lowest latency is of, which the chart is to explain.
    """
    recipes = by_recipe(of_usual_size(rankable(run.phase("infer"))))
    of_recipe = next((recipes[one.recipe] for one in ranked(run, "latency") if one.recipe in recipes), [])
    quickest = of_each_runtime(sorted(of_smallest_batch(of_recipe), key=lambda record: record.median_s))
    most = {_place(record): record for record in reversed(fastest_first(of_recipe))}
    return [(record, most[_place(record)]) for record in quickest[:_MOST_ROWS]]


def _place(record: Record) -> tuple[object, ...]:
    return record.axes(("runtime_title", "device", "clock"))


def answers_chart(ways: Sequence[tuple[Record, Record]]) -> Chart:
    """Draw the time of a forecast by each runtime: one at a time, and many at once; the quickest in colour.

    Args:
        ways: For each runtime its row of the smallest batch size, and that of most windows per second.
    """
    per_s = [(1 / alone.windows_per_s, 1 / together.windows_per_s) for alone, together in ways]
    scale, unit = time_unit([second for both in per_s for second in both])
    names = [way(alone) for alone, _ in ways]
    low, high = min(map(min, per_s)) / scale, max(map(max, per_s)) / scale
    room = max(high / low, 10) ** 0.25
    values = []
    for index, (name, (alone, together), both) in enumerate(zip(names, ways, per_s, strict=True)):
        kinds = [(_ALONE, alone, both[0])] + ([(_TOGETHER, together, both[1])] if together is not alone else [])
        for kind, record, seconds in kinds:
            values.append(
                {
                    "row": name,
                    "per forecast": seconds / scale,
                    "tip": tip_text(f"{kind}: {way(record)}", batch=record.batch_size, forecast=time_text(seconds)),
                    "kind": kind,
                    "label": time_text(seconds),
                    "colour": PALETTE[0] if index == 0 else QUIET,
                }
            )
    x = log_x(low / room, high * room, f"Time per forecast, {unit} (logarithmic; less is better)")("per forecast")
    base = named_rows(values)
    lines = base.mark_line(strokeWidth=2).encode(x=x, detail="row:N", color=OWN_COLOUR)
    shape = altair.Shape(
        "kind:N",
        scale=altair.Scale(domain=[_ALONE, _TOGETHER], range=["circle", "diamond"]),
        legend=altair.Legend(title=None, orient="top"),
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(x=x, color=OWN_COLOUR, shape=shape, description=TIP)
    right = base.transform_filter(f"datum.kind == '{_ALONE}'").mark_text(align="left", dx=9)
    left = base.transform_filter(f"datum.kind == '{_TOGETHER}'").mark_text(align="right", dx=-9)
    labels = [mark.encode(x=x, text="label:N") for mark in (right, left)]
    return altair.layer(lines, points, *labels).properties(width=_WIDTH, height=rows_height(len(names)))


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw the chart of the answers, where several runtimes can be compared."""
    ways = compared_ways(runs[0])
    alt = "Time per forecast by runtime, one at a time and many at once, quickest first"
    return [Figure("answers", alt, answers_chart(ways))] if len(ways) > 1 else []
