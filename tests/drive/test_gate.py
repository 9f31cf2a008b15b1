"""Tests of the gate's loop on planted processes: order, looks, budget, and what it says."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.compare import looks
from rnncore.compare.floors import Floor, NoiseRecord, write_noise
from rnncore.compare.looks import LOOKS, processes_per_side
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison
from rnncore.drive import gate
from rnncore.drive.gate import Progress, measure_interleaved, parse_budget
from rnncore.drive.process import Process, Suites
from rnncore.drive.worktrees import Tree
from rnncore.errors import ConfigError
from rnncore.runfile.read import read_run
from tests.run_files import inference, make_run, run_content

PROCESS_S = 7.0


class Machine:
    """A machine of planted speed: processes take 7 s of its own clock, and the head's times are longer by a factor."""

    def __init__(self, folder: Path, head_factor: float, noise: float) -> None:
        self.now_s = 0.0
        self.order: list[str] = []
        self._folder, self._factor, self._noise = folder, head_factor, noise
        self._rng = np.random.default_rng(0)

    def monotonic(self) -> float:
        return self.now_s

    def run_process(self, tree: Path, suites: Suites, run_file: Path, extra: Sequence[str] = ()) -> Process:
        self.now_s += PROCESS_S
        self.order.append(run_file.stem)
        factor = self._factor if tree.name == "head" else 1.0
        noise = np.exp(self._rng.exponential(self._noise, 2))
        rows = [
            inference("gru", "torch", 1, 0.005 * factor * noise[0]),
            inference("lstm", "torch", 1, 0.003 * noise[1]),
        ]
        content = run_content(rows)
        content["datetime"] = f"2026-11-24T10:{int(self.now_s) // 60 % 60:02}:{int(self.now_s) % 60:02}+00:00"
        return Process(read_run(make_run(self._folder, content, run_file.name)), PROCESS_S)


def _gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head_factor: float = 1.0, noise: float = 0.005, budget_s: float = 600.0
) -> tuple[Comparison, Machine, list[Progress]]:
    machine, told = Machine(tmp_path, head_factor, noise), list[Progress]()
    monkeypatch.setattr(gate, "run_process", machine.run_process)
    monkeypatch.setattr(gate.time, "monotonic", machine.monotonic)
    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    comparison = measure_interleaved(trees, Suites(), budget_s, Thresholds(), tmp_path / "store", tmp_path, told.append)
    return comparison, machine, told


def _verdicts(comparison: Comparison) -> list[str]:
    return [one.verdict for one in comparison.judgements if one.measure == "time"]


def test_processes_alternate_and_the_first_of_each_tree_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch)
    assert machine.order[:10] == [
        *("base-warm-up", "head-warm-up"),
        *("base-000", "head-000", "head-001", "base-001"),
        *("base-002", "head-002", "head-003", "base-003"),
    ]
    assert (
        comparison.judgements[0].base_processes == comparison.judgements[0].head_processes == (len(machine.order) - 2) // 2
    )
    assert comparison.notes == ()


def test_a_clear_slowdown_is_found_at_the_first_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, head_factor=1.2)
    assert _verdicts(comparison) == ["slower", "same"]
    assert LOOKS[0] * 600 <= machine.now_s < LOOKS[0] * 600 + 4 * PROCESS_S


def test_what_noise_hides_is_unclear_when_the_budget_is_spent_and_not_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, machine, told = _gate(tmp_path, monkeypatch, noise=0.5)
    assert _verdicts(comparison) == ["unclear", "unclear"]
    assert 600 - 4 * PROCESS_S <= machine.now_s <= 600
    assert told[-1].left_s >= 0


def test_progress_counts_processes_and_benchmarks_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, machine, told = _gate(tmp_path, monkeypatch, noise=0.5)
    assert [now.processes for now in told] == list(range(1, len(machine.order) - 1))
    assert told[0] == Progress(1, 0, 0, 600 - 3 * PROCESS_S)
    assert told[-1].decided + told[-1].undecided == 6
    assert told[-1].undecided >= 2


def _noise_of_the_machine(tmp_path: Path, wander: float) -> None:
    run = read_run(make_run(tmp_path, run_content([inference("gru", "torch", 1, 0.005)]), "any.json"))
    floors = {run.records[0].fullname: (Floor(8, 2 * wander, None), Floor(32, wander, None))}
    scale = str(run.session["scale"])
    write_noise(tmp_path / "store", NoiseRecord(run.fingerprint, scale, "2026-11-24", PROCESS_S, {}, floors))


def test_noise_that_was_measured_lifts_the_threshold_of_a_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _noise_of_the_machine(tmp_path, 0.25)
    comparison, _, _ = _gate(tmp_path, monkeypatch, head_factor=1.2)
    assert "slower" not in _verdicts(comparison)
    assert "hides changes below, with 40 processes a side" in comparison.notes[0]


def test_a_chosen_threshold_below_the_noise_ends_a_gate_after_its_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _noise_of_the_machine(tmp_path, 0.25)
    machine = Machine(tmp_path, 1.0, 0.005)
    monkeypatch.setattr(gate, "run_process", machine.run_process)
    monkeypatch.setattr(gate.time, "monotonic", machine.monotonic)
    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    chosen = Thresholds((("*", {"time_pct": 10.0}),))
    with pytest.raises(ConfigError, match=r"where the noise floor is 25\.0 % and more than 32 are needed"):
        measure_interleaved(trees, Suites(), 600.0, chosen, tmp_path / "store", tmp_path, lambda now: None)
    assert machine.order == ["base-warm-up", "head-warm-up"]


@pytest.mark.parametrize(("budget_s", "processes"), [(1.0, 2), (42.0, 2), (70.0, 4), (600.0, 40), (605.0, 42)])
def test_a_budget_holds_whole_rounds_of_turns(budget_s: float, processes: int) -> None:
    assert processes_per_side(budget_s, PROCESS_S) == processes


def test_a_budget_for_less_than_one_block_measures_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, budget_s=1.0)
    assert len(machine.order) == 6
    assert "too few processes" in comparison.judgements[0].reason


def test_the_errors_of_all_looks_add_up_to_that_of_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[float] = []
    judge = looks.judge

    def noting(*arguments: Any) -> Comparison:
        errors.append(arguments[3])
        return judge(*arguments)

    monkeypatch.setattr(looks, "judge", noting)
    comparison, *_ = _gate(tmp_path, monkeypatch, noise=0.5)
    assert len(errors) == len(LOOKS)
    assert all(earlier < later for earlier, later in pairwise(errors))
    assert sum(errors) == pytest.approx(comparison.family_error)


def test_identical_code_is_the_same_before_the_budget_is_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch)
    assert (comparison.verdict, comparison.exit_code) == ("same", 0)
    assert machine.now_s < 600 - 4 * PROCESS_S


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_budgets_have_units(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "", "-1m", "0s", "nanm", "infh", "1d"])
def test_a_wrong_budget_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--budget is"):
        parse_budget(text)


def test_operations_that_grew_are_named_for_what_became_slower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, _, _ = _gate(tmp_path, monkeypatch, head_factor=1.2)

    def profiled(tree: Path, suites: Suites, run_file: Path, extra: Sequence[str] = ()) -> Process:
        assert list(extra) == ["--rnn-profile"]
        assert all("gru" in path for path in suites.paths)
        grown_s = 0.001 if tree.name == "head" else 0.0
        ops = [
            {"op": "aten::addmm", "where": "cpu", "self_s": 0.004 + grown_s, "calls": 1, "kind": "recurrent products"},
            {"op": "aten::tanh", "where": "cpu", "self_s": 0.001, "calls": 1, "kind": "pointwise"},
        ]
        row = inference("gru", "torch", 1, 0.005)
        row["extra_info"]["profile"] = {"wall_s": 0.005 + grown_s, "ops": ops}
        return Process(read_run(make_run(tmp_path, run_content([row]), run_file.name)), PROCESS_S)

    monkeypatch.setattr(gate, "run_process", profiled)
    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    found = gate._with_profiles(comparison, trees, Suites(), tmp_path)
    assert [one.grown for one in found.judgements if one.verdict == "slower"] == ["aten::addmm +1.0 ms of +1.0 ms"]
    assert replace(found, judgements=comparison.judgements) == comparison
