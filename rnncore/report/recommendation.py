"""A recommendation in words, with the lines of code that use it."""

from typing import Any

from rnncore.amounts import time_unit
from rnncore.compare.choices import Choice, Recommendation
from rnncore.report.words import how, significant
from rnncore.runfile.recipes import OWN_SIZES, SIZES
from rnncore.runfile.record import Record

_AXES = ("cell", "recipe", *SIZES, "runtime", "mode", "device", "precision", "batch_size", "threads")

_CODE = """\
from pathlib import Path

import numpy as np

{imports}

{model}
inputs = np.zeros({shape}, dtype=np.float32)  # put your windows here: (B, T, F)
with open_runtime("{record.runtime}", model, "{record.device}", "{record.precision}", {options}) as runtime:
    forecasts = runtime.predict(inputs)
"""

_OPEN = "from rnncore.runtimes.catalog import open_runtime"
_LOAD = "from rnncore.forecast.model import load_forecaster"
_MAKE = "from rnncore.runtimes.own_model import load_own_model"
_EXPORT = "from rnncore.runtimes.export import export_module"


def recommendation_text(found: Recommendation) -> str:
    """Return a recommendation as text for a terminal: the code that uses it, and last what it is."""
    lines = [_code(found.best).rstrip(), ""]
    if found.left_out:
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(found.left_out.items()))
        lines.append(f"Left out: {reasons}")
    if found.best.smape is not None:
        lines.append("sMAPE is that of the same model as the accuracy suite trained it, run in the same way.")
    if found.runner_up and found.lead:
        lines += [f"Next: {_in_words(found.runner_up)}", f"Sure: {_how_sure(found)}"]
    else:
        lines += ["Sure: nothing else keeps the bounds"]
    return "\n".join([*lines, f"Best: {_in_words(found.best)}"])


def recommendation_facts(found: Recommendation) -> dict[str, Any]:
    """Return a recommendation as JSON values."""
    lead = found.lead
    return {
        "best": _facts(found.best),
        "runner_up": _facts(found.runner_up) if found.runner_up else None,
        "lead": {"ratio": lead.estimate, "low": lead.low, "high": lead.high} if lead else None,
        "sure": found.is_sure,
        "within_bounds": found.within,
        "left_out": found.left_out,
        "code": _code(found.best),
    }


def _in_words(choice: Choice) -> str:
    record = choice.record
    scale, unit = time_unit([record.median_s])
    few = choice.latency_statistic == "median"
    tail = "too few single calls for a p90" if few else f"p90 {significant(choice.latency_s / scale)} {unit}"
    known = choice.smape is not None and choice.smape_loss is not None
    smape = f"{choice.smape:.3f} % ({choice.smape_loss:.3f} above the best)" if known else "not measured"
    return (
        f"{record.model_name} in {how(record)}, batch {record.batch_size:,}: "
        f"median {significant(record.median_s / scale)} {unit} per call, {tail}, "
        f"{significant(record.windows_per_s)} windows/s, sMAPE {smape}"
    )


def _how_sure(found: Recommendation) -> str:
    lead = found.lead
    if lead is None or lead.low is None or lead.high is None:
        return "too few rounds to tell the two apart; measure longer with --benchmark-max-time"
    span = f"{lead.estimate:.2f}x ({lead.low:.2f} to {lead.high:.2f}, 99 %)"
    if found.is_sure:
        return f"the best takes less time per window, the next {span}; quick half of the rounds of one process"
    return (
        f"the interval does not separate the two: the next takes {span} of the time; quick half of the rounds of one process"
    )


def _facts(choice: Choice) -> dict[str, Any]:
    return {
        **dict(zip(_AXES, choice.record.axes(_AXES), strict=True)),
        "benchmark": choice.record.fullname,
        "median_s": choice.record.median_s,
        "latency_s": choice.latency_s,
        "latency_statistic": choice.latency_statistic,
        "windows_per_s": choice.record.windows_per_s,
        "smape": choice.smape,
        "smape_loss": choice.smape_loss,
    }


def _code(choice: Choice) -> str:
    """Return code that makes or names the choice's own model, and runs it in the choice's own way."""
    record = choice.record
    if record.runtime_reads is None:
        return f"# {record.runtime} is none of rnncore's runtimes: see how {record.fullname} runs it.\n"
    imports, model, shape = (_own_model if record.recipe == "own" else _trained_model)(record)
    options = f"threads={record.threads}" + (f', mode="{record.mode}"' if record.mode else "")
    return _CODE.format(
        record=record, options=options, imports="\n".join(sorted([*imports, _OPEN])), model=model, shape=shape
    )


def _trained_model(record: Record) -> tuple[list[str], str, str]:
    """Return the imports, the lines that give the model, and the shape of its windows: of a preset's model."""
    cell, recipe = record.cell, record.recipe
    stem = f"{cell}-{recipe}" if recipe else cell
    train = f"rnncore train --cell {cell} --preset {recipe} --out {stem}.safetensors"
    if recipe not in OWN_SIZES:
        train = f"{stem}.safetensors is a model of your own: the row names no preset that trains it"
    if record.runtime_reads == "forecaster":
        lines = f'# {train}\nmodel, windows = load_forecaster(Path("{stem}.safetensors"))'
        return [_LOAD], lines, f"({record.batch_size}, windows.lookback, model.config.input_size)"
    lines = f'# {train}\n# rnncore export {stem}.safetensors --out {stem}.onnx\nmodel = Path("{stem}.onnx")'
    return [], lines, _shape(record)


def _own_model(record: Record) -> tuple[list[str], str, str]:
    """Return the same of a model that `--rnn-model` named."""
    made = f'load_own_model("{record.model}", Path.cwd())'
    if record.runtime_reads == "forecaster":
        return [_MAKE], f"model = {made}", _shape(record)
    sizes = f"lookback={record.lookback}, features={record.features}"
    lines = f'model = Path("own.onnx")\nexport_module({made}, model, {sizes})'
    return [_MAKE, _EXPORT], lines, _shape(record)


def _shape(record: Record) -> str:
    return f"({record.batch_size}, {record.lookback or 'hours'}, {record.features or 'features'})"
