"""Tests of the gate's loop on planted pairs: order, looks, budget, and what it says."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from rnncore.compare import looks
from rnncore.compare.floors import Floor, NoiseRecord, write_noise
from rnncore.compare.judge import FAMILY_ERROR
from rnncore.compare.looks import FIRST_ERROR, FIRST_PAIRS, LAST_LOOK, LOOKS, pairs_in
from rnncore.compare.signs import pairs_needed
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.drive import gate
from rnncore.drive.gate import Progress, measure_in_pairs, parse_budget, run_gate
from rnncore.drive.pairs import FEWEST_SLOTS, MOST_SLOTS, Pair, Plan, planned
from rnncore.drive.process import NothingToMeasureError, Process
from rnncore.drive.reach import Reached, nothing_measured
from rnncore.drive.suites import Suites
from rnncore.drive.worktrees import Tree
from rnncore.errors import ConfigError, ProcessError, RunFileError
from rnncore.runfile.read import read_run
from rnncore.runfile.record import Run
from rnncore.runfile.slots import ENVIRONMENT
from tests.run_files import inference, make_run, plain_benchmark, plain_content, run_content

WARM_UP_S, SLOTS_S = 10.0, 0.3


class Machine:
    """A machine of planted speed: pairs take seconds of its own clock, and the head's times are longer by a factor."""

    def __init__(
        self,
        folder: Path,
        head_factor: float,
        noise: float,
        wrong_from: int | None = None,
        wrong_sides: Sequence[str] = ("head",),
    ) -> None:
        self.now_s = 0.0
        self.order: list[tuple[str, str]] = []
        self.numbers: list[int] = []
        self.plans: list[Plan] = []
        self.slots_s_of: dict[str, float] = {}
        self._folder, self._factor, self._noise = folder, head_factor, noise
        self._wrong_from, self._wrong_sides = wrong_from, wrong_sides
        self._rng = np.random.default_rng(0)

    def monotonic(self) -> float:
        return self.now_s

    def run_pair(
        self,
        trees: Sequence[Tree],
        suites: Suites,
        run_files: Sequence[Path],
        plan: Plan,
        number: int,
        chance: Random,
        **_: Any,
    ) -> Pair:
        slots_s = SLOTS_S / FEWEST_SLOTS * plan.slots
        wall_s = WARM_UP_S - SLOTS_S + slots_s
        self.now_s += wall_s
        self.numbers.append(number)
        self.plans.append(plan)
        base_file, head_file = run_files
        self.order.append((base_file.stem, head_file.stem))
        plan = replace(plan, without=plan.without | suites.without)
        runs = [self._run(tree.name, run_file, plan, number) for tree, run_file in zip(trees, run_files, strict=True)]
        return Pair(*runs, wall_s, slots_s, plan.slots, slots_s_of=self.slots_s_of)

    def _run(self, side: str, run_file: Path, plan: Plan, number: int) -> Run:
        factor = self._factor if side == "head" else 1.0
        noise = np.exp(self._rng.normal(0, self._noise, 2))
        rows = [
            inference("gru", "torch", 1, 0.005 * factor * noise[0]),
            inference("lstm", "torch", 1, 0.003 * noise[1]),
        ]
        if side in self._wrong_sides and self._wrong_from is not None and (number or 0) >= self._wrong_from:
            rows[1]["extra_info"]["validity"] = "wrong: made so"
        content = run_content([row for row in rows if row["fullname"] not in plan.without])
        content["datetime"] = f"2026-11-24T10:{int(self.now_s) // 60 % 60:02}:{int(self.now_s) % 60:02}+00:00"
        content["rnncore"]["pair"] = number
        return read_run(make_run(self._folder, content, run_file.name))


def _pair_s() -> float:
    """Return how long a pair takes after the warm-up."""
    warm_up = Pair(*[_no_run()] * 2, WARM_UP_S, SLOTS_S, FEWEST_SLOTS)
    return warm_up.wall_of(planned(warm_up))


def _no_run() -> Run:
    return Run(Path("a.json"), "2026-11-26", None, {}, None, (), (), (), None, {}, (), "")


def _gate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    head_factor: float = 1.0,
    noise: float = 0.005,
    budget_s: float = 600.0,
    thresholds: Thresholds | None = None,
    wrong_from: int | None = None,
    fail_fast: bool = False,
) -> tuple[Comparison, Machine, list[Progress]]:
    machine, told = Machine(tmp_path, head_factor, noise, wrong_from), list[Progress]()
    comparison = _measured(machine, tmp_path, monkeypatch, told.append, budget_s, thresholds, fail_fast)
    return comparison, machine, told


def _measured(
    machine: Machine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_progress: Callable[[Progress], None] = lambda now: None,
    budget_s: float = 600.0,
    thresholds: Thresholds | None = None,
    fail_fast: bool = False,
) -> Comparison:
    monkeypatch.setattr(gate, "run_pair", machine.run_pair)
    monkeypatch.setattr(gate.time, "monotonic", machine.monotonic)
    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    chosen, store = thresholds or Thresholds(), tmp_path / "store"
    return measure_in_pairs(trees, Suites(), budget_s, chosen, store, tmp_path, on_progress, fail_fast)


def _verdicts(comparison: Comparison) -> list[str]:
    return [one.verdict for one in comparison.judgements if one.measure == "time"]


def test_pairs_are_numbered_and_the_first_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch)
    assert machine.order[:3] == [("base-warm-up", "head-warm-up"), ("base-000", "head-000"), ("base-001", "head-001")]
    assert machine.numbers[1:] == list(range(len(machine.numbers) - 1))
    assert comparison.judgements[0].base_processes == comparison.judgements[0].head_processes == len(machine.order) - 1
    assert comparison.notes == ()


def test_what_a_budget_has_no_time_for_is_left_out_and_unclear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, 1.0, 0.002)
    gru, lstm = (inference(cell, "torch", 1, 0.005)["fullname"] for cell in ("gru", "lstm"))
    machine.slots_s_of = {gru: 100.0, lstm: SLOTS_S}
    comparison = _measured(machine, tmp_path, monkeypatch)
    assert {one.fullname: one.verdict for one in comparison.judgements if one.measure == "time"} == {
        lstm: "same",
        gru: "unclear",
    }
    (unclear,) = [one for one in comparison.judgements if one.verdict == "unclear"]
    assert unclear.reason == "the budget has no time for it beside the others: 10 pairs of all 2 take --budget 3m"
    assert all(gru not in one.fullname for one in comparison.judgements[:-1])


def test_a_budget_of_too_few_pairs_says_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, noise=0.05, budget_s=42.0)
    assert len(machine.order) == 1 + 3
    assert comparison.notes == ("The budget held 3 pairs, and 8 tell something: --budget 2m, or less by -k.",)


def test_the_warm_up_plans_the_slots_of_all_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, machine, _ = _gate(tmp_path, monkeypatch)
    warm_up, *rest = machine.plans
    assert warm_up.slots == FEWEST_SLOTS
    planned_slots = planned(Pair(*[_no_run()] * 2, WARM_UP_S, SLOTS_S, FEWEST_SLOTS)).slots
    assert FEWEST_SLOTS < planned_slots < MOST_SLOTS
    assert {plan.slots for plan in rest} == {planned_slots}


def test_what_is_decided_is_not_timed_any_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Thresholds((("*[gru-*", {"time_pct": 0.1, "same_time_pct": 0.1}),))
    comparison, machine, _ = _gate(tmp_path, monkeypatch, noise=0.01, thresholds=wide)
    left_out = {name for plan in machine.plans for name in plan.without}
    assert [plan.without for plan in machine.plans[:3]] == [frozenset()] * 3
    assert len(left_out) == 1
    assert "lstm" in left_out.pop()
    assert _verdicts(comparison) == ["unclear", "same"]


def test_a_clear_slowdown_is_found_at_the_first_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, head_factor=1.2)
    assert _verdicts(comparison) == ["slower", "same"]
    assert machine.numbers[1:] == list(range(FIRST_PAIRS))
    assert machine.now_s < LOOKS[0] * 600


# What is never decided, so that a gate goes on to its end.
NARROW = Thresholds((("*[lstm-*", {"time_pct": 0.01, "same_time_pct": 0.01}),))


def test_fail_fast_ends_a_gate_at_the_first_look_that_finds_something_slower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, machine, _ = _gate(tmp_path, monkeypatch, head_factor=1.2, thresholds=NARROW)
    assert (_verdicts(whole), machine.now_s > 600 - 2 * _pair_s()) == (["slower", "unclear"], True)
    comparison, machine, _ = _gate(tmp_path, monkeypatch, head_factor=1.2, thresholds=NARROW, fail_fast=True)
    assert len(machine.order) == 1 + FIRST_PAIRS
    assert (_verdicts(comparison), comparison.exit_code) == (["slower", "unclear"], 1)
    (unclear,) = [one for one in comparison.judgements if one.verdict == "unclear"]
    assert unclear.reason == "--fail-fast ended the gate before this was decided"


def test_fail_fast_ends_no_gate_that_finds_nothing_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, head_factor=0.8, thresholds=NARROW, fail_fast=True)
    assert _verdicts(comparison) == ["faster", "unclear"]
    assert machine.now_s > 600 - 2 * _pair_s()
    assert not any("--fail-fast" in one.reason for one in comparison.judgements)


def test_fail_fast_ends_a_gate_after_the_pair_with_an_invalid_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, wrong_from=3, fail_fast=True)
    assert machine.numbers[1:] == [0, 1, 2, 3]
    unclear, invalid = (one for one in comparison.judgements if one.measure == "time")
    assert (unclear.verdict, invalid.verdict, comparison.exit_code) == ("unclear", "invalid", 1)
    assert unclear.reason == "--fail-fast ended the gate before this was decided"
    assert invalid.reason == "wrong in 1 of 4 processes of the head: wrong: made so"


def test_fail_fast_ends_no_gate_with_what_is_wrong_on_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, 1.0, 0.005, wrong_from=0, wrong_sides=("base", "head"))
    comparison = _measured(machine, tmp_path, monkeypatch, fail_fast=True)
    assert len(machine.order) > 1 + FIRST_PAIRS // 2
    assert _verdicts(comparison) == ["same", "not judged"]
    assert comparison.exit_code == 0


def test_without_fail_fast_an_invalid_result_ends_no_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, wrong_from=3)
    assert len(machine.order) > 1 + FIRST_PAIRS // 2
    assert _verdicts(comparison) == ["same", "invalid"]


def test_what_noise_hides_is_unclear_when_the_budget_is_spent_and_not_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, machine, told = _gate(tmp_path, monkeypatch, noise=0.5)
    assert _verdicts(comparison) == ["unclear", "unclear"]
    assert 600 - 2 * _pair_s() <= machine.now_s <= 600
    assert told[-1].left_s >= 0


def test_progress_counts_pairs_and_benchmarks_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, machine, told = _gate(tmp_path, monkeypatch, noise=0.5)
    assert [now.pairs for now in told] == list(range(1, len(machine.order)))
    assert told[0] == Progress(1, 0, 0, 600 - WARM_UP_S - _pair_s())
    assert told[-1].decided + told[-1].undecided == 6
    assert told[-1].undecided >= 2


def _noise_of_the_machine(tmp_path: Path, wander: float, visible: Sequence[float | None] = ()) -> None:
    rows = [inference("gru", "torch", 1, 0.005), inference("lstm", "torch", 1, 0.003)]
    run = read_run(make_run(tmp_path, run_content(rows), "any.json"))
    seen = visible or (None,)
    floors = {
        record.fullname: (Floor(8, 2 * wander, None), Floor(12, wander, seen_of))
        for record, seen_of in zip(run.records, seen, strict=False)
    }
    scale = str(run.session["scale"])
    write_noise(tmp_path / "store", NoiseRecord(run.fingerprint, scale, "2026-11-24", 30.0, {}, floors))


def test_noise_that_was_measured_lifts_the_threshold_of_a_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _noise_of_the_machine(tmp_path, 0.25)
    comparison, _, _ = _gate(tmp_path, monkeypatch, head_factor=1.2)
    assert "slower" not in _verdicts(comparison)
    pairs = pairs_in(600.0, _pair_s())
    assert f"hides changes below, with {pairs} pairs" in comparison.notes[0]


def test_a_gate_says_at_once_what_it_can_tell_where_the_noise_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _noise_of_the_machine(tmp_path, 0.01, (0.025, 0.06))
    _, _, told = _gate(tmp_path, monkeypatch)
    held = pairs_in(600.0, _pair_s())
    first = told[0]
    assert (first.pairs, first.left_s) == (0, 600 - WARM_UP_S)
    assert first.sensitivity is not None
    assert (first.sensitivity.pairs, first.sensitivity.pair_s) == (held, _pair_s())
    assert list(first.sensitivity.visible.values()) == [0.025, 0.06]
    assert list(first.sensitivity.needed.values()) == [12, 48]
    budget_s = first.sensitivity.budget_s
    assert budget_s is not None
    assert pairs_in(budget_s, _pair_s()) >= 48 > pairs_in(budget_s - 60, _pair_s())
    assert told[1].sensitivity is first.sensitivity


def test_a_gate_without_a_record_says_what_it_can_tell_after_its_first_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On record is another benchmark alone: of no use here.
    _noise_of_the_machine(tmp_path, 0.01, (0.025,))
    _, machine, told = _gate(tmp_path, monkeypatch, noise=0.05, head_factor=1.5)
    assert [now.sensitivity for now in told[:FIRST_PAIRS]] == [None] * FIRST_PAIRS
    found = told[FIRST_PAIRS].sensitivity
    assert found is not None
    # The gru is decided: of the lstm is told what its noise hides, and of how many pairs in all.
    (lstm,) = found.visible
    assert "lstm" in lstm
    assert 0.03 < found.visible[lstm] < 0.3
    assert abs(found.pairs - (len(machine.order) - 1)) <= 1
    assert told[FIRST_PAIRS + 1].sensitivity is found


def test_a_chosen_threshold_below_the_noise_ends_a_gate_after_its_warm_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _noise_of_the_machine(tmp_path, 0.25)
    machine = Machine(tmp_path, 1.0, 0.005)
    chosen = Thresholds((("*", {"time_pct": 10.0}),))
    with pytest.raises(ConfigError, match=r"where the noise floor is 25\.0 % and more than 12 are needed"):
        _measured(machine, tmp_path, monkeypatch, thresholds=chosen)
    assert machine.order == [("base-warm-up", "head-warm-up")]


def test_damaged_noise_ends_a_gate_before_its_warm_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _noise_of_the_machine(tmp_path, 0.02)
    (damaged,) = (tmp_path / "store" / "noise").iterdir()
    damaged.write_text("{", encoding="utf-8")
    monkeypatch.setattr(gate, "two_revisions", lambda *_: pytest.fail("made worktrees"))
    with pytest.raises(RunFileError, match="not a record of noise"):
        run_gate(tmp_path, "base", "head", Suites(), 60.0, tmp_path / "store", tmp_path, lambda now: None)


def test_thresholds_are_those_of_the_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for side, pct in (("base", 3), ("head", 7), (".", 11)):
        (tmp_path / side).mkdir(exist_ok=True)
        rule = f'[tool.rnncore.thresholds]\n"*" = {{ time_pct = {pct} }}\n'
        (tmp_path / side / "pyproject.toml").write_text(rule, encoding="utf-8")
    asked: list[Thresholds] = []

    def measured(trees: tuple[Tree, Tree], suites: Suites, budget_s: float, thresholds: Thresholds, *_: Any) -> Comparison:
        asked.append(thresholds)
        return nothing_measured(trees)

    trees = Tree(tmp_path / "base", "b0"), Tree(tmp_path / "head", "h0")
    monkeypatch.setattr(gate, "two_revisions", lambda *_: nullcontext(trees))
    monkeypatch.setattr(gate, "measure_in_pairs", measured)
    run_gate(tmp_path, "base", "head", Suites(), 60.0, tmp_path, tmp_path, lambda now: None, everything=True)
    (thresholds,) = asked
    assert thresholds.bounds("a.py::test_b", "time").change == 0.07
    assert thresholds.source == "pyproject.toml of h0 [tool.rnncore.thresholds]"


@pytest.mark.parametrize(("budget_s", "pairs"), [(1.0, 1), (42.0, 5), (48.9, 5), (49.0, 6), (600.0, 84)])
def test_a_budget_holds_whole_pairs_and_a_warm_up(budget_s: float, pairs: int) -> None:
    assert pairs_in(budget_s, 7.0) == pairs


def test_a_budget_for_less_than_one_pair_measures_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, budget_s=1.0)
    assert len(machine.order) == 2
    assert _verdicts(comparison) == ["unclear", "unclear"]
    assert comparison.judgements[0].reason == "one pair, so the noise between pairs is unknown"


def test_too_few_pairs_say_how_many_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch, head_factor=1.5, budget_s=60.0)
    assert len(machine.order) < 1 + pairs_needed(FAMILY_ERROR)
    assert comparison.judgements[0].reason == "too few processes to tell: at least 8 a side are needed"


def test_the_errors_of_all_looks_add_up_to_that_of_the_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[float] = []
    judge = looks.judge

    def noting(*arguments: Any) -> Comparison:
        errors.append(arguments[3])
        return judge(*arguments)

    monkeypatch.setattr(looks, "judge", noting)
    comparison, *_ = _gate(tmp_path, monkeypatch, noise=0.5)
    first, *others = errors
    assert first == FIRST_ERROR
    assert len(others) == len(LOOKS)
    assert all(earlier < later for earlier, later in pairwise(others))
    assert others[-1] == pytest.approx(FAMILY_ERROR * LAST_LOOK)
    assert sum(errors) == pytest.approx(comparison.family_error)


def test_identical_code_is_the_same_before_the_budget_is_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, machine, _ = _gate(tmp_path, monkeypatch)
    assert (comparison.verdict, comparison.exit_code) == ("same", 0)
    assert machine.now_s < 600 - 2 * _pair_s()


@pytest.mark.parametrize("old", ["base", "head"])
def test_a_revision_older_than_slots_ends_a_gate_before_anything_is_measured(
    old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    git("init", "--quiet")
    package = tmp_path / "rnncore"
    package.mkdir()
    for side in ("base", "head"):
        (package / "__init__.py").write_text(f"# {side}: " + ("" if side == old else ENVIRONMENT), encoding="utf-8")
        git("add", ".")
        git("commit", "--quiet", "-m", side)
        git("tag", side)
    monkeypatch.setattr(gate, "run_pair", lambda *arguments: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=rf"^{old} [0-9a-f]{{12}} \({old}\): this revision's rnncore is older than slots"):
        run_gate(tmp_path, "base", "head", Suites(), 60.0, tmp_path, tmp_path, lambda now: None)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_budgets_have_units(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["10", "m", "", "-1m", "0s", "nanm", "infh", "1d", "169h", "1e99h"])
def test_a_wrong_budget_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="--budget is"):
        parse_budget(text)


def _run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reached: Reached, everything: bool
) -> tuple[Comparison, list[Suites]]:
    """Return what a gate of two trees says of which this is reached, and what its pairs ran."""
    trees, ran = (Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")), list[Suites]()

    def measured(trees: tuple[Tree, Tree], suites: Suites, *_: Any) -> Comparison:
        ran.append(suites)
        one = Judgement("bench/test_b.py::test_made[1]", "made", "time", "unclear", "noise")
        return replace(nothing_measured(trees), judgements=(one,), notes=("Measured.",))

    monkeypatch.setattr(gate, "two_revisions", lambda *_: nullcontext(trees))
    monkeypatch.setattr(gate, "find_reached", lambda *_: reached)
    monkeypatch.setattr(gate, "measure_in_pairs", measured)
    comparison = run_gate(
        tmp_path, "base", "head", Suites(), 60.0, tmp_path, tmp_path, lambda _: None, everything=everything
    )
    return comparison, ran


SAME = {"bench/test_a.py::test_made[1]": "made"}


def test_where_the_change_reaches_nothing_no_pair_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, ran = _run(tmp_path, monkeypatch, Reached(None, SAME, ("None is reached.",)), everything=False)
    assert ran == []
    assert (comparison.verdict, comparison.exit_code, comparison.notes) == ("same", 0, ("None is reached.",))


def test_pairs_measure_what_the_change_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suites = Suites(paths=("bench/test_b.py",), without=frozenset(SAME))
    comparison, ran = _run(tmp_path, monkeypatch, Reached(suites, SAME, ("Some are reached.",)), everything=False)
    assert ran == [suites]
    assert [one.verdict for one in comparison.judgements] == ["unclear", "same"]
    assert comparison.notes == ("Some are reached.", "Measured.")
    assert comparison.exit_code == 3


def test_everything_is_measured_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, ran = _run(tmp_path, monkeypatch, Reached(None, SAME), everything=True)
    assert ran == [Suites()]
    assert [one.verdict for one in comparison.judgements] == ["unclear"]


@pytest.mark.parametrize(
    ("more_s", "grown"), [(0.001, "aten::addmm +1.0 ms of +1.0 ms"), (-0.001, None)], ids=["grew", "shrank"]
)
def test_operations_that_grew_are_named_for_what_became_slower(
    more_s: float, grown: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, _, _ = _gate(tmp_path, monkeypatch, head_factor=1.2)

    def profiled(tree: Path, suites: Suites, run_file: Path, extra: Sequence[str] = ()) -> Process:
        assert list(extra) == ["--rnn-profile"]
        assert all("gru" in path for path in suites.paths)
        grown_s = more_s if tree.name == "head" else 0.0
        ops = [
            {"op": "aten::addmm", "where": "cpu", "self_s": 0.004 + grown_s, "calls": 1, "kind": "recurrent products"},
            {"op": "aten::tanh", "where": "cpu", "self_s": 0.001, "calls": 1, "kind": "pointwise"},
        ]
        row = inference("gru", "torch", 1, 0.005)
        row["extra_info"]["profile"] = {"wall_s": 0.005 + grown_s, "ops": ops}
        return Process(read_run(make_run(tmp_path, run_content([row]), run_file.name)), 7.0)

    monkeypatch.setattr(gate, "run_process", profiled)
    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    found = gate._with_profiles(comparison, trees, Suites(), tmp_path)
    why = None if grown else "the one profile of each side shows no growth"
    assert [(one.grown, one.grown_why) for one in found.judgements if one.verdict == "slower"] == [(grown, why)]
    assert replace(found, judgements=comparison.judgements) == comparison


@pytest.mark.parametrize("root", ["", "part", "part/bench"], ids=["above", "there", "beside the suites"])
def test_what_is_profiled_is_found_wherever_names_begin(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names begin where the settings of pytest lie, and its processes run in a folder of the revision."""
    trees = tuple(Tree(tmp_path / side / "part", side, tmp_path / side) for side in ("base", "head"))
    for tree in trees:
        (tree.path / "bench").mkdir(parents=True)
        (tree.path / "bench" / "bench_a.py").write_text("def test_a(): pass\ndef test_b(): pass\n", encoding="utf-8")
        (tmp_path / tree.name / root / "pytest.ini").write_text("[pytest]\npython_files = bench_*.py\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "--quiet"]
    collect = partial(subprocess.run, cwd=trees[1].path, capture_output=True, encoding="utf-8", check=True)
    name = collect([*command, "bench/"]).stdout.splitlines()[0]
    asked: list[tuple[str, ...]] = []

    def noted(tree: Tree, suites: Suites, run_file: Path, extra: Sequence[str] = ()) -> Process:
        asked.append(suites.paths)
        return Process(read_run(make_run(tmp_path, run_content([]), run_file.name)), 7.0)

    monkeypatch.setattr(gate, "run_process", noted)
    gate._grown({name}, trees, Suites(), tmp_path)
    assert len(asked) == 2
    for paths in asked:
        assert collect([*command, *paths]).stdout.splitlines()[:2] == [name, ""]


def test_benchmarks_of_other_suites_are_not_run_once_more_for_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, _, _ = _gate(tmp_path, monkeypatch, head_factor=1.2)
    (slower,) = [one for one in comparison.judgements if one.verdict == "slower"]
    make_run(tmp_path, plain_content([plain_benchmark(slower.fullname, [0.006])]), "head-000.json")
    monkeypatch.setattr(gate, "run_process", lambda *_: pytest.fail("run"))
    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    found = gate._with_profiles(comparison, trees, Suites(), tmp_path)
    why = "benchmarks of other suites are not profiled"
    told = tuple(replace(one, grown_why=why) if one == slower else one for one in comparison.judgements)
    assert found == replace(comparison, judgements=told)


def test_where_a_profiled_process_fails_it_is_said_that_what_grew_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison, _, _ = _gate(tmp_path, monkeypatch, head_factor=1.2)

    def failed(*_: object) -> Process:
        raise ProcessError("it ended with exit code 3")

    monkeypatch.setattr(gate, "run_process", failed)
    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    found = gate._with_profiles(comparison, trees, Suites(), tmp_path)
    assert {one.grown_why for one in found.judgements if one.verdict == "slower"} == {"its profiled processes gave none"}
    assert found.notes == (*comparison.notes, "No profiles of what became slower: it ended with exit code 3")


# ------------------------------------------------------------------------------------------------ a base without them


def _base_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_head: Callable[..., Process]) -> Comparison:
    def refused(*_: Any, **__: Any) -> Pair:
        raise NothingToMeasureError("base has no bench/.", "base")

    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    monkeypatch.setattr(gate, "two_revisions", lambda *_: nullcontext(trees))
    monkeypatch.setattr(gate, "find_reached", lambda *_: Reached(Suites()))
    monkeypatch.setattr(gate, "run_pair", refused)
    monkeypatch.setattr(gate, "run_process", of_head)
    return run_gate(tmp_path, "base", "head", Suites(), 60.0, tmp_path, tmp_path, lambda _: None)


@pytest.mark.parametrize(("is_wrong", "verdict", "code"), [(False, "new", 0), (True, "invalid", 1)], ids=["right", "wrong"])
def test_what_only_the_head_has_is_new_and_can_be_wrong_and_not_slower(
    is_wrong: bool, verdict: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_head(tree: Tree, suites: Suites, run_file: Path, timeout_s: float) -> Process:
        # It has the budget of the gate, where that is more than any process has.
        assert (tree.name, timeout_s) == ("head", 60.0)
        rows = [inference("gru", "torch", 1, 0.005), inference("lstm", "torch", 1, 0.003)]
        if is_wrong:
            rows[0]["extra_info"]["validity"] = "wrong: made so"
        return Process(read_run(make_run(tmp_path, run_content(rows), run_file.name)), 1.0)

    comparison = _base_without(tmp_path, monkeypatch, of_head)
    assert sorted(_verdicts(comparison)) == sorted([verdict, "new"])
    assert (comparison.verdict, comparison.exit_code) == (verdict, code)
    assert comparison.notes == ("The base has none of these benchmarks: nothing of them can be slower.",)


def test_what_neither_side_has_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_head(*_: Any, **__: Any) -> Process:
        raise NothingToMeasureError("head has no bench/.", "head")

    with pytest.raises(ProcessError, match=r"Neither side has what was asked for: base has no bench/\."):
        _base_without(tmp_path, monkeypatch, of_head)


# ------------------------------------------------------------------------------------------------------------ budgets


def _with_budgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, suites: Suites, reached: Reached
) -> Comparison:
    """Return what a gate of planted pairs says whose head sets budgets."""
    trees = Tree(tmp_path / "base", "base"), Tree(tmp_path / "head", "head")
    for tree in trees:
        tree.path.mkdir()
    (trees[1].path / "pyproject.toml").write_text(table, encoding="utf-8")
    machine = Machine(tmp_path / "processes", 1.0, 0.005)
    monkeypatch.setattr(gate, "two_revisions", lambda *_: nullcontext(trees))
    monkeypatch.setattr(gate, "find_reached", lambda *_: reached)
    for check in ("require_own_package", "require_slots"):
        monkeypatch.setattr(gate, check, lambda tree: None)
    monkeypatch.setattr(gate, "differing_pins", lambda *_: [])
    monkeypatch.setattr(gate, "run_pair", machine.run_pair)
    monkeypatch.setattr(gate.time, "monotonic", machine.monotonic)
    return run_gate(tmp_path, "base", "head", suites, 300.0, tmp_path, tmp_path / "processes", lambda now: None)


EMPTY = Comparison("base", "head", (), (), 0.99, 0.01)

BUDGETS = (
    '[tool.rnncore.budgets."*gru*"]\nmedian_ms = 4\np99_ms = 99\npeak_memory_mib = 700\n'
    '[tool.rnncore.budgets."*test_made*"]\nmedian_ms = 1\n'
)


def test_a_gate_holds_its_head_against_the_head_s_budgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = _with_budgets(tmp_path, monkeypatch, BUDGETS, Suites(), Reached(Suites(), SAME))
    assert comparison.budgets is not None
    found = {(one.figure, one.verdict) for one in comparison.budgets.judgements}
    assert found == {
        ("median_ms", "over"),
        ("p99_ms", "cannot tell"),
        ("peak_memory_mib", "within"),
        ("median_ms", "not judged"),
    }
    assert (comparison.verdict, comparison.exit_code) == ("over", 1)
    # The warm-up is not counted.
    processes = comparison.judgements[0].head_processes
    assert {one.basis for one in comparison.budgets.judgements if one.basis} == {f"{processes} processes"}
    assert all("too few for p99" in one.reason for one in comparison.budgets.judgements if one.figure == "p99_ms")


def test_a_budget_for_none_of_the_chosen_benchmarks_is_no_fault_and_else_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = '[tool.rnncore.budgets."*test_other*"]\nmedian_ms = 4\n'
    codes = {}
    for is_selection in (True, False):
        folder = tmp_path / str(is_selection)
        folder.mkdir()
        suites = Suites(is_selection=is_selection)
        codes[is_selection] = _with_budgets(folder, monkeypatch, table, suites, Reached(suites)).exit_code
    assert codes == {True: 0, False: 5}


def test_where_nothing_is_measured_budgets_are_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = _with_budgets(tmp_path, monkeypatch, BUDGETS, Suites(is_selection=True), Reached(None, SAME))
    assert comparison.budgets is not None
    assert {one.verdict for one in comparison.budgets.judgements} == {"not judged"}
    assert comparison.exit_code == 0


@pytest.mark.parametrize("ended", [False, True], ids=["skipped", "ended its process on both sides"])
def test_budgets_of_what_is_skipped_out_of_reach_or_ended_its_process_are_not_judged(
    ended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the latter the run files know nothing: the pairs do."""
    name, made = "bench/test_a.py::test_gpu", Machine.run_pair

    def run_pair(self: Machine, *asked: Any, **more: Any) -> Pair:
        pair = made(self, *asked, **more)
        sides = [replace(run, failed=((name, "died", "its process ended"),)) for run in (pair.base, pair.head)]
        return replace(pair, base=sides[0], head=sides[1])

    if ended:
        monkeypatch.setattr(Machine, "run_pair", run_pair)
    table = '[tool.rnncore.budgets."*test_gpu*"]\nmedian_ms = 4\n'
    reached = Reached(Suites(), skipped=frozenset() if ended else frozenset({name}))
    comparison = _with_budgets(tmp_path, monkeypatch, table, Suites(), reached)
    assert comparison.budgets is not None
    assert [(one.fullname, one.verdict) for one in comparison.budgets.judgements] == [(name, "not judged")]
    assert comparison.exit_code == 0


def test_a_wrong_budget_of_the_head_ends_a_gate_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = '[tool.rnncore.budgets."*"]\np99ms = 4\n'
    with pytest.raises(ConfigError, match=r"pyproject.toml of head .* Did you mean p99_ms"):
        _with_budgets(tmp_path, monkeypatch, table, Suites(), Reached(Suites()))
    assert not (tmp_path / "processes").exists()


def test_what_there_was_no_time_for_is_not_judged_and_what_the_head_lost_is_missing(tmp_path: Path) -> None:
    read = '[tool.rnncore.budgets."*"]\nmedian_ms = 4\n'
    (tmp_path / "pyproject.toml").write_text(read, encoding="utf-8")
    untimed = Judgement("bench/a.py::test_long", "made", "time", "unclear", "the budget has no time for it")
    lost = Judgement("bench/a.py::test_gone", "made", "time", "missing", "the head did not measure it")
    comparison = replace(EMPTY, judgements=(untimed, lost))
    found = gate._with_budgets(comparison, gate.read_budgets(tmp_path), Suites(), tmp_path / "processes", ()).budgets
    assert found is not None
    assert [(one.fullname, one.verdict) for one in found.judgements] == [("bench/a.py::test_long", "not judged")]
    assert found.judgements[0].reason == "it was not measured: the budget has no time for it"
    alone = gate._with_budgets(
        replace(EMPTY, judgements=(lost,)), gate.read_budgets(tmp_path), Suites(), tmp_path, ()
    ).budgets
    assert alone is not None
    assert alone.verdict == "missing"
