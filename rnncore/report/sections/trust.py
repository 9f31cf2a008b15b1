"""What the figures rest on: what ran, what held it back, what disturbed it."""

from collections.abc import Sequence

from rnncore.report.section import Section, Shown
from rnncore.report.table import markdown_table, paragraph
from rnncore.report.words import bytes_text, significant, time_unit
from rnncore.runfile.record import Record, Run

_BOUNDS = {"compute": "arithmetic", "bandwidth": "memory bandwidth", "latency": "waiting for the step before"}


def path_table(records: list[Record]) -> str:
    """Show by benchmark what ran, what holds it back, how much of the ceilings it reaches, and how right it is."""
    rows = []
    for record in records:
        error = record.parity_max_abs
        rows.append(
            [
                record.short_name,
                "valid" if record.is_valid else "**invalid**",
                str(record.kernel or "–"),
                _BOUNDS.get(str(record.bound), "–"),
                _percent(record.gemm_ceiling_pct),
                _percent(record.recurrent_ceiling_pct),
                _percent(record.bandwidth_ceiling_pct),
                _number(record.us_per_step),
                "–" if error is None else f"{error:.1e}",
                bytes_text(record.peak_device_bytes if record.device == "cuda" else record.process_bytes),
                bytes_text(record.model_rss_bytes),
                _number(record.joules_per_1000),
            ]
        )
    head = [
        "Benchmark",
        "result",
        "Kernel",
        "held back by",
        "of product",
        "of chain",
        "of copy",
        "µs per step",
        "error to float64",
    ]
    return markdown_table([*head, "peak memory", "model's share", "J per 1,000 windows"], rows, left=4)


def disturbance_table(records: list[Record]) -> str:
    """Show by benchmark how many rounds were disturbed, both medians, and whether the halves agree."""
    rows = []
    for record in records:
        scale, unit = time_unit([record.median_s])
        disturbance = record.disturbance or {}
        quiet_s = disturbance.get("median_undisturbed_s")
        causes = [f"{count} × {cause}" for cause, count in (disturbance.get("causes") or {}).items()]
        first_call_s = record.first_call_s
        rows.append(
            [
                record.short_name,
                ", ".join(causes) or "–",
                str(len(record.rounds_s)),
                "–" if record.disturbed_rounds is None else str(record.disturbed_rounds),
                f"{significant(record.median_s / scale)} {unit}",
                "–" if quiet_s is None else f"{significant(quiet_s / scale)} {unit}",
                "–" if first_call_s is None else f"{significant(first_call_s / scale)} {unit}",
                steady_text(record.steady, record.why("steady")),
            ]
        )
    head = [
        "Benchmark",
        "Disturbed by",
        "rounds",
        "disturbed",
        "median of all",
        "of the undisturbed",
        "first call",
        "steady",
    ]
    return markdown_table(head, rows, left=2)


def steady_text(steady: bool | None, why: str | None) -> str:
    """Say whether a series was steady: `yes`, `not steady: why`, or `–`."""
    if steady is None:
        return "–"
    return "yes" if steady else f"not steady: {why}"


def session_sentences(run: Run) -> str:
    """Say whether the machine stayed the same over the session, and what the session cost beside the timed rounds."""
    sentences = []
    if run.session.get("steady") is False:
        sentences.append(
            f"**The session is not steady**: of a small fixed piece of work, {run.session.get('steady_why')}; ratios of "
            "early and late rows contain this change too."
        )
    elif run.session.get("steady"):
        sentences.append("A small fixed piece of work took equally long in both halves of the session.")
    overhead = run.session.get("overhead")
    if overhead:
        parts = [f"{seconds:.0f} s {name}" for name, seconds in overhead["parts_s"].items() if seconds >= 1]
        sentences.append(
            f"Of the session's {overhead['wall_s']:.0f} s, {overhead['timed_s']:.0f} s were timed rounds, "
            f"{overhead.get('trainings_s', 0):.0f} s timed trainings and {overhead['overhead_s']:.0f} s overhead: "
            f"{', '.join(parts) or 'each part below 1 s'}."
        )
    return " ".join(sentences)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else significant(value)


def _lines(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Tell what the figures rest on."""
    run = runs[0]
    records = [record for record in run.records if record.disturbance is not None]
    parts = ["## What the figures rest on\n"]
    if not records:
        return [*parts, "The run file is of a version that did not look for disturbances.\n"]
    parts += [
        paragraph(
            "The kernel is what a profile of an extra call saw. Shares are of the best square product, of the recurrent "
            "products chained one after another with the others at full rate, and of copying memory."
        ),
        path_table(records),
        paragraph(
            "A round is disturbed where others took more than 2 % of its time, made its threads leave their cores often, or "
            "slowed a clock; it is counted and kept. The first call, with the opening of the runtime, is in no other figure."
        ),
        disturbance_table(records),
    ]
    if sentences := session_sentences(run):
        parts.append(paragraph(sentences))
    return parts


SECTION = Section(_lines)
