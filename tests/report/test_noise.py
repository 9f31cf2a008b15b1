"""Tests of pairs that are run to know the gate by: their order and number, and the tables of what they tell."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rnncore.compare.floors import Floor, NoiseRecord
from rnncore.compare.replay import Pool, Rate, Score
from rnncore.compare.sensitivity import Sensitivity
from rnncore.drive import noise
from rnncore.drive.noise import measure_noise, measure_pool
from rnncore.drive.pairs import FEWEST_SLOTS, Pair, Plan
from rnncore.drive.patience import Patience
from rnncore.drive.suites import Suites
from rnncore.errors import ConfigError
from rnncore.report.noise import (
    noise_json,
    noise_table,
    selftest_json,
    selftest_markdown,
    selftest_tables,
    sensitivity_lines,
    time_until_told,
)
from rnncore.runfile.grid import grid_digest
from rnncore.runfile.record import Record, Run
from tests.report_text import as_text

TREES = [Path("base"), Path("head")]
ONE, TWO = "bench/a.py::test_one[x]", "bench/a.py::test_two[x]"


@dataclass
class Ran:
    """What was run of one pair: run files, plan, number of the pair, and arguments of each side."""

    names: list[str]
    plan: Plan
    number: int
    extra: Sequence[Sequence[str]]


class NoRecords(str):
    """The name of a run in which nothing was measured."""

    records = ()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Ran]:
    """What was run, on a machine where a pair takes 10 s beside its slots, of which each takes 0.1 s."""
    calls: list[Ran] = []

    def run_pair(
        trees: Sequence[Path],
        suites: Suites,
        run_files: Sequence[Path],
        plan: Plan,
        number: int,
        chance: random.Random,
        extra: Sequence[Sequence[str]] = ((), ()),
        patience: Patience | None = None,
    ) -> Pair:
        assert patience is not None
        patience.say(f"{number} lasts")
        assert list(trees) == TREES
        calls.append(Ran([file.name for file in run_files], plan, number, extra))
        made: Any = [NoRecords(file.name) for file in run_files]
        return Pair(*made, 10.0 + 0.1 * plan.slots, 0.1 * plan.slots, plan.slots)

    monkeypatch.setattr(noise, "run_pair", run_pair)
    return calls


def test_what_lasts_is_said(ran: list[Ran]) -> None:
    said: list[str] = []
    measure_noise(TREES, Suites(), 1, Path("out"), lambda ended: None, on_line=said.append)
    assert said == ["None lasts", "0 lasts"]
    said.clear()
    measure_pool(TREES, Suites(), 30, [5.0], 100.0, Path("out"), lambda ended: None, said.append)
    assert said[:3] == ["None lasts", "0 lasts", "0 lasts"]
    assert ran


def test_noise_is_that_of_pairs_of_a_gate_after_a_warm_up(ran: list[Ran]) -> None:
    told: list[int] = []
    pairs = measure_noise(TREES, Suites(), 3, Path("out"), told.append)
    assert [one.names[0] for one in ran] == ["warm-up-base.json", "000-base.json", "001-base.json", "002-base.json"]
    assert [one.names[1] for one in ran] == ["warm-up-head.json", "000-head.json", "001-head.json", "002-head.json"]
    assert [one.plan for one in ran] == [Plan(FEWEST_SLOTS, measures_memory=False), *[Plan(7, measures_memory=False)] * 3]
    assert [one.number for one in ran[1:]] == [0, 1, 2]
    assert {tuple(map(tuple, one.extra)) for one in ran} == {((), ())}
    assert [str(pair.base) for pair in pairs] == ["000-base.json", "001-base.json", "002-base.json"]
    assert told == [1, 2, 3]


def test_noise_leaves_out_what_a_gate_has_no_time_for_and_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[frozenset[str]] = []

    def run_pair(trees: Any, suites: Suites, run_files: Sequence[Path], plan: Plan, *more: Any, patience: Patience) -> Pair:
        asked.append(suites.without)
        made: Any = (NoRecords("base"), NoRecords("head"))
        return Pair(*made, 41.0, 40.0, plan.slots, slots_s_of={"quick": 1.0, "long": 39.0})

    monkeypatch.setattr(noise, "run_pair", run_pair)
    said: list[str] = []
    measure_noise(TREES, Suites(), 2, Path("out"), lambda ended: None, 200.0, said.append)
    assert asked == [frozenset(), frozenset({"long"}), frozenset({"long"})]
    assert said == ["Left out, as a gate of 200 s has no time for it: long. All 2 take --budget 9m."]
    asked.clear()
    measure_noise(TREES, Suites(), 1, Path("out"), lambda ended: None, 3600.0, said.append)
    assert asked == [frozenset(), frozenset()]


def test_each_block_has_a_plain_pair_and_one_of_each_delay_of_the_head_in_an_order_of_its_own(ran: list[Ran]) -> None:
    measure_pool(TREES, Suites(), 8, [3.0, 7.5], 100.0, Path("out"), lambda ended: None)
    blocks = [ran[1 + 3 * block : 4 + 3 * block] for block in range(8)]
    for number, block in enumerate(blocks):
        assert {one.number for one in block} == {number}
        assert {one.plan.measures_memory for one in block if one.extra[1]} == {False}
        assert {one.plan.measures_memory for one in block if not one.extra[1]} == {True}
        arguments = {one.names[1]: [list(side) for side in one.extra] for one in block}
        assert arguments == {
            f"{number:03}-0-head.json": [[], []],
            f"{number:03}-3-head.json": [[], ["--rnn-delay=3:*"]],
            f"{number:03}-7.5-head.json": [[], ["--rnn-delay=7.5:*"]],
        }
    assert len({tuple(one.names[1][4:] for one in block) for block in blocks}) > 2


def test_too_few_blocks_are_refused_after_the_first_pair(ran: list[Ran]) -> None:
    with pytest.raises(ConfigError, match=r"has 20 pairs here, .* Give --blocks 20 or more"):
        measure_pool(TREES, Suites(), 13, [3.0], 21 * 10.75, Path("out"), lambda ended: None)
    assert [one.names[0] for one in ran] == ["warm-up-base.json"]


def test_the_order_of_blocks_leaves_other_random_numbers_alone(ran: list[Ran]) -> None:
    random.seed(1)
    before = random.getstate()
    measure_pool(TREES, Suites(), 9, [3.0], 100.0, Path("out"), lambda ended: None)
    assert random.getstate() == before
    assert len(ran) == 1 + 9 * 2


RECORD = NoiseRecord(
    {},
    "gate",
    "2026-11-24",
    7.0,
    {ONE: [0.01] * 40, TWO: [0.02] * 40},
    {
        ONE: (Floor(8, 0.02, 0.06), Floor(42, 0.008, 0.024)),
        TWO: (Floor(8, 0.09, None), Floor(42, 0.04, 0.08)),
    },
)


def test_the_table_of_noise_says_floor_sight_and_need() -> None:
    facts = noise_json(RECORD, "1a2b3c4d5e6f", 600.0, 42, 0.05)
    ((lines, table),) = as_text([noise_table(facts)])
    assert lines.startswith(
        "40 pairs of identical code, 7.0 s each, grid 1a2b3c4d5e6f. A gate of 10 min has 42, and of those:"
    )
    assert table == [
        ["Benchmark", "floor %", "visible %", "pairs for 5 %", "minutes"],
        ["test_one[x]", "0.8", "2.4", "42", "5"],
        ["test_two[x]", "4.0", "8.0", "over 42", "–"],
    ]
    few = noise_table(noise_json(RECORD, "1a2b3c4d5e6f", 60.0, 8, 0.07))[1]
    assert few.texts == [["test_one[x]", "2.0", "6.0", "8", "1"], ["test_two[x]", "9.0", "–", "over 42", "–"]]


def test_the_tables_of_a_self_test_say_what_was_found_and_made_up() -> None:
    scores = [
        Score("rnncore gate", 0.0, None, {}, Rate(1, 200), Rate(20, 200)),
        Score("other", 0.0, None, {}, Rate(90, 200), Rate(0, 200)),
        Score("rnncore gate", 3.0, Rate(190, 200), {ONE: Rate(100, 100), TWO: Rate(90, 100)}, Rate(0, 200), Rate(4, 200)),
        Score("other", 3.0, Rate(9, 200), {ONE: Rate(9, 100), TWO: Rate(0, 100)}, Rate(80, 200), Rate(0, 200)),
    ]
    run = Run(Path("a.json"), "2026-11-24", None, {}, None, (), (), (), None, {}, (Record(ONE, "a", (0.1,), {}),), "")
    facts = selftest_json(Pool(((run, run),), {}, 7.0), scores, 600.0, 42)
    (lines, table), (_, by_benchmark) = as_text(selftest_tables(facts))
    assert lines.startswith(
        f"Gates of 10 min, 42 pairs, replayed from 1 blocks of pairs of 7.0 s, grid {grid_digest([ONE])}."
    )
    assert facts["grid"] == grid_digest([ONE])
    assert table[1] == ["rnncore gate", "none", "–", "0.5 % (0.0 to 2.8)", "10.0 % (6.2 to 15.0)"]
    assert table[3] == ["rnncore gate", "3 %", "95.0 % (91.0 to 97.6)", "0.0 % (0.0 to 1.8)", "2.0 % (0.5 to 5.0)"]
    assert by_benchmark == [["Benchmark", "3 %"], ["test_one[x]", "100 of 100"], ["test_two[x]", "90 of 100"]]
    page = selftest_markdown(facts)
    assert page.startswith("# Self-test of the gate\n\nGates of 10 min")
    assert "| test_two[x] | 90 of 100 |" in page
    assert facts["scores"][2]["found"] == {
        "happened": 190,
        "tried": 200,
        "share": 0.95,
        "low": pytest.approx(0.910, abs=1e-3),
        "high": pytest.approx(0.976, abs=1e-3),
    }


def test_a_self_test_says_where_no_delay_was_as_small_as_asked() -> None:
    scores = [
        Score("rnncore gate", 0.0, None, {}, Rate(1, 200), Rate(20, 200)),
        Score("rnncore gate", 3.0, None, {}, Rate(1, 200), Rate(20, 200)),
        Score("rnncore gate", 5.0, None, {}, Rate(1, 200), Rate(20, 200)),
    ]
    run = Run(Path("a.json"), "2026-11-24", None, {}, None, (), (), (), None, {}, (Record(ONE, "a", (0.1,), {}),), "")
    ((lines, table),) = as_text(selftest_tables(selftest_json(Pool(((run, run),), {}, 7.0), scores, 600.0, 42)))
    assert lines.endswith("\nNo delay of 3 %, 5 % was planted: all calls are too short for one as small as that.")
    assert [row[1:3] for row in table[1:]] == [["none", "–"], ["3 %", "–"], ["5 %", "–"]]


def test_a_self_test_says_that_few_pairs_find_nothing() -> None:
    scores = [Score("rnncore gate", 0.0, None, {}, Rate(0, 75), Rate(75, 75))]
    run = Run(Path("a.json"), "2026-11-24", None, {}, None, (), (), (), None, {}, (Record(ONE, "a", (0.1,), {}),), "")
    pool = Pool(((run, run),), {}, 7.0)
    few, enough = (selftest_tables(selftest_json(pool, scores, 60.0, pairs))[0][0] for pairs in (7, 8))
    assert few.endswith("Gates of fewer than 8 pairs find nothing: give a larger --budget, and more --blocks.")
    assert "find nothing" not in enough


def _can_tell(
    visible: Sequence[float], needed: Sequence[float], wide: int = 0, budget_s: float | None = None
) -> Sensitivity:
    names = [f"bench/a.py::test_{number}[x]" for number in range(len(visible))]
    of_names = [dict(zip(names, values, strict=True)) for values in (visible, needed)]
    return Sensitivity(26, *of_names, wide, 21.0, budget_s)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (_can_tell([0.02, 0.03], [10, 12]), "This gate holds about 26 pairs: 3 % can be told of all 2 benchmarks."),
        (_can_tell([0.02], [10]), "This gate holds about 26 pairs: 3 % can be told of the benchmark."),
        (
            _can_tell([0.02, 0.04, 0.071, 0.02], [10, 32, 45, 12], budget_s=1020.0),
            "This gate holds about 26 pairs: 3 % can be told of 2 of 4 benchmarks, 5 % of 3; of test_2[x] only 7.1 %.\n"
            "3 % of all 4 takes about 45 pairs (--budget 17m); or leave out by -k: test_2[x], test_1[x].",
        ),
        (
            _can_tell([math.inf, 0.06, 0.07, 0.08, 0.02], [math.inf, 50, 60, 70, 10], wide=2),
            "This gate holds about 26 pairs: 3 % can be told of 1 of 5 benchmarks, 5 % of 1; of test_0[x] nothing. "
            "2 more benchmarks may change by 3 % or more.\n"
            "3 % of all 5 is out of reach here; or leave out by -k: test_0[x], test_3[x], test_2[x] and 1 more.",
        ),
        (
            _can_tell([0.049], [14], budget_s=120.0),
            "This gate holds about 26 pairs: only 4.9 % can be told of the benchmark.\n"
            "3 % takes about 14 pairs (--budget 2m).",
        ),
        (
            # What takes more than the longest budget is nobody's advice.
            _can_tell([0.15], [663]),
            "This gate holds about 26 pairs: only 15.0 % can be told of the benchmark.\n3 % is out of reach here.",
        ),
        (
            _can_tell([math.inf], [math.inf]),
            "This gate holds about 26 pairs: nothing can be told of the benchmark.\n3 % is out of reach here.",
        ),
        (_can_tell([], [], wide=3), "This gate holds about 26 pairs. 3 more benchmarks may change by 3 % or more."),
    ],
    ids=["all", "one", "some", "out of reach", "not the one", "too long for the one", "nothing of the one", "none"],
)
def test_what_a_gate_can_tell_is_said_in_words(found: Sensitivity, text: str) -> None:
    assert sensitivity_lines(found, "benchmark") == text


@pytest.mark.parametrize(
    ("needed", "pairs", "left_s", "text"),
    [
        ([20, 31], 20, 300.0, ", 3 % can be told in about 4 min"),
        ([20, 31], 20, 200.0, ", 3 % can be told in about 4 min, after the budget"),
        ([20, 31], 30, 200.0, ", 3 % can be told in about 1 min"),
        ([20, 31], 31, 200.0, ", 3 % can be told"),
        ([20, math.inf], 31, 200.0, ""),
        ([], 31, 200.0, ""),
    ],
)
def test_progress_says_when_a_small_slowdown_can_be_told(needed: list[float], pairs: int, left_s: float, text: str) -> None:
    assert time_until_told(_can_tell([0.02] * len(needed), needed), pairs, left_s) == text
