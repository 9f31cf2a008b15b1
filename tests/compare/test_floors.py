"""Tests of noise floors: they grow with noise, shrink with pairs, hold what they promise, and refuse what lies below."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from rnncore.compare.floors import (
    FEWEST_SO_FAR,
    LAST_LOOK,
    SIZES_SO_FAR,
    Floor,
    NoiseRecord,
    above_noise,
    floor_at,
    noise_so_far,
    read_noise,
    record_noise,
    write_noise,
)
from rnncore.compare.judge import FAMILY_ERROR
from rnncore.compare.measures import Bounds
from rnncore.compare.signs import family_p_values, ratio_of_pairs
from rnncore.compare.thresholds import Thresholds
from rnncore.errors import ConfigError, RunFileError
from rnncore.runfile.record import Record, Run

QUIET, NOISY = "bench/a.py::test_quiet[x]", "bench/a.py::test_noisy[x]"
FINGERPRINT = {"cpu": "Made CPU", "threads": 2, "memory_bytes": 25_000_000_000}


def _run(times_s: dict[str, float], pair: int) -> Run:
    records = tuple(Record(name, "made", (time_s * 1.1, time_s), {}) for name, time_s in times_s.items())
    facts = (None, FINGERPRINT, None, (), (), (), None, {"scale": "gate", "pair": pair})
    return Run(Path("made.json"), "2026-11-24T10:00:00+00:00", *facts, records, "")


def _pairs(pairs: int = 40, seed: int = 0) -> list[tuple[Run, Run]]:
    rng = np.random.default_rng(seed)
    noise = np.exp(rng.normal(0, 1, (pairs, 2, 2)) * [0.003, 0.03] / math.sqrt(2))
    return [
        (
            _run({QUIET: 0.01 * base[0], NOISY: 0.01 * base[1]}, pair),
            _run({QUIET: 0.01 * head[0], NOISY: 0.01 * head[1]}, pair),
        )
        for pair, (base, head) in enumerate(noise.tolist())
    ]


@cache
def _record(sizes: Sequence[int] = (10, 16)) -> NoiseRecord:
    return record_noise(_pairs(), [7.0] * 40, Thresholds(), sizes)


def _made(**floors: tuple[Floor, ...]) -> NoiseRecord:
    named = {f"a.py::{name}": kept for name, kept in floors.items()}
    return NoiseRecord(FINGERPRINT, "gate", "2026-11-24T10:00:00", 7.0, {}, named)


def test_floors_grow_with_noise_and_shrink_with_pairs() -> None:
    record = _record()
    (few, many), (few_noisy, many_noisy) = record.floors[QUIET], record.floors[NOISY]
    assert (few.pairs, many.pairs) == (10, 16)
    assert many.wander < few.wander < few_noisy.wander
    assert many.wander < many_noisy.wander < few_noisy.wander
    seen, seen_few, seen_noisy = many.visible, few.visible, many_noisy.visible
    assert seen is not None
    assert seen_few is not None
    assert seen_noisy is not None
    assert seen <= seen_few
    assert seen < seen_noisy


def test_of_gates_of_identical_code_about_one_in_a_hundred_passes_the_floor() -> None:
    floor = floor_at(_record(), NOISY, 16).wander
    rng = np.random.default_rng(1)
    estimates = [abs(math.log(ratio_of_pairs(rng.normal(0, 0.03, 16), 0.01).estimate)) for _ in range(300)]
    # The 40 recorded pairs are a sample of the noise themselves.
    assert np.mean([math.expm1(one) > floor for one in estimates]) <= 0.06
    assert math.expm1(np.quantile(estimates, 0.5)) < floor


def test_the_visible_slowdown_is_found_about_as_often_as_it_says() -> None:
    visible = floor_at(_record(), NOISY, 16).visible
    assert visible is not None
    rng, error, found = np.random.default_rng(2), FAMILY_ERROR * LAST_LOOK, []
    for _ in range(150):
        quiet, noisy = rng.normal(0, 0.003, 16), rng.normal(math.log1p(visible), 0.03, 16)
        p_value = family_p_values({QUIET: quiet, NOISY: noisy})[NOISY]
        found.append(p_value <= error and ratio_of_pairs(noisy, 0.01).estimate >= 1.02)
    assert 0.6 <= np.mean(found) <= 0.95


def test_a_quiet_benchmark_sees_little_more_than_the_threshold() -> None:
    visible = floor_at(_record(), QUIET, 16).visible
    assert visible is not None
    assert 0.02 <= visible < 0.025


def test_too_few_pairs_for_any_ratio_to_be_significant_see_nothing() -> None:
    record = record_noise(_pairs(), [7.0] * 40, Thresholds(), [8])
    # A gate of eight has its last look only, and spends what is left of the error on it.
    assert record.floors[QUIET][0].visible is None


def test_a_record_has_the_log_ratios_of_the_pairs_in_order() -> None:
    record = _record()
    assert record.pair_s == 7.0
    for place, name in enumerate((QUIET, NOISY)):
        expected = [
            math.log(min(head.records[place].rounds_s) / min(base.records[place].rounds_s)) for base, head in _pairs()
        ]
        assert record.log_ratios[name] == pytest.approx(expected)


@pytest.mark.parametrize("side", [0, 1])
def test_a_benchmark_that_failed_in_one_process_is_left_out(side: int) -> None:
    pairs = [list(pair) for pair in _pairs()]
    run = pairs[3][side]
    wrong = replace(run.records[1], facts={"validity": "wrong"})
    pairs[3][side] = replace(run, records=(run.records[0], wrong))
    whole = [(base, head) for base, head in pairs]
    assert list(record_noise(whole, [7.0] * 40, Thresholds(), [8]).floors) == [QUIET]


def test_a_record_of_nothing_is_refused() -> None:
    pairs = [(_run({QUIET: 0.01}, 0), _run({NOISY: 0.01}, 0))]
    with pytest.raises(ConfigError, match="no benchmark was measured in all pairs"):
        record_noise(pairs, [7.0], Thresholds(), [8])


def test_a_record_is_kept_by_machine_and_scale(tmp_path: Path) -> None:
    record = _record((8,))
    path = write_noise(tmp_path, record)
    assert path.suffix != ".json"  # a store's .json files are run files
    rebooted = {**FINGERPRINT, "memory_bytes": 25_000_004_096}
    assert read_noise(tmp_path, rebooted, "gate") == record
    assert read_noise(tmp_path, {**FINGERPRINT, "threads": 1}, "gate") is None
    assert read_noise(tmp_path, FINGERPRINT, "quick") is None


def test_noise_of_some_benchmarks_leaves_what_is_known_of_the_others(tmp_path: Path) -> None:
    whole = _record((8,))
    write_noise(tmp_path, whole)
    again = NoiseRecord(FINGERPRINT, "gate", "2026-11-28", 2.0, {QUIET: [0.5] * 8}, {QUIET: (Floor(8, 0.5, None),)})
    write_noise(tmp_path, again)
    kept = read_noise(tmp_path, FINGERPRINT, "gate")
    assert kept is not None
    assert kept.floors == {QUIET: again.floors[QUIET], NOISY: whole.floors[NOISY]}
    assert kept.log_ratios[NOISY] == whole.log_ratios[NOISY]
    # A pair of all takes as long as ever.
    assert (kept.pair_s, kept.datetime) == (whole.pair_s, "2026-11-28")
    # What is measured anew as a whole is all that there is.
    write_noise(tmp_path, whole)
    assert read_noise(tmp_path, FINGERPRINT, "gate") == whole


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"floors": {"a": [{"pairs": 3}]}}', '{"fingerprint": {}, "scale": 3}'])
def test_a_damaged_record_is_told(tmp_path: Path, text: str) -> None:
    path = write_noise(tmp_path, _record((8,)))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunFileError, match=r"not a record of noise .* Make it again with 'rnncore noise'"):
        read_noise(tmp_path, FINGERPRINT, "gate")


def test_a_record_is_plain_json(tmp_path: Path) -> None:
    content = json.loads(write_noise(tmp_path, _record((8,))).read_text("utf-8"))
    assert content["floors"][QUIET][0]["visible"] is None
    assert len(content["log_ratios"][QUIET]) == 40


def test_the_floor_is_that_of_no_more_pairs_than_there_are() -> None:
    floors = Floor(8, 0.04, None), Floor(16, 0.03, None), Floor(32, 0.02, None)
    record = _made(one=floors)
    assert [floor_at(record, "a.py::one", pairs).pairs for pairs in (3, 8, 31, 32, 99)] == [8, 8, 16, 32, 32]


def test_a_default_below_the_noise_is_lifted_and_a_note_says_so() -> None:
    record = _made(quiet=(Floor(8, 0.01, 0.03),), noisy=(Floor(8, 0.07, 0.09),))
    thresholds = above_noise(Thresholds(), record, record.floors, 8)
    assert thresholds.bounds("a.py::quiet", "time") == Bounds(0.02, 0.05)
    # What the noise hides is not the same for that.
    assert thresholds.bounds("a.py::noisy", "time") == Bounds(0.07, 0.05)
    assert thresholds.bounds("a.py::noisy", "memory") == Bounds(0.05, 0.10)
    (note,) = thresholds.notes
    assert note == (
        "This machine's noise ('rnncore noise', 2026-11-24) hides changes below, with 8 pairs: noisy 7.0 %. "
        "Smaller ones are not called there."
    )


def test_of_what_is_not_compared_the_noise_says_nothing_and_refuses_nothing() -> None:
    record = _made(quiet=(Floor(8, 0.01, 0.03),), noisy=(Floor(8, 0.07, 0.09),))
    chosen = Thresholds((("*", {"time_pct": 3.0}),))
    assert above_noise(Thresholds(), record, {"a.py::quiet"}, 8).notes == ()
    assert above_noise(chosen, record, {"a.py::quiet"}, 8) is chosen


def test_notes_that_thresholds_have_stay_beside_that_of_the_noise() -> None:
    record = _made(noisy=(Floor(8, 0.07, 0.09),))
    earlier, lifted = above_noise(Thresholds(notes=("Earlier.",)), record, record.floors, 8).notes
    assert earlier == "Earlier."
    assert "noisy 7.0 %" in lifted


def test_the_noise_so_far_is_that_of_the_pairs_whatever_changed_between_their_sides() -> None:
    pairs = _pairs(12)
    slower = [
        (
            base,
            replace(head, records=tuple(replace(one, rounds_s=tuple(2 * s for s in one.rounds_s)) for one in head.records)),
        )
        for base, head in pairs
    ]
    of_same, of_slower = (noise_so_far(one, [7.0] * 12, Thresholds()) for one in (pairs, slower))
    assert of_same is not None
    assert of_slower is not None
    for name in (QUIET, NOISY):
        assert of_slower.log_ratios[name] == pytest.approx(of_same.log_ratios[name], abs=1e-9)
        assert [floor.pairs for floor in of_same.floors[name]] == list(SIZES_SO_FAR)
    seen = {name: of_same.floors[name][0].visible for name in (QUIET, NOISY)}
    assert seen[QUIET] is not None
    assert seen[NOISY] is not None
    assert 0.02 <= seen[QUIET] < 0.025 < seen[NOISY] < 0.2


def test_few_pairs_tell_nothing_of_the_noise_so_far() -> None:
    assert noise_so_far(_pairs(FEWEST_SO_FAR - 1), [7.0] * (FEWEST_SO_FAR - 1), Thresholds()) is None
    failed = [(_run({QUIET: 0.01}, pair), _run({NOISY: 0.01}, pair)) for pair in range(8)]
    assert noise_so_far(failed, [7.0] * 8, Thresholds()) is None


def test_a_chosen_threshold_below_the_noise_is_refused_with_what_would_be_needed() -> None:
    record = _made(one=(Floor(8, 0.04, None), Floor(16, 0.028, None), Floor(32, 0.02, None)))
    chosen = Thresholds((("*", {"time_pct": 3.0}),), "pyproject.toml [tool.rnncore.thresholds]")
    assert above_noise(chosen, record, record.floors, 16) is chosen
    with pytest.raises(ConfigError) as caught:
        above_noise(chosen, record, record.floors, 8)
    assert str(caught.value) == (
        "pyproject.toml [tool.rnncore.thresholds]: 8 pairs cannot tell from noise, as 'rnncore noise' found on "
        "2026-11-24: 3 % of one, where the noise floor is 4.0 % and 16 are needed (2 min). Set higher thresholds, or "
        "measure as many pairs."
    )
    with pytest.raises(ConfigError, match=r"1 % of one, where the noise floor is 2\.0 % and more than 32 are needed\."):
        above_noise(Thresholds((("*", {"time_pct": 1.0}),)), record, record.floors, 64)


def test_many_refusals_are_counted() -> None:
    record = _made(**{f"test_{number}": (Floor(8, 0.04, None),) for number in range(5)})
    with pytest.raises(ConfigError, match=r"; and 2 more\. Set higher"):
        above_noise(Thresholds((("*", {"time_pct": 3.0}),)), record, record.floors, 8)


def test_without_a_record_or_with_one_pair_thresholds_stay() -> None:
    thresholds = Thresholds((("*", {"time_pct": 0.1}),))
    assert above_noise(thresholds, None, (), 2) is thresholds
    assert above_noise(thresholds, _made(one=(Floor(8, 0.04, None),)), {"a.py::one"}, 1) is thresholds
