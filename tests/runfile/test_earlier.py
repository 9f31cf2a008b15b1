"""Tests of what is worked out for run files of version 0.1: which model a row is of, and what its runtime is called."""

import json
from pathlib import Path
from typing import Any

import pytest

from rnncore.compare.choices import Limits, recommend
from rnncore.errors import RunFileError
from rnncore.runfile.earlier import completed
from rnncore.runfile.read import read_run
from rnncore.runfile.recipes import model_name
from rnncore.runtimes.catalog import OWN_RUNTIMES, runtime_facts

RUNTIMES = Path(__file__).parents[2] / "reports" / "published" / "2026-11-24-xeon-2cpu-runtimes" / "run.json"


def _row(hidden_size: int | None, num_layers: int | None, lookback: int | None, **extra: Any) -> dict[str, Any]:
    sizes = {"hidden_size": hidden_size, "num_layers": num_layers, "lookback": lookback}
    return {"phase": "infer", "cell": "gru", "runtime": "torch", **sizes, **extra}


@pytest.mark.parametrize(
    ("row", "recipe", "name"),
    [
        (_row(256, 2, 90), "article", "GRU"),
        (_row(32, 2, 90), "article", "GRU h32"),
        (_row(256, 2, 720), "article", "GRU t720"),
        (_row(64, 1, 24), "fast", "GRU fast"),
        (_row(256, 2, 90, training={"preset": "article"}), "article", "GRU"),
        (_row(64, 1, 24, training={"preset": "fast"}), "fast", "GRU fast"),
        (_row(None, None, None, cell="own"), "own", "OWN"),
        (_row(None, None, 90, cell=None, phase="data"), None, "–"),
        (_row(8, 1, 4), None, "GRU"),
        # What says so itself is taken at its word.
        (_row(256, 2, 90, recipe=None), None, "GRU"),
        (_row(256, 2, 90, recipe="mine"), "mine", "GRU mine"),
    ],
)
def test_a_row_is_of_the_recipe_that_its_training_or_its_sizes_tell(
    row: dict[str, Any], recipe: str | None, name: str
) -> None:
    assert completed(row)["recipe"] == recipe
    assert model_name(completed(row)) == name


@pytest.mark.parametrize("runtime", OWN_RUNTIMES)
def test_the_runtimes_of_then_are_called_what_they_are_called_now(runtime: str) -> None:
    facts = completed(_row(256, 2, 90, runtime=runtime))
    assert {key: facts[key] for key in ("runtime_title", "runtime_reads")} == runtime_facts(runtime)


@pytest.mark.parametrize(
    ("runtime", "mode"), [("torch_compile", "compile"), ("torch_flush", "flush"), ("torch", None), ("openvino", None)]
)
def test_what_were_runtimes_of_their_own_are_modes_of_torch(runtime: str, mode: str | None) -> None:
    facts = completed(_row(256, 2, 90, runtime=runtime))
    assert (facts["runtime"], facts.get("mode")) == ("torch" if mode else runtime, mode)
    assert facts["runtime_title"] == runtime_facts(facts["runtime"], mode)["runtime_title"]


@pytest.mark.parametrize(
    ("device", "then", "now"),
    [("cuda", "host to host", "host"), ("cuda", "device only", "device"), ("cpu", "device only", None), ("cpu", None, None)],
)
def test_what_a_gpu_s_times_include_has_the_words_of_now(device: str, then: str | None, now: str | None) -> None:
    assert completed(_row(256, 2, 90, device=device, clock=then))["clock"] == now


@pytest.mark.parametrize("phase", ["paired", "interleaved"])
def test_rows_that_were_called_paired_are_interleaved(phase: str) -> None:
    assert completed(_row(256, 2, 90, phase=phase))["phase"] == "interleaved"


def test_a_row_that_was_called_paired_must_hold_what_an_interleaved_one_must(tmp_path: Path) -> None:
    content = json.loads(RUNTIMES.read_text(encoding="utf-8"))
    row = next(entry for entry in content["benchmarks"] if entry["extra_info"]["phase"] == "paired")
    del row["extra_info"]["batch_size"]
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**content, "benchmarks": [row]}), encoding="utf-8")
    with pytest.raises(RunFileError, match=r"test_forecast_in_turn\[\S+ lacks batch_size"):
        read_run(path)


def test_an_unknown_runtime_keeps_its_name_and_what_it_says_of_itself() -> None:
    assert completed(_row(256, 2, 90, runtime="mine"))["runtime_title"] == "mine"
    assert completed(_row(256, 2, 90, runtime="mine", runtime_title="Mine"))["runtime_title"] == "Mine"


def test_the_published_run_joins_no_speed_of_one_model_with_the_accuracy_of_another() -> None:
    run = read_run(RUNTIMES)
    assert {(record.facts["phase"], record.facts["recipe"]) for record in run.records} == {
        *(("infer", "article"), ("interleaved", "article"), ("train", "article")),
        *(("stream", "article"), ("stream", "fast"), ("accuracy", "fast"), ("data", None)),
    }
    found = recommend(run, Limits(batch_size=1))
    assert found.best.smape is None
