"""Tests of a session's record: what it tells of itself, where its time went, and what goes onto the disk at once."""

import contextlib
import json
import statistics
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rnncore import __version__
from rnncore.kernels import library
from rnncore.measure import rates
from rnncore.measure.row import RnnBenchmark
from rnncore.measure.session import TIMED, TRAININGS, Row, Session
from rnncore.runfile.case import Case
from rnncore.runfile.record import EMULATED
from rnncore.runtimes.catalog import runtime_facts

CASE = Case("infer", "gru", 8, 1, 4, batch_size=2)
COMMAND = ["pytest", "bench/"]


class Clock:
    """A clock that goes only when a test moves it."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> None:
        self.now_s += seconds


class MadeJournal:
    """A journal that remembers its lines in order."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def __getattr__(self, event: str) -> Callable[..., None]:
        return lambda *args, **values: self.lines.append((event, *args, *([values] if values else [])))


def _row(name: str, **extra: Any) -> Row:
    return Row(SimpleNamespace(extra_info=extra, as_dict=lambda include_data: {"fullname": name, "data": include_data}))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("session", "stopwatch"):
        monkeypatch.setattr(f"rnncore.measure.{module}.now_s", made)
    return made


@pytest.fixture
def session(clock: Clock) -> Session:
    return Session()


# ------------------------------------------------------------------------------------------------------------ overhead


def test_the_time_of_a_part_is_without_that_of_the_parts_inside_it(session: Session, clock: Clock) -> None:
    with session.part("outer"):
        clock.wait(1)
        with session.part("inner"):
            clock.wait(10)
            with session.part("innermost"):
                clock.wait(100)
        clock.wait(2)
        with session.part("inner"):
            clock.wait(20)
    parts_s = session.overhead()["parts_s"]
    assert {name: parts_s[name] for name in ("outer", "inner", "innermost")} == {"outer": 3, "inner": 30, "innermost": 100}


def test_parts_of_one_name_add_up_and_what_no_part_counts_is_the_rest(session: Session, clock: Clock) -> None:
    clock.wait(5)
    for _ in range(3):
        with session.part("exports"):
            clock.wait(2)
        clock.wait(1)
    overhead = session.overhead()
    assert overhead["wall_s"] == overhead["overhead_s"] == 14
    assert overhead["parts_s"] == {"collection and the rest of pytest": 8, "exports": 6}


def test_the_parts_stand_longest_first(session: Session, clock: Clock) -> None:
    for name, seconds in (("short", 1), ("long", 9), ("middle", 4)):
        with session.part(name):
            clock.wait(seconds)
    assert list(session.overhead()["parts_s"])[:3] == ["long", "middle", "short"]


def test_timed_rounds_are_no_overhead(session: Session, clock: Clock) -> None:
    with session.part("between rounds"):
        clock.wait(10)
    session.count(TIMED, 7, out_of="between rounds")
    overhead = session.overhead()
    assert (overhead["wall_s"], overhead["timed_s"], overhead["overhead_s"]) == (10, 7, 3)
    assert overhead["parts_s"] == {"between rounds": 3, "collection and the rest of pytest": 0}


def test_a_part_that_is_broken_off_is_counted_and_the_later_ones_are_not_lost(session: Session, clock: Clock) -> None:
    with session.part("outer"):
        with contextlib.suppress(KeyboardInterrupt), session.part("broken"):
            clock.wait(3)
            raise KeyboardInterrupt
        clock.wait(1)
    with session.part("later"):
        clock.wait(2)
    parts_s = session.overhead()["parts_s"]
    assert parts_s == {"broken": 3, "later": 2, "outer": 1, "collection and the rest of pytest": 0}


def test_timed_trainings_are_no_overhead(session: Session, clock: Clock) -> None:
    with session.part(TRAININGS):
        clock.wait(5)
    clock.wait(2)
    overhead = session.overhead()
    assert (overhead["wall_s"], overhead["trainings_s"], overhead["overhead_s"]) == (7, 5, 2)
    assert sum(overhead["parts_s"].values()) == 2


def test_overhead_asked_for_in_the_middle_of_a_part_still_makes_up_the_wall_time(session: Session, clock: Clock) -> None:
    with session.part("fixtures"):
        clock.wait(4)
        overhead = session.overhead()
    assert overhead["wall_s"] == sum(overhead["parts_s"].values()) == 4


def test_the_line_for_the_screen_names_the_parts_from_one_second_on(session: Session, clock: Clock) -> None:
    session.has_cases = True
    for name, seconds in (("ceilings", 4.6), ("energy", 0.9), ("between rounds", 30)):
        with session.part(name):
            clock.wait(seconds)
    session.count(TIMED, 28, out_of="between rounds")
    assert session.overhead_text() == (
        "Of 36 s, 28 s were timed rounds, 0 s timed trainings and 8 s overhead (5 s ceilings, 2 s between rounds)."
    )


def test_the_line_for_the_screen_of_a_quick_session_has_no_empty_brackets(session: Session, clock: Clock) -> None:
    session.has_cases = True
    clock.wait(0.5)
    assert session.overhead_text() == (
        "Of 0 s, 0 s were timed rounds, 0 s timed trainings and 0 s overhead (all below 1 s)."
    )


def test_the_line_for_the_screen_of_other_suites_knows_no_trainings(session: Session, clock: Clock) -> None:
    clock.wait(0.5)
    assert session.overhead_text() == "Of 0 s, 0 s were timed rounds and 0 s overhead (all below 1 s)."


# --------------------------------------------------------------------------------------------------------------- facts


def test_the_facts_tell_version_command_scale_data_and_ends(session: Session) -> None:
    session.dataset = {"name": "pjm", "digest": "0123"}
    session.providers |= {"CUDAExecutionProvider", "CPUExecutionProvider"}
    session.skipped("b.py::test_a", "no CUDA device")
    session.failed("b.py::test_b", "timed out", "took longer than 3 s")
    facts = session.facts(COMMAND, "quick")
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["version"], facts["command"], facts["scale"]) == (__version__, COMMAND, "quick")
    assert facts["data"] == {"name": "pjm", "digest": "0123"}
    assert facts["execution_providers"] == ["CPUExecutionProvider", "CUDAExecutionProvider"]
    assert facts["skipped"] == [{"fullname": "b.py::test_a", "reason": "no CUDA device"}]
    assert facts["failed"] == [{"fullname": "b.py::test_b", "outcome": "timed out", "reason": "took longer than 3 s"}]


def test_a_benchmark_that_fails_twice_is_listed_once_with_its_last_end(session: Session) -> None:
    session.failed("b.py::test_b", "error", "first")
    session.failed("b.py::test_b", "out of memory", "last")
    assert session.facts(COMMAND, "quick")["failed"] == [
        {"fullname": "b.py::test_b", "outcome": "out of memory", "reason": "last"}
    ]


@pytest.mark.parametrize(
    ("pulses_s", "steady", "why"),
    [
        ([0.1] * 9, None, "n=9 is too few to compare halves, 10 needed"),
        ([0.1, 0.102] * 6, True, None),
        ([0.1, 0.101] * 6 + [0.2, 0.202] * 6, False, "the second half is 2.00x slower than the first"),
        ([0.2, 0.202] * 6 + [0.1, 0.101] * 6, False, "the second half is 2.00x faster than the first"),
    ],
)
def test_the_session_is_steady_if_the_same_work_took_equally_long_in_both_halves(
    pulses_s: list[float], steady: bool | None, why: str | None, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_pulses_s", pulses_s)
    facts = session.facts(COMMAND, "quick")
    assert facts["steady"] is steady
    assert facts.get("steady_why") == why
    assert facts["pulses_s"] == pulses_s


def test_a_pulse_is_the_median_of_calls_and_leaves_the_threads_as_they_were(
    session: Session, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def product(left: torch.Tensor, right: torch.Tensor) -> None:
        seen.append(torch.get_num_threads())
        # A slow start, as long as there is a first pulse, and one call in ten disturbed.
        clock.wait(9.0 if len(seen) <= 100 or len(seen) % 10 == 0 else 0.25)

    monkeypatch.setattr(torch, "mm", product)
    before = torch.get_num_threads()
    for _ in range(2):
        session.take_pulse(1)
    assert session.facts(COMMAND, "quick")["pulses_s"] == [0.25, 0.25]
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


def test_a_real_pulse_takes_time() -> None:
    session = Session()
    session.take_pulse(1)
    assert statistics.median(session.facts(COMMAND, "quick")["pulses_s"]) > 0


def test_no_ceiling_is_measured_before_one_is_asked_for(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> None:
        pytest.fail("a ceiling was measured")

    for name in ("gemm_rate", "peak_rate", "chain_rate", "read_rate", "copy_rate"):
        monkeypatch.setattr(rates, name, measure)
    assert session.facts(COMMAND, "quick")["ceilings"] is None
    first = session.ceilings
    assert session.ceilings is first
    assert session.facts(COMMAND, "quick")["ceilings"]["gemm"] == []


# ------------------------------------------------------------------------------------------------------------- journal


def test_what_begins_and_ends_goes_into_the_journal_at_once(session: Session) -> None:
    journal = session.journal = MadeJournal()
    session.began("test_a")
    session.skipped("test_a", "no CUDA device")
    session.failed("test_b", "error", "ValueError")
    assert journal.lines == [
        ("began", "test_a"),
        ("skipped", "test_a", "no CUDA device"),
        ("failed", "test_b", "error", "ValueError"),
    ]


def test_a_finished_benchmark_is_journaled_with_its_rounds_after_the_facts_of_the_session(
    session: Session, clock: Clock
) -> None:
    journal = session.journal = MadeJournal()
    session.dataset = {"name": "pjm", "digest": "0123"}
    session.rows["test_a"] = _row("test_a")
    clock.wait(3)
    session.finished("test_a")
    (facts, values), finished = journal.lines
    assert finished == ("finished", {"fullname": "test_a", "data": True})
    assert facts == "facts"
    assert values["data"] == {"name": "pjm", "digest": "0123"}
    assert values["overhead"]["wall_s"] == 3
    assert values["ceilings"] is None
    # What the events of the journal tell by themselves.
    assert not {"skipped", "failed", "command"} & values.keys()


def test_without_a_journal_nothing_is_lost_in_memory(session: Session) -> None:
    session.began("test_a")
    session.rows["test_a"] = _row("test_a")
    session.finished("test_a")
    session.failed("test_b", "error", "ValueError")
    assert [entry["fullname"] for entry in session.facts(COMMAND, "quick")["failed"]] == ["test_b"]


@pytest.mark.parametrize("ended", ["failed", "skipped", "finished"])
def test_of_a_benchmark_that_begins_again_nothing_of_the_earlier_attempt_is_kept(ended: str, session: Session) -> None:
    assert not session.began("test_a")
    session.rows["test_a"] = _row("test_a")
    {
        "failed": lambda: session.failed("test_a", "error", "ValueError"),
        "skipped": lambda: session.skipped("test_a", "no CUDA device"),
        "finished": lambda: session.finished("test_a"),
    }[ended]()
    assert session.began("test_a")
    facts = session.facts(COMMAND, "quick")
    assert (session.rows, facts["failed"], facts["skipped"]) == ({}, [], [])
    assert session.again == {"test_a"}


def test_a_fact_that_a_benchmark_wrote_past_the_check_is_written_as_json_or_named(session: Session) -> None:
    session.journal = MadeJournal()
    row = session.rows["test_a"] = _row("test_a", smape=np.float32(1.5), made=object())
    session.finished("test_a")
    assert row.record.extra_info["smape"] == 1.5
    assert row.record.extra_info["made"] is None
    assert row.record.extra_info["made_why"].startswith("made is of type object")


# ------------------------------------------------------------------------------------------ facts beside one benchmark


@pytest.fixture
def extra() -> dict[str, Any]:
    return {}


@pytest.fixture
def rnn_benchmark(extra: dict[str, Any]) -> RnnBenchmark:
    """A benchmark whose pytest-benchmark is a stand-in that calls once."""

    class Disabled(SimpleNamespace):
        def __call__(self, run: Callable[[], object]) -> object:
            return run()

    return RnnBenchmark(Disabled(enabled=False, extra_info=extra), Session(), CASE, 3, None, None)


def test_the_axes_are_there_before_anything_is_timed(rnn_benchmark: RnnBenchmark, extra: dict[str, Any]) -> None:
    assert extra == {**CASE.axes, "threads": 3, **runtime_facts(CASE.runtime)}


def test_a_known_fact_takes_the_place_of_the_reason_why_it_was_not(
    rnn_benchmark: RnnBenchmark, extra: dict[str, Any]
) -> None:
    rnn_benchmark.record(smape=None, smape_why="not yet", kernel=None, kernel_why="no evidence")
    rnn_benchmark.record(smape=0.0, kernel=None)
    assert (extra["smape"], extra["kernel"], extra["kernel_why"]) == (0.0, None, "no evidence")
    assert "smape_why" not in extra


def test_a_disabled_benchmark_calls_once_and_says_only_what_it_is(
    rnn_benchmark: RnnBenchmark, extra: dict[str, Any]
) -> None:
    calls: list[None] = []
    rnn_benchmark(lambda: calls.append(None), windows=5, group="made", evidence=lambda trace: pytest.fail("was asked"))
    assert len(calls) == 1
    assert extra == {**CASE.axes, "threads": 3, **runtime_facts(CASE.runtime), "windows": 5}
    assert not rnn_benchmark.enabled


@pytest.mark.parametrize(
    ("placement", "cell", "fell_back"),
    [
        ({"GRU_0": "CPUExecutionProvider", "Gemm_0": "CUDAExecutionProvider"}, "gru", True),
        ({"GRU_0": "CUDAExecutionProvider", "Gemm_0": "CPUExecutionProvider"}, "gru", False),
        ({"node_LSTM_4": "CPUExecutionProvider"}, "lstm", True),
        ({"node_LSTM_4": "CPUExecutionProvider"}, "gru", False),
        ({}, "gru", False),
        (None, "gru", False),
    ],
)
def test_a_recurrent_layer_on_the_cpu_is_seen_and_another_operation_there_is_none(
    placement: dict[str, str] | None, cell: str, fell_back: bool, rnn_benchmark: RnnBenchmark
) -> None:
    if placement is not None:
        rnn_benchmark.record(placement=placement)
    assert rnn_benchmark.fell_back_to_cpu(cell) is fell_back


@pytest.mark.parametrize(
    ("device", "gpu", "said", "recorded"),
    [
        ("cuda", "emulated GPU", "valid", EMULATED),
        ("cuda", "emulated GPU", None, EMULATED),
        ("cuda", "emulated GPU", "outputs differ", "outputs differ"),
        ("cuda", "NVIDIA H100", "valid", "valid"),
        ("cpu", "emulated GPU", "valid", "valid"),
    ],
)
def test_a_row_of_a_device_that_tests_emulate_is_never_valid(
    device: str, gpu: str, said: str | None, recorded: str, session: Session, extra: dict[str, Any]
) -> None:
    session.fingerprint = {"gpu": {"name": gpu}}
    row = RnnBenchmark(
        SimpleNamespace(enabled=False, extra_info=extra), session, replace(CASE, device=device), 3, None, None
    )
    row.record(parity_max_abs=0.0)
    assert "validity" not in extra
    row.record(validity=said)
    assert extra["validity"] == recorded


def test_the_facts_tell_what_our_kernels_are_or_why_there_are_none(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"forward": "rnncore kernels, AVX2, compiled here", "train": "there is no C compiler (gcc or cc)"}
    monkeypatch.setattr(library, "implementations", found)
    assert session.facts(COMMAND, "quick")["kernels"] == found


@pytest.mark.parametrize(
    ("device", "where", "validity", "verdict"),
    [
        ("cuda", "CPUExecutionProvider", "valid", "a recurrent layer fell back to the CPU"),
        ("cuda", "CPUExecutionProvider", "outputs differ", "a recurrent layer fell back to the CPU"),
        ("cuda", "CUDAExecutionProvider", "valid", "valid"),
        ("cuda", "CUDAExecutionProvider", "outputs differ", "outputs differ"),
        ("cpu", "CPUExecutionProvider", "valid", "valid"),
    ],
)
def test_a_row_of_a_gpu_whose_layers_ran_on_the_cpu_is_wrong_whatever_its_answer(
    device: str, where: str, validity: str, verdict: str, extra: dict[str, Any]
) -> None:
    fixture = SimpleNamespace(enabled=False, extra_info=extra)
    row = RnnBenchmark(fixture, Session(), replace(CASE, device=device), 3, None, None)
    row.record(placement={"GRU_0": where})
    assert row.verdict(validity) == verdict


def test_a_reason_with_half_a_character_is_kept_with_its_escape(session: Session) -> None:
    session.failed("test_a", "error", "OSError: \udcff.txt")
    session.skipped("test_b", "no \ud800")
    facts = session.facts([], "quick")
    assert [one["reason"] for one in (*facts["failed"], *facts["skipped"])] == [r"OSError: \udcff.txt", r"no \ud800"]
