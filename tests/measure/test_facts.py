"""Tests of what may be recorded: each kind of value comes back from a run file, or is refused when it is recorded."""

import json
import math
from enum import IntEnum, StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rnncore.measure.facts import make_writable
from rnncore.measure.row import RnnBenchmark
from rnncore.measure.session import Session
from rnncore.runfile.case import Case


class Level(IntEnum):
    HIGH = 2


class Colour(StrEnum):
    RED = "red"


@pytest.fixture
def extra() -> dict[str, Any]:
    return {}


@pytest.fixture
def rnn_benchmark(extra: dict[str, Any]) -> RnnBenchmark:
    """A benchmark with a stand-in for pytest-benchmark's fixture."""
    case = Case("infer", "gru", 8, 1, 4, batch_size=2)
    return RnnBenchmark(SimpleNamespace(enabled=False, extra_info=extra), Session(), case, 1, None, None)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float32(1.5), 1.5),
        (np.float64(0.1), 0.1),
        (np.float16(0.5), 0.5),
        (np.int64(32), 32),
        (np.uint8(3), 3),
        (np.bool_(True), True),
        (np.bool_(False), False),
        (np.str_("gru"), "gru"),
        (np.array(2.5, dtype=np.float32), 2.5),
        (np.array([1, 2], dtype=np.int32), [1, 2]),
        (np.array([[1.0, math.nan]]), [[1.0, None]]),
        (np.abs(np.array([-3.0, 2.0])).max(), 3.0),
        (torch.tensor(0.5), 0.5),
        (torch.tensor([1, 2]), [1, 2]),
        (torch.tensor(0.5, requires_grad=True), 0.5),
        ({"a": np.float32(1.5), "b": [np.int64(1), (np.bool_(True),)]}, {"a": 1.5, "b": [1, [True]]}),
        ({np.str_("zone"): {"smape": np.float32("nan")}}, {"zone": {"smape": None}}),
        ((1, 2.5, None, True, "text"), [1, 2.5, None, True, "text"]),
        ([math.inf, -math.inf, 1.0], [None, None, 1.0]),
        (Level.HIGH, 2),
        (Colour.RED, "red"),
        ("caf\u00e9", "caf\u00e9"),
        ("half a pair \ud83d", "half a pair \\ud83d"),
        (2**64 - 1, 2**64 - 1),
        ([], []),
        ({}, {}),
    ],
)
def test_what_may_be_recorded_is_written_as_json_of_the_same_value(
    value: object, written: object, rnn_benchmark: RnnBenchmark, extra: dict[str, Any]
) -> None:
    rnn_benchmark.record(made=value)
    text = json.dumps(extra, allow_nan=False)
    assert json.loads(text)["made"] == written
    assert type(json.loads(text)["made"]) is type(written)
    assert "UNSERIALIZABLE" not in text
    assert "made_why" not in extra


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (math.nan, "it is nan"),
        (-math.inf, "it is -inf"),
        (np.float32("nan"), "it is nan"),
        (np.float64("inf"), "it is inf"),
        (np.array(np.nan), "it is nan"),
    ],
)
def test_a_number_that_json_has_not_is_none_with_the_reason_beside_it(
    value: object, why: str, rnn_benchmark: RnnBenchmark, extra: dict[str, Any]
) -> None:
    rnn_benchmark.record(smape=value)
    assert (extra["smape"], extra["smape_why"]) == (None, why)
    rnn_benchmark.record(smape=np.float32(1.5))
    assert (extra["smape"], "smape_why" in extra) == (1.5, False)


def _ring() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (Path("a"), ("made is of type pathlib.",)),
        ({1, 2}, ("made is of type set,",)),
        (b"raw", ("made is of type bytes,",)),
        (object(), ("made is of type object,",)),
        (1 + 2j, ("made is of type complex,",)),
        (np.complex64(1), ("made is of type complex,",)),
        (np.datetime64("2018-08-03T00"), ("made is of type datetime.datetime,",)),
        (ValueError("x"), ("made is of type ValueError,",)),
        ({"zones": [1.0, {"A": b"raw"}]}, ("made['zones'][1]['A'] is of type bytes,",)),
        ({"zones": {1: 2.0}}, ("made['zones'] has a key that is of type int,",)),
        ({None: 2.0}, ("made has a key that is of type NoneType,",)),
        ([np.array([object()])], ("made[0]", "is of type object,")),
        (2**64, ("made is an integer of 65 bits,",)),
        (_ring(), ("made holds itself,",)),
    ],
)
def test_what_json_cannot_hold_is_refused_when_it_is_recorded_by_key_and_type_and_with_what_is_allowed(
    value: object, names: tuple[str, ...], rnn_benchmark: RnnBenchmark, extra: dict[str, Any]
) -> None:
    before = dict(extra)
    with pytest.raises(TypeError) as refused:
        rnn_benchmark.record(first=1, made=value)
    assert all(name in str(refused.value) for name in names), str(refused.value)
    assert "record None, true and false, numbers, texts, scalars and arrays of NumPy" in str(refused.value)
    assert extra == before


def test_what_is_recorded_is_not_changed_by_what_the_benchmark_does_with_it_later(
    rnn_benchmark: RnnBenchmark, extra: dict[str, Any]
) -> None:
    zones = {"A": [1.0]}
    rnn_benchmark.record(zones=zones)
    zones["A"].append(object())  # type: ignore[arg-type]
    assert extra["zones"] == {"A": [1.0]}


def test_what_was_written_past_the_check_is_converted_or_named_in_the_dict_that_others_hold() -> None:
    facts: dict[Any, Any] = {"smape": np.float32(1.5), "raw": b"x", "nan": math.nan, 8: np.int64(1), "plain": [1]}
    same = facts
    make_writable(facts)
    assert same == {
        "smape": 1.5,
        "raw": None,
        "raw_why": same["raw_why"],
        "nan": None,
        "nan_why": "it is nan",
        "8": 1,
        "plain": [1],
    }
    assert same["raw_why"].startswith("raw is of type bytes, which a run file cannot hold")
    json.dumps(facts, allow_nan=False)
    once = dict(facts)
    make_writable(facts)
    assert facts == once
