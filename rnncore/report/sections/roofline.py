"""Roofline: what each row reaches under the machine's best rates."""

from collections.abc import Sequence
from typing import Any

import altair

from rnncore.report.figure import HEIGHT, PALETTE, QUIET, WIDTH, Chart, Figure
from rnncore.report.rows import best_per_s, best_product_per_s, valid
from rnncore.report.section import Section, Shown
from rnncore.runfile.record import Record, Run


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


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the figure."""
    return [
        "What each row reaches, under the best rates of products and of copying memory that the session measured. "
        "Operations per byte count each byte once; a row above a slope finds its data in a cache.\n",
        *shown.figure("roofline"),
    ]


def figures(runs: Sequence[Run]) -> list[Figure]:
    """Draw what each row reaches under the roofs."""
    return [Figure("roofline", "GFLOP/s against operations per byte", roofline_chart(counted(runs[0]), runs[0]))]


LACKING = "No valid row of this run tells its operations and the bytes they need."
SECTION = Section("## Roofline", text, figures, counted, LACKING)
