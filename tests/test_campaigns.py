"""Tests of the scripts in tests/campaigns: what they simulate is judged as the gate judges it, and counted rightly."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from rnncore.compare import looks
from rnncore.compare.change_points import find_trends, steps_of
from rnncore.compare.history import read_history
from rnncore.compare.judge import FAMILY_ERROR, Side
from rnncore.compare.looks import Looks
from rnncore.compare.replay import Rate
from rnncore.compare.signs import FloatArray
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison
from rnncore.runfile.record import Record, Run
from tests.campaigns import foreign_suites, trend_scale
from tests.campaigns.gate_rates import (
    ANY_CHANGE,
    LEVELS,
    drawn_gates,
    false_verdicts,
    gate_of,
    live_noise,
    rates_of,
    read_gates,
    read_recording,
)
from tests.run_files import inference, make_run, run_content

REPOSITORY = Path(__file__).parents[1]
SCRIPT = "tests/campaigns/gate_rates.py"
BASE_S = 0.01


def _run(quickest_s: FloatArray, pair: int) -> Run:
    records = tuple(
        Record(str(place), "made", (float(seconds),), {}) for place, seconds in enumerate(quickest_s) if seconds > 0
    )
    return Run(Path("a.json"), f"2026-11-28T00:{pair:02}:00", None, {}, None, (), (), (), None, {"pair": pair}, records, "")


def _gate_of_run_files(logs: FloatArray, thresholds: Thresholds) -> Comparison:
    """Let a gate judge runs of these ratios, pair after pair, each without what was decided before."""
    gate, base, head = Looks(thresholds), [], []
    for number, of_pair in enumerate(logs, 1):
        left_out = np.isin(np.arange(len(of_pair)).astype(str), list(gate.decided_benchmarks))
        base.append(_run(np.where(left_out, 0.0, BASE_S), number))
        head.append(_run(np.where(left_out, 0.0, BASE_S * np.exp(of_pair)), number))
        if number == len(logs) or gate.is_due(number, number / len(logs)):
            found = gate.take(Side("base", tuple(base)), Side("head", tuple(head)), number / len(logs))
            if not gate.undecided:
                break
    return found


@pytest.mark.parametrize("thresholds", [Thresholds(), ANY_CHANGE], ids=["usual", "any change"])
@pytest.mark.parametrize("pairs", [12, 18])
def test_a_drawn_gate_is_judged_as_the_run_files_of_its_ratios_are(pairs: int, thresholds: Thresholds) -> None:
    noise = live_noise(np.random.default_rng(3), 60)[:, ::5]
    seen = set()
    for logs in drawn_gates(noise, pairs, 3):
        logs[:, 1] += 0.1
        logs[:, 2] -= 0.1
        ours, theirs = gate_of(logs, thresholds), _gate_of_run_files(logs, thresholds)
        expected = {one.fullname: one for one in theirs.judgements}
        for one in ours.judgements:
            other = expected[one.fullname]
            assert (one.verdict, one.reason) == (other.verdict, other.reason)
            assert (one.ratio, one.p_value) == pytest.approx((other.ratio, other.p_value))
            assert (one.low, one.high) == pytest.approx((other.low, other.high))
            seen.add(one.verdict)
    assert {"slower", "faster", "unclear"} <= seen
    assert ("same" in seen) == (thresholds is not ANY_CHANGE)


def test_hardly_any_noise_hides_nothing_and_makes_nothing_up() -> None:
    noise = np.random.default_rng(0).normal(0, 0.001, (40, 4))
    found = rates_of(noise, 12, 8)
    assert (found.alarms, found.unclear, found.unclear_benchmarks) == (Rate(0, 8), Rate(0, 8), Rate(0, 32))
    assert found.found[0.03] == found.found[0.05] == Rate(8, 8)
    assert found.others == Rate(0, 24)


def test_noise_hides_a_slowdown_and_leaves_benchmarks_unclear() -> None:
    noise = np.random.default_rng(0).normal(0, [0.001, 0.001, 0.3], (40, 3))
    found = rates_of(noise, 12, 9)
    # The two quiet ones are found, and the other is open.
    assert found.found[0.05] == Rate(6, 9)
    assert (found.unclear, found.unclear_benchmarks) == (Rate(9, 9), Rate(9, 27))


@pytest.mark.parametrize("noise", LEVELS)
def test_no_more_gates_err_than_may(noise: str) -> None:
    gates = 40
    assert false_verdicts(LEVELS[noise], gates).happened <= binom.ppf(0.9999, gates, FAMILY_ERROR)


def test_gates_that_err_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault of the one above: a gate that may err in half of all cases does."""
    monkeypatch.setattr(looks, "FAMILY_ERROR", 0.5)
    assert false_verdicts(LEVELS["drift of 10 % over a gate"], 40).share > 0.2


def _quickest(processes: int) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    return [{name: float(0.01 * np.exp(rng.normal(0, 0.01))) for name in ("gru", "lstm")} for _ in range(processes)]


def test_neighbours_of_a_recording_are_pairs(tmp_path: Path) -> None:
    path, processes = tmp_path / "made.jsonl", _quickest(8)
    lines = [json.dumps({name: {"min": one, "med": 2 * one, "n": 3} for name, one in each.items()}) for each in processes]
    path.write_text("\n".join(lines), encoding="utf-8")
    expected = [
        [np.log(second[name] / first[name]) for name in ("gru", "lstm")]
        for first, second in zip(processes[::2], processes[1::2], strict=True)
    ]
    assert read_recording(path) == pytest.approx(np.asarray(expected))


def test_of_recorded_rounds_the_quickest_counts_and_delayed_processes_and_the_first_of_an_odd_number_do_not(
    tmp_path: Path,
) -> None:
    path, processes = tmp_path / "made.jsonl.gz", _quickest(5)
    plain = [{"delay_pct": 0, "rounds_s": {name: [one, 2 * one] for name, one in each.items()}} for each in processes]
    slowed = {"delay_pct": 5, "rounds_s": {"gru": [9.0], "lstm": [9.0]}}
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(map(json.dumps, [*plain[:2], slowed, *plain[2:]])))
    expected = [
        [np.log(processes[second][name] / processes[first][name]) for name in ("gru", "lstm")]
        for first, second in ((1, 2), (3, 4))
    ]
    assert read_recording(path) == pytest.approx(np.asarray(expected))


def test_pairs_of_gates_count_as_long_as_nothing_is_left_out(tmp_path: Path) -> None:
    ratios = {"one": [(1.1, 1.0), (1.0, 1.2), (1.5, None)], "two": [(0.9, 1.3)]}
    for gate, of_gate in ratios.items():
        for pair, of_pair in enumerate([(9.0, 9.0), *of_gate]):
            name = f"{pair - 1:03}" if pair else "warm-up"
            for side in ("base", "head"):
                times = [0.005 * (ratio if side == "head" else 1.0) if ratio else None for ratio in of_pair]
                rows = [inference(cell, "torch", 1, one) for cell, one in zip(("gru", "lstm"), times, strict=True) if one]
                content = run_content(rows)
                content["rnncore"]["pair"] = pair - 1 if pair else None
                make_run(tmp_path / gate / "processes", content, f"{side}-{name}.json")
    assert np.exp(read_gates(tmp_path)) == pytest.approx(np.asarray([(1.1, 1.0), (1.0, 1.2), (0.9, 1.3)]))


def test_the_script_prints_the_rates_of_a_recording(tmp_path: Path) -> None:
    path = tmp_path / "made.jsonl"
    path.write_text("\n".join(json.dumps({name: {"min": one} for name, one in each.items()}) for each in _quickest(40)))
    command = [sys.executable, SCRIPT, str(path), "--pairs", "10", "12", "--gates", "4"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True)
    assert "20 pairs of 2 benchmarks" in done.stdout
    rows = [line.split("|")[1:3] for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [[cell.strip() for cell in row] for row in rows] == [["10", "0.0 % (0.0 to 60.2)"], ["12", "0.0 % (0.0 to 60.2)"]]


def test_the_script_refuses_to_run_for_nothing() -> None:
    done = subprocess.run([sys.executable, SCRIPT], cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "give recordings or live, or --level alone" in done.stderr


def test_trend_finds_what_a_made_store_holds_and_no_more(tmp_path: Path) -> None:
    files, machines = 240, len(trend_scale.MACHINES)
    plan = trend_scale.make_plan(benchmarks=11, commits=files // machines)
    trend_scale.write_files(tmp_path, plan, range(files))
    history = read_history(tmp_path)
    assert (history.files, history.unread) == (files, ())
    assert [len(series.medians_s) for series in history.series] == [files // machines] * 11 * machines
    found = {(step.benchmark, step.machine): (step.first_with.id, step.ratio) for step in steps_of(find_trends(history))}
    planted = {
        (series.benchmark, series.machine): (trend_scale.commit_id(commit), pytest.approx(ratio, rel=0.02))
        for number, (commit, ratio) in plan.steps.items()
        for series in history.series
        if trend_scale.benchmark_name(number) in series.benchmark
    }
    assert len(planted) == 3 * machines
    assert found == planted


def test_the_script_prints_what_three_calls_of_trend_took(tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = [
        sys.executable,
        "tests/campaigns/trend_scale.py",
        str(store),
        "--files",
        "40",
        "--benchmarks",
        "2",
        "--measure",
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.startswith("40 files of 2 benchmarks, ")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line.startswith("|")][
        2:
    ]
    assert [row[0] for row in rows] == ["first reading", "nothing new", "10 files more"]
    assert [row[4].split(":")[0] for row in rows] == [f"{count} run files, 8 histories" for count in (40, 40, 50)]
    assert all(float(row[1]) > 0 and float(row[2]) > 0 and float(row[3].replace(",", "")) > 10 for row in rows)
    again = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False)
    assert again.returncode == 2
    assert "give a folder that does not" in again.stderr


# ------------------------------------------------------------------------------------------------- other people's suites

MADE = foreign_suites.Project("made", "owner/made", "main", "tests", "test_slow", "tests/conftest.py", folder="part")


def test_a_foreign_project_is_cloned_and_a_benchmark_planted_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "copies" / "owner" / "made"
    suite = source / "part" / "tests" / "conftest.py"
    suite.parent.mkdir(parents=True)
    suite.write_text("OWN = 1\n", encoding="utf-8")
    for command in (["init", "--quiet", "--initial-branch=main"], ["add", "."], ["commit", "--quiet", "--message", "one"]):
        foreign_suites.git(source, *command)
    settings = tmp_path / "gitconfig"
    settings.write_text(f'[url "file://{tmp_path}/copies/"]\n\tinsteadOf = https://github.com/\n', encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    folder = tmp_path / "out"
    folder.mkdir()
    # Also where a campaign goes on in a folder that it has filled.
    for _ in range(2):
        clone = foreign_suites.cloned(MADE, folder, 5.0)
        assert clone == folder / "clone" / "part"
        assert (clone / "tests" / "conftest.py").read_text("utf-8") == "OWN = 1\n"
        hook: dict[str, Any] = {}
        exec(foreign_suites.git(clone, "show", "planted:./tests/conftest.py"), hook)  # noqa: S102 (as pytest does)
        assert [hook["pytest_rnn_delay_pct"](f"tests/a.py::{name}") for name in ("test_slow", "test_other")] == [5.0, None]
        assert hook["OWN"] == 1


def _verdicts(**of_benchmarks: str) -> dict[str, Any]:
    rows = [{"fullname": f"tests/a.py::{name}", "time": {"verdict": verdict}} for name, verdict in of_benchmarks.items()]
    return {"benchmarks": rows}


def test_of_foreign_suites_what_nothing_changed_and_was_called_is_a_false_alarm() -> None:
    noise = {"pair_s": 3.0, "benchmarks": [{"floor_pct": 1.0}, {"floor_pct": 2.0}, {"floor_pct": 6.0}]}
    same = _verdicts(test_slow="faster", test_b="same", test_c="unclear")
    planted = _verdicts(test_slow="slower", test_b="slower", test_c="same")
    found = foreign_suites.row(MADE, same, planted, noise, _verdicts(test_slow="unclear"))
    assert found == [
        "made",
        3,
        1.5,
        "2.0 (6.0)",
        "1 faster, 1 same, 1 unclear",
        "slower; 1 slower, 1 same",
        2,
        "1 unclear",
    ]
