"""Tests of noise floors: they grow with noise, shrink with processes, hold what they promise, and refuse what lies below."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.compare.floors import Floor, NoiseRecord, above_noise, floor_at, read_noise, record_noise, write_noise
from rnncore.compare.measures import Bounds
from rnncore.compare.ranks import compare_sides
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import ConfigError, RunFileError
from rnncore.runfile.record import Record, Run

QUIET, NOISY = "bench/a.py::test_quiet[x]", "bench/a.py::test_noisy[x]"
FINGERPRINT = {"cpu": "Made CPU", "threads": 2, "memory_bytes": 25_000_000_000}


def _run(times_s: dict[str, float], **extra: Any) -> Run:
    records = tuple(Record(name, "made", (time_s * 1.1, time_s), extra) for name, time_s in times_s.items())
    facts = (None, FINGERPRINT, None, (), (), (), None, {"scale": "gate"})
    return Run(Path("made.json"), "2026-11-24T10:00:00+00:00", *facts, records, "")


def _runs(processes: int = 40, seed: int = 0) -> list[Run]:
    rng = np.random.default_rng(seed)
    noise = np.exp(rng.normal(0, 1, (processes, 2)) * [0.003, 0.03])
    return [_run({QUIET: 0.01 * quiet, NOISY: 0.01 * noisy}) for quiet, noisy in noise.tolist()]


def _record(sides: Sequence[int] = (8, 32)) -> NoiseRecord:
    return record_noise(_runs(), [7.0] * 40, Thresholds(), sides)


def _made(**floors: tuple[Floor, ...]) -> NoiseRecord:
    named = {f"a.py::{name}": kept for name, kept in floors.items()}
    return NoiseRecord(FINGERPRINT, "gate", "2026-11-24T10:00:00", 7.0, {}, named)


def test_floors_grow_with_noise_and_shrink_with_processes() -> None:
    record = _record()
    (few, many), (few_noisy, many_noisy) = record.floors[QUIET], record.floors[NOISY]
    assert few.processes == 8
    assert many.processes == 32
    assert many.wander < few.wander < few_noisy.wander
    assert many.wander < many_noisy.wander < few_noisy.wander
    assert few.visible is not None
    assert many.visible is not None
    assert many_noisy.visible is not None
    assert many.visible < few.visible
    assert many.visible < many_noisy.visible


def test_of_gates_of_identical_code_about_one_in_a_hundred_passes_the_floor() -> None:
    record = _record()
    rng = np.random.default_rng(1)
    floor = floor_at(record, NOISY, 32).wander
    estimates = [compare_sides(*np.exp(rng.normal(0, 0.03, (2, 32))), 0.01).estimate for _ in range(500)]
    passed = np.mean([max(one, 1 / one) - 1 > floor for one in estimates])
    # The 40 recorded processes are a sample of the noise themselves.
    assert passed <= 0.06
    assert np.quantile([max(one, 1 / one) - 1 for one in estimates], 0.5) < floor


def test_the_visible_slowdown_is_found_about_as_often_as_it_says() -> None:
    floor = floor_at(_record(), NOISY, 32)
    assert floor.visible is not None
    rng = np.random.default_rng(2)
    error = 0.01 * 0.36 * 0.8 / 2
    found = []
    for _ in range(300):
        base, head = np.exp(rng.normal(0, 0.03, (2, 32)))
        ratio = compare_sides(base, head * (1 + floor.visible), error)
        found.append(ratio.p_value <= error and ratio.estimate >= 1.02)
    assert 0.6 <= np.mean(found) <= 0.95


def test_a_quiet_benchmark_sees_little_more_than_the_threshold() -> None:
    visible = floor_at(_record(), QUIET, 32).visible
    assert visible is not None
    assert 0.02 <= visible < 0.025


def test_so_few_processes_that_no_ratio_is_significant_see_nothing() -> None:
    record = record_noise(_runs(), [7.0] * 40, Thresholds(), [3])
    assert record.floors[QUIET][0].visible is None


def test_a_benchmark_that_failed_in_one_process_is_left_out() -> None:
    runs = _runs()
    wrong = replace(runs[3].records[1], facts={"validity": "wrong"})
    runs[3] = replace(runs[3], records=(runs[3].records[0], wrong))
    assert list(record_noise(runs, [7.0] * 40, Thresholds(), [8]).floors) == [QUIET]


def test_a_record_of_nothing_is_refused() -> None:
    runs = [_run({QUIET: 0.01}), _run({NOISY: 0.01})]
    with pytest.raises(ConfigError, match="no benchmark was measured in all processes"):
        record_noise(runs, [7.0, 7.0], Thresholds(), [8])


def test_a_record_is_kept_by_machine_and_scale(tmp_path: Path) -> None:
    record = _record([8])
    path = write_noise(tmp_path, record)
    assert path.suffix != ".json"  # a store's .json files are run files
    rebooted = {**FINGERPRINT, "memory_bytes": 25_000_004_096}
    assert read_noise(tmp_path, rebooted, "gate") == record
    assert read_noise(tmp_path, {**FINGERPRINT, "threads": 1}, "gate") is None
    assert read_noise(tmp_path, FINGERPRINT, "quick") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"floors": {"a": [{"processes": 3}]}}', '{"fingerprint": {}, "scale": 3}']
)
def test_a_damaged_record_is_told(tmp_path: Path, text: str) -> None:
    path = write_noise(tmp_path, _record([8]))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunFileError, match=r"not a record of noise .* Make it again with 'rnncore noise'"):
        read_noise(tmp_path, FINGERPRINT, "gate")


def test_a_record_is_plain_json(tmp_path: Path) -> None:
    content = json.loads(write_noise(tmp_path, record_noise(_runs(), [7.0] * 40, Thresholds(), [3])).read_text("utf-8"))
    assert content["floors"][QUIET][0]["visible"] is None
    assert len(content["quickest_s"][QUIET]) == 40


def test_the_floor_is_that_of_no_more_processes_than_there_are() -> None:
    floors = Floor(8, 0.04, None), Floor(16, 0.03, None), Floor(32, 0.02, None)
    record = _made(one=floors)
    assert [floor_at(record, "a.py::one", processes).processes for processes in (3, 8, 31, 32, 99)] == [8, 8, 16, 32, 32]


def test_a_default_below_the_noise_is_lifted_and_a_note_says_so() -> None:
    record = _made(quiet=(Floor(8, 0.01, 0.03),), noisy=(Floor(8, 0.07, 0.09),))
    thresholds = above_noise(Thresholds(), record, 8)
    assert thresholds.bounds("a.py::quiet", "time") == Bounds(0.02, 0.05)
    assert thresholds.bounds("a.py::noisy", "time") == Bounds(0.07, 0.07)
    assert thresholds.bounds("a.py::noisy", "memory") == Bounds(0.05, 0.10)
    (note,) = thresholds.notes
    assert note == (
        "This machine's noise ('rnncore noise', 2026-11-24) hides changes below, with 8 processes a side: noisy 7.0 %. "
        "Smaller ones are not called there."
    )


def test_a_chosen_threshold_below_the_noise_is_refused_with_what_would_be_needed() -> None:
    record = _made(one=(Floor(8, 0.04, None), Floor(16, 0.028, None), Floor(32, 0.02, None)))
    chosen = Thresholds((("*", {"time_pct": 3.0}),), "pyproject.toml [tool.rnncore.thresholds]")
    assert above_noise(chosen, record, 16) is chosen
    with pytest.raises(ConfigError) as caught:
        above_noise(chosen, record, 8)
    assert str(caught.value) == (
        "pyproject.toml [tool.rnncore.thresholds]: 8 processes a side cannot tell from noise, as 'rnncore noise' found on "
        "2026-11-24: 3 % of one, where the noise floor is 4.0 % and 16 are needed (4 min). Set higher thresholds, or "
        "measure as many processes."
    )
    with pytest.raises(ConfigError, match=r"1 % of one, where the noise floor is 2\.0 % and more than 32 are needed\."):
        above_noise(Thresholds((("*", {"time_pct": 1.0}),)), record, 64)


def test_many_refusals_are_counted() -> None:
    record = _made(**{f"test_{number}": (Floor(8, 0.04, None),) for number in range(5)})
    with pytest.raises(ConfigError, match=r"; and 2 more\. Set higher"):
        above_noise(Thresholds((("*", {"time_pct": 3.0}),)), record, 8)


def test_without_a_record_or_with_one_process_thresholds_stay() -> None:
    thresholds = Thresholds((("*", {"time_pct": 0.1}),))
    assert above_noise(thresholds, None, 2) is thresholds
    assert above_noise(thresholds, _made(one=(Floor(8, 0.04, None),)), 1) is thresholds
