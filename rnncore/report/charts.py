"""Charts as Altair specifications, drawn without a browser."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair
import vl_convert

from rnncore.compare.history import Trend
from rnncore.files import whole_file, write_text
from rnncore.report.hardware import CaseRatio, case_ratios
from rnncore.report.learning import curve_of, learners
from rnncore.report.tables import BASELINE_NAMES, cell_name, how, of_usual_size, time_unit, times, valid
from rnncore.runfile.record import Record, Run

# Okabe and Ito's palette, told apart by colour-blind readers too; a grey and a brown for charts of more.
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#6B3D00", "#F0E442", "#332288"]
SCALE = 2.0

# Ceilings, baselines and roofs: there to be compared with, not looked at first.
QUIET = "#595959"

WIDTH, HEIGHT, ROW_HEIGHT = 560, 320, 24

# Rows and calls that a chart shows, at most; the tables have all.
SHOWN_ROWS, SHOWN_CALLS = 16, 100

# Newest points of a history that are drawn.
SHOWN_POINTS = 200

# Baselines beyond this many times the worst model would squeeze the models together.
SHOWN_BASELINES = 2.0

PERCENTILES = ["p50", "p90", "p95", "p99"]

# Free space above and below the lines of a logarithmic axis.
ROOM = 1.3

Chart = altair.Chart | altair.LayerChart | altair.FacetChart


@dataclass(frozen=True)
class Figure:
    """A chart with what stands for it where it cannot be seen.

    Attributes:
        name: Stem of its files.
        alt: What it shows, in a sentence.
        chart: Its specification; as wide as its frame in a page.
    """

    name: str
    alt: str
    chart: Chart

    @property
    def spec(self) -> dict[str, Any]:
        """The specification as JSON values."""
        return dict(self.chart.to_dict())


def figures(run: Run) -> list[Figure]:
    """Return the figures of a run that it has something to draw for."""
    infer, accuracy = valid(run.phase("infer")), valid(run.phase("accuracy"))
    # Rows in turn are the same work as those of the inference suite, at the same places.
    measured = [record for record in valid(run.records) if record.phase != "paired"]
    rooflines = [record for record in measured if record.gflop_per_s and record.flops_per_byte]
    # A swept size or thread count is a point of its own, not one of a line.
    usual = of_usual_size(infer) or infer
    smallest = min((int(record.batch_size) for record in infer), default=0)
    single = [record for record in infer if record.batch_size == smallest]
    panels = _joined_panels(accuracy)
    learned = learners(accuracy)
    profiled = [record for record in valid(run.records) if (record.profile or {}).get("shares_pct")]
    made: list[tuple[str, str, Sequence[Any], Callable[[], Chart]]] = [
        ("throughput", "Windows per second by batch size, cell and runtime", infer, lambda: throughput_chart(usual, run)),
        ("latency", f"Times of single calls at batch {smallest:,}, by row", single, lambda: latency_chart(single)),
        (
            "accuracy",
            "sMAPE against scored windows per second, the Pareto front in rings",
            accuracy,
            lambda: accuracy_chart(accuracy),
        ),
        ("learning", "sMAPE against training seconds", learned, lambda: learning_chart(learned)),
        ("loss", "Training loss against training seconds", learned, lambda: loss_chart(learned)),
        ("profiles", "Share of the time by kind of work", profiled, lambda: profile_chart(profiled)),
        ("roofline", "GFLOP/s against operations per byte", rooflines, lambda: roofline_chart(rooflines, run)),
        ("forecasts", "Forecast beside actual load, last tested hours", panels, lambda: forecast_panel(panels)),
    ]
    return [Figure(name, alt, draw()) for name, alt, records, draw in made if records]


def figures_of_several(runs: Sequence[Run]) -> list[Figure]:
    """Return the figure of the ratios to the first run, if the runs have benchmarks in common."""
    ratios = case_ratios(runs)
    if not ratios:
        return []
    return [Figure("ratios", "Time of each benchmark as a multiple of that in A", ratio_chart(ratios))]


def ratio_chart(ratios: Sequence[CaseRatio]) -> Chart:
    """Draw each benchmark's time as a multiple of the first run's, with its interval; left of 1 is faster.

    Args:
        ratios: Ratios of one or several runs.
    """
    names = list(dict.fromkeys(one.benchmark for one in ratios))
    values = [
        {
            "row": one.benchmark,
            "Run": one.run,
            "ratio": one.ratio,
            "low": one.ratio if one.low is None else one.low,
            "high": one.ratio if one.high is None else one.high,
        }
        for one in ratios
    ]
    scale, title = altair.Scale(type="log", nice=False, padding=12), "Time as a multiple of A's"
    y = altair.Y("row:N", sort=names, title=None, axis=altair.Axis(labelLimit=260))
    base = altair.Chart(altair.InlineData(values)).encode(y=y, yOffset="Run:N")
    color = altair.Color("Run:N", scale=altair.Scale(range=PALETTE), legend=None)
    intervals = base.mark_rule(strokeWidth=2).encode(x=altair.X("low:Q", scale=scale, title=title), x2="high:Q", color=color)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=altair.X("ratio:Q", scale=scale, title=title),
        color=color,
        shape=altair.Shape("Run:N", legend=None),
        tooltip=["row:N", "Run:N", *(altair.Tooltip(f"{name}:Q", format=".3f") for name in ("ratio", "low", "high"))],
    )
    letters = base.mark_text(dy=-7, fontSize=9, color=QUIET).encode(x=altair.X("ratio:Q", scale=scale), text="Run:N")
    equal = altair.Chart(altair.InlineData([{"ratio": 1.0}])).mark_rule(strokeDash=[2, 3], color=QUIET).encode(x="ratio:Q")
    height = max(60, ROW_HEIGHT * len(names))
    return altair.layer(equal, intervals, points, letters).properties(width=WIDTH, height=height)


def learning_chart(records: Sequence[Record]) -> Chart:
    """Draw the sMAPE of all tested hours against training seconds, one line per training, and the baselines as lines.

    Args:
        records: Records with a curve.
    """
    values = _curve_values(records)
    worst = max(value["score"] for value in values)
    lines = _drawn_baselines(records[0], worst)
    y = altair.Y("score:Q", scale=altair.Scale(type="log", nice=False, padding=10), title="sMAPE, percent")
    curve = _curve_chart(values, y, altair.Tooltip("score:Q", format=".3f", title="sMAPE, percent"))
    if not lines:
        return altair.layer(*curve).properties(width=WIDTH, height=HEIGHT)
    rules = altair.Chart(altair.InlineData(lines)).encode(y=altair.Y("smape:Q"))
    names = rules.mark_text(align="right", baseline="bottom", dx=-4, color=QUIET).encode(
        x=altair.value("width"), text="name:N"
    )
    marked = rules.mark_rule(strokeDash=[2, 3], color=QUIET)
    return altair.layer(marked, names, *curve).properties(width=WIDTH, height=HEIGHT)


def loss_chart(records: Sequence[Record]) -> Chart:
    """Draw the training loss, mean over the steps between two points, against training seconds.

    Args:
        records: Records with a curve.
    """
    y = altair.Y("loss:Q", scale=altair.Scale(type="log", nice=False, padding=10), title="Mean loss since the point before")
    curve = _curve_chart(_curve_values(records), y, altair.Tooltip("loss:Q", format=".4~g"))
    return altair.layer(*curve).properties(width=WIDTH, height=HEIGHT)


def _curve_values(records: Sequence[Record]) -> list[dict[str, Any]]:
    return [{**point, "Training": cell_name(record)} for record in records for point in curve_of(record)]


def _curve_chart(values: list[dict[str, Any]], y: altair.Y, tooltip: altair.Tooltip) -> list[Any]:
    base = altair.Chart(altair.InlineData(values)).encode(
        x=altair.X("seconds:Q", title="Training seconds"),
        y=y,
        color=altair.Color("Training:N", scale=altair.Scale(range=PALETTE)),
        tooltip=["Training:N", "step:Q", altair.Tooltip("seconds:Q", format=",.4~g"), tooltip],
    )
    lines = base.mark_line().encode(strokeDash="Training:N")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(shape=altair.Shape("Training:N", legend=None))
    return [lines, points]


def _drawn_baselines(record: Record, worst_smape: float) -> list[dict[str, Any]]:
    """Return the baselines that do not squeeze the models together."""
    return [
        {"name": BASELINE_NAMES.get(name, name), "smape": float(smape)}
        for name, smape in record.baselines_smape.items()
        if float(smape) <= SHOWN_BASELINES * worst_smape
    ]


def _joined_panels(records: list[Record]) -> list[dict[str, Any]]:
    """Return the panels of all cells zone by zone; of a cell that several runtimes scored, the first."""
    by_zone: dict[str, dict[str, Any]] = {}
    for record in records:
        for panel in record.panels or ():
            joined = by_zone.setdefault(panel["zone"], {**panel, "forecast_mw": {}})
            if panel["hours"] == joined["hours"]:
                for name, forecast_mw in panel["forecast_mw"].items():
                    joined["forecast_mw"].setdefault(name, forecast_mw)
    return list(by_zone.values())


def throughput_chart(records: list[Record], run: Run) -> Chart:
    """Draw windows per second against batch size, one line per model and runtime, under the ceiling of square products.

    Args:
        records: Records of the phase `infer`.
        run: Tells the ceilings, where it has any.
    """
    values = [
        {
            "batch": int(record.batch_size),
            "windows_per_s": record.windows_per_s,
            "runtime": how(record),
            "model": cell_name(record),
        }
        for record in records
    ]
    ceilings = _window_ceilings(records, run)
    rates = [record.windows_per_s for record in records] + [ceiling["windows_per_s"] for ceiling in ceilings]
    scale = altair.Scale(type="log", domain=[min(rates) / ROOM, max(rates) * ROOM], nice=False)
    y = altair.Y("windows_per_s:Q", scale=scale, axis=altair.Axis(format="~s"), title="Windows per second")
    base = altair.Chart(altair.InlineData(values)).encode(
        x=altair.X("batch:Q", scale=altair.Scale(type="log", base=2), title="Windows per call (batch size)"),
        y=y,
        color=altair.Color("runtime:N", scale=altair.Scale(range=PALETTE), title="Runtime"),
        tooltip=["runtime:N", "model:N", "batch:Q", altair.Tooltip("windows_per_s:Q", format=",.4~g", title="windows/s")],
    )
    lines = base.mark_line().encode(strokeDash=altair.StrokeDash("model:N", title="Model"))
    points = base.mark_point(filled=True, size=70, opacity=1).encode(shape=altair.Shape("model:N", legend=None))
    layers: list[Any] = [lines, points]
    if ceilings:
        roof = altair.Chart(altair.InlineData(ceilings)).encode(y=altair.Y("windows_per_s:Q", scale=scale))
        layers.append(roof.mark_rule(strokeDash=[2, 3], color=QUIET))
        for index, ceiling in enumerate(sorted(ceilings, key=lambda one: float(one["windows_per_s"]))):
            # By turns at the left and from the middle: two ceilings may lie close together.
            label = altair.Chart(altair.InlineData([ceiling])).mark_text(align="left", baseline="bottom", dx=4, color=QUIET)
            layers.append(
                label.encode(
                    x=altair.value(index % 2 * WIDTH // 2),
                    y=altair.Y("windows_per_s:Q", scale=scale),
                    text=altair.Text("label:N"),
                )
            )
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _window_ceilings(records: list[Record], run: Run) -> list[dict[str, Any]]:
    """Return the windows per second that the best square products would allow, by cell, device and precision."""
    found: dict[str, float] = {}
    for record in records:
        flops, best = _flops_per_window(record), _gemm_per_s(run, record)
        if flops and best:
            where = how(record).split(", ", 1)[-1]
            found[f"{cell_name(record)}, all products at the best rate, {where}"] = best / flops
    return [{"label": label, "windows_per_s": rate} for label, rate in found.items()]


def _flops_per_window(record: Record) -> float | None:
    return record.gflop_per_s * 1e9 / record.windows_per_s if record.gflop_per_s else None


def _gemm_per_s(run: Run, record: Record) -> float | None:
    for entry in (run.ceilings or {}).get("gemm", ()):
        if (entry["device"], entry["precision"]) == (record.device, record.precision) and entry["per_s"]:
            return float(entry["per_s"])
    return None


def latency_chart(records: list[Record]) -> Chart:
    """Draw every call's time of each row, evenly chosen where they are many, with the median and its percentiles.

    Args:
        records: Records of one batch size, each with single calls as rounds.
    """
    fastest = sorted(records, key=lambda record: record.median_s)[:SHOWN_ROWS]
    names = [f"{cell_name(record)}, {how(record)}" for record in fastest]
    calls = [
        {"row": name, "ms": 1e3 * seconds}
        for name, record in zip(names, fastest, strict=True)
        for seconds in _evenly(sorted(record.rounds_s), SHOWN_CALLS)
    ]
    marks = [
        {"row": name, "ms": 1e3 * float(found["s"]), "what": what}
        for name, record in zip(names, fastest, strict=True)
        for what, found in (record.percentiles or {}).items()
        if isinstance(found, dict)
    ]
    y = altair.Y("row:N", sort=names, title=None, axis=altair.Axis(labelLimit=260))
    x = altair.X("ms:Q", scale=altair.Scale(type="log", nice=False), title="Milliseconds per call")
    ticks = altair.Chart(altair.InlineData(calls)).mark_tick(opacity=0.35, color=PALETTE[0]).encode(x=x, y=y)
    points = (
        altair.Chart(altair.InlineData(marks))
        .mark_point(filled=True, size=70, opacity=1)
        .encode(
            x=x,
            y=y,
            color=altair.Color("what:N", scale=altair.Scale(domain=PERCENTILES, range=PALETTE[1:5]), title="Percentile"),
            shape=altair.Shape("what:N", scale=altair.Scale(domain=PERCENTILES), title="Percentile"),
            tooltip=["row:N", "what:N", altair.Tooltip("ms:Q", format=".4~g")],
        )
    )
    return altair.layer(ticks, points).properties(width=WIDTH, height=max(60, ROW_HEIGHT * len(fastest)))


def accuracy_chart(records: list[Record]) -> Chart:
    """Draw sMAPE against speed, the Pareto front marked, and the baselines as lines.

    Args:
        records: Records of the phase `accuracy`.
    """
    front = pareto_front([(record.windows_per_s, float(record.smape)) for record in records])
    values = [
        {
            "row": f"{cell_name(record)}, {how(record)}",
            "windows_per_s": record.windows_per_s,
            "smape": float(record.smape),
            "front": index in front,
        }
        for index, record in enumerate(records)
    ]
    worst = max(float(record.smape) for record in records)
    lines = _drawn_baselines(records[0], worst)
    points = (
        altair.Chart(altair.InlineData(values))
        .mark_point(filled=True, size=110, opacity=1)
        .encode(
            x=altair.X(
                "windows_per_s:Q",
                scale=altair.Scale(zero=False),
                axis=altair.Axis(format="~s"),
                title="Scored windows per second",
            ),
            y=altair.Y("smape:Q", scale=altair.Scale(zero=False), title="sMAPE, percent"),
            color=altair.Color("row:N", scale=altair.Scale(range=PALETTE), title="Model and runtime"),
            shape=altair.Shape("row:N", title="Model and runtime"),
            tooltip=["row:N", altair.Tooltip("smape:Q", format=".3f"), altair.Tooltip("windows_per_s:Q", format=",.4~g")],
        )
    )
    rings = (
        altair.Chart(altair.InlineData([value for value in values if value["front"]]))
        .mark_point(size=420, color=QUIET)
        .encode(x="windows_per_s:Q", y="smape:Q")
    )
    if not lines:
        return altair.layer(rings, points).properties(width=WIDTH, height=HEIGHT)
    rules = altair.Chart(altair.InlineData(lines)).encode(y=altair.Y("smape:Q"))
    names = rules.mark_text(align="left", baseline="bottom", dx=4, color=QUIET).encode(x=altair.value(0), text="name:N")
    marked = rules.mark_rule(strokeDash=[2, 3], color=QUIET)
    return altair.layer(marked, names, rings, points).properties(width=WIDTH, height=HEIGHT)


def pareto_front(points: list[tuple[float, float]]) -> set[int]:
    """Return the indices of points (speed, error) that no other point beats in one and equals in the other, or better."""
    return {
        index
        for index, (speed, error) in enumerate(points)
        if not any(
            other_speed >= speed and other_error <= error and (other_speed, other_error) != (speed, error)
            for other_speed, other_error in points
        )
    }


def profile_chart(records: list[Record]) -> Chart:
    """Draw where the time of each profiled row goes, stacked.

    Args:
        records: Records with a profile.
    """
    values = [
        {"row": record.short_name, "kind": kind, "pct": float(pct), "place": place}
        for record in records[:SHOWN_ROWS]
        for place, (kind, pct) in enumerate((record.profile or {})["shares_pct"].items())
    ]
    bars: Chart = (
        altair.Chart(altair.InlineData(values))
        .mark_bar()
        .encode(
            x=altair.X("pct:Q", title="Percent of a call"),
            y=altair.Y("row:N", sort=None, title=None, axis=altair.Axis(labelLimit=260)),
            order="place:Q",
            color=altair.Color("kind:N", sort=None, scale=altair.Scale(range=PALETTE), title="Kind of work"),
            tooltip=["row:N", "kind:N", altair.Tooltip("pct:Q", format=".1f")],
        )
        .properties(width=WIDTH, height=max(60, ROW_HEIGHT * min(len(records), SHOWN_ROWS)))
    )
    return bars


def roofline_chart(records: list[Record], run: Run) -> Chart:
    """Draw what each row reaches against operations per byte, under the roofs that the session measured.

    Args:
        records: Records with `gflop_per_s` and `flops_per_byte`.
        run: Tells the roofs.

    Source:
        Williams, S., Waterman, A. & Patterson, D. (2009). Roofline: an insightful visual performance model. Communications
        of the ACM 52(4), 65-76.
    """
    values = [
        {
            "row": record.short_name,
            "flops_per_byte": record.flops_per_byte,
            "gflop_per_s": record.gflop_per_s,
            "model": cell_name(record),
            "phase": str(record.phase),
        }
        for record in records
    ]
    intensities = [record.flops_per_byte for record in records if record.flops_per_byte]
    low, high = min(intensities), max(intensities)
    x = altair.X("flops_per_byte:Q", scale=altair.Scale(type="log", nice=False), title="Operations per byte")
    y = altair.Y("gflop_per_s:Q", scale=altair.Scale(type="log", nice=False), title="GFLOP/s")
    layers: list[Any] = []
    measured = {(record.device, record.precision) for record in records}
    if roofs := _roofs(run, measured, low / 2, high * 2):
        names = list(dict.fromkeys(one["roof"] for one in roofs))
        roof = altair.Chart(altair.InlineData(roofs)).mark_line(color=QUIET, strokeDash=[2, 3])
        layers.append(roof.encode(x=x, y=y, detail="roof:N", tooltip=["roof:N"]))
        ends = [
            max((one for one in roofs if one["roof"] == name), key=lambda one: float(one["flops_per_byte"]))
            for name in names
        ]
        text = altair.Chart(altair.InlineData(ends)).mark_text(align="right", baseline="bottom", dy=-3, color=QUIET)
        layers.append(text.encode(x=x, y=y, text="roof:N"))
    points = altair.Chart(altair.InlineData(values)).mark_point(filled=True, size=70, opacity=1)
    layers.append(
        points.encode(
            x=x,
            y=y,
            color=altair.Color("model:N", scale=altair.Scale(range=PALETTE), title="Model"),
            shape=altair.Shape("phase:N", title="Phase"),
            tooltip=["row:N", *(altair.Tooltip(f"{name}:Q", format=".4~g") for name in ("gflop_per_s", "flops_per_byte"))],
        )
    )
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _roofs(run: Run, measured: set[tuple[str, str | None]], low: float, high: float) -> list[dict[str, Any]]:
    """Return the roofs, slope and flat part, for each measured device and precision with both ceilings."""
    ceilings = run.ceilings or {}
    roofs = []
    for gemm in ceilings.get("gemm", ()):
        bytes_per_s = next((one["per_s"] for one in ceilings.get("copy", ()) if one["device"] == gemm["device"]), None)
        if not gemm["per_s"] or not bytes_per_s or (gemm["device"], gemm["precision"]) not in measured:
            continue
        ridge = gemm["per_s"] / bytes_per_s
        for at in sorted({low, min(max(ridge, low), high), high}):
            reached = min(gemm["per_s"], at * bytes_per_s) / 1e9
            roofs.append({"roof": f"{gemm['device']}, {gemm['precision']}", "flops_per_byte": at, "gflop_per_s": reached})
    return roofs


def _evenly(values: list[float], most: int) -> list[float]:
    """Return the values, or where they are more than so many, evenly chosen ones with the first and the last."""
    if len(values) <= most:
        return values
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def forecast_panel(panels: list[dict[str, Any]]) -> Chart:
    """Draw forecasts against actual load, one panel per zone, two in a row, as the article's figure does.

    Args:
        panels: One entry per zone: `zone`, `hours` (1 and up), `actual_mw`, and `forecast_mw` by name.
    """
    values = []
    for panel in panels:
        lines = {"Actual": panel["actual_mw"], **panel["forecast_mw"]}
        values += [
            {"zone": panel["zone"], "hour": hour, "MW": mw, "Load": name}
            for name, line in lines.items()
            for hour, mw in zip(panel["hours"], line, strict=True)
        ]
    names = list(dict.fromkeys(value["Load"] for value in values))
    lines = (
        altair.Chart()
        .mark_line(strokeWidth=1.6)
        .encode(
            x=altair.X("hour:Q", title=f"Hour, of the last {len(panels[0]['hours'])} tested"),
            y=altair.Y("MW:Q", title="Load in MW", scale=altair.Scale(zero=False)),
            color=altair.Color("Load:N", sort=names, scale=altair.Scale(domain=names, range=PALETTE[: len(names)])),
            strokeDash=altair.StrokeDash("Load:N", sort=names, scale=altair.Scale(domain=names)),
        )
        .properties(width=380, height=220)
    )
    facet = altair.Facet("zone:N", title=None)
    figure = altair.FacetChart(data=altair.InlineData(values), spec=lines, facet=facet, columns=2)
    figure.resolve = altair.Resolve(scale=altair.ScaleResolveMap(y="independent"))
    return figure


def trend_figures(trends: Sequence[Trend]) -> list[Figure]:
    """Return one small chart per history, its steps marked with their commits.

    Args:
        trends: Histories and their steps; of a long one the newest points are drawn.
    """
    return [
        Figure(f"trend-{number}", f"History of {trend.series.benchmark}, {len(trend.steps)} steps", _trend_chart(trend))
        for number, trend in enumerate(trends, 1)
    ]


def _trend_chart(trend: Trend) -> Chart:
    series = trend.series
    shown = range(max(0, len(series.medians_s) - SHOWN_POINTS), len(series.medians_s))
    scale, unit = time_unit(series.medians_s)
    values = [
        {"point": index, "time": series.medians_s[index] / scale, "commit": (series.commits[index].id or "no commit")[:7]}
        for index in shown
    ]
    steps = [
        {"point": index - 0.5, "commit": f"{(step.first_with.id or 'no commit')[:7]}: {times(step.ratio)}"}
        for step in trend.steps
        for index in shown
        if series.commits[index] == step.first_with
    ]
    x = altair.X("point:Q", title="Commits, in the order they were measured", axis=altair.Axis(labels=False, ticks=False))
    y = altair.Y("time:Q", scale=altair.Scale(zero=False), title=f"Median, {unit}")
    points = (
        altair.Chart(altair.InlineData(values))
        .mark_line(point=True, color=PALETTE[0])
        .encode(x=x, y=y, tooltip=["commit:N", altair.Tooltip("time:Q", format=".4~g", title=unit)])
    )
    layers: list[Any] = [points]
    if steps:
        rules = altair.Chart(altair.InlineData(steps)).encode(x="point:Q")
        layers += [
            rules.mark_rule(color=PALETTE[1], strokeDash=[4, 2]),
            rules.mark_text(align="left", baseline="top", dx=4, color=PALETTE[1]).encode(y=altair.value(2), text="commit:N"),
        ]
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT // 2)


def write_chart(chart: Chart, path: Path) -> None:
    """Draw a chart to a PNG file, whole or not at all."""
    png = vl_convert.vegalite_to_png(chart.to_json(), scale=SCALE)
    with whole_file(path) as temporary:
        temporary.write_bytes(png)


def write_figure(figure: Figure, folder: Path) -> str:
    """Draw a figure to an SVG and a PNG file, whole or not at all; return the SVG."""
    svg = str(vl_convert.vegalite_to_svg(figure.chart.to_json()))
    write_text(folder / f"{figure.name}.svg", svg)
    with whole_file(folder / f"{figure.name}.png") as temporary:
        temporary.write_bytes(vl_convert.svg_to_png(svg, scale=SCALE))
    return svg
