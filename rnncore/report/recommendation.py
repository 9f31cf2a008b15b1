"""A recommendation in words, with the lines of code that use it."""

from typing import Any

from rnncore.compare.recommend import Choice, Recommendation
from rnncore.report import tables

# What reads the file that `rnncore export` writes; a runtime of another package is taken to read forecasters.
_NEEDS_A_FILE = ("onnxruntime", "openvino")

_CODE_OF_FORECASTER = """\
from pathlib import Path
from rnncore.forecast.model import load_forecaster
from rnncore.runtimes.catalog import open_runtime

model, windows = load_forecaster(Path("{cell}.safetensors"))  # rnncore train --cell {cell} --out {cell}.safetensors
with open_runtime("{runtime}", model, "{device}", "{precision}", threads={threads}) as runtime:
    forecasts = runtime.predict(inputs)  # float32 of shape ({batch_size}, hours, features)
"""

_CODE_OF_FILE = """\
from pathlib import Path
from rnncore.runtimes.catalog import open_runtime

model = Path("{cell}.onnx")  # rnncore export {cell}.safetensors --out {cell}.onnx
with open_runtime("{runtime}", model, "{device}", "{precision}", threads={threads}) as runtime:
    forecasts = runtime.predict(inputs)  # float32 of shape ({batch_size}, hours, features)
"""


def recommendation_text(found: Recommendation) -> str:
    """Return a recommendation as text for a terminal."""
    lines = [f"Best: {_told(found.best)}"]
    if found.runner_up and found.lead:
        lines += [f"Next: {_told(found.runner_up)}", f"Sure: {_how_sure(found)}"]
    else:
        lines += ["Sure: nothing else keeps the bounds"]
    if found.left_out:
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(found.left_out.items()))
        lines.append(f"Left out: {reasons}")
    if found.best.smape is not None:
        lines.append("sMAPE is that of the model that the accuracy suite trained, run in the same way.")
    return "\n".join([*lines, "", _code(found.best).rstrip()])


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


def _told(choice: Choice) -> str:
    record = choice.record
    scale, unit = tables.time_unit([record.median_s])
    said = (
        f"{tables.cell_name(record)} in {tables.how(record)}, batch {record.extra['batch_size']:,}: "
        f"{tables.measured(record.median_s / scale, record)} {unit} per call, "
        f"p90 {tables.significant(choice.latency_s / scale)} {unit}, "
        f"{tables.measured(record.windows_per_s, record)} windows/s"
    )
    if choice.smape is None or choice.smape_loss is None:
        return f"{said}, sMAPE not measured"
    return f"{said}, sMAPE {choice.smape:.3f} % ({choice.smape_loss:.3f} above the best)"


def _how_sure(found: Recommendation) -> str:
    lead = found.lead
    if lead is None or lead.low is None or lead.high is None:
        return "too few rounds to tell the two apart; measure longer with --benchmark-max-time"
    span = f"{lead.estimate:.2f}x ({lead.low:.2f} to {lead.high:.2f}, 99 %)"
    if found.is_sure:
        return f"the best takes less time per window, the next {span}; rounds of one process"
    return f"the two cannot be told apart: the next takes {span} of the time; rounds of one process"


def _facts(choice: Choice) -> dict[str, Any]:
    extra = choice.record.extra
    axes = ("cell", "runtime", "device", "precision", "batch_size", "threads")
    return {
        **{axis: extra[axis] for axis in axes},
        "benchmark": choice.record.fullname,
        "median_s": choice.record.median_s,
        "latency_s": choice.latency_s,
        "windows_per_s": choice.record.windows_per_s,
        "smape": choice.smape,
        "smape_loss": choice.smape_loss,
    }


def _code(choice: Choice) -> str:
    code = _CODE_OF_FILE if choice.record.extra["runtime"] in _NEEDS_A_FILE else _CODE_OF_FORECASTER
    return code.format(**choice.record.extra)
