"""How far from the hardware's limit: what each row reaches under the machine's best rates."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.compare.choices import fastest_first
from rnncore.report.figure import HEIGHT, QUIET, TIP, WIDTH, Chart, Figure, apart, colours, log_axis, tip_text
from rnncore.report.fold import folded
from rnncore.report.rows import best_per_s, best_product_per_s, valid
from rnncore.report.section import Section, Shown
from rnncore.report.sections.machine import all_ceilings_table, peaks_table
from rnncore.report.table import paragraph, strong
from rnncore.report.words import share_text, significant
from rnncore.runfile.record import Record, Run

# Free space around the points, as a factor, and the share of the width at the right for the names of roofs.
MARGIN, _NAMES_SHARE = 2.0, 0.14


def roofline_chart(records: list[Record], run: Run) -> Chart:
    """Draw what each row reaches against operations per byte, under the roofs that the session measured.

    Args:
        records: Records with `gflop_per_s` and `flops_per_byte`.
        run: Has the ceilings that are its roofs.

    Source:
        Williams, S., Waterman, A. & Patterson, D. (2009). Roofline: an insightful visual performance model. Communications
        of the ACM 52(4), 65-76.
    """
    values = [
        {
            "row": record.short_name,
            "flops_per_byte": record.flops_per_byte,
            "gflop_per_s": record.gflop_per_s,
            "model": record.model_name,
            "phase": str(record.phase),
            "tip": tip_text(
                record.short_name,
                reached=f"{record.gflop_per_s:,.4g} GFLOP/s",
                operations_per_byte=record.flops_per_byte,
            ),
        }
        for record in records
    ]
    intensities = [record.flops_per_byte for record in records if record.flops_per_byte]
    left, right = min(intensities) / MARGIN, max(intensities) * MARGIN
    roofs = _roofs(run, {(record.device, record.products) for record in records}, left, right)
    rates = [float(one["gflop_per_s"]) for one in [*values, *roofs] if one["gflop_per_s"]]
    low, high = min(rates) / MARGIN, max(rates) * MARGIN
    # Names stand at the right of the roofs, where no line and no point is.
    room = (right / left) ** (_NAMES_SHARE / (1 - _NAMES_SHARE)) if roofs else 1.0
    x_scale = altair.Scale(type="log", domain=[left, right * room], nice=False)
    x = altair.X("flops_per_byte:Q", scale=x_scale, axis=log_axis(left, right), title="Operations per byte")
    y_scale = altair.Scale(type="log", domain=[low, high], nice=False)
    y_axis = log_axis(low, high)

    def y(field: str) -> altair.Y:
        return altair.Y(f"{field}:Q", scale=y_scale, axis=y_axis, title="GFLOP/s")

    layers: list[Any] = []
    if roofs:
        roof = altair.Chart(altair.InlineData(roofs)).mark_line(color=QUIET, strokeDash=[2, 3])
        layers.append(roof.encode(x=x, y=y("gflop_per_s"), detail="roof:N"))
        ends = [one for one in roofs if one["flops_per_byte"] == right]
        at = apart([float(one["gflop_per_s"]) for one in ends], low, high, HEIGHT)
        labels = [{**one, "at": value} for one, value in zip(ends, at, strict=True)]
        text = altair.Chart(altair.InlineData(labels)).mark_text(align="left", dx=6, color=QUIET)
        layers.append(text.encode(x=x, y=y("at"), text="roof:N"))
    points = altair.Chart(altair.InlineData(values)).mark_point(filled=True, size=70, opacity=1)
    models = list(dict.fromkeys(record.model_name for record in records))
    layers.append(
        points.encode(
            x=x,
            y=y("gflop_per_s"),
            color=altair.Color("model:N", scale=colours(models), title="Model"),
            shape=altair.Shape("phase:N", title="Phase"),
            description=TIP,
        )
    )
    return altair.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _roofs(run: Run, measured: set[tuple[str, str | None]], low: float, high: float) -> list[dict[str, Any]]:
    """Return the roofs, slope and flat part, for each measured device and precision with both ceilings."""
    roofs = []
    for device, precision in sorted(measured, key=str):
        per_s, bytes_per_s = best_product_per_s(run, device, precision), best_per_s(run, "copy", device)
        if not per_s or not bytes_per_s:
            continue
        ridge = per_s / bytes_per_s
        for at in sorted({low, min(max(ridge, low), high), high}):
            reached = min(per_s, at * bytes_per_s) / 1e9
            roofs.append({"roof": f"{device}, {precision}", "flops_per_byte": at, "gflop_per_s": reached})
    return roofs


def counted(run: Run) -> list[Record]:
    """Return the valid rows whose operations and bytes are known."""
    # Rows measured interleaved are the same work as those measured alone, at the same places.
    measured = [record for record in valid(run.records) if not str(record.phase).startswith("interleaved")]
    return [record for record in measured if record.gflop_per_s and record.flops_per_byte]


def nearest(run: Run) -> list[Record]:
    """Return the valid forward passes whose share of the best products is known, the largest share first."""
    known = [record for record in valid(run.phase("infer")) if record.gemm_ceiling_pct is not None]
    return sorted(fastest_first(known), key=lambda record: -(record.gemm_ceiling_pct or 0))


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return what comes nearest to the limit, the figure, and the peaks; the other ceilings folded."""
    run = runs[0]
    said = [_nearest_text(found[0])] if (found := nearest(run)) else []
    peaks, every = peaks_table(run), all_ceilings_table(run)
    note = paragraph(
        "The roofs are the best rates of products and of copying memory that the session measured. Operations per byte "
        "count each byte once; a row above a slope finds its data in a cache."
    )
    return [
        *map(paragraph, said),
        *shown.figure("roofline"),
        *([peaks.markdown()] if peaks.rows else []),
        *folded("All ceilings of this session, and what reached them", [note, every.markdown()] if every.rows else []),
    ]


def _nearest_text(record: Record) -> str:
    return (
        f"Nearest to the limit of the products comes {strong(record.short_name)}: "
        f"{significant(record.gflop_per_s or 0)} GFLOP/s, {share_text(record, 'gemm')} of the best rate that this "
        "session measured with as many threads."
    )


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw what each row reaches under the roofs."""
    records = counted(runs[0])
    return [Figure("roofline", "GFLOP/s against operations per byte", roofline_chart(records, runs[0]))] if records else []


def limited(run: Run) -> list[Record]:
    """Return the rows of which it is known how far they are from a limit."""
    return [*counted(run), *nearest(run)]


LACKING = "No valid row of this run tells its operations and the bytes they need."
SECTION = Section("## How far from the hardware's limit?", text, figures, limited, LACKING)
