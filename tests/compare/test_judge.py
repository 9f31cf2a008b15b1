"""Tests of the verdicts on two sides of run files: planted changes, faults, gaps, other machines, and looks."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnncore.compare.judge import FAMILY_ERROR, Side, judge, log_ratios, settled
from rnncore.compare.ranks import compare_sides
from rnncore.compare.signs import family_p_values
from rnncore.compare.thresholds import Thresholds
from rnncore.compare.verdict import Comparison, Judgement
from rnncore.errors import ConfigError, RunFileError
from rnncore.runfile.read import find_runs, read_run
from rnncore.runfile.record import Run
from tests.run_files import inference, make_run, plain_benchmark, plain_content, run_content

NAMES = ("gru", "lstm")
START = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def side(tmp_path: Path) -> Callable[..., Side]:
    """Return a function that makes a side of processes whose quickest rounds vary by about 1 %, now and then by far more."""
    made = 0

    def make(
        name: str,
        processes: int = 12,
        factors: Sequence[float] = (1.0, 1.0),
        first_minute: int = 0,
        change: Callable[[dict[str, Any], int], None] = lambda content, process: None,
    ) -> Side:
        nonlocal made
        rng = np.random.default_rng([made, processes])
        made += 1
        runs = []
        for process in range(processes):
            noise = np.exp(rng.exponential(0.01, len(factors)) + (rng.random(len(factors)) < 0.2) * 0.5)
            rows = [
                inference(cell, "torch", 1, 0.005 * factor * wobble)
                for cell, factor, wobble in zip(NAMES, factors, noise, strict=False)
            ]
            content = run_content(rows)
            content["datetime"] = (START + timedelta(minutes=first_minute + 2 * process)).isoformat()
            change(content, process)
            runs.append(read_run(make_run(tmp_path, content, f"{name}-{made}-{process:03}.json")))
        return Side(name, tuple(runs))

    return make


def _of(comparison: Comparison, cell: str, measure: str = "time") -> Judgement:
    (found,) = [one for one in comparison.judgements if f"[{cell}-" in one.fullname and one.measure == measure]
    return found


def _compare(base: Side, head: Side, thresholds: Thresholds | None = None, **more: Any) -> Comparison:
    return judge(base, head, thresholds or Thresholds(), **more)


def test_a_planted_slowdown_is_slower_and_the_rest_is_the_same(side: Callable[..., Side]) -> None:
    comparison = _compare(side("base"), side("head", factors=(1.10, 1.0), first_minute=1))
    slower, same = _of(comparison, "gru"), _of(comparison, "lstm")
    assert (slower.verdict, same.verdict) == ("slower", "same")
    assert slower.ratio == pytest.approx(1.10, abs=0.02)
    assert slower.low is not None
    assert slower.high is not None
    assert 1 < slower.low < 1.10 < slower.high
    assert (comparison.verdict, comparison.exit_code) == ("slower", 1)
    assert comparison.notes == ()


def test_a_planted_gain_is_faster(side: Callable[..., Side]) -> None:
    comparison = _compare(side("base"), side("head", factors=(0.9, 1.0), first_minute=1))
    assert _of(comparison, "gru").verdict == "faster"
    assert (comparison.verdict, comparison.exit_code) == ("faster", 0)


def test_a_significant_change_below_the_threshold_is_not_slower(side: Callable[..., Side]) -> None:
    wide = Thresholds((("*", {"time_pct": 15.0, "same_time_pct": 20.0}),))
    comparison = _compare(side("base"), side("head", factors=(1.10, 1.0), first_minute=1), wide)
    judgement = _of(comparison, "gru")
    assert judgement.p_value is not None
    assert judgement.p_value < FAMILY_ERROR
    assert judgement.verdict == "same"


def test_a_large_ratio_of_too_few_processes_is_unclear_and_says_how_many_are_needed(side: Callable[..., Side]) -> None:
    comparison = _compare(side("base", processes=3), side("head", processes=3, factors=(1.5, 1.0), first_minute=1))
    judgement = _of(comparison, "gru")
    assert (judgement.verdict, comparison.exit_code) == ("unclear", 3)
    assert judgement.reason == "too few processes to tell: at least 6 a side are needed"


def test_one_process_per_side_can_only_warn(side: Callable[..., Side]) -> None:
    comparison = _compare(side("base", processes=1), side("head", processes=1, factors=(3.0, 1.0), first_minute=1))
    judgement = _of(comparison, "gru")
    assert (judgement.verdict, judgement.low, judgement.high) == ("unclear", None, None)
    assert judgement.ratio == pytest.approx(3.0, rel=0.7)
    assert judgement.reason.startswith("beyond 2 %, so worth a gate; one process per side")
    assert "noise between processes is unknown" in comparison.notes[0]


def test_sides_measured_one_after_the_other_get_a_note(side: Callable[..., Side]) -> None:
    comparison = _compare(side("base"), side("head", first_minute=100))
    assert "not measured interleaved" in comparison.notes[0]


def test_other_hardware_is_incomparable_and_shows_the_ratio(side: Callable[..., Side]) -> None:
    def elsewhere(content: dict[str, Any], process: int) -> None:
        content["machine_info"]["fingerprint"]["cpu"] = "Other CPU"

    comparison = _compare(side("base"), side("head", factors=(0.5, 0.5), first_minute=1, change=elsewhere))
    judgement = _of(comparison, "gru")
    assert (judgement.verdict, comparison.exit_code) == ("incomparable", 4)
    assert judgement.ratio == pytest.approx(0.5, abs=0.02)
    assert comparison.differences == (("cpu", "Made CPU (family 6, model 143)", "Other CPU"),)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("machine_info", "fingerprint", "packages", "torch"), "2.14.0"),
        (("machine_info", "fingerprint", "threads"), 4),
        (("machine_info", "fingerprint", "gpu"), {"name": "H100"}),
        (("rnncore", "data", "digest"), "other"),
        (("rnncore", "scale"), "full"),
    ],
)
def test_any_fact_that_makes_it_another_measurement_is_named(
    side: Callable[..., Side], path: tuple[str, ...], value: object
) -> None:
    def differ(content: dict[str, Any], process: int) -> None:
        inside = content
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value

    comparison = _compare(side("base"), side("head", first_minute=1, change=differ))
    assert comparison.verdict == "incomparable"
    assert {fact.split(".")[0] for fact, _, _ in comparison.differences} <= set(path) | {"data", "scale"}


def test_a_machine_with_a_few_pages_less_is_the_same(side: Callable[..., Side]) -> None:
    def fewer_pages(content: dict[str, Any], process: int) -> None:
        content["machine_info"]["fingerprint"]["memory_bytes"] -= 8192

    assert _compare(side("base"), side("head", first_minute=1, change=fewer_pages)).differences == ()


def test_a_benchmark_that_vanished_is_missing_with_the_reason(side: Callable[..., Side]) -> None:
    def skip(content: dict[str, Any], process: int) -> None:
        gone = content["benchmarks"].pop(0)["fullname"]
        content["rnncore"]["skipped"] = [{"fullname": gone, "reason": "no such device"}]

    comparison = _compare(side("base"), side("head", first_minute=1, change=skip))
    assert _of(comparison, "gru").verdict == "missing"
    assert "skipped: no such device" in _of(comparison, "gru").reason
    assert (comparison.verdict, comparison.exit_code) == ("missing", 5)


def test_a_benchmark_that_is_added_is_new_and_no_fault(side: Callable[..., Side]) -> None:
    comparison = _compare(side("base", factors=(1.0,)), side("head", first_minute=1))
    new, other = _of(comparison, "lstm"), _of(comparison, "gru")
    assert (new.verdict, new.reason, comparison.exit_code) == ("new", "not in the base", 0)
    # The head ran: what it took is known, and there is nothing to hold it against.
    assert new.head is not None
    assert other.base is not None
    assert new.head > 0
    assert (new.base, new.ratio) == (None, None)


def test_a_wrong_result_in_one_process_is_invalid(side: Callable[..., Side]) -> None:
    def break_one(content: dict[str, Any], process: int) -> None:
        if process == 3:
            content["benchmarks"][0]["extra_info"]["validity"] = "forecasts differ from float64"

    comparison = _compare(side("base"), side("head", first_minute=1, change=break_one))
    judgement = _of(comparison, "gru")
    assert (judgement.verdict, comparison.exit_code) == ("invalid", 1)
    assert judgement.reason == "wrong in 1 of 12 processes of the head: forecasts differ from float64"


def test_a_result_that_was_wrong_before_is_nothing_to_compare_with(side: Callable[..., Side]) -> None:
    def break_all(content: dict[str, Any], process: int) -> None:
        content["benchmarks"][0]["extra_info"]["validity"] = "forecasts differ from float64"

    comparison = _compare(side("base", change=break_all), side("head", first_minute=1))
    assert _of(comparison, "gru").verdict == "new"
    assert "nothing to compare with" in _of(comparison, "gru").reason


def test_a_result_that_is_wrong_on_both_sides_blocks_no_change(side: Callable[..., Side]) -> None:
    def break_all(content: dict[str, Any], process: int) -> None:
        content["benchmarks"][0]["extra_info"]["validity"] = "forecasts differ from float64"

    def break_most(content: dict[str, Any], process: int) -> None:
        if process != 3:
            break_all(content, process)

    comparison = _compare(side("base", change=break_all), side("head", first_minute=1, change=break_all))
    judgement = _of(comparison, "gru")
    assert (judgement.verdict, comparison.exit_code) == ("not judged", 0)
    assert judgement.reason == "wrong in the base as well, in every process: forecasts differ from float64"
    # As good as always: one process less is chance.
    comparison = _compare(side("base", change=break_most), side("head", first_minute=1, change=break_all))
    assert (_of(comparison, "gru").verdict, comparison.exit_code) == ("not judged", 0)


@pytest.mark.parametrize(
    ("of_base", "of_head", "verdict", "code"),
    [
        # As where the second to start finds a port taken: no process of the head has it worse.
        (range(0, 12, 2), range(1, 12, 2), "not judged", 0),
        ([3], [1, 2, 3], "not judged", 0),
        # Six that differ, all to the worse: by chance once in 64 times. And seven, once in 128.
        (range(6), range(12), "not judged", 0),
        (range(5), range(12), "invalid", 1),
        ([11], range(7), "not judged", 0),
        ([], [5], "invalid", 1),
    ],
)
def test_what_goes_wrong_by_chance_in_the_base_is_invalid_if_it_clearly_does_so_more_often_in_the_head(
    of_base: Sequence[int], of_head: Sequence[int], verdict: str, code: int, side: Callable[..., Side]
) -> None:
    def breaking(wrong: Sequence[int]) -> Callable[[dict[str, Any], int], None]:
        def change(content: dict[str, Any], process: int) -> None:
            if process in wrong:
                content["benchmarks"][0]["extra_info"]["validity"] = "the port is taken"

        return change

    comparison = _compare(side("base", change=breaking(of_base)), side("head", first_minute=1, change=breaking(of_head)))
    judgement = _of(comparison, "gru")
    assert (judgement.verdict, comparison.exit_code) == (verdict, code)
    if of_base and verdict == "not judged":
        counts = f"wrong in {len(of_base)} of 12 processes of the base and in {len(of_head)} of 12 processes of the head"
        assert judgement.reason == f"{counts}: the port is taken"


def test_what_goes_wrong_by_chance_is_measured_on_and_in_every_process_is_of_those_that_ran_it(
    side: Callable[..., Side],
) -> None:
    def breaking(wrong: Sequence[int], without: Sequence[int] = ()) -> Callable[[dict[str, Any], int], None]:
        def change(content: dict[str, Any], process: int) -> None:
            if process in wrong:
                content["benchmarks"][0]["extra_info"]["validity"] = "the port is taken"
            if process in without:
                del content["benchmarks"][0]

        return change

    by_chance = side("base", change=breaking([2, 4])), side("head", first_minute=1, change=breaking([1, 2, 3, 5]))
    comparison = _compare(*by_chance)
    assert _of(comparison, "gru").verdict == "not judged"
    assert _of(comparison, "gru").key not in settled(comparison, *by_chance, Thresholds())
    # Wrong wherever it was measured: the later pairs left it out.
    always = breaking(range(8), without=range(8, 12))
    sides = side("base", change=always), side("head", first_minute=1, change=always)
    comparison = _compare(*sides)
    assert _of(comparison, "gru").reason == "wrong in the base as well, in every process: the port is taken"
    assert _of(comparison, "gru").key in settled(comparison, *sides, Thresholds())


def test_of_few_processes_chance_is_not_told_from_more_failures(side: Callable[..., Side]) -> None:
    def break_first(content: dict[str, Any], process: int) -> None:
        if process == 0:
            content["benchmarks"][0]["extra_info"]["validity"] = "the port is taken"

    sides = side("base", processes=3, change=break_first), side("head", processes=3, first_minute=1, change=break_first)
    comparison = _compare(*sides)
    assert (_of(comparison, "gru").verdict, comparison.exit_code) == ("unclear", 3)


def test_a_benchmark_that_died_is_invalid(side: Callable[..., Side]) -> None:
    def die(content: dict[str, Any], process: int) -> None:
        gone = content["benchmarks"].pop(0)["fullname"]
        content["rnncore"]["failed"] = [{"fullname": gone, "outcome": "out of memory", "reason": "MemoryError"}]

    judgement = _of(_compare(side("base"), side("head", first_minute=1, change=die)), "gru")
    assert judgement.verdict == "invalid"
    assert "out of memory: MemoryError" in judgement.reason


@pytest.mark.parametrize(("key", "measure"), [("peak_rss_bytes", "memory"), ("smape", "smape")])
def test_memory_and_smape_are_judged_too(side: Callable[..., Side], key: str, measure: str) -> None:
    def grow(content: dict[str, Any], process: int) -> None:
        content["benchmarks"][0]["extra_info"][key] *= 1.2

    comparison = _compare(side("base"), side("head", first_minute=1, change=grow))
    assert _of(comparison, "gru", measure).verdict == "slower"
    assert _of(comparison, "lstm", measure).verdict == "same"
    assert _of(comparison, "gru").verdict == "same"
    assert comparison.exit_code == 1


def test_memory_of_files_that_tell_the_sessions_peak_is_not_judged(side: Callable[..., Side]) -> None:
    def of_the_session(content: dict[str, Any], process: int) -> None:
        for entry in content["benchmarks"]:
            del entry["extra_info"]["model_rss_bytes"]

    comparison = _compare(side("base", change=of_the_session), side("head", first_minute=1))
    assert {one.measure for one in comparison.judgements} == {"time", "smape"}


def test_many_benchmarks_of_identical_code_raise_no_more_alarms_than_one(side: Callable[..., Side]) -> None:
    """A hundred comparisons of two benchmarks: at 1 % for the family, more than five alarms are no chance."""
    alarms = 0
    for _ in range(25):
        base, head = side("base", processes=8), side("head", processes=8, first_minute=1)
        comparison = _compare(base, head, Thresholds((("*", {"time_pct": 0.001}),)))
        alarms += any(one.verdict in ("slower", "faster") for one in comparison.judgements)
    assert alarms <= 3


def test_holm_multiplies_the_smallest_p_value_most(side: Callable[..., Side]) -> None:
    base, head = side("base"), side("head", factors=(1.10, 1.03), first_minute=1)
    times = [_of(_compare(base, head), cell) for cell in NAMES]
    raw = [compare_sides(*([min(r.rounds_s) for r in s.records(one.fullname)] for s in (base, head)), 0.01) for one in times]
    assert raw[0].p_value < raw[1].p_value
    assert times[0].p_value == pytest.approx(2 * raw[0].p_value)
    assert times[1].p_value == pytest.approx(raw[1].p_value)


def test_what_leaves_nothing_to_chance_is_no_burden_on_the_rest(side: Callable[..., Side]) -> None:
    def vary(content: dict[str, Any], process: int) -> None:
        content["benchmarks"][0]["extra_info"]["smape"] *= 1 + 1e-6 * (process % 5)

    base, head = side("base"), side("head", factors=(1.03, 1.0), first_minute=1)
    constant = _compare(base, head)
    assert _of(constant, "gru", "smape").p_value == 1.0
    base, head = (replace(one, runs=_rewritten(one, vary)) for one in (base, head))
    varying = _compare(base, head)
    # Of two times and one sMAPE that was tested with them.
    p_value, p_before = _of(varying, "gru").p_value, _of(constant, "gru").p_value
    assert p_before is not None
    assert p_value == pytest.approx(p_before * 3 / 2)


def _rewritten(one: Side, change: Callable[[dict[str, Any], int], None]) -> tuple[Run, ...]:
    """Return the runs of a side, read again from files with another content."""
    for process, run in enumerate(one.runs):
        content = json.loads(run.path.read_text("utf-8"))
        change(content, process)
        run.path.write_text(json.dumps(content), encoding="utf-8")
    return tuple(read_run(run.path) for run in one.runs)


# ------------------------------------------------------------------------------------------------------------------- pairs


def _numbered(content: dict[str, Any], process: int) -> None:
    content["rnncore"]["pair"] = process


def _paired(
    side: Callable[..., Side],
    factors: Sequence[float] = (1.0, 1.0),
    pairs: int = 12,
    change: Callable[[dict[str, Any], int], None] = lambda content, process: None,
) -> tuple[Side, Side]:
    """Return two sides whose pairs are slow and quick together, by far more than a change of the head."""

    def both(content: dict[str, Any], process: int) -> None:
        _numbered(content, process)
        for entry in content["benchmarks"]:
            entry["stats"]["data"] = [seconds * (1 + process % 3) for seconds in entry["stats"]["data"]]

    def of_head(content: dict[str, Any], process: int) -> None:
        both(content, process)
        change(content, process)

    base = side("base", pairs, change=both)
    return base, side("head", pairs, factors, 1, of_head)


def test_what_pairs_have_in_common_hides_nothing(side: Callable[..., Side]) -> None:
    base, head = _paired(side, (1.5, 1.0))
    assert _of(_compare(base, head), "gru").verdict == "slower"
    # The same processes without their numbers are no pairs.
    alone = [replace(one, runs=_rewritten(one, lambda content, _: content["rnncore"].pop("pair"))) for one in (base, head)]
    assert _of(_compare(*alone), "gru").verdict == "unclear"


def test_all_measures_of_pairs_are_tested_as_one_family(side: Callable[..., Side]) -> None:
    rng = np.random.default_rng(0)

    def vary(content: dict[str, Any], process: int) -> None:
        for entry in content["benchmarks"]:
            entry["extra_info"]["peak_rss_bytes"] *= float(np.exp(rng.normal(0, 0.01)))

    base, head = _paired(side, (1.5, 1.0), change=vary)
    comparison = _compare(base, head)
    # The sMAPE is the same in all.
    of_family = {key: logs for key, logs in log_ratios(base, head).items() if key[1] != "smape"}
    assert {measure for _, measure in of_family} == {"time", "memory"}
    # Each measure with the noise that it shares.
    expected = family_p_values(of_family, lambda key: key[1])
    found = {one.key: one.p_value for one in comparison.judgements if one.key in of_family}
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("instructions", "cycles", "expected"),
    [
        # More of them are seen where noise of a tenth of a percent is all there is, and the time says nothing.
        (1.01, 1.01, {"instructions": "slower", "cycles": "same"}),
        (0.99, 1.03, {"instructions": "faster", "cycles": "slower"}),
        (1.003, 0.97, {"instructions": "same", "cycles": "faster"}),
    ],
)
def test_instructions_and_cycles_are_judged_by_pairs_beside_the_time(
    side: Callable[..., Side], instructions: float, cycles: float, expected: dict[str, str]
) -> None:
    rng = np.random.default_rng(1)

    def counted(factors: tuple[float, float]) -> Callable[[dict[str, Any], int], None]:
        def change(content: dict[str, Any], process: int) -> None:
            _numbered(content, process)
            for row in content["benchmarks"]:
                counts = rng.normal((5e6, 2e6), (5e3, 2e4)) * factors
                row["extra_info"] |= dict(zip(("instructions_per_call", "cycles_per_call"), map(float, counts), strict=True))

        return change

    base, head = side("base", 12, change=counted((1, 1))), side("head", 12, change=counted((instructions, cycles)))
    comparison = _compare(base, head)
    for cell in NAMES:
        assert {measure: _of(comparison, cell, measure).verdict for measure in expected} == expected


def test_too_few_pairs_say_how_many_are_needed(side: Callable[..., Side]) -> None:
    judgement = _of(_compare(*_paired(side, (1.5, 1.0), pairs=7)), "gru")
    assert judgement.verdict == "unclear"
    assert judgement.reason == "too few processes to tell: at least 8 a side are needed"


def test_one_pair_asks_for_a_larger_budget_and_not_for_a_gate(side: Callable[..., Side]) -> None:
    comparison = judge(*_paired(side, (1.3, 1.0), pairs=1), Thresholds())
    assert {one.reason for one in comparison.judgements} == {"one pair, so the noise between pairs is unknown"}
    assert [note.partition(":")[0] for note in comparison.notes] == ["One pair"]
    assert "--budget" in comparison.notes[0]


def test_a_benchmark_that_no_pair_has_on_both_sides_is_unclear(side: Callable[..., Side]) -> None:
    def of_half(half: int) -> Callable[[dict[str, Any], int], None]:
        def drop(content: dict[str, Any], process: int) -> None:
            _numbered(content, process)
            if process % 2 == half:
                del content["benchmarks"][0]

        return drop

    base = side("base", change=of_half(0))
    head = side("head", factors=(2.0, 1.0), first_minute=1, change=of_half(1))
    judgement = _of(_compare(base, head), "gru")
    assert (judgement.verdict, judgement.p_value) == ("unclear", 1.0)


def test_pairs_of_which_some_lack_a_benchmark_are_judged_by_the_others(side: Callable[..., Side]) -> None:
    def drop_one(content: dict[str, Any], process: int) -> None:
        if process == 3:
            del content["benchmarks"][0]

    judgement = _of(_compare(*_paired(side, (1.5, 1.0), change=drop_one)), "gru")
    assert (judgement.verdict, judgement.base_processes, judgement.head_processes) == ("slower", 12, 11)


def test_delays_that_were_injected_are_told(side: Callable[..., Side]) -> None:
    def delay(content: dict[str, Any], process: int) -> None:
        content["benchmarks"][0]["extra_info"]["injected_delay_pct"] = 5.0

    comparison = _compare(side("base"), side("head", first_minute=1, change=delay))
    assert any("planted on purpose" in note and "gru" in note for note in comparison.notes)


def test_what_an_earlier_look_decided_stays(side: Callable[..., Side]) -> None:
    base, head = side("base"), side("head", factors=(1.10, 1.0), first_minute=1)
    first = _compare(base, head)
    decided = settled(first, base, head, Thresholds())
    assert decided[_of(first, "gru").fullname, "time"].verdict == "slower"
    calm = side("head", first_minute=1)
    later = _compare(base, calm, decided=decided)
    assert _of(later, "gru") == _of(first, "gru")


def test_what_failed_since_an_earlier_look_is_invalid(side: Callable[..., Side]) -> None:
    base, head = side("base"), side("head", first_minute=1)
    decided = settled(_compare(base, head), base, head, Thresholds())

    def spoil(content: dict[str, Any], process: int) -> None:
        if process == 11:
            content["benchmarks"][0]["extra_info"]["validity"] = "wrong: made so"

    later = _compare(base, side("head", first_minute=1, change=spoil), decided=decided)
    assert decided[_of(later, "gru").fullname, "time"].verdict == "same"
    assert (_of(later, "gru").verdict, _of(later, "lstm").verdict) == ("invalid", "same")


def test_a_decided_change_leaves_the_family_and_a_decided_same_stays_in_it(side: Callable[..., Side]) -> None:
    base, head = side("base"), side("head", factors=(1.10, 1.03), first_minute=1)
    both = _compare(base, head)
    gru = (_of(both, "gru").fullname, "time")
    alone = _compare(base, head, decided={gru: replace(_of(both, "gru"), verdict="slower")})
    with_same = _compare(base, head, decided={gru: replace(_of(both, "gru"), verdict="same")})
    p_alone, p_with_same = _of(alone, "lstm").p_value, _of(with_same, "lstm").p_value
    assert p_alone is not None
    assert p_with_same == pytest.approx(min(1.0, 2 * p_alone))


def test_an_undecided_benchmark_is_not_settled(side: Callable[..., Side]) -> None:
    base, head = side("base", processes=3), side("head", processes=3, first_minute=1)
    comparison = _compare(base, head)
    assert all(measure != "time" for _, measure in settled(comparison, base, head, Thresholds()))


def test_groups_have_the_geometric_mean_of_their_ratios(side: Callable[..., Side]) -> None:
    comparison = _compare(side("base"), side("head", factors=(1.2, 0.8), first_minute=1))
    ratios = [_of(comparison, cell).ratio for cell in NAMES]
    (group,) = comparison.groups
    assert group.ratio == pytest.approx(float(np.sqrt(np.prod(np.array(ratios, dtype=float)))))
    assert group.count == 2


def test_a_side_without_runs_is_refused(side: Callable[..., Side]) -> None:
    with pytest.raises(ConfigError, match="at least one run file"):
        _compare(side("base"), Side("empty", ()))


def _plain(folder: Path, *names: str, minute: int = 0) -> Side:
    """Return a side of one process that measured benchmarks of these names."""
    rows = [plain_benchmark(f"a.py::test_{name}", [0.01, 0.011, 0.012]) for name in names]
    path = make_run(folder, plain_content(rows, minute=minute), f"{minute}.json")
    return Side(path.name, (read_run(path),))


class _Counted(tuple[Any, ...]):
    """Records that count how often all of them are looked through."""

    __slots__ = ()
    times = 0

    def __iter__(self) -> Iterator[Any]:
        _Counted.times += 1
        return super().__iter__()


def test_the_rows_of_a_file_are_looked_through_as_often_whatever_their_number(tmp_path: Path) -> None:
    looked = []
    for count in (3, 60):
        _Counted.times = 0
        base, head = (
            Side(one.name, tuple(replace(run, records=_Counted(run.records)) for run in one.runs))
            for one in (_plain(tmp_path, *map(str, range(count)), minute=minute) for minute in (0, 1))
        )
        assert len(_compare(base, head).judgements) == count
        looked.append(_Counted.times)
    assert looked[0] == looked[1]


NOTHING_COMPARED = "No benchmark was measured on both sides: nothing is compared."


@pytest.mark.parametrize(
    ("base", "head", "verdict", "code"),
    [((), (), "unclear", 3), ((), ("a",), "unclear", 3), (("a",), (), "missing", 5), (("a",), ("b",), "missing", 5)],
)
def test_sides_without_a_benchmark_in_common_are_not_the_same(
    base: tuple[str, ...], head: tuple[str, ...], verdict: str, code: int, tmp_path: Path
) -> None:
    comparison = _compare(_plain(tmp_path, *base), _plain(tmp_path, *head, minute=1))
    assert (comparison.verdict, comparison.exit_code) == (verdict, code)
    assert comparison.notes == (NOTHING_COMPARED,)


def test_benchmarks_that_fail_on_both_sides_are_not_the_same(side: Callable[..., Side]) -> None:
    def broken(content: dict[str, Any], process: int) -> None:
        for entry in content["benchmarks"]:
            entry["extra_info"]["validity"] = "failed: it raises"

    comparison = _compare(side("base", change=broken), side("head", first_minute=1, change=broken))
    assert {one.verdict for one in comparison.judgements} == {"not judged"}
    assert (comparison.verdict, comparison.exit_code) == ("unclear", 3)


def test_one_benchmark_in_common_is_compared_beside_new_ones(tmp_path: Path) -> None:
    comparison = _compare(_plain(tmp_path, "a"), _plain(tmp_path, "a", "b", minute=1))
    assert {one.verdict for one in comparison.judgements} == {"unclear", "new"}
    assert NOTHING_COMPARED not in comparison.notes


def test_runs_are_found_by_file_folder_glob_and_number(tmp_path: Path) -> None:
    store = tmp_path / "Linux-CPython-3.11-64bit"
    store.mkdir()
    one, two = make_run(store, name="0007_made.json"), make_run(store, name="0008_made.json")
    assert find_runs(str(one)) == [one]
    assert find_runs(str(store)) == [one, two]
    assert find_runs(str(store / "000[78]*.json")) == [one, two]
    assert find_runs("0007", tmp_path) == [one]
    assert find_runs("8", tmp_path) == [two]


def test_a_name_that_finds_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="0009: no such run"):
        find_runs("0009", tmp_path)


def test_a_number_of_two_machines_is_told(tmp_path: Path) -> None:
    for machine in ("Linux-a", "Linux-b"):
        (tmp_path / machine).mkdir()
        make_run(tmp_path / machine, name="0007_made.json")
    with pytest.raises(RunFileError, match="is the number of 2 runs"):
        find_runs("0007", tmp_path)


def test_a_run_keeps_its_name_where_it_holds_colons(tmp_path: Path) -> None:
    content = run_content([inference("gru", "torch", 1, 0.005)])
    content["benchmarks"][0]["fullname"] = "bench/a.py::test_op[aten::addmm]"
    run: Run = read_run(make_run(tmp_path, json.loads(json.dumps(content))))
    assert run.records[0].short_name == "test_op[aten::addmm]"
