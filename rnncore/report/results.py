"""All results as one flat table, for spreadsheets and data frames."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from rnncore.files import whole_file
from rnncore.report.words import run_names
from rnncore.runfile.record import Record, Run

_TEXTS = ("phase", "cell", "recipe", "device", "runtime", "mode", "precision", "kernel", "bound")
_COUNTS = ("hidden_size", "num_layers", "lookback", "batch_size", "threads", "windows", "disturbed_rounds")
_NUMBERS = (
    *("gflop_per_s", "gemm_ceiling_pct", "recurrent_ceiling_pct", "bandwidth_ceiling_pct", "us_per_step"),
    *("smape", "smape_article", "mae_mw", "parity_max_abs", "first_call_s"),
    *("peak_rss_bytes", "model_rss_bytes", "peak_device_bytes", "joules_per_1000"),
)


def result_rows(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return one row per benchmark and run: names, axes, times in seconds, and what stands beside them."""
    every = list(runs)
    return [_row(name, run, record) for name, run in zip(run_names(every), every, strict=True) for record in run.records]


def write_results(rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Write `results.csv` and `results.parquet`; return their paths."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    table = pa.Table.from_pylist(rows, schema=_schema())
    written = []
    for name, write in (("results.csv", pyarrow.csv.write_csv), ("results.parquet", pyarrow.parquet.write_table)):
        buffer = BytesIO()
        write(table, buffer)
        with whole_file(folder / name) as temporary:
            temporary.write_bytes(buffer.getvalue())
        written.append(folder / name)
    return written


def _row(name_of_run: str, run: Run, record: Record) -> dict[str, Any]:
    return {
        "run": name_of_run,
        "datetime": run.datetime,
        "commit": run.commit,
        "benchmark": record.fullname,
        "group": record.group,
        **{name: _text(getattr(record, name)) for name in _TEXTS},
        **{name: _count(getattr(record, name)) for name in _COUNTS},
        "rounds": len(record.rounds_s),
        "median_s": record.median_s,
        "min_s": min(record.rounds_s),
        "max_s": max(record.rounds_s),
        "windows_per_s": record.windows_per_s,
        **{name: _number(getattr(record, name)) for name in _NUMBERS},
        "validity": record.validity,
    }


def _schema() -> Any:
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("run", "datetime", "commit", "benchmark", "group", *_TEXTS)]
    counts = [(name, pa.int64()) for name in (*_COUNTS, "rounds")]
    times = [(name, pa.float64()) for name in ("median_s", "min_s", "max_s", "windows_per_s", *_NUMBERS)]
    return pa.schema([*texts, *counts, *times, ("validity", pa.string())])


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
