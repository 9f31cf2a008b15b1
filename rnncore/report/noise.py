"""What noise hides, and how often the gate is right, as tables."""

import math
from collections.abc import Sequence
from typing import Any

from rnncore.compare.floors import NoiseRecord, floor, processes_for
from rnncore.compare.replay import Pool, Rate, Score
from rnncore.compare.thresholds import Thresholds
from rnncore.report.tables import markdown_table

# Processes of a gate that are not counted: the first of each side.
WARM_UPS = 2


def noise_json(record: NoiseRecord, thresholds: Thresholds, budget_s: float, wanted: float) -> dict[str, Any]:
    """Return what noise hides of each benchmark from a gate.

    Args:
        record: The machine's noise.
        thresholds: How large a change must be.
        budget_s: Of the gate.
        wanted: The slowdown that should be seen, such as 0.05.
    """
    processes = max(2, int((budget_s / record.process_s - WARM_UPS) // 2))
    rows = []
    for fullname in record.quickest_s:
        bounds = thresholds.bounds(fullname, "time")
        found = floor(record, fullname, bounds, processes)
        rows.append(
            {
                "fullname": fullname,
                "floor_pct": 100 * (found.wander - 1),
                "visible_pct": None if math.isinf(found.visible) else 100 * (found.visible - 1),
                "processes_needed": processes_for(record, fullname, bounds, 1 + wanted),
            }
        )
    return {
        "process_s": record.process_s,
        "recorded_processes": len(next(iter(record.quickest_s.values()))),
        "budget_s": budget_s,
        "processes_per_side": processes,
        "wanted_pct": 100 * wanted,
        "benchmarks": rows,
    }


def noise_table(facts: dict[str, Any]) -> tuple[str, list[list[str]]]:
    """Return lines and a table of what `noise_json` tells."""
    wanted = f"a side for {facts['wanted_pct']:g} %"
    head = ["Benchmark", "noise floor %", "smallest visible slowdown %", wanted, "minutes"]
    rows = []
    for row in facts["benchmarks"]:
        needed = row["processes_needed"]
        minutes = None if needed is None else (2 * needed + WARM_UPS) * facts["process_s"] / 60
        rows.append(
            [
                str(row["fullname"]).split("::", 1)[-1],
                f"{row['floor_pct']:.1f}",
                "none" if row["visible_pct"] is None else f"{row['visible_pct']:.1f}",
                "more than tried" if needed is None else str(needed),
                "–" if minutes is None else f"{minutes:.0f}",
            ]
        )
    lines = (
        f"From {facts['recorded_processes']} processes of {facts['process_s']:.1f} s. A gate of {facts['budget_s'] / 60:g} "
        f"minutes has {facts['processes_per_side']} a side. Floor: 99 of 100 gates of identical code stay below it. "
        "Visible: 4 of 5 gates call it."
    )
    return lines, [head, *rows]


def selftest_json(pool: Pool, scores: Sequence[Score], budget_s: float) -> dict[str, Any]:
    """Return how often each rule was right."""
    return {
        "blocks": len(pool.plain),
        "process_s": pool.process_s,
        "budget_s": budget_s,
        "scores": [
            {
                "rule": score.rule,
                "delay_pct": score.delay_pct,
                "found": None if score.found is None else _rate_json(score.found),
                "false_alarms": _rate_json(score.alarms),
            }
            for score in scores
        ],
    }


def selftest_table(facts: dict[str, Any]) -> list[list[str]]:
    """Return a table of what `selftest_json` tells."""
    rows = [
        [
            score["rule"],
            "identical code" if score["delay_pct"] == 0 else f"{score['delay_pct']:g} %",
            "–" if score["found"] is None else _rate_text(score["found"]),
            _rate_text(score["false_alarms"]),
        ]
        for score in facts["scores"]
    ]
    return [["Rule", "delay of one benchmark", "gates that found it", "gates with a false alarm"], *rows]


def selftest_markdown(facts: dict[str, Any]) -> str:
    """Return the same as a page."""
    head, *rows = selftest_table(facts)
    return (
        "# Self-test of the gate\n\n"
        f"Gates of {facts['budget_s'] / 60:g} minutes, replayed from {facts['blocks']} blocks of processes of "
        f"{facts['process_s']:.1f} s on one machine. In parentheses, intervals of 95 %.\n\n{markdown_table(head, rows)}"
    )


def _rate_json(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {"happened": rate.happened, "tried": rate.tried, "share": rate.share, "low": low, "high": high}


def _rate_text(rate: dict[str, Any]) -> str:
    return f"{100 * rate['share']:.1f} % ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
