"""A training step by several processes: what was measured, what the model says of it, and how far the model goes on."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair

from rnncore.compare.interleaved import InterleavedRatio, interleaved_ratio
from rnncore.compare.scaling import AllReduce, Computing, Gradient, Link, Step, buckets_of, computing_of, link_of
from rnncore.report.figure import HEIGHT, TIP, WIDTH, Chart, Figure, colours, tip_text
from rnncore.report.fold import folded
from rnncore.report.rows import valid, way
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, inert, numbers, paragraph, strong, words
from rnncore.report.words import significant, time_text
from rnncore.runfile.record import Record, Run

# Of the intervals of ratios.
ERROR = 0.01

# How far the model goes on, and which efficiency is to be kept there.
MOST_DEVICES, KEPT = 1024, 0.8
_KEPT_TEXT = f"{100 * KEPT:.0f} %"


@dataclass(frozen=True)
class Scaled:
    """A row of several processes, and what the model says of it.

    Attributes:
        record: The row.
        step: What it should take, by its part alone; None where it is not known when its gradients are there.
        computing: Of one process, by all rows of this model.
    """

    record: Record
    step: Step | None
    computing: Computing

    @property
    def part(self) -> int:
        """Windows of each process."""
        return part_of(self.record)

    def beside(self, alone_s: Sequence[float] | None) -> InterleavedRatio | None:
        """Return how many times as long one process took alone; None where it did not take as many rounds."""
        rounds_s = self.record.rounds_s
        return interleaved_ratio(rounds_s, alone_s, ERROR) if alone_s and len(alone_s) == len(rounds_s) else None

    @property
    def name(self) -> str:
        """What its curve is called."""
        on = [] if self.record.is_on_cpu else [self.record.device.upper()]
        return ", ".join([self.record.model_name, str(self.record.runtime_title), *on, f"{self.part:,} each"])


def part_of(record: Record) -> int:
    """Return how many windows of a batch each process takes."""
    return max(1, int(record.batch_size) // record.devices)


def scaled(run: Run) -> list[Record]:
    """Return the valid rows of the scaling suite."""
    return valid(run.phase("scaling"))


def with_model(records: Sequence[Record]) -> list[Scaled]:
    """Put the model beside rows: those on one type of device share the link, those of one way to train the computing."""
    found = []
    for record in sorted(records, key=lambda one: (way(one), one.devices, one.batch_size)):
        link = _link([one for one in records if one.device == record.device])
        computing = _computing([one for one in records if way(one) == way(record)])
        found.append(Scaled(record, _step(record, link), computing))
    return found


def _step(record: Record, link: Link | None) -> Step | None:
    if link is None or not record.gradients:
        return None
    gradients = [Gradient(one["bytes"], one["ready_share"]) for one in record.gradients]
    ordered = sorted(gradients, key=lambda gradient: gradient.ready_share)
    return Step(statistics.median(record.part_alone_s), buckets_of(ordered), link)


def _link(records: Sequence[Record]) -> Link | None:
    return link_of(
        AllReduce(record.devices, one["bytes"], one["seconds"]) for record in records for one in record.all_reduces
    )


def _computing(records: Sequence[Record]) -> Computing:
    parts = [(part_of(one), statistics.median(one.part_alone_s)) for one in records]
    return computing_of([*parts, *((int(one.batch_size), statistics.median(one.whole_alone_s)) for one in records)])


def measured_table(rows: Sequence[Scaled]) -> Table:
    """Show what was measured: rates of one process and of several, and their efficiency, each of neighbours in time."""
    cells: list[list[Any]] = []
    for row in rows:
        record, devices = row.record, row.record.devices
        cells.append(
            [
                way(record),
                devices,
                record.batch_size,
                significant(record.batch_size / statistics.median(record.whole_alone_s)),
                significant(record.windows_per_s),
                _percent(row.beside(record.part_alone_s)),
                _percent(row.beside(record.whole_alone_s), devices),
                _times(row.beside(record.threads_alone_s)),
                record.communication_pct,
            ]
        )
    columns = [
        *words("Model"),
        *numbers("processes", "batch"),
        *numbers("by one process", "by all", unit="windows/s"),
        *numbers("weak efficiency", "strong efficiency", "against as many threads"),
        *numbers("communication", show="{:.0f} % of a step".format),
    ]
    return Table(columns, cells)


def predicted_table(rows: Sequence[Scaled]) -> Table:
    """Show what the model says of each measured step, and of the same part on many devices."""
    cells: list[list[Any]] = []
    for row in rows:
        step, median_s = row.step, row.record.median_s
        if step is None:
            continue
        predicted_s = step.seconds(row.record.devices)
        needed = row.computing.windows_in(step.computing_needed_s(KEPT, MOST_DEVICES))
        cells.append(
            [
                way(row.record),
                row.record.devices,
                row.part,
                time_text(median_s),
                time_text(predicted_s),
                100 * (predicted_s / median_s - 1),
                _at_once_pct(row.record),
                _devices(step.most_devices(KEPT, MOST_DEVICES)),
                100 * step.efficiency(MOST_DEVICES),
                needed,
            ]
        )
    columns = [
        *words("Model"),
        *numbers("processes", "windows each", "measured", "predicted"),
        *numbers("off by", "computing at once", show="{:+.1f} %".format),
        *numbers(f"devices with {_KEPT_TEXT}"),
        *numbers(f"efficiency of {MOST_DEVICES:,}", show="{:.1f} %".format),
        *numbers(f"windows each for {_KEPT_TEXT} of {MOST_DEVICES:,}"),
    ]
    return Table(columns, cells)


def _at_once_pct(record: Record) -> float | None:
    """Return how much longer a part takes where each process takes its own, without communication, in percent."""
    at_once_s, alone_s = record.part_at_once_s, record.part_alone_s
    if not at_once_s or len(at_once_s) != len(alone_s):
        return None
    return 100 * (interleaved_ratio(alone_s, at_once_s, ERROR).estimate - 1)


def _devices(count: int) -> str:
    return f"{count:,} and more" if count >= MOST_DEVICES else f"{count:,}"


def _percent(ratio: InterleavedRatio | None, of: int = 1) -> str | None:
    """Write a ratio as a percentage of a number, with its interval where there is one."""
    if ratio is None:
        return None
    within = (
        "" if ratio.low is None or ratio.high is None else f" ({100 * ratio.low / of:.0f} to {100 * ratio.high / of:.0f})"
    )
    return f"{100 * ratio.estimate / of:.0f} %{within}"


def _times(ratio: InterleavedRatio | None) -> str | None:
    if ratio is None:
        return None
    within = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    return f"{ratio.estimate:.2f}x{within}"


def scaling_chart(rows: Sequence[Scaled]) -> Chart:
    """Draw the weak efficiency against devices: the model as lines, what was measured as points.

    Args:
        rows: With a model.
    """
    sizes = [2**power for power in range(MOST_DEVICES.bit_length())]
    of_part = {row.name: row for row in rows}
    curves = [
        {"series": name, "devices": devices, "efficiency": 100 * row.step.efficiency(devices)}
        for name, row in of_part.items()
        if row.step
        for devices in sizes
    ]
    points = [
        {
            "series": row.name,
            "devices": row.record.devices,
            "efficiency": 100 * ratio.estimate,
            "tip": tip_text(row.name, devices=row.record.devices, measured=f"{100 * ratio.estimate:.1f} %"),
        }
        for row in rows
        if (ratio := row.beside(row.record.part_alone_s))
    ]
    scale = altair.Scale(type="log", base=2, domain=[1, MOST_DEVICES], nice=False)
    x = altair.X("devices:Q", scale=scale, axis=altair.Axis(values=sizes, format=",d"), title="Devices")
    y = altair.Y("efficiency:Q", title="Windows per second, percent of as many alone")
    color = altair.Color("series:N", scale=colours(list(of_part)), title="Lines: model; points: measured")
    lines = altair.Chart(altair.InlineData(curves)).mark_line().encode(x=x, y=y, color=color)
    seen = altair.Chart(altair.InlineData(points)).mark_point(filled=True, size=70, opacity=1)
    return altair.layer(lines, seen.encode(x=x, y=y, color=color, description=TIP)).properties(width=WIDTH, height=HEIGHT)


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return how much quicker all processes are than one, what was measured, and what the model makes of it."""
    rows = with_model(scaled(runs[0]))
    predicted = [row for row in rows if row.step]
    best = max(rows, key=lambda row: (row.record.devices, row.record.batch_size))
    measured = paragraph(
        "Measured on this machine, round by round beside one process alone: weak is its part of the batch alone against the "
        "step together, strong the whole batch, a share of as many times its speed. Communication is the time in which some "
        "all-reduce was under way, hidden or not, in profiled steps."
    )
    return [
        paragraph(_best_text(best)),
        *shown.figure("scaling"),
        measured,
        measured_table(rows).markdown(),
        *([paragraph(_knee_text(predicted))] if predicted else []),
        *folded("The model: predicted against measured, and on to many devices", _model_parts(predicted)),
    ]


def _best_text(row: Scaled) -> str:
    """Say how much quicker the most processes are than one, at the largest batch."""
    record, ratio = row.record, row.beside(row.record.whole_alone_s)
    who = strong(f"{record.devices} processes of {way(record)}")
    if ratio is None:
        return f"{who} were not timed beside one."
    return f"{who} take {ratio.estimate:.2f} times the windows/s of one, at a batch of {record.batch_size:,}."


def _knee_text(rows: Sequence[Scaled]) -> str:
    """Say where the largest part that was measured falls below what is to be kept, and how large it would have to be."""
    row = max(rows, key=lambda row: row.part)
    step = row.step
    if step is None:
        return ""
    most = step.most_devices(KEPT, MOST_DEVICES)
    needed = row.computing.windows_in(step.computing_needed_s(KEPT, MOST_DEVICES))
    each = f"{needed:,} windows on each" if needed else "no number of windows on each"
    return (
        f"{strong('Predicted')}, not measured, over a link as this: {inert(row.name)}, keeps {_KEPT_TEXT} weak efficiency "
        f"up to {_devices(most)} devices; {MOST_DEVICES:,} keep it with {each}."
    )


def _model_parts(rows: Sequence[Scaled]) -> list[str]:
    if not rows or rows[0].step is None:
        return []
    link = rows[0].step.link
    of_message = f"{time_text(link.alpha_s)} for each message and {significant(link.beta_bytes_per_s / 1e9)} GB/s beside it"
    note = paragraph(
        "The model: one process computes for as long as it does alone, and a ring of all-reduces adds what the backward "
        f"pass does not hide, over a link with {of_message}, as all-reduces alone took. It knows nothing of processes that "
        "share caches and memory, nor of others on this machine: by how much longer a part takes where all compute at once, "
        "each for itself, is beside what it is off by. Nor does it know that CPUs cannot compute and communicate at once. "
        "Between machines the link is another: there only the form of the curve holds."
    )
    return [note, predicted_table(rows).markdown()]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw efficiency against devices, where the model says something."""
    rows = [row for row in with_model(scaled(runs[0])) if row.step]
    alt = f"Efficiency against devices, 1 to {MOST_DEVICES:,}: the model as lines, what was measured as points"
    return [Figure("scaling", alt, scaling_chart(rows))] if rows else []


SECTION = Section("## How does training scale?", text, figures, scaled)
