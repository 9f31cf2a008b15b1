"""What noise hides, and how often the gate is right, as tables."""

import math
from collections.abc import Sequence
from typing import Any

from rnncore.amounts import counted
from rnncore.compare.floors import NoiseRecord, floor_at
from rnncore.compare.judge import FAMILY_ERROR
from rnncore.compare.replay import Pool, Rate, Score
from rnncore.compare.sensitivity import BESIDE, WANTED, Sensitivity
from rnncore.compare.signs import pairs_needed
from rnncore.report.table import Table, numbers, words
from rnncore.report.verdict.words import file_and_test
from rnncore.runfile.grid import grid_of
from rnncore.runfile.record import short_name

# Benchmarks that a line names; it counts the rest.
_NAMED = 3


def noise_json(record: NoiseRecord, grid: str, budget_s: float, pairs: int, wanted: float) -> dict[str, Any]:
    """Return what noise hides of each benchmark from a gate.

    Args:
        record: The machine's noise.
        grid: Digest of the benchmarks that it was measured with.
        budget_s: Of the gate.
        pairs: That it has.
        wanted: The slowdown that should be seen, such as 0.05.
    """
    rows = []
    for fullname, floors in record.floors.items():
        here = floor_at(record, fullname, pairs)
        needed = next((one.pairs for one in floors if one.visible is not None and one.visible <= wanted), None)
        rows.append(
            {
                "fullname": fullname,
                "floor_pct": 100 * here.wander,
                "visible_pct": None if here.visible is None else 100 * here.visible,
                "pairs_needed": needed,
                "minutes_needed": None if needed is None else (needed + 1) * record.pair_s / 60,
            }
        )
    return {
        "grid": grid,
        "pair_s": record.pair_s,
        "recorded_pairs": len(next(iter(record.log_ratios.values()))),
        "budget_s": budget_s,
        "pairs": pairs,
        "wanted_pct": 100 * wanted,
        "most_pairs_tried": max(floor.pairs for floors in record.floors.values() for floor in floors),
        "benchmarks": rows,
    }


def noise_table(facts: dict[str, Any]) -> tuple[str, Table]:
    """Return lines and a table of the facts of `noise_json`."""
    rows = [
        [
            file_and_test(row["fullname"])[1],
            row["floor_pct"],
            row["visible_pct"],
            f"over {facts['most_pairs_tried']}" if row["pairs_needed"] is None else str(row["pairs_needed"]),
            row["minutes_needed"],
        ]
        for row in facts["benchmarks"]
    ]
    columns = [
        *words("Benchmark"),
        *numbers("floor", "visible", unit="%", show="{:.1f}".format),
        *numbers(f"pairs for {facts['wanted_pct']:g} %"),
        *numbers("minutes", show="{:.0f}".format),
    ]
    lines = (
        f"{facts['recorded_pairs']} pairs of identical code, {facts['pair_s']:.1f} s each, grid {facts['grid']}. A gate of "
        f"{facts['budget_s'] / 60:.3g} min has {facts['pairs']}, and of those:\n"
        "floor: what 99 of 100 gates of identical code stay below; visible: the smallest slowdown that 4 of 5 gates call;\n"
        f"pairs: after which a slowdown of {facts['wanted_pct']:g} % is visible."
    )
    return lines, Table(columns, rows)


def sensitivity_lines(found: Sensitivity, noun: str) -> str:
    """Return what a gate can tell, and what it takes to tell more.

    Args:
        found: What it can tell.
        noun: What its benchmarks are, such as `undecided benchmark`.
    """
    count, small = len(found.visible), found.untold(WANTED)
    left_out = f" {counted(found.wide, 'more benchmark')} may change by {100 * WANTED:g} % or more." if found.wide else ""
    held = f"This gate holds about {counted(found.pairs, 'pair')}"
    if not count:
        return f"{held}.{left_out}"
    if not small:
        of_all = f"all {counted(count, noun)}" if count > 1 else f"the {noun}"
        return f"{held}: {100 * WANTED:g} % can be told of {of_all}.{left_out}"
    least = found.visible[small[0]]
    seen = f"only {100 * least:.1f} %" if math.isfinite(least) else "nothing"
    minutes = f" (--budget {found.budget_s / 60:.0f}m)" if found.budget_s else ""
    takes = f"takes about {found.pairs_for_all:.0f} pairs{minutes}" if minutes else "is out of reach here"
    if count == 1:
        return f"{held}: {seen} can be told of the {noun}.{left_out}\n{100 * WANTED:g} % {takes}."
    told = f"{100 * BESIDE:g} % of {count - len(found.untold(BESIDE))}; of {short_name(small[0])} {seen}"
    more = f" and {len(small) - _NAMED} more" if len(small) > _NAMED else ""
    return (
        f"{held}: {100 * WANTED:g} % can be told of {count - len(small)} of {counted(count, noun)}, {told}.{left_out}\n"
        f"{100 * WANTED:g} % of all {count} {takes}; or leave out by -k: {', '.join(map(short_name, small[:_NAMED]))}{more}."
    )


def time_until_told(found: Sensitivity, pairs: int, left_s: float) -> str:
    """Return what a line of progress adds: when a small slowdown can be told; nothing where that is not known.

    Args:
        found: What the gate can tell.
        pairs: That have ended.
        left_s: Seconds of the budget that are left.
    """
    if not found.visible or not math.isfinite(found.pairs_for_all):
        return ""
    seconds = found.seconds_until_told(pairs)
    if not seconds:
        return f", {100 * WANTED:g} % can be told"
    after = ", after the budget" if seconds > left_s else ""
    return f", {100 * WANTED:g} % can be told in about {max(1, round(seconds / 60))} min{after}"


def selftest_json(pool: Pool, scores: Sequence[Score], budget_s: float, pairs: int) -> dict[str, Any]:
    """Return how often each rule was right.

    Args:
        pool: What was replayed; its first run says of which grid.
        scores: How each rule did.
        budget_s: Of each gate.
        pairs: That it had.
    """
    return {
        "grid": grid_of(pool.plain[0][0]),
        "blocks": len(pool.plain),
        "pair_s": pool.pair_s,
        "budget_s": budget_s,
        "pairs": pairs,
        "scores": [
            {
                "rule": score.rule,
                "delay_pct": score.delay_pct,
                "found": None if score.found is None else _rate_json(score.found),
                "found_of": {fullname: _rate_json(rate) for fullname, rate in score.found_of.items()},
                "false_alarms": _rate_json(score.alarms),
                "unclear": _rate_json(score.unclear),
            }
            for score in scores
        ],
    }


def selftest_tables(facts: dict[str, Any]) -> list[tuple[str, Table]]:
    """Return lines and tables of the facts of `selftest_json`: all rules, and the gate's finds by benchmark."""
    scores = facts["scores"]
    lines = (
        f"Gates of {facts['budget_s'] / 60:.3g} min, {facts['pairs']} pairs, replayed from {facts['blocks']} "
        f"blocks of pairs of {facts['pair_s']:.1f} s, grid {facts['grid']}. In parentheses: intervals of 95 %."
    )
    unplanted = dict.fromkeys(f"{one['delay_pct']:g} %" for one in scores if one["delay_pct"] and one["found"] is None)
    if unplanted:
        lines += f"\nNo delay of {', '.join(unplanted)} was planted: all calls are too short for one as small as that."
    if facts["pairs"] < (fewest := pairs_needed(FAMILY_ERROR)):
        lines += f"\nGates of fewer than {fewest} pairs find nothing: give a larger --budget, and more --blocks."
    columns = [
        *words("Rule"),
        *numbers("delay of one benchmark"),
        *numbers("found it", "false alarm", "left something open", show=_rate_text),
    ]
    rows = [
        [
            score["rule"],
            f"{score['delay_pct']:g} %" if score["delay_pct"] else "none",
            *[score[name] for name in ("found", "false_alarms", "unclear")],
        ]
        for score in scores
    ]
    ours = [score for score in scores if score["rule"] == scores[0]["rule"] and score["delay_pct"]]
    found_columns = numbers(*[f"{score['delay_pct']:g} %" for score in ours], show="{0[happened]} of {0[tried]}".format)
    found_rows = [
        [file_and_test(name)[1], *[score["found_of"].get(name) for score in ours]]
        for name in dict.fromkeys(name for score in ours for name in score["found_of"])
    ]
    by_benchmark = Table([*words("Benchmark"), *found_columns], found_rows)
    tables = [(lines, Table(columns, rows))]
    return [*tables, ("The gate's finds by delayed benchmark:", by_benchmark)] if found_rows else tables


def selftest_markdown(facts: dict[str, Any]) -> str:
    """Return the same as a page."""
    parts = [f"{lines}\n\n{table.markdown()}" for lines, table in selftest_tables(facts)]
    return "# Self-test of the gate\n\n" + "\n".join(parts)


def _rate_json(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {"happened": rate.happened, "tried": rate.tried, "share": rate.share, "low": low, "high": high}


def _rate_text(rate: dict[str, Any]) -> str:
    return f"{100 * rate['share']:.1f} % ({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
