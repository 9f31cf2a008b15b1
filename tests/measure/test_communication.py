"""Tests of what processes say to one another: gradients in the order in which they are there, time that is counted once."""

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnncore.measure.communication import covered, gradient_arrivals


class _Late(torch.autograd.Function):
    """Hands its input on; the gradient comes 20 ms late."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        time.sleep(0.02)
        return gradient


def test_a_gradient_that_comes_late_is_there_later() -> None:
    model = nn.ModuleDict({"first": nn.Linear(3, 5, bias=False), "last": nn.Linear(5, 7, bias=False)})

    def step() -> None:
        model.zero_grad()
        model["last"](_Late.apply(model["first"](torch.ones(2, 3)))).sum().backward()
        time.sleep(0.02)

    found = gradient_arrivals(model, step, steps=3)
    assert [one["bytes"] for one in found] == [4 * 35, 4 * 15]
    last, first = (one["ready_share"] for one in found)
    assert 0 < last < first < 1


def test_nothing_is_watched_any_more_once_that_is_known_also_where_a_step_fails() -> None:
    model, watched = nn.Linear(1, 1), []

    def fails() -> None:
        watched.append(bool(model.weight._post_accumulate_grad_hooks))
        raise RuntimeError("no step")

    with pytest.raises(RuntimeError, match="no step"):
        gradient_arrivals(model, fails)
    assert watched == [True]
    assert not model.weight._post_accumulate_grad_hooks


@pytest.mark.parametrize(
    ("spans", "total"),
    [
        ([], 0.0),
        ([(1.0, 2.0), (3.0, 5.0)], 3.0),
        ([(1.0, 4.0), (2.0, 3.0), (3.5, 5.0)], 4.0),
        ([(3.0, 5.0), (1.0, 3.0), (3.0, 5.0)], 4.0),
    ],
)
def test_time_under_several_spans_is_counted_once(spans: list[tuple[float, float]], total: float) -> None:
    assert covered(spans) == total
