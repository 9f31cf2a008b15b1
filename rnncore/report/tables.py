"""Markdown tables: numbers in one unit per column, words for what they mean."""

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from rnncore.compare.profile import TIME_UNITS
from rnncore.runfile.recipes import ARTICLE, SIZES
from rnncore.runfile.record import Record, Run

# Of the standard normal distribution, two-sided.
NORMAL_95 = 1.96

# Significant digits of a figure whose interval leaves meaning to more.
MOST_DIGITS = 4

# Phases whose models are trained before they are measured.
SCORED = ("accuracy", "stream")

_YES_NO = {"True": "yes", "False": "no"}

BASELINE_NAMES = {
    "persistence": "Persistence, y[t-1]",
    "seasonal_naive_24": "Same hour yesterday",
    "seasonal_naive_168": "Same hour a week ago",
    "ar_90": "AR(90), least squares",
    "per_hour_regressions": "24 per-hour regressions",
}


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table, the first *left* columns aligned left and the rest right."""
    rule = ["---" if index < left else "--:" for index in range(len(head))]
    lines = [[escape(text) for text in head], rule, *[[escape(text) for text in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def paragraph(text: str) -> str:
    """Return a paragraph in which text that came from a file stays text."""
    return escape(text) + "\n"


def escape(text: str) -> str:
    """Return text that is no HTML and stays on one line in one cell."""
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), ("\n", " "), ("\r", " ")):
        text = text.replace(character, escaped)
    # An odd backslash before a bar would be taken for its escape, and the bar would end the cell.
    return re.sub(r"(\\*)\|", lambda found: found[1] + "\\" * (len(found[1]) % 2) + r"\|", text)


def time_unit(seconds: Iterable[float]) -> tuple[float, str]:
    """Return the scale and name of the unit in which the smallest of the times reads as at least 1."""
    smallest = min(seconds)
    for scale, name in TIME_UNITS:
        if smallest >= scale:
            return scale, name
    return TIME_UNITS[-1]


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, thousands apart, no exponent."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    return _to_decimals(value, _decimals(value, digits))


def between(low: float, value: float, high: float, digits: int = 3) -> tuple[str, str, str]:
    """Return a value and the bounds that hold it, such that they hold it as they are written too.

    Args:
        low: Lower bound; three significant digits.
        value: What lies between.
        high: Upper bound; three significant digits.
        digits: Significant digits of the value. Where its rounding would put it out of bounds, all three get as many
            decimals as any of them.
    """
    decimals = [_decimals(low, 3), _decimals(value, digits), _decimals(high, 3)]
    rounded = [round(one, places) for one, places in zip((low, value, high), decimals, strict=True)]
    if sorted(rounded) != rounded:
        decimals = [max(decimals)] * 3
    low_text, text, high_text = (_to_decimals(*one) for one in zip((low, value, high), decimals, strict=True))
    return low_text, text, high_text


def _decimals(value: float, digits: int) -> int:
    return digits - 1 - _exponent(value)


def _to_decimals(value: float, decimals: int) -> str:
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def measured(value: float, record: Record) -> str:
    """Return a figure that goes with a record's median, with as many digits as the median's interval leaves meaning.

    Args:
        value: The median in some unit, or what follows from it, such as windows per second.
        record: Tells how well the median is known.
    """
    return significant(value, _digits(value, record)) if math.isfinite(value) else str(value)


def _digits(value: float, record: Record) -> int:
    half = value * half_interval(record.rounds_s)
    # Down to the first digit of the half interval.
    return MOST_DIGITS if not half else min(MOST_DIGITS, max(2, _exponent(value) - _exponent(half) + 1))


def half_interval(rounds_s: Sequence[float]) -> float:
    """Return half the 95 % interval of the median of some rounds, as a share of it.

    Source:
        Conover, W. J. (1999). Practical nonparametric statistics, 3rd ed., section 3.2: order statistics as confidence
        limits of a quantile, by the normal approximation to the binomial.
    """
    ordered, count = sorted(rounds_s), len(rounds_s)
    first = max(0, int(count / 2 - NORMAL_95 * math.sqrt(count) / 2))
    return (ordered[count - 1 - first] - ordered[first]) / 2 / statistics.median(ordered)


def _exponent(value: float) -> int:
    return int(f"{abs(value):e}".split("e")[1])


def times(ratio: float) -> str:
    """Return a ratio in words: `1.33x slower`, `1.20x faster` or `equal`."""
    if 0.995 <= ratio <= 1.005:
        return "equal"
    return f"{ratio:.2f}x slower" if ratio > 1 else f"{1 / ratio:.2f}x faster"


def bytes_text(count: int | None) -> str:
    """Return a number of bytes in MiB, or a dash."""
    return "–" if count is None else f"{count / 2**20:,.0f} MiB"


def gflop_text(record: Record) -> str:
    """Return what a record reaches of floating-point operations, and of the machine's best, or a dash."""
    rate, share_pct = record.gflop_per_s, record.gemm_ceiling_pct
    if rate is None:
        return "–"
    return measured(float(rate), record) + ("" if share_pct is None else f" ({share_pct:.0f} %)")


def how(record: Record) -> str:
    """Name the runtime, device and precision of a record."""
    parts = [str(record.runtime_title), {"cpu": "CPU", "cuda": "CUDA"}.get(record.device, str(record.device))]
    parts += [str(record.precision)] if record.precision else []
    parts += ["with copies"] if record.clock == "host to host" else []
    return ", ".join(parts)


def cell_name(record: Record) -> str:
    """Name the model of a record by its cell, with its recipe where that is not the article's: GRU, GRU fast."""
    return record.model_name


def valid(records: Iterable[Record]) -> list[Record]:
    """Leave out records whose result is wrong."""
    return [record for record in records if record.is_valid]


def by_recipe(records: Iterable[Record]) -> dict[str | None, list[Record]]:
    """Return records by the recipe of their model: the article's first, the others as they come."""
    found: dict[str | None, list[Record]] = {}
    for record in sorted(records, key=lambda record: record.recipe != ARTICLE):
        found.setdefault(record.recipe, []).append(record)
    return found


def of_usual_size(records: Iterable[Record]) -> list[Record]:
    """Leave out models and threads that a sweep added: other sizes than the recipe's own, other threads than most have."""
    found = [record for record in records if record.recipe is None or record.is_own_size]
    threads = Counter(record.threads for record in found).most_common(1)
    return [record for record in found if record.threads == threads[0][0]]


def inference_table(records: list[Record]) -> str:
    """Compare cells and runtimes at one batch size: times, rates, and ratios to PyTorch's GRU on the CPU."""
    base = base_of(records)
    scale, unit = time_unit(record.median_s for record in records)
    rows = []
    for record in sorted(records, key=lambda record: record.median_s):
        gru = _same_but_cell(record, records)
        rows.append(
            [
                how(record),
                cell_name(record),
                str(record.kernel or "–"),
                *_time_cells(record, scale),
                measured(record.windows_per_s, record),
                gflop_text(record),
                times(record.median_s / base.median_s) if base and record is not base else "–",
                times(record.median_s / gru.median_s) if gru else "–",
            ]
        )
    base_name = f"against {how(base)}, GRU" if base else "against base"
    head = ["Runtime", "Cell", "Kernel", f"median {unit}", f"min–max {unit}", "windows/s", "GFLOP/s (of ceiling)"]
    return markdown_table([*head, base_name, "LSTM against GRU"], rows, left=3)


def base_of(records: Iterable[Record]) -> Record | None:
    """Return what the others are held against, PyTorch's GRU: on the CPU, or where only a GPU was measured, on that."""
    bases = [record for record in records if _is_base(record)]
    return min(bases, key=lambda record: record.device != "cpu", default=None)


def _is_base(record: Record) -> bool:
    kind = (record.runtime, record.cell, record.precision, record.clock or "device only")
    return kind == ("torch", "gru", "fp32", "device only")


def _same_but_cell(record: Record, records: list[Record]) -> Record | None:
    """Return the GRU record beside an LSTM record."""
    if record.cell != "lstm":
        return None
    axes = ("recipe", "runtime", "device", "precision", "batch_size", *SIZES, "threads", "clock")
    return next(
        (other for other in records if other.cell == "gru" and other.axes(axes) == record.axes(axes)),
        None,
    )


def _time_cells(record: Record, scale: float) -> list[str]:
    low, median, high = _low_median_high(record, scale)
    return [median, f"{low}–{high}"]


def _low_median_high(record: Record, scale: float) -> tuple[str, str, str]:
    median, times_s = record.median_s / scale, record.rounds_s
    return between(min(times_s) / scale, median, max(times_s) / scale, _digits(median, record))


def training_table(records: list[Record]) -> str:
    """Compare the cells' optimiser steps."""
    scale, unit = time_unit(record.median_s for record in records)
    rows = []
    for record in records:
        gru = _same_but_cell(record, records)
        rows.append(
            [
                how(record),
                cell_name(record),
                str(record.kernel or "–"),
                f"{record.batch_size:,}",
                *_time_cells(record, scale),
                measured(record.windows_per_s, record),
                gflop_text(record),
                times(record.median_s / gru.median_s) if gru else "–",
            ]
        )
    head = ["Runtime", "Cell", "Kernel", "batch", f"median {unit}", f"min–max {unit}", "windows/s", "GFLOP/s (of ceiling)"]
    return markdown_table([*head, "LSTM against GRU"], rows, left=3)


def accuracy_table(records: list[Record]) -> str:
    """Show sMAPE beside the time to train and to score."""
    scale, unit = time_unit(record.median_s for record in records)
    rows = [
        [
            how(record),
            cell_name(record),
            f"{record.smape:.3f}",
            f"{record.smape_article:.3f}",
            significant(record.mae_mw),
            f"{record.training['seconds']:.1f}",
            *_time_cells(record, scale),
            measured(record.windows_per_s, record),
        ]
        for record in records
    ]
    head = ["Scored by", "Cell", "sMAPE %", "article's sMAPE %", "MAE MW", "training s", f"scoring {unit}"]
    return markdown_table([*head, f"min–max {unit}", "windows/s"], rows, left=2)


def baseline_table(smape_pct: Mapping[str, float]) -> str:
    """Show what simple rules score on the same hours."""
    rows = [[BASELINE_NAMES.get(name, name), f"{value:.3f}"] for name, value in smape_pct.items()]
    return markdown_table(["Baseline", "sMAPE %"], rows)


def data_table(records: list[Record]) -> str:
    """Show the data path."""
    rows = []
    for record in records:
        scale, unit = time_unit([record.median_s])
        batch_size = record.batch_size
        what = f"one batch of {batch_size:,}" if batch_size else "files to ready windows"
        median, spread = _time_cells(record, scale)
        rows.append(
            [
                what,
                how(record),
                f"{median} {unit}",
                f"{spread} {unit}",
                measured(record.windows_per_s, record),
            ]
        )
    return markdown_table(["Step", "By", "median", "min–max", "windows/s"], rows, left=2)


def machine_table(runs: list[Run]) -> str:
    """Put the machines of runs side by side; facts that differ are bold."""
    facts = [machine_facts(run) for run in runs]
    rows = []
    for name in facts[0]:
        values = [fact[name] for fact in facts]
        differ = len(set(values)) > 1
        rows.append([name, *[f"**{value}**" if differ else value for value in values]])
    names = lettered_names(runs) if len(runs) > 1 else run_names(runs)
    return markdown_table(["Fact", *names], rows, left=1 + len(runs))


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return short names of runs, no two alike: their files', or else their machines', or else with their folders."""
    for names in (
        [run.path.name for run in runs],
        [_machine_name(run) for run in runs],
        *([_last_parts(run.path, count) for run in runs] for count in range(2, _deepest(runs) + 1)),
    ):
        if len(set(names)) == len(runs):
            return names
    return [f"{run.path.name} ({letter(index)})" for index, run in enumerate(runs)]


def _machine_name(run: Run) -> str:
    """Name the CPU and the GPU of a run."""
    known = (run.fingerprint.get("cpu"), (run.fingerprint.get("gpu") or {}).get("name"))
    return ", ".join(str(name) for name in known if name) or "unknown CPU"


def _last_parts(path: Path, count: int) -> str:
    return PurePath(*path.absolute().parts[-count:]).as_posix()


def _deepest(runs: Sequence[Run]) -> int:
    return max(len(run.path.absolute().parts) for run in runs)


def lettered_names(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs among several, each after its letter."""
    return [f"{letter(index)}: {name}" for index, name in enumerate(run_names(runs))]


def letter(index: int) -> str:
    """Return the letter of a run among several: A is the first, and AA comes after Z."""
    before, last = divmod(index, 26)
    return (letter(before - 1) if before else "") + chr(ord("A") + last)


def machine_facts(run: Run) -> dict[str, str]:
    """Return what a reader wants to know of the machine, as text."""
    fingerprint = run.fingerprint
    gpu = fingerprint.get("gpu")
    packages = fingerprint.get("packages", {})
    return {
        "CPU": str(fingerprint.get("cpu")),
        "Vector instructions": ", ".join(name for name, there in (fingerprint.get("isa") or {}).items() if there) or "–",
        "CPUs, threads used": f"{fingerprint.get('cpus')}, {fingerprint.get('threads')}",
        "Governor": str(fingerprint.get("governor") or "–"),
        "Virtual machine": _YES_NO.get(str(fingerprint.get("virtual_machine")), "–"),
        "Memory": bytes_text(fingerprint.get("memory_bytes")),
        "GPU": _gpu_text(gpu),
        "System": f"{fingerprint.get('system')}, Python {fingerprint.get('python')}",
        "Packages": ", ".join(f"{name} {version}" for name, version in packages.items() if version),
        "Data": f"{run.data['name']} ({run.data['digest'][:12]})" if run.data else "none",
        "Commit": run.commit or "not in git",
    }


def _gpu_text(gpu: dict[str, Any] | None) -> str:
    if gpu is None:
        return "none"
    software = (("cuda", "CUDA"), ("cudnn", "cuDNN"), ("driver", "driver"))
    known = [f"{name} {gpu[key]}" for key, name in software if gpu.get(key)]
    return ", ".join([gpu["name"], bytes_text(gpu.get("memory_bytes")), *known])


def side_by_side_accuracy_table(runs: list[Run]) -> str:
    """Put the sMAPE of each scored model in each run side by side."""
    scores = [{record.short_name: f"{record.smape:.3f}" for record in valid(run.phase("accuracy"))} for run in runs]
    names = dict.fromkeys(name for by_name in scores for name in by_name)
    letters = [letter(index) for index in range(len(runs))]
    return markdown_table(["Benchmark", *letters], [[name, *[of.get(name, "–") for of in scores]] for name in names])


def side_by_side_table(runs: list[Run]) -> str:
    """Put every benchmark's time in each run side by side, with the ratio to the first run."""
    by_name = [{record.fullname: record for record in valid(run.records)} for run in runs]
    names = list(dict.fromkeys(name for records in by_name for name in records))
    rows = []
    for name in names:
        here = [records.get(name) for records in by_name]
        scale, unit = time_unit(record.median_s for record in here if record)
        cells = [f"{measured(record.median_s / scale, record)} {unit}" if record else "–" for record in here]
        first = here[0]
        ratios = [times(record.median_s / first.median_s) if record and first else "–" for record in here[1:]]
        rows.append([name.split("::")[-1], *cells, *ratios])
    letters = [letter(index) for index in range(len(runs))]
    head = ["Benchmark", *letters, *[f"{name} against A" for name in letters[1:]]]
    return markdown_table(head, rows)


def results_table(records: list[Record]) -> str:
    """Show every row with its axes, times and what stands beside them; one unit for all times, that of the middle row."""
    scale, unit = time_unit([statistics.median(record.median_s for record in records)]) if records else TIME_UNITS[-1]
    spans = [_low_median_high(record, scale) for record in records]
    rows = [
        [
            record.short_name,
            str(record.phase or "–"),
            str(record.cell or "–").upper(),
            how(record),
            _whole(record.batch_size),
            median,
            low,
            high,
            str(len(record.rounds_s)),
            measured(record.windows_per_s, record),
            gflop_text(record).split(" ")[0],
            # Of rows that time a forecast it is that of a model that was never trained.
            _smape_text(record.smape if record.phase in SCORED else None),
            record.validity,
        ]
        for record, (low, median, high) in zip(records, spans, strict=True)
    ]
    head = ["Benchmark", "phase", "cell", "runtime", "batch", f"median {unit}", f"min {unit}", f"max {unit}", "rounds"]
    return markdown_table([*head, "windows/s", "GFLOP/s", "sMAPE %", "result"], rows, left=4)


def _whole(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"


def _smape_text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "–"
