"""Tests of "same machine?": one definition, that every place which asks gives the answer of."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncore.compare.floors import Floor, NoiseRecord, read_noise, write_noise
from rnncore.compare.history import read_history
from rnncore.compare.judge import Side, judge
from rnncore.compare.thresholds import Thresholds
from rnncore.measure import advice, harness, plugin
from rnncore.measure import fingerprint as machine
from rnncore.report.sections.ratios import _explained
from rnncore.runfile.journal import Finished
from rnncore.runfile.machine import differences, grouped, same_machine
from rnncore.runfile.read import read_run
from tests.run_files import make_run, run_content

GPU = {"name": "G", "memory_bytes": 80 * 2**30, "compute_capability": "9.0", "count": 1, "driver": "570"}
FACTS: dict[str, Any] = {
    **run_content()["machine_info"]["fingerprint"],
    "gpu": GPU,
    "affinity": [0, 1],
    "cpu_quota": None,
    "cpu_quota_why": "no limit",
}


def _changed(**changes: Any) -> dict[str, Any]:
    facts = copy.deepcopy(FACTS)
    for name, value in changes.items():
        inside, _, part = name.partition("__")
        if part:
            facts[inside][part] = value
        else:
            facts[name] = value
    return facts


# What a start of the same machine, or another version of rnncore, may change.
ALIKE = {
    "reboot": _changed(memory_bytes=FACTS["memory_bytes"] - 3 * 4096),
    "gpu_reboot": _changed(gpu__memory_bytes=GPU["memory_bytes"] + 2**21),
    "reason": _changed(cpu_quota_why="cannot be read"),
    "later_version": _changed(fact_of_a_later_version=1),
    "nested_fact_of_a_later_version": _changed(packages__more="1.0"),
}
OTHER = {
    "cpu": _changed(cpu="Other CPU"),
    "memory": _changed(memory_bytes=FACTS["memory_bytes"] // 2),
    "gpu": _changed(gpu=None, gpu_why="no CUDA device"),
    "isa": _changed(isa__avx2=False),
}


def _by_judge(before: dict[str, Any], now: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    runs = [_run(folder, f"{name}.json", facts) for name, facts in (("a", before), ("b", now))]
    return not judge(Side("A", (runs[0],)), Side("B", (runs[1],)), Thresholds()).differences


def _run(folder: Path, name: str, facts: dict[str, Any]) -> Any:
    content = run_content()
    content["machine_info"]["fingerprint"] = facts
    return read_run(make_run(folder, content, name))


def _by_advice(before: dict[str, Any], now: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    return advice.differences(before, now) == ([], [])


def _by_floors(before: dict[str, Any], now: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    record = NoiseRecord(before, "gate", "2026-11-24", 7.0, {}, {"a": (Floor(8, 0.01, None),)})
    write_noise(folder, record)
    return read_noise(folder, now, "gate") == record


def _by_trend(before: dict[str, Any], now: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    for name, facts in (("a", before), ("b", now)):
        _run(folder / "store", f"{name}.json", facts)
    return len({series.machine for series in read_history(folder / "store").series}) == 1


def _by_hardware(before: dict[str, Any], now: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    first, other = (_run(folder, f"{name}.json", facts) for name, facts in (("a", before), ("b", now)))
    return _explained(first, other, other.records[0]) is None


def _by_resume(before: dict[str, Any], now: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    found = Finished(folder / "journal.jsonl", "2026-11-24", before, "c0ffee", None, None, ())
    monkeypatch.setattr("rnncore.runfile.journal.finished_before", lambda path: found)
    monkeypatch.setattr(machine, "fingerprint", lambda threads: now)
    monkeypatch.setattr(plugin, "threads_of", lambda config: 2)
    monkeypatch.setattr(harness, "session_of", lambda config: object())
    try:
        plugin._finished_before(_Config(), has_cases=True)  # type: ignore[arg-type]
    except pytest.UsageError as error:
        return "its rows do not belong beside new ones" not in str(error)
    return True


class _Config:
    """What resuming asks pytest for."""

    @property
    def hook(self) -> "_Config":
        return self

    def pytest_benchmark_generate_commit_info(self, config: object) -> dict[str, str]:
        return {"id": "c0ffee"}

    def getoption(self, name: str) -> str:
        return "journal.jsonl"


CALLERS = [_by_judge, _by_advice, _by_floors, _by_trend, _by_hardware, _by_resume]
Caller = Callable[[dict[str, Any], dict[str, Any], Path, pytest.MonkeyPatch], bool]


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("now", ALIKE.values(), ids=ALIKE)
def test_nobody_takes_a_start_or_a_later_version_for_another_machine(
    caller: Caller, now: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert caller(FACTS, now, tmp_path / "a", monkeypatch)
    assert caller(now, FACTS, tmp_path / "b", monkeypatch)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("now", OTHER.values(), ids=OTHER)
def test_everybody_tells_another_machine(
    caller: Caller, now: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not caller(FACTS, now, tmp_path / "a", monkeypatch)
    assert not caller(now, FACTS, tmp_path / "b", monkeypatch)


def test_settings_and_software_differ_but_make_no_other_machine() -> None:
    for now in (
        _changed(packages__torch="2.14.0"),
        _changed(threads=4),
        _changed(gpu__driver="580"),
        _changed(affinity=[0]),
    ):
        (found,) = differences(FACTS, now)
        assert not found.of_machine
        assert same_machine(FACTS, now)


CARDS = {"cuda": {"name": "G", "memory_bytes": 80 * 2**30, "uuid": "a"}, "cuda:1": {"name": "G", "uuid": "b"}}


def test_another_card_of_the_same_kind_is_no_other_machine_and_one_of_another_kind_is() -> None:
    before = _changed(gpu__devices=CARDS)
    assert differences(before, _changed(gpu__devices={**CARDS, "cuda:1": {"name": "G", "uuid": "c"}})) == ()
    # A run of before knows nothing of its cards.
    assert differences(FACTS, before) == ()
    (found,) = differences(before, _changed(gpu__devices={**CARDS, "cuda:1": {"name": "H", "uuid": "b"}}))
    assert (found.fact, found.of_machine) == ("gpu.devices.cuda:1", True)


def test_what_knows_nothing_of_a_machine_is_of_none() -> None:
    (found,) = differences(FACTS, {})
    assert found.fact == "fingerprint"
    assert not same_machine(FACTS, {})
    assert differences({}, {}) == ()


def test_noise_of_two_machines_that_differ_in_memory_alone_is_kept_apart(tmp_path: Path) -> None:
    records = [NoiseRecord(facts, "gate", "2026-11-24", 7.0, {}, {}) for facts in (FACTS, OTHER["memory"])]
    first, second = (write_noise(tmp_path, record) for record in records)
    assert first != second
    assert [read_noise(tmp_path, record.fingerprint, "gate") for record in records] == records
    assert write_noise(tmp_path, NoiseRecord(ALIKE["reboot"], "gate", "2026-11-25", 8.0, {}, {})) == first


MEMORIES = st.lists(st.integers(10_000, 10_500), min_size=1, max_size=12)


@given(MEMORIES, MEMORIES)
def test_no_group_holds_two_that_differ_and_later_ones_move_none(memories: list[int], later: list[int]) -> None:
    facts = [{"cpu": "A", "memory_bytes": memory, "gpu": {"name": "G", "memory_bytes": 7}} for memory in memories + later]
    groups = grouped(facts)
    assert groups[: len(memories)] == grouped(facts[: len(memories)])
    for number, one in zip(groups, facts, strict=True):
        assert all(not differences(one, other) for group, other in zip(groups, facts, strict=True) if group == number)


@pytest.mark.parametrize("middle", [2**34, 24_000 * 2**20, 10**10])
def test_a_few_pages_around_any_size_are_one_group(middle: int) -> None:
    facts = [{"cpu": "A", "memory_bytes": middle + pages * 4096} for pages in (0, 1, -1, 2, -2, 40, -40)]
    assert grouped(facts) == [0] * len(facts)


def test_a_fact_that_some_do_not_know_joins_no_machines_that_differ_in_it() -> None:
    facts = [{"cpu": "A"}, {"cpu": "A", "governor": "performance"}, {"cpu": "A", "governor": "powersave"}, {"cpu": "A"}]
    assert grouped(facts) == [0, 0, 1, 0]


def test_a_cpu_whose_family_pytest_benchmark_does_not_know_is_the_same_and_two_of_other_families_are_not() -> None:
    plain, one, other = ({"cpu": name} for name in ("A", "A (family 6, model 85)", "A (family 6, model 106)"))
    assert differences(plain, one) == differences(one, plain) == ()
    assert [found.fact for found in differences(one, other)] == ["cpu"]
    assert grouped([one, plain, other]) == [0, 0, 1]


def test_json_and_memory_give_one_answer() -> None:
    assert differences(FACTS, json.loads(json.dumps(FACTS))) == ()


NAMED, BARE, OTHER_MODEL = "Made CPU (family 6, model 143)", "Made CPU", "Made CPU (family 6, model 85)"


def test_a_cpu_whose_family_a_file_does_not_tell_is_the_same_by_its_name() -> None:
    for before, now in ((NAMED, BARE), (BARE, NAMED)):
        assert differences({"cpu": before}, {"cpu": now}) == ()
    for before, now in ((NAMED, OTHER_MODEL), (BARE, "Other CPU"), (NAMED, "Other CPU"), (NAMED, None)):
        assert [one.fact for one in differences({"cpu": before}, {"cpu": now})] == ["cpu"]


def test_a_file_without_the_family_lets_no_cpu_of_another_family_into_its_group() -> None:
    assert grouped({"cpu": name} for name in (NAMED, BARE, OTHER_MODEL, NAMED)) == [0, 0, 1, 0]
    assert grouped({"cpu": name} for name in (BARE, NAMED, OTHER_MODEL)) == [0, 0, 1]
