"""Tests of processes that are run to know the gate by: their order and number, and the tables of what they tell."""

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rnncore.compare.floors import Floor, NoiseRecord
from rnncore.compare.replay import Pool, Rate, Score
from rnncore.drive import noise
from rnncore.drive.noise import measure_noise, measure_pool
from rnncore.drive.process import Process, Suites
from rnncore.report.noise import noise_json, noise_table, selftest_json, selftest_markdown, selftest_tables
from tests.report_text import as_text

ONE, TWO = "bench/a.py::test_one[x]", "bench/a.py::test_two[x]"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """What was run: run files and arguments."""
    calls: list[tuple[str, tuple[str, ...]]] = []

    def run_process(tree: Path, suites: Suites, run_file: Path, extra: Sequence[str] = ()) -> Process:
        calls.append((run_file.name, tuple(extra)))
        made: Any = run_file.name
        return Process(made, float(len(calls)))

    monkeypatch.setattr(noise, "run_process", run_process)
    return calls


def test_noise_is_that_of_processes_without_arguments_after_a_warm_up(ran: list[Any]) -> None:
    told: list[int] = []
    runs, walls_s = measure_noise(Path("tree"), Suites(), 3, Path("out"), told.append)
    assert ran == [("warm-up.json", ()), ("000.json", ()), ("001.json", ()), ("002.json", ())]
    assert runs == ["000.json", "001.json", "002.json"]
    assert walls_s == [2, 3, 4]
    assert told == [1, 2, 3]


def test_each_block_has_two_plain_processes_and_one_of_each_delay_in_an_order_of_its_own(ran: list[Any]) -> None:
    measure_pool(Path("tree"), Suites(), 8, [3.0, 7.5], Path("out"), lambda ended: None)
    blocks = [ran[1 + 4 * block : 5 + 4 * block] for block in range(8)]
    for number, block in enumerate(blocks):
        assert [name for name, _ in block] == [f"{number:03}-{place}.json" for place in range(4)]
        assert Counter(extra for _, extra in block) == {(): 2, ("--rnn-delay=3:*",): 1, ("--rnn-delay=7.5:*",): 1}
    assert len({tuple(extra for _, extra in block) for block in blocks}) > 2


def test_the_order_of_blocks_leaves_other_random_numbers_alone(ran: list[Any]) -> None:
    random.seed(1)
    before = random.getstate()
    measure_pool(Path("tree"), Suites(), 2, [3.0], Path("out"), lambda ended: None)
    assert random.getstate() == before


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
    facts = noise_json(RECORD, 600.0, 42, 0.05)
    ((lines, table),) = as_text([noise_table(facts)])
    assert lines.startswith("40 processes of identical code, 7.0 s each. A gate of 10 min has 42 a side")
    assert table == [
        ["Benchmark", "floor %", "visible %", "a side for 5 %", "minutes"],
        ["test_one[x]", "0.8", "2.4", "42", "10"],
        ["test_two[x]", "4.0", "8.0", "over 42", "–"],
    ]
    few = noise_table(noise_json(RECORD, 60.0, 8, 0.07))[1]
    assert few.texts == [["test_one[x]", "2.0", "6.0", "8", "2"], ["test_two[x]", "9.0", "–", "over 42", "–"]]


def test_the_tables_of_a_self_test_say_what_was_found_and_made_up() -> None:
    scores = [
        Score("rnncore gate", 0.0, None, {}, Rate(1, 200), Rate(20, 200)),
        Score("other", 0.0, None, {}, Rate(90, 200), Rate(0, 200)),
        Score("rnncore gate", 3.0, Rate(190, 200), {ONE: Rate(100, 100), TWO: Rate(90, 100)}, Rate(0, 200), Rate(4, 200)),
        Score("other", 3.0, Rate(9, 200), {ONE: Rate(9, 100), TWO: Rate(0, 100)}, Rate(80, 200), Rate(0, 200)),
    ]
    facts = selftest_json(Pool((), {}, 7.0), scores, 600.0, 42)
    (lines, table), (_, by_benchmark) = as_text(selftest_tables(facts))
    assert lines.startswith("Gates of 10 min, 42 processes a side, replayed from 0 blocks of processes of 7.0 s.")
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
