"""Scenarios by the names of MLPerf Inference, and streaming: what a model is used for, rather than one call of it."""

from collections.abc import Sequence
from typing import Any

from rnncore.report.rows import of_usual_size
from rnncore.report.table import markdown_table
from rnncore.report.words import how, measured, significant, time_unit
from rnncore.runfile.record import Record

# Of the most windows per second that any batch size gives.
KNEE_SHARE = 0.9

SCENARIOS_NOTE = (
    "SingleStream: one window after another, 90th percentile of a call. Offline: all windows at hand, at the batch size "
    "with most per second; the knee is the smallest with nine tenths of it. Server: windows that arrive by chance, one by "
    "one, and the highest rate at which 99 of 100 are answered within the bound, the waiting included.\n"
)

STREAMING_NOTE = (
    "One new hour for each series with the state carried, against the whole window again in the same runtime. The state of "
    "a stream has seen more than a window's hours, so its sMAPE is another.\n"
)


def scenarios_table(infer: Sequence[Record], serve: Sequence[Record]) -> str:
    """Compare the ways to run each cell by scenario.

    Args:
        infer: Valid rows of the inference suite.
        serve: Valid rows of the serving suite.
    """
    rows, infer = [], of_usual_size(infer)
    for way in sorted({_way(record) for record in (*infer, *serve)}):
        of_way = [record for record in infer if _way(record) == way]
        rows.append([*way, *_call_texts(of_way), *_server_texts(way, serve)])
    head = ["Cell", "Runtime", "SingleStream p90", "Offline windows/s", "knee", "Server windows/s", "in batches up to 32"]
    return markdown_table(head, rows, left=2)


def streaming_table(records: Sequence[Record]) -> str:
    """Compare one new hour with the whole window."""
    rows = []
    for record in sorted(records, key=_stream_order):
        scale, unit = time_unit([record.median_s])
        window_scale, window_unit = time_unit([float(record.window_call_s)])
        rows.append(
            [
                record.model_name,
                f"{record.num_layers} x {record.hidden_size}, {record.lookback} hours",
                f"{record.batch_size:,}",
                str(record.runtime_title),
                f"{measured(record.median_s / scale, record)} {unit}",
                f"{significant(float(record.window_call_s) / window_scale)} {window_unit}",
                f"{float(record.window_call_s) / record.median_s:.1f}x",
                _percent(record.smape),
                _percent(record.smape_by_windows),
            ]
        )
    head = ["Cell", "Model", "Series", "Runtime", "next hour", "whole window", "saving", "sMAPE carried", "by windows"]
    return markdown_table(head, rows, left=4)


def _stream_order(record: Record) -> tuple[Any, ...]:
    return record.model_name, record.batch_size, record.runtime, record.mode


def _percent(value: Any) -> str:
    return "–" if value is None else f"{float(value):.3f} %"


def _way(record: Record) -> tuple[str, str]:
    return record.model_name, how(record)


def _call_texts(records: Sequence[Record]) -> list[str]:
    """Return SingleStream, Offline and the knee of rows of one way."""
    if not records:
        return ["–"] * 3
    single = next((record for record in records if record.batch_size == 1), None)
    offline = max(records, key=lambda record: record.windows_per_s)
    return [_single_text(single), _offline_text(offline), _knee_text(records)]


def _single_text(record: Record | None) -> str:
    p90 = ((record.percentiles or {}) if record else {}).get("p90")
    if record is None or not p90:
        return "–"
    scale, unit = time_unit([float(p90["s"])])
    return f"{significant(float(p90['s']) / scale)} {unit}"


def _offline_text(record: Record) -> str:
    return f"{measured(record.windows_per_s, record)} (batch {record.batch_size:,})"


def _knee_text(records: Sequence[Record]) -> str:
    """Return the smallest batch size from which on more windows per call add little."""
    most = max(record.windows_per_s for record in records)
    knee = min(int(one.batch_size) for one in records if one.windows_per_s >= KNEE_SHARE * most)
    return f"batch {knee:,}" if len(records) > 2 else "–"


def _server_texts(way: tuple[str, str], serve: Sequence[Record]) -> list[str]:
    """Return the rates served one by one, and together."""
    found = {record.batch_size > 1: record for record in serve if _way(record) == way}
    return [_served(found.get(together)) for together in (False, True)]


def _served(record: Record | None) -> str:
    if record is None:
        return "–"
    rate, bound_ms = record.served_per_s, 1e3 * float(record.p99_bound_s)
    return f"none within {bound_ms:g} ms" if rate is None else f"{significant(float(rate))} (p99 {bound_ms:g} ms)"
