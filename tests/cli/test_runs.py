"""Tests of the verbs that read run files, on those of other projects, as each version of pytest-benchmark wrote them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnncore.runfile.journal import Journal
from rnncore.runfile.read import read_run
from tests.command import Command
from tests.report_text import GOLDEN
from tests.run_files import content_of, inference, make_run, plain_benchmark, plain_content, run_content
from tests.runfile.test_journal import header

INPUTS = sorted((GOLDEN / "ordinary").glob("*.json"))
AUTOSAVED, WITH_ROUNDS = (GOLDEN / "ordinary" / f"{how}-5.3.1.json" for how in ("autosaved", "json"))
SORTED = "test_sorting.py::test_sort[sorted]"


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_two_files_of_other_projects_are_compared(path: Path, rnncore: Command) -> None:
    code, out, err = rnncore("compare", WITH_ROUNDS, path, "--json")
    verdicts = {one["verdict"] for one in json.loads(out)["benchmarks"]}
    is_alike = read_run(path).fingerprint == read_run(WITH_ROUNDS).fingerprint
    assert (code, verdicts) == ((3, {"unclear"}) if is_alike else (4, {"incomparable"}))
    assert err == ""


@pytest.mark.parametrize("tracker", ["bencher", "github-smaller-is-better", "github-bigger-is-better"])
@pytest.mark.parametrize("path", INPUTS, ids=lambda path: path.stem)
def test_a_file_of_another_project_is_converted(path: Path, tracker: str, rnncore: Command) -> None:
    code, out, _ = rnncore("convert", path, "--to", tracker)
    assert code == 0
    record = next(one for one in read_run(path).records if one.fullname == SORTED)
    low_s, high_s = record.quartiles_s
    content = json.loads(out)
    if tracker == "bencher":
        latency = {"value": record.median_s, "lower_value": low_s, "upper_value": high_s}
        assert content[SORTED]["latency"] == pytest.approx({name: 1e9 * seconds for name, seconds in latency.items()})
        assert content[SORTED]["throughput"]["value"] == pytest.approx(1 / record.median_s)
        return
    (entry,) = (one for one in content if one["name"] == SORTED)
    values = {"ms": 1e3 * record.median_s, "calls/s": 1 / record.median_s}
    assert entry["unit"] == ("calls/s" if "bigger" in tracker else "ms")
    assert entry["value"] == pytest.approx(values[entry["unit"]])
    assert entry["extra"].endswith(f"rounds: {record.rounds}")


def test_profile_and_recommend_say_that_a_file_has_no_rows_of_ours(rnncore: Command) -> None:
    for arguments in (("profile", AUTOSAVED), ("profile", AUTOSAVED, WITH_ROUNDS), ("recommend", AUTOSAVED)):
        code, out, err = rnncore(*arguments)
        assert (code, out) == (2, "")
        said = " ".join(err.split())
        assert f"{AUTOSAVED.name}: holds no row of rnncore's suites, and only " in said
        assert "bench/" not in said


def test_the_history_of_other_projects_files_is_shown(tmp_path: Path, rnncore: Command) -> None:
    for index, path in enumerate((AUTOSAVED, WITH_ROUNDS)):
        (tmp_path / f"000{index}.json").write_bytes(path.read_bytes())
    code, out, _ = rnncore("trend", tmp_path, "--json", "-k", "test_sort[sorted]")
    assert code == 0
    (series,) = json.loads(out)["benchmarks"]
    assert series["benchmark"] == SORTED


def test_the_verdict_is_the_last_thing_on_the_screen(tmp_path: Path, rnncore: Command) -> None:
    rows = [inference("gru", "torch", 1, 10e-3), inference("gru", "onnxruntime", 1, 1e-3)]
    run = make_run(tmp_path / "runs", run_content(rows), "0001.json")
    code, out, _ = rnncore("trend", tmp_path / "runs")
    assert code == 0
    shown = [part for part in out.split("\n\n") if part.strip()]
    assert shown[0].startswith("Made CPU")
    assert shown[-1].startswith("1 run file, 2 histories: no steps")
    code, out, _ = rnncore("recommend", run)
    assert code == 0
    assert out.splitlines()[-1].startswith("Best: GRU in ONNX Runtime")
    assert "\nNext: GRU in PyTorch" in out


def test_what_changed_most_is_the_last_of_two_profiles(tmp_path: Path, rnncore: Command) -> None:
    def profiled(by: float) -> list[dict[str, Any]]:
        rows = []
        # In this order: most, not at all, least.
        for cell, batch_size, factor in (("gru", 1, by**2), ("gru", 32, 1.0), ("lstm", 1, by)):
            ops = [{"op": "mm", "where": "cpu", "self_s": 1e-3 * factor}]
            profile = {"wall_s": 1e-3 * factor, "shares_pct": {"other": 100.0}, "ops": ops}
            rows.append(inference(cell, "torch", batch_size, 1e-3, profile=profile))
        return rows

    before, now = (make_run(tmp_path, run_content(profiled(by)), f"{by}.json") for by in (1.0, 2.0))
    code, out, _ = rnncore("profile", before, now)
    assert code == 0
    found = [line.split(":")[0] for line in out.splitlines() if line.startswith("test_forecast")]
    assert found == [
        f"test_forecast[{name}]" for name in ("gru-torch-cpu-fp32-b32", "lstm-torch-cpu-fp32-b1", "gru-torch-cpu-fp32-b1")
    ]


def test_a_killed_session_of_another_suite_is_recovered_and_shown(
    tmp_path: Path, rnncore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = next(one for one in content_of(WITH_ROUNDS)["benchmarks"] if one["fullname"] == SORTED)
    driven = {"slot_rounds": [len(entry["stats"]["data"])]}
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: process.pid)
        journal = Journal.open(tmp_path / "store" / "journal", header())
    journal.finished({**entry, "extra_info": {**entry["extra_info"], "rnncore": driven}})
    journal.began("test_sorting.py::test_sum[10]")
    journal.close()
    out = tmp_path / "recovered.json"
    code, said, _ = rnncore("recover", journal.path, "--out", out)
    assert code == 0
    assert "1 benchmark recovered" in said
    (record,) = read_run(out).records
    assert (record.fullname, record.has_case, record.numbers) == (SORTED, False, {"values": 1000.0})
    assert rnncore("report", out, "--out", tmp_path / "page")[0] == 0
    text = (tmp_path / "page" / "report.md").read_text(encoding="utf-8")
    assert "| test_sum[10] | died: the process ended while this benchmark ran" in text


def _plain_run(folder: Path, name: str, seconds: dict[str, float], **of_first: float) -> Path:
    """Save a run of benchmarks without single rounds; *of_first* replaces numbers of the first."""
    entries = [plain_benchmark(test, [value, 1.1 * value, 1.2 * value], has_rounds=False) for test, value in seconds.items()]
    entries[0]["stats"] |= of_first
    return make_run(folder, plain_content(entries), name)


def test_a_row_without_times_is_not_judged_or_shown_and_the_others_are(tmp_path: Path, rnncore: Command) -> None:
    seconds = {"a.py::test_quick": 0.01, "a.py::test_sort": 0.02}
    base, head = _plain_run(tmp_path, "1.json", seconds), _plain_run(tmp_path, "2.json", seconds, min=0.0)
    sort, quick = rnncore("compare", base, head, "--json").json["benchmarks"]
    assert (quick["verdict"], sort["verdict"]) == ("invalid", "unclear")
    assert "no times: stats.min is 0.0, and must be seconds" in quick["reason"]
    verdicts = [one["verdict"] for one in rnncore("compare", head, head, "--json").json["benchmarks"]]
    assert verdicts == ["unclear", "not judged"]
    assert rnncore("report", head, "--out", tmp_path / "out").code == 0
    assert "no times: stats.min is 0.0" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_of_a_benchmark_that_is_twice_in_a_file_every_verb_takes_the_last_and_says_so(
    tmp_path: Path, rnncore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [plain_benchmark("a.py::test_sort", [seconds] * 8) for seconds in (0.01, 0.03)]
    path = make_run(tmp_path / "store", plain_content(entries))
    monkeypatch.chdir(tmp_path)
    Path("pyproject.toml").write_text('[tool.rnncore.budgets."*"]\nmedian_ms = 20\n', encoding="utf-8")
    (judged,) = rnncore("compare", path, path, "--json").json["benchmarks"]
    assert judged["base_s"] == pytest.approx(0.03)
    (budget,) = rnncore("check", path, "--json").json["budgets"]
    assert budget["value"] == pytest.approx(30)
    trend = rnncore("trend", "store", "--json").json
    assert trend["benchmarks"][0]["points"][0]["median_s"] == pytest.approx(0.03)
    # The second time from what was kept of the file.
    for arguments in (("compare", path, path), ("check", path), ("trend", "store"), ("trend", "store")):
        said = " ".join(rnncore(*arguments).out.split())
        assert "more than once" in said, arguments
        assert "0001_made.json" in said, arguments
        assert "the last" in said, arguments
