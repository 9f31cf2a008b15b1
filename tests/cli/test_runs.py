"""Tests of the verbs that read run files, on those of other projects, as each version of pytest-benchmark wrote them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnncore.runfile.journal import Journal
from rnncore.runfile.read import read_run
from tests.command import Command
from tests.report_text import GOLDEN
from tests.run_files import content_of
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
