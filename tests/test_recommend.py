"""Tests of recommendations: the fastest within the bounds, how sure that is, and what to do where nothing keeps them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rnncore.cli import app
from rnncore.compare.recommend import Bounds, recommend
from rnncore.compare.runs import Run, read_run
from rnncore.errors import ConfigError
from rnncore.report.recommendation import recommendation_facts, recommendation_text
from tests.run_files import accuracy, benchmark, inference, make_run, run_content


def _inference(
    cell: str, runtime: str, precision: str, batch_size: int, rounds_s: list[float], **extra: Any
) -> dict[str, Any]:
    """Return an inference row with given rounds."""
    row = inference(cell, runtime, batch_size, rounds_s[0], precision=precision, percentiles={}, **extra)
    row["fullname"] = (
        f"bench/bench_infer.py::test_forecast[{cell}-{runtime}-{row['extra_info']['device']}-{precision}-b{batch_size}]"
    )
    row["stats"]["data"] = rounds_s
    return row


def _rounds(seconds: float) -> list[float]:
    return [seconds * (1 + (turn % 5 - 2) / 100) for turn in range(20)]


def _score(cell: str, runtime: str, precision: str, smape: float) -> dict[str, Any]:
    return accuracy(cell, runtime, 0.5, smape, precision=precision)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Int8 is fastest and costs accuracy, GRU in torch is slowest; LSTM is the more accurate."""
    rows = [
        _inference("gru", "torch", "fp32", 1, _rounds(8e-3)),
        _inference("lstm", "onnxruntime", "fp32", 1, _rounds(2e-3)),
        _inference("lstm", "onnxruntime", "int8", 1, _rounds(1e-3)),
        _inference("lstm", "torch", "fp32", 1, _rounds(4e-3)),
        _inference("gru", "torch", "fp32", 1024, _rounds(0.7)),
        _inference("lstm", "onnxruntime", "fp32", 1024, _rounds(0.6)),
        _inference("lstm", "torch", "fp32", 1024, _rounds(0.1), validity="outputs differ"),
        _score("gru", "torch", "fp32", 0.67),
        _score("lstm", "onnxruntime", "fp32", 0.66),
        _score("lstm", "onnxruntime", "int8", 0.71),
    ]
    return read_run(make_run(tmp_path, run_content(rows)))


def _named(run: Run, bounds: Bounds) -> tuple[str, str | None]:
    found = recommend(run, bounds)
    names = [choice and choice.record.short_name for choice in (found.best, found.runner_up)]
    return str(names[0]), names[1]


INT8, FP32 = "test_forecast[lstm-onnxruntime-cpu-int8-b1]", "test_forecast[lstm-onnxruntime-cpu-fp32-b1]"
TORCH = "test_forecast[lstm-torch-cpu-fp32-b1]"


@pytest.mark.parametrize(
    ("bounds", "names"),
    [
        (Bounds(batch_size=1), (INT8, FP32)),
        (Bounds(batch_size=1, max_smape_loss=0.04), (FP32, "test_forecast[gru-torch-cpu-fp32-b1]")),
        (Bounds(batch_size=1, max_smape_loss=0.06), (INT8, FP32)),
        (Bounds(batch_size=1, max_smape_loss=0.04, cell="lstm"), (FP32, None)),
        # Most windows per second at any size: what is wrong is never named, however fast.
        (Bounds(), ("test_forecast[lstm-onnxruntime-cpu-fp32-b1024]", "test_forecast[gru-torch-cpu-fp32-b1024]")),
        (Bounds(max_latency_s=0.01), (INT8, FP32)),
        (Bounds(max_latency_s=0.003, max_smape_loss=0.0), (FP32, None)),
    ],
)
def test_the_fastest_within_the_bounds_is_named_and_the_next(
    bounds: Bounds, names: tuple[str, str | None], run: Run
) -> None:
    assert _named(run, bounds) == names


def test_what_breaks_a_bound_is_counted_by_reason(run: Run) -> None:
    found = recommend(run, Bounds(batch_size=1, max_latency_s=0.005, max_smape_loss=0.01))
    assert found.left_out == {
        "slower than the bound of latency": 1,
        "sMAPE above the bound": 1,
        "sMAPE not measured": 1,
    }
    assert found.within == 1


def test_a_lead_beyond_the_rounds_scatter_is_sure_and_one_within_is_not(run: Run, tmp_path: Path) -> None:
    sure = recommend(run, Bounds(batch_size=1))
    assert sure.is_sure
    assert sure.lead is not None
    assert sure.lead.estimate == pytest.approx(2.0, rel=0.02)
    close = [_inference("gru", "torch", "fp32", 1, _rounds(1.001e-3)), _inference("lstm", "torch", "fp32", 1, _rounds(1e-3))]
    unsure = recommend(read_run(make_run(tmp_path / "close", run_content(close))), Bounds())
    assert not unsure.is_sure
    assert "cannot be told apart" in recommendation_text(unsure)


def test_latency_is_the_90th_percentile_and_else_the_slowest_round(run: Run, tmp_path: Path) -> None:
    assert recommend(run, Bounds(batch_size=1)).best.latency_s == max(_rounds(1e-3))
    p90 = {"p90": {"s": 1.3e-3, "low_s": 1.2e-3, "high_s": 1.4e-3}}
    row = _inference("gru", "torch", "fp32", 1, _rounds(1e-3))
    row["extra_info"]["percentiles"] = p90
    found = recommend(read_run(make_run(tmp_path / "p90", run_content([row]))), Bounds())
    assert found.best.latency_s == 1.3e-3


def test_on_a_gpu_the_copies_count(tmp_path: Path) -> None:
    rows = [
        _inference("gru", "torch", "fp32", 1, _rounds(1e-3), device="cuda", clock="device only"),
        _inference("gru", "torch", "fp32", 1, _rounds(3e-3), device="cuda", clock="host to host"),
        _inference("gru", "onnxruntime", "fp32", 1, _rounds(2e-3)),
    ]
    rows[1]["fullname"] += "-host"
    found = recommend(read_run(make_run(tmp_path, run_content(rows))), Bounds())
    assert found.best.record.extra["device"] == "cpu"
    assert found.runner_up is not None
    assert found.runner_up.record.median_s == pytest.approx(3e-3)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (Bounds(batch_size=7), "no valid inference row at batch 7. Measured: gru, lstm on cpu at batch 1, 1024."),
        (Bounds(device="cuda"), "no valid inference row on cuda."),
        (Bounds(batch_size=1, max_latency_s=1e-4), r"nothing keeps the bounds. The lowest latency is 1.02 ms."),
        (Bounds(cell="gru", max_smape_loss=0.001), r"nothing keeps the bounds. The smallest loss of sMAPE is 0.01."),
    ],
)
def test_where_nothing_keeps_the_bounds_it_says_what_comes_nearest(bounds: Bounds, said: str, run: Run) -> None:
    with pytest.raises(ConfigError, match=said):
        recommend(run, bounds)


def test_a_run_without_forecasts_says_how_to_make_one(tmp_path: Path) -> None:
    rows = [benchmark("data", "test_prepare[rnncore-cpu]", [0.6], 10, runtime="rnncore")]
    with pytest.raises(ConfigError, match=r"no valid inference row at all\. Measured: nothing; run 'pytest bench/"):
        recommend(read_run(make_run(tmp_path, run_content(rows))), Bounds())


def test_the_text_tells_both_how_sure_it_is_and_the_code(run: Run) -> None:
    text = recommendation_text(recommend(run, Bounds(batch_size=1)))
    assert text.splitlines() == [
        "Best: LSTM in ONNX Runtime, CPU, int8, batch 1: 1.00 ms per call, p90 1.02 ms, 1,000 windows/s, sMAPE 0.710 % "
        "(0.050 above the best)",
        "Next: LSTM in ONNX Runtime, CPU, fp32, batch 1: 2.00 ms per call, p90 2.04 ms, 500 windows/s, sMAPE 0.660 % "
        "(0.000 above the best)",
        "Sure: the best takes less time per window, the next 2.00x (1.96 to 2.04, 99 %); rounds of one process",
        "sMAPE is that of the model that the accuracy suite trained, run in the same way.",
        "",
        "from pathlib import Path",
        "from rnncore.runtimes.catalog import open_runtime",
        "",
        'model = Path("lstm.onnx")  # rnncore export lstm.safetensors --out lstm.onnx',
        'with open_runtime("onnxruntime", model, "cpu", "int8", threads=2) as runtime:',
        "    forecasts = runtime.predict(inputs)  # float32 of shape (1, hours, features)",
    ]


@pytest.mark.parametrize("bounds", [Bounds(batch_size=1), Bounds(cell="gru", batch_size=1)], ids=["a file", "a forecaster"])
def test_the_code_is_python(bounds: Bounds, run: Run) -> None:
    compile(recommendation_facts(recommend(run, bounds))["code"], "recommended", "exec")


def test_the_command_prints_text_or_json(run: Run) -> None:
    arguments = ["recommend", str(run.path), "--batch", "1", "--max-latency-ms", "3", "--max-smape-loss", "0.01"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0
    assert told.stdout.startswith("Best: LSTM in ONNX Runtime, CPU, fp32, batch 1: ")
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (facts["best"]["runtime"], facts["best"]["precision"], facts["runner_up"]) == ("onnxruntime", "fp32", None)
    assert facts["sure"]


def test_a_bound_that_is_no_number_is_refused(run: Run) -> None:
    refused = CliRunner().invoke(app, ["recommend", str(run.path), "--max-latency-ms", "-1"])
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception) == "--max-latency-ms is -1.0; give a number of at least 0."
