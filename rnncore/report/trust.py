"""What the figures rest on: the path that ran, the hardware's limit, disturbances, tails, and the cost of measuring."""

from collections.abc import Mapping
from typing import Any

from rnncore.report.tables import between, bytes_text, markdown_table, significant, time_unit
from rnncore.runfile.record import Record, Run

PERCENTILES = ("p50", "p90", "p95", "p99")

_BOUNDS = {"compute": "arithmetic", "bandwidth": "memory bandwidth", "latency": "waiting for the step before"}


def path_table(records: list[Record]) -> str:
    """Show by benchmark what ran, what holds it back, how much of the ceilings it reaches, and how right it is."""
    rows = []
    for record in records:
        error = record.parity_max_abs
        rows.append(
            [
                record.short_name,
                "valid" if record.validity == "valid" else "**invalid**",
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


def tails_table(records: list[Record]) -> str:
    """Show the percentiles of single calls with their intervals, or why there is none."""
    rows = []
    for record in records:
        found = record.percentiles or {}
        scale, unit = time_unit([record.median_s])
        rows.append([record.short_name, unit, *[_percentile_text(found, name, scale) for name in PERCENTILES]])
    return markdown_table(["Benchmark", "unit", *PERCENTILES], rows, left=2)


def _percentile_text(found: Mapping[str, Any], name: str, scale: float) -> str:
    value = found.get(name)
    if value is None:
        return str(found.get(f"{name}_why", "–"))
    low, s, high = between(*(value[key] / scale for key in ("low_s", "s", "high_s")))
    return f"{s} ({low} to {high})"


def steady_text(steady: bool | None, why: str | None) -> str:
    """Say whether a series was steady: `yes`, `not steady: why`, or `–`."""
    if steady is None:
        return "–"
    return "yes" if steady else f"not steady: {why}"


def ceilings_table(run: Run) -> str | None:
    """Show the ceilings that the session measured; None where it has none."""
    ceilings = run.ceilings
    if not ceilings:
        return None
    rows = []
    for entry in ceilings.get("gemm", ()):
        unit = "GOP/s" if entry["precision"] == "int8" else "GFLOP/s"
        rows.append(_ceiling_row(f"square product, {entry['precision']}", entry, unit))
    for entry in ceilings.get("recurrent", ()):
        shape = f"({entry['batch_size']:,}, {entry['hidden_size']}) x ({entry['hidden_size']}, "
        shape += f"{entry['gates']} x {entry['hidden_size']})"
        rows.append(_ceiling_row(f"chain of products {shape}, {entry['precision']}", entry, "GFLOP/s"))
    rows += [_ceiling_row("copying memory", entry, "GB/s") for entry in ceilings.get("copy", ())]
    return markdown_table(["Ceiling", "on", "reached by", "best rate"], rows, left=3)


def _ceiling_row(what: str, entry: dict[str, Any], unit: str) -> list[str]:
    threads = f", {entry['threads']} threads" if entry.get("threads") else ""
    on = f"CPU{threads}" if entry["device"] == "cpu" else "CUDA"
    if entry["per_s"] is None:
        return [what, on, str(entry.get("per_s_why", "–")), "–"]
    return [what, on, str(entry.get("by", "–")), f"{significant(entry['per_s'] / 1e9)} {unit}"]


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
