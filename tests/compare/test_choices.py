"""Tests of recommendations: the fastest within the bounds, how sure that is, and what to do where nothing keeps them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rnncore.cli import app
from rnncore.compare.choices import Limits, recommend
from rnncore.errors import ConfigError
from rnncore.report.recommendation import recommendation_facts, recommendation_text
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from tests.run_files import ARTICLE, accuracy, benchmark, inference, make_run, run_content

FAST = {"recipe": "fast", "hidden_size": 64, "num_layers": 1, "lookback": 24, "features": 37}


def _inference(
    cell: str, runtime: str, precision: str, batch_size: int, rounds_s: list[float], **extra: Any
) -> dict[str, Any]:
    """Return an inference row with given rounds."""
    facts = {**FAST, "precision": precision, "percentiles": {}, **extra}
    row = inference(cell, runtime, batch_size, rounds_s[0], **facts)
    row["fullname"] = (
        f"bench/bench_infer.py::test_forecast[{cell}-{runtime}-{row['extra_info']['device']}-{precision}-b{batch_size}]"
    )
    row["stats"]["data"] = rounds_s
    return row


def _rounds(seconds: float) -> list[float]:
    return [seconds * (1 + (turn % 5 - 2) / 100) for turn in range(20)]


def _score(cell: str, runtime: str, precision: str, smape: float) -> dict[str, Any]:
    row = accuracy(cell, runtime, 0.5, smape, precision=precision)
    row["fullname"] = row["fullname"].replace("]", f"-{precision}]")
    return row


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


def _named(run: Run, bounds: Limits) -> tuple[str, str | None]:
    found = recommend(run, bounds)
    names = [choice and choice.record.short_name for choice in (found.best, found.runner_up)]
    return str(names[0]), names[1]


INT8, FP32 = "test_forecast[lstm-onnxruntime-cpu-int8-b1]", "test_forecast[lstm-onnxruntime-cpu-fp32-b1]"
TORCH = "test_forecast[lstm-torch-cpu-fp32-b1]"


@pytest.mark.parametrize(
    ("bounds", "names"),
    [
        (Limits(batch_size=1), (INT8, FP32)),
        (Limits(batch_size=1, max_smape_loss=0.04), (FP32, "test_forecast[gru-torch-cpu-fp32-b1]")),
        (Limits(batch_size=1, max_smape_loss=0.06), (INT8, FP32)),
        (Limits(batch_size=1, max_smape_loss=0.04, cell="lstm"), (FP32, None)),
        # Most windows per second at any size: what is wrong is never named, however fast.
        (Limits(), ("test_forecast[lstm-onnxruntime-cpu-fp32-b1024]", "test_forecast[gru-torch-cpu-fp32-b1024]")),
        (Limits(max_latency_s=0.01), (INT8, FP32)),
        (Limits(max_latency_s=0.003, max_smape_loss=0.0), (FP32, None)),
    ],
)
def test_the_fastest_within_the_bounds_is_named_and_the_next(
    bounds: Limits, names: tuple[str, str | None], run: Run
) -> None:
    assert _named(run, bounds) == names


def test_what_breaks_a_bound_is_counted_by_reason(run: Run) -> None:
    found = recommend(run, Limits(batch_size=1, max_latency_s=0.005, max_smape_loss=0.01))
    assert found.left_out == {
        "slower than the bound of latency": 1,
        "sMAPE above the bound": 1,
        "sMAPE not measured": 1,
    }
    assert found.within == 1


def test_a_lead_beyond_the_rounds_scatter_is_sure_and_one_within_is_not(run: Run, tmp_path: Path) -> None:
    sure = recommend(run, Limits(batch_size=1))
    assert sure.is_sure
    assert sure.lead is not None
    assert sure.lead.estimate == pytest.approx(2.0, rel=0.02)
    close = [_inference("gru", "torch", "fp32", 1, _rounds(1.001e-3)), _inference("lstm", "torch", "fp32", 1, _rounds(1e-3))]
    unsure = recommend(read_run(make_run(tmp_path / "close", run_content(close))), Limits())
    assert not unsure.is_sure
    assert "does not separate the two" in recommendation_text(unsure)


def test_latency_is_the_90th_percentile_and_else_the_median_and_says_which(run: Run, tmp_path: Path) -> None:
    best = recommend(run, Limits(batch_size=1)).best
    assert (best.latency_s, best.latency_statistic) == (1e-3, "median")
    p90 = {"p90": {"s": 1.3e-3, "low_s": 1.2e-3, "high_s": 1.4e-3}}
    row = _inference("gru", "torch", "fp32", 1, _rounds(1e-3))
    row["extra_info"]["percentiles"] = p90
    found = recommend(read_run(make_run(tmp_path / "p90", run_content([row]))), Limits())
    assert (found.best.latency_s, found.best.latency_statistic) == (1.3e-3, "p90")
    facts = recommendation_facts(found)["best"]
    assert (facts["latency_s"], facts["latency_statistic"]) == (1.3e-3, "p90")
    assert "median 1.00 ms per call, p90 1.30 ms" in recommendation_text(found)


def test_one_slow_round_of_few_is_no_p90_and_throws_no_choice_out(tmp_path: Path) -> None:
    rounds_s = [*_rounds(1e-3)[:16], 0.177]
    path = make_run(tmp_path, run_content([_inference("gru", "torch", "fp32", 1, rounds_s)]))
    found = recommend(read_run(path), Limits(max_latency_s=0.01))
    text = recommendation_text(found)
    assert "too few single calls for a p90" in text
    assert "177" not in text


def test_speed_and_accuracy_are_joined_only_where_they_are_of_one_model(tmp_path: Path) -> None:
    """The article's model timed and the fast one scored: neither says anything of the other."""
    rows = [
        _inference("gru", "torch", "fp32", 1, _rounds(5e-4), **ARTICLE),
        _score("gru", "torch", "fp32", 0.667),
    ]
    found = recommend(read_run(make_run(tmp_path, run_content(rows))), Limits())
    assert found.best.smape is None
    assert "--preset article" in recommendation_facts(found)["code"]
    with pytest.raises(ConfigError, match="No choice has a row of the accuracy suite"):
        recommend(read_run(make_run(tmp_path, run_content(rows))), Limits(max_smape_loss=1.0))


def test_two_recipes_keep_their_own_accuracy(tmp_path: Path) -> None:
    article = accuracy("gru", "torch", 0.5, 1.78, **ARTICLE)
    article["fullname"] = "bench/bench_accuracy.py::test_score[gru-torch-cpu-fp32-b2048]"
    slow = _inference("gru", "torch", "fp32", 1, _rounds(5e-3), **ARTICLE)
    slow["fullname"] += "-article"
    rows = [_inference("gru", "torch", "fp32", 1, _rounds(1e-4)), slow, _score("gru", "torch", "fp32", 0.667), article]
    found = recommend(read_run(make_run(tmp_path, run_content(rows))), Limits())
    assert found.runner_up is not None
    assert [(one.record.facts["recipe"], one.smape) for one in (found.best, found.runner_up)] == [
        ("fast", 0.667),
        ("article", 1.78),
    ]


def test_a_model_of_a_sweep_is_not_recommended(tmp_path: Path) -> None:
    swept = _inference("gru", "torch", "fp32", 1, _rounds(1e-6), **{**ARTICLE, "hidden_size": 32})
    swept["fullname"] += "-h32"
    rows = [_inference("gru", "torch", "fp32", 1, _rounds(5e-4), **ARTICLE), swept]
    found = recommend(read_run(make_run(tmp_path, run_content(rows))), Limits())
    assert (found.best.record.facts["hidden_size"], found.within) == (256, 1)


def test_on_a_gpu_the_copies_count(tmp_path: Path) -> None:
    rows = [
        _inference("gru", "torch", "fp32", 1, _rounds(1e-3), device="cuda", clock="device"),
        _inference("gru", "torch", "fp32", 1, _rounds(3e-3), device="cuda", clock="host"),
        # A user's arrays lie in no such memory.
        _inference("gru", "torch", "fp32", 1, _rounds(1.5e-3), device="cuda", clock="pinned"),
        _inference("gru", "onnxruntime", "fp32", 1, _rounds(2e-3)),
    ]
    for row in rows[:3]:
        row["fullname"] += f"-{row['extra_info']['clock']}"
    found = recommend(read_run(make_run(tmp_path, run_content(rows))), Limits())
    assert found.best.record.facts["device"] == "cpu"
    assert found.runner_up is not None
    assert found.runner_up.record.median_s == pytest.approx(3e-3)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        (Limits(batch_size=7), "no valid inference row at batch 7. Measured: gru, lstm on cpu at batch 1, 1024."),
        (Limits(device="cuda"), "no valid inference row on cuda."),
        (Limits(batch_size=1, max_latency_s=1e-4), r"nothing keeps the bounds. The lowest latency is 1 ms .median.."),
        (Limits(cell="gru", max_smape_loss=0.001), r"nothing keeps the bounds. The smallest loss of sMAPE is 0.01."),
    ],
)
def test_where_nothing_keeps_the_bounds_it_says_what_comes_nearest(bounds: Limits, said: str, run: Run) -> None:
    with pytest.raises(ConfigError, match=said):
        recommend(run, bounds)


def test_a_run_without_forecasts_says_how_to_make_one(tmp_path: Path) -> None:
    rows = [benchmark("data", "test_prepare[rnncore-cpu]", [0.6], 10, runtime="rnncore")]
    with pytest.raises(ConfigError, match=r"no valid inference row at all\. Measured: nothing; run 'pytest bench/"):
        recommend(read_run(make_run(tmp_path, run_content(rows))), Limits())


def test_without_single_rounds_nothing_is_said_to_be_sure(tmp_path: Path) -> None:
    rows = [inference("gru", "torch", 1, 0.02), inference("gru", "onnxruntime", 1, 0.01)]
    for row in rows:
        median_s = row["stats"]["median"]
        row["stats"] = {**dict.fromkeys(("min", "q1", "median", "q3", "max"), median_s), "rounds": 40}
    found = recommend(read_run(make_run(tmp_path, run_content(rows))), Limits())
    assert found.best.record.runtime == "onnxruntime"
    assert found.lead is not None
    assert (found.lead.estimate, found.lead.low, found.lead.high, found.is_sure) == (2.0, None, None, False)
    assert "Sure: too few rounds to tell the two apart" in recommendation_text(found)


def test_a_run_of_another_project_has_nothing_to_recommend(tmp_path: Path) -> None:
    row = {**inference("gru", "torch", 1, 0.02), "extra_info": {"rows": 3}}
    with pytest.raises(
        ConfigError, match=r"holds no row of rnncore's suites, .* 'rnncore report \S+' shows what it holds\."
    ):
        recommend(read_run(make_run(tmp_path, run_content([row]))), Limits())


def test_the_text_tells_both_how_sure_it_is_and_the_code(run: Run) -> None:
    text = recommendation_text(recommend(run, Limits(batch_size=1)))
    assert text.splitlines() == [
        "from pathlib import Path",
        "",
        "import numpy as np",
        "",
        "from rnncore.runtimes.catalog import open_runtime",
        "",
        "# rnncore train --cell lstm --preset fast --out lstm-fast.safetensors",
        "# rnncore export lstm-fast.safetensors --out lstm-fast.onnx",
        'model = Path("lstm-fast.onnx")',
        "inputs = np.zeros((1, 24, 37), dtype=np.float32)  # put your windows here: (B, T, F)",
        'with open_runtime("onnxruntime", model, "cpu", "int8", threads=2) as runtime:',
        "    forecasts = runtime.predict(inputs)",
        "",
        "sMAPE is that of the same model as the accuracy suite trained it, run in the same way.",
        "Next: LSTM fast in ONNX Runtime, CPU, fp32, batch 1: median 2.00 ms per call, too few single calls for a p90, "
        "500 windows/s, sMAPE 0.660 % (0.000 above the best)",
        "Sure: the best takes less time per window, the next 2.00x (1.96 to 2.04, 99 %); quick half of the rounds of one "
        "process",
        "Best: LSTM fast in ONNX Runtime, CPU, int8, batch 1: median 1.00 ms per call, too few single calls for a p90, "
        "1,000 windows/s, sMAPE 0.710 % (0.050 above the best)",
    ]


@pytest.mark.parametrize("bounds", [Limits(batch_size=1), Limits(cell="gru", batch_size=1)], ids=["a file", "a forecaster"])
def test_the_code_is_python(bounds: Limits, run: Run) -> None:
    compile(recommendation_facts(recommend(run, bounds))["code"], "recommended", "exec")


def test_the_command_prints_text_or_json(run: Run) -> None:
    arguments = ["recommend", str(run.path), "--batch", "1", "--max-latency-ms", "3", "--max-smape-loss", "0.01"]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0
    assert told.stdout.splitlines()[-1].startswith("Best: LSTM fast in ONNX Runtime, CPU, fp32, batch 1: ")
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert (facts["best"]["runtime"], facts["best"]["precision"], facts["runner_up"]) == ("onnxruntime", "fp32", None)
    assert facts["sure"]


def test_a_bound_that_is_no_number_is_refused(run: Run) -> None:
    refused = CliRunner().invoke(app, ["recommend", str(run.path), "--max-latency-ms", "-1"])
    assert isinstance(refused.exception, ConfigError)
    assert str(refused.exception) == "--max-latency-ms is -1.0; give a number of at least 0."
