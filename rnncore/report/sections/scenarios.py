"""Scenarios by the names of MLPerf Inference, and streaming: what a model is used for, rather than one call of it."""

from collections.abc import Sequence
from typing import Any

from rnncore.amounts import counted
from rnncore.compare.choices import fastest_first
from rnncore.report.fold import folded
from rnncore.report.rows import of_usual_size, valid, way
from rnncore.report.section import Section, Shown
from rnncore.report.table import Table, inert, numbers, paragraph, words
from rnncore.report.words import compared_with, how, significant, time_text, times
from rnncore.runfile.record import Record, Run

# Of the most windows per second that any batch size gives.
KNEE_SHARE = 0.9


def scenarios_table(infer: Sequence[Record], serve: Sequence[Record]) -> Table:
    """Compare the ways to run each cell by scenario.

    Args:
        infer: Valid rows of the inference suite.
        serve: Valid rows of the serving suite.
    """
    ways: dict[tuple[str, str], tuple[list[Record], dict[bool, Record]]] = {}
    for record in of_usual_size(infer):
        ways.setdefault(_way(record), ([], {}))[0].append(record)
    for record in serve:
        ways.setdefault(_way(record), ([], {}))[1][record.batch_size > 1] = record
    rows = [
        [*of_way, *_call_texts(calls), *[_served(served.get(together)) for together in (False, True)]]
        for of_way, (calls, served) in sorted(ways.items(), key=lambda one: one[0])
    ]
    columns = numbers("SingleStream p90", "Offline windows/s", "knee", "Server windows/s", "in batches up to 32")
    return Table([*words("Cell", "Runtime"), *columns], rows)


def _way(record: Record) -> tuple[str, str]:
    return record.model_name, how(record)


def _call_texts(records: Sequence[Record]) -> list[str | None]:
    """Return SingleStream, Offline and the knee of rows of one way: the smallest batch from which more adds little."""
    if not records:
        return [None] * 3
    single = next((record.percentiles or {} for record in records if record.batch_size == 1), {}).get("p90")
    offline = fastest_first(records)[0]
    knee = min(int(one.batch_size) for one in records if one.windows_per_s >= KNEE_SHARE * offline.windows_per_s)
    return [
        time_text(float(single["s"])) if single else None,
        f"{significant(offline.windows_per_s)} (batch {offline.batch_size:,})",
        f"batch {knee:,}" if len(records) > 2 else None,
    ]


def _served(record: Record | None) -> str | None:
    if record is None:
        return None
    rate, bound_ms = record.served_per_s, 1e3 * float(record.p99_bound_s)
    return f"none within {bound_ms:g} ms" if rate is None else f"{significant(float(rate))} (p99 {bound_ms:g} ms)"


def streaming_table(records: Sequence[Record]) -> Table:
    """Compare one new hour with the whole window."""
    rows: list[list[Any]] = [
        [
            record.model_name,
            f"{record.num_layers} x {record.hidden_size}, {record.lookback} hours",
            record.batch_size,
            record.runtime_title if record.device == "cpu" else how(record),
            time_text(record.median_s),
            time_text(float(record.window_call_s)),
            f"{float(record.window_call_s) / record.median_s:.1f}x",
            record.smape,
            record.smape_by_windows,
        ]
        for record in sorted(
            records,
            key=lambda record: (record.model_name, record.batch_size, record.device, record.runtime, record.mode or ""),
        )
    ]
    columns = [
        *words("Model", "Sizes", "Series", "Runtime"),
        *numbers("next hour", "whole window", "saving"),
        *numbers("sMAPE carried", "by windows", show="{:.3f} %".format),
    ]
    return Table(columns, rows)


def parts(run: Run) -> list[str]:
    """Return the table of scenarios, where calls were looked at one by one, or served."""
    infer, serve = valid(run.phase("infer")), valid(run.phase("serve"))
    if not serve and all(record.disturbance is None for record in infer):
        return []
    note = paragraph(
        "SingleStream: one window after another, 90th percentile of a call. Offline: all windows at hand, at the batch size "
        "with most per second; the knee is the smallest with nine tenths of it. Server: windows that arrive by chance, one "
        "by one, and the highest rate at which 99 of 100 are answered within the bound, the waiting included."
    )
    return [note, scenarios_table(infer, serve).markdown()]


def text(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the scenarios of a run without single calls, which has them nowhere else."""
    return [] if valid(runs[0].phase("infer")) else parts(runs[0])


def streamed(run: Run) -> list[Record]:
    """Return the valid rows of the streaming suite."""
    return valid(run.phase("stream"))


def text_of_streaming(runs: Sequence[Run], shown: Shown) -> list[str]:
    """Return the most that carrying the state saves, and the table of streaming, folded."""
    records = streamed(runs[0])
    most = max(records, key=lambda record: float(record.window_call_s) / record.median_s)
    saving = compared_with(times(most.median_s / float(most.window_call_s)), "the whole window again")
    said = (
        f"One new hour with the state carried takes **{time_text(most.median_s)}** by {inert(way(most))}, {saving} "
        f"({most.batch_size:,} series at once), the most of {counted(len(records), 'row')}."
    )
    note = paragraph(
        "Against the whole window again in the same runtime. The state of a stream has seen more than a window's hours, so "
        "its sMAPE is another."
    )
    table = streaming_table(records).markdown()
    return [paragraph(said), *folded("Each model, and what it does to the sMAPE", [note, table])]


SECTION = Section("## How many can be served?", text)
STREAMING = Section("## What does carrying the state save?", text_of_streaming, needs=streamed)
