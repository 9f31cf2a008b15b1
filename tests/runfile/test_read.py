"""Tests of reading run files: what stands in them, and what is said of files that are something else."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnncore.errors import RunFileError
from rnncore.runfile.read import find_runs, read_run
from tests.report_text import GOLDEN
from tests.run_files import CEILINGS, CPU, accuracy, inference, make_run, old_run_content, run_content

FOREIGN = {
    "group": None,
    "name": "test_sort",
    "fullname": "other/test_other.py::test_sort",
    "params": None,
    "param": None,
    "extra_info": {},
    "stats": {"min": 1.0, "q1": 1.0, "median": 1.0, "q3": 1.5, "max": 2.0, "rounds": 3, "data": [1.0, 2.0, 1.0]},
}


def _without_rounds(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "stats": {key: value for key, value in entry["stats"].items() if key != "data"}}


def test_a_run_file_is_read_with_its_machine_data_and_benchmarks(tmp_path: Path) -> None:
    path = make_run(tmp_path)
    run = read_run(path)
    assert run.path == path
    assert run.datetime == "2026-11-22T18:18:17.123456+00:00"
    assert run.commit == "128f4f796c4e with uncommitted changes"
    assert run.fingerprint["cpu"] == CPU
    assert run.data == {"name": "pjm", "digest": "0123456789abcdef" * 4}
    assert run.command == ("pytest", "bench/", "--benchmark-autosave")
    assert len(run.skipped) == 3
    assert run.skipped[0] == ("bench/bench_infer.py::test_forecast[gru-torch-cuda-fp32-b1]", "no CUDA device: a CPU build.")
    assert [len(run.phase(phase)) for phase in ("infer", "train", "accuracy", "data", "other")] == [9, 2, 2, 2, 0]


def test_a_record_gives_the_median_of_its_rounds_and_windows_per_second_from_it(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 32, 0.02)
    entry["stats"]["data"] = [0.5, 0.01, 0.02, 0.04]
    (record,) = read_run(make_run(tmp_path, run_content([entry]))).records
    assert record.rounds_s == (0.5, 0.01, 0.02, 0.04)
    assert record.median_s == pytest.approx(0.03)
    assert record.windows_per_s == pytest.approx(32 / 0.03)
    assert record.fullname == "bench/bench_infer.py::test_forecast[gru-torch-cpu-fp32-b32]"
    assert record.group == "infer"
    assert (record.facts["cell"], record.facts["batch_size"]) == ("gru", 32)


def test_rounds_that_were_timed_in_slots_are_given_by_slot(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 0.02, slot_rounds=[2, 1, 2])
    entry["stats"]["data"] = [0.5, 0.01, 0.02, 0.04, 0.03]
    alone = inference("lstm", "torch", 1, 0.02)
    in_slots, not_in_slots = read_run(make_run(tmp_path, run_content([entry, alone]))).records
    assert in_slots.slots_s == [(0.5, 0.01), (0.02,), (0.04, 0.03)]
    assert (not_in_slots.slot_rounds, not_in_slots.slots_s) == (None, [])


@pytest.mark.parametrize("counts", [[2, 1], [2, 1, 2, 1]])
def test_slots_of_other_rounds_than_there_are_are_told(tmp_path: Path, counts: list[int]) -> None:
    entry = inference("gru", "torch", 1, 0.02, slot_rounds=counts)
    entry["stats"]["data"] = [0.5, 0.01, 0.02, 0.04, 0.03]
    with pytest.raises(RunFileError, match=f"has 5 rounds, and slot_rounds of {sum(counts)} in all"):
        read_run(make_run(tmp_path, run_content([entry])))


@pytest.mark.parametrize("counts", [[0, 5], [2.5, 2.5], "5", [-1, 6]])
def test_slots_that_are_no_counts_are_told(tmp_path: Path, counts: object) -> None:
    entry = inference("gru", "torch", 1, 0.02, slot_rounds=counts)
    with pytest.raises(RunFileError, match="slot_rounds"):
        read_run(make_run(tmp_path, run_content([entry])))


def test_a_run_has_the_number_of_its_pair(tmp_path: Path) -> None:
    content = run_content([inference("gru", "torch", 1, 0.02)])
    assert read_run(make_run(tmp_path, content)).pair is None
    for number in (None, 0, 7):
        content["rnncore"]["pair"] = number
        assert read_run(make_run(tmp_path, content)).pair == number


@pytest.mark.parametrize("number", [-1, "3", 1.5, [0]])
def test_a_number_of_a_pair_that_is_none_is_told(tmp_path: Path, number: object) -> None:
    content = run_content([inference("gru", "torch", 1, 0.02)])
    content["rnncore"]["pair"] = number
    with pytest.raises(RunFileError, match=r"rnncore\.pair"):
        read_run(make_run(tmp_path, content))


def test_a_record_is_valid_unless_the_file_says_why_not(tmp_path: Path) -> None:
    said = ["valid", None, "outputs differ"]
    entries = [inference("gru", "torch", size, 0.1, validity=validity) for size, validity in enumerate(said, 1)]
    entries.append(inference("lstm", "torch", 1, 0.1))
    del entries[-1]["extra_info"]["validity"]
    records = read_run(make_run(tmp_path, run_content(entries))).records
    assert [record.validity for record in records] == ["valid", "valid", "outputs differ", "valid"]


def test_a_run_gives_what_failed_with_how_it_ended_and_why(tmp_path: Path) -> None:
    assert read_run(make_run(tmp_path)).failed == (
        ("bench/bench_infer.py::test_forecast[lstm-openvino-cpu-fp32-b1]", "error", "RuntimeError: no such node"),
        (
            "bench/bench_train.py::test_train_step[lstm-torch-cpu-fp32-b4096]",
            "out of memory",
            "RuntimeError: DefaultCPUAllocator: can't allocate memory",
        ),
        (
            "bench/bench_train.py::test_train_step[gru-torch-cpu-fp32-b4096]",
            "timed out",
            "CaseTimeout: took longer than 60 s (--rnn-case-timeout)",
        ),
    )


def test_a_run_gives_the_ceilings_of_its_machine_and_all_that_its_session_tells(tmp_path: Path) -> None:
    content = run_content()
    run = read_run(make_run(tmp_path, content))
    assert run.ceilings == CEILINGS
    assert run.session == content["rnncore"]


def test_facts_of_the_machine_are_read_from_where_they_stand_now_and_from_where_rnncore_0_1_wrote_them(
    tmp_path: Path,
) -> None:
    old, new = run_content(), run_content()
    for fact in ("fingerprint", "conditions", "ceilings"):
        new["rnncore"][fact] = new["machine_info"].pop(fact)
    before, now = (read_run(make_run(tmp_path, content, name)) for content, name in ((old, "old.json"), (new, "new.json")))
    assert now.fingerprint == before.fingerprint == old["machine_info"]["fingerprint"]
    assert now.ceilings == before.ceilings == CEILINGS


def test_an_old_run_has_no_ceilings_and_no_failures_and_its_benchmarks_are_read(tmp_path: Path) -> None:
    run, of_now = (read_run(make_run(tmp_path, content)) for content in (old_run_content(), None))
    assert (run.failed, run.ceilings) == ((), None)
    assert "overhead" not in run.session
    assert [record.median_s for record in run.records] == [record.median_s for record in of_now.records]
    assert [record.validity for record in run.records] == [record.validity for record in of_now.records]


def test_a_scoring_that_failed_after_it_was_timed_leaves_the_run_readable(tmp_path: Path) -> None:
    failed = accuracy("gru", "torch", 0.5, 1.0, validity="failed after it was timed: RuntimeError: no such node")
    for key in ("smape", "smape_article", "mae_mw", "training", "baselines_smape"):
        failed["extra_info"][key] = None
    records = read_run(make_run(tmp_path, run_content([failed, accuracy("lstm", "torch", 0.5, 1.0)]))).records
    assert [record.validity for record in records] == ["failed after it was timed: RuntimeError: no such node", "valid"]


@pytest.mark.parametrize(
    ("commit_info", "expected"),
    [
        ({"id": "128f4f796c4ec83b9a78", "dirty": False}, "128f4f796c4e"),
        ({"id": "128f4f796c4ec83b9a78", "dirty": True}, "128f4f796c4e with uncommitted changes"),
        ({"id": "unversioned", "dirty": False}, None),
        # What pytest-benchmark writes in a repository that has no commit yet.
        ({"id": "unknown", "dirty": False, "error": "CalledProcessError(128, 'bad revision')"}, None),
        ({}, None),
    ],
)
def test_the_commit_is_shortened_and_none_outside_git(commit_info, expected, tmp_path: Path) -> None:
    content = run_content()
    content["commit_info"] = commit_info
    assert read_run(make_run(tmp_path, content)).commit == expected


def test_a_run_without_a_data_set_has_none(tmp_path: Path) -> None:
    content = run_content()
    content["rnncore"]["data"] = None
    assert read_run(make_run(tmp_path, content)).data is None


def test_a_missing_file_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    wording = r"no\.json: cannot be read \(No such file or directory\)\. Make a run with 'pytest --benchmark-autosave'"
    with pytest.raises(RunFileError, match=wording):
        read_run(tmp_path / "no.json")


def test_a_folder_is_not_a_run_file(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"cannot be read \(Is a directory\)"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"# A report", b'{"benchmarks": [', b"\xff\xfe\x00"])
def test_a_file_that_is_not_json_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "text.json"
    path.write_bytes(content)
    with pytest.raises(RunFileError, match=r"(?s)text\.json: not JSON \(.*Give a file from \.benchmarks/"):
        read_run(path)


@pytest.mark.parametrize("content", [[], {}, 3, None, "text", {"rnncore": {}}, {"benchmarks": [], "machine_info": {}}])
def test_json_of_another_kind_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(content))
    with pytest.raises(RunFileError, match=r"other\.json: not a run file of pytest-benchmark .*--benchmark-autosave"):
        read_run(path)


def _machine_is_text(content: dict[str, Any]) -> None:
    content["machine_info"]["fingerprint"] = "text"


def _benchmarks_are_text(content: dict[str, Any]) -> None:
    content["benchmarks"] = ["text"]


def _extra_is_a_list(content: dict[str, Any]) -> None:
    content["benchmarks"][0]["extra_info"] = []


def _no_datetime(content: dict[str, Any]) -> None:
    del content["datetime"]


@pytest.mark.parametrize("spoil", [_machine_is_text, _benchmarks_are_text, _extra_is_a_list, _no_datetime])
def test_a_run_file_with_a_part_of_the_wrong_kind_is_refused_when_it_is_read(
    spoil: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    content = run_content()
    spoil(content)
    with pytest.raises(RunFileError, match=r"0001_made\.json: "):
        read_run(make_run(tmp_path, content))


def test_of_rounds_that_a_file_does_not_hold_its_summary_serves(tmp_path: Path) -> None:
    entry = _without_rounds(inference("gru", "torch", 1, 0.1))
    entry["stats"] |= {"min": 0.08, "q1": 0.09, "median": 0.1, "q3": 0.12, "max": 0.5, "rounds": 40}
    (record,) = read_run(make_run(tmp_path, run_content([entry]))).records
    assert (record.rounds_s, record.rounds) == ((), 40)
    assert (record.quickest_s, record.quartiles_s, record.median_s, record.slowest_s) == (0.08, (0.09, 0.12), 0.1, 0.5)


def test_of_rounds_that_a_file_holds_the_same_is_worked_out(tmp_path: Path) -> None:
    entry = inference("gru", "torch", 1, 0.1)
    entry["stats"]["data"] = [0.1, 0.2, 0.3, 0.4, 0.5]
    (record,) = read_run(make_run(tmp_path, run_content([entry]))).records
    assert record.rounds == 5
    assert (record.quickest_s, record.quartiles_s, record.median_s, record.slowest_s) == (0.1, (0.2, 0.4), 0.3, 0.5)


@pytest.mark.parametrize("lacking", ["min", "q1", "median", "q3", "max", "rounds"])
def test_with_neither_rounds_nor_a_whole_summary_there_are_no_times(lacking: str, tmp_path: Path) -> None:
    content = run_content([_without_rounds(FOREIGN), inference("gru", "torch", 1, 0.1)])
    del content["benchmarks"][0]["stats"][lacking]
    run = read_run(make_run(tmp_path, content))
    assert run.failed == ((FOREIGN["fullname"], "no times", f"stats.{lacking} is missing"),)
    assert [record.runtime for record in run.records] == ["torch"]


@pytest.mark.parametrize("foreign", [FOREIGN, _without_rounds(FOREIGN)], ids=["with rounds", "without rounds"])
def test_a_benchmark_of_another_suite_is_read_beside_those_of_ours(foreign: dict[str, Any], tmp_path: Path) -> None:
    entry = {**foreign, "extra_info": {"phase": 3, "rows": 12, "unit": "kB", "done": True, "rnncore": {"steady": True}}}
    run = read_run(make_run(tmp_path, run_content([inference("gru", "torch", 1, 0.1), entry])))
    assert [(one.short_name, one.has_case) for one in run.records] == [
        ("test_forecast[gru-torch-cpu-fp32-b1]", True),
        ("test_sort", False),
    ]
    other = run.records[1]
    assert (other.group, other.median_s, other.rounds, other.is_valid) == ("other/test_other.py", 1.0, 3, True)
    # What it records is its own: it has no phase of ours.
    assert (other.numbers, other.phase, other.steady) == ({"phase": 3.0, "rows": 12.0}, None, True)


ORDINARY = {
    "machine_info": {
        "node": "runner-7",
        "processor": "x86_64",
        "machine": "x86_64",
        "python_version": "3.12.4",
        "python_implementation": "CPython",
        "release": "6.8.0-45-generic",
        "system": "Linux",
        "cpu": {"brand_raw": "Made CPU", "count": 8, "hz_actual_friendly": "3.1 GHz", "flags": ["avx2"]},
        "by_the_project": {"disk": "slow"},
    },
    "commit_info": {"id": "0123456789abcdef", "dirty": False, "branch": "main"},
    "datetime": "2024-05-01T10:00:00.000000",
    "version": "4.0.0",
    "benchmarks": [FOREIGN],
}


def test_a_file_of_pytest_benchmark_alone_is_read(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, ORDINARY))
    assert (run.commit, run.datetime, run.session, run.data, run.ceilings) == (
        *("0123456789ab", "2024-05-01T10:00:00.000000"),
        *({}, None, None),
    )
    # Neither the clock nor names of a host and of its kernel, nor what the project added.
    assert run.fingerprint == {
        "cpu": "Made CPU",
        "cpus": 8,
        "system": "Linux x86_64",
        "python": "3.12.4",
        "python_implementation": "CPython",
    }
    assert [record.fullname for record in run.records] == ["other/test_other.py::test_sort"]


def test_what_was_seen_of_a_benchmark_lies_beside_a_word_of_that_name_of_its_own(tmp_path: Path) -> None:
    entry = {**FOREIGN, "extra_info": {"rnncore": {"steady": "theirs"}, "phase": "infer"}, "rnncore": {"steady": False}}
    (other,) = read_run(make_run(tmp_path, run_content([entry]))).records
    assert (other.has_case, other.steady) == (False, False)


def test_in_a_file_that_the_plugin_took_no_part_in_no_word_of_a_suite_is_taken_for_a_fact(tmp_path: Path) -> None:
    entry = {**FOREIGN, "extra_info": {"rnncore": {"steady": "theirs"}, "phase": "infer", "validity": 0.5}}
    (other,) = read_run(make_run(tmp_path, {**ORDINARY, "benchmarks": [entry]})).records
    assert (other.has_case, other.steady, other.is_valid, other.numbers) == (False, None, True, {"validity": 0.5})


@pytest.mark.parametrize("key", ["machine_info", "commit_info"])
@pytest.mark.parametrize("found", [None, {}, {"cpu": "text", "id": None}])
def test_a_file_without_facts_of_machine_or_commit_is_read(key: str, found: Any, tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, {**ORDINARY, key: found}))
    assert len(run.records) == 1


SUMMED = {"min": 0.5, "q1": 1.0, "median": 1.0, "q3": 1.0, "max": 1.0, "rounds": 3}


@pytest.mark.parametrize(
    ("stats", "reason"),
    [
        ({}, "stats.min is missing"),
        ({"data": []}, "stats.min is missing"),
        ({"data": "1.0"}, "stats.data is '1.0', and must be a list that is not empty"),
        ({**SUMMED, "min": 0.0}, "stats.min is 0.0, and must be seconds, a number from 1e-12 to 1e+09"),
        ({**SUMMED, "q1": -1.0}, "stats.q1 is -1.0, and"),
        ({**SUMMED, "median": 5e-324}, "stats.median is 5e-324, and"),
        ({**SUMMED, "median": 10**400}, "stats.median is 1000"),
        ({**SUMMED, "q3": math.nan}, "stats.q3 is nan, and"),
        ({**SUMMED, "max": math.inf}, "stats.max is inf, and"),
        ({**SUMMED, "max": None}, "stats.max is null, and"),
        ({**SUMMED, "min": 3.0, "q1": 2.0}, "stats.q1 is 2.0, and must be no less than min, 3.0"),
        ({**SUMMED, "q1": 2.0, "median": 1.0}, "stats.median is 1.0, and must be no less than q1, 2.0"),
        ({**SUMMED, "q3": 4.0, "max": 3.0}, "stats.max is 3.0, and must be no less than q3, 4.0"),
        ({**SUMMED, "min": math.nan, "data": [1.0, 2.0]}, "stats.min is nan, and"),
        ({**SUMMED, "data": [1.0, 0.0]}, "stats.data[1] is 0.0, and"),
    ],
)
def test_a_benchmark_without_times_is_told_with_the_reason_and_the_others_are_read(
    stats: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    other = {**FOREIGN, "fullname": "other/test_other.py::test_more"}
    run = read_run(make_run(tmp_path, {**ORDINARY, "benchmarks": [{**FOREIGN, "stats": stats}, other]}))
    assert [record.short_name for record in run.records] == ["test_more"]
    ((name, outcome, why),) = run.failed
    assert (name, outcome, why[: len(reason)]) == (FOREIGN["fullname"], "no times", reason)


def test_a_last_attempt_without_times_counts_too(tmp_path: Path) -> None:
    attempts = [FOREIGN, {**FOREIGN, "stats": {**SUMMED, "min": 0.0}}]
    run = read_run(make_run(tmp_path, {**ORDINARY, "benchmarks": attempts}))
    assert (run.records, len(run.failed), run.repeated) == ((), 1, (FOREIGN["fullname"],))


def test_of_a_benchmark_that_is_in_a_file_more_than_once_the_last_counts(tmp_path: Path) -> None:
    first, last = ({**FOREIGN, "stats": {**FOREIGN["stats"], "data": [seconds]}} for seconds in (1.0, 2.0))
    other = {**FOREIGN, "fullname": "other/test_other.py::test_more"}
    run = read_run(make_run(tmp_path, {**ORDINARY, "benchmarks": [first, other, last]}))
    assert [(one.short_name, one.rounds_s) for one in run.records] == [("test_more", (1.0, 2.0, 1.0)), ("test_sort", (2.0,))]
    assert run.repeated == ("other/test_other.py::test_sort",)
    assert read_run(make_run(tmp_path, ORDINARY)).repeated == ()


@pytest.mark.parametrize(("version", "harness"), [("4.0.0", "4.0.0"), (4, None), (None, None)])
def test_a_run_names_the_pytest_benchmark_that_wrote_it(version: object, harness: str | None, tmp_path: Path) -> None:
    assert read_run(make_run(tmp_path, {**ORDINARY, "version": version})).harness == harness


def test_a_cpu_is_called_alike_whether_the_plugin_or_pytest_benchmark_names_it(tmp_path: Path) -> None:
    for brand in ("brand", "brand_raw"):
        cpu = {brand: "Made CPU", "family": 6, "model": 143, "count": 2, "flags": ["avx2"]}
        machine_info = {**ORDINARY["machine_info"], "cpu": cpu}
        named = read_run(make_run(tmp_path, {**ORDINARY, "machine_info": machine_info})).fingerprint
        ours = run_content()["machine_info"]["fingerprint"]
        assert {name: named[name] for name in ("cpu", "cpus", "system")} == {
            name: ours[name] for name in ("cpu", "cpus", "system")
        }


@pytest.mark.parametrize("more", [{}, {"family": 6}, {"family": None, "model": 143}])
def test_a_cpu_whose_family_is_not_known_is_called_by_its_name_alone(more: dict[str, Any], tmp_path: Path) -> None:
    content = {**ORDINARY, "machine_info": {**ORDINARY["machine_info"], "cpu": {"brand_raw": "Made CPU", **more}}}
    assert read_run(make_run(tmp_path, content)).fingerprint["cpu"] == "Made CPU"


def test_a_phase_of_another_suite_makes_no_row_of_ours(tmp_path: Path) -> None:
    entry = {**FOREIGN, "extra_info": {"phase": "warm", "rows": 12}}
    (record,) = read_run(make_run(tmp_path, run_content([entry]))).records
    assert (record.has_case, record.numbers) == (False, {"rows": 12.0})


def test_of_another_projects_file_no_advice_is_of_our_suites(tmp_path: Path) -> None:
    broken = {**FOREIGN, "stats": {**FOREIGN["stats"], "iterations": 0}}
    spoilt = [{"benchmarks": [broken]}, {"benchmarks": [{"extra_info": {}}]}, {"datetime": 3}]
    for content in ({**ORDINARY, **one} for one in spoilt):
        with pytest.raises(RunFileError) as caught:
            read_run(make_run(tmp_path, content))
        assert str(caught.value).endswith(". Make the run again with 'pytest --benchmark-autosave'.")


REAL = sorted((GOLDEN / "ordinary").glob("*.json"))


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.stem)
def test_the_file_of_every_version_of_pytest_benchmark_is_read(path: Path) -> None:
    run = read_run(path)
    assert run.harness is not None
    assert run.harness in path.name
    known = {"cpu", "system", "python", "python_implementation"}
    assert set(run.fingerprint) == (known if run.harness == "3.2.3" else known | {"cpus"})
    assert run.commit == "12c58c49b552"
    by_name = {record.short_name: record for record in run.records}
    assert set(by_name) == {
        *(f"test_sort[{how}]" for how in ("sorted", "list.sort", "insertion")),
        *("test_sort_reversed", "TestJson::test_loads"),
        *(f"test_sum[{size}]" for size in (10, 100, 1000)),
        *(f"TestJson::test_dumps[{kind}]" for kind in ("a*b*c", "__init__", "x|y")),
        "test_checked_after",
    }
    assert {record.has_case for record in run.records} == {False}
    assert by_name["test_sort[sorted]"].group == "sort"
    assert by_name["test_sum[10]"].group == "test_sorting.py"
    assert by_name["test_sum[10]"].numbers == {"bytes_per_s": 8e8, "ratio": 0.123456}
    assert by_name["TestJson::test_loads"].rounds == 30
    has_rounds = not path.stem.startswith("autosaved")
    for record in run.records:
        assert (record.summary is None, bool(record.rounds_s)) == (has_rounds, has_rounds)
        low_s, high_s = record.quartiles_s
        assert 0 < record.quickest_s <= low_s <= record.median_s <= high_s <= record.slowest_s < 1


@pytest.mark.parametrize("content", ["", " \n"])
def test_an_empty_file_is_said_to_be_empty(content: str, tmp_path: Path) -> None:
    path = tmp_path / "errors.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(
        RunFileError, match=r"errors\.json: not JSON \(it is empty, as where every benchmark failed\)\. Give"
    ):
        read_run(path)


def test_an_error_moves_no_cursor(tmp_path: Path) -> None:
    evil = {**FOREIGN, "fullname": "a.py::test_\x1b[31m\u2028\x07b\nc", "rnncore": {"windows": -1}}
    with pytest.raises(RunFileError) as caught:
        read_run(make_run(tmp_path, run_content([evil])))
    assert r"a.py::test_\x1b[31m \x07b c: windows is -1" in str(caught.value)
    assert str(caught.value).isprintable()


def test_of_how_many_calls_a_round_is_the_mean_is_read(tmp_path: Path) -> None:
    entries = [
        {**FOREIGN, "fullname": f"a.py::test_{number}", "stats": {**FOREIGN["stats"], **more}}
        for number, more in enumerate(({"iterations": 20}, {}, {"iterations": None}))
    ]
    for kind in (run_content(entries), {**ORDINARY, "benchmarks": entries}):
        assert [one.calls_per_round for one in read_run(make_run(tmp_path, kind)).records] == [20, 1, 1]
    wrong = {**FOREIGN, "stats": {**FOREIGN["stats"], "iterations": 0}}
    with pytest.raises(RunFileError, match=r"stats\.iterations is 0, and must be a whole number above 0"):
        read_run(make_run(tmp_path, {**ORDINARY, "benchmarks": [wrong]}))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_of_a_folder_files_alone_are_runs(tmp_path: Path) -> None:
    path = make_run(tmp_path, ORDINARY)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    assert find_runs(str(tmp_path)) == [path]
