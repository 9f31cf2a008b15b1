"""Tests of the model of a step by several processes: by hand where it can be, and against what it is to find again."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rnncore.compare.scaling import (
    BUCKET_BYTES,
    FIRST_BUCKET_BYTES,
    AllReduce,
    Bucket,
    Computing,
    Gradient,
    Link,
    Step,
    buckets_of,
    computing_of,
    link_of,
)

MIB = 2**20

# A second of computing, whose gradients are all there when it ends.
AT_THE_END = (Bucket(1e6, 1.0),)

shares = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4).map(sorted)
steps = st.builds(
    lambda compute_s, ready, size, alpha_s, beta: Step(
        compute_s, [Bucket(size * (1 + place), share) for place, share in enumerate(ready)], Link(alpha_s, beta)
    ),
    st.floats(1e-3, 10.0),
    shares,
    st.floats(4.0, 1e8),
    st.floats(1e-7, 1e-3),
    st.floats(1e7, 1e11),
)


def test_one_device_communicates_nothing() -> None:
    step = Step(1.0, AT_THE_END, Link(1e-3, 1e3))
    assert step.exposed_s(1) == 0.0
    assert step.seconds(1) == 1.0
    assert step.efficiency(1) == 1.0


def test_where_bytes_are_all_a_device_sends_nearly_twice_what_it_has() -> None:
    link = Link(0.0, 1e9)
    # 2 (N - 1) / N of a megabyte at a gigabyte a second.
    assert [link.all_reduce_s(1e6, devices) for devices in (2, 4)] == pytest.approx([1e-3, 1.5e-3])
    assert link.all_reduce_s(1e6, 1024) == pytest.approx(2e-3, rel=1e-3)


def test_where_messages_are_all_each_device_more_costs_two() -> None:
    link = Link(50e-6, math.inf)
    assert [link.all_reduce_s(1e6, devices) for devices in (2, 3, 1024)] == pytest.approx([100e-6, 200e-6, 0.1023])


def test_without_anything_to_hide_behind_all_communication_is_added() -> None:
    step = Step(1.0, AT_THE_END, Link(0.05, 1e7))
    # Two messages of 0.05 s, and 0.1 s of bytes.
    assert step.seconds(2) == pytest.approx(1.2)
    assert step.efficiency(2) == pytest.approx(1 / 1.2)


def test_what_ends_before_the_backward_pass_is_hidden_whole() -> None:
    hidden = Step(1.0, [Bucket(3e6, 0.5), Bucket(1e3, 0.9)], Link(0.0, 1e7))
    # 0.3 s from half a second on; what is left comes last and has nothing behind it.
    assert hidden.exposed_s(2) == pytest.approx(1e-4)


def test_a_bucket_waits_for_the_one_before() -> None:
    step = Step(1.0, [Bucket(3e6, 0.5), Bucket(1e6, 0.6)], Link(0.0, 1e7))
    # From 0.5 to 0.8 s the first, to 0.9 s the second; the backward pass ends at 0.6 s.
    assert step.exposed_s(2) == pytest.approx(0.3)
    assert step.seconds(2) == pytest.approx(1.3)


@given(steps, st.integers(1, 1023))
def test_more_devices_are_never_more_efficient_nor_is_any_number_more_than_one(step: Step, devices: int) -> None:
    assert 0 < step.efficiency(devices + 1) <= step.efficiency(devices) * (1 + 1e-12)
    assert step.efficiency(devices) <= 1


@given(steps, st.floats(0.1, 0.95))
def test_the_knee_is_the_last_that_keeps_the_efficiency(step: Step, kept: float) -> None:
    found = step.most_devices(kept, 64)
    assert found == max(devices for devices in range(1, 65) if devices == 1 or step.efficiency(devices) >= kept)


@given(steps, st.floats(0.1, 0.95), st.integers(2, 1024))
def test_as_much_computing_as_is_needed_just_keeps_the_efficiency(step: Step, kept: float, devices: int) -> None:
    needed_s = step.computing_needed_s(kept, devices)
    assert Step(needed_s, step.buckets, step.link).efficiency(devices) == pytest.approx(kept)
    assert Step(0.9 * needed_s, step.buckets, step.link).efficiency(devices) < kept


def test_the_computing_that_is_needed_worked_out_by_hand() -> None:
    # 0.2 s that nothing hides may be a quarter of the computing.
    assert Step(1.0, AT_THE_END, Link(0.05, 1e7)).computing_needed_s(0.8, 2) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "sizes_mib", [[3.0], [0.5, 0.5, 0.5], [0.2, 1.1, 24.0, 2.0, 0.3], [0.9, 0.05, 30.0, 1.0], [1.0, 25.0, 25.0], [0.1]]
)
def test_buckets_are_those_of_torch(sizes_mib: list[float]) -> None:
    values = [torch.empty(int(size * MIB) // 4, device="meta") for size in sizes_mib]
    found, _ = torch.distributed._compute_bucket_assignment_by_size(  # type: ignore[attr-defined]
        values, [FIRST_BUCKET_BYTES, BUCKET_BYTES]
    )
    gradients = [Gradient(4.0 * value.numel(), (1.0 + place) / len(values)) for place, value in enumerate(values)]
    expected = [
        Bucket(sum(gradients[place].size_bytes for place in of_one), gradients[of_one[-1]].ready_share) for of_one in found
    ]
    assert buckets_of(gradients) == expected


def test_no_gradient_fills_no_bucket() -> None:
    assert buckets_of([]) == []


@pytest.mark.parametrize("link", [Link(40e-6, 2e9), Link(5e-6, 1e11), Link(2e-3, 1e7)])
def test_a_link_is_found_again_by_what_its_all_reduces_take(link: Link) -> None:
    measured = [
        AllReduce(devices, size, link.all_reduce_s(size, devices) * (1.001 if (power + devices) % 2 else 0.999))
        for devices in (2, 4)
        for power in range(1, 13)
        for size in [4.0**power]
    ]
    found = link_of(measured)
    assert found is not None
    assert found.alpha_s == pytest.approx(link.alpha_s, rel=2e-3)
    assert found.beta_bytes_per_s == pytest.approx(link.beta_bytes_per_s, rel=2e-2)


def test_a_link_that_seems_to_answer_before_it_is_asked_has_no_latency_and_one_quicker_with_more_bytes_no_limit() -> None:
    early = link_of([AllReduce(2, 1e6, 1e-4), AllReduce(2, 1e7, 2e-3)])
    assert early is not None
    assert early.alpha_s == 0.0
    assert 5e9 < early.beta_bytes_per_s < 1e10
    odd = link_of([AllReduce(2, 4.0, 2e-4), AllReduce(2, 1e6, 1e-4)])
    assert odd is not None
    assert odd.beta_bytes_per_s == math.inf
    assert 0.5e-4 < odd.alpha_s < 1e-4


def test_of_one_device_nothing_is_known_of_a_link() -> None:
    assert link_of([]) is None
    assert link_of([AllReduce(1, 1e6, 1e-4)]) is None


def test_computing_is_found_again_and_asked_for_windows() -> None:
    found = computing_of([(16, 0.005 + 16e-3), (32, 0.005 + 32e-3), (256, 0.005 + 256e-3)])
    assert (found.fixed_s, found.window_s) == pytest.approx((0.005, 1e-3))
    assert found.windows_in(0.0255) == 21
    assert found.windows_in(0.0) == 1
    of_one_size = computing_of([(16, 0.016), (16, 0.032)])
    assert (of_one_size.fixed_s, of_one_size.window_s) == pytest.approx((0.0, 1.5e-3))


def test_where_windows_take_no_time_no_number_of_them_takes_long() -> None:
    assert Computing(1.0, 0.0).windows_in(2.0) is None
