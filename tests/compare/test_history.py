"""Tests of trends: lasting changes are called and noise is not, files are read once, and whatever lies there is said."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from ruptures import KernelCPD

from rnncore.compare import change_points as change_points_module
from rnncore.compare import history_cache
from rnncore.compare.change_points import Pending, Trend, _has_no_change, change_points, find_trends, steps_of
from rnncore.compare.history import Commit, History, Machine, Series, read_history
from rnncore.compare.history_cache import CACHE_NAME, EARLIER_NAME
from rnncore.errors import ConfigError, RunFileError
from rnncore.report.trend import trend_json, trend_tables, write_trend_page
from rnncore.runfile.machine import differences, ordinary_fingerprint
from rnncore.runfile.read import read_run
from tests.report_text import as_text
from tests.run_files import GPU, inference, make_run, run_content

START = datetime(2026, 9, 1, tzinfo=UTC)
NAME = "bench/bench_infer.py::test_forecast[gru-torch-cpu-fp32-b32]"
Array = NDArray[np.float64]


def _commit_id(number: int) -> str:
    return f"{number:07x}" + "0" * 33


def _save(store: Path, number: int, median_s: float, content: dict[str, Any] | None = None, **commit: Any) -> Path:
    """Write the run file of a commit, measured *number* hours after the start."""
    content = run_content([inference("gru", "torch", 32, median_s)]) if content is None else content
    content["datetime"] = (START + timedelta(hours=number)).isoformat()
    content["commit_info"] = {"id": _commit_id(number), "dirty": False, "branch": "main", "time": None, **commit}
    path = store / f"{number:04d}.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _summary(median_s: float) -> dict[str, float]:
    return {**dict.fromkeys(("min", "q1", "median", "q3", "max"), median_s), "rounds": 5}


def _plain(median_s: float, name: str = "test_sort", **info: Any) -> dict[str, Any]:
    """Return a file of pytest-benchmark alone, without raw rounds."""
    cpu = {"brand_raw": "Plain CPU", "count": 8, "arch": "X86_64", "hz_actual_friendly": f"{2 + median_s} GHz"}
    return {
        "machine_info": {"node": f"runner-{median_s}", "system": "Linux", "python_version": "3.12.1", "cpu": cpu, **info},
        "benchmarks": [
            {"fullname": f"tests/test_sort.py::{name}", "group": None, "extra_info": {}, "stats": _summary(median_s)}
        ],
        "version": "5.3.1",
    }


def _noise(count: int, seed: Sequence[int], sd: float = 0.01) -> Array:
    return np.exp(np.random.default_rng(seed).normal(0, sd, count))


def _with_spikes(count: int, seed: Sequence[int], sd: float) -> Array:
    """Return noise in which one point in 20 is 10 to 60 % slower."""
    spikes = np.random.default_rng([*seed, 1])
    return _noise(count, seed, sd) * np.exp((spikes.random(count) < 0.05) * spikes.uniform(0.1, 0.5, count))


def _history(store: Path, values_s: Sequence[float] | Array) -> History:
    store.mkdir(exist_ok=True)
    for number, value_s in enumerate(values_s):
        _save(store, number, float(value_s))
    return read_history(store)


def _series_of(values_s: Array) -> Series:
    commits = np.array([Commit(None, False, None, None, "")] * len(values_s), dtype=object)
    return Series(NAME, Machine("", ""), commits, values_s, np.ones(len(values_s), dtype=np.int32))


def _only(trends: Sequence[Trend]) -> Trend:
    (trend,) = trends
    return trend


# ---------------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("size", "after"), [(1.03, 20), (1.05, 10), (1.2, 10), (1 / 1.03, 20), (1 / 1.05, 10), (1 / 1.2, 10)]
)
def test_planted_steps_are_found_where_they_are(size: float, after: int) -> None:
    found = []
    for seed in range(50):
        values_s = _noise(80, [seed])
        values_s[-after:] *= size
        found.append(any(abs(point - (80 - after)) <= 3 for point in change_points(values_s)))
    assert np.mean(found) >= 0.9


def test_a_step_inside_a_long_history_is_found_once() -> None:
    values_s = _noise(3000, [1])
    values_s[1234:] *= 1.04
    (point,) = change_points(values_s)
    assert abs(point - 1234) <= 2


def test_steps_up_and_down_are_both_found() -> None:
    values_s = _noise(120, [2])
    values_s[40:80] *= 1.1
    assert change_points(values_s) == [40, 80]


@pytest.mark.parametrize("size", [1.1, 1.5, 10.0])
@pytest.mark.parametrize("where", [0, 1, 20, 38, 39])
def test_a_single_spike_is_no_step(where: int, size: float) -> None:
    values_s = _noise(40, [3])
    values_s[where] *= size
    assert change_points(values_s) == []


@pytest.mark.parametrize("width", [2, 3])
def test_a_passing_bump_of_few_points_is_no_step(width: int) -> None:
    values_s = _noise(60, [4])
    values_s[30 : 30 + width] *= 1.5
    assert change_points(values_s) == []


def test_a_spike_beside_a_step_does_not_hide_it() -> None:
    values_s = _noise(60, [5])
    values_s[30:] *= 1.1
    values_s[29] *= 2
    assert [abs(point - 30) <= 1 for point in change_points(values_s)] == [True]


def test_the_newest_two_points_are_a_step_and_the_newest_one_is_not(tmp_path: Path) -> None:
    values_s = _noise(30, [6])
    values_s[-1] *= 1.2
    alone = _only(find_trends(_history(tmp_path, values_s)))
    assert alone.steps == ()
    assert alone.pending == Pending(1, pytest.approx(1.2, rel=0.03), 1)
    _save(tmp_path, 30, 1.2)
    trend = _only(find_trends(read_history(tmp_path)))
    (step,) = trend.steps
    assert (step.points_before, step.points_after, trend.pending) == (29, 2, None)


def test_steps_among_spikes_are_found() -> None:
    found = 0
    for seed in range(50):
        values_s = _with_spikes(100, [5, seed], sd=0.01)
        values_s[-20:] *= 1.03
        found += any(abs(point - 80) <= 2 for point in change_points(values_s))
    assert found >= 45


@pytest.mark.parametrize("start", [128, 256, 384])
def test_a_step_is_found_wherever_blocks_meet(start: int) -> None:
    values_s = _noise(512, [14])
    values_s[start:] *= 1.05
    assert change_points(values_s) == [start]


@pytest.mark.parametrize(("points", "penalty", "spared_share"), [(24, 6.0, 0.1), (24, 12.0, 0.7), (256, 20.0, 0.5)])
def test_blocks_that_need_no_fit_have_no_change(points: int, penalty: float, spared_share: float) -> None:
    rng = np.random.default_rng(19)
    blocks = rng.normal(0, rng.uniform(0.5, 1.2, (600, 1)), (600, points))
    blocks[::4, rng.integers(2, points - 2) :] += 1.0
    spared = _has_no_change(blocks, penalty)
    fits = (KernelCPD(kernel="linear", min_size=2).fit(block[:, None]).predict(pen=penalty) for block in blocks)
    assert not np.any(spared & [len(ends) > 1 for ends in fits])
    assert spared.mean() >= spared_share


@pytest.mark.parametrize("make", [_noise, _with_spikes])
def test_a_long_history_has_the_steps_that_it_has_when_every_block_is_fitted(
    make: Callable[..., Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = []
    for seed in range(8):
        values_s = make(4000, [20, seed], sd=0.02)
        for start, size in np.random.default_rng([21, seed]).uniform((0, 0.97), (4000, 1.03), (6, 2)):
            values_s[int(start) :] *= size
        histories.append(values_s)
    found = [change_points(values_s) for values_s in histories]
    assert sum(map(len, found)) >= 8
    monkeypatch.setattr(change_points_module, "_has_no_change", lambda blocks, _: np.zeros(len(blocks), dtype=bool))
    assert [change_points(values_s) for values_s in histories] == found


def test_a_newest_point_within_the_noise_is_nothing_to_speak_of() -> None:
    told = []
    for seed in range(100):
        series = _series_of(_noise(40, [15, seed], sd=0.03))
        told.append(_only(find_trends(History(Path(), (series,), 1, 1, (), {}, ()))).pending)
    assert sum(pending is not None for pending in told) <= 2


@pytest.mark.parametrize("count", [4, 5, 6, 8, 15])
@pytest.mark.parametrize("sd", [0.01, 0.05])
def test_in_a_short_history_of_noise_hardly_anything_is_pending(sd: float, count: int, tmp_path: Path) -> None:
    series = [_series_of(_noise(count, [22, seed, count], sd=sd)) for seed in range(100)]
    trends = find_trends(History(tmp_path, tuple(series), 1, 1, (), {}, ()))
    assert sum(trend.pending is not None for trend in trends) <= 4


# Of a first user: after five points of 28.6 µs two of 37.8.
SHORT_US = (28.6, 28.4, 28.7, 28.5, 28.6, 37.8, 37.9)


def test_a_change_in_a_short_history_is_pending_until_as_many_points_follow_as_were_said(tmp_path: Path) -> None:
    trend = _only(find_trends(_history(tmp_path, SHORT_US)))
    assert trend.steps == ()
    assert trend.pending is not None
    assert (trend.pending.points, trend.pending.ratio) == (2, pytest.approx(1.32, rel=0.01))
    needed = trend.pending.needed
    assert needed is not None
    for more in range(1, needed + 1):
        _save(tmp_path, len(SHORT_US) + more - 1, 37.8 + 0.1 * (more % 2))
        trend = _only(find_trends(read_history(tmp_path)))
        assert (len(trend.steps), trend.pending is None) == ((1, True) if more == needed else (0, False))
    (step,) = trend.steps
    assert step.points_before == 5


@pytest.mark.parametrize("sd", [0.01, 0.03])
def test_a_large_change_after_fifteen_points_is_called_or_pending_from_its_first_point_on(sd: float) -> None:
    missed = 0
    for seed in range(30):
        for after in (1, 2, 3):
            values_s = _noise(15 + after, [23, seed], sd=sd)
            values_s[15:] *= 1.4
            trend = _only(find_trends(History(Path(), (_series_of(values_s),), 1, 1, (), {}, ())))
            missed += not trend.steps and trend.pending is None
    assert missed <= 3


def test_newest_two_points_are_called_in_most_histories() -> None:
    called = 0
    for seed in range(100):
        values_s = _noise(100, [7, seed])
        values_s[-2:] *= 1.1
        called += change_points(values_s) == [98]
    assert called >= 95


def test_a_change_below_the_practical_size_is_no_step_however_clear() -> None:
    values_s = _noise(200, [8], sd=0.001)
    values_s[100:] *= 1.015
    assert change_points(values_s) == []
    assert change_points(values_s, practical=0.01) == [100]


def test_small_steps_add_up_to_one_that_counts() -> None:
    values_s = _noise(200, [9], sd=0.001)
    for start in (50, 100, 150):
        values_s[start:] *= 1.015
    assert change_points(values_s)


@pytest.mark.parametrize("count", [8, 15, 30, 100, 300])
@pytest.mark.parametrize("sd", [0.01, 0.03])
@pytest.mark.parametrize("make", [_noise, _with_spikes])
def test_steps_in_pure_noise_are_rare(make: Callable[..., Array], sd: float, count: int) -> None:
    wrong = sum(bool(change_points(make(count, [10, seed, count], sd=sd))) for seed in range(200))
    assert wrong <= 6


def test_steps_in_long_pure_noise_are_rare() -> None:
    wrong = sum(
        bool(change_points(make(1000, [11, seed], sd=0.02))) for make in (_noise, _with_spikes) for seed in range(50)
    )
    assert wrong <= 3


def test_noise_that_neighbours_share_makes_few_steps() -> None:
    wrong = 0
    for seed in range(100):
        fresh, slow = np.random.default_rng([12, seed]).normal(0, 0.02, 300), np.zeros(300)
        for index in range(1, 300):
            slow[index] = 0.4 * slow[index - 1] + fresh[index]
        wrong += bool(change_points(np.exp(slow)))
    assert wrong <= 8


@given(st.lists(st.floats(1e-7, 1e3), min_size=1, max_size=40))
def test_any_times_give_ordered_steps_of_two_points_or_more(values_s: list[float]) -> None:
    edges = [0, *change_points(np.array(values_s)), len(values_s)]
    assert all(end - start >= 2 for start, end in pairwise(edges) if len(edges) > 2)


@given(st.integers(1, 100), st.floats(1e-6, 1e2))
def test_equal_times_have_no_steps(count: int, value_s: float) -> None:
    assert change_points(np.full(count, value_s)) == []


def test_times_that_are_equal_but_for_a_step_have_it() -> None:
    assert change_points(np.array([1.0] * 20 + [1.05] * 20)) == [20]


def test_a_step_tells_its_commits_time_and_size(tmp_path: Path) -> None:
    (step,) = steps_of(find_trends(_history(tmp_path, [1.0] * 12 + [1.25] * 8)))
    assert step.benchmark == NAME
    assert (step.last_before.id, step.first_with.id) == (_commit_id(11), _commit_id(12))
    assert step.first_with.datetime == "2026-09-01T12:00:00.000000+00:00"
    assert step.ratio == pytest.approx(1.25)
    assert step.direction == "slower"
    assert (step.points_before, step.points_after) == (12, 8)


def test_steps_of_all_benchmarks_come_newest_first(tmp_path: Path) -> None:
    for number in range(30):
        rows = [
            inference("gru", "torch", 32, 1.2 if number >= 10 else 1),
            inference("lstm", "torch", 32, 1 if number < 20 else 0.5),
        ]
        _save(tmp_path, number, 0, run_content(rows))
    steps = steps_of(find_trends(read_history(tmp_path)))
    assert [(step.direction, step.first_with.id) for step in steps] == [
        ("faster", _commit_id(20)),
        ("slower", _commit_id(10)),
    ]


@pytest.mark.parametrize("practical", [0.0, -0.02, 1.5, math.nan])
def test_a_practical_size_that_makes_no_sense_is_refused(practical: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must lie from 0.005 to 1.0. 0.02 counts changes from 2 %"):
        find_trends(_history(tmp_path, [1.0]), practical)


# -------------------------------------------------------------------------------------------------------------- history


def test_machines_that_take_turns_make_histories_of_their_own_and_no_steps(tmp_path: Path) -> None:
    noise = _noise(40, [13])
    for number, value in enumerate(noise):
        row = inference("gru", "torch", 32, float(value) * (1 + number % 2))
        _save(tmp_path, number, 0, run_content([row], gpu=GPU if number % 2 else None))
    trends = find_trends(read_history(tmp_path))
    assert [trend.series.machine.name for trend in trends] == [
        "Made CPU (family 6, model 143)",
        "Made CPU (family 6, model 143), Made GPU",
    ]
    assert [len(trend.series.commits) for trend in trends] == [20, 20]
    assert steps_of(trends) == []


def test_why_a_fact_is_missing_makes_no_other_machine(tmp_path: Path) -> None:
    for number in range(2):
        row = inference("gru", "torch", 32, 1.0)
        _save(tmp_path, number, 0, run_content([row], governor=None, governor_why=f"reason {number}"))
    assert len(read_history(tmp_path).series) == 1


def test_files_of_one_commit_are_one_point_in_the_order_of_the_first(tmp_path: Path) -> None:
    for number, (commit, value_s) in enumerate([("a", 1.0), ("b", 5.0), ("a", 3.0), ("a", 2.0)]):
        _save(tmp_path, number, value_s, id=commit * 40)
    (series,) = read_history(tmp_path).series
    assert list(zip([commit.id for commit in series.commits], series.medians_s, series.files, strict=True)) == [
        ("a" * 40, 2.0, 3),
        ("b" * 40, 5.0, 1),
    ]
    assert series.commits[0].datetime == "2026-09-01T00:00:00.000000+00:00"


def test_uncommitted_changes_are_another_point_and_files_outside_git_one_each(tmp_path: Path) -> None:
    _save(tmp_path, 0, 1.0, id="a" * 40)
    _save(tmp_path, 1, 2.0, id="a" * 40, dirty=True)
    _save(tmp_path, 2, 3.0, id="unversioned")
    _save(tmp_path, 3, 4.0, id="unversioned")
    (series,) = read_history(tmp_path).series
    assert [(commit.id, commit.dirty) for commit in series.commits] == [
        ("a" * 40, False),
        ("a" * 40, True),
        (None, False),
        (None, False),
    ]
    assert series.medians_s.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_times_are_ordered_across_time_zones_and_names(tmp_path: Path) -> None:
    for number, (text, value_s) in enumerate(
        [("2026-09-01T12:00:00+02:00", 2.0), ("2026-09-01T11:00:00", 3.0), ("2026-09-01T09:59:59.5+00:00", 1.0)]
    ):
        path = _save(tmp_path, number, value_s)
        path.write_text(json.dumps({**json.loads(path.read_text()), "datetime": text}))
    (series,) = read_history(tmp_path).series
    assert series.medians_s.tolist() == [1.0, 2.0, 3.0]


def test_invalid_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    for number, validity in enumerate(["valid", None, "outputs differ from float64"]):
        _save(tmp_path, number, 0, run_content([inference("gru", "torch", 32, 1.0, validity=validity)]))
    content = _plain(1.0)
    content["benchmarks"][0]["stats"]["median"] = math.nan
    _save(tmp_path, 3, 0, content)
    history = read_history(tmp_path)
    assert [len(series.commits) for series in history.series] == [2]
    assert history.invalid == {NAME: 1, "tests/test_sort.py::test_sort": 1}
    assert history.unread == ()


@pytest.mark.parametrize(
    "spoilt",
    [
        *({"min": value} for value in (0.0, -1.0, 5e-324, math.nan, None)),
        *({"q1": math.inf}, {"median": 10**400}, {"median": "1"}, {"rounds": 0}, {"min": -1.0, "data": [1.0]}),
    ],
)
def test_a_row_without_times_counts_in_no_history_as_it_does_in_no_report(spoilt: dict[str, Any], tmp_path: Path) -> None:
    content = _plain(1.0)
    content["benchmarks"] += _plain(2.0, name="test_more")["benchmarks"]
    content["benchmarks"][0]["stats"] |= spoilt
    path = _save(tmp_path, 0, 0, content)
    history = read_history(tmp_path)
    assert [series.benchmark for series in history.series] == ["tests/test_sort.py::test_more"]
    assert (history.files, history.invalid) == (1, {"tests/test_sort.py::test_sort": 1})
    assert [record.short_name for record in read_run(path).records] == ["test_more"]


def test_plain_files_of_pytest_benchmark_are_read_whatever_the_node_is_called(tmp_path: Path) -> None:
    for number in range(3):
        _save(tmp_path, number, 0, _plain(1.0 + number))
    _save(tmp_path, 3, 0, _plain(9.0, python_version="3.13.0"))
    old, new = sorted(read_history(tmp_path).series, key=lambda series: -len(series.commits))
    assert (old.benchmark, old.machine.name) == ("tests/test_sort.py::test_sort", "Plain CPU")
    assert old.medians_s.tolist() == [1.0, 2.0, 3.0]
    assert (new.machine.name, len(new.commits)) == ("Plain CPU", 1)
    assert new.machine.key != old.machine.key


@pytest.mark.parametrize("other", [{"brand_raw": "Other CPU"}, {"count": 4}])
def test_a_change_of_machine_is_no_step_in_plain_files(other: dict[str, Any], tmp_path: Path) -> None:
    """Once for good, and as runners of a CI that alternate; the clock, the kernel and the name of the host always differ."""
    for store, is_other in (("once", lambda number: number >= 20), ("alternating", lambda number: number % 2 == 1)):
        (tmp_path / store).mkdir()
        for number, value in enumerate(_noise(40, [16])):
            content = _plain(float(value) * (1.5 if is_other(number) else 1.0), release=f"6.5.0-{number}", machine="x86_64")
            content["machine_info"]["cpu"] |= other if is_other(number) else {}
            _save(tmp_path / store, number, 0, content)
        trends = find_trends(read_history(tmp_path / store))
        assert [len(trend.series.commits) for trend in trends] == [20, 20]
        assert steps_of(trends) == []


def test_a_step_of_the_code_is_found_on_each_of_two_machines_that_alternate(tmp_path: Path) -> None:
    for number, value in enumerate(_noise(80, [17])):
        content = _plain(float(value) * (2.0 if number % 2 else 1.0) * (1.2 if number >= 40 else 1.0))
        content["machine_info"]["cpu"] |= {"brand_raw": "Other CPU"} if number % 2 else {}
        _save(tmp_path, number, 0, content)
    steps = steps_of(find_trends(read_history(tmp_path)))
    assert [step.first_with.id for step in steps] == [_commit_id(41), _commit_id(40)]
    assert len({step.machine for step in steps}) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"node": "other"},
        {"release": "6.8.0"},
        {"processor": "other"},
        {"hook_of_the_project": 1},
        {"fingerprint": {"of_the_project": 1}},
        {"machine": "aarch64"},
        {"system": "Darwin"},
        {"python_version": "3.13.0"},
        {"python_implementation": "PyPy"},
        {"cpu": {"brand_raw": "Plain CPU", "count": 8, "hz_actual_friendly": "1 GHz", "flags": ["avx"]}},
        {"cpu": {"brand_raw": "Plain CPU", "count": 16}},
        {"cpu": {}},
    ],
    ids=str,
)
def test_plain_files_are_of_one_machine_as_everywhere_else(change: dict[str, Any], tmp_path: Path) -> None:
    content = _plain(1.0, release="6.5.0", machine="x86_64", processor="x86_64", python_implementation="CPython")
    changed = {**content, "machine_info": {**content["machine_info"], **change}}
    for number, one in enumerate((content, changed)):
        _save(tmp_path, number, 0, one)
    fingerprints = [ordinary_fingerprint(one["machine_info"]) for one in (content, changed)]
    assert (len(read_history(tmp_path).series) == 1) == (not differences(*fingerprints))


def test_a_machine_is_the_same_where_its_fingerprint_stands_now_and_where_rnncore_0_1_wrote_it(tmp_path: Path) -> None:
    _save(tmp_path, 0, 1.0)
    content = run_content([inference("gru", "torch", 32, 2.0)])
    content["rnncore"]["fingerprint"] = content["machine_info"].pop("fingerprint")
    _save(tmp_path, 1, 2.0, content)
    (series,) = read_history(tmp_path).series
    assert len(series.commits) == 2


def test_a_file_that_tells_neither_machine_nor_commit_is_read(tmp_path: Path) -> None:
    content = {key: value for key, value in _plain(1.0).items() if key != "machine_info"}
    path = tmp_path / "bare.json"
    path.write_text(json.dumps({**content, "datetime": "2026-09-01T00:00:00"}))
    (series,) = read_history(tmp_path).series
    assert (series.machine.name, series.commits[0].id) == ("unknown CPU", None)


def test_files_that_are_no_run_files_are_named_with_the_reason_and_stop_nothing(tmp_path: Path) -> None:
    _save(tmp_path, 0, 1.0)
    (tmp_path / "cut.json").write_text('{"benchmarks": [')
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "when.json").write_text(json.dumps({**_plain(1.0), "datetime": "yesterday"}))
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    history = read_history(tmp_path)
    assert history.files == 1
    why = dict(history.unread)
    assert set(why) == {f"{name}.json" for name in ("bytes", "cut", "deep", "gone", "list", "loop", "when")}
    assert why["cut.json"].startswith("not JSON (")
    assert why["gone.json"] == "cannot be read (No such file or directory)"
    assert why["list.json"] == "not a run file of pytest-benchmark (it is a list of 2, and must be an object)"
    assert "datetime is 'yesterday', and must be a time in ISO 8601" in why["when.json"]
    assert not any("Error(" in reason for reason in why.values())
    again = read_history(tmp_path)
    assert (again.unread, again.read_now) == (history.unread, 2)


def test_traces_are_no_run_files(tmp_path: Path) -> None:
    _save(tmp_path, 0, 1.0)
    (tmp_path / "traces/session").mkdir(parents=True)
    (tmp_path / "traces/session/row.json").write_text("[]")
    assert read_history(tmp_path).unread == ()


def test_a_store_without_run_files_is_refused_with_the_way_to_one(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match=r"holds no run files. Make one with 'pytest --benchmark-autosave'"):
        read_history(tmp_path)
    with pytest.raises(RunFileError, match=r"nowhere: no such folder. Give the one that pytest-benchmark saves to"):
        read_history(tmp_path / "nowhere")


# ---------------------------------------------------------------------------------------------------------------- cache


def _corrupt_unseen(path: Path) -> None:
    """Change a file's content, but neither its size nor its time."""
    stat = path.stat()
    path.write_bytes(b"x" * stat.st_size)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _without_counts(history: History) -> tuple[Any, ...]:
    series = [
        (one.benchmark, one.machine, one.commits.tolist(), one.medians_s.tolist(), one.files.tolist())
        for one in history.series
    ]
    return series, history.files, history.unread, history.invalid, history.notes


def _parts(store: Path) -> list[Path]:
    return sorted((store / CACHE_NAME).iterdir())


def _cached_paths(store: Path) -> list[str]:
    return [path for part in _parts(store) for path in pq.read_table(part).column("path").to_pylist()]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "Linux-CPython-3.11-64bit").mkdir(parents=True)
    for number in range(6):
        row = inference("gru", "torch", 32, 1.0 + number, validity="wrong" if number == 5 else "valid")
        _save(folder / "Linux-CPython-3.11-64bit", number, 0, run_content([row]))
    _save(folder, 6, 0, _plain(0.5))
    _save(folder, 7, 0, {**_plain(0.5), "benchmarks": []})
    (folder / "broken.json").write_text("{")
    return folder


def test_the_second_call_opens_no_run_file_and_tells_the_same(store: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = read_history(store, lambda done, total: seen.append((done, total)))
    assert (first.read_now, seen) == (9, [(done, 9) for done in range(1, 10)])
    for path in store.rglob("*.json"):
        _corrupt_unseen(path)
    second = read_history(store, lambda done, total: seen.append((done, total)))
    assert (second.read_now, len(seen)) == (0, 9)
    assert _without_counts(second) == _without_counts(first)


def test_only_changed_and_new_files_are_read_and_vanished_ones_are_dropped(store: Path) -> None:
    read_history(store)
    folder = store / "Linux-CPython-3.11-64bit"
    _corrupt_unseen(folder / "0000.json")
    (folder / "0001.json").unlink()
    _save(folder, 2, 30.0)
    os.utime(folder / "0002.json", ns=(1, 1))
    _save(folder, 8, 9.0)
    history = read_history(store)
    assert history.read_now == 2
    assert history.series[0].medians_s.tolist() == [1.0, 30.0, 4.0, 5.0, 9.0]
    assert len(history.unread) == 1
    assert read_history(store).read_now == 0
    paths = _cached_paths(store)
    assert "Linux-CPython-3.11-64bit/0001.json" not in paths


def test_a_vanished_file_leaves_the_cache_without_another_being_read(store: Path) -> None:
    read_history(store)
    (store / "0006.json").unlink()
    assert [series.benchmark for series in read_history(store).series] == [NAME]
    assert "0006.json" not in _cached_paths(store)


def test_a_broken_file_that_is_mended_is_read(store: Path) -> None:
    read_history(store)
    (store / "broken.json").unlink()
    _save(store, 9, 1.0).rename(store / "broken.json")
    history = read_history(store)
    assert (history.unread, history.read_now) == ((), 1)


@pytest.mark.parametrize("damage", ["text", "cut", "flipped", "empty", "older"])
def test_a_damaged_or_older_cache_is_made_anew(damage: str, store: Path) -> None:
    first = read_history(store)
    (cache,) = _parts(store)
    content = cache.read_bytes()
    table = pq.read_table(cache)
    if damage == "older":
        pq.write_table(table.replace_schema_metadata({"rnncore-trend": "0"}), cache)
    else:
        middle = 40
        flipped = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        cache.write_bytes({"text": b"no parquet", "cut": content[:-200], "flipped": flipped, "empty": b""}[damage])
    again = read_history(store)
    assert again.read_now == 9
    assert _without_counts(again) == _without_counts(first)
    assert read_history(store).read_now == 0


def test_another_table_in_the_cache_s_place_is_replaced(store: Path) -> None:
    (store / CACHE_NAME).mkdir()
    pq.write_table(pa.table({"path": ["a.json"]}), store / CACHE_NAME / "000001.parquet")
    assert read_history(store).read_now == 9
    assert read_history(store).read_now == 0


def test_the_file_of_before_there_were_parts_is_removed_once_they_are_written(store: Path) -> None:
    earlier = store / EARLIER_NAME
    earlier.write_bytes(b"of before")
    read_history(store)
    assert not earlier.exists()
    assert len(_parts(store)) == 1


@pytest.mark.parametrize(("part_files", "part_rows"), [(1, 100), (2, 100), (100, 1), (100, 3)])
def test_however_many_parts_there_are_they_tell_the_same(
    part_files: int, part_rows: int, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_history(store)
    (part,) = _parts(store)
    part.unlink()
    monkeypatch.setattr(history_cache, "PART_FILES", part_files)
    monkeypatch.setattr(history_cache, "PART_ROWS", part_rows)
    for read_now in (9, 0):
        again = read_history(store)
        assert (again.read_now, _without_counts(again)) == (read_now, _without_counts(first))
    assert len(_parts(store)) >= 3


def test_a_first_reading_that_is_broken_off_goes_on_where_it_was(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_cache, "PART_FILES", 2)

    def interrupted(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_history(store, interrupted)
    history = read_history(store)
    assert (history.read_now, history.files) == (9 - 4, 8)
    assert read_history(store).read_now == 0


def test_new_files_leave_full_parts_as_they_are(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_cache, "PART_FILES", 4)
    read_history(store)
    full = {path: path.stat() for path in _parts(store)[:2]}
    for number in range(10, 13):
        _save(store, number, 1.0)
        assert read_history(store).read_now == 1
        # Those and one that is not full yet.
        assert len(_parts(store)) == 3
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in full} == {
        path: (stat.st_ino, stat.st_mtime_ns) for path, stat in full.items()
    }
    _save(store, 13, 1.0)
    history = read_history(store)
    assert (history.read_now, history.files, len(_parts(store))) == (1, 12, 4)


def test_parts_that_lose_files_are_merged_without_a_file_being_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_cache, "PART_FILES", 3)
    read_history(store)
    for path in _parts(store):
        (store / pq.read_table(path).column("path").to_pylist()[0]).unlink()
    history = read_history(store)
    assert (history.read_now, len(_parts(store)), len(_cached_paths(store))) == (0, 2, 6)


@pytest.mark.parametrize("damage", ["text", "gone"])
def test_only_the_files_of_a_damaged_part_are_read_again(damage: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_cache, "PART_FILES", 3)
    first = read_history(store)
    damaged = _parts(store)[1]
    if damage == "gone":
        damaged.unlink()
    else:
        damaged.write_bytes(b"no parquet")
    again = read_history(store)
    assert (again.read_now, _without_counts(again)) == (3, _without_counts(first))
    assert read_history(store).read_now == 0
    assert sorted(_cached_paths(store)) == sorted(path.relative_to(store).as_posix() for path in store.rglob("*.json"))


def test_what_two_parts_hold_counts_once(store: Path) -> None:
    """A call that is killed between writing a part and removing what it replaces leaves both."""
    first = read_history(store)
    (part,) = _parts(store)
    part.with_name("000002.parquet").write_bytes(part.read_bytes())
    for _ in range(2):
        again = read_history(store)
        assert (again.read_now, _without_counts(again)) == (0, _without_counts(first))
    assert len(_parts(store)) == 1


def test_of_a_store_that_can_no_longer_be_written_to_what_is_kept_is_read(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_history(store)
    _save(store, 9, 1.0)

    def refused(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pq, "write_table", refused)
    for _ in range(2):
        history = read_history(store)
        assert (history.read_now, history.files) == (1, 9)
        (note,) = history.notes
        assert "Every call reads those files again that are new." in note
    assert len(_cached_paths(store)) == 9


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_told_and_not_waited_for(store: Path) -> None:
    os.mkfifo(store / "pipe.json")
    assert ("pipe.json", "no file") in read_history(store).unread


def test_a_name_with_half_a_character_is_a_name_and_not_read_again(store: Path) -> None:
    _save(store, 9, 0, _plain(1.0, name="test_\ud800"))
    for read_now in (10, 0):
        history = read_history(store)
        assert (history.read_now, history.files, history.notes) == (read_now, 9, ())
        assert [path for path, _ in history.unread] == ["broken.json"]
        assert any(r"test_\ud800" in one.benchmark for one in history.series)


def test_a_store_that_cannot_be_written_to_is_read_with_a_note(store: Path) -> None:
    (store / CACHE_NAME).write_text("", encoding="utf-8")
    for _ in range(2):
        history = read_history(store)
        assert (history.read_now, len(history.series)) == (9, 2)
        (note,) = history.notes
        assert f"{CACHE_NAME}: cannot be written" in note
        assert "Every call reads all files again." in note
    assert sorted(path.name for path in store.iterdir() if path.name.startswith(".")) == [CACHE_NAME]


def test_a_file_whose_name_is_no_text_is_read_with_a_note(tmp_path: Path) -> None:
    path = _save(tmp_path, 0, 1.0)
    try:
        path.rename(tmp_path / os.fsdecode(b"\xff.json"))
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    history = read_history(tmp_path)
    assert (history.files, len(history.notes)) == (1, 1)


# ---------------------------------------------------------------------------------------------------------------- words


def _tables(history: History, **choice: Any) -> list[tuple[str, list[list[str]]]]:
    return as_text(trend_tables(history, find_trends(history), **choice))


def test_files_of_one_commit_are_told_to_be_one_point(tmp_path: Path) -> None:
    for number, seconds in enumerate((0.010, 0.011)):
        _save(tmp_path, number, seconds, id=_commit_id(0))
    (said, _), (_, rows) = _tables(read_history(tmp_path))
    assert said.splitlines()[:2] == [
        "2 run files, 1 history: no steps",
        "Run files of one commit on one machine are one point, their median.",
    ]
    assert rows[1][1] == "1"


def test_steps_come_first_and_then_each_machine_s_benchmarks(tmp_path: Path) -> None:
    history = _history(tmp_path, [0.010] * 16 + [0.0125] * 14)
    key = history.series[0].machine.key
    steps, machine = _tables(history)
    assert steps == (
        "30 run files, 1 history: 1 step",
        [
            ["Benchmark", "step", "machine"],
            [
                "test_forecast[gru-torch-cpu-fp32-b32]",
                "1.25x slower since 000000f..0000010, 2026-09-01, 14 points after",
                f"Made CPU (family 6, model 143) [{key}]",
            ],
        ],
    )
    assert machine == (
        f"Made CPU (family 6, model 143) [{key}]",
        [
            ["Benchmark", "points", "first", "level", "latest", "against level", "newest points"],
            ["test_forecast[gru-torch-cpu-fp32-b32]", "30", "10.0 ms", "12.5 ms", "12.5 ms", "equal", "▁" * 10 + "█" * 14],
        ],
    )


def test_colons_in_a_parameter_are_a_part_of_the_name(tmp_path: Path) -> None:
    row = inference("gru", "torch", 1, 0.01)
    row["fullname"] = "bench/a.py::test_x[std::vector]"
    make_run(tmp_path, run_content([row]), "0001.json")
    _, (_, rows) = _tables(read_history(tmp_path))
    assert rows[1][0] == "test_x[std::vector]"


@pytest.mark.parametrize(("stepping", "said"), [(4, True), (3, True), (2, False)])
def test_steps_of_most_benchmarks_at_once_are_said_to_look_like_the_machine(
    tmp_path: Path, stepping: int, said: bool
) -> None:
    sizes = (1, 2, 4, 8)
    for number in range(30):
        medians_s = [0.01 * (1.25 if number >= 16 and place < stepping else 1.0) for place in range(len(sizes))]
        rows = [inference("gru", "torch", size, median_s) for size, median_s in zip(sizes, medians_s, strict=True)]
        _save(tmp_path, number, 0.01, run_content(rows))
    history = read_history(tmp_path)
    (lines, _), *_ = _tables(history)
    machine = f"Made CPU (family 6, model 143) [{history.series[0].machine.key}]"
    line = (
        f"{stepping} of 4 histories of {machine} became slower at once, with 0000010: if that commit does not touch them "
        "all, the machine changed."
    )
    assert (line in lines.splitlines()) == said


def test_a_lone_slow_point_is_said_not_to_be_called(tmp_path: Path) -> None:
    (line, none), (_, (_, row)) = _tables(_history(tmp_path, [*([1.0] * 20), 1.3]))
    pending = "1.30x slower in 1 point: not called, 1 more like it would do"
    listed = f"1 change not called yet: test_forecast[gru-torch-cpu-fp32-b32], {pending}."
    assert (line.splitlines(), none) == (["21 run files, 1 history: no steps", listed], [])
    assert row[5] == pending


def test_few_points_are_said_to_be_too_few(tmp_path: Path) -> None:
    _, (_, (_, row)) = _tables(_history(tmp_path, [1.0, 1.1]))
    assert row[1:6] == ["2", "1.00 s", "–", "1.10 s", "too few points to judge, 6 needed"]


def test_changes_that_are_not_committed_are_marked_in_a_step(tmp_path: Path) -> None:
    for number in range(20):
        _save(tmp_path, number, 1.0 if number < 10 else 2.0, dirty=number == 10)
    (_, (_, row)), _ = _tables(read_history(tmp_path))
    assert row[1] == "2.00x slower since 0000009..000000a+changes, 2026-09-01, 10 points after"


def test_steps_and_benchmarks_can_be_chosen(tmp_path: Path) -> None:
    for number in range(30):
        rows = [inference(cell, "torch", 32, 1.0 + (number >= start)) for cell, start in (("gru", 10), ("lstm", 20))]
        _save(tmp_path, number, 0, run_content(rows))
    history = read_history(tmp_path)
    (line, table), *_ = _tables(history)
    assert line == "30 run files, 2 histories: 2 steps"
    assert [row[0] for row in table[1:]] == [f"test_forecast[{cell}-torch-cpu-fp32-b32]" for cell in ("lstm", "gru")]
    (line, _), (_, table) = _tables(history, text="GRU")
    assert line == "30 run files, 1 history: 1 step"
    assert [row[0] for row in table[1:]] == ["test_forecast[gru-torch-cpu-fp32-b32]"]
    with pytest.raises(RunFileError, match=r"no benchmark has 'openvino' in its name. There are: test_forecast\[gru"):
        _tables(history, text="openvino")


def test_benchmarks_of_one_name_in_two_files_are_told_apart(tmp_path: Path) -> None:
    content = _plain(1.0)
    content["benchmarks"].append({**content["benchmarks"][0], "fullname": "tests/test_other.py::test_sort"})
    _save(tmp_path, 0, 0, content)
    _, (_, rows) = _tables(read_history(tmp_path))
    assert [row[0] for row in rows[1:]] == ["tests/test_other.py::test_sort", "tests/test_sort.py::test_sort"]


def test_what_was_left_out_is_said_last(store: Path) -> None:
    for name in ("c1", "c2", "c3"):
        (store / f"{name}.json").write_text("[]")
    lines, table = _tables(read_history(store))[-1]
    invalid, unread = lines.split("\n")
    assert table == []
    assert invalid == "1 invalid row left out: test_forecast[gru-torch-cpu-fp32-b32] (1)."
    assert unread.startswith("4 files not read: broken.json: not JSON (")
    assert unread.endswith("; and 1 more.")


def test_a_store_of_broken_files_alone_is_refused_with_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    said = r"no file holds a valid benchmark. 1 file not read: broken.json: not JSON .* Make a run with .pytest --bench"
    with pytest.raises(RunFileError, match=said):
        _tables(read_history(tmp_path))


def test_json_has_every_step_and_every_point(store: Path) -> None:
    for number in range(10, 30):
        _save(store, number, 3.0 if number < 20 else 6.0)
    history = read_history(store)
    facts = json.loads(json.dumps(trend_json(history, find_trends(history))))
    assert (facts["store"], facts["files"], facts["files_read_now"]) == (str(store), 28, 29)
    assert [fault["path"] for fault in facts["unread"]] == ["broken.json"]
    assert (facts["invalid"], facts["notes"]) == ({NAME: 1}, [])
    (step,) = facts["steps"]
    assert (step["direction"], step["ratio"], step["points_after"]) == ("slower", pytest.approx(2, abs=0.01), 10)
    assert (step["last_before"]["id"], step["first_with"]["id"]) == (_commit_id(19), _commit_id(20))
    gru, sort = facts["benchmarks"]
    assert (gru["benchmark"], gru["level_s"], gru["enough"], len(gru["points"])) == (NAME, 6.0, True, 25)
    assert gru["steps"] == facts["steps"]
    assert gru["points"][0] == {
        "id": _commit_id(0),
        "dirty": False,
        "time": None,
        "branch": "main",
        "datetime": "2026-09-01T00:00:00.000000+00:00",
        "median_s": 1.0,
        "files": 1,
    }
    assert sort["machine"]["name"] == "Plain CPU"


def test_reading_trends_leaves_torch_unloaded() -> None:
    code = (
        "import sys, rnncore.report.trend; print([name for name in ('torch', 'onnxruntime', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_page_has_a_chart_of_each_history_with_its_steps(tmp_path: Path) -> None:
    history = _history(tmp_path / "store", [0.010] * 16 + [0.0125] * 14)
    page = write_trend_page(history, find_trends(history), tmp_path / "page")
    text = (tmp_path / "page" / "report.md").read_text(encoding="utf-8")
    assert "1.25x slower since 000000f..0000010" in text
    assert (tmp_path / "page" / "trend-1.png").stat().st_size > 1000
    assert "0000010: 1.25x slower" in (tmp_path / "page" / "trend-1.svg").read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").count("<figure") == 1


@pytest.mark.parametrize("facts", [{"cpu": "x"}, {"cpu": [1]}], ids=str)
def test_a_machine_of_other_types_is_named_and_stops_nothing(facts: dict[str, Any], tmp_path: Path) -> None:
    _save(tmp_path, 0, 1.0)
    (tmp_path / "odd.json").write_text(json.dumps({**_plain(1.0), "machine_info": facts, "datetime": "2026-09-01"}))
    history = read_history(tmp_path)
    assert history.files == 1
    assert dict(history.unread) == {
        "odd.json": "not a run file of pytest-benchmark (a fact of machine or commit is of another type)"
    }
