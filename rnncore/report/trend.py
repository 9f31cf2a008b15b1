"""Steps in the history of benchmarks, as text and as JSON."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rnncore.amounts import counted
from rnncore.compare.change_points import FEWEST_POINTS, Pending, Step, Trend, steps_of
from rnncore.compare.history import Commit, History, Machine
from rnncore.errors import RunFileError
from rnncore.files import write_text
from rnncore.report.figure import write_figure
from rnncore.report.html import figure_html, page_html
from rnncore.report.rows import short_names
from rnncore.report.section import Shown
from rnncore.report.table import Table, inert, numbers, paragraph, words
from rnncore.report.trend_figures import commit_name, trend_figures
from rnncore.report.words import time_text, times
from rnncore.runfile.record import short_name

_BARS = "▁▂▃▄▅▆▇█"

# Newest points that are drawn.
_DRAWN = 24

# A drawn range is at least this wide, per its lowest time, so that noise does not look like mountains.
_DRAWN_RANGE = 0.1

# Files that are named on the screen.
_NAMED = 3

# From this many benchmarks that step at once on, a change of the machine is thought of.
_MANY = 3


def trend_tables(history: History, trends: Sequence[Trend], text: str = "") -> Iterator[tuple[str, Table | None]]:
    """Yield the steps, newest first, then for each machine its benchmarks, then what was left out.

    Args:
        history: What was read.
        trends: Its trends.
        text: Only benchmarks whose name holds this, in any case.

    Raises:
        RunFileError: If there is no such benchmark.
    """
    trends = _named(history, trends, text)
    names = short_names(trend.series.benchmark for trend in trends)
    machines, steps = _machine_names(trends), steps_of(trends)
    histories = f"{len(trends):,} {'histories' if len(trends) != 1 else 'history'}"
    found = counted(len(steps), "step") if steps else "no steps"
    lines = [
        f"{counted(history.files, 'run file')}, {histories}: {found}",
        *_one_point(trends),
        *_at_once(trends, steps, machines),
        *_not_called(trends, names),
    ]
    rows = [[names[step.benchmark], _step_words(step), machines[step.machine]] for step in steps]
    yield "\n".join(lines), Table([*words("Benchmark"), *numbers("step", "machine")], rows) if rows else None
    columns = numbers("points", "first", "level", "latest", "against level", "newest points")
    for machine, name in machines.items():
        of_machine: list[list[str | None]] = [
            [
                names[trend.series.benchmark],
                f"{len(trend.series.medians_s):,}",
                time_text(trend.series.medians_s[0]),
                # Of a few points there is no level that others could be held against.
                time_text(trend.level_s) if trend.enough else None,
                time_text(trend.series.medians_s[-1]),
                _against_level(trend),
                _drawn(trend.series.medians_s[-_DRAWN:].tolist()),
            ]
            for trend in trends
            if trend.series.machine == machine
        ]
        yield name, Table([*words("Benchmark"), *columns], of_machine)
    if lines := _left_out(history):
        yield "\n".join(lines), None


def write_trend_page(history: History, trends: Sequence[Trend], folder: Path, text: str = "") -> Path:
    """Write a page of the histories: steps, and a small chart of each benchmark; the same as Markdown beside it.

    Args:
        history: What was read.
        trends: Its trends.
        folder: Where to; made if missing.
        text: Only benchmarks whose name holds this, in any case.

    Returns:
        The path of the page.

    Raises:
        RunFileError: If there is no such benchmark.
    """
    named = _named(history, trends, text)
    figures = trend_figures(named)
    parts = ["# History of the benchmarks\n"]
    headings = ["Steps", *["Benchmarks" for _ in _machine_names(named)], "Left out"]
    for heading, (lines, table) in zip(headings, trend_tables(history, trends, text), strict=False):
        parts += [f"## {heading}\n", *[paragraph(inert(line)) for line in lines.splitlines()]]
        parts += [table.markdown()] if table else []
    parts.append("## Charts\n")
    shown = Shown({figure.name: figure for figure in figures})
    names = short_names(trend.series.benchmark for trend in named)
    for figure, trend in zip(figures, named, strict=True):
        parts += [f"### {paragraph(inert(names[trend.series.benchmark]))}", *shown.figure(figure.name)]
    markdown = "\n".join(parts)
    pictures = {figure.name: figure_html(figure, write_figure(figure, folder)) for figure in figures}
    write_text(folder / "report.md", markdown)
    page = folder / "index.html"
    write_text(page, page_html(markdown, pictures))
    return page


def trend_json(history: History, trends: Sequence[Trend], text: str = "") -> dict[str, Any]:
    """Return the same as `trend_tables`, with every point, as JSON.

    Args:
        history: What was read.
        trends: Its trends.
        text: Only benchmarks whose name holds this, in any case.

    Raises:
        RunFileError: If there is no such benchmark.
    """
    trends = _named(history, trends, text)
    return {
        "store": str(history.store),
        "files": history.files,
        "files_read_now": history.read_now,
        "unread": [{"path": path, "why": why} for path, why in history.unread],
        "invalid": history.invalid,
        "repeated": dict(history.repeated),
        "notes": list(history.notes),
        "steps": [_step_json(step) for step in steps_of(trends)],
        "benchmarks": [_trend_json(trend) for trend in trends],
    }


def _named(history: History, trends: Sequence[Trend], text: str) -> list[Trend]:
    """Return the trends of the benchmarks whose name holds *text*, in any case."""
    found = [trend for trend in trends if text.lower() in trend.series.benchmark.lower()]
    if found:
        return found
    if trends:
        names = ", ".join(dict.fromkeys(short_name(trend.series.benchmark) for trend in trends))
        raise RunFileError(f"no benchmark has {text!r} in its name. There are: {names}.")
    why = "".join(f" {line}" for line in _left_out(history))
    raise RunFileError(
        f"{history.store}: no file holds a valid benchmark.{why} Make a run with 'pytest --benchmark-autosave'."
    )


def _machine_names(trends: Sequence[Trend]) -> dict[Machine, str]:
    machines = {trend.series.machine for trend in trends}
    ordered = sorted(machines, key=lambda machine: (machine.name, machine.key))
    return {machine: f"{machine.name} [{machine.key}]" for machine in ordered}


def _one_point(trends: Sequence[Trend]) -> Iterator[str]:
    """Say why there are fewer points than run files."""
    if any((trend.series.files > 1).any() for trend in trends):
        yield "Run files of one commit on one machine are one point, their median."


def _at_once(trends: Sequence[Trend], steps: Sequence[Step], machines: dict[Machine, str]) -> Iterator[str]:
    """Yield a line for each commit at which most benchmarks of a machine stepped the same way: a host's change looks so."""
    histories = Counter(trend.series.machine for trend in trends)
    together = Counter((step.machine, step.first_with, step.direction) for step in steps)
    for (machine, commit, direction), count in together.items():
        if count >= _MANY and count > histories[machine] / 2:
            yield (
                f"{count} of {histories[machine]} histories of {machines[machine]} became {direction} at once, with "
                f"{commit_name(commit)}: if that commit does not touch them all, the machine changed."
            )


def _step_words(step: Step) -> str:
    """Return a step as `1.12x slower since 1a2b3c4..5d6e7f8, 2026-10-02, 14 points after`."""
    commits = f"{commit_name(step.last_before)}..{commit_name(step.first_with)}"
    date = step.first_with.datetime[:10]
    return f"{times(step.ratio)} since {commits}, {date}, {counted(step.points_after, 'point')} after"


def _against_level(trend: Trend) -> str:
    if trend.pending is not None:
        return _pending_words(trend.pending)
    if not trend.enough:
        return f"too few points to judge, {FEWEST_POINTS} needed"
    return times(trend.series.medians_s[-1] / trend.level_s)


def _pending_words(pending: Pending) -> str:
    """Return a change that is not called yet as `1.30x slower in 2 points: not called, 3 more like them would do`."""
    called = f"{times(pending.ratio)} in {counted(pending.points, 'point')}: not called, "
    if pending.needed is None:
        return f"{called}the points before are too few or too noisy"
    return f"{called}{pending.needed} more like {'it' if pending.points == 1 else 'them'} would do"


def _not_called(trends: Sequence[Trend], names: dict[str, str]) -> Iterator[str]:
    """Yield a line on the changes of newest points that are no steps yet, the largest first."""
    found = [(trend.pending, names[trend.series.benchmark]) for trend in trends if trend.pending is not None]
    found.sort(key=lambda one: -abs(math.log(one[0].ratio)))
    if found:
        listed = _some([f"{name}, {_pending_words(pending)}" for pending, name in found], "; ")
        yield f"{counted(len(found), 'change')} not called yet: {listed}."


def _drawn(times_s: Sequence[float]) -> str:
    """Return a bar for each time, on a logarithmic scale."""
    logs = [math.log(seconds) for seconds in times_s]
    low = min(logs)
    wide = max(max(logs) - low, math.log1p(_DRAWN_RANGE))
    return "".join(_BARS[round((value - low) / wide * (len(_BARS) - 1))] for value in logs)


def _left_out(history: History) -> list[str]:
    """Return a line for each thing that the user should know beside the histories."""
    lines = []
    if history.invalid:
        rows = sum(history.invalid.values())
        names = _some([f"{short_name(name)} ({count:,})" for name, count in history.invalid.items()])
        lines.append(f"{counted(rows, 'invalid row')} left out: {names}.")
    if history.repeated:
        files = _some([f"{path} ({count:,})" for path, count in history.repeated])
        lines.append(f"Files that hold benchmarks more than once, of each of which only the last counts: {files}.")
    if history.unread:
        files = _some([f"{path}: {why}" for path, why in history.unread], "; ")
        lines.append(f"{counted(len(history.unread), 'file')} not read: {files}.")
    return [*lines, *history.notes]


def _some(texts: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(texts) - _NAMED:,} more" if len(texts) > _NAMED else ""
    return between.join(texts[:_NAMED]) + more


def _trend_json(trend: Trend) -> dict[str, Any]:
    series = trend.series
    medians_s = series.medians_s.tolist()
    return {
        "benchmark": series.benchmark,
        "machine": _fields(series.machine),
        "level_s": trend.level_s,
        "latest_ratio": medians_s[-1] / trend.level_s,
        "not_called": None if trend.pending is None else _fields(trend.pending),
        "enough": trend.enough,
        "steps": [_step_json(step) for step in trend.steps],
        "points": [
            {**_fields(commit), "median_s": median_s, "files": files}
            for commit, median_s, files in zip(series.commits, medians_s, series.files.tolist(), strict=True)
        ],
    }


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "benchmark": step.benchmark,
        "machine": _fields(step.machine),
        "direction": step.direction,
        "ratio": step.ratio,
        "before_s": step.before_s,
        "after_s": step.after_s,
        "last_before": _fields(step.last_before),
        "first_with": _fields(step.first_with),
        "datetime": step.first_with.datetime,
        "points_before": step.points_before,
        "points_after": step.points_after,
    }


def _fields(value: Machine | Commit | Pending) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}
