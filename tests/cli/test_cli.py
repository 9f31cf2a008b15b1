"""Tests of the command: what it prints where, its exit codes, and the way from a CSV file to a scored ONNX file."""

import itertools
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from rnncore import __version__, cli
from rnncore.cli import options, screen
from rnncore.compare.floors import Floor, NoiseRecord, write_noise
from rnncore.compare.sensitivity import Sensitivity
from rnncore.drive import gate, noise
from rnncore.drive.gate import Progress
from rnncore.drive.pairs import Pair, Plan
from rnncore.drive.suites import Suites
from rnncore.errors import ConfigError
from rnncore.forecast import distributed
from rnncore.forecast.cells import CELLS, Cell
from rnncore.forecast.distributed import Ranks
from rnncore.forecast.model import load_forecaster, save_forecaster
from rnncore.forecast.modelfile import read_safetensors
from rnncore.forecast.presets import Preset, preset
from rnncore.kernels import layers, levels
from rnncore.runfile.grid import grid_of
from rnncore.runfile.read import read_run
from tests.command import Command, Done
from tests.run_files import inference, make_run, run_content

pytestmark = pytest.mark.long

HOURS = 4500
REPEATED, MISSING = 2, 3
ROWS = HOURS + REPEATED - MISSING
LOOKBACK = 90

VERBS = (
    *("data", "train", "evaluate", "forecast", "export", "reproduce", "report", "profile", "recover"),
    *("compare", "gate", "check", "noise", "selftest", "trend", "convert", "push", "pull"),
)


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a year of one zone, with two hours repeated and three missing."""
    hour = np.arange(HOURS)
    noise = np.random.default_rng(0).normal(size=HOURS)
    load_mw = 1000 + 200 * np.sin(hour * 2 * np.pi / 24) + 60 * np.cos(hour * 2 * np.pi / 168) + 15 * noise
    table = pd.DataFrame({"Datetime": pd.date_range("2017-01-01", periods=HOURS, freq="h"), "ZONE_MW": load_mw.round(1)})
    table = pd.concat([table.drop(index=[700, 1500, 1501]), table.iloc[[300, 900]]])
    path = tmp_path_factory.mktemp("csv") / "ZONE_hourly.csv"
    table.to_csv(path, index=False, date_format="%Y-%m-%d %H:%M:%S")
    return path


@pytest.fixture(scope="module")
def trained(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file, made by the command, with its ONNX file beside it."""
    path = tmp_path_factory.mktemp("models") / "model.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        for args in (
            ["train", "--data", csv, "--preset", "fast", "--max-steps", 3, "--device", "cpu", "--out", path],
            ["export", path],
        ):
            patch.setattr(sys, "argv", ["rnncore", *map(str, args)])
            with pytest.raises(SystemExit) as stop:
                cli.main()
            assert not stop.value.code
    return path


# --------------------------------------------------------------------------------------------------- help and version


def test_help_lists_the_verbs_and_the_exit_codes(rnncore: Command) -> None:
    done = rnncore("--help")
    assert done.code == 0
    assert all(f"  {verb} " in done.out for verb in VERBS)
    assert "Exit codes: 0 done; 2 wrong usage, unreadable or missing file; 130 interrupted" in " ".join(done.out.split())


@pytest.mark.parametrize("verb", [*VERBS, ("data", "fetch"), ("data", "describe")])
def test_every_verb_explains_itself(verb: str | tuple[str, str], rnncore: Command) -> None:
    done = rnncore(*([verb] if isinstance(verb, str) else verb), "--help")
    assert done.code == 0
    assert "Usage: rnncore" in done.out


@pytest.mark.parametrize("started", [["-m", "rnncore"], ["-c", "from rnncore.cli import main; main()"]])
def test_the_command_has_one_name_however_it_was_started(started: list[str]) -> None:
    command = [sys.executable, *started, *["data", "describe", "--nonsense"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: rnncore data describe ")


def test_version_is_printed_alone(rnncore: Command) -> None:
    assert rnncore("--version") == Done(0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "args",
    [
        ["evalute"],
        ["train", "--cell", "rnn"],
        ["train", "--nonsense"],
        ["export"],
        ["report"],
        ["profile"],
        ["profile", "run.json", "--top", "0"],
        ["trend", ".", "--threshold", "0.4"],
        ["trend", ".", "--threshold", "101"],
        ["recover", "a.jsonl", "b.jsonl"],
        ["train", "--seed", "x"],
    ],
)
def test_wrong_usage_exits_with_2_and_says_so_on_standard_error(args: list[str], rnncore: Command) -> None:
    done = rnncore(*args)
    assert (done.code, done.out) == (2, "")
    assert "Usage: rnncore" in done.err
    assert "Error" in done.err


# --------------------------------------------------------------------------------------------------------------- data


def test_describe_gives_the_facts_of_the_data_as_json(csv: Path, rnncore: Command) -> None:
    done = rnncore("data", "describe", "--data", csv, "--json")
    test_windows = int(0.1 * (ROWS - LOOKBACK))
    facts = done.json
    assert done.err == ""
    assert (facts["train_windows"], facts["test_windows"]) == (ROWS - LOOKBACK - test_windows, test_windows)
    assert (facts["name"], facts["lookback"], facts["split"]) == ("ZONE_hourly", LOOKBACK, "article")
    (zone,) = facts["zones"]
    assert facts["no_windows_why"] is None
    loads = pd.read_csv(csv, index_col="Datetime")["ZONE_MW"]
    ends = {"minimum_mw": loads.min(), "maximum_mw": loads.max()}
    assert {name: zone.pop(name) for name in ends} == pytest.approx(ends)
    hours = {"minimum_hour": loads.idxmin(), "maximum_hour": loads.idxmax()}
    assert {name: zone.pop(name).replace("T", " ") for name in hours} == hours
    assert zone == {
        "name": "ZONE",
        "rows": ROWS,
        "duplicates": REPEATED,
        "missing_hours": MISSING,
        "train_windows": facts["train_windows"],
        "test_windows": test_windows,
        "first_hour": "2017-01-01T00:00:00",
        "last_hour": "2017-07-07T11:00:00",
        "missing_values": 0,
        "gaps": 2,
        "longest_gap_hours": 2,
        "contradicting": 0,
        "spikes": 0,
        "first_spike": None,
        "jumps": 0,
        "flat_stretches": 0,
        "longest_flat_hours": 0,
        "read_as": [],
        "done": [],
    }


def test_cleaning_merges_repeated_hours_and_drops_windows_across_gaps(csv: Path, rnncore: Command) -> None:
    (zone,) = rnncore("data", "describe", "--data", csv, "--json", "--clean").json["zones"]
    assert (zone["rows"], zone["duplicates"], zone["missing_hours"]) == (HOURS - MISSING, 0, MISSING)
    # Each of the two gaps takes out the windows whose last hour, or whose target, lies beyond it.
    assert zone["train_windows"] + zone["test_windows"] == HOURS - MISSING - LOOKBACK - 2 * LOOKBACK


def test_a_shorter_lookback_gives_more_windows_and_the_same_tested_hours(csv: Path, rnncore: Command) -> None:
    usual, short = (rnncore("data", "describe", "--data", csv, "--json", "--lookback", hours).json for hours in (90, 24))
    assert short["train_windows"] == usual["train_windows"] + 66
    assert short["test_windows"] == usual["test_windows"]


def test_describe_shows_a_table_with_the_zone_and_its_faults(csv: Path, rnncore: Command) -> None:
    lines = rnncore("data", "describe", "--data", csv).out.splitlines()
    assert lines[0].split() == ["Zone", "Rows", "Repeated", "Missing", "Training", "Test", "First", "hour", "Last", "hour"]
    assert lines[1].split()[:4] == ["ZONE", f"{ROWS:,}", "2", "3"]


@pytest.mark.parametrize("verb", [["data", "describe"], ["train", "--max-steps", "1"], ["evaluate"], ["reproduce"]])
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_bad_csv_is_named_with_its_line_on_standard_error_alone(
    verb: list[str], as_json: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.csv"
    path.write_text("Datetime,ZONE_MW\n2017-01-01 00:00:00,1\n2017-01-01 01:00:00,many\n2017-01-01 02:00:00,3\n")
    done = rnncore(*verb, "--data", path, *as_json)
    assert (done.code, done.out) == (2, "")
    assert f"rnncore: {path}, line 3: 'many' is not a number" in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == [path]


def _as_others_write(csv: Path, path: Path) -> Path:
    """Write the made load as half-hours with day before month, decimal commas and a column that is no load."""
    table = pd.read_csv(csv, parse_dates=["Datetime"]).drop_duplicates("Datetime")
    table = pd.concat([table, table.assign(Datetime=table["Datetime"] + pd.Timedelta("30min"))]).sort_values("Datetime")
    table.insert(1, "celsius", 5.5)
    table.to_csv(path, index=False, sep=";", decimal=",", date_format="%d.%m.%Y %H:%M", encoding="utf-8")
    return path


TOLD = ["--column", "ZONE_MW", "--resample", "1h"]


@pytest.mark.parametrize(
    "verb", [["data", "describe", "--data"], ["evaluate", "--data"], ["train", "--max-steps", "1", "--data"], ["forecast"]]
)
def test_each_verb_reads_what_others_write_and_says_how(
    verb: list[str], csv: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _as_others_write(csv, tmp_path / "other.csv")
    words = [*verb, trained] if verb == ["forecast"] else verb
    done = rnncore(*words, path, *TOLD)
    assert done.code == 0
    hours = HOURS - MISSING
    said = (
        f"of 2 columns 'ZONE_MW'; dates as day, month, year (by '13.01.2017 00:00'); decimal commas; {hours:,} hourly means"
    )
    assert f"ZONE: columns apart by semicolons; {said} of 30 minutes" in " ".join(done.err.split())
    for missing, wrong in ((TOLD[2:], "--column 'celsius'"), (TOLD[:2], "--resample 1h for their mean")):
        done = rnncore(*words, path, *missing)
        assert (done.code, done.out) == (2, "")
        assert wrong in done.said


def test_the_same_load_in_another_shape_gives_the_same_forecast(
    csv: Path, trained: Path, tmp_path: Path, rnncore: Command
) -> None:
    path = _as_others_write(csv, tmp_path / "other.csv")
    one, other = (rnncore("forecast", trained, *args, "--json").json["hours"] for args in ([csv], [path, *TOLD]))
    assert one == other


def test_describe_counts_what_other_verbs_refuse(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    lines = csv.read_text(encoding="utf-8").splitlines()
    lines[40] = lines[40].split(",")[0] + ","
    lines.append(lines[800].split(",")[0] + ",0")
    path = tmp_path / "faults.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (zone,) = rnncore("data", "describe", "--data", path, "--json").json["zones"]
    assert (zone["missing_values"], zone["contradicting"], zone["missing_hours"]) == (1, 1, MISSING + 1)
    shown = rnncore("data", "describe", "--data", path).out.splitlines()
    assert shown[2].split() == [
        "Loads",
        "Smallest",
        "Largest",
        "No",
        "value",
        "Gaps",
        "Longest",
        "Spikes",
        "Jumps",
        "Flat",
        "Contradicting",
    ]
    assert shown[3].split()[3:] == ["1", "3", "2", "0", "0", "0", "1"]
    done = rnncore("evaluate", "--data", path)
    assert (done.code, done.out) == (2, "")
    assert f"{path}, line 41: the value is empty" in done.said
    done = rnncore("evaluate", "--data", path, "--clean")
    assert done.code == 2
    assert f"{path}, line {len(lines)}: 0 at " in done.said
    assert "which line 801 has as" in done.said


def test_describe_looks_at_a_series_that_is_too_short_for_windows(tmp_path: Path, rnncore: Command) -> None:
    path = tmp_path / "short.csv"
    path.write_text("time,A\n" + "".join(f"2021-03-01 {hour:02}:00,{hour}\n" for hour in range(24)), encoding="utf-8")
    done = rnncore("data", "describe", "--data", path)
    assert done.code == 0
    assert "No windows: " in done.said
    assert done.out.splitlines()[1].split()[:2] == ["A", "24"]


def test_gaps_are_filled_up_to_a_length_and_counted(csv: Path, rnncore: Command) -> None:
    for hours, left in ((1, 2), (2, 0)):
        done = rnncore("data", "describe", "--data", csv, "--clean", "--fill", hours, "--json")
        (zone,) = done.json["zones"]
        assert (zone["rows"], zone["missing_hours"]) == (HOURS - left, left)
        assert f"missing hours filled: {MISSING - left}, left: {left}" in done.err
    done = rnncore("data", "describe", "--data", csv, "--fill", 2)
    assert done.code == 2
    assert "--fill 2 without --clean. Give both" in done.said


def test_a_missing_data_file_is_named(rnncore: Command, tmp_path: Path) -> None:
    done = rnncore("data", "describe", "--data", tmp_path / "no.csv")
    assert (done.code, done.out) == (2, "")
    assert "no.csv: no such file or folder" in done.err


def test_data_that_was_not_asked_for_by_name_is_named_beside_the_result(
    csv: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command
) -> None:
    monkeypatch.setenv("RNNCORE_DATA", str(csv))
    done = rnncore("data", "describe", "--json")
    assert done.said == "Data: ZONE_hourly"
    assert done.json["name"] == "ZONE_hourly"


# ----------------------------------------------------------------------------------------- train, export and evaluate


def test_a_trained_model_scores_the_same_before_and_after_its_export(csv: Path, trained: Path, rnncore: Command) -> None:
    before = rnncore("evaluate", trained, "--data", csv, "--json").json
    after = rnncore("evaluate", trained.with_suffix(".onnx"), "--data", csv, "--json").json
    assert before["smape"] == pytest.approx(after["smape"], abs=1e-3)
    assert [zone["name"] for zone in after["zones"]] == ["ZONE"]
    assert before["test_windows"] == after["test_windows"] == int(0.1 * (ROWS - LOOKBACK))
    assert 0 < before["smape"] < 50


def test_a_score_has_both_formulas_zones_and_baselines(csv: Path, trained: Path, rnncore: Command) -> None:
    facts = rnncore("evaluate", trained, "--data", csv, "--json").json
    assert facts["smape_article"] == pytest.approx(facts["smape"] / 4)
    assert facts["zones"][0]["smape"] == pytest.approx(facts["smape"])
    assert facts["model"] == str(trained)
    assert facts["data"]["name"] == "ZONE_hourly"
    names = ["persistence", "seasonal_naive_24", "seasonal_naive_168", "ar_90", "per_hour_regressions"]
    assert [score["name"] for score in facts["baselines"]] == names
    assert all(score["smape"] > 0 for score in facts["baselines"])


def test_baselines_are_scored_without_a_model_and_left_out_on_request(csv: Path, trained: Path, rnncore: Command) -> None:
    alone = rnncore("evaluate", "--data", csv, "--json").json
    assert (alone["model"], alone["smape"], alone["zones"], len(alone["baselines"])) == (None, None, [], 5)
    assert rnncore("evaluate", trained, "--data", csv, "--json", "--no-baselines").json["baselines"] == []


def test_scores_are_shown_as_a_table_with_the_mean(csv: Path, trained: Path, rnncore: Command) -> None:
    done = rnncore("evaluate", trained, "--data", csv)
    assert done.code == 0
    columns = ["sMAPE %", "article's sMAPE %", "MAE MW", "RMSE MW", "pinball MW", "MASE", "WAPE %", "in bounds %"]
    assert done.out.splitlines()[0].split() == " ".join(columns).split()
    assert f"mean of zones, {trained}"[:60] in done.out
    assert "persistence" in done.out


@pytest.mark.parametrize(("by", "first", "rows"), [("hour", "00:00", 24), ("lead", "1 h ahead", 1), ("zone", "ZONE", 1)])
def test_scores_are_shown_by_zone_hour_of_the_day_or_lead(
    by: str, first: str, rows: int, csv: Path, trained: Path, rnncore: Command
) -> None:
    done = rnncore("evaluate", trained, "--data", csv, "--by", by, "--no-baselines")
    lines = done.out.splitlines()
    assert lines[1].startswith(first)
    assert lines[1 + rows].startswith("mean of zones")
    facts = rnncore("evaluate", trained, "--data", csv, "--json", "--no-baselines").json
    assert len(facts[f"{by}s"]) == rows
    assert facts["unit"] == "MW"
    assert facts["mae_mw"] == pytest.approx(sum(one["mae_mw"] for one in facts[f"{by}s"]) / rows, rel=0.2)
    assert facts["mae_mw"] < facts["rmse_mw"]
    assert 0 < facts["pinball_mw"] < facts["mae_mw"]
    assert 60 < facts["coverage_pct"] <= 100


def test_of_loads_of_both_signs_it_is_said_that_smape_means_little(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    said = "where it is not of its forecast's sign, sMAPE counts 200 %"
    assert said not in rnncore("evaluate", "--data", csv).out
    net, table = tmp_path / "NET_hourly.csv", pd.read_csv(csv)
    table["ZONE_MW"] -= round(float(table["ZONE_MW"].median()), 1)
    table.to_csv(net, index=False)
    assert said in rnncore("evaluate", "--data", net).out


def test_gradient_boosting_is_scored_on_request_with_its_time(
    csv: Path, rnncore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncore.forecast.baselines.BOOSTED_TREES", 5)
    facts = rnncore("evaluate", "--data", csv, "--boosting", "--json").json
    boosted = facts["baselines"][-1]
    assert boosted["name"] == "gradient_boosting"
    assert 0 < boosted["mae_mw"] < facts["baselines"][1]["mae_mw"]
    assert boosted["seconds"] > 0
    assert "Gradient boosting took " in rnncore("evaluate", "--data", csv, "--boosting").out


@pytest.mark.parametrize(
    ("args", "wording"),
    [
        (["MODEL", "--split", "date"], "--split and --clean belong to the training of a model"),
        (["MODEL", "--clean"], "--split and --clean belong to the training of a model"),
        (["--no-baselines"], "nothing to score. Give a model, or leave out --no-baselines"),
        (["no.safetensors"], "no.safetensors: no such file. Make one with 'rnncore train --out"),
        (["no.onnx"], "no.onnx: no such file. Make one with 'rnncore export MODEL --out"),
        (["CSV"], "not a whole .safetensors file"),
        (["ONNX", "--runtime", "torch"], "torch cannot run"),
        (["MODEL", "--runtime", "onnxruntime"], "rnncore export"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_way_out(
    args: list[str], wording: str, csv: Path, trained: Path, rnncore: Command
) -> None:
    files = {"MODEL": trained, "ONNX": trained.with_suffix(".onnx"), "CSV": csv}
    done = rnncore("evaluate", *[files.get(arg, arg) for arg in args], "--data", csv)
    assert (done.code, done.out) == (2, "")
    assert wording in done.said


@pytest.mark.parametrize("content", [b"not a model", b""])
def test_a_corrupt_onnx_file_is_refused_without_a_traceback(
    content: bytes, csv: Path, tmp_path: Path, rnncore: Command
) -> None:
    path = tmp_path / "corrupt.onnx"
    path.write_bytes(content)
    done = rnncore("evaluate", path, "--data", csv)
    assert (done.code, done.out) == (2, "")
    assert "corrupt.onnx: not " in done.said
    assert "'rnncore export'" in done.said


@pytest.mark.parametrize("verb", ["train", "export"])
def test_an_output_of_another_suffix_is_refused_before_any_work(
    verb: str, csv: Path, trained: Path, tmp_path: Path, rnncore: Command
) -> None:
    path = tmp_path / "model.pt"
    done = rnncore(verb, *(["--data", csv] if verb == "train" else [trained]), "--out", path)
    suffix = {"train": ".safetensors", "export": ".onnx"}[verb]
    assert (done.code, done.out) == (2, "")
    assert f"--out is {path}; give a file name that ends in {suffix}." in done.said
    assert list(tmp_path.iterdir()) == []


OUTPUTS = (("train", ".safetensors"), ("export", ".onnx"), ("forecast", ".csv"), ("recover", ".json"))


@pytest.mark.parametrize(("verb", "suffix"), OUTPUTS)
@pytest.mark.parametrize("in_the_way", ["a folder", "a file"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    verb: str, suffix: str, in_the_way: str, csv: Path, trained: Path, tmp_path: Path, rnncore: Command
) -> None:
    out = tmp_path / f"out{suffix}"
    if in_the_way == "a folder":
        out.mkdir()
    else:
        (tmp_path / "file").write_text("mine")
        out = tmp_path / "file" / out.name
    args = {"train": ["--data", csv], "export": [trained], "forecast": [trained, csv], "recover": [csv]}[verb]
    before = sorted(tmp_path.rglob("*"))
    done = rnncore(verb, *args, "--out", out)
    assert (done.code, done.out) == (2, "")
    assert f"{out}: cannot be written" in done.said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "verb", [["reproduce", "--data", "synthetic"], ["data", "fetch", "--mirror", "http://127.0.0.1:9/"]]
)
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(verb: list[str], tmp_path: Path, rnncore: Command) -> None:
    (tmp_path / "file").write_text("mine")
    done = rnncore(*verb, "--out", tmp_path / "file" / "folder")
    assert (done.code, done.out) == (2, "")
    assert f"cannot be written ({tmp_path / 'file'} is a file)" in done.said


@pytest.fixture(scope="module")
def broken(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with one weight that is no number, as a diverged training leaves it."""
    path = tmp_path_factory.mktemp("broken") / "broken.safetensors"
    model, windows = load_forecaster(trained)
    model.rnn.weight_hh_l0.data[3, 4] = math.nan
    save_forecaster(path, model, windows, {}, read_safetensors(trained)[0]["zones"])
    return path


@pytest.mark.parametrize("verb", ["evaluate", "forecast", "export"])
def test_a_model_whose_weights_are_no_numbers_is_refused(verb: str, broken: Path, csv: Path, rnncore: Command) -> None:
    args = {"evaluate": ["--data", csv, "--json"], "forecast": [csv, "--json"], "export": []}[verb]
    done = rnncore(verb, broken, *args)
    assert (done.code, done.out) == (2, "")
    assert "weights in rnn.weight_hh_l0 are NaN or infinite" in done.said
    assert "onnxscript" not in done.said


def test_json_has_neither_nan_nor_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    screen.print_json({"nan": math.nan, "rows": [{"low": -math.inf, "counts": (1, 2.5)}], "text": "NaN", "no": None})
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == {"nan": None, "rows": [{"low": None, "counts": [1, 2.5]}], "text": "NaN", "no": None}


def test_a_gate_says_what_it_can_tell_once_and_how_far_it_is_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    visible, needed = (
        {"a.py::test_one": 0.025, "a.py::test_two[gru-b1]": 0.04},
        {"a.py::test_one": 12, "a.py::test_two[gru-b1]": 40},
    )
    at_first = Sensitivity(28, visible, needed, 0, 20.0, 840.0)
    then = Sensitivity(30, {"a.py::test_two[gru-b1]": 0.03}, {"a.py::test_two[gru-b1]": 28}, 0, 18.0)
    with screen.gate_progress(600.0) as on_progress:
        for now in (
            Progress(0, 0, 0, 590.0, at_first),
            Progress(1, 0, 0, 540.0, at_first),
            Progress(2, 0, 0, 520.0, at_first),
            Progress(10, 1, 1, 380.0, then),
            Progress(11, 1, 1, 362.0, then),
            Progress(28, 1, 1, 40.0, then),
        ):
            on_progress(now)
    assert capsys.readouterr().err == (
        "This gate holds about 28 pairs: 3 % can be told of 1 of 2 benchmarks, 5 % of 2; of test_two[gru-b1] only 4.0 %.\n"
        "3 % of all 2 takes about 40 pairs (--budget 14m); or leave out by -k: test_two[gru-b1].\n"
        "1 pair, none decided yet, 9.0 min left, 3 % can be told in about 13 min, after the budget\n"
        "10 pairs, 1 decided, 1 undecided, 6.3 min left, 3 % can be told in about 5 min\n"
        "28 pairs, 1 decided, 1 undecided, 0.7 min left, 3 % can be told\n"
    )


def test_a_split_that_tests_no_hour_is_refused(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    short, model = tmp_path / "short.csv", tmp_path / "model.safetensors"
    short.write_text("".join(csv.read_text().splitlines(keepends=True)[:201]))
    args = ("--preset", "article", "--split", "date", "--horizon", 24, "--batch-size", 8, "--max-steps", 1)
    assert rnncore("train", "--data", short, *args, "--out", model).code == 0
    done = rnncore("evaluate", model, "--data", short, "--no-baselines", "--json")
    assert (done.code, done.out) == (2, "")
    assert "short: no hour is tested" in done.said


def _train_config(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = read_safetensors(path)[0]["training"]["config"]
    return config


@pytest.mark.parametrize(
    ("args", "clip_norm"),
    [
        (["--preset", "fast"], 1.0),
        (["--preset", "fast", "--clip-norm", 0], None),
        (["--preset", "fast", "--clip-norm", 0.25], 0.25),
        (["--preset", "article"], None),
        (["--preset", "article", "--clip-norm", 5], 5.0),
    ],
)
def test_clipping_is_the_presets_or_what_is_asked_for(
    args: list[object], clip_norm: float | None, csv: Path, tmp_path: Path, rnncore: Command
) -> None:
    path = tmp_path / "model.safetensors"
    done = rnncore("train", "--data", csv, "--max-steps", 1, "--batch-size", 4, "--out", path, "--json", *args)
    assert done.json["config"]["clip_norm"] == _train_config(path)["clip_norm"] == clip_norm


def test_training_says_once_what_runs_the_recurrent_layers_and_keeps_it(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    path = tmp_path / "model.safetensors"
    settings = ("train", "--data", csv, "--device", "cpu", "--max-steps", 1, "--batch-size", 4, "--out", path)
    done = rnncore(*settings)
    trained_by = read_safetensors(path)[0]["training"]["trained_by"]
    assert re.match(
        r"rnncore kernels, \S.*, compiled (here|for this process)|torch, because: no fused kernels: \S", trained_by
    )
    assert done.err.count(f"Recurrent layers by {trained_by}\n") == 1
    assert rnncore(*settings, "--json").json["trained_by"] == trained_by


def test_training_without_a_compiler_says_why_it_is_by_torch(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command
) -> None:
    levels.require_vectors()  # else skipped, with what is missing
    monkeypatch.setenv("CC", "/nowhere/cc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    layers._load.cache_clear()
    try:
        done = rnncore("train", "--data", csv, "--device", "cpu", "--max-steps", 1, "--batch-size", 4, "--out", path)
    finally:
        layers._load.cache_clear()
    why = "torch, because: no fused kernels: there is no C compiler of the name /nowhere/cc (CC). Install GCC"
    assert done.code == 0
    assert [line for line in done.err.splitlines() if line.startswith(f"Recurrent layers by {why}")]
    assert read_safetensors(path)[0]["training"]["trained_by"].startswith(why)


def test_a_clipped_training_is_resumed_with_the_same_norm_alone(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    path = tmp_path / "model.safetensors"
    settings = ("train", "--data", csv, "--device", "cpu", "--out", path, "--max-steps")
    assert rnncore(*settings, 1, "--clip-norm", 0.5).code == 0
    done = rnncore(*settings, 2, "--clip-norm", 0, "--resume")
    assert (done.code, done.out) == (2, "")
    assert "was written with clip_norm 0.5, but None is asked for" in done.said
    assert rnncore(*settings, 2, "--clip-norm", 0.5, "--resume").code == 0


def test_the_shorter_lookback_that_is_advised_can_be_given(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    short, model = tmp_path / "short.csv", tmp_path / "model.safetensors"
    short.write_text("".join(csv.read_text().splitlines(keepends=True)[:401]))
    settings = ("train", "--data", short, "--horizon", 24, "--max-steps", 1, "--out", model)
    assert "Give a longer series or a shorter lookback." in rnncore(*settings).said
    assert rnncore(*settings, "--lookback", 2).code == 0
    assert load_forecaster(model)[1].lookback == 2


def test_a_lower_learning_rate_is_trained_with(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    path = tmp_path / "model.safetensors"
    assert rnncore("train", "--data", csv, "--max-steps", 1, "--out", path, "--learning-rate", 1e-4).code == 0
    assert _train_config(path)["learning_rate"] == 1e-4


@pytest.mark.parametrize(("option", "value"), [("--clip-norm", -1), ("--clip-norm", "nan"), ("--clip-norm", "inf")])
def test_a_norm_that_is_none_is_refused_with_what_is_allowed(
    option: str, value: object, csv: Path, tmp_path: Path, rnncore: Command
) -> None:
    done = rnncore("train", "--data", csv, "--out", tmp_path / "model.safetensors", option, value)
    assert (done.code, done.out) == (2, "")
    assert f"--clip-norm is {value}; give a finite number above 0, or 0 to clip nothing." in done.said


def test_training_goes_on_from_its_checkpoint_with_more_steps(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    path = tmp_path / "model.safetensors"
    settings = ("train", "--cell", "lstm", "--data", csv, "--device", "cpu", "--out", path, "--json")
    first = rnncore(*settings, "--max-steps", 2).json
    assert (first["steps"], first["ended_by"], first["out"]) == (2, "max_steps", str(path))
    assert (tmp_path / "model.checkpoint.safetensors").is_file()
    done = rnncore(*settings, "--max-steps", 5, "--resume")
    assert (done.json["steps"], done.json["ended_by"]) == (5, "max_steps")
    assert rnncore("evaluate", path, "--data", csv, "--json", "--no-baselines").json["smape"] > 0


def test_a_checkpoint_of_other_settings_is_refused(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    path = tmp_path / "model.safetensors"
    settings = ("train", "--data", csv, "--device", "cpu", "--out", path, "--max-steps", 1)
    assert rnncore(*settings).code == 0
    done = rnncore(*settings, "--resume", "--seed", 1)
    assert (done.code, done.out) == (2, "")
    assert "was written with seed 0, but 1 is asked for" in done.said


@pytest.mark.parametrize("device", ["auto", "cuda"])
@pytest.mark.parametrize("local_rank", [0, 1, 2])
def test_of_several_gpus_each_process_of_torchrun_trains_on_its_own(
    device: str, local_rank: int, csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command
) -> None:
    def join(ranks: Ranks, where: torch.device) -> None:
        raise ConfigError(f"rank {ranks.rank} of {ranks.count} is to train on {where}.")

    for name, value in {"RANK": 3 + local_rank, "WORLD_SIZE": 6, "LOCAL_RANK": local_rank}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(distributed, "joined", join)
    # Put back after the test.
    monkeypatch.setattr(screen.err, "quiet", False)
    done = rnncore("train", "--data", csv, "--device", device, "--batch-size", 6, "--out", tmp_path / "model.safetensors")
    # What is said of the data and the training is rank 0's to say; errors are each process's own.
    assert done.err == f"rnncore: rank {3 + local_rank} of 6 is to train on cuda:{local_rank}.\n"


def test_a_resume_without_a_checkpoint_is_refused(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    done = rnncore("train", "--data", csv, "--out", tmp_path / "model.safetensors", "--resume")
    assert (done.code, done.out) == (2, "")
    assert "model.checkpoint.safetensors: no checkpoint to go on from" in done.said


@pytest.mark.parametrize("option", ["--max-steps", "--epochs", "--batch-size", "--max-seconds"])
def test_a_training_of_nothing_is_refused(option: str, csv: Path, tmp_path: Path, rnncore: Command) -> None:
    done = rnncore("train", "--data", csv, "--out", tmp_path / "model.safetensors", option, 0)
    assert (done.code, done.out) == (2, "")
    assert f"{option.strip('-').replace('-', '_')} is 0" in done.said
    assert "give a number above 0" in done.said


# -------------------------------------------------------------------------------------------------------- interruption


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_a_training_with_130_and_resume_finishes_it(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    path = tmp_path / "model.safetensors"
    settings = ["train", "--data", csv, "--device", "cpu", "--out", path, "--epochs", 100_000]
    command = [sys.executable, "-m", "rnncore", *map(str, settings)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "epoch 1/" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "To go on, run the same command with --resume" in " ".join(err.split())
    assert "Traceback" not in err
    assert (tmp_path / "model.checkpoint.safetensors").is_file()
    assert not path.exists()
    done = rnncore(*settings, "--resume", "--max-steps", 1, "--json")
    assert done.json["ended_by"] == "max_steps"
    assert done.json["steps"] > 1
    assert path.is_file()


def test_ctrl_c_elsewhere_ends_with_130(csv: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rnncore.forecast.sources.read_dataset", interrupt)
    done = rnncore("data", "describe", "--data", csv)
    assert done == Done(130, "", "")


# ------------------------------------------------------------------------------------------------ report and reproduce


def test_report_writes_the_page_of_a_run_file(tmp_path: Path, rnncore: Command) -> None:
    done = rnncore("report", make_run(tmp_path), "--out", tmp_path / "out")
    assert done == Done(0, f"Report: {tmp_path / 'out' / 'index.html'}\n", "")
    assert (tmp_path / "out" / "report.md").read_text(encoding="utf-8").startswith("# GRU and LSTM load forecasters")
    assert (tmp_path / "out" / "throughput.png").is_file()


def test_report_puts_two_run_files_side_by_side(tmp_path: Path, rnncore: Command) -> None:
    paths = [make_run(tmp_path, name=f"{index}.json") for index in range(2)]
    assert rnncore("report", *paths, "--out", tmp_path / "out").code == 0
    assert "runs side by side" in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_report_of_a_missing_file_exits_with_2(tmp_path: Path, rnncore: Command) -> None:
    done = rnncore("report", tmp_path / "no.json", "--out", tmp_path / "out")
    assert (done.code, done.out) == (2, "")
    assert "no.json: no such run. Give a run file, a folder or glob of them" in done.said
    assert not (tmp_path / "out").exists()


def test_reproduce_writes_page_record_and_figure(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command
) -> None:
    def small(name: str, cell: Cell) -> Preset:
        article = preset(name, cell)
        return replace(article, forecaster=replace(article.forecaster, hidden_size=8))

    # The article's 256 units take most of a minute here.
    monkeypatch.setattr("rnncore.measure.reproduction.preset", small)
    out = tmp_path / "out"
    done = rnncore("reproduce", "--data", csv, "--max-steps", 1, "--device", "cpu", "--out", out)
    assert done.code == 0, done.err
    assert done.out.startswith("| Cell |")
    assert f"Page: {out / 'reproduction.md'}" in done.out
    record = json.loads((out / "reproduction.json").read_text(encoding="utf-8"))
    page = (out / "reproduction.md").read_text(encoding="utf-8")
    assert list(record["cells"]) == ["gru", "lstm"]
    for ours in record["cells"].values():
        assert (ours["training"]["steps"], ours["training"]["ended_by"]) == (1, "max_steps")
        assert done.err.count(f"Recurrent layers by {ours['training']['trained_by']}\n") == 1
        assert ours["score"]["smape_article"] == pytest.approx(ours["score"]["smape"] / 4)
    planned = 5 * (record["windows"]["train"] // 1024)
    assert f"Cut short after 1 of {planned} steps" in page
    assert (out / "forecasts.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(record["baselines"]) == 5
    (panel,) = record["panels"]
    assert len(panel["hours"]) == len(panel["actual_mw"]) == len(panel["forecast_mw"]["GRU"]) == 100


def test_reproduce_refuses_no_epochs_rather_than_train_five(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command
) -> None:
    def train(*_: object, **__: object) -> None:
        pytest.fail("a training has begun")

    monkeypatch.setattr("rnncore.measure.reproduction.fit", train)
    done = rnncore("reproduce", "--data", csv, "--epochs", 0, "--out", tmp_path / "out")
    assert done.code == 2
    assert "epochs is 0; give a number above 0" in done.said


def test_reproduce_refuses_a_series_too_short_for_its_baselines_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rnncore: Command
) -> None:
    def train(*_: object, **__: object) -> None:
        pytest.fail("a training has begun")

    monkeypatch.setattr("rnncore.measure.reproduction.fit", train)
    path = tmp_path / "short.csv"
    times = pd.date_range("2017-01-01", periods=1500, freq="h")
    pd.DataFrame({"Datetime": times, "ZONE_MW": 1000 + np.arange(1500) % 24}).to_csv(path, index=False)
    done = rnncore("reproduce", "--data", path, "--out", tmp_path / "out")
    assert done.code == 2
    assert "the baselines need" in done.said


# ------------------------------------------------------------------------------------------------------ verdicts and noise


def _processes(folder: Path, name: str, median_s: float, first_minute: int, pairs: bool = False) -> None:
    """Write eight processes of one benchmark that agree to 0.2 %, two minutes apart."""
    for process in range(8):
        content = run_content([inference("gru", "torch", 1, median_s * (1 + 0.0003 * process))])
        content["datetime"] = f"2026-11-24T10:{first_minute + 2 * process:02}:00+00:00"
        content["rnncore"]["pair"] = process if pairs else None
        make_run(folder, content, f"{name}-{process}.json")


def test_compare_holds_noise_against_thresholds_of_pairs(
    rnncore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, pairs in (("runs", True), ("others", False)):
        _processes(tmp_path / folder, "base", 0.0050, 0, pairs)
        _processes(tmp_path / folder, "head", 0.0052, 1, pairs)
        assert rnncore("compare", f"{folder}/base-*.json", f"{folder}/head-*.json").code == 1
    run = read_run(tmp_path / "runs" / "base-0.json")
    fullname = run.records[0].fullname
    scale = str(run.session["scale"])
    floors = {fullname: (Floor(8, 0.06, None), Floor(32, 0.03, None))}
    write_noise(options.STORE, NoiseRecord(run.fingerprint, scale, "2026-11-24T09:00:00", 7.0, {fullname: [0.005]}, floors))
    lifted = rnncore("compare", "runs/base-*.json", "runs/head-*.json")
    assert lifted.code == 0
    assert "This machine's noise" in lifted.out
    (tmp_path / "pyproject.toml").write_text('[tool.rnncore.thresholds]\n"*" = { time_pct = 3 }\n', encoding="utf-8")
    refused = rnncore("compare", "runs/base-*.json", "runs/head-*.json")
    assert refused.code == 2
    assert "where the noise floor is 6.0 % and 32 are needed (4 min)" in refused.said
    # Noise is on record by pairs: it says nothing of processes that ran one after another.
    of_others = rnncore("compare", "others/base-*.json", "others/head-*.json")
    assert of_others.code == 1
    assert "This machine's noise" not in of_others.out


@pytest.fixture
def made_pairs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let noise and selftest run no pair, but find run files of a machine with little noise."""
    rng = np.random.default_rng(0)
    seconds = itertools.count()

    def run_pair(
        trees: Sequence[Path],
        suites: Any,
        run_files: Sequence[Path],
        plan: Plan,
        number: int,
        chance: Any,
        extra: Sequence[Sequence[str]] = ((), ()),
        patience: Any = None,
    ) -> Pair:
        second = 10 * next(seconds)
        runs = []
        for run_file, arguments in zip(run_files, extra, strict=True):
            delay_pct = float(arguments[0].split("=")[1].split(":")[0]) if arguments else 0.0
            factor = 1 + delay_pct / 100
            rows = [inference(cell, "torch", 1, 0.005 * factor * np.exp(rng.normal(0, 0.003))) for cell in CELLS]
            for row in rows:
                if delay_pct:
                    row["extra_info"]["injected_delay_pct"] = delay_pct
            content = run_content(rows)
            content["datetime"] = f"2026-11-24T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}+00:00"
            content["rnncore"]["pair"] = number
            runs.append(read_run(make_run(run_file.parent, content, run_file.name)))
        # All of it in imports and fixtures.
        return Pair(runs[0], runs[1], 10.0, 0.0, plan.slots)

    monkeypatch.setattr("rnncore.drive.noise.run_pair", run_pair)
    # As many as tell this noise from none; tests of floors draw them all.
    monkeypatch.setattr("rnncore.compare.floors.DRAWN_GATES", 40)
    monkeypatch.chdir(tmp_path)
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for command in (("init", "--quiet"), (*identity, "commit", "--allow-empty", "--quiet", "-m", "one")):
        subprocess.run(["git", *command], check=True)
    suite = tmp_path / "bench" / "test_made.py"
    suite.parent.mkdir()
    suite.write_text("def test_made(benchmark):\n    benchmark(sum, [1])\n", encoding="utf-8")


@pytest.mark.usefixtures("made_pairs")
def test_noise_is_kept_and_told(rnncore: Command, tmp_path: Path) -> None:
    done = rnncore("noise", "--pairs", 20, "--budget", "170s", "--json")
    assert done.code == 0
    assert (done.json["recorded_pairs"], done.json["pairs"]) == (20, 16)
    grid = grid_of(read_run(make_run(tmp_path, run_content([inference(cell, "torch", 1, 0.005) for cell in CELLS]))))
    assert done.json["grid"] == grid
    # Of eight, no ratio is significant; of ten this little noise hides nothing.
    assert [row["pairs_needed"] for row in done.json["benchmarks"]] == [10, 10]
    (kept,) = (tmp_path / ".benchmarks" / "noise").iterdir()
    assert json.loads(kept.read_text("utf-8"))["pair_s"] == 10
    text = rnncore("noise", "--pairs", 20, "--budget", "170s")
    assert f"20 pairs of identical code, 10.0 s each, grid {grid}. A gate of 2.83 min has 16, and of those:" in text.out
    assert ".benchmarks/noise/" in text.out


@pytest.mark.usefixtures("made_pairs")
@pytest.mark.parametrize("verb", [("noise", "--pairs", 8), ("selftest", "--blocks", 8, "--budget", "90s", "--gates", 10)])
def test_thresholds_that_are_none_are_told_before_a_pair_is_measured(
    verb: Sequence[object], rnncore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "run_pair", lambda *_, **__: pytest.fail("measured"))
    (tmp_path / "pyproject.toml").write_text('[tool.rnncore.thresholds]\n"*" = 3\n', encoding="utf-8")
    done = rnncore(*verb)
    assert (done.code, "tool.rnncore.thresholds" in done.said) == (2, True)


@pytest.mark.parametrize("option", ["--markdown", "--junit"])
def test_a_gate_whose_verdict_cannot_be_written_is_refused_before_anything_is_measured(
    option: str, rnncore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnncore.drive.gate.run_gate", lambda *_, **__: pytest.fail("measured"))
    done = rnncore("gate", "--base", "main", option, tmp_path)
    assert (done.code, f"{tmp_path}: cannot be written (it is a folder)" in done.said) == (2, True)


@pytest.mark.usefixtures("made_pairs")
def test_a_self_test_is_saved_and_can_be_replayed(rnncore: Command, tmp_path: Path) -> None:
    done = rnncore("selftest", "--blocks", 14, "--delays", "5", "--budget", "120s", "--gates", 10, "--json")
    assert done.code == 0
    ours = {score["delay_pct"]: score for score in done.json["scores"] if score["rule"] == "rnncore gate"}
    assert ours[5.0]["found"]["share"] == 1
    assert ours[0.0]["false_alarms"]["happened"] == 0
    (folder,) = (tmp_path / "reports" / "selftest").iterdir()
    assert json.loads((folder / "selftest.json").read_text("utf-8")) == done.json
    assert f", grid {done.json['grid']}. In parentheses" in (folder / "selftest.md").read_text("utf-8")
    assert "| rnncore gate | 5 % | 100.0 %" in (folder / "selftest.md").read_text("utf-8")
    asked = ("--budget", "120s", "--gates", 10, "--json", "--out", "again")
    again = rnncore("selftest", "--replay", folder / "processes", *asked)
    assert again.json == done.json


@pytest.mark.usefixtures("made_pairs")
def test_a_self_test_of_too_few_blocks_is_refused_at_once(rnncore: Command, tmp_path: Path) -> None:
    done = rnncore("selftest", "--blocks", 10, "--delays", "5", "--budget", "120s")
    assert done.code == 2
    assert "a gate of 120 s has 11 pairs here, and 10 blocks are too few to draw from. Give --blocks 11" in done.said
    (folder,) = (tmp_path / "reports" / "selftest").iterdir()
    assert len(list((folder / "processes").iterdir())) == 2


@pytest.mark.usefixtures("made_pairs")
def test_a_self_test_of_gates_that_find_nothing_is_refused_at_once(rnncore: Command, tmp_path: Path) -> None:
    done = rnncore("selftest", "--blocks", 10, "--delays", "5", "--budget", "30s")
    assert done.code == 2
    assert "a gate of 30 s has 2 pairs here, and of fewer than 8 it finds nothing. Give --budget 2m or more" in done.said
    (folder,) = (tmp_path / "reports" / "selftest").iterdir()
    assert len(list((folder / "processes").iterdir())) == 2


@pytest.mark.parametrize("verb", [("gate", "--base", "no-such"), ("selftest",)])
def test_what_is_refused_at_once_leaves_no_folder(
    verb: Sequence[str], rnncore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rnncore.cli.gate._choose_waiting", lambda: None)
    (tmp_path / "kept").mkdir()
    # No repository of git.
    assert rnncore(*verb, "--out", "kept/more/of/it").code == 2
    assert [*(tmp_path / "kept").iterdir()] == []


@pytest.mark.usefixtures("made_pairs")
@pytest.mark.parametrize("verb", [("noise", "--pairs", 8), ("selftest", "--blocks", 8, "--budget", "90s", "--gates", 10)])
def test_benchmarks_are_chosen_as_in_a_gate(
    verb: Sequence[object], rnncore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []
    made = noise.run_pair

    def run_pair(trees: Any, suites: Suites, *more: Any, **named: Any) -> Pair:
        asked.append(suites.arguments)
        return made(trees, suites, *more, **named)

    monkeypatch.setattr(noise, "run_pair", run_pair)
    assert rnncore(*verb, "-k", "gru and not lstm", "bench", "--", "-x").code == 0
    assert set(asked) == {("--rnn-scale=gate", "-k", "gru and not lstm", "-x")}


@pytest.mark.parametrize("percents", [0, -5, "nan", "inf"])
def test_a_slowdown_that_is_none_is_refused_before_anything_is_measured(rnncore: Command, percents: object) -> None:
    done = rnncore("noise", "--wanted", percents)
    assert (done.code, done.out) == (2, "")
    assert f"--wanted is {percents}; give percents above 0, such as 5." in done.said


@pytest.mark.parametrize("verb", [("noise", "--pairs", 5), ("selftest", "--blocks", 7)])
def test_too_few_pairs_are_refused_in_words(verb: Sequence[object], rnncore: Command) -> None:
    done = rnncore(*verb)
    assert (done.code, done.out) == (2, "")
    assert f"{verb[1]} is {verb[2]}; give 8 or more" in done.said


def test_the_trend_of_files_says_that_it_takes_a_folder(rnncore: Command, tmp_path: Path) -> None:
    files = [make_run(tmp_path, run_content([inference("gru", "torch", 1, 0.01)]), f"{name}.json") for name in "ab"]
    for given in (files, files[:1]):
        done = rnncore("trend", *given)
        assert (done.code, done.out) == (2, "")
        assert "trend takes one folder" in done.said
        assert "--store URL" in done.said


@pytest.mark.parametrize("delays", ["", "a", "0", "-3", "3,3", "nan", "inf"])
def test_delays_that_are_none_are_told(rnncore: Command, delays: str) -> None:
    done = rnncore("selftest", "--delays", delays)
    assert done.code == 2
    assert "give percents above 0, each once, such as 3,5,10" in done.said


def test_a_narrow_terminal_still_shows_every_verdict(
    rnncore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "80")):
        monkeypatch.setenv(name, value)
    base, head = (make_run(tmp_path, run_content([inference("gru", "torch", 1, 0.01)]), f"{name}.json") for name in "ab")
    done = rnncore("compare", base, head)
    assert "unclear" in done.out
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in done.out.splitlines()[4:]) <= 80


def test_no_color_keeps_colours_out(rnncore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.setenv(name, "1")
    base, head = (make_run(tmp_path, run_content([inference("gru", "torch", 1, 0.01)]), f"{name}.json") for name in "ab")
    done = rnncore("compare", base, head)
    # Weight is no colour.
    assert set(re.findall(r"\x1b\[([0-9;]*)m", done.out)) <= {"0", "1"}


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_a_users_own_csv_goes_from_training_to_the_next_hours(
    suffix: str, csv: Path, trained: Path, rnncore: Command
) -> None:
    done = rnncore("forecast", trained.with_suffix(suffix), csv, "--json")
    assert done.code == 0, done.err
    (hour,) = done.json["hours"]
    assert (hour["zone"], hour["time"]) == ("ZONE", "2017-07-07 12:00:00")
    assert 0 < hour["low_mw"] < hour["load_mw"] < hour["high_mw"] < 2000


def test_a_forecast_of_a_day_is_written_with_its_bounds(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    model, out = tmp_path / "day.safetensors", tmp_path / "next.csv"
    assert rnncore("train", "--data", csv, "--horizon", 24, "--max-steps", 2, "--out", model).code == 0
    assert rnncore("export", model).code == 0
    for source in (model, model.with_suffix(".onnx")):
        done = rnncore("forecast", source, csv, "--out", out)
        assert done.out == f"{out}: 24 hours\n"
        lines = out.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "zone,time,load_mw,low_mw,high_mw,kind"
        assert lines[1].startswith("ZONE,2017-07-07 12:00:00,")
        assert len(lines) == 25
    done = rnncore("forecast", model, csv)
    assert len(done.out.splitlines()) == 25


def test_levels_and_quantiles_are_asked_for_by_share(csv: Path, trained: Path, rnncore: Command) -> None:
    facts = rnncore("forecast", trained, csv, "--level", "0.9,0.5", "--quantile", "0.1,0.5", "--json").json
    assert (facts["unit"], facts["levels"]) == ("MW", [0.5, 0.9])
    (hour,) = facts["hours"]
    assert hour["low_90_mw"] < hour["low_50_mw"] <= hour["load_mw"] <= hour["high_50_mw"] < hour["high_90_mw"]
    assert hour["q0.1_mw"] < hour["q0.5_mw"]
    head, row = rnncore("forecast", trained, csv, "--level", "0.5,0.9", "--quantile", "0.1").out.splitlines()
    assert head.split() == [
        *["zone", "time", "MW", "low", "50", "%", "high", "50", "%", "low", "90", "%", "high", "90", "%", "q0.1"]
    ]
    assert len(row.split()) == 1 + 2 + 6


@pytest.mark.parametrize(
    ("option", "text", "said"),
    [
        ("--level", "90", "--level is 90; give a share of the hours between 0 and 1"),
        ("--level", "", "--level is ''; give shares of the hours, apart by commas, such as 0.5,0.9"),
        ("--quantile", "0.1;0.5", "--quantile is '0.1;0.5'; give shares"),
        ("--quantile", "0", "--quantile is 0; give a share"),
    ],
)
def test_a_share_that_is_none_is_refused(
    option: str, text: str, said: str, csv: Path, trained: Path, rnncore: Command
) -> None:
    done = rnncore("forecast", trained, csv, option, text)
    assert (done.code, done.out) == (2, "")
    assert said in done.said


def test_a_level_that_held_out_hours_are_too_few_for_is_a_dash_with_the_reason(
    csv: Path, trained: Path, rnncore: Command
) -> None:
    done = rnncore("forecast", trained, csv, "--level", "0.999")
    assert done.code == 0
    assert done.out.splitlines()[1].split()[-2:] == ["–", "–"]
    assert re.search(r"ZONE: no bounds where a dash is: \d+ held-out hours of one hour of the day are too few", done.said)


@pytest.mark.parametrize(("factor", "unit"), [(1e-7, "W"), (1e-4, "kW"), (1e3, "GW")])
def test_a_small_load_is_shown_in_its_unit_and_forecast_alike(
    factor: float, unit: str, csv: Path, trained: Path, tmp_path: Path, rnncore: Command
) -> None:
    other, model = tmp_path / "ZONE_hourly.csv", tmp_path / "model.safetensors"
    table = pd.read_csv(csv)
    table["ZONE_MW"] = [f"{load * factor:.12g}" for load in table["ZONE_MW"]]
    table.to_csv(other, index=False)
    assert rnncore("train", "--data", other, "--max-steps", 3, "--device", "cpu", "--out", model).code == 0
    (here,), (there,) = (rnncore("forecast", *files, "--json").json["hours"] for files in ((model, other), (trained, csv)))
    for name in ("load_mw", "low_mw", "high_mw"):
        assert here[name] == pytest.approx(factor * there[name], rel=1e-9)
    head, row = rnncore("forecast", model, other).out.splitlines()
    assert head.split()[2] == unit
    assert all(float(cell.replace(",", "")) > 0.1 for cell in row.split()[-3:])


def test_a_missing_hour_does_not_stop_a_forecast_and_is_named(
    csv: Path, trained: Path, tmp_path: Path, rnncore: Command
) -> None:
    lines = csv.read_text(encoding="utf-8").splitlines()
    rows = sorted(lines[1:])
    missing = rows.pop(-50).split(",")[0]
    path = tmp_path / "gap.csv"
    path.write_text("\n".join([lines[0], *rows]) + "\n", encoding="utf-8")
    done = rnncore("forecast", trained, path)
    assert done.code == 0
    assert f"ZONE: {missing} was missing and is filled: " in done.said
    facts = rnncore("forecast", trained, path, "--json").json
    assert [(one["zone"], one["time"]) for one in facts["filled"]] == [("ZONE", missing)]
    assert rnncore("forecast", trained, csv, "--json").json["filled"] == []


def test_files_of_a_forecast_are_read_as_those_of_the_training(csv: Path, tmp_path: Path, rnncore: Command) -> None:
    hourly = pd.read_csv(csv).sort_values("Datetime")
    times = pd.to_datetime(hourly["Datetime"])
    halves = pd.concat(
        [pd.DataFrame({"Datetime": times + pd.Timedelta(minutes=at), "north": hourly["ZONE_MW"]}) for at in (0, 30)]
    )
    halves["celsius"] = 20
    path, model = tmp_path / "halves.csv", tmp_path / "model.safetensors"
    halves.sort_values("Datetime").to_csv(path, index=False)
    asked = ("--column", "north", "--resample", "1h")
    assert rnncore("train", "--data", path, *asked, "--max-steps", 1, "--device", "cpu", "--out", model).code == 0
    assert rnncore("export", model).code == 0
    for source in (model, model.with_suffix(".onnx")):
        for verb in (("forecast", source, path), ("evaluate", source, "--data", path, "--no-baselines")):
            done = rnncore(*verb, "--json")
            assert "As in the training: --column 'north' --resample 1h" in done.said
            told = rnncore(*verb, *asked, "--json")
            assert "As in the training" not in told.said
            assert done.json == told.json
    assert "As in the training: --resample 1h" in rnncore("forecast", model, path, "--column", "celsius").said


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_of_a_forecast_is_drawn(suffix: str, csv: Path, trained: Path, tmp_path: Path, rnncore: Command) -> None:
    path = tmp_path / f"next{suffix}"
    done = rnncore("forecast", trained, csv, "--plot", path)
    assert done.code == 0
    assert len(done.out.splitlines()) == 2
    assert f"Picture: {path}" in done.said.replace(f"{tmp_path} ", f"{tmp_path}")
    assert path.stat().st_size > 1000


def test_a_picture_of_another_kind_is_refused_before_any_work(csv: Path, trained: Path, rnncore: Command) -> None:
    done = rnncore("forecast", trained, csv, "--plot", "next.jpg")
    assert (done.code, done.out) == (2, "")
    assert "--plot is next.jpg; give a file name that ends in .png or .svg." in done.said


def test_loads_in_another_unit_than_the_models_are_refused(
    csv: Path, trained: Path, tmp_path: Path, rnncore: Command
) -> None:
    other, table = tmp_path / "ZONE_hourly.csv", pd.read_csv(csv)
    table["ZONE_MW"] *= 1000
    table.to_csv(other, index=False)
    for asked in (("forecast", trained, other), ("evaluate", trained, "--data", other)):
        done = rnncore(*asked)
        assert (done.code, done.out) == (2, "")
        assert "as it seems, in another unit. Give the loads in the unit of the training" in done.said


def test_a_file_of_an_unknown_zone_is_forecast_without_bounds_and_says_so(
    csv: Path, trained: Path, tmp_path: Path, rnncore: Command
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(csv.read_text().replace("ZONE_MW", "OTHER_MW"))
    done = rnncore("forecast", trained, other)
    assert done.code == 0
    assert "OTHER: the model was not trained on this zone" in done.said
    assert done.out.splitlines()[1].split()[-2:] == ["–", "–"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_end_the_cleaning_up(number: signal.Signals) -> None:
    before, cleaned = signal.getsignal(number), list[signal.Signals]()

    def clean_up() -> None:
        signal.raise_signal(number)
        cleaned.append(number)

    with ExitStack() as stack:
        stack.enter_context(pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit))
        stack.enter_context(screen.end_in_order())
        stack.callback(clean_up)
        signal.raise_signal(number)
    assert cleaned == [number]
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_one_that_was_dropped_ends_the_block(number: signal.Signals) -> None:
    # As Python drops what is raised in `__del__`.
    def block() -> None:
        with suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(number)

    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit), screen.end_in_order():
        block()


def test_a_gate_says_how_many_pairs_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    for ended, said in ((1, "1 pair, none"), (2, "2 pairs, none")):
        with screen.gate_progress(600.0) as on_progress:
            on_progress(Progress(ended, 0, 0, 500.0))
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("gate", "--base", "main"), ("noise",), ("selftest",)], ids=lambda verb: verb[0])
def test_arguments_that_would_leave_no_run_file_are_refused(verb: tuple[str, ...], rnncore: Command) -> None:
    done = rnncore(*verb, "--", "--benchmark-json=x.json", "-x", "--collect-only")
    assert (done.code, done.out) == (2, "")
    assert "--benchmark-json=x.json, --collect-only: set for each process by rnncore itself" in done.said


def test_two_gates_of_one_second_have_folders_of_their_own(monkeypatch: pytest.MonkeyPatch, rnncore: Command) -> None:
    folders = []

    def noted(*arguments: Any) -> None:
        folders.extend(one for one in arguments if isinstance(one, Path) and one.name == "processes")
        raise ConfigError("enough")

    monkeypatch.setattr(gate, "run_gate", noted)
    monkeypatch.setattr("rnncore.cli.gate._choose_waiting", lambda: None)
    assert [rnncore("gate", "--base", "main").code for _ in range(4)] == [2] * 4
    assert len(set(folders)) == 4
