"""Tests of what trackers read: golden files, the documented schemas, and what is left out."""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from rnncore.errors import RunFileError
from rnncore.report.trackers import bencher_json, github_action_benchmark_json, tracker_text
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Record, Run
from tests.report_text import require_golden
from tests.run_files import benchmark, inference, make_run, plain_benchmark, plain_content, run_content

# Source: https://bencher.dev/docs/reference/bencher-metric-format, "Bencher Metric Format (BMF) JSON Schema", and beside it
# the greatest lengths of names; closed here against members that Bencher does not know.
METRIC = {
    "type": "object",
    "properties": {
        "value": {"type": "number"},
        "lower_value": {"type": "number"},
        "upper_value": {"type": "number"},
    },
    "required": ["value"],
    "additionalProperties": False,
}
BMF_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": 1024},
    "patternProperties": {
        ".+": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-z0-9-]{1,64}$"},
            "patternProperties": {".+": METRIC},
        }
    },
}

# Source: benchmark-action/github-action-benchmark, README.md ("name, unit and value", optional "range" and "extra") and
# src/extract.ts, interface BenchmarkResult; src/extractRangeInfo.ts has the pattern of a range.
ACTION_SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "unit": {"type": "string", "minLength": 1},
            "value": {"type": "number"},
            "range": {"type": "string", "pattern": r"^± \d[\d.]+$"},
            "extra": {"type": "string"},
        },
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
    },
}


def _run(folder: Path, *entries: dict[str, Any]) -> Run:
    return read_run(make_run(folder, run_content(list(entries)) if entries else None))


def test_the_files_for_trackers_are_the_golden_ones(tmp_path: Path) -> None:
    run = _run(tmp_path)
    require_golden("bencher.json", tracker_text(bencher_json(run)), tmp_path)
    require_golden("smaller_is_better.json", tracker_text(github_action_benchmark_json(run, False)), tmp_path)
    require_golden("bigger_is_better.json", tracker_text(github_action_benchmark_json(run, True)), tmp_path)


def test_what_bencher_reads_fits_its_schema(tmp_path: Path) -> None:
    Draft7Validator(BMF_SCHEMA).validate(json.loads(tracker_text(bencher_json(_run(tmp_path)))))


@pytest.mark.parametrize("bigger_is_better", [False, True])
def test_what_the_action_reads_fits_its_schema_and_no_name_stands_twice(bigger_is_better: bool, tmp_path: Path) -> None:
    entries = json.loads(tracker_text(github_action_benchmark_json(_run(tmp_path), bigger_is_better)))
    Draft7Validator(ACTION_SCHEMA).validate(entries)
    names = [entry["name"] for entry in entries]
    assert len(set(names)) == len(names)
    assert names == sorted(names)


def test_each_measure_has_its_unit_and_the_quartiles_of_the_rounds(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 32, 0.1, smape=1.25)
    entry["stats"]["data"] = [0.1, 0.2, 0.4, 0.5, 0.8]
    run = _run(tmp_path, entry)
    metrics = bencher_json(run)["bench/bench_infer.py::test_forecast[gru-torch-cpu-fp32-b32]"]
    assert metrics["latency"] == {"value": 4e8, "lower_value": 2e8, "upper_value": 5e8}
    assert metrics["throughput"] == pytest.approx({"value": 80, "lower_value": 64, "upper_value": 160})
    assert metrics["peak-memory"] == {"value": 640 * 2**20}
    assert metrics["smape"] == {"value": 1.25}
    latency, memory, smape = github_action_benchmark_json(run, False)
    assert (latency["value"], latency["unit"], latency["range"]) == (400, "ms", "± 150")
    assert latency["extra"] == "quartiles: 200 to 500 ms\nrounds: 5"
    assert (memory["name"], memory["value"], memory["unit"]) == (f"{latency['name']}, peak memory", 640, "MiB")
    assert (smape["name"], smape["value"], smape["unit"]) == (f"{latency['name']}, sMAPE", 1.25, "%")
    (throughput,) = github_action_benchmark_json(run, True)
    assert (throughput["name"], throughput["unit"]) == (latency["name"], "windows/s")
    assert throughput["value"] == pytest.approx(80)


def test_every_measure_stands_in_just_one_of_the_two_lists(tmp_path: Path) -> None:
    run = _run(tmp_path)
    units = [{entry["unit"] for entry in github_action_benchmark_json(run, bigger)} for bigger in (False, True)]
    assert units == [{"ms", "MiB", "%"}, {"windows/s"}]


def test_a_wrong_result_is_left_out_however_fast(tmp_path: Path) -> None:
    run = _run(tmp_path)
    texts = [bencher_json(run), *(github_action_benchmark_json(run, bigger) for bigger in (False, True))]
    assert "openvino" in " ".join(record.fullname for record in run.records)
    assert not any("openvino" in tracker_text(text) for text in texts)


def test_a_run_without_a_right_result_is_refused(tmp_path: Path) -> None:
    run = _run(tmp_path, inference("gru", "torch", 1, 0.1, validity="outputs differ"))
    for write in (bencher_json, lambda run: github_action_benchmark_json(run, True)):
        with pytest.raises(RunFileError, match=r"no benchmark with a right result.*'rnncore report .*says what is wrong"):
            write(run)


def test_the_memory_of_a_gpu_benchmark_is_that_of_the_gpu(tmp_path: Path) -> None:
    run = _run(tmp_path, inference("gru", "torch", 1, 0.1, device="cuda", peak_device_bytes=96 * 2**20))
    (metrics,) = bencher_json(run).values()
    assert metrics["peak-memory"] == {"value": 96 * 2**20}


def test_what_a_record_does_not_have_is_not_written(tmp_path: Path) -> None:
    run = _run(tmp_path, benchmark("data", "test_mine", [0.1], 8, peak_rss_bytes=None))
    assert bencher_json(run) == {"bench/bench_data.py::test_mine": {"latency": {"value": 1e8}, "throughput": {"value": 80}}}
    assert all(set(entry) == {"name", "unit", "value"} for entry in github_action_benchmark_json(run, False))


def test_recorded_numbers_are_measures_of_bencher_by_names_that_it_takes(tmp_path: Path) -> None:
    numbers = {"rows_per_s": 8e8, "Rows per s": 2.0, "latency": 3.0, "Größe": 4, "_": 5, "x" * 80: 6, "name": "text"}
    run = read_run(make_run(tmp_path, plain_content([plain_benchmark("a.py::test_load", [0.1, 0.2], **numbers)])))
    (metrics,) = bencher_json(run).values()
    found = {name: one["value"] for name, one in metrics.items() if name not in ("latency", "throughput")}
    assert found == {
        **{"rows-per-s": 8e8, "extra-info-rows-per-s": 2.0, "extra-info-latency": 3.0, "gr-e": 4.0, "number": 5.0},
        "x" * 64: 6.0,
    }
    assert metrics["latency"]["value"] == pytest.approx(1.5e8)
    for bigger_is_better in (False, True):
        assert len(github_action_benchmark_json(run, bigger_is_better)) == 1


def test_in_lists_numbers_are_short_and_those_of_nanoseconds_are_not_0(tmp_path: Path) -> None:
    rounds_s = [2.0123456789e-8, 2.2123456789e-8, 2.4123456789e-8]
    run = read_run(make_run(tmp_path, plain_content([plain_benchmark("a.py::test_quick", rounds_s)])))
    (latency,) = github_action_benchmark_json(run, False)
    assert latency["value"] == 2.212346e-5
    assert latency["range"] == "± 0.000001"
    assert latency["extra"].startswith("quartiles: 0.00002112346 to 0.00002312346 ms")


def test_equal_runs_give_equal_bytes_in_whatever_order_they_ran(tmp_path: Path) -> None:
    forth, back = run_content(), run_content()
    back["benchmarks"].reverse()
    runs = [read_run(make_run(tmp_path, content)) for content in (forth, back)]
    assert len({tracker_text(bencher_json(run)) for run in runs}) == 1
    assert len({tracker_text(github_action_benchmark_json(run, False)) for run in runs}) == 1


@given(st.lists(st.floats(1e-7, 1e4), min_size=1, max_size=20), st.integers(1, 10**6))
def test_a_spread_holds_its_value_and_every_number_is_finite(rounds_s: list[float], windows: int) -> None:
    record = Record("bench/b.py::test_it", "g", tuple(rounds_s), {"windows": windows, "device": "cpu"})
    run = Run(Path("made.json"), "", None, {}, None, (), (), (), None, {}, (record,), "")
    metrics = json.loads(tracker_text(bencher_json(run)))["bench/b.py::test_it"]
    assert metrics["latency"]["value"] == pytest.approx(1e9 * statistics.median(rounds_s))
    for metric in metrics.values():
        lower, upper = metric.get("lower_value", metric["value"]), metric.get("upper_value", metric["value"])
        assert lower * (1 - 1e-12) <= metric["value"] <= upper * (1 + 1e-12)
    Draft7Validator(ACTION_SCHEMA).validate(github_action_benchmark_json(run, True))
