"""All results as one flat table, for spreadsheets and data frames."""

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnncore.files import whole_file
from rnncore.report.rows import PERCENTILES, tail_of
from rnncore.report.words import run_names
from rnncore.runfile.record import EXTRA_INFO, Record, Run

if TYPE_CHECKING:
    import pyarrow as pa

# Before the names of columns of what benchmarks of other suites recorded.
NUMBERS = f"{EXTRA_INFO}."

# Columns of percentiles.
_TAILS = {percentile: f"p{percentile}_s" for percentile in PERCENTILES}

# Facts of a record that are columns, by their type.
_FACTS: Mapping[type, tuple[str, ...]] = {
    str: ("phase", "cell", "recipe", "device", "runtime", "mode", "precision", "kernel", "bound"),
    int: ("hidden_size", "num_layers", "lookback", "batch_size", "threads", "windows", "disturbed_rounds"),
    float: (
        *("gflop_per_s", "gemm_ceiling_pct", "recurrent_ceiling_pct", "cache_ceiling_pct", "bandwidth_ceiling_pct"),
        "us_per_step",
        *("smape", "smape_article", "mae_mw", "parity_max_abs", "first_call_s"),
        *("peak_rss_bytes", "model_rss_bytes", "process_device_bytes", "peak_device_bytes", "joules_per_1000"),
    ),
}


_TIMES = ("median_s", "min_s", "max_s", *_TAILS.values(), "windows_per_s", *_FACTS[float])


def result_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return one row per benchmark and run: names, axes, times in seconds, and what was recorded beside them."""
    every = list(runs)
    files = [run.path.name for run in every]
    names = files if len(set(files)) == len(files) else run_names(every)
    return [
        {
            "run": name,
            "datetime": run.datetime,
            "commit": run.commit,
            "benchmark": record.fullname,
            "group": record.group,
            **_facts(record, str),
            **_facts(record, int),
            "rounds": record.rounds,
            "median_s": record.median_s,
            "min_s": record.quickest_s,
            "max_s": record.slowest_s,
            **{name: tail.seconds if (tail := tail_of(record, one)) else None for one, name in _TAILS.items()},
            "windows_per_s": record.windows_per_s if record.has_case else None,
            **_facts(record, float),
            "validity": record.validity,
            **{f"{NUMBERS}{name}": value for name, value in record.numbers.items()},
        }
        for name, run in zip(names, every, strict=True)
        for record in run.records
    ]


def _facts(record: Record, kind: type) -> dict[str, Any]:
    """Return the facts of one type; one of another type is as good as unknown."""
    values = {name: getattr(record, name) for name in _FACTS[kind]}
    known = (int, float) if kind is float else kind
    return {name: kind(value) if isinstance(value, known) else None for name, value in values.items()}


def _column(values: Sequence[Any], kind: "pa.DataType") -> "pa.Array":
    """Return texts, whole numbers or numbers as a column, None where one is not known.

    It is put together from its memory: where Arrow looks at values itself it asks pandas for its types first, and loading
    that takes as long as all the rest.
    """
    import numpy as np
    import pyarrow as pa

    known = [value is not None for value in values]
    unknown = known.count(False)
    validity = pa.py_buffer(np.packbits(known, bitorder="little").tobytes()) if unknown else None
    if pa.types.is_string(kind):
        texts = [(value or "").encode() for value in values]
        offsets = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        buffers = [validity, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(texts))]
    else:
        numbers = np.array([value or 0 for value in values], dtype=np.int64 if pa.types.is_integer(kind) else np.float64)
        buffers = [validity, pa.py_buffer(numbers.tobytes())]
    return pa.Array.from_buffers(kind, len(values), buffers, unknown)


def write_results(rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Write `results.csv` and `results.parquet`; return their paths."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    texts = [(name, pa.string()) for name in ("run", "datetime", "commit", "benchmark", "group", *_FACTS[str])]
    counts = [(name, pa.int64()) for name in (*_FACTS[int], "rounds")]
    times = [(name, pa.float64()) for name in _TIMES]
    numbers = [(name, pa.float64()) for name in dict.fromkeys(key for row in rows for key in row if key.startswith(NUMBERS))]
    schema = pa.schema([*texts, *counts, *times, ("validity", pa.string()), *numbers])
    if all(row["phase"] is None for row in rows):
        # Of other suites alone: without the columns of what only ours have.
        known = {name for row in rows for name, value in row.items() if value is not None}
        schema = pa.schema([field for field in schema if field.name in known or field.name == "commit"])
    table = pa.Table.from_arrays(
        [_column([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema
    )
    written = []
    for name, write in (("results.csv", pyarrow.csv.write_csv), ("results.parquet", pyarrow.parquet.write_table)):
        buffer = BytesIO()
        write(table, buffer)
        with whole_file(folder / name) as temporary:
            temporary.write_bytes(buffer.getvalue())
        written.append(folder / name)
    return written
