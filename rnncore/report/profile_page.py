"""The page of profiles: for each row a flame graph, and its kinds of work against their limits; or what changed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rnncore.amounts import counted, time_unit
from rnncore.compare.profile import difference, explain, profile_of, signed_time
from rnncore.files import write_text
from rnncore.report.figure import QUIET
from rnncore.report.flame import change_colour, flame_html, frames_of, frames_of_change
from rnncore.report.fold import folded
from rnncore.report.html import page_html
from rnncore.report.profile import named_records, op_table, paired_records
from rnncore.report.section import picture_line
from rnncore.report.sections.answers import what_text
from rnncore.report.sections.profile import drawn_first, kind_colours, kinds_of, shares_table
from rnncore.report.table import Table, inert, numbers, paragraph, words
from rnncore.report.words import significant, time_text
from rnncore.runfile.record import Record, Run

PAGE_NAME = "profile.html"

# Rows that have a flame graph, and operations of one that its table shows.
MOST_DRAWN, MOST_OPS = 12, 40

# Gates of the cells whose products are known by their sizes.
_GATES = {"gru": 3, "lstm": 4}

# Kinds of work that are matrix products, in whole or in part, and have limits that a session measures.
PRODUCTS = ("input GEMM", "recurrent GEMM", "recurrent layer (fused)")

_NOT_COUNTED = "counted in a gate alone, of rows on one thread"


def write_profile_page(run: Run, other: Run | None, text: str, folder: Path) -> Path:
    """Write the page of the profiles of a run, or of what changed to another, whole or not at all.

    Args:
        run: The run, or the one before.
        other: The run now; then only benchmarks that both profiled are shown.
        text: Only benchmarks whose name holds this.
        folder: Where to.

    Returns:
        The path of the page.

    Raises:
        RunFileError: If there is no such benchmark.
    """
    content, flames = _of_one(run, text) if other is None else _of_two(run, other, text)
    page = folder / PAGE_NAME
    write_text(page, page_html(content, flames, ()))
    return page


def _of_one(run: Run, text: str) -> tuple[str, dict[str, str]]:
    """Return the Markdown of the page of one run, and the HTML of its flame graphs by name."""
    records = drawn_first(named_records(run, text))
    shown, rest = records[:MOST_DRAWN], records[MOST_DRAWN:]
    colours = _colours(records)
    parts, flames = ["# Where does the time go?\n", paragraph(inert(what_text(run)))], {}
    for index, record in enumerate(shown, 1):
        frames = frames_of(profile_of(record))
        if not frames[0].seconds:
            continue
        alt = "One profiled call: its kinds of work, their operations, and these by the shapes of their inputs"
        name = f"flame-{index}"
        flames[name] = flame_html(name, alt, frames, lambda frame: colours.get(frame.kind, QUIET))
        parts += _parts_of(record, picture_line(name, alt))
    parts += folded(
        f"{counted(len(rest), 'more row')}: give -k TEXT to see the flame graphs of those whose names hold it",
        [shares_table(rest).markdown()] if rest else [],
    )
    return "\n".join(parts), flames


def _colours(records: Sequence[Record]) -> Mapping[str, str]:
    scale = kind_colours(kinds_of(records)).to_dict()
    return dict(zip(scale["domain"], scale["range"], strict=True))


def _parts_of(record: Record, flame: str) -> list[str]:
    """Return the section of one row: a sentence, its flame graph, its kinds of work; operations and counters folded."""
    profile = profile_of(record)
    return [
        f"## {paragraph(inert(record.short_name))}",
        paragraph(_kinds_text(record)),
        flame,
        kinds_table(record).markdown(),
        *folded("Its operations, and the trace", [_trace_text(record), op_table(profile, MOST_OPS).markdown()]),
        *folded("What the CPU counted", [counters_table(record).markdown()]),
    ]


def _trace_text(record: Record) -> str:
    trace = profile_of(record).get("trace")
    if not trace:
        return paragraph("No trace of these calls is kept.")
    return paragraph(f"The trace of these calls is {inert(str(trace))}: open it in Perfetto or speedscope.")


def _kinds_text(record: Record) -> str:
    """Say what takes the time of a row, how near each is to its limit, and where most could be won."""
    limits, seconds = limits_s(record), _seconds_by_kind(record)
    said = []
    for kind, spent in sorted(seconds.items(), key=lambda item: -item[1])[:3]:
        limit = f", at {100 * limits[kind] / spent:.0f} % of its limit" if kind in limits else ""
        said.append(f"{inert(kind)} {100 * spent / sum(seconds.values()):.0f} %{limit}")
    # What is no product may all be won; of a product whose limit is not known, nobody knows.
    to_win = {
        kind: spent - limits.get(kind, 0.0) for kind, spent in seconds.items() if kind in limits or kind not in PRODUCTS
    }
    most = max(to_win, key=lambda kind: to_win[kind], default=None)
    sentence = f"Of one call: {'; '.join(said)}."
    if most is None or to_win[most] <= 0:
        return sentence
    won = f"{time_text(to_win[most])} of {time_text(sum(seconds.values()))}"
    return f"{sentence} Most is to be won in **{inert(most)}**, at most {won}."


def kinds_table(record: Record) -> Table:
    """Show by kind of work the time of one profiled call, its share, the time at its limit, and what could be won."""
    seconds, limits = _seconds_by_kind(record), limits_s(record)
    whole_s = sum(seconds.values())
    scale, unit = time_unit([whole_s])
    rows = [
        [
            kind,
            spent / scale,
            100 * spent / whole_s,
            limits[kind] / scale if kind in limits else None,
            100 * limits[kind] / spent if kind in limits else None,
            (spent - limits[kind]) / scale if kind in limits else None,
        ]
        for kind, spent in sorted(seconds.items(), key=lambda item: -item[1])
    ]
    columns = [
        *words("Kind of work"),
        *numbers("time", unit=unit, show=significant),
        *numbers("of the call", show="{:.1f} %".format),
        *numbers("at its limit", unit=unit, show=significant),
        *numbers("of its limit", show="{:.0f} %".format),
        *numbers("to win", unit=unit, show=significant),
    ]
    return Table(columns, rows)


def _seconds_by_kind(record: Record) -> dict[str, float]:
    found: dict[str, float] = {}
    for op in profile_of(record)["ops"]:
        kind = op.get("category") or "other"
        found[kind] = found.get(kind, 0.0) + op["self_s"]
    return {kind: seconds for kind, seconds in found.items() if seconds > 0}


def limits_s(record: Record) -> dict[str, float]:
    """Return by kind of work the seconds that a call's products would take at the best rates of the session.

    Products over all hours are those at the rate of the free product; those of the recurrence wait for one another, and have
    the rate of the chain. A fused layer is both. Of other kinds of work no limit is measured.

    Args:
        record: Of a forward pass; of others nothing is known.
    """
    sizes = (record.batch_size, record.lookback, record.num_layers, record.hidden_size, _GATES.get(str(record.cell)))
    shares = record.gemm_ceiling_pct, record.recurrent_ceiling_pct
    if record.phase != "infer" or not record.gflop_per_s or not all(sizes) or not all(shares):
        return {}
    windows, hours, layers, hidden, gates = (int(size or 0) for size in sizes)
    products_s, chain_s = (float(share or 0) / 100 * record.median_s for share in shares)
    flop = record.gflop_per_s * 1e9 * record.median_s
    recurrent_flop = 2.0 * windows * hours * layers * gates * hidden**2
    free_s = max(0.0, 1 - recurrent_flop / flop) * products_s
    known = dict(zip(PRODUCTS, (free_s, chain_s - free_s, chain_s), strict=True))
    spent = _seconds_by_kind(record)
    return {kind: limit for kind, limit in known.items() if limit > 0 and kind in spent}


def counters_table(record: Record) -> Table:
    """Show what the CPU counted in the calls of a row, by window; or why it is not known."""
    counts = {
        "instructions": (record.instructions_per_call, record.why("instructions_per_call")),
        "cycles": (record.cycles_per_call, record.why("cycles_per_call")),
        "cache misses": (record.cache_misses_per_call, record.why("cache_misses_per_call")),
    }
    rows = [
        [name, None, why or _NOT_COUNTED] if count is None else [name, count / record.windows, None]
        for name, (count, why) in counts.items()
    ]
    return Table([*words("Counter"), *numbers("per window", show=significant), *words("why not")], rows)


def _of_two(run: Run, other: Run, text: str) -> tuple[str, dict[str, str]]:
    """Return the same of what changed from one run to another."""
    changes = [(before, now, difference(before, now)) for before, now in paired_records(run, other, text)]
    changes.sort(key=lambda one: -abs(one[2].change_s))
    parts = [
        "# What takes longer than before?\n",
        paragraph(inert(f"Before: {what_text(run)} Now: {what_text(other)}")),
        paragraph(
            "A flame graph has the operations of the later run, as wide as their time: red ones grew, blue ones shrank, "
            "grey ones are as they were. Each is one profiled call: what is small may be noise."
        ),
    ]
    flames: dict[str, str] = {}
    for index, (_, now, change) in enumerate(changes[:MOST_DRAWN], 1):
        frames = frames_of_change(profile_of(now), change)
        if not frames[0].seconds:
            continue
        alt = "One profiled call now: red grew, blue shrank since the run before"
        name = f"flame-{index}"
        flames[name] = flame_html(name, alt, frames, change_colour(frames))
        gone = [op for op in change.ops if op.head_s == 0]
        rows = [[op.op, op.base_s, op.head_s, op.change_s, op.where] for op in change.ops[:MOST_OPS]]
        columns = [*words("Operation"), *numbers("before", "now", show=time_text), *numbers("change", show=signed_time)]
        parts += [
            f"## {paragraph(inert(now.short_name))}",
            paragraph(
                f"{time_text(change.base_s)}, now {time_text(change.head_s)} a call: **{inert(explain(change))}**"
                + (f"; {counted(len(gone), 'operation')} gone." if gone else ".")
            ),
            picture_line(name, alt),
            *folded(
                "Its operations, most changed first, and the trace",
                [_trace_text(now), Table([*columns, *words("where")], rows).markdown()],
            ),
        ]
    rest = changes[MOST_DRAWN:]
    more = [[now.short_name, change.change_s, explain(change)] for _, now, change in rest]
    table = Table([*words("Benchmark"), *numbers("change", show=signed_time), *words("what grew")], more)
    parts += folded(f"{counted(len(rest), 'more benchmark')}, less changed", [table.markdown()] if rest else [])
    return "\n".join(parts), flames
